//! Routing on public sets, beside peers: `cargo bench -p agentops-route --bench figures`.
//!
//! Learns each set's training rows, answers its validation rows, and prints what came of it as a Markdown table: accuracy with
//! its 95 % interval, calibration, what could be routed without asking, what out of scope was seen. What is sure is measured
//! by cross-validation on training rows alone, so validation rows decide nothing. Peers answer the same rows in the same run.
//! Everything is repeatable but times, which depend on the machine. It prints and asserts nothing.
//!
//! | variable | |
//! |---|---|
//! | `AGENTOPS_ROUTING_DATA` | the folder with the sets, else `../shared/routing` beside the project |
//! | `AGENTOPS_BENCH_PEERS` | a Python interpreter that has scikit-learn and semantic-router; see peers.py |
//! | `AGENTOPS_BENCH_SETS` | names of sets, separated by commas, else all |
#![expect(clippy::print_stdout, reason = "what it is for")]

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use agentops_route::catalogue::Entry;
use agentops_route::corpus::{self, Question};
use agentops_route::eval::{self, wilson};
use agentops_route::router::{Decision, Example, OUTSIDE, Router};
use serde_json::Value;

/// Name, folder, and file of the rows that are learnt.
const SETS: &[(&str, &str, &str)] = &[
    ("clinc150", "clinc150", "train"),
    ("banking77", "banking77", "train"),
    ("hwu64", "hwu64", "train"),
    ("clinc150_10shot", "clinc150", "train_10shot"),
    ("banking77_10shot", "banking77", "train_10shot"),
    ("hwu64_10shot", "hwu64", "train_10shot"),
    ("banking77_oos", "banking77_oos", "train"),
    ("k8s_sig", "k8s_sig", "train"),
    ("toole", "toole", "train"),
];
/// Of requests of all sorts so many are out of scope in the test split of CLINC150: 1,000 to 4,500.
const OUTSIDE_SHARE: f64 = 1000.0 / 5500.0;

/// An answer to a row.
struct Row {
    text: String,
    label: String,
    same_as: Vec<String>,
    ranked: Vec<String>,
    label_given: String,
    confidence: f64,
    in_scope: f64,
    is_auto: bool,
    latency_us: f64,
}

impl Row {
    fn is_hit(&self, label: Option<&String>) -> bool {
        label.is_some_and(|label| *label == self.label || self.same_as.contains(label))
    }

    fn is_inside(&self) -> bool {
        self.label != OUTSIDE
    }
}

fn main() {
    // `cargo test --all-targets` starts benchmarks too, without this word; it wants to know that they build.
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let data = std::env::var_os("AGENTOPS_ROUTING_DATA").map_or_else(|| root.join("../shared/routing"), PathBuf::from);
    if !data.join("clinc150/train.jsonl").exists() {
        println!("no sets: AGENTOPS_ROUTING_DATA names no folder with clinc150/train.jsonl; nothing was measured");
        return;
    }
    let only = std::env::var("AGENTOPS_BENCH_SETS").ok();
    let wanted = |name: &str| only.as_ref().is_none_or(|only| only.split(',').any(|set| set == name));
    let peers = peers(&data, &wanted);
    println!(
        "| set | router | rows | right % [95 %] | ECE | auto % at precision % | AUROC | F1 | learnt in s | µs p50 / p99 |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for (name, folder, train) in SETS.iter().filter(|(name, ..)| wanted(name)) {
        let folder = data.join(folder);
        let (rows, took) = ours(&folder, train);
        line(name, "ours", &rows, Some(took));
        for (peer, out) in &peers {
            peer_line(name, peer, out, &rows);
        }
    }
    if wanted("agents") {
        agents(&data.join("agents"), &peers);
    }
    if wanted("few") {
        few(&data);
    }
    if wanted("online") {
        online(&data.join("clinc150"));
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn examples(path: &Path) -> Vec<Example> {
    corpus::examples(&read(path)).expect("the set's rows are labelled requests")
}

fn ours(folder: &Path, train: &str) -> (Vec<Row>, Duration) {
    let mut learnt = examples(&folder.join(format!("{train}.jsonl")));
    let mut catalogue = read(&folder.join("catalogue.jsonl"));
    if catalogue.is_empty() {
        let mut labels: Vec<&str> = learnt.iter().map(|example| example.label.as_str()).collect();
        labels.sort_unstable();
        labels.dedup();
        for label in labels {
            catalogue += &format!("{}\n", serde_json::json!({"label": label, "description": label.replace('_', " ")}));
        }
    }
    let entries = corpus::entries(&catalogue).expect("the set's catalogue");
    learnt.extend(examples(&folder.join("train_oos.jsonl")));
    let began = Instant::now();
    let mut router = Router::new(&entries);
    router.fit(&learnt, &[]);
    let took = began.elapsed();
    (answers(&router, &rows_of(folder, &["valid.jsonl", "valid_oos.jsonl"])), took)
}

fn rows_of(folder: &Path, files: &[&str]) -> Vec<Value> {
    let text: String = files.iter().map(|file| read(&folder.join(file))).collect();
    text.lines().map(|line| serde_json::from_str(line).expect("a row")).collect()
}

fn answers(router: &Router, rows: &[Value]) -> Vec<Row> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let answer = |row: &Value| {
        let question = Question { id: Value::Null, text: text(&row["text"]) };
        let mut asked = Instant::now();
        let predicted = corpus::predict(router, &question, || {
            let took = asked.elapsed().as_secs_f64() * 1e6;
            asked = Instant::now();
            took
        });
        Row {
            text: question.text,
            label: text(&row["label"]),
            same_as: row["same_as"].as_array().map(|same| same.iter().map(text).collect()).unwrap_or_default(),
            ranked: predicted.ranked,
            label_given: predicted.label,
            confidence: f64::from(predicted.confidence),
            in_scope: f64::from(predicted.in_scope),
            is_auto: predicted.decision == Decision::Auto,
            latency_us: predicted.latency_us,
        }
    };
    rows.iter().map(answer).collect()
}

/// Starts the peers and gives for each the folder with its answers.
fn peers(data: &Path, wanted: &impl Fn(&str) -> bool) -> Vec<(String, PathBuf)> {
    let Some(python) = std::env::var_os("AGENTOPS_BENCH_PEERS") else {
        println!("no peers: AGENTOPS_BENCH_PEERS names no Python interpreter that has them\n");
        return Vec::new();
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers.py");
    let out = std::env::temp_dir().join(format!("agentops-route-peers-{}", std::process::id()));
    // A linear model takes minutes for `toole`.
    let mut folders: Vec<&str> = SETS.iter().filter(|(name, ..)| wanted(name)).map(|(_, folder, _)| *folder).collect();
    folders.retain(|folder| *folder != "toole");
    folders.dedup();
    if wanted("agents") {
        folders.push("agents");
    }
    folders.sort_unstable();
    folders.dedup();
    #[expect(clippy::disallowed_methods, reason = "a peer is started, not a part of the program")]
    let done = std::process::Command::new(python)
        .arg(script)
        .arg("--out")
        .arg(&out)
        .args(folders.iter().map(|folder| data.join(folder)))
        .status();
    println!("peers: {}\n", done.map_or_else(|e| e.to_string(), |status| status.to_string()));
    let mut peers: Vec<(String, PathBuf)> = std::fs::read_dir(&out)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some((entry.as_ref().ok()?.file_name().into_string().ok()?, entry.ok()?.path())))
        .collect();
    peers.sort();
    peers
}

fn peer_line(set: &str, peer: &str, out: &Path, ours: &[Row]) {
    let text = read(&out.join(format!("{set}.jsonl")));
    let predicted: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    if predicted.len() != ours.len() {
        return;
    }
    let times: HashMap<String, f64> = read(&out.join("times.jsonl"))
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|time| Some((time["set"].as_str()?.to_owned(), time["train_s"].as_f64()?)))
        .collect();
    let rows: Vec<Row> = predicted
        .iter()
        .zip(ours)
        .map(|(predicted, ours)| {
            let ranked: Vec<String> = predicted["ranked"]
                .as_array()
                .map(|ranked| ranked.iter().filter_map(Value::as_str).map(str::to_owned).collect())
                .unwrap_or_default();
            let confidence = predicted["confidence"].as_f64().unwrap_or(0.0);
            Row {
                text: ours.text.clone(),
                label: ours.label.clone(),
                same_as: ours.same_as.clone(),
                label_given: predicted["label"].as_str().unwrap_or(OUTSIDE).to_owned(),
                ranked,
                confidence,
                in_scope: confidence,
                is_auto: false,
                latency_us: predicted["latency_us"].as_f64().unwrap_or(0.0),
            }
        })
        .collect();
    line(set, peer, &rows, times.get(set).map(|time| Duration::from_secs_f64(*time)));
}

fn line(set: &str, router: &str, rows: &[Row], took: Option<Duration>) {
    let inside: Vec<&Row> = rows.iter().filter(|row| row.is_inside()).collect();
    let outside: Vec<&Row> = rows.iter().filter(|row| !row.is_inside()).collect();
    let right = inside.iter().filter(|row| row.is_hit(row.ranked.first())).count();
    let (low, high) = wilson(right, inside.len());
    let accuracy = 100.0 * right as f64 / inside.len() as f64;
    let ece = calibration_error(&inside);
    let (auto, auroc, f1) = if router == "ours" {
        let (share, precision) = routed(&inside, &outside);
        (format!("{share:.1} at {precision:.1}"), auroc(&inside, &outside), f1(&inside, &outside))
    } else {
        ("–".to_owned(), auroc(&inside, &outside), "–".to_owned())
    };
    let mut latency: Vec<f64> = rows.iter().map(|row| row.latency_us).collect();
    latency.sort_by(f64::total_cmp);
    let at = |share: f64| latency.get((latency.len() as f64 * share) as usize).copied().unwrap_or(0.0);
    let took = took.map_or("–".to_owned(), |took| format!("{:.1}", took.as_secs_f64()));
    println!(
        "| {set} | {router} | {} + {} | {accuracy:.1} [{:.1}, {:.1}] | {ece:.3} | {auto} | {auroc} | {f1} | {took} | {:.0} / {:.0} |",
        inside.len(),
        outside.len(),
        100.0 * low,
        100.0 * high,
        at(0.5),
        at(0.99)
    );
}

/// What each out-of-scope row counts so that there are as many as in the test split of CLINC150.
fn weight(inside: &[&Row], outside: &[&Row]) -> f64 {
    OUTSIDE_SHARE / (1.0 - OUTSIDE_SHARE) * inside.len() as f64 / outside.len().max(1) as f64
}

/// The share that is routed without asking, and how much of that goes right; out-of-scope rows count as wrong.
fn routed(inside: &[&Row], outside: &[&Row]) -> (f64, f64) {
    let weight = weight(inside, outside);
    let auto = inside.iter().filter(|row| row.is_auto).count() as f64;
    let right = inside.iter().filter(|row| row.is_auto && row.is_hit(row.ranked.first())).count() as f64;
    let strangers = outside.iter().filter(|row| row.is_auto).count() as f64 * weight;
    let all = inside.len() as f64 + outside.len() as f64 * weight;
    (100.0 * (auto + strangers) / all, 100.0 * right / (auto + strangers).max(1.0))
}

/// F1 of "nothing here fits".
fn f1(inside: &[&Row], outside: &[&Row]) -> String {
    if outside.is_empty() {
        return "–".to_owned();
    }
    let weight = weight(inside, outside);
    let seen = outside.iter().filter(|row| row.label_given == OUTSIDE).count() as f64 * weight;
    let false_alarms = inside.iter().filter(|row| row.label_given == OUTSIDE).count() as f64;
    format!("{:.3}", 2.0 * seen / (seen + false_alarms + outside.len() as f64 * weight))
}

/// How often a row in scope has a higher figure than one that is not, ties half.
fn auroc(inside: &[&Row], outside: &[&Row]) -> String {
    if outside.is_empty() {
        return "–".to_owned();
    }
    let above = |a: f64, b: f64| if a > b { 1.0 } else { f64::from(u8::from(a == b)) / 2.0 };
    let sum: f64 = inside.iter().map(|a| outside.iter().map(|b| above(a.in_scope, b.in_scope)).sum::<f64>()).sum();
    format!("{:.3}", sum / (inside.len() * outside.len()) as f64)
}

fn calibration_error(rows: &[&Row]) -> f64 {
    let rows: Vec<(f64, bool)> = rows.iter().map(|row| (row.confidence, row.is_hit(row.ranked.first()))).collect();
    eval::calibration_error(&rows)
}

/// Real agents with nothing but their files, asked the first example request of each.
fn agents(folder: &Path, peers: &[(String, PathBuf)]) {
    let entries = corpus::entries(&read(&folder.join("catalogue.jsonl"))).expect("the catalogue of agents");
    let began = Instant::now();
    let router = Router::new(&entries);
    let took = began.elapsed();
    let rows = answers(&router, &rows_of(folder, &["train.jsonl"]));
    println!("\n| {} real agents | top 1 / 3 / 5 % | µs p50 / p99 |\n|---|---|---|", entries.len());
    let show = |name: &str, rows: &[Row]| {
        let all: Vec<&Row> = rows.iter().collect();
        let top = |most: usize| top(&all, most);
        let mut latency: Vec<f64> = rows.iter().map(|row| row.latency_us).collect();
        latency.sort_by(f64::total_cmp);
        let at = |share: f64| latency[(latency.len() as f64 * share) as usize];
        println!("| {name} | {:.1} / {:.1} / {:.1} | {:.0} / {:.0} |", top(1), top(3), top(5), at(0.5), at(0.99));
    };
    show(&format!("ours, files read in {:.0} ms", took.as_secs_f64() * 1e3), &rows);
    for (peer, out) in peers {
        for kind in ["agents_descriptions", "agents_everything"] {
            let text = read(&out.join(format!("{kind}.jsonl")));
            let predicted: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
            if predicted.len() != rows.len() {
                continue;
            }
            let theirs: Vec<Row> = predicted
                .iter()
                .zip(&rows)
                .map(|(predicted, row)| Row {
                    text: String::new(),
                    label: row.label.clone(),
                    same_as: row.same_as.clone(),
                    ranked: serde_json::from_value(predicted["ranked"].clone()).unwrap_or_default(),
                    label_given: String::new(),
                    confidence: 0.0,
                    in_scope: 0.0,
                    is_auto: false,
                    latency_us: predicted["latency_us"].as_f64().unwrap_or(0.0),
                })
                .collect();
            show(&format!("{peer}, {}", kind.trim_start_matches("agents_")), &theirs);
        }
    }
    let strangers = answers(&router, &rows_of(&folder.join("../clinc150"), &["valid.jsonl"]));
    let abstained = |rows: &[Row]| {
        100.0 * rows.iter().filter(|row| row.label_given == OUTSIDE).count() as f64 / rows.len().max(1) as f64
    };
    println!(
        "\nabstained from {:.1} % of these requests and {:.1} % of {} to a voice assistant; none is routed by itself: {}",
        abstained(&rows),
        abstained(&strangers),
        strangers.len(),
        rows.iter().chain(&strangers).all(|row| !row.is_auto)
    );
}

/// A few labelled requests for each label, or for half of the labels, beside none at all: learning must not lower any of
/// these figures. Of the agents one half of the requests is learnt and the other asked, in three ways.
fn few(data: &Path) {
    println!("\n| set | learnt | labels that have some | top 1 % | top 3 % | ECE | without any: top 1 % | top 3 % | ECE |");
    println!("|---|---|---|---|---|---|---|---|---|");
    let folder = data.join("agents");
    let entries = corpus::entries(&read(&folder.join("catalogue.jsonl"))).expect("the catalogue of agents");
    let all = rows_of(&folder, &["train.jsonl"]);
    for seed in 0..3 {
        let (learnt, asked): (Vec<Value>, Vec<Value>) =
            all.iter().cloned().partition(|row| spread(row["label"].as_str().unwrap_or_default(), seed).is_multiple_of(2));
        let learnt: Vec<Example> =
            learnt.into_iter().map(|row| serde_json::from_value(row).expect("a labelled request")).collect();
        few_line("agents", &entries, &learnt, &asked);
    }
    for set in ["clinc150", "banking77", "hwu64", "k8s_sig", "toole"] {
        let folder = data.join(set);
        let entries = corpus::entries(&read(&folder.join("catalogue.jsonl"))).expect("the set's catalogue");
        let all = examples(&folder.join("train.jsonl"));
        let rows = rows_of(&folder, &["valid.jsonl"]);
        for half in [false, true] {
            for each in [1, 2, 5, 10] {
                few_line(set, &entries, &taken(&all, each, half), &rows);
            }
        }
    }
}

/// So many requests of each label, or of every other label; always the same ones.
fn taken(all: &[Example], each: usize, half: bool) -> Vec<Example> {
    let mut order: Vec<&Example> = all.iter().filter(|row| !half || spread(&row.label, 0).is_multiple_of(2)).collect();
    order.sort_by_key(|row| spread(&row.text, 1));
    let mut counts: HashMap<&str, usize> = HashMap::new();
    order.retain(|row| {
        let count = counts.entry(row.label.as_str()).or_default();
        *count += 1;
        *count <= each
    });
    order.into_iter().cloned().collect()
}

/// A number that looks random and is always the same for the same text: FNV-1a with the finaliser of SplitMix64.
fn spread(text: &str, seed: u64) -> u64 {
    let hash = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325 ^ seed, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    let mixed = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed ^ (mixed >> 27)
}

fn few_line(set: &str, entries: &[Entry], learnt: &[Example], rows: &[Value]) {
    let without = Router::new(entries);
    let mut with = Router::new(entries);
    with.fit(learnt, &[]);
    let mut labels: Vec<&str> = learnt.iter().map(|example| example.label.as_str()).collect();
    labels.sort_unstable();
    labels.dedup();
    let figures = |router: &Router| {
        let rows = answers(router, rows);
        let rows: Vec<&Row> = rows.iter().collect();
        format!("{:.1} | {:.1} | {:.3}", top(&rows, 1), top(&rows, 3), calibration_error(&rows))
    };
    let (after, before) = (figures(&with), figures(&without));
    println!("| {set} | {} | {} of {} | {after} | {before} |", learnt.len(), labels.len(), entries.len());
}

/// How many percent of the rows have a right label among the first ones.
fn top(rows: &[&Row], most: usize) -> f64 {
    let hits = rows.iter().filter(|row| row.ranked.iter().take(most).any(|label| row.is_hit(Some(label)))).count();
    100.0 * hits as f64 / rows.len().max(1) as f64
}

/// Five requests a label, then whatever comes, each routed first and then learnt.
fn online(folder: &Path) {
    let entries = corpus::entries(&read(&folder.join("catalogue.jsonl"))).expect("the catalogue of CLINC150");
    let begun = examples(&folder.join("train_5shot.jsonl"));
    let mut stream = examples(&folder.join("train.jsonl"));
    // The file is sorted by label. This is Fisher and Yates' shuffle with xorshift, always the same.
    let mut random = 88_172_645_463_325_252_u64;
    for at in (1..stream.len()).rev() {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        stream.swap(at, (random % (at as u64 + 1)) as usize);
    }
    let valid = rows_of(folder, &["valid.jsonl"]);
    let right = |router: &Router| {
        let rows = answers(router, &valid);
        100.0 * rows.iter().filter(|row| row.is_hit(row.ranked.first())).count() as f64 / rows.len() as f64
    };
    let mut router = Router::new(&entries);
    router.fit(&begun, &[]);
    println!(
        "\n| corrections | requests until then | right %, learnt as they came | built again from all | µs a step p50 / p99 |"
    );
    println!("|---|---|---|---|---|\n| 0 | 0 | {:.1} | | |", right(&router));
    let (mut at, mut corrections, mut steps) = (0, 0, Vec::new());
    for most in [400, 800] {
        while corrections < most && at < stream.len() {
            let example = &stream[at];
            let answer = router.route(&example.text);
            corrections += usize::from(answer.ranked.first().is_none_or(|(label, _)| router.label(*label) != example.label));
            let began = Instant::now();
            router.learn(&example.text, &example.label);
            steps.push(began.elapsed().as_secs_f64() * 1e6);
            at += 1;
        }
        let mut again = Router::new(&entries);
        again.fit(&[&begun, &stream[..at]].map(Vec::from).concat(), &[]);
        steps.sort_by(f64::total_cmp);
        println!(
            "| {corrections} | {at} | {:.1} | {:.1} | {:.0} / {:.0} |",
            right(&router),
            right(&again),
            steps[steps.len() / 2],
            steps[steps.len() * 99 / 100]
        );
    }
}
