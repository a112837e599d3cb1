//! A lane is a repository of its own: what the agent's git sees there, what it cannot reach, and what is brought back.

mod room;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use agentops_git::lanes::Restored;
use agentops_git::{Error, Expect, Lane, Oid, Repo, lanes};
use room::{Room, author, picture, write};

fn lane(room: &Room, repo: &Repo, name: &str) -> Lane {
    lanes::create(repo, &room.path("lanes").join(name), &repo.head().unwrap().commit, name).unwrap()
}

/// Commits a file of this name as the agent.
fn commit(room: &Room, at: &Path, name: &str) -> Oid {
    write(&at.join(name), name);
    room.git(at, &["add", name]);
    room.git(at, &["commit", "-qm", name]);
    room.oid(at, "HEAD")
}

/// The user's git directory without what is ours.
fn users_git(repo: &Repo) -> std::collections::BTreeMap<std::path::PathBuf, String> {
    let git = repo.common_dir().to_owned();
    let ours = ["agentops", "agentops-lanes.lock", "objects", "refs/agentops"];
    picture(&git, &|path| ours.iter().any(|name| path == git.join(name)))
}

#[test]
fn a_lane_may_lie_on_another_file_system_than_the_repository() {
    let (room, repo) = Room::with_repo();
    room.git(repo.work_tree(), &["tag", "-a", "-m", "copied into the lane", "annotated"]);
    let Ok(other) = tempfile::tempdir_in("/dev/shm") else { return };
    let base = repo.head().unwrap().commit;
    let lane = lanes::create(&repo, &other.path().join("lane"), &base, "elsewhere").unwrap();
    assert_eq!(room.git(lane.path(), &["tag", "--list"]), "annotated");
    room.git(lane.path(), &["cat-file", "tag", "annotated"]);
    room.git(lane.path(), &["switch", "-qc", "attempt"]);
    let attempt = commit(&room, lane.path(), "kept.txt");
    room.git(lane.path(), &["switch", "-q", "--detach", base.as_str()]);
    let salvaged = lane.salvage("refs/agentops/salvage/r/elsewhere", &base).unwrap();
    assert!(salvaged.iter().any(|s| s.commit == attempt && s.kept_as.is_some()), "{salvaged:?}");
    room.git(repo.work_tree(), &["cat-file", "commit", &attempt.to_string()]);
    lanes::remove(&repo, &lane).unwrap();
}

#[test]
fn p6_what_an_agent_does_to_its_git_does_not_reach_the_users() {
    let (room, repo) = Room::with_repo();
    let at = repo.work_tree();
    write(&at.join("a.txt"), "private\n");
    room.git(at, &["stash", "-q"]);
    let lane = lane(&room, &repo, "one");
    let before = users_git(&repo);
    let agent = |args: &[&str]| room.git(lane.path(), args);
    assert_eq!(agent(&["stash", "list"]), "", "the user's stash is not the agent's");
    assert!(!room.try_git(lane.path(), &["stash", "pop"]).0);
    agent(&["config", "core.hooksPath", "/tmp/x"]);
    agent(&["config", "core.bare", "true"]);
    agent(&["config", "--unset", "core.bare"]);
    agent(&["remote", "add", "fork", "file:///nowhere"]);
    agent(&["branch", "junk"]);
    agent(&["tag", "-a", "-m", "x", "junk-tag"]);
    agent(&["update-ref", "-d", "refs/heads/main"]);
    write(&lane.path().join("a.txt"), "agent\n");
    agent(&["stash", "-q"]);
    agent(&["stash", "pop", "-q"]);
    agent(&["commit", "-qam", "by the agent"]);
    agent(&["gc", "-q", "--prune=now"]);
    agent(&["log", "--all", "--oneline"]);
    lane.checkpoint(lane.base(), "m", &author(), 1, &room.scratch()).unwrap();
    lane.reset_to(lane.base()).unwrap();
    lanes::remove(&repo, &lane).unwrap();
    assert_eq!(users_git(&repo), before);
    room.git(at, &["fsck", "--strict"]);
    room.git(at, &["stash", "pop", "-q"]);
}

/// A user's repository with a remote, tags and branches of all kinds.
fn with_history() -> (Room, Repo) {
    let (room, repo) = Room::with_repo();
    let at = repo.work_tree();
    room.git(&room.path(""), &["clone", "-q", "--bare", "repo", "origin.git"]);
    room.git(at, &["remote", "add", "origin", "../origin.git"]);
    room.git(at, &["tag", "light"]);
    room.git(at, &["tag", "-a", "-m", "annotated", "v1"]);
    room.git(at, &["branch", "merged"]);
    room.git(at, &["checkout", "-q", "-b", "other"]);
    commit(&room, at, "unmerged");
    room.git(at, &["tag", "-a", "-m", "x", "unmerged-tag"]);
    room.git(at, &["checkout", "-q", "main"]);
    commit(&room, at, "second");
    room.git(at, &["push", "-q", "-u", "origin", "main"]);
    // The remote is ahead by one commit that the base does not have.
    commit(&room, at, "ahead");
    room.git(at, &["push", "-q"]);
    room.git(at, &["reset", "-q", "--hard", "HEAD^"]);
    room.git(at, &["remote", "set-head", "origin", "main"]);
    (room, repo)
}

#[test]
fn a_lane_has_the_refs_that_an_agent_looks_at() {
    let (room, repo) = with_history();
    let lane = lane(&room, &repo, "one");
    let refs = room.git(lane.path(), &["for-each-ref", "--format=%(refname)"]);
    let expected = [
        "refs/heads/main",
        "refs/heads/merged",
        "refs/remotes/origin/HEAD",
        "refs/remotes/origin/main",
        "refs/tags/light",
        "refs/tags/v1",
    ];
    assert_eq!(refs.lines().collect::<Vec<_>>(), expected);
    assert_eq!(room.git(lane.path(), &["describe"]), "v1-1-g".to_owned() + &lane.base().as_str()[..7]);
    assert!(room.git(lane.path(), &["diff", "--stat", "origin/main"]).contains("ahead"));
    assert_eq!(room.git(lane.path(), &["rev-parse", "--abbrev-ref", "main@{upstream}"]), "origin/main");
    room.git(lane.path(), &["fetch", "-q"]);
    room.git(lane.path(), &["fsck", "--strict"]);
}

#[test]
fn no_prune_of_the_users_breaks_a_lane() {
    let (room, repo) = with_history();
    let at = repo.work_tree();
    let lane = lane(&room, &repo, "one");
    commit(&room, lane.path(), "by-the-agent");
    // The user gives up everything that the lane was made from.
    room.git(at, &["checkout", "-q", "--orphan", "new"]);
    room.git(at, &["commit", "-qm", "new"]);
    for name in
        ["heads/main", "heads/merged", "heads/other", "remotes/origin/main", "tags/v1", "tags/light", "tags/unmerged-tag"]
    {
        room.git(at, &["update-ref", "-d", &format!("refs/{name}")]);
    }
    room.git(at, &["symbolic-ref", "-d", "refs/remotes/origin/HEAD"]);
    room.git(at, &["reflog", "expire", "--expire=now", "--all"]);
    room.git(at, &["gc", "-q", "--prune=now"]);
    for args in [&["log", "--all", "--oneline"][..], &["gc", "-q", "--prune=now"], &["fsck", "--strict"], &["status"]] {
        room.git(lane.path(), args);
    }
    assert!(room.git(lane.path(), &["describe"]).starts_with("v1-2-g"));
    let point = lane.checkpoint(lane.base(), "m", &author(), 1, &room.scratch()).unwrap();
    lane.reset_to(&point.commit).unwrap();
    room.git(at, &["gc", "-q", "--prune=now"]);
    room.git(lane.path(), &["log", "--all", "--oneline"]);
    lanes::remove(&repo, &lane).unwrap();
    assert!(repo.list_refs("refs/agentops/lanes").unwrap().is_empty());
}

#[test]
fn a_checkpoint_whose_objects_were_pruned_is_made_again_from_the_files() {
    let (room, repo) = Room::with_repo();
    let lane = lane(&room, &repo, "one");
    write(&lane.path().join("work"), "by the agent");
    write(&lane.path().join("deep/er/work"), "by the agent as well");
    let point = || lane.checkpoint(lane.base(), "m", &author(), 1, &room.scratch()).unwrap();
    let first = point();
    // No ref names it yet.
    room.git(repo.work_tree(), &["gc", "-q", "--prune=now"]);
    assert!(!room.try_git(repo.work_tree(), &["cat-file", "-e", first.commit.as_str()]).0);
    assert_eq!(point(), first);
    assert_eq!(repo.read_file(&first.commit, "deep/er/work").unwrap().unwrap(), b"by the agent as well");
    repo.update_ref("refs/agentops/kept", &first.commit, &Expect::Absent).unwrap();
    room.git(repo.work_tree(), &["fsck", "--strict"]);
}

#[test]
fn a_lane_has_the_settings_of_the_checkout_and_no_secret_or_program() {
    let (room, repo) = Room::with_repo();
    let at = repo.work_tree();
    for (key, value) in [
        ("core.autocrlf", "input"),
        ("core.hooksPath", "/evil"),
        ("core.sshCommand", "/evil"),
        ("credential.helper", "/evil"),
        ("alias.st", "!/evil"),
        ("filter.x.clean", "/evil"),
        ("http.extraHeader", "Authorization: s3cret"),
        ("remote.origin.url", "https://me:s3cret@example.org/a.git"),
        ("remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*"),
        ("remote.origin.uploadpack", "/evil"),
        ("remote.evil.url", "ext::/evil"),
        ("branch.main.remote", "origin"),
        ("commit.gpgSign", "true"),
        ("gpg.program", "/evil"),
    ] {
        room.git(at, &["config", key, value]);
    }
    write(&room.path("included"), "[user]\n\tname = Of \\\"this\\\" folder and back\\\\slash\n");
    room.git(at, &["config", "--unset", "user.name"]);
    room.git(at, &["config", &format!("includeIf.gitdir:{}/.path", at.display()), room.path("included").to_str().unwrap()]);
    write(&repo.common_dir().join("info/exclude"), "*.private\n");
    let lane = lane(&room, &repo, "one");
    let config = fs::read_to_string(lane.git_dir().join("config")).unwrap();
    assert!(!config.contains("evil") && !config.contains("s3cret") && !config.contains("hook"), "{config}");
    let of = |key: &str| room.git(lane.path(), &["config", key]);
    assert_eq!(of("remote.origin.url"), "https://example.org/a.git");
    assert_eq!(of("user.name"), "Of \"this\" folder and back\\slash");
    assert_eq!((of("core.autocrlf"), of("branch.main.remote")), ("input".into(), "origin".into()));
    write(&lane.path().join("x.private"), "x");
    commit(&room, lane.path(), "file");
    assert_eq!(room.git(lane.path(), &["log", "-1", "--format=%an"]), "Of \"this\" folder and back\\slash");
    assert_eq!(room.git(lane.path(), &["status", "--porcelain"]), "");
}

#[test]
fn what_the_agent_committed_elsewhere_is_imported_and_named() {
    let (room, repo) = with_history();
    let lane = lane(&room, &repo, "one");
    let at = lane.path().to_owned();
    let prefix = "refs/agentops/salvage/r-1/one/1";
    let salvage = |of: &Lane| {
        let point = of.checkpoint(of.base(), "m", &author(), 1, &room.scratch()).unwrap();
        of.salvage(prefix, &point.commit).unwrap()
    };
    // A commit where HEAD stands is in the checkpoint.
    commit(&room, &at, "on-head");
    assert_eq!(salvage(&lane), []);
    room.git(&at, &["checkout", "-q", "-b", "attempt"]);
    let attempt = commit(&room, &at, "attempt");
    room.git(&at, &["tag", "-a", "-m", "x", "kept-tag"]);
    room.git(&at, &["checkout", "-q", "--detach", "HEAD~1"]);
    for word in ["first", "second"] {
        write(&at.join("a.txt"), word);
        room.git(&at, &["stash", "push", "-q", "-m", word]);
    }
    let stashes = [room.oid(&at, "stash@{0}"), room.oid(&at, "stash@{1}")];
    let salvaged = salvage(&lane);
    let named: Vec<_> = salvaged.iter().map(|s| (s.name.as_str(), s.commit.clone(), s.subject.as_str())).collect();
    assert_eq!(
        named,
        [
            ("refs/heads/attempt", attempt.clone(), "attempt"),
            ("stash@{0}", stashes[0].clone(), "On (no branch): second"),
            ("stash@{1}", stashes[1].clone(), "On (no branch): first"),
        ]
    );
    assert_eq!(salvage(&lane), salvaged, "a repetition gives the same");
    for commit in &salvaged {
        assert_eq!(repo.read_ref(commit.kept_as.as_ref().unwrap()).unwrap(), Some(commit.commit.clone()));
    }
    // In the next round the lane begins anew, and what is known is not named again.
    lane.reset_to(lane.base()).unwrap();
    assert_eq!(lane.salvage("refs/agentops/salvage/r-1/one/2", lane.base()).unwrap(), []);
    lanes::remove(&repo, &lane).unwrap();
    assert_eq!(repo.read_file(&attempt, "attempt").unwrap().unwrap(), b"attempt");
    assert_eq!(repo.read_file(&stashes[1], "a.txt").unwrap().unwrap(), b"first");
    room.git(repo.work_tree(), &["fsck", "--strict"]);
}

#[test]
fn p6_commits_that_only_the_reflog_leads_to_are_kept() {
    let (room, repo) = with_history();
    let lane = lane(&room, &repo, "one");
    let at = lane.path().to_owned();
    let back = || room.git(&at, &["checkout", "-q", "--detach", lane.base().as_str()]);
    commit(&room, &at, "one");
    let two = commit(&room, &at, "two");
    back();
    commit(&room, &at, "draft");
    write(&at.join("draft"), "better");
    room.git(&at, &["commit", "-qa", "--amend", "-m", "amended"]);
    let amended = room.oid(&at, "HEAD");
    room.git(&at, &["reset", "-q", "--hard", lane.base().as_str()]);
    // A rebase that stands still at a conflict.
    commit(&room, &at, "a");
    let rebased = commit(&room, &at, "b");
    back();
    write(&at.join("a"), "theirs");
    room.git(&at, &["add", "a"]);
    room.git(&at, &["commit", "-qm", "theirs"]);
    room.git(&at, &["branch", "other"]);
    room.git(&at, &["checkout", "-q", "--detach", rebased.as_str()]);
    room.try_git(&at, &["rebase", "other"]);
    assert!(lane.git_dir().join("rebase-merge").exists());

    let salvaged = lane.salvage("refs/agentops/salvage/r/one", lane.base()).unwrap();
    let of_reflog = salvaged.iter().filter(|commit| commit.name == "a reflog");
    let kept: std::collections::BTreeSet<_> =
        of_reflog.map(|commit| (commit.commit.clone(), commit.kept_as.is_some())).collect();
    assert_eq!(kept, [two, amended].map(|commit| (commit, true)).into(), "{salvaged:?}");
    let before_rebase = salvaged.iter().find(|commit| commit.name == "rebase-merge/orig-head").unwrap();
    assert!(before_rebase.commit == rebased && before_rebase.kept_as.is_some(), "{salvaged:?}");
}

/// Git takes any bytes as a name.
#[test]
fn p6_a_commit_on_a_branch_whose_name_is_no_utf_8_is_kept() {
    for packed in [false, true] {
        let (room, repo) = with_history();
        let lane = lane(&room, &repo, "one");
        let made = commit(&room, lane.path(), "latin");
        let name: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(b"refs/heads/caf\xe9");
        write(&lane.git_dir().join(name), format!("{made}\n"));
        room.git(lane.path(), &["checkout", "-q", "--detach", lane.base().as_str()]);
        if packed {
            room.git(lane.path(), &["pack-refs", "--all"]);
        }
        let salvaged = lane.salvage("refs/agentops/salvage/r/one", lane.base()).unwrap();
        let [kept] = &salvaged[..] else { panic!("{salvaged:?}") };
        assert_eq!(kept.name, "refs/heads/caf\u{fffd}");
        assert_eq!(room.oid(repo.work_tree(), kept.kept_as.as_deref().unwrap()), made);
    }
}

#[test]
fn p6_no_commit_of_many_is_lost_beside_broken_ones() {
    let (room, repo) = with_history();
    let lane = lane(&room, &repo, "one");
    let at = lane.path().to_owned();
    let tree = format!("{}^{{tree}}", commit(&room, &at, "other"));
    let make = |name: &str, parent: &str| {
        let args = ["commit-tree", "-p", parent, "-m", name, &tree];
        let made = room.git(&at, &args).parse::<Oid>().unwrap();
        write(&lane.git_dir().join("refs/heads").join(name), format!("{made}\n"));
        made
    };
    for number in 0..60 {
        make(&format!("many-{number:02}"), lane.base().as_str());
    }
    room.git(&at, &["tag", "-a", "-m", "x", "a-file", "HEAD:other"]);
    // History is missing below one of them, and your repository has a ref whose commit is gone.
    let gone = make("gone", lane.base().as_str());
    make("below", gone.as_str());
    fs::remove_file(lane.git_dir().join("refs/heads/gone")).unwrap();
    fs::remove_file(lane.git_dir().join("objects").join(&gone.as_str()[..2]).join(&gone.as_str()[2..])).unwrap();
    write(&repo.common_dir().join("refs/heads/broken"), format!("{gone}\n"));
    room.git(&at, &["checkout", "-q", "--detach", lane.base().as_str()]);

    let salvaged = lane.salvage("refs/agentops/salvage/r/one", lane.base()).unwrap();
    let named: Vec<_> = salvaged.iter().map(|commit| commit.name.as_str()).collect();
    assert_eq!(named.len(), 62);
    assert_eq!(named.iter().filter(|name| **name == "a reflog").count(), 1, "the commit that the tree is from");
    assert_eq!(named.iter().filter(|name| name.contains("/many-")).count(), 60, "{named:?}");
    let has_its_subject = |commit: &agentops_git::SalvagedCommit| match commit.name.strip_prefix("refs/heads/") {
        Some(branch) => commit.subject == branch,
        None => commit.subject == "other",
    };
    assert!(salvaged.iter().all(has_its_subject), "{salvaged:?}");
    // What is beyond the bound is named, and so is the one that cannot be read.
    assert_eq!(salvaged.iter().filter(|commit| commit.kept_as.is_some()).count(), 49);
    let below = salvaged.iter().find(|commit| commit.name == "refs/heads/below").unwrap();
    assert_eq!(below.kept_as, None);
    assert_eq!(lane.salvage("refs/agentops/salvage/r/one", lane.base()).unwrap(), salvaged);
}

#[test]
fn s3_commits_are_imported_from_the_lane_and_from_nowhere_else() {
    let (room, repo) = Room::with_repo();
    room.git(&room.path(""), &["init", "-q", "private"]);
    for (key, value) in [("user.name", "x"), ("user.email", "x@y")] {
        room.git(&room.path("private"), &["config", key, value]);
    }
    let secret = commit(&room, &room.path("private"), "secret");
    let theirs = room.path("private/.git/objects");
    let in_repo = |oid: &Oid| room.try_git(repo.work_tree(), &["cat-file", "-e", oid.as_str()]).0;
    for way in ["alternates", "objects", "folder", "pack"] {
        let lane = lane(&room, &repo, way);
        let objects = lane.git_dir().join("objects");
        write(&lane.git_dir().join("refs/heads/stolen"), format!("{secret}\n"));
        match way {
            "alternates" => fs::write(objects.join("info/alternates"), theirs.to_str().unwrap()).unwrap(),
            "objects" => {
                fs::remove_dir_all(&objects).unwrap();
                symlink(&theirs, &objects).unwrap();
            }
            "folder" => {
                let folder = &secret.as_str()[..2];
                let _ = fs::remove_dir_all(objects.join(folder));
                symlink(theirs.join(folder), objects.join(folder)).unwrap();
            }
            _ => {
                room.git(&room.path("private"), &["gc", "-q"]);
                for entry in fs::read_dir(theirs.join("pack")).unwrap().flatten() {
                    symlink(entry.path(), objects.join("pack").join(entry.file_name())).unwrap();
                }
            }
        }
        let salvaged = lane.salvage(&format!("refs/agentops/salvage/r/{way}"), lane.base()).unwrap();
        let named: Vec<_> = salvaged.iter().map(|s| (s.name.as_str(), s.kept_as.clone())).collect();
        assert_eq!(named, [("refs/heads/stolen", None)], "{way}");
        assert!(!in_repo(&secret), "{way}");
        assert!(!theirs.join("info/alternates").exists(), "{way}: nothing is written through a link");
        lanes::remove(&repo, &lane).unwrap();
    }
    assert!(theirs.join("pack").exists());
}

#[test]
fn a_damaged_lane_still_gives_its_files() {
    let (room, repo) = Room::with_repo();
    for (n, damage) in ["objects", "refs", ".git", "HEAD", "half the history"].into_iter().enumerate() {
        // No commit is the same as one that an earlier round imported.
        let named = |name: &str| format!("{name}-{n}");
        let lane = lane(&room, &repo, "one");
        let at = lane.path();
        let first = commit(&room, at, &named("first"));
        room.git(at, &["branch", "side"]);
        commit(&room, at, &named("second"));
        room.git(at, &["checkout", "-q", "side"]);
        let second = commit(&room, at, &named("third"));
        room.git(at, &["checkout", "-q", "--detach", "side~1"]);
        write(&at.join("a.txt"), "by the agent\n");
        match damage {
            ".git" => fs::remove_dir_all(lane.git_dir()).unwrap(),
            "HEAD" => fs::write(lane.git_dir().join("HEAD"), "\0nonsense").unwrap(),
            "half the history" => {
                let (folder, file) = first.as_str().split_at(2);
                fs::remove_file(lane.git_dir().join("objects").join(folder).join(file)).unwrap();
            }
            folder => fs::remove_dir_all(lane.git_dir().join(folder)).unwrap(),
        }
        let lane = lanes::open(&repo, at).unwrap();
        let point = lane.checkpoint(lane.base(), "m", &author(), 1, &room.scratch()).unwrap();
        assert_eq!(repo.read_file(&point.commit, "a.txt").unwrap().unwrap(), b"by the agent\n", "{damage}");
        assert_eq!(repo.read_file(&point.commit, named("first")).unwrap().unwrap(), named("first").as_bytes(), "{damage}");
        let salvaged = lane.salvage("refs/agentops/salvage/r/one", &point.commit).unwrap();
        let lost: Vec<_> = salvaged.iter().map(|s| (s.commit == second, s.kept_as.is_some())).collect();
        let expected: &[(bool, bool)] = match damage {
            // Nobody knows whether the commit of `HEAD` had files that are not in the lane.
            "objects" => &[(false, false), (true, false)],
            "half the history" => &[(false, false), (true, false), (false, false)],
            // The reflog of `HEAD` has what no ref names.
            "refs" => &[(false, true), (true, true)],
            // With what `HEAD` stood on.
            "HEAD" => &[(true, true), (false, true), (false, true)],
            _ => &[],
        };
        assert_eq!(lost, expected, "{damage}");
        lane.reset_to(&point.commit).unwrap();
        room.git(at, &["status"]);
        assert_eq!(room.oid(at, "HEAD"), point.commit);
        lanes::remove(&repo, &lane).unwrap();
        for (name, oid) in repo.list_refs("refs/agentops").unwrap() {
            repo.delete_ref(&name, &Expect::Is(oid)).unwrap();
        }
    }
}

#[test]
fn r11_a_lane_that_was_damaged_from_outside_is_made_again() {
    let (room, repo) = Room::with_repo();
    let records = repo.common_dir().join("agentops");
    let work = |lane: &Lane| {
        write(&lane.path().join("work"), "by the agent");
        commit(&room, lane.path(), "committed");
        lane.checkpoint(lane.base(), "m", &author(), 1, &room.scratch()).unwrap().commit
    };
    let restore = |at: &Path, base: &Oid, point: &Oid| lanes::restore(&repo, at, base, point, "one");
    let holds_the_work = |lane: &Lane, point: &Oid| {
        let again = lane.checkpoint(lane.base(), "m", &author(), 1, &room.scratch()).unwrap();
        assert_eq!(again.tree, repo.tree_of(point).unwrap());
        lanes::remove(&repo, lane).unwrap();
        assert!(repo.list_refs("refs/agentops/lanes").unwrap().is_empty());
    };

    let first = lane(&room, &repo, "one");
    let (at, base) = (first.path().to_owned(), first.base().clone());
    let point = work(&first);
    repo.update_ref("refs/agentops/point", &point, &Expect::Absent).unwrap();
    assert_eq!(restore(&at, &base, &point).unwrap().1, Restored::Whole);
    // The folder was deleted.
    fs::remove_dir_all(&at).unwrap();
    let (made, how) = restore(&at, &base, &point).unwrap();
    assert_eq!((how, room.oid(&at, "HEAD")), (Restored::FromCommit, point.clone()));
    assert_eq!(made.base(), &base);
    holds_the_work(&made, &point);
    // The records were removed: what lies in the folder is newer than any checkpoint, and it keeps the agent's commits.
    let second = lane(&room, &repo, "one");
    work(&second);
    let head = room.oid(&at, "HEAD");
    fs::remove_dir_all(&records).unwrap();
    let (made, how) = restore(&at, &base, &base).unwrap();
    assert_eq!((how, room.oid(&at, "HEAD")), (Restored::FilesKept, head));
    lane(&room, &repo, "other");
    assert!(at.join("work").exists(), "an adopted lane is nobody's leftover");
    lanes::discard(&repo, &room.path("lanes/other"), "other").unwrap();
    holds_the_work(&made, &point);
    // The state folder was moved.
    let third = lane(&room, &repo, "one");
    work(&third);
    fs::rename(room.path("lanes"), room.path("moved")).unwrap();
    let (made, how) = restore(&room.path("moved/one"), &base, &point).unwrap();
    assert_eq!(how, Restored::FilesKept);
    holds_the_work(&made, &point);
    // Nothing is left of it.
    let missing = "1".repeat(40).parse().unwrap();
    assert!(matches!(restore(&at, &base, &missing), Err(Error::CommitGone { .. })));
}
