//! What a line of an output is: an error, a test that failed, a summary, a line of a diff, a line of a file.

use std::sync::LazyLock;

use regex::Regex;

use super::shell::re;

/// What a line of an output says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    /// An error or a warning as a program prints it.
    Error,
    /// A test that failed.
    Failed,
    /// How a run of tests or a build ended.
    Summary,
    /// Anything else.
    Other,
}

/// `ValueError: …`, `pkg.SomeWarning: …`, also behind pytest's `E`.
static NAMED: LazyLock<Regex> = LazyLock::new(|| re(r"^(?:E\s+)?(?:\w+\.)*\w*(?:Error|Exception|Warning|Failure|Panic)\b:"));
/// Errors of compilers, shells, package managers and git.
static TOOL: LazyLock<Regex> = LazyLock::new(|| {
    re(
        r"(?i)^\s*(?:error(?:\[\w+\])?:|fatal:|npm err!|panic:|caused by:|e:\s)|\berror(?: \w+\d+)?: |panicked at|: command not found|: no such file or directory|permission denied|segmentation fault|undefined reference|syntax error|cannot find |unresolved import",
    )
});
/// Test names: pytest's, unittest's, cargo's, go's, jest's.
static TEST: LazyLock<Regex> =
    LazyLock::new(|| re(r"[\w/.-]+\.py::[\w:\[\].-]+|\btest_\w{4,}|\bTest[A-Z]\w+|[\w/.-]+\.(?:test|spec)\.[jt]sx?"));
static FAILED: LazyLock<Regex> =
    LazyLock::new(|| re(r"FAILED|ERROR|^\s*(?:--- )?FAIL\b|^\s*(?:✕|✗|●|not ok)\s|\.\.\. (?:FAILED|ERROR|FAIL)$"));
static SUMMARY: LazyLock<Regex> = LazyLock::new(|| {
    re(
        r"(?i)\b\d+ (?:passed|failed|errors?|passing|failing|skipped)\b|^Ran \d+ tests?|^OK\b|^FAILED \(|^test result:|^Tests?:\s|^(?:ok|FAIL)\s+\S+\s+[\d.]+s|^Finished |^BUILD |^Process exited",
    )
});

/// What it is.
pub fn line(text: &str) -> Line {
    if NAMED.is_match(text) {
        Line::Error
    } else if FAILED.is_match(text) && TEST.is_match(text) {
        Line::Failed
    } else if SUMMARY.is_match(text) && text.len() < 200 {
        Line::Summary
    } else if text.len() < 400 && TOOL.is_match(text) {
        Line::Error
    } else {
        Line::Other
    }
}

/// Files that say how a project is built and tested.
const MANIFESTS: &[&str] = &[
    "BUILD.bazel",
    "CMakeLists.txt",
    "Cargo.toml",
    "Gemfile",
    "Makefile",
    "build.gradle",
    "build.gradle.kts",
    "deno.json",
    "go.mod",
    "justfile",
    "meson.build",
    "noxfile.py",
    "package.json",
    "pom.xml",
    "pyproject.toml",
    "pytest.ini",
    "setup.cfg",
    "setup.py",
    "tox.ini",
];

/// Whether a line of a listing names a file that says how a project is built and tested.
pub fn is_manifest(line: &str) -> bool {
    let name = super::shell::base(line.rsplit(' ').next().unwrap_or(line));
    MANIFESTS.binary_search(&name).is_ok()
}

/// The names of the tests in a line.
pub fn tests(text: &str) -> impl Iterator<Item = &str> {
    TEST.find_iter(text).map(|found| found.as_str())
}

/// A line as it is compared: without the line number of `nl`, `cat -n` and `grep -n`, white space as single blanks.
pub fn norm(text: &str) -> String {
    crate::fidelity::flat(without_number(text))
}

/// The line without its number.
pub fn without_number(text: &str) -> &str {
    let rest = text.trim_start();
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    if digits == 0 || digits > 7 {
        return text;
    }
    match rest.as_bytes().get(digits) {
        Some(b'\t' | b':' | b'|') => &rest[digits + 1..],
        Some(b'-') => &rest[digits + 1..],
        _ => rest[digits..].strip_prefix('→').unwrap_or(text),
    }
}

/// Whether a line says too little to be worth looking for: brackets, `else:`, a blank line.
pub fn is_slight(norm: &str) -> bool {
    norm.chars().filter(|c| c.is_alphanumeric() || *c == '_').nth(5).is_none()
}

/// Sentences of a text, each with white space as it is; a line that is no prose is a sentence of its own.
pub fn sentences(text: &str) -> impl Iterator<Item = &str> {
    text.lines().flat_map(sentences_of_line)
}

fn sentences_of_line(line: &str) -> impl Iterator<Item = &str> {
    let mut rest = line.trim();
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let bytes = rest.as_bytes();
        let end = (0..bytes.len()).find(|at| {
            matches!(bytes[*at], b'.' | b'!' | b'?')
                && bytes.get(at + 1).is_some_and(|next| *next == b' ')
                // A list's number is no sentence.
                && !(*at < 3 && bytes[..*at].iter().all(u8::is_ascii_digit))
        });
        let (sentence, after) = rest.split_at(end.map_or(rest.len(), |end| end + 1));
        rest = after.trim_start();
        Some(sentence.trim_end())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_test_runs_are_told_apart() {
        assert_eq!(line("ValueError: no such unit"), Line::Error);
        assert_eq!(line("E   astropy.units.UnitsError: x"), Line::Error);
        assert_eq!(line("error[E0308]: mismatched types"), Line::Error);
        assert_eq!(line("FAILED tests/test_a.py::test_one - assert 1 == 2"), Line::Failed);
        assert_eq!(line("--- FAIL: TestParse (0.00s)"), Line::Failed);
        assert_eq!(line("test parse::test_deep ... FAILED"), Line::Failed);
        assert_eq!(line("===== 1 failed, 3 passed in 0.2s ====="), Line::Summary);
        assert_eq!(line("    return self.error"), Line::Other);
        assert_eq!(tests("FAILED a/test_b.py::T::test_c[1]").collect::<Vec<_>>(), ["a/test_b.py::T::test_c[1]"]);
    }

    #[test]
    fn files_that_build_a_project_are_known_in_listings() {
        assert!(MANIFESTS.is_sorted());
        for line in ["setup.py", "-rw-r--r-- 1 root root 1991 Oct 24 2024 tox.ini", "./web/../package.json", "./Cargo.toml"]
        {
            assert!(is_manifest(line), "{line}");
        }
        assert!(!is_manifest("setup.pyc") && !is_manifest("run setup.py now") && !is_manifest(""));
    }

    #[test]
    fn numbers_of_lines_do_not_count() {
        assert_eq!(norm("  1715\t    x =  1"), "x = 1");
        assert_eq!(norm("12: x"), "x");
        assert_eq!(norm("2024 was long"), "2024 was long");
    }

    #[test]
    fn sentences_end_where_they_end() {
        let found: Vec<_> = sentences("I see. 1. First: core.py is it!\n\n  return x").collect();
        assert_eq!(found, ["I see.", "1. First: core.py is it!", "return x"]);
        assert_eq!(sentences("1. First thing. Second").collect::<Vec<_>>(), ["1. First thing.", "Second"]);
    }
}
