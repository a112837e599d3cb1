//! Several artifacts in one bundle: one budget of tokens, shared by what each part has to lose.
//!
//! How the budget is shared is decided in `share`.

mod share;

use std::path::PathBuf;

use agentops_safe::Redactor;
use agentops_text::tokens::text_tokens;

use crate::coverage::{Coverage, Omission, Share};
use crate::kind::Kind;
use crate::source_text::{self, SourceText};
use crate::{Compressed, Fact, SourceError, code, conversation, diff, log, page, table, transcript};

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

/// Compresses a source as what it looks like, with an account of what could not be decoded. If it turns out to be something
/// else, it is read as notes.
///
/// # Errors
/// The budget does not suffice for what cannot be left out.
pub fn of_source(kind: Kind, source: &SourceText, budget: u64) -> Result<Compressed, SourceError> {
    match as_kind(kind, source, budget) {
        Err(SourceError::Form { .. }) => as_kind(Kind::Notes, source, budget),
        made => made,
    }
}

/// Compresses a source as the kind that a person named, with an account of what could not be decoded.
///
/// A source that fits stays as it is, unless it is one that people read better in another form, and is smaller in it. So the
/// result is never larger than the source, unless the source does not fit.
///
/// # Errors
/// The source is not of that kind, or the budget does not suffice for what cannot be left out.
pub fn as_kind(kind: Kind, source: &SourceText, budget: u64) -> Result<Compressed, SourceError> {
    let bytes = source.text.as_bytes();
    let made = match kind {
        Kind::Transcript => transcript::compress(bytes, budget),
        Kind::Binary => return Ok(named(bytes, budget)),
        Kind::Log => log::compress(bytes, budget),
        Kind::Diff => diff::compress(bytes, budget),
        Kind::Json | Kind::Table => table::compress(bytes, budget),
        Kind::Folder | Kind::Code | Kind::Notes | Kind::Conversation => conversation::compress(bytes, budget),
    };
    Ok(source.account(whole_if_better(kind, &source.text, made?, budget)))
}

/// The source as it is, where it fits and its compressed form is no better.
fn whole_if_better(kind: Kind, source: &str, made: Compressed, budget: u64) -> Compressed {
    // No text has more tokens than bytes, and `before` may be less than the source where only what was said in it counts.
    let may_fit = source.len() as u64 <= budget || made.before <= budget.saturating_mul(2);
    let tokens = if may_fit { text_tokens(source) } else { u64::MAX };
    let reads_better_compressed = matches!(kind, Kind::Transcript | Kind::Conversation) && made.after < tokens;
    if tokens > budget || reads_better_compressed {
        return made;
    }
    let lines = source.lines().filter(|line| !line.trim().is_empty()).count() as u64;
    Compressed::new(source.to_owned(), made.before, tokens, made.facts).covering(Coverage::of_lines(lines, &[]), Vec::new())
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
    let Some(mut room) = budget.checked_sub(head_tokens) else {
        return Err(SourceError::Budget { budget, needed: head_tokens });
    };
    let sources = parts.iter().map(|part| Ready::read(part, task, room, redactor)).collect::<Result<Vec<_>, _>>()?;
    loop {
        let made = share::share(&sources, room)?;
        let whole = together(parts, &heads, &made);
        // Parts are counted one by one. Together they may count a few tokens more.
        if whole.after <= budget || room == 0 {
            return Ok(Compressed { text: page::fit(whole.text, budget), ..whole });
        }
        room = room.saturating_sub(whole.after - budget);
    }
}

/// Parts that were compressed, behind their headings.
fn together(parts: &[Part], heads: &[String], made: &[Compressed]) -> Compressed {
    let mut whole = Compressed::new(String::new(), 0, 0, Vec::new());
    let mut coverages = Vec::new();
    for ((part, head), made) in parts.iter().zip(heads).zip(made) {
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
    whole.text = format!("{}\n", whole.text.trim_end());
    whole.after = text_tokens(&whole.text);
    whole
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

/// What a part is compressed from, read and redacted once for all its sizes.
enum Ready {
    Folder(code::Sources),
    Text(Kind, SourceText),
}

impl Ready {
    fn read(part: &Part, task: &str, budget_max: u64, redactor: &Redactor) -> Result<Self, SourceError> {
        Ok(match &part.source {
            Source::Folder(root) => Self::Folder(code::Sources::read(root, task, budget_max, redactor)?),
            Source::Bytes(kind, bytes) => Self::Text(*kind, SourceText::read(bytes, redactor)),
        })
    }
}

impl share::Shrink for Ready {
    fn compress(&self, budget: u64) -> Result<Compressed, SourceError> {
        match self {
            Self::Folder(folder) => Ok(folder.bundle(budget)),
            Self::Text(kind, text) => of_source(*kind, text, budget),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_source_that_fits_does_not_become_larger(
            lines in prop::collection::vec("[a-z]{1,8}(,[a-z0-9]{1,5}){0,3}|(ERROR|INFO) [a-z ]{3,20}|[A-Z][a-z]{2,6}: [a-z ,.]{3,40}", 1..30),
            kind in prop::sample::select(vec![Kind::Log, Kind::Table, Kind::Notes, Kind::Conversation, Kind::Code, Kind::Json]),
            spare in 0_u64..400,
        ) {
            let source = SourceText::read((lines.join("\n") + "\n").as_bytes(), &Redactor::new([]));
            let tokens = text_tokens(&source.text);
            let made = of_source(kind, &source, tokens + spare).expect("no error");
            prop_assert!(made.after <= tokens, "{} of {tokens}:\n{}", made.after, made.text);
        }
    }

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
    fn a_larger_budget_never_keeps_less_of_several_parts() {
        let notes: String = (0..30).map(|n| format!("Ann moved {n} boxes to Lisbon on {} May 2021.\n", n + 1)).collect();
        let table: String = (0..60).map(|n| format!("{n},name{n},{}\n", n * 37 % 101)).collect();
        let parts = [
            Part::of_bytes("change", diff(60)),
            Part { name: "notes".to_owned(), source: Source::Bytes(Kind::Notes, notes.into_bytes()) },
            Part::of_bytes("table", format!("id,name,total\n{table}").into_bytes()),
        ];
        let mut before = (0, 0.0);
        for budget in (60..3_000).step_by(35) {
            let made = compress(&parts, "", budget, &Redactor::new([])).expect("a bundle");
            assert!(made.after <= budget);
            let kept: f64 = made.fidelity().classes.iter().map(|score| score.kept as f64 / score.total as f64).sum();
            assert!(kept >= before.1, "{} with {}, {kept} with {budget}", before.1, before.0);
            before = (budget, kept);
        }
    }

    #[test]
    fn parts_that_do_not_fit_are_named_and_accounted_for() {
        let of = |n: usize| String::from_utf8(diff(30)).expect("text").replace("a_long_value", &format!("value_of_{n}"));
        let parts: Vec<Part> = (0..40).map(|n| Part::of_bytes(format!("part{n}"), of(n).into_bytes())).collect();
        let made = compress(&parts, "", 400, &Redactor::new([])).expect("a bundle");
        assert!(made.text.contains("# part39"), "{}", made.text);
        let score = made.fidelity().score();
        assert!(score < Some(0.6), "the paths are in other parts too: {score:?}");
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
