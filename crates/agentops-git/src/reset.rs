//! Making a lane's files equal to a commit.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::baseline::KeptPaths;
use crate::checkpoint::copy_index;
use crate::error::{Error, Result};
use crate::lanes::{Lane, OUT_DIR};
use crate::lock::Lock;
use crate::oid::Oid;
use crate::remove::{make_writable, remove_all, remove_pipes_of_rules};

impl Lane {
    /// Makes the lane's files equal to a commit: changes and untracked files go. Ignored files (build caches), the folder for
    /// results, what set-up brought and files that no checkpoint could take stay. Afterwards it is checked that nothing else differs,
    /// because a gate judges what is there.
    pub fn reset_to(&self, commit: &Oid) -> Result<()> {
        let working = self.work_lock()?;
        remove_pipes_of_rules(self.path())?;
        let kept = self.kept_by_reset(commit)?;
        if self.try_reset(commit, &kept, &working).is_ok_and(|left| left == 0) {
            return self.finish(commit);
        }
        // Folders without rights, or a damaged index: once more with neither.
        make_writable(self.path())?;
        remove_all(&self.index())?;
        match self.try_reset(commit, &kept, &working)? {
            0 => self.finish(commit),
            count => Err(Error::LaneNotReset { path: self.path().to_owned(), count }),
        }
    }

    /// How many paths still differ.
    fn try_reset(&self, commit: &Oid, kept: &KeptPaths, working: &Lock) -> Result<usize> {
        let index = self.index();
        remove_all(&self.record().join("index.lock"))?;
        if !index.exists() {
            self.plain_on(&index)?.args(["read-tree", commit.as_str()]).ok()?;
        }
        // Git does not touch a file whose entry is as it should be and carries the mark of sparse checkouts.
        if !kept.tracked.is_empty() {
            self.take_back(&index, commit, &kept.tracked)?;
            self.mark(&index, "--skip-worktree", &kept.tracked)?;
        }
        self.clean(kept, working)?;
        let out = self.plain_on(&index)?.args(["read-tree", "--reset", "-u", commit.as_str()]);
        let out = out.holding(working)?.long().output()?;
        if out.code != Some(0) {
            return Err(out.failed("read-tree".to_owned()));
        }
        // Once more by the new commit's ignore rules.
        self.clean(kept, working)?;
        // Marked files are not compared: one that is too large for a checkpoint must not be read here either.
        let left = self.differing(&self.guard(kept)?)?;
        self.mark(&index, "--no-skip-worktree", &kept.tracked)?;
        // The content of a submodule is set-up and no part of the commit. An untracked repository ends with a slash.
        let submodule = |p: &Path| {
            !p.as_os_str().as_bytes().ends_with(b"/") && fs::symlink_metadata(self.path().join(p).join(".git")).is_ok()
        };
        Ok(left.iter().filter(|p| !submodule(p) && !kept.contains(p)).count())
    }

    /// Sets a mark of git's at entries of an index, such as `--skip-worktree`.
    pub(crate) fn mark(&self, index: &Path, mark: &str, paths: &BTreeSet<PathBuf>) -> Result<()> {
        if paths.is_empty() {
            return Ok(());
        }
        let call = self.plain_on(index)?.args(["update-index", mark, "-z", "--stdin"]);
        call.stdin(listed(paths)).long().ok().map(drop)
    }

    fn clean(&self, kept: &KeptPaths, working: &Lock) -> Result<()> {
        let call = self.plain_on(&self.guard(kept)?)?.args(["clean", "-ffdq", "-e"]).arg(format!("/{OUT_DIR}"));
        // Its exit code tells of folders that it may not enter; what is left is counted afterwards.
        call.holding(working)?.long().output().map(drop)
    }

    /// An index that has our entries and the untracked paths that stay. What an index has is not cleaned away, and git looks
    /// into a repository inside the lane where the index has a file of it.
    fn guard(&self, kept: &KeptPaths) -> Result<PathBuf> {
        if kept.untracked.is_empty() {
            return Ok(self.index());
        }
        let guard = self.record().join("clean.index");
        remove_all(&self.record().join("clean.index.lock"))?;
        copy_index(&self.index(), &guard).map_err(Error::io("write", &guard))?;
        let mut entries = Vec::new();
        for path in &kept.untracked {
            // No object of this name is needed.
            entries.extend(format!("100644 {}\t", self.base()).bytes());
            entries.extend_from_slice(path.as_os_str().as_bytes());
            entries.push(0);
        }
        self.write_entries(&guard, entries)?;
        // Nor are they compared, however large they are.
        self.mark(&guard, "--skip-worktree", &kept.untracked)?;
        Ok(guard)
    }

    fn finish(&self, commit: &Oid) -> Result<()> {
        self.make_out_dir()?;
        self.point_to(commit)
    }
}

fn listed(paths: &BTreeSet<PathBuf>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for path in paths {
        bytes.extend_from_slice(path.as_os_str().as_bytes());
        bytes.push(0);
    }
    bytes
}
