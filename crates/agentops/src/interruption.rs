//! Requests to end that must wait until something is in order again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::SigId;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// As long as this exists, a request to end is noted instead of ending this process.
pub struct Interruption {
    requested: Arc<AtomicBool>,
    signal: Arc<AtomicUsize>,
    handlers: Vec<SigId>,
}

impl Interruption {
    /// Notes requests from now on. A signal that this process was started to ignore, as by `nohup`, stays ignored.
    pub fn note() -> std::io::Result<Self> {
        let (requested, signal) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let ignored = ignored_signals();
        let mut handlers = Vec::new();
        for number in [SIGHUP, SIGINT, SIGTERM].into_iter().filter(|number| ignored >> (number - 1) & 1 == 0) {
            let value = usize::try_from(number).unwrap_or(0);
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
    }
}

/// The signals that this process ignores, the first one in the lowest bit.
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}
