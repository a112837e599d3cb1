//! Grants: what the ledger knows before it is spent.
//!
//! A supervisor that dies loses the calls that were under way and those that were not written down yet. So nothing is
//! forwarded that was not granted before, and a grant is durable before it is used: `granted − charged by calls in the
//! ledger` is never less than what was forwarded and is not in the ledger. After a crash the rest of the grant counts as
//! spent.

use super::{Amount, Limits};

/// A grant is for this many calls like the one that needs it: few enough that a crash costs little of a budget, many enough
/// that most calls wait for no disk.
const GRANT_CALLS: u64 = 4;

/// The grant of one session, in memory.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Grant {
    tokens: u64,
    micro_usd: u64,
}

/// The grant does not cover a call: this much must be made durable and added before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NeedsGrant(pub Amount);

impl Grant {
    /// Nothing granted yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What was made durable may be used.
    pub fn add(&mut self, granted: Amount) {
        self.tokens = self.tokens.saturating_add(granted.tokens);
        self.micro_usd = self.micro_usd.saturating_add(granted.micro_usd.unwrap_or(0));
    }

    /// Takes what a call may cost out of the grant. `room` is what the budgets leave besides this call
    /// ([`super::Book::room`] once it is reserved): nothing is granted that could not be spent.
    ///
    /// # Errors
    /// The grant does not cover it; nothing was taken.
    pub fn take(&mut self, ask: Amount, room: Limits) -> Result<(), NeedsGrant> {
        let money = ask.micro_usd.unwrap_or(0);
        if let (Some(tokens), Some(micro_usd)) = (self.tokens.checked_sub(ask.tokens), self.micro_usd.checked_sub(money)) {
            (self.tokens, self.micro_usd) = (tokens, micro_usd);
            return Ok(());
        }
        let chunk = |ask: u64, left: u64, room: Option<u64>| {
            let more = ask.saturating_mul(GRANT_CALLS - 1).min(room.unwrap_or(u64::MAX));
            ask.saturating_add(more).saturating_sub(left)
        };
        Err(NeedsGrant(Amount {
            tokens: chunk(ask.tokens, self.tokens, room.tokens),
            micro_usd: ask.micro_usd.map(|money| chunk(money, self.micro_usd, room.micro_usd)),
        }))
    }

    /// Ends a call for which `taken` was taken, and which cost `booked`: the rest can be used again. What it cost above that
    /// and above the rest of the grant comes back: it must be granted in the ledger before the call's row is appended, or
    /// the row would use up what other calls under way were granted.
    #[must_use = "what is missing must be granted in the ledger"]
    pub fn settle(&mut self, taken: Amount, booked: Amount) -> Option<Amount> {
        fn settle(left: &mut u64, taken: u64, booked: u64) -> u64 {
            let before = left.saturating_add(taken);
            *left = before.saturating_sub(booked);
            booked.saturating_sub(before)
        }
        let tokens = settle(&mut self.tokens, taken.tokens, booked.tokens);
        let money = settle(&mut self.micro_usd, taken.micro_usd.unwrap_or(0), booked.micro_usd.unwrap_or(0));
        (tokens > 0 || money > 0).then_some(Amount::priced(tokens, money))
    }
}
