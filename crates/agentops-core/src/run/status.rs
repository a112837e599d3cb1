//! States that a person understands.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::action::Key;
use super::event::Outcome;
use super::state::{Decision, Failure, SessionState, State};
use crate::id::{BlobId, LaneId, Name, RunId, SessionId};

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
        let phase = self.phases.get(self.current());
        // A session that went with its supervisor is under way only as long as its salvage is.
        let salvaged =
            |id: &SessionId| self.begun.iter().any(|key| matches!(key, Key::Salvage { session, .. } if session == id));
        let under_way = |session: &SessionState| !session.orphaned || salvaged(&session.id);
        let live = phase.is_some_and(|phase| phase.all_lanes().any(|lane| lane.live().is_some_and(under_way)));
        if let Some(decision) = self.decision.as_ref().filter(|_| !live) {
            return Status::NeedsDecision { decision: decision.clone() };
        }
        if let (false, Some(phase)) = (live, phase) {
            if let Some(approval) = &phase.approval {
                let (shown, since_ms) = (approval.shown.clone(), approval.since_ms);
                let name = self.created.workflow.phases[self.current()].name.clone();
                return Status::Waiting { waiting: Waiting::Approval { phase: name, shown, since_ms } };
            }
            let waits = phase.all_lanes().filter_map(|lane| lane.backoff.as_ref()).filter(|backoff| !backoff.over);
            if let (true, Some(until_ms)) = (
                supervised && self.actions().is_empty() && self.begun.is_empty(),
                waits.map(|backoff| backoff.since_ms + backoff.wait_ms).min(),
            ) {
                return Status::Waiting { waiting: Waiting::Provider { until_ms } };
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
