//! The state folder: half-made ledgers, full disks, and what commands say of them.

use agentops::error::{FAILED, NOT_NOW};

use crate::bad_input::in_namespace;
use crate::room::{Ran, Room, quick_script, refs, scripted};

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
        "mount -t tmpfs -o size=4m none '{state}' || exit 77\n\
         AGENTOPS_CRASH_AT=30 '{agentops}' {words} --detach > /dev/null || exit 76\n\
         while [ \"$('{agentops}' status --json | grep -c '\"supervisor\": null')\" = 0 ]; do :; done\n\
         rm -f '{state}'/*/ledger.db-shm\n\
         cat /dev/zero > '{state}/ballast' 2> /dev/null\n\
         for command in status show doctor; do echo \"== $command\"; '{agentops}' $command 2>&1; echo \"code $?\"; done\n\
         echo '== resume'; '{agentops}' resume 2>&1; echo \"code $?\"\n\
         rm '{state}/ballast'\n\
         echo '== after'; '{agentops}' resume 2>&1; echo \"code $?\"",
        state = room.state().display(),
        agentops = env!("CARGO_BIN_EXE_agentops")
    );
    let ran = Ran::of(&in_namespace(&room, &script));
    if ran.code == 77 || ran.stderr.contains("unshare failed") {
        println!("skipped: this machine gives no user namespace with a file system of its own: {}", ran.stderr);
        return;
    }
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
