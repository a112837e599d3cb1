//! Refs of ours that nobody needs any more, and their many small files.
//!
//! Only refs below `refs/agentops/` and `refs/heads/agentops/` are deleted or packed. Objects are left to the user's own
//! `git gc`, which packs ours like all others: what our refs name is reachable.

use std::fs;
use std::path::Path;

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

    /// Packs our refs into git's one file for refs, when there are many small files of them and git can be told to leave
    /// the user's alone. Returns whether it did.
    ///
    /// # Errors
    /// Git failed, e.g. because another git packs refs now.
    pub fn pack_our_refs(&self) -> Result<bool> {
        let loose = ["refs/agentops", "refs/heads/agentops"].map(|folder| files_below(&self.common_dir().join(folder)));
        if self.git_version() < PACKS_CHOSEN_REFS || loose.iter().sum::<usize>() <= LOOSE_REFS_MAX {
            return Ok(false);
        }
        let ours = ["--include=refs/agentops/*", "--include=refs/heads/agentops/*"];
        self.guarded().args(["pack-refs", "--prune"]).args(ours).ok()?;
        Ok(true)
    }
}

fn files_below(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let count = |entry: fs::DirEntry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => files_below(&entry.path()),
        Ok(_) => 1,
        Err(_) => 0,
    };
    entries.map(count).sum()
}
