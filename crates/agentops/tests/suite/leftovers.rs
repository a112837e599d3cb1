//! What killed processes leave behind: the next command or supervisor removes it, and nothing that a living process uses.

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::once::held;
use crate::room::{Room, pids, quick_script, refs, scripted};

/// A room with a temporary folder of its own.
fn room_with_tmp() -> (Room, PathBuf) {
    let mut room = Room::new();
    room.own_temporary();
    let tmp = room.temporary();
    (room, tmp)
}

/// Names in a folder, but for those of the supervisor that runs now.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn private(room: &Room, path: &str) -> PathBuf {
    room.private(path).unwrap()
}

#[test]
fn p5_what_a_killed_supervisor_leaves_the_next_one_removes() {
    let (room, tmp) = room_with_tmp();
    let (run, hold) = held(&room);
    room.kill_supervisor();
    assert_eq!(names(&private(&room, "scratch")).len(), 1, "the killed session has a folder");
    assert_eq!(names(&tmp).len(), 1, "the killed supervisor has a folder");
    // What other moments leave: a blob, a cache and a small file half written, a socket half taken away, an empty lane folder.
    let of_a_moment = [
        "blobs/.part-0123456789abcdef",
        "scratch/probe.4242",
        "routing.4242.part",
        ".routing-0123456789abcdef",
        "repository.part",
        ".repository-0123456789abcdef",
    ];
    let old_blob = format!("blobs/{}.4242.0.part", "0".repeat(64));
    let planted: Vec<PathBuf> =
        of_a_moment.iter().copied().chain([old_blob.as_str()]).map(|path| private(&room, path)).collect();
    planted.iter().for_each(|path| std::fs::write(path, "half").unwrap());
    let record = std::fs::read_dir(room.repo().join(".git/agentops/lanes")).unwrap().next().unwrap().unwrap().path();
    let kept = room.repo().join(".git/agentops/kept");
    std::fs::create_dir_all(&kept).unwrap();
    let ours = [room.repo().join(".git/agentops"), kept, record].map(|folder| folder.join(".tmp0123456789abcdef"));
    ours.iter().for_each(|path| std::fs::write(path, "half").unwrap());
    let listener = std::os::unix::net::UnixListener::bind(private(&room, "supervisor.end"));
    drop(listener);
    std::fs::create_dir_all(private(&room, "lanes/r-zzzzzz")).unwrap();
    // Nobody waits at the pipe any more when the session is repeated.
    room.release("hold");
    drop(hold);

    room.run(&["resume", &run, "--json"]).expect(0);
    assert_eq!(names(&private(&room, "scratch")), Vec::<String>::new());
    assert_eq!(names(&private(&room, "lanes")), Vec::<String>::new());
    assert!(!planted.iter().chain(&ours).any(|path| path.exists()));
    assert!(!private(&room, "supervisor.end").exists());
    room.kill_supervisor();
    room.run(&["supervise"]).expect(0);
    assert_eq!(names(&tmp), Vec::<String>::new());
}

#[test]
fn p5_a_blob_that_a_killed_supervisor_was_writing_is_removed() {
    let (room, _tmp) = room_with_tmp();
    let args = scripted(&room, "quick", quick_script());
    let all = room.root().join("boundaries");
    let killed = room.command(&refs(&args)).env("AGENTOPS_CRASH_LOG", &all).env("AGENTOPS_CRASH_AT", "3").output().unwrap();
    let passed = std::fs::read_to_string(&all).unwrap();
    assert_eq!(passed.lines().nth(2), Some("blob-before-rename"), "{passed}{killed:?}");
    let parts = || names(&private(&room, "blobs")).into_iter().filter(|name| name.starts_with('.')).count();
    // The client starts another supervisor, which may be the one that removed it already.
    room.run(&refs(&args)).expect(0);
    assert_eq!(parts(), 0);
}

#[test]
fn p5_what_a_killed_command_leaves_the_next_one_removes() {
    let (room, tmp) = room_with_tmp();
    let (_run, _hold) = held(&room);
    let of_the_supervisor = names(&tmp);
    std::fs::create_dir(tmp.join("agentops-git-0123456789abcdef")).unwrap();
    room.run(&["status"]).expect(0);
    assert_eq!(names(&tmp), of_the_supervisor);
    assert_eq!(of_the_supervisor.len(), 1);
}

#[test]
fn p5_a_killed_dry_run_leaves_nothing_after_the_next_one() {
    let room = Room::new();
    let left = room.state().join("dry-run/4242");
    std::fs::create_dir_all(&left).unwrap();
    std::fs::write(left.join("blob"), "half").unwrap();
    let dry = room.run(&["run", "write done.txt", "--workflow=quick", "--driver=scripted", "--dry-run", "--json"]).expect(0);
    assert_eq!(dry.json()["trusted"], json!(false));
    assert_eq!(names(&room.state().join("dry-run")), Vec::<String>::new());
}

/// Starts a demo and waits until its first session has begun.
fn demo_at_work(room: &Room) -> std::process::Child {
    use std::io::BufRead;
    let mut demo = room.command_of_a_terminal(&["demo"]);
    let mut demo = demo.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let mut lines = std::io::BufReader::new(demo.stderr.as_mut().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains(" started (")), "no session began");
    demo
}

#[test]
fn p5_a_demo_that_is_ended_leaves_nothing_and_one_that_is_killed_until_the_next() {
    use rustix::process::{Pid, Signal, kill_process};
    let (room, tmp) = room_with_tmp();
    let demos = || names(&tmp).into_iter().filter(|name| name.starts_with("agentops-demo")).collect::<Vec<_>>();
    let works_there = |pid: &i32| {
        let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&arguments).contains(&*tmp.to_string_lossy())
    };
    let nobody_works_there = || {
        // A keeper that was told to end is gone a moment later.
        let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while pids().any(|pid| works_there(&pid)) {
            assert!(std::time::Instant::now() < until, "somebody still works in {}", tmp.display());
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    };
    let end = |mut demo: std::process::Child, signal: Signal| {
        kill_process(Pid::from_raw(demo.id().try_into().unwrap()).unwrap(), signal).unwrap();
        demo.wait().unwrap().code()
    };
    assert_eq!(end(demo_at_work(&room), Signal::INT), Some(130));
    assert_eq!(demos(), [""; 0]);
    nobody_works_there();
    assert_eq!(end(demo_at_work(&room), Signal::KILL), None);
    let killed = demos();
    assert_eq!(killed.len(), 1);
    // What a person kept, and what another demo works in, stays.
    std::fs::create_dir(tmp.join("agentops-demo-1")).unwrap();
    let mut working = demo_at_work(&room);
    let tell = |signal| kill_process(Pid::from_raw(working.id().try_into().unwrap()).unwrap(), signal).unwrap();
    // It is not to be at its end before the next one has begun.
    tell(Signal::STOP);
    let at_work: Vec<_> = demos().into_iter().filter(|name| name != "agentops-demo-1").collect();
    assert!(at_work.len() == 1 && at_work != killed, "{at_work:?}");
    assert_eq!(end(demo_at_work(&room), Signal::HUP), Some(129));
    assert_eq!(demos(), ["agentops-demo-1".to_owned(), at_work[0].clone()]);
    tell(Signal::TERM);
    tell(Signal::CONT);
    working.wait().unwrap();
    assert_eq!(demos(), ["agentops-demo-1"]);
    nobody_works_there();
}
