//! Bundles that are kept in the repository: made, shown, listed, compared.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use agentops_bundle::fidelity::percent;
use agentops_bundle::manifest::{BundleId, Manifest, SourceRecord, hash};
use agentops_bundle::mixed::{self, Part, Source};
use agentops_bundle::store::{Bundle, Store, StoreError};
use agentops_bundle::{Compressed, Fact, Fidelity, SourceError};
use agentops_core::models;
use agentops_git::{Oid, Repo};
use schemars::JsonSchema;
use serde::Serialize;

use super::figures;
use crate::cli::{BundleArg, CreateArgs, DiffArgs};
use crate::context::{self, Context};
use crate::error::{self, CommandError, FAILED, NOT_NOW, USAGE};
use crate::printer::Printer;

/// How the path of a source begins that lies outside the repository.
pub(super) const OUTSIDE: &str = "outside: ";

/// How many times its budget a bundle may grow to keep what must be kept.
const GROWTH_MAX: u64 = 4;

/// A kept bundle.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct KeptView {
    /// Its id.
    pub bundle: BundleId,
    /// The share of must-keep facts that survived, 0 to 1; absent where there were none.
    pub kept: Option<f64>,
    /// What it says of itself.
    pub manifest: Manifest,
    /// What an agent reads; absent in a list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
}

/// Two bundles, compared.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct DifferenceView {
    /// The older one.
    pub old: BundleId,
    /// The newer one.
    pub new: BundleId,
    /// Sources that only the newer one has.
    pub sources_added: Vec<String>,
    /// Sources that only the older one has.
    pub sources_removed: Vec<String>,
    /// Sources whose content is another.
    pub sources_changed: Vec<String>,
    /// Tokens of the older body.
    pub tokens_old: u64,
    /// Tokens of the newer body.
    pub tokens_new: u64,
    /// The older one's share of facts that survived.
    pub kept_old: Option<f64>,
    /// The newer one's.
    pub kept_new: Option<f64>,
    /// Facts that the newer one lists as lost and the older one does not.
    pub newly_lost: Vec<Fact>,
    /// The bodies, line by line: `-` only in the older, `+` only in the newer one.
    pub lines: Vec<String>,
}

/// `agentops bundle create`
pub fn create(context: &Context, args: &CreateArgs, printer: &Printer) -> Result<u8, CommandError> {
    super::refuse_budget(args.budget)?;
    let head = context.repo.head().ok().map(|head| head.commit);
    let store = Store::of(context.repo.work_tree());
    for parent in &args.parent {
        store.read(parent)?;
    }
    let mut sources = Vec::new();
    let mut parts = Vec::new();
    for path in &args.paths {
        let (record, part) = taken(&context.repo, head.as_ref(), path)?;
        sources.push(record);
        parts.push(part);
    }
    let task = context::redacted(&args.task);
    let redactor = context::redactor();
    let mut budget = args.budget;
    let wanted = args.keep.map(|percent| f64::from(percent) / 100.0);
    let short = |made: &Compressed| wanted.is_some_and(|wanted| made.fidelity().score().is_some_and(|kept| kept < wanted));
    let mut made = mixed::compress(&parts, &task, budget, &redactor)?;
    while short(&made) && budget < args.budget.saturating_mul(GROWTH_MAX) && made.after < made.before {
        budget = budget.saturating_mul(3).div_ceil(2).min(args.budget.saturating_mul(GROWTH_MAX));
        made = mixed::compress(&parts, &task, budget, &redactor)?;
    }
    let mut manifest = Manifest::new(&task, sources, &made, &made.text);
    manifest.parents = args.parent.clone();
    if let Some(model) = &args.model {
        manifest = manifest.for_model(model, models::factor_permille(model));
    }
    let id = store.write(&manifest, &made.text)?;
    if printer.json() {
        let kept = made.fidelity().score();
        printer.value(&KeptView { bundle: id, kept, manifest, body: Some(made.text) });
        return Ok(error::SUCCESS);
    }
    printer.data(&id.to_string());
    printer.note(&figures(made.before, made.after, &made.fidelity()));
    losses(&manifest.fidelity, manifest.lost_unlisted, printer);
    if short(&made) {
        printer.note(&format!(
            "less than {} % survived, at {budget} tokens: split it, or give a larger --budget",
            args.keep.unwrap_or(0)
        ));
    }
    let path = store.path(&id);
    let path = path.strip_prefix(context.repo.work_tree()).unwrap_or(&path).display().to_string();
    printer.note(&format!("keep it with: git add {path} && git commit"));
    Ok(error::SUCCESS)
}

/// The first losses, for a person.
fn losses(fidelity: &Fidelity, unlisted: u64, printer: &Printer) {
    for fact in fidelity.lost.iter().take(5) {
        printer.note(&format!("lost  {}  ({})", agentops_safe::inert_line(&fact.text, 80), fact.place));
    }
    let more = fidelity.lost.len().saturating_sub(5) as u64 + unlisted;
    if more > 0 {
        printer.note(&format!("lost  {more} more; `agentops bundle show --json` lists them"));
    }
}

/// A path as a source: what its record says, and what is compressed.
fn taken(repo: &Repo, head: Option<&Oid>, path: &Path) -> Result<(SourceRecord, Part), CommandError> {
    let absolute = std::path::absolute(path)?;
    let unreadable = |source| CommandError::from(SourceError::Unreadable { path: path.to_owned(), source });
    // Links are resolved so that a path in the repository is known as one; what lies outside has no commit.
    let real = std::fs::canonicalize(&absolute).map_err(unreadable)?;
    let within = real.strip_prefix(repo.work_tree()).ok();
    // Where a file lies on somebody's machine is nobody else's business.
    let name = match (within, real.file_name()) {
        (Some(within), _) => within.display().to_string(),
        (None, name) => format!("{OUTSIDE}{}", Path::new(name.unwrap_or_default()).display()),
    };
    let name = if name.is_empty() { ".".to_owned() } else { name };
    if real.is_dir() {
        let Some(within) = within else {
            return Err(CommandError::new(USAGE, format!("{} is outside this repository", path.display()))
                .hint("a folder is kept by its commit; print it with `agentops bundle code --root` instead"));
        };
        let (commit, hash) = folder(repo, head, within)?;
        let part = Part { name: name.clone(), source: Source::Folder(real.clone()) };
        return Ok((SourceRecord { path: name, kind: part.kind(), commit, hash }, part));
    }
    let bytes = super::source::bytes(&real)?;
    let commit = match (within, head) {
        (Some(within), Some(head)) if repo.read_file(head, within)?.as_deref() == Some(&bytes) => {
            repo.last_change(head, within)?.map(|(commit, _)| commit.to_string())
        }
        _ => None,
    };
    let hash = hash(&bytes);
    let part = Part::of_bytes(name.clone(), bytes);
    Ok((SourceRecord { path: name, kind: part.kind(), commit, hash }, part))
}

/// The commit that a folder's files are of, if they are all committed, and a hash of their names and contents.
pub(super) fn folder(repo: &Repo, head: Option<&Oid>, path: &Path) -> Result<(Option<String>, String), CommandError> {
    let Some(head) = head else {
        return Err(CommandError::new(NOT_NOW, "this repository has no commit yet").hint("commit something first"));
    };
    let under = (!path.as_os_str().is_empty()).then_some(path);
    let status = repo.status()?;
    if status.staged == 0 && status.unstaged == 0 {
        let commit = match under {
            Some(path) => repo.last_change(head, path)?.map(|(commit, _)| commit),
            None => repo.last_change_of_sources(head)?,
        };
        let commit = commit.map(|commit| commit.to_string());
        return Ok((commit, tree_hash(repo, head, under)?));
    }
    let mut list = String::new();
    for entry in repo.list_tree(head, under)?.into_iter().filter(|entry| !is_ours(&entry.path)) {
        let file = repo.work_tree().join(&entry.path);
        let is_file = std::fs::symlink_metadata(&file).is_ok_and(|meta| meta.is_file());
        let content = if is_file { hash(&std::fs::read(&file)?) } else { "none".to_owned() };
        list.push_str(&format!("{}\0{content}\n", entry.path.display()));
    }
    Ok((None, hash(list.as_bytes())))
}

/// A hash of the files of a commit below a folder, by their names and git's names of their contents.
pub(super) fn tree_hash(repo: &Repo, commit: &Oid, under: Option<&Path>) -> Result<String, CommandError> {
    let entries = repo.list_tree(commit, under)?;
    let theirs = entries.iter().filter(|entry| !is_ours(&entry.path));
    let list: String = theirs.map(|entry| format!("{}\0{}\n", entry.path.display(), entry.oid)).collect();
    Ok(hash(list.as_bytes()))
}

/// What AgentOps keeps in a repository is no source of it: a bundle would change what it was made from.
fn is_ours(path: &Path) -> bool {
    path.starts_with(".agentops")
}

/// `agentops bundle show`
pub fn show(context: &Context, args: &BundleArg, printer: &Printer) -> Result<u8, CommandError> {
    let bundle = Store::of(context.repo.work_tree()).read(&args.bundle)?;
    if printer.json() {
        printer.value(&view(&bundle, true));
        return Ok(error::SUCCESS);
    }
    printer.data(bundle.body.trim_end());
    let tokens = &bundle.manifest.tokens;
    printer.note(&figures(tokens.before, tokens.after, &bundle.manifest.fidelity));
    if let (Some(model), Some(after)) = (&tokens.model, tokens.after_for_model) {
        printer.note(&format!("at most {} tokens for {model}", crate::screen::thousands(after)));
    }
    losses(&bundle.manifest.fidelity, bundle.manifest.lost_unlisted, printer);
    Ok(error::SUCCESS)
}

fn view(bundle: &Bundle, with_body: bool) -> KeptView {
    KeptView {
        bundle: bundle.id.clone(),
        kept: bundle.manifest.fidelity.score(),
        manifest: bundle.manifest.clone(),
        body: with_body.then(|| bundle.body.clone()),
    }
}

/// `agentops bundle list`
pub fn list(context: &Context, printer: &Printer) -> Result<u8, CommandError> {
    let store = Store::of(context.repo.work_tree());
    let mut views = Vec::new();
    for id in store.ids()? {
        match store.read(&id) {
            Ok(bundle) => views.push(view(&bundle, false)),
            Err(e) => printer.note(&agentops_engine::perform::chain(&e)),
        }
    }
    if printer.json() {
        printer.value(&views);
        return Ok(error::SUCCESS);
    }
    if views.is_empty() {
        printer.note("no bundles yet; make one with: agentops bundle create PATH");
    }
    for view in views {
        let tokens = &view.manifest.tokens;
        let about = match view.manifest.task.lines().next() {
            Some(task) => agentops_safe::inert_line(task, 60),
            None => view.manifest.sources.iter().map(|source| source.path.as_str()).collect::<Vec<_>>().join(", "),
        };
        printer.data(&format!(
            "{}  {}  {about}",
            view.bundle,
            figures(tokens.before, tokens.after, &view.manifest.fidelity)
        ));
    }
    Ok(error::SUCCESS)
}

/// `agentops bundle diff`
pub fn diff(context: &Context, args: &DiffArgs, printer: &Printer) -> Result<u8, CommandError> {
    let store = Store::of(context.repo.work_tree());
    let (old, new) = (store.read(&args.old)?, store.read(&args.new)?);
    let view = difference(&old, &new);
    if printer.json() {
        printer.value(&view);
        return Ok(error::SUCCESS);
    }
    let percent = |kept: Option<f64>| kept.map_or("unknown".to_owned(), |kept| format!("{} %", percent(kept)));
    for (mark, paths) in [("+", &view.sources_added), ("-", &view.sources_removed), ("~", &view.sources_changed)] {
        for path in paths {
            printer.data(&format!("source {mark} {path}"));
        }
    }
    printer.data(&format!("tokens   {} → {}", view.tokens_old, view.tokens_new));
    printer.data(&format!("kept     {} → {}", percent(view.kept_old), percent(view.kept_new)));
    for fact in &view.newly_lost {
        printer.data(&format!("lost     {}  ({})", agentops_safe::inert_line(&fact.text, 100), fact.place));
    }
    for line in &view.lines {
        printer.data(line);
    }
    Ok(error::SUCCESS)
}

fn difference(old: &Bundle, new: &Bundle) -> DifferenceView {
    let sources = |bundle: &Bundle| -> BTreeMap<String, String> {
        bundle.manifest.sources.iter().map(|source| (source.path.clone(), source.hash.clone())).collect()
    };
    let (before, after) = (sources(old), sources(new));
    let only = |some: &BTreeMap<String, String>, other: &BTreeMap<String, String>| {
        some.keys().filter(|path| !other.contains_key(*path)).cloned().collect()
    };
    let changed = before.iter().filter(|(path, hash)| after.get(*path).is_some_and(|other| other != *hash));
    let known = &old.manifest.fidelity.lost;
    let diff = similar::TextDiff::from_lines(&old.body, &new.body);
    let lines = diff.iter_all_changes().filter_map(|change| {
        let mark = match change.tag() {
            similar::ChangeTag::Equal => return None,
            similar::ChangeTag::Delete => '-',
            similar::ChangeTag::Insert => '+',
        };
        Some(format!("{mark}{}", change.value().trim_end()))
    });
    DifferenceView {
        old: old.id.clone(),
        new: new.id.clone(),
        sources_added: only(&after, &before),
        sources_removed: only(&before, &after),
        sources_changed: changed.map(|(path, _)| path.clone()).collect(),
        tokens_old: old.manifest.tokens.after,
        tokens_new: new.manifest.tokens.after,
        kept_old: old.manifest.fidelity.score(),
        kept_new: new.manifest.fidelity.score(),
        newly_lost: new.manifest.fidelity.lost.iter().filter(|fact| !known.contains(fact)).cloned().collect(),
        lines: lines.collect(),
    }
}

impl From<StoreError> for CommandError {
    fn from(error: StoreError) -> Self {
        let (code, hint) = match &error {
            StoreError::Absent { .. } => (NOT_NOW, "`agentops bundle list` lists them"),
            StoreError::Newer { .. } => (FAILED, "a newer agentops wrote it: install that version"),
            StoreError::Changed { .. } => (FAILED, "`git log -- .agentops/bundles` shows who; `git restore` brings it back"),
            StoreError::Io { .. } => (FAILED, "mend the permissions of .agentops/bundles"),
        };
        CommandError::of(code, &error).hint(hint)
    }
}

/// Where a bundle's files lie, from the root of the repository.
pub(super) fn relative(id: &BundleId) -> PathBuf {
    Path::new(agentops_bundle::store::FOLDER).join(id.as_str())
}
