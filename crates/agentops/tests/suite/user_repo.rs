//! What a repository holds that is the user's: checkout, index, stash, configuration, hooks and refs, byte by byte.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::room::{Room, bytes_of};

/// Prefixes of the refs that runs write.
const OURS: [&str; 2] = ["refs/agentops/", "refs/heads/agentops/"];

/// Everything that no run may change.
#[derive(Debug, PartialEq)]
pub struct UserRepo {
    /// Every file but objects and what is ours, by its path in the work tree: its mode and its bytes.
    files: BTreeMap<PathBuf, (u32, Vec<u8>)>,
    /// Every ref but ours, with its object.
    refs: Vec<String>,
}

impl UserRepo {
    /// Reads it; changes nothing.
    pub fn of(room: &Room) -> Self {
        let mut files = BTreeMap::new();
        for (path, bytes) in bytes_of(&room.repo()) {
            let name = path.strip_prefix(room.repo()).unwrap().to_owned();
            if is_ours(&name) {
                continue;
            }
            let bytes = if name == Path::new(".git/packed-refs") { users_packed_refs(&bytes) } else { bytes };
            let mode = path.symlink_metadata().unwrap().permissions().mode();
            files.insert(name, (mode, bytes));
        }
        files.retain(|name, (_, bytes)| name != Path::new(".git/packed-refs") || !bytes.is_empty());
        let listed = room.git(&["for-each-ref", "--format=%(refname) %(objectname) %(symref)"]);
        let refs = listed.lines().filter(|line| !OURS.iter().any(|ours| line.starts_with(ours)));
        Self { files, refs: refs.map(str::to_owned).collect() }
    }

    /// Holds that the room's repository is still this one.
    #[track_caller]
    pub fn assert_unchanged(&self, room: &Room) {
        let now = Self::of(room);
        assert_eq!(self.refs, now.refs, "the user's refs");
        let names = |repo: &Self| repo.files.keys().cloned().collect::<BTreeSet<_>>();
        let differ: Vec<_> = names(self).symmetric_difference(&names(&now)).cloned().collect();
        assert!(differ.is_empty(), "files that are new or gone: {differ:?}");
        for (name, before) in &self.files {
            let after = &now.files[name];
            let text = |(mode, bytes): &(u32, Vec<u8>)| format!("{mode:o} {}", String::from_utf8_lossy(bytes));
            assert!(before == after, "{} was changed from\n{}\nto\n{}", name.display(), text(before), text(after));
        }
    }
}

/// Objects are added by runs; so are refs and notes under names of ours.
fn is_ours(name: &Path) -> bool {
    let ours = [
        ".git/objects",
        ".git/agentops",
        ".git/agentops-lanes.lock",
        ".git/refs/agentops",
        ".git/refs/heads/agentops",
        ".git/logs/refs/agentops",
        ".git/logs/refs/heads/agentops",
    ];
    ours.iter().any(|folder| name.starts_with(folder))
}

/// The lines about the user's refs: without the header, and without our refs and what belongs to them.
fn users_packed_refs(bytes: &[u8]) -> Vec<u8> {
    let (mut kept, mut ours) = (String::new(), false);
    for line in String::from_utf8_lossy(bytes).lines().filter(|line| !line.starts_with('#')) {
        if !line.starts_with('^') {
            ours = OURS.iter().any(|prefix| line.split(' ').nth(1).is_some_and(|name| name.starts_with(prefix)));
        }
        if !ours {
            kept.extend([line, "\n"]);
        }
    }
    kept.into_bytes()
}

/// Makes a repository look like one that somebody works in: a stash, changed, staged and untracked files, hooks, a remote,
/// tags, another branch and configuration.
pub fn in_use(room: &Room) {
    room.git(&["config", "user.name", "Someone"]);
    room.git(&["config", "user.email", "someone@localhost"]);
    room.git(&["config", "alias.st", "status"]);
    room.git(&["branch", "idea"]);
    room.git(&["tag", "v1"]);
    room.git(&["tag", "-a", "-m", "the second", "v2"]);
    room.git(&["remote", "add", "origin", "../origin.git"]);
    room.git(&["update-ref", "refs/remotes/origin/main", "HEAD"]);
    room.git(&["symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/main"]);
    room.file("check.sh", "echo a change that was put aside\n");
    room.git(&["stash", "push", "--quiet", "-m", "put aside"]);
    room.git(&["pack-refs", "--all"]);
    room.git(&["branch", "later"]);
    room.file("staged.txt", "staged\n");
    room.git(&["add", "staged.txt"]);
    room.file("staged.txt", "staged, and then changed\n");
    room.file("untracked.txt", "nobody else has this\n");
    for hook in ["pre-commit", "post-commit", "post-checkout", "post-merge", "reference-transaction", "post-index-change"] {
        let path = format!(".git/hooks/{hook}");
        room.file(&path, "#!/bin/sh\necho ran >> \"$0.ran\"\n");
        std::fs::set_permissions(room.repo().join(path), PermissionsExt::from_mode(0o755)).unwrap();
    }
}
