//! A run of the full workflow: two lanes, an approval, a command gate, a review, the laws.

use std::collections::BTreeMap;

use agentops_core::agent::AgentRef;
use agentops_core::id::{BlobId, Commit, Name, RunId};
use agentops_core::run::{Approve, Created, FORMAT};
use agentops_core::workflow::Workflow;
use agentops_core::workflow::raw::RawWorkflow;

const FULL: &str = r#"{
  "name": "full", "budget": {"tokens": 100000}, "phase": [
    {"name": "research", "writes": "artifacts",
     "lane": [{"name": "code", "agent": "scout"}, {"name": "tests", "agent": "scout"}],
     "gate": [{"kind": "artifact", "file": "findings.md"}]},
    {"name": "plan", "writes": "artifacts", "agent": "planner",
     "gate": [{"kind": "artifact", "file": "plan.md"}, {"kind": "approval", "file": "plan.md"}]},
    {"name": "implement", "writes": "files",
     "lane": [{"name": "one", "agent": "maker"}, {"name": "two", "agent": "maker"}],
     "gate": [{"kind": "command", "argv": ["true"]}, {"kind": "review", "agent": "judge"}]},
    {"name": "close-out", "writes": "artifacts", "agent": "closer",
     "gate": [{"kind": "artifact", "file": "close-out.json", "schema": "close-out"}]}
  ]}"#;

/// A name.
pub fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

/// A blob's id.
pub fn blob(n: u64) -> BlobId {
    format!("{n:064x}").parse().expect("a blob id")
}

/// A commit's id.
pub fn commit(n: u64) -> Commit {
    format!("{n:040x}").parse().expect("a commit id")
}

/// The workflow, read once.
pub fn workflow() -> Workflow {
    let raw: RawWorkflow = serde_json::from_str(FULL).expect("a workflow");
    raw.check(None).expect("a sound workflow").workflow
}

/// What a person asked for.
pub fn created(bits: u64, workflow: &Workflow, task: BlobId) -> Created {
    let agent = AgentRef {
        hash: task.clone(),
        prompt: task.clone(),
        driver: name("scripted"),
        version: "1".into(),
        model: None,
        window: None,
        tools: None,
        settings: BTreeMap::new(),
    };
    let agents = workflow.agents().into_iter().map(|of| (of.clone(), agent.clone())).collect();
    Created {
        run: RunId::from_bits(bits),
        format: FORMAT,
        task: task.clone(),
        base: commit(1),
        profile: name("product-dev"),
        profile_hash: task.clone(),
        workflow_hash: task,
        workflow: workflow.clone(),
        agents,
        approve: Approve::None,
        alternatives: Vec::new(),
        trust: None,
        routed: None,
        repository: None,
    }
}
