//! Refs of ours that are deleted and packed, and the user's that are not.

mod room;

use agentops_git::Expect;
use room::Room;

#[test]
fn p6_only_refs_whose_commits_the_user_has_merged_are_dropped() {
    let (room, repo) = Room::with_repo();
    let at = room.path("repo");
    let commit = |message: &str| {
        room.git(&at, &["commit", "-q", "--allow-empty", "-m", message]);
        room.oid(&at, "HEAD")
    };
    let (first, merged) = (commit("checkpoint"), commit("merged"));
    room.git(&at, &["checkout", "-q", "--detach"]);
    let aside = commit("not merged");
    room.git(&at, &["checkout", "-q", "main"]);
    let refs = ["runs/r-1/implement/1", "runs/r-1/implement/2", "results/r-1/recorded", "runs/r-10/implement/1"];
    for (name, oid) in refs.iter().zip([&first, &aside, &merged, &first]) {
        repo.update_ref(&format!("refs/agentops/{name}"), oid, &Expect::Absent).unwrap();
    }
    let prefixes = ["refs/agentops/runs/r-1/".to_owned(), "refs/agentops/results/r-1/".to_owned()];
    assert_eq!(repo.drop_merged_refs(&prefixes, &merged).unwrap(), 2);
    let left: Vec<String> = repo.list_refs("refs/agentops").unwrap().into_iter().map(|(name, _)| name).collect();
    assert_eq!(left, ["refs/agentops/runs/r-1/implement/2", "refs/agentops/runs/r-10/implement/1"]);

    // A merge that the user took back keeps everything.
    room.git(&at, &["reset", "-q", "--hard", "HEAD~2"]);
    assert_eq!(repo.drop_merged_refs(&["refs/agentops/runs/r-10/".to_owned()], &merged).unwrap(), 0);
    room.git(&at, &["branch", "agentops/r-10", merged.as_str()]);
    assert_eq!(repo.drop_merged_refs(&["refs/agentops/runs/r-10/".to_owned()], &merged).unwrap(), 0);
}

#[test]
fn p6_our_refs_are_packed_and_the_users_are_left_as_they_are() {
    let (room, repo) = Room::with_repo();
    let at = room.path("repo");
    room.git(&at, &["branch", "topic"]);
    room.git(&at, &["tag", "v1"]);
    let head = room.oid(&at, "HEAD");
    assert!(!repo.pack_our_refs().unwrap(), "there are few");
    let folder = at.join(".git/refs/agentops/runs/r-1/implement");
    std::fs::create_dir_all(&folder).unwrap();
    for number in 0..150 {
        std::fs::write(folder.join(number.to_string()), format!("{head}\n")).unwrap();
    }
    let before = repo.list_refs("refs").unwrap();
    // `-h` ends with an error of its own.
    let new_enough = room.try_git(&at, &["pack-refs", "-h"]).1.contains("--include");
    let packed = repo.pack_our_refs();
    if new_enough {
        assert!(packed.unwrap());
        assert!(!folder.exists());
        let packed = std::fs::read_to_string(at.join(".git/packed-refs")).unwrap();
        assert!(!packed.contains("refs/heads/topic") && !packed.contains("refs/tags/v1"), "{packed}");
    } else {
        assert!(!packed.unwrap(), "this git packs all refs or none");
    }
    assert!(at.join(".git/refs/heads/topic").is_file() && at.join(".git/refs/tags/v1").is_file());
    assert_eq!(repo.list_refs("refs").unwrap(), before);
}
