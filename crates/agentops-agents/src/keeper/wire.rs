//! What supervisor and keeper say to each other: one JSON object a line, over the keeper's stdin and stdout.

use std::ffi::OsString;

use serde::{Deserialize, Serialize};

use crate::driver::Exit;
use crate::process::ProcessId;

/// What a keeper starts and how it limits it. The first line that a keeper reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeeperSpec {
    /// The program; absolute.
    pub program: OsString,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Its whole environment; nothing else is inherited.
    pub env: Vec<(OsString, OsString)>,
    /// Its working directory.
    pub cwd: OsString,
    /// The text of [`MARK_VARIABLE`], by which strays are found after a crash.
    pub mark: String,
    /// Longer lines are relayed as head and tail.
    pub line_bytes_max: u64,
    /// What is relayed of stdout in all; after that only the tail is kept.
    pub output_bytes_max: u64,
    /// Without a byte of output for so long the program is stopped; 0: never.
    pub silence_ms: u64,
    /// The program is stopped after so long; 0: never.
    pub time_limit_ms: u64,
    /// Time between SIGTERM and SIGKILL.
    pub grace_ms: u64,
    /// Where the program's stdin comes from.
    pub stdin: StdinKind,
    /// Lock files that the keeper holds until its tree is gone, shared with the supervisor: the supervisor may die first.
    #[serde(default)]
    pub locks: Vec<OsString>,
}

/// The environment variable that marks every process of a session or gate.
pub const MARK_VARIABLE: &str = "AGENTOPS_SESSION";

/// A program's stdin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StdinKind {
    /// A pipe; lines are written by [`ToKeeper::Send`].
    Open,
    /// Nothing.
    Null,
}

/// What the supervisor tells a keeper after the spec.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum ToKeeper {
    /// Write this line to the program's stdin.
    Send {
        /// Without its newline.
        line: String,
    },
    /// Close the program's stdin once everything is written.
    CloseStdin,
    /// End the tree: (SIGINT,) SIGTERM, after the grace SIGKILL.
    Stop {
        /// Begin with a SIGINT to the program itself, and give it half of the grace.
        interrupt: bool,
    },
}

/// What a keeper tells the supervisor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum FromKeeper {
    /// The program runs.
    Started {
        /// Which process it is.
        process: ProcessId,
    },
    /// The program could not be started. Nothing follows.
    NotStarted {
        /// The cause.
        message: String,
    },
    /// A line of stdout, without its newline.
    Out {
        /// The line; bytes that are not UTF-8 are replaced.
        line: String,
    },
    /// A line of stderr, without its newline.
    Err {
        /// The line; bytes that are not UTF-8 are replaced.
        line: String,
    },
    /// So much was put out that nothing more of stdout is relayed. What the program reports from now on is not seen.
    OutputFull,
    /// The program does not read its stdin and too much waited for it: a line was dropped.
    InputFull,
    /// The tree is gone. Nothing follows.
    Ended(Ended),
    /// The keeper itself vanished without a word (made by the client, never sent). Its tree may live: see `strays`.
    Gone {
        /// Why it was killed, when we did it.
        why: Option<String>,
    },
}

/// How a tree ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// How the program ended; `None` when even SIGKILL did not end it in time.
    pub exit: Option<Exit>,
    /// Who ended it.
    pub reason: EndReason,
    /// Bytes that came from stdout.
    pub out_bytes: u64,
    /// Bytes that came from stderr.
    pub err_bytes: u64,
    /// Bytes of both that were not relayed.
    pub cut_bytes: u64,
    /// Processes that outlived the program and had to be ended.
    pub leftovers: u32,
    /// Processes that could not be ended, e.g. in uninterruptible sleep.
    pub unkillable: u32,
    /// The last bytes of stdout when they were not relayed, else empty.
    pub tail: String,
    /// The last bytes of stderr when they were not relayed, else empty.
    pub err_tail: String,
}

/// Why a tree ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EndReason {
    /// The program ended by itself.
    Exited,
    /// The supervisor said so, or somebody sent the keeper a signal.
    Stopped,
    /// No output for too long.
    Silent,
    /// It ran for too long.
    TimeLimit,
    /// The supervisor's end of the pipe was closed.
    SupervisorGone,
}
