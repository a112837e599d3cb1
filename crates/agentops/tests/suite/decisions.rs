//! What a run cannot settle by itself: it waits, or it asks a person, and goes on from there without losing anything.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Stdio;

use agentops_core::run::{Event, Key, SessionEnd};
use agentops_engine::world::Entry;
use serde_json::{Value, json};

use crate::ceiling::ends;
use crate::room::{Ran, Room, close_out, quick_script, refs, scripted};

fn run(room: &Room, workflow: &str, script: Value, code: i32) -> Value {
    room.run(&refs(&scripted(room, workflow, script))).expect(code).json()
}

fn resume(room: &Room, view: &Value, code: i32) -> Value {
    room.run(&["resume", view["run"].as_str().unwrap(), "--json"]).expect(code).json()
}

/// Waits until a session has ended because of its provider. The ledger's own lines say when.
pub fn provider_failed(room: &Room, run: &str) -> Entry {
    let mut logs = room.command(&["logs", run, "--follow", "--json"]).stdout(Stdio::piped()).spawn().unwrap();
    let failed = BufReader::new(logs.stdout.take().unwrap())
        .lines()
        .map(|line| serde_json::from_str::<Entry>(&line.unwrap()).unwrap())
        .find(|entry| matches!(entry.event, Event::SessionEnded { end: SessionEnd::Provider, .. }))
        .unwrap();
    logs.kill().unwrap();
    logs.wait().unwrap();
    failed
}

#[test]
fn a_provider_that_fails_is_waited_for_even_when_the_supervisor_dies_meanwhile() {
    let room = Room::new();
    let mut script = quick_script();
    let fails = json!({ "when": "lane `implement`, session 1", "steps": [
        { "do": "call", "usage": 9000 }, { "do": "fail", "failure": "provider", "message": "overloaded" }
    ] });
    script.as_array_mut().unwrap().insert(0, fails);
    let run = room.detach(&scripted(&room, "quick", script));
    let failed = provider_failed(&room, &run);
    let view = room.run(&["show", &run, "--json"]).expect(0).json();
    assert_eq!(view["status"]["waiting"]["for"], "provider");
    assert_eq!(view["status"]["waiting"]["until_ms"], failed.at_ms + 5000);
    room.kill_supervisor();
    let view = room.run(&["resume", &run, "--json"]).expect(0).json();
    assert_eq!(ends(&view), ["provider", "completed"]);
    let entries = room.entries(&run);
    let fired = |entry: &&Entry| matches!(&entry.event, Event::TimerFired { key: Key::Backoff { tries: 1, .. } });
    let fired: Vec<_> = entries.iter().filter(fired).collect();
    assert_eq!(fired.len(), 1);
    assert!(fired[0].at_ms >= failed.at_ms + 4900, "not before its time: {} {}", failed.at_ms, fired[0].at_ms);
}

/// `quick`, whose first session is not logged in.
fn without_login() -> Value {
    let mut script = quick_script();
    let fails = json!({ "when": "lane `implement`, session 1", "steps": [
        { "do": "fail", "failure": "not-logged-in", "message": "please log in" }
    ] });
    script.as_array_mut().unwrap().insert(0, fails);
    script
}

#[test]
fn without_a_login_a_person_is_asked_and_the_next_session_goes_on() {
    let room = Room::new();
    let view = run(&room, "quick", without_login(), 4);
    assert_eq!(view["status"]["decision"]["kind"], "not-logged-in");
    assert_eq!(view["detail"], "please log in");
    let view = resume(&room, &view, 0);
    assert_eq!(ends(&view), ["not-logged-in", "completed"]);
}

/// A file of the state folder is gone between two sessions: what is lost has a name, and the run goes on where it can.
#[test]
fn r11_a_lost_hand_over_is_named_and_a_note_takes_its_place() {
    let room = Room::new();
    let mut script = quick_script();
    for session in ["session 1", "session 2", "session 3"] {
        let fails = json!({ "when": format!("lane `implement`, {session}"), "steps": [
            { "do": "call", "usage": 9000 }, { "do": "fail", "failure": "program", "message": "broken" }
        ] });
        script.as_array_mut().unwrap().insert(0, fails);
    }
    let view = run(&room, "quick", script, 4);
    assert_eq!(view["status"]["decision"]["kind"], "agent-failed");
    let hand_over = room.entries(view["run"].as_str().unwrap()).into_iter().rev().find_map(|entry| match entry.event {
        Event::SessionEnded { hand_over, .. } => hand_over,
        _ => None,
    });
    let hand_over = hand_over.unwrap();
    std::fs::remove_file(room.private(&format!("blobs/{hand_over}")).unwrap()).unwrap();
    let view = resume(&room, &view, 4);
    assert_eq!(view["status"]["decision"]["kind"], "not-started");
    let detail = view["detail"].as_str().unwrap();
    assert!(detail.contains("the hand-over of the session before") && detail.contains("agentops resume"), "{detail}");
    let view = resume(&room, &view, 0);
    assert!(ends(&view).ends_with(&["not-started", "completed"]), "{:?}", ends(&view));
    let sessions = view["phases"][0]["lanes"][0]["sessions"].as_array().unwrap();
    let detail = sessions.last().unwrap()["detail"].as_str().unwrap();
    assert!(detail.contains("started without the hand-over of the session before"), "{detail}");
}

/// Without an agent's prompt a run cannot go on, and says so.
#[test]
fn r11_a_lost_prompt_says_that_the_run_cannot_go_on() {
    let room = Room::new();
    let view = run(&room, "quick", without_login(), 4);
    let entries = room.entries(view["run"].as_str().unwrap());
    let Event::Created(created) = &entries[0].event else { panic!("{:?}", entries[0]) };
    let prompt = &created.agents[&"implement".parse().unwrap()].prompt;
    std::fs::remove_file(room.private(&format!("blobs/{prompt}")).unwrap()).unwrap();
    for _ in 0..2 {
        let view = resume(&room, &view, 4);
        let detail = view["detail"].as_str().unwrap();
        assert!(
            detail.contains("the prompt of agent `implement` is lost") && detail.contains("agentops cancel"),
            "{detail}"
        );
    }
}

/// An agent program that cannot be started has not failed: no retry is used up, and a person is asked at once.
#[test]
fn r2_an_agent_that_could_not_be_started_has_not_failed() {
    let room = Room::new();
    let program = room.root().join("agent");
    let write = |first_line: &str| {
        std::fs::write(&program, format!("{first_line}\necho done > done.txt\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    write("#!/no/such/interpreter");
    for agent in ["implement", "close-out"] {
        let settings = format!("settings:\n  program: {}\n  model: none", program.display());
        let file = format!("---\nname: {agent}\ndescription: Works.\ndriver: command\n{settings}\n---\nYou work.\n");
        room.file(&format!(".agentops/agents/{agent}.md"), &file);
    }
    let args = ["run", "write done.txt", "--workflow=quick", "--approve=all", "--json"];
    let dry = room.run(&[&args[..], &["--dry-run"]].concat()).expect(0).json();
    let trust = format!("--trust={}", dry["subject"]["hash"].as_str().unwrap());
    let view = room.run(&[&args[..], &[&trust]].concat()).expect(4).json();
    assert_eq!(view["status"]["decision"]["kind"], "not-started");
    assert!(view["detail"].as_str().unwrap().contains("could not be started"), "{view:#}");
    std::fs::remove_file(&program).unwrap();
    let view = resume(&room, &view, 4);
    assert_eq!(view["status"]["decision"]["kind"], "not-started");
    write("#!/bin/sh");
    // The last phase has nobody who writes its document.
    let view = resume(&room, &view, 4);
    let sessions = view["phases"][0]["lanes"][0]["sessions"].as_array().unwrap();
    let ends: Vec<_> = sessions.iter().map(|session| session["end"].as_str().unwrap()).collect();
    assert_eq!(ends, ["not-started", "not-started", "completed"], "{view:#}");
}

#[test]
fn what_a_lane_for_documents_changes_is_dropped_and_said() {
    let room = Room::new();
    let mut script = quick_script();
    let change = json!({ "do": "write", "path": "README.md", "content": "mine\n" });
    script[1]["steps"].as_array_mut().unwrap().insert(0, change);
    let view = run(&room, "quick", script, 0);
    let session = &view["phases"][1]["lanes"][0]["sessions"][0];
    assert_eq!(session["dropped"], 1);
    assert!(session["detail"].as_str().unwrap().contains("README.md"), "{session}");
    let branch = view["branch"].as_str().unwrap();
    assert_eq!(room.git(&["show", &format!("{branch}:README.md")]), "# A project");
}

/// The workflow `two`: `quick`, whose first phase has the lanes `one` and `two`.
fn two_lanes(room: &Room) {
    room.file(
        ".agentops/workflows/two.toml",
        &include_str!("../../../../profiles/product-dev/workflows/quick.toml").replace("\"quick\"", "\"two\"").replacen(
            "agent = \"implement\"",
            "[[phase.lane]]\nname = \"one\"\nagent = \"implement\"\n[[phase.lane]]\nname = \"two\"\nagent = \"implement\"",
            1,
        ),
    );
}

/// The command that follows a run lends its environment to the next supervisor. Nobody has seen the question, so it stays.
#[test]
fn r2_a_command_that_lends_its_environment_to_the_next_supervisor_answers_no_question() {
    let room = Room::new();
    two_lanes(&room);
    let (pipe, call) = (room.pipe("ready"), json!({ "do": "call", "usage": 9000 }));
    let hold = json!({ "do": "run", "argv": ["sh", "-c", format!("echo ready > {}; sleep 1000", pipe.display())] });
    let script = json!([
        { "when": "lane `one`", "steps": [{ "do": "fail", "failure": "not-logged-in", "message": "please log in" }] },
        { "when": "lane `two`, session 1", "steps": [call, hold] },
        { "when": "lane `two`, session 2", "steps": [call, { "do": "write", "path": "done.txt", "content": "done\n" }] }
    ]);
    let mut command = room.command(&refs(&scripted(&room, "two", script)));
    let mut following = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    std::fs::read(&pipe).unwrap();
    let mut notes = BufReader::new(following.stderr.take().unwrap()).lines().map(|line| line.unwrap());
    assert!(notes.any(|line| line.contains("implement/one needs you")), "the question is asked while the other lane works");
    room.kill_supervisor();
    notes.for_each(drop);
    let view = Ran::of(&following.wait_with_output().unwrap()).expect(4).json();
    assert_eq!(view["decisions"][0]["kind"], "not-logged-in", "{view:#}");
    let lanes = view["phases"][0]["lanes"].as_array().unwrap();
    let ends = |lane: &Value| -> Vec<String> {
        let sessions = lane["sessions"].as_array().unwrap();
        sessions.iter().map(|session| session["end"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(
        (ends(&lanes[0]), ends(&lanes[1])),
        (vec!["not-logged-in".into()], vec!["interrupted".into(), "completed".into()])
    );
    let resumed = room.run(&["resume", view["run"].as_str().unwrap(), "--json"]);
    assert!(resumed.stderr.contains("answers implement/one: the agent program is not logged in"), "{resumed:?}");
}

#[test]
fn a_conflict_needs_a_decision_and_resume_brings_the_second_lane_on_top() {
    let room = Room::new();
    two_lanes(&room);
    let write = |content: &str| json!({ "do": "write", "path": "done.txt", "content": content });
    let call = json!({ "do": "call", "usage": 9000 });
    let append = json!({ "do": "append", "path": "done.txt", "content": "two\n" });
    let close = json!({ "do": "out", "file": "close-out.json", "content": close_out("done.txt") });
    let script = json!([
        { "when": "lane `close-out`", "steps": [call, close] },
        { "when": "Bring your change in again", "steps": [call, append] },
        { "when": "lane `one`", "steps": [call, write("one\n")] },
        { "when": "lane `two`", "steps": [call, write("two\n")] }
    ]);
    let view = run(&room, "two", script, 4);
    let decision = &view["status"]["decision"];
    assert_eq!((&decision["kind"], &decision["place"]), (&json!("conflict"), &json!("two")));
    let view = resume(&room, &view, 0);
    let branch = view["branch"].as_str().unwrap();
    assert_eq!(room.git(&["show", &format!("{branch}:done.txt")]), "one\ntwo");
    assert_eq!(ends(&view), ["completed"], "the first lane worked once");
}

#[test]
fn files_with_a_content_filter_need_a_decision_and_never_reach_the_branch_raw() {
    let room = Room::new();
    room.file(".gitattributes", "*.bin filter=lfs\n");
    room.git(&["add", "-A"]);
    room.git(&["commit", "--quiet", "-m", "large files"]);
    let mut script = quick_script();
    let raw = json!({ "do": "write", "path": "picture.bin", "content": "raw\n" });
    script[0]["when"] = "lane `implement`, session 2".into();
    let other = json!({ "do": "write", "path": "notes.txt", "content": "of the first session\n" });
    let first = json!({ "when": "lane `implement`, session 1", "steps": [{ "do": "call", "usage": 9000 }, raw, other] });
    script.as_array_mut().unwrap().insert(0, first);
    let view = run(&room, "quick", script, 4);
    assert_eq!(view["status"]["decision"]["kind"], "filtered-files");
    assert!(view["detail"].as_str().unwrap().contains("picture.bin"), "{view}");
    // The next session does something else altogether, on top of what the first did besides.
    let view = resume(&room, &view, 0);
    assert_eq!(ends(&view), ["filtered", "completed"]);
    let files = room.git(&["ls-tree", "-r", "--name-only", view["branch"].as_str().unwrap()]);
    assert!(files.contains("done.txt") && files.contains("notes.txt") && !files.contains("picture.bin"), "{files}");
    let kept = room.git(&["for-each-ref", "--format=%(refname)", "refs/agentops/runs/"]);
    assert_eq!(room.git(&["show", &format!("{}:picture.bin", kept.lines().next().unwrap())]), "raw", "but it is kept");
}

/// `quick`, whose first session makes a repository with a history of its own in its lane.
fn with_nested_repository() -> Value {
    let mut script = quick_script();
    let git = |args: &str| {
        let argv: Vec<&str> =
            ["git", "-c", "user.name=a", "-c", "user.email=a@example.org"].into_iter().chain(args.split(' ')).collect();
        json!({ "do": "run", "argv": argv })
    };
    let steps = [
        git("init -q web"),
        json!({ "do": "write", "path": "web/app.js", "content": "1\n" }),
        git("-C web add ."),
        git("-C web commit -q -m first"),
    ];
    script[0]["steps"].as_array_mut().unwrap().extend(steps);
    script
}

/// The folder of the lane that a detail names.
fn lane_of(detail: &str) -> PathBuf {
    detail.split_once('(').and_then(|(_, rest)| rest.split_once(')')).unwrap().0.into()
}

#[test]
fn p6_work_that_no_checkpoint_holds_is_named_and_needs_a_decision() {
    let room = Room::new();
    let view = run(&room, "quick", with_nested_repository(), 4);
    assert_eq!(view["status"]["decision"]["kind"], "work-omitted");
    let detail = view["detail"].as_str().unwrap();
    assert!(detail.contains("- web: "), "{detail}");
    assert!(lane_of(detail).join("web/.git").exists(), "the lane is kept until a person decides");
    let session = &view["phases"][0]["lanes"][0]["sessions"][0];
    assert_eq!(session["omitted"][0]["path"], "web");
    let shown = room.run(&["show", view["run"].as_str().unwrap()]).expect(0).stdout;
    assert!(shown.contains("omitted") && shown.contains("web: "), "{shown}");
    let view = resume(&room, &view, 0);
    assert_eq!(ends(&view), ["completed"], "nothing is done again");
    let branch = view["branch"].as_str().unwrap();
    assert_eq!(room.git(&["show", &format!("{branch}:web/app.js")]), "1");
}

/// Who went on without a file has agreed to what it held then, and to nothing that a later session writes there.
#[test]
fn p6_work_that_changes_after_a_person_accepted_it_is_asked_about_again() {
    let room = Room::new();
    room.file(".gitattributes", "*.raw filter=nobody\n");
    room.git(&["add", ".gitattributes"]);
    room.git(&["commit", "--quiet", "-m", "attributes"]);
    let mut script = quick_script();
    for (session, content) in [(1, "first\n"), (2, "second\n")] {
        script.as_array_mut().unwrap().insert(
            0,
            json!({ "when": format!("lane `implement`, session {session}"), "steps": [
            { "do": "call", "usage": 9000 }, { "do": "write", "path": "large.raw", "content": content }
        ] }),
        );
    }
    let mut view = run(&room, "quick", script, 4);
    for (session, content) in [(1, "first"), (2, "second")] {
        assert_eq!(view["status"]["decision"]["kind"], "filtered-files", "{view:#}");
        let detail = view["detail"].as_str().unwrap();
        let kept = format!("refs/agentops/runs/{}/implement/implement/{session}:", view["run"].as_str().unwrap());
        assert!(detail.contains(&format!("git show {kept}PATH")), "{detail}");
        assert_eq!(room.git(&["show", &format!("{kept}large.raw")]), content);
        view = resume(&room, &view, if session == 2 { 0 } else { 4 });
    }
    assert_eq!(ends(&view), ["filtered", "filtered", "completed"], "the third session left it as it was");
}

/// Everything that the program keeps in the repository is gone: the lane's files are enough.
#[test]
fn r11_a_checkpoint_that_was_pruned_is_written_again_from_its_lane() {
    let room = Room::new();
    let view = run(&room, "quick", with_nested_repository(), 4);
    room.kill_supervisor();
    let checkpoint = room.git(&["for-each-ref", "--format=%(objectname)", "refs/agentops/runs"]);
    assert!(!checkpoint.is_empty() && !checkpoint.contains('\n'), "{checkpoint}");
    for name in room.git(&["for-each-ref", "--format=%(refname)", "refs/agentops"]).lines() {
        room.git(&["update-ref", "-d", name]);
    }
    room.git(&["gc", "--quiet", "--prune=now"]);
    std::fs::remove_dir_all(room.repo().join(".git/agentops/lanes")).unwrap();
    let objects = || room.git(&["cat-file", "--batch-all-objects", "--batch-check"]);
    assert!(!objects().contains(&checkpoint), "it is gone");
    let view = resume(&room, &view, 0);
    assert_eq!(ends(&view), ["completed"], "nothing is done again");
    assert!(objects().contains(&checkpoint));
    // The lane had no record any more, and is removed all the same.
    assert!(!room.private("lanes").unwrap().join(view["run"].as_str().unwrap()).exists());
    assert_eq!(room.git(&["for-each-ref", "refs/agentops/lanes"]), "");
    let branch = view["branch"].as_str().unwrap();
    assert_eq!(room.git(&["show", &format!("{branch}:web/app.js")]), "1");
}

/// Neither the end of the run nor the next supervisor removes the only copy of that work.
#[test]
fn p6_a_lane_with_work_that_no_checkpoint_holds_outlives_its_cancelled_run() {
    let room = Room::new();
    let view = run(&room, "quick", with_nested_repository(), 4);
    let (run, lane) = (view["run"].as_str().unwrap(), lane_of(view["detail"].as_str().unwrap()));
    room.run(&["cancel", run]).expect(0);
    let shown = room.run(&["show", run]).expect(0).stdout;
    assert!(shown.contains("lane stays") && shown.contains(lane.to_str().unwrap()), "{shown}");
    assert!(lane.join("web/.git").exists());
    room.kill_supervisor();
    // Starts another supervisor.
    room.run(&["discard", run]).expect(0);
    assert!(lane.join("web/.git").exists());
}

#[test]
fn s6_a_file_that_set_up_copied_reaches_no_branch_and_every_round_has_it() {
    let room = Room::new();
    let secret = "PASSWORD=of-the-user-alone\n";
    room.file(".env.local", secret);
    let config = "[commands]\ntest = [\"sh\", \"check.sh\"]\n[lane]\ncopy = [\".env.local\"]\nsetup = [[\"cp\", \"README.md\", \"generated.txt\"]]\n";
    room.file(".agentops/config.toml", config);
    room.git(&["add", ".agentops"]);
    room.git(&["commit", "--quiet", "-m", "settings"]);
    let mut script = quick_script();
    // The first round is refused by the test, and the second one still finds both files.
    script[0]["when"] = "This is round 2".into();
    let look = json!({ "do": "run", "argv": ["cat", ".env.local", "generated.txt"] });
    script[0]["steps"].as_array_mut().unwrap().insert(0, look);
    let first = json!({ "when": "lane `implement`, session 1", "steps": [
        { "do": "call", "usage": 9000 }, { "do": "write", "path": "notes.txt", "content": "1\n" }
    ] });
    script.as_array_mut().unwrap().insert(0, first);
    let view = run(&room, "quick", script, 0);
    assert_eq!(ends(&view), ["completed", "completed"]);
    let branch = view["branch"].as_str().unwrap();
    let files = room.git(&["ls-tree", "-r", "--name-only", branch]);
    assert!(files.contains("notes.txt") && files.contains("done.txt"), "{files}");
    assert!(!files.contains(".env.local") && !files.contains("generated.txt"), "{files}");
    let name = room.git(&["hash-object", ".env.local"]);
    assert!(!room.git(&["cat-file", "--batch-all-objects", "--batch-check"]).contains(&name), "not even as an object");
}
