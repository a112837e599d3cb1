//! Media that stand within a request.
//!
//! Some providers go by the type that is written beside a file, others by its bytes. So a file counts by its bytes only where
//! both agree. Otherwise it counts as text as well, and the larger count holds.

use std::borrow::Cow;

use super::image::{self, ImageTokens};
use super::json::Json;
use super::pdf;
use super::request::{Media, Uncountable, decoded_length};

/// What a provider counts for media, as upper bounds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rates {
    /// Tokens of an image, where the model is not known.
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

/// The kinds of files that a provider does not read as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MediaKind {
    Image,
    Sound,
    Pdf,
}

/// What a request says about the type of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Declared {
    Nothing,
    As(MediaKind),
    /// Text, a kind that is not known here, or two types that contradict each other.
    Other,
}

impl Declared {
    /// A media type such as `image/png`.
    pub(super) fn of_type(value: Option<Json<'_>>) -> Self {
        let Some(value) = value else { return Self::Nothing };
        value.name().map_or(Self::Other, |name| Self::of_type_name(&name))
    }

    fn of_type_name(name: &str) -> Self {
        let name = name.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match name.as_str() {
            "" | "application/octet-stream" => Self::Nothing,
            "application/pdf" | "application/x-pdf" => Self::As(MediaKind::Pdf),
            // Such an image is text.
            _ if name.ends_with("xml") || name.starts_with("image/svg") => Self::Other,
            // More than one type.
            _ if name.contains(|sign: char| !sign.is_ascii_alphanumeric() && !"/.+-".contains(sign)) => Self::Other,
            _ if name.starts_with("image/") => Self::As(MediaKind::Image),
            _ if name.starts_with("audio/") => Self::As(MediaKind::Sound),
            _ => Self::Other,
        }
    }

    /// A file's name, by its extension.
    pub(super) fn of_file_name(value: Option<Json<'_>>) -> Self {
        const EXTENSION_BYTES_MAX: usize = 10;
        /// File systems take 255 bytes; what is read of a longer name may not be its end.
        const NAME_BYTES_MAX: usize = 250;
        let Some(name) = value.and_then(Json::name) else { return Self::Nothing };
        if name.len() > NAME_BYTES_MAX {
            return Self::Other;
        }
        let Some((_, extension)) = name.rsplit_once('.') else { return Self::Nothing };
        let is_extension = extension.len() <= EXTENSION_BYTES_MAX
            && extension.bytes().all(|byte| byte.is_ascii_alphanumeric())
            && extension.bytes().any(|byte| byte.is_ascii_alphabetic());
        match extension.to_ascii_lowercase().as_str() {
            _ if !is_extension => Self::Nothing,
            "pdf" => Self::As(MediaKind::Pdf),
            "png" | "jpg" | "jpeg" | "gif" | "webp" | "bmp" | "heic" | "heif" | "avif" => Self::As(MediaKind::Image),
            "mp3" | "wav" => Self::As(MediaKind::Sound),
            _ => Self::Other,
        }
    }

    /// What both say together.
    pub(super) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Nothing, said) | (said, Self::Nothing) => said,
            _ if self == other => self,
            _ => Self::Other,
        }
    }

    /// What it says, or this where it says nothing.
    pub(super) fn or(self, kind: MediaKind) -> Self {
        if self == Self::Nothing { Self::As(kind) } else { self }
    }
}

impl Media {
    /// Adds a file that stands within the request: base64 data, alone or as an address that holds it. Another address is
    /// refused: its provider would get the file itself.
    pub(super) fn add_inline(&mut self, data: Json<'_>, declared: Declared, rates: &Rates) {
        self.add_file(data, declared, ImageTokens::default(), rates);
    }

    /// Adds what stands within the request where an image belongs.
    pub(super) fn add_image(&mut self, data: Json<'_>, declared: Declared, rates: &Rates) {
        self.add_file(data, declared.or(MediaKind::Image), ImageTokens::most(rates.image), rates);
    }

    /// `images`: the least count of what is not an image of a known size.
    fn add_file(&mut self, data: Json<'_>, declared: Declared, images: ImageTokens, rates: &Rates) {
        let file = match data.raw().map(|raw| file(raw, declared, rates)) {
            Some(Some(file)) => file,
            Some(None) => return self.refuse(Uncountable::Address),
            None => FileTokens { images, ..FileTokens::default() },
        };
        self.add(Some(data), file.tokens);
        self.images.add(match file.is_sized {
            true => file.images,
            false => file.images.max(images.beyond(file.tokens)),
        });
    }
}

/// Upper bound of the tokens of a file.
#[derive(Debug, Clone, Copy, Default)]
struct FileTokens {
    tokens: u64,
    images: ImageTokens,
    /// It is an image, and its size is known.
    is_sized: bool,
}

/// Whether an address holds the data itself.
pub(super) fn is_data_address(address: Json<'_>) -> bool {
    address.raw().is_some_and(|raw| raw.len() >= 5 && raw[..5].eq_ignore_ascii_case(b"data:"))
}

/// Counts a file. As text it has at most as many tokens as its encoded data has bytes. `None`: it is an address.
fn file(raw: &[u8], declared: Declared, rates: &Rates) -> Option<FileTokens> {
    let text = raw.len() as u64;
    let (declared, base64) = match content(raw) {
        Content::Base64 { type_name, data } => (declared.and(Declared::of_type_name(&type_name)), data),
        Content::Text => return Some(FileTokens { tokens: text, ..FileTokens::default() }),
        Content::Address => return None,
    };
    let (kind, file) = by_bytes(&base64, rates);
    if kind.is_some_and(|kind| declared == Declared::As(kind)) {
        return Some(file);
    }
    let tokens = file.tokens.max(text);
    Some(FileTokens { tokens, images: file.images.plus(file.tokens).beyond(tokens), is_sized: false })
}

/// What the bytes of a file say: its kind, if it is known here, and what it counts as that.
fn by_bytes(base64: &[u8], rates: &Rates) -> (Option<MediaKind>, FileTokens) {
    let head = decode(&base64[..base64.len().min(HEAD_BYTES * 2)], HEAD_BYTES);
    let most = ImageTokens::most(rates.image);
    let is_image = is_image(&head) || is_boxed_image(&head, base64);
    if pdf::is_pdf(&head) {
        let pdf = pdf::count(&decode(base64, usize::MAX));
        let images = ImageTokens::pages(pdf.pages, rates.page_image);
        let images = if is_image { images.max(most) } else { images };
        return (Some(MediaKind::Pdf), FileTokens { tokens: pdf.text, images, is_sized: false });
    }
    if is_image {
        let sized = image::tokens(&head, |max| decode(base64, max), rates.image);
        let file = FileTokens { tokens: 0, images: sized.unwrap_or(most), is_sized: sized.is_some() };
        return (Some(MediaKind::Image), file);
    }
    match sound_bytes_a_second(&head) {
        Some(rate) => {
            let seconds = decoded_length(base64).saturating_mul(rates.sound_second).div_ceil(rate.max(1));
            (Some(MediaKind::Sound), FileTokens { tokens: seconds.saturating_add(1), ..FileTokens::default() })
        }
        None if is_text(&head) => (None, FileTokens::default()),
        // It may be an image of a kind that is not known here.
        None => (None, FileTokens { images: most, ..FileTokens::default() }),
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

/// What a string holds where a file belongs.
enum Content<'a> {
    /// Data, with the type that a `data:` address names.
    Base64 { type_name: String, data: Cow<'a, [u8]> },
    /// A `data:` address that holds its data as text.
    Text,
    /// The address of something else.
    Address,
}

/// Reads a string without JSON's escapes.
fn content(raw: &[u8]) -> Content<'_> {
    let plain: Cow<'_, [u8]> = match raw.contains(&b'\\') {
        true => match serde_json::from_slice::<String>(&[b"\"", raw, b"\""].concat()) {
            Ok(text) => text.into_bytes().into(),
            Err(_) => return Content::Text,
        },
        false => raw.into(),
    };
    if plain.len() < 5 || !plain[..5].eq_ignore_ascii_case(b"data:") {
        // An address has a colon or a dot before long. Looking further would cost a pass over each image.
        let head = &plain[..plain.len().min(HEAD_BYTES)];
        return match head.iter().all(|byte| is_base64(*byte)) {
            true => Content::Base64 { type_name: String::new(), data: plain },
            false => Content::Address,
        };
    }
    let Some(comma) = memchr::memchr(b',', &plain) else { return Content::Text };
    let head = String::from_utf8_lossy(&plain[5..comma]);
    if !head.trim_end().to_ascii_lowercase().ends_with("base64") {
        return Content::Text;
    }
    let type_name = head.split(';').next().unwrap_or_default().to_owned();
    let data = match plain {
        Cow::Borrowed(plain) => Cow::Borrowed(&plain[comma + 1..]),
        Cow::Owned(plain) => Cow::Owned(plain[comma + 1..].to_vec()),
    };
    Content::Base64 { type_name, data }
}

/// A byte of base64 text in either alphabet, with line breaks as mail has them.
fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte.is_ascii_whitespace() || matches!(byte, b'+' | b'/' | b'-' | b'_' | b'=')
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
