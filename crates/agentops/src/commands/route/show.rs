//! What `route` shows people.

use agentops_engine::routing::{EvalView, Figure, ProgressView, RankedAgent};
use agentops_route::router::Decision;
use agentops_safe::inert_line;

use super::RouteView;
use crate::labels;
use crate::printer::Printer;

/// How many agents are shown.
const SHOWN: usize = 3;

/// A share as people read it.
fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

/// Where a task would go.
pub fn routed(view: &RouteView, printer: &Printer) {
    let agent = &view.routed.agent;
    let first = agent.ranked.first().map_or("none", |first| first.label.as_str());
    let first = labels::whole(first);
    printer.data(&match agent.decision {
        Decision::Auto => format!("agent     {first}, without asking ({})", percent(agent.confidence.into())),
        Decision::Suggest => format!("agent     {first} is likely ({}); the first ones:", percent(agent.confidence.into())),
        Decision::Ask => "agent     none is likely; the nearest:".to_owned(),
        Decision::Abstain => "agent     nothing here fits this task; the nearest:".to_owned(),
    });
    for (place, ranked) in agent.ranked.iter().take(SHOWN).enumerate() {
        self::ranked(place + 1, ranked, agent.decision != Decision::Abstain, printer);
    }
    if agent.decision == Decision::Abstain {
        printer.note("the workflow's own agent does it; add agents that fit with: agentops agents add DIR, or a git URL");
    }
    let workflow = &view.routed.workflow;
    let risky = if workflow.risky { ", risky" } else { "" };
    let mut chances = workflow.chances.iter().map(|of| format!("{} {}", inert_line(&of.name, 40), percent(of.likely)));
    let name = workflow.name.as_deref().unwrap_or("none");
    let chances: Vec<String> = chances.by_ref().take(SHOWN + 2).collect();
    printer.data(&format!("workflow  {}{risky}  ({})", inert_line(name, 40), chances.join(", ")));
    workflow.reasons.iter().for_each(|reason| printer.data(&format!("          {}", inert_line(reason, 98))));
    let learnt = &view.learnt;
    if learnt.agents + learnt.workflows > 0 {
        printer.note(&format!("feedback learnt: {} for agents, {} for workflows", learnt.agents, learnt.workflows));
    }
    if learnt.vanished > 0 {
        printer.note(&format!("feedback left out: {} for an agent or workflow that is no longer there", learnt.vanished));
    }
    learnt.left_out.iter().for_each(|(why, count)| printer.note(&format!("feedback left out: {count} {why}")));
    view.problems.iter().take(5).for_each(|problem| printer.note(problem));
    printer.note("say where it belongs with: agentops route correct TASK --agent LABEL --workflow NAME");
}

fn ranked(place: usize, agent: &RankedAgent, fits: bool, printer: &Printer) {
    // Shares among agents of which none fits would look like sureness.
    let likely = if fits { percent(agent.likely.into()) } else { String::new() };
    printer.data(&format!("  {place}  {likely:>5}  {}", labels::whole(&agent.label)));
    if !agent.description.is_empty() {
        printer.data(&format!("            {}", inert_line(&agent.description, 66)));
    }
    if !agent.words.is_empty() {
        printer.data(&format!("            words: {}", inert_line(&agent.words.join(", "), 90)));
    }
    for like in &agent.like {
        printer.data(&format!("            went there: \u{201c}{}\u{201d}", inert_line(like, 80)));
    }
}

/// A figure with its bounds.
fn figure(of: &Figure) -> String {
    match of.share {
        None => "none".to_owned(),
        Some(share) => {
            let (low, high) = (of.low * 100.0, of.high * 100.0);
            format!("{} of {}, {:.1} % [{low:.1}, {high:.1}]", of.right, of.all, share * 100.0)
        }
    }
}

/// How well it works.
pub fn eval(view: &EvalView, printer: &Printer) {
    for of in &view.profiles {
        printer.data(&format!("{}: held-back examples, without and with feedback", inert_line(&of.profile, 40)));
        for (what, before, after) in
            [("workflows", &of.before.workflows, &of.after.workflows), ("agents", &of.before.agents, &of.after.agents)]
        {
            printer.data(&format!("  {what:<10} {:<34} {}", figure(before), figure(after)));
        }
    }
    printer.data("feedback, each task routed before it was learnt");
    progress("agents", &view.agents, printer);
    if let Some(share) = view.agents.auto_share {
        printer.data(&format!("    without asking {} of them: {} right", percent(share), figure(&view.agents.auto)));
    }
    progress("workflows", &view.workflows, printer);
    if !view.runs.is_empty() {
        printer.data("runs: merged, put away, failed");
    }
    for run in &view.runs {
        let agent = run.agent.as_deref().map_or_else(String::new, |agent| format!(" with {}", labels::whole(agent)));
        let name = inert_line(run.workflow.as_deref().unwrap_or("unknown"), 40);
        printer.data(&format!("  {name}{agent}: {}, {}, {}", run.merged, run.discarded, run.failed));
    }
    if view.vanished > 0 {
        printer.data(&format!("feedback left out: {} for an agent or workflow that is no longer there", view.vanished));
    }
    view.left_out.iter().for_each(|(why, count)| printer.data(&format!("feedback left out: {count} {why}")));
    printer.note("in brackets: 95 % intervals (Wilson)");
}

fn progress(what: &str, of: &ProgressView, printer: &Printer) {
    printer.data(&format!("  {what:<10} {}", figure(&of.first)));
}
