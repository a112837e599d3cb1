//! What the calls of a lane came to, and how that looks.

use std::collections::BTreeMap;

use agentops_core::budget::Amount;
use agentops_core::call::{CallKind, CallRow};
use agentops_core::ceiling::Window;
use agentops_core::models;
use agentops_core::usage::Usage;
use schemars::JsonSchema;
use serde::Serialize;

use crate::screen::{self, thousands};

/// A window's soft mark, in thousandths of it.
fn mark(window: Window) -> u64 {
    window.permille(window.soft_mark())
}

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
    /// Share of the window that the conversation of the last call fills, in thousandths; absent: not known yet.
    pub permille: Option<u64>,
    /// The largest share so far.
    pub largest_permille: Option<u64>,
    /// Share of the window by conversation, in thousandths.
    #[serde(skip)]
    shares: BTreeMap<u32, u64>,
    /// The program uses its own login: what a call costs is not billed by the token.
    pub login: bool,
}

impl Tally {
    /// Nothing yet. `login`: the program uses its own.
    #[must_use]
    pub fn new(login: bool) -> Self {
        Self { login, ..Self::default() }
    }

    /// Takes a call in. `true`: its conversation passed the soft mark with it.
    pub fn call(&mut self, row: &CallRow) -> bool {
        self.calls += 1;
        self.cost = self.cost.plus(row.charged);
        if let Some(usage) = row.usage {
            self.usage.add(usage);
        }
        let answered = row.status.is_some_and(|status| status < 400);
        let Some(window) = Window::new(row.window).filter(|_| answered && row.kind == CallKind::Work) else { return false };
        let now = window.permille(row.context());
        self.largest_permille = self.largest_permille.max(Some(now));
        let before = self.shares.insert(row.conversation, now);
        // A side request such as a title has a conversation of one call. What goes on is a conversation: a person cleared or
        // compacted the one before, or a sub-agent works.
        if row.sub_agent && before.is_none() {
            return false;
        }
        self.model.clone_from(&row.model);
        self.window = Some(row.window);
        self.permille = Some(now);
        before.unwrap_or_default() < mark(window) && self.is_past_mark()
    }

    /// The conversation of the last call is past its soft mark.
    #[must_use]
    pub fn is_past_mark(&self) -> bool {
        let mark = self.window.and_then(Window::new).map(mark);
        self.permille.zip(mark).is_some_and(|(permille, mark)| permille >= mark)
    }

    /// `claude-sonnet-5-5  23 % of 200k  ·  41 calls  ·  1.2M tokens, 71 % cached  ·  $0.84`
    #[must_use]
    pub fn line(&self) -> String {
        let mut parts = Vec::new();
        if let (Some(model), Some(permille), Some(window)) = (&self.model, self.permille, self.window) {
            parts.push(format!("{model}  {} % of {}", permille.div_ceil(10), thousands(window)));
        }
        parts.push(if self.calls == 1 { "1 call".into() } else { format!("{} calls", self.calls) });
        let input = self.usage.input + self.usage.cache_read + self.usage.cache_write;
        if let Some(cached) = self.usage.cache_read.saturating_mul(100).checked_div(input) {
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
