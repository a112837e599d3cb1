//! Promises P1 to P4 against a real keeper and programs that misbehave.

use std::io::Write;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use agentops_agents::ancestry::descends_from_keeper;
use agentops_agents::driver::Exit;
use agentops_agents::keeper::{EndReason, Ended, FromKeeper, Keeper, KeeperHandle, KeeperSpec, MARK_VARIABLE, StdinKind};
use agentops_agents::process::ProcessId;
use agentops_agents::strays::{end_ownerless, end_strays, owned_mark};
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, kill_process};

const FIXTURE: &str = env!("CARGO_BIN_EXE_agents-fixture");
/// Longer than anything here takes; a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(30);

fn spec(args: &[&str]) -> KeeperSpec {
    KeeperSpec {
        program: FIXTURE.into(),
        args: args.iter().map(Into::into).collect(),
        env: Vec::new(),
        cwd: "/".into(),
        mark: "test".to_owned(),
        line_bytes_max: 64 << 10,
        output_bytes_max: 1 << 20,
        silence_ms: 0,
        time_limit_ms: 0,
        grace_ms: 60_000,
        stdin: StdinKind::Open,
        locks: Vec::new(),
    }
}

struct Tree {
    handle: KeeperHandle,
    messages: Receiver<FromKeeper>,
}

impl Tree {
    fn start(spec: &KeeperSpec) -> Self {
        let (send, messages) = channel();
        let handle = Keeper::spawn(Path::new(FIXTURE), spec, move |message| drop(send.send(message))).unwrap();
        Self { handle, messages }
    }

    fn next(&self) -> FromKeeper {
        self.messages.recv_timeout(PATIENCE).expect("the keeper says something")
    }

    fn program(&self) -> ProcessId {
        match self.next() {
            FromKeeper::Started { process } => process,
            other => panic!("{other:?}"),
        }
    }

    fn out(&self) -> String {
        match self.next() {
            FromKeeper::Out { line } => line,
            other => panic!("{other:?}"),
        }
    }

    /// The pid in a line `away PID`.
    fn away_pid(&self) -> i32 {
        let line = self.out();
        let pid = line.strip_prefix("away ").unwrap_or_else(|| panic!("{line}"));
        pid.parse().unwrap()
    }

    fn away(&self) -> ProcessId {
        ProcessId::of(self.away_pid()).expect("it lives")
    }

    fn ended(&self) -> Ended {
        self.all().1
    }

    /// Everything up to the end.
    fn all(&self) -> (Vec<FromKeeper>, Ended) {
        let mut before = Vec::new();
        loop {
            match self.next() {
                FromKeeper::Ended(ended) => return (before, ended),
                FromKeeper::Gone { .. } => panic!("the keeper vanished"),
                other => before.push(other),
            }
        }
    }
}

/// Neither alive nor a zombie.
fn assert_no_trace(process: ProcessId) {
    assert!(process.wait_end(PATIENCE), "{process:?} still runs");
    assert_ne!(ProcessId::of(process.pid), Some(process), "{process:?} is a zombie");
}

fn peak_kib(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn a_program_talks_through_its_keeper() {
    let tree = Tree::start(&spec(&["echo"]));
    tree.program();
    tree.handle.send_line("one").unwrap();
    assert_eq!(tree.out(), "one");
    tree.handle.send_line("two").unwrap();
    tree.handle.close_stdin().unwrap();
    assert_eq!((tree.out(), tree.out()), ("two".to_owned(), "end of input".to_owned()));
    let ended = tree.ended();
    assert_eq!((ended.exit, ended.reason, ended.leftovers), (Some(Exit::Code(7)), EndReason::Exited, 0));
    assert_eq!((ended.out_bytes, ended.err_bytes, ended.cut_bytes), (21, 0, 0));
}

#[test]
fn a_program_gets_its_environment_three_descriptors_and_no_terminal() {
    let tree = Tree::start(&KeeperSpec { env: vec![("A".into(), "b c".into())], ..spec(&["env"]) });
    tree.program();
    let (lines, _) = tree.all();
    let mut lines: Vec<String> =
        lines.into_iter().map(|line| if let FromKeeper::Out { line } = line { line } else { panic!("{line:?}") }).collect();
    lines.sort();
    // The fourth descriptor is the one that reads the list.
    assert_eq!(
        lines,
        ["A=b c", &format!("{MARK_VARIABLE}=test"), "cwd /", "descriptors 3", &format!("session {}", tree.handle.pid())]
    );
}

#[test]
fn a_program_that_cannot_start_is_told() {
    let tree = Tree::start(&KeeperSpec { program: "/nowhere/program".into(), ..spec(&[]) });
    assert!(matches!(tree.next(), FromKeeper::NotStarted { message } if message.contains("No such file")));
    assert!(tree.messages.recv_timeout(PATIENCE).is_err(), "nothing follows");
}

#[test]
fn p1_silence_is_noticed() {
    for behaviour in ["hang", "hang-mid-line", "spin", "echo"] {
        let tree = Tree::start(&KeeperSpec { silence_ms: 150, grace_ms: 200, ..spec(&[behaviour]) });
        let program = tree.program();
        let ended = tree.ended();
        assert_eq!((ended.reason, ended.exit), (EndReason::Silent, Some(Exit::Signal(15))), "{behaviour}");
        assert_no_trace(program);
    }
}

#[test]
fn p1_a_time_limit_is_kept() {
    let tree = Tree::start(&KeeperSpec { time_limit_ms: 150, ..spec(&["hang"]) });
    assert_eq!(tree.all().1.reason, EndReason::TimeLimit);
}

#[test]
fn p2_stop_means_stop() {
    let grace = 300;
    let tree = Tree::start(&KeeperSpec { grace_ms: grace, ..spec(&["stubborn"]) });
    let program = tree.program();
    assert_eq!(tree.out(), "ready");
    let began = Instant::now();
    tree.handle.stop(true).unwrap();
    let ended = tree.ended();
    let took = began.elapsed();
    assert_eq!((ended.reason, ended.exit), (EndReason::Stopped, Some(Exit::Signal(9))));
    assert!(took >= Duration::from_millis(grace) && took < Duration::from_millis(grace + 2000), "{took:?}");
    assert_no_trace(program);
}

#[test]
fn p2_the_ladder_begins_with_the_kindest_rung() {
    let tree = Tree::start(&KeeperSpec { grace_ms: 2_000, ..spec(&["polite"]) });
    tree.program();
    assert_eq!(tree.out(), "ready");
    tree.handle.stop(true).unwrap();
    assert_eq!((tree.out(), tree.out()), ("got 2".to_owned(), "got 15".to_owned()));
    let ended = tree.ended();
    assert_eq!((ended.reason, ended.exit), (EndReason::Stopped, Some(Exit::Code(3))));
}

#[test]
fn p3_who_outlives_the_program_is_ended() {
    for behaviour in ["fork-away", "hold-pipe"] {
        let tree = Tree::start(&KeeperSpec { grace_ms: 200, ..spec(&[behaviour]) });
        let program = tree.program();
        // It may be ended before we read of it, so there is only its pid.
        let away = tree.away_pid();
        let ended = tree.ended();
        assert_eq!((ended.exit, ended.reason, ended.leftovers), (Some(Exit::Code(0)), EndReason::Exited, 1), "{behaviour}");
        assert_eq!(ended.unkillable, 0);
        assert_no_trace(program);
        assert_eq!(ProcessId::of(away), None, "{behaviour}");
    }
}

#[test]
fn p3_stop_reaches_who_left_group_session_and_parent() {
    let tree = Tree::start(&KeeperSpec { grace_ms: 200, ..spec(&["fork-away", "hang"]) });
    let (program, away) = (tree.program(), tree.away());
    tree.handle.stop(false).unwrap();
    assert_eq!(tree.ended().reason, EndReason::Stopped);
    assert_no_trace(program);
    assert_no_trace(away);
}

#[test]
fn p3_a_dropped_handle_ends_the_tree_at_once() {
    let Tree { handle, messages } = Tree::start(&spec(&["fork-away", "hang"]));
    let tree = Tree { handle, messages };
    let (program, away, keeper) = (tree.program(), tree.away(), tree.handle.process());
    drop(tree.handle);
    let Ok(FromKeeper::Ended(ended)) = tree.messages.recv_timeout(PATIENCE) else { panic!("no end") };
    assert_eq!((ended.reason, ended.exit), (EndReason::SupervisorGone, Some(Exit::Signal(9))));
    assert!(tree.messages.recv_timeout(PATIENCE).is_err(), "the reader is done, so the keeper is reaped");
    // The killed keeper's children are init's to reap.
    assert!([program, away, keeper].iter().all(|process| !process.is_alive()));
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the supervisor that is killed is a process of its own")]
fn p3_nobody_is_left_after_kill_9_of_the_supervisor() {
    use std::io::BufRead;
    let mut command = std::process::Command::new(FIXTURE);
    let mut supervisor =
        command.args(["supervise", "fork-away", "hang"]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut lines = std::io::BufReader::new(supervisor.stdout.take().unwrap()).lines();
    let (mut keeper, mut program, mut away) = (None, None, None);
    while keeper.is_none() || program.is_none() || away.is_none() {
        let line = lines.next().unwrap().unwrap();
        if let Some(pid) = line.strip_prefix("keeper ") {
            keeper = ProcessId::of(pid.parse().unwrap());
        } else {
            match serde_json::from_str(&line).unwrap() {
                FromKeeper::Started { process } => program = Some(process),
                FromKeeper::Out { line } => away = ProcessId::of(line.strip_prefix("away ").unwrap().parse().unwrap()),
                other => panic!("{other:?}"),
            }
        }
    }
    // Nor when the keeper was stopped, so that it cannot see its supervisor's end.
    signal(ProcessId::of(i32::try_from(supervisor.id()).unwrap()).unwrap(), Signal::STOP);
    signal(keeper.unwrap(), Signal::STOP);
    supervisor.kill().unwrap();
    supervisor.wait().unwrap();
    for process in [program, away, keeper].into_iter().flatten() {
        assert!(process.wait_end(PATIENCE), "{process:?} still runs");
    }
}

fn signal(process: ProcessId, signal: Signal) {
    // One that has just ended is what some tests wait for.
    let _gone = kill_process(Pid::from_raw(process.pid).unwrap(), signal);
}

#[test]
fn p2_a_keeper_that_was_stopped_goes_on() {
    let tree = Tree::start(&spec(&["echo"]));
    tree.program();
    signal(tree.handle.process(), Signal::STOP);
    tree.handle.send_line("one").unwrap();
    assert_eq!(tree.out(), "one");
    signal(tree.handle.process(), Signal::STOP);
    tree.handle.stop(false).unwrap();
    assert_eq!(tree.ended().reason, EndReason::Stopped);
}

#[test]
fn p2_a_keeper_that_is_stopped_again_and_again_is_ended_with_its_tree() {
    let tree = Tree::start(&spec(&["fork-away", "hang"]));
    let (program, away, keeper) = (tree.program(), tree.away(), tree.handle.process());
    while keeper.is_alive() {
        if !keeper.is_stopped() {
            signal(keeper, Signal::STOP);
        }
        std::thread::yield_now();
    }
    let FromKeeper::Gone { why: Some(why) } = tree.next() else { panic!("it did not end in order") };
    assert!(why.contains("stopped again and again"), "{why}");
    // The killed keeper's children are init's to reap.
    assert!([program, away, keeper].iter().all(|process| !process.is_alive()));
}

#[test]
fn p3_a_takeover_ends_keepers_and_their_trees_by_their_mark() {
    let mark = format!("taken-over-{}/research/1", std::process::id());
    let tree = Tree::start(&KeeperSpec { mark: mark.clone(), ..spec(&["fork-away", "hang"]) });
    let (program, away, keeper) = (tree.program(), tree.away(), tree.handle.process());
    end_strays(mark.split('/').next().unwrap());
    for process in [program, away, keeper] {
        assert!(!process.is_alive(), "{process:?}");
    }
}

#[test]
fn p7_a_keeper_holds_the_locks_of_its_slot_until_its_tree_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("slot");
    let slot = std::fs::File::create(&path).unwrap();
    flock(&slot, FlockOperation::LockShared).unwrap();
    let tree = Tree::start(&KeeperSpec { locks: vec![path.clone().into()], ..spec(&["echo"]) });
    tree.program();
    // As if the supervisor had died.
    drop(slot);
    let slot = std::fs::File::open(&path).unwrap();
    assert!(flock(&slot, FlockOperation::NonBlockingLockExclusive).is_err(), "the tree runs");
    tree.handle.close_stdin().unwrap();
    tree.ended();
    flock(&slot, FlockOperation::NonBlockingLockExclusive).unwrap();
}

#[test]
fn p3_strays_of_a_killed_keeper_are_found_by_their_mark() {
    let mark = format!("stray-{}/research/1", std::process::id());
    let tree = Tree::start(&KeeperSpec { mark: mark.clone(), ..spec(&["fork-away", "hang"]) });
    let (program, away) = (tree.program(), tree.away());
    tree.handle.process().kill().unwrap();
    assert_eq!(tree.next(), FromKeeper::Gone { why: None });
    assert!(program.is_alive() && away.is_alive(), "this is why strays are looked for");
    assert_eq!(end_strays("stray-of-another-run"), 0);
    let prefix = mark.split('/').next().unwrap();
    assert_eq!(end_strays(prefix), 2);
    assert!(!program.is_alive() && !away.is_alive());
    assert_eq!(end_strays(prefix), 0);
}

#[test]
fn p3_only_what_belongs_to_a_process_that_is_gone_is_ended() {
    let prefix = format!("shared-{}.merge/", std::process::id());
    let us = ProcessId::of(i32::try_from(std::process::id()).unwrap()).unwrap();
    let gone = ProcessId { start_time: us.start_time + 1, ..us };
    let tree = |owner| {
        let mark = owned_mark(&prefix, owner) + "run/gate";
        Tree::start(&KeeperSpec { mark, ..spec(&["fork-away", "hang"]) })
    };
    let (ours, left) = (tree(us), tree(gone));
    let kept = [ours.program(), ours.away(), ours.handle.process()];
    let ended = [left.program(), left.away(), left.handle.process()];
    end_ownerless(&prefix);
    assert!(kept.iter().all(|process| process.is_alive()));
    assert!(!ended.iter().any(|process| process.is_alive()));
    end_strays(&prefix);
    assert!(!kept.iter().any(|process| process.is_alive()));
}

/// A supervisor that takes over may have looked for strays before such a keeper reads what it is to start.
#[test]
#[expect(clippy::disallowed_methods, reason = "a keeper whose order waits already is started by hand")]
fn p3_a_keeper_whose_supervisor_died_before_it_read_its_order_starts_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("started");
    let program = KeeperSpec { program: "/bin/touch".into(), args: vec![trace.clone().into()], ..spec(&[]) };
    // The order is in the pipe, and its writer is gone, before the keeper exists.
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all((serde_json::to_string(&program).unwrap() + "\n").as_bytes()).unwrap();
    drop(writer);
    let mut keeper = std::process::Command::new(FIXTURE);
    let keeper = keeper.args(["keeper", "p3-orphan/1"]).stdin(reader).stdout(std::process::Stdio::null()).status().unwrap();
    assert!(keeper.success() && !trace.exists());
}

#[test]
fn who_descends_from_a_keeper_is_known() {
    let me = i32::try_from(std::process::id()).unwrap();
    assert!(!descends_from_keeper(me));
    let tree = Tree::start(&spec(&["fork-away", "hang"]));
    let (program, away) = (tree.program(), tree.away());
    for process in [program, away, tree.handle.process()] {
        assert!(descends_from_keeper(process.pid), "{process:?}");
    }
    tree.handle.stop(false).unwrap();
    drop(tree.handle);
    assert!(program.wait_end(PATIENCE));
    assert!(descends_from_keeper(i32::MAX), "who cannot be asked is refused");
}

#[test]
fn p4_floods_are_cut_in_bounded_memory() {
    let size: u64 = 200 << 20;
    for shape in ["lines", "one-line"] {
        let tree = Tree::start(&spec(&["flood-and-wait", &size.to_string(), shape]));
        tree.program();
        let (mut relayed, mut full) = (0, 0);
        loop {
            match tree.next() {
                FromKeeper::Out { line } => relayed += line.len(),
                FromKeeper::OutputFull => full += 1,
                FromKeeper::Err { line } => break assert_eq!(line, "flooded"),
                other => panic!("{other:?}"),
            }
        }
        let peak = peak_kib(tree.handle.pid());
        tree.handle.close_stdin().unwrap();
        let ended = tree.ended();
        assert!(peak < 16 << 10, "{shape}: the keeper took {peak} KiB");
        assert!(relayed <= (1 << 20) + 100, "{shape}: {relayed}");
        if shape == "lines" {
            assert_eq!(full, 1);
            assert!(ended.tail.ends_with("the end\n"), "{}", ended.tail);
        }
        assert_eq!(ended.exit, Some(Exit::Code(0)));
        assert!(ended.out_bytes > size - (1 << 17), "{shape}: {ended:?}");
        assert!(ended.cut_bytes > size - (2 << 20), "{shape}: {ended:?}");
    }
}

#[test]
fn p4_a_supervisor_that_does_not_listen_slows_the_program_and_can_still_stop_it() {
    let (open, gate) = channel::<()>();
    let (send, messages) = channel();
    let spec = KeeperSpec { output_bytes_max: u64::MAX, grace_ms: 200, ..spec(&["flood", "100000000"]) };
    let handle = Keeper::spawn(Path::new(FIXTURE), &spec, move |message| {
        let is_line = matches!(message, FromKeeper::Out { .. });
        drop(send.send(message));
        if is_line {
            let _ = gate.recv();
        }
    })
    .unwrap();
    let Ok(FromKeeper::Started { process }) = messages.recv_timeout(PATIENCE) else { panic!("not started") };
    assert!(matches!(messages.recv_timeout(PATIENCE), Ok(FromKeeper::Out { .. })));
    handle.stop(false).unwrap();
    assert!(process.wait_end(PATIENCE), "the stop got through");
    assert!(peak_kib(handle.pid()) < 16 << 10);
    drop(open);
    let last = messages.iter().last();
    assert!(matches!(last, Some(FromKeeper::Ended(Ended { reason: EndReason::Stopped, .. }))), "{last:?}");
}

#[test]
fn p4_bytes_that_are_no_text_do_no_harm() {
    let tree = Tree::start(&spec(&["garbage"]));
    tree.program();
    let (messages, ended) = tree.all();
    let lines: Vec<&str> =
        messages.iter().filter_map(|m| if let FromKeeper::Out { line } = m { Some(line.as_str()) } else { None }).collect();
    assert_eq!(lines, ["nul\0nul", "\u{fffd}\u{fffd}\u{fffd}", "", "\u{fffd}"]);
    assert!(messages.contains(&FromKeeper::Err { line: "\u{fffd} bad".to_owned() }));
    assert_eq!(ended.exit, Some(Exit::Code(0)));
}
