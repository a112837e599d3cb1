//! The driver `acp` with a program of ours under a real keeper.

#[allow(dead_code, reason = "shared with the other tests")]
mod common;

use agentops_agents::acp::Acp;
use agentops_agents::driver::{Access, AgentEvent, Failure, Finish, SessionRequest, out_file};
use common::{FIXTURE, Seen, Then};

struct Room {
    folder: tempfile::TempDir,
    request: SessionRequest,
}

impl Room {
    /// A session that is told to do this, line by line.
    fn new(prompt: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut request = common::request(folder.path(), &[("program", FIXTURE), ("args", r#"["acp-agent"]"#)]);
        request.prompt = prompt.to_owned();
        Self { folder, request }
    }

    fn set(mut self, key: &str, value: &str) -> Self {
        self.request.settings.insert(key.to_owned(), value.to_owned());
        self
    }

    fn run(&self, then: impl FnMut(&AgentEvent) -> Then) -> Seen {
        common::run(&Acp, &self.request, then)
    }

    fn has(&self, name: &str) -> bool {
        self.folder.path().join("work").join(name).exists()
    }
}

fn said(seen: &Seen) -> String {
    seen.events
        .iter()
        .filter_map(|event| if let AgentEvent::Said(text) = event { Some(text.as_str()) } else { None })
        .collect()
}

fn refused(seen: &Seen) -> Vec<&str> {
    let refused = seen.events.iter();
    refused
        .filter_map(|event| if let AgentEvent::Refused { name, .. } = event { Some(name.as_str()) } else { None })
        .collect()
}

#[test]
fn what_it_asks_is_answered_by_what_the_session_may() {
    let mut room = Room::new("write in.md\nwrite ../up.md\nwrite .agentops-out/plan.md\nrun ls\nfile");
    let seen = room.run(|_| Then::GoOn);
    assert_eq!(seen.finish(), &Finish::Completed);
    assert!(room.has("in.md") && out_file(&room.request.work_tree, "plan.md").exists() && !room.has("../up.md"));
    assert_eq!(refused(&seen), ["edit", "fs/read_text_file"], "{seen:?}");
    assert!(said(&seen).contains("ran. was not served."), "{seen:?}");

    std::fs::remove_file(room.request.work_tree.join("in.md")).unwrap();
    room.request.access = Access::Artifacts;
    let seen = room.run(|_| Then::GoOn);
    assert_eq!(seen.finish(), &Finish::Completed);
    assert!(!room.has("in.md"));
    assert_eq!(refused(&seen), ["edit", "edit", "execute", "fs/read_text_file"], "{seen:?}");
}

#[test]
fn model_and_mode_are_asked_for_and_a_model_it_does_not_have_ends_the_session() {
    let mut room = Room::new("").set("mode", "code");
    room.request.model = Some("large".to_owned());
    let seen = room.run(|_| Then::GoOn);
    assert_eq!(seen.finish(), &Finish::Completed);
    assert!(said(&seen).contains(r#"{"mode": "code", "model": "large"}"#), "{seen:?}");
    let ready = AgentEvent::Ready {
        model: Some("large".to_owned()),
        version: Some("1.2".to_owned()),
        window: None,
        base_tokens: None,
    };
    assert_eq!(seen.events[0], ready);
    room.request.model = Some("huge".to_owned());
    let seen = room.run(|_| Then::GoOn);
    assert!(
        matches!(seen.finish(), Finish::Failed { message, .. } if message.contains("`huge`: no such model")),
        "{seen:?}"
    );
}

#[test]
fn it_hands_over_in_the_same_conversation() {
    let room = Room::new("slow");
    let tool = |event: &AgentEvent| matches!(event, AgentEvent::Tool { .. });
    let seen = room.run(|event| if tool(event) { Then::HandOver } else { Then::GoOn });
    assert_eq!(seen.finish(), &Finish::HandedOver, "{seen:?}");
    let seen = room.run(|event| if tool(event) { Then::Interrupt } else { Then::GoOn });
    assert!(matches!(seen.finish(), Finish::Failed { message, .. } if message == "interrupted"), "{seen:?}");
}

#[test]
fn it_logs_in_as_the_agent_file_says_or_a_person_must() {
    let room = Room::new("").set("args", r#"["acp-agent", "login"]"#);
    let seen = room.run(|_| Then::GoOn);
    assert!(matches!(seen.finish(), Finish::Failed { failure: Failure::NotLoggedIn, .. }), "{seen:?}");
    let room = room.set("auth_method", "key");
    assert_eq!(room.run(|_| Then::GoOn).finish(), &Finish::Completed);
    let room = room.set("auth_method", "wrong");
    assert!(matches!(room.run(|_| Then::GoOn).finish(), Finish::Failed { failure: Failure::NotLoggedIn, .. }));
}

#[test]
fn a_providers_status_has_its_class() {
    for (status, class) in [(401, Failure::NotLoggedIn), (429, Failure::Provider), (413, Failure::PromptTooLong)] {
        let seen = Room::new(&format!("fail {status}")).run(|_| Then::GoOn);
        assert!(matches!(seen.finish(), Finish::Failed { failure, .. } if *failure == class), "{status}: {seen:?}");
    }
}

#[test]
fn a_program_that_speaks_something_else_is_a_failure() {
    let room = Room::new("").set("args", r#"["garbage"]"#);
    let seen = room.run(|_| Then::GoOn);
    assert!(matches!(seen.finish(), Finish::Failed { failure: Failure::Program, .. }), "{seen:?}");
}
