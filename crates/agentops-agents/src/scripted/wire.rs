//! What the scripted agent and its driver say to each other: JSON lines.

use agentops_core::usage::Usage;
use serde::{Deserialize, Serialize};

use crate::driver::Finish;

/// From the program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "type")]
pub(super) enum FromAgent {
    /// Up; waits for `begin`.
    Ready { model: String, version: String, window: u64 },
    /// A model call ended; waits for `ack`.
    Call { id: String, usage: Option<Usage>, sub_agent: bool },
    /// Text entered the conversation.
    Grew { bytes: u64 },
    /// A tool was used.
    Tool { name: String, detail: String },
    /// Words.
    Said { text: String },
    /// Over; waits for the end of its stdin.
    Finished { finish: Finish },
}

/// To the program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "type")]
pub(super) enum ToAgent {
    /// The first prompt.
    Begin { instructions: String, prompt: String },
    /// The call was counted and the session may go on.
    Ack,
    /// Hand over now.
    HandOver { prompt: String },
    /// Stop what you do.
    Interrupt,
}
