//! The ledger with observers that look on: what was appended becomes traces and metrics, where the user wants that.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use agentops_core::id::RunId;
use agentops_core::run::Event;
use agentops_telemetry::{Configured, Exporter, Observer, Settings, Timing, When};

use crate::blobs::Blobs;
use crate::environment::RunEnvironment;
use crate::perform::chain;
use crate::world::{Clock, Entry, Row, Storage, StorageError, SystemClock};

/// How long the end of a supervisor may wait for a receiver.
const CLOSE_WAIT: Duration = Duration::from_secs(3);

/// A ledger whose entries are also shown to observers, after they are durable. Each run has the observer that its own
/// environment asks for; runs with the same environment share one.
pub struct Watched<S> {
    /// The ledger.
    pub ledger: S,
    observers: Vec<(Arc<RunEnvironment>, Option<Observer>)>,
    /// Threads that close observers which no run has any more.
    leaving: Vec<JoinHandle<()>>,
    runs: BTreeMap<RunId, Arc<RunEnvironment>>,
}

impl<S: Storage> Watched<S> {
    /// A ledger that nobody looks at yet.
    #[must_use]
    pub fn new(ledger: S) -> Self {
        Self { ledger, observers: Vec::new(), leaving: Vec::new(), runs: BTreeMap::new() }
    }

    /// From now on a run is shown to the observer of this environment, which is first shown what the run has done so far.
    /// `observe` makes that observer; `None`: nothing is sent.
    ///
    /// # Errors
    /// The run cannot be read.
    pub fn watch(
        &mut self,
        run: &RunId,
        environment: &Arc<RunEnvironment>,
        observe: impl FnOnce() -> Option<Observer>,
    ) -> Result<(), StorageError> {
        if self.runs.get(run).is_some_and(|known| Arc::ptr_eq(known, environment)) {
            return Ok(());
        }
        if !self.observers.iter().any(|(known, _)| Arc::ptr_eq(known, environment)) {
            self.observers.push((Arc::clone(environment), observe()));
        }
        self.runs.insert(run.clone(), Arc::clone(environment));
        self.close_unused();
        if self.observer(run).is_none() {
            return Ok(());
        }
        let entries = self.ledger.load_run(run)?;
        if let Some(observer) = self.observer(run) {
            entries.iter().for_each(|entry| observer.saw(&entry.run, &entry.event, entry.at_ms, When::Replayed));
        }
        Ok(())
    }

    /// The run is shown to no observer any more.
    pub fn unwatch(&mut self, run: &RunId) {
        self.runs.remove(run);
        self.close_unused();
    }

    /// Closes observers that no run has any more, on threads of their own, since a receiver may be slow. A supervisor may live
    /// long and see many environments.
    fn close_unused(&mut self) {
        self.leaving.retain(|thread| !thread.is_finished());
        let is_used = |environment: &Arc<RunEnvironment>| self.runs.values().any(|of_run| Arc::ptr_eq(of_run, environment));
        let all = std::mem::take(&mut self.observers).into_iter();
        let (used, unused): (Vec<_>, Vec<_>) = all.partition(|(environment, _)| is_used(environment));
        self.observers = used;
        for observer in unused.into_iter().filter_map(|(_, observer)| observer) {
            let close = move || {
                let _sent_or_not = observer.close(CLOSE_WAIT);
            };
            // Without a thread it is dropped: then it sends what waits, and nobody waits for it.
            self.leaving.extend(std::thread::Builder::new().name("telemetry".into()).spawn(close));
        }
    }

    /// Sends what waits.
    pub fn close(self) {
        for observer in self.observers.into_iter().filter_map(|(_, observer)| observer) {
            let _sent_or_not = observer.close(CLOSE_WAIT);
        }
        for thread in self.leaving {
            let _sent_or_not = thread.join();
        }
    }

    fn observer(&mut self, run: &RunId) -> Option<&mut Observer> {
        let environment = self.runs.get(run)?;
        let (_, observer) = self.observers.iter_mut().find(|(known, _)| Arc::ptr_eq(known, environment))?;
        observer.as_mut()
    }
}

impl<S: Storage> Storage for Watched<S> {
    fn load_open(&mut self) -> Result<Vec<Entry>, StorageError> {
        self.ledger.load_open()
    }

    fn load_run(&mut self, run: &RunId) -> Result<Vec<Entry>, StorageError> {
        self.ledger.load_run(run)
    }

    fn append(&mut self, rows: &[Row]) -> Result<(), StorageError> {
        self.ledger.append(rows)?;
        for row in rows {
            if let Some(observer) = self.observer(&row.run) {
                observer.saw(&row.run, &row.event, row.at_ms, When::Live);
            }
            if matches!(row.event, Event::Ended { .. }) {
                self.unwatch(&row.run);
            }
        }
        Ok(())
    }
}

/// An observer as a run's user settings and OpenTelemetry's own variables want it; `None`: nothing is sent.
///
/// # Errors
/// Words for a person: a setting cannot be used, or the exporter's thread does not start. No run stops for it.
pub fn observer(
    environment: &RunEnvironment,
    repository: &str,
    blobs: &Blobs,
    say: impl Fn(&str) + Send + Sync + 'static,
) -> Result<Option<Observer>, String> {
    let telemetry = &environment.user.telemetry;
    let configured = Configured {
        endpoint: telemetry.endpoint.as_deref(),
        project: telemetry.project.as_deref(),
        version: env!("CARGO_PKG_VERSION"),
        instance: repository,
    };
    let settings = Settings::resolve(|name| environment.variables.text(name), configured);
    let Some(settings) = settings.map_err(|error| chain(&error))? else { return Ok(None) };
    let (capture, clock) = (settings.capture_content, SystemClock::default());
    let exporter =
        Exporter::start(settings, Timing::default(), move || clock.now_ms(), move |trouble| say(&trouble.to_string()));
    let observer = Observer::new(exporter.map_err(|error| chain(&error))?, environment.redactor().clone());
    if !capture {
        return Ok(Some(observer));
    }
    let blobs = blobs.clone();
    Ok(Some(observer.with_task(move |task| blobs.text(task).ok())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{fixture, ledger::Ledger};
    use agentops_core::run::Outcome;

    /// An observer has a thread, so a supervisor that has seen many shells must not keep all of theirs.
    #[test]
    fn observers_of_ended_runs_are_closed() {
        let folder = tempfile::tempdir().unwrap();
        let mut watched = Watched::new(Ledger::open(&folder.path().join("ledger.db")).unwrap());
        let row = |run: &RunId, event| Row { run: run.clone(), at_ms: 1, event };
        let observer = || {
            let nowhere = |name: &str| (name == "OTEL_EXPORTER_OTLP_ENDPOINT").then(|| "http://127.0.0.1:9".to_owned());
            let configured = Configured { endpoint: None, project: None, version: "1", instance: "test" };
            let settings = Settings::resolve(nowhere, configured).unwrap().unwrap();
            let exporter = Exporter::start(settings, Timing::default(), || 1, |_| ()).unwrap();
            Some(Observer::new(exporter, agentops_safe::Redactor::new([])))
        };
        for bits in 1..=20 {
            let run = RunId::from_bits(bits);
            let of = |shell: &str| {
                let variables = [("SHELL_OF".into(), shell.into())].into_iter().collect();
                Arc::new(RunEnvironment::of_variables(variables))
            };
            let created = fixture::created(bits, &fixture::workflow(), fixture::blob(3));
            watched.append(&[row(&run, Event::Created(Box::new(created)))]).unwrap();
            watched.watch(&run, &of("first"), observer).unwrap();
            watched.watch(&run, &of("second"), observer).unwrap();
            assert_eq!(watched.observers.len(), 1, "the first shell's observer is closed");
            watched.append(&[row(&run, Event::Ended { outcome: Outcome::Cancelled })]).unwrap();
            assert_eq!((watched.observers.len(), watched.runs.len()), (0, 0));
        }
        watched.close();
    }
}
