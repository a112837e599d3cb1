//! The day on which a call is admitted. Its budget, its grant and its ledger are those of that day, however long it takes.

use std::collections::BTreeMap;
use std::sync::Arc;

use agentops_core::budget::{Amount, Grant, Scope, Settled};

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// Days whose grants are remembered: a call that was admitted before midnight may still wait for its own.
const DAYS_MAX: usize = 2;

/// When a call was admitted.
#[derive(Debug, Clone)]
pub(crate) struct Admission {
    /// In milliseconds since 1970.
    pub at_ms: u64,
    /// The day (UTC), counted from 1970.
    pub day: u64,
    /// All budgets that hold; the day's is the last.
    pub scopes: Arc<[Scope]>,
}

impl Admission {
    /// The budget of its day.
    pub(crate) fn day_scope(&self) -> &Scope {
        &self.scopes[self.scopes.len() - 1]
    }
}

/// The grants of a lane, by day.
#[derive(Debug, Default)]
pub(crate) struct Days {
    grants: BTreeMap<u64, Grant>,
    /// The day of the last call, and all budgets that hold on it.
    today: Option<(u64, Arc<[Scope]>)>,
}

impl Days {
    /// Admits a call at this time. `lasting` are the budgets that hold on every day.
    pub(crate) fn admit(&mut self, at_ms: u64, lasting: &[Scope]) -> Admission {
        let day = at_ms / DAY_MS;
        if let Some((today, scopes)) = &self.today
            && *today == day
        {
            return Admission { at_ms, day, scopes: Arc::clone(scopes) };
        }
        let scopes: Arc<[Scope]> = lasting.iter().cloned().chain([Scope::Day(date(at_ms))]).collect();
        self.today = Some((day, Arc::clone(&scopes)));
        Admission { at_ms, day, scopes }
    }

    /// The grant of a day. What is left of one that is forgotten stays granted in that day's ledger until it ends.
    pub(crate) fn grant(&mut self, day: u64) -> &mut Grant {
        if !self.grants.contains_key(&day) && self.grants.len() == DAYS_MAX {
            self.grants.pop_first();
        }
        self.grants.entry(day).or_default()
    }

    /// A call that was admitted at this time has ended.
    pub(crate) fn settle(&mut self, admitted_ms: u64, taken: Amount, booked: Amount) -> Settled {
        match self.grants.get_mut(&(admitted_ms / DAY_MS)) {
            Some(grant) => grant.settle(taken, booked),
            None => Settled::of(taken, booked),
        }
    }
}

/// The UTC date of a time, `2026-11-24`.
#[must_use]
pub fn date(at_ms: u64) -> String {
    // The civil calendar by eras of 400 years that begin on 1 March, as in H. Hinnant, "chrono-Compatible Low-Level Date
    // Algorithms", `civil_from_days`.
    let days = at_ms / DAY_MS + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_its_utc_date() {
        for (at_s, expected) in [
            (0, "1970-01-01"),
            (951_782_399, "2000-02-28"),
            (951_782_400, "2000-02-29"),
            (951_868_800, "2000-03-01"),
            (1_735_689_599, "2024-12-31"),
            (1_735_689_600, "2025-01-01"),
            (1_795_996_799, "2026-11-29"),
            (1_795_996_800, "2026-11-30"),
        ] {
            assert_eq!(date(at_s * 1000), expected, "{at_s}");
        }
    }
}
