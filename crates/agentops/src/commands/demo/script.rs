//! What the scripted agent of the demo does, phase by phase.

use serde_json::{Value, json};

const FINDINGS_CODE: &str = "## Findings\n\n- F1: `export_csv` in src/lib.rs:12 is the only way out; it takes a slice of `Note`.\n\
- F2: quoting is done by hand at src/lib.rs:15, so JSON needs its own escaping.\n\n## Dead ends\n\n- No serializer is among the dependencies.\n";
const FINDINGS_TESTS: &str = "## Findings\n\n- F3: tests sit beside the code in src/lib.rs:21 and run with `cargo test`.\n\n## Dead ends\n\n\
- There is no integration test folder.\n";
const PLAN: &str = "## Goal\n\nNotes can be exported as JSON that any parser reads.\n\n## Steps\n\n1. src/lib.rs: `export_json`, escaping quotes, \
backslashes and control characters.\n2. Tests beside it.\n\n## Tests\n\n`json_escapes_titles`, `json_of_nothing` in src/lib.rs.\n\n## Risks\n\nWrong \
escaping; the tests name each case.\n";
const HANDOVER: &str = "# Hand-over\n\nDone: read src/lib.rs, wrote the signature of `export_json`.\nNext: the escaping, then the tests of the plan.\n\
Decision: no dependency for two fields.\n";

fn first_try(source: &str) -> String {
    // The first attempt forgets to escape: its own test shows it.
    with_json(
        source,
        "        out.push_str(&format!(\"{{\\\"title\\\":\\\"{}\\\",\\\"done\\\":{}}}\", note.title, note.done));\n",
        "",
    )
}

fn second_try(source: &str) -> String {
    with_json(
        source,
        "        out.push_str(&format!(\"{{\\\"title\\\":\\\"{}\\\",\\\"done\\\":{}}}\", escape(&note.title), note.done));\n",
        "\nfn escape(text: &str) -> String {\n    let mut out = String::new();\n    for c in text.chars() {\n        match c {\n            \
'\"' | '\\\\' => out.extend(['\\\\', c]),\n            c if c.is_control() => out.push_str(&format!(\"\\\\u{:04x}\", c as u32)),\n            \
c => out.push(c),\n        }\n    }\n    out\n}\n",
    )
}

fn with_json(source: &str, line: &str, helper: &str) -> String {
    let function = format!(
        "/// All notes as a JSON array.\npub fn export_json(notes: &[Note]) -> String {{\n    let mut out = String::from(\"[\");\n    for (index, note) in \
notes.iter().enumerate() {{\n        if index > 0 {{\n            out.push(',');\n        }}\n{line}    }}\n    out.push(']');\n    out\n}}\n{helper}\n"
    );
    let tests = "\n    #[test]\n    fn json_escapes_titles() {\n        let notes = [Note { title: \"say \\\"hi\\\"\".into(), done: true }];\n        \
assert_eq!(export_json(&notes), r#\"[{\"title\":\"say \\\"hi\\\"\",\"done\":true}]\"#);\n    }\n\n    #[test]\n    fn json_of_nothing() {\n        \
assert_eq!(export_json(&[]), \"[]\");\n    }\n}\n";
    let (code, old_tests) = source.split_once("#[cfg(test)]").unwrap_or((source, ""));
    let old_tests = old_tests.trim_end().trim_end_matches('}').trim_end();
    format!("{code}{function}#[cfg(test)]{old_tests}\n{tests}")
}

/// The script as JSON. A conversation is chosen by the first of its marks that the session's texts hold.
pub fn script() -> String {
    let source = include_str!("../../../demo/src/lib.rs");
    let call = |input: u64| json!({ "do": "call", "usage": { "input": 2_000, "cache_read": input - 2_000, "output": 400 } });
    let wait = json!({ "do": "wait", "ms": 120 });
    let out = |file: &str, content: &str| json!({ "do": "out", "file": file, "content": content });
    let write = |content: String| json!({ "do": "write", "path": "src/lib.rs", "content": content });
    let session = |when: &str, steps: Vec<Value>| json!({ "when": when, "steps": steps });
    let close_out = json!({
        "learning": {
            "text": "Titles may hold quotes: every export needs its own escaping, and the test with a quoted title finds it.",
            "evidence": ["src/lib.rs", "F2", "tests"]
        },
        "improvement": {
            "text": "Keep one escaping test per export format beside the code, so that a new format starts from it.",
            "evidence": ["src/lib.rs"]
        },
        "context": {
            "summary": "Added export_json to src/lib.rs beside export_csv, with escaping of quotes, backslashes and control characters.",
            "decisions": ["No serializer dependency for two fields."],
            "open": []
        }
    });
    let verdict = out("verdict.json", "{\"passed\": true, \"findings\": []}");
    let conversations = vec![
        session("The change that you judge", vec![call(13_000), verdict, call(17_000)]),
        session(
            "lane `code`",
            vec![call(12_000), wait.clone(), call(21_000), out("findings.md", FINDINGS_CODE), call(24_000)],
        ),
        session("lane `tests`", vec![call(11_000), wait.clone(), call(15_000), out("findings.md", FINDINGS_TESTS)]),
        session("lane `plan`", vec![call(14_000), wait.clone(), out("plan.md", PLAN), call(19_000)]),
        session("What was found wrong", vec![call(15_000), wait.clone(), write(second_try(source)), call(22_000)]),
        session(
            "Hand-over of the session before you",
            vec![call(16_000), wait.clone(), write(first_try(source)), call(31_000)],
        ),
        json!({
            // Reads on and on until it is asked to hand over, at the soft mark of 28 %.
            "when": "lane `implement`",
            "steps": [call(18_000), wait.clone(), call(33_000), wait.clone(), call(47_000), wait, call(57_000), { "do": "wait-hand-over" }],
            "on_hand_over": [out("handover.md", HANDOVER), call(60_000), { "do": "finish" }]
        }),
        session("lane `close-out`", vec![call(9_000), out("close-out.json", &close_out.to_string()), call(11_000)]),
    ];
    json!({ "conversations": conversations }).to_string()
}
