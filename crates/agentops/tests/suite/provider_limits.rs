//! A provider that refuses calls and says when it takes them again.

use agentops_core::run::{Event, Key};
use agentops_testkit::model::{Conversation, HttpError, ModelServer, Script, Turn};

use crate::ceiling::ends;
use crate::decisions::provider_failed;
use crate::environment::{acp, enter, server};
use crate::room::{Room, refs};

/// A provider that refuses the first session and says when it takes calls again.
fn refuses_first(retry_after_s: u64) -> ModelServer {
    let refused = HttpError { status: 429, retry_after_s: Some(retry_after_s), ..HttpError::default() };
    let turns = vec![Turn { http_error: Some(refused), ..Turn::default() }];
    let first =
        Conversation { when: "Phase `implement`, lane `implement`, session 1.".into(), turns, ..Conversation::default() };
    server(Script { conversations: vec![first], ..Script::default() })
}

pub fn timers_fired(room: &Room, run: &str) -> Vec<u32> {
    let fired = room.entries(run).into_iter().filter_map(|entry| match entry.event {
        Event::TimerFired { key: Key::Backoff { tries, .. } } => Some(tries),
        _ => None,
    });
    fired.collect()
}

/// A session for every try was paid until the tries were used up, minutes later.
#[test]
fn a_provider_that_says_when_is_waited_for_without_a_session_or_a_failed_try() {
    let provider = refuses_first(7200);
    let mut room = Room::new();
    enter(&mut room, &provider, "a-key");
    let run = room.detach(&acp(&room));
    let failed = provider_failed(&room, &run);
    let view = room.run(&["show", &run, "--json"]).expect(0).json();
    assert_eq!(view["status"]["waiting"]["for"], "provider", "{view:#}");
    let waits_ms = view["status"]["waiting"]["until_ms"].as_u64().unwrap() - failed.at_ms;
    // It counts from the answer, and the session ends some time after it.
    assert!((6_900_000..=7_200_000).contains(&waits_ms), "{waits_ms}");
    assert_eq!((ends(&view).len(), provider.main_count()), (1, 1));
    let detail = view["phases"][0]["lanes"][0]["sessions"][0]["detail"].as_str().unwrap();
    assert!(detail.contains("the provider takes no calls until 20"), "{detail}");
    let shown = room.run(&["show", &run]).expect(0).stdout;
    assert!(shown.contains("for the model provider; next try in 1 h") || shown.contains("next try in 2 h"), "{shown}");
    // Another supervisor waits as long.
    room.kill_supervisor();
    let status = room.run(&["status", "--json"]).expect(0).json();
    assert_eq!(status["runs"][0]["status"], "waiting", "{status:#}");
    assert!(timers_fired(&room, &run).is_empty());
    room.run(&["cancel", &run]).expect(0);
}

#[test]
fn a_run_goes_on_by_itself_when_the_wait_that_its_provider_named_is_over() {
    let provider = refuses_first(6);
    let mut room = Room::new();
    enter(&mut room, &provider, "a-key");
    let view = room.run(&refs(&acp(&room))).expect(0).json();
    assert_eq!(view["status"]["status"], "done", "{view:#}");
    assert_eq!(ends(&view)[..2], ["provider", "completed"]);
    assert_eq!(timers_fired(&room, view["run"].as_str().unwrap()), [0], "no try was spent");
}
