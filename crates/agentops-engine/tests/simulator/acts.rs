//! How actions go: outcomes and sessions by seed.

use std::collections::BTreeMap;

use agentops_core::budget::Amount;
use agentops_core::call::{CallKind, CallRow};
use agentops_core::ceiling::{Enforcement, StopReason};
use agentops_core::id::SessionId;
use agentops_core::run::{Action, Event, Key, Omitted, SessionEnd, SessionExit, SessionFacts, Stop, Verdict};
use agentops_core::usage::Usage;
use agentops_core::workflow::{Check, Writes};

use crate::disk::Plant;
use crate::fixture::{commit, name};
use crate::world::World;

/// An agent's process.
pub struct Proc {
    pub session: SessionId,
    pub ready: bool,
    pub context: u64,
    pub calls_left: u64,
    /// It never hands over, however it is asked.
    pub deaf: bool,
    /// It says what is not so about its tokens and its window.
    pub liar: bool,
    pub asked: bool,
    pub stop: Option<Stop>,
    pub end: SessionEnd,
    /// It goes through a gateway: what it may spend is granted first.
    pub gateway: bool,
    /// What it was granted and has not spent yet, in tokens.
    pub granted: u64,
}

const WINDOW: u64 = 100_000;
/// Tokens that a call through a gateway is charged, and that a grant is for.
const CHARGE: u64 = 400;
const GRANT: u64 = 1_000;

/// A call as a gateway would write it down.
fn row(context: u64, window: u64) -> CallRow {
    CallRow {
        conversation: 1,
        sub_agent: false,
        kind: CallKind::Work,
        provider: "scripted".into(),
        model: None,
        answered_by: None,
        response_id: None,
        finish: None,
        status: Some(200),
        error: None,
        streamed: true,
        started_ms: 1,
        first_byte_ms: Some(1),
        duration_ms: 2,
        estimate: context,
        counted: true,
        output_max: 0,
        window,
        usage: None,
        reasoning: None,
        charged: Amount::priced(CHARGE, CHARGE),
        reserved: None,
    }
}

impl World {
    /// A process for a session, as good or bad as the seed wants it.
    pub fn agent(&mut self, session: &SessionId) -> Proc {
        let bad = [
            ("session: hung", SessionEnd::Hung),
            ("session: time limit", SessionEnd::TimeLimit),
            ("session: died", SessionEnd::Failed),
            ("session: provider fault", SessionEnd::Provider),
            ("session: provider fault", SessionEnd::Provider),
            ("session: not logged in", SessionEnd::NotLoggedIn),
            ("session: context lost", SessionEnd::ContextLost),
            ("session: filtered", SessionEnd::Filtered),
            ("session: budget spent", SessionEnd::Budget),
            ("session: disk full", SessionEnd::DiskFull),
        ];
        let mut end = SessionEnd::Completed;
        if self.bad(25) {
            let (what, how) = self.rng.pick(&bad);
            self.count(what);
            end = how;
        } else if self.bad(1) {
            self.count("session: refused");
            end = SessionEnd::Refused;
        }
        let (deaf, liar, gateway) = (self.bad(30), self.bad(20), self.rng.percent(50));
        let calls_left = if self.faults { self.rng.range(1, 5) } else { 1 };
        let session = session.clone();
        Proc {
            session,
            ready: false,
            context: 5_000,
            calls_left,
            deaf,
            liar,
            asked: false,
            stop: None,
            end,
            gateway,
            granted: 0,
        }
    }

    /// What a process says next, and whether it is its last word.
    pub fn says(&mut self, at: &mut Proc) -> (Event, bool) {
        let session = at.session.clone();
        let stopped = match at.stop {
            Some(Stop::Meter(StopReason::Ceiling)) => Some(SessionEnd::Ceiling),
            Some(Stop::Meter(StopReason::UsageUnknown)) => Some(SessionEnd::UsageUnknown),
            Some(Stop::Meter(StopReason::Budget)) => Some(SessionEnd::Budget),
            Some(Stop::HandOverTimeout) => Some(SessionEnd::HandOverTimeout),
            Some(Stop::Cancelled) => Some(SessionEnd::Cancelled),
            None if !at.ready && at.end == SessionEnd::Refused => Some(SessionEnd::Refused),
            None if at.asked && !at.deaf => Some(SessionEnd::HandedOver),
            None if at.calls_left == 0 && !(at.asked && at.deaf) => Some(at.end),
            None => None,
        };
        if let Some(end) = stopped {
            if end == SessionEnd::HandedOver {
                self.count("session: handed over");
            }
            return (self.session_exit(&session, end), true);
        }
        if !at.ready {
            at.ready = true;
            let window = match self.rng.below(8) {
                0 if at.liar => Some(0),
                1 => None,
                _ => Some(WINDOW),
            };
            let facts = SessionFacts {
                model: None,
                version: None,
                window,
                base_tokens: None,
                start_tokens: 1,
                enforcement: Enforcement::Stopped,
                prompt: self.blob(),
            };
            return (Event::SessionReady { session, facts }, false);
        }
        if at.gateway && at.granted < CHARGE {
            at.granted += GRANT;
            return (Event::Granted { session, amount: Amount::priced(GRANT, GRANT) }, false);
        }
        at.calls_left = at.calls_left.saturating_sub(1);
        at.context += self.rng.below(if self.faults { 25_000 } else { 2_000 });
        let (mut context, mut window, mut stop) = (at.context, WINDOW, None);
        if at.liar {
            self.count("session: lies about usage");
            match self.rng.below(4) {
                0 => window = 0,
                1 => window = 20_000,
                2 => context = 0,
                _ => {}
            }
            stop = self.rng.percent(3).then_some(StopReason::UsageUnknown);
        }
        let usage = stop.is_none().then_some(Usage { input: 100, ..Usage::default() });
        let sub_agent = self.rng.percent(10);
        let row = at.gateway.then(|| Box::new(row(context, window)));
        at.granted = at.granted.saturating_sub(CHARGE);
        (Event::Call { session, usage, context, window, sub_agent, stop, row }, false)
    }

    fn session_exit(&mut self, session: &SessionId, end: SessionEnd) -> Event {
        let (transcript, detail) = (Some(self.blob()), (end != SessionEnd::Completed).then(|| self.blob()));
        let (message, trail) = (Some(self.blob()), Some(self.blob()));
        // Some providers say when they take calls again; not all of them say what can be true.
        let says = end == SessionEnd::Provider && self.rng.percent(50);
        let provider_until_ms = says.then(|| match self.rng.below(8) {
            0 => 0,
            1 => u64::MAX,
            _ => self.wall() + self.rng.below(3_600_000),
        });
        if says {
            self.count("session: its provider said when");
        }
        let exit = SessionExit { detail, message, trail, transcript, provider_until_ms, ..SessionExit::of(end) };
        Event::SessionExited { session: session.clone(), exit: Box::new(exit) }
    }

    fn session_end(&mut self, session: &SessionId, writes: Writes, exit: &SessionExit) -> Event {
        let changed = u32::try_from(self.rng.below(3)).unwrap_or(0);
        let file = match session.lane.phase.as_str() {
            "research" => "findings.md",
            "plan" => "plan.md",
            _ => "close-out.json",
        };
        let wrote = changed > 0 || !self.faults;
        let artifacts = if wrote { BTreeMap::from([(file.to_owned(), self.blob())]) } else { BTreeMap::new() };
        let checkpoint = (writes == Writes::Files).then(|| self.commit());
        let omitted = (writes == Writes::Files && self.bad(5)).then(|| {
            self.count("session: work omitted");
            Omitted { list: self.blob(), unseen: 1 }
        });
        let hand_over = exit.end.is_hand_over().then(|| self.blob());
        let (session, transcript, detail) = (session.clone(), exit.transcript.clone(), exit.detail.clone());
        Event::SessionEnded {
            session,
            end: exit.end,
            checkpoint,
            changed,
            dropped: 0,
            artifacts,
            hand_over,
            transcript,
            detail,
            said: None,
            omitted,
        }
    }

    fn commit(&mut self) -> agentops_core::id::Commit {
        self.next_id += 1;
        commit(self.next_id)
    }

    /// How an action that is no session ends; `None`: it has no outcome.
    pub fn outcome(&mut self, key: &Key, action: &Action) -> Option<Event> {
        let never = matches!(action, Action::StopWork | Action::AskHandOver { .. } | Action::StopSession { .. });
        let often = if matches!(action, Action::Checkpoint { .. }) { 12 } else { 4 };
        let plant = self.disk.borrow().plant;
        if let (Some(Plant::FailedCheckpointEndsSession), Action::Checkpoint { session, writes, exit, .. }) = (plant, action)
            && self.bad(often)
        {
            let failed = SessionExit { end: SessionEnd::Failed, ..(**exit).clone() };
            return Some(self.session_end(session, *writes, &failed));
        }
        if !never && self.bad(often) {
            self.count(match action {
                Action::Checkpoint { .. } => "checkpoint failed",
                _ => "action failed",
            });
            return Some(Event::ActionFailed { key: key.clone(), detail: self.blob() });
        }
        Some(match action {
            Action::OpenLane { lane, base } if !self.bad(6) => Event::LaneOpened { lane: lane.clone(), base: base.clone() },
            Action::OpenLane { lane, .. } => {
                self.count("lane failed");
                Event::LaneFailed { lane: lane.clone(), detail: self.blob() }
            }
            Action::Salvage { session } => self.session_exit(session, SessionEnd::Interrupted),
            Action::Checkpoint { session, writes, exit, .. } => self.session_end(session, *writes, exit),
            Action::Merge { phase, onto, heads, .. } => match heads.last().cloned() {
                Some((lane, _)) if self.bad(20) => {
                    self.count("merge conflict");
                    Event::Conflict { lane, onto: onto.clone(), detail: self.blob() }
                }
                _ => Event::Merged { phase: phase.clone(), commit: self.commit(), changed: 2 },
            },
            Action::RunGate { phase, gate, .. } => match &gate.check {
                Check::Laws => {
                    let all = !self.bad(25);
                    if !all {
                        self.count("law refused");
                    }
                    Event::LawsChecked { held: [true, all, true, true, true], detail: Some(self.blob()) }
                }
                Check::Approval { .. } => {
                    Event::ApprovalAsked { phase: phase.clone(), gate: gate.name.clone(), shown: self.blob() }
                }
                _ => {
                    let verdict = match (self.bad(20), self.bad(10)) {
                        (true, _) => Verdict::Refused,
                        (_, true) => Verdict::Broke,
                        _ => Verdict::Passed,
                    };
                    let lanes = match (verdict, phase.as_str(), self.rng.below(3)) {
                        (Verdict::Refused, "implement", 0) => vec![name("two")],
                        (Verdict::Refused, "implement", 1) => vec![name("one"), name("two")],
                        _ => Vec::new(),
                    };
                    self.count(match verdict {
                        Verdict::Refused => "gate refused",
                        Verdict::Broke => "gate broke",
                        Verdict::Passed => "gate passed",
                    });
                    let (detail, output) = (Some(self.blob()), Some(self.blob()));
                    Event::GateEnded { phase: phase.clone(), gate: gate.name.clone(), verdict, detail, output, lanes }
                }
            },
            Action::Bundle { phase } => Event::Bundled {
                phase: phase.clone(),
                bundle: self.blob(),
                before: 10,
                after: 2,
                manifest: None,
                kept_permille: None,
            },
            Action::Record { .. } => Event::Recorded { commit: self.commit() },
            Action::Publish { commit } => Event::Published { commit: commit.clone() },
            Action::CloseLanes => Event::LanesClosed,
            _ => return None,
        })
    }
}
