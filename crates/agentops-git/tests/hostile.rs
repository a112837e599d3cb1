//! Repositories and lanes that try to make us run their programs or write outside.

mod room;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use agentops_git::{Oid, Repo, lanes};
use room::{Room, author, every_operation, program, write};

/// A program that writes down that it was started, and by whose name.
fn tripwire(room: &Room) -> PathBuf {
    let path = room.path("tripwire");
    let log = room.path("tripped");
    program(&path, &format!("#!/bin/sh\necho \"$0 $*\" >> '{}'\ncat\n", log.display()));
    path
}

fn tripped(room: &Room) -> String {
    fs::read_to_string(room.path("tripped")).unwrap_or_default()
}

/// Sets every setting that names a program, in this configuration file.
fn arm_config(room: &Room, config: &Path, trip: &Path) {
    let trip = trip.to_str().unwrap();
    let file = config.to_str().unwrap();
    for key in [
        "core.fsmonitor",
        "core.pager",
        "core.editor",
        "core.sshCommand",
        "core.gitProxy",
        "core.askPass",
        "core.alternateRefsCommand",
        "filter.evil.clean",
        "filter.evil.smudge",
        "filter.evil.process",
        "diff.external",
        "diff.evil.command",
        "diff.evil.textconv",
        "merge.evil.driver",
        "gpg.program",
        "gpg.ssh.program",
        "sequence.editor",
        "credential.helper",
        "hook.evil.command",
        "pager.diff",
        "pager.status",
        "interactive.diffFilter",
        "uploadpack.packObjectsHook",
        "trailer.x.command",
        "alias.status",
        "submodule.s.update",
        "remote.origin.vcs",
    ] {
        room.git(&room.path(""), &["config", "-f", file, key, trip]);
    }
    for (key, value) in [
        ("filter.evil.required", "true"),
        ("commit.gpgSign", "true"),
        ("tag.gpgSign", "true"),
        ("log.showSignature", "true"),
        ("merge.default", "evil"),
        ("extensions.worktreeConfig", "true"),
        ("core.repositoryFormatVersion", "1"),
        ("core.untrackedCache", "true"),
        ("core.splitIndex", "true"),
        ("diff.submodule", "log"),
        ("status.submoduleSummary", "true"),
        ("core.logAllRefUpdates", "always"),
        ("extensions.partialClone", "origin"),
        ("remote.origin.promisor", "true"),
        ("remote.origin.url", "ext::sh -c touch% tripped"),
        ("merge.verifySignatures", "true"),
    ] {
        room.git(&room.path(""), &["config", "-f", file, key, value]);
    }
    for event in ["pre-commit", "reference-transaction", "post-checkout", "post-index-change"] {
        room.git(&room.path(""), &["config", "-f", file, "--add", "hook.evil.event", event]);
    }
}

const ATTRIBUTES: &str = "* filter=evil diff=evil merge=evil\n";
const HOOKS: [&str; 12] = [
    "post-checkout",
    "post-index-change",
    "reference-transaction",
    "pre-commit",
    "prepare-commit-msg",
    "commit-msg",
    "post-commit",
    "pre-merge-commit",
    "post-merge",
    "fsmonitor-watchman",
    "pre-auto-gc",
    "post-rewrite",
];

fn armed() -> (Room, Repo) {
    let (room, repo) = Room::with_repo();
    let at = repo.work_tree();
    write(&at.join(".gitattributes"), ATTRIBUTES);
    room.git(at, &["add", "."]);
    room.git(at, &["commit", "-qm", "attributes"]);
    let trip = tripwire(&room);
    let git = at.join(".git");
    write(&git.join("info/attributes"), ATTRIBUTES);
    for hook in HOOKS {
        fs::copy(&trip, git.join("hooks").join(hook)).unwrap();
        write(&git.join("evil-hooks/x"), "");
        fs::copy(&trip, git.join("evil-hooks").join(hook)).unwrap();
    }
    arm_config(&room, &git.join("config"), &trip);
    arm_config(&room, &git.join("config.worktree"), &trip);
    (room, repo)
}

#[test]
fn s1_the_repository_is_really_armed() {
    let (room, repo) = armed();
    fs::write(repo.work_tree().join("a.txt"), "dirty").unwrap();
    room.try_git(repo.work_tree(), &["status"]);
    assert_ne!(tripped(&room), "", "a tripwire that never trips proves nothing");
}

#[test]
fn s1_no_operation_starts_a_program_of_the_repository() {
    for hooks_path in [false, true] {
        let (room, repo) = armed();
        if hooks_path {
            let config = repo.git_dir().join("config");
            let hooks = repo.git_dir().join("evil-hooks");
            room.git(&room.path(""), &["config", "-f", config.to_str().unwrap(), "core.hooksPath", hooks.to_str().unwrap()]);
        }
        // Make every stored time stale, so that git has to look at contents.
        fs::write(repo.work_tree().join("a.txt"), "dirty\n").unwrap();
        fs::write(repo.work_tree().join(".gitignore"), "target/\n").unwrap();
        fs::write(repo.work_tree().join("untracked"), "x").unwrap();
        every_operation(&room, &repo);
        assert_eq!(tripped(&room), "");
    }
}

/// A lane with a change, its base, and the tripwire.
fn owned() -> (Room, Repo, agentops_git::Lane, Oid, PathBuf) {
    let (room, repo) = Room::with_repo();
    let base = repo.head().unwrap().commit;
    let lane = lanes::create(&repo, &room.path("lanes/one"), &base, "one").unwrap();
    write(&lane.path().join("a.txt"), "changed\n");
    let trip = tripwire(&room);
    (room, repo, lane, base, trip)
}

/// A whole git directory of the lane's making.
fn evil_git_dir(room: &Room, at: &Path, trip: &Path) {
    room.git(&room.path(""), &["init", "-q", at.to_str().unwrap()]);
    arm_config(room, &at.join(".git/config"), trip);
    write(&at.join(".git/info/attributes"), ATTRIBUTES);
    for hook in HOOKS {
        fs::create_dir_all(at.join(".git/hooks")).unwrap();
        fs::copy(trip, at.join(".git/hooks").join(hook)).unwrap();
    }
}

/// Uses the lane in every way and expects what an honest lane gives.
fn use_it(room: &Room, repo: &Repo, path: &Path, base: &Oid) {
    let lane = lanes::open(repo, path).unwrap();
    let point = lane.checkpoint(base, "m", &author(), 1, &room.scratch()).unwrap();
    let changed: Vec<_> = point.changed.iter().map(|c| c.path.to_str().unwrap()).collect();
    assert_eq!(changed, ["a.txt"]);
    lane.reset_to(base).unwrap();
    assert_eq!(tripped(room), "");
    assert_eq!(room.git(path, &["status", "--porcelain"]), "");
    assert_eq!(room.oid(path, "HEAD"), *base);
    lanes::remove(repo, &lane).unwrap();
    assert_eq!(tripped(room), "");
    assert!(!path.exists() && !lane.git_dir().exists());
}

#[test]
fn s3_a_lane_that_replaces_its_repository_by_an_armed_one() {
    let (room, repo, lane, base, trip) = owned();
    fs::remove_dir_all(lane.git_dir()).unwrap();
    evil_git_dir(&room, lane.path(), &trip);
    use_it(&room, &repo, lane.path(), &base);
}

#[test]
fn s3_a_lane_that_arms_its_own_repository() {
    let (room, repo, lane, base, trip) = owned();
    arm_config(&room, &lane.git_dir().join("config"), &trip);
    arm_config(&room, &lane.git_dir().join("config.worktree"), &trip);
    write(&lane.git_dir().join("info/attributes"), ATTRIBUTES);
    for hook in HOOKS {
        write(&lane.git_dir().join("hooks/x"), "");
        fs::copy(&trip, lane.git_dir().join("hooks").join(hook)).unwrap();
    }
    use_it(&room, &repo, lane.path(), &base);
}

#[test]
fn s3_a_lane_that_links_its_repository_elsewhere() {
    let (room, repo, lane, base, trip) = owned();
    evil_git_dir(&room, &room.path("evil"), &trip);
    fs::remove_dir_all(lane.git_dir()).unwrap();
    symlink(room.path("evil/.git"), lane.git_dir()).unwrap();
    use_it(&room, &repo, lane.path(), &base);
    assert!(room.path("evil/.git/config").exists());
}

/// Names, kinds and contents of everything below a folder.
fn everything(below: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(below).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => all.extend(everything(&path)),
            false => all.push((path.clone(), fs::read(&path).unwrap())),
        }
    }
    all.sort();
    all
}

#[test]
fn s3_a_lane_that_is_replaced_by_a_link_leads_to_no_other_repository() {
    let uses: [fn(&Repo, &Path, &Oid); 5] = [
        |repo, path, base| assert!(matches!(lanes::recover(repo, path, base, base, "one"), Ok(lanes::Recovered::Gone))),
        |repo, path, base| {
            let (lane, how) = lanes::restore(repo, path, base, base, "one").unwrap();
            assert_eq!(how, lanes::Restored::FromCommit);
            lane.reset_to(base).unwrap();
        },
        |repo, path, base| drop(lanes::create(repo, path, base, "one").unwrap()),
        |repo, path, _| lanes::discard(repo, path, "one").unwrap(),
        |repo, path, _| {
            for lane in lanes::list(repo, path.parent().unwrap()).unwrap() {
                lanes::remove(repo, &lane).unwrap();
            }
        },
    ];
    for (number, used) in uses.into_iter().enumerate() {
        let (room, repo, lane, base, trip) = owned();
        let theirs = room.path("theirs");
        evil_git_dir(&room, &theirs, &trip);
        write(&theirs.join("private.txt"), "the work of a week\n");
        let before = everything(&theirs);
        fs::rename(lane.path(), room.path("elsewhere")).unwrap();
        symlink(&theirs, lane.path()).unwrap();
        assert!(matches!(lanes::open(&repo, lane.path()), Err(agentops_git::Error::NotALane { .. })));
        used(&repo, lane.path(), &base);
        assert!(everything(&theirs) == before, "use {number} changed the linked repository");
        assert_eq!(tripped(&room), "");
    }
}

#[test]
fn s3_a_lane_that_leads_its_repository_elsewhere_by_a_file() {
    let (room, repo, lane, base, trip) = owned();
    evil_git_dir(&room, &room.path("evil"), &trip);
    let elsewhere = room.path("evil/.git");
    fs::write(lane.git_dir().join("commondir"), elsewhere.to_str().unwrap()).unwrap();
    use_it(&room, &repo, lane.path(), &base);
    let lane = lanes::create(&repo, lane.path(), &base, "one").unwrap();
    write(&lane.path().join("a.txt"), "changed\n");
    fs::remove_dir_all(lane.git_dir()).unwrap();
    fs::write(lane.path().join(".git"), format!("gitdir: {}\n", elsewhere.display())).unwrap();
    use_it(&room, &repo, lane.path(), &base);
    assert!(room.path("evil/.git/config").exists());
}

#[test]
fn s3_a_lane_that_puts_links_where_we_write() {
    let (room, repo, lane, base, _) = owned();
    let victim = room.path("victim");
    write(&victim, "untouched");
    write(&room.path("victims/x"), "untouched");
    for name in ["HEAD", "index", "config", "commondir", "shallow", "info/exclude", "objects/info/alternates"] {
        let _ = fs::remove_file(lane.git_dir().join(name));
        symlink(&victim, lane.git_dir().join(name)).unwrap();
    }
    for name in ["hooks", "refs", "info", "objects"] {
        let _ = fs::rename(lane.git_dir().join(name), room.path(&format!("moved-{name}")));
        symlink(room.path("victims"), lane.git_dir().join(name)).unwrap();
    }
    fs::remove_dir_all(lane.path().join("dir")).unwrap();
    symlink(room.path("victims"), lane.path().join("dir")).unwrap();
    fs::remove_dir_all(lane.path().join(".agentops-out")).unwrap();
    symlink(room.path("victims"), lane.path().join(".agentops-out")).unwrap();
    let lane = lanes::open(&repo, lane.path()).unwrap();
    assert!(!lane.path().join(".agentops-out").is_symlink());
    let point = lane.checkpoint(&base, "m", &author(), 1, &room.scratch()).unwrap();
    assert_eq!(point.changed.len(), 3, "{:?}", point.changed);
    lane.reset_to(&base).unwrap();
    assert_eq!(room.git(lane.path(), &["status", "--porcelain"]), "");
    lanes::remove(&repo, &lane).unwrap();
    assert_eq!(fs::read_to_string(&victim).unwrap(), "untouched");
    assert_eq!(fs::read_dir(room.path("victims")).unwrap().count(), 1);
    assert_eq!(fs::read_to_string(room.path("victims/x")).unwrap(), "untouched");
}

#[test]
fn s3_a_bare_repository_inside_the_lane_is_only_files() {
    let (room, repo, lane, base, trip) = owned();
    room.git(lane.path(), &["init", "-q", "--bare", "inner"]);
    arm_config(&room, &lane.path().join("inner/config"), &trip);
    let point = lane.checkpoint(&base, "m", &author(), 1, &room.scratch()).unwrap();
    assert!(point.changed.iter().any(|c| c.path == Path::new("inner/config")));
    assert!(repo.submodules(&point.commit).unwrap().is_empty());
    lane.reset_to(&base).unwrap();
    assert!(!lane.path().join("inner").exists());
    assert_eq!(tripped(&room), "");
}

/// Bytes that this thread has read from files and pipes.
fn bytes_read() -> u64 {
    let io = fs::read_to_string("/proc/thread-self/io").unwrap();
    io.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap().parse().unwrap()
}

#[test]
fn s3_files_of_the_lanes_git_are_read_only_as_far_as_they_may_be_ours() {
    const HUGE: u64 = 256 << 20;
    let (_room, repo, lane, base, _) = owned();
    let names = ["HEAD", "index", "config", "info/exclude", "objects/info/alternates", "agentops-lane-of", "packed-refs"];
    for name in names {
        fs::File::create(lane.git_dir().join(name)).unwrap().set_len(HUGE).unwrap();
    }
    let before = bytes_read();
    let lane = lanes::open(&repo, lane.path()).unwrap();
    lane.reset_to(&base).unwrap();
    let read = bytes_read() - before;
    assert!(read < HUGE / 4, "{read} bytes were read");
    assert_eq!(fs::metadata(lane.git_dir().join("config")).unwrap().len() / 4096, 0);
}
