//! Bundles as a person makes them, and as runs make and hand them on.

use agentops::error::{FAILED, NOT_NOW, USAGE};
use serde_json::json;

use crate::room::{Room, close_out, quick_script, refs, scripted};

/// A log of a thousand lines of which one tells of trouble.
fn log() -> String {
    let line = |at: u32| match at {
        612 => "2026-01-02T03:04:05Z ERROR export: cannot open /var/data/export.csv: permission denied\n".to_owned(),
        at => format!("2026-01-02T03:04:{:02}Z INFO worker {}: wrote {} rows in {} ms\n", at % 60, at % 7, at * 3, at % 11),
    };
    (0..1000).map(line).collect()
}

fn id(room: &Room, args: &[&str]) -> String {
    room.run(args).expect(0).stdout.trim().to_owned()
}

#[test]
fn what_only_prints_needs_no_repository_and_writes_nothing() {
    let room = Room::empty();
    room.file("build.log", &log());
    room.file("src/export.rs", "/// Writes rows as CSV.\npub fn export_csv() {}\n");
    room.file("src/other.rs", "pub fn unrelated() {}\n");
    let made = room.run(&["bundle", "log", "--file=build.log", "--budget=300"]).expect(0);
    assert!(made.stdout.contains("permission denied"), "{made:?}");
    assert!(made.stderr.contains(" tokens, ") && made.stderr.contains("kept "), "one line of figures: {made:?}");
    assert_eq!(made.stderr.lines().count(), 1);
    let view = room.run(&["bundle", "log", "--file=build.log", "--budget=300", "--json"]).expect(0).json();
    assert!(view["tokens_after"].as_u64().unwrap() <= 300 && view["tokens_before"].as_u64().unwrap() > 10_000, "{view}");
    let code = room.run(&["bundle", "code", "--task=export_csv writes a wrong header", "--budget=200"]).expect(0);
    assert!(code.stdout.contains("src/export.rs") && code.stdout.contains("pub fn export_csv()"), "{code:?}");
    assert!(!room.state().join("agentops").exists() && std::fs::read_dir(room.state()).unwrap().next().is_none());
}

#[test]
fn the_same_sources_are_the_same_bundle_and_verify_says_what_moved_on() {
    let room = Room::new();
    room.file("build.log", &log());
    room.file("notes.md", "We keep the CSV export, because two customers read it.\n");
    room.git(&["add", "-A"]);
    room.git(&["commit", "--quiet", "-m", "sources"]);
    let make =
        ["bundle", "create", "--task=why exports fail", "--budget=400", "--model=claude-opus-4-6", "notes.md", "build.log"];
    let first = id(&room, &make);
    assert_eq!(id(&room, &make), first);
    room.git(&["add", "-A"]);
    room.git(&["commit", "--quiet", "-m", "a bundle"]);
    assert_eq!(id(&room, &make), first, "a commit of something else makes no other bundle");
    let shown = room.run(&["bundle", "show", &first, "--json"]).expect(0).json();
    let manifest = &shown["manifest"];
    assert_eq!(manifest["sources"][0]["path"], "notes.md");
    assert_eq!(manifest["sources"][0]["commit"], room.git(&["rev-parse", "HEAD^"]));
    assert!(manifest["tokens"]["after_for_model"].as_u64() >= manifest["tokens"]["after"].as_u64());
    assert!(shown["body"].as_str().unwrap().contains("because two customers read it"));

    let checks = room.run(&["bundle", "verify", "--json"]).expect(0).json();
    assert_eq!(checks[0]["sources"][0], json!({ "path": "notes.md", "at_commit": "same", "today": "same" }));
    room.file("notes.md", "We drop the CSV export.\n");
    std::fs::remove_file(room.repo().join("build.log")).unwrap();
    let checks = room.run(&["bundle", "verify", "--json"]).expect(0).json();
    assert_eq!(checks[0]["sources"][0], json!({ "path": "notes.md", "at_commit": "same", "today": "moved-on" }));
    assert_eq!(checks[0]["sources"][1]["today"], "gone");

    let second = id(
        &room,
        &["bundle", "create", "--task=why exports fail", "--budget=400", &format!("--parent={first}"), "notes.md"],
    );
    let difference = room.run(&["bundle", "diff", &first, &second, "--json"]).expect(0).json();
    assert_eq!(difference["sources_changed"], json!(["notes.md"]));
    assert_eq!(difference["sources_removed"], json!(["build.log"]));
    assert!(difference["lines"].as_array().unwrap().contains(&json!("+We drop the CSV export.")), "{difference}");

    let body = room.repo().join(".agentops/bundles").join(&first).join("bundle.md");
    std::fs::write(&body, "something else\n").unwrap();
    let broken = room.run(&["bundle", "verify", &first]).expect(FAILED.into());
    assert!(broken.stdout.contains("broken") && broken.stdout.contains("another hash"), "{broken:?}");
    room.run(&["bundle", "show", &first]).refused(FAILED, &["was changed", "git restore"]);
}

#[test]
fn gc_removes_what_nothing_needs_and_nothing_that_is_not_committed() {
    let room = Room::new();
    room.file("a.md", "We chose A, because it is small.\n");
    let of = |content: &str, parent: Option<&str>| {
        room.file("a.md", content);
        let parent = parent.map(|parent| format!("--parent={parent}"));
        let args: Vec<&str> = ["bundle", "create", "a.md"].into_iter().chain(parent.as_deref()).collect();
        id(&room, &args)
    };
    let parent = of("We chose A, because it is small.\n", None);
    let alone = of("We chose B, because it is fast.\n", None);
    let newest = of("We chose C, because it is both.\n", Some(&parent));
    let loose = ["bundle", "gc", "--json"];
    assert_eq!(room.run(&loose).expect(0).json(), json!([]), "not committed");
    room.git(&["add", "-A"]);
    room.git(&["commit", "--quiet", "-m", "bundles"]);
    assert_eq!(room.run(&["bundle", "gc", "--dry-run", "--json"]).expect(0).json(), json!([alone]));
    assert_eq!(room.run(&loose).expect(0).json(), json!([alone]));
    let left = room.run(&["bundle", "list", "--json"]).expect(0).json();
    let left: Vec<&str> = left.as_array().unwrap().iter().map(|view| view["bundle"].as_str().unwrap()).collect();
    let mut expected = vec![parent.as_str(), newest.as_str()];
    expected.sort_unstable();
    assert_eq!(left, expected);
    room.git(&["restore", ".agentops/bundles"]);
    room.run(&["bundle", "show", &alone]).expect(0);
}

#[test]
fn s6_a_secret_in_a_source_is_in_no_bundle() {
    let mut room = Room::new();
    room.set("MY_API_KEY", "a-very-private-value-7");
    room.file("notes.md", "The key is a-very-private-value-7, and the token is ghp_0123456789abcdefghijABCDEFGHIJ012345.\n");
    room.file("src/main.rs", "fn main() {\n    // export with a-very-private-value-7\n    export();\n}\n");
    let id = id(&room, &["bundle", "create", "--task=export with a-very-private-value-7", "notes.md", "src"]);
    let folder = room.repo().join(".agentops/bundles").join(&id);
    for file in ["bundle.md", "manifest.json"] {
        let text = std::fs::read_to_string(folder.join(file)).unwrap();
        assert!(!text.contains("a-very-private") && !text.contains("ghp_"), "{file}: {text}");
    }
    for args in [["bundle", "conversation", "--file=notes.md"], ["bundle", "code", "--task=a-very-private-value-7 export"]] {
        let made = room.run(&args).expect(0);
        assert!(!made.stdout.contains("a-very-private") && !made.stdout.contains("ghp_"), "{made:?}");
    }
}

#[test]
fn wrong_input_is_refused_with_words() {
    let room = Room::new();
    room.file("a.md", "Words.\n");
    let refuse = |args: &[&str], code: u8, words: &[&str]| {
        room.run(args).refused(code, words);
    };
    refuse(&["bundle", "log", "--file=absent.log"], USAGE, &["absent.log", "cannot be read"]);
    refuse(&["bundle", "create", "absent.md"], USAGE, &["absent.md"]);
    refuse(&["bundle", "create", "--budget=1", "a.md"], USAGE, &["not enough", "--budget"]);
    refuse(&["bundle", "code", "--task=a task of several words", "--budget=2"], USAGE, &["not enough"]);
    refuse(&["bundle", "code", "--task", " \n"], USAGE, &["the task is empty"]);
    // An option that follows `--task` is its text.
    refuse(&["bundle", "code", "--task", "--budget=500"], USAGE, &["no word of the task", "--budget=500"]);
    refuse(&["bundle", "code", "--task", "qwxzv jjkkq"], USAGE, &["no word of the task", "qwxzv jjkkq", "--root"]);
    let dashes = room.run(&["bundle", "code", "--task", "--flag of the words"]).expect(0);
    assert!(dashes.stdout.contains("Words."), "a task may begin with dashes: {dashes:?}");
    refuse(&["bundle", "show", "b-0123456789abcdef"], NOT_NOW, &["there is no bundle", "bundle list"]);
    refuse(&["bundle", "verify", "b-0123456789abcdef"], NOT_NOW, &["there is no bundle"]);
    refuse(&["bundle", "patch", "--file=a.md"], USAGE, &["no diff", "--help"]);
    room.run(&["bundle", "show", "../../etc"]).expect(USAGE.into());
    // No text at all, and text that is none.
    std::fs::write(room.repo().join("x.bin"), b"\x7fELF\0\0\0\x01").unwrap();
    std::fs::write(room.repo().join("bad.log"), b"ok\n\xff\xfe broken \xc3\n").unwrap();
    std::fs::write(room.repo().join("empty.log"), b"").unwrap();
    assert!(room.run(&["bundle", "create", "x.bin"]).expect(0).stderr.contains("tokens"));
    for file in ["--file=bad.log", "--file=empty.log"] {
        for kind in ["log", "transcript", "conversation"] {
            let made = room.run(&["bundle", kind, file]);
            assert!(made.code == 0 || made.code == i32::from(USAGE), "{kind} {file}: {made:?}");
            assert!(!made.stderr.contains("panicked"), "{kind} {file}: {made:?}");
        }
    }
}

#[test]
fn a_phase_hands_on_a_bundle_that_git_keeps() {
    let room = Room::new();
    let view = room.run(&refs(&scripted(&room, "quick", quick_script()))).expect(0).json();
    let bundle = &view["phases"][0]["bundle"];
    assert!(bundle["kept_permille"].as_u64().is_some_and(|kept| kept == 1000), "{bundle}");
    let branch = view["branch"].as_str().unwrap();
    let files = room.git(&["ls-tree", "-r", "--name-only", branch, ".agentops/bundles/"]);
    assert!(files.contains("/bundle.md") && files.contains("/manifest.json"), "{files}");
    room.git(&["checkout", "--quiet", branch]);
    let checks = room.run(&["bundle", "verify", "--json"]).expect(0).json();
    assert!(checks.as_array().is_some_and(|checks| !checks.is_empty()), "{checks}");
    assert_eq!(checks[0]["sources"][0]["today"], "unknown", "a run's document is in no checkout: {checks}");
    let record = std::fs::read_dir(room.repo().join(".agentops/runs")).unwrap().next().unwrap().unwrap().path();
    let record = std::fs::read_to_string(record).unwrap();
    let named = files.lines().all(|file| record.contains(file.split('/').nth(2).unwrap()));
    assert!(named, "the run's record names its bundles: {files}\n{record}");
}

#[test]
fn the_output_of_a_gate_reaches_the_next_session_short_and_the_person_whole() {
    let room = Room::empty();
    // Ten megabytes, and one line in the middle that says why.
    let noisy = "i=0; while [ $i -lt 60 ]; do seq -f 'step %.0f of the build wrote some object files into the cache folder' 1 2500; \
                 i=$((i+1)); [ $i -eq 30 ] && echo 'ERROR: the exporter panicked at src/export.rs:41: no header'; done; test -f done.txt && ! \
                 grep -q broken done.txt\n";
    room.file("check.sh", noisy);
    room.file(".agentops/config.toml", "[commands]\ntest = [\"sh\", \"check.sh\"]\n");
    room.begin();
    let mut script = quick_script();
    script[0]["steps"][1]["content"] = "broken\n".into();
    let mend = json!({ "when": "panicked at src/export.rs:41", "steps": [
        { "do": "call", "usage": 12000 }, { "do": "write", "path": "done.txt", "content": "mended\n" }, { "do": "call", "usage": 13000 }
    ] });
    script.as_array_mut().unwrap().insert(0, mend);
    let view = room.run(&refs(&scripted(&room, "quick", script))).expect(0).json();
    let run = view["run"].as_str().unwrap();
    let gate = view["phases"][0]["gates"][0]["name"].as_str().unwrap();
    let printed = room.run(&["show", run, "--output", gate]).expect(0).stdout;
    assert!(printed.len() > 10_000_000 && printed.contains("src/export.rs:41"), "{} bytes", printed.len());
    room.run(&["show", run, "--output", "absent"]).refused(NOT_NOW, &["no output", "agentops show"]);
}

#[test]
fn a_mechanical_hand_over_tells_what_the_transcript_shows() {
    let room = Room::new();
    let script = json!([
        { "when": "from its transcript", "steps": [
            { "do": "call", "usage": 20_000 }, { "do": "write", "path": "done.txt", "content": "done\n" }, { "do": "call", "usage": 21_000 }
        ] },
        { "when": "lane `implement`", "steps": [
            { "do": "call", "usage": 20_000 }, { "do": "say", "text": "The header is wrong, because the writer is opened twice." },
            { "do": "call", "usage": 60_000 }, { "do": "wait-hand-over" }
        ] },
        { "when": "lane `close-out`", "steps": [
            { "do": "call", "usage": 9000 }, { "do": "out", "file": "close-out.json", "content": close_out("done.txt") }
        ] }
    ]);
    let args = crate::room::scripted_with(&room, "quick", &["--set=hand_over=mechanical"], script);
    let view = room.run(&refs(&args)).expect(0).json();
    assert_eq!(view["phases"][0]["lanes"][0]["sessions"].as_array().unwrap().len(), 2, "{view}");
}
