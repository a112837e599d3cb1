//! Is a request about anything that can be routed to, and how sure is the best label?
//!
//! Both are logistic models over a few signals of the learner: how far the best label stands out, how likely it is, and how
//! much of the request's words was ever seen. What is usual for requests in scope is measured on held-back ones, and the
//! signals are taken relative to it, so that the same weights fit catalogues of any size.

use crate::bytes::{Reader, Writer};

/// How many signals there are.
pub const SIGNALS: usize = 6;

/// What is looked at; see [`signals`].
pub type Signals = [f32; SIGNALS];

/// The signals of a request: how far the best label stands out; how likely it is, as a logit; the known share of words, of
/// pairs and of pieces; the logarithm of its length.
#[must_use]
pub fn signals(likely: &[f32], clear: f32, known: [f32; 3], features: usize) -> Signals {
    let best = likely.iter().copied().fold(0.0, f32::max);
    [clear, logit(best), known[0], known[1], known[2], (1.0 + features as f32).ln()]
}

/// The logarithm of the odds, kept within ±9.2.
#[must_use]
pub fn logit(likely: f32) -> f32 {
    let likely = likely.clamp(1e-4, 1.0 - 1e-4);
    (likely / (1.0 - likely)).ln()
}

/// The share that odds, as a logarithm, stand for.
#[must_use]
pub fn logistic(odds: f32) -> f32 {
    1.0 / (1.0 + (-odds).exp())
}

/// What of all requests is about nothing here, as long as nobody has shown any.
const OUTSIDE: f32 = 0.2;

/// Weights that tell what is in scope, fitted on the validation splits of CLINC150 and BANKING77-OOS together.
const WEIGHTS: Signals = [2.0, 0.0, 0.0, 0.5, 0.3, -0.1];
const BIAS: f32 = 4.2;

/// What requests differ by at least. Where all that were held back are alike, one that is a little unlike them is no stranger.
const SPREAD_MIN: Signals = [1.0, 0.5, 0.1, 0.1, 0.1, 0.3];

/// See the module's documentation.
#[derive(Debug, Clone, PartialEq)]
pub struct Scope {
    usual: Signals,
    spread: Signals,
    weights: Signals,
    bias: f32,
    /// Of the best label's odds and of the scope's odds: how sure the label is.
    sure: [f32; 2],
    sure_bias: f32,
    /// Sureness and the share of held-back requests that were right there, both rising.
    steps: Vec<(f32, f32)>,
    auto: Option<f32>,
}

/// A held-back request.
#[derive(Debug, Clone, Copy)]
pub struct Held {
    /// Its signals.
    pub signals: Signals,
    /// Whether the best label was right; `None`: the request is about nothing here.
    pub right: Option<bool>,
}

/// Automatic routing must hold a precision of 95 %. The threshold is chosen for a little more: the model of scope was fitted on
/// the same requests, so it looks better there than it is.
const AIMED: f32 = 0.96;
/// Held-back requests that a threshold for automatic routing needs at least.
pub const HELD_MIN: usize = 40;

impl Default for Scope {
    fn default() -> Self {
        Self {
            usual: [0.0; SIGNALS],
            spread: [1.0; SIGNALS],
            weights: [0.0; SIGNALS],
            bias: BIAS,
            sure: [1.0, 0.0],
            sure_bias: 0.0,
            steps: Vec::new(),
            auto: None,
        }
    }
}

impl Scope {
    /// Learns from held-back requests what is usual, what is out of scope, how sure is how right, and from where on routing
    /// may be automatic.
    #[must_use]
    pub fn fit(held: &[Held]) -> Self {
        Self::fit_with(held, &[], 0.0)
    }

    /// The same for a catalogue in which some labels were never learnt. `unlearnt` are requests about such labels that went to
    /// a learnt one; each counts `unlearnt_weight` times as much as one of `held`.
    #[must_use]
    pub fn fit_with(held: &[Held], unlearnt: &[Held], unlearnt_weight: f32) -> Self {
        let inside: Vec<&Held> = held.iter().filter(|held| held.right.is_some()).collect();
        let mut scope = Self::default();
        if inside.len() < 10 {
            return scope;
        }
        for (signal, least) in SPREAD_MIN.into_iter().enumerate() {
            let mean = inside.iter().map(|held| held.signals[signal]).sum::<f32>() / inside.len() as f32;
            let squares = inside.iter().map(|held| (held.signals[signal] - mean).powi(2)).sum::<f32>();
            scope.usual[signal] = mean;
            scope.spread[signal] = (squares / inside.len() as f32).sqrt().max(least);
        }
        // Of few requests the learner is so sure that how sure differs from one learning to the next.
        scope.spread[0] = scope.spread[0].max(scope.usual[0] / 4.0);
        (scope.weights, scope.bias) = (WEIGHTS, BIAS);
        let outside = held.len() - inside.len();
        // As many requests count as out of scope as there are expected to be, however many were shown.
        let each = if outside == 0 { 0.0 } else { OUTSIDE / (1.0 - OUTSIDE) * inside.len() as f32 / outside as f32 };
        let weight = |held: &Held| if held.right.is_some() { 1.0 } else { each };
        if outside >= 30 {
            let rows: Vec<(Signals, bool, f32)> =
                held.iter().map(|held| (scope.relative(&held.signals), held.right.is_some(), weight(held))).collect();
            (scope.weights, scope.bias) = regress(&rows, WEIGHTS, BIAS);
        }
        let weighted: Vec<(&Held, f32)> = held
            .iter()
            .map(|held| (held, weight(held)))
            .chain(unlearnt.iter().map(|held| (held, unlearnt_weight)))
            .filter(|(_, weight)| *weight > 0.0)
            .collect();
        let rows: Vec<([f32; 2], bool, f32)> =
            weighted.iter().map(|(held, weight)| (scope.odds(&held.signals), held.right == Some(true), *weight)).collect();
        (scope.sure, scope.sure_bias) = regress(&rows, [1.0, 0.3], 0.0);
        let mut sorted: Vec<(f32, &Held, f32)> =
            weighted.into_iter().map(|(held, weight)| (scope.sureness(&held.signals), held, weight)).collect();
        sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
        let within: Vec<(f32, bool, f32)> =
            sorted.iter().filter_map(|(at, held, weight)| Some((*at, held.right?, *weight))).collect();
        let all: Vec<(f32, bool, f32)> =
            sorted.iter().map(|(at, held, weight)| (*at, held.right == Some(true), *weight)).collect();
        scope.steps = rising(&within);
        scope.auto = threshold(&all);
        scope
    }

    fn relative(&self, signals: &Signals) -> Signals {
        std::array::from_fn(|at| ((signals[at] - self.usual[at]) / self.spread[at]).clamp(-6.0, 6.0))
    }

    fn odds(&self, signals: &Signals) -> [f32; 2] {
        let relative = self.relative(signals);
        let inside = relative.iter().zip(&self.weights).map(|(signal, weight)| signal * weight).sum::<f32>() + self.bias;
        [signals[1], inside.clamp(-9.0, 9.0)]
    }

    fn sureness(&self, signals: &Signals) -> f32 {
        let odds = self.odds(signals);
        odds[0] * self.sure[0] + odds[1] * self.sure[1] + self.sure_bias
    }

    /// Whether there were held-back requests to learn from.
    #[must_use]
    pub fn is_fitted(&self) -> bool {
        !self.steps.is_empty()
    }

    /// How likely a request is about something here.
    #[must_use]
    pub fn inside(&self, signals: &Signals) -> f32 {
        logistic(self.odds(signals)[1])
    }

    /// How likely the best label is right, where the request is about something here at all.
    #[must_use]
    pub fn confidence(&self, signals: &Signals) -> f32 {
        let sureness = self.sureness(signals);
        let next = self.steps.partition_point(|(at, _)| *at < sureness);
        let confidence = match (next.checked_sub(1).map(|before| self.steps[before]), self.steps.get(next)) {
            (Some((low, below)), Some((high, above))) if high > &low => {
                below + (above - below) * (sureness - low) / (high - low)
            }
            (Some((_, last)), _) => last,
            (None, Some((at, first))) => first * (logistic(sureness) / logistic(*at)).sqrt(),
            (None, None) => return logistic(sureness),
        };
        // A whisker of the unrounded figure keeps the order of two that fall into one step.
        confidence * 0.99 + logistic(sureness) * 0.01
    }

    /// Whether the label may be taken without asking.
    #[must_use]
    pub fn is_auto(&self, signals: &Signals) -> bool {
        self.auto.is_some_and(|auto| self.sureness(signals) >= auto)
    }
}

impl Scope {
    pub(crate) fn write(&self, to: &mut Writer) {
        for numbers in [&self.usual, &self.spread, &self.weights] {
            numbers.iter().for_each(|number| to.one(*number));
        }
        [self.bias, self.sure[0], self.sure[1], self.sure_bias].into_iter().for_each(|number| to.one(number));
        let (at, share): (Vec<f32>, Vec<f32>) = self.steps.iter().copied().unzip();
        to.many(&at);
        to.many(&share);
        to.many(self.auto.as_slice());
    }

    pub(crate) fn read(from: &mut Reader<'_>) -> Option<Self> {
        let mut scope = Self::default();
        for numbers in [&mut scope.usual, &mut scope.spread, &mut scope.weights] {
            for number in numbers {
                *number = from.one()?;
            }
        }
        scope.bias = from.one()?;
        scope.sure = [from.one()?, from.one()?];
        scope.sure_bias = from.one()?;
        let (at, share): (Vec<f32>, Vec<f32>) = (from.many()?, from.many()?);
        scope.steps = at.into_iter().zip(share).collect();
        scope.auto = from.many()?.first().copied();
        Some(scope)
    }
}

/// The lowest sureness from which on [`AIMED`] held; sorted by sureness. `None`: it never did on enough requests.
fn threshold(sorted: &[(f32, bool, f32)]) -> Option<f32> {
    if sorted.len() < HELD_MIN {
        return None;
    }
    let (mut right, mut all, mut best) = (0.0, 0.0, None);
    for (count, (sureness, is_right, weight)) in sorted.iter().rev().enumerate() {
        all += weight;
        right += if *is_right { *weight } else { 0.0 };
        if count + 1 >= HELD_MIN / 2 && right / all >= AIMED {
            best = Some(*sureness);
        }
    }
    // Where even the least sure request passes, none shows where routing begins to fail. The threshold then lies half way
    // to where the model of sureness expects it.
    let least = sorted.first().map(|(sureness, ..)| *sureness);
    best.map(|best| if Some(best) == least { best.min((best + logit(AIMED)) / 2.0) } else { best })
}

/// Logistic regression by gradients with AdaGrad's steps, held near the weights it begins with: a few out-of-scope requests must not make
/// a model of their own.
fn regress<const N: usize>(rows: &[([f32; N], bool, f32)], begin: [f32; N], begin_bias: f32) -> ([f32; N], f32) {
    let all = rows.iter().map(|(.., weight)| weight).sum::<f32>().max(1.0);
    let (mut weights, mut bias) = (begin, begin_bias);
    let hold = 1.0 / all;
    let mut seen = [1e-6f32; N];
    let mut seen_bias = 1e-6f32;
    for _ in 0..400 {
        let mut slope = [0.0; N];
        let mut slope_bias = 0.0;
        for (signals, inside, weight) in rows {
            let odds = signals.iter().zip(&weights).map(|(signal, weight)| signal * weight).sum::<f32>() + bias;
            let error = (logistic(odds) - f32::from(u8::from(*inside))) * weight / all;
            slope.iter_mut().zip(signals).for_each(|(slope, signal)| *slope += error * signal);
            slope_bias += error;
        }
        for at in 0..N {
            let slope = slope[at] + hold * (weights[at] - begin[at]);
            seen[at] += slope * slope;
            weights[at] -= 0.3 * slope / seen[at].sqrt();
        }
        seen_bias += slope_bias * slope_bias;
        bias -= 0.3 * slope_bias / seen_bias.sqrt();
    }
    (weights, bias)
}

/// The share that was right at each sureness, made to rise: pool adjacent violators (Ayer et al. 1955) over groups of equal
/// size, each with half a right and half a wrong request more than it has.
fn rising(sorted: &[(f32, bool, f32)]) -> Vec<(f32, f32)> {
    let group = (sorted.len() / 10).max(40);
    let mut pools: Vec<(f32, f32, f32)> = Vec::new(); // sureness, right and all, summed
    for chunk in sorted.chunks(group) {
        let right = chunk.iter().filter(|(_, right, _)| *right).map(|(.., weight)| weight).sum::<f32>();
        let mean = chunk.iter().map(|(at, _, weight)| at * weight).sum::<f32>();
        pools.push((mean, right, chunk.iter().map(|(.., weight)| weight).sum::<f32>()));
        while let [.., a, b] = pools.as_slice() {
            if a.1 / a.2 < b.1 / b.2 {
                break;
            }
            let merged = (a.0 + b.0, a.1 + b.1, a.2 + b.2);
            pools.truncate(pools.len() - 2);
            pools.push(merged);
        }
    }
    pools.iter().map(|(at, right, all)| (at / all, (right + 0.5) / (all + 1.0))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn held(likely: f32, clear: f32, right: Option<bool>) -> Held {
        Held { signals: [clear, logit(likely), clear / 10.0, clear / 10.0, clear / 10.0, 2.0], right }
    }

    #[test]
    fn confidence_is_the_share_that_was_right() {
        // Nine of ten right at 0.9, six of ten at 0.5.
        let rows: Vec<Held> = (0..400)
            .map(|n| if n % 2 == 0 { held(0.9, 8.0, Some(n % 20 != 0)) } else { held(0.5, 6.0, Some(n % 10 < 6)) })
            .collect();
        let scope = Scope::fit(&rows);
        let sure = scope.confidence(&rows[0].signals);
        let unsure = scope.confidence(&rows[1].signals);
        assert!((sure - 0.9).abs() < 0.05 && (unsure - 0.6).abs() < 0.08, "{sure} {unsure}");
        assert!(!scope.is_auto(&rows[0].signals), "0.9 is no 0.95");
    }

    #[test]
    fn without_evidence_nothing_is_automatic() {
        let rows: Vec<Held> = (0..HELD_MIN - 1).map(|_| held(0.99, 9.0, Some(true))).collect();
        assert!(!Scope::fit(&rows).is_auto(&rows[0].signals));
        assert!(!Scope::default().is_auto(&rows[0].signals));
    }

    proptest! {
        #[test]
        fn figures_are_shares(rows in proptest::collection::vec((0.0f32..1.0, 0.0f32..12.0, proptest::option::of(any::<bool>())), 0..200)) {
            let rows: Vec<Held> = rows.into_iter().map(|(likely, clear, right)| held(likely, clear, right)).collect();
            let scope = Scope::fit(&rows);
            for row in &rows {
                let (confidence, inside) = (scope.confidence(&row.signals), scope.inside(&row.signals));
                prop_assert!((0.0..=1.0).contains(&confidence) && (0.0..=1.0).contains(&inside));
            }
        }
    }
}
