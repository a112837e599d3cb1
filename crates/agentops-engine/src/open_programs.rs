//! What git would run in a merge because an agent of some run left it so, and nobody agreed to it or put it back.
//!
//! The start of a run says nothing about whose a hook is: an earlier run may have left it, and its discarding agrees to
//! nothing. So what was left stays open for the repository, whatever becomes of the run. A part counts while it is as
//! some program left it. A content that no comparison recorded is a person's own.

use std::collections::{BTreeMap, BTreeSet};

use agentops_core::id::{BlobId, RunId};
use agentops_core::run::{ProgramPart, State};
use agentops_git::{Difference, ProgramParts, ProgramState, Repo};

use crate::blobs::Blobs;
use crate::ledger::{Agreement, Ledger, ProgramChange};
use crate::perform::user_repository;
use crate::world::StorageError;

/// What is open in a repository now.
#[derive(Debug)]
pub struct OpenPrograms {
    /// What git would run now.
    pub now: ProgramState,
    /// What programs left, oldest first.
    pub left: Vec<LeftPrograms>,
    /// What is not as it was left any more.
    pub put_back: Vec<ProgramPart>,
    /// What is again as it was before something was left there.
    pub restored: BTreeSet<ProgramPart>,
    /// The places in the ledger of what ended without a comparison. Whatever it left is there now.
    pub uncompared: Vec<u64>,
    agreements: Vec<Agreement>,
}

/// What one session, gate or lane set-up left.
#[derive(Debug)]
pub struct LeftPrograms {
    /// The run.
    pub run: RunId,
    /// The key of the action that ran.
    pub during: String,
    /// It has not been compared yet, and may still run.
    pub is_under_way: bool,
    /// The parts.
    pub parts: Vec<ProgramPart>,
    /// The same in words.
    pub differences: Vec<Difference>,
}

/// The list cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum OpenProgramsError {
    /// The ledger's part.
    #[error(transparent)]
    Ledger(#[from] StorageError),
    /// Git's part.
    #[error(transparent)]
    Git(#[from] agentops_git::Error),
}

/// Parts as the ledger lists them.
#[must_use]
pub fn listed(parts: ProgramParts) -> Vec<ProgramPart> {
    parts.into_iter().map(|(part, content)| ProgramPart { part, content }).collect()
}

impl OpenPrograms {
    /// Compares what was left with what is there now.
    ///
    /// # Errors
    /// The ledger or the repository cannot be read.
    pub fn read(ledger: &Ledger, blobs: &Blobs, repo: &Repo) -> Result<Self, OpenProgramsError> {
        Self::read_since(ledger, blobs, repo, None)
    }

    /// As [`Self::read`]; folders that held hooks at the start of a run are read too.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_since(
        ledger: &Ledger,
        blobs: &Blobs,
        repo: &Repo,
        start: Option<&ProgramState>,
    ) -> Result<Self, OpenProgramsError> {
        let changes = ledger.program_changes()?;
        let agreements = ledger.program_agreements()?;
        let mut records: BTreeMap<&BlobId, Option<ProgramState>> = BTreeMap::new();
        for record in changes.iter().filter_map(|change| change.record.as_ref()) {
            let read = || Some(user_repository::read(blobs, record, repo)?.programs().clone());
            records.entry(record).or_insert_with(read);
        }
        let known = records.values().flatten().chain(start);
        let folders = known.flat_map(ProgramState::hook_folders).cloned().collect();
        let now = repo.program_state_with(&folders)?;
        // What runs now may hide a part for a while. Then nothing is taken for put back.
        let is_quiet = !changes.iter().any(|change| change.is_under_way) && ledger.program_changes()? == changes;
        let uncompared = changes.iter().filter(|change| change.is_uncompared()).map(|change| change.seq).collect();
        let (left, put_back, restored) = (Vec::new(), Vec::new(), BTreeSet::new());
        let mut open = Self { now, left, put_back, restored, uncompared, agreements };
        let parts = open.now.parts(repo);
        for change in &changes {
            let record = change.record.as_ref().and_then(|record| records.get(record)?.as_ref());
            open.add(change, record, &parts, repo);
            let is_gone = |part: &&ProgramPart| !ProgramState::holds(&parts, &part.part, &part.content);
            let gone: Vec<ProgramPart> = change.parts.iter().flatten().filter(is_gone).cloned().collect();
            if let Some(record) = record {
                let before = record.parts(repo);
                let now_of = |part: &str| parts.get(part).cloned().unwrap_or_default();
                let now = gone.iter().map(|gone| ProgramPart { part: gone.part.clone(), content: now_of(&gone.part) });
                open.restored.extend(now.filter(|now| ProgramState::holds(&before, &now.part, &now.content)));
            }
            if is_quiet {
                open.put_back.extend(gone);
            }
        }
        Ok(open)
    }

    fn add(&mut self, change: &ProgramChange, record: Option<&ProgramState>, parts: &ProgramParts, repo: &Repo) {
        let open: Vec<ProgramPart> = match (&change.parts, record) {
            (Some(left), _) => {
                left.iter().filter(|part| ProgramState::holds(parts, &part.part, &part.content)).cloned().collect()
            }
            (None, Some(record)) => {
                let mut differ = listed(self.now.changed_since(record, repo));
                differ.retain(|part| !self.is_agreed_since(change.seq, part));
                differ
            }
            (None, None) => Vec::new(),
        };
        let differences = match record {
            _ if open.is_empty() && (change.parts.is_some() || record.is_some()) => return,
            Some(record) => words(record, &self.now, &open, repo),
            None => {
                let what = "its record of your repository is lost, so nothing is known of what it changed";
                vec![Difference { what: what.to_owned(), restore: None }]
            }
        };
        let (run, during, is_under_way) = (change.run.clone(), change.during.clone(), change.is_under_way);
        self.left.push(LeftPrograms { run, during, is_under_way, parts: open, differences });
    }

    fn is_agreed_since(&self, seq: u64, part: &ProgramPart) -> bool {
        self.agreements.iter().any(|agreement| agreement.seq > seq && agreement.part == *part)
    }

    /// What changed since a run started, without what is among [`Self::left`] or was agreed to since. `None`: nothing.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn since_start(
        &self,
        ledger: &Ledger,
        state: &State,
        start: &ProgramState,
        repo: &Repo,
    ) -> Result<Option<LeftPrograms>, OpenProgramsError> {
        let run = state.created.run.clone();
        let first = ledger.first_seq(&run)?;
        let all = listed(self.now.changed_since(start, repo));
        let is_known = |part: &ProgramPart| {
            self.is_agreed_since(first, part)
                || self.restored.contains(part)
                || self.left.iter().any(|left| left.parts.contains(part))
        };
        let parts: Vec<ProgramPart> = all.iter().filter(|part| !is_known(part)).cloned().collect();
        // A difference that no part shows, such as another order of settings, counts too.
        let is_of_parts = parts.is_empty() && !all.is_empty();
        if is_of_parts || start.runs_the_same(&self.now) {
            return Ok(None);
        }
        let differences = words(start, &self.now, &parts, repo);
        Ok(Some(LeftPrograms { run, during: String::new(), is_under_way: false, parts, differences }))
    }
}

/// What the parts are, and what puts them back.
fn words(before: &ProgramState, now: &ProgramState, parts: &[ProgramPart], repo: &Repo) -> Vec<Difference> {
    let named: BTreeSet<&str> = parts.iter().map(|part| part.part.as_str()).collect();
    let found = before.only(repo, &named).differences(&now.only(repo, &named), repo);
    if !found.is_empty() {
        return found;
    }
    let all = before.differences(now, repo);
    if !all.is_empty() {
        return all;
    }
    // The same settings can lead to other folders: one that is named from the user's own folder, for instance.
    let folders: Vec<String> = now.hook_folders().iter().map(|folder| folder.display().to_string()).collect();
    let what = format!("git takes hooks from other folders or finds other files there: {}", folders.join(", "));
    vec![Difference { what, restore: None }]
}
