//! What is shown within the budget, and how it reads.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;

use agentops_text::tokens;

use super::cluster::Group;
use super::{Log, block, clean, line_at, words};

/// Traces and sections that are looked up.
const SECTIONS_MAX: usize = 400;
/// After so many in a row that do not fit, nothing will.
const MISSES_MAX: usize = 60;
/// Lines at the end that say how it went.
const END_LINES: u64 = 2;
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
    /// Which section it begins, and in which it stands.
    begins: Option<usize>,
    within: Option<usize>,
}

/// The text for a budget of o200k tokens.
pub(super) fn text(log: &Log<'_>, budget: u64) -> String {
    let mut items = items(log);
    items.sort_by(|a, b| b.rank.total_cmp(&a.rank).then(a.line.cmp(&b.line)));
    let head = head(log);
    let mut used = tokens::text_tokens(&head) + FOOT_TOKENS;
    let mut taken: BTreeMap<(u64, usize), (&Item, u64)> = BTreeMap::new();
    let mut sections: HashSet<usize> = HashSet::new();
    let mut misses = 0;
    for (index, item) in items.iter().enumerate() {
        if item.within.is_some_and(|section| sections.contains(&section)) {
            continue;
        }
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
        if let Some(section) = item.begins {
            // What stands in the section need not stand there twice.
            sections.insert(section);
            taken.retain(|_, (other, cost)| {
                let stays = other.within != Some(section);
                used -= if stays { 0 } else { *cost };
                stays
            });
        }
        taken.insert((item.line, index), (item, cost));
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

fn written(log: &Log<'_>, head: &str, taken: &BTreeMap<(u64, usize), (&Item, u64)>) -> String {
    let mut text = head.to_owned();
    for (item, _) in taken.values() {
        text.push_str(&item.text);
        text.push('\n');
    }
    let shown = taken.values().filter(|(item, _)| item.is_group).count();
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

/// A line with what stands below it.
struct Section {
    /// The kind of its first line.
    kind: usize,
    bytes: Range<usize>,
    below: Vec<String>,
}

/// The sections of a log, in the order in which they stand there.
fn sections(log: &Log<'_>) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    for group in &log.groups {
        let kind = group.kinds[0];
        let (text, at) = (&log.texts[kind], log.kinds.kinds[kind].at);
        let is_candidate = (group.trouble || words::begins_section(text)) && !words::is_frame(text);
        let is_inside = sections.last().is_some_and(|section| at < section.bytes.end);
        if !is_candidate || is_inside || sections.len() == SECTIONS_MAX {
            continue;
        }
        let block = block::below(log.source, at, &log.header);
        if !block.below.is_empty() {
            sections.push(Section { kind, bytes: block.bytes, below: block.below });
        }
    }
    sections
}

fn items(log: &Log<'_>) -> Vec<Item> {
    let sections = sections(log);
    let mut items = Vec::new();
    for group in &log.groups {
        for (form, index) in group.kinds.iter().enumerate() {
            let (kind, text) = (&log.kinds.kinds[*index], &log.texts[*index]);
            if form > 0 && words::is_passing_test(text) {
                break;
            }
            let begins = sections.binary_search_by_key(&kind.at, |section| section.bytes.start).ok();
            let begins = begins.filter(|section| sections[*section].kind == *index);
            let before = sections.partition_point(|section| section.bytes.start < kind.at);
            let within = before.checked_sub(1).filter(|section| sections[*section].bytes.contains(&kind.at));
            let below = begins.map_or(&[][..], |section| &sections[section].below);
            let mut worth = worth(log, group, form, below);
            if within.is_some() || words::is_frame(text) {
                worth *= ELSEWHERE;
            }
            let mut shown = if form == 0 {
                let last = group.kinds.iter().map(|kind| log.kinds.kinds[*kind].last).max().unwrap_or(kind.last);
                place(kind.first, last, group.count, group.kinds.len())
            } else {
                place(kind.first, kind.last, kind.count, 1)
            };
            shown.push_str(text);
            for line in below {
                shown.push('\n');
                shown.push_str(line);
            }
            items.push(Item::new(kind.first, shown, worth, form == 0, begins, within));
            if group.count <= 2
                && let Some((line, at)) = kind.second
            {
                let shown = format!("{}{}", place(line, line, 1, 1), line_at(log.source, at, &log.header));
                items.push(Item::new(line, shown, SECOND, false, None, within));
            }
        }
    }
    items
}

/// What it is worth to know of a group, where nothing is known of it yet.
const TROUBLE: f64 = 10.0;
/// See [`TROUBLE`].
const EVENT: f64 = 2.0;
/// What the second line of a group of two is worth.
const SECOND: f64 = 0.8;
/// What each line is worth that says what was wrong, below trouble and in a section that a failing test has for that.
const TELLING: f64 = 3.0;
/// See [`TELLING`].
const TELLING_IN_SECTION: f64 = 8.0;
/// How a command ended.
const END: f64 = 3.0;
/// Of what is worth little without the lines around it, or is shown with them.
const ELSEWHERE: f64 = 0.1;

/// What it is worth to show this form of a group.
fn worth(log: &Log<'_>, group: &Group, form: usize, below: &[String]) -> f64 {
    let index = group.kinds[form];
    let (kind, text) = (&log.kinds.kinds[index], &log.texts[index]);
    let is_section = !below.is_empty() && words::begins_section(text);
    let is_failing = words::failing_test(text).is_some();
    let mut worth = if group.trouble || is_section { TROUBLE } else { EVENT };
    if form > 0 {
        worth /= if group.trouble { 5.0 } else { 4.0 } * (1.0 + 0.2 * form as f64);
    } else if group.count > 2 {
        // What makes up much of the log should be known.
        worth += (group.count as f64 / log.kinds.lines as f64).sqrt();
    }
    let telling = below.iter().filter(|line| words::is_telling(line.trim_start())).count() as f64;
    worth += telling * if is_section { TELLING_IN_SECTION } else { TELLING };
    if kind.last + END_LINES > log.kinds.lines {
        worth += END;
    }
    if is_failing { worth * 3.0 } else { worth }
}

impl Item {
    fn new(line: u64, text: String, worth: f64, is_group: bool, begins: Option<usize>, within: Option<usize>) -> Self {
        let rank = worth / (text.len() as f64 / BYTES_A_TOKEN + 2.0);
        Self { line, text, rank, is_group, begins, within }
    }
}

/// Where a kind stands and how often: `12 `, `12-90 ×3 `, `12-90 ×3 ~2 `.
fn place(first: u64, last: u64, count: u64, forms: usize) -> String {
    match (count, forms) {
        (1, _) => format!("{first} "),
        (_, 1) => format!("{first}-{last} ×{count} "),
        _ => format!("{first}-{last} ×{count} ~{forms} "),
    }
}
