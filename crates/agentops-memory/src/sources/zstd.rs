//! Decompresses Zstandard data (RFC 8878) within fixed bounds of memory and time.
//!
//! A small file can claim to hold terabytes. So output, window and the number of blocks are limited before they are used.

use std::io::{self, BufRead, BufReader, Read};

use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// Largest window that a frame may ask for, in bytes. The window is allocated before the frame is decompressed.
const WINDOW_BYTES_MAX: u64 = 64 << 20;
/// Output that each block counts for at least, in bytes. It bounds the time that blocks without output can take.
const BLOCK_BYTES_MIN: u64 = 4 << 10;
/// Blocks that are decoded before their output is taken. A block has at most 128 KiB of output.
const BLOCKS_AT_ONCE: usize = 8;
/// A last block of no bytes, and a checksum that is not compared.
const EMPTY_LAST_BLOCK: [u8; 7] = [1, 0, 0, 0, 0, 0, 0];

/// How decompression ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ZstdEnd {
    /// All data was decompressed and its checksums match.
    Complete,
    /// The data is damaged, cut off or needs a dictionary; the output ends there.
    Damaged,
    /// The output would pass the limit; it was discarded.
    TooLarge,
}

/// Decompressed data.
#[derive(Debug)]
pub struct Decompressed {
    /// The output, at most as many bytes as the limit.
    pub bytes: Vec<u8>,
    /// How it ended.
    pub end: ZstdEnd,
    /// What the work counts against a limit of bytes: the output, or more where blocks are small.
    pub cost: u64,
}

/// Decompresses all frames of `source` into at most `bytes_max` bytes.
pub fn decompress(source: impl Read, bytes_max: u64) -> Decompressed {
    let mut source = BufReader::new(source);
    let mut decoder = FrameDecoder::new();
    decoder.set_max_window_size(WINDOW_BYTES_MAX);
    let (mut bytes, mut blocks) = (Vec::new(), 0);
    loop {
        let end = match source.fill_buf() {
            Ok([]) if blocks > 0 => Some(ZstdEnd::Complete),
            Ok([]) | Err(_) => Some(ZstdEnd::Damaged),
            Ok(_) => frame(&mut decoder, &mut source, &mut bytes, &mut blocks, bytes_max).err(),
        };
        if let Some(end) = end {
            let cost = cost(&bytes, blocks) + decoder.can_collect() as u64;
            if end == ZstdEnd::TooLarge {
                bytes = Vec::new();
            }
            return Decompressed { bytes, end, cost };
        }
    }
}

fn cost(bytes: &[u8], blocks: u64) -> u64 {
    (bytes.len() as u64).max(blocks * BLOCK_BYTES_MIN)
}

/// Decompresses one frame. What was decompressed before an error stays in `bytes`.
fn frame(
    decoder: &mut FrameDecoder,
    source: &mut impl Read,
    bytes: &mut Vec<u8>,
    blocks: &mut u64,
    bytes_max: u64,
) -> Result<(), ZstdEnd> {
    *blocks += 1;
    if cost(bytes, *blocks) > bytes_max {
        return Err(ZstdEnd::TooLarge);
    }
    match decoder.reset(&mut *source) {
        Ok(()) => {}
        Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
            let skipped = io::copy(&mut source.take(length.into()), &mut io::sink());
            return if skipped.is_ok_and(|skipped| skipped == u64::from(length)) { Ok(()) } else { Err(ZstdEnd::Damaged) };
        }
        Err(FrameDecoderError::WindowSizeTooBig { .. }) => return Err(ZstdEnd::TooLarge),
        Err(_) => return Err(ZstdEnd::Damaged),
    }
    let blocks_before = *blocks;
    while !decoder.is_finished() {
        let decoded = decoder.decode_blocks(&mut *source, BlockDecodingStrategy::UptoBlocks(BLOCKS_AT_ONCE));
        *blocks = blocks_before + decoder.blocks_decoded() as u64;
        if decoded.is_err() {
            // The decoder keeps a window of output back until a frame ends. An empty last block ends it.
            let _ended = decoder.decode_blocks(&EMPTY_LAST_BLOCK[..], BlockDecodingStrategy::UptoBlocks(1));
        }
        if cost(bytes, *blocks) + decoder.can_collect() as u64 > bytes_max {
            return Err(ZstdEnd::TooLarge);
        }
        decoder.collect_to_writer(&mut *bytes).map_err(|_| ZstdEnd::Damaged)?;
        decoded.map_err(|_| ZstdEnd::Damaged)?;
    }
    match (decoder.get_checksum_from_data(), decoder.get_calculated_checksum()) {
        (Some(expected), Some(calculated)) if expected != calculated => Err(ZstdEnd::Damaged),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    const LIMIT: u64 = 1 << 20;

    fn compressed(bytes: &[u8]) -> Vec<u8> {
        compress_to_vec(bytes, CompressionLevel::Fastest)
    }

    #[test]
    fn frames_follow_each_other_and_skippable_ones_are_skipped() {
        let mut data = compressed(b"one ");
        data.extend([0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3]);
        data.extend(compressed(b"two"));
        let made = decompress(&data[..], LIMIT);
        assert_eq!((made.bytes.as_slice(), made.end), (&b"one two"[..], ZstdEnd::Complete));
    }

    #[test]
    fn a_bomb_is_stopped_at_the_limit() {
        // A run-length block repeats one byte up to 128 KiB: 4 bytes of input for 131,072 of output.
        let run_length_block = ((131_072_u32 << 3) | (1 << 1)).to_le_bytes();
        let mut bomb = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x38];
        for _ in 0..200_000 {
            bomb.extend_from_slice(&run_length_block[..3]);
            bomb.push(b'a');
        }
        let made = decompress(&bomb[..], LIMIT);
        assert_eq!((made.end, made.bytes.capacity()), (ZstdEnd::TooLarge, 0));
        assert!(made.cost <= 2 * LIMIT, "it stopped soon after the limit: {}", made.cost);
        // Blocks without output cost time instead of memory.
        let mut endless = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x38];
        endless.extend(std::iter::repeat_n([0, 0, 0], 200_000).flatten());
        assert_eq!(decompress(&endless[..], LIMIT).end, ZstdEnd::TooLarge);
        let skippable = [0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0].repeat(200_000);
        assert_eq!(decompress(&skippable[..], LIMIT).end, ZstdEnd::TooLarge);
        // A window of 128 MiB is refused before it is allocated, although the frame is empty.
        let window = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 17 << 3, 1, 0, 0];
        assert_eq!(decompress(&window[..], LIMIT).end, ZstdEnd::TooLarge);
    }

    #[test]
    fn damaged_data_gives_its_beginning() {
        let text: Vec<u8> =
            (0..400_000_u32).flat_map(|at| at.wrapping_mul(2_654_435_761).to_le_bytes()).take(400_000).collect();
        let whole = compressed(&text);
        let made = decompress(&whole[..whole.len() / 2], LIMIT);
        assert_eq!(made.end, ZstdEnd::Damaged);
        assert!(!made.bytes.is_empty() && text.starts_with(&made.bytes));
        assert_eq!(decompress(&b""[..], LIMIT).end, ZstdEnd::Damaged);
        assert_eq!(decompress(&b"{\"type\":\"session_meta\"}"[..], LIMIT).end, ZstdEnd::Damaged);
    }

    proptest! {
        #[test]
        fn compressed_text_comes_back_and_damage_is_noticed(text in "\\PC{0,2000}", at in 0usize..2000, byte in any::<u8>()) {
            let mut data = compressed(text.as_bytes());
            let made = decompress(&data[..], LIMIT);
            prop_assert_eq!((made.bytes.as_slice(), made.end), (text.as_bytes(), ZstdEnd::Complete));
            let at = at % data.len();
            data[at] = byte;
            let made = decompress(&data[..], LIMIT);
            prop_assert!(made.bytes.len() as u64 <= LIMIT);
        }
    }
}
