//! The promise S6 as properties: whatever the form and wherever the cut, the secret is not in what comes out.

mod json;
mod rules;
mod stream;
mod tables;
mod values;

use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::*;

fn plain() -> Redactor {
    Redactor::new([])
}

fn knowing(value: &str) -> Redactor {
    Redactor::new([("MY_KEY".to_owned(), value.to_owned())])
}

fn in_chunks(redactor: &Redactor, text: &[u8], cuts: &[usize]) -> Vec<u8> {
    let mut stream = redactor.stream();
    let mut out = Vec::new();
    let mut from = 0;
    for &cut in cuts {
        out.extend(stream.push(&text[from..cut]));
        from = cut;
    }
    out.extend(stream.push(&text[from..]));
    out.extend(stream.finish());
    out
}

/// So many cases each day, and fifty times as many with `AGENTOPS_SLOW`.
fn cases(everyday: u32) -> Config {
    let times = if std::env::var_os("AGENTOPS_SLOW").is_some() { 50 } else { 1 };
    Config { cases: everyday * times, failure_persistence: None, ..Config::default() }
}

/// A source of random values that is a function of its seed.
fn runner(seed: u64) -> TestRunner {
    let seed = [seed.to_le_bytes(), seed.to_be_bytes(), [7; 8], [9; 8]].concat();
    TestRunner::new_with_rng(Config::default(), TestRng::from_seed(RngAlgorithm::ChaCha, &seed))
}

/// One line, or a few, in which a secret is written in a way that people and programs write it.
fn placed(secret: &str) -> Vec<String> {
    let json_text = serde_json::to_string(secret).expect("a string");
    let inner = &json_text[1..json_text.len() - 1];
    let nested = serde_json::to_string(&format!("{{\"k\":{json_text}}}")).expect("a string");
    vec![
        secret.to_owned(),
        format!("export SOME_NAME={secret}\n"),
        format!("SOME_NAME=\"{secret}\" run --fast"),
        format!("[core]\nname = {secret}\nother = 1\n"),
        format!("[core]\nname = \"{secret}\"\n"),
        format!("{{\"name\": \"{inner}\", \"n\": 1}}"),
        format!("{{\"a\":\"line\\n{inner}\\nline\"}}"),
        nested,
        format!("name: {secret}\nnext: \"x\"\n"),
        format!("names:\n  - {secret}\n  - '{secret}'\n"),
        format!("X-Thing: {secret}\r\n\r\n"),
        format!("curl -H 'X-Thing: {secret}' https://host/"),
        format!("https://host/path?x={secret}&y=2"),
        format!("let x = \"{secret}\";"),
        format!("\tx := \"{secret}\"\n\tvar y = `{secret}`\n"),
        format!("x = '{secret}'\nf(x=\"\"\"{secret}\"\"\")\n"),
        format!("const x = \"{secret}\"; f(`{secret}`);"),
        format!("private String x = \"{secret}\";"),
        format!("$x = \"{secret}\"; $y = ['k' => '{secret}'];"),
        format!("NAME := {secret}\nall:\n\trun $(NAME)\n"),
        format!("ENV NAME={secret}\nARG OTHER\n"),
        format!("<add key=\"k\" value=\"{secret}\" />\n<a>{secret}</a>"),
        format!("2026-01-02T03:04:05Z INFO sent x={secret} in 5ms\n"),
        format!("\x1b[31m{secret}\x1b[0m"),
        format!("\\u001b[1;32m{inner}\\u001b[0m"),
        format!("({secret}), [{secret}], `{secret}`"),
        format!("q%3D{secret}%26z"),
        format!("+{secret}\n-{secret}\n"),
    ]
}

/// The text with a colour code between two of its bytes, raw or as a JSON string has it.
fn interrupted(text: &str, at: usize, code: &str) -> String {
    let at = text.floor_char_boundary(at);
    format!("{}{code}{}", &text[..at], &text[at..])
}

/// The text as the inside of a JSON string that spells every character it may as `\u0041`.
fn spelled(text: &str) -> String {
    let spell = |c: char| match c {
        '"' | '\\' => format!("\\{c}"),
        ' '..='~' => format!("\\u{:04x}", u32::from(c)),
        _ => c.to_string(),
    };
    text.chars().map(spell).collect()
}

#[test]
fn s6_ordinary_text_is_not_touched() {
    let known = Redactor::new([("K".to_owned(), "a-known-value-1".to_owned())]);
    for text in include_str!("../ordinary.txt").lines().chain([include_str!("../ordinary.txt"), ""]) {
        assert!(matches!(known.redact(text), Cow::Borrowed(same) if same == text), "{text}\n{}", known.redact(text));
    }
}

#[test]
fn s6_this_crate_s_own_code_is_not_touched() {
    for code in [
        include_str!("../scan.rs"),
        include_str!("../stream.rs"),
        include_str!("../../names.rs"),
        include_str!("../../terminal.rs"),
    ] {
        assert_eq!(plain().redact(code), code);
    }
}

#[test]
fn s6_overlapping_values_leave_nothing_behind() {
    let redactor = Redactor::new([("A".into(), "abcdefgh12".into()), ("B".into(), "efgh12345678".into())]);
    assert_eq!(redactor.redact("<abcdefgh12345678>"), "<[redacted:A]>");
}

#[test]
fn s6_hostile_repetition_costs_no_square() {
    let started = std::time::Instant::now();
    for piece in ["sk-ant-", "password=", "eyJeyJ.", "-----BEGIN PRIVATE KEY-----", "token:\"", "a1]", "://a:", "\\"] {
        let text = piece.repeat(30_000 / piece.len());
        let _ = plain().redact(&text);
    }
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
}
