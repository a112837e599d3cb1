//! The seeds of the fuzz targets run as plain tests too: what the fuzzer found once stays found.

use std::fs;
use std::path::Path;

#[path = "../../../fuzz/checks/readers.rs"]
mod readers;
#[path = "../../../fuzz/checks/request.rs"]
mod request;
#[path = "../../../fuzz/checks/sse.rs"]
mod sse;

fn each_seed(target: &str, check: impl Fn(&[u8])) {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds").join(target);
    let seeds: Vec<_> = fs::read_dir(seeds).expect("the seeds").map(|entry| entry.expect("a seed").path()).collect();
    assert!(!seeds.is_empty());
    for seed in seeds {
        let data = fs::read(&seed).expect("a seed");
        let held = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(&data)));
        assert!(held.is_ok(), "{}", seed.display());
    }
}

#[test]
fn answers_hold_on_every_seed_however_they_are_cut() {
    each_seed("sse", |data| {
        for stride in [0, 1, 6, 60, 255] {
            sse::check(&[&[data[0], stride], &data[2..]].concat());
        }
    });
}

#[test]
fn b1_the_gateway_reads_every_seed_as_a_provider_does() {
    each_seed("readers", |data| {
        for protocol in 0..4 {
            readers::check(&[&[protocol], &data[1..]].concat());
        }
    });
}

#[test]
fn requests_hold_on_every_seed_read_as_any_protocol() {
    each_seed("request", |data| {
        for protocol in 0..4 {
            request::check(&[&[protocol], &data[1..]].concat());
        }
    });
}
