//! One pass over a folder: which files are text, and where the task's words stand in them.
//!
//! Memory holds the text of one file per thread at a time and, of all others, only the hits. Links are never followed, and
//! nothing outside the folder is read. What is not read is said, not guessed.

use std::borrow::Cow;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use agentops_text::{decode, tokens};

use super::kind::{self, Kind};
use super::outline;
use super::rank::ON_DEFINITION;
use super::words::{self, Counted, Hit, TERMS_MAX, Table};
use crate::{OmissionReason, SourceError};

/// The largest file that is read as a source, in bytes: nobody writes one by hand that is larger.
pub const FILE_BYTES_MAX: u64 = 4 << 20;
/// The most files that are looked at.
const FILES_MAX: usize = 500_000;
/// Up to here all text is counted for the figure before; of more, an even sample of this size.
const SAMPLE_BYTES: u64 = 4 << 20;
/// A sample is taken in parts of about this size.
const SAMPLE_PART_BYTES: u64 = 8 << 10;
/// A part of a text that ranks on its own has at least and at most this many lines.
const CHUNK_LINES: (u32, u32) = (4, 50);
/// The most hits that one file keeps: a word list is not more relevant for being longer.
const HITS_MAX: usize = 200_000;

/// A file that is text.
#[derive(Debug)]
pub struct Source {
    /// Its path below the root, with `/`.
    pub path: String,
    /// How many bytes of text it has.
    pub bytes: u64,
    /// Lines that are not blank.
    pub lines: u32,
    /// What it is for.
    pub kind: Kind,
    /// Where the words stand.
    pub counted: Counted,
    /// The first line of each part, from 0.
    pub chunks: Vec<u32>,
}

/// What a folder holds.
#[derive(Debug, Default)]
pub struct Scanned {
    /// The text files, by path.
    pub sources: Vec<Source>,
    /// What was left out although it may matter, by path; also lines of files that could not be decoded.
    pub unread: Vec<(String, OmissionReason)>,
    /// Files that are no sources: pictures, archives, lock files.
    pub excluded: Vec<(String, OmissionReason)>,
    /// The o200k tokens of all text files: exact up to 4 MiB of text, else from an even sample of that size.
    pub tokens: u64,
    /// How many parts all files have.
    pub chunks: usize,
    /// In how many parts each term stands.
    pub chunks_with: Vec<u32>,
    /// In how many files each term stands.
    pub files_with: Vec<u32>,
}

/// Reads a folder.
///
/// # Errors
/// The folder cannot be opened.
pub fn scan(root: &Path, table: &Table) -> Result<Scanned, SourceError> {
    let unreadable = |source| SourceError::Unreadable { path: root.to_owned(), source };
    let _entries = std::fs::read_dir(root).map_err(unreadable)?;
    let Walked { mut files, mut unread, mut excluded } = walk(root);
    files.sort_unstable();
    let bytes: u64 = files.iter().map(|(_, size)| *size).sum();
    let step = bytes.div_ceil(SAMPLE_BYTES).max(1);

    let next = AtomicUsize::new(0);
    let workers = thread::available_parallelism().map_or(1, usize::from).clamp(1, 8).min(files.len().max(1));
    let mut parts: Vec<Part> = thread::scope(|scope| {
        let work = || {
            let mut part = Part::new();
            // In groups: neighbours lie together on the disk, and the counter is touched rarely.
            loop {
                let from = next.fetch_add(16, Ordering::Relaxed);
                let Some(group) = files.get(from..(from + 16).min(files.len())).filter(|group| !group.is_empty()) else {
                    break;
                };
                for (index, (path, _)) in group.iter().enumerate() {
                    part.read(root, path, from + index, table, step);
                }
            }
            part.finish()
        };
        let others: Vec<_> = (1..workers).map(|_| scope.spawn(work)).collect();
        let mut parts = vec![work()];
        parts.extend(others.into_iter().filter_map(|other| other.join().ok()));
        parts
    });

    let mut scanned = Scanned { chunks_with: vec![0; TERMS_MAX], files_with: vec![0; TERMS_MAX], ..Scanned::default() };
    let (mut sampled_bytes, mut sampled_tokens, mut text_bytes) = (0_u64, 0_u64, 0_u64);
    for part in &mut parts {
        scanned.chunks += part.chunks;
        for term in 0..TERMS_MAX {
            scanned.chunks_with[term] += part.chunks_with[term];
            scanned.files_with[term] += part.files_with[term];
        }
        scanned.sources.append(&mut part.sources);
        unread.append(&mut part.unread);
        excluded.append(&mut part.excluded);
        sampled_bytes += part.sampled_bytes;
        sampled_tokens += part.sampled_tokens;
        text_bytes += part.text_bytes;
    }
    scanned.sources.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    unread.sort_unstable();
    excluded.sort_unstable();
    (scanned.unread, scanned.excluded) = (unread, excluded);
    scanned.tokens = match step {
        1 => sampled_tokens,
        _ => (sampled_tokens as f64 * (text_bytes as f64 / sampled_bytes.max(1) as f64)).round() as u64,
    };
    Ok(scanned)
}

/// What lies below a root.
struct Walked {
    /// Files to read, with their sizes.
    files: Vec<(PathBuf, u64)>,
    unread: Vec<(String, OmissionReason)>,
    excluded: Vec<(String, OmissionReason)>,
}

fn walk(root: &Path) -> Walked {
    let mut files = Vec::new();
    let mut unread = Vec::new();
    let mut excluded = Vec::new();
    let walk = ignore::WalkBuilder::new(root)
        .hidden(false)
        .parents(false)
        .git_global(false)
        .git_exclude(false)
        .require_git(false)
        .follow_links(false)
        .filter_entry(|entry| !entry.file_type().is_some_and(|kind| kind.is_dir()) || is_wanted(entry.path(), entry.depth()))
        .build();
    for entry in walk {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                unread.extend(unreadable_path(&error, root).map(|path| (path, OmissionReason::Unreadable)));
                continue;
            }
        };
        let Ok(path) = entry.path().strip_prefix(root) else { continue };
        let Some(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            if entry.depth() > 0 && entry.path().join(".git").symlink_metadata().is_ok() {
                unread.push((slashed(path), OmissionReason::Submodule));
            }
            continue;
        }
        if !kind.is_file() || entry.file_name() == ".git" {
            continue;
        }
        if let Some(reason) = kind::is_never_source(path) {
            excluded.push((slashed(path), reason));
            continue;
        }
        let Ok(data) = entry.metadata() else {
            unread.push((slashed(path), OmissionReason::Unreadable));
            continue;
        };
        if data.len() > FILE_BYTES_MAX || files.len() >= FILES_MAX {
            unread.push((slashed(path), OmissionReason::TooLarge));
        } else {
            files.push((path.to_owned(), data.len()));
        }
    }
    // Files of a repository within the repository are its own.
    let inner: Vec<String> =
        unread.iter().filter(|(_, why)| *why == OmissionReason::Submodule).map(|(path, _)| format!("{path}/")).collect();
    if !inner.is_empty() {
        let is_inner = |path: &str| inner.iter().any(|folder| path.starts_with(folder.as_str()));
        files.retain(|(path, _)| !is_inner(&slashed(path)));
        unread.retain(|(path, _)| !is_inner(path));
        excluded.retain(|(path, _)| !is_inner(path));
    }
    Walked { files, unread, excluded }
}

/// The path that an error of the walk is about, below the root.
fn unreadable_path(error: &ignore::Error, root: &Path) -> Option<String> {
    match error {
        ignore::Error::WithPath { path, .. } => path.strip_prefix(root).ok().map(slashed),
        ignore::Error::WithDepth { err, .. } | ignore::Error::WithLineNumber { err, .. } => unreadable_path(err, root),
        _ => None,
    }
}

/// Whether a folder is walked into: not what tools keep for themselves.
fn is_wanted(path: &Path, depth: usize) -> bool {
    if depth == 0 {
        return true;
    }
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return true };
    match name {
        ".git" | ".hg" | ".svn" | ".jj" | ".agentops" | "node_modules" | "__pycache__" | ".venv" | ".tox"
        | ".mypy_cache" | ".pytest_cache" | ".ruff_cache" | ".next" | ".gradle" | ".idea" => false,
        "target" => !path.join("CACHEDIR.TAG").exists() && !path.join(".rustc_info.json").exists(),
        "venv" | "env" => !path.join("pyvenv.cfg").exists(),
        _ => true,
    }
}

/// A path as text, whatever its bytes.
fn slashed(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// A file below the root as text, and the lines of it that could not be decoded.
///
/// # Errors
/// It is too large, unreadable, a Git LFS pointer, or no text.
pub fn read_text(root: &Path, path: &Path) -> Result<(String, Vec<u64>), OmissionReason> {
    let mut bytes = Vec::new();
    let mut file = File::open(root.join(path)).map_err(|_| OmissionReason::Unreadable)?;
    // The size may have changed since the walk.
    file.by_ref().take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|_| OmissionReason::Unreadable)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(OmissionReason::TooLarge);
    }
    if bytes.len() < 1024 && bytes.starts_with(b"version https://git-lfs.github.com/spec/") {
        return Err(OmissionReason::LfsPointer);
    }
    let decoded = decode::decode(&bytes);
    if is_binary(&decoded.text) {
        return Err(OmissionReason::NotText);
    }
    let undecoded = decoded.undecoded.iter().map(|stretch| stretch.line).collect();
    let text = match decoded.text {
        // The bytes are taken over as they are.
        Cow::Borrowed(text) if text.len() == bytes.len() => None,
        text => Some(text.into_owned()),
    };
    let text = text.unwrap_or_else(|| String::from_utf8(bytes).unwrap_or_default());
    Ok((text, undecoded))
}

/// Zero bytes in the first lines, or many characters that no text has.
fn is_binary(text: &str) -> bool {
    let look = &text.as_bytes()[..text.len().min(8000)];
    let odd = look.iter().filter(|byte| matches!(byte, 0x01..=0x08 | 0x0e..=0x1a | 0x1c..=0x1f)).count();
    memchr::memchr(0, look).is_some() || odd * 10 > look.len().max(1)
}

/// What one thread found.
struct Part {
    sources: Vec<Source>,
    unread: Vec<(String, OmissionReason)>,
    excluded: Vec<(String, OmissionReason)>,
    chunks: usize,
    chunks_with: Vec<u32>,
    files_with: Vec<u32>,
    /// Parts of texts that are still to be counted: the token table may not be there yet.
    samples: Vec<String>,
    sampled_bytes: u64,
    sampled_tokens: u64,
    text_bytes: u64,
}

impl Part {
    fn new() -> Self {
        Self {
            sources: Vec::new(),
            unread: Vec::new(),
            excluded: Vec::new(),
            chunks: 0,
            chunks_with: vec![0; TERMS_MAX],
            files_with: vec![0; TERMS_MAX],
            samples: Vec::new(),
            sampled_bytes: 0,
            sampled_tokens: 0,
            text_bytes: 0,
        }
    }

    fn read(&mut self, root: &Path, path: &Path, index: usize, table: &Table, step: u64) {
        let name = slashed(path);
        let (text, undecoded) = match read_text(root, path) {
            Ok(read) => read,
            Err(OmissionReason::NotText) => return self.excluded.push((name, OmissionReason::NotText)),
            Err(reason) => return self.unread.push((name, reason)),
        };
        let places = undecoded.into_iter().map(|line| (format!("{name} line {line}"), OmissionReason::NotDecoded));
        self.unread.extend(places);
        self.text_bytes += text.len() as u64;
        self.sample(&text, index as u64, step);
        let mut counted = words::count(text.as_bytes(), table);
        counted.hits.truncate(HITS_MAX);
        counted.hits.shrink_to_fit();
        let (chunks, lines) = chunk_starts(&text, &mut counted.hits);
        self.chunks += chunks.len();
        let mut seen_in_file = [false; TERMS_MAX];
        let mut seen_in_chunk = [u32::MAX; TERMS_MAX];
        let mut chunk = 0_usize;
        for hit in &counted.hits {
            while chunks.get(chunk + 1).is_some_and(|start| *start <= hit.line) {
                chunk += 1;
            }
            let term = usize::from(hit.term);
            if seen_in_chunk[term] != chunk as u32 {
                seen_in_chunk[term] = chunk as u32;
                self.chunks_with[term] += 1;
            }
            if !seen_in_file[term] {
                seen_in_file[term] = true;
                self.files_with[term] += 1;
            }
        }
        let kind = kind::of(&name, &text);
        self.sources.push(Source { path: name, bytes: text.len() as u64, lines, kind, counted, chunks });
    }

    /// Keeps a part of the text for the figure before. With a step of one, all of it.
    fn sample(&mut self, text: &str, index: u64, step: u64) {
        if step == 1 {
            self.sampled_bytes += text.len() as u64;
            return self.samples.push(text.to_owned());
        }
        let parts = (text.len() as u64).div_ceil(SAMPLE_PART_BYTES);
        // Which part of a file is taken differs from file to file, so that not only beginnings are counted.
        for part in (0..parts).filter(|part| (index + part).is_multiple_of(step)) {
            let at = |bytes: u64| text.floor_char_boundary(bytes.min(text.len() as u64) as usize);
            let piece = &text[at(part * SAMPLE_PART_BYTES)..at((part + 1) * SAMPLE_PART_BYTES)];
            self.sampled_bytes += piece.len() as u64;
            self.samples.push(piece.to_owned());
        }
    }

    fn finish(mut self) -> Self {
        self.sampled_tokens = self.samples.iter().map(|text| tokens::text_tokens(text)).sum();
        self.samples = Vec::new();
        self
    }
}

/// The first lines of the parts that a text falls into: at definitions, and where that would be too long. Marks the hits that
/// stand on a line that defines something. Also the number of lines that are not blank.
fn chunk_starts(text: &str, hits: &mut [Hit]) -> (Vec<u32>, u32) {
    let mut starts = vec![0_u32];
    let mut next = 0;
    let mut lines = 0;
    for (line, content) in (0_u32..).zip(text.split_inclusive('\n')) {
        lines += u32::from(!content.trim().is_empty());
        let last = starts[starts.len() - 1];
        let is_definition = outline::defines(content).is_some();
        if (is_definition && line - last >= CHUNK_LINES.0) || line - last >= CHUNK_LINES.1 {
            starts.push(line);
        }
        if is_definition {
            next += hits[next..].partition_point(|hit| hit.line < line);
            while next < hits.len() && hits[next].line == line {
                hits[next].amount |= ON_DEFINITION;
                next += 1;
            }
        }
    }
    (starts, lines)
}
