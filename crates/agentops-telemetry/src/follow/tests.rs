use std::collections::BTreeMap;

use agentops_core::agent::AgentRef;
use agentops_core::ceiling::Enforcement;
use agentops_core::id::{BlobId, Commit, LaneId, RunId};
use agentops_core::run::{Approve, Created, FORMAT, FailureKind, Key, SessionFacts};
use agentops_core::workflow::raw::RawWorkflow;

use super::*;

const WORKFLOW: &str = r#"{"name": "quick", "phase": [
    {"name": "implement", "writes": "files", "agent": "maker"},
    {"name": "close-out", "writes": "artifacts", "agent": "maker",
     "gate": [{"kind": "artifact", "file": "close-out.json", "schema": "close-out"}]}]}"#;

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn blob(n: u64) -> BlobId {
    format!("{n:064x}").parse().expect("a blob id")
}

fn commit(n: u64) -> Commit {
    format!("{n:040x}").parse().expect("a commit id")
}

fn created() -> Event {
    let raw: RawWorkflow = serde_json::from_str(WORKFLOW).expect("a workflow");
    let agent = AgentRef {
        hash: blob(1),
        prompt: blob(2),
        driver: name("scripted"),
        version: "1".into(),
        model: None,
        window: None,
        tools: None,
        settings: BTreeMap::new(),
    };
    Event::Created(Box::new(Created {
        run: RunId::from_bits(9),
        format: FORMAT,
        task: blob(3),
        base: commit(1),
        profile: name("product-dev"),
        profile_hash: blob(4),
        workflow_hash: blob(5),
        workflow: raw.check(None).expect("a sound workflow").workflow,
        agents: BTreeMap::from([(name("maker"), agent)]),
        approve: Approve::All,
        alternatives: Vec::new(),
        trust: None,
        routed: None,
        repository: None,
    }))
}

/// A run whose session may not run, from its first event to its last, with a clock that goes back in the middle of it.
fn refused() -> Vec<(u64, Event)> {
    let lane: LaneId = "implement/implement".parse().expect("a lane");
    let session = SessionId { lane: lane.clone(), ordinal: 1 };
    let began = |key| Event::Began { key };
    let facts = SessionFacts {
        model: Some("m\n\u{1b}[31mred".into()),
        version: None,
        window: Some(0),
        base_tokens: None,
        start_tokens: 1,
        enforcement: Enforcement::Stopped,
        prompt: blob(2),
    };
    vec![
        (9_000, created()),
        (9_100, began(Key::Open { lane: lane.clone(), attempt: 1 })),
        (9_200, Event::LaneOpened { lane, base: commit(1) }),
        (9_300, began(Key::Session { session: session.clone() })),
        (5_000, Event::SessionReady { session: session.clone(), facts }),
        (
            5_100,
            Event::SessionEnded {
                session,
                end: SessionEnd::Refused,
                checkpoint: None,
                changed: 0,
                dropped: 0,
                artifacts: BTreeMap::new(),
                hand_over: None,
                transcript: None,
                detail: None,
                said: None,
                omitted: None,
            },
        ),
        (5_200, began(Key::CloseLanes)),
        (5_300, Event::LanesClosed),
        (5_400, began(Key::End)),
        (5_500, Event::Ended { outcome: Outcome::Failed }),
    ]
}

fn follow(events: &[(u64, Event)]) -> Vec<Span> {
    let mut follower = Follower::new(Redactor::new([]), None);
    let mut spans = Vec::new();
    for (at_ms, event) in events {
        spans.extend(follower.follow(event, *at_ms).unwrap_or_else(|e| panic!("{e}: {event:?}")));
    }
    spans
}

#[test]
fn a_run_that_fails_ends_every_span_it_began_and_says_why() {
    let spans = follow(&refused());
    let names: Vec<_> = spans.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(names, ["invoke_agent maker", "phase implement", "invoke_workflow quick"]);
    let errors: Vec<_> = spans.iter().map(|span| span.get(names::ERROR).cloned()).collect();
    let words = [word(SessionEnd::Refused), word(Outcome::Failed), word(FailureKind::Refused)];
    assert_eq!(errors, words.map(|word| Some(Value::from(word))));
    assert_eq!(spans[2].get(names::OUTCOME), Some(&Value::from("failed")));
}

#[test]
fn the_kinds_of_calls_have_the_ledgers_words() {
    for one in [CallKind::Work, CallKind::HandOver, CallKind::Compaction] {
        assert_eq!(kind(one), word(one));
    }
}

#[test]
fn a_clock_that_was_set_back_makes_no_span_end_before_it_begins() {
    for span in follow(&refused()) {
        assert!(span.start_ms <= span.end_ms, "{}", span.name);
    }
}

#[test]
fn what_a_program_says_of_itself_cannot_steer_a_terminal() {
    let spans = follow(&refused());
    assert_eq!(spans[0].get(names::REQUEST_MODEL), Some(&Value::from("m red")));
}

#[test]
fn an_unknown_window_has_no_share() {
    let spans = follow(&refused());
    assert_eq!(spans[0].get(names::USED_RATIO), None);
}

#[test]
fn entries_out_of_order_are_refused_and_leave_everything_as_it_was() {
    let events = refused();
    let mut follower = Follower::new(Redactor::new([]), None);
    let mut follow = |index: usize| follower.follow(&events[index].1, events[index].0);
    assert!(follow(1).is_err(), "nothing comes before `created`");
    follow(0).expect("the first one");
    follow(1).expect("the second one");
    assert!(follow(9).is_err());
    for index in 2..events.len() {
        follow(index).expect("it goes on");
    }
}
