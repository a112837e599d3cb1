//! The agent's own index and last commit, read as data: which files it added although an ignore rule matches them, and which
//! files its sparse checkout hides.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::hidden::IndexEntry;
use super::listing::{Listing, is_result};
use crate::error::{Error, Result};
use crate::lane_repository;
use crate::lanes::{Lane, LaneForm};
use crate::names;
use crate::oid::Oid;
use crate::plain::Plain;
use crate::plain_file;
use crate::repo::Repo;
use crate::unfinished::is_unfinished;

/// The largest index that is read, in bytes. One of a million files has about 100 MB.
const INDEX_BYTES_MAX: u64 = 512 << 20;
/// Shared halves of split indexes that are copied at most. Git removes those that no index needs.
const SHARED_MAX: usize = 4;

impl Lane {
    /// Adds to a listing what only the agent's own index and its last commit know.
    pub(crate) fn read_agents_index(&self, room: &Path, parent: &Oid, listing: &mut Listing) -> Result<()> {
        let mut added = self.paths_of_agents_head()?;
        if let Some(index) = self.copy_agents_index(room)? {
            added.extend(index.added(parent)?);
            let is_gone = |path: &PathBuf| fs::symlink_metadata(self.path().join(path)).is_err();
            // Where objects of the agent's cannot be read, nobody knows what it added.
            if listing.tracked.iter().chain(&added).any(is_gone) || !index.knows_all_objects() {
                self.note_hidden(index.hidden()?, parent, listing)?;
            }
        }
        let differing: HashSet<&PathBuf> = listing.differing.iter().collect();
        added.retain(|path| !is_result(path.as_os_str().as_bytes()));
        listing.meant = added.iter().filter(|path| path.file_name().is_some_and(is_unfinished)).cloned().collect();
        added.retain(|path| !differing.contains(path));
        // Those that are not in the work tree are dropped when each path is looked at.
        listing.forced = added.into_iter().collect();
        listing.differing.extend(listing.forced.iter().cloned());
        listing.differing.extend(listing.hidden_changes.iter().map(|entry| entry.path.clone()));
        listing.differing.sort();
        listing.differing.dedup();
        Ok(())
    }

    /// Where git finds the agent's objects beside yours; `None`: a link may lead out of the lane, so none are read.
    pub(crate) fn agents_objects(&self) -> Result<Option<OsString>> {
        let is_own = self.form == LaneForm::Repository && plain_file::is_folder(self.git_dir())?;
        let objects = || lane_repository::alternate_path(&self.git_dir().join("objects"));
        Ok((is_own && lane_repository::make_readable(self)?).then(objects))
    }

    /// A copy of the agent's index; none where there is none, or it is no plain file or too large.
    ///
    /// # Errors
    /// It could not be copied. Without it, files that a sparse checkout hides would count as deleted.
    fn copy_agents_index(&self, room: &Path) -> Result<Option<AgentsIndex<'_>>> {
        let copy = room.join("agents-index");
        if !copy_plain_file(&self.git_dir().join("index"), &copy)? {
            return Ok(None);
        }
        let plain = self.repo.plain_for_index()?;
        // The larger half of a split index.
        let mut shared = Vec::new();
        for entry in fs::read_dir(self.git_dir()).map_err(Error::io("read", self.git_dir()))? {
            let name = entry.map_err(Error::io("read", self.git_dir()))?.file_name();
            if name.as_bytes().starts_with(b"sharedindex.") && shared.len() < SHARED_MAX {
                shared.push(name);
            }
        }
        for name in shared {
            // One that is no plain file makes the index a damaged one.
            copy_plain_file(&self.git_dir().join(&name), &plain.path().join(&name))?;
        }
        Ok(Some(AgentsIndex { repo: &self.repo, plain, copy, objects: self.agents_objects()? }))
    }
}

/// A copy of an agent's index, read in a git directory of its own.
struct AgentsIndex<'a> {
    repo: &'a Repo,
    plain: Plain,
    copy: PathBuf,
    /// The agent's objects.
    objects: Option<OsString>,
}

impl AgentsIndex<'_> {
    /// Paths that it has and a commit does not.
    fn added(&self, commit: &Oid) -> Result<Vec<PathBuf>> {
        let args = ["diff-index", "--cached", "-z", "--name-only", "--diff-filter=A", "--no-renames", commit.as_str()];
        Ok(names::paths(&self.read(&args)?).collect())
    }

    fn knows_all_objects(&self) -> bool {
        self.objects.is_some()
    }

    /// Files that are not in the work tree because a sparse checkout leaves them out. Folders of such files are given whole
    /// where their trees cannot be read.
    fn hidden(&self) -> Result<Vec<IndexEntry>> {
        let args = ["ls-files", "-z", "-t", "--stage"];
        let mut out = self.read(&args)?;
        if out.is_empty() {
            out = self.read(&[&args[..], &["--sparse"]].concat())?;
        }
        Ok(names::rows(&out).filter_map(|row| IndexEntry::parse(row.strip_prefix(b"S ")?)).collect())
    }

    /// What git prints about it.
    fn read(&self, args: &[&str]) -> Result<Vec<u8>> {
        let mut call = self.repo.plain_in(&self.plain).cwd(self.plain.path()).env("GIT_INDEX_FILE", &self.copy);
        if let Some(objects) = &self.objects {
            call = call.env("GIT_ALTERNATE_OBJECT_DIRECTORIES", objects);
            call = call.args(["-c", "core.commitGraph=false", "-c", "core.multiPackIndex=false"]);
        }
        let call = call.preamble().args(args.iter().copied()).long();
        let what = call.what();
        // A damaged index says nothing, and the files count.
        Ok(call.output()?.unless_damaged(what)?.unwrap_or_default())
    }
}

/// Copies a file of the agent's. False where there is none, or a link, a pipe or a file that is too large.
fn copy_plain_file(from: &Path, to: &Path) -> Result<bool> {
    let file = match plain_file::open(from) {
        Err(e) if plain_file::is_absent(&e) || plain_file::is_no_such_file(&e) => return Ok(false),
        opened => opened.map_err(Error::io("open", from))?,
    };
    if file.metadata().map_err(Error::io("look at", from))?.len() > INDEX_BYTES_MAX {
        return Ok(false);
    }
    let mut copy = fs::File::create(to).map_err(Error::io("write", to))?;
    io::copy(&mut file.take(INDEX_BYTES_MAX), &mut copy).map_err(Error::io("copy", from))?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p6_only_an_index_that_is_no_plain_file_counts_as_none() {
        let room = tempfile::tempdir().unwrap();
        let at = |name: &str| room.path().join(name);
        fs::write(at("index"), "index").unwrap();
        std::os::unix::fs::symlink(at("index"), at("link")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, at("pipe"), rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        fs::File::create(at("large")).unwrap().set_len(INDEX_BYTES_MAX + 1).unwrap();
        fs::create_dir(at("folder")).unwrap();
        for none in ["missing", "index/below", "link", "pipe", "socket", "large", "folder"] {
            assert!(!copy_plain_file(&at(none), &at("copy")).unwrap(), "{none}");
        }
        assert!(copy_plain_file(&at("index"), &at("copy")).unwrap());
        // A copy that cannot be written is our failure: the agent has an index.
        for ours in [at("gone/copy"), PathBuf::from("/dev/full")] {
            copy_plain_file(&at("index"), &ours).unwrap_err();
        }
    }
}
