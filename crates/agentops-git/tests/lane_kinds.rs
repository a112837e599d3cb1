//! Lanes of every kind of repository, used by every git that is installed here.

mod room;

use std::fs;
use std::path::Path;

use agentops_git::{Git, Repo, lanes};
use room::{Room, author, write};

/// The gits of this machine as an agent would start them: the one on `PATH`, and the system's own if it is another.
fn gits(room: &Room) -> Vec<&'static str> {
    let version = |program| room.by(program, &room.path(""), &["--version"]).1;
    let mut gits = vec!["git"];
    if Path::new("/usr/bin/git").exists() && version("/usr/bin/git") != version("git") {
        gits.push("/usr/bin/git");
    }
    gits
}

/// An agent does in a lane what it would do in a clone, with each git; then the lane is checkpointed, salvaged and removed.
fn use_lanes(room: &Room, repo: &Repo, what: &str) {
    for program in gits(room) {
        let base = repo.head().unwrap().commit;
        let lane = lanes::create(repo, &room.path("lanes/one"), &base, "one").unwrap();
        let at = lane.path().to_owned();
        let agent = |args: &[&str]| {
            let (ok, text) = room.by(program, &at, args);
            assert!(ok, "{what}: {program} {args:?}: {text}");
            text
        };
        for (key, value) in [("user.name", "Agent"), ("user.email", "agent@localhost")] {
            agent(&["config", key, value]);
        }
        assert_eq!(agent(&["status", "--porcelain"]), "");
        assert_eq!(agent(&["rev-parse", "HEAD"]), base.as_str());
        write(&at.join("work"), program);
        agent(&["add", "work"]);
        agent(&["commit", "-qm", "work"]);
        agent(&["checkout", "-q", "-b", "side"]);
        write(&at.join("side"), program);
        agent(&["add", "side"]);
        agent(&["commit", "-qm", "side"]);
        agent(&["checkout", "-q", "--detach", "HEAD~1"]);
        write(&at.join("a.txt"), program);
        agent(&["stash", "-q"]);
        agent(&["log", "--all", "--oneline"]);
        agent(&["merge", "-q", "--no-ff", "-m", "merged", "side"]);
        agent(&["reset", "-q", "--hard", "HEAD~1"]);
        agent(&["gc", "-q", "--prune=now"]);
        agent(&["fsck", "--strict"]);
        let point = lane.checkpoint(&base, "m", &author(), 1, &room.scratch()).unwrap();
        assert_eq!(repo.read_file(&point.commit, "work").unwrap().unwrap(), program.as_bytes());
        let salvaged = lane.salvage("refs/agentops/salvage/r/one", &point.commit).unwrap();
        let named: Vec<_> = salvaged.iter().map(|s| (s.name.as_str(), s.kept_as.is_some())).collect();
        // The merge was taken back by a reset.
        let expected = [("refs/heads/side", true), ("stash@{0}", true), ("a reflog", true)];
        assert_eq!(named, expected, "{what} {program}");
        lane.reset_to(&point.commit).unwrap();
        assert_eq!(agent(&["status", "--porcelain"]), "");
        assert_eq!(agent(&["rev-parse", "HEAD"]), point.commit.as_str());
        lanes::remove(repo, &lane).unwrap();
        assert_eq!(repo.read_file(&salvaged[0].commit, "side").unwrap().unwrap(), program.as_bytes());
        room.git(repo.work_tree(), &["fsck"]);
    }
}

#[test]
fn lanes_of_every_object_and_ref_format() {
    for init in [&[][..], &["--object-format=sha256"], &["--ref-format=reftable"]] {
        let (room, repo) = Room::with_repo_of(init);
        room.git(repo.work_tree(), &["tag", "-a", "-m", "x", "v1"]);
        room.git(repo.work_tree(), &["branch", "merged"]);
        let lane = lanes::create(&repo, &room.path("lanes/look"), &repo.head().unwrap().commit, "look").unwrap();
        let refs = room.git(lane.path(), &["for-each-ref", "--format=%(refname)"]);
        assert_eq!(refs, "refs/heads/main\nrefs/heads/merged\nrefs/tags/v1", "{init:?}");
        lanes::remove(&repo, &lane).unwrap();
        use_lanes(&room, &repo, &format!("{init:?}"));
    }
}

/// A clone of a repository with some history.
fn cloned(args: &[&str]) -> (Room, Repo) {
    let (room, repo) = Room::with_repo();
    let at = repo.work_tree();
    for n in 0..4 {
        write(&at.join("a.txt"), format!("version {n}\n"));
        room.git(at, &["commit", "-qam", &format!("version {n}")]);
    }
    room.git(at, &["config", "uploadpack.allowFilter", "true"]);
    // Objects can be borrowed from a path and not from an address.
    let scheme = if args.contains(&"--shared") { "" } else { "file://" };
    let origin = format!("{scheme}{}", at.display());
    let mut all = vec!["clone", "-q"];
    all.extend(args);
    let (ok, text) = room.by("git", &room.path(""), &[&all[..], &[&origin, "mine"]].concat());
    assert!(ok, "{text}");
    let mine = Repo::discover(&Git::find().unwrap(), &room.path("mine")).unwrap();
    (room, mine)
}

#[test]
fn lanes_of_a_shallow_clone() {
    let (room, repo) = cloned(&["--depth=2"]);
    use_lanes(&room, &repo, "shallow");
    let lane = lanes::create(&repo, &room.path("lanes/two"), &repo.head().unwrap().commit, "two").unwrap();
    assert_eq!(room.git(lane.path(), &["rev-list", "--count", "HEAD"]), "2");
    lanes::remove(&repo, &lane).unwrap();
}

#[test]
fn lanes_of_a_partial_clone() {
    let (room, repo) = cloned(&["--filter=blob:none"]);
    use_lanes(&room, &repo, "partial");
    // What the clone left out is fetched by the agent's own git, into the lane.
    let lane = lanes::create(&repo, &room.path("lanes/two"), &repo.head().unwrap().commit, "two").unwrap();
    let old = repo.resolve("HEAD~2").unwrap();
    assert_eq!(room.git(lane.path(), &["show", &format!("{old}:a.txt")]), "version 1");
    lanes::remove(&repo, &lane).unwrap();
}

#[test]
fn lanes_of_a_clone_that_borrows_objects_itself() {
    let (room, repo) = cloned(&["--shared"]);
    let alternates = repo.common_dir().join("objects/info/alternates");
    fs::write(&alternates, "../../../repo/.git/objects\n").unwrap();
    use_lanes(&room, &repo, "borrowed");
}
