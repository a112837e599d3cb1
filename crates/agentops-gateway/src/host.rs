//! Who is told. In a run the supervisor, which makes durable what must be; alone a ledger of the gateway's own.

use agentops_core::budget::{Amount, OverBudget, Scope};
use agentops_core::call::{CallKind, CallRow};
use agentops_core::ceiling::Window;
use tokio::sync::oneshot;

/// An answer that comes later. A host that is gone (its end was dropped) has answered nothing.
pub type Answer<T> = oneshot::Receiver<T>;

/// The end that answers.
pub type Answering<T> = oneshot::Sender<T>;

/// Both ends of an answer.
#[must_use]
pub fn answer<T>() -> (Answering<T>, Answer<T>) {
    oneshot::channel()
}

/// The host of one lane. Its methods return at once; what takes time is in the answer.
pub trait Host: Send + Sync + 'static {
    /// The lane needs a grant of this size before a call may be forwarded that was admitted at this time, in milliseconds since
    /// 1970. The answer is what was made durable; `None`: a budget does not allow it. A host that could not make it durable
    /// answers nothing.
    fn grant(&self, ask: Amount, admitted_ms: u64) -> Answer<Option<Amount>>;
    /// A call has ended. `missing` is what it cost above everything that was granted: it is granted in the ledger before the
    /// row.
    fn settled(&self, row: CallRow, missing: Option<Amount>);
    /// A call is not forwarded. The client hears of it only after the answer.
    fn refused(&self, refusal: Refusal) -> Answer<()>;
    /// Something that a person may want to see.
    fn note(&self, note: Note);
}

/// Why a call was not forwarded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// It could have passed the ceiling.
    #[error("a call of up to {needed} tokens, where {} may take {allowed} of the window of {window}", words(*.kind))]
    Ceiling {
        /// Its conversation within the lane.
        conversation: u32,
        /// The conversation is not the lane's own.
        sub_agent: bool,
        /// What it was for.
        kind: CallKind,
        /// What it would have needed, in tokens.
        needed: u64,
        /// What calls of its kind may take, in tokens.
        allowed: u64,
        /// The window, in tokens.
        window: u64,
    },
    /// It could have passed a budget.
    #[error(transparent)]
    Budget(#[from] OverBudget),
    /// What is left of a budget was granted to other calls.
    #[error("what is left of {scope} is set aside for calls under way; it is free again when they have ended for less")]
    SetAside {
        /// The budget.
        scope: Scope,
    },
    /// The host granted nothing.
    #[error("the budget could not be made durable, so no call may be made")]
    NotGranted,
    /// The window of its model, or of one that may answer in its place, is not known.
    #[error("the context window of model `{model}` is not known; {}", remedy.words(model))]
    WindowUnknown {
        /// The model.
        model: String,
        /// Where a person can set it.
        remedy: WindowRemedy,
    },
    /// It holds or refers to something that cannot be counted.
    #[error(
        "the call {0}, which cannot be counted; send the content itself, or take it out of the conversation (a new one \
         begins with `/clear` or `/new`)"
    )]
    Uncountable(&'static str),
    /// Something in it looks like a secret, and secrets may not leave.
    #[error("the call holds what looks like a secret, and the profile lets none leave")]
    Secret,
}

/// Where a person can set the window of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowRemedy {
    /// In the file of the run's agent, or in the settings.
    Agent,
    /// In the settings, or by an argument of the command.
    Command,
}

impl WindowRemedy {
    fn words(self, model: &str) -> String {
        let first = match self {
            WindowRemedy::Agent => "set `window: TOKENS` in the agent's file",
            WindowRemedy::Command => "start with `--window TOKENS`",
        };
        // A key of TOML in quotes has the escapes of JSON.
        format!("{first}, or write `window = TOKENS` below `[models.{}]` in your config.toml", serde_json::json!(model))
    }
}

impl Refusal {
    /// It was refused at the ceiling, and a request of the program's for a summary of the conversation would fit: that may use
    /// the reserve. It is a little longer than the call, and its answer shorter than what a call's answer needs at least.
    #[must_use]
    pub fn leaves_room_for_summary(&self) -> bool {
        match self {
            Refusal::Ceiling { kind: CallKind::Work, needed, window, .. } => {
                Window::new(*window).is_some_and(|window| *needed <= window.ceiling())
            }
            _ => false,
        }
    }
}

fn words(kind: CallKind) -> &'static str {
    match kind {
        CallKind::Work => "work",
        CallKind::HandOver => "handing over",
        CallKind::Compaction => "compacting",
    }
}

/// What was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Note {
    /// A request was refused before it could be judged as a call. An endpoint is named once for a lane.
    RequestRefused {
        /// Method and path, without secrets.
        request: String,
        /// The status of the answer.
        status: u16,
        /// What is wrong and what to do.
        reason: String,
    },
    /// The answer holds reasoning that is not shown, so the output cannot be held to its limit while it comes.
    HiddenReasoning,
    /// The provider reported more than a call can use. The report is not believed, and the call is charged at its limit.
    ReportNotBelieved {
        /// Tokens, input and output together.
        reported: u64,
        /// The most that the call can have used.
        possible: u64,
    },
    /// Secrets were taken out of a call before it left.
    Redacted,
    /// The provider refused a call and said when it takes calls again.
    ProviderWaits {
        /// In Unix milliseconds.
        until_ms: u64,
    },
}
