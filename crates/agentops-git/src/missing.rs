//! Objects that a partial clone has not fetched yet.
//!
//! Everything else in this crate reads only objects that are there. In a partial clone git fetches a missing one when it needs
//! it, from a remote that the user configured. Here that is a step of its own, which a caller takes only for what a person
//! asked for: it names what is missing, and fetches exactly that with the user's own settings, limited in time, without hooks
//! and without asking for a password.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::address;
use crate::diff::Status;
use crate::error::{Error, Result};
use crate::names;
use crate::objects::look_up;
use crate::oid::Oid;
use crate::repo::Repo;

/// Time for one fetch.
const FETCH_SECONDS: u64 = 300;
/// Missing trees are found level by level; a tree is not deeper than its longest path.
const ROUNDS_MAX: u32 = 256;
/// Ways by which a remote is reached. `ext::` would start any program.
const PROTOCOLS: &str = "file:git:http:https:ssh";
/// Settings that decide where a fetch goes and what it starts.
const OF_FETCH: [&str; 10] = [
    "core.askpass",
    "core.gitproxy",
    "core.sshcommand",
    "credential.",
    "http.",
    "include.",
    "includeif.",
    "protocol.",
    "ssh.",
    "url.",
];

/// What objects are needed for.
#[derive(Debug, Clone, Copy)]
pub enum Need<'a> {
    /// All files of a commit.
    Checkout(&'a Oid),
    /// The difference between two commits or trees.
    Difference(&'a Oid, &'a Oid),
    /// A merge of two commits.
    Merge(&'a Oid, &'a Oid),
}

/// The remote from which a partial clone gets what is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Promisor {
    /// Its name.
    pub remote: String,
    /// Its address, without a password.
    pub url: String,
    /// Names and hashes of the repository's own settings that decide where a fetch goes and what it starts.
    pub settings: Vec<String>,
}

/// Whether a clone is partial, and of which configuration files that was read. Every lane that is opened asks.
#[derive(Debug, Default)]
pub(crate) struct PartialAnswer(Mutex<Option<(Vec<FileStamp>, bool)>>);

/// A file as it was: device, inode, size, and the times of its last changes in nanoseconds; `None`: there was none.
type FileStamp = Option<(u64, u64, u64, i128, i128)>;

fn stamp(path: &Path) -> FileStamp {
    let meta = fs::metadata(path).ok()?;
    let nanoseconds = |seconds: i64, rest: i64| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
    let (modified, changed) = (nanoseconds(meta.mtime(), meta.mtime_nsec()), nanoseconds(meta.ctime(), meta.ctime_nsec()));
    Some((meta.dev(), meta.ino(), meta.len(), modified, changed))
}

impl Repo {
    /// Whether objects may be missing here that a remote has promised. Git is asked again when the repository's configuration
    /// has changed, and each time where that includes other files.
    pub(crate) fn is_partial(&self) -> Result<bool> {
        let files = [self.common_dir().join("config"), self.git_dir().join("config.worktree")];
        let stamps: Vec<FileStamp> = files.iter().map(|path| stamp(path)).collect();
        let mut answer = self.partial_answer().0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, is_partial)) = answer.as_ref().filter(|(of, _)| *of == stamps) {
            return Ok(*is_partial);
        }
        let settings = self.all_settings()?;
        let has = |wanted: &dyn Fn(&str) -> bool| settings.iter().any(|(key, _)| wanted(key));
        let is_partial = has(&|key| key == "extensions.partialclone" || key.ends_with(".promisor"));
        let includes = has(&|key| key.starts_with("include.") || key.starts_with("includeif."));
        *answer = (!includes).then_some((stamps, is_partial));
        Ok(is_partial)
    }

    /// Whether objects must be fetched first. Always false in a clone that is not partial.
    ///
    /// # Errors
    /// Git fails.
    pub fn lacks(&self, need: Need<'_>) -> Result<bool> {
        Ok(self.is_partial()? && !self.missing(need)?.is_empty())
    }

    /// Fetches the objects that are missing; gives their number.
    ///
    /// # Errors
    /// The remote cannot be reached, or does not have them.
    pub fn fetch_missing(&self, need: Need<'_>) -> Result<usize> {
        if !self.is_partial()? {
            return Ok(0);
        }
        let mut fetched = 0;
        for _ in 0..ROUNDS_MAX {
            let missing = self.missing(need)?;
            if missing.is_empty() {
                return Ok(fetched);
            }
            fetched += missing.len();
            self.fetch_objects(&missing).map_err(|e| need.error(missing.len(), Some(e)))?;
        }
        Err(need.error(self.missing(need)?.len(), None))
    }

    /// The remote that has promised the missing objects; `None` in a clone that is not partial.
    ///
    /// # Errors
    /// Git fails.
    pub fn promisor(&self) -> Result<Option<Promisor>> {
        let settings = self.all_settings()?;
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        let named = settings.iter().rev().find(|(key, _)| key == "extensions.partialclone").map(|(_, value)| text(value));
        let promises =
            |(key, value): &&(String, Vec<u8>)| key.starts_with("remote.") && key.ends_with(".promisor") && value == b"true";
        let marked =
            settings.iter().find(promises).and_then(|(key, _)| key.strip_prefix("remote.")?.strip_suffix(".promisor"));
        // A name that begins with a dash would be an option.
        let remote = named.or_else(|| marked.map(str::to_owned)).filter(|name| !name.starts_with('-'));
        let Some(remote) = remote else { return Ok(None) };
        let (url, own) = self.settings_of_fetch(&remote)?;
        Ok(Some(Promisor { remote, url, settings: own }))
    }

    /// Objects that are needed and not there. While a tree is missing, what is in it is not known.
    fn missing(&self, need: Need<'_>) -> Result<Vec<String>> {
        match need {
            Need::Checkout(commit) => self.missing_below(&[commit], &[]),
            Need::Difference(a, b) => {
                let trees = self.missing_below(&[a, b], &["--filter=blob:none"])?;
                if !trees.is_empty() {
                    return Ok(trees);
                }
                let mut needed: BTreeSet<String> =
                    self.raw_changes(a, b)?.into_iter().flat_map(|change| change.oids).collect();
                needed.extend(self.attributes_of(b)?);
                self.missing_of(&needed)
            }
            Need::Merge(ours, theirs) => {
                let bases = self.merge_bases(ours, theirs)?;
                let mut commits = vec![ours, theirs];
                commits.extend(&bases);
                let trees = self.missing_below(&commits, &["--filter=blob:none"])?;
                if !trees.is_empty() {
                    return Ok(trees);
                }
                self.missing_of(&self.blobs_of_merge(ours, theirs, &bases)?)
            }
        }
    }

    fn missing_below(&self, commits: &[&Oid], options: &[&str]) -> Result<Vec<String>> {
        let call = self.plain()?.args(["rev-list", "--objects", "--no-walk", "--missing=print", "--no-object-names"]);
        let call = call.args(options.iter().copied()).args(commits.iter().map(|commit| commit.as_str()));
        let out = call.long().ok()?;
        let lines = out.split(|byte| *byte == b'\n').filter_map(|line| line.strip_prefix(b"?"));
        Ok(lines.map(|oid| String::from_utf8_lossy(oid).into_owned()).collect())
    }

    /// Those of these objects that are not there.
    fn missing_of(&self, oids: &BTreeSet<String>) -> Result<Vec<String>> {
        let found = look_up(self.plain()?.long(), oids.iter())?;
        let missing = oids.iter().zip(found).filter(|(_, object)| object.is_none());
        Ok(missing.map(|(oid, _)| oid.clone()).collect())
    }

    fn merge_bases(&self, a: &Oid, b: &Oid) -> Result<Vec<Oid>> {
        let out = self.plain()?.args(["merge-base", "--all", a.as_str(), b.as_str()]).ok_or_code(&[1])?;
        String::from_utf8_lossy(&out.stdout).lines().map(str::parse).collect()
    }

    /// The contents that a merge may read: of paths that both sides changed, of paths that are new or gone (one may be the
    /// other renamed), and the attributes.
    fn blobs_of_merge(&self, ours: &Oid, theirs: &Oid, bases: &[Oid]) -> Result<BTreeSet<String>> {
        let mut needed = BTreeSet::new();
        let mut sides: BTreeMap<PathBuf, (BTreeSet<&str>, BTreeSet<String>)> = BTreeMap::new();
        for base in bases {
            for (side, name) in [(ours, "ours"), (theirs, "theirs")] {
                for change in self.raw_changes(base, side)? {
                    let always = bases.len() > 1 || change.status != Status::Modified;
                    let (by, oids) = sides.entry(change.path).or_default();
                    by.insert(name);
                    oids.extend(change.oids.iter().cloned());
                    if always {
                        needed.extend(change.oids);
                    }
                }
            }
        }
        needed.extend(sides.into_values().filter(|(by, _)| by.len() > 1).flat_map(|(_, oids)| oids));
        needed.extend(self.attributes_of(ours)?);
        Ok(needed)
    }

    fn attributes_of(&self, commit: &Oid) -> Result<Vec<String>> {
        let entries = self.list_tree(commit, None)?;
        let attributes = entries.iter().filter(|entry| entry.path.file_name().is_some_and(|name| name == ".gitattributes"));
        Ok(attributes.map(|entry| entry.oid.to_string()).collect())
    }

    fn raw_changes(&self, a: &Oid, b: &Oid) -> Result<Vec<RawChange>> {
        let call = self.plain()?.args(["diff-tree", "-r", "-z", "--raw", "--no-renames", "--no-abbrev", "--end-of-options"]);
        let out = call.args([a.as_str(), b.as_str()]).long().ok()?;
        let mut fields = out.split(|byte| *byte == 0).filter(|field| !field.is_empty());
        let mut changes = Vec::new();
        while let (Some(head), Some(path)) = (fields.next(), fields.next()) {
            let head = String::from_utf8_lossy(head);
            let columns: Vec<&str> = head.trim_start_matches(':').split(' ').collect();
            let [mode_a, mode_b, oid_a, oid_b, status] = columns.as_slice() else {
                return Err(Error::Unexpected { what: "diff-tree".to_owned() });
            };
            // Neither nothing nor the commit of a submodule is an object of this repository.
            let sides = [(mode_a, oid_a), (mode_b, oid_b)].into_iter();
            let oids = sides.filter(|(mode, _)| !["000000", "160000"].contains(*mode)).map(|(_, oid)| (*oid).to_owned());
            let status = if *status == "M" { Status::Modified } else { Status::TypeChanged };
            changes.push(RawChange { path: names::path(path), status, oids: oids.collect() });
        }
        Ok(changes)
    }

    fn fetch_objects(&self, oids: &[String]) -> Result<()> {
        let Some(promisor) = self.promisor()? else {
            return Err(Error::Unexpected { what: "config: no remote has promised objects".to_owned() });
        };
        let asked = oids.iter().map(|oid| format!("{oid}\n")).collect::<String>();
        let mut call = self.as_user().in_own_group();
        for setting in [
            "core.hooksPath=/dev/null",
            "core.fsmonitor=false",
            "core.askPass=",
            "credential.interactive=false",
            "fetch.negotiationAlgorithm=noop",
            "gc.auto=0",
            "maintenance.auto=false",
        ] {
            call = call.arg("-c").arg(setting);
        }
        // Whatever this remote's refspecs are, no ref is written: objects are asked for by name.
        let call = call.preamble().args(["fetch", "--quiet", "--no-tags", "--no-write-fetch-head"]);
        let call = call.args(["--recurse-submodules=no", "--filter=blob:none", "--no-auto-maintenance", "--stdin"]);
        let call = call.arg(promisor.remote).stdin(asked.into_bytes()).seconds(FETCH_SECONDS);
        let call = call.env("GIT_ALLOW_PROTOCOL", PROTOCOLS).env("GIT_ASKPASS", "").env("SSH_ASKPASS_REQUIRE", "never");
        call.ok().map(drop).map_err(|error| match error {
            Error::Failed { args, code, stderr, lock } => {
                Error::Failed { args, code, stderr: address::without_secrets(&stderr), lock }
            }
            other => other,
        })
    }

    /// The remote's address, and what in the repository's own files steers a fetch.
    fn settings_of_fetch(&self, remote: &str) -> Result<(String, Vec<String>)> {
        let recorded = match crate::user_state::settings_of(self)? {
            Ok(settings) => settings,
            Err(words) => {
                return Err(Error::Failed { args: "config --list".to_owned(), code: None, stderr: words, lock: None });
            }
        };
        let of_remote = format!("remote.{remote}.");
        let mut url = String::new();
        let mut own = Vec::new();
        for setting in recorded {
            if setting.name == format!("{of_remote}url") {
                url.clone_from(&setting.shown);
            }
            let steers = setting.name.starts_with(&of_remote) || OF_FETCH.iter().any(|name| setting.name.starts_with(name));
            if setting.of_repository && steers {
                own.push(format!("{} {}", setting.name, setting.recorded));
            }
        }
        Ok((url, own))
    }

    /// The error of an operation that failed in a partial clone, if the reason is that objects are missing.
    pub(crate) fn explain_missing(&self, need: Need<'_>, error: Error) -> Error {
        if !matches!(error, Error::Failed { .. }) || !self.is_partial().unwrap_or(false) {
            return error;
        }
        match self.missing(need) {
            Ok(missing) if !missing.is_empty() => need.error(missing.len(), None),
            _ => error,
        }
    }
}

struct RawChange {
    path: PathBuf,
    status: Status,
    oids: Vec<String>,
}

impl Need<'_> {
    fn error(self, count: usize, cause: Option<Error>) -> Error {
        // Git fetches what it needs when a person runs it.
        let command = match self {
            Need::Checkout(commit) => format!("git archive --output=/dev/null {commit}"),
            Need::Difference(a, b) => format!("git diff --numstat {a} {b}"),
            Need::Merge(ours, theirs) => format!("git merge-tree --write-tree {ours} {theirs}"),
        };
        Error::ObjectsMissing { count, command, source: cause.map(Box::new) }
    }
}
