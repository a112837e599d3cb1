//! Git's own lock files: a file `X.lock` beside a file that git changes. A git that is killed leaves it behind, and nobody
//! knows whose it is. So it is never removed here; a person is told which file is in the way and what to type.

use std::fs;
use std::path::{Path, PathBuf};

use crate::lock_holders::openers;
use crate::repo::Repo;
use crate::shell::shell_word;

/// Where a lock file of git's can be in the way of everything that a run or a merge does.
const NAMES: [&str; 6] =
    ["packed-refs.lock", "index.lock", "HEAD.lock", "config.lock", "shallow.lock", "reftable/tables.list.lock"];

impl Repo {
    /// Lock files of git that are in this repository now. A git that is at work has some for a moment.
    #[must_use]
    pub fn lock_files(&self) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> =
            [self.common_dir(), self.git_dir()].iter().flat_map(|dir| NAMES.map(|name| dir.join(name))).collect();
        files.sort();
        files.dedup();
        files.retain(|file| fs::symlink_metadata(file).is_ok());
        files
    }
}

/// The lock file that git could not make because it is there already, as git's words name it. `cwd`: where git worked.
///
/// An agent can choose a file name that git repeats in its words, and a person is told to remove the file that is found here. So only a
/// file in one of these git directories counts.
pub(crate) fn named_in(words: &str, git_dirs: &[PathBuf], cwd: Option<&Path>) -> Option<PathBuf> {
    let named = named_anywhere(words)?;
    let file = cwd.map_or_else(|| named.clone(), |cwd| cwd.join(&named));
    // Without links and `..`, which could lead out of the directory.
    let folder = fs::canonicalize(file.parent()?).ok()?;
    let is_within = |dir: &PathBuf| fs::canonicalize(dir).is_ok_and(|dir| folder.starts_with(dir));
    git_dirs.iter().any(is_within).then_some(file)
}

fn named_anywhere(words: &str) -> Option<PathBuf> {
    let quoted = words.split(['\'', '"', '‘', '’', '«', '»', '„', '“', '”']);
    let mut quoted = quoted.skip(1).map(str::trim).filter(|word| word.starts_with('/') && word.ends_with(".lock"));
    if let Some(file) = quoted.next() {
        // Otherwise a full disk kept git from making it, or the rights of the folder.
        let is_there = words.contains("File exists") || fs::symlink_metadata(file).is_ok();
        return is_there.then(|| file.into());
    }
    // `could not lock config file .git/config: File exists`
    let config = words.split_once("could not lock config file ")?.1.lines().next()?.strip_suffix(": File exists")?;
    Some(format!("{config}.lock").into())
}

/// What is said about a lock file that is in the way of git.
pub(crate) fn in_the_way(file: &Path, what: &str) -> String {
    let quoted = shell_word(&file.display().to_string());
    let open = openers(file);
    if open.is_empty() {
        return format!(
            "the lock file {} is in the way of `git {what}`: a git that is at work made it, or one that was killed left it. If no git \
             works in this repository, remove it: `rm {quoted}`",
            file.display()
        );
    }
    let open: Vec<String> = open.iter().map(ToString::to_string).collect();
    format!("the lock file {} is in the way of `git {what}`; {} has it open", file.display(), open.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lock_files_of_the_repository_are_named() {
        let room = tempfile::tempdir().unwrap();
        let root = room.path().canonicalize().unwrap();
        let git_dirs = [root.join("r/.git")];
        fs::create_dir_all(git_dirs[0].join("refs")).unwrap();
        fs::write(root.join("victim.lock"), "").unwrap();
        std::os::unix::fs::symlink(&root, git_dirs[0].join("link")).unwrap();
        let of = |words: &str| named_in(words, &git_dirs, Some(&root.join("r")));
        let root = root.display();
        let named = |file: &str| of(&format!("error: Unable to create '{file}': File exists."));
        for ours in ["index.lock", "refs/x.lock"].map(|name| git_dirs[0].join(name)) {
            assert_eq!(named(ours.to_str().unwrap()), Some(ours));
        }
        let config = "error: could not lock config file .git/config: File exists";
        assert_eq!(of(config), Some(git_dirs[0].join("config.lock")));
        for path in ["victim.lock", "r/.git/../../victim.lock", "r/.git/link/victim.lock"] {
            assert_eq!(named(&format!("{root}/{path}")), None, "{path}");
        }
        // The name of a file of an agent's.
        assert_eq!(of(&format!("error: unable to write file a'{root}/victim.lock'/b")), None);
    }

    #[test]
    fn the_lock_file_in_gits_words_is_found_in_any_language() {
        let of = |words: &str| named_anywhere(words).map(|file| file.display().to_string());
        for (words, file) in [
            ("error: Unable to create '/r/.git/packed-refs.lock': File exists.\n\nAnother git", "/r/.git/packed-refs.lock"),
            ("fatal: cannot lock ref 'HEAD': Unable to create '/r/.git/HEAD.lock': File exists.", "/r/.git/HEAD.lock"),
            ("error: could not lock config file .git/config: File exists", ".git/config.lock"),
        ] {
            assert_eq!(of(words).as_deref(), Some(file), "{words}");
        }
        let room = tempfile::tempdir().unwrap();
        let there = room.path().join("index.lock");
        let words = format!("Schwerwiegend: Konnte „{}“ nicht erstellen: Die Datei existiert bereits.", there.display());
        assert_eq!(named_anywhere(&words), None, "it may be a full disk");
        fs::write(&there, "").unwrap();
        assert_eq!(named_anywhere(&words), Some(there));
        let full = "fatal: Unable to create '/r/.git/index.lock': No space left on device";
        for words in ["", full, "fatal: bad object", "error: 'Cargo.lock' would be overwritten", "/r/.git/index.lock"] {
            assert_eq!(of(words), None, "{words}");
        }
    }
}
