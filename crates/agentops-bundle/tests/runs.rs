//! Real runs of an agent: what survives, and whether our own report of it is honest.
//!
//! The runs are the development half of a public set, with the patch that each run ended in; compressors never see the patch. They
//! lie beside the checkout (`../shared/bundles`) and are no part of it: without them this test says so and passes. Every eighth
//! run is looked at, all of them with `AGENTOPS_SLOW=1`.

use std::collections::HashSet;
use std::io::Read;
use std::path::Path;

use agentops_bundle::transcript;
use agentops_text::tokens::text_tokens;
use regex::Regex;
use serde_json::{Value, json};

struct Message {
    role: String,
    text: String,
}

/// What must be found again, by class, as the patch and the run say it; the second class are the lines of the patch.
fn wanted(messages: &[Message], patch: &str) -> Vec<Vec<String>> {
    let re = |pattern: &str| Regex::new(pattern).expect("a pattern");
    let full = flat(&messages.iter().map(|message| message.text.as_str()).collect::<Vec<_>>().join("\n"));
    let letters = |line: &str| line.chars().filter(|c| c.is_alphanumeric() || *c == '_').count();
    let files: Vec<String> = patch.lines().filter_map(|line| Some(line.strip_prefix("+++ b/")?.to_owned())).collect();
    let files = files.into_iter().filter(|file| full.contains(file.as_str())).collect();

    let added =
        || patch.lines().filter(|line| line.starts_with('+') && !line.starts_with("+++")).map(|line| flat(&line[1..]));
    let mut lines: Vec<String> = added().filter(|line| letters(line) >= 8 && full.contains(line.as_str())).collect();
    lines.sort();
    lines.dedup();
    lines.truncate(60);

    let outputs = || messages.iter().skip(2).filter(|message| message.role == "user");
    let named = re(r"(?m)^(?:E\s+)?((?:\w+\.)*\w*(?:Error|Exception|Warning)\b: ?.{0,120})");
    let errors = outputs().flat_map(|message| {
        named.captures_iter(&message.text).map(|found| begin(&flat(&found[1]), 100)).collect::<Vec<_>>()
    });
    let errors = last(errors.collect(), 12);
    let (failed, test) = (re(r"FAILED|ERROR|^FAIL"), re(r"\b([\w/.-]+\.py::[\w:\[\].-]+|test_\w{4,})\b"));
    let tests = outputs().flat_map(|message| message.text.lines()).filter(|line| failed.is_match(line));
    let tests = tests.flat_map(|line| test.find_iter(line).map(|found| found.as_str().to_owned()));
    let tests = last(tests.collect(), 20);

    let said = || messages.iter().filter(|message| message.role == "assistant");
    let command = re(r"(?s)```(?:bash|sh)\n(.*?)\n```");
    let runs = re(r"\b(pytest|python|tox|runtests|make|cargo|npm)\b");
    let commands = said().filter_map(|message| Some(command.captures(&message.text)?[1].trim().lines().next()?.to_owned()));
    let commands = commands.filter(|line| runs.is_match(line) && !line.contains("<<")).map(|line| begin(&flat(&line), 160));
    let commands = last(commands.collect(), 8);

    let ends = re(r"[.!?]\s");
    let late = messages[messages.len().saturating_sub(12)..].iter().filter(|message| message.role == "assistant");
    let thoughts = late.filter_map(|message| {
        let prose = message.text.split("```").next()?.trim();
        let prose = prose.strip_prefix("THOUGHT:").unwrap_or(prose).trim();
        let sentence = &prose[..ends.find(prose).map_or(prose.len(), |found| found.start() + 1)];
        (sentence.chars().count() > 30).then(|| begin(&flat(sentence), 120))
    });
    let thoughts: Vec<String> = thoughts.collect();
    let thoughts = thoughts[thoughts.len().saturating_sub(4)..].to_vec();

    let task = messages.get(1).map_or("", |message| message.text.as_str());
    let task = task
        .split_once("<pr_description>")
        .and_then(|(_, rest)| rest.split_once("</pr_description>"))
        .map_or(task, |(task, _)| task);
    let task = re(r"(?s)<!--.*?-->").replace_all(task, "").replace("Consider the following PR description:", "");
    let asked =
        task.lines().filter(|line| line.trim().chars().count() > 20).take(6).map(|line| begin(&flat(line), 100)).collect();

    [files, lines, errors, tests, commands, thoughts, asked]
        .into_iter()
        .filter(|class: &Vec<String>| !class.is_empty())
        .collect()
}

fn flat(text: &str) -> String {
    agentops_bundle::fidelity::flat(text)
}

fn begin(text: &str, chars: usize) -> String {
    text.chars().take(chars).collect::<String>().trim_end().to_owned()
}

/// The last of those that are not there twice.
fn last(found: Vec<String>, count: usize) -> Vec<String> {
    let mut seen = HashSet::new();
    let found: Vec<String> = found.into_iter().filter(|text| seen.insert(text.clone())).collect();
    found[found.len().saturating_sub(count)..].to_vec()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

#[test]
fn what_survives_of_real_runs_and_the_report_is_honest() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/bundles/transcripts_dev.jsonl.gz");
    let Ok(packed) = std::fs::read(&file) else {
        println!("skipped: {} is not there", file.display());
        return;
    };
    let mut text = String::new();
    flate2::read::GzDecoder::new(packed.as_slice()).read_to_string(&mut text).expect("gzip");
    let every = if std::env::var("AGENTOPS_SLOW").is_ok_and(|text| text == "1") { 1 } else { 8 };
    // By budget: the share of facts that survives, what our report says, the share of the patch's lines.
    let mut figures = [(5, vec![], vec![], vec![]), (10, vec![], vec![], vec![])];
    for line in text.lines().step_by(every) {
        let run: Value = serde_json::from_str(line).expect("JSON");
        let patch = run["submission"].as_str().unwrap_or_default();
        let content = |message: &Value| match &message["content"] {
            Value::String(text) => text.clone(),
            parts => parts.as_array().into_iter().flatten().filter_map(|part| part["text"].as_str()).collect(),
        };
        let message = |message: &Value| Message {
            role: message["role"].as_str().unwrap_or_default().to_owned(),
            text: content(message),
        };
        let mut messages: Vec<Message> = run["messages"].as_array().into_iter().flatten().map(message).collect();
        if messages.last().is_some_and(|last| !patch.is_empty() && last.text.trim() == patch.trim()) {
            messages.pop();
        }
        let total: u64 = messages.iter().map(|message| text_tokens(&message.text) + 6).sum();
        let lines = messages.iter().enumerate();
        let lines = lines
            .map(|(index, message)| format!("{}\n", json!({"role": message.role, "text": message.text, "index": index})));
        let source: String = lines.collect();
        let wanted = wanted(&messages, patch);
        for (share, survived, reported, patched) in &mut figures {
            let made = transcript::compress(source.as_bytes(), total / *share).expect("a transcript");
            assert!(made.after <= total / *share);
            let result = flat(&made.text);
            let kept = |class: &Vec<String>| {
                mean(&class.iter().map(|text| f64::from(u8::from(result.contains(text)))).collect::<Vec<_>>())
            };
            survived.push(mean(&wanted.iter().filter(|class| !class.is_empty()).map(kept).collect::<Vec<_>>()));
            reported.push(made.fidelity().score().unwrap_or(1.0));
            if let Some(lines) = wanted.get(1).filter(|lines| !lines.is_empty()) {
                patched.push(kept(lines));
            }
        }
    }
    for (share, survived, reported, patched) in &figures {
        let (survived, reported, patched) = (mean(survived), mean(reported), mean(patched));
        println!("1/{share}: survived {survived:.3}, reported {reported:.3}, lines of the patch {patched:.3}");
        let (least, least_patched) = if *share == 5 { (0.97, 0.94) } else { (0.93, 0.86) };
        assert!(survived >= least && patched >= least_patched, "1/{share}: {survived:.3} {patched:.3}");
        assert!((survived - reported).abs() < 0.05, "1/{share}: survived {survived:.3}, reported {reported:.3}");
    }
}
