//! Hooks, attributes and settings of git that agents of any run left and that nobody agreed to or put back.

use std::collections::BTreeSet;

use agentops_core::id::RunId;
use agentops_engine::open_programs::{LeftPrograms, OpenPrograms};

use crate::context::Context;
use crate::error::CommandError;
use crate::printer::Printer;
use crate::repository_changes;

/// Differences that one line names.
const NAMED_MAX: usize = 3;

/// What a merge asks about: what differs, in which run it came, and what puts it back.
pub fn question(left: &[LeftPrograms], merged: &RunId) -> String {
    let mut words = vec!["Hooks or settings of git changed. The merge would use them:".to_owned()];
    let mut shown = BTreeSet::new();
    for left in left {
        let LeftPrograms { run, during, .. } = left;
        let of = if run == merged { "this run".to_owned() } else { format!("run {run}") };
        words.push(match (during.is_empty(), left.is_under_way) {
            (true, _) => format!("since {of} started:"),
            (false, true) => format!("since {during} of {of} began, which has not ended:"),
            (false, false) => format!("while {during} of {of} ran:"),
        });
        let lines = repository_changes::lines(&left.differences);
        let is_shown = !left.parts.is_empty() && left.parts.iter().all(|part| shown.contains(part));
        words.extend(if is_shown { vec!["  - the same".to_owned()] } else { lines });
        shown.extend(&left.parts);
    }
    words.join("\n")
}

/// Names what is open after a run, in one line.
pub fn name(context: &Context, printer: &Printer) {
    match read(context) {
        Ok(open) => {
            if let Some(line) = line(&open.left) {
                printer.note(&line);
            }
        }
        Err(e) => printer.note(&format!("note: hooks and settings of git could not be compared: {}", e.causes.join(": "))),
    }
}

fn read(context: &Context) -> Result<OpenPrograms, CommandError> {
    Ok(OpenPrograms::read(&context.ledger()?, &context.texts(), &context.repo)?)
}

fn line(left: &[LeftPrograms]) -> Option<String> {
    let first = &left.first()?.run;
    let runs: BTreeSet<&str> = left.iter().map(|left| left.run.as_str()).collect();
    let what: BTreeSet<&str> =
        left.iter().flat_map(|left| &left.differences).map(|difference| difference.what.as_str()).collect();
    let mut named: Vec<&str> = what.iter().copied().take(NAMED_MAX).collect();
    let more = format!("{} more", what.len().saturating_sub(NAMED_MAX));
    if what.len() > NAMED_MAX {
        named.push(&more);
    }
    let runs: Vec<&str> = runs.into_iter().collect();
    Some(crate::context::redacted(&agentops_safe::inert_line(
        &format!(
            "note: these changes of {} are still in your repository, and the next merge asks about them: {}; what puts them \
             back: agentops show {first}",
            runs.join(", "),
            named.join(", ")
        ),
        2_000,
    )))
}
