//! Words of prose and code, in one form: `ParserState`, `parser_state` and "parser states" have words in common.

/// Words that say nothing about what a text is about.
const STOP: &[&str] = &[
    "a", "an", "and", "are", "as", "at", "be", "by", "can", "for", "from", "has", "have", "if", "in", "is", "it", "its",
    "not", "of", "on", "or", "that", "the", "this", "to", "use", "used", "using", "was", "we", "when", "which", "will",
    "with",
];

/// Calls `each` with every word of a text, in lower case, in order: names as a whole and, where they are made of several
/// words, each of these. Plurals lose their `s`; words of one letter and the commonest words of English are left out.
pub fn each_word(text: &str, mut each: impl FnMut(&str)) {
    let bytes = text.as_bytes();
    let mut word = String::new();
    let mut at = 0;
    while at < bytes.len() {
        if !is_start(bytes[at]) {
            at += 1;
            continue;
        }
        let start = at;
        while at < bytes.len() && (is_start(bytes[at]) || bytes[at].is_ascii_digit()) {
            at += 1;
        }
        let name = &text[start..at];
        put(name, &mut word, &mut each);
        let mut parts = Parts { name, at: 0 };
        if let (Some(first), Some(second)) = (parts.next(), parts.next()) {
            put(first, &mut word, &mut each);
            put(second, &mut word, &mut each);
            parts.for_each(|part| put(part, &mut word, &mut each));
        }
    }
}

/// The words of a text, as [`each_word`] gives them.
#[must_use]
pub fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    each_word(text, |word| words.push(word.to_owned()));
    words
}

/// Letters of other scripts count as letters, each run of them as one word.
fn is_start(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}

fn put(name: &str, word: &mut String, each: &mut impl FnMut(&str)) {
    if name.len() < 2 {
        return;
    }
    word.clear();
    word.extend(name.chars().map(|c| c.to_ascii_lowercase()));
    if word.len() > 4 && word.ends_with('s') && !word.ends_with("ss") {
        word.pop();
    }
    if STOP.binary_search(&word.as_str()).is_err() {
        each(word);
    }
}

/// The words that a name is made of: `HTTPServer_v2` is `HTTP`, `Server`, `v`.
struct Parts<'a> {
    name: &'a str,
    at: usize,
}

impl<'a> Iterator for Parts<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let bytes = self.name.as_bytes();
        let is_letter = |byte: u8| byte.is_ascii_alphabetic() || byte >= 0x80;
        while self.at < bytes.len() && !is_letter(bytes[self.at]) {
            self.at += 1;
        }
        let start = self.at;
        let is_upper = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_uppercase);
        let is_lower = |at: usize| bytes.get(at).is_some_and(|byte| byte.is_ascii_lowercase() || *byte >= 0x80);
        while self.at < bytes.len() && is_letter(bytes[self.at]) {
            let ends_lower = self.at > start && is_lower(self.at - 1) && is_upper(self.at);
            let ends_upper = self.at > start && is_upper(self.at - 1) && is_upper(self.at) && is_lower(self.at + 1);
            if ends_lower || ends_upper {
                break;
            }
            self.at += 1;
        }
        (start < self.at).then(|| &self.name[start..self.at])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_words_and_their_parts() {
        assert_eq!(words("the HTTPServer_v2 parses files"), ["httpserver_v2", "http", "server", "parse", "file"]);
        assert_eq!(words("getUserById"), ["getuserbyid", "get", "user", "id"]);
        assert_eq!(words("class glass größe"), ["class", "glass", "größe"]);
    }

    #[test]
    fn common_words_are_in_order_for_the_search() {
        assert!(STOP.is_sorted());
    }

    proptest! {
        #[test]
        fn any_text_has_words_without_a_panic(text in "\\PC{0,200}") {
            for word in words(&text) {
                prop_assert!(word.len() > 1);
            }
        }
    }
}
