//! What must not get lost, taken from the sources before anything is chosen.
//!
//! The ranking says for each file, definition and part how likely the task is about it; the weights were fitted so that these
//! likelihoods are shares of what real changes touched. Facts are drawn evenly along that likelihood, as one draws from a
//! barrel at fixed marks: a fact's weight is how many marks fall on it. So the share of a class that is kept estimates which share
//! of what the task needs is in the bundle, and what was unlikely but is left out counts for what it is.

use super::open::Opened;
use super::parts::Shape;
use super::rank::{FileRank, PartRank};
use super::scan::Scanned;
use crate::{Class, Fact};

/// How many marks a class has.
const MARKS: u32 = 200;
/// See [`sure`]. Fitted so that the score of a bundle is, on average, what real changes found in it.
const SURENESS: f64 = 1.25;
/// A shorter line stands in too many places, in bytes without white space around it.
const LINE_BYTES_MIN: usize = 12;

/// The facts of a repository for a task, by place.
pub fn of(scanned: &Scanned, files: &[FileRank], opened: &[Opened], ranks: &[Vec<PartRank>]) -> Vec<Fact> {
    let mut facts = Vec::new();
    let paths: Vec<(f64, &str)> =
        files.iter().map(|rank| (rank.likely, scanned.sources[rank.source].path.as_str())).collect();
    for ((_, path), weight) in paths.iter().zip(drawn(paths.iter().map(|(likely, _)| sure(*likely)))) {
        if weight > 0 {
            facts.push((*path, 0, Fact::new(Class::Path, *path, *path).weighing(weight)));
        }
    }

    let mut definitions: Vec<(f64, usize, usize)> = Vec::new();
    let mut lines: Vec<(f64, usize, usize)> = Vec::new();
    for (at, (file, ranks)) in opened.iter().zip(ranks).enumerate() {
        let mut without = vec![1.0; file.definitions.len()];
        for (index, (part, rank)) in file.parts.iter().zip(ranks).enumerate() {
            lines.push((rank.likely, at, index));
            if let Some(definition) = part.definition.filter(|_| part.shape != Shape::Between) {
                without[definition] *= 1.0 - rank.likely;
            }
        }
        definitions.extend(without.into_iter().enumerate().map(|(index, without)| (1.0 - without, at, index)));
    }
    for ((_, at, index), weight) in definitions.iter().zip(drawn(definitions.iter().map(|(likely, ..)| sure(*likely)))) {
        let file = &opened[*at];
        let line = file.definitions[*index].signature;
        if weight > 0 {
            facts.push((&file.path, line, fact(file, Class::Definition, line, weight)));
        }
    }
    for ((_, at, index), weight) in lines.iter().zip(drawn(lines.iter().map(|(likely, ..)| sure(*likely)))) {
        if weight == 0 {
            continue;
        }
        let file = &opened[*at];
        let part = &file.parts[*index];
        let telling: Vec<usize> =
            (part.start..part.end).filter(|line| (LINE_BYTES_MIN..400).contains(&file.line(*line).trim().len())).collect();
        // Several marks on one part are several of its lines.
        let many = (weight as usize).min(telling.len());
        for nth in 0..many {
            let line = telling[(2 * nth + 1) * telling.len() / (2 * many)];
            let share = weight as usize * (nth + 1) / many - weight as usize * nth / many;
            facts.push((&file.path, line, fact(file, Class::Line, line, share as u32)));
        }
    }
    facts.sort_by(|a, b| (a.0, a.1, a.2.class).cmp(&(b.0, b.1, b.2.class)));
    facts.into_iter().map(|(.., fact)| fact).collect()
}

fn fact(file: &Opened, class: Class, line: usize, weight: u32) -> Fact {
    Fact::new(class, file.line(line).trim(), format!("{}:{}", file.path, line + 1)).weighing(weight)
}

/// A likelihood as a share of what a task needs. Tasks that name what they are about need little, and vague ones much, of which
/// little is found; each task counts once, so what is likely counts for more than its likelihood.
fn sure(likely: f64) -> f64 {
    likely.powf(SURENESS)
}

/// How many of [`MARKS`] evenly spaced marks fall on each share.
fn drawn(shares: impl Iterator<Item = f64> + Clone) -> Vec<u32> {
    let total: f64 = shares.clone().sum();
    if total <= 0.0 {
        return shares.map(|_| 0).collect();
    }
    let marks_before = |sum: f64| (sum / total * f64::from(MARKS) + 0.5).floor().min(f64::from(MARKS)) as u32;
    let mut sum = 0.0;
    shares
        .map(|share| {
            let before = marks_before(sum);
            sum += share;
            marks_before(sum) - before
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn marks_fall_as_the_shares_are(shares in prop::collection::vec(0.0_f64..1.0, 1..300)) {
            let total: f64 = shares.iter().sum();
            prop_assume!(total > 0.0);
            let drawn = drawn(shares.iter().copied());
            prop_assert!(drawn.iter().sum::<u32>().abs_diff(MARKS) <= 1);
            for (share, drawn) in shares.iter().zip(drawn) {
                prop_assert!((share / total * f64::from(MARKS) - f64::from(drawn)).abs() <= 1.001);
            }
        }
    }
}
