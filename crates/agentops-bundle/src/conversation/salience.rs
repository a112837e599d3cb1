//! How much a turn is likely to matter later, told without a question: facts rather than feelings.
//!
//! A turn is worth something for numbers, times, names and words that come up in it for the first time, for events in the past,
//! and as the answer to a question; it is worth less where it asks or speaks about the other. The weights are rounded from a
//! linear fit of which turns were needed to answer questions about five long conversations; fitted on four of them, they do as
//! well on the fifth, and each of them may be doubled or halved with little effect. None of them knows a topic.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use regex::Regex;

use super::turns::{Talk, re};

/// What a number is worth, and so on; see [`Signals`].
const NUMBER: f64 = 0.34;
const TIME: f64 = 0.19;
const NAME_NEW: f64 = 0.21;
const NAME: f64 = 0.07;
const ANSWER: f64 = 0.15;
const WORD_NEW: f64 = 0.02;
const WORDS: f64 = 0.0012;
const PAST: f64 = 0.035;
const OPENING: f64 = 0.035;
const ASKS: f64 = -0.09;
const YOU: f64 = -0.35;

static TIMES: LazyLock<Regex> = LazyLock::new(|| {
    re(
        r"(?i)\b(?:yesterday|today|tonight|tomorrow|last|ago|next|weeks?|weekend|months?|years?|since|recently|morning|night|summer|winter|spring|fall|autumn|(?:mon|tues|wednes|thurs|fri|satur|sun)day|january|february|march|april|may|june|july|august|september|october|november|december|already|birthday|first|once|days?|hours?|minutes?|deadline|until)\b",
    )
});
static YOUS: LazyLock<Regex> = LazyLock::new(|| re(r"(?i)\b(?:you|your|yours|yourself)\b"));
static NUMBERS: LazyLock<Regex> = LazyLock::new(|| re(r"\d+"));
/// Past forms that do not end in `ed`.
const PAST_FORMS: &[&str] = &[
    "ate", "became", "began", "bought", "broke", "brought", "built", "came", "caught", "did", "drove", "fell", "felt",
    "found", "gave", "got", "grew", "had", "heard", "held", "hurt", "kept", "knew", "led", "left", "lost", "made", "met",
    "paid", "put", "ran", "read", "said", "sang", "saw", "sent", "set", "signed", "sold", "spent", "spoke", "started",
    "taught", "thought", "told", "took", "was", "went", "were", "won", "wrote",
];

/// What is counted in a turn.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Signals {
    /// Numbers, up to three.
    pub numbers: usize,
    /// Words of time, up to three.
    pub times: usize,
    /// Names within a sentence, up to four, and those that come up for the first time, up to three.
    pub names: usize,
    names_new: usize,
    words_new: usize,
    /// The sum of the words' logarithmic rareness.
    rareness: f64,
    past: usize,
    /// Among the first four of its group.
    opens: bool,
    /// The turn before, by another, had a question.
    pub answers: bool,
    /// It ends with a question.
    pub asks: bool,
    you_share: f64,
}

impl Signals {
    /// What the turn is worth, above zero.
    pub fn value(&self) -> f64 {
        let flag = |is: bool| if is { 1.0 } else { 0.0 };
        let value = NUMBER * self.numbers as f64
            + TIME * self.times as f64
            + NAME_NEW * self.names_new as f64
            + NAME * self.names as f64
            + ANSWER * flag(self.answers)
            + WORD_NEW * self.words_new as f64
            + WORDS * self.rareness
            + PAST * self.past as f64
            + OPENING * flag(self.opens)
            + ASKS * flag(self.asks)
            + YOU * self.you_share;
        value.max(0.001)
    }
}

/// The signals of every turn.
pub fn of(talk: &Talk) -> Vec<Signals> {
    let words: Vec<HashSet<String>> =
        talk.turns.iter().map(|turn| agentops_text::words::words(&turn.text).into_iter().collect()).collect();
    let mut having: HashMap<&str, usize> = HashMap::new();
    for word in words.iter().flatten() {
        *having.entry(word).or_default() += 1;
    }
    let speakers: HashSet<String> =
        talk.turns.iter().flat_map(|turn| turn.speaker.split_whitespace()).map(str::to_lowercase).collect();
    let mut seen_words: HashSet<&str> = HashSet::new();
    let mut seen_names: HashSet<&str> = HashSet::new();
    let mut signals = Vec::with_capacity(talk.turns.len());
    let mut place = 0;
    for (at, turn) in talk.turns.iter().enumerate() {
        let before = at.checked_sub(1).map(|before| &talk.turns[before]).filter(|before| before.group == turn.group);
        place = if before.is_some() { place + 1 } else { 0 };
        let text = spoken(&turn.text);
        let names: Vec<&str> = names(text).filter(|name| !speakers.contains(&name.to_lowercase())).collect();
        let names_new = names.iter().filter(|name| seen_names.insert(name)).count();
        let words_new = words[at].iter().filter(|word| seen_words.insert(word)).count();
        let total = words.len() as f64;
        let mut rareness: Vec<f64> = words[at].iter().map(|word| (total / having[word.as_str()] as f64).ln()).collect();
        // Sums of floats depend on their order, and sets have none.
        rareness.sort_by(f64::total_cmp);
        let count = text.split_whitespace().count().max(1);
        signals.push(Signals {
            numbers: NUMBERS.find_iter(text).take(3).count(),
            times: TIMES.find_iter(text).take(3).count(),
            names: names.len().min(4),
            names_new: names_new.min(3),
            words_new,
            rareness: rareness.iter().sum(),
            past: past(text).min(4),
            opens: place < 4,
            answers: before.is_some_and(|before| before.speaker != turn.speaker && before.text.contains('?')),
            asks: text.trim_end().ends_with('?'),
            you_share: YOUS.find_iter(text).count() as f64 / count as f64,
        });
    }
    signals
}

/// A turn without what was put behind it in brackets (`[shares a photo of …]`).
pub fn spoken(text: &str) -> &str {
    match text.rfind(" [") {
        Some(at) if at > 0 && text.trim_end().ends_with(']') => text[..at].trim_end(),
        _ => text,
    }
}

/// Words with a capital that do not begin a sentence.
fn names(text: &str) -> impl Iterator<Item = &str> {
    let mut inside = false;
    text.split_whitespace().filter_map(move |word| {
        let was_inside = inside;
        inside = word.ends_with(|c: char| c.is_alphanumeric() || matches!(c, ',' | ';' | ':' | '\''));
        let name = word.split(|c: char| !c.is_alphanumeric()).find(|part| !part.is_empty())?;
        let is_name = name.chars().next().is_some_and(char::is_uppercase) && name.chars().nth(1).is_some();
        (was_inside && is_name && word.chars().next().is_some_and(char::is_uppercase)).then_some(name)
    })
}

fn past(text: &str) -> usize {
    let words = text.split(|c: char| !c.is_alphabetic());
    words
        .filter(|word| {
            word.len() > 4 && word.ends_with("ed") || PAST_FORMS.binary_search(&word.to_lowercase().as_str()).is_ok()
        })
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn past_forms_are_in_order_for_the_search() {
        assert!(PAST_FORMS.is_sorted());
    }

    #[test]
    fn a_fact_is_worth_more_than_a_feeling() {
        let source = br#"[{"speaker":"Ann","text":"Hey Bob! How are you? What's new?"},
            {"speaker":"Bob","text":"I moved to Lisbon two weeks ago and started a job at Nexum on 3 May."},
            {"speaker":"Ann","text":"Wow, that's great! You must be so happy for your new life!"}]"#;
        let talk = super::super::turns::read(source);
        let values: Vec<f64> = of(&talk).iter().map(Signals::value).collect();
        assert!(values[1] > 4.0 * values[0] && values[1] > 4.0 * values[2], "{values:?}");
    }

    #[test]
    fn names_stand_within_sentences() {
        assert_eq!(names("Hello there. We met Ann-Marie in Rome, I think. The end").collect::<Vec<_>>(), ["Ann", "Rome"]);
        assert_eq!(spoken("Look! [shares a photo of a dog]"), "Look!");
    }
}
