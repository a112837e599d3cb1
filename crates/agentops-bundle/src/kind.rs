//! What a source is, told by its content alone: names of files lie, and much of what an agent meets has none.

use std::collections::HashMap;
use std::sync::LazyLock;

use agentops_text::decode::{Encoding, decode};
use regex::Regex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::diff;
use crate::table::json::{self as json_text, Json};
use crate::table::separated::Dialect;

/// So many bytes of the beginning are looked at.
const LOOK_BYTES: usize = 256 << 10;
/// So many lines.
const LOOK_LINES: usize = 400;

/// A kind of source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A folder of code. No bytes are that.
    Folder,
    /// A unified diff, also behind a commit's message.
    Diff,
    /// A JSON document.
    Json,
    /// Rows with columns: JSON lines, CSV, TSV.
    Table,
    /// What an agent did.
    Transcript,
    /// A log, or the output of a command.
    Log,
    /// What people said.
    Conversation,
    /// Prose: notes, Markdown.
    Notes,
    /// One file of code or configuration.
    Code,
    /// No text.
    Binary,
}

static TIMES: LazyLock<Regex> = LazyLock::new(|| {
    re(
        r"^\W{0,2}(?:\d{4}[-/.]\d\d[-/.]\d\d|\d{8}[-T ]\d\d?:|\d\d-\d\d \d\d:\d\d|\d\d?[-/.]\d\d?[-/.]\d\d|\d\d:\d\d:\d\d|\d{9,}[.\s]|\d{6} \d{6}|(?:[A-Z][a-z]{2} ){0,2}[A-Z][a-z]{2} +\d+ \d\d:\d\d|\[[^\]]{0,40}\d\d:\d\d)",
    )
});
static LEVELS: LazyLock<Regex> = LazyLock::new(|| {
    re(r"^.{0,80}(?:\b(?:TRACE|DEBUG|INFO|NOTICE|WARN|WARNING|ERROR|FATAL|CRITICAL)\b|\[(?:info|warn|error|debug|notice)\])")
});
static SAYS: LazyLock<Regex> = LazyLock::new(|| {
    re(
        r"^(?:\[?\d[\d/.:, T-]{3,24}(?:[AaPp][Mm])?\]?\s*(?:-\s*)?)?(?:\*\*)?([\p{Lu}][\w.'-]{0,20}(?: [\p{Lu}][\w.'-]{0,20}){0,2})(?:\*\*)?:(?:\*\*)?\s+\S",
    )
});
/// What compilers and test runners print.
static OUTPUT: LazyLock<Regex> = LazyLock::new(|| {
    re(
        r"^(?:=+ .+ =+$|Traceback \(most recent|test result: |running \d+ tests?$|(?:error|warning)(?:\[\w+\])?: |\s+Compiling \S+ v|FAILED |FAIL: |--- FAIL: |npm ERR! |Ran \d+ tests? in |\s+\S+ +\| +\d+ [+-]+$)",
    )
});
static CODE: LazyLock<Regex> = LazyLock::new(|| {
    re(
        r#"^\s*(?:(?:pub |pub\(\w+\) |export |async |static |private |public |protected |default )*(?:fn|def|class|struct|enum|impl|trait|func|function|interface|namespace|module|mod|type|package|import|from|use|const|let|var|return|if|for|while|else|elif|match|case|#include|#define)\b|[})\]]+[;,]?$|@\w+|//|/\*|\*/|#\[|[\w."-]+ ?= ?\S|\[+[\w."-]+\]+$|[\w."-]+: ?[\w:<&\[]+[^ ]*,$)|[;{(,]\s*$"#,
    )
});

#[expect(clippy::expect_used, reason = "the patterns are constants of this crate, compiled by its tests")]
fn re(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a valid pattern")
}

impl Kind {
    /// What these bytes are.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let decoded = decode(bytes);
        let is_eight_bit = matches!(decoded.encoding, Encoding::Utf8 | Encoding::Windows1252);
        if is_eight_bit && is_binary(&bytes[..bytes.len().min(LOOK_BYTES)]) {
            return Self::Binary;
        }
        let text = &decoded.text[..decoded.text.floor_char_boundary(LOOK_BYTES)];
        let lines: Vec<&str> = text.lines().take(LOOK_LINES).filter(|line| !line.trim().is_empty()).collect();
        if is_diff(&lines) {
            return Self::Diff;
        }
        if let Some(kind) = json(&decoded.text, &lines) {
            return kind;
        }
        let share =
            |pattern: &Regex| lines.iter().filter(|line| pattern.is_match(line)).count() as f64 / lines.len().max(1) as f64;
        let is_timed = share(&TIMES) > 0.5 || share(&LEVELS) > 0.5;
        // Rows may begin with a time as well; then a heading without one tells.
        let is_headed = lines.first().is_some_and(|line| !TIMES.is_match(line) && !LEVELS.is_match(line));
        if is_separated(&lines) && (!is_timed || is_headed) {
            return Self::Table;
        }
        if is_talk(&lines) {
            return Self::Conversation;
        }
        if is_timed {
            return Self::Log;
        }
        if lines.iter().any(|line| OUTPUT.is_match(line)) {
            return Self::Log;
        }
        let has = |start: &[&str]| lines.iter().any(|line| start.iter().any(|start| line.starts_with(start)));
        if lines.first().is_some_and(|line| line.starts_with("# ")) && has(&["## ", "```", "- ", "* ", "1. "]) {
            return Self::Notes;
        }
        if text.starts_with("#!") || share(&CODE) > 0.4 {
            return Self::Code;
        }
        let most =
            |is: &dyn Fn(&str) -> bool, share: usize| lines.iter().filter(|line| is(line)).count() * share >= lines.len();
        if most(&is_prose, 2) {
            Self::Notes
        } else if most(&|line| line.starts_with([' ', '\t']), 2) {
            Self::Code
        } else {
            Self::Log
        }
    }
}

/// A heading, an item or a line of several words, few of which have digits.
fn is_prose(line: &str) -> bool {
    if line.starts_with(['#', '-', '*', '>']) {
        return true;
    }
    let (words, with_digits) = line.split_whitespace().fold((0, 0), |(words, digits), word| {
        (words + 1, digits + usize::from(word.bytes().any(|byte| byte.is_ascii_digit())))
    });
    words > 5 && with_digits * 6 <= words && !line.starts_with(char::is_whitespace)
}

/// Zero bytes, or many that no text has.
fn is_binary(look: &[u8]) -> bool {
    let odd = look.iter().filter(|byte| matches!(byte, 0x01..=0x08 | 0x0e..=0x1a | 0x1c..=0x1f)).count();
    // A cut within a character is no error.
    let broken = look.utf8_chunks().filter(|chunk| !chunk.invalid().is_empty()).count().saturating_sub(1);
    look.contains(&0) || (odd + broken) * 10 > look.len().max(1)
}

fn is_diff(lines: &[&str]) -> bool {
    let has_hunk = |lines: &[&str]| lines.iter().take(8).any(|line| diff::is_hunk_header(line));
    let begins = |line: &str| ["diff --git ", "diff --cc ", "diff --combined "].iter().any(|start| line.starts_with(start));
    let is_header = |line: &str| {
        line.starts_with("index ") || line.contains(" mode ") || line.contains("similarity") || line.starts_with("--- ")
    };
    let is_normal = |lines: &[&str]| matches!(lines, [range, first, ..] if diff::is_normal_header(range) && (first.starts_with("< ") || first.starts_with("> ")));
    let is_context = |three: &[&str]| {
        three[0].starts_with("*** ") && three[1].starts_with("--- ") && three[2].starts_with("***************")
    };
    if is_normal(lines) || lines.first().is_some_and(|line| line.starts_with("diff ")) && is_normal(&lines[1..]) {
        return true;
    }
    if lines.windows(3).any(is_context) {
        return true;
    }
    lines.windows(2).enumerate().any(|(at, two)| {
        two[0].starts_with("--- ") && two[1].starts_with("+++ ") && has_hunk(&lines[at..])
            || begins(two[0]) && (is_header(two[1]) || diff::is_hunk_header(two[1]))
    })
}

fn json(text: &str, lines: &[&str]) -> Option<Kind> {
    let first = lines.first()?.trim_start();
    if !first.starts_with(['{', '[']) {
        return None;
    }
    let values: Vec<Json<'_>> = lines.iter().take(OBJECTS_MAX).filter_map(|line| json_text::value(line)).collect();
    let objects = objects_of(&values);
    if objects.len() > 1 || objects.len() == 1 && lines.len() == 1 {
        return Some(of_objects(&objects.iter().collect::<Vec<_>>()));
    }
    // One document over many lines, a list, or values one after the other.
    let source = json_text::read(text)?;
    let values: Vec<Json<'_>> = source.values.into_iter().map(|(_, value)| value).collect();
    let [document] = values.as_slice() else {
        return Some(of_objects(&objects_of(&values).iter().collect::<Vec<_>>()));
    };
    let list = match document {
        Json::List(list) => Some(list),
        Json::Object(object) => object.iter().find_map(|(key, value)| match value {
            Json::List(list) if CONVERSATION_KEYS.contains(&key.as_ref()) => Some(list),
            _ => None,
        }),
        _ => None,
    };
    let objects = list.map(|list| objects_of(list)).unwrap_or_default();
    let kind = of_objects(&objects.iter().collect::<Vec<_>>());
    match document {
        // A lone opening brace at the end of the source is not a document.
        Json::List(list) if list.is_empty() && source.ends_early => None,
        Json::Object(object) if object.is_empty() && source.ends_early => None,
        _ if objects.is_empty() => Some(Kind::Json),
        Json::Object(_) if kind == Kind::Table => Some(Kind::Json),
        _ => Some(kind),
    }
}

/// Objects that are looked at.
const OBJECTS_MAX: usize = 60;
/// Keys under which a document has what was said and done.
const CONVERSATION_KEYS: &[&str] = &["messages", "turns", "conversation", "history", "trajectory"];

/// The first objects among some values.
fn objects_of(values: &[Json<'_>]) -> Vec<Value> {
    values.iter().take(OBJECTS_MAX).filter(|value| value.is_object()).map(Json::to_value).collect()
}

fn of_objects(objects: &[&Value]) -> Kind {
    let most = |is: &dyn Fn(&Value) -> bool| objects.iter().filter(|value| is(value)).count() * 2 > objects.len();
    let any = |is: &dyn Fn(&Value) -> bool| objects.iter().any(|value| is(value));
    const TYPES: &[&str] = &[
        "assistant",
        "event_msg",
        "item.completed",
        "item.started",
        "response_item",
        "session_meta",
        "step_start",
        "thread.started",
        "tool_result",
        "tool_use",
        "turn.started",
    ];
    let has_type = |value: &Value| {
        let kind = value["type"].as_str().unwrap_or_default();
        TYPES.contains(&kind) || kind == "user" && value["message"].is_object()
    };
    let is_rpc = |value: &Value| {
        let message = value.get("msg").unwrap_or(value);
        message.get("jsonrpc").is_some() || message["method"].as_str().is_some_and(|method| method.contains('/'))
    };
    if any(&has_type) || any(&is_rpc) {
        return Kind::Transcript;
    }
    let said = |value: &Value| {
        ["text", "content", "message", "body"].iter().any(|key| value[*key].is_string() || value[*key].is_array())
    };
    let by = |value: &Value| {
        ["role", "speaker", "author", "user", "from", "sender", "name"].iter().any(|key| value[*key].is_string())
    };
    if !most(&|value| said(value) && by(value)) {
        return Kind::Table;
    }
    let acts = |value: &Value| {
        let words = value["text"].as_str().or_else(|| value["content"].as_str()).unwrap_or_default();
        let blocks = value["content"].as_array().into_iter().flatten();
        value.get("tool_calls").is_some()
            || value["role"] == "tool"
            || words.contains("```bash\n")
            || words.contains("<returncode>")
            || blocks.into_iter().any(|block| matches!(block["type"].as_str(), Some("tool_use" | "tool_result")))
    };
    if any(&acts) { Kind::Transcript } else { Kind::Conversation }
}

/// The same number of separators in nearly every record, or a first line that names the separator.
fn is_separated(lines: &[&str]) -> bool {
    let text = lines.join("\n");
    let Some(dialect) = Dialect::of(&text) else { return false };
    let separators = dialect.width - 1;
    let least = match dialect.separator {
        b'\t' => 1,
        b'|' => 3,
        _ => 2,
    };
    let is_usual = dialect.share_percent >= 90 && separators >= least && dialect.records(&text).len() > 2;
    is_usual || dialect.is_declared
}

/// Most lines have a name before them, and the names come again. Levels of logs are written like names.
fn is_talk(lines: &[&str]) -> bool {
    let mut names: HashMap<&str, usize> = HashMap::new();
    for line in lines {
        if let Some(name) = SAYS.captures(line).and_then(|found| found.get(1)) {
            *names.entry(name.as_str()).or_default() += 1;
        }
    }
    let is_level = |name: &str| {
        name.len() > 2 && name.bytes().all(|byte| byte.is_ascii_uppercase())
            || matches!(name, "Error" | "Warning" | "Info" | "Note")
    };
    let named: usize = names.iter().filter(|(name, count)| **count > 1 && !is_level(name)).map(|(_, count)| count).sum();
    named * 2 > lines.len() && names.len() * 3 <= lines.len().max(6)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn kinds_are_told_by_content() {
        for (source, kind) in [
            ("diff --git a/x b/x\nindex 1..2 100644\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n", Kind::Diff),
            (
                "commit 1\nMerge: 2 3\n\n    m\n\ndiff --cc f\nindex 1,2..3\n--- a/f\n+++ b/f\n@@@ -1 -1 +1 @@@\n- a\n -b\n++c\n",
                Kind::Diff,
            ),
            ("*** a/f\t2026-01-01\n--- b/f\t2026-01-02\n***************\n*** 1 ****\n! a\n--- 1 ----\n! b\n", Kind::Diff),
            ("diff -r a/f b/f\n1c1\n< a\n---\n> b\n", Kind::Diff),
            ("diff --combined f\nindex 1,2..3\n@@@ -1 -1 +1 @@@\n- a\n -b\n++c\n", Kind::Diff),
            ("{\n  \"name\": \"x\",\n  \"deps\": {\"a\": 1}\n}", Kind::Json),
            ("{\"a\":1,\"b\":2}\n{\"a\":2,\"b\":3}\n", Kind::Table),
            ("[{\"a\":1},{\"a\":2}]", Kind::Table),
            ("[{\"v\":NaN},{\"v\":Infinity},{\"v\":1}]", Kind::Table),
            ("{\"a\": 1e400}", Kind::Table),
            ("{\n  \"a\": 1\n}\n{\n  \"a\": 2\n}\n", Kind::Table),
            ("{\"a\":1}{\"a\":2}", Kind::Table),
            ("{\n  // a comment\n  \"a\": [1, 2,],\n}\n", Kind::Json),
            ("id,note,total\n0,\"first\nsecond\",0\n1,\"first\nsecond\",3\n2,\"first\nsecond\",6\n", Kind::Table),
            ("sep=;\nid;name\n1;a\n2;b\n", Kind::Table),
            ("# exported\n# by tool\nid,name,total\n0,n0,0\n1,n1,1\n2,n2,2\n", Kind::Table),
            ("id,name,age\n1,\"Ann, B\",3\n2,Bob,4\n", Kind::Table),
            ("{\"role\":\"user\",\"content\":\"Hi\"}\n{\"role\":\"assistant\",\"content\":\"Hello\"}", Kind::Conversation),
            (
                "{\"role\":\"user\",\"text\":\"Fix\"}\n{\"role\":\"assistant\",\"text\":\"```bash\\nls\\n```\"}",
                Kind::Transcript,
            ),
            ("{\"type\":\"user\",\"message\":{}}\n{\"type\":\"assistant\",\"message\":{}}", Kind::Transcript),
            (
                "{\"jsonrpc\":\"2.0\",\"method\":\"session/update\",\"params\":{}}\n{\"jsonrpc\":\"2.0\",\"id\":1}",
                Kind::Transcript,
            ),
            (
                "2024-01-01 10:00:00 INFO start\n2024-01-01 10:00:01 WARN slow disk\n2024-01-01 10:00:02 INFO end\n",
                Kind::Log,
            ),
            ("Dec 10 06:55:46 host sshd[1]: Invalid user\nDec 10 06:55:48 host sshd[1]: closed\n", Kind::Log),
            ("Ann: Hi there\nBob: Hello\nAnn: I moved\nBob: When?\n", Kind::Conversation),
            ("# Plan\n\nWe will move the parser into its own crate next week.\n\n- first\n- second\n", Kind::Notes),
            ("src/a.rs | 2 +-\nrunning 2 tests\ntest a ... ok\n\ntest result: ok. 2 passed\n", Kind::Log),
            ("[package]\nname = \"x\"\n\n[dependencies]\nserde = \"1\"\n", Kind::Code),
            ("use std::fs;\n\nfn main() {\n    let x = 1;\n}\n", Kind::Code),
            ("a\0b", Kind::Binary),
        ] {
            assert_eq!(Kind::of(source.as_bytes()), kind, "{source}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_of_some_kind(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _kind = Kind::of(&bytes);
        }
    }
}
