//! What keeps an agent's work when its agent has exited.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use agentops::error::NEEDS_DECISION;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::namespace::shell_with_mounts;
use crate::room::{Ran, Room, close_out, quick_script, refs, scripted};

/// A run whose agent does something, writes a file and leaves one line in the file `effects` outside its lane.
fn run_that(room: &Room, does: &str) -> Vec<String> {
    let effect = json!({ "do": "run", "argv": ["sh", "-c", "echo \"$AGENTOPS_SESSION\" >> ../../../../../effects"] });
    let does = json!({ "do": "run", "argv": ["sh", "-c", does] });
    scripted(
        room,
        "quick",
        json!([
            { "when": "lane `implement`", "steps": [
                { "do": "call", "usage": 20000 },
                { "do": "write", "path": "done.txt", "content": "done\n" }, does, effect
            ] },
            { "when": "lane `close-out`", "steps": [
                { "do": "call", "usage": 9000 },
                { "do": "out", "file": "close-out.json", "content": close_out("done.txt") }
            ] }
        ]),
    )
}

/// The run asks about a lane's checkpoint, and the question says this.
fn asks_about_the_checkpoint(asked: &Value, words: &str) {
    assert_eq!(asked["decisions"][0]["kind"], "checkpoint-failed", "{asked}");
    assert_eq!(asked["decisions"][0]["scope"], "lane");
    let detail = asked["decisions"][0]["detail"].as_str().unwrap();
    assert!(detail.contains(words), "{detail}");
}

fn effects(room: &Room) -> usize {
    std::fs::read_to_string(room.root().join("effects")).unwrap().lines().count()
}

/// Runs with the repository's objects on a disk of their own, which the agent makes unusable. `repair` makes it usable again,
/// and the run goes on to its end.
fn objects_cannot_be_written(breaks: &str, repair: &str, words: &str) {
    let room = Room::new();
    let args = run_that(&room, breaks);
    let args = args.iter().map(|arg| format!("'{arg}'")).collect::<Vec<_>>().join(" ");
    let script = format!(
        "cp -a .git/objects ../objects-copy && mount -t tmpfs -o size=32m none .git/objects || exit 74\n\
         cp -a ../objects-copy/. .git/objects/ || exit 74\n'{0}' {args}; code=$?\n\
         {repair} || exit 77; '{0}' resume --json > ../resumed || exit 76\n\
         git fsck --connectivity-only >&2 || exit 75; exit $code",
        env!("CARGO_BIN_EXE_agentops")
    );
    let Some(out) = shell_with_mounts(&room, &script) else { return };
    let ran = Ran::of(&out);
    assert_eq!(ran.code, i32::from(NEEDS_DECISION), "{ran:?}");
    asks_about_the_checkpoint(&ran.json(), words);
    let resumed: Value = serde_json::from_slice(&std::fs::read(room.root().join("resumed")).unwrap()).unwrap();
    assert_eq!(resumed["status"]["status"], "done");
    assert_eq!(effects(&room), 1);
}

/// R2, R5: the repository's disk is full when the agent's work is to be kept. The agent is not run again for it: its effect
/// outside happens once, the question names the disk, and when there is space `resume` repeats the checkpoint only.
#[test]
fn r5_a_full_disk_under_a_checkpoint_asks_a_person_and_runs_no_agent_again() {
    // There was enough space when the run started.
    let fill = "head -c 3000000 /dev/urandom > large.bin; cat /dev/zero > ../../../../../repo/.git/objects/filling || true";
    objects_cannot_be_written(fill, "rm .git/objects/filling", "No space left on device");
}

#[test]
fn r2_r5_a_read_only_disk_under_a_checkpoint_asks_a_person_and_runs_no_agent_again() {
    let protect = "mount -o remount,ro ../../../../../repo/.git/objects";
    objects_cannot_be_written(protect, "mount -o remount,rw .git/objects", "Read-only file system");
}

/// What an agent had only begun to write when it was killed is in no commit and in no bundle: the run ends as if the agent had
/// not been killed.
#[test]
fn r2_p6_what_a_killed_agent_had_only_begun_to_write_goes_nowhere() {
    let unfinished = "tmp.10813.f32c3e664049";
    let ended = |killed: bool| {
        let room = Room::new();
        let begins = |lane: &str, file: &str| {
            let once = room.root().join(format!("{lane}-was-killed"));
            let does =
                format!("if [ ! -e {once:?} ]; then touch {once:?}; echo half > {file}.{unfinished}; kill -9 $PPID; fi");
            json!({ "do": "run", "argv": ["sh", "-c", if killed { &does } else { "true" }] })
        };
        let args = scripted(
            &room,
            "quick",
            json!([
                { "when": "lane `implement`", "steps": [
                    { "do": "call", "usage": 20000 }, begins("implement", "done.txt"),
                    { "do": "write", "path": "done.txt", "content": "done\n" }
                ] },
                { "when": "lane `close-out`", "steps": [
                    { "do": "call", "usage": 9000 }, begins("close-out", ".agentops-out/close-out.json"),
                    { "do": "out", "file": "close-out.json", "content": close_out("done.txt") }
                ] }
            ]),
        );
        let view = room.run(&refs(&args)).expect(0).json();
        let files = room.git(&["ls-tree", "-r", "--name-only", view["branch"].as_str().unwrap()]);
        assert!(!files.contains(unfinished), "{files}");
        let after = |phase: usize| view["phases"][phase]["bundle"]["tokens_after"].as_u64().unwrap();
        ([after(0), after(1)], room.run(&["show", view["run"].as_str().unwrap()]).expect(0).stdout)
    };
    let (bundles, _) = ended(false);
    let (after, shown) = ended(true);
    assert_eq!(bundles, after);
    let words = "left out what the agent had only begun to write when it ended: ";
    assert_eq!(shown.matches(words).count(), 2, "{shown}");
}

/// Puts a program before git that does this before it runs a command of that name.
fn wrap_git(room: &mut Room, name: &str, does: &str) {
    let path = std::env::var("PATH").unwrap();
    let git = std::env::split_paths(&path).map(|folder| folder.join("git")).find(|git| git.is_file()).unwrap();
    let folder = room.root().join("programs");
    std::fs::create_dir(&folder).unwrap();
    let text = format!("#!/bin/sh\nfor arg; do if [ \"$arg\" = {name} ]; then {does}; fi; done\nexec {git:?} \"$@\"\n");
    std::fs::write(folder.join("git"), text).unwrap();
    std::fs::set_permissions(folder.join("git"), std::fs::Permissions::from_mode(0o755)).unwrap();
    room.set("PATH", format!("{}:{path}", folder.display()));
}

/// Does this in place of `git check-attr`, as long as the file `broken` is there.
fn break_check_attr(room: &mut Room, instead: &str) {
    let broken = room.root().join("broken");
    std::fs::write(&broken, "").unwrap();
    wrap_git(room, "check-attr", &format!("if [ -e {broken:?} ]; then {instead}; fi"));
}

fn ends_done_once_git_is_mended(room: &Room) {
    std::fs::remove_file(room.root().join("broken")).unwrap();
    let resumed = room.run(&["resume", "--json"]).expect(0).json();
    assert_eq!(resumed["status"]["status"], "done");
    assert_eq!(effects(room), 1);
}

#[test]
fn r2_r5_a_check_attr_that_fails_asks_a_person_and_runs_no_agent_again() {
    let mut room = Room::new();
    break_check_attr(&mut room, "echo 'fatal: planted' >&2; exit 128");
    let args = run_that(&room, "true");
    let asked = room.run(&refs(&args)).expect(i32::from(NEEDS_DECISION)).json();
    asks_about_the_checkpoint(&asked, "fatal: planted");
    ends_done_once_git_is_mended(&room);
}

/// One that hangs is ended by its time limit. The test ends it before.
#[test]
fn r2_r5_a_check_attr_that_hangs_and_is_ended_runs_no_agent_again() {
    let mut room = Room::new();
    let pids = room.pipe("pids");
    break_check_attr(&mut room, &format!("echo $$ > {pids:?}; exec sleep 1000"));
    let args = run_that(&room, "true");
    // Open at both ends, so that the pipe never ends.
    let hanging = BufReader::new(File::options().read(true).write(true).open(&pids).unwrap());
    let killer = std::thread::spawn(move || end_each(hanging));
    let asked = room.run(&refs(&args)).expect(i32::from(NEEDS_DECISION)).json();
    std::fs::write(&pids, "no more\n").unwrap();
    assert!(killer.join().unwrap() > 0);
    asks_about_the_checkpoint(&asked, "check-attr");
    ends_done_once_git_is_mended(&room);
}

/// Kills each process of a list until it ends, and says how many there were.
fn end_each(pids: BufReader<File>) -> usize {
    let pids = pids.lines().map_while(|line| line.unwrap().parse().ok());
    pids.map(|pid| kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap()).count()
}

/// A git that waits in the checkpoint stands for one that takes long.
#[test]
fn p2_cancel_does_not_wait_for_a_long_checkpoint_and_says_what_is_under_way() {
    let mut room = Room::new();
    let (arrived, go, hold) = (room.pipe("arrived"), room.pipe("go"), room.root().join("hold"));
    let wait = format!("if rm {hold:?} 2> /dev/null; then echo in > {arrived:?}; cat {go:?} >&2; fi");
    wrap_git(&mut room, "write-tree", &wait);
    let mut script = quick_script();
    let touch = json!({ "do": "run", "argv": ["touch", hold] });
    script[0]["steps"].as_array_mut().unwrap().push(touch);
    let run = room.detach(&scripted(&room, "quick", script));
    assert_eq!(std::fs::read_to_string(&arrived).unwrap(), "in\n");
    let cancelled = room.run(&["cancel", &run]).expect(0);
    let text = format!("{}{}", cancelled.stdout, cancelled.stderr);
    assert!(text.contains("still under way: implement/implement/checkpoint/1.1"), "{text}");
    std::fs::write(&go, "").unwrap();
    let _ended_as_cancelled = room.run(&["logs", &run, "--follow"]);
    let view = room.run(&["show", &run, "--json"]).expect(0).json();
    assert_eq!(view["status"]["status"], "cancelled");
    let kept = room.git(&["for-each-ref", "--format=%(refname)", &format!("refs/agentops/runs/{run}/")]);
    assert_eq!(room.git(&["show", &format!("{kept}:done.txt")]), "done");
}

/// Git fails in the checkpoint that is under way when the run is cancelled, and again in the next one.
#[test]
fn r11_a_run_that_is_cancelled_during_a_checkpoint_ends_although_every_checkpoint_fails() {
    let mut room = Room::new();
    let (arrived, go, hold) = (room.pipe("arrived"), room.pipe("go"), room.root().join("hold"));
    let first = format!("if [ -s {hold:?} ]; then : > {hold:?}; echo in > {arrived:?}; cat {go:?} >&2; fi");
    wrap_git(&mut room, "write-tree", &format!("if [ -e {hold:?} ]; then {first}; echo planted >&2; exit 1; fi"));
    let args = run_that(&room, "echo first > ../../../../../hold");
    let run = room.detach(&args);
    assert_eq!(std::fs::read_to_string(&arrived).unwrap(), "in\n");
    let mut command = room.command(&["cancel", &run]);
    let mut cancel = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut notes = BufReader::new(cancel.stderr.take().unwrap());
    let mut text = String::new();
    while !text.contains("waiting for implement/implement/checkpoint/1.1") {
        assert_ne!(notes.read_line(&mut text).unwrap(), 0, "{text}");
    }
    let next = room.run(&["show", &run, "--json"]).expect(0).json()["next"].clone();
    assert!(!next.to_string().contains("cancel"), "it would be refused: {next}");
    std::fs::write(&go, "").unwrap();
    notes.read_to_string(&mut text).unwrap();
    let ended = Ran::of(&cancel.wait_with_output().unwrap()).expect(0);
    assert!(ended.stdout.contains("cancelled") && text.contains("was not removed"), "{ended:?} {text}");
    let shown = room.run(&["show", &run]).expect(0).stdout;
    assert!(shown.contains("lane stays"), "{shown}");
    assert_eq!(effects(&room), 1, "no agent ran again");
}
