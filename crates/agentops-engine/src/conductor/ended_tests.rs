//! The conductor over a ledger in memory and a world that performs nothing.

use std::collections::BTreeMap;

use agentops_core::agent::AgentRef;
use agentops_core::id::LaneId;
use agentops_core::run::{Approve, FORMAT, Outcome};
use agentops_core::workflow::raw::RawWorkflow;

use super::*;
use crate::world::{Entry, SystemClock};

#[derive(Default)]
struct Memory(Vec<Entry>);

impl Storage for Memory {
    fn load_open(&mut self) -> Result<Vec<Entry>, StorageError> {
        Ok(Vec::new())
    }

    fn load_run(&mut self, run: &RunId) -> Result<Vec<Entry>, StorageError> {
        Ok(self.0.iter().filter(|entry| entry.run == *run).cloned().collect())
    }

    fn append(&mut self, rows: &[Row]) -> Result<(), StorageError> {
        for Row { run, at_ms, event } in rows.iter().cloned() {
            self.0.push(Entry { seq: self.0.len() as u64 + 1, run, at_ms, event });
        }
        Ok(())
    }
}

struct Nobody;

impl Processes for Nobody {
    fn perform(&mut self, _run: &RunId, _state: &State, _key: &Key, _action: &Action) {}
}

fn created() -> Created {
    let raw: RawWorkflow = serde_json::from_str(
        r#"{"name": "quick", "phase": [
            {"name": "implement", "writes": "files", "agent": "maker"},
            {"name": "close-out", "writes": "artifacts", "agent": "closer",
             "gate": [{"kind": "artifact", "file": "close-out.json", "schema": "close-out"}]}]}"#,
    )
    .unwrap();
    let workflow = raw.check(None).unwrap().workflow;
    let blob = crate::blobs::hash(b"a text");
    let agent = AgentRef {
        hash: blob.clone(),
        prompt: blob.clone(),
        driver: "scripted".parse().unwrap(),
        version: "1".into(),
        model: None,
        window: None,
        tools: None,
        settings: BTreeMap::new(),
    };
    Created {
        run: RunId::from_bits(7),
        format: FORMAT,
        task: blob.clone(),
        base: "1".repeat(40).parse().unwrap(),
        profile: "product-dev".parse().unwrap(),
        profile_hash: blob.clone(),
        workflow_hash: blob,
        agents: workflow.agents().into_iter().map(|name| (name.clone(), agent.clone())).collect(),
        workflow,
        approve: Approve::All,
        alternatives: Vec::new(),
        trust: None,
        routed: None,
        repository: None,
    }
}

#[test]
fn p5_a_run_that_has_ended_leaves_memory_and_is_still_known() {
    let (created, run) = (created(), RunId::from_bits(7));
    let mut conductor = Conductor::start(SystemClock::default(), Memory::default(), Nobody).unwrap();
    let lane = LaneId { phase: "implement".parse().unwrap(), lane: "implement".parse().unwrap() };
    let opened = Event::LaneOpened { lane, base: created.base.clone() };
    for input in [
        Input::Create(Box::new(created.clone())),
        Input::Intent(run.clone(), Intent::Cancel),
        Input::Happened(run.clone(), opened),
        Input::Happened(run.clone(), Event::LanesClosed),
    ] {
        assert_eq!(conductor.runs().count(), usize::from(!conductor.storage.0.is_empty()));
        conductor.take(vec![input]).unwrap().remove(0).unwrap();
    }
    assert_eq!(conductor.runs().count(), 0);
    let state = conductor.state(&run).unwrap().unwrap();
    assert!(matches!(state.outcome, Some((Outcome::Cancelled, _))));
    let again = conductor.take(vec![Input::Create(Box::new(created))]).unwrap().remove(0);
    assert_eq!(again, Err(Refusal::Exists(run.clone())));
    assert_eq!(conductor.runs().count(), 0, "being asked about does not keep it");
}
