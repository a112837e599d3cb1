//! The list on real files.

use agentops_core::run::{Key, Outcome};

use super::*;
use crate::fixture;
use crate::world::{Row, Storage};

fn row(bits: u64, event: Event) -> Row {
    Row { run: RunId::from_bits(bits), at_ms: 2000 + bits, event }
}

fn created(bits: u64) -> Row {
    row(bits, Event::Created(Box::new(fixture::created(bits, &fixture::workflow(), fixture::blob(3)))))
}

fn during() -> Key {
    Key::Session { session: "implement/implement/1".parse().expect("a session") }
}

fn recorded(bits: u64) -> Row {
    row(bits, Event::RepositoryRecorded { during: during(), record: fixture::blob(7) })
}

fn part(part: &str, content: &str) -> ProgramPart {
    ProgramPart { part: part.to_owned(), content: content.to_owned() }
}

fn compared(bits: u64, left: Option<&[ProgramPart]>) -> Row {
    let (changes, count) = (Some(fixture::blob(8)), 1);
    let left = left.map(<[ProgramPart]>::to_vec);
    row(bits, Event::RepositoryCompared { during: during(), changes, count, after_takeover: false, left })
}

fn agreed(bits: u64, agreed: &[ProgramPart], put_back: &[ProgramPart]) -> Row {
    row(bits, Event::ProgramsAgreed { agreed: agreed.to_vec(), put_back: put_back.to_vec() })
}

fn ended(bits: u64) -> Row {
    row(bits, Event::Ended { outcome: Outcome::Cancelled })
}

/// Run and parts of each change; runs that are under way have a `*`.
fn open(ledger: &Ledger) -> Vec<(String, Option<Vec<ProgramPart>>)> {
    let name = |change: &ProgramChange| format!("{}{}", change.run, if change.is_under_way { "*" } else { "" });
    ledger.program_changes().expect("a list").into_iter().map(|change| (name(&change), change.parts)).collect()
}

fn run(bits: u64) -> String {
    RunId::from_bits(bits).to_string()
}

#[test]
fn s13_what_a_run_left_stays_open_until_it_is_agreed_to_or_put_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ledger.db");
    let mut ledger = Ledger::open(&path).expect("a ledger");
    let (hook, setting, other) = (part("hook", "evil"), part("setting", "x"), part("hook", "other"));
    ledger.append(&[created(1), created(2), created(3), recorded(1), recorded(2)]).expect("an append");
    assert_eq!(open(&ledger), [(run(1) + "*", None), (run(2) + "*", None)]);
    // One leaves nothing, one leaves two parts, and ends.
    ledger.append(&[compared(2, Some(&[])), compared(1, Some(&[hook.clone(), setting.clone()])), ended(1)]).expect("more");
    assert_eq!(open(&ledger), [(run(1), Some(vec![hook.clone(), setting.clone()]))]);
    // The content that is agreed to is off the list, and so for what began before that.
    ledger.append(&[recorded(3), agreed(1, std::slice::from_ref(&hook), &[])]).expect("more");
    ledger.append(&[compared(3, Some(&[hook.clone(), other.clone()]))]).expect("more");
    assert_eq!(open(&ledger), [(run(1), Some(vec![setting.clone()])), (run(3), Some(vec![other.clone()]))]);
    assert_eq!(ledger.program_agreements().expect("a list").len(), 1);
    // Not for what began later: somebody put the same content there again.
    ledger.append(&[recorded(2), compared(2, Some(std::slice::from_ref(&hook)))]).expect("more");
    ledger.append(&[agreed(1, &[], &[setting, other])]).expect("more");
    assert_eq!(open(&ledger), [(run(2), Some(vec![hook]))]);
}

#[test]
fn s13_what_was_not_compared_counts_until_nothing_runs_that_could_hide_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut ledger = Ledger::open(&folder.path().join("ledger.db")).expect("a ledger");
    ledger.append(&[created(1), created(2), recorded(1), compared(1, None), ended(1), recorded(2)]).expect("an append");
    ledger.append(&[agreed(1, &[], &[])]).expect("an append");
    assert_eq!(open(&ledger), [(run(1), None), (run(2) + "*", None)]);
    ledger.append(&[compared(2, Some(&[])), agreed(1, &[], &[])]).expect("an append");
    assert_eq!(open(&ledger), []);
}

#[test]
fn s13_the_list_of_what_is_open_is_made_again() {
    for damage in ["DROP TABLE program_changes", "DROP TABLE program_agreements", "DROP TABLE runs", "DELETE FROM runs"] {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("ledger.db");
        let mut ledger = Ledger::open(&path).expect("a ledger");
        let (hook, setting) = (part("hook", "evil"), part("setting", "x"));
        ledger.append(&[created(1), recorded(1), compared(1, Some(&[hook.clone(), setting]))]).expect("an append");
        // Under way while something is agreed to, and ended later.
        ledger.append(&[created(2), recorded(2), agreed(1, &[hook], &[]), ended(1), ended(2)]).expect("an append");
        let lists = |ledger: &Ledger| {
            let (changes, agreements) = (ledger.program_changes(), ledger.program_agreements());
            (changes.expect("a list"), agreements.expect("a list"), ledger.runs(9).expect("a list"))
        };
        let before = lists(&ledger);
        assert_eq!((before.0.len(), before.1.len()), (2, 1));
        drop(ledger);
        Connection::open(&path).expect("the file").execute_batch(damage).expect("a change");
        assert_eq!(lists(&Ledger::open(&path).expect("it opens again")), before, "{damage}");
    }
}
