//! What people said and how runs ended, as lines in git, and what of it is learnt.
//!
//! Every clone of a repository has a file of lines that only grows. All files together give one list, the same in every clone
//! that has the same files. Files are others' and may be broken or written to mislead: nothing in them is an error, what is not
//! taken is counted, and no label and no clone can drown the others.

mod hold;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// The version of lines that this program writes.
pub const VERSION: u32 = 1;
/// The longest line that is read, in bytes.
pub const LINE_BYTES_MAX: usize = 64 * 1024;
/// What is kept of a task, in bytes: of a longer one its beginning and its end.
pub const TEXT_BYTES_MAX: usize = 4 * 1024;
/// The longest label that is read, in bytes.
pub const LABEL_BYTES_MAX: usize = 1024;
/// How far a line's time may lie ahead of the reader's clock, in milliseconds: a day.
pub const AHEAD_MS_MAX: u64 = 24 * 3_600 * 1_000;
/// The most lines that are learnt of all clones together, the newest.
pub const LINES_MAX: usize = 20_000;

/// Where a line comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// A run with this agent and workflow failed. It says nothing about which would have been right.
    Failed,
    /// The result of a run was put away. It says nothing about which would have been right.
    Discarded,
    /// The result of a run was merged: agent and workflow were right, as far as one can tell.
    Merged,
    /// A person chose when asked.
    Chosen,
    /// A person corrected it.
    Corrected,
}

impl Source {
    /// Whether a person said so.
    #[must_use]
    pub fn is_person(self) -> bool {
        matches!(self, Source::Chosen | Source::Corrected)
    }

    /// Whether the agent and the workflow of the line were right.
    #[must_use]
    pub fn is_label(self) -> bool {
        !matches!(self, Source::Failed | Source::Discarded)
    }
}

/// What routing had put first.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Shown {
    /// The agent's label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// The workflow's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow: Option<String>,
}

/// A line of feedback.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Line {
    /// The version, 1.
    pub v: u32,
    /// When, in Unix milliseconds.
    pub at: u64,
    /// Where it comes from.
    pub from: Source,
    /// The task.
    pub text: String,
    /// The agent's label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// The workflow's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow: Option<String>,
    /// What had been shown first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shown: Option<Shown>,
    /// It was kept although it made held-back examples go wrong. It is not learnt.
    #[serde(default, skip_serializing_if = "is_false")]
    pub doubted: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

/// Why a line is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// It is no line of feedback, or is too long.
    Broken,
    /// A newer program wrote it.
    Newer,
    /// Its time has not come.
    Future,
    /// It is there already, word for word.
    Twice,
    /// Its clone has too many.
    Clone,
    /// Its label has too many.
    Label,
    /// Somebody said otherwise of the same task later, or with more weight.
    Outweighed,
    /// It was kept although held-back examples go wrong with it.
    Doubted,
}

impl Why {
    /// In words, after a number of lines.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Why::Broken => "not readable",
            Why::Newer => "from a newer agentops",
            Why::Future => "with a time that has not come",
            Why::Twice => "there already",
            Why::Clone => "older, of a clone that has very many",
            Why::Label => "older, of a label that has very many",
            Why::Outweighed => "outweighed by another word on the same task",
            Why::Doubted => "kept with --force, not learnt",
        }
    }
}

/// A task and the label that it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labelled {
    /// When it was said, in Unix milliseconds.
    pub at: u64,
    /// The task.
    pub text: String,
    /// The label of an agent, or the name of a workflow.
    pub label: String,
    /// Where it comes from.
    pub from: Source,
}

/// What all files say together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gathered {
    /// Which agent a task went to, the oldest first. Each task once.
    pub agents: Vec<Labelled>,
    /// Which workflow a task went through, the oldest first. Each task once.
    pub workflows: Vec<Labelled>,
    /// How runs ended, with agent (empty: the workflow's own) and workflow (empty: not known).
    pub ended: BTreeMap<(String, String), Ended>,
    /// What is not learnt, and why.
    pub left_out: BTreeMap<Why, usize>,
    /// When this list may be another one without a new line, in Unix milliseconds: a line's time will have come.
    pub until: Option<u64>,
}

/// How often runs ended how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// Merged.
    pub merged: usize,
    /// Put away.
    pub discarded: usize,
    /// Failed.
    pub failed: usize,
}

impl Line {
    /// A line. A long task is cut, and what no text has is taken out of it.
    #[must_use]
    pub fn new(at: u64, from: Source, text: &str, agent: Option<String>, workflow: Option<String>) -> Self {
        Self { v: VERSION, at, from, text: kept(text), agent, workflow, shown: None, doubted: false }
    }

    /// As it stands in a file, without its line end.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|_| unreachable!("texts and numbers are JSON"))
    }

    /// Reads a line.
    ///
    /// # Errors
    /// Why it is not taken: [`Why::Broken`] or [`Why::Newer`].
    pub fn parse(bytes: &[u8]) -> Result<Self, Why> {
        #[derive(Deserialize)]
        struct Version {
            v: u64,
        }
        if bytes.len() > LINE_BYTES_MAX {
            return Err(Why::Broken);
        }
        let Version { v } = serde_json::from_slice(bytes).map_err(|_| Why::Broken)?;
        if v > u64::from(VERSION) {
            return Err(Why::Newer);
        }
        let line: Line = serde_json::from_slice(bytes).map_err(|_| Why::Broken)?;
        let shown = line.shown.iter().flat_map(|shown| [&shown.agent, &shown.workflow]);
        let labels_fit = [&line.agent, &line.workflow].into_iter().chain(shown).flatten().all(|label| fits(label));
        let text_fits = !line.text.trim().is_empty() && !line.text.contains('\0');
        if v == 0 || !labels_fit || !text_fits || line.agent.is_none() && line.workflow.is_none() {
            return Err(Why::Broken);
        }
        Ok(Line { text: kept(&line.text), ..line })
    }
}

fn fits(label: &str) -> bool {
    !label.is_empty() && label.len() <= LABEL_BYTES_MAX && !label.chars().any(char::is_control)
}

/// What is kept of a task.
fn kept(text: &str) -> String {
    let text: String = text.chars().filter(|c| !c.is_control() || c.is_whitespace()).collect();
    let text = text.trim();
    if text.len() <= TEXT_BYTES_MAX {
        return text.to_owned();
    }
    // Routing reads a beginning and an end of a text; what is kept holds both.
    let head = text.floor_char_boundary(TEXT_BYTES_MAX - 600);
    let tail = text.ceil_char_boundary(text.len() - 590);
    format!("{}\n…\n{}", &text[..head], &text[tail..])
}

impl Gathered {
    /// Puts the files of all clones together: each the clone's id and its lines. `now_ms` is the reader's clock, in Unix
    /// milliseconds. The order of the files does not matter.
    #[must_use]
    pub fn gather(files: &[(&str, &[u8])], now_ms: u64) -> Self {
        let mut gathered = Self::default();
        let mut all: Vec<(u64, &str, usize, Line)> = Vec::new();
        for (clone, bytes) in files {
            for (number, bytes) in bytes.split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.is_empty()) {
                match Line::parse(bytes) {
                    Err(why) => gathered.leave_out(why, 1),
                    Ok(line) if line.at > now_ms.saturating_add(AHEAD_MS_MAX) => {
                        let comes = line.at - AHEAD_MS_MAX;
                        gathered.until = Some(gathered.until.map_or(comes, |until| until.min(comes)));
                        gathered.leave_out(Why::Future, 1);
                    }
                    Ok(line) => all.push((line.at, clone, number, line)),
                }
            }
        }
        all.sort_by(|a, b| (a.0, a.1, a.2).cmp(&(b.0, b.1, b.2)));
        let mut seen = BTreeSet::new();
        let whole = all.len();
        all.retain(|(.., line)| seen.insert(line.clone()));
        gathered.leave_out(Why::Twice, whole - all.len());
        let (all, over) = hold::clones(all);
        gathered.leave_out(Why::Clone, over);
        let lines: Vec<Line> = all.into_iter().map(|(.., line)| line).collect();
        for line in lines.iter().filter(|line| !line.from.is_person()) {
            let key = (line.agent.clone().unwrap_or_default(), line.workflow.clone().unwrap_or_default());
            let ended = gathered.ended.entry(key).or_default();
            match line.from {
                Source::Merged => ended.merged += 1,
                Source::Discarded => ended.discarded += 1,
                _ => ended.failed += 1,
            }
        }
        gathered.leave_out(Why::Doubted, lines.iter().filter(|line| line.doubted).count());
        gathered.agents = gathered.labelled(&lines, |line| line.agent.as_ref());
        gathered.workflows = gathered.labelled(&lines, |line| line.workflow.as_ref());
        gathered
    }

    fn leave_out(&mut self, why: Why, count: usize) {
        if count > 0 {
            *self.left_out.entry(why).or_default() += count;
        }
    }

    /// One label for each task, the weightiest word and of those the latest, at the place of that word.
    fn labelled<'a>(&mut self, lines: &'a [Line], label: impl Fn(&'a Line) -> Option<&'a String>) -> Vec<Labelled> {
        let said = lines.iter().filter(|line| line.from.is_label() && !line.doubted);
        let said: Vec<(&Line, &String)> = said.filter_map(|line| Some((line, label(line)?))).collect();
        let mut last: BTreeMap<String, (Source, usize)> = BTreeMap::new();
        for (at, (line, _)) in said.iter().enumerate() {
            let word = last.entry(plain(&line.text)).or_insert((line.from, at));
            if line.from >= word.0 {
                *word = (line.from, at);
            }
        }
        self.leave_out(Why::Outweighed, said.len() - last.len());
        let mut places: Vec<usize> = last.into_values().map(|(_, at)| at).collect();
        places.sort_unstable();
        let labelled = places.into_iter().map(|place| {
            let (line, label) = said[place];
            Labelled { at: line.at, text: line.text.clone(), label: label.clone(), from: line.from }
        });
        let (labelled, over) = hold::labels(labelled.collect());
        self.leave_out(Why::Label, over);
        labelled
    }
}

/// A task as it is compared with others: spaces and capitals do not make it another one.
fn plain(text: &str) -> String {
    text.split_whitespace().map(str::to_lowercase).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
