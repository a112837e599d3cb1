//! Transitions of sessions.

use super::super::action::Key;
use super::super::event::{Event, SessionEnd, SessionExit};
use super::super::state::{Backoff, DecisionKind, Failure, FailureKind, LaneState, Next, SessionState, State, Stop};
use super::{Illegal, illegal};
use crate::budget::Amount;
use crate::ceiling::{StopReason, Window};
use crate::id::{BlobId, Commit, SessionId};
use crate::usage::Usage;
use crate::workflow::Writes;

/// Waits for a provider that fails: 5 s, 15 s, 45 s, 135 s, 405 s; then a person is asked.
const BACKOFF_FIRST_MS: u64 = 5_000;
const BACKOFF_TRIES_MAX: u32 = 5;
/// The longest wait that is taken from a provider without a question: the longest limits hold for a week.
const PROVIDER_WAIT_MAX_MS: u64 = 8 * 24 * 60 * 60 * 1000;
/// Hand-overs in a row without progress before a person is asked.
const IDLE_HAND_OVERS_MAX: u32 = 2;
/// Interrupted sessions in a row before a person is asked, without progress and in all. An agent that ends its supervisor, or
/// brings the machine down, must not repeat its effects again and again.
const IDLE_INTERRUPTIONS_MAX: u32 = 3;
const INTERRUPTIONS_MAX: u32 = 5;

impl State {
    /// No agent ran, so nothing of the lane has changed and nothing counts as a failure of the agent.
    pub(in crate::run) fn session_not_started(
        &mut self,
        id: &SessionId,
        detail: &BlobId,
        newest: Option<&Commit>,
        at_ms: u64,
    ) -> Result<(), Illegal> {
        self.own(id, "session-not-started")?;
        self.no_longer_runs(id);
        let session = self.live(id, "session-not-started")?;
        session.ended_at_ms = Some(at_ms);
        session.end = Some(SessionEnd::NotStarted);
        session.detail = Some(detail.clone());
        session.settle();
        self.lane(&id.lane, "session-not-started")?.restore_to = newest.cloned();
        // A run that ends asks nobody.
        if self.failure.is_none() {
            let kind = if newest.is_some() { DecisionKind::CheckpointLost } else { DecisionKind::NotStarted };
            self.decide_lane(kind, &id.lane, Some(detail));
        }
        Ok(())
    }

    /// The agent is gone; its lane is kept next.
    pub(in crate::run) fn session_exited(&mut self, id: &SessionId, exit: &SessionExit) -> Result<(), Illegal> {
        let live = self.live(id, "session-exited")?;
        if live.exit.is_some() {
            return illegal("session-exited", format!("session {id} has exited before"));
        }
        self.no_longer_runs(id);
        let live = self.live(id, "session-exited")?;
        live.exit = Some(Box::new(exit.clone()));
        live.settle();
        Ok(())
    }

    /// A cancelled run ends although this session's work could not be kept: its lane stays for a person.
    pub(in crate::run) fn leave_lane(&mut self, id: &SessionId, detail: &BlobId, at_ms: u64) -> Result<(), Illegal> {
        let session = self.live(id, "action-failed")?;
        session.ended_at_ms = Some(at_ms);
        session.end = Some(SessionEnd::Cancelled);
        session.detail = Some(detail.clone());
        session.transcript = session.exit.as_ref().and_then(|exit| exit.transcript.clone());
        session.not_kept = true;
        session.settle();
        Ok(())
    }

    /// Whatever was begun for a session that was still at work.
    fn no_longer_runs(&mut self, id: &SessionId) {
        self.begun.retain(|key| match key {
            Key::Session { session } | Key::HandOver { session } | Key::Stop { session } | Key::Salvage { session, .. } => {
                session != id
            }
            _ => true,
        });
    }

    pub(in crate::run) fn session_ended(&mut self, event: &Event, at_ms: u64) -> Result<(), Illegal> {
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
        // A ledger before format 5 has no exit of its own: there the end of a session was the end of its agent as well.
        if self.live(id, "session-ended")?.exit.is_some() {
            self.end_action(event, "session-ended")?;
        }
        self.no_longer_runs(id);
        let session = self.live(id, "session-ended")?;
        session.ended_at_ms = Some(at_ms);
        session.end = Some(*end);
        session.checkpoint.clone_from(checkpoint);
        session.settle();
        (session.changed, session.dropped) = (*changed, *dropped);
        session.transcript.clone_from(transcript);
        session.hand_over.clone_from(hand_over);
        session.detail.clone_from(detail);
        session.said = *said;
        session.omitted.clone_from(omitted);
        let until_ms = session.exit.as_ref().and_then(|exit| exit.provider_until_ms);

        let limit = usize::try_from(self.created.workflow.limits.sessions_max).unwrap_or(usize::MAX);
        let limits_interruptions = self.created.format >= 5;
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
        let counts = |session: &&SessionState| {
            !matches!(session.end, Some(SessionEnd::Interrupted | SessionEnd::NotStarted | SessionEnd::LaneLost))
        };
        let counted = lane.sessions[lane.counted_from..].iter().filter(counts).count();
        if *end != SessionEnd::Interrupted {
            (lane.interruptions, lane.idle_interruptions) = (0, 0);
        }
        let (mut decision, mut waits) = (None, None);
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
            SessionEnd::Provider if until_ms.is_some() => {
                let wait_ms = until_ms.unwrap_or_default().saturating_sub(at_ms).max(BACKOFF_FIRST_MS);
                if wait_ms > PROVIDER_WAIT_MAX_MS {
                    decision = Some(DecisionKind::Provider);
                    lane.backoff = None;
                } else {
                    // The provider named the time, so this does not count as a failed try.
                    let tries = lane.backoff.as_ref().map_or(0, |backoff| backoff.tries);
                    lane.backoff = Some(Backoff { since_ms: at_ms, wait_ms, tries, over: false });
                    waits = Some((lane.agent.clone(), at_ms + wait_ms));
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
            SessionEnd::DiskFull => decision = Some(DecisionKind::DiskFull),
            SessionEnd::Filtered => decision = Some(DecisionKind::FilteredFiles),
            SessionEnd::Budget => decision = Some(DecisionKind::Budget),
            // Interruptions of older formats had no limit, and their ledgers must fold to what they folded to.
            SessionEnd::Interrupted if limits_interruptions => {
                lane.interruptions += 1;
                lane.idle_interruptions = if *changed > 0 || found { 0 } else { lane.idle_interruptions + 1 };
                if lane.idle_interruptions >= IDLE_INTERRUPTIONS_MAX || lane.interruptions >= INTERRUPTIONS_MAX {
                    decision = Some(DecisionKind::Interrupted);
                }
            }
            SessionEnd::LaneLost => decision = Some(DecisionKind::LaneLost),
            SessionEnd::UsageUnknown
            | SessionEnd::Refused
            | SessionEnd::Interrupted
            | SessionEnd::Cancelled
            | SessionEnd::NotStarted => {}
        }
        if lane.done && omitted.as_ref().is_some_and(|omitted| omitted.unseen > 0) {
            decision = Some(DecisionKind::WorkOmitted);
        }
        if decision.is_none() && !lane.done && counted >= limit {
            decision = Some(DecisionKind::TooManySessions);
        }
        if let Some((agent, until_ms)) = waits {
            self.provider_says(&agent, until_ms);
        }
        if let Some(kind) = decision {
            self.decide_lane(kind, &id.lane, detail.as_ref());
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

    /// A live session of this supervisor. One of a dead supervisor was ended with it: what it says now is not believed, and
    /// nothing would come of its calls.
    pub(in crate::run) fn own(&mut self, id: &SessionId, event: &'static str) -> Result<&mut SessionState, Illegal> {
        let live = self.live(id, event)?;
        match (live.orphaned, &live.exit) {
            (true, _) => illegal(event, format!("session {id} went with its supervisor")),
            (_, Some(_)) => illegal(event, format!("the agent of session {id} has exited")),
            _ => Ok(live),
        }
    }

    pub(in crate::run) fn live(&mut self, id: &SessionId, event: &'static str) -> Result<&mut SessionState, Illegal> {
        let lane = self.lane(&id.lane, event)?;
        match lane.sessions.last_mut().filter(|session| session.id == *id && session.end.is_none()) {
            Some(session) => Ok(session),
            None => illegal(event, format!("session {id} is not under way")),
        }
    }

    pub(in crate::run) fn stop_live(&mut self, why: Stop) {
        for lane in self.phases.iter_mut().flat_map(|phase| phase.lanes.iter_mut().chain(&mut phase.reviews)) {
            if let Some(live) = lane.sessions.last_mut().filter(|session| session.end.is_none() && session.exit.is_none()) {
                live.stop.get_or_insert(why);
            }
        }
    }
}

impl SessionState {
    pub(in crate::run) fn new(id: SessionId, at_ms: u64) -> Self {
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
            exit: None,
            checkpoint_failures: 0,
            not_kept: false,
            end: None,
            checkpoint: None,
            changed: 0,
            other_model_calls: 0,
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
    pub(super) fn accept_omitted(&mut self) {
        if let Some(omitted) = self.newest_that_ran().and_then(|session| session.omitted.as_ref()) {
            self.accepted = Some(omitted.list.clone());
        }
    }
}

/// Invariant 1 in the state: the largest context of any of the session's conversations, the smallest window, and the marks.
pub(super) fn measure(
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
