//! Temporary folders and files that a killed process cannot leave for good.
//!
//! The process that makes one holds a lock on it, and the kernel releases the lock when that process ends. A process that
//! gets the lock therefore knows that the owner is gone, also if the owner's pid is in use again or was of another container,
//! and may remove the folder or file. Links are never followed. Files of other users are left alone.
//!
//! A file system without locks, such as some network ones, can hold nothing of this: making fails with that reason, and a
//! sweep returns it.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{Access, OFlags, access};

use crate::remove::remove_all;

/// A name is tried again when it is taken, or when a sweep was faster than our lock.
const TRIES: u32 = 100;

/// The folder for temporary files: the first of [`folders`] that is there and can be written, else the first of them, for an
/// error that names it.
#[must_use]
pub fn folder() -> PathBuf {
    first_usable(folders())
}

/// Where temporary files may lie: the user's folder for them, `$TMPDIR` or `/tmp`, else one of the system. So a full disk under
/// `$TMPDIR` does not keep commands from reading. A value that is empty or relative names no folder: each process would take it
/// for another one.
pub(crate) fn folders() -> Vec<PathBuf> {
    let of_user = Some(std::env::temp_dir()).filter(|folder| folder.is_absolute());
    let mut folders = vec![of_user.unwrap_or_else(|| "/tmp".into())];
    for folder in ["/dev/shm", "/var/tmp", "/tmp"].map(PathBuf::from) {
        if !folders.contains(&folder) && folder.is_dir() {
            folders.push(folder);
        }
    }
    folders
}

fn first_usable(mut folders: Vec<PathBuf>) -> PathBuf {
    let is_usable = |folder: &PathBuf| folder.is_dir() && access(folder, Access::WRITE_OK | Access::EXEC_OK).is_ok();
    let at = folders.iter().position(is_usable).unwrap_or(0);
    folders.swap_remove(at)
}

/// A folder that is removed with this value, or by the next [`sweep`] after this process.
#[derive(Debug)]
pub struct TempFolder {
    path: PathBuf,
    is_kept: bool,
    _lock: File,
}

impl TempFolder {
    /// Makes a folder with a name of its own, for this user alone.
    ///
    /// # Errors
    /// The folder above is missing or cannot be written.
    pub fn make(above: &Path, prefix: &str) -> io::Result<Self> {
        for _ in 0..TRIES {
            let path = above.join(own_name(prefix));
            match fs::DirBuilder::new().mode(0o700).create(&path) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => continue,
                made => made?,
            }
            match lock(&path) {
                Ok(Some(lock)) => return Ok(Self { path, is_kept: false, _lock: lock }),
                Ok(None) => {}
                Err(e) => {
                    let _left = fs::remove_dir(&path);
                    return Err(e);
                }
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// Takes over the folders with this prefix that killed processes left, for an owner with more to end than files.
    #[must_use]
    pub fn take_over(above: &Path, prefix: &str) -> Vec<Self> {
        let entries = fs::read_dir(above).into_iter().flatten().flatten();
        let named = entries.filter(|entry| entry.file_name().as_bytes().starts_with(prefix.as_bytes()));
        let left = named.map(|entry| entry.path()).filter(|path| path.is_dir());
        left.filter_map(|path| Some(Self { _lock: lock(&path).ok()??, path, is_kept: false })).collect()
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves the folder to the user. Only a sweep of its prefix would remove it.
    #[must_use]
    pub fn keep(mut self) -> PathBuf {
        self.is_kept = true;
        self.path.clone()
    }
}

impl Drop for TempFolder {
    fn drop(&mut self) {
        if !self.is_kept {
            // What cannot be removed is left to a sweep.
            let _left = remove_all(&self.path);
        }
    }
}

/// A file that becomes another one by renaming; without that it is removed with this value, or by the next [`sweep`].
#[derive(Debug)]
pub struct TempFile {
    path: PathBuf,
    file: File,
}

impl TempFile {
    /// Makes a file with a name of its own, for this user alone.
    ///
    /// # Errors
    /// The folder is missing or cannot be written.
    pub fn make(folder: &Path, prefix: &str) -> io::Result<Self> {
        for _ in 0..TRIES {
            let path = folder.join(own_name(prefix));
            match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => continue,
                made => drop(made?),
            }
            match lock(&path) {
                Ok(Some(file)) => return Ok(Self { path, file }),
                Ok(None) => {}
                Err(e) => {
                    let _left = fs::remove_file(&path);
                    return Err(e);
                }
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// The file, for writing.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives it its name, in place of what has it.
    ///
    /// # Errors
    /// It cannot be renamed.
    pub fn rename(self, to: &Path) -> io::Result<()> {
        fs::rename(&self.path, to)
    }

    /// As [`Self::rename`]; a power cut leaves the whole file or what had the name before.
    ///
    /// # Errors
    /// It cannot be brought to the disk or renamed.
    pub fn persist(self, to: &Path) -> io::Result<()> {
        persist(&self.path, to)
    }
}

/// Gives a written file its name, in place of what has it. A power cut leaves the whole file or what had the name before: the
/// content is on the disk before the name, and the name before this returns.
///
/// # Errors
/// It cannot be brought to the disk or renamed.
pub fn persist(from: &Path, to: &Path) -> io::Result<()> {
    File::open(from)?.sync_all()?;
    fs::rename(from, to)?;
    sync_folder(to.parent().unwrap_or(to))
}

/// Brings the names in a folder to the disk.
///
/// # Errors
/// The operating system refuses.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

impl Drop for TempFile {
    fn drop(&mut self) {
        // After a rename nothing has this name any more.
        let _left_or_renamed = fs::remove_file(&self.path);
    }
}

/// What a sweep did.
#[derive(Debug, Default)]
pub struct Swept {
    /// How many folders and files were removed.
    pub removed: usize,
    /// Why the first one that could not be removed is still there.
    pub failed: Option<io::Error>,
}

/// Removes what killed processes left in a folder under names with this prefix. What cannot be removed is only untidy, so no
/// caller has to look at the answer.
pub fn sweep(folder: &Path, prefix: &str) -> Swept {
    sweep_names(folder, |name| name.as_bytes().starts_with(prefix.as_bytes()))
}

/// The same for names of any form. Without a lock of a living process, whatever has such a name is removed.
pub fn sweep_names(folder: &Path, is_temporary: impl Fn(&OsStr) -> bool) -> Swept {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let left = entries.filter(|entry| is_temporary(&entry.file_name())).map(|entry| entry.path());
    let mut swept = Swept::default();
    for path in left {
        // The lock is held until all of it is gone, so that two sweeps do not meet.
        let removed = match lock(&path) {
            Ok(Some(_held)) => remove_all(&path).map_err(io::Error::other),
            Ok(None) => continue,
            Err(e) => Err(e),
        };
        match removed {
            Ok(()) => swept.removed += 1,
            Err(e) => swept.failed = swept.failed.or(Some(e)),
        }
    }
    swept
}

/// Locks what is at a path, unless a living process has, or it is none of our files and folders, or it is gone by now.
fn lock(path: &Path) -> io::Result<Option<File>> {
    lock_by(path, File::try_lock)
}

fn lock_by(path: &Path, try_lock: impl Fn(&File) -> Result<(), TryLockError>) -> io::Result<Option<File>> {
    let is_ours =
        |meta: &fs::Metadata| meta.uid() == rustix::process::getuid().as_raw() && (meta.is_dir() || meta.is_file());
    let before = match fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        found => found?,
    };
    if !is_ours(&before) {
        return Ok(None);
    }
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let mut options = OpenOptions::new();
    options.read(true).write(!before.is_dir()).custom_flags(flags.bits().cast_signed());
    let file = match options.open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let meta = file.metadata()?;
    if !is_ours(&meta) {
        return Ok(None);
    }
    match try_lock(&file) {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(e)) => {
            return Err(io::Error::new(e.kind(), format!("{} cannot be locked: {e}", path.display())));
        }
    }
    // Somebody may have removed it, and something else may have its name, between opening and locking.
    let is_same = fs::symlink_metadata(path).is_ok_and(|now| (now.dev(), now.ino()) == (meta.dev(), meta.ino()));
    Ok(is_same.then_some(file))
}

fn own_name(prefix: &str) -> String {
    static MADE: AtomicU64 = AtomicU64::new(0);
    let random = crate::random::hex().unwrap_or_else(|_| MADE.fetch_add(1, Ordering::Relaxed).to_string());
    format!("{prefix}{random}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap().flatten();
        let mut names: Vec<_> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn r5_a_temporary_folder_that_is_gone_or_no_folder_is_passed_over() {
        let room = tempfile::tempdir().unwrap();
        let (gone, file, there) = (room.path().join("gone"), room.path().join("file"), room.path().to_owned());
        fs::write(&file, "").unwrap();
        assert_eq!(first_usable(vec![gone.clone(), file.clone(), there.clone()]), there);
        assert_eq!(first_usable(vec![gone.clone(), file]), gone, "the error names the one that a person chose");
    }

    #[test]
    fn p5_what_a_killed_process_left_goes_and_what_a_living_one_uses_stays() {
        let room = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("keep"), "x").unwrap();
        let (folder, file) = (TempFolder::make(room.path(), "t-").unwrap(), TempFile::make(room.path(), "t-").unwrap());
        // A killed process leaves the same without a lock.
        fs::create_dir(room.path().join("t-dead")).unwrap();
        fs::write(room.path().join("t-dead/x"), "x").unwrap();
        std::os::unix::fs::symlink(outside.path(), room.path().join("t-dead/link")).unwrap();
        fs::write(room.path().join("t-file"), "x").unwrap();
        std::os::unix::fs::symlink(outside.path(), room.path().join("t-link")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            room.path().join("t-pipe"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RWXU,
            0,
        )
        .unwrap();
        fs::write(room.path().join("other"), "x").unwrap();
        assert_eq!(sweep(room.path(), "t-").removed, 2);
        let living = [folder.path(), file.path()].map(|path| path.file_name().unwrap().to_str().unwrap().to_owned());
        let mut expected = living.to_vec();
        expected.extend(["other", "t-link", "t-pipe"].map(str::to_owned));
        expected.sort();
        assert_eq!(names(room.path()), expected);
        assert!(outside.path().join("keep").exists(), "a link was followed");
        drop(folder);
        file.rename(&room.path().join("named")).unwrap();
        let swept = sweep(room.path(), "t-");
        assert!(swept.removed == 0 && swept.failed.is_none(), "{swept:?}");
        assert_eq!(names(room.path()), ["named", "other", "t-link", "t-pipe"]);
    }

    #[test]
    fn a_folder_that_is_kept_is_for_its_user_alone() {
        let room = tempfile::tempdir().unwrap();
        let kept = TempFolder::make(room.path(), "t-").unwrap().keep();
        assert_eq!(fs::metadata(&kept).unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn p5_sweeps_and_makers_at_once_lose_nothing() {
        let room = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for round in 0..200 {
                        let folder = TempFolder::make(room.path(), "t-").unwrap();
                        fs::write(folder.path().join("x"), "x").unwrap();
                        let file = TempFile::make(room.path(), "t-").unwrap();
                        file.rename(&room.path().join(format!("named-{round}"))).unwrap();
                        assert!(folder.path().join("x").exists());
                    }
                });
            }
            scope.spawn(|| {
                for _ in 0..400 {
                    sweep(room.path(), "t-");
                }
            });
        });
        assert_eq!(sweep(room.path(), "t-").removed, 0);
        assert_eq!(names(room.path()).len(), 200);
    }

    #[test]
    fn a_file_system_without_locks_is_no_living_process() {
        let room = tempfile::tempdir().unwrap();
        let without_locks = |_: &File| Err(TryLockError::Error(rustix::io::Errno::NOLCK.into()));
        let refused = lock_by(room.path(), without_locks).unwrap_err().to_string();
        assert!(refused.contains(&room.path().display().to_string()) && refused.contains("locked"), "{refused}");
        assert!(lock_by(room.path(), |_| Err(TryLockError::WouldBlock)).unwrap().is_none());
        assert!(lock_by(room.path(), File::try_lock).unwrap().is_some());
    }
}
