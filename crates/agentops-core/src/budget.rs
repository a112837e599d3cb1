//! Budgets: what may be spent, reserved before a call and settled after it.
//!
//! [`Book`] is the account of everything that holds for a call (day, run, phase, lane) in memory; [`grant::Grant`] is what
//! the ledger knows of it beforehand, so that a crash forgets nothing.

mod grant;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::call::CallKind;
use crate::ceiling::HANDOVER_RESERVE_PERMILLE;
use crate::id::{LaneId, Name, RunId};

pub use grant::{Grant, NeedsGrant, Settled};

/// What is kept of every limit for hand-over and compaction calls, in thousandths of it, rounded up: the share that the
/// ceiling keeps of the window. Without it a lane that has used up its budget could not say where it stands.
pub const RESERVE_PERMILLE: u64 = HANDOVER_RESERVE_PERMILLE;

/// Tokens and money. Money is in millionths of a US dollar, so that sums are exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Amount {
    /// Tokens, input and output together.
    pub tokens: u64,
    /// Millionths of a US dollar; `None`: a model's price is not known.
    pub micro_usd: Option<u64>,
}

impl Amount {
    /// Nothing, and known to be nothing.
    pub const ZERO: Amount = Amount { tokens: 0, micro_usd: Some(0) };

    /// Tokens at a known price, in millionths of a US dollar.
    #[must_use]
    pub const fn priced(tokens: u64, micro_usd: u64) -> Self {
        Self { tokens, micro_usd: Some(micro_usd) }
    }

    /// Tokens of a model whose price is not known.
    #[must_use]
    pub const fn unpriced(tokens: u64) -> Self {
        Self { tokens, micro_usd: None }
    }

    /// The sum, as large as can be written at most. A part whose price is not known leaves the price of the whole unknown.
    #[must_use]
    pub fn plus(self, other: Amount) -> Self {
        Self {
            tokens: self.tokens.saturating_add(other.tokens),
            micro_usd: self.micro_usd.zip(other.micro_usd).map(|(a, b)| a.saturating_add(b)),
        }
    }

    /// What is left when `other` is taken away, never below nothing. What has no known price takes no known money away.
    #[must_use]
    pub fn minus(self, other: Amount) -> Self {
        Self {
            tokens: self.tokens.saturating_sub(other.tokens),
            micro_usd: self.micro_usd.map(|money| money.saturating_sub(other.micro_usd.unwrap_or(0))),
        }
    }

    /// The larger of each; unknown is larger than every known price.
    #[must_use]
    pub fn max(self, other: Amount) -> Self {
        Self { tokens: self.tokens.max(other.tokens), micro_usd: self.micro_usd.zip(other.micro_usd).map(|(a, b)| a.max(b)) }
    }

    /// Nothing at all.
    #[must_use]
    pub fn is_zero(self) -> bool {
        self == Amount::ZERO
    }
}

impl Default for Amount {
    fn default() -> Self {
        Self::ZERO
    }
}

impl fmt::Display for Amount {
    /// `1200 tokens, $0.0042` or `1200 tokens, price unknown`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.micro_usd {
            Some(money) => write!(f, "{} tokens, {}", self.tokens, Usd(money)),
            None => write!(f, "{} tokens, price unknown", self.tokens),
        }
    }
}

/// Millionths of a US dollar, printed as dollars with as many digits as it has and at least two: `$5.00`, `$0.0042`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usd(pub u64);

impl fmt::Display for Usd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = format!("{:06}", self.0 % 1_000_000);
        let shown = digits.trim_end_matches('0').len().max(2);
        write!(f, "${}.{}", self.0 / 1_000_000, &digits[..shown])
    }
}

impl Usd {
    /// Dollars as a person writes them, exactly: `None` for what is negative, no number, has more than six digits behind the
    /// point, or is too large to hold.
    ///
    /// A binary fraction prints as the shortest decimal that reads back as it, which is what was written: that decimal is
    /// taken apart, so no rounding can creep in.
    #[must_use]
    pub fn from_dollars(dollars: f64) -> Option<Self> {
        let text = dollars.to_string();
        let (whole, part) = text.split_once('.').unwrap_or((&text, ""));
        if part.len() > 6 {
            return None;
        }
        let part: u64 = format!("{part:0<6}").parse().ok()?;
        // A sign, `inf` and `NaN` do not parse.
        whole.parse::<u64>().ok()?.checked_mul(1_000_000)?.checked_add(part).map(Self)
    }
}

/// What may be spent. No limit: `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Limits {
    /// Tokens, input and output together.
    pub tokens: Option<u64>,
    /// Millionths of a US dollar, at list prices.
    pub micro_usd: Option<u64>,
}

impl Limits {
    /// Whether nothing is limited.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Limits::default()
    }
}

/// What a budget holds for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// Everything on one day, `2026-11-24`.
    Day(String),
    /// One run.
    Run(RunId),
    /// One phase of a run.
    Phase(RunId, Name),
    /// One lane of a run, all its sessions.
    Lane(RunId, LaneId),
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scope::Day(date) => write!(f, "the budget of {date}"),
            Scope::Run(run) => write!(f, "the budget of {run}"),
            Scope::Phase(_, phase) => write!(f, "the budget of phase {phase}"),
            Scope::Lane(_, lane) => write!(f, "the budget of lane {lane}"),
        }
    }
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// Tokens.
    Tokens,
    /// Millionths of a US dollar.
    MicroUsd,
}

impl Unit {
    fn show(self, figure: u64) -> String {
        match self {
            Unit::Tokens => format!("{figure} tokens"),
            Unit::MicroUsd => Usd(figure).to_string(),
        }
    }
}

/// Why a call may not be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OverBudget {
    /// It could cost more than is left.
    Limit {
        /// The budget.
        scope: Scope,
        /// What the figures count.
        unit: Unit,
        /// The limit.
        limit: u64,
        /// What of it is kept for hand-over, and this call may not use.
        kept: u64,
        /// What was spent.
        spent: u64,
        /// What calls that are under way may still cost.
        reserved: u64,
        /// What this call may cost.
        asked: u64,
    },
    /// The budget is in money, and the price of the model, or of an option of the call, is not known. Unknown is not zero.
    ModelPrice {
        /// The budget.
        scope: Scope,
        /// Its limit in millionths of a US dollar.
        limit: u64,
    },
    /// The budget is in money, and something that was spent before had no known price.
    SpentPrice {
        /// The budget.
        scope: Scope,
        /// Its limit in millionths of a US dollar.
        limit: u64,
    },
}

impl std::error::Error for OverBudget {}

impl fmt::Display for OverBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OverBudget::Limit { scope, unit, limit, kept, spent, reserved, asked } => {
                let show = |figure: &u64| unit.show(*figure);
                write!(f, "{scope} is {}: {} spent", show(limit), show(spent))?;
                if *reserved > 0 {
                    write!(f, ", {} for calls under way", show(reserved))?;
                }
                if *kept > 0 {
                    write!(f, ", {} kept for hand-over", show(kept))?;
                }
                write!(f, "; this call may cost up to {}", show(asked))
            }
            OverBudget::ModelPrice { scope, limit } => write!(
                f,
                "{scope} is {}, and the price of this model, or of an option such as its service tier, is not known; limit tokens \
                 instead, or take a model and options whose price is known",
                Usd(*limit)
            ),
            OverBudget::SpentPrice { scope, limit } => write!(
                f,
                "{scope} is {}, and the price of something that was spent before is not known; limit tokens instead",
                Usd(*limit)
            ),
        }
    }
}

/// Room for one call in every budget that holds for it. One that is never settled stays taken: it counts as spent in full.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a reservation that is not settled counts as spent in full"]
pub struct Reservation {
    scopes: Vec<Scope>,
    amount: Amount,
}

impl Reservation {
    /// What was reserved.
    #[must_use]
    pub fn amount(&self) -> Amount {
        self.amount
    }
}

/// One budget's account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Account {
    limits: Limits,
    spent: Amount,
    /// Of calls under way whose price is known; the others are counted, so that the sum is known again when they have ended.
    reserved: Amount,
    unpriced: u64,
}

/// The accounts of a gateway. A caller that shares it between threads puts it behind a lock: every method is one step.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Book {
    accounts: BTreeMap<Scope, Account>,
}

impl Book {
    /// A book without accounts.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens an account, or changes the limits of one. `spent_before` is what the ledger knows: of an account that is open,
    /// the larger of both counts, so that saying it again never gives anything back.
    pub fn set(&mut self, scope: Scope, limits: Limits, spent_before: Amount) {
        let account = self.accounts.entry(scope).or_default();
        account.limits = limits;
        account.spent = account.spent.max(spent_before);
    }

    /// Closes an account: the run has ended, the day is over.
    pub fn close(&mut self, scope: &Scope) {
        self.accounts.remove(scope);
    }

    /// An account.
    #[must_use]
    pub fn account(&self, scope: &Scope) -> Option<Account> {
        self.accounts.get(scope).copied()
    }

    /// Takes `ask` out of every scope, or out of none. A scope that was never set is counted and has no limit.
    ///
    /// # Errors
    /// The first budget that does not allow it.
    pub fn reserve(&mut self, scopes: &[Scope], ask: Amount, kind: CallKind) -> Result<Reservation, OverBudget> {
        for scope in scopes {
            self.account(scope).unwrap_or_default().allows(scope, ask, kind)?;
        }
        // Each scope once, or its account would be asked once and charged twice.
        let mut scopes = scopes.to_vec();
        scopes.sort_unstable();
        scopes.dedup();
        for scope in &scopes {
            match self.accounts.get_mut(scope) {
                Some(account) => account.take(ask),
                None => self.accounts.entry(scope.clone()).or_default().take(ask),
            }
        }
        Ok(Reservation { scopes, amount: ask })
    }

    /// Ends a reservation with what the call did cost, and says what was booked. Where the cost in money is not known, what
    /// was reserved in money is booked. A cost above what was reserved is booked as it is.
    pub fn settle(&mut self, reservation: Reservation, actual: Amount) -> Amount {
        let Reservation { scopes, amount } = reservation;
        let booked = Amount { tokens: actual.tokens, micro_usd: actual.micro_usd.or(amount.micro_usd) };
        for scope in &scopes {
            if let Some(account) = self.accounts.get_mut(scope) {
                account.release(amount);
                account.spent = account.spent.plus(booked);
            }
        }
        booked
    }

    /// Gives a reservation back: the call was not made.
    pub fn release(&mut self, reservation: Reservation) {
        let Reservation { scopes, amount } = reservation;
        for scope in &scopes {
            if let Some(account) = self.accounts.get_mut(scope) {
                account.release(amount);
            }
        }
    }

    /// What a call of this kind may cost at most now: the least that is left in any scope. `None` in a part: no limit.
    #[must_use]
    pub fn room(&self, scopes: &[Scope], kind: CallKind) -> Limits {
        let accounts = scopes.iter().filter_map(|scope| self.accounts.get(scope));
        accounts.fold(Limits::default(), |room, account| {
            let left = account.left(kind);
            let least = |a: Option<u64>, b: Option<u64>| a.into_iter().chain(b).min();
            Limits { tokens: least(room.tokens, left.tokens), micro_usd: least(room.micro_usd, left.micro_usd) }
        })
    }
}

/// What of a limit this kind of call may not use.
fn kept(limit: u64, kind: CallKind) -> u64 {
    match kind {
        CallKind::Work => {
            let kept = (u128::from(limit) * u128::from(RESERVE_PERMILLE)).div_ceil(1000);
            u64::try_from(kept).unwrap_or(limit)
        }
        CallKind::HandOver | CallKind::Compaction => 0,
    }
}

impl Account {
    /// What may be spent.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// What was spent.
    #[must_use]
    pub fn spent(&self) -> Amount {
        self.spent
    }

    /// What calls under way may still cost.
    #[must_use]
    pub fn reserved(&self) -> Amount {
        if self.unpriced > 0 { Amount::unpriced(self.reserved.tokens) } else { self.reserved }
    }

    /// What is left for a call of this kind. Money is nothing where what was spent or reserved has no known price.
    fn left(&self, kind: CallKind) -> Limits {
        let taken = self.spent.plus(self.reserved());
        let rest = |limit: u64, taken: u64| (limit - kept(limit, kind)).saturating_sub(taken);
        Limits {
            tokens: self.limits.tokens.map(|limit| rest(limit, taken.tokens)),
            micro_usd: self.limits.micro_usd.map(|limit| taken.micro_usd.map_or(0, |taken| rest(limit, taken))),
        }
    }

    fn allows(&self, scope: &Scope, ask: Amount, kind: CallKind) -> Result<(), OverBudget> {
        let left = self.left(kind);
        let over = |unit, limit, spent, reserved, asked| {
            let (scope, kept) = (scope.clone(), kept(limit, kind));
            Err(OverBudget::Limit { scope, unit, limit, kept, spent, reserved, asked })
        };
        if let (Some(limit), Some(left)) = (self.limits.tokens, left.tokens)
            && ask.tokens > left
        {
            return over(Unit::Tokens, limit, self.spent.tokens, self.reserved.tokens, ask.tokens);
        }
        let (Some(limit), Some(left)) = (self.limits.micro_usd, left.micro_usd) else { return Ok(()) };
        let Some(asked) = ask.micro_usd else { return Err(OverBudget::ModelPrice { scope: scope.clone(), limit }) };
        let (Some(spent), Some(reserved)) = (self.spent.micro_usd, self.reserved().micro_usd) else {
            return Err(OverBudget::SpentPrice { scope: scope.clone(), limit });
        };
        if asked > left { over(Unit::MicroUsd, limit, spent, reserved, asked) } else { Ok(()) }
    }

    fn take(&mut self, amount: Amount) {
        self.unpriced += u64::from(amount.micro_usd.is_none());
        self.reserved = self.reserved.plus(Amount::priced(amount.tokens, amount.micro_usd.unwrap_or(0)));
    }

    fn release(&mut self, amount: Amount) {
        self.unpriced -= u64::from(amount.micro_usd.is_none()).min(self.unpriced);
        self.reserved = self.reserved.minus(amount);
    }
}
