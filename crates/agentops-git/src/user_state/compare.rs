//! What changed between two records of the user's repository, in words, each with the command that puts it back.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{HeadState, UserState};
use crate::error::Result;
use crate::repo::Repo;
pub(super) use crate::shell::shell_word as quote;

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

/// Short enough for a line, long enough to be found.
fn short(oid: &str) -> &str {
    oid.get(..12).unwrap_or(oid)
}

impl UserState {
    /// What is different now, in the order in which the commands work: the git directory itself, files that git runs or reads, settings, refs, the stash,
    /// and last `HEAD`, since a switch runs hooks. With `run`, objects of lost refs and stash entries are kept under `refs/agentops/kept/<run>/`,
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
        let is_of_new_branch = |setting: &str| {
            let branch = setting.strip_prefix("branch.").and_then(|rest| rest.rsplit_once('.'));
            let name = branch.map(|(branch, _)| format!("refs/heads/{branch}"));
            name.is_some_and(|name| self.commit_of(&name).is_none() && now.commit_of(&name).is_some())
        };
        if let (Some(before), Some(after)) = (&self.git_directory, &now.git_directory) {
            all.extend(before.differences(after, repo));
        }
        let mut of_programs = self.programs.differences_but(&now.programs, repo, is_of_new_branch);
        if self.git_directory.is_none() {
            // Older versions did not record this file, and a shallow clone needs it.
            let added = of_programs.iter_mut().filter(|difference| difference.what == "file shallow added");
            added.for_each(|difference| difference.restore = None);
        }
        all.extend(of_programs);
        self.broken_refs_differ(now, repo, &mut all);
        self.refs_differ(now, repo, &is_there, &mut all);
        self.stash_differs(now, &is_there, &mut all);
        self.head_differs(now, &mut all);
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

    pub(super) fn commit_of(&self, name: &str) -> Option<&str> {
        let refs = self.refs.as_ref()?;
        let at = refs.binary_search_by(|(_, known)| known.as_str().cmp(name)).ok()?;
        Some(&refs[at].0)
    }

    /// Refs that git cannot read and that were not there before. Where one was there, [`Self::refs_differ`] names it.
    fn broken_refs_differ(&self, now: &Self, repo: &Repo, all: &mut Vec<Difference>) {
        let (Some(before), Some(after)) = (&self.broken_refs, &now.broken_refs) else { return };
        for name in after.iter().filter(|name| !before.contains(name) && self.commit_of(name).is_none()) {
            let path = repo.common_dir().join(name);
            let back = path.is_file().then(|| format!("rm {}", quote(&path.to_string_lossy())));
            all.push(Difference { what: format!("{} added, which git cannot read", words(name)), restore: back });
        }
    }

    fn refs_differ(&self, now: &Self, repo: &Repo, is_there: &impl Fn(&str) -> bool, all: &mut Vec<Difference>) {
        let (Some(before), Some(after)) = (&self.refs, &now.refs) else { return };
        let checked_out = match &now.head {
            Some(HeadState::Branch(name)) => Some(name.as_str()),
            _ => None,
        };
        // First what is new: a branch `a` keeps git from making `a/b` again.
        for (_, name) in after.iter().filter(|(_, name)| self.commit_of(name).is_none()) {
            let mut back = match (name.strip_prefix("refs/heads/"), name.strip_prefix("refs/tags/")) {
                _ if now.target_of(name).is_some() => format!("git symbolic-ref -d {}", quote(name)),
                (Some(branch), _) if !branch.starts_with('-') => format!("git branch -D {}", quote(branch)),
                (_, Some(tag)) if !tag.starts_with('-') => format!("git tag -d {}", quote(tag)),
                _ => format!("git update-ref -d {}", quote(name)),
            };
            if checked_out == Some(name.as_str()) {
                back = format!("git switch -q --detach && {back}");
            }
            all.push(Difference::new(format!("{} added", words(name)), back));
        }
        for (oid, name) in before {
            let words = words(name);
            // Records of older versions do not know which refs are symbolic.
            let (old_target, new_target) = match &self.symbolic {
                Some(_) => (self.target_of(name), now.target_of(name)),
                None => (None, None),
            };
            if let Some(target) = old_target {
                if new_target != old_target {
                    let what = format!("{words} no longer leads to {target}");
                    all.push(Difference::new(what, format!("git symbolic-ref {} {}", quote(name), quote(target))));
                }
                continue;
            }
            match now.commit_of(name) {
                Some(same) if same == oid && new_target.is_none() => {}
                _ if !is_there(oid) => {
                    all.push(Difference::without_command(format!("{words} was {}, and its objects are gone", short(oid))));
                }
                None if now.broken_refs.iter().flatten().any(|broken| broken == name) => {
                    let path = quote(&repo.common_dir().join(name).to_string_lossy());
                    let back = format!("rm -f {path} && git update-ref {} {oid}", quote(name));
                    all.push(Difference::new(format!("{words} cannot be read by git (was {})", short(oid)), back));
                }
                None => all.push(Difference::new(format!("{words} deleted (was {})", short(oid)), create(name, oid))),
                Some(other) => {
                    let back = match name.strip_prefix("refs/heads/") {
                        Some(_) if checked_out == Some(name.as_str()) => format!("git reset --keep {oid}"),
                        _ => format!("git update-ref --no-deref {} {oid}", quote(name)),
                    };
                    let to = new_target.unwrap_or(short(other));
                    all.push(Difference::new(format!("{words} moved from {} to {to}", short(oid)), back));
                }
            }
        }
    }

    /// Where a symbolic ref leads.
    fn target_of(&self, name: &str) -> Option<&str> {
        let symbolic = self.symbolic.as_ref()?;
        let at = symbolic.binary_search_by(|(known, _)| known.as_str().cmp(name)).ok()?;
        Some(&symbolic[at].1)
    }

    fn stash_differs(&self, now: &Self, is_there: &impl Fn(&str) -> bool, all: &mut Vec<Difference>) {
        let (Some(before), Some(after)) = (&self.stash, &now.stash) else { return };
        if before == after {
            return;
        }
        let holds = |list: &[(String, String)], oid: &str| list.iter().any(|(known, _)| known == oid);
        let added = after.iter().enumerate().rev().filter(|(_, (oid, _))| !holds(before, oid));
        let removed = before.iter().enumerate().rev().filter(|(_, (oid, _))| !holds(after, oid));
        let words = |at: usize, how: &str, (oid, message): &(String, String)| {
            format!("stash@{{{at}}} {how} ({}, {message})", short(oid))
        };
        let store = |(oid, message): &(String, String)| format!("git stash store -m {} {oid}", quote(message));
        let same = before.iter().rev().zip(after.iter().rev()).take_while(|(old, new)| old == new).count();
        let (above_before, above_after) = (&before[..before.len() - same], &after[..after.len() - same]);
        let is_all_there = above_before.iter().all(|(oid, _)| is_there(oid));
        let is_simple =
            !above_before.iter().any(|(oid, _)| holds(after, oid)) && !above_after.iter().any(|(oid, _)| holds(before, oid));
        if is_simple || !is_all_there {
            // Each command is right when those above it were typed: dropping from the end leaves the other numbers alone.
            all.extend(added.map(|(at, entry)| Difference::new(words(at, "added", entry), format!("git stash drop {at}"))));
            all.extend(removed.map(|(at, entry)| match is_there(&entry.0) {
                true => Difference::new(words(at, "removed", entry), store(entry)),
                false => Difference::without_command(format!("{}, and its objects are gone", words(at, "removed", entry))),
            }));
            return;
        }
        // Something in the middle changed: what lies above is taken off and put on again. Entries that somebody made since stop
        // the command before it drops one of them.
        let mut what: Vec<String> = added.map(|(at, entry)| words(at, "added", entry)).collect();
        what.extend(removed.map(|(at, entry)| words(at, "removed", entry)));
        if what.is_empty() {
            what.push("the stash has another order".to_owned());
        }
        let drops = above_after
            .iter()
            .map(|(oid, _)| format!("[ \"$(git rev-parse 'stash@{{0}}')\" = {oid} ] && git stash drop -q 0"));
        let steps: Vec<String> = drops.chain(above_before.iter().rev().map(store)).collect();
        all.push(Difference::new(what.join(", "), steps.join(" && ")));
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
