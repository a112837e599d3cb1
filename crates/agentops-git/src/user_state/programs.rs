//! What git would run in the user's checkout: settings, hooks and the other files that steer it.
//!
//! This part of a record is all that a merge has to compare.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::compare::{Difference, quote};
use super::files::{self, FileState};
use super::settings::{self, Setting};
use super::{FORMAT, hash};
use crate::error::Result;
use crate::repo::Repo;
use crate::shell::removal;

/// Settings, hooks and `info/` of the user's repository at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramState {
    pub(super) format: u32,
    /// Hash over everything that could run a program in a merge: settings, hooks and attributes.
    #[serde(rename = "programs")]
    hash: String,
    pub(super) settings: Option<Vec<Setting>>,
    /// Why the configuration could not be read.
    pub(super) unreadable: Option<String>,
    /// Folders whose files git runs as hooks.
    pub(super) hook_folders: Vec<PathBuf>,
    pub(super) files: Vec<FileState>,
}

impl ProgramState {
    /// Whether settings, hooks and attributes are as in another record: nothing new could run in a merge.
    #[must_use]
    pub fn runs_the_same(&self, other: &Self) -> bool {
        self.format == other.format && self.hash == other.hash
    }

    /// The hash that [`Self::runs_the_same`] compares.
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// Folders whose files git runs as hooks in the checkout.
    #[must_use]
    pub fn hook_folders(&self) -> &[PathBuf] {
        &self.hook_folders
    }

    /// Why git cannot read the configuration, if it cannot.
    #[must_use]
    pub fn unreadable(&self) -> Option<&str> {
        self.unreadable.as_deref()
    }

    /// As [`super::UserState::moved_to`].
    #[must_use]
    pub fn moved_to(mut self, repo: &Repo) -> Self {
        self.move_paths(repo);
        // Also where nothing moved: older versions made another hash.
        self.hash = hash_of(self.settings.as_deref(), &self.files);
        self
    }

    fn move_paths(&mut self, repo: &Repo) {
        // The usual folder of hooks comes first, and it lies in the git directory.
        let Some(old) = self.hook_folders.first().and_then(|hooks| hooks.parent()).map(Path::to_owned) else { return };
        let new = files::as_text(repo.common_dir());
        if old == new {
            return;
        }
        // A git directory that lies in its checkout moved with it.
        let (mut old_top, mut new_top) = (old.as_path(), new.as_path());
        if let (Some(old_parent), Some(new_parent)) = (old.parent(), new.parent())
            && old.ends_with(".git")
            && new.ends_with(".git")
        {
            (old_top, new_top) = (old_parent, new_parent);
        }
        let settings = self.settings.iter_mut().flatten().map(|setting| &mut setting.file);
        let files = self.files.iter_mut().map(|file| &mut file.path);
        for path in settings.chain(files).chain(&mut self.hook_folders) {
            if let Ok(rest) = path.strip_prefix(old_top) {
                *path = new_top.join(rest);
            }
        }
        self.files.sort();
    }

    /// What is different now and could run a program in a merge.
    #[must_use]
    pub fn differences(&self, now: &Self, repo: &Repo) -> Vec<Difference> {
        let mut all = Vec::new();
        self.files_differ(now, repo, &mut all);
        self.settings_differ(now, repo, settings::may_run, &mut all);
        all
    }

    /// Everything that is different now, but for these settings.
    pub(super) fn differences_but(&self, now: &Self, repo: &Repo, is_left_out: impl Fn(&str) -> bool) -> Vec<Difference> {
        let mut all = Vec::new();
        self.files_differ(now, repo, &mut all);
        self.settings_differ(now, repo, |name| !is_left_out(name), &mut all);
        all
    }

    /// Differences of the settings whose names count.
    fn settings_differ(&self, now: &Self, repo: &Repo, counts: impl Fn(&str) -> bool, all: &mut Vec<Difference>) {
        let is_named_as_file = now.files.iter().any(FileState::leads_elsewhere);
        if let Some(words) = now.unreadable.as_ref().filter(|_| !is_named_as_file) {
            let config = repo.common_dir().join("config");
            let back = format!("\"${{EDITOR:-vi}}\" {}", quote(&config.to_string_lossy()));
            all.push(Difference::new(words.clone(), back));
        }
        let (Some(old_settings), Some(new_settings)) = (&self.settings, &now.settings) else {
            if self.settings.is_none() && now.settings.is_some() {
                let what = "git could not read its settings before, so it is not known which of them changed";
                all.push(Difference::without_command(what));
            }
            return;
        };
        let (before, after) = (by_name(old_settings), by_name(new_settings));
        let new_remotes = new_remotes(&before, &after);
        for (remote, setting) in &new_remotes {
            let url = after.iter().find(|(key, _)| key.name == format!("remote.{remote}.url"));
            let url =
                url.and_then(|(_, settings)| settings.first()?.shown.clone()).unwrap_or_else(|| "no address".to_owned());
            // `git remote remove` would also delete remote-tracking branches that were there before.
            let back = format!("{} --remove-section {}", setting.git_config(repo), quote(&format!("remote.{remote}")));
            all.push(Difference::new(format!("remote {remote} added ({url})"), back));
        }
        let of_new_remote =
            |name: &str| new_remotes.keys().any(|remote| name.strip_prefix(&format!("remote.{remote}.")).is_some());
        let names: BTreeSet<_> = before.keys().chain(after.keys()).filter(|key| counts(key.name)).collect();
        for key in names {
            let none = Vec::new();
            let (old, new) = (before.get(key).unwrap_or(&none), after.get(key).unwrap_or(&none));
            let values = |settings: &[&Setting]| settings.iter().map(|setting| setting.recorded.clone()).collect::<Vec<_>>();
            if values(old) == values(new) || of_new_remote(key.name) {
                continue;
            }
            all.push(setting_differs(repo, key.name, old, new));
        }
        let new_order = settings::in_order(new_settings);
        for (key, old) in settings::in_order(old_settings) {
            let new = new_order.get(key).map_or(&[][..], Vec::as_slice);
            let counts = old.iter().any(|setting| counts(&setting.name));
            // Other values are named already.
            if counts && is_other_order(&old, new) {
                all.push(order_differs(repo, key, &old, new));
            }
        }
    }

    /// Folders that held files and are none any more, each with what stands in its place.
    fn replaced_folders(&self) -> BTreeMap<&Path, &'static str> {
        let was_link = |folder: &Path| self.files.iter().any(|file| file.path == folder);
        let folders: BTreeSet<&Path> = self.files.iter().filter_map(|file| file.path.parent()).collect();
        let by = |folder: &Path| match std::fs::symlink_metadata(folder).ok()? {
            meta if meta.is_symlink() => Some("a link"),
            meta if !meta.is_dir() => Some("a file"),
            _ => None,
        };
        folders.into_iter().filter(|folder| !was_link(folder)).filter_map(|folder| Some((folder, by(folder)?))).collect()
    }

    fn files_differ(&self, now: &Self, repo: &Repo, all: &mut Vec<Difference>) {
        let read_before =
            |file: &FileState| file.role != "hook" || self.hook_folders.iter().any(|folder| file.path.starts_with(folder));
        let before: HashMap<&Path, &FileState> = self.files.iter().map(|file| (file.path.as_path(), file)).collect();
        let after: HashMap<&Path, &FileState> = now.files.iter().map(|file| (file.path.as_path(), file)).collect();
        let lies_in = |path: &Path, is_one: &dyn Fn(&Path) -> bool| path.ancestors().skip(1).any(is_one);
        let is_text = |path: &Path| !path.to_string_lossy().contains(char::REPLACEMENT_CHARACTER);
        // Through a link, a command would write into another folder.
        let replaced = self.replaced_folders();
        let is_replaced = |folder: &Path| replaced.contains_key(folder);
        for (folder, by) in replaced.iter().filter(|(folder, _)| !lies_in(folder, &is_replaced)) {
            let path = quote(&folder.to_string_lossy());
            let what = format!("folder {} replaced by {by}", shown(repo, folder).display());
            all.push(Difference { what, restore: is_text(folder).then(|| format!("rm {path} && mkdir {path}")) });
        }
        let put_back = |old: &FileState| {
            let copy = files::copy_of(repo, &old.content);
            let path = quote(&old.path.to_string_lossy());
            let folder = old.path.parent()?;
            let goes = lies_in(&old.path, &is_replaced);
            let make = match folder.is_dir() && !goes {
                true => String::new(),
                false => format!("mkdir -p {} && ", quote(&folder.to_string_lossy())),
            };
            let command = match &old.link {
                Some(to) if is_text(to) => format!("ln -s {} {path}", quote(&to.to_string_lossy())),
                None if copy.exists() => format!("install -m {:o} {} {path}", old.mode, quote(&copy.to_string_lossy())),
                _ => return None,
            };
            // A file is replaced. Into a folder, or through a link to one, the command would put it.
            let there = std::fs::symlink_metadata(&old.path);
            let is_in_the_way = !goes && there.is_ok_and(|meta| !meta.is_file() || old.link.is_some());
            let clear = if is_in_the_way { format!("rm -rf {path} && ") } else { String::new() };
            is_text(&old.path).then(|| make + &clear + &command)
        };
        let not_compared = |file: &FileState| Some((file_name(repo, file), file.not_compared()?.to_owned()));
        all.extend(
            now.files.iter().filter_map(not_compared).map(|(name, why)| {
                Difference::without_command(format!("{name} cannot be compared with what it was: {why}"))
            }),
        );
        for old in self.files.iter().filter(|old| old.not_compared().is_none()) {
            let name = file_name(repo, old);
            let (what, restore) = match after.get(old.path.as_path()) {
                _ if lies_in(&old.path, &is_replaced) => (format!("{name} removed"), put_back(old)),
                Some(same) if same.fields() == old.fields() || same.not_compared().is_some() => continue,
                None => (format!("{name} removed"), put_back(old)),
                Some(new) if new.content == old.content && new.link == old.link => (
                    format!("{name} has other permissions: {:o}, was {:o}", new.mode, old.mode),
                    Some(format!("chmod {:o} {}", old.mode, quote(&old.path.to_string_lossy()))),
                ),
                // The file behind the link changed, and that is not in the git directory.
                Some(new) if old.link.is_some() && new.link == old.link => (format!("{name} changed"), None),
                Some(_) => (format!("{name} changed"), put_back(old)),
            };
            all.push(Difference { what, restore });
        }
        // Files of a folder that only a new setting makes a folder of hooks are not new: the setting is. What lies behind a new
        // link goes with the link, and what lies where a link was goes when the link comes back.
        let is_added = |path: &Path| !before.contains_key(path);
        let link = |files: &HashMap<&Path, &FileState>, path: &Path| files.get(path).and_then(|file| file.link.clone());
        let is_other_link = |path: &Path| link(&before, path) != link(&after, path);
        for new in now.files.iter().filter(|file| read_before(file) && file.not_compared().is_none()) {
            let goes = lies_in(&new.path, &is_other_link) || lies_in(&new.path, &is_replaced);
            if is_added(&new.path) && !is_replaced(&new.path) && !goes {
                let path = new.path.to_string_lossy();
                let restore = (!path.contains(char::REPLACEMENT_CHARACTER)).then(|| removal(&new.path));
                let why = match new.leads_elsewhere() {
                    true => {
                        ", which leads git to another git directory: refs and settings cannot be compared while it is there"
                    }
                    false => "",
                };
                all.push(Difference { what: format!("{} added{why}", file_name(repo, new)), restore });
            }
        }
    }
}

impl Repo {
    /// Records what git would run in the user's checkout. For a comparison with an earlier record, folders that held hooks
    /// then are read too.
    ///
    /// Hooks and `info/` are also copied aside within the git directory, readable by the user alone, so that what is changed
    /// there can be put back.
    ///
    /// # Errors
    /// The configuration is sound and git fails all the same, or a file cannot be read or copied.
    pub fn program_state(&self, before: Option<&ProgramState>) -> Result<ProgramState> {
        let folders = before.map(|before| before.hook_folders.iter().cloned().collect());
        self.program_state_with(&folders.unwrap_or_default())
    }

    /// As [`Self::program_state`], for a comparison with several earlier records: these folders that held hooks are read too.
    ///
    /// # Errors
    /// As [`Self::program_state`].
    pub fn program_state_with(&self, folders: &BTreeSet<PathBuf>) -> Result<ProgramState> {
        let (settings, unreadable) = match settings::read(self)? {
            Ok(settings) => (Some(settings), None),
            Err(words) => (None, Some(words)),
        };
        let hook_folders = files::hook_folders(self, settings.as_deref().unwrap_or_default());
        let mut files = files::of(self, &hook_folders)?;
        let hash = hash_of(settings.as_deref(), &files);
        let gone: Vec<PathBuf> = folders.iter().filter(|folder| !hook_folders.contains(folder)).cloned().collect();
        files.extend(files::of_hooks(&gone)?);
        files::copy_aside(self, &files)?;
        Ok(ProgramState { format: FORMAT, hash, settings, unreadable, hook_folders, files })
    }
}

/// Everything that could run a program, as one hash.
fn hash_of(settings: Option<&[Setting]>, files: &[FileState]) -> String {
    let mut text = String::from("programs 2\n");
    let mut field = |value: &str| text.push_str(&format!("{} {value}\n", value.len()));
    let may_run = settings.unwrap_or_default().iter().filter(|setting| settings::may_run(&setting.name));
    // The order of different names says nothing: a setting that is put back stands at another place of its file.
    for setting in settings::in_order(may_run).into_values().flatten() {
        [&setting.scope, &setting.name, &setting.recorded].into_iter().for_each(|value| field(value));
    }
    for file in files.iter().filter(|file| file.may_run()) {
        file.fields().iter().for_each(|value| field(value));
    }
    if settings.is_none() {
        field("unreadable");
    }
    hash(text.as_bytes())
}

/// Settings of one name in one file.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct SettingKey<'a> {
    scope: &'a str,
    file: &'a Path,
    name: &'a str,
}

fn by_name<'a>(settings: impl IntoIterator<Item = &'a Setting>) -> BTreeMap<SettingKey<'a>, Vec<&'a Setting>> {
    let mut named: BTreeMap<SettingKey<'_>, Vec<&Setting>> = BTreeMap::new();
    for setting in settings {
        let key = SettingKey { scope: &setting.scope, file: &setting.file, name: &setting.name };
        named.entry(key).or_default().push(setting);
    }
    named
}

/// Remotes of the repository's own file that were not there before, each with one of its settings.
fn new_remotes<'a>(
    before: &BTreeMap<SettingKey<'_>, Vec<&'a Setting>>,
    after: &BTreeMap<SettingKey<'_>, Vec<&'a Setting>>,
) -> BTreeMap<String, &'a Setting> {
    let remotes = |settings: &BTreeMap<SettingKey<'_>, Vec<&'a Setting>>| -> BTreeMap<String, &'a Setting> {
        let local = settings.iter().filter(|(key, _)| key.scope == "local");
        let name = |key: &SettingKey<'_>| Some(key.name.strip_prefix("remote.")?.rsplit_once('.')?.0.to_owned());
        let named = local.filter_map(|(key, values)| Some((name(key)?, *values.first()?)));
        // A name that lost its password is not the name that git knows.
        named.filter(|(name, _)| !name.contains("://…")).collect()
    };
    let known = remotes(before);
    remotes(after).into_iter().filter(|(remote, _)| !known.contains_key(remote)).collect()
}

/// Whether each file has the same values, and they come in another order.
fn is_other_order(old: &[&Setting], new: &[&Setting]) -> bool {
    let values = |settings: &[&Setting]| -> Vec<(String, String)> {
        settings.iter().map(|setting| (setting.name.clone(), setting.recorded.clone())).collect()
    };
    let of_files = |settings: &[&Setting]| -> Vec<Vec<(String, String)>> {
        let named = by_name(settings.iter().copied());
        named.values().map(|settings| values(settings)).collect()
    };
    let files =
        |settings: &[&Setting]| -> BTreeSet<PathBuf> { settings.iter().map(|setting| setting.file.clone()).collect() };
    values(old) != values(new) && files(old) == files(new) && of_files(old) == of_files(new)
}

/// The same settings in another order: of a name that several files set, another value counts.
fn order_differs(repo: &Repo, key: &str, old: &[&Setting], new: &[&Setting]) -> Difference {
    let how = "the files of git's settings are read in another order";
    let what = match (old.last(), new.last()) {
        (Some(old), Some(new)) if old.name == key && old.file != new.file => {
            let value = new.plain().map(str::to_owned).or_else(|| new.shown.clone());
            let value = value.map(|value| format!(" ({})", quote(&value))).unwrap_or_default();
            let (from, to) = (shown(repo, &old.file).display(), shown(repo, &new.file).display());
            format!("{key} of {to} counts now{value}, and before that of {from} did: {how}")
        }
        _ => format!("the values of {key} have another order: {how}"),
    };
    Difference::without_command(format!("{what}; `git config --list --show-origin` shows it"))
}

fn setting_differs(repo: &Repo, name: &str, old: &[&Setting], new: &[&Setting]) -> Difference {
    let shown = |settings: &[&Setting]| {
        let last = settings.last()?;
        last.plain().map(str::to_owned).or_else(|| last.shown.clone())
    };
    let any = old.first().or(new.first());
    let command = any.map_or_else(|| "git config".to_owned(), |setting| setting.git_config(repo));
    let to = shown(new).map(|value| format!(" to {}", quote(&value))).unwrap_or_default();
    let (name, quoted) = (name.to_owned(), quote(name));
    // A name that lost its password is not the name that git knows.
    let hidden = name.contains("://…");
    let values: Option<Vec<&str>> = old.iter().map(|setting| setting.plain()).collect();
    let values = values.filter(|values| !values.is_empty() && !hidden);
    let by_hand =
        |what: String, why: &str| Difference::without_command(format!("{what}; {why}: `{command} --edit` opens the file"));
    if old.is_empty() {
        return match hidden {
            true => by_hand(format!("{name} set"), "its name holds a password"),
            false => Difference::new(format!("{name} set{to} (was not set)"), format!("{command} --unset-all {quoted}")),
        };
    }
    let what = match (new, values.as_deref()) {
        ([], _) => format!("{name} removed"),
        (_, Some([value])) => format!("{name} changed{to} (was {value})"),
        _ => format!("{name} changed{to}"),
    };
    let set = |how: &str, value: &str| format!("{command} {how}{quoted} {}", quote(value));
    match values.as_deref() {
        None => by_hand(what, "what it was is not recorded, since it may be secret"),
        Some([value]) => Difference::new(what, set(if new.is_empty() { "" } else { "--replace-all " }, value)),
        Some(values) => {
            let unset = (!new.is_empty()).then(|| format!("{command} --unset-all {quoted}"));
            let steps: Vec<String> = unset.into_iter().chain(values.iter().map(|value| set("--add ", value))).collect();
            Difference::new(what, steps.join(" && "))
        }
    }
}

fn file_name(repo: &Repo, file: &FileState) -> String {
    let kind = if file.role == "hook" { "hook" } else { "file" };
    format!("{kind} {}", shown(repo, &file.path).display())
}

/// A path, without the git directory that it lies in.
fn shown<'a>(repo: &Repo, path: &'a Path) -> &'a Path {
    path.strip_prefix(repo.common_dir()).unwrap_or(path)
}
