//! What persons do.

use std::collections::BTreeSet;

use agentops_core::budget::{Limits, Scope};
use agentops_core::id::RunId;
use agentops_core::run::{Decision, DecisionKind, Intent, State, Status, Waiting};
use agentops_engine::conductor::Input;

use crate::fixture;
use crate::world::{Ev, World};

impl World {
    pub fn person(&mut self, run: RunId) -> Result<(), String> {
        if !self.persons {
            return Ok(());
        }
        let scope = Scope::Run(run.clone());
        let seen = |state: &State| (state.status(true), state.limits(&scope).and_then(|limits| limits.tokens));
        let Some((status, limit)) = self.now.as_ref().and(self.checker.states.get(&run)).map(seen) else {
            self.later(5_000, Ev::Person(run));
            return Ok(());
        };
        let intent = match status {
            Status::NeedsDecision { .. } if self.bad(4) => Intent::Cancel,
            Status::NeedsDecision { decision } if decision.kind == DecisionKind::Budget && self.rng.percent(50) => {
                // Not always more: what does not raise it is refused, and changes nothing.
                let tokens = limit.map(|limit| limit + self.rng.below(2) * 1_000);
                Intent::Raise { scope, limits: Limits { tokens, micro_usd: None } }
            }
            Status::NeedsDecision { .. } => Intent::Resume { decisions: Some(self.answered(&run)) },
            Status::Waiting { waiting: Waiting::Approval { shown, .. } } => match self.rng.below(10) {
                0 if self.faults => Intent::Reject { shown, message: self.blob() },
                1 if self.faults => Intent::Approve { shown: fixture::blob(1) },
                _ => Intent::Approve { shown },
            },
            _ => return Ok(()),
        };
        self.count(match intent {
            Intent::Approve { .. } => "person: approve",
            Intent::Reject { .. } => "person: reject",
            Intent::Raise { .. } => "person: raise",
            Intent::Resume { .. } => "person: resume",
            Intent::Cancel => "person: cancel",
        });
        self.client(Input::Intent(run.clone(), intent), Ev::Person(run))
    }

    /// The questions that a person answers: all that they see, or the first of them.
    fn answered(&mut self, run: &RunId) -> Vec<Decision> {
        let mut seen = self.checker.states.get(run).map(|state| state.decisions.clone()).unwrap_or_default();
        if seen.len() > 1 && self.rng.percent(30) {
            self.count("person: resume of one question among several");
            seen.truncate(1);
        }
        seen
    }

    /// What persons do about a run that changed.
    pub fn after(&mut self, touched: &BTreeSet<RunId>) {
        for run in touched {
            let Some(state) = self.checker.states.get(run) else { continue };
            let kinds = state.decisions.iter().map(|decision| decision.kind);
            let (several, interrupted) = (kinds.len() > 1, kinds.clone().any(|kind| kind == DecisionKind::Interrupted));
            let beside = kinds.len() > 0 && state.status(true) == Status::Running;
            for (what, happened) in [
                ("asked: several questions at once", several),
                ("asked: a lane was interrupted again and again", interrupted),
                ("asked: about one lane while another works", beside),
            ] {
                *self.counts.entry(what).or_default() += u64::from(happened);
            }
            let Some(state) = self.checker.states.get(run) else { continue };
            if state.outcome.is_some() {
                if state.closing.is_none() && self.rng.percent(30) {
                    self.later(10, Ev::Close(run.clone()));
                }
                continue;
            }
            if matches!(state.status(true), Status::NeedsDecision { .. } | Status::Waiting { .. }) {
                let in_ms = self.rng.below(120_000);
                self.later(in_ms, Ev::Person(run.clone()));
            }
        }
    }
}
