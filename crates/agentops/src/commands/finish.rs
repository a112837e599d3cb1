//! `merge` and `discard`: what becomes of a result.

use agentops_core::id::RunId;
use agentops_core::run::{Closing, Outcome, State};
use agentops_engine::perform;
use agentops_engine::wire::Request;
use agentops_git::{Expect, Head, MergeResult, Need, Oid, TestedMerge, shell_word};
use agentops_route::feedback::Source;

use crate::cli::{MergeArgs, RunArg};
use crate::context::{self, Context};
use crate::error::{self, CommandError, MERGE_REFUSED, NOT_NOW, accepted};
use crate::printer::{Done, Printer};
use crate::{env, live};

use super::{merge_trust, open_programs, user_merge};

fn finished(context: &Context, named: &RunArg) -> Result<State, CommandError> {
    let mut ledger = context.ledger()?;
    let run = context.run(&ledger, named.run.as_ref())?;
    let state = context.state(&mut ledger, &run)?;
    if state.closing.is_some() {
        return Err(CommandError::new(NOT_NOW, format!("run {run} is merged or discarded already"))
            .hint(format!("agentops show {run}")));
    }
    if state.outcome.is_none() {
        return Err(CommandError::new(NOT_NOW, format!("run {run} has not ended")).hint(format!("agentops show {run}")));
    }
    Ok(state)
}

/// Asks the supervisor before anything is changed: it sees who asks from outside, also where this process cannot see its own
/// parents, as in a namespace of an agent's making.
fn may_close(context: &Context) -> Result<(), CommandError> {
    accepted(context.ask(&Request::MayClose)?).map(drop)
}

/// A merge and a discard look again once they have the lock: another one may have been faster.
fn still_open(context: &Context, run: &RunId) -> Result<(), CommandError> {
    finished(context, &RunArg { run: Some(run.clone()) }).map(drop)
}

fn close(context: &Context, run: &RunId, closing: Closing) -> Result<(), CommandError> {
    accepted(context.ask(&Request::Close { run: run.clone(), closing })?).map(drop)
}

/// The error of a merge that git made and that the run does not have.
fn unrecorded(context: &Context, run: &RunId, did: &str, error: CommandError) -> CommandError {
    let hint = match still_open(context, run) {
        Ok(()) => format!("your branch has the result; to record that: agentops merge {run} --no-test"),
        Err(_) => format!("your branch has the result, and this shows what became of the run: agentops show {run}"),
    };
    let causes = std::iter::once(format!("{did}, but run {run} is not recorded as merged")).chain(error.causes);
    CommandError { causes: causes.collect(), hints: vec![hint], ..error }
}

/// `agentops merge`
pub fn merge(context: &Context, args: &MergeArgs, printer: &Printer) -> Result<u8, CommandError> {
    super::person_only()?;
    agentops_git::on_boundary(agentops_engine::crash::boundary);
    let state = finished(context, &args.run)?;
    let run = &state.created.run;
    let (Some((Outcome::Done, _)), Some(published)) = (state.outcome, &state.published) else {
        return Err(CommandError::new(NOT_NOW, format!("run {run} did not end as done, so there is no result to merge"))
            .hint(format!("agentops show {run}")));
    };
    let branch = run.branch();
    let tip: Oid = context.repo.read_ref(&format!("refs/heads/{branch}"))?.ok_or_else(|| {
        CommandError::new(NOT_NOW, format!("the branch {branch} is gone")).hint(format!("git branch {branch} {published}"))
    })?;
    if tip.as_str() != published.as_str() {
        printer.note(&format!("note: {branch} has moved since the run ended; what it holds now is tested and merged"));
    }
    may_close(context)?;
    let Head { commit: head, branch: onto } = context.repo.head()?;
    if context.repo.merge_base(&head, &tip)?.is_none() {
        return Err(nothing_in_common(context, &state));
    }
    let programs = merge_trust::agree_to_programs(context, args, &state, printer)?;
    user_merge::end_interrupted(context, printer)?;
    user_merge::is_on_a_branch(context, &state, &head, onto.as_deref())?;
    merge_trust::agree_to_steering(context, args, &state, (&head, &tip), &programs, printer)?;
    // A person asked for this, and agreed to the settings that a fetch uses.
    context.repo.fetch_missing(Need::Merge(&head, &tip))?;
    let merged = match context.repo.merge(&head, &tip, None)? {
        MergeResult::Conflict { paths } => {
            let paths = paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
            return Err(CommandError::new(MERGE_REFUSED, format!("{branch} does not merge with your branch: {paths}"))
                .hint(format!("git merge {branch}, and settle the conflict yourself, or rerun the task from here")));
        }
        MergeResult::Clean { tree } => {
            user_merge::may_begin(context, run, &head, &tree)?;
            let author = agentops_git::Author { name: "AgentOps".into(), email: "agentops@localhost".into() };
            context.repo.commit_tree(&tree, &[&head, &tip], "Merge to be tested\n", &author, live::now() / 1000)?
        }
    };
    if !args.no_test {
        context.repo.fetch_missing(Need::Checkout(&merged))?;
        let blobs = context.blobs()?;
        printer.note("testing the merged result …");
        let ask = |request: &Request| context.ask(request).map_err(|e| std::io::Error::other(e.causes.join(": ")));
        let (exe, env) = (context::exe()?, env::for_runs());
        let tested = perform::test_commit(&context.repo, &context.paths, &blobs, &exe, env, &state, &merged, &ask);
        match tested.map_err(|e| CommandError::of(error::FAILED, &e))? {
            None => {}
            Some(words) => {
                let hint = match context.repo.merge_base(&head, &tip)?.as_ref() == Some(&tip) {
                    true => {
                        format!("your branch has {branch} already; mend it, or accept it: agentops merge {run} --no-test")
                    }
                    false => "nothing was merged; your branch may have changed since the run began".to_owned(),
                };
                return Err(CommandError::new(MERGE_REFUSED, format!("the merged result does not pass its gate: {words}"))
                    .hint(hint));
            }
        }
    }
    // A discard waits for nobody: it is refused until the run is recorded as merged.
    let lock = context.repo.lock_merges()?;
    still_open(context, run)?;
    if context.repo.head()?.branch != onto {
        return Err(CommandError::new(MERGE_REFUSED, "another branch was checked out while the merge was tested")
            .hint("check out the branch that is to have the result, then run the command again"));
    }
    merge_trust::programs_are_still(context, &programs, &state)?;
    // The merge is tested: a lost text must not keep it from being made.
    let task = context.texts().text(&state.created.task).unwrap_or_else(|e| format!("({e})"));
    let title = agentops_engine::view::title(&task);
    let message = format!("Merge {branch}: {title}\n\nAgentOps-Run: {run}\n");
    let tested = TestedMerge { head: head.clone(), tip };
    let commit = user_merge::merge(context, &lock, run, &tested, &message)?.unwrap_or_else(|| head.clone());
    let into = onto.unwrap_or_else(|| format!("commit {} without a branch", &head.as_str()[..12]));
    let did = format!("merged as {} into {}", &commit.as_str()[..12], agentops_safe::inert(&into));
    let closing = Closing::Merged { commit: commit.as_str().parse()? };
    close(context, run, closing).map_err(|error| unrecorded(context, run, &did, error))?;
    drop(lock);
    super::route::outcome(context, &state, Source::Merged, printer);
    printer.done(&Done { run: Some(run.clone()), did, commit: Some(commit.to_string()), undo: None });
    Ok(error::SUCCESS)
}

/// Takes back what a merge of this run left that was killed. The user's git does that, so its settings are agreed to first.
fn take_back(context: &Context, state: &State, printer: &Printer) -> Result<(), CommandError> {
    let run = RunArg { run: Some(state.created.run.clone()) };
    let args = MergeArgs { run, trust_changes: false, trust: None, no_test: true };
    merge_trust::agree_to_programs(context, &args, state, printer)?;
    user_merge::end_interrupted(context, printer)
}

/// Git merges no histories without a common commit: the user's was rewritten since the run began, or is another branch.
fn nothing_in_common(context: &Context, state: &State) -> CommandError {
    let (run, branch, base) = (&state.created.run, state.created.run.branch(), &state.created.base);
    let base = &base.as_str()[..12];
    let git = format!("git -C {}", shell_word(&context.repo.work_tree().display().to_string()));
    let words = format!("the checkout and {branch} have no commit in common, so git cannot merge them");
    CommandError::new(MERGE_REFUSED, words)
        .hint(format!("switch to a branch that holds the commit from which the run began: {git} branch --contains {base}"))
        .hint(format!(
            "or take its changes over without a merge: {git} diff --binary {base} {branch} | {git} apply --3way; then commit \
             them, and: agentops discard {run}"
        ))
}

/// `agentops discard`
pub fn discard(context: &Context, args: &RunArg, printer: &Printer) -> Result<u8, CommandError> {
    super::person_only()?;
    let state = finished(context, args)?;
    let run = &state.created.run;
    let branch = format!("refs/heads/{}", run.branch());
    let kept = format!("refs/agentops/discarded/{run}");
    let mut tip = context.repo.read_ref(&branch)?;
    if tip.is_none() {
        // A discard that was interrupted kept it under this name.
        tip = context.repo.read_ref(&kept)?;
    }
    let tip: Oid = match tip {
        Some(tip) => tip,
        None => state.tip().as_str().parse()?,
    };
    if let Some(folder) = context.repo.checked_out_in(&branch)? {
        let there = shell_word(&folder.display().to_string());
        let words = format!("the checkout in {} is on the branch of run {run}", folder.display());
        return Err(
            CommandError::new(NOT_NOW, words).hint(format!("git -C {there} switch --detach && agentops discard {run}"))
        );
    }
    may_close(context)?;
    let mut locks = context.repo.lock_merges_of(&run.branch())?;
    if user_merge::is_interrupted(context, run)? {
        drop(locks);
        take_back(context, &state, printer)?;
        locks = context.repo.lock_merges_of(&run.branch())?;
    }
    still_open(context, run)?;
    // A discard that was interrupted may have kept what the branch held then.
    let expected = context.repo.read_ref(&kept)?.map_or(Expect::Absent, Expect::Is);
    context.repo.update_ref(&kept, &tip, &expected)?;
    if context.repo.read_ref(&branch)?.is_some() {
        context.repo.delete_ref(&branch, &Expect::Is(tip.clone()))?;
    }
    close(context, run, Closing::Discarded { commit: tip.as_str().parse()? })?;
    drop(locks);
    let of = match state.outcome {
        Some((Outcome::Failed, _)) => Source::Failed,
        _ => Source::Discarded,
    };
    super::route::outcome(context, &state, of, printer);
    let back = format!("git branch {} {kept}", run.branch());
    printer.done(&Done { run: Some(run.clone()), did: "discarded".into(), commit: Some(tip.to_string()), undo: Some(back) });
    open_programs::name(context, printer);
    Ok(error::SUCCESS)
}
