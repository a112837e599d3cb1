//! What would keep a run's result from being written is said before the first session, with what to type.

use crate::namespace::shell_with_mounts;
use crate::room::{Ran, Room, quick_script, refs, scripted};

/// Types what stands behind a hint's colon.
fn typed(room: &Room, said: &Ran) {
    let command =
        said.stderr.lines().filter(|line| line.starts_with("hint")).find_map(|line| line.split_once(": git ")).unwrap().1;
    let words: Vec<&str> = command.split(' ').collect();
    room.git(&words);
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

#[test]
fn that_git_does_not_know_who_merges_is_noted_before_anything_runs_and_the_hint_works() {
    let mut room = Room::new();
    let args = scripted(&room, "quick", quick_script());
    // Otherwise git guesses a name where the machine has a full host name.
    room.git(&["config", "user.useConfigOnly", "true"]);
    let said = |room: &Room| {
        let dry = room.run(&[&refs(&args)[..], &["--dry-run"]].concat()).expect(0).stdout;
        [dry, room.run(&["doctor"]).stdout].map(|text| text.contains("git does not know who you are"))
    };
    assert_eq!(said(&room), [true, true]);
    room.name_user();
    assert_eq!(said(&room), [false, false]);
    room.git(&["config", "--unset", "user.name"]);
    assert_eq!(said(&room), [true, true]);
    // A merge is a commit with both.
    room.set("GIT_COMMITTER_NAME", "Someone");
    room.set("GIT_COMMITTER_EMAIL", "someone@localhost");
    assert_eq!(said(&room), [true, true]);
    room.set("GIT_AUTHOR_NAME", "Someone");
    assert_eq!(said(&room), [false, false]);
}

/// Codex leaves the helper of its sandbox out there, and each of its commands fails.
#[test]
fn a_state_folder_where_codex_cannot_work_is_refused_before_anything_runs() {
    use std::os::unix::fs::PermissionsExt;
    let mut room = Room::new();
    let bin = room.root().join("bin");
    std::fs::create_dir(&bin).unwrap();
    std::fs::write(bin.join("codex"), "#!/bin/sh\necho codex-cli 0.169.0\n").unwrap();
    std::fs::set_permissions(bin.join("codex"), std::fs::Permissions::from_mode(0o755)).unwrap();
    room.set("PATH", format!("{}:{}", bin.display(), std::env::var("PATH").unwrap()));
    room.run(&["run", "x", "--workflow=quick", "--driver=codex", "--dry-run"]).expect(0);
    let above = room.root().display().to_string();
    room.set("TMPDIR", above);
    let words = "lies in the system's temporary folder, where codex runs no commands";
    let refused = room.run(&["run", "x", "--workflow=quick", "--driver=codex", "--dry-run"]);
    let refused = refused.expect(agentops::error::USAGE.into());
    assert!(refused.stderr.contains(words) && refused.stderr.contains("--state-dir"), "{refused:?}");
    let doctor = room.run(&["doctor"]).stdout;
    assert!(doctor.contains(words) && doctor.contains("--state-dir"), "{doctor}");
}

/// `quick` has two lanes, and its gate a work tree: three times the files of the commit must fit, and what the run records.
#[test]
fn r5_a_run_without_space_for_its_lanes_is_refused_before_its_first_session() {
    let room = Room::new();
    room.file("large.bin", &"0123456789abcdef".repeat(256 * 1024));
    room.git(&["add", "large.bin"]);
    room.git(&["commit", "--quiet", "-m", "a large file"]);
    let args = scripted(&room, "quick", quick_script());
    let words = args.iter().map(|arg| format!("'{arg}'")).collect::<Vec<_>>().join(" ");
    let script = format!(
        "mount -t tmpfs -o size=16m none '{state}' || exit 74\n\
         cp -a .git/objects ../objects-copy && mount -t tmpfs -o size=6m none .git/objects || exit 74\n\
         cp -a ../objects-copy/. .git/objects/ || exit 74\n\
         for size in 16 32; do mount -o remount,size=${{size}}m '{state}'\n\
           echo \"== $size\"; '{agentops}' doctor 2>&1; '{agentops}' {words} 2>&1; echo \"code $?\"; '{agentops}' status --json\n\
         done\n\
         mount -o remount,size=32m .git/objects\n\
         echo '== enough'; '{agentops}' {words}; echo \"code $?\"",
        state = room.state().display(),
        agentops = env!("CARGO_BIN_EXE_agentops")
    );
    let Some(out) = shell_with_mounts(&room, &script) else { return };
    let ran = Ran::of(&out);
    let parts: Vec<&str> = ran.stdout.split("== ").collect();
    let [_, lanes, repository, enough] = parts[..] else { panic!("{ran:#?}") };
    let said = |part: &str, doctor: &str, run: &str, hint: &str| {
        for sentence in [doctor, run] {
            assert!(part.contains(sentence), "no `{sentence}` in\n{part}");
        }
        assert!(part.matches(hint).count() >= 2, "no `{hint}` in\n{part}");
        assert!(part.contains(&format!("code {}", agentops::error::USAGE)) && part.contains("\"runs\": []"), "{part}");
    };
    let of_lanes = format!("the disk of the lanes and the state folder ({}", room.state().display());
    assert!(lanes.contains(&of_lanes), "{lanes}");
    said(
        lanes,
        "MiB free, and a run needs at least 16.0 MiB: 2 work trees of 4.0 MiB each, and 8.0 MiB for what it records",
        "MiB free, and a run needs at least 20.0 MiB: 3 work trees of 4.0 MiB each, and 8.0 MiB for what it records",
        "free some space on it, or name a folder on another disk with --state-dir",
    );
    let of_objects = "MiB free, and a run needs at least 8.0 MiB for what it records";
    assert!(repository.contains("the disk of the repository ("), "{repository}");
    said(repository, of_objects, of_objects, "free some space on it");
    assert!(enough.contains("code 0"), "{ran:#?}");
}

#[test]
fn r5_a_run_that_cannot_write_the_repository_is_refused_before_its_first_session() {
    let room = Room::new();
    let args = scripted(&room, "quick", quick_script());
    let words = args.iter().map(|arg| format!("'{arg}'")).collect::<Vec<_>>().join(" ");
    let script = format!(
        "mount --bind .git/objects .git/objects && mount -o remount,bind,ro .git/objects || exit 74\n\
         '{agentops}' doctor; '{agentops}' {words} 2>&1; echo \"code $?\"; '{agentops}' status --json\n\
         umount .git/objects; echo '== mended'; '{agentops}' {words}; echo \"code $?\"",
        agentops = env!("CARGO_BIN_EXE_agentops")
    );
    let Some(out) = shell_with_mounts(&room, &script) else { return };
    let ran = Ran::of(&out);
    let Some((before, after)) = ran.stdout.split_once("== mended") else { panic!("{ran:#?}") };
    let words = ".git/objects cannot be written: its disk is mounted for reading only";
    assert_eq!(before.matches(words).count(), 2, "{ran:#?}");
    assert_eq!(before.matches("mount its disk for writing").count(), 2, "{ran:#?}");
    assert!(before.contains(&format!("code {}", agentops::error::USAGE)) && before.contains("\"runs\": []"), "{ran:#?}");
    assert!(after.contains("code 0"), "{ran:#?}");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the test plays a shell with a limit")]
fn r5_a_limit_on_the_size_of_files_is_named_with_what_to_do() {
    let room = Room::new();
    let args = scripted(&room, "quick", quick_script());
    let in_shell = |args: &[&str]| {
        let command = room.command(args);
        let mut shell = std::process::Command::new("sh");
        // In blocks of 512 bytes or of 1 KiB, as the shell counts.
        shell.args(["-c", "ulimit -f 64 && exec \"$0\" \"$@\""]).arg(command.get_program()).args(command.get_args());
        shell.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        Ran::of(&shell.current_dir(room.repo()).stdin(std::process::Stdio::null()).output().unwrap())
    };
    let refused = in_shell(&refs(&args));
    assert_eq!(refused.code, i32::from(agentops::error::FAILED), "{refused:#?}");
    let dry = in_shell(&[&refs(&args)[..], &["--dry-run"]].concat());
    for said in [refused.stdout + &refused.stderr, dry.stdout + &dry.stderr, in_shell(&["doctor"]).expect(1).stdout] {
        for words in ["KiB (ulimit -f)", "a supervisor needs 16384 KiB", "`ulimit -f unlimited`"] {
            assert!(said.contains(words), "no {words} in {said}");
        }
    }
    room.run(&refs(&args)).expect(0);
}
