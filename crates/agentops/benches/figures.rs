//! The figures that are promised, measured: `cargo bench -p agentops --bench figures [-- PART-OF-A-NAME]`.
//!
//! It prints and asserts nothing: a slow machine fails no build. Each figure stands beside what bounds it or what else could
//! do it, measured in the same run on the same disk, because without that a number from another machine says little.
#![expect(clippy::disallowed_methods, reason = "it starts the programs that it measures")]

#[path = "figures/engine.rs"]
mod engine;
#[path = "figures/play.rs"]
mod play;
#[path = "figures/programs.rs"]
mod programs;
#[path = "figures/room.rs"]
mod room;
#[path = "figures/table.rs"]
mod table;

use table::Table;

/// One measurement: a part of its name chooses it.
type Figure = (&'static str, fn(&mut Table));

const FIGURES: &[Figure] = &[
    ("version", programs::version),
    ("status", programs::status),
    ("gap", engine::gap),
    ("appends", engine::appends),
    ("fold", engine::fold),
    ("lane", programs::lane),
    ("demo", programs::demo),
    ("idle", programs::idle),
];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --all-targets` starts benchmarks too, without this word; it wants to know that they build.
    if !args.iter().any(|arg| arg == "--bench") {
        return;
    }
    let wanted: Vec<&String> = args.iter().filter(|arg| !arg.starts_with('-')).collect();
    let mut table = Table::default();
    for (name, measure) in FIGURES {
        if wanted.is_empty() || wanted.iter().any(|part| name.contains(part.as_str())) {
            table::say(&format!("measuring: {name}"));
            measure(&mut table);
        }
    }
    table.print();
}
