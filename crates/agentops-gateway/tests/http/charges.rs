//! B3: what a call is charged, whatever its provider reports, and however its answer ends.

use std::sync::{Arc, Mutex};

use agentops_core::budget::{Amount, Limits, OverBudget};
use agentops_core::call::CallRow;
use agentops_gateway::host::{self, Answer, Host, Note, Refusal};
use agentops_gateway::lane::{Admitted, Incoming, Lane, Rules};
use agentops_gateway::protocol::Protocol;
use agentops_gateway::ticket::Flow;
use serde_json::{Value, json};

use crate::host::{Told, rules};
use crate::room::Room;
use crate::wire::{PATIENCE, Provider, answer};

/// The most output that the calls here ask for.
const LIMIT: u64 = 1_000;

/// How an answer goes by.
pub struct Heard<'a> {
    pub status: u16,
    /// The answer says that it is a stream.
    pub says_stream: bool,
    pub pieces: &'a [String],
    /// Why no more comes.
    pub fails: Option<&'a str>,
}

pub fn stream(pieces: &[String]) -> Heard<'_> {
    Heard { status: 200, says_stream: true, pieces, fails: None }
}

/// A lane with a window of 200,000 tokens and these limits a day.
pub fn lane(told: &Arc<Told>, day: Limits) -> Arc<Lane> {
    Lane::new(Rules { takes_limit: true, day, ..rules(200_000, Arc::clone(told) as Arc<dyn Host>) })
}

/// Lets a lane have a call, and its answer go by. `None`: it was refused.
pub async fn make(lane: &Arc<Lane>, protocol: Protocol, body: &Value, heard: &Heard<'_>) -> Option<String> {
    let model = (protocol == Protocol::Gemini).then(|| "gemini-2.5-pro".to_owned());
    let streamed = (protocol == Protocol::Gemini).then_some(true);
    let incoming = Incoming { protocol, model, streamed, body: body.to_string().into() };
    let Admitted::Forward { mut ticket, .. } = lane.admit(incoming).await else { return None };
    let mut passed = Vec::new();
    ticket.sent();
    ticket.answered(heard.status, heard.says_stream);
    for piece in heard.pieces {
        match ticket.push(piece.as_bytes()) {
            Flow::GoOn => passed.extend(piece.as_bytes()),
            Flow::Break => break,
            Flow::Cut(last) => {
                passed.extend(last);
                break;
            }
        }
    }
    if let Some(word) = heard.fails {
        ticket.failed(word);
    }
    Some(String::from_utf8(passed).unwrap())
}

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// The row of a call that is answered like this, and what the client gets in the end.
pub fn call(protocol: Protocol, body: &Value, heard: &Heard<'_>) -> (CallRow, String) {
    let told = Arc::<Told>::default();
    let lane = lane(&told, Limits::default());
    let passed = runtime().block_on(make(&lane, protocol, body, heard)).expect("it is forwarded");
    lane.end();
    let row = told.wait(PATIENCE, |said| said.rows.first().cloned()).expect("the call is settled");
    (row, passed)
}

fn request(protocol: Protocol) -> Value {
    request_of(protocol, 200, LIMIT)
}

/// A request of so many words that asks for at most so many tokens.
pub fn request_of(protocol: Protocol, words: u64, limit: u64) -> Value {
    let text = "word ".repeat(usize::try_from(words).unwrap());
    match protocol {
        Protocol::Messages => json!({"model": "claude-sonnet-5-5", "max_tokens": limit, "stream": true,
            "messages": [{"role": "user", "content": text}]}),
        Protocol::Responses => json!({"model": "gpt-5.4", "max_output_tokens": limit, "stream": true, "input": [
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}]}),
        Protocol::Chat => json!({"model": "gpt-5.4", "max_completion_tokens": limit, "stream": true,
            "messages": [{"role": "user", "content": text}]}),
        Protocol::Gemini => json!({"contents": [{"role": "user", "parts": [{"text": text}]}],
            "generationConfig": {"maxOutputTokens": limit}}),
    }
}

pub fn event(data: &Value) -> String {
    match data["type"].as_str() {
        Some(name) => format!("event: {name}\ndata: {data}\n\n"),
        None => format!("data: {data}\n\n"),
    }
}

/// A piece of a stream that shows this text.
pub fn text(protocol: Protocol, text: &str) -> String {
    event(&match protocol {
        Protocol::Messages => {
            json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}})
        }
        Protocol::Responses => json!({"type": "response.output_text.delta", "delta": text}),
        Protocol::Chat => json!({"id": "c", "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": null}]}),
        Protocol::Gemini => json!({"candidates": [{"index": 0, "content": {"parts": [{"text": text}]}}]}),
    })
}

/// The end of a stream, with what its provider reports.
pub fn end(protocol: Protocol, input: u64, output: u64) -> String {
    end_with(protocol, Some((input.into(), output.into())))
}

/// The end of a stream with a report of input and output, or without one.
pub fn end_with(protocol: Protocol, report: Option<(Value, Value)>) -> String {
    let usage = report.map_or(Value::Null, |(input, output)| match protocol {
        Protocol::Messages | Protocol::Responses => json!({"input_tokens": input, "output_tokens": output}),
        Protocol::Chat => json!({"prompt_tokens": input, "completion_tokens": output}),
        Protocol::Gemini => json!({"promptTokenCount": input, "candidatesTokenCount": output}),
    });
    let events = match protocol {
        Protocol::Messages => vec![
            json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage}),
            json!({"type": "message_stop"}),
        ],
        Protocol::Responses => {
            vec![json!({"type": "response.completed", "response": {"id": "r", "status": "completed", "usage": usage}})]
        }
        Protocol::Chat => vec![
            json!({"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}),
            json!({"id": "c", "choices": [], "usage": usage}),
        ],
        Protocol::Gemini => {
            vec![json!({"candidates": [{"index": 0, "finishReason": "STOP"}], "usageMetadata": usage})]
        }
    };
    events.iter().map(event).collect()
}

/// How a stream begins whose reasoning is hidden, with a report of what there is so far.
fn hidden_beginning(protocol: Protocol) -> Vec<String> {
    beginning(protocol, 300, true)
}

/// How a stream begins, with a report of its input.
pub fn beginning(protocol: Protocol, input: u64, is_hidden: bool) -> Vec<String> {
    let start = match protocol {
        Protocol::Messages => {
            let kind = if is_hidden { "thinking" } else { "text" };
            return vec![
                event(&json!({"type": "message_start", "message": {"usage": {"input_tokens": input, "output_tokens": 1}}})),
                event(&json!({"type": "content_block_start", "index": 0, "content_block": {"type": kind}})),
            ];
        }
        Protocol::Responses => {
            let kind = if is_hidden { "reasoning" } else { "message" };
            json!({"type": "response.output_item.added", "item": {"type": kind}})
        }
        Protocol::Chat => json!({"id": "c", "choices": [{"index": 0, "delta": {"role": "assistant"}}],
            "usage": {"prompt_tokens": input, "completion_tokens": 1}}),
        Protocol::Gemini => json!({"candidates": [{"index": 0, "content": {"parts": [{"text": "", "thought": is_hidden}]}}],
            "usageMetadata": {"promptTokenCount": input, "candidatesTokenCount": 1}}),
    };
    vec![event(&start)]
}

#[test]
fn b3_a_stream_that_is_cut_while_the_model_thinks_is_charged_its_limit() {
    for protocol in Protocol::ALL {
        for fails in ["client-gone", "reset", "timeout", "lane-closed"] {
            let pieces = hidden_beginning(protocol);
            let (row, _) = call(protocol, &request(protocol), &Heard { fails: Some(fails), ..stream(&pieces) });
            assert!(row.charged.tokens >= 200 + LIMIT, "{protocol:?} {fails}: {:?}", row.charged);
            assert_eq!(row.error.as_deref(), Some(fails), "{protocol:?}");
        }
    }
}

#[test]
fn b3_a_cut_stream_that_shows_all_is_charged_what_was_seen() {
    let start = &hidden_beginning(Protocol::Messages)[0];
    let pieces = [start.clone(), text(Protocol::Messages, "forty bytes of a text that is shown. ...")];
    let body = request(Protocol::Messages);
    let (row, _) = call(Protocol::Messages, &body, &Heard { fails: Some("client-gone"), ..stream(&pieces) });
    assert_eq!(row.charged.tokens, 300 + 40);
    // Where nothing was reported, the reservation stands.
    let (row, _) = call(Protocol::Messages, &body, &Heard { fails: Some("client-gone"), ..stream(&pieces[1..]) });
    assert_eq!(row.charged.tokens, row.estimate + LIMIT);
}

#[test]
fn a_stream_that_its_provider_breaks_off_before_its_beginning_is_charged_its_input() {
    for protocol in Protocol::ALL {
        for fails in ["client-gone", "reset", "timeout", "lane-closed"] {
            let charged = |pieces: &[String]| {
                let (row, _) = call(protocol, &request(protocol), &Heard { fails: Some(fails), ..stream(pieces) });
                row.charged.tokens - row.estimate
            };
            let tells = matches!(protocol, Protocol::Messages | Protocol::Responses);
            let expected = if tells && fails == "reset" { 0 } else { LIMIT };
            assert_eq!(charged(&[]), expected, "{protocol:?} {fails}");
            assert_eq!(charged(&[": a comment\n\n".to_owned()]), LIMIT, "{protocol:?} {fails}");
        }
    }
}

#[test]
fn b3_an_answer_in_the_background_is_charged_its_limit_until_its_report() {
    let mut body = request(Protocol::Responses);
    body["background"] = true.into();
    let begun = json!({"id": "r", "status": "queued", "usage": null, "output": []}).to_string();
    let plain = [begun];
    let (row, _) = call(Protocol::Responses, &body, &Heard { says_stream: false, ..stream(&plain) });
    assert_eq!(row.charged.tokens, row.estimate + LIMIT);
    assert_eq!(row.error.as_deref(), Some("incomplete"));
    // Its stream may be left and read again later.
    let left = [text(Protocol::Responses, "Some text. ")];
    let (row, _) = call(Protocol::Responses, &body, &Heard { fails: Some("client-gone"), ..stream(&left) });
    assert_eq!(row.charged.tokens, row.estimate + LIMIT);
    let whole = [text(Protocol::Responses, "Some text. "), end(Protocol::Responses, 300, 4)];
    let (row, _) = call(Protocol::Responses, &body, &stream(&whole));
    assert_eq!(row.charged.tokens, 304);
}

#[test]
fn b3_what_is_refused_or_not_changed_or_elsewhere_costs_nothing() {
    for (status, is_free) in [(200, false), (201, false), (204, true), (302, true), (304, true), (400, true), (500, true)] {
        let (row, _) = call(Protocol::Messages, &request(Protocol::Messages), &Heard { status, ..stream(&[]) });
        assert_eq!(row.charged.is_zero(), is_free, "{status}: {:?}", row.charged);
    }
}

#[test]
fn b3_a_provider_that_ignores_the_limit_is_cut_and_charged_for_what_came() {
    for protocol in Protocol::ALL {
        let mut pieces: Vec<String> = (0..200).map(|_| text(protocol, &"one two three four ".repeat(300))).collect();
        pieces.push(end(protocol, 300, 7));
        let (row, passed) = call(protocol, &request(protocol), &stream(&pieces));
        assert_eq!(row.error.as_deref(), Some("cut"), "{protocol:?}");
        assert!((LIMIT + 300..10_000).contains(&row.charged.tokens), "{protocol:?}: {:?}", row.charged);
        assert!(passed.len() < 20_000, "{protocol:?}: {} bytes passed", passed.len());
        // In one piece, or not as a stream, it cannot be cut.
        let plain = match protocol {
            Protocol::Messages => json!({"content": [{"type": "text", "text": "one two ".repeat(2_000)}],
                "usage": {"input_tokens": 300, "output_tokens": 7}}),
            Protocol::Responses => json!({"output": [{"content": [{"text": "one two ".repeat(2_000)}]}],
                "usage": {"input_tokens": 300, "output_tokens": 7}}),
            Protocol::Chat => json!({"choices": [{"message": {"content": "one two ".repeat(2_000)}}],
                "usage": {"prompt_tokens": 300, "completion_tokens": 7}}),
            Protocol::Gemini => json!([{"candidates": [{"content": {"parts": [{"text": "one two ".repeat(2_000)}]}}],
                "usageMetadata": {"promptTokenCount": 300, "candidatesTokenCount": 7}}]),
        };
        let (row, _) = call(protocol, &request(protocol), &Heard { says_stream: false, ..stream(&[plain.to_string()]) });
        assert_eq!(row.charged.tokens, 4_300, "{protocol:?}");
    }
}

#[test]
fn b3_a_report_below_what_was_sent_is_not_believed() {
    for protocol in Protocol::ALL {
        let mut body = request(protocol);
        let text = "The gate holds before the call. ".repeat(1_500);
        match protocol {
            Protocol::Messages | Protocol::Chat => body["messages"][0]["content"] = text.into(),
            Protocol::Responses => body["input"][0]["content"][0]["text"] = text.into(),
            Protocol::Gemini => body["contents"][0]["parts"][0]["text"] = text.into(),
        }
        let lie = [end(protocol, 20, 5)];
        let (row, _) = call(protocol, &body, &stream(&lie));
        // It is 10,500 tokens of o200k.
        assert!(row.charged.tokens >= 5_000, "{protocol:?}: {:?}", row.charged);
        assert!(row.context() >= 10_500, "{protocol:?}: {} shown", row.context());
        let honest = [end(protocol, 10_800, 5)];
        let (row, _) = call(protocol, &body, &stream(&honest));
        assert_eq!((row.charged.tokens, row.context()), (10_805, 10_805), "{protocol:?}");
    }
}

#[test]
fn b3_no_figure_of_a_report_discards_another() {
    let start = event(&json!({"type": "message_start", "message": {"usage": {"input_tokens": 900, "output_tokens": 1}}}));
    let (row, _) =
        call(Protocol::Messages, &request(Protocol::Messages), &stream(&[start, end(Protocol::Messages, 0, 700)]));
    assert_eq!(row.charged.tokens, 1_600);
}

#[test]
fn b3_options_that_change_the_price_are_priced() {
    let cost = |protocol, option: Option<(&str, &str)>, tier: Option<&str>| {
        let mut body = request(protocol);
        if let Some((name, value)) = option {
            body[name] = value.into();
        }
        let mut pieces = vec![end(protocol, 1_000, 500)];
        if let Some(tier) = tier {
            pieces.insert(0, event(&json!({"id": "c", "choices": [], "service_tier": tier})));
        }
        call(protocol, &body, &stream(&pieces)).0.charged.micro_usd.expect("the price is known")
    };
    let messages = cost(Protocol::Messages, None, None);
    assert_eq!(cost(Protocol::Messages, Some(("speed", "fast")), None), 6 * messages);
    assert_eq!(cost(Protocol::Messages, Some(("inference_geo", "us")), None), messages * 11 / 10);
    assert_eq!(cost(Protocol::Messages, Some(("service_tier", "auto")), None), messages);
    for protocol in [Protocol::Responses, Protocol::Chat] {
        let standard = cost(protocol, None, None);
        assert_eq!(cost(protocol, Some(("service_tier", "priority")), None), standard * 5 / 2, "{protocol:?}");
        assert_eq!(cost(protocol, Some(("service_tier", "flex")), None), standard, "{protocol:?}");
    }
    // A project's settings may choose the tier.
    let standard = cost(Protocol::Chat, None, Some("default"));
    assert_eq!(cost(Protocol::Chat, None, Some("priority")), standard * 5 / 2);
    assert_eq!(cost(Protocol::Chat, Some(("service_tier", "fast")), Some("priority")), standard * 5 / 2);
    let gemini = cost(Protocol::Gemini, None, None);
    assert_eq!(cost(Protocol::Gemini, Some(("serviceTier", "SERVICE_TIER_PRIORITY")), None), gemini * 5 / 2);
}

/// A provider that compacts within a call reports that among its iterations, and bills all of them.
#[test]
fn b3_each_iteration_of_a_call_is_charged() {
    let iterations = json!([
        {"type": "compaction", "input_tokens": 9_000, "output_tokens": 3_000, "cache_read_input_tokens": 100},
        {"type": "message", "input_tokens": 900, "output_tokens": 5, "cache_creation_input_tokens": 10},
    ]);
    let usage = json!({"input_tokens": 900, "output_tokens": 5, "iterations": iterations});
    let body = request(Protocol::Messages);
    let plain = [json!({"content": [], "stop_reason": "end_turn", "usage": usage}).to_string()];
    let (row, _) = call(Protocol::Messages, &body, &Heard { says_stream: false, ..stream(&plain) });
    assert_eq!(row.charged.tokens, 9_900 + 3_005 + 100 + 10);
    let delta = json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage});
    let pieces = [beginning(Protocol::Messages, 900, false), vec![event(&delta), event(&json!({"type": "message_stop"}))]];
    let (row, _) = call(Protocol::Messages, &body, &stream(&pieces.concat()));
    assert_eq!(row.charged.tokens, 9_900 + 3_005 + 100 + 10);
}

#[test]
fn b3_an_answer_that_ends_without_a_report_is_charged_its_limit_where_the_model_may_reason_unseen() {
    for protocol in [Protocol::Responses, Protocol::Chat, Protocol::Gemini] {
        let pieces = [end_with(protocol, None)];
        let (row, _) = call(protocol, &request(protocol), &stream(&pieces));
        assert_eq!(row.charged.tokens, row.estimate + LIMIT, "{protocol:?}");
    }
    for status in ["completed", "incomplete", "cancelled"] {
        let plain = [json!({"id": "r", "status": status, "usage": null, "output": []}).to_string()];
        let (row, _) =
            call(Protocol::Responses, &request(Protocol::Responses), &Heard { says_stream: false, ..stream(&plain) });
        assert_eq!(row.charged.tokens, row.estimate + LIMIT, "{status}");
    }
    // It has only begun, although nobody asked for an answer in the background.
    let begun =
        json!({"id": "r", "status": "in_progress", "usage": {"input_tokens": 300, "output_tokens": 1}, "output": []});
    let plain = [begun.to_string()];
    let (row, _) = call(Protocol::Responses, &request(Protocol::Responses), &Heard { says_stream: false, ..stream(&plain) });
    assert_eq!(row.charged.tokens, 300 + LIMIT);
}

/// A report of no output is no report where there certainly was some.
#[test]
fn b3_no_output_is_not_believed_at_the_limit_or_after_reasoning() {
    let charged = |protocol, pieces: &[String]| call(protocol, &request(protocol), &stream(pieces)).0.charged.tokens;
    let zero = |protocol| end(protocol, 300, 0);
    let thought = [hidden_beginning(Protocol::Messages), vec![zero(Protocol::Messages)]].concat();
    assert_eq!(charged(Protocol::Messages, &thought), 300 + LIMIT);
    let at_limit = [
        (Protocol::Messages, zero(Protocol::Messages).replace("end_turn", "max_tokens")),
        (Protocol::Chat, zero(Protocol::Chat).replace("\"stop\"", "\"length\"")),
        (Protocol::Gemini, zero(Protocol::Gemini).replace("STOP", "MAX_TOKENS")),
        (
            Protocol::Responses,
            zero(Protocol::Responses).replace(
                "\"status\":\"completed\"",
                "\"status\":\"incomplete\",\"incomplete_details\":{\"reason\":\"max_output_tokens\"}",
            ),
        ),
    ];
    for (protocol, last) in at_limit {
        assert_eq!(charged(protocol, &[last]), 300 + LIMIT, "{protocol:?}");
        assert!(charged(protocol, &[zero(protocol)]) < 400, "{protocol:?}");
    }
}

/// A model that may answer in the place of another is reserved for and charged at its own price.
#[test]
fn b3_a_model_that_answers_for_another_is_priced() {
    let answer = |model: Option<&str>| {
        let start = model.map(|model| event(&json!({"id": "c", "model": model, "choices": []})));
        start.into_iter().chain([end(Protocol::Chat, 1_000, 500)]).collect::<Vec<_>>()
    };
    let cost = |asked: &str, others: Value, answered: Option<&str>| {
        let mut body = request(Protocol::Chat);
        (body["model"], body["models"]) = (asked.into(), others);
        call(Protocol::Chat, &body, &stream(&answer(answered))).0.charged.micro_usd
    };
    let (cheap, dear) = ("gpt-5-nano", "gpt-5.4-pro");
    let [low, high] = [cheap, dear].map(|model| cost(model, Value::Null, None).expect("its price is known"));
    assert!(low * 100 < high);
    assert_eq!(cost(cheap, json!([dear]), Some("gpt-5.4-pro-2026-03-05")), Some(high));
    assert_eq!(cost(cheap, json!([dear]), Some("openai/gpt-5-nano")), Some(low));
    assert_eq!(cost(cheap, json!([dear]), None), Some(high), "nobody says which answered");
    assert_eq!(cost(cheap, json!([dear]), Some("gpt-5.5")), Some(high), "none of those that were asked for");
    assert_eq!(cost(cheap, json!([dear, "gpt-5-unpriced"]), None), None);
    assert_eq!(cost(dear, json!([cheap]), None), Some(high));
    // A limit in money holds for the dearest.
    let mut body = request(Protocol::Chat);
    (body["model"], body["models"]) = (cheap.into(), json!([dear]));
    let told = Arc::<Told>::default();
    let money = lane(&told, Limits { tokens: None, micro_usd: Some(2 * low) });
    assert!(runtime().block_on(make(&money, Protocol::Chat, &body, &stream(&answer(None)))).is_none());
}

#[test]
fn b3_an_option_whose_price_is_not_known_is_refused_where_money_is_limited() {
    let mut body = request(Protocol::Messages);
    body["speed"] = "ludicrous".into();
    let pieces = [end(Protocol::Messages, 300, 5)];
    let told = Arc::<Told>::default();
    let money = lane(&told, Limits { tokens: None, micro_usd: Some(1_000_000_000) });
    assert!(runtime().block_on(make(&money, Protocol::Messages, &body, &stream(&pieces))).is_none());
    let refusal = told.wait(PATIENCE, |said| said.refusals.first().cloned()).unwrap();
    assert!(matches!(refusal, Refusal::Budget(OverBudget::ModelPrice { .. })), "{refusal}");
    assert_eq!(call(Protocol::Messages, &body, &stream(&pieces)).0.charged.micro_usd, None);
}

/// B3: sixty answers in the background, each fetched later and past the gateway, do not pass a budget of five.
#[test]
fn b3_background_calls_stay_within_the_budget_together() {
    let mut body = request(Protocol::Responses);
    body["background"] = true.into();
    let begun = [json!({"id": "r", "status": "queued", "usage": null, "output": []}).to_string()];
    let heard = Heard { says_stream: false, ..stream(&begun) };
    let one = call(Protocol::Responses, &body, &heard).0.charged.tokens;
    let told = Arc::<Told>::default();
    let lane = lane(&told, Limits { tokens: Some(5 * one + one / 2), micro_usd: None });
    let mut forwarded = 0;
    for _ in 0..60 {
        let runtime = runtime();
        forwarded += u64::from(runtime.block_on(make(&lane, Protocol::Responses, &body, &heard)).is_some());
        drop(runtime);
    }
    assert_eq!(forwarded, 5);
    lane.end();
    let rows = told.wait(PATIENCE, |said| (said.rows.len() == 5).then(|| said.rows.clone())).unwrap();
    assert_eq!(rows.iter().map(|row| row.charged.tokens).sum::<u64>(), 5 * one);
}

/// What goes on after the program has compacted its own context is the lane's own conversation, and no sub-agent's.
#[test]
fn a_conversation_goes_on_after_it_was_compacted() {
    let tools = json!([{"name": "Bash", "input_schema": {"type": "object"}}]);
    let body = |messages: &[&str]| {
        let messages: Vec<Value> = messages.iter().map(|text| json!({"role": "user", "content": text})).collect();
        json!({"model": "claude-sonnet-5-5", "max_tokens": LIMIT, "stream": true, "tools": tools, "messages": messages})
    };
    let told = Arc::<Told>::default();
    let lane = lane(&told, Limits::default());
    let summary = "Your task is to create a detailed summary of the conversation so far.";
    let calls: [&[&str]; 8] = [
        &["main"],
        &["sub-agent"],
        &["main", "answer", "more"],
        &["main", "answer", "more", summary],
        &["the summary"],
        &["another sub-agent"],
        &["the summary", "answer", "on"],
        // A sub-agent compacts its own.
        &["sub-agent", "answer", summary],
    ];
    for messages in calls {
        let pieces = [end(Protocol::Messages, 300, 5)];
        runtime().block_on(make(&lane, Protocol::Messages, &body(messages), &stream(&pieces))).expect("it is forwarded");
    }
    runtime()
        .block_on(make(&lane, Protocol::Messages, &body(&["its summary"]), &stream(&[end(Protocol::Messages, 300, 5)])))
        .expect("it is forwarded");
    let mut rows = told.wait(PATIENCE, |said| (said.rows.len() == 9).then(|| said.rows.clone())).unwrap();
    rows.sort_by_key(|row| row.conversation);
    let mut by_conversation: Vec<(u32, bool)> = rows.iter().map(|row| (row.conversation, row.sub_agent)).collect();
    by_conversation.dedup();
    assert_eq!(by_conversation, [(1, false), (2, true), (3, false), (4, true), (5, true)]);
}

#[test]
fn a_refusal_says_what_helps_where_no_summary_fits() {
    let tools = json!([{"name": "Bash", "input_schema": {"type": "object"}}]);
    let summary = "Your task is to create a detailed summary of the conversation so far.";
    let words = |messages: &[String]| {
        let messages: Vec<Value> = messages.iter().map(|text| json!({"role": "user", "content": text})).collect();
        let body = json!({"model": "claude-sonnet-5-5", "max_tokens": 8_000, "tools": tools, "messages": messages});
        let told = Arc::<Told>::default();
        let rules = Rules {
            takes_limit: true,
            hint: "type /compact or /clear".into(),
            hint_past_summary: "type /clear".into(),
            ..rules(200_000, Arc::clone(&told) as Arc<dyn Host>)
        };
        let incoming = Incoming { protocol: Protocol::Messages, model: None, streamed: None, body: body.to_string().into() };
        let Admitted::Refuse(reply) = runtime().block_on(Lane::new(rules).admit(incoming)) else { panic!("it is refused") };
        String::from_utf8(reply.body).unwrap()
    };
    // 1.7 tokens a word: 70,000 in all are above what work may take, and below what a summary may.
    let near = "word ".repeat(41_500);
    assert!(words(&[near]).contains("; type /compact or /clear"));
    let past = "word ".repeat(60_000);
    for messages in [vec![past.clone()], vec![past, summary.to_owned()]] {
        assert!(words(&messages).contains("; type /clear"));
    }
}

/// A host that grants nothing.
#[derive(Default)]
struct GrantsNothing {
    /// It has an answer, which is that a budget does not allow it.
    answers: bool,
    refusals: Mutex<Vec<String>>,
}

impl Host for GrantsNothing {
    fn grant(&self, _ask: Amount, _admitted_ms: u64) -> Answer<Option<Amount>> {
        let (answers, waits) = host::answer();
        if self.answers {
            answers.send(None).ok();
        }
        waits
    }

    fn settled(&self, _row: CallRow, _missing: Option<Amount>) {}

    fn refused(&self, refusal: Refusal) -> Answer<()> {
        self.refusals.lock().unwrap().push(refusal.to_string());
        let (answers, waits) = host::answer();
        answers.send(()).ok();
        waits
    }

    fn note(&self, _note: Note) {}
}

#[test]
fn a_budget_that_others_use_is_not_called_one_that_could_not_be_made_durable() {
    let words = |answers| {
        let told = Arc::new(GrantsNothing { answers, ..GrantsNothing::default() });
        let rules = Rules { takes_limit: true, ..rules(200_000, Arc::clone(&told) as Arc<dyn Host>) };
        let lane = Lane::new(rules);
        assert!(runtime().block_on(make(&lane, Protocol::Chat, &request(Protocol::Chat), &stream(&[]))).is_none());
        told.refusals.lock().unwrap().concat()
    };
    assert!(words(true).contains("set aside for calls under way"), "{}", words(true));
    assert!(words(false).contains("could not be made durable"), "{}", words(false));
}

#[test]
fn a_stream_is_measured_whatever_its_head_says() {
    for protocol in Protocol::ALL {
        for kind in ["", "content-type: application/json\r\n", "content-type: text/plain; charset=utf-8\r\n"] {
            let whole = text(protocol, "hi") + &end(protocol, 300, 9);
            let provider = Provider::answering(answer("200 OK", kind, &whole));
            let room = Room::new();
            let lane = room.lane(&provider.url());
            let path = match protocol {
                Protocol::Messages => "/v1/messages",
                Protocol::Responses => "/v1/responses",
                Protocol::Chat => "/v1/chat/completions",
                Protocol::Gemini => "/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse",
            };
            let got = lane.ask(lane.post(path, "", &request(protocol).to_string()));
            assert_eq!((got.status(), got.text()), (200, whole), "{protocol:?}");
            let row = lane.told.wait(PATIENCE, |said| said.rows.first().cloned()).unwrap();
            assert_eq!((row.charged.tokens, row.error), (309, None), "{protocol:?} {kind}");
            assert!(row.streamed, "{protocol:?} {kind}");
        }
    }
}

#[test]
fn a_client_that_leaves_after_the_end_has_had_a_complete_answer() {
    for protocol in Protocol::ALL {
        let pieces = [text(protocol, "hi"), end(protocol, 300, 9)];
        let (row, _) = call(protocol, &request(protocol), &Heard { fails: Some("client-gone"), ..stream(&pieces) });
        assert_eq!((row.error, row.charged.tokens), (None, 309), "{protocol:?}");
        let (row, _) = call(protocol, &request(protocol), &Heard { fails: Some("client-gone"), ..stream(&pieces[..1]) });
        assert_eq!(row.error.as_deref(), Some("client-gone"), "{protocol:?}");
    }
}
