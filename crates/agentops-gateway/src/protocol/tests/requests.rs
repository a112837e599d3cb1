//! What a request says, and how its limit is lowered.

use proptest::prelude::*;

use super::*;

#[test]
fn heads_of_real_clients_are_read() {
    let claude =
        json!({"model": "claude-opus-5-5", "messages": [], "system": [], "tools": [{"name": "Bash"}], "max_tokens": 128_000,
        "thinking": {"type": "adaptive"}, "context_management": {"edits": []}, "stream": true})
        .to_string();
    let head = head_of(Protocol::Messages, &claude);
    assert_eq!((head.model.as_deref(), head.stream, head.thinking), (Some("claude-opus-5-5"), true, None));
    assert_eq!(head.output.as_ref().map(|limit| (limit.tokens, &claude[limit.at.clone()])), Some((Some(128_000), "128000")));
    assert!(head.has_tools && !head.server_tools && !head.server_history);

    let codex =
        json!({"model": "gpt-scripted", "stream": true, "input": [], "tools": [{"type": "function", "name": "exec_command"},
        {"type": "namespace", "name": "mcp__x"}], "reasoning": {"effort": "high"}, "store": false})
        .to_string();
    let head = head_of(Protocol::Responses, &codex);
    assert!(head.stream && head.has_tools && !head.server_tools && head.output.is_none() && !head.server_history);

    let opencode = json!({"model": "m", "max_tokens": 32_000, "messages": [], "tools": [], "stream": true}).to_string();
    let head = head_of(Protocol::Chat, &opencode);
    assert_eq!((head.output.and_then(|limit| limit.tokens), head.has_tools, head.answers), (Some(32_000), false, 1));

    let gemini =
        json!({"contents": [], "tools": [{"functionDeclarations": []}], "generationConfig": {"topP": 1, "candidateCount": 2,
        "maxOutputTokens": 99, "thinkingConfig": {"includeThoughts": true, "thinkingBudget": 8192}}})
        .to_string();
    let head = head_of(Protocol::Gemini, &gemini);
    assert_eq!((head.thinking, head.answers, head.output.and_then(|limit| limit.tokens)), (Some(8192), 2, Some(99)));
    assert!(head.has_tools && !head.server_tools);
}

#[test]
fn what_the_provider_keeps_or_runs_is_told() {
    for body in [r#"{"previous_response_id":"r"}"#, r#"{"conversation":{"id":"c"}}"#, r#"{"prompt":{"id":"p"}}"#] {
        assert!(head_of(Protocol::Responses, body).server_history, "{body}");
    }
    assert!(!head_of(Protocol::Responses, r#"{"previous_response_id":null}"#).server_history);
    assert!(head_of(Protocol::Gemini, r#"{"cachedContent":"c"}"#).server_history);
    assert!(head_of(Protocol::Chat, r#"{"previous_response_id":"r"}"#).server_history);
    assert!(head_of(Protocol::Messages, r#"{"tools":[{"type":"web_search_20250305","name":"web_search"}]}"#).server_tools);
    assert!(head_of(Protocol::Responses, r#"{"tools":[{"type":"web_search"}]}"#).server_tools);
    assert!(head_of(Protocol::Gemini, r#"{"tools":[{"googleSearch":{}}]}"#).server_tools);
}

#[test]
fn thinking_budgets_are_read() {
    let body = r#"{"thinking":{"type":"enabled","budget_tokens":31999}}"#;
    assert_eq!(head_of(Protocol::Messages, body).thinking, Some(31_999));
    assert_eq!(head_of(Protocol::Gemini, r#"{"generationConfig":{"thinkingConfig":{"thinkingBudget":-1}}}"#).thinking, None);
    assert_eq!(
        head_of(Protocol::Gemini, r#"{"generationConfig":{"thinking_config":{"thinking_budget":5}}}"#).thinking,
        Some(5)
    );
}

/// How a body is refused; `None`: its head can be read.
fn refused(protocol: Protocol, body: &str) -> Option<String> {
    let layout = Layout::of(body.as_bytes(), protocol.items_key()).unwrap();
    head(protocol, body.as_bytes(), &layout.fields).err().map(|error| error.to_string())
}

#[test]
fn null_is_no_limit_where_the_provider_takes_it_so() {
    for (protocol, body, limited) in [
        (Protocol::Chat, r#"{"max_tokens":null,"n":null}"#, r#"{"max_tokens":7,"n":null}"#),
        (Protocol::Responses, r#"{"max_output_tokens":null}"#, r#"{"max_output_tokens":7}"#),
        (Protocol::Gemini, r#"{"generationConfig":null}"#, r#"{"generationConfig":{"maxOutputTokens":7}}"#),
        (
            Protocol::Gemini,
            r#"{"generation_config":{"max_output_tokens":null,"candidateCount":null}}"#,
            r#"{"generation_config":{"max_output_tokens":7,"candidateCount":null}}"#,
        ),
    ] {
        let head = head_of(protocol, body);
        assert_eq!((head.output.as_ref().and_then(|limit| limit.tokens), head.answers), (None, 1), "{body}");
        let edited = limit_output(protocol, body.as_bytes(), &head, 7).apply(body.as_bytes());
        assert_eq!(String::from_utf8(edited).unwrap(), limited);
    }
    assert!(refused(Protocol::Messages, r#"{"max_tokens":null}"#).unwrap().contains("null"));
    assert_eq!(head_of(Protocol::Messages, r#"{"max_tokens":0}"#).output.unwrap().tokens, Some(0));
}

/// Whatever is no plain whole number is refused by name: neither guessed at nor replaced with something valid.
#[test]
fn b1_a_number_that_cannot_be_read_is_refused_by_name() {
    let limit = "limit of the output";
    let places = [
        (Protocol::Messages, r#"{"max_tokens":@}"#, limit),
        (Protocol::Responses, r#"{"max_output_tokens":@}"#, limit),
        (Protocol::Chat, r#"{"max_tokens":@}"#, limit),
        (Protocol::Chat, r#"{"max_completion_tokens":@}"#, limit),
        (Protocol::Gemini, r#"{"generationConfig":{"maxOutputTokens":@}}"#, limit),
        (Protocol::Gemini, r#"{"generation_config":{"max_output_tokens":@}}"#, limit),
        (Protocol::Chat, r#"{"n":@}"#, "number of answers"),
        (Protocol::Chat, r#"{"best_of":@}"#, "number of answers"),
        (Protocol::Responses, r#"{"n":@}"#, "number of answers"),
        (Protocol::Messages, r#"{"n":@}"#, "number of answers"),
        (Protocol::Gemini, r#"{"generationConfig":{"candidateCount":@}}"#, "number of answers"),
        (Protocol::Gemini, r#"{"generationConfig":{"candidate_count":@}}"#, "number of answers"),
        (Protocol::Messages, r#"{"thinking":{"budget_tokens":@}}"#, "budget of thinking"),
        (Protocol::Responses, r#"{"reasoning":{"max_tokens":@}}"#, "budget of thinking"),
        (Protocol::Chat, r#"{"reasoning":{"max_tokens":@}}"#, "budget of thinking"),
        (Protocol::Gemini, r#"{"generationConfig":{"thinkingConfig":{"thinkingBudget":@}}}"#, "budget of thinking"),
        (Protocol::Gemini, r#"{"generationConfig":{"thinking_config":{"thinking_budget":@}}}"#, "budget of thinking"),
    ];
    let numbers = [
        "\"5\"",
        "5.5",
        "5.05",
        "5.",
        ".0",
        "5.0.0",
        "5.0e1",
        "5e0",
        "1e400",
        "-5.0",
        "05.0",
        "2147483648.0",
        "-5",
        "-0",
        "NaN",
        "nan",
        "Infinity",
        "true",
        "[5]",
        "{\"a\":5}",
        "007",
        "2147483648",
        "99999999999999999999999",
    ];
    for (protocol, body, name) in places {
        for number in numbers {
            let words = refused(protocol, &body.replace('@', number));
            assert!(words.as_ref().is_some_and(|words| words.contains(name)), "{body} {number}: {words:?}");
        }
        for number in ["5", "5.0", "5.000"] {
            assert_eq!(refused(protocol, &body.replace('@', number)), None, "{body} {number}");
        }
    }
    for (protocol, body) in [
        (Protocol::Chat, r#"{"n":0}"#),
        (Protocol::Chat, r#"{"n":129}"#),
        (Protocol::Chat, r#"{"n":1,"best_of":2}"#),
        (Protocol::Chat, r#"{"max_tokens":5,"n_predict":100000}"#),
        (Protocol::Chat, r#"{"max_tokens":0}"#),
        (Protocol::Chat, r#"{"max_tokens":0.0}"#),
        (Protocol::Responses, r#"{"max_output_tokens":0}"#),
        (Protocol::Gemini, r#"{"generationConfig":{"candidateCount":1,"candidate_count":8}}"#),
        (Protocol::Gemini, r#"{"generationConfig":{"max\u004futputTokens":5}}"#),
        (Protocol::Gemini, r#"{"generationConfig":{"thinkingConfig":{"thinkingBudget":5,"thinking_budget":6}}}"#),
        (Protocol::Gemini, r#"{"generationConfig":[]}"#),
        (Protocol::Chat, r#"{"max_tokens":5,"Max_Tokens":100000}"#),
        (Protocol::Chat, r#"{"max_tokens":5,"N":100}"#),
        (Protocol::Messages, r#"{"messages":[],"Messages":[]}"#),
        (Protocol::Gemini, r#"{"generationConfig":{"maxOutputTokens":5,"maxoutputtokens":9}}"#),
        (Protocol::Gemini, r#"{"generationConfig":nan}"#),
        (Protocol::Messages, r#"{"thinking":{"budget_tokens":5,"budget_tokens":6}}"#),
        (Protocol::Messages, r#"{"max_tokens":5,"fallbacks":[{"model":"m"},{"model":"m","max_tokens":100000}]}"#),
    ] {
        assert!(refused(protocol, body).is_some(), "{body}");
    }
    for fallbacks in [r#""default""#, r#"[{"model":"m"}]"#, r#"[{"model":"m","max_tokens":null}]"#] {
        assert_eq!(refused(Protocol::Messages, &format!("{{\"max_tokens\":5,\"fallbacks\":{fallbacks}}}")), None);
    }
}

/// Clients whose numbers are floats write them so. A lowered limit has no fraction.
#[test]
fn a_fraction_of_zeros_is_none() {
    for (protocol, body, lowered) in [
        (Protocol::Messages, r#"{"max_tokens":100.0}"#, r#"{"max_tokens":7}"#),
        (Protocol::Responses, r#"{"max_output_tokens":100.0}"#, r#"{"max_output_tokens":7}"#),
        (Protocol::Chat, r#"{"max_completion_tokens": 100.00 }"#, r#"{"max_completion_tokens": 7 }"#),
        (
            Protocol::Gemini,
            r#"{"generationConfig":{"thinkingConfig":{"thinkingBudget":-1.0},"maxOutputTokens":100.0}}"#,
            r#"{"generationConfig":{"thinkingConfig":{"thinkingBudget":-1.0},"maxOutputTokens":7}}"#,
        ),
    ] {
        let head = head_of(protocol, body);
        assert_eq!((head.output.as_ref().and_then(|limit| limit.tokens), head.thinking), (Some(100), None), "{body}");
        let edited = limit_output(protocol, body.as_bytes(), &head, 7).apply(body.as_bytes());
        assert_eq!(String::from_utf8(edited).unwrap(), lowered);
    }
    let gemini = r#"{"generationConfig":{"candidateCount":2.0,"thinkingConfig":{"thinkingBudget":8192.0}}}"#;
    let head = head_of(Protocol::Gemini, gemini);
    assert_eq!((head.answers, head.thinking), (2, Some(8192)));
}

#[test]
fn two_limits_are_refused() {
    for (protocol, body) in [
        (Protocol::Chat, r#"{"max_tokens":1,"max_completion_tokens":2}"#),
        (Protocol::Gemini, r#"{"generationConfig":{"maxOutputTokens":1,"max_output_tokens":2}}"#),
        (Protocol::Gemini, r#"{"generationConfig":{"maxOutputTokens":1,"maxOutputTokens":2}}"#),
        (Protocol::Gemini, r#"{"generationConfig":{},"generation_config":{}}"#),
    ] {
        let layout = Layout::of(body.as_bytes(), protocol.items_key()).unwrap();
        assert!(head(protocol, body.as_bytes(), &layout.fields).is_err(), "{body}");
    }
}

#[test]
fn a_limit_is_added_under_the_name_that_the_model_takes() {
    for (model, key) in [
        ("gpt-5.2", "max_completion_tokens"),
        ("openai/o3-mini", "max_completion_tokens"),
        ("qwen3", "max_tokens"),
        ("gpt-oss-120b", "max_tokens"),
    ] {
        let body = json!({"model": model}).to_string();
        let edit = limit_output(Protocol::Chat, body.as_bytes(), &head_of(Protocol::Chat, &body), 9);
        let edited: Value = serde_json::from_slice(&edit.apply(body.as_bytes())).unwrap();
        assert_eq!(edited[key], 9, "{model}");
    }
}

proptest! {
    /// Wherever the limit stands, or where there is none: afterwards it is the one that was set, and nothing else changed.
    #[test]
    fn a_limit_that_was_set_is_read_again(
        protocol in prop::sample::select(Protocol::ALL.as_slice()),
        before in prop::option::of(1_u64..1_000_000),
        tokens in 1_u64..1_000_000,
        config in 0_u8..4,
        others in prop::collection::vec(("[a-z]{3}", "[a-z{}\\[\\],:\" ]{0,9}"), 0..4),
        space in "[ \n]?",
    ) {
        let mut members: Vec<String> =
            others.iter().enumerate().map(|(n, (key, text))| format!("\"{key}{n}\":{space}{}", json!(text))).collect();
        let key = match protocol {
            Protocol::Messages => "max_tokens",
            Protocol::Responses => "max_output_tokens",
            Protocol::Chat => "max_completion_tokens",
            Protocol::Gemini => "max_output_tokens",
        };
        let limit = before.map(|before| format!("\"{key}\":{space}{before}"));
        if protocol == Protocol::Gemini {
            let inner: Vec<String> = (config > 1).then(|| "\"topK\": 4".to_owned()).into_iter().chain(limit.clone()).collect();
            if config == 0 && limit.is_none() {
                members.push(format!("\"generationConfig\":{space}null"));
            } else if config > 0 || limit.is_some() {
                members.push(format!("\"generationConfig\":{space}{{{space}{}{space}}}", inner.join(",")));
            }
        } else {
            members.extend(limit);
        }
        let body = format!("{space}{{{space}{}{space}}}", members.join(&format!("{space},")));
        let head = head_of(protocol, &body);
        prop_assert_eq!(head.output.as_ref().and_then(|limit| limit.tokens), before);
        let edited = limit_output(protocol, body.as_bytes(), &head, tokens).apply(body.as_bytes());
        let edited = String::from_utf8(edited).unwrap();
        prop_assert_eq!(head_of(protocol, &edited).output.and_then(|limit| limit.tokens), Some(tokens));
        let (old, new): (Value, Value) = (serde_json::from_str(&body).unwrap(), serde_json::from_str(&edited).unwrap());
        for (key, _) in old.as_object().unwrap().iter().filter(|(key, _)| !key.contains("max") && *key != "generationConfig") {
            prop_assert_eq!(&old[key], &new[key]);
        }
    }
}

#[test]
fn compactions_are_known_by_their_shape() {
    let no_tools = head_of(Protocol::Chat, "{}");
    let tools = head_of(Protocol::Chat, r#"{"tools":[{}]}"#);
    let asks = |protocol, head: &Head, item: Value| is_compaction(protocol, head, &[item.to_string().as_bytes()]);
    let claude = "CRITICAL: Respond with TEXT ONLY. Do NOT call any tools.\n\nYour task is to create a detailed summary of";
    let as_part =
        json!({"role": "user", "content": [{"type": "tool_result", "content": "x"}, {"type": "text", "text": claude}]});
    assert!(asks(Protocol::Messages, &tools, as_part));
    assert!(asks(Protocol::Messages, &tools, json!({"role": "user", "content": claude})));
    // A reminder of the system's may follow it.
    let (first, then) =
        (json!({"role": "user", "content": claude}).to_string(), json!({"role": "system", "content": "x"}).to_string());
    assert!(is_compaction(Protocol::Messages, &tools, &[first.as_bytes(), then.as_bytes()]));
    // What a tool printed asks for nothing, nor does the model.
    let printed = json!({"role": "user", "content": [{"type": "tool_result", "content": claude}]});
    assert!(!asks(Protocol::Messages, &tools, printed));
    assert!(!asks(Protocol::Messages, &tools, json!({"role": "assistant", "content": claude})));

    let codex = json!({"type": "message", "role": "user", "content": [{"type": "input_text",
        "text": "You are performing a CONTEXT CHECKPOINT COMPACTION. Create a handoff summary"}]});
    assert!(asks(Protocol::Responses, &no_tools, codex.clone()) && !asks(Protocol::Responses, &tools, codex));
    assert!(asks(Protocol::Responses, &no_tools, json!({"type": "compaction_trigger"})));
    let opencode = json!({"role": "user", "content": "Here is the conversation so far:\n\n<conversation>\n"});
    assert!(asks(Protocol::Chat, &no_tools, opencode.clone()) && !asks(Protocol::Chat, &tools, opencode));
    let gemini = json!({"role": "user", "parts": [{"text": "Then, generate the updated <state_snapshot>."}]});
    assert!(asks(Protocol::Gemini, &no_tools, gemini.clone()) && !asks(Protocol::Gemini, &tools, gemini));
    for protocol in Protocol::ALL {
        assert!(
            !is_compaction(protocol, &no_tools, &[])
                && !asks(protocol, &no_tools, json!({"role": "user", "content": "summarise"}))
        );
    }
}

#[test]
fn b1_what_brings_content_that_nobody_sees_is_refused_by_its_name() {
    use Uncountable::{Container, Preset};
    let tool = |container: Value| json!({"tools": [{"type": "code_interpreter", "container": container}]});
    for (protocol, body, why) in [
        (Protocol::Chat, json!({"preset": "p"}), Some(Preset)),
        (Protocol::Chat, json!({"model": "gpt-4o@preset/p"}), Some(Preset)),
        (Protocol::Chat, json!({"model": "gpt-4o", "models": ["@preset/p"]}), Some(Preset)),
        (Protocol::Responses, json!({"preset": "p"}), Some(Preset)),
        (Protocol::Messages, json!({"preset": "p"}), Some(Preset)),
        (Protocol::Chat, json!({"preset": null, "model": "gpt-4o"}), None),
        (Protocol::Messages, json!({"container": "c"}), Some(Container)),
        (Protocol::Messages, json!({"container": {"skills": [{"skill_id": "s"}]}}), Some(Container)),
        (Protocol::Messages, json!({"container": null}), None),
        (Protocol::Responses, tool(json!({"type": "auto", "file_ids": ["f"]})), Some(Container)),
        (Protocol::Responses, tool(json!("c")), Some(Container)),
        (Protocol::Responses, tool(json!({"type": "auto"})), None),
        (Protocol::Responses, tool(json!({"type": "auto", "file_ids": []})), None),
    ] {
        assert_eq!(head_of(protocol, &body.to_string()).uncountable, why, "{protocol:?}, {body}");
    }
}

/// Wherever a tool may stand. What a client's own tool takes may have any name.
#[test]
fn b1_what_a_tool_brings_is_refused_however_deep_it_stands() {
    use Uncountable::{Container, FileId};
    let shell = |environment: Value| json!({"type": "shell", "environment": environment});
    let own = json!({"type": "function", "name": "n", "parameters": {"properties": {"container_id": {"type": "string"},
        "skills": {"default": ["a"]}, "file_ids": {"enum": ["a"]}}, "required": ["file_ids"]}});
    for (tool, why) in [
        (shell(json!({"type": "container_reference", "container_id": "c"})), Some(Container)),
        (shell(json!({"type": "container_auto", "file_ids": ["f"]})), Some(Container)),
        (
            shell(json!({"type": "container_auto", "skills": [{"type": "skill_reference", "skill_id": "s"}]})),
            Some(Container),
        ),
        (json!({"type": "code_interpreter", "container": "c"}), Some(Container)),
        (json!({"type": "image_generation", "input_image_mask": {"file_id": "f"}}), Some(FileId)),
        (shell(json!({"type": "container_auto", "skills": [], "file_ids": [], "container_id": null})), None),
        (shell(json!({"type": "container_auto", "container": {"id": "c"}})), Some(Container)),
        (shell(json!({"type": "container_auto", "skills": ["s"]})), Some(Container)),
        (shell(json!({"type": "local"})), None),
        (shell(json!({"type": "local", "skills": [{"name": "n", "description": "d", "path": "/p"}]})), None),
        (own, None),
    ] {
        let tools = json!([tool]);
        let nested = json!([{"type": "namespace", "name": "n", "tools": tools}]);
        for body in [json!({"tools": tools}), json!({"tools": nested}), json!({"additional_tools": tools})] {
            assert_eq!(head_of(Protocol::Responses, &body.to_string()).uncountable, why, "{body}");
        }
        for kind in ["tool_search_output", "additional_tools"] {
            let item = json!({"type": kind, "call_id": "x", "tools": nested}).to_string();
            assert_eq!(media(Protocol::Responses, BodyPart::Item, item.as_bytes()).uncountable, why, "{item}");
        }
    }
    let call = json!({"type": "shell_call", "call_id": "c", "action": {"commands": ["ls"]},
        "environment": {"type": "container_reference", "container_id": "c"}});
    assert_eq!(media(Protocol::Responses, BodyPart::Item, call.to_string().as_bytes()).uncountable, Some(Container));
    let deep = format!(r#"{{"tools":{}{}}}"#, "[".repeat(40), "]".repeat(40));
    assert_eq!(head_of(Protocol::Responses, &deep).uncountable, Some(Container));
}

/// An item whose content the provider keeps under its id. What agents send back has its content with it.
#[test]
fn b1_an_item_without_its_content_is_refused() {
    let stored = [
        json!({"type": "message", "id": "i", "role": "assistant", "content": null}),
        json!({"type": "function_call", "id": "i"}),
        json!({"type": "function_call", "id": "i", "call_id": "c", "status": "completed"}),
        json!({"type": "reasoning", "id": "i", "summary": []}),
        json!({"type": "reasoning", "id": "i", "summary": [{"type": "summary_text", "text": "t"}], "encrypted_content": null}),
        json!({"type": "compaction", "id": "i"}),
        json!({"type": "file_search_call", "id": "i", "queries": ["q"], "status": "completed", "results": null}),
        json!({"type": "a_new_call", "id": "i", "status": "completed"}),
    ];
    for item in stored {
        let media = media(Protocol::Responses, BodyPart::Item, item.to_string().as_bytes());
        assert_eq!(media.uncountable, Some(Uncountable::ItemReference), "{item}");
    }
    let text = |kind: &str| json!([{"type": kind, "text": "t"}]);
    let whole = [
        json!({"type": "message", "id": "i", "role": "assistant", "content": text("output_text")}),
        json!({"type": "function_call", "id": "i", "call_id": "c", "name": "n", "arguments": "{}"}),
        json!({"type": "function_call_output", "id": "i", "call_id": "c", "output": ""}),
        json!({"type": "reasoning", "id": "i", "summary": [], "content": null, "encrypted_content": "AAAA"}),
        json!({"type": "reasoning", "id": "i", "summary": [], "content": text("reasoning_text")}),
        json!({"type": "reasoning", "summary": text("summary_text"), "content": null}),
        json!({"type": "compaction", "id": "i", "encrypted_content": "AAAA"}),
        json!({"type": "web_search_call", "id": "i", "status": "completed", "action": {"type": "search", "query": "q"}}),
        json!({"type": "file_search_call", "id": "i", "queries": ["q"], "results": [{"text": "t"}]}),
    ];
    for item in whole {
        let media = media(Protocol::Responses, BodyPart::Item, item.to_string().as_bytes());
        assert_eq!(media.uncountable, None, "{item}");
    }
    let upload = json!({"content": [{"type": "container_upload", "file_id": "f"}]}).to_string();
    assert_eq!(media(Protocol::Messages, BodyPart::Item, upload.as_bytes()).uncountable, Some(Uncountable::FileId));
}
