//! Which turns go into a budget, and how they are printed: in order, in groups, with the group's title once and the speakers by
//! their initials. Every turn is quoted from its beginning; what is cut off is its end, where that only asks or repeats.

use std::collections::{BTreeMap, HashSet};

use agentops_text::tokens::text_tokens;

use super::salience::{Signals, spoken};
use super::turns::Talk;
use crate::pick;

/// Of two turns of the same value per token the longer one is taken: each counts as if it had these more.
const TURN_TOKENS: f64 = 8.0;

/// Words of a turn, with its number and speaker, of which at least one more is shown where it does not fit whole.
const PART_WORDS_MIN: usize = 8;

/// The text of the best choice, and its tokens.
pub fn within(talk: &Talk, signals: &[Signals], budget: u64) -> (String, u64) {
    let printer = Printer::of(talk);
    let lines: Vec<String> = (0..talk.turns.len()).map(|at| printer.turn(talk, at)).collect();
    let costs: Vec<u64> = lines.iter().map(|line| text_tokens(line)).collect();
    let mut titles = vec![String::new(); talk.groups.len()];
    for turn in talk.turns.iter().filter(|turn| turn.group < talk.groups.len()) {
        if titles[turn.group].is_empty() {
            titles[turn.group] = title(&talk.groups[turn.group], &turn.place);
        }
    }
    let density = |at: usize| signals[at].value() / (costs[at] as f64 + TURN_TOKENS);
    let mut order: Vec<usize> = (0..lines.len()).collect();
    order.sort_by(|a, b| density(*b).total_cmp(&density(*a)).then(a.cmp(b)));

    // What was said before in the same words adds nothing.
    let mut said = HashSet::new();
    order.retain(|at| said.insert(talk.turns[*at].text.as_str()));
    let whole = |count: usize| print(talk, &printer, &lines, &titles, &order[..count]);
    let (text, tokens, count) = pick::first_steps(order.len(), budget, whole);
    // The rest of the budget goes to the beginning of the next turn: a larger budget shows more of the same one.
    let Some(next) = order.get(count) else { return (text, tokens) };
    let line = lines[*next].clone();
    let ends: Vec<usize> = line.match_indices(' ').map(|(at, _)| at).skip(PART_WORDS_MIN).collect();
    let mut lines = lines;
    let with_part = |words: usize| match words.checked_sub(1) {
        None => text.clone(),
        Some(last) => {
            lines[*next] = format!("{} …\n", &line[..ends[last]]);
            print(talk, &printer, &lines, &titles, &order[..=count])
        }
    };
    let (text, tokens, _) = pick::first_steps(ends.len(), budget, with_part);
    (text, tokens)
}

/// These turns in their order, each group below its title.
fn print(talk: &Talk, printer: &Printer, lines: &[String], titles: &[String], taken: &[usize]) -> String {
    let mut shown = taken.to_vec();
    shown.sort_unstable();
    let mut text = printer.head.clone();
    let mut group = None;
    let mut before: Option<usize> = None;
    for at in shown {
        let turn = &talk.turns[at];
        if group != Some(turn.group) {
            group = Some(turn.group);
            text.push_str(&titles[turn.group]);
        }
        // Parts of one turn stand under one name.
        let goes_on = before.is_some_and(|before| {
            let last = &talk.turns[before];
            !turn.speaker.is_empty() && last.place == turn.place && last.group == turn.group
        });
        match lines[at].split_once(": ") {
            Some((_, said)) if goes_on => text.push_str(said),
            _ => text.push_str(&lines[at]),
        }
        before = Some(at);
    }
    text
}

struct Printer {
    head: String,
    /// Speakers with what stands for them.
    short: BTreeMap<String, String>,
}

impl Printer {
    fn of(talk: &Talk) -> Self {
        let names: Vec<&str> = talk.turns.iter().map(|turn| turn.speaker.as_str()).filter(|name| !name.is_empty()).collect();
        let mut short = BTreeMap::new();
        let mut used = HashSet::new();
        for name in names {
            if !short.contains_key(name) {
                let initial: String = name.chars().take(1).flat_map(char::to_uppercase).collect();
                let short_name = if used.insert(initial.clone()) { initial } else { name.to_owned() };
                short.insert(name.to_owned(), short_name);
            }
        }
        let mut head = String::from("Talk, shortened");
        if short.is_empty() {
            head = String::from("Notes, shortened");
        } else {
            let legend: Vec<String> = short
                .iter()
                .filter(|(name, short)| name != short)
                .take(20)
                .map(|(name, short)| format!("{short} = {name}"))
                .collect();
            if !legend.is_empty() {
                head.push_str(": ");
                head.push_str(&legend.join(", "));
            }
        }
        head.push('\n');
        Self { head, short }
    }

    fn turn(&self, talk: &Talk, at: usize) -> String {
        let turn = &talk.turns[at];
        let number = turn.place.rsplit([':', ' ']).next().unwrap_or_default();
        let text = if turn.speaker.is_empty() { turn.text.as_str() } else { trimmed(&turn.text) };
        let gap = if text.len() < turn.text.len() { " …" } else { "" };
        let text = if turn.speaker.is_empty() { text.to_owned() } else { crate::fidelity::flat(text) };
        match self.short.get(&turn.speaker) {
            Some(short) => format!("{number} {short}: {text}{gap}\n"),
            None => format!("{text}{gap}\n"),
        }
    }
}

/// A group's title, with what the ids of its turns have in common.
fn title(title: &str, place: &str) -> String {
    let id = place.rsplit_once(':').map(|(id, _)| id).unwrap_or_default();
    let title = crate::fidelity::flat(title);
    match (id.is_empty(), title.is_empty()) {
        (true, true) => String::new(),
        (true, false) => format!("## {title}\n"),
        (false, true) => format!("## {id}\n"),
        (false, false) => format!("## {id} {title}\n"),
    }
}

/// The turn without the questions and remarks in brackets at its end, unless it has nothing else.
fn trimmed(text: &str) -> &str {
    let mut text = spoken(text).trim_end();
    while text.ends_with('?') {
        let bytes = text.as_bytes();
        let start = (1..text.len().saturating_sub(1))
            .rev()
            .find(|at| bytes[*at].is_ascii_whitespace() && matches!(bytes[at - 1], b'.' | b'!' | b'?'));
        match start {
            Some(at) => text = text[..at].trim_end(),
            None => break,
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_asks_at_the_end_is_cut_off() {
        assert_eq!(trimmed("I moved. It was hard! And you? Any news?"), "I moved. It was hard!");
        assert_eq!(trimmed("How are you? Any news?"), "How are you?");
        assert_eq!(trimmed("Look at this. [shares a photo]"), "Look at this.");
        assert_eq!(trimmed("?"), "?");
    }
}
