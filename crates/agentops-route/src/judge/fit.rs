//! Fits the weights of `size.rs` and scores them on repositories that the fit never saw. No part of the program.
//!
//! ```text
//! benches/size_data.py GITDIR... > commits.jsonl
//! AGENTOPS_SIZE_COMMITS=commits.jsonl cargo test --release -p agentops-route judge::fit -- --ignored --nocapture
//! ```

use serde::Deserialize;

use super::reading;
use super::size::{BIAS, FEATURES, Values, small, values};

/// Never fitted on; the others are.
const HELD_BACK: [&str; 7] = [
    "caddyserver+caddy",
    "dbt-labs+dbt-core",
    "encode+httpx",
    "getsentry+responses",
    "psf+requests",
    "sveltejs+svelte",
    "vitejs+vite",
];

#[derive(Deserialize)]
struct Commit {
    repository: String,
    text: String,
    files: usize,
    lines: usize,
    small: bool,
}

struct Row {
    values: Values,
    small: bool,
    /// At least four files or a hundred lines: nobody would call it small.
    large: bool,
}

fn row(commit: &Commit) -> Row {
    let text = reading::bounded(&commit.text);
    let lower = text.to_ascii_lowercase();
    let (words, shape) = reading::read(&text, &lower);
    Row { values: values(&words, &shape), small: commit.small, large: commit.files >= 4 || commit.lines >= 100 }
}

/// Logistic regression with a squared penalty, by Newton's method. Weights set by hand stay as they are.
fn fit(rows: &[Row]) -> (f64, [f64; FEATURES.len()]) {
    const N: usize = FEATURES.len() + 1;
    const PENALTY: f64 = 10.0;
    let mut weights = [0.0; N];
    for (weight, feature) in weights.iter_mut().zip(&FEATURES) {
        *weight = if feature.by_hand { feature.weight } else { 0.0 };
    }
    let fixed = |n: usize| FEATURES.get(n).is_some_and(|feature| feature.by_hand);
    for _ in 0..12 {
        let mut gradient = [0.0; N];
        let mut hessian = [[0.0; N]; N];
        for row in rows {
            let mut x = [1.0; N];
            x[..FEATURES.len()].copy_from_slice(&row.values);
            let sum: f64 = x.iter().zip(&weights).map(|(x, w)| x * w).sum();
            let p = 1.0 / (1.0 + (-sum).exp());
            let error = f64::from(u8::from(row.small)) - p;
            for i in (0..N).filter(|i| x[*i] != 0.0) {
                gradient[i] += error * x[i];
                for j in 0..N {
                    hessian[i][j] += p * (1.0 - p) * x[i] * x[j];
                }
            }
        }
        for i in 0..N {
            if fixed(i) {
                hessian[i] = [0.0; N];
                gradient[i] = 0.0;
                hessian[i][i] = 1.0;
            } else if i < FEATURES.len() {
                gradient[i] -= PENALTY * weights[i];
                hessian[i][i] += PENALTY;
            }
        }
        let step = solve(hessian, gradient);
        for (weight, step) in weights.iter_mut().zip(step) {
            *weight += step;
        }
    }
    (weights[N - 1], std::array::from_fn(|n| weights[n]))
}

/// Gauss's elimination with the largest pivot.
fn solve<const N: usize>(mut a: [[f64; N]; N], mut b: [f64; N]) -> [f64; N] {
    for i in 0..N {
        let pivot = (i..N).max_by(|x, y| a[*x][i].abs().total_cmp(&a[*y][i].abs())).unwrap();
        a.swap(i, pivot);
        b.swap(i, pivot);
        for row in i + 1..N {
            let factor = a[row][i] / a[i][i];
            let above = a[i];
            for (value, above) in a[row].iter_mut().zip(above) {
                *value -= factor * above;
            }
            b[row] -= factor * b[i];
        }
    }
    for i in (0..N).rev() {
        let known: f64 = (i + 1..N).map(|column| a[i][column] * b[column]).sum();
        b[i] = (b[i] - known) / a[i][i];
    }
    b
}

/// Wilson's interval of 95 % for a share.
fn wilson(good: usize, all: usize) -> String {
    let (n, p, z) = (all as f64, good as f64 / all as f64, 1.96_f64);
    let middle = (p + z * z / (2.0 * n)) / (1.0 + z * z / n);
    let half = z / (1.0 + z * z / n) * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
    format!("{:.3} [{:.3}, {:.3}]", p, middle - half, middle + half)
}

/// The chance that a small row scores above another one; ties count half.
fn auroc<'a>(rows: impl Iterator<Item = &'a Row>) -> f64 {
    let mut scored: Vec<(f64, bool)> = rows.map(|row| (small(&row.values), row.small)).collect();
    scored.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut below, mut wins, mut positives, mut at) = (0.0, 0.0, 0.0, 0);
    while at < scored.len() {
        let ties = scored[at..].iter().take_while(|s| s.0 == scored[at].0);
        let (yes, no) = ties.fold((0.0, 0.0), |(y, n), s| if s.1 { (y + 1.0, n) } else { (y, n + 1.0) });
        wins += yes * (below + no / 2.0);
        below += no;
        positives += yes;
        at += (yes + no) as usize;
    }
    wins / (positives * below)
}

fn report(name: &str, rows: &[Row]) {
    let yes = rows.iter().filter(|row| row.small).count();
    let right = rows.iter().filter(|row| (small(&row.values) >= 0.5) == row.small).count();
    println!(
        "| {name} | {} | {} | {} | {:.3} | {:.3} |",
        rows.len(),
        wilson(yes.max(rows.len() - yes), rows.len()),
        wilson(right, rows.len()),
        auroc(rows.iter()),
        auroc(rows.iter().filter(|row| row.small || row.large)),
    );
}

#[test]
#[ignore = "needs commits of public repositories, which are not in this one"]
fn size() {
    let path = std::env::var("AGENTOPS_SIZE_COMMITS").expect("AGENTOPS_SIZE_COMMITS names the file of size_data.py");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let commits: Vec<Commit> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (held_back, fitted): (Vec<_>, Vec<_>) =
        commits.iter().partition(|commit| HELD_BACK.contains(&commit.repository.as_str()));
    let fitted: Vec<Row> = fitted.into_iter().map(row).collect();
    let (bias, weights) = fit(&fitted);
    println!("BIAS {bias:.2}");
    for (feature, weight) in FEATURES.iter().zip(weights) {
        let having =
            fitted.iter().filter(|row| row.values[FEATURES.iter().position(|f| f.name == feature.name).unwrap()] != 0.0);
        println!("{:>7.2} (now {:.2}), in {:>5} rows: {}", weight, feature.weight, having.count(), feature.name);
    }
    println!("\nscored with the weights as they stand (bias {BIAS}):\n");
    println!(
        "| rows | commits | more common answer | accuracy | AUROC | AUROC, small against large |\n|---|---|---|---|---|---|"
    );
    report("fitted", &fitted);
    for name in HELD_BACK {
        let rows: Vec<Row> = held_back.iter().filter(|c| c.repository == name).map(|c| row(c)).collect();
        report(name, &rows);
    }
    let rows: Vec<Row> = held_back.into_iter().map(row).collect();
    report("all held back", &rows);
    println!("\n| P(small) | commits | small |\n|---|---|---|");
    let mut error = 0.0;
    for bin in 0..10 {
        let within = |row: &&Row| (small(&row.values) * 10.0) as usize == bin;
        let rows_in: Vec<&Row> = rows.iter().filter(within).collect();
        if rows_in.is_empty() {
            continue;
        }
        let mean: f64 = rows_in.iter().map(|row| small(&row.values)).sum::<f64>() / rows_in.len() as f64;
        let yes = rows_in.iter().filter(|row| row.small).count();
        error += (mean - yes as f64 / rows_in.len() as f64).abs() * rows_in.len() as f64 / rows.len() as f64;
        println!("| {mean:.2} | {} | {} |", rows_in.len(), wilson(yes, rows_in.len()));
    }
    println!("\nexpected calibration error {error:.3}");
}

#[test]
#[ignore = "prints; time decides no test"]
fn speed() {
    let megabyte = "the list of things is long, and it goes on here. ".repeat(20_000);
    let texts = [
        ("a short task", "Fix the typo in the README".to_owned()),
        ("a sentence", "Customers are charged twice when they double click on the checkout page, please fix it".to_owned()),
        ("a paragraph of 100 words", megabyte[..500].to_owned()),
        ("a megabyte", megabyte),
        ("the worst that was thought of", "to drop the table if not ".repeat(40_000)),
    ];
    println!("| text | bytes | µs, median | µs, 99 of 100 |\n|---|---|---|---|");
    for (name, text) in texts {
        let mut times: Vec<f64> = (0..2_000)
            .map(|_| {
                let began = std::time::Instant::now();
                std::hint::black_box(super::judge(std::hint::black_box(&text)));
                began.elapsed().as_secs_f64() * 1e6
            })
            .collect();
        times.sort_by(f64::total_cmp);
        println!("| {name} | {} | {:.1} | {:.1} |", text.len(), times[1_000], times[1_980]);
    }
}
