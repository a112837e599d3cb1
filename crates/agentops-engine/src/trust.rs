//! What of a repository would run or steer an agent, and whether the user has agreed to it.
//!
//! Trust is for content: the hash over everything listed is kept outside the repository, and one changed byte asks again.

use std::path::Path;

use agentops_core::id::BlobId;
use agentops_git::temporary::{self, TempFile};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::blobs;
use crate::files::{self, FileError};

/// One thing that trust covers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Item {
    /// What it is, in a person's words: `gate command`, `lane set-up`, `agent program` …
    pub kind: String,
    /// Where it stands.
    pub place: String,
    /// What would run, or the file's hash.
    pub what: String,
    /// Whether it is used, or stays off and is only pinned.
    pub used: bool,
}

/// Everything that trust covers in one repository for one workflow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Subject {
    /// The items, sorted.
    pub items: Vec<Item>,
    /// The hash over them.
    pub hash: BlobId,
}

impl Subject {
    /// Sorts the items and hashes them.
    #[must_use]
    pub fn new(mut items: Vec<Item>) -> Self {
        items.sort();
        items.dedup();
        let mut text = String::from("agentops trust 1\n");
        for item in &items {
            // Lengths first: no text can be moved from one field to the next without changing the hash.
            for field in [&item.kind, &item.place, &item.what] {
                text.push_str(&format!("{} {field}\n", field.len()));
            }
        }
        let hash = blobs::hash(text.as_bytes());
        Self { items, hash }
    }
}

/// Files and folders of a repository that trust pins, and that stay off. A merge asks about these and more ([`crate::steering`]).
pub const PINNED: &[&str] = &[
    ".agentops/config.toml",
    ".agentops/workflows/",
    ".agentops/agents/",
    ".claude/",
    ".mcp.json",
    ".codex/",
    ".gemini/",
    ".opencode/",
    "opencode.json",
    ".husky/",
    ".githooks/",
    ".pre-commit-config.yaml",
    ".worktreeinclude",
    ".gitattributes",
    ".gitmodules",
];

/// The settings of agent programs and hooks that lie in the work tree, each pinned by hash. They stay off.
///
/// # Errors
/// A file cannot be read.
pub fn settings_in(root: &Path) -> Result<Vec<Item>, FileError> {
    let mut items = Vec::new();
    for pinned in PINNED.iter().filter(|pinned| !pinned.starts_with(".agentops")) {
        pin(root, Path::new(pinned.trim_end_matches('/')), 0, &mut items)?;
    }
    Ok(items)
}

const DEPTH_MAX: u32 = 6;

fn pin(root: &Path, path: &Path, depth: u32, items: &mut Vec<Item>) -> Result<(), FileError> {
    let full = root.join(path);
    let Ok(meta) = std::fs::symlink_metadata(&full) else { return Ok(()) };
    let unreadable = |e: std::io::Error| FileError::unreadable(&full, &e);
    if meta.is_dir() && depth < DEPTH_MAX {
        for entry in std::fs::read_dir(&full).map_err(unreadable)? {
            pin(root, &path.join(entry.map_err(unreadable)?.file_name()), depth + 1, items)?;
        }
        return Ok(());
    }
    // A link is pinned by where it points: following it could read anything.
    let content = if meta.is_symlink() {
        std::fs::read_link(&full).map_err(unreadable)?.into_os_string().into_encoded_bytes()
    } else if meta.is_file() {
        std::fs::read(&full).map_err(unreadable)?
    } else {
        Vec::new()
    };
    let what = blobs::hash(&content).to_string();
    items.push(Item { kind: "agent settings and hooks".into(), place: path.display().to_string(), what, used: false });
    Ok(())
}

/// How the name of a trust file begins that is being written.
const PART: &str = ".trust-";

/// The user's trust file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trusted {
    /// What is trusted.
    #[serde(default, rename = "repository")]
    pub repositories: Vec<TrustedRepository>,
}

/// One trusted state of a repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustedRepository {
    /// The repository's id.
    pub id: String,
    /// Where it lay, for people.
    pub path: String,
    /// The hash of what is trusted.
    pub hash: BlobId,
}

impl Trusted {
    /// Reads the trust file; empty when there is none.
    ///
    /// # Errors
    /// It cannot be read, with line and column.
    pub fn read(path: &Path) -> Result<Self, FileError> {
        match std::fs::read_to_string(path) {
            Ok(text) => files::from_toml(path, &text, "`agentops trust revoke` and `agentops trust add` write this file"),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(e) => Err(FileError::unreadable(path, &e)),
        }
    }

    /// Whether this state of the repository is trusted.
    #[must_use]
    pub fn covers(&self, id: &str, hash: &BlobId) -> bool {
        self.repositories.iter().any(|known| known.id == id && known.hash == *hash)
    }

    /// Trusts a state in addition to others: each workflow has its own.
    pub fn add(&mut self, id: &str, path: &Path, hash: &BlobId) {
        if !self.covers(id, hash) {
            self.repositories.push(TrustedRepository {
                id: id.into(),
                path: path.display().to_string(),
                hash: hash.clone(),
            });
        }
    }

    /// Takes all trust in a repository back; says whether there was any.
    pub fn revoke(&mut self, id: &str) -> bool {
        let before = self.repositories.len();
        self.repositories.retain(|known| known.id != id);
        before != self.repositories.len()
    }

    /// Writes the trust file: all of it or nothing, durable when it returns.
    ///
    /// # Errors
    /// The folder or file cannot be written.
    pub fn write(&self, path: &Path) -> std::io::Result<()> {
        use std::io::Write;
        let text = toml::to_string_pretty(self).map_err(std::io::Error::other)?;
        let folder = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder)?;
        // What a killed process left goes with the next change.
        temporary::sweep_names(folder, |name| {
            name == "trust.toml.part" || name.as_encoded_bytes().starts_with(PART.as_bytes())
        });
        let part = TempFile::make(folder, PART)?;
        part.file().write_all(text.as_bytes())?;
        part.file().sync_all()?;
        part.rename(path)?;
        std::fs::File::open(folder)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(kind: &str, what: &str) -> Item {
        Item { kind: kind.into(), place: "p".into(), what: what.into(), used: true }
    }

    #[test]
    fn s2_one_changed_byte_changes_the_hash_and_order_does_not() {
        let a = Subject::new(vec![item("gate command", "cargo test"), item("lane set-up", "npm ci")]);
        let b = Subject::new(vec![item("lane set-up", "npm ci"), item("gate command", "cargo test")]);
        assert_eq!(a, b);
        for changed in ["cargo test ", "cargo tesT", ""] {
            assert_ne!(a.hash, Subject::new(vec![item("gate command", changed), item("lane set-up", "npm ci")]).hash);
        }
    }

    #[test]
    fn s2_every_byte_of_settings_in_the_tree_counts() {
        let root = tempfile::tempdir().unwrap();
        let before = Subject::new(settings_in(root.path()).unwrap());
        std::fs::create_dir(root.path().join(".claude")).unwrap();
        std::fs::write(root.path().join(".claude/settings.json"), "{}").unwrap();
        let with = Subject::new(settings_in(root.path()).unwrap());
        std::fs::write(root.path().join(".claude/settings.json"), "{ }").unwrap();
        let changed = Subject::new(settings_in(root.path()).unwrap());
        assert!(before.hash != with.hash && with.hash != changed.hash);
    }

    #[test]
    fn trust_is_written_and_taken_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/trust.toml");
        let hash = Subject::new(vec![]).hash;
        let mut trusted = Trusted::read(&path).unwrap();
        trusted.add("id", Path::new("/x"), &hash);
        trusted.write(&path).unwrap();
        let mut again = Trusted::read(&path).unwrap();
        assert!(again.covers("id", &hash) && !again.covers("other", &hash));
        assert!(again.revoke("id") && !again.revoke("id"));
    }
}
