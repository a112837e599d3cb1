//! One budget of tokens for several parts.
//!
//! Each part is compressed at a few sizes, which are the same for every budget. The tokens then go, step by step, to the part
//! whose next step adds most to the score for each token, so a part that is whole takes nothing from one that is not. The rest of
//! the budget goes to the part that gains most from it. Because a last large step may gain less than the rest would, the last
//! steps are also tried without.

use std::collections::BTreeMap;

use crate::{Class, Compressed, SourceError};

/// The smallest size at which a part is tried, in tokens. Each further size is twice as large.
const SIZE_MIN: u64 = 64;
/// Last steps that are tried without.
const UNDONE_MAX: usize = 5;
/// Parts that compete for the rest of the budget: those that have lost most.
const COMPETING: usize = 3;
/// What a step without facts adds to the score: a little, since it adds text.
const TEXT_GAIN: f64 = 1e-6;

/// What all of a part without facts adds, in classes. It grows with the tokens that are shown.
const FACTLESS_WORTH: f64 = 0.25;

/// Something that can be compressed to a size.
pub(super) trait Shrink {
    fn compress(&self, budget: u64) -> Result<Compressed, SourceError>;
}

/// A part at one size.
#[derive(Clone)]
struct Size {
    made: Compressed,
    /// What the facts that are still there add to the sum of the classes' shares, and what the others would add.
    kept: f64,
    lost: f64,
}

/// Weight of all parts' facts by class. The score is the mean of the classes' shares, so a fact counts by its share of its class.
type Totals = BTreeMap<Class, u64>;

impl Size {
    fn of(made: Compressed, totals: &Totals) -> Self {
        let classes = made.fidelity().classes;
        if classes.is_empty() {
            let kept = FACTLESS_WORTH * made.after.min(made.before) as f64 / made.before.max(1) as f64;
            return Self { made, kept, lost: FACTLESS_WORTH - kept };
        }
        let share = |class: Class, weight: u64| weight as f64 / totals.get(&class).copied().unwrap_or(1).max(1) as f64;
        let kept = classes.iter().map(|score| share(score.class, score.kept)).sum();
        let lost = classes.iter().map(|score| share(score.class, score.total - score.kept)).sum();
        Self { made, kept, lost }
    }
}

/// A part takes a larger size than it had.
struct Step {
    part: usize,
    from: usize,
}

/// Compresses each part so that all of them together take at most this many tokens.
pub(super) fn share<T: Shrink>(parts: &[T], budget: u64) -> Result<Vec<Compressed>, SourceError> {
    if let [part] = parts {
        return Ok(vec![part.compress(budget)?]);
    }
    let made = parts.iter().map(|part| sizes(part, budget)).collect::<Result<Vec<_>, _>>()?;
    // Facts are taken from the source, so they are the same at every size.
    let mut totals = Totals::new();
    for fact in made.iter().filter_map(|sizes| sizes.first()).flat_map(|made| &made.facts) {
        *totals.entry(fact.class).or_default() += u64::from(fact.weight);
    }
    let sized = |made: Vec<Compressed>| made.into_iter().map(|made| Size::of(made, &totals)).collect();
    let tried = made.into_iter().map(sized).collect();
    let best = Sharing { parts, tried, totals: &totals, budget }.best()?;
    Ok(best.into_iter().map(|size| size.made).collect())
}

/// A part at every size that differs, the smallest first. The first takes no tokens.
fn sizes<T: Shrink>(part: &T, budget: u64) -> Result<Vec<Compressed>, SourceError> {
    let ladder = std::iter::successors(Some(SIZE_MIN), |size| size.checked_mul(2)).take_while(|size| *size <= budget);
    let mut sizes: Vec<Compressed> = Vec::new();
    for size in std::iter::once(0).chain(ladder) {
        let made = match part.compress(size) {
            // Too small a size for what must be there. A larger one may do.
            Err(SourceError::Budget { .. }) => continue,
            made => made?,
        };
        let is_whole = size > 0 && made.after >= made.before;
        if sizes.last().is_none_or(|last| last.text != made.text) {
            sizes.push(made);
        }
        if is_whole {
            break;
        }
    }
    if sizes.is_empty() {
        sizes.push(part.compress(budget)?);
    }
    Ok(sizes)
}

struct Sharing<'a, T> {
    parts: &'a [T],
    /// Each part at its sizes.
    tried: Vec<Vec<Size>>,
    totals: &'a Totals,
    budget: u64,
}

impl<T: Shrink> Sharing<'_, T> {
    fn best(&self) -> Result<Vec<Size>, SourceError> {
        let (mut chosen, mut steps) = self.steps();
        let mut best = self.filled(&chosen)?;
        for _ in 0..UNDONE_MAX {
            let Some(step) = steps.pop() else { break };
            chosen[step.part] = step.from;
            let other = self.filled(&chosen)?;
            if value(&other) > value(&best) {
                best = other;
            }
        }
        Ok(best)
    }

    /// The size of each part, and the steps by which it got there.
    fn steps(&self) -> (Vec<usize>, Vec<Step>) {
        let mut chosen = vec![0; self.tried.len()];
        let mut taken = Vec::new();
        let smallest: u64 = self.tried.iter().map(|sizes| sizes[0].made.after).sum();
        let mut left = self.budget.saturating_sub(smallest);
        loop {
            let mut best: Option<(f64, usize, usize, u64)> = None;
            for (part, sizes) in self.tried.iter().enumerate() {
                let now = &sizes[chosen[part]];
                for (size, next) in sizes.iter().enumerate().skip(chosen[part] + 1) {
                    let cost = next.made.after.saturating_sub(now.made.after);
                    if cost > left {
                        break;
                    }
                    let rate = ((next.kept - now.kept).max(0.0) + TEXT_GAIN) / cost.max(1) as f64;
                    if best.is_none_or(|(best, ..)| rate > best) {
                        best = Some((rate, part, size, cost));
                    }
                }
            }
            let Some((_, part, size, cost)) = best else { return (chosen, taken) };
            taken.push(Step { part, from: chosen[part] });
            chosen[part] = size;
            left -= cost;
        }
    }

    /// A choice whose rest goes to the part that gains most from it.
    fn filled(&self, chosen: &[usize]) -> Result<Vec<Size>, SourceError> {
        let mut sizes: Vec<Size> = self.tried.iter().zip(chosen).map(|(sizes, size)| sizes[*size].clone()).collect();
        let used: u64 = sizes.iter().map(|size| size.made.after).sum();
        let rest = self.budget.saturating_sub(used);
        let mut competing: Vec<usize> =
            (0..sizes.len()).filter(|part| sizes[*part].made.after < sizes[*part].made.before).collect();
        competing.sort_by(|a, b| sizes[*b].lost.total_cmp(&sizes[*a].lost).then(a.cmp(b)));
        let mut best: Option<(usize, Size)> = None;
        for part in competing.into_iter().take(COMPETING) {
            let now = &sizes[part];
            let larger = Size::of(self.parts[part].compress(now.made.after + rest)?, self.totals);
            let gain = |of: &Size, before: &Size| ((of.kept - before.kept).max(0.0), of.made.after);
            let is_better = best.as_ref().is_none_or(|(at, size)| gain(&larger, now) > gain(size, &sizes[*at]));
            if larger.kept >= now.kept && is_better {
                best = Some((part, larger));
            }
        }
        if let Some((part, size)) = best {
            sizes[part] = size;
        }
        Ok(sizes)
    }
}

/// What a choice is worth: the facts first, then the text.
fn value(sizes: &[Size]) -> (f64, u64) {
    (sizes.iter().map(|size| size.kept).sum(), sizes.iter().map(|size| size.made.after).sum())
}
