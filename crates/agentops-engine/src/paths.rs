//! Where things lie on disk. The rest of the engine never joins a path of its own.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use agentops_core::id::{LaneId, RunId, SessionId};

/// The user's two folders: settings, and state.
#[derive(Debug, Clone)]
pub struct Home {
    /// `<config>/agentops`.
    pub config: PathBuf,
    /// `<state>/agentops`.
    pub state: PathBuf,
}

impl Home {
    /// The folder of a user's profile.
    #[must_use]
    pub fn profile(&self, name: &str) -> PathBuf {
        self.config.join("profiles").join(name)
    }

    /// The user's settings.
    #[must_use]
    pub fn config_file(&self) -> PathBuf {
        self.config.join(crate::files::user::FILE_NAME)
    }

    /// Collections of agents that the user added.
    #[must_use]
    pub fn catalogues(&self) -> PathBuf {
        self.config.join("catalogues")
    }

    /// What the user trusts.
    #[must_use]
    pub fn trust_file(&self) -> PathBuf {
        self.config.join("trust.toml")
    }

    /// What all gateways of this user share: a ledger a day.
    #[must_use]
    pub fn gateway(&self) -> PathBuf {
        self.state.join("gateway")
    }

    /// The state of one repository.
    #[must_use]
    pub fn repository(&self, id: &str) -> Paths {
        Paths { root: self.state.join(id), inode: Arc::default() }
    }
}

/// The private state of one repository. Never in git.
#[derive(Debug, Clone)]
pub struct Paths {
    root: PathBuf,
    /// The folder's inode, once it was read.
    inode: Arc<OnceLock<u64>>,
}

impl Paths {
    /// Makes the folders, readable by this user alone.
    ///
    /// # Errors
    /// They cannot be made.
    pub fn make(&self) -> std::io::Result<()> {
        use std::os::unix::fs::DirBuilderExt;
        for folder in [self.root.clone(), self.blobs(), self.all_lanes(), self.root.join("transcripts"), self.scratch()] {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        self.inode().map(drop)
    }

    /// Read once: a folder that is moved while its processes run keeps their marks.
    fn inode(&self) -> std::io::Result<u64> {
        use std::os::unix::fs::MetadataExt;
        if let Some(inode) = self.inode.get() {
            return Ok(*inode);
        }
        let inode = std::fs::metadata(&self.root)?.ino();
        Ok(*self.inode.get_or_init(|| inode))
    }

    /// The folder itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Lock files of the slots, for all of this user's repositories.
    #[must_use]
    pub fn slots(&self) -> PathBuf {
        self.root.with_file_name("slots")
    }

    /// Lock files of the port ranges, for all of this user's repositories.
    #[must_use]
    pub fn ports(&self) -> PathBuf {
        self.root.with_file_name("ports")
    }

    /// Where the repository lay last; see `identity`.
    #[must_use]
    pub fn repository_record(&self) -> PathBuf {
        self.root.join("repository")
    }

    /// The ledger.
    #[must_use]
    pub fn ledger(&self) -> PathBuf {
        self.root.join("ledger.db")
    }

    /// Blobs by hash.
    #[must_use]
    pub fn blobs(&self) -> PathBuf {
        self.root.join("blobs")
    }

    /// The supervisor's lock.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.root.join("supervisor.lock")
    }

    /// Space that is set aside for a full disk.
    #[must_use]
    pub fn reserve(&self) -> PathBuf {
        self.root.join("reserve")
    }

    /// The supervisor's socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.root.join("supervisor.sock")
    }

    /// What the supervisor says.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.root.join("supervisor.log")
    }

    /// What routing has learnt: a cache.
    #[must_use]
    pub fn routing(&self) -> PathBuf {
        self.root.join("routing.bin")
    }

    /// Work trees of all runs.
    #[must_use]
    pub fn all_lanes(&self) -> PathBuf {
        self.root.join("lanes")
    }

    /// Work trees of a run.
    #[must_use]
    pub fn lanes(&self, run: &RunId) -> PathBuf {
        self.all_lanes().join(run.as_str())
    }

    /// One work tree.
    #[must_use]
    pub fn lane(&self, run: &RunId, lane: &LaneId) -> PathBuf {
        self.lanes(run).join(format!("{}.{}", lane.phase, lane.lane))
    }

    /// The transcript of a session, while it runs and after.
    #[must_use]
    pub fn transcript(&self, run: &RunId, session: &SessionId) -> PathBuf {
        let name = format!("{}.{}.{}.log", session.lane.phase, session.lane.lane, session.ordinal);
        self.root.join("transcripts").join(run.as_str()).join(name)
    }

    /// Files that nobody misses after a restart.
    #[must_use]
    pub fn scratch(&self) -> PathBuf {
        self.root.join("scratch")
    }

    /// What the marks of all processes of this state folder begin with. A copy of a repository has the same id until a
    /// command tells both apart, and may have another state folder: so the folder itself is part of it, by its inode. Who
    /// starts processes calls [`Self::make`] before, which fails where the inode cannot be read.
    fn mark_folder(&self) -> String {
        let id = self.root.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let inode = self.inode().map_or_else(|_| "unknown".to_owned(), |inode| format!("{inode:x}"));
        format!("{id}.{inode}")
    }

    /// What the marks of a supervisor's processes begin with.
    #[must_use]
    pub fn mark_prefix(&self) -> String {
        format!("{}/", self.mark_folder())
    }

    /// The same for what merges start: a merge runs beside a supervisor, and only its own end ends its processes.
    #[must_use]
    pub fn merge_mark_prefix(&self) -> String {
        format!("{}.merge/", self.mark_folder())
    }

    /// The mark in the environment of a session's processes.
    #[must_use]
    pub fn mark(&self, run: &RunId, what: &str) -> String {
        format!("{}{run}/{what}", self.mark_prefix())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p3_a_folder_that_is_moved_keeps_the_marks_of_its_processes() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home { config: dir.path().into(), state: dir.path().into() };
        let paths = home.repository("0123456789abcdef");
        paths.make().unwrap();
        let before = paths.clone().mark_prefix();
        assert!(!paths.merge_mark_prefix().starts_with(&before), "a supervisor does not end what a merge started");
        std::fs::rename(paths.root(), dir.path().join("elsewhere")).unwrap();
        assert_eq!(paths.mark_prefix(), before);
    }
}
