//! Transcripts of Claude Code: `<config>/projects/<folder>/<session>.jsonl`, a JSON object a line.

use std::path::Path;

use serde_json::{Map, Value};

use super::files::FileFormat;
use super::gaps::GapReason;
use super::{Searched, Transcript, Wanted, beginning, day, pieces};
use crate::passages::{Kind, Passage, Source};

/// Of what a command printed so much is searched, if it failed.
const OUTPUT_BYTES_MAX: usize = 800;

/// Records of the program's own state. They hold nothing that a person or an agent said.
const STATE_RECORDS: [&str; 32] = [
    "agent-color",
    "agent-name",
    "agent-setting",
    "atis-latch",
    "attribution-snapshot",
    "bridge-session",
    "content-replacement",
    "continued-in",
    "cost-state",
    "ended-by-model",
    "file-history-delta",
    "file-history-snapshot",
    "fork-context-ref",
    "frame-link",
    "history-suppression",
    "isolation-latch",
    "last-prompt",
    "marble-origami-reset",
    "marble-origami-snapshot",
    "mode",
    "permission-mode",
    "pr-link",
    "progress",
    // What was queued is an attachment or a message once it is sent.
    "queue-operation",
    "relocated",
    "result",
    "speculation-accept",
    "started",
    "system",
    "tag",
    "task-state",
    "worktree-state",
];

/// Parts of a message without text of their own, or with text that is not searched on purpose.
const SILENT_PARTS: [&str; 6] = ["document", "image", "redacted_thinking", "thinking", "tool_reference", "tool_result"];

/// The transcripts below Claude Code's configuration folder.
#[must_use]
pub fn read(config: &Path, wanted: Wanted<'_>) -> (Vec<Source>, Searched) {
    let what = "transcripts of Claude Code";
    super::transcripts(&[config.join("projects")], what, Kind::ClaudeTranscript, wanted, format, parse)
}

fn format(name: &str) -> FileFormat {
    if name.ends_with(".jsonl") {
        FileFormat::Readable
    } else if name.contains(".jsonl.") {
        FileFormat::Unknown
    } else {
        FileFormat::Foreign
    }
}

/// Reads one transcript: what the person and the agent said, what was run, and what failed.
#[must_use]
pub fn parse(text: &str) -> Transcript {
    let mut transcript = Transcript::default();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let place = (index + 1).to_string();
        let Ok(Value::Object(entry)) = serde_json::from_str::<Value>(line) else {
            transcript.gaps.add(GapReason::UnparsedLine, place);
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
        let unknown = match field("type") {
            Some(kind @ ("user" | "assistant")) => message(&entry, speaker(kind, &entry), &mut put),
            Some(kind @ ("summary" | "ai-title" | "custom-title" | "task-summary" | "marble-origami-commit")) => {
                let name = match kind {
                    "ai-title" => "aiTitle",
                    "custom-title" => "customTitle",
                    _ => "summary",
                };
                put("summary", field(name).unwrap_or_default());
                None
            }
            Some("system") if field("subtype") == Some("away_summary") => {
                put("summary", field("content").unwrap_or_default());
                None
            }
            Some("attachment") => {
                queued(&entry, &mut put);
                None
            }
            Some(kind) if STATE_RECORDS.contains(&kind) => None,
            Some(kind) => Some(kind.to_owned()),
            None => Some("without a type".to_owned()),
        };
        if let Some(unknown) = unknown {
            transcript.gaps.add_record(&unknown, place);
        }
    }
    transcript
}

/// Who says a message. The program writes summaries and remarks as if a person said them, and an agent asks its sub-agents.
fn speaker(kind: &str, entry: &Map<String, Value>) -> &'static str {
    let is = |name: &str| entry.get(name).and_then(Value::as_bool) == Some(true);
    if is("isCompactSummary") {
        "summary"
    } else if kind == "assistant" || is("isSidechain") {
        "agent"
    } else if is("isMeta") {
        "program"
    } else {
        "you"
    }
}

/// Takes what a message says. Gives back the type of a message or part that is unknown.
fn message(entry: &Map<String, Value>, speaker: &str, put: &mut impl FnMut(&str, &str)) -> Option<String> {
    match entry.get("message").and_then(|message| message.get("content")) {
        Some(Value::String(text)) => {
            put(speaker, text);
            None
        }
        Some(Value::Array(parts)) => parts.iter().filter_map(|part| content(part, speaker, put)).last(),
        _ => Some("message without content".to_owned()),
    }
}

/// Takes what a person typed while the agent was working. It is recorded as an attachment only.
fn queued(entry: &Map<String, Value>, put: &mut impl FnMut(&str, &str)) {
    let Some(attachment) = entry.get("attachment") else { return };
    let text = |name: &str| attachment.get(name).and_then(Value::as_str);
    if text("type") != Some("queued_command") {
        return;
    }
    let origin = attachment.get("origin").and_then(|origin| origin.get("kind")).and_then(Value::as_str);
    let is_person = origin.is_none_or(|kind| kind == "human") && text("commandMode") != Some("task-notification");
    put(if is_person { "you" } else { "program" }, &joined(attachment.get("prompt")));
}

/// Takes what a part of a message says. Gives back its type if that is unknown.
fn content(part: &Value, speaker: &str, put: &mut impl FnMut(&str, &str)) -> Option<String> {
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
        Some("server_tool_use" | "web_search_tool_result") => {}
        Some(kind) if SILENT_PARTS.contains(&kind) => {}
        kind => return Some(format!("part {}", kind.unwrap_or("without a type"))),
    }
    None
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
        assert_eq!(transcript.gaps.lines(), 1, "one line is broken");
        let said: Vec<_> = transcript.passages.iter().map(|p| (p.line, p.speaker.as_deref(), p.text.as_str())).collect();
        assert_eq!(said[0], (Some(2), Some("you"), "Why does checkout round prices twice?"));
        assert!(said.contains(&(Some(4), Some("agent"), "$ cargo test -p shop-price")), "{said:?}");
        assert!(said.iter().any(|(_, speaker, text)| *speaker == Some("failed") && text.contains("left: 1999")), "{said:?}");
        assert_eq!(transcript.passages[0].date.as_deref(), Some("2031-04-05"));
    }

    #[test]
    fn summaries_and_remarks_are_not_said_by_the_person() {
        let text = r#"{"type":"user","isCompactSummary":true,"message":{"role":"user","content":"The ibex retries thrice."}}
{"type":"user","isMeta":true,"message":{"role":"user","content":"Stop hook feedback: run the tests"}}
{"type":"user","isSidechain":true,"message":{"role":"user","content":"Find the retry code."}}
{"type":"marble-origami-commit","summary":"The gnu was renamed."}
{"type":"ai-title","aiTitle":"Renaming the gnu"}
{"type":"system","subtype":"away_summary","content":"While you were away: all tests pass."}
{"type":"attachment","attachment":{"type":"queued_command","prompt":"Also rename the emu.","origin":{"kind":"human"}}}
{"type":"attachment","attachment":{"type":"queued_command","prompt":[{"type":"text","text":"Task 7 ended."}],"commandMode":"task-notification"}}
{"type":"user","message":{"role":"user","content":"Thanks."}}"#;
        let transcript = parse(text);
        let speakers: Vec<_> = transcript.passages.iter().map(|p| p.speaker.as_deref().unwrap()).collect();
        let expected = ["summary", "program", "agent", "summary", "summary", "summary", "you", "program", "you"];
        assert_eq!(speakers, expected);
        assert_eq!(transcript.gaps.lines(), 0);
    }

    #[test]
    fn records_and_parts_of_unknown_types_are_named() {
        let text = r#"{"type":"poem","text":"walrus"}
{"type":"poem","text":"walrus"}
{"text":"walrus"}
{"type":"user","message":{"role":"user"}}
{"type":"assistant","message":{"content":[{"type":"text","text":"a"},{"type":"sculpture"},{"type":"thinking"}]}}
{"type":"permission-mode"}"#;
        let names: Vec<_> = parse(text)
            .gaps
            .into_list()
            .into_iter()
            .map(|gap| (gap.record_type.unwrap(), gap.count, gap.examples[0].clone()))
            .collect();
        let expected =
            [("poem", 2, "1"), ("without a type", 1, "3"), ("message without content", 1, "4"), ("part sculpture", 1, "5")];
        assert_eq!(names, expected.map(|(name, count, line)| (name.to_owned(), count, line.to_owned())));
    }
}
