//! Holding files in check that were written to drown others.

use std::collections::{BTreeMap, HashMap};

use super::{LINES_MAX, Labelled, Line};

/// Lines of one label, and of one clone, that are always learnt.
pub const LABEL_ALWAYS: usize = 50;
/// See [`LABEL_ALWAYS`].
pub const CLONE_ALWAYS: usize = 1_000;
/// How many times what is usual one may have beyond that.
pub const TIMES: usize = 5;

/// Takes the newest of each clone, and of all of them; gives how many are over. The order is kept.
pub fn clones(lines: Vec<(u64, &str, usize, Line)>) -> (Vec<(u64, &str, usize, Line)>, usize) {
    let whole = lines.len();
    let most = most(lines.iter().map(|(_, clone, ..)| *clone), CLONE_ALWAYS);
    let mut kept = newest(lines, |(_, clone, ..)| (*clone).to_owned(), most);
    let over = kept.len().saturating_sub(LINES_MAX);
    kept.drain(..over);
    let left_out = whole - kept.len();
    (kept, left_out)
}

/// Takes the newest of each label; gives how many are over. The order is kept.
pub fn labels(lines: Vec<Labelled>) -> (Vec<Labelled>, usize) {
    let whole = lines.len();
    let most = most(lines.iter().map(|line| line.label.as_str()), LABEL_ALWAYS);
    let kept = newest(lines, |line| line.label.clone(), most);
    let left_out = whole - kept.len();
    (kept, left_out)
}

/// How many one may have: some always, more where it is usual to have more. Usual is the lower median of those that have any,
/// which one that floods cannot raise.
fn most<'a>(owners: impl Iterator<Item = &'a str>, always: usize) -> usize {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    owners.for_each(|owner| *counts.entry(owner).or_default() += 1);
    let mut counts: Vec<usize> = counts.into_values().collect();
    counts.sort_unstable();
    let median = counts.get(counts.len().saturating_sub(1) / 2).copied().unwrap_or(0);
    always.max(median.saturating_mul(TIMES))
}

fn newest<T>(lines: Vec<T>, owner: impl Fn(&T) -> String, most: usize) -> Vec<T> {
    let mut counts: HashMap<String, usize> = HashMap::new();
    let mut kept: Vec<T> = lines
        .into_iter()
        .rev()
        .filter(|line| {
            let count = counts.entry(owner(line)).or_default();
            *count += 1;
            *count <= most
        })
        .collect();
    kept.reverse();
    kept
}
