//! Rows of named columns, from wherever they came.

use std::collections::BTreeMap;

use crate::page::Page;
use crate::{Class, Fact};

/// Values of a column that are counted one by one; a column with more is known by its range only.
const VALUES_MAX: usize = 64;
/// Columns that are described; the rest is only named.
const COLUMNS_MAX: usize = 200;
/// The longest value that is shown, in characters.
const SHOWN_CHARS: usize = 60;
/// Rows of a table whose value is found in less than this share of all rows are rare.
const RARE_SHARE: usize = 100;
/// Facts about rare rows.
const RARE_ROWS_MAX: usize = 60;

/// A table.
pub(super) struct Table {
    /// What it is called in the source: a path in JSON, or nothing.
    pub title: String,
    columns: Vec<Column>,
    rows: Vec<Row>,
}

struct Row {
    /// As it is shown.
    line: String,
    /// Line or index in the source.
    place: String,
    cells: Vec<Option<String>>,
}

struct Column {
    name: String,
    filled: usize,
    /// Smallest and largest, where every value is a number.
    range: Option<(f64, f64)>,
    is_number: bool,
    values: BTreeMap<String, usize>,
    /// More values than are counted one by one.
    many: bool,
    /// The rows of the smallest and the largest number.
    extremes: (usize, usize),
}

impl Table {
    pub(super) fn new(title: String, names: Vec<String>) -> Self {
        let column = |name| Column {
            name,
            filled: 0,
            range: None,
            is_number: true,
            values: BTreeMap::new(),
            many: false,
            extremes: (0, 0),
        };
        Self { title, columns: names.into_iter().map(column).collect(), rows: Vec::new() }
    }

    /// Adds a row; `cells` are in the order of the columns, `None` where it has no value.
    pub(super) fn push(&mut self, cells: Vec<Option<String>>, line: String, place: String) {
        let index = self.rows.len();
        for (column, cell) in self.columns.iter_mut().zip(&cells) {
            if let Some(value) = cell.as_deref().filter(|value| !value.is_empty()) {
                column.add(value, index);
            }
        }
        self.rows.push(Row { line, place, cells });
    }

    pub(super) fn facts(&self) -> Vec<Fact> {
        let mut facts = Vec::new();
        let place = if self.title.is_empty() { "the table".to_owned() } else { self.title.clone() };
        for column in self.columns.iter().take(COLUMNS_MAX) {
            facts.push(Fact::new(Class::Identifier, column.name.clone(), place.clone()));
            if let Some((low, high)) = column.range.filter(|_| column.is_number) {
                facts.push(Fact::new(Class::Number, number(low), self.rows[column.extremes.0].place.clone()));
                facts.push(Fact::new(Class::Number, number(high), self.rows[column.extremes.1].place.clone()));
            }
        }
        for (index, _) in self.ranked().into_iter().filter(|(_, value)| *value >= 1.0).take(RARE_ROWS_MAX) {
            facts.push(Fact::new(Class::RareEvent, self.rows[index].line.clone(), self.rows[index].place.clone()));
        }
        facts
    }

    /// What the columns hold and the rows that say most, within a budget of tokens.
    pub(super) fn summary(&self, budget: u64) -> String {
        let mut page = Page::new(budget);
        let title = if self.title.is_empty() { String::new() } else { format!("{}: ", self.title) };
        page.line(&format!("{title}{} rows, {} columns", self.rows.len(), self.columns.len()));
        let mut described = 0;
        for column in self.columns.iter().take(COLUMNS_MAX) {
            // Rows are worth as much as the description of columns.
            if page.left() < budget / 3 || !page.line(&column.described(self.rows.len())) {
                break;
            }
            described += 1;
        }
        if described < self.columns.len() {
            let names: Vec<&str> = self.columns[described..].iter().map(|column| column.name.as_str()).collect();
            page.line(&format!("- also: {}", crate::fidelity::flat(&names.join(", "))));
        }
        let mut taken = Vec::new();
        let mut room = page.left().saturating_sub(Page::cost("rows, the rarest kept:"));
        for (index, _) in self.ranked() {
            let cost = Page::cost(&self.rows[index].line) + 4;
            if cost <= room {
                room -= cost;
                taken.push(index);
            }
            if room < 8 {
                break;
            }
        }
        taken.sort_unstable();
        page.line("rows, the rarest kept:");
        for index in taken {
            let row = &self.rows[index];
            page.line(&row.line);
        }
        page.finish()
    }

    /// The rows, those first that are least like the others; among equals the first and the last of the table.
    fn ranked(&self) -> Vec<(usize, f64)> {
        let last = self.rows.len().saturating_sub(1);
        let mut ranked: Vec<(usize, f64)> = (0..self.rows.len()).map(|index| (index, self.value(index, last))).collect();
        ranked.sort_by(|(a, left), (b, right)| right.total_cmp(left).then(a.cmp(b)));
        ranked
    }

    fn value(&self, index: usize, last: usize) -> f64 {
        let mut value = if index == 0 || index == last { 0.5 } else { 0.0 };
        for (column, cell) in self.columns.iter().zip(&self.rows[index].cells) {
            match cell {
                Some(cell) if !column.many => {
                    let count = column.values.get(cell).copied().unwrap_or(1);
                    if count * RARE_SHARE < self.rows.len().max(RARE_SHARE) || count == 1 && column.values.len() < 10 {
                        value += 1.0 + 1.0 / count as f64;
                    }
                }
                None if column.filled * 10 > self.rows.len() * 9 => value += 1.0,
                _ => {}
            }
            let varies = column.range.is_some_and(|(low, high)| high > low);
            if column.is_number && varies && (index == column.extremes.0 || index == column.extremes.1) {
                value += 0.9;
            }
        }
        value
    }
}

impl Column {
    fn add(&mut self, value: &str, row: usize) {
        self.filled += 1;
        match value.parse::<f64>() {
            Ok(found) if found.is_finite() => {
                let (low, high) = self.range.unwrap_or((found, found));
                if self.range.is_none() || found < low {
                    self.extremes.0 = row;
                }
                if self.range.is_none() || found > high {
                    self.extremes.1 = row;
                }
                self.range = Some((low.min(found), high.max(found)));
            }
            _ => self.is_number = false,
        }
        if self.many {
            return;
        }
        *self.values.entry(value.to_owned()).or_default() += 1;
        if self.values.len() > VALUES_MAX {
            self.many = true;
            self.values.clear();
        }
    }

    fn described(&self, rows: usize) -> String {
        let missing = if self.filled < rows { format!(", {} empty", rows - self.filled) } else { String::new() };
        let range = self.range.filter(|_| self.is_number).map(|(low, high)| {
            if low < high { format!("{} to {}", number(low), number(high)) } else { format!("always {}", number(low)) }
        });
        let values = match (self.many, range) {
            (true, Some(range)) => range,
            (true, None) => "text, different in most rows".to_owned(),
            (false, range) => {
                let mut common: Vec<(&String, &usize)> = self.values.iter().collect();
                common.sort_by(|(a, left), (b, right)| right.cmp(left).then(a.cmp(b)));
                let list: Vec<String> =
                    common.iter().take(8).map(|(value, count)| format!("{} ×{count}", short(value))).collect();
                let more = if common.len() > 8 { format!(", {} more", common.len() - 8) } else { String::new() };
                let range = range.map(|range| format!("{range}: ")).unwrap_or_default();
                format!("{range}{}{more}", list.join(", "))
            }
        };
        format!("- {}: {values}{missing}", short(&self.name))
    }
}

/// A value on one line, not too long.
pub(super) fn short(value: &str) -> String {
    let flat = crate::fidelity::flat(value);
    match flat.char_indices().nth(SHOWN_CHARS) {
        Some((at, _)) => format!("{}…", &flat[..at]),
        None => flat,
    }
}

fn number(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() < 1e15 { format!("{value:.0}") } else { value.to_string() }
}
