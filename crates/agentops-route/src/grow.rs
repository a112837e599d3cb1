//! A router that has learnt a list of lines, the same whether it saw them at once or one after the other.
//!
//! Learning from the beginning takes long, learning one more line does not. So everything is learnt from the beginning only at
//! checkpoints, whose places follow from the number of lines alone, and what is behind the last one is learnt line by line.

use crate::eval::Score;
use crate::router::{Decision, Example, Router};

/// The first checkpoint after none.
pub const FIRST: usize = 20;

/// The last checkpoint at or before so many lines: 0, [`FIRST`], then a quarter more each.
#[must_use]
pub fn checkpoint(lines: usize) -> usize {
    let (mut last, mut next) = (0, FIRST);
    while next <= lines {
        (last, next) = (next, next + next / 4);
    }
    last
}

/// A router that learns lines.
#[derive(Debug, Clone)]
pub struct Growth<'a> {
    bare: &'a Router,
    base: &'a [Example],
    held: &'a [Example],
    router: Router,
}

impl<'a> Growth<'a> {
    /// Begins with a router that has learnt nothing, and labelled examples that are learnt beside all lines. What is sure is
    /// measured on `held`; see [`Router::fit`].
    #[must_use]
    pub fn new(bare: &'a Router, base: &'a [Example], held: &'a [Example]) -> Self {
        let mut growth = Self { bare, base, held, router: bare.clone() };
        if !base.is_empty() {
            growth.fit(&[]);
        }
        growth
    }

    fn fit(&mut self, lines: &[Example]) {
        let all: Vec<Example> = self.base.iter().chain(lines).cloned().collect();
        self.router = self.bare.clone();
        self.router.fit(&all, self.held);
    }

    /// Learns the last of `lines`, all those before having been learnt.
    pub fn learn_last(&mut self, lines: &[Example]) {
        if checkpoint(lines.len()) == lines.len() {
            self.fit(lines);
        } else if let Some(line) = lines.last() {
            self.router.learn(&line.text, &line.label);
        }
    }

    /// The router as it is now.
    #[must_use]
    pub fn router(&self) -> &Router {
        &self.router
    }
}

/// A router that has learnt all these lines.
#[must_use]
pub fn grown(bare: &Router, base: &[Example], held: &[Example], lines: &[Example]) -> Router {
    let (fitted, later) = lines.split_at(checkpoint(lines.len()));
    let mut growth = Growth { bare, base, held, router: bare.clone() };
    if !(base.is_empty() && fitted.is_empty()) {
        growth.fit(fitted);
    }
    for line in later {
        growth.router.learn(&line.text, &line.label);
    }
    growth.router
}

/// How a router did on lines that it had not learnt yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// The first label, on all lines.
    pub first: Score,
    /// The first label, where it would have been taken without asking.
    pub auto: Score,
}

/// Progressive validation: each line is predicted before it is learnt (Blum, Kalai, Langford, "Beating the hold-out", 1999).
#[must_use]
pub fn progress(bare: &Router, base: &[Example], held: &[Example], lines: &[Example]) -> Progress {
    let mut growth = Growth::new(bare, base, held);
    let mut progress = Progress::default();
    for (at, line) in lines.iter().enumerate() {
        let answer = growth.router().route(&line.text);
        let right = answer.ranked.first().is_some_and(|(label, _)| growth.router().label(*label) == line.label);
        progress.first.count(right);
        if answer.decision == Decision::Auto {
            progress.auto.count(right);
        }
        growth.learn_last(&lines[..=at]);
    }
    progress
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::Entry;

    fn bare() -> Router {
        let entry = |label: &str, description: &str| Entry {
            label: label.into(),
            name: label.into(),
            description: description.into(),
            ..Entry::default()
        };
        Router::new(&[
            entry("docs", "Writes documents and guides."),
            entry("tests", "Writes tests and finds missing ones."),
            entry("data", "Changes the database and its queries."),
        ])
    }

    fn lines(count: usize) -> Vec<Example> {
        let of = [("docs", "describe the"), ("tests", "cover the"), ("data", "index the")];
        (0..count)
            .map(|n| Example { text: format!("{} part {n} of module m{}", of[n % 3].1, n / 3), label: of[n % 3].0.into() })
            .collect()
    }

    #[test]
    fn checkpoints_follow_from_the_number_alone() {
        let places: Vec<usize> = (0..=64).filter(|lines| checkpoint(*lines) == *lines).collect();
        assert_eq!(places, [0, 20, 25, 31, 38, 47, 58]);
        assert!((0..5_000).all(|lines| checkpoint(lines) <= lines && checkpoint(lines) <= checkpoint(lines + 1)));
    }

    #[test]
    fn at_once_and_line_by_line_are_the_same_router() {
        let (bare, lines, base) = (bare(), lines(27), lines(3));
        let mut growth = Growth::new(&bare, &base, &[]);
        for count in 0..=lines.len() {
            if count > 0 {
                growth.learn_last(&lines[..count]);
            }
            if ![0, 1, 19, 20, 24, 27].contains(&count) {
                continue;
            }
            let whole = grown(&bare, &base, &[], &lines[..count]);
            for text in ["describe the part 4", "cover module m2", "something else", ""] {
                let (a, b) = (whole.route(text), growth.router().route(text));
                assert_eq!((a.ranked, a.confidence, a.in_scope), (b.ranked, b.confidence, b.in_scope), "{count} lines");
            }
        }
    }

    #[test]
    fn nothing_is_automatic_before_there_is_enough_evidence() {
        let (bare, lines) = (bare(), lines(39));
        let router = grown(&bare, &[], &[], &lines);
        assert!(lines.iter().all(|line| router.route(&line.text).decision != Decision::Auto));
        assert!(lines.iter().all(|line| bare.route(&line.text).decision != Decision::Auto));
        let progress = progress(&bare, &[], &[], &lines);
        assert_eq!((progress.first.all, progress.auto.all), (39, 0));
        assert!(progress.first.right > 20, "it learns: {progress:?}");
    }
}
