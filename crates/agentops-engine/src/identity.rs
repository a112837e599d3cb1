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
    /// It is not known whether the state of its id is its own.
    #[error(
        "the id {id} in the git directory names a state folder, and it is not clear whether that is this repository's: {why}"
    )]
    Unclear {
        /// The id.
        id: String,
        /// Why not.
        why: Unclear,
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

/// What is known of the repository of a state folder, where another one names it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unclear {
    /// Its repository was another directory, which is gone.
    #[error("its repository was at {}, which is not there any more", repository_at(.0).display())]
    Gone(PathBuf),
    /// A person gave its repository another state.
    #[error("its repository has another state now, by `agentops doctor --new-id` or `--adopt`")]
    GivenUp,
    /// An older version made the folder and did not write that down.
    #[error("an older version of agentops made it and did not write down where its repository is")]
    NotRecorded,
    /// What was written down cannot be read.
    #[error(transparent)]
    Damaged(DamagedRecord),
}

/// The file of a state folder that names its repository says nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the file {}, which names its repository, is damaged: {reason}", path.display())]
pub struct DamagedRecord {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

/// Where people look for a repository: the folder that holds its git directory.
#[must_use]
pub fn repository_at(git_dir: &Path) -> &Path {
    match (git_dir.file_name(), git_dir.parent()) {
        (Some(name), Some(folder)) if name == ".git" => folder,
        _ => git_dir,
    }
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
    /// What was written down cannot be read.
    Damaged(DamagedRecord),
}

/// What is read of the file in which a state folder names its repository.
enum Recorded {
    Record(Record),
    Absent,
    Damaged(DamagedRecord),
}

impl Recorded {
    fn read(paths: &Paths) -> Self {
        let path = paths.repository_record();
        let reason = match fs::read(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Self::Absent,
            Err(e) => e.to_string(),
            Ok(bytes) => match Record::parse(&bytes) {
                Some(record) => return Self::Record(record),
                None if bytes.is_empty() => "it is empty".to_owned(),
                None => format!("it does not hold the three lines that begin with `{FORMAT}`"),
            },
        };
        Self::Damaged(DamagedRecord { path, reason })
    }

    fn record(self) -> Option<Record> {
        if let Self::Record(record) = self { Some(record) } else { None }
    }
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
        Recorded::read(paths).record()
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
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

    /// Whether a person gave its repository another state.
    fn is_given_up(&self) -> bool {
        self.path == Path::new(NOWHERE)
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
        match Recorded::read(&home.repository(id)) {
            Recorded::Record(recorded) if recorded.path == here.path => return identity(id, Ownership::Known),
            Recorded::Record(recorded) if here.has_moved_from(&recorded, id) => {
                return identity(id, Ownership::Moved { from: recorded.path });
            }
            Recorded::Absent if *id == repo.path_id() => return identity(id, Ownership::Known),
            _ => {}
        }
    }
    if let Some(own) = own_state(repo, home, &here) {
        return identity(&own, Ownership::Restored);
    }
    let Some(id) = claimed else { return identity(&Repo::new_id()?, Ownership::New) };
    let paths = home.repository(&id);
    let has_runs = paths.ledger().exists();
    let why = match Recorded::read(&paths) {
        Recorded::Record(recorded) if recorded.is_in_place(&id) => {
            return identity(&Repo::new_id()?, Ownership::Copy { of: recorded.path });
        }
        Recorded::Record(recorded) if recorded.is_given_up() => Unclear::GivenUp,
        Recorded::Record(recorded) => Unclear::Gone(recorded.path),
        Recorded::Damaged(damaged) if has_runs => Unclear::Damaged(damaged),
        Recorded::Absent if has_runs => Unclear::NotRecorded,
        Recorded::Absent | Recorded::Damaged(_) => return identity(&id, Ownership::Absent { last: repo.last_state() }),
    };
    Err(IdentityError::Unclear { id, why })
}

/// The state folder that records this directory at this path, or that an older version named by the path.
fn own_state(repo: &Repo, home: &Home, here: &Record) -> Option<String> {
    let old = repo.path_id();
    let paths = home.repository(&old);
    if matches!(Recorded::read(&paths), Recorded::Absent) && paths.blobs().is_dir() {
        return Some(old);
    }
    let ours = |recorded: &Recorded| matches!(recorded, Recorded::Record(record) if record.path == here.path && here.is_directory_of(record));
    states(home).into_iter().find(|(_, recorded)| ours(recorded)).map(|(id, _)| id)
}

/// Every state folder, with what it records.
fn states(home: &Home) -> Vec<(String, Recorded)> {
    let entries = fs::read_dir(&home.state).into_iter().flatten().flatten();
    let ids = entries.filter_map(|entry| entry.file_name().into_string().ok()).filter(|name| is_id(name));
    let mut states: Vec<_> =
        ids.map(|id| (Recorded::read(&home.repository(&id)), id)).map(|(recorded, id)| (id, recorded)).collect();
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
    for (id, recorded) in states(home) {
        let is_ours = match recorded {
            Recorded::Record(record) => record.path == repo.common_dir(),
            Recorded::Absent => id == repo.path_id(),
            Recorded::Damaged(_) => false,
        };
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
    let lost = |(id, recorded): (String, Recorded)| {
        let has_runs = home.repository(&id).ledger().exists();
        let repository = match recorded {
            Recorded::Record(record) if record.is_in_place(&id) => return None,
            Recorded::Record(record) if record.is_given_up() => LastRepository::GivenUp,
            Recorded::Record(record) => LastRepository::At(record.path),
            Recorded::Absent => LastRepository::NotRecorded,
            Recorded::Damaged(damaged) => LastRepository::Damaged(damaged),
        };
        (has_runs && but != Some(&id)).then_some(Orphan { id, repository })
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
