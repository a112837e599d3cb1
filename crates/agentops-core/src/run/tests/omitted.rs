//! What a checkpoint does not hold: who is asked, and from what a lane goes on.

use super::*;
use crate::workflow::Writes;

/// Brings a new world to the end of the first session that writes files, and ends that one like this.
fn after_first_change(end: SessionEnd, omitted: Option<Omitted>) -> (World, crate::id::SessionId, Commit) {
    let mut world = World::new(Approve::All, Vec::new());
    loop {
        let (key, action) = world.state.actions().into_iter().next().expect("something is due");
        world.append(Event::Began { key });
        match action {
            Action::StartSession { session, writes: Writes::Files, .. } => {
                world.append(exited(&session, end));
                let (key, _) = world.due(|action| matches!(action, Action::Checkpoint { .. })).expect("a checkpoint is due");
                world.append(Event::Began { key });
                let checkpoint = commit(world.fresh());
                world.append(Event::SessionEnded {
                    session: session.clone(),
                    end,
                    checkpoint: Some(checkpoint.clone()),
                    changed: 1,
                    dropped: 0,
                    artifacts: BTreeMap::new(),
                    hand_over: None,
                    transcript: None,
                    detail: Some(blob(8)),
                    said: None,
                    omitted,
                });
                return (world, session, checkpoint);
            }
            action => world.perform(action),
        }
    }
}

#[test]
fn p6_a_lane_with_work_in_no_checkpoint_waits_for_a_person() {
    let omitted = Some(Omitted { list: blob(9), unseen: 1 });
    let (mut world, session, _) = after_first_change(SessionEnd::Completed, omitted);
    let decision = world.state.decisions.first().cloned().expect("a decision");
    assert_eq!((decision.kind, decision.detail), (DecisionKind::WorkOmitted, Some(blob(8))));
    assert!(world.state.actions().iter().all(|(_, action)| !matches!(action, Action::Merge { .. })));
    world.append(Event::Intent(Intent::Resume { decisions: None }));
    let (lane, _) = world.state.sessions().find(|(_, known)| known.id == session).expect("the session");
    assert_eq!((lane.accepted.clone(), lane.done), (Some(blob(9)), true));
    assert!(world.go());
    assert_eq!(world.state.status(true), Status::Done);
    // What was accepted before is not asked again.
    let (world, ..) = after_first_change(SessionEnd::Completed, Some(Omitted { list: blob(9), unseen: 0 }));
    assert!(world.state.decisions.is_empty());
}

#[test]
fn p6_after_filtered_files_the_lane_goes_on_from_everything_else() {
    let omitted = Some(Omitted { list: blob(9), unseen: 1 });
    let (mut world, session, checkpoint) = after_first_change(SessionEnd::Filtered, omitted);
    assert_eq!(world.state.decisions.first().map(|decision| decision.kind), Some(DecisionKind::FilteredFiles));
    world.append(Event::Intent(Intent::Resume { decisions: None }));
    let next = world.state.actions().into_iter().find_map(|(_, action)| match action {
        Action::StartSession { session: next, parent, next: start, .. } if next.lane == session.lane => {
            Some((parent, start))
        }
        _ => None,
    });
    let (parent, start) = next.expect("the next session");
    assert_eq!((parent, start.reset_to, start.findings), (checkpoint, None, Some(blob(8))));
    // A ledger up to format 4 has the raw files in the checkpoint: nothing is built on it.
    let (mut world, session, checkpoint) = after_first_change(SessionEnd::Filtered, None);
    world.append(Event::Intent(Intent::Resume { decisions: None }));
    let (lane, _) = world.state.sessions().find(|(_, known)| known.id == session).expect("the session");
    assert!(lane.head.is_none() && lane.next.reset_to.as_ref().is_some_and(|reset_to| *reset_to != checkpoint));
}

/// Such a run has no way on and asks nobody, so nothing may remove what only the lane holds.
#[test]
fn p6_a_lane_with_work_in_no_checkpoint_stays_when_its_run_fails_or_is_cancelled() {
    let omitted = |unseen| Some(Omitted { list: blob(9), unseen });
    for (end, unseen, cancels, stays) in [
        (SessionEnd::UsageUnknown, 1, false, true),
        (SessionEnd::Refused, 1, false, true),
        (SessionEnd::UsageUnknown, 0, false, false),
        (SessionEnd::Completed, 1, true, true),
        (SessionEnd::Completed, 0, true, false),
    ] {
        let (mut world, session, _) = after_first_change(end, omitted(unseen));
        if cancels {
            world.append(Event::Intent(Intent::Cancel));
        }
        assert!(world.go());
        assert!(world.state.outcome.is_some(), "{end:?}");
        let lanes: Vec<_> = world.state.lanes_that_stay().map(|lane| lane.id.clone()).collect();
        assert_eq!(lanes, if stays { vec![session.lane] } else { Vec::new() }, "{end:?} {unseen} {cancels}");
    }
    // What a person has accepted does not stay.
    let (mut world, ..) = after_first_change(SessionEnd::Completed, omitted(1));
    world.append(Event::Intent(Intent::Resume { decisions: None }));
    world.append(Event::Intent(Intent::Cancel));
    assert!(world.go());
    assert_eq!(world.state.lanes_that_stay().count(), 0);
}
