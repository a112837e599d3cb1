//! What performs actions: it writes down what it was asked, and the world lets it happen later or never.

use std::cell::RefCell;
use std::rc::Rc;

use agentops_core::id::RunId;
use agentops_core::run::{Action, Key, State};
use agentops_engine::world::Processes;

/// An action that was started.
pub struct Started {
    /// The run.
    pub run: RunId,
    /// Its key.
    pub key: Key,
    /// The action.
    pub action: Action,
}

/// One supervisor's hands.
#[derive(Clone, Default)]
pub struct Hands(pub Rc<RefCell<Vec<Started>>>);

impl Processes for Hands {
    fn perform(&mut self, run: &RunId, _: &State, key: &Key, action: &Action) {
        self.0.borrow_mut().push(Started { run: run.clone(), key: key.clone(), action: action.clone() });
    }
}

/// The kind of an action, for the counts.
pub fn kind(action: &Action) -> &'static str {
    match action {
        Action::OpenLane { .. } => "act: open lane",
        Action::StartSession { .. } => "act: session",
        Action::AskHandOver { .. } => "act: ask for hand-over",
        Action::StopSession { .. } => "act: stop session",
        Action::Salvage { .. } => "act: salvage",
        Action::Checkpoint { .. } => "act: checkpoint",
        Action::Merge { .. } => "act: merge",
        Action::RunGate { .. } => "act: gate",
        Action::Bundle { .. } => "act: bundle",
        Action::Record { .. } => "act: record",
        Action::Publish { .. } => "act: publish",
        Action::StopWork => "act: stop work",
        Action::CloseLanes => "act: close lanes",
        Action::End { .. } => "act: end",
    }
}
