//! How gates and set-ups of a run are stopped when it ends before its time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use agentops_core::id::RunId;
use agentops_core::run::Stop;

use super::Incoming;
use super::lane_program::Inbox;

/// The gates and set-ups that run now, of all runs.
#[derive(Clone, Default)]
pub struct Stops(Arc<Mutex<Registry>>);

#[derive(Default)]
struct Registry {
    running: BTreeMap<(RunId, u64), Sender<Incoming>>,
    next: u64,
    /// Runs that were stopped. What they start from now on is stopped at once.
    stopped: BTreeSet<RunId>,
}

/// Something that can be stopped as long as this exists.
pub(super) struct Stoppable {
    stops: Stops,
    key: (RunId, u64),
    tx: Sender<Incoming>,
    rx: Receiver<Incoming>,
}

impl Stops {
    /// Something of this run that can be stopped from now on.
    pub(super) fn begin(&self, run: &RunId) -> Stoppable {
        let (tx, rx) = channel();
        let mut registry = self.registry();
        let key = (run.clone(), registry.next);
        registry.next += 1;
        registry.running.insert(key.clone(), tx.clone());
        if registry.stopped.contains(run) {
            let _we_hold_the_receiver = tx.send(Incoming::Stop(Stop::Cancelled));
        }
        Stoppable { stops: self.clone(), key, tx, rx }
    }

    /// Stops everything of this run, and what it begins later.
    pub(super) fn stop(&self, run: &RunId) {
        let mut registry = self.registry();
        registry.stopped.insert(run.clone());
        for (_, running) in registry.running.iter().filter(|((of, _), _)| of == run) {
            let _ended_already = running.send(Incoming::Stop(Stop::Cancelled));
        }
    }

    /// Forgets a run that begins nothing any more.
    pub(super) fn forget(&self, run: &RunId) {
        self.registry().stopped.remove(run);
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stoppable {
    /// What it hears through.
    pub(super) fn inbox(&self) -> Inbox<'_> {
        (&self.tx, &self.rx)
    }
}

impl Drop for Stoppable {
    fn drop(&mut self) {
        self.stops.registry().running.remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_reaches_what_runs_and_what_begins_later_and_no_other_run() {
        let (stops, run, other) = (Stops::default(), RunId::from_bits(1), RunId::from_bits(2));
        let (running, others) = (stops.begin(&run), stops.begin(&other));
        let stopped = |of: &Stoppable| matches!(of.rx.try_recv(), Ok(Incoming::Stop(Stop::Cancelled)));
        assert!(!stopped(&running));
        stops.stop(&run);
        assert!(stopped(&running) && stopped(&stops.begin(&run)));
        assert!(!stopped(&others) && !stopped(&stops.begin(&other)));
        drop((running, others));
        stops.forget(&run);
        assert!(!stopped(&stops.begin(&run)));
        assert!(stops.registry().running.is_empty(), "nothing is kept of what has ended");
    }
}
