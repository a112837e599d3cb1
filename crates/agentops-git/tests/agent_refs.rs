//! Refs, reflogs and worktrees of an agent's git: what they hold is kept, and what cannot be read is named.

mod room;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use agentops_git::{Checkpoint, Oid, SalvagedCommit, Why, lanes};
use room::{Fixture, Room, author, write};

const PREFIX: &str = "refs/agentops/salvage/r/one/1";

fn fixture_of(init: &[&str]) -> Fixture {
    Fixture::of(Room::with_repo_of(init))
}

impl Fixture {
    fn git(&self, args: &[&str]) -> String {
        self.room.git(self.at(), args)
    }

    fn commit(&self, name: &str) -> Oid {
        write(&self.at().join(name), name);
        self.git(&["add", name]);
        self.git(&["commit", "-qm", name]);
        self.room.oid(self.at(), "HEAD")
    }

    /// As a session's end does it: the lane is opened, kept, and what is in no checkpoint imported.
    fn end_session(&self) -> (Checkpoint, Vec<SalvagedCommit>) {
        let lane = lanes::open(&self.repo, self.at()).unwrap();
        let point = lane.checkpoint(lane.base(), "m", &author(), 1, &self.room.scratch()).unwrap();
        let salvaged = lane.salvage(PREFIX, &point.commit).unwrap();
        (point, salvaged)
    }
}

fn omitted(point: &Checkpoint) -> Vec<(&Path, Why)> {
    point.omitted.iter().map(|omitted| (omitted.path.as_path(), omitted.why)).collect()
}

/// What names them, sorted, and whether they were kept.
fn names(salvaged: &[SalvagedCommit]) -> Vec<(&str, &Oid, bool)> {
    let mut names: Vec<_> = salvaged.iter().map(|s| (s.name.as_str(), &s.commit, s.kept_as.is_some())).collect();
    names.sort();
    names
}

/// Whether the agent's git could move its refs. Older versions cannot.
fn move_to_reftable(fixture: &Fixture) -> bool {
    fixture.room.try_git(fixture.at(), &["refs", "migrate", "--ref-format=reftable"]).0
}

#[test]
fn p6_commits_of_refs_that_the_agent_moved_to_reftable_are_kept() {
    for init in [&[][..], &["--object-format=sha256"]] {
        let fixture = fixture_of(init);
        if !move_to_reftable(&fixture) {
            return;
        }
        fixture.git(&["checkout", "-q", "-b", "side"]);
        let side = fixture.commit("side.txt");
        fixture.git(&["checkout", "-q", "--detach", "main"]);
        let dropped = fixture.commit("dropped.txt");
        fixture.git(&["checkout", "-q", "--detach", "main"]);
        for word in ["first", "second"] {
            write(&fixture.at().join("a.txt"), word);
            fixture.git(&["stash", "-q"]);
        }
        let stashes = ["stash@{0}", "stash@{1}"].map(|name| fixture.room.oid(fixture.at(), name));
        let head = fixture.commit("done.txt");
        fixture.git(&["update-ref", "refs/stash-like", "HEAD~1"]);

        let (point, salvaged) = fixture.end_session();
        assert_eq!(omitted(&point), []);
        let expected = [
            ("a reflog", &dropped, true),
            ("refs/heads/side", &side, true),
            ("stash@{0}", &stashes[0], true),
            ("stash@{1}", &stashes[1], true),
        ];
        assert_eq!(names(&salvaged), expected);
        assert_eq!(fixture.room.oid(fixture.at(), "HEAD"), head, "the next session stands on the same commit");
        fixture.room.git(fixture.repo.work_tree(), &["fsck", "--strict"]);
        // In the next round it is known.
        fixture.lane.reset_to(fixture.lane.base()).unwrap();
        assert_eq!(fixture.end_session().1, []);
        fixture.commit("later");
        assert_eq!(names(&fixture.end_session().1), []);
    }
}

#[test]
fn p6_commits_before_a_branch_without_a_commit_are_kept() {
    for to_reftable in [false, true] {
        let fixture = fixture_of(&[]);
        if to_reftable && !move_to_reftable(&fixture) {
            return;
        }
        let left = fixture.commit("left.txt");
        fixture.git(&["checkout", "-q", "--orphan", "new"]);
        fixture.git(&["rm", "-rfq", "."]);
        write(&fixture.at().join("new.txt"), "new");
        let (point, salvaged) = fixture.end_session();
        assert_eq!(omitted(&point), []);
        assert_eq!(names(&salvaged), [("a reflog", &left, true)], "reftable: {to_reftable}");
    }
}

#[test]
fn p6_commits_that_only_the_reflog_of_a_branch_leads_to_are_kept() {
    let fixture = fixture_of(&[]);
    write(&fixture.at().join("side.txt"), "side");
    fixture.git(&["add", "side.txt"]);
    let tree = fixture.git(&["write-tree"]);
    fixture.git(&["rm", "-q", "--cached", "side.txt"]);
    fs::remove_file(fixture.at().join("side.txt")).unwrap();
    let made = |message: &str| fixture.git(&["commit-tree", "-p", "HEAD", "-m", message, &tree]);
    let [moved, gone] = ["moved", "gone"].map(made);
    for (branch, commit) in [("a/side", &moved), ("gone", &gone)] {
        fixture.git(&["branch", branch, commit]);
    }
    fixture.git(&["branch", "-qf", "a/side", "HEAD"]);
    fs::remove_file(fixture.at().join(".git/refs/heads/gone")).unwrap();
    let (point, salvaged) = fixture.end_session();
    assert_eq!(omitted(&point), []);
    let mut kept: Vec<_> = salvaged.iter().map(|commit| (commit.name.as_str(), commit.commit.to_string())).collect();
    kept.sort();
    let mut expected = [("a reflog", moved), ("a reflog", gone)];
    expected.sort();
    assert_eq!(kept, expected);
    assert!(salvaged.iter().all(|commit| commit.kept_as.is_some()));
}

#[test]
fn p6_what_a_merge_or_rebase_under_way_put_aside_is_kept() {
    let commands = [
        (&["rebase", "--autostash", "onto"][..], false),
        (&["rebase", "--apply", "--autostash", "onto"], false),
        (&["pull", "--rebase", "--autostash", ".", "onto"], false),
        (&["merge", "--autostash", "onto"], false),
        (&["merge", "--autostash", "onto"], true),
    ];
    for (command, to_reftable) in commands {
        let fixture = fixture_of(&[]);
        if to_reftable && !move_to_reftable(&fixture) {
            continue;
        }
        let change = |text: &str| {
            write(&fixture.at().join("a.txt"), text);
            fixture.git(&["commit", "-qam", text]);
        };
        fixture.git(&["checkout", "-q", "-b", "onto"]);
        change("onto");
        fixture.git(&["checkout", "-q", "--detach", "main"]);
        change("mine");
        let before = fixture.commit("second.txt");
        write(&fixture.at().join("dir/b.txt"), "not committed");
        assert!(!fixture.room.try_git(fixture.at(), command).0, "{command:?} ends in a conflict");
        assert_eq!(fs::read_to_string(fixture.at().join("dir/b.txt")).unwrap(), "b\n");
        let (point, salvaged) = fixture.end_session();
        assert_eq!(omitted(&point), [], "{command:?}");
        let kept = |name: &str| {
            let commit = salvaged.iter().find(|commit| commit.name.ends_with(name))?;
            Some(fixture.room.oid(fixture.repo.work_tree(), commit.kept_as.as_deref()?))
        };
        let aside = kept("autostash").or_else(|| kept("AUTOSTASH")).unwrap_or_else(|| panic!("{command:?} {salvaged:?}"));
        let text = fixture.room.git(fixture.repo.work_tree(), &["show", &format!("{aside}:dir/b.txt")]);
        assert_eq!(text, "not committed", "{command:?}");
        if command[0] != "merge" {
            assert_eq!(kept("orig-head"), Some(before), "{command:?}");
        }
        // A later merge of the agent's must not apply it.
        fixture.lane.reset_to(fixture.lane.base()).unwrap();
        assert_eq!(fixture.end_session().1, []);
        assert!(!fixture.lane.git_dir().join("MERGE_AUTOSTASH").exists());
    }
}

#[test]
fn p6_a_damaged_commit_keeps_no_other_from_being_kept() {
    for damaged in ["side", "side^{tree}"] {
        let fixture = fixture_of(&[]);
        let branch = |name: &str| {
            fixture.git(&["checkout", "-q", "-b", name, "main"]);
            let made = fixture.commit(name);
            fixture.git(&["checkout", "-q", "--detach", "main"]);
            made
        };
        let (fine, side, whole) = (branch("fine"), branch("side"), branch("whole"));
        let object = fixture.git(&["rev-parse", damaged]);
        let object = fixture.lane.git_dir().join("objects").join(&object[..2]).join(&object[2..]);
        fs::remove_file(&object).unwrap();
        write(&object, "no object of git's");
        let (_, salvaged) = fixture.end_session();
        let expected =
            [("refs/heads/fine", &fine, true), ("refs/heads/side", &side, false), ("refs/heads/whole", &whole, true)];
        assert_eq!(names(&salvaged), expected, "{damaged}");
        let readable = salvaged.iter().filter(|commit| commit.kept_as.is_some());
        assert!(readable.clone().all(|commit| commit.name.ends_with(&commit.subject) && !commit.subject.is_empty()));
    }
}

#[test]
fn p6_refs_in_reftable_that_cannot_be_read_are_named() {
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 5] = [
        ("half a table", |table| fs::write(table, &fs::read(table).unwrap()[..60]).unwrap()),
        ("a link", |table| {
            fs::rename(table, table.with_extension("elsewhere")).unwrap();
            symlink(table.with_extension("elsewhere"), table).unwrap();
        }),
        ("too large", |table| fs::File::options().write(true).open(table).unwrap().set_len(1 << 40).unwrap()),
        ("no list", |table| fs::remove_file(table.with_file_name("tables.list")).unwrap()),
        ("a list that leads elsewhere", |table| {
            fs::write(table.with_file_name("tables.list"), "../../../../repo/.git/config\n").unwrap();
        }),
    ];
    for (what, damage) in damages {
        let fixture = fixture_of(&[]);
        if !move_to_reftable(&fixture) {
            return;
        }
        let tables = fs::read_dir(fixture.lane.git_dir().join("reftable")).unwrap();
        let is_table = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "ref");
        let table = tables.map(|entry| entry.unwrap().path()).find(is_table).unwrap();
        damage(&table);
        let (point, _) = fixture.end_session();
        assert_eq!(omitted(&point), [(Path::new(".git/reftable"), Why::Refs)], "{what}");
        fixture.git(&["status"]);
    }
}

#[test]
fn p6_refs_and_reflogs_that_cannot_be_read_are_named() {
    let fixture = fixture_of(&[]);
    fixture.commit("one");
    assert_eq!(omitted(&fixture.end_session().0), []);
    let git = fixture.lane.git_dir();
    let large = |name: &str| fs::File::create(git.join(name)).unwrap().set_len((16 << 20) + 1).unwrap();
    write(&fixture.room.path("packed"), "");
    symlink(fixture.room.path("packed"), git.join("packed-refs.new")).unwrap();
    fs::rename(git.join("packed-refs.new"), git.join("packed-refs")).unwrap();
    large("logs/HEAD");
    fs::create_dir_all(git.join("logs/refs/stash")).unwrap();
    write(&git.join("refs/heads/torn"), "");
    symlink("main", git.join("refs/heads/link")).unwrap();
    symlink(fixture.room.path("lanes"), git.join("refs/heads/folder")).unwrap();
    let named = |point: &Checkpoint| -> Vec<PathBuf> {
        assert!(point.omitted.iter().all(|omitted| omitted.why == Why::Refs), "{:?}", point.omitted);
        point.omitted.iter().map(|omitted| omitted.path.clone()).collect()
    };
    let expected = [
        ".git/logs/HEAD",
        ".git/logs/refs/stash",
        ".git/packed-refs",
        ".git/refs/heads/folder",
        ".git/refs/heads/link",
        ".git/refs/heads/torn",
    ];
    assert_eq!(named(&fixture.end_session().0), expected.map(PathBuf::from));
    // Beyond a bound the folder is named.
    for name in &expected[2..] {
        fs::remove_file(fixture.lane.git_dir().join(&name[5..])).unwrap();
    }
    fs::remove_dir_all(git.join("logs")).unwrap();
    let many: String = (0..20_001).map(|n| format!("{} refs/tags/{n}\n", fixture.lane.base())).collect();
    write(&git.join("packed-refs"), many);
    assert_eq!(named(&fixture.end_session().0), [PathBuf::from(".git/packed-refs")]);
}

#[test]
fn p6_a_git_directory_or_refs_that_lead_elsewhere_are_named() {
    type Replace = fn(&Fixture);
    let replacements: [(&str, Replace); 3] = [
        (".git", |fixture| drop(fixture.git(&["init", "-q", "--separate-git-dir", "../elsewhere"]))),
        (".git", |fixture| {
            fs::rename(fixture.lane.git_dir(), fixture.room.path("lanes/elsewhere")).unwrap();
            symlink("../elsewhere", fixture.lane.git_dir()).unwrap();
        }),
        (".git/refs/heads", |fixture| {
            let refs = fixture.lane.git_dir().join("refs/heads");
            fs::rename(&refs, fixture.lane.git_dir().join("other")).unwrap();
            symlink("../other", &refs).unwrap();
        }),
    ];
    for (named, replace) in replacements {
        let fixture = fixture_of(&[]);
        fixture.git(&["checkout", "-q", "-b", "side"]);
        fixture.commit("side");
        fixture.git(&["checkout", "-q", "--detach", "main"]);
        replace(&fixture);
        let (point, _) = fixture.end_session();
        assert_eq!(omitted(&point), [(Path::new(named), Why::Refs)]);
        assert_eq!(omitted(&fixture.end_session().0), omitted(&point), "a repetition gives the same");
        fixture.lane.reset_to(fixture.lane.base()).unwrap();
        assert_eq!(omitted(&fixture.end_session().0), []);
    }
    // One that was deleted, and made anew as tools for new projects do it, leads nowhere else.
    let fixture = fixture_of(&[]);
    fs::remove_dir_all(fixture.lane.git_dir()).unwrap();
    assert_eq!(omitted(&fixture.end_session().0), []);
    fs::remove_dir_all(fixture.lane.git_dir()).unwrap();
    fixture.git(&["init", "-q"]);
    fixture.git(&["config", "user.name", "a"]);
    fixture.git(&["config", "user.email", "a@example.org"]);
    fixture.git(&["add", "-A"]);
    fixture.commit("new");
    let (point, salvaged) = fixture.end_session();
    assert_eq!((omitted(&point), salvaged), (vec![], vec![]));
}

#[test]
fn p6_what_an_unreadable_head_stood_on_is_kept() {
    let damages = ["\0nonsense", "ref: refs/heads/gone\n", "ref: refs/heads/.invalid\n"];
    for (number, damage) in damages.into_iter().enumerate() {
        let fixture = fixture_of(&[]);
        let made = fixture.commit(&format!("made-{number}"));
        fs::remove_file(fixture.at().join(format!("made-{number}"))).unwrap();
        write(&fixture.lane.git_dir().join("HEAD"), damage);
        let (point, salvaged) = fixture.end_session();
        assert_eq!(omitted(&point), []);
        assert_eq!(names(&salvaged), [("a reflog", &made, true)], "{damage}");
    }
}

#[test]
fn p6_what_the_agent_configures_in_its_lane_keeps_no_commit_from_being_found() {
    for (key, value) in
        [("extensions.objectFormat", "sha256"), ("extensions.worktreeConfig", "true"), ("extensions.refStorage", "reftable")]
    {
        let fixture = fixture_of(&[]);
        fixture.git(&["checkout", "-q", "-b", "side"]);
        let side = fixture.commit("side");
        fixture.git(&["checkout", "-q", "--detach", "main"]);
        write(&fixture.lane.git_dir().join("config.worktree"), "[core]\n\tworktree = /nowhere\n");
        fixture.git(&["config", "core.repositoryFormatVersion", "1"]);
        fixture.git(&["config", key, value]);
        let (point, salvaged) = fixture.end_session();
        assert_eq!(omitted(&point), [], "{key}");
        assert_eq!(names(&salvaged), [("refs/heads/side", &side, true)], "{key}");
    }
}

#[test]
fn p6_worktrees_that_the_agent_made_are_named() {
    let fixture = fixture_of(&[]);
    let add = |path: &str| fixture.git(&["worktree", "add", "-q", "--detach", path]);
    // One that was removed again holds nothing.
    add("../removed");
    fixture.git(&["worktree", "remove", "../removed"]);
    add("../deleted");
    fs::remove_dir_all(fixture.room.path("lanes/deleted")).unwrap();
    assert_eq!(omitted(&fixture.end_session().0), []);

    add("../beside");
    write(&fixture.room.path("lanes/beside/u.txt"), "not committed");
    let in_beside = |args: &[&str]| fixture.room.git(&fixture.room.path("lanes/beside"), args);
    in_beside(&["add", "u.txt"]);
    in_beside(&["commit", "-q", "-m", "left"]);
    let left = fixture.room.oid(&fixture.room.path("lanes/beside"), "HEAD");
    in_beside(&["checkout", "-q", "--detach", "HEAD~1"]);
    write(&fixture.room.path("lanes/beside/u.txt"), "not committed");
    // Ignored, and as an ordinary folder that is named already.
    add("target/ignored");
    add("inside");
    let (point, salvaged) = fixture.end_session();
    let beside = fixture.room.path("lanes/beside");
    let expected = [
        (beside.as_path(), Why::Worktree),
        (Path::new("inside"), Why::NestedHistory),
        (Path::new("target/ignored"), Why::Worktree),
    ];
    assert_eq!(omitted(&point), expected);
    assert_eq!(fs::read_to_string(beside.join("u.txt")).unwrap(), "not committed");
    assert_eq!(names(&salvaged), [("a reflog", &left, true)]);
}

#[test]
fn s3_a_worktree_is_looked_at_nowhere_but_for_whether_it_exists() {
    let fixture = fixture_of(&[]);
    let outside = fixture.room.path("outside");
    write(&outside.join(".git"), "gitdir: /nowhere\n");
    let list = |name: &str, text: &[u8]| {
        let folder = fixture.lane.git_dir().join("worktrees").join(name);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("gitdir"), text).unwrap();
    };
    list("a", format!("{}/.git\n", outside.display()).as_bytes());
    list("dots", b"../../../../../outside/./x/../.git\n");
    list("none", b"/nowhere/.git\n");
    list("own", format!("{}/.git\n", fixture.at().display()).as_bytes());
    list("file", b"/etc/passwd\n");
    list("nul", b"/a\0b/.git\n");
    list("empty", b"");
    list("large", &[b'x'; 5000]);
    let link = fixture.lane.git_dir().join("worktrees/link");
    symlink(&outside, &link).unwrap();
    let before = room::picture(&outside, &|_| false);
    let (point, _) = fixture.end_session();
    let expected = [
        (outside.as_path(), Why::Worktree),
        (Path::new(".git/worktrees/large/gitdir"), Why::Refs),
        (Path::new(".git/worktrees/link"), Why::Refs),
    ];
    assert_eq!(omitted(&point), expected);
    assert_eq!(room::picture(&outside, &|_| false), before);
    // The number of them is the agent's too.
    for n in 0..110 {
        list(&format!("many-{n}"), b"/nowhere/.git\n");
    }
    let (point, _) = fixture.end_session();
    assert!(omitted(&point).contains(&(Path::new(".git/worktrees"), Why::Refs)));
}
