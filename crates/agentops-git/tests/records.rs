//! Records on a branch of their own: two clones that share them by push and fetch, several writers at once, a kill in between.

mod room;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use agentops_git::{Error, Expect, Git, Oid, RECORDS, Repo};
use room::{Room, author, picture, write};

fn append(room: &Room, repo: &Repo, lines: &[&str]) -> Oid {
    let lines: Vec<Vec<u8>> = lines.iter().map(|line| line.as_bytes().to_vec()).collect();
    repo.append_records("feedback", &lines, "Feedback\n", &author(), 7, &room.scratch()).unwrap()
}

/// The text of each clone's file.
fn texts(repo: &Repo) -> BTreeMap<String, String> {
    let records = repo.read_records("feedback").unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    records.files.iter().map(|file| (file.clone.clone(), text(&file.bytes))).collect()
}

fn own(repo: &Repo) -> String {
    repo.read_records("feedback").unwrap().files.into_iter().find(|file| file.own).unwrap().clone
}

/// A bare repository, and two clones of it.
fn team() -> (Room, Repo, Repo) {
    let (room, repo) = Room::with_repo();
    room.git(&room.path(""), &["clone", "-q", "--bare", "repo", "hub.git"]);
    for name in ["one", "two"] {
        room.git(&room.path(""), &["clone", "-q", "hub.git", name]);
    }
    drop(repo);
    let open = |name: &str| Repo::discover(&Git::find().unwrap(), &room.path(name)).unwrap();
    let (one, two) = (open("one"), open("two"));
    (room, one, two)
}

fn push(room: &Room, repo: &Repo) {
    room.git(repo.work_tree(), &["push", "-q", "origin", "agentops/records"]);
}

fn fetch(room: &Room, repo: &Repo) {
    room.git(repo.work_tree(), &["fetch", "-q"]);
}

#[test]
fn lines_are_added_in_order_and_no_checkout_is_touched() {
    let (room, repo) = Room::with_repo();
    assert_eq!(repo.read_records("feedback").unwrap().files, []);
    let ours = |path: &Path| path.starts_with(repo.work_tree().join(".git"));
    let before = (picture(repo.work_tree(), &ours), repo.head().unwrap());
    let index = fs::read(repo.git_dir().join("index")).unwrap();
    append(&room, &repo, &["{\"n\":1}", "{\"n\":2}"]);
    let key = repo.read_records("feedback").unwrap().key;
    append(&room, &repo, &["ü 日本"]);
    assert_ne!(repo.read_records("feedback").unwrap().key, key);
    assert_eq!(texts(&repo).into_values().collect::<Vec<_>>(), ["{\"n\":1}\n{\"n\":2}\nü 日本\n"]);
    assert_eq!((picture(repo.work_tree(), &ours), repo.head().unwrap()), before);
    assert_eq!(fs::read(repo.git_dir().join("index")).unwrap(), index);
    assert_eq!(room.git(repo.work_tree(), &["rev-list", "--count", RECORDS]), "2");
    assert_eq!(room.git(repo.work_tree(), &["fsck", "--strict"]), "");
    room.git(repo.work_tree(), &["worktree", "add", "-q", "--detach", "../linked"]);
    let linked = Repo::discover(&Git::find().unwrap(), &room.path("linked")).unwrap();
    append(&room, &linked, &["from a linked work tree"]);
    assert_eq!(texts(&repo).len(), 1, "work trees of one clone are one clone");
    for bad in ["", "two\nlines", &"x".repeat(70_000)] {
        let refused = repo.append_records("feedback", &[bad.into()], "m", &author(), 0, &room.scratch());
        assert!(matches!(refused, Err(Error::BadName { .. })));
    }
    assert!(repo.append_records("feedback", &[], "m", &author(), 0, &room.scratch()).is_err());
}

#[test]
fn two_clones_share_by_push_and_fetch() {
    let (room, one, two) = team();
    append(&room, &one, &["one 1"]);
    append(&room, &two, &["two 1"]);
    push(&room, &one);
    // The second one's branch has no history in common with the first one's: its next addition brings both together.
    fetch(&room, &two);
    assert_eq!(texts(&two).len(), 2, "what was fetched is read before anything is merged");
    append(&room, &two, &["two 2"]);
    push(&room, &two);
    assert_eq!(room.git(two.work_tree(), &["rev-list", "--merges", "--count", RECORDS]), "1");
    // Both go on without each other, and meet again.
    append(&room, &one, &["one 2"]);
    append(&room, &two, &["two 3"]);
    push(&room, &two);
    fetch(&room, &one);
    append(&room, &one, &["one 3"]);
    push(&room, &one);
    fetch(&room, &two);
    let expected: BTreeMap<_, _> =
        [(own(&one), "one 1\none 2\none 3\n".to_owned()), (own(&two), "two 1\ntwo 2\ntwo 3\n".to_owned())].into();
    assert_eq!(texts(&one), expected);
    assert_eq!(texts(&two), expected);
    assert_eq!(one.read_records("feedback").unwrap().key, two.read_records("feedback").unwrap().key);
    // Behind and with nothing of its own: the next addition is a plain one on top.
    append(&room, &two, &["two 4"]);
    let parents = room.git(two.work_tree(), &["rev-list", "--parents", "-1", RECORDS]);
    assert_eq!(parents.split(' ').count(), 2, "{parents}");
    push(&room, &two);
    // A third clone has everything, and writes on top of it.
    room.git(&room.path(""), &["clone", "-q", "hub.git", "three"]);
    let three = Repo::discover(&Git::find().unwrap(), &room.path("three")).unwrap();
    assert_eq!(texts(&three).len(), 2);
    assert!(!three.read_records("feedback").unwrap().files.iter().any(|file| file.own));
    append(&room, &three, &["three 1"]);
    push(&room, &three);
    assert_eq!(texts(&three).len(), 3);
}

#[test]
fn other_files_of_the_branch_survive_a_merge() {
    let (room, one, two) = team();
    let at = one.work_tree();
    room.git(at, &["checkout", "-q", "--orphan", "agentops/records"]);
    room.git(at, &["rm", "-rfq", "."]);
    write(&at.join("runs/r-1.json"), "{}");
    room.git(at, &["add", "."]);
    room.git(at, &["-c", "user.name=U", "-c", "user.email=u@example.org", "commit", "-qm", "a record"]);
    room.git(at, &["push", "-q", "origin", "agentops/records"]);
    append(&room, &two, &["two 1"]);
    fetch(&room, &two);
    append(&room, &two, &["two 2"]);
    let files = room.git(two.work_tree(), &["ls-tree", "-r", "--name-only", RECORDS]);
    assert!(files.contains("runs/r-1.json") && files.contains("feedback/"), "{files}");
}

#[test]
fn a_rewritten_file_is_said_and_the_local_one_wins() {
    let (room, one, two) = team();
    append(&room, &one, &["one 1", "one 2"]);
    append(&room, &two, &["two 1"]);
    push(&room, &one);
    fetch(&room, &two);
    append(&room, &two, &["two 2"]);
    push(&room, &two);
    // Somebody rewrites the first clone's file on the hub, and continues the second one's.
    let (first, second) = (own(&one), own(&two));
    room.git(&room.path(""), &["clone", "-q", "-b", "agentops/records", "hub.git", "evil"]);
    let evil = room.path("evil");
    write(&evil.join(format!("feedback/{first}.jsonl")), "forged\n");
    write(&evil.join(format!("feedback/{second}.jsonl")), "two 1\ntwo 2\ntwo 3");
    write(&evil.join("feedback/zzz.jsonl"), "nobody's\n");
    std::os::unix::fs::symlink("/etc/passwd", evil.join("feedback/0123456789abcdef.jsonl")).unwrap();
    write(&evil.join("feedback/fedcba9876543210.jsonl"), vec![b'x'; (8 << 20) + 1]);
    room.git(&evil, &["add", "."]);
    room.git(&evil, &["-c", "user.name=U", "-c", "user.email=u@example.org", "commit", "-qm", "evil"]);
    room.git(&evil, &["push", "-q", "origin", "agentops/records"]);
    fetch(&room, &one);
    let records = one.read_records("feedback").unwrap();
    let file = |clone: &str| records.files.iter().find(|file| file.clone == clone).unwrap();
    assert_eq!(file(&first).bytes, b"one 1\none 2\n");
    assert_eq!(file(&first).rewritten_in, ["refs/remotes/origin/agentops/records"]);
    assert_eq!((file(&second).bytes.as_slice(), file(&second).rewritten_in.len()), (&b"two 1\ntwo 2\ntwo 3"[..], 0));
    let out: Vec<_> = records.left_out.iter().map(|(path, why)| (path.to_str().unwrap(), *why)).collect();
    let expected = [
        ("feedback/0123456789abcdef.jsonl", "not a file of a clone"),
        ("feedback/fedcba9876543210.jsonl", "larger than 8 MiB"),
        ("feedback/zzz.jsonl", "not a file of a clone"),
    ];
    assert_eq!(out, expected);
    // The next addition puts it right on top of what was forged.
    append(&room, &one, &["one 3"]);
    push(&room, &one);
    assert_eq!(texts(&one)[&first], "one 1\none 2\none 3\n");
    // The half line of the other one is still a line of its own after its next addition.
    fetch(&room, &two);
    append(&room, &two, &["two 4"]);
    assert_eq!(texts(&two)[&second], "two 1\ntwo 2\ntwo 3\ntwo 4\n");
}

#[test]
fn writers_at_once_lose_nothing() {
    let (room, repo) = Room::with_repo();
    let scratch = room.scratch();
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let (repo, scratch) = (Repo::discover(&Git::find().unwrap(), repo.work_tree()).unwrap(), &scratch);
            scope.spawn(move || {
                for n in 0..5 {
                    let line = format!("{writer} {n}").into_bytes();
                    repo.append_records("feedback", &[line], "m", &author(), n, scratch).unwrap();
                }
            });
        }
        // Somebody who knows nothing of the lock moves the branch meanwhile, as `git fetch` into it would.
        let (repo, room) = (&repo, &room);
        scope.spawn(move || {
            for n in 0..5 {
                let Some(tip) = repo.read_ref(RECORDS).unwrap() else { continue };
                let tree = repo.tree_of(&tip).unwrap();
                let moved = repo.commit_tree(&tree, &[&tip], &format!("other {n}"), &author(), n).unwrap();
                let _somebody_was_faster = repo.update_ref(RECORDS, &moved, &Expect::Is(tip));
            }
            room.scratch();
        });
    });
    let text = texts(&repo).into_values().next().unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    for writer in 0..4 {
        let of: Vec<_> = lines.iter().filter(|line| line.starts_with(&format!("{writer} "))).collect();
        assert_eq!(of, (0..5).map(|n| format!("{writer} {n}")).collect::<Vec<_>>().iter().collect::<Vec<_>>());
    }
    lines.sort_unstable();
    lines.dedup();
    assert_eq!(lines.len(), 20);
}

/// Appends until it is killed and says each line that was acknowledged: the other end of the test below.
#[test]
fn appender_for_the_test_of_kills() {
    let Some(at) = std::env::var_os("RECORDS_TEST_REPO") else { return };
    let repo = Repo::discover(&Git::find().unwrap(), Path::new(&at)).unwrap();
    let (said, scratch) = (std::env::var_os("RECORDS_TEST_SAID").unwrap(), std::env::temp_dir());
    for n in 0u64.. {
        let line = format!("{} {n}", std::process::id());
        repo.append_records("feedback", &[line.clone().into_bytes()], "m", &author(), n, &scratch).unwrap();
        let mut file = fs::OpenOptions::new().append(true).create(true).open(&said).unwrap();
        std::io::Write::write_all(&mut file, format!("{line}\n").as_bytes()).unwrap();
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the test starts itself as the process that it kills")]
fn a_killed_writer_loses_nothing_that_it_was_told_is_kept() {
    let (room, repo) = Room::with_repo();
    let said = room.path("said");
    for round in 1..=6usize {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "appender_for_the_test_of_kills"])
            .env("RECORDS_TEST_REPO", repo.work_tree())
            .env("RECORDS_TEST_SAID", &said)
            .env("TMPDIR", room.scratch())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        // A different number of lines each round, so that it ends at different places.
        let told = || fs::read_to_string(&said).unwrap_or_default().lines().count();
        while told() < round * 2 {
            assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        append(&room, &repo, &[&format!("after {round}")]);
        let text = texts(&repo).into_values().next().unwrap();
        assert!(text.ends_with(&format!("after {round}\n")), "{text}");
        let kept: Vec<&str> = text.lines().collect();
        for line in fs::read_to_string(&said).unwrap().lines() {
            assert!(kept.contains(&line), "{line} was acknowledged and is gone: {text}");
        }
        let whole =
            |line: &&&str| line.split(' ').count() == 2 && line.split(' ').nth(1).is_some_and(|n| n.parse::<u64>().is_ok());
        assert_eq!(kept.iter().filter(whole).count(), kept.len(), "half a line: {text}");
    }
}

#[test]
fn a_copied_folder_is_another_clone_and_a_full_file_begins_another() {
    let (room, repo) = Room::with_repo();
    append(&room, &repo, &["first"]);
    room.git(&room.path(""), &["clone", "-q", "repo", "copy"]);
    fs::create_dir_all(room.path("copy/.git/agentops")).unwrap();
    fs::copy(room.path("repo/.git/agentops/clone-id"), room.path("copy/.git/agentops/clone-id")).unwrap();
    let copy = Repo::discover(&Git::find().unwrap(), &room.path("copy")).unwrap();
    append(&room, &copy, &["copied"]);
    assert_ne!(own(&copy), own(&repo));
    let line = vec![b'x'; 60_000];
    let lines: Vec<Vec<u8>> = std::iter::repeat_n(line, 130).collect();
    let full = own(&repo);
    for _ in 0..2 {
        repo.append_records("feedback", &lines, "m", &author(), 0, &room.scratch()).unwrap();
    }
    let texts = texts(&repo);
    assert_eq!(texts.len(), 2);
    assert!(own(&repo) != full && texts.values().all(|text| text.len() <= 8 << 20));
}
