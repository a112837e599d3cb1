//! What changed in the user's repository while a run's programs ran.

use agentops_core::run::{Key, State};
use agentops_git::Difference;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::blobs::Blobs;
use crate::perform::user_repository;

/// Changes in the user's repository.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RepositoryView {
    /// Whether hooks and settings at the start of the run are known, so that a merge can compare them.
    pub recorded_at_start: bool,
    /// Comparisons that found something.
    pub changes: Vec<ChangesView>,
    /// Sessions that ended without a comparison: nothing is known of these.
    pub not_compared: Vec<String>,
}

/// What one comparison found.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ChangesView {
    /// What ran meanwhile: a session, a gate, a lane's set-up or the test of a merge.
    pub during: String,
    /// The supervisor died meanwhile: the user may have made the changes before the run went on.
    pub after_takeover: bool,
    /// The differences.
    #[schemars(with = "Vec<serde_json::Value>")]
    pub differences: Vec<Difference>,
}

pub(super) fn of(state: &State, blobs: &Blobs) -> Option<RepositoryView> {
    let recorded_at_start = state.created.repository.is_some();
    if !recorded_at_start && state.compared.is_empty() {
        return None;
    }
    let changes = state.compared.iter().filter_map(|compared| {
        let mut differences = user_repository::differences(blobs, compared.changes.as_ref()?).unwrap_or_else(|| {
            let what = format!("{} differences, which cannot be read", compared.count);
            vec![Difference { what, restore: None }]
        });
        for difference in &mut differences {
            difference.what = agentops_safe::inert_line(&difference.what, 400);
            difference.restore = difference.restore.take().filter(|command| agentops_safe::inert(command) == *command);
        }
        Some(ChangesView { during: during(&compared.during), after_takeover: compared.after_takeover, differences })
    });
    let sessions = state.sessions().filter(|(_, session)| session.end.is_some()).map(|(_, session)| session.id.clone());
    let keys = sessions.map(|session| Key::Session { session });
    let not_compared = keys.filter(|key| !state.compared.iter().any(|compared| compared.during == *key));
    let not_compared = not_compared.map(|key| during(&key)).collect();
    Some(RepositoryView { recorded_at_start, changes: changes.collect(), not_compared })
}

/// `session implement/implement/1`, `gate implement/tests`, `set-up of implement/implement`, `test 1 of a merge`.
fn during(key: &Key) -> String {
    match key {
        Key::Session { session } => format!("session {session}"),
        Key::Gate { phase, gate, .. } => format!("gate {phase}/{gate}"),
        Key::Open { lane, .. } => format!("set-up of {lane}"),
        Key::MergeTest { attempt } => format!("test {attempt} of a merge"),
        other => other.to_string(),
    }
}
