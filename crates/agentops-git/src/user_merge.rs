//! The user's own merge, in the user's own checkout.
//!
//! Everywhere else this crate keeps the repository's programs from running. Here a person asked for the merge, by name,
//! in a checkout of their own: it must be the merge that they would have typed, with their identity, signature, hooks,
//! filters and merge drivers. So this is git with the user's environment, and it lives alone in this file. The caller has
//! asked for trust before (a merge that changes what trust pins asks again).
//!
//! It never costs uncommitted work: nothing is begun while something else is in progress or a local change is in the way,
//! nothing is stashed, and what did not become a commit is taken back path by path ([`crate::begun_merge`]).
//!
//! The caller tests a merge that plain git makes. The user's git may make another one, so the commit is compared with it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::begun_merge::{BegunMerge, TakenBack};
use crate::boundary::boundary;
use crate::error::{Error, Result};
use crate::merge::MergeResult;
use crate::merge_lock::MergeLock;
use crate::merge_trace::{self, FailedProgram};
use crate::names;
use crate::oid::Oid;
use crate::repo::Repo;
use crate::run::Output;

/// Characters of git's words that go into an error.
const WORDS_CHARS_MAX: usize = 2000;

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
    /// It did not fit, and nothing was changed.
    Conflict {
        /// Where.
        paths: Vec<PathBuf>,
    },
    /// The caller gave it up, and it was taken back.
    Interrupted(TakenBack),
}

/// The commits that a merge joins, as the caller tested it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestedMerge {
    /// What is checked out.
    pub head: Oid,
    /// The tip of the branch that is merged.
    pub tip: Oid,
}

/// Why the user's git did not merge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MergeRefusal {
    /// A hook refused.
    Hook {
        /// Its name, such as `commit-msg`.
        name: String,
        /// Its file.
        program: String,
    },
    /// The commit could not be signed.
    Signature {
        /// The program that was to sign it.
        program: String,
    },
    /// Changes in the checkout are in the way: staged ones, or ones at paths that the merge changes.
    LocalChanges {
        /// Where.
        paths: Vec<PathBuf>,
        /// Those of them that git was told to take for unchanged (`git update-index --assume-unchanged`).
        assumed_unchanged: Vec<PathBuf>,
    },
    /// A lock file of git's is there already.
    LockFile {
        /// The file.
        lock: PathBuf,
    },
    /// Git knows no name or no address of the user.
    Identity,
    /// Something that only git's words tell.
    Other,
}

/// What git leaves in its directory while something is unfinished.
pub(crate) const UNFINISHED: [(&str, &str); 6] = [
    ("MERGE_HEAD", "a merge"),
    ("CHERRY_PICK_HEAD", "a cherry-pick"),
    ("REVERT_HEAD", "a revert"),
    ("rebase-merge", "a rebase"),
    ("rebase-apply", "a rebase"),
    ("BISECT_LOG", "a bisection"),
];

/// Settings of the user's that would only make another merge than the one that was tested. `branch.<name>.mergeoptions` can do
/// that too, but it also holds how the user signs.
const AS_TESTED: [&str; 6] = ["-c", "pull.twohead=ort", "-c", "merge.renames=true", "-c", "merge.directoryRenames=conflict"];

impl Repo {
    /// Merges a branch of ours into what the user has checked out, as the user. When `interrupted` becomes true, git and what it
    /// started are ended, and the merge is taken back.
    ///
    /// # Errors
    /// [`Error::RefMoved`] if the branch or `HEAD` is not what was tested. [`Error::MergedOtherwise`] if the commit that git made
    /// is not the plain merge of both.
    pub fn merge_into_checkout(
        &self,
        branch: &str,
        tested: &TestedMerge,
        message: &str,
        interrupted: &Arc<AtomicBool>,
    ) -> Result<UserMerge> {
        self.merge_with_lock(&self.lock_merges()?, branch, tested, message, interrupted)
    }

    /// As [`Self::merge_into_checkout`], for a caller that has the lock and keeps it for what comes after the merge.
    ///
    /// # Errors
    /// As [`Self::merge_into_checkout`].
    pub fn merge_with_lock(
        &self,
        lock: &MergeLock,
        branch: &str,
        tested: &TestedMerge,
        message: &str,
        interrupted: &Arc<AtomicBool>,
    ) -> Result<UserMerge> {
        let full = format!("refs/heads/{branch}");
        names::check_our_ref(&full)?;
        self.nothing_is_unfinished()?;
        if self.begun_merge()?.is_some() {
            return Err(Error::InProgress { what: "an interrupted merge", path: self.work_tree().to_owned() });
        }
        let (before, theirs) = (self.head()?.commit, &tested.tip);
        is_as_tested("HEAD", &tested.head, Some(&before))?;
        is_as_tested(&full, theirs, self.read_ref(&full)?.as_ref())?;
        if self.merge_base(&before, theirs)?.as_ref() == Some(theirs) {
            return Ok(UserMerge::UpToDate);
        }
        let tree = match self.merge(&before, theirs, None)? {
            MergeResult::Clean { tree } => tree,
            MergeResult::Conflict { paths } => return Ok(UserMerge::Conflict { paths }),
        };
        self.checkout_is_free_for(&before, &tree)?;

        let note = BegunMerge::new(branch, &before, theirs, &tree);
        self.write_merge_note(&note)?;
        let room = self.scratch()?;
        let trace = room.path().join("trace");
        let flags = ["merge", "--no-ff", "--no-squash", "--commit", "--no-edit", "--no-autostash", "--no-progress"];
        // What was shown and tested is merged: an agent that can write here could replace objects of its result by others, or
        // move the branch just now.
        let user = self.as_user().args(AS_TESTED).preamble();
        let user = user.env("GIT_NO_REPLACE_OBJECTS", "1").env("GIT_TRACE2_EVENT", &trace);
        let call = user.args(flags).args(["-m", message, "--end-of-options", theirs.as_str()]).named("merge").long();
        let out = call.holding(lock.lock())?.ended_when(interrupted).output();
        boundary("merge-git-ended");

        // Git may have been interrupted just after it was done.
        let commit = self.head()?.commit;
        if commit != before && self.merge_base(&commit, theirs)?.as_ref() == Some(theirs) {
            self.end_committed(&note, &commit)?;
            return Ok(UserMerge::Merged { commit });
        }
        let conflicts = self.unmerged()?;
        if !conflicts.is_empty() {
            return self.end_conflict(&note, conflicts);
        }
        let taken = self.take_back(&note)?;
        match out {
            Err(Error::Interrupted { .. }) => Ok(UserMerge::Interrupted(taken)),
            Err(e) => Err(e),
            Ok(out) => {
                let words = words(&out);
                Err(refused(self.why_refused(&trace, out.lock)?, words, taken))
            }
        }
    }

    /// Whether the checkout, which is at `head`, lets a merge to this tree be made: before a caller spends time on a test of it.
    ///
    /// # Errors
    /// [`Error::InProgress`], or [`Error::MergeRefused`] with the local changes that are in the way.
    pub fn checkout_is_free_for(&self, head: &Oid, tree: &Oid) -> Result<()> {
        self.nothing_is_unfinished()?;
        let found = self.local_changes_in_the_way(head, &self.merged_paths(head, tree)?)?;
        if found.paths.is_empty() {
            return Ok(());
        }
        let refusal = MergeRefusal::LocalChanges { paths: found.paths, assumed_unchanged: found.assumed_unchanged };
        Err(refused(refusal, String::new(), TakenBack::default()))
    }

    /// Whether no merge, rebase, cherry-pick, revert or bisection is under way in the checkout.
    ///
    /// # Errors
    /// [`Error::InProgress`] if one is.
    pub fn nothing_is_unfinished(&self) -> Result<()> {
        match UNFINISHED.iter().find(|(file, _)| self.git_dir().join(file).exists()) {
            Some((_, what)) => Err(Error::InProgress { what, path: self.work_tree().to_owned() }),
            None => Ok(()),
        }
    }

    /// Ends a merge that conflicts only in the user's own git, which has other settings and merge drivers.
    fn end_conflict(&self, note: &BegunMerge, paths: Vec<PathBuf>) -> Result<UserMerge> {
        let ours = fs::read_to_string(self.git_dir().join("MERGE_HEAD")).is_ok_and(|text| text.trim() == note.theirs());
        let touched = self.merged_paths(&note.head()?, &note.tree()?)?;
        let of_merge = |path: &PathBuf| paths.contains(path) || touched.iter().any(|one| one.path == *path);
        // Aborting would take what the user staged meanwhile along.
        if !ours || !self.staged(&note.head()?)?.keys().all(of_merge) {
            return Err(Error::InProgress { what: "a merge with conflicts", path: self.work_tree().to_owned() });
        }
        self.as_user_without_hooks().args(["merge", "--abort"]).long().ok()?;
        self.remove_merge_note()?;
        Ok(UserMerge::Conflict { paths })
    }

    /// `lock`: the lock file that git named.
    fn why_refused(&self, trace: &Path, lock: Option<PathBuf>) -> Result<MergeRefusal> {
        match merge_trace::failed_program(trace) {
            Some(FailedProgram::Hook { name, program }) => return Ok(MergeRefusal::Hook { name, program }),
            Some(FailedProgram::Signing { program }) => return Ok(MergeRefusal::Signature { program }),
            None => {}
        }
        if let Some(lock) = lock {
            return Ok(MergeRefusal::LockFile { lock });
        }
        if !self.knows_identity("GIT_COMMITTER_IDENT")? || !self.knows_identity("GIT_AUTHOR_IDENT")? {
            return Ok(MergeRefusal::Identity);
        }
        // Git does not name each lock file that it could not make.
        let lock = self.lock_files().into_iter().next();
        Ok(lock.map_or(MergeRefusal::Other, |lock| MergeRefusal::LockFile { lock }))
    }

    fn unmerged(&self) -> Result<Vec<PathBuf>> {
        let out = self.guarded().args(["ls-files", "--unmerged", "-z"]).long().ok()?;
        let tabs = names::rows(&out).filter_map(|row| row.splitn(2, |b| *b == b'\t').nth(1));
        let mut paths: Vec<_> = tabs.map(names::path).collect();
        paths.dedup();
        Ok(paths)
    }
}

fn is_as_tested(name: &str, expected: &Oid, found: Option<&Oid>) -> Result<()> {
    if found == Some(expected) {
        return Ok(());
    }
    Err(Error::RefMoved { name: name.to_owned(), expected: expected.clone(), found: found.cloned() })
}

fn refused(refusal: MergeRefusal, words: String, taken: TakenBack) -> Error {
    Error::MergeRefused { refusal, words, left: taken.left }
}

/// What git and its hooks said.
fn words(out: &Output) -> String {
    let text = [String::from_utf8_lossy(&out.stdout).trim(), out.stderr.trim()].join("\n");
    // Git thinks that its merge is still there.
    let lines = text.trim().lines().filter(|line| !line.starts_with("Not committing merge;"));
    shortened(&lines.collect::<Vec<_>>().join("\n"))
}

/// Beginning and end of a text: a full disk is named in its last line.
fn shortened(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    if chars.len() <= WORDS_CHARS_MAX {
        return text.to_owned();
    }
    let (first, last) = (&chars[..WORDS_CHARS_MAX * 3 / 4], &chars[chars.len() - WORDS_CHARS_MAX / 4..]);
    format!("{}\n[…]\n{}", first.iter().collect::<String>(), last.iter().collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r5_the_last_line_of_a_long_refusal_is_kept() {
        let text = format!("error: first\n{}(No space left on device: /repo)", "error: unable to write file\n".repeat(400));
        let short = shortened(&text);
        assert!(short.starts_with("error: first") && short.ends_with("(No space left on device: /repo)"), "{short}");
        assert!(short.chars().count() <= WORDS_CHARS_MAX + 10 && shortened("short") == "short");
    }
}
