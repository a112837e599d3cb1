//! Removing folders that an agent filled: links are not followed and missing permissions do not stop it.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Dir, FileType, Mode, OFlags, openat};

use crate::error::{Error, Result};

/// Removes a folder and all in it; absent is success.
pub(crate) fn remove_all(path: &Path) -> Result<()> {
    match fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(Error::io("look at", path)(e)),
        Ok(meta) if !meta.is_dir() => return fs::remove_file(path).map_err(Error::io("remove", path)),
        Ok(_) => {}
    }
    match fs::remove_dir_all(path) {
        Ok(()) => return Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound && !path.exists() => return Ok(()),
        Err(_) => {}
    }
    // Something was written meanwhile, or a folder does not let us in.
    make_writable(path)?;
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", path)(e)),
        _ => Ok(()),
    }
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
