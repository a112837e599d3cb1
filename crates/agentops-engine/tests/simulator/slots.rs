//! Slots: what starts an agent or a gate waits until one is free.

use std::collections::{BTreeSet, VecDeque};

use agentops_core::id::{RunId, SessionId};
use agentops_core::run::{Action, Event, Key, Verdict};
use agentops_core::workflow::Check;
use agentops_engine::conductor::Input;

use crate::disk::Plant;
use crate::hands::Started;
use crate::world::{Ev, World};

/// What has a slot or waits for one: the supervisor that started it, the run and the action.
pub type Holder = (u64, RunId, Key);

/// The slots of the machine. They outlive supervisors as the kernel's locks do.
#[derive(Default)]
pub struct Slots {
    count: usize,
    held: BTreeSet<Holder>,
    waiting: VecDeque<(u64, Started)>,
}

impl Slots {
    pub fn new(count: usize) -> Self {
        Self { count, ..Self::default() }
    }
}

fn needs_slot(action: &Action) -> bool {
    match action {
        Action::StartSession { .. } => true,
        Action::RunGate { gate, .. } => matches!(gate.check, Check::Command { .. }),
        _ => false,
    }
}

impl World {
    /// Takes a slot for an action, or lets it wait. `None`: it waits.
    pub fn in_slot(&mut self, epoch: u64, begun: Started) -> Option<Started> {
        if !needs_slot(&begun.action) {
            return Some(begun);
        }
        let holder = (epoch, begun.run.clone(), begun.key.clone());
        if self.slots.waiting.is_empty() && self.slots.held.len() < self.slots.count {
            self.slots.held.insert(holder);
            return Some(begun);
        }
        self.count("slot: awaited");
        self.slots.waiting.push_back((epoch, begun));
        let (epoch, run, key) = holder;
        self.later(0, Ev::SlotAwaited(epoch, run, key));
        None
    }

    /// A supervisor hears that an action of it waits.
    pub fn slot_awaited(&mut self, epoch: u64, run: RunId, key: Key) -> Result<(), String> {
        let event = Event::SlotAwaited { key: key.clone() };
        self.report(epoch, Input::Happened(run, event))?;
        self.later(0, Ev::SlotFree);
        Ok(())
    }

    /// An action has ended: its slot is free.
    pub fn leave_slot(&mut self, epoch: u64, run: &RunId, key: &Key) {
        let is_dead = self.now.as_ref().is_none_or(|now| now.epoch != epoch);
        if is_dead && self.disk.borrow().plant == Some(Plant::SlotsOfDeadStayHeld) {
            return;
        }
        if self.slots.held.remove(&(epoch, run.clone(), key.clone())) {
            self.later(0, Ev::SlotFree);
        }
    }

    /// Gives free slots to those who wait, first come, first served.
    pub fn grant_slots(&mut self) -> Result<(), String> {
        while self.slots.held.len() < self.slots.count {
            let Some((epoch, begun)) = self.slots.waiting.pop_front() else { return Ok(()) };
            self.slots.held.insert((epoch, begun.run.clone(), begun.key.clone()));
            let event = Event::SlotTaken { key: begun.key.clone() };
            if self.disk.borrow().plant == Some(Plant::StartBeforeSlotTaken) {
                self.checker.started(&begun.run, &begun.key)?;
            }
            // Nothing starts before this is durable: what waited when its supervisor died begins anew.
            if self.report(epoch, Input::Happened(begun.run.clone(), event))? == Some(true) {
                self.count("slot: taken after waiting");
                if self.disk.borrow().plant != Some(Plant::StartBeforeSlotTaken) {
                    self.checker.started(&begun.run, &begun.key)?;
                }
                self.work(epoch, begun);
            } else {
                self.leave_slot(epoch, &begun.run, &begun.key);
            }
        }
        Ok(())
    }

    /// Whatever waits for this session's slot, or for those of all gates of a run, is told that the run ends.
    pub fn stop_waiting(&mut self, epoch: u64, run: &RunId, session: Option<&SessionId>) {
        let is_meant = |(of, begun): &(u64, Started)| {
            let meant = match (&begun.key, session) {
                (Key::Session { session: of }, Some(session)) => of == session,
                (Key::Gate { .. }, None) => true,
                _ => false,
            };
            *of == epoch && begun.run == *run && meant
        };
        let waiting = std::mem::take(&mut self.slots.waiting);
        let (stopped, waiting): (Vec<_>, Vec<_>) = waiting.into_iter().partition(is_meant);
        self.slots.waiting = waiting.into();
        for (epoch, begun) in stopped {
            self.count("slot: stopped while waiting");
            let detail = self.blob();
            let event = match begun.action {
                Action::StartSession { session, .. } => Event::SessionNotStarted { session, detail, newest: None },
                Action::RunGate { phase, gate, .. } => Event::GateEnded {
                    phase,
                    gate: gate.name.clone(),
                    verdict: Verdict::Broke,
                    detail: Some(detail),
                    output: None,
                    lanes: Vec::new(),
                },
                _ => continue,
            };
            self.later(1, Ev::Outcome(epoch, begun.run, begun.key, Box::new(event)));
        }
    }

    /// A supervisor is gone: what waited for it is gone as well, and its keepers end their trees a little later.
    pub fn slots_of_dead(&mut self, epoch: u64) {
        self.slots.waiting.retain(|(of, _)| *of != epoch);
        let in_ms = self.rng.below(5_000);
        self.later(in_ms, Ev::TreesEnd(epoch));
    }

    pub fn trees_end(&mut self, epoch: u64) {
        if self.disk.borrow().plant == Some(Plant::SlotsOfDeadStayHeld) {
            return;
        }
        let before = self.slots.held.len();
        self.slots.held.retain(|(of, ..)| *of != epoch);
        if self.slots.held.len() < before {
            self.count("slot: released by a crash");
            self.later(0, Ev::SlotFree);
        }
    }

    /// P7: no more is at work than there are slots. R11: nothing waits while a slot is free and nobody is about to take it.
    pub fn slots_hold(&self) -> Result<(), String> {
        let Slots { count, held, waiting } = &self.slots;
        let at_work = held.len();
        if at_work > *count {
            return Err(format!("P7: {at_work} sessions and gates are at work in {count} slots"));
        }
        let soon = self.queue.values().any(|ev| matches!(ev, Ev::SlotFree | Ev::SlotAwaited(..)));
        if !waiting.is_empty() && at_work < *count && !soon {
            return Err(format!("R11: {} wait while {at_work} of {count} slots are taken", waiting.len()));
        }
        Ok(())
    }
}
