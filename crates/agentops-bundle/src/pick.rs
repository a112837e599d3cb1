//! The best pieces of a text that fit into a budget, printed in their order.
//!
//! [`select`] puts the pieces into one order, by value per token, and takes as many from its beginning as fit. So a larger
//! budget keeps every fact that a smaller one keeps. A piece may need another one (a line its heading), which comes with it.

use agentops_text::tokens::{cut, text_tokens};

/// A piece of this many tokens has half the rank that its value per token would give it.
const LARGE_TOKENS: f64 = 200.0;

/// A piece that is kept or left out as a whole.
#[derive(Debug, Clone)]
pub(crate) struct Piece {
    /// Its text, with the line's end.
    pub text: String,
    /// Its value, at least 0; only the ratio to the values of other pieces matters.
    pub value: f64,
    /// The earlier piece without which this one says nothing, for example the heading of a line.
    pub needs: Option<usize>,
}

/// The chosen pieces as one text.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Selection {
    /// The head and the chosen pieces, in their order.
    pub text: String,
    /// The o200k tokens of the text.
    pub tokens: u64,
    /// For each piece whether it is in the text.
    pub is_taken: Vec<bool>,
}

/// The text of as many steps, from the first one on, as fit into the budget, with its tokens. `print` gives the text of the first
/// steps, and its length grows with their number. The steps and their order must not depend on the budget: then a larger budget
/// keeps all that a smaller one keeps. The last figure is the number of steps in the text.
pub(crate) fn first_steps(steps: usize, budget: u64, mut print: impl FnMut(usize) -> String) -> (String, u64, usize) {
    let bare = cut(&print(0), budget).to_owned();
    let mut best = (text_tokens(&bare), bare);
    let count = largest(steps, |count| {
        let text = print(count);
        let tokens = text_tokens(&text);
        let fits = tokens <= budget;
        if fits {
            best = (tokens, text);
        }
        fits
    });
    (best.1, best.0, count)
}

/// Chooses pieces and prints them behind `head`. `gap` stands where pieces of one heading are left out. Each piece counts as if
/// it had `more_tokens` more: without them the shortest lines would come before all that matter.
///
/// The order of the pieces does not depend on the budget, and the text is measured as it is printed. Therefore a larger budget
/// keeps every piece that a smaller one keeps. A few tokens stay unused where the next piece does not fit: filling them with a
/// smaller piece would mean to drop that piece again at a larger budget.
pub(crate) fn select(head: &str, pieces: &[Piece], gap: &str, more_tokens: f64, budget: u64) -> Selection {
    let print = Print { head, pieces, gap, budget };
    let Some(bare) = print.within(&[]) else {
        let text = cut(head, budget).to_owned();
        return Selection { tokens: text_tokens(&text), text, is_taken: vec![false; pieces.len()] };
    };
    let order = by_density(pieces, more_tokens);
    let steps = Steps::of(pieces, &order);
    let mut best = bare;
    let count = largest(steps.ends.len(), |count| print.try_within(steps.first(count), &mut best));
    let mut is_taken = vec![false; pieces.len()];
    for at in steps.first(count) {
        is_taken[*at] = true;
    }
    let (text, tokens) = best;
    Selection { text, tokens, is_taken }
}

/// The pieces, the most value per token first. Large pieces come later than that, because a step that does not fit ends the
/// selection.
fn by_density(pieces: &[Piece], more_tokens: f64) -> Vec<usize> {
    let density = |piece: &Piece| {
        let tokens = text_tokens(&piece.text) as f64;
        piece.value / ((tokens + more_tokens).max(1.0) * (1.0 + tokens / LARGE_TOKENS))
    };
    let densities: Vec<f64> = pieces.iter().map(density).collect();
    let mut order: Vec<usize> = (0..pieces.len()).collect();
    order.sort_by(|a, b| densities[*b].total_cmp(&densities[*a]).then(a.cmp(b)));
    order
}

/// All pieces in the order in which they are taken. A step is a piece with the headings that it still needs.
struct Steps {
    pieces: Vec<usize>,
    /// Where each step ends in `pieces`.
    ends: Vec<usize>,
}

impl Steps {
    fn of(pieces: &[Piece], order: &[usize]) -> Self {
        let mut steps = Self { pieces: Vec::with_capacity(order.len()), ends: Vec::new() };
        let mut is_in = vec![false; pieces.len()];
        for at in order.iter().copied().filter(|at| pieces[*at].value > 0.0) {
            let start = steps.pieces.len();
            let mut next = Some(at);
            // A piece only needs an earlier one, so this ends.
            while let Some(at) = next.filter(|at| !is_in[*at]) {
                is_in[at] = true;
                steps.pieces.push(at);
                next = pieces[at].needs.filter(|before| *before < at);
            }
            if steps.pieces.len() > start {
                steps.ends.push(steps.pieces.len());
            }
        }
        steps
    }

    fn end(&self, count: usize) -> usize {
        count.checked_sub(1).map_or(0, |last| self.ends[last])
    }

    fn first(&self, count: usize) -> &[usize] {
        &self.pieces[..self.end(count)]
    }
}

/// The largest count up to `max` that fits. What is tried next depends only on the answers so far, so a larger budget, for which
/// whatever fitted still fits, never leads to a smaller count.
fn largest(max: usize, mut fits: impl FnMut(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, 1);
    while low < max && fits(high.min(max)) {
        low = high.min(max);
        high *= 2;
    }
    high = high.min(max);
    while low + 1 < high {
        let middle = low + (high - low) / 2;
        if fits(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    low
}

/// Prints choices of one list of pieces.
struct Print<'a> {
    head: &'a str,
    pieces: &'a [Piece],
    gap: &'a str,
    budget: u64,
}

impl Print<'_> {
    /// The text of these pieces and its tokens, if they are within the budget.
    fn within(&self, taken: &[usize]) -> Option<(String, u64)> {
        // No token has more than this many bytes; texts that are far too long are not counted.
        const TOKEN_BYTES_MAX: u64 = 200;
        let bytes: usize = taken.iter().map(|at| self.pieces[*at].text.len()).sum();
        if bytes as u64 > (self.budget + 1) * TOKEN_BYTES_MAX {
            return None;
        }
        let text = self.print(taken);
        let tokens = text_tokens(&text);
        (tokens <= self.budget).then_some((text, tokens))
    }

    /// Replaces `best` by the text of these pieces if it is within the budget; returns whether it is.
    fn try_within(&self, taken: &[usize], best: &mut (String, u64)) -> bool {
        let made = self.within(taken);
        let fits = made.is_some();
        *best = made.unwrap_or_else(|| std::mem::take(best));
        fits
    }

    fn print(&self, taken: &[usize]) -> String {
        let mut order = taken.to_vec();
        order.sort_unstable();
        let pieces = self.pieces;
        let mut text = self.head.to_owned();
        let mut before: Option<usize> = None;
        for at in order {
            let piece = &pieces[at];
            let skips = before.is_some_and(|before| before + 1 != at);
            let same = before.is_some_and(|before| pieces[before].needs == piece.needs || piece.needs == Some(before));
            if !self.gap.is_empty() && skips && same && piece.needs.is_some() {
                text.push_str(self.gap);
            }
            text.push_str(&piece.text);
            before = Some(at);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn piece(text: &str, value: f64, needs: Option<usize>) -> Piece {
        Piece { text: text.to_owned(), value, needs }
    }

    #[test]
    fn a_line_brings_its_heading_and_nothing_is_over() {
        let pieces = [
            piece("# one\n", 0.0, None),
            piece("dull\n", 0.1, Some(0)),
            piece("dear\n", 9.0, Some(0)),
            piece("# two\n", 0.0, None),
        ];
        let made = select("", &pieces, "…\n", 3.0, 8);
        assert!(made.text.starts_with("# one\n…\ndear\n") && made.tokens <= 8, "{}", made.text);
        assert_eq!(made.is_taken, [true, false, true, false]);
        let none = select("head\n", &pieces, "", 3.0, 0);
        assert_eq!((none.text.as_str(), none.tokens), ("", 0));
    }

    #[test]
    fn the_largest_count_is_found() {
        for max in 0..40 {
            for limit in 0..45 {
                assert_eq!(largest(max, |count| count <= limit), max.min(limit), "{max} {limit}");
            }
        }
    }

    fn forest() -> impl Strategy<Value = Vec<Piece>> {
        let piece = ("[a-z ]{0,60}\n", 0.0..10.0, any::<Option<prop::sample::Index>>());
        prop::collection::vec(piece, 1..40).prop_map(|drawn| {
            let draw = |(at, (text, value, needs)): (usize, (String, f64, Option<prop::sample::Index>))| {
                let needs = needs.filter(|_| at > 0).map(|needs| needs.index(at));
                Piece { text, value, needs }
            };
            drawn.into_iter().enumerate().map(draw).collect()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn a_larger_budget_keeps_every_piece(pieces in forest(), gap in prop_oneof![Just(""), Just("…\n")]) {
            let mut before = vec![false; pieces.len()];
            for budget in (0..300).chain([10_000]) {
                let made = select("head\n", &pieces, gap, 3.0, budget);
                prop_assert!(made.tokens <= budget && made.tokens == text_tokens(&made.text));
                let keeps = |at: usize| made.is_taken[at] || !before[at];
                prop_assert!((0..pieces.len()).all(keeps), "a piece is gone at {}", budget);
                let has_heading = |at: usize| !made.is_taken[at] || pieces[at].needs.is_none_or(|needs| made.is_taken[needs]);
                prop_assert!((0..pieces.len()).all(has_heading), "a heading is missing at {}", budget);
                before = made.is_taken;
            }
            prop_assert!((0..pieces.len()).all(|at| before[at] || pieces[at].value == 0.0));
        }
    }
}
