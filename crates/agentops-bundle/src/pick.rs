//! The best pieces of a text that fit into a budget, printed in their order.
//!
//! Greedy by value per token. A piece may need another one (a line its heading), which is then taken with it.

use agentops_text::tokens::{cut, text_tokens};

/// How often what is left of the budget is filled again.
const ROUNDS: usize = 3;

/// A piece that is kept or left out as a whole.
#[derive(Debug, Clone)]
pub(crate) struct Piece {
    /// Its text, with the line's end.
    pub text: String,
    /// What it is worth.
    pub value: f64,
    /// The piece before it without which it says nothing.
    pub needs: Option<usize>,
}

/// A choice of pieces that can be filled up, printed, and taken back from its end.
pub(crate) trait Choice {
    /// Takes what fits into so many tokens more, the best first.
    fn fill(&mut self, left: u64);
    /// What is taken, in the order in which it was.
    fn taken(&mut self) -> &mut Vec<usize>;
    /// What a piece counts at most.
    fn cost(&self, at: usize) -> u64;
    /// The text of what is taken.
    fn print(&self) -> String;
}

/// Fills a choice as far as its text stays within the budget; the text and its tokens. Marks and gaps are counted before it is
/// known whether they are needed, so what is left is filled again, at most `rounds` times.
pub(crate) fn settled(choice: &mut impl Choice, head_tokens: u64, rounds: usize, budget: u64) -> (String, u64) {
    let mut left = budget.saturating_sub(head_tokens);
    let mut best = None;
    for _ in 0..rounds {
        let before = choice.taken().len();
        choice.fill(left);
        if choice.taken().len() == before && best.is_some() {
            break;
        }
        let text = choice.print();
        let tokens = text_tokens(&text);
        if tokens > budget {
            break;
        }
        left = budget - tokens;
        best = Some((text, tokens));
    }
    best.unwrap_or_else(|| trimmed(choice, budget))
}

/// The text of a choice without the last that it took, where it is over the budget. The sum of parts is nearly always an upper
/// bound; where it is not, the least valuable go.
pub(crate) fn trimmed(choice: &mut impl Choice, budget: u64) -> (String, u64) {
    loop {
        let text = choice.print();
        let tokens = text_tokens(&text);
        if tokens <= budget {
            return (text, tokens);
        }
        if choice.taken().is_empty() {
            let text = cut(&text, budget).to_owned();
            let tokens = text_tokens(&text);
            return (text, tokens);
        }
        let mut over = tokens - budget;
        while let Some(at) = choice.taken().pop() {
            over = over.saturating_sub(choice.cost(at));
            if over == 0 {
                break;
            }
        }
    }
}

struct Picked<'a> {
    head: &'a str,
    pieces: &'a [Piece],
    gap: &'a str,
    costs: Vec<u64>,
    order: Vec<usize>,
    is_taken: Vec<bool>,
    taken: Vec<usize>,
}

/// The text of the best choice behind `head`, and its tokens. `gap` stands where pieces of one heading are left out.
/// Each piece counts as if it had `more` tokens more: without them the shortest lines would be taken before all that matter.
pub(crate) fn within(head: &str, pieces: &[Piece], gap: &str, more: f64, budget: u64) -> (String, u64) {
    let gap_tokens = if gap.is_empty() { 0 } else { 1 };
    let costs: Vec<u64> = pieces.iter().map(|piece| text_tokens(&piece.text) + gap_tokens).collect();
    let density = |at: usize| pieces[at].value / (costs[at] as f64 + more);
    let mut order: Vec<usize> = (0..pieces.len()).collect();
    order.sort_by(|a, b| density(*b).total_cmp(&density(*a)).then(a.cmp(b)));
    let (is_taken, taken) = (vec![false; pieces.len()], Vec::new());
    settled(&mut Picked { head, pieces, gap, costs, order, is_taken, taken }, text_tokens(head), ROUNDS, budget)
}

impl Choice for Picked<'_> {
    fn fill(&mut self, mut left: u64) {
        for at in self.order.iter().copied() {
            // Headings of headings, as deep as they go; a piece only needs what stands before it, so this ends.
            let mut with = Vec::new();
            let mut next = Some(at);
            while let Some(at) = next.filter(|at| !self.is_taken[*at]) {
                with.push(at);
                next = self.pieces[at].needs.filter(|before| *before < at);
            }
            let cost: u64 = with.iter().map(|at| self.costs[*at]).sum();
            if with.is_empty() || cost > left {
                continue;
            }
            left -= cost;
            for at in with.into_iter().rev() {
                self.is_taken[at] = true;
                self.taken.push(at);
            }
        }
    }

    fn taken(&mut self) -> &mut Vec<usize> {
        &mut self.taken
    }

    fn cost(&self, at: usize) -> u64 {
        self.costs[at]
    }

    fn print(&self) -> String {
        print(self.head, self.pieces, &self.taken, self.gap)
    }
}

fn print(head: &str, pieces: &[Piece], taken: &[usize], gap: &str) -> String {
    let mut order = taken.to_vec();
    order.sort_unstable();
    let mut text = head.to_owned();
    let mut before: Option<usize> = None;
    for at in order {
        let piece = &pieces[at];
        let skips = before.is_some_and(|before| before + 1 != at);
        let same = before.is_some_and(|before| pieces[before].needs == piece.needs || piece.needs == Some(before));
        if !gap.is_empty() && skips && same && piece.needs.is_some() {
            text.push_str(gap);
        }
        text.push_str(&piece.text);
        before = Some(at);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_brings_its_heading_and_nothing_is_over() {
        let piece = |text: &str, value: f64, needs| Piece { text: text.to_owned(), value, needs };
        let pieces = [
            piece("# one\n", 0.0, None),
            piece("dull\n", 0.1, Some(0)),
            piece("dear\n", 9.0, Some(0)),
            piece("# two\n", 0.0, None),
        ];
        let (text, tokens) = within("", &pieces, "…\n", 3.0, 8);
        assert!(text.starts_with("# one\n…\ndear\n") && tokens <= 8, "{text}");
        assert_eq!(within("head\n", &pieces, "", 3.0, 0), (String::new(), 0));
    }
}
