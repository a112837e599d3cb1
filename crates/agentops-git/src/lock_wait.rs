//! Waiting for a lock of ours so that others see it, and so that it can be given up.
//!
//! Any process of the user can take our lock files, also an agent by their path. Waiting has no time limit, so each wait can
//! be asked what it waits for.

use std::cell::RefCell;
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::lock::Lock;

/// Bytes of stack of a thread that does nothing but wait in the kernel.
const STACK_BYTES: usize = 64 << 10;
/// A wait is worth a word after this time. Many are over within milliseconds.
const NOTICE_AFTER: Duration = Duration::from_secs(1);

thread_local! {
    static CURRENT: RefCell<Option<Arc<LockWaiter>>> = const { RefCell::new(None) };
}

type Notice = Box<dyn Fn(&Path) + Send + Sync>;

/// What a thread does about the locks that it waits for.
#[derive(Default)]
pub struct LockWaiter {
    state: Mutex<WaiterState>,
    notice: Option<Notice>,
}

#[derive(Default)]
struct WaiterState {
    waiting: Option<(PathBuf, Instant, Sender<Wake>)>,
    is_cancelled: bool,
    /// How long a cancelled thread still waits; `None`: without end.
    patience: Option<Duration>,
}

/// What ends a wait, or the reason for looking again.
enum Wake {
    Locked(Result<Lock>),
    Changed,
}

impl fmt::Debug for LockWaiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LockWaiter").field(&self.waits_for()).finish()
    }
}

impl LockWaiter {
    /// One that calls this with the lock file when a wait has lasted for a second.
    #[must_use]
    pub fn with_notice(notice: impl Fn(&Path) + Send + Sync + 'static) -> Self {
        Self { notice: Some(Box::new(notice)), ..Self::default() }
    }

    /// Runs this on the calling thread, whose waits are this waiter's meanwhile.
    pub fn during<T>(self: &Arc<Self>, work: impl FnOnce() -> T) -> T {
        struct Restore(Option<Arc<LockWaiter>>);
        impl Drop for Restore {
            fn drop(&mut self) {
                CURRENT.set(self.0.take());
            }
        }
        let _restore = Restore(CURRENT.replace(Some(Arc::clone(self))));
        work()
    }

    /// The waiter of the calling thread.
    #[must_use]
    pub fn current() -> Option<Arc<Self>> {
        CURRENT.with_borrow(Clone::clone)
    }

    /// The lock file that is waited for now, and for how long.
    #[must_use]
    pub fn waits_for(&self) -> Option<(PathBuf, Duration)> {
        self.state().waiting.as_ref().map(|(path, since, _)| (path.clone(), since.elapsed()))
    }

    /// What waits is not needed any more. Has no effect on a thread that has not said how long it waits then.
    pub fn cancel(&self) {
        let mut state = self.state();
        state.is_cancelled = true;
        state.wake();
    }

    /// Once cancelled, the thread waits for each lock at most so long, and then fails with [`Error::LockGivenUp`].
    pub fn when_cancelled_wait_for(&self, patience: Duration) {
        let mut state = self.state();
        state.patience = Some(patience);
        state.wake();
    }

    pub(crate) fn wait(&self, file: File, path: &Path) -> Result<Lock> {
        let (tx, rx) = channel();
        let since = Instant::now();
        self.state().waiting = Some((path.to_owned(), since, tx.clone()));
        let waited = self.wait_with(file, path, since, tx, &rx);
        self.state().waiting = None;
        waited
    }

    fn wait_with(
        &self,
        file: File,
        path: &Path,
        since: Instant,
        tx: Sender<Wake>,
        rx: &std::sync::mpsc::Receiver<Wake>,
    ) -> Result<Lock> {
        let (locked_path, mut is_noticed) = (path.to_owned(), self.notice.is_none());
        // The kernel's queue is fair, and nothing but the lock ends its wait. Given up, the thread lets go what it gets.
        let blocked = move || drop(tx.send(Wake::Locked(Lock::block(file, &locked_path))));
        let thread = std::thread::Builder::new().name("lock-wait".to_owned()).stack_size(STACK_BYTES);
        thread.spawn(blocked).map_err(Error::io("wait for", path))?;
        loop {
            let give_up_at = self.give_up_at(since);
            if give_up_at.is_some_and(|at| at <= Instant::now()) {
                return Err(Error::LockGivenUp { lock: path.to_owned() });
            }
            let notice_at = (!is_noticed).then_some(since + NOTICE_AFTER);
            let woken = match give_up_at.into_iter().chain(notice_at).min() {
                Some(at) => rx.recv_timeout(at.saturating_duration_since(Instant::now())),
                None => rx.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match woken {
                Ok(Wake::Locked(lock)) => return lock,
                Ok(Wake::Changed) => {}
                Err(RecvTimeoutError::Timeout) if notice_at.is_some_and(|at| at <= Instant::now()) => {
                    is_noticed = true;
                    if let Some(notice) = &self.notice {
                        notice(path);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                // A sender is in the state as long as this waits.
                Err(RecvTimeoutError::Disconnected) => return Err(Error::LockGivenUp { lock: path.to_owned() }),
            }
        }
    }

    fn give_up_at(&self, since: Instant) -> Option<Instant> {
        let state = self.state();
        state.patience.filter(|_| state.is_cancelled).map(|patience| since + patience)
    }

    fn state(&self) -> MutexGuard<'_, WaiterState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WaiterState {
    fn wake(&self) {
        if let Some((_, _, waiting)) = &self.waiting {
            let _has_its_lock = waiting.send(Wake::Changed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_says_what_it_waits_for_and_ends_with_the_lock_or_when_it_is_cancelled() {
        let room = tempfile::tempdir().unwrap();
        let path = room.path().join("lock");
        let held = Lock::wait(&path).unwrap();
        let noticed = Arc::new(Mutex::new(Vec::new()));
        let (waiter, notices) = (Arc::new(LockWaiter::default()), Arc::clone(&noticed));
        let patient = Arc::new(LockWaiter::with_notice(move |path| notices.lock().unwrap().push(path.to_owned())));
        waiter.when_cancelled_wait_for(Duration::ZERO);
        let wait = |waiter: &Arc<LockWaiter>| {
            let (waiter, path) = (Arc::clone(waiter), path.clone());
            std::thread::spawn(move || waiter.during(|| Lock::wait(&path)))
        };
        let (given_up, taken) = (wait(&waiter), wait(&patient));
        while waiter.waits_for().is_none() || noticed.lock().unwrap().is_empty() {
            std::thread::yield_now();
        }
        assert_eq!(waiter.waits_for().unwrap().0, path);
        patient.cancel();
        waiter.cancel();
        assert!(matches!(given_up.join().unwrap(), Err(Error::LockGivenUp { lock }) if lock == path));
        assert_eq!(waiter.waits_for(), None);
        assert!(patient.waits_for().is_some(), "it has not said that it gives up");
        drop(held);
        let lock = taken.join().unwrap().unwrap();
        assert_eq!(*noticed.lock().unwrap(), std::slice::from_ref(&path));
        drop(lock);
        // The thread that was given up lets the lock go as well.
        drop(Lock::wait(&path).unwrap());
        assert!(LockWaiter::current().is_none());
    }
}
