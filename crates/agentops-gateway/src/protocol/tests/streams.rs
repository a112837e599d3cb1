//! Streams in pieces, and streams that are odd.

use proptest::prelude::*;

use super::*;
use crate::sse::EVENT_BYTES_MAX;

/// What is read from a stream that comes in pieces of these sizes, over and over.
fn in_form(protocol: Protocol, streamed: bool, bytes: &[u8], sizes: &[usize]) -> (Answer, u64, bool) {
    let mut reader = Reader::new(protocol, streamed);
    let (mut rest, mut output, mut hidden) = (bytes, 0, false);
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, after) = rest.split_at((*size).clamp(1, rest.len()));
        let seen = reader.push(piece);
        output += seen.output_bytes;
        hidden |= seen.hidden;
        rest = after;
    }
    (reader.answer(), output, hidden)
}

/// The same, of an answer that says it is a stream.
fn in_pieces(protocol: Protocol, bytes: &[u8], sizes: &[usize]) -> (Answer, u64, bool) {
    in_form(protocol, true, bytes, sizes)
}

fn protocol() -> impl Strategy<Value = Protocol> {
    prop::sample::select(Protocol::ALL.as_slice())
}

/// What may be done to a stream without changing what it means, and what changes it.
fn variant(text: &str, number: u8) -> String {
    match number % 8 {
        0 => text.to_owned(),
        1 => text.replace('\n', "\r\n"),
        2 => text.replace('\n', "\r"),
        3 => text.replace("data: ", "data:"),
        4 => text.replace("data: {", ": a comment\nid: 7\nretry: 10\nunknown\ndata: {\ndata: "),
        5 => format!("\u{feff}: hello\n\n{text}"),
        6 => format!(" \n\r\n{text}"),
        _ => format!("  {text}"),
    }
}

proptest! {
    #[test]
    fn the_pieces_make_no_difference(
        protocol in protocol(),
        streamed: bool,
        sizes in prop::collection::vec(1_usize..40, 1..8),
        (input, cached, output) in (0_u64..2000, 0_u64..2000, 0_u64..2000),
        number in any::<u8>(),
        end in any::<prop::sample::Index>(),
    ) {
        let text = variant(&stream_with(protocol, &report(protocol, &json!(input), &json!(cached), &json!(output))), number);
        // Streams end anywhere.
        let bytes = &text.as_bytes()[..end.index(text.len() + 1)];
        prop_assert_eq!(in_form(protocol, streamed, bytes, &sizes), in_form(protocol, streamed, bytes, &[usize::MAX]));
    }

    #[test]
    fn nothing_that_is_sent_breaks_a_reader(protocol in protocol(), streamed in any::<bool>(), bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut reader = Reader::new(protocol, streamed);
        reader.push(&bytes);
        let _ending = reader.cut();
        let _answer = reader.answer();
    }
}

#[test]
fn line_ends_comments_and_spaces_mean_nothing() {
    for protocol in Protocol::ALL {
        let text = stream_with(protocol, &report(protocol, &json!(1000), &json!(900), &json!(7)));
        let expected = in_pieces(protocol, text.as_bytes(), &[usize::MAX]);
        assert!(expected.0.usage.is_some() && expected.0.complete);
        for number in 0..6 {
            let text = variant(&text, number);
            assert_eq!(in_pieces(protocol, text.as_bytes(), &[usize::MAX]), expected, "{text}");
        }
    }
}

#[test]
fn a_stream_may_end_without_its_last_blank_line() {
    for protocol in Protocol::ALL {
        let text = stream_with(protocol, &report(protocol, &json!(1000), &json!(900), &json!(7)));
        let whole = read(protocol, true, text.as_bytes());
        assert_eq!(read(protocol, true, text.trim_end().as_bytes()), whole, "{protocol:?}");
    }
}

#[test]
fn a_number_that_was_cut_off_is_no_number() {
    for protocol in Protocol::ALL {
        let text = stream_with(protocol, &report(protocol, &json!(123_456), &json!(null), &json!(654_321)));
        for end in 0..text.len() {
            let usage = read(protocol, true, &text.as_bytes()[..end]).usage.unwrap_or_default();
            assert!(matches!(usage.input, 0 | 123_456) && matches!(usage.output, 0 | 654_321), "{protocol:?} {usage:?}");
        }
    }
}

#[test]
fn text_is_counted_as_it_is_meant() {
    for protocol in Protocol::ALL {
        let text = stream_with(protocol, &json!(null));
        for text in [text.clone(), text.replace('é', "\\u00e9")] {
            let (_, output, hidden) = in_pieces(protocol, text.as_bytes(), &[usize::MAX]);
            assert_eq!((output, hidden), ("hé\n".len() as u64, false), "{protocol:?}");
        }
    }
    let pair = "data: {\"choices\":[{\"delta\":{\"content\":\"\\ud83d\\ude00\\\\\\\"\"}}]}\n\n";
    assert_eq!(in_pieces(Protocol::Chat, pair.as_bytes(), &[usize::MAX]).1, "😀\\\"".len() as u64);
}

#[test]
fn what_the_model_wrote_is_counted_whatever_it_is() {
    let messages = [
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": "{\"text\":\"12"}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "hm"}}),
    ];
    assert_eq!(in_pieces(Protocol::Messages, stream(&messages).as_bytes(), &[7]).1, 13);
    // An item that came in pieces is not counted again when it is done; one that came whole is.
    let item = |arguments: &str| json!({"type": "response.output_item.done", "item": {"type": "function_call", "arguments": arguments}});
    let responses = [json!({"type": "response.function_call_arguments.delta", "delta": "abc"}), item("abc"), item("defg")];
    assert_eq!(in_pieces(Protocol::Responses, stream(&responses).as_bytes(), &[7]).1, 7);
    let chat = [json!({"id": "c", "choices": [{"index": 0, "delta": {"tool_calls": [
        {"index": 0, "function": {"name": "f", "arguments": "abc"}}, {"index": 1, "function": {"arguments": "de"}}]}},
        {"index": 1, "delta": {"content": "x", "reasoning_content": "yz"}}]})];
    assert_eq!(in_pieces(Protocol::Chat, stream(&chat).as_bytes(), &[7]).1, 8);
    let call = json!({"name": "f", "args": {"a": 1}});
    let gemini = [json!({"candidates": [{"content": {"parts": [{"functionCall": call}, {"text": "ab"}]}}]})];
    assert_eq!(in_pieces(Protocol::Gemini, stream(&gemini).as_bytes(), &[7]).1, call.to_string().len() as u64 + 2);
}

#[test]
fn sealed_reasoning_is_told() {
    let cases = [
        (
            Protocol::Messages,
            json!({"type": "content_block_start", "index": 0, "content_block": {"type": "redacted_thinking", "data": "x"}}),
        ),
        (
            Protocol::Messages,
            json!({"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": ""}}),
        ),
        (Protocol::Responses, json!({"type": "response.output_item.added", "item": {"type": "reasoning", "summary": []}})),
        (
            Protocol::Chat,
            json!({"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 9,
            "completion_tokens_details": {"reasoning_tokens": 8}}}),
        ),
        (Protocol::Gemini, json!({"candidates": [{"content": {"parts": [{"text": "plan", "thought": true}]}}]})),
        (Protocol::Gemini, json!({"candidates": [{"content": {"parts": [{"functionCall": {}, "thoughtSignature": "x"}]}}]})),
    ];
    for (protocol, event) in cases {
        assert!(in_pieces(protocol, stream(std::slice::from_ref(&event)).as_bytes(), &[9]).2, "{event}");
    }
}

#[test]
fn an_event_that_is_too_long_hides_nothing_after_it() {
    let long =
        format!("data: {{\"type\":\"response.output_text.done\",\"text\":\"{}\"}}\n\n", "x".repeat(2 * EVENT_BYTES_MAX));
    let text = long + &stream_with(Protocol::Responses, &report(Protocol::Responses, &json!(9), &json!(1), &json!(7)));
    let whole = in_pieces(Protocol::Responses, text.as_bytes(), &[usize::MAX]);
    assert_eq!(whole.0.usage.map(|usage| usage.context()), Some(16));
    assert_eq!(in_pieces(Protocol::Responses, text.as_bytes(), &[60_000, 1]), whole);
    // The end itself may be too long: then it is an end without a report.
    let end = json!({"type": "response.completed", "response": {"output": "x".repeat(EVENT_BYTES_MAX), "usage": {"input_tokens": 5}}});
    let answer = read(Protocol::Responses, true, stream(&[end]).as_bytes());
    assert_eq!((answer.complete, answer.usage), (true, None));
}

#[test]
fn a_boundary_is_where_an_event_has_ended() {
    let mut reader = Reader::new(Protocol::Chat, true);
    assert_eq!(reader.push(b"data: {\"a\"").boundary, None);
    assert_eq!(reader.push(b":1}\n\ndata: {}\n\ndata: ").boundary, Some(":1}\n\ndata: {}\n\n".len()));
    assert_eq!(reader.push(b"1\r\n\r").boundary, Some(4));
    assert_eq!(reader.push(b"\nx").boundary, None);
}
