//! Slots: many runs at once, one user, several repositories.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use serde_json::{Value, json};

use crate::ceiling::ends;
use crate::room::{Ran, Room, quick_script, scripted};

/// Lets so many sessions and gates run at once.
fn slots(room: &Room, count: u16) {
    let folder = room.root().join("home/.config/agentops");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("config.toml"), format!("[machine]\nslots = {count}\n")).unwrap();
}

/// A room with a repository of its own and the other's user.
fn neighbour(room: &Room) -> Room {
    let mut other = Room::new();
    other.set("HOME", room.root().join("home").to_str().unwrap());
    other.set("AGENTOPS_STATE_DIR", room.state().to_str().unwrap());
    other
}

/// `quick`, whose first session says on `ready` that it runs and ends once `go` is written to.
fn met(room: &Room) -> Value {
    let mut script = quick_script();
    let (ready, go) = (room.root().join("ready"), room.root().join("go"));
    let meet = json!({ "do": "run", "argv": ["sh", "-c", format!("echo x > {}; cat {}", ready.display(), go.display())] });
    script[0]["steps"].as_array_mut().unwrap().insert(1, meet);
    script
}

/// Follows a run's log until a line holds this text.
fn await_log(room: &Room, run: &str, text: &str) {
    let mut logs = room.command(&["logs", run, "--follow", "--json"]).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(logs.stdout.take().unwrap()).lines();
    let found = lines.map_while(Result::ok).any(|line| line.contains(text));
    logs.kill().unwrap();
    logs.wait().unwrap();
    assert!(found, "no {text}: {}", room.story());
}

fn start(room: &Room, args: &[&str]) -> Child {
    room.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn p7_twelve_runs_at_once_on_two_slots_all_end_done() {
    let room = Room::new();
    slots(&room, 2);
    let (running, counts) = (room.root().join("running"), room.root().join("counts"));
    std::fs::create_dir(&running).unwrap();
    // Counted outside: every agent and gate leaves a file while it runs, and writes down how many there are.
    let enter = format!(
        "test -z $MALLOC_ARENA_MAX || exit 1; touch {0}/$$.$PPID; ls {0} | wc -l >> {1}",
        running.display(),
        counts.display()
    );
    let leave = format!("ls {0} | wc -l >> {1}; rm {0}/*.$PPID", running.display(), counts.display());
    let step = |line: &str| json!({ "do": "run", "argv": ["sh", "-c", line] });
    let mut script = quick_script();
    for conversation in script.as_array_mut().unwrap() {
        let steps = conversation["steps"].as_array_mut().unwrap();
        steps.insert(1, step(&enter));
        steps.push(step(&leave));
    }
    let gate = format!("{enter}\ntest -f done.txt; ended=$?\nrm {}/$$.$PPID\nexit $ended\n", running.display());
    room.file("check.sh", &gate);
    room.git(&["commit", "--quiet", "--all", "-m", "count"]);
    let args = scripted(&room, "quick", script);
    let runs: Vec<String> = (0..12).map(|_| room.detach(&args)).collect();
    // Its allocator gives memory back; agents keep the usual one.
    match std::fs::read_to_string(format!("/proc/{}/environ", room.supervisor().unwrap())) {
        Ok(environment) => assert!(environment.contains("MALLOC_ARENA_MAX=2"), "{environment}"),
        // It hides its environment from everyone but root.
        Err(e) => assert!(!rustix::process::getuid().is_root(), "{e}"),
    }
    for run in &runs {
        room.run(&["logs", run, "--follow"]).expect(0);
        let view = room.run(&["show", run, "--json"]).expect(0).json();
        assert_eq!(view["status"]["status"], "done", "{}", room.story());
        assert_eq!(ends(&view), ["completed"], "waiting is no failure");
    }
    let counts = std::fs::read_to_string(counts).unwrap();
    let counts: Vec<u32> = counts.lines().map(|line| line.trim().parse().unwrap()).collect();
    assert!(counts.len() >= 12 * 5, "two sessions and a gate a run: {}", counts.len());
    assert!(counts.iter().all(|count| *count <= 2), "more than two at once: {counts:?}");
    let waited = runs.iter().filter(|run| room.run(&["logs", run]).stdout.contains("slot awaited")).count();
    assert!(waited > 0, "nobody waited");
}

#[test]
fn p7_two_repositories_share_the_slots_and_a_waiting_run_can_be_cancelled_and_taken_over() {
    let room = Room::new();
    slots(&room, 1);
    let (ready, go) = (room.pipe("ready"), room.pipe("go"));
    let first = room.detach(&scripted(&room, "quick", met(&room)));
    std::fs::read(&ready).unwrap();
    let other = neighbour(&room);
    let args = scripted(&other, "quick", quick_script());
    let (second, third) = (other.detach(&args), other.detach(&args));
    await_log(&other, &second, "slot-awaited");
    await_log(&other, &third, "slot-awaited");

    let view = other.run(&["show", &second, "--json"]).expect(0).json();
    assert_eq!((&view["status"]["status"], &view["status"]["waiting"]["for"]), (&json!("waiting"), &json!("slot")));
    assert!(other.run(&["show", &second]).expect(0).stdout.contains("waits for a slot"));
    let status = other.run(&["status", "--json"]).expect(0).json();
    let queue: Vec<&str> =
        status["waiting_for_slot"].as_array().unwrap().iter().map(|waiting| waiting["run"].as_str().unwrap()).collect();
    assert_eq!(queue, [&second, &third], "{status}");
    let text = other.run(&["status"]).expect(0).stdout;
    assert!(text.contains("waiting for a slot, longest first:"), "{text}");

    other.run(&["cancel", &third]).expect(0);
    other.kill_supervisor();
    let view = other.run(&["show", &second, "--json"]).expect(0).json();
    assert_eq!(view["status"]["waiting"]["for"], "supervisor");
    let mut resumed = start(&other, &["resume", &second]);
    let said = BufReader::new(resumed.stderr.take().unwrap()).lines();
    assert!(said.map_while(Result::ok).any(|line| line.contains("waits for a slot")));

    std::fs::write(&go, "go\n").unwrap();
    let resumed = Ran::of(&resumed.wait_with_output().unwrap()).expect(0);
    let view = other.run(&["show", &second, "--json"]).expect(0).json();
    assert_eq!(ends(&view), ["completed"], "what waited was not interrupted: {resumed:?}");
    room.run(&["logs", &first, "--follow"]).expect(0);
    assert_eq!(room.run(&["show", &first, "--json"]).expect(0).json()["status"]["status"], "done");
}
