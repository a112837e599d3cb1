//! Partial clones: what is missing is named, and fetched only on request.

mod room;

use std::path::PathBuf;

use agentops_git::{Error, Git, MergeResult, Need, Oid, Repo, lanes};
use room::{Room, author, write};

/// A repository with history, and a clone of it that has commits, and trees and files only as far as `filter` says.
fn partial(filter: &str) -> (Room, Repo, PathBuf) {
    let (room, origin) = Room::with_repo();
    let origin = origin.work_tree().to_owned();
    let commit = |files: &[(&str, &str)], message: &str| {
        for (path, text) in files {
            write(&origin.join(path), text);
        }
        room.git(&origin, &["add", "-A"]);
        room.git(&origin, &["commit", "-q", "-m", message]);
    };
    let lines = "line\n".repeat(40);
    let moved = "moved\n".repeat(40);
    commit(&[("shared.txt", &lines), ("old name.txt", &moved), ("deep/er/file", "x\n")], "base");
    room.git(&origin, &["branch", "side"]);
    commit(&[("shared.txt", &format!("{lines}ours\n")), ("only-ours.txt", "a\n")], "ours");
    room.git(&origin, &["checkout", "-q", "side"]);
    room.git(&origin, &["mv", "old name.txt", "new name.txt"]);
    commit(
        &[
            ("shared.txt", &format!("theirs\n{lines}")),
            ("only-theirs.txt", "b\n"),
            ("deep/er/file", "y\n"),
            (".gitattributes", "*.x binary\n"),
        ],
        "theirs",
    );
    room.git(&origin, &["config", "uploadpack.allowFilter", "true"]);
    room.git(&origin, &["config", "uploadpack.allowAnySHA1InWant", "true"]);
    let url = format!("file://{}", origin.display());
    let at = room.path("clone");
    room.git(&room.path(""), &["clone", "-q", "--no-checkout", filter, "--branch=main", &url, &at.to_string_lossy()]);
    room.git(&at, &["sparse-checkout", "set", "--no-cone", "/a.txt"]);
    room.git(&at, &["checkout", "-q", "main"]);
    let repo = Repo::discover(&Git::find().unwrap(), &at).unwrap();
    (room, repo, origin)
}

fn commits(repo: &Repo) -> (Oid, Oid) {
    (repo.resolve("origin/main").unwrap(), repo.resolve("origin/side").unwrap())
}

#[test]
fn a_merge_in_a_partial_clone_gives_what_git_gives() {
    for filter in ["--filter=blob:none", "--filter=tree:0"] {
        let (room, repo, _) = partial(filter);
        let (ours, theirs) = commits(&repo);
        let Err(refused) = repo.merge(&ours, &theirs, None) else { panic!("{filter}: nothing was missing") };
        assert!(matches!(&refused, Error::ObjectsMissing { count, .. } if *count > 0), "{filter}: {refused}");
        assert!(repo.lacks(Need::Merge(&ours, &theirs)).unwrap());
        let fetched = repo.fetch_missing(Need::Merge(&ours, &theirs)).unwrap();
        assert!(fetched > 0 && !repo.lacks(Need::Merge(&ours, &theirs)).unwrap());
        let MergeResult::Clean { tree } = repo.merge(&ours, &theirs, None).unwrap() else { panic!("{filter}: a conflict") };
        let by_git = room.git(repo.work_tree(), &["merge-tree", "--write-tree", ours.as_str(), theirs.as_str()]);
        assert_eq!(tree.as_str(), by_git, "{filter}");
        // Fetched is what was missing, and no ref and no other thing of the user's repository changed.
        assert_eq!(repo.fetch_missing(Need::Merge(&ours, &theirs)).unwrap(), 0);
        assert!(!repo.git_dir().join("FETCH_HEAD").exists(), "{filter}");
        assert!(repo.lacks(Need::Checkout(&theirs)).unwrap() || filter == "--filter=tree:0");
    }
}

#[test]
fn lanes_and_differences_work_in_a_partial_clone_when_its_objects_were_fetched() {
    for filter in ["--filter=blob:none", "--filter=tree:0"] {
        let (room, repo, _) = partial(filter);
        let (ours, theirs) = commits(&repo);
        for refused in [repo.diff(&ours, &theirs).map(drop), repo.patch(&ours, &theirs, 1 << 20).map(drop)] {
            let refused = refused.unwrap_err();
            assert!(refused.to_string().contains("git diff --numstat"), "{filter}: {refused}");
        }
        repo.fetch_missing(Need::Difference(&ours, &theirs)).unwrap();
        assert_eq!(repo.diff(&ours, &theirs).unwrap().files.len(), 7, "{filter}");
        assert!(!repo.patch(&ours, &theirs, 1 << 20).unwrap().is_empty());
        repo.fetch_missing(Need::Checkout(&ours)).unwrap();
        let lane = lanes::create(&repo, &room.path("lanes/one"), &ours, "one").unwrap();
        assert!(lane.path().join("deep/er/file").exists() && lane.path().join("only-ours.txt").exists());
        write(&lane.path().join("a.txt"), "changed");
        let point = lane.checkpoint(&ours, "work", &author(), 1, &room.scratch()).unwrap();
        let changed: Vec<_> = point.changed.iter().map(|file| file.path.display().to_string()).collect();
        assert_eq!(changed, ["a.txt"], "{filter}");
        lane.reset_to(&ours).unwrap();
        repo.fetch_missing(Need::Merge(&point.commit, &theirs)).unwrap();
        assert!(matches!(repo.merge(&point.commit, &theirs, None).unwrap(), MergeResult::Clean { .. }));
        lanes::remove(&repo, &lane).unwrap();
    }
}

#[test]
fn s1_a_fetch_of_missing_objects_starts_no_hook_and_no_program_of_an_address() {
    let (room, repo, _) = partial("--filter=blob:none");
    let (ours, theirs) = commits(&repo);
    let trace = room.path("ran");
    let hook = format!("#!/bin/sh\necho ran >> '{}'\n", trace.display());
    for name in ["post-checkout", "reference-transaction", "pre-auto-gc", "post-merge"] {
        room::program(&repo.common_dir().join("hooks").join(name), &hook);
    }
    room.git(repo.work_tree(), &["config", "gc.auto", "1"]);
    repo.fetch_missing(Need::Merge(&ours, &theirs)).unwrap();
    assert!(!trace.exists());
    let program = format!("ext::sh -c 'echo ran >> {}'", trace.display());
    room.git(repo.work_tree(), &["config", "remote.origin.url", &program]);
    room.git(repo.work_tree(), &["config", "protocol.ext.allow", "always"]);
    let refused = repo.fetch_missing(Need::Checkout(&theirs)).unwrap_err();
    assert!(matches!(&refused, Error::ObjectsMissing { source: Some(_), .. }), "{refused}");
    assert!(!trace.exists());
}

#[test]
fn objects_that_a_remote_cannot_give_are_named_with_what_fetches_them() {
    let (room, repo, origin) = partial("--filter=blob:none");
    let (ours, theirs) = commits(&repo);
    std::fs::rename(&origin, room.path("away")).unwrap();
    let refused = repo.fetch_missing(Need::Checkout(&theirs)).unwrap_err();
    let Error::ObjectsMissing { count, command, source: Some(source) } = &refused else { panic!("{refused}") };
    assert!(*count > 0 && source.to_string().contains("fetch"), "{source}");
    std::fs::rename(room.path("away"), &origin).unwrap();
    let args: Vec<&str> = command.split(' ').skip(1).collect();
    room.git(repo.work_tree(), &args);
    assert!(!repo.lacks(Need::Checkout(&theirs)).unwrap());
    assert_eq!(repo.promisor().unwrap().unwrap().remote, "origin");
    // A whole clone asks nobody, whatever it lacks.
    let whole = Repo::discover(&Git::find().unwrap(), &origin).unwrap();
    assert_eq!(whole.promisor().unwrap(), None);
    assert_eq!(whole.fetch_missing(Need::Merge(&ours, &theirs)).unwrap(), 0);
}

#[test]
fn a_repository_that_becomes_a_partial_clone_is_noticed() {
    let (room, repo) = Room::with_repo();
    let at = repo.work_tree().to_owned();
    let head = repo.head().unwrap().commit;
    let blob = room.oid(&at, "HEAD:a.txt");
    let (folder, file) = blob.as_str().split_at(2);
    std::fs::remove_file(repo.common_dir().join("objects").join(folder).join(file)).unwrap();
    assert!(!repo.lacks(Need::Checkout(&head)).unwrap(), "nobody has promised it");
    for (how, set, unset) in [
        (
            "its own file",
            vec!["config", "remote.origin.promisor", "true"],
            vec!["config", "--unset", "remote.origin.promisor"],
        ),
        ("an included file", vec!["config", "include.path", "more"], vec!["config", "--unset", "include.path"]),
    ] {
        write(&repo.common_dir().join("more"), "");
        room.git(&at, &set);
        assert_eq!(repo.lacks(Need::Checkout(&head)).unwrap(), how == "its own file", "{how}");
        write(&repo.common_dir().join("more"), "[remote \"origin\"]\n\tpromisor = true\n");
        assert!(repo.lacks(Need::Checkout(&head)).unwrap(), "{how}");
        room.git(&at, &unset);
        assert!(!repo.lacks(Need::Checkout(&head)).unwrap(), "{how}");
    }
}
