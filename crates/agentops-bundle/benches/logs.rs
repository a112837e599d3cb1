//! Logs made small: `cargo bench -p agentops-bundle --bench logs`.
//!
//! A log is repeated with other numbers until it has 1, 10 and 100 MB, and each is compressed to 4,000 tokens. Every log
//! costs some 50 ms at first, for counting a sample and the text that is made; each further megabyte costs the same. The
//! table of the tokenizer is loaded beforehand. CPU is that of this process: it does not
//! change much when the machine has other work. It prints and asserts nothing.
//!
//! | variable | |
//! |---|---|
//! | `AGENTOPS_BENCH_LOG` | the log that is repeated, else a service's log of our own |
//! | `AGENTOPS_BENCH_DRAIN3` | a Python interpreter that has Drain3, to read the log of 1 MB in the same run |
#![expect(clippy::print_stdout, reason = "what it is for")]

use std::fs;
use std::io::Write as _;
use std::time::{Duration, Instant};

const MB: usize = 1_000_000;
const BUDGET: u64 = 4000;

/// What a peer runs: lines on stdin, seconds and templates on stdout.
const DRAIN3: &str = "
import sys, time
from drain3 import TemplateMiner
lines = sys.stdin.read().split('\\n')
miner = TemplateMiner()
start = time.time()
for line in lines:
    miner.add_log_message(line)
print(time.time() - start, len(miner.drain.clusters))
";

fn main() {
    // `cargo test --all-targets` starts benchmarks too, without this word; it wants to know that they build.
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    let seed = std::env::var("AGENTOPS_BENCH_LOG").ok().and_then(|path| fs::read(path).ok()).unwrap_or_else(own_log);
    println!("{:<12} {:>8} {:>9} {:>9} {:>10} {:>8}", "", "MB", "seconds", "MB/s", "CPU s", "tokens");
    for size in [MB, 10 * MB, 100 * MB] {
        let log = repeated(&seed, size);
        let mut best: Option<(Duration, f64, u64)> = None;
        for _ in 0..3 {
            let (start, cpu) = (Instant::now(), cpu_seconds());
            let made = agentops_bundle::log::compress(&log, BUDGET).map_or(0, |made| made.after);
            let taken = (start.elapsed(), cpu_seconds() - cpu, made);
            best = best.filter(|(least, ..)| *least <= taken.0).or(Some(taken));
        }
        if let Some((time, cpu, tokens)) = best {
            row("agentops", log.len(), time.as_secs_f64(), Some(cpu), tokens);
        }
    }
    if let Ok(python) = std::env::var("AGENTOPS_BENCH_DRAIN3") {
        let log = repeated(&seed, MB);
        match drain3(&python, &log) {
            Some((seconds, templates)) => {
                row("Drain3", log.len(), seconds, None, 0);
                println!("{templates} templates; it makes no text");
            }
            None => println!("{python} did not run Drain3"),
        }
    }
}

fn row(name: &str, bytes: usize, seconds: f64, cpu: Option<f64>, tokens: u64) {
    let mb = bytes as f64 / MB as f64;
    let cpu = cpu.map_or("unknown".to_owned(), |cpu| format!("{cpu:.3}"));
    println!("{name:<12} {mb:>8.1} {seconds:>9.3} {:>9.1} {cpu:>10} {tokens:>8}", mb / seconds);
}

/// User and system time of this process so far; Linux counts in hundredths.
fn cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|ticks| ticks.parse::<f64>().ok()).unwrap_or_default();
    (ticks(11) + ticks(12)) / 100.0
}

/// The log again and again, with the last digit of each number moved on, up to a size.
fn repeated(seed: &[u8], size: usize) -> Vec<u8> {
    let mut log = Vec::with_capacity(size + seed.len());
    let mut round = 0;
    while log.len() < size {
        let start = log.len();
        log.extend_from_slice(seed);
        for at in start..log.len() {
            let ends_number = log[at].is_ascii_digit() && !log.get(at + 1).is_some_and(u8::is_ascii_digit);
            if ends_number {
                log[at] = b'0' + (log[at] - b'0' + (round % 10) as u8) % 10;
            }
        }
        round += 1;
    }
    log.truncate(size);
    log
}

fn own_log() -> Vec<u8> {
    let mut log = String::new();
    for n in 0..5000_u32 {
        let line = match n % 7 {
            0 => format!("INFO  [main] shop.http.Access: GET /items/{n} 200 {} ms from 10.0.{}.{}", n % 97, n % 7, n % 251),
            1 => format!("DEBUG [pool-{}] shop.db.Pool: connection {} handed out, {} idle", n % 8, n * 31, n % 16),
            2 => format!("INFO  [jobs] shop.jobs.Queue: job {:08x} done in {} ms", n.wrapping_mul(2_654_435_761), n % 900),
            3 => format!("INFO  [main] shop.http.Access: POST /orders 201 {} ms from 10.0.{}.{}", n % 89, n % 5, n % 241),
            4 => format!("DEBUG [cache] shop.cache.Lru: evicted {} entries, {} kB free", n % 40, n * 3),
            5 if n % 35 == 5 => format!("WARN  [disk] shop.store.Disk: volume data{} has {} % left", n % 4, n % 9),
            5 => format!("INFO  [cron] shop.cron.Tick: tick {n}"),
            _ if n % 700 == 6 => format!(
                "ERROR [db] shop.db.Pool: query {n} failed\njava.sql.SQLException: timeout after {n} ms\n\tat shop.db.Pool.run(Pool.java:88)\n\tat shop.Api.post(Api.java:12)"
            ),
            _ => format!("INFO  [auth] shop.auth.Tokens: token for user {} renewed", n * 17 % 1009),
        };
        log.push_str(&format!("2031-04-05 06:{:02}:{:02},{:03} {line}\n", n / 60 % 60, n % 60, n % 1000));
    }
    log.into_bytes()
}

fn drain3(python: &str, log: &[u8]) -> Option<(f64, u64)> {
    #[expect(clippy::disallowed_methods, reason = "a benchmark starts the peer that it is asked to")]
    let mut child = std::process::Command::new(python)
        .args(["-c", DRAIN3])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .ok()?;
    child.stdin.take()?.write_all(log).ok()?;
    let output = child.wait_with_output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (seconds, templates) = text.trim().split_once(' ')?;
    Some((seconds.parse().ok()?, templates.parse().ok()?))
}
