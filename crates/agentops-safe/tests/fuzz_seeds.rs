//! The seeds of the fuzz target run as a plain test too: what the fuzzer found once stays found.

use std::fs;
use std::path::Path;

#[path = "../../../fuzz/checks/redactor.rs"]
mod redactor;

#[test]
fn s6_the_redactor_holds_on_every_seed() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds/redactor");
    let seeds: Vec<_> = fs::read_dir(seeds).expect("the seeds").map(|entry| entry.expect("a seed").path()).collect();
    assert!(!seeds.is_empty());
    for seed in seeds {
        let data = fs::read(&seed).expect("a seed");
        println!("{}", seed.display());
        for stride in [data[0], 0, 1, 6, 255] {
            redactor::check(&[&[stride], &data[1..]].concat());
        }
    }
}
