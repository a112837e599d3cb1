//! The router: what files say, what was learnt and what is remembered, put together.
//!
//! Without labelled requests only the files decide. With labelled requests, their words are searched with the files, and a
//! trained network counts more with every request of a label; see [`crate::blend`]. A request much like a remembered one
//! goes where that one went, whatever the rest says.

use std::collections::{HashMap, HashSet};

use crate::blend::{self, Learnt};
use crate::bytes::{Reader, Writer};
use crate::catalogue::Entry;
use crate::example_index::ExampleIndex;
use crate::features::{Kind, features, of_words, words};
use crate::memory::{Like, Memory};
use crate::net::Net;
use crate::prior::{Prior, terms_of};
use crate::scope::{Held, Scope, logit, signals};

/// The label of requests that are about nothing that is here.
pub const OUTSIDE: &str = "oos";

/// A request and where it belongs; [`OUTSIDE`] is nowhere.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
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
/// Labelled requests that a label needs before it is taken without asking.
const AUTO_MIN: u32 = 3;
/// How alike a remembered request must be to say anything.
const ALIKE: f32 = 0.45;
/// Words of a description that stand for a request.
const DESCRIBED: usize = 40;

/// See the module's documentation.
#[derive(Debug, Clone, Default)]
pub struct Router {
    labels: Vec<String>,
    numbers: HashMap<String, usize>,
    described: Vec<String>,
    prior: Prior,
    /// The words of the labelled requests.
    examples: ExampleIndex,
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
        router.examples = ExampleIndex::new(router.labels.len());
        router
    }

    /// A label's name.
    #[must_use]
    pub fn label(&self, number: usize) -> &str {
        self.labels.get(number).map_or("", String::as_str)
    }

    /// Whether there is a label of this name.
    #[must_use]
    pub fn knows(&self, label: &str) -> bool {
        self.numbers.contains_key(label)
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
        self.forget();
        if inside.is_empty() {
            return;
        }
        let mut rows = Rows::default();
        if held.is_empty() {
            // Many requests are measured well enough by one fold.
            let folds = if inside.len() > 4_000 { 1 } else { FOLDS };
            for fold in 0..folds {
                let is_held = |at: usize, _: &Example| at % FOLDS == fold;
                let trained = self.trained_without(&inside, is_held);
                let held_back = inside.iter().skip(fold).step_by(FOLDS).chain(outside.iter().skip(fold).step_by(folds));
                rows.extend(&trained, held_back.copied());
            }
            let labels: HashSet<usize> =
                inside.iter().filter_map(|example| self.numbers.get(&example.label).copied()).collect();
            if labels.len() < self.labels.len() {
                for fold in 0..folds.min(LABEL_FOLDS) {
                    let is_held = |_: usize, example: &Example| {
                        self.numbers.get(&example.label).is_some_and(|label| label % FOLDS == fold)
                    };
                    let trained = self.trained_without(&inside, is_held);
                    rows.extend(&trained, inside.iter().copied().filter(|example| is_held(0, example)));
                }
            }
        }
        self.learn_all(inside.into_iter());
        if !held.is_empty() {
            rows.extend(self, held.iter().chain(outside));
        }
        self.scope = rows.scope(1.0 - self.label_of.len() as f32 / self.labels.len() as f32);
    }

    /// A router that learnt all requests but those that are held back. It must be called before anything is learnt.
    fn trained_without(&self, inside: &[&Example], is_held: impl Fn(usize, &Example) -> bool) -> Self {
        let mut trained = self.clone();
        trained.learn_all(
            inside.iter().enumerate().filter(|(at, example)| !is_held(*at, example)).map(|(_, example)| *example),
        );
        trained
    }

    /// Leaves nothing but what the files say.
    fn forget(&mut self) {
        self.learnt.fill(None);
        self.counts.fill(0);
        self.label_of.clear();
        self.examples = ExampleIndex::new(self.labels.len());
        (self.net, self.memory, self.scope) = Default::default();
    }

    fn learn_all<'a>(&mut self, examples: impl Iterator<Item = &'a Example>) {
        let examples: Vec<(&str, usize)> =
            examples.filter_map(|example| Some((example.text.as_str(), *self.numbers.get(&example.label)?))).collect();
        for (text, label) in &examples {
            self.counts[*label] += 1;
            self.admit(*label);
            self.examples.add(&terms_of(&words(text)), *label);
        }
        // What a label's file says stands beside its requests, as one more of them.
        let described =
            self.label_of.iter().enumerate().map(|(learnt, label)| (self.described[*label as usize].as_str(), learnt));
        let rows: Vec<_> = examples
            .iter()
            .map(|(text, label)| (*text, self.learnt[*label].unwrap_or(0) as usize))
            .chain(described)
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
        self.examples.add(&terms_of(&words(text)), label);
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
        let first = ranked.first().map_or(0, |(label, _)| *label);
        let (confidence, in_scope) = self.figures(&heard, first, best);
        let decision = if in_scope < INSIDE || ranked.is_empty() {
            Decision::Abstain
        } else if self.scope.is_auto(&heard.signals) && self.counts[first] >= AUTO_MIN {
            Decision::Auto
        } else if confidence >= SUGGEST {
            Decision::Suggest
        } else {
            Decision::Ask
        };
        Answer { ranked, confidence, in_scope, decision }
    }

    /// How likely the first label is right, and the request about anything here.
    fn figures(&self, heard: &HeardAll, first: usize, best: f32) -> (f32, f32) {
        let is_learnt = self.counts.get(first).is_some_and(|count| *count > 0);
        let each = self.evidence() as f32 / self.label_of.len().max(1) as f32;
        if !self.scope.is_fitted() {
            // A few requests make the learner surer than it should be; the files alone are not.
            let files = heard.by_files.get(first).copied().unwrap_or_default();
            let share = if is_learnt { 1.0 / (each + 2.0) } else { 1.0 };
            return ((1.0 - share) * best + share * files, heard.inside.max(heard.alike));
        }
        let inside = self.scope.inside(&heard.signals).max(heard.alike);
        // When requests were held back, their labels had fewer requests than now. For labels with few requests that makes the
        // calibrated confidence too low, and the probability itself is too high.
        let trust = each / (each + 1.0);
        let confidence = trust * self.scope.confidence(&heard.signals) + (1.0 - trust) * best;
        let is_whole = self.label_of.len() == self.labels.len();
        (if is_learnt { confidence } else { best }, if is_whole { inside } else { inside.max(heard.inside) })
    }

    fn hear(&self, text: &str) -> HeardAll {
        let words = words(text);
        let told = self.prior.tell_words(&words);
        let likely = blend::from_files(&told.scores);
        let mut all =
            HeardAll { by_files: likely.clone(), likely, signals: Default::default(), inside: told.inside(), alike: 0.0 };
        if self.label_of.is_empty() {
            return all;
        }
        let features = of_words(&words);
        let heard = self.net.hear(&self.net.rows(&features));
        let known = self.net.known_share(&features);
        let length = features.iter().filter(|feature| feature.kind == Kind::Words).count();
        let learnt: Vec<Learnt> = self
            .label_of
            .iter()
            .zip(&heard.likely)
            .map(|(label, network)| {
                let label = *label as usize;
                Learnt { label, count: self.counts[label], network: *network }
            })
            .collect();
        let with_examples = self.prior.tell_with(&words, &self.examples);
        all.likely = blend::from_everything(&told.scores, &with_examples.scores, &learnt);
        let like = self.memory.like_words(&words, 5);
        if let Some(Like { alike, .. }) = like.first().filter(|like| like.alike > ALIKE) {
            all.alike = *alike;
            let sum: f32 = like.iter().map(|like| like.alike.powi(4)).sum();
            let weight = (alike - ALIKE) / (1.0 - ALIKE);
            all.likely.iter_mut().for_each(|likely| *likely *= 1.0 - weight);
            for like in &like {
                all.likely[like.label] += weight * like.alike.powi(4) / sum;
            }
        }
        blend::normalize(&mut all.likely);
        all.signals = signals(&all.likely, heard.clear, known, length);
        all
    }

    /// Everything that it knows, for [`Self::from_bytes`].
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut to = Writer::default();
        to.one(self.labels.len() as u64);
        self.labels.iter().chain(&self.described).for_each(|text| to.text(text));
        to.many(&self.label_of);
        to.many(&self.counts);
        to.one(self.vanished as u64);
        self.prior.write(&mut to);
        self.examples.write(&mut to);
        self.net.write(&mut to);
        self.memory.write(&mut to);
        self.scope.write(&mut to);
        to.sealed()
    }

    /// The router that [`Self::to_bytes`] wrote. `None`: written by another version, cut, or altered.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut from = Reader::of_sealed(bytes)?;
        let count = usize::try_from(from.one::<u64>()?).ok()?;
        let mut router = Self { labels: from.texts(count)?, described: from.texts(count)?, ..Self::default() };
        router.label_of = from.many()?;
        router.counts = from.many()?;
        router.vanished = usize::try_from(from.one::<u64>()?).ok()?;
        router.prior = Prior::read(&mut from)?;
        router.examples = ExampleIndex::read(&mut from)?;
        router.net = Net::read(&mut from)?;
        router.memory = Memory::read(&mut from)?;
        router.scope = Scope::read(&mut from)?;
        router.learnt = vec![None; count];
        for (label, learnt) in router.label_of.iter().zip(0u32..) {
            *router.learnt.get_mut(*label as usize)? = Some(learnt);
        }
        for (number, label) in router.labels.iter().enumerate() {
            router.numbers.entry(label.clone()).or_insert(number);
        }
        let fits = router.counts.len() == count && router.label_of.len() == router.net.labels();
        fits.then_some(router)
    }

    /// Why labels fit a request, for each: words without which it would be less likely, and remembered requests.
    #[must_use]
    pub fn because(&self, text: &str, labels: &[usize]) -> Vec<Because> {
        let like = self.memory.like(text, 8);
        let learnt = |label: usize| self.learnt.get(label).copied().flatten().map(|learnt| learnt as usize);
        let without = if labels.iter().any(|label| learnt(*label).is_some()) { self.without_each(text) } else { Vec::new() };
        let of = |&label: &usize| {
            let like = like.iter().filter(|like| like.label == label && like.alike > 0.3).take(3);
            let mut words: Vec<String> = Vec::new();
            if let (Some(learnt), Some(((_, whole), rest))) = (learnt(label), without.split_first()) {
                let mut counted: Vec<(&String, f32)> =
                    rest.iter().map(|(word, likely)| (word, logit(whole[learnt]) - logit(likely[learnt]))).collect();
                counted.retain(|(_, less)| *less > 0.1);
                counted.sort_by(|a, b| b.1.total_cmp(&a.1));
                words.extend(counted.into_iter().map(|(word, _)| word.clone()).take(3));
            }
            for (word, _) in self.prior.because(text, label) {
                if words.len() < BECAUSE_MAX && !words.contains(&word) {
                    words.push(word);
                }
            }
            Because { words, like: like.map(|like| self.memory.text(like.at).to_owned()).collect() }
        };
        labels.iter().map(of).collect()
    }

    /// How likely each learnt label is with all words, and then without each of them in turn.
    fn without_each(&self, text: &str) -> Vec<(String, Vec<f32>)> {
        let mut words = words(text);
        words.truncate(40);
        let likely = |words: &[String]| self.net.hear(&self.net.rows(&of_words(words))).likely;
        let mut all = vec![(String::new(), likely(&words))];
        for at in 0..words.len() {
            let mut rest = words.clone();
            let word = rest.remove(at);
            if word.chars().any(char::is_alphabetic) && all.iter().all(|(known, _)| *known != word) {
                all.push((word, likely(&rest)));
            }
        }
        all
    }
}

/// Words at most that are named as reasons.
const BECAUSE_MAX: usize = 4;

/// Every how manieth request is held back in turn.
const FOLDS: usize = 5;
/// How many of these folds are also taken over labels, where some labels have no requests.
const LABEL_FOLDS: usize = 2;

/// Held-back requests, routed by a router that did not learn them.
#[derive(Default)]
struct Rows {
    /// Of labels that the router had learnt, and those about nothing here.
    learnt: Vec<Held>,
    /// Of labels without any request that was learnt. Those that went to such a label are left out: of them the files speak.
    unlearnt: Vec<Held>,
    /// How many requests were of labels without any request that was learnt, those left out too.
    unlearnt_all: usize,
}

impl Rows {
    fn extend<'a>(&mut self, trained: &Router, examples: impl Iterator<Item = &'a Example>) {
        for example in examples {
            let heard = trained.hear(&example.text);
            let best = heard.likely.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |(label, _)| label);
            let has_learnt = |label: usize| trained.counts.get(label).is_some_and(|count| *count > 0);
            let label = trained.numbers.get(&example.label).copied().filter(|_| example.label != OUTSIDE);
            let held = Held { signals: heard.signals, right: label.map(|label| label == best) };
            match label {
                Some(label) if !has_learnt(label) => {
                    self.unlearnt_all += 1;
                    if has_learnt(best) {
                        self.unlearnt.push(held);
                    }
                }
                _ => self.learnt.push(held),
            }
        }
    }

    /// The scope for a catalogue in which this share of the labels was never learnt: as many requests are expected to be about
    /// them.
    fn scope(&self, unlearnt_share: f32) -> Scope {
        let inside = self.learnt.iter().filter(|held| held.right.is_some()).count() as f32;
        let expected = unlearnt_share / (1.0 - unlearnt_share).max(1e-3) * inside;
        Scope::fit_with(&self.learnt, &self.unlearnt, expected / self.unlearnt_all.max(1) as f32)
    }
}

struct HeardAll {
    likely: Vec<f32>,
    by_files: Vec<f32>,
    signals: crate::scope::Signals,
    inside: f32,
    alike: f32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entries() -> Vec<Entry> {
        [
            ("sql", "Writes and speeds up database queries."),
            ("docs", "Writes documents and tutorials."),
            ("ui", "Builds buttons, pages and styles."),
        ]
        .map(|(name, description)| Entry {
            label: name.into(),
            name: name.into(),
            description: description.into(),
            ..Entry::default()
        })
        .to_vec()
    }

    fn example(text: &str, label: &str) -> Example {
        Example { text: text.into(), label: label.into() }
    }

    /// Thirty requests a label, none twice.
    fn examples() -> Vec<Example> {
        let things = ["orders", "users", "invoices", "logs", "teams", "teas", "ships", "maps", "songs", "games"];
        let mut all = Vec::new();
        for (at, thing) in things.iter().enumerate() {
            for way in 0..3 {
                let n = at * 3 + way;
                all.push(example(&format!("the {thing} query s{n} is slow, add an index"), "sql"));
                all.push(example(&format!("explain {thing} d{n} in a guide for newcomers"), "docs"));
                all.push(example(&format!("make the {thing} button u{n} blue"), "ui"));
            }
        }
        all
    }

    #[test]
    fn files_speak_before_anybody_has() {
        let router = Router::new(&entries());
        let answer = router.route("write a tutorial");
        assert_eq!(router.label(answer.ranked[0].0), "docs");
        assert_eq!(router.because("write a tutorial", &[answer.ranked[0].0])[0].words, ["tutorial", "write"]);
        assert_ne!(answer.decision, Decision::Auto, "without feedback nothing is taken by itself");
        assert_eq!(router.route("what is the capital of France?").decision, Decision::Abstain);
    }

    #[test]
    fn a_correction_counts_at_once_and_only_for_what_is_like_it() {
        let mut router = Router::new(&entries());
        let request = "the landing thing looks off";
        assert!(router.learn(request, "ui"));
        assert_eq!(router.label(router.route(request).ranked[0].0), "ui");
        assert_eq!(router.label(router.route("this landing thing looks off again").ranked[0].0), "ui");
        assert_eq!(router.label(router.route("speed up this database query").ranked[0].0), "sql");
        assert!(!router.learn(request, "gone"), "a label that is not there is not learnt");
    }

    #[test]
    fn enough_that_is_right_is_taken_without_asking_and_what_is_unlike_is_not() {
        let mut router = Router::new(&entries());
        router.fit(&examples(), &[]);
        let answer = router.route("the cats query is slow, add an index");
        assert_eq!((router.label(answer.ranked[0].0), answer.decision), ("sql", Decision::Auto));
        assert!(answer.confidence > 0.9, "{answer:?}");
        assert_ne!(router.route("wie wird das Wetter morgen in Köln").decision, Decision::Auto);
        assert_eq!(router.route("").decision, Decision::Abstain);
    }

    #[test]
    fn b5_the_same_catalogue_and_requests_give_the_same_router() {
        let built = || {
            let mut router = Router::new(&entries());
            router.fit(&examples(), &[]);
            router.learn("paint it red", "ui");
            router
        };
        let (one, other) = (built(), built());
        assert_eq!(one.to_bytes(), other.to_bytes());
        assert_eq!(format!("{:?}", one.route("paint a query")), format!("{:?}", other.route("paint a query")));
    }

    #[test]
    fn a_label_that_vanished_is_counted_and_teaches_nothing() {
        let (mut router, mut without) = (Router::new(&entries()), Router::new(&entries()));
        without.fit(&examples(), &[]);
        let mut all = examples();
        all.push(example("feed the parrot", "zoo"));
        router.fit(&all, &[]);
        assert_eq!(router.vanished(), 1);
        assert_eq!(router.route("feed the parrot").ranked, without.route("feed the parrot").ranked);
    }

    #[test]
    fn bytes_give_the_same_router_and_damaged_ones_none() {
        let mut router = Router::new(&entries());
        router.fit(&examples(), &[]);
        let bytes = router.to_bytes();
        let mut read = Router::from_bytes(&bytes).unwrap();
        for text in ["the cats query is slow", "zzz", "", "make it blue"] {
            assert_eq!(format!("{:?}", router.route(text)), format!("{:?}", read.route(text)));
        }
        router.learn("paint it red", "ui");
        read.learn("paint it red", "ui");
        assert_eq!(router.route("paint the wall red").ranked, read.route("paint the wall red").ranked);
        for at in (0..bytes.len()).step_by(bytes.len() / 97) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            assert!(Router::from_bytes(&damaged).is_none(), "byte {at}");
            assert!(Router::from_bytes(&bytes[..at]).is_none());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_text_has_an_answer_whose_figures_are_shares(text in "\\PC{0,400}", learnt in any::<bool>()) {
            let mut router = Router::new(&entries());
            if learnt {
                router.fit(&examples()[..30], &[]);
            }
            let answer = router.route(&text);
            prop_assert_eq!(answer.ranked.len(), 3);
            let sum: f32 = answer.ranked.iter().map(|(_, likely)| likely).sum();
            prop_assert!((sum - 1.0).abs() < 1e-3, "{}", sum);
            for figure in [answer.confidence, answer.in_scope] {
                prop_assert!((0.0..=1.0).contains(&figure), "{}", figure);
            }
            prop_assert!(router.because(&text, &[answer.ranked[0].0])[0].words.len() <= 4);
        }
    }
}
