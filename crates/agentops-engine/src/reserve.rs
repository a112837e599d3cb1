//! Space that a supervisor sets aside in its state folder. When the disk is full, it is given back to write down that an agent
//! has exited: an agent whose exit is on record never runs again.

use std::fs::File;
use std::io::{Error, ErrorKind, Result, Write};
use std::path::{Path, PathBuf};

use agentops_git::FreeSpace;

/// An exit writes a few small texts, its transcript, and some pages of the ledger.
const BYTES: u64 = 1 << 20;

/// Nothing is set aside while less is free: what is free then is what the runs need.
const FREE_BYTES_MIN: u64 = 4 * BYTES;

/// The largest transcript that is stored in space that was set aside.
pub(crate) const TRANSCRIPT_BYTES_MAX: u64 = BYTES / 4;

/// A file whose blocks are set aside.
#[derive(Debug)]
pub struct Reserve {
    path: PathBuf,
}

impl Reserve {
    /// The reserve in this file. It need not be there.
    #[must_use]
    pub fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// Sets the space aside where that is not done and there is enough. Without it everything works as long as the disk is not
    /// full.
    pub fn make(&self) {
        let is_made = std::fs::symlink_metadata(&self.path).is_ok_and(|meta| meta.len() == BYTES);
        if is_made || FreeSpace::of(&self.path).is_some_and(|free| free.bytes < FREE_BYTES_MIN) {
            return;
        }
        if fill(&self.path).is_err() {
            let _nothing_to_give_back = std::fs::remove_file(&self.path);
        }
    }

    /// Gives the space back.
    pub fn release(&self) {
        let _nothing_to_give_back = std::fs::remove_file(&self.path);
    }
}

/// Writes the file whole: some file systems promise no blocks for what was not written.
fn fill(path: &Path) -> Result<()> {
    let mut file = File::create(path)?;
    let block = [0; 64 * 1024];
    for _ in 0..BYTES / block.len() as u64 {
        file.write_all(&block)?;
    }
    Ok(())
}

/// Whether an error says that there is no space.
pub(crate) fn is_full(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn space_is_set_aside_given_back_and_set_aside_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("reserve");
        let reserve = Reserve::at(path.clone());
        reserve.release();
        for _ in 0..2 {
            reserve.make();
            reserve.make();
            assert_eq!(path.metadata().unwrap().len(), BYTES);
            reserve.release();
            assert!(!path.exists());
        }
        // What a killed supervisor left half written is made anew.
        std::fs::write(&path, "half").unwrap();
        reserve.make();
        assert_eq!(path.metadata().unwrap().len(), BYTES);
    }
}
