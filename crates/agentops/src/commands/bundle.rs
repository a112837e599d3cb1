//! `bundle`: artifacts made small for an agent, on stdout; what it cost and what survived in a line on stderr.

use std::io::Read;
use std::path::Path;

use agentops_bundle::{Compressed, SourceError, code, conversation, log, transcript};

use crate::cli::{BundleArgs, BundleCommand, FileArgs};
use crate::context;
use crate::error::{self, CommandError, USAGE};
use crate::printer::Printer;

/// `agentops bundle`
pub fn bundle(args: &BundleArgs, printer: &Printer) -> Result<u8, CommandError> {
    let made = match &args.what {
        BundleCommand::Code(args) => {
            let task = match (&args.task, &args.query_file) {
                (Some(task), _) => task.clone(),
                (None, Some(file)) => String::from_utf8_lossy(&read(file)?).into_owned(),
                (None, None) => String::new(),
            };
            code::compress(&args.root, &context::redacted(&task), args.budget)?
        }
        BundleCommand::Transcript(args) => compress(args, transcript::compress)?,
        BundleCommand::Log(args) => compress(args, log::compress)?,
        BundleCommand::Conversation(args) => compress(args, conversation::compress)?,
    };
    print(&made, printer);
    Ok(error::SUCCESS)
}

fn compress(
    args: &FileArgs,
    compressor: impl Fn(&[u8], u64) -> Result<Compressed, SourceError>,
) -> Result<Compressed, CommandError> {
    let redactor = context::redactor();
    let mut stream = redactor.stream();
    let mut clean = stream.push(&read(&args.file)?);
    clean.extend(stream.finish());
    Ok(compressor(&clean, args.budget)?)
}

fn print(made: &Compressed, printer: &Printer) {
    printer.data(made.text.trim_end());
    let kept = match made.fidelity().score() {
        Some(score) => format!("kept {:.0} %", score * 100.0),
        None => "nothing to keep".to_owned(),
    };
    let ratio = made.before as f64 / made.after.max(1) as f64;
    printer.note(&format!("{} → {} tokens, {ratio:.1}:1, {kept}", made.before, made.after));
}

/// A file whole; `-` is stdin.
fn read(file: &Path) -> Result<Vec<u8>, CommandError> {
    if file == Path::new("-") {
        let mut bytes = Vec::new();
        std::io::stdin().lock().read_to_end(&mut bytes)?;
        return Ok(bytes);
    }
    std::fs::read(file).map_err(|source| SourceError::Unreadable { path: file.to_owned(), source }.into())
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
