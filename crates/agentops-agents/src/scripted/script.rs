//! What the scripted agent does: a JSON file.

use agentops_core::usage::Usage;
use serde::{Deserialize, Serialize};

use crate::driver::Failure;

/// A script: which conversation does what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// Tried in this order; the first that fits is played.
    pub conversations: Vec<Conversation>,
}

/// The steps of one kind of session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conversation {
    /// A part of the session's instructions or prompt; empty fits always.
    #[serde(default)]
    pub when: String,
    /// What the session does. After the last step it finishes.
    #[serde(default)]
    pub steps: Vec<Step>,
    /// What it does when it is asked to hand over; nothing given: it writes a hand-over document.
    #[serde(default)]
    pub on_hand_over: Option<Vec<Step>>,
}

impl Script {
    /// The conversation for a session with these texts.
    #[must_use]
    pub fn conversation(&self, instructions: &str, prompt: &str) -> Option<&Conversation> {
        self.conversations.iter().find(|c| instructions.contains(&c.when) || prompt.contains(&c.when))
    }
}

/// One thing that the scripted agent does: `{"do": "say", "text": "…"}`. Paths are relative to the work tree; nothing
/// stops a script from leaving it, as nothing stops a real agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "do", deny_unknown_fields)]
pub enum Step {
    /// Say something.
    Say {
        /// What.
        text: String,
    },
    /// Write a file, with its folders.
    Write {
        /// Where.
        path: String,
        /// What.
        content: String,
    },
    /// Append to a file.
    Append {
        /// Where.
        path: String,
        /// What.
        content: String,
    },
    /// Delete a file.
    Delete {
        /// Which.
        path: String,
    },
    /// Run a program, without a shell, and wait for it.
    Run {
        /// Program and arguments.
        argv: Vec<String>,
    },
    /// Make a model call and wait until it was counted.
    Call {
        /// What it reports: `"none"`, a number (input tokens), or the parts.
        usage: Report,
        /// It belongs to a sub-agent's conversation.
        #[serde(default)]
        sub_agent: bool,
    },
    /// Make calls whose input grows.
    GrowCalls {
        /// Input tokens of the first.
        from: u64,
        /// How much more each takes than the one before.
        step: u64,
        /// How many.
        count: u32,
    },
    /// Wait for the request to hand over, and follow it.
    WaitHandOver,
    /// Wait.
    Wait {
        /// For so long.
        ms: u64,
    },
    /// Do nothing for ever.
    Hang,
    /// End the process without a result.
    Exit {
        /// With this code.
        code: u8,
    },
    /// End with a failure.
    Fail {
        /// Its class.
        failure: Failure,
        /// Its words.
        message: String,
    },
    /// End as done (in `on_hand_over`: as handed over).
    Finish,
    /// Write a file into the session's out folder.
    Out {
        /// Its name there.
        file: String,
        /// What.
        content: String,
    },
    /// Write the names of the environment's variables to a file, one a line.
    EnvFile {
        /// Where.
        path: String,
    },
    /// From now on ignore INT, TERM and HUP.
    IgnoreSignals,
    /// Print so many bytes in short lines that are no protocol.
    Flood {
        /// How many.
        bytes: u64,
    },
    /// Print so many bytes without a newline, then one.
    EndlessLine {
        /// How many.
        bytes: u64,
    },
    /// Start a process in a session of its own, with no living parent, that holds our stdout.
    ForkAway {
        /// It lives so long.
        seconds: u64,
    },
    /// Print a line as it is.
    Raw {
        /// The line.
        line: String,
    },
}

/// What a scripted call reports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Report {
    /// Input tokens only.
    Input(u64),
    /// All parts.
    Parts(Parts),
    /// A word: only `none` is one.
    Word(NoReport),
}

/// The word `none`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoReport {
    /// The call says nothing about its usage.
    None,
}

/// Usage as a script gives it: what is left out is zero.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Parts {
    /// Fresh input.
    pub input: u64,
    /// Read from a cache.
    pub cache_read: u64,
    /// Written to a cache.
    pub cache_write: u64,
    /// Output.
    pub output: u64,
}

impl Report {
    /// As a driver reports it.
    #[must_use]
    pub fn usage(&self) -> Option<Usage> {
        match self {
            Self::Word(NoReport::None) => None,
            Self::Input(input) => Some(Usage { input: *input, ..Usage::default() }),
            Self::Parts(Parts { input, cache_read, cache_write, output }) => {
                Some(Usage { input: *input, cache_read: *cache_read, cache_write: *cache_write, output: *output })
            }
        }
    }
}
