//! What killed processes left in a state folder. The next supervisor removes it before it starts anything.
//!
//! It holds the supervisor's lock, so nothing here is another supervisor's. Commands work beside it: what they use is locked,
//! see [`agentops_git::temporary`].

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use agentops_core::id::RunId;
use agentops_core::run::State;
use agentops_git::{LockWaiter, temporary};

use crate::identity;
use crate::ledger::Ledger;
use crate::paths::Paths;
use crate::perform::{self, Ctx};
use crate::routing;
use crate::supervisor::log;
use crate::world::StorageError;

/// How long a lock is waited for before something is left to the next supervisor.
const LOCK_TIME_MAX: Duration = Duration::from_millis(200);

/// Removes it. What cannot be removed is only untidy.
pub(crate) fn remove(ctx: &Ctx, ended: &[(RunId, State)]) {
    ctx.repo.sweep();
    ctx.blobs.sweep();
    let scratch = ctx.paths.scratch();
    if fs::symlink_metadata(&scratch).is_ok_and(|meta| meta.is_symlink()) {
        // What a link leads to may hold what is not ours.
        log(&format!("what killed processes left in {} stays: it is a link", scratch.display()));
    } else if let Some(e) = temporary::sweep_names(&scratch, |_| true).failed {
        log(&format!("what killed processes left in {} is not removed: {e}", scratch.display()));
    }
    // Older versions named theirs `routing.<pid>.part` and `repository.part`.
    let is_half = |name: &std::ffi::OsStr| {
        let name = name.to_string_lossy();
        name.starts_with(routing::PART)
            || name.starts_with(identity::PART)
            || (name.starts_with("routing.") || name.starts_with("repository.")) && name.ends_with(".part")
    };
    temporary::sweep_names(ctx.paths.root(), is_half);
    // Commands wait for this supervisor.
    let waiter = Arc::new(LockWaiter::default());
    waiter.when_cancelled_wait_for(LOCK_TIME_MAX);
    waiter.cancel();
    waiter.during(|| {
        for (run, state) in ended {
            let folder = ctx.paths.lanes(run);
            // A merge that is being tested works there.
            if let Some(_held) = hold(&folder) {
                perform::remove_lanes(ctx, run, state);
            }
        }
    });
}

/// Runs that have ended and still have a folder for lanes.
pub(crate) fn ended_runs(paths: &Paths, ledger: &mut Ledger) -> Result<Vec<(RunId, State)>, StorageError> {
    // The ledger's list tells which runs are open; only the others are read and folded.
    let open: BTreeSet<RunId> = ledger.runs(0)?.into_iter().map(|line| line.run).collect();
    let mut ended = Vec::new();
    for run in runs_with_lanes(paths).into_iter().filter(|run| !open.contains(run)) {
        match ledger.state(&run)? {
            Some(state) if state.outcome.is_some() => ended.push((run, state)),
            Some(_) => {}
            // A run is in the ledger before it has a lane, so the ledger has lost it. Its lanes may hold work.
            None => {
                let _holds_something = fs::remove_dir(paths.lanes(&run));
            }
        }
    }
    Ok(ended)
}

/// Runs with lanes that the ledger does not know, because it lost its newest entries or was replaced. Nothing of them is
/// removed. `None`: there is no ledger.
///
/// # Errors
/// The ledger cannot be read.
pub fn unknown_runs(paths: &Paths, ledger: Option<&Ledger>) -> Result<Vec<RunId>, StorageError> {
    let with_lanes = runs_with_lanes(paths);
    if with_lanes.is_empty() {
        return Ok(with_lanes);
    }
    let known = ledger.map(|ledger| ledger.runs(u32::MAX)).transpose()?.unwrap_or_default();
    let known: BTreeSet<RunId> = known.into_iter().map(|line| line.run).collect();
    let holds_something = |run: &RunId| fs::read_dir(paths.lanes(run)).is_ok_and(|mut lanes| lanes.next().is_some());
    Ok(with_lanes.into_iter().filter(|run| !known.contains(run) && holds_something(run)).collect())
}

fn runs_with_lanes(paths: &Paths) -> Vec<RunId> {
    let entries = fs::read_dir(paths.all_lanes()).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// Makes the folder of a run's lanes and holds it while a merge is tested in it. Waits for who holds it: another merge, or a
/// supervisor that removes what an earlier one left.
pub(crate) fn make_and_hold(folder: &Path) -> std::io::Result<File> {
    use std::os::unix::fs::MetadataExt;
    loop {
        fs::create_dir_all(folder)?;
        let held = match File::open(folder) {
            Ok(held) => held,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        held.lock()?;
        // The process that held the lock before may have removed the folder.
        let is_there = fs::symlink_metadata(folder).is_ok_and(|meta| meta.is_dir());
        let of = |meta: std::io::Result<fs::Metadata>| meta.map(|meta| (meta.dev(), meta.ino())).ok();
        if is_there && of(held.metadata()) == of(fs::metadata(folder)) {
            return Ok(held);
        }
        if !is_there && fs::symlink_metadata(folder).is_ok() {
            return Err(std::io::Error::other(format!("{} is no folder", folder.display())));
        }
    }
}

/// Holds the folder of a run's lanes; `None`: a merge that is being tested does, or there is none.
fn hold(folder: &Path) -> Option<File> {
    let is_folder = fs::symlink_metadata(folder).is_ok_and(|meta| meta.is_dir());
    let held = File::open(folder).ok().filter(|_| is_folder)?;
    match held.try_lock() {
        Ok(()) => Some(held),
        Err(TryLockError::WouldBlock) => None,
        Err(TryLockError::Error(e)) => {
            log(&format!("{} cannot be locked: {e}", folder.display()));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::perform::test_context;

    #[test]
    fn p6_what_a_link_in_the_place_of_our_scratch_folder_leads_to_stays() {
        let (folder, ctx, _state) = test_context::new();
        let (scratch, elsewhere) = (ctx.paths.scratch(), folder.path().join("elsewhere"));
        for (at, is_left) in [(scratch.clone(), false), (elsewhere.clone(), true)] {
            fs::create_dir_all(at.join("run/x")).unwrap();
            if is_left {
                fs::remove_dir_all(&scratch).unwrap();
                std::os::unix::fs::symlink(&elsewhere, &scratch).unwrap();
            }
            remove(&ctx, &[]);
            assert_eq!(at.join("run/x").exists(), is_left);
        }
    }
}
