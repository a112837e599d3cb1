//! Feedback on routing in git: lines that only grow, one file for each clone, on the branch `agentops/records`.
//!
//! A line's content is its writer's business. Secrets are taken out before anything is written.

use agentops_git::{Author, Error, Oid, Records, Repo};
use agentops_safe::Redactor;

/// Where on the branch the files lie: `feedback/<clone>.jsonl`.
pub const FOLDER: &str = "feedback";

/// Adds lines to this clone's file. When it returns, they survive a power cut. `at_ms` is the time in Unix milliseconds.
///
/// # Errors
/// A line is empty, longer than 64 KiB or has a line end, another process works here for too long, or git fails.
pub fn append(repo: &Repo, redactor: &Redactor, lines: &[String], at_ms: u64) -> Result<Oid, Error> {
    let lines: Vec<Vec<u8>> = lines.iter().map(|line| redactor.redact(line).into_owned().into_bytes()).collect();
    let author = Author { name: "AgentOps".into(), email: "agentops@localhost".into() };
    let message = match lines.len() {
        1 => "Feedback\n".to_owned(),
        several => format!("Feedback, {several} lines\n"),
    };
    repo.append_records(FOLDER, &lines, &message, &author, at_ms / 1000, &agentops_git::temporary::folder())
}

/// Every clone's lines, on the local branch and on all remote-tracking ones.
///
/// # Errors
/// Git fails.
pub fn read(repo: &Repo) -> Result<Records, Error> {
    repo.read_records(FOLDER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_do_not_reach_git() {
        let folder = tempfile::tempdir().unwrap();
        let repo = agentops_git::begin(folder.path(), &[("a", b"a")], "begin").unwrap();
        let secret = "ghp_0123456789abcdefghijklmnopqrstuvwxyzAB";
        append(&repo, &Redactor::new([]), &[format!("{{\"text\":\"log in with {secret}\"}}")], 5_000).unwrap();
        append(&repo, &Redactor::new([]), &["{\"text\":\"next\"}".into()], 6_000).unwrap();
        let records = read(&repo).unwrap();
        let text = String::from_utf8(records.files[0].bytes.clone()).unwrap();
        assert!(!text.contains(secret) && text.lines().count() == 2, "{text}");
        assert!(text.lines().all(|line| line.ends_with("\"}")), "a redacted line is still one: {text}");
    }
}
