//! How fast a request body is searched for secrets: ordinary text, and texts that are made to cost much. One thread; figures
//! decide nothing.

#![expect(clippy::print_stdout, reason = "a benchmark prints")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use agentops_safe::Redactor;

const ROUNDS: usize = 7;
const HOSTILE_BYTES: usize = 256 << 10;

/// Texts of keywords and of what rules begin with. The time of the double should be the double.
const HOSTILE: [(&str, &str); 20] = [
    ("keys", "sk-ant-"),
    ("keys in base64", "c2stYW50L"),
    ("assignments", "password="),
    ("quoted", "token:\""),
    ("typed", "token: string "),
    ("elements", "<password>"),
    ("named values", "token value "),
    ("options", "--token "),
    ("commands", "curl -u "),
    ("mysql", "mysql "),
    ("netrc", "machine a login b "),
    ("logins", "\"auth\":\"bWU6"),
    ("signatures", "signature="),
    ("addresses", "://a:"),
    ("private keys", "-----BEGIN PRIVATE KEY-----"),
    ("percent", "%73%6b%2d"),
    ("percent signs", "%25"),
    ("escapes", "\\u0073"),
    ("backslashes", "\\"),
    ("base64", "iVBORw0KGgo"),
];

fn main() {
    // The program's own sources and documents: code, prose, tables; as text and as a request carries them.
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut text = String::new();
    gather(&root, &mut text);
    let body = serde_json::json!({ "messages": [{ "role": "user", "content": text }] }).to_string();
    let redactor = Redactor::new([("KEY".to_owned(), "a-known-value-1".to_owned())]);
    for (name, bytes) in [("text", text.as_bytes()), ("request body", body.as_bytes())] {
        let took = best(|| redactor.finds(bytes));
        let rate = bytes.len() as f64 / 1e6 / took.as_secs_f64();
        println!("{name:<16} {:>8.1} MB {:>8.1} ms {rate:>8.0} MB/s", bytes.len() as f64 / 1e6, took.as_secs_f64() * 1e3);
    }
    println!("{HOSTILE_BYTES} bytes of what is costly to search, and twice as many:");
    for (name, part) in HOSTILE {
        let [once, twice] = [HOSTILE_BYTES, 2 * HOSTILE_BYTES].map(|bytes| {
            let text = part.repeat(bytes / part.len());
            best(|| redactor.finds(text.as_bytes()))
        });
        println!("{name:<16} {:>8.1} ms {:>8.1} ms", once.as_secs_f64() * 1e3, twice.as_secs_f64() * 1e3);
    }
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

fn best(mut search: impl FnMut() -> bool) -> Duration {
    let mut fastest = Duration::MAX;
    for _ in 0..ROUNDS {
        let began = Instant::now();
        let _found = black_box(search());
        fastest = fastest.min(began.elapsed());
    }
    fastest
}
