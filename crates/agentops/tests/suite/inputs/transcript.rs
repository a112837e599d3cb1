//! Session files of agent programs: a torn, unknown or strange record costs that record, and it is named.

use super::{Made, made, marked, utf16};
use serde_json::{Value, json};

#[track_caller]
fn transcript(content: impl AsRef<[u8]>, budget: u64) -> Made {
    made("transcript", content, budget)
}

/// A record of Claude Code.
fn record(speaker: &str, content: impl Into<Value>) -> String {
    json!({ "type": speaker, "sessionId": "s1", "cwd": "/shop", "message": { "role": speaker, "content": content.into() } })
        .to_string()
}

/// A command and what it printed.
fn command(id: &str, line: &str, output: impl Into<Value>) -> [String; 2] {
    [
        record("assistant", json!([{ "type": "tool_use", "id": id, "name": "Bash", "input": { "command": line } }])),
        record("user", json!([{ "type": "tool_result", "tool_use_id": id, "content": output.into() }])),
    ]
}

/// A session with a task, a failing test and an end.
fn session() -> Vec<String> {
    let mut lines = vec![record("user", "Fix the cart total. Never touch billing.py.")];
    for at in 0..30 {
        lines.extend(command(&format!("t{at}"), &format!("cat module_{at}.py"), format!("value_{at} = {at}\n").repeat(20)));
    }
    lines.extend(command("end", "pytest -q", "FAILED tests/test_cart.py::test_total - assert 3 == 4\n1 failed in 0.1s"));
    lines.push(record("assistant", "The total ignores the discount; cart.py line 12 adds it twice."));
    lines
}

const FACTS: [&str; 3] = ["Never touch billing.py", "test_cart.py::test_total", "adds it twice"];

#[test]
fn a_byte_order_mark_changes_nothing() {
    let plain = transcript(session().join("\n"), 600);
    plain.holds(&FACTS).lacks(&["{\"type\""]);
    assert_eq!(transcript(marked(&session().join("\n")), 600).text, plain.text);
    assert_eq!(transcript(utf16(&session().join("\n")), 600).text, plain.text);
    assert_eq!(transcript(session().join("\r\n"), 600).text, plain.text);
}

#[test]
fn what_stands_behind_a_broken_line_is_read_and_the_line_is_named() {
    let mut lines = session();
    lines.insert(20, "{\"type\":\"attachment\",\"content\":\"half writ".to_owned());
    let made = transcript(lines.join("\n"), 600);
    made.holds(&FACTS).names_a_loss();
    assert!(made.view["fidelity"]["omitted"].to_string().contains("line 21"), "{:#}", made.view["fidelity"]);
}

#[test]
fn a_broken_first_line_hides_no_session() {
    let mut lines = session();
    lines.insert(0, "undefined".to_owned());
    transcript(lines.join("\n"), 600).holds(&FACTS).lacks(&["{\"type\""]);
}

#[test]
fn two_records_on_one_line_are_both_read() {
    let lines = session();
    let (last, rest) = lines.split_last().unwrap();
    transcript(format!("{}{last}\n", rest.join("\n")), 600).holds(&FACTS);
}

#[test]
fn a_torn_end_costs_only_itself() {
    let text = session().join("\n");
    let torn = format!("{text}\n{}", &record("assistant", "I will now write the fix.")[..60]);
    transcript(torn, 600).holds(&FACTS).names_a_loss();
}

#[test]
fn a_picture_is_named_and_not_printed() {
    let mut lines = session();
    let picture = json!({ "type": "image", "source": { "type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo".repeat(3000) } });
    lines.insert(1, record("user", json!([{ "type": "text", "text": "The button is green, see the picture." }, picture])));
    let made = transcript(lines.join("\n"), 700);
    made.holds(&FACTS).holds(&["The button is green"]).lacks(&["iVBORw0KGgoiVBORw0KGgo"]);
}

#[test]
fn records_of_an_unknown_type_hide_no_other() {
    let mut lines = session();
    for at in [1, 9, 30] {
        lines.insert(at, json!({ "type": "file-history-delta", "messageId": at, "delta": { "a": [1, 2] } }).to_string());
    }
    lines.push(json!({ "type": "last-prompt", "leafUuid": "missing" }).to_string());
    transcript(lines.join("\n"), 600).holds(&FACTS);
}

#[test]
fn a_field_of_an_unexpected_shape_costs_only_itself() {
    let mut lines = session();
    lines
        .insert(3, json!({ "type": "assistant", "message": { "role": "assistant", "content": { "text": 7 } } }).to_string());
    lines.insert(5, json!({ "type": "user", "message": "only a text" }).to_string());
    lines.insert(7, json!({ "type": 12, "message": null }).to_string());
    lines.insert(9, "[1, 2, 3]".to_owned());
    transcript(lines.join("\n"), 600).holds(&FACTS);
}

#[test]
fn a_result_in_blocks_is_read_like_a_text() {
    let mut lines = session();
    let blocks = json!([
        { "type": "text", "text": "Traceback (most recent call last):\nKeyError: 'discount_77'" },
        { "type": "resource", "uri": "file:///shop/log" },
    ]);
    lines.splice(40..40, command("blocks", "python cart.py", blocks));
    transcript(lines.join("\n"), 700).holds(&FACTS).holds(&["KeyError: 'discount_77'"]);
}

#[test]
fn history_before_a_parent_that_is_missing_is_read() {
    let linked = |at: usize, line: &str| {
        let mut value: Value = serde_json::from_str(line).unwrap();
        value["uuid"] = json!(format!("u{at}"));
        value["parentUuid"] = if at == 40 { json!("never written") } else { json!(format!("u{}", at.saturating_sub(1))) };
        value.to_string()
    };
    let lines: Vec<String> = session().iter().enumerate().map(|(at, line)| linked(at, line)).collect();
    transcript(lines.join("\n"), 600).holds(&FACTS);
}

#[test]
fn a_summary_of_a_compaction_is_not_said_by_the_user() {
    let item = |payload: Value| {
        json!({ "timestamp": "2026-09-01T10:00:00Z", "type": "response_item", "payload": payload }).to_string()
    };
    let said = |role: &str, text: &str| {
        item(json!({ "type": "message", "role": role, "content": [{ "type": "input_text", "text": text }] }))
    };
    let lines = [
        json!({ "type": "session_meta", "payload": { "id": "x", "cwd": "/shop" } }).to_string(),
        said("user", "Make the webhook idempotent."),
        json!({ "type": "compacted", "payload": { "message": "So far: key webhook-7 was chosen.", "replacement_history": [] } }).to_string(),
        said("assistant", "Done."),
    ];
    let made = transcript(lines.join("\n"), 400);
    made.holds(&["Make the webhook idempotent", "key webhook-7 was chosen"]);
}

#[test]
fn an_empty_session_is_no_success_over_a_loss() {
    let lines = [
        json!({ "type": "queue-operation", "operation": "enqueue" }).to_string(),
        "{ not json at all".to_owned(),
        json!({ "type": "summary", "summary": "Cart total fixed", "leafUuid": "u" }).to_string(),
    ];
    transcript(lines.join("\n"), 300).accounts_for("not json at all");
}
