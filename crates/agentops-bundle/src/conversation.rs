//! What was said in a conversation, or noted, made small without knowing what will be asked.
//!
//! Nothing is rewritten: turns are kept or left out (`salience` says what they are worth), those that are kept are quoted from
//! their beginning, under their session's date. It must never look at anything but the source.

mod choice;
mod facts;
mod salience;
mod turns;

use turns::Talk;

use crate::coverage::{self, Coverage, Omission, OtherRecords, ShownWords};
use crate::{Compressed, SourceError};

/// Makes a conversation, a chat export or notes fit into `budget` o200k tokens.
///
/// `before` counts the words with speaker and time before each turn, not the JSON around them.
///
/// # Errors
/// None yet: a source of no known form is read as notes.
pub fn compress(source: &[u8], budget: u64) -> Result<Compressed, SourceError> {
    let talk = turns::read(source);
    let signals = salience::of(&talk);
    let (text, after) = choice::within(&talk, &signals, budget);
    let facts = facts::of(&talk, &signals);
    let (coverage, omitted) = account(&talk, &text);
    Ok(Compressed::new(text, talk.tokens, after, facts).covering(coverage, omitted))
}

/// Accounts for every line of every turn and heading, and for all other records.
fn account(talk: &Talk, text: &str) -> (Coverage, Vec<Omission>) {
    let shown = ShownWords::of(text);
    let said = talk.turns.iter().map(|turn| (turn.number, turn.text.as_str()));
    let headings = talk.headings.iter().map(|(number, title)| (*number, title.as_str()));
    let others = OtherRecords { unparsed: &talk.unparsed, metadata: &talk.metadata };
    coverage::by_numbered_texts(talk.unit, said.chain(headings), |line| shown.has_all(line), &others)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::OmissionReason;
    use crate::fidelity::percent;
    use proptest::prelude::*;

    #[test]
    fn facts_stay_and_greetings_go() {
        let mut source = String::new();
        for n in 0..40 {
            let text = if n == 17 {
                "I moved to Lisbon on 3 May 2021 and started at Nexum."
            } else {
                "Oh, that is so lovely, you are great!"
            };
            let speaker = if n % 2 == 0 { "Ann" } else { "Bob" };
            let turn = serde_json::json!({"id": format!("D1:{n}"), "session": 1, "date": "8 May", "speaker": speaker, "text": format!("{text} {}", "ha ".repeat(n % 3))});
            source.push_str(&format!("{turn}\n"));
        }
        let made = compress(source.as_bytes(), 60).expect("a conversation");
        assert!(made.text.starts_with("Talk, shortened: A = Ann, B = Bob\n## D1 8 May\n"), "{}", made.text);
        assert!(made.text.contains("17 B: I moved to Lisbon on 3 May 2021"), "{}", made.text);
        assert!(made.after <= 60 && made.before > 300);
        assert_eq!(made.facts.iter().map(|fact| fact.place.as_str()).collect::<Vec<_>>(), ["D1:17"]);
        let report = made.fidelity();
        assert_eq!((report.score().map(percent), report.lost), (Some(99), vec![]), "39 turns are not there");
    }

    #[test]
    fn a_statement_in_the_middle_of_a_long_paragraph_is_found() {
        let words = "so it goes on and on without an end ".repeat(8_000);
        let source = format!("{words}. We must delete all 73 backups before Friday. {words}");
        let made = compress(source.as_bytes(), 600).expect("notes");
        assert!(made.text.contains("We must delete all 73 backups before Friday."), "{}", made.text);
        assert!(made.after <= 600 && made.fidelity().score() < Some(1.0));
    }

    #[test]
    fn broken_lines_of_a_chat_are_named() {
        let said = |text: &str| serde_json::json!({"speaker": "Ann", "text": text}).to_string();
        let source = [
            said("I moved to Rome on 3 May."),
            r#"{"speaker": "Bob", "text": "half a rec"#.to_owned(),
            said("The rent is 900 euros.") + &said("The lease ends in 2031."),
            r#"{"speaker": "Bob", "reaction": "thumbs up"}"#.to_owned(),
        ];
        let made = compress(source.join("\n").as_bytes(), 300).expect("a chat");
        assert!(made.text.contains("900 euros") && made.text.contains("2031"), "{}", made.text);
        let named = [
            Omission::new("message 2", 1, OmissionReason::NotParsed),
            Omission::new("message 4", 1, OmissionReason::Metadata),
        ];
        assert_eq!(made.omitted, named);
        assert!(made.fidelity().score() < Some(0.9));
    }

    #[test]
    fn hostile_input_is_text() {
        crate::promises::take_anything(
            compress,
            &[&b""[..], b"\xff\xfe\x00", b"{\"text\":", b"[]", b"{}", b"[[[]]]", b"{\"messages\":[1]}"],
        );
    }

    #[test]
    fn never_over_budget() {
        crate::promises::never_over_budget(compress);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn what_is_kept_stood_there(turns in prop::collection::vec("[A-Za-z0-9 ,.!?]{1,60}", 1..30), budget in 0u64..300) {
            let source: String = turns.iter().map(|text| format!("{}\n", serde_json::json!({"speaker": "Ann", "text": text}))).collect();
            let made = compress(source.as_bytes(), budget).expect("a conversation");
            prop_assert!(made.after <= budget);
            for line in made.text.lines().skip(1).filter_map(|line| line.split_once(": ")) {
                let said = line.1.strip_suffix(" …").unwrap_or(line.1);
                prop_assert!(turns.iter().any(|turn| crate::fidelity::flat(turn).contains(said)), "{}", line.1);
            }
        }
    }
}
