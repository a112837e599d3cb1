//! Code bundles for real changes: `cargo bench -p agentops-bundle --bench code_tasks`.
//!
//! Each task is the message of a commit and what that commit touched. The tree of its parent is bundled for the message, and
//! the bundle is searched for the touched files, definitions and lines. Two tables are printed: how much was found, by project
//! and by the role of the files, and what the tokens were spent on. It asserts nothing.
//!
//! | variable | |
//! |---|---|
//! | `AGENTOPS_BENCH_TASKS` | a file with one task a line, as JSON: `repo`, `parent`, `query`, `gold` with `path` and `old` line ranges |
//! | `AGENTOPS_BENCH_MIRRORS` | git directories of the projects, `name=directory` with `:` between them |
//! | `AGENTOPS_BENCH_BUDGETS` | budgets in tokens with `:` between them, default `8000` |
#![expect(clippy::print_stdout, reason = "what it is for")]

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use agentops_bundle::code;
use agentops_safe::Redactor;
use agentops_text::tokens;
use regex::Regex;
use serde::Deserialize;

/// Larger files are not part of a tree, in bytes.
const FILE_BYTES_MAX: usize = 400_000;
const DEFINITION: &str = concat!(
    r#"^\s*(?:pub(?:\([^)]*\))?\s+|export\s+|default\s+|async\s+|static\s+|unsafe\s+|const\s+|extern\s+"C"\s+)*"#,
    r"(?:fn|def|class|func|function\*?|struct|enum|trait|impl|interface|macro_rules!|mod|type)\s+",
    r"(?:\([^)]*\)\s*)?(?:<[^>]*>\s*)?([A-Za-z_$][\w$]*)",
    r"|^\s*(?:[\w$.]+\.)?([A-Za-z_$][\w$]*)\s*[=:]\s*(?:async\s+)?function\b",
    r#"|^\s*(?:describe|it|test)\(\s*(['"`].{3,60}?)['"`]"#,
);

#[derive(Deserialize)]
struct Task {
    repo: String,
    parent: String,
    query: String,
    gold: Vec<Touched>,
}

#[derive(Deserialize)]
struct Touched {
    path: String,
    /// First and last lines, from 1.
    old: Vec<(usize, usize)>,
}

fn main() {
    // `cargo test --all-targets` starts benchmarks too, without this word; it wants to know that they build.
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    let Ok(tasks) = std::env::var("AGENTOPS_BENCH_TASKS") else {
        return println!("absent: AGENTOPS_BENCH_TASKS names no file");
    };
    let mirrors = std::env::var("AGENTOPS_BENCH_MIRRORS").unwrap_or_default();
    let mirrors: BTreeMap<&str, &str> = mirrors.split(':').filter_map(|mirror| mirror.split_once('=')).collect();
    let budgets = std::env::var("AGENTOPS_BENCH_BUDGETS").unwrap_or_else(|_| "8000".to_owned());
    let tasks: Vec<Task> = fs::read_to_string(tasks)
        .expect("the tasks are readable")
        .lines()
        .map(|line| serde_json::from_str(line).expect("a task a line"))
        .collect();
    for budget in budgets.split(':').filter_map(|budget| budget.parse().ok()) {
        println!("{budget} tokens");
        run(&tasks, &mirrors, budget);
    }
}

fn run(tasks: &[Task], mirrors: &BTreeMap<&str, &str>, budget: u64) {
    let definition = Regex::new(DEFINITION).expect("the expression is valid");
    let mut projects: BTreeMap<&str, Found> = BTreeMap::new();
    let mut all = Found::default();
    let mut roles: BTreeMap<&str, RoleTotals> = BTreeMap::new();
    let mut unread = 0;
    for task in tasks {
        let Some(mirror) = mirrors.get(task.repo.as_str()) else {
            unread += 1;
            continue;
        };
        let root = tempfile::tempdir().expect("a folder for a tree");
        let tree = tree(mirror, &task.parent);
        for (path, text) in &tree {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("a file is in a folder")).expect("a folder is made");
            fs::write(path, text).expect("a file is written");
        }
        let Ok(made) = code::compress(root.path(), &task.query, budget, &Redactor::new([])) else { continue };
        let sections = sections(&made.text, &tree);
        let found = found(task, &tree, &sections, &definition, &mut roles);
        for (path, text) in &sections {
            let totals = roles.entry(code::role(path, &tree[*path]).name()).or_default();
            totals.tokens += tokens::text_tokens(text);
            totals.lines += text.lines().count();
        }
        projects.entry(&task.repo).or_default().add(&found);
        all.add(&found);
    }
    if unread > 0 {
        println!("{unread} tasks have no mirror in AGENTOPS_BENCH_MIRRORS");
    }
    println!("{:<12} {:>6} {:>7} {:>11} {:>7}", "project", "tasks", "file", "definition", "line");
    for (project, found) in projects.iter().chain([(&"all", &all)]) {
        let [file, definition, line] = [found.file.share(), found.definition.share(), found.line.share()];
        println!("{project:<12} {:>6} {file:>7.4} {definition:>11.4} {line:>7.4}", found.file.count);
    }
    let tokens: u64 = roles.values().map(|role| role.tokens).sum();
    let lines: usize = roles.values().map(|role| role.touched_lines).sum();
    println!(
        "{:<12} {:>9} {:>9} {:>8} {:>10} {:>10} {:>8}",
        "role", "tokens", "lines", "share %", "to change", "share %", "found %"
    );
    for (name, role) in roles {
        let share = 100.0 * role.tokens as f64 / tokens.max(1) as f64;
        let touched = 100.0 * role.touched_lines as f64 / lines.max(1) as f64;
        let found = 100.0 * role.found_lines as f64 / role.touched_lines.max(1) as f64;
        println!(
            "{name:<12} {:>9} {:>9} {share:>8.1} {:>10} {touched:>10.1} {found:>8.1}",
            role.tokens, role.lines, role.touched_lines
        );
    }
}

/// Tokens that bundles spent on files of one role, and the lines of these files that had to be changed.
#[derive(Default)]
struct RoleTotals {
    tokens: u64,
    lines: usize,
    touched_lines: usize,
    found_lines: usize,
}

#[derive(Default, Clone)]
struct Mean {
    sum: f64,
    count: usize,
}

impl Mean {
    fn add(&mut self, share: Option<f64>) {
        if let Some(share) = share {
            self.sum += share;
            self.count += 1;
        }
    }

    fn share(&self) -> f64 {
        self.sum / self.count.max(1) as f64
    }
}

/// Shares of files, definitions and lines that were found; each task counts once.
#[derive(Default, Clone)]
struct Found {
    file: Mean,
    definition: Mean,
    line: Mean,
}

impl Found {
    fn add(&mut self, task: &Self) {
        for (mean, of_task) in
            [(&mut self.file, &task.file), (&mut self.definition, &task.definition), (&mut self.line, &task.line)]
        {
            mean.add((of_task.count > 0).then(|| of_task.share()));
        }
    }
}

fn found(
    task: &Task,
    tree: &BTreeMap<String, String>,
    sections: &BTreeMap<&str, String>,
    definition: &Regex,
    roles: &mut BTreeMap<&str, RoleTotals>,
) -> Found {
    let mut found = Found::default();
    let none = String::new();
    for touched in &task.gold {
        let Some(text) = tree.get(&touched.path) else { continue };
        let shown = sections.get(touched.path.as_str()).unwrap_or(&none);
        let shown: HashSet<String> = shown.lines().map(flat).filter(|line| says(line)).collect();
        let lines: Vec<&str> = text.split('\n').collect();
        let distinct: HashSet<String> = lines.iter().map(|line| flat(line)).filter(|line| says(line)).collect();
        let known = shown.intersection(&distinct).count() >= distinct.len().clamp(1, 3);
        found.file.add(Some(f64::from(u8::from(known))));
        let totals = roles.entry(code::role(&touched.path, text).name()).or_default();
        let mut names: HashSet<String> = HashSet::new();
        let mut numbers: HashSet<usize> = HashSet::new();
        for (from, to) in &touched.old {
            for number in *from..=(*to).min(lines.len()) {
                names.extend(enclosing(&lines, number, definition));
                if says(&flat(lines[number - 1])) && numbers.insert(number) {
                    let there = shown.contains(&flat(lines[number - 1]));
                    found.line.add(Some(f64::from(u8::from(there))));
                    totals.touched_lines += 1;
                    totals.found_lines += usize::from(there);
                }
            }
        }
        for name in names {
            let defines = |line: &String| definition.captures(line).is_some() && has_word(line, &name);
            found.definition.add(Some(f64::from(u8::from(shown.iter().any(defines)))));
        }
    }
    found
}

/// The name of the innermost definition around a line, by indentation.
fn enclosing(lines: &[&str], number: usize, definition: &Regex) -> Option<String> {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let own = lines.get(number - 1).filter(|line| !line.trim().is_empty()).map_or(usize::MAX, |line| indent(line));
    (0..number.min(lines.len())).rev().find_map(|at| {
        let groups = definition.captures(lines[at])?;
        let name = groups.iter().skip(1).flatten().next()?.as_str().to_owned();
        (at + 1 == number || indent(lines[at]) < own).then_some(name)
    })
}

fn has_word(line: &str, word: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
    line.match_indices(word).any(|(at, _)| {
        !line[..at].chars().next_back().is_some_and(is_word) && !line[at + word.len()..].chars().next().is_some_and(is_word)
    })
}

fn flat(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether a line says more than a bracket.
fn says(line: &str) -> bool {
    line.chars().filter(|c| c.is_alphanumeric() || *c == '_').take(4).count() == 4
}

/// The text below each heading of a file, by path.
fn sections<'a>(text: &str, tree: &'a BTreeMap<String, String>) -> BTreeMap<&'a str, String> {
    let mut sections: BTreeMap<&str, String> = BTreeMap::new();
    let mut current: Option<&str> = None;
    for line in text.lines() {
        let heading = line.strip_prefix("## ").and_then(|rest| tree.get_key_value(rest.split(' ').next().unwrap_or(rest)));
        if let Some((path, _)) = heading {
            current = Some(path);
        }
        if let Some(path) = current {
            let section = sections.entry(path).or_default();
            section.push_str(line);
            section.push('\n');
        }
    }
    sections
}

/// The text files of a commit, without lock files.
fn tree(mirror: &str, commit: &str) -> BTreeMap<String, String> {
    const NO_SOURCES: &[&str] = &["Cargo.lock", "package-lock.json", "go.sum", "uv.lock", "poetry.lock", "yarn.lock"];
    let listed = git(mirror, &["ls-tree", "-r", "-z", commit], "");
    let mut wanted: Vec<(String, String)> = Vec::new();
    for line in String::from_utf8_lossy(&listed).split('\0').filter(|line| !line.is_empty()) {
        let Some((data, path)) = line.split_once('\t') else { continue };
        let fields: Vec<&str> = data.split(' ').collect();
        let is_lock = NO_SOURCES.iter().any(|name| path.rsplit('/').next() == Some(name));
        if fields[1] == "blob" && fields[0] != "120000" && !is_lock {
            wanted.push((path.to_owned(), fields[2].to_owned()));
        }
    }
    let ids: String = wanted.iter().map(|(_, id)| format!("{id}\n")).collect();
    let contents = git(mirror, &["cat-file", "--batch"], &ids);
    let mut rest = contents.as_slice();
    let mut files = BTreeMap::new();
    for (path, _) in wanted {
        let Some(end) = rest.iter().position(|byte| *byte == b'\n') else { break };
        let head = String::from_utf8_lossy(&rest[..end]).into_owned();
        let size: usize = head.rsplit(' ').next().and_then(|size| size.parse().ok()).expect("git names the size");
        let content = &rest[end + 1..end + 1 + size];
        rest = &rest[end + size + 2..];
        if size <= FILE_BYTES_MAX && !content[..size.min(8000)].contains(&0) {
            files.insert(path, String::from_utf8_lossy(content).into_owned());
        }
    }
    files
}

fn git(mirror: &str, args: &[&str], input: &str) -> Vec<u8> {
    #[expect(clippy::disallowed_methods, reason = "a benchmark reads the projects that it is given")]
    let mut command = Command::new("git");
    command.arg(format!("--git-dir={mirror}")).args(args).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("git is installed");
    let mut stdin = child.stdin.take().expect("a pipe");
    let input = input.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().expect("git ends");
    writer.join().expect("the writer ends").expect("git reads its input");
    output.stdout
}
