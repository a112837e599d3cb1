//! What must be done next, derived from the state alone.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::event::{Event, Outcome, SessionEnd, SessionExit, Verdict};
use super::state::{LaneState, Next, PhaseState, SessionState, State, Stop};
use crate::id::{Commit, LaneId, Name, SessionId};
use crate::workflow::{Check, Gate, Phase, Writes};

/// An action's idempotency key. Within a run no key is ever begun twice, except after a takeover, and then only for actions
/// that may be repeated. A key without an attempt is begun again after it failed, when a person says to go on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "step")]
pub enum Key {
    /// A lane is opened.
    Open {
        /// The lane.
        lane: LaneId,
        /// From 1.
        attempt: u32,
    },
    /// A session runs.
    Session {
        /// The session.
        session: SessionId,
    },
    /// A session is asked to hand over.
    HandOver {
        /// The session.
        session: SessionId,
    },
    /// A session is stopped.
    Stop {
        /// The session.
        session: SessionId,
    },
    /// The lane of a session whose supervisor died is saved.
    Salvage {
        /// The session.
        session: SessionId,
        /// The takeover that does it.
        takeover: u32,
    },
    /// The lane of a session whose agent has exited is kept.
    Checkpoint {
        /// The session.
        session: SessionId,
        /// From 1.
        attempt: u32,
    },
    /// The lanes of a phase are merged.
    Merge {
        /// The phase.
        phase: Name,
        /// The round through the gates.
        round: u32,
        /// From 1.
        attempt: u32,
    },
    /// A gate is checked.
    Gate {
        /// The phase.
        phase: Name,
        /// The gate.
        gate: Name,
        /// The round.
        round: u32,
        /// From 1.
        attempt: u32,
    },
    /// A phase's bundle is made.
    Bundle {
        /// The phase.
        phase: Name,
    },
    /// Learning, improvement and context are committed.
    Record,
    /// The branch is set.
    Publish,
    /// Gates under way are ended because the run ends.
    StopWork,
    /// The work trees are removed.
    CloseLanes,
    /// The run ends.
    End,
    /// The gates run on the result of a merge, after the run has ended.
    MergeTest {
        /// From 1.
        attempt: u32,
    },
    /// A lane waits for its provider.
    Backoff {
        /// The lane.
        lane: LaneId,
        /// How many times in a row the provider has failed.
        tries: u32,
    },
    /// A session's time to hand over runs out.
    HandOverLimit {
        /// The session.
        session: SessionId,
    },
}

impl fmt::Display for Key {
    /// `phase/lane/step/ordinal`, with `-` for what does not apply.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Open { lane, attempt } => write!(f, "{lane}/open/{attempt}"),
            Key::Session { session } => write!(f, "{}/session/{}", session.lane, session.ordinal),
            Key::HandOver { session } => write!(f, "{}/hand-over/{}", session.lane, session.ordinal),
            Key::Stop { session } => write!(f, "{}/stop/{}", session.lane, session.ordinal),
            Key::Salvage { session, takeover } => write!(f, "{}/salvage/{}.{takeover}", session.lane, session.ordinal),
            Key::Checkpoint { session, attempt } => write!(f, "{}/checkpoint/{}.{attempt}", session.lane, session.ordinal),
            Key::Merge { phase, round, attempt } => write!(f, "{phase}/-/merge/{round}.{attempt}"),
            Key::Gate { phase, gate, round, attempt } => write!(f, "{phase}/{gate}/gate/{round}.{attempt}"),
            Key::Bundle { phase } => write!(f, "{phase}/-/bundle/1"),
            Key::Record => f.write_str("-/-/record/1"),
            Key::Publish => f.write_str("-/-/publish/1"),
            Key::StopWork => f.write_str("-/-/stop-work/1"),
            Key::CloseLanes => f.write_str("-/-/close-lanes/1"),
            Key::End => f.write_str("-/-/end/1"),
            Key::MergeTest { attempt } => write!(f, "-/-/merge-test/{attempt}"),
            Key::Backoff { lane, tries } => write!(f, "{lane}/backoff/{tries}"),
            Key::HandOverLimit { session } => write!(f, "{}/hand-over-limit/{}", session.lane, session.ordinal),
        }
    }
}

impl Key {
    /// Whether this event is an outcome of this very action. An outcome that comes twice or too late must not end another
    /// action that looks the same.
    #[must_use]
    pub fn is_ended_by(&self, event: &Event) -> bool {
        match (self, event) {
            (_, Event::ActionFailed { key, .. }) => key == self,
            (Key::Open { lane, .. }, Event::LaneOpened { lane: of, .. } | Event::LaneFailed { lane: of, .. }) => lane == of,
            (
                Key::Session { session },
                Event::SessionExited { session: of, .. } | Event::SessionNotStarted { session: of, .. },
            )
            | (Key::Salvage { session, .. }, Event::SessionExited { session: of, .. })
            | (Key::Checkpoint { session, .. }, Event::SessionEnded { session: of, .. }) => session == of,
            (Key::Merge { phase, .. }, Event::Merged { phase: of, .. }) => phase == of,
            (Key::Merge { phase, .. }, Event::Conflict { lane, .. }) => *phase == lane.phase,
            (
                Key::Gate { phase, gate, .. },
                Event::GateEnded { phase: in_phase, gate: of, .. } | Event::ApprovalAsked { phase: in_phase, gate: of, .. },
            ) => phase == in_phase && gate == of,
            (Key::Bundle { phase }, Event::Bundled { phase: of, .. }) => phase == of,
            (Key::Gate { .. }, Event::LawsChecked { .. })
            | (Key::Record, Event::Recorded { .. })
            | (Key::Publish, Event::Published { .. })
            | (Key::CloseLanes, Event::LanesClosed)
            | (Key::End, Event::Ended { .. }) => true,
            _ => false,
        }
    }
}

/// Something for the world to do. Its outcome comes back as an event.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Make a work tree at this commit and set it up. Ends with `LaneOpened` or `LaneFailed`. May be repeated.
    OpenLane {
        /// The lane.
        lane: LaneId,
        /// The commit.
        base: Commit,
    },
    /// Run one session. Ends with `SessionExited`, or with `SessionNotStarted` where no agent ran. Never repeated: a begun
    /// session that has not exited is salvaged.
    StartSession {
        /// The session.
        session: SessionId,
        /// The agent.
        agent: Name,
        /// What it may change.
        writes: Writes,
        /// The commit its changes are counted from.
        parent: Commit,
        /// What it starts from besides task and bundle.
        next: Next,
    },
    /// Ask a session to hand over.
    AskHandOver {
        /// The session.
        session: SessionId,
    },
    /// Stop a session now.
    StopSession {
        /// The session.
        session: SessionId,
        /// Why.
        why: Stop,
    },
    /// End what may still run of a session whose supervisor died. Ends with `SessionExited`. May be repeated.
    Salvage {
        /// The session.
        session: SessionId,
    },
    /// Keep what is in the lane of a session whose agent has exited. Ends with `SessionEnded`. May be repeated: it starts no
    /// agent and reads only the ledger, the blobs and the lane's files.
    Checkpoint {
        /// The session.
        session: SessionId,
        /// What it was allowed to change.
        writes: Writes,
        /// The commit its changes are counted from.
        parent: Commit,
        /// How its agent exited.
        exit: Box<SessionExit>,
    },
    /// Merge these heads in order. Ends with `Merged` or `Conflict`. May be repeated.
    Merge {
        /// The phase.
        phase: Name,
        /// What they are merged onto.
        onto: Commit,
        /// The phase's base, against which changes are counted.
        base: Commit,
        /// Lanes and their heads.
        heads: Vec<(LaneId, Commit)>,
    },
    /// Check a gate. Ends with `GateEnded`, `ApprovalAsked` or `LawsChecked`. May be repeated.
    RunGate {
        /// The phase.
        phase: Name,
        /// The gate.
        gate: Gate,
        /// The commit that is judged.
        commit: Commit,
    },
    /// Put together what a phase hands on. Ends with `Bundled`. May be repeated.
    Bundle {
        /// The phase.
        phase: Name,
    },
    /// Commit the records. Ends with `Recorded`. May be repeated: the same state gives the same commit.
    Record {
        /// The commit they go on top of.
        onto: Commit,
    },
    /// Set the branch. Ends with `Published`. May be repeated.
    Publish {
        /// The commit.
        commit: Commit,
    },
    /// End gates under way.
    StopWork,
    /// Remove the work trees. Ends with `LanesClosed`. May be repeated.
    CloseLanes,
    /// Nothing to do in the world: the run ends with `Ended`.
    End {
        /// How.
        outcome: Outcome,
    },
}

/// A durable timer: it fires once, `wait_ms` after `since_ms`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timer {
    /// Its key.
    pub key: Key,
    /// Unix milliseconds of the event that set it.
    pub since_ms: u64,
    /// How long, in milliseconds.
    pub wait_ms: u64,
}

impl State {
    /// Everything that must be started now: due in this state and not begun.
    #[must_use]
    pub fn actions(&self) -> Vec<(Key, Action)> {
        let mut due = Vec::new();
        if self.outcome.is_none() {
            self.tend_sessions(&mut due);
            if self.cancelled || self.failure.is_some() {
                self.wind_down(&mut due);
            } else if !self.asks_about_run() {
                self.go_on(&mut due);
            }
        }
        due.retain(|(key, _)| !self.begun.contains(key) && !self.failed.contains(key));
        due
    }

    /// Timers that are set in this state.
    #[must_use]
    pub fn timers(&self) -> Vec<Timer> {
        let mut timers = Vec::new();
        if self.outcome.is_some() {
            return timers;
        }
        let Some(phase) = self.phases.get(self.current()) else { return timers };
        for lane in phase.all_lanes() {
            if let Some(backoff) = lane.backoff.as_ref().filter(|backoff| !backoff.over) {
                let key = Key::Backoff { lane: lane.id.clone(), tries: backoff.tries };
                timers.push(Timer { key, since_ms: backoff.since_ms, wait_ms: backoff.wait_ms });
            }
            let Some(session) = lane.live().filter(|session| session.stop.is_none() && session.is_running()) else {
                continue;
            };
            if let Some(since_ms) = session.hand_over_since_ms {
                let wait_ms = self.created.workflow.limits.hand_over_seconds_max * 1000;
                timers.push(Timer { key: Key::HandOverLimit { session: session.id.clone() }, since_ms, wait_ms });
            }
        }
        timers
    }

    /// What live sessions need, whatever else happens.
    fn tend_sessions(&self, due: &mut Vec<(Key, Action)>) {
        let Some(phase) = self.phases.get(self.current()) else { return };
        for lane in phase.all_lanes() {
            let Some(live) = lane.live() else { continue };
            let session = live.id.clone();
            if !live.is_running() {
                if !self.asks_about(&lane.id) {
                    due.push(self.keep(lane, live));
                }
            } else if let Some(why) = live.stop {
                due.push((Key::Stop { session: session.clone() }, Action::StopSession { session, why }));
            } else if live.hand_over_since_ms.is_some() {
                due.push((Key::HandOver { session: session.clone() }, Action::AskHandOver { session }));
            }
        }
    }

    /// The agent of a session is gone: its lane is kept. Where its supervisor died, what may still run of it ends first.
    fn keep(&self, lane: &LaneState, of: &SessionState) -> (Key, Action) {
        let session = of.id.clone();
        let Some(exit) = of.exit.clone() else {
            let key = Key::Salvage { session: session.clone(), takeover: self.takeovers };
            return (key, Action::Salvage { session });
        };
        let key = Key::Checkpoint { session: session.clone(), attempt: of.checkpoint_failures + 1 };
        (key, Action::Checkpoint { session, writes: lane.writes, parent: self.parent(lane), exit })
    }

    /// The run ends before its time: everything under way ends first.
    fn wind_down(&self, due: &mut Vec<(Key, Action)>) {
        let under_way = self.begun.iter().any(|key| *key != Key::StopWork);
        let live = self.phases.iter().flat_map(PhaseState::all_lanes).any(|lane| lane.live().is_some());
        if under_way || live {
            due.push((Key::StopWork, Action::StopWork));
        } else {
            let outcome = if self.cancelled { Outcome::Cancelled } else { Outcome::Failed };
            self.finish(outcome, due);
        }
    }

    fn finish(&self, outcome: Outcome, due: &mut Vec<(Key, Action)>) {
        if self.lanes_closed {
            due.push((Key::End, Action::End { outcome }));
        } else {
            due.push((Key::CloseLanes, Action::CloseLanes));
        }
    }

    fn go_on(&self, due: &mut Vec<(Key, Action)>) {
        let at = self.current();
        let (Some(phase), Some(state)) = (self.created.workflow.phases.get(at), self.phases.get(at)) else {
            return match (&self.recorded, &self.published) {
                (None, _) => due.push((Key::Record, Action::Record { onto: self.tip().clone() })),
                (Some(commit), None) => due.push((Key::Publish, Action::Publish { commit: commit.clone() })),
                _ => self.finish(Outcome::Done, due),
            };
        };
        for lane in state.lanes.iter().filter(|lane| !lane.done && !self.asks_about(&lane.id)) {
            self.drive_lane(lane, self.tip(), due);
        }
        // What comes after the lanes is one step after the other, so it waits for every question of the phase.
        let asks = self.decisions.iter().any(|decision| decision.phase == phase.name);
        if asks || state.lanes.iter().any(|lane| !lane.done) {
            return;
        }
        let Some(merged) = &state.merged else {
            return due.push(self.merge(phase, state));
        };
        let open = |gate: &&Gate| state.gates.get(&gate.name).is_none_or(|gate| gate.verdict != Verdict::Passed);
        match phase.gates.iter().find(open) {
            Some(gate) => self.drive_gate(phase, state, gate, merged, due),
            None => due.push((Key::Bundle { phase: phase.name.clone() }, Action::Bundle { phase: phase.name.clone() })),
        }
    }

    /// Opens the lane or starts its next session.
    fn drive_lane(&self, lane: &LaneState, base: &Commit, due: &mut Vec<(Key, Action)>) {
        if lane.backoff.as_ref().is_some_and(|backoff| !backoff.over) || lane.live().is_some() {
            return;
        }
        if lane.opened.is_none() {
            let key = Key::Open { lane: lane.id.clone(), attempt: lane.open_failures + 1 };
            return due.push((key, Action::OpenLane { lane: lane.id.clone(), base: base.clone() }));
        }
        let ordinal = u32::try_from(lane.sessions.len()).unwrap_or(u32::MAX - 1) + 1;
        let session = SessionId { lane: lane.id.clone(), ordinal };
        let start = Action::StartSession {
            session: session.clone(),
            agent: lane.agent.clone(),
            writes: lane.writes,
            parent: self.parent(lane),
            next: lane.next.clone(),
        };
        due.push((Key::Session { session }, start));
    }

    /// The commit that a lane's next changes are counted from.
    fn parent(&self, lane: &LaneState) -> Commit {
        let parent = lane.next.reset_to.as_ref().or(lane.head.as_ref()).or(lane.opened.as_ref());
        parent.unwrap_or_else(|| self.tip()).clone()
    }

    fn merge(&self, phase: &Phase, state: &PhaseState) -> (Key, Action) {
        let base = self.tip().clone();
        let heads = state.lanes.iter().filter(|lane| lane.worked);
        let heads = heads.filter_map(|lane| Some((lane.id.clone(), lane.head.clone()?))).collect();
        let key = Key::Merge {
            phase: phase.name.clone(),
            round: state.round,
            attempt: state.conflicts + state.merge_failures + 1,
        };
        let onto = state.integrated.clone().unwrap_or_else(|| base.clone());
        (key, Action::Merge { phase: phase.name.clone(), onto, base, heads })
    }

    fn drive_gate(&self, phase: &Phase, state: &PhaseState, gate: &Gate, commit: &Commit, due: &mut Vec<(Key, Action)>) {
        if state.approval.is_some() {
            return;
        }
        if let Check::Review { agent } = &gate.check {
            let name = state.review_lane(&gate.name);
            let Some(lane) = state.reviews.iter().find(|lane| lane.id.lane.as_str() == name) else {
                // The lane comes into being when its opening has begun; until then it is as new.
                let Ok(lane) = name.parse() else { return };
                let id = LaneId { phase: phase.name.clone(), lane };
                return self.drive_lane(&LaneState::new(id, agent.clone(), Writes::Artifacts), commit, due);
            };
            if !lane.done {
                return self.drive_lane(lane, commit, due);
            }
        }
        let broke = state.gates.get(&gate.name).map_or(0, |gate| gate.broke);
        let failures = state.gate_failures.get(&gate.name).copied().unwrap_or_default();
        let (phase, round) = (phase.name.clone(), state.round);
        let key = Key::Gate { phase: phase.clone(), gate: gate.name.clone(), round, attempt: broke + failures + 1 };
        due.push((key, Action::RunGate { phase, gate: gate.clone(), commit: commit.clone() }));
    }
}

impl SessionEnd {
    /// Ends after which the next session starts from a hand-over because the context was used up.
    #[must_use]
    pub fn is_hand_over(self) -> bool {
        matches!(self, SessionEnd::HandedOver | SessionEnd::Ceiling | SessionEnd::HandOverTimeout | SessionEnd::ContextLost)
    }
}
