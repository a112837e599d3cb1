//! What counts as the same word: `started` and `start`, `paintings` and `paint`, `went` and `go`.
//!
//! Endings are taken off by a few rules in the manner of Porter ("An algorithm for suffix stripping", 1980), irregular forms
//! of common verbs and nouns by a list. A wrong root does no harm as long as question and answer get the same one.

use agentops_text::words;

/// Words of questions and of everyday speech that say nothing about what a text is about.
const STOP: &[&str] = &[
    "about", "above", "after", "again", "all", "also", "am", "any", "because", "been", "before", "being", "below",
    "between", "both", "but", "could", "did", "do", "doe", "does", "doing", "done", "down", "during", "each", "few",
    "further", "got", "had", "he", "her", "here", "him", "his", "how", "into", "just", "may", "me", "might", "more", "most",
    "must", "my", "no", "nor", "now", "off", "once", "only", "other", "our", "out", "over", "own", "same", "shall", "she",
    "should", "so", "some", "such", "than", "their", "them", "then", "there", "these", "they", "those", "through", "too",
    "under", "until", "up", "us", "very", "were", "what", "where", "while", "who", "whom", "whose", "why", "would", "you",
    "your",
];

/// Irregular forms and what they are forms of.
const IRREGULAR: &[(&str, &str)] = &[
    ("ate", "eat"),
    ("became", "become"),
    ("began", "begin"),
    ("begun", "begin"),
    ("bought", "buy"),
    ("broke", "break"),
    ("broken", "break"),
    ("brought", "bring"),
    ("built", "build"),
    ("came", "come"),
    ("caught", "catch"),
    ("children", "child"),
    ("chose", "choose"),
    ("chosen", "choose"),
    ("drawn", "draw"),
    ("drew", "draw"),
    ("driven", "drive"),
    ("drove", "drive"),
    ("eaten", "eat"),
    ("fallen", "fall"),
    ("fell", "fall"),
    ("felt", "feel"),
    ("flew", "fly"),
    ("flown", "fly"),
    ("found", "find"),
    ("gave", "give"),
    ("given", "give"),
    ("gone", "go"),
    ("grew", "grow"),
    ("grown", "grow"),
    ("heard", "hear"),
    ("held", "hold"),
    ("kept", "keep"),
    ("kid", "child"),
    ("kids", "child"),
    ("knew", "know"),
    ("known", "know"),
    ("led", "lead"),
    ("left", "leave"),
    ("lost", "lose"),
    ("made", "make"),
    ("men", "man"),
    ("met", "meet"),
    ("mom", "mother"),
    ("dad", "father"),
    ("paid", "pay"),
    ("ran", "run"),
    ("ridden", "ride"),
    ("rode", "ride"),
    ("said", "say"),
    ("sang", "sing"),
    ("saw", "see"),
    ("seen", "see"),
    ("sent", "send"),
    ("slept", "sleep"),
    ("sold", "sell"),
    ("spent", "spend"),
    ("spoke", "speak"),
    ("spoken", "speak"),
    ("stood", "stand"),
    ("sung", "sing"),
    ("swam", "swim"),
    ("taken", "take"),
    ("taught", "teach"),
    ("thought", "think"),
    ("threw", "throw"),
    ("thrown", "throw"),
    ("told", "tell"),
    ("took", "take"),
    ("went", "go"),
    ("wives", "wife"),
    ("women", "woman"),
    ("won", "win"),
    ("wore", "wear"),
    ("worn", "wear"),
    ("written", "write"),
    ("wrote", "write"),
];

/// Endings and what stays of them; the first one that fits and leaves four letters is taken off.
const ENDINGS: &[(&str, &str)] = &[
    ("ational", "ate"),
    ("ization", "ize"),
    ("fulness", "ful"),
    ("iveness", "ive"),
    ("ousness", "ous"),
    ("ation", "at"),
    ("tion", "t"),
    ("sion", "s"),
    ("ment", ""),
    ("ness", ""),
    ("ally", "al"),
    ("fully", "ful"),
    ("ly", ""),
    ("er", ""),
    ("or", ""),
];

/// Calls `each` with every term of a text, in order: names whole and in parts, numbers as they stand.
pub fn each_term(text: &str, mut each: impl FnMut(&str)) {
    let mut root = String::new();
    words::each_word(text, |word| {
        if STOP.binary_search(&word).is_err() {
            root_of(word, &mut root);
            each(&root);
        }
    });
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let start = at;
        while at < bytes.len() && bytes[at].is_ascii_digit() {
            at += 1;
        }
        let in_word =
            start > 0 && (bytes[start - 1].is_ascii_alphabetic() || bytes[start - 1] == b'_' || bytes[start - 1] >= 0x80);
        if at > start && !in_word {
            each(&text[start..at]);
        }
        at = at.max(start + 1);
    }
}

/// The terms of a text.
#[must_use]
pub fn terms(text: &str) -> Vec<String> {
    let mut terms = Vec::new();
    each_term(text, |term| terms.push(term.to_owned()));
    terms
}

/// Writes the root of a lower-case word.
fn root_of(word: &str, root: &mut String) {
    root.clear();
    if let Some((_, form)) = IRREGULAR.iter().find(|(irregular, _)| *irregular == word) {
        root.push_str(form);
        return;
    }
    root.push_str(word);
    if root.len() <= 3 || !root.is_ascii() {
        return;
    }
    if root.ends_with("sses") {
        root.truncate(root.len() - 2);
    } else if root.ends_with("ies") || root.ends_with("ie") {
        // Plurals have lost their `s` before.
        root.truncate(root.len() - if root.ends_with('s') { 3 } else { 2 });
        root.push('y');
    } else if root.ends_with('s') && !["ss", "us", "is"].iter().any(|end| root.ends_with(end)) {
        root.pop();
    }
    for ending in ["ingly", "edly", "ing", "ed"] {
        let Some(stem) = root.strip_suffix(ending) else { continue };
        if stem.len() < 3 || !has_vowel(stem) {
            continue;
        }
        let len = stem.len();
        root.truncate(len);
        let bytes = root.as_bytes();
        if ["at", "bl", "iz"].iter().any(|end| root.ends_with(end)) {
            root.push('e');
        } else if bytes[len - 1] == bytes[len - 2] && !b"lsz".contains(&bytes[len - 1]) {
            root.pop();
        }
        break;
    }
    for (ending, stays) in ENDINGS {
        if root.ends_with(ending) && root.len() - ending.len() >= 4 {
            root.truncate(root.len() - ending.len());
            root.push_str(stays);
            break;
        }
    }
    if root.len() > 3 && root.ends_with('e') {
        root.pop();
    }
    if root.len() > 3 && root.ends_with('y') {
        root.pop();
        root.push('i');
    }
}

fn has_vowel(stem: &str) -> bool {
    stem.bytes().enumerate().any(|(at, byte)| b"aeiou".contains(&byte) || (byte == b'y' && at > 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn root(word: &str) -> String {
        let mut root = String::new();
        root_of(word, &mut root);
        root
    }

    #[test]
    fn forms_of_a_word_have_one_root() {
        for forms in [
            &["start", "started", "starting", "starts"][..],
            &["paint", "painting", "painted", "painter"],
            &["story", "stories"],
            &["delete", "deleted", "deleting", "deletion"],
            &["hop", "hopped", "hopping"],
            &["go", "went", "gone"],
            &["class", "classes"],
        ] {
            let first = terms(forms[0]);
            assert!(forms.iter().all(|form| terms(form) == first), "{forms:?} {:?}", forms.map_roots());
        }
        assert_ne!(root("paint"), root("pain"));
    }

    trait Roots {
        fn map_roots(&self) -> Vec<String>;
    }
    impl Roots for &[&str] {
        fn map_roots(&self) -> Vec<String> {
            self.iter().map(|word| terms(word).join(" ")).collect()
        }
    }

    #[test]
    fn questions_are_about_their_content() {
        assert_eq!(terms("When did she buy the 2 bowls?"), ["buy", "bowl", "2"]);
        assert!(STOP.is_sorted());
    }

    proptest! {
        #[test]
        fn any_text_has_terms(text in "\\PC{0,200}") {
            prop_assert!(terms(&text).iter().all(|term| !term.is_empty()));
        }
    }
}
