//! What became of a run, for routing to learn from.

use std::collections::BTreeSet;

use agentops_core::id::Name;
use agentops_core::run::State;
use agentops_core::workflow::Writes;
use agentops_engine::catalogues::run_name;
use agentops_engine::files::profile::Places;
use agentops_engine::perform::chain;
use agentops_engine::routing::{self, Routing};
use agentops_route::feedback::{Line, Source};

use crate::context::{self, Context};
use crate::error::CommandError;
use crate::live;
use crate::printer::Printer;

/// Keeps how a run ended. What cannot be kept is said, and fails nothing: the run's end itself is in the ledger.
pub fn outcome(context: &Context, state: &State, from: Source, printer: &Printer) {
    let kept = line(context, state, from).map_err(|e| e.causes.join(": ")).and_then(|line| {
        let redactor = context::redactor();
        line.map_or(Ok(()), |line| Routing::record(&context.repo, &redactor, &line).map_err(|e| chain(&e)))
    });
    if let Err(why) = kept {
        printer.note(&format!("note: routing does not learn from this run: {why}"));
    }
}

/// `None`: the task says nothing.
fn line(context: &Context, state: &State, from: Source) -> Result<Option<Line>, CommandError> {
    let task = context.texts().text(&state.created.task)?;
    let agent = agent(context, state)?;
    let workflow = state.created.workflow.name.to_string();
    Ok((!task.trim().is_empty()).then(|| Line::new(live::now(), from, &task, agent, Some(workflow))))
}

/// The label of the agent that changed files, if it was another than the workflow's own and is still there.
fn agent(context: &Context, state: &State) -> Result<Option<String>, CommandError> {
    let places = Places::of(Some(context.repo.work_tree()), &context.home);
    let writing = state.created.workflow.phases.iter().filter(|phase| phase.writes == Writes::Files);
    let used: BTreeSet<&Name> = writing.flat_map(|phase| phase.lanes.iter().map(|lane| &lane.agent)).collect();
    let own = routing::writers(&places, state.created.workflow.name.as_str())?;
    let [one] = used.into_iter().collect::<Vec<_>>()[..] else { return Ok(None) };
    if own.contains(one.as_str()) {
        return Ok(None);
    }
    if places.agents()?.contains_key(one.as_str()) {
        return Ok(Some(one.to_string()));
    }
    let (catalogues, _) = places.catalogues.list()?;
    let mut pinned = catalogues.into_iter().flat_map(|catalogue| catalogue.manifest.agents);
    Ok(pinned.find(|agent| run_name(agent) == *one).map(|agent| agent.label))
}
