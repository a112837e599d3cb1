//! What is shown within the budget, and how it reads.
//!
//! The selection is a list of steps in a fixed order: first a line for each of some errors, then a line for each other kind of
//! line with what tests and traces say was wrong, then context and further lines. A budget takes as many steps as fit, from
//! the first one on. So a larger budget shows all that a smaller one shows, and more.

use std::collections::{BTreeMap, HashMap, HashSet};

use agentops_text::tokens;

use super::block::{self, Block};
use super::cluster::Group;
use super::severity::Severity;
use super::{Log, clean, clip, line_at, words};

/// Traces and sections that are looked up.
const SECTIONS_MAX: usize = 400;
/// Lines at the end that say how it went.
const END_LINES: u64 = 2;
/// Bytes a token has in logs, to rank by; what is taken is counted.
const BYTES_A_TOKEN: f64 = 3.0;
/// Bytes to which a line that reports an error is shortened at first.
const BRIEF_BYTES: usize = 160;
/// Bytes of a line that are shown at most.
const LONG_BYTES: usize = 2000;
/// Kinds of errors that come before all else. In a log with more of them, the others compete with its other events, so that it is
/// still known what the log is about.
const LEADING_ERRORS: usize = 10;
/// When a step comes. The order is that of the steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// A line that reports an error.
    Errors,
    /// Lines of the other groups, by what they are worth for their length, and what explains an error.
    Events,
    /// The context of an error.
    Context,
}

/// A line that a step shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ShownLine {
    /// The byte in the source at which it begins.
    pub(super) at: usize,
    /// Its number; 0 for a line below another one.
    pub(super) number: u64,
    /// Bytes of it that are missing.
    pub(super) missing: usize,
}

/// One addition to the text.
struct Step {
    /// Where its text stands: the line, the item, and whether it stands below the line. A later step replaces an earlier one there.
    key: (u64, usize, bool),
    text: String,
    lines: Vec<ShownLine>,
    /// The group whose first line it shows.
    group: Option<usize>,
    phase: Phase,
    /// Worth a token.
    rank: f64,
    /// Number of the step among those of its item.
    level: u8,
}

/// What is shown.
pub(super) struct Selection {
    pub(super) text: String,
    pub(super) lines: Vec<ShownLine>,
    /// Which groups are shown.
    pub(super) groups: HashSet<usize>,
}

/// The text for a budget of o200k tokens.
pub(super) fn select(log: &Log<'_>, budget: u64) -> Selection {
    let mut steps = steps(log);
    steps.sort_by(|a, b| {
        let order = a.phase.cmp(&b.phase).then(b.rank.total_cmp(&a.rank));
        order.then((a.key, a.level).cmp(&(b.key, b.level)))
    });
    let frame = Frame::of(log);
    let mut additions: Vec<Addition<'_>> = steps.iter().map(Addition::Step).collect();
    additions.insert(TIMES_AFTER.min(additions.len()), Addition::Times);
    additions.insert(HEAD_AFTER.min(additions.len()), Addition::Head);
    let mut left = budget;
    let mut costs: HashMap<(u64, usize, bool), u64> = HashMap::new();
    let mut taken = 0;
    for addition in &additions {
        let (cost, known) = match addition {
            Addition::Step(step) => {
                let cost = tokens::text_tokens(&step.text) + 1;
                (cost, costs.insert(step.key, cost).unwrap_or_default())
            }
            Addition::Head => (frame.head_tokens, 0),
            Addition::Times => (tokens::text_tokens(&frame.times), 0),
        };
        let Some(after) = (left + known).checked_sub(cost) else { break };
        left = after;
        taken += 1;
    }
    while taken > 0 {
        let selection = Selection::of(log, &frame, &additions[..taken]);
        // Counted line by line it fitted; whole it may be a token more.
        if tokens::text_tokens(&selection.text) <= budget {
            return selection;
        }
        taken -= 1;
    }
    first_only(log, &frame, steps.first(), budget)
}

/// Steps after which the head and the last line come, and after which the first and last time come. A smaller budget has room for
/// the worst errors and for nothing else.
const HEAD_AFTER: usize = 3;
/// See [`HEAD_AFTER`].
const TIMES_AFTER: usize = 8;

/// What a larger budget adds.
enum Addition<'a> {
    Step(&'a Step),
    Head,
    Times,
}

/// What stands around the lines.
struct Frame {
    head: String,
    /// The first and last time, or nothing.
    times: String,
    /// Tokens of the head and of the last line.
    head_tokens: u64,
}

impl Frame {
    fn of(log: &Log<'_>) -> Self {
        let head = head(log);
        // With nothing shown, the last line is as long as it can be.
        let head_tokens = tokens::text_tokens(&head) + tokens::text_tokens(&foot(log, &HashSet::new()));
        Self { head, times: times(log), head_tokens }
    }
}

/// The beginning of the first step, where not even it fits.
fn first_only(log: &Log<'_>, frame: &Frame, first: Option<&Step>, budget: u64) -> Selection {
    let none = |text: String| Selection { text, lines: Vec::new(), groups: HashSet::new() };
    let Some(step) = first else { return none(cut(&frame.head, budget)) };
    let text = step.lines.first().map_or_else(String::new, |line| line_at(log.source, line.at, &log.header));
    for bytes in [80, 50] {
        let brief = clip::clip(&text, bytes).text;
        if tokens::text_tokens(&brief) <= budget {
            return none(brief);
        }
    }
    none(cut(&text, budget))
}

/// The beginning of a text, ended at a word.
fn cut(text: &str, budget: u64) -> String {
    let cut = tokens::cut(text, budget);
    let end = if cut.len() < text.len() { cut.rfind(char::is_whitespace).unwrap_or(0) } else { cut.len() };
    cut[..end].to_owned()
}

impl Selection {
    fn of(log: &Log<'_>, frame: &Frame, additions: &[Addition<'_>]) -> Self {
        let mut taken: BTreeMap<(u64, usize, bool), &Step> = BTreeMap::new();
        let (mut text, mut times, mut has_foot) = (String::new(), "", false);
        for addition in additions {
            match addition {
                Addition::Step(step) => _ = taken.insert(step.key, step),
                Addition::Head => (text, has_foot) = (frame.head.clone(), true),
                Addition::Times => times = &frame.times,
            }
        }
        text.push_str(times);
        let (mut lines, mut groups) = (Vec::new(), HashSet::new());
        for step in taken.values() {
            text.push_str(&step.text);
            text.push('\n');
            lines.extend(step.lines.iter().copied());
            groups.extend(step.group);
        }
        if has_foot {
            text.push_str(&foot(log, &groups));
        }
        Self { text, lines, groups }
    }
}

/// What is not shown.
fn foot(log: &Log<'_>, shown: &HashSet<usize>) -> String {
    let hidden = || log.groups.iter().enumerate().filter(|(index, _)| !shown.contains(index)).map(|(_, group)| group);
    let kinds = hidden().count();
    if kinds == 0 {
        return String::new();
    }
    let lines: u64 = hidden().map(|group| group.count).sum();
    let errors = hidden().filter(|group| group.severity == Severity::Error).count();
    let errors = if errors > 0 { format!(", {errors} of them errors") } else { String::new() };
    let first = hidden().map(|group| log.kinds.kinds[group.kinds[0]].first).min().unwrap_or_default();
    let last = hidden().flat_map(|group| &group.kinds).map(|kind| log.kinds.kinds[*kind].last).max().unwrap_or_default();
    format!("… {kinds} kinds not shown{errors}: {lines} lines of {first}-{last}\n")
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
    head
}

/// The first and the last time of the log, if times are left out of its lines.
fn times(log: &Log<'_>) -> String {
    if log.header.left_out().is_some()
        && let (Some(first), Some(last)) = (log.kinds.kinds.first(), log.kinds.kinds.iter().map(|kind| kind.last_at).max())
    {
        let times = [first.at, last].map(|at| log.header.left(clean::line_at(log.source, at)));
        return format!("First and last: {} … {}\n", times[0], times[1]);
    }
    String::new()
}

/// A line with what stands below it.
struct Section {
    /// The kind of its first line.
    kind: usize,
    block: Block,
}

/// The sections of a log, in the order in which they stand there.
fn sections(log: &Log<'_>) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    for group in &log.groups {
        let kind = group.kinds[0];
        let (text, at) = (&log.texts[kind], log.kinds.kinds[kind].at);
        let is_candidate = (group.severity > Severity::Normal || words::begins_section(text)) && !words::is_frame(text);
        let is_inside = sections.last().is_some_and(|section| at < section.block.bytes.end);
        if !is_candidate || is_inside || sections.len() == SECTIONS_MAX {
            continue;
        }
        let block = block::below(log.source, at, &log.header);
        if !block.lines.is_empty() {
            sections.push(Section { kind, block });
        }
    }
    sections.sort_by_key(|section| section.block.bytes.start);
    sections
}

/// All steps, in no order.
fn steps(log: &Log<'_>) -> Vec<Step> {
    let sections = sections(log);
    let in_blocks: HashSet<usize> = sections
        .iter()
        .flat_map(|section| section.block.worth_showing.iter().map(|index| section.block.lines[*index].at))
        .collect();
    let leading = leading_errors(log);
    let mut steps = Vec::new();
    let mut item = 0;
    for (number, group) in log.groups.iter().enumerate() {
        for (form, index) in group.kinds.iter().enumerate() {
            let (kind, text) = (&log.kinds.kinds[*index], &log.texts[*index]);
            if form > 0 && words::is_passing_test(text) {
                break;
            }
            let before = sections.partition_point(|section| section.block.bytes.start <= kind.at);
            let section = before.checked_sub(1).map(|section| &sections[section]);
            let section = section.filter(|section| section.block.bytes.contains(&kind.at));
            let begins = section.filter(|section| section.kind == *index);
            let is_within = section.is_some() && begins.is_none();
            item += 1;
            let place = if form == 0 {
                let last = group.kinds.iter().map(|kind| log.kinds.kinds[*kind].last).max().unwrap_or(kind.last);
                place(kind.first, last, group.count, group.kinds.len())
            } else {
                place(kind.first, kind.last, kind.count, 1)
            };
            // What stands in a section need not stand there twice.
            if !(is_within && in_blocks.contains(&kind.at)) {
                let is_section = begins.is_some() && words::begins_section(text);
                let mut worth = worth(log, group, form, is_section);
                let phase = match form {
                    0 if leading.contains(index) => Phase::Errors,
                    _ => Phase::Events,
                };
                if words::is_frame(text) || (is_within && log.severities[*index] < Severity::Error) {
                    worth *= ELSEWHERE;
                }
                let line = Line { number: kind.first, at: kind.at, item, place, text };
                let rank = line.steps(phase, worth, (form == 0).then_some(number), &mut steps);
                if let Some(section) = begins {
                    let under = Under { number: kind.first, item, phase, rank };
                    block_steps(&section.block, under, is_section, &mut steps);
                }
            }
            if group.count <= 2
                && let Some((number, at)) = kind.second
            {
                item += 1;
                let text = line_at(log.source, at, &log.header);
                let line = Line { number, at, item, place: self::place(number, number, 1, 1), text: &text };
                line.steps(Phase::Events, SECOND, None, &mut steps);
            }
        }
    }
    steps
}

/// The first kinds of the groups whose lines come before all else.
fn leading_errors(log: &Log<'_>) -> HashSet<usize> {
    let is_error = |group: &&Group| {
        let text = &log.texts[group.kinds[0]];
        (group.severity == Severity::Error || words::begins_section(text)) && !words::is_frame(text)
    };
    let mut ranked: Vec<(f64, usize)> = log
        .groups
        .iter()
        .filter(is_error)
        .map(|group| {
            let text = &log.texts[group.kinds[0]];
            let worth = worth(log, group, 0, words::begins_section(text));
            (worth / (text.len().min(BRIEF_BYTES) as f64 / BYTES_A_TOKEN + 1.0), group.kinds[0])
        })
        .collect();
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    ranked.into_iter().take(LEADING_ERRORS).map(|(_, kind)| kind).collect()
}

/// A line that is to be shown.
struct Line<'a> {
    number: u64,
    at: usize,
    item: usize,
    place: String,
    text: &'a str,
}

impl Line<'_> {
    /// Adds the steps that show it, from the shortest form to the longest, and returns the rank of the first one.
    fn steps(self, phase: Phase, worth: f64, group: Option<usize>, steps: &mut Vec<Step>) -> f64 {
        let brief = (phase == Phase::Errors).then_some(BRIEF_BYTES);
        let sizes = brief.into_iter().chain([LONG_BYTES]);
        let (mut rank, mut first_rank, mut last) = (f64::INFINITY, None, None);
        for (level, bytes) in sizes.enumerate() {
            let clipped = clip::clip(self.text, bytes);
            let (missing, text) = (clipped.missing, format!("{}{}", self.place, clipped.text));
            if last.is_some_and(|last| last <= missing) {
                break;
            }
            last = Some(missing);
            let worth = if level == 0 { worth } else { worth * LONGER };
            rank = f64::min(rank, rank_of(worth, &text));
            first_rank = first_rank.or(Some(rank));
            steps.push(Step {
                key: (self.number, self.item, false),
                text,
                lines: vec![ShownLine { at: self.at, number: self.number, missing }],
                group,
                phase,
                rank,
                level: level as u8,
            });
            if missing == 0 {
                break;
            }
        }
        first_rank.unwrap_or_default()
    }
}

/// The first step of the line above a block. The steps of the block come later.
struct Under {
    number: u64,
    item: usize,
    phase: Phase,
    rank: f64,
}

/// Adds the steps that show what stands below a line.
fn block_steps(block: &Block, under: Under, is_section: bool, steps: &mut Vec<Step>) {
    let telling = block.telling.len() as f64 * if is_section { TELLING_IN_SECTION } else { TELLING };
    let both = [(Phase::Events, &block.telling, telling), (Phase::Context, &block.worth_showing, CONTEXT)];
    for (level, (phase, indexes, worth)) in both.into_iter().enumerate() {
        let is_same = level > 0 && block.telling.len() == indexes.len();
        if indexes.is_empty() || is_same {
            continue;
        }
        let text = block.text(indexes);
        let lines = indexes.iter().map(|index| {
            let missing = usize::from(!block.is_shown_whole(*index));
            ShownLine { at: block.lines[*index].at, number: 0, missing }
        });
        let rank = rank_of(worth, &text).min(under.rank);
        let (lines, phase) = (lines.collect(), phase.max(under.phase));
        steps.push(Step {
            key: (under.number, under.item, true),
            text,
            lines,
            group: None,
            phase,
            rank,
            level: level as u8,
        });
    }
}

/// What it is worth to show a line of a group that tells of a problem.
const PROBLEM: f64 = 10.0;
/// What it is worth to show the first line of another group.
const EVENT: f64 = 2.0;
/// What the second line of a group of two is worth.
const SECOND: f64 = 0.8;
/// What each line is worth that says what was wrong, below an error and in a section that a failing test has for that.
const TELLING: f64 = 3.0;
/// See [`TELLING`].
const TELLING_IN_SECTION: f64 = 8.0;
/// What the context of an error is worth.
const CONTEXT: f64 = 5.0;
/// How a command ended.
const END: f64 = 3.0;
/// Of what is worth little without the lines around it.
const ELSEWHERE: f64 = 0.1;
/// Of a longer form of a line that is shown already.
const LONGER: f64 = 0.3;

/// What it is worth to show this form of a group.
fn worth(log: &Log<'_>, group: &Group, form: usize, is_section: bool) -> f64 {
    let index = group.kinds[form];
    let (kind, text) = (&log.kinds.kinds[index], &log.texts[index]);
    let is_problem = group.severity > Severity::Normal;
    let mut worth = if is_problem || is_section { PROBLEM } else { EVENT };
    if form > 0 {
        worth /= if is_problem { 5.0 } else { 4.0 } * (1.0 + 0.2 * form as f64);
    } else if group.count > 2 {
        // What makes up much of the log should be known.
        worth += (group.count as f64 / log.kinds.lines as f64).sqrt();
    }
    if kind.last + END_LINES > log.kinds.lines {
        worth += END;
    }
    if words::failing_test(text).is_some() { worth * 3.0 } else { worth }
}

fn rank_of(worth: f64, text: &str) -> f64 {
    // The end of the line is a token.
    worth / (text.len() as f64 / BYTES_A_TOKEN + 1.0)
}

/// Where a kind stands and how often: `12 `, `12-90 ×3 `, `12-90 ×3 ~2 `.
fn place(first: u64, last: u64, count: u64, forms: usize) -> String {
    match (count, forms) {
        (1, _) => format!("{first} "),
        (_, 1) => format!("{first}-{last} ×{count} "),
        _ => format!("{first}-{last} ×{count} ~{forms} "),
    }
}
