//! The agent's own index, read as data: which files it added although an ignore rule matches them, and which files its sparse
//! checkout hides.

use std::collections::HashSet;
use std::fs::{self, OpenOptions};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::listing::Listing;
use crate::error::{Error, Result};
use crate::lanes::{Lane, OUT_DIR};
use crate::names;

/// The largest index that is read, in bytes. One of a million files has about 100 MB.
const INDEX_BYTES_MAX: u64 = 512 << 20;

/// One entry of an index.
struct IndexEntry {
    /// `S`: the file is not in the work tree, because a sparse checkout leaves it out.
    hidden: bool,
    /// A file or a link; no submodule and no folder of a sparse index.
    is_file: bool,
    path: PathBuf,
}

impl Lane {
    /// Adds to a listing what only the agent's own index knows.
    pub(crate) fn read_agents_index(&self, room: &Path, listing: &mut Listing) -> Result<()> {
        let differing: HashSet<PathBuf> = listing.differing.iter().cloned().collect();
        for entry in self.agents_index(room)? {
            if entry.hidden {
                listing.hidden.insert(entry.path);
            } else if entry.is_file && !entry.path.starts_with(OUT_DIR) && !listing.tracked.contains(&entry.path) {
                // Those that are not in the work tree are dropped when each path is looked at.
                if !differing.contains(&entry.path) {
                    listing.forced.insert(entry.path);
                }
            }
        }
        listing.differing.extend(listing.forced.iter().cloned());
        listing.differing.sort();
        Ok(())
    }

    /// The agent's index. A damaged one says nothing: the files count.
    fn agents_index(&self, room: &Path) -> Result<Vec<IndexEntry>> {
        let copy = room.join("agents-index");
        if copy_plain_file(&self.git_dir().join("index"), &copy).is_err() {
            return Ok(Vec::new());
        }
        let plain = self.repo.plain_for_index()?;
        // The larger half of a split index.
        let shared = fs::read_dir(self.git_dir()).into_iter().flatten().flatten().map(|entry| entry.file_name());
        for name in shared.filter(|name| name.as_bytes().starts_with(b"sharedindex.")).take(4) {
            // One that cannot be copied makes the index a damaged one.
            let _damaged = copy_plain_file(&self.git_dir().join(&name), &plain.path().join(&name));
        }
        let call = self.repo.plain_in(&plain).cwd(plain.path()).env("GIT_INDEX_FILE", &copy).preamble();
        let out = call.args(["ls-files", "-z", "-s", "-t", "--sparse"]).long().output()?;
        if out.code != Some(0) {
            return Ok(Vec::new());
        }
        // `<tag> <mode> <oid> <stage>\t<path>`
        let entries = out.stdout.split(|b| *b == 0).filter_map(|row| {
            let tab = row.iter().position(|b| *b == b'\t')?;
            let path = names::path(row[tab + 1..].strip_suffix(b"/").unwrap_or(&row[tab + 1..]));
            let is_file = matches!(row.get(2..8)?, b"100644" | b"100755" | b"120000");
            Some(IndexEntry { hidden: row[0] == b'S', is_file, path })
        });
        Ok(entries.collect())
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
