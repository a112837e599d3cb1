//! Texts of a run that are gone from the blob store: each has a name, and the run goes on where it can.

use std::io::{Error, Result};

use agentops_core::id::{BlobId, RunId, SessionId};
use agentops_core::run::{PhaseState, SessionEnd, State};

use crate::blobs::{Blobs, is_gone};

/// Reads a text without which a run cannot go on.
///
/// # Errors
/// It cannot be read. Where it is gone, the error says what is lost and what to do.
pub(super) fn required(blobs: &Blobs, id: &BlobId, what: &str, run: &RunId) -> Result<String> {
    blobs.text(id).map_err(|e| {
        if !is_gone(&e) {
            return e;
        }
        Error::other(format!(
            "{what} is lost: {e}. This run cannot go on; bring the file back, or end the \
             run with `agentops cancel {run}` and start it again"
        ))
    })
}

/// Reads texts that an action can do without. What is gone counts as absent, and is remembered.
pub(super) struct Optional<'a> {
    blobs: &'a Blobs,
    lost: Vec<String>,
}

impl<'a> Optional<'a> {
    pub(super) fn new(blobs: &'a Blobs) -> Self {
        Self { blobs, lost: Vec::new() }
    }

    /// The bytes; `None` where there are none or they are gone.
    ///
    /// # Errors
    /// They are there and cannot be read.
    pub(super) fn bytes(&mut self, id: Option<&BlobId>, what: &str) -> Result<Option<Vec<u8>>> {
        let Some(id) = id else { return Ok(None) };
        match self.blobs.get(id) {
            Err(e) if is_gone(&e) => {
                self.lost.push(format!("{what} is lost: {e}"));
                Ok(None)
            }
            read => read.map(Some),
        }
    }

    /// The same as a text.
    ///
    /// # Errors
    /// As [`Self::bytes`].
    pub(super) fn text(&mut self, id: Option<&BlobId>, what: &str) -> Result<Option<String>> {
        Ok(self.bytes(id, what)?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// A line for each text that is gone.
    pub(super) fn lost(self) -> Vec<String> {
        self.lost
    }
}

/// Reads texts that a session can do without, and remembers those that are gone.
pub(super) struct Replaceable<'a> {
    blobs: &'a Blobs,
    lost: Vec<(String, BlobId)>,
}

impl<'a> Replaceable<'a> {
    pub(super) fn new(blobs: &'a Blobs) -> Self {
        Self { blobs, lost: Vec::new() }
    }

    /// The text, or a note that says that it is lost.
    ///
    /// # Errors
    /// It is there and cannot be read.
    pub(super) fn text(&mut self, id: &BlobId, what: &str) -> Result<String> {
        match self.blobs.text(id) {
            Err(e) if is_gone(&e) => {
                self.lost.push((what.to_owned(), id.clone()));
                Ok(format!(
                    "({what} is lost: its text is gone from this machine. What the lane's files, the task and the other sections of \
                     this message say is all that is known of it.)"
                ))
            }
            read => read,
        }
    }

    /// What the session goes on without, for its detail; `None`: nothing is lost.
    ///
    /// # Errors
    /// A person has not been asked about one of the losses yet.
    pub(super) fn accepted(self, state: &State, session: &SessionId) -> Result<Option<String>> {
        if self.lost.is_empty() {
            return Ok(None);
        }
        let lost: Vec<String> = self.lost.iter().map(|(what, id)| format!("{what} (text {id})")).collect();
        let lost = lost.join(", ");
        if self.lost.iter().all(|(_, id)| was_named(self.blobs, state, session, id)) {
            return Ok(Some(format!("this session started without {lost}: lost from the state folder")));
        }
        Err(Error::other(format!(
            "lost from the state folder: {lost}. `agentops resume {}` goes on with a note in its place",
            state.created.run
        )))
    }
}

/// Whether the sessions of this lane that could not start just before this one named this text. Then the person who said to go
/// on has seen what is lost.
fn was_named(blobs: &Blobs, state: &State, session: &SessionId, id: &BlobId) -> bool {
    let lane = state.phases.iter().flat_map(PhaseState::all_lanes).find(|lane| lane.id == session.lane);
    let sessions = lane.map(|lane| lane.sessions.as_slice()).unwrap_or_default().iter().rev();
    sessions
        .skip_while(|session| session.end.is_none())
        .take_while(|session| session.end == Some(SessionEnd::NotStarted))
        .filter_map(|session| blobs.text(session.detail.as_ref()?).ok())
        .any(|detail| detail.contains(id.as_str()))
}

#[cfg(test)]
mod tests;
