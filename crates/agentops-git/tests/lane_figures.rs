//! What a lane costs beside `git worktree add`. Not a check: run it with
//! `cargo test -p agentops-git --test lane_figures -- --ignored --nocapture`. `AGENTOPS_FILES` sets another number of files,
//! `AGENTOPS_KINDS=plain,sha256` chooses kinds of repositories.

mod room;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use agentops_git::{Git, Repo, lanes};
use room::{Room, author, write};

const ROUNDS: usize = 3;
const TAGS: usize = 100;

/// Bytes of the files below a folder, as the disk holds them.
fn disk_bytes(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let (mut sum, mut todo) = (0, vec![path.to_owned()]);
    while let Some(path) = todo.pop() {
        let Ok(meta) = fs::symlink_metadata(&path) else { continue };
        sum += meta.blocks() * 512;
        if meta.is_dir() {
            todo.extend(fs::read_dir(&path).unwrap().flatten().map(|entry| entry.path()));
        }
    }
    sum
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64()
}

fn fill(room: &Room, at: &Path, files: usize) {
    for n in 0..files {
        write(
            &at.join(format!("src/part-{}/file-{n}.rs", n % 500)),
            format!("// file {n}\n{}", "let x = 1;\n".repeat(n % 40)),
        );
    }
    room.git(at, &["add", "."]);
    room.git(at, &["commit", "-qm", "files"]);
    for n in 0..TAGS {
        room.git(at, &["tag", "-a", "-m", "release", &format!("v{n}")]);
    }
    room.git(at, &["pack-refs", "--all"]);
    room.git(at, &["config", "uploadpack.allowFilter", "true"]);
}

#[test]
#[ignore = "takes minutes and only prints"]
fn figures() {
    let files = std::env::var("AGENTOPS_FILES").ok().and_then(|n| n.parse().ok()).unwrap_or(50_000);
    println!("{files} files, {} annotated tags, medians of {ROUNDS}", TAGS);
    println!("repository   lane start   worktree add   checkpoint (10 of the files changed)   remove   .git of the lane");
    let kinds: [(&str, &[&str], &[&str]); 5] = [
        ("plain", &[], &[]),
        ("partial", &[], &["--filter=blob:none"]),
        ("shallow", &[], &["--depth=1"]),
        ("sha256", &["--object-format=sha256"], &[]),
        ("reftable", &["--ref-format=reftable"], &[]),
    ];
    let wanted = std::env::var("AGENTOPS_KINDS").unwrap_or_default();
    for (kind, init, clone) in kinds.into_iter().filter(|(kind, ..)| wanted.is_empty() || wanted.contains(kind)) {
        let (room, mut repo) = Room::with_repo_of(init);
        fill(&room, repo.work_tree(), files);
        if !clone.is_empty() {
            let origin = format!("file://{}", repo.work_tree().display());
            room.git(&room.path(""), &[&["clone", "-q"], clone, &[&origin, "mine"]].concat());
            repo = Repo::discover(&Git::find().unwrap(), &room.path("mine")).unwrap();
        }
        let base = repo.head().unwrap().commit;
        let (mut start, mut worktree, mut point, mut remove) = (vec![], vec![], vec![], vec![]);
        let mut bytes = 0;
        let scratch = room.scratch();
        for round in 0..ROUNDS {
            let begin = Instant::now();
            let lane = lanes::create(&repo, &room.path("lanes/one"), &base, "one").unwrap();
            start.push(begin.elapsed());
            bytes = disk_bytes(lane.git_dir());
            for n in 0..10 {
                write(&lane.path().join(format!("src/part-{n}/file-{n}.rs")), format!("changed {round}\n"));
            }
            let begin = Instant::now();
            let changed = lane.checkpoint(&base, "m", &author(), 1, &scratch).unwrap().changed;
            point.push(begin.elapsed());
            assert_eq!(changed.len(), 10);
            let begin = Instant::now();
            lanes::remove(&repo, &lane).unwrap();
            remove.push(begin.elapsed());
            let begin = Instant::now();
            room.git(repo.work_tree(), &["worktree", "add", "-q", "--detach", "../tree"]);
            worktree.push(begin.elapsed());
            room.git(repo.work_tree(), &["worktree", "remove", "--force", "../tree"]);
        }
        println!(
            "{kind:12} {:8.2} s   {:10.2} s   {:10.2} s {:>34.2} s   {:6.1} MB",
            median(start),
            median(worktree),
            median(point),
            median(remove),
            bytes as f64 / 1e6
        );
    }
}
