//! Who asks: does a process descend from a keeper? If so it is an agent, a gate or their child, and may not approve.

use crate::keeper::{PROCESS_NAME, SUBCOMMAND};
use crate::process::Stat;

/// More parents than this are no sane process tree.
const DEPTH_MAX: usize = 4096;

/// Whether a process is a keeper or descends from one. Orphans stay below their keeper, because it is their subreaper.
///
/// Whatever cannot be known counts as yes: a pid that is gone, a parent that vanished while we looked.
#[must_use]
pub fn descends_from_keeper(pid: i32) -> bool {
    let (mut pid, mut child_start) = (pid, u64::MAX);
    for _ in 0..DEPTH_MAX {
        let Some(stat) = Stat::read(pid) else { return true };
        // A parent is older than its child; a younger one is somebody else who got the pid.
        if stat.start_time > child_start || is_keeper(pid, &stat) {
            return true;
        }
        // The parent of 1, and of what entered from outside our pid namespace, is 0.
        if stat.parent == 0 {
            return false;
        }
        (pid, child_start) = (stat.parent, stat.start_time);
    }
    true
}

/// The mark that a keeper was started with, from its arguments; `None` for any other process. A keeper that has not set its
/// process name yet is found as well.
pub(crate) fn keeper_mark(pid: i32) -> Option<Vec<u8>> {
    let stat = Stat::read(pid).filter(|stat| !stat.is_dead());
    stat.and_then(|_| std::fs::read(format!("/proc/{pid}/cmdline")).ok()).and_then(|line| {
        let mut words = line.split(|byte| *byte == 0).skip(1);
        let is_keeper = words.next() == Some(SUBCOMMAND.as_bytes());
        words.next().filter(|mark| is_keeper && !mark.is_empty()).map(<[u8]>::to_vec)
    })
}

/// A keeper has the keeper's name and was started as one. An empty command line (it is ending) speaks for it.
fn is_keeper(pid: i32, stat: &Stat) -> bool {
    if stat.comm.as_bytes() != PROCESS_NAME.to_bytes() {
        return false;
    }
    let Ok(line) = std::fs::read(format!("/proc/{pid}/cmdline")) else { return true };
    line.is_empty() || line.split(|byte| *byte == 0).nth(1) == Some(SUBCOMMAND.as_bytes())
}
