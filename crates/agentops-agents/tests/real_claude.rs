//! The real Claude Code under a real keeper, against a scripted model server on loopback. Runs only where
//! `AGENTOPS_REAL_AGENTS` names a folder with `node_modules/.bin/claude` and `AGENTOPS_SCRIPTED_MODEL` the testkit's
//! program `scripted-model`.

#[allow(dead_code, reason = "shared with the other tests")]
mod common;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use agentops_agents::claude::Claude;
use agentops_agents::driver::{Access, AgentEvent, Driver, Failure, Finish, out_file};
use agentops_agents::keeper::EndReason;
use agentops_core::ceiling::{Meter, Verdict, Window};
use common::{Seen, Then, request, run_in};

/// A model server that plays a script; ends with its stdin.
struct Model {
    server: Child,
    url: String,
}

impl Drop for Model {
    fn drop(&mut self) {
        drop(self.server.stdin.take());
        let _ = self.server.wait();
    }
}

#[expect(clippy::disallowed_methods, reason = "the model server is no agent")]
fn model(program: &Path, room: &Path, script: &str) -> Model {
    let path = room.join("model.json");
    std::fs::write(&path, script).unwrap();
    let mut command = Command::new(program);
    command.arg("--script").arg(&path).arg("--log").arg(room.join("model.log"));
    let mut server = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let started: serde_json::Value = serde_json::from_str(&line).unwrap();
    Model { url: started["base_url"].as_str().unwrap().to_owned(), server }
}

/// `None` with the reason printed where the programs are not named.
fn programs() -> Option<(PathBuf, PathBuf)> {
    let (Some(agents), Some(model)) =
        (std::env::var_os("AGENTOPS_REAL_AGENTS"), std::env::var_os("AGENTOPS_SCRIPTED_MODEL"))
    else {
        // Straight to stderr: the test runner would swallow what a passing test prints.
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: the real claude was not run, AGENTOPS_REAL_AGENTS or AGENTOPS_SCRIPTED_MODEL is not set"
        );
        return None;
    };
    Some((Path::new(&agents).join("node_modules/.bin/claude"), model.into()))
}

fn session(access: Access, script: &str, then: impl FnMut(&AgentEvent) -> Then) -> Option<(tempfile::TempDir, Seen)> {
    let (claude, server) = programs()?;
    let room = tempfile::tempdir().unwrap();
    let home = room.path().join("home");
    std::fs::create_dir(&home).unwrap();
    let model = model(&server, room.path(), script);
    let mut request = request(room.path(), &[("program", claude.to_str().unwrap()), ("retries", "1")]);
    request.access = access;
    request.model = Some("claude-haiku-4-5".to_owned());
    let env = [("HOME", home.to_str().unwrap()), ("ANTHROPIC_BASE_URL", &model.url), ("ANTHROPIC_API_KEY", "test")];
    let seen = run_in(&Claude, &request, &env, then);
    Some((room, seen))
}

fn metered(start: u64) -> impl FnMut(&AgentEvent) -> Then {
    let mut meter = Meter::new(Window::new(200_000).unwrap(), start);
    move |event| match event {
        AgentEvent::Call { usage, last, sub_agent: false, .. } if *last || usage.is_some() => match meter.call(*usage) {
            Verdict::GoOn => Then::GoOn,
            Verdict::HandOver => Then::HandOver,
            Verdict::Stop(_) => Then::Stop,
        },
        _ => Then::GoOn,
    }
}

#[test]
fn a_version_is_found() {
    let Some((claude, _)) = programs() else { return };
    let settings = [("program".to_owned(), claude.to_str().unwrap().to_owned())].into();
    assert!(Claude.probe(&settings, &std::env::vars_os().collect()).unwrap().version.contains("Claude Code"));
}

#[test]
fn it_works_and_finishes() {
    let script = r#"{"conversations": [{"when": "researcher", "turns": [
        {"text": "Writing.", "tools": [{"write": {"path": "made.txt", "content": "made\n"}}]},
        {"tools": [{"shell": {"command": "echo shell > shell.txt"}}]}, {"text": "All done."}]}]}"#;
    let Some((room, seen)) = session(Access::Write, script, metered(0)) else { return };
    assert_eq!(seen.finish(), &Finish::Completed, "{seen:?}");
    assert!(room.path().join("work/made.txt").exists() && room.path().join("work/shell.txt").exists(), "{seen:?}");
    let AgentEvent::Ready { window, base_tokens, .. } = &seen.events[0] else { panic!("{seen:?}") };
    assert_eq!(*window, Window::new(200_000));
    assert!(base_tokens.is_some_and(|base| base > 1000));
    assert_eq!((seen.ended.reason, seen.ended.leftovers), (EndReason::Exited, 0));
}

#[test]
fn at_the_soft_mark_it_hands_over_in_the_same_conversation() {
    let script = r#"{"conversations": [{"when": "researcher",
        "usage": {"base": 20000, "step": 20000, "output": 50}, "turns": [
        {"tools": [{"shell": {"command": "echo 1"}}]}, {"tools": [{"shell": {"command": "echo 2"}}]},
        {"tools": [{"shell": {"command": "echo 3"}}]}, {"tools": [{"write": {"path": "too-late.txt", "content": ""}}]},
        {"text": "never"}],
        "on": [{"says": "Write your hand-over now.", "turns": [
            {"usage": {"input": 65000, "output": 10}, "tools": [
                {"write": {"path": ".agentops-out/handover.md", "content": "state\n"}}]},
            {"usage": {"input": 66000, "output": 10}, "text": "handed over"}]}]}]}"#;
    let Some((room, seen)) = session(Access::Write, script, metered(0)) else { return };
    assert_eq!(seen.finish(), &Finish::HandedOver, "{seen:?}");
    let work = room.path().join("work");
    assert_eq!(std::fs::read_to_string(out_file(&work, "handover.md")).unwrap(), "state\n");
    assert!(!work.join("too-late.txt").exists());
}

#[test]
fn at_the_ceiling_it_is_stopped() {
    let script = r#"{"conversations": [{"when": "researcher",
        "usage": {"base": 79000, "step": 2000, "output": 50}, "turns": [
        {"tools": [{"shell": {"command": "echo 1"}}]}, {"tools": [{"shell": {"command": "echo 2"}}]},
        {"text": "never"}]}]}"#;
    let Some((_room, seen)) = session(Access::Write, script, metered(0)) else { return };
    assert_eq!(seen.ended.reason, EndReason::Stopped, "{seen:?}");
}

#[test]
fn a_researcher_writes_only_below_the_out_folder() {
    let script = r#"{"conversations": [{"when": "researcher", "turns": [
        {"tools": [{"write": {"path": ".agentops-out/findings.md", "content": "found\n"}}]},
        {"tools": [{"write": {"path": "src.txt", "content": "no\n"}}]}, {"text": "done"}]}]}"#;
    let Some((room, seen)) = session(Access::Artifacts, script, metered(0)) else { return };
    assert_eq!(seen.finish(), &Finish::Completed, "{seen:?}");
    let work = room.path().join("work");
    assert!(out_file(&work, "findings.md").exists() && !work.join("src.txt").exists(), "{seen:?}");
    assert!(seen.events.iter().any(|event| matches!(event, AgentEvent::Refused { name, .. } if name == "Write")));
}

#[test]
fn an_interrupt_and_a_refused_key_are_no_completion() {
    let script = r#"{"conversations": [{"turns": [{"tools": [{"shell": {"command": "sleep 60"}}]}, {"text": "never"}]}]}"#;
    let then = |event: &AgentEvent| if matches!(event, AgentEvent::Tool { .. }) { Then::Interrupt } else { Then::GoOn };
    let Some((_room, seen)) = session(Access::Write, script, then) else { return };
    assert!(matches!(seen.finish(), Finish::Failed { failure: Failure::Program, .. }), "{seen:?}");
    let script = r#"{"conversations": [{"turns": [{"http_error": {"status": 401}}]}]}"#;
    let Some((_room, seen)) = session(Access::Write, script, |_| Then::GoOn) else { return };
    assert!(matches!(seen.finish(), Finish::Failed { failure: Failure::NotLoggedIn, .. }), "{seen:?}");
}
