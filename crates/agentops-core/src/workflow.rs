//! What a run does: phases, lanes, gates, limits.
//!
//! Three levels, three types. [`raw::RawWorkflow`] is what a file says, with no rule checked. [`Workflow`] is checked: it can
//! be run. The running one is the fold of a ledger, in [`crate::run`].

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::budget::Limits as Budget;
use crate::id::Name;

pub mod budget;
pub mod raw;

/// A checked workflow. Phases are in the order in which they run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Workflow {
    /// Its name.
    pub name: Name,
    /// One sentence for people and for routing.
    pub description: String,
    /// At least one; the last one closes the run out.
    pub phases: Vec<Phase>,
    /// Limits of every session.
    pub limits: Limits,
    /// What a run may spend.
    #[serde(default, skip_serializing_if = "Budget::is_none")]
    pub budget: Budget,
    /// What happens to secrets that are about to leave towards a model provider.
    #[serde(default, skip_serializing_if = "Secrets::is_default")]
    pub secrets: Secrets,
    /// How a lane is set up.
    pub lane: LaneSetup,
}

/// What happens to what looks like a secret in a call that is about to leave towards a model provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Secrets {
    /// It is replaced. The same text is replaced by the same words each time, so that the provider's cache stays valid.
    #[default]
    Redact,
    /// The call is refused, and with it the session ends.
    Refuse,
    /// It leaves.
    Pass,
}

impl Secrets {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// One phase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Phase {
    /// Its name.
    pub name: Name,
    /// What its lanes may change.
    pub writes: Writes,
    /// At least one, merged in this order.
    pub lanes: Vec<Lane>,
    /// Checked in this order.
    pub gates: Vec<Gate>,
    /// How often a refused gate or a failed session sends a fresh session in, per phase.
    pub retries: u32,
    /// What its lanes and its reviews may spend together.
    #[serde(default, skip_serializing_if = "Budget::is_none")]
    pub budget: Budget,
    /// What its bundle must be.
    #[serde(default, skip_serializing_if = "BundleRule::is_default")]
    pub bundle: BundleRule,
}

/// How large a phase's bundle may be, and how much must survive in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct BundleRule {
    /// The tokens that it should take at most, of o200k.
    pub tokens: u64,
    /// The share of must-keep facts below which it is made larger, in percent.
    pub keep: u8,
}

impl BundleRule {
    /// How many times its tokens a bundle may take so that enough survives.
    pub const GROWTH_MAX: u64 = 4;

    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Default for BundleRule {
    fn default() -> Self {
        Self { tokens: 8_000, keep: 90 }
    }
}

/// What the lanes of a phase may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Writes {
    /// Files of the repository.
    Files,
    /// Only documents below `.agentops-out/`; other changes are dropped and reported.
    Artifacts,
}

/// One lane of a phase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Lane {
    /// Its name, unique in the phase.
    pub name: Name,
    /// The agent that works in it.
    pub agent: Name,
    /// What this lane looks at, added to the prompt; empty for the whole task.
    pub focus: String,
    /// What its sessions may spend together.
    #[serde(default, skip_serializing_if = "Budget::is_none")]
    pub budget: Budget,
}

/// What must hold before the next phase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Gate {
    /// Its name, unique in the phase and different from its lanes'.
    pub name: Name,
    /// What is checked.
    pub check: Check,
}

/// What a gate checks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Check {
    /// A program ends with 0 in a fresh work tree of the merged result.
    Command {
        /// The argument vector; never a shell.
        argv: Vec<String>,
        /// Time limit in seconds.
        seconds_max: u64,
    },
    /// A document exists in every lane and has what it must have.
    Artifact {
        /// Its name below `.agentops-out/`.
        file: String,
        /// Markdown headings that it must contain.
        headings: Vec<String>,
        /// A built-in schema that it must match.
        schema: Option<Schema>,
    },
    /// Another agent, in a fresh context, judges the merged result.
    Review {
        /// That agent.
        agent: Name,
    },
    /// A person approves what is shown.
    Approval {
        /// The document that is shown.
        file: String,
    },
    /// The five laws. Every workflow ends with it.
    Laws,
}

/// Schemas that an artifact can be held to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Schema {
    /// `agentops schema close-out`.
    CloseOut,
    /// `agentops schema verdict`.
    Verdict,
}

/// Limits of sessions and lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Limits {
    /// Sessions of one lane before a person is asked.
    pub sessions_max: u32,
    /// Seconds without any output after which a session counts as hung.
    pub silence_seconds_max: u64,
    /// Seconds a session may take.
    pub session_seconds_max: u64,
    /// Seconds that an agent gets to write its hand-over.
    pub hand_over_seconds_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { sessions_max: 8, silence_seconds_max: 600, session_seconds_max: 5400, hand_over_seconds_max: 180 }
    }
}

/// How a lane's work tree is made ready, and what of it its checkpoints take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LaneSetup {
    /// Programs run in a new lane, in order; argument vectors.
    pub setup: Vec<Vec<String>>,
    /// Untracked files copied from the user's checkout into a new lane, repository paths.
    pub copy: Vec<String>,
    /// Variables of the user's environment that reach the lane although they look like secrets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// Seconds that each set-up program may take.
    pub seconds_max: u64,
    /// Size of the largest file that a checkpoint of the lane takes, in MiB.
    #[serde(default = "file_mib_max", skip_serializing_if = "is_file_mib_max")]
    pub file_mib_max: u64,
    /// Size of all files together that one checkpoint stores, in MiB.
    #[serde(default = "checkpoint_mib_max", skip_serializing_if = "is_checkpoint_mib_max")]
    pub checkpoint_mib_max: u64,
}

impl Default for LaneSetup {
    fn default() -> Self {
        Self {
            setup: Vec::new(),
            copy: Vec::new(),
            env: Vec::new(),
            seconds_max: 0,
            file_mib_max: file_mib_max(),
            checkpoint_mib_max: checkpoint_mib_max(),
        }
    }
}

fn file_mib_max() -> u64 {
    1024
}

fn checkpoint_mib_max() -> u64 {
    4096
}

fn is_file_mib_max(mib: &u64) -> bool {
    *mib == file_mib_max()
}

fn is_checkpoint_mib_max(mib: &u64) -> bool {
    *mib == checkpoint_mib_max()
}

impl Workflow {
    /// A phase by its name.
    #[must_use]
    pub fn phase(&self, name: &Name) -> Option<&Phase> {
        self.phases.iter().find(|phase| phase.name == *name)
    }

    /// Every agent the workflow names, each once, in order of appearance.
    #[must_use]
    pub fn agents(&self) -> Vec<&Name> {
        let mut names = Vec::new();
        for phase in &self.phases {
            let reviewers = phase.gates.iter().filter_map(|gate| match &gate.check {
                Check::Review { agent } => Some(agent),
                _ => None,
            });
            for name in phase.lanes.iter().map(|lane| &lane.agent).chain(reviewers) {
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        names
    }

    /// Every argument vector the workflow would run, with what it is for.
    #[must_use]
    pub fn commands(&self) -> Vec<(String, &[String])> {
        let mut all: Vec<(String, &[String])> =
            self.lane.setup.iter().map(|argv| ("lane set-up".to_owned(), argv.as_slice())).collect();
        for phase in &self.phases {
            for gate in &phase.gates {
                if let Check::Command { argv, .. } = &gate.check {
                    all.push((format!("gate {}/{}", phase.name, gate.name), argv));
                }
            }
        }
        all
    }
}
