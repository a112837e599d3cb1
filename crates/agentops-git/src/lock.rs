//! Locks between processes. The kernel releases them when the holder ends.
//!
//! A lock belongs to an open file, and a child that has this file as its standard input shares it ([`Lock::share`]). So a
//! git process that outlives its killed parent keeps the lock until it has ended too, and nobody works in its files.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::path::Path;

use crate::error::{Error, Result};
use crate::lock_wait::LockWaiter;

/// A held lock.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
}

impl Lock {
    /// Waits for the lock. There is no time limit: only our processes should hold it, and each ends its work or is ended. A
    /// thread with a [`LockWaiter`] says meanwhile what it waits for, and may give up.
    pub(crate) fn wait(path: &Path) -> Result<Self> {
        Self::wait_for(open(path)?, path)
    }

    /// The same with a file that was opened in another way.
    pub(crate) fn wait_for(file: File, path: &Path) -> Result<Self> {
        let file = match Self::try_file(file, path)? {
            Ok(lock) => return Ok(lock),
            Err(file) => file,
        };
        match LockWaiter::current() {
            Some(waiter) => waiter.wait(file, path),
            None => Self::block(file, path),
        }
    }

    /// Waits and can do nothing else.
    pub(crate) fn block(file: File, path: &Path) -> Result<Self> {
        loop {
            match file.lock() {
                Ok(()) => return Ok(Self { file }),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(Error::io("lock", path)(e)),
            }
        }
    }

    /// Takes the lock if it is free.
    pub(crate) fn try_take(path: &Path) -> Result<Option<Self>> {
        Ok(Self::try_file(open(path)?, path)?.ok())
    }

    /// The lock, or the file if somebody else has it.
    fn try_file(file: File, path: &Path) -> Result<std::result::Result<Self, File>> {
        match file.try_lock() {
            Ok(()) => Ok(Ok(Self { file })),
            Err(TryLockError::WouldBlock) => Ok(Err(file)),
            Err(TryLockError::Error(e)) => Err(Error::io("lock", path)(e)),
        }
    }

    /// The open file, for the standard input of a child that reads nothing.
    pub(crate) fn share(&self) -> std::io::Result<File> {
        self.file.try_clone()
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing is not enough: a child that another thread is just starting still shares the open file until it is
        // another program, and would keep the lock for that moment.
        let _ = self.file.unlock();
    }
}

fn open(path: &Path) -> Result<File> {
    // Readable, so that a child that does read its standard input finds its end.
    OpenOptions::new().create(true).read(true).append(true).open(path).map_err(Error::io("open", path))
}
