//! The filters of streams that are read: Flate, ASCII85, and both together.

use flate2::{Decompress, FlushDecompress, Status};

use super::{name, written_name};

/// What the names in a stream's dictionary say.
#[derive(Default)]
pub(super) struct Names {
    pub(super) flate: u32,
    pub(super) ascii85: u32,
    /// It is an image that is drawn, and can be nothing else.
    pub(super) is_image: bool,
    /// Its data is that of an image file.
    pub(super) is_binary: bool,
    /// It may hold objects.
    pub(super) may_hold_objects: bool,
    /// Its bytes are altered before they are compressed.
    pub(super) altered: bool,
}

pub(super) fn names_of(dictionary: &[u8]) -> Names {
    let mut names = Names::default();
    let (mut subtypes, mut image, mut form) = (0, false, false);
    let mut before_is_subtype = false;
    for slash in memchr::memchr_iter(b'/', dictionary) {
        let written = written_name(&dictionary[slash + 1..]);
        let name = name(written);
        // An escaped name could mean any of these to a reader that compares the bytes.
        names.may_hold_objects |= written.contains(&b'#');
        match name.as_ref() {
            b"FlateDecode" => names.flate += 1,
            b"ASCII85Decode" => names.ascii85 += 1,
            b"DCTDecode" | b"JPXDecode" | b"CCITTFaxDecode" | b"JBIG2Decode" => names.is_binary = true,
            b"ObjStm" => names.may_hold_objects = true,
            b"DecodeParms" | b"DP" => names.altered = true,
            b"Subtype" => subtypes += 1,
            b"Image" => image |= before_is_subtype,
            b"Form" => form = true,
            _ => {}
        }
        before_is_subtype = name.as_ref() == b"Subtype";
    }
    names.is_image = image && !form && subtypes == 1;
    names
}

pub(super) enum Inflated {
    /// What was read, and the length of the data it came from.
    Whole {
        bytes: Vec<u8>,
        length: usize,
    },
    TooLong,
    NotCompressed,
}

/// Decompresses as far as the data goes; what breaks off counts as far as it was read.
pub(super) fn inflate(data: &[u8], max: usize) -> Inflated {
    const STEP: usize = 32 << 10;
    let mut decompress = Decompress::new(true);
    let mut bytes = Vec::new();
    loop {
        bytes.reserve(STEP);
        let (read, written) = (decompress.total_in(), decompress.total_out());
        let length = usize::try_from(read).unwrap_or(usize::MAX);
        let rest = data.get(length..).unwrap_or_default();
        let status = decompress.decompress_vec(rest, &mut bytes, FlushDecompress::None);
        if bytes.len() > max {
            return Inflated::TooLong;
        }
        let moved = (decompress.total_in(), decompress.total_out()) != (read, written);
        match status {
            Ok(Status::Ok | Status::BufError) if moved => {}
            _ if bytes.is_empty() => return Inflated::NotCompressed,
            _ => {
                let length = usize::try_from(decompress.total_in()).unwrap_or(usize::MAX).min(data.len());
                return Inflated::Whole { bytes, length };
            }
        }
    }
}

/// The bytes that ASCII85 stands for, and its length; `None`: it is something else, or there are more.
pub(super) fn ascii85(data: &[u8], max: usize) -> Option<(Vec<u8>, usize)> {
    let mut bytes = Vec::new();
    let (mut group, mut digits) = (0_u32, 0);
    for (at, byte) in data.iter().enumerate() {
        match byte {
            b'!'..=b'u' => {
                group = group.checked_mul(85)?.checked_add(u32::from(byte - b'!'))?;
                digits += 1;
                if digits == 5 {
                    bytes.extend(group.to_be_bytes());
                    (group, digits) = (0, 0);
                }
            }
            b'z' if digits == 0 => bytes.extend([0; 4]),
            b'~' => {
                // A last group with fewer digits stands for one byte less than it has.
                if digits > 1 {
                    for _ in digits..5 {
                        group = group.checked_mul(85)?.checked_add(84)?;
                    }
                    bytes.extend(&group.to_be_bytes()[..digits - 1]);
                }
                return Some((bytes, at));
            }
            byte if byte.is_ascii_whitespace() || *byte == 0 => {}
            _ => return None,
        }
        if bytes.len() > max {
            return None;
        }
    }
    None
}
