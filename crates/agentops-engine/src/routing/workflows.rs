//! Which workflow: what the judge reads in a task, and what people said about tasks like it.

use agentops_route::catalogue::Entry;
use agentops_route::grow::{self, Growth, Progress};
use agentops_route::judge::{self, Offered, QUICK, QUICK_RISKY_MAX};
use agentops_route::memory::Memory;
use agentops_route::router::{Example, Router};

use super::{RoutedWorkflow, WorkflowChance};

/// Lines from which the learner counts as much as the judge.
const EVEN: f64 = 80.0;
/// The most that the learner counts.
const LEARNER_MAX: f64 = 0.6;
/// How alike an earlier task must be to say anything.
const ALIKE: f32 = 0.5;

/// The workflows that are offered, with what was learnt about them.
#[derive(Debug, Clone)]
pub struct Workflows {
    offered: Vec<(String, String)>,
    bare: Router,
    router: Router,
    memory: Memory,
    lines: usize,
}

impl Workflows {
    /// Workflows by name and description, with nothing learnt: the judge alone decides.
    #[must_use]
    pub fn new(offered: Vec<(String, String)>) -> Self {
        let entries: Vec<Entry> = offered
            .iter()
            .map(|(name, description)| Entry {
                label: name.clone(),
                name: name.clone(),
                description: description.clone(),
                ..Entry::default()
            })
            .collect();
        let bare = Router::new(&entries);
        Self { offered, router: bare.clone(), bare, memory: Memory::default(), lines: 0 }
    }

    /// Whether there is a workflow of this name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.offered.iter().any(|(known, _)| known == name)
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.offered.iter().map(|(name, _)| name.as_str())
    }

    /// Learns from the beginning: a profile's examples and people's lines, the oldest first. Without lines the judge stays
    /// alone: what examples would teach, it knows better.
    pub fn learn(&mut self, examples: &[Example], lines: &[Example]) {
        let router = match lines {
            [] => self.bare.clone(),
            // How sure it is plays no part here, so nothing is spent on measuring it: the examples stand for held-back ones.
            _ => grow::grown(&self.bare, examples, examples, lines),
        };
        self.take(router, lines);
    }

    /// Workflows with a learner that has learnt these lines.
    pub fn taken(offered: Vec<(String, String)>, router: Router, lines: &[Example]) -> Self {
        let mut workflows = Self::new(offered);
        workflows.take(router, lines);
        workflows
    }

    /// Learns the lines behind the first `learnt` ones, which are learnt already.
    pub fn learn_more(&mut self, lines: &[Example], learnt: usize) {
        let mut router = std::mem::take(&mut self.router);
        for line in &lines[learnt..] {
            router.learn(&line.text, &line.label);
        }
        self.take(router, lines);
    }

    /// What has learnt.
    pub fn router(&self) -> &Router {
        &self.router
    }

    /// Takes a learner that has learnt these lines.
    fn take(&mut self, router: Router, lines: &[Example]) {
        (self.router, self.lines) = (router, lines.len());
        let place = |name: &str| self.offered.iter().position(|(known, _)| known == name);
        self.memory = Memory::new(lines.iter().filter_map(|line| Some((line.text.as_str(), place(&line.label)?))));
    }

    /// Progressive validation: each line is predicted before it is learnt.
    pub fn progress(&self, examples: &[Example], lines: &[Example]) -> Progress {
        let mut growth = Growth::new(&self.bare, examples, examples);
        let mut grown = Self::new(self.offered.clone());
        let mut progress = Progress::default();
        for (at, line) in lines.iter().enumerate() {
            progress.first.count(grown.route(&line.text).name.as_deref() == Some(line.label.as_str()));
            growth.learn_last(&lines[..=at]);
            grown.take(growth.router().clone(), &lines[..=at]);
        }
        progress
    }

    /// Which one fits a task.
    #[must_use]
    pub fn route(&self, task: &str) -> RoutedWorkflow {
        let judgement = judge::judge(task);
        let offered: Vec<Offered<'_>> =
            self.offered.iter().map(|(name, description)| Offered { name, description }).collect();
        let choice = judgement.workflow(&offered);
        let mut chances: Vec<f64> = choice.chances.iter().map(|chance| chance.probability).collect();
        let mut reasons: Vec<String> = judgement.reasons.iter().map(ToString::to_string).collect();
        let barred = judgement.is_risky() || judgement.unread.is_some();
        if self.lines > 0 {
            self.blend(task, &mut chances, &mut reasons);
        }
        let quick = self.offered.iter().position(|(name, _)| name == QUICK);
        if let Some(quick) = quick.filter(|quick| barred && chances[*quick] > QUICK_RISKY_MAX) {
            let over = chances[quick] - QUICK_RISKY_MAX;
            let others = chances.iter().sum::<f64>() - chances[quick];
            chances[quick] = QUICK_RISKY_MAX;
            for (_, chance) in chances.iter_mut().enumerate().filter(|(at, _)| *at != quick) {
                *chance += if others > 0.0 { over * *chance / others } else { 0.0 };
            }
        }
        let mut order: Vec<usize> = (0..chances.len()).collect();
        order.sort_by(|a, b| chances[*b].total_cmp(&chances[*a]));
        let best = match self.lines {
            0 => choice.best,
            _ => order.iter().copied().find(|at| !(barred && Some(*at) == quick)),
        };
        let name = |at: usize| self.offered[at].0.clone();
        RoutedWorkflow {
            name: best.map(name),
            chances: order.into_iter().map(|at| WorkflowChance { name: name(at), likely: chances[at] }).collect(),
            risky: judgement.is_risky(),
            reasons,
        }
    }

    /// Mixes what was learnt into the judge's chances: the more lines there are the more, and most where a task was there.
    fn blend(&self, task: &str, chances: &mut [f64], reasons: &mut Vec<String>) {
        let lines = self.lines as f64;
        let weight = (lines / (lines + EVEN)).min(LEARNER_MAX);
        let mut learnt = vec![0.0; chances.len()];
        for (label, likely) in self.router.route(task).ranked {
            learnt[label] = f64::from(likely);
        }
        mix(chances, &learnt, weight);
        let like = self.memory.like(task, 3);
        let Some(nearest) = like.first().filter(|like| like.alike > ALIKE) else { return };
        let sum: f32 = like.iter().map(|like| like.alike.powi(4)).sum();
        let mut remembered = vec![0.0; chances.len()];
        for like in &like {
            remembered[like.label] += f64::from(like.alike.powi(4) / sum);
        }
        mix(chances, &remembered, f64::from((nearest.alike - ALIKE) / (1.0 - ALIKE)));
        let earlier = self.memory.text(nearest.at);
        reasons.push(format!("an earlier task like it went through {}: {earlier}", self.offered[nearest.label].0));
    }
}

fn mix(chances: &mut [f64], others: &[f64], weight: f64) {
    chances.iter_mut().zip(others).for_each(|(chance, other)| *chance = (1.0 - weight) * *chance + weight * other);
}
