//! What routing is made of, as it lies on disk and in git.

use agentops_core::id::Name;
use agentops_git::RecordFile;
use agentops_route::catalogue::Entry;
use agentops_route::feedback::{Gathered, Line};

use super::Here;
use super::examples::Examples;
use crate::feedback;
use crate::files::profile::{Found, Places};
use crate::files::{self, FileError};
use crate::perform::chain;

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct Sources {
    /// The agents that tasks go to.
    pub entries: Vec<Entry>,
    /// The workflows: name and description.
    pub workflows: Vec<(String, String)>,
    /// The profile's examples.
    pub examples: Examples,
    /// Every clone's lines of feedback.
    pub records: Vec<RecordFile>,
    /// The time when the records were read, in Unix milliseconds.
    pub now_ms: u64,
    /// What is not used, and why.
    pub problems: Vec<String>,
}

/// Stands for this clone while its line is only tried: after all others, as the newest line is.
const TRIED: &str = "~";

impl Sources {
    /// Reads agents, workflows and examples.
    pub fn read(places: &Places, roles: &[Name]) -> Result<Self, FileError> {
        let mut routable = places.routable()?;
        routable.entries.retain(|entry| roles.iter().all(|role| role.as_str() != entry.label));
        let workflows = places.workflows()?.into_iter().map(|(name, found)| (name, description(&found))).collect();
        let mut examples = Examples::read(places);
        let mut problems = routable.problems;
        problems.append(&mut examples.problems);
        Ok(Self { entries: routable.entries, workflows, examples, problems, ..Self::default() })
    }

    /// Reads the feedback of all clones that are known here.
    pub fn read_feedback(&mut self, here: Here<'_>) {
        self.now_ms = here.now_ms;
        match feedback::read(here.repo) {
            Ok(records) => {
                for (path, why) in records.left_out {
                    self.problems.push(format!("feedback {} is not read: {why}", path.display()));
                }
                for file in records.files.iter().filter(|file| !file.rewritten_in.is_empty()) {
                    let (clone, branches) = (&file.clone, file.rewritten_in.join(", "));
                    self.problems.push(format!("feedback of clone {clone} was rewritten in {branches}"));
                }
                self.records = records.files;
            }
            Err(e) => self.problems.push(format!("feedback cannot be read: {}", chain(&e))),
        }
    }

    /// What all lines say together, with one that is not there yet.
    pub fn gathered(&self, tried: Option<&Line>) -> Gathered {
        let tried = tried.map(|line| line.to_json().into_bytes());
        let mut files: Vec<(&str, &[u8])> =
            self.records.iter().map(|file| (file.clone.as_str(), file.bytes.as_slice())).collect();
        files.extend(tried.iter().map(|bytes| (TRIED, bytes.as_slice())));
        Gathered::gather(&files, self.now_ms)
    }
}

fn description(found: &Found) -> String {
    // A workflow that cannot be read is told where it is used.
    files::parse_workflow(&found.path, &found.text).map(|raw| raw.description).unwrap_or_default()
}
