//! The world of the engine as traits. The supervisor gives the real one; the simulator gives one that fails by seed.

use agentops_core::id::RunId;
use agentops_core::run::{Action, Event, Key, State};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The only source of time.
pub trait Clock: Send + Sync {
    /// Unix milliseconds. May jump.
    fn now_ms(&self) -> u64;
    /// Milliseconds since some moment; never goes back.
    fn mono_ms(&self) -> u64;
}

/// The operating system's clock.
#[derive(Debug, Clone)]
pub struct SystemClock {
    start: std::time::Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self { start: std::time::Instant::now() }
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that asks the operating system what time it is")]
    fn now_ms(&self) -> u64 {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    fn mono_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// One row of the ledger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Entry {
    /// Its place in the ledger, over all runs; from 1, without gaps.
    pub seq: u64,
    /// The run.
    pub run: RunId,
    /// When it was appended, Unix milliseconds. Order comes from `seq`, never from this.
    pub at_ms: u64,
    /// What happened.
    pub event: Event,
}

/// Something to append.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The run.
    pub run: RunId,
    /// Unix milliseconds.
    pub at_ms: u64,
    /// What happened.
    pub event: Event,
}

/// Why the ledger cannot be used. Every one of them ends this supervisor: after a failed write nothing in memory can be
/// believed any more, so the store is closed, opened again and replayed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// A newer supervisor owns the ledger.
    #[error("another supervisor took this repository over (epoch {found}, ours is {ours})")]
    Fenced {
        /// Our epoch.
        ours: u64,
        /// The ledger's.
        found: u64,
    },
    /// The disk is full.
    #[error("the disk is full: {path} cannot be written")]
    Full {
        /// The file.
        path: String,
    },
    /// The file cannot be opened as it must be: a disk or folder that is read-only, or an error of the disk.
    #[error("the ledger {path} cannot be used: {reason}")]
    Unwritable {
        /// The file.
        path: String,
        /// The database's words.
        reason: String,
    },
    /// A ledger of a newer format.
    #[error("the ledger has format {found}; this program knows formats up to {known}")]
    Newer {
        /// What was found.
        found: u32,
        /// What we know.
        known: u32,
    },
    /// The file is damaged.
    #[error("the ledger {path} is damaged: {reason}")]
    Corrupt {
        /// The file.
        path: String,
        /// What was found.
        reason: String,
    },
    /// The database failed.
    #[error("the ledger cannot be {doing}: {reason}")]
    Failed {
        /// What was tried.
        doing: &'static str,
        /// The database's words.
        reason: String,
    },
}

/// The append-only ledger.
pub trait Storage {
    /// Every entry of runs that have not ended, in order.
    ///
    /// # Errors
    /// The ledger cannot be read, or is newer than this program.
    fn load_open(&mut self) -> Result<Vec<Entry>, StorageError>;
    /// Every entry of one run, in order.
    ///
    /// # Errors
    /// The ledger cannot be read.
    fn load_run(&mut self, run: &RunId) -> Result<Vec<Entry>, StorageError>;
    /// Appends all rows or none. When it returns they are durable, and in the same transaction it was checked that no newer
    /// supervisor has taken over.
    ///
    /// # Errors
    /// Nothing was appended as far as one can tell; see [`StorageError`].
    fn append(&mut self, rows: &[Row]) -> Result<(), StorageError>;
}

/// What performs actions: processes, git, agents.
pub trait Processes {
    /// Starts an action. Its outcome comes back to the conductor as an event of the same run.
    fn perform(&mut self, run: &RunId, state: &State, key: &Key, action: &Action);
    /// Whether actions of this run can be started now. What is due is not begun before.
    fn may_act(&self, _run: &RunId, _state: &State) -> bool {
        true
    }
    /// The run has ended: nothing more is started for it.
    fn ended(&mut self, _run: &RunId) {}
}
