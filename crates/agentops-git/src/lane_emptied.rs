//! Whether a lane lost its files, or its agent removed them.
//!
//! A cleaner of temporary folders or a `git clean` of a repository around the state folder takes every file and leaves the
//! folder, perhaps with its `.git`. Taken for the agent's work, that would be a commit that deletes everything. So a lane counts
//! as emptied when every tracked file is gone at once and no other file that a checkpoint would take is there. An agent that
//! really removes everything tells git so (`git rm -r .`, or `git add --all`): then its own index is empty too.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::checkpoint::copy_index;
use crate::error::{Error, Result};
use crate::lanes::Lane;
use crate::names;
use crate::plain_file;

/// Signature, version and number of entries.
const INDEX_HEADER_BYTES: u64 = 12;

impl Lane {
    /// Whether its files are gone without anybody having told git to remove them.
    pub(crate) fn is_emptied(&self) -> Result<bool> {
        // A damaged index is only a lost shortcut, and then the files count as they are.
        let out = self.plain_on(&self.index())?.args(["ls-files", "-z"]).long().output()?;
        let tracked: Vec<&[u8]> = out.stdout.split(|b| *b == 0).filter(|path| !path.is_empty()).collect();
        if out.code != Some(0) || tracked.is_empty() {
            return Ok(false);
        }
        for path in tracked {
            if self.has_file(&names::path(path))? {
                return Ok(false);
            }
        }
        if self.agents_index_is_empty() {
            return Ok(false);
        }
        let room = self.repo.scratch()?;
        let index = room.path().join("index");
        copy_index(&self.index(), &index).map_err(Error::io("read", self.index()))?;
        let mut listing = self.listing(&index)?;
        self.read_agents_index(room.path(), self.base(), &mut listing)?;
        for path in &listing.differing {
            if listing.is_hidden(path) || self.has_file(path)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn has_file(&self, path: &Path) -> Result<bool> {
        let path = self.path().join(path);
        match fs::symlink_metadata(&path) {
            // An empty folder in place of a submodule is no file.
            Ok(meta) => Ok(!meta.is_dir()),
            Err(e) if plain_file::is_absent(&e) => Ok(false),
            // In a folder that lets nobody in there may be anything.
            Err(e) if e.kind() == ErrorKind::PermissionDenied => Ok(true),
            Err(e) => Err(Error::io("look at", path)(e)),
        }
    }

    fn agents_index_is_empty(&self) -> bool {
        let start = plain_file::read_start(&self.git_dir().join("index"), INDEX_HEADER_BYTES).unwrap_or_default();
        let is_split = fs::read_dir(self.git_dir())
            .into_iter()
            .flatten()
            .flatten()
            .any(|entry| entry.file_name().as_bytes().starts_with(b"sharedindex."));
        start.len() as u64 == INDEX_HEADER_BYTES && start.starts_with(b"DIRC") && start.ends_with(&[0; 4]) && !is_split
    }
}
