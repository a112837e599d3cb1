//! What must be agreed to before git merges in the user's checkout: changed files that steer agents or run by themselves, and
//! changed hooks and settings of git.
//!
//! A merge in the checkout is the user's own: git runs their hooks, filters and merge drivers. An agent without a sandbox can
//! write these by their path. So what the user's git would run is compared with what it would have run when the run started,
//! and with what agents of all runs left.

use std::collections::BTreeSet;
use std::path::Path;

use agentops_core::id::RunId;
use agentops_core::run::{ProgramPart, State};
use agentops_engine::open_programs::OpenPrograms;
use agentops_engine::perform::{self, user_repository};
use agentops_engine::steering;
use agentops_engine::wire::Request;
use agentops_git::{Need, Oid, ProgramState, UserState};

use crate::cli::MergeArgs;
use crate::context::Context;
use crate::error::{self, CommandError, MERGE_REFUSED, accepted};
use crate::printer::Printer;
use crate::repository_changes;

use super::open_programs;

/// Asks for trust if hooks or settings of git changed since the run started, or if an agent of any run left them as they are
/// and nobody agreed to that. Gives what was agreed to.
pub fn agree_to_programs(
    context: &Context,
    args: &MergeArgs,
    state: &State,
    printer: &Printer,
) -> Result<ProgramState, CommandError> {
    let run = &state.created.run;
    if let Some(fault) = context.repo.checkout_fault() {
        return Err(CommandError::new(error::NOT_NOW, fault.to_string())
            .hint(format!("{}, then: agentops merge {run}", fault.command())));
    }
    let (ledger, blobs) = (context.ledger()?, context.blobs()?);
    let start = user_repository::at_start(state, &blobs, &context.repo);
    if start.is_none() {
        printer.note("note: hooks and settings of git were not recorded when this run started, so they are not compared");
    }
    let start = start.as_ref().map(UserState::programs);
    let mut open = OpenPrograms::read_since(&ledger, &blobs, &context.repo, start)?;
    let since_start = match start {
        Some(start) => open.since_start(&ledger, state, start, &context.repo)?,
        None => None,
    };
    if open.left.is_empty() && since_start.is_none() {
        if !open.put_back.is_empty() {
            settle(context, run, open.restored, open.put_back, open.uncompared)?;
        }
        return Ok(open.now);
    }
    open.left.extend(since_start);
    if args.trust.as_deref() != Some(open.now.hash()) {
        printer.note(&context_redacted(&open_programs::question(&open.left, run)));
        match super::ask("Merge with these hooks and settings? [y/N]")? {
            Some(answer) if matches!(answer.as_str(), "y" | "Y" | "yes") => {}
            _ => {
                return Err(CommandError::new(
                    error::TRUST_REQUIRED,
                    "hooks or settings of git changed, and the merge would use them",
                )
                .hint(format!(
                    "put them back as shown, or agree to them: agentops merge {run} --trust={}",
                    open.now.hash()
                )));
            }
        }
    }
    let mut agreed = open.restored;
    agreed.extend(open.left.into_iter().flat_map(|left| left.parts));
    settle(context, run, agreed, open.put_back, open.uncompared)?;
    Ok(open.now)
}

/// Writes down what was agreed to, so that no merge asks about it again.
fn settle(
    context: &Context,
    run: &RunId,
    agreed: BTreeSet<ProgramPart>,
    put_back: Vec<ProgramPart>,
    uncompared: Vec<u64>,
) -> Result<(), CommandError> {
    let agreed = agreed.into_iter().collect();
    accepted(context.ask(&Request::AgreeToPrograms { run: run.clone(), agreed, put_back, uncompared })?).map(drop)
}

fn context_redacted(words: &str) -> String {
    crate::context::redacted(&agentops_safe::inert(words))
}

/// Refuses if hooks or settings are not those that were agreed to: the gates of the merge run what agents wrote.
pub fn programs_are_still(context: &Context, agreed: &ProgramState, state: &State) -> Result<(), CommandError> {
    let now = context.repo.program_state(Some(agreed))?;
    if agreed.runs_the_same(&now) {
        return Ok(());
    }
    let run = &state.created.run;
    let changes = repository_changes::lines(&agreed.differences(&now, &context.repo)).join("\n");
    Err(CommandError::new(MERGE_REFUSED, "hooks or settings of git changed while the merge was tested; nothing was merged")
        .cause(context_redacted(&changes))
        .hint(format!("put them back, or look at them and run again: agentops merge {run}")))
}

/// How much of the difference a person is shown.
const PATCH_BYTES_MAX: usize = 1024 * 1024;

/// A merge that changes files which steer agents or run by themselves asks, with that difference shown.
pub fn agree_to_steering(
    context: &Context,
    args: &MergeArgs,
    state: &State,
    (head, tip): (&Oid, &Oid),
    hooks: &ProgramState,
    printer: &Printer,
) -> Result<(), CommandError> {
    let base = context.repo.merge_base(head, tip)?.unwrap_or_else(|| head.clone());
    context.repo.fetch_missing(Need::Difference(&base, tip))?;
    let diff = context.repo.diff(&base, tip)?;
    let changed = diff.files.iter().map(|file| file.path.as_path());
    let steering = changed.filter(|path| steering::steers(&path.to_string_lossy()) || is_hook(context, hooks, path));
    let mut steering: Vec<&Path> = steering.collect();
    // The records' own attributes file steers nothing, as long as it is ours to the byte.
    let (ours, content) = perform::records::ATTRIBUTES;
    if steering.contains(&Path::new(ours)) && context.repo.read_file(tip, ours)?.as_deref() == Some(content.as_bytes()) {
        steering.retain(|path| *path != Path::new(ours));
    }
    if steering.is_empty() || args.trust_changes {
        return Ok(());
    }
    let names: Vec<String> = steering.iter().map(|path| path.display().to_string()).collect();
    let mut patch = context.repo.patch_of(&base, tip, &steering, PATCH_BYTES_MAX)?;
    if patch.len() >= PATCH_BYTES_MAX {
        patch.extend_from_slice(format!("\n(there is more: only {PATCH_BYTES_MAX} bytes are shown)").as_bytes());
    }
    printer.note(&agentops_safe::inert(&format!(
        "This merge changes files that steer agents or run by themselves:\n  {}\n\n{}",
        names.join("\n  "),
        String::from_utf8_lossy(&patch)
    )));
    match super::ask("Merge these changes too? [y/N]")? {
        Some(answer) if matches!(answer.as_str(), "y" | "Y" | "yes") => Ok(()),
        _ => Err(CommandError::new(
            error::TRUST_REQUIRED,
            format!("the merge changes files that steer agents or run by themselves: {}", names.join(", ")),
        )
        .hint(format!("if the difference above is what you want: agentops merge {} --trust-changes", state.created.run))),
    }
}

/// Whether a path of the tree lies in a folder whose files git runs as hooks: `core.hooksPath` may name one of the tree.
fn is_hook(context: &Context, hooks: &ProgramState, path: &Path) -> bool {
    let full = context.repo.work_tree().join(path);
    hooks.hook_folders().iter().any(|folder| full.starts_with(folder))
}
