//! The transitions. Every event is checked against the state: what cannot have happened is refused, not folded.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::action::Key;
use super::event::{Created, Event, Outcome, Verdict};
use super::state::{
    Approval, Bundle, Compared, Decision, DecisionKind, DecisionScope, LaneState, PhaseState, SessionState, State, Stop,
};
use crate::id::{BlobId, LaneId, Name};
use crate::workflow::{Check, Writes};

mod gate;
mod intent;
mod provider;
mod session;

use session::measure;

/// Failed checkpoints of a session after which a cancelled run ends without one. The lane stays then.
const CANCELLED_CHECKPOINTS_MAX: u32 = 2;

/// What waits for the answer to a question.
struct Subject {
    scope: DecisionScope,
    phase: Name,
    place: Option<Name>,
}

impl Subject {
    fn is_subject_of(&self, decision: &Decision) -> bool {
        (self.scope, &self.phase, &self.place) == (decision.scope, &decision.phase, &decision.place)
    }
}

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

/// What can happen after the end of a run: it is merged, with a test before, or discarded.
fn is_of_an_ended_run(event: &Event) -> bool {
    match event {
        Event::Closed { .. } | Event::Orphaned | Event::ProgramsAgreed { .. } => true,
        Event::RepositoryRecorded { during, .. } | Event::RepositoryCompared { during, .. } => {
            matches!(during, Key::MergeTest { .. })
        }
        _ => false,
    }
}

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
            decisions: Vec::new(),
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
            provider_waits: BTreeMap::new(),
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
        if self.outcome.is_some() && !is_of_an_ended_run(event) {
            return illegal("an event", "the run has ended");
        }
        match event {
            Event::Created(_) => return illegal("created", "the run exists"),
            Event::Began { key } => self.began(key, at_ms)?,
            Event::Orphaned => self.orphaned(),
            Event::LaneOpened { lane, base } => {
                self.end_action(event, "lane-opened")?;
                self.lane(lane, "lane-opened")?.opened = Some(base.clone());
            }
            Event::LaneFailed { lane, detail } => {
                self.end_action(event, "lane-failed")?;
                self.lane(lane, "lane-failed")?.open_failures += 1;
                self.decide_lane(DecisionKind::LaneFailed, lane, Some(detail));
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
                live.other_model_calls += u64::from(row.as_ref().is_some_and(|row| row.is_by_another_model()));
            }
            Event::RepositoryRecorded { during, record } => {
                let may_begin = match during {
                    Key::MergeTest { .. } => self.outcome.is_some() && !self.is_recorded(during),
                    _ => self.begun.contains(during),
                };
                if !may_begin {
                    return illegal("repository-recorded", format!("{during} is not under way"));
                }
                self.records.insert(during.clone(), record.clone());
            }
            Event::RepositoryCompared { during, changes, count, after_takeover, left: _ } => {
                if self.records.remove(during).is_none() {
                    return illegal("repository-compared", format!("there is no record for {during}"));
                }
                let (during, changes) = (during.clone(), changes.clone());
                self.compared.push(Compared { during, changes, count: *count, after_takeover: *after_takeover });
            }
            Event::SessionNotStarted { session, detail, newest } => {
                self.end_action(event, "session-not-started")?;
                self.session_not_started(session, detail, newest.as_ref(), at_ms)?
            }
            Event::SessionExited { session, exit } => {
                self.end_action(event, "session-exited")?;
                self.session_exited(session, exit)?;
            }
            Event::SessionEnded { .. } => self.session_ended(event, at_ms)?,
            Event::Merged { phase, commit, changed } => {
                self.end_action(event, "merged")?;
                let state = self.phase(phase, "merged")?;
                state.changed = *changed;
                state.merged = Some(commit.clone());
                state.integrated = Some(commit.clone());
            }
            Event::Conflict { lane, onto, detail } => {
                self.end_action(event, "conflict")?;
                let state = self.phase(&lane.phase, "conflict")?;
                state.conflicts += 1;
                state.integrated = Some(onto.clone());
                for merged in state.lanes.iter_mut().take_while(|merged| merged.id != *lane) {
                    merged.worked = false;
                }
                self.decide_lane(DecisionKind::Conflict, lane, Some(detail));
            }
            Event::ApprovalAsked { phase, gate, shown } => {
                self.gate_ended(event, phase, gate, "approval-asked")?;
                if self.created.approve.covers(phase) {
                    self.gate_passed(phase, gate, None, None)?;
                } else {
                    let approval = Approval { gate: gate.clone(), shown: shown.clone(), since_ms: at_ms };
                    self.phase(phase, "approval-asked")?.approval = Some(approval);
                }
            }
            Event::GateEnded { phase, gate, verdict, detail, output, lanes } => {
                self.gate_ended(event, phase, gate, "gate-ended")?;
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
                self.gate_ended(event, &phase, &gate, "laws-checked")?;
                self.laws = Some(*held);
                if held.iter().all(|held| *held) {
                    self.gate_passed(&phase, &gate, detail.clone(), None)?;
                } else {
                    self.gate_refused(&phase, &gate, detail.clone(), None, &[])?;
                }
            }
            Event::Bundled { phase, bundle, before, after, manifest, kept_permille } => {
                self.end_action(event, "bundled")?;
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
                self.end_action(event, "recorded")?;
                self.recorded = Some(commit.clone());
            }
            Event::Published { commit } => {
                self.end_action(event, "published")?;
                self.published = Some(commit.clone());
            }
            Event::ActionFailed { key, detail } => {
                self.end_action(event, "action-failed")?;
                self.action_failed(key, detail, at_ms)?;
            }
            Event::LanesClosed => {
                self.end_action(event, "lanes-closed")?;
                self.lanes_closed = true;
            }
            Event::Intent(intent) => self.intent(intent)?,
            Event::TimerFired { key } => self.fired(key)?,
            Event::Ended { outcome } => {
                self.end_action(event, "ended")?;
                self.end(*outcome, at_ms)?;
            }
            // It is about the repository, and the list of open changes is made from it.
            Event::ProgramsAgreed { .. } => {
                if self.outcome.is_none() {
                    return illegal("programs-agreed", "only a run that has ended is merged");
                }
            }
            Event::Closed { closing } => {
                if self.outcome.is_none() || self.closing.is_some() {
                    return illegal("closed", "only a run that has ended is closed, and once");
                }
                self.closing = Some(closing.clone());
            }
        }
        self.waits_for_slot.retain(|key, _| self.begun.contains(key));
        self.wait_for_providers(at_ms);
        self.last_at_ms = at_ms;
        self.events += 1;
        Ok(())
    }

    /// The action has its slot. Its time starts now, because waiting for a slot is not work.
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
                    let before = state.unusable_review(lane);
                    let mut review = LaneState::new(lane.clone(), agent, Writes::Artifacts);
                    review.next.findings = before;
                    state.reviews.push(review);
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

    /// Whether the user's repository was recorded before this action.
    fn is_recorded(&self, during: &Key) -> bool {
        self.records.contains_key(during) || self.compared.iter().any(|compared| compared.during == *during)
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
            // One whose agent has exited is not lost with its supervisor: only its lane is still to be kept.
            if let Some(session) = lane.sessions.last_mut().filter(|session| session.end.is_none() && session.exit.is_none())
            {
                session.orphaned = true;
            }
        }
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

    /// Takes out the one begun key that this event ends, by the rule of [`Key::is_ended_by`].
    fn end_action(&mut self, event: &Event, name: &'static str) -> Result<Key, Illegal> {
        let mut ended = self.begun.iter().filter(|key| key.is_ended_by(event));
        let Some(key) = ended.next().cloned() else {
            return illegal(name, "no such action is under way");
        };
        if ended.next().is_some() {
            return illegal(name, "it would end more than one action");
        }
        self.begun.remove(&key);
        Ok(key)
    }

    /// A step of ours failed. What it is about waits for a person; nothing that had ended before runs again.
    fn action_failed(&mut self, key: &Key, detail: &BlobId, at_ms: u64) -> Result<(), Illegal> {
        self.count_failure(key)?;
        if let Key::Checkpoint { session, .. } = key
            && self.cancelled
        {
            // The person has decided already: the checkpoint is due again, under its next number, or the run ends without it.
            if self.live(session, "action-failed")?.checkpoint_failures >= CANCELLED_CHECKPOINTS_MAX {
                self.leave_lane(session, detail, at_ms)?;
            }
            return Ok(());
        }
        let Subject { scope, phase, place } = self.about(key);
        let kind = match key {
            Key::Checkpoint { .. } => DecisionKind::CheckpointFailed,
            _ => DecisionKind::ActionFailed,
        };
        self.failed.insert(key.clone());
        // Even of a run that is being cancelled: somebody must know that it does not get on.
        self.decisions.push(Decision { kind, scope, phase, place, detail: Some(detail.clone()) });
        Ok(())
    }

    /// What a question about this action is about.
    fn about(&self, key: &Key) -> Subject {
        let (scope, phase, place) = match key {
            Key::Open { lane, .. } | Key::Backoff { lane, .. } => {
                (DecisionScope::Lane, lane.phase.clone(), Some(lane.lane.clone()))
            }
            Key::Session { session }
            | Key::HandOver { session }
            | Key::Stop { session }
            | Key::Salvage { session, .. }
            | Key::Checkpoint { session, .. }
            | Key::HandOverLimit { session } => {
                (DecisionScope::Lane, session.lane.phase.clone(), Some(session.lane.lane.clone()))
            }
            Key::Gate { phase, gate, .. } => (DecisionScope::Gate, phase.clone(), Some(gate.clone())),
            Key::Merge { phase, .. } | Key::Bundle { phase } => (DecisionScope::Run, phase.clone(), None),
            Key::Record | Key::Publish | Key::StopWork | Key::CloseLanes | Key::End | Key::MergeTest { .. } => {
                let index = self.current().min(self.phases.len().saturating_sub(1));
                (DecisionScope::Run, self.created.workflow.phases[index].name.clone(), None)
            }
        };
        Subject { scope, phase, place }
    }

    /// A failed action is over: the next attempt has a number of its own.
    fn count_failure(&mut self, key: &Key) -> Result<(), Illegal> {
        match key {
            Key::Open { lane, .. } => self.lane(lane, "action-failed")?.open_failures += 1,
            Key::Checkpoint { session, .. } => self.live(session, "action-failed")?.checkpoint_failures += 1,
            Key::Merge { phase, .. } => self.phase(phase, "action-failed")?.merge_failures += 1,
            Key::Gate { phase, gate, .. } => {
                *self.phase(phase, "action-failed")?.gate_failures.entry(gate.clone()).or_default() += 1;
            }
            _ => {}
        }
        Ok(())
    }

    fn decide_lane(&mut self, kind: DecisionKind, lane: &LaneId, detail: Option<&BlobId>) {
        self.decide(kind, DecisionScope::Lane, &lane.phase, &lane.lane, detail);
    }

    fn decide_gate(&mut self, kind: DecisionKind, phase: &Name, gate: &Name, detail: Option<&BlobId>) {
        self.decide(kind, DecisionScope::Gate, phase, gate, detail);
    }

    fn decide(&mut self, kind: DecisionKind, scope: DecisionScope, phase: &Name, place: &Name, detail: Option<&BlobId>) {
        if !self.cancelled {
            let (phase, place) = (phase.clone(), Some(place.clone()));
            self.decisions.push(Decision { kind, scope, phase, place, detail: detail.cloned() });
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
}
