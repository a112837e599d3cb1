//! What outlives a supervisor: the ledger's rows, the blobs, the epoch. And time, which outlives everything.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use agentops_core::id::{BlobId, RunId};
use agentops_core::run::{Event, Key};
use agentops_engine::world::{Clock, Entry, Row, Storage, StorageError};

use crate::rng::Rng;

/// A fault planted in the world on purpose: the checker must find it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plant {
    /// An append returns before its rows are durable.
    AckBeforeSync,
    /// An append does not look at the epoch.
    NoEpochCheck,
    /// Some beginnings of actions are not kept.
    DroppedKey,
    /// Some timers never fire.
    LostTimer,
    /// A blob is synced after the row that names it.
    RowBeforeBlob,
    /// A checkpoint that fails ends its session as failed, as if the agent had.
    FailedCheckpointEndsSession,
    /// The slots of a supervisor that died are never free again.
    SlotsOfDeadStayHeld,
    /// What waited for a slot starts before the ledger knows that it has one.
    StartBeforeSlotTaken,
}

/// What goes wrong with the next append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The machine or the process dies before anything is written.
    CrashBefore,
    /// It dies in the middle: so many of the rows are there afterwards.
    CrashWithin(u64),
    /// It dies when everything is durable, and nobody is told.
    CrashAfter,
    /// No space: nothing is written.
    Full,
}

/// A row and the epoch that wrote it.
#[derive(Debug)]
pub struct Saved {
    /// The row.
    pub entry: Entry,
    /// The supervisor.
    pub epoch: u64,
}

/// The disk.
#[derive(Default)]
pub struct Disk {
    /// The ledger.
    pub rows: Vec<Rc<Saved>>,
    /// How many rows a power failure leaves. Only a planted fault makes it less than all.
    pub durable: usize,
    /// The newest supervisor's epoch.
    pub epoch: u64,
    /// Blobs, and whether they are synced.
    pub blobs: BTreeMap<BlobId, bool>,
    /// For the next append.
    pub fault: Option<Fault>,
    /// The fault that the checker must find.
    pub plant: Option<Plant>,
}

impl Disk {
    /// The power fails: what was not synced is gone. Gives the blobs that are.
    pub fn power_fails(&mut self) -> Vec<BlobId> {
        self.rows.truncate(self.durable);
        let lost: Vec<BlobId> = self.blobs.iter().filter(|(_, synced)| !**synced).map(|(blob, _)| blob.clone()).collect();
        self.blobs.retain(|_, synced| *synced);
        lost
    }
}

/// One supervisor's connection to the disk.
pub struct Store {
    disk: Rc<RefCell<Disk>>,
    epoch: u64,
}

impl Store {
    /// Opens the ledger: every older supervisor is fenced from now on.
    pub fn open(disk: &Rc<RefCell<Disk>>) -> Self {
        disk.borrow_mut().epoch += 1;
        Self { disk: Rc::clone(disk), epoch: disk.borrow().epoch }
    }
}

fn dead() -> StorageError {
    StorageError::Failed { doing: "written", reason: "it is over".into() }
}

impl Storage for Store {
    fn load_open(&mut self) -> Result<Vec<Entry>, StorageError> {
        let disk = self.disk.borrow();
        let ended = disk.rows.iter().filter(|saved| matches!(saved.entry.event, Event::Ended { .. }));
        let ended: BTreeSet<&RunId> = ended.map(|saved| &saved.entry.run).collect();
        let open = disk.rows.iter().filter(|saved| !ended.contains(&saved.entry.run));
        Ok(open.map(|saved| saved.entry.clone()).collect())
    }

    fn load_run(&mut self, run: &RunId) -> Result<Vec<Entry>, StorageError> {
        let disk = self.disk.borrow();
        Ok(disk.rows.iter().filter(|saved| saved.entry.run == *run).map(|saved| saved.entry.clone()).collect())
    }

    fn append(&mut self, rows: &[Row]) -> Result<(), StorageError> {
        let mut guard = self.disk.borrow_mut();
        let disk = &mut *guard;
        if disk.epoch != self.epoch && disk.plant != Some(Plant::NoEpochCheck) {
            return Err(StorageError::Fenced { ours: self.epoch, found: disk.epoch });
        }
        let fault = disk.fault.take();
        let kept = match fault {
            Some(Fault::CrashBefore) => return Err(dead()),
            Some(Fault::Full) => return Err(StorageError::Full { path: "ledger.db".into() }),
            Some(Fault::CrashWithin(some)) => usize::try_from(some).unwrap_or(0) % (rows.len() + 1),
            _ => rows.len(),
        };
        for row in &rows[..kept] {
            let seq = disk.rows.len() as u64 + 1;
            let session = matches!(row.event, Event::Began { key: Key::Session { .. } });
            if disk.plant == Some(Plant::DroppedKey) && session && seq.is_multiple_of(3) {
                continue;
            }
            let entry = Entry { seq, run: row.run.clone(), at_ms: row.at_ms, event: row.event.clone() };
            disk.rows.push(Rc::new(Saved { entry, epoch: self.epoch }));
        }
        if disk.plant == Some(Plant::AckBeforeSync) {
            // The rows before these have reached the disk by now; these have not.
            disk.durable = disk.rows.len() - kept;
        } else {
            disk.durable = disk.rows.len();
        }
        if fault.is_some() { Err(dead()) } else { Ok(()) }
    }
}

/// Time as it is, and time as the machine tells it.
pub struct Times {
    /// Milliseconds since the world began; only goes on.
    pub mono: u64,
    /// What the wall clock shows.
    pub wall: u64,
    /// The wall clock stands still.
    pub frozen: bool,
    /// The wall clock may jump between two looks at it.
    pub nervous: bool,
    /// How often it did.
    pub jumps: u64,
    rng: Rng,
}

const YEAR_MS: u64 = 365 * 24 * 3600 * 1000;

impl Times {
    /// Jumps by up to a year in either direction.
    pub fn jump(&mut self) {
        self.jumps += 1;
        let by = if self.rng.percent(30) { YEAR_MS } else { self.rng.below(YEAR_MS) };
        self.wall = if self.rng.percent(50) { self.wall + by } else { self.wall.saturating_sub(by).max(1) };
    }
}

/// The clock that supervisors look at.
#[derive(Clone)]
pub struct SimClock(Arc<Mutex<Times>>);

impl SimClock {
    /// Starts in the year 2026.
    pub fn new(rng: Rng) -> Self {
        let times = Times { mono: 1, wall: 1_790_000_000_000, frozen: false, nervous: false, jumps: 0, rng };
        Self(Arc::new(Mutex::new(times)))
    }

    /// Looks at or changes time.
    pub fn with<T>(&self, act: impl FnOnce(&mut Times) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// Lets time pass until `mono`.
    pub fn pass_to(&self, mono: u64) {
        self.with(|times| {
            let passed = mono.saturating_sub(times.mono);
            times.mono += passed;
            times.wall += if times.frozen { 0 } else { passed };
        });
    }
}

impl Clock for SimClock {
    fn now_ms(&self) -> u64 {
        self.with(|times| {
            if times.nervous && times.rng.percent(3) {
                times.jump();
            }
            times.wall
        })
    }

    fn mono_ms(&self) -> u64 {
        self.with(|times| times.mono)
    }
}
