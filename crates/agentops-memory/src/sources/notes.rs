//! Records in the repository: memory and bundles as Markdown, run records as JSON.

use std::path::Path;

use serde_json::Value;

use super::files::{self, FileFormat, FileReader};
use super::gaps::{GapReason, Gaps};
use super::{Searched, day, pieces};
use crate::passages::{Kind, Passage, Source};

/// What is kept where, and in which words it is named.
const FOLDERS: [(&str, Kind, &str); 3] = [
    ("memory", Kind::Memory, "memory of this repository"),
    ("runs", Kind::RunRecord, "run records of this repository"),
    ("bundles", Kind::Bundle, "bundles of this repository"),
];

/// The records of a work tree; names are paths from its root.
#[must_use]
pub fn read(work_tree: &Path) -> Vec<(Vec<Source>, Searched)> {
    FOLDERS.iter().map(|(folder, kind, what)| read_folder(work_tree, folder, *kind, what)).collect()
}

fn read_folder(work_tree: &Path, folder: &str, kind: Kind, what: &str) -> (Vec<Source>, Searched) {
    let path = work_tree.join(".agentops").join(folder);
    let mut searched = Searched::new(what, path.display().to_string(), path.is_dir());
    if !searched.there {
        return (Vec::new(), searched);
    }
    let ending = if kind == Kind::RunRecord { ".json" } else { ".md" };
    let format = |name: &str| if name.ends_with(ending) { FileFormat::Readable } else { FileFormat::Foreign };
    let mut gaps = Gaps::default();
    let mut reader = FileReader::default();
    let mut sources = Vec::new();
    for file in files::find(&[path], format, &mut gaps) {
        let Some(text) = reader.text(&file, &mut gaps) else { continue };
        let name = file.path.strip_prefix(work_tree).unwrap_or(&file.path).display().to_string();
        let passages = if kind == Kind::RunRecord { record(&text) } else { Some(passages(&text)) };
        let Some(passages) = passages else {
            gaps.add(GapReason::UnparsedRecord, name);
            continue;
        };
        searched.read += 1;
        sources.push(Source { kind, name, project: Some(work_tree.display().to_string()), passages });
    }
    sources.reverse();
    (sources, searched.with_gaps(gaps))
}

/// The paragraphs of a Markdown text, each with its line; the date is that of the front matter.
#[must_use]
pub fn passages(text: &str) -> Vec<Passage> {
    let date = text.lines().take(20).find_map(|line| line.strip_prefix("date: ")).and_then(|date| day(Some(date.trim())));
    let mut line = 1;
    let mut body = text;
    if let Some(rest) = text.strip_prefix("---\n")
        && let Some(end) = rest.find("\n---\n")
    {
        line += text[..end + 9].matches('\n').count() as u64;
        body = &text[(end + 9).min(text.len())..];
    }
    let mut passages: Vec<Passage> = Vec::new();
    let mut heading = String::new();
    for paragraph in body.split_inclusive("\n\n") {
        let start = line + paragraph.len().saturating_sub(paragraph.trim_start_matches('\n').len()) as u64;
        line += paragraph.matches('\n').count() as u64;
        let paragraph = paragraph.trim();
        if paragraph.starts_with('#') && !paragraph.contains('\n') {
            // A heading says what the paragraph below it is about.
            heading = format!("{paragraph}\n");
            continue;
        }
        for (lines, piece) in pieces(paragraph) {
            let text = format!("{}{piece}", std::mem::take(&mut heading));
            passages.push(Passage { line: Some(start + lines), speaker: None, date: date.clone(), text });
        }
    }
    if !heading.is_empty() {
        passages.push(Passage { line: Some(line), speaker: None, date, text: heading.trim_end().to_owned() });
    }
    passages
}

/// The passages of a document that an agent wrote: those of its Markdown, or of its JSON the texts under each key.
#[must_use]
pub fn document(text: &str) -> Vec<Passage> {
    let Ok(Value::Object(document)) = serde_json::from_str::<Value>(text) else { return passages(text) };
    let mut made = Vec::new();
    for (key, value) in &document {
        let mut texts = Vec::new();
        strings(value, &mut texts);
        let text = texts.join("\n");
        if !text.trim().is_empty() {
            let text = format!("{key}: {text}");
            let passage =
                |(_, piece): (u64, &str)| Passage { line: None, speaker: None, date: None, text: piece.to_owned() };
            made.extend(pieces(&text).into_iter().map(passage));
        }
    }
    made
}

/// All strings of a JSON value, fields in the order of their names. The parser limits how deep a value is nested.
fn strings<'v>(value: &'v Value, into: &mut Vec<&'v str>) {
    match value {
        Value::String(text) => into.push(text),
        Value::Array(items) => items.iter().for_each(|item| strings(item, into)),
        Value::Object(fields) => fields.values().for_each(|field| strings(field, into)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// What a run's record says in words: the task, what was refused, and with which agents it was done.
fn record(text: &str) -> Option<Vec<Passage>> {
    let record: Value = serde_json::from_str(text).ok()?;
    let task = record.get("task")?.as_str()?;
    let list = |name: &str| record.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    let mut said = format!("Task: {task}");
    let refusals: Vec<String> = list("refusals").iter().filter_map(Value::as_str).map(str::to_owned).collect();
    if !refusals.is_empty() {
        said.push_str(&format!("\nRefused: {}", refusals.join(", ")));
    }
    let mut agents: Vec<String> =
        list("sessions").iter().filter_map(|session| session.get("agent")?.as_str().map(str::to_owned)).collect();
    agents.dedup();
    if !agents.is_empty() {
        said.push_str(&format!("\nAgents: {}", agents.join(", ")));
    }
    let date = record.get("started_at_ms").and_then(Value::as_u64).map(date_of);
    let passages = pieces(&said).into_iter().map(|(_, piece)| Passage {
        line: None,
        speaker: None,
        date: date.clone(),
        text: piece.to_owned(),
    });
    Some(passages.collect())
}

/// The day of Unix milliseconds, in UTC (days to a date: H. Hinnant, "chrono-Compatible Low-Level Date Algorithms").
#[must_use]
pub fn date_of(at_ms: u64) -> String {
    let days = (at_ms / 86_400_000) as i64 + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn paragraphs_keep_their_heading_and_line() {
        let text = "---\nrun: r-1\ndate: 2031-04-05\n---\n\n# Retry the webhook\n\nIt fails at noon.\n\n## Decisions\n\n- Jitter, not backoff.\n";
        let passages = passages(text);
        assert_eq!(passages.len(), 2);
        assert_eq!(passages[0].text, "# Retry the webhook\nIt fails at noon.");
        assert_eq!(passages[1].text, "## Decisions\n- Jitter, not backoff.");
        assert_eq!((passages[0].line, passages[1].line), (Some(8), Some(12)));
        assert_eq!(passages[0].date.as_deref(), Some("2031-04-05"));
    }

    #[test]
    fn a_document_in_json_is_read_by_its_keys() {
        let json = r#"{"learning":{"text":"Retry with jitter.","evidence":["api.rs"]},"count":3,"open":[]}"#;
        let texts: Vec<_> = document(json).into_iter().map(|passage| passage.text).collect();
        assert_eq!(texts, ["learning: api.rs\nRetry with jitter."]);
        assert_eq!(document("# Plan\n\nRetry.\n")[0].text, "# Plan\nRetry.");
    }

    #[test]
    fn a_run_record_says_its_task() {
        let text = r#"{"format":1,"run":"r-1","task":"retry the webhook","started_at_ms":1933200000000,"refusals":["implement/tests in round 1"],"sessions":[{"agent":"coder"}]}"#;
        let passages = record(text).unwrap();
        assert_eq!(passages[0].text, "Task: retry the webhook\nRefused: implement/tests in round 1\nAgents: coder");
        assert_eq!(passages[0].date.as_deref(), Some("2031-04-06"));
        assert_eq!(record("[]"), None);
        assert_eq!(date_of(0), "1970-01-01");
        assert_eq!(date_of(1_709_164_800_000), "2024-02-29");
    }

    #[test]
    fn what_is_not_there_is_said() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join(".agentops/memory/learnings")).unwrap();
        fs::write(folder.path().join(".agentops/memory/learnings/a.md"), "Jitter.\n").unwrap();
        let read = read(folder.path());
        assert_eq!(read[0].0[0].name, ".agentops/memory/learnings/a.md");
        assert_eq!((read[0].1.read, read[1].1.there), (1, false));
    }
}
