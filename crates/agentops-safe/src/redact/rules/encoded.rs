//! Keys of providers in base64, as they stand in a secret of Kubernetes or in a login.
//!
//! Base64 has no fixed form for a text inside a larger one: it depends on how many bytes lie before it, modulo three. So there
//! are three keywords for each beginning of a key. What follows one is decoded and judged by the key's own rule.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD_NO_PAD};

use super::{Rule, Shape, providers};

/// How far a rule sees, in bytes of base64.
pub(in crate::redact) const WINDOW: usize = 512;
/// Shorter beginnings would be found by chance.
const PREFIX_BYTES_MIN: usize = 4;

/// What a stretch of base64 begins with if a key begins there.
pub(in crate::redact) struct Encoded {
    /// The characters that depend on the beginning of the key alone.
    pub keyword: Vec<u8>,
    /// What the characters before them would be, had only zeros stood there.
    pub before: Vec<u8>,
    /// How many bytes before the key these characters stand for.
    pub zeros: usize,
    /// The index of the key's rule.
    pub rule: usize,
}

/// All of them. Each is found by its keyword in lower case, and its own case is compared afterwards.
pub(in crate::redact) fn all() -> &'static [Encoded] {
    static ALL: LazyLock<Vec<Encoded>> = LazyLock::new(|| {
        let mut all = Vec::new();
        for (index, rule) in super::all().iter().enumerate() {
            for prefix in prefixes(rule) {
                all.extend((0..3).map(|zeros| encoded(prefix.as_bytes(), zeros, index)));
            }
        }
        all
    });
    &ALL
}

fn encoded(prefix: &[u8], zeros: usize, rule: usize) -> Encoded {
    let text = STANDARD_NO_PAD.encode([&vec![0; zeros], prefix].concat());
    let skipped = (zeros * 8).div_ceil(6);
    let whole = (zeros + prefix.len()) * 8 / 6;
    Encoded { keyword: text[skipped..whole].into(), before: text[..skipped].into(), zeros, rule }
}

/// The beginnings of a rule's keys as they are spelled; keywords are in lower case.
fn prefixes(rule: &Rule) -> Vec<String> {
    match rule.name {
        // The beginnings of headers `{"alg":`, `{"typ":`, `{"kid":`.
        "jwt" => return ["eyJhbGciOi", "eyJ0eXAiOi", "eyJraWQiOi"].map(str::to_owned).into(),
        "private-key" => return ["-----BEGIN "].map(str::to_owned).into(),
        _ if !providers::RULES.iter().any(|known| known.name == rule.name) => return Vec::new(),
        _ => {}
    }
    // What is told by the name before it may spell that in any case.
    let Shape::Whole(shape) = rule.shape else { return Vec::new() };
    if shape.starts_with("(?i)") {
        return Vec::new();
    }
    let plain = shape.replace('\\', "");
    let is_upper = plain.starts_with(|first: char| first.is_ascii_uppercase());
    let spelled = |keyword: &&str| match plain.to_ascii_lowercase().find(keyword) {
        Some(at) => plain[at..at + keyword.len()].to_owned(),
        None if is_upper => keyword.to_ascii_uppercase(),
        None => (*keyword).to_owned(),
    };
    rule.keywords.iter().filter(|keyword| keyword.len() >= PREFIX_BYTES_MIN).map(spelled).collect()
}

/// The bytes of base64 of either alphabet, without padding. What stands for a part of a byte at its end is left out.
pub(in crate::redact) fn decoded(text: &[u8]) -> Option<Vec<u8>> {
    const ANY_END: GeneralPurposeConfig = GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent);
    const ENGINE: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, ANY_END);
    let standard = |byte: &u8| match byte {
        b'-' => b'+',
        b'_' => b'/',
        byte => *byte,
    };
    let text: Vec<u8> = text[..text.len() - usize::from(text.len() % 4 == 1)].iter().map(standard).collect();
    ENGINE.decode(text).ok()
}
