//! Refs of ours that keep the commits of a run, set again where somebody deleted them.
//!
//! A commit without a ref still exists until your git prunes it. So before a commit of the run is needed, by a session, a merge
//! or a gate, every ref that is gone and whose commit is still there is set again.

use agentops_core::id::{Commit, LaneId, Name, RunId};
use agentops_core::run::{LaneState, State};
use agentops_git::{Error as GitError, Expect};

use super::{Act, Ctx, oid};

/// The ref of a session's checkpoint.
pub(super) fn of_session(run: &RunId, lane: &LaneId, ordinal: u32) -> String {
    format!("refs/agentops/runs/{run}/{lane}/{ordinal}")
}

/// The ref of what the lanes of a phase were merged to.
pub(super) fn of_merge(run: &RunId, phase: &Name) -> String {
    format!("refs/agentops/results/{run}/merged/{phase}")
}

/// Whether the repository still has a commit.
pub(super) fn exists(ctx: &Ctx, commit: &Commit) -> bool {
    oid(commit).is_ok_and(|oid| ctx.repo.tree_of(&oid).is_ok())
}

/// The newest commit of a lane that the repository still has.
pub(super) fn newest_existing<'a>(ctx: &Ctx, state: &'a State, lane: &'a LaneState) -> Option<&'a Commit> {
    let checkpoints = lane.sessions.iter().rev().filter_map(|session| session.checkpoint.as_ref());
    checkpoints.chain(&lane.opened).chain([state.tip(), &state.created.base]).find(|commit| exists(ctx, commit))
}

/// Sets refs again whose commits still exist. A ref that names another commit is left as it is: a checkpoint's ref may name the
/// commit on top that has the raw content of filtered files.
pub(super) fn set_again(ctx: &Ctx, state: &State) -> Act<()> {
    let run = &state.created.run;
    let checkpoints = state.sessions().filter_map(|(_, session)| {
        Some((of_session(run, &session.id.lane, session.id.ordinal), session.checkpoint.as_ref()?))
    });
    let names = state.created.workflow.phases.iter().map(|phase| &phase.name);
    let merges = names.zip(&state.phases).filter_map(|(name, phase)| Some((of_merge(run, name), phase.merged.as_ref()?)));
    let needed: Vec<(String, &Commit)> = checkpoints.chain(merges).collect();
    if needed.is_empty() {
        return Ok(());
    }
    let mut found = ctx.repo.list_refs(&format!("refs/agentops/runs/{run}/"))?;
    found.extend(ctx.repo.list_refs(&format!("refs/agentops/results/{run}/"))?);
    for (name, commit) in needed {
        if found.iter().any(|(found, _)| *found == name) {
            continue;
        }
        if !exists(ctx, commit) {
            // It is gone as well. What needs it says so.
            continue;
        }
        match ctx.repo.update_ref(&name, &oid(commit)?, &Expect::Absent) {
            // Another action of the run was faster.
            Ok(()) | Err(GitError::RefExists { .. }) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}
