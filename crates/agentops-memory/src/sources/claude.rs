//! Transcripts of Claude Code: `<config>/projects/<folder>/<session>.jsonl`, a JSON object a line.

use std::path::Path;

use serde_json::Value;

use super::{Searched, Transcript, Wanted, beginning, day, pieces};
use crate::passages::{Kind, Passage, Source};

/// Of what a command printed so much is searched, if it failed.
const OUTPUT_BYTES_MAX: usize = 800;

/// The transcripts below Claude Code's configuration folder.
#[must_use]
pub fn read(config: &Path, wanted: Wanted<'_>) -> (Vec<Source>, Searched) {
    let is_transcript = |name: &str| name.ends_with(".jsonl");
    let what = "transcripts of Claude Code";
    super::transcripts(&config.join("projects"), what, Kind::ClaudeTranscript, wanted, is_transcript, parse)
}

/// Reads one transcript: what the person and the agent said, what was run, and what failed.
#[must_use]
pub fn parse(text: &str) -> Transcript {
    let mut transcript = Transcript::default();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let Ok(Value::Object(entry)) = serde_json::from_str::<Value>(line) else {
            transcript.not_understood += 1;
            continue;
        };
        let field = |name: &str| entry.get(name).and_then(Value::as_str);
        if transcript.folder.is_none() {
            transcript.folder = field("cwd").map(str::to_owned);
        }
        let date = day(field("timestamp"));
        let mut put = |speaker: &str, text: &str| {
            for (_, piece) in pieces(text) {
                transcript.passages.push(Passage {
                    line: Some(index as u64 + 1),
                    speaker: Some(speaker.to_owned()),
                    date: date.clone(),
                    text: piece.to_owned(),
                });
            }
        };
        let speaker = match field("type") {
            Some("user") => "you",
            Some("assistant") => "agent",
            Some("summary") => {
                put("summary", field("summary").unwrap_or_default());
                continue;
            }
            // Snapshots, hooks, settings: other kinds of lines say nothing.
            Some(_) => continue,
            None => {
                transcript.not_understood += 1;
                continue;
            }
        };
        match entry.get("message").and_then(|message| message.get("content")) {
            Some(Value::String(text)) => put(speaker, text),
            Some(Value::Array(parts)) => parts.iter().for_each(|part| content(part, speaker, &mut put)),
            _ => transcript.not_understood += 1,
        }
    }
    transcript
}

fn content(part: &Value, speaker: &str, put: &mut impl FnMut(&str, &str)) {
    let text = |name: &str| part.get(name).and_then(Value::as_str);
    match text("type") {
        Some("text") => put(speaker, text("text").unwrap_or_default()),
        Some("tool_use") => {
            let input = |name: &str| part.get("input").and_then(|input| input.get(name)).and_then(Value::as_str);
            if let Some(command) = input("command") {
                put(speaker, &format!("$ {command}"));
            } else if let Some(path) = input("file_path").or_else(|| input("path")) {
                put(speaker, &format!("{} {path}", text("name").unwrap_or("tool")));
            }
        }
        Some("tool_result") if part.get("is_error").and_then(Value::as_bool) == Some(true) => {
            put("failed", beginning(&joined(part.get("content")), OUTPUT_BYTES_MAX));
        }
        _ => {}
    }
}

/// The text of a result, which is a string or a list of parts.
fn joined(content: Option<&Value>) -> String {
    match content {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => {
            parts.iter().filter_map(|part| part.get("text").and_then(Value::as_str)).collect::<Vec<_>>().join("\n")
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRANSCRIPT: &str = include_str!("../../tests/data/claude/session.jsonl");

    #[test]
    fn what_was_said_run_and_failed_is_there() {
        let transcript = parse(TRANSCRIPT);
        assert_eq!(transcript.folder.as_deref(), Some("/home/ada/shop"));
        assert_eq!(transcript.not_understood, 1, "one line is broken");
        let said: Vec<_> = transcript.passages.iter().map(|p| (p.line, p.speaker.as_deref(), p.text.as_str())).collect();
        assert_eq!(said[0], (Some(2), Some("you"), "Why does checkout round prices twice?"));
        assert!(said.contains(&(Some(4), Some("agent"), "$ cargo test -p shop-price")), "{said:?}");
        assert!(said.iter().any(|(_, speaker, text)| *speaker == Some("failed") && text.contains("left: 1999")), "{said:?}");
        assert_eq!(transcript.passages[0].date.as_deref(), Some("2031-04-05"));
    }
}
