//! Kept bundles against the truth: whether they are what they were, which sources moved on, which nothing needs any more.

use std::collections::BTreeSet;
use std::path::Path;

use agentops_bundle::kind::Kind;
use agentops_bundle::manifest::{BundleId, SourceRecord, hash};
use agentops_bundle::store::{self, Bundle, Store};
use agentops_engine::perform::chain;
use agentops_git::{Oid, Repo};
use schemars::JsonSchema;
use serde::Serialize;

use super::kept;
use crate::cli::{GcArgs, VerifyArgs};
use crate::context::Context;
use crate::error::{self, CommandError};
use crate::printer::Printer;

/// A bundle compared with its sources.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct CheckView {
    /// Which one.
    pub bundle: BundleId,
    /// What is wrong with the bundle itself; absent: it is what its id says.
    pub broken: Option<String>,
    /// Its sources.
    pub sources: Vec<SourceView>,
}

/// A source as it is today.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct SourceView {
    /// Its path.
    pub path: String,
    /// Whether the commit that the bundle names has it as the bundle says.
    pub at_commit: AtCommit,
    /// What became of it since.
    pub today: Today,
}

/// A source at its commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AtCommit {
    /// It is there as the bundle says.
    Same,
    /// It is another one there, or not there.
    Differs,
    /// The commit is not in this repository, or none is named.
    Unknown,
}

/// A source today.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Today {
    /// It is as it was.
    Same,
    /// It was changed.
    MovedOn,
    /// It is not there any more.
    Gone,
    /// It is a document of a run or lies outside the repository: nothing in the checkout can tell.
    Unknown,
}

/// `agentops bundle verify`
pub fn verify(context: &Context, args: &VerifyArgs, printer: &Printer) -> Result<u8, CommandError> {
    let store = Store::of(context.repo.work_tree());
    let ids = if args.bundles.is_empty() { store.ids()? } else { args.bundles.clone() };
    let mut views = Vec::new();
    for id in ids {
        views.push(match store.read(&id) {
            Ok(bundle) => check(&context.repo, &bundle)?,
            // One that was named and is not there is a mistake, not a broken bundle.
            Err(e @ store::StoreError::Absent { .. }) => return Err(e.into()),
            Err(e) => CheckView { bundle: id, broken: Some(chain(&e)), sources: Vec::new() },
        });
    }
    let is_bad =
        |view: &CheckView| view.broken.is_some() || view.sources.iter().any(|source| source.at_commit == AtCommit::Differs);
    let code = if views.iter().any(is_bad) { error::FAILED } else { error::SUCCESS };
    if printer.json() {
        printer.value(&views);
        return Ok(code);
    }
    for view in &views {
        match &view.broken {
            Some(words) => printer.data(&format!("{}  {}  {words}", view.bundle, printer.paint("31", "broken"))),
            None => printer.data(&format!("{}  whole", view.bundle)),
        }
        for source in &view.sources {
            let at_commit = match source.at_commit {
                AtCommit::Same | AtCommit::Unknown => String::new(),
                AtCommit::Differs => printer.paint("31", "  not what the commit has"),
            };
            printer.data(&format!("  {:<9} {}{at_commit}", word(source.today), source.path));
        }
    }
    Ok(code)
}

fn word(today: Today) -> &'static str {
    match today {
        Today::Same => "same",
        Today::MovedOn => "moved on",
        Today::Gone => "gone",
        Today::Unknown => "unknown",
    }
}

fn check(repo: &Repo, bundle: &Bundle) -> Result<CheckView, CommandError> {
    let mut sources = Vec::new();
    for source in &bundle.manifest.sources {
        let of_run = source.path.starts_with(agentops_engine::perform::RUN_SOURCE);
        let at_commit = match source.commit.as_ref().filter(|_| !of_run).map(|commit| repo.resolve(commit)) {
            Some(Ok(commit)) if at(repo, &commit, source)?.as_deref() == Some(&source.hash) => AtCommit::Same,
            Some(Ok(_)) => AtCommit::Differs,
            Some(Err(_)) | None => AtCommit::Unknown,
        };
        sources.push(SourceView { path: source.path.clone(), at_commit, today: today(repo, source)? });
    }
    Ok(CheckView { bundle: bundle.id.clone(), broken: None, sources })
}

/// A source's hash at a commit; none where it is not there.
fn at(repo: &Repo, commit: &Oid, source: &SourceRecord) -> Result<Option<String>, CommandError> {
    let path = Path::new(&source.path);
    if source.kind == Kind::Folder {
        let under = (source.path != ".").then_some(path);
        return kept::tree_hash(repo, commit, under).map(Some);
    }
    Ok(repo.read_file(commit, path)?.map(|bytes| hash(&bytes)))
}

fn today(repo: &Repo, source: &SourceRecord) -> Result<Today, CommandError> {
    if source.path.starts_with(agentops_engine::perform::RUN_SOURCE) || source.path.starts_with(kept::OUTSIDE) {
        return Ok(Today::Unknown);
    }
    let path = repo.work_tree().join(&source.path);
    if !path.exists() {
        return Ok(Today::Gone);
    }
    let found = if source.kind == Kind::Folder {
        let under = if source.path == "." { "" } else { &source.path };
        let head = repo.head()?.commit;
        let (commit, found) = kept::folder(repo, Some(&head), Path::new(under))?;
        // One that was clean is compared by git's names, one that was not by its contents.
        if commit.is_some() != source.commit.is_some() {
            return Ok(Today::MovedOn);
        }
        found
    } else {
        hash(&std::fs::read(&path)?)
    };
    Ok(if found == source.hash { Today::Same } else { Today::MovedOn })
}

/// `agentops bundle gc`
pub fn gc(context: &Context, args: &GcArgs, printer: &Printer) -> Result<u8, CommandError> {
    let store = Store::of(context.repo.work_tree());
    let head = context.repo.head()?.commit;
    let mut bundles = Vec::new();
    for id in store.ids()? {
        match store.read(&id) {
            Ok(bundle) => bundles.push(bundle),
            Err(e) => printer.note(&format!("{} stays", chain(&e))),
        }
    }
    let mut needed: BTreeSet<BundleId> = of_runs(context.repo.work_tree(), &bundles)?;
    let mut gone = Vec::new();
    for bundle in &bundles {
        let view = check(&context.repo, bundle)?;
        let is_old = !view.sources.is_empty()
            && view.sources.iter().all(|source| matches!(source.today, Today::MovedOn | Today::Gone));
        if is_old {
            gone.push(bundle.id.clone());
        } else {
            needed.insert(bundle.id.clone());
        }
    }
    // What a needed one was made from is needed, however far back.
    loop {
        let of_needed = bundles.iter().filter(|bundle| needed.contains(&bundle.id));
        let parents: Vec<BundleId> = of_needed.flat_map(|bundle| bundle.manifest.parents.clone()).collect();
        let before = needed.len();
        needed.extend(parents);
        if needed.len() == before {
            break;
        }
    }
    gone.retain(|id| !needed.contains(id));
    let mut removed = Vec::new();
    for id in gone {
        let file = kept::relative(&id).join(store::MANIFEST);
        if context.repo.read_file(&head, &file)?.is_none() {
            printer.note(&format!("{id} is not committed, so it stays: remove it yourself if you do not want it"));
            continue;
        }
        if !args.dry_run {
            store.remove(&id)?;
        }
        removed.push(id);
    }
    if printer.json() {
        printer.value(&removed);
        return Ok(error::SUCCESS);
    }
    for id in &removed {
        let did = if args.dry_run { "would go" } else { "removed" };
        printer.data(&format!("{did}  {id}; it can be brought back with: git restore {}", kept::relative(id).display()));
    }
    if removed.is_empty() {
        printer.note("nothing to remove");
    }
    Ok(error::SUCCESS)
}

/// The bundles that run records name.
fn of_runs(work_tree: &Path, bundles: &[Bundle]) -> Result<BTreeSet<BundleId>, CommandError> {
    let mut named = BTreeSet::new();
    let entries = match std::fs::read_dir(work_tree.join(".agentops/runs")) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(named),
        Err(e) => return Err(e.into()),
    };
    for entry in entries {
        let text = std::fs::read_to_string(entry?.path()).unwrap_or_default();
        named.extend(bundles.iter().filter(|bundle| text.contains(bundle.id.as_str())).map(|bundle| bundle.id.clone()));
    }
    Ok(named)
}
