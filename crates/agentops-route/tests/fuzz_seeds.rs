//! The seeds of the fuzz target run as a plain test too: what the fuzzer found once stays found.

use std::fs;
use std::path::Path;

#[path = "../../../fuzz/checks/catalogue.rs"]
mod catalogue;

#[test]
fn every_seed_and_every_beginning_of_it_holds() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds/catalogue");
    let seeds: Vec<_> = fs::read_dir(seeds).expect("the seeds").map(|entry| entry.expect("a seed").path()).collect();
    assert!(!seeds.is_empty());
    for seed in seeds {
        let data = fs::read(&seed).expect("a seed");
        println!("{}", seed.display());
        (0..=data.len()).for_each(|end| catalogue::check(&data[..end]));
    }
}
