//! Locks between processes. Released by the kernel when the holder ends, and not inherited by children.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};

/// A held lock.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
}

impl Lock {
    /// Waits for the lock.
    pub(crate) fn wait(path: &Path, most: Duration) -> Result<Self> {
        let until = Instant::now() + most;
        loop {
            if let Some(lock) = Self::try_take(path)? {
                return Ok(lock);
            }
            if Instant::now() >= until {
                return Err(Error::Locked { path: path.to_owned(), seconds: most.as_secs() });
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Takes the lock if it is free.
    pub(crate) fn try_take(path: &Path) -> Result<Option<Self>> {
        let file = OpenOptions::new().create(true).append(true).open(path).map_err(Error::io("open", path))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(e)) => Err(Error::io("lock", path)(e)),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing is not enough: a child that another thread is just starting still shares the open file until it is
        // another program, and would keep the lock for that moment.
        let _ = self.file.unlock();
    }
}
