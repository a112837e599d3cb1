//! Where a task goes: the agents and workflows that are at hand, what was learnt about them, and the answer.
//!
//! `agentops-route` decides; this module gives it what lies on disk and in git.

mod examples;
mod kept;
pub(crate) use kept::PART;
mod learner;
mod roles;
mod score;
mod sources;
mod workflows;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;

use agentops_core::id::Name;
use agentops_git::Repo;
use agentops_route::feedback::{Line, Why};
use agentops_route::router::{Decision, Router};
use agentops_safe::Redactor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::files::FileError;
use crate::files::profile::Places;
use sources::Sources;
use workflows::Workflows;

pub use examples::{ProfileExample, REPOSITORY};
pub use learner::Learner;
pub use roles::{roles, writers};
pub use score::{Doubt, EvalView, Figure, Figures, ProfileFigures, ProgressView, RunsView};

/// Everything that a task can be routed to, with what was learnt.
#[derive(Debug)]
pub struct Routing {
    router: Router,
    /// In the router's order.
    agents: Vec<Agent>,
    workflows: Workflows,
    /// What is not used, and why.
    pub problems: Vec<String>,
    /// What was learnt.
    pub learnt: Learnt,
}

/// An agent as far as an answer needs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Agent {
    label: String,
    name: String,
    /// The first line of what it is for.
    line: String,
}

/// What was learnt, and what was not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Learnt {
    /// Tasks whose agent is known from people or merged runs.
    pub agents: usize,
    /// Tasks whose workflow is.
    pub workflows: usize,
    /// Lines whose agent or workflow is no longer there.
    pub vanished: usize,
    /// Other lines that are not learnt, and why.
    pub left_out: BTreeMap<Why, usize>,
}

/// Where feedback lies, and what time it is.
#[derive(Debug, Clone, Copy)]
pub struct Here<'a> {
    /// The repository.
    pub repo: &'a Repo,
    /// A file that what was learnt is kept in. It may be deleted at any time.
    pub cache: Option<&'a Path>,
    /// The time, in Unix milliseconds.
    pub now_ms: u64,
}

/// Where a task goes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Routed {
    /// Which agent.
    pub agent: RoutedAgent,
    /// Which workflow.
    pub workflow: RoutedWorkflow,
}

/// Which agent for the phases that change files.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RoutedAgent {
    /// `auto`: take the first. `suggest`: it is likely. `ask`: none is. `abstain`: none fits.
    #[schemars(with = "String")]
    pub decision: Decision,
    /// How likely the first is right, if any fits.
    pub confidence: f32,
    /// How likely any fits.
    pub in_scope: f32,
    /// The likeliest, best first; at most five.
    pub ranked: Vec<RankedAgent>,
    /// Labelled requests behind this.
    pub evidence: usize,
}

/// One agent of a ranking.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RankedAgent {
    /// Its label.
    pub label: String,
    /// What it is for, the first line.
    pub description: String,
    /// How likely it is.
    pub likely: f32,
    /// Words of the task that count for it.
    pub words: Vec<String>,
    /// Earlier tasks like this one that went there.
    pub like: Vec<String>,
}

/// Which workflow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RoutedWorkflow {
    /// The best; absent: none is.
    pub name: Option<String>,
    /// Each with how likely it fits, best first.
    pub chances: Vec<WorkflowChance>,
    /// Whether something about the task asks for a person's eye.
    pub risky: bool,
    /// What counted, in plain words.
    pub reasons: Vec<String>,
}

/// A workflow and how likely it fits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WorkflowChance {
    /// Its name.
    pub name: String,
    /// How likely it fits.
    pub likely: f64,
}

/// How many agents an answer names.
const SHOWN: usize = 5;

impl Routing {
    /// Reads what is at hand, and learns nothing but the examples of the profile. `roles` are the agents of phases that change
    /// no files: no task goes to them.
    ///
    /// # Errors
    /// A folder or file of the repository's or the user's own cannot be read.
    pub fn open(places: &Places, roles: &[Name]) -> Result<Self, FileError> {
        Ok(Learner::open(places, roles, None)?.routing())
    }

    /// Reads what is at hand, and learns what people said and how runs ended, in all clones that are known here. Feedback that
    /// git cannot give is a problem and no error. What was learnt before and still holds is not learnt again, and no text of a
    /// catalogue is read for it.
    ///
    /// # Errors
    /// As [`Routing::open`].
    pub fn learnt(places: &Places, roles: &[Name], here: Here<'_>) -> Result<Self, FileError> {
        let sources = Sources::read(places, roles, Some(here))?;
        if let Some(routing) = kept::read(here, &sources) {
            return Ok(routing);
        }
        let learner = Learner::of(sources, places, roles)?;
        let routing = learner.routing();
        kept::write(here, learner.sources(), &routing);
        Ok(routing)
    }

    /// Whether there is an agent of this label that tasks can go to.
    #[must_use]
    pub fn has_agent(&self, label: &str) -> bool {
        self.router.knows(label)
    }

    /// Whether there is a workflow of this name.
    #[must_use]
    pub fn has_workflow(&self, name: &str) -> bool {
        self.workflows.has(name)
    }

    /// The names of the workflows.
    pub fn workflows(&self) -> impl Iterator<Item = &str> {
        self.workflows.names()
    }

    /// The agent's label that a person means: the label itself, or the name of one agent alone. If there is none, the labels
    /// that look most like what was given.
    ///
    /// # Errors
    /// No agent, or several, are meant.
    pub fn meant(&self, given: &str) -> Result<String, Vec<String>> {
        let agents = &self.agents;
        if self.has_agent(given) {
            return Ok(given.to_owned());
        }
        let named: Vec<String> =
            agents.iter().filter(|agent| agent.name == given).map(|agent| agent.label.clone()).collect();
        match &named[..] {
            [one] => return Ok(one.clone()),
            [] => {}
            _ => return Err(named),
        }
        let given = given.to_lowercase();
        let mut near: Vec<(f64, &String)> = agents
            .iter()
            .map(|agent| {
                let last = agent.label.rsplit('/').next().unwrap_or_default();
                let alike = |text: &str| alike(&given, &text.to_lowercase());
                (alike(&agent.label).max(alike(&agent.name)).max(alike(last)), &agent.label)
            })
            .collect();
        near.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
        Err(near.into_iter().take(3).map(|(_, label)| label.clone()).collect())
    }

    /// Where a task goes.
    #[must_use]
    pub fn route(&self, task: &str) -> Routed {
        let answer = self.router.route(task);
        let labels: Vec<usize> = answer.ranked.iter().take(SHOWN).map(|(label, _)| *label).collect();
        let because = self.router.because(task, &labels);
        let ranked = answer.ranked.iter().zip(because).map(|((label, likely), because)| RankedAgent {
            label: self.router.label(*label).to_owned(),
            description: self.agents.get(*label).map(|agent| agent.line.clone()).unwrap_or_default(),
            likely: *likely,
            words: because.words,
            like: because.like,
        });
        Routed {
            agent: RoutedAgent {
                decision: answer.decision,
                confidence: answer.confidence,
                in_scope: answer.in_scope,
                ranked: ranked.collect(),
                evidence: self.router.evidence(),
            },
            workflow: self.workflows.route(task),
        }
    }

    /// Adds a line of feedback to this clone's file in git. Secrets are taken out before.
    ///
    /// # Errors
    /// Another process works there for too long, or git fails.
    pub fn record(repo: &Repo, redactor: &Redactor, line: &Line) -> Result<(), agentops_git::Error> {
        crate::feedback::append(repo, redactor, &[line.to_json()], line.at).map(|_| ())
    }
}

/// How much two words have in common: Dice's coefficient over their pairs of characters, 0 to 1.
fn alike(a: &str, b: &str) -> f64 {
    let pairs = |text: &str| {
        let chars: Vec<char> = text.chars().collect();
        let mut pairs: Vec<[char; 2]> = chars.array_windows().copied().collect();
        pairs.sort_unstable();
        pairs.dedup();
        pairs
    };
    let (a, b) = (pairs(a), pairs(b));
    let both = a.iter().filter(|pair| b.binary_search(pair).is_ok()).count();
    2.0 * both as f64 / (a.len() + b.len()).max(1) as f64
}
