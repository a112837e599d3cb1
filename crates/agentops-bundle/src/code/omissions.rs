//! The account of a folder: which lines are shown, and where everything else is.
//!
//! A file of which something is shown has an entry of its own with the number of its other lines. Files of which nothing is shown
//! are listed one by one where they are few, otherwise by folder. So every line of every file is either shown or within an entry.

use std::collections::BTreeMap;
use std::path::Path;

use super::kind::{self, Role};
use super::open::Opened;
use super::pack::Chosen;
use super::scan::Scanned;
use crate::coverage::{Coverage, Omission, OmissionReason, Share};

/// Files without a shown line that are listed one by one, and folders that stand for more of them.
const ENTRIES_MAX: usize = 100;

/// What a folder holds, counted before anything is chosen.
#[derive(Debug, Default)]
pub struct Account {
    /// Lines that are not blank, by file.
    files: BTreeMap<String, u64>,
    /// What was not read, and files that are no text, in the order of their paths.
    unread: Vec<Omission>,
    /// Files that should have been read and were not.
    unread_files: u64,
}

impl Account {
    /// The account of a folder that was read. Its paths are without secrets already.
    pub fn of(scanned: &Scanned) -> Self {
        let files: BTreeMap<String, u64> =
            scanned.sources.iter().map(|source| (source.path.clone(), u64::from(source.lines))).collect();
        let mut unread: Vec<Omission> = Vec::new();
        let mut unread_files = 0;
        for (path, reason) in &scanned.unread {
            unread.push(Omission::new(path, 1, *reason));
            unread_files += 1;
        }
        // What has the name of a text and is none should have been read; of pictures and archives the number is enough.
        let mut others: BTreeMap<(String, OmissionReason), u64> = BTreeMap::new();
        for (path, reason) in &scanned.excluded {
            if *reason == OmissionReason::NotText && is_text_by_name(path) {
                unread.push(Omission::new(path, 1, *reason));
                unread_files += 1;
            } else {
                let reason = if *reason == OmissionReason::NotText { OmissionReason::Binary } else { *reason };
                *others.entry((ending(path), reason)).or_default() += 1;
            }
        }
        unread.extend(others.into_iter().map(|((ending, reason), count)| {
            let place = if count == 1 { format!("1 file {ending}") } else { format!("{count} files {ending}") };
            Omission::new(place, count, reason)
        }));
        Self { files, unread, unread_files }
    }

    /// Accounts for a choice of lines.
    pub fn covering(&self, opened: &[Opened], chosen: &[Chosen]) -> (Coverage, Vec<Omission>) {
        let mut shown: BTreeMap<&str, u64> = BTreeMap::new();
        for (file, chosen) in opened.iter().zip(chosen) {
            let lines =
                chosen.lines.iter().enumerate().filter(|(at, is_chosen)| **is_chosen && !file.line(*at).trim().is_empty());
            *shown.entry(file.path.as_str()).or_default() += lines.count() as u64;
        }
        let mut omitted = self.unread.clone();
        let mut hidden: Vec<(&str, u64)> = Vec::new();
        for (path, lines) in &self.files {
            match shown.get(path.as_str()) {
                Some(count) if *count > 0 => {
                    let rest = lines.saturating_sub(*count);
                    if rest > 0 {
                        omitted.push(Omission::new(path, rest, OmissionReason::Budget));
                    }
                }
                _ if *lines > 0 => hidden.push((path, *lines)),
                _ => {}
            }
        }
        omitted.extend(by_folder(&hidden));
        let lines: u64 = self.files.values().sum();
        // A file that was not read has lines that nobody counted; it stands for one.
        let unread: u64 = self.unread.iter().map(|omission| omission.amount).sum();
        let read = self.files.len() as u64;
        let coverage = Coverage {
            read: Share::new(read, read + self.unread_files),
            shown: Share::new(shown.values().sum(), lines + unread),
        };
        (coverage, omitted)
    }
}

fn is_text_by_name(path: &str) -> bool {
    !matches!(kind::of(path, "").role, Role::Data)
}

/// `*.png`, or words for a name without an ending.
fn ending(path: &str) -> String {
    let name = Path::new(path);
    match (name.extension(), name.file_name()) {
        (Some(ending), _) => format!("*.{}", ending.to_string_lossy().to_ascii_lowercase()),
        (None, _) => "without an ending".to_owned(),
    }
}

/// One entry for each file, or for each folder as deep as the limit allows.
fn by_folder(files: &[(&str, u64)]) -> Vec<Omission> {
    if files.len() <= ENTRIES_MAX {
        return files.iter().map(|(path, lines)| Omission::new(*path, *lines, OmissionReason::Budget)).collect();
    }
    let deepest = files.iter().map(|(path, _)| path.matches('/').count()).max().unwrap_or_default();
    for depth in (0..=deepest).rev() {
        let mut folders: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        for (path, lines) in files {
            let (count, sum) = folders.entry(folder(path, depth)).or_default();
            *count += 1;
            *sum += lines;
        }
        if folders.len() <= ENTRIES_MAX || depth == 0 {
            let entry = |(folder, (count, lines)): (&str, (u64, u64))| {
                let name = if folder.is_empty() { "the root" } else { folder };
                Omission::new(format!("{name} ({count} files)"), lines, OmissionReason::Budget)
            };
            return folders.into_iter().map(entry).collect();
        }
    }
    Vec::new()
}

/// The folder of a file, at most so many levels deep, with its slash; empty for the root.
fn folder(path: &str, depth: usize) -> &str {
    let mut end = 0;
    for (index, (at, _)) in path.match_indices('/').enumerate() {
        if index == depth {
            break;
        }
        end = at + 1;
    }
    &path[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_files_are_named_by_folder_and_none_is_missing() {
        let paths: Vec<String> = (0..300).map(|n| format!("src/part{}/file{n}.rs", n % 50)).collect();
        let files: Vec<(&str, u64)> = paths.iter().map(|path| (path.as_str(), 2)).collect();
        let omitted = by_folder(&files);
        assert_eq!((omitted.len(), omitted.iter().map(|o| o.amount).sum::<u64>()), (50, 600));
        assert_eq!(omitted[0].place, "src/part0/ (6 files)");
        let few = by_folder(&files[..3]);
        assert_eq!(few[1], Omission::new("src/part1/file1.rs", 2, OmissionReason::Budget));
        let flat: Vec<String> = (0..200).map(|n| format!("d{n}/x.rs")).collect();
        let flat: Vec<(&str, u64)> = flat.iter().map(|path| (path.as_str(), 1)).collect();
        assert_eq!(by_folder(&flat), [Omission::new("the root (200 files)", 200, OmissionReason::Budget)]);
    }
}
