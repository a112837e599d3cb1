//! Transcripts of Codex: `rollout-*.jsonl`, a JSON object a line, in `sessions/<year>/<month>/<day>/` and, once archived, in
//! `archived_sessions/`. Codex compresses the older ones to `rollout-*.jsonl.zst`.

use std::collections::HashSet;
use std::path::Path;

use serde_json::Value;

use super::files::FileFormat;
use super::gaps::GapReason;
use super::{Searched, Transcript, Wanted, beginning, day, pieces};
use crate::passages::{Kind, Passage, Source};

/// Of what a command printed so much is searched, if it failed.
const OUTPUT_BYTES_MAX: usize = 800;
/// Codex gives a summary to the model as if a person said it, after a fixed introduction that begins like this.
const SUMMARY_INTRODUCTION: &str = "Another language model started to solve this problem and produced a summary";
/// The introduction ends with this.
const SUMMARY_COLON: &str = "to assist with your own analysis:";

/// Records of the program's own state, or that repeat for the screen what items say.
const STATE_RECORDS: [&str; 6] = [
    "event_msg",
    "inter_agent_communication_metadata",
    "security_risk_score",
    "token_usage_record",
    "turn_context",
    "world_state",
];

/// Items without readable text, or with text that is not searched on purpose.
const SILENT_ITEMS: [&str; 10] = [
    "additional_tools",
    "compaction_trigger",
    "context_compaction",
    "ghost_snapshot",
    "image_generation_call",
    "other",
    "reasoning",
    "tool_search_call",
    "tool_search_output",
    "web_search_call",
];

/// The transcripts below Codex's home.
#[must_use]
pub fn read(home: &Path, wanted: Wanted<'_>) -> (Vec<Source>, Searched) {
    let folders = [home.join("sessions"), home.join("archived_sessions")];
    super::transcripts(&folders, "transcripts of Codex", Kind::CodexTranscript, wanted, format, parse)
}

fn format(name: &str) -> FileFormat {
    if !name.starts_with("rollout-") {
        FileFormat::Foreign
    } else if name.ends_with(".jsonl") {
        FileFormat::Readable
    } else {
        FileFormat::Unknown
    }
}

/// Reads one transcript: what the person and the agent said, what was run, and what failed.
#[must_use]
pub fn parse(text: &str) -> Transcript {
    let mut transcript = Transcript::default();
    let mut known = HashSet::new();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let place = (index + 1).to_string();
        let Ok(entry @ Value::Object(_)) = serde_json::from_str::<Value>(line) else {
            transcript.gaps.add(GapReason::UnparsedLine, place);
            continue;
        };
        let kind = entry.get("type").and_then(Value::as_str);
        let payload = entry.get("payload");
        let statements = match (kind, payload) {
            (Some("session_meta" | "turn_context"), Some(payload)) => {
                let folder = payload.get("cwd").and_then(Value::as_str).map(str::to_owned);
                transcript.folder = transcript.folder.or(folder);
                continue;
            }
            (Some("response_item"), Some(payload)) => said(payload),
            (Some("compacted"), Some(payload)) => compacted(payload, &known),
            (Some("inter_agent_communication"), Some(payload)) => {
                Ok(text_of(payload.get("content")).map(|text| ("agent", text)).into_iter().collect())
            }
            (Some(kind), Some(_)) if STATE_RECORDS.contains(&kind) => continue,
            // Older versions wrote items without an envelope, and the folder only in what they say of the environment.
            (Some(_), None) => said(&entry),
            (None, _) if entry.get("id").is_some() || entry.get("record_type").is_some() => continue,
            (kind, _) => Err(Unread::Unknown(kind.unwrap_or("without a type").to_owned())),
        };
        let date = day(entry.get("timestamp").and_then(Value::as_str));
        let statements = match statements {
            Ok(statements) => statements,
            Err(Unread::Encrypted) => {
                transcript.gaps.add(GapReason::EncryptedSummary, place);
                continue;
            }
            Err(Unread::Unknown(kind)) => {
                transcript.gaps.add_record(&kind, place);
                continue;
            }
        };
        for (speaker, text) in statements {
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
            known.insert(text);
        }
    }
    transcript
}

/// A statement: who says it, and its text.
type Statement = (&'static str, String);

/// Why a record gives no statement although it should.
enum Unread {
    Encrypted,
    Unknown(String),
}

/// What an item says, and who.
fn said(item: &Value) -> Result<Vec<Statement>, Unread> {
    let text = |name: &str| item.get(name).and_then(Value::as_str);
    let statement = match text("type") {
        Some("message") => return Ok(message(item)),
        Some("agent_message") => text_of(item.get("content")).map(|text| ("agent", text)),
        Some("function_call" | "custom_tool_call" | "local_shell_call") => {
            command(item).map(|command| ("agent", format!("$ {command}")))
        }
        Some("function_call_output" | "custom_tool_call_output") => failed(item).map(|text| ("failed", text)),
        Some("compaction" | "compaction_summary") => return Err(Unread::Encrypted),
        Some(kind) if SILENT_ITEMS.contains(&kind) => None,
        kind => return Err(Unread::Unknown(format!("item {}", kind.unwrap_or("without a type")))),
    };
    Ok(statement.into_iter().collect())
}

/// What a message says. Each part is a statement of its own.
fn message(item: &Value) -> Vec<Statement> {
    let speaker = match item.get("role").and_then(Value::as_str) {
        Some("user") => "you",
        Some("assistant") => "agent",
        // What the program itself is told is the same in every session.
        _ => return Vec::new(),
    };
    let texts: Vec<&str> = match item.get("content") {
        Some(Value::String(text)) => vec![text],
        Some(Value::Array(parts)) => parts.iter().filter_map(|part| part.get("text").and_then(Value::as_str)).collect(),
        _ => Vec::new(),
    };
    let statement = |text: &str| match without_introduction(text) {
        Some(summary) => ("summary", summary.to_owned()),
        None if speaker == "you" && is_program(text) => ("program", text.to_owned()),
        None => (speaker, text.to_owned()),
    };
    texts.into_iter().map(statement).collect()
}

/// What a compaction leaves: its summary, and earlier messages that no record before it holds.
fn compacted(payload: &Value, known: &HashSet<String>) -> Result<Vec<Statement>, Unread> {
    let summary = payload.get("message").and_then(Value::as_str).unwrap_or_default();
    let summary = without_introduction(summary).unwrap_or(summary).trim();
    let mut statements: Vec<Statement> = Vec::new();
    if !summary.is_empty() {
        statements.push(("summary", summary.to_owned()));
    }
    let mut is_encrypted = false;
    for name in ["replacement_history", "replacement_history_entries"] {
        for entry in payload.get(name).and_then(Value::as_array).into_iter().flatten() {
            let item = entry.get("item").unwrap_or(entry);
            match item.get("type").and_then(Value::as_str) {
                Some("message") => {
                    let is_new = |(_, text): &Statement| {
                        !known.contains(text) && !statements.iter().any(|(_, known)| known.trim() == text.trim())
                    };
                    let more: Vec<Statement> = message(item).into_iter().filter(is_new).collect();
                    statements.extend(more);
                }
                Some("compaction" | "compaction_summary" | "context_compaction") => is_encrypted = true,
                _ => {}
            }
        }
    }
    let has_summary = statements.iter().any(|(speaker, _)| *speaker == "summary");
    if statements.is_empty() && is_encrypted && !has_summary { Err(Unread::Encrypted) } else { Ok(statements) }
}

/// A summary without the introduction that stands before it; nothing where there is none.
fn without_introduction(text: &str) -> Option<&str> {
    let rest = text.trim_start().strip_prefix(SUMMARY_INTRODUCTION)?;
    Some(rest.split_once(SUMMARY_COLON).map_or(rest, |(_, summary)| summary).trim_start())
}

/// What the program puts before a person's words: its instructions and the environment. It is the same in every session.
fn is_frame(text: &str) -> bool {
    const FRAMES: [&str; 10] = [
        "<environment_context>",
        "<user_instructions>",
        "# AGENTS.md instructions",
        "<AGENTS.md",
        "<INSTRUCTIONS>",
        "<skill>",
        "<skills_instructions>",
        "<plugins_instructions>",
        "<permissions instructions>",
        "<collaboration_mode>",
    ];
    FRAMES.iter().any(|frame| text.trim_start().starts_with(frame))
}

/// What the program reports in a person's place.
fn is_program(text: &str) -> bool {
    const REPORTS: [&str; 4] = ["<turn_aborted>", "<subagent_notification>", "<codex_internal_context", "<hook_prompt"];
    REPORTS.iter().any(|report| text.trim_start().starts_with(report))
}

/// A text, or the texts of a list of parts.
fn text_of(content: Option<&Value>) -> Option<String> {
    let text = match content? {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            let texts = parts.iter().filter_map(|part| part.get("text").and_then(Value::as_str));
            texts.collect::<Vec<_>>().join("\n")
        }
        _ => return None,
    };
    Some(text).filter(|text| !text.trim().is_empty())
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
    let text = text_of(Some(output)).or_else(|| text_of(output.get("content")))?;
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
        assert_eq!(transcript.gaps.lines(), 1, "one line is broken");
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
        assert_eq!((transcript.folder.as_deref(), transcript.gaps.lines()), (Some("/home/ada/shop"), 0));
        assert_eq!(transcript.passages[0].text, "Retry the webhook.");
    }

    /// Speaker and words of each passage.
    type Said = Vec<(String, String)>;
    /// Reason, type of record and count of each gap.
    type Counted = Vec<(GapReason, Option<String>, u64)>;

    fn speakers(text: &str) -> (Said, Counted) {
        let transcript = parse(text);
        let said = transcript.passages.into_iter().map(|passage| (passage.speaker.unwrap(), passage.text)).collect();
        let gaps = transcript.gaps.into_list().into_iter().map(|gap| (gap.reason, gap.record_type, gap.count)).collect();
        (said, gaps)
    }

    fn owned(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected.iter().map(|(speaker, text)| ((*speaker).to_owned(), (*text).to_owned())).collect()
    }

    #[test]
    fn a_compaction_is_a_summary_and_keeps_what_only_it_holds() {
        let text = r#"{"type":"response_item","payload":{"type":"message","role":"user","content":[{"type":"input_text","text":"Retry the ibex."}]}}
{"type":"compacted","payload":{"message":"Another language model started to solve this problem and produced a summary of its thinking process. Use the information in this summary to assist with your own analysis:\nThe ibex retries thrice.","replacement_history":[{"type":"message","role":"user","content":[{"type":"input_text","text":"Retry the ibex."}]},{"type":"message","role":"user","content":[{"type":"input_text","text":"Never retry the yak."}]},{"type":"message","role":"user","content":[{"type":"input_text","text":"The ibex retries thrice."}]}]}}
{"type":"compacted","payload":{"message":"","replacement_history_entries":[{"item":{"type":"message","role":"user","content":[{"type":"input_text","text":"Another language model started to solve this problem and produced a summary of its work."}]}}]}}
{"type":"compacted","payload":{"message":"","replacement_history":[{"type":"compaction","encrypted_content":"c2VjcmV0"}]}}"#;
        let (said, gaps) = speakers(text);
        let expected = [
            ("you", "Retry the ibex."),
            ("summary", "The ibex retries thrice."),
            ("you", "Never retry the yak."),
            ("summary", " of its work."),
        ];
        let trimmed = |list: Vec<(String, String)>| -> Vec<(String, String)> {
            list.into_iter().map(|(speaker, text)| (speaker, text.trim().to_owned())).collect()
        };
        assert_eq!(trimmed(said), trimmed(owned(&expected)));
        assert_eq!(gaps, [(GapReason::EncryptedSummary, None, 1)]);
    }

    #[test]
    fn what_the_program_and_other_agents_say_is_not_said_by_the_person() {
        let text = r#"{"type":"response_item","payload":{"type":"message","role":"user","content":[{"type":"input_text","text":"<skill>\nthe same each time</skill>"}]}}
{"type":"response_item","payload":{"type":"message","role":"user","content":"<subagent_notification>\nThe emu is done.\n</subagent_notification>"}}
{"type":"inter_agent_communication","payload":{"author":"/root","content":"Please check the emu."}}
{"type":"response_item","payload":{"type":"agent_message","author":"/root","content":[{"type":"input_text","text":"The emu is fine."},{"type":"encrypted_content","encrypted_content":"x"}]}}
{"type":"response_item","payload":{"type":"custom_tool_call_output","output":[{"type":"input_text","text":"Process exited with code 3\nno such emu"}]}}"#;
        let (said, gaps) = speakers(text);
        let expected = [
            ("program", "<subagent_notification>\nThe emu is done.\n</subagent_notification>"),
            ("agent", "Please check the emu."),
            ("agent", "The emu is fine."),
            ("failed", "Process exited with code 3\nno such emu"),
        ];
        assert_eq!((said, gaps), (owned(&expected), Vec::new()));
    }

    #[test]
    fn records_and_items_of_unknown_types_are_named() {
        let text = r#"{"type":"poem","payload":{"text":"walrus"}}
{"type":"response_item","payload":{"type":"sculpture"}}
{"type":"sculpture"}
{"type":"event_msg","payload":{"type":"token_count"}}
{"type":"response_item","payload":{"type":"reasoning","summary":[]}}
{"payload":{}}"#;
        let unknown = |name: &str, count| (GapReason::UnknownRecord, Some(name.to_owned()), count);
        let expected = vec![unknown("poem", 1), unknown("item sculpture", 2), unknown("without a type", 1)];
        assert_eq!(speakers(text), (Vec::new(), expected));
    }

    #[test]
    fn compressed_and_archived_rollouts_are_read() {
        let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/codex-zst");
        let (sources, searched) = read(&cases, None);
        let said: Vec<&str> = sources.iter().flat_map(|source| &source.passages).map(|p| p.text.as_str()).collect();
        for animal in ["walrus", "lemur", "gnu", "ibex"] {
            assert!(said.iter().any(|text| text.contains(animal)), "{animal}: {said:?}");
        }
        assert_eq!((searched.read, searched.not_read, searched.not_understood), (4, 0, 0));
    }
}
