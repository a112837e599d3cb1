//! Starting the real programs, each with a home and a work tree of its own.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const VARIABLE: &str = "AGENTOPS_REAL_AGENTS";

/// Writes a file, runs a command, and is done.
pub const SCRIPT: &str = r#"{"conversations": [{"when": "PHASE-ONE", "turns": [
    {"text": "Writing.", "tools": [{"write": {"path": "out/written.md", "content": "it's 100% \"here\"\n"}}]},
    {"tools": [{"shell": {"command": "echo by-shell > shell.txt"}}]},
    {"text": "All done."}]}]}"#;

/// The program, or `None` with the reason printed.
pub fn agent(name: &str) -> Option<PathBuf> {
    let Some(folder) = std::env::var_os(VARIABLE) else {
        // Straight to stderr: the test runner would swallow what a passing test prints.
        let _ = writeln!(std::io::stderr(), "SKIPPED: {VARIABLE} is not set, so the real {name} was not run");
        return None;
    };
    let program = Path::new(&folder).join("node_modules/.bin").join(name);
    assert!(program.exists(), "{VARIABLE} is set and {} does not exist", program.display());
    Some(program)
}

/// A home and a work tree that are not below the system's temporary folder: codex starts no commands from a home there.
pub fn folders() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (home, work) = (root.path().join("home"), root.path().join("work tree"));
    std::fs::create_dir(&home).unwrap();
    std::fs::create_dir(&work).unwrap();
    (root, home, work)
}

/// The program, with nothing of the environment but `PATH` and its home.
#[expect(clippy::disallowed_methods, reason = "the kit stands below the crate that may start agents")]
pub fn command(program: &Path, home: &Path, work: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("HOME", home).current_dir(work).stdin(Stdio::null());
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command
}
