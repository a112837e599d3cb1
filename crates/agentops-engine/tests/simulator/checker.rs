//! What must hold of every history, checked row by row against a plain reference as the rows become durable.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use agentops_core::ceiling::Window;
use agentops_core::id::{BlobId, LaneId, RunId, SessionId};
use agentops_core::run::{Event, Intent, Key, Outcome, SessionEnd, State, Verdict};

use crate::disk::{Disk, Saved};

/// `Err`: what does not hold.
pub type Held = Result<(), String>;

/// Refuses with words unless it holds.
fn holds(is_so: bool, words: impl FnOnce() -> String) -> Held {
    if is_so { Ok(()) } else { Err(words()) }
}

/// A run's history in the plainest words.
#[derive(Default)]
struct Plain {
    /// Tokens granted to live sessions and not charged yet.
    granted: BTreeMap<SessionId, u64>,
    /// Tokens charged, and what was granted to sessions that went with their supervisor.
    spent: u64,
    /// Every key begun: how often, and whether it may begin again.
    began: BTreeMap<Key, (u32, bool)>,
    /// Keys that failed since a person last said what to do.
    failed: BTreeSet<Key>,
    /// Every key performed: how often.
    performed: BTreeMap<Key, u32>,
    /// Every session whose agent was started.
    started: BTreeSet<Key>,
    /// Keys that wait for a slot.
    waiting: BTreeSet<Key>,
    /// What can happen only once and did.
    once: BTreeSet<String>,
    /// Smallest window of each session, and whether it is over its ceiling.
    sessions: BTreeMap<SessionId, (Option<u64>, bool)>,
    /// Lanes whose agent exited when it was done, and to which no gate, merge or person has said that it must go on.
    completed: BTreeSet<LaneId>,
    /// Interrupted sessions in a row, by lane, since a person last said what to do.
    interrupted: BTreeMap<LaneId, u32>,
    laws_held: bool,
    ended: bool,
}

/// A timer that is set.
struct Set {
    at: u64,
    epoch: u64,
    wait_ms: u64,
}

/// The checker.
#[derive(Default)]
pub struct Checker {
    /// Fold of the durable history.
    pub states: BTreeMap<RunId, State>,
    plain: BTreeMap<RunId, Plain>,
    rows: Vec<Rc<Saved>>,
    named: BTreeSet<BlobId>,
    timers: BTreeMap<(RunId, Key), Set>,
}

impl Checker {
    /// How many rows were acknowledged and seen.
    pub fn seen(&self) -> usize {
        self.rows.len()
    }

    /// R1: after a restart everything acknowledged is there, as it was, in its place. R4: so is every blob that it names.
    pub fn reopened(&mut self, disk: &Disk, lost: &[BlobId]) -> Held {
        holds(disk.rows.len() >= self.rows.len(), || {
            format!("R1: {} rows were acknowledged, {} are left", self.rows.len(), disk.rows.len())
        })?;
        let kept = self.rows.iter().zip(&disk.rows).all(|(ours, theirs)| Rc::ptr_eq(ours, theirs));
        holds(kept, || "R1: an acknowledged row was changed".into())?;
        let gone = lost.iter().find(|blob| self.named.contains(blob));
        holds(gone.is_none(), || format!("R4: a row names the blob {gone:?}, which is lost"))
    }

    /// R4 for rows that were durable and never acknowledged.
    pub fn names_only(&self, disk: &Disk) -> Held {
        let gone = self.named.iter().find(|blob| !disk.blobs.contains_key(blob));
        holds(gone.is_none(), || format!("R4: a row names the blob {gone:?}, which is lost"))
    }

    /// New rows of the disk, seen at `mono`. Gives the runs that they are about.
    pub fn take_rows(&mut self, disk: &Disk, mono: u64) -> Result<BTreeSet<RunId>, String> {
        let mut touched = BTreeSet::new();
        for saved in &disk.rows[self.rows.len()..] {
            let entry = &saved.entry;
            let before = self.rows.last().map_or(0, |row| row.epoch);
            holds(saved.epoch >= before, || {
                format!("R9: supervisor {} wrote row {} after {before}", saved.epoch, entry.seq)
            })?;
            holds(entry.seq == self.rows.len() as u64 + 1, || {
                format!("order: row {} has seq {}", self.rows.len(), entry.seq)
            })?;
            self.plain
                .entry(entry.run.clone())
                .or_default()
                .row(&entry.event)
                .map_err(|e| format!("row {}: {e}", entry.seq))?;
            names(&entry.event, &mut self.named);
            if let Event::TimerFired { key } = &entry.event {
                self.fired(&entry.run, key, saved.epoch, mono)?;
            }
            let folded = match self.states.get_mut(&entry.run) {
                Some(state) => state.apply(&entry.event, entry.at_ms),
                None => State::first(&entry.event, entry.at_ms).map(|first| {
                    self.states.insert(entry.run.clone(), first);
                }),
            };
            folded.map_err(|e| format!("row {} does not fold: {e}", entry.seq))?;
            let known = self.states.get(&entry.run).map(|state| state.spent().tokens);
            let counted = self.plain.get(&entry.run).map(|plain| plain.spent);
            holds(known == counted, || format!("B3: row {}: {counted:?} tokens are spent, {known:?} known", entry.seq))?;
            if matches!(entry.event, Event::Ended { outcome: Outcome::Done }) {
                let laws = self.plain.get(&entry.run).is_some_and(|plain| plain.laws_held);
                holds(laws, || "a run is done and its laws were not held".into())?;
            }
            touched.insert(entry.run.clone());
            self.rows.push(Rc::clone(saved));
            self.watch_timers(&entry.run, mono, saved.epoch);
        }
        Ok(touched)
    }

    /// R1: what was acknowledged is among the rows from `from` on, in this order.
    pub fn acknowledged(&self, from: usize, accepted: &[(RunId, Event)]) -> Held {
        let mut rows = self.rows[from..].iter();
        for (run, event) in accepted {
            let found = rows.any(|saved| saved.entry.run == *run && saved.entry.event == *event);
            holds(found, || format!("R1: acknowledged and not in the ledger: {event:?}"))?;
        }
        Ok(())
    }

    /// R2: an action starts only when its beginning is durable, once for each beginning, a session once for ever.
    pub fn performed(&mut self, run: &RunId, key: &Key) -> Held {
        let Some(plain) = self.plain.get_mut(run) else { return Err(format!("{key} of a run that is not in the ledger")) };
        let performed = plain.performed.entry(key.clone()).or_default();
        *performed += 1;
        let began = plain.began.get(key).map_or(0, |(times, _)| *times);
        holds(*performed <= began, || format!("R2: {key} performed {performed} times, begun {began} times"))?;
        let is_session = matches!(key, Key::Session { .. });
        let ran = plain.started.contains(key);
        holds(*performed == 1 || !is_session || !ran, || format!("R2: {key} performed twice"))
    }

    /// R2: the agent of a session is started once for ever.
    pub fn started(&mut self, run: &RunId, key: &Key) -> Held {
        let plain = self.plain.entry(run.clone()).or_default();
        let first = plain.started.insert(key.clone());
        holds(first || !matches!(key, Key::Session { .. }), || format!("R2: {key} started twice"))
    }

    /// The conductor's states are the fold of the durable history.
    pub fn same<'a>(&self, theirs: impl Iterator<Item = (&'a RunId, &'a State)>, only: Option<&BTreeSet<RunId>>) -> Held {
        for (run, state) in theirs.filter(|(run, _)| only.is_none_or(|only| only.contains(run))) {
            holds(self.states.get(run) == Some(state), || {
                format!("the state of {run} is not the fold of its rows: {state:?}\n\n{:?}", self.states.get(run))
            })?;
        }
        Ok(())
    }

    /// R8: no timer is overdue while a supervisor is at work that started at `since`.
    pub fn on_time(&self, mono: u64, since: u64) -> Held {
        let late = self.timers.iter().find(|(_, set)| mono > set.at.max(since) + set.wait_ms);
        holds(late.is_none(), || {
            format!("R8: the timer {} was lost", late.map_or(String::new(), |((_, key), _)| key.to_string()))
        })
    }

    fn watch_timers(&mut self, run: &RunId, mono: u64, epoch: u64) {
        let timers = self.states.get(run).map(State::timers).unwrap_or_default();
        self.timers.retain(|(of, key), _| of != run || timers.iter().any(|timer| timer.key == *key));
        for timer in timers {
            let set = Set { at: mono, epoch, wait_ms: timer.wait_ms };
            self.timers.entry((run.clone(), timer.key)).or_insert(set);
        }
    }

    /// R8: it was set, and within one supervisor it fires neither early nor twice, whatever the wall clock did.
    fn fired(&mut self, run: &RunId, key: &Key, epoch: u64, mono: u64) -> Held {
        let Some(set) = self.timers.remove(&(run.clone(), key.clone())) else {
            return Err(format!("R8: {key} fired and was not set"));
        };
        let early = set.epoch == epoch && mono < set.at + set.wait_ms;
        holds(!early, || format!("R8: {key} fired {} ms early", set.at + set.wait_ms - mono))
    }
}

impl Plain {
    fn row(&mut self, event: &Event) -> Held {
        holds(!self.ended || matches!(event, Event::Closed { .. }), || format!("after the end: {event:?}"))?;
        match event {
            Event::Began { key } => {
                let (times, again) = self.began.entry(key.clone()).or_insert((0, true));
                holds(*again, || format!("R2: {key} begun twice"))?;
                (*times, *again) = (*times + 1, false);
                if let Key::Stop { session } = key {
                    self.sessions.remove(session);
                }
                if let Key::Session { session } = key {
                    let done = self.completed.contains(&session.lane);
                    holds(!done, || format!("R2: the agent of {session} runs although its lane was done"))?;
                }
            }
            Event::Orphaned => {
                self.spent += std::mem::take(&mut self.granted).into_values().sum::<u64>();
                // A session that waited for its slot never ran. One that did not begin anew before the next supervisor died
                // may still do so.
                let waiting = std::mem::take(&mut self.waiting);
                for (key, (_, again)) in &mut self.began {
                    *again |= !matches!(key, Key::Session { .. }) || waiting.contains(key);
                }
            }
            Event::SlotAwaited { key } => {
                self.waiting.insert(key.clone());
            }
            Event::SlotTaken { key } => {
                self.waiting.remove(key);
            }
            // What failed is tried again when a person says so, never by itself over and over.
            Event::ActionFailed { key, .. } => {
                self.failed.insert(key.clone());
            }
            Event::Intent(intent @ (Intent::Resume { .. } | Intent::Cancel)) => {
                self.interrupted.retain(|lane, _| !answers(intent, lane));
                let (open, tried): (BTreeSet<_>, _) = std::mem::take(&mut self.failed)
                    .into_iter()
                    .partition(|key| lane_of(key).is_some_and(|lane| !answers(intent, lane)));
                self.failed = open;
                for key in tried {
                    if let Some((_, again)) = self.began.get_mut(&key) {
                        *again = true;
                    }
                }
            }
            Event::SessionReady { session, facts } => {
                self.sessions.entry(session.clone()).or_default().0 = facts.window.filter(|window| *window > 0);
            }
            Event::Granted { session, amount } => *self.granted.entry(session.clone()).or_default() += amount.tokens,
            Event::Call { session, usage, context, window, stop, row, .. } => {
                let used = usage.map_or(*context, |usage| usage.context());
                self.spent += row.as_ref().map_or(used, |row| row.charged.tokens);
                if let (Some(row), Some(granted)) = (row, self.granted.get_mut(session)) {
                    *granted = granted.saturating_sub(row.charged.tokens);
                }
                // A session that was asked to stop is not looked at any more.
                if let Some((known, over)) = self.sessions.get_mut(session) {
                    holds(!*over, || format!("ceiling: {session} made a call past its ceiling and was not stopped"))?;
                    let said = Some(*window).filter(|window| *window > 0);
                    *known = [*known, said].into_iter().flatten().min();
                    let ceiling = known.and_then(Window::new).map(Window::ceiling);
                    *over = stop.is_some() || ceiling.is_some_and(|ceiling| *context >= ceiling);
                }
            }
            Event::LawsChecked { held, .. } => {
                self.laws_held = *held == [true; 5];
                if !self.laws_held {
                    self.completed.clear();
                }
            }
            Event::GateEnded { verdict: Verdict::Refused, .. }
            | Event::Conflict { .. }
            | Event::Intent(Intent::Reject { .. }) => self.completed.clear(),
            Event::LaneOpened { lane, .. } => self.only_once(format!("open {lane}"))?,
            Event::SessionExited { session, exit } => {
                self.exited(&session.lane, exit.end)?;
                self.sessions.remove(session);
                self.granted.remove(session);
                self.only_once(format!("exit of {session}"))?;
            }
            Event::SessionEnded { session, end, .. } => {
                // Its files do not count as they are, so the lane is not done.
                if *end == SessionEnd::Filtered {
                    self.completed.remove(&session.lane);
                }
                self.only_once(format!("end of {session}"))?;
            }
            Event::Bundled { phase, .. } => self.only_once(format!("bundle of {phase}"))?,
            Event::Recorded { .. } => self.only_once("record".into())?,
            Event::Published { .. } => self.only_once("publish".into())?,
            Event::LanesClosed => self.only_once("lanes closed".into())?,
            Event::Ended { .. } => self.ended = true,
            Event::Closed { .. } => self.only_once("closed".into())?,
            _ => {}
        }
        Ok(())
    }

    fn exited(&mut self, lane: &LaneId, end: SessionEnd) -> Held {
        if end == SessionEnd::Completed {
            self.completed.insert(lane.clone());
        }
        if end != SessionEnd::Interrupted {
            self.interrupted.remove(lane);
            return Ok(());
        }
        let times = self.interrupted.entry(lane.clone()).or_default();
        *times += 1;
        holds(*times <= 5, || format!("R2: {lane} was interrupted {times} times in a row and nobody was asked"))
    }

    fn only_once(&mut self, what: String) -> Held {
        holds(!self.once.contains(&what), || format!("R2: finished twice: {what}"))?;
        self.once.insert(what);
        Ok(())
    }
}

/// The blobs that a row names.
fn names(event: &Event, into: &mut BTreeSet<BlobId>) {
    match event {
        Event::Created(created) => into.extend([created.task.clone()]),
        Event::LaneFailed { detail, .. } | Event::Conflict { detail, .. } | Event::ActionFailed { detail, .. } => {
            into.insert(detail.clone());
        }
        Event::SessionReady { facts, .. } => into.extend([facts.prompt.clone()]),
        Event::SessionNotStarted { detail, .. } => {
            into.insert(detail.clone());
        }
        Event::SessionExited { exit, .. } => {
            let blobs = [&exit.detail, &exit.message, &exit.trail, &exit.transcript];
            into.extend(blobs.into_iter().flatten().cloned());
        }
        Event::SessionEnded { artifacts, hand_over, transcript, detail, omitted, .. } => {
            into.extend(omitted.iter().map(|omitted| omitted.list.clone()));
            into.extend(artifacts.values().cloned());
            into.extend([hand_over, transcript, detail].into_iter().flatten().cloned());
        }
        Event::GateEnded { detail, output, .. } => into.extend([detail, output].into_iter().flatten().cloned()),
        Event::ApprovalAsked { shown, .. } => into.extend([shown.clone()]),
        Event::Bundled { bundle, .. } => into.extend([bundle.clone()]),
        Event::LawsChecked { detail, .. } => into.extend(detail.clone()),
        Event::Intent(Intent::Reject { message, .. }) => into.extend([message.clone()]),
        _ => {}
    }
}

/// The lane that a question about a failed action is about.
fn lane_of(key: &Key) -> Option<&LaneId> {
    match key {
        Key::Open { lane, .. } => Some(lane),
        Key::Session { session } | Key::Salvage { session, .. } | Key::Checkpoint { session, .. } => Some(&session.lane),
        _ => None,
    }
}

/// Whether what a person says lets this lane go on.
fn answers(intent: &Intent, lane: &LaneId) -> bool {
    let Intent::Resume { decisions: Some(decisions) } = intent else { return true };
    decisions.iter().any(|answered| answered.phase == lane.phase && answered.place.as_ref() == Some(&lane.lane))
}
