//! How gates and set-ups of a run are stopped when it ends before its time, and what its actions wait for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use agentops_core::id::RunId;
use agentops_core::run::Stop;
use agentops_git::LockWaiter;

use super::Incoming;
use super::lane_program::Inbox;
use crate::wire::LockWait;

/// The gates and set-ups that run now, of all runs.
#[derive(Clone, Default)]
pub struct Stops(Arc<Mutex<Registry>>);

#[derive(Default)]
struct Registry {
    running: BTreeMap<(RunId, u64), Sender<Incoming>>,
    /// The actions that are performed, by name, with the locks that they wait for.
    waiters: BTreeMap<(RunId, u64), (String, Arc<LockWaiter>)>,
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

    /// Performs an action of a run. Meanwhile [`Stops::lock_waits`] says which lock it waits for.
    pub(super) fn while_named<T>(&self, run: &RunId, step: &str, work: impl FnOnce() -> T) -> T {
        struct Named<'a>(&'a Stops, (RunId, u64));
        impl Drop for Named<'_> {
            fn drop(&mut self) {
                self.0.registry().waiters.remove(&self.1);
            }
        }
        let waiter = Arc::new(LockWaiter::default());
        let _named = {
            let mut registry = self.registry();
            let key = (run.clone(), registry.next);
            registry.next += 1;
            registry.waiters.insert(key.clone(), (step.to_owned(), Arc::clone(&waiter)));
            if registry.stopped.contains(run) {
                waiter.cancel();
            }
            Named(self, key)
        };
        waiter.during(work)
    }

    /// The actions that wait for a lock.
    pub(crate) fn lock_waits(&self) -> Vec<LockWait> {
        let registry = self.registry();
        let waits = registry.waiters.iter().filter_map(|((run, _), (step, waiter))| {
            let (lock, waited) = waiter.waits_for()?;
            let waited_ms = u64::try_from(waited.as_millis()).unwrap_or(u64::MAX);
            Some(LockWait { run: run.clone(), step: step.clone(), lock: lock.display().to_string(), waited_ms })
        });
        waits.collect()
    }

    /// Stops everything of this run, and what it begins later.
    pub(super) fn stop(&self, run: &RunId) {
        let mut registry = self.registry();
        registry.stopped.insert(run.clone());
        for (_, (_, waiter)) in registry.waiters.iter().filter(|((of, _), _)| of == run) {
            waiter.cancel();
        }
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

/// This action needs no lock any more once its run is cancelled.
pub(super) fn give_up_locks_when_cancelled() {
    if let Some(waiter) = LockWaiter::current() {
        waiter.when_cancelled_wait_for(Duration::ZERO);
    }
}

/// This action waits at most so long for each lock.
pub(super) fn give_up_locks_after(time_max: Duration) {
    if let Some(waiter) = LockWaiter::current() {
        waiter.when_cancelled_wait_for(time_max);
        waiter.cancel();
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
    use agentops_core::run::{Action, Key};

    use super::super::{Performer, test_context};
    use super::*;
    use crate::world::Processes;

    #[test]
    fn p5_of_a_run_that_has_ended_a_performer_keeps_nothing() {
        let (_folder, ctx, state) = test_context::new();
        let (run, stops) = (&state.created.run, ctx.stops.clone());
        let mut performer = Performer::new(Arc::new(ctx));
        performer.ctx.environments.lend(run, Arc::default());
        let session = "implement/implement/1".parse().unwrap();
        performer.sessions.insert((run.clone(), session), channel().0);
        // A run that is cancelled while its lanes are closed is stopped after that.
        performer.perform(run, &state, &Key::StopWork, &Action::StopWork);
        assert!(!stops.registry().stopped.is_empty());
        performer.ended(run);
        assert!(stops.registry().stopped.is_empty() && performer.sessions.is_empty());
        assert_eq!(performer.ctx.environments.runs(), []);
    }

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
