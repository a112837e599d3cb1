//! The ledger with somebody who looks on: what was appended becomes traces and metrics, where the user wants that.

use std::ffi::OsString;
use std::time::Duration;

use agentops_core::id::RunId;
use agentops_safe::Redactor;
use agentops_telemetry::{Configured, Exporter, Observer, Settings, Timing, When};

use crate::blobs::Blobs;
use crate::files::user::UserConfig;
use crate::perform::{chain, variable};
use crate::world::{Clock, Entry, Row, Storage, StorageError, SystemClock};

/// How long the end of a supervisor may wait for a receiver.
const CLOSE_WAIT: Duration = Duration::from_secs(3);

/// A ledger whose entries are also shown to an observer, after they are durable.
pub struct Watched<S> {
    /// The ledger.
    pub ledger: S,
    observer: Option<Observer>,
}

impl<S> Watched<S> {
    /// Shows what this ledger takes in to `observer`; `None`: to nobody.
    #[must_use]
    pub fn new(ledger: S, observer: Option<Observer>) -> Self {
        Self { ledger, observer }
    }

    /// Sends what waits.
    pub fn close(self) {
        if let Some(observer) = self.observer {
            let _sent_or_not = observer.close(CLOSE_WAIT);
        }
    }
}

impl<S: Storage> Storage for Watched<S> {
    fn load_open(&mut self) -> Result<Vec<Entry>, StorageError> {
        let entries = self.ledger.load_open()?;
        if let Some(observer) = &mut self.observer {
            entries.iter().for_each(|entry| observer.saw(&entry.run, &entry.event, entry.at_ms, When::Replayed));
        }
        Ok(entries)
    }

    fn load_run(&mut self, run: &RunId) -> Result<Vec<Entry>, StorageError> {
        self.ledger.load_run(run)
    }

    fn append(&mut self, rows: &[Row]) -> Result<(), StorageError> {
        self.ledger.append(rows)?;
        if let Some(observer) = &mut self.observer {
            rows.iter().for_each(|row| observer.saw(&row.run, &row.event, row.at_ms, When::Live));
        }
        Ok(())
    }
}

/// An observer as the user's configuration and OpenTelemetry's own variables want it; `None`: nothing is sent.
///
/// # Errors
/// Words for a person: a setting cannot be used, or the exporter's thread does not start. No run stops for it.
pub fn observer(
    user: &UserConfig,
    env: &[(OsString, OsString)],
    repository: &str,
    blobs: &Blobs,
    say: impl Fn(&str) + Send + Sync + 'static,
) -> Result<Option<Observer>, String> {
    let configured = Configured {
        endpoint: user.telemetry.endpoint.as_deref(),
        project: user.telemetry.project.as_deref(),
        version: env!("CARGO_PKG_VERSION"),
        instance: repository,
    };
    let Some(settings) = Settings::resolve(|name| variable(env, name), configured).map_err(|error| chain(&error))? else {
        return Ok(None);
    };
    let (capture, clock) = (settings.capture_content, SystemClock::default());
    let exporter =
        Exporter::start(settings, Timing::default(), move || clock.now_ms(), move |trouble| say(&trouble.to_string()));
    let redactor: Redactor = blobs.redactor().clone();
    let observer = Observer::new(exporter.map_err(|error| chain(&error))?, redactor);
    if !capture {
        return Ok(Some(observer));
    }
    let blobs = blobs.clone();
    Ok(Some(observer.with_task(move |task| blobs.text(task).ok())))
}
