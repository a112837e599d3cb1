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
use agentops_git::{Need, Oid, ProgramState, UserState, shell_word};
use agentops_safe::{visible, visible_line};

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

/// How much of all differences a person is shown.
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
    // An agent chose these names: none may look like a line of ours.
    let names: Vec<String> = steering.iter().map(|path| visible_line(&path.display().to_string()).into_owned()).collect();
    printer.note(&format!(
        "This merge changes files that steer agents or run by themselves:\n  {}\n\n{}",
        names.join("\n  "),
        differences(context, &base, tip, &steering)?
    ));
    match super::ask("Merge these changes too? [y/N]")? {
        Some(answer) if matches!(answer.as_str(), "y" | "Y" | "yes") => Ok(()),
        _ => Err(CommandError::new(
            error::TRUST_REQUIRED,
            format!("the merge changes files that steer agents or run by themselves: {}", names.join(", ")),
        )
        .hint(format!("if the difference above is what you want: agentops merge {} --trust-changes", state.created.run))),
    }
}

/// The difference of each of these files. Where one is cut, a line says so and how to see all of it.
fn differences(context: &Context, base: &Oid, tip: &Oid, paths: &[&Path]) -> Result<String, CommandError> {
    let folder = shell_word(&context.repo.work_tree().display().to_string());
    let all = format!("git -C {folder} --literal-pathspecs diff --text {base} {tip}");
    let mut shown = String::new();
    let mut absent: usize = 0;
    for (path, patch) in paths.iter().zip(context.repo.patches_of(base, tip, paths, PATCH_BYTES_MAX)?) {
        if patch.is_cut && patch.text.is_empty() {
            absent += 1;
            continue;
        }
        let text = String::from_utf8_lossy(&patch.text);
        shown.push_str(&visible(&text));
        // Lines of a file begin with another character in a patch.
        let is_binary = text.lines().last().is_some_and(|line| line.starts_with("Binary files "));
        let what = match patch.is_cut {
            true => format!("only {} bytes of this difference are shown; all of it", patch.text.len()),
            false if is_binary => "git does not show this difference; to see it as text".to_owned(),
            false => continue,
        };
        // A name that cannot be typed as it is shown is left out: then the command shows every file.
        let typed = path.to_str().filter(|name| visible_line(name) == *name);
        let only = typed.map_or_else(String::new, |name| format!(" -- {}", shell_word(name)));
        shown.push_str(&format!("\n({what}: {all}{only})\n"));
    }
    if absent > 0 {
        shown.push_str(&format!("\n(the differences of {absent} more of these files are not shown; to see them: {all})\n"));
    }
    Ok(shown)
}

/// Whether a path of the tree lies in a folder whose files git runs as hooks: `core.hooksPath` may name one of the tree.
fn is_hook(context: &Context, hooks: &ProgramState, path: &Path) -> bool {
    let full = context.repo.work_tree().join(path);
    hooks.hook_folders().iter().any(|folder| full.starts_with(folder))
}
