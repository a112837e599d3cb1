//! Lanes as an agent and a person meet them: a git of their own, and made again where somebody removed them.

use serde_json::json;

use crate::ceiling::ends;
use crate::room::{Room, quick_script, refs, scripted};

#[test]
fn r11_a_run_goes_on_after_its_lanes_or_their_records_were_deleted() {
    let room = Room::new();
    for damage in ["lanes", "records", "nothing"] {
        let mut script = quick_script();
        let fails = json!({ "when": "lane `implement`, session 1", "steps": [
            { "do": "call", "usage": 9000 }, { "do": "write", "path": "first.txt", "content": "first\n" },
            { "do": "fail", "failure": "not-logged-in", "message": "please log in" }
        ] });
        script.as_array_mut().unwrap().insert(0, fails);
        let view = room.run(&refs(&scripted(&room, "quick", script))).expect(4).json();
        let run = view["run"].as_str().unwrap();
        match damage {
            "lanes" => std::fs::remove_dir_all(room.private(&format!("lanes/{run}")).unwrap()).unwrap(),
            "records" => std::fs::remove_dir_all(room.repo().join(".git/agentops/lanes")).unwrap(),
            _ => {}
        }
        let view = room.run(&["resume", run, "--json"]).expect(0).json();
        assert_eq!(ends(&view), ["not-logged-in", "completed"], "{damage}");
        let detail = &view["phases"][0]["lanes"][0]["sessions"][1]["detail"];
        assert_eq!(detail.as_str().unwrap_or_default().contains("was gone"), damage != "nothing", "{damage}: {detail}");
        let files = room.git(&["ls-tree", "-r", "--name-only", view["branch"].as_str().unwrap()]);
        assert!(files.contains("done.txt") && files.contains("first.txt"), "{damage}: {files}");
        assert_eq!(room.git(&["for-each-ref", "refs/agentops/lanes/"]), "", "{damage}");
    }
}

#[test]
fn s6_a_copied_file_reaches_no_branch_after_its_lane_or_its_record_was_lost() {
    let room = Room::new();
    room.file(".env.local", "PASSWORD=of-the-user-alone\n");
    let config = "[lane]\ncopy = [\".env.local\"]\nsetup = [[\"cp\", \"README.md\", \"generated.txt\"]]\n";
    room.file(".agentops/config.toml", config);
    room.git(&["add", ".agentops"]);
    room.git(&["commit", "--quiet", "-m", "settings"]);
    let name = room.git(&["hash-object", ".env.local"]);
    for damage in ["lanes", "records"] {
        let mut script = quick_script();
        // What set-up brought is there again, as it was before the first session.
        let look = "test -f .env.local && test -f generated.txt && echo yes > seen.txt";
        script[0]["steps"].as_array_mut().unwrap().push(json!({ "do": "run", "argv": ["sh", "-c", look] }));
        let fails = json!({ "when": "lane `implement`, session 1", "steps": [
            { "do": "call", "usage": 9000 }, { "do": "fail", "failure": "not-logged-in", "message": "please log in" }
        ] });
        script.as_array_mut().unwrap().insert(0, fails);
        let view = room.run(&refs(&scripted(&room, "quick", script))).expect(4).json();
        let run = view["run"].as_str().unwrap();
        match damage {
            "lanes" => std::fs::remove_dir_all(room.private(&format!("lanes/{run}")).unwrap()).unwrap(),
            _ => std::fs::remove_dir_all(room.repo().join(".git/agentops/lanes")).unwrap(),
        }
        let view = room.run(&["resume", run, "--json"]).expect(0).json();
        let files = room.git(&["ls-tree", "-r", "--name-only", view["branch"].as_str().unwrap()]);
        assert!(files.contains("seen.txt") && !files.contains(".env.local"), "{damage}: {files}");
        // Without its record, what set-up programs made cannot be told from the agent's work.
        assert_eq!(files.contains("generated.txt"), damage == "records", "{damage}: {files}");
        assert!(!room.git(&["cat-file", "--batch-all-objects", "--batch-check"]).contains(&name), "{damage}");
    }
}

#[test]
fn r11_a_deleted_checkpoint_ref_is_set_again_before_its_commit_is_needed() {
    let room = Room::new();
    let (view, first) = with_pruned_checkpoint(&room, Deleted::BeforeTheSession);
    let checkpoints = room.git(&["for-each-ref", "--format=%(refname)", "refs/agentops/runs/"]);
    assert!(checkpoints.lines().any(|name| name == first), "{checkpoints}");
    assert_eq!(view["phases"][0]["lanes"][0]["sessions"][1]["detail"], json!(null));
}

#[test]
fn r11_a_checkpoint_whose_parent_is_gone_builds_on_the_newest_commit_that_is_there() {
    let room = Room::new();
    let (view, _) = with_pruned_checkpoint(&room, Deleted::DuringTheSession);
    let detail = view["phases"][0]["lanes"][0]["sessions"][1]["detail"].as_str().unwrap();
    let base = view["base"].as_str().unwrap();
    assert!(detail.contains("was gone from the repository") && detail.contains(base), "{detail}");
}

#[derive(PartialEq)]
enum Deleted {
    BeforeTheSession,
    DuringTheSession,
}

/// A run whose first checkpoint lost its ref before its second session, or during it, and whose repository was pruned in that
/// session. All of its work is in its result. Gives its end, and the name of the ref.
fn with_pruned_checkpoint(room: &Room, deleted: Deleted) -> (serde_json::Value, String) {
    let git = format!("git -C '{}'", room.repo().display());
    let mut commands = format!("{git} gc -q --prune=now");
    if deleted == Deleted::DuringTheSession {
        let each = format!("{git} for-each-ref --format='delete %(refname)' refs/agentops/runs");
        commands = format!("{each} | {git} update-ref --stdin && {commands}");
    }
    let mut script = quick_script();
    script[0]["steps"].as_array_mut().unwrap().insert(0, json!({ "do": "run", "argv": ["sh", "-c", commands] }));
    let fails = json!({ "when": "lane `implement`, session 1", "steps": [
        { "do": "call", "usage": 9000 }, { "do": "write", "path": "first.txt", "content": "first\n" },
        { "do": "fail", "failure": "not-logged-in", "message": "please log in" }
    ] });
    script.as_array_mut().unwrap().insert(0, fails);
    let view = room.run(&refs(&scripted(room, "quick", script))).expect(4).json();
    let run = view["run"].as_str().unwrap();
    let checkpoints = || room.git(&["for-each-ref", "--format=%(refname)", &format!("refs/agentops/runs/{run}/")]);
    let first = checkpoints();
    assert!(first.ends_with("/1") && first.lines().count() == 1, "{first}");
    if deleted == Deleted::BeforeTheSession {
        room.git(&["update-ref", "-d", &first]);
    }
    let view = room.run(&["resume", run, "--json"]).expect(0).json();
    assert_eq!(ends(&view), ["not-logged-in", "completed"]);
    let files = room.git(&["ls-tree", "-r", "--name-only", view["branch"].as_str().unwrap()]);
    assert!(files.contains("done.txt") && files.contains("first.txt"), "{files}");
    (view, first)
}

#[test]
fn r11_a_lane_that_is_deleted_or_emptied_during_its_session_is_lost_and_the_run_goes_on() {
    let room = Room::new();
    for (how, command) in [
        ("deleted", "rm -rf \"$PWD\""),
        ("emptied", "git add first.txt && git -c user.name=a -c user.email=a@b commit -qm 'an attempt' && rm -rf * .[!g]*"),
    ] {
        let mut script = quick_script();
        let loses = json!({ "when": "lane `implement`, session 1", "steps": [
            { "do": "call", "usage": 9000 }, { "do": "write", "path": "first.txt", "content": "first\n" },
            { "do": "run", "argv": ["sh", "-c", command] }
        ] });
        script.as_array_mut().unwrap().insert(0, loses);
        let view = room.run(&refs(&scripted(&room, "quick", script))).expect(4).json();
        assert_eq!(ends(&view), ["lane-lost"], "{how}");
        let detail = view["phases"][0]["lanes"][0]["sessions"][0]["detail"].as_str().unwrap();
        assert!(detail.contains("are lost") && detail.contains("an attempt") == (how == "emptied"), "{how}: {detail}");
        let run = view["run"].as_str().unwrap();
        let view = room.run(&["resume", run, "--json"]).expect(0).json();
        assert_eq!(ends(&view), ["lane-lost", "completed"], "{how}");
        let files = room.git(&["ls-tree", "-r", "--name-only", view["branch"].as_str().unwrap()]);
        assert!(files.contains("done.txt") && files.contains("README.md") && !files.contains("first.txt"), "{how}: {files}");
    }
    let salvaged = room.git(&["for-each-ref", "--format=%(subject)", "refs/agentops/salvage/"]);
    assert_eq!(salvaged, "an attempt");
}

#[test]
fn p2_the_set_up_of_a_lane_that_is_made_again_can_be_cancelled() {
    let room = Room::new();
    let (arrived, go, now) = (room.pipe("arrived"), room.pipe("go"), room.root().join("now"));
    let wait = format!("test ! -e '{}' || {{ echo in > '{}'; cat '{}'; }}", now.display(), arrived.display(), go.display());
    let setup = json!([["sh", "-c", wait]]);
    let config = format!("[commands]\ntest = [\"sh\", \"check.sh\"]\n[lane]\nsetup = {setup}\n");
    room.file(".agentops/config.toml", &config);
    room.git(&["commit", "--quiet", "--all", "-m", "settings"]);
    let mut script = quick_script();
    let fails = json!({ "when": "lane `implement`, session 1", "steps": [
        { "do": "call", "usage": 9000 }, { "do": "fail", "failure": "not-logged-in", "message": "please log in" }
    ] });
    script.as_array_mut().unwrap().insert(0, fails);
    let view = room.run(&refs(&scripted(&room, "quick", script))).expect(4).json();
    let run = view["run"].as_str().unwrap();
    std::fs::remove_dir_all(room.private(&format!("lanes/{run}")).unwrap()).unwrap();
    std::fs::write(&now, "").unwrap();
    let mut resume = room.command(&["resume", run]).stdout(std::process::Stdio::null()).spawn().unwrap();
    assert_eq!(std::fs::read_to_string(&arrived).unwrap(), "in\n");
    room.run(&["cancel", run]).expect(0);
    resume.wait().unwrap();
    let view = room.run(&["show", run, "--json"]).expect(0).json();
    assert_eq!(view["status"]["status"], "cancelled", "{view}");
    assert!(crate::room::marked(&room).is_empty());
}

#[test]
fn an_agent_commits_stashes_and_branches_in_its_lane_and_what_is_left_is_named() {
    let room = Room::new();
    let git = r#"
        set -e
        test -z "$(git stash list)"
        git config user.name agent
        git config user.email agent@localhost
        git checkout -q -b attempt
        echo x > attempt.txt
        git add attempt.txt
        git commit -qm 'an attempt'
        git checkout -q --detach HEAD~1
        git diff --quiet main
        git log --oneline --all > /dev/null
        echo 'put aside by the agent' >> README.md
        git stash -q
        test "$(git stash list | wc -l)" = 1
    "#;
    let mut script = quick_script();
    script[0]["steps"].as_array_mut().unwrap().push(json!({ "do": "run", "argv": ["sh", "-c", git] }));
    std::fs::write(room.repo().join("README.md"), "private\n").unwrap();
    room.git(&["stash", "--quiet"]);
    let out = room.run(&refs(&scripted(&room, "quick", script))).expect(0);
    let text = format!("{}{}", out.stdout, out.stderr);
    assert!(text.contains("an attempt"), "{text}");
    let kept = room.git(&["for-each-ref", "--format=%(refname) %(subject)", "refs/agentops/salvage/"]);
    let kept: Vec<(&str, &str)> = kept.lines().map(|line| line.split_once(' ').unwrap()).collect();
    let of = |subject: &str| kept.iter().find(|(_, known)| known.starts_with(subject)).map(|(name, _)| *name);
    let (Some(_attempt), Some(stash), 2) = (of("an attempt"), of("WIP on (no branch)"), kept.len()) else {
        panic!("{kept:?}")
    };
    assert!(room.git(&["show", &format!("{stash}:README.md")]).ends_with("put aside by the agent"));
    assert!(text.contains(stash), "{text}");
    assert_eq!(room.git(&["branch", "--list", "attempt"]), "");
    assert_eq!(room.git(&["stash", "list"]).lines().count(), 1);
    assert_eq!(room.git(&["show", "stash@{0}:README.md"]), "private");
}

#[test]
fn p6_a_run_survives_that_its_base_is_amended_and_pruned_meanwhile() {
    let room = Room::new();
    let base = room.git(&["rev-parse", "HEAD"]);
    let git = format!("git -C '{}' -c user.name=User -c user.email=user@localhost", room.repo().display());
    let prune = format!("{git} reflog expire --expire=now --all && {git} gc -q --prune=now");
    let amend = format!("{git} commit -q --amend -m amended && {prune}");
    let mut script = quick_script();
    for (conversation, command) in [(0, amend), (1, prune)] {
        let step = json!({ "do": "run", "argv": ["sh", "-c", command] });
        script[conversation]["steps"].as_array_mut().unwrap().push(step);
    }
    let view = room.run(&refs(&scripted(&room, "quick", script))).expect(0).json();
    let branch = view["branch"].as_str().unwrap();
    assert_eq!(room.git(&["merge-base", branch, &base]), base);
    assert_ne!(room.git(&["rev-parse", "main"]), base, "it was amended");
    room.git(&["fsck", "--strict"]);
}
