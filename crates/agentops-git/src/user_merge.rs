//! The user's own merge, in the user's own checkout.
//!
//! Everywhere else this crate keeps the repository's programs from running. Here a person asked for the merge, by name,
//! in a checkout of their own: it must be the merge that they would have typed, with their identity, signature, hooks,
//! filters and merge drivers. So this is git with the user's environment, and it lives alone in this file. The caller has
//! asked for trust before (a merge that changes what trust pins asks again).
//!
//! It never costs uncommitted work: nothing is begun while something else is in progress, nothing is stashed, git itself
//! refuses when a file to be merged is dirty, and what did not become a commit is taken back.

use std::fs;
use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::names;
use crate::oid::Oid;
use crate::repo::Repo;

/// How the user's merge went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserMerge {
    /// There is a new commit on the user's branch.
    Merged {
        /// That commit.
        commit: Oid,
    },
    /// The branch was already part of it.
    UpToDate,
    /// It did not fit and was taken back.
    Conflict {
        /// Where.
        paths: Vec<PathBuf>,
    },
}

/// What git leaves in its directory while something is unfinished.
const UNFINISHED: [(&str, &str); 6] = [
    ("MERGE_HEAD", "a merge"),
    ("CHERRY_PICK_HEAD", "a cherry-pick"),
    ("REVERT_HEAD", "a revert"),
    ("rebase-merge", "a rebase"),
    ("rebase-apply", "a rebase"),
    ("BISECT_LOG", "a bisection"),
];

impl Repo {
    /// Merges a branch of ours into what the user has checked out, as the user.
    pub fn merge_into_checkout(&self, branch: &str, message: &str) -> Result<UserMerge> {
        let full = format!("refs/heads/{branch}");
        names::check_our_ref(&full)?;
        let theirs = self.read_ref(&full)?.ok_or_else(|| Error::UnknownRevision { rev: branch.to_owned() })?;
        for (file, what) in UNFINISHED {
            if self.git_dir().join(file).exists() {
                return Err(Error::InProgress { what, path: self.work_tree().to_owned() });
            }
        }
        let before = self.head()?.commit;

        let flags = ["merge", "--no-ff", "--no-squash", "--commit", "--no-edit", "--no-autostash", "--no-progress"];
        // What was shown and tested is merged: an agent that can write here could replace objects of its result by others.
        let user = self.as_user().env("GIT_NO_REPLACE_OBJECTS", "1");
        let call = user.args(flags).args(["-m", message, "--end-of-options", &full]).named("merge").long();
        let out = match call.output() {
            Ok(out) => out,
            Err(e) => {
                // Stopped half-way, by a hook that never ends: leave no merge in progress.
                self.take_back(&theirs)?;
                return Err(e);
            }
        };
        if out.code == Some(0) {
            let commit = self.head()?.commit;
            return Ok(if commit == before { UserMerge::UpToDate } else { UserMerge::Merged { commit } });
        }
        let paths = self.unmerged()?;
        let began = self.take_back(&theirs)?;
        if began && !paths.is_empty() {
            return Ok(UserMerge::Conflict { paths });
        }
        let words = [String::from_utf8_lossy(&out.stdout).trim(), out.stderr.trim()].join("\n");
        Err(Error::MergeRefused { words: words.trim().chars().take(2000).collect() })
    }

    fn unmerged(&self) -> Result<Vec<PathBuf>> {
        let index = self.git_dir().join("index");
        let call = self.plain_on(self.work_tree(), &index)?;
        let out = call.args(["ls-files", "--unmerged", "-z"]).ok()?;
        let tabs = names::rows(&out).filter_map(|row| row.splitn(2, |b| *b == b'\t').nth(1));
        let mut paths: Vec<_> = tabs.map(names::path).collect();
        paths.dedup();
        Ok(paths)
    }

    /// Ends our merge if it is in progress, and no other; true when it was.
    fn take_back(&self, theirs: &Oid) -> Result<bool> {
        let ours = fs::read_to_string(self.git_dir().join("MERGE_HEAD")).is_ok_and(|t| t.trim() == theirs.as_str());
        if ours {
            self.as_user().args(["merge", "--abort"]).long().ok()?;
        }
        Ok(ours)
    }
}
