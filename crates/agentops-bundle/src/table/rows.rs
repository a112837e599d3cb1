//! Rows with named columns, from JSON lines, a JSON list of objects, or lines with separators.

use std::collections::HashMap;

use serde_json::Value;

use super::Read;

/// Columns beyond these are dropped; the head says how many there are.
const COLUMNS_MAX: usize = 200;
/// A cell is shown up to this many bytes.
const CELL_BYTES_MAX: usize = 120;
/// Objects within objects become columns `a.b` down to this depth.
const DEPTH_MAX: usize = 3;

/// A table as text.
#[derive(Debug, Default)]
pub struct Table {
    /// What it was.
    pub form: &'static str,
    /// Column names.
    pub names: Vec<String>,
    /// Cells by row; a row may be shorter than the names.
    pub rows: Vec<Vec<String>>,
}

/// Reads a table; `None` where it is none.
pub fn read(source: &[u8], text: &str) -> Option<Read> {
    objects(source, text).or_else(|| separated(text)).map(Read::Table)
}

fn objects(source: &[u8], text: &str) -> Option<Table> {
    let (form, values) = match serde_json::from_slice::<Value>(source) {
        Ok(Value::Array(list)) => ("JSON list", list),
        Ok(_) => return None,
        Err(_) => {
            let values: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
            ("JSON lines", values)
        }
    };
    if values.is_empty() || !values.iter().all(Value::is_object) {
        return None;
    }
    let mut table = Table { form, ..Table::default() };
    let mut places: HashMap<String, usize> = HashMap::new();
    for value in &values {
        let mut row = Vec::new();
        flatten(value, "", 0, &mut |name, cell| {
            let at = match places.get(name) {
                Some(at) => *at,
                None if table.names.len() < COLUMNS_MAX => {
                    places.insert(name.to_owned(), table.names.len());
                    table.names.push(name.to_owned());
                    table.names.len() - 1
                }
                None => return,
            };
            if row.len() <= at {
                row.resize(at + 1, String::new());
            }
            row[at] = cell;
        });
        table.rows.push(row);
    }
    (!table.names.is_empty()).then_some(table)
}

fn flatten(value: &Value, name: &str, depth: usize, put: &mut impl FnMut(&str, String)) {
    match value {
        Value::Object(object) if depth < DEPTH_MAX => {
            for (key, value) in object {
                let name = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
                flatten(value, &name, depth + 1, put);
            }
        }
        Value::Null => put(name, String::new()),
        Value::String(text) => put(name, cell(text)),
        other => put(name, cell(&other.to_string())),
    }
}

fn separated(text: &str) -> Option<Table> {
    let first: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).take(50).collect();
    let separator = [('\t', "TSV"), (',', "CSV"), (';', "CSV"), ('|', "table")].into_iter().find(|(separator, _)| {
        let counts: Vec<usize> = first.iter().map(|line| split(line, *separator).len()).collect();
        counts.len() > 1
            && counts[0] > 1
            && counts.iter().filter(|count| **count == counts[0]).count() * 10 >= counts.len() * 9
    });
    let (separator, form) = separator?;
    let mut rows = text.lines().filter(|line| !line.trim().is_empty()).map(|line| split(line, separator));
    let head = rows.next()?;
    let is_head = head.iter().all(|cell| !cell.is_empty() && cell.parse::<f64>().is_err());
    let names = |count: usize| (1..=count).map(|number| format!("column {number}")).collect();
    let mut table = Table { form, names: if is_head { head.clone() } else { names(head.len()) }, rows: Vec::new() };
    table.names.truncate(COLUMNS_MAX);
    if !is_head {
        table.rows.push(head);
    }
    table.rows.extend(rows.map(|mut row| {
        row.truncate(COLUMNS_MAX);
        row
    }));
    Some(table)
}

/// The cells of a line; separators within quotes are none.
fn split(line: &str, separator: char) -> Vec<String> {
    let mut cells = vec![String::new()];
    let mut quoted = false;
    for c in line.trim_end_matches('\r').chars() {
        if c == '"' {
            quoted = !quoted;
        } else if c == separator && !quoted {
            cells.push(String::new());
        } else if let Some(last) = cells.last_mut() {
            last.push(c);
        }
    }
    cells.iter().map(|text| cell(text)).collect()
}

fn cell(text: &str) -> String {
    let text = text.trim();
    let mut end = text.len().min(CELL_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let gap = if end < text.len() { "…" } else { "" };
    format!("{}{gap}", text[..end].replace(['\n', '\r'], " "))
}
