//! What a crash may leave: processes that carry a session's mark in their environment and have no keeper any more.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::ancestry;
use crate::keeper::MARK_VARIABLE;
use crate::process::{ProcessId, Stat, all_pids, descendants};

/// A tree that forks faster than this many looks is reported by the next call.
const PASSES_MAX: usize = 100;
/// How long one killed process may take to be gone.
const END_TIME: Duration = Duration::from_secs(2);

/// How long a process that is just loading a program is left alone before it is looked at again.
const LOAD_TIME: Duration = Duration::from_millis(5);
/// A process that shows nothing after so many looks has hidden its arguments itself.
const LOAD_WAITS_MAX: u32 = 10;

/// Ends every keeper whose mark begins with `mark_prefix`, with its process tree, and every process whose environment holds
/// such a mark. Returns how many were ended, a tree counted once.
///
/// Only processes whose environment we may read are seen: those of the same user. A process that changed its own
/// environment is not found; while its keeper lives it is ended as a descendant. Never hits this process or its ancestors.
pub fn end_strays(mark_prefix: &str) -> usize {
    end_marked(&|mark| mark.starts_with(mark_prefix.as_bytes()))
}

/// The beginning of a mark that belongs to one process, for [`end_ownerless`].
#[must_use]
pub fn owned_mark(mark_prefix: &str, owner: ProcessId) -> String {
    format!("{mark_prefix}{}.{}/", owner.pid, owner.start_time)
}

/// As [`end_strays`], but spares what belongs to a process that lives: several processes share this beginning of a mark, and
/// each adds its own part with [`owned_mark`].
pub fn end_ownerless(mark_prefix: &str) -> usize {
    end_marked(&|mark| {
        let rest = mark.strip_prefix(mark_prefix.as_bytes());
        rest.is_some_and(|rest| !owner(rest).is_some_and(ProcessId::is_alive))
    })
}

/// The process that a mark names after its prefix.
fn owner(rest: &[u8]) -> Option<ProcessId> {
    let rest = std::str::from_utf8(rest).ok()?;
    let (pid, start_time) = rest.split('/').next()?.split_once('.')?;
    Some(ProcessId { pid: pid.parse().ok()?, start_time: start_time.parse().ok()? })
}

fn end_marked(is_ours: &dyn Fn(&[u8]) -> bool) -> usize {
    let mut ended = BTreeSet::new();
    let own = own_line();
    // Keepers first: their descendants are found even when they have changed their environment. A keeper that was stopped
    // did not see its supervisor's end.
    for keeper in keepers(is_ours, &own) {
        end_tree(keeper);
        ended.insert(keeper);
    }
    let mut waits = 0;
    for _ in 0..PASSES_MAX {
        let (found, unreadable) = marked(is_ours, &own);
        if found.is_empty() && (!unreadable || waits == LOAD_WAITS_MAX) {
            break;
        }
        if found.is_empty() {
            waits += 1;
            // It shows its mark, or somebody else's environment, as soon as the kernel has loaded its program.
            std::thread::sleep(LOAD_TIME);
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

/// Kills a keeper's descendants and then the keeper. As long as the keeper is there, even stopped, orphans stay below it.
pub(crate) fn end_tree(keeper: ProcessId) {
    for _ in 0..PASSES_MAX {
        let tree = if keeper.is_alive() { descendants(keeper.pid) } else { Vec::new() };
        if tree.is_empty() {
            break;
        }
        for process in &tree {
            // One that has ended meanwhile, or changed its user, is looked for again in the next pass.
            let _ = process.kill();
        }
        for process in tree {
            let _ = process.wait_end(END_TIME);
        }
    }
    let _ = keeper.kill();
    let _ = keeper.wait_end(END_TIME);
}

fn keepers(is_ours: &dyn Fn(&[u8]) -> bool, own: &BTreeSet<i32>) -> Vec<ProcessId> {
    let has_mark = |pid: &i32| ancestry::keeper_mark(*pid).is_some_and(|mark| is_ours(&mark));
    all_pids().into_iter().filter(|pid| !own.contains(pid)).filter(has_mark).filter_map(ProcessId::of).collect()
}

/// The processes with this mark, and whether there are some that show nothing of themselves yet.
fn marked(is_ours: &dyn Fn(&[u8]) -> bool, own: &BTreeSet<i32>) -> (Vec<ProcessId>, bool) {
    let name = format!("{MARK_VARIABLE}=");
    let (mut found, mut unreadable) = (Vec::new(), false);
    for pid in all_pids() {
        // The identity is taken before the mark is read: if the pid changes hands in between, the kill finds nobody.
        let Some(process) = ProcessId::of(pid).filter(|_| !own.contains(&pid)) else { continue };
        let Ok(environment) = std::fs::read(format!("/proc/{pid}/environ")) else { continue };
        let mut marks = environment.split(|byte| *byte == 0).filter_map(|entry| entry.strip_prefix(name.as_bytes()));
        if marks.any(is_ours) {
            if process.is_alive() {
                found.push(process);
            }
        } else if environment.is_empty() {
            unreadable |= process.is_loading();
        }
    }
    (found, unreadable)
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
