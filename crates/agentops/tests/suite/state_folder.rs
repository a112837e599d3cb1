//! The state folder: half-made ledgers, full disks, and what commands say of them.

use agentops::error::{FAILED, NEEDS_DECISION, NOT_NOW, TRUST_REQUIRED};
use agentops_agents::process::ProcessId;

use serde_json::json;

use crate::ceiling::ends;
use crate::namespace::shell_with_mounts;
use crate::once::held;
use crate::room::{Ran, Room, bytes_of, marked, quick_script, refs, scripted};

impl Room {
    /// Runs the program for a repository at another path of this room.
    fn run_at(&self, place: &str, args: &[&str]) -> Ran {
        let repo = format!("--repo={}", self.root().join(place).display());
        self.run(&[args, &[&repo]].concat())
    }

    #[expect(clippy::disallowed_methods, reason = "the test does what a user does")]
    fn cp(&self, from: &str, to: &str) {
        let copied =
            std::process::Command::new("cp").arg("-r").args([self.root().join(from), self.root().join(to)]).status();
        assert!(copied.unwrap().success());
    }
}

/// The repository is moved while its supervisor works: the next command finds the state, the old supervisor ends, and the
/// next one goes on at the new place with the lane that is there.
#[test]
fn r9_a_repository_that_is_moved_during_a_run_goes_on_there() {
    let room = Room::new();
    room.run(&["trust", "add", "--workflow=quick", "--driver=scripted"]).expect(0);
    let (run, hold) = held(&room);
    let first = ProcessId::of(room.supervisor().unwrap()).unwrap();
    let id = room.id();
    std::fs::rename(room.repo(), room.root().join("moved")).unwrap();
    std::fs::create_dir(room.repo()).unwrap();
    // Nobody waits at the pipe any more when the session is repeated.
    room.release("hold");

    let status = room.run_at("moved", &["status", "--json"]).expect(0);
    assert_eq!(status.json()["runs"][0]["run"], run.as_str());
    assert!(status.stderr.contains(&format!("was at {}", room.repo().display())), "{status:?}");
    let view = room.run_at("moved", &["resume", &run, "--json"]).expect(0).json();
    let sessions = view["phases"][0]["lanes"][0]["sessions"].as_array().unwrap();
    let ends: Vec<_> = sessions.iter().map(|session| session["end"].as_str().unwrap()).collect();
    assert_eq!((ends, &view["takeovers"]), (vec!["interrupted", "completed"], &1.into()));
    // Settings and hooks are where they were, although their paths are others.
    assert_eq!((&view["repository"]["changes"], &view["repository"]["not_compared"]), (&json!([]), &json!([])));
    assert!(!first.is_alive());
    drop(hold);
    assert_eq!((room.id(), marked(&room)), (id, vec![]));
    let trust = room.run_at("moved", &["trust", "show", "--workflow=quick", "--driver=scripted", "--json"]).expect(0);
    assert_eq!(
        (&trust.json()["trusted"], trust.stderr.as_str()),
        (&true.into(), ""),
        "it keeps its trust, and says so once"
    );
    std::fs::remove_dir(room.repo()).unwrap();
    std::fs::rename(room.root().join("moved"), room.repo()).unwrap();
    assert_eq!(room.git(&["show", &format!("agentops/{run}:done.txt")]), "done");
    assert_eq!(room.git(&["worktree", "list", "--porcelain"]).matches("worktree ").count(), 1);
    room.git(&["fsck", "--connectivity-only"]);
}

#[test]
fn s2_a_copied_repository_has_no_runs_and_no_trust_of_the_other() {
    let room = Room::new();
    room.run(&["trust", "add", "--workflow=quick", "--driver=scripted"]).expect(0);
    let args = scripted(&room, "quick", quick_script());
    let run = room.run(&refs(&args)).expect(0).json()["run"].as_str().unwrap().to_owned();
    room.cp("repo", "copy");
    let trusted = |place: &str| {
        let show = ["trust", "show", "--workflow=quick", "--driver=scripted", "--json"];
        room.run_at(place, &show).expect(0).json()["trusted"].clone()
    };
    assert_eq!((trusted("repo"), trusted("copy")), (true.into(), false.into()));
    let status = room.run_at("copy", &["status", "--json"]).expect(0);
    assert_eq!(status.json()["runs"], serde_json::json!([]));
    assert!(status.stderr.contains("is a copy of the one at"), "{status:?}");
    room.run_at("copy", &["show", &run]).refused(NOT_NOW, &["no runs in this repository yet", "is a copy of the one at"]);
    let words: Vec<&str> = args.iter().map(String::as_str).filter(|arg| !arg.starts_with("--trust")).collect();
    room.run_at("copy", &words).expect(TRUST_REQUIRED.into());
    let own = room.run_at("copy", &refs(&args)).expect(0).json()["run"].as_str().unwrap().to_owned();
    let runs = |place: &str| {
        let status = room.run_at(place, &["status", "--json"]).expect(0).json();
        status["runs"].as_array().unwrap().iter().map(|run| run["run"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!((runs("repo"), runs("copy")), (vec![run], vec![own]));
    let supervisor = room.run_at("copy", &["status", "--json"]).json()["supervisor"].as_str().map(str::to_owned);
    if let Some(pid) = supervisor.and_then(|pid| pid.parse().ok()).and_then(ProcessId::of) {
        pid.kill().unwrap();
    }
}

/// Moved to where nothing proves it: a person says whether it is the same repository, and nobody else may.
#[test]
fn r11_doctor_names_a_state_without_its_repository_and_a_person_adopts_it() {
    let room = Room::new();
    let run = room.run(&refs(&scripted(&room, "quick", quick_script()))).expect(0).json()["run"].clone();
    room.kill_supervisor();
    let id = room.id();
    room.cp("repo", "restored");
    std::fs::rename(room.repo(), room.root().join("gone")).unwrap();
    std::fs::remove_dir_all(room.root().join("gone")).unwrap();
    std::fs::create_dir(room.repo()).unwrap();
    let adopt = format!("agentops doctor --adopt {id}");
    room.run_at("restored", &["status"]).refused(NOT_NOW, &[&adopt, "agentops doctor --new-id", "not there any more"]);
    let doctor = room.run_at("restored", &["doctor"]).expect(FAILED.into());
    assert!(doctor.stdout.contains("orphaned state") && doctor.stdout.contains(&adopt), "{doctor:?}");
    room.run_at("restored", &["doctor", "--adopt", &id]).expect(0);
    let status = room.run_at("restored", &["status", "--json"]).expect(0);
    assert_eq!((&status.json()["runs"][0]["run"], status.stderr.as_str()), (&run, ""));

    // A state folder that another command used is named, instead of "no runs yet".
    let elsewhere = format!("--state-dir={}", room.root().join("elsewhere").display());
    let status = room.run_at("restored", &["status", &elsewhere]).expect(0);
    assert!(status.stderr.contains(&format!("in the state folder {}", room.state().display())), "{status:?}");
    assert!(!status.stderr.contains("no runs yet"), "{status:?}");
}

#[test]
fn r1_a_supervisor_that_is_killed_while_it_makes_the_ledger_leaves_no_runs_yet() {
    for n in 1..=2 {
        let room = Room::new();
        let killed = room.command(&["supervise"]).env("AGENTOPS_CRASH_AT", n.to_string()).output().unwrap();
        assert_eq!(killed.status.code(), None, "it was not killed: {killed:?}");
        let ledger = room.private("ledger.db").unwrap();
        assert!(ledger.exists() && (n > 1 || ledger.metadata().unwrap().len() == 0));
        let status = room.run(&["status", "--json"]).expect(0).json();
        assert_eq!(status["runs"], serde_json::json!([]));
        room.run(&["show"]).refused(NOT_NOW, &["no runs in this repository yet"]);
        let doctor = room.run(&["doctor"]).expect(0);
        assert!(doctor.stdout.contains("none yet"), "{doctor:?}");
        room.run(&refs(&scripted(&room, "quick", quick_script()))).expect(0);
    }
}

/// The supervisor dies with its disk full: what reads needs no byte of it and says what is the matter, and the run goes on
/// when there is space.
#[test]
fn r5_status_show_and_doctor_name_a_full_state_disk_and_write_nothing() {
    let room = Room::new();
    let args = scripted(&room, "quick", quick_script());
    let words = args.iter().map(|arg| format!("'{arg}'")).collect::<Vec<_>>().join(" ");
    let script = format!(
        "mount -t tmpfs -o size=16m none '{state}' || exit 74\n\
         AGENTOPS_CRASH_AT=30 '{agentops}' {words} --detach > /dev/null || exit 76\n\
         for lock in '{state}'/*/supervisor.lock; do flock --shared \"$lock\" true || exit 77; done\n\
         rm -f '{state}'/*/ledger.db-shm\n\
         cat /dev/zero > '{state}/ballast' 2> /dev/null\n\
         for command in status show doctor; do echo \"== $command\"; '{agentops}' $command 2>&1; echo \"code $?\"; done\n\
         echo '== resume'; '{agentops}' resume 2>&1; echo \"code $?\"\n\
         rm '{state}/ballast'\n\
         echo '== after'; '{agentops}' resume 2>&1; echo \"code $?\"",
        state = room.state().display(),
        agentops = env!("CARGO_BIN_EXE_agentops")
    );
    let Some(out) = shell_with_mounts(&room, &script) else { return };
    let ran = Ran::of(&out);
    let parts: Vec<&str> = ran.stdout.split("== ").collect();
    let full = format!("the disk of the state folder {}", room.state().display());
    for (part, name, code) in
        [(1, "status", 0), (2, "show", 0), (3, "doctor", FAILED), (4, "resume", FAILED), (5, "after", 0)]
    {
        let Some(said) = parts.get(part) else { panic!("no {name}: {ran:#?}") };
        assert!(said.starts_with(name) && said.contains(&format!("code {code}")), "{said}\n{ran:#?}");
        assert_eq!(said.contains(&full) && said.contains("is full"), name != "after", "{said}");
        assert!(!said.contains("for a supervisor"), "{said}");
    }
}

/// Whatever a command was at when it found the disk full, it names the disk, says what helps, and is no mistake of the typist's.
#[test]
fn r5_merge_discard_and_bundle_name_a_full_disk_and_go_on_with_space() {
    let room = Room::new();
    room.run(&refs(&scripted(&room, "quick", quick_script()))).expect(0);
    let script = format!(
        "mount -t tmpfs -o size=16m none /mnt && cp -a '{repo}/.' /mnt && mount --move /mnt '{repo}' && cd '{repo}' || exit 74\n\
         mount -t tmpfs -o size=16m none /mnt && cp -a '{state}/.' /mnt && mount --move /mnt '{state}' || exit 75\n\
         try() {{ echo \"== $*\"; '{agentops}' \"$@\" 2>&1; echo \"code $?\"; }}\n\
         fill() {{ cat /dev/zero > \"$1\" 2> /dev/null; }}\n\
         fill .git/ballast; try merge --no-test\n\
         fill .git/ballast; try discard\n\
         fill .git/ballast; try bundle create --task 'a task' README.md\n\
         rm .git/ballast\n\
         for lock in '{state}'/*/supervisor.lock; do flock --shared \"$lock\" true || exit 77; done\n\
         fill '{state}/ballast'\n\
         try discard\n\
         rm '{state}/ballast'\n\
         try discard",
        repo = room.repo().display(),
        state = room.state().display(),
        agentops = env!("CARGO_BIN_EXE_agentops")
    );
    let Some(out) = shell_with_mounts(&room, &script) else { return };
    let ran = Ran::of(&out);
    let parts: Vec<&str> = ran.stdout.split("== ").skip(1).collect();
    let [merge, discard, bundle, state, after] = parts[..] else { panic!("{ran:#?}") };
    let repo = room.repo().display().to_string();
    for said in [merge, discard, bundle, state] {
        assert!(said.contains(&format!("code {FAILED}")) && said.contains("hint: free some space"), "{said}");
        assert!(!said.contains("permissions"), "{said}");
    }
    for said in [merge, discard, bundle] {
        assert!(said.contains("No space left on device") && said.contains(&repo), "{said}");
    }
    assert!(state.contains(&format!("the disk of the state folder {}", room.state().display())), "{state}");
    assert!(after.contains("code 0") && after.contains("discarded"), "{after}");
}

/// An agent whose disk fills is not started again and again, which would be paid each time.
#[test]
fn r2_r5_an_agent_that_fails_on_a_full_disk_runs_once_and_goes_on_with_space() {
    let room = Room::new();
    let ballast = room.state().join("ballast");
    let mut script = quick_script();
    let fill = format!("cat /dev/zero > '{}' 2> /dev/null; echo x >> more.txt", ballast.display());
    let mut fails = script[0].clone();
    fails["when"] = json!("lane `implement`, session 1");
    let steps = fails["steps"].as_array_mut().unwrap();
    steps.truncate(1);
    steps.push(json!({ "do": "run", "argv": ["sh", "-c", fill] }));
    steps.push(json!({ "do": "fail", "failure": "program", "message": "a file could not be written" }));
    script.as_array_mut().unwrap().insert(0, fails);
    let words = scripted(&room, "quick", script).iter().map(|arg| format!("'{arg}'")).collect::<Vec<_>>().join(" ");
    let script = format!(
        "mount -t tmpfs -o size=16m none '{state}' || exit 74\n\
         '{agentops}' {words}; echo \"code $?\"\n\
         rm '{ballast}'\n\
         echo '== after'; '{agentops}' resume; echo \"code $?\"; '{agentops}' show --json",
        state = room.state().display(),
        ballast = ballast.display(),
        agentops = env!("CARGO_BIN_EXE_agentops")
    );
    let Some(out) = shell_with_mounts(&room, &script) else { return };
    let ran = Ran::of(&out);
    let (before, after) = ran.stdout.split_once("== after").unwrap();
    assert!(before.contains(&format!("code {NEEDS_DECISION}")), "{ran:#?}");
    let of_lane = format!("the disk of the lane {}", room.state().display());
    assert!(before.contains(&of_lane) && before.contains("is full"), "{ran:#?}");
    assert!(after.contains("code 0"), "{ran:#?}");
    let view: serde_json::Value = serde_json::from_str(&after[after.find('{').unwrap()..]).unwrap();
    assert_eq!(ends(&view), ["disk-full", "completed"]);
}

/// Where the ledger lost everything, the lanes of a waiting run may hold the only copy of its work.
#[test]
fn p6_r7_lanes_of_runs_that_a_damaged_ledger_lost_are_named_and_kept() {
    let room = Room::new();
    let (run, hold) = held(&room);
    room.kill_supervisor();
    let lanes = room.private(&format!("lanes/{run}")).unwrap();
    for file in ["ledger.db", "ledger.db-wal", "ledger.db-shm"] {
        std::fs::remove_file(room.private(file).unwrap()).unwrap();
    }
    let before = bytes_of(&lanes);
    assert!(!before.is_empty());
    let named = || {
        let status = room.run(&["status"]).expect(0);
        let view = room.run(&["status", "--json"]).expect(0).json();
        assert_eq!(view["unknown_runs"], json!([run]));
        assert!(status.stderr.contains(&format!("the ledger does not know {run}")), "{status:#?}");
        assert!(!status.stderr.contains("no runs yet"), "{status:#?}");
        let doctor = room.run(&["doctor"]).expect(FAILED.into());
        assert!(doctor.stdout.contains(&format!("the ledger does not know {run}")), "{doctor:#?}");
    };
    named();
    drop(hold);
    // Another run, and with it a supervisor that clears up, leaves them as they are.
    room.run(&refs(&scripted(&room, "quick", quick_script()))).expect(0);
    named();
    assert_eq!(bytes_of(&lanes), before);
    assert!(room.git(&["for-each-ref", "refs/agentops/lanes"]).contains(&run));
}

/// A copy of a repository that is used with another state folder keeps the id. Whoever takes over there must not end what
/// runs here.
#[test]
fn p3_a_supervisor_ends_no_process_of_another_state_folder() {
    let room = Room::new();
    let (run, _hold) = held(&room);
    let copy = Room::empty();
    copy.copy_repo(&room);
    let args = scripted(&copy, "quick", quick_script());
    copy.run(&refs(&args)).expect(0);
    assert_eq!(copy.id(), room.id(), "both have the same id, which is what this test is about");
    assert_ne!(marked(&room), [], "the session still runs");
    room.run(&["cancel", &run]).expect(0);
    assert_eq!(marked(&room), []);
}
