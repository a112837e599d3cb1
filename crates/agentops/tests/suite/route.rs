//! Routing in a sealed room: where a task would go, what corrects it, and what becomes of it in git, in clones and after damage.

use std::fs;
use std::path::Path;

use agentops::error::{NOT_NOW, USAGE};
use serde_json::{Value, json};

use crate::room::{Room, everything, quick_script, refs, scripted};

/// A room with a catalogue of agents for very different work.
fn with_agents() -> Room {
    let room = Room::new();
    let of = |name: &str, description: &str| {
        let path = room.root().join("team").join(format!("{name}.md"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("---\nname: {name}\ndescription: {description}\n---\n\nYou are {name}.\n")).unwrap();
    };
    of("database-tuner", "Makes slow SQL queries fast: indexes, query plans, schemas of tables.");
    of("style-painter", "Changes colours, fonts and layout of web pages with CSS.");
    of("translator", "Translates texts of the user interface into other languages.");
    let from = room.root().join("team").display().to_string();
    room.run(&["agents", "add", &from]).expect(0);
    room
}

/// A room whose user can merge.
fn merging() -> Room {
    let room = Room::new();
    room.git(&["config", "user.name", "Person"]);
    room.git(&["config", "user.email", "person@localhost"]);
    room
}

fn route(room: &Room, task: &str) -> Value {
    room.run(&["route", task, "--json"]).expect(0).json()
}

fn first(routed: &Value) -> &str {
    routed["agent"]["ranked"][0]["label"].as_str().unwrap()
}

/// What a correction or a run's end wrote, of this clone alone.
fn lines(room: &Room) -> Vec<Value> {
    let tree = room.git(&["ls-tree", "-r", "--name-only", "agentops/records", "feedback/"]);
    let text: Vec<String> = tree.lines().map(|path| room.git(&["show", &format!("agentops/records:{path}")])).collect();
    text.iter().flat_map(|text| text.lines()).map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Writes a file of feedback as somebody would who does not use our program.
fn forge(room: &Room, clone: &str, bytes: &[u8]) {
    let tree = room.root().join("forged");
    let path = tree.display().to_string();
    room.git(&["worktree", "add", "--quiet", &path, "agentops/records"]);
    fs::create_dir_all(tree.join("feedback")).unwrap();
    fs::write(tree.join("feedback").join(format!("{clone}.jsonl")), bytes).unwrap();
    room.git(&["-C", &path, "add", "-A"]);
    room.git(&["-C", &path, "commit", "--quiet", "-m", "forged"]);
    room.git(&["worktree", "remove", "--force", &path]);
}

#[test]
fn a_fresh_repository_is_routed_and_always_shows_what_else_there_is() {
    let room = with_agents();
    let routed = route(&room, "the SQL query on the orders table is slow, add an index");
    assert_eq!(first(&routed), "team/database-tuner");
    assert_eq!(routed["agent"]["ranked"].as_array().unwrap().len(), 4);
    assert_ne!(routed["agent"]["decision"], "auto", "nobody taught it yet");
    assert!(!routed["agent"]["ranked"][0]["words"].as_array().unwrap().is_empty());
    assert_eq!(routed["workflow"]["chances"].as_array().unwrap().len(), 2);
    let labels = routed["agent"]["ranked"].to_string();
    assert!(!labels.contains("\"research\"") && labels.contains("implement"), "only agents that change files: {labels}");
    let typo = room.run(&["route", "fix the typo in the README"]).expect(0);
    assert!(typo.stdout.contains("workflow  quick"), "{typo:#?}");
    let unknown = room.run(&["route", "bake a cake with three eggs"]).expect(0);
    assert!(unknown.stdout.contains("nothing here fits") && unknown.stderr.contains("agentops agents add"), "{unknown:#?}");
    assert_eq!(room.git(&["branch", "--list", "agentops/records"]), "", "looking writes nothing to git");
    room.run(&["route"]).expect(USAGE.into());
}

#[test]
fn a_correction_is_learnt_and_is_the_same_after_every_cache_is_gone_and_in_every_clone() {
    let room = with_agents();
    let (task, like) = ("prepare the quarterly board slides", "prepare the quarterly board slides again");
    assert_ne!(first(&route(&room, task)), "team/translator");
    let did =
        room.run(&["route", "correct", task, "--agent", "translator", "--workflow", "full", "--json"]).expect(0).json();
    assert!(did["did"].as_str().unwrap().contains("team/translator"), "{did}");
    let routed = route(&room, like);
    assert_eq!((first(&routed), routed["workflow"]["name"].as_str().unwrap()), ("team/translator", "full"));
    assert_eq!(routed["agent"]["ranked"][0]["like"][0], task);
    let line = &lines(&room)[0];
    assert_eq!((&line["v"], &line["from"], &line["text"]), (&json!(1), &json!("corrected"), &json!(task)));
    assert!(line["shown"]["agent"].is_string() && line["shown"]["workflow"].is_string(), "{line}");

    // More lines, so that some are learnt on top of what was kept.
    room.run(&["route", "correct", "make the buttons round", "--agent", "team/style-painter"]).expect(0);
    let grown = route(&room, like);
    let cache = room.private("routing.bin").unwrap();
    assert!(cache.exists());
    assert_eq!(route(&room, like), grown, "from the cache");
    let texts: Vec<_> = everything(&room.root().join("home/.config/agentops/catalogues"));
    let texts: Vec<_> = texts.into_iter().filter(|path| path.extension().is_some_and(|e| e == "md")).collect();
    let whole: Vec<_> = texts.iter().map(|path| (path, fs::read(path).unwrap())).collect();
    texts.iter().for_each(|path| fs::remove_file(path).unwrap());
    assert_eq!((texts.len(), route(&room, like)), (3, grown.clone()), "no text of a catalogue is read");
    whole.into_iter().for_each(|(path, text)| fs::write(path, text).unwrap());
    fs::remove_dir_all(room.state()).unwrap();
    assert_eq!(route(&room, like), grown, "from git alone");
    for damage in [&b""[..], b"agentops routing 1 00 5\nxxxxx", &[0xff; 4096]] {
        fs::write(&cache, damage).unwrap();
        assert_eq!(route(&room, like), grown, "a damaged cache is none");
    }
    let mut bytes = fs::read(&cache).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&cache, bytes).unwrap();
    assert_eq!(route(&room, like), grown);

    // A clone that fetched it, and one that teaches back.
    room.git(&["clone", "--quiet", ".", "../second"]);
    let second = room.root().join("second").display().to_string();
    let there = |args: &[&str]| room.run(&[args, &["--repo", &second]].concat()).expect(0);
    assert_eq!(there(&["route", like, "--json"]).json(), grown);
    there(&["route", "correct", "order new chairs for the office", "--agent", "team/style-painter"]);
    room.git(&["remote", "add", "second", "../second"]);
    room.git(&["fetch", "--quiet", "second"]);
    let here = route(&room, "order new chairs for the kitchen");
    assert_eq!(here, there(&["route", "order new chairs for the kitchen", "--json"]).json());
    assert_eq!((first(&here), &here["learnt"]["agents"]), ("team/style-painter", &json!(3)));
}

#[test]
fn what_is_not_there_is_refused_with_what_is_like_it() {
    let room = with_agents();
    let refused = room.run(&["route", "correct", "paint it", "--agent", "style-paintr"]).expect(USAGE.into());
    assert!(refused.stderr.contains("team/style-painter"), "{refused:#?}");
    let refused = room.run(&["route", "correct", "paint it", "--workflow", "quik"]).expect(USAGE.into());
    assert!(refused.stderr.contains("full, quick"), "{refused:#?}");
    room.run(&["route", "correct", "paint it"]).expect(USAGE.into());
    room.run(&["route", "correct", "  ", "--agent", "translator"]).expect(USAGE.into());
    room.run(&["route", "correct", "--run", "r-zzzzzz", "--agent", "translator"]).expect(NOT_NOW.into());
    assert_eq!(room.git(&["branch", "--list", "agentops/records"]), "");
}

#[test]
fn a_label_that_vanished_stays_in_git_and_comes_back() {
    let room = with_agents();
    room.run(&["route", "correct", "water the plants", "--agent", "team/translator"]).expect(0);
    room.run(&["agents", "remove", "team"]).expect(0);
    let routed = route(&room, "water the plants");
    assert_eq!((first(&routed), &routed["learnt"]["vanished"]), ("implement", &json!(1)));
    let people = room.run(&["route", "water the plants"]).expect(0);
    assert!(people.stderr.contains("no longer there"), "{people:#?}");
    assert_eq!(lines(&room).len(), 1);
    let from = room.root().join("team").display().to_string();
    room.run(&["agents", "add", &from]).expect(0);
    assert_eq!(first(&route(&room, "water the plants")), "team/translator");
}

#[test]
fn a_poisoned_file_neither_stops_nor_steers_routing() {
    let room = with_agents();
    room.run(&["route", "correct", "the report query is slow", "--agent", "team/database-tuner"]).expect(0);
    let mut poison = Vec::new();
    for n in 0..3_000 {
        let text = format!("{} query number {n}", ["slow", "report", "table", "index"][n % 4]);
        let line = json!({ "v": 1, "at": 1_000 + n, "from": "corrected", "text": text, "agent": "team/translator" });
        poison.extend(format!("{line}\n").into_bytes());
    }
    let ahead =
        json!({ "v": 1, "at": u64::MAX, "from": "corrected", "text": "the report query is slow", "agent": "implement" });
    poison.extend(format!("{ahead}\n{{\"v\":9}}\n\0\0\0\n\x1b[31mred\n").into_bytes());
    poison.extend(format!("{{\"v\":1,\"text\":\"{}\"}}\n", "x".repeat(1 << 20)).into_bytes());
    poison.extend(b"{\"v\":1,\"at\":5,\"from\":\"chosen\",\"text\":\"half a li");
    forge(&room, "0123456789abcdef", &poison);
    let routed = route(&room, "the report query is slow");
    assert_eq!(first(&routed), "team/database-tuner");
    let left_out: std::collections::BTreeMap<String, u64> = serde_json::from_value(routed["learnt"]["left_out"].clone())
        .map(|all: Vec<(String, u64)>| all.into_iter().collect())
        .unwrap();
    assert_eq!(left_out["not readable"], 4, "{left_out:?}");
    assert_eq!(left_out["from a newer agentops"], 1);
    assert_eq!(left_out["with a time that has not come"], 1);
    assert!(routed["learnt"]["agents"].as_u64().unwrap() <= 60, "one label cannot have more: {}", routed["learnt"]);
    // The file of another clone does not keep this one from writing.
    room.run(&["route", "correct", "something new", "--agent", "team/translator"]).expect(0);
    let eval = room.run(&["route", "eval", "--json"]).expect(0).json();
    assert_eq!(eval["profiles"][0]["profile"], "product-dev");
}

#[test]
fn any_text_has_an_answer() {
    let room = with_agents();
    let file = |name: &str, text: &[u8]| {
        let path = room.root().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let long = "the quick brown fox tunes the query ".repeat(30_000);
    for (name, text) in [
        ("empty", &b""[..]),
        ("spaces", b" \n\t "),
        ("long", long.as_bytes()),
        ("german", "Der Knopf auf der Startseite soll größer werden".as_bytes()),
        ("chinese", "请修复登录页面上的错误".as_bytes()),
        ("code", b"fn main() { let x = 1; println!(\"{x}\"); }"),
        ("bytes", &[0, 159, 146, 150, 0xff, b'\n']),
    ] {
        let routed = room.run(&["route", "--file", &file(name, text), "--json"]).expect(0).json();
        assert!(routed["agent"]["decision"].is_string(), "{name}");
        if ["empty", "spaces", "chinese", "code"].contains(&name) {
            assert_eq!(routed["workflow"]["name"], "full", "{name} cannot be read, so it never takes the quick way");
        }
        if ["empty", "spaces"].contains(&name) {
            assert_eq!(routed["agent"]["decision"], "abstain", "{name}");
        }
    }
    room.run(&["route", "--file", &file("huge", &vec![b'x'; (4 << 20) + 1])]).expect(USAGE.into());
    room.run(&["route", "--file", "/nowhere"]).expect(USAGE.into());
}

#[test]
fn a_correction_that_makes_held_back_examples_go_wrong_is_refused() {
    let room = with_agents();
    let held =
        [("index the invoices table", "team/database-tuner"), ("change colours and fonts of the CSS", "team/style-painter")];
    let held: Vec<String> = held.iter().map(|(text, agent)| json!({ "text": text, "agent": agent }).to_string()).collect();
    room.file(".agentops/routing/held-back.jsonl", &held.join("\n"));
    let wrong = ["route", "correct", "change colours and fonts of the CSS", "--agent", "team/translator"];
    let refused = room.run(&wrong).expect(NOT_NOW.into());
    assert!(
        refused.stderr.contains("change colours and fonts of the CSS") && refused.stderr.contains("team/style-painter"),
        "{refused:#?}"
    );
    assert_eq!(room.git(&["branch", "--list", "agentops/records"]), "", "what is refused is not kept");
    // One that a person insists on is kept, and not learnt.
    let kept = room.run(&[&wrong[..], &["--force"]].concat()).expect(0);
    assert!(kept.stdout.contains("not learnt"), "{kept:#?}");
    assert_eq!(lines(&room)[0]["doubted"], true);
    assert_eq!(first(&route(&room, "change colours and fonts of the CSS")), "team/style-painter");
    // What does no harm is learnt.
    room.run(&["route", "correct", "send the invoice to Madrid in Spanish", "--agent", "team/translator"]).expect(0);
    let eval = room.run(&["route", "eval", "--json"]).expect(0).json();
    let of = eval["profiles"].as_array().unwrap().iter().find(|of| of["profile"] == "repository").unwrap();
    assert_eq!((&of["before"]["agents"]["right"], &of["after"]["agents"]["right"]), (&json!(2), &json!(2)));
    assert_eq!(eval["agents"]["first"]["all"], 1);
    let people = room.run(&["route", "eval"]).expect(0);
    assert!(people.stdout.contains("2 of 2, 100.0 % ["), "{people:#?}");
}

#[test]
fn merged_runs_teach_a_little_and_others_nothing() {
    let room = merging();
    let args = scripted(&room, "quick", quick_script());
    let first = room.run(&refs(&args)).expect(0).json();
    let second = room.run(&refs(&args)).expect(0).json();
    room.run(&["discard", first["run"].as_str().unwrap()]).expect(0);
    room.run(&["merge", second["run"].as_str().unwrap(), "--trust-changes", "--no-test"]).expect(0);
    let kept = lines(&room);
    let from: Vec<&str> = kept.iter().map(|line| line["from"].as_str().unwrap()).collect();
    assert_eq!(from, ["discarded", "merged"]);
    assert!(kept.iter().all(|line| line["workflow"] == "quick" && line["text"] == "write done.txt"), "{kept:?}");
    assert!(kept.iter().all(|line| line["agent"].is_null()), "the workflow's own agent is no choice");
    let eval = room.run(&["route", "eval", "--json"]).expect(0).json();
    assert_eq!(eval["runs"], json!([{ "agent": null, "workflow": "quick", "merged": 1, "discarded": 1, "failed": 0 }]));
    assert_eq!(eval["workflows"]["first"]["all"], 1, "only what was merged is learnt");
    // A person's word on that run counts more.
    let run = second["run"].as_str().unwrap();
    room.run(&["route", "correct", "--run", run, "--workflow", "full"]).expect(0);
    assert_eq!(route(&room, "write done.txt")["workflow"]["name"], "full");
}

#[test]
fn a_run_that_cannot_teach_is_merged_all_the_same() {
    let room = merging();
    let done = room.run(&refs(&scripted(&room, "quick", quick_script()))).expect(0).json();
    // A branch below the one that is needed: git cannot make it.
    room.git(&["branch", "agentops/records/in-the-way"]);
    let merged = room.run(&["merge", done["run"].as_str().unwrap(), "--trust-changes", "--no-test"]).expect(0);
    assert!(merged.stderr.contains("routing does not learn from this run"), "{merged:#?}");
}

#[test]
fn a_correction_killed_in_the_middle_leaves_whole_lines() {
    let room = with_agents();
    for round in 0u32..12 {
        let task = format!("task number {round}");
        let mut child = room.command(&["route", "correct", &task, "--agent", "team/translator", "--quiet"]).spawn().unwrap();
        // How far it comes is left to chance; what holds must hold wherever it ends.
        for _ in 0..round * 40_000 {
            std::hint::spin_loop();
        }
        for _ in 0..round * 400 {
            if child.try_wait().unwrap().is_some() {
                break;
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        if !room.git(&["branch", "--list", "agentops/records"]).is_empty() {
            assert!(lines(&room).iter().all(|line| line["agent"] == "team/translator"));
        }
    }
    let before = route(&room, "anything")["learnt"]["agents"].as_u64().unwrap();
    room.run(&["route", "correct", "after all that", "--agent", "team/translator"]).expect(0);
    assert_eq!(route(&room, "anything")["learnt"]["agents"], before + 1);
    room.git(&["fsck", "--no-dangling"]);
}

#[test]
fn outside_of_a_repository_there_is_an_answer_and_nothing_to_teach() {
    let room = with_agents();
    let elsewhere = Path::new("/");
    let out = room.command(&["route", "tune the SQL query", "--json"]).current_dir(elsewhere).output().unwrap();
    let routed: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(first(&routed), "team/database-tuner");
    let out = room.command(&["route", "correct", "x", "--agent", "translator"]).current_dir(elsewhere).output().unwrap();
    assert_ne!(out.status.code(), Some(0));
}

#[test]
fn requests_from_files_are_answered_by_a_router_of_their_own() {
    let room = Room::new();
    let put = |name: &str, lines: &[Value]| {
        let path = room.root().join(name);
        let lines: Vec<String> = lines.iter().map(Value::to_string).collect();
        fs::write(&path, lines.join("\n")).unwrap();
        path.display().to_string()
    };
    let catalogue = put(
        "catalogue.jsonl",
        &[json!({"label": "pay", "description": "pay a bill"}), json!({"label": "play", "description": "play a song"})],
    );
    let input = put(
        "input.jsonl",
        &[
            json!({"id": "a", "text": "please pay my electricity bill"}),
            json!({"id": 2, "text": ""}),
            json!({"id": "ü", "text": "weiß ich nicht ".repeat(80_000)}),
        ],
    );
    let train = put(
        "train.jsonl",
        &[json!({"text": "settle the electricity", "label": "pay"}), json!({"text": "feed the cat", "label": "gone"})],
    );
    let flags = ["route", "--catalogue", &catalogue, "--train", &train, "--input", &input];
    let ran = room.run(&[&flags[..], &["--json"]].concat()).expect(0);
    let answers: Vec<Value> = ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.iter().map(|answer| &answer["id"]).collect::<Vec<_>>(), [&json!("a"), &json!(2), &json!("ü")]);
    assert_eq!((&answers[0]["label"], &answers[0]["ranked"][0]), (&json!("pay"), &json!("pay")), "{answers:#?}");
    assert_eq!(answers[1]["label"], "oos", "an empty request is about nothing: {answers:#?}");
    assert_ne!(answers[2]["decision"], "auto");
    assert!(ran.stderr.contains("1 requests have labels that are not in the catalogue"), "{ran:#?}");
    // A correction that comes later counts more than what was learnt before.
    let feedback = put("feedback.jsonl", &[json!({"text": "please pay my electricity bill", "label": "play"})]);
    let ran = room.run(&[&flags[..], &["--feedback", &feedback]].concat()).expect(0);
    assert!(ran.stdout.starts_with("\"a\"\t") && ran.stdout.lines().next().unwrap().ends_with("\tplay"), "{ran:#?}");
    assert!(ran.stderr.contains("feedback: 1 requests, 1 of them would have gone elsewhere"), "{ran:#?}");

    let broken = put("broken.jsonl", &[json!({"text": "no label"})]);
    let refused =
        room.run(&["route", "--catalogue", &catalogue, "--train", &broken, "--input", &input]).expect(USAGE.into());
    assert!(refused.stderr.contains("broken.jsonl: line 1 is not a labelled request"), "{refused:#?}");
    room.run(&["route", "--catalogue", &catalogue]).expect(USAGE.into());
    room.run(&["route", "task", "--catalogue", &catalogue, "--input", &input]).expect(USAGE.into());
}
