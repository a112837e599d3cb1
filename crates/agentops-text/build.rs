//! Writes the vocabulary of o200k as a hash table that the program only has to map into memory.
//!
//! The tokens come from the crate `tiktoken-rs`, which carries OpenAI's file and reads it in some 100 ms; the classes of
//! characters come from the crate `regex-syntax`, by which that crate splits text. So both are those of the library, and a
//! program that counts needs neither.

#[path = "src/tokens/hash.rs"]
mod hash;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::{env, fs};

use hash::{LENGTH_BITS, OFFSET_BITS, RANK_BITS, SLOTS};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src/tokens/hash.rs");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let (slots, bytes) = vocabulary();
    fs::write(out.join("o200k_slots.bin"), slots).expect("the table is written");
    fs::write(out.join("o200k_bytes.bin"), bytes).expect("the table is written");
    fs::write(out.join("character_classes.rs"), character_classes()).expect("the classes are written");
}

/// The slots of the hash table, each eight bytes, and the bytes of all tokens.
fn vocabulary() -> (Vec<u8>, Vec<u8>) {
    let library = tiktoken_rs::o200k_base().expect("the crate carries its table");
    let mut slots = vec![0_u64; SLOTS];
    let mut bytes: Vec<u8> = Vec::new();
    // Ranks are without gaps up to the special tokens, which no ordinary text has.
    for rank in 0..199_998_u32 {
        let Ok(token) = library.decode_bytes(&[rank]) else { continue };
        assert!(token.len() < 1 << LENGTH_BITS && bytes.len() < 1 << OFFSET_BITS && rank < 1 << RANK_BITS);
        let hash = hash::of(&token);
        let mut slot = hash::slot(hash);
        while slots[slot] != 0 {
            slot = (slot + 1) % SLOTS;
        }
        slots[slot] = entry(hash, rank, bytes.len(), token.len());
        bytes.extend_from_slice(&token);
    }
    (slots.into_iter().flat_map(u64::to_le_bytes).collect(), bytes)
}

/// An entry of the table.
fn entry(hash: u64, rank: u32, offset: usize, length: usize) -> u64 {
    let place = (offset as u64) << (RANK_BITS + LENGTH_BITS);
    hash::tag(hash) | place | (length as u64) << RANK_BITS | u64::from(rank)
}

/// The ranges of characters beyond ASCII that the pattern tells apart, as the body of an array in Rust.
fn character_classes() -> String {
    let mut ranges: Vec<(u32, u32, &str)> = Vec::new();
    for (pattern, class) in [
        (r"[\p{Lu}\p{Lt}]", "Upper"),
        (r"\p{Ll}", "Lower"),
        (r"[\p{Lm}\p{Lo}]", "Letter"),
        (r"\p{M}", "Mark"),
        (r"\p{N}", "Digit"),
        (r"\s", "Blank"),
    ] {
        let parsed = regex_syntax::parse(pattern).expect("the pattern is valid");
        let regex_syntax::hir::HirKind::Class(regex_syntax::hir::Class::Unicode(found)) = parsed.kind() else {
            panic!("{pattern} is no class of characters");
        };
        ranges.extend(found.ranges().iter().map(|range| (range.start().into(), range.end().into(), class)));
    }
    ranges.sort_unstable();
    let mut text = String::from("[\n");
    for (start, end, class) in ranges.into_iter().filter(|(_, end, _)| *end >= 0x80) {
        writeln!(text, "({}, {end}, Class::{class}),", start.max(0x80)).expect("a string takes text");
    }
    text + "]"
}
