//! A record of the user's repository, to tell afterwards what changed while an agent ran.
//!
//! An agent without a sandbox can write the user's git directory by its path. So the state of that directory is recorded
//! before a program runs and compared when it has ended ([`UserState::differences`]). Nothing is blocked and nothing is put
//! back by us: the user may work at the same time, and those changes are theirs.
//!
//! A configuration may hold credentials. So a record holds names and hashes of values, never values; the only exceptions are
//! words such as `true`, which cannot be secret and which are needed to say how a setting is put back.

mod compare;
mod files;
mod git_directory;
mod parts;
mod programs;
mod settings;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::names;
use crate::objects::look_up;
use crate::repo::Repo;

pub use compare::Difference;
use git_directory::GitDirectoryState;
pub use parts::ProgramParts;
pub use programs::ProgramState;
use settings::Setting;

/// Version of the stored form.
const FORMAT: u32 = 1;
/// Refs that are ours, or that background maintenance of git writes.
const NOT_RECORDED: [&str; 4] = ["refs/agentops/", "refs/heads/agentops/", "refs/prefetch/", "refs/stash"];
/// Refs below which the objects of lost refs and stash entries are kept.
const KEPT: &str = "refs/agentops/kept/";

/// The user's repository at one moment. Parts that could not be read are `None` and are not compared.
///
/// Rows are arrays and not objects, so that no value stands behind a name that looks like one of a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserState {
    #[serde(flatten)]
    programs: ProgramState,
    /// Records of older versions do not have it.
    #[serde(default)]
    git_directory: Option<GitDirectoryState>,
    head: Option<HeadState>,
    /// Hash over the entries of the checkout's index, without the times that git keeps beside them.
    index: Option<String>,
    /// Object and name, sorted by name.
    refs: Option<Vec<(String, String)>>,
    /// Name and target of refs that point to other refs, sorted by name. Records of older versions do not have it.
    #[serde(default)]
    symbolic: Option<Vec<(String, String)>>,
    /// Names of refs that git cannot read. Records of older versions do not have it.
    #[serde(default)]
    broken_refs: Option<Vec<String>>,
    /// Object and message, newest first.
    stash: Option<Vec<(String, String)>>,
}

/// Where `HEAD` of the checkout is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum HeadState {
    /// On a branch, which may have no commit.
    Branch(String),
    /// On a commit.
    Detached(String),
}

impl UserState {
    /// What git would run in the checkout.
    #[must_use]
    pub fn programs(&self) -> &ProgramState {
        &self.programs
    }

    /// The short name of the branch that was checked out, and its commit; `None`: there was no branch, or it is not known.
    #[must_use]
    pub fn branch(&self) -> Option<(&str, Option<&str>)> {
        match &self.head {
            Some(HeadState::Branch(name)) => Some((name.strip_prefix("refs/heads/")?, self.commit_of(name))),
            Some(HeadState::Detached(_)) | None => None,
        }
    }

    /// The same record for the place where the repository is now. Settings and files are compared by their paths, and the user
    /// may have moved the repository since it was recorded.
    #[must_use]
    pub fn moved_to(self, repo: &Repo) -> Self {
        Self { programs: self.programs.moved_to(repo), ..self }
    }
}

impl Repo {
    /// Records the user's repository as it is now.
    ///
    /// # Errors
    /// As for [`Self::program_state`].
    pub fn user_state(&self) -> Result<UserState> {
        self.user_state_since(None)
    }

    /// As [`Self::user_state`], for a comparison with an earlier record: folders that held hooks then are read too.
    ///
    /// # Errors
    /// As [`Self::user_state`].
    pub fn user_state_since(&self, before: Option<&UserState>) -> Result<UserState> {
        let programs = self.program_state(before.map(UserState::programs))?;
        let git_directory = GitDirectoryState::of(self);
        let mut state = UserState {
            programs,
            git_directory,
            head: None,
            index: None,
            refs: None,
            symbolic: None,
            broken_refs: None,
            stash: None,
        };
        // With a configuration that git cannot read, no other command of git works either.
        if state.programs.unreadable().is_none() {
            self.record_refs(&mut state)?;
            state.index = self.recorded_index()?;
        }
        Ok(state)
    }

    /// Records `HEAD`, the refs and the stash.
    fn record_refs(&self, state: &mut UserState) -> Result<()> {
        let out =
            self.guarded().args(["for-each-ref", "--format=%(HEAD)%(objectname) %(refname) %(symref)"]).long().output()?;
        if out.code != Some(0) {
            return Err(out.failed("for-each-ref".to_owned()));
        }
        let warned = out.stderr.lines().filter_map(|line| line.trim().strip_prefix("warning: ignoring broken ref "));
        state.broken_refs = Some(warned.map(str::to_owned).collect());
        let (mut head, mut refs, mut symbolic, mut has_stash) = (None, Vec::new(), Vec::new(), false);
        for line in String::from_utf8_lossy(&out.stdout).lines() {
            let (mark, rest) = line.split_at_checked(1).unwrap_or_default();
            let fields = rest.split_once(' ').and_then(|(oid, rest)| Some((oid, rest.split_once(' ')?)));
            let Some((oid, (name, target))) = fields else {
                return Err(Error::Unexpected { what: "for-each-ref".to_owned() });
            };
            has_stash |= name == "refs/stash";
            if mark == "*" {
                head = Some(HeadState::Branch(name.to_owned()));
            }
            if !NOT_RECORDED.iter().any(|ours| name.starts_with(ours)) {
                refs.push((oid.to_owned(), name.to_owned()));
                if !target.is_empty() {
                    symbolic.push((name.to_owned(), target.to_owned()));
                }
            }
        }
        refs.sort_by(|a, b| a.1.cmp(&b.1));
        symbolic.sort();
        let head = match head {
            Some(head) => head,
            None => {
                let out = self.guarded().args(["symbolic-ref", "--quiet", "HEAD"]).output()?;
                match String::from_utf8_lossy(&out.stdout).trim() {
                    "" => HeadState::Detached(self.head()?.commit.to_string()),
                    branch => HeadState::Branch(branch.to_owned()),
                }
            }
        };
        let stash = if has_stash { self.stash_entries()? } else { Vec::new() };
        (state.head, state.refs, state.symbolic, state.stash) = (Some(head), Some(refs), Some(symbolic), Some(stash));
        Ok(())
    }

    fn stash_entries(&self) -> Result<Vec<(String, String)>> {
        // Only `log` prints the messages of a ref's log. Signatures would start the program that checks them.
        let args =
            ["log", "--walk-reflogs", "--format=%H %gs", "--no-show-signature", "--no-patch", "--no-notes", "--no-color"];
        let out = self.guarded().args(args).args(["refs/stash", "--"]).output()?;
        if out.code != Some(0) {
            // The ref without its log: git itself shows no entry then.
            return Ok(Vec::new());
        }
        let text = String::from_utf8_lossy(&out.stdout);
        let rows = text.lines().filter_map(|line| line.split_once(' '));
        Ok(rows.map(|(oid, message)| (oid.to_owned(), message.to_owned())).collect())
    }

    fn recorded_index(&self) -> Result<Option<String>> {
        match self.guarded().args(["ls-files", "--stage", "--sparse", "-z"]).long().ok() {
            Ok(entries) => Ok(Some(hash(&entries))),
            // An index of millions of files, or one that cannot be read.
            Err(Error::TooMuchOutput { .. } | Error::Failed { .. }) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Keeps objects of lost refs and stash entries from being collected, by refs of ours below the run's name. Those that
    /// are gone already are left out of what is returned.
    pub(crate) fn keep_objects(&self, run: &str, oids: &BTreeSet<String>) -> Result<BTreeSet<String>> {
        let found = look_up(self.guarded(), oids.iter())?;
        let mut there = BTreeSet::new();
        let mut commands = String::new();
        for oid in found.into_iter().flatten().map(|object| object.oid) {
            let name = format!("{KEPT}{run}/{oid}");
            names::check_our_ref(&name)?;
            commands.push_str(&format!("update {name} {oid}\n"));
            there.insert(oid.to_string());
        }
        if !commands.is_empty() {
            self.guarded().args(["update-ref", "--no-deref", "--stdin"]).stdin(commands.into_bytes()).outliving_us().ok()?;
        }
        Ok(there)
    }
}

/// A setting as other modules see it.
pub(crate) struct KnownSetting {
    pub name: String,
    /// The value where it may be shown, without a password.
    pub shown: String,
    /// The hash of its value.
    pub recorded: String,
    /// It stands in a file of the repository and not in one of the user's or the machine's.
    pub of_repository: bool,
}

/// The effective settings of the checkout; git's words where it cannot read them.
pub(crate) fn settings_of(repo: &Repo) -> Result<std::result::Result<Vec<KnownSetting>, String>> {
    let settings = settings::read(repo)?;
    let known = |setting: Setting| KnownSetting {
        of_repository: ["local", "worktree"].contains(&setting.scope.as_str()),
        name: setting.name,
        shown: setting.shown.unwrap_or_default(),
        recorded: setting.recorded,
    };
    Ok(settings.map(|settings| settings.into_iter().map(known).collect()))
}

fn hash(bytes: &[u8]) -> String {
    names::hex(&Sha256::digest(bytes))
}
