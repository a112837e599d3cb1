//! What waits for a lock of ours, and who holds it.

use std::collections::BTreeMap;
use std::path::Path;

use agentops_core::id::RunId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::wire::LockWait;

/// Waits shorter than this, in milliseconds, are how processes share a lock.
const WORTH_A_WORD_MS: u64 = 1000;
/// Characters of a holder that are shown.
const HOLDER_CHARS_MAX: usize = 200;

/// Something that waits for a lock of ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WaitingForLock {
    /// The run.
    pub run: RunId,
    /// What waits: `phase/lane/step/ordinal`.
    pub step: String,
    /// The lock file.
    pub lock: String,
    /// Who holds it, as far as the system tells: its pid and its command line.
    pub holders: Vec<String>,
    /// For how long it has waited, in milliseconds.
    pub waited_ms: u64,
}

impl WaitingForLock {
    /// Those of these waits that a person should know of.
    #[must_use]
    pub fn of(waits: Vec<LockWait>) -> Vec<Self> {
        let long = waits.into_iter().filter(|wait| wait.waited_ms >= WORTH_A_WORD_MS);
        // Many lanes wait for one lock, and the look for its holders goes through all processes.
        let mut known: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let named = long.map(|wait| {
            let holders = known.entry(wait.lock.clone()).or_insert_with(|| holders(&wait.lock)).clone();
            Self { run: wait.run, step: wait.step, lock: wait.lock, holders, waited_ms: wait.waited_ms }
        });
        named.collect()
    }

    /// In words.
    #[must_use]
    pub fn words(&self) -> String {
        let by = match self.holders.is_empty() {
            true => "the system does not tell who holds it".to_owned(),
            false => format!("{} holds it", self.holders.join(", ")),
        };
        format!("waits for the lock {}: {by}", self.lock)
    }
}

fn holders(lock: &str) -> Vec<String> {
    let holders = agentops_git::lock_holders(Path::new(lock));
    holders.iter().map(|holder| agentops_safe::inert_line(&holder.to_string(), HOLDER_CHARS_MAX)).collect()
}
