//! The transitions. Every event is checked against the state: what cannot have happened is refused, not folded.

use std::sync::Arc;

use super::action::Key;
use super::event::{Created, Event, Intent, Outcome, SessionEnd, Verdict};
use super::state::{
    Approval, Backoff, Bundle, Compared, Decision, DecisionKind, Failure, FailureKind, GateState, LaneState, Next,
    PhaseState, Refusal, SessionState, State, Stop,
};
use crate::budget::Amount;
use crate::ceiling::{StopReason, Window};
use crate::id::{BlobId, LaneId, Name, SessionId};
use crate::usage::Usage;
use crate::workflow::{Check, Writes};

/// An event that does not fit the state it is applied to. From a ledger it means damage; from a person it means that what
/// they answered is no longer asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{event} does not fit: {why}")]
pub struct Illegal {
    /// The event.
    pub event: &'static str,
    /// Why not.
    pub why: String,
}

pub(super) fn illegal<T>(event: &'static str, why: impl Into<String>) -> Result<T, Illegal> {
    Err(Illegal { event, why: why.into() })
}

/// Waits for a provider that fails: 5 s, 15 s, 45 s, 135 s, 405 s; then a person is asked.
const BACKOFF_FIRST_MS: u64 = 5_000;
const BACKOFF_TRIES_MAX: u32 = 5;
/// Hand-overs in a row without progress before a person is asked.
const IDLE_HAND_OVERS_MAX: u32 = 2;
/// A gate that breaks this often in a row is a person's business.
const BROKE_MAX: u32 = 2;

impl State {
    /// The state after a run's first event.
    ///
    /// # Errors
    /// The event is not `Created`, or its format is newer than this program.
    pub fn first(event: &Event, at_ms: u64) -> Result<State, Illegal> {
        let Event::Created(created) = event else { return illegal("the first event", "a ledger begins with `created`") };
        Ok(State::new(created, at_ms))
    }

    fn new(created: &Created, at_ms: u64) -> State {
        State {
            phases: created.workflow.phases.iter().map(PhaseState::new).collect(),
            // Shared: a state is cloned for every event, and this part of it never changes.
            created: Arc::new(created.clone()),
            created_at_ms: at_ms,
            last_at_ms: at_ms,
            events: 1,
            begun: Default::default(),
            waits_for_slot: Default::default(),
            decision: None,
            more_decisions: Vec::new(),
            failed: Default::default(),
            cancelled: false,
            failure: None,
            recorded: None,
            published: None,
            laws: None,
            lanes_closed: false,
            outcome: None,
            closing: None,
            takeovers: 0,
            raised: Default::default(),
            records: Default::default(),
            compared: Vec::new(),
        }
    }

    /// Folds one event, or refuses it and is as before.
    ///
    /// # Errors
    /// The event does not fit.
    pub fn try_apply(&mut self, event: &Event, at_ms: u64) -> Result<(), Illegal> {
        // Most events are calls and their grants, and those change nothing before everything about them was checked: no copy.
        if matches!(event, Event::Call { .. } | Event::Granted { .. }) {
            return self.apply(event, at_ms);
        }
        let mut next = self.clone();
        next.apply(event, at_ms)?;
        *self = next;
        Ok(())
    }

    /// Folds one event.
    ///
    /// # Errors
    /// The event does not fit; the state is as before, except that a partly applied event leaves it unusable, so callers that
    /// must survive a refusal use [`Self::try_apply`].
    pub fn apply(&mut self, event: &Event, at_ms: u64) -> Result<(), Illegal> {
        if self.outcome.is_some() && !matches!(event, Event::Closed { .. } | Event::Orphaned) {
            return illegal("an event", "the run has ended");
        }
        match event {
            Event::Created(_) => return illegal("created", "the run exists"),
            Event::Began { key } => self.began(key, at_ms)?,
            Event::Orphaned => self.orphaned(),
            Event::LaneOpened { lane, base } => {
                self.ended(|key| matches!(key, Key::Open { lane: opened, .. } if opened == lane), "lane-opened")?;
                self.lane(lane, "lane-opened")?.opened = Some(base.clone());
            }
            Event::LaneFailed { lane, detail } => {
                self.ended(|key| matches!(key, Key::Open { lane: opened, .. } if opened == lane), "lane-failed")?;
                self.lane(lane, "lane-failed")?.open_failures += 1;
                self.decide(DecisionKind::LaneFailed, lane, Some(detail));
            }
            Event::SlotAwaited { key } => {
                if !self.begun.contains(key) || self.waits_for_slot.insert(key.clone(), at_ms).is_some() {
                    return illegal("slot-awaited", format!("{key} does not begin to wait now"));
                }
            }
            Event::SlotTaken { key } => self.slot_taken(key, at_ms)?,
            Event::SessionReady { session, facts } => {
                let live = self.own(session, "session-ready")?;
                live.window = facts.window;
                live.facts = Some(facts.clone());
            }
            Event::Granted { session, amount } => {
                let live = self.own(session, "granted")?;
                live.granted = live.granted.plus(*amount);
            }
            Event::Call { session, usage, context, window, sub_agent, stop, row } => {
                let live = self.own(session, "call")?;
                measure(live, *usage, *context, *window, *sub_agent, *stop, at_ms);
                live.charge(row.as_deref(), *usage, *context);
            }
            Event::RepositoryRecorded { during, record } => {
                if !self.begun.contains(during) {
                    return illegal("repository-recorded", format!("{during} is not under way"));
                }
                self.records.insert(during.clone(), record.clone());
            }
            Event::RepositoryCompared { during, changes, count, after_takeover } => {
                if self.records.remove(during).is_none() {
                    return illegal("repository-compared", format!("there is no record for {during}"));
                }
                let (during, changes) = (during.clone(), changes.clone());
                self.compared.push(Compared { during, changes, count: *count, after_takeover: *after_takeover });
            }
            Event::SessionEnded { .. } => self.session_ended(event, at_ms)?,
            Event::Merged { phase, commit, changed } => {
                self.ended(|key| matches!(key, Key::Merge { phase: merged, .. } if merged == phase), "merged")?;
                let state = self.phase(phase, "merged")?;
                state.changed = *changed;
                state.merged = Some(commit.clone());
                state.integrated = Some(commit.clone());
            }
            Event::Conflict { lane, onto, detail } => {
                self.ended(|key| matches!(key, Key::Merge { phase, .. } if *phase == lane.phase), "conflict")?;
                let state = self.phase(&lane.phase, "conflict")?;
                state.conflicts += 1;
                state.integrated = Some(onto.clone());
                for merged in state.lanes.iter_mut().take_while(|merged| merged.id != *lane) {
                    merged.worked = false;
                }
                self.decide(DecisionKind::Conflict, lane, Some(detail));
            }
            Event::ApprovalAsked { phase, gate, shown } => {
                self.gate_ended(phase, gate, "approval-asked")?;
                if self.created.approve.covers(phase) {
                    self.gate_passed(phase, gate, None, None)?;
                } else {
                    let approval = Approval { gate: gate.clone(), shown: shown.clone(), since_ms: at_ms };
                    self.phase(phase, "approval-asked")?.approval = Some(approval);
                }
            }
            Event::GateEnded { phase, gate, verdict, detail, output, lanes } => {
                self.gate_ended(phase, gate, "gate-ended")?;
                match verdict {
                    Verdict::Passed => self.gate_passed(phase, gate, detail.clone(), output.clone())?,
                    Verdict::Refused => self.gate_refused(phase, gate, detail.clone(), output.clone(), lanes)?,
                    Verdict::Broke => self.gate_broke(phase, gate, detail.clone(), output.clone())?,
                }
            }
            Event::LawsChecked { held, detail } => {
                let Some((phase, gate)) = self.laws_gate() else {
                    return illegal("laws-checked", "no gate checks the laws now");
                };
                self.gate_ended(&phase, &gate, "laws-checked")?;
                self.laws = Some(*held);
                if held.iter().all(|held| *held) {
                    self.gate_passed(&phase, &gate, detail.clone(), None)?;
                } else {
                    self.gate_refused(&phase, &gate, detail.clone(), None, &[])?;
                }
            }
            Event::Bundled { phase, bundle, before, after, manifest, kept_permille } => {
                self.ended(|key| matches!(key, Key::Bundle { phase: bundled } if bundled == phase), "bundled")?;
                let state = self.phase(phase, "bundled")?;
                state.ended_at_ms = Some(at_ms);
                state.bundle = Some(Bundle {
                    blob: bundle.clone(),
                    before: *before,
                    after: *after,
                    manifest: manifest.clone(),
                    kept_permille: *kept_permille,
                });
            }
            Event::Recorded { commit } => {
                self.ended(|key| *key == Key::Record, "recorded")?;
                self.recorded = Some(commit.clone());
            }
            Event::Published { commit } => {
                self.ended(|key| *key == Key::Publish, "published")?;
                self.published = Some(commit.clone());
            }
            Event::ActionFailed { key, detail } => {
                self.ended(|begun| begun == key, "action-failed")?;
                let index = self.current().min(self.phases.len().saturating_sub(1));
                let phase = self.created.workflow.phases[index].name.clone();
                self.failed.insert(key.clone());
                let detail = Some(detail.clone());
                // Even of a run that is being cancelled: somebody must know that it does not get on.
                self.ask(Decision { kind: DecisionKind::ActionFailed, phase, place: None, detail });
            }
            Event::LanesClosed => {
                self.ended(|key| *key == Key::CloseLanes, "lanes-closed")?;
                self.lanes_closed = true;
            }
            Event::Intent(intent) => self.intent(intent)?,
            Event::TimerFired { key } => self.fired(key)?,
            Event::Ended { outcome } => self.end(*outcome, at_ms)?,
            Event::Closed { closing } => {
                if self.outcome.is_none() || self.closing.is_some() {
                    return illegal("closed", "only a run that has ended is closed, and once");
                }
                self.closing = Some(closing.clone());
            }
        }
        self.waits_for_slot.retain(|key, _| self.begun.contains(key));
        self.last_at_ms = at_ms;
        self.events += 1;
        Ok(())
    }

    /// What waited runs from now on: waiting is no work.
    fn slot_taken(&mut self, key: &Key, at_ms: u64) -> Result<(), Illegal> {
        if self.waits_for_slot.remove(key).is_none() {
            return illegal("slot-taken", format!("{key} does not wait for a slot"));
        }
        if let Key::Session { session } = key {
            self.live(session, "slot-taken")?.began_at_ms = at_ms;
        }
        Ok(())
    }

    fn began(&mut self, key: &Key, at_ms: u64) -> Result<(), Illegal> {
        if !self.begun.insert(key.clone()) {
            return illegal("began", format!("{key} was begun before"));
        }
        match key {
            Key::Session { session } => {
                let lane = self.lane(&session.lane, "began")?;
                let next = u32::try_from(lane.sessions.len()).unwrap_or(u32::MAX - 1) + 1;
                if lane.live().is_some() || lane.opened.is_none() || lane.done || session.ordinal != next {
                    return illegal("began", format!("session {session} cannot start now"));
                }
                lane.backoff = lane.backoff.take().filter(|backoff| backoff.over);
                if let Some(commit) = lane.next.reset_to.clone() {
                    lane.head = Some(commit);
                }
                lane.sessions.push(SessionState::new(session.clone(), at_ms));
            }
            Key::Open { lane, .. } => {
                let (reviewer, tip) = (self.reviewer(lane), self.tip().clone());
                let state = self.phase(&lane.phase, "began")?;
                state.base.get_or_insert(tip);
                state.started_at_ms.get_or_insert(at_ms);
                if let Some(agent) = reviewer.filter(|_| !state.all_lanes().any(|known| known.id == *lane)) {
                    state.reviews.push(LaneState::new(lane.clone(), agent, Writes::Artifacts));
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The agent of a review lane in the present round.
    fn reviewer(&self, lane: &LaneId) -> Option<Name> {
        let index = self.created.workflow.phases.iter().position(|phase| phase.name == lane.phase)?;
        let state = &self.phases[index];
        self.created.workflow.phases[index].gates.iter().find_map(|gate| match &gate.check {
            Check::Review { agent } if state.review_lane(&gate.name) == lane.lane.as_str() => Some(agent.clone()),
            _ => None,
        })
    }

    fn orphaned(&mut self) {
        self.takeovers += 1;
        self.begun.clear();
        // A session that waited for its slot never ran: it begins anew, and nothing of it is to be salvaged.
        for key in std::mem::take(&mut self.waits_for_slot).into_keys() {
            if let Key::Session { session } = key
                && let Some(lane) = self.lane_mut(&session.lane)
            {
                lane.sessions.pop_if(|last| last.id == session && last.end.is_none());
            }
        }
        self.failed.clear();
        for lane in self.phases.iter_mut().flat_map(|phase| phase.lanes.iter_mut().chain(&mut phase.reviews)) {
            if let Some(session) = lane.sessions.last_mut().filter(|session| session.end.is_none()) {
                session.orphaned = true;
            }
        }
    }

    fn session_ended(&mut self, event: &Event, at_ms: u64) -> Result<(), Illegal> {
        let Event::SessionEnded {
            session: id,
            end,
            checkpoint,
            changed,
            dropped,
            artifacts,
            hand_over,
            transcript,
            detail,
            said,
            omitted,
        } = event
        else {
            return illegal("session-ended", "another event");
        };
        self.begun.retain(|key| match key {
            Key::Session { session } | Key::HandOver { session } | Key::Stop { session } | Key::Salvage { session, .. } => {
                session != id
            }
            _ => true,
        });
        let session = self.live(id, "session-ended")?;
        session.ended_at_ms = Some(at_ms);
        session.end = Some(*end);
        session.settle();
        (session.changed, session.dropped) = (*changed, *dropped);
        session.transcript.clone_from(transcript);
        session.hand_over.clone_from(hand_over);
        session.detail.clone_from(detail);
        session.said = *said;
        session.omitted.clone_from(omitted);

        let limit = usize::try_from(self.created.workflow.limits.sessions_max).unwrap_or(usize::MAX);
        let retries = self.created.workflow.phase(&id.lane.phase).map_or(0, |phase| phase.retries);
        let lane = self.lane(&id.lane, "session-ended")?;
        // Up to format 4 the checkpoint of such a session held the raw content of filtered files: it is never built upon.
        if checkpoint.is_some() && (*end != SessionEnd::Filtered || omitted.is_some()) {
            lane.head.clone_from(checkpoint);
            lane.worked = true;
        }
        let found = artifacts.iter().any(|(name, blob)| lane.artifacts.get(name) != Some(blob));
        lane.artifacts.extend(artifacts.clone());
        lane.next.reset_to = None;
        lane.next.hand_over.clone_from(hand_over);
        let counted =
            lane.sessions[lane.counted_from..].iter().filter(|session| session.end != Some(SessionEnd::Interrupted)).count();
        let mut decision = None;
        match end {
            SessionEnd::Completed => {
                (lane.done, lane.failures, lane.idle_hand_overs, lane.backoff) = (true, 0, 0, None);
                lane.next = Next::default();
            }
            SessionEnd::HandedOver | SessionEnd::Ceiling | SessionEnd::HandOverTimeout | SessionEnd::ContextLost => {
                lane.backoff = None;
                lane.idle_hand_overs = if *changed > 0 || found { 0 } else { lane.idle_hand_overs + 1 };
                if lane.idle_hand_overs >= IDLE_HAND_OVERS_MAX {
                    decision = Some(DecisionKind::NoProgress);
                }
            }
            SessionEnd::Hung | SessionEnd::TimeLimit | SessionEnd::Failed => {
                lane.failures += 1;
                if lane.failures > retries {
                    decision = Some(DecisionKind::AgentFailed);
                }
            }
            SessionEnd::Provider => {
                let tries = lane.backoff.as_ref().map_or(0, |backoff| backoff.tries) + 1;
                if tries > BACKOFF_TRIES_MAX {
                    decision = Some(DecisionKind::Provider);
                    lane.backoff = None;
                } else {
                    let wait_ms = BACKOFF_FIRST_MS * 3u64.pow(tries - 1);
                    lane.backoff = Some(Backoff { since_ms: at_ms, wait_ms, tries, over: false });
                }
            }
            SessionEnd::NotLoggedIn => decision = Some(DecisionKind::NotLoggedIn),
            SessionEnd::Filtered => decision = Some(DecisionKind::FilteredFiles),
            SessionEnd::Budget => decision = Some(DecisionKind::Budget),
            SessionEnd::UsageUnknown | SessionEnd::Refused | SessionEnd::Interrupted | SessionEnd::Cancelled => {}
        }
        if lane.done && omitted.as_ref().is_some_and(|omitted| omitted.unseen > 0) {
            decision = Some(DecisionKind::WorkOmitted);
        }
        if decision.is_none() && !lane.done && counted >= limit {
            decision = Some(DecisionKind::TooManySessions);
        }
        if let Some(kind) = decision {
            self.decide(kind, &id.lane, detail.as_ref());
        }
        let failed = match end {
            SessionEnd::UsageUnknown => Some(FailureKind::UsageUnknown),
            SessionEnd::Refused => Some(FailureKind::Refused),
            _ => None,
        };
        if let Some(kind) = failed {
            self.failure = Some(Failure { kind, session: id.clone(), detail: detail.clone() });
            self.stop_live(Stop::Cancelled);
        }
        // Where nothing is merged, a phase's result is its base.
        let tip = self.tip().clone();
        let (_, phase) =
            self.phase_mut(&id.lane.phase).ok_or(Illegal { event: "session-ended", why: "no such phase".into() })?;
        if phase.lanes.iter().all(|lane| lane.done && lane.writes == Writes::Artifacts) {
            phase.merged = Some(tip);
        }
        Ok(())
    }

    fn gate_passed(
        &mut self,
        phase: &Name,
        gate: &Name,
        detail: Option<BlobId>,
        output: Option<BlobId>,
    ) -> Result<(), Illegal> {
        let state = self.phase(phase, "gate-ended")?;
        let broke = state.gates.get(gate).map_or(0, |gate| gate.broke);
        state.gates.insert(gate.clone(), GateState { verdict: Verdict::Passed, detail, output, broke });
        Ok(())
    }

    fn gate_broke(
        &mut self,
        phase: &Name,
        gate: &Name,
        detail: Option<BlobId>,
        output: Option<BlobId>,
    ) -> Result<(), Illegal> {
        let state = self.phase(phase, "gate-ended")?;
        let broke = state.gates.get(gate).map_or(0, |gate| gate.broke) + 1;
        state.gates.insert(gate.clone(), GateState { verdict: Verdict::Broke, detail: detail.clone(), output, broke });
        if broke % BROKE_MAX == 0 && !self.cancelled {
            let lane = LaneId { phase: phase.clone(), lane: gate.clone() };
            self.decide(DecisionKind::GateBroke, &lane, detail.as_ref());
        }
        Ok(())
    }

    fn gate_refused(
        &mut self,
        phase: &Name,
        gate: &Name,
        findings: Option<BlobId>,
        output: Option<BlobId>,
        lanes: &[Name],
    ) -> Result<(), Illegal> {
        let retries = self.created.workflow.phase(phase).map_or(0, |phase| phase.retries);
        let state = self.phase(phase, "gate-ended")?;
        let broke = state.gates.get(gate).map_or(0, |gate| gate.broke);
        let detail = findings.clone();
        state.gates.insert(gate.clone(), GateState { verdict: Verdict::Refused, detail, output, broke });
        let refusal = Refusal { gate: gate.clone(), round: state.round, lanes: lanes.to_vec(), findings: findings.clone() };
        state.refusals.push(refusal);
        if state.round > retries + state.extra_rounds {
            let place = LaneId { phase: phase.clone(), lane: gate.clone() };
            self.decide(DecisionKind::GateRefused, &place, findings.as_ref());
        } else {
            state.next_round();
        }
        Ok(())
    }

    fn intent(&mut self, intent: &Intent) -> Result<(), Illegal> {
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
                if self.cancelled {
                    return illegal("cancel", "the run is being cancelled");
                }
                (self.cancelled, self.decision) = (true, None);
                self.more_decisions.clear();
                self.failed.clear();
                self.stop_live(Stop::Cancelled);
            }
            Intent::Raise { scope, limits } => self.raise(scope, *limits)?,
            Intent::Resume => {
                let Some(decision) = self.decision.take() else {
                    return illegal("resume", "the run does not wait for a decision");
                };
                self.failed.clear();
                self.resume(&decision)?;
                for decision in std::mem::take(&mut self.more_decisions) {
                    self.resume(&decision)?;
                }
            }
        }
        Ok(())
    }

    /// A person says "go on": the counter that stopped the run begins anew.
    fn resume(&mut self, decision: &Decision) -> Result<(), Illegal> {
        let state = self.phase(&decision.phase, "resume")?;
        match decision.kind {
            DecisionKind::GateRefused => {
                state.extra_rounds += 1;
                state.next_round();
            }
            DecisionKind::GateBroke => {}
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

    fn fired(&mut self, key: &Key) -> Result<(), Illegal> {
        match key {
            Key::Backoff { lane, tries } => {
                let waiting = self.lane(lane, "timer-fired")?.backoff.as_mut();
                match waiting.filter(|backoff| backoff.tries == *tries && !backoff.over) {
                    Some(backoff) => backoff.over = true,
                    None => return illegal("timer-fired", format!("{key} is not set")),
                }
            }
            Key::HandOverLimit { session } => {
                let live = self.live(session, "timer-fired")?;
                if live.stop.is_some() || live.hand_over_since_ms.is_none() {
                    return illegal("timer-fired", format!("{key} is not set"));
                }
                live.stop = Some(Stop::HandOverTimeout);
            }
            _ => return illegal("timer-fired", format!("{key} is no timer")),
        }
        Ok(())
    }

    fn end(&mut self, outcome: Outcome, at_ms: u64) -> Result<(), Illegal> {
        self.ended(|key| *key == Key::End, "ended")?;
        let allowed = match outcome {
            // The only edge to `done`, and it passes the laws.
            Outcome::Done => self.laws == Some([true; 5]) && self.recorded.is_some() && self.published == self.recorded,
            Outcome::Failed => self.failure.is_some(),
            Outcome::Cancelled => self.cancelled,
        };
        if !allowed || !self.lanes_closed {
            return illegal("ended", format!("the run is not {outcome:?}"));
        }
        self.outcome = Some((outcome, at_ms));
        Ok(())
    }

    /// Takes out the one begun key that an outcome belongs to.
    fn ended(&mut self, of: impl Fn(&Key) -> bool, event: &'static str) -> Result<(), Illegal> {
        let Some(key) = self.begun.iter().find(|key| of(key)).cloned() else {
            return illegal(event, "no such action is under way");
        };
        self.begun.remove(&key);
        Ok(())
    }

    fn gate_ended(&mut self, phase: &Name, gate: &Name, event: &'static str) -> Result<(), Illegal> {
        let at = self.created.workflow.phases.get(self.current()).map(|phase| phase.name.clone());
        if at.as_ref() != Some(phase) {
            return illegal(event, format!("phase {phase} is not under way"));
        }
        self.ended(|key| matches!(key, Key::Gate { phase: p, gate: g, .. } if p == phase && g == gate), event)
    }

    fn laws_gate(&self) -> Option<(Name, Name)> {
        let phase = self.created.workflow.phases.get(self.current())?;
        let gate = phase.gates.iter().find(|gate| gate.check == Check::Laws)?;
        Some((phase.name.clone(), gate.name.clone()))
    }

    fn decide(&mut self, kind: DecisionKind, place: &LaneId, detail: Option<&BlobId>) {
        if self.cancelled {
            return;
        }
        let (phase, place) = (place.phase.clone(), Some(place.lane.clone()));
        self.ask(Decision { kind, phase, place, detail: detail.cloned() });
    }

    fn ask(&mut self, decision: Decision) {
        match &self.decision {
            None => self.decision = Some(decision),
            Some(_) => self.more_decisions.push(decision),
        }
    }

    fn stop_live(&mut self, why: Stop) {
        for lane in self.phases.iter_mut().flat_map(|phase| phase.lanes.iter_mut().chain(&mut phase.reviews)) {
            if let Some(live) = lane.sessions.last_mut().filter(|session| session.end.is_none()) {
                live.stop.get_or_insert(why);
            }
        }
    }

    fn phase(&mut self, name: &Name, event: &'static str) -> Result<&mut PhaseState, Illegal> {
        match self.phase_mut(name) {
            Some((_, phase)) => Ok(phase),
            None => illegal(event, format!("there is no phase {name}")),
        }
    }

    fn lane(&mut self, id: &LaneId, event: &'static str) -> Result<&mut LaneState, Illegal> {
        match self.lane_mut(id) {
            Some(lane) => Ok(lane),
            None => illegal(event, format!("there is no lane {id}")),
        }
    }

    /// A live session of this supervisor. One of a dead supervisor was ended with it: what it says now is not believed, and
    /// nothing would come of its calls.
    fn own(&mut self, id: &SessionId, event: &'static str) -> Result<&mut SessionState, Illegal> {
        let live = self.live(id, event)?;
        if live.orphaned { illegal(event, format!("session {id} went with its supervisor")) } else { Ok(live) }
    }

    fn live(&mut self, id: &SessionId, event: &'static str) -> Result<&mut SessionState, Illegal> {
        let lane = self.lane(&id.lane, event)?;
        match lane.sessions.last_mut().filter(|session| session.id == *id && session.end.is_none()) {
            Some(session) => Ok(session),
            None => illegal(event, format!("session {id} is not under way")),
        }
    }
}

impl PhaseState {
    /// Opens the next round: those who were refused work again on what was merged so far.
    fn next_round(&mut self) {
        let Some(refusal) = self.refusals.last().cloned() else { return };
        self.round += 1;
        self.merged = None;
        self.gates.clear();
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

impl SessionState {
    fn new(id: SessionId, at_ms: u64) -> Self {
        Self {
            id,
            began_at_ms: at_ms,
            ended_at_ms: None,
            orphaned: false,
            facts: None,
            largest: 0,
            window: None,
            usage: Usage::default(),
            calls: 0,
            spent: Amount::ZERO,
            granted: Amount::ZERO,
            hand_over_since_ms: None,
            stop: None,
            end: None,
            changed: 0,
            dropped: 0,
            transcript: None,
            hand_over: None,
            detail: None,
            said: None,
            omitted: None,
        }
    }
}

impl LaneState {
    /// A person has seen what the newest checkpoint does not hold.
    fn accept_omitted(&mut self) {
        if let Some(omitted) = self.sessions.last().and_then(|session| session.omitted.as_ref()) {
            self.accepted = Some(omitted.list.clone());
        }
    }
}

/// Invariant 1 in the state: the largest context of any of the session's conversations, the smallest window, and the marks.
fn measure(
    session: &mut SessionState,
    usage: Option<Usage>,
    context: u64,
    window: u64,
    sub_agent: bool,
    stop: Option<StopReason>,
    at_ms: u64,
) {
    session.calls += 1;
    session.largest = session.largest.max(context);
    session.usage.add(usage.unwrap_or_default());
    // Zero means unknown: it must not take the ceiling away.
    session.window = [session.window, Some(window)].into_iter().flatten().filter(|window| *window > 0).min();
    if let Some(reason) = stop {
        session.stop.get_or_insert(Stop::Meter(reason));
    }
    let Some(window) = session.window.and_then(Window::new) else { return };
    if context >= window.ceiling() {
        session.stop.get_or_insert(Stop::Meter(StopReason::Ceiling));
    } else if context >= window.soft_mark() && !sub_agent {
        session.hand_over_since_ms.get_or_insert(at_ms);
    }
}
