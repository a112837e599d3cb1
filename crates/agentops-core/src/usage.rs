//! What a model call used, as its provider counted it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Tokens of one model call, normalised so that the four parts do not overlap: their sum is the context of the call.
/// A driver translates its program's own counting (OpenAI and Gemini count cache reads inside the input) into this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Usage {
    /// Input tokens that were neither read from nor written to a cache.
    pub input: u64,
    /// Input tokens read from a cache.
    pub cache_read: u64,
    /// Input tokens written to a cache.
    pub cache_write: u64,
    /// Output tokens, thinking included.
    pub output: u64,
}

impl Usage {
    /// Context size of the call: everything that lay in the window at its end.
    #[must_use]
    pub fn context(&self) -> u64 {
        self.input.saturating_add(self.cache_read).saturating_add(self.cache_write).saturating_add(self.output)
    }

    /// Adds another call, for totals.
    pub fn add(&mut self, other: Usage) {
        self.input = self.input.saturating_add(other.input);
        self.cache_read = self.cache_read.saturating_add(other.cache_read);
        self.cache_write = self.cache_write.saturating_add(other.cache_write);
        self.output = self.output.saturating_add(other.output);
    }
}
