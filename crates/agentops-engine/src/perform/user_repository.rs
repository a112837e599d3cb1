//! The user's repository before and after everything that an agent controls: sessions, gates, lane set-up.
//!
//! Such a program runs as the user and can write the user's git directory by its path. What it changes there is named in the
//! ledger, never blocked or undone: the user may work at the same time, and a comparison cannot tell who did what. So each
//! comparison begins where that program began, and what the user does between sessions is not compared with anything.

use std::sync::Arc;

use agentops_core::id::BlobId;
use agentops_core::run::{Event, Key, ProgramPart, State};
use agentops_git::{Difference, Need, Oid, Repo, UserState};

use super::{Act, ActError, AskSupervisor, Ctx, chain};
use crate::blobs::Blobs;
use crate::identity;
use crate::ledger::Ledger;
use crate::open_programs::{self, OpenPrograms};
use crate::wire::{RefusalKind, Reply, Request};

/// A record that waits to be compared.
pub(super) struct Watch {
    during: Key,
    before: UserState,
}

/// The repository as the run's user sees it: their git reads the settings that their environment names.
fn users(ctx: &Ctx) -> Repo {
    let variables: Vec<_> = ctx.env.variables.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    // A run that is only being ended has nobody's environment; ours names the user's folders at least.
    if variables.is_empty() { ctx.repo.clone() } else { ctx.repo.in_environment(variables) }
}

/// Records the user's repository now.
///
/// # Errors
/// Git fails, or the blob cannot be written.
pub(crate) fn record(ctx: &Ctx) -> Result<(UserState, BlobId), ActError> {
    let state = users(ctx).user_state()?;
    let blob = ctx.blobs.put(&serde_json::to_vec(&state).map_err(std::io::Error::other)?)?;
    Ok((state, blob))
}

/// The record of the user's repository when a run started, for the place where the repository is now; `None`: there is none,
/// or it cannot be read.
#[must_use]
pub fn at_start(state: &State, blobs: &Blobs, repo: &Repo) -> Option<UserState> {
    read(blobs, state.created.repository.as_ref()?, repo)
}

pub(crate) fn read(blobs: &Blobs, record: &BlobId, repo: &Repo) -> Option<UserState> {
    let state: UserState = serde_json::from_slice(&blobs.get(record).ok()?).ok()?;
    Some(state.moved_to(repo))
}

/// Differences as the ledger names them; `None`: they cannot be read.
#[must_use]
pub fn differences(blobs: &Blobs, changes: &BlobId) -> Option<Vec<Difference>> {
    serde_json::from_slice(&blobs.get(changes).ok()?).ok()
}

/// Fetches what a partial clone lacks of a commit, with the user's own settings. These may start programs, so they must be
/// those of the run's start.
pub(super) fn fetch_missing(ctx: &Ctx, state: &State, commit: &Oid) -> Act<()> {
    let (repo, need) = (users(ctx), Need::Checkout(commit));
    if !repo.lacks(need)? {
        return Ok(());
    }
    let now = repo.program_state(None)?;
    let is_of_start = at_start(state, &ctx.blobs, &repo).is_some_and(|start| start.programs().runs_the_same(&now));
    if !is_of_start || is_left_by_agents(ctx, state, &repo)? {
        let words = format!(
            "files of commit {commit} are missing in this partial clone, and the settings of git are not those of the run's \
             start, or an earlier run left them, so nothing is fetched with them; fetch the files yourself with `git archive --output=/dev/null {commit}`"
        );
        return Err(std::io::Error::other(words).into());
    }
    repo.fetch_missing(need)?;
    Ok(())
}

/// Whether something that git would run is as an agent of any run left it, and nobody agreed to it.
fn is_left_by_agents(ctx: &Ctx, state: &State, repo: &Repo) -> Act<bool> {
    let Some(ledger) = Ledger::read(&ctx.paths.ledger()).map_err(std::io::Error::other)? else { return Ok(true) };
    let open = OpenPrograms::read(&ledger, &ctx.blobs, repo).map_err(std::io::Error::other)?;
    Ok(open.left.iter().any(|left| !left.is_under_way || left.run != state.created.run))
}

/// Does `work`, the test of a merge, between two records. The user's git runs next, so nothing is tested without a record. One
/// that is never compared, because the merge was killed, counts for the next merge as it is.
pub(super) fn around_merge_test<T>(
    ctx: &Ctx,
    state: &State,
    ask: AskSupervisor<'_>,
    work: impl FnOnce() -> Act<T>,
) -> Act<T> {
    let run = &state.created.run;
    let (before, record) = record(ctx)?;
    let tests = state.records.keys().chain(state.compared.iter().map(|compared| &compared.during));
    let mut attempt = tests.filter(|key| matches!(key, Key::MergeTest { .. })).count() + 1;
    let attempt = loop {
        let number = u32::try_from(attempt).map_err(std::io::Error::other)?;
        match ask(&Request::BeginMergeTest { run: run.clone(), attempt: number, record: record.clone() })? {
            // The number is in use: another merge of the run began meanwhile.
            Reply::Refused { kind: RefusalKind::NotNow, .. } if attempt < MERGE_TESTS_MAX => attempt += 1,
            reply => {
                accepted(reply)?;
                break number;
            }
        }
    };
    let done = work();
    let watch = Watch { during: Key::MergeTest { attempt }, before };
    if let Event::RepositoryCompared { changes, count, left, .. } = comparison(ctx, state, &watch, false)? {
        accepted(ask(&Request::EndMergeTest { run: run.clone(), attempt, changes, count, left })?)?;
    }
    done
}

/// Tests of merges of one run.
const MERGE_TESTS_MAX: usize = 100_000;

fn accepted(reply: Reply) -> Act<()> {
    match reply {
        Reply::Refused { message, .. } => Err(std::io::Error::other(message).into()),
        _ => Ok(()),
    }
}

/// Does `work` between two records.
pub(super) fn around<T>(ctx: &Arc<Ctx>, state: &State, during: &Key, work: impl FnOnce() -> Act<T>) -> Act<T> {
    let watch = begin(ctx, state, during);
    let done = work();
    end(ctx, state, watch);
    done
}

/// Records the user's repository before an action. A repository that cannot be recorded stops no work: the action is then
/// shown as not compared.
pub(super) fn begin(ctx: &Ctx, state: &State, during: &Key) -> Option<Watch> {
    // The same action was begun by a supervisor that died.
    after_takeover(ctx, state, during);
    let run = &state.created.run;
    match record(ctx) {
        Ok((before, blob)) => {
            let event = Event::RepositoryRecorded { during: during.clone(), record: blob };
            ctx.report_and_wait(run, event).then(|| Watch { during: during.clone(), before })
        }
        Err(e) => {
            crate::supervisor::log(&format!("run {run}: the repository is not recorded for {during}: {}", chain(&e)));
            None
        }
    }
}

/// Compares after the action.
pub(super) fn end(ctx: &Ctx, state: &State, watch: Option<Watch>) {
    if let Some(watch) = watch {
        compare(ctx, state, &watch, false);
    }
}

/// Compares with the record of an action whose supervisor died, if there is one.
pub(super) fn after_takeover(ctx: &Ctx, state: &State, during: &Key) {
    if let Some(before) = state.records.get(during).and_then(|record| read(&ctx.blobs, record, &ctx.repo)) {
        compare(ctx, state, &Watch { during: during.clone(), before }, true);
    }
}

fn compare(ctx: &Ctx, state: &State, watch: &Watch, after_takeover: bool) {
    let run = &state.created.run;
    match comparison(ctx, state, watch, after_takeover) {
        Ok(event) => {
            ctx.report_and_wait(run, event);
        }
        Err(e) => {
            let during = &watch.during;
            crate::supervisor::log(&format!("run {run}: the repository is not compared after {during}: {}", chain(&e)));
        }
    }
}

fn comparison(ctx: &Ctx, state: &State, watch: &Watch, after_takeover: bool) -> Act<Event> {
    // Nothing is known then, and a person learns why.
    let (mut differences, left) = differences_since(ctx, state, &watch.before).unwrap_or_else(|e| {
        let what = format!("it could not be compared, so nothing is known of changes: {}", chain(&e));
        (vec![Difference { what, restore: None }], None)
    });
    for difference in &mut differences {
        // A command of which a part is hidden does not do what it says.
        let redactor = ctx.blobs.redactor();
        difference.restore = difference.restore.take().filter(|command| redactor.redact(command) == *command);
    }
    let changes = match differences.as_slice() {
        [] => None,
        some => Some(ctx.blobs.put(&serde_json::to_vec(some).map_err(std::io::Error::other)?)?),
    };
    let count = u32::try_from(differences.len()).unwrap_or(u32::MAX);
    Ok(Event::RepositoryCompared { during: watch.during.clone(), changes, count, after_takeover, left })
}

/// What is different, and what of that git could run in a merge.
fn differences_since(ctx: &Ctx, state: &State, before: &UserState) -> Act<(Vec<Difference>, Option<Vec<ProgramPart>>)> {
    // The user moved it, and another one may be at its path.
    if !identity::is_in_place(&ctx.repo, &ctx.paths) {
        if let Some(replaced) = before.git_directory_replaced(&ctx.repo) {
            return Ok((vec![replaced], None));
        }
        let moved = format!("the repository is not at {} any more", ctx.repo.work_tree().display());
        return Err(std::io::Error::other(moved).into());
    }
    let repo = users(ctx);
    let now = repo.user_state_since(Some(before))?;
    let left = now.programs().left_since(before.programs(), &repo).map(open_programs::listed);
    Ok((before.differences(&now, &repo, Some(state.created.run.as_str()))?, left))
}

#[cfg(test)]
mod tests {
    use super::super::test_context;
    use super::*;
    use crate::paths::Home;

    #[test]
    fn p6_a_repository_that_is_not_at_its_place_is_not_compared_and_the_record_says_why() {
        let (folder, ctx, state) = test_context::new();
        let root = folder.path().canonicalize().unwrap();
        let home = Home { config: root.join("config"), state: root.join("state") };
        let id = identity::claim(&ctx.repo, &home).unwrap().id;
        let ctx = Ctx { paths: home.repository(&id), ..ctx };
        let watch = Watch { during: Key::End, before: record(&ctx).unwrap().0 };
        let found = || match comparison(&ctx, &state, &watch, false).unwrap() {
            Event::RepositoryCompared { changes: None, count: 0, .. } => Vec::new(),
            Event::RepositoryCompared { changes: Some(changes), .. } => differences(&ctx.blobs, &changes).unwrap(),
            event => panic!("{event:?}"),
        };
        assert_eq!(found(), vec![]);
        let says_why = |found: Vec<Difference>| {
            let why =
                format!("nothing is known of changes: the repository is not at {} any more", root.join("repo").display());
            assert!(found.len() == 1 && found[0].restore.is_none() && found[0].what.contains(&why), "{found:?}");
        };
        std::fs::rename(root.join("repo"), root.join("moved")).unwrap();
        says_why(found());
        agentops_git::begin(&root.join("repo"), &[], "another").unwrap();
        says_why(found());
        std::fs::remove_dir_all(root.join("repo")).unwrap();
        std::fs::rename(root.join("moved"), root.join("repo")).unwrap();
        assert_eq!(found(), vec![]);
        // Its folder is there, and git finds it through a file.
        let (git_dir, other) = (root.join("repo/.git"), root.join("other"));
        std::fs::rename(&git_dir, &other).unwrap();
        std::fs::write(&git_dir, format!("gitdir: {}\n", other.display())).unwrap();
        let replaced = found();
        let back = format!("rm {} && mv {} {0}", git_dir.display(), other.display());
        assert!(replaced.len() == 1 && replaced[0].restore.as_ref() == Some(&back), "{replaced:?}");
        std::fs::remove_file(&git_dir).unwrap();
        std::fs::rename(&other, &git_dir).unwrap();
        assert_eq!(found(), vec![]);
        // A repository that git cannot read.
        std::fs::write(root.join("repo/.git/HEAD"), "nothing").unwrap();
        let unread = found();
        assert!(unread.len() == 1 && unread[0].what.contains("nothing is known of changes: git "), "{unread:?}");
    }
}
