//! What a line says about itself: a test's outcome, a frame of a stack trace, the beginning of a section.
//!
//! The words are those that runtimes and test runners print; no format of one log is known here.

use std::sync::LazyLock;

use regex::Regex;

/// A pattern of ours: it compiles, or the test below fails.
fn pattern(text: &str) -> Regex {
    Regex::new(text).unwrap_or_else(|error| unreachable!("pattern of ours: {error}"))
}

static FRAME: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r#"(?x) ^\s*( at\s+\S+ | File\ "[^"]*",\ line\ \d | \#\d+\s+0x | \#\d+\s+\S+\s+at\s | \.\.\.\ \d+\ (more|common)
        | \d+:\s+(0x[0-9a-f]+\s+-\s+)?[\w<]+(::|\.)\S+ | goroutine\ \d+\ \[ | \S+\.go:\d+\ \+0x | from\ \S+:\d+:in\ )"#,
    )
});

/// Frames of runtimes and libraries, which are seldom where the mistake is.
static LIBRARY: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?x) /rustc/ | /\.cargo/registry/ | \b(core|std|alloc|tokio|test)::|__rust | site-packages/ | /lib/python\d | node_modules/
        | node:internal | \bat\ (java|javax|jdk|sun|scala|kotlin)\. | \bruntime/(panic|proc|asm_\w+)\.(go|s): | /usr/(lib|local/go)/",
    )
});

static FAILING: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?x) ^( test\ (?<rust>\S+)(\ -\ should\ panic)?\ \.\.\.\ FAILED$
        | (FAILED|ERROR)\ (?<pytest>\S+::\S.*?)(\ -\ .*)?$
        | \s*(?<pytestv>\S+::\S+)\ (FAILED|ERROR)\b
        | \s*---\ FAIL:\ (?<go>\S+)
        | (FAIL|ERROR):\ (?<unittest>\w+\ \(.+\))$
        | \s*(✕|✗|✘|×)\ (?<jest>\S.*?)(\ \(\d+(\.\d+)?\ ?m?s\))?$
        | not\ ok\ \d+\ -?\ ?(?<tap>\S.*)$
        | \[\ \ FAILED\ \ \]\ (?<gtest>[\w/.]+)
        | \s*FAIL\ +(\[[^\]]*\]\ +)?(?<nextest>\S+\ \S+::\S+)$ )",
    )
});

static PASSING: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?x) ^( test\ \S+(\ -\ .*)?\ \.\.\.\ (ok|ignored.*)$ | \s*\S+::\S+\ (PASSED|SKIPPED|XFAIL)\b
        | (===\ (RUN|PAUSE|CONT)|\s*---\ (PASS|SKIP):)\ | \s*(✓|✔|√)\ | ok\ \d+\ | \[\ +(RUN|OK)\ +\]\ | \s*PASS\ )",
    )
});

static SECTION: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?x) ^( ----\ \S.*\ ----$ | _{3,}\ \S.*\ _{3,}$ | \s*●\ \S | (FAIL|ERROR):\ \w+\ \( | \s*---\ FAIL:
        | thread\ '.*'(\ \(\d+\))?\ panicked\ at | Traceback\ \(most\ recent | panic:\ | error(\[E\d+\])?: )",
    )
});

static TELLING: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?x) ^( E\ + | >\ + | \s*(left|right|expected|received|actual|got|want|note|help|hint|caused\ by|assertion)\b:?
        | thread\ '.*panicked | \s*--> | Caused\ by | .*\.(go|rs|py|js|ts|java|rb|c|cc|cpp|h):\d+ | \s*(Expected|Received|\+|-)\ )
        | (Error|Exception|Failure)\b | (?i:\b(assert|error|panic|fail|expect)) ",
    )
});

/// Whether a line is a frame of a stack trace.
pub(super) fn is_frame(line: &str) -> bool {
    FRAME.is_match(line)
}

/// Whether a frame is of a runtime or a library.
pub(super) fn is_library_frame(line: &str) -> bool {
    LIBRARY.is_match(line)
}

/// The name of the test that the line says has failed.
pub(super) fn failing_test(line: &str) -> Option<&str> {
    let found = FAILING.captures(line)?;
    found
        .iter()
        .skip(1)
        .zip(FAILING.capture_names().skip(1))
        .find_map(|(group, name)| group.filter(|_| name.is_some()))
        .map(|group| group.as_str())
}

/// Whether the line says that a test has passed, was left out, or begins.
pub(super) fn is_passing_test(line: &str) -> bool {
    PASSING.is_match(line)
}

/// Whether what follows belongs to this line: a failure's section, a trace, a compiler's message.
pub(super) fn begins_section(line: &str) -> bool {
    SECTION.is_match(line)
}

/// Whether a line within a failure's section says what was wrong, or where.
pub(super) fn is_telling(line: &str) -> bool {
    TELLING.is_match(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_of_tests_by_runner() {
        for (line, name) in [
            ("test a::b ... FAILED", "a::b"),
            ("FAILED tests/test_a.py::test_b[x y] - assert 1 == 2", "tests/test_a.py::test_b[x y]"),
            ("tests/test_a.py::test_b FAILED    [ 50%]", "tests/test_a.py::test_b"),
            ("--- FAIL: TestX/case (0.00s)", "TestX/case"),
            ("FAIL: test_x (pkg.Case.test_x)", "test_x (pkg.Case.test_x)"),
            ("  ✕ adds numbers (3 ms)", "adds numbers"),
            ("not ok 3 - adds", "adds"),
        ] {
            assert_eq!(failing_test(line), Some(name), "{line}");
            assert!(!is_passing_test(line));
        }
        for line in ["test a ... ok", "--- PASS: TestX (0.00s)", "  ✓ adds", "a.py::b PASSED [1%]"] {
            assert!(is_passing_test(line) && failing_test(line).is_none(), "{line}");
        }
    }

    #[test]
    fn frames_of_several_runtimes() {
        for line in [
            "\tat org.x.Y.z(Y.java:12)",
            "  File \"a.py\", line 3, in f",
            "#1 0x0000 in main",
            "   4: core::ops::function::FnOnce::call_once",
            "\t/usr/go/x.go:12 +0x1d",
            "    ... 23 more",
        ] {
            assert!(is_frame(line), "{line}");
        }
        assert!(is_library_frame("   4: core::ops::function::FnOnce::call_once") && !is_library_frame("   4: app::run"));
        assert!(!is_frame("attached to console"));
        assert!(begins_section("thread 'main' (12) panicked at src/a.rs:1:2:") && is_telling("E   assert 1 == 2"));
    }
}
