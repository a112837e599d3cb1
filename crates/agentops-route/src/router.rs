//! The router: what files say, what was learnt and what is remembered, put together.
//!
//! Without labelled requests only the files speak. With every labelled request the learner counts more, first for the labels
//! that have some. A request much like a remembered one goes where that one went, whatever the rest says.

use std::collections::HashMap;

use crate::catalogue::Entry;
use crate::features::{Kind, features};
use crate::memory::{Like, Memory};
use crate::net::Net;
use crate::prior::Prior;
use crate::scope::{Held, Scope, signals};

/// The label of requests that are about nothing that is here.
pub const OUTSIDE: &str = "oos";

/// A request and where it belongs; [`OUTSIDE`] is nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// The request.
    pub text: String,
    /// Its label.
    pub label: String,
}

/// What should be done with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    /// Take the best label: at this sureness at least 95 % of held-back requests were right.
    Auto,
    /// Show the best three, the first is likely.
    Suggest,
    /// Ask: none is likely.
    Ask,
    /// Nothing here fits.
    Abstain,
}

/// Where a request belongs.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Labels by their numbers and how likely each is, the likeliest first.
    pub ranked: Vec<(usize, f32)>,
    /// How likely the first is right if the request is about something here.
    pub confidence: f32,
    /// How likely the request is about something here.
    pub in_scope: f32,
    /// What should be done.
    pub decision: Decision,
}

/// Why a label was given to a request.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Because {
    /// Words of the request that count most for the label.
    pub words: Vec<String>,
    /// Remembered requests like this one that have the label.
    pub like: Vec<String>,
}

/// Of how many ranked labels an answer consists at most.
pub const RANKED: usize = 10;
/// From which likelihood on the first label is worth suggesting.
const SUGGEST: f32 = 0.35;
/// Below which likelihood of being about anything a request fits nothing.
const INSIDE: f32 = 0.5;
/// Labelled requests of a label from which its learner counts as much as its file.
const EVEN: f32 = 1.0;
/// How much steeper than its scores the prior's likelihoods are.
const STEEP: f32 = 14.0;
/// How alike a remembered request must be to say anything.
const ALIKE: f32 = 0.6;
/// Words of a description that stand for a request.
const DESCRIBED: usize = 40;

/// See the module's documentation.
#[derive(Debug, Clone, Default)]
pub struct Router {
    labels: Vec<String>,
    numbers: HashMap<String, usize>,
    described: Vec<String>,
    prior: Prior,
    net: Net,
    /// The net's number of each label that has labelled requests, and back.
    learnt: Vec<Option<u32>>,
    label_of: Vec<u32>,
    counts: Vec<u32>,
    memory: Memory,
    scope: Scope,
    /// Labelled requests whose label is not in the catalogue.
    vanished: usize,
}

impl Router {
    /// A router that knows these entries' files and nothing else.
    #[must_use]
    pub fn new(entries: &[Entry]) -> Self {
        let mut router = Self { prior: Prior::new(entries), ..Self::default() };
        for entry in entries {
            router.numbers.entry(entry.label.clone()).or_insert(router.labels.len());
            router.labels.push(entry.label.clone());
            let name = if entry.name.is_empty() { &entry.label } else { &entry.name };
            let words = if entry.description.is_empty() { name } else { &entry.description };
            router.described.push(words.split_whitespace().take(DESCRIBED).collect::<Vec<_>>().join(" "));
        }
        router.learnt = vec![None; router.labels.len()];
        router.counts = vec![0; router.labels.len()];
        router
    }

    /// A label's name.
    #[must_use]
    pub fn label(&self, number: usize) -> &str {
        self.labels.get(number).map_or("", String::as_str)
    }

    /// How many labelled requests were learnt.
    #[must_use]
    pub fn evidence(&self) -> usize {
        self.counts.iter().map(|count| *count as usize).sum()
    }

    /// How many labelled requests name a label that is not there.
    #[must_use]
    pub fn vanished(&self) -> usize {
        self.vanished
    }

    /// Learns labelled requests from the beginning. What is sure is measured on `held`, which is not learnt; where there is
    /// none, on every fifth request in turn while the others are learnt.
    pub fn fit(&mut self, examples: &[Example], held: &[Example]) {
        let known = |example: &&Example| example.label == OUTSIDE || self.numbers.contains_key(&example.label);
        let within: Vec<&Example> = examples.iter().filter(known).collect();
        self.vanished = examples.len() - within.len();
        let inside: Vec<&Example> = within.iter().copied().filter(|example| example.label != OUTSIDE).collect();
        let outside: Vec<&Example> = within.into_iter().filter(|example| example.label == OUTSIDE).collect();
        if inside.is_empty() {
            return;
        }
        let mut rows = Vec::new();
        if held.is_empty() {
            let folds = if inside.len() > 4_000 { 1 } else { FOLDS };
            for fold in 0..folds {
                let mut half = self.bare();
                half.learn_all(inside.iter().enumerate().filter(|(at, _)| at % FOLDS != fold).map(|(_, example)| *example));
                rows.extend(inside.iter().skip(fold).step_by(FOLDS).map(|example| half.held(example)));
                rows.extend(outside.iter().skip(fold).step_by(folds).map(|example| half.held(example)));
            }
        }
        self.learn_all(inside.into_iter());
        if !held.is_empty() {
            rows.extend(held.iter().map(|example| self.held(example)));
            rows.extend(outside.iter().map(|example| self.held(example)));
        }
        self.scope = Scope::fit(&rows);
    }

    /// The same catalogue with nothing learnt.
    fn bare(&self) -> Self {
        Self {
            learnt: vec![None; self.labels.len()],
            counts: vec![0; self.labels.len()],
            net: Net::default(),
            label_of: Vec::new(),
            memory: Memory::default(),
            scope: Scope::default(),
            ..self.clone()
        }
    }

    fn held(&self, example: &Example) -> Held {
        let heard = self.hear(&example.text);
        let best = heard.likely.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map(|(label, _)| label);
        let right = (example.label != OUTSIDE).then(|| best == self.numbers.get(&example.label).copied());
        Held { signals: heard.signals, right }
    }

    fn learn_all<'a>(&mut self, examples: impl Iterator<Item = &'a Example>) {
        let examples: Vec<(&str, usize)> =
            examples.filter_map(|example| Some((example.text.as_str(), *self.numbers.get(&example.label)?))).collect();
        for (_, label) in &examples {
            self.counts[*label] += 1;
            self.admit(*label);
        }
        // What a label's file says stands beside its requests, as one more of them.
        let described =
            self.label_of.iter().enumerate().map(|(learnt, label)| (self.described[*label as usize].as_str(), learnt));
        let rows: Vec<_> = examples
            .iter()
            .map(|(text, label)| (*text, self.learnt[*label].unwrap_or(0) as usize))
            .chain(described)
            .map(|(text, learnt)| (features(text), learnt))
            .collect();
        self.net.fit(&rows);
        self.memory = Memory::new(examples.iter().copied());
    }

    /// Gives a label a place in the net.
    fn admit(&mut self, label: usize) -> usize {
        let learnt = *self.learnt[label].get_or_insert_with(|| {
            self.label_of.push(u32::try_from(label).unwrap_or(u32::MAX));
            u32::try_from(self.net.add_label()).unwrap_or(u32::MAX)
        });
        learnt as usize
    }

    /// Learns one more labelled request. Gives false where its label is not there, or is [`OUTSIDE`].
    pub fn learn(&mut self, text: &str, label: &str) -> bool {
        let Some(&label) = self.numbers.get(label) else { return false };
        let is_new = self.learnt[label].is_none();
        let learnt = self.admit(label);
        self.counts[label] += 1;
        if is_new {
            let described = features(&self.described[label]);
            self.net.meet(&described, learnt);
        }
        self.net.meet(&features(text), learnt);
        self.memory.remember(text, label);
        true
    }

    /// Where a request belongs.
    #[must_use]
    pub fn route(&self, text: &str) -> Answer {
        let heard = self.hear(text);
        let mut ranked: Vec<(usize, f32)> = heard.likely.iter().copied().enumerate().collect();
        let order = |a: &(usize, f32), b: &(usize, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
        if ranked.len() > RANKED {
            ranked.select_nth_unstable_by(RANKED - 1, order);
            ranked.truncate(RANKED);
        }
        ranked.sort_by(order);
        let best = ranked.first().map_or(0.0, |(_, likely)| *likely);
        let (confidence, in_scope) = if self.evidence() == 0 {
            (best, (heard.told / TOLD_ENOUGH).min(1.0) * 0.95)
        } else {
            (self.scope.confidence(&heard.signals), self.scope.inside(&heard.signals).max(heard.alike))
        };
        let decision = if in_scope < INSIDE || ranked.is_empty() {
            Decision::Abstain
        } else if self.scope.is_auto(&heard.signals) {
            Decision::Auto
        } else if confidence >= SUGGEST {
            Decision::Suggest
        } else {
            Decision::Ask
        };
        Answer { ranked, confidence, in_scope, decision }
    }

    fn hear(&self, text: &str) -> HeardAll {
        let told = self.prior.tell(text);
        let top = told.scores.iter().copied().fold(0.0, f32::max);
        let mut likely: Vec<f32> = told.scores.iter().map(|score| ((score - top) * STEEP).exp()).collect();
        let sum = likely.iter().sum::<f32>().max(1e-9);
        likely.iter_mut().for_each(|likely| *likely /= sum);
        let mut all = HeardAll { likely, signals: Default::default(), told: top, alike: 0.0 };
        if self.label_of.is_empty() {
            return all;
        }
        let features = features(text);
        let heard = self.net.hear(&self.net.rows(&features));
        let known = self.net.known_share(&features);
        let words = features.iter().filter(|feature| feature.kind == Kind::Words).count();
        // The learner speaks for the labels that it learnt, with the weight that the files give them together or more.
        let weights: Vec<f32> = self
            .label_of
            .iter()
            .map(|label| {
                let count = self.counts[*label as usize] as f32;
                count / (count + EVEN)
            })
            .collect();
        let files: f32 = self.label_of.iter().map(|label| all.likely[*label as usize]).sum();
        let whole = self.label_of.len() as f32 / self.labels.len() as f32;
        let mass = files.max(whole);
        for (learnt, label) in self.label_of.iter().enumerate() {
            let likely = &mut all.likely[*label as usize];
            *likely = (1.0 - weights[learnt]) * *likely + weights[learnt] * heard.likely[learnt] * mass;
        }
        let like = self.memory.like(text, 5);
        if let Some(Like { alike, .. }) = like.first().filter(|like| like.alike > ALIKE) {
            all.alike = *alike;
            let sum: f32 = like.iter().map(|like| like.alike.powi(4)).sum();
            let weight = (alike - ALIKE) / (1.0 - ALIKE);
            all.likely.iter_mut().for_each(|likely| *likely *= 1.0 - weight);
            for like in &like {
                all.likely[like.label] += weight * like.alike.powi(4) / sum;
            }
        }
        let sum = all.likely.iter().sum::<f32>().max(1e-9);
        all.likely.iter_mut().for_each(|likely| *likely /= sum);
        all.signals = signals(&all.likely, heard.clear, known, words);
        all
    }

    /// Why a label fits a request: words without which it would be less likely, and remembered requests.
    #[must_use]
    pub fn because(&self, text: &str, label: usize) -> Because {
        let mut because = Because::default();
        let like = self.memory.like(text, 8);
        because.like.extend(
            like.iter()
                .filter(|like| like.label == label && like.alike > 0.3)
                .take(3)
                .map(|like| self.memory.text(like.at).to_owned()),
        );
        let told = self.prior.because(text, label);
        because.words.extend(told.into_iter().take(4).map(|(word, _)| word));
        if let Some(learnt) = self.learnt.get(label).copied().flatten() {
            let mut counted = self.without_each(text, learnt as usize);
            counted.retain(|(word, _)| !because.words.contains(word));
            because.words.splice(0..0, counted.into_iter().take(3).map(|(word, _)| word));
            because.words.truncate(4);
        }
        because
    }

    /// Each word by how much less likely the label would be without it.
    fn without_each(&self, text: &str, learnt: usize) -> Vec<(String, f32)> {
        let mut words = crate::features::words(text);
        words.truncate(40);
        let likely = |words: &[String]| {
            let rows = self.net.rows(&crate::features::of_words(words));
            self.net.hear(&rows).likely.get(learnt).copied().unwrap_or(0.0)
        };
        let whole = crate::scope::logit(likely(&words));
        let mut counted: Vec<(String, f32)> = Vec::new();
        for at in 0..words.len() {
            let mut rest = words.clone();
            let word = rest.remove(at);
            let less = whole - crate::scope::logit(likely(&rest));
            if less > 0.1 && word.chars().any(char::is_alphabetic) && counted.iter().all(|(known, _)| *known != word) {
                counted.push((word, less));
            }
        }
        counted.sort_by(|a, b| b.1.total_cmp(&a.1));
        counted
    }
}

/// Every how manieth request is held back in turn.
const FOLDS: usize = 5;
/// The prior's score from which on a request surely is about an entry.
const TOLD_ENOUGH: f32 = 0.25;

struct HeardAll {
    likely: Vec<f32>,
    signals: crate::scope::Signals,
    told: f32,
    alike: f32,
}
