//! Several artifacts in one bundle: one budget of tokens, shared by what each part has to lose.
//!
//! Each part is compressed at a few sizes. The tokens then go, step by step, to the part whose next step keeps the most facts
//! for each token, so a part that is whole takes nothing from one that is not.

use std::path::PathBuf;

use agentops_safe::Redactor;
use agentops_text::tokens::text_tokens;

use crate::coverage::{Coverage, Omission, Share};
use crate::kind::Kind;
use crate::source_text::{self, SourceText};
use crate::{Compressed, Fact, SourceError, code, conversation, diff, log, page, table, transcript};

/// The sizes at which a part is tried: shares of the whole budget, in percent.
const STEPS: [u64; 6] = [3, 8, 15, 30, 55, 100];

/// One part of a bundle.
#[derive(Debug, Clone)]
pub struct Part {
    /// Its heading, and what stands before the places of its facts.
    pub name: String,
    /// What it is.
    pub source: Source,
}

/// What a part is made of.
#[derive(Debug, Clone)]
pub enum Source {
    /// A folder of code.
    Folder(PathBuf),
    /// Bytes of a kind. They are redacted before anything else is done with them.
    Bytes(Kind, Vec<u8>),
}

impl Part {
    /// A part of the kind that its content shows.
    #[must_use]
    pub fn of_bytes(name: impl Into<String>, bytes: Vec<u8>) -> Self {
        Self { name: name.into(), source: Source::Bytes(Kind::of(&bytes), bytes) }
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match &self.source {
            Source::Folder(_) => Kind::Folder,
            Source::Bytes(kind, _) => *kind,
        }
    }

    /// Compresses it to a budget.
    ///
    /// # Errors
    /// The source cannot be read.
    pub fn compress(&self, task: &str, budget: u64, redactor: &Redactor) -> Result<Compressed, SourceError> {
        match &self.source {
            Source::Folder(root) => code::compress(root, task, budget, redactor),
            Source::Bytes(kind, bytes) => of_source(*kind, &SourceText::read(bytes, redactor), budget),
        }
    }
}

/// Compresses a source as what it is, with an account of what could not be decoded.
///
/// # Errors
/// As [`of_kind`].
pub fn of_source(kind: Kind, source: &SourceText, budget: u64) -> Result<Compressed, SourceError> {
    Ok(source.account(of_kind(kind, source.text.as_bytes(), budget)?))
}

/// Compresses redacted bytes as what they are. What turns out not to be what it looked like is taken as notes; what is for people
/// to read and fits stays as it is.
///
/// # Errors
/// The budget does not suffice for what cannot be left out.
pub fn of_kind(kind: Kind, bytes: &[u8], budget: u64) -> Result<Compressed, SourceError> {
    let made = match kind {
        Kind::Transcript => return or_notes(transcript::compress(bytes, budget), bytes, budget),
        Kind::Binary => return Ok(named(bytes, budget)),
        Kind::Log => log::compress(bytes, budget),
        Kind::Diff => diff::compress(bytes, budget),
        Kind::Json | Kind::Table => table::compress(bytes, budget),
        Kind::Folder | Kind::Code | Kind::Notes | Kind::Conversation => conversation::compress(bytes, budget),
    };
    let mut made = or_notes(made, bytes, budget)?;
    // What was read of it may count less than it does as it stands, but not by much.
    if made.before <= budget.saturating_mul(2) && kind != Kind::Conversation {
        let whole = String::from_utf8_lossy(bytes);
        let tokens = text_tokens(&whole);
        if tokens <= budget {
            made = Compressed::new(whole.into_owned(), made.before, tokens, made.facts);
            let lines = made.text.lines().filter(|line| !line.trim().is_empty()).count() as u64;
            made = made.covering(Coverage::of_lines(lines, &[]), Vec::new());
        }
    }
    Ok(made)
}

fn or_notes(made: Result<Compressed, SourceError>, bytes: &[u8], budget: u64) -> Result<Compressed, SourceError> {
    match made {
        Err(SourceError::Form { .. }) => conversation::compress(bytes, budget),
        made => made,
    }
}

/// A source that is no text.
fn named(bytes: &[u8], budget: u64) -> Compressed {
    let text = page::fit(format!("(no text, {} bytes)\n", bytes.len()), budget);
    let after = text_tokens(&text);
    source_text::not_text(text, after)
}

/// Compresses parts into one text within a budget. Parts keep their order; each has its name as a heading.
///
/// # Errors
/// A source cannot be read, or the headings alone do not fit.
pub fn compress(parts: &[Part], task: &str, budget: u64, redactor: &Redactor) -> Result<Compressed, SourceError> {
    let heads: Vec<String> = parts.iter().map(|part| format!("# {}\n\n", crate::fidelity::flat(&part.name))).collect();
    // A blank line parts what follows from what was before.
    let head_tokens: u64 = heads.iter().map(|head| text_tokens(head) + 2).sum();
    let Some(room) = budget.checked_sub(head_tokens) else {
        return Err(SourceError::Budget { budget, needed: head_tokens });
    };
    let mut tried = Vec::new();
    // One that shares with nobody needs no other size than the largest.
    let steps = if parts.len() == 1 { &STEPS[STEPS.len() - 1..] } else { &STEPS };
    for part in parts {
        tried.push(sizes(part, steps, task, room, redactor)?);
    }
    let chosen = share(&tried, room);
    let mut whole = Compressed::new(String::new(), 0, 0, Vec::new());
    let mut coverages = Vec::new();
    for ((part, head), (sizes, size)) in parts.iter().zip(&heads).zip(tried.iter().zip(chosen)) {
        let made = &sizes[size].made;
        whole.text.push_str(head);
        whole.text.push_str(made.text.trim_end());
        whole.text.push_str("\n\n");
        whole.before += made.before;
        let placed = |fact: &Fact| Fact { place: format!("{}: {}", part.name, fact.place), ..fact.clone() };
        whole.facts.extend(made.facts.iter().map(placed));
        let placed =
            |omission: &Omission| Omission { place: format!("{}: {}", part.name, omission.place), ..omission.clone() };
        whole.omitted.extend(made.omitted.iter().map(placed));
        coverages.push((made.coverage, made.before.max(1)));
    }
    whole.coverage = joined(&coverages);
    whole.text = page::fit(format!("{}\n", whole.text.trim_end()), budget);
    whole.after = text_tokens(&whole.text);
    Ok(whole)
}

/// The coverage of several sources, each with its tokens. What was read counts by tokens, what is shown by lines. Unknown if it is
/// unknown for one of them.
fn joined(coverages: &[(Option<Coverage>, u64)]) -> Option<Coverage> {
    let mut all = Coverage::default();
    for (coverage, tokens) in coverages {
        let coverage = (*coverage)?;
        let read = (*tokens as f64 * coverage.read.ratio()).floor() as u64;
        all.read = Share::new(all.read.part + read, all.read.whole + tokens);
        let shown = coverage.shown;
        all.shown = Share::new(all.shown.part + shown.part, all.shown.whole + shown.whole);
    }
    Some(all)
}

/// A part at one size.
struct Size {
    made: Compressed,
    kept: u64,
}

/// What a part is compressed from, read or redacted once for all its sizes.
enum Ready {
    Folder(code::Sources),
    Text(Kind, SourceText),
}

/// A part at every size that differs, the smallest first.
fn sizes(part: &Part, steps: &[u64], task: &str, room: u64, redactor: &Redactor) -> Result<Vec<Size>, SourceError> {
    let mut sizes: Vec<Size> = Vec::new();
    let ready = match &part.source {
        Source::Folder(root) => Ready::Folder(code::Sources::read(root, task, room, redactor)?),
        Source::Bytes(kind, bytes) => Ready::Text(*kind, SourceText::read(bytes, redactor)),
    };
    for percent in steps {
        let budget = room * percent / 100;
        let made = match &ready {
            Ready::Folder(folder) => Ok(folder.bundle(budget)),
            Ready::Text(kind, text) => of_source(*kind, text, budget),
        };
        let made = match made {
            // Too small a step for what must be there; a larger one may do.
            Err(SourceError::Budget { .. }) if *percent < 100 => continue,
            made => made?,
        };
        let kept = made.fidelity().classes.iter().map(|score| score.kept).sum();
        let is_whole = made.after >= made.before;
        if sizes.last().is_none_or(|last| last.made.text != made.text) {
            sizes.push(Size { made, kept });
        }
        if is_whole {
            break;
        }
    }
    Ok(sizes)
}

/// For each part which of its sizes it gets: greedily the step that keeps most facts a token, then those that only add text.
fn share(parts: &[Vec<Size>], room: u64) -> Vec<usize> {
    let mut chosen = vec![0; parts.len()];
    let mut left = room.saturating_sub(parts.iter().filter_map(|sizes| sizes.first()).map(|size| size.made.after).sum());
    loop {
        let mut best: Option<(f64, usize, usize, u64)> = None;
        for (part, sizes) in parts.iter().enumerate() {
            let now = &sizes[chosen[part]];
            for (size, next) in sizes.iter().enumerate().skip(chosen[part] + 1) {
                let cost = next.made.after.saturating_sub(now.made.after);
                if cost > left {
                    break;
                }
                let gain = next.kept.saturating_sub(now.kept) as f64 + 0.001;
                let rate = gain / (cost.max(1)) as f64;
                if best.is_none_or(|(best, ..)| rate > best) {
                    best = Some((rate, part, size, cost));
                }
            }
        }
        let Some((_, part, size, cost)) = best else { return chosen };
        chosen[part] = size;
        left -= cost;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diff(lines: usize) -> Vec<u8> {
        let body: String = (0..lines).map(|line| format!("+let a_long_value_{line} = {line};\n")).collect();
        format!("diff --git a/x.rs b/x.rs\n--- a/x.rs\n+++ b/x.rs\n@@ -0,0 +1,{lines} @@\n{body}").into_bytes()
    }

    #[test]
    fn a_part_that_is_whole_leaves_the_rest_to_the_others() {
        let parts =
            [Part::of_bytes("small", b"We keep it, because it is fast.\n".to_vec()), Part::of_bytes("large", diff(40))];
        let redactor = Redactor::new([]);
        let made = compress(&parts, "", 4000, &redactor).expect("a bundle");
        assert!(made.text.contains("because it is fast") && made.text.contains("a_long_value_39"), "{}", made.text);
        let made = compress(&parts, "", 300, &redactor).expect("a bundle");
        assert!(made.after <= 300 && made.text.contains("because it is fast"), "{}", made.text);
        assert!(!made.fidelity().lost.is_empty());
        assert!(made.fidelity().lost.iter().all(|fact| fact.place.starts_with("large: ")), "{:?}", made.fidelity().lost);
    }

    #[test]
    fn a_secret_in_a_source_does_not_come_out() {
        let redactor = Redactor::new([("KEY".to_owned(), "very-secret-value-9".to_owned())]);
        let parts = [Part::of_bytes("notes", b"The key is very-secret-value-9.\n".to_vec())];
        let made = compress(&parts, "", 500, &redactor).expect("a bundle");
        assert!(made.text.contains("[redacted:KEY]") && !made.text.contains("very-secret"), "{}", made.text);
    }

    #[test]
    fn headings_that_do_not_fit_are_refused() {
        let parts = [Part::of_bytes("a name", b"text".to_vec())];
        assert!(matches!(compress(&parts, "", 2, &Redactor::new([])), Err(SourceError::Budget { .. })));
    }
}
