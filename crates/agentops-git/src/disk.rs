//! How much space the disk of a file has left.

use std::path::Path;

/// A disk with less free, in bytes, counts as full. The largest thing that stops then is a supervisor: its ledger alone needs as
/// much for a moment, to start and to append.
const FULL_BELOW_BYTES: u64 = 128 << 10;

/// What a disk has free for this user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FreeSpace {
    /// Bytes.
    pub bytes: u64,
    /// Files; `u64::MAX` where the disk does not count them.
    pub files: u64,
    /// Each file takes whole blocks of this many bytes; at least 1.
    pub block_bytes: u64,
}

impl FreeSpace {
    /// What is free on the disk that holds a path, or would hold it. `None`: unknown.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        let existing = path.ancestors().find(|path| path.exists())?;
        let disk = rustix::fs::statvfs(existing).ok()?;
        // A file system without a disk, such as /proc, reports no blocks.
        if disk.f_blocks == 0 {
            return None;
        }
        // Some file systems do not count files, and say that they have none.
        let files = if disk.f_files == 0 { u64::MAX } else { disk.f_favail };
        let bytes = disk.f_bavail.saturating_mul(disk.f_frsize);
        Some(Self { bytes, files, block_bytes: disk.f_frsize.max(1) })
    }

    /// Whether the disk counts as full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.bytes < FULL_BELOW_BYTES || self.files == 0
    }
}

/// Whether the disk that holds a path, or would hold it, is full. Unknown is no.
#[must_use]
pub fn is_on_full_disk(path: &Path) -> bool {
    FreeSpace::of(path).is_some_and(|free| free.is_full())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_disk_is_not_full() {
        assert_eq!((FreeSpace::of(Path::new("/proc/self")), is_on_full_disk(Path::new("/proc/self"))), (None, false));
    }

    #[test]
    fn a_disk_with_less_than_the_limit_or_without_files_is_full() {
        let is_full = |bytes, files| FreeSpace { bytes, files, block_bytes: 4096 }.is_full();
        assert!(!is_full(FULL_BELOW_BYTES, 1));
        assert!(is_full(FULL_BELOW_BYTES - 1, 1) && is_full(FULL_BELOW_BYTES, 0));
    }
}
