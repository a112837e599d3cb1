//! What of the user's in the checkout is in the way of a merge, which git refuses or would overwrite without a word.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use crate::begun_merge::MergedPath;
use crate::error::Result;
use crate::names;
use crate::oid::Oid;
use crate::repo::Repo;

/// Paths that are in the way.
#[derive(Default)]
pub(crate) struct LocalChanges {
    pub(crate) paths: Vec<PathBuf>,
    /// Those of them that git was told to take for unchanged.
    pub(crate) assumed_unchanged: Vec<PathBuf>,
}

impl Repo {
    /// What is in the way of a merge of these paths: what is staged, changed files, and files that git does not track where the
    /// merge puts something. Of the changed ones git itself overwrites those that it was told to take for unchanged, and of the
    /// untracked ones the ignored.
    pub(crate) fn local_changes_in_the_way(&self, head: &Oid, merged: &[MergedPath]) -> Result<LocalChanges> {
        let mut paths: Vec<PathBuf> = self.staged(head)?.into_keys().collect();
        let args =
            ["diff", "--no-ext-diff", "--no-textconv", "--no-renames", "--ignore-submodules=all", "--name-only", "-z"];
        let changed = self.as_user_without_hooks().args(args).long().ok()?;
        let known: HashSet<&Path> = merged.iter().map(|one| one.path.as_path()).collect();
        paths.extend(names::paths(&changed).filter(|path| known.contains(path.as_path())));
        let assumed_unchanged = self.changed_in_secret(merged)?;
        paths.extend(assumed_unchanged.iter().cloned());
        let mut folders = Vec::new();
        for one in merged.iter().filter(|one| one.before.is_none()) {
            let there = |path: &Path| self.work_tree().join(path).symlink_metadata();
            if there(&one.path).is_ok_and(|found| found.is_dir()) {
                folders.push(one.path.as_path());
            }
            let not_a_folder = |path: &&Path| there(path).is_ok_and(|found| !found.is_dir());
            let found = one.path.ancestors().filter(|path| !path.as_os_str().is_empty()).find(not_a_folder);
            // Where names that differ only in case are one file, the merge may rename it.
            let is_tracked = |path: &Path| {
                let same = |one: &&MergedPath| one.path.as_os_str().eq_ignore_ascii_case(path.as_os_str());
                merged.iter().filter(same).any(|one| one.before.is_some())
            };
            paths.extend(found.filter(|path| !is_tracked(path)).map(Path::to_path_buf));
        }
        paths.extend(self.untracked_below(&folders)?);
        paths.sort();
        paths.dedup();
        Ok(LocalChanges { paths, assumed_unchanged })
    }

    /// Changed files that git was told to take for unchanged.
    fn changed_in_secret(&self, merged: &[MergedPath]) -> Result<Vec<PathBuf>> {
        // Git writes the mark of such an entry in small letters.
        let out = self.guarded().args(["ls-files", "-v", "-z"]).long().ok()?;
        let marked = names::rows(&out).filter(|row| row.first().is_some_and(u8::is_ascii_lowercase));
        let marked: HashSet<PathBuf> = marked.filter_map(|row| row.get(2..)).map(names::path).collect();
        let entries = merged.iter().filter(|one| marked.contains(&one.path));
        let entries: Vec<_> = entries.filter_map(|one| Some((one.path.as_path(), one.before.as_ref()?))).collect();
        let same = self.files_that_are(&entries)?;
        Ok(entries.into_iter().map(|(path, _)| path.to_path_buf()).filter(|path| !same.contains(path)).collect())
    }

    /// Files in these folders that git does not track, ignored ones too.
    fn untracked_below(&self, folders: &[&Path]) -> Result<Vec<PathBuf>> {
        if folders.is_empty() {
            return Ok(Vec::new());
        }
        let out = self.guarded().args(["ls-files", "--others", "-z"]).long().ok()?;
        let below = |path: &PathBuf| folders.iter().any(|folder| path.starts_with(folder));
        // A repository of its own ends with a slash.
        let whole = |path: &[u8]| names::path(path.strip_suffix(b"/").unwrap_or(path));
        Ok(names::rows(&out).map(whole).filter(below).collect())
    }
}
