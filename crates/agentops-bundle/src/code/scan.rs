//! One pass over a folder: which files are text, and where the task's words stand in them.
//!
//! Memory holds the text of one file per thread at a time and, of all others, only the hits. Links are never followed, and
//! nothing outside the folder is read. What is not read is said, not guessed.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use agentops_text::tokens;

use super::kind::{self, Kind};
use super::outline;
use super::rank::ON_DEFINITION;
use super::words::{self, Counted, Hit, TERMS_MAX, Table};
use crate::SourceError;

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
    /// What it is for.
    pub kind: Kind,
    /// Where the words stand.
    pub counted: Counted,
    /// The first line of each part, from 0.
    pub chunks: Vec<u32>,
}

/// Why a file is not among the sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unread {
    /// A pointer to a large file that git LFS keeps elsewhere.
    LfsPointer,
    /// Larger than [`FILE_BYTES_MAX`].
    TooLarge,
    /// It could not be opened or read.
    Unreadable,
    /// A repository within the repository.
    Submodule,
}

/// What a folder holds.
#[derive(Debug, Default)]
pub struct Scanned {
    /// The text files, by path.
    pub sources: Vec<Source>,
    /// What was left out although it may matter, by path.
    pub unread: Vec<(String, Unread)>,
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
    let (mut files, mut unread) = walk(root);
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
        sampled_bytes += part.sampled_bytes;
        sampled_tokens += part.sampled_tokens;
        text_bytes += part.text_bytes;
    }
    scanned.sources.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    unread.sort_unstable();
    scanned.unread = unread;
    scanned.tokens = match step {
        1 => sampled_tokens,
        _ => (sampled_tokens as f64 * (text_bytes as f64 / sampled_bytes.max(1) as f64)).round() as u64,
    };
    Ok(scanned)
}

/// The files below the root with their sizes, and what is left out.
#[expect(clippy::type_complexity, reason = "two lists, taken apart at once")]
fn walk(root: &Path) -> (Vec<(PathBuf, u64)>, Vec<(String, Unread)>) {
    let mut files = Vec::new();
    let mut unread = Vec::new();
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
        let Ok(entry) = entry else { continue };
        let Ok(path) = entry.path().strip_prefix(root) else { continue };
        let Some(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            if entry.depth() > 0 && entry.path().join(".git").symlink_metadata().is_ok() {
                unread.push((slashed(path), Unread::Submodule));
            }
            continue;
        }
        if !kind.is_file() || entry.file_name() == ".git" || kind::is_never_source(path) {
            continue;
        }
        let Ok(data) = entry.metadata() else { continue };
        if data.len() > FILE_BYTES_MAX {
            unread.push((slashed(path), Unread::TooLarge));
        } else if files.len() < FILES_MAX {
            files.push((path.to_owned(), data.len()));
        }
    }
    // Files of a repository within the repository are its own.
    let inner: Vec<String> =
        unread.iter().filter(|(_, why)| *why == Unread::Submodule).map(|(path, _)| format!("{path}/")).collect();
    if !inner.is_empty() {
        files.retain(|(path, _)| !inner.iter().any(|folder| slashed(path).starts_with(folder.as_str())));
    }
    (files, unread)
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

/// Reads a file below the root as text: invalid UTF-8 becomes U+FFFD. `None` where it is no text.
pub fn read_text(root: &Path, path: &Path) -> Result<Option<String>, Unread> {
    let mut bytes = Vec::new();
    let mut file = File::open(root.join(path)).map_err(|_| Unread::Unreadable)?;
    // The size may have changed since the walk.
    file.by_ref().take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|_| Unread::Unreadable)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(Unread::TooLarge);
    }
    if memchr::memchr(0, &bytes[..bytes.len().min(8000)]).is_some() {
        return Ok(None);
    }
    if bytes.len() < 1024 && bytes.starts_with(b"version https://git-lfs.github.com/spec/") {
        return Err(Unread::LfsPointer);
    }
    Ok(Some(match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    }))
}

/// What one thread found.
struct Part {
    sources: Vec<Source>,
    unread: Vec<(String, Unread)>,
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
        let text = match read_text(root, path) {
            Ok(Some(text)) => text,
            Ok(None) => return,
            Err(why) => return self.unread.push((name, why)),
        };
        self.text_bytes += text.len() as u64;
        self.sample(&text, index as u64, step);
        let mut counted = words::count(text.as_bytes(), table);
        counted.hits.truncate(HITS_MAX);
        counted.hits.shrink_to_fit();
        let chunks = chunk_starts(&text, &mut counted.hits);
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
        self.sources.push(Source { path: name, bytes: text.len() as u64, kind, counted, chunks });
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
/// stand on a line that defines something.
fn chunk_starts(text: &str, hits: &mut [Hit]) -> Vec<u32> {
    let mut starts = vec![0_u32];
    let mut next = 0;
    for (line, content) in (0_u32..).zip(text.split_inclusive('\n')) {
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
    starts
}
