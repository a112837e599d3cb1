//! How supervisors begin and end.

use agentops_engine::conductor::Conductor;
use agentops_engine::world::StorageError;

use crate::disk::{Fault, Store};
use crate::hands::Hands;
use crate::world::{Ev, Supervisor, World};

impl World {
    pub fn arm_fault(&mut self) {
        if !self.faults || self.rng.below(self.crash_every) != 0 {
            return;
        }
        let within = self.rng.below(8);
        let faults = [Fault::CrashBefore, Fault::CrashWithin(within), Fault::CrashAfter, Fault::Full];
        let fault = self.rng.pick(&faults);
        self.count(fault_name(fault));
        self.disk.borrow_mut().fault = Some(fault);
    }

    pub fn uncount(&mut self, fault: Fault) {
        *self.counts.entry(fault_name(fault)).or_default() -= 1;
    }

    /// A supervisor is gone, and perhaps the machine with it.
    pub fn died(&mut self, supervisor: &Supervisor, why: &StorageError) -> Result<(), String> {
        if !self.faults || matches!(why, StorageError::Corrupt { .. } | StorageError::Fenced { .. }) {
            return Err(format!("the supervisor ended: {why}"));
        }
        self.tell(|| format!("supervisor {} is gone: {why}", supervisor.epoch));
        self.slots_of_dead(supervisor.epoch);
        self.gone()
    }

    fn gone(&mut self) -> Result<(), String> {
        self.count("crashes");
        let mut lost = Vec::new();
        if self.rng.percent(40) {
            self.count("fault: power failure");
            self.tell(|| "the power fails".into());
            lost = self.disk.borrow_mut().power_fails();
            self.old = None;
        }
        self.checker.reopened(&self.disk.borrow(), &lost)?;
        let in_ms = self.rng.below(30_000);
        self.later(in_ms, Ev::Start);
        Ok(())
    }

    pub fn start(&mut self) -> Result<(), String> {
        let store = Store::open(&self.disk);
        let (epoch, since) = (self.disk.borrow().epoch, self.mono());
        self.tell(|| format!("supervisor {epoch} starts"));
        self.see()?;
        self.checker.names_only(&self.disk.borrow())?;
        self.arm_fault();
        let hands = Hands::default();
        let started = Conductor::start(self.clock.clone(), store, hands.clone());
        let unused = self.disk.borrow_mut().fault.take();
        match started {
            Ok(conductor) => {
                if let Some(unused) = unused {
                    self.uncount(unused);
                }
                self.see()?;
                self.checker.same(conductor.runs(), None)?;
                let supervisor = Supervisor { epoch, since, conductor, hands };
                let begun = std::mem::take(&mut *supervisor.hands.0.borrow_mut());
                for begun in begun {
                    self.perform(epoch, begun)?;
                }
                self.now = Some(supervisor);
                let all = self.checker.states.keys().cloned().collect();
                self.after(&all);
                if self.bad(8) {
                    let in_ms = self.rng.below(100_000);
                    self.later(in_ms, Ev::Takeover);
                }
                Ok(())
            }
            Err(StorageError::Corrupt { reason, .. }) => Err(format!("a good ledger was called damaged: {reason}")),
            Err(e) if unused.is_some() || !self.faults => Err(format!("the supervisor did not start: {e}")),
            Err(e) => {
                self.tell(|| format!("supervisor {epoch} did not start: {e}"));
                self.gone()
            }
        }
    }
}

fn fault_name(fault: Fault) -> &'static str {
    match fault {
        Fault::CrashBefore => "fault: crash before an append",
        Fault::CrashWithin(_) => "fault: crash within an append",
        Fault::CrashAfter => "fault: crash after an append",
        Fault::Full => "fault: disk full",
    }
}
