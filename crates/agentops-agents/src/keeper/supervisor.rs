//! The keeper's line to the supervisor.

use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::wire::FromKeeper;

/// How much is read at once.
pub(super) const CHUNK: usize = 64 << 10;
/// How long the last report may wait for a supervisor that does not read.
const LAST_WORD: Duration = Duration::from_secs(2);

/// The supervisor's end: bytes that came and bytes that wait.
pub(super) struct Supervisor {
    /// Its end of our stdin is open.
    pub(super) reads: bool,
    /// Its end of our stdout is open.
    pub(super) listens: bool,
    incoming: Vec<u8>,
    /// What waits to be written.
    pub(super) outgoing: Vec<u8>,
}

impl Supervisor {
    /// Nothing read or written yet.
    pub(super) fn new() -> Self {
        Self { reads: true, listens: true, incoming: Vec::new(), outgoing: Vec::new() }
    }

    /// The spec, read before anything else. Blocks; `None` when the supervisor is gone.
    pub(super) fn first_line(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(line) = self.next_line() {
                return Some(line);
            }
            let mut chunk = vec![0; CHUNK];
            match rustix::io::read(rustix::stdio::stdin(), &mut chunk) {
                Ok(0) => return None,
                Ok(count) => self.incoming.extend_from_slice(&chunk[..count]),
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return None,
            }
        }
    }

    /// Whether the supervisor is gone although bytes of its may still wait to be read.
    pub(super) fn is_gone() -> bool {
        let stdin = rustix::stdio::stdin();
        let mut waited = [PollFd::new(&stdin, PollFlags::IN)];
        let looked = poll(&mut waited, Some(&timespec(Duration::ZERO)));
        looked.is_ok() && waited[0].revents().contains(PollFlags::HUP)
    }

    pub(super) fn next_line(&mut self) -> Option<Vec<u8>> {
        let newline = self.incoming.iter().position(|byte| *byte == b'\n')?;
        let mut line: Vec<u8> = self.incoming.drain(..=newline).collect();
        line.pop();
        Some(line)
    }

    /// Reads what is there; notes when the supervisor is gone.
    pub(super) fn read(&mut self, chunk: &mut [u8]) {
        match rustix::io::read(rustix::stdio::stdin(), &mut *chunk) {
            Ok(0) => self.reads = false,
            Ok(count) => self.incoming.extend_from_slice(&chunk[..count]),
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
            Err(_) => self.reads = false,
        }
    }

    pub(super) fn tell(&mut self, message: &FromKeeper) {
        // Nothing in these types can fail to become JSON; a keeper has nobody to tell if it did.
        if self.listens && serde_json::to_writer(&mut self.outgoing, message).is_ok() {
            self.outgoing.push(b'\n');
        }
    }

    /// Writes what the pipe takes.
    pub(super) fn write(&mut self) {
        while self.listens && !self.outgoing.is_empty() {
            match rustix::io::write(rustix::stdio::stdout(), &self.outgoing) {
                Ok(count) => drop(self.outgoing.drain(..count)),
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return,
                Err(_) => {
                    self.listens = false;
                    self.outgoing = Vec::new();
                }
            }
        }
    }

    /// Writes the rest, for as long as somebody reads it.
    pub(super) fn last_word(&mut self) {
        self.write();
        while self.listens && !self.outgoing.is_empty() {
            let stdout = rustix::stdio::stdout();
            let timeout = timespec(LAST_WORD);
            match poll(&mut [PollFd::new(&stdout, PollFlags::OUT)], Some(&timeout)) {
                Ok(0) => return,
                Ok(_) => self.write(),
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return,
            }
        }
    }
}

/// For `poll`.
pub(super) fn timespec(duration: Duration) -> Timespec {
    Timespec::try_from(duration).unwrap_or(Timespec { tv_sec: i32::MAX.into(), tv_nsec: 0 })
}
