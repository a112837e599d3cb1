//! Lanes that somebody damaged: only what is certainly gone is made again, and an error is an error.

mod room;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use agentops_git::lanes::{Recovered, Restored};
use agentops_git::{Error, Expect, Lane, Oid, Repo, Result, Why, lanes};
use room::{Room, author, omitted, write};

fn lane(room: &Room, repo: &Repo, name: &str) -> Lane {
    lanes::create(repo, &room.path("lanes").join(name), &repo.head().unwrap().commit, name).unwrap()
}

fn record(repo: &Repo, name: &str) -> PathBuf {
    repo.common_dir().join("agentops/lanes").join(name)
}

fn restore(repo: &Repo, lane: &Lane, commit: &Oid) -> Result<(Lane, Restored)> {
    lanes::restore(repo, lane.path(), lane.base(), commit, lane.name())
}

/// Runs `work` on a thread for which the rights of files count, also if the tests run as root.
fn as_ordinary_user<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let limited = || {
        use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
        let mut sets = capabilities(None).unwrap();
        sets.effective.remove(CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH);
        set_capabilities(None, sets).unwrap();
        work()
    };
    std::thread::scope(|scope| scope.spawn(limited).join().unwrap())
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn r11_a_lane_that_cannot_be_opened_now_is_not_taken_for_gone() {
    let (room, repo) = Room::with_repo();
    let lane = lane(&room, &repo, "one");
    write(&lane.path().join("work"), "by the agent");
    let base = lane.base().clone();
    // Each of these is read when the lane is opened.
    for file in ["form", "path", "base", "config", "extra", "baseline"] {
        let file = record(&repo, "one").join(file);
        if !file.exists() {
            fs::write(&file, "").unwrap();
        }
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        set_mode(&file, 0o000);
        let (opened, restored, made) = as_ordinary_user(|| {
            let again = lanes::create(&repo, lane.path(), &base, "one");
            (lanes::open(&repo, lane.path()), restore(&repo, &lane, &base), again)
        });
        let of_opening = !file.ends_with("extra");
        assert_eq!(matches!(opened, Err(Error::Io { .. })), of_opening, "{}: {opened:?}", file.display());
        assert_eq!(matches!(restored, Err(Error::Io { .. })), of_opening, "{}: {restored:?}", file.display());
        assert_eq!(matches!(made, Err(Error::Io { .. })), of_opening, "{}: {made:?}", file.display());
        set_mode(&file, mode);
    }
    assert_eq!(restore(&repo, &lane, &base).unwrap().1, Restored::Whole);
    assert_eq!(fs::read_to_string(lane.path().join("work")).unwrap(), "by the agent");
}

#[test]
fn p5_a_record_that_cannot_be_read_now_is_nobodys_leftover() {
    let (room, repo) = Room::with_repo();
    let one = lane(&room, &repo, "one");
    write(&one.path().join("work"), "by the agent");
    let base = one.base().clone();
    for (path, mode) in [("form", 0o000), ("path", 0o000), ("base", 0o000), ("", 0o600)] {
        let path = record(&repo, "one").join(path);
        let before = fs::metadata(&path).unwrap().permissions().mode();
        set_mode(&path, mode);
        as_ordinary_user(|| {
            lanes::clear_leftovers(&repo).unwrap();
            // Nobody else is kept from work by it.
            let other = lanes::create(&repo, &room.path("lanes/other"), &base, "other").unwrap();
            lanes::remove(&repo, &other).unwrap();
            let again = lanes::create(&repo, one.path(), &base, "one");
            assert!(matches!(again, Err(Error::Io { .. })), "{}: {again:?}", path.display());
            let opened = lanes::open(&repo, one.path());
            assert!(matches!(opened, Err(Error::Io { .. })), "{}: {opened:?}", path.display());
            let restored = restore(&repo, &one, &base);
            assert!(matches!(restored, Err(Error::Io { .. })), "{}: {restored:?}", path.display());
        });
        set_mode(&path, before);
        assert_eq!(lanes::list(&repo, &room.path("lanes")).unwrap().len(), 1, "{}", path.display());
        assert_eq!(repo.read_ref("refs/agentops/lanes/one").unwrap(), Some(base.clone()));
    }
    // A newer version of the program may know what this one does not.
    let form = fs::read(record(&repo, "one").join("form")).unwrap();
    write(&record(&repo, "one").join("form"), "99");
    lanes::clear_leftovers(&repo).unwrap();
    let other = lanes::create(&repo, &room.path("lanes/other"), &base, "other").unwrap();
    lanes::remove(&repo, &other).unwrap();
    assert!(matches!(lanes::discard(&repo, one.path(), "one"), Err(Error::NewerLane { .. })));
    fs::write(record(&repo, "one").join("form"), form).unwrap();
    // The folder of the lane cannot be looked at either.
    set_mode(&room.path("lanes"), 0o000);
    as_ordinary_user(|| assert!(matches!(lanes::clear_leftovers(&repo), Err(Error::Io { .. }))));
    set_mode(&room.path("lanes"), 0o755);
    assert!(one.path().join("work").exists() && record(&repo, "one").join("ready").exists());
}

#[test]
fn r11_git_that_cannot_be_looked_at_is_not_built_anew() {
    let (room, repo) = Room::with_repo();
    let lane = lane(&room, &repo, "one");
    room.git(lane.path(), &["branch", "attempt"]);
    // Without the right to search the lane's folder nobody knows what is in it.
    set_mode(lane.path(), 0o600);
    let opened = as_ordinary_user(|| lanes::open(&repo, lane.path()));
    assert!(matches!(opened, Err(Error::Io { .. })), "{opened:?}");
    set_mode(lane.path(), 0o755);
    lanes::open(&repo, lane.path()).unwrap();
    room.git(lane.path(), &["rev-parse", "attempt"]);
}

/// Each attempt to keep its work failed until a person gave the rights back.
#[test]
fn r11_the_rights_that_an_agent_took_away_are_taken_back() {
    let (room, repo) = Room::with_repo();
    let lane = lane(&room, &repo, "one");
    write(&lane.path().join("work"), "by the agent");
    write(&lane.path().join(".agentops-out/plan.md"), "a plan");
    write(&lane.path().join("shut/work"), "by the agent");
    for folder in [".git/objects", ".git", ".agentops-out", "shut", ""] {
        set_mode(&lane.path().join(folder), 0o000);
    }
    let (point, plan) = as_ordinary_user(|| {
        let found = lanes::recover(&repo, lane.path(), lane.base(), lane.base(), "one").unwrap();
        let Recovered::Usable(lane, Restored::Whole) = found else { panic!() };
        let point = lane.checkpoint(lane.base(), "m", &author(), 1, &room.scratch()).unwrap();
        (point, fs::read_to_string(lane.path().join(".agentops-out/plan.md")).unwrap())
    });
    assert_eq!((point.changed.len(), plan.as_str()), (1, "a plan"));
    // The agent's own folders are its work.
    let [(path, Why::Unreadable)] = omitted(&point)[..] else { panic!("{point:?}") };
    assert!(path.starts_with("shut"), "{path}");
    set_mode(&lane.path().join("shut"), 0o700);
}

/// A lane with a checkpoint of work, which a ref keeps.
fn with_work(room: &Room, repo: &Repo) -> (Lane, Oid) {
    let lane = lane(room, repo, "one");
    write(&lane.path().join("work"), "by the agent");
    let point = lane.checkpoint(lane.base(), "m", &author(), 1, &room.scratch()).unwrap().commit;
    let _set_before = repo.update_ref("refs/agentops/point", &point, &Expect::Absent);
    (lane, point)
}

/// Removes everything in a folder but these names.
fn empty(folder: &Path, but: &[&str]) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        if but.iter().any(|name| entry.file_name() == *name) {
            continue;
        }
        if entry.file_type().unwrap().is_dir() {
            fs::remove_dir_all(entry.path()).unwrap();
        } else {
            fs::remove_file(entry.path()).unwrap();
        }
    }
}

#[test]
fn r11_a_lane_that_was_emptied_is_lost_and_not_the_work_of_its_agent() {
    let (room, repo) = Room::with_repo();
    write(&repo.common_dir().join("info/exclude"), "cache/\n");
    for left in [&[][..], &[".git"], &[".git", ".agentops-out"], &[".git", "cache"], &["empty-folder"]] {
        let (lane, point) = with_work(&room, &repo);
        write(&lane.path().join("cache/object"), "ignored");
        fs::create_dir(lane.path().join("empty-folder")).unwrap();
        room.git(lane.path(), &["add", "work"]);
        room.git(lane.path(), &["commit", "-qm", "in the lane's git alone"]);
        let committed = room.oid(lane.path(), "HEAD");
        empty(lane.path(), left);
        match lanes::recover(&repo, lane.path(), lane.base(), &point, "one").unwrap() {
            Recovered::Emptied(emptied) => {
                let salvaged = emptied.salvage_emptied("refs/agentops/salvage/r/one/1", lane.base()).unwrap();
                let named: Vec<_> = salvaged.iter().map(|s| (s.name.as_str(), &s.commit)).collect();
                let expected = if left.contains(&".git") { vec![("HEAD", &committed)] } else { vec![] };
                assert_eq!(named, expected, "{left:?}");
            }
            other => panic!("{left:?}: {other:?}"),
        }
        let (made, how) = restore(&repo, &lane, &point).unwrap();
        assert_eq!(how, Restored::FromCommit, "{left:?}");
        assert_eq!(fs::read_to_string(made.path().join("work")).unwrap(), "by the agent", "{left:?}");
        made.set_up_done().unwrap();
        assert_eq!(restore(&repo, &lane, &point).unwrap().1, Restored::Whole, "{left:?}");
        lanes::remove(&repo, &made).unwrap();
        for (name, oid) in repo.list_refs("refs/agentops/salvage").unwrap() {
            repo.delete_ref(&name, &Expect::Is(oid)).unwrap();
        }
    }
}

#[test]
fn p6_an_agent_may_replace_or_remove_every_file() {
    let (room, repo) = Room::with_repo();
    // Everything is new.
    let (lane, point) = with_work(&room, &repo);
    empty(lane.path(), &[".git"]);
    write(&lane.path().join("new/file"), "by the agent");
    assert_eq!(restore(&repo, &lane, &point).unwrap().1, Restored::Whole);
    let next = lane.checkpoint(&point, "m", &author(), 1, &room.scratch()).unwrap();
    assert_eq!(repo.list_tree(&next.commit, None).unwrap().len(), 1);
    lanes::remove(&repo, &lane).unwrap();
    // Everything is removed, and git was told so.
    let (lane, point) = with_work(&room, &repo);
    room.git(lane.path(), &["add", "--all"]);
    room.git(lane.path(), &["rm", "-rqf", "."]);
    assert_eq!(restore(&repo, &lane, &point).unwrap().1, Restored::Whole);
    let next = lane.checkpoint(&point, "m", &author(), 1, &room.scratch()).unwrap();
    assert!(repo.list_tree(&next.commit, None).unwrap().is_empty());
    lanes::remove(&repo, &lane).unwrap();
    // Everything is hidden by a sparse checkout.
    let (lane, point) = with_work(&room, &repo);
    room.git(lane.path(), &["add", "--all"]);
    room.git(lane.path(), &["commit", "-qm", "all"]);
    room.git(lane.path(), &["sparse-checkout", "set", "--no-cone", "nothing"]);
    assert!(!lane.path().join("a.txt").exists());
    assert_eq!(restore(&repo, &lane, &point).unwrap().1, Restored::Whole);
}

#[test]
fn r11_a_set_up_that_was_cut_short_in_a_lane_made_again_is_due_and_is_no_work() {
    let (room, repo) = Room::with_repo();
    let (lane, point) = with_work(&room, &repo);
    fs::remove_dir_all(lane.path()).unwrap();
    assert_eq!(restore(&repo, &lane, &point).unwrap().1, Restored::FromCommit);
    // Set-up copies a file and is killed.
    write(&lane.path().join(".env.local"), "a password");
    write(&lane.path().join("a.txt"), "half built");
    let found = lanes::recover(&repo, lane.path(), lane.base(), &point, "one").unwrap();
    let Recovered::Usable(again, Restored::FromCommit) = found else { panic!("{found:?}") };
    assert_eq!(again.checkpoint(&point, "m", &author(), 1, &room.scratch()).unwrap().commit, point);
    assert_eq!(restore(&repo, &lane, &point).unwrap().1, Restored::FromCommit);
    again.record_baseline(&[]).unwrap();
    again.set_up_done().unwrap();
    assert!(again.has_baseline().unwrap());
    assert_eq!(restore(&repo, &lane, &point).unwrap().1, Restored::Whole);
}

#[test]
fn looking_for_a_lane_makes_no_folder() {
    let (room, repo) = Room::with_repo();
    let path = room.path("lanes/of/nobody");
    assert!(matches!(lanes::open(&repo, &path), Err(Error::NotALane { .. })));
    let base = repo.head().unwrap().commit;
    assert!(matches!(lanes::recover(&repo, &path, &base, &base, "one"), Ok(Recovered::Gone)));
    lanes::discard(&repo, &path, "one").unwrap();
    assert!(!room.path("lanes").exists());
    // Its folder is named by a link that is made later.
    fs::create_dir(room.path("real")).unwrap();
    std::os::unix::fs::symlink(room.path("real"), room.path("link")).unwrap();
    let lane = lanes::create(&repo, &room.path("link/lanes/one"), &base, "one").unwrap();
    assert_eq!(lane.path(), room.path("real/lanes/one"));
    lanes::open(&repo, &room.path("link/lanes/one")).unwrap();
}

#[test]
fn s6_rules_for_copied_files_are_never_missing_from_the_lanes_ignore_rules() {
    let (room, repo) = Room::with_repo();
    write(&repo.common_dir().join("info/exclude"), "*.private\n");
    let lane = lane(&room, &repo, "one");
    write(&lane.path().join(".env.local"), "a password");
    lane.record_baseline(&[PathBuf::from(".env.local")]).unwrap();
    let exclude = lane.git_dir().join("info/exclude");
    let rules = "*.private\n\n/.env.local\n";
    assert_eq!(fs::read_to_string(&exclude).unwrap(), rules);
    // A file that is written again is another one.
    let inode = || std::os::unix::fs::MetadataExt::ino(&fs::metadata(&exclude).unwrap());
    let before = inode();
    lanes::open(&repo, lane.path()).unwrap();
    assert_eq!((inode(), fs::read_to_string(&exclude).unwrap().as_str()), (before, rules));
}

#[test]
fn r11_what_cannot_be_read_now_does_not_become_nothing_in_a_lane() {
    let (room, repo) = Room::with_repo();
    let at = repo.work_tree();
    // A branch beside the base, so that the lane needs a commit more.
    room.git(at, &["checkout", "-q", "-b", "topic"]);
    room.git(at, &["commit", "-q", "--allow-empty", "-m", "topic"]);
    let (base, topic) = (room.oid(at, "main"), room.oid(at, "topic"));
    let common = repo.common_dir();
    write(&common.join("info/exclude"), "*.private\n");
    write(&common.join("shallow"), format!("{base}\n"));
    room.git(&room.path(""), &["init", "-q", "other"]);
    write(&common.join("objects/info/alternates"), "../../../other/.git/objects\n");
    let lane = lanes::create(&repo, &room.path("lanes/one"), &base, "one").unwrap();
    let needed = repo.read_ref("refs/agentops/lanes/one").unwrap();
    assert_eq!(room.git(at, &["merge-base", "refs/agentops/lanes/one", "topic"]), topic.as_str());
    for name in ["info/exclude", "shallow", "objects/info/alternates"] {
        let copy = || fs::read_to_string(lane.git_dir().join(name)).unwrap();
        let before = copy();
        set_mode(&common.join(name), 0o000);
        let opened = as_ordinary_user(|| lanes::open(&repo, lane.path()));
        assert!(matches!(opened, Err(Error::Io { .. })), "{name}: {opened:?}");
        set_mode(&common.join(name), 0o644);
        assert!(!before.is_empty() && copy() == before, "{name}");
    }
    set_mode(&record(&repo, "one").join("extra"), 0o000);
    let reset = as_ordinary_user(|| lane.reset_to(&base));
    assert!(matches!(reset, Err(Error::Io { .. })), "{reset:?}");
    assert_eq!(repo.read_ref("refs/agentops/lanes/one").unwrap(), needed, "the commits beside the base are still kept");
}
