//! Transcripts of Codex: `<home>/sessions/<year>/<month>/<day>/rollout-*.jsonl`, a JSON object a line.

use std::path::Path;

use serde_json::Value;

use super::{Searched, Transcript, Wanted, beginning, day, pieces};
use crate::passages::{Kind, Passage, Source};

/// Of what a command printed so much is searched, if it failed.
const OUTPUT_BYTES_MAX: usize = 800;

/// The transcripts below Codex's home.
#[must_use]
pub fn read(home: &Path, wanted: Wanted<'_>) -> (Vec<Source>, Searched) {
    let is_transcript = |name: &str| name.starts_with("rollout-") && name.ends_with(".jsonl");
    super::transcripts(&home.join("sessions"), "transcripts of Codex", Kind::CodexTranscript, wanted, is_transcript, parse)
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
        let entry = Value::Object(entry);
        let kind = entry.get("type").and_then(Value::as_str);
        let payload = entry.get("payload");
        // Older versions wrote items without an envelope, and the folder only in what they say of the environment.
        let item = match (kind, payload) {
            (Some("session_meta" | "turn_context"), Some(payload)) => {
                let folder = payload.get("cwd").and_then(Value::as_str).map(str::to_owned);
                transcript.folder = transcript.folder.or(folder);
                continue;
            }
            (Some("response_item"), Some(payload)) => payload,
            (Some("message" | "function_call" | "function_call_output"), None) => &entry,
            // Events repeat for the screen what items say; heads and other items say nothing.
            (Some(_), _) => continue,
            (None, _) if entry.get("id").is_some() || entry.get("record_type").is_some() => continue,
            (None, _) => {
                transcript.not_understood += 1;
                continue;
            }
        };
        let date = day(entry.get("timestamp").and_then(Value::as_str));
        for (speaker, text) in said(item) {
            if is_frame(&text) {
                let folder = text.split_once("<cwd>").and_then(|(_, rest)| rest.split_once("</cwd>"));
                transcript.folder = transcript.folder.or(folder.map(|(folder, _)| folder.to_owned()));
                continue;
            }
            for (_, piece) in pieces(&text) {
                transcript.passages.push(Passage {
                    line: Some(index as u64 + 1),
                    speaker: Some(speaker.to_owned()),
                    date: date.clone(),
                    text: piece.to_owned(),
                });
            }
        }
    }
    transcript
}

/// What an item says, and who.
fn said(payload: &Value) -> Vec<(&'static str, String)> {
    let text = |name: &str| payload.get(name).and_then(Value::as_str);
    match text("type") {
        Some("message") => {
            let speaker = match text("role") {
                Some("user") => "you",
                Some("assistant") => "agent",
                // What the program itself is told is the same in every session.
                _ => return Vec::new(),
            };
            let parts = payload.get("content").and_then(Value::as_array);
            let texts = parts.into_iter().flatten().filter_map(|part| part.get("text").and_then(Value::as_str));
            texts.map(|text| (speaker, text.to_owned())).collect()
        }
        Some("function_call" | "custom_tool_call" | "local_shell_call") => {
            command(payload).map(|command| ("agent", format!("$ {command}"))).into_iter().collect()
        }
        Some("function_call_output") => failed(payload).map(|text| ("failed", text)).into_iter().collect(),
        _ => Vec::new(),
    }
}

/// What the program puts before a person's words: its instructions and the environment.
fn is_frame(text: &str) -> bool {
    ["<environment_context>", "<user_instructions>", "# AGENTS.md instructions"]
        .iter()
        .any(|frame| text.trim_start().starts_with(frame))
}

/// The command of a call; arguments are JSON in a string.
fn command(payload: &Value) -> Option<String> {
    if let Some(input) = payload.get("input").and_then(Value::as_str) {
        return Some(input.to_owned());
    }
    let arguments = payload.get("arguments").and_then(Value::as_str);
    let arguments: Value = match arguments {
        Some(text) => serde_json::from_str(text).ok()?,
        None => payload.get("action")?.clone(),
    };
    match arguments.get("command").or_else(|| arguments.get("cmd"))? {
        Value::String(command) => Some(command.clone()),
        Value::Array(words) => {
            let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
            // `bash -lc "…"`: what it runs is the last word.
            let is_shell = words.len() == 3 && words[1].starts_with('-') && words[1].ends_with('c');
            Some(if is_shell { words[2].to_owned() } else { words.join(" ") })
        }
        _ => None,
    }
}

/// What a failed command printed.
fn failed(payload: &Value) -> Option<String> {
    let output = payload.get("output")?;
    let text = match output {
        Value::String(text) => text.clone(),
        other => other.get("content").and_then(Value::as_str)?.to_owned(),
    };
    let code = serde_json::from_str::<Value>(&text).ok().and_then(|whole| {
        let code = whole.get("metadata")?.get("exit_code")?.as_i64()?;
        Some((code, whole.get("output")?.as_str()?.to_owned()))
    });
    match code {
        Some((0, _)) => None,
        Some((_, text)) => Some(beginning(&text, OUTPUT_BYTES_MAX).to_owned()),
        // Newer versions say the code in words.
        None => {
            let fails = text.contains("exited with code ") && !text.contains("exited with code 0");
            fails.then(|| beginning(&text, OUTPUT_BYTES_MAX).to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRANSCRIPT: &str = include_str!("../../tests/data/codex/rollout-2031-04-06T10-00-00-session.jsonl");

    #[test]
    fn what_was_said_run_and_failed_is_there_once() {
        let transcript = parse(TRANSCRIPT);
        assert_eq!(transcript.folder.as_deref(), Some("/home/ada/shop/api"));
        assert_eq!(transcript.not_understood, 1, "one line is broken");
        let said: Vec<_> = transcript.passages.iter().map(|p| (p.speaker.as_deref().unwrap(), p.text.as_str())).collect();
        assert_eq!(said.len(), 4, "{said:?}");
        assert_eq!(said[0], ("you", "Make the webhook retry with a jitter."));
        assert_eq!(said[1], ("agent", "$ rg -n retry api/src"));
        assert!(said[2].0 == "failed" && said[2].1.contains("No such file"), "{said:?}");
        assert!(said[3].1.contains("full jitter"));
        assert_eq!(transcript.passages[0].line, Some(3));
    }

    #[test]
    fn older_transcripts_have_no_envelope() {
        let text = r#"{"id":"0197","timestamp":"2025-06-01T10:00:00.000Z","instructions":null}
{"record_type":"state"}
{"type":"message","role":"user","content":[{"type":"input_text","text":"<environment_context>\n<cwd>/home/ada/shop</cwd>\n</environment_context>"}]}
{"type":"message","role":"user","content":[{"type":"input_text","text":"Retry the webhook."}]}"#;
        let transcript = parse(text);
        assert_eq!((transcript.folder.as_deref(), transcript.not_understood), (Some("/home/ada/shop"), 0));
        assert_eq!(transcript.passages[0].text, "Retry the webhook.");
    }
}
