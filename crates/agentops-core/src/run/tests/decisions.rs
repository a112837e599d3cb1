//! Exits, checkpoints and questions: what runs again, and what waits for whom.

use super::*;
use crate::id::{LaneId, SessionId};

/// Both lanes of the first phase are at work.
pub(super) fn two_lanes() -> (World, SessionId, SessionId) {
    let mut world = World::new(Approve::All, Vec::new());
    let mut sessions = Vec::new();
    while sessions.len() < 2 {
        for (key, action) in world.state.actions() {
            world.append(Event::Began { key });
            match action {
                Action::StartSession { session, .. } => sessions.push(session),
                action => world.perform(action),
            }
        }
    }
    let second = sessions.remove(1);
    (world, sessions.remove(0), second)
}

pub(super) fn starts(world: &World, lane: &LaneId) -> bool {
    world.due(|action| matches!(action, Action::StartSession { session, .. } if session.lane == *lane)).is_some()
}

fn checkpoint_of(world: &World, session: &SessionId) -> Option<Key> {
    let of = |action: &Action| matches!(action, Action::Checkpoint { session: of, .. } if of == session);
    world.due(of).map(|(key, _)| key)
}

fn kinds(world: &World) -> Vec<DecisionKind> {
    world.state.decisions.iter().map(|decision| decision.kind).collect()
}

#[test]
fn r2_r5_a_failed_checkpoint_is_repeated_and_its_agent_is_not() {
    let (mut world, session, other) = two_lanes();
    world.append(exited(&session, SessionEnd::Completed));
    for attempt in 1..4 {
        let key = Key::Checkpoint { session: session.clone(), attempt };
        assert_eq!(checkpoint_of(&world, &session), Some(key.clone()));
        world.append(Event::Began { key: key.clone() });
        world.append(Event::ActionFailed { key, detail: blob(9) });
        assert_eq!(kinds(&world), [DecisionKind::CheckpointFailed]);
        assert!(!starts(&world, &session.lane) && checkpoint_of(&world, &session).is_none());
        assert_eq!(world.state.status(true), Status::Running, "the other lane is at work");
        world.append(Event::Intent(Intent::Resume { decisions: None }));
    }
    let key = checkpoint_of(&world, &session).expect("it is due again");
    world.append(Event::Began { key });
    world.kept(&session, SessionEnd::Completed, false);
    world.session_end(&other, SessionEnd::Completed, false);
    let lane = world.state.phases[0].lanes.iter().find(|lane| lane.id == session.lane).expect("the lane");
    assert_eq!((lane.sessions.len(), lane.failures, lane.done), (1, 0, true));
    assert!(world.go());
    assert_eq!(world.state.status(true), Status::Done);
}

#[test]
fn r2_a_takeover_between_exit_and_end_repeats_the_checkpoint_only() {
    let (mut world, session, other) = two_lanes();
    world.append(granted(&session));
    world.append(exited(&session, SessionEnd::Completed));
    let key = checkpoint_of(&world, &session).expect("a checkpoint is due");
    world.append(Event::Began { key: key.clone() });
    world.append(Event::Orphaned);
    let due: Vec<Key> = world.state.actions().into_iter().map(|(key, _)| key).collect();
    let salvage = Key::Salvage { session: other.clone(), takeover: 1 };
    assert!(due.contains(&key) && due.contains(&salvage) && due.len() == 2, "{due:?}");
    assert!(world.state.unreconciled().is_zero(), "its calls were all on record when it exited");
    world.append(Event::Began { key });
    world.kept(&session, SessionEnd::Completed, false);
    assert!(!starts(&world, &session.lane));
}

fn granted(session: &SessionId) -> Event {
    Event::Granted { session: session.clone(), amount: crate::budget::Amount::priced(1_000, 1) }
}

#[test]
fn an_agent_that_has_exited_makes_no_more_calls_and_exits_once() {
    let (mut world, session, _) = two_lanes();
    world.append(exited(&session, SessionEnd::Completed));
    for late in [call(&session, 100, 1000), granted(&session), exited(&session, SessionEnd::Failed)] {
        assert!(world.state.clone().apply(&late, 9).is_err(), "{late:?}");
    }
}

#[test]
fn one_lanes_question_leaves_the_other_lane_at_work() {
    let (mut world, session, other) = two_lanes();
    world.session_end(&session, SessionEnd::NotLoggedIn, false);
    assert_eq!(kinds(&world), [DecisionKind::NotLoggedIn]);
    assert_eq!(world.state.status(true), Status::Running);
    // The other lane hands over, and its next session starts.
    world.session_end(&other, SessionEnd::HandedOver, false);
    assert!(starts(&world, &other.lane) && !starts(&world, &session.lane));
    let (key, action) = world.due(|action| matches!(action, Action::StartSession { .. })).expect("the next session");
    world.append(Event::Began { key });
    let Action::StartSession { session: next, .. } = action else { unreachable!() };
    world.session_end(&next, SessionEnd::NotLoggedIn, false);
    assert!(matches!(world.state.status(true), Status::NeedsDecision { .. }));
    assert_eq!(kinds(&world).len(), 2);
    assert!(world.state.actions().is_empty(), "the phase's gates wait for both");
    world.append(Event::Intent(Intent::Resume { decisions: None }));
    assert!(starts(&world, &session.lane) && starts(&world, &other.lane), "one answer is for all questions");
}

#[test]
fn r2_interruptions_in_a_row_ask_a_person_and_each_lane_has_its_own_count() {
    let (mut world, first, other) = two_lanes();
    // The other lane ends in order; the first one's supervisor dies under every session of its.
    world.session_end(&other, SessionEnd::Completed, false);
    let mut session = first.clone();
    for died in 1.. {
        world.append(Event::Orphaned);
        for _ in 0..2 {
            let (key, action) = world.state.actions().remove(0);
            world.append(Event::Began { key });
            match action {
                // What it finds in the lane is what was there before.
                Action::Checkpoint { session, .. } => world.append(Event::SessionEnded {
                    session,
                    end: SessionEnd::Interrupted,
                    checkpoint: None,
                    changed: 0,
                    dropped: 0,
                    artifacts: BTreeMap::new(),
                    hand_over: None,
                    transcript: None,
                    detail: None,
                    said: None,
                    omitted: None,
                }),
                action => world.perform(action),
            }
        }
        if died == 3 {
            break;
        }
        let (key, action) = world.due(|action| matches!(action, Action::StartSession { .. })).expect("it may try again");
        world.append(Event::Began { key });
        let Action::StartSession { session: next, .. } = action else { unreachable!() };
        session = next;
    }
    assert_eq!((session.ordinal, kinds(&world)), (3, vec![DecisionKind::Interrupted]));
    assert!(world.state.actions().is_empty());
    world.append(Event::Intent(Intent::Resume { decisions: None }));
    assert!(starts(&world, &first.lane));
}

#[test]
fn a_session_that_this_machine_could_not_start_is_no_failure_of_its_agent() {
    let (mut world, session, _) = two_lanes();
    world.append(Event::SessionNotStarted { session: session.clone(), detail: blob(9), newest: None });
    assert_eq!(kinds(&world), [DecisionKind::NotStarted]);
    let lane = |world: &World| world.state.phases[0].lanes.iter().find(|lane| lane.id == session.lane).cloned();
    assert_eq!(lane(&world).map(|lane| lane.failures), Some(0));
    world.append(Event::Intent(Intent::Resume { decisions: None }));
    let next = SessionId { ordinal: 2, ..session.clone() };
    assert!(world.due(|action| matches!(action, Action::StartSession { session, .. } if *session == next)).is_some());
}

#[test]
fn where_a_checkpoint_is_gone_a_person_decides_and_the_newest_that_exists_is_gone_on_from() {
    let (mut world, session, _) = two_lanes();
    let newest = Some(commit(1));
    world.append(Event::SessionNotStarted { session: session.clone(), detail: blob(9), newest });
    assert_eq!(kinds(&world), [DecisionKind::CheckpointLost]);
    world.append(Event::Intent(Intent::Resume { decisions: None }));
    let (_, action) = world.due(|action| matches!(action, Action::StartSession { .. })).expect("it goes on");
    assert!(matches!(action, Action::StartSession { parent, next, .. }
        if parent == commit(1) && next.reset_to == Some(commit(1))));
}

/// After a failed gate or merge, the next attempt has the next number. So a test that counts begun keys sees each one once.
#[test]
fn r2_an_attempt_that_failed_is_followed_by_the_next_number() {
    for is_wanted in [
        (|action| matches!(action, Action::OpenLane { .. })) as fn(&Action) -> bool,
        |action| matches!(action, Action::Merge { .. }),
        |action| matches!(action, Action::RunGate { .. }),
    ] {
        let mut world = World::new(Approve::All, Vec::new());
        let mut keys = BTreeSet::new();
        while keys.len() < 3 {
            let wanted = world.due(is_wanted);
            let (key, action) = wanted.clone().unwrap_or_else(|| world.state.actions().remove(0));
            world.append(Event::Began { key: key.clone() });
            if wanted.is_none() {
                world.perform(action);
                continue;
            }
            let is_same = |(_, due): &(Key, Action)| *due == action;
            assert!(keys.insert(key.clone()), "{key} had ended before it began again");
            world.append(Event::ActionFailed { key, detail: blob(9) });
            assert_eq!(kinds(&world), [DecisionKind::ActionFailed]);
            assert!(!world.state.actions().iter().any(is_same), "a person is asked first");
            // Also another supervisor asks before it tries again.
            world.append(Event::Orphaned);
            world.append(Event::Intent(Intent::Resume { decisions: None }));
        }
    }
}

#[test]
fn r2_an_outcome_ends_only_the_action_whose_outcome_it_is() {
    let (world, session, other) = two_lanes();
    let key = Key::Session { session: session.clone() };
    assert!(key.is_ended_by(&exited(&session, SessionEnd::Completed)));
    assert!(!key.is_ended_by(&exited(&other, SessionEnd::Completed)));
    assert!(!key.is_ended_by(&Event::LanesClosed));
    let failed = Event::ActionFailed { key: key.clone(), detail: blob(9) };
    assert!(key.is_ended_by(&failed) && !Key::Record.is_ended_by(&failed));
    assert!(world.state.clone().apply(&Event::LanesClosed, 9).is_err());
}

#[test]
fn r11_a_cancelled_run_asks_about_its_end_and_not_for_an_approval() {
    let mut world = World::new(Approve::None, Vec::new());
    world.go();
    assert!(matches!(world.state.status(true), Status::Waiting { waiting: Waiting::Approval { .. } }));
    world.append(Event::Intent(Intent::Cancel));
    let (key, _) = world.due(|action| *action == Action::CloseLanes).expect("the lanes are to be removed");
    world.append(Event::Began { key: key.clone() });
    world.append(Event::ActionFailed { key, detail: blob(9) });
    assert!(matches!(world.state.status(true), Status::NeedsDecision { .. }), "{:?}", world.state.status(true));
    world.append(Event::Intent(Intent::Resume { decisions: None }));
    world.go();
    assert_eq!(world.state.status(true), Status::Cancelled);
}

/// A person who cancels is asked once more, and then the run ends without the checkpoint.
#[test]
fn r11_a_cancelled_run_ends_although_a_checkpoint_fails_every_time() {
    let (mut world, session, other) = two_lanes();
    world.session_end(&other, SessionEnd::Completed, false);
    world.append(exited(&session, SessionEnd::Completed));
    let fail = |world: &mut World| {
        let key = checkpoint_of(world, &session).expect("a checkpoint is due");
        world.append(Event::Began { key: key.clone() });
        world.append(Event::ActionFailed { key, detail: blob(9) });
    };
    fail(&mut world);
    assert_eq!(kinds(&world), [DecisionKind::CheckpointFailed]);
    world.append(Event::Intent(Intent::Cancel));
    fail(&mut world);
    assert!(kinds(&world).is_empty(), "nothing is asked any more");
    let (_, left) = world.state.sessions().find(|(_, known)| known.id == session).expect("the session");
    assert!(left.not_kept && left.end == Some(SessionEnd::Cancelled) && left.detail == Some(blob(9)));
    assert!(world.go());
    assert_eq!(world.state.status(true), Status::Cancelled);
}

/// The person has decided before it fails: nobody is asked, and it is tried once more at once.
#[test]
fn r11_a_run_that_is_cancelled_during_a_checkpoint_ends_although_that_checkpoint_fails() {
    for fails_again in [true, false] {
        let (mut world, session, other) = two_lanes();
        world.session_end(&other, SessionEnd::Completed, false);
        world.append(exited(&session, SessionEnd::Completed));
        let key = checkpoint_of(&world, &session).expect("a checkpoint is due");
        world.append(Event::Began { key: key.clone() });
        world.append(Event::Intent(Intent::Cancel));
        world.append(Event::ActionFailed { key: key.clone(), detail: blob(9) });
        assert!(kinds(&world).is_empty() && world.state.status(true) == Status::Running, "{:?}", kinds(&world));
        let again = checkpoint_of(&world, &session).expect("it is tried once more");
        assert_ne!(again, key);
        if fails_again {
            world.append(Event::Began { key: again.clone() });
            world.append(Event::ActionFailed { key: again, detail: blob(9) });
        }
        assert!(world.go());
        assert_eq!(world.state.status(true), Status::Cancelled);
        let stays: Vec<_> = world.state.lanes_that_stay().map(|lane| lane.id.clone()).collect();
        assert_eq!(stays, if fails_again { vec![session.lane.clone()] } else { Vec::new() });
    }
}

/// A ledger may hold a person's answer to the question that such a run asked before.
#[test]
fn r10_an_answer_to_a_cancelled_run_that_asks_nothing_changes_nothing() {
    let (mut world, session, _) = two_lanes();
    world.append(exited(&session, SessionEnd::Completed));
    let key = checkpoint_of(&world, &session).expect("a checkpoint is due");
    world.append(Event::Began { key: key.clone() });
    world.append(Event::Intent(Intent::Cancel));
    world.append(Event::ActionFailed { key, detail: blob(9) });
    let before = world.state.actions();
    world.append(Event::Intent(Intent::Resume { decisions: None }));
    assert_eq!(world.state.actions(), before);
}

#[test]
fn r11_a_second_cancel_answers_what_a_cancelled_run_asks() {
    let mut world = World::new(Approve::None, Vec::new());
    world.go();
    world.append(Event::Intent(Intent::Cancel));
    assert!(world.state.try_apply(&Event::Intent(Intent::Cancel), 99).is_err(), "nothing is asked");
    let (key, _) = world.due(|action| *action == Action::CloseLanes).expect("the lanes are to be removed");
    world.append(Event::Began { key: key.clone() });
    world.append(Event::ActionFailed { key, detail: blob(9) });
    assert_eq!(kinds(&world), [DecisionKind::ActionFailed]);
    world.append(Event::Intent(Intent::Cancel));
    assert!(kinds(&world).is_empty());
    assert!(world.go());
    assert_eq!(world.state.status(true), Status::Cancelled);
}

/// A person answers what they saw. A question that came up meanwhile stays open, and what it is about does not start again.
#[test]
fn r2_resume_answers_only_the_questions_that_it_names() {
    let (mut world, session, other) = two_lanes();
    let fails = |world: &mut World, session: &SessionId| {
        world.append(exited(session, SessionEnd::Completed));
        let key = checkpoint_of(world, session).expect("a checkpoint is due");
        world.append(Event::Began { key: key.clone() });
        world.append(Event::ActionFailed { key, detail: blob(9) });
    };
    fails(&mut world, &session);
    let seen = world.state.decisions.clone();
    fails(&mut world, &other);
    let resume = Event::Intent(Intent::Resume { decisions: Some(seen.clone()) });
    world.append(resume.clone());
    assert!(checkpoint_of(&world, &session).is_some() && checkpoint_of(&world, &other).is_none());
    assert_eq!(world.state.decisions.iter().map(|open| open.place.as_ref()).collect::<Vec<_>>(), [Some(&other.lane.lane)]);
    // Two persons answer the same question: the second answer is too late.
    assert!(world.state.try_apply(&resume, 99).is_err());
    assert!(world.state.try_apply(&Event::Intent(Intent::Resume { decisions: Some(Vec::new()) }), 99).is_err());
    let old: Intent = serde_json::from_str(r#"{"intent":"resume"}"#).expect("up to format 4");
    world.append(Event::Intent(old));
    assert!(world.state.decisions.is_empty() && checkpoint_of(&world, &other).is_some());
    assert!(world.go());
}
