//! Durable boundaries, where a crash test may stop the process.
//!
//! A debug build that finds `AGENTOPS_CRASH_AT=N` in its environment kills itself with SIGKILL at the N-th boundary;
//! with `AGENTOPS_CRASH_AT=PREFIX:N` only boundaries whose names begin so are counted and logged. A release
//! build has nothing of this. With `AGENTOPS_CRASH_LOG` set, each boundary's name is appended to that file, so that a test
//! can see which ones there are and how many a run passes.

/// Every boundary there is. A test holds that each of them is passed by a run.
pub const BOUNDARIES: [&str; 19] = [
    "ledger-after-create",
    "ledger-before-schema",
    "ledger-before-commit",
    "ledger-after-commit",
    "blob-before-rename",
    "blob-after-rename",
    "ref-before-update",
    "ref-after-update",
    "lane-recorded",
    "lane-protected",
    "lane-repository-built",
    "lane-files-written",
    "lane-ready",
    "lane-after-open",
    "lane-not-ready",
    "lane-files-removed",
    "lane-released",
    "lane-record-removed",
    "lane-after-remove",
];

/// The boundaries of a merge into the user's checkout. A test holds that each of them is passed by one.
pub const MERGE_BOUNDARIES: [&str; 4] = ["merge-noted", "merge-git-ended", "merge-put-back", "merge-note-removed"];

/// Passes a boundary.
#[cfg(debug_assertions)]
pub fn boundary(name: &'static str) {
    use std::io::Write;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};
    static PASSED: AtomicU64 = AtomicU64::new(0);
    static AT: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static LOG: OnceLock<Option<std::path::PathBuf>> = OnceLock::new();
    debug_assert!(BOUNDARIES.contains(&name) || MERGE_BOUNDARIES.contains(&name), "{name} is not declared");
    let at = AT.get_or_init(|| {
        let text = std::env::var("AGENTOPS_CRASH_AT").ok()?;
        let (prefix, number) = text.split_once(':').unwrap_or(("", &text));
        Some((prefix.to_owned(), number.parse().ok()?))
    });
    let log = LOG.get_or_init(|| std::env::var_os("AGENTOPS_CRASH_LOG").map(Into::into));
    if at.is_none() && log.is_none() || at.as_ref().is_some_and(|(prefix, _)| !name.starts_with(prefix.as_str())) {
        return;
    }
    let passed = PASSED.fetch_add(1, Ordering::SeqCst) + 1;
    if let Some(mut file) = log.as_ref().and_then(|path| std::fs::File::options().append(true).create(true).open(path).ok())
    {
        // One write of one short line: lines of several processes do not mix.
        let _written = file.write_all(format!("{name}\n").as_bytes());
    }
    if at.as_ref().is_some_and(|(_, at)| *at == passed) {
        let _killed = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}

/// Passes a boundary: nothing in a release build.
#[cfg(not(debug_assertions))]
pub fn boundary(_name: &'static str) {}
