//! The one door for names that come from elsewhere: refs, lanes and paths in a tree.

use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Longest path in a tree that we write; git itself stops near this on Linux.
const PATH_BYTES_MAX: usize = 4096;

/// Longest name of a ref that is read or written.
pub(crate) const REF_BYTES_MAX: usize = 1024;

fn bad(kind: &'static str, value: &[u8]) -> Error {
    Error::BadName { kind, value: String::from_utf8_lossy(value).chars().take(120).collect() }
}

/// Checks a full ref name by git's own rules, so that no name is taken for an option or a revision expression.
pub(crate) fn check_ref(name: &str) -> Result<()> {
    let part_ok = |p: &str| !p.is_empty() && !p.starts_with('.') && !p.ends_with(".lock");
    let char_ok = |c: char| !c.is_ascii_control() && !" ~^:?*[\\".contains(c);
    let ok = name.starts_with("refs/")
        && name.len() <= REF_BYTES_MAX
        && !name.contains("..")
        && !name.contains("@{")
        && !name.ends_with('.')
        && name.split('/').all(part_ok)
        && name.chars().all(char_ok);
    if ok { Ok(()) } else { Err(bad("ref name", name.as_bytes())) }
}

/// Checks a ref that is to be written: everything outside these two places is the user's.
pub(crate) fn check_our_ref(name: &str) -> Result<()> {
    check_ref(name)?;
    if name.starts_with("refs/agentops/") || name.starts_with("refs/heads/agentops/") {
        return Ok(());
    }
    Err(Error::NotOurs { name: name.to_owned() })
}

/// Checks the name of a lane: it becomes a folder name.
pub(crate) fn check_lane(name: &str) -> Result<()> {
    let ok = (1..=100).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        && !name.starts_with(['.', '-'])
        && !name.ends_with('.')
        && !name.ends_with(".lock")
        && !name.contains("..");
    if ok { Ok(()) } else { Err(bad("lane name", name.as_bytes())) }
}

/// Checks a path inside a tree: relative, no empty, `.`, `..` or `.git` parts, no NUL.
pub(crate) fn check_path(path: &Path) -> Result<&[u8]> {
    let bytes = path.as_os_str().as_bytes();
    let part_ok = |p: &[u8]| !p.is_empty() && p != b"." && p != b".." && !p.eq_ignore_ascii_case(b".git");
    if bytes.len() <= PATH_BYTES_MAX && !bytes.contains(&0) && bytes.split(|b| *b == b'/').all(part_ok) {
        return Ok(bytes);
    }
    Err(bad("path in a tree", bytes))
}

/// A path as git printed it.
pub(crate) fn path(bytes: &[u8]) -> PathBuf {
    PathBuf::from(std::ffi::OsString::from_vec(bytes.to_vec()))
}

/// The parts of a list whose parts end with NUL.
pub(crate) fn rows(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|byte| *byte == 0).filter(|row| !row.is_empty())
}

/// Paths as git lists them with `-z`.
pub(crate) fn paths(list: &[u8]) -> impl Iterator<Item = PathBuf> {
    rows(list).map(path)
}

/// Bytes as lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Glues bytes that are no text into one argument.
pub(crate) fn joined(parts: &[&[u8]]) -> std::ffi::OsString {
    OsStr::from_bytes(&parts.concat()).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refs_follow_gits_rules() {
        for good in ["refs/agentops/a", "refs/heads/agentops/$(id)", "refs/heads/--upload-pack=x", "refs/x/\u{3000}"] {
            assert!(check_ref(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "HEAD",
            "refs",
            "refs/",
            "refs//a",
            "refs/a..b",
            "refs/a b",
            "refs/a\nb",
            "refs/.a",
            "refs/a.lock",
            "refs/a/",
            "refs/a^{}",
            "refs/a@{1}",
            "refs/a:b",
            "refs/a\0",
            "refs/a.",
            "-x",
            "refs/a\\b",
        ] {
            assert!(check_ref(bad).is_err(), "{bad}");
        }
        assert!(matches!(check_our_ref("refs/heads/main"), Err(Error::NotOurs { .. })));
        assert!(check_our_ref("refs/heads/agentopsx/y").is_err());
    }

    #[test]
    fn paths_stay_inside() {
        for bad in ["", "/etc", "a//b", "a/", "../a", "a/../b", "./a", ".git/config", "a/.GIT/x", "a\0b"] {
            assert!(check_path(Path::new(bad)).is_err(), "{bad:?}");
        }
        for good in ["a", "-x", "a b/ c", "a\nb", "$(id)", "..a", ".gitignore"] {
            assert!(check_path(Path::new(good)).is_ok(), "{good:?}");
        }
        for bad in ["", ".a", "-a", "a/b", "a b", "a.lock", "a..b"] {
            assert!(check_lane(bad).is_err(), "{bad:?}");
        }
    }
}
