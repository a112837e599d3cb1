//! Images count by their size.

use agentops_core::models::ImageFamily::{self, *};

use super::media::base64;
use super::*;

fn png(width: u32, height: u32, more: &[u8]) -> Vec<u8> {
    let size = [width.to_be_bytes(), height.to_be_bytes()].concat();
    [b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", &size[..], b"\x08\x02\0\0\0crc.", more, b"\0\0\0\x04IDATdata"].concat()
}

fn frame(kind: u8, width: u16, height: u16) -> Vec<u8> {
    let size = [height.to_be_bytes(), width.to_be_bytes()].concat();
    [&[0xff, kind, 0, 11, 8], &size[..], b"\x01\x01\x11\0"].concat()
}

fn jpeg(segments: &[u8]) -> Vec<u8> {
    [
        &b"\xff\xd8\xff\xe0\0\x04ab\xff\xfe\0\x0b\xff\xc0\0\x0b\x08\0\x01\0\x01\xff"[..],
        segments,
        b"\xff\xda\0\x02data\xff\xd9",
    ]
    .concat()
}

fn picture(width: u16, height: u16) -> Vec<u8> {
    let size = [width.to_le_bytes(), height.to_le_bytes()].concat();
    [b",\0\0\0\0", &size[..], b"\0\x02\x03abc\0"].concat()
}

fn gif(width: u16, height: u16, blocks: &[u8]) -> Vec<u8> {
    let size = [width.to_le_bytes(), height.to_le_bytes()].concat();
    [b"GIF89a", &size[..], b"\x80\0\0colors!\xfe\x03abc\0", blocks, b";"].concat()
}

fn webp(chunks: &[u8]) -> Vec<u8> {
    [b"RIFF\0\0\0\0WEBP", chunks].concat()
}

fn lossy(width: u16, height: u16) -> Vec<u8> {
    let size = [width.to_le_bytes(), height.to_le_bytes()].concat();
    [b"VP8 \x0a\0\0\0abc\x9d\x01\x2a", &size[..]].concat()
}

fn canvas(flags: u8, width: u8, height: u8) -> Vec<u8> {
    [&b"VP8X\x0a\0\0\0"[..], &[flags, 0, 0, 0, width - 1, 0, 0, height - 1, 0, 0]].concat()
}

fn item(kind: &str, data: &str) -> [(Protocol, Value); 4] {
    let address = format!("data:{kind};base64,{data}");
    let source = json!({"type": "base64", "media_type": kind, "data": data});
    [
        (Protocol::Messages, json!({"content": [{"type": "image", "source": source}]})),
        (Protocol::Responses, json!({"content": [{"type": "input_image", "image_url": address}]})),
        (Protocol::Chat, json!({"content": [{"type": "image_url", "image_url": {"url": address}}]})),
        (Protocol::Gemini, json!({"parts": [{"inlineData": {"mimeType": kind, "data": data}}]})),
    ]
}

/// The count of an image, which no protocol changes where the model is known.
fn count(file: &[u8], family: ImageFamily) -> u64 {
    let counts = item("image/png", &base64(file)).map(|(protocol, item)| {
        let media = media(protocol, BodyPart::Item, item.to_string().as_bytes());
        assert_eq!(media.tokens, 0, "{protocol:?}");
        media.images.of(family)
    });
    assert_eq!(counts, [counts[0]; 4]);
    counts[0]
}

#[test]
fn an_image_counts_by_its_size() {
    let lossless = [&b"VP8L\x05\0\0\0\x2f"[..], &(199_u32 | 199 << 14).to_le_bytes()].concat();
    let files = [
        ("PNG", png(200, 200, b"\0\0\0\x03tEXtabccrc.")),
        ("JPEG", jpeg(&frame(0xc0, 200, 200))),
        ("progressive JPEG", jpeg(&[b"\xff\xff", &frame(0xc2, 200, 200)[1..]].concat())),
        ("GIF", gif(200, 200, &picture(200, 200))),
        ("WebP", webp(&lossy(200, 200))),
        ("lossless WebP", webp(&lossless)),
        ("WebP with a canvas", webp(&[canvas(0x10, 200, 200), lossy(200, 200)].concat())),
    ];
    for (what, file) in files {
        let counts =
            [(Claude, 128), (ClaudeSmall, 128), (OpenAi, 255), (OpenAiLarge, 255), (OpenAiMini, 8_500), (Gemini, 2_240)];
        for (family, tokens) in counts {
            assert_eq!(count(&file, family), tokens, "{what}, {family:?}");
        }
        let [claude, ..] = item("image/png", &base64(&file));
        let media = media(Protocol::Messages, BodyPart::Item, claude.1.to_string().as_bytes());
        assert_eq!(media.images.of(Unknown), 5_000, "a model that is not known");
    }
}

/// Sizes with the input tokens that Claude 5.5, Claude Haiku 4.5, Gemini 3 and GPT-6 were measured with; with Claude's, 77 and
/// 65 are of the text. Source: `https://huggingface.co/datasets/JOHNISKING/image-token-cost`, seen November 2026.
const MEASURED: [(u32, u32, [u64; 4]); 8] = [
    (256, 256, [177 - 77, 165 - 65, 1_090, 77]),
    (512, 512, [438 - 77, 426 - 65, 1_090, 308]),
    (1024, 1024, [1_446 - 77, 1_434 - 65, 1_090, 1_229]),
    (1280, 720, [1_273 - 77, 1_261 - 65, 1_101, 1_104]),
    (1080, 1920, [2_768 - 77, 1_625 - 65, 1_101, 2_448]),
    (2560, 1440, [3_069 - 77, 1_657 - 65, 1_101, 4_320]),
    (3840, 2160, [3_069 - 77, 1_657 - 65, 1_101, 9_792]),
    (4032, 3024, [4_005 - 77, 1_661 - 65, 1_065, 14_364]),
];

#[test]
fn b1_no_image_counts_less_than_its_provider_measured() {
    for (width, height, measured) in MEASURED {
        let file = png(width, height, b"");
        for (family, tokens) in [Claude, ClaudeSmall, Gemini, OpenAiLarge].into_iter().zip(measured) {
            let own = count(&file, family);
            assert!(own >= tokens, "{width} x {height}, {family:?}: {own} of {tokens}");
        }
    }
}

/// A size that one reader takes for another, and more than one picture, never lower a count.
#[test]
fn b1_an_image_of_an_unsure_size_counts_as_the_most() {
    let two = [picture(9, 9), picture(9, 9)].concat();
    let files = [
        ("two pictures", gif(9, 9, &two)),
        ("a picture without an end", gif(9, 9, &picture(9, 9)[..12])),
        ("an animation", png(9, 9, b"\0\0\0\x08acTL12345678crc.")),
        ("an animated canvas", webp(&[canvas(0x02, 9, 9), lossy(9, 9)].concat())),
        ("a canvas without a picture", webp(&canvas(0, 9, 9))),
        ("frames without a canvas", webp(&[&b"ANMF\x02\0\0\0ab"[..], &lossy(9, 9)].concat())),
        ("a second header", png(9, 9, &[&b"\0\0\0\rIHDR"[..], &[1; 17]].concat())),
        ("no data", png(9, 9, b"")[..40].to_vec()),
        ("a chunk without an end", png(9, 9, b"\xff\xff\xff\xfftEXt")),
        ("no height", png(9, 0, b"")),
        ("two frames", jpeg(&[frame(0xc0, 9, 9), frame(0xc1, 9, 9)].concat())),
        ("a height that comes later", jpeg(&[frame(0xc0, 9, 9), b"\xff\xdc\0\x04\0\x09".to_vec()].concat())),
        ("a height of none", jpeg(&frame(0xc0, 9, 0))),
        ("no frame", jpeg(b"")),
        ("another kind", b"BM\x36\0\0\0\0\0\0\0".to_vec()),
    ];
    let most = [
        (Claude, 5_000),
        (ClaudeSmall, 1_700),
        (OpenAi, 10_000),
        (OpenAiLarge, 36_000),
        (OpenAiMini, 48_169),
        (Gemini, 6_192),
    ];
    for (what, file) in files {
        for (family, tokens) in most {
            assert_eq!(count(&file, family), tokens, "{what}, {family:?}");
        }
    }
    // The larger of two sizes that a file gives.
    for file in [webp(&[canvas(0, 200, 9), lossy(9, 200)].concat()), gif(9, 200, &picture(200, 9))] {
        assert_eq!(count(&file, Claude), 128);
    }
    // A file that another reader takes for text counts as text.
    let text = base64(&[png(9, 9, b""), b"word ".repeat(20_000)].concat());
    for (protocol, item) in item("text/plain", &text) {
        let media = media(protocol, BodyPart::Item, item.to_string().as_bytes());
        assert!(media.tokens >= 100_000, "{protocol:?}");
    }
    // By its address.
    let shown = json!({"content": [{"type": "input_image", "image_url": "https://example.com/a.png"}]}).to_string();
    assert_eq!(media(Protocol::Responses, BodyPart::Item, shown.as_bytes()).images.of(OpenAiLarge), 36_000);
}
