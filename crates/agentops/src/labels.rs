//! Shows labels of agents. Two labels that differ never look the same, and a label that is to be typed is never cut.

use agentops_safe::inert_line;

/// A label as one line, whole.
#[must_use]
pub fn whole(label: &str) -> String {
    inert_line(label, usize::MAX)
}

/// A label of at most `chars_max` characters, cut in its middle, unless one of `others` would then look the same: then whole.
#[must_use]
pub fn among<'a>(label: &str, others: impl IntoIterator<Item = &'a str>, chars_max: usize) -> String {
    let shown = cut(label, chars_max);
    let is_ambiguous = others.into_iter().any(|other| other != label && cut(other, chars_max) == shown);
    if is_ambiguous { whole(label) } else { shown }
}

/// The end of a label tells more than its beginning, which is the catalogue: two thirds are kept of it.
fn cut(label: &str, chars_max: usize) -> String {
    let line = whole(label);
    let chars: Vec<char> = line.chars().collect();
    if chars.len() <= chars_max {
        return line;
    }
    let kept = chars_max.saturating_sub(1);
    let (head, tail) = (kept / 3, kept - kept / 3);
    chars[..head].iter().chain(std::iter::once(&'…')).chain(&chars[chars.len() - tail..]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_labels_are_whole_and_long_ones_are_cut_in_the_middle() {
        assert_eq!(among("c/reviewer", [], 20), "c/reviewer");
        assert_eq!(among("collection/categories/quality/code-reviewer", [], 20), "collec…code-reviewer");
        assert_eq!(among("abc", [], 0), "…");
    }

    #[test]
    fn labels_that_would_look_the_same_are_whole() {
        let labels = ["collection/categories/quality/code-reviewer", "collection/plugins/security/code-reviewer", "c/x"];
        let shown: Vec<String> = labels.iter().map(|label| among(label, labels, 20)).collect();
        assert_eq!(shown, labels);
        let long = format!("collection/{}/reviewer", "deep/".repeat(60));
        assert_eq!(whole(&long), long);
    }
}
