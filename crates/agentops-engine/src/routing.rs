//! Where a task goes: the agents and workflows that are at hand, what was learnt about them, and the answer.
//!
//! `agentops-route` decides; this module gives it what lies on disk and in git.

mod examples;
mod roles;
mod score;
mod sources;
mod workflows;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use agentops_core::id::Name;
use agentops_git::Repo;
use agentops_route::feedback::{Ended, Gathered, Labelled, Line, Why};
use agentops_route::grow;
use agentops_route::router::{Decision, Example, Router};
use agentops_route::scope::HELD_MIN;
use agentops_safe::Redactor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::files::FileError;
use crate::files::profile::Places;
use sources::Sources;
use workflows::Workflows;

pub use examples::{ProfileExample, REPOSITORY};
pub use roles::{roles, writers};
pub use score::{Doubt, EvalView, Figure, Figures, ProfileFigures, ProgressView, RunsView};

/// Everything that a task can be routed to, with what was learnt.
#[derive(Debug)]
pub struct Routing {
    bare: Router,
    router: Router,
    /// The first line of what each agent is for, in the router's order.
    described: Vec<String>,
    workflows: Workflows,
    /// What is not used, and why.
    pub problems: Vec<String>,
    /// What was learnt.
    pub learnt: Learnt,
    /// Kept for measuring; absent where nothing was learnt from git.
    sources: Sources,
}

/// What was learnt, and what was not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Learnt {
    /// Tasks whose agent is known from people or merged runs.
    pub agents: usize,
    /// Tasks whose workflow is.
    pub workflows: usize,
    /// Lines whose agent or workflow is no longer there.
    pub vanished: usize,
    /// Other lines that are not learnt, and why.
    pub left_out: BTreeMap<Why, usize>,
    /// How runs ended, by agent and workflow.
    pub ended: BTreeMap<(String, String), Ended>,
}

/// Where feedback lies and what time it is.
#[derive(Debug, Clone, Copy)]
pub struct Here<'a> {
    /// The repository.
    pub repo: &'a Repo,
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
        let sources = Sources::read(places, roles)?;
        Ok(Self::build(sources, Gathered::default()))
    }

    /// Reads what is at hand, and learns what people said and how runs ended, in all clones that are known here. Feedback that
    /// git cannot give is a problem and no error.
    ///
    /// # Errors
    /// As [`Routing::open`].
    pub fn learnt(places: &Places, roles: &[Name], here: Here<'_>) -> Result<Self, FileError> {
        let mut sources = Sources::read(places, roles)?;
        sources.read_feedback(here);
        let gathered = sources.gathered(None);
        Ok(Self::build(sources, gathered))
    }

    fn build(mut sources: Sources, gathered: Gathered) -> Self {
        let bare = Router::new(&sources.entries);
        let described = sources.entries.iter().map(|entry| first_line(&entry.description)).collect();
        let problems = std::mem::take(&mut sources.problems);
        let workflows = Workflows::new(sources.workflows.clone());
        let router = bare.clone();
        let mut routing = Self { bare, router, described, workflows, problems, learnt: Learnt::default(), sources };
        routing.learn(gathered);
        routing
    }

    /// Learns from the beginning.
    fn learn(&mut self, gathered: Gathered) {
        let (agents, gone) = self.agent_lines(&gathered.agents);
        let (flows, gone_flows) = self.workflow_lines(&gathered.workflows);
        let (base, held) = self.agent_examples();
        self.router = grow::grown(&self.bare, &base, &held, &agents);
        self.workflows.learn(&self.workflow_examples(), &flows);
        self.learnt = Learnt {
            agents: agents.len(),
            workflows: flows.len(),
            vanished: gone + gone_flows,
            left_out: gathered.left_out,
            ended: gathered.ended,
        };
    }

    /// The lines whose agent is there, and how many others there are.
    fn agent_lines(&self, lines: &[Labelled]) -> (Vec<Example>, usize) {
        there(lines, |label| self.has_agent(label))
    }

    fn workflow_lines(&self, lines: &[Labelled]) -> (Vec<Example>, usize) {
        there(lines, |name| self.workflows.has(name))
    }

    /// A profile's own examples of agents, and those that are held back where they are enough to measure with.
    fn agent_examples(&self) -> (Vec<Example>, Vec<Example>) {
        let of = |example: &ProfileExample| {
            let label = example.agent.clone().filter(|label| self.has_agent(label))?;
            Some(Example { text: example.text.clone(), label })
        };
        let base = self.sources.examples.learnt.iter().filter_map(of).collect();
        let held: Vec<Example> = self.sources.examples.held.values().flatten().filter_map(of).collect();
        (base, if held.len() >= HELD_MIN { held } else { Vec::new() })
    }

    fn workflow_examples(&self) -> Vec<Example> {
        let of = |example: &ProfileExample| {
            let label = example.workflow.clone().filter(|name| self.workflows.has(name))?;
            Some(Example { text: example.text.clone(), label })
        };
        self.sources.examples.learnt.iter().filter_map(of).collect()
    }

    /// Whether there is an agent of this label that tasks can go to.
    #[must_use]
    pub fn has_agent(&self, label: &str) -> bool {
        self.sources.entries.iter().any(|entry| entry.label == label)
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
        let entries = &self.sources.entries;
        if self.has_agent(given) {
            return Ok(given.to_owned());
        }
        let named: Vec<String> =
            entries.iter().filter(|entry| entry.name == given).map(|entry| entry.label.clone()).collect();
        match &named[..] {
            [one] => return Ok(one.clone()),
            [] => {}
            _ => return Err(named),
        }
        let given = given.to_lowercase();
        let mut near: Vec<(f64, &String)> = entries
            .iter()
            .map(|entry| {
                let last = entry.label.rsplit('/').next().unwrap_or_default();
                let alike = |text: &str| alike(&given, &text.to_lowercase());
                (alike(&entry.label).max(alike(&entry.name)).max(alike(last)), &entry.label)
            })
            .collect();
        near.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
        Err(near.into_iter().take(3).map(|(_, label)| label.clone()).collect())
    }

    /// Where a task goes.
    #[must_use]
    pub fn route(&self, task: &str) -> Routed {
        let answer = self.router.route(task);
        let ranked = answer.ranked.iter().take(SHOWN).map(|(label, likely)| {
            let because = self.router.because(task, *label);
            RankedAgent {
                label: self.router.label(*label).to_owned(),
                description: self.described.get(*label).cloned().unwrap_or_default(),
                likely: *likely,
                words: because.words,
                like: because.like,
            }
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

/// Lines whose label is there, as examples, and how many others there are.
fn there(lines: &[Labelled], is_there: impl Fn(&str) -> bool) -> (Vec<Example>, usize) {
    let kept: Vec<Example> = lines
        .iter()
        .filter(|line| is_there(&line.label))
        .map(|line| Example { text: line.text.clone(), label: line.label.clone() })
        .collect();
    let gone = lines.len() - kept.len();
    (kept, gone)
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

fn first_line(text: &str) -> String {
    text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default().to_owned()
}
