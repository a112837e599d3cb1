//! False alarms of the redactor on the source of real repositories: at most one in 100,000 lines.
//!
//! `AGENTOPS_REDACT_SOURCES=dir1:dir2` names the checked-out repositories. A line that holds a real secret, or one that
//! was made up to look like one, counts as an alarm too: look at each before judging the figure.

use std::fs;
use std::path::{Path, PathBuf};

use agentops_safe::Redactor;

const LINES_PER_ALARM_MIN: usize = 100_000;
const SOURCES: &[&str] = &[
    "rs", "py", "ts", "tsx", "js", "jsx", "mjs", "go", "c", "h", "cc", "cpp", "java", "kt", "rb", "php", "cs", "swift",
    "sh", "toml", "yaml", "yml", "json", "md", "html", "css", "sql",
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder that can be read") {
        let entry = entry.expect("an entry");
        let (path, kind) = (entry.path(), entry.file_type().expect("a kind"));
        if kind.is_dir() && entry.file_name() != ".git" {
            sources(&path, found);
        } else if kind.is_file() && path.extension().is_some_and(|end| SOURCES.iter().any(|known| end == *known)) {
            found.push(path);
        }
    }
}

#[test]
fn s6_false_alarms_on_real_sources_are_rare() {
    let Some(folders) = std::env::var_os("AGENTOPS_REDACT_SOURCES") else {
        println!("skipped: AGENTOPS_REDACT_SOURCES names no sources");
        return;
    };
    let redactor = Redactor::new([]);
    let (mut all_lines, mut all_alarms) = (0, 0);
    for folder in std::env::split_paths(&folders) {
        let mut paths = Vec::new();
        sources(&folder, &mut paths);
        let (mut lines, mut alarms) = (0, 0);
        for path in paths {
            let text = fs::read(&path).expect("a file that can be read");
            lines += text.split(|byte| *byte == b'\n').count();
            if !redactor.finds(&text) {
                continue;
            }
            // A secret over several lines is one alarm: what differs is counted by markers.
            let text = String::from_utf8_lossy(&text);
            let out = redactor.redact(&text);
            for line in out.lines().filter(|line| line.contains("[redacted:")) {
                alarms += line.matches("[redacted:").count() - text.matches(line).count().min(1);
                println!("{}: {}", path.display(), line.trim().chars().take(200).collect::<String>());
            }
        }
        println!("{}: {lines} lines, {alarms} alarms", folder.display());
        all_lines += lines;
        all_alarms += alarms;
    }
    println!("{all_lines} lines, {all_alarms} alarms, at most {} allowed", all_lines / LINES_PER_ALARM_MIN);
    assert!(all_lines > 0 && all_alarms * LINES_PER_ALARM_MIN <= all_lines);
}
