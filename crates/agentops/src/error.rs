//! Errors as people read them: a kind that decides the exit code, a chain of causes, and what to type next.

use agentops_engine::client::ClientError;
use agentops_engine::files::FileError;
use agentops_engine::hint;
use agentops_engine::identity::IdentityError;
use agentops_engine::open_programs::OpenProgramsError;
use agentops_engine::space;
use agentops_engine::wire::{RefusalKind, Reply};
use agentops_engine::world::StorageError;

/// It worked.
pub const SUCCESS: u8 = 0;
/// It did not work for a reason of this machine.
pub const FAILED: u8 = 1;
/// The arguments, a file or a name are wrong.
pub const USAGE: u8 = 2;
/// The repository must be trusted first.
pub const TRUST_REQUIRED: u8 = 3;
/// The run waits for a person's decision.
pub const NEEDS_DECISION: u8 = 4;
/// The asker may not do this.
pub const NOT_ALLOWED: u8 = 5;
/// The run waits: for an approval, a provider, a supervisor.
pub const WAITING: u8 = 6;
/// The run, or what was named, is not there or is not in a state for this.
pub const NOT_NOW: u8 = 7;
/// The run failed.
pub const RUN_FAILED: u8 = 8;
/// The run was cancelled.
pub const RUN_CANCELLED: u8 = 9;
/// The merge does not fit, or what was merged does not pass its test.
pub const MERGE_REFUSED: u8 = 10;

/// Every exit code with its name, for the docs and their test.
pub const EXIT_CODES: [(u8, &str); 11] = [
    (SUCCESS, "success"),
    (FAILED, "failed"),
    (USAGE, "usage"),
    (TRUST_REQUIRED, "trust-required"),
    (NEEDS_DECISION, "needs-decision"),
    (NOT_ALLOWED, "not-allowed"),
    (WAITING, "waiting"),
    (NOT_NOW, "not-now"),
    (RUN_FAILED, "run-failed"),
    (RUN_CANCELLED, "run-cancelled"),
    (MERGE_REFUSED, "merge-refused"),
];

/// The name of an exit code.
#[must_use]
pub fn code_name(code: u8) -> &'static str {
    EXIT_CODES.iter().find(|(known, _)| *known == code).map_or("failed", |(_, name)| name)
}

/// A failed command.
#[derive(Debug)]
pub struct CommandError {
    /// The exit code.
    pub code: u8,
    /// What happened, one fragment a cause.
    pub causes: Vec<String>,
    /// What to do.
    pub hints: Vec<String>,
    /// What would have to be trusted first.
    pub subject: Option<agentops_engine::trust::Subject>,
}

impl CommandError {
    /// An error with this code and words.
    pub fn new(code: u8, what: impl Into<String>) -> Self {
        Self { code, causes: vec![what.into()], hints: Vec::new(), subject: None }
    }

    /// Adds why.
    #[must_use]
    pub fn cause(mut self, cause: impl Into<String>) -> Self {
        self.causes.push(cause.into());
        self
    }

    /// Adds what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        let hint = hint.into();
        if !hint.is_empty() {
            self.hints.push(hint);
        }
        self
    }

    /// The same with the advice that a full disk needs, where that is the cause: whatever failed, nothing else helps. A refused
    /// merge repeats what tests and hooks printed, so there only our own remark at its end counts.
    #[must_use]
    pub fn with_advice_on_space(mut self) -> Self {
        let of_others = self.code == MERGE_REFUSED;
        let is_remark = |cause: &String| cause.ends_with(')') && cause.contains("(No space left on device: ");
        if self.causes.iter().any(|cause| if of_others { is_remark(cause) } else { space::says_full(cause) }) {
            self.code = FAILED;
            self.hints = vec!["free some space on that disk, then run the command again".to_owned()];
        }
        self
    }

    pub(crate) fn of(code: u8, error: &dyn std::error::Error) -> Self {
        let mut causes = vec![error.to_string()];
        let mut at = error.source();
        while let Some(cause) = at {
            causes.push(cause.to_string());
            at = cause.source();
        }
        Self { code, causes, hints: Vec::new(), subject: None }
    }
}

impl From<std::io::Error> for CommandError {
    fn from(error: std::io::Error) -> Self {
        Self::of(FAILED, &error).hint("`agentops doctor` checks this machine, this repository and the state folder")
    }
}

impl From<FileError> for CommandError {
    fn from(error: FileError) -> Self {
        let hint = error.hint.clone();
        Self::of(USAGE, &error).hint(hint)
    }
}

impl From<agentops_core::id::InvalidId> for CommandError {
    fn from(error: agentops_core::id::InvalidId) -> Self {
        Self::of(USAGE, &error).hint("`agentops status` lists the runs, `agentops show` their parts")
    }
}

impl From<StorageError> for CommandError {
    fn from(error: StorageError) -> Self {
        let hint = match &error {
            StorageError::Full { .. } => {
                "free some space; what was acknowledged is kept, and `agentops resume` goes on from there"
            }
            StorageError::Newer { .. } => {
                "a newer agentops wrote it: install that version, or name another folder with --state-dir"
            }
            StorageError::Corrupt { .. } => {
                "nothing was changed; keep a copy of that file; branches and refs/agentops/ in your repository hold the work itself"
            }
            StorageError::Fenced { .. } => "run the command again: the newer supervisor answers",
            _ => "`agentops doctor` says what is wrong with the state folder",
        };
        Self::of(FAILED, &error).hint(hint)
    }
}

impl From<IdentityError> for CommandError {
    fn from(error: IdentityError) -> Self {
        let (code, hint) = match &error {
            IdentityError::Unclear { id, .. } => (
                NOT_NOW,
                format!(
                    "if it is this repository's: agentops doctor --adopt {id} · if this is a copy: agentops doctor --new-id"
                ),
            ),
            IdentityError::NoState { .. } => {
                (USAGE, "`agentops doctor` lists state folders without a repository".to_owned())
            }
            IdentityError::InUse { .. } => {
                (NOT_NOW, "work there, or give this repository an id of its own: agentops doctor --new-id".to_owned())
            }
            IdentityError::Supervised { .. } => (NOT_NOW, "wait until its runs have ended, or cancel them".to_owned()),
            IdentityError::Git(error) => (FAILED, hint::git(error)),
            _ => (FAILED, "free some space, mend the folder's permissions, or name another with --state-dir".to_owned()),
        };
        Self::of(code, &error).hint(hint)
    }
}

impl From<ClientError> for CommandError {
    fn from(error: ClientError) -> Self {
        let hint = match &error {
            ClientError::Silent { pid, state: "is stopped", .. } => format!(
                "`kill -CONT {pid}` lets it go on; or end it with `kill -9 {pid}` and run the command again: nothing is lost"
            ),
            ClientError::Silent { pid, .. } => format!(
                "it may still do what was asked: see `agentops status`; if it hangs, end it with `kill -9 {pid}` and run the \
                 command again: nothing is lost"
            ),
            ClientError::Busy { .. } => "end some of the commands that follow runs of this repository".to_owned(),
            ClientError::FileSize(limit) => limit.hint().to_owned(),
            ClientError::NotStarted { .. } => "`agentops doctor` says what is wrong".to_owned(),
            ClientError::Ended { .. } => "`agentops status` shows what was kept; then run the command again".to_owned(),
            ClientError::Broken(_) => "`agentops status` shows what was kept; run the command again".to_owned(),
            _ => String::new(),
        };
        Self::of(FAILED, &error).hint(hint)
    }
}

impl From<OpenProgramsError> for CommandError {
    fn from(error: OpenProgramsError) -> Self {
        match error {
            OpenProgramsError::Ledger(error) => error.into(),
            OpenProgramsError::Git(error) => error.into(),
        }
    }
}

impl From<agentops_git::Error> for CommandError {
    fn from(error: agentops_git::Error) -> Self {
        let code = match &error {
            agentops_git::Error::MergeRefused { .. }
            | agentops_git::Error::MergedOtherwise { .. }
            | agentops_git::Error::InProgress { .. } => MERGE_REFUSED,
            agentops_git::Error::MergeAtWork { .. }
            | agentops_git::Error::MergeElsewhere { .. }
            | agentops_git::Error::MergeNoteUnknown { .. } => NOT_NOW,
            error if hint::of_machine(error) => FAILED,
            _ => USAGE,
        };
        Self::of(code, &error).hint(hint::git(&error))
    }
}

impl From<agentops_engine::plan::PlanError> for CommandError {
    fn from(error: agentops_engine::plan::PlanError) -> Self {
        let code = if hint::kind(&error) == RefusalKind::Failed { FAILED } else { USAGE };
        Self::of(code, &error).hint(hint::plan(&error))
    }
}

/// Turns a refusal into an error; any other answer is fine.
///
/// # Errors
/// The refusal.
pub fn accepted(reply: Reply) -> Result<Reply, CommandError> {
    let Reply::Refused { kind, message, hint, .. } = reply else { return Ok(reply) };
    let code = match kind {
        RefusalKind::TrustRequired => TRUST_REQUIRED,
        RefusalKind::NotAllowed => NOT_ALLOWED,
        RefusalKind::BadRequest => USAGE,
        RefusalKind::NotNow => NOT_NOW,
        RefusalKind::Failed => FAILED,
    };
    Err(CommandError::new(code, message).hint(hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_test_or_a_hook_prints_about_disks_is_not_taken_for_a_full_disk() {
        let advised = |code, words: &str| CommandError::new(code, words).hint("as it was").with_advice_on_space();
        let gate =
            advised(MERGE_REFUSED, "the merged result does not pass its gate: assertion failed: No space left on device");
        assert_eq!((gate.code, gate.hints), (MERGE_REFUSED, vec!["as it was".to_owned()]));
        let git =
            advised(MERGE_REFUSED, "git refused to merge: error: unable to write (No space left on device: /repo/.git)");
        assert_eq!(git.code, FAILED);
        assert!(git.hints[0].starts_with("free some space"));
        let provider = advised(FAILED, "the provider says: quota exceeded for this month");
        assert_eq!(provider.hints, ["as it was"]);
    }
}
