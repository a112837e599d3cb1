//! `recall` in a sealed room: what agent programs and runs left is found, with its source, and nothing is written.

use serde_json::json;

use crate::room::{Room, bytes_of, everything, quick_script, refs, scripted};

const SECRET: &str = "ghp_0123456789abcdefghijklmnopqrstuvwxyzAB";

/// A room with a learning in git, a session of Claude Code here, one elsewhere, and one of Codex.
fn remembering() -> Room {
    let room = Room::new();
    room.file(
        ".agentops/memory/learnings/2031-04-05-r-abc123.md",
        "---\nrun: r-abc123\ndate: 2031-04-05\n---\n\nThe webhook must retry with jitter: all shops called at the same second.\n",
    );
    room.git(&["add", "."]);
    room.git(&["commit", "--quiet", "--message", "A learning"]);
    let line = |cwd: &std::path::Path, speaker: &str, text: &str| {
        json!({ "type": speaker, "cwd": cwd, "timestamp": "2031-04-06T07:08:09Z", "message": { "role": speaker, "content": text } }).to_string()
    };
    let here = room.repo().canonicalize().unwrap();
    let elsewhere = std::path::Path::new("/elsewhere");
    let talk = [
        line(&here, "user", "Where do invoices get their number?"),
        line(&here, "assistant", &format!("From the ledger table; the token was {SECRET}.")),
        "{ broken".to_owned(),
    ];
    let claude = room.root().join("home/.claude/projects/-repo");
    std::fs::create_dir_all(&claude).unwrap();
    std::fs::write(claude.join("a.jsonl"), talk.join("\n")).unwrap();
    std::fs::write(claude.join("b.jsonl"), line(elsewhere, "user", "Invoices of another project")).unwrap();
    let codex = room.root().join("home/.codex/sessions/2031/04/06");
    std::fs::create_dir_all(&codex).unwrap();
    let rollout = [
        json!({ "timestamp": "2031-04-06T10:00:00Z", "type": "session_meta", "payload": { "cwd": here } }),
        json!({ "timestamp": "2031-04-06T10:00:01Z", "type": "response_item", "payload": { "type": "message", "role": "assistant", "content": [{ "type": "output_text", "text": "The parser dropped trailing commas." }] } }),
    ];
    std::fs::write(codex.join("rollout-2031-04-06T10-00-00-x.jsonl"), rollout.map(|line| line.to_string()).join("\n"))
        .unwrap();
    room
}

#[test]
fn what_was_learnt_said_and_done_is_found_with_its_source() {
    let room = remembering();
    let learnt = room.run(&["recall", "why does the webhook retry with jitter?"]).expect(0);
    assert!(
        learnt.stdout.starts_with("## .agentops/memory/learnings/2031-04-05-r-abc123.md:6\n2031-04-05 · commit "),
        "{learnt:#?}"
    );
    let said = room.run(&["recall", "invoice numbers", "--json"]).expect(0).json();
    let passage = &said["passages"][0];
    assert_eq!(passage["kind"], "claude-transcript");
    assert!(passage["source"].as_str().unwrap().ends_with("a.jsonl:1"), "{said:#}");
    assert!(passage["after"].as_str().unwrap().contains("ledger table"), "neighbours are kept: {said:#}");
    assert!(!said.to_string().contains(SECRET), "{said:#}");
    assert!(!said.to_string().contains("another project"));
    assert_eq!(said["searched"][0]["other_projects"], 1);
    assert_eq!(said["searched"][0]["not_understood"], 1);
    let codex = room.run(&["recall", "trailing commas"]).expect(0);
    assert!(codex.stdout.contains("rollout-2031-04-06T10-00-00-x.jsonl:2"), "{codex:#?}");
    room.git(&["worktree", "add", "--quiet", "--detach", "../other"]);
    let other = room.root().join("other");
    let linked = room.run(&["recall", "invoice numbers", "--repo", other.to_str().unwrap()]).expect(0);
    assert!(linked.stdout.contains("a.jsonl:1"), "work trees of one repository are one project: {linked:#?}");
    let all = room.run(&["recall", "invoices", "--all"]).expect(0);
    assert!(all.stdout.contains("another project") && all.stdout.contains("/elsewhere"), "{all:#?}");
}

#[test]
fn compressed_and_archived_sessions_of_codex_are_found() {
    let room = Room::empty();
    let codex = room.root().join("home/.codex");
    let data = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../agentops-memory/tests/data/codex-zst");
    copy(&data, &codex);
    for (query, found, speaker) in [
        ("walrus jitter", "bbbb.jsonl.zst:2", "you"),
        ("lemur jitter", "archived_sessions/rollout-2026-08-03T10-00-00-cccc.jsonl:2", "you"),
        ("ibex decision", "eeee.jsonl:2", "summary"),
    ] {
        let said = room.run(&["recall", query, "--all", "--json"]).expect(0).json();
        let first = &said["passages"][0];
        assert!(first["source"].as_str().unwrap().ends_with(found), "{said:#}");
        assert_eq!(first["speaker"], speaker);
    }
}

#[test]
fn what_was_not_read_is_counted_and_named() {
    let room = Room::empty();
    let day = room.root().join("home/.codex/sessions/2026/08/02");
    std::fs::create_dir_all(&day).unwrap();
    std::fs::write(day.join("rollout-a.jsonl.zst"), "this is no Zstandard data").unwrap();
    std::fs::write(day.join("rollout-b.json"), "{}").unwrap();
    std::os::unix::fs::symlink("rollout-c.jsonl", day.join("rollout-d.jsonl")).unwrap();
    let lines = "{\"type\":\"session_meta\",\"payload\":{\"cwd\":\"/x\"}}\nbroken\n{\"type\":\"poem\",\"payload\":{}}\n";
    std::fs::write(day.join("rollout-c.jsonl"), lines).unwrap();
    let said = room.run(&["recall", "walrus", "--all", "--json"]).expect(0).json();
    let codex = &said["searched"][1];
    assert_eq!((codex["not_read"].as_u64(), codex["not_understood"].as_u64()), (Some(2), Some(3)), "{codex:#}");
    let reasons: Vec<_> = codex["gaps"].as_array().unwrap().iter().map(|gap| gap["reason"].as_str().unwrap()).collect();
    assert_eq!(reasons, ["unknown-format", "link", "unparsed-line", "unknown-record", "damaged-file"]);
    let people = room.run(&["recall", "walrus", "--all"]).expect(0);
    for line in [
        "transcripts of Codex: 2 searched, 2 not read, 3 lines or records not understood",
        "  damaged compressed files, searched only up to the damage: 1 (",
        "  records of an unknown type `poem`: 1 (",
        "rollout-c.jsonl:3)",
    ] {
        assert!(people.stderr.contains(line), "{line}: {people:#?}");
    }
}

#[test]
fn one_learning_appears_once() {
    let room = remembering();
    let learning = "The webhook must retry with jitter: all shops called at the same second.";
    // A branch with the same learning was merged, a run's bundle quotes it, and two sessions say it.
    room.file(
        ".agentops/memory/learnings/2031-04-07-r-def456.md",
        &format!("---\nrun: r-def456\ndate: 2031-04-07\n---\n\n# Webhooks\n\n- {learning}\n"),
    );
    room.file(".agentops/bundles/b1/bundle.md", &format!("# What we know\n\n{learning}\n"));
    let here = room.repo().canonicalize().unwrap();
    let day = room.root().join("home/.codex/sessions/2031/04/08");
    std::fs::create_dir_all(&day).unwrap();
    let said = json!({ "type": "response_item", "payload": { "type": "message", "role": "assistant", "content": [{ "type": "output_text", "text": format!("I wrote down: {learning} Done.") }] } });
    let head = json!({ "type": "session_meta", "payload": { "cwd": here } });
    for name in ["rollout-a.jsonl", "rollout-fork-of-a.jsonl"] {
        std::fs::write(day.join(name), format!("{head}\n{said}\n")).unwrap();
    }
    let found = room.run(&["recall", "webhook retry jitter", "--json"]).expect(0).json();
    let text = found["passages"].to_string();
    assert_eq!(text.matches("at the same second").count(), 1, "{found:#}");
    let first = &found["passages"][0];
    assert_eq!((first["kind"].as_str(), first["copies"].as_array().map(Vec::len)), (Some("memory"), Some(4)), "{found:#}");
    let people = room.run(&["recall", "webhook retry jitter"]).expect(0);
    assert_eq!(people.stdout.matches("at the same second").count(), 1, "{people:#?}");
    assert!(people.stdout.contains("\nalso in ") && people.stdout.contains(" and 2 more\n"), "{people:#?}");
}

#[test]
fn transcripts_in_other_encodings_are_found() {
    let room = Room::empty();
    let claude = room.root().join("home/.claude/projects/-repo");
    std::fs::create_dir_all(&claude).unwrap();
    let line = |text: &str| {
        let message = json!({ "role": "user", "content": text });
        json!({ "type": "user", "cwd": "/home/ada", "message": message }).to_string() + "\n"
    };
    let utf16 = |text: String| -> Vec<u8> {
        std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect()
    };
    std::fs::write(claude.join("a.jsonl"), [b"\xef\xbb\xbf", line("Where is the walrus?").as_bytes()].concat()).unwrap();
    std::fs::write(claude.join("b.jsonl"), utf16(line("Where is the lemur of Größe 3?"))).unwrap();
    for (query, file) in [("walrus", "a.jsonl:1"), ("lemur Größe", "b.jsonl:1")] {
        let found = room.run(&["recall", query, "--all", "--json"]).expect(0).json();
        assert!(found["passages"][0]["source"].as_str().unwrap().ends_with(file), "{found:#}");
        assert_eq!(found["searched"][0]["not_understood"], 0, "{found:#}");
    }
}

/// Copies a folder with everything in it.
fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn the_budget_holds_and_nothing_found_is_said() {
    let room = remembering();
    let none = room.run(&["recall", "zebra crossing"]).expect(0);
    assert_eq!(none.stdout, "");
    assert!(none.stderr.contains("nothing found") && none.stderr.contains("bundles of this repository: none"), "{none:#?}");
    let small = room.run(&["recall", "webhook", "--budget", "5", "--json"]).expect(0).json();
    assert_eq!(small["passages"], json!([]));
    let one = room.run(&["recall", "invoices", "--all", "--limit", "1", "--json"]).expect(0).json();
    assert_eq!(one["passages"].as_array().unwrap().len(), 1);
}

#[test]
fn a_run_is_found_before_and_after_its_merge() {
    let room = Room::new();
    room.git(&["config", "user.name", "Person"]);
    room.git(&["config", "user.email", "person@localhost"]);
    let run = room.run(&refs(&scripted(&room, "quick", quick_script()))).expect(0).json();
    let run = run["run"].as_str().unwrap();
    let found = room.run(&["recall", "project checked by one script", "--json"]).expect(0).json();
    assert_eq!(found["passages"][0]["kind"], "run", "{found:#}");
    assert!(found["passages"][0]["source"].as_str().unwrap().starts_with(&format!("run {run} close-out.json")));
    room.run(&["merge", run]).expect(0);
    let found = room.run(&["recall", "project checked by one script", "--json"]).expect(0).json();
    assert_eq!(found["passages"][0]["kind"], "memory", "{found:#}");
    assert_eq!(found["passages"][0]["commit"].as_str().map(str::len), Some(40));
}

#[test]
fn recall_writes_nothing() {
    let room = remembering();
    let before = (bytes_of(&room.root().join("home")), everything(&room.state()));
    room.run(&["recall", "invoices"]).expect(0);
    let after = (bytes_of(&room.root().join("home")), everything(&room.state()));
    assert_eq!(before, after);
}

#[test]
fn a_corpus_is_ranked_for_questions() {
    let room = Room::empty();
    room.file(
        "talk.jsonl",
        "{\"id\":\"D1:1\",\"session\":1,\"text\":\"the mill\"}\n{\"id\":\"D1:2\",\"session\":1,\"text\":\"the sea\"}\n",
    );
    room.file("asked.jsonl", "{\"qid\":\"q1\",\"question\":\"sea?\"}\n");
    let ran = room.run(&["recall", "--corpus", "talk.jsonl", "--queries", "asked.jsonl", "--json"]).expect(0);
    assert_eq!(ran.stdout, "{\"qid\":\"q1\",\"ids\":[\"D1:2\",\"D1:1\"]}\n");
    room.run(&["recall", "--corpus", "absent", "--queries", "asked.jsonl"]).expect(2);
    room.run(&["recall"]).expect(2);
}
