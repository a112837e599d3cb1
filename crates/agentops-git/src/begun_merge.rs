//! The note of a merge into the user's checkout that git has begun, and how such a merge is taken back.
//!
//! Git stages a merge before it runs the first hook, and writes `MERGE_HEAD` after it. What ends git in between leaves a
//! staged merge that nobody knows of. So a note is on the disk before git begins, in the checkout's own git directory, and
//! goes when the merge is committed or taken back. After `kill -9` of everything the next merge finds it.
//!
//! Everything is decided path by path: only a path whose index entry and file are what the merge puts there gets the version of
//! `HEAD` again. A file that git did not write whole, because it was killed or the disk was full, is what the merge puts there
//! too. Every other path was changed by somebody since; it stays as it is and is named.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::boundary::boundary;
use crate::error::{Error, Result};
use crate::merge::MergeResult;
use crate::names;
use crate::objects::look_up;
use crate::oid::Oid;
use crate::plain::write_durable;
use crate::plain_file;
use crate::remove::remove_all;
use crate::repo::Repo;
use crate::repository_id::FOLDER;
use crate::run::Call;
use crate::temporary::sync_folder;
use crate::user_merge::UNFINISHED;

const NOTE_FILE: &str = "begun-merge";
const FORMAT: u32 = 1;
const NOTE_BYTES_MAX: u64 = 64 << 10;
/// A half written file that is larger is left and named.
const HALF_BYTES_MAX: u64 = 64 << 20;
/// Paths that one call of git gets as arguments.
const PATHS_PER_CALL: usize = 200;
/// How the branches of ours begin.
const BRANCHES: &str = "agentops/";
const SUBMODULE: u32 = 0o160_000;

/// A merge into the checkout that was begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BegunMerge {
    format: u32,
    /// The branch of ours that is merged, without `refs/heads/`.
    branch: String,
    head: String,
    theirs: String,
    tree: String,
}

/// What was done about a merge that did not become a commit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TakenBack {
    /// The branch of ours that was to be merged.
    pub branch: String,
    /// Paths that have the version of `HEAD` again.
    pub put_back: Vec<PathBuf>,
    /// Paths that differ from `HEAD` and were left: they are not as the merge put them there.
    pub left: Vec<PathBuf>,
}

/// What a tree or an index has at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PathEntry {
    mode: u32,
    oid: Oid,
}

/// A path that the merge changes.
#[derive(Debug, Clone)]
pub(crate) struct MergedPath {
    pub(crate) path: PathBuf,
    pub(crate) before: Option<PathEntry>,
    merged: Option<PathEntry>,
}

impl BegunMerge {
    pub(crate) fn new(branch: &str, head: &Oid, theirs: &Oid, tree: &Oid) -> Self {
        let [head, theirs, tree] = [head, theirs, tree].map(|oid| oid.as_str().to_owned());
        Self { format: FORMAT, branch: branch.to_owned(), head, theirs, tree }
    }

    /// One of this version; `None`: the file is none.
    pub(crate) fn read(path: &Path) -> Option<Self> {
        Self::parse(&plain_file::read(path, NOTE_BYTES_MAX).ok()?)
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let note = serde_json::from_slice::<Self>(bytes).ok();
        note.filter(|note| note.format == FORMAT && note.is_well_formed())
    }

    /// The branch of ours that is merged.
    #[must_use]
    pub fn branch(&self) -> &str {
        &self.branch
    }

    /// The commit that was checked out.
    pub(crate) fn head(&self) -> Result<Oid> {
        self.head.parse()
    }

    /// The commit that is merged, as `MERGE_HEAD` has it.
    pub(crate) fn theirs(&self) -> &str {
        &self.theirs
    }

    /// Whether the names in it are of the form that ours have.
    fn is_well_formed(&self) -> bool {
        let is_ours = self.branch.strip_prefix(BRANCHES).is_some_and(|run| names::check_lane(run).is_ok());
        let oids = [&self.head, &self.theirs, &self.tree];
        is_ours && oids.into_iter().all(|oid| oid.parse::<Oid>().is_ok())
    }

    /// The merged tree.
    pub(crate) fn tree(&self) -> Result<Oid> {
        self.tree.parse()
    }
}

impl Repo {
    /// The merge into this checkout that was begun and neither committed nor taken back. It may be at work just now. Looks, and
    /// changes nothing.
    ///
    /// # Errors
    /// [`Error::MergeNoteUnknown`] for a note that says nothing which could be taken back.
    pub fn begun_merge(&self) -> Result<Option<BegunMerge>> {
        let Some(note) = self.read_merge_note()? else { return Ok(None) };
        Ok((self.has_commits_of(&note)? && !self.is_committed(&note)?).then_some(note))
    }

    /// Takes back a merge that was interrupted before it became a commit. `None`: there was none, or nothing is left of it.
    ///
    /// # Errors
    /// [`Error::MergeAtWork`] while git still works on it, also when the program that started git was killed.
    /// [`Error::MergedOtherwise`] once if it became a commit that is not what was tested.
    /// [`Error::MergeNoteUnknown`] for a note that says nothing which could be taken back.
    pub fn take_back_begun_merge(&self) -> Result<Option<TakenBack>> {
        let _lock = self.lock_merges()?;
        let Some(note) = self.read_merge_note()? else { return Ok(None) };
        if !self.has_commits_of(&note)? {
            return self.remove_merge_note().map(|()| None);
        }
        if self.is_committed(&note)? {
            // What the user has committed on top of it is theirs.
            let head = self.head()?.commit;
            return match self.first_parent(&head)? == Some(note.head()?) {
                true => self.end_committed(&note, &head).map(|()| None),
                false => self.remove_merge_note().map(|()| None),
            };
        }
        self.check_is_merge_of_its_branch(&note)?;
        self.take_back(&note).map(Some)
    }

    pub(crate) fn write_merge_note(&self, note: &BegunMerge) -> Result<()> {
        let path = self.merge_note()?;
        let unwritten = |e: serde_json::Error| Error::io("write", &path)(e.into());
        write_durable(&path, &serde_json::to_vec(note).map_err(unwritten)?)?;
        boundary("merge-noted");
        Ok(())
    }

    pub(crate) fn remove_merge_note(&self) -> Result<()> {
        let path = self.merge_note()?;
        remove_all(&path)?;
        if let Some(folder) = path.parent() {
            sync_folder(folder).map_err(Error::io("sync", folder))?;
        }
        boundary("merge-note-removed");
        Ok(())
    }

    fn merge_note(&self) -> Result<PathBuf> {
        Ok(self.own_folder_of_checkout()?.join(NOTE_FILE))
    }

    fn read_merge_note(&self) -> Result<Option<BegunMerge>> {
        let path = self.note_file();
        let bytes = match plain_file::read(&path, NOTE_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(e) if plain_file::is_absent(&e) => return Ok(None),
            Err(e) if plain_file::is_no_such_file(&e) => return Err(self.unknown_note("it is not a file of ours")),
            Err(e) => return Err(Error::io("read", path)(e)),
        };
        let note = BegunMerge::parse(&bytes);
        note.map(Some).ok_or_else(|| self.unknown_note("it is not one of this version"))
    }

    fn note_file(&self) -> PathBuf {
        note_in(self.git_dir())
    }

    fn unknown_note(&self, why: &'static str) -> Error {
        Error::MergeNoteUnknown { path: self.note_file(), why }
    }

    /// Whether the commits of the merge are there. Where they are gone, the user has cleaned up since, and the checkout has no
    /// change that could be the merge's.
    fn has_commits_of(&self, note: &BegunMerge) -> Result<bool> {
        let found = look_up(self.plain()?, [&note.head, &note.theirs].into_iter())?;
        if found.iter().flatten().any(|object| object.kind != "commit") {
            return Err(self.unknown_note("it names no commits"));
        }
        if found.iter().all(Option::is_some) {
            return Ok(true);
        }
        let args = ["status", "--porcelain", "-z", "--untracked-files=no", "--ignore-submodules=all"];
        match self.as_user_without_hooks().args(args).long().ok()?.is_empty() {
            true => Ok(false),
            false => Err(self.unknown_note("its commits are gone from the repository, and the checkout has changes")),
        }
    }

    /// Whether the note says what a merge of ours puts into the checkout. An agent that can write here could have the user's own
    /// work taken back.
    fn check_is_merge_of_its_branch(&self, note: &BegunMerge) -> Result<()> {
        let (head, theirs) = (note.head()?, note.theirs.parse()?);
        let names = [
            format!("refs/heads/{}", note.branch),
            format!("refs/agentops/discarded/{}", note.branch.strip_prefix(BRANCHES).unwrap_or_default()),
        ];
        for name in names {
            let Some(tip) = self.read_ref(&name)? else { continue };
            if self.merge_base(&tip, &theirs)?.as_ref() != Some(&theirs) {
                continue;
            }
            return match self.merge(&head, &theirs, None)? {
                MergeResult::Clean { tree } if tree == note.tree()? => Ok(()),
                _ => Err(self.unknown_note("what it says is not the merge of its commits")),
            };
        }
        Err(self.unknown_note("its branch does not have the commit that was merged"))
    }

    /// Whether the merge became a commit, by git that we did not see end or by the user.
    fn is_committed(&self, note: &BegunMerge) -> Result<bool> {
        let theirs: Oid = note.theirs.parse()?;
        let head = self.head()?.commit;
        Ok(self.merge_base(&head, &theirs)?.as_ref() == Some(&theirs))
    }

    /// Removes the note of a merge that is the commit `made` now.
    ///
    /// # Errors
    /// [`Error::MergedOtherwise`] if the tree of that commit is not the tree that was tested: the user's git has settings, merge
    /// drivers and hooks of its own.
    pub(crate) fn end_committed(&self, note: &BegunMerge, made: &Oid) -> Result<()> {
        let differ = self.changed_paths(&note.tree()?, &self.tree_of(made)?)?;
        self.remove_merge_note()?;
        if differ.is_empty() {
            return Ok(());
        }
        let mut paths: Vec<PathBuf> = differ.into_iter().collect();
        paths.sort();
        Err(Error::MergedOtherwise { branch: note.branch.clone(), commit: made.clone(), before: note.head()?, paths })
    }

    fn first_parent(&self, commit: &Oid) -> Result<Option<Oid>> {
        let parent = format!("{commit}^1");
        let out = self.plain()?.args(["rev-parse", "--verify", "--quiet", "--end-of-options", &parent]).ok_or_code(&[1])?;
        if out.code == Some(1) { Ok(None) } else { Oid::parse(&out.stdout, "rev-parse").map(Some) }
    }

    /// Takes back a merge that no process works on any more, and removes its note.
    pub(crate) fn take_back(&self, note: &BegunMerge) -> Result<TakenBack> {
        let ours = fs::read_to_string(self.git_dir().join("MERGE_HEAD")).is_ok_and(|text| text.trim() == note.theirs);
        let mut unfinished = UNFINISHED.iter().filter(|(file, _)| self.git_dir().join(file).exists());
        if let Some((_, what)) = unfinished.find(|(file, _)| !ours || *file != "MERGE_HEAD") {
            return Err(Error::InProgress { what, path: self.work_tree().to_owned() });
        }
        let taken = self.put_back(note)?;
        boundary("merge-put-back");
        // Git forgets the merge, and leaves index and files as they are.
        self.as_user_without_hooks().args(["merge", "--quit"]).ok()?;
        self.remove_merge_note()?;
        Ok(taken)
    }

    fn put_back(&self, note: &BegunMerge) -> Result<TakenBack> {
        let (head, tree) = (note.head()?, note.tree()?);
        let now = self.head()?.commit;
        // The user may have committed or switched since.
        let moved = self.changed_paths(&head, &now)?;
        let merged = self.merged_paths(&head, &tree)?;
        let staged = self.staged(&now)?;
        let files = FilesOfMerge::look(self, &merged)?;
        let absent: Vec<&Path> = merged.iter().map(|one| one.path.as_path()).filter(|path| self.is_absent(path)).collect();
        let sparse = self.outside_of_sparse_checkout(&absent)?;

        let mut taken = TakenBack { branch: note.branch.clone(), ..TakenBack::default() };
        let (mut both, mut index_only, mut file_only) = (Vec::new(), Vec::new(), Vec::new());
        for one in &merged {
            let path = &one.path;
            let entry = staged.get(path).map_or(one.before.as_ref(), Option::as_ref);
            let (entry_is_heads, entry_is_merges) = (entry == one.before.as_ref(), entry == one.merged.as_ref());
            let (file_is_heads, file_is_merges) = match (&one.before, &one.merged) {
                // Such a file is neither written by the merge nor missed.
                _ if sparse.contains(path) => (true, false),
                (before, merged) => {
                    let absent = self.is_absent(path);
                    let is = |entry: &Option<PathEntry>, same: &HashSet<PathBuf>| match entry {
                        Some(_) => same.contains(path),
                        None => absent,
                    };
                    (is(before, &files.same_as_before), is(merged, &files.same_as_merged))
                }
            };
            if moved.contains(path) {
                if staged.contains_key(path) {
                    taken.left.push(path.clone());
                }
                continue;
            }
            match (entry_is_heads, entry_is_merges, file_is_heads, file_is_merges) {
                (true, _, true, _) => continue,
                (true, _, _, true) if one.before.is_none() => file_only.push(path),
                (true, _, _, true) | (_, true, _, true) => both.push(path),
                (_, true, true, _) => index_only.push(path),
                (true, ..) if self.is_half_written(one)? => match one.before {
                    None => file_only.push(path),
                    Some(_) => both.push(path),
                },
                _ => {
                    taken.left.push(path.clone());
                    continue;
                }
            }
            taken.put_back.push(path.clone());
        }
        // First of all what makes space, where the disk is full.
        for path in file_only {
            self.remove_file_of_merge(path)?;
        }
        let restore = ["restore", "--source=HEAD", "--staged", "--worktree"];
        self.on_paths(&both, self.as_user_without_hooks().args(restore))?;
        self.on_paths(&index_only, self.as_user_without_hooks().args(["reset", "--quiet"]).env("GIT_OPTIONAL_LOCKS", "1"))?;
        Ok(taken)
    }

    /// Whether git took the file of `HEAD` away, or began to write the merged one: it holds nothing but a beginning of that.
    fn is_half_written(&self, one: &MergedPath) -> Result<bool> {
        if self.is_absent(&one.path) {
            return Ok(one.before.is_some());
        }
        let Some(merged) = one.merged.as_ref().filter(|merged| merged.mode != SUBMODULE) else { return Ok(false) };
        let Ok(written) = plain_file::read(&self.work_tree().join(&one.path), HALF_BYTES_MAX) else { return Ok(false) };
        // The merged file may be larger than what git may print.
        let beginning = self.plain()?.args(["cat-file", "blob", merged.oid.as_str()]).cut_at(written.len()).long().ok()?;
        Ok(beginning == written)
    }

    /// Runs git on many paths.
    fn on_paths(&self, paths: &[&PathBuf], call: Call) -> Result<()> {
        if paths.is_empty() {
            return Ok(());
        }
        let list = paths.iter().flat_map(|path| [path.as_os_str().as_bytes(), b"\0"]).collect::<Vec<_>>().concat();
        call.args(["--pathspec-from-file=-", "--pathspec-file-nul"]).stdin(list).long().ok().map(drop)
    }

    /// Removes a file that the merge added, and the folders that are empty then.
    fn remove_file_of_merge(&self, path: &Path) -> Result<()> {
        let full = self.work_tree().join(path);
        fs::remove_file(&full).map_err(Error::io("remove", &full))?;
        for folder in path.ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty()) {
            if fs::remove_dir(self.work_tree().join(folder)).is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Whether nothing is at a path of the checkout. What lies behind a link is not in the checkout.
    fn is_absent(&self, path: &Path) -> bool {
        let behind_link = path.ancestors().skip(1).any(|above| self.work_tree().join(above).is_symlink());
        behind_link || self.work_tree().join(path).symlink_metadata().is_err()
    }

    /// The paths that differ between two commits or trees, with what each has there.
    pub(crate) fn merged_paths(&self, before: &Oid, merged: &Oid) -> Result<Vec<MergedPath>> {
        let args = ["diff-tree", "-r", "--raw", "-z", "--no-renames", "--no-abbrev", "--end-of-options"];
        let out = self.plain()?.args(args).args([before.as_str(), merged.as_str()]).long().ok()?;
        raw_rows(&out)
    }

    /// Paths of the index that differ from this commit, with their entries. An entry with conflicts is none.
    pub(crate) fn staged(&self, commit: &Oid) -> Result<BTreeMap<PathBuf, Option<PathEntry>>> {
        let args = ["diff-index", "--cached", "--raw", "-z", "--no-renames", "--no-abbrev", "--end-of-options"];
        let out = self.guarded().args(args).arg(commit.as_str()).long().ok()?;
        Ok(raw_rows(&out)?.into_iter().map(|row| (row.path, row.merged)).collect())
    }

    /// Those of these paths that git keeps out of the checkout on the user's wish.
    fn outside_of_sparse_checkout(&self, paths: &[&Path]) -> Result<HashSet<PathBuf>> {
        let mut sparse = HashSet::new();
        for some in paths.chunks(PATHS_PER_CALL) {
            let call = self.guarded().args(["ls-files", "-t", "-z", "--"]).args(some.iter().map(|path| path.as_os_str()));
            let out = call.ok()?;
            sparse.extend(names::rows(&out).filter_map(|row| row.strip_prefix(b"S ")).map(names::path));
        }
        Ok(sparse)
    }

    /// Those of these paths whose file in the checkout is this entry, as the user's git and its content filters see it.
    pub(crate) fn files_that_are(&self, entries: &[(&Path, &PathEntry)]) -> Result<HashSet<PathBuf>> {
        let mut lines = Vec::new();
        let comparable = || entries.iter().filter(|(_, entry)| entry.mode != SUBMODULE);
        for (path, entry) in comparable() {
            lines.extend_from_slice(format!("{:o} {}\t", entry.mode, entry.oid).as_bytes());
            lines.extend_from_slice(path.as_os_str().as_bytes());
            lines.push(0);
        }
        if lines.is_empty() {
            return Ok(HashSet::new());
        }
        let room = self.scratch()?;
        let index = room.path().join("index");
        let on_index = || {
            let settings = ["core.splitIndex=false", "core.untrackedCache=false"];
            let call = self.as_user_without_hooks().args(settings.iter().flat_map(|setting| ["-c", setting]));
            call.preamble().env("GIT_INDEX_FILE", &index).long()
        };
        on_index().args(["update-index", "-z", "--index-info"]).stdin(lines).ok()?;
        on_index().args(["update-index", "-q", "--refresh"]).ok_or_code(&[1])?;
        let out = on_index().args(["diff-files", "--name-only", "-z"]).ok()?;
        let different: HashSet<PathBuf> = names::paths(&out).collect();
        Ok(comparable().map(|(path, _)| path.to_path_buf()).filter(|path| !different.contains(path)).collect())
    }
}

/// The note of a merge into the checkout with this git directory.
pub(crate) fn note_in(git_dir: &Path) -> PathBuf {
    git_dir.join(FOLDER).join(NOTE_FILE)
}

/// What the files in the checkout are at the paths that a merge changes.
struct FilesOfMerge {
    same_as_before: HashSet<PathBuf>,
    same_as_merged: HashSet<PathBuf>,
}

impl FilesOfMerge {
    fn look(repo: &Repo, merged: &[MergedPath]) -> Result<Self> {
        let entries = |of: fn(&MergedPath) -> Option<&PathEntry>| -> Vec<(&Path, &PathEntry)> {
            merged.iter().filter_map(|one| Some((one.path.as_path(), of(one)?))).collect()
        };
        Ok(Self {
            same_as_before: repo.files_that_are(&entries(|one| one.before.as_ref()))?,
            same_as_merged: repo.files_that_are(&entries(|one| one.merged.as_ref()))?,
        })
    }
}

/// Reads rows of `:mode mode oid oid status\0path\0`.
fn raw_rows(out: &[u8]) -> Result<Vec<MergedPath>> {
    let unexpected = || Error::Unexpected { what: "diff --raw".to_owned() };
    let mut rows = Vec::new();
    let mut fields = names::rows(out);
    while let (Some(head), Some(path)) = (fields.next(), fields.next()) {
        let head = std::str::from_utf8(head).ok().and_then(|head| head.strip_prefix(':')).ok_or_else(unexpected)?;
        let [mode_before, mode_after, oid_before, oid_after, status] = *head.split(' ').collect::<Vec<_>>() else {
            return Err(unexpected());
        };
        let entry = |mode: &str, oid: &str| -> Result<Option<PathEntry>> {
            let mode = u32::from_str_radix(mode, 8).map_err(|_| unexpected())?;
            Ok(if mode == 0 { None } else { Some(PathEntry { mode, oid: oid.parse()? }) })
        };
        let conflicts = status == "U";
        let before = if conflicts { None } else { entry(mode_before, oid_before)? };
        let merged = if conflicts { None } else { entry(mode_after, oid_after)? };
        rows.push(MergedPath { path: names::path(path), before, merged });
    }
    Ok(rows)
}
