//! What every compressor promises, for the tests of each, and for all of them in every encoding.

use agentops_safe::Redactor;
use proptest::prelude::*;

use crate::kind::Kind;
use crate::source_text::SourceText;
use crate::{Compressed, SourceError, mixed};

type Compress = fn(&[u8], u64) -> Result<Compressed, SourceError>;

/// What is hostile or broken is text like any other, and stays within the budget.
pub(crate) fn take_anything(compress: Compress, broken: &[&[u8]]) {
    for source in broken {
        for budget in [0, 1, 7, 100] {
            assert!(compress(source, budget).expect("no error").after <= budget);
        }
    }
    let long = vec![b'x'; 1 << 20];
    assert!(compress(&long, 500).expect("no error").after <= 500);
}

/// Any bytes, any budget: no panic, never over, the same twice.
pub(crate) fn never_over_budget(compress: Compress) {
    let inputs = (prop::collection::vec(any::<u8>(), 0..600), 0u64..200);
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(64));
    let held = runner.run(&inputs, |(bytes, budget)| {
        let (one, two) = (compress(&bytes, budget), compress(&bytes, budget));
        let (one, two) = (one.expect("no error"), two.expect("no error"));
        prop_assert!(one.after <= budget && one.after == agentops_text::tokens::text_tokens(&one.text));
        prop_assert_eq!(one, two);
        Ok(())
    });
    held.unwrap_or_else(|e| panic!("{e}"));
}

/// A larger budget never keeps less: the score of a source does not fall from one budget to the next. `budgets` ascends.
pub(crate) fn score_never_falls(compress: Compress, source: &[u8], budgets: impl IntoIterator<Item = u64>) {
    let mut before = (0, 0.0);
    for budget in budgets {
        let made = compress(source, budget).expect("no error");
        let report = made.fidelity();
        let score = report.score().unwrap_or(1.0);
        let (less, lower) = before;
        assert!(score >= lower, "{lower} with {less} tokens, {score} with {budget}: {:?}\n{}", report.lost, made.text);
        before = (budget, score);
    }
}

/// A line, row or message is in the result, or an omission names a place that includes its number. In the second case the score
/// is below 1.
pub(crate) fn accounts_for(made: &Compressed, number: u64, text: &str) {
    if crate::fidelity::flat(&made.text).contains(&crate::fidelity::flat(text)) {
        return;
    }
    let includes = |place: &str| {
        let numbers = place.rsplit(' ').next().unwrap_or(place);
        let (first, last) = numbers.split_once('–').unwrap_or((numbers, numbers));
        first.parse().is_ok_and(|first: u64| first <= number) && last.parse().is_ok_and(|last: u64| number <= last)
    };
    let is_named = made.omitted.iter().any(|omission| includes(&omission.place));
    assert!(is_named, "{number} {text} is neither in {:?} nor in\n{}", made.omitted, made.text);
    assert!(made.fidelity().score() < Some(1.0));
}

/// How a source stores its characters.
#[derive(Debug, Clone, Copy)]
enum Stored {
    Utf8,
    Utf8Mark,
    Utf16 { mark: bool, big: bool },
    Latin1,
}

fn stored() -> impl Strategy<Value = Stored> {
    let utf16 = (any::<bool>(), any::<bool>()).prop_map(|(mark, big)| Stored::Utf16 { mark, big });
    prop_oneof![Just(Stored::Utf8), Just(Stored::Utf8Mark), utf16, Just(Stored::Latin1)]
}

impl Stored {
    fn bytes(self, text: &str) -> Vec<u8> {
        match self {
            Self::Utf8 => text.as_bytes().to_vec(),
            Self::Utf8Mark => format!("\u{feff}{text}").into_bytes(),
            Self::Utf16 { mark, big } => {
                let bytes = |unit: u16| if big { unit.to_be_bytes() } else { unit.to_le_bytes() };
                mark.then_some(0xfeff).into_iter().chain(text.encode_utf16()).flat_map(bytes).collect()
            }
            Self::Latin1 => text.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')).collect(),
        }
    }
}

const PLANTED: &str = "Señor quokka 7731 vanished";

/// A log of repeated lines with the planted one at this index, from 0.
fn log(planted: usize) -> String {
    let line = |at: usize| {
        if at == planted {
            return format!("2031-04-05 06:00:00 INFO zoo: {PLANTED}\n");
        }
        format!("2031-04-05 06:{:02}:{:02} INFO pool: {} of {} connections\n", at / 60, at % 60, at % 7, at % 13)
    };
    (0..300).map(line).collect()
}

/// A session of an agent with the planted words at this index, from 0.
fn transcript(planted: usize) -> String {
    let line = |at: usize| {
        let said = if at == planted { PLANTED.to_owned() } else { format!("Step {at}: I look at part {} again.", at % 7) };
        let role = if at == 0 { "user" } else { "assistant" };
        format!("{}\n", serde_json::json!({"role": role, "text": said}))
    };
    (0..300).map(line).collect()
}

/// Notes of one paragraph a line.
fn notes(planted: usize) -> String {
    let line = |at: usize| {
        if at == planted { format!("{PLANTED}\n") } else { format!("Room {} was cleaned again by the crew.\n\n", at % 9) }
    };
    (0..300).map(line).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_line_planted_in_a_source_of_any_encoding_is_shown_or_named(
        stored in stored(),
        planted in 0_usize..300,
        budget in 20_u64..1_500,
    ) {
        for (kind, source) in [
            (Kind::Log, log(planted)),
            (Kind::Transcript, transcript(planted)),
            (Kind::Conversation, transcript(planted)),
            (Kind::Notes, notes(planted)),
        ] {
            let number = source.lines().position(|line| line.contains(PLANTED)).expect("it is there") as u64 + 1;
            let source = SourceText::read(&stored.bytes(&source), &Redactor::new([]));
            let made = mixed::of_source(kind, &source, budget).expect("no error");
            accounts_for(&made, number, PLANTED);
        }
    }
}

#[test]
fn a_larger_budget_never_keeps_less_of_a_log() {
    score_never_falls(crate::log::compress, log(120).as_bytes(), (0..1_200).step_by(20));
}

/// What people say, and what an agent says and runs, of all lengths.
fn messages() -> impl Strategy<Value = Vec<(bool, String)>> {
    let words = "(We chose [A-Z][a-z]{3,8} because it costs [0-9]{2,4} euros\\. |[a-z]{2,9} |I moved on [0-9] May\\. |And you\\? ){1,12}";
    let command = "```bash\n(cargo test|sed -i 's/a/b/' src/[a-z]{2,5}\\.rs|cat [a-z]{3}\\.py)\n```";
    let output = "(error: [a-z ]{5,30}|test [a-z]{3,8} \\.\\.\\. (ok|FAILED)|[a-z0-9 ]{3,60}\n){1,6}";
    let text = prop_oneof![4 => words, 2 => command, 2 => output];
    prop::collection::vec((any::<bool>(), text.prop_map(|text: String| text)), 1..25)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_larger_budget_never_keeps_less_of_what_was_said(messages in messages()) {
        // Each message begins with a word of its own: then no fact is found by chance in another message.
        let named = |(at, (is_user, text)): (usize, (bool, String))| (is_user, format!("message{at} {text}"));
        let messages: Vec<(bool, String)> = messages.into_iter().enumerate().map(named).collect();
        let line = |(is_user, text): &(bool, String)| {
            format!("{}\n", serde_json::json!({"role": if *is_user { "user" } else { "assistant" }, "content": text}))
        };
        let source: String = messages.iter().map(line).collect();
        let notes: String = messages.iter().map(|(_, text)| format!("{text}\n\n")).collect();
        score_never_falls(crate::transcript::compress, source.as_bytes(), (0..500).step_by(9));
        score_never_falls(crate::conversation::compress, source.as_bytes(), (0..500).step_by(9));
        score_never_falls(crate::conversation::compress, notes.as_bytes(), (0..500).step_by(9));
    }
}
