//! Lanes: linked worktrees, made and removed by our own hands.
//!
//! `git worktree add` fails when several run at once, runs hooks, and leaves halves behind. The layout of a linked
//! worktree is documented and small (`gitrepository-layout`), so it is built aside and renamed into place: no other git
//! process ever sees half of one, and a crash leaves nothing that the next creation does not clear away.
//!
//! What is known about a lane lies in `agentops/lanes/<name>` in the common directory, where the agent that owns the lane
//! cannot write when it is sandboxed: where it is, its base, and our index of it. The lane's own `.git` file and index, and
//! all of its administrative folder, are the agent's. They are written for the agent and never believed.

use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::lock::Lock;
use crate::names;
use crate::oid::Oid;
use crate::plain::write_whole;
use crate::remove::remove_all;
use crate::repo::Repo;
use crate::run::Call;

/// Where agents leave results that are no part of the tree.
pub const OUT_DIR: &str = ".agentops-out";
const LOCK_FILE: &str = "agentops-lanes.lock";
const LOCK_WAIT: Duration = Duration::from_secs(60);

/// One agent's isolated place: a linked worktree with a detached `HEAD`.
#[derive(Debug, Clone)]
pub struct Lane {
    pub(crate) repo: Repo,
    name: String,
    path: PathBuf,
    git_dir: PathBuf,
    base: Oid,
}

impl Lane {
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

    /// Its administrative folder in the repository.
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

    pub(crate) fn plain_on(&self, index: &Path) -> Result<Call> {
        self.repo.plain_on(&self.path, index)
    }

    /// Writes the administrative folder as it should be, whatever the agent made of it.
    pub(crate) fn mend(&self) -> Result<()> {
        if !fs::symlink_metadata(&self.git_dir).is_ok_and(|m| m.is_dir()) {
            remove_all(&self.git_dir)?;
            build_admin(self)?;
        }
        remove_all(&self.git_dir.join("config.worktree"))?;
        for (name, content) in pointers(&self.path) {
            put(&self.git_dir.join(name), &content)?;
        }
        Ok(())
    }

    /// Points the lane's own `.git` file, `HEAD` and index to this commit, for the agent's git.
    pub(crate) fn point_to(&self, commit: &Oid) -> Result<()> {
        self.mend()?;
        put(&self.path.join(".git"), &names::joined(&[b"gitdir: ", bytes(&self.git_dir), b"\n"]).into_encoded_bytes())?;
        let index = fs::read(self.index()).map_err(Error::io("read", self.index()))?;
        put(&self.git_dir.join("index"), &index)?;
        // With the time it was written at, for the same reason as in `copy_index`.
        let written =
            fs::metadata(self.index()).and_then(|meta| meta.modified()).map_err(Error::io("read", self.index()))?;
        let theirs = fs::File::options().write(true).open(self.git_dir.join("index"));
        theirs.and_then(|file| file.set_modified(written)).map_err(Error::io("write", &self.git_dir))?;
        if self.repo.uses_reftable() {
            let call = self.repo.guarded_in(&self.git_dir, &self.path);
            return call.args(["update-ref", "--no-deref", "HEAD", commit.as_str()]).ok().map(drop);
        }
        put(&self.git_dir.join("HEAD"), format!("{commit}\n").as_bytes())
    }

    /// Makes the folder for results, which hides itself from the agent's git.
    pub(crate) fn make_out_dir(&self) -> Result<()> {
        let out = self.path.join(OUT_DIR);
        match fs::create_dir(&out) {
            Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(()),
            Err(e) => Err(Error::io("make", &out)(e)),
            Ok(()) => write_whole(&out.join(".gitignore"), b"*\n"),
        }
    }
}

/// Makes a lane at `path` with the files of `base`. Done again after a crash it begins afresh; done again after success it
/// gives the same lane. A folder that holds anything of someone else's is left alone.
pub fn create(repo: &Repo, path: &Path, base: &Oid, name: &str) -> Result<Lane> {
    names::check_lane(name)?;
    let path = absolute(path)?;
    let git_dir = admin_of(repo, name);
    let lane = Lane { repo: repo.clone(), name: name.to_owned(), path, git_dir, base: base.clone() };
    let record = lane.record();

    let lock = take_lock(repo)?;
    clear_leftovers(repo)?;
    for other in all(repo)? {
        if other.path == lane.path || other.name == lane.name {
            if (&other.path, &other.name, &other.base) == (&lane.path, &lane.name, &lane.base) && other.is_ready() {
                return Ok(other);
            }
            let held = !other.is_ready();
            let name = other.name;
            return Err(if held { Error::LaneBusy { name } } else { Error::LaneExists { name } });
        }
    }
    let free = match fs::read_dir(&lane.path) {
        Ok(mut entries) => entries.next().is_none() && !lane.path.is_symlink(),
        Err(e) => e.kind() == ErrorKind::NotFound && !lane.path.is_symlink(),
    };
    if !free {
        return Err(Error::LanePathTaken { path: lane.path });
    }
    if fs::symlink_metadata(&lane.git_dir).is_ok() {
        return Err(Error::LaneExists { name: lane.name });
    }
    fs::create_dir_all(&record).map_err(Error::io("make", &record))?;
    // Held while the files are written, so that nobody takes this half for a leftover.
    let busy = Lock::try_take(&record.join("lock"))?.ok_or_else(|| Error::LaneBusy { name: name.to_owned() })?;
    write_whole(&record.join("base"), base.as_str().as_bytes())?;
    write_whole(&record.join("path"), bytes(&lane.path))?;
    build_admin(&lane)?;
    drop(lock);

    let made = fill(&lane);
    drop(busy);
    if made.is_err() {
        // Best effort: the next creation would clear it as well.
        let _ = remove(repo, &lane);
    }
    made.map(|()| lane)
}

/// The lane at this place, by our own record of it. Its administrative folder is put right.
pub fn open(repo: &Repo, path: &Path) -> Result<Lane> {
    let absolute = absolute(path)?;
    let found = all(repo)?.into_iter().find(|lane| lane.path == absolute && lane.is_ready());
    let lane = found.ok_or(Error::NotALane { path: absolute })?;
    if !fs::symlink_metadata(&lane.path).is_ok_and(|m| m.is_dir()) {
        return Err(Error::NotALane { path: lane.path });
    }
    lane.mend()?;
    Ok(lane)
}

/// The complete lanes below a folder.
pub fn list(repo: &Repo, under: &Path) -> Result<Vec<Lane>> {
    let under = under.canonicalize().unwrap_or_else(|_| under.to_owned());
    let mut lanes = all(repo)?;
    lanes.retain(|lane| lane.path.starts_with(&under) && lane.is_ready());
    lanes.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(lanes)
}

/// Removes a lane with all its files; already gone is success. The caller has made its checkpoint.
pub fn remove(repo: &Repo, lane: &Lane) -> Result<()> {
    let lock = take_lock(repo)?;
    let current = all(repo)?.into_iter().find(|l| l.name == lane.name);
    // Another lane may have taken over the name meanwhile.
    if current.is_none_or(|l| l.path != lane.path) {
        return Ok(());
    }
    let record = lane.record();
    let _busy = Lock::try_take(&record.join("lock"))?.ok_or_else(|| Error::LaneBusy { name: lane.name.clone() })?;
    remove_all(&record.join("ready"))?;
    drop(lock);
    remove_all(&lane.path)?;
    remove_all(&lane.git_dir)?;
    let _lock = take_lock(repo)?;
    remove_all(&record)
}

impl Lane {
    fn is_ready(&self) -> bool {
        self.record().join("ready").exists()
    }
}

fn take_lock(repo: &Repo) -> Result<Lock> {
    Lock::wait(&repo.common_dir().join(LOCK_FILE), LOCK_WAIT)
}

fn records(repo: &Repo) -> PathBuf {
    repo.common_dir().join("agentops").join("lanes")
}

/// With a dot in front of the name no folder that git names after a user's worktree is likely to be the same.
fn admin_of(repo: &Repo, name: &str) -> PathBuf {
    repo.common_dir().join("worktrees").join(format!("agentops.lane.{name}"))
}

/// Every record: a lane, or the name of one whose record a crash tore.
fn recorded(repo: &Repo) -> Result<Vec<Result<Lane, String>>> {
    let dir = records(repo);
    let entries = match fs::read_dir(&dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::io("read", dir)(e)),
    };
    let lanes = entries.flatten().filter_map(|entry| {
        let name = entry.file_name().into_string().ok().filter(|n| names::check_lane(n).is_ok())?;
        let path = fs::read(entry.path().join("path")).ok().map(|p| names::path(&p)).filter(|p| p.is_absolute());
        let base = fs::read_to_string(entry.path().join("base")).ok().and_then(|b| b.parse().ok());
        let git_dir = admin_of(repo, &name);
        match (path, base) {
            (Some(path), Some(base)) => Some(Ok(Lane { repo: repo.clone(), name, path, git_dir, base })),
            _ => Some(Err(name)),
        }
    });
    Ok(lanes.collect())
}

/// Every lane whose record can be read, complete or not.
fn all(repo: &Repo) -> Result<Vec<Lane>> {
    Ok(recorded(repo)?.into_iter().flatten().collect())
}

/// Removes what crashes left: lanes that were never completed or whose removal was not, and records of lanes whose folder
/// someone deleted. Only under the lanes' lock.
fn clear_leftovers(repo: &Repo) -> Result<()> {
    for lane in recorded(repo)? {
        let lane = match lane {
            Ok(lane) => lane,
            // Records are written and removed under the lock, so nobody is at this one. Its folder is unknown and stays.
            Err(torn) => {
                remove_all(&admin_of(repo, &torn))?;
                remove_all(&records(repo).join(&torn))?;
                continue;
            }
        };
        let gone = |p: &Path| fs::symlink_metadata(p).is_err_and(|e| e.kind() == ErrorKind::NotFound);
        let folder_deleted = gone(&lane.path) && lane.path.parent().is_some_and(|p| !gone(p));
        if lane.is_ready() && !folder_deleted {
            continue;
        }
        let record = lane.record();
        if let Some(_busy) = Lock::try_take(&record.join("lock"))? {
            remove_all(&lane.path)?;
            remove_all(&lane.git_dir)?;
            remove_all(&record)?;
        }
    }
    Ok(())
}

/// Builds the administrative folder aside and renames it into place.
fn build_admin(lane: &Lane) -> Result<()> {
    let aside = lane.record().join("admin");
    remove_all(&aside)?;
    fs::create_dir(&aside).map_err(Error::io("make", &aside))?;
    for (name, content) in pointers(&lane.path) {
        write_whole(&aside.join(name), &content)?;
    }
    // Keeps `git worktree prune` from taking a lane whose disk is not mounted.
    write_whole(&aside.join("locked"), format!("lane {} of agentops\n", lane.name).as_bytes())?;
    if lane.repo.uses_reftable() {
        for dir in ["reftable", "refs"] {
            fs::create_dir(aside.join(dir)).map_err(Error::io("make", &aside))?;
        }
        write_whole(&aside.join("refs/heads"), b"this repository uses the reftable format\n")?;
        write_whole(&aside.join("HEAD"), b"ref: refs/heads/.invalid\n")?;
    } else {
        write_whole(&aside.join("HEAD"), format!("{}\n", lane.base).as_bytes())?;
    }
    let worktrees = lane.repo.common_dir().join("worktrees");
    for attempt in 0..3 {
        // Git removes this folder whenever it is empty.
        fs::create_dir_all(&worktrees).map_err(Error::io("make", &worktrees))?;
        match fs::rename(&aside, &lane.git_dir) {
            Err(e) if e.kind() == ErrorKind::NotFound && attempt < 2 => {}
            result => return result.map_err(Error::io("make", &lane.git_dir)),
        }
    }
    Ok(())
}

fn fill(lane: &Lane) -> Result<()> {
    match fs::create_dir(&lane.path) {
        Err(e) if e.kind() != ErrorKind::AlreadyExists => return Err(Error::io("make", &lane.path)(e)),
        _ => {}
    }
    let index = lane.index();
    lane.plain_on(&index)?.args(["read-tree", "--reset", "-u", lane.base.as_str()]).long().ok()?;
    lane.make_out_dir()?;
    lane.point_to(&lane.base)?;
    write_whole(&lane.record().join("ready"), b"")
}

fn pointers(path: &Path) -> [(&'static str, Vec<u8>); 2] {
    [("commondir", b"../..\n".to_vec()), ("gitdir", [bytes(path), b"/.git\n"].concat())]
}

/// Writes unless it is already so; whatever else is at that place goes.
fn put(path: &Path, content: &[u8]) -> Result<()> {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => remove_all(path)?,
        Ok(meta) if meta.is_file() && fs::read(path).is_ok_and(|c| c == content) => return Ok(()),
        _ => {}
    }
    write_whole(path, content)
}

fn absolute(path: &Path) -> Result<PathBuf> {
    let bad = || Error::BadName { kind: "lane folder", value: path.to_string_lossy().chars().take(200).collect() };
    let name = path.file_name().ok_or_else(bad)?;
    let parent = path.parent().filter(|p| *p != Path::new("")).unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(Error::io("make", parent))?;
    Ok(parent.canonicalize().map_err(Error::io("open", parent))?.join(name))
}

fn bytes(path: &Path) -> &[u8] {
    OsStr::as_bytes(path.as_os_str())
}
