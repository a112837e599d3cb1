//! Learning from the beginning: the texts of all agents, a profile's examples, and what every clone says.

use agentops_core::id::Name;
use agentops_route::catalogue::Entry;
use agentops_route::feedback::{Gathered, Labelled};
use agentops_route::grow;
use agentops_route::router::{Example, Router};
use agentops_route::scope::HELD_MIN;

use super::examples::ProfileExample;
use super::sources::Sources;
use super::workflows::Workflows;
use super::{Agent, Here, Learnt, Routing};
use crate::files::FileError;
use crate::files::profile::Places;

/// See the module's documentation.
#[derive(Debug)]
pub struct Learner {
    pub(super) sources: Sources,
    pub(super) bare: Router,
    pub(super) workflows: Workflows,
    agents: Vec<Agent>,
    problems: Vec<String>,
}

/// Feedback as examples of what is there.
#[derive(Debug, Clone, Default)]
pub(super) struct Lines {
    /// With agents.
    pub agents: Vec<Example>,
    /// With workflows.
    pub workflows: Vec<Example>,
    /// Those whose agent or workflow is no longer there.
    pub vanished: usize,
}

impl Lines {
    /// Takes what is there.
    pub fn of(gathered: &Gathered, has_agent: impl Fn(&str) -> bool, has_workflow: impl Fn(&str) -> bool) -> Self {
        let (agents, gone) = there(&gathered.agents, has_agent);
        let (workflows, gone_too) = there(&gathered.workflows, has_workflow);
        Self { agents, workflows, vanished: gone + gone_too }
    }
}

impl Learner {
    /// Reads what is at hand. Without a place there is no feedback.
    ///
    /// # Errors
    /// A folder or file of the repository's or the user's own cannot be read.
    pub fn open(places: &Places, roles: &[Name], here: Option<Here<'_>>) -> Result<Self, FileError> {
        Self::of(Sources::read(places, roles, here)?, places, roles)
    }

    pub(super) fn of(sources: Sources, places: &Places, roles: &[Name]) -> Result<Self, FileError> {
        let mut routable = places.routable()?;
        routable.entries.retain(|entry| roles.iter().all(|role| role.as_str() != entry.label));
        let agents = routable.entries.iter().map(|entry: &Entry| Agent {
            label: entry.label.clone(),
            name: entry.name.clone(),
            line: first_line(&entry.description),
        });
        let mut problems = routable.problems;
        problems.extend(sources.problems.iter().cloned());
        let agents = agents.collect();
        let workflows = Workflows::new(sources.workflows.clone());
        Ok(Self { bare: Router::new(&routable.entries), sources, workflows, agents, problems })
    }

    pub(super) fn sources(&self) -> &Sources {
        &self.sources
    }

    /// What is not used, and why.
    #[must_use]
    pub fn problems(&self) -> &[String] {
        &self.problems
    }

    /// Learns what there is.
    #[must_use]
    pub fn routing(&self) -> Routing {
        self.taught(&self.sources.gathered(None))
    }

    /// Learns this instead.
    pub(super) fn taught(&self, gathered: &Gathered) -> Routing {
        let lines = self.lines(gathered);
        let (base, held) = self.agent_examples();
        let mut workflows = self.workflows.clone();
        workflows.learn(&self.workflow_examples(), &lines.workflows);
        Routing {
            router: grow::grown(&self.bare, &base, &held, &lines.agents),
            agents: self.agents.clone(),
            workflows,
            problems: self.problems.clone(),
            learnt: Learnt::of(&lines, gathered),
        }
    }

    pub(super) fn lines(&self, gathered: &Gathered) -> Lines {
        Lines::of(gathered, |label| self.has_agent(label), |name| self.workflows.has(name))
    }

    fn has_agent(&self, label: &str) -> bool {
        self.bare.knows(label)
    }

    /// A profile's own examples of agents, and those that are held back where they are enough to measure with.
    pub(super) fn agent_examples(&self) -> (Vec<Example>, Vec<Example>) {
        let of = |example: &ProfileExample| {
            let label = example.agent.clone().filter(|label| self.has_agent(label))?;
            Some(Example { text: example.text.clone(), label })
        };
        let base = self.sources.examples.learnt.iter().filter_map(of).collect();
        let held: Vec<Example> = self.sources.examples.held.values().flatten().filter_map(of).collect();
        (base, if held.len() >= HELD_MIN { held } else { Vec::new() })
    }

    pub(super) fn workflow_examples(&self) -> Vec<Example> {
        let of = |example: &ProfileExample| {
            let label = example.workflow.clone().filter(|name| self.workflows.has(name))?;
            Some(Example { text: example.text.clone(), label })
        };
        self.sources.examples.learnt.iter().filter_map(of).collect()
    }
}

impl Learnt {
    pub(super) fn of(lines: &Lines, gathered: &Gathered) -> Self {
        Self {
            agents: lines.agents.len(),
            workflows: lines.workflows.len(),
            vanished: lines.vanished,
            left_out: gathered.left_out.clone(),
        }
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

fn first_line(text: &str) -> String {
    text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default().to_owned()
}
