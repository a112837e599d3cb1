//! The table of models beside two public catalogues: `tests/data/catalogues.tsv` says which, and of what day.
//!
//! Every difference is here with its reason. A difference that went away has to go from here too.

use std::collections::{BTreeMap, BTreeSet};

use agentops_core::ceiling::Window;
use agentops_core::models;
use agentops_core::usage::Usage;

/// A model as one catalogue has it.
struct Listed {
    catalogue: &'static str,
    model: &'static str,
    /// In tokens, where it is said.
    context: Option<u64>,
    /// In tokens.
    input: u64,
    /// In tokens, where it is said.
    output: Option<u64>,
    /// In US dollars per million tokens.
    prices: Prices,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Prices {
    input: Option<f64>,
    output: Option<f64>,
    cache_read: Option<f64>,
}

fn listed() -> Vec<Listed> {
    let rows = include_str!("data/catalogues.tsv").lines().filter(|line| !line.starts_with('#'));
    let listed = rows.map(|line| {
        let columns: Vec<&str> = line.split('\t').collect();
        let [catalogue, _, model, context, most, answer, input, output, cache_read] = columns.as_slice() else {
            panic!("{line}")
        };
        let price = |column: &str| column.parse().ok();
        let prices = Prices { input: price(input), output: price(output), cache_read: price(cache_read) };
        let input = most.parse().expect("a number");
        Listed { catalogue, model, context: context.parse().ok(), input, output: answer.parse().ok(), prices }
    });
    listed.collect()
}

/// The windows that the catalogues allow: the smaller of context window and largest input, of either catalogue.
fn allowed() -> BTreeMap<&'static str, u64> {
    let mut allowed = BTreeMap::new();
    for listed in listed() {
        let tokens = listed.context.unwrap_or(u64::MAX).min(listed.input);
        let smallest = allowed.entry(listed.model).or_insert(tokens);
        *smallest = tokens.min(*smallest);
    }
    allowed
}

/// Names that begin like this, our window (none: the model is refused until its agent file names one), and why it is not theirs.
const DIFFERENCES: &[(&str, Option<u64>, &str)] = &[
    ("claude-", Some(200_000), "a million is had on some plans and places only"),
    ("gpt-5.4", Some(272_000), "its price doubles above, and the program codex has it with this window"),
    ("gpt-5.5", Some(272_000), "as gpt-5.4"),
    ("gpt-5.6", Some(272_000), "as gpt-5.4"),
    ("gpt-6-", Some(272_000), "as gpt-5.4"),
    ("gpt-daybreak-blue", Some(272_000), "as gpt-5.4"),
    (
        "gpt-5.3-codex-spark",
        Some(128_000),
        "its context window; the 100,000 are for input, and calls end at 40 % of the window",
    ),
    ("gpt-3.5", None, "another tokenizer"),
    ("gpt-4", None, "another tokenizer"),
    ("gpt-audio", None, "no agent's model"),
    ("gpt-realtime", None, "no agent's model"),
    ("o1", Some(128_000), "the family's smallest: it is served no more"),
    ("gemini-1.5", Some(30_720), "the family's smallest: it is served no more"),
    ("gemini-2.0-flash-", Some(128_000), "the family's smallest: experiments that are served no more"),
    ("gemini-2.0-flash-live", Some(8_192), "the family's smallest: no agent's model"),
    ("gemini-2.0-flash-preview-image", Some(8_192), "the family's smallest: no agent's model"),
    ("gemini-2.0-pro-exp", Some(128_000), "the family's smallest: it is served no more"),
    ("gemini-2.5-pro-exp", Some(128_000), "the family's smallest: it is served no more"),
    ("gemini-exp", Some(128_000), "the family's smallest: it is served no more"),
    ("gemini-robotics", Some(128_000), "the family's smallest: no agent's model"),
    ("gemini-3-pro-image", Some(65_536), "its preview had twice as much: one name stands for both"),
    ("gemini-3.1-flash-image", Some(65_536), "the preview has half of it: one name stands for both"),
    ("gemini-live", Some(8_192), "the family's smallest: no agent's model"),
    ("gemini-3.1-flash-live", Some(8_192), "the family's smallest: no agent's model"),
    ("gemini-3.5-live", Some(8_192), "the family's smallest: no agent's model"),
    ("gemini-pro", Some(30_720), "the family's smallest: it is served no more"),
    ("gemma-", None, "another family"),
    ("learnlm-", None, "another family"),
    ("deep-research-", None, "no agent's model"),
    ("lyria-", None, "no agent's model"),
];

/// The longest beginning of a name that has a reason.
fn reason(model: &str) -> Option<usize> {
    let fitting = (0..DIFFERENCES.len()).filter(|index| model.starts_with(DIFFERENCES[*index].0));
    fitting.max_by_key(|index| DIFFERENCES[*index].0.len())
}

/// We round the million down.
fn rounded(tokens: u64) -> u64 {
    if (1_000_000..1_100_000).contains(&tokens) { 1_000_000 } else { tokens }
}

/// A request without a limit gets one, and a provider refuses a limit above what its model can write.
#[test]
fn no_model_is_given_a_limit_that_its_provider_refuses() {
    let mut wrong = Vec::new();
    let mut compared = 0;
    for Listed { model, output, .. } in listed() {
        let (Some(most), Some(window)) = (output, models::window_of(model)) else { continue };
        let ours = models::output_limit(model, window);
        compared += 1;
        if ours > most {
            wrong.push(format!("{model}: {most} in a catalogue, {ours} here"));
        }
    }
    assert!(wrong.is_empty() && compared > 200, "{wrong:#?}");
}

#[test]
fn b1_windows_differ_from_two_catalogues_only_with_a_reason() {
    let mut used = BTreeSet::new();
    let mut wrong = Vec::new();
    for (model, tokens) in allowed() {
        let ours = models::window_of(model).map(Window::tokens);
        if ours == Some(rounded(tokens)) {
            continue;
        }
        match reason(model) {
            Some(index) if DIFFERENCES[index].1 == ours => {
                used.insert(index);
            }
            _ => wrong.push(format!("{model}: {tokens} in the catalogues, {ours:?} here")),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let unused: Vec<_> =
        (0..DIFFERENCES.len()).filter(|index| !used.contains(index)).map(|index| DIFFERENCES[index].0).collect();
    assert!(unused.is_empty(), "no difference any more: {unused:?}");
}

/// Whatever the reason: a window that is too large would let a call pass that the provider's is too small for.
#[test]
fn b1_no_window_is_larger_than_a_catalogue_says() {
    let larger = listed().into_iter().filter_map(|listed| {
        let ours = models::window_of(listed.model)?.tokens();
        let theirs = listed.context.unwrap_or(listed.input);
        (ours > theirs).then(|| format!("{}: {theirs} in {}, {ours} here", listed.model, listed.catalogue))
    });
    assert_eq!(larger.collect::<Vec<_>>(), Vec::<String>::new());
}

/// Names that begin like this, and why our price is not theirs.
const PRICES: &[(&str, &str)] = &[
    ("claude-3-5-haiku-latest", "LiteLLM has an older price for this alias alone"),
    ("gpt-5.6", "4 and 20 dollars were promised until 2026-11-21 only"),
    ("gemini-2.5-flash", "cache reads differ between the catalogues and between previews: we have the largest"),
    ("gemini-2.5-flash-preview-04-17", "a preview at half the price, which is served no more"),
];

/// Our price of so many tokens that no model's second price begins below.
fn ours(model: &str) -> Option<Prices> {
    const TOKENS: u64 = 100_000;
    let price = models::price_of(model)?;
    let none = Usage { input: 0, output: 0, cache_read: 0, cache_write: 0 };
    let dollars = |usage: Usage| Some(price.cost(&usage) as f64 / TOKENS as f64);
    Some(Prices {
        input: dollars(Usage { input: TOKENS, ..none }),
        output: dollars(Usage { output: TOKENS, ..none }),
        cache_read: dollars(Usage { cache_read: TOKENS, ..none }),
    })
}

#[test]
fn prices_differ_from_two_catalogues_only_with_a_reason() {
    let mut used = BTreeSet::new();
    let mut wrong = Vec::new();
    for listed in listed() {
        let Some(ours) = ours(listed.model) else { continue };
        let theirs = listed.prices;
        let is_same = |ours: Option<f64>, theirs: Option<f64>| theirs.is_none() || ours == theirs;
        if [(ours.input, theirs.input), (ours.output, theirs.output), (ours.cache_read, theirs.cache_read)]
            .into_iter()
            .all(|(ours, theirs)| is_same(ours, theirs))
        {
            continue;
        }
        let reason = PRICES.iter().filter(|(begins, _)| listed.model.starts_with(begins));
        match reason.max_by_key(|(begins, _)| begins.len()) {
            Some((begins, _)) => drop(used.insert(begins)),
            None => wrong.push(format!("{}: {theirs:?} in {}, {ours:?} here", listed.model, listed.catalogue)),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(used.len(), PRICES.len(), "{used:?}");
}
