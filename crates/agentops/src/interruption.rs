//! Requests to end: those that must wait until something is in order again, and those that are answered first.

use std::os::raw::c_int;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use signal_hook::SigId;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

/// Whether a request to end ends this process although a handler was installed for it.
static ENDS_PROCESS: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// Locked while this process may start another one that outlives it. [`LastAnswer`] locks it and never unlocks it, so no process
/// is started while a request to end is answered.
static STARTING: Mutex<()> = Mutex::new(());

/// Waits until this process may start another one that outlives it. Once a request to end is answered, it waits for ever.
pub fn starting() -> MutexGuard<'static, ()> {
    STARTING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// As long as this exists, a request to end is noted instead of ending this process. After that it ends the process again.
pub struct Interruption {
    requested: Arc<AtomicBool>,
    signal: Arc<AtomicUsize>,
    handlers: Vec<SigId>,
}

impl Interruption {
    /// Notes requests from now on. A signal that this process was started to ignore, as by `nohup`, stays ignored.
    pub fn note() -> std::io::Result<Self> {
        let (requested, signal) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let mut handlers = Vec::new();
        ENDS_PROCESS.store(false, Ordering::SeqCst);
        for number in requests() {
            let value = usize::try_from(number).unwrap_or(0);
            // Removing the other handlers alone would leave the signal without an effect.
            signal_hook::flag::register_conditional_default(number, Arc::clone(&ENDS_PROCESS))?;
            handlers.push(signal_hook::flag::register_usize(number, Arc::clone(&signal), value)?);
            handlers.push(signal_hook::flag::register(number, Arc::clone(&requested))?);
        }
        Ok(Self { requested, signal, handlers })
    }

    /// Becomes true with the first request.
    pub fn requested(&self) -> &Arc<AtomicBool> {
        &self.requested
    }

    /// The exit code that a shell knows for the signal that came.
    pub fn exit_code(&self) -> u8 {
        u8::try_from(128 + self.signal.load(Ordering::SeqCst)).unwrap_or(u8::MAX)
    }
}

impl Drop for Interruption {
    fn drop(&mut self) {
        for handler in self.handlers.drain(..) {
            signal_hook::low_level::unregister(handler);
        }
        ENDS_PROCESS.store(true, Ordering::SeqCst);
    }
}

/// As long as this exists, a request to end is answered first: something is done, and then this process exits with 128 and the
/// signal's number. After that nothing answers requests any more, so this is for the last thing that a command does.
pub struct LastAnswer {
    handle: Handle,
    answerer: Option<JoinHandle<()>>,
}

impl LastAnswer {
    /// Does `answer` at the first request. A signal that this process was started to ignore, as by `nohup`, stays ignored.
    #[expect(
        clippy::disallowed_methods,
        reason = "the main thread waits elsewhere; what it leaves is swept as after a kill"
    )]
    pub fn with(answer: impl FnOnce() + Send + 'static) -> std::io::Result<Self> {
        let mut signals = Signals::new(requests())?;
        let handle = signals.handle();
        let wait = move || {
            if let Some(signal) = signals.forever().next() {
                let _never_unlocked = starting();
                answer();
                std::process::exit(128 + signal);
            }
        };
        let answerer = std::thread::Builder::new().name("interruption".into()).spawn(wait)?;
        Ok(Self { handle, answerer: Some(answerer) })
    }
}

impl Drop for LastAnswer {
    fn drop(&mut self) {
        self.handle.close();
        // An answer that has begun is given to its end, and this process ends with it.
        let _panicked = self.answerer.take().map(JoinHandle::join);
    }
}

/// The signals that ask this process to end.
fn requests() -> impl Iterator<Item = c_int> {
    let ignored = ignored_signals();
    [SIGHUP, SIGINT, SIGTERM].into_iter().filter(move |number| ignored >> (number - 1) & 1 == 0)
}

/// The signals that this process ignores, the first one in the lowest bit.
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use signal_hook::low_level::raise;

    use super::*;

    /// The test below starts itself with this variable, since it ends its process.
    const ENDS: &str = "AGENTOPS_TEST_ENDS";

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a process of its own is ended by a signal")]
    fn p6_a_request_to_end_is_noted_and_ends_the_process_after_that() {
        if std::env::var_os(ENDS).is_some() {
            for _ in 0..2 {
                let noted = Interruption::note().unwrap();
                raise(SIGTERM).unwrap();
                assert!(noted.requested().load(Ordering::SeqCst));
                assert_eq!(noted.exit_code(), 143);
            }
            raise(SIGTERM).unwrap();
            panic!("the request was ignored");
        }
        let name = "interruption::tests::p6_a_request_to_end_is_noted_and_ends_the_process_after_that";
        let mut ends = std::process::Command::new(std::env::current_exe().unwrap());
        let ended = ends.args(["--exact", name]).env(ENDS, "1").output().unwrap();
        assert_eq!(ended.status.signal(), Some(SIGTERM), "{}", String::from_utf8_lossy(&ended.stdout));
    }
}
