//! Budgets: what may be spent, reserved before a call and settled after it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Tokens and money. Money is in millionths of a US dollar, so that sums are exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Amount {
    /// Tokens, input and output together.
    pub tokens: u64,
    /// Millionths of a US dollar; `None`: the model's price is not known.
    pub micro_usd: Option<u64>,
}
