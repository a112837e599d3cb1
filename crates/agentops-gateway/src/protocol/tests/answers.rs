//! What is read of a provider's report, and what is not believed.

use agentops_core::usage::Usage;

use super::*;

fn both_ways(protocol: Protocol, usage: &Value) -> Answer {
    let plain = read(protocol, false, plain_with(protocol, usage).as_bytes());
    let streamed = read(protocol, true, stream_with(protocol, usage).as_bytes());
    assert_eq!(plain, streamed, "{protocol:?} {usage}");
    plain
}

#[test]
fn parts_never_overlap() {
    for protocol in Protocol::ALL {
        let answer = both_ways(protocol, &report(protocol, &json!(1000), &json!(900), &json!(7)));
        let input = if protocol == Protocol::Messages { 1000 } else { 100 };
        assert_eq!(answer.usage, Some(Usage { input, cache_read: 900, cache_write: 0, output: 7 }), "{protocol:?}");
        assert!(answer.complete && answer.usage_is_final && answer.finish.is_some() && answer.error.is_none());
        assert!(answer.model.is_some() && answer.id.is_some());
    }
}

#[test]
fn a_report_that_cannot_be_true_is_none() {
    let bad = [json!(0), json!(null), json!(-5), json!("1200"), json!(true), json!([12]), json!({"n": 1})];
    for protocol in Protocol::ALL {
        for input in &bad {
            assert_eq!(
                both_ways(protocol, &report(protocol, input, &json!(null), &json!(7))).usage,
                None,
                "{protocol:?} {input}"
            );
        }
        for usage in [json!(null), json!({}), json!([]), json!("x"), json!(7)] {
            assert_eq!(both_ways(protocol, &usage).usage, None, "{protocol:?} {usage}");
        }
        for part in [json!(-1), json!("1"), json!([])] {
            assert_eq!(
                both_ways(protocol, &report(protocol, &json!(5), &part, &json!(7))).usage,
                None,
                "{protocol:?} {part}"
            );
            assert_eq!(
                both_ways(protocol, &report(protocol, &json!(5), &json!(1), &part)).usage,
                None,
                "{protocol:?} {part}"
            );
        }
    }
}

#[test]
fn a_large_report_stays_and_a_fraction_is_raised() {
    for protocol in Protocol::ALL {
        for (written, read) in [("18446744073709551616", u64::MAX), ("1e300", u64::MAX), ("1e999", u64::MAX), ("12.25", 13)]
        {
            let usage = report(protocol, &json!(4_000_001), &json!(null), &json!(7)).to_string().replace("4000001", written);
            let body = plain_with(protocol, &json!("HERE")).replace("\"HERE\"", &usage);
            let answer = super::read(protocol, false, body.as_bytes());
            assert_eq!(answer.usage.map(|usage| usage.input), Some(read), "{protocol:?} {written}");
        }
    }
}

#[test]
fn more_from_the_cache_than_there_was_input_is_counted_apart() {
    for protocol in Protocol::ALL {
        let usage = both_ways(protocol, &report(protocol, &json!(100), &json!(900), &json!(7))).usage.unwrap();
        assert_eq!(usage.context(), 1007, "{protocol:?}");
    }
}

#[test]
fn cache_writes_and_their_kind_are_read() {
    let usage = json!({"input_tokens": 3, "cache_creation_input_tokens": 50, "cache_read_input_tokens": 0, "output_tokens": 4,
        "cache_creation": {"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 30}});
    let answer = both_ways(Protocol::Messages, &usage);
    assert_eq!(answer.usage, Some(Usage { input: 3, cache_read: 0, cache_write: 50, output: 4 }));
    assert_eq!(answer.cache_write_hour, 30);
    // The split alone says as much.
    let usage = json!({"input_tokens": 3, "cache_creation": {"ephemeral_5m_input_tokens": 20}, "output_tokens": 4});
    assert_eq!(both_ways(Protocol::Messages, &usage).usage.map(|usage| usage.cache_write), Some(20));
    let usage = json!({"prompt_tokens": 100, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 30}});
    let expected = Usage { input: 10, cache_read: 60, cache_write: 30, output: 1 };
    assert_eq!(both_ways(Protocol::Chat, &usage).usage, Some(expected));
}

#[test]
fn thinking_is_output_whether_or_not_it_is_part_of_the_figure() {
    let gemini = json!({"promptTokenCount": 100, "cachedContentTokenCount": 40, "candidatesTokenCount": 10, "thoughtsTokenCount": 25,
        "toolUsePromptTokenCount": 5, "totalTokenCount": 140});
    let answer = both_ways(Protocol::Gemini, &gemini);
    assert_eq!(answer.usage, Some(Usage { input: 65, cache_read: 40, cache_write: 0, output: 35 }));
    assert_eq!(answer.reasoning, Some(25));
    let openai = json!({"input_tokens": 100, "output_tokens": 30, "output_tokens_details": {"reasoning_tokens": 20}, "total_tokens": 130});
    let answer = both_ways(Protocol::Responses, &openai);
    assert_eq!((answer.usage.map(|usage| usage.output), answer.reasoning), (Some(30), Some(20)));
    // Servers that leave it out of the parts have it in the total.
    let apart = json!({"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 150});
    assert_eq!(both_ways(Protocol::Chat, &apart).usage.map(|usage| usage.output), Some(50));
}

#[test]
fn later_figures_of_a_messages_stream_replace_and_never_lower() {
    let starts = |start: Value, ends: &[Value]| {
        let mut events = vec![json!({"type": "message_start", "message": {"usage": start}})];
        events.extend(
            ends.iter().map(|usage| json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage})),
        );
        read(Protocol::Messages, true, stream(&events).as_bytes())
    };
    let start = json!({"input_tokens": 1000, "output_tokens": 1});
    // Figures are cumulative: a repeated report adds nothing.
    let end = json!({"output_tokens": 50});
    let answer = starts(start.clone(), &[end.clone(), end.clone()]);
    assert_eq!(answer.usage, Some(Usage { input: 1000, output: 50, ..Usage::default() }));
    // A later split of the same input replaces the estimate at the start.
    let split = json!({"input_tokens": 100, "cache_read_input_tokens": 900, "output_tokens": 50});
    let expected = Usage { input: 100, cache_read: 900, cache_write: 0, output: 50 };
    assert_eq!(starts(start.clone(), &[split]).usage, Some(expected));
    // A smaller one does not, a null says nothing, and one that cannot be true is passed over.
    for later in
        [json!({"input_tokens": 10, "output_tokens": 2}), json!(null), json!({"input_tokens": -1, "output_tokens": 9})]
    {
        assert_eq!(starts(start.clone(), &[later]).usage.map(|usage| usage.input), Some(1000));
    }
    // Some servers know nothing at the start.
    assert_eq!(
        starts(json!({"input_tokens": 0, "output_tokens": 0}), &[json!({"input_tokens": 70, "output_tokens": 9})]).usage,
        Some(Usage { input: 70, output: 9, ..Usage::default() })
    );
    let cut = starts(start, &[]);
    assert!(cut.usage.is_some() && !cut.usage_is_final && !cut.complete);
}

#[test]
fn errors_are_named_in_the_providers_words() {
    let cases = [
        (
            Protocol::Messages,
            true,
            stream(&[json!({"type": "error", "error": {"type": "overloaded_error", "message": "x"}})]),
            "overloaded_error",
        ),
        (
            Protocol::Messages,
            false,
            json!({"type": "error", "error": {"type": "rate_limit_error"}}).to_string(),
            "rate_limit_error",
        ),
        (
            Protocol::Responses,
            true,
            stream(&[json!({"type": "response.failed", "response": {"id": "r", "status": "failed",
            "error": {"code": "context_length_exceeded", "message": "x"}}})]),
            "context_length_exceeded",
        ),
        (
            Protocol::Responses,
            true,
            stream(&[json!({"type": "error", "code": "server_error", "message": "x"})]),
            "server_error",
        ),
        (
            Protocol::Responses,
            false,
            json!({"error": {"type": "invalid_request_error", "code": null}}).to_string(),
            "invalid_request_error",
        ),
        (Protocol::Chat, true, "data: {\"error\":{\"message\":\"x\",\"code\":502}}\n\n".into(), "error"),
        (
            Protocol::Chat,
            false,
            json!({"error": {"type": "insufficient_quota", "code": "insufficient_quota"}}).to_string(),
            "insufficient_quota",
        ),
        (
            Protocol::Gemini,
            true,
            json!({"error": {"code": 429, "status": "RESOURCE_EXHAUSTED"}}).to_string(),
            "RESOURCE_EXHAUSTED",
        ),
        (Protocol::Gemini, true, "data: {\"error\":{\"code\":503,\"status\":\"UNAVAILABLE\"}}\n\n".into(), "UNAVAILABLE"),
    ];
    for (protocol, streamed, body, kind) in cases {
        let answer = read(protocol, streamed, body.as_bytes());
        assert_eq!((answer.error.as_deref(), answer.complete), (Some(kind), false), "{protocol:?} {body}");
    }
}

#[test]
fn a_gemini_stream_that_is_an_array_is_read() {
    let body = json!([{"candidates": [{"content": {"parts": [{"text": "a"}]}}], "usageMetadata": {"promptTokenCount": 9}},
        {"candidates": [{"finishReason": "STOP"}], "usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": 4}}]);
    let answer = read(Protocol::Gemini, false, body.to_string().as_bytes());
    assert_eq!(answer.usage.map(|usage| (usage.input, usage.output)), Some((9, 4)));
}

#[test]
fn a_name_that_would_fill_a_ledger_is_cut() {
    let body = json!({"id": "x".repeat(1 << 16), "choices": [], "model": "é".repeat(1 << 16)}).to_string();
    let answer = read(Protocol::Chat, false, body.as_bytes());
    assert!(answer.id.unwrap().len() <= 256 && answer.model.unwrap().len() <= 256);
}

#[test]
fn a_plain_answer_that_does_not_end_says_nothing() {
    for protocol in Protocol::ALL {
        let body = plain_with(protocol, &report(protocol, &json!(5), &json!(1), &json!(7)));
        for end in 0..body.len() {
            if body.is_char_boundary(end) {
                assert_eq!(
                    read(protocol, false, &body.as_bytes()[..end]),
                    Answer::default(),
                    "{protocol:?} {}",
                    &body[..end]
                );
            }
        }
    }
}
