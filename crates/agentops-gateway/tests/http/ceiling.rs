//! B1 and B3 at the gate itself: whatever a lane's calls look like and whatever is reported of them, what leaves fits.
//!
//! The judge counts with cl100k, which the product does not link; the families here make up to 1.7 times as many tokens as
//! o200k, and cl100k stays within that.

use std::sync::Arc;
use std::time::Duration;

use agentops_core::budget::{Limits, Scope};
use agentops_core::models;
use agentops_gateway::host::{Host, Refusal};
use agentops_gateway::lane::{Admitted, Incoming, Lane, Rules};
use agentops_gateway::protocol::Protocol;
use agentops_testkit::judge;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::host::{Told, rules};

/// What the provider says of a call's use.
#[derive(Debug, Clone, Copy)]
enum Report {
    Nothing,
    Zero,
    Negative,
    Little,
    Huge,
    /// The answer breaks off before any of it.
    Cut,
}

/// What the agent does before its next call.
#[derive(Debug, Clone)]
enum Step {
    /// The conversation grows by a text.
    Grow(String),
    /// Something in its history is another.
    Edit(prop::sample::Index, String),
    /// Its beginning is thrown away.
    Forget(prop::sample::Index),
    /// Another conversation begins.
    SubAgent(String),
}

fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("The gate holds before the call, and what cannot be counted does not leave. ".to_owned()),
        Just("fn main() {\n    let total: u64 = items.iter().map(|item| item.len() as u64).sum();\n}\n".to_owned()),
        Just("{\"id\": 48151, \"price\": 16.23, \"tags\": [\"a\", \"b\"]}\n".to_owned()),
        Just("\u{6d4b}\u{8bd5}\u{6587}\u{672c}\u{3002}".to_owned()),
        Just("\u{1f980}\u{1f512} \"quoted\" \\ back\tslash\r\n".to_owned()),
        "[A-Za-z0-9+/]{64}",
    ];
    (piece, 1_usize..120).prop_map(|(piece, times)| piece.repeat(times))
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => text().prop_map(Step::Grow),
        1 => (any::<prop::sample::Index>(), text()).prop_map(|(at, text)| Step::Edit(at, text)),
        1 => any::<prop::sample::Index>().prop_map(Step::Forget),
        1 => text().prop_map(Step::SubAgent),
    ]
}

fn report() -> impl Strategy<Value = Report> {
    // A huge one ends most conversations at once, so it is rare.
    prop_oneof![
        3 => Just(Report::Nothing),
        3 => Just(Report::Zero),
        3 => Just(Report::Negative),
        3 => Just(Report::Little),
        1 => Just(Report::Huge),
        3 => Just(Report::Cut),
    ]
}

pub fn model(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Messages => "claude-sonnet-5-5",
        Protocol::Responses | Protocol::Chat => "a-model-that-no-table-knows",
        Protocol::Gemini => "another-one",
    }
}

fn request(protocol: Protocol, texts: &[String], output: Option<u64>) -> Value {
    let model = model(protocol);
    let tools = json!([{ "name": "shell", "description": "Runs a command.", "input_schema": { "type": "object" } }]);
    let mut body = match protocol {
        Protocol::Messages | Protocol::Chat => {
            let messages: Vec<Value> = texts.iter().map(|text| json!({ "role": "user", "content": text })).collect();
            json!({ "model": model, "messages": messages, "tools": tools })
        }
        Protocol::Responses => {
            let content = |text: &String| json!([{ "type": "input_text", "text": text }]);
            let input: Vec<Value> =
                texts.iter().map(|text| json!({ "type": "message", "role": "user", "content": content(text) })).collect();
            json!({ "model": model, "input": input, "tools": tools })
        }
        Protocol::Gemini => {
            let contents: Vec<Value> =
                texts.iter().map(|text| json!({ "role": "user", "parts": [{ "text": text }] })).collect();
            json!({ "contents": contents })
        }
    };
    if let Some(output) = output {
        match protocol {
            Protocol::Responses => body["max_output_tokens"] = output.into(),
            Protocol::Gemini => body["generationConfig"] = json!({ "maxOutputTokens": output }),
            Protocol::Messages | Protocol::Chat => body["max_tokens"] = output.into(),
        }
    }
    body
}

/// The limit that the forwarded body carries.
fn output_of(protocol: Protocol, body: &Value) -> u64 {
    let limit = match protocol {
        Protocol::Responses => &body["max_output_tokens"],
        Protocol::Gemini => &body["generationConfig"]["maxOutputTokens"],
        Protocol::Messages | Protocol::Chat => &body["max_tokens"],
    };
    limit.as_u64().expect("what leaves is limited")
}

fn answer(protocol: Protocol, report: Report) -> Vec<u8> {
    let number = |report: Report| match report {
        Report::Zero => Some(json!(0)),
        Report::Negative => Some(json!(-5)),
        Report::Little => Some(json!(3)),
        Report::Huge => Some(json!(u64::MAX / 2)),
        Report::Nothing | Report::Cut => None,
    };
    let usage = number(report).map(|n| match protocol {
        Protocol::Messages | Protocol::Responses => json!({ "input_tokens": n, "output_tokens": n }),
        Protocol::Chat => json!({ "prompt_tokens": n, "completion_tokens": n }),
        Protocol::Gemini => json!({ "promptTokenCount": n, "candidatesTokenCount": n }),
    });
    let key = if protocol == Protocol::Gemini { "usageMetadata" } else { "usage" };
    let mut body = json!({ "id": "answer", "content": [] });
    body[key] = usage.unwrap_or_default();
    let mut bytes = body.to_string().into_bytes();
    if matches!(report, Report::Cut) {
        bytes.truncate(bytes.len() / 2);
    }
    bytes
}

pub fn kit(protocol: Protocol) -> agentops_testkit::model::Protocol {
    use agentops_testkit::model::Protocol as Kit;
    match protocol {
        Protocol::Messages => Kit::Messages,
        Protocol::Responses => Kit::Responses,
        Protocol::Chat => Kit::Chat,
        Protocol::Gemini => Kit::Gemini,
    }
}

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap()
}

fn incoming(protocol: Protocol, body: &Value) -> Incoming {
    let model = (protocol == Protocol::Gemini).then(|| model(protocol).to_owned());
    Incoming { protocol, model, streamed: None, body: body.to_string().into() }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn b1_no_call_above_the_ceiling_is_forwarded(
        which in 0_usize..4,
        window in 12_000_u64..60_000,
        closes: bool,
        steps in prop::collection::vec((step(), report(), prop::option::of(1_u64..40_000)), 1..14),
    ) {
        let protocol = Protocol::ALL[which];
        let told = Arc::<Told>::default();
        let rules = Rules { takes_limit: true, close_when_refused: closes, ..rules(window, Arc::clone(&told) as Arc<dyn Host>) };
        let lane = Lane::new(rules);
        let mut texts = vec!["You are an agent.".to_owned()];
        runtime().block_on(async {
            for (step, report, output) in steps {
                let mut aside = None;
                match step {
                    Step::Grow(text) => texts.push(text),
                    Step::Edit(at, text) => { let at = at.index(texts.len()); texts[at] = text; }
                    Step::Forget(at) => { let at = at.index(texts.len()); texts.drain(..at); }
                    Step::SubAgent(text) => aside = Some(vec![text]),
                }
                let body = request(protocol, aside.as_ref().unwrap_or(&texts), output);
                let Admitted::Forward { body, mut ticket } = lane.admit(incoming(protocol, &body)).await else { continue };
                let sent: Value = serde_json::from_slice(&body).unwrap();
                let total = judge::tokens(kit(protocol), &body) + output_of(protocol, &sent);
                assert!(total <= window * 2 / 5, "{total} tokens in a window of {window}");
                ticket.sent();
                ticket.answered(200, false);
                let _passed = ticket.push(&answer(protocol, report));
            }
        });
    }
}

/// A hundred calls that look alike, at once: together they stay within the budget, and those that were refused left nothing.
#[test]
fn b3_parallel_calls_stay_within_the_budget_together() {
    let scope = Scope::Day("1970-01-01".into());
    let limit = 40_000;
    let told = Arc::<Told>::default();
    let mut rules = rules(200_000, Arc::clone(&told) as Arc<dyn Host>);
    rules.day = Limits { tokens: Some(limit), micro_usd: None };
    let book = Arc::clone(&rules.book);
    let lane = Lane::new(Rules { takes_limit: true, ..rules });
    let runtime = runtime();
    let tickets = runtime.block_on(async {
        let calls = (0..100).map(|n| {
            let lane = Arc::clone(&lane);
            let body = request(Protocol::Messages, &[format!("Call {n}. {}", "word ".repeat(50))], Some(500));
            tokio::spawn(async move { lane.admit(incoming(Protocol::Messages, &body)).await })
        });
        let mut tickets = Vec::new();
        for call in calls.collect::<Vec<_>>() {
            if let Admitted::Forward { ticket, .. } = call.await.unwrap() {
                tickets.push(ticket);
            }
        }
        tickets
    });
    let taken = book.lock().unwrap().account(&scope).unwrap();
    assert!(
        taken.reserved().tokens <= limit && !tickets.is_empty() && tickets.len() < 100,
        "{} of 100: {taken:?}",
        tickets.len()
    );
    runtime.block_on(async { drop(tickets) });
    let settled = book.lock().unwrap().account(&scope).unwrap();
    assert!(settled.reserved().is_zero() && settled.spent().is_zero(), "what was not sent cost nothing: {settled:?}");
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-9..10_i32).prop_map(Value::from),
        any::<f32>().prop_map(Value::from),
        Just(json!("")),
        "[a-z \"\\\\\n\t{}\\[\\],:-]{0,12}".prop_map(Value::from),
        "\\PC{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec(("[a-z\"\\\\]{0,3}", inner.clone()), 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
            // Many of one kind: lists of lists of nothing, grids of empty strings.
            (inner, 1_usize..400).prop_map(|(one, times)| Value::from(vec![one; times])),
        ]
    })
}

/// A value where each protocol takes any: the input of a tool, what a tool gives back, the description of a tool.
fn request_with(protocol: Protocol, value: &Value, in_tools: bool) -> Value {
    let given = json!({ "value": value });
    let mut body = request(protocol, &["Go on.".to_owned()], Some(100));
    let schema = json!({ "type": "object", "default": given });
    if in_tools {
        body["tools"] = match protocol {
            Protocol::Messages => json!([{ "name": "f", "input_schema": schema }]),
            Protocol::Responses => json!([{ "type": "function", "name": "f", "parameters": schema }]),
            Protocol::Chat => json!([{ "type": "function", "function": { "name": "f", "parameters": schema } }]),
            Protocol::Gemini => json!([{ "functionDeclarations": [{ "name": "f", "parameters": schema }] }]),
        };
        return body;
    }
    let text = given.to_string();
    match protocol {
        Protocol::Messages => {
            let call = json!({ "type": "tool_use", "id": "t", "name": "f", "input": given });
            body["messages"].as_array_mut().unwrap().push(json!({ "role": "assistant", "content": [call] }));
        }
        Protocol::Responses => {
            let call = json!({ "type": "function_call", "call_id": "c", "name": "f", "arguments": text });
            body["input"].as_array_mut().unwrap().push(call);
        }
        Protocol::Chat => {
            let call = json!({ "id": "c", "type": "function", "function": { "name": "f", "arguments": text } });
            body["messages"].as_array_mut().unwrap().push(json!({ "role": "assistant", "tool_calls": [call] }));
        }
        Protocol::Gemini => {
            let gave = json!({ "functionResponse": { "name": "f", "response": given } });
            body["contents"].as_array_mut().unwrap().push(json!({ "role": "user", "parts": [gave] }));
        }
    }
    body
}

/// What the gateway estimates of a call's input. The window is too small for any call, so that its refusal says it.
fn estimate(protocol: Protocol, body: &Value) -> Result<u64, Refusal> {
    let told = Arc::<Told>::default();
    let lane = Lane::new(Rules { takes_limit: true, ..rules(30, Arc::clone(&told) as Arc<dyn Host>) });
    let admitted = runtime().block_on(lane.admit(incoming(protocol, body)));
    assert!(matches!(admitted, Admitted::Refuse(_)), "{admitted:?}");
    let refusal = told.wait(Duration::ZERO, |said| said.refusals.first().cloned());
    match refusal.expect("a refusal is told") {
        // The least room for an answer is one token here.
        Refusal::Ceiling { needed, .. } => Ok(needed - 1),
        other => Err(other),
    }
}

/// The judge's tokens of a text.
fn text_tokens(text: &str) -> u64 {
    // What is no JSON counts as it stands.
    let no_json = format!(": {text}");
    judge::tokens(agentops_testkit::model::Protocol::Unknown, no_json.as_bytes()) - 1
}

/// As Python writes it: no usual form of JSON has more tokens.
fn spaced(value: &Value) -> String {
    match value {
        Value::Array(items) => format!("[{}]", items.iter().map(spaced).collect::<Vec<_>>().join(", ")),
        Value::Object(members) => {
            let member = |(key, value): (&String, &Value)| format!("{}: {}", json!(key), spaced(value));
            format!("{{{}}}", members.iter().map(member).collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Whatever JSON a tool is described with, is given or gives back: the estimate is at least what the judge counts, and at
    /// most that times the family's published factor, with the published figures for what stands around.
    #[test]
    fn b1_the_structure_of_json_counts(which in 0_usize..4, in_tools: bool, value in value()) {
        let protocol = Protocol::ALL[which];
        let body = request_with(protocol, &value, in_tools);
        let estimate = estimate(protocol, &body).expect("it can be counted");
        let judged = judge::tokens(kit(protocol), body.to_string().as_bytes());
        let given = text_tokens(&spaced(&value));
        prop_assert!(estimate >= judged.max(given), "{estimate} where {judged} or {given} leave");
        // The factor is over o200k, which makes more or fewer tokens of some runs of signs than the judge does.
        let most = judge::o200k(&spaced(&body)).max(judge::o200k(&body.to_string()));
        let family = models::factor_permille(model(protocol));
        let around = models::overhead_of(model(protocol));
        let exponents = 24 * body.to_string().matches(['e', 'E']).count() as u64;
        let most = (most + exponents) * family / 1000 + around.request + 3 * around.message;
        // A long text is counted in pieces of 4 KiB or more. A cut counts as 16 tokens, and the pieces can have some more than
        // the whole.
        let cuts = (16 + 6) * (spaced(&body).len() as u64 / (4 << 10));
        prop_assert!(estimate <= most + cuts + 50, "{estimate} where {most} may be, and {cuts} for cuts");
    }
}
