//! `agentops with` around the real agent programs.

use std::path::Path;

use agentops_testkit::judge;
use agentops_testkit::model::{Growth, ModelServer, Options, Script, Turn, Watch};
use serde_json::Value;

use crate::real::{Program, conversation, programs, room, shell};
use crate::room::{Ran, Room};

/// What a person types for one question without a screen.
pub fn words(program: Program, server: &ModelServer, room: &Room) -> Vec<String> {
    let words: &[&str] = match program {
        Program::Claude => &["-p", "TASK: do it", "--model", program.model(), "--allowedTools", "Bash"],
        Program::Codex => &["exec", "--skip-git-repo-check", "--sandbox", "danger-full-access", "TASK: do it"],
        Program::OpenCode => {
            let folder = room.root().join("home/.config/opencode");
            std::fs::create_dir_all(&folder).unwrap();
            let options =
                serde_json::json!({"baseURL": format!("{}/v1", server.base_url()), "apiKey": "{env:SCRIPTED_KEY}"});
            // Without them it takes a model for one that reads text alone.
            let reads = serde_json::json!({"input": ["text", "image", "pdf"], "output": ["text"]});
            let models = serde_json::json!({"gpt-5-2026-01-01": {"attachment": true, "modalities": reads}});
            let provider = serde_json::json!({"npm": "@ai-sdk/openai-compatible", "options": options, "models": models});
            let config = serde_json::json!({"model": program.model(), "provider": {"scripted": provider}});
            std::fs::write(folder.join("opencode.json"), config.to_string()).unwrap();
            &["run", "TASK: do it"]
        }
        Program::Gemini => &["-p", "TASK: do it", "-m", program.model(), "--approval-mode", "yolo", "--skip-trust"],
    };
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// What a server says that says nothing true of its usage.
pub const NEXT_TO_NOTHING: Growth = Growth { base: 10, step: 0, output: 1 };

/// A server with one conversation, which says nothing true of its usage.
pub fn server(turns: Vec<Turn>) -> ModelServer {
    server_with(turns, Script::default())
}

/// As [`server`], with what else the script says.
pub fn server_with(turns: Vec<Turn>, script: Script) -> ModelServer {
    let conversations = vec![conversation("TASK", turns, NEXT_TO_NOTHING)];
    serve(Script { conversations, ..script })
}

/// A server that keeps what it receives.
pub fn serve(script: Script) -> ModelServer {
    let watch = [("key", "dummy-key-for-tests"), ("lane", "agentops-lane-")].map(|(name, value)| Watch::new(name, value));
    let options = Options { watch: watch.into(), keep_body_bytes: 256 << 20, ..Options::default() };
    ModelServer::start_with(script, options).unwrap()
}

pub fn with(room: &Room, program: Program, flags: &[&str], words: &[String]) -> (Ran, Value) {
    let report = room.root().join("report.json");
    let mut args = vec!["with", "--report", report.to_str().unwrap()];
    args.extend(flags.iter().copied().chain([program.name()]));
    args.extend(words.iter().map(String::as_str));
    let ran = room.run(&args);
    let json = std::fs::read_to_string(&report).unwrap_or_else(|e| panic!("{e}: {ran:#?}"));
    (ran, serde_json::from_str(&json).unwrap())
}

/// The program without the gateway.
#[expect(clippy::disallowed_methods, reason = "the program without us is what it is compared with")]
pub fn without(room: &Room, program: Program, bin: &Path, words: &[String]) -> Ran {
    let ours = room.command(&[]);
    let variables = ours.get_envs().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())));
    let mut command = std::process::Command::new(bin.join(program.name()));
    // The gateway chooses this for a person who has not.
    let settings = room.root().join("home/.gemini/settings.json");
    if !settings.exists() {
        std::fs::create_dir_all(settings.parent().unwrap()).unwrap();
        std::fs::write(settings, r#"{"security":{"auth":{"selectedType":"gemini-api-key"}}}"#).unwrap();
    }
    command.args(words).env_clear().envs(variables).current_dir(room.repo()).stdin(std::process::Stdio::null());
    Ran::of(&command.output().unwrap())
}

fn works_as_without_it(program: Program) {
    let Some(bin) = programs() else { return };
    let server = server(vec![shell("echo it was here > here.txt"), Turn::text("All is done.")]);
    let room = room(program, &bin, &server);
    let (ran, report) = with(&room, program, &[], &words(program, &server, &room));
    let ran = ran.expect(0);
    assert!(format!("{}{}", ran.stdout, ran.stderr).contains("All is done."), "{ran:#?}");
    assert_eq!(std::fs::read_to_string(room.repo().join("here.txt")).unwrap(), "it was here\n", "{ran:#?}");
    let arrived: Vec<_> = server.requests().into_iter().filter(|record| record.method == "POST").collect();
    assert_eq!(report["totals"]["calls"], arrived.len(), "{ran:#?}");
    assert_eq!(report["refused"], serde_json::json!([]), "everything that the program asks passes");
    assert!(arrived.len() >= 2 && arrived.iter().all(|record| record.saw("key") && !record.saw("lane")), "{arrived:#?}");
}

/// B1: a conversation that grows by what commands print is stopped below the ceiling, and the program ends by itself.
fn is_held_at_the_ceiling(program: Program) {
    let Some(bin) = programs() else { return };
    let turns = vec![shell("seq -s ' ' 100000 105000")];
    let server = server(turns);
    let room = room(program, &bin, &server);
    // A window that a few commands fill.
    let (ran, report) = with(&room, program, &["--window", "120000"], &words(program, &server, &room));
    assert!(report["totals"]["refused"].as_u64().unwrap() > 0, "{ran:#?}");
    let calls = server.requests().into_iter().filter(|record| record.main());
    let largest = calls.map(|record| judge::tokens(record.protocol, &record.body.unwrap())).max().unwrap();
    assert!(largest <= 120_000 * 40 / 100, "{largest}");
    assert!(ran.stderr.contains("at the ceiling"), "{ran:#?}");
}

/// What the program itself keeps of a session is found again by its words, with its place, and can be made small.
fn is_recalled(program: Program, kind: &str) {
    let Some(bin) = programs() else { return };
    let server = server(vec![shell("echo it was here > here.txt"), Turn::text("The exporter skips the header row.")]);
    let room = room(program, &bin, &server);
    let (ran, _) = with(&room, program, &[], &words(program, &server, &room));
    ran.expect(0);
    let found = room.run(&["recall", "which row does the exporter skip?", "--json"]).expect(0).json();
    let passages = found["passages"].as_array().unwrap();
    let said = passages.iter().find(|passage| passage["text"].as_str().unwrap().contains("skips the header row"));
    let said = said.unwrap_or_else(|| panic!("{found:#}"));
    assert_eq!(said["kind"], kind, "{found:#}");
    let source = said["source"]
        .as_str()
        .unwrap()
        .rsplit_once(':')
        .unwrap()
        .0
        .replace('~', room.root().join("home").to_str().unwrap());
    let made = room.run(&["bundle", "transcript", "--file", &source, "--budget", "400"]).expect(0);
    assert!(
        made.stdout.contains("$ echo it was here > here.txt") && made.stdout.contains("skips the header row"),
        "{made:#?}"
    );
}

#[test]
fn what_claude_code_keeps_is_recalled() {
    is_recalled(Program::Claude, "claude-transcript");
}

#[test]
fn what_codex_keeps_is_recalled() {
    is_recalled(Program::Codex, "codex-transcript");
}

#[test]
fn claude_code_works_as_without_it() {
    works_as_without_it(Program::Claude);
}

#[test]
fn codex_works_as_without_it() {
    works_as_without_it(Program::Codex);
}

/// A person's account at OpenAI is charged for what they say, behind the gateway too.
#[test]
fn codex_says_whom_openai_charges() {
    let Some(bin) = programs() else { return };
    let server = server(vec![Turn::text("All is done.")]);
    let mut room = room(Program::Codex, &bin, &server);
    let config = format!("model = \"gpt-5-2026-01-01\"\nopenai_base_url = \"{}/v1\"\n", server.base_url());
    std::fs::write(room.root().join("home/.codex/config.toml"), config).unwrap();
    room.set("OPENAI_API_KEY", "dummy-key-for-tests");
    room.set("OPENAI_ORGANIZATION", "org-of-tests");
    let (ran, _) = with(&room, Program::Codex, &[], &words(Program::Codex, &server, &room));
    ran.expect(0);
    let calls: Vec<_> = server.requests().into_iter().filter(|record| record.method == "POST").collect();
    let says = |name: &str| calls.iter().all(|record| record.headers.iter().any(|header| header == name));
    assert!(!calls.is_empty() && says("openai-organization") && !says("openai-project"), "{calls:#?}");
}

#[test]
fn opencode_works_as_without_it() {
    works_as_without_it(Program::OpenCode);
}

#[test]
fn gemini_works_as_without_it() {
    works_as_without_it(Program::Gemini);
}

#[test]
fn b1_claude_code_is_held_at_the_ceiling() {
    is_held_at_the_ceiling(Program::Claude);
}

#[test]
fn b1_codex_is_held_at_the_ceiling() {
    is_held_at_the_ceiling(Program::Codex);
}

#[test]
fn b1_opencode_is_held_at_the_ceiling() {
    is_held_at_the_ceiling(Program::OpenCode);
}

#[test]
fn b1_gemini_is_held_at_the_ceiling() {
    is_held_at_the_ceiling(Program::Gemini);
}
