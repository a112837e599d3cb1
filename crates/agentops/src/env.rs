//! Every environment variable that this program reads, in one place.

use std::path::PathBuf;

use agentops_agents::environment::Environment;

/// Folder of the user's settings: `config.toml`, `trust.toml`, `profiles/`, `catalogues/`. Default `$XDG_CONFIG_HOME/agentops`, else
/// `~/.config/agentops`.
pub const CONFIG_DIR: &str = "AGENTOPS_CONFIG_DIR";
/// Folder of private state: ledgers, blobs, lanes. Default `$XDG_STATE_HOME/agentops`, else `~/.local/state/agentops`.
pub const STATE_DIR: &str = "AGENTOPS_STATE_DIR";
/// No colours when set and not empty. See <https://no-color.org>.
pub const NO_COLOR: &str = "NO_COLOR";
/// In debug builds: the process kills itself at this durable boundary. For crash tests.
pub const CRASH_AT: &str = "AGENTOPS_CRASH_AT";
/// In debug builds: each durable boundary's name is appended to this file. For crash tests.
pub const CRASH_LOG: &str = "AGENTOPS_CRASH_LOG";
/// Set for agents and gates: the lane they run in.
pub const LANE: &str = "AGENTOPS_LANE";
/// Set for every process of a session or gate, so that strays can be found.
pub const SESSION: &str = "AGENTOPS_SESSION";

/// Where Claude Code keeps its settings and transcripts; `recall` reads them. Default `~/.claude`.
pub const CLAUDE_CONFIG_DIR: &str = "CLAUDE_CONFIG_DIR";
/// Where Codex keeps its settings and transcripts; `recall` reads them. Default `~/.codex`.
pub const CODEX_HOME: &str = "CODEX_HOME";

/// Claude Code's folder; `None` when neither the variable nor HOME is set.
#[must_use]
pub fn claude_dir() -> Option<PathBuf> {
    of_home(CLAUDE_CONFIG_DIR, ".claude")
}

/// Codex' folder; `None` when neither the variable nor HOME is set.
#[must_use]
pub fn codex_dir() -> Option<PathBuf> {
    of_home(CODEX_HOME, ".codex")
}

fn of_home(own: &str, home: &str) -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute(own).or_else(|| absolute("HOME").map(|path| path.join(home)))
}

fn folder(own: &str, xdg: &str, home: &str) -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute(own)
        .or_else(|| absolute(xdg).map(|path| path.join("agentops")))
        .or_else(|| absolute("HOME").map(|path| path.join(home).join("agentops")))
}

/// The user's settings folder; `None` when neither the variable nor HOME is set.
#[must_use]
pub fn config_dir() -> Option<PathBuf> {
    folder(CONFIG_DIR, "XDG_CONFIG_HOME", ".config")
}

/// The state folder.
#[must_use]
pub fn state_dir() -> Option<PathBuf> {
    folder(STATE_DIR, "XDG_STATE_HOME", ".local/state")
}

/// The environment that runs are worked on with: the user's own, without our own settings.
#[must_use]
pub fn for_runs() -> Environment {
    let ours = [CONFIG_DIR, STATE_DIR, CRASH_AT, CRASH_LOG, LANE, SESSION];
    std::env::vars_os().filter(|(name, _)| !ours.iter().any(|our| name == our)).collect()
}

/// The few variables that a supervisor needs itself: where programs, folders and git's own settings are. The rest belongs to
/// runs and reaches it over the socket.
#[must_use]
pub fn for_supervisor() -> Environment {
    const NAMES: [&str; 14] = [
        "PATH",
        "HOME",
        "TMPDIR",
        "LANG",
        "LC_ALL",
        "RUST_BACKTRACE",
        "XDG_CONFIG_HOME",
        "XDG_STATE_HOME",
        "GIT_CONFIG_GLOBAL",
        "GIT_CONFIG_NOSYSTEM",
        CONFIG_DIR,
        STATE_DIR,
        CRASH_AT,
        CRASH_LOG,
    ];
    std::env::vars_os().filter(|(name, _)| NAMES.iter().any(|needed| name == needed)).collect()
}
