//! Collections of agents in a sealed room: added as data, pinned, updated, removed; and a run with one of their agents.

use std::fs;
use std::path::PathBuf;

use agentops::error::{FAILED, NOT_NOW, USAGE};
use serde_json::Value;

use crate::room::{Room, bytes_of, close_out, everything, quick_script, refs, scripted, scripted_with};

/// An agent file.
fn agent(name: &str, description: &str) -> String {
    format!("---\nname: {name}\ndescription: {description}\ntools: Read, Write\n---\n\nYou are {name}.\n")
}

/// Writes a file of a collection that lies outside the repository.
fn put(room: &Room, path: &str, text: impl AsRef<[u8]>) -> PathBuf {
    let path = room.root().join("collection").join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    path
}

/// A collection with agents of two groups.
fn collection(room: &Room) -> String {
    put(room, "testing/e2e-runner.md", agent("e2e-runner", "Runs end-to-end tests."));
    put(room, "review/code-reviewer.md", agent("code-reviewer", "Reviews code."));
    put(room, "README.md", "# A collection");
    room.root().join("collection").display().to_string()
}

fn labels(list: &Value) -> Vec<String> {
    let of_catalogues = |agent: &&Value| agent["origin"] == "catalogue";
    let agents = list["agents"].as_array().unwrap().iter().filter(of_catalogues);
    agents.map(|agent| agent["label"].as_str().unwrap().to_owned()).collect()
}

/// The texts that a catalogue keeps.
fn kept(room: &Room, name: &str) -> Vec<PathBuf> {
    let folder = room.root().join("home/.config/agentops/catalogues").join(name);
    everything(&folder).into_iter().filter(|path| path.extension().is_some_and(|e| e == "md")).collect()
}

/// All bytes of the state folder but for routing's cache, which knows all agents: no run and no session reads or holds it.
fn of_runs(room: &Room) -> Vec<u8> {
    let all = bytes_of(&room.state()).into_iter().filter(|(path, _)| !path.ends_with("routing.bin"));
    all.flat_map(|(_, bytes)| bytes).collect()
}

#[test]
fn a_folder_is_added_updated_and_removed() {
    let room = Room::new();
    let from = collection(&room);
    let added = room.run(&["agents", "add", &from, "--json"]).expect(0).json();
    assert_eq!(added["catalogue"]["name"], "collection");
    assert_eq!(added["added"], serde_json::json!(["collection/review/code-reviewer", "collection/testing/e2e-runner"]));
    let list = room.run(&["agents", "--json"]).expect(0).json();
    assert_eq!(labels(&list).len(), 2);
    let built_in: Vec<_> = list["agents"].as_array().unwrap().iter().filter(|a| a["origin"] == "built-in").collect();
    assert_eq!(built_in.len(), 5);
    assert_eq!(list["catalogues"][0]["groups"], serde_json::json!({ "review": 1, "testing": 1 }));
    let people = room.run(&["agents"]).expect(0);
    assert!(people.stdout.contains("collection  2  ") && people.stdout.contains("review 1, testing 1"), "{people:#?}");

    put(&room, "review/code-reviewer.md", agent("code-reviewer", "Reviews code twice."));
    put(&room, "review/new.md", agent("new", "Is new."));
    fs::remove_file(room.root().join("collection/testing/e2e-runner.md")).unwrap();
    let updated = room.run(&["agents", "add", &from, "--json"]).expect(0).json();
    assert_eq!(updated["added"], serde_json::json!(["collection/review/new"]));
    assert_eq!(updated["changed"], serde_json::json!(["collection/review/code-reviewer"]));
    assert_eq!(updated["removed"], serde_json::json!(["collection/testing/e2e-runner"]));
    let shown = room.run(&["agents", "show", "code-reviewer"]).expect(0);
    assert!(shown.stdout.contains("Reviews code twice.") && shown.stdout.contains("You are code-reviewer."), "{shown:#?}");
    let shown = room.run(&["agents", "show", "collection/review/new", "--json"]).expect(0).json();
    assert_eq!(shown["tools"], serde_json::json!(["Read", "Write"]));

    // Another folder of the same name does not silently take its place.
    fs::create_dir_all(room.root().join("other/collection")).unwrap();
    fs::write(room.root().join("other/collection/x.md"), agent("x", "Is other.")).unwrap();
    let other = room.root().join("other/collection").display().to_string();
    let taken = room.run(&["agents", "add", &other]).expect(USAGE.into());
    assert!(taken.stderr.contains("--name"), "{taken:#?}");
    room.run(&["agents", "add", &other, "--name", "second"]).expect(0);
    let removed = room.run(&["agents", "remove", "collection"]).expect(0);
    assert!(removed.stdout.contains("take it back with: agentops agents add /"), "{removed:#?}");
    assert_eq!(labels(&room.run(&["agents", "--json"]).expect(0).json()), ["second/x"]);
    room.run(&["agents", "remove", "collection"]).expect(NOT_NOW.into());
    room.run(&["agents", "show", "collection/review/new"]).expect(NOT_NOW.into());
    assert!(kept(&room, "collection").is_empty());
}

#[test]
fn one_catalogue_is_listed_and_agents_are_found_by_words() {
    let room = Room::new();
    let from = collection(&room);
    let deep = "a-folder-with-a-very-long-name/".repeat(4);
    put(&room, &format!("{deep}one/security-auditor.md"), agent("security-auditor", "Audits logins for holes."));
    put(&room, &format!("{deep}two/security-auditor.md"), agent("security-auditor", "Audits payments for holes."));
    room.run(&["agents", "add", &from]).expect(0);
    let list = room.run(&["agents", "list", "collection", "--json"]).expect(0).json();
    assert_eq!(list["catalogue"]["agents"], 4);
    assert_eq!(list["agents"].as_array().unwrap().len(), 4);
    let people = room.run(&["agents", "list", "collection"]).expect(0);
    for label in ["review/code-reviewer", &format!("{deep}one/security-auditor"), &format!("{deep}two/security-auditor")] {
        assert!(people.stdout.contains(&format!("  collection/{label}\n")), "labels are whole: {people:#?}");
    }
    let absent = room.run(&["agents", "list", "other"]).expect(NOT_NOW.into());
    assert!(absent.stderr.contains("there is no catalogue `other`") && absent.stderr.contains("hint:"), "{absent:#?}");

    let found = room.run(&["agents", "search", "audit", "the", "payments", "--json"]).expect(0).json();
    assert_eq!(found["agents"][0]["label"], format!("collection/{deep}two/security-auditor"), "{found:#}");
    assert_eq!((found["searched"].as_u64(), found["agents"][1]["name"].as_str()), (Some(9), Some("security-auditor")));
    let found = room.run(&["agents", "search", "review", "--json"]).expect(0).json();
    let origins: Vec<_> = found["agents"].as_array().unwrap().iter().map(|agent| agent["origin"].as_str()).collect();
    assert!(origins.contains(&Some("built-in")) && origins.contains(&Some("catalogue")), "own agents, too: {found:#}");
    let limited = room.run(&["agents", "search", "review", "--limit", "1"]).expect(0);
    assert_eq!(limited.stdout.lines().count(), 2, "{limited:#?}");
    let none = room.run(&["agents", "search", "zebra"]).expect(0);
    assert!(none.stdout.is_empty() && none.stderr.contains("none of 9 agents has these words"), "{none:#?}");
    room.run(&["agents", "search"]).expect(USAGE.into());
    let script = room.run(&["completions", "bash"]).expect(0);
    assert!(script.stdout.contains("agentops__subcmd__agents__subcmd__search"), "the shell completes it");

    // Both labels are longer than a line of `route` and differ in their middle.
    let routed = room.run(&["route", "audit logins and payments for holes"]).expect(0);
    for folder in ["one", "two"] {
        assert!(routed.stdout.contains(&format!("{folder}/security-auditor")), "{routed:#?}");
    }
}

#[test]
fn rules_are_no_agents_and_every_markdown_file_is_taken_or_named() {
    let room = Room::new();
    let rule = "---\nname: warn-debug\nenabled: true\nevent: file\npattern: debugger;\naction: warn\n---\nA debugger statement was added.\n";
    put(&room, "examples/rule.local.md", rule);
    put(&room, "agents/UPPER.MD", agent("upper", "Has an upper-case extension."));
    put(&room, "agents/x.markdown", agent("long", "Has a long extension."));
    put(&room, "NOTES.md", "# Notes\n");
    put(
        &room,
        "skills/s1/SKILL.md",
        "---\nname: s1\ndescription: a skill\nallowed-tools: Read Grep Bash(python:*)\nmetadata:\n  version: \"1.0\"\n---\nYou do it.\n",
    );
    let from = room.root().join("collection").display().to_string();
    let added = room.run(&["agents", "add", &from, "--json"]).expect(0).json();
    let expected = ["collection/agents/UPPER", "collection/agents/x", "collection/skills/s1"];
    assert_eq!(added["added"], serde_json::json!(expected));
    let left_out: Vec<_> = added["left_out"].as_array().unwrap().iter().map(|file| file["path"].as_str().unwrap()).collect();
    assert_eq!(left_out, ["NOTES.md", "examples/rule.local.md"]);
    let shown = room.run(&["agents", "show", "s1", "--json"]).expect(0).json();
    assert_eq!(shown["tools"], serde_json::json!(["Read", "Grep", "Bash(python:*)"]));
    let people = room.run(&["agents", "add", &from]).expect(0);
    assert!(people.stderr.contains("left out: 1, a hook rule (event and pattern), not an agent"), "{people:#?}");
}

#[test]
fn a_git_repository_is_read_without_a_checkout_and_nothing_of_it_runs() {
    let room = Room::new();
    room.file("agents/runner.md", &agent("runner", "Runs."));
    room.file("more/deep/sub.md", &agent("sub", "Is deep."));
    room.git(&["add", "."]);
    room.git(&["commit", "--quiet", "--message", "agents"]);
    let hook = room.repo().join(".git/hooks/post-checkout");
    fs::create_dir_all(hook.parent().unwrap()).unwrap();
    fs::write(&hook, format!("#!/bin/sh\ntouch '{}'\n", room.root().join("ran").display())).unwrap();
    fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let url = format!("file://{}", room.repo().display());
    let added = room.run(&["agents", "add", &url, "--name", "mine", "--json"]).expect(0).json();
    assert_eq!(added["catalogue"]["commit"], room.git(&["rev-parse", "HEAD"]));
    assert_eq!(added["added"], serde_json::json!(["mine/agents/runner", "mine/more/deep/sub"]));
    room.git(&["rm", "--quiet", "more/deep/sub.md"]);
    room.git(&["commit", "--quiet", "--message", "less"]);
    let updated = room.run(&["agents", "add", &url, "--name", "mine", "--json"]).expect(0).json();
    assert_eq!(updated["removed"], serde_json::json!(["mine/more/deep/sub"]));
    let part = room.run(&["agents", "add", &url, "--folder", "agents", "--name", "part", "--json"]).expect(0).json();
    assert_eq!(part["added"], serde_json::json!(["part/runner"]));
    room.git(&["clone", "--quiet", "--bare", ".", "../bare.git"]);
    let bare = room.root().join("bare.git").display().to_string();
    let named = room.run(&["agents", "add", &bare, "--json"]).expect(0).json();
    assert_eq!(named["catalogue"]["name"], "bare", "a bare repository is git's, without an address");
    assert!(!room.root().join("ran").exists());
}

#[test]
fn only_sources_that_cannot_run_anything_are_taken() {
    let room = Room::new();
    let ran = room.root().join("ran");
    let evil = format!("ext::sh -c touch% {}", ran.display());
    let dashed = format!("--upload-pack=touch {}", ran.display());
    for source in [
        evil.as_str(),
        dashed.as_str(),
        "git://localhost/x",
        "http://localhost/x",
        "ssh://-oProxyCommand=touch ran/x",
        "fd::0",
        "/absent",
        "",
    ] {
        let refused = room.run(&["agents", "add", "--name", "x", "--", source]).expect(USAGE.into());
        assert!(refused.stderr.contains("hint:"), "{refused:#?}");
    }
    let secret = room.run(&["agents", "add", "https://me:s3cretword@localhost:1/x", "--json"]).expect(FAILED.into());
    assert!(!format!("{secret:?}").contains("s3cretword"), "{secret:#?}");
    for folder in ["../repo", "a/../..", "/"] {
        let from = collection(&room);
        room.run(&["agents", "add", &from, "--folder", folder]).expect(USAGE.into());
    }
    assert!(!ran.exists() && !room.repo().join("ran").exists());
    assert!(!room.root().join("home/.config/agentops/catalogues/x").exists());
    let nothing = room.root().join("nothing");
    fs::create_dir(&nothing).unwrap();
    fs::write(nothing.join("notes.md"), "---\ntitle: Notes\n---\n").unwrap();
    let empty = room.run(&["agents", "add", nothing.to_str().unwrap()]).expect(USAGE.into());
    assert!(empty.stderr.contains("there are no agents in"), "{empty:#?}");
}

#[test]
fn hostile_and_broken_files_are_said_and_harm_nothing() {
    let room = Room::new();
    let from = collection(&room);
    put(&room, "a/huge.md", vec![b'x'; 300 * 1024]);
    put(&room, "a/binary.md", b"---\nname: \xff\n---\n");
    put(&room, "a/silent.md", "---\nname: silent\n---\nYou say nothing about yourself.");
    put(&room, "a/broken.md", "---\nname: broken\ndescription: It is: not YAML: at all\n---\nYou are broken.");
    put(&room, "b/code-reviewer.md", agent("code-reviewer", "Reviews code as well."));
    put(&room, "a/steer.md", agent("steer", "\"\\e]0;owned\\a\\e[31mred\""));
    put(&room, "a/übersetzer.md", agent("übersetzer", "Übersetzt 文書 ins Deutsche."));
    put(&room, "skill/SKILL.md", "---\ndescription: Fills forms.\n---\nFill.");
    put(&room, "skill/reference.md", agent("reference", "Is no agent."));
    put(
        &room,
        "a/program.md",
        "---\nname: program\ndescription: Chooses.\ndriver: command\nsettings:\n  program: /bin/sh\n---\nx",
    );
    std::os::unix::fs::symlink("/etc/passwd", room.root().join("collection/a/link.md")).unwrap();
    std::os::unix::fs::symlink(room.root(), room.root().join("collection/around")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        room.root().join("collection/a/pipe.md"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    let added = room.run(&["agents", "add", &from, "--json"]).expect(0).json();
    let out: Vec<_> = added["left_out"].as_array().unwrap().iter().map(|file| file["path"].as_str().unwrap()).collect();
    assert_eq!(out, ["README.md", "a/binary.md", "a/huge.md", "a/link.md", "a/pipe.md", "skill/reference.md"]);
    assert_eq!(added["catalogue"]["agents"], 9);
    assert_eq!(added["same_name"]["code-reviewer"].as_array().map(Vec::len), Some(2));
    let notes = |label: &str| added["notes"][format!("collection/{label}")].to_string();
    assert!(notes("a/silent").contains("no description") && notes("a/broken").contains("no YAML"), "{added:#}");
    assert!(notes("a/program").contains("driver, settings"), "{added:#}");
    let twice = room.run(&["agents", "show", "code-reviewer"]).expect(NOT_NOW.into());
    assert!(twice.stderr.contains("collection/b/code-reviewer") && twice.stderr.contains("by its label"), "{twice:#?}");
    let shown = room.run(&["agents", "show", "collection/a/übersetzer"]).expect(0);
    assert!(shown.stdout.contains("文書"), "{shown:#?}");
    for args in [
        &["agents", "show", "steer"][..],
        &["agents", "show", "steer", "--json"],
        &["agents", "--json"],
        &["agents", "list", "collection"],
        &["agents", "list", "collection", "--json"],
        &["agents", "search", "steer red"],
        &["agents", "search", "steer red", "--json"],
    ] {
        let ran = room.run(args).expect(0);
        assert!(!ran.stdout.contains('\x1b') && !ran.stdout.contains('\x07'), "{ran:#?}");
    }
}

#[test]
fn a_changed_file_is_not_used_and_a_newer_format_is_refused() {
    let room = Room::new();
    let from = collection(&room);
    room.run(&["agents", "add", &from]).expect(0);
    let file = kept(&room, "collection").into_iter().find(|path| path.ends_with("e2e-runner.md")).unwrap();
    fs::write(&file, agent("e2e-runner", "Runs something else.")).unwrap();
    let list = room.run(&["agents", "--json"]).expect(0).json();
    assert_eq!(labels(&list), ["collection/review/code-reviewer"]);
    assert!(list["problems"][0].as_str().unwrap().contains("not the one that was added"), "{list:#}");
    let refused = room.run(&["run", "x", "--agent", "e2e-runner", "--driver=scripted", "--dry-run"]).expect(USAGE.into());
    assert!(refused.stderr.contains("agents add"), "{refused:#?}");
    room.run(&["agents", "add", &from]).expect(0);
    assert_eq!(labels(&room.run(&["agents", "--json"]).expect(0).json()).len(), 2, "added again, it is mended");
    let manifest = room.root().join("home/.config/agentops/catalogues/collection/manifest.json");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, text.replacen("\"format\": 1", "\"format\": 9", 1)).unwrap();
    let list = room.run(&["agents", "--json"]).expect(0).json();
    assert!(list["problems"][0].as_str().unwrap().contains("format 9"), "{list:#}");
    let newer = room.run(&["agents", "add", &from]).expect(FAILED.into());
    assert!(newer.stderr.contains("newer agentops"), "{newer:#?}");
    room.run(&["agents", "remove", "collection"]).expect(0);
}

#[test]
fn a_run_takes_an_agent_by_its_label_and_never_a_program_that_it_names() {
    let room = Room::new();
    let from = collection(&room);
    let ran = room.root().join("ran");
    let evil = format!(
        "---\nname: Evil Writer\ndescription: Writes: everything.\ndriver: command\nsettings:\n  program: {}\nwindow: 99999999\n---\nYou write as the marker PINEAPPLE says.",
        ran.display()
    );
    put(&room, "evil/writer.md", evil);
    put(&room, "evil/other.md", agent("other", "Never chosen: the marker is DURIAN."));
    room.run(&["agents", "add", &from]).expect(0);
    let args = scripted_with(&room, "quick", &["--agent=collection/evil/writer"], quick_script());
    let dry = room.run(&[&refs(&args)[..], &["--dry-run"]].concat()).expect(0).json();
    let item = dry["subject"]["items"].as_array().unwrap().iter().find(|item| item["kind"] == "agent of a catalogue");
    let shown = room.run(&["agents", "show", "collection/evil/writer", "--json"]).expect(0).json();
    assert_eq!(item.unwrap()["place"], "collection/evil/writer");
    assert_eq!(item.unwrap()["what"], shown["hash"], "trust is for this text: {dry:#}");
    assert!(dry["notes"].to_string().contains("driver, settings, window"), "{dry:#}");
    let run = room.run(&refs(&args)).expect(0).json();
    assert_eq!(run["status"]["status"], "done", "{run:#}");
    assert!(!ran.exists());
    let name = shown["run_name"].as_str().unwrap();
    assert!(name.starts_with("evil-writer-") && run.to_string().contains(name), "{name} {run:#}");
    let state = of_runs(&room);
    let holds = |word: &str| state.windows(word.len()).any(|window| window == word.as_bytes());
    assert!(holds("PINEAPPLE") && !holds("DURIAN"), "only the agent that was chosen is anywhere in a run");
    // By its name, because no other has it; a changed text is another subject and asks again.
    let by_name = scripted_with(&room, "quick", &["--agent=Evil Writer"], quick_script());
    assert_eq!(by_name.last(), args.last());
    put(&room, "evil/writer.md", agent("Evil Writer", "Writes."));
    room.run(&["agents", "add", &from]).expect(0);
    let changed = scripted_with(&room, "quick", &["--agent=collection/evil/writer"], quick_script());
    assert_ne!(changed.last(), args.last());
    let absent = room.run(&["run", "x", "--agent=collection/none", "--driver=scripted", "-n"]).expect(USAGE.into());
    assert!(absent.stderr.contains("there is no agent `collection/none`"), "{absent:#?}");
}

#[test]
fn a_thousand_agents_are_only_data() {
    let room = Room::new();
    for n in 0..1000 {
        let text =
            agent(&format!("agent-{n}"), &format!("Knows subject {n} and DURIAN.")) + &"Long instructions. ".repeat(200);
        put(&room, &format!("group-{}/agent-{n}.md", n % 20), text);
    }
    let from = room.root().join("collection").display().to_string();
    let added = room.run(&["agents", "add", &from, "--name", "many"]).expect(0);
    assert!(added.stdout.contains("1000 agents, 1000 added"), "{added:#?}");
    let list = room.run(&["agents"]).expect(0);
    assert!(list.stdout.lines().count() < 20 && list.stdout.len() < 3000, "people see counts: {list:#?}");
    assert_eq!(labels(&room.run(&["agents", "--json"]).expect(0).json()).len(), 1000);
    let again = room.run(&["agents", "add", &from, "--name", "many", "--json"]).expect(0).json();
    assert_eq!(again["unchanged"], 1000);
    assert_eq!(kept(&room, "many").len(), 1000, "an update leaves no second copy");
    let script = serde_json::json!([
        { "when": "lane `implement`", "steps": [{ "do": "write", "path": "done.txt", "content": "done\n" }] },
        { "when": "lane `close-out`", "steps": [{ "do": "out", "file": "close-out.json", "content": close_out("done.txt") }] }
    ]);
    room.run(&refs(&scripted(&room, "quick", script))).expect(0);
    let state = of_runs(&room);
    assert!(!state.windows(6).any(|window| window == b"DURIAN"), "nothing of a catalogue reaches a run that chose none");
}

#[test]
fn outside_of_a_repository_and_by_nobodys_leave() {
    let room = Room::empty();
    let from = collection(&room);
    // What other programs keep in the home folder is not read unless it is added.
    let claude = room.root().join("home/.claude/agents");
    fs::create_dir_all(&claude).unwrap();
    fs::write(claude.join("mine.md"), agent("mine", "Is Claude Code's.")).unwrap();
    room.run(&["agents", "add", &from]).expect(0);
    let list = room.run(&["agents", "--json"]).expect(0).json();
    assert_eq!(labels(&list).len(), 2);
    assert!(!list.to_string().contains("Claude Code's"));
    room.run(&["agents", "add", claude.to_str().unwrap(), "--name", "claude"]).expect(0);
    assert_eq!(labels(&room.run(&["agents", "list", "--json"]).expect(0).json())[0], "claude/mine");
    for of in ["agents", "catalogue-agents", "found-agents", "added-agents", "shown-agent"] {
        room.run(&["schema", of]).expect(0).json();
    }
}
