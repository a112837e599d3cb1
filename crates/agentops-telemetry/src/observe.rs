//! The runs of a supervisor, each followed, and everything that ended handed to the exporter.

use std::collections::BTreeMap;
use std::time::Duration;

use agentops_core::id::{BlobId, RunId};
use agentops_core::run::Event;
use agentops_safe::Redactor;

use crate::exporter::{Exporter, Report, When};
use crate::follow::Follower;

/// Reads the task's text of a run.
type Task = Box<dyn Fn(&BlobId) -> Option<String> + Send>;

/// Sees every event of a ledger, after it was appended, and in order.
pub struct Observer {
    exporter: Exporter,
    redactor: Redactor,
    task: Option<Task>,
    runs: BTreeMap<RunId, Follower>,
}

impl std::fmt::Debug for Observer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Observer").field("exporter", &self.exporter).finish_non_exhaustive()
    }
}

impl Observer {
    /// Hands what it sees to this exporter. Nothing of a task is read.
    #[must_use]
    pub fn new(exporter: Exporter, redactor: Redactor) -> Self {
        Self { exporter, redactor, task: None, runs: BTreeMap::new() }
    }

    /// Sends the task's text along with each run: for users who asked for it
    /// ([`Settings::capture_content`](crate::Settings::capture_content)).
    #[must_use]
    pub fn with_task(mut self, read: impl Fn(&BlobId) -> Option<String> + Send + 'static) -> Self {
        self.task = Some(Box::new(read));
        self
    }

    /// An event of a run, with the time at which it was appended in Unix milliseconds. A run whose beginning was not seen is
    /// not followed, and neither is one whose events do not fit: that is the ledger's business, and telemetry stops no run.
    pub fn saw(&mut self, run: &RunId, event: &Event, at_ms: u64, when: When) {
        if let Event::Created(created) = event {
            let task = self.task.as_ref().and_then(|read| read(&created.task));
            self.runs.insert(run.clone(), Follower::new(self.redactor.clone(), task.as_deref()));
        }
        let Some(follower) = self.runs.get_mut(run) else { return };
        let spans = follower.follow(event, at_ms);
        if spans.is_err() || matches!(event, Event::Ended { .. }) {
            self.runs.remove(run);
        }
        self.exporter.record(spans.unwrap_or_default(), when);
    }

    /// As [`Exporter::close`].
    pub fn close(self, wait: Duration) -> Report {
        self.exporter.close(wait)
    }
}
