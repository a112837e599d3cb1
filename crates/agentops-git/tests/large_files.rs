//! Large files. This file holds one test: it limits the memory of its whole process.

mod room;

use std::fs::File;

use agentops_git::lanes;
use room::{Room, author};
use rustix::process::{Resource, Rlimit, setrlimit};

/// What git and we may have of address space. Less than the file has bytes.
const ADDRESS_SPACE_BYTES: u64 = 400 << 20;
const FILE_BYTES: u64 = 600_000_000;

#[test]
fn r2_a_file_of_600_mb_passes_a_checkpoint_in_bounded_memory() {
    let (room, repo) = Room::with_repo();
    let other = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let base = repo.head().unwrap().commit;
    let lane = lanes::create(&repo, &other.path().join("lane"), &base, "one").unwrap();
    // A file with a hole takes no space, and git reads all of it.
    File::create(lane.path().join("large.bin")).unwrap().set_len(FILE_BYTES).unwrap();
    let limit = Some(ADDRESS_SPACE_BYTES);
    setrlimit(Resource::As, Rlimit { current: limit, maximum: limit }).unwrap();
    let point = lane.checkpoint(&base, "m", &author(), 1, &room.scratch()).unwrap();
    let changed: Vec<_> = point.changed.iter().map(|change| change.path.to_str().unwrap()).collect();
    assert_eq!((changed, point.omitted.len()), (vec!["large.bin"], 0));
    let again = lane.checkpoint(&point.commit, "m", &author(), 2, &room.scratch()).unwrap();
    assert_eq!(again.commit, point.commit);
    assert_eq!(
        room.git(repo.work_tree(), &["cat-file", "-s", &format!("{}:large.bin", point.commit)]),
        FILE_BYTES.to_string()
    );
}
