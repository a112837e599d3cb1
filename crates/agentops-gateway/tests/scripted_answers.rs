//! The readers against a server that is not ours to shape: whole answers of the test kit's model server, as they are sent.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use agentops_gateway::protocol::{Answer, Endpoint, Protocol, Reader, endpoint};
use agentops_testkit::model::{HttpError, Lie, ModelServer, Script, ToolCall, Turn, TurnUsage, UsageNumbers};
use serde_json::{Value, json};

/// Longer than any answer takes; only a failing test waits for it.
const LONG: Duration = Duration::from_secs(10);

/// How a client of a protocol asks, with a stream and without.
fn asks(protocol: Protocol, streamed: bool) -> (&'static str, Value) {
    let said = json!([{"role": "user", "content": "go"}]);
    match protocol {
        Protocol::Messages => (
            "/v1/messages?beta=true",
            json!({"model": "m", "stream": streamed, "tools": [{"name": "Bash"}], "messages": said}),
        ),
        Protocol::Responses => {
            let tools = json!([{"type": "function", "name": "exec_command"}]);
            ("/v1/responses", json!({"model": "m", "stream": streamed, "tools": tools, "input": said}))
        }
        Protocol::Chat => {
            let tools = json!([{"type": "function", "function": {"name": "bash"}}]);
            let usage = json!({"include_usage": true});
            let body = json!({"model": "m", "stream": streamed, "stream_options": usage, "tools": tools, "messages": said});
            ("/v1/chat/completions", body)
        }
        Protocol::Gemini => {
            let path =
                if streamed { "/v1beta/models/m:streamGenerateContent?alt=sse" } else { "/v1beta/models/m:generateContent" };
            let tools = json!([{"functionDeclarations": [{"name": "run_shell_command"}]}]);
            (path, json!({"tools": tools, "contents": [{"role": "user", "parts": [{"text": "go"}]}]}))
        }
    }
}

/// What is read of the answer to a turn, and how many bytes the model wrote.
fn answer(protocol: Protocol, streamed: bool, turn: Turn) -> (Answer, u64) {
    let server = ModelServer::start(Script::of(vec![turn])).unwrap();
    let (path, body) = asks(protocol, streamed);
    assert!(matches!(endpoint("POST", path), Endpoint::Call { protocol: read, .. } if read == protocol));
    let mut stream = TcpStream::connect(server.base_url().trim_start_matches("http://")).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    let body = body.to_string();
    // The old version of HTTP, so that the answer is not parted by a transfer encoding.
    let head = format!("POST {path} HTTP/1.0\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all((head + &body).as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    let mut reader = Reader::new(protocol, streamed);
    let output = answer[end..].chunks(50).map(|chunk| reader.push(chunk).output_bytes).sum();
    (reader.answer(), output)
}

fn both_ways(protocol: Protocol, turn: &Turn) -> [Answer; 2] {
    [true, false].map(|streamed| answer(protocol, streamed, turn.clone()).0)
}

const NUMBERS: UsageNumbers = UsageNumbers { input: 1000, cache_read: 400, cache_write: 50, output: 30 };

#[test]
fn the_numbers_of_a_call_are_read_the_same_whichever_way_it_goes() {
    for protocol in Protocol::ALL {
        let usage = Some(TurnUsage::Numbers(NUMBERS));
        let turn = Turn { usage, text: Some("two words".into()), ..Turn::call(vec![ToolCall::shell("ls")]) };
        for answer in both_ways(protocol, &turn) {
            let usage = answer.usage.unwrap();
            assert_eq!((usage.context(), usage.cache_read, usage.output), (1480, 400, 30), "{protocol:?}");
            assert!(
                answer.complete && answer.usage_is_final && answer.finish.is_some() && answer.error.is_none(),
                "{answer:?}"
            );
            assert!(answer.model.is_some() && answer.id.is_some(), "{answer:?}");
        }
        let repeated = Turn { repeat_usage: true, ..turn };
        assert_eq!(both_ways(protocol, &repeated)[0].usage.unwrap().context(), 1480, "{protocol:?}");
    }
}

#[test]
fn what_the_model_wrote_is_counted_while_it_goes_by() {
    for protocol in Protocol::ALL {
        let text = "five words of plain text";
        let (_, output) = answer(protocol, true, Turn::text(text));
        assert_eq!(output, text.len() as u64, "{protocol:?}");
    }
}

#[test]
fn a_lie_about_usage_is_no_report_and_a_large_one_stays() {
    for protocol in Protocol::ALL {
        for lie in [Lie::Zero, Lie::Negative, Lie::None] {
            for answer in both_ways(protocol, &Turn { usage: Some(TurnUsage::Lie(lie)), ..Turn::text("x") }) {
                assert_eq!((answer.usage, answer.complete), (None, true), "{protocol:?} {lie:?}");
            }
        }
        for answer in both_ways(protocol, &Turn { usage: Some(TurnUsage::Lie(Lie::Huge)), ..Turn::text("x") }) {
            assert!(answer.usage.unwrap().context() > 1_000_000_000, "{protocol:?}");
        }
    }
}

#[test]
fn errors_and_streams_that_were_cut_are_told() {
    for protocol in Protocol::ALL {
        for answer in both_ways(protocol, &Turn::fail(HttpError::new(429, "no"))) {
            assert!(answer.error.is_some() && !answer.complete && answer.usage.is_none(), "{protocol:?} {answer:?}");
        }
        let turn = Turn { cut_after_bytes: Some(150), ..Turn::text("many words that are never said to their end") };
        let (answer, _) = answer(protocol, true, turn.using(1000, 30));
        assert!(!answer.complete && !answer.usage_is_final && answer.error.is_none(), "{protocol:?} {answer:?}");
    }
}
