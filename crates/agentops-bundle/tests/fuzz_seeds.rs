//! The seeds of the fuzz target run as a plain test too: what the fuzzer found once stays found.

use std::fs;
use std::path::Path;

#[path = "../../../fuzz/checks/bundle.rs"]
mod bundle;

#[test]
fn every_compressor_holds_on_every_seed() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds/bundle");
    let seeds: Vec<_> = fs::read_dir(seeds).expect("the seeds").map(|entry| entry.expect("a seed").path()).collect();
    assert!(!seeds.is_empty());
    for seed in seeds {
        let data = fs::read(&seed).expect("a seed");
        println!("{}", seed.display());
        for kind in 0..8 {
            for budget in [data[1], 0, 1, 5, 255] {
                bundle::check(&[&[kind, budget], &data[2..]].concat());
            }
        }
    }
}
