//! Refs of ours that nobody needs any more, and their many small files.
//!
//! Only refs below `refs/agentops/` and `refs/heads/agentops/` are deleted or packed. Objects are left to the user's own
//! `git gc`, which packs ours like all others: what our refs name is reachable.

use std::fs;
use std::path::PathBuf;

use crate::error::Result;
use crate::oid::Oid;
use crate::refs::Expect;
use crate::repo::Repo;
use crate::run::Version;

/// The first git whose `pack-refs` can be told which refs to pack.
const PACKS_CHOSEN_REFS: Version = Version { major: 2, minor: 42 };
/// Below so many small files packing is not worth its while.
const LOOSE_REFS_MAX: usize = 100;

impl Repo {
    /// Deletes refs of ours below these prefixes whose commit `merged` contains, as long as a branch, tag or remote branch
    /// of the user's contains `merged`. No commit becomes unreachable by it. Returns how many were deleted.
    ///
    /// # Errors
    /// Git failed.
    pub fn drop_merged_refs(&self, prefixes: &[String], merged: &Oid) -> Result<usize> {
        let contains = format!("--contains={merged}");
        let args = ["for-each-ref", "--format=%(refname)", &contains, "refs/heads", "refs/tags", "refs/remotes"];
        let of_user = self.guarded().args(args).output()?;
        let of_user = String::from_utf8_lossy(&of_user.stdout);
        // A commit that git does not know (any more) is contained nowhere.
        if !of_user.lines().any(|name| !name.starts_with("refs/heads/agentops/")) {
            return Ok(0);
        }
        let mut dropped = 0;
        for prefix in prefixes {
            let contained = format!("--merged={merged}");
            let args = ["for-each-ref", "--format=%(objectname) %(refname)", &contained, prefix];
            let out = self.guarded().args(args).ok()?;
            for (oid, name) in String::from_utf8_lossy(&out).lines().filter_map(|line| line.split_once(' ')) {
                self.delete_ref(name, &Expect::Is(oid.parse()?))?;
                dropped += 1;
            }
        }
        Ok(dropped)
    }

    /// Deletes refs of ours below these prefixes, whatever they name. Returns how many were deleted.
    ///
    /// # Errors
    /// Git failed.
    pub fn drop_refs(&self, prefixes: &[String]) -> Result<usize> {
        let mut dropped = 0;
        for prefix in prefixes {
            for (name, oid) in self.list_refs(prefix)? {
                self.delete_ref(&name, &Expect::Is(oid))?;
                dropped += 1;
            }
        }
        Ok(dropped)
    }

    /// Packs our refs into git's one file for refs, when there are many small files of them and git can be told to leave
    /// the user's alone. Returns whether it did.
    ///
    /// # Errors
    /// Git failed, e.g. because another git packs refs now.
    pub fn pack_our_refs(&self) -> Result<bool> {
        let folders = ["refs/agentops", "refs/heads/agentops"].map(|folder| self.common_dir().join(folder));
        if self.git_version() < PACKS_CHOSEN_REFS || !has_more_files(folders.into(), LOOSE_REFS_MAX) {
            return Ok(false);
        }
        let ours = ["--include=refs/agentops/*", "--include=refs/heads/agentops/*"];
        self.guarded().args(["pack-refs", "--prune"]).args(ours).outliving_us().ok()?;
        Ok(true)
    }
}

/// Whether there are more than `max` files below these folders. It looks no further than it needs to know that.
fn has_more_files(mut folders: Vec<PathBuf>, max: usize) -> bool {
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                Ok(_) => files += 1,
                Err(_) => {}
            }
            if files > max {
                return true;
            }
        }
    }
    false
}
