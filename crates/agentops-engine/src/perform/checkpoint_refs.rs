//! Refs of ours that keep the commits of a run, set again where somebody deleted them.
//!
//! A commit without a ref still exists until your git prunes it. So before a commit of the run is needed, by a session, a merge
//! or a gate, every ref that is gone and whose commit is still there is set again. A newest checkpoint that was pruned is
//! written again from the files of its lane.

use agentops_core::id::{Commit, LaneId, Name, RunId};
use agentops_core::run::{Action, LaneState, PhaseState, State};
use agentops_git::lanes::Recovered;
use agentops_git::{Error as GitError, Expect};

use super::{Act, Ctx, chain, oid, session, work};

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

/// Whether this commit is gone from the repository. Of a repository that is away itself, nothing is known.
pub(super) fn is_gone(ctx: &Ctx, commit: &Commit) -> bool {
    !exists(ctx, commit) && ctx.repo.work_tree().is_dir()
}

/// Which commit that an action needs is gone from the repository, and what a person can do; `None`: they are all there.
pub(super) fn lost(ctx: &Ctx, action: &Action) -> Option<String> {
    let (lanes, others): (&[(LaneId, Commit)], Vec<&Commit>) = match action {
        Action::Merge { onto, base, heads, .. } => (heads, vec![onto, base]),
        Action::RunGate { commit, .. } | Action::Publish { commit } => (&[], vec![commit]),
        Action::Record { onto } => (&[], vec![onto]),
        _ => return None,
    };
    let of_lanes = lanes.iter().map(|(lane, commit)| (commit, format!(" of lane {lane}")));
    let others = others.into_iter().map(|commit| (commit, String::new()));
    let (commit, whose) = of_lanes.chain(others).find(|(commit, _)| is_gone(ctx, commit))?;
    Some(format!(
        "the commit {}{whose} is gone from the repository, so what it holds is lost unless you bring it back: fetch it from another \
         copy of the repository and resume, or cancel the run, which keeps the files of the lanes whose commit is gone",
        commit.as_str()
    ))
}

/// Lanes whose newest checkpoint is gone from the repository: their files may be all that is left of it.
pub(super) fn lanes_with_lost_checkpoints<'a>(ctx: &'a Ctx, state: &'a State) -> impl Iterator<Item = &'a LaneState> {
    let is_lost = |lane: &&LaneState| newest_checkpoint(lane).is_some_and(|(_, newest)| !exists(ctx, newest));
    state.phases.iter().flat_map(PhaseState::all_lanes).filter(is_lost)
}

/// The newest commit of a lane that the repository still has.
pub(super) fn newest_existing<'a>(ctx: &Ctx, state: &'a State, lane: &'a LaneState) -> Option<&'a Commit> {
    let checkpoints = lane.sessions.iter().rev().filter_map(|session| session.checkpoint.as_ref());
    checkpoints.chain(&lane.opened).chain([state.tip(), &state.created.base]).find(|commit| exists(ctx, commit))
}

/// Seconds before the end of a session in which its checkpoint may have been made.
const CHECKPOINT_SECONDS_MAX: u64 = 120;

/// Writes a commit that the repository lost again, where it is the newest checkpoint of a lane whose files are still there: the
/// same files, parent, text and second make the same commit. Whether it is there now.
fn write_again(ctx: &Ctx, state: &State, lost: &Commit) -> Act<bool> {
    let of_lane =
        |lane: &&LaneState| lane.live().is_none() && newest_checkpoint(lane).is_some_and(|(_, commit)| commit == lost);
    let Some(lane) = state.phases.iter().flat_map(PhaseState::all_lanes).find(of_lane) else { return Ok(false) };
    let Some((at, _)) = newest_checkpoint(lane) else { return Ok(false) };
    let (session, earlier) = (&lane.sessions[at], &lane.sessions[..at]);
    let checkpoints = earlier.iter().rev().filter_map(|session| session.checkpoint.as_ref());
    // Each costs a commit for every second, and they are often the same.
    let mut parents: Vec<&Commit> = Vec::new();
    for commit in checkpoints.chain(&lane.opened).chain([state.tip(), &state.created.base]) {
        if !parents.contains(&commit) && exists(ctx, commit) {
            parents.push(commit);
        }
    }
    let (Some(ended_ms), Some(first)) = (session.ended_at_ms, parents.first()) else { return Ok(false) };
    let Recovered::Usable(files, _) = work::recover_lane(ctx, state, &lane.id, first)? else { return Ok(false) };
    let (title, ended) = (session::checkpoint_title(&state.created.run, session), ended_ms / 1000);
    for parent in parents {
        let parent = oid(parent)?;
        let made = |at: u64| files.checkpoint(&parent, &title, &ctx.author(), at, &ctx.paths.scratch());
        let tree = made(ended)?.tree;
        for second in (ended.saturating_sub(CHECKPOINT_SECONDS_MAX)..=ended).rev() {
            if ctx.repo.commit_tree(&tree, &[&parent], &title, &ctx.author(), second)?.as_str() == lost.as_str() {
                let kept = made(second)?;
                let name = of_session(&state.created.run, &lane.id, session.id.ordinal);
                work::keep_ref(ctx, &name, kept.raw.as_ref().unwrap_or(&kept.commit))?;
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// The newest checkpoint of a lane, and which of its sessions made it.
fn newest_checkpoint(lane: &LaneState) -> Option<(usize, &Commit)> {
    let at = lane.sessions.iter().rposition(|session| session.checkpoint.is_some())?;
    Some((at, lane.sessions[at].checkpoint.as_ref()?))
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
        let is_there = exists(ctx, commit)
            || write_again(ctx, state, commit).unwrap_or_else(|e| {
                crate::supervisor::log(&format!("commit {} is gone and not written again: {}", commit.as_str(), chain(&e)));
                false
            });
        if !is_there {
            // What needs it says so.
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

#[cfg(test)]
mod tests {
    use agentops_core::id::SessionId;
    use agentops_core::run::{Event, Key};

    use super::*;
    use crate::fixture;
    use crate::perform::{failure_words, test_context, work};

    #[test]
    fn r11_an_action_whose_commit_is_gone_says_what_is_lost_and_the_lane_stays() {
        let (_folder, ctx, mut state) = test_context::new();
        let (base, gone): (_, Commit) = (state.created.base.clone(), "1".repeat(40).parse().unwrap());
        let phase = fixture::name("research");
        let lane = state.phases[0].lanes[0].id.clone();
        let merge = |head: &Commit| {
            let heads = vec![(lane.clone(), head.clone())];
            Action::Merge { phase: phase.clone(), onto: base.clone(), base: base.clone(), heads }
        };
        assert_eq!(lost(&ctx, &merge(&base)), None);
        let words = lost(&ctx, &merge(&gone)).unwrap();
        assert!(words.contains(gone.as_str()) && words.contains(&format!("of lane {lane}")), "{words}");
        assert!(lost(&ctx, &Action::Publish { commit: gone.clone() }).is_some());
        // The lane's files may be all that is left of it, so they outlive the run that is cancelled.
        let session: SessionId = format!("{lane}/1").parse().unwrap();
        let open = Key::Open { lane: lane.clone(), attempt: 1 };
        let session_key = Key::Session { session: session.clone() };
        for event in [
            Event::Began { key: open },
            Event::LaneOpened { lane: lane.clone(), base: base.clone() },
            Event::Began { key: session_key },
        ] {
            state.apply(&event, 2).unwrap();
        }
        let stay = |checkpoint: &Commit, cancelled: bool| {
            let mut state = state.clone();
            state.cancelled = cancelled;
            state.phases[0].lanes[0].sessions[0].checkpoint = Some(checkpoint.clone());
            work::lanes_that_stay(&ctx, &state)
        };
        assert_eq!(stay(&gone, true), [work::lane_name(&state.created.run, &lane)]);
        assert!(stay(&base, true).is_empty() && stay(&gone, false).is_empty());
    }

    #[test]
    fn r11_while_the_repository_is_away_its_folder_is_named_and_no_commit_counts_as_gone() {
        let (folder, ctx, state) = test_context::new();
        let base = state.created.base.clone();
        let repo = folder.path().canonicalize().unwrap().join("repo");
        std::fs::rename(&repo, repo.with_file_name("moved")).unwrap();
        assert!(!is_gone(&ctx, &base));
        assert_eq!(lost(&ctx, &Action::Publish { commit: base.clone() }), None);
        let refused = ctx.repo.tree_of(&oid(&base).unwrap()).unwrap_err();
        let words = failure_words(&ctx, &refused.into());
        assert!(words.starts_with(&format!("the folder {} is gone; bring it back", repo.display())), "{words}");
    }
}
