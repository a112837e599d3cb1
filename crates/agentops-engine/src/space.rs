//! How much space a disk has left.

use std::path::Path;

/// With less than this free, in bytes, a supervisor cannot start or append: its ledger alone needs as much for a moment.
const FULL_BELOW_BYTES: u64 = 128 * 1024;

/// Free bytes for this user on the disk that holds a path, or would hold it. `None`: unknown.
#[must_use]
pub fn free(path: &Path) -> Option<u64> {
    let existing = path.ancestors().find(|path| path.exists())?;
    let disk = rustix::fs::statvfs(existing).ok()?;
    // Some file systems do not count files, and say that they have none.
    if disk.f_files > 0 && disk.f_favail == 0 {
        return Some(0);
    }
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Whether the disk that holds a path is full. Unknown is no.
#[must_use]
pub fn is_full(path: &Path) -> bool {
    free(path).is_some_and(|bytes| bytes < FULL_BELOW_BYTES)
}
