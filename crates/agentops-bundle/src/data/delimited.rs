//! Tables whose columns are parted by a character, quoted as RFC 4180 has it.

use super::table::Table;

/// What may part columns, the most likely first.
const DELIMITERS: [u8; 4] = [b'\t', b',', b';', b'|'];
/// Lines that are looked at before a text counts as a table.
const LOOKED_AT: usize = 50;

/// What parts the columns; `None` where the text is no table: at least three lines, of which nine in ten have as many columns as
/// the first.
#[must_use]
pub fn delimiter(text: &str) -> Option<u8> {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).take(LOOKED_AT).collect();
    let first = lines.first()?;
    DELIMITERS.into_iter().find(|delimiter| {
        let columns = cells(first, *delimiter).len();
        let alike = lines.iter().filter(|line| cells(line, *delimiter).len() == columns).count();
        // Prose has commas too, but not names of columns.
        let is_header = cells(first, *delimiter).iter().all(|cell| cell.chars().count() <= 40 && !cell.ends_with('.'));
        columns > 1 && lines.len() > 2 && alike * 10 >= lines.len() * 9 && is_header
    })
}

/// The table of a text; its first line names the columns.
pub(super) fn table(text: &str) -> Option<Table> {
    let delimiter = delimiter(text)?;
    let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let names = cells(lines.next()?.1, delimiter);
    let width = names.len();
    let mut table = Table::new(String::new(), names);
    for (index, line) in lines {
        let mut row: Vec<Option<String>> = cells(line, delimiter).into_iter().map(Some).collect();
        row.resize(width, None);
        table.push(row, line.trim_end().to_owned(), format!("line {}", index + 1));
    }
    Some(table)
}

fn cells(line: &str, delimiter: u8) -> Vec<String> {
    let line = if delimiter == b'|' { line.trim().trim_matches('|') } else { line };
    let mut cells = Vec::new();
    let mut cell = String::new();
    let mut quoted = false;
    for c in line.chars() {
        match c {
            '"' if delimiter != b'|' => quoted = !quoted,
            c if c == char::from(delimiter) && !quoted => cells.push(std::mem::take(&mut cell).trim().to_owned()),
            c => cell.push(c),
        }
    }
    cells.push(cell.trim().to_owned());
    cells
}
