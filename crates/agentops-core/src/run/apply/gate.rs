//! Transitions of gates.

use super::super::action::Key;
use super::super::event::{Event, Verdict};
use super::super::state::{DecisionKind, GateState, Next, PhaseState, Refusal, State};
use super::{Illegal, illegal};
use crate::id::{BlobId, LaneId, Name};
use crate::workflow::{Check, Writes};

/// A gate that breaks this often in a row is a person's business.
const BROKE_MAX: u32 = 2;

impl State {
    pub(in crate::run) fn gate_passed(
        &mut self,
        phase: &Name,
        gate: &Name,
        detail: Option<BlobId>,
        output: Option<BlobId>,
    ) -> Result<(), Illegal> {
        self.phase(phase, "gate-ended")?.record_gate(gate, Verdict::Passed, detail, output);
        Ok(())
    }

    pub(in crate::run) fn gate_broke(
        &mut self,
        phase: &Name,
        gate: &Name,
        detail: Option<BlobId>,
        output: Option<BlobId>,
    ) -> Result<(), Illegal> {
        let broke = self.phase(phase, "gate-ended")?.record_gate(gate, Verdict::Broke, detail.clone(), output);
        if broke % BROKE_MAX == 0 {
            self.decide_gate(DecisionKind::GateBroke, phase, gate, detail.as_ref());
        }
        Ok(())
    }

    pub(in crate::run) fn gate_refused(
        &mut self,
        phase: &Name,
        gate: &Name,
        findings: Option<BlobId>,
        output: Option<BlobId>,
        lanes: &[Name],
    ) -> Result<(), Illegal> {
        let retries = self.created.workflow.phase(phase).map_or(0, |phase| phase.retries);
        let state = self.phase(phase, "gate-ended")?;
        state.record_gate(gate, Verdict::Refused, findings.clone(), output);
        let refusal = Refusal { gate: gate.clone(), round: state.round, lanes: lanes.to_vec(), findings: findings.clone() };
        state.refusals.push(refusal);
        if state.round > retries + state.extra_rounds {
            self.decide_gate(DecisionKind::GateRefused, phase, gate, findings.as_ref());
        } else {
            state.next_round();
        }
        Ok(())
    }

    pub(in crate::run) fn gate_ended(
        &mut self,
        event: &Event,
        phase: &Name,
        gate: &Name,
        name: &'static str,
    ) -> Result<(), Illegal> {
        let at = self.created.workflow.phases.get(self.current()).map(|phase| phase.name.clone());
        if at.as_ref() != Some(phase) {
            return illegal(name, format!("phase {phase} is not under way"));
        }
        // The check of the laws does not name its gate.
        match self.end_action(event, name)? {
            Key::Gate { phase: in_phase, gate: ended, .. } if in_phase == *phase && ended == *gate => Ok(()),
            key => illegal(name, format!("{key} is under way")),
        }
    }

    pub(in crate::run) fn laws_gate(&self) -> Option<(Name, Name)> {
        let phase = self.created.workflow.phases.get(self.current())?;
        let gate = phase.gates.iter().find(|gate| gate.check == Check::Laws)?;
        Some((phase.name.clone(), gate.name.clone()))
    }
}

impl PhaseState {
    /// Keeps how a gate ended. Returns how often it broke in this round.
    fn record_gate(&mut self, gate: &Name, verdict: Verdict, detail: Option<BlobId>, output: Option<BlobId>) -> u32 {
        let before = self.gates.get(gate).map_or(0, |gate| gate.broke);
        let broke = before + u32::from(verdict == Verdict::Broke);
        self.gates.insert(gate.clone(), GateState { verdict, detail, output, broke });
        broke
    }

    /// What was wrong with the verdict of the review before this one.
    pub(in crate::run) fn unusable_review(&self, lane: &LaneId) -> Option<BlobId> {
        let of = |gate: &&Name| self.review_lane(gate) == lane.lane.as_str();
        let gate = self.gates.keys().find(of)?;
        self.gates.get(gate).filter(|gate| gate.verdict == Verdict::Broke)?.detail.clone()
    }

    /// Opens the next round: those who were refused work again on what was merged so far.
    pub(in crate::run) fn next_round(&mut self) {
        let Some(refusal) = self.refusals.last().cloned() else { return };
        self.round += 1;
        self.merged = None;
        self.gates.clear();
        self.gate_failures.clear();
        let first = self.lanes.first().map(|lane| lane.id.lane.clone());
        for lane in &mut self.lanes {
            lane.worked = false;
            let again =
                refusal.lanes.contains(&lane.id.lane) || (refusal.lanes.is_empty() && Some(&lane.id.lane) == first.as_ref());
            if again {
                lane.done = false;
                lane.counted_from = lane.sessions.len();
                let reset_to = if lane.writes == Writes::Files { self.integrated.clone() } else { None };
                lane.next = Next { hand_over: None, findings: refusal.findings.clone(), reset_to };
            }
        }
    }
}
