//! Lanes: repositories of their own that borrow the user's objects, made and removed by our own hands.
//!
//! An agent may commit, stash, branch and configure in its lane as in a clone, and nothing of it reaches the user's
//! repository: the two share only the user's objects, which the lane reads through an alternate. [`crate::lane_repository`]
//! builds the lane's `.git` folder. Lanes of an older version are linked worktrees; they are opened, kept and removed as before
//! ([`crate::linked_lane`]).
//!
//! What is known about a lane lies in `agentops/lanes/<name>` in the user's git directory: its form, its place, its base, our
//! index of it and its configuration as we wrote it. Everything in the lane's folder is the agent's. It is written for the
//! agent and never believed.
//!
//! [`restore`] makes a lane usable again whose folder or record is gone. An error while a lane is looked at is not taken for
//! its absence: nothing is removed or made again then.
//!
//! A lane is made and removed in steps, each of which may be the last one before a crash. The record comes first and goes
//! last, and the file `ready` in it says that the lane is complete. Whoever works on a lane that is not ready holds the
//! record's lock.

use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::boundary::boundary;
use crate::checkpoint::SizeLimits;
use crate::error::{Error, Result};
use crate::lane_records::{LaneRecord, all, recorded, records, write_record};
use crate::lock::Lock;
use crate::oid::Oid;
use crate::plain::{write_durable, write_whole};
use crate::plain_file;
use crate::remove::remove_all;
use crate::repo::Repo;
use crate::run::Call;
use crate::temporary::sync_folder;
use crate::{lane_refs, lane_repository, linked_lane, names};

pub use crate::lane_restore::{Recovered, Restored, recover, restore};

/// Where agents leave results that are no part of the tree.
pub const OUT_DIR: &str = ".agentops-out";
const LOCK_FILE: &str = "agentops-lanes.lock";
/// The largest index of ours that is copied for the agent, in bytes. One of a million files has about 100 MB.
const INDEX_BYTES_MAX: u64 = 1 << 30;

/// How a lane is connected to the user's repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LaneForm {
    /// A linked worktree, as lanes were before.
    LinkedWorktree,
    /// A repository of its own with the user's objects as alternates.
    Repository,
}

/// One agent's isolated place: a repository with a detached `HEAD`.
#[derive(Debug, Clone)]
pub struct Lane {
    pub(crate) repo: Repo,
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) git_dir: PathBuf,
    pub(crate) base: Oid,
    pub(crate) form: LaneForm,
    pub(crate) limits: SizeLimits,
}

impl Lane {
    pub(crate) fn new(repo: &Repo, name: String, path: PathBuf, base: Oid, form: LaneForm) -> Self {
        let git_dir = match form {
            LaneForm::LinkedWorktree => linked_lane::git_dir(repo, &name),
            LaneForm::Repository => path.join(".git"),
        };
        let limits = SizeLimits::default();
        Self { repo: repo.clone(), name, path, git_dir, base, form, limits }
    }

    /// The same lane with other limits on what its checkpoints store.
    #[must_use]
    pub fn with_limits(self, limits: SizeLimits) -> Self {
        Self { limits, ..self }
    }

    /// Its name, unique in the repository.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its git directory.
    #[must_use]
    pub fn git_dir(&self) -> &Path {
        &self.git_dir
    }

    /// The commit that it began with.
    #[must_use]
    pub fn base(&self) -> &Oid {
        &self.base
    }

    pub(crate) fn record(&self) -> PathBuf {
        records(&self.repo).join(&self.name)
    }

    /// Our index of the lane: kept between checkpoints so that unchanged files are not read again.
    pub(crate) fn index(&self) -> PathBuf {
        self.record().join("index")
    }

    /// A call in the git directory of our own, on the lane's files with this index. Whether names that differ only in case are
    /// one file is a property of the lane's file system. The user's setting is about the checkout, which may lie on another one.
    pub(crate) fn plain_on(&self, index: &Path) -> Result<Call> {
        let rule = if self.ignores_case() { "core.ignorecase=true" } else { "core.ignorecase=false" };
        Ok(self.repo.plain_on(&self.path, index)?.args(["-c", rule]).preamble())
    }

    /// Asked inside the lane's folder, for which a file system may have a rule of its own.
    pub(crate) fn ignores_case(&self) -> bool {
        let is_same = |name: &str| {
            let file = |name: &str| fs::symlink_metadata(self.path.join(name)).map(|meta| (meta.dev(), meta.ino()));
            matches!((file(name), file(&name.to_uppercase())), (Ok(lower), Ok(upper)) if lower == upper)
        };
        is_same(OUT_DIR) || is_same(".git")
    }

    /// Writes what leads the agent's git as it should be, whatever the agent made of it. Commits, refs and stash stay.
    pub(crate) fn mend(&self) -> Result<()> {
        match self.form {
            LaneForm::LinkedWorktree => linked_lane::mend(self),
            LaneForm::Repository => lane_repository::mend(self),
        }
    }

    /// Points the lane's `HEAD` and index to this commit, for the agent's git.
    pub(crate) fn point_to(&self, commit: &Oid) -> Result<()> {
        if self.form == LaneForm::Repository {
            lane_refs::protect(self, commit)?;
        }
        self.mend()?;
        if self.form == LaneForm::Repository {
            self.note_known_refs()?;
        }
        self.put_index()?;
        match self.form {
            LaneForm::LinkedWorktree => linked_lane::point_to(self, commit),
            LaneForm::Repository => lane_repository::point_to(self, commit),
        }
    }

    /// Gives the agent's git a copy of our index.
    pub(crate) fn put_index(&self) -> Result<()> {
        let index = plain_file::read(&self.index(), INDEX_BYTES_MAX).map_err(Error::io("read", self.index()))?;
        put(&self.git_dir.join("index"), &index)?;
        // With the time it was written at, for the same reason as in `copy_index`.
        let written =
            fs::metadata(self.index()).and_then(|meta| meta.modified()).map_err(Error::io("read", self.index()))?;
        let theirs = plain_file::open_as(&self.git_dir.join("index"), fs::File::options().write(true));
        theirs.and_then(|file| file.set_modified(written)).map_err(Error::io("write", &self.git_dir))
    }

    /// Makes the folder for results, which hides itself from the agent's git.
    pub(crate) fn make_out_dir(&self) -> Result<()> {
        let out = self.path.join(OUT_DIR);
        if !plain_file::is_folder(&out)? {
            remove_all(&out)?;
        }
        match fs::create_dir(&out) {
            Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(()),
            Err(e) => Err(Error::io("make", &out)(e)),
            Ok(()) => write_whole(&out.join(".gitignore"), b"*\n"),
        }
    }

    fn is_ready(&self) -> Result<bool> {
        Ok(plain_file::look_at(&self.record().join("ready"))?.is_some())
    }

    /// Its folder was deleted, and not merely unmounted together with the folder around it; or something else lies there, such
    /// as a link to a folder that is none of ours.
    fn folder_is_gone(&self) -> Result<bool> {
        match plain_file::look_at(&self.path)? {
            Some(found) => Ok(!found.is_dir()),
            None => Ok(self.path.parent().is_some_and(|above| matches!(plain_file::look_at(above), Ok(Some(_))))),
        }
    }

    pub(crate) fn is_whole(&self) -> Result<bool> {
        Ok(self.is_ready()? && !self.folder_is_gone()?)
    }

    /// The lane is not complete any more. On the disk before any of its files goes: after a power failure the rest of a lane
    /// would look like one whose agent deleted files.
    fn set_not_ready(&self) -> Result<()> {
        remove_all(&self.record().join("ready"))?;
        sync_folder(&self.record()).map_err(Error::io("sync", self.record()))
    }

    /// Waits until no other process of ours changes the lane's files, such as a git that outlived its killed parent.
    pub(crate) fn work_lock(&self) -> Result<Lock> {
        Lock::wait(&self.lock_file())
    }

    fn lock_file(&self) -> PathBuf {
        self.record().join("lock")
    }
}

/// Makes a lane at `path` with the files of `base`. Done again after a crash it begins afresh; done again after success it
/// gives the same lane. A folder that holds anything of someone else's is left alone.
pub fn create(repo: &Repo, path: &Path, base: &Oid, name: &str) -> Result<Lane> {
    match create_at(repo, path, base, base, name, &[])? {
        Created::New(lane) | Created::Found(lane) => Ok(lane),
    }
}

/// Whether [`create_at`] made a lane.
pub(crate) enum Created {
    /// It did.
    New(Lane),
    /// The same lane was there. What leads its git was put right, and its files are as they were.
    Found(Lane),
}

/// The same with the files of another commit, such as the newest checkpoint of a lane that is gone. A new lane's record gets
/// these marks before the lane is complete.
pub(crate) fn create_at(repo: &Repo, path: &Path, base: &Oid, commit: &Oid, name: &str, marks: &[&str]) -> Result<Created> {
    names::check_lane(name)?;
    let path = absolute(path)?;
    if let Some(above) = path.parent() {
        fs::create_dir_all(above).map_err(Error::io("make", above))?;
    }
    let lane = Lane::new(repo, name.to_owned(), path, base.clone(), LaneForm::Repository);
    clear_leftovers(repo)?;
    loop {
        let lock = take_lock(repo)?;
        if let Some(other) =
            all(repo)?.about(name)?.into_iter().find(|other| other.path == lane.path || other.name == lane.name)
        {
            if other.is_whole()? {
                drop(lock);
                if (&other.path, &other.name, &other.base) != (&lane.path, &lane.name, &lane.base) {
                    return Err(Error::LaneExists { name: other.name });
                }
                other.mend()?;
                return Ok(Created::Found(other));
            }
            take_apart_or_wait(&other, lock)?;
            continue;
        }
        let busy = begin(&lane)?;
        drop(lock);
        let made = fill(&lane, commit, marks, &busy);
        if made.is_err() {
            // Best effort: the next creation would clear it as well.
            let _ = take_apart(&lane, busy);
        }
        return made.map(|()| Created::New(lane));
    }
}

/// The lane at this place, by our own record of it. What leads the agent's git is put right.
///
/// # Errors
/// [`Error::NotALane`] only where there is none: no complete record, or no folder. Every other error says nothing about that.
pub fn open(repo: &Repo, path: &Path) -> Result<Lane> {
    let absolute = absolute(path)?;
    let not_a_lane = || Error::NotALane { path: absolute.clone() };
    let lane = all(repo)?.at(&absolute)?.ok_or_else(not_a_lane)?;
    if !lane.is_ready()? || !plain_file::is_folder(&lane.path)? {
        return Err(not_a_lane());
    }
    lane.mend()?;
    // What is read and removed there is never elsewhere: an agent may have put a link in its place.
    lane.make_out_dir()?;
    Ok(lane)
}

/// The complete lanes below a folder.
pub fn list(repo: &Repo, under: &Path) -> Result<Vec<Lane>> {
    let under = under.canonicalize().unwrap_or_else(|_| under.to_owned());
    let mut lanes = Vec::new();
    for lane in all(repo)?.lanes.into_iter().filter(|lane| lane.path.starts_with(&under)) {
        if lane.is_ready()? {
            lanes.push(lane);
        }
    }
    lanes.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(lanes)
}

/// Removes a lane with all its files; already gone is success. The caller has made its checkpoint.
pub fn remove(repo: &Repo, lane: &Lane) -> Result<()> {
    loop {
        let lock = take_lock(repo)?;
        let current = all(repo)?.about(&lane.name)?.into_iter().find(|l| l.name == lane.name);
        // Another lane may have taken over the name meanwhile.
        let Some(current) = current.filter(|current| current.path == lane.path) else { return Ok(()) };
        if take_apart_or_wait(&current, lock)? {
            return Ok(());
        }
    }
}

/// Removes whatever there is of a lane that holds no work, such as a gate's: a complete one, one whose making or removal was
/// interrupted, or a folder whose record is lost.
pub fn discard(repo: &Repo, path: &Path, name: &str) -> Result<()> {
    names::check_lane(name)?;
    let path = absolute(path)?;
    loop {
        let lock = take_lock(repo)?;
        if let Some(lane) = all(repo)?.about(name)?.into_iter().find(|lane| lane.path == path || lane.name == name) {
            take_apart_or_wait(&lane, lock)?;
            continue;
        }
        remove_all(&path)?;
        lane_refs::release(repo, name)?;
        return remove_all(&records(repo).join(name));
    }
}

/// The repository that a lane belongs to, if this is the repository of a lane. The lane says which one, and that one's own
/// record must agree.
pub(crate) fn owner_of(lane: &Repo) -> Result<Option<Repo>> {
    let Some(path) = lane_repository::named_owner(lane.git_dir()) else { return Ok(None) };
    // Anybody can write such a file, so a path that leads to no repository of this user's is only a wrong claim.
    let owner = match Repo::around(lane.program(), &path) {
        Ok(owner) => owner,
        Err(Error::NotARepository { .. } | Error::Bare { .. } | Error::NotOwned { .. } | Error::FolderGone { .. }) => {
            return Ok(None);
        }
        Err(Error::Io { source, .. }) if plain_file::is_absent(&source) || source.kind() == ErrorKind::InvalidInput => {
            return Ok(None);
        }
        Err(e) => return Err(e),
    };
    let is_known = all(&owner)?.lanes.iter().any(|known| known.path == lane.work_tree());
    Ok(is_known.then_some(owner))
}

pub(crate) fn take_lock(repo: &Repo) -> Result<Lock> {
    Lock::wait(&repo.common_dir().join(LOCK_FILE))
}

/// Writes the record of a lane that is about to be made, under the lanes' lock. The lock of the record is returned: it is
/// held while the lane is made, so that nobody takes this half for a leftover.
fn begin(lane: &Lane) -> Result<Lock> {
    let free = match fs::read_dir(&lane.path) {
        Ok(mut entries) => entries.next().is_none() && !lane.path.is_symlink(),
        Err(e) => e.kind() == ErrorKind::NotFound && !lane.path.is_symlink(),
    };
    if !free {
        return Err(Error::LanePathTaken { path: lane.path.clone() });
    }
    let record = lane.record();
    fs::create_dir_all(&record).map_err(Error::io("make", &record))?;
    let busy = Lock::wait(&lane.lock_file())?;
    // What a torn record of this name left must not say that this lane is complete.
    remove_all(&record.join("ready"))?;
    write_record(lane)?;
    boundary("lane-recorded");
    Ok(busy)
}

fn fill(lane: &Lane, commit: &Oid, marks: &[&str], busy: &Lock) -> Result<()> {
    lane_repository::build(lane)?;
    boundary("lane-repository-built");
    let checkout = lane.plain_on(&lane.index())?.args(["read-tree", "--reset", "-u", commit.as_str()]);
    checkout.holding(busy)?.long().ok()?;
    boundary("lane-files-written");
    lane.make_out_dir()?;
    lane.point_to(commit)?;
    for mark in marks {
        write_durable(&lane.record().join(mark), b"")?;
    }
    write_durable(&lane.record().join("ready"), b"")?;
    boundary("lane-ready");
    Ok(())
}

/// Takes a lane apart, or waits until the process that works on it has ended; true when it is gone.
pub(crate) fn take_apart_or_wait(lane: &Lane, lanes_lock: Lock) -> Result<bool> {
    if let Some(busy) = Lock::try_take(&lane.lock_file())? {
        lane.set_not_ready()?;
        drop(lanes_lock);
        return take_apart(lane, busy).map(|()| true);
    }
    drop(lanes_lock);
    match Lock::wait(&lane.lock_file()) {
        // The record is gone, and its lock with it.
        Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(false),
        waited => waited.map(|_| false),
    }
}

/// Removes a lane from its files to its record. The caller holds the record's lock, and the lane is not ready.
fn take_apart(lane: &Lane, busy: Lock) -> Result<()> {
    boundary("lane-not-ready");
    remove_all(&lane.path)?;
    match lane.form {
        LaneForm::LinkedWorktree => remove_all(&lane.git_dir)?,
        LaneForm::Repository => remove_all(&lane_repository::aside(lane))?,
    }
    boundary("lane-files-removed");
    lane_refs::release(&lane.repo, &lane.name)?;
    boundary("lane-released");
    let _lock = take_lock(&lane.repo)?;
    remove_all(&lane.record())?;
    drop(busy);
    boundary("lane-record-removed");
    Ok(())
}

/// Removes what crashes left: lanes that were never completed or whose removal was not, and records of lanes whose folder
/// someone deleted. What cannot be removed stays for the next time: it must not keep another lane from being made.
pub fn clear_leftovers(repo: &Repo) -> Result<()> {
    let mut leftovers = Vec::new();
    let lock = take_lock(repo)?;
    for record in recorded(repo)? {
        let lane = match record {
            LaneRecord::Read(lane) if lane.is_whole()? => continue,
            LaneRecord::Read(lane) => lane,
            // It may be a lane's that is at work.
            LaneRecord::Unreadable(..) => continue,
            // Records are written and removed under the lock, so nobody is at this one. Its folder is unknown and stays.
            LaneRecord::Torn(torn) => {
                remove_all(&linked_lane::git_dir(repo, &torn))?;
                lane_refs::release(repo, &torn)?;
                remove_all(&records(repo).join(&torn))?;
                continue;
            }
        };
        let Some(busy) = Lock::try_take(&lane.lock_file())? else { continue };
        // It may have been completed between the first look and the lock.
        if !lane.is_whole()? {
            lane.set_not_ready()?;
            leftovers.push((lane, busy));
        }
    }
    // Removing files takes long, and others wait for the lanes' lock.
    drop(lock);
    for (lane, busy) in leftovers {
        let _stays = take_apart(&lane, busy);
    }
    Ok(())
}

/// Writes unless it is already so; whatever else is at that place goes. What is there may be an agent's and of any size.
pub(crate) fn put(path: &Path, content: &[u8]) -> Result<()> {
    if plain_file::read(path, content.len() as u64).is_ok_and(|found| found == content) {
        return Ok(());
    }
    if fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir()) {
        remove_all(path)?;
    }
    write_whole(path, content)
}

/// The path with links in its existing part resolved. The last name is not followed, and nothing is made.
pub(crate) fn absolute(path: &Path) -> Result<PathBuf> {
    let bad = || Error::BadName { kind: "lane folder", value: path.to_string_lossy().chars().take(200).collect() };
    let name = path.file_name().ok_or_else(bad)?;
    Ok(resolved(path.parent().unwrap_or(Path::new("")))?.join(name))
}

fn resolved(folder: &Path) -> Result<PathBuf> {
    let here = if folder == Path::new("") { Path::new(".") } else { folder };
    match (here.canonicalize(), folder.parent(), folder.file_name()) {
        (Ok(real), ..) => Ok(real),
        // What does not exist yet; a link that leads nowhere is something else.
        (Err(e), Some(above), Some(name)) if e.kind() == ErrorKind::NotFound && plain_file::look_at(folder)?.is_none() => {
            Ok(resolved(above)?.join(name))
        }
        (Err(e), ..) => Err(Error::io("open", here)(e)),
    }
}

pub(crate) fn bytes(path: &Path) -> &[u8] {
    OsStr::as_bytes(path.as_os_str())
}
