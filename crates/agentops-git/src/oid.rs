//! Names of git objects.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// How a repository names its objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hash {
    /// 40 hex digits.
    Sha1,
    /// 64 hex digits.
    Sha256,
}

impl Hash {
    /// The tree without entries. Git knows it without storing it.
    #[must_use]
    pub fn empty_tree(self) -> Oid {
        Oid(match self {
            Self::Sha1 => "4b825dc642cb6eb9a060e54bf8d69288fbee4904",
            Self::Sha256 => "6ef19b41225c5369f1c104d45d8d85efa9b057b53b14b4b9b939dd74decc5321",
        }
        .into())
    }

    /// The name that stands for "no object" in git's own protocols.
    pub(crate) fn zero(self) -> String {
        "0".repeat(match self {
            Self::Sha1 => 40,
            Self::Sha256 => 64,
        })
    }
}

/// The name of an object: 40 or 64 lowercase hex digits, never abbreviated.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Oid(Box<str>);

impl Oid {
    /// The hex digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Reads what git printed: digits and perhaps a line end.
    pub(crate) fn parse(bytes: &[u8], what: &str) -> Result<Self, Error> {
        std::str::from_utf8(bytes.trim_ascii())
            .ok()
            .and_then(|s| s.parse().ok())
            .ok_or_else(|| Error::Unexpected { what: what.to_owned() })
    }
}

impl FromStr for Oid {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self, Error> {
        let hex = s.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if hex && matches!(s.len(), 40 | 64) {
            return Ok(Self(s.into()));
        }
        Err(Error::BadName { kind: "object name", value: s.chars().take(80).collect() })
    }
}

impl TryFrom<String> for Oid {
    type Error = Error;

    fn try_from(s: String) -> Result<Self, Error> {
        s.parse()
    }
}

impl From<Oid> for String {
    fn from(oid: Oid) -> Self {
        oid.0.into()
    }
}

impl fmt::Display for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Oid({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_full_lowercase_names_pass() {
        for bad in ["", "abc", "--help", &"A".repeat(40), &"a".repeat(41), &"g".repeat(40), " HEAD"] {
            assert!(bad.parse::<Oid>().is_err(), "{bad}");
        }
        for n in [40, 64] {
            let oid: Oid = "a".repeat(n).parse().unwrap();
            let json = serde_json::to_string(&oid).unwrap();
            assert_eq!(json, format!("\"{oid}\""));
            assert_eq!(serde_json::from_str::<Oid>(&json).unwrap(), oid);
        }
        assert!(serde_json::from_str::<Oid>("\"HEAD\"").is_err());
    }
}
