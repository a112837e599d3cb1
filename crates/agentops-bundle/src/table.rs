//! JSON, JSON lines, CSV and TSV made small: columns with their types, ranges and values, then the rows that say most.
//!
//! The first and last rows are kept first, then rows with a value far outside of the others'. A JSON document that is no table
//! keeps its shape: keys from the top down, of long lists the first and last elements.

mod columns;
mod document;
mod rows;

use agentops_text::tokens::text_tokens;

use crate::pick::{self, Piece};
use crate::{Class, Compressed, Fact, SourceError};
use columns::Column;
use rows::Table;

/// Makes a table or a JSON document fit into `budget` o200k tokens.
///
/// # Errors
/// When it is neither JSON nor lines with the same number of separators.
pub fn compress(source: &[u8], budget: u64) -> Result<Compressed, SourceError> {
    let text = String::from_utf8_lossy(source);
    let before = text_tokens(&text);
    let read = rows::read(source, &text).or_else(|| document::read(source));
    let Some(read) = read else {
        let detail = String::from("neither JSON nor lines with the same number of separators");
        return Err(SourceError::Form { expected: "table", detail });
    };
    let (head, pieces, facts, gap) = match read {
        Read::Table(table) => of_table(&table),
        Read::Document { head, pieces, facts } => (head, pieces, facts, ""),
    };
    let made = pick::select(&head, &pieces, gap, 3.0, budget);
    Ok(Compressed::new(made.text, before, made.tokens, facts))
}

enum Read {
    Table(Table),
    Document { head: String, pieces: Vec<Piece>, facts: Vec<Fact> },
}

/// Rows at either end that are shown first.
const ENDS: usize = 3;
/// Odd rows that are facts.
const ODD_MAX: usize = 50;

fn of_table(table: &Table) -> (String, Vec<Piece>, Vec<Fact>, &'static str) {
    let columns: Vec<Column> = (0..table.names.len()).map(|at| Column::of(table, at)).collect();
    let head = format!(
        "Table ({}) of {} rows and {} columns, shortened; … rows left out.",
        table.form,
        table.rows.len(),
        columns.len()
    );
    let mut pieces = Vec::new();
    let mut facts = Vec::new();
    for (name, column) in table.names.iter().zip(&columns) {
        let place = format!("column {name}");
        // Pieces begin with the line's end, so that a column's values can stand behind it or not.
        let at = pieces.len();
        pieces.push(Piece { text: format!("\n- {name}: {}", column.told()), value: 40.0, needs: None, is_fact: true });
        pieces.push(Piece { text: column.values(), value: 4.0, needs: Some(at), is_fact: true });
        facts.push(Fact::new(Class::Identifier, name.clone(), place.clone()));
        for end in column.ends() {
            facts.push(Fact::new(Class::Number, end.to_owned(), place.clone()));
        }
    }
    let heading = pieces.len();
    pieces.push(Piece { text: format!("\nrows: {}", table.names.join(" | ")), value: 1.0, needs: None, is_fact: true });
    let count = table.rows.len();
    let mut odd_rows = 0;
    for (number, row) in table.rows.iter().enumerate() {
        let odd = columns.iter().enumerate().any(|(at, column)| row.get(at).is_some_and(|value| column.is_odd(value)));
        let from_end = number.min(count - 1 - number);
        let value = if odd && odd_rows < ODD_MAX {
            odd_rows += 1;
            16.0
        } else if from_end < ENDS {
            12.0
        } else {
            0.5
        };
        let cells: Vec<&str> = row.iter().map(String::as_str).collect();
        let line = format!("{}: {}", number + 1, cells.join(" | "));
        if value > 15.0 {
            facts.push(Fact::new(Class::RareEvent, line.clone(), format!("row {}", number + 1)));
        }
        pieces.push(Piece { text: format!("\n{line}"), value, needs: Some(heading), is_fact: true });
    }
    (head, pieces, facts, "\n…")
}

#[cfg(test)]
mod tests {
    use super::*;
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
        assert_eq!(made.fidelity().score(), Some(1.0));
    }

    #[test]
    fn json_lines_have_columns_of_paths() {
        let made = compress(b"{\"a\":{\"b\":1},\"c\":[1,2]}\n{\"a\":{\"b\":2}}\n", 200).expect("a table");
        assert!(made.text.contains("- a.b: integer, 1 … 2, all distinct\n- c: list, 1 empty"), "{}", made.text);
    }

    #[test]
    fn a_document_keeps_its_shape() {
        let list: Vec<usize> = (0..500).collect();
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
        #![proptest_config(ProptestConfig::with_cases(64))]
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
}
