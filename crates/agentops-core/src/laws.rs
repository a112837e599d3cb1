//! The five laws, checked by code and never by an agent's word.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The laws, in their order.
pub const LAWS: [&str; 5] =
    ["extract learnings", "improve the system", "document context", "prevent hook loops", "guide with workflows"];

/// What the close-out agent writes to `.agentops-out/close-out.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(rename = "close-out")]
pub struct CloseOut {
    /// What this run taught.
    pub learning: Insight,
    /// What should change in how work is done here.
    pub improvement: Insight,
    /// What somebody who goes on from here must know.
    pub context: ContextRecord,
}

/// A learning or an improvement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Insight {
    /// One to five sentences; empty when there is nothing new.
    #[serde(default)]
    pub text: String,
    /// Files, commands or finding ids (`F1`) of this run that it rests on.
    #[serde(default)]
    pub evidence: Vec<String>,
    /// Nothing new; allowed when the run needed no rework and no hand-over.
    #[serde(default)]
    pub nothing_new: bool,
}

/// The context record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ContextRecord {
    /// What was done and why, naming the files that matter.
    pub summary: String,
    /// Decisions and their reasons.
    #[serde(default)]
    pub decisions: Vec<String>,
    /// What is still open.
    #[serde(default)]
    pub open: Vec<String>,
}

/// What a reviewing agent writes to `.agentops-out/verdict.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(rename = "verdict")]
pub struct ReviewVerdict {
    /// Whether the change may go on.
    pub passed: bool,
    /// What must change, each with its place; required when it did not pass.
    #[serde(default)]
    pub findings: Vec<String>,
}

/// What is true of a run, as far as the laws look at it. Taken from ledger and commits.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Files that differ between base and result.
    pub changed_files: BTreeSet<String>,
    /// Commands that gates ran, as one text each.
    pub commands: BTreeSet<String>,
    /// Names of gates.
    pub gates: BTreeSet<String>,
    /// Ids of findings in the run's documents, e.g. `F1`.
    pub findings: BTreeSet<String>,
    /// A refusal, a hand-over or a failed session happened.
    pub rework: bool,
    /// Chains of hooks that came back to themselves, and were let through. The machine refuses them, so 0.
    pub hook_loops: u64,
    /// Other workflows were shown when the run started.
    pub options_shown: bool,
}

/// One law's verdict: held, or what is missing.
pub type LawVerdict = Result<(), String>;

/// Checks the five laws.
pub fn check(close_out: &CloseOut, facts: &Facts) -> [LawVerdict; 5] {
    [
        insight("learning", &close_out.learning, facts),
        insight("improvement", &close_out.improvement, facts),
        context(&close_out.context, facts),
        if facts.hook_loops == 0 {
            Ok(())
        } else {
            Err(format!("{} hook chains came back to themselves", facts.hook_loops))
        },
        if facts.options_shown { Ok(()) } else { Err("no other workflow was shown when the run started".into()) },
    ]
}

const TEXT_CHARS_MIN: usize = 30;

fn insight(what: &str, insight: &Insight, facts: &Facts) -> LawVerdict {
    if insight.nothing_new {
        return match facts.rework {
            true => Err(format!(
                "{what}: this run had a refusal, a hand-over or a failed session, so there is something to say about it"
            )),
            false => Ok(()),
        };
    }
    if insight.text.trim().chars().count() < TEXT_CHARS_MIN {
        return Err(format!("{what}: write at least one whole sentence in `text`, or set `nothing-new`"));
    }
    let unknown: Vec<&str> = insight.evidence.iter().map(String::as_str).filter(|item| !facts.knows(item)).collect();
    match (insight.evidence.is_empty(), unknown.is_empty()) {
        (true, _) => Err(format!(
            "{what}: `evidence` must name a changed file, a gate, a gate's command or a finding; {}",
            facts.examples()
        )),
        (_, false) => Err(format!("{what}: this run knows nothing of {}; {}", unknown.join(", "), facts.examples())),
        _ => Ok(()),
    }
}

fn context(record: &ContextRecord, facts: &Facts) -> LawVerdict {
    if record.summary.trim().chars().count() < TEXT_CHARS_MIN {
        return Err("context: `summary` must say in a sentence or two what was done and why".into());
    }
    let named = facts.changed_files.iter().any(|file| record.summary.contains(file.rsplit('/').next().unwrap_or(file)));
    if facts.changed_files.is_empty() || named {
        Ok(())
    } else {
        Err(format!("context: `summary` names none of the changed files; {}", facts.examples()))
    }
}

impl Facts {
    fn knows(&self, item: &str) -> bool {
        // `src/a.rs:12` names the file as well as `src/a.rs` does.
        let path = item.split(':').next().unwrap_or(item);
        self.changed_files.contains(path)
            || self.changed_files.iter().any(|file| file.rsplit('/').next() == Some(path))
            || self.commands.contains(item)
            || self.gates.contains(item)
            || self.findings.contains(item)
    }

    fn examples(&self) -> String {
        let all = self.changed_files.iter().chain(&self.commands).chain(&self.gates).chain(&self.findings);
        let some: Vec<&str> = all.map(String::as_str).take(8).collect();
        format!("it knows: {}", some.join(", "))
    }
}

/// Ids of findings in a Markdown document: list items or headings that begin with `F` and a number.
#[must_use]
pub fn finding_ids(markdown: &str) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    for line in markdown.lines() {
        let text = line.trim_start_matches([' ', '#', '-', '*', '+']);
        let digits = text.strip_prefix('F').map_or(0, |rest| rest.bytes().take_while(u8::is_ascii_digit).count());
        if digits > 0 && digits <= 4 {
            ids.insert(text[..=digits].to_owned());
        }
    }
    ids
}

/// Headings that a Markdown document lacks. A heading counts at any level, without regard to case.
#[must_use]
pub fn missing_headings<'a>(markdown: &str, wanted: &'a [String]) -> Vec<&'a str> {
    let have: BTreeSet<String> = markdown
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| line.trim_start_matches('#').trim().trim_end_matches(':').to_lowercase())
        .collect();
    wanted.iter().map(String::as_str).filter(|heading| !have.contains(&heading.to_lowercase())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts {
            changed_files: ["src/export.rs".to_owned()].into(),
            commands: ["cargo test".to_owned()].into(),
            gates: ["tests".to_owned()].into(),
            findings: ["F1".to_owned()].into(),
            options_shown: true,
            ..Facts::default()
        }
    }

    fn close_out(evidence: &[&str]) -> CloseOut {
        let said = Insight {
            text: "The exporter quotes fields in one place only.".into(),
            evidence: evidence.iter().map(ToString::to_string).collect(),
            nothing_new: false,
        };
        let summary = "Added the flag in export.rs and covered it with a test.".to_owned();
        CloseOut {
            learning: said.clone(),
            improvement: said,
            context: ContextRecord { summary, decisions: vec![], open: vec![] },
        }
    }

    #[test]
    fn evidence_must_exist_in_the_run() {
        for good in [&["src/export.rs"][..], &["export.rs:12"], &["cargo test"], &["tests"], &["F1", "src/export.rs"]] {
            assert!(check(&close_out(good), &facts()).iter().all(Result::is_ok), "{good:?}");
        }
        for bad in [&[][..], &["src/other.rs"], &["F9"], &["src/export.rs", "made up"]] {
            let held = check(&close_out(bad), &facts());
            assert!(held[0].is_err() && held[1].is_err(), "{bad:?}");
        }
    }

    #[test]
    fn nothing_new_is_allowed_only_without_rework() {
        let mut nothing = close_out(&[]);
        nothing.learning = Insight { text: String::new(), evidence: vec![], nothing_new: true };
        nothing.improvement = nothing.learning.clone();
        assert!(check(&nothing, &facts()).iter().all(Result::is_ok));
        let held = check(&nothing, &Facts { rework: true, ..facts() });
        assert!(held[0].is_err() && held[1].is_err() && held[2].is_ok());
    }

    #[test]
    fn the_summary_names_a_changed_file() {
        let mut vague = close_out(&["tests"]);
        vague.context.summary = "Everything was done as it had been asked for.".into();
        assert!(check(&vague, &facts())[2].is_err());
    }

    #[test]
    fn finding_ids_are_read_from_lists_and_headings() {
        let ids = finding_ids("# Findings\n- F1: a\n  * F12 b\n### F3\nFoo\n- F: none\nF99999 too long\n");
        assert_eq!(ids, ["F1", "F12", "F3"].map(String::from).into());
    }

    #[test]
    fn headings_are_found_at_any_level() {
        let wanted = ["Plan".to_owned(), "Risks".to_owned()];
        assert_eq!(missing_headings("## plan:\ntext", &wanted), ["Risks"]);
    }
}
