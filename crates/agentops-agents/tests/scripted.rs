//! The scripted agent, live under a keeper.

mod common;

use agentops_agents::driver::{AgentEvent, Driver, Failure, Finish, out_file};
use agentops_agents::keeper::EndReason;
use agentops_agents::scripted::{Script, Scripted};
use agentops_core::ceiling::{Meter, Verdict, Window};
use common::{FIXTURE, Seen, Then, request, run};

fn play(room: &tempfile::TempDir, script: &str, then: impl FnMut(&AgentEvent) -> Then) -> Seen {
    let request = request(room.path(), &[("script_json", script), ("program", FIXTURE), ("window", "100000")]);
    run(&Scripted, &request, then)
}

fn room() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// Measures calls as the engine does.
fn metered(window: u64) -> impl FnMut(&AgentEvent) -> Then {
    let mut meter = Meter::new(Window::new(window).unwrap(), 0);
    move |event| match event {
        AgentEvent::Call { usage, .. } => match meter.call(*usage) {
            Verdict::GoOn => Then::GoOn,
            Verdict::HandOver => Then::HandOver,
            Verdict::Stop(_) => Then::Stop,
        },
        _ => Then::GoOn,
    }
}

#[test]
fn a_session_works_reports_and_finishes() {
    let room = room();
    let script = r#"{"conversations": [
        {"when": "the planner", "steps": [{"do": "exit", "code": 1}]},
        {"when": "researcher", "steps": [
            {"do": "call", "usage": 1000},
            {"do": "write", "path": "src/a.txt", "content": "one\n"},
            {"do": "append", "path": "src/a.txt", "content": "two\n"},
            {"do": "out", "file": "findings.json", "content": "{}"},
            {"do": "run", "argv": ["git", "--version"]},
            {"do": "env-file", "path": "env.txt"},
            {"do": "call", "usage": {"input": 10, "cache_read": 900, "output": 5}},
            {"do": "say", "text": "done"}]}]}"#;
    let seen = play(&room, script, |_| Then::GoOn);
    assert_eq!(seen.finish(), &Finish::Completed);
    assert_eq!((seen.ended.reason, seen.ended.leftovers), (EndReason::Exited, 0));
    let ready = AgentEvent::Ready {
        model: Some("scripted".to_owned()),
        version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        window: Window::new(100_000),
        base_tokens: Some(0),
    };
    assert_eq!(seen.events[0], ready);
    assert_eq!(seen.calls(), 2);
    let work = room.path().join("work");
    assert_eq!(std::fs::read_to_string(work.join("src/a.txt")).unwrap(), "one\ntwo\n");
    assert_eq!(std::fs::read_to_string(out_file(&work, "findings.json")).unwrap(), "{}");
    assert_eq!(std::fs::read_to_string(work.join("env.txt")).unwrap(), "AGENTOPS_SESSION\nPATH\n");
}

#[test]
fn at_the_soft_mark_it_hands_over_in_the_same_conversation() {
    let room = room();
    let script = r#"{"conversations": [{"steps": [{"do": "grow-calls", "from": 10000, "step": 10000, "count": 9},
        {"do": "write", "path": "too-late", "content": ""}]}]}"#;
    let seen = play(&room, script, metered(100_000));
    assert_eq!(seen.finish(), &Finish::HandedOver);
    assert_eq!(seen.calls(), 3, "28 % are passed by the third call, and no fourth is made");
    let work = room.path().join("work");
    assert!(std::fs::read_to_string(out_file(&work, "handover.md")).unwrap().contains("Left:"));
    assert!(!work.join("too-late").exists());
}

#[test]
fn who_goes_on_regardless_is_held_at_the_call_that_reached_the_ceiling() {
    let room = room();
    let script = r#"{"conversations": [{"on_hand_over": [{"do": "grow-calls", "from": 30000, "step": 10000, "count": 5}],
        "steps": [{"do": "call", "usage": 29000}]}]}"#;
    let seen = play(&room, script, metered(100_000));
    assert_eq!(seen.calls(), 3, "29k asks for the hand-over, 30k goes on, 40k is stopped");
    assert_eq!(seen.ended.reason, EndReason::Stopped);
    assert!(matches!(seen.finish(), Finish::Failed { failure: Failure::Program, .. }));
}

#[test]
fn a_call_without_usage_is_unknown_and_not_zero() {
    let seen = play(
        &room(),
        r#"{"conversations": [{"steps": [{"do": "call", "usage": "none"}, {"do": "call", "usage": 5}]}]}"#,
        metered(100_000),
    );
    assert_eq!((seen.calls(), seen.ended.reason), (1, EndReason::Stopped));
}

#[test]
fn hand_over_can_be_waited_for() {
    let script = r#"{"conversations": [{"steps": [{"do": "call", "usage": 1}, {"do": "wait-hand-over"},
        {"do": "exit", "code": 9}],
        "on_hand_over": [{"do": "out", "file": "handover.md", "content": "mine"}, {"do": "finish"}]}]}"#;
    let seen =
        play(&room(), script, |event| if matches!(event, AgentEvent::Call { .. }) { Then::HandOver } else { Then::GoOn });
    assert_eq!(seen.finish(), &Finish::HandedOver);
}

#[test]
fn an_interrupted_program_exits_with_success_and_did_not_complete() {
    let script = r#"{"conversations": [{"steps": [{"do": "call", "usage": 1}, {"do": "finish"}]}]}"#;
    let seen =
        play(&room(), script, |event| if matches!(event, AgentEvent::Call { .. }) { Then::Interrupt } else { Then::GoOn });
    assert_eq!(seen.ended.exit, Some(agentops_agents::driver::Exit::Code(0)));
    assert!(matches!(seen.finish(), Finish::Failed { failure: Failure::Program, .. }));
}

#[test]
fn it_misbehaves_when_told_to() {
    let script = r#"{"conversations": [{"steps": [{"do": "ignore-signals"}, {"do": "flood", "bytes": 3000000},
        {"do": "endless-line", "bytes": 3000000}, {"do": "raw", "line": "{\"type\":\"call\""},
        {"do": "fork-away", "seconds": 600}, {"do": "call", "usage": 1}, {"do": "hang"}]}]}"#;
    let seen = play(&room(), script, |event| if matches!(event, AgentEvent::Call { .. }) { Then::Stop } else { Then::GoOn });
    assert_eq!(seen.ended.reason, EndReason::Stopped);
    assert!(seen.ended.cut_bytes > 1_000_000);
    let notes = seen.events.iter().filter(|event| matches!(event, AgentEvent::Note(_))).count();
    assert_eq!(notes, 20, "garbage does not flood the ledger");
}

#[test]
fn a_failure_has_its_class_and_an_exit_without_result_is_one() {
    let seen = play(
        &room(),
        r#"{"conversations": [{"steps": [{"do": "fail", "failure": "provider", "message": "529"}]}]}"#,
        |_| Then::GoOn,
    );
    assert_eq!(seen.finish(), &Finish::Failed { failure: Failure::Provider, message: "529".to_owned() });
    let seen = play(&room(), r#"{"conversations": [{"steps": [{"do": "exit", "code": 0}]}]}"#, |_| Then::GoOn);
    assert!(matches!(seen.finish(), Finish::Failed { failure: Failure::Program, .. }));
    let seen = play(&room(), r#"{"conversations": [{"when": "somebody else", "steps": []}]}"#, |_| Then::GoOn);
    assert!(matches!(seen.finish(), Finish::Failed { message, .. } if message.contains("no conversation")));
}

#[test]
fn a_wrong_script_is_refused_before_anything_starts() {
    let wrong = [
        r#"{"conversations": [{"steps": [{"do": "sya", "text": ""}]}]}"#,
        r#"{"conversations": [{"steps": [{"do": "say", "txt": ""}]}]}"#,
        r#"{"conversations": [{"steps": [{"do": "say", "text": "", "more": 1}]}]}"#,
        r#"{"conversations": [{"steps": [], "onhandover": []}]}"#,
        r#"{"conversations": [{"steps": [{"do": "call", "usage": "lots"}]}]}"#,
    ];
    let room = room();
    for script in wrong {
        let request = request(room.path(), &[("script_json", script)]);
        assert!(Scripted.launch(&request).is_err(), "{script}");
    }
    assert!(Scripted.launch(&request(room.path(), &[])).is_err(), "no script");
    let both = request(room.path(), &[("script_json", "{}"), ("script", "x")]);
    assert!(Scripted.launch(&both).is_err());
}

#[test]
fn a_script_reads_back_as_it_was_written() {
    let text = r#"{"conversations":[{"when":"a","steps":[{"do":"hang"}],"on_hand_over":null}]}"#;
    let script: Script = serde_json::from_str(text).unwrap();
    assert_eq!(serde_json::to_string(&script).unwrap(), text);
}
