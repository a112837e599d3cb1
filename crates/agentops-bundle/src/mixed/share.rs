//! One budget of tokens for several parts.
//!
//! Each part is compressed at a few sizes, which are the same for every budget. The tokens then go, step by step, to the part
//! whose next step keeps the most facts for each token, so a part that is whole takes nothing from one that is not. The rest of
//! the budget goes to the part that gains most from it. Because a last large step may gain less than the rest would, the last
//! steps are also tried without.

use crate::{Compressed, SourceError};

/// The smallest size at which a part is tried, in tokens. Each further size is twice as large.
const SIZE_MIN: u64 = 64;
/// Last steps that are tried without.
const UNDONE_MAX: usize = 2;
/// Parts that compete for the rest of the budget: those that have lost most.
const COMPETING: usize = 3;

/// Something that can be compressed to a size.
pub(super) trait Shrink {
    fn compress(&self, budget: u64) -> Result<Compressed, SourceError>;
}

/// A part at one size.
#[derive(Clone)]
struct Size {
    made: Compressed,
    /// Weight of the facts that are still there, and of those that are not.
    kept: u64,
    lost: u64,
}

impl Size {
    fn of(made: Compressed) -> Self {
        let classes = made.fidelity().classes;
        let kept = classes.iter().map(|score| score.kept).sum();
        let total: u64 = classes.iter().map(|score| score.total).sum();
        Self { made, kept, lost: total - kept }
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
    let tried = parts.iter().map(|part| sizes(part, budget)).collect::<Result<Vec<_>, _>>()?;
    let (mut chosen, mut steps) = steps(&tried, budget);
    let mut best = filled(parts, &tried, &chosen, budget)?;
    for _ in 0..UNDONE_MAX {
        let Some(step) = steps.pop() else { break };
        chosen[step.part] = step.from;
        let other = filled(parts, &tried, &chosen, budget)?;
        if value(&other) > value(&best) {
            best = other;
        }
    }
    Ok(best.into_iter().map(|size| size.made).collect())
}

/// What a choice is worth: the facts first, then the text.
fn value(sizes: &[Size]) -> (u64, u64) {
    (sizes.iter().map(|size| size.kept).sum(), sizes.iter().map(|size| size.made.after).sum())
}

/// A part at every size that differs, the smallest first. The first takes no tokens.
fn sizes<T: Shrink>(part: &T, budget: u64) -> Result<Vec<Size>, SourceError> {
    let ladder = std::iter::successors(Some(SIZE_MIN), |size| size.checked_mul(2)).take_while(|size| *size <= budget);
    let mut sizes: Vec<Size> = Vec::new();
    for size in std::iter::once(0).chain(ladder) {
        let made = match part.compress(size) {
            // Too small a size for what must be there. A larger one may do.
            Err(SourceError::Budget { .. }) => continue,
            made => made?,
        };
        let is_whole = size > 0 && made.after >= made.before;
        if sizes.last().is_none_or(|last| last.made.text != made.text) {
            sizes.push(Size::of(made));
        }
        if is_whole {
            break;
        }
    }
    if sizes.is_empty() {
        sizes.push(Size::of(part.compress(budget)?));
    }
    Ok(sizes)
}

/// For each part which of its sizes it gets, and the steps by which it got there.
fn steps(parts: &[Vec<Size>], budget: u64) -> (Vec<usize>, Vec<Step>) {
    let mut chosen = vec![0; parts.len()];
    let mut taken = Vec::new();
    let mut left = budget.saturating_sub(parts.iter().map(|sizes| sizes[0].made.after).sum());
    loop {
        let mut best: Option<(f64, usize, usize, u64)> = None;
        for (part, sizes) in parts.iter().enumerate() {
            let now = &sizes[chosen[part]];
            for (size, next) in sizes.iter().enumerate().skip(chosen[part] + 1) {
                let cost = next.made.after.saturating_sub(now.made.after);
                if cost > left {
                    break;
                }
                // Text without facts is worth a little.
                let gain = next.kept.saturating_sub(now.kept) as f64 + 0.001;
                let rate = gain / cost.max(1) as f64;
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
fn filled<T: Shrink>(parts: &[T], tried: &[Vec<Size>], chosen: &[usize], budget: u64) -> Result<Vec<Size>, SourceError> {
    let mut sizes: Vec<Size> = tried.iter().zip(chosen).map(|(sizes, size)| sizes[*size].clone()).collect();
    let used: u64 = sizes.iter().map(|size| size.made.after).sum();
    let mut competing: Vec<usize> =
        (0..sizes.len()).filter(|part| sizes[*part].made.after < sizes[*part].made.before).collect();
    competing.sort_by_key(|part| std::cmp::Reverse(sizes[*part].lost));
    let mut best: Option<(usize, Size)> = None;
    for part in competing.into_iter().take(COMPETING) {
        let now = &sizes[part];
        let larger = Size::of(parts[part].compress(now.made.after + budget.saturating_sub(used))?);
        let gain = |of: &Size, before: &Size| (of.kept.saturating_sub(before.kept), of.made.after);
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
