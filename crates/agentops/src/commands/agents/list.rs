//! `agents list`: what can be run, or every agent of one catalogue.

use agentops_core::id::Name;
use agentops_engine::catalogues::CatalogueError;
use agentops_engine::files::profile::Places;
use agentops_safe::inert_line;
use schemars::JsonSchema;
use serde::Serialize;

use super::{AgentView, CatalogueView, Runnable, print_problems};
use crate::error::{self, CommandError};
use crate::labels;
use crate::printer::Printer;

/// Every agent that can be run.
#[derive(Debug, Serialize, JsonSchema)]
pub struct AgentsView {
    /// The agents: the repository's, the user's, this program's, then those of catalogues.
    agents: Vec<AgentView>,
    /// The catalogues.
    catalogues: Vec<CatalogueView>,
    /// What is not used, and why.
    problems: Vec<String>,
}

/// Every agent of one catalogue.
#[derive(Debug, Serialize, JsonSchema)]
pub struct CatalogueAgentsView {
    /// The catalogue.
    catalogue: CatalogueView,
    /// Its agents, by label.
    agents: Vec<AgentView>,
    /// What is not used, and why.
    problems: Vec<String>,
}

/// `agentops agents list`
pub fn all(places: &Places, printer: &Printer) -> Result<u8, CommandError> {
    let all = Runnable::read(places)?;
    let agents = all.agents.into_iter().map(|agent| agent.view).collect();
    let view = AgentsView { agents, catalogues: all.catalogues, problems: all.problems };
    if printer.json() {
        printer.value(&view);
    } else {
        print(&view, printer);
    }
    Ok(error::SUCCESS)
}

/// `agentops agents list CATALOGUE`
pub fn catalogue(places: &Places, name: &Name, printer: &Printer) -> Result<u8, CommandError> {
    let catalogue = places.catalogues.read(name)?.ok_or_else(|| CatalogueError::Absent { name: name.clone() })?;
    let mut of_catalogue = Runnable { agents: Vec::new(), catalogues: Vec::new(), problems: Vec::new() };
    of_catalogue.add_catalogue(&catalogue);
    let view = CatalogueAgentsView {
        catalogue: super::catalogue_view(&catalogue),
        agents: of_catalogue.agents.into_iter().map(|agent| agent.view).collect(),
        problems: of_catalogue.problems,
    };
    if printer.json() {
        printer.value(&view);
        return Ok(error::SUCCESS);
    }
    printer.data(&head(&view.catalogue));
    for agent in &view.agents {
        printer.data(&format!("  {}", labels::whole(&agent.label)));
        if !agent.description.is_empty() {
            printer.data(&format!("    {}", inert_line(&agent.description, DESCRIPTION_CHARS_MAX)));
        }
    }
    print_problems(&view.problems, printer);
    printer.note("print one with: agentops agents show LABEL");
    Ok(error::SUCCESS)
}

/// Longest part of a description that is shown below a label, in characters: a line of 80 columns.
pub(super) const DESCRIPTION_CHARS_MAX: usize = 74;

/// A catalogue in a line.
fn head(of: &CatalogueView) -> String {
    let commit = of.commit.as_ref().map(|commit| format!(" at {}", &commit[..commit.len().min(10)])).unwrap_or_default();
    format!("{}  {}  {}{commit}", of.name, of.agents, inert_line(&of.source, 70))
}

fn print(view: &AgentsView, printer: &Printer) {
    for (origin, title) in [("repository", "of this repository"), ("user", "yours"), ("built-in", "built in")] {
        let own: Vec<_> = view.agents.iter().filter(|agent| agent.origin == origin).collect();
        if !own.is_empty() {
            printer.data(&format!("{title}  {}", own.len()));
        }
        for agent in own {
            printer.data(&format!("  {:<16} {}", labels::whole(&agent.label), inert_line(&agent.description, 60)));
        }
    }
    for of in &view.catalogues {
        printer.data(&head(of));
        let mut groups: Vec<_> = of.groups.iter().collect();
        groups.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
        let shown: Vec<_> = groups.iter().take(8).map(|(name, count)| format!("{} {count}", inert_line(name, 30))).collect();
        let more = groups.len().saturating_sub(shown.len());
        let more = if more > 0 { format!(", {more} more groups") } else { String::new() };
        if !shown.is_empty() {
            printer.data(&format!("  {}{more}", shown.join(", ")));
        }
    }
    print_problems(&view.problems, printer);
    if view.catalogues.is_empty() {
        printer.note("add a catalogue with: agentops agents add DIR, or the address of a git repository");
    } else {
        printer.note("see the agents of a catalogue with: agentops agents list CATALOGUE, or agentops agents search WORDS");
    }
}
