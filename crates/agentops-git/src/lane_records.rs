//! What is known about each lane, in `agentops/lanes/<name>` of the user's git directory.
//!
//! A record that a crash tore is told from one that cannot be read now: the first is a leftover, the second may be a lane's that
//! is at work. Such a record keeps its own lane from being used, and no other one.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::lanes::{Lane, LaneForm, bytes};
use crate::names;
use crate::plain::write_durable;
use crate::plain_file;
use crate::repo::Repo;
use crate::temporary::sync_folder;

/// How a record says that its lane is a repository of its own. Records of linked worktrees have no such file.
const REPOSITORY_FORM: &str = "2";
/// Bytes of a file in a record. A path has at most 4096.
const RECORD_FILE_BYTES_MAX: u64 = 64 * 1024;

pub(crate) fn records(repo: &Repo) -> PathBuf {
    repo.common_dir().join("agentops").join("lanes")
}

/// A record as it was found.
pub(crate) enum LaneRecord {
    /// It says which lane it is of. The lane may be incomplete.
    Read(Lane),
    /// A crash tore it; this is its name.
    Torn(String),
    /// It cannot be read now, or a newer version wrote it. Its name, and why.
    Unreadable(String, Error),
}

/// Every record.
///
/// # Errors
/// Their folder cannot be read.
pub(crate) fn recorded(repo: &Repo) -> Result<Vec<LaneRecord>> {
    let dir = records(repo);
    match plain_file::look_at(&dir)? {
        None => return Ok(Vec::new()),
        Some(meta) if meta.is_dir() => {}
        // What a link leads to is somebody else's, and would be taken for torn records.
        Some(_) => {
            let why = "it is no folder; put the folder back in its place, or remove what is there if no run is open";
            return Err(Error::io("read", dir)(std::io::Error::other(why)));
        }
    }
    let entries = fs::read_dir(&dir).map_err(Error::io("read", &dir))?;
    let mut lanes = Vec::new();
    for entry in entries {
        let entry = entry.map_err(Error::io("read", &dir))?;
        let Some(name) = entry.file_name().into_string().ok().filter(|n| names::check_lane(n).is_ok()) else { continue };
        let read = read_record(repo, &entry.path(), name.clone());
        lanes.push(read.unwrap_or_else(|why| LaneRecord::Unreadable(name, why)));
    }
    Ok(lanes)
}

fn read_record(repo: &Repo, record: &Path, name: String) -> Result<LaneRecord> {
    let form = match read_record_file(&record.join("form"))? {
        RecordFile::Absent => LaneForm::LinkedWorktree,
        RecordFile::Damaged => return Ok(LaneRecord::Torn(name)),
        RecordFile::Content(bytes) => match bytes.trim_ascii() {
            b"" => return Ok(LaneRecord::Torn(name)),
            form if form == REPOSITORY_FORM.as_bytes() => LaneForm::Repository,
            _ => return Err(Error::NewerLane { name }),
        },
    };
    let path = read_record_file(&record.join("path"))?.content().map(|bytes| names::path(&bytes));
    let base =
        read_record_file(&record.join("base"))?.content().and_then(|bytes| String::from_utf8(bytes).ok()?.parse().ok());
    Ok(match (path.filter(|path| path.is_absolute()), base) {
        (Some(path), Some(base)) => LaneRecord::Read(Lane::new(repo, name, path, base, form)),
        _ => LaneRecord::Torn(name),
    })
}

/// A file of a record.
enum RecordFile {
    Absent,
    /// Something that we never write there, such as a folder.
    Damaged,
    Content(Vec<u8>),
}

impl RecordFile {
    fn content(self) -> Option<Vec<u8>> {
        match self {
            RecordFile::Content(bytes) => Some(bytes),
            RecordFile::Absent | RecordFile::Damaged => None,
        }
    }
}

fn read_record_file(path: &Path) -> Result<RecordFile> {
    match plain_file::read(path, RECORD_FILE_BYTES_MAX) {
        Ok(bytes) => Ok(RecordFile::Content(bytes)),
        Err(e) if plain_file::is_absent(&e) => Ok(RecordFile::Absent),
        Err(e) if plain_file::is_no_such_file(&e) => Ok(RecordFile::Damaged),
        Err(e) => Err(Error::io("read", path)(e)),
    }
}

/// What is known of all lanes.
pub(crate) struct KnownLanes {
    /// Those whose record is not torn, complete or not.
    pub(crate) lanes: Vec<Lane>,
    unreadable: Vec<(String, Error)>,
}

impl KnownLanes {
    /// The lanes, for somebody who asks about the lane of this name.
    ///
    /// # Errors
    /// Its record cannot be read.
    pub(crate) fn about(self, name: &str) -> Result<Vec<Lane>> {
        match self.unreadable.into_iter().find(|(unreadable, _)| unreadable == name) {
            Some((_, why)) => Err(why),
            None => Ok(self.lanes),
        }
    }

    /// The lane at this place.
    ///
    /// # Errors
    /// None is known, and a record that cannot be read may be of one.
    pub(crate) fn at(self, path: &Path) -> Result<Option<Lane>> {
        match self.lanes.into_iter().find(|lane| lane.path == path) {
            Some(lane) => Ok(Some(lane)),
            None => self.unreadable.into_iter().next().map_or(Ok(None), |(_, why)| Err(why)),
        }
    }
}

pub(crate) fn all(repo: &Repo) -> Result<KnownLanes> {
    let mut known = KnownLanes { lanes: Vec::new(), unreadable: Vec::new() };
    for record in recorded(repo)? {
        match record {
            LaneRecord::Read(lane) => known.lanes.push(lane),
            LaneRecord::Torn(_) => {}
            LaneRecord::Unreadable(name, why) => known.unreadable.push((name, why)),
        }
    }
    Ok(known)
}

/// Writes what a record says. It counts as soon as it has the path, which comes last. Survives a power cut.
pub(crate) fn write_record(lane: &Lane) -> Result<()> {
    let record = lane.record();
    write_durable(&record.join("form"), REPOSITORY_FORM.as_bytes())?;
    write_durable(&record.join("base"), lane.base.as_str().as_bytes())?;
    write_durable(&record.join("path"), bytes(&lane.path))?;
    let above = records(&lane.repo);
    sync_folder(&above).map_err(Error::io("sync", above))
}
