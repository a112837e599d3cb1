//! What kind of artifact a source is, told by its content.

use serde_json::Value;

use crate::{data, diff};

/// A kind of artifact. Each has a compressor of its own.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A folder of source files.
    Code,
    /// What an agent did.
    Transcript,
    /// Output of commands, logs.
    Log,
    /// What people said, and notes.
    Conversation,
    /// A unified diff.
    Diff,
    /// JSON, JSON lines, tables.
    Data,
    /// No text: only named.
    Binary,
}

/// So much of a source is looked at, in bytes.
const LOOKED_AT: usize = 64 << 10;

impl Kind {
    /// The kind of a source.
    #[must_use]
    pub fn of(source: &[u8]) -> Self {
        let looked_at = &source[..source.len().min(LOOKED_AT)];
        if looked_at.contains(&0) {
            return Self::Binary;
        }
        let text = String::from_utf8_lossy(looked_at);
        let trimmed = text.trim_start_matches('\u{feff}').trim_start();
        if trimmed.starts_with('{')
            && let Some(kind) = of_json_lines(trimmed, source.len() > LOOKED_AT)
        {
            return kind;
        }
        let is_json = || serde_json::from_slice::<Value>(source).is_ok();
        match () {
            () if trimmed.starts_with(['{', '[']) && is_json() => Self::Data,
            () if diff::is_diff(&text) => Self::Diff,
            () if is_log(&text) => Self::Log,
            () if data::delimiter(trimmed).is_some() => Self::Data,
            () => Self::Conversation,
        }
    }
}

/// JSON lines are told apart by the names in their objects; `None` where the lines are no objects.
fn of_json_lines(text: &str, is_cut: bool) -> Option<Kind> {
    let mut lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    if is_cut && lines.len() > 1 {
        lines.pop();
    }
    let objects: Vec<Value> = lines.iter().take(50).map_while(|line| serde_json::from_str(line).ok()).collect();
    if objects.len() < lines.len().min(50) || !objects.iter().all(Value::is_object) {
        return None;
    }
    let having = |name: &str| objects.iter().filter(|object| object.get(name).is_some()).count();
    let most = objects.len().div_ceil(2);
    let is_said = having("text") >= most && (having("speaker") >= most || having("session") >= most);
    let is_done = having("role") >= most
        || having("message") >= most && having("type") >= most
        || having("payload") >= most && having("type") >= most
        || having("jsonrpc") >= most
        || having("type") >= most && (having("session_id") > 0 || having("thread_id") > 0 || having("item") > 0);
    Some(match () {
        () if is_said && having("role") < most => Kind::Conversation,
        () if is_done => Kind::Transcript,
        () => Kind::Data,
    })
}

/// Lines that begin with a time, a level or a bracketed stamp, or what test runners and compilers print.
fn is_log(text: &str) -> bool {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).take(200).collect();
    if lines.len() < 3 {
        return false;
    }
    let stamped = lines.iter().filter(|line| is_stamped(line)).count();
    let printed = lines.iter().filter(|line| is_printed(line)).count();
    stamped * 2 > lines.len() || (stamped + printed * 4) * 2 > lines.len()
}

fn is_stamped(line: &str) -> bool {
    let start: String = line.chars().take(40).collect();
    let digits = start.bytes().filter(u8::is_ascii_digit).count();
    let is_timed = digits >= 4 && start.matches(':').count() >= 2 || digits >= 6 && start.starts_with(['[', '1', '2']);
    let levels = ["INFO", "WARN", "ERROR", "DEBUG", "TRACE", "FATAL", "info:", "warn:", "error:"];
    is_timed || levels.iter().any(|level| start.trim_start_matches(['[', '<']).starts_with(level))
}

/// What compilers, package managers and test runners print.
fn is_printed(line: &str) -> bool {
    const STARTS: [&str; 16] = [
        "test ",
        "running ",
        "FAILED",
        "PASSED",
        "FAIL",
        "PASS",
        "ok ",
        "not ok ",
        "error[",
        "error:",
        "warning:",
        "   Compiling ",
        "=== RUN",
        "--- FAIL",
        "Traceback (",
        "npm ",
    ];
    STARTS.iter().any(|start| line.starts_with(start)) || line.contains("... ok") || line.contains("Error: ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_told_apart() {
        let of = |text: &str| Kind::of(text.as_bytes());
        assert_eq!(
            of("{\"role\":\"user\",\"text\":\"hi\",\"index\":0}\n{\"role\":\"assistant\",\"text\":\"ho\",\"index\":1}\n"),
            Kind::Transcript
        );
        assert_eq!(of("{\"id\":\"D1:1\",\"session\":1,\"speaker\":\"A\",\"text\":\"hi\"}\n"), Kind::Conversation);
        assert_eq!(of("{\"type\":\"user\",\"message\":{\"content\":\"x\"},\"sessionId\":\"1\"}\n"), Kind::Transcript);
        assert_eq!(
            of("{\"type\":\"response_item\",\"payload\":{}}\n{\"type\":\"event_msg\",\"payload\":{}}\n"),
            Kind::Transcript
        );
        assert_eq!(of("{\"a\":1}\n{\"a\":2}\n"), Kind::Data);
        assert_eq!(of("{\"a\": [1, 2]}"), Kind::Data);
        assert_eq!(of("a,b\n1,2\n3,4\n"), Kind::Data);
        assert_eq!(of("diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n"), Kind::Diff);
        assert_eq!(of("2026-01-02 03:04:05 INFO a\n2026-01-02 03:04:06 INFO b\n2026-01-02 03:04:07 WARN c\n"), Kind::Log);
        assert_eq!(of("running 3 tests\ntest a ... ok\ntest b ... FAILED\n\nfailures:\n"), Kind::Log);
        assert_eq!(of("# Notes\n\nWe decided to keep it, because it is fast.\n\n- one\n- two\n"), Kind::Conversation);
        assert_eq!(Kind::of(b"\x7fELF\x00\x00"), Kind::Binary);
        assert_eq!(of(""), Kind::Conversation);
    }
}
