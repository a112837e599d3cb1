//! What `agentops with --report` writes.

use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use agentops_core::call::CallRow;
use schemars::JsonSchema;
use serde::Serialize;

use super::tally::Tally;
use crate::error::{CommandError, FAILED};

/// The calls of one program.
#[derive(Debug, Serialize, JsonSchema)]
pub struct WithReport {
    /// The driver.
    pub agent: String,
    /// Where its calls went.
    pub destination: String,
    /// When it was started, in milliseconds since 1970.
    pub started_ms: u64,
    /// When it ended.
    pub ended_ms: u64,
    /// Its exit code; 128 and the signal's number where a signal ended it.
    pub exit_code: u8,
    /// The date of the price list.
    pub prices_of: String,
    /// All of them.
    pub totals: Tally,
    /// Each call that was forwarded.
    pub calls: Vec<CallRow>,
    /// Why others were not, in their order.
    pub refused: Vec<String>,
}

/// What comes together for it.
#[derive(Clone, Default)]
pub struct Kept(Arc<Mutex<(Vec<CallRow>, Vec<String>)>>);

impl Kept {
    pub fn call(&self, row: &CallRow) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0.push(row.clone());
    }

    pub fn refused(&self, words: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1.push(words);
    }

    pub fn take(&self) -> (Vec<CallRow>, Vec<String>) {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl WithReport {
    /// Writes it.
    pub fn write(&self, path: &Path) -> Result<(), CommandError> {
        let written = serde_json::to_vec_pretty(self).map_err(std::io::Error::from).and_then(|mut json| {
            json.push(b'\n');
            std::fs::File::create(path)?.write_all(&json)
        });
        written.map_err(|e| CommandError::new(FAILED, format!("the report {} cannot be written: {e}", path.display())))
    }
}
