//! The limit on the size of files (`ulimit -f`), which a supervisor inherits from the shell that starts it. The system ends a
//! program that writes beyond it.

use std::fmt::{self, Display};

use rustix::process::{Resource, getrlimit};

/// What a supervisor needs at least, in bytes: a ledger's log grows to 4 MiB before SQLite empties it.
const BYTES_MIN: u64 = 16 << 20;
/// The signal of a program that wrote beyond the limit.
const SIGXFSZ: i32 = 25;

/// A limit on the size of files, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileSizeLimit(u64);

impl FileSizeLimit {
    /// This process's limit, where it is too small for a supervisor.
    #[must_use]
    pub fn too_small() -> Option<Self> {
        let bytes = getrlimit(Resource::Fsize).current?;
        (bytes < BYTES_MIN).then_some(Self(bytes))
    }

    /// This process's limit, where a supervisor that it started ended because of it.
    pub(crate) fn reached(signal: Option<i32>) -> Option<Self> {
        (signal == Some(SIGXFSZ)).then(|| Self(getrlimit(Resource::Fsize).current.unwrap_or(u64::MAX)))
    }

    /// What to do.
    #[must_use]
    pub fn hint(self) -> &'static str {
        "type `ulimit -f unlimited` and run the command again; where the shell refuses that, start from another one"
    }
}

impl Display for FileSizeLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kib = self.0 / 1024;
        write!(f, "files of this shell may have at most {kib} KiB (ulimit -f), and a supervisor needs ")?;
        if self.0 < BYTES_MIN { write!(f, "{} KiB", BYTES_MIN / 1024) } else { f.write_str("more") }
    }
}
