//! States that a person understands.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::action::Key;
use super::event::Outcome;
use super::state::{Decision, Failure, PhaseState, State};
use crate::id::{BlobId, LaneId, Name, RunId};

/// The state of a run in a person's words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "status")]
pub enum Status {
    /// Something is under way. Only true while a supervisor holds the lock.
    Running,
    /// Nothing is under way until something comes.
    Waiting {
        /// For what.
        waiting: Waiting,
    },
    /// A person must decide.
    NeedsDecision {
        /// What about.
        decision: Decision,
    },
    /// The branch is there; gates and laws held.
    Done,
    /// It could not go on.
    Failed {
        /// Why.
        failure: Failure,
    },
    /// A person ended it.
    Cancelled,
}

/// What a run waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "for")]
pub enum Waiting {
    /// A person's approval.
    Approval {
        /// The phase.
        phase: Name,
        /// What is to be approved.
        shown: BlobId,
        /// Since when, Unix milliseconds.
        since_ms: u64,
    },
    /// A provider that failed; tried again at this time.
    Provider {
        /// Unix milliseconds.
        until_ms: u64,
    },
    /// A slot: as many sessions and gates as may run on this machine do. It goes on by itself.
    Slot {
        /// Since when, Unix milliseconds.
        since_ms: u64,
    },
    /// `agentops resume`: no supervisor runs that has this run's environment.
    Supervisor,
}

/// The largest share of one session, for the report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Share {
    /// The run.
    pub run: RunId,
    /// The lane.
    pub lane: LaneId,
    /// Thousandths of the window; `None`: unknown.
    pub permille: Option<u64>,
}

impl State {
    /// The status. `supervised`: a supervisor works on the run, in the environment that was lent to it.
    #[must_use]
    pub fn status(&self, supervised: bool) -> Status {
        match (&self.outcome, &self.failure) {
            (Some((Outcome::Done, _)), _) => return Status::Done,
            (Some((Outcome::Cancelled, _)), _) => return Status::Cancelled,
            (Some((Outcome::Failed, _)), Some(failure)) => return Status::Failed { failure: failure.clone() },
            _ => {}
        }
        // What is under way ends by itself, so that is what the run does, whatever else waits for a person.
        let working = self.begun.iter().any(|key| *key != Key::StopWork);
        if !working {
            let phase = self.phases.get(self.current());
            // A run that winds down takes no approval any more: what it waits for is how to end.
            let winds_down = self.cancelled || self.failure.is_some();
            if let Some(approval) = phase.and_then(|phase| phase.approval.as_ref()).filter(|_| !winds_down) {
                let (shown, since_ms) = (approval.shown.clone(), approval.since_ms);
                let phase = self.created.workflow.phases[self.current()].name.clone();
                return Status::Waiting { waiting: Waiting::Approval { phase, shown, since_ms } };
            }
            let lanes = phase.into_iter().flat_map(PhaseState::all_lanes);
            let waits = lanes.filter_map(|lane| lane.backoff.as_ref()).filter(|backoff| !backoff.over);
            let next_try = waits.map(|backoff| backoff.since_ms + backoff.wait_ms).min();
            match (self.decisions.first(), next_try) {
                (_, Some(until_ms)) if supervised && self.actions().is_empty() && !self.asks_about_run() => {
                    return Status::Waiting { waiting: Waiting::Provider { until_ms } };
                }
                (Some(decision), _) => return Status::NeedsDecision { decision: decision.clone() },
                _ => {}
            }
        }
        if !supervised {
            return Status::Waiting { waiting: Waiting::Supervisor };
        }
        match self.waits_for_slot.values().min() {
            Some(since_ms) if self.waits_for_slot.len() == self.begun.len() => {
                Status::Waiting { waiting: Waiting::Slot { since_ms: *since_ms } }
            }
            _ => Status::Running,
        }
    }
}
