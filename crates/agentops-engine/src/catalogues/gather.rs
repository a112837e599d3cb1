//! What of a folder or a repository becomes a catalogue. Only Markdown files are read, links are not followed, and everything is
//! bounded.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use agentops_core::id::Name;
use agentops_git::{Git, Limits, Source, plain_file};
use agentops_route::catalogue::layout::{self, Candidate, Kind, Layout};
use agentops_route::catalogue::rules;
use agentops_route::catalogue::{FILE_BYTES_MAX, Markdown, Note};
use agentops_safe::Redactor;

use super::{CatalogueError, Pinned};
use crate::blobs;

/// The most agents of one catalogue.
pub const AGENTS_MAX: usize = 10_000;
/// All files of one catalogue together, in bytes.
pub const TOTAL_BYTES_MAX: u64 = 48 << 20;
/// The most files and folders that are looked at, and how deep.
const ENTRIES_MAX: usize = 500_000;
const DEPTH_MAX: usize = 24;
/// Why a README and the like are left out.
const DOCUMENT: &str = "a document by its name";

/// Files as they were found, before anybody looked at what they say.
#[derive(Debug, Default)]
pub struct Files {
    /// Path from the root, and content.
    pub files: Vec<(String, Vec<u8>)>,
    /// What may have been an agent and was not read, and why.
    pub left_out: Vec<(String, String)>,
    /// The name of the folder that was read, where it has one.
    pub root_name: String,
    /// The commit, of a repository.
    pub commit: Option<String>,
}

/// Agents with their texts, and what was left out.
#[derive(Debug, Default)]
pub struct Gathered {
    /// The agents, by label, each with its text.
    pub agents: Vec<(Pinned, String)>,
    /// What is no agent, and why.
    pub left_out: Vec<(String, String)>,
}

/// Whether a folder is a git repository without a work tree, which can only be read as one.
#[must_use]
pub fn is_bare(folder: &Path) -> bool {
    folder.join("HEAD").is_file() && folder.join("objects").is_dir() && folder.join("refs").is_dir()
}

/// The Markdown files of a folder.
///
/// # Errors
/// The folder cannot be read.
pub fn folder(root: &Path) -> Result<Files, CatalogueError> {
    let root_name = root.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let mut found = Files { root_name, ..Files::default() };
    let paths = candidates(root, &mut found.left_out)?;
    let mut total = 0;
    for path in to_read(paths.iter().map(String::as_str), &found.root_name, &mut found.left_out) {
        match plain_file::read(&root.join(path), FILE_BYTES_MAX as u64) {
            Ok(bytes) if total + bytes.len() as u64 <= TOTAL_BYTES_MAX && found.files.len() < AGENTS_MAX => {
                total += bytes.len() as u64;
                found.files.push((path.to_owned(), bytes));
            }
            Ok(_) => {
                let why = format!("a catalogue has at most {AGENTS_MAX} files and {} MiB", TOTAL_BYTES_MAX >> 20);
                found.left_out.push((path.to_owned(), why));
            }
            Err(e) => found.left_out.push((path.to_owned(), e.to_string())),
        }
    }
    Ok(found)
}

/// The paths of plain files that may be agents, in order, so that limits cut at the same place each time.
fn candidates(root: &Path, left_out: &mut Vec<(String, String)>) -> Result<Vec<String>, CatalogueError> {
    let mut paths = Vec::new();
    // Folders still to be read: path from the root, depth.
    let (mut next, mut seen) = (vec![(String::new(), 0)], 0);
    while let Some((below, depth)) = next.pop() {
        let at = root.join(&below);
        let entries = match fs::read_dir(&at) {
            Ok(entries) => entries,
            Err(source) if depth == 0 => return Err(CatalogueError::Io { path: at, source }),
            Err(e) => {
                left_out.push((below, format!("cannot be read: {e}")));
                continue;
            }
        };
        for entry in entries.flatten() {
            seen += 1;
            if seen > ENTRIES_MAX {
                left_out.push((below, format!("more than {ENTRIES_MAX} files: the rest was not looked at")));
                paths.sort();
                return Ok(paths);
            }
            let name = entry.file_name();
            let Some(name) = name.to_str() else {
                left_out.push((format!("{below}/{}", name.to_string_lossy()), "its name is no text".into()));
                continue;
            };
            let path = if below.is_empty() { name.to_owned() } else { format!("{below}/{name}") };
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() && depth < DEPTH_MAX && layout::may_be_agent(&format!("{path}/x.md")) {
                next.push((path, depth + 1));
            } else if kind.is_dir() {
                continue;
            } else {
                match layout::candidate(&path) {
                    Candidate::Foreign => {}
                    Candidate::Document => left_out.push((path, DOCUMENT.into())),
                    Candidate::Agent if kind.is_file() => paths.push(path),
                    Candidate::Agent => left_out.push((path, "no plain file; links are not followed".into())),
                }
            }
        }
    }
    paths.sort();
    Ok(paths)
}

/// Those of these files that are read: what belongs to a skill or is a command is told by where it lies.
fn to_read<'a>(
    paths: impl Iterator<Item = &'a str> + Clone,
    root_name: &str,
    left_out: &mut Vec<(String, String)>,
) -> Vec<&'a str> {
    let layout = Layout::new(paths.clone(), root_name);
    let mut read = Vec::new();
    for path in paths {
        match layout.kind(path) {
            Kind::PartOfSkill => left_out.push((path.to_owned(), "belongs to a skill".into())),
            Kind::Command => left_out.push((path.to_owned(), "a command, not an agent".into())),
            Kind::Agent | Kind::InAgentsFolder | Kind::InCapitals | Kind::Skill => read.push(path),
        }
    }
    read
}

/// The Markdown files of a repository's newest commit; `under` is the folder that is taken.
///
/// # Errors
/// It cannot be fetched.
pub fn repository(git: &Git, source: &Source, under: Option<&str>, scratch: &Path) -> Result<Files, agentops_git::Error> {
    let prefix = under.map(|under| format!("{under}/")).unwrap_or_default();
    let root_name = under.and_then(|under| under.rsplit('/').next()).unwrap_or_default().to_owned();
    let left_out = RefCell::new(Vec::new());
    let relative = |path: &'_ Path| path.to_str()?.strip_prefix(&prefix).map(str::to_owned);
    let wanted = |paths: &[&Path]| {
        let mut below: Vec<Option<String>> = Vec::new();
        for path in paths.iter().map(|path| relative(path)) {
            let candidate = path.as_deref().map_or(Candidate::Foreign, layout::candidate);
            if let (Candidate::Document, Some(path)) = (candidate, &path) {
                left_out.borrow_mut().push((path.clone(), DOCUMENT.to_owned()));
            }
            below.push(path.filter(|_| candidate == Candidate::Agent));
        }
        let candidates = below.iter().flatten().map(String::as_str);
        let read: BTreeSet<&str> = to_read(candidates, &root_name, &mut left_out.borrow_mut()).into_iter().collect();
        below.iter().map(|path| path.as_deref().is_some_and(|path| read.contains(path))).collect()
    };
    let limits = Limits { file_bytes: FILE_BYTES_MAX as u64, files: AGENTS_MAX, total_bytes: TOTAL_BYTES_MAX };
    let found = git.collection(source, scratch, &wanted, &limits)?;
    let mut left_out = left_out.into_inner();
    let relative = |path: &Path| relative(path).unwrap_or_default();
    left_out.extend(found.left_out.iter().map(|(path, why)| (relative(path), (*why).to_owned())));
    let files = found.files.into_iter().map(|(path, bytes)| (relative(&path), bytes)).collect();
    Ok(Files { files, left_out, root_name, commit: Some(found.commit.to_string()) })
}

/// Reads the files and keeps those that are agents. Secrets are taken out of every text: it is about to be written.
#[must_use]
pub fn agents(name: &Name, mut found: Files, redactor: &Redactor) -> Gathered {
    found.files.sort();
    let layout = Layout::new(found.files.iter().map(|(path, _)| path.as_str()), &found.root_name);
    let mut gathered = Gathered { left_out: std::mem::take(&mut found.left_out), ..Gathered::default() };
    let mut labels = BTreeSet::new();
    for (path, bytes) in found.files {
        match agent(name, &layout, &path, &bytes, redactor) {
            Ok((pinned, text)) if labels.insert(pinned.label.clone()) => gathered.agents.push((pinned, text)),
            Ok((pinned, _)) => gathered.left_out.push((path, format!("another file has its label, {}", pinned.label))),
            Err(why) => gathered.left_out.push((path, why)),
        }
    }
    gathered.agents.sort_by(|a, b| a.0.label.cmp(&b.0.label));
    gathered.left_out.sort();
    gathered
}

fn agent(name: &Name, layout: &Layout, path: &str, bytes: &[u8], redactor: &Redactor) -> Result<(Pinned, String), String> {
    let kind = layout.kind(path);
    let read = Markdown::read(bytes).map_err(|e| e.to_string())?;
    let says = |key: &str| read.keys.as_ref().is_some_and(|keys| keys.iter().any(|known| known.eq_ignore_ascii_case(key)));
    let file_name = path.rsplit('/').next().unwrap_or(path);
    let rule = rules::rule_kind(read.keys.as_deref().unwrap_or_default(), file_name);
    if let Some(rule) = rule.filter(|_| kind != Kind::Skill) {
        return Err(rule.reason().into());
    }
    if kind == Kind::Agent && !says("name") && !says("description") {
        return Err("a document: neither name nor description in its front matter".into());
    }
    if kind == Kind::InCapitals && !(says("name") && says("description")) {
        return Err("a document: its name is in capitals, and it has no name and description of its own".into());
    }
    // What is kept is what is used: read again after the redactor.
    let text = redactor.redact(std::str::from_utf8(bytes).unwrap_or_default()).into_owned();
    let read = Markdown::read(text.as_bytes()).map_err(|e| e.to_string())?;
    let label = layout.label(name.as_str(), path);
    let entry = read.entry(&label, &layout::group(path));
    let mut notes: Vec<String> = read.notes.iter().filter(|note| worth_saying(note, kind)).map(Note::to_string).collect();
    if text.as_bytes() != bytes {
        notes.push("what looks like a secret was taken out".into());
    }
    let hash = blobs::hash(text.as_bytes());
    let (name, group) = (entry.name, entry.group);
    Ok((Pinned { label, name, group, path: path.to_owned(), hash, notes }, text))
}

/// A skill's name is its folder's by custom.
fn worth_saying(note: &Note, kind: Kind) -> bool {
    !(kind == Kind::Skill && *note == Note::NoName)
}
