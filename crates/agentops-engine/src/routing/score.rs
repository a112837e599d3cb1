//! How well tasks are routed, and whether a line would make it worse.

use agentops_route::eval::Score;
use agentops_route::feedback::{Gathered, Line};
use agentops_route::grow::{Progress, progress};
use agentops_route::memory::Memory;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Learner, ProfileExample, Routing};

/// A share with its bounds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Figure {
    /// Right ones.
    pub right: usize,
    /// All of them.
    pub all: usize,
    /// The share that was right, 0 to 1; absent: there were none.
    pub share: Option<f64>,
    /// The lower end of its 95 % Wilson interval.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

impl From<Score> for Figure {
    fn from(score: Score) -> Self {
        let (low, high) = score.interval();
        Self { right: score.right, all: score.all, share: score.share(), low, high }
    }
}

/// Workflows and agents that were right on held-back examples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Figures {
    /// Of examples with a workflow.
    pub workflows: Figure,
    /// Of examples with an agent.
    pub agents: Figure,
}

/// A profile's held-back examples without and with what was learnt from feedback.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProfileFigures {
    /// The profile, or `repository` for the examples in `.agentops/routing`.
    pub profile: String,
    /// Without feedback.
    pub before: Figures,
    /// With it.
    pub after: Figures,
}

/// Lines of feedback, each predicted before it was learnt.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProgressView {
    /// The first one was right.
    pub first: Figure,
    /// Those that would have been taken without asking.
    pub auto: Figure,
    /// Their share of all lines, 0 to 1; absent: there are no lines.
    pub auto_share: Option<f64>,
}

impl From<Progress> for ProgressView {
    fn from(of: Progress) -> Self {
        let auto_share = (of.first.all > 0).then(|| of.auto.all as f64 / of.first.all as f64);
        Self { first: of.first.into(), auto: of.auto.into(), auto_share }
    }
}

/// How runs ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunsView {
    /// The agent's label; absent: the workflow's own.
    pub agent: Option<String>,
    /// The workflow.
    pub workflow: Option<String>,
    /// Merged.
    pub merged: usize,
    /// Put away.
    pub discarded: usize,
    /// Failed.
    pub failed: usize,
}

/// Output of `route eval --json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EvalView {
    /// Each profile's held-back examples.
    pub profiles: Vec<ProfileFigures>,
    /// Agents, as feedback came.
    pub agents: ProgressView,
    /// Workflows, as feedback came; nothing is taken without asking that a rule forbids, so `auto` is empty.
    pub workflows: ProgressView,
    /// Lines whose agent or workflow is no longer there.
    pub vanished: usize,
    /// Other lines that are not learnt: why, and how many.
    pub left_out: Vec<(String, usize)>,
    /// How runs ended. Only merged ones are learnt.
    pub runs: Vec<RunsView>,
}

/// A line that would make held-back examples go wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doubt {
    /// Whose examples.
    pub profile: &'static str,
    /// How many were right without the line.
    pub before: usize,
    /// And with it.
    pub after: usize,
    /// How many there are.
    pub all: usize,
    /// The tasks that would go wrong, with where they belong.
    pub wrong: Vec<(String, String)>,
}

/// What of a profile's examples was right: for each whether its workflow and its agent were.
fn marks(routing: &Routing, held: &[ProfileExample]) -> Vec<(Option<bool>, Option<bool>)> {
    held.iter()
        .map(|example| {
            let workflow = example.workflow.as_deref().filter(|name| routing.has_workflow(name));
            let agent = example.agent.as_deref().filter(|label| routing.has_agent(label));
            let workflow = workflow.map(|name| routing.workflows.route(&example.text).name.as_deref() == Some(name));
            let agent = agent.map(|label| {
                let answer = routing.router.route(&example.text);
                answer.ranked.first().is_some_and(|(first, _)| routing.router.label(*first) == label)
            });
            (workflow, agent)
        })
        .collect()
}

fn figures(marks: &[(Option<bool>, Option<bool>)]) -> Figures {
    let score = |marks: &mut dyn Iterator<Item = bool>| {
        let mut score = Score::default();
        marks.for_each(|right| score.count(right));
        Figure::from(score)
    };
    Figures {
        workflows: score(&mut marks.iter().filter_map(|(workflow, _)| *workflow)),
        agents: score(&mut marks.iter().filter_map(|(_, agent)| *agent)),
    }
}

/// How many examples fewer may be right where no other sign speaks against a line. Learning anew moves the few that lie on the
/// border, whatever the line says: with nothing allowed, one such example refused every line after it.
const WOBBLE: usize = 1;
/// How alike an example must be to a line's task for the line to have pulled it, 0 to 1.
const PULLED: f32 = 0.3;

/// Agents or workflows: what is looked at of an example and of a line.
#[derive(Clone, Copy)]
enum Of {
    Workflows,
    Agents,
}

impl Of {
    fn mark(self, marks: &(Option<bool>, Option<bool>)) -> Option<bool> {
        match self {
            Of::Workflows => marks.0,
            Of::Agents => marks.1,
        }
    }

    fn label(self, example: &ProfileExample) -> &str {
        let label = match self {
            Of::Workflows => &example.workflow,
            Of::Agents => &example.agent,
        };
        label.as_deref().unwrap_or_default()
    }

    fn right(self, marks: &[(Option<bool>, Option<bool>)]) -> usize {
        marks.iter().filter(|marks| self.mark(marks) == Some(true)).count()
    }
}

impl Learner {
    /// Whether a line makes routing worse: fewer of a profile's held-back examples are right with it, and that is more than
    /// [`WOBBLE`], or fewer than without any feedback, or one of them is like the line's task. Agents and workflows count each
    /// for themselves, and so does each profile. Nothing is kept.
    #[must_use]
    pub fn doubt(&self, line: &Line) -> Option<Doubt> {
        let (without, with) = (self.routing(), self.taught(&self.sources.gathered(Some(line))));
        let alone = self.taught(&Gathered::default());
        let task = Memory::new(std::iter::once((line.text.as_str(), 0)));
        let pulled = |text: &str| task.like(text, 1).first().is_some_and(|like| like.alike > PULLED);
        for (profile, held) in &self.sources.examples.held {
            let (before, after, alone) = (marks(&without, held), marks(&with, held), marks(&alone, held));
            for of in [Of::Workflows, Of::Agents] {
                let (was, is) = (of.right(&before), of.right(&after));
                if is >= was {
                    continue;
                }
                let lost = held.iter().zip(before.iter().zip(&after));
                let lost = lost.filter(|(_, (before, after))| of.mark(before) == Some(true) && of.mark(after) != Some(true));
                let lost: Vec<&ProfileExample> = lost.map(|(example, _)| example).collect();
                let worse = was - is > WOBBLE || is < of.right(&alone) || lost.iter().any(|example| pulled(&example.text));
                if worse {
                    let wrong = lost.iter().map(|example| (example.text.clone(), of.label(example).to_owned())).collect();
                    let all = before.iter().filter(|marks| of.mark(marks).is_some()).count();
                    return Some(Doubt { profile, before: was, after: is, all, wrong });
                }
            }
        }
        None
    }

    /// How well tasks are routed here: held-back examples without and with feedback, and feedback as it came.
    #[must_use]
    pub fn eval(&self) -> EvalView {
        let gathered = self.sources.gathered(None);
        let (before, after) = (self.taught(&Gathered::default()), self.taught(&gathered));
        let profiles = self.sources.examples.held.iter().map(|(profile, held)| ProfileFigures {
            profile: (*profile).to_owned(),
            before: figures(&marks(&before, held)),
            after: figures(&marks(&after, held)),
        });
        let lines = self.lines(&gathered);
        let (base, held) = self.agent_examples();
        let runs = gathered.ended.iter().map(|((agent, workflow), ended)| RunsView {
            agent: Some(agent.clone()).filter(|agent| !agent.is_empty()),
            workflow: Some(workflow.clone()).filter(|workflow| !workflow.is_empty()),
            merged: ended.merged,
            discarded: ended.discarded,
            failed: ended.failed,
        });
        EvalView {
            profiles: profiles.collect(),
            agents: progress(&self.bare, &base, &held, &lines.agents).into(),
            workflows: self.workflows.progress(&self.workflow_examples(), &lines.workflows).into(),
            vanished: lines.vanished,
            left_out: gathered.left_out.iter().map(|(why, count)| (why.words().to_owned(), *count)).collect(),
            runs: runs.collect(),
        }
    }
}
