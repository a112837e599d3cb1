//! `agents`: what can be run and routed to, and catalogues of agents as data.
//!
//! Adding one reads Markdown files and keeps them; nothing of it runs. Only a person adds and removes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use agentops_core::id::Name;
use agentops_engine::catalogues::gather::{self, Files};
use agentops_engine::catalogues::{Catalogue, CatalogueError, FORMAT, Manifest, Pinned, Store, name_of};
use agentops_engine::files::profile::{Found, Origin, Places};
use agentops_engine::{blobs, hint, perform};
use agentops_git::{Git, Source, shell_word};
use agentops_route::catalogue::Markdown;
use agentops_safe::{RepoPath, inert_line};
use schemars::JsonSchema;
use serde::Serialize;

use crate::cli::{AddArgs, AgentsArgs, AgentsCommand, Global};
use crate::context::{self, Context};
use crate::error::{self, CommandError, FAILED, NOT_NOW, USAGE};
use crate::printer::{Done, Printer};

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

/// A catalogue that was added or updated.
#[derive(Debug, Serialize, JsonSchema)]
pub struct AddedView {
    /// The catalogue as it is now.
    catalogue: CatalogueView,
    /// Labels of agents that were not there before.
    added: Vec<String>,
    /// Labels of agents that are gone.
    removed: Vec<String>,
    /// Labels of agents whose file is another one.
    changed: Vec<String>,
    /// How many are as they were.
    unchanged: usize,
    /// Markdown files that are no agents, and why.
    left_out: Vec<LeftOut>,
    /// What about an agent's file is not as it should be, by label.
    notes: BTreeMap<String, Vec<String>>,
    /// Names that several agents have, with their labels.
    same_name: BTreeMap<String, Vec<String>>,
}

/// A file that is no agent.
#[derive(Debug, Serialize, JsonSchema)]
pub struct LeftOut {
    /// Its path from the root of what was taken.
    path: String,
    /// Why.
    why: String,
}

/// `agentops agents`
pub fn agents(global: &Global, args: &AgentsArgs, printer: &Printer) -> Result<u8, CommandError> {
    match args.what.as_ref().unwrap_or(&AgentsCommand::List) {
        AgentsCommand::List => list(&places(global)?, printer),
        AgentsCommand::Add(args) => add(global, args, printer),
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

fn add(global: &Global, args: &AddArgs, printer: &Printer) -> Result<u8, CommandError> {
    super::person_only()?;
    let folder = args.folder.as_deref().map(|folder| folder.trim_matches('/').parse::<RepoPath>());
    let folder = folder.transpose().map_err(|e| CommandError::of(USAGE, &e).hint("name a folder inside the source"))?;
    let under = folder.as_ref().map(RepoPath::as_str);
    let (source, files) = if is_git(&args.source) {
        let path =
            if Source::is_address(&args.source) { args.source.clone() } else { real(&args.source)?.display().to_string() };
        let source = Source::parse(&path).map_err(|e| {
            CommandError::of(USAGE, &e).hint("give a folder, or an address that begins with https://, ssh:// or file://")
        })?;
        printer.note(&format!("fetching {}", source.shown()));
        let found = gather::repository(&Git::find()?, &source, under, &agentops_git::temporary::folder()).map_err(|e| {
            CommandError::of(FAILED, &e).hint(
                "`git ls-remote` with this address says whether it can be reached without being asked for a password; a \
                 large repository is better cloned, and its folder added",
            )
        })?;
        (source.shown(), found)
    } else {
        let root = real(&args.source)?;
        let at = under.map_or_else(|| root.clone(), |under| root.join(under));
        (root.display().to_string(), read_folder(&at)?)
    };
    let name = match &args.name {
        Some(name) => name.clone(),
        None => name_of(&source).ok_or_else(|| {
            CommandError::new(USAGE, format!("no name can be made of {source}")).hint("give it one with --name")
        })?,
    };
    let commit = files.commit.clone();
    let gathered = gather::agents(&name, files, &context::redactor());
    let left_out = gathered.left_out.iter().map(|(path, why)| LeftOut { path: path.clone(), why: why.clone() }).collect();
    if gathered.agents.is_empty() {
        let place = under.map_or_else(|| source.clone(), |under| format!("{under} of {source}"));
        let error = CommandError::from(CatalogueError::Nothing { place });
        return Err(reasons(&left_out)
            .into_iter()
            .take(4)
            .fold(error, |error, (why, count)| error.hint(format!("{count} left out: {why}"))));
    }
    let store = Store::at(context::home(global)?.catalogues());
    let folder = folder.as_ref().map(|folder| folder.as_str().to_owned());
    let manifest = Manifest {
        format: FORMAT,
        name: name.clone(),
        source,
        folder,
        commit,
        hash: blobs::hash(b""),
        texts: String::new(),
        agents: Vec::new(),
    };
    let change = store.write(manifest, &gathered, args.name.is_some())?;
    let catalogue = store.read(&name)?.ok_or(CatalogueError::Absent { name })?;
    let mut same_name: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut notes = BTreeMap::new();
    for agent in &catalogue.manifest.agents {
        same_name.entry(agent.name.clone()).or_default().push(agent.label.clone());
        if !agent.notes.is_empty() {
            notes.insert(agent.label.clone(), agent.notes.clone());
        }
    }
    same_name.retain(|_, labels| labels.len() > 1);
    let view = AddedView {
        catalogue: catalogue_view(&catalogue),
        added: change.added,
        removed: change.removed,
        changed: change.changed,
        unchanged: change.unchanged,
        left_out,
        notes,
        same_name,
    };
    if printer.json() {
        printer.value(&view);
    } else {
        print_added(&view, printer);
    }
    Ok(error::SUCCESS)
}

/// Whether a source is git's: an address, or a repository that has no files of its own to read.
fn is_git(source: &str) -> bool {
    let path = Path::new(source);
    if source.contains("://") || source.contains("::") || source.starts_with('-') {
        return true;
    }
    if path.exists() { gather::is_bare(path) } else { Source::is_address(source) }
}

fn real(source: &str) -> Result<PathBuf, CommandError> {
    std::fs::canonicalize(source).map_err(|e| {
        CommandError::new(USAGE, format!("{source} cannot be read: {e}"))
            .hint("name a folder, or the address of a repository")
    })
}

fn read_folder(folder: &Path) -> Result<Files, CommandError> {
    if !folder.is_dir() {
        return Err(CommandError::new(USAGE, format!("{} is no folder", folder.display()))
            .hint("add the folder that the agent files are in"));
    }
    Ok(gather::folder(folder)?)
}

/// How many files were left out for each reason, the commonest first.
fn reasons(left_out: &Vec<LeftOut>) -> Vec<(&str, usize)> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for file in left_out {
        *counts.entry(&file.why).or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    counts
}

/// How many labels or files are named one by one.
const NAMED_MAX: usize = 5;

fn print_added(view: &AddedView, printer: &Printer) {
    let of = &view.catalogue;
    printer.data(&format!(
        "catalogue {}: {} agents, {} added, {} changed, {} removed",
        of.name,
        of.agents,
        view.added.len(),
        view.changed.len(),
        view.removed.len()
    ));
    let first = view.added.len() == of.agents;
    for (mark, labels) in [("+", &view.added), ("~", &view.changed), ("-", &view.removed)] {
        let named = if first { 0 } else { NAMED_MAX };
        labels.iter().take(named).for_each(|label| printer.note(&format!("{mark} {}", inert_line(label, 100))));
        if named > 0 && labels.len() > named {
            printer.note(&format!("{mark} {} more", labels.len() - named));
        }
    }
    for (why, count) in reasons(&view.left_out) {
        let example = view.left_out.iter().find(|file| file.why == why).map(|file| inert_line(&file.path, 60));
        printer.note(&format!("left out: {count}, {why} ({})", example.unwrap_or_default()));
    }
    let mut notes: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (label, of) in &view.notes {
        of.iter().for_each(|note| notes.entry(note).or_default().push(label));
    }
    for (note, labels) in notes {
        printer.note(&format!("{} with {note} ({})", labels.len(), inert_line(labels[0], 60)));
    }
    for (name, labels) in view.same_name.iter().take(NAMED_MAX) {
        printer.note(&format!(
            "{} are named {}: {}",
            labels.len(),
            inert_line(name, 40),
            inert_line(&labels.join(", "), 120)
        ));
    }
    if view.same_name.len() > NAMED_MAX {
        printer.note(&format!("{} more names are used more than once", view.same_name.len() - NAMED_MAX));
    }
    printer.note(&format!("{}{}", of.source, of.commit.as_ref().map(|commit| format!(" at {commit}")).unwrap_or_default()));
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

fn list(places: &Places, printer: &Printer) -> Result<u8, CommandError> {
    let mut view = AgentsView { agents: Vec::new(), catalogues: Vec::new(), problems: Vec::new() };
    let mut own: Vec<_> = places.agents()?.into_iter().collect();
    own.sort_by_key(|(_, found)| found.origin);
    for (name, found) in own {
        match Markdown::read(found.text.as_bytes()) {
            Ok(read) => view.agents.push(own_view(&name, &found, &read)),
            Err(e) => view.problems.push(format!("{} {e}", found.path.display())),
        }
    }
    let (catalogues, problems) = places.catalogues.list()?;
    view.problems.extend(problems.iter().map(|problem| perform::chain(problem)));
    for catalogue in &catalogues {
        view.catalogues.push(catalogue_view(catalogue));
        for agent in &catalogue.manifest.agents {
            match catalogue.read(agent) {
                Ok((read, _)) => view.agents.push(pinned_view(agent, &read)),
                Err(problem) => view.problems.push(perform::chain(&problem)),
            }
        }
    }
    if printer.json() {
        printer.value(&view);
    } else {
        print_list(&view, printer);
    }
    Ok(error::SUCCESS)
}

fn print_list(view: &AgentsView, printer: &Printer) {
    for (origin, title) in [("repository", "of this repository"), ("user", "yours"), ("built-in", "built in")] {
        let own: Vec<_> = view.agents.iter().filter(|agent| agent.origin == origin).collect();
        if !own.is_empty() {
            printer.data(&format!("{title}  {}", own.len()));
        }
        for agent in own {
            printer.data(&format!("  {:<16} {}", inert_line(&agent.label, 40), inert_line(&agent.description, 86)));
        }
    }
    for of in &view.catalogues {
        let commit = of.commit.as_ref().map(|commit| format!(" at {}", &commit[..commit.len().min(10)])).unwrap_or_default();
        printer.data(&format!("{}  {}  {}{commit}", of.name, of.agents, inert_line(&of.source, 70)));
        let mut groups: Vec<_> = of.groups.iter().collect();
        groups.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
        let shown: Vec<_> = groups.iter().take(8).map(|(name, count)| format!("{} {count}", inert_line(name, 30))).collect();
        let more = groups.len().saturating_sub(shown.len());
        let more = if more > 0 { format!(", {more} more groups") } else { String::new() };
        if !shown.is_empty() {
            printer.data(&format!("  {}{more}", shown.join(", ")));
        }
    }
    view.problems.iter().take(NAMED_MAX).for_each(|problem| printer.note(problem));
    if view.problems.len() > NAMED_MAX {
        printer.note(&format!("{} more are not used", view.problems.len() - NAMED_MAX));
    }
    if view.catalogues.is_empty() {
        printer.note("add a catalogue with: agentops agents add DIR, or the address of a git repository");
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
        description: redactor.redact(&read.front.description).into_owned(),
        examples: read.examples.iter().map(|example| redactor.redact(example).into_owned()).collect(),
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
    printer.data(&format!("{}  ({}, {})", of.label, inert_line(&of.name, 60), of.origin));
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
    printer.note(&format!("run it with: agentops run --agent {} TASK", inert_line(&of.label, 200)));
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
