//! Processes as the kernel shows them: who descends from whom, and how to hit exactly the one that was meant.
//!
//! A pid alone names nothing, it is reused. Here a process is its pid and its start time, and a signal goes through a pidfd
//! that was opened before the start time was read again.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

/// One process, not whoever has its number later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ProcessId {
    /// Its pid.
    pub pid: i32,
    /// When it was started, in clock ticks since boot, as `/proc/PID/stat` says.
    pub start_time: u64,
}

/// The fields of `/proc/PID/stat` that are needed here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) comm: String,
    pub(crate) state: char,
    pub(crate) parent: i32,
    pub(crate) start_time: u64,
}

impl Stat {
    /// Reads a process's entry; `None` when it is gone.
    pub(crate) fn read(pid: i32) -> Option<Self> {
        let bytes = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
        Self::parse(&String::from_utf8_lossy(&bytes))
    }

    /// The name stands in parentheses and may itself hold spaces and parentheses, so the last `)` ends it.
    fn parse(text: &str) -> Option<Self> {
        let (open, close) = (text.find('(')?, text.rfind(')')?);
        let comm = text.get(open + 1..close)?.to_owned();
        let mut rest = text.get(close + 1..)?.split_ascii_whitespace();
        let state = rest.next()?.chars().next()?;
        let parent = rest.next()?.parse().ok()?;
        let start_time = rest.nth(17)?.parse().ok()?;
        Some(Self { comm, state, parent, start_time })
    }

    /// Already dead, waiting to be reaped.
    pub(crate) fn is_dead(&self) -> bool {
        matches!(self.state, 'Z' | 'X' | 'x')
    }
}

/// Whether a process runs a program. Threads of the kernel and processes that are ending run none.
fn has_program(pid: i32) -> bool {
    std::fs::read_link(format!("/proc/{pid}/exe")).is_ok()
}

impl ProcessId {
    /// The process that has this pid now; `None` when there is none.
    #[must_use]
    pub fn of(pid: i32) -> Option<Self> {
        Stat::read(pid).map(|stat| Self { pid, start_time: stat.start_time })
    }

    /// Whether it still runs: a zombie does not.
    #[must_use]
    pub fn is_alive(self) -> bool {
        Stat::read(self.pid).is_some_and(|stat| stat.start_time == self.start_time && !stat.is_dead())
    }

    /// Whether the kernel is just loading another program into it. It has its new memory then, but neither its arguments nor
    /// its environment are in there yet.
    pub(crate) fn is_loading(self) -> bool {
        let arguments = std::fs::read(format!("/proc/{}/cmdline", self.pid));
        arguments.is_ok_and(|arguments| arguments.is_empty()) && self.is_alive() && has_program(self.pid)
    }

    /// Whether a signal or a tracer has stopped it.
    #[must_use]
    pub fn is_stopped(self) -> bool {
        Stat::read(self.pid).is_some_and(|stat| stat.start_time == self.start_time && matches!(stat.state, 'T' | 't'))
    }

    /// Sends SIGKILL to exactly this process. `false` when it was gone already.
    ///
    /// # Errors
    /// When the kernel refuses, e.g. another user's process.
    pub fn kill(self) -> io::Result<bool> {
        self.signal(Signal::KILL)
    }

    /// Waits until the process has ended; `false` when it has not after `timeout`.
    #[must_use]
    pub fn wait_end(self, timeout: Duration) -> bool {
        let Some(handle) = self.handle() else { return true };
        let timeout = rustix::event::Timespec::try_from(timeout).ok();
        poll(&mut [PollFd::new(&handle, PollFlags::IN)], timeout.as_ref()).is_ok_and(|ready| ready > 0)
    }

    /// Sends a signal to exactly this process.
    pub(crate) fn signal(self, signal: Signal) -> io::Result<bool> {
        let Some(handle) = self.handle() else { return Ok(false) };
        match pidfd_send_signal(&handle, signal) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::SRCH) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// A handle on the process: opened first, checked second, so that it cannot be somebody else's.
    fn handle(self) -> Option<OwnedFd> {
        let handle = pidfd_open(Pid::from_raw(self.pid)?, PidfdFlags::empty()).ok()?;
        (Self::of(self.pid) == Some(self)).then_some(handle)
    }
}

/// From now on other processes of the same user can neither read this process's environment, memory and descriptors below
/// `/proc`, nor trace it. Root still can. A program that this process starts is not affected.
///
/// # Errors
/// When the kernel refuses.
pub fn hide() -> io::Result<()> {
    Ok(rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?)
}

/// All pids that `/proc` lists now.
pub(crate) fn all_pids() -> Vec<i32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// The living descendants of a process, nearest first. Zombies are walked through and not listed.
///
/// One look is a snapshot and may miss a process that is being forked; whoever ends a tree looks again until nobody is left.
pub(crate) fn descendants(root: i32) -> Vec<ProcessId> {
    let mut children: BTreeMap<i32, Vec<(i32, Stat)>> = BTreeMap::new();
    for pid in all_pids() {
        if let Some(stat) = Stat::read(pid) {
            children.entry(stat.parent).or_default().push((pid, stat));
        }
    }
    let (mut found, mut next) = (Vec::new(), vec![root]);
    while let Some(parent) = next.pop() {
        for (pid, stat) in children.remove(&parent).unwrap_or_default() {
            next.push(pid);
            if !stat.is_dead() {
                found.push(ProcessId { pid, start_time: stat.start_time });
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_spaces_and_parentheses() {
        let fields = (0..16).map(|n| n.to_string()).collect::<Vec<_>>().join(" ");
        let stat = Stat::parse(&format!("42 (a) b (c) S 7 {fields} 0 99 1 2")).unwrap();
        assert_eq!((stat.comm.as_str(), stat.state, stat.parent), ("a) b (c", 'S', 7));
    }

    #[test]
    fn the_start_time_is_that_of_the_kernel() {
        let me = ProcessId::of(i32::try_from(std::process::id()).unwrap()).unwrap();
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
        let field = stat.rsplit_once(')').unwrap().1.split_ascii_whitespace().nth(19).unwrap().to_owned();
        assert_eq!(me.start_time.to_string(), field);
        assert!(me.is_alive());
    }

    #[test]
    fn a_reused_pid_is_not_hit() {
        let me = ProcessId::of(i32::try_from(std::process::id()).unwrap()).unwrap();
        let earlier = ProcessId { start_time: me.start_time.wrapping_sub(1), ..me };
        assert!(!earlier.is_alive());
        assert!(!earlier.kill().unwrap(), "the kill found nobody, and this test still runs");
    }
}
