//! A sealed room for tests: a home of its own, real git, repositories that cannot see this machine's settings.
#![allow(dead_code, reason = "each test file uses a part")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use agentops_git::{
    Author, Checkpoint, Error, Expect, Git, Lane, MergeResult, Oid, Repo, TestedMerge, UserMerge, Why, lanes,
};
use tempfile::TempDir;

pub struct Room {
    dir: TempDir,
}

/// A room with a repository and one lane, `one`.
pub struct Fixture {
    pub room: Room,
    pub repo: Repo,
    pub base: Oid,
    pub lane: Lane,
}

impl Fixture {
    pub fn of((room, repo): (Room, Repo)) -> Self {
        let base = repo.head().unwrap().commit;
        let lane = lanes::create(&repo, &room.path("lanes/one"), &base, "one").unwrap();
        Self { room, repo, base, lane }
    }

    pub fn at(&self) -> &Path {
        self.lane.path()
    }
}

/// The paths that a checkpoint does not hold, and why.
pub fn omitted(point: &Checkpoint) -> Vec<(&str, Why)> {
    point.omitted.iter().map(|omitted| (omitted.path.to_str().unwrap(), omitted.why)).collect()
}

/// The merge of this branch into the checkout as both are now.
pub fn as_they_are(repo: &Repo, branch: &str) -> TestedMerge {
    let tip = repo.read_ref(&format!("refs/heads/{branch}")).unwrap().unwrap();
    TestedMerge { head: repo.head().unwrap().commit, tip }
}

/// The user's merge of this branch, which nobody interrupts.
pub fn merge(repo: &Repo, branch: &str) -> Result<UserMerge, Error> {
    repo.merge_into_checkout(branch, &as_they_are(repo, branch), "m", &Arc::default())
}

pub fn author() -> Author {
    Author { name: "Lane".into(), email: "lane@example.org".into() }
}

impl Room {
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    /// A room with a repository `repo` that has one commit.
    pub fn with_repo() -> (Self, Repo) {
        Self::with_repo_of(&[])
    }

    pub fn with_repo_of(init: &[&str]) -> (Self, Repo) {
        let room = Self::new();
        let path = room.path("repo");
        fs::create_dir(&path).unwrap();
        let mut args = vec!["init", "-q", "-b", "main"];
        args.extend(init);
        room.git(&path, &args);
        room.git(&path, &["config", "user.name", "User"]);
        room.git(&path, &["config", "user.email", "user@example.org"]);
        write(&path.join("a.txt"), "one\ntwo\nthree\n");
        write(&path.join("dir/b.txt"), "b\n");
        write(&path.join(".gitignore"), "target/\n");
        room.git(&path, &["add", "."]);
        room.git(&path, &["commit", "-q", "-m", "first"]);
        let repo = room.repo();
        (room, repo)
    }

    pub fn repo(&self) -> Repo {
        Repo::discover(&Git::find().unwrap(), &self.path("repo")).unwrap()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().canonicalize().unwrap().join(name)
    }

    pub fn scratch(&self) -> PathBuf {
        let path = self.path("scratch");
        fs::create_dir_all(&path).unwrap();
        path
    }

    pub fn try_git(&self, at: &Path, args: &[&str]) -> (bool, String) {
        self.by("git", at, args)
    }

    /// The same with another git program.
    #[expect(clippy::disallowed_methods, reason = "the test plays the user and the agent")]
    pub fn by(&self, program: &str, at: &Path, args: &[&str]) -> (bool, String) {
        let out = Command::new(program)
            .args(args)
            .current_dir(at)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", self.dir.path())
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .output()
            .unwrap();
        let text = [out.stdout, out.stderr].concat();
        (out.status.success(), String::from_utf8_lossy(&text).trim().to_owned())
    }

    pub fn git(&self, at: &Path, args: &[&str]) -> String {
        let (ok, text) = self.try_git(at, args);
        assert!(ok, "git {args:?}: {text}");
        text
    }

    pub fn oid(&self, at: &Path, rev: &str) -> Oid {
        self.git(at, &["rev-parse", rev]).parse().unwrap()
    }
}

pub fn write(path: &Path, text: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

pub fn program(path: &Path, text: &str) {
    write(path, text);
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Every path below with kind, mode, time of change and content.
pub fn picture(root: &Path, skip: &dyn Fn(&Path) -> bool) -> BTreeMap<PathBuf, String> {
    let mut all = BTreeMap::new();
    let mut todo = vec![root.to_owned()];
    while let Some(path) = todo.pop() {
        if skip(&path) {
            continue;
        }
        let meta = fs::symlink_metadata(&path).unwrap();
        let content = if meta.is_symlink() {
            fs::read_link(&path).unwrap().to_string_lossy().into_owned()
        } else if meta.is_dir() {
            todo.extend(fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
            String::new()
        } else {
            format!("{} {:?}", meta.mtime_nsec(), fs::read(&path).unwrap())
        };
        all.insert(path, format!("{:o} {content}", meta.mode()));
    }
    all
}

/// Every public operation but the user's merge, on a repository with one commit that has `a.txt`.
pub fn every_operation(room: &Room, repo: &Repo) {
    let scratch = room.scratch();
    let repo = &Repo::discover(&Git::find().unwrap(), repo.work_tree()).unwrap();
    let head = repo.head().unwrap().commit;
    assert_eq!(repo.resolve("HEAD").unwrap(), head);
    repo.status().unwrap();
    repo.submodules(&head).unwrap();
    repo.filtered(&head).unwrap();
    repo.user_identity().unwrap();
    repo.list_tree(&head, None).unwrap();
    repo.read_file(&head, "a.txt").unwrap().unwrap();
    repo.tree_of(&head).unwrap();
    repo.write_blob(b"blob").unwrap();
    let record = repo.commit_files(Some(&head), &[("rec/r", b"r".to_vec())], "r", &author(), 1, &scratch).unwrap();
    let name = "refs/agentops/test";
    repo.update_ref(name, &head, &Expect::Absent).unwrap();
    repo.update_ref(name, &record, &Expect::Is(head.clone())).unwrap();
    repo.update_ref("refs/heads/agentops/records", &record, &Expect::Absent).unwrap();
    repo.list_refs("refs").unwrap();
    repo.read_ref("refs/heads/main").unwrap();

    let place = room.path("work of lanes/one");
    let lane = lanes::create(repo, &place, &head, "one").unwrap();
    write(&lane.path().join("a.txt"), "by the agent\ntwo\nthree\n");
    write(&lane.path().join("more.dat"), "new");
    let point = lane.checkpoint(&head, "lane", &author(), 2, &scratch).unwrap();
    let lane = lanes::open(repo, &place).unwrap();
    write(&lane.path().join("a.txt"), "other words\ntwo\nthree\n");
    let other = lane.checkpoint(&head, "lane", &author(), 2, &scratch).unwrap();
    lane.reset_to(&record).unwrap();
    lane.reset_to(&point.commit).unwrap();
    // Where everything has a content filter, the changes are in the raw commit.
    let (point, other) = (point.raw.unwrap_or(point.commit), other.raw.unwrap_or(other.commit));
    repo.diff(&head, &point).unwrap();
    assert!(!repo.patch(&head, &point, 1000).unwrap().is_empty());
    repo.merge_base(&record, &point).unwrap();
    let MergeResult::Clean { tree } = repo.merge(&record, &point, None).unwrap() else { panic!("conflict") };
    repo.commit_tree(&tree, &[&record, &point], "merged", &author(), 3).unwrap();
    let result = repo.merge(&other, &point, None).unwrap();
    assert!(matches!(result, MergeResult::Conflict { .. }), "{result:?}");
    assert_eq!(lanes::list(repo, &room.path("work of lanes")).unwrap().len(), 1);
    lanes::remove(repo, &lane).unwrap();
    repo.delete_ref(name, &Expect::Is(record.clone())).unwrap();
    repo.delete_ref("refs/heads/agentops/records", &Expect::Is(record)).unwrap();
}
