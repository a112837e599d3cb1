//! docs/telemetry.md names what can be sent and what is looked at, all of it and nothing else.

use std::collections::BTreeSet;

use agentops_telemetry::{VARIABLES, names};

const DOCUMENT: &str = include_str!("../../../docs/telemetry.md");

/// The first cell of each row of the table with this heading, without its quotes, and the rest of the row.
fn rows(heading: &str) -> Vec<(String, String)> {
    let table = DOCUMENT.lines().skip_while(|line| !line.starts_with(&format!("| {heading} |"))).skip(2);
    let rows = table.take_while(|line| line.starts_with("| "));
    rows.map(|line| line[2..].split_once(" | ").expect("a row has two cells"))
        .map(|(name, rest)| (name.trim_matches('`').to_owned(), rest.trim_end_matches(" |").to_owned()))
        .collect()
}

#[test]
fn every_variable_is_documented_as_the_program_says_it() {
    let known: Vec<_> = VARIABLES.iter().map(|(name, does)| ((*name).to_owned(), (*does).to_owned())).collect();
    assert_eq!(rows("variable"), known);
}

#[test]
fn every_name_is_documented_once_and_no_other_is() {
    for (heading, lists) in [
        ("attribute", [names::CONVENTION_ATTRIBUTES, names::OWN_ATTRIBUTES]),
        ("metric", [names::CONVENTION_METRICS, names::OWN_METRICS]),
    ] {
        let documented: Vec<String> = rows(heading).into_iter().map(|(name, _)| name).collect();
        let unique: BTreeSet<&str> = documented.iter().map(String::as_str).collect();
        assert_eq!(unique.len(), documented.len(), "{heading}: one stands twice");
        // What metrics alone have is not an attribute of spans.
        let known: BTreeSet<&str> = lists.concat().into_iter().filter(|name| *name != names::MODALITY).collect();
        assert_eq!(unique, known, "{heading}");
    }
}
