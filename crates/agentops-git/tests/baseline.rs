//! What lane set-up brought: it is no work of the agent's, and it stays.

mod room;

use std::fs;
use std::path::PathBuf;

use agentops_git::{Checkpoint, Oid, Status, Why, lanes};
use room::{Fixture, Room, author, omitted, write};

const SECRET: &str = "PASSWORD=hunter2-of-the-user\n";

/// A lane after set-up: `.env.local` was copied, and a build left files that are new, changed, removed and ignored.
fn after_set_up() -> Fixture {
    let (room, repo) = Room::with_repo();
    write(&repo.work_tree().join("app.lock"), "1\n");
    room.git(repo.work_tree(), &["add", "."]);
    room.git(repo.work_tree(), &["commit", "-qm", "lock"]);
    let fixture = Fixture::of((room, repo));
    set_up(&fixture);
    fixture
}

fn set_up(fixture: &Fixture) {
    let at = fixture.at();
    write(&at.join(".env.local"), SECRET);
    write(&at.join("dist/app.js"), "built\n");
    write(&at.join("dist/lib.js"), "built\n");
    std::os::unix::fs::symlink("app.js", at.join("dist/link")).unwrap();
    write(&at.join("app.lock"), "2\n");
    fs::remove_file(at.join("dir/b.txt")).unwrap();
    write(&at.join("target/cache"), "cached\n");
    write(&at.join("target/other"), "cached\n");
    fixture.room.git(at, &["init", "-q", "vendor"]);
    write(&at.join("vendor/lib.c"), "vendored\n");
    fixture.lane.record_baseline(&[PathBuf::from(".env.local")]).unwrap();
}

impl Fixture {
    fn checkpoint_on(&self, parent: &Oid) -> Checkpoint {
        self.lane.checkpoint(parent, "work", &author(), 7, &self.room.scratch()).unwrap()
    }

    fn checkpoint(&self) -> Checkpoint {
        self.checkpoint_on(&self.base)
    }

    fn read(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.at().join(path)).ok()
    }

    /// Whether the user's repository has an object with this content.
    fn is_stored(&self, text: &str) -> bool {
        let file = self.room.path("content");
        write(&file, text);
        let name = self.room.git(self.repo.work_tree(), &["hash-object", file.to_str().unwrap()]);
        self.room.try_git(self.repo.work_tree(), &["cat-file", "-e", &name]).0
    }
}

fn changes(point: &Checkpoint) -> Vec<(&str, Status)> {
    point.changed.iter().map(|change| (change.path.to_str().unwrap(), change.status)).collect()
}

#[test]
fn s6_what_set_up_brought_is_in_no_checkpoint() {
    let fixture = after_set_up();
    let untouched = fixture.checkpoint();
    assert_eq!((changes(&untouched), omitted(&untouched)), (vec![], vec![]));
    assert_eq!(untouched.commit, fixture.base);
    write(&fixture.at().join("a.txt"), "work\n");
    // The agent's own commit takes everything but the copied file; building again gives the same files.
    fixture.room.git(fixture.at(), &["add", "-A", "--", ":!vendor"]);
    fixture.room.git(fixture.at(), &["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "all"]);
    let committed = fixture.room.git(fixture.at(), &["ls-files"]);
    assert!(committed.contains("dist/app.js") && !committed.contains(".env.local"), "{committed}");
    fs::remove_file(fixture.at().join("dist/link")).unwrap();
    std::os::unix::fs::symlink("app.js", fixture.at().join("dist/link")).unwrap();
    write(&fixture.at().join("dist/app.js"), "built\n");
    let point = fixture.checkpoint();
    assert_eq!((changes(&point), omitted(&point)), (vec![("a.txt", Status::Modified)], vec![]));
}

#[test]
fn s6_the_content_of_a_copied_file_is_nowhere_in_the_repository() {
    let fixture = after_set_up();
    fixture.checkpoint();
    assert!(!fixture.is_stored(SECRET));
    let changed = format!("{SECRET}MORE=1\n");
    write(&fixture.at().join(".env.local"), &changed);
    write(&fixture.at().join("a.txt"), "work\n");
    let point = fixture.checkpoint();
    assert_eq!(changes(&point), [("a.txt", Status::Modified)]);
    assert_eq!(omitted(&point), [(".env.local", Why::Copied)]);
    assert!(!fixture.is_stored(&changed));
    // Stopped from being ignored, staged by force, or under another name it is the user's all the same.
    write(&fixture.at().join(".gitignore"), "");
    fixture.room.git(fixture.at(), &["add", "-f", ".env.local"]);
    write(&fixture.at().join("copy.txt"), SECRET);
    let point = fixture.checkpoint();
    assert_eq!(omitted(&point), [(".env.local", Why::Copied), ("copy.txt", Why::Copied)]);
    assert!(!fixture.is_stored(SECRET));
}

#[test]
fn s6_a_copied_file_that_the_agent_committed_and_hid_reaches_no_repository() {
    let fixture = after_set_up();
    let (at, changed) = (fixture.at(), format!("{SECRET}MORE=1\n"));
    write(&at.join(".env.local"), &changed);
    write(&at.join("copy.txt"), SECRET);
    write(&at.join("a.txt"), "work\n");
    fixture.room.git(at, &["add", "-A", "-f", "--", ":!vendor"]);
    fixture.room.git(at, &["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "all"]);
    fixture.room.git(at, &["sparse-checkout", "set", "--no-cone", "nothing"]);
    assert!(!at.join("a.txt").exists() && !at.join("copy.txt").exists() && !at.join("dist/app.js").exists());
    let point = fixture.checkpoint();
    let ignored_before = [("target/cache", Status::Added), ("target/other", Status::Added)];
    assert_eq!(changes(&point), [vec![("a.txt", Status::Modified)], ignored_before.to_vec()].concat());
    assert_eq!(omitted(&point), [(".env.local", Why::Copied), ("copy.txt", Why::Copied)]);
    // The commit is named, and only the lane has it.
    let salvaged = fixture.lane.salvage("refs/agentops/salvage/r/one/1", &point.commit).unwrap();
    let [head] = &salvaged[..] else { panic!("{salvaged:?}") };
    assert_eq!((head.name.as_str(), head.kept_as.as_deref()), ("HEAD", None));
    assert!(!fixture.is_stored(SECRET) && !fixture.is_stored(&changed));
}

#[test]
fn s6_a_content_that_cannot_be_compared_counts_as_copied_and_keeps_no_other_from_being_kept() {
    let fixture = after_set_up();
    let at = fixture.at();
    let branch = |name: &str, text: &str| {
        fixture.room.git(at, &["checkout", "-q", "--orphan", name]);
        fixture.room.git(at, &["rm", "-rfq", "--cached", "."]);
        write(&at.join(name), text);
        fixture.room.git(at, &["add", name]);
        fixture.room.git(at, &["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", name]);
        fs::remove_file(at.join(name)).unwrap();
    };
    // Contents as long as the copied one are compared with it. Of one, git can read no more than the length.
    branch("damaged", &"x".repeat(SECRET.len()));
    branch("whole", &"y".repeat(SECRET.len()));
    let blob = fixture.room.git(at, &["rev-parse", "damaged:damaged"]);
    let object = fixture.lane.git_dir().join("objects").join(&blob[..2]).join(&blob[2..]);
    let mut bytes = fs::read(&object).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::remove_file(&object).unwrap();
    fs::write(&object, bytes).unwrap();
    let salvaged = fixture.lane.salvage("refs/agentops/salvage/r/one/1", &fixture.base).unwrap();
    let kept: Vec<_> = salvaged.iter().map(|commit| (commit.name.as_str(), commit.kept_as.is_some())).collect();
    assert_eq!(kept, [("HEAD", true), ("refs/heads/damaged", false)], "`HEAD` is on the whole one");
}

#[test]
fn p6_what_the_agent_changed_of_it_is_in_the_checkpoint() {
    let fixture = after_set_up();
    write(&fixture.at().join("dist/app.js"), "by the agent\n");
    write(&fixture.at().join("dist/new.js"), "by the agent\n");
    write(&fixture.at().join("app.lock"), "3\n");
    write(&fixture.at().join("dir/b.txt"), "again\n");
    write(&fixture.at().join("vendor/lib.c"), "by the agent\n");
    let point = fixture.checkpoint();
    let expected = [
        ("app.lock", Status::Modified),
        ("dir/b.txt", Status::Modified),
        ("dist/app.js", Status::Added),
        ("dist/new.js", Status::Added),
        ("vendor/lib.c", Status::Added),
    ];
    assert_eq!(changes(&point), expected);
    // As it was after set-up again: then it is no part of the work again.
    write(&fixture.at().join("dist/app.js"), "built\n");
    write(&fixture.at().join("app.lock"), "2\n");
    let point = fixture.checkpoint_on(&point.commit);
    assert_eq!(changes(&point), [("app.lock", Status::Modified), ("dist/app.js", Status::Deleted)]);
}

#[test]
fn s6_ignore_rules_that_the_agent_changes_bring_nothing_of_set_up_in() {
    let fixture = after_set_up();
    write(&fixture.at().join(".gitignore"), "# nothing\n");
    write(&fixture.at().join("target/other"), "by the agent\n");
    write(&fixture.at().join("target/new"), "by the agent\n");
    // Moved out of the ignored folder it is the agent's, although its time is old.
    fs::create_dir(fixture.at().join("target/moved")).unwrap();
    fs::rename(fixture.at().join("target/cache"), fixture.at().join("cache")).unwrap();
    let point = fixture.checkpoint();
    let expected = [
        (".gitignore", Status::Modified),
        ("cache", Status::Added),
        ("target/new", Status::Added),
        ("target/other", Status::Added),
    ];
    assert_eq!(changes(&point), expected);
    // Added by force, an ignored file is meant.
    let fixture = after_set_up();
    fixture.room.git(fixture.at(), &["add", "-f", "target/cache"]);
    assert_eq!(changes(&fixture.checkpoint()), [("target/cache", Status::Added)]);
}

#[test]
fn p6_a_reset_keeps_what_set_up_brought() {
    let fixture = after_set_up();
    write(&fixture.at().join("left/over"), "goes\n");
    write(&fixture.at().join("dist/left"), "goes\n");
    write(&fixture.at().join("a.txt"), "goes\n");
    write(&fixture.at().join("dist/app.js"), "by the agent\n");
    let point = fixture.checkpoint();
    fixture.lane.reset_to(&fixture.base).unwrap();
    assert_eq!(fixture.read(".env.local").unwrap(), SECRET);
    assert_eq!(fixture.read("dist/lib.js").unwrap(), "built\n");
    assert_eq!(fixture.read("vendor/lib.c").unwrap(), "vendored\n");
    assert_eq!(fixture.read("app.lock").unwrap(), "2\n");
    assert_eq!(fixture.read("target/cache").unwrap(), "cached\n");
    assert_eq!(fixture.read("a.txt").unwrap(), "one\ntwo\nthree\n");
    assert!(fixture.at().join("vendor/.git").exists());
    for gone in ["left", "dist/left", "dir/b.txt"] {
        assert!(!fixture.at().join(gone).exists(), "{gone}");
    }
    // The commit's own version counts where the agent's work is in it.
    fixture.lane.reset_to(&point.commit).unwrap();
    assert_eq!(fixture.read("dist/app.js").unwrap(), "by the agent\n");
    assert_eq!(fixture.read("app.lock").unwrap(), "2\n");
    assert_eq!(fixture.read("left/over").unwrap(), "goes\n");
    let next = fixture.checkpoint_on(&point.commit);
    assert_eq!((&next.commit, omitted(&next)), (&point.commit, vec![]));
    // With a damaged index and locked folders as well.
    fs::write(fixture.repo.common_dir().join("agentops/lanes/one/index"), "garbage").unwrap();
    fixture.lane.reset_to(&point.commit).unwrap();
    assert_eq!(fixture.read("app.lock").unwrap(), "2\n");
    assert_eq!(fixture.read(".env.local").unwrap(), SECRET);
}

#[test]
fn p6_a_reset_keeps_files_with_a_content_filter() {
    let (room, repo) = Room::with_repo();
    write(&repo.work_tree().join(".gitattributes"), "*.bin filter=lfs\n");
    write(&repo.work_tree().join("old.bin"), "pointer");
    room.git(repo.work_tree(), &["add", "."]);
    room.git(repo.work_tree(), &["commit", "-qm", "large files"]);
    let base = repo.head().unwrap().commit;
    let lane = lanes::create(&repo, &room.path("lanes/one"), &base, "one").unwrap();
    for (path, text) in [("old.bin", "raw"), ("new.bin", "raw"), ("a.txt", "changed\n")] {
        write(&lane.path().join(path), text);
    }
    let point = lane.checkpoint(&base, "m", &author(), 1, &room.scratch()).unwrap();
    lane.reset_to(&point.commit).unwrap();
    for path in ["old.bin", "new.bin"] {
        assert_eq!(fs::read_to_string(lane.path().join(path)).unwrap(), "raw", "{path}");
    }
    assert_eq!(fs::read_to_string(lane.path().join("a.txt")).unwrap(), "changed\n");
    let again = lane.checkpoint(&point.commit, "m", &author(), 1, &room.scratch()).unwrap();
    assert_eq!((again.commit, again.filtered.len()), (point.commit, 2));
}

#[test]
fn a_damaged_record_of_set_up_leaks_no_copied_file() {
    let fixture = after_set_up();
    let record = fixture.repo.common_dir().join("agentops/lanes/one");
    fs::write(record.join("baseline.index"), "garbage").unwrap();
    let point = fixture.checkpoint();
    assert_eq!(omitted(&point), [(".env.local", Why::Copied)]);
    assert!(!fixture.is_stored(SECRET));
}

#[test]
fn p6_a_record_of_set_up_that_cannot_be_read_fails_the_checkpoint_and_the_reset() {
    let fixture = after_set_up();
    let record = fixture.repo.common_dir().join("agentops/lanes/one");
    // A folder in its place stands for a disk that cannot be read.
    let kept = fs::read(record.join("baseline.index")).unwrap();
    fs::remove_file(record.join("baseline.index")).unwrap();
    fs::create_dir(record.join("baseline.index")).unwrap();
    let scratch = fixture.room.scratch();
    fixture.lane.checkpoint(&fixture.base, "work", &author(), 7, &scratch).unwrap_err();
    fs::remove_dir(record.join("baseline.index")).unwrap();
    fs::write(record.join("baseline.index"), kept).unwrap();
    assert_eq!(changes(&fixture.checkpoint()), []);

    fs::create_dir(record.join("filtered")).unwrap();
    write(&fixture.at().join("raw.bin"), "raw");
    fixture.lane.reset_to(&fixture.base).unwrap_err();
    assert_eq!(fixture.read("raw.bin").as_deref(), Some("raw"));
}

#[test]
fn set_up_that_is_done_again_after_a_crash_is_recorded_again() {
    let fixture = after_set_up();
    fs::remove_file(fixture.at().join("dist/link")).unwrap();
    write(&fixture.at().join("dir/b.txt"), "b\n");
    set_up(&fixture);
    let point = fixture.checkpoint();
    assert_eq!((changes(&point), omitted(&point)), (vec![], vec![]));
}

#[test]
fn a_copied_file_is_in_no_checkpoint_after_the_lanes_record_was_lost() {
    let mut fixture = after_set_up();
    write(&fixture.at().join("work"), "by the agent\n");
    fs::remove_dir_all(fixture.repo.common_dir().join("agentops")).unwrap();
    let (lane, _) = lanes::restore(&fixture.repo, fixture.at(), &fixture.base, &fixture.base, "one").unwrap();
    lane.record_copied(&[PathBuf::from(".env.local")]).unwrap();
    fixture.lane = lane;
    let point = fixture.checkpoint();
    let paths: Vec<_> = point.changed.iter().map(|change| change.path.to_str().unwrap()).collect();
    assert!(paths.contains(&"work") && !paths.contains(&".env.local"), "{paths:?}");
    assert!(!fixture.is_stored(SECRET));
}

#[test]
fn p5_a_lock_that_a_killed_git_left_on_an_index_of_ours_is_in_nobodys_way() {
    let fixture = after_set_up();
    let record = fixture.repo.common_dir().join("agentops/lanes/one");
    for index in ["index", "clean.index", "baseline.index", "baseline.index.new"] {
        fs::write(record.join(format!("{index}.lock")), "").unwrap();
    }
    fixture.lane.record_baseline(&[PathBuf::from(".env.local")]).unwrap();
    write(&fixture.at().join("a.txt"), "changed\n");
    let point = fixture.checkpoint();
    assert_eq!(changes(&point), [("a.txt", Status::Modified)]);
    write(&fixture.at().join("a.txt"), "again\n");
    fixture.lane.reset_to(&point.commit).unwrap();
    assert_eq!(fs::read_to_string(fixture.at().join("a.txt")).unwrap(), "changed\n");
}
