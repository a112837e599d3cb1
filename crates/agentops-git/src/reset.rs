//! Making a lane's files equal to a commit.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::error::{Error, Result};
use crate::lanes::{Lane, OUT_DIR};
use crate::oid::Oid;
use crate::remove::{make_writable, remove_all};

impl Lane {
    /// Makes the lane's files equal to a commit: changes and untracked files go, ignored files (build caches) and the
    /// folder for results stay. Afterwards it is checked that nothing differs, because a gate judges what is there.
    pub fn reset_to(&self, commit: &Oid) -> Result<()> {
        if self.try_reset(commit).is_ok_and(|left| left == 0) {
            return self.finish(commit);
        }
        // Folders without rights, or a damaged index: once more with neither.
        make_writable(self.path())?;
        remove_all(&self.index())?;
        match self.try_reset(commit)? {
            0 => self.finish(commit),
            count => Err(Error::LaneNotReset { path: self.path().to_owned(), count }),
        }
    }

    /// How many paths still differ.
    fn try_reset(&self, commit: &Oid) -> Result<usize> {
        let index = self.index();
        remove_all(&self.record().join("index.lock"))?;
        if !index.exists() {
            self.plain_on(&index)?.args(["read-tree", commit.as_str()]).ok()?;
        }
        self.clean()?;
        let out = self.plain_on(&index)?.args(["read-tree", "--reset", "-u", commit.as_str()]).long().output()?;
        if out.code != Some(0) {
            return Err(out.failed("read-tree".to_owned()));
        }
        // Once more by the new commit's ignore rules.
        self.clean()?;
        let left = self.differing(&index)?;
        // The content of a submodule is set-up and no part of the commit. An untracked repository ends with a slash.
        let submodule = |p: &Path| {
            !p.as_os_str().as_bytes().ends_with(b"/") && fs::symlink_metadata(self.path().join(p).join(".git")).is_ok()
        };
        Ok(left.iter().filter(|p| !submodule(p)).count())
    }

    fn clean(&self) -> Result<()> {
        let call = self.plain_on(&self.index())?.args(["clean", "-ffdq", "-e"]).arg(format!("/{OUT_DIR}"));
        // Its exit code tells of folders that it may not enter; what is left is counted afterwards.
        call.long().output().map(drop)
    }

    fn finish(&self, commit: &Oid) -> Result<()> {
        self.make_out_dir()?;
        self.point_to(commit)
    }
}
