//! Reads the file that a person names, or says why it is no source: a folder, a device, an archive, a pipe that nobody writes.
//!
//! A file named by mistake must not fill the memory or wait without end, and a text must not be made of something that is none.

use std::fs::{File, FileType, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use agentops_bundle::SourceError;
use agentops_git::shell_word;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use crate::error::{CommandError, USAGE};

/// Largest source in bytes. Reading one takes several times this in memory.
const SOURCE_BYTES_MAX: u64 = 1 << 30;
/// Bytes of the beginning that show whether a source is text.
const LOOK_BYTES: usize = 64 << 10;
/// Seconds that a named pipe may be without a byte before it is refused.
const PIPE_SECONDS_MAX: i64 = 5;
/// In text, fewer than one byte in this many is a control character other than white space, escape or NUL.
const CONTROL_SHARE: usize = 25;

/// A form of compressed data: how it begins, its name, and the command that unpacks it to the standard output.
struct Packed {
    magic: &'static [u8],
    name: &'static str,
    unpack: &'static str,
}

const PACKED: [Packed; 6] = [
    Packed { magic: b"\x1f\x8b\x08", name: "gzip", unpack: "gzip -dc" },
    Packed { magic: b"\x28\xb5\x2f\xfd", name: "zstd", unpack: "zstd -dc" },
    Packed { magic: b"\xfd7zXZ\0", name: "xz", unpack: "xz -dc" },
    Packed { magic: b"BZh", name: "bzip2", unpack: "bzip2 -dc" },
    Packed { magic: b"\x04\x22\x4d\x18", name: "lz4", unpack: "lz4 -dc" },
    Packed { magic: b"PK\x03\x04", name: "zip", unpack: "unzip -p" },
];
/// What follows the size digit of a bzip2 file. Its first three bytes alone may also begin a text.
const BZIP2_BLOCK: &[u8] = b"1AY&SY";

/// A text file whole; `-` is the standard input. `command` reads the same kind of source from the standard input, as
/// `bundle log --file -`.
///
/// # Errors
/// It is unreadable, a folder, a device, a pipe without a writer, compressed, not text, or larger than 1 GiB.
pub fn read(file: &Path, command: &str) -> Result<Vec<u8>, CommandError> {
    if file.as_os_str() == "-" {
        let bytes = bounded(&mut io::stdin().lock(), file, |look| refuse_packed(look, file, command))?;
        return Ok(bytes);
    }
    let mut opened = open(file, command)?;
    bounded(&mut opened, file, |look| refuse_packed(look, file, command))
}

/// A file whole, whatever it holds.
///
/// # Errors
/// As [`read`], but what it holds is not looked at.
pub fn bytes(file: &Path) -> Result<Vec<u8>, CommandError> {
    bounded(&mut open(file, "bundle log --file -")?, file, |_| Ok(()))
}

fn open(file: &Path, command: &str) -> Result<File, CommandError> {
    let failed = |source| CommandError::from(SourceError::Unreadable { path: file.to_owned(), source });
    // To open some devices has effects, and to open a pipe may wait. So this is asked before.
    refuse_type(file, &std::fs::metadata(file).map_err(failed)?)?;
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let opened = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(file).map_err(failed)?;
    let metadata = opened.metadata().map_err(failed)?;
    refuse_type(file, &metadata)?;
    if metadata.file_type().is_fifo() {
        await_writer(&opened, file, command)?;
        let flags = fcntl_getfl(&opened).map_err(|error| failed(error.into()))?;
        fcntl_setfl(&opened, flags - OFlags::NONBLOCK).map_err(|error| failed(error.into()))?;
    }
    Ok(opened)
}

fn refuse_type(file: &Path, metadata: &Metadata) -> Result<(), CommandError> {
    let file_type = metadata.file_type();
    let path = file.display();
    if metadata.is_dir() {
        let root = word(file);
        return Err(CommandError::new(USAGE, format!("{path} is a folder, not a file"))
            .hint(format!("a folder of code is read by: agentops bundle code --root {root} --task TEXT")));
    }
    if let Some(kind) = device(file_type) {
        return Err(CommandError::new(USAGE, format!("{path} is a {kind}, not a file"))
            .hint("name a file, or pass the text to the standard input and give --file -"));
    }
    if metadata.len() > SOURCE_BYTES_MAX {
        return Err(too_large(file));
    }
    Ok(())
}

fn device(file_type: FileType) -> Option<&'static str> {
    if file_type.is_char_device() || file_type.is_block_device() {
        Some("device")
    } else if file_type.is_socket() {
        Some("socket")
    } else {
        None
    }
}

/// Waits until a pipe has its first byte, or its writer has ended.
fn await_writer(pipe: &File, file: &Path, command: &str) -> Result<(), CommandError> {
    let mut fds = [PollFd::new(pipe, PollFlags::IN)];
    let timeout = Timespec { tv_sec: PIPE_SECONDS_MAX, tv_nsec: 0 };
    let ready = rustix::event::poll(&mut fds, Some(&timeout))
        .map_err(|error| SourceError::Unreadable { path: file.to_owned(), source: error.into() })?;
    if ready > 0 {
        return Ok(());
    }
    let what = format!("nothing was written to the pipe {} within {PIPE_SECONDS_MAX} seconds", file.display());
    let hint = format!("the standard input is waited for as long as it takes: agentops {command} < {}", word(file));
    Err(CommandError::new(USAGE, what).hint(hint))
}

/// Reads to the end. The beginning is looked at before the rest is read.
fn bounded(
    source: &mut impl Read,
    file: &Path,
    look: impl FnOnce(&[u8]) -> Result<(), CommandError>,
) -> Result<Vec<u8>, CommandError> {
    let failed = |source| CommandError::from(SourceError::Unreadable { path: file.to_owned(), source });
    let mut bytes = Vec::new();
    source.by_ref().take(LOOK_BYTES as u64).read_to_end(&mut bytes).map_err(failed)?;
    look(&bytes)?;
    source.by_ref().take(SOURCE_BYTES_MAX + 1 - bytes.len() as u64).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > SOURCE_BYTES_MAX {
        return Err(too_large(file));
    }
    Ok(bytes)
}

fn too_large(file: &Path) -> CommandError {
    CommandError::new(USAGE, format!("{} is larger than {} MiB", name(file), SOURCE_BYTES_MAX >> 20))
        .hint("pass a part of it to the standard input with `tail -c 500M`, and give --file -")
}

/// Refuses what begins as compressed data or as another file that is no text.
fn refuse_packed(look: &[u8], file: &Path, command: &str) -> Result<(), CommandError> {
    let is_packed = |packed: &&Packed| {
        look.starts_with(packed.magic)
            && (packed.name != "bzip2" || look.get(4..).is_some_and(|rest| rest.starts_with(BZIP2_BLOCK)))
    };
    if let Some(packed) = PACKED.iter().find(is_packed) {
        let unpack = if file.as_os_str() == "-" {
            format!("{} | agentops {command}", packed.unpack)
        } else {
            format!("{} {} | agentops {command}", packed.unpack, word(file))
        };
        return Err(CommandError::new(USAGE, format!("{} is compressed with {}", name(file), packed.name))
            .hint(format!("unpack it first: {unpack}")));
    }
    if is_text(look) {
        return Ok(());
    }
    Err(CommandError::new(USAGE, format!("{} is not text", name(file)))
        .hint("name a text file; `agentops bundle --help` says what each kind reads"))
}

/// Whether these bytes may be text in some encoding. Runs of NUL bytes in a text, as a crash leaves them in a log, are allowed.
fn is_text(look: &[u8]) -> bool {
    let is_wide = look.starts_with(b"\xff\xfe") || look.starts_with(b"\xfe\xff") || look.starts_with(b"\0\0\xfe\xff");
    let others = look.iter().filter(|byte| **byte != 0).count();
    let controls = look.iter().filter(|byte| matches!(byte, 0x01..=0x08 | 0x0e..=0x1a | 0x1c..=0x1f | 0x7f)).count();
    look.is_empty() || is_wide || others > 0 && controls * CONTROL_SHARE <= others
}

/// The source in a message.
pub fn name(file: &Path) -> String {
    if file.as_os_str() == "-" { "the standard input".to_owned() } else { file.display().to_string() }
}

/// A path as one word of a shell.
fn word(file: &Path) -> String {
    shell_word(&file.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_any_encoding_is_text_and_programs_are_not() {
        let utf16: Vec<u8> = "\u{feff}error 1603\r\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let crash = [b"INFO ok\n".as_slice(), &[0; 4096], b"\nERROR torn\n"].concat();
        let cyrillic = [0xcf, 0xf0, 0xe8, 0xe2, 0xe5, 0xf2, b'\n'];
        for text in [b"".as_slice(), b"plain\n", b"\x1b[31mred\x1b[0m\r\n", &utf16, &crash, &cyrillic] {
            assert!(is_text(text), "{text:?}");
        }
        let noise: Vec<u8> = (0..4000_u32).map(|at| at.wrapping_mul(2_654_435_761).to_be_bytes()[1]).collect();
        for data in [[0; 500].as_slice(), b"\x7fELF\x02\x01\x01\0\0\0", &noise] {
            assert!(!is_text(data), "{data:?}");
        }
    }

    #[test]
    fn a_text_that_begins_like_an_archive_is_read() {
        assert!(refuse_packed(b"BZh is how bzip2 begins\n", Path::new("a.md"), "bundle conversation --file -").is_ok());
        assert!(refuse_packed(b"PK is a name\n", Path::new("a.md"), "bundle conversation --file -").is_ok());
    }
}
