//! What set-up brought into a lane before the agent came: copied files, build output, changed lock files.
//!
//! None of it is the agent's work, so no checkpoint takes it unless the agent changed it, and no reset removes it. It is
//! recorded once, when set-up has ended: an index of ours with the hash of each file that git would take for a change, and a
//! list. The contents are not stored anywhere: a copied file may hold a password.
//!
//! Ignored files may be many (`node_modules`), so only the folders that git ignores as a whole are listed, with the time.
//! Should the agent change the ignore rules, a file there that has not changed since that time is still not the agent's.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs;
use std::io::{ErrorKind, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::checkpoint::{Do, IndexEntry, Listing, Why, copy_index};
use crate::error::{Error, Result};
use crate::lanes::{Lane, OUT_DIR};
use crate::names;
use crate::oid::Oid;
use crate::plain::{write_durable, write_whole};
use crate::plain_file;
use crate::remove::{remove_all, remove_pipes_of_rules};
use crate::run::is_failure_of_machine;
use crate::temporary::persist;

/// Ignored files and folders that are listed.
const IGNORED_MAX: usize = 100_000;
/// The largest list of a record, in bytes.
const LIST_BYTES_MAX: u64 = 1 << 30;
/// How the last row of a list begins.
const END_TAG: &[u8] = b"z ";
/// The hash in it: SHA-256 in hexadecimal digits.
const END_HASH_BYTES: usize = 64;

/// How set-up left a path that differs from the lane's base.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Brought {
    /// The base does not have it.
    Added,
    /// The base has another version of it.
    Changed,
    /// The base has it and the lane does not.
    Removed,
}

/// What set-up left in a lane.
#[derive(Debug, Default)]
pub(crate) struct Baseline {
    /// Time of the record by the file system's clock: seconds and nanoseconds.
    recorded_at: (i64, i64),
    /// Files that were copied from the user's checkout.
    copied: BTreeSet<PathBuf>,
    /// Their contents as size in bytes and hash: under another name they are the user's as well.
    contents: HashSet<(u64, String)>,
    brought: BTreeMap<PathBuf, Brought>,
    /// Nested repositories with commits.
    histories: HashSet<PathBuf>,
    /// Ignored files and folders.
    ignored: HashSet<PathBuf>,
}

/// What a checkpoint does about a path that set-up brought.
pub(crate) enum Verdict {
    /// The agent changed it, or set-up did not bring it.
    AsUsual,
    /// Unchanged: no part of the checkpoint.
    Leave,
    /// Unchanged again, but an earlier checkpoint has the agent's version.
    Remove,
    /// Copied from the checkout and changed: no part of the checkpoint, and named.
    Omit,
}

impl Lane {
    /// Records what set-up brought. `copied` are the files that came from the user's checkout. Call it when set-up has ended
    /// and before an agent starts; a repetition replaces the record.
    ///
    /// # Errors
    /// Git fails, or the record cannot be written.
    pub fn record_baseline(&self, copied: &[PathBuf]) -> Result<()> {
        self.write_baseline(copied, |_| true)
    }

    /// Records again which files were copied from the user's checkout, in a lane whose record was lost. What else set-up
    /// brought cannot be told from the agent's work any more.
    ///
    /// # Errors
    /// Git fails, or the record cannot be written.
    pub fn record_copied(&self, copied: &[PathBuf]) -> Result<()> {
        self.write_baseline(copied, |path| copied.iter().any(|known| known == path))
    }

    fn write_baseline(&self, copied: &[PathBuf], counts: impl Fn(&Path) -> bool) -> Result<()> {
        remove_pipes_of_rules(self.path())?;
        let index = self.record().join("baseline.index.new");
        // A git that was killed leaves its lock.
        remove_all(&self.record().join("baseline.index.new.lock"))?;
        if copy_index(&self.index(), &index).is_err() {
            self.plain_on(&index)?.args(["read-tree", self.base().as_str()]).ok()?;
        }
        let listing = self.listing(&index)?;
        let mut baseline = Baseline { copied: copied.iter().cloned().collect(), ..Baseline::default() };
        let (mut files, mut links, mut gone) = (Vec::new(), Vec::new(), Vec::new());
        let mut parents = HashMap::new();
        let mut too_large = HashSet::new();
        let unlisted = copied.iter().filter(|path| !listing.differing.contains(path));
        for path in listing.differing.iter().chain(unlisted).filter(|path| counts(path)) {
            let tracked = listing.tracked.contains(path);
            let (list, brought) = match self.look(path, &listing, &mut parents) {
                Do::Add { .. } if self.path().join(path).is_symlink() => (&mut links, Some(Brought::Added)),
                Do::Add { .. } => (&mut files, Some(Brought::Added)),
                Do::Remove => (&mut gone, tracked.then_some(Brought::Removed)),
                // It is not read, so only its time says whether an agent changed it.
                Do::Omit(Why::TooLarge) if !tracked => {
                    too_large.insert(path.clone());
                    continue;
                }
                Do::Keep | Do::Omit(_) => continue,
            };
            list.extend_from_slice(path.as_os_str().as_bytes());
            list.push(0);
            let brought = if tracked && brought == Some(Brought::Added) { Some(Brought::Changed) } else { brought };
            // A placeholder of the listing is tracked and gone, but no file of the base.
            if let Some(brought) = brought.filter(|_| !listing.is_placeholder(path)) {
                baseline.brought.insert(path.clone(), brought);
            }
        }
        let update = |how: &[&'static str], paths: Vec<u8>| -> Result<()> {
            if paths.is_empty() {
                return Ok(());
            }
            let call = self.plain_on(&index)?.arg("update-index").args(how.iter().copied()).args(["-z", "--stdin"]);
            call.stdin(paths).long().ok().map(drop)
        };
        update(&["--force-remove"], gone)?;
        // Without objects: git compares files by hash alone. Of a link it needs the object, and a link holds no secret.
        update(&["--add", "--remove", "--replace", "--info-only"], files)?;
        update(&["--add", "--remove", "--replace"], links)?;
        baseline.histories = self.nested_histories(self.base(), &listing)?.into_iter().map(|omitted| omitted.path).collect();
        baseline.histories.retain(|path| counts(path));
        baseline.ignored = self.ignored()?;
        baseline.ignored.extend(too_large);
        baseline.ignored.retain(|path| counts(path));
        for path in copied {
            // One that is no file any more has no content that could be found again.
            let Some(content) = self.content_of(path, None) else { continue };
            baseline.contents.insert(content);
        }
        baseline.recorded_at = self.file_system_time()?;
        self.unmark_large(&index, &listing.large)?;
        persist(&index, &self.baseline_index()).map_err(Error::io("write", self.baseline_index()))?;
        write_durable(&self.baseline_list(), &baseline.encode())?;
        self.mend()
    }

    /// Size and hash of a plain file, if it has a content, is no larger than a checkpoint takes, and has one of these sizes.
    fn content_of(&self, path: &Path, sizes: Option<&HashSet<u64>>) -> Option<(u64, String)> {
        let mut file = plain_file::open(&self.path().join(path)).ok()?;
        let meta = file.metadata().ok().filter(|meta| (1..=self.limits.file_bytes_max).contains(&meta.len()))?;
        if sizes.is_some_and(|sizes| !sizes.contains(&meta.len())) {
            return None;
        }
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 64 << 10];
        loop {
            match file.read(&mut buffer).ok()? {
                0 => break,
                count => hash.update(&buffer[..count]),
            }
        }
        Some((meta.len(), names::hex(&hash.finalize())))
    }

    /// Whether there is a whole record of what set-up brought.
    ///
    /// # Errors
    /// The record cannot be read.
    pub fn has_baseline(&self) -> Result<bool> {
        Ok(self.baseline()?.is_some())
    }

    /// What set-up brought; none where no set-up was recorded, or its record is damaged.
    pub(crate) fn baseline(&self) -> Result<Option<Baseline>> {
        let bytes = plain_file::read_if_there(&self.baseline_list(), LIST_BYTES_MAX)?;
        Ok(bytes.and_then(|bytes| Baseline::decode(&bytes)))
    }

    fn baseline_index(&self) -> PathBuf {
        self.record().join("baseline.index")
    }

    fn baseline_list(&self) -> PathBuf {
        self.record().join("baseline")
    }

    /// Ignored files and folders that are ignored as a whole.
    fn ignored(&self) -> Result<HashSet<PathBuf>> {
        let call = self.plain_on(&self.index())?.args(["ls-files", "-z", "-o", "-i", "--directory", "--exclude-standard"]);
        let out = call.long().ok()?;
        let paths = names::rows(&out).map(|path| names::path(path.strip_suffix(b"/").unwrap_or(path)));
        Ok(paths.filter(|path| !path.starts_with(OUT_DIR)).take(IGNORED_MAX).collect())
    }

    /// The present time as the lane's file system tells it.
    fn file_system_time(&self) -> Result<(i64, i64)> {
        let probe = tempfile::NamedTempFile::new_in(self.path()).map_err(Error::io("write in", self.path()))?;
        let meta = probe.as_file().metadata().map_err(Error::io("look at", probe.path()))?;
        Ok((meta.ctime(), meta.ctime_nsec()))
    }

    /// Paths of the recorded index that are no longer as they were; none when the index is gone or damaged.
    ///
    /// # Errors
    /// It could not be read. To go on without it would take unchanged files of set-up for the agent's.
    fn changed_since_baseline(&self, room: &Path) -> Result<Option<HashSet<PathBuf>>> {
        let index = room.join("baseline.index");
        if !self.baseline_index().try_exists().map_err(Error::io("look at", self.baseline_index()))? {
            return Ok(None);
        }
        copy_index(&self.baseline_index(), &index).map_err(Error::io("copy", self.baseline_index()))?;
        let marked = self.mark_large(&index);
        // Files that were written in the second of the record are hashed here once, and not at the next checkpoint again.
        let listed = marked.and_then(|large| {
            self.plain_on(&index)?.args(["update-index", "-q", "--refresh"]).long().ok_or_code(&[1])?;
            let out = self.plain_on(&index)?.args(["ls-files", "-z", "-m", "-d"]).long().ok()?;
            self.unmark_large(&index, &large)?;
            Ok(names::paths(&out).chain(large).collect())
        });
        let changed = match listed {
            // This is how git ends at a damaged index. It says nothing where it could not write another one.
            Err(Error::Failed { code: Some(128), stderr, .. }) if !stderr.is_empty() && !is_failure_of_machine(&stderr) => {
                return Ok(None);
            }
            listed => listed?,
        };
        let new = self.record().join("baseline.index.new");
        let _only_a_shortcut = copy_index(&index, &new).and_then(|()| fs::rename(&new, self.baseline_index()));
        Ok(Some(changed))
    }

    /// Mode and content of the files that set-up brought; nothing where the recorded index is gone or damaged.
    ///
    /// # Errors
    /// It could not be read.
    pub(crate) fn baseline_versions(&self, baseline: &Baseline, room: &Path) -> Result<HashMap<PathBuf, (u32, Oid)>> {
        let index = room.join("baseline-versions.index");
        if !self.baseline_index().try_exists().map_err(Error::io("look at", self.baseline_index()))? {
            return Ok(HashMap::new());
        }
        copy_index(&self.baseline_index(), &index).map_err(Error::io("copy", self.baseline_index()))?;
        let call = self.plain_on(&index)?.args(["ls-files", "-z", "--stage"]).long();
        let what = call.what();
        let out = call.output()?.unless_damaged(what)?.unwrap_or_default();
        let entries = names::rows(&out).filter_map(IndexEntry::parse).filter(|entry| baseline.is_brought(&entry.path));
        Ok(entries.map(|entry| (entry.path, (entry.mode, entry.oid))).collect())
    }

    /// What to do about each differing path that set-up may have brought.
    pub(crate) fn judge_by_baseline(
        &self,
        baseline: &Baseline,
        parent: &Oid,
        room: &Path,
        listing: &Listing,
    ) -> Result<HashMap<PathBuf, Verdict>> {
        let mut verdicts = HashMap::new();
        let known = |path: &Path| baseline.brought.contains_key(path) || baseline.copied.contains(path);
        let changed = if listing.differing.iter().any(|path| known(path)) {
            self.changed_since_baseline(room)?
        } else {
            Some(HashSet::new())
        };
        // Paths that an earlier checkpoint of this lane has from the agent.
        let mut taken: Option<HashSet<PathBuf>> = None;
        let sizes: HashSet<u64> = baseline.contents.iter().map(|(size, _)| *size).collect();
        for path in &listing.differing {
            let copied = baseline.copied.contains(path);
            let exists = fs::symlink_metadata(self.path().join(path)).is_ok();
            let brought = baseline.brought.get(path).copied();
            let verdict = match brought {
                Some(Brought::Removed) if exists => Verdict::AsUsual,
                None if !copied => {
                    let theirs = listing.tracked.contains(path) || listing.forced.contains(path) || !exists;
                    let is_copy = !sizes.is_empty()
                        && exists
                        && self.content_of(path, Some(&sizes)).is_some_and(|it| baseline.contents.contains(&it));
                    if is_copy {
                        Verdict::Omit
                    } else if !theirs && baseline.ignored_before(path) && self.is_older(path, baseline.recorded_at) {
                        Verdict::Leave
                    } else {
                        Verdict::AsUsual
                    }
                }
                _ if !exists && brought != Some(Brought::Removed) => Verdict::AsUsual,
                _ if changed.as_ref().is_none_or(|changed| changed.contains(path)) => {
                    if copied {
                        Verdict::Omit
                    } else {
                        Verdict::AsUsual
                    }
                }
                _ if !listing.tracked.contains(path) => Verdict::Leave,
                Some(Brought::Added) | None => Verdict::Remove,
                Some(Brought::Changed | Brought::Removed) => {
                    let paths = match &mut taken {
                        Some(paths) => paths,
                        None => taken.insert(self.repo.changed_paths(self.base(), parent)?),
                    };
                    if paths.contains(path) { Verdict::AsUsual } else { Verdict::Leave }
                }
            };
            if !matches!(verdict, Verdict::AsUsual) {
                verdicts.insert(path.clone(), verdict);
            }
        }
        Ok(verdicts)
    }

    /// Whether neither content nor rights of a file changed after a time. An agent cannot set this time.
    fn is_older(&self, path: &Path, than: (i64, i64)) -> bool {
        let meta = fs::symlink_metadata(self.path().join(path));
        meta.is_ok_and(|meta| (meta.ctime(), meta.ctime_nsec()) <= than)
    }

    /// Paths of set-up that a reset to a commit leaves as they are: those that the commit does not have, and those of which
    /// it has only the version that was there before set-up.
    pub(crate) fn kept_by_reset(&self, commit: &Oid) -> Result<KeptPaths> {
        let mut kept = KeptPaths::default();
        let baseline = self.baseline()?.unwrap_or_default();
        let staying = self.staying_paths()?;
        if baseline.brought.is_empty() && baseline.copied.is_empty() && staying.is_empty() {
            return Ok(kept);
        }
        let in_commit: HashSet<PathBuf> = self.repo.list_tree(commit, None)?.into_iter().map(|entry| entry.path).collect();
        let changed = self.repo.changed_paths(self.base(), commit)?;
        let exists = |path: &Path| fs::symlink_metadata(self.path().join(path)).is_ok();
        let all = baseline.brought.keys().chain(&baseline.copied);
        let brought = all.filter(|path| {
            let removed = baseline.brought.get(*path) == Some(&Brought::Removed);
            exists(path) != removed && !changed.contains(*path)
        });
        for path in brought.chain(staying.iter().filter(|path| exists(path))) {
            let list = if in_commit.contains(path) { &mut kept.tracked } else { &mut kept.untracked };
            list.insert(path.clone());
        }
        Ok(kept)
    }

    /// Remembers which files the newest checkpoint could not take: no reset removes them.
    pub(crate) fn remember_staying<'a>(&self, paths: impl Iterator<Item = &'a Path>) -> Result<()> {
        let mut bytes = Vec::new();
        for path in paths {
            bytes.extend_from_slice(path.as_os_str().as_bytes());
            bytes.push(0);
        }
        let file = self.staying_file();
        if !bytes.is_empty() {
            return write_whole(&file, &bytes);
        }
        match fs::remove_file(&file) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(Error::io("remove", file)(e)),
            _ => Ok(()),
        }
    }

    fn staying_paths(&self) -> Result<Vec<PathBuf>> {
        let bytes = plain_file::read_if_there(&self.staying_file(), LIST_BYTES_MAX)?.unwrap_or_default();
        Ok(names::paths(&bytes).collect())
    }

    /// Its name is that of earlier versions, in which only content filters kept files out.
    fn staying_file(&self) -> PathBuf {
        self.record().join("filtered")
    }
}

/// Paths that a reset leaves as they are.
#[derive(Debug, Default)]
pub(crate) struct KeptPaths {
    /// The commit has another version of them.
    pub tracked: BTreeSet<PathBuf>,
    /// The commit does not have them.
    pub untracked: BTreeSet<PathBuf>,
}

impl KeptPaths {
    pub(crate) fn contains(&self, path: &Path) -> bool {
        self.tracked.contains(path) || self.untracked.contains(path)
    }
}

impl Baseline {
    /// Whether a nested repository with commits was there before the agent.
    pub(crate) fn has_history(&self, folder: &Path) -> bool {
        self.histories.contains(folder)
    }

    pub(crate) fn is_brought(&self, path: &Path) -> bool {
        self.brought.contains_key(path)
    }

    pub(crate) fn is_copied(&self, path: &Path) -> bool {
        self.copied.contains(path)
    }

    pub(crate) fn has_copied(&self) -> bool {
        !self.copied.is_empty()
    }

    pub(crate) fn has_copied_size(&self, size: u64) -> bool {
        self.contents.iter().any(|(known, _)| *known == size)
    }

    pub(crate) fn has_copied_content(&self, size: u64, hash: &str) -> bool {
        self.contents.contains(&(size, hash.to_owned()))
    }

    /// Ignore rules that match the copied files and nothing else.
    pub(crate) fn rules_for_copied(&self) -> Vec<u8> {
        let mut rules = Vec::new();
        // A path with a line end cannot be written as a rule.
        for path in self.copied.iter().filter(|path| !path.as_os_str().as_bytes().contains(&b'\n')) {
            rules.push(b'/');
            for byte in path.as_os_str().as_bytes() {
                if b"\\*?[ ".contains(byte) {
                    rules.push(b'\\');
                }
                rules.push(*byte);
            }
            rules.push(b'\n');
        }
        rules
    }

    fn ignored_before(&self, path: &Path) -> bool {
        path.ancestors().any(|part| self.ignored.contains(part))
    }

    /// Rows of `<tag> <path>\0`. The last one is a hash of all before it: a damaged list must not be read as a shorter one,
    /// for then a copied file would be committed.
    fn encode(&self) -> Vec<u8> {
        let (seconds, nanoseconds) = self.recorded_at;
        let mut bytes = format!("t {seconds}.{nanoseconds}\0").into_bytes();
        let mut row = |tag: &[u8], path: &Path| {
            bytes.extend_from_slice(tag);
            bytes.extend_from_slice(path.as_os_str().as_bytes());
            bytes.push(0);
        };
        self.copied.iter().for_each(|path| row(b"c ", path));
        self.contents.iter().for_each(|(size, hash)| row(b"s ", Path::new(&format!("{size} {hash}"))));
        for (path, brought) in &self.brought {
            let tag = match brought {
                Brought::Added => b"a ",
                Brought::Changed => b"m ",
                Brought::Removed => b"r ",
            };
            row(tag, path);
        }
        self.histories.iter().for_each(|path| row(b"h ", path));
        self.ignored.iter().for_each(|path| row(b"i ", path));
        bytes.extend_from_slice(END_TAG);
        let end = names::hex(&Sha256::digest(&bytes));
        bytes.extend_from_slice(end.as_bytes());
        bytes.push(0);
        bytes
    }

    /// `None` for bytes that are not a whole list.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let (signed, end) = bytes.split_at_checked(bytes.len().checked_sub(END_HASH_BYTES + 1)?)?;
        if !signed.ends_with(END_TAG) || end.strip_suffix(b"\0")? != names::hex(&Sha256::digest(signed)).as_bytes() {
            return None;
        }
        let mut baseline = Self::default();
        for row in names::rows(&signed[..signed.len() - END_TAG.len()]) {
            let Some((tag, rest)) = row.split_first_chunk::<2>() else { continue };
            let path = names::path(rest);
            match tag {
                b"t " => {
                    let text = String::from_utf8_lossy(rest);
                    let (seconds, nanoseconds) = text.split_once('.').unwrap_or_default();
                    let number = |text: &str| text.parse().unwrap_or_default();
                    baseline.recorded_at = (number(seconds), number(nanoseconds));
                }
                b"s " => {
                    let text = String::from_utf8_lossy(rest);
                    let content = text.split_once(' ').and_then(|(size, hash)| Some((size.parse().ok()?, hash.to_owned())));
                    baseline.contents.extend(content);
                }
                b"c " => drop(baseline.copied.insert(path)),
                b"a " => drop(baseline.brought.insert(path, Brought::Added)),
                b"m " => drop(baseline.brought.insert(path, Brought::Changed)),
                b"r " => drop(baseline.brought.insert(path, Brought::Removed)),
                b"h " => drop(baseline.histories.insert(path)),
                b"i " => drop(baseline.ignored.insert(path)),
                _ => {}
            }
        }
        Some(baseline)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s6_a_damaged_list_of_copied_files_is_read_as_none() {
        let baseline = Baseline {
            recorded_at: (7, 9),
            copied: [PathBuf::from(".env")].into(),
            contents: [(6, "ab".repeat(32))].into(),
            brought: [(PathBuf::from(".env"), Brought::Added)].into(),
            ..Baseline::default()
        };
        let whole = baseline.encode();
        let read = Baseline::decode(&whole).unwrap();
        assert_eq!((read.recorded_at, &read.copied), (baseline.recorded_at, &baseline.copied));
        assert_eq!((&read.contents, &read.brought), (&baseline.contents, &baseline.brought));
        for length in 0..whole.len() {
            assert!(Baseline::decode(&whole[..length]).is_none(), "cut at {length}");
            let mut damaged = whole.clone();
            damaged[length] ^= 1;
            assert!(Baseline::decode(&damaged).is_none(), "damaged at {length}");
        }
    }
}
