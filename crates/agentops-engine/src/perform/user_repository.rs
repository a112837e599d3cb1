//! The user's repository before and after everything that an agent controls: sessions, gates, lane set-up.
//!
//! Such a program runs as the user and can write the user's git directory by its path. What it changes there is named in the
//! ledger, never blocked or undone: the user may work at the same time, and a comparison cannot tell who did what. So each
//! comparison begins where that program began, and what the user does between sessions is not compared with anything.

use std::sync::Arc;

use agentops_core::id::BlobId;
use agentops_core::run::{Event, Key, State};
use agentops_git::{Difference, Need, Oid, Repo, UserState};

use super::{Act, ActError, Ctx, chain};
use crate::blobs::Blobs;

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

/// The record of the user's repository when a run started; `None`: there is none, or it cannot be read.
#[must_use]
pub fn at_start(state: &State, blobs: &Blobs) -> Option<UserState> {
    read(blobs, state.created.repository.as_ref()?)
}

fn read(blobs: &Blobs, record: &BlobId) -> Option<UserState> {
    serde_json::from_slice(&blobs.get(record).ok()?).ok()
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
    if !at_start(state, &ctx.blobs).is_some_and(|start| start.programs().runs_the_same(&now)) {
        let words = format!(
            "files of commit {commit} are missing in this partial clone, and the settings of git are not those of the run's \
             start, so nothing is fetched with them; fetch the files yourself with `git archive --output=/dev/null {commit}`"
        );
        return Err(std::io::Error::other(words).into());
    }
    repo.fetch_missing(need)?;
    Ok(())
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
    if let Some(before) = state.records.get(during).and_then(|record| read(&ctx.blobs, record)) {
        compare(ctx, state, &Watch { during: during.clone(), before }, true);
    }
}

fn compare(ctx: &Ctx, state: &State, watch: &Watch, after_takeover: bool) {
    let run = &state.created.run;
    let compared = || -> Act<Event> {
        let repo = users(ctx);
        let now = repo.user_state_since(Some(&watch.before))?;
        let mut differences = watch.before.differences(&now, &repo, Some(run.as_str()))?;
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
        Ok(Event::RepositoryCompared { during: watch.during.clone(), changes, count, after_takeover })
    };
    match compared() {
        Ok(event) => {
            ctx.report_and_wait(run, event);
        }
        Err(e) => {
            let during = &watch.during;
            crate::supervisor::log(&format!("run {run}: the repository is not compared after {during}: {}", chain(&e)));
        }
    }
}
