//! Where an agent left `HEAD`, refs, reflog, stash and worktrees of its lane, read as data.
//!
//! Everything in the lane's git directory is the agent's. Refs are read by hand from small plain files, within bounds. What
//! cannot be read is noted, for it may name commits that nothing else does. A lane's refs have the files format; where the
//! agent moved them to the reftable format, git reads a copy of them (the module `reftable`).
//!
//! A worktree that the agent made may lie anywhere, and its path is only what the agent wrote. It is never followed: whether
//! something is at that place is all that is looked at.

mod reftable;

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use crate::checkpoint::{Omitted, Why};
use crate::error::{Error, Result};
use crate::lanes::{Lane, LaneForm};
use crate::names;
use crate::oid::Oid;
use crate::plain::write_whole;
use crate::plain_file;
use crate::remove::remove_all;
pub(crate) use reftable::head as reftable_head;

/// Bounds on what is read of the agent's refs.
const REFS_MAX: usize = 20_000;
const REF_FILE_BYTES_MAX: u64 = 16 << 20;
const REF_FOLDERS_MAX: usize = 5_000;
const REF_BYTES_MAX: u64 = 4096;
const WORKTREES_MAX: usize = 100;
/// Files of the git directory that are named one by one when they cannot be read.
const UNREAD_MAX: usize = 100;
/// A path and a line end.
const GITDIR_BYTES_MAX: u64 = 4097;

/// Where a lane's `HEAD`, refs and stash are.
#[derive(Default)]
pub(crate) struct AgentRefs {
    /// The commit of `HEAD`.
    pub head: Option<Oid>,
    /// Refs by their full names, but for remote-tracking ones. The stash is `stash@{0}` and so on.
    pub refs: Vec<(String, Oid)>,
    /// Remote-tracking refs: what a remote has needs no other copy.
    pub remote: Vec<Oid>,
    /// What could not be read, from the lane's root.
    unread: BTreeSet<PathBuf>,
    /// Worktrees that exist, from the lane's root if they are in it.
    worktrees: BTreeSet<PathBuf>,
}

impl Lane {
    /// Reads where the agent's `HEAD`, refs and stash are.
    ///
    /// # Errors
    /// Something there cannot be read now. What it names would be lost with the lane.
    pub(crate) fn agent_refs(&self) -> Result<AgentRefs> {
        if self.form != LaneForm::Repository || !plain_file::is_folder(self.git_dir())? {
            return Ok(AgentRefs::default());
        }
        let mut reader = RefReader::new(self.git_dir());
        reader.unread = replaced(self)?;
        reader.read_packed_refs()?;
        reader.read_loose_refs()?;
        let head = reader.read_head(Path::new("HEAD"))?;
        // The newest entry of the stash is a ref, the older ones are in its reflog alone.
        reader.refs.retain(|(name, _)| name != "refs/stash");
        for (index, oid) in reader.read_stash()?.into_iter().rev().enumerate() {
            reader.refs.push((format!("stash@{{{index}}}"), oid));
        }
        let mut reflog = reader.read_reflog(Path::new("logs/HEAD"), head.as_ref())?;
        reflog.extend(reader.read_reflogs_of_branches()?);
        reader.read_under_way(Path::new(""))?;
        let worktrees = reader.read_worktrees(self.path(), &mut reflog)?;
        match reftable::read(self)? {
            reftable::Found::Refs(moved) => {
                reader.refs.extend(moved.refs);
                reflog.extend(moved.left_behind);
            }
            reftable::Found::Unreadable => reader.note_unread("reftable"),
            reftable::Found::Nothing => {}
        }
        // A commit with several names gets the first one: branches say more than tags.
        reader.refs.sort_by_key(|(name, _)| name.starts_with("refs/tags/"));
        // Last of all what no ref leads to.
        reader.refs.extend(reflog.into_iter().map(|oid| (REFLOG.to_owned(), oid)));
        let (remote, refs) = reader.refs.into_iter().partition(|(name, _)| name.starts_with("refs/remotes/"));
        let remote = Vec::into_iter(remote).map(|(_, oid)| oid).collect();
        Ok(AgentRefs { head, refs, remote, unread: reader.unread, worktrees })
    }

    /// What the lane's git directory leads to and no checkpoint holds: refs that cannot be read, and worktrees with what is not
    /// committed in them. A worktree that these name already, as a nested repository, is left out.
    pub(crate) fn omitted_of_agents_git(&self, named: &[Omitted]) -> Result<Vec<Omitted>> {
        let found = self.agent_refs()?;
        let is_named = |path: &PathBuf| named.iter().any(|omitted| omitted.path == *path);
        let worktrees = found.worktrees.into_iter().filter(|path| !is_named(path));
        let worktrees = worktrees.map(|path| Omitted::new(path, Why::Worktree));
        let unread = found.unread.into_iter().map(|path| Omitted::new(path, Why::Refs));
        Ok(unread.chain(worktrees).collect())
    }
}

/// Notes that something of the agent's lies where the lane's git directory or a folder of it should be, before that is removed:
/// a link, or the file with which `git init --separate-git-dir` leads elsewhere. Where nothing lies, there is nothing to note.
pub(crate) fn note_replaced(lane: &Lane, folder: &Path) -> Result<()> {
    let found = plain_file::look_at(&lane.path().join(folder))?;
    // Git leaves a file there when the refs have the reftable format, which is read.
    let is_moved = folder == Path::new(".git/refs/heads") && plain_file::is_folder(&lane.git_dir().join("reftable"))?;
    if found.is_none_or(|meta| meta.is_dir()) || is_moved {
        return Ok(());
    }
    let mut noted = replaced(lane)?;
    noted.insert(folder.to_owned());
    let list: String = noted.iter().map(|path| format!("{}\n", path.display())).collect();
    write_whole(&replaced_file(lane), list.as_bytes())
}

/// Forgets what was noted, when the lane begins anew.
pub(crate) fn forget_replaced(lane: &Lane) -> Result<()> {
    remove_all(&replaced_file(lane))
}

fn replaced(lane: &Lane) -> Result<BTreeSet<PathBuf>> {
    let list = plain_file::read_if_there(&replaced_file(lane), REF_BYTES_MAX)?.unwrap_or_default();
    Ok(String::from_utf8_lossy(&list).lines().map(PathBuf::from).collect())
}

fn replaced_file(lane: &Lane) -> PathBuf {
    lane.record().join("replaced")
}

/// Reads files of an agent's git directory. All paths are relative to it.
struct RefReader<'a> {
    git_dir: &'a Path,
    refs: Vec<(String, Oid)>,
    unread: BTreeSet<PathBuf>,
}

impl<'a> RefReader<'a> {
    fn new(git_dir: &'a Path) -> Self {
        Self { git_dir, refs: Vec::new(), unread: BTreeSet::new() }
    }

    fn note_unread(&mut self, path: impl AsRef<Path>) {
        let all = Path::new(".git");
        self.unread.insert(if self.unread.len() < UNREAD_MAX { all.join(path) } else { all.to_owned() });
    }

    /// The bytes of a plain file. What is there and no plain file of that size is noted.
    fn read(&mut self, path: &Path, bytes_max: u64) -> Result<Option<Vec<u8>>> {
        let full = self.git_dir.join(path);
        match plain_file::read(&full, bytes_max) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if plain_file::is_absent(&e) => Ok(None),
            Err(e) if plain_file::is_no_such_file(&e) => {
                self.note_unread(path);
                Ok(None)
            }
            Err(e) => Err(Error::io("read", full)(e)),
        }
    }

    /// The one line of a ref or a `HEAD`.
    fn read_line(&mut self, path: &Path) -> Result<Option<String>> {
        let bytes = self.read(path, REF_BYTES_MAX)?;
        Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).trim_end().to_owned()))
    }

    /// The commit that a `HEAD` names, directly or by one of the refs that were read.
    fn read_head(&mut self, path: &Path) -> Result<Option<Oid>> {
        let Some(text) = self.read_line(path)? else { return Ok(None) };
        Ok(match text.strip_prefix("ref: ") {
            Some(name) => self.refs.iter().find(|(known, _)| known == name).map(|(_, oid)| oid.clone()),
            None => text.parse().ok(),
        })
    }

    fn read_packed_refs(&mut self) -> Result<()> {
        let file = Path::new("packed-refs");
        let bytes = self.read(file, REF_FILE_BYTES_MAX)?.unwrap_or_default();
        let is_about_a_ref = |line: &&[u8]| !line.is_empty() && !line.starts_with(b"#") && !line.starts_with(b"^");
        for line in bytes.split(|b| *b == b'\n').filter(is_about_a_ref) {
            let line = String::from_utf8_lossy(line);
            let (oid, name) = line.split_once(' ').unwrap_or_default();
            let Some(oid) = oid.parse().ok().filter(|_| names::check_ref(name).is_ok()) else {
                self.note_unread(file);
                continue;
            };
            if self.refs.len() == REFS_MAX {
                self.note_unread(file);
                break;
            }
            self.refs.push((name.to_owned(), oid));
        }
        Ok(())
    }

    /// Loose refs take the place of packed ones.
    fn read_loose_refs(&mut self) -> Result<()> {
        let mut known: HashMap<String, usize> =
            self.refs.iter().enumerate().map(|(index, (name, _))| (name.clone(), index)).collect();
        let mut folders = vec![PathBuf::from("refs")];
        let mut looked_at = 0;
        while let Some(folder) = folders.pop() {
            looked_at += 1;
            if looked_at > REF_FOLDERS_MAX {
                self.note_unread("refs");
                break;
            }
            for entry in self.entries(&folder)? {
                let path = folder.join(entry.file_name());
                if entry.file_type().map_err(Error::io("look at", entry.path()))?.is_dir() {
                    folders.push(path);
                    continue;
                }
                let name = path.to_string_lossy().into_owned();
                // Git takes no such file for a ref: a lock of its own, or an editor's copy.
                if names::check_ref(&name).is_err() {
                    if name.len() > names::REF_BYTES_MAX {
                        self.note_unread(&folder);
                    }
                    continue;
                }
                let Some(text) = self.read_line(&path)? else { continue };
                let Ok(oid) = text.parse::<Oid>() else {
                    if !text.starts_with("ref: ") {
                        self.note_unread(&path);
                    }
                    continue;
                };
                match known.get(&name) {
                    Some(index) => self.refs[*index].1 = oid,
                    None if self.refs.len() == REFS_MAX => self.note_unread("refs"),
                    None => {
                        known.insert(name.clone(), self.refs.len());
                        self.refs.push((name, oid));
                    }
                }
            }
        }
        Ok(())
    }

    /// The stash from its reflog, oldest first.
    fn read_stash(&mut self) -> Result<Vec<Oid>> {
        let Some(bytes) = self.read(Path::new("logs/refs/stash"), REF_FILE_BYTES_MAX)? else {
            // Without a reflog the newest entry is still a ref.
            let newest = self.read_line(Path::new("refs/stash"))?;
            return Ok(newest.and_then(|text| text.parse().ok()).into_iter().collect());
        };
        let text = String::from_utf8_lossy(&bytes);
        Ok(text.lines().filter_map(|line| line.split(' ').nth(1)?.parse().ok()).collect())
    }

    /// Commits that a `HEAD` or branch was on and left, by its reflog, and the one that it was on last: where it could not be
    /// read itself, or is gone, nothing else names that one. `now`: where it is.
    fn read_reflog(&mut self, path: &Path, now: Option<&Oid>) -> Result<Vec<Oid>> {
        let Some(bytes) = self.read(path, REF_FILE_BYTES_MAX)? else { return Ok(Vec::new()) };
        let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let steps: Vec<Step> = lines.filter_map(Step::parse).collect();
        let mut left = left_behind(&steps);
        left.extend(steps.last().and_then(|step| step.to.clone()).filter(|last| now != Some(last)));
        let bound = left.len().saturating_sub(REFS_MAX);
        if bound > 0 {
            self.note_unread(path);
        }
        Ok(left.split_off(bound))
    }

    /// As [`Self::read_reflog`], for each branch that has a reflog.
    fn read_reflogs_of_branches(&mut self) -> Result<Vec<Oid>> {
        let mut left = Vec::new();
        let mut folders = vec![PathBuf::from("logs/refs/heads")];
        let mut looked_at = 0;
        while let Some(folder) = folders.pop() {
            for entry in self.entries(&folder)? {
                looked_at += 1;
                if looked_at > REF_FOLDERS_MAX || left.len() > REFS_MAX {
                    self.note_unread("logs/refs/heads");
                    return Ok(left);
                }
                let path = folder.join(entry.file_name());
                if entry.file_type().map_err(Error::io("look at", entry.path()))?.is_dir() {
                    folders.push(path);
                    continue;
                }
                let name = path.strip_prefix("logs").unwrap_or(&path).to_string_lossy().into_owned();
                let now = self.refs.iter().find(|(known, _)| *known == name).map(|(_, oid)| oid.clone());
                left.extend(self.read_reflog(&path, now.as_ref())?);
            }
        }
        Ok(left)
    }

    /// Adds what a merge or rebase under way in this git directory was begun from: the commit before a rebase, and the changes
    /// without a commit that git put aside.
    fn read_under_way(&mut self, git_dir: &Path) -> Result<()> {
        let mut files = vec![git_dir.join(MERGE_AUTOSTASH)];
        for folder in ["rebase-merge", "rebase-apply"].map(|name| git_dir.join(name)) {
            if plain_file::is_folder(&self.git_dir.join(&folder))? {
                files.extend(["autostash", "orig-head"].map(|name| folder.join(name)));
            }
        }
        for file in files {
            let Some(text) = self.read_line(&file)? else { continue };
            match text.parse() {
                Ok(oid) => self.refs.push((file.to_string_lossy().into_owned(), oid)),
                Err(_) => self.note_unread(&file),
            }
        }
        Ok(())
    }

    /// Adds what worktrees of the lane's repository stand on, and returns those that exist.
    fn read_worktrees(&mut self, lane: &Path, reflog: &mut Vec<Oid>) -> Result<BTreeSet<PathBuf>> {
        let mut found = BTreeSet::new();
        let folder = Path::new("worktrees");
        let entries = self.entries(folder)?;
        if entries.len() > WORKTREES_MAX {
            self.note_unread(folder);
        }
        for entry in entries.iter().take(WORKTREES_MAX) {
            let name = entry.file_name();
            let git_dir = folder.join(&name);
            if !plain_file::is_folder(&self.git_dir.join(&git_dir))? {
                self.note_unread(&git_dir);
                continue;
            }
            let head = self.read_head(&git_dir.join("HEAD"))?;
            reflog.extend(self.read_reflog(&git_dir.join("logs/HEAD"), head.as_ref())?);
            self.read_under_way(&git_dir)?;
            if let Some(oid) = head {
                self.refs.push((format!("worktrees/{}/HEAD", name.to_string_lossy()), oid));
            }
            let moved = git_dir.join("reftable");
            if plain_file::look_at(&self.git_dir.join(&moved))?.is_some() {
                self.note_unread(moved);
            }
            if let Some(bytes) = self.read(&git_dir.join("gitdir"), GITDIR_BYTES_MAX)? {
                found.extend(worktree_at(&self.git_dir.join(&git_dir), &bytes, lane));
            }
        }
        Ok(found)
    }

    /// What lies in a folder, sorted and bounded; nothing where there is none.
    fn entries(&mut self, folder: &Path) -> Result<Vec<fs::DirEntry>> {
        let full = self.git_dir.join(folder);
        match plain_file::look_at(&full)? {
            None => return Ok(Vec::new()),
            Some(meta) if !meta.is_dir() => {
                self.note_unread(folder);
                return Ok(Vec::new());
            }
            Some(_) => {}
        }
        let listed = fs::read_dir(&full).and_then(|entries| entries.take(REFS_MAX).collect::<std::io::Result<Vec<_>>>());
        let mut listed = listed.map_err(Error::io("read", &full))?;
        if listed.len() == REFS_MAX {
            self.note_unread(folder);
        }
        listed.sort_by_key(fs::DirEntry::file_name);
        Ok(listed)
    }
}

/// The worktree whose `.git` file this text names, if there is one: from the lane's root if it is in the lane.
fn worktree_at(git_dir: &Path, text: &[u8], lane: &Path) -> Option<PathBuf> {
    let file = without_dots(&git_dir.join(names::path(text.strip_suffix(b"\n").unwrap_or(text))));
    let folder = file.parent().filter(|folder| *folder != lane && file.file_name() == Some(".git".as_ref()))?;
    match fs::symlink_metadata(&file) {
        // Nothing has a path with a NUL.
        Err(e) if plain_file::is_absent(&e) || e.kind() == ErrorKind::InvalidInput => None,
        // One that cannot be looked at may be there.
        _ => Some(folder.strip_prefix(lane).unwrap_or(folder).to_owned()),
    }
}

/// A path without `.` and `..`. Links are not followed.
fn without_dots(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => drop(plain.pop()),
            part => plain.push(part),
        }
    }
    plain
}

/// How a commit is named that no ref leads to.
pub(crate) const REFLOG: &str = "a reflog";
/// Steps after which the commit before them is in the history of `HEAD`, or was replaced on purpose.
const BUILDS_ON: [&str; 7] = ["commit", "merge", "pull", "cherry-pick", "revert", "am", "rebase"];
/// Where git puts changes aside while it merges.
const MERGE_AUTOSTASH: &str = "MERGE_AUTOSTASH";

/// One line of a reflog.
struct Step {
    from: Option<Oid>,
    to: Option<Oid>,
    /// What git was asked to do, such as `checkout: moving from main to side`.
    message: Vec<u8>,
}

impl Step {
    /// Reads `<old> <new> <who> <when>\t<message>`.
    fn parse(line: &[u8]) -> Option<Self> {
        let (head, message) = line.split_at(line.iter().position(|byte| *byte == b'\t').unwrap_or(line.len()));
        let mut fields = head.split(|byte| *byte == b' ').map(oid_of);
        let (from, to) = (fields.next()?, fields.next().flatten());
        Some(Self { from, to, message: message.strip_prefix(b"\t").unwrap_or(message).to_vec() })
    }
}

/// The name of an object; none for the one that stands for no object.
fn oid_of(bytes: &[u8]) -> Option<Oid> {
    let oid: Oid = std::str::from_utf8(bytes).ok()?.parse().ok()?;
    oid.as_str().bytes().any(|digit| digit != b'0').then_some(oid)
}

/// Commits that steps of a reflog left: `git checkout` from a detached one, `git reset`.
fn left_behind(steps: &[Step]) -> Vec<Oid> {
    let leaves = |step: &&Step| {
        let verb = step.message.split(|byte| !byte.is_ascii_lowercase() && *byte != b'-').next().unwrap_or_default();
        !BUILDS_ON.iter().any(|known| known.as_bytes() == verb)
    };
    steps.iter().filter(leaves).filter_map(|step| step.from.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p6_what_is_there_and_cannot_be_read_as_a_ref_is_noted() {
        let room = tempfile::tempdir().unwrap();
        let at = |name: &str| room.path().join(name);
        let commit: Oid = "a".repeat(40).parse().unwrap();
        fs::create_dir_all(at("refs/heads/folder")).unwrap();
        fs::write(at("refs/heads/whole"), format!("{commit}\n")).unwrap();
        fs::write(at("refs/heads/symbolic"), "ref: refs/heads/whole\n").unwrap();
        fs::write(at("refs/heads/whole.lock"), "").unwrap();
        fs::write(at("refs/heads/torn"), "aaaa").unwrap();
        let long = format!("refs/heads/{}", ["l".repeat(250).as_str(); 5].join("/"));
        fs::create_dir_all(at(&long)).unwrap();
        fs::write(at(&long).join("long-name"), format!("{commit}\n")).unwrap();
        fs::write(at("packed-refs"), format!("# pack-refs with: peeled \n^{commit}\n{commit}\n")).unwrap();
        std::os::unix::fs::symlink(at("refs/heads/whole"), at("refs/heads/link")).unwrap();
        let mut reader = RefReader::new(room.path());
        reader.read_packed_refs().unwrap();
        reader.read_loose_refs().unwrap();
        assert_eq!(reader.refs, [("refs/heads/whole".to_owned(), commit)]);
        assert_eq!(reader.read_stash().unwrap(), []);
        let unread = [".git/packed-refs", &format!(".git/{long}"), ".git/refs/heads/link", ".git/refs/heads/torn"];
        assert_eq!(reader.unread, unread.map(PathBuf::from).into());
        // A path that the system refuses to look at stands for a disk that cannot be read.
        let unreadable = at(&"long/".repeat(2_000));
        let mut reader = RefReader::new(&unreadable);
        reader.read_packed_refs().unwrap_err();
        reader.read_loose_refs().unwrap_err();
        reader.read_stash().unwrap_err();
    }
}
