//! The fold of a run's ledger.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::action::Key;
use super::event::{Closing, Created, Omitted, Outcome, SessionEnd, SessionExit, SessionFacts, Verdict};
use crate::budget::{Amount, Limits, Scope};
use crate::ceiling::StopReason;
use crate::id::{BlobId, Commit, LaneId, Name, SessionId};
use crate::usage::Usage;
use crate::workflow::{Phase, Writes};

/// A run as its ledger tells it.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    /// What was fixed at the start.
    pub created: Arc<Created>,
    /// When it started, in Unix milliseconds.
    pub created_at_ms: u64,
    /// When the last event came, in Unix milliseconds.
    pub last_at_ms: u64,
    /// Events folded so far.
    pub events: u64,
    /// One entry a phase of the workflow, in order.
    pub phases: Vec<PhaseState>,
    /// Actions that were begun and have not ended.
    pub begun: BTreeSet<Key>,
    /// Actions under way that wait for a slot, and since when, in Unix milliseconds.
    pub waits_for_slot: BTreeMap<Key, u64>,
    /// What persons must decide, oldest first. Each stops only what it is about: a lane, a gate, or the run.
    pub decisions: Vec<Decision>,
    /// Actions that failed; none of them starts again before a person says so or another supervisor takes over.
    pub failed: BTreeSet<Key>,
    /// A person wants it to end.
    pub cancelled: bool,
    /// Why it cannot go on.
    pub failure: Option<Failure>,
    /// The close-out commit.
    pub recorded: Option<Commit>,
    /// The commit the branch points at.
    pub published: Option<Commit>,
    /// The laws, as last checked.
    pub laws: Option<[bool; 5]>,
    /// Work trees are gone.
    pub lanes_closed: bool,
    /// How it ended, and when.
    pub outcome: Option<(Outcome, u64)>,
    /// What became of the result.
    pub closing: Option<Closing>,
    /// Times a supervisor took the run over from a dead one.
    pub takeovers: u32,
    /// Limits that a person raised; they hold instead of the workflow's.
    pub raised: BTreeMap<Scope, Limits>,
    /// Records of the user's repository that are not compared yet, by what was about to run.
    pub records: BTreeMap<Key, BlobId>,
    /// What was compared, in order.
    pub compared: Vec<Compared>,
    /// Until when the providers of these programs take no calls, as they said, in Unix milliseconds.
    pub provider_waits: BTreeMap<Name, u64>,
}

/// A comparison of the user's repository before and after something ran.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compared {
    /// What ran.
    pub during: Key,
    /// The differences; `None`: there are none.
    pub changes: Option<BlobId>,
    /// Number of differences.
    pub count: u32,
    /// The supervisor died in between.
    pub after_takeover: bool,
}

/// One phase of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct PhaseState {
    /// The commit it starts from; set when its first lane is opened.
    pub base: Option<Commit>,
    /// Work lanes, in the workflow's order.
    pub lanes: Vec<LaneState>,
    /// Review lanes of every round, oldest first, each named after its gate and round.
    pub reviews: Vec<LaneState>,
    /// Rounds through the gates: 1, and one more for every refusal.
    pub round: u32,
    /// Rounds a person allowed on top of the workflow's.
    pub extra_rounds: u32,
    /// The lanes' work merged, with the round it is of.
    pub merged: Option<Commit>,
    /// Files that differ from the base.
    pub changed: u32,
    /// What was merged in any round so far: later rounds build on it.
    pub integrated: Option<Commit>,
    /// Gates that ended in this round.
    pub gates: BTreeMap<Name, GateState>,
    /// Every refusal so far: the gate, the round, and who must do it again with which findings.
    pub refusals: Vec<Refusal>,
    /// Merges that ended in a conflict.
    pub conflicts: u32,
    /// Merges that this machine could not make.
    pub merge_failures: u32,
    /// Checks of each gate in this round that this machine could not make. They say nothing about the judged commit.
    pub gate_failures: BTreeMap<Name, u32>,
    /// What is waiting for a person.
    pub approval: Option<Approval>,
    /// What it hands on.
    pub bundle: Option<Bundle>,
    /// When its first lane opened and when its bundle was made, in Unix milliseconds.
    pub started_at_ms: Option<u64>,
    /// See `started_at_ms`.
    pub ended_at_ms: Option<u64>,
}

/// What a phase hands on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// Its blob.
    pub blob: BlobId,
    /// Tokens that the phase's sessions held in their contexts, summed.
    pub before: u64,
    /// Tokens of the bundle: of o200k, or estimated from its bytes up to format 2.
    pub after: u64,
    /// Its manifest; absent up to format 2.
    pub manifest: Option<BlobId>,
    /// The share of must-keep facts that survived, in thousandths; absent where nothing is known of it.
    pub kept_permille: Option<u64>,
}

/// A gate that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GateState {
    /// The verdict.
    pub verdict: Verdict,
    /// Findings.
    pub detail: Option<BlobId>,
    /// The program's output.
    pub output: Option<BlobId>,
    /// How often it broke in this round.
    pub broke: u32,
}

/// A gate's refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The gate.
    pub gate: Name,
    /// The round it refused in.
    pub round: u32,
    /// Lanes that must do it again; empty: the phase's first.
    pub lanes: Vec<Name>,
    /// What they must know.
    pub findings: Option<BlobId>,
}

/// Something that a person must approve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    /// The gate.
    pub gate: Name,
    /// What is shown.
    pub shown: BlobId,
    /// Since when, in Unix milliseconds.
    pub since_ms: u64,
}

/// One lane: a chain of sessions.
#[derive(Debug, Clone, PartialEq)]
pub struct LaneState {
    /// The lane.
    pub id: LaneId,
    /// Its agent.
    pub agent: Name,
    /// What it may change.
    pub writes: Writes,
    /// The commit its work tree was opened with.
    pub opened: Option<Commit>,
    /// How often its work tree could not be made.
    pub open_failures: u32,
    /// Its sessions, oldest first.
    pub sessions: Vec<SessionState>,
    /// The newest checkpoint.
    pub head: Option<Commit>,
    /// Nothing more to do in this round.
    pub done: bool,
    /// It worked in this round, so its head must be merged.
    pub worked: bool,
    /// What the next session starts from.
    pub next: Next,
    /// Documents as of the newest session.
    pub artifacts: BTreeMap<String, BlobId>,
    /// Hand-overs in a row without a changed file or a new finding.
    pub idle_hand_overs: u32,
    /// Failed sessions in a row.
    pub failures: u32,
    /// Interrupted sessions in a row.
    pub interruptions: u32,
    /// Interrupted sessions in a row without a changed file or a new document.
    pub idle_interruptions: u32,
    /// The newest commit of the lane that still exists; set while a person is asked because a newer checkpoint is gone.
    pub restore_to: Option<Commit>,
    /// Sessions before this index do not count towards the limit: a person allowed more.
    pub counted_from: usize,
    /// The list of what its checkpoints do not hold that a person accepted last.
    pub accepted: Option<BlobId>,
    /// It waits, since and for how long, in milliseconds: the provider failed.
    pub backoff: Option<Backoff>,
}

/// A lane waits for its provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backoff {
    /// Since, in Unix milliseconds.
    pub since_ms: u64,
    /// How long, in milliseconds.
    pub wait_ms: u64,
    /// How many times in a row the provider has failed without saying until when.
    pub tries: u32,
    /// The wait is over.
    pub over: bool,
}

/// What the next session of a lane starts from besides task and bundle.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Next {
    /// The hand-over of the session before.
    pub hand_over: Option<BlobId>,
    /// Findings of a gate that refused.
    pub findings: Option<BlobId>,
    /// The lane's files are set to this commit first.
    pub reset_to: Option<Commit>,
}

/// One session.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionState {
    /// The session.
    pub id: SessionId,
    /// When it began, in Unix milliseconds.
    pub began_at_ms: u64,
    /// When it ended.
    pub ended_at_ms: Option<u64>,
    /// The supervisor that ran it died: its lane must be salvaged.
    pub orphaned: bool,
    /// What is known of it once its program is up.
    pub facts: Option<SessionFacts>,
    /// Largest context of a call of its own, in tokens.
    pub largest: u64,
    /// The smallest window any call was measured against.
    pub window: Option<u64>,
    /// Calls whose usage is known, summed; sub-agents included.
    pub usage: Usage,
    /// Calls reported.
    pub calls: u64,
    /// What its calls were charged. Those that went by no gateway have no known price.
    pub spent: Amount,
    /// What it was granted and its calls have not been charged yet.
    pub granted: Amount,
    /// When it was told to hand over.
    pub hand_over_since_ms: Option<u64>,
    /// It must be stopped.
    pub stop: Option<Stop>,
    /// How its agent exited; its lane is kept after that.
    pub exit: Option<Box<SessionExit>>,
    /// How often its lane could not be kept.
    pub checkpoint_failures: u32,
    /// Its run was cancelled, and its checkpoint failed: what it did is in its lane alone.
    pub not_kept: bool,
    /// How it ended; set when its lane is kept.
    pub end: Option<SessionEnd>,
    /// The lane's files at its end.
    pub checkpoint: Option<Commit>,
    /// Files that it changed.
    pub changed: u32,
    /// Calls that another model answered than was asked for.
    pub other_model_calls: u64,
    /// Changes that were dropped.
    pub dropped: u32,
    /// Transcript.
    pub transcript: Option<BlobId>,
    /// The hand-over it wrote or that was made of it.
    pub hand_over: Option<BlobId>,
    /// What a person should know.
    pub detail: Option<BlobId>,
    /// What the program said that its calls used, where that is not what the gateway saw.
    pub said: Option<Usage>,
    /// What is in its lane and not in its checkpoint.
    pub omitted: Option<Omitted>,
}

/// Why a session must be stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// The meter says so.
    Meter(StopReason),
    /// It did not hand over in time.
    HandOverTimeout,
    /// The run was cancelled.
    Cancelled,
}

/// What a person must decide.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Decision {
    /// The question.
    pub kind: DecisionKind,
    /// What waits for the answer; everything else goes on.
    pub scope: DecisionScope,
    /// The phase.
    pub phase: Name,
    /// The lane or the gate; absent where the run waits.
    pub place: Option<Name>,
    /// More about it.
    pub detail: Option<BlobId>,
}

/// What waits for a person's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DecisionScope {
    /// One lane. Other lanes of its phase go on.
    Lane,
    /// One gate.
    Gate,
    /// The whole run.
    Run,
}

/// Questions a run can stop at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DecisionKind {
    /// Two hand-overs in a row changed and found nothing.
    NoProgress,
    /// The lane has used up its sessions.
    TooManySessions,
    /// A gate refused more often than the workflow allows.
    GateRefused,
    /// A gate could not be checked, twice.
    GateBroke,
    /// A lane does not merge.
    Conflict,
    /// A session changed files with content filters.
    FilteredFiles,
    /// The lane holds work that is in no checkpoint.
    WorkOmitted,
    /// The agent program is not logged in.
    NotLoggedIn,
    /// The provider failed again and again.
    Provider,
    /// The agent program failed again and again.
    AgentFailed,
    /// A budget is spent.
    Budget,
    /// The lane could not be set up.
    LaneFailed,
    /// Git or the disk refused something.
    ActionFailed,
    /// An agent has exited and its work could not be kept.
    CheckpointFailed,
    /// This machine could not start a session's agent.
    NotStarted,
    /// The lane's sessions were interrupted again and again.
    Interrupted,
    /// A checkpoint of the lane is gone.
    CheckpointLost,
    /// The lane was gone before a session's work was kept.
    LaneLost,
    /// The agent program failed while a disk that it writes to was full.
    DiskFull,
}

/// Why a run cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Failure {
    /// What.
    pub kind: FailureKind,
    /// The session.
    pub session: SessionId,
    /// More about it.
    pub detail: Option<BlobId>,
}

/// Reasons for which going on would break a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// The agent does not say what its calls use, so the ceiling cannot be held.
    UsageUnknown,
    /// Window unknown or too small.
    Refused,
}

impl PhaseState {
    pub(super) fn new(phase: &Phase) -> Self {
        let lanes = phase
            .lanes
            .iter()
            .map(|lane| {
                LaneState::new(
                    LaneId { phase: phase.name.clone(), lane: lane.name.clone() },
                    lane.agent.clone(),
                    phase.writes,
                )
            })
            .collect();
        Self {
            base: None,
            lanes,
            reviews: Vec::new(),
            round: 1,
            extra_rounds: 0,
            merged: None,
            changed: 0,
            integrated: None,
            gates: BTreeMap::new(),
            refusals: Vec::new(),
            conflicts: 0,
            merge_failures: 0,
            gate_failures: BTreeMap::new(),
            approval: None,
            bundle: None,
            started_at_ms: None,
            ended_at_ms: None,
        }
    }

    /// The name of a review gate's lane in the present round. After a verdict that could not be used, the next review runs in
    /// a new lane: to read the same verdict again would change nothing.
    #[must_use]
    pub fn review_lane(&self, gate: &Name) -> String {
        let again = match self.gates.get(gate).map_or(0, |gate| gate.broke) {
            0 => String::new(),
            broke => format!("-r{}", broke + 1),
        };
        let suffix = format!("-{}{again}", self.round);
        let gate = gate.as_str();
        format!("{}{suffix}", &gate[..gate.len().min(Name::LENGTH_MAX - suffix.len())])
    }

    /// Work lanes and review lanes.
    pub fn all_lanes(&self) -> impl Iterator<Item = &LaneState> {
        self.lanes.iter().chain(&self.reviews)
    }
}

impl LaneState {
    pub(super) fn new(id: LaneId, agent: Name, writes: Writes) -> Self {
        Self {
            id,
            agent,
            writes,
            opened: None,
            open_failures: 0,
            sessions: Vec::new(),
            head: None,
            done: false,
            worked: false,
            next: Next::default(),
            artifacts: BTreeMap::new(),
            idle_hand_overs: 0,
            failures: 0,
            interruptions: 0,
            idle_interruptions: 0,
            restore_to: None,
            counted_from: 0,
            accepted: None,
            backoff: None,
        }
    }

    /// Its newest session in which an agent ran.
    #[must_use]
    pub fn newest_that_ran(&self) -> Option<&SessionState> {
        self.sessions.iter().rfind(|session| session.end.is_some_and(|end| end != SessionEnd::NotStarted))
    }

    /// Whether its files hold work that no checkpoint holds and that no person has accepted as lost.
    #[must_use]
    pub fn holds_unkept_work(&self) -> bool {
        let omitted = self.newest_that_ran().and_then(|session| session.omitted.as_ref());
        let omits = omitted.is_some_and(|omitted| omitted.unseen > 0 && self.accepted.as_ref() != Some(&omitted.list));
        omits || self.sessions.iter().any(|session| session.not_kept)
    }

    /// The session that has not ended.
    #[must_use]
    pub fn live(&self) -> Option<&SessionState> {
        self.sessions.last().filter(|session| session.end.is_none())
    }
}

impl SessionState {
    /// Whether its agent may be at work under the present supervisor.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.end.is_none() && self.exit.is_none() && !self.orphaned
    }

    /// Largest share of the window in thousandths; `None`: no call was measured.
    #[must_use]
    pub fn permille(&self) -> Option<u64> {
        let window = crate::ceiling::Window::new(self.window?)?;
        (self.calls > 0).then(|| window.permille(self.largest))
    }
}

impl State {
    /// The index of the phase that is under way; the number of phases when all are over.
    #[must_use]
    pub fn current(&self) -> usize {
        self.phases.iter().position(|phase| phase.bundle.is_none()).unwrap_or(self.phases.len())
    }

    /// The newest commit that passed its phase: what the next phase starts from.
    #[must_use]
    pub fn tip(&self) -> &Commit {
        let over = self.phases.iter().rev().filter(|phase| phase.bundle.is_some());
        over.filter_map(|phase| phase.merged.as_ref()).next().unwrap_or(&self.created.base)
    }

    /// Every session of the run, oldest lane first.
    pub fn sessions(&self) -> impl Iterator<Item = (&LaneState, &SessionState)> {
        self.phases
            .iter()
            .flat_map(PhaseState::all_lanes)
            .flat_map(|lane| lane.sessions.iter().map(move |session| (lane, session)))
    }

    /// Whether anything had to be done again: a refusal, a hand-over or a failed session. Then "nothing new" is no learning.
    #[must_use]
    pub fn had_rework(&self) -> bool {
        self.phases.iter().any(|phase| !phase.refusals.is_empty())
            || self.sessions().any(|(_, session)| {
                !matches!(session.end, None | Some(SessionEnd::Completed | SessionEnd::Interrupted | SessionEnd::NotStarted))
            })
    }

    /// All tokens of all calls.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let mut total = Usage::default();
        for (_, session) in self.sessions() {
            total.add(session.usage);
        }
        total
    }

    /// Lanes whose work trees are not removed when the run ends: see [`LaneState::holds_unkept_work`].
    pub fn lanes_that_stay(&self) -> impl Iterator<Item = &LaneState> {
        self.phases.iter().flat_map(PhaseState::all_lanes).filter(|lane| lane.holds_unkept_work())
    }

    /// Whether a person is asked about this lane, or about the whole run.
    #[must_use]
    pub fn asks_about(&self, lane: &LaneId) -> bool {
        let about_lane = |decision: &Decision| {
            decision.scope == DecisionScope::Lane
                && decision.phase == lane.phase
                && decision.place.as_ref() == Some(&lane.lane)
        };
        self.asks_about_run() || self.decisions.iter().any(about_lane)
    }

    pub(super) fn asks_about_run(&self) -> bool {
        self.decisions.iter().any(|decision| decision.scope == DecisionScope::Run)
    }

    pub(super) fn lane_mut(&mut self, id: &LaneId) -> Option<&mut LaneState> {
        let index = self.created.workflow.phases.iter().position(|phase| phase.name == id.phase)?;
        let phase = &mut self.phases[index];
        phase.lanes.iter_mut().chain(&mut phase.reviews).find(|lane| lane.id == *id)
    }

    pub(super) fn phase_mut(&mut self, name: &Name) -> Option<(usize, &mut PhaseState)> {
        let index = self.created.workflow.phases.iter().position(|phase| phase.name == *name)?;
        Some((index, &mut self.phases[index]))
    }
}
