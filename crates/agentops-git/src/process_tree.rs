//! Ending the user's own git together with everything that it started, such as a hook.
//!
//! That git belongs to the user's terminal and so to the process group of this program, which also holds whoever started us.
//! A signal to the group would reach too many. So its descendants are looked up, and each is ended by itself.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::process::Child;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};

/// How long git and its hooks may take to clean up, such as to remove their lock files, before they are killed.
const GRACE: Duration = Duration::from_secs(2);
/// A tree that still grows after so many looks is ended as far as it is known.
const LOOKS: u32 = 20;

/// A process and a handle that stays its own. When it has ended, its number may be somebody else's.
struct Process {
    pid: i32,
    handle: OwnedFd,
}

impl Process {
    fn signal(&self, signal: Signal) {
        // It may have ended already.
        let _ended = pidfd_send_signal(&self.handle, signal);
    }

    /// False also for one that has ended and that nobody has waited for.
    fn is_running(&self) -> bool {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut [PollFd::new(&self.handle, PollFlags::IN)], Some(&now)) == Ok(0)
    }

    /// Waits until it has ended, or until then.
    fn wait(&self, until: Instant) {
        let left = until.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).ok();
        let _ended = poll(&mut [PollFd::new(&self.handle, PollFlags::IN)], left.as_ref());
    }
}

/// Ends a child that has not been waited for, and its descendants. First they are asked to, so that git removes its lock
/// files, then they are killed. When this returns, none of them that could be found does anything any more.
pub(crate) fn end(child: &mut Child) {
    let root = Pid::from_child(child);
    let mut tree = Vec::new();
    add_descendants(root.as_raw_pid(), &mut tree);
    let until = Instant::now() + GRACE;
    // It was not waited for, so the number is still its own.
    let _ended = kill_process(root, Signal::TERM);
    tree.iter().for_each(|process| process.signal(Signal::TERM));
    if let Ok(handle) = pidfd_open(root, PidfdFlags::empty()) {
        Process { pid: root.as_raw_pid(), handle }.wait(until);
    }
    tree.iter().for_each(|process| process.wait(until));
    // A stopped process starts no others, so that the looks come to an end.
    for _ in 0..LOOKS {
        let _ended = kill_process(root, Signal::STOP);
        tree.iter().for_each(|process| process.signal(Signal::STOP));
        if !add_descendants(root.as_raw_pid(), &mut tree) {
            break;
        }
    }
    let _ended = child.kill();
    tree.iter().for_each(|process| process.signal(Signal::KILL));
    let _reaped = child.wait();
    let until = Instant::now() + GRACE;
    tree.iter().for_each(|process| process.wait(until));
}

/// Adds the descendants of a process and of those in the list that are not in it yet; true when there were any.
fn add_descendants(root: i32, tree: &mut Vec<Process>) -> bool {
    let mut children: BTreeMap<i32, Vec<(i32, u64)>> = BTreeMap::new();
    for pid in all_pids() {
        if let Some((parent, started)) = parent_and_start(pid) {
            children.entry(parent).or_default().push((pid, started));
        }
    }
    let before = tree.len();
    // One that runs still has had its number all the time. Children of one that has ended are no longer its own.
    let running = tree.iter().filter(|process| process.is_running()).map(|process| process.pid);
    let mut next: Vec<i32> = running.chain([root]).collect();
    while let Some(parent) = next.pop() {
        for (pid, started) in children.remove(&parent).unwrap_or_default() {
            let handle = Pid::from_raw(pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
            // Opened first and looked at again, so that the handle cannot be of a later process with this number.
            let Some(handle) = handle.filter(|_| parent_and_start(pid).is_some_and(|(_, now)| now == started)) else {
                continue;
            };
            if tree.iter().all(|known| known.pid != pid) {
                tree.push(Process { pid, handle });
            }
            next.push(pid);
        }
    }
    tree.len() > before
}

fn all_pids() -> Vec<i32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// The parent of a process and its start time in clock ticks since boot.
fn parent_and_start(pid: i32) -> Option<(i32, u64)> {
    let bytes = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    // The name of the program stands in parentheses and may itself hold some, so the last one ends it.
    let mut fields = text.get(text.rfind(')')? + 1..)?.split_ascii_whitespace();
    let parent = fields.nth(1)?.parse().ok()?;
    let started = fields.nth(17)?.parse().ok()?;
    Some((parent, started))
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the test plays git and somebody else's program")]
    fn p6_children_of_a_process_that_got_the_number_of_an_ended_one_are_left_alone() {
        let handle_of = |child: &Child| pidfd_open(Pid::from_child(child), PidfdFlags::empty()).unwrap();
        let mut ended = Command::new("true").spawn().unwrap();
        let of_ended = handle_of(&ended);
        ended.wait().unwrap();
        let script = "exec 2>&-; sleep 60 & echo; exec >&-; wait";
        let mut other = Command::new("sh").args(["-c", script]).stdout(Stdio::piped()).spawn().unwrap();
        other.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        let (pid, of_other) = (Pid::from_child(&other).as_raw_pid(), handle_of(&other));
        let descendants = |handle: OwnedFd| {
            let mut tree = vec![Process { pid, handle }];
            // No process has this number.
            add_descendants(i32::MAX, &mut tree);
            tree.split_off(1)
        };
        assert_eq!(descendants(of_ended).len(), 0);
        let children = descendants(of_other);
        children.iter().for_each(|child| child.signal(Signal::KILL));
        other.wait().unwrap();
        assert_eq!(children.len(), 1);
    }
}
