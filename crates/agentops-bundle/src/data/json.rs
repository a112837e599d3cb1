//! JSON: an outline of its values, and the largest list of objects as a table.

use serde_json::{Map, Value};

use super::table::{Table, short};

/// How deep an outline goes.
const DEPTH_MAX: usize = 12;
/// Values of one list or object that an outline shows.
const SHOWN_MAX: usize = 40;
/// Columns that a table of objects has at most.
const COLUMNS_MAX: usize = 400;

/// The outline of a value without its largest list of objects, and that list as a table.
pub(super) fn outlined(value: &Value) -> (String, Option<Table>) {
    let mut largest = (0, String::new());
    find(value, "", 0, &mut largest);
    let (rows, path) = largest;
    let table = (rows > 2).then(|| list_at(value, &path)).flatten().map(|list| of_list(&path, list));
    let mut text = String::new();
    outline(value, "", 0, table.is_some().then_some(path.as_str()), &mut text);
    (text, table)
}

/// One object a line.
pub(super) fn lines(text: &str) -> Option<Table> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let mut rows = Vec::new();
    let mut broken = 0;
    for (index, line) in lines {
        match serde_json::from_str::<Value>(line) {
            Ok(Value::Object(object)) => rows.push((index, object)),
            _ => broken += 1,
        }
    }
    // A line that was cut off is no reason to refuse the rest.
    if rows.is_empty() || broken * 10 > rows.len() {
        return None;
    }
    let places = rows.iter().map(|(index, _)| format!("line {}", index + 1)).collect();
    let objects: Vec<&Map<String, Value>> = rows.iter().map(|(_, object)| object).collect();
    Some(of_objects(String::new(), &objects, places))
}

fn of_list(path: &str, list: &[Value]) -> Table {
    let objects: Vec<&Map<String, Value>> = list.iter().filter_map(Value::as_object).collect();
    let at = list.iter().enumerate().filter(|(_, value)| value.is_object());
    let places = at.map(|(index, _)| format!("{path}[{index}]")).collect();
    of_objects(if path.is_empty() { "the list".to_owned() } else { path.to_owned() }, &objects, places)
}

fn of_objects(title: String, objects: &[&Map<String, Value>], places: Vec<String>) -> Table {
    let mut names: Vec<String> = Vec::new();
    let mut known = std::collections::HashSet::new();
    for object in objects {
        for name in object.keys().filter(|name| !known.contains(*name)).cloned().collect::<Vec<_>>() {
            if names.len() < COLUMNS_MAX {
                known.insert(name.clone());
                names.push(name);
            }
        }
    }
    let mut table = Table::new(title, names.clone());
    for (object, place) in objects.iter().zip(places) {
        let cells = names.iter().map(|name| object.get(name).map(cell)).collect();
        let shortened: Map<String, Value> = object.iter().map(|(name, value)| (name.clone(), shortened(value))).collect();
        table.push(cells, Value::Object(shortened).to_string(), place);
    }
    table
}

fn cell(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A value that fits in a row.
fn shortened(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(short(text)),
        Value::Array(list) if value.to_string().len() > 120 => Value::String(format!("[{} values]", list.len())),
        Value::Object(object) if value.to_string().len() > 120 => Value::String(format!("{{{} keys}}", object.len())),
        other => other.clone(),
    }
}

/// The path of the list with the most objects.
fn find(value: &Value, path: &str, depth: usize, largest: &mut (usize, String)) {
    if depth > DEPTH_MAX {
        return;
    }
    match value {
        Value::Array(list) => {
            let objects = list.iter().filter(|value| value.is_object()).count();
            if objects > largest.0 && objects * 10 >= list.len() * 9 {
                *largest = (objects, path.to_owned());
            }
            // Lists within a list's objects are many small tables, not one.
        }
        Value::Object(object) => {
            for (name, value) in object {
                find(value, &joined(path, name), depth + 1, largest);
            }
        }
        _ => {}
    }
}

fn list_at<'a>(value: &'a Value, path: &str) -> Option<&'a Vec<Value>> {
    let mut found = None;
    walk(value, "", 0, &mut |at, value| {
        if at == path && found.is_none() {
            found = value.as_array();
        }
    });
    found
}

fn walk<'a>(value: &'a Value, path: &str, depth: usize, each: &mut impl FnMut(&str, &'a Value)) {
    if depth > DEPTH_MAX {
        return;
    }
    each(path, value);
    if let Value::Object(object) = value {
        for (name, value) in object {
            walk(value, &joined(path, name), depth + 1, each);
        }
    }
}

fn joined(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn outline(value: &Value, path: &str, depth: usize, table: Option<&str>, text: &mut String) {
    let indent = "  ".repeat(depth.saturating_sub(1));
    let name = path.rsplit('.').next().unwrap_or_default();
    let label = if name.is_empty() { String::new() } else { format!("{indent}{name}: ") };
    match value {
        Value::Array(_) if table == Some(path) => text.push_str(&format!("{label}see the table below\n")),
        _ if depth > DEPTH_MAX => text.push_str(&format!("{label}…\n")),
        Value::Object(object) => {
            if !label.is_empty() {
                text.push_str(&format!("{}\n", label.trim_end()));
            }
            for (name, value) in object.iter().take(SHOWN_MAX) {
                outline(value, &joined(path, name), depth + 1, table, text);
            }
            if object.len() > SHOWN_MAX {
                text.push_str(&format!("{indent}  … {} more keys\n", object.len() - SHOWN_MAX));
            }
        }
        Value::Array(list) => {
            let shown: Vec<String> = list.iter().take(8).map(|value| short(&cell(value))).collect();
            let more = if list.len() > 8 { format!(", … {} values", list.len()) } else { String::new() };
            text.push_str(&format!("{label}[{}{more}]\n", shown.join(", ")));
        }
        other => text.push_str(&format!("{label}{}\n", short(&cell(other)))),
    }
}
