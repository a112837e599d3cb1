//! The real agent programs behind `agentops with`, with sub-agents and with contexts that they compact. What they do is what they
//! do without the gateway, and each call is told by the conversation that it belongs to.

use std::collections::BTreeMap;
use std::path::Path;

use agentops_testkit::judge;
use agentops_testkit::model::{ModelServer, Record, Script, ToolCall, Turn};
use serde_json::{Value, json};

use crate::real::{Program, conversation, programs, room, shell, with_each_program};
use crate::room::{Ran, Room, bytes_of};
use crate::with_real::{NEXT_TO_NOTHING, serve, with, without, words};

/// In what a sub-agent is told to do.
const SUB_TASK: &str = "SUBTASK";

/// What a sub-agent answers.
const ANSWER: &str = "The limit is seven.";

/// In every summary.
const SUMMARY: &str = "<state_snapshot><summary>SUMMARY OF THE WORK: one.txt is written.</summary></state_snapshot>";

/// What became of a session.
#[derive(Debug, PartialEq)]
struct Outcome {
    code: i32,
    says_done: bool,
    files: BTreeMap<String, String>,
}

impl Outcome {
    fn of(room: &Room, ran: &Ran) -> Self {
        let repo = room.repo();
        let files = bytes_of(&repo).into_iter().map(|(path, bytes)| {
            let path = path.strip_prefix(&repo).unwrap().to_string_lossy().into_owned();
            (path, String::from_utf8_lossy(&bytes).into_owned())
        });
        let files = files.filter(|(path, _)| !path.starts_with(".git/")).collect();
        Self { code: ran.code, says_done: format!("{}{}", ran.stdout, ran.stderr).contains("All is done."), files }
    }

    #[track_caller]
    fn has(&self, files: &[&str]) {
        assert!(files.iter().all(|file| self.files.contains_key(*file)), "{self:#?}");
    }
}

/// What a test changes in the room and in what a person types.
type Prepare<'p> = &'p dyn Fn(&Room, &mut Vec<String>);

/// The session without the gateway.
fn alone(program: Program, bin: &Path, server: &ModelServer, prepare: Prepare<'_>) -> Outcome {
    let room = room(program, bin, server);
    let mut words = words(program, server, &room);
    prepare(&room, &mut words);
    Outcome::of(&room, &without(&room, program, bin, &words))
}

/// The session behind the gateway, with its report.
fn behind(
    program: Program,
    bin: &Path,
    server: &ModelServer,
    flags: &[&str],
    prepare: Prepare<'_>,
) -> (Outcome, Ran, Value) {
    let room = room(program, bin, server);
    let mut words = words(program, server, &room);
    prepare(&room, &mut words);
    let (ran, report) = with(&room, program, flags, &words);
    (Outcome::of(&room, &ran), ran, report)
}

/// The model calls that arrived, each with the gateway's line about it.
fn told(server: &ModelServer, report: &Value) -> Vec<(Record, Value)> {
    let rows = report["calls"].as_array().unwrap();
    let calls = server.requests().into_iter().filter(|record| record.method == "POST");
    let told = calls.map(|record| {
        // The server ends the name of each answer with the number of its request.
        let end = format!("x{}", record.number);
        let row = rows.iter().find(|row| row["response_id"].as_str().is_some_and(|id| id.ends_with(&end)));
        let row = row.unwrap_or_else(|| panic!("no line about {record:#?} in {report:#}")).clone();
        (record, row)
    });
    told.collect()
}

/// The numbers of the conversations to which the steps of a scripted one belong, as the gateway has them.
fn numbers(told: &[(Record, Value)], when: &str) -> Vec<u64> {
    let steps = told.iter().filter(|(record, _)| record.conversation.as_deref() == Some(when));
    let mut numbers: Vec<u64> = steps.map(|(_, row)| row["conversation"].as_u64().unwrap()).collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

/// A server whose model gives a part of the work to a sub-agent.
fn delegating(program: Program) -> ModelServer {
    let call = |name: &str, input: Value| Turn::call(vec![ToolCall::Raw { name: name.into(), input }]);
    let prompt = format!("{SUB_TASK}: which limit is it?");
    let (delegate, answer) = match program {
        Program::Claude => {
            let work = json!({"description": "look", "prompt": prompt, "subagent_type": "general-purpose",
                "run_in_background": false});
            (call("Agent", work), Turn::text(ANSWER))
        }
        Program::Codex => (call("multi_agent_v1__spawn_agent", json!({"message": prompt})), Turn::text(ANSWER)),
        Program::OpenCode => {
            let work = json!({"description": "look", "prompt": prompt, "subagent_type": "general"});
            (call("task", work), Turn::text(ANSWER))
        }
        Program::Gemini => {
            let work = json!({"agent_name": "generalist", "prompt": prompt});
            (call("invoke_agent", work), call("complete_task", json!({"result": {"response": ANSWER}})))
        }
    };
    // Codex's sub-agent works beside the session, which would end before it.
    let after = shell("until [ -s sub.txt ]; do sleep 0.1; done; echo after > after.txt");
    let conversations = vec![
        conversation(SUB_TASK, vec![shell("echo sub > sub.txt"), answer], NEXT_TO_NOTHING),
        conversation("TASK", vec![delegate, after, Turn::text("All is done.")], NEXT_TO_NOTHING),
    ];
    serve(Script { conversations, ..Script::default() })
}

/// A sub-agent works as it does without the gateway, and its calls are told apart from the session's own.
fn has_a_sub_agent_work(program: Program) {
    let Some(bin) = programs() else { return };
    let without_gateway = alone(program, &bin, &delegating(program), &|_, _| {});
    without_gateway.has(&["sub.txt", "after.txt"]);
    let server = delegating(program);
    let (outcome, ran, report) = behind(program, &bin, &server, &[], &|_, _| {});
    assert_eq!(outcome, without_gateway, "{ran:#?}");
    assert_eq!(report["refused"], json!([]), "{report:#}");
    let told = told(&server, &report);
    assert_eq!(report["totals"]["calls"], told.len(), "{report:#}");
    let steps: Vec<_> = told.iter().filter(|(record, _)| record.main()).collect();
    for (record, row) in &steps {
        assert_eq!(row["sub_agent"], record.conversation.as_deref() == Some(SUB_TASK), "{row:#} of {record:#?}");
    }
    let (own, sub) = (numbers(&told, "TASK"), numbers(&told, SUB_TASK));
    assert!(own.len() == 1 && sub.len() == 1 && own != sub, "{own:?} {sub:?}");
    // Codex says it when there is a next step; the session may be over by then.
    let heard = steps.iter().any(|(record, _)| record.last_user.contains(ANSWER));
    assert!(heard || program == Program::Codex, "{steps:#?}");
}

/// How the conversation is found that begins with a summary.
fn after_summary(program: Program) -> &'static str {
    match program {
        // Its summary is a message of the model.
        Program::OpenCode => "What did we do so far?",
        _ => "SUMMARY OF THE WORK",
    }
}

/// A server whose model works, says with the second turn how large the context is, and goes on after a summary.
fn compacting(program: Program, work: Vec<Turn>) -> ModelServer {
    // Clients keep some of the messages. Each command is another one: some programs end a session that repeats itself.
    let mut on: Vec<Turn> = (0..4).map(|n| shell(&format!("echo after > after.txt; true {n}"))).collect();
    on.push(Turn::text("All is done."));
    let conversations =
        vec![conversation(after_summary(program), on, NEXT_TO_NOTHING), conversation("TASK", work, NEXT_TO_NOTHING)];
    serve(Script { conversations, side_text: SUMMARY.into(), ..Script::default() })
}

/// The work until the program compacts its context.
fn work(program: Program) -> Vec<Turn> {
    let one = shell("echo one > one.txt");
    match program {
        Program::Codex => vec![one, shell("true").using(40_000, 10), Turn::text("It was not compacted.")],
        Program::OpenCode => vec![one, shell("true").using(55_000, 10), Turn::text("It was not compacted.")],
        // It compacts when a person, or a hook of theirs, says something.
        _ => vec![one, Turn::text("Half of it is done.").using(20_000, 10), Turn::text("It was not compacted.")],
    }
}

/// Has the program compact a small context.
fn compact_early(program: Program, room: &Room, words: &mut Vec<String>) {
    match program {
        Program::Claude => {}
        Program::Codex => drop(words.splice(1..1, ["-c", "model_auto_compact_token_limit=30000"].map(str::to_owned))),
        Program::OpenCode => {
            let path = room.root().join("home/.config/opencode/opencode.json");
            let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            config["provider"]["scripted"]["models"]["gpt-5-2026-01-01"]["limit"] =
                json!({"context": 60_000, "output": 8_000});
            std::fs::write(path, config.to_string()).unwrap();
        }
        Program::Gemini => {
            let more = r#"{"decision":"deny","reason":"TASK: more"}"#;
            let once = format!("if [ -e hooked ]; then echo '{{}}'; else touch hooked; echo '{more}'; fi");
            let hook = json!({"matcher": "*", "hooks": [{"type": "command", "name": "more", "command": once}]});
            let settings = json!({
                "security": {"auth": {"selectedType": "gemini-api-key"}},
                "model": {"compressionThreshold": 0.005},
                "hooksConfig": {"enabled": true},
                "hooks": {"AfterAgent": [hook]},
            });
            let folder = room.root().join("home/.gemini");
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("settings.json"), settings.to_string()).unwrap();
        }
    }
}

/// What follows a summary is the session's own conversation, and the request for the summary is told as one.
#[track_caller]
fn is_told_as_one_session(program: Program, server: &ModelServer, report: &Value) {
    let told = told(server, report);
    assert_eq!(report["totals"]["calls"], told.len(), "{report:#}");
    let summaries = told.iter().filter(|(record, row)| !record.main() && row["kind"] == "compaction");
    // Gemini asks once more whether the summary is complete.
    assert_eq!(summaries.count(), if program == Program::Gemini { 2 } else { 1 }, "{report:#}");
    let steps = |when: &str| {
        let steps = told.iter().filter(|(record, _)| record.conversation.as_deref() == Some(when));
        steps.map(|(_, row)| row).collect::<Vec<_>>()
    };
    let (before, after) = (steps("TASK"), steps(after_summary(program)));
    assert!(!before.is_empty() && !after.is_empty(), "{report:#}");
    for row in before.into_iter().chain(after) {
        assert!(row["sub_agent"] == false && row["kind"] == "work", "{row:#} in {report:#}");
    }
}

fn goes_on_after_it_compacted_with(program: Program, work: &[Turn]) {
    let Some(bin) = programs() else { return };
    let prepare = |room: &Room, words: &mut Vec<String>| compact_early(program, room, words);
    let direct = compacting(program, work.to_vec());
    let without_gateway = alone(program, &bin, &direct, &prepare);
    without_gateway.has(&["after.txt"]);
    let server = compacting(program, work.to_vec());
    let (outcome, ran, report) = behind(program, &bin, &server, &[], &prepare);
    assert_eq!(outcome, without_gateway, "{ran:#?}");
    assert_eq!(server.main_count(), direct.main_count());
    assert_eq!(report["refused"], json!([]), "{report:#}");
    is_told_as_one_session(program, &server, &report);
}

/// A program compacts its context by itself, and goes on as it does without the gateway.
fn goes_on_after_it_compacted(program: Program) {
    goes_on_after_it_compacted_with(program, &work(program));
}

/// A conversation that cannot be summed up any more is refused with words that the program shows, and what they name works.
fn says_what_helps_where_no_summary_fits(program: Program) {
    let Some(bin) = programs() else { return };
    let server = crate::with_real::server(vec![shell("echo after > after.txt"), Turn::text("All is done.")]);
    let window = if program == Program::Claude { "150000" } else { "120000" };
    // Numbers have many tokens, and the system takes no longer word than 128 KiB.
    let much: String = (0..20_000_u64).map(|n| format!(" {}", n * 7919 % 100_003)).collect();
    let long = |_: &Room, words: &mut Vec<String>| {
        words.iter_mut().find(|word| word.starts_with("TASK")).unwrap().push_str(&much);
    };
    let (outcome, ran, report) = behind(program, &bin, &server, &["--window", window], &long);
    assert_ne!(outcome.code, 0, "{ran:#?}");
    assert_eq!(server.main_count(), 0);
    assert!(report["totals"]["refused"].as_u64().unwrap() > 0, "{report:#}");
    let (remedy, shown) = match program {
        Program::Claude => ("type /clear", "Prompt is too long"),
        Program::Codex => ("type /new", "ran out of room"),
        Program::OpenCode => ("type /new", "too long to be summarised"),
        Program::Gemini => ("type /clear", "too long to be summarised"),
    };
    let printed = format!("{}{}", ran.stdout, ran.stderr);
    assert!(printed.contains(remedy) && printed.contains(shown), "{ran:#?}");
    // A start without a conversation is what both words come to.
    let (outcome, ran, _) = behind(program, &bin, &server, &["--window", window], &|_, _| {});
    assert!(outcome.code == 0 && outcome.says_done, "{ran:#?}");
    outcome.has(&["after.txt"]);
}

with_each_program! {
    claude_code_has_a_sub_agent_work: has_a_sub_agent_work(Claude);
    codex_has_a_sub_agent_work: has_a_sub_agent_work(Codex);
    opencode_has_a_sub_agent_work: has_a_sub_agent_work(OpenCode);
    gemini_has_a_sub_agent_work: has_a_sub_agent_work(Gemini);
    codex_goes_on_after_it_compacted: goes_on_after_it_compacted(Codex);
    opencode_goes_on_after_it_compacted: goes_on_after_it_compacted(OpenCode);
    gemini_goes_on_after_it_compacted: goes_on_after_it_compacted(Gemini);
    claude_code_says_what_helps_where_no_summary_fits: says_what_helps_where_no_summary_fits(Claude);
    codex_says_what_helps_where_no_summary_fits: says_what_helps_where_no_summary_fits(Codex);
    opencode_says_what_helps_where_no_summary_fits: says_what_helps_where_no_summary_fits(OpenCode);
    gemini_says_what_helps_where_no_summary_fits: says_what_helps_where_no_summary_fits(Gemini);
}

/// Its requests for a summary begin with the session's own messages where these stay as they are.
#[test]
fn gemini_goes_on_after_it_compacted_what_stays_as_it_is() {
    goes_on_after_it_compacted_with(Program::Gemini, &work(Program::Gemini)[1..]);
}

/// A person types `/compact` between two questions.
#[test]
fn claude_code_goes_on_after_it_compacted() {
    let Some(bin) = programs() else { return };
    let program = Program::Claude;
    let seen = [false, true].map(|is_behind| {
        let server = compacting(program, vec![shell("echo one > one.txt"), Turn::text("All is done.")]);
        let room = room(program, &bin, &server);
        let first = words(program, &server, &room);
        let compact = ["-c", "-p", "/compact", "--model", program.model()].map(str::to_owned).to_vec();
        let go_on = [&first[..], &["-c".to_owned()]].concat();
        let outcomes = [first, compact, go_on].map(|words| {
            if !is_behind {
                return Outcome::of(&room, &without(&room, program, &bin, &words));
            }
            let (ran, report) = with(&room, program, &[], &words);
            assert_eq!(report["refused"], json!([]), "{report:#}");
            let is_summary = report["calls"][0]["kind"] == "compaction";
            assert_eq!(is_summary, words.iter().any(|word| word == "/compact"), "{report:#}");
            Outcome::of(&room, &ran)
        });
        let served: Vec<_> = server.requests().into_iter().map(|record| (record.conversation, record.served)).collect();
        (outcomes, served)
    });
    seen[0].0[2].has(&["one.txt", "after.txt"]);
    assert_eq!(seen[0], seen[1]);
}

/// B1: at the ceiling Claude Code compacts by itself and goes on. No call is larger than it may be.
#[test]
fn b1_claude_code_compacts_at_the_ceiling_and_goes_on() {
    let Some(bin) = programs() else { return };
    let window = 120_000_u64;
    let work = (1..20).map(|n| shell(&format!("seq -s ' ' {} {}", 100_000 + n, 105_000 + n))).collect();
    let server = compacting(Program::Claude, work);
    let (outcome, ran, report) = behind(Program::Claude, &bin, &server, &["--window", &window.to_string()], &|_, _| {});
    assert!(outcome.code == 0 && outcome.says_done, "{ran:#?}");
    outcome.has(&["after.txt"]);
    assert!(ran.stderr.contains("at the ceiling: type /compact or /clear"), "{ran:#?}");
    assert_eq!(report["totals"]["refused"], 1, "{report:#}");
    is_told_as_one_session(Program::Claude, &server, &report);
    for record in server.requests().into_iter().filter(|record| record.method == "POST") {
        let tokens = judge::tokens(record.protocol, record.body.as_ref().unwrap()) + record.max_tokens.unwrap();
        assert!(tokens <= window * 2 / 5, "{tokens}");
    }
}
