//! Rows with named columns, from JSON values or from lines with separators.

use std::collections::HashMap;

use super::json::{Arrangement, Json};
use super::separated::{Dialect, Record};
use crate::excerpt::excerpt;

/// Columns beyond these are left out and named.
const COLUMNS_MAX: usize = 200;
/// Objects within objects become columns `a.b` down to this depth.
const DEPTH_MAX: usize = 3;
/// Longer keys are shortened.
const KEY_BYTES_MAX: usize = 200;
/// Records that are looked at to tell a heading from a row.
const HEADING_SAMPLE: usize = 100;

/// A table as text.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// What it was, for people.
    pub form: &'static str,
    /// Column names.
    pub names: Vec<String>,
    /// The rows in their order.
    pub rows: Vec<Row>,
    /// Lines that are in no row.
    pub remarks: Vec<Remark>,
    /// Names of columns that are left out.
    pub omitted_columns: Vec<String>,
}

/// A row.
#[derive(Debug, Default)]
pub(super) struct Row {
    /// Cells by column; there may be fewer than columns, or more.
    pub cells: Vec<String>,
    /// Whether it has another number of cells than the heading, or a quote without an end.
    pub is_ragged: bool,
}

/// A line that is in no row.
#[derive(Debug)]
pub(super) struct Remark {
    /// Its number, from 1.
    pub line: usize,
    /// The line.
    pub text: String,
    /// Whether it should have been a row. Otherwise it is a comment or a title.
    pub is_broken: bool,
}

/// A table of JSON values, one a row. Values that are neither objects nor lists are in a column of their own.
pub(super) fn of_values(values: &[Json<'_>], form: &'static str) -> Table {
    let mut table = Table { form, ..Table::default() };
    let mut columns = Columns::default();
    for (number, value) in values.iter().enumerate() {
        columns.row = number + 1;
        columns.cells.clear();
        match value {
            Json::Object(_) => columns.flatten(value, "", 0, &mut table),
            Json::List(list) if list.len() <= COLUMNS_MAX => {
                for (at, value) in list.iter().enumerate() {
                    columns.put(&format!("column {}", at + 1), cell(value), &mut table);
                }
            }
            other => columns.put("value", cell(other), &mut table),
        }
        table.rows.push(Row { cells: columns.cells.clone(), is_ragged: false });
    }
    table
}

/// Where the columns of a table of values are.
#[derive(Default)]
struct Columns {
    at: HashMap<String, usize>,
    /// The row that filled a column last, by column; a key that comes again in it gets a column of its own.
    filled_by: Vec<usize>,
    /// The number of the row that is being read, from 1.
    row: usize,
    cells: Vec<String>,
}

impl Columns {
    fn flatten(&mut self, value: &Json<'_>, name: &str, depth: usize, table: &mut Table) {
        match value {
            Json::Object(object) if depth < DEPTH_MAX && !object.is_empty() => {
                for (key, value) in object {
                    let key = excerpt(key, KEY_BYTES_MAX).text;
                    let name = if name.is_empty() { key } else { format!("{name}.{key}") };
                    self.flatten(value, &name, depth + 1, table);
                }
            }
            Json::Object(_) if depth == 0 => {}
            other => self.put(name, cell(other), table),
        }
    }

    fn put(&mut self, name: &str, cell: String, table: &mut Table) {
        let mut repeated = name.to_owned();
        let mut times = 1;
        while let Some(at) = self.at.get(&repeated).copied() {
            if self.filled_by[at] != self.row {
                return self.set(at, cell, table);
            }
            times += 1;
            repeated = format!("{name} #{times}");
        }
        let at = self.filled_by.len();
        if at < COLUMNS_MAX {
            table.names.push(repeated.clone());
        } else {
            table.omitted_columns.push(repeated.clone());
        }
        self.at.insert(repeated, at);
        self.filled_by.push(0);
        self.set(at, cell, table);
    }

    fn set(&mut self, at: usize, cell: String, table: &Table) {
        self.filled_by[at] = self.row;
        if at >= table.names.len() {
            return;
        }
        if self.cells.len() <= at {
            self.cells.resize(at + 1, String::new());
        }
        self.cells[at] = cell;
    }
}

/// A value as a cell. What is null is empty.
fn cell(value: &Json<'_>) -> String {
    match value {
        Json::Null => String::new(),
        Json::Text(text) => text.trim().to_owned(),
        other => other.compact(),
    }
}

/// What the values of a JSON source are together, if they are rows: nearly all are objects, or all are lists of plain values.
pub(super) fn form_of(values: &[Json<'_>], arrangement: Arrangement) -> Option<&'static str> {
    let objects = values.iter().filter(|value| value.is_object()).count();
    let is_flat = |value: &Json<'_>| matches!(value, Json::List(list) if list.iter().all(|value| !value.is_container()));
    let is_table = objects > 0 && objects * 10 >= values.len() * 9 || values.len() > 2 && values.iter().all(is_flat);
    is_table.then_some(match arrangement {
        Arrangement::Document => "JSON list",
        Arrangement::Lines => "JSON lines",
        Arrangement::Sequence => "JSON values",
    })
}

/// A table of lines with separators. Comments, titles above the heading and rules between rows are no rows.
pub(super) fn of_separated(text: &str, dialect: &Dialect) -> Table {
    let form = match dialect.separator {
        b'\t' => "TSV",
        b'|' => "table",
        _ => "CSV",
    };
    let mut table = Table { form, ..Table::default() };
    let mut records = dialect.records(text);
    let mut width = dialect.width;
    if dialect.separator == b'|' {
        records.retain(|record| !is_rule(record.source));
        width -= without_frame(&mut records, width);
    }
    let mut rows: Vec<Record<'_>> = Vec::new();
    for record in records {
        let is_title = rows.is_empty() && record.cells.len() != width;
        if is_title || record.is_comment(width) {
            table.remarks.push(Remark { line: record.line, text: record.source.to_owned(), is_broken: false });
        } else {
            rows.push(record);
        }
    }
    let numbered = (1..=width).map(|number| format!("column {number}"));
    table.names = match rows.split_first() {
        Some((first, rest)) if is_heading(first, &rest[..rest.len().min(HEADING_SAMPLE)]) => {
            let names = first.cells.iter().zip(numbered);
            let names =
                names.map(|(cell, number)| if cell.is_empty() { number } else { cell.trim_start_matches('#').to_owned() });
            let names = unique(names.collect());
            rows.remove(0);
            names
        }
        _ => numbered.collect(),
    };
    if table.names.len() > COLUMNS_MAX {
        table.omitted_columns = table.names.split_off(COLUMNS_MAX);
    }
    let all = width;
    table.rows.extend(rows.into_iter().map(|record| {
        let is_ragged = record.cells.len() != all || record.is_unclosed;
        let mut cells = record.cells;
        if cells.len() <= all {
            cells.truncate(COLUMNS_MAX);
        }
        Row { cells, is_ragged }
    }));
    table
}

/// A line between rows of a table that was drawn with characters.
fn is_rule(line: &str) -> bool {
    line.contains('-') && line.bytes().all(|byte| matches!(byte, b'-' | b'+' | b'|' | b':' | b'=' | b' '))
}

/// Removes the empty cells that the lines `| a | b |` have at their ends; the number of removed columns.
fn without_frame(records: &mut [Record<'_>], width: usize) -> usize {
    let mut removed = 0;
    for is_end in [true, false] {
        let outer = |record: &Record<'_>| {
            let cell = if is_end { record.cells.last() } else { record.cells.first() };
            record.cells.len() != width - removed || cell.is_some_and(String::is_empty)
        };
        if width - removed > 1 && records.iter().all(outer) {
            for record in records.iter_mut().filter(|record| record.cells.len() == width - removed) {
                let at = if is_end { record.cells.len() - 1 } else { 0 };
                record.cells.remove(at);
            }
            removed += 1;
        }
    }
    removed
}

/// Whether the first record names the columns: it has no number, or a word above a column of numbers.
fn is_heading(first: &Record<'_>, rest: &[Record<'_>]) -> bool {
    let is_number = |cell: &str| cell.parse::<f64>().is_ok();
    if first.cells.iter().all(String::is_empty) {
        return false;
    }
    if first.cells.iter().all(|cell| !is_number(cell)) {
        return true;
    }
    first.cells.iter().enumerate().any(|(at, cell)| {
        let below: Vec<&String> =
            rest.iter().filter_map(|record| record.cells.get(at)).filter(|cell| !cell.is_empty()).collect();
        let numbers = below.iter().filter(|cell| is_number(cell)).count();
        !cell.is_empty() && !is_number(cell) && below.len() > 1 && numbers * 10 >= below.len() * 9
    })
}

/// Names that come again get a number.
fn unique(names: Vec<String>) -> Vec<String> {
    let mut times: HashMap<String, usize> = HashMap::new();
    let number = |name: String| {
        let times = times.entry(name.clone()).or_default();
        *times += 1;
        if *times > 1 { format!("{name} #{times}") } else { name }
    };
    names.into_iter().map(number).collect()
}
