//! Slots: how many sessions and gates of one user run at once on this machine, over all of the user's repositories.
//!
//! A slot is a lock file below the user's state folder. Each repository has a supervisor of its own, so no ledger can hand
//! slots out. The kernel can: it drops a lock with its process. The supervisor holds a slot's lock, and the keeper of what
//! runs holds it too: when the supervisor dies, the slot is free once the tree is gone.
//!
//! Within a supervisor slots are granted in the order in which they were asked for. Between supervisors [`line`] decides: the
//! supervisor whose place is the oldest takes the next free slot and then the last place, so supervisors take turns. One that
//! leaves a free slot to nobody for [`PATIENCE`] is passed over.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FlockOperation, Mode, OFlags, flock, inotify};

use line::Place;

mod line;

/// The kernel reports that a file was closed just before it drops the file's lock, and only for file systems of this
/// machine. So whoever has the first place also looks again after this time.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// How long the first place is respected while its supervisor takes no slot. Then the others look for a free one too: that
/// supervisor may be stopped.
const PATIENCE: Duration = Duration::from_secs(5);

/// The most slots that the settings allow.
pub const SLOTS_MAX: u16 = 1024;

/// The number of slots where the settings name none. Agents mostly wait for their model, so it is above the number of CPUs.
#[must_use]
pub fn default_count() -> u16 {
    let cpus = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    u16::try_from(cpus * 2).unwrap_or(SLOTS_MAX).clamp(4, 64)
}

/// Called once with the slot, or with why no slot can be taken.
type Grant = Box<dyn FnOnce(io::Result<Slot>) + Send>;

/// The slots as one process sees them.
#[derive(Clone)]
pub struct Slots(Arc<Shared>);

struct Shared {
    folder: PathBuf,
    count: u16,
    patience: Duration,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    /// The number of the next one that waits.
    next: u64,
    /// A thread serves the queue.
    served: bool,
}

struct Waiting {
    number: u64,
    holder: String,
    grant: Grant,
}

/// A slot that is held. Dropping it gives it back.
#[derive(Debug)]
pub struct Slot {
    lock: File,
    path: PathBuf,
    /// Open for writing, for the note and for its closing: that wakes those who wait.
    #[expect(dead_code, reason = "closed with the slot, not read")]
    note: Option<File>,
}

impl Slot {
    /// The lock file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        // The lock is dropped before the file is closed: closing wakes the next one that waits, and it must find the slot free.
        let _closing_does_it_too = flock(&self.lock, FlockOperation::Unlock);
    }
}

/// The answer to a request for a slot.
pub enum Asked {
    /// The slot.
    Taken(Slot),
    /// All slots are taken, or others wait: `grant` is called later.
    Waits(Ticket),
}

/// A place in the queue. Dropping it leaves the queue.
pub struct Ticket {
    slots: Slots,
    number: u64,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut queue = self.slots.queue();
        queue.waiting.retain(|waiting| waiting.number != self.number);
    }
}

impl Slots {
    /// The slots whose lock files lie in this folder. It is made when the first slot is asked for.
    #[must_use]
    pub fn new(folder: PathBuf, count: u16) -> Self {
        Self::with_patience(folder, count, PATIENCE)
    }

    fn with_patience(folder: PathBuf, count: u16, patience: Duration) -> Self {
        let queue = Mutex::new(Queue::default());
        Self(Arc::new(Shared { folder, count: count.clamp(1, SLOTS_MAX), patience, queue }))
    }

    /// Asks for a slot. `holder` is written into the lock file for a person who looks. `grant` is called from another thread
    /// and must not wait.
    ///
    /// # Errors
    /// The lock files cannot be made.
    pub fn ask(&self, holder: &str, grant: impl FnOnce(io::Result<Slot>) + Send + 'static) -> io::Result<Asked> {
        make_folder(&self.0.folder)?;
        let mut queue = self.queue();
        if queue.waiting.is_empty()
            && line::first(&self.0.folder)?.is_none()
            && let Some(slot) = self.0.free_slot(holder)?
        {
            return Ok(Asked::Taken(slot));
        }
        // It serves the queue as soon as we let go of it. Without it nobody who waits would get a slot.
        if !queue.served {
            let slots = self.clone();
            std::thread::Builder::new().name("slots".into()).stack_size(256 * 1024).spawn(move || slots.serve())?;
            queue.served = true;
        }
        let number = queue.next;
        queue.next += 1;
        queue.waiting.push_back(Waiting { number, holder: holder.to_owned(), grant: Box::new(grant) });
        Ok(Asked::Waits(Ticket { slots: self.clone(), number }))
    }

    /// Serves the queue until nobody waits.
    fn serve(&self) {
        // Without it (the user's limit on watches is reached) we look again now and then.
        let changes = watch(&self.0.folder).ok();
        loop {
            match self.serve_next(changes.as_ref()) {
                Ok(Served::Granted) => {}
                Ok(Served::NobodyWaits) => return,
                Err(error) => return self.refuse_all(&error),
            }
        }
    }

    /// Waits for a slot for whoever is first in the queue.
    fn serve_next(&self, changes: Option<&OwnedFd>) -> io::Result<Served> {
        let place = Place::take(&self.0.folder)?;
        let (mut before, mut since) = (None, Instant::now());
        loop {
            let first = place.before()?;
            if first != before {
                (before, since) = (first, Instant::now());
            }
            let passes_over = since.elapsed() >= self.0.patience;
            let mut queue = self.queue();
            let Some(waiting) = queue.waiting.front() else {
                queue.served = false;
                return Ok(Served::NobodyWaits);
            };
            if (before.is_none() || passes_over)
                && let Some(slot) = self.0.free_slot(&waiting.holder)?
            {
                let granted = queue.waiting.pop_front();
                drop((queue, place));
                if let Some(waiting) = granted {
                    (waiting.grant)(Ok(slot));
                }
                return Ok(Served::Granted);
            }
            drop(queue);
            await_change(changes, if before.is_none() { LOOK_AGAIN } else { self.0.patience });
        }
    }

    fn refuse_all(&self, error: &io::Error) {
        let mut queue = self.queue();
        queue.served = false;
        let waiting = std::mem::take(&mut queue.waiting);
        drop(queue);
        for waiting in waiting {
            (waiting.grant)(Err(io::Error::new(error.kind(), error.to_string())));
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a look for a slot ended.
enum Served {
    Granted,
    NobodyWaits,
}

impl Shared {
    /// Takes a slot that nobody holds. Its file is opened for reading first: closing what was opened for writing would wake
    /// everybody who waits.
    fn free_slot(&self, holder: &str) -> io::Result<Option<Slot>> {
        for number in 0..self.count {
            let path = self.folder.join(number.to_string());
            let flags = OFlags::RDONLY | OFlags::CREATE | OFlags::CLOEXEC;
            let lock = File::from(rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR)?);
            if try_hold(&lock) {
                let note = open(&path).ok();
                if let Some(note) = &note {
                    note_holder(note, holder);
                }
                return Ok(Some(Slot { lock, path, note }));
            }
        }
        Ok(None)
    }
}

/// Waits until somebody may have given a slot back or left the line.
fn await_change(changes: Option<&OwnedFd>, most: Duration) {
    let Some(changes) = changes else { return std::thread::sleep(most.min(LOOK_AGAIN)) };
    let timeout = Timespec::try_from(most).ok();
    let _timed_out = poll(&mut [PollFd::new(changes, PollFlags::IN)], timeout.as_ref());
    // What the events say does not matter; reading them makes the next wait a wait again.
    while matches!(rustix::io::read(changes, &mut [0; 4096]), Ok(1..)) {}
}

fn watch(folder: &Path) -> io::Result<OwnedFd> {
    let changes = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
    inotify::add_watch(&changes, folder, inotify::WatchFlags::CLOSE_WRITE | inotify::WatchFlags::DELETE)?;
    Ok(changes)
}

/// Makes a folder that only this user can read.
pub(crate) fn make_folder(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Opens a lock file, making it where there is none.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    File::options().read(true).write(true).create(true).truncate(false).open(path)
}

/// Takes a lock that nobody holds and holds it shared, so that the keeper of what runs can hold it too. Between the two steps
/// another process may take it; then it is not ours.
pub(crate) fn try_hold(file: &File) -> bool {
    flock(file, FlockOperation::NonBlockingLockExclusive).is_ok()
        && flock(file, FlockOperation::NonBlockingLockShared).is_ok()
}

/// Writes down who holds a lock. It is for people only, so a full disk does no harm.
fn note_holder(mut file: &File, holder: &str) {
    let line = format!("process {}: {holder}\n", std::process::id());
    let _best_effort = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(line.as_bytes()));
}

#[cfg(test)]
mod tests;
