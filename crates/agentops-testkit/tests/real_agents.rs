//! One script, four real programs. Runs only where `AGENTOPS_REAL_AGENTS` names a folder that holds `claude`, `codex`,
//! `opencode` and `gemini` in `node_modules/.bin`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use agentops_testkit::model::{HttpError, ModelServer, Protocol, Script, Turn};
use serde_json::json;

const VARIABLE: &str = "AGENTOPS_REAL_AGENTS";

const SCRIPT: &str = r#"{"conversations": [{"when": "PHASE-ONE", "turns": [
    {"text": "Writing.", "tools": [{"write": {"path": "out/written.md", "content": "it's 100% \"here\"\n"}}]},
    {"tools": [{"shell": {"command": "echo by-shell > shell.txt"}}]},
    {"text": "All done."}]}]}"#;

/// The program, or `None` with the reason printed.
fn agent(name: &str) -> Option<PathBuf> {
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
fn folders() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (home, work) = (root.path().join("home"), root.path().join("work tree"));
    std::fs::create_dir(&home).unwrap();
    std::fs::create_dir(&work).unwrap();
    (root, home, work)
}

#[expect(clippy::disallowed_methods, reason = "the kit stands below the crate that may start agents")]
fn command(program: &Path, home: &Path, work: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("HOME", home).current_dir(work).stdin(Stdio::null());
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command
}

fn check(output: &Output, server: &ModelServer, protocol: Protocol, work: &Path) {
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    // Gemini CLI prints what is said as it comes, word by word.
    assert!(said.contains("All done.") || said.contains(r#""content":"done.""#), "{said}");
    let written = std::fs::read_to_string(work.join("out/written.md")).unwrap();
    assert_eq!(written, "it's 100% \"here\"\n");
    assert_eq!(std::fs::read_to_string(work.join("shell.txt")).unwrap(), "by-shell\n");
    let main: Vec<_> = server.requests().into_iter().filter(|record| record.main()).collect();
    assert_eq!(main.iter().map(|record| record.turn_index).collect::<Vec<_>>(), [0, 1, 2]);
    assert!(main.iter().all(|record| record.protocol == protocol && record.path.starts_with("/lane/T/v1")));
}

fn run_claude(program: &Path, home: &Path, work: &Path, server: &ModelServer) -> Output {
    command(program, home, work)
        .env("ANTHROPIC_BASE_URL", format!("{}/lane/T", server.base_url()))
        .env("ANTHROPIC_API_KEY", "test")
        .envs([("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"), ("DISABLE_AUTOUPDATER", "1")])
        .envs([("DISABLE_TELEMETRY", "1"), ("DISABLE_ERROR_REPORTING", "1"), ("CLAUDE_CODE_MAX_RETRIES", "1")])
        .args(["-p", "Do the task.", "--output-format", "stream-json", "--verbose", "--setting-sources", ""])
        .args(["--append-system-prompt", "PHASE-ONE", "--permission-mode", "dontAsk", "--no-session-persistence"])
        .args(["--tools", "Read,Write,Edit,Bash", "--allowedTools", "Read", "Write", "Bash"])
        .output()
        .unwrap()
}

fn run_codex(program: &Path, home: &Path, work: &Path, server: &ModelServer) -> Output {
    let provider = format!(
        concat!(
            r#"model_providers.scripted={{name="scripted",base_url="{}/lane/T/v1",wire_api="responses","#,
            r#"env_key="KEY",request_max_retries=1,stream_max_retries=1}}"#
        ),
        server.base_url()
    );
    command(program, home, work)
        .env("KEY", "test")
        .args(["exec", "--json", "--skip-git-repo-check", "-s", "danger-full-access"])
        .args(["-c", r#"model_provider="scripted""#, "-c", &provider, "-c", "model_context_window=100000"])
        .args(["-c", "analytics.enabled=false", "-c", "check_for_update_on_startup=false"])
        .args(["-m", "gpt-scripted", "PHASE-ONE: do the task."])
        .output()
        .unwrap()
}

fn run_opencode(program: &Path, home: &Path, work: &Path, server: &ModelServer) -> Output {
    let config = home.join("opencode.json");
    let options = json!({"baseURL": format!("{}/lane/T/v1", server.base_url()), "apiKey": "test"});
    let models = json!({"m1": {"name": "m1", "limit": {"context": 100_000, "output": 8_000}}});
    let provider = json!({"npm": "@ai-sdk/openai-compatible", "name": "Scripted", "options": options, "models": models});
    let settings = json!({"model": "scripted/m1", "small_model": "scripted/m1", "autoupdate": false, "share": "disabled",
        "provider": {"scripted": provider}});
    std::fs::write(&config, settings.to_string()).unwrap();
    command(program, home, work)
        .env("OPENCODE_CONFIG", config)
        .envs([("OPENCODE_DISABLE_AUTOUPDATE", "1"), ("OPENCODE_DISABLE_MODELS_FETCH", "1")])
        .env("OPENCODE_DISABLE_LSP_DOWNLOAD", "1")
        .args(["run", "--format", "json", "PHASE-ONE: do the task."])
        .output()
        .unwrap()
}

fn run_gemini(program: &Path, home: &Path, work: &Path, server: &ModelServer) -> Output {
    let settings = json!({"security": {"auth": {"selectedType": "gemini-api-key"}},
        "privacy": {"usageStatisticsEnabled": false}, "general": {"enableAutoUpdate": false}});
    std::fs::create_dir_all(home.join(".gemini")).unwrap();
    std::fs::write(home.join(".gemini/settings.json"), settings.to_string()).unwrap();
    command(program, home, work)
        .env("GOOGLE_GEMINI_BASE_URL", format!("{}/lane/T", server.base_url()))
        .env("GEMINI_API_KEY", "test")
        .envs([("GEMINI_TELEMETRY_ENABLED", "false"), ("GEMINI_CLI_NO_RELAUNCH", "true")])
        .args(["-p", "PHASE-ONE: do the task.", "-o", "stream-json", "--approval-mode", "yolo", "--skip-trust"])
        .args(["-m", "gemini-2.5-pro"])
        .output()
        .unwrap()
}

#[test]
fn claude_follows_the_script() {
    let Some(program) = agent("claude") else {
        return;
    };
    let (_root, home, work) = folders();
    let server = ModelServer::start(Script::parse(SCRIPT).unwrap()).unwrap();
    let output = run_claude(&program, &home, &work, &server);
    check(&output, &server, Protocol::Messages, &work);
}

#[test]
fn codex_follows_the_script() {
    let Some(program) = agent("codex") else {
        return;
    };
    let (_root, home, work) = folders();
    let server = ModelServer::start(Script::parse(SCRIPT).unwrap()).unwrap();
    let output = run_codex(&program, &home, &work, &server);
    check(&output, &server, Protocol::Responses, &work);
}

#[test]
fn opencode_follows_the_script() {
    let Some(program) = agent("opencode") else {
        return;
    };
    let (_root, home, work) = folders();
    let server = ModelServer::start(Script::parse(SCRIPT).unwrap()).unwrap();
    let output = run_opencode(&program, &home, &work, &server);
    check(&output, &server, Protocol::Chat, &work);
}

#[test]
fn gemini_follows_the_script() {
    let Some(program) = agent("gemini") else {
        return;
    };
    let (_root, home, work) = folders();
    let server = ModelServer::start(Script::parse(SCRIPT).unwrap()).unwrap();
    let output = run_gemini(&program, &home, &work, &server);
    check(&output, &server, Protocol::Gemini, &work);
}

/// opencode is left out: it compacts and asks again, without end.
#[test]
fn a_prompt_that_is_too_long_is_understood() {
    let error = HttpError::prompt_too_long(210_000, 200_000);
    for (name, words) in [("claude", "prompt_too_long"), ("codex", "context window"), ("gemini", "prompt is too long")] {
        let Some(program) = agent(name) else { continue };
        let (_root, home, work) = folders();
        let script = Script::of(vec![Turn::fail(error.clone())]);
        let server = ModelServer::start(script).unwrap();
        let output = match name {
            "claude" => run_claude(&program, &home, &work, &server),
            "gemini" => run_gemini(&program, &home, &work, &server),
            _ => run_codex(&program, &home, &work, &server),
        };
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(!output.status.success() && said.contains(words), "{name}: {said}");
    }
}
