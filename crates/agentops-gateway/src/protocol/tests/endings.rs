//! Answers of our own: refusals that clients know, and the ending of a stream that is cut.

use super::*;

fn body(reply: &Reply) -> Value {
    serde_json::from_slice(&reply.body).unwrap()
}

#[test]
fn a_prompt_that_is_too_long_is_refused_in_each_providers_words() {
    let of = |protocol| {
        let reply = too_long(protocol, 210_000, 80_000, "A word for \"you\".");
        assert_eq!(reply.status, 400);
        let error = body(&reply)["error"].clone();
        assert!(error["message"].as_str().unwrap().ends_with("A word for \"you\"."));
        (error["message"].as_str().unwrap().to_owned(), error)
    };
    let (message, error) = of(Protocol::Messages);
    assert!(message.starts_with("prompt is too long: 210000 tokens > 80000 maximum"));
    assert_eq!(error["type"], "invalid_request_error");
    for protocol in [Protocol::Responses, Protocol::Chat] {
        assert_eq!(of(protocol).1["code"], "context_length_exceeded");
    }
    let (message, error) = of(Protocol::Gemini);
    assert!(message.starts_with("The input token count (210000) exceeds the maximum number of tokens allowed (80000)"));
    assert_eq!((&error["code"], &error["status"]), (&json!(400), &json!("INVALID_ARGUMENT")));
}

#[test]
fn our_own_refusals_are_read_like_a_providers() {
    for protocol in Protocol::ALL {
        for status in [400, 401, 402, 403, 404, 413, 429, 500, 502, 503, 529] {
            let reply = error(protocol, status, "no");
            let answer = read(protocol, true, &reply.body);
            assert_eq!(reply.status, status);
            assert!(answer.error.is_some() && !answer.complete, "{protocol:?} {status}");
        }
    }
}

#[test]
fn a_stream_that_is_cut_ends_in_good_form() {
    for protocol in Protocol::ALL {
        let text = stream_with(protocol, &report(protocol, &json!(1000), &json!(900), &json!(7)));
        for (at, _) in text.match_indices("\n\n") {
            let mut reader = Reader::new(protocol, true);
            let before = &text.as_bytes()[..at + 2];
            assert_eq!(reader.push(before).boundary, Some(before.len()));
            let ending = reader.cut();
            if reader.answer().complete {
                assert!(ending.is_empty());
                break;
            }
            let answer = read(protocol, true, &[before, &ending].concat());
            assert!(answer.complete, "{protocol:?} after {}", &text[..at]);
            let reason = match protocol {
                Protocol::Messages => "max_tokens",
                Protocol::Responses => "max_output_tokens",
                Protocol::Chat => "length",
                Protocol::Gemini => "MAX_TOKENS",
            };
            assert_eq!(answer.finish.as_deref(), Some(reason));
            for line in std::str::from_utf8(&ending).unwrap().lines().filter_map(|line| line.strip_prefix("data: ")) {
                assert!(line == "[DONE]" || serde_json::from_str::<Value>(line).is_ok(), "{line}");
            }
        }
    }
}

#[test]
fn what_was_open_is_closed() {
    let mut reader = Reader::new(Protocol::Messages, true);
    reader.push(
        stream(&[json!({"type": "content_block_start", "index": 3, "content_block": {"type": "tool_use"}})]).as_bytes(),
    );
    let ending = String::from_utf8(reader.cut()).unwrap();
    let names: Vec<&str> = ending.lines().filter_map(|line| line.strip_prefix("event: ")).collect();
    assert_eq!(names, ["content_block_stop", "message_delta", "message_stop"]);
    assert!(ending.contains("\"index\":3"));

    let mut reader = Reader::new(Protocol::Chat, true);
    let choices = json!([{"index": 0, "delta": {}, "finish_reason": "stop"}, {"index": 2, "delta": {"content": "x"}}]);
    reader.push(stream(&[json!({"id": "c1", "model": "m", "choices": choices})]).as_bytes());
    let ending = String::from_utf8(reader.cut()).unwrap();
    let last: Value = serde_json::from_str(ending.lines().next().unwrap().strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!(
        (&last["id"], &last["choices"]),
        (&json!("c1"), &json!([{"index": 2, "delta": {}, "finish_reason": "length"}]))
    );
}

#[test]
fn a_plain_answer_has_no_place_to_be_cut() {
    assert!(Reader::new(Protocol::Chat, false).cut().is_empty());
}
