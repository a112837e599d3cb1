//! Code bundled for a task: `cargo bench -p agentops-bundle --bench figures`.
//!
//! Every row is a process of its own, so that a figure holds what a person waits for: the program starts, files are read,
//! a bundle of 8,000 tokens is made. Repositories of 10,000, 100,000 and 1,000,000 lines are made of this project's own
//! sources under other names: the time for a megabyte should be the same. Memory is the peak of the process (`VmHWM`). CPU is
//! that of the process. It prints and asserts nothing.
//!
//! | variable | |
//! |---|---|
//! | `AGENTOPS_BENCH_ROOTS` | folders to bundle as well, with `:` between them |
//! | `AGENTOPS_BENCH_REPOMIX` | the program `repomix`, to pack the same folders in the same run |
//! | `AGENTOPS_BENCH_AIDER` | the program `aider`, for its map of the same folders; they must be git work trees |
#![expect(clippy::print_stdout, reason = "what it is for")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use agentops_safe::Redactor;

const MB: f64 = 1_000_000.0;
const BUDGET: u64 = 8000;
const TASK: &str =
    "ledger: reject an event whose epoch is older than the last one\n\nThe supervisor that was taken over may still append.";
/// How the same program is asked for one row.
const ONE: &str = "--one-bundle";

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if let Some(at) = args.iter().position(|arg| arg == ONE) {
        return one(Path::new(&args[at + 1]));
    }
    // `cargo test --all-targets` starts benchmarks too, without this word; it wants to know that they build.
    if !args.iter().any(|arg| arg == "--bench") {
        return;
    }
    println!("{:<28} {:>8} {:>8} {:>8} {:>8} {:>9}", "", "MB", "seconds", "MB/s", "CPU s", "peak MiB");
    let made = tempfile::tempdir().expect("a folder for what is made");
    for lines in [10_000, 100_000, 1_000_000] {
        let root = made.path().join(format!("{lines} lines"));
        synthetic(&root, lines);
        ours(&root);
    }
    for root in std::env::var("AGENTOPS_BENCH_ROOTS").unwrap_or_default().split(':').filter(|root| !root.is_empty()) {
        let root = PathBuf::from(root);
        ours(&root);
        peer("AGENTOPS_BENCH_REPOMIX", "repomix", &root, |program, root, scratch| {
            let mut command = command(program);
            command.args(["--quiet", "--output"]).arg(scratch.join("packed.xml")).arg(root);
            command
        });
        peer("AGENTOPS_BENCH_AIDER", "aider", &root, |program, root, scratch| {
            let copy = scratch.join("copy");
            copy_all(root, &copy);
            let mut command = command(program);
            command.args([
                "--show-repo-map",
                "--map-tokens",
                "8000",
                "--model",
                "gpt-4o",
                "--no-check-update",
                "--analytics-disable",
            ]);
            command.args(["--no-show-model-warnings", "--no-gitignore", "--yes-always", "--no-pretty"]).current_dir(copy);
            command.env("OPENAI_API_KEY", "none").env("HOME", scratch);
            command
        });
    }
}

/// One bundle, and what it took, on one line.
fn one(root: &Path) {
    let start = Instant::now();
    let made = agentops_bundle::code::compress(root, TASK, BUDGET, &Redactor::new([])).map_or(0, |made| made.after);
    let seconds = start.elapsed().as_secs_f64();
    println!("{seconds} {} {} {made}", cpu_seconds(), peak_mib());
}

fn ours(root: &Path) {
    let program = std::env::current_exe().expect("this program");
    let mut best: Option<Vec<f64>> = None;
    for _ in 0..3 {
        let output = command(&program).arg(ONE).arg(root).output().expect("this program runs");
        let figures: Vec<f64> =
            String::from_utf8_lossy(&output.stdout).split_whitespace().filter_map(|f| f.parse().ok()).collect();
        if figures.len() == 4 && best.as_ref().is_none_or(|best| figures[0] < best[0]) {
            best = Some(figures);
        }
    }
    match best {
        Some(figures) => row("agentops", root, figures[0], Some(figures[1]), Some(figures[2])),
        None => println!("agentops made nothing of {}", root.display()),
    }
}

fn peer(variable: &str, name: &str, root: &Path, prepare: impl Fn(&Path, &Path, &Path) -> Command) {
    let Some(program) = std::env::var_os(variable) else {
        return println!("{name:<28} absent: {variable} names no program");
    };
    let scratch = tempfile::tempdir().expect("a folder for what is made");
    let mut command = prepare(Path::new(&program), root, scratch.path());
    let start = Instant::now();
    match command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status() {
        Ok(status) if status.success() => row(name, root, start.elapsed().as_secs_f64(), None, None),
        Ok(status) => println!("{name:<28} failed: {status}"),
        Err(error) => println!("{name:<28} absent: {error}"),
    }
}

fn row(name: &str, root: &Path, seconds: f64, cpu: Option<f64>, peak: Option<f64>) {
    let mb = text_bytes(root) as f64 / MB;
    let folder = root.file_name().unwrap_or_default().to_string_lossy();
    let or_unknown = |figure: Option<f64>| figure.map_or("unknown".to_owned(), |figure| format!("{figure:.2}"));
    let name = format!("{name} {folder}");
    println!("{name:<28} {mb:>8.1} {seconds:>8.2} {:>8.1} {:>8} {:>9}", mb / seconds, or_unknown(cpu), or_unknown(peak));
}

fn command(program: &Path) -> Command {
    #[expect(clippy::disallowed_methods, reason = "a benchmark starts itself and the peers that it is asked to")]
    Command::new(program)
}

/// A repository of so many lines, of this project's sources under other names.
fn synthetic(root: &Path, lines: usize) {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut sources = Vec::new();
    each_file(&crates, &mut |path| {
        if path.extension().is_some_and(|ending| ending == "rs") {
            sources.extend(fs::read_to_string(path));
        }
    });
    sources.sort();
    let mut written = 0;
    for (at, source) in sources.iter().cycle().enumerate() {
        if written >= lines {
            break;
        }
        let folder = root.join(format!("crate_{}/src", at / 50));
        fs::create_dir_all(&folder).expect("a folder is made");
        fs::write(folder.join(format!("module_{at}.rs")), source).expect("a file is written");
        written += source.lines().count();
    }
}

/// The bytes of the files that a person would call the repository: not what git keeps.
fn text_bytes(root: &Path) -> u64 {
    let mut bytes = 0;
    each_file(root, &mut |path| {
        let text = fs::read(path).unwrap_or_default();
        if !text[..text.len().min(8000)].contains(&0) {
            bytes += text.len() as u64;
        }
    });
    bytes
}

fn each_file(folder: &Path, each: &mut impl FnMut(&Path)) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let (Ok(kind), path) = (entry.file_type(), entry.path()) else { continue };
        if kind.is_dir() && !matches!(entry.file_name().to_str(), Some(".git" | "target" | "node_modules")) {
            each_file(&path, each);
        } else if kind.is_file() {
            each(&path);
        }
    }
}

fn copy_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder is made");
    for entry in fs::read_dir(from).into_iter().flatten().flatten() {
        let to = to.join(entry.file_name());
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => copy_all(&entry.path(), &to),
            Ok(kind) if kind.is_file() => {
                let _copied = fs::copy(entry.path(), to);
            }
            _ => {}
        }
    }
}

/// User and system time of this process so far; Linux counts in hundredths.
fn cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|ticks| ticks.parse::<f64>().ok()).unwrap_or_default();
    (ticks(11) + ticks(12)) / 100.0
}

/// The most memory that this process had.
fn peak_mib() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap_or_default() / 1024.0
}
