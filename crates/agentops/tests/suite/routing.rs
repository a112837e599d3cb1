//! Routing as the first step of a run: seen, overridable, recorded; and a person's choice on a terminal.

use std::fs;

use agentops::error::{SUCCESS, TRUST_REQUIRED, WAITING};
use agentops_core::run::Event;
use agentops_engine::ledger::Ledger;
use agentops_engine::world::{Row, Storage};
use serde_json::{Value, json};

use crate::room::{Ran, Room, close_out, quick_script};
use crate::terminal::{END, on_terminal};

const TYPO: &str = "fix the typo in done.txt";
const RISKY: &str = "drop the users table in production";
const END_TO_END: &str = "fix the playwright end-to-end test of the login flow";

fn dry(room: &Room, task: &str, more: &[&str]) -> Ran {
    room.run(&[&["run", task, "--driver=scripted", "--dry-run"][..], more].concat()).expect(0)
}

fn routed(room: &Room, task: &str, more: &[&str]) -> Value {
    dry(room, task, &[&["--json"], more].concat()).json()["routed"].clone()
}

/// A run whose workflow nobody named, with the trust that a machine gives by hash.
fn run(room: &Room, task: &str, more: &[&str], script: Value) -> Ran {
    let flag = room.script(script);
    let args = [&["run", task, "--driver=scripted", &flag][..], more].concat();
    let dry = room.run(&[&args[..], &["--dry-run", "--json"]].concat()).expect(0).json();
    let trust = format!("--trust={}", dry["subject"]["hash"].as_str().unwrap());
    room.run(&[&args[..], &[&trust]].concat())
}

/// Conversations that take `full` to its plan.
fn script_of_full() -> Value {
    let writes = |lane: &str, file: &str, content: &str| {
        json!({ "when": format!("lane `{lane}`"), "steps": [
            { "do": "call", "usage": 9000 }, { "do": "out", "file": file, "content": content }
        ] })
    };
    let findings = "# Findings\n\n- F1: done.txt is missing\n\n# Dead ends\n\nNone.\n";
    let plan = "# Goal\n\nIt is there.\n\n# Steps\n\n1. Write it.\n\n# Tests\n\ncheck.sh\n\n# Risks\n\nNone.\n";
    json!([
        writes("code", "findings.md", findings),
        writes("tests", "findings.md", findings),
        writes("plan", "plan.md", plan),
        writes("close-out", "close-out.json", &close_out("done.txt"))
    ])
}

/// Adds a collection with an agent for tests and one that has nothing to do with them.
fn with_agents(room: &Room) {
    let folder = room.root().join("collection/testing");
    fs::create_dir_all(&folder).unwrap();
    for (name, description) in [
        (
            "e2e-runner",
            "\"Writes and mends end-to-end \\e]0;evil\\a\\e[2Jbrowser tests with Playwright: login flows and flaky tests.\"",
        ),
        ("migrator", "Writes SQL schema migrations and backfills for PostgreSQL."),
    ] {
        let text = format!("---\nname: {name}\ndescription: {description}\ntools: Read, Write\n---\n\nYou are {name}.\n");
        fs::write(folder.join(format!("{name}.md")), text).unwrap();
    }
    let from = room.root().join("collection").display().to_string();
    room.run(&["agents", "add", &from]).expect(0);
}

const RUNNER: &str = "collection/testing/e2e-runner";

#[test]
fn a_typo_goes_the_short_way_and_the_record_says_why() {
    let room = Room::new();
    let ran = run(&room, TYPO, &[], quick_script()).expect(SUCCESS.into());
    let line = ran.stderr.lines().next().unwrap();
    for word in ["routed ", "product-dev / quick", "because: ", "\"typo\"", "also: full 0."] {
        assert!(line.contains(word), "`{word}` is not in the first line: {ran:#?}");
    }
    assert!(ran.stdout.contains(line), "and again where the result is shown: {ran:#?}");
    assert!(!ran.stderr.contains("agent  "), "with one agent there is nothing to choose: {ran:#?}");
    let shown = room.run(&["show"]).expect(0).stdout;
    assert!(shown.contains(line) && shown.contains("speaks for small work"), "{shown}");
    let view = room.run(&["show", "--json"]).expect(0).json();
    let (chosen, run) = (&view["routed"], view["run"].as_str().unwrap());
    assert_eq!((&chosen["workflow"], &chosen["workflow_by"]), (&json!("quick"), &json!("auto")));
    assert_eq!((&chosen["agent"], &chosen["own"]), (&Value::Null, &json!(["implement"])));
    let names: Vec<_> = chosen["routed"]["workflow"]["chances"].as_array().unwrap().iter().map(|c| &c["name"]).collect();
    assert_eq!(names, ["quick", "full"]);
    let record: Value =
        serde_json::from_str(&room.git(&["show", &format!("agentops/{run}:.agentops/runs/{run}.json")])).unwrap();
    assert_eq!((&record["format"], &record["routed"]["workflow_by"]), (&json!(agentops_core::run::FORMAT), &json!("auto")));
    // The ledger has a hash and no words.
    let Event::Created(created) = &room.entries(run)[0].event else { panic!("a run begins with its creation") };
    assert!(created.routed.is_some());
    assert!(!serde_json::to_string(created).unwrap().contains("done.txt"));
}

#[test]
fn what_is_risky_goes_the_long_way_and_waits_for_a_person() {
    let room = Room::new();
    let ran = run(&room, RISKY, &[], script_of_full()).expect(WAITING.into());
    assert!(ran.stderr.contains("product-dev / full") && ran.stderr.contains("because: it is risky"), "{ran:#?}");
    assert!(ran.stderr.contains("risky ") && ran.stderr.contains("cannot be undone"), "{ran:#?}");
    assert!(ran.stdout.contains("for you to approve the result of plan"), "{ran:#?}");
    assert!(!ran.stderr.contains("approved beforehand"), "{ran:#?}");
    let beforehand = dry(&room, RISKY, &["--approve=plan"]).stdout;
    assert!(beforehand.contains("cannot be undone") && beforehand.contains("; you approved beforehand"), "{beforehand}");
    assert_eq!(routed(&room, RISKY, &["--approve=all"])["workflow"], "full", "an approval does not make it small");
}

#[test]
fn what_cannot_be_read_goes_the_long_way() {
    let room = Room::new();
    for task in ["behebe den Tippfehler in der Hilfe", "исправь опечатку в справке", "```\nfn main() {}\n```"]
    {
        let chosen = routed(&room, task, &[]);
        assert_eq!((&chosen["workflow"], &chosen["workflow_by"]), (&json!("full"), &json!("auto")), "{task}: {chosen:#}");
        assert!(chosen["because"][0].as_str().unwrap().starts_with("it is "), "{task}: {chosen:#}");
    }
}

#[test]
fn a_flag_wins_over_the_settings_and_those_over_routing() {
    let room = Room::new();
    let chosen = routed(&room, RISKY, &["--workflow=quick"]);
    assert_eq!((&chosen["workflow"], &chosen["workflow_by"]), (&json!("quick"), &json!("flag")));
    let text = dry(&room, RISKY, &["--workflow=quick"]).stdout;
    assert!(text.contains("product-dev / quick   by flag") && text.contains("also: full 0.9"), "{text}");
    assert!(text.contains("cannot be undone"), "the risk is said whoever decided: {text}");
    room.file(".agentops/config.toml", "workflow = \"full\"\n[commands]\ntest = [\"sh\", \"check.sh\"]\n");
    let chosen = routed(&room, TYPO, &[]);
    assert_eq!((&chosen["workflow"], &chosen["workflow_by"]), (&json!("full"), &json!("settings")));
    assert!(dry(&room, TYPO, &[]).stdout.contains("product-dev / full   by the settings      also: quick 0."));
    assert_eq!(routed(&room, TYPO, &["--workflow=quick"])["workflow_by"], "flag");
    let dry = dry(&room, TYPO, &["--agent=review", "--json"]).json();
    assert_eq!((&dry["routed"]["agent"], &dry["routed"]["agent_by"]), (&json!("review"), &json!("flag")));
    assert!(dry["phases"][2]["lanes"][0].as_str().unwrap().contains("(review)"), "{dry:#}");
}

#[test]
fn a_likely_agent_is_named_and_not_taken_where_nobody_can_be_asked() {
    let room = Room::new();
    with_agents(&room);
    let text = dry(&room, END_TO_END, &[]).stdout;
    let hint = format!("take it with: --agent {RUNNER}");
    for word in ["agent       implement   likelier: ", RUNNER, "because: \"playwright\"", &hint] {
        assert!(text.contains(word), "`{word}` is not in {text}");
    }
    let plain = dry(&room, END_TO_END, &["--json"]).json();
    let chosen = &plain["routed"];
    assert_eq!((&chosen["agent"], &chosen["agent_by"]), (&Value::Null, &json!("default")));
    assert!(!plain["subject"].to_string().contains(RUNNER), "nor is trust asked for it: {plain:#}");
    let labels: Vec<_> =
        chosen["routed"]["agent"]["ranked"].as_array().unwrap().iter().map(|a| a["label"].as_str().unwrap()).collect();
    assert_eq!(labels[0], RUNNER);
    for role in ["research", "plan", "review", "close-out"] {
        assert!(!labels.contains(&role), "no task goes to {role}: {labels:?}");
    }
    let detached = run(&room, END_TO_END, &["--detach", "--workflow=quick"], quick_script()).expect(SUCCESS.into());
    assert!(detached.stderr.contains(&hint) && !detached.stdout.contains(RUNNER), "{detached:#?}");
    // What fits nothing is said, with the workflow's own agent at work.
    let nothing = dry(&room, "paint the kitchen green", &[]).stdout;
    assert!(nothing.contains("agent       implement   no") && !nothing.contains("take it with"), "{nothing}");
    // By its flag it is taken, and the trust that is missing is named for this very run.
    let flags = ["run", END_TO_END, "--workflow=quick", "--driver=scripted", "--agent", RUNNER];
    let refused = room.run(&flags).expect(TRUST_REQUIRED.into());
    let add = format!("`agentops trust add --workflow quick --agent {RUNNER} --driver scripted`");
    assert!(refused.stderr.contains(&add), "{refused:#?}");
    room.run(&["trust", "add", "--workflow", "quick", "--agent", RUNNER, "--driver=scripted"]).expect(0);
    assert_eq!(room.run(&[&flags[..], &["-n", "--json"]].concat()).expect(0).json()["trusted"], true);
}

#[test]
fn where_several_agents_change_files_none_takes_the_place_of_all() {
    let room = Room::new();
    with_agents(&room);
    room.file(".agentops/agents/second.md", "---\nname: second\ndescription: Does the other half.\n---\nWork.\n");
    let quick = agentops_engine::files::profile::BUILT_IN_WORKFLOWS[1].1;
    let lanes = "[[phase.lane]]\nname = \"a\"\nagent = \"implement\"\n\n[[phase.lane]]\nname = \"b\"\nagent = \"second\"\n";
    let two = quick.replacen("agent = \"implement\"\n", &format!("\n{lanes}"), 1).replacen("\"quick\"", "\"two\"", 1);
    room.file(".agentops/workflows/two.toml", &two);
    let chosen = routed(&room, END_TO_END, &["--workflow=two"]);
    assert_eq!(chosen["own"], json!(["implement", "second"]));
    assert_eq!(chosen["agent"], Value::Null);
    let text = dry(&room, END_TO_END, &["--workflow=two"]).stdout;
    assert!(text.contains("agent       implement, second      also: ") && !text.contains("take it with"), "{text}");
}

#[test]
fn on_a_terminal_a_person_chooses_the_agent_and_it_is_kept() {
    let wrong = [("Which agent?", "four"), ("a number, d, or Enter", "1")];
    for (answers, agent, by) in [
        (&[("Which agent?", "")][..], json!(RUNNER), "you"),
        (&wrong, json!(RUNNER), "you"),
        (&[("Which agent?", "d")], Value::Null, "you"),
        (&[("Which agent?", END)], Value::Null, "default"),
    ] {
        // One choice may teach the next: each has a room of its own.
        let room = Room::new();
        with_agents(&room);
        let flag = room.script(quick_script());
        let asks = [answers, &[("Trust this repository as it is now?", "y")]].concat();
        let (shown, code) = on_terminal(&room, &["run", END_TO_END, "--workflow=quick", "--driver=scripted", &flag], &asks);
        assert_eq!(code, 0, "{shown}");
        assert!(shown.contains("  1  collection/testing/e2e-runner") && shown.contains("Playwright"), "{shown}");
        assert!(!shown.contains("\x1b]0;") && !shown.contains("\x1b[2J"), "what a file says steers no terminal: {shown:?}");
        let trust = shown.find("This is the first run here").unwrap();
        assert!(
            shown[..trust].contains("routed      product-dev / quick"),
            "what is trusted is for what was routed: {shown}"
        );
        let view = room.run(&["show", "--json"]).expect(0).json();
        assert_eq!((&view["routed"]["agent"], &view["routed"]["agent_by"]), (&agent, &json!(by)), "{shown}");
        let worked = view["phases"][0]["lanes"][0]["agent"].as_str().unwrap();
        assert_eq!(worked.starts_with("e2e-runner-"), !agent.is_null(), "{worked}");
        assert!(!view["routed"].to_string().contains("PostgreSQL"), "what others say of themselves is not kept: {view:#}");
    }
}

/// R10: a run that an older program began is shown as it was, without what it did not know.
#[test]
fn r10_a_run_of_a_ledger_without_routing_is_shown() {
    let room = Room::new();
    let _new = run(&room, TYPO, &[], quick_script()).expect(SUCCESS.into());
    room.await_supervisor();
    let path = room.private("ledger.db").unwrap();
    let rows = include_str!("../../../agentops-core/tests/data/ledger-format-1.jsonl").lines().map(|line| {
        let event: Event = serde_json::from_str(line).unwrap();
        Row { run: "r-700000".parse().unwrap(), at_ms: 1, event }
    });
    Ledger::open(&path).unwrap().append(&rows.collect::<Vec<_>>()).unwrap();
    let shown = room.run(&["show", "r-700000"]).expect(0).stdout;
    assert!(shown.contains("workflow    product-dev / full") && !shown.contains("routed"), "{shown}");
    assert_eq!(room.run(&["show", "r-700000", "--json"]).expect(0).json()["routed"], Value::Null);
    assert!(room.run(&["logs", "r-700000"]).expect(0).stdout.contains("created "));
}
