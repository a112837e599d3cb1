//! Making and removing a lane is cut short after each of its steps, and whatever comes next works.
//!
//! A step that is cut short here is a panic that nothing catches before the test: like a kill, it runs none of the code that
//! would clean up, and releases the locks.

mod room;

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use agentops_git::{Lane, Repo, lanes};
use room::{Room, author, write};

thread_local! {
    /// Steps until the cut; none: no cut.
    static LEFT: Cell<Option<usize>> = const { Cell::new(None) };
    static LAST: Cell<&'static str> = const { Cell::new("") };
}

fn step(name: &'static str) {
    LAST.set(name);
    if let Some(left) = LEFT.get() {
        LEFT.set(left.checked_sub(1));
        if left == 0 {
            resume_unwind(Box::new("cut"));
        }
    }
}

/// Does it and stops after step `n`; false when it was done before.
fn cut(n: usize, work: impl FnOnce()) -> bool {
    agentops_git::on_boundary(step);
    LEFT.set(Some(n));
    let done = catch_unwind(AssertUnwindSafe(work)).is_ok();
    LEFT.set(None);
    !done
}

fn make(room: &Room, repo: &Repo, name: &str) -> Lane {
    lanes::create(repo, &room.path("lanes").join(name), &repo.head().unwrap().commit, name).unwrap()
}

/// A complete lane with the files of its base and nothing else.
fn is_whole(room: &Room, repo: &Repo, lane: &Lane) {
    let at = lane.path();
    assert_eq!(room.git(at, &["status", "--porcelain"]), "");
    assert_eq!(room.oid(at, "HEAD"), *lane.base());
    let point = lane.checkpoint(lane.base(), "m", &author(), 1, &room.scratch()).unwrap();
    assert_eq!(point.commit, *lane.base());
    assert_eq!(repo.list_refs("refs/agentops/lanes").unwrap().len(), 1);
}

fn nothing_is_left(room: &Room, repo: &Repo) {
    let left = |path: &std::path::Path| path.read_dir().map(|entries| entries.count()).unwrap_or(0);
    assert_eq!(left(&room.path("lanes")), 0);
    assert_eq!(left(&repo.common_dir().join("agentops/lanes")), 0);
    assert!(repo.list_refs("refs/agentops").unwrap().is_empty());
}

#[test]
fn p5_a_lane_whose_making_or_removal_was_cut_short_is_made_again_or_removed() {
    let (room, repo) = Room::with_repo();
    let path = room.path("lanes/one");
    let mut passed = Vec::new();
    for removing in [false, true] {
        for n in 0.. {
            let again: [(&str, &dyn Fn()); 3] = [
                ("create", &|| is_whole(&room, &repo, &make(&room, &repo, "one"))),
                ("discard", &|| lanes::discard(&repo, &path, "one").unwrap()),
                ("another", &|| {
                    let other = make(&room, &repo, "other");
                    lanes::remove(&repo, &other).unwrap();
                }),
            ];
            let mut was_cut = true;
            for (name, next) in again {
                was_cut = if removing {
                    let lane = make(&room, &repo, "one");
                    write(&lane.path().join("deep/file"), "x");
                    cut(n, || lanes::remove(&repo, &lane).unwrap())
                } else {
                    cut(n, || drop(make(&room, &repo, "one")))
                };
                if !was_cut && !removing {
                    // A complete lane is nobody's leftover.
                    lanes::discard(&repo, &path, "one").unwrap();
                    continue;
                }
                passed.push(LAST.get());
                let at = LAST.get();
                let tried = catch_unwind(AssertUnwindSafe(|| {
                    next();
                    if name == "another" && !removing && at == "lane-ready" {
                        assert!(path.exists(), "a complete lane is nobody's leftover");
                    }
                    lanes::discard(&repo, &path, "one").unwrap();
                    nothing_is_left(&room, &repo);
                }));
                assert!(tried.is_ok(), "{name} after {at}");
            }
            if !was_cut {
                break;
            }
        }
    }
    for step in [
        "lane-recorded",
        "lane-protected",
        "lane-repository-built",
        "lane-files-written",
        "lane-ready",
        "lane-not-ready",
        "lane-files-removed",
        "lane-released",
        "lane-record-removed",
    ] {
        assert!(passed.contains(&step), "{step}: {passed:?}");
    }
}
