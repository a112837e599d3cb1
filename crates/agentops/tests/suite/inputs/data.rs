//! Tables and JSON: records are counted right, values stay what they are, and the one row that differs is shown.

use std::fmt::Write;

use super::{Made, latin1, made, marked, utf16};

#[track_caller]
fn data(content: impl AsRef<[u8]>, budget: u64) -> Made {
    made("data", content, budget)
}

/// Lines of a table: a header, then rows by number.
fn rows(header: &str, count: usize, row: impl Fn(usize) -> String) -> String {
    (0..count).fold(format!("{header}\n"), |mut text, at| {
        writeln!(text, "{}", row(at)).unwrap();
        text
    })
}

#[test]
fn a_table_in_utf_16_has_its_first_column() {
    data(utf16(&rows("id,name,total", 300, |at| format!("{at},n{at},{}", at * 3))), 300)
        .holds(&["300 rows", "id: integer, 0 … 299"])
        .lacks(&["\u{feff}", "\u{fffd}"]);
}

#[test]
fn a_byte_order_mark_is_no_part_of_a_column() {
    let plain = marked(&rows("id,name", 300, |at| format!("{at},n{at}")));
    let quoted = marked(&rows("\"id\",\"name\"", 300, |at| format!("\"{at}\",\"n{at}\"")));
    for table in [plain, quoted] {
        data(&table, 300).holds(&["- id: integer, 0 … 299"]).lacks(&["\u{feff}", "\"id"]);
    }
}

#[test]
fn a_table_in_latin_1_keeps_its_letters() {
    data(latin1(&rows("Nr,Straße", 300, |at| format!("{at},Königsallee {}", at % 2))), 300)
        .holds(&["Straße", "Königsallee"]);
}

#[test]
fn a_lone_quote_within_a_cell_swallows_no_record() {
    let table = rows("id|name|town", 300, |at| match at {
        11 => "11|UNION OF TOWNS\" MADONIE\"|Palermo".to_owned(),
        at => format!("{at}|town {at}|Rome"),
    });
    data(&table, 400).holds(&["300 rows", "MADONIE"]);
}

#[test]
fn a_quoted_cell_may_end_the_file() {
    let table = rows("a,b", 200, |at| format!("{at},\"x, {at}\""));
    data(format!("{table}\"last, text\",\"more, text\""), 300).holds(&["201 rows", "last, text"]);
}

#[test]
fn a_quote_that_never_closes_swallows_no_file() {
    let table = rows("id,name,total", 200, |at| match at {
        3 => "3,\"never closed,9".to_owned(),
        150 => "150,the outlier,999999".to_owned(),
        at => format!("{at},n,{}", at % 10),
    });
    data(&table, 400).accounts_for("999999").holds(&["never closed"]);
}

#[test]
fn rows_of_another_length_are_shown_or_named() {
    let table = rows("id,name,total", 60, |at| match at {
        20 => "20,short".to_owned(),
        40 => "40,long,7,surplus value".to_owned(),
        at => format!("{at},n,{}", at % 5),
    });
    data(format!("{table}Total: 60 rows\n"), 400).holds(&["short"]).accounts_for("surplus value").accounts_for("Total: 60");
}

#[test]
fn large_integers_keep_all_their_digits() {
    let lines = rows("", 400, |at| format!("{{\"id\": {}, \"n\": {at}}}", 1_234_567_890_123_456_000_u64 + at as u64 * 7));
    data(lines.trim_start(), 400).holds(&["1234567890123456000", "1234567890123458793"]);
}

#[test]
fn records_that_end_in_carriage_returns_are_counted() {
    let unix = rows("id,name,total", 400, |at| format!("{at},n{at},{}", at * 3));
    for end in ["\r\n", "\r"] {
        data(unix.replace('\n', end), 300).holds(&["400 rows", "total: integer, 0 … 1197"]).lacks(&["\r"]);
    }
}

#[test]
fn tabs_separate_cells_with_commas_and_quotes() {
    let table = rows("id\tnote\ttotal", 300, |at| format!("{at}\t\"say, \"\"hello\"\"\t{at}\"\t{}", at * 5));
    data(&table, 300).holds(&["300 rows", "total: integer, 0 … 1495"]);
}
