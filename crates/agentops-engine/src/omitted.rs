//! What is in a lane and not in its checkpoint: the list that a session's end names by hash.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use agentops_core::id::BlobId;
use agentops_core::run::{Omitted, SessionState};
use agentops_git::{Checkpoint, SalvagedCommit};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::blobs::Blobs;

/// Entries that a list holds. The agent decides how many there are.
const ITEMS_MAX: usize = 500;
/// Lines of a list that a text for a person or an agent holds.
const LINES_MAX: usize = 20;

/// One path of a lane that a checkpoint does not hold.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct OmittedItem {
    /// The path from the lane's root. `…` stands for all further paths.
    pub path: String,
    /// Why, as a clause.
    pub reason: String,
    /// Where two lists agree in it, the path has not changed in between. Absent: not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
}

/// What a checkpoint does not hold, beside what a person accepted before.
pub(crate) struct Omissions {
    items: Vec<OmittedItem>,
    accepted: BTreeSet<OmittedItem>,
}

impl Omissions {
    pub(crate) fn of(
        checkpoint: &Checkpoint,
        salvaged: &[SalvagedCommit],
        accepted: Option<&BlobId>,
        blobs: &Blobs,
    ) -> Self {
        let items = checkpoint.omitted.iter().map(|omitted| OmittedItem {
            path: clean(&omitted.path, blobs),
            reason: omitted.why.as_clause().to_owned(),
            state: omitted.state.clone(),
        });
        let commits = salvaged.iter().filter(|commit| commit.kept_as.is_none()).map(|commit| OmittedItem {
            path: clean(Path::new(&commit.name), blobs),
            reason: format!("commit {} was not copied and is in the lane alone", &commit.commit.as_str()[..12]),
            state: None,
        });
        let mut items: Vec<OmittedItem> = items.chain(commits).collect();
        if items.len() > ITEMS_MAX {
            let more = items.len() - ITEMS_MAX;
            items.truncate(ITEMS_MAX);
            items.push(OmittedItem { path: "…".into(), reason: format!("{more} more paths"), state: None });
        }
        // A list that cannot be read was not seen by anyone.
        let accepted = accepted.map(|list| read(list, blobs)).unwrap_or_default().into_iter().collect();
        Self { items, accepted }
    }

    fn unseen(&self) -> impl Iterator<Item = &OmittedItem> {
        self.items.iter().filter(|item| !self.accepted.contains(item))
    }

    /// The number of unseen entries in place of the entries.
    pub(crate) fn counted(self) -> Self {
        let unseen = self.unseen().count();
        let reason = format!("{unseen} paths or commits, in the lane alone");
        let items = (unseen > 0).then(|| OmittedItem { path: "…".into(), reason, state: None }).into_iter().collect();
        Self { items, ..self }
    }

    /// Whether one of these paths was not accepted before.
    pub(crate) fn has_unseen(&self, paths: &[PathBuf], blobs: &Blobs) -> bool {
        let unseen: BTreeSet<&str> = self.unseen().map(|item| item.path.as_str()).collect();
        let is_unseen = |path: &PathBuf| unseen.contains("…") || unseen.contains(clean(path, blobs).as_str());
        paths.iter().any(is_unseen)
    }

    /// The unseen part as a text; none when there is none.
    pub(crate) fn unseen_text(&self, lane: &Path) -> Option<String> {
        let unseen: Vec<&OmittedItem> = self.unseen().collect();
        (!unseen.is_empty()).then(|| {
            format!("These are not in the checkpoint of the lane ({}):\n{}", lane.display(), lines(unseen.into_iter()))
        })
    }

    /// Stores the list.
    pub(crate) fn store(&self, blobs: &Blobs) -> std::io::Result<Option<Omitted>> {
        if self.items.is_empty() {
            return Ok(None);
        }
        let list = blobs.put(&serde_json::to_vec(&self.items)?)?;
        let unseen = u32::try_from(self.unseen().count()).unwrap_or(u32::MAX);
        Ok(Some(Omitted { list, unseen }))
    }
}

fn clean(path: &Path, blobs: &Blobs) -> String {
    agentops_safe::inert_line(&blobs.redactor().redact(&path.to_string_lossy()), 1000)
}

/// The list of a session. One that cannot be read is empty.
#[must_use]
pub fn of_session(session: &SessionState, blobs: &Blobs) -> Vec<OmittedItem> {
    session.omitted.as_ref().map(|omitted| read(&omitted.list, blobs)).unwrap_or_default()
}

fn read(list: &BlobId, blobs: &Blobs) -> Vec<OmittedItem> {
    blobs.get(list).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
}

/// One line for each, bounded.
pub(crate) fn lines<'a>(items: impl Iterator<Item = &'a OmittedItem>) -> String {
    let items: Vec<&OmittedItem> = items.collect();
    let mut text: String = items.iter().take(LINES_MAX).map(|item| format!("- {}: {}\n", item.path, item.reason)).collect();
    if items.len() > LINES_MAX {
        text.push_str(&format!("- and {} more\n", items.len() - LINES_MAX));
    }
    text
}
