//! Storing a lane's files one by one where that is needed: no single file may keep the others from being stored.
//!
//! Git takes all files in one call and ends at the first that it refuses, such as one whose content does not fit its
//! `working-tree-encoding`. Then the list is halved until each such file is found. A file that is too large is not given to git
//! at all: a sparse file of terabytes takes an agent a moment, and would take git days.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::{IndexEntry, Omitted, Why};
use crate::error::{Error, Result};
use crate::lanes::Lane;
use crate::names;
use crate::run::{is_about_data, is_failure_of_machine};

/// How often git is started at most to find the files that it refuses. The rest is then taken for refused, and named.
const STARTS_MAX: usize = 2_000;
/// What git stores in a second at least, in bytes.
const BYTES_PER_SECOND_MIN: u64 = 4 << 20;
/// Seconds for what does not depend on sizes.
const SECONDS_MIN: u64 = 600;

/// Sizes above which a checkpoint leaves files out, as the files say (a sparse file counts with its holes).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SizeLimits {
    /// Of one file, in bytes.
    pub file_bytes_max: u64,
    /// Of all files that one checkpoint stores, in bytes. The largest ones are left out first.
    pub checkpoint_bytes_max: u64,
}

impl Default for SizeLimits {
    fn default() -> Self {
        Self { file_bytes_max: 1 << 30, checkpoint_bytes_max: 4 << 30 }
    }
}

/// A file that is to be stored.
pub(super) struct Addition {
    pub path: PathBuf,
    /// Its size in bytes; 0 for a link.
    pub bytes: u64,
}

/// Takes out the largest files until the others fit, and returns them.
pub(super) fn cut_to(bytes_max: u64, files: &mut Vec<Addition>) -> Vec<PathBuf> {
    let mut total: u128 = files.iter().map(|file| u128::from(file.bytes)).sum();
    if total <= u128::from(bytes_max) {
        return Vec::new();
    }
    let mut by_size: Vec<(u64, PathBuf)> = files.iter().map(|file| (file.bytes, file.path.clone())).collect();
    by_size.sort();
    let mut out = BTreeSet::new();
    while total > u128::from(bytes_max)
        && let Some((bytes, path)) = by_size.pop()
    {
        total -= u128::from(bytes);
        out.insert(path);
    }
    files.retain(|file| !out.contains(&file.path));
    out.into_iter().collect()
}

impl Lane {
    /// Puts files into an index and their contents into the repository. Those that git refuses are returned.
    ///
    /// # Errors
    /// Git failed at something else than one of these files.
    pub(super) fn add(&self, index: &Path, files: &[Addition]) -> Result<Vec<Omitted>> {
        let mut omitted = Vec::new();
        let mut starts = 0;
        let mut todo = vec![files];
        while let Some(part) = todo.pop() {
            if part.is_empty() {
                continue;
            }
            starts += 1;
            match self.add_together(index, part) {
                Ok(bad_names) => omitted.extend(bad_names),
                Err(error) if !is_about_data(&error) => return Err(error),
                Err(_) if part.len() > 1 && starts < STARTS_MAX => {
                    let (first, second) = part.split_at(part.len() / 2);
                    todo.extend([second, first]);
                }
                Err(_) if part.len() > 1 => {
                    omitted.extend(part.iter().map(|file| Omitted::new(file.path.clone(), Why::Refused)));
                }
                // It may have changed while it was read, and then it can be stored now.
                Err(_) if !self.is_refused(index, &part[0].path)? => match self.add_together(index, part) {
                    Ok(bad_names) => omitted.extend(bad_names),
                    Err(error) if is_about_a_change(&error) => {
                        omitted.push(Omitted::new(part[0].path.clone(), Why::Refused));
                    }
                    Err(error) => return Err(error),
                },
                Err(_) => omitted.push(Omitted::new(part[0].path.clone(), Why::Refused)),
            }
        }
        Ok(omitted)
    }

    /// Adds all of these, or none and fails. Returns those whose names git refuses.
    fn add_together(&self, index: &Path, files: &[Addition]) -> Result<Vec<Omitted>> {
        let call = self.plain_on(index)?.args(["update-index", "--add", "--remove", "--replace", "-z", "--stdin"]);
        let bytes = files.iter().fold(0, |sum: u64, file| sum.saturating_add(file.bytes));
        let call =
            call.stdin(list(files.iter().map(|file| &*file.path))).seconds(SECONDS_MIN + bytes / BYTES_PER_SECOND_MIN);
        if !call.ok_or_code(&[])?.stderr.contains("Ignoring path ") {
            return Ok(Vec::new());
        }
        // Git's messages are cut after some number of them, and no name can be told from them for certain.
        let out = self.plain_on(index)?.args(["ls-files", "-z"]).long().ok()?;
        let stored: HashSet<PathBuf> = names::paths(&out).collect();
        let refused = files.iter().filter(|file| !stored.contains(&file.path));
        Ok(refused.map(|file| Omitted::new(file.path.clone(), Why::BadName)).collect())
    }

    /// Whether git refuses the file itself: then it does so, or complains, also where nothing is written.
    fn is_refused(&self, index: &Path, path: &Path) -> Result<bool> {
        if self.path().join(path).is_symlink() {
            return Ok(false);
        }
        let call = self.plain_on(index)?.args(["hash-object", "--"]).arg(path);
        let out = call.long().output()?;
        match out.code {
            Some(0) => Ok(out.stderr.contains("error: ")),
            Some(128) if !is_failure_of_machine(&out.stderr) => Ok(true),
            _ => Err(out.failed("hash-object".to_owned())),
        }
    }

    /// Tracked files above the limit. They are marked in this index, so that git does not read them to see whether they changed.
    pub(crate) fn mark_large(&self, index: &Path) -> Result<BTreeSet<PathBuf>> {
        let out = self.plain_on(index)?.args(["ls-files", "-z", "--stage"]).long().ok()?;
        let (mut large, mut entries) = (BTreeSet::new(), Vec::new());
        for row in names::rows(&out) {
            let Some(entry) = IndexEntry::parse(row) else { continue };
            let meta = fs::symlink_metadata(self.path().join(&entry.path));
            if meta.is_ok_and(|meta| meta.is_file() && meta.len() > self.limits.file_bytes_max) {
                entries.extend_from_slice(row);
                entries.push(0);
                large.insert(entry.path);
            }
        }
        if !large.is_empty() {
            // Written anew, an entry knows no time. Else git would read a file that changed in the second of the last look,
            // and whose size is the same in 32 bits, whenever it writes the index.
            self.write_entries(index, entries)?;
            self.mark(index, "--assume-unchanged", &large)?;
        }
        Ok(large)
    }

    /// Takes the marks of [`Self::mark_large`] away from an index that is to be kept.
    pub(crate) fn unmark_large(&self, index: &Path, large: &BTreeSet<PathBuf>) -> Result<()> {
        self.mark(index, "--no-assume-unchanged", large)
    }
}

/// Paths as `--stdin` takes them with `-z`.
fn list<'a>(paths: impl Iterator<Item = &'a Path>) -> Vec<u8> {
    let mut list = Vec::new();
    for path in paths {
        list.extend_from_slice(path.as_os_str().as_bytes());
        list.push(0);
    }
    list
}

/// Whether git says that a file changed while it was read.
fn is_about_a_change(error: &Error) -> bool {
    const SIGNS: [&str; 2] = ["unstable object source data", "short read"];
    matches!(error, Error::Failed { stderr, .. } if SIGNS.iter().any(|sign| stderr.contains(sign)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p6_the_largest_files_are_left_out_until_the_rest_fits() {
        let file = |path: &str, bytes| Addition { path: path.into(), bytes };
        let all = || vec![file("a", 5), file("b", 9), file("c", 9), file("d", 0), file("e", 3)];
        let cut = |bytes_max| {
            let mut files = all();
            let out = cut_to(bytes_max, &mut files);
            let names = |paths: Vec<PathBuf>| paths.iter().map(|path| path.display().to_string()).collect::<String>();
            (names(files.into_iter().map(|file| file.path).collect()), names(out))
        };
        assert_eq!(cut(26), ("abcde".into(), String::new()));
        assert_eq!(cut(25), ("abde".into(), "c".into()));
        assert_eq!(cut(8), ("ade".into(), "bc".into()));
        assert_eq!(cut(0), ("d".into(), "abce".into()));
        let mut huge = vec![file("x", u64::MAX), file("y", u64::MAX), file("z", 1)];
        assert_eq!(cut_to(1, &mut huge).len(), 2);
    }
}
