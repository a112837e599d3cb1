//! A lane's files as a commit, whatever the agent did to the lane's git.
//!
//! The files count: the lane's `HEAD` and configuration are not believed. Git lists what differs from our own index; each
//! path is then looked at here, because what git would do with a nested repository, a link in the middle of a path or an
//! unreadable file is a gitlink or an error, and neither may cost the rest of the work. The agent's own index is read as
//! data: it says which ignored files the agent added on purpose, and which files a sparse checkout hides. Those are in the
//! commit as the index has them.
//!
//! Everything that is not ignored is in the commit, or it is named in [`Checkpoint::omitted`], but what the agent had only begun
//! to write ([`Checkpoint::unfinished`]).

mod agents_index;
mod hidden;
mod listing;
mod state;
mod storing;

use std::collections::HashMap;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::baseline::Verdict;
use crate::diff::{FileChange, Status};
use crate::error::{Error, Result};
use crate::lanes::Lane;
use crate::objects::{Author, TreeEntry};
use crate::oid::Oid;
use crate::plain::FILE_PREFIX;
use crate::plain_file;
use crate::remove::remove_pipes_of_rules;
use crate::temporary::TempFolder;
use hidden::HiddenFiles;
pub(crate) use hidden::IndexEntry;
pub(crate) use listing::Listing;
pub use storing::SizeLimits;
use storing::{Addition, cut_to};

/// A lane's files as a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The commit; the parent itself when nothing changed.
    pub commit: Oid,
    /// Its tree.
    pub tree: Oid,
    /// What differs from the parent.
    pub changed: Vec<FileChange>,
    /// Changed files that are meant to pass a content filter (LFS, say), which was not run. The commit has the parent's
    /// version of them, and they are in `omitted` too.
    pub filtered: Vec<PathBuf>,
    /// A commit on top that has the raw content of these files, so that it is not lost with the lane. Nothing builds upon it.
    pub raw: Option<Oid>,
    /// What is in the lane and not in the commit, though nothing ignores it. Sorted.
    pub omitted: Vec<Omitted>,
    /// New files that the agent had begun to write when it was killed ([`crate::is_unfinished`]). They are in no commit, and removed.
    /// Sorted.
    pub unfinished: Vec<PathBuf>,
}

/// Something in a lane that a checkpoint does not hold.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Omitted {
    /// Path from the lane's root.
    pub path: PathBuf,
    /// Why it is not in the commit.
    pub why: Why,
    /// Equal states: it has not changed in between. `None`: not known.
    pub state: Option<String>,
}

impl Omitted {
    pub(crate) fn new(path: PathBuf, why: Why) -> Self {
        Self { path, why, state: None }
    }
}

/// Why a checkpoint does not hold something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Why {
    /// The commits of a repository inside the lane. Its files are in the checkpoint, as ordinary files.
    NestedHistory,
    /// A repository inside the lane, files included: it is nested too deeply, or git refuses its name.
    NestedRepository,
    /// Refs or a reflog in the lane's git directory: no plain files, too large or damaged. Commits that only they name are in
    /// the lane alone.
    Refs,
    /// A worktree that the agent made for its lane's repository. Only its commits are looked at. The path is absolute where it
    /// is not in the lane.
    Worktree,
    /// A submodule that stands on another commit, which may be in no remote. The parent's version stays.
    Submodule,
    /// A sparse checkout hides it, and the agent's version of it could not be taken over: its content is gone, or something
    /// else lies at its place.
    Hidden,
    /// It may not be read. The parent's version stays.
    Unreadable,
    /// Git refuses its content, such as one that does not fit the `working-tree-encoding` that an attribute names. The
    /// parent's version stays.
    Refused,
    /// It is larger than a checkpoint takes, or the checkpoint would be with it ([`SizeLimits`]). The parent's version stays.
    TooLarge,
    /// Neither file, folder nor link. The parent's version stays.
    Special,
    /// Git refuses such a name.
    BadName,
    /// A content filter (LFS, say) belongs to it, and filters are not run. The parent's version stays.
    Filtered,
    /// Set-up copied it from the user's checkout, and the agent changed it or wrote the same content to another file. It may
    /// hold what nobody committed.
    Copied,
}

impl Why {
    /// The reason as a clause that follows the path.
    #[must_use]
    pub fn as_clause(self) -> &'static str {
        match self {
            Why::NestedHistory => "the files of this nested repository are kept, its own commits are not",
            Why::NestedRepository => "this nested repository is too deep or has a name that git refuses",
            Why::Refs => "it cannot be read, and nobody knows which commits only it names",
            Why::Worktree => "the agent made this worktree, and what is not committed there is in no checkpoint",
            Why::Submodule => "this submodule stands on another commit",
            Why::Hidden => "a sparse checkout hides it, and the agent's version of it could not be taken over",
            Why::Unreadable => "it cannot be read",
            Why::Refused => "git refuses its content (an attribute such as working-tree-encoding may not fit it)",
            Why::TooLarge => "it is larger than a checkpoint takes ([lane] file-mib-max and checkpoint-mib-max)",
            Why::Special => "it is neither a file, a folder nor a link",
            Why::BadName => "git refuses this name",
            Why::Copied => "lane set-up copied it from your checkout, and the agent changed or copied it",
            Why::Filtered => "it passes a content filter (such as Git LFS), which is not run outside a sandbox",
        }
    }
}

/// What is to be done with a path.
pub(crate) enum Do {
    Add {
        /// Its size; 0 for a link.
        bytes: u64,
    },
    Remove,
    /// The parent's version stays, and nothing is lost.
    Keep,
    Omit(Why),
}

impl Lane {
    /// Stores all changes, untracked files included, as a commit on `parent`. `scratch` is a folder of the caller's.
    pub fn checkpoint(&self, parent: &Oid, message: &str, author: &Author, at: u64, scratch: &Path) -> Result<Checkpoint> {
        let _working = self.work_lock()?;
        remove_pipes_of_rules(self.path())?;
        let room = TempFolder::make(scratch, FILE_PREFIX).map_err(Error::io("make a folder in", scratch))?;
        let index = room.path().join("index");
        let baseline = self.baseline()?;
        let read = |from_index: bool| {
            let mut listing = if from_index && copy_index(&self.index(), &index).is_ok() {
                // A damaged index of ours is only a lost shortcut.
                match self.listing(&index) {
                    Err(Error::Failed { .. }) => self.read_again(parent, &index)?,
                    listing => listing?,
                }
            } else {
                self.read_again(parent, &index)?
            };
            self.read_agents_index(room.path(), parent, &mut listing)?;
            let verdicts = match &baseline {
                Some(baseline) => self.judge_by_baseline(baseline, parent, room.path(), &listing)?,
                None => HashMap::new(),
            };
            self.take_unfinished(&mut listing, |path| matches!(verdicts.get(path), None | Some(Verdict::AsUsual)));
            let hidden = self.take_hidden(&listing, baseline.as_ref(), room.path())?;
            Ok((self.write_tree(&index, &listing, &verdicts, hidden)?, listing))
        };
        let ((mut tree, mut omitted), listing) = match read(true) {
            // Our index may name objects of an interrupted checkpoint that were pruned since: then every file is read.
            Err(Error::Failed { .. }) => read(false)?,
            read => read?,
        };
        if let Some(baseline) = &baseline {
            omitted.retain(|omitted| omitted.why != Why::NestedHistory || !baseline.has_history(&omitted.path));
        }
        omitted.extend(self.omitted_of_agents_git(&omitted)?);
        omitted.sort();
        let mut changed = self.repo.diff_of(parent, &tree, listing.differing.iter())?.files;
        let files = changed.iter().filter(|c| c.status != Status::Deleted && matches!(c.mode, 0o100_644 | 0o100_755));
        let filtered = self.repo.with_filter(&index, files.map(|c| c.path.as_path()))?;
        let mut raw_tree = None;
        if !filtered.is_empty() {
            raw_tree = Some(tree);
            self.take_back(&index, parent, &filtered)?;
            tree = Oid::parse(&self.plain_on(&index)?.arg("write-tree").ok()?, "write-tree")?;
            changed = self.repo.diff_of(parent, &tree, listing.differing.iter())?.files;
            omitted.extend(filtered.iter().map(|path| Omitted::new(path.clone(), Why::Filtered)));
            omitted.sort();
        }
        let stays = |omitted: &&Omitted| matches!(omitted.why, Why::Filtered | Why::Refused | Why::TooLarge);
        self.remember_staying(omitted.iter().filter(stays).map(|omitted| &*omitted.path))?;
        self.unmark_large(&index, &listing.large)?;
        self.keep(&index)?;
        let commit = if changed.is_empty() {
            parent.clone()
        } else {
            self.repo.commit_tree(&tree, &[parent], message, author, at)?
        };
        self.note_states(&mut omitted, raw_tree.as_ref())?;
        let raw = raw_tree.map(|tree| self.repo.commit_tree(&tree, &[&commit], message, author, at)).transpose()?;
        self.remove_unfinished(&listing.unfinished);
        Ok(Checkpoint { commit, tree, changed, filtered, raw, omitted, unfinished: listing.unfinished })
    }

    /// Sets paths of an index back to what a commit has, or to nothing. The files stay as they are.
    pub(crate) fn take_back<'a>(
        &self,
        index: &Path,
        commit: &Oid,
        paths: impl IntoIterator<Item = &'a PathBuf>,
    ) -> Result<()> {
        let mut before: HashMap<PathBuf, TreeEntry> =
            self.repo.list_tree(commit, None)?.into_iter().map(|entry| (entry.path.clone(), entry)).collect();
        let mut entries = Vec::new();
        for path in paths {
            let entry = match before.remove(path) {
                Some(entry) => format!("{:o} {}\t", entry.mode, entry.oid),
                None => format!("0 {}\t", self.repo.hash().zero()),
            };
            entries.extend(entry.bytes());
            entries.extend_from_slice(path.as_os_str().as_bytes());
            entries.push(0);
        }
        self.write_entries(index, entries)
    }

    /// Puts entries into an index, as `update-index --index-info` takes them.
    pub(crate) fn write_entries(&self, index: &Path, entries: Vec<u8>) -> Result<()> {
        let call = self.plain_on(index)?.args(["update-index", "--add", "--replace", "-z", "--index-info"]);
        call.stdin(entries).long().ok().map(drop)
    }

    fn read_again(&self, parent: &Oid, index: &Path) -> Result<Listing> {
        match fs::remove_file(index) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(Error::io("remove", index)(e)),
            _ => {}
        }
        self.plain_on(index)?.args(["read-tree", parent.as_str()]).ok()?;
        self.mark_large(index)?;
        self.plain_on(index)?.args(["update-index", "-q", "--refresh"]).long().ok_or_code(&[1])?;
        self.listing(index)
    }

    fn write_tree(
        &self,
        index: &Path,
        listing: &Listing,
        verdicts: &HashMap<PathBuf, Verdict>,
        hidden: HiddenFiles,
    ) -> Result<(Oid, Vec<Omitted>)> {
        let (mut add, mut remove, mut omitted) = (Vec::new(), Vec::new(), listing.omitted.clone());
        omitted.extend(hidden.omitted);
        let mut parents = HashMap::new();
        for path in &listing.differing {
            let what = match verdicts.get(path) {
                None | Some(Verdict::AsUsual) if listing.large.contains(path) => Do::Omit(Why::TooLarge),
                None | Some(Verdict::AsUsual) => self.look(path, listing, &mut parents),
                Some(Verdict::Leave) => Do::Keep,
                Some(Verdict::Remove) => Do::Remove,
                Some(Verdict::Omit) => Do::Omit(Why::Copied),
            };
            match what {
                Do::Add { bytes } => add.push(Addition { path: path.clone(), bytes }),
                Do::Remove => {
                    remove.extend_from_slice(path.as_os_str().as_bytes());
                    remove.push(0);
                }
                Do::Keep => {}
                Do::Omit(why) => omitted.push(Omitted::new(path.clone(), why)),
            }
        }
        if !remove.is_empty() {
            let call = self.plain_on(index)?.args(["update-index", "--force-remove", "-z", "--stdin"]);
            call.stdin(remove).long().ok()?;
        }
        // Before the lane's files, which win where both cannot be.
        self.write_hidden(index, &hidden.taken)?;
        let too_large = cut_to(self.limits.checkpoint_bytes_max, &mut add);
        omitted.extend(too_large.into_iter().map(|path| Omitted::new(path, Why::TooLarge)));
        omitted.extend(self.add(index, &add)?);
        let tree = Oid::parse(&self.plain_on(index)?.arg("write-tree").ok()?, "write-tree")?;
        omitted.extend(self.missing_in(&tree, &hidden.taken)?);
        omitted.extend(self.nested_histories(&tree, listing)?);
        omitted.sort();
        omitted.dedup();
        Ok((tree, omitted))
    }

    pub(crate) fn look(&self, path: &Path, listing: &Listing, parents: &mut HashMap<PathBuf, bool>) -> Do {
        let gone = || if listing.is_hidden(path) { Do::Keep } else { Do::Remove };
        // Beyond a link there is nothing of the lane, wherever the link leads.
        if !path.parent().is_none_or(|p| self.is_real_folder(p, parents)) {
            return Do::Remove;
        }
        let full = self.path().join(path);
        let meta = match fs::symlink_metadata(&full) {
            Ok(meta) => meta,
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return gone(),
            Err(_) => return Do::Omit(Why::Unreadable),
        };
        let kind = meta.file_type();
        if kind.is_symlink() {
            return Do::Add { bytes: 0 };
        }
        if kind.is_dir() {
            // Git lists a folder only in place of a submodule of the parent, or of a file that became this folder.
            let nested = fs::symlink_metadata(full.join(".git")).is_ok();
            return if nested && !listing.nested.contains(path) { Do::Omit(Why::Submodule) } else { Do::Remove };
        }
        if !kind.is_file() {
            return Do::Omit(Why::Special);
        }
        if meta.len() > self.limits.file_bytes_max {
            return Do::Omit(Why::TooLarge);
        }
        match plain_file::open(&full) {
            Ok(_) => Do::Add { bytes: meta.len() },
            Err(e) if e.kind() == ErrorKind::NotFound => gone(),
            Err(_) => Do::Omit(Why::Unreadable),
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
pub(crate) fn copy_index(from: &Path, to: &Path) -> std::io::Result<()> {
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
