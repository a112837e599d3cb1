//! Combines what the catalogue's files, the words of labelled requests and the trained network say about each label.
//!
//! Each label's network weight grows with its own number of labelled requests, so that a few requests never outvote the
//! files. Labels without requests keep the probability that the files give them as a group: the network knows nothing
//! about them, and must not take it away. The pool of opinions within the learnt labels is logarithmic (Genest and
//! Zidek, "Combining probability distributions", 1986).

use crate::scope::{logistic, logit};

/// Power of a BM25 score that makes it a probability. The first is for files alone; longer texts spread scores less, so
/// scores that include labelled requests need a lower one.
const FILES_POWER: f32 = 7.0;
/// See [`FILES_POWER`].
const EXAMPLES_POWER: f32 = 4.0;
/// Labelled requests of a label at which its network counts half of [`NETWORK_MAX`].
const HALF: f32 = 1.0;
/// Largest weight of the network.
const NETWORK_MAX: f32 = 0.9;
/// Share of uniform probability that is mixed into each opinion: none is ever certain. The network's share falls with the
/// square of the number of labelled requests.
const UNIFORM: f32 = 0.03;
/// The same for the probability that the request belongs to any learnt label.
const GROUP_UNIFORM: f32 = 0.1;
/// How much the labelled requests count, beside the files, for whether the request belongs to any learnt label. Labels
/// with requests have more text than those without, and would attract every request if this were 1.
const GROUP_EXAMPLES: f32 = 0.2;

/// What is known about a label that has labelled requests.
#[derive(Debug, Clone, Copy)]
pub struct Learnt {
    /// The label's number.
    pub label: usize,
    /// Its labelled requests.
    pub count: u32,
    /// Its probability by the network; those of all learnt labels sum to one.
    pub network: f32,
}

/// Probabilities by files alone, from scores that are not negative. All scores zero: each label is as likely as the next.
#[must_use]
pub fn from_files(scores: &[f32]) -> Vec<f32> {
    to_probabilities(scores, FILES_POWER)
}

/// Probabilities by everything. `files` and `examples` are scores of all labels: by files alone, and by files and labelled
/// requests together.
#[must_use]
pub fn from_everything(files: &[f32], examples: &[f32], learnt: &[Learnt]) -> Vec<f32> {
    let mut probabilities = from_files(files);
    if learnt.is_empty() {
        return probabilities;
    }
    let by_examples = to_probabilities(examples, EXAMPLES_POWER);
    let sum_learnt = |of: &[f32]| learnt.iter().map(|learnt| of[learnt.label]).sum::<f32>();
    let is_whole = learnt.len() == files.len();
    let group = if is_whole {
        1.0
    } else {
        let share = learnt.len() as f32 / files.len() as f32;
        let uniform = GROUP_UNIFORM * share;
        // With few learnt labels the order between them and the others stays that of the files.
        let power = FILES_POWER + (EXAMPLES_POWER - FILES_POWER) * share;
        let odds = |scores: &[f32]| logit((1.0 - GROUP_UNIFORM) * sum_learnt(&to_probabilities(scores, power)) + uniform);
        logistic((1.0 - GROUP_EXAMPLES) * odds(files) + GROUP_EXAMPLES * odds(examples))
    };
    let examples_sum = sum_learnt(&by_examples).max(1e-9);
    let mixed = |probability: f32, share: f32| (1.0 - share) * probability + share / learnt.len() as f32;
    let pooled: Vec<f32> = learnt
        .iter()
        .map(|learnt| {
            let count = learnt.count.max(1) as f32;
            let network_weight = NETWORK_MAX * count / (count + HALF);
            let words = mixed(by_examples[learnt.label] / examples_sum, UNIFORM);
            let network = mixed(learnt.network, UNIFORM / (count * count));
            words.powf(1.0 - network_weight) * network.powf(network_weight)
        })
        .collect();
    let pooled_sum = pooled.iter().sum::<f32>().max(1e-9);
    let others_sum = (1.0 - sum_learnt(&probabilities)).max(1e-9);
    probabilities.iter_mut().for_each(|probability| *probability *= (1.0 - group) / others_sum);
    for (learnt, pooled) in learnt.iter().zip(pooled) {
        probabilities[learnt.label] = pooled / pooled_sum * group;
    }
    normalize(&mut probabilities);
    probabilities
}

/// Divides by the sum.
pub(crate) fn normalize(probabilities: &mut [f32]) {
    let sum = probabilities.iter().sum::<f32>().max(1e-9);
    probabilities.iter_mut().for_each(|probability| *probability /= sum);
}

/// Relative to the best score, so that it matters how much better an entry is and not how good it is.
fn to_probabilities(scores: &[f32], power: f32) -> Vec<f32> {
    let best = scores.iter().copied().fold(0.0, f32::max);
    let raised = |score: &f32| if best > 0.0 { (score / best).powf(power) } else { 1.0 };
    let mut probabilities: Vec<f32> = scores.iter().map(raised).collect();
    normalize(&mut probabilities);
    probabilities
}
