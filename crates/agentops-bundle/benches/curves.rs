//! Budget curves: `cargo bench -p agentops-bundle --bench curves`.
//!
//! For each kind of source 20 different ones are generated, and each is bundled with every budget. The table has the mean score
//! of a kind for each budget, in percent, and says of how many sources the curve is monotone: a larger budget never scores
//! less. Each fall is listed. The same curves are written as an SVG. The sources are the same in every run. It asserts nothing.
#![expect(clippy::print_stdout, reason = "what it is for")]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use agentops_bundle::Kind;
use agentops_bundle::mixed::{Part, Source};
use agentops_safe::Redactor;

const SOURCES: u64 = 20;
/// In tokens.
const BUDGETS: [u64; 14] = [50, 100, 150, 200, 300, 400, 600, 800, 1200, 1600, 2400, 3200, 4800, 6400];

/// A kind of source and how the bytes of one are generated. A folder's are made of files instead.
struct Generator {
    name: &'static str,
    kind: Kind,
    bytes: fn(&mut Random) -> String,
}

const GENERATORS: [Generator; 7] = [
    Generator { name: "code folder", kind: Kind::Folder, bytes: module },
    Generator { name: "transcript", kind: Kind::Transcript, bytes: transcript },
    Generator { name: "log", kind: Kind::Log, bytes: log },
    Generator { name: "conversation", kind: Kind::Conversation, bytes: conversation },
    Generator { name: "diff", kind: Kind::Diff, bytes: diff },
    Generator { name: "table", kind: Kind::Table, bytes: table },
    Generator { name: "JSON", kind: Kind::Json, bytes: json },
];

/// The mean scores of a kind, and where one of its sources scores less with a larger budget.
struct Curve {
    name: &'static str,
    /// By budget; `None` if no source can be bundled with it.
    means: Vec<Option<f64>>,
    monotone: u64,
    falls: Vec<Fall>,
}

struct Fall {
    source: u64,
    budgets: (u64, u64),
    scores: (f64, f64),
}

fn main() {
    // `cargo test --all-targets` starts benchmarks too, without this word; it wants to know that they build.
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    let curves: Vec<Curve> = GENERATORS.iter().map(curve).collect();
    print!("{:<14}", "budget");
    BUDGETS.iter().for_each(|budget| print!(" {budget:>6}"));
    println!("  monotone");
    for curve in &curves {
        print!("{:<14}", curve.name);
        for mean in &curve.means {
            let mean = mean.map_or("-".to_owned(), |mean| format!("{:.1}", mean * 100.0));
            print!(" {mean:>6}");
        }
        println!("  {} of {SOURCES}", curve.monotone);
    }
    for curve in &curves {
        for Fall { source, budgets, scores } in &curve.falls {
            let (less, more) = (scores.0 * 100.0, scores.1 * 100.0);
            println!("{} {source} falls from {less:.3} at {} tokens to {more:.3} at {}", curve.name, budgets.0, budgets.1);
        }
    }
    let is_monotone = curves.iter().all(|curve| curve.falls.is_empty());
    println!("{}", if is_monotone { "Every curve is monotone." } else { "Not every curve is monotone." });
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("budget-curves.svg");
    match fs::write(&path, svg(&curves)) {
        Ok(()) => println!("{}", path.display()),
        Err(error) => println!("{} cannot be written: {error}", path.display()),
    }
}

fn curve(generator: &Generator) -> Curve {
    let (mut sums, mut counts) = (vec![0.0; BUDGETS.len()], vec![0_u32; BUDGETS.len()]);
    let (mut monotone, mut falls) = (0, Vec::new());
    let redactor = Redactor::new([]);
    for number in 0..SOURCES {
        let mut random = Random(number * 7919 + 17);
        // It lives as long as its source.
        let folder = tempfile::tempdir().expect("a folder for what is made");
        let source = match generator.kind {
            Kind::Folder => {
                for file in 0..8 + random.below(12) {
                    let text = (generator.bytes)(&mut random);
                    fs::write(folder.path().join(format!("{}_{file}.py", random.word())), text).expect("a file is written");
                }
                Source::Folder(folder.path().to_owned())
            }
            kind => Source::Bytes(kind, (generator.bytes)(&mut random).into_bytes()),
        };
        let part = Part { name: String::new(), source };
        let task = format!("{} the {} when the {} is {}", random.word(), random.word(), random.word(), random.word());
        let mut before: Option<(u64, f64)> = None;
        let falls_before = falls.len();
        for (at, budget) in BUDGETS.into_iter().enumerate() {
            // A budget that does not hold what must be there has no score.
            let Ok(made) = part.compress(&task, budget, &redactor) else { continue };
            let Some(score) = made.fidelity().score() else { continue };
            (sums[at], counts[at]) = (sums[at] + score, counts[at] + 1);
            if let Some((smaller, less)) = before.filter(|(_, less)| *less > score) {
                falls.push(Fall { source: number, budgets: (smaller, budget), scores: (less, score) });
            }
            before = Some((budget, score));
        }
        monotone += u64::from(falls.len() == falls_before);
    }
    let means = sums.iter().zip(&counts).map(|(sum, count)| (*count > 0).then(|| sum / f64::from(*count))).collect();
    Curve { name: generator.name, means, monotone, falls }
}

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 420.0;
const MARGIN: f64 = 50.0;
const COLOURS: [&str; 7] = ["#1b6ca8", "#c0392b", "#27864a", "#8e44ad", "#b9770e", "#16818a", "#555555"];

/// The curves as a drawing: budgets to the right in a logarithmic scale, the score upwards.
fn svg(curves: &[Curve]) -> String {
    let (first, last) = ((BUDGETS[0] as f64).ln(), (BUDGETS[BUDGETS.len() - 1] as f64).ln());
    let x = |budget: u64| MARGIN + ((budget as f64).ln() - first) / (last - first) * (WIDTH - 3.5 * MARGIN);
    let y = |score: f64| HEIGHT - MARGIN - score * (HEIGHT - 2.0 * MARGIN);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n<text x=\"{MARGIN}\" y=\"24\">Score over budget in tokens, mean of \
         {SOURCES} sources of each kind</text>\n"
    );
    let mut line = |text: std::fmt::Arguments<'_>| {
        let _never_fails = svg.write_fmt(text);
        svg.push('\n');
    };
    for percent in (0..=100).step_by(20) {
        let (at, end) = (y(f64::from(percent) / 100.0), x(BUDGETS[BUDGETS.len() - 1]));
        line(format_args!("<path d=\"M{MARGIN} {at:.1}H{end:.1}\" stroke=\"#dddddd\"/>"));
        line(format_args!("<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{percent} %</text>", MARGIN - 6.0, at + 4.0));
    }
    for budget in BUDGETS.into_iter().step_by(2) {
        let (at, bottom) = (x(budget), HEIGHT - MARGIN + 18.0);
        line(format_args!("<text x=\"{at:.1}\" y=\"{bottom:.1}\" text-anchor=\"middle\">{budget}</text>"));
    }
    for (number, (curve, colour)) in curves.iter().zip(COLOURS).enumerate() {
        let points = BUDGETS.iter().zip(&curve.means);
        let points = points.filter_map(|(budget, mean)| Some(format!("{:.1},{:.1}", x(*budget), y((*mean)?))));
        let points = points.collect::<Vec<String>>().join(" ");
        line(format_args!("<polyline points=\"{points}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>"));
        let (left, top) = (WIDTH - 2.3 * MARGIN, MARGIN + 20.0 * number as f64);
        line(format_args!("<text x=\"{left:.1}\" y=\"{top:.1}\" fill=\"{colour}\">{}</text>", curve.name));
    }
    svg.push_str("</svg>\n");
    svg
}

/// A generator of numbers that is the same on every machine (xorshift).
struct Random(u64);

const WORDS: [&str; 40] = [
    "account", "archive", "balance", "basket", "branch", "bridge", "budget", "cache", "channel", "cursor", "delivery",
    "engine", "export", "filter", "folder", "garden", "header", "import", "index", "invoice", "ledger", "limit", "manifest",
    "market", "message", "office", "order", "packet", "parcel", "planner", "query", "record", "region", "report", "router",
    "schedule", "segment", "ticket", "update", "window",
];

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    fn word(&mut self) -> &'static str {
        WORDS[self.below(WORDS.len() as u64) as usize]
    }

    fn words(&mut self, count: u64) -> String {
        (0..count).map(|_| self.word()).collect::<Vec<_>>().join(" ")
    }
}

fn module(random: &mut Random) -> String {
    let mut text = format!("\"\"\"The {} of a {}.\"\"\"\n\nimport {}\n", random.word(), random.word(), random.word());
    for _ in 0..3 + random.below(8) {
        let (name, argument) = (random.word(), random.word());
        text +=
            &format!("\n\ndef {name}_{}({argument}):\n    \"\"\"Returns the {}.\"\"\"\n", random.word(), random.words(3));
        for _ in 0..2 + random.below(6) {
            text += &format!("    {} = {argument}.{}({})\n", random.word(), random.word(), random.below(900));
        }
        text += &format!("    return {argument}\n");
    }
    text
}

fn transcript(random: &mut Random) -> String {
    let message =
        |role: &str, content: serde_json::Value| format!("{}\n", serde_json::json!({"role": role, "content": content}));
    let task = format!("The {} must keep its {}. Do not change the {}.", random.word(), random.word(), random.word());
    let mut text = message("user", task.into());
    for step in 0..12 + random.below(20) {
        let file = format!("src/{}.py", random.word());
        let command = match step % 3 {
            0 => format!("cat {file}"),
            1 => format!("pytest tests/test_{}.py", random.word()),
            _ => format!("sed -i 's/{}/{}/' {file}", random.word(), random.word()),
        };
        let output = match step % 3 {
            0 => module(random),
            1 => format!(
                "FAILED tests/test_{0}.py::test_{0} - ValueError: {1} {2}\n{3} passed",
                random.word(),
                random.words(2),
                step,
                random.below(90)
            ),
            _ => String::new(),
        };
        let thought = format!("The {} is wrong because the {} is {}.", random.word(), random.word(), random.words(2));
        let call = serde_json::json!([{"type": "text", "text": thought},
            {"type": "tool_use", "id": format!("t{step}"), "name": "bash", "input": {"command": command}}]);
        text += &message("assistant", call);
        text += &message(
            "user",
            serde_json::json!([{"type": "tool_result", "tool_use_id": format!("t{step}"), "content": output}]),
        );
    }
    text
}

fn log(random: &mut Random) -> String {
    let kinds: Vec<String> = (0..6 + random.below(40)).map(|_| random.words(4)).collect();
    let mut text = String::new();
    for n in 0..400 + random.below(800) {
        let time = format!("2031-04-05 06:{:02}:{:02},{:03}", n / 60 % 60, n % 60, random.below(1000));
        let kind = &kinds[random.below(kinds.len() as u64) as usize];
        text += &match random.below(60) {
            0 => format!("{time} ERROR {}: {} is lost\n", random.word(), random.words(5)),
            1 => {
                let frames = 3 + random.below(9);
                let frames: String =
                    (0..frames).map(|at| format!("\tat shop.{}.run(Shop.java:{at})\n", random.word())).collect();
                format!("{time} ERROR java.lang.IllegalStateException: {}\n{frames}", random.words(3))
            }
            2 => format!("{time} WARN {} {}\n", random.words(80), n),
            _ => format!("{time} INFO {kind} in {} ms\n", random.below(900)),
        };
    }
    text
}

fn conversation(random: &mut Random) -> String {
    let names = ["Ana", "Ben", "Chi"];
    let mut text = String::new();
    for n in 0..60 + random.below(120) {
        let name = names[random.below(3) as usize];
        text += &match random.below(4) {
            0 => format!(
                "{name}: We move the {} to {} on {} May, it costs {} euros.\n",
                random.word(),
                random.word(),
                n % 30,
                n
            ),
            1 => format!("{name}: What about the {}?\n", random.words(3)),
            2 => format!("{name}: We decided to keep the {} because the {} fails.\n", random.words(2), random.word()),
            _ => format!("{name}: The {} is near the {}. I like it.\n", random.words(2), random.word()),
        };
    }
    text
}

fn diff(random: &mut Random) -> String {
    let mut text = String::new();
    for _ in 0..3 + random.below(10) {
        let path = format!("src/{}/{}.py", random.word(), random.word());
        text += &format!("diff --git a/{path} b/{path}\nindex 1111111..2222222 100644\n--- a/{path}\n+++ b/{path}\n");
        for hunk in 0..1 + random.below(4) {
            let (removed, added) = (random.below(4), 1 + random.below(9));
            let at = hunk * 50 + 1;
            text += &format!("@@ -{at},{} +{at},{} @@ def {}():\n", removed + 2, added + 2, random.word());
            text += &format!("     {} = {}\n", random.word(), random.below(90));
            (0..removed).for_each(|_| text += &format!("-    {} = {}\n", random.word(), random.words(2)));
            (0..added).for_each(|_| text += &format!("+    {} = {}({})\n", random.word(), random.word(), random.below(90)));
            text += &format!("     return {}\n", random.word());
        }
    }
    text
}

fn table(random: &mut Random) -> String {
    let mut text = "id,region,amount,state,note\n".to_owned();
    for id in 0..200 + random.below(600) {
        let state = if random.below(90) == 0 { "failed" } else { "done" };
        let note = if random.below(25) == 0 { format!("\"{}, {}\"", random.words(4), id) } else { String::new() };
        text += &format!(
            "{id},{},{},{state},{note}\n",
            ["north", "south", "west"][random.below(3) as usize],
            random.below(5000)
        );
    }
    text
}

fn json(random: &mut Random) -> String {
    let service = |random: &mut Random| {
        let limits: Vec<u64> = (0..random.below(30)).map(|_| random.below(9000)).collect();
        serde_json::json!({"name": random.words(2), "replicas": random.below(9), "limits": limits,
            "error": (random.below(20) == 0).then(|| random.words(3)),
            "options": {random.word(): random.words(5), random.word(): random.below(2) == 0}})
    };
    let services: Vec<serde_json::Value> = (0..10 + random.below(40)).map(|_| service(random)).collect();
    let document = serde_json::json!({"version": random.below(99), "region": random.word(), "services": services});
    serde_json::to_string_pretty(&document).unwrap_or_default()
}
