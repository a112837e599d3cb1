//! Files of the git directory that steer git: hooks, `info/` and the list of alternate object folders.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Setting, hash};
use crate::error::{Error, Result};
use crate::names;
use crate::repo::Repo;

/// Most files of one record.
const FILES_MAX: usize = 5_000;
/// Most bytes of files that one record hashes.
const HASHED_BYTES_MAX: u64 = 256 << 20;
/// Programs of hooks may have folders of their own, such as `pre-commit.d`.
const DEPTH_MAX: u32 = 2;
/// Longer files are not copied aside.
const COPIED_BYTES_MAX: u64 = 256 << 10;
/// Most bytes that one record copies aside.
const COPIED_TOGETHER_BYTES_MAX: usize = 64 << 20;
/// Names by which git finds a hook, or a file of `info/`, in a folder that cannot be listed.
const KNOWN_NAMES: [&str; 30] = [
    "applypatch-msg",
    "attributes",
    "commit-msg",
    "exclude",
    "fsmonitor-watchman",
    "grafts",
    "p4-changelist",
    "p4-post-changelist",
    "p4-pre-submit",
    "p4-prepare-changelist",
    "post-applypatch",
    "post-checkout",
    "post-commit",
    "post-index-change",
    "post-merge",
    "post-receive",
    "post-rewrite",
    "post-update",
    "pre-applypatch",
    "pre-auto-gc",
    "pre-commit",
    "pre-merge-commit",
    "pre-push",
    "pre-rebase",
    "pre-receive",
    "prepare-commit-msg",
    "proc-receive",
    "reference-transaction",
    "sendemail-validate",
    "sparse-checkout",
];
/// How the content of an entry begins that equals no other one.
const NOT_COMPARED: &str = "not compared: ";

/// One file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct FileState {
    pub path: PathBuf,
    /// What it is for: `hook`, `info`, or `git` for one that leads git elsewhere.
    pub role: String,
    /// The permission bits.
    pub mode: u32,
    /// The hash of its content, or its size and times with the reason.
    pub content: String,
    /// Where it points, for a link.
    pub link: Option<PathBuf>,
}

impl FileState {
    /// Whether git runs it, or it says which programs git runs on which files.
    pub(super) fn may_run(&self) -> bool {
        self.role == "hook" || self.leads_elsewhere() || self.path.file_name().is_some_and(|name| name == "attributes")
    }

    /// Whether it leads git to another git directory, so that settings and refs could not be read.
    pub(super) fn leads_elsewhere(&self) -> bool {
        self.role == "git"
    }

    /// Why it could not be compared, so that it counts as changed.
    pub(super) fn not_compared(&self) -> Option<&str> {
        let (why, _random) = self.content.strip_prefix(NOT_COMPARED)?.rsplit_once(' ')?;
        Some(why)
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
    if settings.iter().any(|setting| setting.name == "core.hookspath") {
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
    let mut reading = Reading::default();
    // First what few files are: hooks may be too many.
    reading.walk(&repo.common_dir().join("info"), DEPTH_MAX, "info")?;
    if repo.git_dir() != repo.common_dir() {
        reading.walk(&repo.git_dir().join("info"), DEPTH_MAX, "info")?;
    }
    if repo.git_dir() == repo.common_dir() {
        reading.look(&repo.common_dir().join("commondir"), "git")?;
    }
    // It cuts the history of a repository.
    reading.look(&repo.common_dir().join("shallow"), "info")?;
    // Objects of others are read through this one.
    reading.look(&repo.common_dir().join("objects/info/alternates"), "info")?;
    for folder in hook_folders {
        reading.walk(folder, 0, "hook")?;
    }
    let mut files = reading.files;
    files.sort();
    files.dedup();
    Ok(files)
}

pub(super) fn of_hooks(folders: &[PathBuf]) -> Result<Vec<FileState>> {
    let mut reading = Reading::default();
    for folder in folders {
        reading.walk(folder, 0, "hook")?;
    }
    Ok(reading.files)
}

/// The files of one record while they are read.
///
/// What is not read could change unseen. So a file that is too large, or that may not be read, is compared by its times; and
/// a folder with too many files has an entry which never equals another one.
#[derive(Default)]
struct Reading {
    files: Vec<FileState>,
    hashed_bytes: u64,
}

impl Reading {
    fn walk(&mut self, folder: &Path, depth: u32, role: &str) -> Result<()> {
        if fs::symlink_metadata(folder).is_ok_and(|meta| meta.is_symlink()) {
            self.look(folder, role)?;
        }
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(()),
            // Git runs a hook by its path also where the folder cannot be listed.
            Err(e) if e.kind() == ErrorKind::PermissionDenied => {
                for name in KNOWN_NAMES {
                    self.look(&folder.join(name), role)?;
                }
                let meta = fs::metadata(folder).map_err(Error::io("look at", folder))?;
                self.add(folder, role, meta.permissions().mode() & 0o7777, by_times("not listed", &meta), None);
                return Ok(());
            }
            Err(e) => return Err(Error::io("read", folder)(e)),
        };
        let mut paths = Vec::new();
        for entry in entries {
            paths.push(entry.map_err(Error::io("read", folder))?.path());
            if paths.len() > FILES_MAX {
                return self.add_too_many(folder, role);
            }
        }
        paths.sort();
        for path in paths {
            // Git brings examples and never runs them.
            if path.extension().is_some_and(|end| end == "sample") {
                continue;
            }
            if fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_dir()) {
                if depth < DEPTH_MAX {
                    self.walk(&path, depth + 1, role)?;
                }
                continue;
            }
            if self.files.len() >= FILES_MAX {
                return self.add_too_many(folder, role);
            }
            self.look(&path, role)?;
        }
        Ok(())
    }

    fn look(&mut self, path: &Path, role: &str) -> Result<()> {
        let Ok(named) = fs::symlink_metadata(path) else { return Ok(()) };
        let link = if named.is_symlink() { fs::read_link(path).ok() } else { None };
        // Through a link: what git would run is what it points to.
        let meta = fs::metadata(path).ok().filter(fs::Metadata::is_file);
        let (mode, content) = match meta {
            Some(meta) => (meta.permissions().mode() & 0o7777, self.content(path, &meta)?),
            None => (0, "not a file".to_owned()),
        };
        self.add(path, role, mode, content, link.map(|to| as_text(&to)));
        Ok(())
    }

    fn add(&mut self, path: &Path, role: &str, mode: u32, content: String, link: Option<PathBuf>) {
        self.files.push(FileState { path: as_text(path), role: role.to_owned(), mode, content, link });
    }

    fn add_too_many(&mut self, folder: &Path, role: &str) -> Result<()> {
        self.add(folder, role, 0, format!("{NOT_COMPARED}it has too many files {}", crate::random::hex()?), None);
        Ok(())
    }

    /// The hash of a file's whole content, or its size and times where that cannot be had.
    fn content(&mut self, path: &Path, meta: &fs::Metadata) -> Result<String> {
        let file = match open(path) {
            Ok(Some(file)) => file,
            Ok(None) => return Ok("not a file".to_owned()),
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok("unreadable".to_owned()),
            // A user may run a program that they may not read.
            Err(e) if e.kind() == ErrorKind::PermissionDenied => return Ok(by_times("not read", meta)),
            Err(e) => return Err(Error::io("read", path)(e)),
        };
        let left = HASHED_BYTES_MAX.saturating_sub(self.hashed_bytes);
        let meta = file.metadata().map_err(Error::io("look at", path))?;
        if meta.len() > left {
            return Ok(by_times("too large", &meta));
        }
        let mut hash = HashWriter(Sha256::new());
        // It may grow while it is read.
        let read = io::copy(&mut (&file).take(left.saturating_add(1)), &mut hash).map_err(Error::io("read", path))?;
        self.hashed_bytes += read;
        if read > left {
            let meta = file.metadata().map_err(Error::io("look at", path))?;
            return Ok(by_times("too large", &meta));
        }
        Ok(names::hex(&hash.0.finalize()))
    }
}

/// What stands in the place of a hash. A program cannot choose the time of the last change (`ctime`), so another content under
/// the same name has another one.
fn by_times(why: &str, meta: &fs::Metadata) -> String {
    let (file, changed) = ((meta.dev(), meta.ino(), meta.len()), (meta.ctime(), meta.ctime_nsec()));
    format!("{why}: {file:?} {changed:?} {:?}", (meta.mtime(), meta.mtime_nsec()))
}

/// Opens a file through links, as git does; none where it is no file. Nothing is waited for.
fn open(path: &Path) -> io::Result<Option<File>> {
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    Ok(file.metadata()?.is_file().then_some(file))
}

struct HashWriter(Sha256);

impl io::Write for HashWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A record is text: a name that is none is recorded with the replacement character.
pub(super) fn as_text(path: &Path) -> PathBuf {
    PathBuf::from(path.to_string_lossy().into_owned())
}

/// Where a copy of a file with this content lies, once there is one.
pub(super) fn copy_of(repo: &Repo, content: &str) -> PathBuf {
    repo.common_dir().join("agentops").join("kept").join(content)
}

/// Copies each file aside under the hash of its content. They stay in the user's git directory, readable by the user alone.
pub(super) fn copy_aside(repo: &Repo, files: &[FileState]) -> Result<()> {
    let mut copied_bytes = 0;
    for file in files.iter().filter(|file| file.content.len() == 64) {
        let copy = copy_of(repo, &file.content);
        if copy.exists() {
            continue;
        }
        let Some(bytes) = small_content(&file.path).filter(|bytes| hash(bytes) == file.content) else { continue };
        copied_bytes += bytes.len();
        if copied_bytes > COPIED_TOGETHER_BYTES_MAX {
            return Ok(());
        }
        if let Some(folder) = copy.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(Error::io("make", folder))?;
        }
        crate::plain::write_whole(&copy, &bytes)?;
    }
    Ok(())
}

/// The content of a file that is small enough for a copy.
fn small_content(path: &Path) -> Option<Vec<u8>> {
    let file = open(path).ok()??;
    if file.metadata().ok()?.len() > COPIED_BYTES_MAX {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(COPIED_BYTES_MAX + 1).read_to_end(&mut bytes).ok()?;
    Some(bytes).filter(|bytes| bytes.len() as u64 <= COPIED_BYTES_MAX)
}
