//! Agents that no task is routed to.

use std::collections::BTreeSet;

use agentops_core::id::Name;
use agentops_core::workflow::Writes;
use agentops_core::workflow::raw::{RawGate, RawPhase};

use crate::files::{self, FileError, profile::Places};

/// The agents of phases that change no files, and reviewers, in all workflows that are at hand: each has its part already.
///
/// # Errors
/// A folder or file of the repository's or the user's own cannot be read.
pub fn roles(places: &Places) -> Result<Vec<Name>, FileError> {
    let (mut roles, mut writing, mut reviewing) = (Vec::new(), Vec::new(), Vec::new());
    for found in places.workflows()?.into_values() {
        let Ok(raw) = files::parse_workflow(&found.path, &found.text) else { continue };
        for phase in &raw.phases {
            let list = if phase.writes == Writes::Files { &mut writing } else { &mut roles };
            list.extend(agents(phase).filter_map(|agent| agent.parse::<Name>().ok()));
            reviewing.extend(phase.gates.iter().filter_map(|gate| match gate {
                RawGate::Review { agent, .. } => agent.parse::<Name>().ok(),
                _ => None,
            }));
        }
    }
    roles.retain(|role| !writing.contains(role));
    roles.extend(reviewing);
    roles.sort();
    roles.dedup();
    Ok(roles)
}

/// The agents that change files in a workflow's file; none where there is no such file or it cannot be read.
///
/// # Errors
/// A folder or file of the repository's or the user's own cannot be read.
pub fn writers(places: &Places, workflow: &str) -> Result<BTreeSet<String>, FileError> {
    let found = places.workflows()?.remove(workflow);
    let raw = found.and_then(|found| files::parse_workflow(&found.path, &found.text).ok());
    let phases = raw.into_iter().flat_map(|raw| raw.phases).filter(|phase| phase.writes == Writes::Files);
    Ok(phases.flat_map(|phase| agents(&phase).cloned().collect::<Vec<_>>()).collect())
}

/// The agents of a phase.
fn agents(phase: &RawPhase) -> impl Iterator<Item = &String> {
    phase.agent.iter().chain(phase.lanes.iter().map(|lane| &lane.agent))
}
