//! The test of a merge, beside supervisors that come and go.

use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::json;

use crate::room::{Room, marked, quick_script, refs, scripted};

/// A finished run. The gate of its merge waits, and the gate of the run itself did not.
struct Merge {
    run: String,
    arrived: PathBuf,
    go: PathBuf,
    now: PathBuf,
}

impl Merge {
    /// Starts the merge and waits until its gate is at work.
    fn start(&self, room: &Room) -> Child {
        std::fs::write(&self.now, "").unwrap();
        let mut command = room.command_of_a_terminal(&["merge", &self.run]);
        let merge = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        assert_eq!(std::fs::read_to_string(&self.arrived).unwrap(), "in\n");
        merge
    }
}

fn run_with_waiting_merge(room: &Room) -> Merge {
    let (arrived, go, now) = (room.pipe("arrived"), room.pipe("go"), room.root().join("now"));
    let check = format!(
        "test ! -e '{}' || {{ echo in > '{}'; cat '{}'; }}\ntest -f done.txt\n",
        now.display(),
        arrived.display(),
        go.display()
    );
    let mut script = quick_script();
    let steps = script[0]["steps"].as_array_mut().unwrap();
    steps.insert(1, json!({ "do": "write", "path": "check.sh", "content": check }));
    let view = room.run(&refs(&scripted(room, "quick", script))).expect(0).json();
    room.name_user();
    Merge { run: view["run"].as_str().unwrap().to_owned(), arrived, go, now }
}

#[test]
fn p3_a_supervisor_that_starts_ends_no_gate_of_a_merge_that_is_at_work() {
    let room = Room::new();
    let merge = run_with_waiting_merge(&room);
    let merging = merge.start(&room);
    room.kill_supervisor();
    // Another run starts the next supervisor, which ends what the one before left.
    room.run(&refs(&scripted(&room, "quick", quick_script()))).expect(0);
    assert_eq!(marked(&room).len(), 2, "the gate's shell and its cat");
    std::fs::write(&merge.go, "go\n").unwrap();
    let merged = merging.wait_with_output().unwrap();
    assert!(merged.status.success(), "{merged:?}");
    assert!(room.git(&["ls-tree", "--name-only", "HEAD"]).contains("done.txt"));
    assert!(marked(&room).is_empty());
}

/// Ctrl-C in a terminal is a signal to the whole group of the command.
#[test]
fn p5_p6_a_merge_that_is_ended_while_it_is_tested_leaves_nothing_in_its_own_way() {
    let room = Room::new();
    let merge = run_with_waiting_merge(&room);
    let checkout = || (room.git(&["rev-parse", "HEAD"]), room.git(&["status", "--porcelain"]));
    let before = checkout();
    for signal in [Signal::INT, Signal::TERM, Signal::HUP, Signal::KILL] {
        let mut merging = merge.start(&room);
        let gate = marked(&room);
        assert!(!gate.is_empty());
        kill_process_group(Pid::from_child(&merging), signal).unwrap();
        assert!(!merging.wait().unwrap().success());
        for process in gate {
            assert!(process.wait_end(Duration::from_secs(60)), "{process:?} outlives a merge that ended by {signal:?}");
        }
        assert_eq!(checkout(), before);
    }
    std::fs::remove_file(&merge.now).unwrap();
    room.run(&["merge", &merge.run]).expect(0);
    assert!(room.git(&["ls-tree", "--name-only", "HEAD"]).contains("done.txt"));
    assert_eq!(room.git(&["for-each-ref", "refs/agentops/lanes"]), "");
    assert!(!room.private(&format!("lanes/{}", merge.run)).unwrap().exists());
}
