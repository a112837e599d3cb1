//! The protocols over a plain socket: what clients insist on, and every way in which the server can misbehave.

mod common;

use std::io::Read;
use std::net::TcpStream;
use std::time::Duration;

use agentops_testkit::model::{
    Conversation, Growth, HttpError, Lie, ModelServer, Options, Other, Protocol, Script, ScriptError, Served, ToolCall,
    Turn, TurnUsage, UsageNumbers,
};
use common::{LONG, ask, events, names, open};
use serde_json::{Value, json};

fn claude() -> Value {
    json!({"model": "m", "stream": true, "max_tokens": 7, "tools": [{"name": "Bash"}, {"name": "Write"}], "messages": [
        {"role": "user", "content": [{"type": "text", "text": "Primary working directory: /w\n"}]}]})
}

fn codex() -> Value {
    json!({"model": "m", "stream": true, "tools": [{"type": "function", "name": "exec_command"}], "input": [
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "<cwd>/w</cwd>"}]}]})
}

#[test]
fn messages_stream_has_named_events_in_order() {
    let mut turn = Turn::call(vec![ToolCall::write("a.md", "hi")]).using(70, 9);
    turn.text = Some("two words".into());
    let server = ModelServer::start(Script::of(vec![turn])).unwrap();
    let (status, body) = ask(&server, "/lane/TOKEN/v1/messages?beta=true", &claude());
    let events = events(&body);
    assert_eq!(status, 200);
    let expected = [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ];
    assert_eq!(names(&events), expected);
    assert_eq!(events[0].1["message"]["usage"]["input_tokens"], 70);
    assert_eq!(events[8].1["delta"]["stop_reason"], "tool_use");
    assert_eq!(events[8].1["usage"]["output_tokens"], 9);
    let input: Value = serde_json::from_str(events[6].1["delta"]["partial_json"].as_str().unwrap()).unwrap();
    assert_eq!(input, json!({"file_path": "/w/a.md", "content": "hi"}));
    let record = &server.requests()[0];
    assert_eq!((record.protocol, record.max_tokens), (Protocol::Messages, Some(7)));
    assert_eq!(record.path, "/lane/TOKEN/v1/messages");
    assert_eq!(record.tools, ["Bash", "Write"]);
}

#[test]
fn messages_are_served_whole_when_no_stream_is_asked_for() {
    let server = ModelServer::start(Script::of(vec![Turn::text("hello").using(5, 6)])).unwrap();
    let mut request = claude();
    request["stream"] = json!(false);
    let (_, body) = ask(&server, "/v1/messages", &request);
    let message: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(message["content"][0]["text"], "hello");
    assert_eq!((&message["usage"]["input_tokens"], &message["stop_reason"]), (&json!(5), &json!("end_turn")));
}

#[test]
fn responses_stream_ends_with_the_usage_in_completed() {
    let numbers = UsageNumbers { input: 10, cache_read: 4, cache_write: 1, output: 3 };
    let turn = Turn { usage: Some(TurnUsage::Numbers(numbers)), ..Turn::call(vec![ToolCall::shell("ls")]) };
    let server = ModelServer::start(Script::of(vec![turn])).unwrap();
    let events = events(&ask(&server, "/lane/T/v1/responses", &codex()).1);
    let expected = ["response.created", "response.output_item.added", "response.output_item.done", "response.completed"];
    assert_eq!(names(&events), expected);
    assert_eq!(events[2].1["item"]["type"], "function_call");
    let usage = &events[3].1["response"]["usage"];
    assert_eq!((&usage["input_tokens"], &usage["total_tokens"]), (&json!(15), &json!(18)));
    assert_eq!(usage["input_tokens_details"]["cached_tokens"], 4);
}

#[test]
fn errors_have_each_providers_shape() {
    for (status, kind) in
        [(400, "invalid_request_error"), (401, "authentication_error"), (429, "rate_limit_error"), (529, "overloaded_error")]
    {
        let server = ModelServer::start(Script::of(vec![Turn::fail(HttpError::new(status, "no"))])).unwrap();
        let (got, body) = ask(&server, "/v1/messages", &claude());
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((got, &body), (status, &json!({"type": "error", "error": {"type": kind, "message": "no"}})));
        let (got, body) = ask(&server, "/v1/responses", &codex());
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((got, &body["error"]["message"]), (status, &json!("no")));
    }
    let server = ModelServer::start(Script::of(vec![Turn::fail(HttpError::prompt_too_long(210, 200))])).unwrap();
    assert!(ask(&server, "/v1/messages", &claude()).1.contains("prompt is too long: 210 tokens > 200 maximum"));
    assert!(ask(&server, "/v1/responses", &codex()).1.contains(r#""code":"context_length_exceeded""#));
}

#[test]
fn usage_can_lie_be_left_out_and_be_repeated() {
    let lie = |lie| Turn { usage: Some(TurnUsage::Lie(lie)), ..Turn::text("x") };
    let starts = |turn: Turn| {
        let server = ModelServer::start(Script::of(vec![turn])).unwrap();
        events(&ask(&server, "/v1/messages", &claude()).1)
    };
    assert_eq!(starts(lie(Lie::Zero))[0].1["message"]["usage"]["input_tokens"], 0);
    assert!(starts(lie(Lie::Huge))[0].1["message"]["usage"]["input_tokens"].as_u64().unwrap() > 1_000_000_000);
    assert_eq!(starts(lie(Lie::None))[0].1["message"].get("usage"), Some(&Value::Null));
    let omitted = starts(Turn { omit_usage: true, ..Turn::text("x") });
    assert!(omitted.iter().all(|(_, data)| !data.to_string().contains("usage")));
    let repeated = starts(Turn { repeat_usage: true, ..Turn::text("x") });
    assert_eq!(names(&repeated).iter().filter(|name| **name == "message_delta").count(), 2);
}

#[test]
fn a_cut_leaves_the_stream_without_an_end() {
    let turn = Turn { cut_after_chunks: Some(3), ..Turn::text("a b c d") };
    let server = ModelServer::start(Script::of(vec![turn])).unwrap();
    let mut bytes = Vec::new();
    // A reset instead of an end is just as much a cut.
    let _ = open(&server, "/v1/messages", &claude()).read_to_end(&mut bytes);
    let body = String::from_utf8(bytes).unwrap();
    assert_eq!(names(&events(&body)), ["message_start", "content_block_start", "content_block_delta"]);
    assert!(!body.ends_with("0\r\n\r\n"));
}

#[test]
fn a_cut_is_a_reset_where_the_script_wants_that() {
    let turn = Turn { cut_after_chunks: Some(3), ..Turn::text("a b c d") };
    let server = ModelServer::start(Script { resets: true, ..Script::of(vec![turn]) }).unwrap();
    let end = open(&server, "/v1/messages", &claude()).read_to_end(&mut Vec::new());
    assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
}

#[test]
fn a_client_that_goes_away_is_noticed() {
    let turn = Turn { delay_ms: 60_000, ..Turn::text("late") };
    let server = ModelServer::start(Script::of(vec![turn])).unwrap();
    let stream = open(&server, "/v1/messages", &claude());
    assert!(server.wait_for(1, LONG));
    assert_eq!(server.disconnects(), 0);
    drop(stream);
    assert!(server.wait_until(LONG, |_, disconnects| disconnects == 1));
}

#[test]
fn waiting_ends_when_the_time_is_up() {
    let server = ModelServer::start(Script::default()).unwrap();
    assert!(!server.wait_for(1, Duration::from_millis(20)));
}

#[test]
fn a_dropped_server_is_gone_and_cuts_what_it_was_saying() {
    let turn = Turn { chunk_delay_ms: 60_000, ..Turn::text("a b") };
    let server = ModelServer::start(Script::of(vec![turn])).unwrap();
    let address = server.base_url();
    let mut stream = open(&server, "/v1/messages", &claude());
    assert!(server.wait_for(1, LONG));
    drop(server);
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    assert!(!String::from_utf8(bytes).unwrap().contains("message_stop"));
    assert!(TcpStream::connect(address.trim_start_matches("http://")).is_err());
}

#[test]
fn token_counts_and_side_requests_use_no_turn() {
    let conversation = Conversation { when: "/w".into(), turns: vec![Turn::text("main")], ..Conversation::default() };
    let mut script = Script::from_conversations(vec![conversation]);
    script.usage = Growth { base: 40, step: 2, output: 1 };
    script.count_tokens = Some(321);
    let server = ModelServer::start(script).unwrap();
    assert!(ask(&server, "/lane/T/v1/messages/count_tokens", &claude()).1.contains("321"));
    let mut title = claude();
    title["tools"] = json!([]);
    assert!(ask(&server, "/v1/messages", &title).1.contains("Scripted "));
    assert_eq!(server.main_count(), 0);
    assert!(ask(&server, "/v1/messages", &claude()).1.contains("main"));
    assert_eq!(server.main_count(), 1);
    assert_eq!(server.requests()[2].served, Served::Turn { index: 0 });
    assert_eq!(server.counts()["/w"], 1);
    assert_eq!(ask(&server, "/v1/models", &json!({})).0, 404);
}

#[test]
fn what_is_no_model_call_gets_its_own_answer() {
    let mut script = Script::of(vec![Turn::text("x")]);
    script.others = vec![Other { path: "/v1/models".into(), status: 203, body: json!({"data": []}) }];
    let server = ModelServer::start(script).unwrap();
    assert_eq!(ask(&server, "/lane/T/v1/models?limit=2", &json!({})), (203, r#"{"data":[]}"#.into()));
    assert_eq!(ask(&server, "/v1/files", &json!({})).0, 404);
    assert_eq!(server.main_count(), 0);
}

#[test]
fn the_log_has_every_request_and_no_key() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log.jsonl");
    let options = Options { log: Some(log.clone()), ..Options::default() };
    let server = ModelServer::start_with(Script::of(vec![Turn::text("x")]), options).unwrap();
    ask(&server, "/v1/messages", &claude());
    ask(&server, "/v1/responses", &codex());
    let lines = std::fs::read_to_string(log).unwrap();
    let logged: Vec<_> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(server.requests(), logged);
    assert!(!lines.contains("TOP-SECRET"));
}

#[test]
fn a_script_with_a_misspelt_key_or_nothing_to_say_is_refused() {
    let misspelt = Script::parse(r#"{"default": {"turns": [{"txt": "x"}]}}"#);
    assert!(matches!(misspelt, Err(ScriptError::Parse(_))));
    let empty = Script::parse(r#"{"conversations": [{"when": "P", "turns": []}]}"#);
    assert!(matches!(empty, Err(ScriptError::Empty { index: 0, .. })));
}
