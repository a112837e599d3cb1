//! Locks that somebody else holds, and lock files that somebody left: each is named, and none stops a run for good.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use agentops::error::{MERGE_REFUSED, NEEDS_DECISION};
use serde_json::{Value, json};

use crate::room::{Room, quick_script, refs, scripted};

/// A shell that holds a lock as an agent would take it, until it is told to go.
#[expect(clippy::disallowed_methods, reason = "the test plays another program")]
fn hold(path: &Path) -> Child {
    let script = format!("exec 9>>'{}'; flock 9; echo held; read go", path.display());
    let mut shell = Command::new("sh");
    let mut shell = shell.args(["-c", &script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(shell.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "held\n");
    shell
}

fn let_go(mut shell: Child) {
    drop(shell.stdin.take());
    shell.wait().unwrap();
}

/// Asks until something waits for a lock long enough to be named.
fn named(room: &Room, args: &[&str]) -> Value {
    loop {
        let view = room.run(args).expect(0).json();
        if !view["waiting_for_lock"].as_array().unwrap().is_empty() {
            return view;
        }
    }
}

#[test]
fn r11_a_run_that_waits_for_a_lock_names_who_holds_it_and_can_be_cancelled() {
    let room = Room::new();
    let lock = room.repo().join(".git/agentops-lanes.lock");
    let holder = hold(&lock);
    let args = scripted(&room, "quick", quick_script());
    let run = room.detach(&args);
    let status = named(&room, &["status", "--json"]);
    let waiting = &status["waiting_for_lock"][0];
    assert_eq!((&waiting["run"], &waiting["lock"]), (&json!(run), &json!(lock.display().to_string())));
    assert_eq!(waiting["step"], "implement/implement/open/1");
    let who = format!("process {} (sh -c", holder.id());
    assert!(waiting["holders"][0].as_str().unwrap().starts_with(&who), "{waiting}");
    let words = format!("implement/implement/open/1 waits for the lock {}: {who}", lock.display());
    for command in [&["status"][..], &["show", &run]] {
        let text = room.run(command).expect(0).stdout;
        assert!(text.contains(&words), "{text}");
    }
    assert_eq!(named(&room, &["show", &run, "--json"])["waiting_for_lock"][0]["holders"], waiting["holders"]);

    // While the lock is still held.
    room.run(&["cancel", &run]).expect(0);
    assert_eq!(room.run(&["show", &run, "--json"]).expect(0).json()["status"]["status"], "cancelled");
    // Nor does the next supervisor wait for it before it answers.
    room.kill_supervisor();
    let second = room.detach(&args);
    let_go(holder);
    room.run(&["logs", &second, "--follow"]).expect(0);
    assert_eq!(room.run(&["show", &second, "--json"]).expect(0).json()["status"]["status"], "done");
    assert_eq!(room.run(&["status", "--json"]).expect(0).json()["waiting_for_lock"], json!([]));
}

#[test]
fn r11_a_command_that_waits_for_a_lock_names_who_holds_it() {
    let room = Room::new();
    let args = scripted(&room, "quick", quick_script());
    let folder = room.repo().join(".git/agentops");
    std::fs::create_dir_all(&folder).unwrap();
    let lock = folder.join("identity.lock");
    let holder = hold(&lock);
    let mut command = room.command(&refs(&args));
    let mut run = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let words = format!("waiting for the lock {}, which process {} (sh -c", lock.display(), holder.id());
    let mut said = BufReader::new(run.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(said.any(|line| line.contains(&words)));
    let_go(holder);
    let _rest: Vec<String> = said.collect();
    assert!(run.wait().unwrap().success());
}

/// Types the command that words name to remove a lock file.
#[track_caller]
#[expect(clippy::disallowed_methods, reason = "a shell has to read the command")]
fn remove_as_said(words: &str) {
    let (_, typed) = words.split_once("remove it: `").unwrap_or_else(|| panic!("{words}"));
    let (typed, _) = typed.split_once('`').unwrap();
    assert!(Command::new("sh").args(["-c", typed]).status().unwrap().success(), "{typed}");
}

#[test]
fn r11_a_lock_file_of_git_in_the_way_is_named_with_what_removes_it() {
    let room = Room::new();
    let git = room.repo().join(".git");
    let mut script = quick_script();
    let plant = format!(": > '{}'", git.join("packed-refs.lock").display());
    let steps = script[0]["steps"].as_array_mut().unwrap();
    steps.insert(1, json!({ "do": "run", "argv": ["sh", "-c", plant] }));
    let stopped = room.run(&refs(&scripted(&room, "quick", script))).expect(NEEDS_DECISION.into()).json();
    let run = stopped["run"].as_str().unwrap();
    let detail = stopped["decisions"][0]["detail"].as_str().unwrap();
    let said = format!("the lock file {} is in the way of `git update-ref", git.join("packed-refs.lock").display());
    assert!(detail.contains(&said), "{detail}");
    assert!(detail.contains("a git that is at work made it, or one that was killed left it"), "{detail}");
    remove_as_said(detail);
    assert_eq!(room.run(&["resume", run, "--json"]).expect(0).json()["status"]["status"], "done");

    room.name_user();
    let head = room.git(&["rev-parse", "HEAD"]);
    for name in ["index.lock", "HEAD.lock"] {
        std::fs::write(git.join(name), "").unwrap();
        let refused = room.run(&["merge", run, "--no-test"]).expect(MERGE_REFUSED.into()).stderr;
        let said = format!("the lock file {} is in the way of `git merge`", git.join(name).display());
        assert!(refused.contains(&said), "{refused}");
        assert!(refused.contains(&format!("hint: nothing was merged; then: agentops merge {run}")), "{refused}");
        let doctor = room.run(&["doctor"]).stdout;
        assert!(doctor.contains(&format!("rm {}", git.join(name).display())), "{doctor}");
        remove_as_said(&refused);
        assert_eq!((room.git(&["rev-parse", "HEAD"]), room.git(&["status", "--porcelain"])), (head.clone(), String::new()));
    }
    room.run(&["merge", run, "--no-test"]).expect(0);
}
