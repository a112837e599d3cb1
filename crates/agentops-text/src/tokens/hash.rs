//! Where a token is found in the vocabulary; shared by the build script that writes the table and the code that reads it.

/// Number of slots, a power of two: somewhat more than twice the number of tokens.
pub const SLOTS: usize = 1 << 19;
/// Bits of an entry for a token's rank.
pub const RANK_BITS: u32 = 18;
/// Bits of an entry for where a token's bytes begin.
pub const OFFSET_BITS: u32 = 21;
/// Bits of an entry for the length of a token, which is never 0: so no entry is 0.
pub const LENGTH_BITS: u32 = 8;
/// What remains of an entry holds bits of the hash, so that most failed look-ups read no bytes.
const TAG_SHIFT: u32 = RANK_BITS + OFFSET_BITS + LENGTH_BITS;

/// A hash of the bytes. It need not resist an attacker: the table is fixed.
#[inline]
pub fn of(bytes: &[u8]) -> u64 {
    const FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;
    let mut hash = bytes.len() as u64;
    let mut chunks = bytes.chunks_exact(8);
    for chunk in &mut chunks {
        let word = u64::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3], chunk[4], chunk[5], chunk[6], chunk[7]]);
        hash = (hash.rotate_left(23) ^ word).wrapping_mul(FACTOR);
    }
    let mut last = [0; 8];
    let rest = chunks.remainder();
    last[..rest.len()].copy_from_slice(rest);
    hash = (hash.rotate_left(23) ^ u64::from_le_bytes(last)).wrapping_mul(FACTOR);
    hash ^ (hash >> 32)
}

/// The first slot to look in.
#[inline]
pub fn slot(hash: u64) -> usize {
    (hash.wrapping_mul(0xD6E8_FEB8_6659_FD93) >> 40) as usize & (SLOTS - 1)
}

/// The bits of a hash that an entry holds, in their place.
#[inline]
pub fn tag(hash: u64) -> u64 {
    hash << TAG_SHIFT
}
