//! What git could run in a merge, part by part: which of it is still as a program left it that an agent controls.
//!
//! A part is a setting in a file, the order of the settings of one name in several files, a hook or an attributes file. Its name and its content are hashes, and a path within the
//! repository is taken from the repository's folder, so that they are the same after the repository was moved.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::files::FileState;
use super::programs::ProgramState;
use super::settings::{self, Setting};
use super::{FORMAT, hash};
use crate::repo::Repo;

/// Most parts that are compared one by one.
const PARTS_MAX: usize = 2_000;
/// The content of a part that is not there.
const ABSENT: &str = "";
/// The name of the part that says that git cannot read the configuration.
const UNREADABLE: &str = "unreadable";

/// The hash of each part's name, and that of its content.
pub type ProgramParts = BTreeMap<String, String>;

impl ProgramState {
    /// Every part that is there.
    #[must_use]
    pub fn parts(&self, repo: &Repo) -> ProgramParts {
        let mut contents: BTreeMap<String, String> = BTreeMap::new();
        for setting in self.settings.iter().flatten().filter(|setting| settings::may_run(&setting.name)) {
            let content = contents.entry(setting_part(repo, setting)).or_default();
            content.push_str(&format!("{} {}\n", setting.recorded.len(), setting.recorded));
        }
        let may_run = self.settings.iter().flatten().filter(|setting| settings::may_run(&setting.name));
        for (key, settings) in settings::in_order(may_run) {
            let of_files: BTreeSet<String> = settings.iter().map(|setting| setting_part(repo, setting)).collect();
            if of_files.len() > 1 {
                let content = settings.iter().map(|setting| format!("{} {}\n", setting.name, setting.recorded)).collect();
                contents.insert(order_part(key), content);
            }
        }
        for file in self.files.iter().filter(|file| file.may_run()) {
            let [_path, mode, content, link] = file.fields();
            contents.insert(file_part(repo, file), format!("{mode} {content} {link}"));
        }
        if let Some(words) = &self.unreadable {
            contents.insert(UNREADABLE.to_owned(), words.clone());
        }
        contents.into_iter().map(|(part, content)| (part, short_hash(&content))).collect()
    }

    /// Parts that are not as in an earlier record, with what they are now; empty: not there any more.
    #[must_use]
    pub fn changed_since(&self, before: &Self, repo: &Repo) -> ProgramParts {
        let (old, new) = (before.parts(repo), self.parts(repo));
        // As in words: files of a folder that only a new setting makes a folder of hooks are not new, the setting is.
        let is_of_new_folder = |file: &&FileState| {
            file.role == "hook" && !before.hook_folders.iter().any(|folder| file.path.starts_with(folder))
        };
        let of_new_folders: BTreeSet<String> =
            self.files.iter().filter(is_of_new_folder).map(|file| file_part(repo, file)).collect();
        let parts: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        let changed = parts
            .into_iter()
            .filter(|part| old.get(*part) != new.get(*part) && (old.contains_key(*part) || !of_new_folders.contains(*part)));
        changed.map(|part| (part.clone(), new.get(part).map_or(ABSENT, String::as_str).to_owned())).collect()
    }

    /// What something left that ran since an earlier record. `None`: not everything could be compared, so the record itself is
    /// what a later state has to be compared with.
    #[must_use]
    pub fn left_since(&self, before: &Self, repo: &Repo) -> Option<ProgramParts> {
        let is_whole = |state: &Self| {
            state.format == FORMAT
                && state.settings.is_some()
                && state.files.iter().all(|file| file.not_compared().is_none())
        };
        if !is_whole(before) || !is_whole(self) {
            return None;
        }
        Some(self.changed_since(before, repo)).filter(|left| left.len() <= PARTS_MAX)
    }

    /// Whether a part has this content.
    #[must_use]
    pub fn holds(parts: &ProgramParts, part: &str, content: &str) -> bool {
        parts.get(part).map_or(ABSENT, String::as_str) == content
    }

    /// The record with these parts only, so that its differences are those of these parts.
    #[must_use]
    pub fn only(&self, repo: &Repo, parts: &BTreeSet<&str>) -> Self {
        let mut state = self.clone();
        if let Some(settings) = &mut state.settings {
            let is_named = |setting: &&Setting| parts.contains(setting_part(repo, setting).as_str());
            let ordered = settings::in_order(&*settings).into_iter();
            let kept = ordered.flat_map(|(key, settings)| match parts.contains(order_part(key).as_str()) {
                true => settings,
                false => settings.into_iter().filter(is_named).collect(),
            });
            *settings = kept.cloned().collect();
        }
        state.files.retain(|file| parts.contains(file_part(repo, file).as_str()));
        state.unreadable = state.unreadable.filter(|_| parts.contains(UNREADABLE));
        state
    }
}

fn setting_part(repo: &Repo, setting: &Setting) -> String {
    short_hash(&format!("setting {} {} {}", setting.scope, setting.name, place(repo, &setting.file)))
}

/// The order of the settings of one name, or of a section, over all files.
fn order_part(key: &str) -> String {
    short_hash(&format!("order {key}"))
}

fn file_part(repo: &Repo, file: &FileState) -> String {
    short_hash(&format!("file {}", place(repo, &file.path)))
}

/// A path as it is called from the repository's own folders, if it is in one of them.
fn place(repo: &Repo, path: &Path) -> String {
    let folders = [("common", repo.common_dir()), ("git", repo.git_dir()), ("tree", repo.work_tree())];
    let within =
        folders.iter().find_map(|(name, folder)| Some(format!("{name}: {}", path.strip_prefix(folder).ok()?.display())));
    within.unwrap_or_else(|| format!("at: {}", path.display()))
}

fn short_hash(text: &str) -> String {
    hash(text.as_bytes()).chars().take(32).collect()
}
