//! Tables and documents of every form, self-made, and what holds for any of them.

use super::*;
use crate::promises;
use proptest::prelude::*;

#[test]
fn columns_are_told_and_odd_rows_kept() {
    let mut source = String::from("id,level,ms\n");
    for n in 1..=300 {
        let (level, ms) = if n == 171 { ("fatal", 99_999) } else { (["info", "warn"][n % 2], 10 + n % 7) };
        source.push_str(&format!("{n},{level},{ms}\n"));
    }
    let made = compress(source.as_bytes(), 200).expect("a table");
    assert!(made.text.contains("- id: integer, 1 … 300, all distinct"), "{}", made.text);
    assert!(made.text.contains("- ms: integer, 10 … 99999"), "{}", made.text);
    assert!(made.text.contains("info ×150"), "{}", made.text);
    assert!(made.text.contains("171: 171 | fatal | 99999") && made.text.contains("1: 1 | warn | 11"), "{}", made.text);
    assert!(made.after <= 200 && made.before > 5 * made.after);
    let report = made.fidelity();
    assert_eq!(report.lost, []);
    assert!(report.score().is_some_and(|score| (0.99..1.0).contains(&score)), "rows are left out: {:?}", report.score());
}

#[test]
fn json_lines_have_columns_of_paths() {
    let line = |at: usize| {
        if at == 0 { "{\"a\":{\"b\":0},\"c\":[1,2]}\n".to_owned() } else { format!("{{\"a\":{{\"b\":{at}}}}}\n") }
    };
    let made = compress((0..60).map(line).collect::<String>().as_bytes(), 200).expect("a table");
    assert!(made.text.contains("- a.b: integer, 0 … 59, all distinct\n- c: list, 59 empty"), "{}", made.text);
}

#[test]
fn a_document_keeps_its_shape() {
    let list: Vec<usize> = (0..500).map(|at| at * 7919).collect();
    let source = serde_json::json!({"name": "x", "deps": {"serde": "1.0"}, "list": list}).to_string();
    let made = compress(source.as_bytes(), 60).expect("JSON");
    for wanted in ["name: \"x\"", "deps:\n  serde: \"1.0\"", "list: [500]"] {
        assert!(made.text.contains(wanted), "{wanted} is missing in\n{}", made.text);
    }
    assert!(made.after <= 60);
}

#[test]
fn what_is_no_table_is_refused() {
    assert!(matches!(compress(b"hello\nworld", 100), Err(SourceError::Form { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn never_over_budget(rows in prop::collection::vec(("[a-z\",]{0,5}", any::<i64>(), any::<f64>()), 0..30), budget in 0u64..200) {
        let lines = |row: &(String, i64, f64)| format!("{}\n", serde_json::json!({"a": row.0, "b": row.1, "c": row.2}));
        for source in [
            rows.iter().map(lines).collect::<String>(),
            rows.iter().map(|row| format!("{},{},{}\n", row.0, row.1, row.2)).collect(),
            serde_json::json!({"x": rows}).to_string(),
        ] {
            if let Ok(made) = compress(source.as_bytes(), budget) {
                prop_assert!(made.after <= budget && made.after == text_tokens(&made.text));
            }
        }
    }
}

/// Compresses a source to a budget that it does not fit.
fn shortened(source: &str, budget: u64) -> Compressed {
    let made = compress(source.as_bytes(), budget).expect("a table");
    assert!(made.after <= budget && made.before > budget, "{} of {budget}, {} before", made.after, made.before);
    made
}

#[test]
fn csv_of_every_form_has_its_rows() {
    let quoted = |at: usize| format!("{at},\"first {at}\nsecond\",{}\n", at * 3);
    let one = |at: usize| if at == 7 { quoted(7) } else { format!("{at},\"plain {at}\",{}\n", at * 3) };
    let rows = |row: &dyn Fn(usize) -> String| (0..60).map(row).collect::<String>();
    for (source, sizes) in [
        (format!("id,note,total\n{}", rows(&quoted)), "Table (CSV) of 60 rows and 3 columns"),
        (format!("id,note,total\n{}", rows(&one)), "Table (CSV) of 60 rows and 3 columns"),
        (format!("sep=;\nid;note;total\n{}", rows(&quoted).replace(',', ";")), "Table (CSV) of 60 rows and 3 columns"),
        (format!("# exported 2026\n# by tool\nid,note,total\n{}", rows(&one)), "Table (CSV) of 60 rows and 3 columns"),
        (
            format!("Report of May\n\nid;note;total\n{}", rows(&one).replace(',', ";")),
            "Table (CSV) of 60 rows and 3 columns",
        ),
        (format!("id\tnote\ttotal\n{}", rows(&one).replace(',', "\t")), "Table (TSV) of 60 rows and 3 columns"),
        (
            format!("| id | note | total |\n|---|---|---|\n{}", rows(&|at| format!("| {at} | n {at} | {at} |\n"))),
            "Table (table) of 60 rows and 3 columns",
        ),
        (
            format!(" id | note | total \n----+------+-------\n{}", rows(&|at| format!(" {at} | n {at} | {at} \n"))),
            "Table (table) of 60 rows and 3 columns",
        ),
    ] {
        let made = shortened(&source, 250);
        assert!(made.text.starts_with(sizes), "{source}\n{}", made.text);
        assert!(made.text.contains("- id: integer, 0 … 59, all distinct\n"), "{}", made.text);
        assert!(made.text.contains("- total: integer, "), "{}", made.text);
    }
    let made = shortened(&format!("# exported 2026\n# by tool\nid,note,total\n{}", rows(&one)), 250);
    assert!(made.text.contains("line 1: # exported 2026\nline 2: # by tool\n"), "{}", made.text);
    assert!(made.text.contains("1: 0 | plain 0 | 0\n"), "{}", made.text);
}

#[test]
fn json_beyond_the_standard_is_a_table() {
    let rows =
        |value: &str| format!("[{}{{\"id\":{value}}}]", (0..80).map(|at| format!("{{\"id\":{at}}},")).collect::<String>());
    for (value, column) in [
        ("NaN", "- id: number, 0 … 79, 1 not finite or no numbers, all distinct\n"),
        ("-Infinity", "- id: number, 0 … 79, 1 not finite or no numbers, all distinct\n"),
        ("1e400", "- id: number, 0 … 79, 1 not finite or no numbers, all distinct\n"),
        ("123456789012345678901234567890", "- id: integer, 0 … 123456789012345678901234567890, all distinct\n"),
    ] {
        let made = shortened(&rows(value), 150);
        assert!(made.text.starts_with("Table (JSON list) of 81 rows and 1 columns"), "{}", made.text);
        assert!(made.text.contains(column), "{value}\n{}", made.text);
        assert!(made.text.contains(&format!("81: {value}\n")), "{value}\n{}", made.text);
    }
    let twice = shortened(&format!("[{}{{\"id\":1,\"id\":2}}]", "{\"id\":1},".repeat(80)), 150);
    assert!(twice.text.contains("- id #2: integer, 2 … 2, 80 empty\n"), "{}", twice.text);
}

/// Lines of which exactly one has an error.
fn events() -> String {
    let line = |at: usize| {
        let err = if at == 1033 { "\"disk full on /dev/sdb\"" } else { "null" };
        format!("{{\"id\": {at}, \"err\": {err}, \"v\": {}}}\n", at * 37 % 101)
    };
    (0..1500).map(line).collect()
}

#[test]
fn the_only_error_of_many_lines_is_kept_at_any_budget() {
    for budget in [60, 100, 200, 400, 2000] {
        let made = shortened(&events(), budget);
        assert!(made.text.contains("1034: 1033 | disk full on /dev/sdb | "), "{budget}\n{}", made.text);
        let facts: Vec<&str> =
            made.facts.iter().filter(|fact| fact.class == Class::Error).map(|fact| fact.text.as_str()).collect();
        assert_eq!(facts.len(), 1, "{facts:?}");
    }
}

#[test]
fn a_rare_value_is_kept_wherever_it_stands() {
    let nested =
        format!("{{\"count\": 1500, \"data\": {{\"items\": [{}]}}}}", events().lines().collect::<Vec<_>>().join(","));
    let made = shortened(&nested, 300);
    assert!(made.text.contains("1034: 1033 | disk full on /dev/sdb | "), "{}", made.text);
    let text = |at: usize| if at == 700 { "upload failed: quota" } else { ["upload done", "download done"][at % 2] };
    let csv: String = (0..1500).map(|at| format!("{at},{},{at}\n", text(at))).collect();
    let made = shortened(&format!("id,text,n\n{csv}"), 120);
    assert!(made.text.contains("701: 700 | upload failed: quota | 700"), "{}", made.text);
    let wide = |at: usize| {
        let cells: Vec<String> = (0..60).map(|column| format!("\"column_{column}\": \"the value {}\"", at % 3)).collect();
        let last = if at == 150 { ", \"last_error\": \"boom\"" } else { "" };
        format!("{{{}{last}}}\n", cells.join(", "))
    };
    let made = shortened(&(0..300).map(wide).collect::<String>(), 300);
    assert!(made.text.contains("151, unusual: last_error = boom\n"), "{}", made.text);
    let deep = format!(
        "{{\"a\": {{\"b\": {{\"c\": {{\"error\": \"no such host\"}}}}}}, \"list\": [{}]}}",
        "[1, \"text of no meaning here\"], ".repeat(300)
    );
    assert!(shortened(&deep, 120).text.contains("error: \"no such host\""), "{}", shortened(&deep, 120).text);
}

#[test]
fn a_broken_line_is_kept_and_named() {
    let lines = |broken: &str| events().replace("{\"id\": 700,", broken);
    let source = lines("{\"id\": 700 oops,");
    let made = shortened(&source, 400);
    assert!(made.text.contains("line 701: broken, as it stands: {\"id\": 700 oops,"), "{}", made.text);
    assert!(made.text.starts_with("Table (JSON lines) of 1499 rows"), "{}", made.text);
    let made = shortened(&source, 30);
    let broken = made.omitted.iter().find(|omission| omission.place == "line 701").expect("it is named");
    assert!(broken.reason.is_unread() && made.fidelity().score() < Some(0.5));
}

#[test]
fn ragged_rows_and_open_quotes_are_named() {
    let row = |at: usize| match at {
        20 => "20,only two\n".to_owned(),
        30 => "30,a,b,c and more\n".to_owned(),
        40 => "40,\"5 inch,x\n".to_owned(),
        at => format!("{at},name {at},value {at}\n"),
    };
    let made = shortened(&format!("id,name,value\n{}", (0..100).map(row).collect::<String>()), 200);
    assert!(made.text.contains("- 3 rows with other numbers of cells or an open quote: 21, 31, 41\n"), "{}", made.text);
    assert!(made.text.contains("31: 30 | a | b | c and more\n"), "{}", made.text);
}

#[test]
fn what_is_cut_within_a_cell_is_named_and_trouble_in_it_is_shown() {
    let long = format!("{}the disk failed with ENOSPC{}", "x ".repeat(100_000), "y ".repeat(100_000));
    let row = |at: usize| format!("{at},{},{at}\n", if at == 5 { long.as_str() } else { "short" });
    let made = shortened(&format!("id,text,n\n{}", (0..20).map(row).collect::<String>()), 400);
    assert!(made.text.contains("the disk failed with ENOSPC"), "{}", made.text);
    assert!(made.omitted.iter().any(|omission| omission.place == "row 6"), "{:?}", made.omitted);
}

#[test]
fn what_the_source_holds_beyond_its_columns_and_end_is_named() {
    let cells = |at: usize| (0..230).map(|column| format!("{}", column * at)).collect::<Vec<_>>().join(",");
    let head: Vec<String> = (0..230).map(|column| format!("c{column}")).collect();
    let made = shortened(&format!("{}\n{}\n{}\n", head.join(","), cells(1), cells(2)), 500);
    let columns = made.omitted.iter().find(|omission| omission.place == "columns 201–230").expect("they are named");
    assert_eq!(columns.amount, 30);
    let made = shortened(&events().replace("\"v\": 0}\n", "\"v\": 0}\n ")[..9000].replace('\n', "\n  "), 200);
    assert!(
        made.omitted.iter().any(|omission| omission.reason.is_unread()) || made.text.contains("broken"),
        "{}",
        made.text
    );
    let pretty = format!("{{\n \"name\": \"x\",\n \"list\": [\n{}", "  \"an element\",\n".repeat(100));
    assert!(shortened(&pretty, 100).text.contains("The source ends within its last value."));
}

#[test]
fn a_source_that_fits_stays_as_it_is() {
    for source in ["id,name,n\n1,\"a\nb\",2\n", "{\"a\":{\"b\":NaN}}\n{\"a\":{\"b\":2}}\n", "{\n  \"a\": [1, 2]\n}\n"] {
        let tokens = text_tokens(source);
        let made = compress(source.as_bytes(), tokens).expect("a table");
        assert_eq!((made.text.as_str(), made.after, made.fidelity().score()), (source, tokens, Some(1.0)));
    }
}

const PLANTED: &str = "quokka 7731 vanished";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_row_planted_in_a_table_is_shown_or_named(planted in 0_usize..300, column in 0_usize..3, budget in 20_u64..1_500) {
        let cells = |at: usize| {
            let mut cells = [format!("n{at}"), format!("{}", at * 7 % 13), format!("text {}", at % 5)];
            if at == planted {
                cells[column] = PLANTED.to_owned();
            }
            cells
        };
        let csv: String = (0..300).map(|at| format!("{}\n", cells(at).join(";"))).collect();
        let lines = |at: usize| {
            let [a, b, c] = cells(at);
            format!("{}", serde_json::json!({"a": a, "b": {"c": b}, "d": [c]}))
        };
        let lines: Vec<String> = (0..300).map(lines).collect();
        for source in [format!("a;b;c\n{csv}"), lines.join("\n"), format!("[{}]", lines.join(","))] {
            let made = compress(source.as_bytes(), budget).expect("a table");
            promises::accounts_for(&made, planted as u64 + 1, PLANTED);
        }
    }

    #[test]
    fn a_value_planted_in_a_document_is_shown_or_named(at in 0_usize..40, depth in 0_usize..5, budget in 10_u64..400) {
        let mut value = serde_json::json!(PLANTED);
        for level in 0..depth {
            value = if level % 2 == 0 { serde_json::json!({"inner": value, "other": [1, 2]}) } else { serde_json::json!(["x", value, [1]]) };
        }
        let mut document = serde_json::Map::new();
        for key in 0..40 {
            let value = if key == at { value.clone() } else { serde_json::json!({"text": format!("value {key}"), "more": [key, [key]]}) };
            document.insert(format!("key{key}"), value);
        }
        let made = compress(serde_json::Value::Object(document).to_string().as_bytes(), budget).expect("JSON");
        let names = |omission: &crate::Omission| {
            let key = format!("key{at}");
            let place = &omission.place;
            place == "other places" || place.strip_prefix("key ").unwrap_or(place).split([',', '.', '[']).next() == Some(key.as_str())
        };
        prop_assert!(made.text.contains(PLANTED) || made.omitted.iter().any(names), "{:?}\n{}", made.omitted, made.text);
        prop_assert!(made.text.contains(PLANTED) || made.fidelity().score() < Some(1.0));
    }
}

#[test]
fn a_larger_budget_never_keeps_less_of_a_table() {
    let document = format!(
        "{{\"count\": 3, \"items\": [{}], \"tags\": {{\"a\": [1, [2]], \"b\": \"text\"}}}}",
        events().lines().take(40).collect::<Vec<_>>().join(",")
    );
    let csv: String =
        (0..60).map(|at| format!("{at};{};{}\n", ["ok", "done"][at % 2], if at == 31 { "late" } else { "" })).collect();
    for source in
        [events().lines().skip(1000).take(60).collect::<Vec<_>>().join("\n"), document, format!("id;state;note\n{csv}")]
    {
        let tokens = text_tokens(&source);
        promises::score_never_falls(compress, source.as_bytes(), 0..tokens + 2);
    }
}
