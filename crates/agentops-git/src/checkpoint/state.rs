//! What tells whether something that a checkpoint does not hold has changed since a person looked at it.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::{Omitted, Why};
use crate::error::Result;
use crate::lanes::Lane;
use crate::names;
use crate::oid::Oid;

/// Entries of a nested repository's object folder that are looked at. An agent decides how many there are.
const ENTRIES_MAX: usize = 50_000;

impl Lane {
    /// Fills in the state of each. `raw`: a tree with the content of filtered files.
    pub(super) fn note_states(&self, omitted: &mut [Omitted], raw: Option<&Oid>) -> Result<()> {
        let mut filtered = HashMap::new();
        if let Some(raw) = raw {
            let paths: BTreeSet<&Path> =
                omitted.iter().filter(|omitted| omitted.why == Why::Filtered).map(|omitted| &*omitted.path).collect();
            let entries = self.repo.list_tree(raw, None)?.into_iter();
            filtered.extend(entries.filter(|entry| paths.contains(&*entry.path)).map(|entry| (entry.path, entry.oid)));
        }
        for omitted in omitted {
            let full = self.path().join(&omitted.path);
            omitted.state = match omitted.why {
                Why::Filtered => filtered.get(&omitted.path).map(Oid::to_string),
                Why::NestedHistory | Why::NestedRepository | Why::Submodule => objects_of(&full.join(".git")),
                // It may lie anywhere, and is looked at nowhere but for whether it exists.
                Why::Worktree => None,
                Why::Refs
                | Why::Hidden
                | Why::Unreadable
                | Why::Refused
                | Why::TooLarge
                | Why::Special
                | Why::BadName
                | Why::Copied => stat_of(&full),
            };
        }
        Ok(())
    }
}

/// Size and time of a path. Its content may be unreadable, large, or secret, and a hash of a short secret tells the secret.
fn stat_of(path: &Path) -> Option<String> {
    let meta = fs::symlink_metadata(path).ok()?;
    Some(format!("{} bytes, changed at {}.{:09}", meta.len(), meta.mtime(), meta.mtime_nsec()))
}

/// A hash of the names of all objects and packs of a repository: git names them by their content, so a new commit changes it.
/// `None`: there is no folder of objects, or it is too large to be listed.
fn objects_of(git: &Path) -> Option<String> {
    let is_folder = |path: &Path| fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir());
    if !is_folder(git) {
        return None;
    }
    let objects = git.join("objects");
    let mut todo = if is_folder(&objects) { vec![objects.clone()] } else { Vec::new() };
    let mut found: BTreeSet<PathBuf> = BTreeSet::new();
    while let Some(folder) = todo.pop() {
        for entry in fs::read_dir(&folder).ok()?.flatten() {
            if found.len() + todo.len() >= ENTRIES_MAX {
                return None;
            }
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => todo.push(entry.path()),
                _ => {
                    found.insert(entry.path().strip_prefix(&objects).ok()?.to_owned());
                }
            }
        }
    }
    let mut hash = Sha256::new();
    for path in found {
        hash.update(path.as_os_str().as_bytes());
        hash.update([0]);
    }
    Some(format!("objects {}", names::hex(&hash.finalize())))
}
