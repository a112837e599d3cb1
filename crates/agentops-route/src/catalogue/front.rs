//! Front matter as it is found: YAML where it is YAML, else line by line.

use agentops_core::agent::{FrontMatter, Tools};
use yaml_serde::Value;

/// The longest front matter, in bytes. A `---` far below is a line of the text.
const FRONT_BYTES_MAX: usize = 64 * 1024;

/// Words before a colon that belong to a conversation in a description, not to the front matter.
const SPOKEN: [&str; 7] = ["user", "assistant", "context", "commentary", "human", "example", "examples"];

/// Keys that would choose what program runs, or how it is held.
const NOT_THEIRS: [&str; 3] = ["driver", "settings", "window"];

/// The front matter and what comes after it; `None`: the text has none.
pub(super) fn split(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start_matches('\n');
    let (first, rest) = text.split_once('\n')?;
    if first.trim_end() != "---" {
        return None;
    }
    let mut at = 0;
    for line in rest.split_inclusive('\n') {
        if line.trim_end() == "---" {
            return Some((&rest[..at], &rest[at + line.len()..]));
        }
        at += line.len();
        if at > FRONT_BYTES_MAX {
            break;
        }
    }
    None
}

/// One value.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Field {
    Text(String),
    List(Vec<String>),
    /// Something with a structure of its own, which nothing here uses.
    Other,
}

/// Keys and values, in order; of two with one key the first counts.
#[derive(Debug, Default)]
pub(super) struct Fields(Vec<(String, Field)>);

impl Fields {
    /// Reads YAML; `None`: it is none, or no list of keys.
    pub(super) fn strict(front: &str) -> Option<Self> {
        let Value::Mapping(map) = yaml_serde::from_str(front).ok()? else { return None };
        let fields = map.into_iter().filter_map(|(key, value)| Some((text(&key)?, field(value)))).collect();
        Some(Self(fields))
    }

    /// Reads what is no YAML: a line that begins with a key begins a value, other lines go on with it.
    pub(super) fn by_lines(front: &str) -> Self {
        let mut fields: Vec<(String, Vec<&str>)> = Vec::new();
        let mut in_example = false;
        for line in front.lines() {
            match key(line).filter(|_| !in_example) {
                Some((key, value)) => fields.push((key.to_owned(), vec![value])),
                None => {
                    if let Some((_, lines)) = fields.last_mut() {
                        lines.push(line);
                    }
                }
            }
            // A file may open an example and forget to close it: keys that nobody says out loud end it.
            let opened = line.rfind("<example>").map_or(-1, |at| at as i64);
            let closed = line.rfind("</example>").map_or(-1, |at| at as i64);
            in_example = if opened == closed { in_example } else { opened > closed };
            in_example &= fields.last().is_some_and(|(key, _)| key == "description");
        }
        Self(fields.into_iter().map(|(key, lines)| (key, by_hand(&lines))).collect())
    }

    /// The keys as written.
    pub(super) fn keys(&self) -> Vec<String> {
        self.0.iter().map(|(key, _)| key.clone()).collect()
    }

    /// What an agent may say of itself, and the keys that are not used.
    pub(super) fn front_matter(self) -> (FrontMatter, Vec<String>) {
        let find = |wanted: &str| self.0.iter().find(|(key, _)| key.eq_ignore_ascii_case(wanted)).map(|(_, value)| value);
        let words = |wanted| match find(wanted) {
            Some(Field::Text(text)) => text.trim().to_owned(),
            Some(Field::List(list)) => list.join("\n"),
            Some(Field::Other) | None => String::new(),
        };
        let tools = match find("tools").or_else(|| find("allowed-tools")) {
            Some(Field::Text(line)) if !line.trim().is_empty() => Some(Tools::Line(line.clone())),
            Some(Field::List(list)) => Some(Tools::List(list.clone())),
            _ => None,
        };
        let model = Some(words("model")).filter(|model| !model.is_empty());
        let (name, description) = (words("name"), words("description"));
        let front = FrontMatter { name, description, tools, model, ..FrontMatter::default() };
        (front, NOT_THEIRS.iter().filter(|key| find(key).is_some()).map(|key| (*key).to_owned()).collect())
    }
}

/// A key at the beginning of a line, and what stands behind its colon.
fn key(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.split_once(':')?;
    let first = key.bytes().next()?.is_ascii_alphabetic();
    let rest = key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    let apart = value.is_empty() || value.starts_with([' ', '\t']);
    let spoken = SPOKEN.iter().any(|word| key.eq_ignore_ascii_case(word));
    (first && rest && apart && !spoken && key.len() <= 40).then_some((key, value.trim()))
}

/// A value from its lines.
fn by_hand(lines: &[&str]) -> Field {
    let (first, more) = lines.split_first().map_or(("", &[][..]), |(first, more)| (*first, more));
    let items: Option<Vec<String>> = more
        .iter()
        .filter(|line| !line.trim().is_empty())
        .map(|line| line.trim().strip_prefix("- ").map(unquoted))
        .collect();
    if let (true, Some(items)) = (first.is_empty(), items.filter(|items| !items.is_empty())) {
        return Field::List(items);
    }
    if let Some(inside) = first.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).filter(|_| more.is_empty()) {
        return Field::List(inside.split(',').map(unquoted).filter(|item| !item.is_empty()).collect());
    }
    let block = first.starts_with(['|', '>']) && first.len() <= 3;
    let parts = (if block { None } else { Some(first) }).into_iter().chain(more.iter().map(|line| line.trim()));
    let glue = if first.starts_with('>') { " " } else { "\n" };
    let whole = parts.collect::<Vec<_>>().join(glue);
    Field::Text(if block { whole.trim().to_owned() } else { unquoted(&whole) })
}

/// A value without its quotes, where it has a pair of them.
fn unquoted(text: &str) -> String {
    let text = text.trim();
    for quote in ['"', '\''] {
        if text.len() >= 2
            && let Some(inside) = text.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote))
        {
            return inside.replace("\\\"", "\"").replace("''", "'");
        }
    }
    text.to_owned()
}

fn field(value: Value) -> Field {
    match value {
        Value::Sequence(items) => Field::List(items.iter().filter_map(text).collect()),
        Value::Mapping(_) => Field::Other,
        other => text(&other).map_or(Field::Other, Field::Text),
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Null => Some(String::new()),
        _ => None,
    }
}
