//! Removing folders that an agent filled: links are not followed and missing permissions do not stop it.

use std::ffi::{CStr, CString};
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, openat, unlinkat};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::lanes::OUT_DIR;

/// Handles that a removal has open at most: the depth of a folder is the agent's choice.
const HANDLES_MAX: usize = 64;
/// How often a folder is read again in which something was left.
const ROUNDS_MAX: u32 = 3;

/// Removes a folder and all in it, of any depth; absent is success.
///
/// # Errors
/// Something cannot be removed, also after the folders were given the owner's rights.
pub fn remove_all(path: &Path) -> Result<()> {
    match fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(Error::io("look at", path)(e)),
        Ok(meta) if !meta.is_dir() => return fs::remove_file(path).map_err(Error::io("remove", path)),
        Ok(_) => {}
    }
    match empty(path).and_then(|()| fs::remove_dir(path)) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", path)(e)),
        _ => Ok(()),
    }
}

/// A folder that is being emptied.
struct Level {
    /// Its name in the folder above.
    name: CString,
    /// Device and inode: the way back up leads here, or the removal ends.
    id: (u64, u64),
    /// Where it is read; none while far below it.
    dir: Option<Dir>,
    /// How often it was read.
    rounds: u32,
}

impl Level {
    fn new(name: CString, folder: &OwnedFd) -> io::Result<Self> {
        let dir = readable(folder)?;
        let id = id(&dir)?;
        Ok(Self { name, id, dir: Some(dir), rounds: 0 })
    }
}

/// Empties a folder, by handles and without recursion.
fn empty(path: &Path) -> io::Result<()> {
    let mut levels = vec![Level::new(CString::default(), &open_folder(rustix::fs::CWD, path.as_os_str().as_bytes())?)?];
    while let Some(level) = levels.last_mut() {
        let Some(dir) = &mut level.dir else { return Err(io::Error::other("a folder was read in the wrong order")) };
        if let Some((name, folder)) = next_full_folder(dir)? {
            levels.push(Level::new(name, &folder)?);
            if let Some(far) = levels.len().checked_sub(HANDLES_MAX + 1) {
                levels[far].dir = None;
            }
            continue;
        }
        let Some(done) = levels.pop() else { break };
        let Some(above) = levels.last_mut() else { break };
        if above.dir.is_none() {
            let below = done.dir.as_ref().ok_or_else(|| io::Error::other("a folder was closed too early"))?;
            let dir = readable(&open_folder(below.fd()?, b"..")?)?;
            if id(&dir)? != above.id {
                return Err(io::Error::other("a folder was moved while it was removed"));
            }
            above.dir = Some(dir);
        }
        let Some(dir) = &above.dir else { continue };
        match unlink(dir, &done.name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => {}
            // Something was written meanwhile, or reading passed over it.
            Err(Errno::NOTEMPTY | Errno::EXIST) if done.rounds < ROUNDS_MAX => {
                let again = Level::new(done.name.clone(), &open_folder(dir.fd()?, done.name.as_bytes())?)?;
                levels.push(Level { rounds: done.rounds + 1, ..again });
            }
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

/// Removes what it can on the way to the next folder that holds something.
fn next_full_folder(dir: &mut Dir) -> io::Result<Option<(CString, OwnedFd)>> {
    while let Some(entry) = dir.next() {
        let entry = entry?;
        let name = entry.file_name().to_owned();
        if [c".", c".."].contains(&name.as_c_str()) {
            continue;
        }
        // Some file systems do not tell what an entry is.
        if entry.file_type() != FileType::Directory {
            match unlink(dir, &name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => continue,
                Err(Errno::ISDIR | Errno::PERM) if entry.file_type() == FileType::Unknown => {}
                Err(e) => return Err(e.into()),
            }
        }
        match unlink(dir, &name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::NOTEMPTY | Errno::EXIST) => {
                let folder = open_folder(dir.fd()?, name.as_bytes())?;
                return Ok(Some((name, folder)));
            }
            Err(e) => return Err(e.into()),
        }
    }
    Ok(None)
}

/// Removes an entry of a folder, which is made writable if need be.
fn unlink(dir: &Dir, name: &CStr, flags: AtFlags) -> rustix::io::Result<()> {
    match unlinkat(dir.fd()?, name, flags) {
        Err(Errno::ACCESS) => {
            rustix::fs::fchmod(dir.fd()?, Mode::RWXU)?;
            unlinkat(dir.fd()?, name, flags)
        }
        done => done,
    }
}

/// A handle of a folder, links not followed. It needs no right on the folder itself.
fn open_folder(at: BorrowedFd<'_>, name: &[u8]) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(openat(at, name, flags, Mode::empty())?)
}

/// The folder, to be read. It gets the owner's rights if need be.
fn readable(folder: &OwnedFd) -> io::Result<Dir> {
    let open = || openat(folder, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    match open() {
        Ok(dir) => Ok(Dir::new(dir)?),
        Err(Errno::ACCESS) => opened(folder),
        Err(e) => Err(e.into()),
    }
}

fn id(dir: &Dir) -> io::Result<(u64, u64)> {
    let stat = dir.stat()?;
    Ok((stat.st_dev, stat.st_ino))
}

/// Files of rules that git opens wherever they lie in a work tree.
const RULES: [&str; 3] = [".gitignore", ".gitattributes", ".gitmodules"];

/// Removes pipes and the like that lie where git reads rules: it would wait for ever for somebody to write into one. They have
/// no content, and no commit could hold them.
pub(crate) fn remove_pipes_of_rules(work_tree: &Path) -> Result<()> {
    let mut folders = vec![work_tree.to_owned()];
    while let Some(folder) = folders.pop() {
        // Git can read no more of a folder than we can.
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let (Ok(kind), name) = (entry.file_type(), entry.file_name()) else { continue };
            if kind.is_dir() {
                if name != ".git" {
                    folders.push(entry.path());
                }
            } else if !kind.is_file() && !kind.is_symlink() && RULES.iter().any(|rules| name.eq_ignore_ascii_case(rules)) {
                fs::remove_file(entry.path()).map_err(Error::io("remove", entry.path()))?;
            }
        }
    }
    Ok(())
}

/// Gives the owner all rights on the folders below.
pub(crate) fn make_writable(path: &Path) -> Result<()> {
    let open = || -> io::Result<()> {
        let dir =
            rustix::fs::open(path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        descend(&dir)
    };
    open().map_err(Error::io("make writable", path))
}

/// Gives the owner all rights on a lane's own folder, its git directory and its folder for results, where they are folders: an
/// agent may have taken them from us. What it did to its other folders is its work.
pub(crate) fn take_back_rights(lane: &Path) {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let give = || -> io::Result<()> {
        let lane = rustix::fs::open(lane, flags, Mode::empty())?;
        opened(&lane)?;
        if let Ok(results) = openat(&lane, OUT_DIR, flags, Mode::empty()) {
            opened(&results)?;
        }
        if let Ok(git) = openat(&lane, ".git", flags, Mode::empty()) {
            descend(&git)?;
        }
        Ok(())
    };
    // What stays as it is fails where it is needed, with its path.
    let _stays = give();
}

/// Walks by handles, so that a folder swapped for a link meanwhile leads nowhere. Not recursive and one handle per level:
/// depth and width are the agent's choice.
fn descend(top: &OwnedFd) -> io::Result<()> {
    let mut levels = vec![opened(top)?];
    while let Some(level) = levels.last_mut() {
        let Some(entry) = level.next() else {
            levels.pop();
            continue;
        };
        let entry = entry?;
        let name = entry.file_name();
        if entry.file_type() != FileType::Directory || name == c"." || name == c".." {
            continue;
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::DIRECTORY | OFlags::CLOEXEC;
        // Gone or swapped meanwhile: not ours to open.
        if let Ok(below) = openat(level.fd()?, name, flags, Mode::empty()) {
            levels.push(opened(&below)?);
        }
    }
    Ok(())
}

/// A folder made accessible. A handle for the path alone cannot change modes; its name under /proc can.
fn opened(handle: &OwnedFd) -> io::Result<Dir> {
    rustix::fs::chmod(format!("/proc/self/fd/{}", handle.as_raw_fd()), Mode::RWXU)?;
    let readable = openat(handle, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    Ok(Dir::new(readable)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn r11_a_folder_of_any_depth_and_width_goes_without_a_large_stack() {
        const LEVELS: usize = 3_000;
        let room = tempfile::tempdir().unwrap();
        let outside = room.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("keep"), "x").unwrap();
        let top = room.path().join("lane");
        fs::create_dir(&top).unwrap();
        let mut folder = rustix::fs::open(&top, OFlags::PATH, Mode::empty()).unwrap();
        for level in 0..LEVELS {
            for name in [c"d", c"e"] {
                rustix::fs::mkdirat(&folder, name, Mode::RWXU).unwrap();
            }
            if level % 1_000 == 0 {
                rustix::fs::symlinkat(outside.as_os_str(), &folder, c"link").unwrap();
                let below = openat(&folder, c"e", OFlags::PATH, Mode::empty()).unwrap();
                rustix::fs::mkdirat(&below, c"full", Mode::empty()).unwrap();
            }
            folder = openat(&folder, c"d", OFlags::PATH, Mode::empty()).unwrap();
        }
        for number in 0..2_000 {
            fs::write(top.join(format!("f{number}")), "x").unwrap();
        }
        let removal = std::thread::Builder::new().stack_size(128 << 10);
        let removed = removal.spawn({
            let top = top.clone();
            move || remove_all(&top)
        });
        removed.unwrap().join().unwrap().unwrap();
        assert!(!top.exists() && outside.join("keep").exists());
    }

    #[test]
    fn locked_folders_go_and_links_stay_unfollowed() {
        let room = tempfile::tempdir().unwrap();
        let outside = room.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("keep"), "x").unwrap();
        fs::set_permissions(&outside, fs::Permissions::from_mode(0o555)).unwrap();
        let dir = room.path().join("lane/a/b");
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("f"), "x").unwrap();
        std::os::unix::fs::symlink(&outside, dir.join("link")).unwrap();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o000)).unwrap();
        let lane = room.path().join("lane");
        make_writable(&lane).unwrap();
        assert_eq!(fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::metadata(&outside).unwrap().permissions().mode() & 0o777, 0o555);
        remove_all(&lane).unwrap();
        remove_all(&lane).unwrap();
        assert!(!lane.exists() && outside.join("keep").exists());
    }
}
