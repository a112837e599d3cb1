//! What a column holds: its type, its range, its values and how often they come, and which of its cells are unusual.

use std::collections::HashMap;

use super::rows::Table;
use crate::log::is_trouble;

/// More distinct values than this are not counted.
const DISTINCT_MAX: usize = 10_000;
/// Number of values that are named.
const NAMED_MAX: usize = 8;
/// Columns with at most this many distinct values are described by all of them.
const KINDS_MAX: usize = 12;
/// A value among many others is named if at least one of this many rows has it.
const FREQUENT_SHARE: usize = 30;
/// Nothing is unusual among fewer rows.
const ROWS_MIN: usize = 8;
/// A value is rare if at most one of this many rows has it.
const RARE_SHARE: usize = 50;
/// Bytes of a value that are searched for words of trouble.
const TROUBLE_BYTES_MAX: usize = 64 << 10;

/// How unusual a cell is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Unusual {
    /// Few rows lack a value here.
    Missing,
    /// Few rows have such a value.
    Rare,
    /// Few rows have such a value, and it or the column's name tells of trouble.
    Severe,
}

/// Whether a number is written with a zero before its other digits, as `00501` is and `0.5` is not.
fn is_padded(number: &str) -> bool {
    let digits = number.trim_start_matches(['-', '+']).as_bytes();
    digits.len() > 1 && digits[0] == b'0' && digits[1].is_ascii_digit()
}

/// One column.
#[derive(Debug)]
pub(super) struct Column {
    kind: &'static str,
    empty: usize,
    filled: usize,
    distinct: usize,
    /// Filled cells that are no numbers in a column of numbers.
    strangers: usize,
    /// Values by how often they come, the most frequent first.
    common: Vec<(String, usize)>,
    /// The smallest and the largest, as they are written.
    range: Option<(String, String)>,
    /// Unusual values.
    unusual: HashMap<String, Unusual>,
}

impl Column {
    /// Looks at every row.
    pub fn of(table: &Table, at: usize) -> Self {
        let mut counts: HashMap<&str, usize> = HashMap::new();
        let mut numbers: Vec<(f64, &str)> = Vec::new();
        let (mut empty, mut filled, mut whole, mut lists, mut infinite) = (0, 0, true, 0, 0);
        let mut padded = false;
        for row in &table.rows {
            let cell = row.cells.get(at).map(String::as_str).unwrap_or_default();
            if cell.is_empty() {
                empty += 1;
                continue;
            }
            filled += 1;
            lists += usize::from(cell.starts_with('['));
            match cell.parse::<f64>() {
                Ok(number) if number.is_finite() => {
                    whole &= !cell.contains(['.', 'e', 'E']);
                    padded |= is_padded(cell);
                    numbers.push((number, cell));
                }
                // `NaN`, `Infinity`, and what is larger than a number of 64 bits.
                Ok(_) => infinite += 1,
                Err(_) => {}
            }
            if counts.len() < DISTINCT_MAX || counts.contains_key(cell) {
                *counts.entry(cell).or_default() += 1;
            }
        }
        let strangers = filled - numbers.len() - infinite;
        let is_number = !numbers.is_empty() && strangers * 20 <= filled;
        let is_flag = filled > 0 && counts.keys().all(|value| matches!(*value, "true" | "false"));
        let kind = match (is_number, is_flag) {
            // Postal codes and numbers of articles: nobody counts with them.
            (true, _) if padded => "digits",
            (true, _) if whole && infinite == 0 => "integer",
            (true, _) => "number",
            (_, true) => "flag",
            _ if filled > 0 && lists == filled => "list",
            _ => "text",
        };
        let distinct = counts.len();
        // Numbers beyond 53 bits may be the same as 64-bit floats; then length and digits decide.
        numbers.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| (a.1.len(), a.1).cmp(&(b.1.len(), b.1))));
        let range = is_number.then(|| Some((numbers.first()?.1.to_owned(), numbers.last()?.1.to_owned()))).flatten();
        let few = Few { rows: table.rows.len(), filled, is_number };
        let is_severe_name = table.names.get(at).is_some_and(|name| is_severe_name(name));
        let unusual = few.unusual(&counts, &numbers, empty, is_severe_name);
        let mut common: Vec<(String, usize)> = counts.iter().map(|(value, count)| ((*value).to_owned(), *count)).collect();
        common.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        common.truncate(KINDS_MAX.max(NAMED_MAX));
        let strangers = if is_number { strangers + infinite } else { 0 };
        Self { kind, empty, filled, distinct, strangers, common, range, unusual }
    }

    /// Type, range and number of values, in words.
    pub fn description(&self) -> String {
        let mut described = self.kind.to_owned();
        if let Some((low, high)) = &self.range {
            described.push_str(&format!(", {low} … {high}"));
        }
        if self.strangers > 0 {
            described.push_str(&format!(", {} not finite or no numbers", self.strangers));
        }
        if self.empty > 0 {
            described.push_str(&format!(", {} empty", self.empty));
        }
        if self.filled > 1 && self.kind != "list" {
            if self.distinct == self.filled {
                described.push_str(", all distinct");
            } else {
                let least = if self.distinct >= DISTINCT_MAX { "at least " } else { "" };
                described.push_str(&format!(", {least}{} distinct", self.distinct));
            }
        }
        described
    }

    /// The most frequent values with their counts; empty where no value is frequent.
    pub fn values(&self, shown: impl Fn(&str) -> String) -> String {
        // Of many distinct values only those that at least one row in this many has say something.
        let is_named = |count: usize| self.distinct <= KINDS_MAX || count > 1 && count * FREQUENT_SHARE >= self.filled;
        let named = self.common.iter().filter(|(_, count)| is_named(*count)).take(NAMED_MAX);
        let named: Vec<String> = named.map(|(value, count)| format!("{} ×{count}", shown(value))).collect();
        let more = if self.distinct > named.len() { ", …" } else { "" };
        if named.is_empty() || self.distinct == self.filled { String::new() } else { format!("{}{more}", named.join(", ")) }
    }

    /// The ends of the range.
    pub fn ends(&self) -> impl Iterator<Item = &str> {
        self.range.iter().flat_map(|(low, high)| [low.as_str(), high.as_str()])
    }

    /// How unusual a cell is; `None` for most.
    pub fn unusual(&self, cell: &str) -> Option<Unusual> {
        self.unusual.get(cell).copied()
    }
}

/// What is few in a column.
struct Few {
    rows: usize,
    filled: usize,
    is_number: bool,
}

impl Few {
    fn is_few(&self, count: usize) -> bool {
        count > 0 && count <= (self.rows / RARE_SHARE).max(1)
    }

    /// The unusual values. A value is unusual
    /// - if few rows have any value,
    /// - if few rows have it and most rows have values that many share,
    /// - if it is no finite number among numbers, or beyond Tukey's outer fences and few are,
    /// - if it tells of trouble and few do.
    fn unusual(
        &self,
        counts: &HashMap<&str, usize>,
        numbers: &[(f64, &str)],
        empty: usize,
        is_severe_name: bool,
    ) -> HashMap<String, Unusual> {
        let mut unusual: HashMap<String, Unusual> = HashMap::new();
        if self.rows < ROWS_MIN {
            return unusual;
        }
        if self.is_few(empty) {
            unusual.insert(String::new(), Unusual::Missing);
        }
        let shared: usize = counts.values().filter(|count| !self.is_few(**count)).sum();
        let is_shared = shared * 5 >= self.filled * 4;
        let is_sparse = self.is_few(self.filled);
        let (low, high) = fences(numbers);
        let beyond: usize = numbers.iter().filter(|(number, _)| *number < low || *number > high).count();
        let is_trouble = |value: &str| is_trouble(&value[..value.floor_char_boundary(TROUBLE_BYTES_MAX)]);
        let tells = |value: &str| value.parse::<f64>().is_err() && is_trouble(value);
        let troubles: HashMap<&str, usize> =
            counts.iter().filter(|(value, _)| tells(value)).map(|(value, count)| (*value, *count)).collect();
        let has_few_troubles = self.is_few(troubles.values().sum());
        for (value, count) in counts {
            let number = value.parse::<f64>().ok();
            let is_beyond = number.is_some_and(|number| number < low || number > high) && self.is_few(beyond);
            let is_stranger = self.is_number && number.is_none_or(|number| !number.is_finite()) && self.is_few(*count);
            let is_trouble = troubles.contains_key(value);
            let is_rare = is_sparse || is_shared && self.is_few(*count);
            if is_rare || is_beyond || is_stranger || is_trouble && has_few_troubles {
                let how = if is_trouble || is_severe_name { Unusual::Severe } else { Unusual::Rare };
                unusual.insert((*value).to_owned(), how);
            }
        }
        unusual
    }
}

/// Tukey's outer fences: three times the width of the middle half beyond it. `numbers` is sorted.
fn fences(numbers: &[(f64, &str)]) -> (f64, f64) {
    if numbers.len() < ROWS_MIN {
        return (f64::NEG_INFINITY, f64::INFINITY);
    }
    let (low, high) = (numbers[numbers.len() / 4].0, numbers[numbers.len() * 3 / 4].0);
    let width = (high - low).abs().max(f64::EPSILON);
    (low - 3.0 * width, high + 3.0 * width)
}

/// Whether a column's name says that its values tell of trouble: `err`, `lastError`, `stderr`, `failure_reason`.
pub(super) fn is_severe_name(name: &str) -> bool {
    const WORDS: &[&str] = &[
        "err",
        "error",
        "errors",
        "exception",
        "fail",
        "failed",
        "failure",
        "fatal",
        "panic",
        "reject",
        "stderr",
        "traceback",
        "crash",
    ];
    let mut word = String::new();
    let mut words = Vec::new();
    for c in name.chars().chain([' ']) {
        if !c.is_alphanumeric() || c.is_uppercase() && word.chars().next_back().is_some_and(char::is_lowercase) {
            words.push(std::mem::take(&mut word));
        }
        if c.is_alphanumeric() {
            word.push(c);
        }
    }
    words.iter().any(|word| WORDS.contains(&word.to_lowercase().as_str()))
}

#[cfg(test)]
mod tests {
    use super::super::rows::Row;
    use super::*;

    fn column(name: &str, cells: impl IntoIterator<Item = String>) -> Column {
        let rows = cells.into_iter().map(|cell| Row { cells: vec![cell], is_ragged: false }).collect();
        Column::of(&Table { names: vec![name.to_owned()], rows, ..Table::default() }, 0)
    }

    /// So many usual cells, and behind them an unusual one.
    fn with(usual: impl Fn(usize) -> String, unusual: &str) -> Vec<String> {
        (0..300).map(usual).chain([unusual.to_owned()]).collect()
    }

    #[test]
    fn rare_values_of_every_kind_are_unusual() {
        let cases: [(&str, Vec<String>, &str, Option<Unusual>); 10] = [
            ("err", with(|_| String::new(), "disk full"), "disk full", Some(Unusual::Severe)),
            ("note", with(|_| String::new(), "once"), "once", Some(Unusual::Rare)),
            ("level", with(|at| ["info", "warn"][at % 2].to_owned(), "fatal"), "fatal", Some(Unusual::Severe)),
            ("lastError", with(|_| "none".to_owned(), "E17"), "E17", Some(Unusual::Severe)),
            ("status", with(|at| ["200", "404"][at % 2].to_owned(), "500"), "500", Some(Unusual::Rare)),
            ("ms", with(|at| (10 + at % 90).to_string(), "99999"), "99999", Some(Unusual::Rare)),
            ("ms", with(|at| (10 + at % 90).to_string(), "n/a"), "n/a", Some(Unusual::Rare)),
            ("ms", with(|at| (10 + at % 90).to_string(), "NaN"), "NaN", Some(Unusual::Rare)),
            ("text", with(|at| format!("request {at} done"), "request 5 failed"), "request 5 failed", Some(Unusual::Severe)),
            ("name", with(|at| format!("n{at}"), ""), "", Some(Unusual::Missing)),
        ];
        for (name, cells, value, how) in cases {
            let column = column(name, cells.clone());
            assert_eq!(column.unusual(value), how, "{name} {value}: {column:?}");
            assert_eq!(column.unusual(&cells[0]), None, "{name} {value}");
        }
    }

    #[test]
    fn what_many_rows_have_is_usual() {
        let ids = column("id", (0..300).map(|at| at.to_string()));
        assert!((0..300).all(|at| ids.unusual(&at.to_string()).is_none()));
        let errors = column("error", (0..300).map(|at| if at % 3 == 0 { format!("error {at}") } else { String::new() }));
        assert_eq!(errors.unusual("error 0"), None);
    }

    #[test]
    fn numbers_beyond_64_bits_are_ordered_as_written() {
        let cells = ["123456789012345678901234567891", "123456789012345678901234567890", "5"];
        let column = column("id", cells.map(str::to_owned));
        assert_eq!(column.description(), "integer, 5 … 123456789012345678901234567891, all distinct");
        let names = ["stderr", "failure_reason", "lastError", "lastErrorCode"].map(is_severe_name);
        assert_eq!((names, is_severe_name("terror"), is_severe_name("merry")), ([true; 4], false, false));
    }
}
