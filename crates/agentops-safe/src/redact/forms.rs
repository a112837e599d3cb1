//! The forms in which a known value may appear: as it is, escaped, percent-encoded, in base64 or in hex.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};

use super::{parts, view};

/// Values longer than this are known piece by piece, so that no form of any value outgrows the stream's window.
/// In bytes; the longest form takes seven times as much.
pub(super) const PIECE_BYTES_MAX: usize = 1024;
/// No form is shorter than this: shorter ones would hit by chance.
const FORM_BYTES_MIN: usize = 8;
/// A line of a value with several lines is known by itself from this length on, for text that indents or quotes lines.
const LINE_BYTES_MIN: usize = 24;

/// Every form of a value. The value has at least [`FORM_BYTES_MIN`] bytes.
pub(super) fn forms(value: &str) -> BTreeSet<Vec<u8>> {
    let mut all = BTreeSet::new();
    for piece in pieces(value) {
        piece_forms(piece, &mut all);
    }
    if let Some(parts) = parts::parts(value) {
        for piece in pieces(value) {
            all.remove(piece.as_bytes());
        }
        for piece in parts.iter().flat_map(|part| pieces(part)) {
            piece_forms(piece, &mut all);
        }
    } else if value.contains('\n') {
        let lines = value.lines().map(str::trim).filter(|line| line.len() >= LINE_BYTES_MIN && !line.starts_with("-----"));
        for piece in lines.flat_map(pieces) {
            piece_forms(piece, &mut all);
        }
    }
    // The search sees text in its view, where an escape that a form contains stands undone, unless that is spelled in escapes.
    let shown = all.iter().flat_map(|form| [view::shown(form), form.clone()]);
    shown.filter(|form| form.len() >= FORM_BYTES_MIN).collect()
}

/// The value as others may repeat it: as it is, escaped for JSON, percent-encoded, in base64 or in hex. A value longer than
/// [`PIECE_BYTES_MAX`] is given in pieces. Empty: the value is shorter than [`FORM_BYTES_MIN`].
pub(super) fn written_forms(value: &str) -> BTreeSet<Vec<u8>> {
    let mut all = BTreeSet::new();
    if value.len() >= FORM_BYTES_MIN {
        for piece in pieces(value) {
            piece_forms(piece, &mut all);
        }
    }
    all.retain(|form| form.len() >= FORM_BYTES_MIN);
    all
}

/// Cuts a value into pieces of at most [`PIECE_BYTES_MAX`] bytes. The last two overlap, so that none is too short.
fn pieces(value: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut start = 0;
    while value.len() - start > PIECE_BYTES_MAX {
        let end = value.floor_char_boundary(start + PIECE_BYTES_MAX);
        found.push(&value[start..end]);
        start = end;
    }
    if start > 0 {
        start = value.ceil_char_boundary(value.len() - PIECE_BYTES_MAX);
    }
    found.push(&value[start..]);
    found
}

fn piece_forms(value: &str, all: &mut BTreeSet<Vec<u8>>) {
    let bytes = value.as_bytes();
    for text in escaped(value) {
        all.insert(text.into_bytes());
    }
    for upper in [true, false] {
        for plain in ["-._~", "-_.*", "-_.!~*'()", "-._~!$&'()*+,;=:@/?", "-._~/"] {
            all.insert(percent_encoded(bytes, plain, upper).into_bytes());
        }
        all.insert(percent_encoded(bytes, "-_.*", upper).replace("%20", "+").into_bytes());
        all.insert(hex(bytes, upper).into_bytes());
    }
    base64_forms(bytes, all);
}

/// The value itself and its escaped forms: as JSON writers escape it (plain, ASCII only, with `\/`), each also escaped
/// once more for JSON inside JSON. What else may be written as `\u0041` is undone before the search.
fn escaped(value: &str) -> Vec<String> {
    let mut found = vec![value.to_owned()];
    for style in 0..8 {
        let once = json_escaped(value, style);
        found.push(json_escaped(&once, 0));
        found.push(once);
    }
    found
}

/// Escapes for a JSON string; `style` is a set of bits: 1 ASCII only, 2 slash too, 4 escapes in upper case, `"`
/// among them.
fn json_escaped(value: &str, style: u8) -> String {
    let mut out = String::with_capacity(value.len());
    for c in value.chars() {
        match c {
            '"' if style & 4 != 0 => out.push_str("\\u0022"),
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '/' if style & 2 != 0 => out.push_str("\\/"),
            _ if c < ' ' || (style & 1 != 0 && !c.is_ascii()) => {
                let mut units = [0; 2];
                for unit in c.encode_utf16(&mut units) {
                    let _ = if style & 4 != 0 { write!(out, "\\u{unit:04X}") } else { write!(out, "\\u{unit:04x}") };
                }
            }
            _ => out.push(c),
        }
    }
    out
}

fn percent_encoded(bytes: &[u8], plain: &str, upper: bool) -> String {
    let mut out = String::with_capacity(bytes.len());
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || plain.as_bytes().contains(&byte) {
            out.push(char::from(byte));
        } else if upper {
            let _ = write!(out, "%{byte:02X}");
        } else {
            let _ = write!(out, "%{byte:02x}");
        }
    }
    out
}

fn hex(bytes: &[u8], upper: bool) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        let _ = if upper { write!(out, "{byte:02X}") } else { write!(out, "{byte:02x}") };
        out
    })
}

/// Base64 has no fixed form for a value inside something larger: it depends on how many bytes lie before it, modulo
/// three. For each of the three the characters that depend on the value alone are known, and so are the forms in which
/// the value is the end, with and without padding. Encoders that wrap lines (at 64 and 76) are covered for a value that
/// stands alone.
fn base64_forms(bytes: &[u8], all: &mut BTreeSet<Vec<u8>>) {
    for engine in [&STANDARD, &URL_SAFE] {
        for before in 0..3_usize {
            let mut input = vec![0; before];
            input.extend_from_slice(bytes);
            let text = engine.encode(&input);
            // Characters 0..skip carry bits of what lies before.
            let skip = (before * 8).div_ceil(6);
            let whole = input.len() * 8 / 6;
            let unpadded = text.trim_end_matches('=').len();
            for end in [whole, unpadded, text.len()] {
                all.insert(text.as_bytes()[skip..end].to_vec());
            }
            if before == 0 {
                for width in [64, 76] {
                    let lines: Vec<&[u8]> = text.as_bytes().chunks(width).collect();
                    all.insert(lines.join(&b"\n"[..]));
                    all.insert(lines.join(&b"\\n"[..]));
                }
            }
        }
    }
}
