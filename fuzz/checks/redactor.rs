//! What holds for the redactor whatever it reads.

use std::cell::LazyCell;

use agentops_safe::Redactor;
use serde_json::Value;

/// Values as they occur: a key, one with characters that JSON escapes, a number, a phrase.
const KNOWN: [(&str, &str); 4] = [
    ("KEY", "known-value-1"),
    ("QUOTED", "kn0wn \"va\\lue\"/<é>"),
    ("PIN", "19840712"),
    ("PHRASE", "correct horse battery"),
];

thread_local! {
    static REDACTOR: LazyCell<Redactor> =
        LazyCell::new(|| Redactor::new(KNOWN.map(|(name, value)| (name.to_owned(), value.to_owned()))));
}

/// Redacts the text after the first byte, which says how the stream is cut. Panics where something does not hold.
pub fn check(data: &[u8]) {
    let Some((stride, text)) = data.split_first() else { return };
    REDACTOR.with(|redactor| {
        let once = redactor.redact_bytes(text);
        assert_eq!(redactor.finds(text), once != text, "finds and redact_bytes agree");
        assert!(redactor.redact_bytes(&once) == once, "redacting twice is redacting once");

        let mut stream = redactor.stream();
        let mut streamed = Vec::new();
        for chunk in text.chunks(usize::from(*stride) + 1) {
            streamed.extend(stream.push(chunk));
        }
        streamed.extend(stream.finish());
        assert!(streamed == *once, "a stream has the outcome of the whole");

        for (_, value) in KNOWN {
            assert!(!once.windows(value.len()).any(|part| part == value.as_bytes()), "no known value is left");
        }
        if let Ok(before) = serde_json::from_slice::<Value>(text) {
            let after: Value = serde_json::from_slice(&once).expect("JSON stays JSON");
            assert!(same_kind(&before, &after), "JSON keeps its structure");
        }
    });
}

/// Whether two documents have the same structure. Members whose names became equal are one to this parser, so that of
/// objects only their presence is compared where their number differs.
fn same_kind(before: &Value, after: &Value) -> bool {
    match (before, after) {
        (Value::Array(before), Value::Array(after)) => {
            before.len() == after.len() && before.iter().zip(after).all(|(before, after)| same_kind(before, after))
        }
        (Value::Object(before), Value::Object(after)) => {
            before.len() != after.len()
                || before.iter().all(|(name, before)| after.get(name).is_none_or(|after| same_kind(before, after)))
        }
        _ => std::mem::discriminant(before) == std::mem::discriminant(after),
    }
}
