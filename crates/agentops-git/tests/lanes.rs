//! Lanes: many at once, after crashes, with every kind of content, beside the user's work.

mod room;

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Instant;

use agentops_git::{Error, Expect, Lane, Status, Why, lanes};
use proptest::prelude::*;
use room::{Room, author, picture, write};

fn lane(room: &Room, repo: &agentops_git::Repo, name: &str) -> Lane {
    lanes::create(repo, &room.path("lanes").join(name), &repo.head().unwrap().commit, name).unwrap()
}

#[test]
fn p5_24_lanes_start_at_once() {
    let (room, repo) = Room::with_repo();
    let base = repo.head().unwrap().commit;
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        // The user's git looks on and must never see half a lane.
        let watcher = scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                room.git(repo.work_tree(), &["worktree", "list"]);
                room.git(repo.work_tree(), &["rev-list", "--all"]);
            }
        });
        let made: Vec<_> = (0..24)
            .map(|n| {
                let (room, repo, base) = (&room, &repo, &base);
                scope.spawn(move || {
                    // Every thread is as separate as a process: locks belong to open files.
                    let name = format!("r-{n}");
                    let lane = lanes::create(repo, &room.path("my lanes").join(&name), base, &name).unwrap();
                    write(&lane.path().join("mine"), name.as_bytes());
                    lane.checkpoint(base, &name, &author(), 1, &room.scratch()).unwrap()
                })
            })
            .collect();
        let made: std::collections::HashSet<_> = made.into_iter().map(|t| t.join().unwrap().commit).collect();
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        watcher.join().unwrap();
        assert_eq!(made.len(), 24);
    });
    let all = lanes::list(&repo, &room.path("my lanes")).unwrap();
    assert_eq!(all.len(), 24);
    assert_eq!(room.git(repo.work_tree(), &["branch", "--list"]), "* main");
    std::thread::scope(|scope| {
        for lane in &all {
            scope.spawn(|| lanes::remove(&repo, lane).unwrap());
        }
    });
    assert_eq!(room.git(repo.work_tree(), &["worktree", "list"]).lines().count(), 1);
    assert!(repo.list_refs("refs/agentops").unwrap().is_empty());
    assert!(fs::read_dir(room.path("my lanes")).unwrap().next().is_none());
    lanes::remove(&repo, &all[0]).unwrap();
}

#[test]
fn p5_a_crash_inside_creation_leaves_nothing_that_matters() {
    let (room, repo) = Room::with_repo();
    let base = repo.head().unwrap().commit;
    // What is there after a crash at each step: delete what later steps made, from the end.
    let steps: [&[&str]; 6] = [
        &["ready"],
        &["ready", "index"],
        &["ready", "index", "GIT"],
        &["ready", "index", "FILES"],
        &["ready", "index", "FILES", "REF"],
        &["ready", "index", "FILES", "REF", "path"],
    ];
    for lost in steps {
        let half = lane(&room, &repo, "half");
        let record = repo.common_dir().join("agentops/lanes/half");
        for what in lost {
            match *what {
                "FILES" => fs::remove_dir_all(half.path()).unwrap(),
                "GIT" => fs::remove_dir_all(half.git_dir()).unwrap(),
                "REF" => repo.delete_ref("refs/agentops/lanes/half", &Expect::Is(base.clone())).unwrap(),
                file => fs::remove_file(record.join(file)).unwrap(),
            }
        }
        assert!(matches!(lanes::open(&repo, half.path()), Err(Error::NotALane { .. })));
        let again = lane(&room, &repo, "half");
        assert_eq!(room.git(again.path(), &["status", "--porcelain"]), "");
        assert_eq!(again.checkpoint(&base, "m", &author(), 1, &room.scratch()).unwrap().commit, base);
        lanes::remove(&repo, &again).unwrap();
        // A crash and then another lane: the leftover goes as well.
        let half = lane(&room, &repo, "half");
        fs::remove_file(record.join("ready")).unwrap();
        let other = lane(&room, &repo, "other");
        assert!(!half.path().exists() && !record.exists());
        assert_eq!(repo.read_ref("refs/agentops/lanes/half").unwrap(), None);
        lanes::remove(&repo, &other).unwrap();
    }
}

#[test]
fn p6_a_link_in_the_place_of_the_records_is_refused_and_nothing_behind_it_goes() {
    let (room, repo) = Room::with_repo();
    let base = repo.head().unwrap().commit;
    let precious = room.path("precious");
    write(&precious.join("sub/g"), "mine");
    let records = repo.common_dir().join("agentops/lanes");
    fs::create_dir_all(records.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink(&precious, &records).unwrap();
    let refused = [
        lanes::clear_leftovers(&repo).unwrap_err(),
        lanes::create(&repo, &room.path("lanes/one"), &base, "one").unwrap_err(),
        lanes::list(&repo, &room.path("lanes")).unwrap_err(),
    ];
    for error in refused {
        assert!(format!("{error} {:?}", std::error::Error::source(&error)).contains("put the folder back"), "{error}");
    }
    assert_eq!(fs::read_to_string(precious.join("sub/g")).unwrap(), "mine");
    assert_eq!(fs::read_dir(&precious).unwrap().count(), 1);
    fs::remove_file(&records).unwrap();
    lanes::create(&repo, &room.path("lanes/one"), &base, "one").unwrap();
}

#[test]
fn p5_a_torn_record_is_cleared_away_without_its_folder() {
    let (room, repo) = Room::with_repo();
    for torn in ["path", "base"] {
        let half = lane(&room, &repo, "half");
        write(&half.path().join("work"), "kept");
        fs::write(repo.common_dir().join("agentops/lanes/half").join(torn), "").unwrap();
        let other = lane(&room, &repo, "other");
        assert!(half.path().join("work").exists());
        assert_eq!(repo.read_ref("refs/agentops/lanes/half").unwrap(), None);
        assert_eq!(lanes::list(&repo, &room.path("lanes")).unwrap().len(), 1);
        lanes::remove(&repo, &other).unwrap();
        fs::remove_dir_all(half.path()).unwrap();
    }
}

#[test]
fn p5_a_lane_that_git_still_fills_after_its_maker_died_is_waited_for() {
    let (room, repo) = Room::with_repo();
    let half = lane(&room, &repo, "half");
    let record = repo.common_dir().join("agentops/lanes/half");
    fs::remove_file(record.join("ready")).unwrap();
    // A git process that outlives its parent holds the record's lock by its standard input.
    let lock = fs::File::options().append(true).open(record.join("lock")).unwrap();
    lock.lock().unwrap();
    let released = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let again = scope.spawn(|| {
            let made = lane(&room, &repo, "half");
            (made, released.load(std::sync::atomic::Ordering::SeqCst))
        });
        let gone = scope.spawn(|| {
            // Others are not kept waiting by it, and leave it alone.
            let other = lane(&room, &repo, "other");
            lanes::remove(&repo, &other).unwrap();
        });
        gone.join().unwrap();
        assert!(half.path().join("a.txt").exists());
        released.store(true, std::sync::atomic::Ordering::SeqCst);
        lock.unlock().unwrap();
        let (made, after) = again.join().unwrap();
        assert!(after, "the lane was taken while somebody worked on it");
        assert_eq!(room.git(made.path(), &["status", "--porcelain"]), "");
    });
}

#[test]
fn p5_a_reset_and_a_checkpoint_wait_for_a_git_that_outlived_its_parent() {
    let (room, repo) = Room::with_repo();
    let lane = lane(&room, &repo, "one");
    let base = lane.base().clone();
    let record = repo.common_dir().join("agentops/lanes/one");
    for resets in [true, false] {
        let lock = fs::File::options().append(true).open(record.join("lock")).unwrap();
        lock.lock().unwrap();
        let released = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| {
                if resets {
                    lane.reset_to(&base).unwrap();
                } else {
                    lane.checkpoint(&base, "m", &author(), 1, &room.scratch()).unwrap();
                }
                released.load(std::sync::atomic::Ordering::SeqCst)
            });
            // Something that takes a while: what does not wait would be done meanwhile.
            for _ in 0..20 {
                room.git(lane.path(), &["status"]);
            }
            released.store(true, std::sync::atomic::Ordering::SeqCst);
            lock.unlock().unwrap();
            assert!(waits.join().unwrap(), "it did not wait");
        });
    }
}

#[test]
fn r11_a_lock_that_a_killed_git_left_on_a_ref_of_ours_is_removed() {
    let (_room, repo) = Room::with_repo();
    let base = repo.head().unwrap().commit;
    let name = "refs/agentops/runs/r-1/x";
    let lock = repo.common_dir().join(format!("{name}.lock"));
    write(&lock, "");
    let hour_ago = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    fs::File::options().write(true).open(&lock).unwrap().set_modified(hour_ago).unwrap();
    repo.update_ref(name, &base, &Expect::Absent).unwrap();
    assert_eq!(repo.read_ref(name).unwrap(), Some(base.clone()));
    assert!(!lock.exists());
    write(&lock, "");
    fs::File::options().write(true).open(&lock).unwrap().set_modified(hour_ago).unwrap();
    repo.delete_ref(name, &Expect::Is(base)).unwrap();
    assert_eq!(repo.read_ref(name).unwrap(), None);
}

#[test]
fn creating_again_is_harmless_and_takes_nobodys_folder() {
    let (room, repo) = Room::with_repo();
    let base = repo.head().unwrap().commit;
    let one = lane(&room, &repo, "one");
    write(&one.path().join("work"), "of the agent");
    assert!(lane(&room, &repo, "one").path().join("work").exists());
    let elsewhere = lanes::create(&repo, &room.path("else"), &base, "one");
    assert!(matches!(elsewhere, Err(Error::LaneExists { .. })));
    write(&room.path("mine/file"), "x");
    symlink(room.path("void"), room.path("dangling")).unwrap();
    for path in ["mine", "mine/file", "dangling"] {
        let taken = lanes::create(&repo, &room.path(path), &base, "two");
        assert!(matches!(taken, Err(Error::LanePathTaken { .. })), "{path}");
    }
    let missing = "1".repeat(40).parse().unwrap();
    assert!(lanes::create(&repo, &room.path("lanes/two"), &missing, "two").is_err());
    assert!(!room.path("lanes/two").exists());
    assert!(matches!(lanes::open(&repo, &room.path("mine")), Err(Error::NotALane { .. })));
    assert_eq!(lanes::open(&repo, &room.path("lanes/one")).unwrap().base(), &base);
    fs::remove_dir_all(one.path()).unwrap();
    assert!(matches!(lanes::open(&repo, one.path()), Err(Error::NotALane { .. })));
    assert_eq!(room.git(lane(&room, &repo, "one").path(), &["status", "--porcelain"]), "");
    assert!(lanes::create(&repo, &room.path("x"), &base, "../x").is_err());
}

#[test]
fn a_checkpoint_holds_the_files_and_nothing_else() {
    let (room, repo) = Room::with_repo();
    let base = repo.head().unwrap().commit;
    let lane = lane(&room, &repo, "one");
    let at = lane.path();
    let point = |parent| lane.checkpoint(parent, "work", &author(), 7, &room.scratch()).unwrap();
    let none = point(&base);
    assert_eq!((none.commit, none.changed.len(), none.omitted.len()), (base.clone(), 0, 0));

    write(&at.join("a.txt"), "changed\n");
    fs::remove_file(at.join("dir/b.txt")).unwrap();
    symlink("/etc/passwd", at.join("link")).unwrap();
    write(&at.join("new/deep/file"), "x");
    write(&at.join("target/cache"), "ignored");
    write(&at.join(".agentops-out/result"), "not in the tree");
    write(&at.join("unreadable"), "x");
    fs::set_permissions(at.join("unreadable"), fs::Permissions::from_mode(0o000)).unwrap();
    let first = point(&base);
    let changed: Vec<_> = first.changed.iter().map(|c| (c.path.to_str().unwrap(), c.status)).collect();
    let mut expected = vec![
        ("a.txt", Status::Modified),
        ("dir/b.txt", Status::Deleted),
        ("link", Status::Added),
        ("new/deep/file", Status::Added),
    ];
    let mut omitted = vec![("unreadable", Why::Unreadable)];
    if fs::File::open(at.join("unreadable")).is_ok() {
        // Root reads everything.
        expected.push(("unreadable", Status::Added));
        omitted.pop();
    }
    assert_eq!(changed, expected);
    assert_eq!(first.omitted.iter().map(|s| (s.path.to_str().unwrap(), s.why)).collect::<Vec<_>>(), omitted);
    assert_eq!(repo.read_file(&first.commit, "link").unwrap().unwrap(), b"/etc/passwd");
    assert_eq!(point(&base), first, "the same files give the same commit");

    // What the agent commits, stages and hides in its own git does not matter.
    room.git(at, &["-c", "user.email=a@b", "commit", "-qam", "by the agent"]);
    room.git(at, &["update-index", "--assume-unchanged", "a.txt"]);
    write(&at.join("a.txt"), "CHANGED\n");
    let second = point(&first.commit);
    assert_eq!(second.changed.len(), 1);
    assert_eq!(repo.read_file(&second.commit, "a.txt").unwrap().unwrap(), b"CHANGED\n");
    // Lost shortcuts cost time only.
    for damage in [&b"garbage"[..], b""] {
        fs::write(repo.common_dir().join("agentops/lanes/one/index"), damage).unwrap();
        assert_eq!(point(&first.commit), second);
    }
}

#[test]
fn files_folders_and_links_may_change_places() {
    let (room, repo) = Room::with_repo();
    let base = repo.head().unwrap().commit;
    let lane = lane(&room, &repo, "one");
    let at = lane.path();
    write(&room.path("outside/b.txt"), "a secret\n");
    fs::remove_dir_all(at.join("dir")).unwrap();
    symlink(room.path("outside"), at.join("dir")).unwrap();
    fs::remove_file(at.join("a.txt")).unwrap();
    write(&at.join("a.txt/inside"), "x");
    write(&at.join("git~1"), "a name that git refuses");
    let point = lane.checkpoint(&base, "swap", &author(), 7, &room.scratch()).unwrap();
    let paths: Vec<_> = repo.list_tree(&point.commit, None).unwrap().into_iter().map(|e| (e.path, e.mode)).collect();
    let expected = [(".gitignore", 0o100_644), ("a.txt/inside", 0o100_644), ("dir", 0o120_000)];
    assert_eq!(paths, expected.map(|(p, m)| (PathBuf::from(p), m)));
    assert_eq!(point.omitted.iter().map(|s| s.why).collect::<Vec<_>>(), [Why::BadName]);

    lane.reset_to(&base).unwrap();
    assert_eq!(fs::read_to_string(at.join("dir/b.txt")).unwrap(), "b\n");
    assert!(!at.join("dir").is_symlink() && at.join("a.txt").is_file() && !at.join("git~1").exists());
    assert_eq!(fs::read_to_string(room.path("outside/b.txt")).unwrap(), "a secret\n");
    lane.reset_to(&point.commit).unwrap();
    assert!(at.join("dir").is_symlink());
}

#[test]
fn reset_keeps_caches_and_results_and_nothing_else() {
    let (room, repo) = Room::with_repo();
    let base = repo.head().unwrap().commit;
    let lane = lane(&room, &repo, "one");
    let at = lane.path();
    write(&at.join("target/cache"), "kept");
    write(&at.join(".agentops-out/result"), "kept");
    write(&at.join("left/over"), "goes");
    write(&at.join("a.txt"), "goes\n");
    room.git(at, &["init", "-q", "nested"]);
    fs::remove_dir_all(at.join("dir")).unwrap();
    room.git(at, &["init", "-q", "dir"]);
    write(&at.join("locked/x"), "goes");
    fs::set_permissions(at.join("locked"), fs::Permissions::from_mode(0o555)).unwrap();
    fs::write(lane.git_dir().join("index"), "garbage").unwrap();
    lane.reset_to(&base).unwrap();
    for gone in ["left", "nested", "locked"] {
        assert!(!at.join(gone).exists(), "{gone}");
    }
    assert!(at.join("target/cache").exists() && at.join(".agentops-out/result").exists());
    assert_eq!(fs::read_to_string(at.join("a.txt")).unwrap(), "one\ntwo\nthree\n");
    assert_eq!(room.git(at, &["status", "--porcelain"]), "");
}

#[test]
fn s4_names_are_data() {
    let (room, repo) = Room::with_repo();
    let base = repo.head().unwrap().commit;
    let lane = lane(&room, &repo, "one");
    let long = vec!["d".repeat(200); 19].join("/");
    let names = [
        "-leading",
        "--help",
        "$(id)",
        "`id`",
        "a;touch${IFS}x",
        " space ",
        "new\nline",
        "tab\t",
        "\u{3000}",
        "\u{202e}bidi",
        "*",
        "?",
        "[a]",
        ":(exclude)a.txt",
        ":(top)x",
        "!x",
        "\"quoted\"",
        "back\\slash",
        "é",
        "%s",
        "HEAD",
        "@{-1}",
        &long,
    ];
    let odd = Path::new(std::ffi::OsStr::from_bytes(b"not\xffutf8"));
    let mut paths: Vec<PathBuf> = names.iter().map(PathBuf::from).collect();
    paths.push(odd.to_owned());
    for path in &paths {
        // The longest path cannot be made by its absolute name.
        let full = lane.path().join(path);
        if path.as_os_str().len() < 3000 {
            write(&full, path.as_os_str().as_bytes());
        }
    }
    let point = lane.checkpoint(&base, "$(id)\n-x", &author(), 7, &room.scratch()).unwrap();
    assert_eq!(point.omitted, []);
    let short = paths.iter().filter(|p| p.as_os_str().len() < 3000);
    let files: Vec<_> = paths.iter().map(|p| (p.clone(), p.as_os_str().as_bytes().to_vec())).collect();
    for path in short {
        assert!(point.changed.iter().any(|c| c.path == *path), "{path:?}");
        assert_eq!(repo.read_file(&point.commit, path).unwrap().unwrap(), path.as_os_str().as_bytes());
    }
    let made = repo.commit_files(Some(&base), &files, "m", &author(), 7, &room.scratch()).unwrap();
    for (path, bytes) in &files {
        assert_eq!(repo.read_file(&made, path).unwrap().as_ref(), Some(bytes), "{path:?}");
        assert_eq!(repo.list_tree(&made, Some(path)).unwrap(), [], "{path:?} is no folder");
    }
    for name in ["$(id)", "a;touch${IFS}x", "--upload-pack=x", "\u{3000}", "\u{202e}x"] {
        let full = format!("refs/heads/agentops/{name}");
        repo.update_ref(&full, &base, &Expect::Absent).unwrap();
        assert_eq!(repo.read_ref(&full).unwrap(), Some(base.clone()));
        room::merge(&repo, &format!("agentops/{name}")).unwrap();
        repo.delete_ref(&full, &Expect::Is(base.clone())).unwrap();
    }
    let spoken = repo.commit_tree(&point.tree, &[], "", &author(), 7).unwrap();
    assert_eq!(repo.tree_of(&spoken).unwrap(), point.tree);
    lane.reset_to(&base).unwrap();
}

#[test]
fn submodules_are_kept_and_their_moves_reported() {
    let (room, repo) = Room::with_repo();
    let at = repo.work_tree();
    room.git(&room.path(""), &["clone", "-q", "repo", "lib"]);
    room.git(at, &["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", "../lib", "sub"]);
    room.git(at, &["commit", "-qm", "sub"]);
    let base = repo.head().unwrap().commit;
    assert_eq!(repo.submodules(&base).unwrap(), [PathBuf::from("sub")]);
    assert!(!repo.status().unwrap().dirty);
    let lane = lane(&room, &repo, "one");
    assert_eq!(lane.checkpoint(&base, "m", &author(), 1, &room.scratch()).unwrap().commit, base);
    fs::remove_dir(lane.path().join("sub")).unwrap();
    room.git(lane.path(), &["clone", "-q", &room.path("lib").to_string_lossy(), "sub"]);
    assert_eq!(lane.checkpoint(&base, "m", &author(), 1, &room.scratch()).unwrap().omitted, [], "it stands where it should");
    let sub = lane.path().join("sub");
    room.git(&sub, &["-c", "user.name=x", "-c", "user.email=x@y", "commit", "-q", "--allow-empty", "-m", "moved"]);
    let point = lane.checkpoint(&base, "m", &author(), 1, &room.scratch()).unwrap();
    assert_eq!((point.commit, point.omitted.len()), (base.clone(), 1));
    lane.reset_to(&base).unwrap();
    assert!(sub.join(".git").exists());
}

#[test]
fn filtered_files_are_named() {
    let (room, repo) = Room::with_repo();
    let base = repo.head().unwrap().commit;
    let lane = lane(&room, &repo, "one");
    write(&lane.path().join(".gitattributes"), "*.bin filter=lfs\n*.crlf text eol=crlf\n");
    write(&room.path("repo/.git/info/attributes"), "*.key filter=crypt\n");
    write(&lane.path().join("big.bin"), "raw");
    write(&lane.path().join("my.key"), "raw");
    write(&lane.path().join("dos.crlf"), "a\r\n");
    let point = lane.checkpoint(&base, "m", &author(), 1, &room.scratch()).unwrap();
    assert_eq!(point.filtered, ["big.bin", "my.key"].map(PathBuf::from));
    assert_eq!(repo.filtered(point.raw.as_ref().unwrap()).unwrap(), point.filtered);
    assert_eq!(repo.read_file(&point.commit, "dos.crlf").unwrap().unwrap(), b"a\n", "line ends as the user's git has them");
}

#[test]
fn a_checkpoint_holds_everything_but_the_filtered_files() {
    let (room, repo) = Room::with_repo();
    write(&repo.work_tree().join(".gitattributes"), "*.bin filter=lfs\n");
    write(&repo.work_tree().join("old.bin"), "pointer");
    room.git(repo.work_tree(), &["add", "."]);
    room.git(repo.work_tree(), &["commit", "-qm", "large files"]);
    let base = repo.head().unwrap().commit;
    let lane = lane(&room, &repo, "one");
    for (path, text) in [("old.bin", "raw"), ("new.bin", "raw"), ("a.txt", "changed\n")] {
        write(&lane.path().join(path), text);
    }
    let point = lane.checkpoint(&base, "m", &author(), 1, &room.scratch()).unwrap();
    assert_eq!(point.changed.iter().map(|change| change.path.to_str().unwrap()).collect::<Vec<_>>(), ["a.txt"]);
    assert_eq!(point.omitted.iter().map(|omitted| omitted.why).collect::<Vec<_>>(), [Why::Filtered; 2]);
    assert_eq!(repo.read_file(&point.commit, "old.bin").unwrap().unwrap(), b"pointer");
    assert_eq!(repo.read_file(&point.commit, "new.bin").unwrap(), None);
    let raw = point.raw.clone().unwrap();
    assert_eq!(repo.read_file(&raw, "old.bin").unwrap().unwrap(), b"raw");
    assert_eq!(repo.merge_base(&raw, &point.commit).unwrap().as_ref(), Some(&point.commit));
    // Going on from there, they are still in the lane, still named, and still not taken.
    write(&lane.path().join("b.txt"), "more");
    let next = lane.checkpoint(&point.commit, "m", &author(), 1, &room.scratch()).unwrap();
    assert_eq!(next.changed.iter().map(|change| change.path.to_str().unwrap()).collect::<Vec<_>>(), ["b.txt"]);
    assert_eq!(next.filtered, ["new.bin", "old.bin"].map(PathBuf::from));
}

/// One thing that a user may have lying about.
#[derive(Debug, Clone, Copy)]
enum Mess {
    Dirty,
    Staged,
    StagedThenDirty,
    Untracked,
    Ignored,
    Deleted,
    Nested,
    Detached,
    Stash,
}

fn mess(room: &Room, at: &Path, mess: Mess) {
    match mess {
        Mess::Dirty => write(&at.join("a.txt"), "dirty\n"),
        Mess::Staged => {
            write(&at.join("staged"), "s\n");
            room.git(at, &["add", "staged"]);
        }
        Mess::StagedThenDirty => {
            write(&at.join("staged2"), "s\n");
            room.git(at, &["add", "staged2"]);
            write(&at.join("staged2"), "then dirty\n");
        }
        Mess::Untracked => write(&at.join("un/tracked"), "u\n"),
        Mess::Ignored => write(&at.join("target/x"), "i\n"),
        Mess::Deleted => {
            let _ = fs::remove_file(at.join("dir/b.txt"));
        }
        Mess::Nested => {
            room.git(at, &["init", "-q", "nested"]);
        }
        Mess::Detached => {
            room.git(at, &["checkout", "-q", "--detach"]);
        }
        Mess::Stash => {
            write(&at.join(".gitignore"), "target/\nx\n");
            room.git(at, &["stash", "-q"]);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn p6_no_operation_touches_the_users_work(
        messes in prop::collection::vec(
            prop::sample::select(vec![
                Mess::Dirty, Mess::Staged, Mess::StagedThenDirty, Mess::Untracked, Mess::Ignored, Mess::Deleted,
                Mess::Nested, Mess::Detached, Mess::Stash,
            ]),
            0..5,
        )
    ) {
        let (room, repo) = Room::with_repo();
        let at = repo.work_tree().to_owned();
        for m in messes {
            mess(&room, &at, m);
        }
        let git = at.join(".git");
        let ours = ["agentops", "agentops-lanes.lock", "objects", "refs/agentops", "refs/heads/agentops"];
        // The time of folders changes with what is made in them; only their mode and names are compared.
        let skip = |p: &Path| ours.iter().any(|o| p == git.join(o));
        let before = picture(&at, &skip);
        room::every_operation(&room, &repo);
        prop_assert_eq!(picture(&at, &skip), before);
    }
}

#[test]
fn creation_and_checkpoint_are_quick() {
    let (room, repo) = Room::with_repo();
    let base = repo.head().unwrap().commit;
    let scratch = room.scratch();
    let (mut create, mut point) = (Vec::new(), Vec::new());
    for n in 0..20 {
        let begin = Instant::now();
        let lane = lanes::create(&repo, &room.path("lanes").join(n.to_string()), &base, &n.to_string()).unwrap();
        create.push(begin.elapsed());
        write(&lane.path().join("a.txt"), n.to_string());
        let begin = Instant::now();
        lane.checkpoint(&base, "m", &author(), 1, &scratch).unwrap();
        point.push(begin.elapsed());
    }
    create.sort();
    point.sort();
    println!("create {:?}, checkpoint {:?} (medians of 20)", create[10], point[10]);
}
