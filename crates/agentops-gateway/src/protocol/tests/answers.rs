//! What is read of a provider's report, and what is not believed.

use agentops_core::usage::Usage;

use super::*;

fn both_ways(protocol: Protocol, usage: &Value) -> Answer {
    let plain = read(protocol, false, plain_with(protocol, usage).as_bytes());
    let mut streamed = read(protocol, true, stream_with(protocol, usage).as_bytes());
    // Only the stream of the test holds a text.
    streamed.tokens_min = plain.tokens_min;
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
fn a_figure_that_is_missing_or_wrong_discards_no_other() {
    let streamed = |protocol, start: &Value, end: &Value| {
        let events = match protocol {
            Protocol::Messages => vec![
                json!({"type": "message_start", "message": {"usage": start}}),
                json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": end}),
                json!({"type": "message_stop"}),
            ],
            Protocol::Responses => vec![
                json!({"type": "response.incomplete", "response": {"usage": start}}),
                json!({"type": "response.completed", "response": {"usage": end}}),
            ],
            Protocol::Chat => vec![
                json!({"id": "c", "choices": [{"index": 0, "delta": {"content": "x"}}], "usage": start}),
                json!({"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}),
                json!({"id": "c", "choices": [], "usage": end}),
            ],
            Protocol::Gemini => vec![
                json!({"candidates": [{"index": 0}], "usageMetadata": start}),
                json!({"candidates": [{"index": 0, "finishReason": "STOP"}], "usageMetadata": end}),
            ],
        };
        read(protocol, true, stream(&events).as_bytes())
    };
    let null = json!(null);
    for protocol in Protocol::ALL {
        let start = report(protocol, &json!(25), &null, &json!(1));
        for input in [json!(0), json!(-1), json!("25"), null.clone()] {
            let answer = streamed(protocol, &start, &report(protocol, &input, &null, &json!(5000)));
            assert_eq!(answer.usage, Some(Usage { input: 25, output: 5000, ..Usage::default() }), "{protocol:?} {input}");
            assert!(answer.usage_is_final && answer.complete, "{protocol:?} {input}");
        }
        // Nothing says how long the answer was at its end.
        let answer = streamed(protocol, &report(protocol, &json!(25), &null, &json!(0)), &json!({}));
        assert_eq!(answer.usage_is_final, protocol == Protocol::Responses, "{protocol:?}");
        // No input was ever said: our own count holds, and the output that was named.
        let answer = streamed(protocol, &null, &report(protocol, &json!(0), &null, &json!(5000)));
        assert_eq!((answer.usage, answer.output_named), (None, 5000), "{protocol:?}");
    }
}

#[test]
fn what_comes_after_a_report_is_not_in_it() {
    let delta = json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "more"}});
    let events = [
        json!({"type": "message_start", "message": {"usage": {"input_tokens": 25, "output_tokens": 1}}}),
        json!({"type": "message_delta", "delta": {}, "usage": {"output_tokens": 1}}),
        delta,
    ];
    assert!(read(Protocol::Messages, true, stream(&events[..2]).as_bytes()).usage_is_final);
    assert!(!read(Protocol::Messages, true, stream(&events).as_bytes()).usage_is_final);
}

/// DeepSeek's API reference, "Create Chat Completion".
#[test]
fn deepseeks_cache_hits_are_cache_reads() {
    let usage =
        json!({"prompt_tokens": 100, "prompt_cache_hit_tokens": 64, "prompt_cache_miss_tokens": 36, "completion_tokens": 7});
    let expected = Usage { input: 36, cache_read: 64, cache_write: 0, output: 7 };
    assert_eq!(both_ways(Protocol::Chat, &usage).usage, Some(expected));
    let with_zero = json!({"prompt_tokens": 100, "prompt_cache_hit_tokens": 64, "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens": 7});
    assert_eq!(both_ways(Protocol::Chat, &with_zero).usage, Some(expected));
}

#[test]
fn an_answer_is_read_in_the_form_that_it_has() {
    for protocol in Protocol::ALL {
        let usage = report(protocol, &json!(1000), &json!(900), &json!(7));
        for text in [stream_with(protocol, &usage), plain_with(protocol, &usage)] {
            for streamed in [true, false] {
                let answer = read(protocol, streamed, format!("\n{text}").as_bytes());
                assert_eq!(answer.usage.map(|usage| usage.output), Some(7), "{protocol:?} {streamed} {text}");
            }
        }
    }
}

#[test]
fn an_answer_has_at_least_as_many_tokens_as_words() {
    let words = "one two three ".repeat(100);
    let deltas = |protocol| match protocol {
        Protocol::Messages => json!({"type": "content_block_delta", "delta": {"type": "text_delta", "text": words}}),
        Protocol::Responses => json!({"type": "response.output_text.delta", "delta": words}),
        Protocol::Chat => json!({"id": "c", "choices": [{"index": 0, "delta": {"content": words}}]}),
        Protocol::Gemini => json!({"candidates": [{"content": {"parts": [{"text": words}]}}]}),
    };
    let plain = |protocol| match protocol {
        Protocol::Messages => json!({"content": [{"type": "text", "text": words}]}),
        Protocol::Responses => json!({"output": [{"type": "message", "content": [{"type": "output_text", "text": words}]}]}),
        Protocol::Chat => json!({"choices": [{"message": {"content": words}}]}),
        Protocol::Gemini => deltas(protocol),
    };
    for protocol in Protocol::ALL {
        let mut reader = Reader::new(protocol, true);
        let piece = stream(&[deltas(protocol)]);
        let seen: Vec<u64> = (0..3).map(|_| reader.push(piece.as_bytes()).tokens_min).collect();
        assert_eq!(seen, [300, 600, 900], "{protocol:?}");
        assert_eq!(read(protocol, false, plain(protocol).to_string().as_bytes()).tokens_min, 300, "{protocol:?}");
        // One event that is longer than is kept.
        let long = deltas(protocol).to_string().replacen("one two", &"one two ".repeat(crate::sse::EVENT_BYTES_MAX / 8), 1);
        let mut reader = Reader::new(protocol, true);
        let seen = reader.push(format!("data: {long}\n\n").as_bytes());
        assert!(seen.tokens_min > 200_000 && seen.output_bytes > 1_000_000, "{protocol:?} {seen:?}");
    }
}

/// What is said twice, or sums up reasoning that is counted by itself, makes an answer no longer.
#[test]
fn words_are_counted_once_and_not_of_summaries() {
    let words = |protocol, event: Value| read(protocol, true, stream(&[event]).as_bytes()).tokens_min;
    let both =
        json!({"id": "c", "choices": [{"index": 0, "delta": {"reasoning": "one two", "reasoning_content": "one two"}}]});
    assert_eq!(words(Protocol::Chat, both), 2);
    let summary = json!({"type": "response.reasoning_summary_text.delta", "delta": "one two"});
    assert_eq!(words(Protocol::Responses, summary), 0);
    let item = json!({"type": "reasoning", "summary": [{"type": "summary_text", "text": "one two"}]});
    assert_eq!(words(Protocol::Responses, json!({"type": "response.output_item.done", "item": item})), 0);
    let plain = json!({"output": [item, {"type": "message", "content": [{"type": "output_text", "text": "three"}]}],
        "instructions": "many words that are no output"});
    assert_eq!(read(Protocol::Responses, false, plain.to_string().as_bytes()).tokens_min, 1);
    let parts = json!([{"text": "one two", "thought": true}, {"text": "three"}]);
    assert_eq!(words(Protocol::Gemini, json!({"candidates": [{"content": {"parts": parts}}]})), 1);
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
