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
fn line_breaks_in_quotes_are_part_of_a_cell() {
    let all = rows("id,note,total", 500, |at| format!("{at},\"first {at}\nsecond\",{}", at * 3));
    data(&all, 400).holds(&["500 rows", "id: integer, 0 … 499"]);
    let one = rows("id,note,total", 501, |at| match at {
        20 => "20,\"before\nbehind\",60".to_owned(),
        at => format!("{at},\"plain {at}\",{}", at * 3),
    });
    data(&one, 400).holds(&["501 rows", "id: integer, 0 … 500", "behind"]);
}

#[test]
fn the_separator_that_a_spreadsheet_names_is_used() {
    let table = rows("sep=;\nid;name;total", 400, |at| format!("{at};n{at};{}", at * 2));
    data(&table, 300).holds(&["400 rows", "id: integer, 0 … 399"]);
}

#[test]
fn comment_lines_are_kept_apart_from_the_records() {
    let table = rows("# exported 2026-01-02\n# says \"no\nid,name,total", 400, |at| format!("{at},n{at},{}", at * 2));
    data(&table, 300).holds(&["400 rows", "id: integer, 0 … 399"]).accounts_for("exported 2026-01-02");
}

#[test]
fn a_number_that_json_does_not_have_ends_no_document() {
    for number in ["NaN", "Infinity", "-Infinity", "1e400"] {
        let document = rows("[", 300, |at| {
            let value = if at == 150 { number.to_owned() } else { at.to_string() };
            format!("{{\"id\": {at}, \"v\": {value}}}{}", if at == 299 { "]" } else { "," })
        });
        data(&document, 300).holds(&["300 rows", number]);
        let small = format!("[{{\"v\":{number}}},{{\"v\":1}}]");
        assert_eq!(data(&small, 300).holds(&[&small]).view["kept"], 1.0);
    }
}

#[test]
fn the_only_row_with_an_error_is_shown() {
    let lines = (0..1500).fold(String::new(), |mut text, at| {
        let err = if at == 907 { "\"disk full on shard 7\"" } else { "null" };
        writeln!(text, "{{\"id\": {at}, \"err\": {err}, \"v\": {}}}", at * 37 % 1000).unwrap();
        text
    });
    for budget in [200, 400, 1000] {
        data(&lines, budget).holds(&["disk full on shard 7", "907"]);
    }
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
fn a_nul_byte_ends_no_table() {
    let table = rows("year,name,film", 300, |at| match at {
        7 => "1937,Luise\0Rainer,The Great One".to_owned(),
        at => format!("{},Name {at},Film {at}", 1930 + at),
    });
    data(&table, 400).holds(&["300 rows", "year: integer, 1930 … 2229"]).accounts_for("The Great One");
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
fn codes_with_leading_zeros_are_no_numbers() {
    let table = rows("zip,town", 400, |at| format!("{:05},Town {at}", 501 + at * 13));
    data(&table, 300).holds(&["zip: digits, 00501 … 05688"]);
}

#[test]
fn large_integers_keep_all_their_digits() {
    let lines = rows("", 400, |at| format!("{{\"id\": {}, \"n\": {at}}}", 1_234_567_890_123_456_000_u64 + at as u64 * 7));
    data(lines.trim_start(), 400).holds(&["1234567890123456000", "1234567890123458793"]);
}

#[test]
fn documents_in_a_row_are_all_read() {
    let documents = "{\n  \"name\": \"first\",\n  \"port\": 1\n}\n{\n  \"name\": \"second\",\n  \"port\": 2\n}{\"name\": \"third\", \"port\": 3}\n";
    data(documents, 300).holds(&["first", "second", "third"]);
}

#[test]
fn a_broken_line_among_json_lines_is_shown_or_named() {
    let lines = rows("", 300, |at| match at {
        120 => "{\"id\": 120, \"state\": \"half writ".to_owned(),
        at => format!("{{\"id\": {at}, \"state\": \"ok\"}}"),
    });
    let made = data(lines.trim_start(), 300);
    made.accounts_for("half writ");
    let fidelity = made.view["fidelity"].to_string();
    assert!(made.text.contains("half writ") || fidelity.contains("120") || fidelity.contains("121"), "{fidelity}");
}

#[test]
fn keys_that_come_twice_lose_no_value_unnamed() {
    let lines = rows("", 300, |at| match at {
        150 => "{\"id\": 150, \"note\": \"kept one\", \"note\": \"kept two\"}".to_owned(),
        at => format!("{{\"id\": {at}, \"note\": \"x\"}}"),
    });
    data(lines.trim_start(), 300).holds(&["kept two"]).accounts_for("kept one");
}

#[test]
fn an_export_within_an_object_is_a_table() {
    let document = rows("{\"count\": 200, \"rows\": [", 200, |at| {
        let state = if at == 137 { "rejected: quota 9 exceeded" } else { "ok" };
        format!("{{\"id\": {at}, \"state\": \"{state}\"}}{}", if at == 199 { "]}" } else { "," })
    });
    data(&document, 300).holds(&["quota 9 exceeded", "137"]);
}

#[test]
fn records_that_end_in_carriage_returns_are_counted() {
    let unix = rows("id,name,total", 400, |at| format!("{at},n{at},{}", at * 3));
    for end in ["\r\n", "\r"] {
        data(unix.replace('\n', end), 300).holds(&["400 rows", "total: integer, 0 … 1197"]).lacks(&["\r"]);
    }
}

#[test]
fn columns_without_a_name_or_with_the_same_name_are_all_there() {
    let table = rows("id,,value,value", 300, |at| format!("{at},u{at},{},{}", at * 2, 1000 + at));
    data(&table, 400).holds(&["300 rows", "1299", "598"]);
}

#[test]
fn tabs_separate_cells_with_commas_and_quotes() {
    let table = rows("id\tnote\ttotal", 300, |at| format!("{at}\t\"say, \"\"hello\"\"\t{at}\"\t{}", at * 5));
    data(&table, 300).holds(&["300 rows", "total: integer, 0 … 1495"]);
}

#[test]
fn integers_beyond_64_bits_keep_all_their_digits() {
    let lines = rows("", 300, |at| match at {
        150 => "{\"id\": 123456789012345678901234567890, \"n\": 150}".to_owned(),
        at => format!("{{\"id\": {at}, \"n\": {at}}}"),
    });
    data(lines.trim_start(), 400).holds(&["123456789012345678901234567890"]);
}
