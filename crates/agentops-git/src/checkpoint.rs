//! A lane's files as a commit, whatever the agent did to the lane's git.
//!
//! Only the files count: the lane's `HEAD`, index and configuration are not read. Git lists what differs from our own
//! index; each path is then looked at here, because what git would do with a nested repository, a link in the middle of a
//! path or an unreadable file is a gitlink or an error, and neither may cost the rest of the work.

use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::diff::{FileChange, Status};
use crate::error::{Error, Result};
use crate::lanes::{Lane, OUT_DIR};
use crate::names;
use crate::objects::Author;
use crate::oid::Oid;

/// A lane's files as a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The commit; the parent itself when nothing changed.
    pub commit: Oid,
    /// Its tree.
    pub tree: Oid,
    /// What differs from the parent.
    pub changed: Vec<FileChange>,
    /// Changed files that are meant to pass a content filter (LFS, say), which was not run: their content is raw.
    pub filtered: Vec<PathBuf>,
    /// What is in the lane and not in the commit, though nothing ignores it.
    pub skipped: Vec<Skipped>,
}

/// Something that was left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// Path from the lane's root.
    pub path: PathBuf,
    /// Why.
    pub why: Why,
}

/// Why something was left out of a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Why {
    /// A repository inside the lane, or a submodule whose commit was moved: the commit it stands on is in no remote.
    NestedRepository,
    /// It may not be read. The parent's version stays.
    Unreadable,
    /// Neither file, folder nor link. The parent's version stays.
    Special,
    /// Git refuses such a name.
    BadName,
}

/// What is to be done with a path.
enum Do {
    Add,
    Remove,
    Skip(Why),
}

impl Lane {
    /// Stores all changes, untracked files included, as a commit on `parent`. `scratch` is a folder of the caller's.
    pub fn checkpoint(&self, parent: &Oid, message: &str, author: &Author, at: u64, scratch: &Path) -> Result<Checkpoint> {
        let room = tempfile::tempdir_in(scratch).map_err(Error::io("make a folder in", scratch))?;
        let index = room.path().join("index");
        let listed = match copy_index(&self.index(), &index) {
            // A damaged index of ours is only a lost shortcut.
            Ok(_) => self.differing(&index).or_else(|_| self.read_again(parent, &index))?,
            Err(_) => self.read_again(parent, &index)?,
        };
        let (tree, skipped) = self.write_tree(&index, &listed)?;
        let changed = self.repo.diff(parent, &tree)?.files;
        self.keep(&index)?;
        if changed.is_empty() {
            return Ok(Checkpoint { commit: parent.clone(), tree, changed, filtered: Vec::new(), skipped });
        }
        let files = changed.iter().filter(|c| c.status != Status::Deleted && matches!(c.mode, 0o100_644 | 0o100_755));
        let filtered = self.repo.with_filter(&tree, files.map(|c| c.path.as_path()))?;
        let commit = self.repo.commit_tree(&tree, &[parent], message, author, at)?;
        Ok(Checkpoint { commit, tree, changed, filtered, skipped })
    }

    fn read_again(&self, parent: &Oid, index: &Path) -> Result<Vec<PathBuf>> {
        match fs::remove_file(index) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(Error::io("remove", index)(e)),
            _ => {}
        }
        self.plain_on(index)?.args(["read-tree", parent.as_str()]).ok()?;
        self.plain_on(index)?.args(["update-index", "-q", "--refresh"]).long().ok_or_code(&[1])?;
        self.differing(index)
    }

    /// Untracked, modified and deleted paths. A nested repository ends with a slash.
    pub(crate) fn differing(&self, index: &Path) -> Result<Vec<PathBuf>> {
        let call = self.plain_on(index)?.args(["ls-files", "-z", "-o", "-m", "-d", "--exclude-standard"]);
        let out = call.arg(format!("--exclude=/{OUT_DIR}")).long().ok()?;
        let mut paths: Vec<_> = out.split(|b| *b == 0).filter(|p| !p.is_empty()).map(names::path).collect();
        paths.sort();
        paths.dedup();
        // What was committed there by hand is not ours to follow either.
        paths.retain(|p| !p.starts_with(OUT_DIR));
        Ok(paths)
    }

    fn write_tree(&self, index: &Path, listed: &[PathBuf]) -> Result<(Oid, Vec<Skipped>)> {
        let (mut add, mut remove, mut skipped) = (Vec::new(), Vec::new(), Vec::new());
        let mut parents = HashMap::new();
        for path in listed {
            let list = match self.look(path, &mut parents) {
                Do::Add => &mut add,
                Do::Remove => &mut remove,
                Do::Skip(why) => {
                    let path =
                        names::path(path.as_os_str().as_bytes().strip_suffix(b"/").unwrap_or(path.as_os_str().as_bytes()));
                    skipped.push(Skipped { path, why });
                    continue;
                }
            };
            list.extend_from_slice(path.as_os_str().as_bytes());
            list.push(0);
        }
        if !remove.is_empty() {
            let call = self.plain_on(index)?.args(["update-index", "--force-remove", "-z", "--stdin"]);
            call.stdin(remove).long().ok()?;
        }
        if !add.is_empty() {
            let call = self.plain_on(index)?.args(["update-index", "--add", "--remove", "--replace", "-z", "--stdin"]);
            let out = call.stdin(add).long().ok_or_code(&[])?;
            let refused = out.stderr.lines().filter_map(|line| line.strip_prefix("Ignoring path "));
            skipped.extend(refused.map(|path| Skipped { path: PathBuf::from(path), why: Why::BadName }));
        }
        let tree = self.plain_on(index)?.arg("write-tree").ok()?;
        Ok((Oid::parse(&tree, "write-tree")?, skipped))
    }

    fn look(&self, path: &Path, parents: &mut HashMap<PathBuf, bool>) -> Do {
        if path.as_os_str().as_bytes().ends_with(b"/") {
            return Do::Skip(Why::NestedRepository);
        }
        // Beyond a link there is nothing of the lane, wherever the link leads.
        if !path.parent().is_none_or(|p| self.is_real_folder(p, parents)) {
            return Do::Remove;
        }
        let full = self.path().join(path);
        let meta = match fs::symlink_metadata(&full) {
            Ok(meta) => meta,
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Do::Remove,
            Err(_) => return Do::Skip(Why::Unreadable),
        };
        let kind = meta.file_type();
        if kind.is_symlink() {
            return Do::Add;
        }
        if kind.is_dir() {
            let nested = fs::symlink_metadata(full.join(".git")).is_ok();
            return if nested { Do::Skip(Why::NestedRepository) } else { Do::Remove };
        }
        if !kind.is_file() {
            return Do::Skip(Why::Special);
        }
        // Without waiting and without following: the path may have changed since.
        let flags = (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits();
        match OpenOptions::new().read(true).custom_flags(flags.cast_signed()).open(&full) {
            Ok(_) => Do::Add,
            Err(e) if e.kind() == ErrorKind::NotFound => Do::Remove,
            Err(_) => Do::Skip(Why::Unreadable),
        }
    }

    fn is_real_folder(&self, path: &Path, known: &mut HashMap<PathBuf, bool>) -> bool {
        if path == Path::new("") {
            return true;
        }
        if let Some(known) = known.get(path) {
            return *known;
        }
        // A folder that is gone or locked is for the look at the path itself to tell.
        let is_link = |p: &Path| fs::symlink_metadata(self.path().join(p)).is_ok_and(|m| m.is_symlink());
        let real = path.parent().is_none_or(|p| self.is_real_folder(p, known)) && !is_link(path);
        known.insert(path.to_owned(), real);
        real
    }

    /// Puts a finished index in the place of ours.
    pub(crate) fn keep(&self, index: &Path) -> Result<()> {
        let new = self.record().join("index.new");
        copy_index(index, &new).map_err(Error::io("write", &new))?;
        fs::rename(&new, self.index()).map_err(Error::io("write", self.index()))
    }
}

/// Copies an index with its time. A file that was changed again in the second in which the index was written is told from an
/// unchanged one only by that time: with a later one, git would take a change that keeps the size for none.
fn copy_index(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::copy(from, to)?;
    let written = fs::metadata(from)?.modified()?;
    fs::File::options().write(true).open(to)?.set_modified(written)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, SystemTime};

    #[test]
    fn a_copied_index_is_as_old_as_what_it_was_copied_from() {
        let room = tempfile::tempdir().unwrap();
        let (from, to) = (room.path().join("from"), room.path().join("to"));
        fs::write(&from, "index").unwrap();
        let written = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        fs::File::options().write(true).open(&from).unwrap().set_modified(written).unwrap();
        copy_index(&from, &to).unwrap();
        assert_eq!(fs::metadata(&to).unwrap().modified().unwrap(), written);
    }
}
