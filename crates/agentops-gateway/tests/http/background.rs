//! B3 for answers that are made in the background: the limit stays charged until a report settles it.

use std::io::Write as _;
use std::sync::Arc;

use agentops_core::budget::Limits;
use agentops_gateway::destination::Family;
use agentops_gateway::host::Host;
use agentops_gateway::lane::{Lane, Rules};
use agentops_gateway::protocol::Protocol;
use agentops_gateway::{Identity, LaneSpec};
use agentops_safe::Secret;
use serde_json::{Value, json};

use crate::charges::request_of;
use crate::host::{Told, rules};
use crate::room::{KEY, Open, Room, destination};
use crate::wire::{PATIENCE, Provider, answer};

const LIMIT: u64 = 1_000;

/// A provider that begins each call as `resp_1`, and answers the n-th question for it with the n-th of these.
fn provider(told: &[(&str, Value)]) -> Provider {
    let told: Vec<String> = told.iter().map(|(status, body)| answer(status, "", &body.to_string())).collect();
    let told = Arc::new(std::sync::Mutex::new(told.into_iter()));
    Provider::start(move |mut wire, seen| {
        while let Some(request) = wire.message() {
            let is_call = request.start.starts_with("POST /v1/responses ");
            seen.send(request).ok();
            let bytes = match is_call {
                true => answer("200 OK", "", &status("queued", None).to_string()),
                false => told.lock().unwrap().next().unwrap_or_else(|| answer("404 Not Found", "", "{}")),
            };
            if wire.stream.write_all(bytes.as_bytes()).is_err() {
                return;
            }
        }
    })
}

fn status(status: &str, usage: Option<(u64, u64)>) -> Value {
    let usage = usage.map(|(input, output)| json!({"input_tokens": input, "output_tokens": output}));
    json!({"id": "resp_1", "object": "response", "model": "gpt-5.4", "status": status, "usage": usage, "output": []})
}

fn lane(room: &Room, provider: &Provider, day: Limits) -> Open {
    let told = Arc::<Told>::default();
    let rules = Rules { takes_limit: true, day, ..rules(200_000, Arc::clone(&told) as Arc<dyn Host>) };
    let destination = destination(&format!("{}/v1", provider.url()), Family::OpenAi);
    let identity = Identity::Key(Secret::new(KEY));
    let handle = room.gateway.open(LaneSpec { lane: Lane::new(rules), destination, identity }).unwrap();
    Open { handle, told, address: room.gateway.address() }
}

fn call() -> String {
    let mut body = request_of(Protocol::Responses, 200, LIMIT);
    body["background"] = true.into();
    body["stream"] = false.into();
    body.to_string()
}

#[test]
fn b3_a_later_report_settles_an_answer_in_the_background() {
    let asks = [
        ("200 OK", status("queued", None)),
        ("200 OK", status("in_progress", Some((300, 1)))),
        // None of these is about the end of this answer.
        ("429 Too Many Requests", json!({"error": {"type": "rate_limit"}})),
        ("200 OK", json!({"id": "resp_2", "status": "completed", "usage": {"input_tokens": 1, "output_tokens": 1}})),
        ("200 OK", status("completed", Some((300, 40)))),
        ("200 OK", status("completed", Some((300, 40)))),
    ];
    let provider = provider(&asks);
    let room = Room::new();
    let one = 300 + 40;
    // The budget has room for one call at its limit and not for a second.
    let lane = lane(&room, &provider, Limits { tokens: Some(2_000), micro_usd: None });
    assert_eq!(lane.ask(lane.post("/v1/responses", "", &call())).status(), 200);
    for (index, (expected, _)) in asks.iter().enumerate() {
        if index < 5 {
            let got = lane.ask(lane.post("/v1/responses", "", &call()));
            assert_eq!(got.status(), 402, "before question {index}: the limit stays reserved: {}", got.text());
        }
        let got = lane.ask(lane.raw("GET", "/v1/responses/resp_1", "", ""));
        assert!(got.start.ends_with(expected), "question {index}: {}", got.whole());
    }
    let row = lane.told.wait(PATIENCE, |said| said.rows.first().cloned()).expect("it is settled");
    assert_eq!((row.charged.tokens, row.status, row.error.as_deref()), (one, Some(200), None));
    assert_eq!(lane.ask(lane.post("/v1/responses", "", &call())).status(), 200, "there is room again");
}

#[test]
fn b3_an_answer_in_the_background_that_nobody_asks_for_is_charged_its_limit_when_its_lane_closes() {
    let provider = provider(&[("200 OK", status("in_progress", Some((300, 1)))), ("200 OK", status("cancelled", None))]);
    for asks in [&[][..], &[("GET", "/v1/responses/resp_1")], &[("POST", "/v1/responses/resp_1/cancel")]] {
        let room = Room::new();
        let lane = lane(&room, &provider, Limits::default());
        assert_eq!(lane.ask(lane.post("/v1/responses", "", &call())).status(), 200);
        for (method, path) in asks {
            assert_eq!(lane.ask(lane.raw(method, path, "", "")).status(), 200, "{method} {path}");
        }
        room.gateway.close(&lane.handle);
        let row = lane.told.wait(PATIENCE, |said| said.rows.first().cloned()).expect("it is settled");
        assert_eq!(row.charged.tokens, row.estimate + LIMIT, "{asks:?}");
        assert_eq!((row.status, row.response_id.as_deref()), (Some(200), Some("resp_1")));
    }
}

#[test]
fn the_question_for_an_answer_carries_nothing_to_the_provider() {
    let provider = provider(&[("200 OK", status("completed", None))]);
    let room = Room::new();
    let lane = lane(&room, &provider, Limits::default());
    let got = lane.ask(lane.raw("POST", "/v1/responses/resp_1/cancel", "", &call()));
    assert_eq!(got.status(), 200);
    let asked = provider.request();
    assert_eq!((asked.start.as_str(), asked.body.len()), ("POST /v1/responses/resp_1/cancel HTTP/1.1", 0));
    room.gateway.close(&lane.handle);
    assert!(lane.told.wait(PATIENCE, |said| Some(said.rows.is_empty())).unwrap(), "it is no call");
}
