//! Copies files of the user's checkout into a lane.
//!
//! The files of a lane are an agent's work, so a folder there may have become a link to anywhere. No part of the destination
//! is followed. The source is the user's own checkout, where a person chose the links.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use agentops_safe::RepoPath;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, mkdirat, openat, statat, unlinkat};
use rustix::io::Errno;

const FOLDER: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Copies `copied` from `checkout` into `lane`; `Some` says which file is refused and why. All are checked before the first
/// is written.
pub(super) fn copy_files(checkout: &Path, lane: &Path, copied: &[String]) -> io::Result<Option<String>> {
    let root = rustix::fs::open(lane, FOLDER, Mode::empty())?;
    let mut paths = Vec::new();
    for name in copied {
        let Ok(path) = name.parse::<RepoPath>() else {
            return Ok(Some(format!("`{name}` is not a path inside the repository")));
        };
        let from = checkout.join(path.as_str());
        if !std::fs::symlink_metadata(&from).is_ok_and(|meta| meta.is_file()) {
            return Ok(Some(format!("`{name}` is named in the lane's set-up and is not a plain file of your checkout")));
        }
        if let Some(part) = unsafe_part(&root, path.as_str())? {
            return Ok(Some(format!(
                "`{name}` is named in the lane's set-up and was not copied: `{part}` of the lane is a link or not of the right kind"
            )));
        }
        paths.push((from, path));
    }
    for (from, path) in paths {
        copy_file(&from, &root, path.as_str())?;
    }
    Ok(None)
}

/// The first part of a destination that exists and is neither a folder nor, at the end, a plain file.
fn unsafe_part(root: &OwnedFd, path: &str) -> io::Result<Option<String>> {
    let mut folder = root.try_clone()?;
    let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
    let mut begin = 0;
    for end in ends {
        let wanted = if end == path.len() { FileType::RegularFile } else { FileType::Directory };
        match statat(&folder, &path[begin..end], AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(None),
            Err(e) => return Err(e.into()),
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) != wanted => return Ok(Some(path[..end].to_owned())),
            Ok(_) if end == path.len() => {}
            Ok(_) => folder = openat(&folder, &path[begin..end], FOLDER, Mode::empty())?,
        }
        begin = end + 1;
    }
    Ok(None)
}

/// Writes a new file in the place of one that is there, so that neither a link nor a second name of it is written through.
fn copy_file(from: &Path, root: &OwnedFd, path: &str) -> io::Result<()> {
    let (folders, name) = path.rsplit_once('/').unwrap_or(("", path));
    let mut folder = root.try_clone()?;
    for part in folders.split('/').filter(|part| !part.is_empty()) {
        match mkdirat(&folder, part, Mode::from_raw_mode(0o777)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Err(e.into()),
        }
        folder = openat(&folder, part, FOLDER, Mode::empty())?;
    }
    let mut source = File::open(from)?;
    match unlinkat(&folder, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(e) => return Err(e.into()),
    }
    let create = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut to = File::from(openat(&folder, name, create, Mode::from_raw_mode(0o600))?);
    io::copy(&mut source, &mut to)?;
    to.set_permissions(source.metadata()?.permissions())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn s3_a_copy_follows_no_link_of_the_lane_and_writes_nothing_when_one_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (checkout, lane, loot) = (dir.path().join("checkout"), dir.path().join("lane"), dir.path().join("loot"));
        for folder in [&checkout.join("conf"), &lane, &loot] {
            std::fs::create_dir_all(folder).unwrap();
        }
        std::fs::write(checkout.join("a"), "a").unwrap();
        std::fs::write(checkout.join("conf/.env"), "secret").unwrap();
        let names = ["a".to_owned(), "conf/.env".to_owned()];
        for target in [&loot, &checkout.join("conf")] {
            symlink(target, lane.join("conf")).unwrap();
            let refused = copy_files(&checkout, &lane, &names).unwrap().unwrap();
            assert!(refused.contains("`conf/.env`") && refused.contains("`conf`"), "{refused}");
            assert!(!lane.join("a").exists() && !loot.join(".env").exists());
            assert_eq!(std::fs::read_to_string(checkout.join("conf/.env")).unwrap(), "secret");
            std::fs::remove_file(lane.join("conf")).unwrap();
        }
        std::fs::hard_link(checkout.join("a"), lane.join("a")).unwrap();
        assert_eq!(copy_files(&checkout, &lane, &names).unwrap(), None);
        assert_eq!(std::fs::read_to_string(checkout.join("a")).unwrap(), "a");
        assert_eq!(std::fs::read_to_string(lane.join("conf/.env")).unwrap(), "secret");
    }
}
