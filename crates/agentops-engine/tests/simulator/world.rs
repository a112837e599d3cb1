//! The world: one queue of what happens next, supervisors that come and go, and a disk that stays.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use agentops_core::id::{BlobId, RunId, SessionId};
use agentops_core::run::{Action, Event, Intent, Key, State, Stop};
use agentops_core::workflow::Workflow;
use agentops_engine::conductor::{Conductor, Input};
use agentops_engine::world::{Clock, StorageError};

use crate::acts::Proc;
use crate::checker::Checker;
use crate::disk::{Disk, Plant, SimClock, Store};
use crate::fixture;
use crate::hands::{Hands, Started, kind};
use crate::rng::Rng;
use crate::slots::Slots;

/// How often each thing happened.
pub type Counts = BTreeMap<&'static str, u64>;

/// Something that happens.
pub enum Ev {
    /// An action ends, started by this supervisor.
    Outcome(u64, RunId, Key, Box<Event>),
    /// A session's process does its next thing.
    Step(u64, RunId, SessionId),
    /// A person looks at a run and answers what it asks.
    Person(RunId),
    /// A person ends a run.
    Cancel(RunId),
    /// A person starts a run.
    Create(u64),
    /// A person says what becomes of a finished run.
    Close(RunId),
    /// A blob reaches the disk.
    Sync(BlobId),
    /// An action of this supervisor waits for a slot.
    SlotAwaited(u64, RunId, Key),
    /// A slot may be free.
    SlotFree,
    /// The process trees of a dead supervisor have ended.
    TreesEnd(u64),
    /// A supervisor starts.
    Start,
    /// Another supervisor starts while this one is only paused.
    Takeover,
}

/// A supervisor.
pub struct Supervisor {
    pub epoch: u64,
    pub since: u64,
    pub conductor: Conductor<SimClock, Store, Hands>,
    pub hands: Hands,
}

/// The world of one seed.
pub struct World {
    pub rng: Rng,
    pub faults: bool,
    pub next_id: u64,
    pub now: Option<Supervisor>,
    pub old: Option<Supervisor>,
    pub checker: Checker,
    pub counts: Counts,
    pub trace: Option<Vec<String>>,
    pub queue: BTreeMap<(u64, u64), Ev>,
    pub persons: bool,
    pub clock: SimClock,
    pub disk: Rc<RefCell<Disk>>,
    pub slots: Slots,
    procs: BTreeMap<(u64, RunId, SessionId), Proc>,
    workflow: Workflow,
    pub crash_every: u64,
    ties: u64,
}

impl World {
    pub fn new(seed: u64, plant: Option<Plant>, workflow: &Workflow, trace: bool) -> Self {
        let mut rng = Rng::new(seed);
        let clock = SimClock::new(Rng::new(rng.next()));
        let disk = Rc::new(RefCell::new(Disk { plant, ..Disk::default() }));
        let crash_every = rng.range(5, 40);
        let slots = usize::try_from(rng.range(1, 4)).unwrap_or(1);
        let mut world = Self {
            rng,
            faults: true,
            next_id: 100,
            now: None,
            old: None,
            checker: Checker::default(),
            counts: Counts::new(),
            trace: trace.then(Vec::new),
            queue: BTreeMap::new(),
            persons: true,
            clock,
            disk,
            slots: Slots::new(slots),
            procs: BTreeMap::new(),
            workflow: workflow.clone(),
            crash_every,
            ties: 0,
        };
        world.later(0, Ev::Start);
        for bits in 1..=world.rng.range(1, 4) {
            let at = world.rng.below(60_000);
            world.later(at, Ev::Create(bits));
            if world.rng.percent(15) {
                let at = world.rng.below(1_000_000);
                world.later(at, Ev::Cancel(RunId::from_bits(bits)));
            }
        }
        world
    }

    pub fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    /// True this often in a hundred while faults are on.
    pub fn bad(&mut self, percent: u64) -> bool {
        self.faults && self.rng.percent(percent)
    }

    pub fn wall(&self) -> u64 {
        self.clock.now_ms()
    }

    pub fn mono(&self) -> u64 {
        self.clock.mono_ms()
    }

    pub fn later(&mut self, in_ms: u64, ev: Ev) {
        self.ties += 1;
        self.queue.insert((self.mono() + in_ms, self.ties), ev);
    }

    pub fn tell(&mut self, words: impl FnOnce() -> String) {
        let mono = self.mono();
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{mono:>9} ms  {}", words()));
        }
    }

    /// A new blob: synced when this returns, unless that fault is planted.
    pub fn blob(&mut self) -> BlobId {
        self.next_id += 1;
        let id = fixture::blob(self.next_id);
        let late = self.disk.borrow().plant == Some(Plant::RowBeforeBlob) && self.rng.percent(20);
        self.disk.borrow_mut().blobs.insert(id.clone(), !late);
        if late {
            self.later(20_000, Ev::Sync(id.clone()));
        }
        id
    }

    /// The next thing happens. False: nothing is left to happen by itself.
    pub fn step(&mut self) -> Result<bool, String> {
        let lost = self.disk.borrow().plant == Some(Plant::LostTimer);
        let timer = self.now.as_ref().and_then(|s| s.conductor.next_timer()).filter(|at| !lost || !at.is_multiple_of(4));
        let next = self.queue.keys().next().map(|(at, _)| *at);
        if let Some(at) = timer.filter(|at| next.is_none_or(|next| *at <= next)) {
            self.pass(at);
            self.tell(|| "timers".into());
            self.with_now(|s| s.conductor.fire().map(|()| Vec::new()), &[])?;
            return Ok(true);
        }
        let Some((at, tie)) = self.queue.keys().next().copied() else { return Ok(false) };
        let Some(ev) = self.queue.remove(&(at, tie)) else { return Ok(false) };
        self.pass(at);
        if let Some(since) = self.now.as_ref().map(|s| s.since) {
            self.checker.on_time(self.mono(), since)?;
        }
        self.happen(ev)?;
        self.slots_hold()?;
        Ok(true)
    }

    fn pass(&mut self, at: u64) {
        self.clock.pass_to(at);
        let (jump, freeze, nervous) = (self.bad(3), self.bad(3), self.bad(3));
        let faults = self.faults;
        self.clock.with(|times| {
            if jump {
                times.jump();
            }
            times.frozen = faults && (times.frozen != freeze);
            times.nervous = faults && (times.nervous != nervous);
        });
        if jump {
            self.count("fault: clock jumps");
        }
        if freeze {
            self.count("fault: clock freezes or thaws");
        }
    }

    fn happen(&mut self, ev: Ev) -> Result<(), String> {
        match ev {
            Ev::Start if self.now.is_none() => self.start(),
            Ev::Start => Ok(()),
            Ev::Takeover => {
                self.count("fault: takeover from a paused supervisor");
                self.tell(|| "takeover; the older supervisor is only paused".into());
                self.old = self.now.take();
                if let Some(epoch) = self.old.as_ref().map(|old| old.epoch) {
                    self.slots_of_dead(epoch);
                }
                self.start()
            }
            Ev::Sync(blob) => {
                if let Some(synced) = self.disk.borrow_mut().blobs.get_mut(&blob) {
                    *synced = true;
                }
                Ok(())
            }
            Ev::SlotAwaited(epoch, run, key) => self.slot_awaited(epoch, run, key),
            Ev::SlotFree => self.grant_slots(),
            Ev::TreesEnd(epoch) => {
                self.trees_end(epoch);
                Ok(())
            }
            Ev::Create(bits) => {
                let task = self.blob();
                let created = fixture::created(bits, &self.workflow, task);
                self.client(Input::Create(Box::new(created)), Ev::Create(bits))
            }
            Ev::Cancel(run) => {
                self.count("person: cancel");
                self.client(Input::Intent(run.clone(), Intent::Cancel), Ev::Cancel(run))
            }
            Ev::Close(run) => {
                let closing = agentops_core::run::Closing::Discarded { commit: fixture::commit(9) };
                self.client(Input::Happened(run.clone(), Event::Closed { closing }), Ev::Close(run))
            }
            Ev::Person(run) => self.person(run),
            Ev::Outcome(epoch, run, key, event) => {
                let twice = self.bad(5);
                if twice {
                    self.count("fault: outcome reported twice");
                    let in_ms = self.rng.below(60_000);
                    self.later(in_ms, Ev::Outcome(epoch, run.clone(), key.clone(), event.clone()));
                }
                self.leave_slot(epoch, &run, &key);
                self.report(epoch, Input::Outcome(run, key, *event)).map(|_| ())
            }
            Ev::Step(epoch, run, session) => self.session_step(epoch, run, session),
        }
    }

    /// A client asks, and asks again when nobody answered.
    pub fn client(&mut self, input: Input, again: Ev) -> Result<(), String> {
        if self.feed(vec![input])?.is_none() && self.faults {
            self.later(5_000, again);
        }
        Ok(())
    }

    fn session_step(&mut self, epoch: u64, run: RunId, session: SessionId) -> Result<(), String> {
        let Some(mut proc) = self.procs.remove(&(epoch, run.clone(), session.clone())) else { return Ok(()) };
        let (event, last) = self.says(&mut proc);
        let input = match last {
            true => Input::Outcome(run.clone(), Key::Session { session: session.clone() }, event),
            false => Input::Happened(run.clone(), event),
        };
        // It waits for the answer: what it is asked in the meantime must find it.
        let mine = self.now.as_ref().is_some_and(|s| s.epoch == epoch);
        self.procs.insert((epoch, run.clone(), session.clone()), proc);
        let answer = self.report(epoch, input)?;
        if !last && answer == Some(true) {
            let in_ms = self.rng.range(100, 20_000);
            self.later(in_ms, Ev::Step(epoch, run, session));
            return Ok(());
        }
        let key = Key::Session { session: session.clone() };
        self.leave_slot(epoch, &run, &key);
        self.procs.remove(&(epoch, run, session));
        if answer == Some(false) && mine { Err("a living session was not listened to".into()) } else { Ok(()) }
    }

    /// A process tells its supervisor. `None`: nobody is there to answer.
    pub fn report(&mut self, epoch: u64, input: Input) -> Result<Option<bool>, String> {
        if self.now.as_ref().is_some_and(|s| s.epoch == epoch) {
            return Ok(self.feed(vec![input])?.map(|answers| answers[0]));
        }
        if self.old.as_ref().is_some_and(|s| s.epoch == epoch) {
            return self.feed_old(input).map(|()| None);
        }
        if self.bad(20) && self.now.is_some() {
            self.count("fault: report from a dead supervisor's process");
            self.tell(|| format!("stray from {epoch}:"));
            self.feed(vec![input])?;
        }
        Ok(None)
    }

    fn feed_old(&mut self, input: Input) -> Result<(), String> {
        let Some(mut old) = self.old.take() else { return Ok(()) };
        self.tell(|| format!("to the fenced supervisor {}: {input:?}", old.epoch));
        let before = self.disk.borrow().rows.len();
        let ended = old.conductor.take(vec![input]);
        let after = self.disk.borrow().rows.len();
        if after > before {
            let mono = self.mono();
            self.checker.take_rows(&self.disk.borrow(), mono)?;
            return Err("R9: a fenced supervisor wrote".into());
        }
        match ended {
            // It was refused before anything was to be written.
            Ok(_) => self.old = Some(old),
            Err(StorageError::Fenced { .. }) => self.count("fault: append of a fenced supervisor"),
            Err(e) => return Err(format!("a fenced supervisor was told {e}")),
        }
        Ok(())
    }

    /// Inputs for the supervisor. `None`: nobody answers.
    fn feed(&mut self, inputs: Vec<Input>) -> Result<Option<Vec<bool>>, String> {
        let given = inputs.clone();
        self.tell(|| format!("{given:?}"));
        self.with_now(move |s| Ok(s.conductor.take(inputs)?.into_iter().map(|a| a.is_ok()).collect()), &given)
    }

    fn with_now(
        &mut self,
        act: impl FnOnce(&mut Supervisor) -> Result<Vec<bool>, StorageError>,
        given: &[Input],
    ) -> Result<Option<Vec<bool>>, String> {
        let Some(mut supervisor) = self.now.take() else { return Ok(None) };
        self.arm_fault();
        let seen = self.checker.seen();
        let done = act(&mut supervisor);
        let unused = self.disk.borrow_mut().fault.take();
        let answers = match done {
            Err(e) => return self.died(&supervisor, &e).map(|()| None),
            // The fault waits for an append, and there was none.
            Ok(answers) => answers,
        };
        if let Some(unused) = unused {
            self.uncount(unused);
        }
        let started = std::mem::take(&mut *supervisor.hands.0.borrow_mut());
        let cut = (started.len() > 1 && self.bad(5)).then(|| self.rng.below(started.len() as u64));
        let touched = self.see()?;
        self.checker.same(supervisor.conductor.runs(), Some(&touched))?;
        let accepted: Vec<(RunId, Event)> =
            given.iter().zip(&answers).filter(|(_, taken)| **taken).map(|(input, _)| event_of(input)).collect();
        self.checker.acknowledged(seen, &accepted)?;
        let epoch = supervisor.epoch;
        let keep = cut.map_or(started.len(), |cut| usize::try_from(cut).unwrap_or(0));
        for begun in started.into_iter().take(keep) {
            self.perform(epoch, begun)?;
        }
        if cut.is_some() {
            self.count("fault: crash between two starts");
            self.died(&supervisor, &StorageError::Failed { doing: "written", reason: "crash between starts".into() })?;
            return Ok(None);
        }
        self.now = Some(supervisor);
        self.after(&touched);
        Ok(Some(answers))
    }

    /// Lets the checker see new rows.
    pub fn see(&mut self) -> Result<BTreeSet<RunId>, String> {
        let mono = self.mono();
        if self.trace.is_some() {
            let from = self.checker.seen();
            let rows = self.disk.borrow().rows.clone();
            for saved in rows.iter().skip(from) {
                self.tell(|| format!("    row {} {:?}", saved.entry.seq, saved.entry.event));
            }
        }
        let disk = self.disk.borrow();
        self.checker.take_rows(&disk, mono)
    }

    pub fn perform(&mut self, epoch: u64, begun: Started) -> Result<(), String> {
        self.tell(|| format!("    performs {}", begun.key));
        self.count(kind(&begun.action));
        self.checker.performed(&begun.run, &begun.key)?;
        if let Some(begun) = self.in_slot(epoch, begun) {
            self.checker.started(&begun.run, &begun.key)?;
            self.work(epoch, begun);
        }
        Ok(())
    }

    /// An action is at work.
    pub fn work(&mut self, epoch: u64, begun: Started) {
        let Started { run, key, action } = begun;
        let slow = if self.bad(5) { 600_000 } else { 10_000 };
        let in_ms = self.rng.below(slow);
        match &action {
            Action::StartSession { session, .. } => {
                let proc = self.agent(session);
                self.procs.insert((epoch, run.clone(), session.clone()), proc);
                self.later(in_ms, Ev::Step(epoch, run, session.clone()));
            }
            Action::AskHandOver { session } => self.touch(epoch, &run, session, |proc| proc.asked = true),
            Action::StopSession { session, why } => {
                self.stop_waiting(epoch, &run, Some(session));
                self.stop(epoch, &run, session, *why);
            }
            Action::StopWork => self.stop_waiting(epoch, &run, None),
            _ => {
                if let Some(event) = self.outcome(&key, &action) {
                    self.later(in_ms, Ev::Outcome(epoch, run, key, Box::new(event)));
                }
            }
        }
    }

    fn touch(&mut self, epoch: u64, run: &RunId, session: &SessionId, act: impl FnOnce(&mut Proc)) {
        if let Some(proc) = self.procs.get_mut(&(epoch, run.clone(), session.clone())) {
            act(proc);
        }
    }

    fn stop(&mut self, epoch: u64, run: &RunId, session: &SessionId, why: Stop) {
        self.touch(epoch, run, session, |proc| proc.stop = Some(why));
    }

    /// Faults end: what is only paused is ended, and a supervisor stays.
    pub fn heal(&mut self) {
        (self.faults, self.old) = (false, None);
        self.clock.with(|times| (times.frozen, times.nervous) = (false, false));
        self.queue.retain(|_, ev| !matches!(ev, Ev::Takeover));
        self.later(0, Ev::Start);
        for proc in self.procs.values_mut() {
            proc.calls_left = proc.calls_left.min(1);
        }
        self.tell(|| "faults end".into());
    }

    /// The runs that were asked for, as they are.
    pub fn runs(&self) -> impl Iterator<Item = (&RunId, &State)> {
        self.checker.states.iter()
    }

    pub fn jumps(&self) -> u64 {
        self.clock.with(|times| times.jumps)
    }
}

fn event_of(input: &Input) -> (RunId, Event) {
    match input {
        Input::Create(created) => (created.run.clone(), Event::Created(created.clone())),
        Input::Happened(run, event) | Input::Outcome(run, _, event) => (run.clone(), event.clone()),
        Input::Intent(run, intent) => (run.clone(), Event::Intent(intent.clone())),
    }
}
