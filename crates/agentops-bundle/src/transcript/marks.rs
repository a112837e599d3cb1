//! Which files something happened to, and when last, where a file may be named from the root, from a folder or by its name alone.

use std::collections::HashMap;

use super::shell::base;

/// Patterns with `*` beyond these are not kept.
const PATTERNS_MAX: usize = 200;
/// Spellings of files of one name.
const SPELLINGS_MAX: usize = 50;

/// Files, as they were named, with the last event that marked them.
#[derive(Debug, Default)]
pub struct Marks {
    by_name: HashMap<String, Vec<(String, usize)>>,
    patterns: Vec<(String, usize)>,
}

impl Marks {
    /// Marks a file, a folder, or what a pattern such as `debug_*.py` names.
    pub fn put(&mut self, path: &str, index: usize) {
        let path = path.trim_end_matches('/').trim_start_matches("./");
        if path.contains('*') {
            if self.patterns.len() < PATTERNS_MAX {
                self.patterns.push((base(path).to_owned(), index));
            }
            return;
        }
        let spellings = self.by_name.entry(base(path).to_owned()).or_default();
        match spellings.iter().position(|(known, _)| known == path) {
            Some(at) => spellings[at].1 = index,
            None if spellings.len() < SPELLINGS_MAX => spellings.push((path.to_owned(), index)),
            None => {}
        }
    }

    /// Whether the file was marked after this event.
    pub fn has_after(&self, path: &str, index: usize) -> bool {
        let path = path.trim_start_matches("./");
        let named = self.by_name.get(base(path)).into_iter().flatten();
        named.into_iter().any(|(known, last)| *last > index && is_same(known, path))
            || self.patterns.iter().any(|(pattern, last)| *last > index && matches(pattern, base(path)))
    }

    /// Whether the file or a folder that it is in was marked after this event.
    pub fn has_above_after(&self, path: &str, index: usize) -> bool {
        let folders = path.match_indices('/').map(|(at, _)| &path[..at]).filter(|folder| !folder.is_empty());
        self.has_after(path, index) || folders.into_iter().any(|folder| self.has_after(folder, index))
    }
}

/// Whether two spellings may mean one file: one is the end of the other.
pub fn is_same(one: &str, other: &str) -> bool {
    is_end_of(one, other) || is_end_of(other, one)
}

fn is_end_of(end: &str, path: &str) -> bool {
    path.strip_suffix(end).is_some_and(|before| before.is_empty() || before.ends_with('/'))
}

/// A pattern whose only sign is `*`.
fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = name.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut last = "";
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
        last = part;
    }
    last.is_empty() || name.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_known_from_any_folder_but_not_in_another_one() {
        let mut marks = Marks::default();
        marks.put("repro/models.py", 5);
        marks.put("debug_*.py", 6);
        marks.put("scratch/", 7);
        assert!(
            marks.has_after("repro/models.py", 4)
                && marks.has_after("/w/repro/models.py", 4)
                && marks.has_after("models.py", 4)
        );
        assert!(!marks.has_after("core/models.py", 4) && !marks.has_after("repro/models.py", 5));
        assert!(marks.has_after("debug_one.py", 0) && !marks.has_after("my_debug_one.py", 0));
        assert!(marks.has_above_after("scratch/a/b.py", 0) && !marks.has_above_after("src/a/b.py", 0));
    }
}
