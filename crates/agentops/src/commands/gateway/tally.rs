//! What the calls of a lane came to, and how that looks.

use agentops_core::budget::Amount;
use agentops_core::call::CallRow;
use agentops_core::ceiling::Window;
use agentops_core::models;
use agentops_core::usage::Usage;
use schemars::JsonSchema;
use serde::Serialize;

use crate::screen::{self, thousands};

/// Calls so far.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub struct Tally {
    /// Calls that were forwarded.
    pub calls: u64,
    /// Calls that were not.
    pub refused: u64,
    /// What the providers say that they used.
    pub usage: Usage,
    /// What they cost at list prices; `micro_usd` is absent where a model's price is not known.
    pub cost: Amount,
    /// The last model that was asked.
    pub model: Option<String>,
    /// Its window, in tokens.
    pub window: Option<u64>,
    /// Share of the window that the lane's own conversation fills, in thousandths; absent: not known yet.
    pub permille: Option<u64>,
    /// The largest share so far.
    pub largest_permille: Option<u64>,
    /// The program uses its own login: what a call costs is not billed by the token.
    pub login: bool,
}

impl Tally {
    /// Takes a call in. `true`: its conversation passed the soft mark with it.
    pub fn call(&mut self, row: &CallRow) -> bool {
        self.calls += 1;
        self.cost = self.cost.plus(row.charged);
        if let Some(usage) = row.usage {
            self.usage.add(usage);
        }
        if row.sub_agent || row.status.is_none_or(|status| status >= 400) {
            return false;
        }
        let Some(window) = Window::new(row.window) else { return false };
        let before = self.permille.unwrap_or_default();
        let now = window.permille(row.context());
        self.model.clone_from(&row.model);
        self.window = Some(row.window);
        self.permille = Some(now);
        self.largest_permille = self.largest_permille.max(Some(now));
        let mark = window.permille(window.soft_mark());
        before < mark && now >= mark
    }

    /// `claude-sonnet-5-5  23 % of 200k  ·  41 calls  ·  1.2M tokens, 71 % cached  ·  $0.84`
    #[must_use]
    pub fn line(&self) -> String {
        let mut parts = Vec::new();
        if let (Some(model), Some(permille), Some(window)) = (&self.model, self.permille, self.window) {
            parts.push(format!("{model}  {} % of {}", permille.div_ceil(10), thousands(window)));
        }
        parts.push(format!("{} calls", self.calls));
        let input = self.usage.input + self.usage.cache_read + self.usage.cache_write;
        if input > 0 {
            let cached = self.usage.cache_read * 100 / input;
            parts.push(format!("{} tokens, {cached} % cached", thousands(self.usage.context())));
        }
        parts.push(self.price());
        if self.refused > 0 {
            parts.push(format!("{} refused", self.refused));
        }
        parts.join("  ·  ")
    }

    fn price(&self) -> String {
        let money = screen::money(self.cost.micro_usd);
        match self.cost.micro_usd {
            Some(_) if self.login => format!("{money} at list price, not billed"),
            Some(_) => format!("{money} (list price of {})", models::prices_date()),
            None => money,
        }
    }
}
