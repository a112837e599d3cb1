//! A world that performs every action at once and well: what is left is the conductor and the ledger.

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Instant;

use agentops_core::ceiling::Enforcement;
use agentops_core::id::{BlobId, Commit, RunId, SessionId};
use agentops_core::run::{Action, Created, Event, Key, SessionEnd, SessionExit, SessionFacts, State, Verdict};
use agentops_core::usage::Usage;
use agentops_core::workflow::{Check, Writes};
use agentops_engine::conductor::{Conductor, Input};
use agentops_engine::world::{Entry, Processes, Row, Storage, StorageError, SystemClock};

/// Performs by reporting at once.
pub struct AtOnce {
    /// Model calls of each session.
    pub calls: u32,
    /// Sessions stay open after their calls.
    pub hang: bool,
    /// What is to be reported, in order.
    pub reports: VecDeque<(RunId, Event)>,
    /// When the first action since this was cleared was started.
    pub started: Rc<Cell<Option<Instant>>>,
    ids: u64,
}

impl AtOnce {
    pub fn new(calls: u32) -> Self {
        Self { calls, hang: false, reports: VecDeque::new(), started: Rc::default(), ids: 1 }
    }

    fn id(&mut self) -> u64 {
        self.ids += 1;
        // Spread over all digits, as hashes are.
        self.ids.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    fn blob(&mut self) -> BlobId {
        format!("{:016x}", self.id()).repeat(4).parse().expect("a blob id")
    }

    fn commit(&mut self) -> Commit {
        format!("{:016x}", self.id()).repeat(3)[..40].parse().expect("a commit id")
    }

    fn session(&mut self, session: &SessionId) -> Vec<Event> {
        let facts = SessionFacts {
            model: Some("a-model-of-some-name-20260101".into()),
            version: Some("2.1.0".into()),
            window: Some(200_000),
            base_tokens: Some(17_400),
            start_tokens: 2_300,
            enforcement: Enforcement::Stopped,
            prompt: self.blob(),
        };
        let mut events = vec![Event::SessionReady { session: session.clone(), facts }];
        events.extend((0..self.calls).map(|n| call(session, n)));
        if !self.hang {
            let exit = SessionExit { transcript: Some(self.blob()), ..SessionExit::of(SessionEnd::Completed) };
            events.push(Event::SessionExited { session: session.clone(), exit: Box::new(exit) });
        }
        events
    }

    fn kept(&mut self, session: SessionId, writes: Writes, exit: &SessionExit) -> Event {
        let checkpoint = (writes == Writes::Files).then(|| self.commit());
        Event::SessionEnded {
            session,
            end: exit.end,
            checkpoint,
            changed: 4,
            dropped: 0,
            artifacts: [("findings.md".to_owned(), self.blob())].into(),
            hand_over: None,
            transcript: exit.transcript.clone(),
            detail: None,
            said: None,
            omitted: None,
        }
    }

    fn outcome(&mut self, state: &State, action: &Action) -> Vec<Event> {
        let one = match action.clone() {
            Action::OpenLane { lane, base } => Event::LaneOpened { lane, base },
            Action::StartSession { session, .. } => return self.session(&session),
            Action::Checkpoint { session, writes, exit, .. } => self.kept(session, writes, &exit),
            Action::Merge { phase, .. } => Event::Merged { phase, commit: self.commit(), changed: 4 },
            Action::RunGate { phase, gate, .. } => match &gate.check {
                Check::Laws => Event::LawsChecked { held: [true; 5], detail: None },
                Check::Approval { .. } => Event::ApprovalAsked { phase, gate: gate.name, shown: self.blob() },
                _ => Event::GateEnded {
                    phase,
                    gate: gate.name,
                    verdict: Verdict::Passed,
                    detail: None,
                    output: Some(self.blob()),
                    lanes: Vec::new(),
                },
            },
            Action::Bundle { phase } => Event::Bundled {
                phase,
                bundle: self.blob(),
                before: 48_200,
                after: 6_100,
                manifest: None,
                kept_permille: None,
            },
            Action::Record { .. } => Event::Recorded { commit: self.commit() },
            Action::Publish { .. } => {
                Event::Published { commit: state.recorded.clone().expect("what is published was recorded") }
            }
            Action::CloseLanes => Event::LanesClosed,
            _ => return Vec::new(),
        };
        vec![one]
    }
}

impl Processes for AtOnce {
    fn perform(&mut self, run: &RunId, state: &State, _key: &Key, action: &Action) {
        if self.started.get().is_none() {
            self.started.set(Some(Instant::now()));
        }
        let events = self.outcome(state, action);
        self.reports.extend(events.into_iter().map(|event| (run.clone(), event)));
    }
}

/// A model call of ordinary size, below the soft mark however many there are.
pub fn call(session: &SessionId, n: u32) -> Event {
    let usage = Usage { input: 130, cache_read: 21_000 + u64::from(n % 200) * 150, cache_write: 820, output: 460 };
    let (session, context) = (session.clone(), usage.context());
    Event::Call { session, usage: Some(usage), context, window: 200_000, sub_agent: false, stop: None, row: None }
}

/// So many runs of a plan.
pub fn runs(created: &Created, count: u64) -> Vec<Created> {
    (1..=count).map(|n| Created { run: RunId::from_bits(n.wrapping_mul(0x9e37_79b9)), ..created.clone() }).collect()
}

/// Starts runs and takes reports in, so many at a time, until nothing is left to report. Gives the number of reports.
pub fn play<S: Storage>(conductor: &mut Conductor<SystemClock, S, AtOnce>, runs: Vec<Created>, batch: usize) -> usize {
    let mut reports = 0;
    take(conductor, runs.into_iter().map(|created| Input::Create(Box::new(created))).collect());
    while !conductor.processes.reports.is_empty() {
        let count = batch.min(conductor.processes.reports.len());
        let inputs: Vec<Input> =
            conductor.processes.reports.drain(..count).map(|(run, event)| Input::Happened(run, event)).collect();
        reports += inputs.len();
        take(conductor, inputs);
    }
    reports
}

/// Takes inputs in; each must be taken.
pub fn take<S: Storage>(conductor: &mut Conductor<SystemClock, S, AtOnce>, inputs: Vec<Input>) {
    for answer in conductor.take(inputs).expect("the ledger works") {
        answer.expect("what this world reports fits");
    }
}

/// A ledger that keeps nothing but the list: to make events.
#[derive(Default)]
pub struct List(pub Vec<Row>);

impl Storage for List {
    fn load_open(&mut self) -> Result<Vec<Entry>, StorageError> {
        Ok(Vec::new())
    }

    fn load_run(&mut self, _run: &RunId) -> Result<Vec<Entry>, StorageError> {
        Ok(Vec::new())
    }

    fn append(&mut self, rows: &[Row]) -> Result<(), StorageError> {
        self.0.extend_from_slice(rows);
        Ok(())
    }
}
