//! What a column holds: its type, its range, its values and how often they come.

use std::collections::HashMap;

use super::rows::Table;

/// More distinct values than this are not counted on.
const DISTINCT_MAX: usize = 10_000;
/// So many values are named.
const NAMED_MAX: usize = 8;
/// A column with at most this many values is one of kinds: a value that is there once is odd.
const KINDS_MAX: usize = 12;

/// One column.
#[derive(Debug)]
pub struct Column {
    kind: &'static str,
    empty: usize,
    filled: usize,
    distinct: usize,
    /// Values by how often they come, the most frequent first.
    common: Vec<(String, usize)>,
    /// The smallest and the largest, as they are written.
    range: Option<(String, String)>,
    /// Numbers outside of this are odd.
    usual: Option<(f64, f64)>,
}

impl Column {
    /// Looks at every row.
    pub fn of(table: &Table, at: usize) -> Self {
        let mut counts: HashMap<&str, usize> = HashMap::new();
        let mut numbers: Vec<(f64, &str)> = Vec::new();
        let (mut empty, mut filled, mut whole, mut lists) = (0, 0, true, 0);
        for row in &table.rows {
            let cell = row.get(at).map(String::as_str).unwrap_or_default();
            if cell.is_empty() {
                empty += 1;
                continue;
            }
            filled += 1;
            lists += usize::from(cell.starts_with('['));
            if let Ok(number) = cell.parse::<f64>()
                && number.is_finite()
            {
                whole &= !cell.contains(['.', 'e', 'E']);
                numbers.push((number, cell));
            }
            if counts.len() < DISTINCT_MAX || counts.contains_key(cell) {
                *counts.entry(cell).or_default() += 1;
            }
        }
        let is_number = filled > 0 && numbers.len() == filled;
        let is_flag = filled > 0 && counts.keys().all(|value| matches!(*value, "true" | "false"));
        let kind = match (is_number, is_flag) {
            (true, _) if whole => "integer",
            (true, _) => "number",
            (_, true) => "flag",
            _ if filled > 0 && lists == filled => "list",
            _ => "text",
        };
        let distinct = counts.len();
        let mut common: Vec<(String, usize)> = counts.iter().map(|(value, count)| ((*value).to_owned(), *count)).collect();
        common.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        common.truncate(KINDS_MAX.max(NAMED_MAX));
        numbers.sort_by(|a, b| a.0.total_cmp(&b.0));
        let range = is_number.then(|| Some((numbers.first()?.1.to_owned(), numbers.last()?.1.to_owned()))).flatten();
        // Tukey's outer fences: three times the middle half's width beyond it.
        let usual = (is_number && numbers.len() >= 8).then(|| {
            let (low, high) = (numbers[numbers.len() / 4].0, numbers[numbers.len() * 3 / 4].0);
            let width = (high - low).abs().max(f64::EPSILON);
            (low - 3.0 * width, high + 3.0 * width)
        });
        Self { kind, empty, filled, distinct, common, range, usual }
    }

    /// Type, range and how many values there are, in words.
    pub fn told(&self) -> String {
        let mut told = self.kind.to_owned();
        if let Some((low, high)) = &self.range {
            told.push_str(&format!(", {low} … {high}"));
        }
        if self.empty > 0 {
            told.push_str(&format!(", {} empty", self.empty));
        }
        if self.filled > 1 && self.kind != "list" {
            if self.distinct == self.filled {
                told.push_str(", all distinct");
            } else {
                let least = if self.distinct >= DISTINCT_MAX { "at least " } else { "" };
                told.push_str(&format!(", {least}{} distinct", self.distinct));
            }
        }
        told
    }

    /// The most frequent values with their counts; nothing where no value comes twice.
    pub fn values(&self) -> String {
        let named = self.common.iter().filter(|(_, count)| self.distinct <= KINDS_MAX || *count > 1).take(NAMED_MAX);
        let named: Vec<String> = named.map(|(value, count)| format!("{value} ×{count}")).collect();
        let more = if self.distinct > named.len() { ", …" } else { "" };
        if named.is_empty() || self.distinct == self.filled {
            String::new()
        } else {
            format!(": {}{more}", named.join(", "))
        }
    }

    /// The ends of the range.
    pub fn ends(&self) -> impl Iterator<Item = &str> {
        self.range.iter().flat_map(|(low, high)| [low.as_str(), high.as_str()])
    }

    /// Whether a value is far from the others, or the only one of its kind.
    pub fn is_odd(&self, value: &str) -> bool {
        if let (Some((low, high)), Ok(number)) = (self.usual, value.parse::<f64>()) {
            return number < low || number > high;
        }
        self.kind == "text"
            && self.distinct <= KINDS_MAX
            && self.filled >= 3 * self.distinct
            && self.common.iter().any(|(known, count)| *count == 1 && known == value)
    }
}
