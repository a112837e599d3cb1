//! Shapes of secrets that nobody told us: keys of the common providers, tokens in headers, passwords in assignments.
//!
//! A rule is found by a keyword (one search looks for all of them) and judged by an expression that is anchored at the
//! keyword and sees a bounded window. Where it fits, the rest of the run of characters is taken along, however long.
//! Each rule judges each keyword by itself, so the outcome does not depend on what other rules did: that is what makes
//! redaction idempotent and the stream equal to the whole.
//!
//! The tables: [`providers`] have keys that are told by their own first characters, [`assigned`] are keys that look like
//! any random text and are told by the name they are assigned to, [`general`] is everything that has no provider,
//! [`commands`] are secrets on command lines, [`documents`] those in other files of settings. [`encoded`] finds the keys of
//! the first table in base64.

/// A value in quotes: what it may not have beside white space, quotes and backslashes, how often that stands (`4,256`),
/// and how often after the first. An unescaped `"` may also end a JSON string, and the rest of the document is no value:
/// after such a quote nothing counts that begins as this rest would.
macro_rules! in_quotes {
    ($not:literal, $times:literal, $after_first:literal) => {
        concat!(
            r#"(?:(?:\\*'|\\(?:\\\\)*")([^\s"'`\\"#,
            $not,
            "]{",
            $times,
            r#"})|(?:\\\\)*"([^\s"'`\\,:\]}"#,
            $not,
            r#"][^\s"'`\\"#,
            $not,
            "]{",
            $after_first,
            "}))"
        )
    };
}

mod assigned;
mod checks;
mod commands;
mod documents;
pub(super) mod encoded;
mod general;
mod providers;

use std::sync::LazyLock;

use regex::bytes::{Regex, RegexBuilder};

/// What may stand directly before a match.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Edge {
    /// Anything.
    Any,
    /// No letter or digit, unless it ends an escape such as `\n`, `%3D` or a colour code.
    Alnum,
    /// As `Alnum`, and no `_` or `-` that goes on a word; the `-` of a removed line in a diff may stand there.
    Word,
    /// Six digits or more.
    Digits,
    /// The beginning of a command line's option: `--`, `-`, `--github-`.
    Option,
}

/// The characters that go on a secret after its expression ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Tail {
    Word,
    Dotted,
    Header,
    Cookie,
    Plain,
    Quoted,
}

impl Tail {
    pub(super) const COUNT: usize = 6;

    /// Whether the byte belongs to the run. No tail has a quote or a backslash, so that no JSON string is cut open.
    pub(super) fn takes(self, byte: u8) -> bool {
        let more: &[u8] = match self {
            Tail::Word => b"_-",
            Tail::Dotted => b"_-.",
            Tail::Header => b"_-.~+/=%",
            Tail::Plain => b"_+/=.~!@#$%^*?-",
            Tail::Cookie => return !matches!(byte, b'"' | b'\'' | b'\\') && byte >= b' ' && byte != 0x7f,
            Tail::Quoted => return !matches!(byte, b'"' | b'\'' | b'`' | b'\\') && byte > b' ' && byte != 0x7f,
        };
        byte.is_ascii_alphanumeric() || more.contains(&byte)
    }
}

/// A candidate, as its rule's check sees it. Everything lies inside the rule's window.
pub(super) struct Found<'a> {
    /// From the keyword to the secret.
    pub head: &'a [u8],
    /// The secret.
    pub value: &'a [u8],
    /// The byte after it, if any.
    pub next: Option<u8>,
    /// What follows it.
    pub after: &'a [u8],
    /// Whether a marker ends what follows, so that it is not known how it went on.
    pub is_cut: bool,
}

#[derive(Clone, Copy)]
pub(super) struct Rule {
    /// Safe inside JSON, and never changed: it is written into ledgers. Several rules may share one.
    pub name: &'static str,
    /// In lower case; compared without case. At least three bytes each.
    pub keywords: &'static [&'static str],
    /// More of them: beginnings that are too many to write down.
    pub more_keywords: fn() -> Vec<String>,
    pub shape: Shape,
    pub edge: Edge,
    pub tail: Option<Tail>,
    /// How far the expression sees from the keyword, in bytes.
    pub window: usize,
    /// Takes the candidate or leaves it.
    pub check: fn(&Found<'_>) -> bool,
    /// What stands in every match: without it in the window the expression is not asked. Empty if there is no such text.
    pub needs: &'static str,
    /// Whether a longer value may fail a check that its beginning passes. Such a value counts only if its end is seen.
    pub strict: bool,
}

#[derive(Clone, Copy)]
pub(super) enum Shape {
    /// An expression of the whole, beginning with the keyword. Its first group that matched is the secret, else all of it.
    Whole(&'static str),
    /// An expression of the value that is assigned to a name which begins with the keyword and tells of a secret.
    Assigned(&'static str),
}

/// The largest window of any rule, in bytes: a private key with its lines.
pub(super) const WINDOW_MAX: usize = 16 * 1024;

/// All rules. A marker of a rule is known by its place here.
pub(super) fn all() -> &'static [&'static Rule] {
    static ALL: LazyLock<Vec<&'static Rule>> = LazyLock::new(|| {
        [providers::RULES, assigned::RULES, general::RULES, commands::RULES, documents::RULES]
            .into_iter()
            .flatten()
            .collect()
    });
    &ALL
}

/// A rule for keys that are told by their beginning.
const fn key(name: &'static str, keywords: &'static [&'static str], shape: &'static str) -> Rule {
    Rule {
        name,
        keywords,
        more_keywords: Vec::new,
        shape: Shape::Whole(shape),
        edge: Edge::Alnum,
        tail: Some(Tail::Word),
        window: 256,
        check: checks::any,
        needs: "",
        strict: false,
    }
}

impl Rule {
    /// May stand within a word: the keyword is long enough to be no part of any.
    const fn anywhere(self) -> Self {
        Self { edge: Edge::Any, ..self }
    }

    /// Goes on over points.
    const fn dotted(self) -> Self {
        Self { tail: Some(Tail::Dotted), ..self }
    }

    /// Goes on over what base64 and percent-encoding are made of.
    const fn base64(self) -> Self {
        Self { tail: Some(Tail::Header), ..self }
    }

    /// Is exactly as long as its expression says.
    const fn exact(self) -> Self {
        Self { tail: None, check: checks::ends, strict: true, ..self }
    }

    /// Ends where its expression ends.
    const fn untailed(self) -> Self {
        Self { tail: None, ..self }
    }

    const fn checked(self, check: fn(&Found<'_>) -> bool) -> Self {
        Self { check, ..self }
    }

    pub(super) fn all_keywords(&self) -> impl Iterator<Item = String> {
        self.keywords.iter().map(|keyword| (*keyword).to_owned()).chain((self.more_keywords)())
    }

    /// Compiles the expression for bytes: with Unicode it would compile some seventy times slower and mean other things.
    pub(super) fn compiled(&self) -> Regex {
        RegexBuilder::new(&format!(r"\A(?:{})", self.expression()))
            .unicode(false)
            .build()
            .unwrap_or_else(|error| panic!("rule {} does not compile: {error}", self.name))
    }

    /// The expression of what the rule sees, from the keyword on.
    pub(super) fn expression(&self) -> String {
        match self.shape {
            Shape::Whole(shape) => shape.to_owned(),
            Shape::Assigned(value) => assigned::expression(self.keywords, value),
        }
    }

    /// The run that goes on after the expression: for an unquoted assignment it is narrower than for a quoted one.
    pub(super) fn tail_after(&self, head: &[u8]) -> Option<Tail> {
        match self.tail {
            Some(Tail::Quoted) if !head.ends_with(b"\"") && !head.ends_with(b"'") && !head.ends_with(b"`") => {
                Some(Tail::Plain)
            }
            tail => tail,
        }
    }
}
