//! Kinds of lines that are nearly the same become one group: what differs between them is a name, not an event.
//!
//! As in Drain (He et al., "Drain: An Online Log Parsing Approach with Fixed Depth Tree", 2017) only kinds with the same
//! number of words and the same first word are compared, and a kind joins the group that it shares most words with, if
//! these are enough. Kinds are taken in the order of their first lines, so the groups depend on nothing else.

use std::collections::{BTreeSet, HashMap};

use super::severity::Severity;
use super::{scan, words};

/// A kind joins a group if at least this share of the words is the same.
const SAME_SHARE: f64 = 0.8;
/// Groups that a kind is compared with; where there are more, the last ones.
const COMPARED_MAX: usize = 48;
/// So many words in one place are names.
const VALUES_MANY: usize = 8;
/// Names stand among the first words.
const NAMED_WORDS_MAX: usize = 24;
/// Words beyond this do not tell kinds apart.
const WORDS_MAX: usize = 160;

/// Kinds that tell of one event.
#[derive(Debug)]
pub(super) struct Group {
    /// Which kinds, in the order of their first lines.
    pub(super) kinds: Vec<usize>,
    /// Lines of all of them.
    pub(super) count: u64,
    /// How severe its lines are.
    pub(super) severity: Severity,
    /// The words that all of them have, in order.
    pub(super) event: String,
    /// Whether it stays as it is: each failing test is an event.
    alone: bool,
    words: Vec<Option<u32>>,
}

impl Group {
    fn adds(&mut self, kind: usize, count: u64, words: &[Option<u32>]) {
        self.kinds.push(kind);
        self.count += count;
        for (mine, other) in self.words.iter_mut().zip(words) {
            if mine != other {
                *mine = None;
            }
        }
    }

    /// Which share of the words is the same, of those that are not variable in both.
    fn likeness(&self, words: &[Option<u32>]) -> f64 {
        let pairs = self.words.iter().zip(words).filter(|(a, b)| a.is_some() || b.is_some());
        let (same, all) = pairs.fold((0, 0), |(same, all), (a, b)| (same + usize::from(a == b), all + 1));
        if all > 0 { same as f64 / all as f64 } else { 1.0 }
    }
}

/// Puts the kinds into groups. `texts` are the first lines of the kinds, as they are shown.
pub(super) fn groups(texts: &[String], severities: &[Severity], counts: &[u64]) -> Vec<Group> {
    let mut names: HashMap<&str, u32> = HashMap::new();
    let mut groups: Vec<Group> = Vec::new();
    // By number of words, severity, first word.
    let mut leaves: HashMap<(usize, Severity, Option<u32>), Vec<usize>> = HashMap::new();
    let mut passing: Option<usize> = None;
    for (kind, text) in texts.iter().enumerate() {
        let words = words_of(text, &mut names);
        let severity = severities[kind];
        let alone = words::failing_test(text).is_some() || words::begins_section(text);
        if words::is_passing_test(text) {
            // How many passed is all there is to know.
            match passing {
                Some(group) => groups[group].adds(kind, counts[kind], &words),
                None => {
                    passing = Some(groups.len());
                    groups.push(Group {
                        kinds: vec![kind],
                        count: counts[kind],
                        severity: Severity::Normal,
                        alone: true,
                        event: String::new(),
                        words,
                    });
                }
            }
            continue;
        }
        let leaf = leaves.entry((words.len(), severity, words.first().copied().flatten())).or_default();
        let compared = leaf.len().saturating_sub(COMPARED_MAX);
        let mut best: Option<(usize, f64)> = None;
        for group in leaf[compared..].iter().filter(|_| !alone) {
            let likeness = groups[*group].likeness(&words);
            if likeness >= SAME_SHARE && best.is_none_or(|(_, most)| likeness > most) {
                best = Some((*group, likeness));
            }
        }
        match best {
            Some((group, _)) => groups[group].adds(kind, counts[kind], &words),
            None => {
                if !alone {
                    leaf.push(groups.len());
                }
                groups.push(Group { kinds: vec![kind], count: counts[kind], severity, alone, event: String::new(), words });
            }
        }
    }
    let mut groups = same_words(many_values(groups));
    let mut by_number = vec![""; names.len()];
    names.iter().for_each(|(name, number)| by_number[*number as usize] = name);
    for group in &mut groups {
        let words: Vec<&str> = group.words.iter().flatten().map(|word| by_number[*word as usize]).collect();
        group.event = words.join(" ");
    }
    groups
}

/// A place in which otherwise equal groups have many words is one for names: `Compiling a`, `Compiling b` and so on.
fn many_values(groups: Vec<Group>) -> Vec<Group> {
    // Without one of its words a group has the same hash as the others without theirs.
    let without = |group: &Group, place: usize, whole: u64| {
        (whole ^ word_hash(place, group.words[place]), place, group.words.len(), group.severity)
    };
    let hashes: Vec<u64> = groups
        .iter()
        .map(|group| group.words.iter().enumerate().fold(0, |hash, (at, word)| hash ^ word_hash(at, *word)))
        .collect();
    let mut alike: HashMap<_, usize> = HashMap::new();
    let movable = |group: &Group| !group.alone && group.words.iter().flatten().count() > 1;
    let places = |group: &Group| (0..group.words.len().min(NAMED_WORDS_MAX)).collect::<Vec<_>>();
    for (group, hash) in groups.iter().zip(&hashes).filter(|(group, _)| movable(group)) {
        for place in places(group) {
            if group.words[place].is_some() {
                *alike.entry(without(group, place, *hash)).or_default() += 1;
            }
        }
    }
    let mut merged: Vec<Group> = Vec::new();
    let mut leaders: HashMap<_, usize> = HashMap::new();
    for (group, hash) in groups.into_iter().zip(hashes) {
        let best = places(&group)
            .into_iter()
            .filter(|place| movable(&group) && group.words[*place].is_some())
            .map(|place| without(&group, place, hash))
            .map(|key| (alike.get(&key).copied().unwrap_or_default(), key))
            .filter(|(count, _)| *count >= VALUES_MANY)
            .max_by_key(|(count, key)| (*count, std::cmp::Reverse(key.1)));
        let Some((_, key)) = best else {
            merged.push(group);
            continue;
        };
        match leaders.get(&key) {
            Some(leader) => {
                let whole: &mut Group = &mut merged[*leader];
                whole.kinds.extend(&group.kinds);
                whole.count += group.count;
                whole.words[key.1] = None;
            }
            None => {
                leaders.insert(key, merged.len());
                merged.push(group);
            }
        }
    }
    merged
}

fn word_hash(place: usize, word: Option<u32>) -> u64 {
    let value = word.map_or(0, |word| u64::from(word) + 1);
    scan::mix(scan::mix(0, place as u64), value)
}

/// Lists of different lengths: groups that have the same words, whatever number of variable ones, are one.
fn same_words(groups: Vec<Group>) -> Vec<Group> {
    let mut by_words: HashMap<(BTreeSet<u32>, Severity), usize> = HashMap::new();
    let mut merged: Vec<Group> = Vec::new();
    for group in groups {
        let set: BTreeSet<u32> = group.words.iter().flatten().copied().collect();
        if set.len() < 2 || group.alone {
            merged.push(group);
            continue;
        }
        match by_words.entry((set, group.severity)) {
            std::collections::hash_map::Entry::Occupied(at) => {
                let whole = &mut merged[*at.get()];
                whole.kinds.extend(group.kinds);
                whole.count += group.count;
            }
            std::collections::hash_map::Entry::Vacant(at) => {
                at.insert(merged.len());
                merged.push(group);
            }
        }
    }
    for group in &mut merged {
        group.kinds.sort_unstable();
    }
    merged
}

/// The words of a line, variable ones as `None`.
fn words_of<'a>(text: &'a str, names: &mut HashMap<&'a str, u32>) -> Vec<Option<u32>> {
    // `num-traits` and `libc` are one name each.
    text.split(|c: char| c.is_ascii() && !scan::is_word(c as u8) && !matches!(c, '-' | '.'))
        .map(|word| word.trim_matches(['-', '.']))
        .filter(|word| !word.is_empty())
        .take(WORDS_MAX)
        .map(|word| {
            let next = names.len() as u32;
            (!word.split(['-', '.']).any(|part| scan::is_variable(part.as_bytes())))
                .then(|| *names.entry(word).or_insert(next))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::severity;
    use super::*;

    fn grouped_texts(texts: &[String]) -> Vec<Group> {
        let severities: Vec<Severity> = texts.iter().map(|text| severity::of(text)).collect();
        groups(texts, &severities, &vec![1; texts.len()])
    }

    fn grouped(lines: &[&str]) -> Vec<Vec<usize>> {
        let texts: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        grouped_texts(&texts).into_iter().map(|group| group.kinds).collect()
    }

    #[test]
    fn names_differ_and_events_do_not() {
        let lines =
            ["session opened for user alice by root", "session opened for user bob by root", "session closed for user bob"];
        assert_eq!(grouped(&lines), [vec![0, 1], vec![2]]);
        assert_eq!(grouped(&["stored list a1 b2 c3", "other", "stored list a1 b2 c3 d4"]), [vec![0, 2], vec![1]]);
    }

    #[test]
    fn problems_and_failing_tests_stay_apart() {
        assert_eq!(grouped(&["unit a of b is ready", "unit a of b is corrupt"]).len(), 2);
        assert_eq!(grouped(&["test a ... FAILED", "test b ... FAILED", "test c ... ok", "test d ... ok"]).len(), 3);
    }

    #[test]
    fn many_words_in_one_place_are_names() {
        let lines: Vec<String> =
            ('a'..='j').map(|c| format!("Compiling lib{c} fast")).chain(["Compiling x slow".into()]).collect();
        let groups = grouped_texts(&lines);
        assert_eq!(groups.len(), 2);
        assert_eq!((groups[0].count, groups[0].event.as_str()), (10, "Compiling fast"));
    }

    #[test]
    fn the_event_is_the_words_in_common() {
        let texts = ["user alice logged in from home".to_owned(), "user bob logged in from home".to_owned()];
        assert_eq!(grouped_texts(&texts)[0].event, "user logged in from home");
    }
}
