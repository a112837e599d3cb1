//! `merge` and `discard`: what becomes of a result.

use agentops_core::run::{Closing, Outcome, State};
use agentops_engine::perform;
use agentops_engine::trust;
use agentops_engine::wire::Request;
use agentops_git::{Expect, MergeResult, Oid, UserMerge};
use agentops_route::feedback::Source;

use crate::cli::{MergeArgs, RunArg};
use crate::context::{self, Context};
use crate::error::{self, CommandError, MERGE_REFUSED, NOT_NOW, accepted};
use crate::printer::{Done, Printer};
use crate::{env, live};

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

/// `agentops merge`
pub fn merge(context: &Context, args: &MergeArgs, printer: &Printer) -> Result<u8, CommandError> {
    super::person_only()?;
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
    let head = context.repo.head()?.commit;
    agree_to_pinned(context, args, &head, &tip, printer)?;
    let merged = match context.repo.merge(&head, &tip, None)? {
        MergeResult::Conflict { paths } => {
            let paths = paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
            return Err(CommandError::new(MERGE_REFUSED, format!("{branch} does not merge with your branch: {paths}"))
                .hint(format!("git merge {branch}, and settle the conflict yourself, or rerun the task from here")));
        }
        MergeResult::Clean { tree } => {
            let author = agentops_git::Author { name: "AgentOps".into(), email: "agentops@localhost".into() };
            context.repo.commit_tree(&tree, &[&head, &tip], "Merge to be tested\n", &author, live::now() / 1000)?
        }
    };
    if !args.no_test {
        let blobs = context.blobs()?;
        printer.note("testing the merged result …");
        let tested = perform::test_commit(
            &context.repo,
            &context.paths,
            &blobs,
            &context::exe()?,
            env::for_agents(),
            &state,
            &merged,
        );
        match tested.map_err(|e| CommandError::new(error::FAILED, e.to_string()))? {
            None => {}
            Some(words) => {
                return Err(CommandError::new(MERGE_REFUSED, format!("the merged result does not pass its gate: {words}"))
                    .hint("nothing was merged; your branch may have changed since the run began"));
            }
        }
    }
    // What was looked at and tested is what is merged.
    if context.repo.read_ref(&format!("refs/heads/{branch}"))?.as_ref() != Some(&tip) || context.repo.head()?.commit != head
    {
        return Err(CommandError::new(MERGE_REFUSED, "your branch or the result's moved while the merge was tested")
            .hint("run the command again: it tests what is there then"));
    }
    let title = agentops_engine::view::title(&context.texts().text(&state.created.task)?);
    let message = format!("Merge {branch}: {title}\n\nAgentOps-Run: {run}\n");
    let commit = match context.repo.merge_into_checkout(&branch, &message)? {
        UserMerge::Merged { commit } => commit,
        UserMerge::UpToDate => head,
        UserMerge::Conflict { paths } => {
            let paths = paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
            return Err(CommandError::new(MERGE_REFUSED, format!("git did not merge it; everything is as it was: {paths}")));
        }
    };
    let closing = Closing::Merged { commit: commit.as_str().parse()? };
    accepted(context.ask(&Request::Close { run: run.clone(), closing })?)?;
    super::route::outcome(context, &state, Source::Merged, printer);
    let did = format!("merged as {}", &commit.as_str()[..12]);
    printer.done(&Done { run: Some(run.clone()), did, commit: Some(commit.to_string()), undo: None });
    Ok(error::SUCCESS)
}

/// A merge that changes what trust pins asks again, with that difference shown.
fn agree_to_pinned(
    context: &Context,
    args: &MergeArgs,
    head: &Oid,
    tip: &Oid,
    printer: &Printer,
) -> Result<(), CommandError> {
    let base = context.repo.merge_base(head, tip)?.unwrap_or_else(|| head.clone());
    let diff = context.repo.diff(&base, tip)?;
    let pinned: Vec<String> =
        diff.files.iter().map(|file| file.path.display().to_string()).filter(|path| trust::is_pinned(path)).collect();
    // The records' own attributes file steers nothing, as long as it is ours to the byte.
    let (ours, content) = perform::records::ATTRIBUTES;
    let is_ours =
        pinned.iter().any(|path| path == ours) && context.repo.read_file(tip, ours)?.as_deref() == Some(content.as_bytes());
    let pinned: Vec<String> = pinned.into_iter().filter(|path| !(is_ours && path == ours)).collect();
    if pinned.is_empty() || args.trust_changes {
        return Ok(());
    }
    let patch = context.repo.patch(&base, tip, 1024 * 1024)?;
    let patch = agentops_safe::inert(&String::from_utf8_lossy(&patch)).into_owned();
    let parts = patch.split("\ndiff --git ").filter(|part| pinned.iter().any(|path| part.contains(path.as_str())));
    printer.note(&format!(
        "This merge changes files that steer agents or run by themselves:\n\n{}",
        parts.collect::<Vec<_>>().join("\n\n")
    ));
    match super::ask("Merge these changes too? [y/N]")? {
        Some(answer) if matches!(answer.as_str(), "y" | "Y" | "yes") => Ok(()),
        _ => Err(CommandError::new(
            error::TRUST_REQUIRED,
            format!("the merge changes what trust covers: {}", pinned.join(", ")),
        )
        .hint("look at them with `agentops show --diff`, then: agentops merge --trust-changes")),
    }
}

/// `agentops discard`
pub fn discard(context: &Context, args: &RunArg, printer: &Printer) -> Result<u8, CommandError> {
    super::person_only()?;
    let state = finished(context, args)?;
    let run = &state.created.run;
    let branch = format!("refs/heads/{}", run.branch());
    let tip: Oid = match context.repo.read_ref(&branch)? {
        Some(tip) => tip,
        None => state.tip().as_str().parse()?,
    };
    let kept = format!("refs/agentops/discarded/{run}");
    if context.repo.read_ref(&kept)?.is_none() {
        context.repo.update_ref(&kept, &tip, &Expect::Absent)?;
    }
    if context.repo.read_ref(&branch)?.is_some() {
        context.repo.delete_ref(&branch, &Expect::Is(tip.clone()))?;
    }
    let closing = Closing::Discarded { commit: tip.as_str().parse()? };
    accepted(context.ask(&Request::Close { run: run.clone(), closing })?)?;
    let of = match state.outcome {
        Some((Outcome::Failed, _)) => Source::Failed,
        _ => Source::Discarded,
    };
    super::route::outcome(context, &state, of, printer);
    let back = format!("git branch {} {kept}", run.branch());
    printer.done(&Done { run: Some(run.clone()), did: "discarded".into(), commit: Some(tip.to_string()), undo: Some(back) });
    Ok(error::SUCCESS)
}
