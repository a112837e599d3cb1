//! The vocabulary of o200k: which bytes are a token, and the order in which pairs merge.
//!
//! The table is part of the program's read-only data. Nothing is built or parsed at the start: the kernel maps the pages
//! that are looked at.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::hash::{self, LENGTH_BITS, OFFSET_BITS, RANK_BITS, SLOTS};

static ENTRIES: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/o200k_slots.bin"));
static BYTES: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/o200k_bytes.bin"));

/// The longest token, in bytes.
pub const TOKEN_BYTES_MAX: usize = 128;
/// A piece up to this length is merged by a scan for the best pair, a longer one with a heap.
const SCAN_BYTES_MAX: usize = 64;
/// The rank of what is no token.
const NO_RANK: u32 = u32::MAX;

/// The rank of a token: a pair of lower rank merges first. [`NO_RANK`] for bytes that are no token.
fn rank(bytes: &[u8]) -> u32 {
    if bytes.len() > TOKEN_BYTES_MAX {
        return NO_RANK;
    }
    let hash = hash::of(bytes);
    let tag = hash::tag(hash);
    let mut slot = hash::slot(hash);
    loop {
        let entry = match ENTRIES[slot * 8..].first_chunk() {
            Some(entry) => u64::from_le_bytes(*entry),
            None => 0,
        };
        if entry == 0 {
            return NO_RANK;
        }
        let length = (entry >> RANK_BITS) as usize & ((1 << LENGTH_BITS) - 1);
        if entry & hash::tag(u64::MAX) == tag && length == bytes.len() {
            let offset = (entry >> (RANK_BITS + LENGTH_BITS)) as usize & ((1 << OFFSET_BITS) - 1);
            if &BYTES[offset..offset + length] == bytes {
                return entry as u32 & ((1 << RANK_BITS) - 1);
            }
        }
        slot = (slot + 1) % SLOTS;
    }
}

/// The number of tokens of a piece: 1 if it is a token, else how many remain when no pair of neighbours merges any more.
pub fn piece_tokens(piece: &[u8]) -> u64 {
    match piece.len() {
        0 => 0,
        1 => 1,
        length if rank(piece) == NO_RANK => match length {
            ..=SCAN_BYTES_MAX => merged_by_scan(piece),
            _ => merged_by_heap(piece),
        },
        _ => 1,
    }
}

/// Merges the leftmost pair of the lowest rank until none is a token.
fn merged_by_scan(piece: &[u8]) -> u64 {
    // Where each part begins and the rank of it merged with the next one; the last two are the end.
    let mut starts = [0_u8; SCAN_BYTES_MAX + 2];
    let mut ranks = [NO_RANK; SCAN_BYTES_MAX + 2];
    for (at, start) in starts.iter_mut().enumerate().take(piece.len() + 1) {
        *start = at as u8;
    }
    let pair = |starts: &[u8], at: usize, parts: usize| match at + 2 <= parts {
        true => rank(&piece[usize::from(starts[at])..usize::from(starts[at + 2])]),
        false => NO_RANK,
    };
    let mut parts = piece.len();
    for (at, rank) in ranks.iter_mut().enumerate().take(parts - 1) {
        *rank = pair(&starts, at, parts);
    }
    loop {
        let mut best = (NO_RANK, 0);
        for (at, rank) in ranks[..parts - 1].iter().enumerate() {
            if *rank < best.0 {
                best = (*rank, at);
            }
        }
        let (lowest, at) = best;
        if lowest == NO_RANK {
            return parts as u64;
        }
        starts.copy_within(at + 2..parts + 1, at + 1);
        ranks.copy_within(at + 2..parts + 1, at + 1);
        parts -= 1;
        ranks[at] = pair(&starts, at, parts);
        if at > 0 {
            ranks[at - 1] = pair(&starts, at - 1, parts);
        }
        if parts == 1 {
            return 1;
        }
    }
}

/// A part of a long piece, at the index of its first byte.
#[derive(Clone, Copy)]
struct Part {
    /// First byte of the part before; only parts after the first have one.
    before: usize,
    /// First byte of the part after.
    end: usize,
    /// The rank of this part merged with the next one.
    rank: u32,
}

/// As [`merged_by_scan`], in time that grows as n log n.
fn merged_by_heap(piece: &[u8]) -> u64 {
    let length = piece.len();
    let mut parts: Vec<Part> =
        (0..length).map(|at| Part { before: at.wrapping_sub(1), end: at + 1, rank: NO_RANK }).collect();
    let mut heap = BinaryHeap::with_capacity(length);
    for at in 0..length - 1 {
        parts[at].rank = rank(&piece[at..at + 2]);
        if parts[at].rank != NO_RANK {
            heap.push(Reverse((parts[at].rank, at)));
        }
    }
    let mut tokens = length as u64;
    while let Some(Reverse((found, at))) = heap.pop() {
        // A part that merged meanwhile has another rank, or none.
        if parts[at].rank != found {
            continue;
        }
        let absorbed = parts[at].end;
        let end = parts[absorbed].end;
        parts[absorbed].rank = NO_RANK;
        parts[at].end = end;
        tokens -= 1;
        let mut renew = |parts: &mut [Part], at: usize, end: usize| {
            parts[at].rank = if end <= length { rank(&piece[at..end]) } else { NO_RANK };
            if parts[at].rank != NO_RANK {
                heap.push(Reverse((parts[at].rank, at)));
            }
        };
        let after = if end < length { parts[end].end } else { length + 1 };
        renew(&mut parts, at, after);
        if end < length {
            parts[end].before = at;
        }
        if at > 0 {
            let before = parts[at].before;
            renew(&mut parts, before, end);
        }
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_of_the_library_has_its_rank() {
        let library = tiktoken_rs::o200k_base_singleton();
        let mut longest = 0;
        for wanted in 0..199_998 {
            let token = library.decode_bytes(&[wanted]).expect("ranks are without gaps");
            assert_eq!(rank(&token), wanted, "{token:?}");
            longest = longest.max(token.len());
        }
        assert_eq!((longest, rank(b"no such token"), rank(&[0xFF; 200])), (TOKEN_BYTES_MAX, NO_RANK, NO_RANK));
    }

    #[test]
    fn both_ways_to_merge_agree() {
        let text = include_bytes!("vocabulary.rs");
        for length in [2, 3, 7, 20, SCAN_BYTES_MAX] {
            for piece in text.windows(length).step_by(13) {
                assert_eq!(merged_by_scan(piece), merged_by_heap(piece), "{piece:?}");
            }
        }
    }
}
