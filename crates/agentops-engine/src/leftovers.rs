//! What killed processes left in a state folder. The next supervisor removes it before it starts anything.
//!
//! It holds the supervisor's lock, so nothing here is another supervisor's. Commands work beside it: what they use is locked,
//! see [`agentops_git::temporary`].

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::path::Path;

use agentops_core::id::RunId;
use agentops_core::run::State;
use agentops_git::temporary;

use crate::identity;
use crate::ledger::Ledger;
use crate::paths::Paths;
use crate::perform::{self, Ctx};
use crate::routing;
use crate::supervisor::log;
use crate::world::StorageError;

/// Removes it. What cannot be removed is only untidy.
pub(crate) fn remove(ctx: &Ctx, ended: &[(RunId, Option<State>)]) {
    ctx.repo.sweep();
    ctx.blobs.sweep();
    if let Some(e) = temporary::sweep_names(&ctx.paths.scratch(), |_| true).failed {
        log(&format!("what killed processes left in {} is not removed: {e}", ctx.paths.scratch().display()));
    }
    // Older versions named theirs `routing.<pid>.part` and `repository.part`.
    let is_half = |name: &std::ffi::OsStr| {
        let name = name.to_string_lossy();
        name.starts_with(routing::PART)
            || name.starts_with(identity::PART)
            || (name.starts_with("routing.") || name.starts_with("repository.")) && name.ends_with(".part")
    };
    temporary::sweep_names(ctx.paths.root(), is_half);
    for (run, state) in ended {
        let folder = ctx.paths.lanes(run);
        // A merge that is being tested works there.
        if let Some(_held) = hold(&folder) {
            perform::remove_lanes(ctx, run, state.as_ref());
        }
    }
}

/// Runs that have ended, or that the ledger does not know (`None`), and still have a folder for lanes.
pub(crate) fn ended_runs(paths: &Paths, ledger: &mut Ledger) -> Result<Vec<(RunId, Option<State>)>, StorageError> {
    let entries = fs::read_dir(paths.all_lanes()).into_iter().flatten().flatten();
    let runs: Vec<RunId> = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    // The ledger's list tells which runs are open; only the others are read and folded.
    let open: BTreeSet<RunId> = ledger.runs(0)?.into_iter().map(|line| line.run).collect();
    let mut ended = Vec::new();
    for run in runs.into_iter().filter(|run| !open.contains(run)) {
        let state = ledger.state(&run)?;
        if state.as_ref().is_none_or(|state| state.outcome.is_some()) {
            ended.push((run, state));
        }
    }
    Ok(ended)
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
