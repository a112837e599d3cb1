//! R1, R2, P3: the supervisor is killed at its N-th durable boundary, for every N; the next one brings the run to the
//! same end.
//!
//! SIGKILL of the real process, not a panic. What must hold afterwards is in `Ended::look`.

use std::process::Stdio;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use agentops::error::NEEDS_DECISION;
use agentops_engine::crash::BOUNDARIES;

use crate::compared::{Ended, RUN, Template};
use crate::room::{Ran, Room, slow};

/// Starts the run in a supervisor that is killed at boundary `n`, and waits until that one is dead.
fn crash(room: &Room, trust: &str, n: u64) -> Ran {
    let out = room.command(&[&RUN[..], &[trust, "--detach"]].concat()).env("AGENTOPS_CRASH_AT", n.to_string()).output();
    room.await_supervisor();
    Ran::of(&out.unwrap())
}

/// Resumes the run, if there is one, in supervisors that are killed at boundary `n` of their own or end because nothing is left.
fn resume(room: &Room, n: u64) {
    let mut command = room.command(&["resume"]);
    command.env("AGENTOPS_CRASH_AT", n.to_string()).stdout(Stdio::null()).stderr(Stdio::null());
    assert!(command.status().is_ok());
    room.await_supervisor();
}

/// Brings the only run of the room to its end; `None` when there is none, because the crash came before it was acknowledged.
fn finish(room: &Room, acknowledged: &Ran) -> Option<String> {
    let status = room.run(&["status", "--json"]).expect(0).json();
    let runs = status["runs"].as_array().unwrap();
    assert!(runs.len() <= 1, "{runs:?}");
    if acknowledged.code == 0 {
        assert_eq!(runs[0]["run"], acknowledged.json()["run"], "an acknowledged run is kept");
    }
    let run = runs.first()?["run"].as_str()?.to_owned();
    if runs[0]["status"] != "done" {
        let resumed = room.run(&["resume", &run, "--json"]);
        // Where one session lost its supervisor three times, a person is asked whether it is to go on, and says so.
        if resumed.code == i32::from(NEEDS_DECISION) && resumed.json()["status"]["decision"]["kind"] == "interrupted" {
            room.run(&["resume", &run, "--json"]).expect(0);
        } else {
            resumed.expect(0);
        }
    }
    Some(run)
}

/// The uncrashed run: what it comes to, and the boundaries that it passes.
fn uncrashed(template: &Template) -> (Ended, Vec<String>) {
    let (room, user) = template.copy();
    let log = room.root().join("boundaries");
    let out = room.command(&[&RUN[..], &[&template.trust]].concat()).env("AGENTOPS_CRASH_LOG", &log).output().unwrap();
    let view = Ran::of(&out).expect(0).json();
    let passed = std::fs::read_to_string(&log).unwrap().lines().map(str::to_owned).collect();
    let ended = Ended::look(&room, view["run"].as_str().unwrap(), &user);
    assert_eq!(ended.completed["implement/first"], 2, "the gate refused once");
    (ended, passed)
}

/// Plays `crashes` in a few threads; each is the boundaries at which one supervisor after the other is killed.
fn play(template: &Template, crashes: &[Vec<u64>], expected: &Ended) {
    let (next, failed) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    let one = || {
        while let Some(at) = crashes.get(usize::try_from(next.fetch_add(1, Ordering::SeqCst)).unwrap()) {
            let (room, user) = template.copy();
            let tried = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                let acknowledged = crash(&room, &template.trust, at[0]);
                for n in &at[1..] {
                    resume(&room, *n);
                }
                if let Some(run) = finish(&room, &acknowledged) {
                    assert_eq!(Ended::look(&room, &run, &user), *expected);
                } else {
                    assert_ne!(acknowledged.code, 0);
                    assert!(!room.root().join("effects").exists());
                }
            }));
            if tried.is_err() {
                failed.lock().unwrap().push(format!("crash at {at:?}:\n{}", room.story()));
            }
        }
    };
    std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(one))));
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{} crashes were not survived: {}", failed.len(), failed.join("\n"));
}

#[test]
fn r1_r2_whatever_boundary_the_supervisor_dies_at_the_run_ends_the_same_and_nothing_is_done_twice() {
    let template = Template::new();
    let (expected, passed) = uncrashed(&template);
    for boundary in BOUNDARIES {
        assert!(passed.iter().any(|name| name == boundary), "no run passes {boundary}");
    }
    let all = passed.len() as u64;
    // Always among them: the gate has refused, and the session that is to be reset to the merge has begun and done nothing.
    let gate = passed.iter().enumerate().filter(|(_, name)| *name == "lane-after-open").nth(3).unwrap().0;
    let refused = gate + passed[gate..].iter().position(|name| name == "ledger-after-commit").unwrap() + 1;
    let spread = (0..24).map(|i| 1 + i * (all - 1) / 23).chain([refused as u64]);
    let picked: Vec<Vec<u64>> =
        if slow() { (1..=all).map(|n| vec![n]).collect() } else { spread.map(|n| vec![n]).collect() };
    let began = std::time::Instant::now();
    play(&template, &picked, &expected);
    println!("{} of {all} boundaries crashed at, in {:.1} s", picked.len(), began.elapsed().as_secs_f32());
}

#[test]
fn r1_r2_a_second_supervisor_that_dies_while_it_takes_over_changes_nothing() {
    let template = Template::new();
    let (expected, passed) = uncrashed(&template);
    let all = passed.len() as u64;
    // The first dies somewhere, the second early, where it takes over, and once later; a third goes on after that.
    let step = if slow() { 11 } else { 53 };
    let firsts = (3..all).step_by(step);
    let crashes: Vec<Vec<u64>> = firsts.enumerate().map(|(i, n)| vec![n, 1 + i as u64 % 9, 5 + i as u64 * 7 % 40]).collect();
    play(&template, &crashes, &expected);
    println!("{} chains of three crashes", crashes.len());
}
