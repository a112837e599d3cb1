//! Waiting for a slot: shown, never counted as work, and forgotten with the supervisor that waited.

use super::*;

fn awaited(session: &crate::id::SessionId) -> Event {
    Event::SlotAwaited { key: Key::Session { session: session.clone() } }
}

#[test]
fn a_run_of_which_everything_waits_says_so_and_since_when() {
    let (mut world, session) = with_a_session();
    world.append(awaited(&session));
    let since_ms = world.now;
    assert_eq!(world.state.status(true), Status::Waiting { waiting: Waiting::Slot { since_ms } });
    assert_eq!(world.state.status(false), Status::Waiting { waiting: Waiting::Supervisor });
    assert!(world.state.clone().apply(&awaited(&session), 9).is_err(), "it waits already");
    world.now += 1_000_000;
    world.append(Event::SlotTaken { key: Key::Session { session: session.clone() } });
    let began = world.state.sessions().find(|(_, known)| known.id == session).map(|(_, known)| known.began_at_ms);
    assert_eq!((world.state.status(true), began), (Status::Running, Some(world.now)), "waiting is no work");
}

#[test]
fn a_session_that_waited_when_its_supervisor_died_begins_anew() {
    let (mut world, session) = with_a_session();
    world.append(awaited(&session));
    world.append(Event::Orphaned);
    assert_eq!(world.state.sessions().count(), 0, "nothing of it ran, so nothing was interrupted");
    let starts = |(key, _): &(Key, Action)| *key == Key::Session { session: session.clone() };
    assert!(world.state.actions().iter().any(starts), "{:?}", world.state.actions());
}

#[test]
fn a_session_that_had_its_slot_is_salvaged() {
    let (mut world, session) = with_a_session();
    world.append(awaited(&session));
    world.append(Event::SlotTaken { key: Key::Session { session: session.clone() } });
    world.append(Event::Orphaned);
    assert!(world.state.actions().iter().any(|(key, _)| matches!(key, Key::Salvage { .. })));
}

#[test]
fn only_what_is_under_way_waits() {
    let (mut world, session) = with_a_session();
    let stranger = crate::id::SessionId { ordinal: 7, ..session.clone() };
    assert!(world.state.clone().apply(&awaited(&stranger), 9).is_err());
    world.append(awaited(&session));
    world.append(Event::Intent(Intent::Cancel));
    world.session_end(&session, SessionEnd::Cancelled, false);
    assert!(world.state.waits_for_slot.is_empty());
}
