//! Tool calls of the agent programs, by what their input has rather than by whose they are.

use serde_json::Value;

use super::event::{Events, Kind};

/// A call's values other than commands and edits are shown up to this many bytes.
const VALUE_BYTES_MAX: usize = 200;

/// The string, or nothing.
pub fn str_of(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The words of a value that may be a string, a list of content blocks, or an object with one of the usual fields.
pub fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().map(text_of).filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n"),
        Value::Object(object) => ["text", "output", "content", "stdout", "message", "formatted_output"]
            .iter()
            .find_map(|key| object.get(*key).map(text_of).filter(|text| !text.is_empty()))
            .unwrap_or_default(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// One tool call as a command, edits, or its name with its values.
pub fn call(events: &mut Events, at: usize, name: &str, input: &Value) {
    if let Some(line) = command_line(input) {
        command(events, at, &line);
        return;
    }
    let field = |keys: &[&str]| keys.iter().find_map(|key| input.get(*key)?.as_str());
    if let Some(patch) = input.as_str().or_else(|| field(&["patch", "input", "patchText"])).filter(|text| is_patch(text)) {
        self::patch(events, at, patch);
        return;
    }
    let path = field(&["file_path", "path", "filePath", "notebook_path", "absolute_path"]).unwrap_or_default();
    const NEW: &[&str] =
        &["new_string", "new_str", "newString", "newText", "content", "file_text", "new_source", "insert_text"];
    const OLD: &[&str] = &["old_string", "old_str", "oldString", "oldText"];
    if !path.is_empty() {
        let edits = input.get("edits").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let of = |edit: &Value, keys: &[&str]| keys.iter().find_map(|key| edit.get(*key)?.as_str()).map(str::to_owned);
        let edits = edits.iter().chain(std::iter::once(input));
        let edits: Vec<_> = edits.filter_map(|edit| Some((of(edit, NEW)?, of(edit, OLD).unwrap_or_default()))).collect();
        if !edits.is_empty() {
            for (new, old) in edits {
                events.push(at, Kind::Edit { path: path.to_owned(), old }, new);
            }
            return;
        }
    }
    let mut line = name.to_owned();
    for (key, value) in input.as_object().into_iter().flatten() {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let end = super::event::floor(&value, VALUE_BYTES_MAX);
        line.push_str(&format!(" {key}={}", value[..end].replace('\n', " ")));
    }
    events.push(at, Kind::Command, line);
}

/// A shell command; a patch within it becomes edits.
pub fn command(events: &mut Events, at: usize, line: &str) {
    if line.contains("*** Begin Patch") {
        events.push(at, Kind::Command, line.lines().next().unwrap_or_default());
        patch(events, at, line);
    } else {
        events.push(at, Kind::Command, line.trim());
    }
}

/// The command of a call, without the shell that it is handed to.
pub fn command_line(input: &Value) -> Option<String> {
    let command = ["command", "cmd", "script"].iter().find_map(|key| input.get(*key))?;
    match command {
        Value::String(line) => Some(without_shell(line).to_owned()),
        Value::Array(words) => {
            let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
            match words.as_slice() {
                [shell, flag, line] if shell.ends_with("sh") && flag.starts_with('-') => Some((*line).to_owned()),
                words => Some(words.join(" ")),
            }
        }
        _ => None,
    }
}

/// `/bin/bash -lc '…'` is `…`.
pub fn without_shell(line: &str) -> &str {
    let inner = ["bash -lc ", "sh -lc ", "bash -c ", "zsh -lc "].iter().find_map(|shell| {
        let (before, rest) = line.split_once(shell)?;
        (before.is_empty() || before.ends_with('/') && !before.contains(' ')).then_some(rest)
    });
    match inner {
        Some(rest) => rest.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')).unwrap_or(rest),
        None => line,
    }
}

fn is_patch(text: &str) -> bool {
    text.contains("*** Begin Patch") || text.starts_with("diff --git") || text.starts_with("--- ")
}

/// A patch in Codex' form or a unified diff: one edit per file.
pub fn patch(events: &mut Events, at: usize, patch: &str) {
    let mut file: Option<(String, String, String)> = None;
    let finish = |events: &mut Events, file: Option<(String, String, String)>| {
        if let Some((path, new, old)) = file {
            events.push(at, Kind::Edit { path, old }, new);
        }
    };
    for line in patch.lines() {
        let header = ["*** Add File: ", "*** Update File: ", "*** Delete File: ", "+++ b/", "+++ "];
        if let Some(path) = header.iter().find_map(|header| line.strip_prefix(header)) {
            finish(events, file.take());
            file = Some((path.trim().to_owned(), String::new(), String::new()));
        } else if let Some((_, new, old)) = &mut file {
            if let Some(added) = line.strip_prefix('+') {
                new.push_str(added);
                new.push('\n');
            } else if let Some(removed) = line.strip_prefix('-').filter(|line| !line.starts_with("-- ")) {
                old.push_str(removed);
                old.push('\n');
            }
        }
    }
    finish(events, file);
}

/// What came back, without the marks that some agents put around it, and whether it failed.
pub fn unwrapped(text: &str) -> (String, bool) {
    let mut failed = false;
    let mut body = String::with_capacity(text.len());
    for line in text.lines() {
        let mark = line.trim();
        if let Some(code) = mark.strip_prefix("<returncode>").and_then(|rest| rest.strip_suffix("</returncode>")) {
            failed = code.trim() != "0";
        } else if !matches!(
            mark,
            "<output>" | "</output>" | "<output_head>" | "</output_head>" | "<output_tail>" | "</output_tail>"
        ) {
            body.push_str(line);
            body.push('\n');
        }
    }
    (body, failed)
}
