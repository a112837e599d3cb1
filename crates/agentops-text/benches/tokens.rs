//! How fast tokens are counted, beside the library that the counts are equal to. One thread; figures decide nothing.

#![expect(clippy::print_stdout, reason = "a benchmark prints")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use agentops_text::tokens::{Rendering, json_tokens, text_tokens};

const ROUNDS: usize = 5;
const HOSTILE_BYTES: usize = 1 << 20;

/// Texts that a count could read again and again. The time of the double should be the double.
const HOSTILE: [(&str, &str); 20] = [
    ("digits", "7"),
    ("other digits", "٣"),
    ("dashes", "-"),
    ("one letter", "a"),
    ("capitals", "A"),
    ("both cases", "aA"),
    ("accents", "é"),
    ("marks", "\u{301}"),
    ("ideographs", "字"),
    ("emoji", "😀"),
    ("blanks", " "),
    ("wide blanks", "\u{2003}"),
    ("line ends", "\r\n"),
    ("blank lines", " \n\t\n"),
    ("letters, marks", "a\u{301}"),
    ("scripts", "aжあ字अ1-"),
    ("no ASCII, blanks", "é\u{a0}"),
    ("no ASCII, lines", "é\n"),
    ("quotes", "'"),
    ("a word", "hello"),
];

/// Values that a reader of JSON could read again and again.
const NESTED: [(&str, &str, &str); 5] = [
    ("arrays", "[", "]"),
    ("objects", "{\"a\":", "}"),
    ("empty texts", "[\"\",", "]"),
    ("escapes", "[\"\\u0061\\\\\\\"\",", "]"),
    ("open quotes", "\"", "\\"),
];

fn main() {
    let started = Instant::now();
    black_box(text_tokens(black_box(include_str!("../src/tokens.rs"))));
    let first = started.elapsed();
    let started = Instant::now();
    let library = tiktoken_rs::o200k_base_singleton();
    black_box(library.encode_ordinary(black_box(include_str!("../src/tokens.rs"))));
    let loaded = started.elapsed();
    println!(
        "a first count with loading: {:.1} ms, the library {:.1} ms",
        first.as_secs_f64() * 1e3,
        loaded.as_secs_f64() * 1e3
    );
    // The program's own sources and documents: code, prose, tables.
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut text = String::new();
    gather(&root, &mut text);
    let (ours, tokens) = best(|| text_tokens(&text));
    let (theirs, expected) =
        best(|| text.split_inclusive('\n').map(|line| library.encode_ordinary(line).len() as u64).sum());
    println!("{:.1} MB, {tokens} tokens; the library line by line: {expected}", text.len() as f64 / 1e6);
    println!("{:<10} {:>8.1} M tokens/s", "ours", rate(tokens, ours));
    println!("{:<10} {:>8.1} M tokens/s", "tiktoken", rate(expected, theirs));
    println!("{HOSTILE_BYTES} bytes of what is costly to count, and twice as many:");
    row("ordinary text", |bytes| {
        let text = &text[..text.floor_char_boundary(bytes)];
        best(|| text_tokens(text)).0
    });
    for (name, part) in HOSTILE {
        row(name, |bytes| {
            let text = part.repeat(bytes / part.len());
            best(|| text_tokens(&text)).0
        });
    }
    println!("the same for JSON, nested as deeply as the bytes allow:");
    row("ordinary request", |bytes| {
        let text = serde_json::json!({ "content": text[..text.floor_char_boundary(bytes)] }).to_string();
        best(|| json_tokens(text.as_bytes(), Rendering::Json, &[])).0
    });
    for (name, open, close) in NESTED {
        row(name, |bytes| {
            let depth = bytes / (open.len() + close.len());
            let text = format!("{}{}", open.repeat(depth), close.repeat(depth));
            best(|| json_tokens(text.as_bytes(), Rendering::Json, &[])).0
        });
    }
}

fn row(name: &str, took: impl Fn(usize) -> Duration) {
    let [once, twice] = [HOSTILE_BYTES, 2 * HOSTILE_BYTES].map(took);
    println!("{name:<16} {:>8.1} ms {:>8.1} ms", once.as_secs_f64() * 1e3, twice.as_secs_f64() * 1e3);
}

fn gather(folder: &std::path::Path, text: &mut String) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() && !name.starts_with('.') && name != "target" {
            gather(&path, text);
        } else if name.ends_with(".rs") || name.ends_with(".md") {
            text.push_str(&std::fs::read_to_string(&path).unwrap_or_default());
        }
    }
}

fn best(mut count: impl FnMut() -> u64) -> (Duration, u64) {
    let mut fastest = Duration::MAX;
    let mut tokens = 0;
    for _ in 0..ROUNDS {
        let began = Instant::now();
        tokens = black_box(count());
        fastest = fastest.min(began.elapsed());
    }
    (fastest, tokens)
}

fn rate(tokens: u64, took: Duration) -> f64 {
    tokens as f64 / 1e6 / took.as_secs_f64()
}
