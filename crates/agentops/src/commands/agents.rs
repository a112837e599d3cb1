//! `agents`: what can be run and routed to, and catalogues of agents as data.
//!
//! Adding one reads Markdown files and keeps them; nothing of it runs. Only a person adds and removes.

pub mod add;
pub mod list;
pub mod search;

use std::collections::BTreeMap;

use agentops_core::id::Name;
use agentops_engine::catalogues::{Catalogue, CatalogueError, Pinned, Store};
use agentops_engine::files::profile::{Found, Origin, Places};
use agentops_engine::{blobs, hint, perform};
use agentops_git::shell_word;
use agentops_route::catalogue::Markdown;
use agentops_safe::inert_line;
use schemars::JsonSchema;
use serde::Serialize;

use crate::cli::{AgentsArgs, AgentsCommand, Global};
use crate::context::{self, Context};
use crate::error::{self, CommandError, FAILED, NOT_NOW, USAGE};
use crate::labels;
use crate::printer::{Done, Printer};

/// How many labels or files are named one by one.
const NAMED_MAX: usize = 5;

/// An agent.
#[derive(Debug, Serialize, JsonSchema)]
pub struct AgentView {
    /// What tells it from every other one, and what `run --agent` takes.
    label: String,
    /// Its name.
    name: String,
    /// Its group in its catalogue; empty: none.
    group: String,
    /// Where it comes from: `repository`, `user`, `built-in`, or `catalogue`.
    origin: &'static str,
    /// What it is for, without example requests.
    description: String,
    /// Requests that its author gave as examples.
    examples: Vec<String>,
    /// The hash of its file's text.
    hash: String,
    /// What about its file is not as it should be.
    notes: Vec<String>,
}

/// One agent whole.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ShownAgent {
    /// What it is.
    #[serde(flatten)]
    agent: AgentView,
    /// The name that it has inside a run.
    run_name: String,
    /// Its file.
    path: String,
    /// The tools that it names; absent: those that the phase allows.
    tools: Option<Vec<String>>,
    /// The model that it names.
    model: Option<String>,
    /// Its instructions.
    prompt: String,
}

/// A catalogue.
#[derive(Debug, Serialize, JsonSchema)]
pub struct CatalogueView {
    /// Its name.
    name: Name,
    /// Where it was added from, without passwords and tokens.
    source: String,
    /// The folder of the source that was taken; absent: all of it.
    folder: Option<String>,
    /// The commit, where the source is a git repository.
    commit: Option<String>,
    /// The hash over all its agents.
    hash: String,
    /// How many agents it has.
    agents: usize,
    /// How many of them are in each group.
    groups: BTreeMap<String, usize>,
}

/// `agentops agents`
pub fn agents(global: &Global, args: &AgentsArgs, printer: &Printer) -> Result<u8, CommandError> {
    match args.what.as_ref().unwrap_or(&AgentsCommand::List { catalogue: None }) {
        AgentsCommand::List { catalogue: None } => list::all(&places(global)?, printer),
        AgentsCommand::List { catalogue: Some(name) } => list::catalogue(&places(global)?, name, printer),
        AgentsCommand::Search(args) => search::search(&places(global)?, args, printer),
        AgentsCommand::Add(args) => add::add(global, args, printer),
        AgentsCommand::Remove { name } => {
            super::person_only()?;
            let had = Store::at(context::home(global)?.catalogues()).remove(name)?;
            let agents = had.as_ref().map(|had| format!(" with {} agents", had.agents.len())).unwrap_or_default();
            let undo = had.map(|had| {
                let folder = had.folder.map(|folder| format!(" --folder {}", shell_word(&folder))).unwrap_or_default();
                format!("agentops agents add {} --name {name}{folder}", shell_word(&had.source))
            });
            printer.done(&Done { did: format!("catalogue {name}{agents} removed"), undo, ..Done::default() });
            Ok(error::SUCCESS)
        }
        AgentsCommand::Show { agent } => show(&places(global)?, agent, printer),
    }
}

/// The places of the repository where we are; outside of any, those of the user.
pub(super) fn places(global: &Global) -> Result<Places, CommandError> {
    match Context::find(global) {
        Ok(here) => Ok(Places::of(Some(here.repo.work_tree()), &here.home)),
        Err(error) if global.repo.is_some() => Err(error),
        Err(_) => Ok(Places::of(None, &context::home(global)?)),
    }
}

fn catalogue_view(catalogue: &Catalogue) -> CatalogueView {
    let of = &catalogue.manifest;
    let mut groups: BTreeMap<String, usize> = BTreeMap::new();
    for agent in of.agents.iter().filter(|agent| !agent.group.is_empty()) {
        *groups.entry(agent.group.clone()).or_default() += 1;
    }
    CatalogueView {
        name: of.name.clone(),
        source: of.source.clone(),
        folder: of.folder.clone(),
        commit: of.commit.clone(),
        hash: of.hash.to_string(),
        agents: of.agents.len(),
        groups,
    }
}

/// An agent that can be run, with its instructions.
struct RunnableAgent {
    view: AgentView,
    prompt: String,
}

/// Every agent that can be run: own ones by origin, then those of catalogues.
struct Runnable {
    agents: Vec<RunnableAgent>,
    catalogues: Vec<CatalogueView>,
    problems: Vec<String>,
}

impl Runnable {
    fn read(places: &Places) -> Result<Self, CommandError> {
        let mut all = Self { agents: Vec::new(), catalogues: Vec::new(), problems: Vec::new() };
        let mut own: Vec<_> = places.agents()?.into_iter().collect();
        own.sort_by_key(|(_, found)| found.origin);
        for (name, found) in own {
            match Markdown::read(found.text.as_bytes()) {
                Ok(read) => {
                    let view = own_view(&name, &found, &read);
                    all.agents.push(RunnableAgent { view, prompt: context::redacted(&read.prompt) });
                }
                Err(e) => all.problems.push(format!("{} {e}", found.path.display())),
            }
        }
        let (catalogues, problems) = places.catalogues.list()?;
        all.problems.extend(problems.iter().map(|problem| perform::chain(problem)));
        for catalogue in &catalogues {
            all.add_catalogue(catalogue);
        }
        Ok(all)
    }

    fn add_catalogue(&mut self, catalogue: &Catalogue) {
        self.catalogues.push(catalogue_view(catalogue));
        for agent in &catalogue.manifest.agents {
            match catalogue.read(agent) {
                Ok((read, _)) => {
                    let view = pinned_view(agent, &read);
                    self.agents.push(RunnableAgent { view, prompt: read.prompt });
                }
                Err(problem) => self.problems.push(perform::chain(&problem)),
            }
        }
    }
}

/// Prints what is not used, and why.
fn print_problems(problems: &[String], printer: &Printer) {
    problems.iter().take(NAMED_MAX).for_each(|problem| printer.note(problem));
    if problems.len() > NAMED_MAX {
        printer.note(&format!("{} more are not used", problems.len() - NAMED_MAX));
    }
}

fn own_view(name: &str, found: &Found, read: &Markdown) -> AgentView {
    let origin = match found.origin {
        Origin::Repository => "repository",
        Origin::User => "user",
        Origin::BuiltIn => "built-in",
        Origin::Catalogue => "catalogue",
    };
    let redactor = context::redactor();
    AgentView {
        label: name.to_owned(),
        name: name.to_owned(),
        group: String::new(),
        origin,
        description: context::without_secrets(&redactor, &read.front.description),
        examples: read.examples.iter().map(|example| context::without_secrets(&redactor, example)).collect(),
        hash: blobs::hash(found.text.as_bytes()).to_string(),
        notes: Vec::new(),
    }
}

fn pinned_view(agent: &Pinned, read: &Markdown) -> AgentView {
    AgentView {
        label: agent.label.clone(),
        name: agent.name.clone(),
        group: agent.group.clone(),
        origin: "catalogue",
        description: read.front.description.clone(),
        examples: read.examples.clone(),
        hash: agent.hash.to_string(),
        notes: agent.notes.clone(),
    }
}

fn show(places: &Places, given: &str, printer: &Printer) -> Result<u8, CommandError> {
    let name = places.named(given).map_err(|e| CommandError { code: NOT_NOW, ..CommandError::from(e) })?;
    let (file, found) = places.agent(&name)?;
    let read = Markdown::read(found.text.as_bytes())
        .map_err(|e| CommandError::new(USAGE, format!("{} {e}", found.path.display())))?;
    let pinned = match &found.label {
        Some(label) => {
            let (all, _) = places.catalogues.list()?;
            all.into_iter().flat_map(|of| of.manifest.agents).find(|agent| agent.label == *label)
        }
        None => None,
    };
    let agent = pinned.map_or_else(|| own_view(name.as_str(), &found, &read), |agent| pinned_view(&agent, &read));
    let view = ShownAgent {
        agent,
        run_name: name.to_string(),
        path: found.path.display().to_string(),
        tools: file.front.tools.as_ref().map(agentops_core::agent::Tools::names),
        model: file.front.model.clone(),
        prompt: context::redacted(&file.prompt),
    };
    if printer.json() {
        printer.value(&view);
        return Ok(error::SUCCESS);
    }
    let of = &view.agent;
    printer.data(&format!("{}  ({}, {})", labels::whole(&of.label), inert_line(&of.name, 60), of.origin));
    if !of.description.is_empty() {
        printer.data(&of.description);
    }
    of.examples.iter().for_each(|example| printer.data(&format!("  “{example}”")));
    printer
        .data(&format!("tools  {}", view.tools.as_ref().map_or("those that the phase allows".into(), |of| of.join(", "))));
    printer.data(&format!("model  {}", view.model.as_deref().unwrap_or("the program's default")));
    printer.data(&format!("hash   {}\n", of.hash));
    printer.data(&view.prompt);
    of.notes.iter().for_each(|note| printer.note(note));
    printer.note(&format!("run it with: agentops run --agent {} TASK", labels::whole(&shell_word(&of.label))));
    Ok(error::SUCCESS)
}

impl From<CatalogueError> for CommandError {
    fn from(error: CatalogueError) -> Self {
        let code = match &error {
            CatalogueError::Absent { .. } | CatalogueError::Busy => NOT_NOW,
            CatalogueError::Taken { .. } | CatalogueError::Nothing { .. } => USAGE,
            _ => FAILED,
        };
        CommandError::of(code, &error).hint(hint::catalogue(&error))
    }
}
