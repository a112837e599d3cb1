//! Which program that git started kept the user's merge from being committed.
//!
//! Git's messages are in the user's language, so they cannot be compared with anything. Its trace names each program that it
//! starts, what for, and with which code the program ended.

use std::path::Path;

use serde::Deserialize;

use crate::plain_file;

/// Bytes of a trace that are read. Each program has two short lines.
const TRACE_BYTES_MAX: u64 = 4 << 20;

/// A program that git started for the merge, and that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FailedProgram {
    /// A hook, by its name and its file.
    Hook { name: String, program: String },
    /// The program that was to sign the commit.
    Signing { program: String },
}

#[derive(Deserialize)]
struct TraceEvent {
    event: String,
    /// Whose event it is. A git that another one started adds its own part behind a slash.
    #[serde(default)]
    sid: String,
    #[serde(default)]
    child_id: i64,
    #[serde(default)]
    child_class: String,
    #[serde(default)]
    hook_name: String,
    #[serde(default)]
    argv: Vec<String>,
    #[serde(default)]
    code: i64,
}

/// The last program that git itself started and that failed, if it was a hook or was to sign.
pub(crate) fn failed_program(trace: &Path) -> Option<FailedProgram> {
    let bytes = plain_file::read(trace, TRACE_BYTES_MAX).ok()?;
    let events = bytes.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice::<TraceEvent>(line).ok());
    // What hooks do with git is their own affair.
    let own: Vec<TraceEvent> = events.filter(|event| !event.sid.contains('/')).collect();
    let failed = own.iter().rev().find(|event| event.event == "child_exit" && event.code != 0)?;
    let started = own.iter().rev().find(|event| event.event == "child_start" && event.child_id == failed.child_id)?;
    let program = started.argv.first()?.clone();
    if started.child_class == "hook" {
        return Some(FailedProgram::Hook { name: started.hook_name.clone(), program });
    }
    let signs = |argv: &[String]| {
        let has = |word: &str| argv.iter().any(|known| known == word);
        // GnuPG and gpgsm, or ssh-keygen.
        has("-bsau") || has("-Y") && has("sign")
    };
    signs(&started.argv).then_some(FailedProgram::Signing { program })
}
