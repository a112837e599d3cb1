//! In which order lines go in: what is worth most for its tokens comes first.
//!
//! A line is worth how likely the task is about its part. The first lines of a file are worth more, because an agent that
//! knows of a file can read the rest, and so is a signature for its definition. What has been shown is worth nothing again. So the
//! budget spreads over files where the ranking is unsure, and stays with one where it is sure.
//!
//! The order does not depend on the budget: a larger bundle has all lines of a smaller one. Tests wait while they have more
//! than their share, unless the task is about tests.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap};

use agentops_text::tokens;

use super::kind::Role;
use super::open::Opened;
use super::parts::Shape;
use super::rank::PartRank;

/// How many lines say that a file is there.
const KNOWN_LINES: usize = 3;
/// Tokens of the mark at a gap, of a heading beside its path, and of the lines around a file's text.
const GAP_TOKENS: u64 = 4;
const HEADING_TOKENS: u64 = 16;
/// The share of the tokens that tests may take while other files have lines to offer.
const TESTS_SHARE: f64 = 0.5;

/// Signatures of the same words that are shown at their full value; each further one is worth less.
const REPEATED_MAX: u32 = 4;

/// One line of the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Which file.
    pub file: usize,
    /// Which line of it, from 0.
    pub line: usize,
    /// Tokens of the line with the marks and headings that it may need: an upper bound.
    pub cost: u64,
}

/// What was chosen of a file.
#[derive(Debug, Clone, Default)]
pub struct Chosen {
    /// Which lines.
    pub lines: Vec<bool>,
}

impl Chosen {
    /// Nothing of each file.
    pub fn nothing(opened: &[Opened]) -> Vec<Self> {
        opened.iter().map(|file| Self { lines: vec![false; file.line_count()] }).collect()
    }

    /// All lines of a file that may be shown.
    pub fn all(file: &Opened) -> Self {
        Self { lines: (0..file.line_count()).map(|line| file.is_shown(line)).collect() }
    }

    /// Whether anything was chosen.
    pub fn any(&self) -> bool {
        self.lines.iter().any(|line| *line)
    }
}

/// What everything is worth: shares of files, of definitions and of lines.
struct Worth {
    file: f64,
    definition: f64,
    line: f64,
}

/// What knowing of a file, seeing a definition's signature and reading a part are worth when the task is about them.
const WORTH: Worth = Worth { file: 0.5, definition: 1.15, line: 1.25 };

struct State<'a> {
    opened: &'a [Opened],
    ranks: &'a [Vec<PartRank>],
    /// The tokens of each line, 0 where not counted yet.
    costs: Vec<Vec<u32>>,
    headers: Vec<u64>,
    chosen: Vec<Chosen>,
    /// How many chosen lines of each file say something.
    telling: Vec<usize>,
    /// How often each signature was chosen: the tenth `fn name(&self) -> &str` of a file tells nothing new.
    signatures: HashMap<&'a str, u32>,
    buffer: String,
    steps: Vec<Step>,
}

/// One thing that can be added.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Candidate {
    density: f64,
    file: usize,
    part: usize,
    /// Only the signature.
    signature: bool,
}

impl Eq for Candidate {}
impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        let key = |c: &Self| (c.file, c.part, c.signature);
        self.density.total_cmp(&other.density).then_with(|| key(other).cmp(&key(self)))
    }
}

/// Whether tests may take as much as other files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tests {
    /// The task is about them.
    Wanted,
    /// They wait while they have more than their share.
    Wait,
}

/// The order of lines up to about `tokens_max` tokens. A smaller limit gives the beginning of the same order.
pub fn order(opened: &[Opened], ranks: &[Vec<PartRank>], tests: Tests, tokens_max: u64) -> Vec<Step> {
    let mut state = State {
        opened,
        ranks,
        costs: opened.iter().map(|file| vec![0; file.line_count()]).collect(),
        headers: opened.iter().map(|file| tokens::text_tokens(&file.path) + HEADING_TOKENS).collect(),
        chosen: Chosen::nothing(opened),
        telling: vec![0; opened.len()],
        signatures: HashMap::new(),
        buffer: String::new(),
        steps: Vec::new(),
    };
    let waits = |file: usize| tests == Tests::Wait && opened[file].role == Role::Test;
    let (mut heap, mut waiting) = (BinaryHeap::new(), BinaryHeap::new());
    for file in 0..opened.len() {
        state.offer(file, if waits(file) { &mut waiting } else { &mut heap });
    }
    let (mut used, mut used_by_tests) = (0_u64, 0_u64);
    while used < tokens_max {
        let is_over = used_by_tests as f64 > TESTS_SHARE * used as f64;
        let from_waiting = match (heap.peek(), waiting.peek()) {
            (None, None) => break,
            (None, Some(_)) => true,
            (Some(_), None) => false,
            (Some(first), Some(test)) => !is_over && test > first,
        };
        let from = if from_waiting { &mut waiting } else { &mut heap };
        let Some(candidate) = from.pop() else { break };
        let Some((value, cost)) = state.look(&candidate) else { continue };
        let density = value / cost as f64;
        // Something near it was taken meanwhile.
        if density < candidate.density * 0.999 {
            from.push(Candidate { density, ..candidate });
            continue;
        }
        let first = !state.chosen[candidate.file].any();
        let taken = state.take(&candidate);
        used += taken;
        if from_waiting {
            used_by_tests += taken;
        }
        if first {
            // Its header is paid for: all of it is cheaper now.
            state.offer(candidate.file, from);
        }
    }
    state.steps
}

impl State<'_> {
    fn offer(&mut self, file: usize, heap: &mut BinaryHeap<Candidate>) {
        for part in 0..self.opened[file].parts.len() {
            for signature in [false, true] {
                let mut candidate = Candidate { density: 0.0, file, part, signature };
                if let Some((value, cost)) = self.look(&candidate) {
                    candidate.density = value / cost as f64;
                    heap.push(candidate);
                }
            }
        }
    }

    /// The lines that a candidate would show.
    fn wanted(&self, candidate: &Candidate) -> Option<Vec<usize>> {
        let file = &self.opened[candidate.file];
        let part = &file.parts[candidate.part];
        let mut lines = Vec::new();
        let mut around = part.definition;
        if part.shape == Shape::Whole || part.shape == Shape::Head {
            let definition = &file.definitions[part.definition?];
            around = definition.parent;
            if candidate.signature {
                if part.shape == Shape::Head || (part.start == definition.signature && part.end <= definition.body) {
                    return None;
                }
                lines.extend(definition.signature..definition.body.min(part.end));
            } else {
                lines.extend(part.start..part.end);
            }
        } else if candidate.signature {
            return None;
        } else {
            lines.extend(part.start..part.end);
        }
        let mut depth = 0;
        while let Some(outer) = around
            && depth < 6
        {
            lines.push(file.definitions[outer].signature);
            around = file.definitions[outer].parent;
            depth += 1;
        }
        Some(lines)
    }

    /// What a candidate is worth and costs beside what was chosen; `None` where it adds nothing.
    fn look(&mut self, candidate: &Candidate) -> Option<(f64, u64)> {
        let wanted = self.wanted(candidate)?;
        let file = &self.opened[candidate.file];
        let part = &file.parts[candidate.part];
        let chosen = &self.chosen[candidate.file];
        let new: Vec<usize> = wanted.into_iter().filter(|line| !chosen.lines[*line] && file.is_shown(*line)).collect();
        let telling = new.iter().filter(|line| tells(file.line(**line))).count();
        if telling == 0 {
            return None;
        }
        let likely = self.ranks[candidate.file][candidate.part].likely;
        let known = |lines: usize| lines.min(KNOWN_LINES) as f64 / KNOWN_LINES as f64;
        let before = self.telling[candidate.file];
        let mut value = WORTH.file * file.likely * (known(before + telling) - known(before));
        let in_part = new.iter().filter(|line| (part.start..part.end).contains(*line)).count();
        value += WORTH.line * likely * in_part as f64 / (part.end - part.start) as f64;
        if let Some(definition) = part.definition.filter(|_| part.shape != Shape::Between) {
            let signature = file.definitions[definition].signature;
            if new.contains(&signature) {
                let times = self.signatures.get(file.line(signature).trim()).copied().unwrap_or_default();
                value += WORTH.definition * likely / f64::from(1 + times.saturating_sub(REPEATED_MAX));
            }
        }
        let mut cost = if chosen.any() { 0 } else { self.headers[candidate.file] };
        let mut before = None;
        for line in new {
            cost += self.cost(candidate.file, line);
            let is_next = before.is_some_and(|before: usize| before + 1 == line)
                || (line > 0 && self.chosen[candidate.file].lines[line - 1]);
            if !is_next {
                cost += GAP_TOKENS;
            }
            before = Some(line);
        }
        Some((value, cost))
    }

    fn cost(&mut self, file: usize, line: usize) -> u64 {
        if self.costs[file][line] == 0 {
            self.buffer.clear();
            self.buffer.push_str(self.opened[file].line(line));
            self.buffer.push('\n');
            self.costs[file][line] = u32::try_from(tokens::text_tokens(&self.buffer)).unwrap_or(u32::MAX);
        }
        u64::from(self.costs[file][line])
    }

    /// Adds a candidate's lines to the order; returns what they cost.
    fn take(&mut self, candidate: &Candidate) -> u64 {
        let mut sum = 0;
        let opened = self.opened;
        let part = &opened[candidate.file].parts[candidate.part];
        if let Some(definition) = part.definition {
            let file = &opened[candidate.file];
            let line = file.definitions[definition].signature;
            if !self.chosen[candidate.file].lines[line] {
                *self.signatures.entry(file.line(line).trim()).or_default() += 1;
            }
        }
        for line in self.wanted(candidate).unwrap_or_default() {
            let file = &self.opened[candidate.file];
            if self.chosen[candidate.file].lines[line] || !file.is_shown(line) {
                continue;
            }
            let mut cost = self.cost(candidate.file, line);
            if !self.chosen[candidate.file].any() {
                cost += self.headers[candidate.file];
            }
            // A line may end a gap and begin another one.
            if line == 0 || !self.chosen[candidate.file].lines[line - 1] {
                cost += GAP_TOKENS;
            }
            let chosen = &mut self.chosen[candidate.file];
            chosen.lines[line] = true;
            self.telling[candidate.file] += usize::from(tells(file.line(line)));
            self.steps.push(Step { file: candidate.file, line, cost });
            sum += cost;
        }
        sum
    }
}

/// Whether a line says something: a bracket alone does not.
fn tells(line: &str) -> bool {
    line.chars().filter(|c| c.is_alphanumeric() || *c == '_').take(4).count() == 4
}
