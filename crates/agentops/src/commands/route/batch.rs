//! `route --catalogue`: requests from files, answered by a router of their own, for measurements. It keeps nothing.

use std::path::Path;
use std::time::Instant;

use agentops_route::corpus::{self, CorpusError, Replayed};
use agentops_route::router::{Example, Router};

use crate::cli::BatchArgs;
use crate::commands;
use crate::error::{self, CommandError, USAGE};
use crate::printer::Printer;

/// The most that is read of a file.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// Learns what is to be learnt and prints a line for each request.
pub fn answer(args: &BatchArgs, printer: &Printer) -> Result<u8, CommandError> {
    let (Some(catalogue), Some(input)) = (&args.catalogue, &args.input) else { return Ok(error::SUCCESS) };
    let entries = lines(catalogue, corpus::entries)?;
    let mut examples = many(&args.train)?;
    let held = many(&args.valid)?;
    let feedback = args.feedback.as_ref().map_or(Ok(Vec::new()), |file| lines(file, corpus::examples))?;
    let questions = lines(input, corpus::questions)?;

    let mut router = Router::new(&entries);
    router.fit(&examples, &held);
    if !feedback.is_empty() {
        let Replayed { lines, corrections } = corpus::replay(&mut router, &feedback, args.corrections);
        printer.note(&format!("feedback: {lines} requests, {corrections} of them would have gone elsewhere"));
        // As a model is built again from git: everything that is known, from the beginning.
        examples.extend(feedback.into_iter().take(lines));
        router.fit(&examples, &held);
    }
    if router.vanished() > 0 {
        printer.note(&format!(
            "{} requests have labels that are not in the catalogue; they were not learnt",
            router.vanished()
        ));
    }
    for question in &questions {
        let mut asked = Instant::now();
        let predicted = corpus::predict(&router, question, || {
            let took = asked.elapsed().as_secs_f64() * 1e6;
            asked = Instant::now();
            (took * 10.0).round() / 10.0
        });
        if printer.json() {
            printer.document(&serde_json::to_string(&predicted).map_err(std::io::Error::other)?);
        } else {
            let line = format!("{}\t{:.2}\t{}", predicted.id, predicted.confidence, predicted.label);
            printer.data(&agentops_safe::inert(&line));
        }
    }
    Ok(error::SUCCESS)
}

fn many(files: &[std::path::PathBuf]) -> Result<Vec<Example>, CommandError> {
    let mut all = Vec::new();
    for file in files {
        all.extend(lines(file, corpus::examples)?);
    }
    Ok(all)
}

fn lines<T>(file: &Path, parse: impl Fn(&str) -> Result<Vec<T>, CorpusError>) -> Result<Vec<T>, CommandError> {
    let wrong = |words: String| CommandError::new(USAGE, words).hint("a file of JSON lines; `-` is stdin");
    let bytes =
        commands::input(file, FILE_BYTES_MAX).map_err(|e| wrong(format!("{} cannot be read: {e}", file.display())))?;
    parse(&String::from_utf8_lossy(&bytes)).map_err(|e| wrong(format!("{}: {e}", file.display())))
}
