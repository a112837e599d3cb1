//! The one place that writes to stdout and stderr. Data goes to stdout, everything else to stderr.

use std::io::{IsTerminal, Write};

use agentops_core::id::RunId;
use agentops_engine::trust::Subject;
use schemars::JsonSchema;
use serde::Serialize;

use crate::context;
use crate::error::{self, CommandError};

/// What a command did that changes something.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub struct Done {
    /// The run; absent: it is about the repository.
    pub run: Option<RunId>,
    /// What was done, in words.
    pub did: String,
    /// The commit it is about.
    pub commit: Option<String>,
    /// The command that takes it back.
    pub undo: Option<String>,
}

/// A failed command.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ErrorView {
    /// The exit code's name.
    pub error: String,
    /// The exit code.
    pub code: u8,
    /// What happened, one fragment a cause.
    pub causes: Vec<String>,
    /// What to do.
    pub hints: Vec<String>,
    /// What would have to be trusted.
    pub subject: Option<Subject>,
}

/// Decided once, carried as a value.
#[derive(Debug, Clone)]
pub struct Printer {
    json: bool,
    quiet: bool,
    colour: bool,
    /// stderr is a terminal.
    pub live: bool,
}

impl Printer {
    /// A printer for these flags.
    #[must_use]
    pub fn new(json: bool, quiet: bool) -> Self {
        let live = std::io::stderr().is_terminal() && std::io::stdout().is_terminal() && !json && !quiet;
        let colour =
            std::io::stdout().is_terminal() && std::env::var_os(crate::env::NO_COLOR).is_none_or(|value| value.is_empty());
        Self { json, quiet, colour, live }
    }

    /// Whether output is for programs.
    #[must_use]
    pub fn json(&self) -> bool {
        self.json
    }

    /// Text as data, with no control characters but those of our own colours; a closed pipe is no failure.
    pub fn data(&self, text: &str) {
        let _closed = writeln!(std::io::stdout(), "{}", self.clean(text));
    }

    /// A value as one JSON document.
    pub fn value(&self, value: &impl Serialize) {
        match serde_json::to_string_pretty(value) {
            Ok(text) => self.document(&text),
            Err(e) => self.note(&format!("cannot be shown as JSON: {e}")),
        }
    }

    /// What was done: words for people, a document for programs.
    pub fn done(&self, done: &Done) {
        if self.json {
            return self.value(done);
        }
        let run = done.run.as_ref().map(|run| format!("{run} ")).unwrap_or_default();
        let undo = done.undo.as_ref().map(|undo| format!("; take it back with: {undo}")).unwrap_or_default();
        self.data(&format!("{run}{}{undo}", done.did));
    }

    /// A JSON document as it is, but for what a terminal would obey: that is escaped.
    pub fn document(&self, json: &str) {
        let _closed = writeln!(std::io::stdout(), "{}", agentops_safe::inert_json(json));
    }

    /// Words beside the data. They often quote an error, so they show no secret either.
    pub fn note(&self, text: &str) {
        if !self.quiet {
            let _closed = writeln!(std::io::stderr(), "{}", self.clean(&without_secrets(text)));
        }
    }

    /// The last guard before a terminal, whatever was forgotten where a text came from.
    fn clean(&self, text: &str) -> String {
        if !self.colour {
            return inert(text);
        }
        let mut pieces = text.split("\x1b[");
        let mut clean = inert(pieces.next().unwrap_or_default());
        for piece in pieces {
            match piece.split_once('m').filter(|(colour, _)| COLOURS.contains(colour)) {
                Some((colour, rest)) => clean.push_str(&format!("\x1b[{colour}m{}", inert(rest))),
                None => clean.push_str(&inert(&format!("\x1b[{piece}"))),
            }
        }
        clean
    }

    /// A failed command; gives its exit code. What an error quotes may come from anywhere, a file of settings among it, so
    /// secrets are taken out here, for all commands.
    pub fn error(&self, error: &CommandError) -> u8 {
        let hints: Vec<String> = error.hints.iter().map(|hint| without_secrets(hint)).collect();
        let causes = causes_without_secrets(&error.causes);
        if self.json {
            self.value(&ErrorView {
                error: error::code_name(error.code).into(),
                code: error.code,
                causes,
                hints,
                subject: error.subject.clone(),
            });
            return error.code;
        }
        let mut text = format!("{} {}", self.paint("31;1", "error:"), inert(&causes.join(CAUSED_BY)));
        for hint in &hints {
            text.push_str(&format!("\n\n{} {}", self.paint("36", "hint:"), inert(hint)));
        }
        let _closed = writeln!(std::io::stderr(), "{text}");
        error.code
    }

    /// Text in a colour, where colours are wanted.
    #[must_use]
    pub fn paint(&self, colour: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// What [`Printer::paint`] is asked for, and the end of it.
const COLOURS: [&str; 13] = ["0", "1", "2", "31", "31;1", "32", "32;1", "33", "33;1", "34", "35", "36", "36;1"];

fn without_secrets(text: &str) -> String {
    context::redacted(&agentops_safe::hide_address_values(text))
}

/// Between an error and its cause.
const CAUSED_BY: &str = ": ";

/// A secret's name and its value may be two causes: then all causes become one text.
fn causes_without_secrets(causes: &[String]) -> Vec<String> {
    let each: Vec<String> = causes.iter().map(|cause| without_secrets(cause)).collect();
    let whole = without_secrets(&causes.join(CAUSED_BY));
    if each.join(CAUSED_BY) == whole { each } else { vec![whole] }
}

fn inert(text: &str) -> String {
    agentops_safe::inert(text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s6_a_secret_whose_name_is_another_cause_is_shown_by_no_form_of_an_error() {
        let apart =
            ["cannot read the file".to_owned(), "token=ghp_a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8 is no name".to_owned()];
        let clean = causes_without_secrets(&apart);
        assert_eq!(clean.len(), 2, "{clean:?}");
        assert!(!clean[1].contains("a1B2"), "{clean:?}");
        let split = ["cannot read the setting password".to_owned(), "Zx7qLm9vT2pWk4".to_owned()];
        let clean = causes_without_secrets(&split);
        assert!(!clean.concat().contains("Zx7q"), "{clean:?}");
    }

    #[test]
    fn s10_only_our_own_colours_reach_a_terminal() {
        let printer = Printer { json: false, quiet: false, colour: true, live: true };
        let text = format!("{} a\x1b]52;c;eA==\x07b\x1b[8mc\x1b[2Jd\u{9b}31me\rf", printer.paint("33;1", "ours"));
        assert_eq!(printer.clean(&text), "\x1b[33;1mours\x1b[0m abcde\nf");
        let plain = Printer { colour: false, ..printer };
        assert_eq!(plain.clean("\x1b[31mred\u{202e}"), "red");
    }
}
