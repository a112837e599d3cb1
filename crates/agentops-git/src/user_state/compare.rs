//! What changed between two records of the user's repository, in words, each with the command that puts it back.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{HeadState, UserState};
use crate::error::Result;
use crate::repo::Repo;

/// One difference between two records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// What changed: a fragment such as `branch junk added`.
    pub what: String,
    /// The command that puts it back, to be typed in the checkout; none where nobody knows what was there.
    pub restore: Option<String>,
}

impl Difference {
    pub(super) fn new(what: impl Into<String>, restore: impl Into<String>) -> Self {
        Self { what: what.into(), restore: Some(restore.into()) }
    }

    pub(super) fn without_command(what: impl Into<String>) -> Self {
        Self { what: what.into(), restore: None }
    }
}

/// An argument as a POSIX shell takes it.
pub(super) fn quote(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// Short enough for a line, long enough to be found.
fn short(oid: &str) -> &str {
    oid.get(..12).unwrap_or(oid)
}

impl UserState {
    /// What is different now. With `run`, objects of lost refs and stash entries are kept under `refs/agentops/kept/<run>/`,
    /// so that the commands work later too.
    ///
    /// # Errors
    /// The objects cannot be kept.
    pub fn differences(&self, now: &Self, repo: &Repo, run: Option<&str>) -> Result<Vec<Difference>> {
        let mut all = Vec::new();
        let lost = lost(self, now);
        let kept = match run {
            Some(run) => Some(repo.keep_objects(run, &lost)?),
            None => None,
        };
        let is_there = |oid: &str| kept.as_ref().is_none_or(|kept| kept.contains(oid) || !lost.contains(oid));
        self.head_differs(now, &mut all);
        self.refs_differ(now, &is_there, &mut all);
        self.stash_differs(now, &is_there, &mut all);
        let is_of_new_branch = |setting: &str| {
            let branch = setting.strip_prefix("branch.").and_then(|rest| rest.rsplit_once('.'));
            let name = branch.map(|(branch, _)| format!("refs/heads/{branch}"));
            name.is_some_and(|name| self.commit_of(&name).is_none() && now.commit_of(&name).is_some())
        };
        all.extend(self.programs.differences_but(&now.programs, repo, is_of_new_branch));
        Ok(all)
    }

    fn head_differs(&self, now: &Self, all: &mut Vec<Difference>) {
        let (Some(before), Some(after)) = (&self.head, &now.head) else { return };
        let commit_of_head = |state: &Self, head: &HeadState| match head {
            HeadState::Detached(oid) => Some(oid.clone()),
            HeadState::Branch(name) => state.commit_of(name).map(str::to_owned),
        };
        if before != after {
            let say = |head: &HeadState| match head {
                HeadState::Branch(name) => format!("branch {}", branch(name)),
                HeadState::Detached(oid) => format!("commit {} without a branch", short(oid)),
            };
            let back = match before {
                HeadState::Branch(name) => format!("git switch {}", quote(branch(name))),
                HeadState::Detached(oid) => format!("git switch --detach {oid}"),
            };
            all.push(Difference::new(format!("HEAD of the checkout moved from {} to {}", say(before), say(after)), back));
        } else if self.index != now.index
            && self.index.is_some()
            && now.index.is_some()
            && commit_of_head(self, before) == commit_of_head(now, after)
        {
            all.push(Difference::without_command("the index of the checkout changed: `git status` shows it"));
        }
    }

    fn commit_of(&self, name: &str) -> Option<&str> {
        let refs = self.refs.as_ref()?;
        let at = refs.binary_search_by(|(_, known)| known.as_str().cmp(name)).ok()?;
        Some(&refs[at].0)
    }

    fn refs_differ(&self, now: &Self, is_there: &impl Fn(&str) -> bool, all: &mut Vec<Difference>) {
        let (Some(before), Some(after)) = (&self.refs, &now.refs) else { return };
        let checked_out = match &now.head {
            Some(HeadState::Branch(name)) => Some(name.as_str()),
            _ => None,
        };
        for (oid, name) in before {
            let words = words(name);
            match now.commit_of(name) {
                Some(same) if same == oid => {}
                _ if !is_there(oid) => {
                    all.push(Difference::without_command(format!("{words} was {}, and its objects are gone", short(oid))));
                }
                None => all.push(Difference::new(format!("{words} deleted (was {})", short(oid)), create(name, oid))),
                Some(other) => {
                    let back = match name.strip_prefix("refs/heads/") {
                        Some(_) if checked_out == Some(name.as_str()) => format!("git reset --keep {oid}"),
                        _ => format!("git update-ref {} {oid}", quote(name)),
                    };
                    all.push(Difference::new(format!("{words} moved from {} to {}", short(oid), short(other)), back));
                }
            }
        }
        for (_, name) in after.iter().filter(|(_, name)| self.commit_of(name).is_none()) {
            let back = match (name.strip_prefix("refs/heads/"), name.strip_prefix("refs/tags/")) {
                (Some(branch), _) if !branch.starts_with('-') => format!("git branch -D {}", quote(branch)),
                (_, Some(tag)) if !tag.starts_with('-') => format!("git tag -d {}", quote(tag)),
                _ => format!("git update-ref -d {}", quote(name)),
            };
            all.push(Difference::new(format!("{} added", words(name)), back));
        }
    }

    fn stash_differs(&self, now: &Self, is_there: &impl Fn(&str) -> bool, all: &mut Vec<Difference>) {
        let (Some(before), Some(after)) = (&self.stash, &now.stash) else { return };
        let holds = |list: &[(String, String)], oid: &str| list.iter().any(|(known, _)| known == oid);
        // Each command is right when those above it were typed: dropping from the end leaves the other numbers alone.
        for (at, (oid, message)) in after.iter().enumerate().rev().filter(|(_, (oid, _))| !holds(before, oid)) {
            let what = format!("stash@{{{at}}} added ({}, {message})", short(oid));
            all.push(Difference::new(what, format!("git stash drop {at}")));
        }
        for (at, (oid, message)) in before.iter().enumerate().rev().filter(|(_, (oid, _))| !holds(after, oid)) {
            let what = format!("stash@{{{at}}} removed ({}, {message})", short(oid));
            all.push(if is_there(oid) {
                Difference::new(what, format!("git stash store -m {} {oid}", quote(message)))
            } else {
                Difference::without_command(format!("{what}, and its objects are gone"))
            });
        }
    }
}

/// Objects that something pointed to and nothing does now.
fn lost(before: &UserState, now: &UserState) -> BTreeSet<String> {
    let mut lost = BTreeSet::new();
    if let (Some(refs), Some(_)) = (&before.refs, &now.refs) {
        lost.extend(refs.iter().filter(|(oid, name)| now.commit_of(name) != Some(oid)).map(|(oid, _)| oid.clone()));
    }
    if let (Some(old), Some(new)) = (&before.stash, &now.stash) {
        let gone = old.iter().filter(|(oid, _)| !new.iter().any(|(known, _)| known == oid));
        lost.extend(gone.map(|(oid, _)| oid.clone()));
    }
    if let (Some(HeadState::Detached(oid)), true) = (&before.head, before.head != now.head) {
        lost.insert(oid.clone());
    }
    lost
}

fn branch(name: &str) -> &str {
    name.strip_prefix("refs/heads/").unwrap_or(name)
}

fn words(name: &str) -> String {
    let kinds = [("refs/heads/", "branch"), ("refs/tags/", "tag"), ("refs/remotes/", "remote-tracking branch")];
    let known = kinds.iter().find_map(|(prefix, kind)| Some(format!("{kind} {}", name.strip_prefix(prefix)?)));
    known.unwrap_or_else(|| format!("ref {name}"))
}

fn create(name: &str, oid: &str) -> String {
    match name.strip_prefix("refs/heads/") {
        Some(branch) if !branch.starts_with('-') => format!("git branch {} {oid}", quote(branch)),
        _ => format!("git update-ref {} {oid}", quote(name)),
    }
}
