//! The last step of `agentops merge`: git merges in the user's checkout, and a merge that is interrupted is taken back.

use std::path::PathBuf;

use agentops_core::id::RunId;
use agentops_core::run::State;
use agentops_engine::hint;
use agentops_engine::perform::user_repository;
use agentops_git::{Error as GitError, MergeLock, Oid, Repo, TakenBack, TestedMerge, UserMerge, UserState, shell_word};

use crate::context::Context;
use crate::error::{CommandError, MERGE_REFUSED, NOT_NOW};
use crate::interruption::Interruption;
use crate::printer::Printer;

/// Takes back what an earlier merge left that was killed, and says so.
pub fn end_interrupted(context: &Context, printer: &Printer) -> Result<(), CommandError> {
    if let Some(taken) = context.repo.take_back_begun_merge().map_err(|e| command_error(&context.repo, None, e))? {
        printer.note(&format!(
            "note: the merge of {} was interrupted before it was committed; {}",
            taken.branch,
            words(&taken)
        ));
    }
    Ok(())
}

/// Whether a merge of this run into this checkout was interrupted.
pub fn is_interrupted(context: &Context, run: &RunId) -> Result<bool, CommandError> {
    Ok(context.repo.begun_merge()?.is_some_and(|begun| begun.branch() == run.branch()))
}

/// Merges the branch of a run. `None`: the checkout has it already.
pub fn merge(
    context: &Context,
    lock: &MergeLock,
    run: &RunId,
    tested: &TestedMerge,
    message: &str,
) -> Result<Option<Oid>, CommandError> {
    let branch = run.branch();
    let interruption = Interruption::note()?;
    match context.repo.merge_with_lock(lock, &branch, tested, message, interruption.requested()) {
        Ok(UserMerge::Merged { commit }) => Ok(Some(commit)),
        Ok(UserMerge::UpToDate) => Ok(None),
        Ok(UserMerge::Conflict { paths }) => {
            Err(CommandError::new(MERGE_REFUSED, format!("git did not merge it; everything is as it was: {}", list(&paths))))
        }
        Ok(UserMerge::Interrupted(taken)) => {
            let words = format!("the merge was interrupted; nothing was merged; {}", words(&taken));
            Err(CommandError::new(interruption.exit_code(), words).hint(format!("agentops merge {run}")))
        }
        // What was looked at and tested is what is merged.
        Err(GitError::RefMoved { .. }) => {
            Err(CommandError::new(MERGE_REFUSED, "your branch or the result's moved while the merge was tested")
                .hint("run the command again: it tests what is there then"))
        }
        Err(error) => Err(command_error(&context.repo, Some(run), error)),
    }
}

/// Whether a merge to this tree can be made in the checkout, asked before time is spent on its test.
pub fn may_begin(context: &Context, run: &RunId, head: &Oid, tree: &Oid) -> Result<(), CommandError> {
    let may = context.repo.checkout_is_free_for(head, tree);
    may.map_err(|error| command_error(&context.repo, Some(run), error))
}

/// Refuses to merge into a commit without a branch if the run began on a branch. An agent may have moved `HEAD` of the checkout,
/// and the user's branch would not get the result.
pub fn is_on_a_branch(context: &Context, state: &State, head: &Oid, branch: Option<&str>) -> Result<(), CommandError> {
    let start = user_repository::at_start(state, &context.blobs()?, &context.repo);
    let (None, Some((began, was))) = (branch, start.as_ref().and_then(UserState::branch)) else { return Ok(()) };
    context.repo.nothing_is_unfinished()?;
    let (run, full, name) = (&state.created.run, format!("refs/heads/{began}"), shell_word(began));
    let hint = match (context.repo.read_ref(&full)?, was) {
        (None, Some(was)) => format!("git branch {name} {was} && git switch {name} && agentops merge {run}"),
        (Some(_), _) if context.repo.checked_out_in(&full)?.is_none() => {
            format!("git switch {name} && agentops merge {run}")
        }
        _ => format!("begin a branch here: git switch -c NAME, then: agentops merge {run}"),
    };
    let at = &head.as_str()[..12];
    let words = format!("HEAD of the checkout is at commit {at} without a branch, and run {run} began on branch {began}");
    Err(CommandError::new(NOT_NOW, agentops_safe::inert(&words)).hint(hint))
}

/// An error of the user's merge, with commands that name the checkout.
fn command_error(repo: &Repo, run: Option<&RunId>, error: GitError) -> CommandError {
    let hint = match &error {
        GitError::MergeRefused { refusal, .. } => hint::merge(refusal, repo.work_tree(), run),
        GitError::MergedOtherwise { branch, before, .. } => hint::merged_otherwise(branch, before, repo.work_tree()),
        _ => return error.into(),
    };
    CommandError::of(MERGE_REFUSED, &error).hint(hint)
}

/// What is said in `status` and `doctor` about a merge that was begun and is not at its end.
pub fn begun(repo: &Repo) -> Option<String> {
    let begun = match repo.begun_merge() {
        Ok(begun) => begun?,
        Err(e @ GitError::MergeNoteUnknown { .. }) => return Some(format!("{e}; {}", hint::git(&e))),
        Err(e) => return Some(super::chain(&e)),
    };
    let branch = begun.branch();
    let at_work = repo.merge_at_work();
    if !at_work.is_empty() {
        let at_work: Vec<String> = at_work.iter().map(ToString::to_string).collect();
        return Some(format!("{branch} is being merged into this checkout by {}", at_work.join(", ")));
    }
    let again = branch.strip_prefix("agentops/").unwrap_or_default();
    Some(format!(
        "the merge of {branch} into this checkout was interrupted before it was committed, and parts of it may be staged; \
         `agentops merge {again}` takes that back and merges again"
    ))
}

fn words(taken: &TakenBack) -> String {
    let back = match taken.put_back.len() {
        0 => "it had changed nothing in the checkout".to_owned(),
        1 => "one file was put back".to_owned(),
        files => format!("{files} files were put back"),
    };
    match taken.left.is_empty() {
        true => back,
        false => format!("{back}; left as they are, because they changed since: {}", list(&taken.left)),
    }
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}
