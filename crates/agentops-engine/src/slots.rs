//! Slots: how many sessions and gates of one user run at once on this machine, over all of the user's repositories.
//!
//! A slot is a lock file below the user's state folder. Each repository has a supervisor of its own, so no ledger can hand
//! slots out. The kernel can: it drops a lock with its process. The supervisor holds a slot's lock, and the keeper of what
//! runs holds it too: when the supervisor dies, the slot is free once the tree is gone.
//!
//! Within a supervisor slots are granted in the order in which they were asked for. Between supervisors the `turn` lock
//! decides: only its holder looks for a free slot, and it gives the lock away after each slot that it took. Linux queues
//! those who wait for such a lock, so supervisors take turns. That order is the kernel's habit, not its promise.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FlockOperation, flock, inotify};

/// The kernel reports that a file was closed just before it drops the file's lock, and only for file systems of this
/// machine. So the holder of the turn also looks again after this time.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

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
    file: File,
    path: PathBuf,
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
        let _closing_does_it_too = flock(&self.file, FlockOperation::Unlock);
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
        let queue = Mutex::new(Queue::default());
        Self(Arc::new(Shared { folder, count: count.clamp(1, SLOTS_MAX), queue }))
    }

    /// Asks for a slot. `holder` is written into the lock file for a person who looks. `grant` is called from another thread
    /// and must not wait.
    ///
    /// # Errors
    /// The lock files cannot be made.
    pub fn ask(&self, holder: &str, grant: impl FnOnce(io::Result<Slot>) + Send + 'static) -> io::Result<Asked> {
        let mut queue = self.queue();
        if queue.waiting.is_empty()
            && let Some(mut turn) = Turn::try_take(&self.0)?
            && let Some(slot) = turn.free_slot(holder)
        {
            return Ok(Asked::Taken(slot));
        }
        let number = queue.next;
        queue.next += 1;
        queue.waiting.push_back(Waiting { number, holder: holder.to_owned(), grant: Box::new(grant) });
        if !queue.served {
            let slots = self.clone();
            std::thread::Builder::new().name("slots".into()).stack_size(256 * 1024).spawn(move || slots.serve())?;
            queue.served = true;
        }
        Ok(Asked::Waits(Ticket { slots: self.clone(), number }))
    }

    /// Serves the queue until nobody waits.
    fn serve(&self) {
        loop {
            let mut turn = match Turn::take(&self.0) {
                Ok(turn) => turn,
                Err(error) => return self.refuse_all(&error),
            };
            loop {
                let mut queue = self.queue();
                let Some(first) = queue.waiting.front() else {
                    queue.served = false;
                    return;
                };
                if let Some(slot) = turn.free_slot(&first.holder) {
                    let first = queue.waiting.pop_front();
                    drop((queue, turn));
                    if let Some(first) = first {
                        (first.grant)(Ok(slot));
                    }
                    break;
                }
                drop(queue);
                turn.await_change();
            }
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

/// The right to look for a free slot. One process of the user has it at a time.
struct Turn {
    #[expect(dead_code, reason = "the lock lives as long as the file is open")]
    lock: File,
    /// Every slot's file. They stay open while we wait: opening and closing them would wake us ourselves.
    files: Vec<Option<(PathBuf, File)>>,
    /// Reports files that others close.
    closed: Option<std::os::fd::OwnedFd>,
}

impl Turn {
    /// Waits for it.
    fn take(shared: &Shared) -> io::Result<Self> {
        let lock = Self::lock_file(shared)?;
        loop {
            match flock(&lock, FlockOperation::LockExclusive) {
                Ok(()) => break,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let mut turn = Self::of(shared, lock)?;
        // Without it (the user's limit on watches is reached) we look again now and then.
        turn.closed = watch(&shared.folder).ok();
        Ok(turn)
    }

    /// Takes it if nobody has it.
    fn try_take(shared: &Shared) -> io::Result<Option<Self>> {
        let lock = Self::lock_file(shared)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Self::of(shared, lock).map(Some),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn of(shared: &Shared, lock: File) -> io::Result<Self> {
        let open = |number: u16| {
            let path = shared.folder.join(number.to_string());
            Ok(Some((path.clone(), open(&path)?)))
        };
        let files = (0..shared.count).map(open).collect::<io::Result<_>>()?;
        Ok(Self { lock, files, closed: None })
    }

    fn lock_file(shared: &Shared) -> io::Result<File> {
        make_folder(&shared.folder)?;
        open(&shared.folder.join("turn"))
    }

    /// Takes a slot that nobody holds.
    fn free_slot(&mut self, holder: &str) -> Option<Slot> {
        for place in &mut self.files {
            let free = place.take_if(|(_, file)| try_hold(file));
            if let Some((path, file)) = free {
                note_holder(&file, holder);
                return Some(Slot { file, path });
            }
        }
        None
    }

    /// Waits until somebody may have given a slot back.
    fn await_change(&self) {
        let timeout = Timespec::try_from(LOOK_AGAIN).ok();
        let Some(closed) = &self.closed else { return std::thread::sleep(LOOK_AGAIN) };
        let _timed_out = poll(&mut [PollFd::new(closed, PollFlags::IN)], timeout.as_ref());
        // What the events say does not matter; reading them makes the next wait a wait again.
        while matches!(rustix::io::read(closed, &mut [0; 4096]), Ok(1..)) {}
    }
}

fn watch(folder: &Path) -> io::Result<std::os::fd::OwnedFd> {
    let closed = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
    inotify::add_watch(&closed, folder, inotify::WatchFlags::CLOSE_WRITE)?;
    Ok(closed)
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
