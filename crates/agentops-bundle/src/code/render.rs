//! The chosen lines as Markdown.

use super::open::Opened;
use super::pack::Chosen;

/// Explains the marks to a reader.
pub const LEGEND: &str = "A heading names a file and the first and last line shown. `@N`: lines are left out, line N follows. `…`: a function is cut.";
/// Definitions that the summary of a file names.
const NAMES_MAX: usize = 4;

/// How a file's text is set off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// In a fence, below its path and the first and last line shown.
    Fenced,
    /// Below its path only.
    Bare,
}

/// Appends the section of a file: a heading with the first and last line shown, and the chosen lines in a fence. `@N` stands
/// where what follows begins at line N, with `…` where a function is cut there. Nothing if no line was chosen.
pub fn section(file: &Opened, chosen: &Chosen, style: Style, text: &mut String) {
    let lines = || chosen.lines.iter().enumerate().filter(|(_, is_chosen)| **is_chosen).map(|(at, _)| at);
    let (Some(first), Some(last)) = (lines().next(), lines().next_back()) else { return };
    let fence = if style == Style::Bare { String::new() } else { "`".repeat(fence_length(file, lines())) };
    if style == Style::Bare {
        text.push_str(&format!("## {}\n", file.path));
    } else {
        text.push_str(&format!("## {} {}-{}\n{fence}\n", file.path, first + 1, last + 1));
    }
    let mut before: Option<usize> = None;
    for at in lines() {
        if let Some(before) = before
            && before + 1 < at
        {
            // Blank lines alone are no gap.
            if (before + 1..at).any(|line| !file.line(line).trim().is_empty()) {
                let cut = if file.is_cut_after(before) || file.is_cut_before(at) { " …" } else { "" };
                text.push_str(&format!("@{}{cut}\n", at + 1));
            } else {
                text.push('\n');
            }
        }
        text.push_str(file.line(at));
        text.push('\n');
        before = Some(at);
    }
    if file.is_cut_after(last) {
        text.push_str("…\n");
    }
    if style != Style::Bare {
        text.push_str(&format!("{fence}\n\n"));
    }
}

/// A fence is longer than any that the lines have.
fn fence_length(file: &Opened, lines: impl Iterator<Item = usize>) -> usize {
    let run = |line: &str| line.trim_start().bytes().take_while(|byte| *byte == b'`').count();
    lines.map(|at| run(file.line(at)) + 1).max().unwrap_or_default().max(3)
}

/// One line about a file of which nothing is shown.
pub fn summary(file: &Opened) -> String {
    let top = file.definitions.iter().filter(|definition| definition.parent.is_none());
    let mut names: Vec<&str> = Vec::new();
    for definition in top {
        if names.len() < NAMES_MAX && !names.contains(&definition.name.as_str()) {
            names.push(&definition.name);
        }
    }
    let names = if names.is_empty() { String::new() } else { format!(": {}", names.join(", ")) };
    format!("- {} ({} lines){names}\n", file.path, file.line_count())
}
