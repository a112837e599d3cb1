//! The lock of merges into a checkout. Git shares it until it has ended, also when the program that started git was killed.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::begun_merge::{self, BegunMerge};
use crate::error::{Error, Result};
use crate::lock::Lock;
use crate::lock_holders::{LockHolder, lock_holders};
use crate::repo::Repo;
use crate::repository_id::FOLDER;

const LOCK_FILE: &str = "begun-merge.lock";

/// As long as this exists, nobody else merges into the checkout.
#[derive(Debug)]
pub struct MergeLock(Lock);

impl MergeLock {
    pub(crate) fn lock(&self) -> &Lock {
        &self.0
    }

    fn take(path: PathBuf) -> Result<Self> {
        Lock::try_take(&path)?.map(Self).ok_or(Error::MergeAtWork { lock: path })
    }
}

impl Repo {
    /// The processes that work on a merge into this checkout now.
    #[must_use]
    pub fn merge_at_work(&self) -> Vec<LockHolder> {
        lock_holders(&lock_file(self.git_dir()))
    }

    /// Keeps everybody else from merging into this checkout.
    ///
    /// # Errors
    /// [`Error::MergeAtWork`] while somebody merges into it.
    pub fn lock_merges(&self) -> Result<MergeLock> {
        MergeLock::take(self.own_folder_of_checkout()?.join(LOCK_FILE))
    }

    /// Keeps a branch of ours from being merged into this checkout, and into every other one that was merged into before.
    ///
    /// # Errors
    /// [`Error::MergeAtWork`] while somebody merges into one of them. [`Error::MergeElsewhere`] if a merge of this branch into
    /// another one was interrupted.
    pub fn lock_merges_of(&self, branch: &str) -> Result<Vec<MergeLock>> {
        let mut locks = vec![self.lock_merges()?];
        let inode = |path: &Path| fs::symlink_metadata(path).ok().map(|meta| (meta.dev(), meta.ino()));
        let own = inode(&lock_file(self.git_dir()));
        let linked = fs::read_dir(self.common_dir().join("worktrees")).into_iter().flatten().flatten();
        for git_dir in linked.map(|entry| entry.path()).chain([self.common_dir().to_owned()]) {
            let lock = lock_file(&git_dir);
            let is_file = lock.symlink_metadata().is_ok_and(|meta| meta.is_file());
            if !is_file || inode(&lock) == own {
                continue;
            }
            locks.push(MergeLock::take(lock)?);
            let note = begun_merge::note_in(&git_dir);
            if BegunMerge::read(&note).is_some_and(|begun| begun.branch() == branch) {
                return Err(Error::MergeElsewhere { branch: branch.to_owned(), note });
            }
        }
        Ok(locks)
    }
}

fn lock_file(git_dir: &Path) -> PathBuf {
    git_dir.join(FOLDER).join(LOCK_FILE)
}
