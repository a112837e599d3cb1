//! Which turns of a conversation answer a question.
//!
//! What is said is often only understood with what was said before it, so turns share their neighbours' scores, an answer
//! its question's most of all, and a session in which much of the question is talked about lifts all of its turns. A person
//! named in the question is who should have said it; a question about a time wants words about time. The weights are those
//! at which LoCoMo's conversations (every second one) changed least when any of them was moved.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use regex::Regex;
use serde::Deserialize;

use crate::index::{Field, Query, ranked};
use crate::terms;

/// How much long turns are held back.
const HELD_BACK: f64 = 0.4;
/// Of the better neighbour's score, and of that of the better one of the two beyond.
const NEIGHBOUR: f64 = 0.5;
/// See [`NEIGHBOUR`].
const NEIGHBOUR_BEYOND: f64 = 0.15;
/// Of the score of a question that came right before.
const ANSWER: f64 = 0.4;
/// Of what the words tell that the whole session has.
const SESSION: f64 = 0.25;
/// For each part of a date in the question that is the session's.
const DATE: f64 = 1.8;
/// Who is named should have said it.
const SPEAKER: f64 = 2.0;
/// A question about a time wants words about time.
const TIME: f64 = 1.5;
/// Who asks does not tell.
const ASKING: f64 = 0.75;
/// Number of the best turns whose words extend a question (pseudo-relevance feedback).
const FEEDBACK_TURNS: usize = 10;
/// Maximum number of words that these turns add to a question.
const FEEDBACK_TERMS: usize = 20;
/// Weight of the best added word; a word of the question itself has weight 1.
const FEEDBACK_WEIGHT: f64 = 0.07;

/// Something that was said.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Turn {
    /// Its name.
    pub id: String,
    /// Which session it was said in; neighbours within one belong together.
    #[serde(default)]
    pub session: u64,
    /// When, in any words.
    #[serde(default)]
    pub date: String,
    /// Who said it.
    #[serde(default)]
    pub speaker: String,
    /// What was said.
    pub text: String,
}

fn pattern(text: &str) -> Regex {
    Regex::new(text).unwrap_or_else(|error| unreachable!("pattern of ours: {error}"))
}

const MONTHS: &str = "january|february|march|april|may|june|july|august|september|october|november|december";

static ABOUT_TIME: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?i)\bwhen\b|\bhow long\b|\b(what|which) (date|day|month|year|time)\b"));
static TIME_WORDS: LazyLock<Regex> = LazyLock::new(|| {
    pattern(&format!(
        r"(?i)\b(yesterday|today|tonight|tomorrow|last|ago|next|weeks?|weekend|months?|years?|days?|since|recently|morning|monday|tuesday|wednesday|thursday|friday|saturday|sunday|birthday|{MONTHS}|\d+)\b"
    ))
});
static DATE_WORDS: LazyLock<Regex> = LazyLock::new(|| pattern(&format!(r"(?i)\b({MONTHS}|\d+)\b")));

/// A conversation, ready for questions.
pub struct Conversation<'t> {
    turns: &'t [Turn],
    text: Field,
    dates: Field,
    /// By name in lower case.
    speakers: BTreeMap<String, Vec<String>>,
    asks: Vec<bool>,
    has_time: Vec<bool>,
}

impl<'t> Conversation<'t> {
    /// Reads a conversation, in the order in which it was held.
    #[must_use]
    pub fn new(turns: &'t [Turn]) -> Self {
        let (mut text, mut dates) = (Field::default(), Field::default());
        let mut speakers = BTreeMap::new();
        for turn in turns {
            text.push(&turn.text);
            // `3:19 pm on 28 August, 2023`: the time of day is no part of a date.
            dates.push(turn.date.rsplit(" on ").next().unwrap_or_default());
            if !turn.speaker.is_empty() {
                speakers.entry(turn.speaker.to_lowercase()).or_insert_with(|| terms::terms(&turn.speaker));
            }
        }
        let asks =
            turns.iter().map(|turn| turn.text.split(" [").next().unwrap_or_default().trim_end().ends_with('?')).collect();
        let has_time = turns.iter().map(|turn| TIME_WORDS.is_match(&turn.text)).collect();
        Self { turns, text, dates, speakers, asks, has_time }
    }

    /// How well each turn fits a question, in the order of the turns; zero where nothing of it is there.
    #[must_use]
    pub fn scores(&self, question: &str) -> Vec<f64> {
        let query = self.query(question);
        let first = self.scores_for(question, &query);
        let extended = self.extended(query, &first);
        self.scores_for(question, &extended)
    }

    /// The question with the rarest words of the turns that answer it best: an answer is often given in several turns, and
    /// only some of them have the question's own words.
    fn extended(&self, mut query: Query, scores: &[f64]) -> Query {
        let best = ranked(scores, |a, b| a.cmp(&b));
        let Some(highest) = best.first().map(|turn| scores[*turn]).filter(|highest| *highest > 0.0) else {
            return query;
        };
        let mut weights: BTreeMap<String, f64> = BTreeMap::new();
        for turn in best.into_iter().take(FEEDBACK_TURNS) {
            let terms: BTreeSet<String> = terms::terms(&self.turns[turn].text).into_iter().collect();
            // Long turns have many words that are not about the question.
            let share = scores[turn] / highest / (terms.len() as f64).sqrt();
            for term in terms.into_iter().filter(|term| !query.contains_key(term)) {
                let idf = self.text.idf(&term);
                *weights.entry(term).or_default() += idf * share;
            }
        }
        let mut weights: Vec<(String, f64)> = weights.into_iter().collect();
        weights.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        weights.truncate(FEEDBACK_TERMS);
        let largest = weights.first().map_or(1.0, |(_, weight)| *weight);
        query.extend(weights.into_iter().map(|(term, weight)| (term, FEEDBACK_WEIGHT * weight / largest)));
        query
    }

    fn scores_for(&self, question: &str, query: &Query) -> Vec<f64> {
        let lower = question.to_lowercase();
        let named: Vec<&String> = self.speakers.keys().filter(|name| has_word(&lower, name)).collect();
        let own = self.text.scores(query, &vec![true; self.turns.len()], HELD_BACK);
        let sessions = self.sessions(query);
        let mut dates = vec![0.0; self.turns.len()];
        let asked: Query =
            DATE_WORDS.find_iter(question).flat_map(|word| terms::terms(word.as_str())).map(|term| (term, 1.0)).collect();
        asked.keys().flat_map(|term| self.dates.having(term)).for_each(|turn| dates[turn] += DATE);
        let about_time = ABOUT_TIME.is_match(question);
        let mut scores = Vec::with_capacity(own.len());
        for (at, turn) in self.turns.iter().enumerate() {
            let near = |by: isize| {
                let other = at
                    .checked_add_signed(by)
                    .filter(|other| self.turns.get(*other).is_some_and(|t| t.session == turn.session));
                other.map_or(0.0, |other| own[other])
            };
            let mut score = own[at] + NEIGHBOUR * near(-1).max(near(1)) + NEIGHBOUR_BEYOND * near(-2).max(near(2));
            if at > 0 && self.asks[at - 1] {
                score += ANSWER * near(-1);
            }
            score += SESSION * sessions.get(&turn.session).copied().unwrap_or_default();
            score += dates[at];
            if !named.is_empty()
                && named.len() < self.speakers.len()
                && named.iter().any(|name| **name == turn.speaker.to_lowercase())
            {
                score *= SPEAKER;
            }
            if about_time && self.has_time[at] {
                score *= TIME;
            }
            scores.push(if self.asks[at] { score * ASKING } else { score });
        }
        scores
    }

    /// A question's terms. A name says who, and stands in what others say to them.
    fn query(&self, question: &str) -> Query {
        let mut query = Query::new();
        terms::each_term(question, |term| {
            if !self.speakers.values().flatten().any(|name| name == term) {
                query.insert(term.to_owned(), 1.0);
            }
        });
        query
    }

    /// How well each turn fits by its own words alone.
    #[must_use]
    pub fn own_scores(&self, question: &str) -> Vec<f64> {
        self.text.scores(&self.query(question), &vec![true; self.turns.len()], HELD_BACK)
    }

    /// What the words tell that each session has.
    fn sessions(&self, query: &Query) -> BTreeMap<u64, f64> {
        let mut told: BTreeMap<u64, f64> = BTreeMap::new();
        for (term, weight) in query {
            let idf = self.text.idf(term) * weight;
            let mut having: Vec<u64> = self.text.having(term).map(|turn| self.turns[turn].session).collect();
            having.dedup();
            having.sort_unstable();
            having.dedup();
            having.into_iter().for_each(|session| *told.entry(session).or_default() += idf);
        }
        told
    }

    /// All turns, best first.
    #[must_use]
    pub fn rank(&self, question: &str) -> Vec<usize> {
        ranked(&self.scores(question), |a, b| a.cmp(&b))
    }
}

/// Whether a word stands in a text as a word.
fn has_word(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + word.len()..].chars().next();
        !before.is_some_and(char::is_alphanumeric) && !after.is_some_and(char::is_alphanumeric)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn turn(id: &str, session: u64, date: &str, speaker: &str, text: &str) -> Turn {
        Turn { id: id.into(), session, date: date.into(), speaker: speaker.into(), text: text.into() }
    }

    fn talk() -> Vec<Turn> {
        vec![
            turn("1", 1, "1:00 pm on 3 May, 2030", "Ada", "Did you find a garden?"),
            turn("2", 1, "1:00 pm on 3 May, 2030", "Ben", "Yes, behind the mill, we rented it last week."),
            turn("3", 1, "1:00 pm on 3 May, 2030", "Ada", "Ben, I planted tomatoes once."),
            turn("4", 2, "1:00 pm on 9 June, 2030", "Ben", "The tomatoes are planted now."),
            turn("5", 2, "1:00 pm on 9 June, 2030", "Ada", "Lovely."),
        ]
    }

    fn first(question: &str) -> String {
        let turns = talk();
        turns[Conversation::new(&turns).rank(question)[0]].id.clone()
    }

    #[test]
    fn an_answer_has_its_questions_words() {
        assert_eq!(first("Where is Ben's garden?"), "2");
        assert_eq!(first("When did they find the garden?"), "2");
    }

    #[test]
    fn who_is_named_said_it_and_dates_count() {
        assert_eq!(first("What did Ada plant?"), "3");
        assert_eq!(first("What did Ben plant?"), "4");
        assert_eq!(first("What was planted on 9 June?"), "4");
    }

    #[test]
    fn words_of_the_best_turns_extend_a_question() {
        let said = |id: &str, session: u64, text: &str| turn(id, session, "", "Ada", text);
        let turns = [
            said("1", 1, "Our greenhouse has a barometer from Oslo."),
            said("2", 2, "The train was late."),
            said("3", 3, "That barometer broke."),
        ];
        let scores = Conversation::new(&turns).scores("Tell about the greenhouse");
        assert!(scores[0] > scores[2] && scores[2] > 0.0 && scores[1] == 0.0, "{scores:?}");
    }

    proptest! {
        #[test]
        fn all_turns_are_ranked_whatever_is_asked(question in "\\PC{0,60}") {
            let turns = talk();
            let mut order = Conversation::new(&turns).rank(&question);
            order.sort_unstable();
            prop_assert_eq!(order, [0, 1, 2, 3, 4]);
        }
    }
}
