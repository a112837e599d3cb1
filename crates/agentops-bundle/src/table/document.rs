//! A JSON document that is no table: its shape from the top down.

use serde_json::Value;

use super::Read;
use crate::pick::Piece;
use crate::{Class, Fact};

/// Deeper values are told by their kind only.
const DEPTH_MAX: usize = 24;
/// Of a list so many elements at either end.
const ENDS: usize = 20;
/// Strings are shown up to this many bytes.
const STRING_BYTES_MAX: usize = 200;
/// Keys of the first two levels are facts, up to so many.
const KEYS_MAX: usize = 100;

/// Reads a document; `None` where it is no JSON.
pub fn read(source: &[u8]) -> Option<Read> {
    let document: Value = serde_json::from_slice(source).ok()?;
    let mut pieces = Vec::new();
    let mut facts = Vec::new();
    match &document {
        Value::Object(_) | Value::Array(_) => children(&document, 0, None, &mut pieces, &mut facts),
        scalar => pieces.push(Piece { text: format!("{}\n", told(scalar)), value: 1.0, needs: None, is_fact: true }),
    }
    Some(Read::Document {
        head: String::from(
            "JSON, shortened; [n] = a list of n, {n} = an object of n keys; what is left out is not marked.\n",
        ),
        pieces,
        facts,
    })
}

fn children(value: &Value, depth: usize, parent: Option<usize>, pieces: &mut Vec<Piece>, facts: &mut Vec<Fact>) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                if depth < 2 && facts.len() < KEYS_MAX {
                    facts.push(Fact::new(Class::Identifier, key.clone(), format!("level {}", depth + 1)));
                }
                child(key, value, 1.0, depth, parent, pieces, facts);
            }
        }
        Value::Array(list) => {
            for (at, value) in list.iter().enumerate() {
                let from_end = at.min(list.len() - 1 - at);
                if from_end < ENDS {
                    child("-", value, 1.0 / (2.0 + from_end as f64), depth, parent, pieces, facts);
                }
            }
        }
        _ => {}
    }
}

fn child(
    key: &str,
    value: &Value,
    share: f64,
    depth: usize,
    parent: Option<usize>,
    pieces: &mut Vec<Piece>,
    facts: &mut Vec<Fact>,
) {
    let colon = if key == "-" { "" } else { ":" };
    let told = match value {
        Value::Array(list) => format!(" [{}]", list.len()),
        Value::Object(object) if depth >= DEPTH_MAX => format!(" {{{}}}", object.len()),
        Value::Object(_) => String::new(),
        scalar => format!(" {}", told(scalar)),
    };
    // What is empty says little.
    let full = match value {
        Value::Null => 0.1,
        Value::Array(list) if list.is_empty() => 0.1,
        Value::Object(object) if object.is_empty() => 0.1,
        Value::String(text) if text.is_empty() => 0.1,
        _ => 1.0,
    };
    let above = parent.map_or(1.0, |parent| pieces[parent].value);
    let at = pieces.len();
    let text = format!("{}{key}{colon}{told}\n", "  ".repeat(depth));
    pieces.push(Piece { text, value: above * share * full * 0.7, needs: parent, is_fact: true });
    if depth < DEPTH_MAX {
        children(value, depth + 1, Some(at), pieces, facts);
    }
}

fn told(value: &Value) -> String {
    let text = value.to_string();
    let mut end = text.len().min(STRING_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let gap = if end < text.len() { "…" } else { "" };
    format!("{}{gap}", &text[..end])
}
