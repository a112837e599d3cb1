//! What a person says.

use super::super::event::Intent;
use super::super::state::{Decision, DecisionKind, LaneState, Next, State, Stop};
use super::{Illegal, illegal};

impl State {
    pub(in crate::run) fn intent(&mut self, intent: &Intent) -> Result<(), Illegal> {
        match intent {
            Intent::Approve { shown } | Intent::Reject { shown, .. } => {
                let index = self.current();
                let asked = self.phases.get(index).and_then(|phase| phase.approval.clone());
                let Some(approval) = asked.filter(|_| !self.cancelled) else {
                    return illegal("the answer", "nothing waits for an approval");
                };
                if approval.shown != *shown {
                    return illegal("the answer", "what waits for approval has changed since it was shown");
                }
                self.phases[index].approval = None;
                let phase = self.created.workflow.phases[index].name.clone();
                match intent {
                    Intent::Reject { message, .. } => {
                        self.gate_refused(&phase, &approval.gate, Some(message.clone()), None, &[])?
                    }
                    _ => self.gate_passed(&phase, &approval.gate, Some(approval.shown), None)?,
                }
            }
            Intent::Cancel => {
                // Cancelling again answers what the run asks about its end.
                if self.cancelled && self.decisions.is_empty() {
                    return illegal("cancel", "the run is being cancelled");
                }
                self.cancelled = true;
                self.decisions.clear();
                self.failed.clear();
                self.stop_live(Stop::Cancelled);
            }
            Intent::Raise { scope, limits } => self.raise(scope, *limits)?,
            Intent::Resume { decisions } => {
                let is_answered = |asked: &Decision| decisions.as_ref().is_none_or(|answered| answered.contains(asked));
                let (answered, open): (Vec<_>, Vec<_>) =
                    std::mem::take(&mut self.decisions).into_iter().partition(is_answered);
                // A cancelled run once asked about its first failed checkpoint: the answer in its ledger has nothing to answer.
                if answered.is_empty() && !self.cancelled {
                    return illegal("resume", "the run does not wait for this decision");
                }
                self.decisions = open;
                for decision in answered {
                    self.try_again(&decision);
                    self.resume(&decision)?;
                }
                if self.decisions.is_empty() {
                    self.failed.clear();
                }
            }
        }
        Ok(())
    }

    /// Failed actions that this question was about may start again, unless another open question is about them as well.
    fn try_again(&mut self, decision: &Decision) {
        let mut failed = std::mem::take(&mut self.failed);
        failed.retain(|key| {
            let about = self.about(key);
            !about.is_subject_of(decision) || self.decisions.iter().any(|open| about.is_subject_of(open))
        });
        self.failed = failed;
    }

    /// A person says "go on": the counter that stopped the run begins anew.
    pub(in crate::run) fn resume(&mut self, decision: &Decision) -> Result<(), Illegal> {
        if decision.kind == DecisionKind::Provider {
            // The person wants it to be asked again, whatever it said.
            self.provider_waits.clear();
        }
        let state = self.phase(&decision.phase, "resume")?;
        match decision.kind {
            DecisionKind::GateRefused => {
                state.extra_rounds += 1;
                state.next_round();
            }
            // What failed is due again by itself: its beginning is not on record any more. A review is made anew.
            DecisionKind::GateBroke | DecisionKind::ActionFailed | DecisionKind::CheckpointFailed => {}
            DecisionKind::WorkOmitted => {
                let lanes = state.lanes.iter_mut().chain(&mut state.reviews);
                lanes.filter(|lane| Some(&lane.id.lane) == decision.place.as_ref()).for_each(LaneState::accept_omitted);
            }
            DecisionKind::Conflict => {
                let reset_to = state.integrated.clone();
                let place = decision.place.as_ref();
                if let Some(lane) = state.lanes.iter_mut().find(|lane| Some(&lane.id.lane) == place) {
                    (lane.done, lane.worked) = (false, false);
                    lane.counted_from = lane.sessions.len();
                    lane.next = Next { hand_over: None, findings: decision.detail.clone(), reset_to };
                }
            }
            _ => {
                let place = decision.place.as_ref();
                let lanes = state.lanes.iter_mut().chain(&mut state.reviews);
                for lane in lanes.filter(|lane| Some(&lane.id.lane) == place) {
                    (lane.idle_hand_overs, lane.failures, lane.backoff) = (0, 0, None);
                    (lane.interruptions, lane.idle_interruptions) = (0, 0);
                    if let Some(newest) = lane.restore_to.take() {
                        lane.next.reset_to = Some(newest);
                    }
                    lane.counted_from = lane.sessions.len();
                    if decision.kind == DecisionKind::FilteredFiles {
                        lane.next.findings.clone_from(&decision.detail);
                        if lane.sessions.last().is_some_and(|session| session.omitted.is_some()) {
                            // The checkpoint has everything else, and the filtered files stay in the lane.
                            lane.accept_omitted();
                        } else {
                            lane.next.reset_to = lane.head.clone().or_else(|| lane.opened.clone());
                        }
                    }
                }
            }
        }
        Ok(())
    }
}
