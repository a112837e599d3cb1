//! What a crash may leave: processes that carry a session's mark in their environment and have no keeper any more.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::keeper::MARK_VARIABLE;
use crate::process::{ProcessId, Stat, all_pids};

/// A tree that forks faster than this many looks is reported by the next call.
const PASSES_MAX: usize = 100;
/// How long one killed process may take to be gone.
const END_TIME: Duration = Duration::from_secs(2);

/// Ends every process whose environment holds a session mark that begins with `mark_prefix`, and says how many there were.
///
/// Only processes whose environment we may read are seen: those of the same user. A process that changed its own
/// environment is not found; while its keeper lives it is ended as a descendant. Never hits this process or its ancestors.
pub fn end_strays(mark_prefix: &str) -> usize {
    let mut ended = BTreeSet::new();
    let own = own_line();
    for _ in 0..PASSES_MAX {
        let found = marked(mark_prefix, &own);
        if found.is_empty() {
            break;
        }
        for process in &found {
            if process.kill().unwrap_or(false) {
                ended.insert(*process);
            }
        }
        for process in found {
            // One in uninterruptible sleep is left to the next call.
            let _ = process.wait_end(END_TIME);
        }
    }
    ended.len()
}

fn marked(prefix: &str, own: &BTreeSet<i32>) -> Vec<ProcessId> {
    let wanted = format!("{MARK_VARIABLE}={prefix}");
    let is_marked = |pid: i32| {
        std::fs::read(format!("/proc/{pid}/environ"))
            .is_ok_and(|environment| environment.split(|byte| *byte == 0).any(|entry| entry.starts_with(wanted.as_bytes())))
    };
    let mut found = Vec::new();
    for pid in all_pids() {
        // The identity is taken before the mark is read: if the pid changes hands in between, the kill finds nobody.
        let Some(process) = ProcessId::of(pid) else { continue };
        if !own.contains(&pid) && is_marked(pid) && process.is_alive() {
            found.push(process);
        }
    }
    found
}

/// This process and its ancestors.
fn own_line() -> BTreeSet<i32> {
    let mut line = BTreeSet::new();
    let mut next = i32::try_from(std::process::id()).ok();
    while let Some(pid) = next.filter(|pid| *pid > 0 && line.insert(*pid)) {
        next = Stat::read(pid).map(|stat| stat.parent);
    }
    line
}
