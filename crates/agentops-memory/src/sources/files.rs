//! Finds and reads the files of one kind of source within fixed limits. Links are not followed.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use agentops_text::decode::decode;

use super::gaps::{GapReason, Gaps};
use super::zstd::{self, ZstdEnd};

/// Largest file that is read, in bytes, also after decompression.
const FILE_BYTES_MAX: u64 = 64 << 20;
/// Most bytes that are read of one kind of source, newest files first.
const ALL_BYTES_MAX: u64 = 512 << 20;
/// Most files of one kind of source that are looked at.
const FILES_MAX: usize = 20_000;
/// Depth to which folders are searched.
const DEPTH_MAX: usize = 8;
/// The ending of Zstandard files.
const ZSTD_ENDING: &str = ".zst";

/// How a file is taken, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileFormat {
    /// It is read. `name.zst` is read like `name`.
    Readable,
    /// It belongs to this source, and its format is not known.
    Unknown,
    /// It is none of this source's files.
    Foreign,
}

/// A file that can be read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SourceFile {
    modified: SystemTime,
    /// Its path.
    pub path: PathBuf,
    is_compressed: bool,
}

/// The files of some folders whose names `format` takes, newest first.
pub fn find(folders: &[PathBuf], format: impl Fn(&str) -> FileFormat, gaps: &mut Gaps) -> Vec<SourceFile> {
    let mut found: Vec<SourceFile> = Vec::new();
    let mut open: Vec<(PathBuf, usize)> = folders.iter().map(|folder| (folder.clone(), 0)).collect();
    while let Some((folder, depth)) = open.pop() {
        let Ok(entries) = fs::read_dir(&folder) else {
            gaps.add(GapReason::UnreadableFolder, folder.display().to_string());
            continue;
        };
        let mut names: Vec<String> = Vec::new();
        let mut entries: Vec<_> = entries.flatten().collect();
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let path = entry.path();
            let shown = || path.display().to_string();
            let Ok(kind) = entry.file_type() else {
                gaps.add(GapReason::UnreadableFile, shown());
                continue;
            };
            if kind.is_dir() {
                if depth < DEPTH_MAX {
                    open.push((path, depth + 1));
                } else {
                    gaps.add(GapReason::UnreadableFolder, shown());
                }
                continue;
            }
            let name = entry.file_name().to_string_lossy().into_owned();
            let plain = name.strip_suffix(ZSTD_ENDING);
            match format(plain.unwrap_or(&name)) {
                FileFormat::Foreign => continue,
                FileFormat::Unknown => gaps.add(GapReason::UnknownFormat, shown()),
                FileFormat::Readable if !kind.is_file() => gaps.add(GapReason::Link, shown()),
                // Entries are sorted, so the plain file comes before its compressed copy.
                FileFormat::Readable if plain.is_some_and(|plain| names.iter().any(|name| name == plain)) => {
                    gaps.add(GapReason::CompressedCopy, shown());
                }
                FileFormat::Readable => {
                    let metadata = entry.metadata();
                    let bytes = metadata.as_ref().map_or(u64::MAX, fs::Metadata::len);
                    let modified = metadata.and_then(|metadata| metadata.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
                    let is_compressed = plain.is_some();
                    if bytes > FILE_BYTES_MAX {
                        gaps.add(GapReason::TooLarge, shown());
                    } else if found.len() >= FILES_MAX {
                        gaps.add(GapReason::BeyondLimit, shown());
                    } else {
                        names.push(name);
                        found.push(SourceFile { modified, path, is_compressed });
                    }
                }
            }
        }
    }
    found.sort();
    found.reverse();
    found
}

/// Reads files until together they pass a limit of bytes.
#[derive(Debug)]
pub struct FileReader {
    bytes_left: u64,
}

impl Default for FileReader {
    fn default() -> Self {
        Self { bytes_left: ALL_BYTES_MAX }
    }
}

impl FileReader {
    /// The text of a file. Without one, `gaps` says why.
    pub fn text(&mut self, file: &SourceFile, gaps: &mut Gaps) -> Option<String> {
        let shown = file.path.display().to_string();
        let limit = FILE_BYTES_MAX.min(self.bytes_left);
        let too_large = if limit < FILE_BYTES_MAX { GapReason::BeyondLimit } else { GapReason::TooLarge };
        if limit == 0 {
            gaps.add(too_large, shown);
            return None;
        }
        let bytes = if file.is_compressed {
            let Ok(source) = File::open(&file.path) else {
                gaps.add(GapReason::UnreadableFile, shown);
                return None;
            };
            let made = zstd::decompress(source, limit);
            self.bytes_left = self.bytes_left.saturating_sub(made.cost);
            match made.end {
                ZstdEnd::Complete => {}
                ZstdEnd::Damaged => gaps.add(GapReason::DamagedFile, shown.clone()),
                ZstdEnd::TooLarge => {
                    gaps.add(too_large, shown);
                    return None;
                }
            }
            made.bytes
        } else {
            match read(&file.path, limit) {
                Ok(Some(bytes)) => {
                    self.bytes_left -= bytes.len() as u64;
                    bytes
                }
                Ok(None) => {
                    gaps.add(too_large, shown);
                    return None;
                }
                Err(_) => {
                    gaps.add(GapReason::UnreadableFile, shown);
                    return None;
                }
            }
        };
        let decoded = decode(&bytes);
        if decoded.undecoded_bytes > 0 {
            gaps.add(GapReason::UndecodedText, shown);
        }
        Some(decoded.text.into_owned())
    }
}

/// The bytes of a file; nothing where there are more than `bytes_max`.
fn read(path: &Path, bytes_max: u64) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(bytes_max + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= bytes_max).then_some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    fn format(name: &str) -> FileFormat {
        match name.rsplit_once('.') {
            Some((_, "jsonl")) => FileFormat::Readable,
            Some((_, "json")) => FileFormat::Unknown,
            _ => FileFormat::Foreign,
        }
    }

    #[test]
    fn every_encoding_is_read() {
        let root = tempfile::tempdir().unwrap();
        let text = "{\"a\":\"Größe\"}\n";
        let utf16 = |order: fn(u16) -> [u8; 2], mark: &[u16]| -> Vec<u8> {
            mark.iter().copied().chain(text.encode_utf16()).flat_map(order).collect()
        };
        let files = [
            ("bom", [b"\xef\xbb\xbf", text.as_bytes()].concat()),
            ("utf16le", utf16(u16::to_le_bytes, &[0xfeff])),
            ("utf16be", utf16(u16::to_be_bytes, &[0xfeff])),
            ("utf16 without a mark", utf16(u16::to_le_bytes, &[])),
            ("windows-1252", text.chars().map(|c| c as u8).collect()),
        ];
        for (name, bytes) in &files {
            fs::write(root.path().join(format!("{name}.jsonl")), bytes).unwrap();
        }
        let mut gaps = Gaps::default();
        let mut reader = FileReader::default();
        for file in find(&[root.path().to_owned()], format, &mut gaps) {
            assert_eq!(reader.text(&file, &mut gaps).as_deref(), Some(text), "{}", file.path.display());
        }
        assert_eq!(gaps.into_list(), []);
        fs::write(root.path().join("z.jsonl"), [0xff, 0xfe, b'a', 0, 0, 0xd8]).unwrap();
        let mut gaps = Gaps::default();
        let found = find(
            &[root.path().to_owned()],
            |name| if name == "z.jsonl" { format(name) } else { FileFormat::Foreign },
            &mut gaps,
        );
        assert!(reader.text(&found[0], &mut gaps).unwrap().starts_with('a'));
        assert_eq!(gaps.into_list()[0].reason, GapReason::UndecodedText);
    }

    #[test]
    fn every_file_is_read_or_named() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        let compressed = compress_to_vec(&b"compressed"[..], CompressionLevel::Fastest);
        fs::write(at("a.jsonl"), "plain").unwrap();
        fs::write(at("a.jsonl.zst"), &compressed).unwrap();
        fs::write(at("b.jsonl.zst"), &compressed).unwrap();
        fs::write(at("c.jsonl.zst"), &compressed[..compressed.len() - 2]).unwrap();
        fs::write(at("d.json"), "{}").unwrap();
        fs::write(at("e.txt"), "notes").unwrap();
        std::os::unix::fs::symlink(at("a.jsonl"), at("f.jsonl")).unwrap();
        File::create(at("g.jsonl")).unwrap().set_len(FILE_BYTES_MAX + 1).unwrap();
        let deep = (0..=DEPTH_MAX).fold(root.path().to_owned(), |path, _| path.join("x"));
        fs::create_dir_all(deep).unwrap();

        let mut gaps = Gaps::default();
        let found = find(&[root.path().to_owned()], format, &mut gaps);
        let mut reader = FileReader::default();
        let mut texts: Vec<_> = found.iter().filter_map(|file| reader.text(file, &mut gaps)).collect();
        texts.sort();
        assert_eq!(texts.len(), 3);
        assert_eq!(texts[1..], ["compressed", "plain"], "and the beginning of the damaged file");
        let mut reasons: Vec<_> = gaps.into_list().into_iter().map(|gap| (gap.reason, gap.count)).collect();
        reasons.sort_by_key(|(reason, _)| *reason as u8);
        use GapReason::*;
        let expected =
            [(UnreadableFolder, 1), (Link, 1), (TooLarge, 1), (DamagedFile, 1), (UnknownFormat, 1), (CompressedCopy, 1)];
        assert_eq!(reasons, expected);
    }

    #[test]
    fn compressed_files_count_by_what_they_hold() {
        let root = tempfile::tempdir().unwrap();
        let zeros = compress_to_vec(&vec![0; 100_000][..], CompressionLevel::Fastest);
        fs::write(root.path().join("a.jsonl.zst"), zeros).unwrap();
        let mut gaps = Gaps::default();
        let found = find(&[root.path().to_owned()], format, &mut gaps);
        let mut reader = FileReader { bytes_left: 99_999 };
        assert_eq!(reader.text(&found[0], &mut gaps), None);
        assert_eq!(gaps.into_list()[0].reason, GapReason::BeyondLimit);
        assert_eq!(reader.bytes_left, 0);
    }
}
