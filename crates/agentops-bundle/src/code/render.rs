//! The chosen lines as Markdown.

use super::open::Opened;
use super::pack::{Chosen, header};

/// A section for each file with something chosen, in the order given; `@N` where what follows begins at line N. The
/// note stands last.
pub fn render(opened: &[Opened], chosen: &[Chosen], note: &str) -> String {
    let mut text = String::new();
    for (file, chosen) in opened.iter().zip(chosen) {
        if !chosen.any() {
            continue;
        }
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&header(&file.path));
        let mut next = 0;
        for (at, _) in chosen.lines.iter().enumerate().filter(|(_, chosen)| **chosen) {
            // Blank lines alone are no gap.
            if (next..at).any(|line| !file.line(line).trim().is_empty()) {
                text.push_str(&format!("@{}\n", at + 1));
            } else if next < at && next > 0 {
                text.push('\n');
            }
            text.push_str(file.line(at));
            text.push('\n');
            next = at + 1;
        }
    }
    text.push_str(note);
    text
}
