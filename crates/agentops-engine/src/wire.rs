//! What clients and the supervisor say to each other over the socket: one JSON object a line.

use agentops_core::budget::{Limits, Scope};
use agentops_core::id::{BlobId, RunId};
use agentops_core::run::{Closing, Decision, ProgramPart};
use serde::{Deserialize, Serialize};

use crate::environment::{EnvironmentHashes, EnvironmentView, LentEnvironment};
use crate::plan::RunRequest;
use crate::trust::Subject;

/// What a client asks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "ask")]
pub enum Request {
    /// Who is there?
    Ping,
    /// Start a run.
    Start {
        /// What was asked for.
        request: RunRequest,
        /// What it is worked on with.
        environment: LentEnvironment,
    },
    /// Approve what was shown.
    Approve {
        /// The run.
        run: RunId,
        /// The hash of what was shown.
        shown: BlobId,
    },
    /// Refuse it.
    Reject {
        /// The run.
        run: RunId,
        /// The hash of what was shown.
        shown: BlobId,
        /// Words for the next session.
        message: String,
    },
    /// Work on a run in this environment. Answers no question.
    Lend {
        /// The run.
        run: RunId,
        /// What it is worked on with from now on.
        environment: LentEnvironment,
    },
    /// Go on with a run in this environment, also after a decision was needed.
    Resume {
        /// The run.
        run: RunId,
        /// What it is worked on with from now on.
        environment: LentEnvironment,
        /// The questions that the person has seen, and answers with this. Those that came up since stay open.
        decisions: Vec<Decision>,
        /// Whose budget is raised first, and its new limits; a part that is not given stays.
        raise: Option<(Scope, Limits)>,
    },
    /// End a run.
    Cancel {
        /// The run.
        run: RunId,
    },
    /// May the asker say what becomes of a result? Refused to agents, as `Close` is.
    MayClose,
    /// Agree, at the merge of a run, to what git would run.
    AgreeToPrograms {
        /// The run.
        run: RunId,
        /// What was shown.
        agreed: Vec<ProgramPart>,
        /// What was left and is not there any more.
        put_back: Vec<ProgramPart>,
        /// The places in the ledger of what had ended without a comparison when everything that differs was shown.
        #[serde(default)]
        uncompared: Vec<u64>,
    },
    /// The gates of a run are about to run on the result of a merge.
    BeginMergeTest {
        /// The run.
        run: RunId,
        /// From 1, and never twice.
        attempt: u32,
        /// The user's repository now.
        record: BlobId,
    },
    /// They have ended.
    EndMergeTest {
        /// The run.
        run: RunId,
        /// Which.
        attempt: u32,
        /// What changed in the user's repository; `None`: nothing.
        changes: Option<BlobId>,
        /// Number of differences.
        count: u32,
        /// What of that git could run in a merge. `None`: it could not be compared.
        left: Option<Vec<ProgramPart>>,
    },
    /// Say what became of a result.
    Close {
        /// The run.
        run: RunId,
        /// What.
        closing: Closing,
    },
    /// Compare a run's environment with the asking shell's, by names, and say where the run's calls go.
    CompareEnvironment {
        /// The run.
        run: RunId,
        /// The shell's variables, without values.
        shell: EnvironmentHashes,
    },
    /// Answer `changed` whenever the ledger grew, until the connection is closed.
    Follow,
}

/// What the supervisor answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "answer")]
pub enum Reply {
    /// It is there.
    Here {
        /// Its process.
        pid: u32,
        /// Its version.
        version: String,
        /// Open runs that it has an environment for: it works on no other.
        #[serde(default)]
        runs: Vec<RunId>,
        /// Actions that wait for a lock.
        #[serde(default)]
        lock_waits: Vec<LockWait>,
    },
    /// The run is durable and under way.
    Started {
        /// The run.
        run: RunId,
        /// Things a person should know.
        notes: Vec<String>,
    },
    /// The run's environment beside the asking shell's.
    Environment {
        /// What differs, and where calls go.
        view: EnvironmentView,
    },
    /// Done, and durable.
    Done,
    /// The ledger grew.
    Changed,
    /// Not done.
    Refused {
        /// What kind of refusal.
        kind: RefusalKind,
        /// Why.
        message: String,
        /// What to do.
        hint: String,
        /// What would have to be trusted.
        #[serde(default)]
        subject: Option<Box<Subject>>,
    },
}

/// An action that waits for a lock of ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockWait {
    /// Its run.
    pub run: RunId,
    /// The action.
    pub step: String,
    /// The lock file.
    pub lock: String,
    /// How long it has waited.
    pub waited_ms: u64,
}

/// Kinds of refusal that a client treats differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefusalKind {
    /// The repository is not trusted as it is.
    TrustRequired,
    /// The asker is an agent, a gate, or another user.
    NotAllowed,
    /// What was asked for cannot be done as it was asked.
    BadRequest,
    /// It does not fit the run's state, or there is no such run.
    NotNow,
    /// The machine does not let us.
    Failed,
}
