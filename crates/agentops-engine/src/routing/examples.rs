//! Labelled examples of a profile: tasks and where they belong, as lines of JSON.

use std::collections::BTreeMap;
use std::path::Path;

use agentops_git::plain_file;
use agentops_route::feedback::{LABEL_BYTES_MAX, TEXT_BYTES_MAX};
use serde::Deserialize;

use crate::files::profile::{BUILT_IN, Places};

/// The largest file of examples that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A task and where it belongs.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProfileExample {
    /// The task.
    pub text: String,
    /// The workflow.
    #[serde(default)]
    pub workflow: Option<String>,
    /// The agent's label.
    #[serde(default)]
    pub agent: Option<String>,
}

/// Labelled examples by whose they are: the profile's name, or [`REPOSITORY`].
#[derive(Debug, Clone, Default)]
pub struct Examples {
    /// What is learnt.
    pub learnt: Vec<ProfileExample>,
    /// What is held back to measure with: for each owner its own.
    pub held: BTreeMap<&'static str, Vec<ProfileExample>>,
    /// The files' bytes, for caches.
    pub bytes: Vec<Vec<u8>>,
    /// What is not used, and why.
    pub problems: Vec<String>,
}

/// The owner of the examples in `.agentops/routing`.
pub const REPOSITORY: &str = "repository";

const LEARNT: &str = "examples.jsonl";
const HELD: &str = "held-back.jsonl";
const BUILT_IN_LEARNT: &str = include_str!("../../../../profiles/product-dev/routing/examples.jsonl");
const BUILT_IN_HELD: &str = include_str!("../../../../profiles/product-dev/routing/held-back.jsonl");

impl Examples {
    /// The built-in profile's, the user's of it, and the repository's. What cannot be read is left out and said.
    #[must_use]
    pub fn read(places: &Places) -> Self {
        let mut all = Self::default();
        let built_in = Path::new(BUILT_IN).join("routing");
        let learnt = all.parse(&built_in.join(LEARNT), BUILT_IN_LEARNT.as_bytes().to_vec());
        all.learnt.extend(learnt);
        let held = all.parse(&built_in.join(HELD), BUILT_IN_HELD.as_bytes().to_vec());
        all.held.insert(BUILT_IN, held);
        let user = (BUILT_IN, places.user.join("routing"));
        let repository = places.root.as_ref().map(|root| (REPOSITORY, root.join(".agentops/routing")));
        for (owner, folder) in std::iter::once(user).chain(repository) {
            let learnt = all.file(&folder.join(LEARNT));
            all.learnt.extend(learnt);
            let held = all.file(&folder.join(HELD));
            if !held.is_empty() {
                all.held.entry(owner).or_default().extend(held);
            }
        }
        all
    }

    fn file(&mut self, path: &Path) -> Vec<ProfileExample> {
        match read(path) {
            Ok(Some(bytes)) => self.parse(path, bytes),
            Ok(None) => {
                self.bytes.push(Vec::new());
                Vec::new()
            }
            Err(e) => {
                self.problems.push(format!("{} is not used: {e}", path.display()));
                Vec::new()
            }
        }
    }

    fn parse(&mut self, path: &Path, bytes: Vec<u8>) -> Vec<ProfileExample> {
        let (mut examples, mut wrong) = (Vec::new(), Vec::new());
        for (at, line) in bytes.split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.trim_ascii().is_empty()) {
            match serde_json::from_slice::<ProfileExample>(line) {
                Ok(example) if fits(&example) => examples.push(example),
                _ => wrong.push(at + 1),
            }
        }
        if let Some(first) = wrong.first() {
            let count = wrong.len();
            self.problems.push(format!("{}:{first}: no labelled example, nor are {} more lines", path.display(), count - 1));
        }
        self.bytes.push(bytes);
        examples
    }
}

fn fits(example: &ProfileExample) -> bool {
    let labels = [&example.workflow, &example.agent];
    !example.text.trim().is_empty()
        && example.text.len() <= TEXT_BYTES_MAX
        && labels.iter().any(|label| label.is_some())
        && labels.into_iter().flatten().all(|label| label.len() <= LABEL_BYTES_MAX)
}

/// A file, whole; `None`: there is none. Links are not followed: a repository must not make us read elsewhere.
fn read(path: &Path) -> std::io::Result<Option<Vec<u8>>> {
    match plain_file::read(path, FILE_BYTES_MAX) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => Ok(None),
        Err(e) => Err(e),
    }
}
