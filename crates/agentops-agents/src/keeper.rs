//! The process that holds one session's or one gate's process tree.
//!
//! A keeper is the supervisor's own program with the hidden subcommand `keeper`. It is the subreaper of everything that the
//! program starts, so a double fork, a new session or a grandchild that holds the pipe stay its descendants, and it can end
//! and reap all of them. Its stdin is the supervisor's life line: when it closes, for whatever reason, the tree is killed.
//! It knows nothing of what runs in it: bytes in, lines out, limits kept. One loop over `poll`, no thread, idle it costs
//! nothing.

mod client;
mod guard;
mod hold;
mod lines;
mod start;
mod supervisor;
mod wire;

use std::process::ExitCode;

pub use client::{Keeper, KeeperHandle};
pub use wire::{EndReason, Ended, FromKeeper, KeeperSpec, MARK_VARIABLE, StdinKind, ToKeeper};

/// The hidden subcommand that makes a program a keeper: its first argument.
pub const SUBCOMMAND: &str = "keeper";
/// The name that a keeper gives itself, as `/proc/PID/comm` shows it. 15 bytes, the most that fits.
pub(crate) const PROCESS_NAME: &std::ffi::CStr = c"agentops-keeper";

/// The keeper: reads its spec from stdin, holds the tree until it is gone, and reports on stdout.
///
/// To be called from `main` before any thread is started, when the first argument is [`SUBCOMMAND`].
#[must_use]
pub fn main() -> ExitCode {
    match hold::hold() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
