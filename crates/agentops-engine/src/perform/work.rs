//! Lanes, merges, bundles, records and the branch.

use std::collections::BTreeSet;
use std::path::PathBuf;

use agentops_core::id::{Commit, LaneId, Name, RunId};
use agentops_core::run::{Event, State};
use agentops_core::workflow::LaneSetup;
use agentops_git::lanes::{Recovered, Restored};
use agentops_git::{Error as GitError, Expect, Lane, MergeResult, SizeLimits, lanes};

use super::lane_program::{Inbox, LanePrograms};
use super::lost_text::Optional;
use super::{Act, Ctx, chain, checkpoint_refs, commit, lane_copy, oid, records, user_repository};
use crate::crash::boundary;
use crate::ports::PortRange;
use crate::withheld;

/// The note about a lane whose record was lost and written again.
pub(super) const FILES_KEPT: &str = "the record of this lane was gone and was written again; its files are as they were";

/// A lane's name in the repository: unique over runs.
pub(super) fn lane_name(run: &RunId, lane: &LaneId) -> String {
    format!("{run}.{}.{}", lane.phase, lane.lane)
}

pub(super) fn open_lane(ctx: &Ctx, state: &State, lane: &LaneId, base: &Commit, inbox: Inbox<'_>) -> Act<Event> {
    let opened = || -> Act<Option<String>> {
        let made = make_lane(ctx, state, lane, base)?;
        set_up_for_agent(ctx, state, lane, &made, inbox)
    };
    Ok(match opened() {
        Ok(None) => Event::LaneOpened { lane: lane.clone(), base: base.clone() },
        Ok(Some(words)) => Event::LaneFailed { lane: lane.clone(), detail: ctx.put(&words)? },
        Err(e) => Event::LaneFailed { lane: lane.clone(), detail: ctx.put(&chain(&e))? },
    })
}

/// Sets a lane up and records what that brought; `Some` says what went wrong.
fn set_up_for_agent(ctx: &Ctx, state: &State, lane: &LaneId, made: &Lane, inbox: Inbox<'_>) -> Act<Option<String>> {
    let setup = &state.created.workflow.lane;
    let programs = LanePrograms::new(ctx, &state.created.run, lane, made.path(), &setup.env, inbox);
    let failed = set_up(&programs, setup)?;
    if failed.is_none() && !(setup.copy.is_empty() && setup.setup.is_empty()) {
        // Before any agent works here: what is in the lane now is not the agent's.
        made.clone().with_limits(size_limits(setup)).record_baseline(&copied_paths(setup))?;
    }
    Ok(failed)
}

/// What a checkpoint takes.
pub(super) fn size_limits(setup: &LaneSetup) -> SizeLimits {
    SizeLimits { file_bytes_max: setup.file_mib_max << 20, checkpoint_bytes_max: setup.checkpoint_mib_max << 20 }
}

fn copied_paths(setup: &LaneSetup) -> Vec<PathBuf> {
    setup.copy.iter().map(PathBuf::from).collect()
}

/// Opens a lane in which a session is to work. One that somebody damaged is made usable again, from its files or else from
/// `newest`, its newest checkpoint; then the text says what was done and what is lost.
pub(super) fn reopen_lane(ctx: &Ctx, state: &State, id: &LaneId, newest: &Commit) -> Act<(Lane, Option<String>)> {
    let run = &state.created.run;
    let setup = &state.created.workflow.lane;
    let (path, name) = (ctx.paths.lane(run, id), lane_name(run, id));
    let newest_oid = oid(newest)?;
    user_repository::fetch_missing(ctx, state, &newest_oid)?;
    let (lane, how) = lanes::restore(&ctx.repo, &path, &base_of(state, id, newest)?, &newest_oid, &name)?;
    record_lost_baseline(&lane, how, setup)?;
    let done = match how {
        Restored::Whole => None,
        Restored::FilesKept => Some(FILES_KEPT.to_owned()),
        Restored::FromCommit => {
            let stoppable = ctx.stops.begin(run);
            if let Some(words) = set_up_for_agent(ctx, state, id, &lane, stoppable.inbox())? {
                return Err(std::io::Error::other(words).into());
            }
            lane.set_up_done()?;
            Some(format!(
                "the folder of this lane was gone or emptied, and the lane was made again from its newest checkpoint {}; what was \
                 done after that checkpoint is lost",
                &newest.as_str()[..12]
            ))
        }
    };
    Ok((lane, done))
}

/// The lane of a session that has ended, with what was done in it. A lane without files is not made again here: that would
/// look like a session that did nothing.
pub(super) fn recover_lane(ctx: &Ctx, state: &State, id: &LaneId, parent: &Commit) -> Act<Recovered> {
    let run = &state.created.run;
    let (path, name) = (ctx.paths.lane(run, id), lane_name(run, id));
    let parent_oid = oid(parent)?;
    user_repository::fetch_missing(ctx, state, &parent_oid)?;
    let found = lanes::recover(&ctx.repo, &path, &base_of(state, id, parent)?, &parent_oid, &name)?;
    if let Recovered::Usable(lane, how) = &found {
        record_lost_baseline(lane, *how, &state.created.workflow.lane)?;
    }
    Ok(found)
}

/// The commit that a lane began with.
fn base_of(state: &State, id: &LaneId, otherwise: &Commit) -> Act<agentops_git::Oid> {
    let opened = state.phases.iter().flat_map(|phase| phase.all_lanes()).find(|lane| lane.id == *id);
    oid(opened.and_then(|lane| lane.opened.as_ref()).unwrap_or(otherwise))
}

/// A lane whose record was lost has no list of the files that set-up copied, and they must be in no checkpoint. A crash may
/// have come between the record and the list.
fn record_lost_baseline(lane: &Lane, how: Restored, setup: &LaneSetup) -> Act<()> {
    if how != Restored::FromCommit && !setup.copy.is_empty() && !lane.has_baseline()? {
        lane.record_copied(&copied_paths(setup))?;
    }
    Ok(())
}

/// Makes the work tree, or takes the one that a supervisor before us made.
pub(super) fn make_lane(ctx: &Ctx, state: &State, lane: &LaneId, base: &Commit) -> Act<Lane> {
    let run = &state.created.run;
    // A partial clone may lack files of this commit. They are fetched before an agent is paid.
    user_repository::fetch_missing(ctx, state, &oid(base)?)?;
    let path = ctx.paths.lane(run, lane);
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let (base, name) = (oid(base)?, lane_name(run, lane));
    let made = match lanes::create(&ctx.repo, &path, &base, &name) {
        // The record of a half-made lane may be lost in a power failure. No agent has worked in it: it was never opened.
        Err(GitError::LanePathTaken { .. }) => {
            lanes::discard(&ctx.repo, &path, &name)?;
            lanes::create(&ctx.repo, &path, &base, &name)?
        }
        made => made?,
    };
    boundary("lane-after-open");
    Ok(made)
}

/// Copies files and runs the set-up programs; `Some` says what went wrong.
pub(super) fn set_up(programs: &LanePrograms<'_>, setup: &LaneSetup) -> Act<Option<String>> {
    if let Some(refused) = lane_copy::copy_files(programs.ctx.repo.work_tree(), programs.path, &setup.copy)? {
        return Ok(Some(refused));
    }
    for argv in &setup.setup {
        let ran = programs.run("set-up", argv, setup.seconds_max)?;
        if !ran.succeeded() {
            return Ok(Some(format!("set-up `{}` {}\n\n{}", argv.join(" "), ran.how(), ran.output.text())));
        }
    }
    Ok(None)
}

/// Ports that no other lane has as long as this is held.
pub(super) fn lane_ports(ctx: &Ctx, run: &RunId, lane: &LaneId) -> Act<PortRange> {
    Ok(ctx.ports.take(&lane_name(run, lane))?)
}

/// The environment of what runs in a lane: the user's own without its secrets, the lane's name, and its ports. `added`: names
/// that pass although they look like secrets.
pub(super) fn lane_env(
    ctx: &Ctx,
    run: &RunId,
    lane: &LaneId,
    ports: &PortRange,
    added: &[String],
) -> Vec<(std::ffi::OsString, std::ffi::OsString)> {
    let passed = withheld::passed(&ctx.env.variables, added);
    let mut env: Vec<_> = passed.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    env.push(("AGENTOPS_LANE".into(), lane_name(run, lane).into()));
    env.push(("AGENTOPS_PORT_FIRST".into(), ports.first().to_string().into()));
    env.push(("AGENTOPS_PORT_LAST".into(), ports.last().to_string().into()));
    env
}

/// Sets a ref that keeps a commit from being collected. A repetition after a crash may find its own earlier one, made at
/// another second: then the newer one counts.
pub(super) fn keep_ref(ctx: &Ctx, name: &str, commit: &agentops_git::Oid) -> Act<()> {
    let expect = ctx.repo.read_ref(name)?.map_or(Expect::Absent, Expect::Is);
    boundary("ref-before-update");
    ctx.repo.update_ref(name, commit, &expect)?;
    boundary("ref-after-update");
    Ok(())
}

pub(super) fn merge(
    ctx: &Ctx,
    run: &RunId,
    phase: &Name,
    onto: &Commit,
    base: &Commit,
    heads: &[(LaneId, Commit)],
) -> Act<Event> {
    let mut merged = oid(onto)?;
    for (lane, head) in heads {
        let head = oid(head)?;
        if head == merged {
            continue;
        }
        let ancestor = ctx.repo.merge_base(&merged, &head)?;
        if ancestor.as_ref() == Some(&head) {
            continue;
        }
        if ancestor.as_ref() == Some(&merged) {
            merged = head;
            continue;
        }
        match ctx.repo.merge(&merged, &head, None)? {
            MergeResult::Clean { tree } => {
                let message = format!("Merge lane {lane}\n");
                // The time of the lane's own commit would do as well; zero drift matters more: the same merge is the same commit.
                merged = ctx.repo.commit_tree(&tree, &[&merged, &head], &message, &ctx.author(), 0)?;
            }
            MergeResult::Conflict { paths } => {
                let paths: String = paths.iter().map(|path| format!("- {}\n", path.display())).collect();
                let patch = ctx.repo.patch(&oid(base)?, &head, 48 * 1024)?;
                let words = format!(
                    "Lane {lane} changed the same places as the lanes before it:\n{paths}\nThese files now hold what the others did. \
                     Bring your change in again on top of it. Your change was:\n\n```diff\n{}\n```\n",
                    String::from_utf8_lossy(&patch)
                );
                return Ok(Event::Conflict { lane: lane.clone(), onto: commit(&merged)?, detail: ctx.put(&words)? });
            }
        }
    }
    // No branch names it until the run is published, and gates and the next phase need it.
    keep_ref(ctx, &checkpoint_refs::of_merge(run, phase), &merged)?;
    let changed = ctx.repo.diff(&oid(base)?, &merged)?.files.len();
    Ok(Event::Merged { phase: phase.clone(), commit: commit(&merged)?, changed: u32::try_from(changed).unwrap_or(u32::MAX) })
}

/// Paths that differ between the run's base and a commit.
pub(super) fn changed_files(ctx: &Ctx, state: &State, result: &Commit) -> Act<BTreeSet<String>> {
    let diff = ctx.repo.diff(&oid(&state.created.base)?, &oid(result)?)?;
    Ok(diff.files.iter().map(|file| file.path.display().to_string()).collect())
}

pub(super) fn record(ctx: &Ctx, state: &State, onto: &Commit) -> Act<Event> {
    let files: Vec<(String, Vec<u8>)> = records::files(state, &ctx.blobs)?;
    let task = records::task(state, &mut Optional::new(&ctx.blobs))?;
    // The state's last event is the one that made this action due, so a repetition carries the same time.
    let at = state.phases.last().and_then(|phase| phase.ended_at_ms).unwrap_or(state.created_at_ms) / 1000;
    let message = records::message(state, &task);
    let made = ctx.repo.commit_files(Some(&oid(onto)?), &files, &message, &ctx.author(), at, &ctx.paths.scratch())?;
    keep_ref(ctx, &format!("refs/agentops/results/{}/recorded", state.created.run), &made)?;
    Ok(Event::Recorded { commit: commit(&made)? })
}

pub(super) fn publish(ctx: &Ctx, run: &RunId, result: &Commit) -> Act<Event> {
    let name = format!("refs/heads/{}", run.branch());
    boundary("ref-before-update");
    ctx.repo.update_ref(&name, &oid(result)?, &Expect::Absent)?;
    boundary("ref-after-update");
    Ok(Event::Published { commit: result.clone() })
}

/// Names of the lanes of a run that hold work which is nowhere else. What a run that is done has published holds its lanes' work.
pub(super) fn lanes_that_stay(ctx: &Ctx, state: &State) -> Vec<String> {
    let without_result = state.cancelled || state.failure.is_some();
    let lost = without_result.then(|| checkpoint_refs::lanes_with_lost_checkpoints(ctx, state)).into_iter().flatten();
    state.lanes_that_stay().chain(lost).map(|lane| lane_name(&state.created.run, &lane.id)).collect()
}

/// Removes the run's work trees except `stay`. What cannot be removed is named in the log: it must not keep a run from ending.
pub(super) fn close_lanes(ctx: &Ctx, run: &RunId, stay: &[String]) -> Event {
    let folder = ctx.paths.lanes(run);
    let removed = || -> Result<(), GitError> {
        for lane in lanes::list(&ctx.repo, &folder)? {
            if !stay.iter().any(|name| name == lane.name()) {
                lanes::remove(&ctx.repo, &lane)?;
                boundary("lane-after-remove");
            }
        }
        // One whose record somebody removed is in no list. What a link leads to is not ours.
        let is_ours = std::fs::symlink_metadata(&folder).is_ok_and(|meta| meta.is_dir());
        for entry in std::fs::read_dir(&folder).into_iter().filter(|_| is_ours).flatten().flatten() {
            let name = format!("{run}.{}", entry.file_name().to_string_lossy());
            if !stay.contains(&name) {
                lanes::discard(&ctx.repo, &entry.path(), &name)?;
            }
        }
        // A gate's lane whose removal was cut short is none of the complete ones.
        lanes::clear_leftovers(&ctx.repo)
    };
    if let Err(e) = removed() {
        crate::supervisor::log(&format!("run {run}: work trees stay in {}: {}", folder.display(), chain(&e)));
    }
    let _not_empty = std::fs::remove_dir(&folder);
    Event::LanesClosed
}

/// Removes a lane that holds no work, wherever its making or its removal got to.
pub(super) fn drop_lane(ctx: &Ctx, run: &RunId, lane: &LaneId) -> Act<()> {
    Ok(lanes::discard(&ctx.repo, &ctx.paths.lane(run, lane), &lane_name(run, lane))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::perform::test_context;

    #[test]
    fn p6_a_lane_without_its_record_goes_with_its_run_and_nothing_behind_a_link_does() {
        let (folder, ctx, state) = test_context::new();
        let (run, lane) = (&state.created.run, &state.phases[0].lanes[0].id);
        let (name, path, base) = (lane_name(run, lane), ctx.paths.lane(run, lane), oid(&state.created.base).unwrap());
        lanes::create(&ctx.repo, &path, &base, &name).unwrap();
        std::fs::remove_dir_all(ctx.repo.common_dir().join("agentops/lanes").join(&name)).unwrap();
        let close = |stay: &[String]| assert_eq!(close_lanes(&ctx, run, stay), Event::LanesClosed);
        close(std::slice::from_ref(&name));
        assert!(path.exists());
        close(&[]);
        assert!(!ctx.paths.lanes(run).exists());
        assert_eq!(ctx.repo.list_refs("refs/agentops/lanes/").unwrap(), []);

        let elsewhere = folder.path().join("elsewhere");
        std::fs::create_dir_all(elsewhere.join("work")).unwrap();
        std::os::unix::fs::symlink(&elsewhere, ctx.paths.lanes(run)).unwrap();
        close(&[]);
        assert!(elsewhere.join("work").exists());
    }
}
