//! A span that has ended, with ids that follow from what it is.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use agentops_core::id::SessionId;
use agentops_core::run::Created;
use sha2::{Digest, Sha256};

/// A trace: one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceId(pub [u8; 16]);

/// A span within its trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpanId(pub [u8; 8]);

impl TraceId {
    /// The trace of a run. A run id is short and unique in one ledger only, so when the run began and what from go in too.
    #[must_use]
    pub fn of_run(created: &Created, created_at_ms: u64) -> Self {
        let parts = [created.run.as_str(), &created_at_ms.to_string(), created.base.as_str(), created.task.as_str()];
        let mut hash = Hash(Sha256::new());
        hash.0.update(parts.join("\n"));
        Self(hash.first())
    }

    /// The span of a place in this trace. The same place always has the same id: a supervisor that takes a run over goes on
    /// in the same trace, and what it sends again is the same span.
    #[must_use]
    pub fn span(&self, place: &Place) -> SpanId {
        let mut hash = Hash(Sha256::new());
        let trace = self.0;
        // A hash takes any text.
        let _written = match place {
            Place::Run => write!(hash, "{}\nrun", Hex(&trace)),
            Place::Phase(phase) => write!(hash, "{}\nphase\n{phase}", Hex(&trace)),
            Place::Session(session) => write!(hash, "{}\nsession\n{session}", Hex(&trace)),
            Place::Call(session, number) => write!(hash, "{}\ncall\n{session}\n{number}", Hex(&trace)),
        };
        SpanId(hash.first())
    }
}

/// Where in a run a span is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// The run itself.
    Run,
    /// A phase.
    Phase(String),
    /// A session.
    Session(SessionId),
    /// A call of a session, from 1.
    Call(Arc<SessionId>, u64),
}

/// A hash of what is written to it.
struct Hash(Sha256);

impl Hash {
    /// Its first bytes. All zeros would mean "no id", and does not happen: it would be the first such hash known.
    fn first<const N: usize>(self) -> [u8; N] {
        let digest: [u8; 32] = self.0.finalize().into();
        std::array::from_fn(|index| digest[index])
    }
}

impl fmt::Write for Hash {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.update(text);
        Ok(())
    }
}

/// Bytes as hexadecimal digits.
struct Hex<'a>(&'a [u8; 16]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digit = |four: u8| b"0123456789abcdef"[usize::from(four)];
        let digits: [u8; 32] =
            std::array::from_fn(|at| digit(if at % 2 == 0 { self.0[at / 2] >> 4 } else { self.0[at / 2] & 15 }));
        f.write_str(std::str::from_utf8(&digits).unwrap_or_default())
    }
}

/// A span that has ended. Nothing else is ever sent, so no half of a span is.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// Its trace.
    pub trace: TraceId,
    /// Its id.
    pub id: SpanId,
    /// The span that it is within; `None`: it is the run.
    pub parent: Option<SpanId>,
    /// Where it is.
    pub place: Place,
    /// Its name, as the conventions put it.
    pub name: String,
    /// When it began, in Unix milliseconds.
    pub start_ms: u64,
    /// When it ended, in Unix milliseconds; never before it began.
    pub end_ms: u64,
    /// What is known of it; every name is one of [`crate::names`].
    pub attributes: Vec<(&'static str, Value)>,
    /// It ended in an error, which `error.type` names.
    pub failed: bool,
}

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A text.
    Text(Text),
    /// Texts.
    Texts(Vec<Text>),
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f64),
    /// Yes or no.
    Bool(bool),
}

/// A text. Most come with every call of a session, so they are shared and not copied.
#[derive(Debug, Clone)]
pub enum Text {
    /// A word of ours.
    Word(&'static str),
    /// Any other.
    Shared(Arc<str>),
}

impl Text {
    /// As it is.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Text::Word(word) => word,
            Text::Shared(text) => text,
        }
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        matches!((self, other), (Text::Shared(a), Text::Shared(b)) if Arc::ptr_eq(a, b)) || self.as_str() == other.as_str()
    }
}

impl Eq for Text {}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Text::Shared(text.into())
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Text::Shared(text.into())
    }
}

impl Span {
    /// An attribute's value.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.attributes.iter().find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    /// How long it took, in seconds.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        crate::seconds(self.end_ms.saturating_sub(self.start_ms))
    }
}

impl Value {
    /// As a number.
    #[must_use]
    pub fn number(&self) -> Option<f64> {
        match self {
            Value::Int(number) => Some(crate::float(number.unsigned_abs())),
            Value::Float(number) => Some(*number),
            _ => None,
        }
    }
}

impl From<u64> for Value {
    /// OTLP has signed numbers only: what is beyond them is shown as the largest.
    fn from(number: u64) -> Self {
        Value::Int(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Value::Float(number)
    }
}

impl From<bool> for Value {
    fn from(yes: bool) -> Self {
        Value::Bool(yes)
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Value::Text(text.into())
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::Text(text.into())
    }
}

impl From<Text> for Value {
    fn from(text: Text) -> Self {
        Value::Text(text)
    }
}

impl From<&Text> for Value {
    fn from(text: &Text) -> Self {
        Value::Text(text.clone())
    }
}
