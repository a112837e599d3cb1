//! Files of the git directory that steer git: hooks, `info/` and the list of alternate object folders.

use std::fs;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Setting, hash};
use crate::error::{Error, Result};
use crate::names;
use crate::repo::Repo;

/// The most files that are looked at in one folder of hooks.
const FILES_MAX: usize = 200;
/// Programs of hooks may have folders of their own, such as `pre-commit.d`.
const DEPTH_MAX: u32 = 2;
/// What is hashed of one file; of a longer one its length counts too.
const HASHED_BYTES: u64 = 4 << 20;
/// Longer files are not copied aside.
const COPIED_BYTES: u64 = 256 << 10;

/// One file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct FileState {
    pub path: PathBuf,
    /// What it is for: `hook` or `info`.
    pub role: String,
    /// The permission bits.
    pub mode: u32,
    /// The hash of its content.
    pub content: String,
    /// Where it points, for a link.
    pub link: Option<PathBuf>,
}

impl FileState {
    /// Whether git runs it, or it says which programs git runs on which files.
    pub(super) fn may_run(&self) -> bool {
        self.role == "hook" || self.path.file_name().is_some_and(|name| name == "attributes")
    }

    pub(super) fn fields(&self) -> [String; 4] {
        let link = self.link.as_ref().map(|link| link.to_string_lossy().into_owned());
        [
            self.path.to_string_lossy().into_owned(),
            format!("{:o}", self.mode),
            self.content.clone(),
            link.unwrap_or_default(),
        ]
    }
}

/// The folders whose files git runs as hooks: the usual one, and the one that the settings name.
pub(super) fn hook_folders(repo: &Repo, settings: &[Setting]) -> Vec<PathBuf> {
    let mut folders = vec![as_text(&repo.common_dir().join("hooks"))];
    if settings.iter().any(|setting| setting.name() == "core.hookspath") {
        let asked = repo.as_user().args(["rev-parse", "--path-format=absolute", "--git-path", "hooks"]).output();
        if let Ok(out) = asked
            && out.code == Some(0)
        {
            folders.push(as_text(&names::path(out.stdout.trim_ascii_end())));
        }
    }
    folders.dedup();
    folders
}

/// Hooks, `info/` and alternates.
pub(super) fn of(repo: &Repo, hook_folders: &[PathBuf]) -> Result<Vec<FileState>> {
    let mut files = of_hooks(hook_folders)?;
    let mut info = vec![repo.common_dir().join("info")];
    if repo.git_dir() != repo.common_dir() {
        info.push(repo.git_dir().join("info"));
    }
    for folder in info {
        walk(&folder, DEPTH_MAX, "info", &mut files)?;
    }
    // Objects of others are read through this one.
    look(&repo.common_dir().join("objects/info/alternates"), "info", &mut files)?;
    files.sort();
    files.dedup();
    Ok(files)
}

pub(super) fn of_hooks(folders: &[PathBuf]) -> Result<Vec<FileState>> {
    let mut files = Vec::new();
    for folder in folders {
        let mut found = Vec::new();
        walk(folder, 0, "hook", &mut found)?;
        files.extend(found);
    }
    Ok(files)
}

fn walk(folder: &Path, depth: u32, role: &str, files: &mut Vec<FileState>) -> Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::PermissionDenied) => {
            return Ok(());
        }
        Err(e) => return Err(Error::io("read", folder)(e)),
    };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        if files.len() >= FILES_MAX {
            return Ok(());
        }
        // Git brings examples and never runs them.
        if path.extension().is_some_and(|end| end == "sample") {
            continue;
        }
        if fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_dir()) {
            if depth < DEPTH_MAX {
                walk(&path, depth + 1, role, files)?;
            }
            continue;
        }
        look(&path, role, files)?;
    }
    Ok(())
}

fn look(path: &Path, role: &str, files: &mut Vec<FileState>) -> Result<()> {
    let Ok(named) = fs::symlink_metadata(path) else { return Ok(()) };
    let link = if named.is_symlink() { fs::read_link(path).ok() } else { None };
    // Through a link: what git would run is what it points to.
    let meta = fs::metadata(path).ok().filter(fs::Metadata::is_file);
    let (mode, content) = match meta {
        Some(meta) => (meta.permissions().mode() & 0o7777, content(path, meta.len())?),
        None => (0, "not a file".to_owned()),
    };
    files.push(FileState { path: as_text(path), role: role.to_owned(), mode, content, link: link.map(|to| as_text(&to)) });
    Ok(())
}

/// A record is text: a name that is none is recorded with the replacement character.
pub(super) fn as_text(path: &Path) -> PathBuf {
    PathBuf::from(path.to_string_lossy().into_owned())
}

fn content(path: &Path, bytes: u64) -> Result<String> {
    let mut start = Vec::new();
    match fs::File::open(path).and_then(|file| file.take(HASHED_BYTES).read_to_end(&mut start)) {
        Ok(_) => {}
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) => {
            return Ok("unreadable".to_owned());
        }
        Err(e) => return Err(Error::io("read", path)(e)),
    }
    if bytes > HASHED_BYTES {
        start.extend_from_slice(&bytes.to_le_bytes());
    }
    Ok(hash(&start))
}

/// Where a copy of a file with this content lies, once there is one.
pub(super) fn copy_of(repo: &Repo, content: &str) -> PathBuf {
    repo.common_dir().join("agentops").join("kept").join(content)
}

/// Copies each file aside under the hash of its content. They stay in the user's git directory, readable by the user alone.
pub(super) fn copy_aside(repo: &Repo, files: &[FileState]) -> Result<()> {
    for file in files.iter().filter(|file| file.content.len() == 64) {
        let copy = copy_of(repo, &file.content);
        if copy.exists() {
            continue;
        }
        let Ok(bytes) = fs::read(&file.path) else { continue };
        if bytes.len() as u64 > COPIED_BYTES || hash(&bytes) != file.content {
            continue;
        }
        if let Some(folder) = copy.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(Error::io("make", folder))?;
        }
        crate::plain::write_whole(&copy, &bytes)?;
    }
    Ok(())
}
