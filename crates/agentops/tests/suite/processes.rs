//! P1 to P4: agents that hang, that do not stop, that leave processes behind, that flood.

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use agentops_agents::process::ProcessId;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::ceiling::ends;
use crate::room::{Ran, Room, close_out, marked, pids, quick_script, refs, scripted, scripted_with, slow};

/// How long the kernel may take to end what was killed. Waited for by event; this only ends a test that has failed.
const SURELY: Duration = Duration::from_secs(60);

/// A workflow whose first phase has these lanes and repeats nothing.
fn lanes(room: &Room, lanes: &[&str], limits: &str) {
    let lanes: String =
        lanes.iter().map(|lane| format!("[[phase.lane]]\nname = \"{lane}\"\nagent = \"implement\"\n")).collect();
    let text = format!(
        "name = \"lanes\"\n[limits]\n{limits}\n[[phase]]\nname = \"implement\"\nwrites = \"files\"\n\
         retries = 0\n{lanes}\n[[phase]]\nname = \"close-out\"\nwrites = \"artifacts\"\nagent = \"close-out\"\n\
         [[phase.gate]]\nkind = \"artifact\"\nfile = \"close-out.json\"\nschema = \"close-out\"\n"
    );
    room.file(".agentops/workflows/lanes.toml", &text);
}

/// An agent program that does `case`, a shell's branches over the lane's name, and is the scripted agent in other lanes.
fn program(room: &Room, case: &str) -> String {
    let path = room.root().join("agent.sh");
    let scripted = env!("CARGO_BIN_EXE_agentops");
    let text = format!("#!/bin/sh\ncase \"$AGENTOPS_LANE\" in\n{case}\n*) exec {scripted:?} \"$@\";;\nesac\n");
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    format!("--set=program={}", path.display())
}

/// Every lane of the first phase with how its only session ended.
fn each_end(view: &Value) -> Vec<(&str, &str)> {
    let lanes = view["phases"][0]["lanes"].as_array().unwrap().iter();
    lanes.map(|lane| (lane["name"].as_str().unwrap(), lane["sessions"][0]["end"].as_str().unwrap_or("runs"))).collect()
}

fn closing() -> Value {
    json!({ "when": "lane `close-out`", "steps": [
        { "do": "call", "usage": 9000 }, { "do": "out", "file": "close-out.json", "content": close_out("done.txt") }
    ] })
}

fn wait_all(processes: Vec<ProcessId>) {
    for process in processes {
        assert!(process.wait_end(SURELY), "{process:?} lives");
    }
}

/// Children of a process that have ended and were not reaped.
fn zombies(of: i32) -> usize {
    let stat = |pid: i32| std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let dead = |text: &String| text.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(&format!("Z {of} ")));
    pids().map(stat).filter(dead).count()
}

#[test]
fn p1_an_agent_that_hangs_is_stopped_and_recorded_as_hung() {
    let room = Room::new();
    lanes(&room, &["first-byte", "half-a-line", "spinning", "after-a-call"], "silence-seconds-max = 1");
    let program = program(
        &room,
        "*first-byte) exec sleep 1000;;\n*half-a-line) printf '{\"half'; exec sleep 1000;;\n\
         *spinning) while :; do :; done;;",
    );
    let script = json!([{ "steps": [{ "do": "call", "usage": 9000 }, { "do": "hang" }] }]);
    let view = room.run(&refs(&scripted_with(&room, "lanes", &[&program], script))).expect(4).json();
    assert_eq!(view["status"]["decision"]["kind"], "agent-failed");
    let hung = ["first-byte", "half-a-line", "spinning", "after-a-call"].map(|lane| (lane, "hung"));
    assert_eq!(each_end(&view), hung);
    assert_eq!(marked(&room), []);
}

#[test]
fn p2_cancel_ends_a_tree_that_ignores_every_signal_it_can() {
    let room = Room::new();
    let pipe = room.pipe("ready");
    let deaf = format!(
        "trap '' INT TERM HUP; (trap '' INT TERM HUP; sleep 1000; sleep 1000) >/dev/null 2>&1 & echo ready > {}; wait",
        pipe.display()
    );
    let script = json!([{ "steps": [
        { "do": "ignore-signals" }, { "do": "fork-away", "seconds": 1000 }, { "do": "call", "usage": 9000 },
        { "do": "write", "path": "half.txt", "content": "half\n" }, { "do": "run", "argv": ["sh", "-c", deaf] }
    ] }]);
    let run = room.detach(&scripted(&room, "quick", script));
    std::fs::read(&pipe).unwrap();
    let tree = marked(&room);
    assert!(tree.len() >= 4, "agent, shell, sleep, and one away: {tree:?}");
    room.run(&["cancel", &run]).expect(0);
    assert_eq!(marked(&room), [], "nothing of the tree outlives the answer");
    assert!(tree.iter().all(|process| !process.is_alive()));
    // The checkpoint may take longer than the command waits for it.
    let _ended_as_cancelled = room.run(&["logs", &run, "--follow"]);
    let view = room.run(&["show", &run, "--json"]).expect(0).json();
    assert_eq!((&view["status"]["status"], ends(&view)), (&json!("cancelled"), vec!["cancelled"]));
    let kept = room.git(&["for-each-ref", "--format=%(refname)", &format!("refs/agentops/runs/{run}/")]);
    assert_eq!(room.git(&["show", &format!("{kept}:half.txt")]), "half", "its work is kept");
}

/// A step in which the agent sends its keeper this signal, `times` times.
fn to_keeper(signal: &str, times: u32) -> Value {
    let line =
        format!("for i in $(seq {times}); do kill -{signal} $(awk '{{ print $4 }}' /proc/$PPID/stat); sleep 0.05; done");
    json!({ "do": "run", "argv": ["sh", "-c", line] })
}

#[test]
fn p2_an_agent_that_stops_its_keeper_hangs_nothing() {
    let room = Room::new();
    let mut script = quick_script();
    script[0]["steps"].as_array_mut().unwrap().insert(1, to_keeper("STOP", 1));
    let view = room.run(&refs(&scripted(&room, "quick", script))).expect(0).json();
    assert_eq!(ends(&view), ["completed"], "the keeper goes on");

    lanes(&room, &["stops"], "");
    room.git(&["add", "-A"]);
    room.git(&["commit", "--quiet", "-m", "lanes"]);
    let script = json!([{ "steps": [{ "do": "call", "usage": 9000 }, to_keeper("STOP", 2000)] }]);
    let view = room.run(&refs(&scripted(&room, "lanes", script))).expect(4).json();
    assert_eq!(each_end(&view), [("stops", "failed")]);
    let detail = view["phases"][0]["lanes"][0]["sessions"][0]["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("stopped again and again"), "{detail}");
    assert_eq!(marked(&room), []);
}

/// Each command that goes on with the run starts a supervisor, and the agent kills that one as well.
#[test]
fn r2_an_agent_that_kills_its_supervisor_again_and_again_ends_in_a_question_of_its_own_lane() {
    let room = Room::new();
    lanes(&room, &["kills", "beside"], "");
    room.git(&["add", "-A"]);
    room.git(&["commit", "--quiet", "-m", "lanes"]);
    let effects = room.root().join("effects");
    let effect = format!("echo \"$AGENTOPS_SESSION\" >> '{}'", effects.display());
    // Once the lane beside has ended. The agent is the parent, its keeper the next, and the supervisor the one above.
    let kill = format!(
        "until env -i PATH=\"$PATH\" HOME='{}' '{}' logs --repo='{}' --state-dir='{}' | grep -q 'session end .*beside/1 completed'; \
         do sleep 0.1; done; keeper=$(awk '{{ print $4 }}' /proc/$PPID/stat); \
         kill -9 $(awk '{{ print $4 }}' /proc/$keeper/stat)",
        room.root().join("home").display(),
        env!("CARGO_BIN_EXE_agentops"),
        room.repo().display(),
        room.state().display()
    );
    let steps = |line: &str| json!([{ "do": "call", "usage": 9000 }, { "do": "run", "argv": ["sh", "-c", line] }]);
    let script = json!([
        { "when": "lane `kills`", "steps": steps(&kill) }, { "when": "lane `beside`", "steps": steps(&effect) }
    ]);
    let run = room.detach(&scripted(&room, "lanes", script));
    room.await_supervisor();
    let commands = (0..20).position(|_| {
        let resumed = room.run(&["resume", &run, "--json"]);
        room.await_supervisor();
        resumed.code == 4
    });
    let view = room.run(&["show", &run, "--json"]).expect(0).json();
    assert!(commands.is_some(), "no question after 20 commands: {view:#}");
    let decisions = view["decisions"].as_array().unwrap();
    assert!(decisions.iter().all(|decision| decision["kind"] == "interrupted" && decision["place"] == "kills"), "{view:#}");
    let lane = |n: usize| view["phases"][0]["lanes"][n]["sessions"].as_array().unwrap();
    let ends: Vec<&str> = lane(0).iter().map(|session| session["end"].as_str().unwrap()).collect();
    assert_eq!(ends, ["interrupted"; 3], "{view:#}");
    // What had ended beside it does not run again.
    assert_eq!((lane(1).len(), &lane(1)[0]["end"]), (1, &json!("completed")), "{view:#}");
    assert_eq!(std::fs::read_to_string(effects).unwrap().lines().count(), 1);
    assert_eq!(marked(&room), []);
}

#[test]
fn p2_a_stopped_supervisor_is_named_and_nobody_waits_for_it_for_ever() {
    let room = Room::new();
    let pipe = room.pipe("ready");
    let script = json!([{ "steps": [
        { "do": "call", "usage": 9000 }, { "do": "run", "argv": ["sh", "-c", format!("echo ready > {}; sleep 1000", pipe.display())] }
    ] }]);
    let run = room.detach(&scripted(&room, "quick", script));
    std::fs::read(&pipe).unwrap();
    let supervisor = Pid::from_raw(room.supervisor().unwrap()).unwrap();
    kill_process(supervisor, Signal::STOP).unwrap();
    for command in ["cancel", "resume"] {
        let refused = room.run(&[command, &run]).expect(1);
        assert!(refused.stderr.contains(&format!("(process {}) is stopped", supervisor.as_raw_nonzero())), "{refused:?}");
        assert!(refused.stderr.contains("kill -CONT"), "{refused:?}");
    }
    assert!(room.run(&["status"]).expect(0).stderr.contains("is stopped by a signal"));
    kill_process(supervisor, Signal::CONT).unwrap();
    room.run(&["cancel", &run]).expect(0);
    assert_eq!(marked(&room), []);
}

#[test]
fn p2_a_command_that_follows_a_run_names_the_supervisor_that_was_stopped() {
    if !slow() {
        println!("skipped: a follower hears nothing for half a minute; AGENTOPS_SLOW=1 waits for it");
        return;
    }
    let room = Room::new();
    let pipe = room.pipe("ready");
    let script = json!([{ "steps": [
        { "do": "call", "usage": 9000 }, { "do": "run", "argv": ["sh", "-c", format!("echo ready > {}; sleep 1000", pipe.display())] }
    ] }]);
    let mut command = room.command(&refs(&scripted(&room, "quick", script)));
    let following = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    std::fs::read(&pipe).unwrap();
    let supervisor = Pid::from_raw(room.supervisor().unwrap()).unwrap();
    kill_process(supervisor, Signal::STOP).unwrap();
    let ended = Ran::of(&following.wait_with_output().unwrap()).expect(1);
    kill_process(supervisor, Signal::CONT).unwrap();
    assert!(ended.stdout.contains(&format!("(process {}) is stopped", supervisor.as_raw_nonzero())), "{ended:?}");
}

#[test]
fn p3_what_an_agent_leaves_behind_ends_with_its_session() {
    let room = Room::new();
    let mut script = quick_script();
    script[0]["steps"].as_array_mut().unwrap().insert(0, json!({ "do": "fork-away", "seconds": 1000 }));
    let view = room.run(&refs(&scripted(&room, "quick", script))).expect(0).json();
    assert_eq!(ends(&view), ["completed"]);
    assert_eq!(marked(&room), []);
    // The supervisor is still there for its two idle seconds; when it has ended nobody can be its child.
    if let Some(supervisor) = room.supervisor() {
        assert_eq!(zombies(supervisor), 0);
    }
}

#[test]
fn p3_when_the_supervisor_is_killed_every_tree_ends_without_another_one() {
    let room = Room::new();
    let pipe = room.pipe("ready");
    let script = json!([{ "steps": [
        { "do": "ignore-signals" }, { "do": "fork-away", "seconds": 1000 }, { "do": "call", "usage": 9000 },
        { "do": "run", "argv": ["sh", "-c", format!("echo ready > {}; sleep 1000", pipe.display())] }
    ] }]);
    let run = room.detach(&scripted(&room, "quick", script));
    std::fs::read(&pipe).unwrap();
    let tree = marked(&room);
    assert!(tree.len() >= 3, "{tree:?}");
    room.kill_supervisor();
    wait_all(tree);
    // The shell may have started `sleep` after the look at its tree. That ends as well.
    wait_all(marked(&room));
    assert_eq!(marked(&room), []);
    let view = room.run(&["show", &run, "--json"]).expect(0).json();
    assert_eq!(view["status"]["waiting"]["for"], "supervisor", "and it is not shown as running");
    room.run(&["cancel", &run]).expect(0);
}

/// Most that a process ever held in memory, in bytes.
fn peak(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

fn bytes_below(root: &Path) -> u64 {
    let files = crate::room::everything(root);
    files.iter().filter_map(|path| std::fs::symlink_metadata(path).ok()).map(|meta| meta.len()).sum()
}

#[test]
fn p4_floods_are_cut_and_slow_nobody_else() {
    let room = Room::new();
    lanes(&room, &["lines", "one-line", "bytes", "calm"], "");
    let ready = room.pipe("ready");
    let go = room.pipe("go");
    let program = program(
        &room,
        &format!(
            "*.bytes) head -c 3000000 /dev/zero; head -c 3000000 /dev/urandom; echo; exec {:?} \"$@\";;",
            env!("CARGO_BIN_EXE_agentops")
        ),
    );
    let (lines, line): (u64, u64) = if slow() { (200_000_000, 1_000_000_000) } else { (20_000_000, 200_000_000) };
    let finish = json!({ "do": "call", "usage": 9000 });
    let script = json!([
        closing(),
        { "when": "lane `lines`", "steps": [
            finish, { "do": "flood", "bytes": lines }, { "do": "raw", "line": "" }, finish
        ] },
        { "when": "lane `one-line`", "steps": [
            { "do": "call", "usage": 9000 }, { "do": "endless-line", "bytes": line }, finish
        ] },
        { "when": "lane `bytes`", "steps": [finish] },
        { "when": "lane `calm`", "steps": [
            finish, { "do": "write", "path": "done.txt", "content": "done\n" },
            { "do": "run", "argv": ["sh", "-c", format!("echo x > {}; cat {}", ready.display(), go.display())] }
        ] }
    ]);
    // The calm lane meets us while the others flood; where they flood longer than it may be silent, it does not wait.
    let run = room.detach(&scripted_with(&room, "lanes", &[&program], script));
    std::fs::File::open(&ready).unwrap().read_exact(&mut [0]).unwrap();
    let supervisor = room.supervisor().unwrap();
    let before = peak(supervisor);
    drop(std::fs::File::options().write(true).open(&go).unwrap());
    let ran = room.run(&["logs", &run, "--follow", "--json"]);
    let grown = peak(supervisor).saturating_sub(before);
    let view = room.run(&["show", &run, "--json"]).expect(0).json();
    println!("{:?}, exit {}, grown by {grown} bytes", each_end(&view), ran.code);
    // Three lanes flood: each may hold its transcript, 8 MiB, a few times over while it is kept. 1 GB does not change that.
    assert!(grown < 3 * (32 << 20), "the supervisor grew by {grown} bytes");
    let ends: std::collections::BTreeMap<_, _> = each_end(&view).into_iter().collect();
    assert_eq!((ends["calm"], ends["one-line"], ends["bytes"]), ("completed", "completed", "completed"));
    assert_eq!(ends["lines"], "completed");
    let transcripts = bytes_below(&room.private("transcripts").unwrap());
    assert!(transcripts < 4 * (9 << 20), "{transcripts} bytes of transcripts");
}

#[test]
fn p4_beyond_what_a_session_may_put_out_nothing_it_reports_is_believed() {
    if !slow() {
        println!("skipped: a flood of 1 GB takes a minute; AGENTOPS_SLOW=1 plays it");
        return;
    }
    let room = Room::new();
    let flood = json!([{ "steps": [{ "do": "call", "usage": 9000 }, { "do": "flood", "bytes": 1_000_000_000 }] }]);
    let view = room.run(&refs(&scripted(&room, "quick", flood))).expect(8).json();
    assert_eq!(ends(&view), ["usage-unknown"]);
    assert_eq!(view["phases"][0]["lanes"][0]["sessions"][0]["detail"], "the program put out more than a session may");
    assert!(bytes_below(&room.private("transcripts").unwrap()) < 9 << 20);
}
