//! What changed between two trees. Renames are shown as they are stored: one path gone, one path new.

use std::collections::HashSet;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::missing::Need;
use crate::names;
use crate::oid::Oid;
use crate::repo::Repo;
use crate::run::Call;

/// What happened to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// New.
    Added,
    /// Other content or rights.
    Modified,
    /// Gone.
    Deleted,
    /// Another kind of thing: a file became a link, say.
    TypeChanged,
}

/// One changed path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileChange {
    /// Path from the root.
    pub path: PathBuf,
    /// What happened.
    pub status: Status,
    /// Lines added; 0 for binary content.
    pub added: u64,
    /// Lines removed; 0 for binary content.
    pub removed: u64,
    /// Whether lines could not be counted.
    pub binary: bool,
    /// Mode of what is there now, 0 when gone.
    pub mode: u32,
}

/// All changed paths between two trees, in git's order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DiffStat {
    /// The paths.
    pub files: Vec<FileChange>,
}

impl DiffStat {
    /// Lines added in all.
    #[must_use]
    pub fn added(&self) -> u64 {
        self.files.iter().map(|f| f.added).sum()
    }

    /// Lines removed in all.
    #[must_use]
    pub fn removed(&self) -> u64 {
        self.files.iter().map(|f| f.removed).sum()
    }
}

/// The difference of one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathPatch {
    /// What git writes.
    pub text: Vec<u8>,
    /// Whether there is more of it.
    pub is_cut: bool,
}

const ARGS: [&str; 6] = ["diff-tree", "-r", "--no-renames", "--no-ext-diff", "--no-textconv", "--end-of-options"];
/// Paths of more folders have their attributes read from an index. From a tree, git walks down from the root for each folder
/// of a path, which takes minutes for a path of a thousand folders.
const FOLDERS_MAX: usize = 50;

/// The least that is shown of a path's difference while anything may be shown.
const SHARE_BYTES_MIN: usize = 4 * 1024;

impl Repo {
    /// What changed from `a` to `b`, commits or trees.
    pub fn diff(&self, a: &Oid, b: &Oid) -> Result<DiffStat> {
        self.diff_of_present(a, b).map_err(|e| self.explain_missing(Need::Difference(a, b), e))
    }

    fn diff_of_present(&self, a: &Oid, b: &Oid) -> Result<DiffStat> {
        let paths = self.changed_paths(a, b)?;
        self.diff_of(a, b, paths.iter())
    }

    /// The same, where it is known that nothing but these paths changed.
    pub(crate) fn diff_of<'a>(&self, a: &Oid, b: &Oid, paths: impl Iterator<Item = &'a PathBuf>) -> Result<DiffStat> {
        let [command, options @ ..] = ARGS;
        self.with_attributes(b, paths, |call| {
            let call = call.args([command, "-z", "--raw", "--numstat"]).args(options).args([a.as_str(), b.as_str()]);
            parse(&call.long().ok()?).ok_or_else(|| Error::Unexpected { what: "diff-tree".to_owned() })
        })
    }

    /// The difference as a patch, cut after `max_bytes`.
    pub fn patch(&self, a: &Oid, b: &Oid, max_bytes: usize) -> Result<Vec<u8>> {
        self.patch_of_present(a, b, max_bytes).map_err(|e| self.explain_missing(Need::Difference(a, b), e))
    }

    fn patch_of_present(&self, a: &Oid, b: &Oid, max_bytes: usize) -> Result<Vec<u8>> {
        let [command, options @ ..] = ARGS;
        let paths = self.changed_paths(a, b)?;
        self.with_attributes(b, paths.iter(), |call| {
            let call = call.args([command, "-p", "--full-index"]).args(options);
            call.args([a.as_str(), b.as_str()]).long().cut_at(max_bytes).ok()
        })
    }

    /// The difference of each of these paths as a patch, about `max_bytes` in all. A large one takes no more than its share, so
    /// that it does not keep the others from being shown. Attributes do not count: they could keep text from being shown.
    pub fn patches_of(&self, a: &Oid, b: &Oid, paths: &[&Path], max_bytes: usize) -> Result<Vec<PathPatch>> {
        let [command, options @ ..] = ARGS;
        let mut left = max_bytes;
        let mut patches = Vec::with_capacity(paths.len());
        for (n, path) in paths.iter().enumerate() {
            let share = (left / (paths.len() - n)).max(SHARE_BYTES_MIN).min(left);
            if share == 0 {
                patches.push(PathPatch { text: Vec::new(), is_cut: true });
                continue;
            }
            let call = self.plain()?.env("GIT_LITERAL_PATHSPECS", "1").args([command, "-p", "--full-index"]).args(options);
            let call = call.args([a.as_str(), b.as_str(), "--"]).args([path.as_os_str()]);
            let patch = call.long().cut_at(share + 1).ok();
            let mut text = patch.map_err(|e| self.explain_missing(Need::Difference(a, b), e))?;
            let is_cut = text.len() > share;
            text.truncate(share);
            left -= text.len();
            patches.push(PathPatch { text, is_cut });
        }
        Ok(patches)
    }

    /// The paths that differ between two commits or trees.
    pub(crate) fn changed_paths(&self, a: &Oid, b: &Oid) -> Result<HashSet<PathBuf>> {
        if a == b {
            return Ok(HashSet::new());
        }
        let [command, options @ ..] = ARGS;
        let call = self.plain()?.args([command, "-z", "--name-only"]).args(options).args([a.as_str(), b.as_str()]);
        let out = call.long().ok()?;
        Ok(names::paths(&out).collect())
    }

    /// Makes a call that reads attributes as they are in `tree`, in bounded time however deep these paths are.
    fn with_attributes<'a, T>(
        &self,
        tree: &Oid,
        mut paths: impl Iterator<Item = &'a PathBuf>,
        make: impl FnOnce(Call) -> Result<T>,
    ) -> Result<T> {
        if paths.all(|path| path.as_os_str().as_bytes().iter().filter(|b| **b == b'/').count() <= FOLDERS_MAX) {
            return make(self.plain_with_attributes(tree)?);
        }
        let room = self.scratch()?;
        let index = room.path().join("index");
        let on_index = || Ok::<_, Error>(self.plain()?.env("GIT_INDEX_FILE", &index));
        on_index()?.args(["read-tree", tree.as_str()]).long().ok()?;
        // Outside every work tree, git takes attributes from the index.
        make(on_index()?)
    }
}

/// First come rows of `:old new oid oid S\0path\0`, then rows of `added\tremoved\tpath\0` in the same order.
fn parse(out: &[u8]) -> Option<DiffStat> {
    let mut files = Vec::new();
    let mut fields = names::rows(out);
    let mut counted = 0;
    while let Some(field) = fields.next() {
        if field.first() == Some(&b':') && counted == 0 {
            let head = std::str::from_utf8(field).ok()?;
            let status = match head.as_bytes().last()? {
                b'A' => Status::Added,
                b'D' => Status::Deleted,
                b'T' => Status::TypeChanged,
                _ => Status::Modified,
            };
            let mode = u32::from_str_radix(head.split(' ').nth(1)?, 8).ok()?;
            let path = names::path(fields.next()?);
            files.push(FileChange { path, status, added: 0, removed: 0, binary: false, mode });
        } else {
            let mut columns = field.splitn(3, |b| *b == b'\t');
            let (added, removed, path) = (columns.next()?, columns.next()?, columns.next()?);
            let file = files.get_mut(counted)?;
            if file.path != names::path(path) {
                return None;
            }
            let number = |b: &[u8]| std::str::from_utf8(b).ok()?.parse().ok();
            match (number(added), number(removed)) {
                (Some(added), Some(removed)) => (file.added, file.removed) = (added, removed),
                _ => file.binary = true,
            }
            counted += 1;
        }
    }
    (counted == files.len()).then_some(DiffStat { files })
}
