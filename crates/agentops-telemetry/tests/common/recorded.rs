//! A run as a ledger tells it, made by the state machine itself in a world where most things go well: two sessions with a
//! hand-over, a provider that is busy, a sub-agent, a compaction, a takeover, and a driver without a gateway.
//!
//! What must never be sent is planted in it with the word `planted`.

use std::collections::BTreeMap;

use agentops_core::agent::AgentRef;
use agentops_core::budget::Amount;
use agentops_core::call::{CallKind, CallRow};
use agentops_core::ceiling::Enforcement;
use agentops_core::id::{BlobId, Commit, Name, RunId, SessionId};
use agentops_core::run::{Action, Approve, Created, Event, FORMAT, SessionEnd, SessionExit, SessionFacts, State, Verdict};
use agentops_core::usage::Usage;
use agentops_core::workflow::raw::RawWorkflow;
use agentops_core::workflow::{Check, Writes};
use agentops_safe::Redactor;
use agentops_telemetry::{Follower, Span};

const WORKFLOW: &str = r#"{
  "name": "full", "description": "planted description",
  "budget": {"tokens": 2000000, "usd": 5.0}, "phase": [
    {"name": "research", "writes": "artifacts", "lane": [{"name": "code", "agent": "scout", "focus": "planted focus"}],
     "gate": [{"kind": "artifact", "file": "planted.md"}]},
    {"name": "implement", "writes": "files", "lane": [{"name": "one", "agent": "maker"}, {"name": "two", "agent": "maker"}],
     "gate": [{"kind": "command", "argv": ["planted-argv"]}]},
    {"name": "close-out", "writes": "artifacts", "agent": "closer",
     "gate": [{"kind": "artifact", "file": "close-out.json", "schema": "close-out"}]}
  ]}"#;

/// A secret that the redactor knows, and that a provider's answer repeats.
pub const SECRET: &str = "planted-correct-horse";
/// The window of every model here, in tokens.
pub const WINDOW: u64 = 200_000;

/// One entry of the ledger: when, and what.
pub type Line = (u64, Event);

pub fn redactor() -> Redactor {
    Redactor::new([("API_KEY".to_owned(), SECRET.to_owned())])
}

/// The spans of these entries.
pub fn spans(lines: &[Line], task: Option<&str>) -> Vec<Span> {
    let mut follower = Follower::new(redactor(), task);
    lines.iter().flat_map(|(at_ms, event)| follower.follow(event, *at_ms).expect("the event fits")).collect()
}

/// A run that began at this time, from its first entry to its last.
pub fn run(start_ms: u64) -> Vec<Line> {
    let created = Event::Created(Box::new(created()));
    let state = State::first(&created, start_ms).expect("a first event");
    let mut world = World { state, lines: vec![(start_ms, created)], now: start_ms, made: 100, taken_over: false };
    world.go();
    world.lines
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
    let raw: RawWorkflow = serde_json::from_str(WORKFLOW).expect("a workflow");
    let workflow = raw.check(None).expect("a sound workflow").workflow;
    let agent = AgentRef {
        hash: blob(1),
        prompt: blob(2),
        driver: name("claude"),
        version: "1".into(),
        model: None,
        window: None,
        tools: Some(vec!["planted-tool".into()]),
        settings: BTreeMap::new(),
    };
    let agents = workflow.agents().into_iter().map(|agent_name| (agent_name.clone(), agent.clone())).collect();
    Created {
        run: RunId::from_bits(7),
        format: FORMAT,
        task: blob(3),
        base: commit(1),
        profile: name("product-dev"),
        profile_hash: blob(4),
        workflow_hash: blob(5),
        workflow,
        agents,
        approve: Approve::All,
        alternatives: Vec::new(),
        trust: None,
        routed: None,
        repository: None,
    }
}

/// A call that went well.
pub fn row(started_ms: u64, conversation: u32) -> CallRow {
    let usage = Usage { input: 2_000, cache_read: 58_000, cache_write: 2_000, output: 512 };
    CallRow {
        conversation,
        sub_agent: conversation > 1,
        kind: CallKind::Work,
        provider: "anthropic".into(),
        model: Some("claude-haiku-5-5".into()),
        answered_by: Some("claude-haiku-5-5-20260922".into()),
        response_id: Some(format!("msg_{started_ms}")),
        finish: Some("end_turn".into()),
        status: Some(200),
        error: None,
        streamed: true,
        started_ms,
        first_byte_ms: Some(240),
        duration_ms: 3_250,
        estimate: 61_000,
        counted: true,
        output_max: 16_000,
        window: WINDOW,
        usage: Some(usage),
        reasoning: Some(128),
        charged: Amount::priced(usage.context(), 15_250),
        reserved: None,
    }
}

struct World {
    state: State,
    lines: Vec<Line>,
    now: u64,
    made: u64,
    taken_over: bool,
}

impl World {
    fn append(&mut self, event: Event) {
        self.now += 1_000;
        self.state.apply(&event, self.now).unwrap_or_else(|e| panic!("{e}: {event:?}"));
        self.lines.push((self.now, event));
    }

    fn fresh(&mut self) -> u64 {
        self.made += 1;
        self.made
    }

    fn go(&mut self) {
        while let Some((key, action)) = self.state.actions().into_iter().next() {
            self.append(Event::Began { key });
            self.perform(action);
        }
        assert!(self.state.outcome.is_some(), "the run came to its end");
    }

    fn perform(&mut self, action: Action) {
        let id = self.fresh();
        match action {
            Action::OpenLane { lane, base } => self.append(Event::LaneOpened { lane, base }),
            Action::StartSession { session, .. } => self.session(&session),
            Action::Salvage { session } => self.exit(&session, SessionEnd::Interrupted),
            Action::Checkpoint { session, writes, exit, .. } => self.end(&session, *exit, writes),
            Action::Merge { phase, .. } => self.append(Event::Merged { phase, commit: commit(id), changed: 2 }),
            Action::RunGate { phase, gate, .. } => match gate.check {
                Check::Laws => self.append(Event::LawsChecked { held: [true; 5], detail: None }),
                _ => {
                    let (gate, verdict) = (gate.name, Verdict::Passed);
                    self.append(Event::GateEnded { phase, gate, verdict, detail: None, output: None, lanes: Vec::new() });
                }
            },
            Action::Bundle { phase } => self.append(Event::Bundled {
                phase,
                bundle: blob(6),
                before: 48_200,
                after: 6_100,
                manifest: None,
                kept_permille: None,
            }),
            Action::Record { .. } => self.append(Event::Recorded { commit: commit(id) }),
            Action::Publish { commit } => self.append(Event::Published { commit }),
            Action::CloseLanes => self.append(Event::LanesClosed),
            Action::End { outcome } => self.append(Event::Ended { outcome }),
            Action::StopWork | Action::AskHandOver { .. } | Action::StopSession { .. } => {}
        }
    }

    fn session(&mut self, session: &SessionId) {
        let place = session.to_string();
        let driver_only = place.starts_with("implement/two");
        let enforcement = if driver_only { Enforcement::Stopped } else { Enforcement::Prevented };
        let facts = SessionFacts {
            model: Some("claude-haiku-5-5".into()),
            version: Some("2.1".into()),
            window: Some(WINDOW),
            base_tokens: Some(15_000),
            start_tokens: 2_000,
            enforcement,
            prompt: blob(2),
        };
        self.append(Event::SessionReady { session: session.clone(), facts });
        match place.as_str() {
            "research/code/1" => {
                self.call(session, row(self.now, 1));
                let changed = CallRow { response_id: Some(format!("msg_{SECRET}")), ..row(self.now, 1) };
                self.call(session, CallRow { kind: CallKind::HandOver, ..changed });
                return self.exit(session, SessionEnd::HandedOver);
            }
            "implement/one/1" => {
                let busy = CallRow {
                    answered_by: None,
                    response_id: None,
                    finish: None,
                    status: Some(429),
                    error: Some("http-429".into()),
                    streamed: false,
                    first_byte_ms: None,
                    usage: None,
                    reasoning: None,
                    charged: Amount::priced(79_000, 0),
                    ..row(self.now, 1)
                };
                self.call(session, busy);
                self.call(session, CallRow { charged: Amount::unpriced(62_512), ..row(self.now, 2) });
                self.call(session, CallRow { kind: CallKind::Compaction, ..row(self.now, 1) });
            }
            "implement/two/1" => {
                self.reported(session, 20_000);
                if !self.taken_over {
                    self.taken_over = true;
                    return self.append(Event::Orphaned);
                }
            }
            _ if driver_only => self.reported(session, 30_000),
            _ => self.call(session, row(self.now, 1)),
        }
        self.exit(session, SessionEnd::Completed);
    }

    /// A call that went through the gateway.
    fn call(&mut self, session: &SessionId, row: CallRow) {
        self.append(Event::Granted { session: session.clone(), amount: row.charged });
        self.now += row.duration_ms;
        self.append(Event::Call {
            session: session.clone(),
            usage: row.usage,
            context: row.context(),
            window: row.window,
            sub_agent: row.sub_agent,
            stop: None,
            row: Some(Box::new(row)),
        });
    }

    /// A call that a driver reported.
    fn reported(&mut self, session: &SessionId, context: u64) {
        let usage = Some(Usage { input: context - 500, output: 500, ..Usage::default() });
        let session = session.clone();
        let (window, sub_agent) = (WINDOW, false);
        self.append(Event::Call { session, usage, context, window, sub_agent, stop: None, row: None });
    }

    fn exit(&mut self, session: &SessionId, end: SessionEnd) {
        // In one session the program says something else than the gateway saw.
        let said = (session.ordinal == 2).then_some(Usage { input: 1, ..Usage::default() });
        let exit = SessionExit { said, ..SessionExit::of(end) };
        self.append(Event::SessionExited { session: session.clone(), exit: Box::new(exit) });
    }

    fn end(&mut self, session: &SessionId, exit: SessionExit, writes: Writes) {
        let (id, end) = (self.fresh(), exit.end);
        self.append(Event::SessionEnded {
            session: session.clone(),
            end,
            checkpoint: (writes == Writes::Files).then(|| commit(id)),
            changed: 1,
            dropped: 0,
            artifacts: BTreeMap::from([("planted.md".to_owned(), blob(id))]),
            hand_over: end.is_hand_over().then(|| blob(id)),
            transcript: None,
            detail: None,
            said: exit.said,
            omitted: None,
        });
    }
}
