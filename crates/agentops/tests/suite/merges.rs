//! The test of a merge, beside supervisors that come and go.

use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

use agentops::error::{MERGE_REFUSED, TRUST_REQUIRED};
use agentops_agents::process::ProcessId;
use agentops_engine::crash::MERGE_BOUNDARIES;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
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

/// A run whose result is ready, in a repository whose hook `pre-merge-commit` does what a file says, if it is there.
fn run_with_hook(room: &Room) -> (String, PathBuf) {
    let says = room.root().join("hook-says");
    room.hook("pre-merge-commit", &format!("test ! -e '{0}' || exec sh '{0}'", says.display()));
    let view = room.run(&refs(&scripted(room, "quick", quick_script()))).expect(0).json();
    room.name_user();
    (view["run"].as_str().unwrap().to_owned(), says)
}

/// What a person sees of the checkout, and files of git that belong to a merge.
fn checkout(room: &Room) -> (String, String, Vec<String>) {
    let files = std::fs::read_dir(room.repo().join(".git")).unwrap();
    let files = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let of_merge = files.filter(|name| name.contains("MERGE") || name.ends_with("index.lock")).collect();
    (room.git(&["rev-parse", "HEAD"]), room.git(&["status", "--porcelain"]), of_merge)
}

#[test]
fn p6_a_merge_that_is_ended_while_a_hook_runs_is_taken_back() {
    let room = Room::new();
    let (run, says) = run_with_hook(&room);
    let before = checkout(&room);
    let (arrived, pid) = (room.pipe("arrived"), room.root().join("pid"));
    let waits = format!("echo $$ > '{}'\necho in > '{}'\nexec sleep 600\n", pid.display(), arrived.display());
    let start = || {
        std::fs::write(&says, &waits).unwrap();
        let mut command = room.command_of_a_terminal(&["merge", &run, "--no-test"]);
        let merge = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        assert_eq!(std::fs::read_to_string(&arrived).unwrap(), "in\n");
        let hook = std::fs::read_to_string(&pid).unwrap().trim().parse().unwrap();
        (merge, ProcessId::of(hook).unwrap())
    };
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130), (Signal::HUP, 129)] {
        let (merge, hook) = start();
        assert_ne!(checkout(&room), before, "the merge is staged");
        let at_work = room.run(&["status"]).expect(0).stderr;
        assert!(at_work.contains(&format!("agentops/{run} is being merged into this checkout by process")), "{at_work}");
        // To the program alone, as `kill` does it.
        kill_process(Pid::from_child(&merge), signal).unwrap();
        let ended = merge.wait_with_output().unwrap();
        let words = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(code), "{words}");
        assert!(words.contains("interrupted; nothing was merged"), "{words}");
        assert!(!hook.is_alive());
        assert_eq!(checkout(&room), before);
    }
    let (mut merge, hook) = start();
    kill_process_group(Pid::from_child(&merge), Signal::KILL).unwrap();
    merge.wait().unwrap();
    assert!(hook.wait_end(Duration::from_secs(60)));
    assert_ne!(checkout(&room), before);
    let words = format!("the merge of agentops/{run} into this checkout was interrupted");
    assert!(room.run(&["status"]).expect(0).stderr.contains(&words));
    assert!(room.run(&["status", "--json"]).expect(0).json()["begun_merge"].as_str().unwrap().contains(&words));
    assert!(room.run(&["doctor"]).stdout.contains(&words));
    std::fs::remove_file(&says).unwrap();
    let merged = room.run(&["merge", &run, "--no-test"]).expect(0);
    assert!(
        merged.stderr.contains("was interrupted before it was committed; ") && merged.stderr.contains("files were put back")
    );
    assert_eq!(room.git(&["status", "--porcelain"]), "");
    assert!(room.git(&["ls-tree", "--name-only", "HEAD"]).contains("done.txt"));
    assert!(room.run(&["status", "--json"]).expect(0).json()["begun_merge"].is_null());
}

#[test]
fn p6_a_merge_that_is_not_what_was_tested_does_not_close_the_run() {
    let room = Room::new();
    room.git(&["config", "branch.main.mergeoptions", "--no-ff -s ours"]);
    let (run, _) = run_with_hook(&room);
    let before = checkout(&room);
    let refused = room.run(&["merge", &run]).expect(MERGE_REFUSED.into());
    let undo = format!("git -C {} reset --keep {}", room.repo().display(), before.0);
    for words in ["not with the files that were tested", "done.txt", "a merge driver or a hook", &undo] {
        assert!(refused.stderr.contains(words), "{words}: {}", refused.stderr);
    }
    let closing = || room.run(&["show", &run, "--json"]).expect(0).json()["closing"].clone();
    assert!(closing().is_null());
    let untested = room.run(&["merge", &run]).expect(MERGE_REFUSED.into());
    assert!(untested.stderr.contains(&format!("agentops merge {run} --no-test")), "{}", untested.stderr);
    room.git(&["reset", "--keep", &before.0]);
    assert_eq!(checkout(&room), before);
    room.git(&["config", "--unset", "branch.main.mergeoptions"]);
    let hooks_changed = room.run(&["merge", &run]).expect(TRUST_REQUIRED.into()).stderr;
    let trust = hooks_changed.split_whitespace().find(|word| word.starts_with("--trust=")).unwrap();
    room.run(&["merge", &run, trust]).expect(0);
    assert!(room.git(&["ls-tree", "--name-only", "HEAD"]).contains("done.txt"));
    assert!(closing().is_object());
}

#[test]
fn r1_p6_a_merge_that_dies_at_any_of_its_durable_boundaries_is_merged_by_the_next_one() {
    let log = |room: &Room| room.root().join("boundaries");
    let merge_logged = |room: &Room, run: &str, at: Option<usize>| {
        let mut command = room.command(&["merge", run, "--no-test"]);
        command.env("AGENTOPS_CRASH_LOG", log(room));
        if let Some(at) = at {
            command.env("AGENTOPS_CRASH_AT", at.to_string());
        }
        command.output().unwrap();
        let log = std::fs::read_to_string(log(room)).unwrap();
        log.lines().filter(|name| MERGE_BOUNDARIES.contains(name)).map(str::to_owned).collect::<Vec<_>>()
    };
    let mut passed = Vec::new();
    for refuses in [false, true] {
        let all = if refuses { 4 } else { 3 };
        for at in 1..=all {
            let room = Room::new();
            let (run, says) = run_with_hook(&room);
            let before = checkout(&room);
            if refuses {
                std::fs::write(&says, "exit 1\n").unwrap();
            }
            let boundaries = merge_logged(&room, &run, Some(at));
            assert_eq!(boundaries.len(), at, "{boundaries:?}");
            if at == all {
                passed.extend(boundaries);
            }
            let _none = std::fs::remove_file(&says);
            let is_committed = checkout(&room).0 != before.0;
            let named = room.run(&["status", "--json"]).expect(0).json()["begun_merge"].is_string();
            assert_eq!(named, !is_committed && at < all, "boundary {at}");
            room.run(&["merge", &run, "--no-test"]).expect(0);
            assert_eq!(room.git(&["status", "--porcelain"]), "");
            assert_eq!(room.git(&["log", "-1", "--format=%P"]).split(' ').count(), 2, "one merge commit");
            assert_eq!(room.git(&["rev-list", "--count", "--merges", "HEAD"]), "1");
            assert!(room.run(&["show", &run, "--json"]).expect(0).json()["closing"].is_object());
        }
    }
    for boundary in MERGE_BOUNDARIES {
        assert!(passed.iter().any(|name| name == boundary), "no merge passes {boundary}: {passed:?}");
    }
}
