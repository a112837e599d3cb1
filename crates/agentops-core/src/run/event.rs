//! What can happen in a run. The ledger is a list of these.
//!
//! Adding a variant or a field is a change of format: see `FORMAT`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::agent::AgentRef;
use crate::budget::{Amount, Limits, Scope};
use crate::call::CallRow;
use crate::ceiling::{Enforcement, StopReason};
use crate::id::{BlobId, Commit, LaneId, Name, RunId, SessionId};
use crate::run::action::Key;
use crate::run::state::Decision;
use crate::usage::Usage;
use crate::workflow::Workflow;

/// Version of the event format. An older one is read; a newer one is refused by name. It is raised in the commit that adds
/// a variant or a field, not when that is first used.
pub const FORMAT: u32 = 6;

/// One entry of a run's ledger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "event")]
pub enum Event {
    /// The run exists, with everything that was fixed at its start.
    Created(Box<Created>),
    /// An action is about to start. Durable before it does.
    Began {
        /// Its idempotency key.
        key: Key,
    },
    /// A new supervisor took the run over: what was under way there is under way no more.
    Orphaned,
    /// A lane's work tree is ready.
    LaneOpened {
        /// The lane.
        lane: LaneId,
        /// The commit its work tree holds.
        base: Commit,
    },
    /// A lane's work tree could not be made or set up.
    LaneFailed {
        /// The lane.
        lane: LaneId,
        /// What happened, for a person.
        detail: BlobId,
    },
    /// A session, gate or set-up waits for a slot: as many as may run on this machine do.
    SlotAwaited {
        /// Its key.
        key: Key,
    },
    /// It got its slot. Its limits of time count from here.
    SlotTaken {
        /// Its key.
        key: Key,
    },
    /// The agent program is up and has been checked.
    SessionReady {
        /// The session.
        session: SessionId,
        /// Where the session's facts stand.
        facts: SessionFacts,
    },
    /// A session may spend this much more. Durable before any of it is used.
    Granted {
        /// The session.
        session: SessionId,
        /// How much.
        amount: Amount,
    },
    /// A model call was reported.
    Call {
        /// The session.
        session: SessionId,
        /// What the provider counted; `None`: not said.
        usage: Option<Usage>,
        /// The context after the call, in tokens: the larger of report and own count.
        context: u64,
        /// The window it is measured against, in tokens.
        window: u64,
        /// The call belongs to a sub-agent.
        sub_agent: bool,
        /// Set when the session must be stopped whatever the context.
        stop: Option<StopReason>,
        /// The call as the gateway saw it go by; its charge is taken off what the session was granted. `None`: it did not go
        /// through a gateway.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        row: Option<Box<CallRow>>,
    },
    /// The user's repository was recorded before something ran that an agent controls. Durable before that starts.
    RepositoryRecorded {
        /// The action that runs it.
        during: Key,
        /// The record: names and hashes.
        record: BlobId,
    },
    /// The user's repository was compared with that record afterwards.
    RepositoryCompared {
        /// The action that ran it.
        during: Key,
        /// The differences; `None`: there are none.
        changes: Option<BlobId>,
        /// Number of differences.
        count: u32,
        /// The supervisor died in between, so the user may have made them before the run went on.
        after_takeover: bool,
        /// What git could run in a merge and what is different now, as it is now. `None`: that could not be compared.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        left: Option<Vec<ProgramPart>>,
    },
    /// A person agreed, at the merge of this run, to what git would run.
    ProgramsAgreed {
        /// What was shown.
        agreed: Vec<ProgramPart>,
        /// What a program that an agent controls had left, and what is not there any more.
        put_back: Vec<ProgramPart>,
    },
    /// This machine could not start the agent of a session: git, the disk or a text of the run's own failed. No agent ran.
    SessionNotStarted {
        /// The session.
        session: SessionId,
        /// What failed, for a person.
        detail: BlobId,
        /// Set where the commit that the session should start from is gone: the newest commit of the lane that still exists.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        newest: Option<Commit>,
    },
    /// The agent program of a session has exited, and nothing of its process tree lives. Its lane is not kept yet. Everything
    /// that only its supervisor knew is in here, so that any supervisor can keep the lane from the ledger, the blobs and the
    /// lane's files.
    SessionExited {
        /// The session.
        session: SessionId,
        /// How it exited.
        exit: Box<SessionExit>,
    },
    /// A session is over and its lane's state is kept.
    SessionEnded {
        /// The session.
        session: SessionId,
        /// How.
        end: SessionEnd,
        /// The lane as a commit; `None` in a lane that writes only artifacts.
        checkpoint: Option<Commit>,
        /// Files that differ from where the session began.
        changed: u32,
        /// Changes that were dropped because the lane writes only artifacts.
        dropped: u32,
        /// Documents in `.agentops-out/`, by name.
        artifacts: BTreeMap<String, BlobId>,
        /// The hand-over the next session starts from.
        hand_over: Option<BlobId>,
        /// The session's transcript, redacted.
        transcript: Option<BlobId>,
        /// What a person should know, e.g. the program's own error.
        detail: Option<BlobId>,
        /// What the program itself said that its calls used, where that differs from what the gateway saw by more than 1 %.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        said: Option<Usage>,
        /// What is in the lane and not in the checkpoint, though nothing ignores it. `None`: nothing, or up to format 4.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        omitted: Option<Omitted>,
    },
    /// The lanes of a phase were merged in their order.
    Merged {
        /// The phase.
        phase: Name,
        /// The result.
        commit: Commit,
        /// Files that differ from the phase's base.
        changed: u32,
    },
    /// A lane does not merge.
    Conflict {
        /// The lane.
        lane: LaneId,
        /// What the lanes before it came to, merged.
        onto: Commit,
        /// The paths, for a person and for the next session.
        detail: BlobId,
    },
    /// A gate ended.
    GateEnded {
        /// The phase.
        phase: Name,
        /// The gate.
        gate: Name,
        /// What it found.
        verdict: Verdict,
        /// Findings for the next session, or what broke.
        detail: Option<BlobId>,
        /// What the gate's program printed.
        output: Option<BlobId>,
        /// Lanes that must do it again; empty: the phase's first.
        lanes: Vec<Name>,
    },
    /// A gate waits for a person.
    ApprovalAsked {
        /// The phase.
        phase: Name,
        /// The gate.
        gate: Name,
        /// What is shown; an approval is for this and nothing else.
        shown: BlobId,
    },
    /// What a phase hands on was put together.
    Bundled {
        /// The phase.
        phase: Name,
        /// The bundle.
        bundle: BlobId,
        /// Tokens that the phase's sessions held in their contexts, summed, as their providers counted them.
        before: u64,
        /// Tokens of the bundle: of o200k, or estimated from its bytes up to format 2.
        after: u64,
        /// Its manifest; absent up to format 2.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        manifest: Option<BlobId>,
        /// The share of must-keep facts that survived, in thousandths; absent where there were none, and up to format 2.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        kept_permille: Option<u64>,
    },
    /// The laws were checked by code.
    LawsChecked {
        /// Each law in order: held or not.
        held: [bool; 5],
        /// What is missing, for the next session.
        detail: Option<BlobId>,
    },
    /// Learning, improvement and context record are committed.
    Recorded {
        /// The commit.
        commit: Commit,
    },
    /// The result's branch points at the last commit.
    Published {
        /// The commit.
        commit: Commit,
    },
    /// An action failed for a reason of this machine; a person must look.
    ActionFailed {
        /// Its key.
        key: Key,
        /// What happened.
        detail: BlobId,
    },
    /// The work trees are gone.
    LanesClosed,
    /// A person, or a flag a person typed, wants something.
    Intent(Intent),
    /// A timer fired.
    TimerFired {
        /// Its key.
        key: Key,
    },
    /// The run is over.
    Ended {
        /// How.
        outcome: Outcome,
    },
    /// What became of the result.
    Closed {
        /// How.
        closing: Closing,
    },
}

/// One thing that git could run in a merge, such as a hook or a setting, at one moment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct ProgramPart {
    /// The hash of what it is: a path, or a setting in a file.
    pub part: String,
    /// The hash of what it was then; empty: it was not there.
    pub content: String,
}

/// What is fixed when a run starts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Created {
    /// The run.
    pub run: RunId,
    /// Version of the event format.
    pub format: u32,
    /// The task's text.
    pub task: BlobId,
    /// The commit it starts from.
    pub base: Commit,
    /// The profile the workflow comes from.
    pub profile: Name,
    /// Hash over the profile's files.
    pub profile_hash: BlobId,
    /// Hash of the workflow's file.
    pub workflow_hash: BlobId,
    /// The workflow.
    pub workflow: Workflow,
    /// Its agents.
    pub agents: BTreeMap<Name, AgentRef>,
    /// Which approvals a person gave beforehand.
    pub approve: Approve,
    /// Other workflows that were shown as possible (law 5).
    pub alternatives: Vec<Name>,
    /// Hash of what was trusted when the run started; `None`: nothing of the repository's would run.
    pub trust: Option<BlobId>,
    /// What it was routed to, who decided, and what else could have done it; `None`: it was not routed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routed: Option<BlobId>,
    /// The user's repository when the run started: names and hashes; `None`: it was not recorded (up to format 4).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<BlobId>,
}

/// Approvals given beforehand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Approve {
    /// Every approval is asked.
    #[default]
    None,
    /// The approval of plans is given; others are asked.
    Plan,
    /// Every approval is given.
    All,
}

impl Approve {
    /// Whether the approval of this phase is given beforehand.
    #[must_use]
    pub fn covers(self, phase: &Name) -> bool {
        match self {
            Approve::None => false,
            Approve::Plan => phase.as_str() == "plan",
            Approve::All => true,
        }
    }
}

/// What is known of a session once its program is up; week 8 is measured from these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionFacts {
    /// The model's id; `None`: unknown.
    pub model: Option<String>,
    /// The agent program's version; `None`: unknown.
    pub version: Option<String>,
    /// The window in tokens; `None`: it calls no model.
    pub window: Option<u64>,
    /// The program's own prompt and tools, in tokens; `None`: unknown.
    pub base_tokens: Option<u64>,
    /// The start context, in estimated tokens.
    pub start_tokens: u64,
    /// How the ceiling is enforced.
    pub enforcement: Enforcement,
    /// Hash of the agent's prompt as it was sent.
    pub prompt: BlobId,
}

/// What a checkpoint does not hold of its lane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Omitted {
    /// The list: paths with reasons.
    pub list: BlobId,
    /// Entries that are not in the list that a person accepted last for this lane.
    pub unseen: u32,
}

/// What a supervisor knows when an agent program has exited, besides the lane's files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionExit {
    /// How it ended. A checkpoint can still find that it ended otherwise: see [`SessionEnd::Filtered`].
    pub end: SessionEnd,
    /// What a person should know, e.g. the program's own error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<BlobId>,
    /// The agent's last message: its document where it could write no file, or its hand-over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<BlobId>,
    /// What it did last, a line each, for a mechanical hand-over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trail: Option<BlobId>,
    /// The session's transcript, redacted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transcript: Option<BlobId>,
    /// What the program itself said that its calls used, where that differs from what the gateway saw by more than 1 %.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub said: Option<Usage>,
    /// When the provider takes calls again, as it says, in Unix milliseconds; of a session that ended as
    /// [`SessionEnd::Provider`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_until_ms: Option<u64>,
}

impl SessionExit {
    /// An exit of which nothing more is known than how it ended.
    #[must_use]
    pub fn of(end: SessionEnd) -> Self {
        Self { end, detail: None, message: None, trail: None, transcript: None, said: None, provider_until_ms: None }
    }
}

/// How a session ended, as the supervisor saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SessionEnd {
    /// The agent said it was done and its program ended in order.
    Completed,
    /// It handed over when it was asked to.
    HandedOver,
    /// Stopped at the ceiling; the hand-over is mechanical.
    Ceiling,
    /// It did not answer the request to hand over in time; the hand-over is mechanical.
    HandOverTimeout,
    /// It made a call and did not say what it used.
    UsageUnknown,
    /// Window or base prompt do not allow a session.
    Refused,
    /// The supervisor died while it ran.
    Interrupted,
    /// No sign of life for its limit.
    Hung,
    /// It took longer than its limit.
    TimeLimit,
    /// A person must log in.
    NotLoggedIn,
    /// The provider failed; tried again later.
    Provider,
    /// The program compacted its context or its provider refused the prompt as too long.
    ContextLost,
    /// The program failed.
    Failed,
    /// The run was cancelled.
    Cancelled,
    /// It changed files with content filters, which cannot be kept outside a sandbox.
    Filtered,
    /// A budget does not allow its next call.
    Budget,
    /// This machine could not start its agent; no agent ran.
    NotStarted,
    /// Its lane was gone before its work was kept.
    LaneLost,
    /// The program failed while a disk that it writes to was full.
    DiskFull,
}

/// What a gate found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It holds.
    Passed,
    /// It does not hold.
    Refused,
    /// It could not be checked.
    Broke,
}

/// What a person wants of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "intent")]
pub enum Intent {
    /// Approve what was shown.
    Approve {
        /// The hash of what was shown.
        shown: BlobId,
    },
    /// Refuse it, with words for the next session.
    Reject {
        /// The hash of what was shown.
        shown: BlobId,
        /// The words.
        message: BlobId,
    },
    /// Go on after decisions were needed.
    Resume {
        /// The questions that are answered; `None`: every question that waits when this is applied, as up to format 4.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        decisions: Option<Vec<Decision>>,
    },
    /// More may be spent.
    Raise {
        /// Whose budget: the run's, a phase's or a lane's.
        scope: Scope,
        /// The new limits; a part that is not given stays.
        limits: Limits,
    },
    /// End the run.
    Cancel,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Gates and laws held; the branch is there.
    Done,
    /// It cannot go on.
    Failed,
    /// A person ended it.
    Cancelled,
}

/// What became of a result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "closing")]
pub enum Closing {
    /// Merged into a branch of the user.
    Merged {
        /// The merge.
        commit: Commit,
    },
    /// Put away; kept under `refs/agentops/discarded/`.
    Discarded {
        /// What is kept.
        commit: Commit,
    },
}
