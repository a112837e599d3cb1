//! B1 without a gateway: whatever an agent reports of itself, the ceiling holds, or the session does not run.

use serde_json::{Value, json};

use crate::room::{Room, close_out, refs, scripted_with};

const OVER: &str = "Hand-over of the session before you";

/// What each session of the first phase's first lane came to.
pub fn ends(view: &Value) -> Vec<&str> {
    let sessions = view["phases"][0]["lanes"][0]["sessions"].as_array().unwrap();
    sessions.iter().map(|session| session["end"].as_str().unwrap_or("runs")).collect()
}

/// Conversations of `quick`: these steps first, then whoever starts from a hand-over finishes.
fn script(steps: Value) -> Value {
    json!([
        { "when": "lane `close-out`", "steps": [
            { "do": "call", "usage": 9000 }, { "do": "out", "file": "close-out.json", "content": close_out("done.txt") }
        ] },
        { "when": OVER, "steps": [
            { "do": "call", "usage": 9000 }, { "do": "write", "path": "done.txt", "content": "done\n" }
        ] },
        { "when": "lane `implement`", "steps": steps }
    ])
}

fn run(room: &Room, more: &[&str], script: Value, code: i32) -> Value {
    room.run(&refs(&scripted_with(room, "quick", more, script))).expect(code).json()
}

#[test]
fn b1_a_call_without_usage_or_with_none_fails_the_run() {
    for usage in [json!("none"), json!(0), json!({ "output": 500 })] {
        let room = Room::new();
        let view = run(&room, &[], script(json!([{ "do": "call", "usage": usage }, { "do": "hang" }])), 8);
        assert_eq!(view["status"]["failure"]["kind"], "usage-unknown", "{usage}");
        assert_eq!(ends(&view), ["usage-unknown"], "{usage}");
    }
}

#[test]
fn b1_a_driver_that_says_nothing_while_it_runs_is_refused_before_anything_starts() {
    for usage in ["at-end", "never"] {
        let room = Room::new();
        let usage = format!("--set=usage={usage}");
        let flag = room.script(script(json!([])));
        let ran = room.run(&["run", "a task", "--workflow=quick", "--driver=scripted", &usage, &flag]).expect(2);
        assert!(ran.stderr.contains("so the ceiling cannot be held"), "{ran:?}");
        let status = room.run(&["status", "--json"]).expect(0).json();
        assert_eq!(status["runs"], json!([]));
    }
}

#[test]
fn b1_a_session_is_stopped_at_the_ceiling_whatever_it_reports() {
    // 270 kB of text are 90,000 tokens at least; the ceiling of a window of 200,000 is at 80,000.
    let text = "x".repeat(270_000);
    let lie = json!([
        { "do": "call", "usage": 100 }, { "do": "write", "path": "big.txt", "content": text },
        { "do": "call", "usage": 150 },
        { "do": "hang" }
    ]);
    let huge = json!([{ "do": "call", "usage": u64::MAX }, { "do": "hang" }]);
    let parts = json!([{ "do": "call", "usage": { "input": 1, "cache_read": 79_000, "output": 1000 } }, { "do": "hang" }]);
    let sub_agent = json!([
        { "do": "call", "usage": 9000 }, { "do": "call", "usage": 90_000, "sub_agent": true }, { "do": "hang" }
    ]);
    for (name, steps) in [("lie", lie), ("huge", huge), ("parts", parts), ("sub-agent", sub_agent)] {
        let room = Room::new();
        let view = run(&room, &[], script(steps), 0);
        assert_eq!(ends(&view), ["ceiling", "completed"], "{name}");
        let largest = &view["phases"][0]["lanes"][0]["sessions"][0]["largest_permille"];
        assert!(largest.as_u64().unwrap() >= 400, "{name}: shown as measured, {largest}");
    }
}

#[test]
fn b1_a_window_that_is_too_small_is_refused_with_the_figures() {
    let room = Room::new();
    let view = run(&room, &["--set=window=2000"], script(json!([{ "do": "hang" }])), 8);
    assert_eq!(view["status"]["failure"]["kind"], "refused");
    let detail = view["detail"].as_str().unwrap();
    assert!(
        detail.contains("a window of 2000 tokens is too small") && detail.contains("half the ceiling is 400"),
        "{detail}"
    );
    let needed: u64 = detail.rsplit(' ').find_map(|word| word.parse().ok()).unwrap();
    let room = Room::new();
    let window = format!("--set=window={needed}");
    let steps = json!([{ "do": "call", "usage": 100 }, { "do": "write", "path": "done.txt", "content": "done\n" }]);
    let view = room.run(&refs(&scripted_with(&room, "quick", &[&window], script(steps)))).json();
    assert_eq!(ends(&view), ["completed"], "what it says would do, does: {detail}");
}

#[test]
fn b1_at_the_soft_mark_a_session_hands_over_in_band_else_mechanically() {
    let soft = json!([{ "do": "call", "usage": 60_000 }, { "do": "wait-hand-over" }]);
    let room = Room::new();
    let view = run(&room, &[], script(soft.clone()), 0);
    assert_eq!(ends(&view), ["handed-over", "completed"]);
    assert_eq!(view["phases"][0]["lanes"][0]["sessions"][0]["handing_over"], true);
    let room = Room::new();
    let view = run(&room, &["--set=hand_over=mechanical"], script(soft), 0);
    assert_eq!(ends(&view), ["ceiling", "completed"]);
}

#[test]
fn b1_a_hand_over_that_does_not_come_is_made_after_its_time() {
    let room = Room::new();
    let quick = include_str!("../../../../profiles/product-dev/workflows/quick.toml").replace("\"quick\"", "\"hasty\"");
    room.file(".agentops/workflows/hasty.toml", &format!("{quick}\n[limits]\nhand-over-seconds-max = 1\n"));
    let mut script = script(json!([{ "do": "call", "usage": 60_000 }, { "do": "wait-hand-over" }]));
    script[2]["on_hand_over"] = json!([{ "do": "write", "path": "half.txt", "content": "half\n" }, { "do": "hang" }]);
    let view = room.run(&refs(&scripted_with(&room, "hasty", &[], script))).expect(0).json();
    assert_eq!(ends(&view), ["hand-over-timeout", "completed"]);
    let branch = view["branch"].as_str().unwrap();
    assert_eq!(room.git(&["show", &format!("{branch}:half.txt")]), "half", "what it did is kept");
}

#[test]
fn two_hand_overs_without_progress_need_a_decision_and_one_with_progress_does_not() {
    let room = Room::new();
    let soft = json!([{ "do": "call", "usage": 60_000 }, { "do": "wait-hand-over" }]);
    let mut idle = script(soft.clone());
    idle.as_array_mut().unwrap().remove(1);
    let view = run(&room, &[], idle, 4);
    assert_eq!(view["status"]["decision"]["kind"], "no-progress");
    assert_eq!(ends(&view), ["handed-over", "handed-over"]);
    // A person looked and says "go on": two more before they are asked again.
    let view = room.run(&["resume", view["run"].as_str().unwrap(), "--json"]).expect(4).json();
    assert_eq!(ends(&view).len(), 4);

    let room = Room::new();
    let mut busy = script(soft);
    busy[1]["when"] = "session 4".into();
    busy[2]["steps"] = json!([
        { "do": "call", "usage": 60_000 }, { "do": "append", "path": "done.txt", "content": "more\n" },
        { "do": "wait-hand-over" }
    ]);
    busy[2]["on_hand_over"] = json!([{ "do": "append", "path": "done.txt", "content": "more\n" }, { "do": "finish" }]);
    let view = run(&room, &[], busy, 0);
    assert_eq!(ends(&view), ["handed-over", "handed-over", "handed-over", "completed"]);
}
