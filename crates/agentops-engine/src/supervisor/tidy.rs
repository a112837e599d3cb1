//! What a supervisor clears away before it leaves: refs of ours that nobody needs.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use agentops_core::id::RunId;
use agentops_core::run::Closing;
use agentops_git::{Error as GitError, Oid, Repo};

use super::log;
use crate::ledger::Ledger;
use crate::perform::{Ctx, chain};
use crate::world::Clock;

/// Refs of a run stay so long after it was merged or discarded.
const KEPT_AFTER_CLOSING_MS: u64 = 14 * 24 * 60 * 60 * 1000;
/// Between two looks for such refs.
const LOOK_EVERY_MS: u64 = 24 * 60 * 60 * 1000;
/// In the state folder: when the last look was, in milliseconds since 1970.
const LAST_LOOK: &str = "tidied";

/// Deletes refs of runs that were closed long ago, and packs the others. Failures are for the log: the next supervisor tries
/// again.
pub(super) fn tidy(ctx: &Ctx, ledger: &Ledger) {
    if let Err(words) = drop_closed(&ctx.repo, ledger, ctx.paths.root(), ctx.clock.now_ms()) {
        log(&format!("refs of closed runs stay: {words}"));
    }
    if let Err(e) = ctx.repo.pack_our_refs() {
        log(&format!("refs are not packed: {}", chain(&e)));
    }
}

/// Whether a day has gone by since the last look. A clock that was set back does not put it off.
fn is_due(last_look: &Path, now_ms: u64) -> bool {
    let last = fs::read_to_string(last_look).ok().and_then(|text| text.trim().parse::<u64>().ok());
    last.and_then(|last| now_ms.checked_sub(last)).is_none_or(|since| since >= LOOK_EVERY_MS)
}

/// Deletes the refs of runs that were closed long enough ago, at most once a day.
fn drop_closed(repo: &Repo, ledger: &Ledger, state_folder: &Path, now_ms: u64) -> Result<(), String> {
    let last_look = state_folder.join(LAST_LOOK);
    if !is_due(&last_look, now_ms) {
        return Ok(());
    }
    let before = now_ms.saturating_sub(KEPT_AFTER_CLOSING_MS);
    let closed = ledger.closed_before(before).map_err(|e| chain(&e))?;
    drop_refs_of(repo, &closed).map_err(|e| chain(&e))?;
    // Without the file the next supervisor looks once more.
    let _looked_again = fs::write(&last_look, now_ms.to_string());
    Ok(())
}

/// Deletes the refs of closed runs: those of checkpoints that your own branches contain, and what was kept beside the result,
/// which is what an agent left and what it took from your refs and stash.
fn drop_refs_of(repo: &Repo, closed: &[(RunId, Closing)]) -> Result<(), GitError> {
    if closed.is_empty() {
        return Ok(());
    }
    let refs = repo.list_refs("refs/agentops")?;
    let runs_with = |kinds: &[&str]| -> BTreeSet<String> {
        let of_run = |name: &str| {
            let (kind, rest) = name.strip_prefix("refs/agentops/")?.split_once('/')?;
            kinds.contains(&kind).then(|| rest.split('/').next().unwrap_or(rest).to_owned())
        };
        refs.iter().filter_map(|(name, _)| of_run(name)).collect()
    };
    let (with_checkpoints, with_kept) = (runs_with(&["runs", "results"]), runs_with(&["kept", "salvage"]));
    let prefixes = |run: &RunId, kinds: [&str; 2]| kinds.map(|kind| format!("refs/agentops/{kind}/{run}/"));
    for (run, closing) in closed {
        if with_kept.contains(run.as_str()) {
            repo.drop_refs(&prefixes(run, ["kept", "salvage"]))?;
        }
        if let Closing::Merged { commit } = closing
            && with_checkpoints.contains(run.as_str())
            && let Ok(merged) = commit.as_str().parse::<Oid>()
        {
            repo.drop_merged_refs(&prefixes(run, ["runs", "results"]), &merged)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use agentops_core::run::Event;
    use agentops_git::Expect;

    use super::*;
    use crate::fixture;
    use crate::world::{Row, Storage};

    #[test]
    fn p6_what_was_kept_beside_a_result_goes_with_the_closed_run_and_not_before() {
        let folder = tempfile::tempdir().unwrap();
        let repo = agentops_git::begin(folder.path(), &[("README.md", b"one\n")], "one\n").unwrap();
        let head = repo.head().unwrap().commit;
        let [merged, discarded, open] = ["r-aaaaaa", "r-bbbbbb", "r-cccccc"].map(|run| run.parse::<RunId>().unwrap());
        let mut names = Vec::new();
        for run in [&merged, &discarded, &open] {
            for rest in ["runs/RUN/implement.implement/1", "salvage/RUN/implement.implement/1/0123", "kept/RUN/heads/topic"]
            {
                names.push(format!("refs/agentops/{}", rest.replace("RUN", run.as_str())));
            }
        }
        names.push(format!("refs/agentops/discarded/{discarded}"));
        for name in &names {
            repo.update_ref(name, &head, &Expect::Absent).unwrap();
        }
        let left =
            || -> Vec<String> { repo.list_refs("refs/agentops").unwrap().into_iter().map(|(name, _)| name).collect() };
        let all = left();
        drop_refs_of(&repo, &[]).unwrap();
        assert_eq!(left(), all);
        let commit: agentops_core::id::Commit = head.as_str().parse().unwrap();
        let merge = Closing::Merged { commit: commit.clone() };
        drop_refs_of(&repo, &[(merged.clone(), merge), (discarded.clone(), Closing::Discarded { commit })]).unwrap();
        let expected = [
            format!("refs/agentops/discarded/{discarded}"),
            format!("refs/agentops/kept/{open}/heads/topic"),
            format!("refs/agentops/runs/{discarded}/implement.implement/1"),
            format!("refs/agentops/runs/{open}/implement.implement/1"),
            format!("refs/agentops/salvage/{open}/implement.implement/1/0123"),
        ];
        assert_eq!(left(), expected);
    }

    #[test]
    fn p6_refs_of_a_discarded_run_stay_for_fourteen_days() {
        let folder = tempfile::tempdir().unwrap();
        let repo = agentops_git::begin(folder.path(), &[("README.md", b"one\n")], "one\n").unwrap();
        let head = repo.head().unwrap().commit;
        let state = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(&state.path().join("ledger.db")).unwrap();
        let created = fixture::created(1, &fixture::workflow(), fixture::blob(3));
        let run = created.run.clone();
        let kept = format!("refs/agentops/kept/{run}/heads/topic");
        repo.update_ref(&kept, &head, &Expect::Absent).unwrap();
        let day = 24 * 60 * 60 * 1000;
        let closed_at = 100 * day;
        let closing = Closing::Discarded { commit: head.as_str().parse().unwrap() };
        let row = |event, at_ms| Row { run: run.clone(), at_ms, event };
        let rows = [row(Event::Created(Box::new(created)), closed_at - 1), row(Event::Closed { closing }, closed_at)];
        ledger.append(&rows).unwrap();
        let is_there_at = |now_ms: u64| {
            drop_closed(&repo, &ledger, state.path(), now_ms).unwrap();
            repo.list_refs("refs/agentops/kept").unwrap() == [(kept.clone(), head.clone())]
        };
        assert!(is_there_at(closed_at));
        assert!(is_there_at(closed_at + 14 * day), "not a millisecond earlier");
        assert!(is_there_at(closed_at + 14 * day + 1), "the last look was no day ago");
        assert!(is_there_at(closed_at - 20 * day), "a clock that was set back takes nothing");
        assert!(!is_there_at(closed_at + 15 * day));
    }

    #[test]
    fn refs_are_looked_through_once_a_day() {
        let folder = tempfile::tempdir().unwrap();
        let last_look = folder.path().join(LAST_LOOK);
        let day = 24 * 60 * 60 * 1000;
        assert!(is_due(&last_look, day));
        fs::write(&last_look, "1000").unwrap();
        assert!(!is_due(&last_look, day) && is_due(&last_look, day + 1000));
        assert!(is_due(&last_look, 999), "the clock was set back");
        fs::write(&last_look, "").unwrap();
        assert!(is_due(&last_look, day), "a full disk left an empty file");
    }
}
