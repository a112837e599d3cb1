//! The loop over a real ledger.

use agentops_core::run::Key;

use super::*;
use crate::perform::test_context;

#[test]
fn s13_nothing_counts_as_agreed_to_that_was_not_shown() {
    let (folder, ctx, state) = test_context::new();
    let (run, record) = (state.created.run.clone(), state.created.task.clone());
    let ledger = Watched::new(Ledger::open(&folder.path().join("ledger.db")).unwrap());
    let conductor = Conductor::start(SystemClock::default(), ledger, Performer::new(Arc::new(ctx))).unwrap();
    let mut turning = Loop { conductor, followers: Vec::new(), fatal: None };
    let happened = |event| Input::Happened(run.clone(), event);
    // The test of its merge is never compared: that merge was killed.
    let recorded = Event::RepositoryRecorded { during: Key::MergeTest { attempt: 1 }, record };
    for input in [
        Input::Create(Box::new((*state.created).clone())),
        Input::Intent(run.clone(), Intent::Cancel),
        happened(Event::LanesClosed),
        happened(recorded),
    ] {
        assert_eq!(turning.take(vec![input]).unwrap(), [Ok(())]);
    }
    let open = |turning: &Loop| -> Vec<u64> {
        let changes = turning.conductor.storage.ledger.program_changes().unwrap();
        changes.into_iter().map(|change| change.seq).collect()
    };
    let shown = open(&turning);
    assert_eq!(shown.len(), 1);
    let agree = |turning: &mut Loop, shown| turning.agree_to_programs(run.clone(), Vec::new(), Vec::new(), shown).unwrap();
    assert_eq!(agree(&mut turning, &[]), Err(Refusal::NotShown(run.clone())));
    assert_eq!(open(&turning), shown);
    assert_eq!(agree(&mut turning, &shown), Ok(()));
    assert!(open(&turning).is_empty());
}
