//! Which state folder is a repository's.
//!
//! A repository keeps a random id in its git directory, and the state folder of that name keeps where the repository lay
//! last and which directory it was. The id alone is only a claim: `cp -r` copies it and an agent can write it. So both sides
//! are compared, and one repository never gets another's state, runs or trust:
//!
//! - the same directory elsewhere has moved: it keeps its state;
//! - another directory while the recorded one is still there is a copy: it gets an id of its own;
//! - another directory while the recorded one is gone may be either, and a person says which.
//!
//! Versions before this one named the state folder by a hash of the path. Such a folder is taken over under its name.

use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use agentops_git::temporary::TempFile;
use agentops_git::{DirectoryId, Repo, claimed_id, is_id};

use crate::paths::{Home, Paths};
use crate::supervisor::Lock;

/// What a repository is to its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ownership {
    /// The state folder records it.
    Known,
    /// The state folder records the same directory at another path.
    Moved {
        /// Where its git directory was.
        from: PathBuf,
    },
    /// The state folder of this path is its own, though its git directory says nothing of it, or names another's state: a
    /// version that kept no id made it, or the file was removed or changed.
    Restored,
    /// It has no state yet.
    New,
    /// It is a copy and has no state of its own yet.
    Copy {
        /// The git directory of the repository that it was copied from.
        of: PathBuf,
    },
    /// It has an id and no state in this state folder.
    Absent {
        /// The folder in which a command last made its state.
        last: Option<PathBuf>,
    },
}

/// A repository's id, and how it comes to have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The id. One that is new is not written down before [`claim`].
    pub id: String,
    /// How it comes to have it.
    pub ownership: Ownership,
}

/// Why it is not known which state is a repository's.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The state of its id was another directory's, which is gone.
    #[error("the id {id} of this repository names the state of a repository at {was}, which is not there any more")]
    Unclear {
        /// The id.
        id: String,
        /// Where that one was; for people.
        was: String,
    },
    /// No state folder has this name.
    #[error("there is no state folder {path}")]
    NoState {
        /// The folder.
        path: PathBuf,
    },
    /// The state is in use by its own repository.
    #[error("the state {id} is that of the repository at {path}, which is there")]
    InUse {
        /// The id.
        id: String,
        /// Its git directory.
        path: PathBuf,
    },
    /// A supervisor works with the state.
    #[error("a supervisor (process {pid}) works with it")]
    Supervised {
        /// The supervisor.
        pid: String,
    },
    /// The git directory cannot be read or written.
    #[error(transparent)]
    Git(#[from] agentops_git::Error),
    /// The state folder cannot be written.
    #[error("the state folder {path} cannot be written")]
    State {
        /// The folder.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
}

/// A state folder whose repository is not where it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orphan {
    /// Its id.
    pub id: String,
    /// What is known of its repository.
    pub repository: LastRepository,
}

/// What a state folder says about the repository that it belonged to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LastRepository {
    /// Its git directory was there.
    At(PathBuf),
    /// A person gave that repository another state: by [`adopt`] or [`separate`].
    GivenUp,
    /// An older version made the folder and did not write that down.
    NotRecorded,
}

/// What a state folder records of its repository.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Record {
    path: PathBuf,
    directory: Option<DirectoryId>,
}

impl Record {
    fn here(repo: &Repo) -> Self {
        Self { path: repo.common_dir().to_owned(), directory: DirectoryId::of(repo.common_dir()) }
    }

    fn read(paths: &Paths) -> Option<Self> {
        let bytes = fs::read(paths.repository_record()).ok()?;
        let mut lines = bytes.splitn(3, |byte| *byte == b'\n');
        let (format, directory, path) = (lines.next()?, lines.next()?, lines.next()?);
        if format != FORMAT.as_bytes() {
            return None;
        }
        let path = PathBuf::from(std::ffi::OsString::from_vec(path.strip_suffix(b"\n")?.to_vec()));
        let mut numbers = std::str::from_utf8(directory).ok()?.split(' ').map(|number| number.parse::<u64>().ok());
        let directory = match (numbers.next().flatten(), numbers.next().flatten()) {
            (Some(inode), born_ns) => Some(DirectoryId { inode, born_ns }),
            (None, _) => None,
        };
        path.is_absolute().then_some(Self { path, directory })
    }

    fn write(&self, paths: &Paths) -> std::io::Result<()> {
        use std::io::Write;
        if Self::read(paths).as_ref() == Some(self) {
            return Ok(());
        }
        paths.make()?;
        let number = |number: Option<u64>| number.map_or("-".to_owned(), |number| number.to_string());
        let inode = number(self.directory.map(|directory| directory.inode));
        let born = number(self.directory.and_then(|directory| directory.born_ns));
        let mut text = format!("{FORMAT}\n{inode} {born}\n").into_bytes();
        text.extend_from_slice(self.path.as_os_str().as_bytes());
        text.push(b'\n');
        let file = TempFile::make(paths.root(), PART)?;
        file.file().write_all(&text)?;
        file.persist(&paths.repository_record())
    }

    /// Whether this is the directory that the other one records.
    fn is_directory_of(&self, other: &Self) -> bool {
        matches!((self.directory, other.directory), (Some(ours), Some(theirs)) if ours.is_same(&theirs))
    }

    /// Whether the directory that the other one records is this one now. Where the file system does not tell when a directory
    /// was made, one on another disk can have its inode: then the recorded one must be gone.
    fn has_moved_from(&self, other: &Self, id: &str) -> bool {
        let is_certain = |record: &Self| record.directory.is_some_and(|directory| directory.born_ns.is_some());
        self.is_directory_of(other) && (is_certain(self) && is_certain(other) || !other.is_in_place(id))
    }

    /// Whether the repository is still where it was, under this id or as the same directory.
    fn is_in_place(&self, id: &str) -> bool {
        claimed_id(&self.path).as_deref() == Some(id)
            || matches!((DirectoryId::of(&self.path), self.directory), (Some(now), Some(then)) if now.is_same(&then))
    }
}

/// How the record's name begins while it is written.
pub(crate) const PART: &str = ".repository-";
/// The path of a state folder that was taken from its repository.
const NOWHERE: &str = "/";
const FORMAT: &str = "agentops repository 1";

/// Finds the state of a repository. Writes nothing.
///
/// # Errors
/// It is not known whether the state is this repository's: [`adopt`] or [`separate`] decides.
pub fn find(repo: &Repo, home: &Home) -> Result<Identity, IdentityError> {
    let here = Record::here(repo);
    let claimed = claimed_id(repo.common_dir());
    let identity = |id: &str, ownership| Ok(Identity { id: id.to_owned(), ownership });
    if let Some(id) = &claimed {
        let recorded = Record::read(&home.repository(id));
        if recorded.as_ref().is_some_and(|recorded| recorded.path == here.path)
            || *id == repo.path_id() && recorded.is_none()
        {
            return identity(id, Ownership::Known);
        }
        if let Some(recorded) = recorded.as_ref().filter(|recorded| here.has_moved_from(recorded, id)) {
            return identity(id, Ownership::Moved { from: recorded.path.clone() });
        }
    }
    if let Some(own) = own_state(repo, home, &here) {
        return identity(&own, Ownership::Restored);
    }
    let Some(id) = claimed else { return identity(&Repo::new_id()?, Ownership::New) };
    let paths = home.repository(&id);
    match Record::read(&paths) {
        Some(recorded) if recorded.is_in_place(&id) => identity(&Repo::new_id()?, Ownership::Copy { of: recorded.path }),
        Some(recorded) => Err(IdentityError::Unclear { id, was: recorded.path.display().to_string() }),
        None if paths.ledger().exists() => {
            Err(IdentityError::Unclear { id, was: "a path that an older version did not write down".to_owned() })
        }
        None => identity(&id, Ownership::Absent { last: repo.last_state() }),
    }
}

/// The state folder that records this directory at this path, or that an older version named by the path.
fn own_state(repo: &Repo, home: &Home, here: &Record) -> Option<String> {
    let old = repo.path_id();
    let paths = home.repository(&old);
    if Record::read(&paths).is_none() && paths.blobs().is_dir() {
        return Some(old);
    }
    let ours = |record: &Record| record.path == here.path && here.is_directory_of(record);
    states(home).into_iter().find(|(_, record)| record.as_ref().is_some_and(ours)).map(|(id, _)| id)
}

/// Every state folder, with what it records.
fn states(home: &Home) -> Vec<(String, Option<Record>)> {
    let entries = fs::read_dir(&home.state).into_iter().flatten().flatten();
    let ids = entries.filter_map(|entry| entry.file_name().into_string().ok()).filter(|name| is_id(name));
    let mut states: Vec<_> =
        ids.map(|id| (Record::read(&home.repository(&id)), id)).map(|(record, id)| (id, record)).collect();
    states.sort_by(|(a, _), (b, _)| a.cmp(b));
    states
}

/// Finds the state and writes down, in the git directory and the state folder, that they belong together. Every command that
/// makes state begins with this; done again it changes nothing.
///
/// # Errors
/// As [`find`], and the git directory or the state folder cannot be written.
pub fn claim(repo: &Repo, home: &Home) -> Result<Identity, IdentityError> {
    let _decides = repo.lock_identity()?;
    let identity = find(repo, home)?;
    attach(repo, home, &identity.id, NamedLanes::known_by(&identity.ownership))?;
    Ok(identity)
}

/// Gives this repository the state of this id: a person says that it is the same repository.
///
/// # Errors
/// No state folder has this id, its repository or a supervisor still uses it, or a file cannot be written.
pub fn adopt(repo: &Repo, home: &Home, id: &str) -> Result<(), IdentityError> {
    let _decides = repo.lock_identity()?;
    let paths = home.repository(id);
    if !is_id(id) || !paths.root().is_dir() {
        return Err(IdentityError::NoState { path: paths.root().to_owned() });
    }
    let here = Record::here(repo);
    if let Some(recorded) = Record::read(&paths)
        && recorded.path != here.path
        && recorded.is_in_place(id)
    {
        return Err(IdentityError::InUse { id: id.to_owned(), path: recorded.path });
    }
    unsupervised(&paths)?;
    release(repo, home, id)?;
    attach(repo, home, id, NamedLanes::Own)
}

/// Other state folders of this path are no longer recorded as this repository's: it never has two.
fn release(repo: &Repo, home: &Home, but: &str) -> Result<(), IdentityError> {
    for (id, record) in states(home) {
        let is_ours = record.as_ref().map_or(id == repo.path_id(), |record| record.path == repo.common_dir());
        if id == but || !is_ours {
            continue;
        }
        let paths = home.repository(&id);
        unsupervised(&paths)?;
        let released = Record { path: PathBuf::from(NOWHERE), directory: None };
        released.write(&paths).map_err(|source| IdentityError::State { path: paths.root().to_owned(), source })?;
    }
    Ok(())
}

/// Makes this repository one of its own, with a new id and no runs: a person says that it is a copy. The state that it leaves
/// stays as it is, so that it can be adopted again.
///
/// # Errors
/// Nothing can be written.
pub fn separate(repo: &Repo, home: &Home) -> Result<String, IdentityError> {
    let _decides = repo.lock_identity()?;
    let lanes = match find(repo, home).map(|found| NamedLanes::known_by(&found.ownership)) {
        Ok(NamedLanes::Copied) => NamedLanes::Copied,
        _ => NamedLanes::OfOtherState,
    };
    let id = Repo::new_id()?;
    release(repo, home, &id)?;
    attach(repo, home, &id, lanes)?;
    Ok(id)
}

/// State folders whose repository is not where it was.
#[must_use]
pub fn orphans(home: &Home, but: Option<&str>) -> Vec<Orphan> {
    let lost = |(id, record): (String, Option<Record>)| {
        let in_place = record.as_ref().is_some_and(|record| record.is_in_place(&id));
        let has_runs = home.repository(&id).ledger().exists();
        let repository = match record {
            None => LastRepository::NotRecorded,
            Some(record) if record.path == Path::new(NOWHERE) => LastRepository::GivenUp,
            Some(record) => LastRepository::At(record.path),
        };
        (!in_place && has_runs && but != Some(&id)).then_some(Orphan { id, repository })
    };
    states(home).into_iter().filter_map(lost).collect()
}

fn unsupervised(paths: &Paths) -> Result<(), IdentityError> {
    Lock::holder(&paths.lock()).map_or(Ok(()), |pid| Err(IdentityError::Supervised { pid }))
}

/// Whose the lanes are that a git directory names.
enum NamedLanes {
    /// Of the state that it gets.
    Own,
    /// Of a repository that is somewhere else: this one is a copy of it.
    Copied,
    /// Of a state that was perhaps its own and is not any more.
    OfOtherState,
}

impl NamedLanes {
    fn known_by(ownership: &Ownership) -> Self {
        match ownership {
            Ownership::New | Ownership::Copy { .. } => Self::Copied,
            Ownership::Known | Ownership::Moved { .. } | Ownership::Restored | Ownership::Absent { .. } => Self::Own,
        }
    }
}

/// A crash in between leaves an id without a state folder, or a state folder that records this directory: both are found again.
fn attach(repo: &Repo, home: &Home, id: &str, lanes: NamedLanes) -> Result<(), IdentityError> {
    let paths = home.repository(id);
    match lanes {
        NamedLanes::Own => {}
        NamedLanes::Copied => repo.forget_copied_lanes()?,
        NamedLanes::OfOtherState => repo.forget_incomplete_lanes()?,
    }
    repo.write_id(id)?;
    let state = |source| IdentityError::State { path: paths.root().to_owned(), source };
    Record::here(repo).write(&paths).map_err(state)?;
    Ok(repo.write_last_state(&home.state)?)
}

/// Whether the repository that a supervisor works in is still the one at its path: it may be moved while a run is under way.
#[must_use]
pub fn is_in_place(repo: &Repo, paths: &Paths) -> bool {
    let now = Record::here(repo);
    Record::read(paths)
        .is_none_or(|record| record.path == now.path && record.directory.is_none_or(|_| now.is_directory_of(&record)))
}

#[cfg(test)]
mod tests;
