//! The parts of a file that are chosen or left out on their own: definitions, pieces of long ones, and what lies between.

use super::outline::Definition;

/// A part is seldom longer than this many lines.
const LINES_MAX: usize = 40;
/// A piece of a longer one has about this many.
const PIECE_LINES: usize = 24;
/// How far from there the cut may be.
const CUT_SLACK: usize = 8;

/// What a part is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A definition with its signature, or the beginning of a long one.
    Whole,
    /// A later piece of a long definition.
    Piece,
    /// The signature of what only holds others.
    Head,
    /// What lies between definitions: imports, constants, prose.
    Between,
}

/// Neighbouring lines of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The first line, from 0.
    pub start: usize,
    /// The line after the last.
    pub end: usize,
    /// The definition that it is of or lies in.
    pub definition: Option<usize>,
    /// What it is.
    pub shape: Shape,
}

/// Cuts a file into parts, in the order of their lines. Lines without a word are in none.
pub fn of(lines: &[&str], definitions: &[Definition]) -> Vec<Part> {
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); definitions.len()];
    let mut top = Vec::new();
    for (index, definition) in definitions.iter().enumerate() {
        match definition.parent {
            Some(parent) => children[parent].push(index),
            None => top.push(index),
        }
    }
    let mut cutter = Cutter { lines, definitions, children, parts: Vec::new() };
    cutter.region(0, lines.len(), None, &top);
    cutter.parts
}

struct Cutter<'a> {
    lines: &'a [&'a str],
    definitions: &'a [Definition],
    children: Vec<Vec<usize>>,
    parts: Vec<Part>,
}

impl Cutter<'_> {
    /// The lines of a region, of which some are definitions. Not recursive: nesting is what others decide.
    fn region(&mut self, start: usize, end: usize, owner: Option<usize>, inner: &[usize]) {
        // What is still to do, last first.
        let mut open = vec![(start, end, owner, inner.to_vec(), 0_usize)];
        while let Some((mut at, end, owner, inner, mut next)) = open.pop() {
            let mut into = None;
            while next < inner.len() {
                let index = inner[next];
                let definition = &self.definitions[index];
                next += 1;
                if definition.start < at.min(end) || definition.end > end {
                    continue;
                }
                self.stretch(at, definition.start, owner, Shape::Between);
                at = definition.end;
                if definition.holds && !self.children[index].is_empty() {
                    self.put(definition.start, definition.body, Some(index), Shape::Head);
                    into = Some((definition.body, definition.end, Some(index), self.children[index].clone(), 0));
                    break;
                }
                self.stretch(definition.start, definition.end, Some(index), Shape::Whole);
            }
            match into {
                Some(into) => {
                    open.push((at, end, owner, inner, next));
                    open.push(into);
                }
                None => self.stretch(at, end, owner, Shape::Between),
            }
        }
    }

    /// Neighbouring lines, cut into pieces where they are many.
    fn stretch(&mut self, start: usize, end: usize, definition: Option<usize>, shape: Shape) {
        let mut at = start;
        let mut shape = shape;
        while end.saturating_sub(at) > LINES_MAX {
            let cut = self.cut(at + PIECE_LINES - CUT_SLACK, at + PIECE_LINES + CUT_SLACK);
            self.put(at, cut, definition, shape);
            at = cut;
            if shape == Shape::Whole {
                shape = Shape::Piece;
            }
        }
        self.put(at, end, definition, shape);
    }

    /// The best line to cut before: after a blank one, else the one least far in.
    fn cut(&self, from: usize, to: usize) -> usize {
        let cost = |at: usize| {
            let line = self.lines[at];
            let indent = line.len() - line.trim_start().len();
            let closes = line.trim_start().starts_with(['}', ')', ']']);
            let after_blank = self.lines[at - 1].trim().is_empty();
            (usize::from(!after_blank) * 4 + indent + usize::from(closes) * 4, at.abs_diff(from + CUT_SLACK))
        };
        (from..=to).min_by_key(|at| cost(*at)).unwrap_or(to)
    }

    fn put(&mut self, start: usize, end: usize, definition: Option<usize>, shape: Shape) {
        let is_blank = |at: usize| self.lines[at].trim().is_empty();
        let mut range = start..end.max(start);
        while !range.is_empty() && is_blank(range.start) {
            range.start += 1;
        }
        while !range.is_empty() && is_blank(range.end - 1) {
            range.end -= 1;
        }
        let says = self.lines[range.clone()].iter().any(|line| {
            line.bytes().filter(u8::is_ascii_alphanumeric).count() >= 3
                || line.chars().filter(|c| c.is_alphabetic()).count() >= 3
        });
        if says {
            self.parts.push(Part { start: range.start, end: range.end, definition, shape });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::code::{kind, outline};
    use proptest::prelude::*;

    fn parts(path: &str, text: &str) -> Vec<(usize, usize, Shape)> {
        let lines: Vec<&str> = text.lines().collect();
        let definitions = outline::of(text, &lines, kind::of(path, text), true);
        of(&lines, &definitions).into_iter().map(|part| (part.start, part.end, part.shape)).collect()
    }

    #[test]
    fn a_class_is_its_head_and_its_methods() {
        let text = "import x\n\nclass A:\n    \"\"\"Says.\"\"\"\n    def b(self):\n        pass\n\n    def c(self):\n        pass\n";
        assert_eq!(
            parts("a.py", text),
            [(0, 1, Shape::Between), (2, 3, Shape::Head), (3, 6, Shape::Whole), (7, 9, Shape::Whole)]
        );
    }

    #[test]
    fn a_long_function_is_cut_at_blank_lines() {
        let body = (0..100)
            .map(|n| if n % 10 == 9 { "\n".to_owned() } else { format!("    let x{n} = {n};\n") })
            .collect::<String>();
        let found = parts("a.rs", &format!("fn long() {{\n{body}}}\n"));
        assert!(found.len() > 3 && found[0].2 == Shape::Whole && found[1].2 == Shape::Piece, "{found:?}");
    }

    proptest! {
        /// No line is in two parts, and every line that says something is in one.
        #[test]
        fn parts_hold_every_line_once(
            text in "(fn [a-z]{3}\\(\\) \\{\n|    [a-z ]{3,20};\n|\\}\n|\n|impl [A-Z]{3} \\{\n|// [a-z]{3}\n){0,150}",
            ending in prop::sample::select(vec!["rs", "py", "js", "go", "txt"]),
        ) {
            let lines: Vec<&str> = text.lines().collect();
            let mut seen = vec![0; lines.len()];
            for (start, end, _) in parts(&format!("a.{ending}"), &text) {
                prop_assert!(start < end);
                seen[start..end].iter_mut().for_each(|count| *count += 1);
            }
            for (line, count) in lines.iter().zip(seen) {
                prop_assert!(count <= 1, "{line}");
            }
        }
    }
}
