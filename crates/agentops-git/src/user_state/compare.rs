//! What changed between two records of the user's repository, in words, each with the command that puts it back.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::files::{self, FileState};
use super::settings::{self, Setting};
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
    fn new(what: impl Into<String>, restore: impl Into<String>) -> Self {
        Self { what: what.into(), restore: Some(restore.into()) }
    }

    fn without_command(what: impl Into<String>) -> Self {
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
        self.settings_differ(now, repo, |_| true, &mut all);
        self.files_differ(now, repo, &mut all);
        Ok(all)
    }

    /// Only what could run a program in a merge.
    #[must_use]
    pub fn different_programs(&self, now: &Self, repo: &Repo) -> Vec<Difference> {
        let mut all = Vec::new();
        self.settings_differ(now, repo, settings::may_run, &mut all);
        self.files_differ(now, repo, &mut all);
        all
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

    /// Differences of the settings whose names count.
    fn settings_differ(&self, now: &Self, repo: &Repo, counts: impl Fn(&str) -> bool, all: &mut Vec<Difference>) {
        if let Some(words) = &now.unreadable {
            let config = repo.common_dir().join("config");
            let back = format!("\"${{EDITOR:-vi}}\" {}", quote(&config.to_string_lossy()));
            all.push(Difference::new(format!("git cannot read the configuration any more: {words}"), back));
        }
        let (Some(before), Some(after)) = (&self.settings, &now.settings) else { return };
        let (before, after) = (by_name(before), by_name(after));
        let new_remotes = new_remotes(&before, &after);
        for remote in &new_remotes {
            let url = after.iter().find(|((_, _, name), _)| *name == format!("remote.{remote}.url"));
            let url = url.and_then(|(_, settings)| settings.first()?.4.clone()).unwrap_or_else(|| "no address".to_owned());
            let back = format!("git remote remove {}", quote(remote));
            all.push(Difference::new(format!("remote {remote} added ({url})"), back));
        }
        let of_new_remote =
            |name: &str| new_remotes.iter().any(|remote| name.strip_prefix(&format!("remote.{remote}.")).is_some());
        let names: BTreeSet<_> = before.keys().chain(after.keys()).filter(|key| counts(key.2)).collect();
        for key in names {
            let none = Vec::new();
            let (old, new) = (before.get(key).unwrap_or(&none), after.get(key).unwrap_or(&none));
            let values = |settings: &[&Setting]| settings.iter().map(|setting| setting.3.clone()).collect::<Vec<_>>();
            let of_new_branch =
                key.2.strip_prefix("branch.").and_then(|rest| rest.rsplit_once('.')).is_some_and(|(name, _)| {
                    let name = format!("refs/heads/{name}");
                    self.commit_of(&name).is_none() && now.commit_of(&name).is_some()
                });
            if values(old) == values(new) || of_new_remote(key.2) || of_new_branch {
                continue;
            }
            all.push(setting_differs(repo, key.2, old, new));
        }
    }

    fn files_differ(&self, now: &Self, repo: &Repo, all: &mut Vec<Difference>) {
        let read_before =
            |file: &FileState| file.role != "hook" || self.hook_folders.iter().any(|folder| file.path.starts_with(folder));
        let put_back = |old: &FileState| {
            let copy = files::copy_of(repo, &old.content);
            let named = !old.path.to_string_lossy().contains(char::REPLACEMENT_CHARACTER);
            (named && old.link.is_none() && copy.exists()).then(|| {
                let (copy, path) = (copy.to_string_lossy(), old.path.to_string_lossy());
                format!("install -m {:o} {} {}", old.mode, quote(&copy), quote(&path))
            })
        };
        let not_compared = |file: &FileState| Some((file_name(repo, file), file.not_compared()?.to_owned()));
        all.extend(
            now.files.iter().filter_map(not_compared).map(|(name, why)| {
                Difference::without_command(format!("{name} cannot be compared with what it was: {why}"))
            }),
        );
        let has_reason = |path: &Path| now.files.iter().any(|file| file.path == path && file.not_compared().is_some());
        for old in self.files.iter().filter(|old| old.not_compared().is_none() && !has_reason(&old.path)) {
            let name = file_name(repo, old);
            let (what, restore) = match now.files.iter().find(|file| file.path == old.path) {
                Some(same) if same.fields() == old.fields() => continue,
                None => (format!("{name} removed"), put_back(old)),
                Some(new) if new.content == old.content && new.link == old.link => (
                    format!("{name} has other permissions: {:o}, was {:o}", new.mode, old.mode),
                    Some(format!("chmod {:o} {}", old.mode, quote(&old.path.to_string_lossy()))),
                ),
                Some(_) => (format!("{name} changed"), put_back(old)),
            };
            all.push(Difference { what, restore });
        }
        // Files of a folder that only a new setting makes a folder of hooks are not new: the setting is.
        for new in now.files.iter().filter(|file| read_before(file) && file.not_compared().is_none()) {
            if !self.files.iter().any(|old| old.path == new.path) {
                let path = new.path.to_string_lossy();
                let restore = (!path.contains(char::REPLACEMENT_CHARACTER)).then(|| format!("rm {}", quote(&path)));
                all.push(Difference { what: format!("{} added", file_name(repo, new)), restore });
            }
        }
    }
}

/// Scope, file and name of a setting.
type SettingKey<'a> = (&'a str, &'a Path, &'a str);

fn by_name(settings: &[Setting]) -> BTreeMap<SettingKey<'_>, Vec<&Setting>> {
    let mut named: BTreeMap<SettingKey<'_>, Vec<&Setting>> = BTreeMap::new();
    for setting in settings {
        named.entry((&setting.0, &setting.1, &setting.2)).or_default().push(setting);
    }
    named
}

/// Remotes of the repository's own file that were not there before.
fn new_remotes(
    before: &BTreeMap<SettingKey<'_>, Vec<&Setting>>,
    after: &BTreeMap<SettingKey<'_>, Vec<&Setting>>,
) -> BTreeSet<String> {
    let remotes = |settings: &BTreeMap<SettingKey<'_>, Vec<&Setting>>| -> BTreeSet<String> {
        let local = settings.keys().filter(|(scope, ..)| *scope == "local");
        let names = local.filter_map(|(_, _, name)| Some(name.strip_prefix("remote.")?.rsplit_once('.')?.0.to_owned()));
        names.filter(|name| !name.starts_with('-')).collect()
    };
    let known = remotes(before);
    remotes(after).into_iter().filter(|remote| !known.contains(remote)).collect()
}

fn setting_differs(repo: &Repo, name: &str, old: &[&Setting], new: &[&Setting]) -> Difference {
    let shown = |settings: &[&Setting]| {
        let last = settings.last()?;
        last.plain().map(str::to_owned).or_else(|| last.4.clone())
    };
    let any = old.first().or(new.first());
    let command = any.map_or_else(|| "git config".to_owned(), |setting| setting.git_config(repo));
    let edit = || format!("{command} --edit");
    let to = shown(new).map(|value| format!(" to {}", quote(&value))).unwrap_or_default();
    let (name, quoted) = (name.to_owned(), quote(name));
    // A name that lost its password is not the name that git knows.
    let hidden = name.contains("://…");
    let old_value = old.first().filter(|_| old.len() == 1 && !hidden).and_then(|setting| setting.plain());
    match (old, new) {
        ([], _) if hidden => Difference::new(format!("{name} set"), edit()),
        ([], _) => Difference::new(format!("{name} set{to} (was not set)"), format!("{command} --unset-all {quoted}")),
        (_, []) => Difference::new(
            format!("{name} removed"),
            old_value.map_or_else(edit, |value| format!("{command} {quoted} {}", quote(value))),
        ),
        _ => {
            let was = old_value.map(|value| format!(" (was {value})")).unwrap_or_default();
            let back = old_value.map_or_else(edit, |value| format!("{command} --replace-all {quoted} {}", quote(value)));
            Difference::new(format!("{name} changed{to}{was}"), back)
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

fn file_name(repo: &Repo, file: &FileState) -> String {
    let shown = file.path.strip_prefix(repo.common_dir()).map_or(file.path.as_path(), |path| path);
    let kind = if file.role == "hook" { "hook" } else { "file" };
    format!("{kind} {}", shown.display())
}
