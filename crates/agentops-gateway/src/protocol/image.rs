//! How many tokens an image has. Each provider counts by the size in pixels, which stands at the beginning of the file.
//!
//! Sources: Anthropic, "Vision" (750 pixels a token), and a table of measured images
//! (`https://huggingface.co/datasets/JOHNISKING/image-token-cost`, seen November 2026): Claude counts patches of 28 pixels square,
//! at most about 1,600 before Opus 4.7 and 4,784 since; Gemini 3 counts 1,065 to 1,101 for every size. Gemini API, "Token
//! counting" and "Media resolution": tiles of 258 tokens, and 2,240 at the highest resolution. OpenAI, "Images and vision":
//! tiles of 512 pixels with 170 tokens and 85 more; patches of 32 pixels square with at most 2.46 tokens, of which those
//! models take at most 1,536. GPT-5.2 and later count 1.2 tokens a patch without scaling the image down
//! (`https://docs.apiyi.com/en/faq/vision-image-too-large`), and refuse one of more than 30,000 patches
//! (github.com/NousResearch/hermes-agent, issue 106337).

use agentops_core::models::ImageFamily;

/// Tokens of images, for each family of models that counts them in its own way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ImageTokens([u64; ImageFamily::ALL.len()]);

impl ImageTokens {
    /// No image.
    pub const NONE: Self = Self([0; ImageFamily::ALL.len()]);

    /// The largest count that an image may have. `unknown`: of a model that is not known.
    pub(super) fn most(unknown: u64) -> Self {
        Self(ImageFamily::ALL.map(|family| match family {
            ImageFamily::Unknown => unknown,
            family => image_max(family),
        }))
    }

    /// As [`ImageTokens::most`], for the images of pages. `known`: what the provider makes of a page at most.
    pub(super) fn pages(count: u64, known: u64) -> Self {
        Self(ImageFamily::ALL.map(|family| {
            let page = match family {
                ImageFamily::ClaudeSmall => known.min(image_max(family)),
                ImageFamily::OpenAiMini => image_max(family),
                _ => known,
            };
            count.saturating_mul(page)
        }))
    }

    /// The count of an image of that size.
    fn sized(size: Size, unknown: u64) -> Self {
        Self(ImageFamily::ALL.map(|family| sized(family, size).unwrap_or(unknown)))
    }

    /// Those of both.
    pub(super) fn add(&mut self, more: Self) {
        self.0.iter_mut().zip(more.0).for_each(|(tokens, more)| *tokens = tokens.saturating_add(more));
    }

    /// For each family the larger of both.
    pub(super) fn max(self, other: Self) -> Self {
        let mut most = self;
        most.0.iter_mut().zip(other.0).for_each(|(tokens, other)| *tokens = (*tokens).max(other));
        most
    }

    /// What is more than another count.
    pub(super) fn beyond(self, tokens: u64) -> Self {
        Self(self.0.map(|own| own.saturating_sub(tokens)))
    }

    /// With as many more for every family.
    pub(super) fn plus(self, tokens: u64) -> Self {
        Self(self.0.map(|own| own.saturating_add(tokens)))
    }

    /// The count of one family.
    #[must_use]
    pub fn of(self, family: ImageFamily) -> u64 {
        self.0[family as usize]
    }
}

/// The most tokens that models of a family make of an image.
fn image_max(family: ImageFamily) -> u64 {
    match family {
        ImageFamily::Claude => 5_000,
        ImageFamily::ClaudeSmall => 1_700,
        ImageFamily::OpenAi => 10_000,
        ImageFamily::OpenAiLarge => 36_000,
        // Eight tiles.
        ImageFamily::OpenAiMini => 2_833 + 8 * 5_667,
        ImageFamily::Gemini => 24 * 258,
        ImageFamily::Unknown => u64::MAX,
    }
}

/// Pixels across and down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Size(u64, u64);

/// The tokens of an image of that size; `None`: the family is not known.
fn sized(family: ImageFamily, Size(width, height): Size) -> Option<u64> {
    let squares = |side: u64| width.div_ceil(side).saturating_mul(height.div_ceil(side));
    let most = image_max(family);
    Some(match family {
        // What stands around an image is a few tokens.
        ImageFamily::Claude | ImageFamily::ClaudeSmall => {
            squares(28).max(width.saturating_mul(height).div_ceil(750)).saturating_add(64).min(most)
        }
        ImageFamily::OpenAi => openai(width, height),
        // An image above the most that is published is counted as large as it is.
        ImageFamily::OpenAiLarge => openai(width, height).max(squares(32).saturating_mul(12).div_ceil(10)),
        ImageFamily::OpenAiMini => 2_833 + 5_667 * tiles(width, height),
        ImageFamily::Gemini => {
            const HIGHEST_RESOLUTION: u64 = 2_240;
            let side = (width.min(height) * 2 / 3).clamp(256, 768);
            squares(side).saturating_mul(258).clamp(HIGHEST_RESOLUTION, most)
        }
        ImageFamily::Unknown => return None,
    })
}

/// The larger of both ways in which OpenAI's models count, at the highest rate of each.
fn openai(width: u64, height: u64) -> u64 {
    let patches = width.div_ceil(32).saturating_mul(height.div_ceil(32)).min(1_536);
    (85 + 170 * tiles(width, height)).max(patches.saturating_mul(246).div_ceil(100))
}

/// Tiles of 512 pixels square. Models scale an image down to at most eight.
fn tiles(width: u64, height: u64) -> u64 {
    width.div_ceil(512).saturating_mul(height.div_ceil(512)).min(8)
}

/// Bytes in which the size of an image stands.
const SIZE_BYTES: usize = 256 << 10;

/// The count of an image by its size; `None`: its size is not known, or it is more than one image. `decode` gives as many of
/// its bytes as are asked for.
pub(super) fn tokens(head: &[u8], decode: impl Fn(usize) -> Vec<u8>, unknown: u64) -> Option<ImageTokens> {
    let size = match head {
        [0x89, b'P', b'N', b'G', ..] => png(&decode(SIZE_BYTES)),
        [0xff, 0xd8, ..] => jpeg(&decode(SIZE_BYTES)),
        // Pictures may follow each other to its end.
        [b'G', b'I', b'F', ..] => gif(&decode(usize::MAX)),
        [b'R', b'I', b'F', b'F', ..] => webp(&decode(SIZE_BYTES)),
        _ => None,
    }?;
    // A size with a side of zero pixels is not valid.
    (size.0 > 0 && size.1 > 0).then(|| ImageTokens::sized(size, unknown))
}

fn big(bytes: &[u8], at: usize, length: usize) -> Option<u64> {
    Some(bytes.get(at..at + length)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

fn little(bytes: &[u8], at: usize, length: usize) -> Option<u64> {
    Some(bytes.get(at..at + length)?.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

/// Source: W3C, "Portable Network Graphics", sections 5 and 11: the header comes first, and data of an animation says so
/// before the picture.
fn png(bytes: &[u8]) -> Option<Size> {
    if bytes.get(8..16) != Some(b"\0\0\0\rIHDR") {
        return None;
    }
    let size = Size(big(bytes, 16, 4)?, big(bytes, 20, 4)?);
    let mut at = 33;
    loop {
        match bytes.get(at + 4..at + 8)? {
            b"IDAT" => return Some(size),
            b"IHDR" | b"acTL" | b"IEND" => return None,
            _ => at = at.checked_add(usize::try_from(big(bytes, at, 4)?).ok()?)?.checked_add(12)?,
        }
    }
}

/// Source: ITU-T T.81, annex B: segments with their lengths, one of which begins the frame, before the first scan.
fn jpeg(bytes: &[u8]) -> Option<Size> {
    let (mut at, mut size) = (2, None);
    loop {
        // A mark may be filled up with further bytes of ones.
        let [0xff, kind] = bytes.get(at..at + 2)? else { return None };
        match kind {
            0xff => at += 1,
            0xda => return size,
            0xc0..=0xcf if !matches!(kind, 0xc4 | 0xc8 | 0xcc) => {
                if size.is_some() {
                    return None;
                }
                size = Some(Size(big(bytes, at + 7, 2)?, big(bytes, at + 5, 2)?));
                at += 2 + usize::try_from(big(bytes, at + 2, 2)?).ok()?;
            }
            // Several frames that build on each other, or a height that comes later.
            0xdc | 0xde | 0xd8 | 0xd9 | 0x01 | 0xd0..=0xd7 | 0x00 => return None,
            _ => at += 2 + usize::try_from(big(bytes, at + 2, 2)?).ok()?,
        }
    }
}

/// Source: "Graphics Interchange Format, version 89a": the screen, then blocks, one for each picture.
fn gif(bytes: &[u8]) -> Option<Size> {
    let colors = |flags: u8| if flags & 0x80 != 0 { 3 << ((flags & 7) + 1) } else { 0 };
    let blocks_end = |mut at: usize| {
        loop {
            match bytes.get(at)? {
                0 => return Some(at + 1),
                length => at += 1 + usize::from(*length),
            }
        }
    };
    let screen = Size(little(bytes, 6, 2)?, little(bytes, 8, 2)?);
    let mut at = 13 + colors(*bytes.get(10)?);
    let mut picture = None;
    loop {
        match bytes.get(at)? {
            0x21 => at = blocks_end(at + 2)?,
            0x2c if picture.is_none() => {
                let place = (little(bytes, at + 1, 2)?, little(bytes, at + 3, 2)?);
                picture = Some(Size(place.0 + little(bytes, at + 5, 2)?, place.1 + little(bytes, at + 7, 2)?));
                at = blocks_end(at + 11 + colors(*bytes.get(at + 9)?))?;
            }
            0x3b => return picture.map(|picture| Size(screen.0.max(picture.0), screen.1.max(picture.1))),
            _ => return None,
        }
    }
}

/// Source: RFC 9649, "WebP Image Format". An animation has a canvas and frames.
fn webp(bytes: &[u8]) -> Option<Size> {
    let mut at = 12;
    let mut canvas = Size(0, 0);
    loop {
        let data = at + 8;
        let size = match bytes.get(at..at + 4)? {
            b"VP8X" => {
                if bytes.get(data)? & 0x02 != 0 {
                    return None;
                }
                canvas = Size(little(bytes, data + 4, 3)? + 1, little(bytes, data + 7, 3)? + 1);
                None
            }
            b"VP8 " if bytes.get(data + 3..data + 6) == Some(b"\x9d\x01\x2a") => {
                Some(Size(little(bytes, data + 6, 2)? & 0x3fff, little(bytes, data + 8, 2)? & 0x3fff))
            }
            b"VP8L" if bytes.get(data) == Some(&0x2f) => {
                let bits = little(bytes, data + 1, 4)?;
                Some(Size((bits & 0x3fff) + 1, (bits >> 14 & 0x3fff) + 1))
            }
            b"VP8 " | b"VP8L" | b"ANIM" | b"ANMF" => return None,
            _ => None,
        };
        if let Some(Size(width, height)) = size {
            return Some(Size(width.max(canvas.0), height.max(canvas.1)));
        }
        let length = usize::try_from(little(bytes, at + 4, 4)?).ok()?;
        at = data.checked_add(length)?.checked_add(length & 1)?;
    }
}
