//! The machine against worlds that do as they are told, and against worlds that do not.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

mod decisions;
mod omitted;
mod provider;
mod reviews;
mod slots;
mod spent;

use super::*;
use crate::agent::AgentRef;
use crate::ceiling::Enforcement;
use crate::id::{BlobId, Commit, Name, RunId};
use crate::usage::Usage;
use crate::workflow::raw::RawWorkflow;

/// A workflow with everything in it: several lanes, every kind of gate but a person's.
const FULL: &str = r#"{
  "name": "full", "phase": [
    {"name": "research", "writes": "artifacts", "lane": [{"name": "code", "agent": "scout"}, {"name": "tests", "agent": "scout"}],
     "gate": [{"kind": "artifact", "file": "findings.md"}]},
    {"name": "plan", "writes": "artifacts", "agent": "planner",
     "gate": [{"kind": "artifact", "file": "plan.md"}, {"kind": "approval", "file": "plan.md"}]},
    {"name": "implement", "writes": "files", "lane": [{"name": "one", "agent": "maker"}, {"name": "two", "agent": "maker"}],
     "gate": [{"kind": "command", "argv": ["true"]}, {"kind": "review", "agent": "judge"}]},
    {"name": "close-out", "writes": "artifacts", "agent": "closer",
     "gate": [{"kind": "artifact", "file": "close-out.json", "schema": "close-out"}]}
  ]}"#;

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn blob(n: u64) -> BlobId {
    format!("{n:064x}").parse().expect("a blob id")
}

fn commit(n: u64) -> Commit {
    format!("{n:040x}").parse().expect("a commit id")
}

fn created(approve: Approve) -> Created {
    let raw: RawWorkflow = serde_json::from_str(FULL).expect("a workflow");
    let workflow = raw.check(None).expect("a sound workflow").workflow;
    let agent = AgentRef {
        hash: blob(1),
        prompt: blob(2),
        driver: name("scripted"),
        version: "1".into(),
        model: None,
        window: None,
        tools: None,
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
        approve,
        alternatives: vec![name("quick")],
        trust: None,
        routed: None,
        repository: None,
    }
}

/// A world that performs actions by choosing among their possible outcomes.
struct World {
    state: State,
    log: Vec<Event>,
    now: u64,
    next_id: u64,
    started: BTreeSet<Key>,
    choices: Vec<u8>,
}

impl World {
    fn new(approve: Approve, choices: Vec<u8>) -> Self {
        let first = Event::Created(Box::new(created(approve)));
        let state = State::first(&first, 1).expect("a first event");
        Self { state, log: vec![first], now: 1, next_id: 100, started: BTreeSet::new(), choices }
    }

    fn append(&mut self, event: Event) {
        self.now += 1;
        self.state.apply(&event, self.now).unwrap_or_else(|e| panic!("{e}: {event:?}"));
        self.log.push(event);
    }

    fn fresh(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// The next choice; 0, the good outcome, once the choices are used up.
    fn choose(&mut self, among: u8) -> u8 {
        self.choices.pop().map_or(0, |choice| choice % among)
    }

    /// The agent exits, and its lane is kept.
    fn session_end(&mut self, session: &crate::id::SessionId, end: SessionEnd, writes: bool) {
        self.append(exited(session, end));
        let (key, action) = self.due(|action| matches!(action, Action::Checkpoint { .. })).expect("a checkpoint is due");
        self.append(Event::Began { key });
        assert!(matches!(action, Action::Checkpoint { exit, .. } if exit.end == end));
        self.kept(session, end, writes);
    }

    fn due(&self, of: impl Fn(&Action) -> bool) -> Option<(Key, Action)> {
        self.state.actions().into_iter().find(|(_, action)| of(action))
    }

    fn kept(&mut self, session: &crate::id::SessionId, end: SessionEnd, writes: bool) {
        let (changed, id) = (u32::from(self.choose(3) != 1), self.fresh());
        let artifacts = if changed > 0 { BTreeMap::from([("findings.md".to_owned(), blob(id))]) } else { BTreeMap::new() };
        let omitted = (writes && self.choose(8) == 7).then(|| Omitted { list: blob(id), unseen: 1 });
        self.append(Event::SessionEnded {
            session: session.clone(),
            end,
            checkpoint: writes.then(|| commit(id)),
            changed,
            dropped: 0,
            artifacts,
            hand_over: end.is_hand_over().then(|| blob(id)),
            transcript: None,
            detail: None,
            said: None,
            omitted,
        });
    }

    /// Lets the machine go on until nothing is left to do; false when it did not stop within the bound.
    fn go(&mut self) -> bool {
        for _ in 0..2_000 {
            let actions = self.state.actions();
            let Some((key, action)) = actions.into_iter().next() else {
                if let Some(timer) = self.state.timers().into_iter().next() {
                    self.append(Event::TimerFired { key: timer.key });
                    continue;
                }
                return true;
            };
            if !matches!(key, Key::StopWork) {
                assert!(self.started.insert(key.clone()), "{key} was started twice");
            }
            if let Action::End { outcome } = action {
                self.append(Event::Began { key });
                self.append(Event::Ended { outcome });
                continue;
            }
            self.append(Event::Began { key });
            if self.choose(12) == 11 {
                // The supervisor dies: sessions must be salvaged, everything else may be repeated.
                self.append(Event::Orphaned);
                self.started.retain(|key| matches!(key, Key::Session { .. }));
                continue;
            }
            self.perform(action);
        }
        false
    }

    fn perform(&mut self, action: Action) {
        if self.choose(24) == 23
            && let Some(key) = self.attempt_of(&action)
        {
            return self.append(Event::ActionFailed { key, detail: blob(9) });
        }
        match action {
            Action::OpenLane { lane, base } => match self.choose(8) {
                7 => self.append(Event::LaneFailed { lane, detail: blob(9) }),
                _ => self.append(Event::LaneOpened { lane, base }),
            },
            Action::StartSession { session, .. } => self.session(&session),
            Action::Salvage { session } => self.append(exited(&session, SessionEnd::Interrupted)),
            Action::Checkpoint { session, writes, exit, .. } => {
                self.kept(&session, exit.end, writes == crate::workflow::Writes::Files)
            }
            Action::Merge { phase, onto, heads, .. } => match (self.choose(6), heads.first()) {
                (5, Some((lane, _))) => self.append(Event::Conflict { lane: lane.clone(), onto, detail: blob(8) }),
                _ => {
                    let id = self.fresh();
                    self.append(Event::Merged { phase, commit: commit(id), changed: 2 });
                }
            },
            Action::RunGate { phase, gate, .. } => self.gate(phase, &gate),
            Action::Bundle { phase } => self.append(Event::Bundled {
                phase,
                bundle: blob(6),
                before: 10,
                after: 2,
                manifest: None,
                kept_permille: None,
            }),
            Action::Record { .. } => self.append(Event::Recorded { commit: commit(77) }),
            Action::Publish { commit } => self.append(Event::Published { commit }),
            Action::CloseLanes => self.append(Event::LanesClosed),
            Action::StopWork | Action::AskHandOver { .. } | Action::StopSession { .. } | Action::End { .. } => {}
        }
    }

    /// The begun key of an action that may fail and has a number for each attempt.
    fn attempt_of(&self, action: &Action) -> Option<Key> {
        let is_its_key = |key: &&Key| match (action, key) {
            (Action::OpenLane { lane, .. }, Key::Open { lane: of, .. }) => lane == of,
            (Action::Checkpoint { session, .. }, Key::Checkpoint { session: of, .. }) => session == of,
            (Action::Merge { .. }, Key::Merge { .. }) | (Action::RunGate { .. }, Key::Gate { .. }) => true,
            _ => false,
        };
        self.state.begun.iter().find(is_its_key).cloned()
    }

    fn session(&mut self, session: &crate::id::SessionId) {
        let facts = SessionFacts {
            model: None,
            version: None,
            window: Some(1000),
            base_tokens: None,
            start_tokens: 1,
            enforcement: Enforcement::Stopped,
            prompt: blob(2),
        };
        self.append(Event::SessionReady { session: session.clone(), facts });
        let usage = Some(Usage { input: 100, ..Usage::default() });
        let context = [100, 300, 500][usize::from(self.choose(3))];
        self.append(Event::Call {
            session: session.clone(),
            usage,
            context,
            window: 1000,
            sub_agent: false,
            stop: None,
            row: None,
        });
        let ends = [
            SessionEnd::Completed,
            SessionEnd::Completed,
            SessionEnd::HandedOver,
            SessionEnd::Ceiling,
            SessionEnd::Hung,
            SessionEnd::Provider,
            SessionEnd::NotLoggedIn,
            SessionEnd::Failed,
            SessionEnd::ContextLost,
            SessionEnd::Filtered,
            SessionEnd::Budget,
            SessionEnd::UsageUnknown,
            SessionEnd::DiskFull,
        ];
        let end = ends[usize::from(self.choose(13))];
        self.append(exited(session, end));
    }

    fn gate(&mut self, phase: Name, gate: &crate::workflow::Gate) {
        let choice = self.choose(6);
        match &gate.check {
            crate::workflow::Check::Laws => {
                self.append(Event::LawsChecked { held: [choice != 5, true, true, true, true], detail: None })
            }
            crate::workflow::Check::Approval { .. } => {
                self.append(Event::ApprovalAsked { phase, gate: gate.name.clone(), shown: blob(40) })
            }
            _ => {
                let verdict =
                    [Verdict::Passed, Verdict::Passed, Verdict::Passed, Verdict::Passed, Verdict::Refused, Verdict::Broke]
                        [usize::from(choice)];
                let detail = (verdict != Verdict::Passed).then(|| blob(41));
                let gate = gate.name.clone();
                self.append(Event::GateEnded { phase, gate, verdict, detail, output: None, lanes: Vec::new() });
            }
        }
    }
}

fn exited(session: &crate::id::SessionId, end: SessionEnd) -> Event {
    let exit = SessionExit::of(end);
    Event::SessionExited { session: session.clone(), exit: Box::new(exit) }
}

#[test]
fn a_run_in_a_good_world_ends_as_done() {
    let mut world = World::new(Approve::All, Vec::new());
    assert!(world.go());
    assert_eq!(world.state.status(true), Status::Done);
    assert_eq!(world.state.sessions().count(), 2 + 1 + 2 + 1 + 1, "one session a lane, and one for the review");
}

#[test]
fn an_approval_is_for_what_was_shown_and_nothing_else() {
    let mut world = World::new(Approve::None, Vec::new());
    assert!(world.go());
    assert!(matches!(world.state.status(true), Status::Waiting { waiting: Waiting::Approval { .. } }));
    let mut other = world.state.clone();
    assert!(other.apply(&Event::Intent(Intent::Approve { shown: blob(99) }), 50).is_err());
    world.append(Event::Intent(Intent::Approve { shown: blob(40) }));
    assert!(world.go());
    assert_eq!(world.state.status(true), Status::Done);
}

#[test]
fn a_rejection_sends_a_fresh_session_in_with_the_words() {
    let mut world = World::new(Approve::None, Vec::new());
    world.go();
    world.append(Event::Intent(Intent::Reject { shown: blob(40), message: blob(50) }));
    let (_, action) = world.state.actions().remove(0);
    assert!(matches!(action, Action::StartSession { next, .. } if next.findings == Some(blob(50))));
}

#[test]
fn done_cannot_be_reached_around_the_laws() {
    let mut world = World::new(Approve::All, Vec::new());
    world.go();
    // The same ledger without the laws' check, or with a law that did not hold, never gets to `done`.
    for broken in [None, Some([true, true, true, true, false])] {
        let mut state = State::first(&world.log[0], 1).expect("a first event");
        let mut refused = false;
        for event in &world.log[1..] {
            let event = match (event, broken) {
                (Event::LawsChecked { .. }, None) => continue,
                (Event::LawsChecked { .. }, Some(held)) => Event::LawsChecked { held, detail: None },
                _ => event.clone(),
            };
            if state.apply(&event, 1).is_err() {
                refused = true;
                break;
            }
        }
        assert!(refused && state.outcome.is_none());
    }
}

#[test]
fn a_refused_event_leaves_the_state_as_it_was() {
    let mut world = World::new(Approve::All, Vec::new());
    world.go();
    // Every event of a whole run, offered again at every moment of it: what is refused leaves no trace.
    let mut state = State::first(&world.log[0], 1).expect("a first event");
    for event in &world.log[1..] {
        for again in world.log.iter().filter(|again| *again != event) {
            let (before, mut tried) = (state.clone(), state.clone());
            if tried.try_apply(again, 5).is_err() {
                assert_eq!(tried, before, "{again:?}");
            }
        }
        state.try_apply(event, 2).expect("what was folded once folds again");
    }
}

#[test]
fn no_action_begins_twice() {
    let mut world = World::new(Approve::All, Vec::new());
    let (key, _) = world.state.actions().remove(0);
    world.append(Event::Began { key: key.clone() });
    assert!(world.state.clone().apply(&Event::Began { key }, 3).is_err());
}

/// A world in which the first session has begun.
fn with_a_session() -> (World, crate::id::SessionId) {
    let mut world = World::new(Approve::All, Vec::new());
    loop {
        let (key, action) = world.state.actions().remove(0);
        world.append(Event::Began { key });
        if let Action::StartSession { session, .. } = action {
            return (world, session);
        }
        world.perform(action);
    }
}

fn call(session: &crate::id::SessionId, context: u64, window: u64) -> Event {
    let usage = Some(Usage { input: 100, ..Usage::default() });
    Event::Call { session: session.clone(), usage, context, window, sub_agent: false, stop: None, row: None }
}

#[test]
fn a_window_of_zero_is_unknown_and_takes_no_ceiling_away() {
    let (mut world, session) = with_a_session();
    world.append(call(&session, 100, 1000));
    world.append(call(&session, 100, 0));
    world.append(call(&session, 400, 1000));
    let asked = |(_, action): &(Key, Action)| matches!(action, Action::StopSession { .. });
    assert!(world.state.actions().iter().any(asked));
}

#[test]
fn a_session_of_a_dead_supervisor_makes_no_more_calls() {
    let (mut world, session) = with_a_session();
    world.append(Event::Orphaned);
    assert!(world.state.clone().apply(&call(&session, 500, 1000), 9).is_err());
}

#[test]
fn what_fails_is_tried_again_when_a_person_says_so_and_not_by_itself() {
    let (mut world, session) = with_a_session();
    world.append(Event::Orphaned);
    let salvage = Key::Salvage { session: session.clone(), takeover: 1 };
    world.append(Event::Began { key: salvage.clone() });
    world.append(Event::ActionFailed { key: salvage.clone(), detail: blob(9) });
    let due = |state: &State| state.actions().iter().any(|(key, _)| *key == salvage);
    assert!(!due(&world.state));
    assert!(matches!(world.state.status(true), Status::NeedsDecision { .. }));
    // Also when the run is being cancelled: the salvage is tried once more, and then somebody is asked.
    world.append(Event::Intent(Intent::Cancel));
    assert!(due(&world.state));
    world.append(Event::Began { key: salvage.clone() });
    world.append(Event::ActionFailed { key: salvage.clone(), detail: blob(9) });
    assert!(!due(&world.state));
    assert!(matches!(world.state.status(true), Status::NeedsDecision { .. }));
    world.append(Event::Intent(Intent::Resume { decisions: None }));
    assert!(world.go());
    assert_eq!(world.state.status(true), Status::Cancelled);
}

#[test]
fn an_answer_is_for_everything_that_came_up() {
    let mut world = World::new(Approve::All, Vec::new());
    // Both lanes of research begin, and both leave files that the filter refuses.
    for _ in 0..2 {
        for (key, action) in world.state.actions() {
            world.append(Event::Began { key });
            match action {
                Action::StartSession { session, .. } => world.session_end(&session, SessionEnd::Filtered, false),
                action => world.perform(action),
            }
        }
    }
    world.append(Event::Intent(Intent::Resume { decisions: None }));
    let starts = world.state.actions().into_iter().filter_map(|(_, action)| match action {
        Action::StartSession { next, .. } => Some(next.reset_to.is_some()),
        _ => None,
    });
    assert_eq!(starts.collect::<Vec<_>>(), [true, true], "both lanes start again from what is clean");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// R11 in the machine: in any world every run stops somewhere, and where it stops it says what it waits for; a person who
    /// goes on answering brings it to an end. Folding the ledger again gives the same state (R1).
    #[test]
    fn r11_every_run_ends_or_says_what_it_waits_for(choices in prop::collection::vec(any::<u8>(), 0..200), cancel in any::<bool>()) {
        let mut world = World::new(Approve::None, choices);
        for answer in 0.. {
            prop_assert!(world.go(), "the run does not come to rest");
            let status = world.state.status(true);
            match &status {
                Status::Done | Status::Failed { .. } | Status::Cancelled => break,
                Status::NeedsDecision { .. } if cancel && answer > 2 && !world.state.cancelled => world.append(Event::Intent(Intent::Cancel)),
                Status::NeedsDecision { .. } => world.append(Event::Intent(Intent::Resume { decisions: None })),
                Status::Waiting { waiting: Waiting::Approval { shown, .. } } => {
                    let shown = shown.clone();
                    world.append(Event::Intent(Intent::Approve { shown }));
                }
                other => prop_assert!(false, "{other:?} with nothing to do"),
            }
            prop_assert!(answer < 400);
        }
        let mut again = State::first(&world.log[0], 1).expect("a first event");
        for (index, event) in world.log.iter().enumerate().skip(1) {
            again.apply(event, 1 + index as u64).expect("what was folded once folds again");
        }
        prop_assert_eq!(again, world.state);
    }
}

#[test]
fn s13_the_test_of_a_merge_is_compared_after_the_end_of_its_run_and_each_once() {
    let mut world = World::new(Approve::All, Vec::new());
    let during = Key::MergeTest { attempt: 1 };
    let recorded = Event::RepositoryRecorded { during: during.clone(), record: blob(3) };
    let compared =
        Event::RepositoryCompared { during: during.clone(), changes: None, count: 0, after_takeover: false, left: None };
    assert!(world.state.try_apply(&recorded, 5).is_err(), "the run goes on");
    world.go();
    assert!(world.state.outcome.is_some());
    assert!(world.state.try_apply(&compared, 5).is_err(), "nothing was recorded");
    world.append(recorded.clone());
    assert!(world.state.try_apply(&recorded, 5).is_err(), "another merge has this number");
    // The run was merged or discarded in another terminal meanwhile.
    world.append(Event::Closed { closing: Closing::Discarded { commit: commit(77) } });
    world.append(compared);
    assert!(world.state.try_apply(&recorded, 5).is_err(), "the number was used");
    let gate = Key::Gate { phase: "implement".parse().unwrap(), gate: "tests".parse().unwrap(), round: 1, attempt: 9 };
    let other = Event::RepositoryRecorded { during: gate, record: blob(3) };
    assert!(world.state.try_apply(&other, 5).is_err(), "a gate of the run itself");
}
