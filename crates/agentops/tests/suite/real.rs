//! The real Claude Code, Codex, OpenCode and Gemini CLIs, taken through every phase against the scripted model server on
//! loopback, their calls led through the gateway.
//!
//! `AGENTOPS_REAL_AGENTS` names a folder with `node_modules/.bin/{claude,codex,opencode,gemini}`. Without it a person's run says that
//! these tests are skipped; where `CI` is set a skip is a failure.

use std::path::PathBuf;

use agentops_testkit::judge;
use agentops_testkit::model::{
    Conversation, Growth, HttpError, ModelServer, Options, Reaction, Script, ToolCall, Turn, Watch,
};
use serde_json::Value;

use crate::room::{Room, close_out, skip_unless_ci, slow};

/// Which program.
#[derive(Clone, Copy, PartialEq)]
pub enum Program {
    Claude,
    Codex,
    OpenCode,
    Gemini,
}

impl Program {
    pub fn name(self) -> &'static str {
        match self {
            Program::Claude => "claude",
            Program::Codex => "codex",
            Program::OpenCode => "opencode",
            Program::Gemini => "gemini",
        }
    }

    pub fn model(self) -> &'static str {
        match self {
            Program::Claude => "claude-sonnet-4-5",
            Program::Codex => "gpt-5-2026-01-01",
            Program::OpenCode => "scripted/gpt-5-2026-01-01",
            Program::Gemini => "gemini-2.5-pro",
        }
    }

    /// What the window counts as: the smallest of what program and model table say.
    pub fn window(self) -> u64 {
        match self {
            Program::Claude => 200_000,
            // Codex reports 95 % of it.
            Program::Codex => 258_400,
            Program::OpenCode => 272_000,
            Program::Gemini => 1_000_000,
        }
    }
}

/// The folder with the programs. Without it the test is skipped, which the slow tests in CI do not allow.
#[expect(clippy::print_stdout, reason = "a skipped test says so")]
pub fn programs() -> Option<PathBuf> {
    if let Some(folder) = std::env::var_os("AGENTOPS_REAL_AGENTS") {
        return Some(PathBuf::from(folder).join("node_modules/.bin"));
    }
    let reason = "AGENTOPS_REAL_AGENTS names no folder with the real agent programs";
    if slow() {
        skip_unless_ci(reason)
    } else {
        println!("skipped: {reason}")
    }
    None
}

pub fn write(path: &str, content: &str) -> Turn {
    Turn { tools: vec![ToolCall::Write { path: path.into(), content: content.into() }], ..Turn::default() }
}

pub fn shell(command: &str) -> Turn {
    Turn { tools: vec![ToolCall::Shell { command: command.into() }], ..Turn::default() }
}

pub fn conversation(when: &str, turns: Vec<Turn>, usage: Growth) -> Conversation {
    Conversation { when: when.into(), turns, on: Vec::new(), usage: Some(usage) }
}

const FINDINGS: &str = "## Findings\n\n- F1: check.sh wants done.txt.\n\n## Dead ends\n\n- None.\n";
const PLAN: &str = "## Goal\n\nDone.\n\n## Steps\n\n1. done.txt\n\n## Tests\n\ncheck.sh\n\n## Risks\n\nNone.\n";

/// The end of a token that a command prints; its beginning stands elsewhere, so that the command itself holds no token.
const PLANTED: &str = "q8Wn3ZtR5vKx7LmB2cYd9HfJ4gSp6TaE1uQo";

/// What the model says in each phase. `implement` is given: it differs by test.
pub fn script(implement: Vec<Conversation>) -> Script {
    let small = Growth { base: 20_000, step: 1_000, output: 200 };
    let mut conversations = vec![
        conversation(
            "The change that you judge",
            vec![write(".agentops-out/verdict.json", r#"{"passed": true, "findings": []}"#), Turn::text("Judged.")],
            small,
        ),
        conversation("Phase `research`", vec![write(".agentops-out/findings.md", FINDINGS), Turn::text("Found.")], small),
        conversation("Phase `plan`", vec![write(".agentops-out/plan.md", PLAN), Turn::text("Planned.")], small),
        conversation(
            "Phase `close-out`",
            vec![write(".agentops-out/close-out.json", &close_out("done.txt")), Turn::text("Closed.")],
            small,
        ),
    ];
    conversations.extend(implement);
    Script { conversations, usage: small, count_tokens: Some(200), ..Script::default() }
}

/// A room in which the program finds the server, with a clean home and a dummy key.
pub fn room(program: Program, bin: &std::path::Path, server: &ModelServer) -> Room {
    let mut room = Room::new();
    let path = std::env::var("PATH").unwrap_or_default();
    room.set("PATH", format!("{}:{path}", bin.display()));
    match program {
        Program::Claude => {
            room.set("ANTHROPIC_BASE_URL", server.base_url());
            room.set("ANTHROPIC_API_KEY", "dummy-key-for-tests");
            room.set("CLAUDE_CODE_MAX_RETRIES", "1");
        }
        Program::Codex => {
            let config = format!(
                "model = \"gpt-5-2026-01-01\"\nmodel_provider = \"scripted\"\n[model_providers.scripted]\nname = \"scripted\"\n\
                 base_url = \"{}/v1\"\nwire_api = \"responses\"\nenv_key = \"SCRIPTED_KEY\"\nrequest_max_retries = 1\nstream_max_retries = 1\n",
                server.base_url()
            );
            let home = room.root().join("home/.codex");
            std::fs::create_dir_all(&home).unwrap();
            std::fs::write(home.join("config.toml"), config).unwrap();
            room.set("SCRIPTED_KEY", "dummy-key-for-tests");
        }
        Program::OpenCode => room.set("SCRIPTED_KEY", "dummy-key-for-tests"),
        Program::Gemini => {
            room.set("GOOGLE_GEMINI_BASE_URL", server.base_url());
            room.set("GEMINI_API_KEY", "dummy-key-for-tests");
        }
    }
    room
}

/// The arguments of a run of `full` with this program, with the trust that a machine gives.
fn args(room: &Room, program: Program, server: &ModelServer) -> Vec<String> {
    args_of(room, program, server, "full")
}

/// As `args`, of another workflow.
pub fn args_of(room: &Room, program: Program, server: &ModelServer, workflow: &str) -> Vec<String> {
    let workflow = format!("--workflow={workflow}");
    let (driver, model) = (format!("--driver={}", program.name()), format!("--model={}", program.model()));
    let mut args: Vec<String> =
        ["run", "write done.txt", &workflow, "--approve=all", "--json", &model, &driver].map(str::to_owned).into();
    if program == Program::OpenCode {
        let provider = serde_json::json!({
            "npm": "@ai-sdk/openai-compatible",
            "options": {"baseURL": format!("{}/v1", server.base_url()), "apiKey": "{env:SCRIPTED_KEY}"},
        });
        args.push(format!("--set=provider={provider}"));
    }
    let dry = room.run(&[&crate::room::refs(&args)[..], &["--dry-run"]].concat()).expect(0).json();
    args.push(format!("--trust={}", dry["subject"]["hash"].as_str().unwrap()));
    args
}

/// A model that no program of these tests asks for.
fn other_model(program: Program) -> &'static str {
    match program {
        Program::Claude => "claude-haiku-4-5-20251001",
        Program::Codex | Program::OpenCode => "gpt-4o-2024-08-06",
        Program::Gemini => "gemini-2.5-flash",
    }
}

/// The provider replaces the pinned model once: what the run comes to, and what `show` says.
fn pinned_model_is_replaced(program: Program, bin: &std::path::Path, settings: &str) -> (crate::room::Ran, String) {
    let switched = Turn { answered_by: Some(other_model(program).into()), ..shell("echo done > done.txt") };
    let work = conversation(
        "Phase `implement`",
        vec![switched, shell("true"), Turn::text("Done.")],
        Growth { base: 20_000, step: 1_000, output: 300 },
    );
    let server = ModelServer::start(script(vec![work])).unwrap();
    let room = room(program, bin, &server);
    let folder = room.root().join("home/.config/agentops");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("config.toml"), settings).unwrap();
    let args = args_of(&room, program, &server, "quick");
    let ran = room.run(&crate::room::refs(&args));
    (ran, room.run(&["show"]).stdout)
}

fn a_session_whose_pinned_model_is_replaced_is_stopped_or_counted(program: Program) {
    let Some(bin) = programs() else { return };
    let (ran, shown) = pinned_model_is_replaced(program, &bin, "");
    assert_ne!(ran.code, 0, "{ran:#?}");
    let all = format!("{}{}{shown}", ran.stdout, ran.stderr);
    assert!(all.contains(&format!("`{}` answered", other_model(program))) && all.contains("other-model"), "{all}");
    let (ran, shown) = pinned_model_is_replaced(program, &bin, "[gateway]\nother-model = \"note\"\n");
    ran.expect(0);
    assert!(shown.contains("another model than was asked for answered 1 of its calls"), "{shown}");
}

fn phase<'v>(view: &'v Value, name: &str) -> &'v Value {
    view["phases"].as_array().unwrap().iter().find(|phase| phase["name"] == name).unwrap()
}

pub fn sessions(view: &Value, name: &str) -> Vec<Value> {
    let lanes = phase(view, name)["lanes"].as_array().unwrap().iter().filter(|lane| lane["review"] == false);
    lanes.flat_map(|lane| lane["sessions"].as_array().unwrap().clone()).collect()
}

fn carries_the_task_through(program: Program) {
    let Some(bin) = programs() else { return };
    let work = conversation(
        "Phase `implement`",
        vec![write("done.txt", "done\n"), shell(&format!("printf 'ghp_%s' {PLANTED}")), Turn::text("Done.")],
        Growth { base: 20_000, step: 2_000, output: 300 },
    );
    let planted = format!("ghp_{PLANTED}");
    let watch = [("key", "dummy-key-for-tests"), ("lane", "agentops-lane-"), ("planted", &planted)];
    let watch = watch.map(|(name, value)| Watch::new(name, value)).into();
    let server =
        ModelServer::start_with(script(vec![work]), Options { watch, keep_body_bytes: 64 << 20, ..Options::default() })
            .unwrap();
    let room = room(program, &bin, &server);
    let args = args(&room, program, &server);
    let view = room.run(&crate::room::refs(&args)).expect(0).json();
    let branch = view["branch"].as_str().unwrap();
    assert_eq!(room.git(&["show", &format!("{branch}:done.txt")]), "done");
    assert!(room.git(&["ls-tree", "-r", "--name-only", branch, ".agentops/runs/"]).contains(".json"));
    assert!(view["laws"].as_array().unwrap().iter().all(|law| law["held"] == true), "{view:#}");
    for name in ["research", "plan", "implement", "close-out"] {
        for session in sessions(&view, name) {
            assert!(session["largest_permille"].as_u64().is_some_and(|share| share <= 400), "{session:#}");
            assert!(session["version"].as_str().is_some(), "{session:#}");
            assert_eq!(session["enforcement"], "prevented", "{session:#}");
            // Program and gateway agree within 1 %, or the difference would stand here.
            assert_eq!(session["said"], Value::Null, "{session:#}");
            assert_eq!(session["dropped"], 0, "{session:#}");
        }
    }
    // What arrived carried the key and never the lane's token, by which the program had called the gateway.
    for record in server.requests() {
        assert!(record.saw("key") && !record.saw("lane"), "{record:#?}");
        // S6: what a command printed was taken out before it left.
        assert!(!record.saw("planted"), "{record:#?}");
        assert!(!record.path.contains("lane"), "{record:#?}");
    }
    let marked = server.requests().iter().any(|record| {
        record.body.as_ref().is_some_and(|body| String::from_utf8_lossy(body).contains("[redacted:github-token]"))
    });
    assert!(marked, "it was there to be taken out");
    // Each phase was a conversation of its own: its first call held one user turn and nothing of the others.
    let mains: Vec<_> = server.requests().into_iter().filter(|record| record.main()).collect();
    assert!(mains.iter().filter(|record| record.turn_index == 0).count() >= 6, "{}", mains.len());
    assert!(view["tokens"]["input"].as_u64().unwrap() > 0);
}

fn hands_over_and_is_stopped_at_the_ceiling(program: Program) {
    let Some(bin) = programs() else { return };
    let window = program.window();
    // Above the ceiling of the larger window, too, that the model table names before Codex has said its own.
    let (soft, ceiling) = (window * 28 / 100 + 2_000, window * 45 / 100);
    let hand_over = Reaction {
        says: "AGENTOPS HAND-OVER".into(),
        turns: vec![
            write(".agentops-out/handover.md", "# Hand-over\n\nHalf of it is in half.txt.\n"),
            Turn::text("Handed over."),
        ],
    };
    let implement = vec![
        // The third session starts from a mechanical hand-over and ends the work.
        conversation(
            "put together by the supervisor",
            vec![write("done.txt", "done\n"), Turn::text("Done.")],
            Growth { base: 20_000, step: 1_000, output: 200 },
        ),
        // The second starts from the first one's hand-over and jumps over the ceiling in one call.
        Conversation {
            when: "Half of it is in half.txt".into(),
            turns: vec![write("more.txt", "more\n").using(30_000, 100), shell("true").using(ceiling, 100), shell("true")],
            on: Vec::new(),
            usage: None,
        },
        // The first works up to the soft mark and is asked to hand over.
        Conversation {
            when: "Phase `implement`".into(),
            turns: vec![
                write("half.txt", "half\n").using(30_000, 100),
                shell("true").using(soft, 100),
                shell("true").using(soft, 100),
            ],
            on: vec![hand_over],
            usage: Some(Growth { base: soft, step: 100, output: 50 }),
        },
    ];
    let server = ModelServer::start(script(implement)).unwrap();
    let room = room(program, &bin, &server);
    let args = args(&room, program, &server);
    let view = room.run(&crate::room::refs(&args)).expect(0).json();
    let sessions = sessions(&view, "implement");
    let ends: Vec<&str> = sessions.iter().map(|session| session["end"].as_str().unwrap()).collect();
    assert_eq!(ends, ["handed-over", "ceiling", "completed"], "{view:#}");
    // The overshoot of one call is shown as measured.
    assert!(sessions[1]["largest_permille"].as_u64().unwrap() >= 400, "{:#}", sessions[1]);
    let tree = room.git(&["ls-tree", "--name-only", view["branch"].as_str().unwrap()]);
    for file in ["half.txt", "more.txt", "done.txt"] {
        assert!(tree.contains(file), "{tree}");
    }
}

/// B1: the provider says of each call that it used next to nothing, while the conversation grows. The session is asked to hand
/// over by our own count, does not, and is stopped before a call above the ceiling leaves.
fn nothing_above_the_ceiling_is_forwarded(program: Program) {
    let Some(bin) = programs() else { return };
    let window = 180_000;
    let nothing = Growth { base: 10, step: 0, output: 1 };
    // Some 29 KB of digits a time: as much as the programs let through of a command's output.
    let implement = vec![
        conversation("put together by the supervisor", vec![write("done.txt", "done\n"), Turn::text("Done.")], nothing),
        // Each another one: some programs end a session that does the same thing again and again.
        conversation("Phase `implement`", (1..60).map(|n| shell(&format!("seq {n} {}", n + 6000))).collect(), nothing),
    ];
    let options = Options { keep_body_bytes: 64 << 20, ..Options::default() };
    let server = ModelServer::start_with(script(implement), options).unwrap();
    let room = room(program, &bin, &server);
    // The user's own agent of that name names a window that is soon filled.
    let agents = room.root().join("home/.config/agentops/profiles/product-dev/agents");
    std::fs::create_dir_all(&agents).unwrap();
    let built_in = concat!(env!("CARGO_MANIFEST_DIR"), "/../../profiles/product-dev/agents/implement.md");
    let agent = std::fs::read_to_string(built_in).unwrap().replacen("---\n", &format!("---\nwindow: {window}\n"), 1);
    std::fs::write(agents.join("implement.md"), agent).unwrap();
    let args = args(&room, program, &server);
    let view = room.run(&crate::room::refs(&args)).expect(0).json();
    let sessions = sessions(&view, "implement");
    let ends: Vec<&str> = sessions.iter().map(|session| session["end"].as_str().unwrap()).collect();
    // A program that rewrites its history begins another conversation; when that is refused, the program ends by itself.
    assert!(["ceiling", "context-lost"].contains(&ends[0]) && ends.last() == Some(&"completed"), "{ends:?} {view:#}");
    // Other phases have another agent, and its model's own window.
    let held = server.requests().into_iter().filter(|record| record.conversation.as_deref() == Some("Phase `implement`"));
    let largest = held.map(|record| {
        let body = record.body.as_ref().expect("every body is kept");
        judge::tokens(record.protocol, body) + record.max_tokens.unwrap_or_default()
    });
    let largest = largest.max().unwrap();
    assert!(largest <= window * 2 / 5, "{largest} of {window}");
    assert!(largest > window / 10, "the conversation did grow: {largest} of {window}");
}

fn survives_a_kill_of_the_supervisor(program: Program) {
    let Some(bin) = programs() else { return };
    let again = conversation(
        "put together by the supervisor",
        vec![write("done.txt", "done\n"), Turn::text("Done.")],
        Growth { base: 20_000, step: 1_000, output: 200 },
    );
    let mut slow = shell("true");
    slow.delay_ms = 30_000;
    let work = conversation(
        "Phase `implement`",
        vec![write("half.txt", "half\n"), slow],
        Growth { base: 20_000, step: 1_000, output: 200 },
    );
    let server = ModelServer::start(script(vec![again, work])).unwrap();
    let room = room(program, &bin, &server);
    let args = args(&room, program, &server);
    let run = room.run(&[&crate::room::refs(&args)[..], &["--detach"]].concat()).expect(0).json();
    let run = run["run"].as_str().unwrap();
    // The second call of `implement` waits for its answer: the session has written half of its work.
    let waits = server.wait_until(std::time::Duration::from_secs(120), |records, _| {
        records.iter().any(|record| record.conversation.as_deref() == Some("Phase `implement`") && record.turn_index == 1)
    });
    assert!(waits, "{}", room.run(&["show", run]).stdout);
    room.kill_supervisor();
    let view = room.run(&["resume", run, "--json"]).expect(0).json();
    let ends: Vec<Value> = sessions(&view, "implement").iter().map(|session| session["end"].clone()).collect();
    assert_eq!(ends, ["interrupted", "completed"], "{view:#}");
    assert_eq!(view["takeovers"], 1);
    let tree = room.git(&["ls-tree", "--name-only", view["branch"].as_str().unwrap()]);
    assert!(tree.contains("half.txt") && tree.contains("done.txt"), "{tree}");
}

/// A key that the provider refuses is a person's business, and once they have mended it the run goes on.
fn a_refused_key_needs_a_decision(program: Program) {
    let Some(bin) = programs() else { return };
    let refused = Turn::fail(HttpError {
        status: 401,
        kind: "authentication_error".into(),
        message: "invalid key".into(),
        code: Some("invalid_api_key".into()),
        ..HttpError::default()
    });
    let mut refusing = script(Vec::new());
    for conversation in &mut refusing.conversations {
        conversation.turns = vec![refused.clone()];
    }
    let server = ModelServer::start(refusing).unwrap();
    let room = room(program, &bin, &server);
    let args = args(&room, program, &server);
    let view = room.run(&crate::room::refs(&args)).expect(agentops::error::NEEDS_DECISION.into()).json();
    assert_eq!(view["status"]["decision"]["kind"], "not-logged-in", "{view:#}");
}

/// Tests that do the same with several programs.
macro_rules! with_each_program {
    ($($test:ident: $what:ident($program:ident);)*) => {
        $(#[test]
        fn $test() {
            $what(Program::$program);
        })*
    };
}
pub(crate) use with_each_program;

with_each_program! {
    claude_code_is_stopped_or_counted_when_another_model_answers: a_session_whose_pinned_model_is_replaced_is_stopped_or_counted(Claude);
    claude_code_with_a_refused_key_needs_a_decision: a_refused_key_needs_a_decision(Claude);
    claude_code_carries_the_task_through_all_phases: carries_the_task_through(Claude);
    claude_code_hands_over_in_band_and_is_stopped_at_the_ceiling: hands_over_and_is_stopped_at_the_ceiling(Claude);
    b1_nothing_above_the_ceiling_of_claude_code_is_forwarded: nothing_above_the_ceiling_is_forwarded(Claude);
    claude_code_survives_a_kill_of_the_supervisor: survives_a_kill_of_the_supervisor(Claude);
    codex_is_stopped_or_counted_when_another_model_answers: a_session_whose_pinned_model_is_replaced_is_stopped_or_counted(Codex);
    codex_with_a_refused_key_needs_a_decision: a_refused_key_needs_a_decision(Codex);
    codex_carries_the_task_through_all_phases: carries_the_task_through(Codex);
    codex_hands_over_in_band_and_is_stopped_at_the_ceiling: hands_over_and_is_stopped_at_the_ceiling(Codex);
    b1_nothing_above_the_ceiling_of_codex_is_forwarded: nothing_above_the_ceiling_is_forwarded(Codex);
    codex_survives_a_kill_of_the_supervisor: survives_a_kill_of_the_supervisor(Codex);
    opencode_is_stopped_or_counted_when_another_model_answers: a_session_whose_pinned_model_is_replaced_is_stopped_or_counted(OpenCode);
    opencode_with_a_refused_key_needs_a_decision: a_refused_key_needs_a_decision(OpenCode);
    opencode_carries_the_task_through_all_phases: carries_the_task_through(OpenCode);
    opencode_hands_over_in_band_and_is_stopped_at_the_ceiling: hands_over_and_is_stopped_at_the_ceiling(OpenCode);
    b1_nothing_above_the_ceiling_of_opencode_is_forwarded: nothing_above_the_ceiling_is_forwarded(OpenCode);
    opencode_survives_a_kill_of_the_supervisor: survives_a_kill_of_the_supervisor(OpenCode);
    gemini_is_stopped_or_counted_when_another_model_answers: a_session_whose_pinned_model_is_replaced_is_stopped_or_counted(Gemini);
    gemini_with_a_refused_key_needs_a_decision: a_refused_key_needs_a_decision(Gemini);
    gemini_carries_the_task_through_all_phases: carries_the_task_through(Gemini);
    gemini_hands_over_in_band_and_is_stopped_at_the_ceiling: hands_over_and_is_stopped_at_the_ceiling(Gemini);
    b1_nothing_above_the_ceiling_of_gemini_is_forwarded: nothing_above_the_ceiling_is_forwarded(Gemini);
    gemini_survives_a_kill_of_the_supervisor: survives_a_kill_of_the_supervisor(Gemini);
}
