//! What an agent did, made small for the agent that goes on.
//!
//! Session files and streams of Claude Code, Codex, Gemini and opencode, ACP, messages with roles, else plain text: all become
//! one list of events (`event`), the events become atoms with values (`atoms`), and the best atoms that fit are printed in
//! order, each with the number of its message, so that the next agent can look the rest up. Nothing is rewritten: what stands in
//! the result stood in the run. It must never look at anything but the source.

mod acp;
mod atoms;
mod choice;
mod codex;
mod event;
mod facts;
mod history;
mod lines;
mod marks;
mod outputs;
mod read;
mod shell;
mod tools;

use agentops_text::tokens::text_tokens;
use choice::Legend;
use event::{Event, Events, Kind};

use crate::coverage::{self, Coverage, Omission, OtherRecords, ShownWords};
use crate::{Compressed, SourceError};

/// What a message takes beside its words, about: its role and the marks around it.
const EVENT_TOKENS: u64 = 6;

/// Makes a transcript fit into `budget` o200k tokens.
///
/// `before` counts the words of the run (what was asked, said, run, written and answered) and 6 tokens for each message, not the
/// JSON around them.
///
/// # Errors
/// None yet: a source of no known form is read as text.
pub fn compress(source: &[u8], budget: u64) -> Result<Compressed, SourceError> {
    let events = read::events(source);
    let tokens = |event: &Event| {
        let path = if let Kind::Edit { path, .. } = &event.kind { text_tokens(path) } else { 0 };
        path + text_tokens(&event.text) + EVENT_TOKENS
    };
    let before = events.list.iter().map(tokens).sum();
    let history = history::History::of(&events.list);
    let atoms = atoms::of(&events, &history);
    let (mut text, mut after) = choice::within(&events, &history, &atoms, Legend::Full, budget);
    if after > before {
        (text, after) = choice::within(&events, &history, &atoms, Legend::None, budget);
    }
    let facts = facts::of(&events, &history, &atoms);
    let (coverage, omitted) = account(&events, &text);
    Ok(Compressed::new(text, before, after, facts).covering(coverage, omitted))
}

/// Accounts for every line of every event by the number of its message, and for all other records.
fn account(events: &Events, text: &str) -> (Coverage, Vec<Omission>) {
    let shown = ShownWords::of(text);
    // Of prose, sentences are shown one by one, and one that was said twice only once.
    let is_shown = |line: &str| {
        let mut sentences = lines::sentences(line).peekable();
        shown.has_all(line) || sentences.peek().is_some() && sentences.all(|sentence| shown.has_all(sentence))
    };
    let texts = events.list.iter().map(|event| (event.at as u64, event.text.as_str()));
    let others = OtherRecords { unparsed: &events.unparsed, metadata: &events.metadata };
    coverage::by_numbered_texts(events.unit, texts, is_shown, &others)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fidelity::percent;
    use crate::{Class, OmissionReason};
    use proptest::prelude::*;

    fn text(source: &str, budget: u64) -> Compressed {
        compress(source.as_bytes(), budget).expect("a transcript")
    }

    fn lines(values: &[serde_json::Value]) -> String {
        values.iter().map(|value| format!("{value}\n")).collect()
    }

    /// A run in the form of messages with text: looks, a repro script, an edit, a failing and a passing test.
    fn run() -> String {
        let long: String = (0..200).map(|n| format!("    value_{n} = compute({n})\n")).collect();
        let messages = [
            ("system", "You are an agent."),
            ("user", "<task>\nParser drops the last token.\nNever change tests.\n</task>\nUse one command at a time."),
            ("assistant", "THOUGHT: I look at the parser first.\n\n```bash\ncat src/parser.py\n```"),
            ("user", &format!("<returncode>0</returncode>\n<output>\n{long}</output>")),
            (
                "assistant",
                "The loop ends too early because of the bound.\n\n```bash\ncat <<'EOF' > repro.py\nprint(parse_it_all('a b'))\nEOF\npython repro.py\n```",
            ),
            (
                "user",
                "<returncode>1</returncode>\n<output>\nTraceback (most recent call last):\nIndexError: list index out of range\n</output>",
            ),
            ("assistant", "Now the fix.\n\n```bash\nsed -i '7s/n - 1/n/' src/parser.py && rm repro.py\n```"),
            ("user", "<returncode>0</returncode>\n<output>\n</output>"),
            ("assistant", "Test it.\n\n```bash\npython -m pytest -q tests\n```"),
            (
                "user",
                "<returncode>1</returncode>\n<output>\nFAILED tests/test_parser.py::test_empty - AssertionError\n1 failed, 8 passed in 0.1s\n</output>",
            ),
        ];
        let line =
            |(index, (role, text)): (usize, &(&str, &str))| serde_json::json!({"role": role, "text": text, "index": index});
        lines(&messages.iter().enumerate().map(line).collect::<Vec<_>>())
    }

    #[test]
    fn what_a_successor_needs_is_kept_and_long_looks_go() {
        let made = text(&run(), 260);
        for wanted in [
            "Parser drops the last token.",
            "Never change tests.",
            "IndexError: list index out of range",
            "FAILED tests/test_parser.py::test_empty",
            "1 failed, 8 passed",
            "sed -i '7s/n - 1/n/' src/parser.py",
            "python -m pytest -q tests",
            "[8]",
        ] {
            assert!(made.text.contains(wanted), "{wanted} is missing in\n{}", made.text);
        }
        assert!(made.after <= 260 && made.before > 5 * made.after, "{} {}", made.before, made.after);
        let has = |class: Class, text: &str| made.facts.iter().any(|fact| fact.class == class && fact.text == text);
        assert!(has(Class::Path, "src/parser.py") && has(Class::FailingTest, "tests/test_parser.py::test_empty"));
        assert!(
            has(Class::Error, "IndexError: list index out of range") && has(Class::Command, "python -m pytest -q tests")
        );
        assert!(
            !made.facts.iter().any(|fact| fact.text.starts_with("print(") || fact.text == "repro.py"),
            "{:?}",
            made.facts
        );
        let report = made.fidelity();
        let score = report.score();
        assert_eq!((report.lost, score.map(percent)), (vec![], Some(99)), "the long look is not all there");
    }

    /// A larger budget shows the code around an edit, and how the project is built, before other views of the same length.
    #[test]
    fn code_around_an_edit_comes_before_other_views() {
        let view = |name: &str| (0..60).map(|n| format!("    {name}_{n} = compute({n})\n")).collect::<String>();
        let output = |text: String| ("user", format!("<returncode>0</returncode>\n<output>\n{text}</output>"));
        let said = |text: &str| ("assistant", text.to_owned());
        let messages = [
            ("user", "Use the right rate for taxes.".to_owned()),
            said("I look.\n\n```bash\nls\n```"),
            output("LICENSE\nREADME.rst\nsrc\ntox.ini\n".to_owned()),
            said("The other module first.\n\n```bash\ncat src/other.py\n```"),
            output(view("other")),
            said("This one.\n\n```bash\ncat src/tax.py\n```"),
            output(view("tax")),
            said("Now the fix.\n\n```bash\ncat <<'EOF' > src/tax.py\n    tax_30 = compute(30)\nEOF\n```"),
        ];
        let line = |(role, text): &(&str, String)| serde_json::json!({"role": role, "text": text});
        let made = text(&lines(&messages.iter().map(line).collect::<Vec<_>>()), 330);
        for wanted in ["tax_25 = compute(25)", "tax_35 = compute(35)", "tox.ini"] {
            assert!(made.text.contains(wanted), "{wanted} is missing in\n{}", made.text);
        }
        assert!(!made.text.contains("other_"), "{}", made.text);
    }

    #[test]
    fn edits_of_tools_are_written_lines() {
        let source = lines(&[
            serde_json::json!({"type": "user", "message": {"role": "user", "content": "Add a flag to the export."}}),
            serde_json::json!({"type": "assistant", "message": {"role": "assistant", "content": [
                {"type": "text", "text": "I add it."},
                {"type": "tool_use", "name": "Edit", "input": {"file_path": "src/export.rs", "old_string": "let old = 1;", "new_string": "let as_json = flag();"}}]}}),
            serde_json::json!({"type": "user", "message": {"role": "user", "content": [{"type": "tool_result", "is_error": true, "content": "error: not found"}]}}),
        ]);
        let made = text(&source, 200);
        assert!(made.text.contains("edit src/export.rs\nlet as_json = flag();"), "{}", made.text);
        assert!(made.text.contains("[3] > error: not found"), "{}", made.text);
        let change = made.facts.iter().find(|fact| fact.class == Class::Change).expect("the edit");
        assert_eq!((change.text.as_str(), change.place.as_str()), ("let as_json = flag();", "line 2"));
    }

    #[test]
    fn a_rollout_with_a_patch() {
        let patch = "*** Begin Patch\n*** Update File: src/a.py\n@@\n-x = 1\n+counter_total = 2\n*** End Patch\n";
        let source = lines(&[
            serde_json::json!({"type": "session_meta", "payload": {"id": "1"}}),
            serde_json::json!({"type": "response_item", "payload": {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Count twice."}]}}),
            serde_json::json!({"type": "event_msg", "payload": {"type": "user_message", "message": "Count twice."}}),
            serde_json::json!({"type": "response_item", "payload": {"type": "custom_tool_call", "name": "apply_patch", "input": patch}}),
            serde_json::json!({"type": "response_item", "payload": {"type": "function_call", "name": "exec_command", "arguments": "{\"cmd\":\"cargo test\"}"}}),
            serde_json::json!({"type": "response_item", "payload": {"type": "function_call_output", "output": "Chunk ID: 1\nProcess exited with code 101\nOutput:\nerror[E0308]: mismatched types\n"}}),
        ]);
        let made = text(&source, 200);
        for wanted in
            ["[4] edit src/a.py", "Count twice.", "counter_total = 2", "$ cargo test", "error[E0308]: mismatched types"]
        {
            assert!(made.text.contains(wanted), "{wanted} is missing in\n{}", made.text);
        }
        assert_eq!(made.text.matches("Count twice.").count(), 1);
        assert!(!made.text.contains("Chunk ID"));
        assert!(made.after <= made.before, "a short run does not grow: {}", made.text);
        assert!(made.omitted.contains(&Omission::new("line 1", 1, OmissionReason::Metadata)), "{:?}", made.omitted);
    }

    #[test]
    fn broken_lines_are_named_and_the_others_are_read() {
        let said = |text: &str| serde_json::json!({"role": "assistant", "text": text}).to_string();
        let source = [
            r#"{"role": "user", "text": "cut off at its beg"#.to_owned(),
            said("The lock is taken twice."),
            "} half a record".to_owned(),
            said("The second lock goes.") + &said("The test of the pool passes."),
            r#"{"type": "compacted", "payload": {"message": "So far: key webhook-7 was chosen."}}"#.to_owned(),
        ];
        let made = text(&source.join("\n"), 400);
        for wanted in ["taken twice", "[4] The second lock goes.", "test of the pool passes", "key webhook-7 was chosen"] {
            assert!(made.text.contains(wanted), "{wanted} is missing in\n{}", made.text);
        }
        let report = made.fidelity();
        let unread = report.lost.iter().filter(|fact| fact.class == Class::Unread);
        assert_eq!(unread.map(|fact| fact.place.as_str()).collect::<Vec<_>>(), ["line 1", "line 3"]);
        assert!(made.fidelity().score().unwrap() < 0.8, "{:?}", made.fidelity());
    }

    /// The recordings of the drivers: every one that has words has them in the result.
    #[test]
    fn recordings_of_agent_programs_are_read() {
        let data = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../agentops-agents/tests/data");
        for (file, wanted) in [
            ("claude/max-turns.jsonl", "$ "),
            ("codex/work.jsonl", "$ "),
            ("acp/claude.jsonl", "$ "),
            ("gemini/work.jsonl", "$ "),
            ("opencode/work.jsonl", "$ "),
        ] {
            let source = std::fs::read(data.join(file)).expect("a recording");
            let made = compress(&source, 2000).expect("a transcript");
            assert!(made.text.contains(wanted), "{file}: {}", made.text);
            assert!(!made.text.contains("session_id") && !made.text.contains("sessionUpdate"), "{file}: {}", made.text);
        }
    }

    #[test]
    fn hostile_input_is_text() {
        crate::promises::take_anything(
            compress,
            &[&b""[..], b"\xff\xfe\x00", b"{\"type\":", b"[]", b"{}", b"null\n{\"role\":1}"],
        );
    }

    #[test]
    fn never_over_budget() {
        crate::promises::never_over_budget(compress);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn runs_of_any_words_fit(
            parts in prop::collection::vec(("(user|assistant|system|tool)", "([ -~]|\n|```bash\n|<<EOF > a.py\n|EOF\n|sed -i ){0,80}"), 0..20),
            budget in 0u64..400,
        ) {
            let source = lines(&parts.iter().map(|(role, text)| serde_json::json!({"role": role, "text": text})).collect::<Vec<_>>());
            let made = text(&source, budget);
            prop_assert!(made.after <= budget);
            prop_assert_eq!(made.after, agentops_text::tokens::text_tokens(&made.text));
        }
    }
}
