//! R9: a repository has one supervisor, by whatever path it is reached; an older one that wakes up can write nothing.

use std::io::Write;
use std::process::Stdio;

use agentops_engine::ledger::Ledger;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::room::{Ran, Room, close_out, marked, scripted};

/// A run whose session stops at a named pipe until the test has opened it.
pub fn held(room: &Room) -> (String, std::fs::File) {
    let pipe = room.pipe("hold");
    let script = json!([
        { "when": "lane `implement`", "steps": [
            { "do": "call", "usage": 20000 },
            { "do": "run", "argv": ["cat", pipe] },
            { "do": "call", "usage": 22000 },
            { "do": "write", "path": "done.txt", "content": "done\n" }
        ] },
        { "when": "lane `close-out`", "steps": [
            { "do": "call", "usage": 9000 }, { "do": "out", "file": "close-out.json", "content": close_out("done.txt") }
        ] }
    ]);
    let run = room.detach(&scripted(room, "quick", script));
    // Opening it waits for the session to read.
    let hold = std::fs::File::options().write(true).open(&pipe).unwrap();
    (run, hold)
}

#[test]
fn r9_a_second_supervisor_refuses_and_names_the_first_by_every_path() {
    let room = Room::new();
    let (link, tree) = (room.root().join("link"), room.root().join("tree"));
    std::os::unix::fs::symlink(room.repo(), &link).unwrap();
    room.git(&["worktree", "add", "--quiet", tree.to_str().unwrap()]);
    let (run, hold) = held(&room);
    let first = room.supervisor().unwrap();
    for path in [room.repo(), link, tree] {
        let path = path.to_str().unwrap();
        let second = room.run(&["supervise", "--repo", path]).expect(1);
        let words = format!("another supervisor (process {first}) owns this repository");
        assert!(second.stderr.contains(&words), "{second:?}");
        let status = room.run(&["status", "--repo", path, "--json"]).expect(0).json();
        assert_eq!(status["supervisor"], first.to_string().as_str());
        assert_eq!((&status["runs"][0]["run"], &status["runs"][0]["status"]), (&json!(run), &json!("running")));
    }
    drop(hold);
    room.run(&["resume", &run, "--json"]).expect(0);
}

#[test]
fn r9_of_many_that_start_at_once_one_stays() {
    let room = Room::new();
    let start = || room.command(&["supervise"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let all = [start(), start(), start(), start(), start(), start()];
    let all = all.map(|one| Ran::of(&one.wait_with_output().unwrap()));
    // The last to start may come when the first has ended; what counts is that nobody shared the repository.
    assert!(all.iter().any(|one| one.code == 0), "{all:?}");
    for one in all.iter().filter(|one| one.code != 0) {
        assert!(one.stderr.contains("owns this repository"), "{one:?}");
    }
}

#[test]
fn r9_a_supervisor_that_was_taken_over_from_writes_nothing_and_ends() {
    let room = Room::new();
    let (run, mut hold) = held(&room);
    let first = Pid::from_raw(room.supervisor().unwrap()).unwrap();
    kill_process(first, Signal::STOP).unwrap();
    drop(Ledger::open(&room.private("ledger.db").unwrap()).unwrap());
    let before = room.entries(&run);
    // Nobody waits at the pipe any more when the session is repeated.
    room.release("hold");
    hold.write_all(b"go on\n").unwrap();
    drop(hold);
    kill_process(first, Signal::CONT).unwrap();
    room.await_supervisor();
    assert_eq!(room.entries(&run), before, "the older one wrote");
    let log = std::fs::read_to_string(room.private("supervisor.log").unwrap()).unwrap();
    assert!(log.contains("another supervisor took this repository over"), "{log}");

    let view = room.run(&["resume", &run, "--json"]).expect(0).json();
    let sessions = view["phases"][0]["lanes"][0]["sessions"].as_array().unwrap();
    let ends: Vec<_> = sessions.iter().map(|session| session["end"].as_str().unwrap()).collect();
    assert_eq!(ends, ["interrupted", "completed"]);
    assert_eq!(view["takeovers"], 1);
    assert_eq!(marked(&room), []);
}
