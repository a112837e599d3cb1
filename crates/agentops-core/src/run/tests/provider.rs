//! Providers that say until when they take no calls.

use super::decisions::{starts, two_lanes};
use super::*;
use crate::id::{LaneId, SessionId};
use crate::run::event::SessionExit;

const HOUR_MS: u64 = 60 * 60 * 1000;

/// The session ends because its provider takes no calls until then.
fn refused_until(world: &mut World, session: &SessionId, until_ms: u64) {
    let Event::SessionExited { exit, .. } = exited(session, SessionEnd::Provider) else { panic!() };
    let exit = SessionExit { provider_until_ms: Some(until_ms), ..*exit };
    world.append(Event::SessionExited { session: session.clone(), exit: Box::new(exit) });
    let key = world.due(|action| matches!(action, Action::Checkpoint { session: of, .. } if of == session)).unwrap().0;
    world.append(Event::Began { key });
    world.kept(session, SessionEnd::Provider, false);
}

fn lane<'w>(world: &'w World, id: &LaneId) -> &'w LaneState {
    world.state.phases[0].lanes.iter().find(|lane| lane.id == *id).unwrap()
}

fn until(world: &World, id: &LaneId) -> Option<(u64, u32)> {
    let backoff = lane(world, id).backoff.as_ref().filter(|backoff| !backoff.over)?;
    Some((backoff.since_ms + backoff.wait_ms, backoff.tries))
}

#[test]
fn a_named_wait_is_no_failed_try_and_holds_for_the_other_lanes_of_that_program() {
    let (mut world, first, second) = two_lanes();
    let until_ms = world.now + HOUR_MS;
    refused_until(&mut world, &first, until_ms);
    assert_eq!(until(&world, &first.lane), Some((until_ms, 0)));
    assert!(!starts(&world, &first.lane));
    // The other lane is at work; its next session would call the same provider.
    assert_eq!(until(&world, &second.lane), None);
    world.session_end(&second, SessionEnd::HandedOver, false);
    assert_eq!(until(&world, &second.lane), Some((until_ms, 0)));
    assert!(!starts(&world, &second.lane) && world.state.decisions.is_empty());
    let Status::Waiting { waiting: Waiting::Provider { until_ms: shown } } = world.state.status(true) else { panic!() };
    assert_eq!(shown, until_ms);
    world.now = until_ms;
    for timer in world.state.timers() {
        world.append(Event::TimerFired { key: timer.key });
    }
    assert!(starts(&world, &first.lane) && starts(&world, &second.lane));
    assert!(world.go());
    assert_eq!(world.state.status(true), Status::Done);
}

#[test]
fn a_wait_that_is_too_long_or_has_passed_is_not_believed() {
    let (mut world, first, second) = two_lanes();
    let long = world.now + 30 * 24 * HOUR_MS;
    refused_until(&mut world, &first, long);
    assert_eq!(world.state.decisions.iter().map(|asked| asked.kind).collect::<Vec<_>>(), [DecisionKind::Provider]);
    let passed = world.now - 1;
    refused_until(&mut world, &second, passed);
    let (until_ms, tries) = until(&world, &second.lane).unwrap();
    assert_eq!((until_ms - world.state.last_at_ms, tries), (5_000, 0), "never at once, or a session would follow another");
}

#[test]
fn a_person_who_answers_the_question_has_the_provider_asked_again() {
    let (mut world, first, second) = two_lanes();
    let until_ms = world.now + HOUR_MS;
    refused_until(&mut world, &first, until_ms);
    refused_until(&mut world, &second, until_ms + 30 * 24 * HOUR_MS);
    assert!(!starts(&world, &second.lane));
    world.append(Event::Intent(Intent::Resume { decisions: None }));
    assert!(starts(&world, &second.lane));
}
