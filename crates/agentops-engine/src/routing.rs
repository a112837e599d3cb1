//! Where a task goes: the agents and workflows that are at hand, what was learnt about them, and the answer.
//!
//! `agentops-route` decides; this module gives it what lies on disk and in git.

use std::collections::BTreeMap;

use agentops_core::id::Name;
use agentops_route::catalogue::Entry;
use agentops_route::judge::{self, Offered};
use agentops_route::router::{Decision, Router};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::files::profile::{Found, Places};
use crate::files::{self, FileError};

/// Everything that a task can be routed to, with what was learnt.
#[derive(Debug)]
pub struct Routing {
    entries: Vec<Entry>,
    router: Router,
    workflows: BTreeMap<String, String>,
    /// What is not used, and why.
    pub problems: Vec<String>,
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
    /// Reads what is at hand. `roles` are the agents of phases that change no files: no task goes to them.
    ///
    /// # Errors
    /// A folder or file of the repository's or the user's own cannot be read.
    pub fn open(places: &Places, roles: &[Name]) -> Result<Self, FileError> {
        let mut routable = places.routable()?;
        routable.entries.retain(|entry| roles.iter().all(|role| role.as_str() != entry.label));
        let mut workflows = BTreeMap::new();
        for (name, found) in places.workflows()? {
            workflows.insert(name, description(&found));
        }
        let router = Router::new(&routable.entries);
        Ok(Self { entries: routable.entries, router, workflows, problems: routable.problems })
    }

    /// Where a task goes.
    #[must_use]
    pub fn route(&self, task: &str) -> Routed {
        let answer = self.router.route(task);
        let ranked = answer.ranked.iter().take(SHOWN).map(|(label, likely)| {
            let because = self.router.because(task, *label);
            RankedAgent {
                label: self.router.label(*label).to_owned(),
                description: self.entries.get(*label).map(|entry| first_line(&entry.description)).unwrap_or_default(),
                likely: *likely,
                words: because.words,
                like: because.like,
            }
        });
        let judgement = judge::judge(task);
        let offered: Vec<Offered<'_>> =
            self.workflows.iter().map(|(name, description)| Offered { name, description }).collect();
        let choice = judgement.workflow(&offered);
        let mut chances: Vec<WorkflowChance> = choice
            .chances
            .iter()
            .map(|chance| WorkflowChance { name: chance.name.clone(), likely: chance.probability })
            .collect();
        chances.sort_by(|a, b| b.likely.total_cmp(&a.likely));
        Routed {
            agent: RoutedAgent {
                decision: answer.decision,
                confidence: answer.confidence,
                in_scope: answer.in_scope,
                ranked: ranked.collect(),
                evidence: self.router.evidence(),
            },
            workflow: RoutedWorkflow {
                name: choice.best.and_then(|best| choice.chances.get(best)).map(|chance| chance.name.clone()),
                chances,
                risky: judgement.is_risky(),
                reasons: judgement.reasons.iter().map(ToString::to_string).collect(),
            },
        }
    }
}

fn description(found: &Found) -> String {
    // A workflow that cannot be read is told where it is used.
    files::parse_workflow(&found.path, &found.text).map(|raw| raw.description).unwrap_or_default()
}

fn first_line(text: &str) -> String {
    text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default().to_owned()
}
