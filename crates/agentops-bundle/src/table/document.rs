//! A JSON document that is no table: its shape from the top down.

use super::account::Place;
use super::columns::is_severe_name;
use super::json::Json;
use super::{Draft, Within, line_excerpt, rows};
use crate::log::is_trouble;
use crate::{Class, Fact};

/// Deeper values are shown by their sizes only.
const DEPTH_MAX: usize = 24;
/// Elements beyond these of one document are left out together.
const PIECES_MAX: usize = 200_000;
/// Strings are shown up to this many bytes.
const STRING_BYTES_MAX: usize = 200;
/// Bytes of a path before its last key.
const PATH_BYTES_MAX: usize = 200;
/// Keys of the first two levels are facts, up to so many.
const KEYS_MAX: usize = 100;
/// A list of at least this many objects is a table.
const ROWS_MIN: usize = 12;
/// The value of a table's pieces beside that of a key.
const TABLE_SCALE: f64 = 0.03;
/// The least value of a table that is nested deeply, beside that of a key.
const VALUE_MIN: f64 = 0.1;
/// Values that tell of trouble are facts, up to so many.
const TROUBLES_MAX: usize = 50;
/// Bytes of a string that are searched for words of trouble.
const TROUBLE_BYTES_MAX: usize = 64 << 10;
/// A list of plain values stands on one line if it has at most this many bytes.
const INLINE_BYTES_MAX: usize = 80;

/// Adds a document.
pub(super) fn add(value: &Json<'_>, draft: &mut Draft) {
    let mut walk = Walk { draft, keys: 0, troubles: 0 };
    let top = Node { piece: None, unit: None, depth: 0, value: 1.0 };
    match value {
        Json::Object(_) | Json::List(_) => walk.children(value, "", &top),
        scalar => walk.child("", String::new(), scalar, Place::Named(String::from("the value")), 1.0, &top),
    }
}

/// A value whose children are added.
struct Node {
    piece: Option<usize>,
    unit: Option<usize>,
    depth: usize,
    value: f64,
}

struct Walk<'a> {
    draft: &'a mut Draft,
    /// Keys that are facts so far.
    keys: usize,
    /// Values that are facts so far.
    troubles: usize,
}

impl Walk<'_> {
    fn children(&mut self, value: &Json<'_>, path: &str, node: &Node) {
        match value {
            Json::Object(object) => {
                for (key, value) in object {
                    if node.depth < 2 && self.keys < KEYS_MAX {
                        self.keys += 1;
                        let place = format!("level {}", node.depth + 1);
                        self.draft.facts.push(Fact::new(Class::Identifier, line_excerpt(key, STRING_BYTES_MAX).text, place));
                    }
                    let label = format!("{}:", line_excerpt(key, STRING_BYTES_MAX).text);
                    let path = joined(path, key);
                    self.child(&label, path.clone(), value, Place::Named(format!("key {path}")), 1.0, node);
                }
            }
            Json::List(list) => {
                let group = if path.is_empty() { String::from("element") } else { format!("{path}, element") };
                for (at, value) in list.iter().enumerate() {
                    let number = at as u64 + 1;
                    let place = Place::Numbered(group.clone(), number);
                    if self.draft.pieces.len() >= PIECES_MAX {
                        self.draft.account.add_omitted(place, node.unit);
                        continue;
                    }
                    let from_end = at.min(list.len() - 1 - at);
                    let share = 1.0 / (2.0 + from_end as f64);
                    self.child("-", format!("{path}[{number}]"), value, place, share, node);
                }
            }
            _ => {}
        }
    }

    fn child(&mut self, label: &str, path: String, value: &Json<'_>, place: Place, share: f64, node: &Node) {
        let inline = inline(value);
        let (described, is_whole) = match value {
            _ if inline.is_some() => (inline.clone().unwrap_or_default(), true),
            Json::List(list) => (format!("[{}]", list.len()), list.is_empty() || node.depth < DEPTH_MAX),
            Json::Object(object) if node.depth >= DEPTH_MAX => (format!("{{{}}}", object.len()), false),
            Json::Object(_) => (String::new(), true),
            scalar => {
                let shown = line_excerpt(&scalar.compact(), STRING_BYTES_MAX);
                (shown.text, shown.omitted_bytes == 0)
            }
        };
        // What is empty says little.
        let full = match value {
            Json::Null => 0.1,
            Json::List(list) if list.is_empty() => 0.1,
            Json::Object(object) if object.is_empty() => 0.1,
            Json::Text(text) if text.is_empty() => 0.1,
            _ => 1.0,
        };
        let mut value_of = node.value * share * full * 0.7;
        let is_severe = self.troubles < TROUBLES_MAX && tells_of_trouble(label, value);
        if is_severe {
            self.troubles += 1;
            value_of = value_of.max(1.0) * 3.0;
            let fact = described.split(" …").next().unwrap_or_default();
            self.draft.facts.push(Fact::new(Class::Error, fact, path.clone()));
        }
        let blank = if label.is_empty() || described.is_empty() { "" } else { " " };
        let text = format!("{}{label}{blank}{described}\n", "  ".repeat(node.depth));
        let piece = self.draft.piece(text, value_of, node.piece);
        let unit = self.draft.account.add(piece, is_whole, place, node.unit);
        if inline.is_some() || node.depth >= DEPTH_MAX {
            return;
        }
        if let Json::List(list) = value
            && list.len() >= ROWS_MIN
            && list.iter().filter(|value| value.is_object()).count() * 10 >= list.len() * 9
        {
            let table = rows::of_values(list, "JSON list");
            // The columns of a table count about as much as the keys beside it.
            let scale = TABLE_SCALE * value_of.max(VALUE_MIN);
            self.draft.table(&table, &Within { path: &path, piece: Some(piece), unit: Some(unit), scale });
            return;
        }
        self.children(value, &path, &Node { piece: Some(piece), unit: Some(unit), depth: node.depth + 1, value: value_of });
    }
}

/// Whether a plain value tells of trouble, or its key does and there is a value.
fn tells_of_trouble(label: &str, value: &Json<'_>) -> bool {
    match value {
        Json::Text(text) => {
            !text.is_empty() && (is_severe_name(label) || is_trouble(&text[..text.floor_char_boundary(TROUBLE_BYTES_MAX)]))
        }
        Json::Bool(true) => is_severe_name(label),
        _ => false,
    }
}

/// The path of a key. Of a long path only the end is kept: otherwise the paths of a deep document take more space than it does.
fn joined(path: &str, key: &str) -> String {
    let key = line_excerpt(key, STRING_BYTES_MAX).text;
    let start = path.ceil_char_boundary(path.len().saturating_sub(PATH_BYTES_MAX));
    let gap = if start > 0 { "…" } else { "" };
    if path.is_empty() { key } else { format!("{gap}{}.{key}", &path[start..]) }
}

/// A short list of plain values as it is written.
fn inline(value: &Json<'_>) -> Option<String> {
    let Json::List(list) = value else { return None };
    if list.is_empty() || list.len() > INLINE_BYTES_MAX || list.iter().any(Json::is_container) {
        return None;
    }
    Some(value.compact()).filter(|text| text.len() <= INLINE_BYTES_MAX)
}
