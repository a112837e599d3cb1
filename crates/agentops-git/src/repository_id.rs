//! The repository's own id, in its git directory: `agentops/repository-id`.
//!
//! The id goes where the repository goes: through `mv`, through every link and linked worktree. `cp -r` copies it as well,
//! and a program that an agent started can write it. So it claims something and proves nothing: the engine compares it with
//! the path and the folder that the state of that id recorded.

use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use crate::error::{Error, Result};
use crate::lane_records::{self, LaneRecord};
use crate::lane_refs;
use crate::linked_lane;
use crate::lock::Lock;
use crate::names;
use crate::plain::{self, FILE_PREFIX, write_durable, write_whole};
use crate::plain_file;
use crate::random;
use crate::remove::remove_all;
use crate::repo::Repo;
use crate::temporary;

pub(crate) const FOLDER: &str = "agentops";
const ID_FILE: &str = "repository-id";
const STATE_FILE: &str = "state-folder";
const LOCK_FILE: &str = "identity.lock";
/// More than any path has.
const FILE_BYTES_MAX: u64 = 8 * 1024;

/// A directory, whatever its path: it stays the same through `mv`, and a copy of it is another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DirectoryId {
    /// Its inode.
    pub inode: u64,
    /// When it was made, nanoseconds since 1970, where the file system knows: inodes are used again.
    pub born_ns: Option<u64>,
}

impl DirectoryId {
    /// The directory at this path; `None`: there is none.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        let meta = fs::metadata(path).ok().filter(fs::Metadata::is_dir)?;
        let born = meta.created().ok().and_then(|born| born.duration_since(UNIX_EPOCH).ok());
        Some(Self { inode: meta.ino(), born_ns: born.and_then(|since| u64::try_from(since.as_nanos()).ok()) })
    }

    /// Whether both are the same directory, as far as the file system tells.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.inode == other.inode && (self.born_ns == other.born_ns || self.born_ns.is_none() || other.born_ns.is_none())
    }
}

/// Held while somebody decides about a repository's id. The kernel releases it with the process.
#[derive(Debug)]
pub struct IdentityLock(#[expect(dead_code, reason = "held, not read")] Lock);

/// The id that a git directory claims; `None`: it has none, or something that is no id.
#[must_use]
pub fn claimed_id(common_dir: &Path) -> Option<String> {
    let bytes = plain_file::read(&common_dir.join(FOLDER).join(ID_FILE), FILE_BYTES_MAX).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let id = text.trim_end_matches('\n');
    is_id(id).then(|| id.to_owned())
}

/// Whether this could be a repository's id: 16 hexadecimal digits.
#[must_use]
pub fn is_id(id: &str) -> bool {
    id.len() == 16 && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

impl Repo {
    /// Locks the decision about this repository's id. Waits for another process that holds the lock.
    pub fn lock_identity(&self) -> Result<IdentityLock> {
        let path = self.own_folder()?.join(LOCK_FILE);
        let open = plain_file::open_as(&path, fs::File::options().create(true).append(true));
        let file = open.map_err(Error::io("open", &path))?;
        Lock::wait_for(file, &path).map(IdentityLock)
    }

    /// Writes the id, in place of any other. Survives a power cut.
    pub fn write_id(&self, id: &str) -> Result<()> {
        let path = self.own_folder()?.join(ID_FILE);
        if claimed_id(self.common_dir()).as_deref() == Some(id) {
            return Ok(());
        }
        write_durable(&path, format!("{id}\n").as_bytes())
    }

    /// An id that no other repository has.
    pub fn new_id() -> Result<String> {
        random::hex()
    }

    /// The folder that holds the state of this repository and others, as the last command that made state wrote it down. For
    /// messages only: an agent can change it.
    #[must_use]
    pub fn last_state(&self) -> Option<PathBuf> {
        let bytes = plain_file::read(&self.common_dir().join(FOLDER).join(STATE_FILE), FILE_BYTES_MAX).ok()?;
        let path = PathBuf::from(std::ffi::OsString::from_vec(bytes));
        path.is_absolute().then_some(path)
    }

    /// Writes down where the state lies.
    pub fn write_last_state(&self, state: &Path) -> Result<()> {
        if self.last_state().as_deref() == Some(state) {
            return Ok(());
        }
        write_whole(&self.own_folder()?.join(STATE_FILE), state.as_os_str().as_bytes())
    }

    /// Forgets lanes that this git directory names and that are another repository's: it is a copy of that one. Their folders
    /// are the other's and are left alone.
    pub fn forget_copied_lanes(&self) -> Result<()> {
        let records = self.common_dir().join(FOLDER).join("lanes");
        let names =
            fs::read_dir(&records).into_iter().flatten().flatten().filter_map(|entry| entry.file_name().into_string().ok());
        for name in names.filter(|name| names::check_lane(name).is_ok()) {
            lane_refs::release(self, &name)?;
        }
        remove_all(&records)?;
        let Ok(entries) = fs::read_dir(self.common_dir().join("worktrees")) else { return Ok(()) };
        let ours = entries.flatten().filter(|entry| entry.file_name().as_bytes().starts_with(b"agentops.lane."));
        ours.into_iter().try_for_each(|entry| remove_all(&entry.path()))
    }

    /// Forgets the lanes of which no complete folder is there, and leaves every folder alone. What may hold work stays known, and
    /// its objects stay kept: the state that the lanes belong to may be adopted again.
    pub fn forget_incomplete_lanes(&self) -> Result<()> {
        for record in lane_records::recorded(self)? {
            let name = match record {
                LaneRecord::Unreadable(..) => continue,
                LaneRecord::Read(lane) if lane.is_whole()? => continue,
                LaneRecord::Read(lane) => lane.name,
                LaneRecord::Torn(name) => name,
            };
            lane_refs::release(self, &name)?;
            remove_all(&linked_lane::git_dir(self, &name))?;
            remove_all(&lane_records::records(self).join(&name))?;
        }
        Ok(())
    }

    /// Removes what killed processes left in the temporary folders and in our folders of the git directory.
    pub fn sweep(&self) {
        plain::sweep_temporary_folders();
        let is_folder = |path: &Path| plain_file::is_folder(path).is_ok_and(|is_folder| is_folder);
        let ours = self.common_dir().join(FOLDER);
        if !is_folder(&ours) {
            return;
        }
        let lanes = ours.join("lanes");
        let records = if is_folder(&lanes) { fs::read_dir(&lanes).ok() } else { None };
        let records = records.into_iter().flatten().flatten().map(|entry| entry.path());
        for folder in [ours.clone(), ours.join("kept")].into_iter().chain(records).filter(|path| is_folder(path)) {
            temporary::sweep(&folder, FILE_PREFIX);
        }
    }

    /// The folder of ours in the git directory. A link in its place would lead our writes elsewhere.
    pub(crate) fn own_folder(&self) -> Result<PathBuf> {
        self.own_folder_in(self.common_dir())
    }

    /// The same in the git directory of this checkout, which is another one for a linked worktree.
    pub(crate) fn own_folder_of_checkout(&self) -> Result<PathBuf> {
        self.own_folder_in(self.git_dir())
    }

    fn own_folder_in(&self, git_dir: &Path) -> Result<PathBuf> {
        let folder = git_dir.join(FOLDER);
        match fs::create_dir(&folder) {
            Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => return Err(Error::io("make", &folder)(e)),
            _ => {}
        }
        match fs::symlink_metadata(&folder) {
            Ok(meta) if meta.is_dir() => Ok(folder),
            Ok(_) => Err(Error::io("use", &folder)(std::io::ErrorKind::NotADirectory.into())),
            Err(e) => Err(Error::io("use", &folder)(e)),
        }
    }
}
