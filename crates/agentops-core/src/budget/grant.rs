//! Grants: what the ledger knows before it is spent.
//!
//! A supervisor that dies loses the calls that were under way and those that were not written down yet. So nothing is
//! forwarded that was not granted before, and a grant is durable before it is used. A call's row settles what the call took
//! out of its grant ([`Settled::reserved`]), so `granted − settled by rows in the ledger` is never less than what was
//! forwarded and is not in the ledger. After a crash the rest of the grant counts as spent.

use super::{Amount, Limits};

/// Calls that come within this time of each other share a grant, in milliseconds. A call that comes alone is granted by
/// itself, so that a crash costs little of a budget; of calls that come fast most wait for no disk.
const BURST_MS: u64 = 50;
/// The most calls that one grant is for.
const GRANT_CALLS_MAX: u64 = 64;

/// The grant of one session, in memory.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Grant {
    tokens: u64,
    micro_usd: u64,
    burst_began_ms: u64,
    burst_calls: u64,
    /// Calls that took something out and are not settled.
    under_way: u64,
}

/// The grant does not cover a call: this must be made durable and added before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NeedsGrant {
    /// What to ask for: the call, and others like it.
    pub ask: Amount,
    /// What the call alone needs.
    pub least: Amount,
}

/// What a call that has ended does to the grant in the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settled {
    /// What its row settles of what was granted: what was taken for the call, and what no other call needs.
    pub reserved: Amount,
    /// What the call cost above its reservation: it must be granted in the ledger before the call's row is appended, or the
    /// row would settle what other calls under way were granted.
    pub missing: Option<Amount>,
}

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
    pub fn take(&mut self, ask: Amount, room: Limits, now_ms: u64) -> Result<(), NeedsGrant> {
        let money = ask.micro_usd.unwrap_or(0);
        if now_ms.abs_diff(self.burst_began_ms) >= BURST_MS {
            (self.burst_began_ms, self.burst_calls) = (now_ms, 0);
        }
        if let (Some(tokens), Some(micro_usd)) = (self.tokens.checked_sub(ask.tokens), self.micro_usd.checked_sub(money)) {
            (self.tokens, self.micro_usd) = (tokens, micro_usd);
            self.burst_calls += 1;
            self.under_way += 1;
            return Ok(());
        }
        // No more than are under way: what is granted ahead of them a crash would leave spent.
        let others = self.burst_calls.min(self.under_way).min(GRANT_CALLS_MAX - 1);
        let chunk = |ask: u64, has: u64, room: Option<u64>| {
            let more = ask.saturating_mul(others).min(room.unwrap_or(u64::MAX));
            ask.saturating_add(more).saturating_sub(has)
        };
        Err(NeedsGrant {
            ask: Amount {
                tokens: chunk(ask.tokens, self.tokens, room.tokens),
                micro_usd: ask.micro_usd.map(|money| chunk(money, self.micro_usd, room.micro_usd)),
            },
            least: Amount {
                tokens: ask.tokens.saturating_sub(self.tokens),
                micro_usd: ask.micro_usd.map(|money| money.saturating_sub(self.micro_usd)),
            },
        })
    }

    /// A call for which `taken` was taken out has ended and cost `booked`. The row of the last call under way settles what is
    /// left of the grant too: while no call is under way a crash costs nothing.
    pub fn settle(&mut self, taken: Amount, booked: Amount) -> Settled {
        let settled = Settled::of(taken, booked);
        self.under_way = self.under_way.saturating_sub(1);
        if self.under_way > 0 {
            return settled;
        }
        let rest = Amount::priced(std::mem::take(&mut self.tokens), std::mem::take(&mut self.micro_usd));
        Settled { reserved: settled.reserved.plus(rest), ..settled }
    }
}

impl Settled {
    /// Of a call for which `taken` was taken out of its grant, and which cost `booked`, whatever is left of the grant.
    #[must_use]
    pub fn of(taken: Amount, booked: Amount) -> Self {
        let known = |amount: Amount| (amount.tokens, amount.micro_usd.unwrap_or(0));
        let ((taken_tokens, taken_money), (tokens, money)) = (known(taken), known(booked));
        let above = Amount::priced(tokens.saturating_sub(taken_tokens), money.saturating_sub(taken_money));
        Self {
            reserved: Amount::priced(tokens.max(taken_tokens), money.max(taken_money)),
            missing: (!above.is_zero()).then_some(above),
        }
    }
}
