//! Is the work small? A logistic model over kinds of words and the shape of the text, small enough to be read.
//!
//! P(small) = 1 / (1 + e^-(bias + Σ weight × value)). The value of a kind is 1 if one of its words occurs outside code,
//! whatever how often. `fit.rs` fits the weights on commits of public repositories and prints them.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::reading::{Shape, Word};
use super::{About, Reason};

/// What counts, its weight and how a person reads it. Positive speaks for small.
pub(super) struct Feature {
    pub(super) name: &'static str,
    pub(super) weight: f64,
    /// Words of this kind, if it is one of words.
    pub(super) words: &'static str,
    /// Commits say what was done, so words of asking and planning hardly occur in them: these weights are set by hand.
    #[cfg_attr(not(test), expect(dead_code, reason = "only the fit asks"))]
    pub(super) by_hand: bool,
}

const fn kind(name: &'static str, weight: f64, words: &'static str) -> Feature {
    Feature { name, weight, words, by_hand: false }
}

const fn by_hand(name: &'static str, weight: f64, words: &'static str) -> Feature {
    Feature { name, weight, words, by_hand: true }
}

const fn shape(name: &'static str, weight: f64) -> Feature {
    Feature { name, weight, words: "", by_hand: false }
}

// Fitted on 21,390 commits, the newest of bat, celery, click, fd, gh, helm, jekyll, laravel, next-auth, okhttp, prometheus,
// pytest, rails, tokio and vue (GitHub, state of August 2026), made by `benches/size_data.py`. On 8,893 commits of caddy,
// dbt-core, httpx, requests, responses, svelte and vite: AUROC 0.66, expected calibration error 0.06. A linear model over all
// words and pairs of words reaches 0.68 there: what a first line says of size is not more.
pub(super) const BIAS: f64 = -0.05;

#[rustfmt::skip]
pub(super) const FEATURES: [Feature; 36] = [
    kind("spelling", 0.69, "\
        typo typos spelling spell misspelled misspelling misspell mispelled grammar grammatical reword rephrase punctuation \
        capitalization capitalize wording phrasing"),
    kind("documents", 0.35, "\
        docs doc documentation document documented documenting readme docstring docstrings changelog guide tutorial manpage \
        comment comments md readme.md rst rustdoc javadoc jsdoc faq clarify mention describe explain"),
    kind("a link", 0.69, "link links url urls badge badges hyperlink href"),
    kind("a version", 0.26, "bump upgrade pin unpin downgrade version versions dependency dependencies deps"),
    kind("an update", 0.35, "update updates updated updating refresh"),
    kind("a fix", 0.52, "fix fixes fixed fixing correct corrects bug bugfix hotfix resolve repair patch"),
    kind("something wrong", 0.44, "\
        missing wrong incorrect incorrectly broken off-by-one crash crashes panic panics regression fails failing failure \
        error errors warning invalid null nil undefined empty"),
    kind("what is shown", 0.19, "\
        message messages text label labels title heading tooltip placeholder colour color icon icons padding margin font \
        css style styles button footer header banner logo spacing align alignment favicon copyright"),
    kind("taking away", 0.37, "\
        remove removes removed removing delete unused dead obsolete redundant unnecessary superfluous duplicate stray \
        leftover"),
    kind("a rename", -0.37, "rename renames renamed renaming"),
    kind("a value", 0.36, "\
        default timeout limit constant value increase decrease raise lower set ignore skip disable enable exclude threshold \
        ttl"),
    kind("a condition", 0.21, "when if instead only unless avoid prevent ensure check handle guard"),
    kind("configuration", -0.10, "\
        config configuration settings ci pipeline lint linter lints makefile dockerfile gitignore .gitignore eslint \
        prettier yaml toml"),
    kind("tests", -0.13, "test tests testing coverage flaky spec specs"),
    kind("an addition", -0.32, "add adds adding added"),
    kind("something new", -0.34, "\
        new implement implements implemented implementing implementation introduce introduces create creates build builds"),
    kind("support for something", -0.32, "\
        support supports supporting allow allows feat feature features option options flag endpoint endpoints command \
        commands api integration integrate"),
    kind("restructuring", -0.70, "\
        refactor refactors refactored refactoring restructure reorganize reorganise rework cleanup clean extract split \
        decouple simplify consolidate unify deduplicate modularize abstract reuse"),
    kind("moving", -0.55, "move moves moved moving into"),
    kind("converting", -0.65, "\
        convert converts converted converting migrate migrates migrated migrating migration port porting rewrite rewrites \
        rewriting replace replaces replacing switch transition adopt modernize"),
    kind("everywhere", -0.40, "\
        all every each across everywhere throughout whole entire multiple various several many codebase repo-wide"),
    kind("some", -0.54, "some more few couple bunch lots tweaks improvements changes fixups"),
    kind("improving", -0.30, "\
        improve improves improved improving improvement enhance enhanced better robust performance optimize optimise \
        optimization optimized speed faster efficient cache caching"),
    kind("a little", -0.01, "just simple simply minor small tiny little quick trivial one single one-liner nit tweak"),
    kind("types", -0.38, "type types typing typings typescript generic generics interface interfaces struct class classes"),
    kind("joined parts", -0.51, "and plus also additionally furthermore well"),
    by_hand("a redesign", -1.5, "\
        redesign architecture architectural architect re-architect overhaul microservice microservices monolith \
        from-scratch scratch platform framework subsystem end-to-end multi-tenant"),
    by_hand("open questions", -1.0, "\
        investigate explore research why analyze analyse design plan propose proposal compare evaluate audit assess \
        diagnose strategy figure understand spike prototype unclear"),
    shape("length of the text", 0.16),
    shape("length of the first line", -0.20),
    shape("items of a list", -0.93),
    shape("names of files", 0.23),
    shape("names in code", 0.04),
    shape("several clauses", -0.10),
    by_hand("a question", -0.3, ""),
    shape("code or a stack trace", 0.08),
];

/// The words that are read for size. What is asked stands at the beginning; a longer text is mostly a report, which says how
/// something shows and not how large the work is (issues of SWE-bench with their patches: AUROC 0.5). Of such a text everything
/// counts less, in proportion.
const READ_MAX: usize = 60;

/// Where the features of shape begin.
const SHAPES: usize = 28;

/// The values of all features, in the order of [`FEATURES`].
pub(super) type Values = [f64; FEATURES.len()];

static KINDS: LazyLock<HashMap<&'static str, u8>> = LazyLock::new(|| {
    let words = |(kind, feature): (u8, &'static Feature)| feature.words.split(' ').map(move |word| (word, kind));
    (0_u8..).zip(&FEATURES[..SHAPES]).flat_map(words).collect()
});

/// The kind of a word, as an index into [`FEATURES`].
pub(super) fn kind_of(word: &str) -> Option<usize> {
    KINDS.get(word).map(|kind| usize::from(*kind))
}

/// Whether words of this kind say what is done, not to what.
pub(super) fn is_deed(kind: usize) -> bool {
    const DEEDS: [&str; 10] = [
        "an update",
        "a fix",
        "taking away",
        "a rename",
        "an addition",
        "something new",
        "restructuring",
        "moving",
        "converting",
        "improving",
    ];
    DEEDS.contains(&FEATURES[kind].name)
}

/// What counts in a text.
pub(super) fn values(words: &[Word<'_>], shape: &Shape) -> Values {
    let mut values = [0.0; FEATURES.len()];
    let (mut files, mut names, mut clauses) = (0_u32, 0_u32, 0_u32);
    for word in words.iter().filter(|word| !word.code).take(READ_MAX) {
        if let Some(kind) = kind_of(word.text) {
            values[kind] = 1.0;
        }
        if word.name {
            let file = word.text.rsplit_once('.').is_some_and(|(_, end)| (1..=5).contains(&end.len()));
            files += u32::from(file);
            names += u32::from(!file);
        }
        clauses += u32::from(word.before == super::reading::Before::Comma || word.text == "and");
    }
    let [length, first_line, items, in_files, in_names, parts, question, pasted] = [
        (1.0 + shape.words.min(READ_MAX) as f64).ln() - 2.5,
        (1.0 + shape.first_line.min(READ_MAX) as f64).ln() - 2.0,
        (1.0 + shape.items.min(4) as f64).ln(),
        f64::from(files.min(4)),
        f64::from(names.min(4)),
        f64::from(clauses.min(6)),
        f64::from(u8::from(shape.questions > 0)),
        f64::from(u8::from(shape.fences + shape.trace > 0)),
    ];
    values[SHAPES..].copy_from_slice(&[length, first_line, items, in_files, in_names, parts, question, pasted]);
    let told = (READ_MAX as f64 / shape.words.max(1) as f64).min(1.0);
    values.map(|value| value * told)
}

/// The probability that work with these values is small.
pub(super) fn small(values: &Values) -> f64 {
    let sum: f64 = FEATURES.iter().zip(values).map(|(feature, value)| feature.weight * value).sum();
    1.0 / (1.0 + (-(BIAS + sum)).exp())
}

/// What counted, the weightiest first. What counts little says little and is left out.
pub(super) fn reasons(words: &[Word<'_>], values: &Values) -> Vec<Reason> {
    const TELLING: f64 = 0.1;
    let mut reasons: Vec<Reason> = Vec::new();
    for (at, (feature, value)) in FEATURES.iter().zip(values).enumerate() {
        let weight = feature.weight * value;
        if weight.abs() < TELLING {
            continue;
        }
        let mut said: Vec<&str> = Vec::new();
        if at < SHAPES {
            let of_kind = words.iter().filter(|word| !word.code && kind_of(word.text) == Some(at));
            for word in of_kind {
                if said.len() < 3 && !said.contains(&word.written) {
                    said.push(word.written);
                }
            }
        }
        reasons.push(Reason { about: About::Size(feature.name), words: said.join(", "), weight });
    }
    reasons.sort_by(|a, b| b.weight.abs().total_cmp(&a.weight.abs()));
    reasons
}
