//! `bundle`: artifacts made small for an agent.
//!
//! What only prints needs no repository and writes nothing: the text on stdout, what it cost and what survived in a line on
//! stderr. What is kept lies in the repository, where git and people see it.

pub mod check;
pub mod kept;
mod source;

use std::path::Path;

use agentops_bundle::fidelity::percent;
use agentops_bundle::kind::Kind;
use agentops_bundle::source_text::SourceText;
use agentops_bundle::{Compressed, Fidelity, Omission, SourceError};
use agentops_bundle::{code, mixed};
use agentops_text::decode::decode;
use schemars::JsonSchema;
use serde::Serialize;

use crate::cli::{BundleArgs, BundleCommand, CodeArgs, FileArgs, Global};
use crate::context::{self, Context};
use crate::error::{self, CommandError, USAGE};
use crate::printer::Printer;
use crate::screen;

/// Unread parts that are named on stderr.
const UNREAD_SHOWN: usize = 5;
/// Smallest budget in tokens: a heading and one line.
const BUDGET_MIN: u64 = 16;

/// A text that was made smaller.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct BundleView {
    /// What it became.
    pub text: String,
    /// The source, in o200k tokens.
    pub tokens_before: u64,
    /// The text, in o200k tokens.
    pub tokens_after: u64,
    /// The share of must-keep facts that survived, 0 to 1, the mean of their classes; absent where there were none.
    pub kept: Option<f64>,
    /// What survived by class, and what did not, with where to find it.
    pub fidelity: Fidelity,
}

/// `agentops bundle`
pub fn bundle(global: &Global, args: &BundleArgs, printer: &Printer) -> Result<u8, CommandError> {
    let part = match &args.what {
        BundleCommand::Create(args) => return kept::create(&Context::find(global)?, args, printer),
        BundleCommand::Show(args) => return kept::show(&Context::find(global)?, args, printer),
        BundleCommand::Diff(args) => return kept::diff(&Context::find(global)?, args, printer),
        BundleCommand::List => return kept::list(&Context::find(global)?, printer),
        BundleCommand::Verify(args) => return check::verify(&Context::find(global)?, args, printer),
        BundleCommand::Gc(args) => return check::gc(&Context::find(global)?, args, printer),
        BundleCommand::Code(args) => {
            let task = match (&args.task, &args.query_file) {
                (Some(task), _) => task.clone(),
                (None, Some(file)) => task_of(file)?,
                (None, None) => String::new(),
            };
            refuse_code(args, &task)?;
            print(&code_for(args, &task)?, printer);
            return Ok(error::SUCCESS);
        }
        BundleCommand::Transcript(args) => file(args, Kind::Transcript, printer)?,
        BundleCommand::Log(args) => file(args, Kind::Log, printer)?,
        BundleCommand::Conversation(args) => file(args, Kind::Conversation, printer)?,
        BundleCommand::Patch(args) => file(args, Kind::Diff, printer)?,
        BundleCommand::Data(args) => file(args, Kind::Table, printer)?,
    };
    print(&part?, printer);
    Ok(error::SUCCESS)
}

/// The task that a file holds, in any encoding.
fn task_of(file: &Path) -> Result<String, CommandError> {
    let bytes = source::read(file, "bundle code --query-file -")?;
    Ok(decode(&bytes).text.into_owned())
}

/// Refuses arguments of which no bundle of code can be made.
fn refuse_code(args: &CodeArgs, task: &str) -> Result<(), CommandError> {
    if task.trim().is_empty() {
        return Err(CommandError::new(USAGE, "the task is empty")
            .hint("say in plain words what is to be done: --task \"the export writes a wrong header\""));
    }
    if args.root.is_file() {
        let path = args.root.display();
        return Err(CommandError::new(USAGE, format!("{path} is a file, and code is read by folder"))
            .hint("give --root a folder; name the file in --task"));
    }
    refuse_budget(args.budget)
}

/// The parts of a folder that a task needs. Refuses a task of which no word stands in the folder.
fn code_for(args: &CodeArgs, task: &str) -> Result<Compressed, CommandError> {
    let sources = code::Sources::read(&args.root, &context::redacted(task), args.budget, &context::redactor())?;
    if !sources.finds_task() && !sources.is_empty() {
        let shown = agentops_safe::inert_line(task, 60);
        return Err(CommandError::new(USAGE, format!("no word of the task stands in {}: {shown}", args.root.display()))
            .hint("check --root, or name a file, a function or a message of the code"));
    }
    Ok(sources.bundle(args.budget))
}

/// Refuses a budget that is too small for any kind of bundle.
fn refuse_budget(budget: u64) -> Result<(), CommandError> {
    if budget < BUDGET_MIN {
        return Err(SourceError::Budget { budget, needed: BUDGET_MIN }.into());
    }
    Ok(())
}

fn file(args: &FileArgs, kind: Kind, printer: &Printer) -> Result<Result<Compressed, SourceError>, CommandError> {
    refuse_budget(args.budget)?;
    let command = match kind {
        Kind::Transcript => "transcript",
        Kind::Log => "log",
        Kind::Diff => "patch",
        Kind::Table => "data",
        _ => "conversation",
    };
    let bytes = source::read(&args.file, &format!("bundle {command} --file -"))?;
    let source = SourceText::read(&bytes, &context::redactor());
    let name = agentops_safe::inert_line(&source::name(&args.file), 80);
    if source.text.trim().is_empty() && source.undecoded.is_empty() {
        printer.note(&format!("{name} is empty"));
        return Ok(Ok(Compressed::new(String::new(), 0, 0, Vec::new())));
    }
    let made = mixed::as_kind(kind, &source, args.budget);
    if source.assumed_lines > 0 {
        let lines = source.assumed_lines;
        printer.note(&format!("{name}: lines that are not UTF-8 were read as Windows-1252: {lines}"));
    }
    Ok(made)
}

fn print(made: &Compressed, printer: &Printer) {
    let fidelity = made.fidelity();
    if printer.json() {
        let kept = fidelity.score();
        let (text, tokens_before, tokens_after) = (made.text.clone(), made.before, made.after);
        return printer.value(&BundleView { text, tokens_before, tokens_after, kept, fidelity });
    }
    if made.before == 0 && made.text.is_empty() {
        return;
    }
    printer.data(made.text.trim_end());
    printer.note(&figures(made.before, made.after, &fidelity));
    unread(&fidelity, printer);
}

/// Parts of the sources that were not read, for a person: the first five by name.
fn unread(fidelity: &Fidelity, printer: &Printer) {
    let unread: Vec<&Omission> = fidelity.omitted.iter().filter(|omission| omission.reason.is_unread()).collect();
    for omission in unread.iter().take(UNREAD_SHOWN) {
        let place = agentops_safe::inert_line(&omission.place, 120);
        printer.note(&format!("not read  {place}  ({})", omission.reason.description()));
    }
    if unread.len() > UNREAD_SHOWN {
        printer.note(&format!("not read  {} more; --json lists them", unread.len() - UNREAD_SHOWN));
    }
}

/// `48.2k → 6.1k tokens, 7.9:1, kept 97 %`
fn figures(before: u64, after: u64, fidelity: &Fidelity) -> String {
    let kept = match fidelity.score() {
        // Rounded down: only a bundle that leaves nothing out keeps 100 %.
        Some(score) => format!("kept {} %", percent(score)),
        None => "nothing that must be kept was found".to_owned(),
    };
    let ratio = if after == 0 { "—".to_owned() } else { format!("{:.1}", before as f64 / after as f64) };
    format!("{} → {} tokens, {ratio}:1, {kept}", screen::thousands(before), screen::thousands(after))
}

impl From<SourceError> for CommandError {
    fn from(error: SourceError) -> Self {
        let hint = match &error {
            SourceError::Unreadable { .. } => "name a file or folder that you may read",
            SourceError::Form { .. } => "`agentops bundle --help` says what each kind reads",
            SourceError::Budget { .. } => "give a larger --budget, or a shorter task",
        };
        CommandError::of(USAGE, &error).hint(hint)
    }
}
