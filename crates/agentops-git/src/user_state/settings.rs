//! The effective configuration of the user's checkout: names, and hashes of values.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::hash;
use crate::address;
use crate::checkout_fault::misleading_commondir;
use crate::error::{Error, Result};
use crate::names;
use crate::repo::Repo;

/// Settings that never run a program nor lead git to one: names of people, colours and advice.
const HARMLESS: [&str; 8] = [
    "author.email",
    "author.name",
    "committer.email",
    "committer.name",
    "init.defaultbranch",
    "user.email",
    "user.name",
    "user.useconfigonly",
];
/// Sections of which the same is true.
const HARMLESS_SECTIONS: [&str; 3] = ["advice.", "color.", "column."];
/// What git writes itself in everyday work and what starts nothing: which branch follows which.
const BOOKKEEPING: [&str; 6] = [".remote", ".merge", ".pushremote", ".rebase", ".description", ".vscode-merge-base"];
/// Sections whose values may be shown. In others a value may be a credential.
const SHOWN: [&str; 17] = [
    "alias.",
    "branch.",
    "commit.",
    "core.",
    "diff.",
    "extensions.",
    "filter.",
    "gpg.",
    "hook.",
    "include.",
    "includeif.",
    "merge.",
    "pull.",
    "push.",
    "remote.",
    "sequence.",
    "user.",
];
/// Sections whose settings git goes through one after the other, whatever their names.
const ORDERED_SECTIONS: [&str; 3] = ["credential", "hook", "url"];
const SHOWN_CHARS: usize = 200;

/// One setting as one file has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "SettingRow", into = "SettingRow")]
pub(super) struct Setting {
    /// Scope: `system`, `global`, `local`, `worktree`.
    pub scope: String,
    pub file: PathBuf,
    /// Its name, without the password of an address that is part of it.
    pub name: String,
    /// The hash of its value, or `=` and a value that cannot be secret.
    pub recorded: String,
    /// The value, where it may be shown. It is known only while the record is in memory.
    pub shown: Option<String>,
}

/// The stored form: scope, file, name and recorded value.
type SettingRow = (String, PathBuf, String, String);

impl From<SettingRow> for Setting {
    fn from((scope, file, name, recorded): SettingRow) -> Self {
        Self { scope, file, name, recorded, shown: None }
    }
}

impl From<Setting> for SettingRow {
    fn from(setting: Setting) -> Self {
        (setting.scope, setting.file, setting.name, setting.recorded)
    }
}

impl Setting {
    /// The value, if it is one that cannot be secret.
    pub(super) fn plain(&self) -> Option<&str> {
        self.recorded.strip_prefix('=')
    }

    /// `git config` with the flag that names this setting's file.
    pub(super) fn git_config(&self, repo: &Repo) -> String {
        let own = |file: PathBuf| file == self.file;
        // With these, git may refuse the repository, and then it knows no local file.
        let is_format = self.name == "core.repositoryformatversion" || self.name.starts_with("extensions.");
        match self.scope.as_str() {
            _ if is_format => format!("git config --file {}", super::compare::quote(&self.file.to_string_lossy())),
            "local" if own(repo.common_dir().join("config")) => "git config --local".to_owned(),
            "worktree" if own(repo.git_dir().join("config.worktree")) => "git config --worktree".to_owned(),
            _ => format!("git config --file {}", super::compare::quote(&self.file.to_string_lossy())),
        }
    }
}

/// Settings that git reads in one order, whatever file they are in: those of one name, of which mostly the last one counts, or
/// those of a section.
pub(super) fn in_order<'a>(settings: impl IntoIterator<Item = &'a Setting>) -> BTreeMap<&'a str, Vec<&'a Setting>> {
    let mut ordered: BTreeMap<&str, Vec<&Setting>> = BTreeMap::new();
    for setting in settings {
        let section = setting.name.split('.').next().filter(|section| ORDERED_SECTIONS.contains(section));
        ordered.entry(section.unwrap_or(&setting.name)).or_default().push(setting);
    }
    ordered
}

/// Whether a setting of this name may run a program or lead git to one. Every name that is not known to be harmless may.
pub(super) fn may_run(name: &str) -> bool {
    let is_bookkeeping = name.starts_with("branch.") && BOOKKEEPING.iter().any(|end| name.ends_with(end));
    let is_harmless = HARMLESS.contains(&name) || HARMLESS_SECTIONS.iter().any(|section| name.starts_with(section));
    !is_bookkeeping && !is_harmless
}

/// Everything that the user's git reads in this checkout; the words of git where it cannot.
pub(super) fn read(repo: &Repo) -> Result<std::result::Result<Vec<Setting>, String>> {
    // Git would list the settings of the other git directory, and its refs too, whatever directory a call names.
    if let Some(path) = misleading_commondir(repo.git_dir()) {
        return Ok(Err(Error::OtherGitDirectory { path }.to_string()));
    }
    // `git config` looks at no content and starts nothing. The environment is the user's own, as in their merge.
    // Where git refuses the repository it would list the other files alone, as if nothing were set in this one.
    if let Some(refused) = repo.configuration_refused()? {
        return Ok(Err(refused.to_string()));
    }
    let args = ["--no-pager", "config", "--list", "--includes", "--show-scope", "--show-origin", "--null"];
    let out = repo.as_user().args(args).output()?;
    if out.code != Some(0) {
        return Ok(Err(out.stderr.lines().next().unwrap_or("git gave no reason").chars().take(SHOWN_CHARS).collect()));
    }
    let fields: Vec<&[u8]> = out.stdout.split(|byte| *byte == 0).collect();
    let (rows, _) = fields.as_chunks::<3>();
    let settings = rows.iter().filter(|[scope, ..]| *scope != b"command").map(|[scope, origin, row]| {
        // A name without a value means true.
        let (name, value) =
            row.iter().position(|b| *b == b'\n').map_or((*row, &b"true"[..]), |i| (&row[..i], &row[i + 1..]));
        let name = shown_name(name);
        let file = names::path(origin.strip_prefix(b"file:").unwrap_or(origin));
        let file = super::files::as_text(&place(repo, &file));
        let shown = SHOWN.iter().any(|section| name.starts_with(section)).then(|| show(value));
        Setting { scope: String::from_utf8_lossy(scope).into_owned(), file, name, recorded: recorded(value), shown }
    });
    Ok(Ok(settings.collect()))
}

/// The path of a file with settings. One of the git directory has the path by which the repository was found: a link that took
/// the place of the directory, or of its configuration, is another change than that of a setting.
fn place(repo: &Repo, file: &Path) -> PathBuf {
    let file = repo.work_tree().join(file);
    let real = |path: &Path| path.canonicalize().ok();
    for (folder, name) in [(repo.common_dir(), "config"), (repo.git_dir(), "config.worktree")] {
        let is_in_folder = file.parent().is_some_and(|parent| real(parent).is_some_and(|at| real(folder) == Some(at)));
        if is_in_folder && file.file_name().is_some_and(|own| own == name) {
            return folder.join(name);
        }
    }
    let Some(file) = real(&file) else { return file };
    let within = real(repo.common_dir()).and_then(|common_dir| Some(file.strip_prefix(common_dir).ok()?.to_owned()));
    within.map_or(file, |rest| repo.common_dir().join(rest))
}

/// A value as a record holds it.
fn recorded(value: &[u8]) -> String {
    let text = std::str::from_utf8(value).unwrap_or_default();
    let number = text.len() <= 3 && !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if number || ["true", "false", "yes", "no", "on", "off", "input", "auto", "always", "never"].contains(&text) {
        return format!("={text}");
    }
    hash(value).chars().take(32).collect()
}

fn show(value: &[u8]) -> String {
    let start = &value[..value.len().min(address::TEXT_BYTES_MAX + 1)];
    address::without_secrets(&String::from_utf8_lossy(start)).chars().take(SHOWN_CHARS).collect()
}

/// The name of a setting. Its middle part may be an address: a name that lost a secret has `…` in its place.
fn shown_name(name: &[u8]) -> String {
    let name = String::from_utf8_lossy(name);
    let Some((section, rest)) = name.split_once('.') else { return name.into_owned() };
    let Some((middle, variable)) = rest.rsplit_once('.') else { return name.into_owned() };
    let mut shown = address::without_secrets(middle);
    if shown != middle {
        shown = shown.replacen("://", "://…@", 1);
        if middle.len() > address::TEXT_BYTES_MAX {
            // So that another name of the same beginning is another setting.
            shown.push_str(&hash(middle.as_bytes()));
        }
    }
    format!("{section}.{shown}.{variable}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_holds_no_value_that_could_be_a_secret() {
        assert_eq!(recorded(b"false"), "=false");
        assert_eq!(recorded(b"12"), "=12");
        for secret in [&b"hunter2"[..], b"1234", b"", b"Authorization: x"] {
            let kept = recorded(secret);
            assert!(kept.len() == 32 && kept.bytes().all(|b| b.is_ascii_hexdigit()), "{kept}");
        }
    }

    #[test]
    fn names_and_values_lose_their_passwords() {
        assert_eq!(shown_name(b"url.https://me:pw@host/x.insteadof"), "url.https://…@host/x.insteadof");
        assert_eq!(shown_name(b"url.https://host/x?private_token=y.z.insteadof"), "url.https://…@host/x.insteadof");
        assert_eq!(shown_name(b"core.bare"), "core.bare");
        assert_eq!(show(b"https://me:pw@host/x?private_token=y"), "https://host/x");
        let long = [&b"url."[..], &b"x://".repeat(10_000)].concat();
        let names = [b".insteadof".as_slice(), b"a.insteadof"].map(|end| shown_name(&[&long, end].concat()));
        assert_ne!(names[0], names[1]);
    }
}
