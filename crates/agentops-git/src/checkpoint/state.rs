//! What tells whether something that a checkpoint does not hold has changed since a person looked at it.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::{Omitted, Why};
use crate::error::Result;
use crate::lanes::Lane;
use crate::names;
use crate::oid::Oid;

/// Files and folders that are looked at for one state. An agent decides how many there are.
const ENTRIES_MAX: usize = 50_000;
/// Git keeps objects in at most 256 folders, and has a few others beside them.
const OBJECT_FOLDERS_MAX: usize = 1_000;

impl Lane {
    /// Fills in the state of each that has none yet. `raw`: a tree with the content of filtered files.
    pub(super) fn note_states(&self, omitted: &mut [Omitted], raw: Option<&Oid>) -> Result<()> {
        let mut filtered = HashMap::new();
        if let Some(raw) = raw {
            let paths: BTreeSet<&Path> =
                omitted.iter().filter(|omitted| omitted.why == Why::Filtered).map(|omitted| &*omitted.path).collect();
            let entries = self.repo.list_tree(raw, None)?.into_iter();
            filtered.extend(entries.filter(|entry| paths.contains(&*entry.path)).map(|entry| (entry.path, entry.oid)));
        }
        for omitted in omitted.iter_mut().filter(|omitted| omitted.state.is_none()) {
            let full = self.path().join(&omitted.path);
            omitted.state = match omitted.why {
                Why::Filtered => filtered.get(&omitted.path).map(Oid::to_string),
                Why::NestedHistory => state_of_objects(&full.join(".git"), ENTRIES_MAX),
                // The files in it are in no checkpoint either.
                Why::NestedRepository | Why::Submodule | Why::Refs => state_of_all(&full, ENTRIES_MAX),
                // It may lie anywhere, and is looked at nowhere but for whether it exists.
                Why::Worktree => None,
                Why::Hidden | Why::Unreadable | Why::Refused | Why::TooLarge | Why::Special | Why::BadName | Why::Copied => {
                    fs::symlink_metadata(&full).ok().map(|meta| size_and_time(&meta))
                }
            };
        }
        Ok(())
    }
}

/// A file's content may be unreadable, large, or secret, and a hash of a short secret tells the secret.
fn size_and_time(meta: &Metadata) -> String {
    format!("{} bytes, changed at {}.{:09}", meta.len(), meta.mtime(), meta.mtime_nsec())
}

/// A file by size and time, a folder by a hash over all that is in it. `None`: it cannot be looked at as a whole, there is too
/// much in it, or a `.git` in it leads elsewhere.
fn state_of_all(path: &Path, entries_max: usize) -> Option<String> {
    let meta = fs::symlink_metadata(path).ok()?;
    if !meta.is_dir() {
        return Some(size_and_time(&meta));
    }
    let mut states: BTreeSet<(PathBuf, String)> = BTreeSet::new();
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).ok()? {
            let entry = entry.ok()?;
            let meta = entry.metadata().ok()?;
            let state = if entry.file_name() == ".git" {
                // Git writes into it whenever it looks at the files.
                state_of_objects(&entry.path(), entries_max)?
            } else if meta.is_dir() {
                folders.push(entry.path());
                String::new()
            } else {
                format!("{} {}.{:09}", size_and_time(&meta), meta.ctime(), meta.ctime_nsec())
            };
            states.insert((entry.path().strip_prefix(path).ok()?.to_owned(), state));
            if states.len() > entries_max {
                return None;
            }
        }
    }
    Some(format!("files {}", hash_of(&states)))
}

/// A hash of the names of all objects and packs of a repository: git names them by their content, so a new commit changes it.
/// With too many of them, it is a hash over their folders instead. `None`: there is no repository here, or it cannot be read.
fn state_of_objects(git: &Path, entries_max: usize) -> Option<String> {
    let is_folder = |path: &Path| fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir());
    if !is_folder(git) {
        return None;
    }
    let objects = git.join("objects");
    let mut todo = if is_folder(&objects) { vec![objects.clone()] } else { Vec::new() };
    let mut found: BTreeSet<(PathBuf, String)> = BTreeSet::new();
    while let Some(folder) = todo.pop() {
        for entry in fs::read_dir(&folder).ok()? {
            let entry = entry.ok()?;
            if found.len() + todo.len() >= entries_max {
                return state_of_object_folders(&objects);
            }
            if entry.file_type().ok()?.is_dir() {
                todo.push(entry.path());
            } else {
                found.insert((entry.path().strip_prefix(&objects).ok()?.to_owned(), String::new()));
            }
        }
    }
    Some(format!("objects {}", hash_of(&found)))
}

/// A hash of the folders of objects and of the times at which one of their entries came or went. `None`: they are too many, or
/// cannot be read.
fn state_of_object_folders(objects: &Path) -> Option<String> {
    let mut found: BTreeSet<(PathBuf, String)> = BTreeSet::new();
    for entry in fs::read_dir(objects).ok()? {
        let entry = entry.ok()?;
        if found.len() >= OBJECT_FOLDERS_MAX {
            return None;
        }
        let meta = entry.metadata().ok()?;
        found.insert((entry.file_name().into(), format!("{}.{:09}", meta.ctime(), meta.ctime_nsec())));
    }
    Some(format!("object folders {}", hash_of(&found)))
}

fn hash_of(states: &BTreeSet<(PathBuf, String)>) -> String {
    let mut hash = Sha256::new();
    for (path, state) in states {
        hash.update(path.as_os_str().as_bytes());
        hash.update([0]);
        hash.update(state);
        hash.update([0]);
    }
    names::hex(&hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: PathBuf, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn p6_a_new_object_among_any_number_of_them_is_a_change() {
        let room = tempfile::tempdir().unwrap();
        let objects = room.path().join("objects");
        for object in ["aa/1", "aa/2", "bb/1", "pack/one.pack"] {
            write(objects.join(object), "");
        }
        for (entries_max, kind) in [(10, "objects"), (3, "object folders")] {
            let state = || state_of_objects(room.path(), entries_max).unwrap();
            let before = state();
            assert!(before.starts_with(&format!("{kind} ")) && before == state(), "{before}");
            for object in ["aa/3", "pack/two.pack", "cc/1"] {
                let before = state();
                write(objects.join(object), "");
                assert_ne!(state(), before, "{object}");
                fs::remove_file(objects.join(object)).unwrap();
            }
            fs::remove_dir(objects.join("cc")).unwrap();
        }
        for number in 0..OBJECT_FOLDERS_MAX {
            fs::create_dir(objects.join(number.to_string())).unwrap();
        }
        assert_eq!(state_of_objects(room.path(), 3), None);
    }

    #[test]
    fn p6_a_changed_file_in_a_folder_that_no_checkpoint_holds_is_a_change() {
        let room = tempfile::tempdir().unwrap();
        write(room.path().join("deep/file"), "1");
        write(room.path().join(".git/objects/aa/1"), "");
        let state = || state_of_all(room.path(), 10).unwrap();
        let before = state();
        write(room.path().join(".git/index"), "looked at");
        assert_eq!(state(), before);
        write(room.path().join("deep/file"), "22");
        let changed = state();
        assert_ne!(changed, before);
        write(room.path().join("deep/new"), "");
        assert_ne!(state(), changed);
        let added = state();
        write(room.path().join(".git/objects/aa/2"), "");
        assert_ne!(state(), added);
        assert_eq!(state_of_all(room.path(), 2), None);
        fs::rename(room.path().join(".git"), room.path().join("elsewhere")).unwrap();
        write(room.path().join(".git"), "gitdir: elsewhere");
        assert_eq!(state_of_all(room.path(), 10), None);
    }
}
