//! JSON, JSON lines and tables: what the columns hold, then the rows that say most.
//!
//! A table of ten thousand rows is mostly the same row. What tells is its form, the ranges, which values are common, and the
//! rows that are not like the others.

mod delimited;
mod json;
mod table;

use agentops_text::tokens::text_tokens;

use crate::page::fit;
use crate::{Compressed, SourceError};

pub use delimited::delimiter;
use table::Table;

/// Compresses JSON, JSON lines, or a table whose columns are parted by commas, semicolons, tabs or bars.
///
/// # Errors
/// It is none of these.
pub fn compress(source: &[u8], budget: u64) -> Result<Compressed, SourceError> {
    let text = String::from_utf8_lossy(source);
    let (outline, table) = read(&text)?;
    let before = text_tokens(&text);
    let facts = table.as_ref().map(Table::facts).unwrap_or_default();
    if before <= budget {
        let text = fit(format!("{}\n", text.trim_end()), budget);
        return Ok(Compressed { after: text_tokens(&text), text, before, facts });
    }
    let outline = fit(outline, budget / if table.is_some() { 2 } else { 1 });
    let mut made = outline;
    if let Some(table) = &table {
        made.push_str(&table.summary(budget.saturating_sub(text_tokens(&made) + 1)));
    }
    let text = fit(made, budget);
    Ok(Compressed { after: text_tokens(&text), text, before, facts })
}

/// The outline of what stands around the table, and the table: the largest list of objects in it.
fn read(text: &str) -> Result<(String, Option<Table>), SourceError> {
    let trimmed = text.trim_start_matches('\u{feff}').trim();
    if trimmed.starts_with(['{', '[']) {
        if let Ok(value) = serde_json::from_str::<serde_json::Value>(trimmed) {
            return Ok(json::outlined(&value));
        }
        if let Some(table) = json::lines(trimmed) {
            return Ok((String::new(), Some(table)));
        }
    }
    match delimited::table(trimmed) {
        Some(table) => Ok((String::new(), Some(table))),
        None => Err(SourceError::Form {
            expected: "JSON, JSON lines or table",
            detail: "its lines have no columns in common".to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_rows_that_differ_are_shown() {
        let mut text = String::from("id,status,ms\n");
        for id in 0..2000 {
            let (status, ms) = if id == 777 { ("exploded", 99_999) } else { ("ok", 10 + id % 7) };
            text.push_str(&format!("{id},{status},{ms}\n"));
        }
        let made = compress(text.as_bytes(), 200).expect("a table");
        assert!(made.after <= 200 && made.before > 5000);
        assert!(made.text.contains("777,exploded,99999"), "{}", made.text);
        assert!(made.text.contains("2000 rows") && made.text.contains("10 to 99999"), "{}", made.text);
        assert!(made.fidelity().score().is_some_and(|score| score > 0.9), "{:?}", made.fidelity());
    }

    #[test]
    fn json_keeps_its_form() {
        let rows: Vec<_> =
            (0..500).map(|id| serde_json::json!({"id": id, "name": format!("n{id}"), "ok": id != 41})).collect();
        let text = serde_json::json!({"version": 3, "error": null, "items": rows}).to_string();
        let made = compress(text.as_bytes(), 250).expect("JSON");
        assert!(made.text.contains("version: 3") && made.text.contains("500 rows"), "{}", made.text);
        assert!(made.text.contains("\"id\":41") || made.text.contains("41"), "{}", made.text);
    }

    #[test]
    fn json_lines_are_a_table() {
        let text: String = (0..300).map(|id| format!("{{\"id\":{id},\"level\":\"info\"}}\n")).collect();
        let made = compress(text.as_bytes(), 120).expect("JSON lines");
        assert!(made.text.contains("300 rows"), "{}", made.text);
    }

    #[test]
    fn prose_is_refused() {
        assert!(compress(b"Some words, and more.\nNothing else", 100).is_err());
        assert!(compress(b"", 100).is_err());
    }

    proptest! {
        #[test]
        fn any_text_keeps_the_budget(text in r#"([a-c0-9",;\t{}\[\]:\n]|\PC){0,200}"#, budget in 0_u64..80) {
            if let Ok(made) = compress(text.as_bytes(), budget) {
                prop_assert!(made.after <= budget);
            }
        }
    }
}
