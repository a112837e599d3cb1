//! B3 against providers that lie: reports that cannot be true, and answers that go on past their limit while the report says
//! next to nothing.

use std::sync::Arc;

use agentops_core::budget::Limits;
use agentops_core::call::CallRow;
use agentops_gateway::Identity;
use agentops_gateway::destination::Family;
use agentops_gateway::host::Note;
use agentops_gateway::protocol::Protocol;
use agentops_text::tokens;
use serde_json::{Value, json};

use crate::charges::{Heard, beginning, call, end, event, lane, make, request_of, runtime, stream, text};
use crate::host::Told;
use crate::room::{Room, destination};
use crate::wire::{PATIENCE, Provider, answer};

const LIMIT: u64 = 500;

fn request(protocol: Protocol) -> Value {
    request_of(protocol, 200, LIMIT)
}

#[test]
fn b3_a_report_that_cannot_be_true_is_none() {
    const HUGE: u64 = 1 << 62;
    for protocol in Protocol::ALL {
        for (input, output) in [(HUGE, HUGE), (HUGE, 5), (300, HUGE), (0, HUGE), (300, 250_000)] {
            let told = Arc::<Told>::default();
            let day = Limits { tokens: Some(100_000), micro_usd: None };
            let lane = lane(&told, day);
            let lie = [text(protocol, "Hello."), end(protocol, input, output)];
            let honest = [text(protocol, "Hello."), end(protocol, 300, 5)];
            for pieces in [&lie, &honest] {
                runtime().block_on(make(&lane, protocol, &request(protocol), &stream(pieces))).expect("it is forwarded");
            }
            let rows = told.wait(PATIENCE, |said| (said.rows.len() == 2).then(|| said.rows.clone())).unwrap();
            let lied = rows.iter().find(|row| row.usage.is_none()).expect("the report is not believed");
            assert_eq!(lied.charged.tokens, lied.estimate + LIMIT, "{protocol:?}: {input} and {output}");
            assert!(rows.iter().any(|row| row.charged.tokens == 305), "{protocol:?}: the next call goes on");
            let notes = told.wait(PATIENCE, |said| Some(said.notes.clone())).unwrap();
            let reported = input.saturating_add(output);
            let is_named =
                |note: &Note| matches!(note, Note::ReportNotBelieved { reported: named, .. } if *named == reported);
            assert!(notes.iter().any(is_named), "{protocol:?}: {notes:?}");
        }
    }
}

/// A hundred pieces for each of these texts, each with another beginning.
fn pieces_of(kind: &str) -> Vec<String> {
    let mut seed = 7_u32;
    let mut next = |below: u32| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 8) % below
    };
    let mut one = || match kind {
        "one han" => "漢字混在".repeat(50),
        "han" => (0..100).filter_map(|_| char::from_u32(0x4e00 + next(0x5000))).collect(),
        "digits" => (0..300).filter_map(|_| char::from_digit(next(10), 10)).collect(),
        "punctuation" => (0..300).map(|_| char::from(b"!?;:,.(){}[]<>"[next(14) as usize])).collect(),
        "letters" => (0..300).map(|_| char::from(b'a' + next(26) as u8)).collect(),
        _ => ['a', 'b', '漢', 'é', '!', '7'][next(6) as usize].to_string(),
    };
    (0..if kind == "one sign" { 20_000 } else { 200 }).map(|_| one()).collect()
}

#[test]
fn b3_an_answer_past_its_limit_is_cut_and_charged_whatever_it_is_written_in() {
    // Otherwise the first answer goes on until the table is loaded.
    assert!(tokens::text_tokens("x") > 0);
    for protocol in Protocol::ALL {
        for kind in ["one han", "han", "digits", "punctuation", "letters", "one sign"] {
            let texts = pieces_of(kind);
            let mut pieces = beginning(protocol, 300, false);
            pieces.extend(texts.iter().map(|piece| text(protocol, piece)));
            pieces.push(end(protocol, 300, 1));
            let (row, passed) = call(protocol, &request(protocol), &stream(&pieces));
            assert_eq!(row.error.as_deref(), Some("cut"), "{protocol:?} {kind}");
            let mut at = beginning(protocol, 300, false).concat().len();
            let mut shown = String::new();
            for piece in &texts {
                let event = text(protocol, piece);
                if passed[at..].starts_with(&event) {
                    at += event.len();
                    shown.push_str(piece);
                }
            }
            let shown = tokens::text_tokens(&shown);
            assert!(shown < 2 * LIMIT + 1_000 + 2_000, "{protocol:?} {kind}: {shown} tokens passed");
            assert!(row.charged.tokens >= row.estimate.min(300) + shown, "{protocol:?} {kind}: {shown}, {:?}", row.charged);
        }
    }
}

/// Places in which some servers write what others send in pieces or elsewhere.
#[test]
fn b3_an_answer_past_its_limit_is_cut_wherever_it_stands() {
    assert!(tokens::text_tokens("x") > 0);
    let words = "overheid regrets joiden clima ".repeat(20);
    let chat = |delta: Value| json!({"id": "c", "choices": [{"index": 0, "delta": delta}]});
    let item = |item: Value| json!({"type": "response.output_item.done", "item": item});
    let gemini = |parts: Value| json!({"candidates": [{"index": 0, "content": {"parts": parts}}]});
    for (protocol, piece) in [
        (Protocol::Chat, chat(json!({"tool_calls": [{"index": 0, "custom": {"name": "n", "input": words}}]}))),
        (Protocol::Chat, chat(json!({"content": [{"type": "text", "text": words}]}))),
        (Protocol::Chat, chat(json!({"reasoning_details": [{"type": "reasoning.text", "text": words}]}))),
        (Protocol::Chat, json!({"id": "c", "choices": [{"index": 0, "text": words}]})),
        (Protocol::Responses, json!({"type": "response.output_text.done", "text": words})),
        (Protocol::Responses, json!({"type": "response.function_call_arguments.done", "arguments": words})),
        (
            Protocol::Responses,
            item(json!({"type": "apply_patch_call", "operation": {"type": "create_file", "diff": words}})),
        ),
        (
            Protocol::Messages,
            json!({"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "input": {"a": words}}}),
        ),
        (Protocol::Gemini, gemini(json!({"text": words}))),
        (Protocol::Gemini, gemini(json!([{"toolCall": {"name": "n", "args": {"a": words}}}]))),
    ] {
        let mut pieces = beginning(protocol, 300, false);
        for _ in 0..400 {
            pieces.push(event(&piece));
            if protocol == Protocol::Responses && piece["type"] != "response.output_item.done" {
                // The item ends, and so does what its pieces showed.
                pieces.push(event(&item(json!({"type": "message", "content": []}))));
            }
        }
        pieces.push(end(protocol, 300, 1));
        let (row, passed) = call(protocol, &request(protocol), &stream(&pieces));
        assert_eq!(row.error.as_deref(), Some("cut"), "{piece}");
        let shown = tokens::text_tokens(&words) * passed.matches("overheid").count() as u64 / 20;
        assert!(shown < 2 * LIMIT + 1_000 + 2_000, "{piece}: {shown} tokens passed");
        assert!(row.charged.tokens >= 300 + shown * 9 / 10, "{piece}: {shown}, {:?}", row.charged);
    }
}

/// What is said twice is written once: as reasoning and as its details, in pieces and at their end.
#[test]
fn an_answer_that_repeats_itself_is_not_cut() {
    let words = "overheid regrets joiden clima ".repeat(2);
    // As many words as the limit has tokens, nearly: said twice they would be more than an answer can have that keeps to it.
    let count = usize::try_from(LIMIT * 19 / 20).unwrap() / words.split_whitespace().count();
    let all = words.repeat(count);
    let details = json!([{"type": "reasoning.text", "text": words}]);
    let delta = json!({"reasoning": words, "reasoning_details": details});
    let chat = event(&json!({"id": "c", "choices": [{"index": 0, "delta": delta}]}));
    let message = json!({"type": "message", "content": [{"type": "output_text", "text": all}]});
    let ends = [
        json!({"type": "response.output_text.done", "text": all}),
        json!({"type": "response.output_item.done", "item": message}),
        json!({"type": "response.completed", "response": {"id": "r", "status": "completed", "output": [message],
            "usage": {"input_tokens": 300, "output_tokens": LIMIT}}}),
    ];
    let responses = vec![text(Protocol::Responses, &words); count].into_iter().chain(ends.iter().map(event)).collect();
    for (protocol, pieces) in [
        (Protocol::Chat, [vec![chat; count], vec![end(Protocol::Chat, 300, LIMIT)]].concat()),
        (Protocol::Responses, responses),
    ] {
        let (row, passed) = call(protocol, &request(protocol), &stream(&pieces));
        assert_eq!((row.error, row.charged.tokens), (None, 300 + LIMIT), "{protocol:?}");
        assert_eq!(passed, pieces.concat(), "{protocol:?}");
    }
}

/// The limit is in the provider's tokens, which may be fewer than ours: half as many at most.
#[test]
fn an_answer_within_its_limit_is_never_cut() {
    for protocol in Protocol::ALL {
        for kind in ["one han", "han", "digits", "punctuation", "letters", "one sign"] {
            let mut texts = pieces_of(kind);
            while tokens::text_tokens(&texts.concat()) > 2 * LIMIT {
                texts.truncate(texts.len() * 9 / 10);
            }
            let mut pieces: Vec<String> = texts.iter().map(|piece| text(protocol, piece)).collect();
            pieces.push(end(protocol, 300, LIMIT));
            let (row, passed) = call(protocol, &request(protocol), &stream(&pieces));
            assert_eq!((row.error, row.charged.tokens), (None, 300 + LIMIT), "{protocol:?} {kind}");
            assert_eq!(passed, pieces.concat(), "{protocol:?} {kind}");
        }
    }
}

/// A report of less than half of what was shown is a lie. What was shown is charged, as a stream and plain.
#[test]
fn b3_a_report_below_what_was_shown_is_not_believed() {
    for protocol in Protocol::ALL {
        let shown = pieces_of("han")[..3].concat();
        let tokens = tokens::text_tokens(&shown);
        let (row, _) = call(protocol, &request(protocol), &stream(&[text(protocol, &shown), end(protocol, 300, 1)]));
        assert_eq!(row.error, None);
        assert!(row.charged.tokens >= 300 + tokens, "{protocol:?}: {tokens}, {:?}", row.charged);
    }
}

/// What is no text of the model's, and so cannot be counted in tokens.
#[test]
fn b3_what_stands_around_an_answer_is_bounded_too() {
    let words = "overheid regrets joiden clima ".repeat(20);
    let delta = |delta: Value| event(&json!({"type": "content_block_delta", "index": 0, "delta": delta}));
    let beginning = beginning(Protocol::Messages, 300, false);
    let cases: [(&str, &str, String, u64); 9] = [
        ("a signature", "", delta(json!({"type": "signature_delta", "signature": words})), 2 << 20),
        ("citations", "", delta(json!({"type": "citations_delta", "citation": {"cited_text": words}})), 2 << 20),
        ("an unknown piece", "", delta(json!({"type": "new_delta", "stuff": words})), 30_000),
        ("an unknown event", "", event(&json!({"type": "zz", "x": words})), 2 << 20),
        ("comments", "", format!(": {}\n\n", "p".repeat(1_000)), 2 << 20),
        ("blank lines", "", "\n".repeat(1_000), 2 << 20),
        ("a line without an end", "data: ", "a".repeat(1_000), 2 << 20),
        ("an event without an end", "", format!("data: {words}\n"), 2 << 20),
        ("one event", "data: {\"type\":\"content_block_delta\",\"delta\":{\"text\":\"", words.clone(), 2 << 20),
    ];
    for (what, first, again, most) in cases {
        let mut pieces = beginning.clone();
        pieces.push(first.to_owned());
        // Sixty times as much as may pass is far more than is looked at.
        pieces.extend(std::iter::repeat_n(again.clone(), 8_000_000 / again.len()));
        let (row, passed) = call(Protocol::Messages, &request(Protocol::Messages), &stream(&pieces));
        assert_eq!(row.error.as_deref(), Some("cut"), "{what}");
        assert!(passed.len() as u64 <= most, "{what}: {} bytes passed", passed.len());
        let least = (passed.len() as u64 / 8).min(200_000);
        assert!(row.charged.tokens >= least, "{what}: {} bytes for {:?}", passed.len(), row.charged);
    }
    // Of a plain answer, nothing is known before its end.
    let plain: Vec<String> = std::iter::once("{\"a\":\"".to_owned()).chain(vec!["a".repeat(1_000); 8_000]).collect();
    for protocol in [Protocol::Messages, Protocol::Responses, Protocol::Chat] {
        let heard = Heard { says_stream: false, ..stream(&plain) };
        let (row, passed): (CallRow, String) = call(protocol, &request_of(protocol, 200, 100), &heard);
        assert_eq!(row.error.as_deref(), Some("cut"), "{protocol:?}");
        assert!(passed.len() <= 3 << 20, "{protocol:?}: {} bytes passed", passed.len());
    }
}

/// The client of an answer that cannot be ended in good form sees that it is not whole.
#[test]
fn b3_an_endless_event_ends_with_its_connection() {
    let provider = Provider::start(|mut wire, seen| {
        let request = wire.message().unwrap();
        wire.write("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: ");
        seen.send(request).unwrap();
        let more = "a".repeat(16 << 10);
        // Sixty times as much as may pass.
        let written = (0..4_000).all(|_| std::io::Write::write_all(&mut wire.stream, more.as_bytes()).is_ok());
        assert!(!written, "nobody ends it");
    });
    let room = Room::new();
    let lane = room.lane(&provider.url());
    let mut wire = lane.wire();
    wire.write(lane.post("/v1/messages", "", &request(Protocol::Messages).to_string()));
    let head = wire.head().unwrap();
    assert_eq!(head.status(), 200);
    let mut last = None;
    while let Some(chunk) = wire.chunk() {
        last = Some(chunk);
    }
    assert!(last.is_some_and(|chunk| !chunk.is_empty()), "its end is missing");
    assert_eq!(lane.rows(1), ["200, cut"]);
}

#[test]
fn b3_an_answer_with_a_content_coding_is_refused_and_charged() {
    for coding in ["gzip", "br", "identity, zstd"] {
        let headers = format!("content-type: text/event-stream\r\ncontent-encoding: {coding}\r\n");
        let provider = Provider::answering(answer("200 OK", &headers, "\u{1f}\u{8b}"));
        let room = Room::new();
        let lane = room.lane(&provider.url());
        let got = lane.ask(lane.post("/v1/messages", "", &request(Protocol::Messages).to_string()));
        assert_eq!(got.status(), 502, "{coding}");
        assert!(got.text().contains("content coding"), "{}", got.text());
        assert_eq!(lane.rows(1), ["200, encoded"]);
        let row = lane.told.wait(PATIENCE, |said| said.rows.first().cloned()).unwrap();
        assert_eq!(row.charged.tokens, row.estimate + LIMIT);
    }
}

/// A key could stand in an answer that nobody reads: an error's, too, of which the rest goes on.
#[test]
fn s7_an_answer_with_a_coding_that_nobody_asked_for_is_not_passed_on() {
    let heads = ["content-encoding: gzip\r\n", "content-encoding: identity\r\ncontent-encoding: br\r\n"];
    for coding in heads {
        let headers = format!("{coding}retry-after: 7\r\nx-note: a\r\n");
        let error = Provider::answering(answer("429 Too Many Requests", &headers, "sealed"));
        let room = Room::new();
        let lane = room.lane(&error.url());
        let got = lane.ask(lane.post("/v1/messages", "", &request(Protocol::Messages).to_string()));
        assert_eq!((got.status(), got.header("retry-after"), got.header("x-note")), (429, Some("7"), Some("a")));
        assert!(got.header("content-encoding").is_none() && got.text().contains("content coding"), "{}", got.whole());
        assert!(got.complete && !got.text().contains("sealed"), "{}", got.whole());
        assert_eq!(lane.rows(1), ["429, http-429, free"]);
        // What is no call, with a key and without one.
        let found = Provider::answering(answer("200 OK", coding, "sealed"));
        let with_key = room.lane(&found.url());
        assert_eq!(with_key.ask(with_key.raw("GET", "/v1/models", "", "")).status(), 502);
        let nobody = room.lane_of(destination(&found.url(), Family::Anthropic), Identity::Nobody);
        assert_eq!(nobody.ask(nobody.raw("GET", "/v1/models", "", "")).text(), "sealed");
    }
    // The transfer coding is undone by nobody either.
    let provider = Provider::start(|mut wire, seen| {
        seen.send(wire.message().unwrap()).unwrap();
        wire.write("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n6\r\nsealed\r\n0\r\n\r\n");
    });
    let room = Room::new();
    let lane = room.lane(&provider.url());
    let nobody = room.lane_of(destination(&provider.url(), Family::Anthropic), Identity::Nobody);
    for lane in [lane, nobody] {
        for asked in
            [lane.post("/v1/messages", "", &request(Protocol::Messages).to_string()), lane.raw("GET", "/v1/models", "", "")]
        {
            let got = lane.ask(asked);
            assert_eq!(got.status(), 502, "{}", got.whole());
        }
    }
}
