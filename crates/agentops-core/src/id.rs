//! Ids that say what they are when printed. Each has one door: the constructor that checks it.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Why a text is not an id or a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} `{given}` is not valid: {rule}")]
pub struct InvalidId {
    /// What was expected, e.g. `run id`.
    pub what: &'static str,
    /// What was given, cut to 80 characters.
    pub given: String,
    /// The rule in words.
    pub rule: &'static str,
}

impl InvalidId {
    fn new(what: &'static str, given: &str, rule: &'static str) -> Self {
        Self { what, given: given.chars().take(80).collect(), rule }
    }
}

/// Crockford's base 32 without `i l o u`: a run id is read aloud and typed by people.
const ID_ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// A run, printed as `r-` and 6 characters of Crockford base 32 (30 bits; a clash is refused by the ledger).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct RunId(String);

impl RunId {
    /// Makes an id from random bits; only the low 30 are used.
    #[must_use]
    pub fn from_bits(bits: u64) -> Self {
        let mut text = String::from("r-");
        for place in 0..6 {
            let index = usize::try_from((bits >> (5 * place)) & 31).unwrap_or(0);
            text.push(char::from(ID_ALPHABET[index]));
        }
        Self(text)
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The branch that holds the result of this run, without `refs/heads/`.
    #[must_use]
    pub fn branch(&self) -> String {
        format!("agentops/{}", self.0)
    }
}

impl FromStr for RunId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let ok =
            text.strip_prefix("r-").is_some_and(|rest| rest.len() == 6 && rest.bytes().all(|b| ID_ALPHABET.contains(&b)));
        if ok {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidId::new("run id", text, "`r-` and six letters or digits, as `agentops status` prints it"))
        }
    }
}

impl TryFrom<String> for RunId {
    type Error = InvalidId;
    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<RunId> for String {
    fn from(id: RunId) -> Self {
        id.0
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a phase, lane, agent, workflow, gate or profile: 1 to 64 of `a-z 0-9 -`, starting with a letter. It is used
/// in paths and refs, so nothing else is let in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

impl Name {
    /// The longest name, in bytes.
    pub(crate) const LENGTH_MAX: usize = 64;

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let first = text.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
        let rest = text.len() <= Self::LENGTH_MAX
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if first && rest {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidId::new("name", text, "1 to 64 of a-z, 0-9 and -, starting with a letter"))
        }
    }
}

impl TryFrom<String> for Name {
    type Error = InvalidId;
    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A git commit by its full hexadecimal object id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct Commit(String);

impl Commit {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Commit {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let ok = matches!(text.len(), 40 | 64) && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if ok { Ok(Self(text.to_owned())) } else { Err(InvalidId::new("commit id", text, "40 or 64 of 0-9 a-f")) }
    }
}

impl TryFrom<String> for Commit {
    type Error = InvalidId;
    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<Commit> for String {
    fn from(id: Commit) -> Self {
        id.0
    }
}

impl fmt::Display for Commit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A blob of the run's blob store by its SHA-256. Events carry blobs, never text: what the text says is data of this host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct BlobId(String);

impl BlobId {
    /// The id as text: 64 hexadecimal digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for BlobId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let ok = text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if ok { Ok(Self(text.to_owned())) } else { Err(InvalidId::new("blob id", text, "64 of 0-9 a-f")) }
    }
}

impl TryFrom<String> for BlobId {
    type Error = InvalidId;
    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<BlobId> for String {
    fn from(id: BlobId) -> Self {
        id.0
    }
}

impl fmt::Display for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A lane: the phase and the lane's name in it. Printed as `implement/flag`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct LaneId {
    /// The phase.
    pub phase: Name,
    /// The lane within it; a review gate's lane is named after the gate and its attempt.
    pub lane: Name,
}

impl fmt::Display for LaneId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.phase, self.lane)
    }
}

impl FromStr for LaneId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let rule = "`phase/lane`, two names";
        let (phase, lane) = text.split_once('/').ok_or_else(|| InvalidId::new("lane id", text, rule))?;
        Ok(Self { phase: phase.parse()?, lane: lane.parse()? })
    }
}

impl TryFrom<String> for LaneId {
    type Error = InvalidId;
    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<LaneId> for String {
    fn from(id: LaneId) -> Self {
        id.to_string()
    }
}

/// A session: its lane and its place in the lane's chain, from 1. Printed as `implement/flag/2`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct SessionId {
    /// The lane.
    pub lane: LaneId,
    /// The place in the chain, from 1.
    pub ordinal: u32,
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.lane, self.ordinal)
    }
}

impl FromStr for SessionId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let rule = "`phase/lane/number`";
        let (lane, ordinal) = text.rsplit_once('/').ok_or_else(|| InvalidId::new("session id", text, rule))?;
        let ordinal = ordinal.parse().map_err(|_| InvalidId::new("session id", text, rule))?;
        Ok(Self { lane: lane.parse()?, ordinal })
    }
}

impl TryFrom<String> for SessionId {
    type Error = InvalidId;
    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<SessionId> for String {
    fn from(id: SessionId) -> Self {
        id.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_ids_round_trip_and_reject_what_could_be_a_path_or_an_option() {
        for bits in [0, 1, 0x3fff_ffff, u64::MAX] {
            let id = RunId::from_bits(bits);
            assert_eq!(id.as_str().parse::<RunId>(), Ok(id));
        }
        for bad in ["", "r-", "r-abc", "r-abcdefg", "r-ABCDEF", "r-../..", "--all", "r-abcde\n"] {
            assert!(bad.parse::<RunId>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn names_reject_what_could_be_a_path_or_an_option() {
        for good in ["a", "code-2", "research"] {
            assert!(good.parse::<Name>().is_ok(), "{good:?}");
        }
        for bad in ["", "-a", "2a", "A", "a b", "a/b", "..", "a\u{3000}b", &"a".repeat(65)] {
            assert!(bad.parse::<Name>().is_err(), "{bad:?}");
        }
    }
}
