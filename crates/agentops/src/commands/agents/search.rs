//! `agents search`: finds agents by words, over own agents and all catalogues. No model is asked and nothing is learnt; `route`
//! is what decides where a task goes.

use agentops_engine::files::profile::Places;
use agentops_memory::index::{self, Field, Query};
use agentops_memory::terms;
use agentops_safe::inert_line;
use schemars::JsonSchema;
use serde::Serialize;

use super::list::DESCRIPTION_CHARS_MAX;
use super::{AgentView, Runnable, RunnableAgent, print_problems};
use crate::cli::SearchArgs;
use crate::context;
use crate::error::{self, CommandError};
use crate::labels;
use crate::printer::Printer;

/// Weights of the fields of an agent: its name and label, its description and examples, its instructions.
const WEIGHTS: [f64; 3] = [1.0, 1.0, 0.25];
/// How much long texts are held back (b of BM25).
const HELD_BACK: f64 = 0.75;
/// What it counts when the label holds all words of the question, each at least as a part of a word.
const IN_LABEL: f64 = 0.5;

/// Agents that were found.
#[derive(Debug, Serialize, JsonSchema)]
pub struct FoundAgentsView {
    /// The words.
    query: String,
    /// Best first.
    agents: Vec<FoundAgent>,
    /// Number of agents that fit, those beyond the limit included.
    fitting: usize,
    /// Number of agents that were searched.
    searched: usize,
    /// What is not used, and why.
    problems: Vec<String>,
}

/// An agent that was found.
#[derive(Debug, Serialize, JsonSchema)]
pub struct FoundAgent {
    /// The agent.
    #[serde(flatten)]
    agent: AgentView,
    /// How well it fits; only to be compared with others of the same search.
    score: f64,
}

/// `agentops agents search`
pub fn search(places: &Places, args: &SearchArgs, printer: &Printer) -> Result<u8, CommandError> {
    let query = context::redacted(&args.words.join(" "));
    let all = Runnable::read(places)?;
    let searched = all.agents.len();
    let scores = scores(&all.agents, &query);
    let order = index::ranked(&scores, |a, b| a.cmp(&b));
    let fitting: Vec<usize> = order.into_iter().filter(|at| scores[*at] > 0.0).collect();
    let mut agents: Vec<Option<RunnableAgent>> = all.agents.into_iter().map(Some).collect();
    let mut found = Vec::new();
    for at in fitting.iter().take(args.limit) {
        found.extend(agents[*at].take().map(|agent| FoundAgent { agent: agent.view, score: scores[*at] }));
    }
    let view = FoundAgentsView { query, agents: found, fitting: fitting.len(), searched, problems: all.problems };
    if printer.json() {
        printer.value(&view);
    } else {
        print(&view, printer);
    }
    Ok(error::SUCCESS)
}

/// How well each agent fits the words; 0 for one that has none of them.
fn scores(agents: &[RunnableAgent], query: &str) -> Vec<f64> {
    let mut fields: [Field; WEIGHTS.len()] = Default::default();
    for agent in agents {
        let of = &agent.view;
        fields[0].push(&format!("{} {}", of.name, of.label));
        fields[1].push(&format!("{}\n{}", of.description, of.examples.join("\n")));
        fields[2].push(&agent.prompt);
    }
    let mut question = Query::new();
    terms::each_term(query, |term| *question.entry(term.to_owned()).or_default() += 1.0);
    let candidates = vec![true; agents.len()];
    let mut sums = vec![0.0; agents.len()];
    for (field, weight) in fields.iter().zip(WEIGHTS) {
        let scores = field.scores(&question, &candidates, HELD_BACK);
        let best = scores.iter().copied().fold(0.0, f64::max);
        if best > 0.0 {
            sums.iter_mut().zip(scores).for_each(|(sum, score)| *sum += weight * score / best);
        }
    }
    let query = query.to_lowercase();
    let words: Vec<&str> = query.split(|c: char| !c.is_alphanumeric()).filter(|word| word.chars().count() >= 3).collect();
    for (sum, agent) in sums.iter_mut().zip(agents) {
        let label = format!("{} {}", agent.view.label, agent.view.name).to_lowercase();
        let inside = words.iter().filter(|word| label.contains(**word)).count();
        if inside > 0 {
            *sum += IN_LABEL * inside as f64 / words.len() as f64;
        }
    }
    sums
}

fn print(view: &FoundAgentsView, printer: &Printer) {
    for (at, found) in view.agents.iter().enumerate() {
        let of = &found.agent;
        let origin = if of.origin == "catalogue" { String::new() } else { format!("  ({})", of.origin) };
        printer.data(&format!("{:>3}  {}{origin}", at + 1, labels::whole(&of.label)));
        if !of.description.is_empty() {
            printer.data(&format!("     {}", inert_line(&of.description, DESCRIPTION_CHARS_MAX)));
        }
    }
    if view.agents.is_empty() {
        printer.note(&format!("none of {} agents has these words; try others, or: agentops agents list", view.searched));
    } else {
        printer.note(&format!("{} of {} agents fit, {} shown", view.fitting, view.searched, view.agents.len()));
        printer.note("print one with: agentops agents show LABEL");
    }
    print_problems(&view.problems, printer);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent(label: &str, description: &str, prompt: &str) -> RunnableAgent {
        let name = label.rsplit('/').next().unwrap_or(label).to_owned();
        let view = AgentView {
            label: label.to_owned(),
            name,
            group: String::new(),
            origin: "catalogue",
            description: description.to_owned(),
            examples: Vec::new(),
            hash: String::new(),
            notes: Vec::new(),
        };
        RunnableAgent { view, prompt: prompt.to_owned() }
    }

    #[test]
    fn names_and_descriptions_come_before_instructions() {
        let agents = [
            agent("c/writer", "Writes documents.", "You never touch Kubernetes."),
            agent("c/ops/kubernetes-operator", "Runs clusters.", "You deploy."),
            agent("c/helm", "Deploys to Kubernetes clusters with charts.", "You write charts."),
            agent("c/painter", "Paints.", "You paint."),
        ];
        let order = |query: &str| {
            let scores = scores(&agents, query);
            let mut order = index::ranked(&scores, |a, b| a.cmp(&b));
            order.retain(|at| scores[*at] > 0.0);
            order
        };
        assert_eq!(order("kubernetes cluster"), [1, 2, 0]);
        assert_eq!(order("kube")[0], 1, "a part of a name is found");
        assert_eq!(order("zebra"), [0; 0]);
        assert_eq!(order("…"), [0; 0]);
    }
}
