//! Media that stand within a request. What they are is read from their own bytes: a type that is written beside them may say
//! anything, and providers look at the bytes as well.

use std::borrow::Cow;

use super::json::Json;
use super::pdf;
use super::request::{Media, decoded_length};

/// What a provider counts for media, as upper bounds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rates {
    /// Tokens of an image.
    pub(super) image: u64,
    /// Tokens of the image of a page.
    pub(super) page_image: u64,
    /// Tokens of a second of sound.
    pub(super) sound_second: u64,
}

/// The thinnest `mp3` has 8 kbit/s. Half of it, to be sure.
const MP3_BYTES_A_SECOND: u64 = 500;
/// Bytes that say what a file is. The mark of a PDF may stand anywhere in them.
const HEAD_BYTES: usize = 1024;

impl Media {
    /// Adds a file that stands within the request: base64 data, alone or as an address that holds it.
    pub(super) fn add_inline(&mut self, data: Json<'_>, rates: &Rates) {
        if let Some(raw) = data.raw() {
            self.add(Some(data), tokens(raw, rates));
        }
    }

    /// Adds what stands within the request where an image belongs.
    pub(super) fn add_image(&mut self, data: Json<'_>, rates: &Rates) {
        let tokens = data.raw().map_or(0, |raw| tokens(raw, rates));
        self.add(Some(data), tokens.max(rates.image));
    }
}

/// Whether an address holds the data itself.
pub(super) fn is_data_address(address: Json<'_>) -> bool {
    address.raw().is_some_and(|raw| raw.len() >= 5 && raw[..5].eq_ignore_ascii_case(b"data:"))
}

/// Upper bound of the tokens of a file. One that is not known has at most as many as its encoded data has bytes.
fn tokens(raw: &[u8], rates: &Rates) -> u64 {
    let Some(base64) = base64(raw) else { return raw.len() as u64 };
    let head = decode(&base64[..base64.len().min(HEAD_BYTES * 2)], HEAD_BYTES);
    let image = if is_image(&head) || is_boxed_image(&head, &base64) { rates.image } else { 0 };
    if pdf::is_pdf(&head) {
        return pdf::tokens(&decode(&base64, usize::MAX), rates.page_image).max(image);
    }
    if image > 0 {
        return image;
    }
    let bytes = decoded_length(&base64);
    match sound_bytes_a_second(&head) {
        Some(rate) => bytes.saturating_mul(rates.sound_second).div_ceil(rate.max(1)).saturating_add(1),
        None if is_text(&head) => raw.len() as u64,
        // It may be an image of a kind that is not known here.
        None => rates.image.max(raw.len() as u64),
    }
}

fn is_text(head: &[u8]) -> bool {
    let whole = match std::str::from_utf8(head) {
        Ok(_) => true,
        // The head may end within a character.
        Err(error) => error.error_len().is_none(),
    };
    whole && !head.contains(&0)
}

/// The base64 text without JSON's escapes and without the head of a `data:` address; `None`: it is something else.
fn base64(raw: &[u8]) -> Option<Cow<'_, [u8]>> {
    let plain: Cow<'_, [u8]> = match raw.contains(&b'\\') {
        true => serde_json::from_slice::<String>(&[b"\"", raw, b"\""].concat()).ok()?.into_bytes().into(),
        false => raw.into(),
    };
    if plain.len() < 5 || !plain[..5].eq_ignore_ascii_case(b"data:") {
        return Some(plain);
    }
    let comma = memchr::memchr(b',', &plain)?;
    let is_base64 = plain[..comma].to_ascii_lowercase().ends_with(b"base64");
    is_base64.then(|| match plain {
        Cow::Borrowed(plain) => Cow::Borrowed(&plain[comma + 1..]),
        Cow::Owned(plain) => Cow::Owned(plain[comma + 1..].to_vec()),
    })
}

/// The bytes that base64 text stands for, at most `max`. Both alphabets are read; what belongs to none is passed over.
fn decode(base64: &[u8], max: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity((base64.len() / 4 * 3).min(max).saturating_add(3));
    let (mut bits, mut count) = (0_u32, 0_u32);
    for byte in base64 {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            // What follows the padding begins anew.
            b'=' => {
                (bits, count) = (0, 0);
                continue;
            }
            _ => continue,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
            if bytes.len() >= max {
                break;
            }
        }
    }
    bytes
}

fn is_image(head: &[u8]) -> bool {
    let begins =
        [&b"\x89PNG\r\n\x1a\n"[..], b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"BM"].iter().any(|mark| head.starts_with(mark));
    let webp = head.starts_with(b"RIFF") && head.get(8..12) == Some(b"WEBP");
    begins || webp
}

/// An image in the container that videos use too: it is one where the file holds no film.
fn is_boxed_image(head: &[u8], base64: &[u8]) -> bool {
    let brand = head.get(8..12).filter(|_| head.get(4..8) == Some(b"ftyp"));
    let names_image = matches!(brand, Some(b"heic" | b"heix" | b"heif" | b"mif1" | b"avif"));
    names_image && memchr::memmem::find(&decode(base64, usize::MAX), b"moov").is_none()
}

/// The least bytes that a second of sound has, where the form of the file says it: waves and `mp3`. Other forms hold silence
/// in next to no bytes.
fn sound_bytes_a_second(head: &[u8]) -> Option<u64> {
    if head.starts_with(b"RIFF") && head.get(8..16) == Some(b"WAVEfmt ") {
        let short = |at: usize| head.get(at..at + 2).map(|bytes| u64::from(u16::from_le_bytes([bytes[0], bytes[1]])));
        let (format, channels, bits) = (short(20)?, short(22)?, short(34)?);
        let rate = head.get(24..28)?;
        let rate = u64::from(u32::from_le_bytes([rate[0], rate[1], rate[2], rate[3]]));
        // Samples as they are, or one byte each.
        let plain = matches!(format, 1 | 3 | 6 | 7 | 0xfffe);
        return plain.then(|| (rate.min(192_000) * channels.clamp(1, 8) * bits.clamp(8, 32) / 8).max(1));
    }
    let frame = match head.strip_prefix(b"ID3") {
        Some(tag) => {
            let size = tag.get(3..7)?.iter().fold(0_usize, |size, byte| size << 7 | usize::from(byte & 0x7f));
            head.get(10 + size..)?
        }
        None => head,
    };
    // A frame of layer I to III with a bit rate: the same mark with layer 0 is another form, which holds silence in no bytes.
    let is_frame =
        matches!(frame, [0xff, second, third, ..] if second & 0xe0 == 0xe0 && second & 0x06 != 0 && third >> 4 != 0);
    is_frame.then_some(MP3_BYTES_A_SECOND)
}
