//! What an agent's own file says: which agents a request is about before anybody has corrected anything.
//!
//! BM25 over fields (Robertson, Zaragoza, Taylor 2004): occurrences in name, description, examples and instructions are weighed, each
//! against its field's length, added, and only then damped. The constants were chosen on the 171 example requests of the
//! development set `agents`: with many thousand words of instructions an occurrence says little, so damping begins late.

use std::collections::BTreeMap;

use crate::bytes::{Reader, Writer};
use crate::catalogue::Entry;
use crate::example_index::ExampleIndex;
use crate::features::{hash, stem, stems, words};
use crate::scope::logistic;

/// A field of an entry, what an occurrence in it counts, and how much a long field is held back.
#[derive(Debug, Clone, Copy)]
struct Field {
    weight: f32,
    length: f32,
}

const NAME: Field = Field { weight: 4.0, length: 0.6 };
const DESCRIPTION: Field = Field { weight: 6.0, length: 0.5 };
/// Requests that the author gave say how people ask; measured without any, so it is as heavy as what is said beside them.
const EXAMPLES: Field = Field { weight: 6.0, length: 0.5 };
const BODY: Field = Field { weight: 1.0, length: 0.75 };
/// Labelled requests, as the author's own.
const LABELLED: Field = EXAMPLES;
/// How soon more occurrences count less.
const K1: f32 = 8.0;
/// How much rarer words count more: the power of the usual inverse document frequency.
const RARITY: f32 = 0.7;
/// What it adds that all words of a name are asked for.
const NAMED: f32 = 0.15;
/// What of a field is read, in words.
const WORDS_MAX: usize = 2_000;

/// Words of requests that are about no subject; in order, for the search.
const STOP: &[&str] = &[
    "a", "about", "an", "and", "any", "are", "as", "at", "be", "been", "but", "by", "can", "could", "do", "does", "for",
    "from", "get", "has", "have", "help", "how", "i", "if", "in", "into", "is", "it", "its", "just", "like", "me", "my",
    "need", "not", "of", "on", "or", "our", "please", "should", "so", "some", "that", "the", "their", "them", "there",
    "they", "this", "to", "use", "used", "using", "want", "was", "we", "what", "when", "which", "will", "with", "would",
    "you", "your",
];

/// Entries by the words that stand in them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Prior {
    entries: u32,
    /// The words' hashes in order, how rare each is, and where its entries begin.
    words: Vec<u64>,
    rarity: Vec<f32>,
    begins: Vec<u32>,
    /// Entry and the word's weighted occurrences in it, before [`K1`] damps them.
    postings: Vec<(u32, f32)>,
    /// Entry by entry the words of its name.
    names: Vec<Vec<u64>>,
}

/// How much a request is about each entry.
#[derive(Debug, Clone, Default)]
pub struct Told {
    /// Entry by entry: the share of the request's words, by rarity, that it answers; 0 to about 1.
    pub scores: Vec<f32>,
    /// How many words the request has.
    pub words: usize,
}

impl Told {
    /// How likely the request is about any entry. Chosen on the set `agents` against requests to a bank and a voice
    /// assistant: the share that the best entry answers counts more the longer the request.
    #[must_use]
    pub fn inside(&self) -> f32 {
        let top = self.scores.iter().copied().fold(0.0, f32::max);
        logistic(8.0 * (top * (self.words as f32).sqrt() / INSIDE).max(1e-3).ln())
    }
}

/// What the best entry's share times the square root of the words is where a request is as likely about it as not.
const INSIDE: f32 = 0.6;

impl Prior {
    /// Reads the entries.
    #[must_use]
    pub fn new(entries: &[Entry]) -> Self {
        let fields = [NAME, DESCRIPTION, EXAMPLES, BODY];
        let texts: Vec<[Vec<u64>; 4]> = entries
            .iter()
            .map(|entry| {
                let name = if entry.name.is_empty() { &entry.label } else { &entry.name };
                [terms(&spaced(name)), terms(&entry.description), terms(&entry.examples.join("\n")), terms(&entry.body)]
            })
            .collect();
        let mean = |field: usize| {
            let all = texts.iter().map(|texts| texts[field].len()).sum::<usize>();
            (all as f32 / texts.len().max(1) as f32).max(1.0)
        };
        let means: [f32; 4] = std::array::from_fn(mean);
        let mut found: BTreeMap<u64, Vec<(u32, f32)>> = BTreeMap::new();
        for (texts, entry) in texts.iter().zip(0u32..) {
            let mut counts: BTreeMap<u64, f32> = BTreeMap::new();
            for ((text, field), mean) in texts.iter().zip(fields).zip(means) {
                let each = field.weight / (1.0 - field.length + field.length * text.len() as f32 / mean);
                for word in text {
                    *counts.entry(*word).or_default() += each;
                }
            }
            for (word, count) in counts {
                found.entry(word).or_default().push((entry, count));
            }
        }
        let mut prior = Self { entries: u32::try_from(entries.len()).unwrap_or(u32::MAX), ..Self::default() };
        for (word, postings) in found {
            prior.words.push(word);
            prior.rarity.push(prior.rarity_of(postings.len()));
            prior.begins.push(u32::try_from(prior.postings.len()).unwrap_or(u32::MAX));
            prior.postings.extend(postings);
        }
        prior.begins.push(u32::try_from(prior.postings.len()).unwrap_or(u32::MAX));
        prior.names = texts.into_iter().map(|[name, ..]| name).collect();
        prior
    }

    /// How much a request is about each entry.
    #[must_use]
    pub fn tell(&self, request: &str) -> Told {
        self.tell_words(&words(request))
    }

    pub(crate) fn tell_words(&self, request: &[String]) -> Told {
        self.tell_with(request, &ExampleIndex::default())
    }

    /// How much a request is about each entry, by its files and its labelled requests together.
    pub(crate) fn tell_with(&self, request: &[String], examples: &ExampleIndex) -> Told {
        let mut terms = terms_of(request);
        terms.sort_unstable();
        let mut told = Told { scores: vec![0.0; self.entries as usize], words: request.len() };
        let mut all = 0.0;
        for same in terms.chunk_by(|a, b| a == b) {
            let often = (same.len() as f32).sqrt();
            let by_files = self.words.binary_search(&same[0]).ok();
            let in_files = by_files.map_or(&[][..], |at| self.postings(at));
            let in_examples = examples.labels_with(same[0]);
            let rarity = match by_files {
                Some(at) if in_examples.is_empty() => self.rarity[at],
                _ => self.rarity_of(having(in_files, in_examples)),
            };
            let weight = rarity * often;
            all += weight;
            let mut add = |entry: u32, count: f32| {
                if let Some(score) = told.scores.get_mut(entry as usize) {
                    *score += weight * damped(count);
                }
            };
            // Both lists are sorted by entry; damping needs the sum of both counts.
            let mut rest = in_examples.iter().peekable();
            let labelled = |entry: u32, count: u32| {
                let long = 1.0 - LABELLED.length + LABELLED.length * examples.relative_length(entry);
                LABELLED.weight * count as f32 / long
            };
            for (entry, count) in in_files {
                while let Some((other, times)) = rest.next_if(|(other, _)| other < entry) {
                    add(*other, labelled(*other, *times));
                }
                let more = rest.next_if(|(other, _)| other == entry).map_or(0.0, |(_, times)| labelled(*entry, *times));
                add(*entry, count + more);
            }
            rest.for_each(|(other, times)| add(*other, labelled(*other, *times)));
        }
        if all == 0.0 {
            return told;
        }
        for (score, name) in told.scores.iter_mut().zip(&self.names) {
            let named = name.iter().filter(|word| terms.binary_search(word).is_ok()).count();
            *score *= (1.0 + NAMED * named as f32 / name.len().max(1) as f32) / all;
        }
        told
    }

    /// The weight of a word that so many entries have. One that none has is as rare as can be.
    fn rarity_of(&self, having: usize) -> f32 {
        (agentops_text::bm25::idf(self.entries as usize, having) as f32).powf(RARITY)
    }

    /// The words of a request that an entry answers, those first that say most.
    #[must_use]
    pub fn because(&self, request: &str, entry: usize) -> Vec<(String, f32)> {
        let mut because: Vec<(String, f32)> = Vec::new();
        // A number stands there as its number of digits, which tells a person nothing.
        let said = |word: &String| !is_stop(word) && word.chars().any(char::is_alphabetic);
        for word in words(request).into_iter().filter(said) {
            let Ok(at) = self.words.binary_search(&hash(stem(&word).as_bytes())) else { continue };
            let adds = self.postings(at).iter().find(|(having, _)| *having as usize == entry);
            if let Some((_, adds)) = adds
                && because.iter().all(|(known, _)| *known != word)
            {
                because.push((word, self.rarity[at] * damped(*adds)));
            }
        }
        because.sort_by(|a, b| b.1.total_cmp(&a.1));
        because
    }

    fn postings(&self, at: usize) -> &[(u32, f32)] {
        &self.postings[self.begins[at] as usize..self.begins[at + 1] as usize]
    }
}

impl Prior {
    pub(crate) fn write(&self, to: &mut Writer) {
        to.one(self.entries);
        to.many(&self.words);
        to.many(&self.rarity);
        to.many(&self.begins);
        let (entries, adds): (Vec<u32>, Vec<f32>) = self.postings.iter().copied().unzip();
        to.many(&entries);
        to.many(&adds);
        self.names.iter().for_each(|name| to.many(name));
    }

    pub(crate) fn read(from: &mut Reader<'_>) -> Option<Self> {
        let mut prior = Self {
            entries: from.one()?,
            words: from.many()?,
            rarity: from.many()?,
            begins: from.many()?,
            ..Self::default()
        };
        let (entries, adds): (Vec<u32>, Vec<f32>) = (from.many()?, from.many()?);
        prior.postings = entries.into_iter().zip(adds).collect();
        prior.names = (0..prior.entries).map(|_| from.many()).collect::<Option<_>>()?;
        let fits = prior.rarity.len() == prior.words.len()
            && prior.begins.len() == prior.words.len() + 1
            && prior.begins.is_sorted()
            && prior.begins.last().is_some_and(|end| *end as usize == prior.postings.len())
            && prior.postings.iter().all(|(entry, _)| *entry < prior.entries);
        fits.then_some(prior)
    }
}

/// Occurrences beyond the first ones count less and less.
fn damped(count: f32) -> f32 {
    count / (K1 + count)
}

/// How many entries have a word in their files, their labelled requests, or both.
fn having(in_files: &[(u32, f32)], in_examples: &[(u32, u32)]) -> usize {
    let only_there =
        in_examples.iter().filter(|(label, _)| in_files.binary_search_by_key(label, |(entry, _)| *entry).is_err());
    in_files.len() + only_there.count()
}

/// The stems of a request's words, as hashes, without stop words.
pub(crate) fn terms_of(request: &[String]) -> Vec<u64> {
    stems(request).into_iter().zip(request).filter(|(_, word)| !is_stop(word)).map(|(stem, _)| stem).collect()
}

fn terms(text: &str) -> Vec<u64> {
    crate::features::words_of(text, usize::MAX)
        .iter()
        .filter(|word| !is_stop(word))
        .take(WORDS_MAX)
        .map(|word| hash(stem(word).as_bytes()))
        .collect()
}

/// `code-reviewer` and `codeReviewer` are two words each.
fn spaced(name: &str) -> String {
    let mut spaced = String::with_capacity(name.len() + 8);
    let mut lower = false;
    for c in name.chars() {
        if lower && c.is_uppercase() {
            spaced.push(' ');
        }
        lower = c.is_lowercase();
        spaced.push(if c == '_' { ' ' } else { c });
    }
    spaced
}

fn is_stop(word: &str) -> bool {
    STOP.binary_search(&word).is_ok() || word.starts_with('\'') || word == "n't"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, description: &str, body: &str) -> Entry {
        Entry {
            label: name.into(),
            name: name.into(),
            description: description.into(),
            body: body.into(),
            ..Entry::default()
        }
    }

    #[test]
    fn stop_words_are_in_order_for_the_search() {
        let mut sorted = STOP.to_vec();
        sorted.sort_unstable();
        assert_eq!(STOP, sorted);
    }

    #[test]
    fn the_name_says_more_than_the_instructions() {
        let prior = Prior::new(&[
            entry("sql-pro", "Writes queries.", "joins and indexes"),
            entry("docs", "Writes documents.", "sometimes sql, sql and more sql in examples"),
        ]);
        let told = prior.tell("speed up this SQL query");
        assert!(told.scores[0] > told.scores[1], "{told:?}");
        let because: Vec<String> = prior.because("speed up this SQL query", 0).into_iter().map(|(word, _)| word).collect();
        assert_eq!(because, ["query", "sql"]);
        let numbered = Prior::new(&[entry("a", "Mends query 1.", ""), entry("b", "", "")]);
        assert_eq!(numbered.because("query 1", 0).len(), 1);
    }

    #[test]
    fn requests_that_the_author_gave_count() {
        let with = Entry { examples: vec!["our dashboards are blank".into()], ..entry("a", "Watches.", "") };
        let prior = Prior::new(&[entry("b", "Watches.", "dashboards"), with]);
        let told = prior.tell("the dashboards are blank again");
        assert!(told.scores[1] > told.scores[0], "{told:?}");
    }

    #[test]
    fn what_no_entry_knows_scores_nothing() {
        let prior = Prior::new(&[entry("a", "", ""), entry("b", "bees", "")]);
        let told = prior.tell("全部删除 xyzzy");
        assert!(told.scores.iter().all(|score| *score == 0.0) && told.inside() < 0.01);
        assert!(Prior::default().tell("anything").scores.is_empty());
    }
}
