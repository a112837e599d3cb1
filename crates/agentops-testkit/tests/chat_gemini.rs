//! Chat Completions and Gemini over a plain socket, and the faults that every protocol shares.

mod common;

use std::io::Read;

use agentops_testkit::model::{HttpError, Lie, ModelServer, Protocol, Script, ToolCall, Turn, TurnUsage, UsageNumbers};
use common::{ask, data, open};
use serde_json::{Value, json};

const CHAT: &str = "/lane/T/v1/chat/completions";
const STREAM: &str = "/lane/T/v1beta/models/g-2.5:streamGenerateContent?alt=sse";
const WHOLE: &str = "/lane/T/v1beta/models/g-2.5:generateContent";

fn opencode() -> Value {
    json!({"model": "m", "stream": true, "stream_options": {"include_usage": true}, "max_tokens": 7,
        "tools": [{"type": "function", "function": {"name": "bash"}}],
        "messages": [{"role": "system", "content": "Working directory: /w\n"}, {"role": "user", "content": "go"}]})
}

fn gemini() -> Value {
    json!({"tools": [{"functionDeclarations": [{"name": "run_shell_command"}]}],
        "generationConfig": {"maxOutputTokens": 7}, "contents": [{"role": "user", "parts": [{"text": "go"}]}]})
}

fn cached() -> Turn {
    let numbers = UsageNumbers { input: 10, cache_read: 4, cache_write: 1, output: 3 };
    let turn = Turn { usage: Some(TurnUsage::Numbers(numbers)), ..Turn::call(vec![ToolCall::shell("ls")]) };
    Turn { text: Some("two words".into()), ..turn }
}

fn serve(turn: Turn) -> ModelServer {
    ModelServer::start(Script::of(vec![turn])).unwrap()
}

#[test]
fn a_chat_streams_text_then_the_call_then_its_end_then_the_usage() {
    let server = serve(cached());
    let (status, body) = ask(&server, CHAT, &opencode());
    let chunks = data(&body);
    assert_eq!((status, chunks.len()), (200, 6));
    let deltas: Vec<_> = chunks[..5].iter().map(|chunk| &chunk["choices"][0]["delta"]).collect();
    assert_eq!((&deltas[0]["role"], &deltas[1]["content"]), (&json!("assistant"), &json!("two ")));
    assert_eq!(deltas[3]["tool_calls"][0]["function"]["name"], "bash");
    assert_eq!(chunks[4]["choices"][0]["finish_reason"], "tool_calls");
    assert_eq!(chunks[4]["usage"], Value::Null);
    assert_eq!(chunks[5]["choices"], json!([]));
    let usage = &chunks[5]["usage"];
    assert_eq!((&usage["prompt_tokens"], &usage["total_tokens"]), (&json!(15), &json!(18)));
    assert_eq!(usage["prompt_tokens_details"]["cached_tokens"], 4);
    assert!(body.contains("data: [DONE]\n\n"));
    let record = &server.requests()[0];
    assert_eq!((record.protocol, record.max_tokens, record.main()), (Protocol::Chat, Some(7), true));
}

#[test]
fn a_chat_says_nothing_of_usage_unless_it_is_asked_in_a_stream() {
    let server = serve(cached());
    let mut request = opencode();
    request["stream_options"] = Value::Null;
    assert!(!ask(&server, CHAT, &request).1.contains("usage"));
    request["stream"] = json!(false);
    let completion: Value = serde_json::from_str(&ask(&server, CHAT, &request).1).unwrap();
    assert_eq!(completion["usage"]["completion_tokens"], 3);
    let message = &completion["choices"][0]["message"];
    assert_eq!(message["content"], "two words");
    assert_eq!(message["tool_calls"][0].get("index"), None);
    assert_eq!(completion["choices"][0]["finish_reason"], "tool_calls");
}

#[test]
fn a_chat_without_tools_uses_no_turn() {
    let server = serve(Turn::text("main"));
    let mut title = opencode();
    title["tools"] = Value::Null;
    assert!(ask(&server, CHAT, &title).1.contains("Scripted "));
    assert_eq!(server.main_count(), 0);
    assert!(ask(&server, CHAT, &opencode()).1.contains("main"));
}

#[test]
fn gemini_streams_whole_responses_and_the_usage_in_the_last() {
    let server = serve(cached());
    let (status, body) = ask(&server, STREAM, &gemini());
    let responses = data(&body);
    assert_eq!((status, responses.len()), (200, 4));
    let parts: Vec<_> = responses.iter().map(|response| &response["candidates"][0]["content"]["parts"][0]).collect();
    assert_eq!((&parts[0]["text"], &parts[2]["functionCall"]["args"]["command"]), (&json!("two "), &json!("ls")));
    assert_eq!(responses[3]["candidates"][0]["finishReason"], "STOP");
    assert!(responses[..3].iter().all(|response| response.get("usageMetadata").is_none()));
    let usage = &responses[3]["usageMetadata"];
    assert_eq!((&usage["promptTokenCount"], &usage["totalTokenCount"]), (&json!(15), &json!(18)));
    let record = &server.requests()[0];
    assert_eq!((record.protocol, record.max_tokens, record.model.as_str()), (Protocol::Gemini, Some(7), "g-2.5"));
}

#[test]
fn gemini_answers_whole_as_an_array_and_counts() {
    let mut script = Script::of(vec![cached()]);
    script.count_tokens = Some(321);
    let server = ModelServer::start(script).unwrap();
    let response: Value = serde_json::from_str(&ask(&server, WHOLE, &gemini()).1).unwrap();
    assert_eq!(response["candidates"][0]["content"]["parts"][0]["text"], "two words");
    assert_eq!(response["usageMetadata"]["cachedContentTokenCount"], 4);
    let array: Value = serde_json::from_str(&ask(&server, STREAM.split_once('?').unwrap().0, &gemini()).1).unwrap();
    assert_eq!(array.as_array().unwrap().len(), 4);
    let (_, counted) = ask(&server, "/v1beta/models/g-2.5:countTokens", &gemini());
    assert_eq!(counted, r#"{"totalTokens":321}"#);
    assert_eq!(server.main_count(), 2);
}

#[test]
fn errors_have_each_providers_shape() {
    for (status, kind, state) in [
        (401, "invalid_request_error", "UNAUTHENTICATED"),
        (429, "rate_limit_error", "RESOURCE_EXHAUSTED"),
        (529, "server_error", "UNAVAILABLE"),
    ] {
        let server = serve(Turn::fail(HttpError::new(status, "no")));
        let (got, body) = ask(&server, CHAT, &opencode());
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((got, &body["error"]["type"]), (status, &json!(kind)));
        let (got, body) = ask(&server, STREAM, &gemini());
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(body, json!({"error": {"code": status, "message": "no", "status": state}}));
        assert_eq!(got, status);
    }
    let error = HttpError { retry_after_s: Some(9), ..HttpError::new(429, "later") };
    let server = serve(Turn::fail(error));
    let (_, body) = ask(&server, WHOLE, &gemini());
    assert!(body.contains(r#""retryDelay":"9s""#));
}

#[test]
fn faults_end_after_as_many_calls_as_the_turn_says() {
    let headers = [("x-resets-at".to_owned(), "at {unix+0}".to_owned())].into();
    let details = vec![json!({"@type": "quota"})];
    let error = HttpError { retry_after_s: Some(9), headers, details, ..HttpError::new(429, "later") };
    let chunk_bytes = std::num::NonZeroUsize::new(3);
    let server = serve(Turn { http_error: Some(error), faults_max: Some(1), chunk_bytes, ..Turn::text("now") });
    let mut first = String::new();
    open(&server, WHOLE, &gemini()).read_to_string(&mut first).unwrap();
    let resets_at = first.split_once("x-resets-at: at ").and_then(|(_, rest)| rest.split_once("\r\n")).unwrap().0;
    assert!(resets_at.parse::<u64>().unwrap() > 1_700_000_000, "{first}");
    assert!(first.starts_with("HTTP/1.1 429 ") && first.contains("\r\nretry-after: 9\r\n"), "{first}");
    let body: String = first.split_once("\r\n\r\n").unwrap().1.lines().skip(1).step_by(2).collect();
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (&body["error"]["details"][0]["@type"], &body["error"]["details"][1]["retryDelay"]),
        (&json!("quota"), &json!("9s"))
    );
    let (status, body) = ask(&server, WHOLE, &gemini());
    assert!(status == 200 && body.contains("now"), "{body}");
}

#[test]
fn usage_lies_in_both_protocols() {
    let told = |turn: Turn| {
        let server = serve(turn);
        let chat = data(&ask(&server, CHAT, &opencode()).1).pop().unwrap();
        let gemini = data(&ask(&server, STREAM, &gemini()).1).pop().unwrap();
        (chat["usage"]["prompt_tokens"].as_i64(), gemini["usageMetadata"]["promptTokenCount"].as_i64())
    };
    assert_eq!(told(Turn::text("x").lying(Lie::Zero)), (Some(0), Some(0)));
    let negative = told(Turn::text("x").lying(Lie::Negative));
    assert!(negative.0.unwrap() < 0 && negative.1.unwrap() < 0);
    let huge = told(Turn::text("x").lying(Lie::Huge));
    assert!(huge.0.unwrap() > 1_000_000_000 && huge.1.unwrap() > 1_000_000_000);
    assert_eq!(told(Turn::text("x").lying(Lie::None)), (None, None));
    let server = serve(Turn { omit_usage: true, ..Turn::text("x") });
    assert!(!ask(&server, CHAT, &opencode()).1.contains("usage"));
    assert!(!ask(&server, STREAM, &gemini()).1.contains("usage"));
    let server = serve(Turn { repeat_usage: true, ..Turn::text("x") });
    assert_eq!(ask(&server, CHAT, &opencode()).1.matches("prompt_tokens\"").count(), 2);
    assert_eq!(ask(&server, STREAM, &gemini()).1.matches("usageMetadata").count(), 2);
}

#[test]
fn an_error_may_come_when_the_stream_has_begun() {
    let error = HttpError::new(529, "too busy");
    let server = serve(Turn { text: Some("a b".into()), error_after_chunks: Some(2), ..Turn::fail(error) });
    let messages = json!({"stream": true, "tools": [{"name": "Bash"}], "messages": []});
    let responses = json!({"stream": true, "tools": [{"name": "exec_command"}], "input": []});
    for (path, request, place) in [
        ("/v1/messages", messages, "/error/message"),
        ("/v1/responses", responses, "/message"),
        (CHAT, opencode(), "/error/message"),
        (STREAM, gemini(), "/error/message"),
    ] {
        let (status, body) = ask(&server, path, &request);
        let events = data(&body);
        assert_eq!((status, events.len()), (200, 3), "{body}");
        assert_eq!(events[2].pointer(place), Some(&json!("too busy")), "{body}");
    }
    let mut plain = opencode();
    plain["stream"] = json!(false);
    assert_eq!(ask(&server, CHAT, &plain).0, 529);
}

#[test]
fn a_redirect_names_its_place_and_headers_are_added() {
    let mut turn = Turn::redirect(307, "http://127.0.0.1:1/elsewhere");
    turn.headers.insert("x-ratelimit-left".into(), "5".into());
    let server = serve(turn);
    let mut answer = String::new();
    open(&server, CHAT, &opencode()).read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 307"), "{answer}");
    assert!(answer.contains("location: http://127.0.0.1:1/elsewhere\r\n") && answer.contains("x-ratelimit-left: 5\r\n"));
}

#[test]
fn malformed_json_is_half_an_event_or_half_an_answer() {
    let server = serve(Turn { malformed_json: true, ..Turn::text("a b") });
    let (_, body) = ask(&server, CHAT, &opencode());
    let events: Vec<_> = body.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    let sound = |data: &&str| serde_json::from_str::<Value>(data).is_ok() || *data == "[DONE]";
    assert_eq!(events.iter().position(|data| !sound(data)), Some(1));
    assert_eq!(events.iter().filter(|data| !sound(data)).count(), 1);
    let mut plain = opencode();
    plain["stream"] = json!(false);
    let (status, body) = ask(&server, CHAT, &plain);
    assert_eq!((status, serde_json::from_str::<Value>(&body).is_err()), (200, true));
}

#[test]
fn a_stream_may_end_within_a_word() {
    for request in [opencode(), json!({"tools": opencode()["tools"]})] {
        let server = serve(Turn { cut_after_bytes: Some(25), ..Turn::text("a b c") });
        let mut bytes = Vec::new();
        // A reset instead of an end is just as much a cut.
        let _ = open(&server, CHAT, &request).read_to_end(&mut bytes);
        let answer = String::from_utf8(bytes).unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let (_, piece) = body.split_once("\r\n").unwrap();
        assert_eq!(piece.trim_end().len(), 25, "{answer}");
    }
}

#[test]
fn a_stream_in_small_chunks_says_the_same() {
    let turn = Turn::text("wörter über wörter");
    let server = serve(Turn { chunk_bytes: Some(7.try_into().unwrap()), ..turn });
    let mut bytes = Vec::new();
    open(&server, STREAM, &gemini()).read_to_end(&mut bytes).unwrap();
    let body = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    let chunks = chunks(&bytes[body..]);
    assert!(chunks.iter().all(|chunk| chunk.len() <= 7) && chunks.len() > 20);
    let text: String = data(&String::from_utf8(chunks.concat()).unwrap())
        .iter()
        .filter_map(|response| response["candidates"][0]["content"]["parts"][0]["text"].as_str())
        .collect();
    assert_eq!(text, "wörter über wörter");
}

/// The chunks of a chunked body.
fn chunks(mut body: &[u8]) -> Vec<&[u8]> {
    let mut chunks = Vec::new();
    while let Some(end) = body.windows(2).position(|window| window == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&body[..end]).unwrap(), 16).unwrap();
        if size == 0 {
            break;
        }
        let start = end + 2;
        chunks.push(&body[start..start + size]);
        body = &body[start + size + 2..];
    }
    chunks
}
