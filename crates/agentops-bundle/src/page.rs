//! A text that grows line by line and never passes its budget.

use agentops_text::tokens::text_tokens;

/// Lines that fit.
#[derive(Debug, Clone)]
pub struct Page {
    text: String,
    used: u64,
    budget: u64,
}

impl Page {
    /// An empty page that may take so many o200k tokens.
    #[must_use]
    pub fn new(budget: u64) -> Self {
        Self { text: String::new(), used: 0, budget }
    }

    /// What a line with its end takes, at most.
    #[must_use]
    pub fn cost(line: &str) -> u64 {
        text_tokens(line) + 1
    }

    /// What is left.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.budget - self.used
    }

    /// Writes the line if it fits; says whether it did.
    pub fn line(&mut self, line: &str) -> bool {
        let cost = Self::cost(line);
        if cost > self.left() {
            return false;
        }
        self.used += cost;
        self.text.push_str(line);
        self.text.push('\n');
        true
    }

    /// The text. Lines counted alone may count otherwise together, so the whole is counted once more.
    #[must_use]
    pub fn finish(self) -> String {
        fit(self.text, self.budget)
    }
}

/// A text without the last lines that do not fit.
#[must_use]
pub fn fit(mut text: String, budget: u64) -> String {
    let mut over = text_tokens(&text).saturating_sub(budget);
    while over > 0 && !text.is_empty() {
        // No line takes more tokens than bytes, so this many bytes at least must go.
        let mut end = text.len() - usize::try_from(over).unwrap_or(usize::MAX).min(text.len());
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let end = text[..end].rfind('\n').map_or(0, |at| at + 1);
        text.truncate(end);
        over = text_tokens(&text).saturating_sub(budget);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_budget_is_never_passed(lines in prop::collection::vec("[a-z/;)( ]{0,30}|\\PC{0,12}", 0..40), budget in 0_u64..200) {
            let mut page = Page::new(budget);
            for line in &lines {
                page.line(line);
            }
            prop_assert!(text_tokens(&page.finish()) <= budget);
            prop_assert!(text_tokens(&fit(lines.join("\n"), budget)) <= budget);
        }
    }
}
