//! What a bundle says of itself: its sources, what they counted before and after, what survived, what it was made from.
//!
//! Nothing in it depends on when or where it was made, so the same sources give the same bytes and the same id.

use agentops_text::tokens::text_tokens;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::kind::Kind;
use crate::{Compressed, Fidelity};

/// The version of the format. A reader refuses a newer one.
pub const FORMAT: u32 = 1;
/// The version of the compressors: it changes when the same sources give other bytes.
pub const COMPRESSORS: u32 = 2;
/// Losses that a manifest lists; the counts are complete, the list may not be.
pub const LOST_MAX: usize = 200;
/// Omissions that a manifest lists; of a source with more ranges, neighbours are joined before.
pub const OMITTED_MAX: usize = 1000;
/// Hexadecimal digits of an id.
const ID_DIGITS: usize = 16;

/// A bundle's name: a hash of what is in it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct BundleId(String);

impl BundleId {
    /// The id as a file name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A word that is no id of a bundle.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no bundle: an id is b- and {ID_DIGITS} of 0-9a-f")]
pub struct InvalidBundleId(String);

impl std::str::FromStr for BundleId {
    type Err = InvalidBundleId;

    fn from_str(text: &str) -> Result<Self, InvalidBundleId> {
        let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        match text.strip_prefix("b-") {
            Some(digits) if digits.len() == ID_DIGITS && digits.bytes().all(is_hex) => Ok(Self(text.to_owned())),
            _ => Err(InvalidBundleId(text.chars().take(60).collect())),
        }
    }
}

impl TryFrom<String> for BundleId {
    type Error = InvalidBundleId;

    fn try_from(text: String) -> Result<Self, InvalidBundleId> {
        text.parse()
    }
}

impl From<BundleId> for String {
    fn from(id: BundleId) -> Self {
        id.0
    }
}

impl std::fmt::Display for BundleId {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.0)
    }
}

/// One source of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SourceRecord {
    /// Its path in the repository, or what it is called.
    pub path: String,
    /// What it was taken for.
    pub kind: Kind,
    /// The commit whose file it is; absent: it was not committed like this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// SHA-256 of its bytes, or of a folder's list of files with theirs, in hexadecimal.
    pub hash: String,
}

/// What a bundle counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokenCounts {
    /// Its sources, in o200k tokens.
    pub before: u64,
    /// Its body, in o200k tokens.
    pub after: u64,
    /// The model it is meant for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// What a token of o200k counts at most in that model's family, in thousandths, from the model table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub factor_permille: Option<u64>,
    /// Its body in that family's tokens at most; absent where no model was named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_for_model: Option<u64>,
}

/// A bundle's manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The version of this format.
    pub format: u32,
    /// The version of the compressors that made it.
    pub compressors: u32,
    /// What it was made for, in plain words; without secrets.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub task: String,
    /// What it was made from.
    pub sources: Vec<SourceRecord>,
    /// What it counts.
    pub tokens: TokenCounts,
    /// What survived, with the first losses and where to find them.
    pub fidelity: Fidelity,
    /// Losses that are not listed.
    #[serde(default)]
    pub lost_unlisted: u64,
    /// Omissions that are not listed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub omitted_unlisted: u64,
    /// Bundles that it was made from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parents: Vec<BundleId>,
    /// SHA-256 of the body, in hexadecimal.
    pub body: String,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Manifest {
    /// The manifest of what a compressor made.
    #[must_use]
    pub fn new(task: &str, sources: Vec<SourceRecord>, made: &Compressed, body: &str) -> Self {
        let mut fidelity = made.fidelity();
        let lost_unlisted = fidelity.lost.len().saturating_sub(LOST_MAX) as u64;
        fidelity.lost.truncate(LOST_MAX);
        let omitted_unlisted = fidelity.omitted.len().saturating_sub(OMITTED_MAX) as u64;
        fidelity.omitted.truncate(OMITTED_MAX);
        Self {
            format: FORMAT,
            compressors: COMPRESSORS,
            task: task.trim().to_owned(),
            sources,
            tokens: TokenCounts {
                before: made.before,
                after: text_tokens(body),
                model: None,
                factor_permille: None,
                after_for_model: None,
            },
            fidelity,
            lost_unlisted,
            omitted_unlisted,
            parents: Vec::new(),
            body: hash(body.as_bytes()),
        }
    }

    /// The same, meant for a model whose family counts so many thousandths of a token of o200k.
    #[must_use]
    pub fn for_model(mut self, model: &str, factor_permille: u64) -> Self {
        self.tokens.model = Some(model.to_owned());
        self.tokens.factor_permille = Some(factor_permille);
        self.tokens.after_for_model = Some(self.tokens.after.saturating_mul(factor_permille).div_ceil(1000));
        self
    }

    /// The manifest as its file has it.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut json = serde_json::to_string_pretty(self).unwrap_or_default();
        json.push('\n');
        json
    }

    /// The id that these contents have.
    #[must_use]
    pub fn id(&self) -> BundleId {
        BundleId(format!("b-{}", &hash(self.to_json().as_bytes())[..ID_DIGITS]))
    }
}

/// SHA-256 in hexadecimal.
#[must_use]
pub fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
