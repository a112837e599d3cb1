//! What differs between a lane's files and an index, repositories inside the lane included.
//!
//! Git shows a folder that has its own `.git` as one untracked entry and does not look inside, unless the index already has a
//! file in it. So a placeholder goes into our copy of the index for each such folder, and git lists again: then every ignore
//! rule, the outer and the nested ones, means what it means everywhere else. The placeholder has no file, so that it is
//! listed as deleted and removed with the other deletions.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::hidden::IndexEntry;
use super::{Omitted, Why};
use crate::error::{Error, Result};
use crate::lanes::{Lane, OUT_DIR};
use crate::names;
use crate::oid::Oid;
use crate::plain_file;

/// Levels of repositories inside repositories that are looked into. Each level lists the lane once more.
const NESTED_LEVELS_MAX: usize = 8;
/// Ignore rules of more bytes may be why git failed. Newer versions of git leave such files out themselves.
const IGNORE_RULES_BYTES_MAX: u64 = 100 << 20;
/// Files and folders that are looked at to find them.
const ENTRIES_MAX: usize = 1_000_000;
const PLACEHOLDER: &str = ".agentops-placeholder";

/// What a lane's files look like beside an index.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// Untracked, modified and deleted paths, sorted.
    pub differing: Vec<PathBuf>,
    /// Those of them that are in the index.
    pub tracked: HashSet<PathBuf>,
    /// Folders with a `.git` of their own that the index did not know.
    pub nested: BTreeSet<PathBuf>,
    /// Files that the agent's sparse checkout took out of the work tree, and folders of such files.
    pub hidden: HashSet<PathBuf>,
    /// Those of them whose version in the agent's index is not the parent's.
    pub hidden_changes: Vec<IndexEntry>,
    /// Files that are called like unfinished ones, and that the agent's own index or its last commit has: they are finished.
    pub meant: HashSet<PathBuf>,
    /// Ignored files that the agent put into its own index.
    pub forced: HashSet<PathBuf>,
    /// Tracked files above the limit of sizes, which git did not compare. They are marked in the index.
    pub large: BTreeSet<PathBuf>,
    /// New files that the agent had begun to write. They are not in `differing`.
    pub unfinished: Vec<PathBuf>,
    /// What git could not list.
    pub omitted: Vec<Omitted>,
}

impl Listing {
    /// Whether a path is only hidden by a sparse checkout: then its absence is no deletion.
    pub(crate) fn is_hidden(&self, path: &Path) -> bool {
        !self.hidden.is_empty() && path.ancestors().any(|part| self.hidden.contains(part))
    }

    /// Whether a path is one of ours that makes git look into a nested repository.
    pub(crate) fn is_placeholder(&self, path: &Path) -> bool {
        path.file_name().is_some_and(|name| name == PLACEHOLDER)
            && path.parent().is_some_and(|folder| self.nested.contains(folder))
    }
}

/// A path that differs.
struct Row {
    tracked: bool,
    path: PathBuf,
}

impl Lane {
    /// Lists what differs from an index of ours. Placeholders and marks of large files may be added to the index; all of them are
    /// in the answer.
    pub(crate) fn listing(&self, index: &Path) -> Result<Listing> {
        let mut listing = Listing { large: self.mark_large(index)?, ..Listing::default() };
        for level in 0.. {
            let (rows, unreadable) = self.rows(index)?;
            let (folders, rows): (Vec<Row>, Vec<Row>) = rows.into_iter().partition(|row| is_folder(&row.path));
            let folders: Vec<PathBuf> = folders.iter().map(|row| without_slash(&row.path)).collect();
            let last = folders.is_empty() || level == NESTED_LEVELS_MAX || self.add_placeholders(index, &folders).is_err();
            if !last {
                listing.nested.extend(folders);
                continue;
            }
            let unreadable = unreadable.into_iter().map(|path| Omitted::new(path, Why::Unreadable));
            let unlisted = folders.into_iter().map(|path| Omitted::new(path, Why::NestedRepository));
            listing.omitted = unreadable.chain(unlisted).collect();
            listing.tracked = rows.iter().filter(|row| row.tracked).map(|row| row.path.clone()).collect();
            listing.tracked.extend(listing.large.iter().cloned());
            listing.differing = rows.into_iter().map(|row| row.path).chain(listing.large.iter().cloned()).collect();
            listing.differing.sort();
            listing.differing.dedup();
            break;
        }
        Ok(listing)
    }

    /// Untracked, modified and deleted paths; and folders that git may not enter. A repository inside the lane is one path
    /// that ends with a slash.
    fn rows(&self, index: &Path) -> Result<(Vec<Row>, Vec<PathBuf>)> {
        let call = self.plain_on(index)?.args(["ls-files", "-z", "-t", "-o", "-m", "-d", "--exclude-standard"]);
        let listed = call.arg(format!("--exclude=/{OUT_DIR}")).long().ok_or_code(&[]);
        let out = listed.map_err(|error| self.explain_ignore_rules(error))?;
        let rows = names::rows(&out.stdout).filter_map(|row| {
            let path = row.get(2..).filter(|path| !path.is_empty())?;
            // What was committed there by hand is not ours to follow either.
            (!is_result(path)).then(|| Row { tracked: row[0] != b'?', path: names::path(path) })
        });
        let unreadable = out.stderr.lines().filter_map(|line| {
            let rest = line.strip_prefix("warning: could not open directory '")?;
            // Git cuts its message when the path is too long: then the last whole folder of it is named.
            let path = rest.rsplit_once("': ").map(|(path, _)| path).or_else(|| Some(rest.rsplit_once('/')?.0))?;
            Some(without_slash(Path::new(path)))
        });
        Ok((rows.collect(), unreadable.collect()))
    }

    /// Untracked, modified and deleted paths. A nested repository ends with a slash.
    pub(crate) fn differing(&self, index: &Path) -> Result<Vec<PathBuf>> {
        let (rows, _) = self.rows(index)?;
        Ok(rows.into_iter().map(|row| row.path).collect())
    }

    /// Names the ignore rules that are too large for git, if that may be why it failed: nothing can be listed beside them, for
    /// what they ignore is unknown.
    fn explain_ignore_rules(&self, error: Error) -> Error {
        if !matches!(error, Error::Failed { .. }) {
            return error;
        }
        let mut folders = vec![self.path().to_owned()];
        let mut seen = 0;
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
                seen += 1;
                if seen > ENTRIES_MAX {
                    return error;
                }
                let Ok(meta) = entry.metadata() else { continue };
                if entry.file_name() == ".gitignore" && meta.is_file() && meta.len() > IGNORE_RULES_BYTES_MAX {
                    return Error::IgnoreRulesTooLarge { path: entry.path(), bytes: meta.len() };
                }
                if meta.is_dir() {
                    folders.push(entry.path());
                }
            }
        }
        error
    }

    fn add_placeholders(&self, index: &Path, folders: &[PathBuf]) -> Result<()> {
        let mut entries = Vec::new();
        for folder in folders {
            // No object of this name is needed: the entry is removed before a tree is written.
            entries.extend(format!("100644 {}\t", self.base().as_str()).bytes());
            entries.extend_from_slice(folder.as_os_str().as_bytes());
            entries.extend_from_slice(b"/");
            entries.extend_from_slice(PLACEHOLDER.as_bytes());
            entries.push(0);
        }
        self.write_entries(index, entries)
    }

    /// Repositories inside the lane that have commits of their own, which no checkpoint holds. Their files are ordinary files
    /// of this tree.
    pub(crate) fn nested_histories(&self, tree: &Oid, listing: &Listing) -> Result<Vec<Omitted>> {
        let call = self.repo.plain()?.args(["ls-tree", "-r", "-d", "-z", "--full-tree", tree.as_str()]);
        let out = call.long().ok()?;
        // `040000 tree <oid>\t<path>`; a submodule is listed too, with another mode.
        let of_tree = names::rows(&out).filter(|row| row.starts_with(b"040000 ")).filter_map(|row| {
            let tab = row.iter().position(|b| *b == b'\t')?;
            Some(names::path(&row[tab + 1..]))
        });
        let folders: BTreeSet<PathBuf> = of_tree.chain(listing.nested.iter().cloned()).collect();
        let with_commits = folders.into_iter().filter(|folder| has_commits(&self.path().join(folder).join(".git")));
        Ok(with_commits.map(|path| Omitted::new(path, Why::NestedHistory)).collect())
    }
}

/// Whether a path is the folder for results or lies in it.
pub(super) fn is_result(path: &[u8]) -> bool {
    path.strip_prefix(OUT_DIR.as_bytes()).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

fn is_folder(path: &Path) -> bool {
    path.as_os_str().as_bytes().ends_with(b"/")
}

fn without_slash(path: &Path) -> PathBuf {
    let bytes = path.as_os_str().as_bytes();
    names::path(bytes.strip_suffix(b"/").unwrap_or(bytes))
}

/// Whether a `.git` names commits. One that leads elsewhere is taken for having some: what it names is not looked at.
fn has_commits(git: &Path) -> bool {
    let Ok(meta) = fs::symlink_metadata(git) else { return false };
    if !meta.is_dir() {
        return true;
    }
    let is_file = |path: &Path| fs::symlink_metadata(path).is_ok_and(|meta| !meta.is_dir());
    let detached =
        plain_file::read_start(&git.join("HEAD"), 64).is_ok_and(|head| !head.starts_with(b"ref:") && !head.is_empty());
    detached || is_file(&git.join("packed-refs")) || git.join("reftable").is_dir() || has_refs(&git.join("refs"))
}

/// Whether a folder of refs has one. A deep or large one, one that cannot be read and one that leads elsewhere are taken for
/// having some.
fn has_refs(refs: &Path) -> bool {
    const FOLDERS_MAX: usize = 1000;
    if refs.is_symlink() {
        return true;
    }
    let mut todo = vec![refs.to_owned()];
    let mut seen = 0;
    while let Some(folder) = todo.pop() {
        seen += 1;
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(e) if plain_file::is_absent(&e) => continue,
            Err(_) => return true,
        };
        for entry in entries {
            let Ok(entry) = entry else { return true };
            if seen + todo.len() > FOLDERS_MAX || !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                return true;
            }
            todo.push(entry.path());
        }
    }
    false
}
