//! What in an item is not text, as an upper bound in tokens.

use memchr::memmem;

use super::Protocol;

/// Media of one item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Media {
    /// Bytes of the item that are data and not text.
    pub data_bytes: u64,
    /// What the media count as at most, in tokens; `None`: that cannot be said.
    pub tokens: Option<u64>,
}

impl Default for Media {
    fn default() -> Self {
        Self { data_bytes: 0, tokens: Some(0) }
    }
}

/// Shorter data is counted as text: that costs little and bounds it.
const DATA_BYTES_MIN: usize = 512;

/// The most that one image counts. Anthropic scales images so that they are about 1,600 tokens at most, newer models about 4,800
/// (docs.anthropic.com, vision); OpenAI's largest in high detail are 1,536 patches times 2.46 at most (platform.openai.com,
/// images and vision); Gemini counts 258 a tile (ai.google.dev, tokens).
const IMAGE_TOKENS: u64 = 5_000;
/// Tokens a byte of base64 of a document at most: no page of a PDF is smaller than 1 KiB, and a page is 3,000 tokens of text and
/// one image at most (docs.anthropic.com, PDF support).
const DOCUMENT_BYTES_A_PAGE: u64 = 1_024;
const DOCUMENT_TOKENS_A_PAGE: u64 = 3_000 + IMAGE_TOKENS;

/// Signs of media that are named and not sent: their size is not known here.
fn references(protocol: Protocol) -> &'static [&'static [u8]] {
    match protocol {
        Protocol::Messages => &[b"\"type\":\"url\"", b"\"type\":\"file\"", b"\"file_id\":"],
        Protocol::Responses => &[b"\"file_id\":", b"\"file_url\":", b"\"type\":\"item_reference\""],
        Protocol::Chat => &[b"\"file_id\":", b"\"input_audio\":"],
        Protocol::Gemini => &[b"\"fileData\":", b"\"file_data\":"],
    }
}

/// Bounds the media of an item. An item without any costs a search for a few words.
#[must_use]
pub fn media(protocol: Protocol, item: &[u8]) -> Media {
    let mut media = Media::default();
    if references(protocol).iter().any(|sign| memmem::find(item, sign).is_some()) {
        return Media { tokens: None, ..media };
    }
    let keys: &[&[u8]] = match protocol {
        Protocol::Messages => &[b"\"data\":\""],
        Protocol::Responses => &[b"\"image_url\":\"", b"\"file_data\":\""],
        Protocol::Chat => &[b"\"url\":\"", b"\"file_data\":\""],
        Protocol::Gemini => &[b"\"data\":\""],
    };
    for key in keys {
        for at in memmem::find_iter(item, key) {
            let value = &item[at + key.len()..];
            let Some(length) = memchr::memchr2(b'"', b'\\', value) else { continue };
            add(&mut media, &value[..length], item);
        }
    }
    media
}

fn add(media: &mut Media, value: &[u8], item: &[u8]) {
    let is_data = |text: &[u8]| {
        text.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b'_' | b'-'))
    };
    let data = match memchr::memmem::find(value, b";base64,") {
        Some(at) if value.starts_with(b"data:") => &value[at + 8..],
        _ => value,
    };
    let bytes = data.len() as u64;
    if data.len() < DATA_BYTES_MIN || !is_data(data) {
        // An address of an image is fetched by the provider; it counts as the largest one. Plain text is text.
        if value.starts_with(b"http") {
            media.tokens = media.tokens.map(|tokens| tokens + IMAGE_TOKENS);
        }
        return;
    }
    let is_image = [&b"image/"[..], b"image_url", b"\"image\""].iter().any(|sign| memmem::find(item, sign).is_some());
    let is_document = memmem::find(item, b"application/pdf").is_some() || memmem::find(item, b"file_data").is_some();
    let tokens = if is_document {
        Some(bytes.div_ceil(DOCUMENT_BYTES_A_PAGE).saturating_mul(DOCUMENT_TOKENS_A_PAGE))
    } else if is_image {
        Some(IMAGE_TOKENS)
    } else {
        None
    };
    // Data that nothing names is text to whoever reads it.
    let Some(tokens) = tokens else {
        let known = [&b"audio/"[..], b"video/"].iter().any(|sign| memmem::find(item, sign).is_some());
        if known {
            media.tokens = None;
        }
        return;
    };
    media.data_bytes += bytes;
    media.tokens = media.tokens.map(|known| known.saturating_add(tokens));
}
