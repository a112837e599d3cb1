//! Profiles: where workflows and agents are found, and which one of a name is taken.
//!
//! The repository's own (`.agentops/workflows`, `.agentops/agents`) before the user's (`<config>/agentops/profiles/<name>`)
//! before the built-in ones. What is the repository's runs only when it is trusted. Agents of catalogues that the user added come
//! last: by their label, or by their name if only one has it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use agentops_core::id::Name;
use agentops_route::catalogue::{Entry, Markdown, Note};

use super::{AgentFile, FileError, parse_agent};
use crate::catalogues::{self, Catalogue, CatalogueError, Pinned, run_name};
use crate::paths::Home;

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
    /// A catalogue that the user added.
    Catalogue,
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
    /// The label, of an agent of a catalogue.
    pub label: Option<String>,
    /// What about its file is not as it should be.
    pub notes: Vec<String>,
}

impl Found {
    fn plain(path: PathBuf, text: String, origin: Origin) -> Self {
        Self { path, text, origin, label: None, notes: Vec::new() }
    }
}

/// The places that are looked in.
#[derive(Debug, Clone)]
pub struct Places {
    /// The repository's root; `None`: outside of any.
    pub root: Option<PathBuf>,
    /// The user's profile folder, `<config>/agentops/profiles/<profile>`.
    pub user: PathBuf,
    /// The user's catalogues.
    pub catalogues: catalogues::Store,
}

/// Everything that a task can be routed to.
#[derive(Debug, Clone, Default)]
pub struct Routable {
    /// Agents of the repository, the user, this program and all catalogues.
    pub entries: Vec<Entry>,
    /// What is not used, and why.
    pub problems: Vec<String>,
}

impl Places {
    /// The places of a repository and a user.
    #[must_use]
    pub fn of(root: Option<&Path>, home: &Home) -> Self {
        Self {
            root: root.map(Path::to_owned),
            user: home.profile(BUILT_IN),
            catalogues: catalogues::Store::at(home.catalogues()),
        }
    }

    /// Every workflow by name; of two with one name the nearer one.
    ///
    /// # Errors
    /// A folder or file cannot be read.
    pub fn workflows(&self) -> Result<BTreeMap<String, Found>, FileError> {
        self.all("workflows", "toml", BUILT_IN_WORKFLOWS)
    }

    /// Every agent by name but for those of catalogues; of two with one name the nearer one.
    ///
    /// # Errors
    /// A folder or file cannot be read.
    pub fn agents(&self) -> Result<BTreeMap<String, Found>, FileError> {
        self.all("agents", "md", BUILT_IN_AGENTS)
    }

    /// The name that an agent has inside a run, from what a person typed: a name, or a label of a catalogue.
    ///
    /// # Errors
    /// There is none, or several agents of catalogues have that name.
    pub fn named(&self, given: &str) -> Result<Name, FileError> {
        if let Ok(name) = given.parse::<Name>()
            && self.agents()?.contains_key(name.as_str())
        {
            return Ok(name);
        }
        self.in_catalogues(given)?.map(|(_, agent)| run_name(&agent)).ok_or_else(|| self.no_agent(given))
    }

    /// One agent, read.
    ///
    /// # Errors
    /// There is none of that name, or its file is wrong.
    pub fn agent(&self, name: &Name) -> Result<(AgentFile, Found), FileError> {
        if let Some(found) = self.agents()?.remove(name.as_str()) {
            return Ok((parse_agent(&found.path, &found.text)?, found));
        }
        let Some((catalogue, agent)) = self.in_catalogues(name.as_str())? else {
            return Err(self.no_agent(name.as_str()));
        };
        let (read, text) = catalogue.read(&agent).map_err(FileError::from)?;
        let notes = read.notes.iter().filter(|note| matches!(note, Note::Ignored { .. }));
        let notes = notes.map(|note| format!("agent {}: {note}", agent.label)).collect();
        let mut front = read.front;
        front.name = read_name(&front.name, &agent);
        let (path, label) = (catalogue.path(&agent), Some(agent.label));
        let found = Found { path, text, origin: Origin::Catalogue, label, notes };
        Ok((AgentFile { front, prompt: read.prompt }, found))
    }

    /// Everything that a task can be routed to. What cannot be read is left out and said.
    ///
    /// # Errors
    /// A folder of the repository's or the user's own cannot be read.
    pub fn routable(&self) -> Result<Routable, FileError> {
        let mut routable = Routable::default();
        for (name, found) in self.agents()? {
            match Markdown::read(found.text.as_bytes()) {
                Ok(read) => routable.entries.push(Entry { name: name.clone(), ..read.entry(&name, "") }),
                Err(e) => routable.problems.push(format!("{} {e}", found.path.display())),
            }
        }
        let (found, problems) = self.catalogues.list().map_err(FileError::from)?;
        routable.problems.extend(problems.iter().map(|problem| crate::perform::chain(problem)));
        for catalogue in found {
            let (entries, problems) = catalogue.entries();
            routable.entries.extend(entries);
            routable.problems.extend(problems.iter().map(|problem| crate::perform::chain(problem)));
        }
        Ok(routable)
    }

    /// The agent of a catalogue that has this label, this name inside a run, or alone this name.
    fn in_catalogues(&self, given: &str) -> Result<Option<(Catalogue, Pinned)>, FileError> {
        let (all, problems) = self.catalogues.list().map_err(FileError::from)?;
        let agents =
            || all.iter().flat_map(|catalogue| catalogue.manifest.agents.iter().map(move |agent| (catalogue, agent)));
        let whole = |(catalogue, agent): (&Catalogue, &Pinned)| (catalogue.clone(), agent.clone());
        let by_label = agents().find(|(_, agent)| agent.label == given);
        let exact = by_label.or_else(|| agents().find(|(_, agent)| run_name(agent).as_str() == given));
        if exact.is_some() {
            return Ok(exact.map(whole));
        }
        let of_name: Vec<_> = agents().filter(|(_, agent)| agent.name == given).collect();
        match of_name[..] {
            [one] => Ok(Some(whole(one))),
            [] => match problems.into_iter().next() {
                // Perhaps it is in the one that cannot be read.
                Some(problem) => Err(problem.into()),
                None => Ok(None),
            },
            _ => {
                let labels: Vec<_> = of_name.iter().take(8).map(|(_, agent)| agent.label.as_str()).collect();
                let problem = format!("{} agents of catalogues are named `{given}`: {}", of_name.len(), labels.join(", "));
                Err(FileError { place: "agent".into(), problem, hint: "name one of them by its label".into() })
            }
        }
    }

    fn no_agent(&self, given: &str) -> FileError {
        let known = self.agents().map(|all| all.keys().cloned().collect::<Vec<_>>().join(", ")).unwrap_or_default();
        let problem = format!("there is no agent `{given}`; there are: {known}");
        let hint = match given.parse::<Name>() {
            Ok(name) => format!("write it to .agentops/agents/{name}.md, or name one that `agentops agents` lists"),
            Err(_) => {
                "name one that `agentops agents` lists, as in `agentops run --agent implement`; --json has every label"
                    .into()
            }
        };
        FileError { place: "agent".into(), problem, hint }
    }

    fn all(&self, kind: &str, ending: &str, built_in: &[(&str, &str)]) -> Result<BTreeMap<String, Found>, FileError> {
        let mut all = BTreeMap::new();
        for (name, text) in built_in {
            let path = PathBuf::from(format!("{BUILT_IN}/{kind}/{name}.{ending}"));
            all.insert((*name).to_owned(), Found::plain(path, (*text).to_owned(), Origin::BuiltIn));
        }
        let repository = self.root.as_ref().map(|root| (root.join(".agentops").join(kind), Origin::Repository));
        for (folder, origin) in [(self.user.join(kind), Origin::User)].into_iter().chain(repository) {
            for (name, path) in files(&folder, ending)? {
                let text = std::fs::read_to_string(&path).map_err(|e| FileError::unreadable(&path, &e))?;
                all.insert(name, Found::plain(path, text, origin));
            }
        }
        Ok(all)
    }
}

/// An agent file names its agent; where it does not, its file does.
fn read_name(name: &str, agent: &Pinned) -> String {
    if name.is_empty() { agent.name.clone() } else { name.to_owned() }
}

impl From<CatalogueError> for FileError {
    fn from(error: CatalogueError) -> Self {
        let hint = crate::hint::catalogue(&error).to_owned();
        Self { place: "catalogues".into(), problem: crate::perform::chain(&error), hint }
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
