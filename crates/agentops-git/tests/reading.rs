//! Discovery, revisions, refs, objects, diffs and merges on real repositories.

mod room;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use agentops_git::{Error, Expect, Git, Hash, MergeRefusal, MergeResult, Oid, Repo, Status, UserMerge, lanes};
use room::{Room, author, write};

fn discover(path: &Path) -> Result<Repo, Error> {
    Repo::discover(&Git::find().unwrap(), path)
}

#[test]
fn a_repository_has_one_id_through_links_and_worktrees() {
    let (room, repo) = Room::with_repo();
    assert_eq!(repo.id().len(), 16);
    std::os::unix::fs::symlink(room.path("repo"), room.path("link")).unwrap();
    room.git(repo.work_tree(), &["worktree", "add", "-q", "--detach", "../other\nline"]);
    for at in ["link", "repo/dir", "other\nline"] {
        assert_eq!(discover(&room.path(at)).unwrap().id(), repo.id(), "{at}");
    }
    let linked = discover(&room.path("other\nline")).unwrap();
    assert_eq!(linked.work_tree(), room.path("other\nline"));
    assert_eq!(linked.head().unwrap().branch, None);
}

#[test]
fn inside_a_lane_the_repository_is_the_one_that_it_belongs_to() {
    let (room, repo) = Room::with_repo();
    let lane = lanes::create(&repo, &room.path("lane"), &repo.head().unwrap().commit, "one").unwrap();
    let found = discover(lane.path()).unwrap();
    assert_eq!((found.id(), found.work_tree()), (repo.id(), repo.work_tree()));
    // Only where that repository says so as well.
    room.git(&room.path(""), &["clone", "-q", "repo", "other"]);
    write(&room.path("other/.git/agentops-lane-of"), repo.work_tree().to_str().unwrap());
    assert_ne!(discover(&room.path("other")).unwrap().id(), repo.id());
    lanes::remove(&repo, &lane).unwrap();
}

#[test]
fn what_is_no_checkout_has_its_own_error() {
    let room = Room::new();
    fs::create_dir(room.path("empty")).unwrap();
    assert!(matches!(discover(&room.path("empty")), Err(Error::NotARepository { .. })));
    assert!(matches!(discover(&room.path("absent")), Err(Error::Io { .. })));
    room.git(&room.path(""), &["init", "-q", "--bare", "bare"]);
    assert!(matches!(discover(&room.path("bare")), Err(Error::Bare { .. })));
    room.git(&room.path(""), &["init", "-q", "new"]);
    assert!(matches!(discover(&room.path("new/.git")), Err(Error::NotARepository { .. })));
    let new = discover(&room.path("new")).unwrap();
    assert!(matches!(new.head(), Err(Error::NoCommits { .. })));
    write(&room.path("new/x"), "x");
    assert_eq!(new.status().unwrap().untracked, 1);
}

#[test]
fn head_and_revisions() {
    let (room, repo) = Room::with_repo();
    let at = repo.work_tree();
    let head = repo.head().unwrap();
    assert_eq!(head.branch.as_deref(), Some("main"));
    for rev in ["main", "HEAD", "HEAD^0", "refs/heads/main", &head.commit.as_str()[..10]] {
        assert_eq!(repo.resolve(rev).unwrap(), head.commit, "{rev}");
    }
    for rev in ["", "--help", "-h", "^main", "nope", "main:a.txt", "$(id)", "a\nb", "main\0", "main..main", "--all"] {
        assert!(matches!(repo.resolve(rev), Err(Error::UnknownRevision { .. })), "{rev}");
    }
    room.git(at, &["checkout", "-q", "--detach"]);
    assert_eq!(repo.head().unwrap().branch, None);
}

#[test]
fn the_last_commit_that_changed_a_path_is_known() {
    let (room, repo) = Room::with_repo();
    let first = repo.head().unwrap().commit;
    let second = commit(&room, &repo, &first, "notes/[a].md", "a");
    let third = commit(&room, &repo, &second, "other.md", "b");
    let (found, time) = repo.last_change(&third, "notes/[a].md").unwrap().unwrap();
    assert_eq!(found, second);
    assert!(time > 0);
    assert_eq!(repo.last_change(&first, "notes/[a].md").unwrap(), None);
    assert_eq!(repo.last_change(&third, "absent").unwrap(), None);
}

#[test]
fn status_counts() {
    let (room, repo) = Room::with_repo();
    let at = repo.work_tree();
    assert!(!repo.status().unwrap().dirty);
    write(&at.join("a.txt"), "changed\n");
    write(&at.join("new"), "x");
    write(&at.join("staged"), "x");
    write(&at.join("target/x"), "ignored");
    room.git(at, &["add", "staged"]);
    let status = repo.status().unwrap();
    assert_eq!((status.dirty, status.staged, status.unstaged, status.untracked), (true, 1, 1, 1));
    room.git(at, &["update-index", "--split-index"]);
    assert_eq!(repo.status().unwrap(), status);
}

#[test]
fn refs_move_only_from_where_they_are_expected() {
    let (_room, repo) = Room::with_repo();
    let one = repo.head().unwrap().commit;
    let two = repo.commit_tree(&repo.tree_of(&one).unwrap(), &[&one], "two", &author(), 1).unwrap();
    let name = "refs/agentops/r/lane";
    repo.update_ref(name, &one, &Expect::Absent).unwrap();
    repo.update_ref(name, &one, &Expect::Absent).unwrap();
    assert!(matches!(repo.update_ref(name, &two, &Expect::Absent), Err(Error::RefExists { .. })));
    assert!(matches!(repo.update_ref(name, &one, &Expect::Is(two.clone())), Ok(())));
    repo.update_ref(name, &two, &Expect::Is(one.clone())).unwrap();
    let moved = repo.update_ref(name, &repo.write_blob(b"").unwrap(), &Expect::Is(one.clone()));
    assert!(matches!(moved, Err(Error::RefMoved { found: Some(f), .. }) if f == two));
    assert_eq!(repo.read_ref(name).unwrap(), Some(two.clone()));
    assert_eq!(repo.list_refs("refs/agentops/").unwrap(), [(name.to_owned(), two.clone())]);
    assert!(matches!(repo.delete_ref(name, &Expect::Is(one.clone())), Err(Error::RefMoved { .. })));
    repo.delete_ref(name, &Expect::Is(two.clone())).unwrap();
    repo.delete_ref(name, &Expect::Is(two.clone())).unwrap();
    assert_eq!(repo.read_ref(name).unwrap(), None);
    for users in ["refs/heads/main", "refs/tags/v1", "refs/remotes/origin/agentops/x"] {
        assert!(matches!(repo.update_ref(users, &one, &Expect::Absent), Err(Error::NotOurs { .. })));
    }
}

#[test]
fn a_ref_in_the_way_of_another_is_named() {
    let (room, repo) = Room::with_repo();
    let one = repo.head().unwrap().commit;
    let in_the_way = |name: &str| match repo.update_ref(name, &one, &Expect::Absent).unwrap_err() {
        error @ Error::RefInTheWay { .. } => error.to_string(),
        error => panic!("{error:?}"),
    };
    let at = repo.work_tree();
    room.git(at, &["branch", "agentops"]);
    let words =
        "the branch `agentops/r-1` cannot be made while the branch `agentops` exists: git keeps no name below another";
    assert_eq!(in_the_way("refs/heads/agentops/r-1"), words);
    room.git(at, &["branch", "-m", "agentops", "agentops/r-1/theirs"]);
    assert!(in_the_way("refs/heads/agentops/r-1").contains("while the branch `agentops/r-1/theirs` exists"));
    room.git(at, &["update-ref", "refs/agentops/runs", "HEAD"]);
    room.git(at, &["pack-refs", "--all"]);
    assert!(in_the_way("refs/agentops/runs/r-1").contains("while the ref `refs/agentops/runs` exists"));
    repo.update_ref("refs/heads/agentops/r-2", &one, &Expect::Absent).unwrap();
}

#[test]
fn a_race_for_a_ref_has_one_winner() {
    let (_room, repo) = Room::with_repo();
    let base = repo.head().unwrap().commit;
    let tree = repo.tree_of(&base).unwrap();
    let won = std::thread::scope(|scope| {
        let tries: Vec<_> = (0..8)
            .map(|n| {
                let (repo, tree, base) = (&repo, &tree, &base);
                scope.spawn(move || {
                    let mine = repo.commit_tree(tree, &[base], &n.to_string(), &author(), n).unwrap();
                    repo.update_ref("refs/agentops/race", &mine, &Expect::Absent).is_ok()
                })
            })
            .collect();
        tries.into_iter().map(|t| t.join().unwrap()).filter(|w| *w).count()
    });
    assert_eq!(won, 1);
}

fn objects_round_trip(room: &Room, repo: &Repo) {
    let head = repo.head().unwrap().commit;
    assert_eq!(head.as_str().len(), if repo.hash() == Hash::Sha1 { 40 } else { 64 });
    let files = [("records/r1.json", b"{}\n".to_vec()), ("a.txt/now a folder", b"\0\xff".to_vec()), ("-x", Vec::new())];
    let make = || repo.commit_files(Some(&head), &files, "a record\n", &author(), 1_700_000_000, &room.scratch()).unwrap();
    let commit = make();
    assert_eq!(make(), commit, "equal inputs give the same commit");
    for (path, bytes) in &files {
        assert_eq!(repo.read_file(&commit, path).unwrap().as_ref(), Some(bytes));
    }
    assert_eq!(repo.read_file(&commit, "a.txt").unwrap(), None, "a folder is no file");
    assert_eq!(repo.read_file(&commit, "absent").unwrap(), None);
    let gone: Oid = head.as_str().chars().map(|_| '1').collect::<String>().parse().unwrap();
    assert!(repo.read_file(&gone, "a").is_err());
    let paths: Vec<_> = repo.list_tree(&commit, None).unwrap().into_iter().map(|e| e.path).collect();
    assert_eq!(paths, ["-x", ".gitignore", "a.txt/now a folder", "dir/b.txt", "records/r1.json"].map(PathBuf::from));
    assert_eq!(repo.list_tree(&commit, Some(Path::new("dir"))).unwrap().len(), 1);
    let diff = repo.diff(&head, &commit).unwrap();
    let shown: Vec<_> =
        diff.files.iter().map(|f| (f.path.to_str().unwrap(), f.status, f.added, f.removed, f.binary)).collect();
    assert_eq!(
        shown,
        [
            ("-x", Status::Added, 0, 0, false),
            ("a.txt", Status::Deleted, 0, 3, false),
            ("a.txt/now a folder", Status::Added, 0, 0, true),
            ("records/r1.json", Status::Added, 1, 0, false),
        ]
    );
    let patch = repo.patch(&head, &commit, 1 << 20).unwrap();
    assert!(String::from_utf8_lossy(&patch).contains("\n+{}\n"));
    assert_eq!(repo.patch(&head, &commit, 50).unwrap(), patch[..50]);
    let root = repo.commit_files::<&str>(None, &[], "root", &author(), 0, &room.scratch()).unwrap();
    assert_eq!(repo.tree_of(&root).unwrap(), repo.hash().empty_tree());
}

#[test]
fn objects_in_every_kind_of_repository() {
    for init in [&[][..], &["--object-format=sha256"], &["--ref-format=reftable"]] {
        let (room, repo) = Room::with_repo_of(init);
        objects_round_trip(&room, &repo);
        let base = repo.head().unwrap().commit;
        let lane = lanes::create(&repo, &room.path("lane"), &base, "one").unwrap();
        assert_eq!(room.git(lane.path(), &["status", "--porcelain"]), "", "{init:?}");
        assert_eq!(room.oid(lane.path(), "HEAD"), base);
        write(&lane.path().join("n"), "n");
        let point = lane.checkpoint(&base, "n", &author(), 1, &room.scratch()).unwrap();
        lane.reset_to(&point.commit).unwrap();
        assert_eq!(room.oid(lane.path(), "HEAD"), point.commit);
        repo.update_ref("refs/agentops/x", &point.commit, &Expect::Absent).unwrap();
        assert_eq!(repo.read_ref("refs/agentops/x").unwrap(), Some(point.commit));
        lanes::remove(&repo, &lane).unwrap();
        room.git(repo.work_tree(), &["fsck"]);
    }
}

fn commit(room: &Room, repo: &Repo, on: &Oid, path: &str, text: &str) -> Oid {
    repo.commit_files(Some(on), &[(path, text.into())], path, &author(), 5, &room.scratch()).unwrap()
}

#[test]
fn merges_without_a_checkout() {
    let (room, repo) = Room::with_repo();
    let base = repo.head().unwrap().commit;
    let ours = commit(&room, &repo, &base, "a.txt", "ours\ntwo\nthree\n");
    let theirs = commit(&room, &repo, &base, "new", "x");
    let MergeResult::Clean { tree } = repo.merge(&ours, &theirs, None).unwrap() else { panic!() };
    assert_eq!(repo.list_tree(&tree, None).unwrap().len(), 4);
    let clash = commit(&room, &repo, &base, "a.txt", "theirs\ntwo\nthree\n");
    let result = repo.merge(&ours, &clash, Some(&base)).unwrap();
    assert_eq!(result, MergeResult::Conflict { paths: vec!["a.txt".into()] });
    assert_eq!(repo.merge_base(&ours, &clash).unwrap(), Some(base.clone()));
    let union = commit(&room, &repo, &ours, ".gitattributes", "a.txt merge=union\n");
    assert!(matches!(repo.merge(&union, &clash, None).unwrap(), MergeResult::Clean { .. }));
}

#[test]
fn the_users_merge_is_theirs_and_takes_itself_back() {
    let (room, repo) = Room::with_repo();
    let at = repo.work_tree();
    let base = repo.head().unwrap().commit;
    let offer = |name: &str, commit: &Oid| {
        repo.update_ref(&format!("refs/heads/agentops/{name}"), commit, &Expect::Absent).unwrap();
        format!("agentops/{name}")
    };
    room::program(&at.join(".git/hooks/commit-msg"), "#!/bin/sh\necho ran >> .git/hook-ran\n");
    let good = offer("good", &commit(&room, &repo, &base, "new", "x"));
    write(&at.join("dir/b.txt"), "dirty\n");
    let as_tested = room::as_they_are(&repo, &good);
    let merged = repo.merge_into_checkout(&good, &as_tested, "-m is no option here", &Arc::default());
    let UserMerge::Merged { commit: merged } = merged.unwrap() else { panic!() };
    assert_eq!(room.git(at, &["log", "-1", "--format=%s|%an"]), "-m is no option here|User");
    assert_eq!(room.oid(at, "HEAD"), merged);
    assert!(at.join(".git/hook-ran").exists() && at.join("new").exists());
    assert_eq!(room::merge(&repo, &good).unwrap(), UserMerge::UpToDate);

    let touches = offer("touches", &commit(&room, &repo, &base, "dir/b.txt", "theirs\n"));
    let Err(Error::MergeRefused { refusal, .. }) = room::merge(&repo, &touches) else { panic!() };
    assert_eq!(refusal, MergeRefusal::LocalChanges { paths: vec!["dir/b.txt".into()], assumed_unchanged: vec![] });
    assert_eq!(fs::read_to_string(at.join("dir/b.txt")).unwrap(), "dirty\n");

    write(&at.join("a.txt"), "mine\n");
    room.git(at, &["commit", "-qm", "mine", "a.txt"]);
    let clash = offer("clash", &commit(&room, &repo, &base, "a.txt", "theirs\n"));
    let before = room.oid(at, "HEAD");
    let result = room::merge(&repo, &clash).unwrap();
    assert_eq!(result, UserMerge::Conflict { paths: vec!["a.txt".into()] });
    assert_eq!(room.oid(at, "HEAD"), before);
    assert!(!at.join(".git/MERGE_HEAD").exists());
    assert_eq!(fs::read_to_string(at.join("dir/b.txt")).unwrap(), "dirty\n");

    // Somebody who can write in the repository replaces a file of the result after it was tested.
    let tested = offer("tested", &commit(&room, &repo, &base, "tool.sh", "echo tested\n"));
    let [shown, other] = ["echo tested\n", "echo other\n"].map(|text| {
        write(&room.path("text"), text);
        room.git(at, &["hash-object", "-w", room.path("text").to_str().unwrap()])
    });
    room.git(at, &["replace", &shown, &other]);
    assert!(matches!(room::merge(&repo, &tested).unwrap(), UserMerge::Merged { .. }));
    assert_eq!(fs::read_to_string(at.join("tool.sh")).unwrap(), "echo tested\n");

    assert_eq!(repo.checked_out_in("refs/heads/main").unwrap().as_deref(), Some(at));
    assert_eq!(repo.checked_out_in("refs/heads/agentops/tested").unwrap(), None);
    let linked = room.path("linked");
    room.git(at, &["worktree", "add", "-q", linked.to_str().unwrap(), "agentops/tested"]);
    assert_eq!(repo.checked_out_in("refs/heads/agentops/tested").unwrap(), Some(linked));

    room.try_git(at, &["merge", "agentops/clash"]);
    assert!(matches!(room::merge(&repo, &good), Err(Error::InProgress { .. })));
    assert!(at.join(".git/MERGE_HEAD").exists(), "the user's own merge stays");
    assert!(repo.merge_into_checkout("../main", &as_tested, "m", &Arc::default()).is_err());
}

#[test]
fn identity_is_read() {
    let (_room, repo) = Room::with_repo();
    let user = repo.user_identity().unwrap();
    assert_eq!((user.name.as_deref(), user.email.as_deref()), (Some("User"), Some("user@example.org")));
}

#[test]
fn the_difference_of_some_paths_is_whole_whatever_else_changed() {
    let (room, repo) = Room::with_repo();
    let at = repo.work_tree();
    let before = repo.head().unwrap().commit;
    // Before them in git's order, and larger than what may be shown.
    write(&at.join("0.txt"), "x\n".repeat(10_000));
    write(&at.join(".gitattributes"), "* -diff\n");
    for name in ["[a]*.md", "b.md", "a.md"] {
        write(&at.join(name), "text\n");
    }
    room.git(at, &["add", "."]);
    room.git(at, &["commit", "-qm", "second"]);
    let after = repo.head().unwrap().commit;
    let patches = |paths: &[&str], max| {
        let paths: Vec<&Path> = paths.iter().map(Path::new).collect();
        repo.patches_of(&before, &after, &paths, max).unwrap()
    };
    let shown = |paths: &[&str], max| -> Vec<(String, bool)> {
        let patches = patches(paths, max).into_iter();
        patches.map(|patch| (String::from_utf8(patch.text).unwrap(), patch.is_cut)).collect()
    };
    for (name, (patch, is_cut)) in ["[a]*.md", "b.md"].iter().zip(shown(&["[a]*.md", "b.md"], 20_000)) {
        let heads: Vec<&str> = patch.lines().filter(|line| line.contains(" a/")).collect();
        assert_eq!(heads, [format!("diff --git a/{name} b/{name}")]);
        assert!(patch.ends_with("\n+text\n") && !is_cut, "an attribute hides nothing: {patch}");
    }
    // A large one hides no other, and what is not shown is known.
    let beside = shown(&["0.txt", "absent", "b.md"], 12_000);
    assert_eq!((beside[0].0.len(), beside[0].1), (4096, true));
    assert_eq!(beside[1], (String::new(), false));
    assert!(beside[2].0.ends_with("\n+text\n") && !beside[2].1, "{beside:?}");
    let too_many = shown(&["0.txt", "b.md"], 3000);
    assert_eq!((too_many[0].0.len(), too_many[0].1), (3000, true));
    assert_eq!(too_many[1], (String::new(), true));
}
