//! The agent's own index and last commit, read as data: which files it added although an ignore rule matches them, and which
//! files its sparse checkout hides.

use std::collections::HashSet;
use std::fs::{self, OpenOptions};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::listing::{Listing, is_result};
use crate::error::{Error, Result};
use crate::lanes::Lane;
use crate::names;
use crate::oid::Oid;
use crate::plain::Plain;
use crate::repo::Repo;

/// The largest index that is read, in bytes. One of a million files has about 100 MB.
const INDEX_BYTES_MAX: u64 = 512 << 20;

impl Lane {
    /// Adds to a listing what only the agent's own index and its last commit know.
    pub(crate) fn read_agents_index(&self, room: &Path, parent: &Oid, listing: &mut Listing) -> Result<()> {
        let mut added = self.paths_of_agents_head()?;
        if let Some(index) = self.copy_agents_index(room)? {
            added.extend(index.added(parent)?);
            let is_gone = |path: &PathBuf| fs::symlink_metadata(self.path().join(path)).is_err();
            if listing.tracked.iter().any(is_gone) {
                listing.hidden = index.hidden()?;
            }
        }
        let differing: HashSet<&PathBuf> = listing.differing.iter().collect();
        added.retain(|path| !is_result(path.as_os_str().as_bytes()) && !differing.contains(path));
        // Those that are not in the work tree are dropped when each path is looked at.
        listing.forced = added.into_iter().collect();
        listing.differing.extend(listing.forced.iter().cloned());
        listing.differing.sort();
        Ok(())
    }

    /// A copy of the agent's index; none where it is not a plain file.
    fn copy_agents_index(&self, room: &Path) -> Result<Option<AgentsIndex<'_>>> {
        let copy = room.join("agents-index");
        if copy_plain_file(&self.git_dir().join("index"), &copy).is_err() {
            return Ok(None);
        }
        let plain = self.repo.plain_for_index()?;
        // The larger half of a split index.
        let shared = fs::read_dir(self.git_dir()).into_iter().flatten().flatten().map(|entry| entry.file_name());
        for name in shared.filter(|name| name.as_bytes().starts_with(b"sharedindex.")).take(4) {
            // One that cannot be copied makes the index a damaged one.
            let _damaged = copy_plain_file(&self.git_dir().join(&name), &plain.path().join(&name));
        }
        Ok(Some(AgentsIndex { repo: &self.repo, plain, copy }))
    }
}

/// A copy of an agent's index, read in a git directory of its own.
struct AgentsIndex<'a> {
    repo: &'a Repo,
    plain: Plain,
    copy: PathBuf,
}

impl AgentsIndex<'_> {
    /// Paths that it has and a commit does not.
    fn added(&self, commit: &Oid) -> Result<Vec<PathBuf>> {
        let args = ["diff-index", "--cached", "-z", "--name-only", "--diff-filter=A", "--no-renames", commit.as_str()];
        Ok(self.read(&args)?.split(|b| *b == 0).filter(|path| !path.is_empty()).map(names::path).collect())
    }

    /// Files that are not in the work tree because a sparse checkout leaves them out, and folders of such files.
    fn hidden(&self) -> Result<HashSet<PathBuf>> {
        let out = self.read(&["ls-files", "-z", "-t", "--sparse"])?;
        let hidden = out.split(|b| *b == 0).filter_map(|row| row.strip_prefix(b"S "));
        Ok(hidden.map(|path| names::path(path.strip_suffix(b"/").unwrap_or(path))).collect())
    }

    /// What git prints about it. A damaged index says nothing: the files count.
    fn read(&self, args: &[&str]) -> Result<Vec<u8>> {
        let call = self.repo.plain_in(&self.plain).cwd(self.plain.path()).env("GIT_INDEX_FILE", &self.copy).preamble();
        let out = call.args(args.iter().copied()).long().output()?;
        Ok(if out.code == Some(0) { out.stdout } else { Vec::new() })
    }
}

/// Copies a file of the agent's: no link, no pipe, no file without end.
fn copy_plain_file(from: &Path, to: &Path) -> Result<()> {
    let open = || -> io::Result<u64> {
        let flags = (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits();
        let from = OpenOptions::new().read(true).custom_flags(flags.cast_signed()).open(from)?;
        let meta = from.metadata()?;
        if !meta.is_file() || meta.len() > INDEX_BYTES_MAX {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        io::copy(&mut from.take(INDEX_BYTES_MAX), &mut fs::File::create(to)?)
    };
    open().map(drop).map_err(Error::io("copy", from))
}
