//! How likely it is that a task is about a file, and about a part of one.
//!
//! Each is a logistic model over a few figures that do not depend on the size or the language of the repository: BM25 of text,
//! path and definition lines against the best of the repository, the role of the file, what its companions have. The weights
//! were fitted on changes of open-source repositories with what those changes touched; the constants say so.

use std::collections::HashMap;

use agentops_text::bm25;

use super::kind::Role;
use super::open::Opened;
use super::parts::Shape;
use super::query::Query;
use super::scan::{Scanned, Source};
use super::words::{self, TERMS_MAX};

/// How many figures of a file the model looks at.
pub const FILE_FIGURES: usize = 21;
/// How many figures of a part.
pub const PART_FIGURES: usize = 19;
/// How much a long part is held back, as BM25's `b`.
const PART_B: f64 = 0.6;

/// What is known of a file.
#[derive(Debug, Clone)]
pub struct FileRank {
    /// Which source.
    pub source: usize,
    /// What the model looks at, see [`files`].
    figures: [f64; FILE_FIGURES],
    /// How likely the task is about it.
    pub likely: f64,
    /// Whether people edit this file. A generated or vendored file counts only if the task asks for such files.
    pub wanted: bool,
}

impl FileRank {
    /// Whether the task names the file's path or words of it.
    pub fn is_named(&self) -> bool {
        self.figures[1] > 0.0 || self.figures[7] > 0.0
    }
}

/// How much less likely a task is about generated and vendored files, which people do not edit. Too few changes of the fitted
/// projects touched such files for a fit.
const SELDOM_EDITED: f64 = 0.02;

/// A bit in the amount of a hit: it stands on a line that defines something.
pub const ON_DEFINITION: u8 = 0x80;

/// How much each term says: its weight in the task, and how rare it is.
pub struct Weights {
    /// For a file.
    pub file: Vec<f64>,
    /// For a part.
    pub part: Vec<f64>,
}

impl Weights {
    /// From the task and from where its terms stand.
    pub fn of(query: &Query, scanned: &Scanned) -> Self {
        let rare = |documents: usize, having: u32| if having == 0 { 0.0 } else { bm25::idf(documents, having as usize) };
        let file =
            query.terms.iter().enumerate().map(|(t, term)| term.weight * rare(scanned.sources.len(), scanned.files_with[t]));
        let part =
            query.terms.iter().enumerate().map(|(t, term)| term.weight * rare(scanned.chunks, scanned.chunks_with[t]));
        Self { file: file.collect(), part: part.collect() }
    }
}

fn saturate(count: f64, long: f64) -> f64 {
    bm25::weight(count, long, 1.0)
}

/// Ranks all files, the likeliest first.
pub fn files(query: &Query, scanned: &Scanned, weights: &Weights) -> Vec<FileRank> {
    let sources = &scanned.sources;
    let mean_names = sources.iter().map(|s| f64::from(s.counted.names)).sum::<f64>() / sources.len().max(1) as f64;
    let total: f64 = weights.file.iter().sum::<f64>().max(1e-9);
    let names_total: f64 =
        query.terms.iter().zip(&weights.file).filter(|(term, _)| term.name).map(|(_, w)| w).sum::<f64>().max(1e-9);
    let path_weights = path_weights(query, sources);
    let scope_total: f64 =
        query.terms.iter().zip(&path_weights).filter(|(term, _)| term.scope).map(|(_, w)| w).sum::<f64>().max(1e-9);
    let asks = |words: &[&str]| query.asks(words);
    let about_tests = query.is_about_tests();
    let about_generated = query.is_about_generated();
    let about_documents =
        asks(&["doc", "docs", "document", "documentation", "readme", "typo", "typos", "comment", "comments"]);
    let about_needs = asks(&["dependency", "dependencies", "dep", "deps", "version", "bump", "upgrade", "package", "crate"]);

    let mut ranks: Vec<FileRank> = Vec::with_capacity(sources.len());
    for (index, source) in sources.iter().enumerate() {
        let mut count = [0.0_f64; TERMS_MAX];
        let mut on_definition = [0.0_f64; TERMS_MAX];
        for hit in &source.counted.hits {
            let amount = f64::from(hit.amount & !ON_DEFINITION) / 10.0;
            count[usize::from(hit.term)] += amount;
            if hit.amount & ON_DEFINITION != 0 {
                on_definition[usize::from(hit.term)] += amount;
            }
        }
        let relative = f64::from(source.counted.names) / mean_names.max(1.0);
        let (mut body, mut defined, mut covered, mut names) = (0.0, 0.0, 0.0, 0.0);
        for (t, weight) in weights.file.iter().enumerate() {
            if count[t] > 0.0 {
                body += weight * saturate(count[t], relative);
                covered += weight * count[t].min(1.0);
                if query.terms[t].name {
                    names += weight * count[t].min(1.0);
                }
                defined += weight * saturate(on_definition[t], relative.sqrt());
            }
        }
        let (best, three) = best_chunks(source, weights);
        let path = path_hits(&source.path, query);
        let (mut in_path, mut in_name, mut in_scope) = (0.0, 0.0, 0.0);
        for (t, hit) in path.iter().enumerate().take(query.terms.len()) {
            in_path += path_weights[t] * hit;
            if *hit >= 1.0 {
                in_name += path_weights[t];
            }
            if query.terms[t].scope {
                in_scope += path_weights[t] * hit;
            }
        }
        let mut figures = [0.0; FILE_FIGURES];
        figures[0] = body;
        figures[1] = in_path;
        figures[2] = defined;
        figures[3] = best;
        figures[4] = three;
        figures[5] = in_name;
        figures[6] = in_scope / scope_total;
        figures[7] = spelled(&source.path, query);
        figures[8] = names / names_total;
        figures[9] = covered / total;
        let role = source.kind.role;
        let is = |wanted: Role| f64::from(u8::from(role == wanted));
        figures[10] = is(Role::Test);
        figures[11] = is(Role::Example);
        figures[12] = is(Role::Document);
        figures[13] = is(Role::Manifest);
        figures[14] = is(Role::Settings);
        figures[15] = is(Role::Record) + is(Role::Data) + is(Role::Generated) + is(Role::Vendored);
        figures[16] = is(Role::Test) * f64::from(u8::from(about_tests));
        figures[17] = is(Role::Document) * f64::from(u8::from(about_documents));
        figures[18] = is(Role::Manifest) * f64::from(u8::from(about_needs));
        figures[19] = (1.0 + f64::from(source.counted.lines)).ln() / 10.0;
        ranks.push(FileRank { source: index, figures, likely: 0.0, wanted: true });
    }
    for figure in [0, 1, 2, 3, 4, 5] {
        let max = ranks.iter().map(|rank| rank.figures[figure]).fold(1e-9, f64::max);
        ranks.iter_mut().for_each(|rank| rank.figures[figure] /= max);
    }
    for rank in &mut ranks {
        rank.likely = model(&rank.figures, &FILE);
    }
    companions(&mut ranks, sources);
    for rank in &mut ranks {
        rank.likely = model(&rank.figures, &FILE);
        // A path that the task spells is wanted, whatever it is.
        let is_spelled = rank.figures[7] > 0.0;
        if sources[rank.source].kind.role.is_seldom_edited() && !about_generated && !is_spelled {
            rank.likely *= SELDOM_EDITED;
            rank.wanted = false;
        }
    }
    ranks.sort_by(|a, b| b.likely.total_cmp(&a.likely).then(a.source.cmp(&b.source)));
    ranks
}

/// The weights of a file's figures and, last, the constant: a logistic regression (ridge of 1) on which files 154 changes of
/// ripgrep, flask, gin, express and axum touched, each change weighing as one over the root of the number of its files.
const FILE: [f64; FILE_FIGURES + 1] = [
    2.143, 1.629, 0.561, 1.935, 0.879, 0.647, 0.54, 1.321, 0.407, 0.678, -0.03, 0.244, -1.096, 0.96, -0.338, -2.329, 0.164,
    1.07, 2.119, 2.287, 0.24, -8.537,
];

/// The probability that a logistic model gives.
fn model(figures: &[f64], weights: &[f64]) -> f64 {
    let sum: f64 = figures.iter().zip(weights).map(|(figure, weight)| figure * weight).sum::<f64>() + weights[figures.len()];
    1.0 / (1.0 + (-sum).exp())
}

/// Files that are named alike, a source and its tests above all, are changed together.
fn companions(ranks: &mut [FileRank], sources: &[Source]) {
    let mut named: HashMap<String, Vec<usize>> = HashMap::new();
    for (at, rank) in ranks.iter().enumerate() {
        named.entry(bare_name(&sources[rank.source].path)).or_default().push(at);
    }
    for group in named.values().filter(|group| (2..=12).contains(&group.len())) {
        for at in group {
            let best = group.iter().filter(|other| *other != at).map(|other| ranks[*other].likely).fold(0.0, f64::max);
            ranks[*at].figures[20] = best;
        }
    }
}

/// The name of what a file is about: `context_test.go` and `context.go` are about `context`.
fn bare_name(path: &str) -> String {
    let (folders, name) = path.rsplit_once('/').unwrap_or(("", path));
    let stem = name.split('.').next().unwrap_or(name);
    let bare = stem.trim_start_matches("test_").trim_end_matches("_test").trim_end_matches("_tests").to_ascii_lowercase();
    if matches!(bare.as_str(), "mod" | "index" | "__init__" | "lib" | "main" | "test" | "tests" | "") {
        return folders.rsplit('/').next().unwrap_or_default().to_ascii_lowercase() + "/";
    }
    bare
}

/// How much each term says when it stands in a path.
fn path_weights(query: &Query, sources: &[Source]) -> Vec<f64> {
    let mut having = vec![0_usize; query.terms.len()];
    for source in sources {
        for (t, hit) in path_hits(&source.path, query).iter().enumerate().take(query.terms.len()) {
            having[t] += usize::from(*hit > 0.0);
        }
    }
    let idf = |count: usize| if count == 0 { 0.0 } else { bm25::idf(sources.len(), count) };
    query.terms.iter().zip(having).map(|(term, count)| term.weight * idf(count)).collect()
}

/// Which terms stand in a path: 1 in the file's name, less in folders.
fn path_hits(path: &str, query: &Query) -> [f64; TERMS_MAX] {
    let mut hits = [0.0; TERMS_MAX];
    let name_at = path.rfind('/').map_or(0, |at| at + 1);
    let parent_at = path[..name_at.saturating_sub(1)].rfind('/').map_or(0, |at| at + 1);
    words::each_name(
        path.as_bytes(),
        |name| {
            let place = if name.at >= name_at {
                1.0
            } else if name.at >= parent_at {
                0.7
            } else {
                0.5
            };
            query.table.hits(&name, |term, amount| {
                let hit = &mut hits[usize::from(term)];
                *hit = f64::max(*hit, place * if amount == words::EXACT { 1.0 } else { 0.8 });
            });
        },
        |_| (),
    );
    hits
}

/// Whether the task spells this path, or its end.
fn spelled(path: &str, query: &Query) -> f64 {
    let mut best: f64 = 0.0;
    for wanted in &query.paths {
        let bare = wanted.trim_matches('/');
        let is_end = path.strip_suffix(bare).is_some_and(|before| before.is_empty() || before.ends_with('/'));
        if is_end {
            best = best.max(1.0);
        } else if bare.contains('/') && (path.starts_with(&format!("{bare}/")) || path.contains(&format!("/{bare}/"))) {
            best = best.max(0.4);
        } else if bare.contains('/')
            && path.rsplit_once('.').is_some_and(|(stem, _)| stem.ends_with(&format!("/{bare}")) || stem == bare)
        {
            best = best.max(0.8);
        }
    }
    best
}

/// The scores of the best part and of the three best together.
fn best_chunks(source: &Source, weights: &Weights) -> (f64, f64) {
    let mut tops = [0.0_f64; 3];
    let mut hits = source.counted.hits.as_slice();
    let mut count = [0.0_f64; TERMS_MAX];
    for (at, start) in source.chunks.iter().enumerate() {
        let end = source.chunks.get(at + 1).copied().unwrap_or(u32::MAX);
        let until = hits.partition_point(|hit| hit.line < end);
        let (mine, rest) = hits.split_at(until);
        hits = rest;
        if mine.is_empty() {
            continue;
        }
        for hit in mine {
            let factor = if hit.amount & ON_DEFINITION != 0 { 2.0 } else { 1.0 };
            count[usize::from(hit.term)] += f64::from(hit.amount & !ON_DEFINITION) / 10.0 * factor;
        }
        let lines = f64::from(end.min(source.counted.lines).saturating_sub(*start).max(1));
        let mut score = 0.0;
        for hit in mine {
            let t = usize::from(hit.term);
            if count[t] > 0.0 {
                score += weights.part[t] * saturate(count[t], lines / 15.0);
                count[t] = 0.0;
            }
        }
        let lowest = (0..3).min_by(|a, b| tops[*a].total_cmp(&tops[*b])).unwrap_or(0);
        tops[lowest] = tops[lowest].max(score);
    }
    (tops.iter().copied().fold(0.0, f64::max), tops.iter().sum())
}

/// What is known of a part.
#[derive(Debug, Clone)]
pub struct PartRank {
    /// How likely the task is about it.
    pub likely: f64,
}

/// The weights of a part's figures and, last, the constant, fitted as [`FILE`] on which parts the same changes touched.
const PART: [f64; PART_FIGURES + 1] = [
    2.405, 2.584, 0.245, 0.33, 0.139, 0.932, -0.105, 1.915, 0.871, -0.149, 0.192, 0.4, 0.855, 2.014, -0.004, -1.147, 0.395,
    0.579, 1.01, -8.044,
];

fn logit(p: f64) -> f64 {
    let p = p.clamp(1e-6, 1.0 - 1e-6);
    (p / (1.0 - p)).ln()
}

/// Ranks the parts of the opened files.
pub fn parts(opened: &[Opened], weights: &Weights) -> Vec<Vec<PartRank>> {
    let total: f64 = weights.part.iter().sum::<f64>().max(1e-9);
    let mut own: Vec<Vec<f64>> = Vec::with_capacity(opened.len());
    let mut named: Vec<Vec<f64>> = Vec::with_capacity(opened.len());
    let mut covered: Vec<Vec<f64>> = Vec::with_capacity(opened.len());
    for file in opened {
        let mut scores = Vec::with_capacity(file.parts.len());
        let mut in_names = Vec::with_capacity(file.parts.len());
        let mut covers = Vec::with_capacity(file.parts.len());
        for part in &file.parts {
            let mut count = [0.0_f64; TERMS_MAX];
            let mut in_signature = [0.0_f64; TERMS_MAX];
            let signature = match part.definition {
                Some(at) if part.shape != Shape::Between => file.definitions[at].signature..file.definitions[at].body,
                _ => 0..0,
            };
            for hit in file.hits(signature.start, signature.end) {
                in_signature[usize::from(hit.term)] =
                    f64::max(in_signature[usize::from(hit.term)], f64::from(hit.amount) / 10.0);
            }
            for hit in file.hits(part.start, part.end) {
                count[usize::from(hit.term)] += f64::from(hit.amount) / 10.0;
            }
            let long = 1.0 - PART_B + PART_B * (part.end - part.start) as f64 / 15.0;
            let (mut score, mut name, mut cover) = (0.0, 0.0, 0.0);
            for (t, weight) in weights.part.iter().enumerate() {
                let n = count[t] + in_signature[t] * 1.0;
                if n > 0.0 {
                    score += weight * n * 2.2 / (n + 1.2 * long);
                    cover += weight * n.min(1.0);
                }
                name += weight * in_signature[t];
            }
            scores.push(score);
            in_names.push(name);
            covers.push(cover / total);
        }
        own.push(scores);
        named.push(in_names);
        covered.push(covers);
    }
    let max = own.iter().flatten().copied().fold(1e-9, f64::max);
    let max_name = named.iter().flatten().copied().fold(1e-9, f64::max);
    let referred = references(opened, &own, max);
    let mut ranks: Vec<Vec<PartRank>> = Vec::with_capacity(opened.len());
    for (at, file) in opened.iter().enumerate() {
        let in_file = own[at].iter().copied().fold(1e-9, f64::max);
        let sum: f64 = own[at].iter().sum::<f64>().max(1e-9);
        let mut of_file = Vec::with_capacity(file.parts.len());
        for (index, part) in file.parts.iter().enumerate() {
            let neighbour = |other: Option<usize>| other.and_then(|other| own[at].get(other)).copied().unwrap_or(0.0);
            let mut figures = [0.0; PART_FIGURES];
            figures[0] = logit(file.likely) / 5.0;
            figures[1] = own[at][index] / max;
            figures[2] = own[at][index] / in_file;
            figures[3] = named[at][index] / max_name;
            figures[4] = (neighbour(index.checked_sub(1)) + neighbour(Some(index + 1))) / (2.0 * max);
            figures[5] = covered[at][index];
            figures[6] = f64::from(u8::from(index == 0 && part.shape == Shape::Between));
            figures[7] = ((part.end - part.start) as f64).ln() / 3.0;
            figures[8] = referred[at][index];
            figures[9] = f64::from(u8::from(part.shape == Shape::Whole));
            figures[10] = f64::from(u8::from(part.shape == Shape::Head));
            figures[11] = f64::from(u8::from(part.shape == Shape::Between));
            figures[12] = own[at][index] / sum;
            figures[13] = 1.0 / (file.parts.len() as f64).sqrt();
            figures[14] = f64::from(u8::from(file.role == Role::Test));
            figures[15] = f64::from(u8::from(matches!(file.role, Role::Document | Role::Record)));
            figures[16] = f64::from(u8::from(matches!(file.role, Role::Manifest | Role::Settings)));
            figures[17] = f64::from(u8::from(own[at][index] >= in_file));
            let parent = part.definition.and_then(|d| file.definitions[d].parent);
            figures[18] = parent.map_or(0.0, |parent| {
                let definition = &file.definitions[parent];
                let mut seen = [false; TERMS_MAX];
                let mut sum = 0.0;
                for hit in file.hits(definition.signature, definition.body) {
                    if !std::mem::replace(&mut seen[usize::from(hit.term)], true) {
                        sum += weights.part.get(usize::from(hit.term)).copied().unwrap_or(0.0);
                    }
                }
                sum / max_name
            });
            let wanted = if file.wanted { 1.0 } else { SELDOM_EDITED };
            of_file.push(PartRank { likely: wanted * model(&figures, &PART) });
        }
        ranks.push(of_file);
    }
    ranks
}

/// How much the best parts use the names that each part defines: who reads a function wants to see what it calls.
fn references(opened: &[Opened], own: &[Vec<f64>], max: f64) -> Vec<Vec<f64>> {
    let mut defined: HashMap<&str, Vec<(usize, usize)>> = HashMap::new();
    for (at, file) in opened.iter().enumerate() {
        for (index, part) in file.parts.iter().enumerate() {
            if part.shape == Shape::Whole
                && let Some(definition) = part.definition
            {
                let name = file.definitions[definition].name.as_str();
                if name.len() >= 4 && !name.contains(' ') {
                    defined.entry(name).or_default().push((at, index));
                }
            }
        }
    }
    let mut referred: Vec<Vec<f64>> = own.iter().map(|scores| vec![0.0; scores.len()]).collect();
    let mut best: Vec<(usize, usize)> =
        own.iter().enumerate().flat_map(|(at, scores)| (0..scores.len()).map(move |index| (at, index))).collect();
    best.sort_by(|a, b| own[b.0][b.1].total_cmp(&own[a.0][a.1]).then(a.cmp(b)));
    for (at, index) in best.into_iter().take(24) {
        let file = &opened[at];
        let part = &file.parts[index];
        let mut seen = std::collections::BTreeSet::new();
        for line in &file.lines()[part.start..part.end] {
            for word in line.split(|c: char| !(c.is_alphanumeric() || c == '_')) {
                if word.len() >= 4 && defined.get(word).is_some_and(|places| places.len() <= 3) {
                    seen.insert(word);
                }
            }
        }
        for word in &seen {
            let places = &defined[word];
            for (other, target) in places {
                if (*other, *target) != (at, index) {
                    let add = own[at][index] / max / places.len() as f64 / (seen.len() as f64).sqrt();
                    let value = &mut referred[*other][*target];
                    *value = (*value + add).min(1.5);
                }
            }
        }
    }
    referred
}
