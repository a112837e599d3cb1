//! `agents add`: reads a collection and keeps it as a catalogue.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use agentops_engine::blobs;
use agentops_engine::catalogues::gather::{self, Files};
use agentops_engine::catalogues::{CatalogueError, FORMAT, Manifest, Store, name_of};
use agentops_git::{Git, Source};
use agentops_safe::{RepoPath, inert_line};
use schemars::JsonSchema;
use serde::Serialize;

use super::{CatalogueView, NAMED_MAX, catalogue_view};
use crate::cli::{AddArgs, Global};
use crate::context;
use crate::error::{self, CommandError, FAILED, USAGE};
use crate::labels;
use crate::printer::Printer;

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

/// `agentops agents add`
pub fn add(global: &Global, args: &AddArgs, printer: &Printer) -> Result<u8, CommandError> {
    crate::commands::person_only()?;
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
    let left_out: Vec<LeftOut> =
        gathered.left_out.iter().map(|(path, why)| LeftOut { path: path.clone(), why: why.clone() }).collect();
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
fn reasons(left_out: &[LeftOut]) -> Vec<(&str, usize)> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for file in left_out {
        *counts.entry(&file.why).or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    counts
}

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
        labels.iter().take(named).for_each(|label| printer.note(&format!("{mark} {}", labels::whole(label))));
        if named > 0 && labels.len() > named {
            printer.note(&format!("{mark} {} more", labels.len() - named));
        }
    }
    for (why, count) in reasons(&view.left_out) {
        let example = view.left_out.iter().find(|file| file.why == why).map(|file| labels::whole(&file.path));
        printer.note(&format!("left out: {count}, {why} ({})", example.unwrap_or_default()));
    }
    let mut notes: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (label, of) in &view.notes {
        of.iter().for_each(|note| notes.entry(note).or_default().push(label));
    }
    for (note, labels) in notes {
        printer.note(&format!("{} with {note} ({})", labels.len(), labels::whole(labels[0])));
    }
    for (name, labels) in view.same_name.iter().take(NAMED_MAX) {
        printer.note(&format!("{} are named {}:", labels.len(), inert_line(name, 40)));
        labels.iter().take(NAMED_MAX).for_each(|label| printer.note(&format!("  {}", labels::whole(label))));
        if labels.len() > NAMED_MAX {
            printer.note(&format!("  {} more", labels.len() - NAMED_MAX));
        }
    }
    if view.same_name.len() > NAMED_MAX {
        printer.note(&format!("{} more names are used more than once", view.same_name.len() - NAMED_MAX));
    }
    printer.note(&format!("{}{}", of.source, of.commit.as_ref().map(|commit| format!(" at {commit}")).unwrap_or_default()));
}
