//! Files that the agent's git hides: a sparse checkout, or `git update-index --skip-worktree`, leaves them out of the work
//! tree. Their absence is no deletion. What the agent did to them is in its index, so a checkpoint takes them from there.
//!
//! The index is the agent's: it may name anything. A version is taken over only if it is a file's content or a link, if git
//! allows its path, and if its object could be copied. A file that lies in the lane all the same wins, and so does whatever
//! else lies at its place.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use super::listing::{Listing, is_result};
use super::{Do, Omitted, Why};
use crate::agent_commits::in_parts;
use crate::baseline::Baseline;
use crate::error::{Error, Result};
use crate::lanes::{Lane, bytes};
use crate::names;
use crate::objects::look_up;
use crate::oid::Oid;
use crate::run::is_failure_of_machine;

const TREE: u32 = 0o040_000;
const SUBMODULE: u32 = 0o160_000;

/// An entry of an index: a file, or a folder in a sparse index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IndexEntry {
    pub path: PathBuf,
    pub mode: u32,
    pub oid: Oid,
}

impl IndexEntry {
    /// Reads a row of `ls-files --stage`: `<mode> <oid> <stage>\t<path>`.
    pub(crate) fn parse(row: &[u8]) -> Option<Self> {
        let tab = row.iter().position(|byte| *byte == b'\t')?;
        let head = std::str::from_utf8(&row[..tab]).ok()?;
        let mut fields = head.split(' ');
        let (mode, oid) = (fields.next()?, fields.next()?);
        let path = row[tab + 1..].strip_suffix(b"/").unwrap_or(&row[tab + 1..]);
        Some(Self { path: names::path(path), mode: u32::from_str_radix(mode, 8).ok()?, oid: oid.parse().ok()? })
    }

    /// As something that is hidden and in no checkpoint. Nothing at its path tells whether the hidden version has changed.
    fn omitted(&self, why: Why) -> Omitted {
        // A hash of a short secret tells the secret.
        let state = (why != Why::Copied).then(|| format!("{:o} {}", self.mode, self.oid));
        Omitted { path: self.path.clone(), why, state }
    }

    /// As `update-index --index-info` takes it.
    fn index_info(&self) -> Vec<u8> {
        [format!("{:o} {}\t", self.mode, self.oid).as_bytes(), bytes(&self.path), b"\0"].concat()
    }
}

/// What becomes of hidden files that the agent changed.
#[derive(Debug, Default)]
pub(crate) struct HiddenFiles {
    /// Their versions go into the checkpoint. The objects are in your repository.
    pub taken: Vec<IndexEntry>,
    pub omitted: Vec<Omitted>,
}

impl Lane {
    /// Notes which files are hidden, and which of them the agent changed.
    pub(super) fn note_hidden(&self, mut entries: Vec<IndexEntry>, parent: &Oid, listing: &mut Listing) -> Result<()> {
        listing.hidden = entries.iter().map(|entry| entry.path.clone()).collect();
        entries.retain(|entry| !is_result(bytes(&entry.path)));
        if !entries.is_empty() {
            let theirs = self.versions(parent, entries.iter().any(|entry| entry.mode == TREE))?;
            entries.retain(|entry| theirs.get(&entry.path) != Some(&(entry.mode, entry.oid.clone())));
        }
        listing.hidden_changes = entries;
        Ok(())
    }

    /// The files of a commit or tree with their modes, and its folders where they are asked for.
    fn versions(&self, commit: &Oid, with_folders: bool) -> Result<HashMap<PathBuf, (u32, Oid)>> {
        let mut entries = self.repo.list_tree(commit, None)?;
        if with_folders {
            entries.extend(self.repo.folders_of_tree(commit)?);
        }
        Ok(entries.into_iter().map(|entry| (entry.path, (entry.mode, entry.oid))).collect())
    }

    /// Decides about each hidden file that the agent changed, and copies the objects of those that go into the checkpoint.
    pub(super) fn take_hidden(&self, listing: &Listing, baseline: Option<&Baseline>, room: &Path) -> Result<HiddenFiles> {
        let mut found = HiddenFiles::default();
        let mut parents = HashMap::new();
        for entry in &listing.hidden_changes {
            let why = match self.look(&entry.path, listing, &mut parents) {
                // It is in the lane, and that version counts.
                Do::Add { .. } | Do::Omit(_) => continue,
                // Something else is at its place.
                Do::Remove => Why::Hidden,
                Do::Keep if entry.mode == SUBMODULE => Why::Submodule,
                Do::Keep if !matches!(entry.mode, 0o100_644 | 0o100_755 | 0o120_000) => Why::Hidden,
                Do::Keep if names::check_path(&entry.path).is_err() => Why::BadName,
                Do::Keep => {
                    found.taken.push(entry.clone());
                    continue;
                }
            };
            found.omitted.push(entry.omitted(why));
        }
        if found.taken.is_empty() {
            return Ok(found);
        }
        if let Some(baseline) = baseline {
            self.leave_to_set_up(baseline, room, &mut found)?;
        }
        let stored = self.store_blobs(found.taken.iter().map(|entry| &entry.oid).collect())?;
        let (taken, gone) = found.taken.into_iter().partition(|entry| stored.contains(&entry.oid));
        found.taken = taken;
        found.omitted.extend(Vec::into_iter(gone).map(|entry| entry.omitted(Why::Hidden)));
        Ok(found)
    }

    /// Takes out what set-up brought: its unchanged files, and what it copied from your checkout.
    fn leave_to_set_up(&self, baseline: &Baseline, room: &Path, found: &mut HiddenFiles) -> Result<()> {
        if found.taken.iter().any(|entry| baseline.is_brought(&entry.path)) {
            let as_set_up_left_it = self.baseline_versions(baseline, room)?;
            found.taken.retain(|entry| as_set_up_left_it.get(&entry.path) != Some(&(entry.mode, entry.oid.clone())));
        }
        let is_readable = self.agents_objects()?.is_some();
        let read = || if is_readable { self.read_both() } else { self.repo.plain() };
        let objects = look_up(read()?.long(), found.taken.iter().map(|entry| &entry.oid))?;
        let copied = self.copied_contents(baseline, read, objects.iter().flatten())?;
        let is_copied = |entry: &IndexEntry| baseline.is_copied(&entry.path) || copied.contains(&entry.oid);
        let (omitted, taken) = std::mem::take(&mut found.taken).into_iter().partition(is_copied);
        found.taken = taken;
        found.omitted.extend(Vec::into_iter(omitted).map(|entry| entry.omitted(Why::Copied)));
        Ok(())
    }

    /// Copies contents of files that only the lane has into your repository, and returns those that your repository has then.
    fn store_blobs(&self, wanted: BTreeSet<&Oid>) -> Result<BTreeSet<Oid>> {
        let wanted: Vec<&Oid> = wanted.into_iter().collect();
        let missing = self.repo.kinds(wanted.iter().copied())?;
        let missing: Vec<&Oid> =
            wanted.iter().zip(missing).filter(|(_, kind)| kind.is_none()).map(|(oid, _)| *oid).collect();
        if !missing.is_empty() && self.agents_objects()?.is_some() {
            in_parts(&missing, |part, _| self.import_objects(part))?;
        }
        let kinds = self.repo.kinds(wanted.iter().copied())?;
        let stored = wanted.into_iter().zip(kinds).filter(|(_, kind)| kind.as_deref() == Some("blob"));
        Ok(stored.map(|(oid, _)| oid.clone()).collect())
    }

    /// Writes them into an index. Those that git refuses are left out.
    pub(super) fn write_hidden(&self, index: &Path, entries: &[IndexEntry]) -> Result<()> {
        let entries: Vec<&IndexEntry> = entries.iter().collect();
        in_parts(&entries, |part, _| {
            let list = part.iter().flat_map(|entry| entry.index_info()).collect();
            match self.write_entries(index, list) {
                Ok(()) => Ok(true),
                Err(Error::Failed { code: Some(_), stderr, .. }) if !is_failure_of_machine(&stderr) => Ok(false),
                Err(e) => Err(e),
            }
        })
    }

    /// Those that are not in a tree.
    pub(super) fn missing_in(&self, tree: &Oid, entries: &[IndexEntry]) -> Result<Vec<Omitted>> {
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        let written = self.versions(tree, false)?;
        let is_missing = |entry: &&IndexEntry| written.get(&entry.path).is_none_or(|(_, oid)| *oid != entry.oid);
        Ok(entries.iter().filter(is_missing).map(|entry| entry.omitted(Why::Hidden)).collect())
    }
}
