//! The conductor over a ledger in memory. Whole worlds of faults are in `tests/simulator`.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use agentops_core::agent::AgentRef;
use agentops_core::id::{BlobId, Commit, LaneId, Name, SessionId};
use agentops_core::run::{Approve, FORMAT, SessionEnd, SessionExit, Verdict};
use agentops_core::workflow::raw::RawWorkflow;

use super::*;
use crate::world::Entry;

/// A wall clock that says what is written down for it, and then its last word again.
#[derive(Clone)]
struct Script(Arc<Mutex<VecDeque<u64>>>);

impl Script {
    fn next(&self, looks: &[u64]) {
        *self.0.lock().expect("one thread") = looks.iter().copied().collect();
    }
}

impl Clock for Script {
    fn now_ms(&self) -> u64 {
        let mut looks = self.0.lock().expect("one thread");
        if looks.len() > 1 { looks.pop_front().unwrap_or(0) } else { looks.front().copied().unwrap_or(0) }
    }

    fn mono_ms(&self) -> u64 {
        5
    }
}

#[derive(Clone, Default)]
struct Rows(Rc<RefCell<Vec<Entry>>>);

impl Storage for Rows {
    fn load_open(&mut self) -> Result<Vec<Entry>, StorageError> {
        Ok(self.0.borrow().clone())
    }

    fn load_run(&mut self, run: &RunId) -> Result<Vec<Entry>, StorageError> {
        Ok(self.0.borrow().iter().filter(|entry| entry.run == *run).cloned().collect())
    }

    fn append(&mut self, rows: &[Row]) -> Result<(), StorageError> {
        let mut kept = self.0.borrow_mut();
        for row in rows {
            let seq = kept.len() as u64 + 1;
            kept.push(Entry { seq, run: row.run.clone(), at_ms: row.at_ms, event: row.event.clone() });
        }
        Ok(())
    }
}

struct Nobody;

impl Processes for Nobody {
    fn perform(&mut self, _: &RunId, _: &State, _: &Key, _: &Action) {}
}

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn blob(n: u64) -> BlobId {
    format!("{n:064x}").parse().expect("a blob id")
}

fn commit(n: u64) -> Commit {
    format!("{n:040x}").parse().expect("a commit id")
}

fn created() -> Created {
    let text = r#"{"name": "small", "phase": [{"name": "implement", "writes": "files", "agent": "maker",
                   "gate": [{"kind": "command", "argv": ["true"]}]},
                  {"name": "close-out", "writes": "artifacts", "agent": "maker",
                   "gate": [{"kind": "artifact", "file": "close-out.json", "schema": "close-out"}]}]}"#;
    let raw: RawWorkflow = serde_json::from_str(text).expect("a workflow");
    let workflow = raw.check(None).expect("a sound workflow").workflow;
    let agent = AgentRef {
        hash: blob(1),
        prompt: blob(1),
        driver: name("scripted"),
        version: "1".into(),
        model: None,
        window: None,
        tools: None,
        settings: BTreeMap::new(),
    };
    let agents = workflow.agents().into_iter().map(|of| (of.clone(), agent.clone())).collect();
    Created {
        run: RunId::from_bits(7),
        format: FORMAT,
        task: blob(1),
        base: commit(1),
        profile: name("product-dev"),
        profile_hash: blob(1),
        workflow_hash: blob(1),
        workflow,
        agents,
        approve: Approve::All,
        alternatives: Vec::new(),
        trust: None,
        routed: None,
        repository: None,
    }
}

fn lane() -> LaneId {
    let phase = created().workflow.phases.remove(0);
    LaneId { phase: phase.name, lane: phase.lanes[0].name.clone() }
}

type Small = Conductor<Script, Rows, Nobody>;

fn conductor() -> (Small, Script) {
    let clock = Script(Arc::new(Mutex::new(VecDeque::from([1_000_000]))));
    let mut conductor = Conductor::start(clock.clone(), Rows::default(), Nobody).expect("a conductor");
    assert_eq!(conductor.take(vec![Input::Create(Box::new(created()))]).expect("it is taken"), [Ok(())]);
    (conductor, clock)
}

fn outcome(conductor: &mut Small, key: Key, event: Event) -> Result<(), Refusal> {
    conductor.take(vec![Input::Outcome(RunId::from_bits(7), key, event)]).expect("the ledger is well").remove(0)
}

fn open(conductor: &mut Small) -> SessionId {
    let key = Key::Open { lane: lane(), attempt: 1 };
    outcome(conductor, key, Event::LaneOpened { lane: lane(), base: commit(1) }).expect("the lane opens");
    SessionId { lane: lane(), ordinal: 1 }
}

fn end(conductor: &mut Small, session: &SessionId, end: SessionEnd) {
    let event = Event::SessionEnded {
        session: session.clone(),
        end,
        checkpoint: Some(commit(2)),
        changed: 1,
        dropped: 0,
        artifacts: BTreeMap::new(),
        hand_over: None,
        transcript: None,
        detail: None,
        said: None,
        omitted: None,
    };
    let exit = SessionExit::of(end);
    let exited = Event::SessionExited { session: session.clone(), exit: Box::new(exit) };
    outcome(conductor, Key::Session { session: session.clone() }, exited).expect("the agent exits");
    outcome(conductor, Key::Checkpoint { session: session.clone(), attempt: 1 }, event).expect("its lane is kept");
}

#[test]
fn r2_a_report_that_comes_twice_does_not_end_the_next_attempt() {
    let mut conductor = conductor().0;
    let session = open(&mut conductor);
    end(&mut conductor, &session, SessionEnd::Completed);
    let (phase, gate) = (name("implement"), created().workflow.phases[0].gates[0].name.clone());
    let merge = Key::Merge { phase: phase.clone(), round: 1, attempt: 1 };
    let merged = Event::Merged { phase: phase.clone(), commit: commit(3), changed: 1 };
    outcome(&mut conductor, merge, merged).expect("the lanes merge");
    let key = |attempt| Key::Gate { phase: phase.clone(), gate: gate.clone(), round: 1, attempt };
    let ended = |verdict| Event::GateEnded {
        phase: phase.clone(),
        gate: gate.clone(),
        verdict,
        detail: None,
        output: None,
        lanes: Vec::new(),
    };
    outcome(&mut conductor, key(1), ended(Verdict::Broke)).expect("the gate breaks");
    let again = outcome(&mut conductor, key(1), ended(Verdict::Broke));
    assert_eq!(again, Err(Refusal::NotBegun(key(1))));
    outcome(&mut conductor, key(2), ended(Verdict::Passed)).expect("the second attempt counts");
}

#[test]
fn r8_a_clock_that_jumps_while_a_timer_is_set_does_not_fire_it() {
    let (mut conductor, clock) = conductor();
    let session = open(&mut conductor);
    // A year between the first look at the clock and every later one.
    clock.next(&[2_000_000, 31_538_000_000]);
    end(&mut conductor, &session, SessionEnd::Provider);
    assert_eq!(conductor.next_timer(), Some(5 + 5_000), "the provider is asked again after its five seconds");
}
