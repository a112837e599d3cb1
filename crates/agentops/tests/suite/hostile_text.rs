//! S4, S6 and S10 on the surface: hostile text steers no terminal, names are data, and planted secrets are nowhere.

use serde_json::json;

use crate::room::{Ran, Room, bytes_of, close_out, refs};

/// Title, clipboard, cursor, colours, 8-bit controls, overwriting, hidden and reordered text.
const HOSTILE: &str =
    "a\x1b]0;title\x07b\x1b]52;c;ZXZpbA==\x1b\\c\x1b[2J\x1b[8m\u{9b}31m\u{90}q\u{9c}d\re\x08f\u{202e}g\u{200b}h\x7fi";

/// No control character but newline and tab, and nothing that hides or reorders.
#[track_caller]
fn inert(what: &str, ran: &Ran) {
    for (name, text) in [("stdout", &ran.stdout), ("stderr", &ran.stderr)] {
        let bad = |c: char| {
            let hides = matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}');
            hides || (c.is_control() && c != '\n' && c != '\t')
        };
        assert!(!text.contains(bad), "{what} has {:?} in {name}: {text:?}", text.chars().find(|c| bad(*c)));
        assert!(!text.contains("\u{fffd}"), "{what}: {name} is not text");
    }
}

const LOOKS: [&[&str]; 12] = [
    &["status"],
    &["status", "--json"],
    &["show"],
    &["show", "--json"],
    &["show", "--diff"],
    &["show", "--document=none"],
    &["show", "--document=close-out.json"],
    &["logs"],
    &["logs", "--json"],
    &["logs", "--raw"],
    &["trust", "--driver=scripted"],
    &["trust", "--json", "--driver=scripted"],
];

fn task(room: &Room, task: &str) -> String {
    let path = room.root().join("task");
    std::fs::write(&path, task).unwrap();
    format!("--file={}", path.display())
}

/// A scripted quick run with this task, trusted by its hash.
fn run(room: &Room, words: &str, conversations: serde_json::Value) -> Ran {
    let (file, flag) = (task(room, words), room.script(conversations));
    let args: Vec<String> =
        ["run", &file, "--workflow=quick", "--driver=scripted", "--approve=all", &flag].map(str::to_owned).into();
    let dry = room.run(&[&refs(&args)[..], &["--dry-run", "--json"]].concat()).expect(0).json();
    let trust = format!("--trust={}", dry["subject"]["hash"].as_str().unwrap());
    room.run(&[&refs(&args)[..], &[&trust]].concat())
}

#[test]
fn s10_hostile_text_steers_no_terminal() {
    let room = Room::new();
    let (name, gate) = (format!("f{HOSTILE}"), format!("printf '%s\\n' '{HOSTILE}'\ntest -f done.txt\n"));
    room.file("check.sh", &format!("{gate}! grep -q broken done.txt\n"));
    room.git(&["commit", "--quiet", "--all", "-m", HOSTILE]);
    room.file(&format!(".claude/{}", name.replace('/', "-")), "x");
    let raw = json!({ "do": "raw", "line": HOSTILE });
    let script = json!([
        { "when": "What was found wrong", "steps": [
            { "do": "call", "usage": 12000 }, { "do": "write", "path": "done.txt", "content": "mended\n" },
            { "do": "fail", "failure": "program", "message": HOSTILE }
        ] },
        { "when": "lane `implement`", "steps": [
            { "do": "call", "usage": 20000 }, { "do": "say", "text": HOSTILE }, raw,
            { "do": "write", "path": name, "content": HOSTILE },
            { "do": "out", "file": format!("n{HOSTILE}.md"), "content": HOSTILE },
            { "do": "write", "path": "done.txt", "content": "broken\n" }, { "do": "call", "usage": 24000 }
        ] },
        { "when": "", "steps": [ { "do": "fail", "failure": "program", "message": HOSTILE } ] }
    ]);
    let ran = run(&room, &format!("do {HOSTILE}\nand\n{HOSTILE}"), script);
    assert_eq!(ran.code, i32::from(agentops::error::NEEDS_DECISION), "{ran:?}");
    inert("run", &ran);
    for look in LOOKS {
        inert(&look.join(" "), &room.run(look));
    }
    inert("cancel", &room.run(&["cancel"]).expect(0));
    inert("doctor", &room.run(&["doctor"]));
    // What a program reads is what was meant, however it is escaped.
    let shown = room.run(&["show", "--json"]).expect(0).json();
    assert!(shown["task"].as_str().unwrap().starts_with("do abc"), "{shown}");
}

#[test]
fn s10_hostile_arguments_and_folders_are_shown_inert() {
    let room = Room::new();
    room.file(
        ".agentops/config.toml",
        &format!("driver = \"{}\"\n", HOSTILE.escape_unicode().to_string().replace("\\u{", "\\U{")),
    );
    inert("config", &room.run(&["run", "x"]));
    room.file(".agentops/config.toml", &format!("[commands]\ntest = [\"sh\", '{}']\n", "a\u{202e}b\u{9b}31m"));
    for args in
        [&["trust", "--driver=scripted"][..], &["run", "x", "--driver=scripted"], &["run", "x", "--driver=scripted", "-n"]]
    {
        inert("trust", &room.run(args));
    }
    for args in [
        &["run", "x", "--driver", HOSTILE][..],
        &["run", "x", "--workflow", HOSTILE],
        &["run", "x", "--agent", HOSTILE],
        &["run", "x", "--base", HOSTILE],
        &["run", "x", "--set", HOSTILE],
        &["run", "--file", HOSTILE],
        &["show", HOSTILE],
        &["show", "--document", HOSTILE],
        &["status", "--repo", HOSTILE],
        &["status", "--limit", HOSTILE],
        &[HOSTILE],
    ] {
        let ran = room.run(args);
        assert_ne!(ran.code, 0);
        inert(&format!("{args:?}"), &ran);
    }
}

#[test]
fn s10_a_state_folder_that_an_agent_named_is_shown_on_one_line() {
    let room = Room::new();
    room.run(&["trust", "add", "--driver=scripted"]).expect(0);
    std::fs::remove_dir_all(room.state()).unwrap();
    std::fs::write(room.repo().join(".git/agentops/state-folder"), "/x\u{1b}[2J\nerror: type this").unwrap();
    let shown = room.run(&["status"]).expect(0);
    inert("status", &shown);
    let all = format!("{}{}", shown.stdout, shown.stderr);
    assert!(all.contains("/x\\u{1b}[2J\\nerror: type this/"), "{all}");
}

#[test]
fn s4_names_are_data() {
    let room = Room::new();
    // The repository's id and the place of its state are ours; everything else is the user's.
    let users_files = || {
        let mut files = bytes_of(&room.repo());
        files.retain(|path, _| !path.starts_with(room.repo().join(".git/agentops")));
        files
    };
    let before = users_files();
    let names = [
        "$(touch /tripped)",
        "`id`",
        "a;touch${IFS}x",
        "--upload-pack=x",
        "-n",
        "a\nb",
        "../../x",
        "a\u{3000}b",
        "\u{202e}x",
        "",
    ];
    let long = "x".repeat(4096);
    for name in names.into_iter().chain([long.as_str()]) {
        for flag in ["--workflow", "--agent", "--base", "--model"] {
            let trust = format!("--trust={name}");
            let ran = room.run(&["run", "x", "--driver=scripted", &format!("{flag}={name}"), &trust]);
            assert!([2, 3].contains(&ran.code), "{flag}={name}: {ran:?}");
        }
        for args in [["show", "--document"], ["approve", "--shown"]] {
            let ran = room.run(&[args[0], &format!("{}={name}", args[1])]);
            assert!([2, 7].contains(&ran.code), "{args:?} {name}: {ran:?}");
        }
    }
    // Names inside files: lanes, phases and gates become folders, refs and marks.
    for name in names.into_iter().chain([long.as_str()]) {
        let quoted = toml(name);
        let quick = agentops_engine::files::profile::BUILT_IN_WORKFLOWS[1].1;
        for field in ["name = \"implement\"", "agent = \"implement\"", "kind = \"command\"\nuse = \"test\""] {
            let (key, _) = field.split_once(" = ").unwrap();
            let hostile = match key {
                "kind" => format!("{field}\nname = {quoted}"),
                key => format!("{key} = {quoted}"),
            };
            room.file(".agentops/workflows/bad.toml", &quick.replacen(field, &hostile, 1).replace("\"quick\"", "\"bad\""));
            let ran = room.run(&["run", "x", "--driver=scripted", "--workflow=bad", "--dry-run"]);
            assert_eq!(ran.code, 2, "{hostile}: {ran:?}");
        }
    }
    std::fs::remove_dir_all(room.repo().join(".agentops/workflows")).unwrap();
    assert!(before == users_files(), "the repository changed");
}

/// A TOML string.
fn toml(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}

const KEY: &str =
    "sk-ant-api03-Zq7Wm2Xk9Lp4Rt8Vb3Nc6Hd1Jf5Gs0Ya-Qe2Wr4Ty6Ui8Op0As3Df5Gh7Jk9Lz1Xc3Vb5Nm7Qw9Er1Ty3-uIoPaSdFgAA";
const TOKEN: &str = "unique-7f3b19c4-token-of-this-room";
/// No variable holds it; its shape gives it away.
const RULE: &str = "ghp_R7kQ2mZ9xW4vT1bN8cL5dJ3hF6gS0aYpE2uI";

/// Where a secret is found, raw or in the usual encodings; nowhere.
#[track_caller]
fn nowhere(what: &str, bytes: &[u8]) {
    use std::fmt::Write;
    for (name, secret) in [("the key", KEY), ("the token", TOKEN), ("the shaped one", RULE)] {
        let hex = secret.bytes().fold(String::new(), |mut hex, byte| {
            let _never_fails = write!(hex, "{byte:02x}");
            hex
        });
        for form in [secret, &hex] {
            let found = bytes.windows(form.len()).position(|window| window == form.as_bytes());
            if let Some(at) = found {
                let near = String::from_utf8_lossy(&bytes[at.saturating_sub(120)..at]);
                panic!("{name} is in {what}, after {near:?}");
            }
        }
    }
}

#[test]
fn s6_planted_secrets_are_nowhere() {
    let mut room = Room::new();
    room.git(&["config", "user.name", "Person"]);
    room.git(&["config", "user.email", "person@localhost"]);
    room.set("ANTHROPIC_API_KEY", KEY);
    room.set("FOO_TOKEN", TOKEN);
    let all = format!("{KEY} {TOKEN} {RULE}");
    // A file outside of git that the agent reads, and a test that prints what it finds, split over writes.
    let secrets = room.root().join("secrets");
    std::fs::write(&secrets, &all).unwrap();
    let (head, tail) = TOKEN.split_at(9);
    room.file(
        "check.sh",
        &format!(
            "cat '{0}'; printf '%s' '{head}'; printf '%s\\n' '{tail}'; cat '{0}' >&2; env; test -f mended.txt\n",
            secrets.display()
        ),
    );
    room.git(&["commit", "--quiet", "--all", "-m", "a test that tells"]);
    let close = close_out("done.txt").replace("Wrote", &format!("With {all} wrote"));
    let script = json!([
        { "when": "What was found wrong", "steps": [
            { "do": "call", "usage": 12000 }, { "do": "write", "path": "mended.txt", "content": "mended\n" },
            { "do": "call", "usage": 13000 }
        ] },
        { "when": "lane `implement`", "steps": [
            { "do": "call", "usage": 20000 }, { "do": "say", "text": all }, { "do": "raw", "line": all },
            { "do": "run", "argv": ["sh", "-c", format!("cat '{}' >&2; env >&2; : {all}", secrets.display())] },
            { "do": "out", "file": format!("{TOKEN}.md"), "content": all },
            { "do": "out", "file": "notes.md", "content": all },
            { "do": "write", "path": "done.txt", "content": "done\n" }, { "do": "call", "usage": 24000 }
        ] },
        { "when": "lane `close-out`", "steps": [
            { "do": "call", "usage": 9000 }, { "do": "say", "text": all },
            { "do": "out", "file": "close-out.json", "content": close }
        ] }
    ]);
    let ran = run(&room, &format!("use {all} for it"), script);
    assert_eq!(ran.code, 0, "{ran:?}");
    let run = room.run(&["show", "--json"]).expect(0).json();
    let after = [&LOOKS[..], &[&["doctor"][..], &["logs", "--raw", "--json"], &["show", "--document=notes.md"]]].concat();
    for look in after {
        let ran = room.run(look);
        nowhere(&look.join(" "), format!("{}{}", ran.stdout, ran.stderr).as_bytes());
    }
    nowhere("run", format!("{}{}", ran.stdout, ran.stderr).as_bytes());
    for (path, bytes) in bytes_of(&room.state()) {
        nowhere(&path.display().to_string(), path.display().to_string().as_bytes());
        nowhere(&path.display().to_string(), &bytes);
    }
    // Git packs its objects; what they hold is asked of git. All that is new is in this run's branch and checkpoints.
    let branch = run["branch"].as_str().unwrap();
    nowhere("commits", room.git(&["log", "--all", "--format=%H %an %ae %s %b %N"]).as_bytes());
    nowhere("refs", room.git(&["for-each-ref"]).as_bytes());
    for object in room.git(&["rev-list", "--objects", "--all", "^main"]).lines() {
        let id = object.split(' ').next().unwrap();
        nowhere(object, room.git(&["cat-file", "-p", id]).as_bytes());
    }
    let record = room.git(&["ls-tree", "-r", "--name-only", branch, ".agentops/memory/context/"]);
    assert!(room.git(&["show", &format!("{branch}:{record}")]).contains("wrote done.txt"), "{record}");
    room.run(&["merge"]).expect(0);
    nowhere("the merge", room.git(&["log", "-1", "--format=%B"]).as_bytes());
}
