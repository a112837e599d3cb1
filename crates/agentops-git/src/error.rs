//! What can go wrong, as kinds that a command line can give a hint for.

use std::path::{Path, PathBuf};

use crate::lock_files;
use crate::lock_holders::lock_holders;
use crate::oid::Oid;
use crate::run::Version;
use crate::user_merge::MergeRefusal;

/// The result of an operation of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation did not happen. Messages are lowercase fragments; hints belong to the command line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No git repository at this place or above it.
    #[error("{} is not in a git repository", path.display())]
    NotARepository {
        /// Where the search began.
        path: PathBuf,
    },
    /// A repository without a work tree.
    #[error("{} is a bare repository", path.display())]
    Bare {
        /// Where the search began.
        path: PathBuf,
    },
    /// The repository belongs to another user, and git was not told that this is fine.
    #[error("{} belongs to another user", path.display())]
    NotOwned {
        /// Where the search began.
        path: PathBuf,
    },
    /// There is no first commit yet.
    #[error("{} has no commits", path.display())]
    NoCommits {
        /// The work tree.
        path: PathBuf,
    },
    /// No git program on `PATH`.
    #[error("git was not found on PATH")]
    GitMissing,
    /// The git program is older than what the guards need.
    #[error("git {found} is too old, {needed} is needed")]
    GitTooOld {
        /// What is installed.
        found: Version,
        /// The oldest that works.
        needed: Version,
    },
    /// Git did not end in time and was stopped.
    #[error("git {what} took longer than {seconds} s")]
    Timeout {
        /// The command.
        what: String,
        /// The limit.
        seconds: u64,
    },
    /// Git printed more than the limit.
    #[error("git {what} printed more than {limit_bytes} bytes")]
    TooMuchOutput {
        /// The command.
        what: String,
        /// The limit.
        limit_bytes: usize,
    },
    /// Git ended with an error.
    #[error("{}", failed(args, *code, stderr, lock.as_deref()))]
    Failed {
        /// The command without configuration, messages and contents.
        args: String,
        /// Its exit code, none when a signal ended it.
        code: Option<i32>,
        /// The first lines of what it said.
        stderr: String,
        /// The lock file of git's that was in its way.
        lock: Option<PathBuf>,
    },
    /// Git printed something that this crate does not understand.
    #[error("git {what} printed something unexpected")]
    Unexpected {
        /// The command.
        what: String,
    },
    /// A revision that names no commit.
    #[error("no commit is named {rev:?}")]
    UnknownRevision {
        /// What was asked for.
        rev: String,
    },
    /// A ref does not point where it was expected to.
    #[error("{name} moved: expected {expected}, found {}", found.as_ref().map_or("nothing", Oid::as_str))]
    RefMoved {
        /// The ref.
        name: String,
        /// What the caller knew.
        expected: Oid,
        /// What is there.
        found: Option<Oid>,
    },
    /// A ref that should have been new is already there.
    #[error("{name} already exists at {found}")]
    RefExists {
        /// The ref.
        name: String,
        /// What it points to.
        found: Oid,
    },
    /// A ref cannot be made beside another whose name is the beginning of its name, or the other way round.
    #[error("{} cannot be made while {} exists: git keeps no name below another", shown(name), shown(other))]
    RefInTheWay {
        /// The ref.
        name: String,
        /// The one that exists.
        other: String,
    },
    /// A ref that this crate never writes.
    #[error("{name:?} is not one of our refs")]
    NotOurs {
        /// The ref.
        name: String,
    },
    /// A name that breaks the rules for its kind.
    #[error("{value:?} is not a valid {kind}")]
    BadName {
        /// What it should have been.
        kind: &'static str,
        /// What it was.
        value: String,
    },
    /// The folder for a lane is in use by something that is not a lane of ours.
    #[error("{} is not empty and not a lane", path.display())]
    LanePathTaken {
        /// The folder.
        path: PathBuf,
    },
    /// A lane of this name or place exists and differs.
    #[error("lane {name} already exists")]
    LaneExists {
        /// Its name.
        name: String,
    },
    /// A newer version of this program made the lane.
    #[error("lane {name} was made by a newer version of agentops")]
    NewerLane {
        /// Its name.
        name: String,
    },
    /// No complete lane at this place.
    #[error("{} is not a lane of this repository", path.display())]
    NotALane {
        /// The folder.
        path: PathBuf,
    },
    /// A commit that a lane needs is not in the repository any more.
    #[error("commit {commit} is not in this repository any more")]
    CommitGone {
        /// The commit.
        commit: Oid,
    },
    /// Git reads ignore rules whole, and these are larger than memory.
    #[error("git cannot read the ignore rules {}, which have {bytes} bytes: empty or remove that file", path.display())]
    IgnoreRulesTooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// Files in a lane could not be made equal to the commit.
    #[error("{count} paths in the lane at {} cannot be reset", path.display())]
    LaneNotReset {
        /// The lane.
        path: PathBuf,
        /// How many paths still differ.
        count: usize,
    },
    /// The user's own git did not merge. What it had begun was taken back.
    #[error("{}", merge_refused(refusal, words, left))]
    MergeRefused {
        /// Why.
        refusal: MergeRefusal,
        /// What git and its hooks said.
        words: String,
        /// Paths that differ from `HEAD` now and were not put back: they are not as the merge put them there.
        left: Vec<PathBuf>,
    },
    /// Git made the merge, and its tree is not the one that was tested.
    #[error("{}", merged_otherwise(branch, commit, paths))]
    MergedOtherwise {
        /// The branch of ours that was merged.
        branch: String,
        /// The commit that is checked out now.
        commit: Oid,
        /// The commit that was checked out before.
        before: Oid,
        /// The paths that differ from what was tested.
        paths: Vec<PathBuf>,
    },
    /// Git still works on a merge into this checkout.
    #[error("a merge into this checkout is under way and has the lock {}: {}", lock.display(), holders(lock))]
    MergeAtWork {
        /// The lock file that it holds.
        lock: PathBuf,
    },
    /// A merge into another checkout of the repository was interrupted.
    #[error("a merge of {branch} into another checkout was begun and has not ended: {}", note.display())]
    MergeElsewhere {
        /// The branch that is merged, without `refs/heads/`.
        branch: String,
        /// Its note, in the git directory of that checkout.
        note: PathBuf,
    },
    /// A lock of ours was waited for, and what needed it is not needed any more.
    #[error("gave up waiting for the lock {}: {}", lock.display(), holders(lock))]
    LockGivenUp {
        /// The lock file.
        lock: PathBuf,
    },
    /// Git refuses the configuration of the repository, so that none of its commands works there.
    #[error("git refuses the configuration {}: {words}", path.display())]
    ConfigurationRefused {
        /// The file.
        path: PathBuf,
        /// What git says.
        words: String,
    },
    /// A file of the git directory leads git to another git directory, with hooks and settings of its own.
    #[error("{} leads git to another git directory, with other hooks and settings; only linked worktrees have such a file", path.display())]
    OtherGitDirectory {
        /// The file.
        path: PathBuf,
    },
    /// The note of a merge that was begun says nothing which could be taken back.
    #[error("the note {} of an interrupted merge cannot be used: {why}", path.display())]
    MergeNoteUnknown {
        /// The note.
        path: PathBuf,
        /// Why it cannot be used.
        why: &'static str,
    },
    /// The caller gave up what git was doing, and git was ended.
    #[error("git {what} was interrupted")]
    Interrupted {
        /// The command.
        what: String,
    },
    /// The user is in the middle of a merge, rebase, cherry-pick or revert.
    #[error("{what} is in progress in {}", path.display())]
    InProgress {
        /// What is in progress.
        what: &'static str,
        /// The work tree.
        path: PathBuf,
    },
    /// A partial clone has not fetched objects that are needed here.
    #[error("{count} objects of this partial clone are missing; git fetches them with `{command}`")]
    ObjectsMissing {
        /// How many are known to be missing.
        count: usize,
        /// What a person types.
        command: String,
        /// Why they could not be fetched; none where that was not tried.
        #[source]
        source: Option<Box<Error>>,
    },
    /// No folder for temporary files can be written.
    #[error("no temporary folder can be written: {}", list(folders))]
    NoTemporaryFolder {
        /// Those that were tried; `$TMPDIR` is the first.
        folders: Vec<PathBuf>,
        /// Why the first cannot be written.
        #[source]
        source: Option<Box<Error>>,
    },
    /// The folder that git should work in is not there any more.
    #[error("the folder {} is gone", path.display())]
    FolderGone {
        /// The folder: a checkout or a lane.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// A verb.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// A ref as people name it.
fn shown(name: &str) -> String {
    match name.strip_prefix("refs/heads/") {
        Some(branch) => format!("the branch `{branch}`"),
        None => format!("the ref `{name}`"),
    }
}

/// What is said of a git that failed.
fn failed(args: &str, code: Option<i32>, stderr: &str, lock: Option<&Path>) -> String {
    if let Some(lock) = lock {
        return lock_files::in_the_way(lock, args);
    }
    let code = code.map_or_else(|| "by signal".to_owned(), |code| code.to_string());
    format!("git {args} failed ({code}): {stderr}")
}

/// Who holds a lock.
fn holders(lock: &Path) -> String {
    let holders: Vec<String> = lock_holders(lock).iter().map(ToString::to_string).collect();
    match holders.is_empty() {
        true => "the system does not tell who holds it".to_owned(),
        false => format!("{} holds it", holders.join(", ")),
    }
}

fn merge_refused(refusal: &MergeRefusal, words: &str, left: &[PathBuf]) -> String {
    let mut text = match refusal {
        MergeRefusal::Hook { name, program } => format!("the hook {name} ({program}) refused the merge"),
        MergeRefusal::Signature { program } => format!("{program} could not sign the merge"),
        MergeRefusal::LocalChanges { paths, .. } => format!("local changes are in the way of the merge: {}", list(paths)),
        MergeRefusal::LockFile { lock } => lock_files::in_the_way(lock, "merge"),
        MergeRefusal::Identity => "git knows no name and address of yours for the merge".to_owned(),
        MergeRefusal::Other => "git refused to merge".to_owned(),
    };
    // What git says about that lock file is said already.
    let is_said = matches!(refusal, MergeRefusal::LockFile { lock } if words.contains(&*lock.to_string_lossy()));
    if !words.is_empty() && !is_said {
        text.push_str(": ");
        text.push_str(words);
    }
    if !left.is_empty() {
        text.push_str("\nleft as they are, because they changed since: ");
        text.push_str(&list(left));
    }
    text
}

/// Paths that a message names.
const PATHS_NAMED_MAX: usize = 10;

fn merged_otherwise(branch: &str, commit: &Oid, paths: &[PathBuf]) -> String {
    let named = list(&paths[..paths.len().min(PATHS_NAMED_MAX)]);
    let more = match paths.len().saturating_sub(PATHS_NAMED_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let commit: String = commit.as_str().chars().take(12).collect();
    format!(
        "git merged {branch} as {commit}, but not with the files that were tested: its settings, a merge driver or a hook made \
         other content of {named}{more}"
    )
}

impl Error {
    /// The lock file of git's that was in the way of git.
    #[must_use]
    pub fn lock_in_the_way(&self) -> Option<PathBuf> {
        match self {
            Self::Failed { lock, .. } => lock.clone(),
            Self::MergeRefused { refusal: MergeRefusal::LockFile { lock }, .. } => Some(lock.clone()),
            _ => None,
        }
    }

    /// Turns an operating system error into ours, for `map_err`.
    pub(crate) fn io(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { what, path, source }
    }
}
