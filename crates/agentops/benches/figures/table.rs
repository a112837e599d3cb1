//! What was measured, and how it is shown.

use std::io::Write;
use std::time::{Duration, Instant};

/// Several measurements of one thing.
pub struct Samples(Vec<f64>);

impl Samples {
    /// Runs something several times, after once for the caches; milliseconds.
    pub fn time(count: usize, mut work: impl FnMut()) -> Self {
        work();
        Self::of(count, || {
            let start = Instant::now();
            work();
            ms(start.elapsed())
        })
    }

    /// Measures something several times.
    pub fn of(count: usize, mut measure: impl FnMut() -> f64) -> Self {
        Self::from((0..count).map(|_| measure()).collect::<Vec<f64>>())
    }

    /// The middle one.
    pub fn median(&self) -> f64 {
        self.0.get(self.0.len() / 2).copied().unwrap_or(f64::NAN)
    }

    /// The one that 95 of 100 do not exceed.
    pub fn p95(&self) -> f64 {
        self.0.get(self.0.len() * 95 / 100).copied().unwrap_or(f64::NAN)
    }

    fn spread(&self, unit: &str) -> String {
        match self.0.as_slice() {
            [first, .., last] => format!("{}–{} {unit}, n={}", figure(*first), figure(*last), self.0.len()),
            _ => "once".into(),
        }
    }
}

impl From<Vec<f64>> for Samples {
    fn from(mut samples: Vec<f64>) -> Self {
        samples.sort_by(f64::total_cmp);
        Self(samples)
    }
}

/// Milliseconds of a duration.
pub fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// A number with as many places as say something.
pub fn figure(value: f64) -> String {
    match value {
        v if v >= 1000.0 => format!("{v:.0}"),
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v if v >= 0.1 => format!("{v:.2}"),
        v => format!("{v:.3}"),
    }
}

/// What is promised.
pub enum Goal {
    /// At most this.
    Most(f64),
    /// At least this.
    Least(f64),
    /// Nothing: the figure explains another.
    None,
}

/// The table.
#[derive(Default)]
pub struct Table {
    rows: Vec<[String; 5]>,
}

impl Table {
    /// Adds a figure: its median against the goal, and what stands beside it.
    pub fn add(&mut self, name: &str, samples: &Samples, unit: &str, goal: &Goal, beside: &str) {
        let median = samples.median();
        let goal = match goal {
            Goal::Most(most) => format!("≤ {} {unit} {}", figure(*most), if median <= *most { "✓" } else { "✗" }),
            Goal::Least(least) => format!("≥ {} {unit} {}", figure(*least), if median >= *least { "✓" } else { "✗" }),
            Goal::None => String::new(),
        };
        self.rows.push([name.into(), format!("{} {unit}", figure(median)), samples.spread(unit), goal, beside.into()]);
    }

    /// Prints it on stdout.
    pub fn print(&self) {
        let head = ["figure", "median", "min–max", "goal", "beside it, same run"].map(str::to_owned);
        let rows: Vec<&[String; 5]> = std::iter::once(&head).chain(&self.rows).collect();
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths = [0, 1, 2, 3, 4].map(width);
        let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
        let mut out = std::io::stdout().lock();
        let _closed = writeln!(out, "\n{cores} cores, {}, release build\n", system());
        for row in rows {
            let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect::<Vec<_>>();
            let _closed = writeln!(out, "{}", cells.join("  ").trim_end());
        }
    }
}

fn system() -> String {
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = memory.lines().next().and_then(|line| line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok());
    format!("{} GiB, {} on {}", kib.unwrap_or(0) / (1024 * 1024), std::env::consts::OS, std::env::consts::ARCH)
}

/// Tells on stderr what is going on; the table alone goes to stdout.
pub fn say(words: &str) {
    let _closed = writeln!(std::io::stderr(), "{words}");
}
