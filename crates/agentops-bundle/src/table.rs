//! JSON, JSON lines, CSV and TSV made small: columns with their types, ranges and values, then the rows that say most.
//!
//! Rare values and their rows come first, those that tell of trouble before the others; then the first and last rows. A JSON
//! document that is no table keeps its shape: keys from the top down, of long lists the first and last elements. Lists of many
//! objects within a document are tables.

mod account;
mod columns;
mod document;
pub(crate) mod json;
mod rows;
pub(crate) mod separated;
#[cfg(test)]
mod tests;

use agentops_text::tokens::text_tokens;

use crate::excerpt::{Excerpt, excerpt};
use crate::pick::{self, Piece};
use crate::{Class, Compressed, Fact, SourceError};
use account::{Account, Place};
use columns::{Column, Unusual};
use json::Json;
use rows::{Remark, Row, Table};
use separated::Dialect;

/// Of a longer cell only a part is shown.
const CELL_BYTES_MAX: usize = 120;
/// A row whose line is longer shows its unusual cells alone first.
const ROW_BYTES_MAX: usize = 300;
/// Rows at either end that are shown first.
const ENDS: usize = 3;
/// Cells of an unusual row that are named.
const UNUSUAL_CELLS_MAX: usize = 6;
/// Unusual rows that are facts.
const UNUSUAL_FACTS_MAX: usize = 100;
/// Comments and broken lines that are facts.
const REMARK_FACTS_MAX: usize = 50;
/// Records with the usual number of cells make a table from this share on, in percent.
const SEPARATED_SHARE_MIN: usize = 50;

/// Makes a table or a JSON document fit into `budget` o200k tokens. A source that fits is returned as it is.
///
/// # Errors
/// When it is neither JSON nor lines with the same number of separators.
pub fn compress(source: &[u8], budget: u64) -> Result<Compressed, SourceError> {
    let text = String::from_utf8_lossy(source);
    let before = text_tokens(&text);
    let Some(draft) = Draft::of(&text) else {
        let detail = String::from("neither JSON nor lines with the same number of separators");
        return Err(SourceError::Form { expected: "table", detail });
    };
    if before <= budget {
        return Ok(Compressed::whole(text.into_owned(), before, draft.facts));
    }
    let made = pick::select(&draft.head, &draft.pieces, "…\n", 3.0, budget);
    let (coverage, omitted) = draft.account.finish(&made.is_taken);
    Ok(Compressed::new(made.text, before, made.tokens, draft.facts).covering(coverage, omitted))
}

/// A result before it is known how much of it fits.
#[derive(Debug, Default)]
struct Draft {
    head: String,
    pieces: Vec<Piece>,
    facts: Vec<Fact>,
    account: Account,
}

impl Draft {
    fn of(text: &str) -> Option<Self> {
        if let Some(source) = json::read(text) {
            return Some(Self::of_json(source));
        }
        let dialect = Dialect::of(text).filter(|dialect| dialect.share_percent >= SEPARATED_SHARE_MIN)?;
        let table = rows::of_separated(text, &dialect);
        let is_table = !table.names.is_empty() && table.rows.len() + table.remarks.len() > 0;
        is_table.then(|| Self::of_table(&table, ""))
    }

    fn of_json(source: json::JsonSource<'_>) -> Self {
        let remark = |(line, text): (usize, &str), is_broken| Remark { line, text: text.to_owned(), is_broken };
        let broken = source.broken.into_iter().map(|line| remark(line, true));
        let comments = source.comments.into_iter().map(|line| remark(line, false));
        let mut remarks: Vec<Remark> = broken.chain(comments).collect();
        remarks.sort_by_key(|remark| remark.line);
        let end = if source.ends_early { " The source ends within its last value." } else { "" };
        let values: Vec<Json<'_>> = source.values.into_iter().map(|(_, value)| value).collect();
        if let [Json::List(list)] = values.as_slice()
            && let Some(form) = rows::form_of(list, source.arrangement)
        {
            let table = Table { remarks, ..rows::of_values(list, form) };
            return Self::of_table(&table, end);
        }
        if values.len() > 1
            && let Some(form) = rows::form_of(&values, source.arrangement)
        {
            let table = Table { remarks, ..rows::of_values(&values, form) };
            return Self::of_table(&table, end);
        }
        let head = format!("JSON, shortened; [n] = a list of n, {{n}} = an object of n keys, … left out.{end}\n");
        let mut draft = Self { head, ..Self::default() };
        draft.remarks(&remarks);
        for value in &values {
            document::add(value, &mut draft);
        }
        draft
    }

    fn of_table(table: &Table, end: &str) -> Self {
        let mut draft = Self { head: format!("{}, shortened; … rows left out.{end}\n", sizes(table)), ..Self::default() };
        draft.remarks(&table.remarks);
        draft.table(table, &Within { path: "", piece: None, unit: None, scale: 1.0 });
        draft
    }

    fn piece(&mut self, text: String, value: f64, needs: Option<usize>) -> usize {
        self.pieces.push(Piece { text, value, needs });
        self.pieces.len() - 1
    }

    /// Lines that are in no row: broken ones before comments and titles.
    fn remarks(&mut self, remarks: &[Remark]) {
        for (count, remark) in remarks.iter().enumerate() {
            let shown = line_excerpt(&remark.text, CELL_BYTES_MAX * 2);
            let what = if remark.is_broken { "broken, as it stands: " } else { "" };
            let text = format!("line {}: {what}{}\n", remark.line, shown.text);
            let is_fact = count < REMARK_FACTS_MAX;
            let value = if remark.is_broken { 60.0 } else { 20.0 };
            let piece = self.piece(text, if is_fact { value } else { 1.0 }, None);
            let place = Place::Numbered(String::from("line"), remark.line as u64);
            if remark.is_broken {
                self.account.add_broken(piece, shown.omitted_bytes == 0, place);
            } else {
                self.account.add(piece, shown.omitted_bytes == 0, place, None);
            }
            if is_fact {
                let fact = remark.text.lines().next().unwrap_or_default();
                let fact = &fact[..fact.floor_char_boundary(CELL_BYTES_MAX)];
                self.facts.push(Fact::new(Class::RareEvent, fact, format!("line {}", remark.line)));
            }
        }
    }

    /// Adds a table.
    fn table(&mut self, table: &Table, within: &Within<'_>) {
        let columns: Vec<Column> = (0..table.names.len()).map(|at| Column::of(table, at)).collect();
        let names: Vec<String> = table.names.iter().map(|name| cell_excerpt(name).text).collect();
        for (name, column) in names.iter().zip(&columns) {
            let place = within.place(&format!("column {name}"));
            let text = format!("- {name}: {}\n", column.description());
            let at = self.piece(text, 40.0 * within.scale, within.piece);
            let values = column.values(|value| cell_excerpt(value).text);
            if !values.is_empty() {
                self.piece(format!("  {values}\n"), 4.0 * within.scale, Some(at));
            }
            self.facts.push(Fact::new(Class::Identifier, name.clone(), place.clone()));
            for end in column.ends() {
                self.facts.push(Fact::new(Class::Number, end.to_owned(), place.clone()));
            }
        }
        for (at, name) in table.omitted_columns.iter().enumerate() {
            let number = (table.names.len() + at + 1) as u64;
            if at == 0 {
                let text = format!("- {} more columns, from {} on\n", table.omitted_columns.len(), cell_excerpt(name).text);
                self.piece(text, 40.0 * within.scale, within.piece);
            }
            self.account.add_omitted(Place::Numbered(within.place("column"), number), within.unit);
        }
        let ragged: Vec<usize> = (0..table.rows.len()).filter(|at| table.rows[*at].is_ragged).collect();
        if !ragged.is_empty() {
            let numbers: Vec<String> = ragged.iter().take(20).map(|at| (at + 1).to_string()).collect();
            let more = if ragged.len() > numbers.len() { ", …" } else { "" };
            let text = format!(
                "- {} rows with other numbers of cells or an open quote: {}{more}\n",
                ragged.len(),
                numbers.join(", ")
            );
            self.piece(text, 30.0 * within.scale, within.piece);
        }
        let heading = self.piece(format!("rows: {}\n", names.join(" | ")), within.scale, within.piece);
        let unusual = unusual_rows(table, &columns);
        let mut unusual = unusual.iter().peekable();
        for (at, row) in table.rows.iter().enumerate() {
            let unusual = unusual.next_if(|unusual| unusual.row == at);
            let from_end = at.min(table.rows.len() - 1 - at);
            let usual_value = if from_end < ENDS { 12.0 } else { 0.5 };
            self.row(at, row, usual_value, unusual, &Rows { names: &names, heading, within });
        }
    }

    fn row(&mut self, at: usize, row: &Row, usual_value: f64, unusual: Option<&UnusualRow>, rows: &Rows<'_>) {
        let number = at + 1;
        let scale = rows.within.scale;
        let shown: Vec<Excerpt> = row.cells.iter().map(|cell| cell_excerpt(cell)).collect();
        let is_whole = shown.iter().all(|cell| cell.omitted_bytes == 0);
        let cells: Vec<&str> = shown.iter().map(|cell| cell.text.as_str()).collect();
        let line = format!("{number}: {}", cells.join(" | "));
        let group = rows.within.place("row");
        let mut heading = rows.heading;
        let mut value = usual_value;
        if let Some(unusual) = unusual {
            let place = format!("{group} {number}");
            let class = if unusual.how == Unusual::Severe { Class::Error } else { Class::RareEvent };
            if line.len() <= ROW_BYTES_MAX {
                value = unusual.value().max(usual_value);
                if unusual.is_fact {
                    self.facts.push(Fact::new(class, line.clone(), place));
                }
            } else {
                let cell = |at: &usize| format!("{} = {}", rows.names[*at], shown.get(*at).map_or("", |cell| &cell.text));
                let text = unusual.cells.iter().map(cell).collect::<Vec<_>>().join("; ");
                let text = format!("{number}, unusual: {text}\n");
                heading = self.piece(text, unusual.value() * scale, Some(heading));
                for at in unusual.cells.iter().filter(|_| unusual.is_fact) {
                    let cell = row.cells.get(*at).map_or("", String::as_str);
                    let text = escaped(&cell[..cell.floor_char_boundary(CELL_BYTES_MAX)]);
                    if !text.is_empty() {
                        self.facts.push(Fact::new(class, text, place.clone()));
                    }
                }
            }
        }
        let piece = self.piece(format!("{line}\n"), value * scale, Some(heading));
        self.account.add(piece, is_whole, Place::Numbered(group, number as u64), rows.within.unit);
    }
}

/// Where a table stands: alone, or within a document.
struct Within<'a> {
    /// Its path in the document.
    path: &'a str,
    /// The piece that shows its key.
    piece: Option<usize>,
    /// What contains it in the account.
    unit: Option<usize>,
    /// The value of its pieces beside others.
    scale: f64,
}

impl Within<'_> {
    fn place(&self, what: &str) -> String {
        if self.path.is_empty() { what.to_owned() } else { format!("{}, {what}", self.path) }
    }
}

/// What the rows of a table have in common.
struct Rows<'a> {
    names: &'a [String],
    heading: usize,
    within: &'a Within<'a>,
}

fn sizes(table: &Table) -> String {
    let columns = table.names.len() + table.omitted_columns.len();
    format!("Table ({}) of {} rows and {columns} columns", table.form, table.rows.len())
}

/// A row with cells that few other rows have.
#[derive(Debug)]
struct UnusualRow {
    row: usize,
    how: Unusual,
    /// Its unusual cells by column, at most [`UNUSUAL_CELLS_MAX`].
    cells: Vec<usize>,
    /// Whether it must not get lost.
    is_fact: bool,
}

impl UnusualRow {
    fn value(&self) -> f64 {
        match self.how {
            Unusual::Severe if self.is_fact => 400.0,
            Unusual::Rare if self.is_fact => 200.0,
            Unusual::Severe | Unusual::Rare => 16.0,
            Unusual::Missing => 8.0,
        }
    }
}

/// The unusual rows, in their order. The first ones that tell of trouble are facts, and then the first others.
fn unusual_rows(table: &Table, columns: &[Column]) -> Vec<UnusualRow> {
    let mut unusual = Vec::new();
    for (at, row) in table.rows.iter().enumerate() {
        let how = |column: usize| {
            let cell = row.cells.get(column).map_or("", String::as_str);
            columns[column].unusual(cell).map(|how| (how, column))
        };
        let mut cells: Vec<(Unusual, usize)> = (0..columns.len()).filter_map(how).collect();
        cells.sort_by_key(|(how, column)| (std::cmp::Reverse(*how), *column));
        cells.truncate(UNUSUAL_CELLS_MAX);
        let how = cells.first().map(|(how, _)| *how).or(row.is_ragged.then_some(Unusual::Missing));
        let Some(how) = how else { continue };
        let cells = cells.into_iter().map(|(_, column)| column).collect();
        unusual.push(UnusualRow { row: at, how, cells, is_fact: false });
    }
    let mut facts = UNUSUAL_FACTS_MAX;
    for how in [Unusual::Severe, Unusual::Rare] {
        for row in unusual.iter_mut().filter(|row| row.how == how) {
            row.is_fact = facts > 0;
            facts = facts.saturating_sub(1);
        }
    }
    unusual
}

fn cell_excerpt(cell: &str) -> Excerpt {
    line_excerpt(cell, CELL_BYTES_MAX)
}

/// What is shown of a text, on one line.
fn line_excerpt(text: &str, bytes_max: usize) -> Excerpt {
    let made = excerpt(text, bytes_max);
    Excerpt { text: escaped(&made.text), ..made }
}

/// Line breaks as they are written in most languages.
fn escaped(text: &str) -> String {
    if text.contains(['\n', '\r']) { text.replace("\r\n", "\\n").replace(['\n', '\r'], "\\n") } else { text.to_owned() }
}
