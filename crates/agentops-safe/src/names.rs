//! Names that come from people, agents and repositories, checked once at the door.
//!
//! Whoever holds a [`BranchName`] or a [`RepoPath`] may hand it to git as an argument without looking at it again: it
//! cannot be an option, cannot climb out of the repository and cannot name git's own directory. The rules are narrower
//! than git's on purpose; a branch that git would take and we refuse is renamed in a second, the other way round costs a
//! key.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The longest branch name in bytes. Git's own limit is the file system's; this one leaves room for `refs/heads/`.
pub const BRANCH_BYTES_MAX: usize = 200;
/// The longest path inside a repository in bytes, Linux' `PATH_MAX`.
pub const PATH_BYTES_MAX: usize = 4096;

/// Why a text is not a name: what was expected, the beginning of what was given, and the rule it breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} `{given}` is not valid: {rule}")]
pub struct InvalidName {
    /// What was expected: `branch name` or `repository path`.
    pub what: &'static str,
    /// What was given, cut to 80 characters and made inert, so that the message itself is safe to print.
    pub given: String,
    /// The rule in words.
    pub rule: &'static str,
}

impl InvalidName {
    fn new(what: &'static str, given: &str, rule: &'static str) -> Self {
        Self { what, given: crate::inert_line(given, 80), rule }
    }
}

/// A branch, without `refs/heads/`: 1 to 200 bytes of `A-Z a-z 0-9 . _ / -`.
///
/// ```
/// use agentops_safe::BranchName;
///
/// assert!("agentops/r-7f3k".parse::<BranchName>().is_ok());
/// assert!("--upload-pack=x".parse::<BranchName>().is_err());
/// assert!("a;touch${IFS}x".parse::<BranchName>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BranchName(String);

/// A file or directory inside a repository: relative, UTF-8, `/` between components, at most 4096 bytes.
///
/// It says nothing about links on the disk: whoever opens it must still refuse to follow them.
///
/// ```
/// use agentops_safe::RepoPath;
///
/// assert!("src/main.rs".parse::<RepoPath>().is_ok());
/// assert!(".GIT/config".parse::<RepoPath>().is_err());
/// assert!("a/../../etc/passwd".parse::<RepoPath>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RepoPath(String);

fn branch_rule(name: &str) -> Result<(), &'static str> {
    if name.is_empty() || name.len() > BRANCH_BYTES_MAX {
        return Err("it has 1 to 200 bytes");
    }
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._/-".contains(&byte)) {
        return Err("only the characters A-Z a-z 0-9 . _ / - are allowed");
    }
    if name.contains("..") {
        return Err("two dots in a row name a range of commits");
    }
    if name.eq_ignore_ascii_case("head") {
        return Err("HEAD is git's own name");
    }
    if [40, 64].contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err("it reads as a commit id");
    }
    for part in name.split('/') {
        if part.is_empty() {
            return Err("no slash at the start, at the end or after another slash");
        }
        if part.starts_with('-') {
            return Err("no part may start with a dash");
        }
        if part.starts_with('.') || part.ends_with('.') {
            return Err("no part may start or end with a dot");
        }
        if part.to_ascii_lowercase().ends_with(".lock") {
            return Err("no part may end with .lock");
        }
    }
    Ok(())
}

/// Code points that a case-folding file system of macOS drops from a name, so that `.g<ZWNJ>it` would open `.git`.
fn is_dropped_by_a_file_system(c: char) -> bool {
    matches!(c, '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{206a}'..='\u{206f}' | '\u{feff}')
}

/// Whether some file system would open git's own directory under this name: other case, dropped characters, the short
/// name of Windows, trailing dots and spaces, a stream suffix.
fn opens_git_directory(part: &str) -> bool {
    let kept: String = part.chars().filter(|c| !is_dropped_by_a_file_system(*c)).collect();
    let plain = kept.split(':').next().unwrap_or_default().trim_end_matches([' ', '.']);
    plain.eq_ignore_ascii_case(".git") || plain.eq_ignore_ascii_case("git~1")
}

fn path_rule(path: &str) -> Result<(), &'static str> {
    if path.is_empty() || path.len() > PATH_BYTES_MAX {
        return Err("it has 1 to 4096 bytes");
    }
    if path.contains('\0') {
        return Err("it has no NUL");
    }
    if path.starts_with(['/', '\\']) {
        return Err("it is relative to the top of the repository");
    }
    if path.split('/').any(|part| part.is_empty() || part == ".") {
        return Err("no empty part and no part `.`");
    }
    // A backslash is an ordinary byte on Linux and a separator elsewhere; a repository travels, so both readings count.
    for part in path.split(['/', '\\']) {
        if part == ".." {
            return Err("no part may be `..`");
        }
        if opens_git_directory(part) {
            return Err("git's own directory is out of bounds");
        }
    }
    Ok(())
}

macro_rules! checked_text {
    ($type:ident, $what:literal, $rule:ident) => {
        impl $type {
            /// The name as it was given.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = InvalidName;

            fn from_str(given: &str) -> Result<Self, InvalidName> {
                $rule(given).map_err(|rule| InvalidName::new($what, given, rule))?;
                Ok(Self(given.to_owned()))
            }
        }

        impl TryFrom<String> for $type {
            type Error = InvalidName;

            fn try_from(given: String) -> Result<Self, InvalidName> {
                $rule(&given).map_err(|rule| InvalidName::new($what, &given, rule))?;
                Ok(Self(given))
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0
            }
        }

        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

checked_text!(BranchName, "branch name", branch_rule);
checked_text!(RepoPath, "repository path", path_rule);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn branch(name: &str) -> bool {
        name.parse::<BranchName>().is_ok()
    }

    fn path(name: &str) -> bool {
        name.parse::<RepoPath>().is_ok()
    }

    #[test]
    fn s4_hostile_branch_names_are_refused() {
        let long = "a".repeat(201);
        let kilobytes = "x".repeat(4096);
        let commit = "a94a8fe5ccb19ba61c4c0873d391e987982fbbd3";
        let hostile = [
            "",
            "-",
            "-x",
            "--upload-pack=x",
            "a/-x",
            "a..b",
            "a.lock",
            "a.LOCK/b",
            "/a",
            "a/",
            "a//b",
            "a@{1}",
            "@",
            "HEAD",
            "$(id)",
            "`id`",
            "a;b",
            "a;touch${IFS}x",
            "a b",
            "a\nb",
            "a\0b",
            "a\u{3000}b",
            "a\u{202e}b",
            "a\u{200b}",
            "ä",
            ".",
            "..",
            ".a",
            "a/.b",
            "a.",
            "a./b",
            "a~1",
            "a^",
            "a:b",
            "a?",
            "a*",
            "a[",
            "a\\b",
            "a\x1b[31m",
            "a\x7f",
            "+a",
            "refs/heads/x.lock",
            &long,
            &kilobytes,
            commit,
        ];
        for name in hostile {
            assert!(!branch(name), "{name:?}");
        }
    }

    #[test]
    fn s4_usual_branch_names_are_taken() {
        for name in
            ["main", "agentops/r-7f3k", "feature/JIRA-12_x.y", "v1.2.3", "a", "release-2026.07", "x--y", &"a".repeat(200)]
        {
            assert!(branch(name), "{name:?}");
        }
    }

    #[test]
    fn s4_hostile_paths_are_refused() {
        let long = "a".repeat(4097);
        let hostile = [
            "",
            "/etc/passwd",
            "..",
            "../x",
            "a/../b",
            "a/..",
            ".",
            "./a",
            "a/./b",
            "a//b",
            "a/",
            ".git",
            ".git/config",
            ".GIT/hooks/x",
            "a/.Git/x",
            "git~1",
            "sub/GIT~1/config",
            "a\0b",
            "\\x",
            "\\\\server\\x",
            "a\\..\\b",
            "a\\.git\\c",
            ".git.",
            ".git ",
            ".git::$INDEX_ALLOCATION/x",
            ".g\u{200c}it/config",
            "\u{feff}.git",
            &long,
        ];
        for name in hostile {
            assert!(!path(name), "{name:?}");
        }
    }

    #[test]
    fn s4_usual_paths_are_taken() {
        for name in
            ["a", "src/main.rs", ".gitignore", ".github/ci.yml", "a b/ü.txt", "-x", "...", "a..b", "git", "x.git", "c:d"]
        {
            assert!(path(name), "{name:?}");
        }
    }

    #[test]
    fn s4_the_error_says_the_rule_and_is_safe_to_print() {
        let error = "a\x1b]0;x\x07\n-b".parse::<BranchName>().expect_err("hostile");
        let text = error.to_string();
        assert!(text.starts_with("branch name `a"), "{text}");
        assert!(text.contains("only the characters"), "{text}");
        assert!(!text.chars().any(char::is_control), "{text:?}");
    }

    #[test]
    fn s4_a_name_read_from_json_passes_the_same_door() {
        assert!(serde_json::from_str::<BranchName>(r#""main""#).is_ok());
        assert!(serde_json::from_str::<BranchName>(r#""-x""#).is_err());
        assert!(serde_json::from_str::<RepoPath>(r#""../x""#).is_err());
        let path: RepoPath = serde_json::from_str(r#""a/b""#).expect("valid");
        assert_eq!(serde_json::to_string(&path).expect("writes"), r#""a/b""#);
    }

    proptest! {
        #[test]
        fn s4_an_accepted_branch_is_never_an_option_or_a_shell_word(name in "[-a-zA-Z0-9._/@{}$;~ \\n\\\\]{1,12}") {
            if branch(&name) {
                prop_assert!(!name.split('/').any(|part| part.is_empty() || part.starts_with('-')));
                prop_assert!(!name.contains("..") && !name.contains('@'));
                prop_assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._/-".contains(&byte)));
            }
        }

        #[test]
        fn s4_an_accepted_path_stays_inside(name in "[./a\\\\gitGIT~1]{1,14}") {
            if path(&name) {
                prop_assert!(!std::path::Path::new(&name).is_absolute());
                for part in std::path::Path::new(&name).components() {
                    prop_assert!(matches!(part, std::path::Component::Normal(_)));
                    prop_assert!(!part.as_os_str().eq_ignore_ascii_case(".git"));
                }
            }
        }
    }
}
