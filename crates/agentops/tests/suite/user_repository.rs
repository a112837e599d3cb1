//! P6 and S13: what an agent does to the user's own repository is named with what undoes it, and no merge runs it unasked.

use agentops::error::{FAILED, MERGE_REFUSED, NOT_NOW, TRUST_REQUIRED};
use serde_json::{Value, json};

use crate::room::{Room, quick_script, refs, scripted};

/// A script whose first session also runs these commands in the user's checkout, by its path.
fn script_with(room: &Room, commands: &[&str]) -> Value {
    let mut script = quick_script();
    let steps = script[0]["steps"].as_array_mut().unwrap();
    for command in commands {
        let line = format!("cd '{}' && {command}", room.repo().display());
        steps.insert(1, json!({ "do": "run", "argv": ["sh", "-c", line] }));
    }
    script
}

/// A folder with a post-merge hook that leaves a trace.
fn hooks(room: &Room, name: &str) -> String {
    use std::os::unix::fs::PermissionsExt;
    let folder = room.root().join(name);
    std::fs::create_dir(&folder).unwrap();
    let hook = folder.join("post-merge");
    std::fs::write(&hook, format!("#!/bin/sh\necho {name} >> '{}'\n", room.root().join("hook-ran").display())).unwrap();
    std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o755)).unwrap();
    folder.display().to_string()
}

fn ran(room: &Room) -> String {
    std::fs::read_to_string(room.root().join("hook-ran")).unwrap_or_default()
}

/// Types a command in the checkout.
#[expect(clippy::disallowed_methods, reason = "a person types the command into a shell")]
#[track_caller]
pub fn type_in(room: &Room, command: &str) {
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", command]).current_dir(room.repo()).env("HOME", room.root().join("home"));
    let out = shell.env("GIT_CONFIG_NOSYSTEM", "1").output().unwrap();
    assert!(out.status.success(), "{command}: {}", String::from_utf8_lossy(&out.stderr));
}

#[test]
fn p6_s13_what_an_agent_does_to_the_users_git_is_named_and_a_merge_asks_first() {
    let room = Room::new();
    room.name_user();
    room.file("private.txt", "a secret of mine\n");
    room.git(&["add", "private.txt"]);
    room.git(&["stash", "push", "--quiet", "-m", "it's mine"]);
    let tip = room.git(&["rev-parse", "HEAD"]);
    room.git(&["branch", "old"]);
    let folder = hooks(&room, "evil");
    let commands = [
        "git stash drop -q",
        &format!("git config core.hooksPath '{folder}'"),
        "git remote add fork file:///nowhere",
        "git branch junk",
        "git update-ref -d refs/heads/old",
    ];
    let view = room.run(&refs(&scripted(&room, "quick", script_with(&room, &commands)))).expect(0).json();
    let run = view["run"].as_str().unwrap();

    let changes = view["repository"]["changes"].as_array().unwrap();
    assert_eq!(changes.len(), 1, "only the session that did it: {changes:#?}");
    assert_eq!(changes[0]["during"], "session implement/implement/1");
    assert_eq!(view["repository"]["not_compared"], json!([]));
    let shown = room.run(&["show", run]).expect(0).stdout;
    for words in ["stash@{0} removed", "core.hookspath set to", "remote fork added", "branch junk added"] {
        assert!(shown.contains(words), "{shown}");
    }
    assert!(shown.contains(&format!("branch old deleted (was {})", &tip[..12])), "{shown}");
    assert!(room.run(&["logs", run]).expect(0).stdout.contains("after implement/implement/session/1, 5 differences"));
    let record = room.git(&["show", &format!("{}:.agentops/runs/{run}.json", view["branch"].as_str().unwrap())]);
    let record: Value = serde_json::from_str(&record).unwrap();
    assert_eq!(record["repository_changes"], json!({ "implement/implement/session/1": 5 }));
    assert!(!record.to_string().contains("junk"), "names of branches stay private");

    // Nobody there to ask: refused, with what agrees to exactly this, and no hook has run.
    let head = room.git(&["rev-parse", "HEAD"]);
    let asked = room.run(&["merge", run]).expect(TRUST_REQUIRED.into());
    assert!(asked.stderr.contains("core.hookspath set to") && asked.stderr.contains("--trust="), "{asked:?}");
    room.run(&["merge", run, "--trust=0000"]).expect(TRUST_REQUIRED.into());
    room.run(&["merge", run, "--trust-changes"]).expect(TRUST_REQUIRED.into());
    assert_eq!((ran(&room), room.git(&["rev-parse", "HEAD"])), (String::new(), head));
    let hash = asked.stderr.split("--trust=").nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
    room.git(&["config", "filter.x.clean", "cat"]);
    room.run(&["merge", run, &format!("--trust={hash}")]).expect(TRUST_REQUIRED.into());
    room.git(&["config", "--unset", "filter.x.clean"]);

    // What is shown undoes it, after a collection too; then nothing is asked.
    room.git(&["reflog", "expire", "--expire=now", "--all"]);
    room.git(&["gc", "--quiet", "--prune=now"]);
    for difference in changes[0]["differences"].as_array().unwrap() {
        type_in(&room, difference["restore"].as_str().unwrap());
    }
    assert_eq!(room.git(&["stash", "list"]), "stash@{0}: On main: it's mine");
    assert_eq!(room.git(&["show", "stash@{0}:private.txt"]), "a secret of mine");
    assert_eq!(room.git(&["rev-parse", "old"]), tip);
    assert_eq!(room.git(&["branch", "--list", "junk"]) + &room.git(&["remote"]), "");
    room.run(&["merge", run]).expect(0);
    assert_eq!(ran(&room), "");
}

#[test]
fn s13_hooks_of_the_start_run_as_ever_and_changed_ones_only_when_they_are_agreed_to() {
    let room = Room::new();
    room.name_user();
    room.git(&["config", "core.hooksPath", &hooks(&room, "mine")]);
    let first = room.run(&refs(&scripted(&room, "quick", quick_script()))).expect(0).json();
    assert_eq!(first["repository"]["changes"], json!([]));
    room.run(&["merge", first["run"].as_str().unwrap()]).expect(0);
    assert_eq!(ran(&room), "mine\n");
    // The hook of the start is given other content.
    let hook = room.root().join("mine/post-merge");
    let script = script_with(&room, &[&format!("echo 'echo more >> {}' >> '{}'", ran_file(&room), hook.display())]);
    let mut script = script;
    script[0]["steps"][2]["content"] = "done again\n".into();
    let second = room.run(&refs(&scripted(&room, "quick", script))).expect(0).json();
    let run = second["run"].as_str().unwrap();
    let asked = room.run(&["merge", run]).expect(TRUST_REQUIRED.into());
    assert!(asked.stderr.contains("post-merge changed") && asked.stderr.contains("put back: install -m 755"), "{asked:?}");
    let hash = asked.stderr.split("--trust=").nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
    room.run(&["merge", run, &format!("--trust={hash}")]).expect(0);
    assert_eq!(ran(&room), "mine\nmine\nmore\n");
}

fn ran_file(room: &Room) -> String {
    room.root().join("hook-ran").display().to_string()
}

#[test]
fn s13_a_gate_of_the_merge_cannot_plant_a_hook_for_it() {
    let room = Room::new();
    room.name_user();
    let hook = room.repo().join(".git/hooks/post-merge");
    let marker = room.root().join("now");
    let plant = format!(
        "test ! -e '{}' || {{ printf '#!/bin/sh\\necho planted >> {}\\n' > '{hook}' && chmod +x '{hook}'; }}\n",
        marker.display(),
        ran_file(&room),
        hook = hook.display()
    );
    let mut script = quick_script();
    script[0]["steps"].as_array_mut().unwrap().insert(1, json!({ "do": "write", "path": "check.sh", "content": plant }));
    let view = room.run(&refs(&scripted(&room, "quick", script))).expect(0).json();
    let run = view["run"].as_str().unwrap();
    std::fs::write(&marker, "").unwrap();
    let head = room.git(&["rev-parse", "HEAD"]);
    let refused = room.run(&["merge", run]).expect(MERGE_REFUSED.into());
    assert!(refused.stderr.contains("hook hooks/post-merge added"), "{refused:?}");
    assert_eq!((ran(&room), room.git(&["rev-parse", "HEAD"])), (String::new(), head));

    // It is named like what a session left, and it stays open when the run is discarded.
    std::fs::remove_file(&marker).unwrap();
    let shown = room.run(&["show", run, "--json"]).expect(0).json();
    let changes = shown["repository"]["changes"].as_array().unwrap();
    let back = changes[0]["differences"][0]["restore"].as_str().unwrap().to_owned();
    assert_eq!((changes.len(), &changes[0]["during"]), (1, &json!("test 1 of a merge")), "{changes:#?}");
    let named = room.run(&["discard", run]).expect(0).stderr;
    assert!(named.contains("hook hooks/post-merge added") && named.contains(&format!("agentops show {run}")), "{named}");
    let (second, view) = run_of(&room, quick_script(), "two\n");
    assert_eq!(view["repository"]["changes"], json!([]));
    let asked = room.run(&["merge", &second]).expect(TRUST_REQUIRED.into());
    let words = format!("while -/-/merge-test/1 of run {run} ran:\n  - hook hooks/post-merge added");
    assert!(asked.stderr.contains(&words) && asked.stderr.contains(&format!("put back: {back}")), "{asked:?}");
    type_in(&room, &back);
    room.run(&["merge", &second]).expect(0);
    assert_eq!(ran(&room), "");
}

#[test]
fn s13_a_merge_asks_about_hooks_that_it_brings_into_a_folder_of_the_tree() {
    let room = Room::new();
    room.name_user();
    room.git(&["config", "core.hooksPath", "tools/hooks"]);
    let mut script = quick_script();
    let write = json!({ "do": "write", "path": "tools/hooks/post-merge", "content": "#!/bin/sh\necho planted\n" });
    script[0]["steps"].as_array_mut().unwrap().insert(1, write);
    let view = room.run(&refs(&scripted(&room, "quick", script))).expect(0).json();
    let asked = room.run(&["merge", view["run"].as_str().unwrap()]).expect(TRUST_REQUIRED.into());
    assert!(asked.stderr.contains("tools/hooks/post-merge") && asked.stderr.contains("+echo planted"), "{asked:?}");
}

#[test]
fn p6_a_checkout_that_an_agent_calls_bare_is_named_and_comes_back() {
    let room = Room::new();
    room.name_user();
    let script = script_with(&room, &["git config core.bare true"]);
    let view = room.run(&refs(&scripted(&room, "quick", script))).expect(0).json();
    let run = view["run"].as_str().unwrap();
    let back = "git config core.bare false";
    let (status, show, doctor) = (room.run(&["status"]), room.run(&["show", run]), room.run(&["doctor"]));
    assert!(status.expect(0).stderr.contains(back));
    let show = show.expect(0);
    assert!(show.stderr.contains(back) && show.stdout.contains("core.bare changed to true (was false)"), "{show:?}");
    assert!(doctor.stdout.contains(back), "{doctor:?}");
    let refused = room.run(&["merge", run]).expect(NOT_NOW.into());
    assert!(refused.stderr.contains(back), "{refused:?}");
    type_in(&room, back);
    room.run(&["merge", run]).expect(0);
}

#[test]
fn r11_a_repository_that_git_refuses_is_named_with_what_mends_it() {
    let room = Room::new();
    let config = room.repo().join(".git/config");
    let sound = std::fs::read(&config).unwrap();
    let quiet = room.run(&["status"]).expect(0).stderr;
    for (command, words) in [
        ("echo '[core' >> .git/config", "bad config line"),
        ("git config core.repositoryformatversion 99", "Expected git repo version"),
    ] {
        type_in(&room, command);
        let refused = room.run(&["status"]).expect(FAILED.into()).stderr;
        assert!(refused.contains(words) && refused.contains(&config.display().to_string()), "{refused}");
        assert!(room.run(&["doctor"]).stdout.contains(words));
        std::fs::write(&config, &sound).unwrap();
    }
    type_in(&room, "echo . > .git/commondir");
    let refused = room.run(&["status"]).expect(FAILED.into()).stderr;
    let (_, typed) = refused.split_once("rm ").unwrap_or_else(|| panic!("{refused}"));
    type_in(&room, &format!("rm {}", typed.split_whitespace().next().unwrap()));
    type_in(&room, "git config core.worktree ..");
    assert_eq!(room.run(&["status"]).expect(0).stderr, quiet);
    type_in(&room, "git config core.worktree /");
    let noted = room.run(&["status"]).expect(0).stderr;
    type_in(&room, noted.split_once("put it back with: ").unwrap().1.lines().next().unwrap());
    assert_eq!(room.run(&["status"]).expect(0).stderr, quiet);
}

#[test]
fn p6_what_changed_in_a_session_whose_supervisor_died_is_named_and_said_to_be_late() {
    let room = Room::new();
    room.name_user();
    let pipe = room.pipe("reached");
    let mut script = quick_script();
    let line = format!("cd '{}' && git branch junk && echo here > '{}'", room.repo().display(), pipe.display());
    let first = json!({ "when": "lane `implement`, session 1", "steps": [
        { "do": "run", "argv": ["sh", "-c", line] }, { "do": "hang" }
    ] });
    script.as_array_mut().unwrap().insert(0, first);
    let run = room.detach(&scripted(&room, "quick", script));
    assert_eq!(std::fs::read_to_string(&pipe).unwrap(), "here\n");
    room.kill_supervisor();
    let view = room.run(&["resume", &run, "--json"]).expect(0).json();
    let changes = &view["repository"]["changes"][0];
    assert_eq!(changes["during"], "session implement/implement/1", "{view:#}");
    assert_eq!(
        (&changes["after_takeover"], &changes["differences"][0]["what"]),
        (&json!(true), &json!("branch junk added"))
    );
    assert_eq!(view["repository"]["not_compared"], json!([]));
    assert!(room.run(&["show", &run]).expect(0).stdout.contains("or before the run went on after a crash"));
}

#[test]
fn s13_settings_of_the_users_own_file_are_compared_as_the_runs_shell_sees_them() {
    let mut room = Room::new();
    room.name_user();
    let file = room.root().join("settings");
    std::fs::write(&file, "[alias]\n\tst = status\n").unwrap();
    // A supervisor that another shell started does not know this file.
    let first = room.run(&refs(&scripted(&room, "quick", quick_script()))).expect(0).json();
    room.run(&["discard", first["run"].as_str().unwrap()]).expect(0);
    room.set("GIT_CONFIG_GLOBAL", file.display().to_string());
    let view = room.run(&refs(&scripted(&room, "quick", quick_script()))).expect(0).json();
    let run = view["run"].as_str().unwrap();
    assert_eq!(view["repository"]["changes"], json!([]));
    std::fs::write(&file, "[alias]\n\tst = status\n[core]\n\thooksPath = /x\n").unwrap();
    let asked = room.run(&["merge", run]).expect(TRUST_REQUIRED.into());
    assert!(
        asked.stderr.contains("core.hookspath set to /x (was not set)") && !asked.stderr.contains("alias.st"),
        "{asked:?}"
    );
    std::fs::write(&file, "[alias]\n\tst = status\n").unwrap();
    room.run(&["merge", run]).expect(0);
}

/// A command that plants a hook which leaves a trace, and the same hook's content as a person would write it.
fn plant(room: &Room) -> String {
    let hook = "printf '#!/bin/sh\\necho planted >> {}\\n' > .git/hooks/post-merge && chmod +x .git/hooks/post-merge";
    format!("mkdir -p .git/hooks && {}", hook.replace("{}", &ran_file(room)))
}

/// A run with this script, whose task changes one file more than the runs before it.
fn run_of(room: &Room, mut script: Value, content: &str) -> (String, Value) {
    let steps = script[0]["steps"].as_array_mut().unwrap();
    let writes = steps.iter_mut().rfind(|step| step["do"] == "write" && step["path"] == "done.txt").unwrap();
    writes["content"] = content.into();
    let view = room.run(&refs(&scripted(room, "quick", script))).expect(0).json();
    (view["run"].as_str().unwrap().to_owned(), view)
}

fn trust_hash(stderr: &str) -> String {
    stderr.split("--trust=").nth(1).unwrap().split_whitespace().next().unwrap().to_owned()
}

#[test]
fn s13_what_an_earlier_run_left_is_asked_about_until_it_is_put_back_or_agreed_to() {
    let room = Room::new();
    room.name_user();
    let (first, view) = run_of(&room, script_with(&room, &[&plant(&room)]), "one\n");
    let back = view["repository"]["changes"][0]["differences"][0]["restore"].as_str().unwrap().to_owned();
    let named = room.run(&["discard", &first]).expect(0).stderr;
    assert!(named.contains("hook hooks/post-merge added") && named.contains(&format!("agentops show {first}")), "{named}");

    // The next run starts with the hook in place, and its merge knows whose it is.
    let (second, view) = run_of(&room, quick_script(), "two\n");
    assert_eq!(view["repository"]["changes"], json!([]));
    let head = room.git(&["rev-parse", "HEAD"]);
    let asked = room.run(&["merge", &second]).expect(TRUST_REQUIRED.into());
    let words = format!("while implement/implement/session/1 of run {first} ran:\n  - hook hooks/post-merge added");
    assert!(asked.stderr.contains(&words) && asked.stderr.contains(&format!("put back: {back}")), "{asked:?}");
    assert_eq!((ran(&room), room.git(&["rev-parse", "HEAD"])), (String::new(), head));

    // Put back: nothing is asked. A hook of the person's own in the same place is not the agent's.
    type_in(&room, &back);
    room.run(&["merge", &second]).expect(0);
    let (third, _) = run_of(&room, script_with(&room, &[&plant(&room)]), "three\n");
    type_in(&room, &format!("printf '#!/bin/sh\\necho mine >> {}\\n' > .git/hooks/post-merge", ran_file(&room)));
    let discarded = room.run(&["discard", &third]).expect(0).stderr;
    assert!(!discarded.contains("post-merge"), "{discarded}");
    let (fourth, _) = run_of(&room, quick_script(), "four\n");
    room.run(&["merge", &fourth]).expect(0);
    assert_eq!(ran(&room), "mine\n");

    // Agreed to in one run: no merge asks again, also not the one of a run that had started before.
    let (fifth, _) =
        run_of(&room, script_with(&room, &[&format!("rm .git/hooks/post-merge && {}", plant(&room))]), "five\n");
    let (sixth, _) = run_of(&room, quick_script(), "six\n");
    let asked = room.run(&["merge", &sixth]).expect(TRUST_REQUIRED.into());
    assert!(asked.stderr.contains(&format!("of run {fifth} ran:\n  - hook hooks/post-merge changed")), "{asked:?}");
    room.run(&["merge", &sixth, &format!("--trust={}", trust_hash(&asked.stderr))]).expect(0);
    assert_eq!(ran(&room), "mine\nplanted\n");
    room.run(&["discard", &fifth]).expect(0);
    let (seventh, _) = run_of(&room, quick_script(), "seven\n");
    room.run(&["merge", &seventh]).expect(0);
    assert_eq!(ran(&room), "mine\nplanted\nplanted\n");
}

#[test]
fn s13_a_hook_that_a_running_agent_planted_counts_for_the_merge_of_another_run() {
    let room = Room::new();
    room.name_user();
    let (planted, end) = (room.pipe("planted"), room.pipe("end"));
    let wait = format!("echo here > '{}' && cat '{}'", planted.display(), end.display());
    let mut script = script_with(&room, &[&wait, &plant(&room)]);
    script[0]["when"] = "lane `implement`".into();
    let first = room.detach(&scripted(&room, "quick", script));
    assert_eq!(std::fs::read_to_string(&planted).unwrap(), "here\n");
    // It starts with the hook in place, and the session that planted it has not been compared with anything.
    let (second, view) = run_of(&room, quick_script(), "two\n");
    assert_eq!(view["repository"]["changes"], json!([]));
    let asked = room.run(&["merge", &second]).expect(TRUST_REQUIRED.into());
    let words = format!("since implement/implement/session/1 of run {first} began, which has not ended:");
    assert!(asked.stderr.contains(&words) && asked.stderr.contains("hook hooks/post-merge added"), "{asked:?}");
    std::fs::write(&end, "").unwrap();
    room.run(&["logs", &first, "--follow"]).expect(0);
    let asked = room.run(&["merge", &second]).expect(TRUST_REQUIRED.into());
    assert!(asked.stderr.contains(&format!("while implement/implement/session/1 of run {first} ran:")), "{asked:?}");
    // Agreed to while merging one of them: the other one, which began before, asks no more.
    room.run(&["merge", &second, &format!("--trust={}", trust_hash(&asked.stderr))]).expect(0);
    room.run(&["discard", &first]).expect(0);
    assert_eq!(ran(&room), "planted\n");
}
