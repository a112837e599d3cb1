//! What a run may spend, and what it has spent.
//!
//! What was granted to a session and not charged by its calls is open while it lives. A session that ends in order has
//! appended every call before its end, so the rest of its grant is free again. One that went with its supervisor may have made
//! calls that nobody wrote down: the rest of its grant counts as spent, and is shown apart as unreconciled.

use super::apply::{Illegal, illegal};
use super::event::SessionEnd;
use super::state::{LaneState, PhaseState, SessionState, State};
use crate::budget::{Amount, Limits, Scope};
use crate::call::CallRow;
use crate::id::SessionId;
use crate::usage::Usage;

impl SessionState {
    /// Books a call. One that went by no gateway was not granted and has no known price; where its usage is not known
    /// either, its context is what it used at least.
    pub(super) fn charge(&mut self, row: Option<&CallRow>, usage: Option<Usage>, context: u64) {
        let charged = match row {
            Some(row) => {
                self.granted = self.granted.minus(row.settles());
                row.charged
            }
            None => Amount::unpriced(usage.map_or(context, |usage| usage.context())),
        };
        self.spent = self.spent.plus(charged);
    }

    /// The session is over: a grant that may hide no call is given back.
    pub(super) fn settle(&mut self) {
        if !self.is_lost() {
            self.granted = Amount::ZERO;
        }
    }

    /// What it was granted and may have spent without anybody writing it down: it went with its supervisor.
    #[must_use]
    pub fn unreconciled(&self) -> Amount {
        if self.is_lost() { self.granted } else { Amount::ZERO }
    }

    fn is_lost(&self) -> bool {
        self.orphaned || self.end == Some(SessionEnd::Interrupted)
    }
}

impl LaneState {
    /// What its sessions spent, what is unreconciled included.
    #[must_use]
    pub fn spent(&self) -> Amount {
        self.sessions.iter().fold(Amount::ZERO, |sum, session| sum.plus(session.spent).plus(session.unreconciled()))
    }
}

impl PhaseState {
    /// What its lanes and its reviews spent, what is unreconciled included.
    #[must_use]
    pub fn spent(&self) -> Amount {
        self.all_lanes().fold(Amount::ZERO, |sum, lane| sum.plus(lane.spent()))
    }
}

impl State {
    /// What the run spent, what is unreconciled included.
    #[must_use]
    pub fn spent(&self) -> Amount {
        self.phases.iter().fold(Amount::ZERO, |sum, phase| sum.plus(phase.spent()))
    }

    /// The part of [`Self::spent`] that no call in the ledger accounts for.
    #[must_use]
    pub fn unreconciled(&self) -> Amount {
        self.sessions().fold(Amount::ZERO, |sum, (_, session)| sum.plus(session.unreconciled()))
    }

    /// The budgets that hold for a session within its run, widest first: run, phase, lane, each with its limits and with what
    /// was spent of it. A budget without limits is among them: what it spends is counted, and a limit may come.
    #[must_use]
    pub fn budgets(&self, session: &SessionId) -> Vec<(Scope, Limits, Amount)> {
        let (run, lane) = (&self.created.run, &session.lane);
        let index = self.created.workflow.phases.iter().position(|phase| phase.name == lane.phase);
        let phase = index.map(|index| &self.phases[index]);
        let of_lane = phase.and_then(|phase| phase.all_lanes().find(|known| known.id == *lane));
        [
            (Scope::Run(run.clone()), self.spent()),
            (Scope::Phase(run.clone(), lane.phase.clone()), phase.map_or(Amount::ZERO, PhaseState::spent)),
            (Scope::Lane(run.clone(), lane.clone()), of_lane.map_or(Amount::ZERO, LaneState::spent)),
        ]
        .into_iter()
        .map(|(scope, spent)| (scope.clone(), self.limits(&scope).unwrap_or_default(), spent))
        .collect()
    }

    /// The limits of a budget of this run: the workflow's, or what a person raised them to. `None`: this run has no such
    /// phase or lane.
    #[must_use]
    pub fn limits(&self, scope: &Scope) -> Option<Limits> {
        let workflow = &self.created.workflow;
        let (run, limits) = match scope {
            Scope::Day(_) => return None,
            Scope::Run(run) => (run, workflow.budget),
            Scope::Phase(run, name) => (run, workflow.phase(name)?.budget),
            Scope::Lane(run, id) => {
                let planned = workflow.phase(&id.phase)?.lanes.iter().find(|lane| lane.name == id.lane);
                // The lanes of reviews come into being as they are needed and have no limits of their own.
                let review = || self.phases.iter().flat_map(|phase| &phase.reviews).any(|lane| lane.id == *id);
                (run, planned.map(|lane| lane.budget).or_else(|| review().then(Limits::default))?)
            }
        };
        (*run == self.created.run).then(|| self.raised.get(scope).copied().unwrap_or(limits))
    }

    /// A person lets more be spent.
    pub(super) fn raise(&mut self, scope: &Scope, limits: Limits) -> Result<(), Illegal> {
        let Some(now) = self.limits(scope) else { return illegal("raise", format!("this run has not got {scope}")) };
        let higher = |now: Option<u64>, new: Option<u64>| new.is_none_or(|new| now.is_some_and(|now| new > now));
        if limits.is_none() || !higher(now.tokens, limits.tokens) || !higher(now.micro_usd, limits.micro_usd) {
            return illegal("raise", format!("a limit of {scope} can only be raised, and only one that there is"));
        }
        let raised = Limits { tokens: limits.tokens.or(now.tokens), micro_usd: limits.micro_usd.or(now.micro_usd) };
        self.raised.insert(scope.clone(), raised);
        Ok(())
    }
}
