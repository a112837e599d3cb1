//! Watches a keeper that may not do its work any more.
//!
//! An agent runs as the same user as its keeper, so it can stop the keeper with a signal. A stopped keeper keeps no limit,
//! obeys no order and does not see its supervisor's end. Its parent hears of each stop from the kernel, without polling.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions, waitpid};

use crate::process::ProcessId;
use crate::strays::end_tree;

/// A keeper is continued this often. Whoever stops it once more means it, and the tree is ended.
const STOPS_MAX: u32 = 3;
/// How long a keeper may take to end its tree and itself beyond the grace that it gives the tree.
const END_TIME: Duration = Duration::from_secs(10);

/// What is known of a keeper's end.
#[derive(Debug, Default)]
struct Known {
    ended: bool,
    /// The supervisor has asked it to end.
    asked: bool,
    /// Why its tree was ended from outside.
    why: Option<&'static str>,
}

/// Watches one keeper.
#[derive(Debug, Clone)]
pub(super) struct Guard {
    process: ProcessId,
    grace: Duration,
    known: Arc<(Mutex<Known>, Condvar)>,
}

impl Guard {
    /// Watches this child of ours until it has ended, and reaps it. The thread ends then.
    pub(super) fn watch(process: ProcessId, grace: Duration) -> io::Result<(Self, JoinHandle<()>)> {
        let guard = Self { process, grace, known: Arc::default() };
        let watched = guard.clone();
        let thread = std::thread::Builder::new().name("keeper-guard".to_owned()).stack_size(128 * 1024);
        let thread = thread.spawn(move || watched.run())?;
        Ok((guard, thread))
    }

    fn run(&self) {
        let mut stops = 0;
        loop {
            match waitpid(Pid::from_raw(self.process.pid), WaitOptions::UNTRACED) {
                Ok(Some((_, status))) if status.stopped() => {
                    stops += 1;
                    if stops > STOPS_MAX {
                        self.destroy("its keeper was stopped again and again, so its processes were ended");
                    } else {
                        // One that has ended meanwhile is reaped by the next look.
                        let _gone = self.process.signal(Signal::CONT);
                    }
                }
                Ok(None) | Err(rustix::io::Errno::INTR) => {}
                Ok(Some(_)) | Err(_) => break,
            }
        }
        self.known().ended = true;
        self.known.1.notify_all();
    }

    /// The keeper was asked to end its tree: when it has not done so in time, the tree is ended without it.
    pub(super) fn expect_end(&self) {
        if std::mem::replace(&mut self.known().asked, true) {
            return;
        }
        let guard = self.clone();
        let thread = std::thread::Builder::new().name("keeper-end".to_owned()).stack_size(128 * 1024);
        let spawned = thread.spawn(move || {
            let limit = guard.grace + END_TIME;
            let waited = guard.known.1.wait_timeout_while(guard.known(), limit, |known| !known.ended);
            let (known, _) = waited.unwrap_or_else(PoisonError::into_inner);
            if !known.ended {
                drop(known);
                guard.destroy("its keeper did not answer, so its processes were ended");
            }
        });
        if spawned.is_err() {
            // Without a thread that waits, the keeper gets no time at all: an end that nobody watches may never come.
            self.destroy("no thread could be started to watch its end, so its processes were ended");
        }
    }

    /// Why the tree was ended from outside, if it was.
    pub(super) fn why(&self) -> Option<&'static str> {
        self.known().why
    }

    fn destroy(&self, why: &'static str) {
        self.known().why.get_or_insert(why);
        end_tree(self.process);
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};
    use std::time::Instant;

    use super::*;

    /// A keeper that answers nothing and was not stopped by a signal, such as one that is being traced.
    #[test]
    #[expect(clippy::disallowed_methods, clippy::zombie_processes, reason = "the guard reaps a process that is no keeper")]
    fn p2_a_keeper_that_does_not_answer_is_ended_with_its_tree_after_its_grace_and_ten_seconds() {
        let silent = ["-c", "trap '' INT TERM HUP; sleep 1000 & echo $!; wait"];
        let mut child = Command::new("sh").args(silent).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let below = ProcessId::of(line.trim().parse().unwrap()).unwrap();
        let keeper = ProcessId::of(child.id().cast_signed()).unwrap();
        let grace = Duration::from_millis(300);
        let (guard, watching) = Guard::watch(keeper, grace).unwrap();
        let began = Instant::now();
        guard.expect_end();
        // A second order sets no second limit.
        guard.expect_end();
        watching.join().unwrap();
        let took = began.elapsed();
        assert_eq!(guard.why(), Some("its keeper did not answer, so its processes were ended"));
        assert!(!below.is_alive() && !keeper.is_alive());
        let limit = grace + Duration::from_secs(10);
        assert!(took >= limit && took < limit + Duration::from_secs(2), "{took:?}");
    }
}
