//! How far the order of lines goes within a budget.
//!
//! Lines are counted one by one first, which is an upper bound. From there on the section of each file is counted as it will
//! stand, line by line, until the first line that does not fit. A larger budget never stops earlier, so it has all lines of a
//! smaller one.

use agentops_text::tokens::text_tokens;

use super::open::Opened;
use super::pack::{Chosen, Step};
use super::render::{self, Style};

/// The beginning of the order that fits.
pub struct Selection<'a> {
    opened: &'a [Opened],
    /// The lines of each file.
    pub chosen: Vec<Chosen>,
    /// The tokens of each file's section. A section begins with `#` after a blank line, so sections count alone as together.
    sections: Vec<u64>,
    tokens: u64,
    buffer: String,
}

impl<'a> Selection<'a> {
    /// As many steps as fit in `limit` tokens.
    pub fn within(opened: &'a [Opened], steps: &[Step], limit: u64) -> Self {
        let chosen = Chosen::nothing(opened);
        let mut selection = Self { opened, chosen, sections: vec![0; opened.len()], tokens: 0, buffer: String::new() };
        let (mut next, mut used) = (0, 0);
        while let Some(step) = steps.get(next)
            && used + step.cost <= limit
        {
            used += step.cost;
            selection.chosen[step.file].lines[step.line] = true;
            next += 1;
        }
        for file in 0..opened.len() {
            selection.count(file);
        }
        while let Some(step) = steps.get(next) {
            selection.set(step, true);
            if selection.tokens > limit {
                selection.set(step, false);
                break;
            }
            next += 1;
        }
        // Should lines ever count more together than alone.
        while selection.tokens > limit && next > 0 {
            next -= 1;
            selection.set(&steps[next], false);
        }
        selection
    }

    fn set(&mut self, step: &Step, is_chosen: bool) {
        self.chosen[step.file].lines[step.line] = is_chosen;
        self.count(step.file);
    }

    fn count(&mut self, file: usize) {
        self.buffer.clear();
        render::section(&self.opened[file], &self.chosen[file], Style::Fenced, &mut self.buffer);
        let tokens = text_tokens(&self.buffer);
        self.tokens = self.tokens - self.sections[file] + tokens;
        self.sections[file] = tokens;
    }
}
