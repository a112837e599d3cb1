//! What is shown within the budget, and how it reads.

use std::collections::BTreeMap;
use std::ops::Range;

use agentops_text::tokens;

use super::{Log, block, clean, line_at, words};

/// Traces and sections that are looked up.
const BLOCKS_MAX: usize = 400;
/// After so many in a row that do not fit, nothing will.
const MISSES_MAX: usize = 60;
/// Lines at the end that say how it went.
const END_LINES: usize = 2;
/// Bytes a token has in logs, to rank by; what is taken is counted.
const BYTES_A_TOKEN: f64 = 3.0;

/// One thing to show.
struct Item {
    /// Number of its line.
    line: u64,
    /// Its text, with what stands below it.
    text: String,
    /// Worth a token.
    rank: f64,
    /// Whether it is the first line of a group.
    is_group: bool,
}

/// The text for a budget of o200k tokens.
pub(super) fn text(log: &Log<'_>, budget: u64) -> String {
    let mut items = items(log);
    items.sort_by(|a, b| b.rank.total_cmp(&a.rank).then(a.line.cmp(&b.line)));
    let head = head(log);
    let mut used = tokens::text_tokens(&head) + FOOT_TOKENS;
    let mut taken: BTreeMap<(u64, usize), &Item> = BTreeMap::new();
    let mut misses = 0;
    for (index, item) in items.iter().enumerate() {
        // No text has fewer tokens than a third of its words; most of what cannot fit is known without counting.
        let cost = tokens::text_tokens(&item.text) + 1;
        if used + cost > budget {
            misses += 1;
            if misses > MISSES_MAX {
                break;
            }
            continue;
        }
        misses = 0;
        used += cost;
        taken.insert((item.line, index), item);
    }
    loop {
        let text = written(log, &head, &taken);
        if tokens::text_tokens(&text) <= budget {
            return text;
        }
        // Counted line by line it fitted; whole it may be a token more.
        let Some(last) = taken.iter().max_by_key(|(key, _)| key.1).map(|(key, _)| *key) else {
            return tokens::cut(&text, budget).to_owned();
        };
        taken.remove(&last);
    }
}

/// Room for the last line.
const FOOT_TOKENS: u64 = 16;

fn written(log: &Log<'_>, head: &str, taken: &BTreeMap<(u64, usize), &Item>) -> String {
    let mut text = head.to_owned();
    for item in taken.values() {
        text.push_str(&item.text);
        text.push('\n');
    }
    let shown = taken.values().filter(|item| item.is_group).count();
    if shown < log.groups.len() {
        text.push_str(&format!("… {} kinds not shown\n", log.groups.len() - shown));
    }
    text
}

/// What was read, and how to read what follows.
fn head(log: &Log<'_>) -> String {
    let mut head = format!(
        "{} lines, {} kinds. Line[-last ×count ~forms] and first line of each kind",
        log.kinds.lines,
        log.groups.len()
    );
    if let Some(columns) = log.header.left_out() {
        head.push_str(&format!(", without columns {columns}"));
    }
    if log.kinds.crowded {
        head.push_str("; too many kinds to tell all apart");
    }
    let passed: u64 =
        log.groups.iter().filter(|group| words::is_passing_test(&log.texts[group.kinds[0]])).map(|group| group.count).sum();
    if passed > 0 {
        head.push_str(&format!("; {passed} lines of tests that passed or were skipped"));
    }
    head.push_str(".\n");
    if log.header.left_out().is_some()
        && let (Some(first), Some(last)) = (log.kinds.kinds.first(), log.kinds.kinds.iter().map(|kind| kind.last_at).max())
    {
        let times = [first.at, last].map(|at| log.header.left(clean::line_at(log.source, at)));
        head.push_str(&format!("First and last: {} … {}\n", times[0], times[1]));
    }
    head
}

fn items(log: &Log<'_>) -> Vec<Item> {
    let mut items = Vec::new();
    let mut blocks = 0;
    let mut covered: Vec<Range<usize>> = Vec::new();
    let end = log.kinds.lines.saturating_sub(END_LINES as u64);
    let mut below: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    for group in &log.groups {
        let index = group.kinds[0];
        let text = &log.texts[index];
        let at = log.kinds.kinds[index].at;
        if blocks < BLOCKS_MAX && (group.trouble || words::begins_section(text)) && !words::is_frame(text) {
            let block = block::below(log.source, at, &log.header);
            if !block.below.is_empty() {
                blocks += 1;
                covered.push(block.bytes);
                below.insert(index, block.below);
            }
        }
    }
    covered.sort_by_key(|range| range.start);
    let is_covered = |at: usize| {
        let before = covered.partition_point(|range| range.start < at);
        covered[..before].last().is_some_and(|range| range.contains(&at))
    };
    for group in &log.groups {
        for (form, index) in group.kinds.iter().enumerate() {
            let kind = &log.kinds.kinds[*index];
            let text = &log.texts[*index];
            let is_rare = group.count <= 2;
            if form > 0 && words::is_passing_test(text) {
                continue;
            }
            let is_section = below.contains_key(index) && words::begins_section(text);
            let mut worth = match (form, group.trouble || is_section) {
                (0, true) => 10.0,
                (0, false) => 2.0,
                (_, true) => 2.0,
                (_, false) => 0.5,
            };
            if form == 0 && !is_rare {
                // What makes up much of the log should be known.
                worth += (group.count as f64 / log.kinds.lines as f64).sqrt();
            }
            if form > 0 {
                worth /= 1.0 + 0.2 * form as f64;
            }
            if let Some(block) = below.get(index) {
                worth += 3.0 * block.iter().filter(|line| words::is_telling(line.trim_start())).count() as f64;
            }
            if words::failing_test(text).is_some() {
                worth *= 3.0;
            }
            if words::is_frame(text) || is_covered(kind.at) {
                worth *= 0.1;
            } else if kind.last > end {
                worth += 3.0;
            }
            let count = if form == 0 { group.count } else { kind.count };
            let last = if form == 0 {
                group.kinds.iter().map(|kind| log.kinds.kinds[*kind].last).max().unwrap_or(kind.last)
            } else {
                kind.last
            };
            let forms = if form == 0 { group.kinds.len() } else { 1 };
            let mut shown = place(kind.first, last, count, forms);
            shown.push_str(text);
            for line in below.remove(index).unwrap_or_default() {
                shown.push('\n');
                shown.push_str(&line);
            }
            items.push(item(kind.first, shown, worth, form == 0));
            if is_rare && let Some((line, at)) = kind.second {
                let shown = format!("{}{}", place(line, line, 1, 1), line_at(log.source, at, &log.header));
                items.push(item(line, shown, 0.8, false));
            }
        }
    }
    items
}

fn item(line: u64, text: String, worth: f64, is_group: bool) -> Item {
    let rank = worth / (text.len() as f64 / BYTES_A_TOKEN + 2.0);
    Item { line, text, rank, is_group }
}

/// Where a kind stands and how often: `12 `, `12-90 ×3 `, `12-90 ×3 ~2 `.
fn place(first: u64, last: u64, count: u64, forms: usize) -> String {
    match (count, forms) {
        (1, _) => format!("{first} "),
        (_, 1) => format!("{first}-{last} ×{count} "),
        _ => format!("{first}-{last} ×{count} ~{forms} "),
    }
}
