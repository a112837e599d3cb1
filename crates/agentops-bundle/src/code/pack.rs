//! What goes in: the lines that are worth most for what they cost, until the budget is spent.
//!
//! A line is worth how likely the task is about its part. The first lines of a file are worth more, because an agent that
//! knows of a file can read the rest, and so is a signature for its definition. What has been shown is worth nothing again. So the
//! budget spreads over files where the ranking is unsure, and stays with one where it is sure.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use agentops_text::tokens;

use super::open::Opened;
use super::parts::Shape;
use super::rank::PartRank;

/// How many lines say that a file is there.
const KNOWN_LINES: usize = 3;
/// What a mark of a gap costs.
const GAP_TOKENS: u64 = 4;

/// What was chosen of a file.
#[derive(Debug, Clone, Default)]
pub struct Chosen {
    /// Which lines.
    pub lines: Vec<bool>,
    /// How many of them say something.
    pub telling: usize,
}

impl Chosen {
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
const WORTH: Worth = Worth { file: 0.3, definition: 1.0, line: 1.2 };

struct State<'a> {
    opened: &'a [Opened],
    ranks: &'a [Vec<PartRank>],
    /// The tokens of each line, 0 where not counted yet.
    costs: Vec<Vec<u32>>,
    headers: Vec<u64>,
    chosen: Vec<Chosen>,
    buffer: String,
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

/// What header a file has in the result.
pub fn header(path: &str) -> String {
    format!("## {path}\n")
}

/// Chooses lines worth at most `budget` tokens.
pub fn choose(opened: &[Opened], ranks: &[Vec<PartRank>], budget: u64) -> Vec<Chosen> {
    let mut state = State {
        opened,
        ranks,
        costs: opened.iter().map(|file| vec![0; file.line_count()]).collect(),
        headers: opened.iter().map(|file| tokens::text_tokens(&header(&file.path)) + 1).collect(),
        chosen: opened.iter().map(|file| Chosen { lines: vec![false; file.line_count()], telling: 0 }).collect(),
        buffer: String::new(),
    };
    let mut heap = BinaryHeap::new();
    for file in 0..opened.len() {
        state.offer(file, &mut heap);
    }
    let mut left = budget;
    let mut misses = 0;
    while let Some(candidate) = heap.pop() {
        let Some((value, cost)) = state.look(&candidate) else { continue };
        let density = value / cost as f64;
        // Something near it was taken meanwhile.
        if density < candidate.density * 0.999 {
            heap.push(Candidate { density, ..candidate });
            continue;
        }
        if cost > left {
            misses += 1;
            if misses > 2_000 {
                break;
            }
            continue;
        }
        left -= cost;
        let first = !state.chosen[candidate.file].any();
        state.take(&candidate);
        if first {
            // Its header is paid for: all of it is cheaper now.
            state.offer(candidate.file, &mut heap);
        }
    }
    state.chosen
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
        let mut value = WORTH.file * file.likely * (known(chosen.telling + telling) - known(chosen.telling));
        let in_part = new.iter().filter(|line| (part.start..part.end).contains(*line)).count();
        value += WORTH.line * likely * in_part as f64 / (part.end - part.start) as f64;
        if let Some(definition) = part.definition.filter(|_| part.shape != Shape::Between) {
            let signature = file.definitions[definition].signature;
            if new.contains(&signature) {
                value += WORTH.definition * likely;
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

    fn take(&mut self, candidate: &Candidate) {
        let Some(wanted) = self.wanted(candidate) else { return };
        let file = &self.opened[candidate.file];
        let chosen = &mut self.chosen[candidate.file];
        for line in wanted {
            if !chosen.lines[line] && file.is_shown(line) {
                chosen.lines[line] = true;
                chosen.telling += usize::from(tells(file.line(line)));
            }
        }
    }
}

/// Whether a line says something: a bracket alone does not.
fn tells(line: &str) -> bool {
    line.chars().filter(|c| c.is_alphanumeric() || *c == '_').take(4).count() == 4
}
