//! Accounts for every line of a log: it is shown, or an omission names the lines among which it stands.

use std::cmp::Reverse;
use std::collections::HashMap;

use super::select::{Selection, ShownLine};
use super::{Log, clean, scan};
use crate::coverage::{self, Coverage, Omission, OmissionReason};

/// Omissions of one reason that are listed one by one. The others are joined to one.
const LISTED_MAX: usize = 100;

/// Lines that are not shown, somewhere in a range.
struct Stretch {
    first: u64,
    last: u64,
    amount: u64,
    /// The number of the shown line that they are like.
    like: Option<u64>,
}

/// How much of a log a selection shows, and where the rest is. Lines are counted without blank ones; each state of a
/// progress line counts.
pub(super) fn account(log: &Log<'_>, selection: &Selection) -> (Coverage, Vec<Omission>) {
    let kinds = &log.kinds.kinds;
    let shown = shown_by_kind(log, &selection.lines);
    let mut clipped: Vec<(usize, &ShownLine)> = Vec::new();
    for line in selection.lines.iter().filter(|line| line.missing > 0 && line.number > 0) {
        clipped.extend(kind_at(log, line.at).map(|kind| (kind, line)));
    }
    let (mut single, mut similar, mut hidden) = (Vec::new(), Vec::new(), Vec::new());
    for (number, group) in log.groups.iter().enumerate() {
        let like = selection.groups.contains(&number).then(|| kinds[group.kinds[0]].first);
        for index in &group.kinds {
            let kind = &kinds[*index];
            let cut = clipped.iter().filter(|(kind, _)| kind == index).count() as u64;
            let amount = kind.count.saturating_sub(shown.get(index).copied().unwrap_or_default() + cut);
            if amount == 0 {
                continue;
            }
            let stretch = Stretch { first: kind.first, last: kind.last, amount, like };
            match (like, kind.count) {
                (None, 1) => single.push(kind.first),
                (None, _) => hidden.push(stretch),
                (Some(_), _) => similar.push(stretch),
            }
        }
    }
    single.sort_unstable();
    let mut omitted = coverage::ranges("line", single, OmissionReason::Budget);
    omitted.extend(stretches(hidden, OmissionReason::Budget));
    omitted.extend(stretches(similar, OmissionReason::Similar));
    omitted.extend(cut_lines(&clipped));
    (Coverage::of_lines(kinds.iter().map(|kind| kind.count).sum(), &omitted), omitted)
}

/// Lines that are shown whole, by kind.
fn shown_by_kind(log: &Log<'_>, lines: &[ShownLine]) -> HashMap<usize, u64> {
    let mut whole: Vec<usize> = lines.iter().filter(|line| line.missing == 0).map(|line| line.at).collect();
    whole.sort_unstable();
    whole.dedup();
    let mut by_kind = HashMap::new();
    for kind in whole.into_iter().filter_map(|at| kind_at(log, at)) {
        *by_kind.entry(kind).or_default() += 1;
    }
    by_kind
}

/// The kind of the line that begins at a byte.
fn kind_at(log: &Log<'_>, at: usize) -> Option<usize> {
    let mut scratch = Vec::new();
    let line = clean::line(clean::line_at(log.source, at), &mut scratch);
    log.kinds.index_of(scan::kind_of(line, &log.header))
}

/// The largest stretches one by one, the others as one.
fn stretches(mut all: Vec<Stretch>, reason: OmissionReason) -> Vec<Omission> {
    all.sort_by_key(|stretch| (Reverse(stretch.amount), stretch.first));
    let rest = all.split_off(all.len().min(LISTED_MAX));
    all.sort_by_key(|stretch| (stretch.first, stretch.last));
    let mut omitted: Vec<Omission> = all.iter().map(|stretch| stretch.omission(reason)).collect();
    let joined = rest.into_iter().reduce(|a, b| Stretch {
        first: a.first.min(b.first),
        last: a.last.max(b.last),
        amount: a.amount + b.amount,
        like: None,
    });
    omitted.extend(joined.map(|stretch| stretch.omission(reason)));
    omitted
}

impl Stretch {
    fn omission(&self, reason: OmissionReason) -> Omission {
        let place = if self.first == self.last {
            format!("line {}", self.first)
        } else {
            format!("lines {}–{}", self.first, self.last)
        };
        // The place ends with the numbers of its lines, as every place does.
        let place = match self.like {
            Some(like) => format!("like line {like}: {place}"),
            None => place,
        };
        Omission::new(place, self.amount, reason)
    }
}

/// Lines of which a part is shown.
fn cut_lines(clipped: &[(usize, &ShownLine)]) -> Vec<Omission> {
    let mut lines: Vec<&ShownLine> = clipped.iter().map(|(_, line)| *line).collect();
    lines.sort_by_key(|line| (Reverse(line.missing), line.number));
    let rest = lines.split_off(lines.len().min(LISTED_MAX));
    lines.sort_by_key(|line| line.number);
    let place = |line: &ShownLine| format!("{} bytes of line {}", line.missing, line.number);
    let mut omitted: Vec<Omission> =
        lines.into_iter().map(|line| Omission::new(place(line), 1, OmissionReason::Budget)).collect();
    if let (Some(first), Some(last)) = (rest.iter().map(|line| line.number).min(), rest.iter().map(|line| line.number).max())
    {
        omitted.push(Omission::new(format!("parts of lines {first}–{last}"), rest.len() as u64, OmissionReason::Budget));
    }
    omitted
}
