//! What routing is made of, but for the texts of catalogues: read each time, because it decides whether what was learnt before
//! still holds.

use agentops_core::id::Name;
use agentops_git::Records;
use agentops_route::feedback::{Gathered, Line};
use sha2::{Digest, Sha256};

use super::Here;
use super::examples::Examples;
use crate::feedback;
use crate::files::profile::{Found, Places};
use crate::files::{self, FileError};
use crate::perform::chain;

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct Sources {
    /// The workflows: name and description.
    pub workflows: Vec<(String, String)>,
    /// The profile's examples.
    pub examples: Examples,
    /// Every clone's lines of feedback.
    pub records: Records,
    /// The time when the records were read, in Unix milliseconds.
    pub now_ms: u64,
    /// What is not used of all this, and why.
    pub problems: Vec<String>,
    /// A hash over everything but the feedback. Catalogues stand in it by the hashes in their manifests.
    pub key: String,
}

/// Stands for this clone while its line is only tried: after all others, as the newest line is.
const TRIED: &str = "~";

impl Sources {
    /// Reads them. Without a place there is no feedback.
    pub fn read(places: &Places, roles: &[Name], here: Option<Here<'_>>) -> Result<Self, FileError> {
        let mut key = Key(Sha256::new());
        // Another program may read the same files otherwise.
        key.add(env!("CARGO_PKG_VERSION").as_bytes());
        roles.iter().for_each(|role| key.add(role.as_str().as_bytes()));
        let mut sources = Self::default();
        for (name, found) in places.agents()? {
            key.add(b"agent");
            key.add(name.as_bytes());
            key.add(found.text.as_bytes());
        }
        for (name, found) in places.workflows()? {
            key.add(b"workflow");
            key.add(name.as_bytes());
            key.add(found.text.as_bytes());
            sources.workflows.push((name, description(&found)));
        }
        // What is wrong with a catalogue is told by whoever reads its agents; here it only must not be taken for another one.
        let (catalogues, problems) = places.catalogues.list().map_err(FileError::from)?;
        for catalogue in &catalogues {
            key.add(b"catalogue");
            key.add(&serde_json::to_vec(&catalogue.manifest).unwrap_or_default());
        }
        problems.iter().for_each(|problem| key.add(chain(problem).as_bytes()));
        sources.examples = Examples::read(places);
        sources.problems.append(&mut sources.examples.problems);
        sources.examples.bytes.iter().for_each(|bytes| key.add(bytes));
        sources.key = key.0.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        if let Some(here) = here {
            sources.read_feedback(here);
        }
        Ok(sources)
    }

    fn read_feedback(&mut self, here: Here<'_>) {
        self.now_ms = here.now_ms;
        match feedback::read(here.repo) {
            Ok(records) => {
                for (path, why) in &records.left_out {
                    self.problems.push(format!("feedback {} is not read: {why}", path.display()));
                }
                for file in records.files.iter().filter(|file| !file.rewritten_in.is_empty()) {
                    let (clone, branches) = (&file.clone, file.rewritten_in.join(", "));
                    self.problems.push(format!("feedback of clone {clone} was rewritten in {branches}"));
                }
                self.records = records;
            }
            Err(e) => self.problems.push(format!("feedback cannot be read: {}", chain(&e))),
        }
    }

    /// What all lines say together, with one that is not there yet.
    pub fn gathered(&self, tried: Option<&Line>) -> Gathered {
        let tried = tried.map(|line| line.to_json().into_bytes());
        let files = self.records.files.iter();
        let mut files: Vec<(&str, &[u8])> = files.map(|file| (file.clone.as_str(), file.bytes.as_slice())).collect();
        files.extend(tried.iter().map(|bytes| (TRIED, bytes.as_slice())));
        Gathered::gather(&files, self.now_ms)
    }
}

/// A hash over parts, each with its length first: nothing can be moved from one part to the next.
struct Key(Sha256);

impl Key {
    fn add(&mut self, part: &[u8]) {
        self.0.update(part.len().to_le_bytes());
        self.0.update(part);
    }
}

fn description(found: &Found) -> String {
    // A workflow that cannot be read is told where it is used.
    files::parse_workflow(&found.path, &found.text).map(|raw| raw.description).unwrap_or_default()
}
