//! Profiles: where workflows and agents are found, and which one of a name is taken.
//!
//! The repository's own (`.agentops/workflows`, `.agentops/agents`) before the user's (`<config>/agentops/profiles/<name>`)
//! before the built-in ones. What is the repository's runs only when it is trusted.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use agentops_core::id::Name;

use super::{AgentFile, FileError, parse_agent};

/// The built-in profile.
pub const BUILT_IN: &str = "product-dev";

/// Its workflows: name and text.
pub const BUILT_IN_WORKFLOWS: &[(&str, &str)] = &[
    ("full", include_str!("../../../../profiles/product-dev/workflows/full.toml")),
    ("quick", include_str!("../../../../profiles/product-dev/workflows/quick.toml")),
];

/// Its agents: name and text.
pub const BUILT_IN_AGENTS: &[(&str, &str)] = &[
    ("research", include_str!("../../../../profiles/product-dev/agents/research.md")),
    ("plan", include_str!("../../../../profiles/product-dev/agents/plan.md")),
    ("implement", include_str!("../../../../profiles/product-dev/agents/implement.md")),
    ("review", include_str!("../../../../profiles/product-dev/agents/review.md")),
    ("close-out", include_str!("../../../../profiles/product-dev/agents/close-out.md")),
];

/// Where a file comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// The repository: needs trust.
    Repository,
    /// The user's own profile folder.
    User,
    /// This program.
    BuiltIn,
}

/// A workflow or agent file that was found.
#[derive(Debug, Clone)]
pub struct Found {
    /// Where it lies; for a built-in one, what it would be called.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
    /// Where it comes from.
    pub origin: Origin,
}

/// The places that are looked in.
#[derive(Debug, Clone)]
pub struct Places {
    /// The repository's root.
    pub root: PathBuf,
    /// The user's profile folder, `<config>/agentops/profiles/<profile>`.
    pub user: PathBuf,
}

impl Places {
    /// Every workflow by name; of two with one name the nearer one.
    ///
    /// # Errors
    /// A folder or file cannot be read.
    pub fn workflows(&self) -> Result<BTreeMap<String, Found>, FileError> {
        self.all("workflows", "toml", BUILT_IN_WORKFLOWS)
    }

    /// Every agent by name; of two with one name the nearer one.
    ///
    /// # Errors
    /// A folder or file cannot be read.
    pub fn agents(&self) -> Result<BTreeMap<String, Found>, FileError> {
        self.all("agents", "md", BUILT_IN_AGENTS)
    }

    /// One agent, read.
    ///
    /// # Errors
    /// There is none of that name, or its file is wrong.
    pub fn agent(&self, name: &Name) -> Result<(AgentFile, Found), FileError> {
        let mut all = self.agents()?;
        match all.remove(name.as_str()) {
            Some(found) => Ok((parse_agent(&found.path, &found.text)?, found)),
            None => {
                let known = all.keys().cloned().collect::<Vec<_>>().join(", ");
                let problem = format!("there is no agent `{name}`; there are: {known}");
                let hint = format!("write it to .agentops/agents/{name}.md, or name one of these");
                Err(FileError { place: "agent".into(), problem, hint })
            }
        }
    }

    fn all(&self, kind: &str, ending: &str, built_in: &[(&str, &str)]) -> Result<BTreeMap<String, Found>, FileError> {
        let mut all = BTreeMap::new();
        for (name, text) in built_in {
            let path = PathBuf::from(format!("{BUILT_IN}/{kind}/{name}.{ending}"));
            all.insert((*name).to_owned(), Found { path, text: (*text).to_owned(), origin: Origin::BuiltIn });
        }
        let repository = self.root.join(".agentops").join(kind);
        for (folder, origin) in [(self.user.join(kind), Origin::User), (repository, Origin::Repository)] {
            for (name, path) in files(&folder, ending)? {
                let text = std::fs::read_to_string(&path).map_err(|e| FileError::unreadable(&path, &e))?;
                all.insert(name, Found { path, text, origin });
            }
        }
        Ok(all)
    }
}

/// Plain files of a folder with this ending, by name. Links are not followed: a repository must not make us read elsewhere.
fn files(folder: &Path, ending: &str) -> Result<Vec<(String, PathBuf)>, FileError> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(FileError::unreadable(folder, &e)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|e| FileError::unreadable(folder, &e))?;
        let path = entry.path();
        let plain = entry.file_type().is_ok_and(|kind| kind.is_file());
        if let (true, Some(stem), true) =
            (plain, path.file_stem().and_then(|s| s.to_str()), path.extension().is_some_and(|e| e == ending))
        {
            found.push((stem.to_owned(), path.clone()));
        }
    }
    found.sort();
    Ok(found)
}
