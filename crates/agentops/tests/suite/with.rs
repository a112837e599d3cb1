//! `agentops with` around a small program that calls a model as Claude Code does, against the scripted model server.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::Duration;

use agentops_core::budget::Limits;
use agentops_gateway::alone::DayLedger;
use agentops_testkit::judge;
use agentops_testkit::model::{Conversation, Growth, ModelServer, Options, Protocol, Script, Turn, Watch};
use serde_json::Value;

use crate::room::{Ran, Room};

const KEY: &str = "dummy-key-for-tests";
const WINDOW: u64 = 200_000;

/// `claude CALLS WORDS CODE`: so many calls, each with so many words more than the one before; ends with CODE. Prints the
/// status of each, and ends at the first that is refused, with its answer.
const PROGRAM: &str = r#"#!/usr/bin/env bash
set -u
calls="${@: -3:1}" words="${@: -2:1}" code="${@: -1}"
rest="${ANTHROPIC_BASE_URL#http://}"
port="${rest#*:}"; port="${port%%/*}"
path="${rest#*:"$port"}"
printf -v more '%*s' "$words" ''; more="${more// /word }"
said=''
for ((n = 1; n <= calls; n++)); do
    said+="${said:+,}{\"role\":\"user\",\"content\":\"TASK $n $more\"}"
    body="{\"model\":\"claude-sonnet-4-5\",\"max_tokens\":100,\"tools\":[{\"name\":\"t\"}],\"messages\":[$said]}"
    exec 3<>"/dev/tcp/127.0.0.1/$port" || exit 99
    printf 'POST %s/v1/messages HTTP/1.1\r\nHost: 127.0.0.1:%s\r\nx-api-key: %s\r\n' \
        "$path" "$port" "${ANTHROPIC_AUTH_TOKEN:-$ANTHROPIC_API_KEY}" >&3
    printf 'Content-Length: %s\r\nConnection: close\r\n\r\n%s' "${#body}" "$body" >&3
    read -r _ status _ <&3
    answer="$(cat <&3)"
    exec 3>&-
    echo "$status"
    [ "$status" = 200 ] || { echo "$answer"; break; }
done
exit "$code"
"#;

/// A server that says of each call that it used next to nothing.
fn server(turn: Turn) -> ModelServer {
    server_that_says(turn, 10)
}

/// A server that says of each call that it used so many tokens of input.
fn server_that_says(turn: Turn, base: u64) -> ModelServer {
    let conversation = Conversation {
        when: "TASK".into(),
        turns: vec![turn],
        on: Vec::new(),
        usage: Some(Growth { base, step: 0, output: 1 }),
    };
    let script = Script { conversations: vec![conversation], ..Script::default() };
    let watch = [("key", KEY), ("lane", "agentops-lane-")].map(|(name, value)| Watch::new(name, value)).into();
    ModelServer::start_with(script, Options { watch, keep_body_bytes: 64 << 20, ..Options::default() }).unwrap()
}

/// A room whose program finds that server.
fn room(server: &ModelServer) -> Room {
    let mut room = Room::empty();
    let bin = room.root().join("bin");
    std::fs::create_dir(&bin).unwrap();
    std::fs::write(bin.join("claude"), PROGRAM).unwrap();
    std::fs::set_permissions(bin.join("claude"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = std::env::var("PATH").unwrap_or_default();
    room.set("PATH", format!("{}:{path}", bin.display()));
    room.set("ANTHROPIC_BASE_URL", server.base_url());
    room.set("ANTHROPIC_API_KEY", KEY);
    room
}

/// The user's settings.
fn settings(room: &Room, text: &str) {
    let folder = room.root().join("home/.config/agentops");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("config.toml"), text).unwrap();
}

fn with(room: &Room, program: &[&str]) -> (Ran, Value) {
    let report = room.root().join("report.json");
    let report = report.to_str().unwrap();
    let ran = room.run(&[&["with", "--report", report, "claude"], program].concat());
    let json = std::fs::read_to_string(report).unwrap_or_else(|e| panic!("{e}: {ran:#?}"));
    (ran, serde_json::from_str(&json).unwrap())
}

fn bodies(server: &ModelServer) -> Vec<Vec<u8>> {
    let calls = server.requests().into_iter().filter(|record| record.path == "/v1/messages");
    calls.map(|record| record.body.expect("kept").to_vec()).collect()
}

#[test]
fn a_program_works_as_without_it_and_every_call_is_metered() {
    let server = server(Turn::text("Done."));
    let room = room(&server);
    let clean = room.command(&[]);
    let bare = clean.get_envs().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned()))).collect::<Vec<_>>();
    #[expect(clippy::disallowed_methods, reason = "the program without us is what it is compared with")]
    let bare = std::process::Command::new(room.root().join("bin/claude"))
        .args(["3", "50", "7"])
        .env_clear()
        .envs(bare)
        .output()
        .unwrap();
    let (bare, direct) = (Ran::of(&bare).expect(7), bodies(&server));
    let (led, report) = with(&room, &["3", "50", "7"]);
    assert_eq!((led.code, &led.stdout), (bare.code, &bare.stdout));
    let arrived = bodies(&server);
    assert_eq!(arrived[direct.len()..], direct, "byte for byte");
    for record in &server.requests()[direct.len()..] {
        assert!(record.saw("key") && !record.saw("lane"), "{record:#?}");
    }
    assert_eq!(report["calls"].as_array().unwrap().len(), 3);
    assert_eq!(report["totals"]["calls"], 3);
    assert_eq!(report["exit_code"], 7);
    assert!(led.stderr.contains("agentops: claude-sonnet-4-5") && led.stderr.contains("3 calls"), "{}", led.stderr);
    // Nothing of this start is left.
    assert!(std::fs::read_dir(room.state().join("gateway/with")).unwrap().next().is_none());
}

#[test]
fn a_request_that_is_refused_unread_is_shown_and_reported() {
    for (asked, instead, line) in [
        ("/v1/messages", "/v1/completions", "POST /v1/completions with 404"),
        (r#"\"max_tokens\":100"#, r#"\"max_tokens\":\"100\""#, "POST /v1/messages with 400"),
    ] {
        let server = server(Turn::text("Done."));
        let room = room(&server);
        let program = PROGRAM.replace(asked, instead);
        assert_ne!(program, PROGRAM);
        std::fs::write(room.root().join("bin/claude"), program).unwrap();
        let (led, report) = with(&room, &["1", "5", "0"]);
        assert!(led.stdout.contains("AgentOps gateway: "), "{}", led.stdout);
        assert!(led.stderr.contains(&format!("refused: {line}")), "{}", led.stderr);
        let refused = report["refused"].as_array().unwrap();
        assert!(refused.len() == 1 && refused[0].as_str().unwrap().starts_with(line), "{report:#}");
        assert!(server.requests().is_empty());
    }
}

#[test]
fn b1_nothing_above_the_ceiling_is_forwarded_and_the_person_is_told_what_to_type() {
    let server = server(Turn::text("Done."));
    let room = room(&server);
    let (led, report) = with(&room, &["30", "6000", "0"]);
    let led = led.expect(0);
    let largest = bodies(&server).iter().map(|body| judge::tokens(Protocol::Messages, body)).max().unwrap();
    // The model's tokenizer may make more of it than the judge's does, so the gateway stops before the judge would.
    assert!(largest > WINDOW / 5 && largest <= WINDOW * 40 / 100, "{largest}");
    assert!(led.stdout.contains("prompt is too long") && led.stdout.contains("type /compact or /clear"), "{}", led.stdout);
    assert!(led.stderr.contains("past the soft mark") && led.stderr.contains("at the ceiling"), "{}", led.stderr);
    assert_eq!(report["refused"].as_array().unwrap().len(), 1);
    assert_eq!(report["totals"]["calls"], bodies(&server).len());
}

#[test]
fn b1_a_smaller_window_holds_when_it_is_asked_for() {
    let server = server(Turn::text("Done."));
    let room = room(&server);
    let ran = room.run(&["with", "--window", "20000", "claude", "30", "1000", "0"]).expect(0);
    let largest = bodies(&server).iter().map(|body| judge::tokens(Protocol::Messages, body)).max().unwrap();
    assert!(largest <= 8_000 && ran.stdout.contains("prompt is too long"), "{largest}: {ran:#?}");
}

#[test]
fn b3_the_days_budget_holds_over_all_starts() {
    let server = server_that_says(Turn::text("Done."), 3_000);
    let room = room(&server);
    settings(&room, "[budget]\nday-tokens = 20000\n");
    let (mut charged, mut refused) = (0, false);
    for _ in 0..30 {
        let (led, report) = with(&room, &["1", "2000", "0"]);
        charged += report["totals"]["cost"]["tokens"].as_u64().unwrap();
        refused = led.stdout.starts_with("402");
        if refused {
            assert!(led.stdout.contains("the budget of 20"), "{}", led.stdout);
            break;
        }
    }
    assert!(refused && charged <= 20_000 && charged > 0, "{charged}");
}

#[test]
fn b3_a_killed_gateway_leaves_its_grant_spent_and_nothing_else_wrong() {
    let server = server(Turn { delay_ms: 600_000, ..Turn::text("Never.") });
    let room = room(&server);
    let mut running = room.command(&["with", "claude", "1", "50", "0"]).stdout(Stdio::piped()).spawn().unwrap();
    assert!(server.wait_for(1, Duration::from_secs(60)), "the call has arrived");
    running.kill().unwrap();
    running.wait().unwrap();
    // The program sees its call end, and ends by itself.
    assert_eq!(BufReader::new(running.stdout.take().unwrap()).lines().map_while(Result::ok).collect::<String>(), "");
    let day = std::fs::read_dir(room.state().join("gateway")).unwrap().flatten();
    let day = day.filter_map(|entry| entry.file_name().into_string().ok()?.strip_suffix(".jsonl").map(str::to_owned)).next();
    let folder = room.state().join("gateway");
    let open = |name: &str| {
        let limits = Limits::default();
        DayLedger::open(&folder, day.as_ref().unwrap(), name.into(), limits, Default::default()).unwrap()
    };
    let spent = open("one that looks").spent();
    assert!(spent.tokens > 150, "at least the call under way: {spent}");
    drop(server);
    let next = self::server(Turn::text("Done."));
    let mut room = room;
    room.set("ANTHROPIC_BASE_URL", next.base_url());
    let ran = room.run(&["with", "claude", "1", "50", "3"]).expect(3);
    assert_eq!(ran.stdout, "200\n");
    let after = open("another that looks").spent();
    assert!(after.tokens > spent.tokens, "what ended in order is added: {after}");
    assert!(std::fs::read_dir(room.state().join("gateway/with")).unwrap().next().is_none(), "the next start tidies up");
}

#[test]
fn what_cannot_be_led_is_refused_by_name() {
    let server = server(Turn::text("Done."));
    let mut room = room(&server);
    let missing = room.run(&["with", "codex"]);
    assert!(missing.stderr.contains("OPENAI_API_KEY") || missing.stderr.contains("codex"), "{missing:#?}");
    let unknown = room.run(&["with", "vim", "file"]).expect(agentops::error::USAGE.into());
    assert!(unknown.stderr.contains("there is no driver `vim`"), "{}", unknown.stderr);
    let scripted = room.run(&["with", "scripted"]).expect(agentops::error::USAGE.into());
    assert!(scripted.stderr.contains("scripted cannot be led through the gateway"), "{}", scripted.stderr);
    // The person's own settings for the program count, not only the environment.
    let folder = room.root().join("home/.claude");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("settings.json"), r#"{"env": {"CLAUDE_CODE_USE_VERTEX": "1"}}"#).unwrap();
    let vertex = room.run(&["with", "claude", "1", "1", "0"]).expect(agentops::error::USAGE.into());
    assert!(vertex.stderr.contains("Vertex"), "{}", vertex.stderr);
    room.set("CLAUDE_CODE_USE_BEDROCK", "1");
    let bedrock = room.run(&["with", "claude", "1", "1", "0"]).expect(agentops::error::USAGE.into());
    assert!(bedrock.stderr.contains("Bedrock"), "{}", bedrock.stderr);
    assert!(bodies(&server).is_empty(), "nothing was started");
}

/// Codex by itself reads its own setting only. A key for a proxy must not go to another host, and none goes anywhere unsaid.
#[test]
fn an_address_that_codex_does_not_read_is_said() {
    let mut room = Room::empty();
    let bin = room.root().join("bin");
    std::fs::create_dir(&bin).unwrap();
    std::fs::write(bin.join("codex"), "#!/bin/sh\nexit 0\n").unwrap();
    std::fs::set_permissions(bin.join("codex"), std::fs::Permissions::from_mode(0o755)).unwrap();
    room.set("PATH", format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default()));
    room.set("OPENAI_API_KEY", KEY);
    let stderr = |room: &Room| room.run(&["with", "codex"]).expect(0).stderr;
    assert!(!stderr(&room).contains("OPENAI_BASE_URL"));
    room.set("OPENAI_BASE_URL", "http://127.0.0.1:9/v1/");
    let said = stderr(&room);
    assert!(said.contains("calls go to http://127.0.0.1:9/v1, as OPENAI_BASE_URL says"), "{said}");
    let folder = room.root().join("home/.codex");
    std::fs::create_dir_all(&folder).unwrap();
    let config = folder.join("config.toml");
    std::fs::write(&config, "openai_base_url = \"http://127.0.0.1:9/v1\"\n").unwrap();
    assert!(!stderr(&room).contains("OPENAI_BASE_URL"), "it is the one that it reads");
    std::fs::write(&config, "openai_base_url = \"http://127.0.0.1:8/v1\"\n").unwrap();
    let said = stderr(&room);
    assert!(said.contains("codex does not read OPENAI_BASE_URL: its calls go to http://127.0.0.1:8/v1"), "{said}");
    // A login is OpenAI's own, and is sent to no other host.
    std::fs::remove_file(&config).unwrap();
    std::fs::write(folder.join("auth.json"), "{}").unwrap();
    let said = stderr(&room);
    assert!(said.contains("codex does not read OPENAI_BASE_URL: its calls go to https://"), "{said}");
}

/// None of them counts as not set: calls would go to the official host, or without the key.
#[test]
fn an_address_or_key_that_cannot_be_used_is_refused_by_name() {
    let mut room = Room::empty();
    room.set("OPENAI_API_KEY", KEY);
    let refusal = |name: &str, value: &[u8]| {
        let mut command = room.command(&["with", "codex"]);
        let refused = command.env(name, OsStr::from_bytes(value)).output().unwrap();
        let words = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(agentops::error::USAGE.into()), "{words}");
        words
    };
    assert!(refusal("OPENAI_API_KEY", b"sk-half\xff").contains("OPENAI_API_KEY cannot be used"));
    assert!(refusal("OPENAI_BASE_URL", b"http://127.0.0.1:9/\xff").contains("is not a URL"));
    assert!(refusal("OPENAI_BASE_URL", b"http://127.0.0.1:99999/v1").contains("has a port that"));
}

#[test]
fn gemini_that_cannot_be_given_a_login_is_told_how_to_choose_one() {
    let mut room = Room::empty();
    let bin = room.root().join("bin");
    std::fs::create_dir(&bin).unwrap();
    // As the program ends where it has no login that it takes; what it is told to read goes to stdout.
    std::fs::write(bin.join("gemini"), "#!/bin/sh\necho \"read ${GEMINI_CLI_SYSTEM_DEFAULTS_PATH:-nothing}\"\nexit 41\n")
        .unwrap();
    std::fs::set_permissions(bin.join("gemini"), std::fs::Permissions::from_mode(0o755)).unwrap();
    room.set("PATH", format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default()));
    room.set("GEMINI_API_KEY", KEY);
    std::fs::set_permissions(room.root(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let ran = room.run(&["with", "gemini"]).expect(41);
    assert!(ran.stdout.contains("read nothing") && ran.stderr.contains("/auth"), "{ran:#?}");
    let folder = room.root().join("home/.gemini");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("settings.json"), r#"{"security": {"auth": {"selectedType": "gemini-api-key"}}}"#).unwrap();
    let ran = room.run(&["with", "gemini"]).expect(41);
    assert!(!ran.stderr.contains("/auth") && ran.stderr.contains("lead it elsewhere"), "{ran:#?}");
}

#[test]
fn a_signal_that_reaches_this_program_alone_is_handed_on() {
    use rustix::process::Signal;
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let server = server(Turn { delay_ms: 600_000, ..Turn::text("Never.") });
        let room = room(&server);
        let mut running = room.command(&["with", "claude", "1", "50", "0"]).stderr(Stdio::piped()).spawn().unwrap();
        assert!(server.wait_for(1, Duration::from_secs(60)), "the call has arrived");
        let pid = rustix::process::Pid::from_raw(i32::try_from(running.id()).unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
        assert_eq!(running.wait().unwrap().code(), Some(128 + signal.as_raw()), "as a shell has it");
    }
}
