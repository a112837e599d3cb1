//! S1 and S2: a repository that is armed with everything that could run, before and after it is trusted.

use std::collections::BTreeSet;

use agentops::error::{NEEDS_DECISION, TRUST_REQUIRED, USAGE};
use serde_json::json;

use crate::room::{Ran, Room, quick_script, refs, scripted};
use crate::user_repository::type_in;

/// Where whatever was started leaves its name, one a line.
fn tripped(room: &Room) -> String {
    std::fs::read_to_string(room.root().join("tripwire")).unwrap_or_default()
}

/// A program that leaves its name and does what a filter or a hook must do to go unnoticed.
fn wire(room: &Room, name: &str) -> String {
    use std::os::unix::fs::PermissionsExt;
    let path = room.root().join("wires").join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let script = format!("#!/bin/sh\necho {name} >> '{}'\nexec cat\n", room.root().join("tripwire").display());
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path.display().to_string()
}

const HOOKS: [&str; 12] = [
    "pre-commit",
    "prepare-commit-msg",
    "commit-msg",
    "post-commit",
    "post-checkout",
    "post-index-change",
    "reference-transaction",
    "post-merge",
    "pre-merge-commit",
    "pre-auto-gc",
    "fsmonitor-watchman",
    "post-rewrite",
];

/// A repository whose every setting and file starts a tripwire.
fn armed() -> Room {
    let room = Room::new();
    let run = |name: &str| format!("{{\"hooks\":{{\"SessionStart\":[{{\"command\":\"{}\"}}]}}}}", wire(&room, name));
    room.file(".claude/settings.json", &run("claude-hook"));
    room.file(".mcp.json", &format!("{{\"mcpServers\":{{\"x\":{{\"command\":\"{}\"}}}}}}", wire(&room, "mcp")));
    room.file(".codex/config.toml", &format!("notify = [\"{}\"]\n", wire(&room, "codex-notify")));
    room.file(".envrc", &format!("{}\n", wire(&room, "envrc")));
    room.file(".githooks/pre-commit", &format!("#!/bin/sh\n{}\n", wire(&room, "tree-hook")));
    let (test, set_up) = (wire(&room, "gate-test"), wire(&room, "set-up"));
    room.file(
        ".agentops/config.toml",
        &format!(
            "workflow = \"mine\"\n[commands]\ntest = [\"{test}\", \"an argument\"]\n[lane]\nsetup = [[\"{set_up}\"]]\n"
        ),
    );
    let quick = agentops_engine::files::profile::BUILT_IN_WORKFLOWS[1].1;
    let mine = quick.replace("\"quick\"", "\"mine\"").replace("\"implement\"\n\n[[", "\"armed\"\n\n[[");
    room.file(".agentops/workflows/mine.toml", &mine);
    let agent =
        format!("---\nname: armed\ndescription: x\nsettings:\n  program: {}\n---\nWork.\n", wire(&room, "agent-program"));
    room.file(".agentops/agents/armed.md", &agent);
    room.git(&["add", "-A"]);
    room.git(&["commit", "--quiet", "-m", "armed"]);
    // From here on git itself would start programs; `room.git` is not used in this repository any more.
    let hooks = room.root().join("hooks");
    std::fs::create_dir(&hooks).unwrap();
    for hook in HOOKS {
        std::fs::copy(wire(&room, hook), hooks.join(hook)).unwrap();
        std::fs::copy(wire(&room, hook), room.repo().join(".git/hooks").join(hook)).unwrap();
    }
    let set = |key: &str, value: &str| {
        room.git(&["config", key, value]);
    };
    set("core.hooksPath", &hooks.display().to_string());
    set("filter.trip.clean", &wire(&room, "filter-clean"));
    set("filter.trip.smudge", &wire(&room, "filter-smudge"));
    set("filter.trip.process", &wire(&room, "filter-process"));
    set("diff.external", &wire(&room, "diff-external"));
    set("diff.trip.command", &wire(&room, "diff-command"));
    set("diff.trip.textconv", &wire(&room, "textconv"));
    set("merge.trip.driver", &wire(&room, "merge-driver"));
    set("gpg.program", &wire(&room, "gpg"));
    set("commit.gpgSign", "true");
    set("core.pager", &wire(&room, "pager"));
    set("core.editor", &wire(&room, "editor"));
    set("core.sshCommand", &wire(&room, "ssh"));
    set("core.askPass", &wire(&room, "askpass"));
    set("credential.helper", &wire(&room, "credential"));
    set("alias.status", &format!("!{}", wire(&room, "alias")));
    set("extensions.worktreeConfig", "true");
    let worktree = format!("[core]\n\tfsmonitor = {}\n", wire(&room, "worktree-fsmonitor"));
    std::fs::write(room.repo().join(".git/config.worktree"), worktree).unwrap();
    std::fs::create_dir_all(room.repo().join(".git/info")).unwrap();
    let attributes = "* filter=trip diff=trip merge=trip\n";
    std::fs::write(room.repo().join(".git/info/attributes"), attributes).unwrap();
    set("core.fsmonitor", &wire(&room, "fsmonitor"));
    let _not_ours = std::fs::remove_file(room.root().join("tripwire"));
    room
}

fn trust_file(room: &Room) -> std::path::PathBuf {
    room.root().join("home/.config/agentops/trust.toml")
}

#[test]
fn s1_no_command_in_an_untrusted_repository_starts_anything() {
    let room = armed();
    let run = ["run", "write done.txt", "--driver=scripted"];
    let shown = room.run(&run).expect(TRUST_REQUIRED.into());
    for word in
        ["gate-test", "an argument", "set-up", "mine.toml", "armed.md", ".claude/settings.json", ".mcp.json", "trust add"]
    {
        assert!(shown.stderr.contains(word), "`{word}` is not shown: {}", shown.stderr);
    }
    assert_eq!(tripped(&room), "");
    for args in [
        &["run", "x", "--driver=scripted", "--dry-run"][..],
        &["run", "x", "--driver=claude", "--dry-run"],
        &["run", "x", "--driver=claude"],
        &["run", "x", "--driver=scripted", "--json"],
        &["run", "x", "--driver=scripted", "--detach"],
        &["run", "x", "--workflow=full", "--driver=scripted"],
        &["run", "x", "--agent=armed", "--driver=claude"],
        &["run", "x", "--trust=wrong", "--driver=scripted"],
        &["status"],
        &["status", "--json"],
        &["show"],
        &["show", "--diff"],
        &["logs"],
        &["logs", "--raw"],
        &["logs", "--follow"],
        &["approve"],
        &["reject", "-m", "no"],
        &["cancel"],
        &["resume"],
        &["merge"],
        &["discard"],
        &["trust", "--driver=scripted"],
        &["trust", "show", "--driver=claude"],
        &["trust", "show", "--json", "--driver=scripted"],
        &["doctor"],
        &["schema", "workflow"],
        &["completions", "bash"],
        &["--help"],
        &["run", "--help"],
        &["--version"],
    ] {
        let ran = room.run(args);
        assert_eq!(tripped(&room), "", "{args:?} started it: {ran:?}");
        assert!(!trust_file(&room).exists(), "{args:?} changed trust");
    }
}

/// Changes a file by one byte, holds that trust is asked for again, and puts it back.
#[track_caller]
fn asks_again(room: &Room, args: &[&str], path: &str) {
    let full = room.repo().join(path);
    let before = std::fs::read(&full).unwrap();
    std::fs::write(&full, [&before[..], b"\n"].concat()).unwrap();
    room.run(args).expect(TRUST_REQUIRED.into());
    std::fs::write(&full, before).unwrap();
}

fn dry(room: &Room, args: &[&str]) -> serde_json::Value {
    room.run(&[args, &["--dry-run", "--json"]].concat()).expect(0).json()
}

#[test]
fn s2_one_changed_byte_asks_again_and_revoke_takes_it_back() {
    let room = armed();
    let agent = "---\nname: armed\ndescription: x\n---\nWork.\n";
    room.file(".agentops/agents/armed.md", agent);
    room.file(".agentops/config.toml", "workflow = \"mine\"\n[commands]\ntest = [\"sh\", \"check.sh\"]\n");
    let args = ["run", "write done.txt", "--driver=scripted"];
    room.run(&["trust", "add", "--driver=scripted"]).expect(0);
    assert_eq!(dry(&room, &args)["trusted"], true);
    for path in [
        ".agentops/config.toml",
        ".agentops/workflows/mine.toml",
        ".agentops/agents/armed.md",
        ".claude/settings.json",
        ".mcp.json",
    ] {
        asks_again(&room, &args, path);
    }
    // New settings of an agent program, and a new way to cut the same words into arguments.
    room.file(".gemini/settings.json", "{}");
    room.run(&args).expect(TRUST_REQUIRED.into());
    std::fs::remove_dir_all(room.repo().join(".gemini")).unwrap();
    assert_eq!(dry(&room, &args)["trusted"], true);
    room.run(&["trust", "revoke"]).expect(0);
    assert_eq!(dry(&room, &args)["trusted"], false);
    room.run(&args).expect(TRUST_REQUIRED.into());
    assert_eq!(tripped(&room), "");
}

#[test]
fn s2_a_machine_trusts_by_hash_and_a_wrong_hash_is_refused() {
    let room = Room::new();
    let mut args = scripted(&room, "quick", quick_script());
    let right = args.pop().unwrap();
    for wrong in ["", "0", &right["--trust=".len()..][..12]] {
        room.run(&[&refs(&args)[..], &[&format!("--trust={wrong}")]].concat()).expect(TRUST_REQUIRED.into());
    }
    let mut longer = right.clone();
    longer.push('0');
    room.run(&[&refs(&args)[..], &[&longer]].concat()).expect(TRUST_REQUIRED.into());
    assert!(!trust_file(&room).exists());
    room.run(&[&refs(&args)[..], &[&right]].concat()).expect(0);
    assert!(!trust_file(&room).exists(), "a hash is for one run");
}

/// A whole run in the armed repository with these attributes; gives what was started.
fn run_armed(attributes: &str, code: u8) -> BTreeSet<String> {
    let room = armed();
    std::fs::write(room.repo().join(".git/info/attributes"), attributes).unwrap();
    // The agent's program is the scripted one; everything else stays armed.
    room.file(".agentops/agents/armed.md", "---\nname: armed\ndescription: x\n---\nWork.\n");
    let flag = room.script(quick_script());
    let args = ["run", "write done.txt", "--driver=scripted", "--approve=all", &flag];
    let (without, with) = (dry(&room, &args[..4]), dry(&room, &args));
    assert_ne!(without["subject"]["hash"], with["subject"]["hash"], "a script is a setting, and pinned");
    let trust = format!("--trust={}", with["subject"]["hash"].as_str().unwrap());
    let view = room.run(&[&args[..], &[&trust, "--json"]].concat()).expect(code.into()).json();
    for command in [&["status"][..], &["show"], &["show", "--diff"], &["logs", "--raw"], &["doctor"]] {
        room.run(command).expect(0);
    }
    room.run(&[if code == 0 { "discard" } else { "cancel" }, view["run"].as_str().unwrap()]).expect(0);
    tripped(&room).lines().map(str::to_owned).collect()
}

#[test]
fn s1_after_trust_only_what_was_agreed_to_runs() {
    let ran = run_armed("* diff=trip merge=trip\n", 0);
    assert_eq!(ran, ["gate-test".to_owned(), "set-up".to_owned()].into());
}

#[test]
fn s1_after_trust_a_content_filter_needs_a_person_and_is_not_run() {
    let ran = run_armed("* filter=trip diff=trip merge=trip\n", NEEDS_DECISION);
    assert_eq!(ran, ["set-up".to_owned()].into());
}

const PLANTED: &str = "#!/bin/sh\necho planted\n";

/// A quick run whose agent also writes this file.
fn run_that_writes(room: &Room, path: &str) -> Ran {
    run_that_writes_all(room, &[(path, PLANTED)])
}

fn run_that_writes_all(room: &Room, files: &[(&str, &str)]) -> Ran {
    let mut script = quick_script();
    for (path, content) in files {
        let write = json!({ "do": "write", "path": path, "content": content });
        script[0]["steps"].as_array_mut().unwrap().insert(1, write);
    }
    room.run(&refs(&scripted(room, "quick", script))).expect(0)
}

#[test]
fn s2_a_merge_that_changes_what_trust_pins_asks_and_shows_it() {
    let room = Room::new();
    room.git(&["config", "user.name", "Person"]);
    room.git(&["config", "user.email", "person@localhost"]);
    for path in [".claude/settings.json", ".githooks/pre-commit", "sub/.gitattributes", ".agentops/config.toml"] {
        let view = run_that_writes(&room, path).json();
        let run = view["run"].as_str().unwrap();
        let head = room.git(&["rev-parse", "HEAD"]);
        let asked = room.run(&["merge", run]).expect(TRUST_REQUIRED.into());
        assert!(asked.stderr.contains(path) && asked.stderr.contains("+echo planted"), "{asked:?}");
        assert!(asked.stderr.contains("--trust-changes"), "{asked:?}");
        assert_eq!(room.git(&["rev-parse", "HEAD"]), head);
        room.run(&["discard", run]).expect(0);
    }
    let view = run_that_writes(&room, ".claude/settings.json").json();
    room.run(&["merge", view["run"].as_str().unwrap(), "--trust-changes"]).expect(0);
    assert!(room.repo().join(".claude/settings.json").exists());
}

#[test]
fn s2_a_merge_shows_the_whole_difference_of_files_that_steer_and_of_no_other() {
    let room = Room::new();
    room.name_user();
    let planted = [".claude/settings.json", ".github/workflows/ci.yml", "sub/claude.MD"].map(|path| (path, PLANTED));
    let files = [&[(".gitattributes", "* -diff\n"), ("sub/code.rs", PLANTED)], &planted[..]].concat();
    let view = run_that_writes_all(&room, &files).json();
    let asked = room.run(&["merge", view["run"].as_str().unwrap()]).expect(TRUST_REQUIRED.into()).stderr;
    let heads: Vec<&str> = asked.lines().filter(|line| line.contains("a/") && line.contains(" b/")).collect();
    let expected = [".claude/settings.json", ".gitattributes", ".github/workflows/ci.yml", "sub/claude.MD"];
    let head = |path: &&str| format!("diff --git a/{path} b/{path}");
    assert_eq!(heads, expected.iter().map(head).collect::<Vec<_>>(), "{asked}");
    assert_eq!(asked.matches("+echo planted").count(), planted.len(), "{asked}");
    assert!(!asked.contains("bundle.md"), "{asked}");
}

#[test]
fn s10_no_name_and_no_large_file_hides_what_a_merge_asks_about() {
    let room = Room::new();
    room.name_user();
    let files = [
        (".claude/x\nhint: type this\n/a", PLANTED),
        (".mcp.json", "x\rhint: type that\u{1b}]0;echo hidden\u{7}\n"),
        (".vscode/tasks.json", PLANTED),
        ("CLAUDE.md", "a\0binary file"),
    ];
    let mut script = quick_script();
    let steps = script[0]["steps"].as_array_mut().unwrap();
    for (path, content) in files {
        steps.insert(1, json!({ "do": "write", "path": path, "content": content }));
    }
    let large = "head -c 2000000 /dev/zero | tr '\\0' a > .aider0";
    steps.insert(1, json!({ "do": "run", "argv": ["sh", "-c", large] }));
    let view = room.run(&refs(&scripted(&room, "quick", script))).expect(0).json();
    let asked = room.run(&["merge", view["run"].as_str().unwrap()]).expect(TRUST_REQUIRED.into()).stderr;
    let short: String = asked.lines().filter(|line| line.len() < 1000).collect::<Vec<_>>().join("\n");
    let hints: Vec<&str> = asked.lines().filter(|line| line.trim_start().starts_with("hint:")).collect();
    assert!(matches!(hints[..], [hint] if hint.starts_with("hint: if the difference above")), "{short}");
    assert!(short.contains("\n  .claude/x\\nhint: type this\\n/a\n"), "{short}");
    assert!(short.contains("\n+x\\rhint: type that\\u{1b}]0;echo hidden\\u{7}\n"), "{short}");
    assert_eq!(asked.matches("+echo planted").count(), 2, "{short}");

    // What is not shown can be seen with the command that is.
    for (why, content) in [("all of it: ", "a".repeat(2_000_000).as_str()), ("to see it as text: ", "a\0binary file")] {
        let command = asked.split(why).nth(1).and_then(|rest| rest.split(")\n").next()).expect(&short);
        type_in(&room, &format!("{command} > shown.txt"));
        assert!(std::fs::read_to_string(room.repo().join("shown.txt")).unwrap().contains(content), "{command}");
    }
}

#[test]
fn a_trust_file_with_mistakes_is_named_and_kept() {
    let room = Room::new();
    std::fs::create_dir_all(trust_file(&room).parent().unwrap()).unwrap();
    std::fs::write(trust_file(&room), "[[repository]]\nid = 1\n").unwrap();
    for args in
        [&["trust"][..], &["trust", "add", "--driver=scripted"], &["trust", "revoke"], &["run", "x", "--driver=scripted"]]
    {
        room.run(args).refused(USAGE, &["trust.toml:2:6"]);
    }
    assert_eq!(std::fs::read_to_string(trust_file(&room)).unwrap(), "[[repository]]\nid = 1\n");
}
