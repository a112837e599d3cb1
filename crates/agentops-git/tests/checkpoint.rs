//! What a checkpoint holds, whatever the agent's own git did, and what it names instead.

mod room;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Instant;

use agentops_git::{Checkpoint, Oid, Status, Why, lanes};
use room::{Fixture, Room, author, omitted, write};

fn fixture() -> Fixture {
    Fixture::of(Room::with_repo())
}

impl Fixture {
    fn checkpoint(&self) -> Checkpoint {
        self.checkpoint_on(&self.base)
    }

    fn checkpoint_on(&self, parent: &Oid) -> Checkpoint {
        self.lane.checkpoint(parent, "work", &author(), 7, &self.room.scratch()).unwrap()
    }

    /// The agent's git in the lane.
    fn git(&self, args: &[&str]) -> String {
        let mut all = vec!["-c", "user.name=Agent", "-c", "user.email=agent@example.org"];
        all.extend(args);
        self.room.git(self.at(), &all)
    }

    fn git_in(&self, folder: &str, args: &[&str]) -> String {
        let mut all = vec!["-C", folder];
        all.extend(args);
        self.git(&all)
    }
}

/// A pipe that nobody writes into.
fn pipe(path: &Path) {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
}

fn changes(point: &Checkpoint) -> Vec<(&str, Status)> {
    point.changed.iter().map(|change| (change.path.to_str().unwrap(), change.status)).collect()
}

#[test]
fn p6_files_of_a_nested_repository_are_ordinary_files() {
    let fixture = fixture();
    write(&fixture.at().join(".gitignore"), "target/\n*.log\n");
    fixture.git(&["init", "-q", "web"]);
    write(&fixture.at().join("web/app.js"), "1");
    write(&fixture.at().join("web/.gitignore"), "dist/\n");
    for ignored in ["web/dist/out.js", "web/x.log", "web/target/x", "web/deep/x.log"] {
        write(&fixture.at().join(ignored), "ignored");
    }
    fixture.git(&["init", "-q", "web/deep"]);
    write(&fixture.at().join("web/deep/file"), "2");
    fixture.git(&["init", "-q", "empty"]);
    let point = fixture.checkpoint();
    let added = ["web/.gitignore", "web/app.js", "web/deep/file"].map(|path| (path, Status::Added));
    assert_eq!(changes(&point), [vec![(".gitignore", Status::Modified)], added.to_vec()].concat());
    assert_eq!(omitted(&point), [], "without commits nothing of the nested repositories is lost");

    // A change inside is seen as well, and so is a file that is removed.
    write(&fixture.at().join("web/app.js"), "2");
    fs::remove_file(fixture.at().join("web/deep/file")).unwrap();
    let second = fixture.checkpoint_on(&point.commit);
    assert_eq!(changes(&second), [("web/app.js", Status::Modified), ("web/deep/file", Status::Deleted)]);
}

#[test]
fn p6_the_history_of_a_nested_repository_is_named() {
    let fixture = fixture();
    for folder in ["web", "dir"] {
        // One in a new folder, one around files that the base has.
        fixture.git(&["init", "-q", folder]);
        write(&fixture.at().join(folder).join("app.js"), "1");
        fixture.git_in(folder, &["add", "."]);
        fixture.git_in(folder, &["commit", "-qm", "first"]);
    }
    let point = fixture.checkpoint();
    assert_eq!(changes(&point), [("dir/app.js", Status::Added), ("web/app.js", Status::Added)]);
    assert_eq!(omitted(&point), [("dir", Why::NestedHistory), ("web", Why::NestedHistory)]);
    let entries = fixture.repo.list_tree(&point.commit, None).unwrap();
    assert!(entries.iter().all(|entry| entry.mode != 0o160_000));
}

#[test]
fn p6_what_is_omitted_has_another_state_once_its_content_is_another() {
    let fixture = fixture();
    write(&fixture.at().join(".gitattributes"), "*.raw filter=nobody\n");
    write(&fixture.at().join("large.raw"), "1");
    fixture.git(&["init", "-q", "web"]);
    write(&fixture.at().join("web/app.js"), "1");
    fixture.git_in("web", &["add", "."]);
    fixture.git_in("web", &["commit", "-qm", "first"]);
    let states = || {
        let omitted = fixture.checkpoint().omitted;
        assert_eq!(omitted.iter().map(|omitted| omitted.why).collect::<Vec<_>>(), [Why::Filtered, Why::NestedHistory]);
        omitted.into_iter().map(|omitted| omitted.state.unwrap()).collect::<Vec<_>>()
    };
    let before = states();
    // Neither a look nor the same content once more is a change.
    fixture.git_in("web", &["status"]);
    write(&fixture.at().join("large.raw"), "1");
    assert_eq!(states(), before);
    write(&fixture.at().join("large.raw"), "2");
    let file = states();
    assert!(file[0] != before[0] && file[1] == before[1], "{file:?}");
    fixture.git_in("web", &["commit", "-q", "--allow-empty", "-m", "second"]);
    let history = states();
    assert!(history[0] == file[0] && history[1] != before[1], "{history:?}");
}

#[test]
fn s3_a_nested_git_that_leads_elsewhere_is_not_followed() {
    let fixture = fixture();
    write(&fixture.room.path("outside/secret"), "secret");
    fixture.git(&["init", "-q", "linked"]);
    write(&fixture.at().join("linked/mine"), "1");
    fs::rename(fixture.at().join("linked/.git"), fixture.room.path("outside/git")).unwrap();
    symlink(fixture.room.path("outside/git"), fixture.at().join("linked/.git")).unwrap();
    write(&fixture.at().join("pointed/mine"), "1");
    let pointer = format!("gitdir: {}\n", fixture.room.path("outside/git").display());
    write(&fixture.at().join("pointed/.git"), pointer);
    symlink(fixture.room.path("outside"), fixture.at().join("link")).unwrap();
    write(&fixture.at().join("damaged/.git/HEAD"), "garbage");
    write(&fixture.at().join("damaged/mine"), "1");
    fixture.git(&["init", "-q", "refs"]);
    write(&fixture.at().join("refs/mine"), "1");
    fs::remove_dir_all(fixture.at().join("refs/.git/refs")).unwrap();
    fs::create_dir(fixture.room.path("outside/refs")).unwrap();
    symlink(fixture.room.path("outside/refs"), fixture.at().join("refs/.git/refs")).unwrap();
    let point = fixture.checkpoint();
    let files = ["damaged/mine", "link", "linked/mine", "pointed/mine", "refs/mine"].map(|path| (path, Status::Added));
    assert_eq!(changes(&point), files);
    let named = ["damaged", "linked", "pointed", "refs"].map(|path| (path, Why::NestedHistory));
    assert_eq!(omitted(&point), named);
}

#[test]
fn repositories_inside_repositories_are_followed_only_so_far() {
    let fixture = fixture();
    let mut folder = PathBuf::from("n");
    for level in 0..12 {
        fixture.git(&["init", "-q", folder.to_str().unwrap()]);
        write(&fixture.at().join(&folder).join("file"), level.to_string());
        folder = folder.join("n");
    }
    let point = fixture.checkpoint();
    assert_eq!(point.changed.len(), 8);
    let deepest = "n/n/n/n/n/n/n/n/n";
    assert_eq!(omitted(&point), [(deepest, Why::NestedRepository)]);
}

#[test]
fn p6_a_change_in_a_nested_repository_without_a_checkpoint_is_a_change() {
    let fixture = fixture();
    // Git takes such a name for `.git`.
    fixture.git(&["init", "-q", "git~1"]);
    write(&fixture.at().join("git~1/file"), "1");
    let state = || {
        let point = fixture.checkpoint();
        assert_eq!(omitted(&point), [("git~1", Why::NestedRepository)]);
        point.omitted[0].state.clone().unwrap()
    };
    let before = state();
    fixture.git_in("git~1", &["status"]);
    assert_eq!(state(), before);
    write(&fixture.at().join("git~1/file"), "22");
    assert_ne!(state(), before);
}

#[test]
fn p6_another_hidden_version_is_a_change() {
    let fixture = hidden_after_commit(SPARSE[0]);
    symlink("elsewhere", fixture.at().join("dir")).unwrap();
    let state = || {
        let point = fixture.checkpoint();
        assert_eq!(omitted(&point), [("dir/b.txt", Why::Hidden)]);
        point.omitted[0].state.clone().unwrap()
    };
    let before = state();
    assert_eq!(state(), before);
    let blob = fixture.git(&["rev-parse", "HEAD:fresh/deep/f.txt"]);
    fixture.git(&["update-index", "--cacheinfo", &format!("100644,{blob},dir/b.txt")]);
    fixture.git(&["update-index", "--skip-worktree", "dir/b.txt"]);
    assert_ne!(state(), before);
}

#[test]
fn p6_what_the_agent_added_by_force_is_in_the_checkpoint() {
    let fixture = fixture();
    for file in ["target/committed", "target/staged", "target/gone", "target/cache"] {
        write(&fixture.at().join(file), file);
    }
    fixture.git(&["add", "-f", "target/committed", "target/gone"]);
    fixture.git(&["commit", "-qm", "by the agent"]);
    fixture.git(&["add", "-f", "target/staged"]);
    fs::remove_file(fixture.at().join("target/gone")).unwrap();
    let point = fixture.checkpoint();
    assert_eq!(changes(&point), [("target/committed", Status::Added), ("target/staged", Status::Added)]);
    // In its commit only, after the index was emptied.
    fixture.git(&["rm", "-q", "-r", "--cached", "target"]);
    assert_eq!(changes(&fixture.checkpoint()), [("target/committed", Status::Added), ("target/staged", Status::Added)]);
    write(&fixture.at().join("target/committed"), "changed");
    let second = fixture.checkpoint_on(&point.commit);
    assert_eq!(changes(&second), [("target/committed", Status::Modified)]);

    // The agent's index is data: damaged, split, or something else altogether.
    fixture.git(&["update-index", "--split-index"]);
    write(&fixture.at().join("target/split"), "1");
    fixture.git(&["add", "-f", "target/split"]);
    assert_eq!(changes(&fixture.checkpoint_on(&second.commit)), [("target/split", Status::Added)]);
    let index = PathBuf::from(fixture.git(&["rev-parse", "--path-format=absolute", "--git-path", "index"]));
    fs::remove_file(&index).unwrap();
    symlink("/dev/zero", &index).unwrap();
    write(&fixture.at().join("a.txt"), "more\n");
    assert_eq!(changes(&fixture.checkpoint_on(&second.commit)).len(), 2);
}

#[test]
fn p6_a_file_that_a_sparse_checkout_hides_is_not_deleted() {
    for how in [&["--no-cone", "/new", "/.gitignore"][..], &["--cone", "--sparse-index", "new"]] {
        let fixture = fixture();
        fixture.git(&[&["sparse-checkout", "set"], how].concat());
        assert!(!fixture.at().join("dir/b.txt").exists());
        write(&fixture.at().join("new/file"), "1");
        assert_eq!(changes(&fixture.checkpoint()), [("new/file", Status::Added)]);
        // What is deleted beside it is deleted.
        fs::remove_file(fixture.at().join(".gitignore")).unwrap();
        assert_eq!(changes(&fixture.checkpoint()), [(".gitignore", Status::Deleted), ("new/file", Status::Added)]);
        fixture.lane.reset_to(&fixture.base).unwrap();
        assert!(fixture.at().join("dir/b.txt").exists());
    }
}

#[test]
fn p6_a_rename_that_changes_only_case_is_kept_whatever_the_checkout_says() {
    let (room, repo) = Room::with_repo();
    room.git(repo.work_tree(), &["config", "core.ignorecase", "true"]);
    let repo = room.repo();
    let base = repo.head().unwrap().commit;
    let lane = lanes::create(&repo, &room.path("lanes/one"), &base, "one").unwrap();
    let fixture = Fixture { room, repo, base, lane };
    fs::rename(fixture.at().join("a.txt"), fixture.at().join("A.txt")).unwrap();
    fs::rename(fixture.at().join("dir"), fixture.at().join("Dir")).unwrap();
    write(&fixture.at().join("Dir/c.txt"), "c");
    let added = ["A.txt", "Dir/b.txt", "Dir/c.txt"].map(|path| (path, Status::Added));
    let deleted = ["a.txt", "dir/b.txt"].map(|path| (path, Status::Deleted));
    assert_eq!(changes(&fixture.checkpoint()), [added.to_vec(), deleted.to_vec()].concat());
}

#[test]
fn r11_a_pipe_where_git_reads_rules_holds_up_no_checkpoint_and_no_reset() {
    let f = fixture();
    let lay = || {
        fs::create_dir_all(f.at().join("sub")).unwrap();
        for name in [".gitignore", ".gitattributes", ".gitmodules", "sub/.gitignore", "sub/.gitattributes", "sub/pipe"] {
            if !f.at().join(name).exists() {
                pipe(&f.at().join(name));
            }
        }
    };
    lay();
    f.lane.record_baseline(&[]).unwrap();
    lay();
    write(&f.at().join("sub/new.txt"), "new\n");
    write(&f.at().join("a.txt"), "changed\n");
    let point = f.checkpoint();
    assert_eq!(changes(&point), [("a.txt", Status::Modified), ("sub/new.txt", Status::Added)]);
    lay();
    f.lane.reset_to(&f.base).unwrap();
    assert!(!f.at().join("sub/new.txt").exists());
}

#[test]
fn p6_a_folder_that_may_not_be_entered_is_named() {
    let fixture = fixture();
    // Deeper than any path may be long, which stops every user.
    let mut made = std::process::id().to_string();
    made.push_str(&"d".repeat(200));
    let deep = fixture.at().join(&made);
    fs::create_dir(&deep).unwrap();
    deepen(&deep, 30);
    write(&fixture.at().join("a.txt"), "changed\n");
    let point = fixture.checkpoint();
    assert_eq!(changes(&point), [("a.txt", Status::Modified)]);
    let [named] = point.omitted.as_slice() else { panic!("{:?}", point.omitted) };
    assert!(named.why == Why::Unreadable && named.path.starts_with(&made));
}

/// Makes folders inside each other, beyond what one path can name.
fn deepen(top: &Path, levels: usize) {
    use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut folder = openat(CWD, top, flags, Mode::empty()).unwrap();
    let name = "d".repeat(200);
    for _ in 0..levels {
        mkdirat(&folder, &name, Mode::RWXU).unwrap();
        folder = openat(&folder, &name, flags, Mode::empty()).unwrap();
    }
    rustix::io::write(openat(&folder, "file", OFlags::CREATE | OFlags::WRONLY, Mode::RWXU).unwrap(), b"x").unwrap();
}

#[test]
fn p6_a_path_of_a_thousand_folders_takes_bounded_time() {
    let fixture = fixture();
    let folder = PathBuf::from(["d"; 1000].join("/"));
    for n in 0..20 {
        write(&fixture.at().join(&folder).join(format!("{n}.txt")), n.to_string());
    }
    write(&fixture.at().join(".gitattributes"), "7.txt filter=lfs\n8.txt binary\n");
    let began = Instant::now();
    let point = fixture.checkpoint();
    println!("checkpoint of 20 files 1000 folders deep: {:?}", began.elapsed());
    assert_eq!(point.changed.len(), 20);
    assert_eq!(point.filtered, [folder.join("7.txt")]);
    let binary: Vec<_> = point.changed.iter().filter(|change| change.binary).map(|change| &change.path).collect();
    assert_eq!(binary, [&folder.join("8.txt")]);
    assert_eq!(fixture.repo.filtered(point.raw.as_ref().unwrap()).unwrap(), point.filtered);
    let patch = fixture.repo.patch(&fixture.base, &point.commit, 1 << 20).unwrap();
    assert!(String::from_utf8_lossy(&patch).contains("Binary files"));
}

/// Makes a change to a file of the base and a new file, both committed, and lets the agent's git hide them.
fn hidden_after_commit(how: &[&str]) -> Fixture {
    let fixture = fixture();
    write(&fixture.at().join("dir/b.txt"), "changed");
    write(&fixture.at().join("fresh/deep/f.txt"), "fresh");
    write(&fixture.at().join("gone.txt"), "gone");
    fixture.git(&["add", "-A"]);
    fixture.git(&["commit", "-qm", "work"]);
    fs::remove_file(fixture.at().join("gone.txt")).unwrap();
    fixture.git(&[&["sparse-checkout", "set"], how].concat());
    assert!(!fixture.at().join("dir").exists() && !fixture.at().join("fresh").exists());
    fixture
}

const SPARSE: [&[&str]; 2] = [&["--no-cone", "/*", "!/dir/", "!/fresh/"], &["--cone", "--sparse-index"]];

fn content(fixture: &Fixture, point: &Checkpoint, path: &str) -> String {
    let bytes = fixture.repo.read_file(&point.commit, path).unwrap();
    String::from_utf8(bytes.unwrap_or_else(|| panic!("{path} is not in the checkpoint"))).unwrap()
}

#[test]
fn p6_what_the_agent_committed_and_then_hid_is_in_the_checkpoint() {
    for how in SPARSE {
        let fixture = hidden_after_commit(how);
        write(&fixture.at().join("new.txt"), "1");
        let point = fixture.checkpoint();
        let expected = [("dir/b.txt", Status::Modified), ("fresh/deep/f.txt", Status::Added), ("new.txt", Status::Added)];
        assert_eq!(changes(&point), expected, "a deletion stays one: {how:?}");
        assert_eq!(omitted(&point), []);
        assert_eq!(content(&fixture, &point, "dir/b.txt"), "changed");
        assert_eq!(content(&fixture, &point, "fresh/deep/f.txt"), "fresh");
        fixture.room.git(fixture.repo.work_tree(), &["fsck", "--strict"]);
        assert_eq!(fixture.checkpoint(), point, "a repetition gives the same");
        // The next session of the lane begins with the same index.
        let next = fixture.checkpoint_on(&point.commit);
        assert_eq!((changes(&next), omitted(&next)), (vec![], vec![]));
        fixture.lane.reset_to(&point.commit).unwrap();
        assert_eq!(fs::read_to_string(fixture.at().join("dir/b.txt")).unwrap(), "changed");
        assert_eq!(changes(&fixture.checkpoint_on(&point.commit)), []);
    }
}

/// Everyday use: nothing is lost, so nothing is named and nobody is asked.
#[test]
fn a_sparse_checkout_alone_names_nothing() {
    for how in SPARSE {
        let (room, repo) = Room::with_repo();
        // The user's own checkout is sparse as well.
        room.git(repo.work_tree(), &[&["sparse-checkout", "set"], how].concat());
        let base = repo.head().unwrap().commit;
        let lane = lanes::create(&repo, &room.path("lanes/one"), &base, "one").unwrap();
        let fixture = Fixture { room, repo, base, lane };
        fixture.git(&[&["sparse-checkout", "set"], how].concat());
        write(&fixture.at().join("a.txt"), "work");
        fixture.git(&["commit", "-qam", "work"]);
        write(&fixture.at().join("fresh/f.txt"), "hidden later");
        fixture.git(&["add", "--sparse", "fresh"]);
        fixture.git(&["commit", "-qm", "more"]);
        fixture.git(&["sparse-checkout", "reapply"]);
        assert!(!fixture.at().join("dir").exists() && !fixture.at().join("fresh").exists());
        write(&fixture.at().join("new.txt"), "1");
        let point = fixture.checkpoint();
        let expected = [("a.txt", Status::Modified), ("fresh/f.txt", Status::Added), ("new.txt", Status::Added)];
        assert_eq!((changes(&point), omitted(&point)), (expected.to_vec(), vec![]), "{how:?}");
        assert_eq!(fixture.lane.salvage("refs/agentops/salvage/r-1/one/1", &point.commit).unwrap(), []);
    }
}

#[test]
fn p6_of_a_hidden_file_the_version_of_the_index_counts_and_a_file_in_the_lane_before_it() {
    for how in SPARSE {
        let fixture = hidden_after_commit(how);
        let staged = fixture.at().join("staged");
        write(&staged, "staged");
        let blob = fixture.git(&["hash-object", "-w", "staged"]);
        fs::remove_file(&staged).unwrap();
        // Staged without a commit: a change, a new file, and one that is deleted.
        for path in ["dir/b.txt", "fresh/staged"] {
            fixture.git(&["update-index", "--add", "--cacheinfo", &format!("100755,{blob},{path}")]);
            fixture.git(&["update-index", "--skip-worktree", path]);
        }
        fixture.git(&["rm", "-q", "--cached", "--sparse", "fresh/deep/f.txt"]);
        let point = fixture.checkpoint();
        assert_eq!(changes(&point), [("dir/b.txt", Status::Modified), ("fresh/staged", Status::Added)], "{how:?}");
        assert_eq!(content(&fixture, &point, "fresh/staged"), "staged");
        // The lane has it all the same.
        write(&fixture.at().join("dir/b.txt"), "in the lane");
        assert_eq!(content(&fixture, &fixture.checkpoint(), "dir/b.txt"), "in the lane");
    }
}

#[test]
fn p6_marks_in_the_agents_index_hide_no_change() {
    let fixture = fixture();
    for mark in ["--skip-worktree", "--assume-unchanged"] {
        fixture.git(&["update-index", mark, "a.txt"]);
        write(&fixture.at().join("a.txt"), mark);
        let point = fixture.checkpoint();
        assert_eq!(changes(&point), [("a.txt", Status::Modified)], "{mark}");
        assert_eq!(content(&fixture, &point, "a.txt"), mark);
    }
    // Git itself never takes a file away that is assumed to be unchanged.
    fixture.git(&["update-index", "--assume-unchanged", "dir/b.txt"]);
    fs::remove_file(fixture.at().join("dir/b.txt")).unwrap();
    let point = fixture.checkpoint();
    assert_eq!(changes(&point), [("a.txt", Status::Modified), ("dir/b.txt", Status::Deleted)]);
    // Another mark says that it is only hidden.
    fixture.git(&["update-index", "--no-assume-unchanged", "dir/b.txt"]);
    fixture.git(&["update-index", "--skip-worktree", "dir/b.txt"]);
    assert_eq!(changes(&fixture.checkpoint_on(&point.commit)), [("dir/b.txt", Status::Added)]);
}

#[test]
fn p6_a_hidden_version_that_cannot_be_taken_over_is_named_and_its_commit_kept() {
    for how in SPARSE {
        let fixture = hidden_after_commit(how);
        // Something else lies in place of one, and the content of the other is gone.
        symlink("elsewhere", fixture.at().join("dir")).unwrap();
        let prefix = "refs/agentops/salvage/r-1/one/1";
        let point = fixture.checkpoint();
        assert_eq!(omitted(&point), [("dir/b.txt", Why::Hidden)], "{how:?}");
        let salvaged = fixture.lane.salvage(prefix, &point.commit).unwrap();
        let [head] = &salvaged[..] else { panic!("{salvaged:?}") };
        assert_eq!((head.name.as_str(), head.subject.as_str()), ("HEAD", "work"));
        let kept = head.kept_as.as_deref().unwrap();
        assert_eq!(fixture.room.git(fixture.repo.work_tree(), &["show", &format!("{kept}:dir/b.txt")]), "changed");

        let fixture = hidden_after_commit(how);
        let blob = fixture.git(&["rev-parse", "HEAD:fresh/deep/f.txt"]);
        fs::remove_file(fixture.lane.git_dir().join("objects").join(&blob[..2]).join(&blob[2..])).unwrap();
        let point = fixture.checkpoint();
        assert_eq!(omitted(&point), [("fresh/deep/f.txt", Why::Hidden)], "{how:?}");
        assert_eq!(changes(&point), [("dir/b.txt", Status::Modified)]);
        let salvaged = fixture.lane.salvage(prefix, &point.commit).unwrap();
        assert!(salvaged.iter().any(|commit| commit.name == "HEAD" && commit.kept_as.is_none()), "{salvaged:?}");
    }
}

/// What Claude Code leaves of a file when it is killed before it renames it was committed, and so merged.
#[test]
fn r2_what_an_agent_had_only_begun_to_write_is_in_no_checkpoint() {
    let fixture = fixture();
    let [tracked, new, nested, folder] =
        ["a.txt", "b.txt", "src/c.txt", "d"].map(|name| format!("{name}.tmp.10813.f32c3e664049"));
    // Where a commit of ours has such a name already, it is a file like others.
    let blob = fixture.repo.write_blob(b"1").unwrap();
    fixture.room.git(
        fixture.repo.work_tree(),
        &["update-index", "--add", "--cacheinfo", &format!("100644,{},{tracked}", blob.as_str())],
    );
    fixture.room.git(fixture.repo.work_tree(), &["commit", "-q", "-m", "a file of that name"]);
    let parent = fixture.repo.resolve("HEAD").unwrap();
    fixture.lane.reset_to(&parent).unwrap();
    fixture.git(&["init", "-q", "src"]);
    write(&fixture.at().join(&tracked), "2");
    write(&fixture.at().join(&new), "half");
    write(&fixture.at().join("b.txt"), "whole");
    write(&fixture.at().join(&nested), "half");
    write(&fixture.at().join(&folder).join("e.txt"), "whole");
    let point = fixture.checkpoint_on(&parent);
    let in_folder = format!("{folder}/e.txt");
    let kept = [(&*tracked, Status::Modified), ("b.txt", Status::Added), (&*in_folder, Status::Added)];
    assert_eq!(changes(&point), kept);
    assert_eq!(point.unfinished, [Path::new(&new), Path::new(&nested)]);
    assert!(point.omitted.is_empty() && !fixture.at().join(&new).exists() && fixture.at().join(&tracked).exists());
    let again = fixture.checkpoint_on(&point.commit);
    assert!(again.changed.is_empty() && again.unfinished.is_empty(), "{again:?}");
    // The agent's own commit has it: then it was meant.
    write(&fixture.at().join(&new), "half");
    fixture.git(&["add", "--", &new]);
    fixture.git(&["commit", "-q", "-m", "its own"]);
    assert_eq!(changes(&fixture.checkpoint_on(&point.commit)), [(&*new, Status::Added)]);
}

/// The index is the agent's, and may name anything as hidden.
#[test]
fn s3_an_index_that_hides_what_is_no_file_of_the_lane_fails_no_checkpoint() {
    let fixture = fixture();
    write(&fixture.at().join("a.txt"), "changed");
    let tree = fixture.git(&["rev-parse", "HEAD^{tree}"]);
    let blob = fixture.git(&["rev-parse", "HEAD:a.txt"]);
    let commit = fixture.git(&["rev-parse", "HEAD"]);
    let fine = "100644 blob".replace("blob", &blob);
    let hidden = ["XXXX/config", "bad/XXXX/x", "tree", "module", "fine", ".agentops-out/x"];
    let entries: Vec<String> = hidden
        .iter()
        .map(|path| match *path {
            "tree" => format!("100644 {tree}\t{path}\n"),
            "module" => format!("160000 {commit}\t{path}\n"),
            _ => format!("{fine}\t{path}\n"),
        })
        .collect();
    write(&fixture.room.path("entries"), entries.concat());
    let list = fixture.room.path("entries");
    fixture.git(&[
        "-c",
        "alias.put=!f() { git update-index --add --index-info <\"$1\"; }; f",
        "put",
        list.to_str().unwrap(),
    ]);
    fixture.git(&[&["update-index", "--skip-worktree"][..], &hidden].concat());
    // Git itself writes no such name.
    let index = fixture.lane.git_dir().join("index");
    let bytes = fs::read(&index).unwrap();
    let (body, _) = bytes.split_at(bytes.len() - 20);
    let body: Vec<u8> = replaced(body, b"XXXX", b".git");
    fs::write(&index, [&body[..], &[0; 20]].concat()).unwrap();
    let point = fixture.checkpoint();
    assert_eq!(changes(&point), [("a.txt", Status::Modified), ("fine", Status::Added)]);
    let named =
        [(".git/config", Why::BadName), ("bad/.git/x", Why::BadName), ("module", Why::Submodule), ("tree", Why::Hidden)];
    assert_eq!(omitted(&point), named);
    fixture.room.git(fixture.repo.work_tree(), &["fsck", "--strict"]);
}

fn replaced(bytes: &[u8], from: &[u8; 4], to: &[u8; 4]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for at in 0..bytes.len() - 3 {
        if &bytes[at..at + 4] == from {
            bytes[at..at + 4].copy_from_slice(to);
        }
    }
    bytes
}
