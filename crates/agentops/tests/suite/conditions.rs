//! What would keep a run's result from being written is said before the first session, with what to type.

use crate::room::{Ran, Room, quick_script, refs, scripted};

/// Types what stands behind a hint's colon.
#[expect(clippy::disallowed_methods, reason = "the test types what the program said")]
fn typed(room: &Room, said: &Ran) {
    let command =
        said.stderr.lines().filter(|line| line.starts_with("hint")).find_map(|line| line.split_once(": git ")).unwrap().1;
    let words: Vec<&str> = command.split(' ').collect();
    let out = std::process::Command::new("git").args(words).current_dir(room.repo()).output().unwrap();
    assert!(out.status.success(), "{command}: {}", String::from_utf8_lossy(&out.stderr));
}

#[test]
fn a_ref_in_the_way_of_the_result_is_named_before_anything_runs_and_the_hint_works() {
    let room = Room::new();
    let args = scripted(&room, "quick", quick_script());
    room.git(&["branch", "agentops"]);
    room.git(&["update-ref", "refs/agentops/runs", "HEAD"]);
    let doctor = room.run(&["doctor"]).expect(1).stdout;
    assert!(doctor.contains("the branch `agentops` is in the way"), "{doctor}");
    assert!(doctor.contains("the ref `refs/agentops/runs` is in the way"), "{doctor}");
    for name in ["the branch `agentops`", "the ref `refs/agentops/runs`"] {
        let refused = room.run(&["run", "x", "--workflow=quick", "--driver=scripted"]);
        let refused = refused.expect(agentops::error::USAGE.into());
        assert!(refused.stderr.contains(name), "{refused:?}");
        typed(&room, &refused);
    }
    assert_eq!(room.run(&["status", "--json"]).expect(0).json()["runs"], serde_json::json!([]));
    let view = room.run(&refs(&args)).expect(0).json();
    assert_eq!(view["status"]["status"], "done", "{view:#}");
}

#[test]
fn a_signature_that_cannot_be_made_is_noted_before_anything_runs_and_the_hint_works() {
    let room = Room::new();
    let args = scripted(&room, "quick", quick_script());
    let dry = || room.run(&[&refs(&args)[..], &["--dry-run"]].concat()).expect(0).stdout;
    let missing = "git signs your commits (commit.gpgSign) and the program";
    assert!(!dry().contains(missing));
    room.git(&["config", "commit.gpgSign", "true"]);
    for (format, name) in [("openpgp", "gpg.program"), ("ssh", "gpg.ssh.program"), ("x509", "gpg.x509.program")] {
        room.git(&["config", "gpg.format", format]);
        for program in ["no-such-program-to-sign-with", "/nowhere/gpg"] {
            room.git(&["config", name, program]);
            let noted = format!("{missing} {program} is not there");
            assert!(dry().contains(&noted), "{}", dry());
            let doctor = room.run(&["doctor"]).stdout;
            assert!(doctor.contains(&noted), "{doctor}");
        }
        // Any program that is there will do for this check.
        room.git(&["config", name, "git"]);
        assert!(!dry().contains(missing), "{}", dry());
        room.git(&["config", name, "/nowhere/gpg"]);
    }
    room.git(&["config", "commit.gpgSign", "false"]);
    assert!(!dry().contains(missing), "{}", dry());
}
