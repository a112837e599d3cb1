//! A session's transcript.

use std::io::Write;
use std::path::Path;

use super::super::{Ctx, Tail};

/// What of a transcript is kept, in bytes: head and tail.
const TRANSCRIPT_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// A session's transcript on disk: redacted, inert, bounded.
pub(super) struct Transcript {
    file: std::fs::File,
    stream: Option<agentops_safe::RedactStream>,
    written: u64,
    tail: Option<Tail>,
}

impl Transcript {
    pub(super) fn create(ctx: &Ctx, path: &Path) -> std::io::Result<Self> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let file = std::fs::File::create(path)?;
        Ok(Self { file, stream: Some(ctx.blobs.redactor().stream()), written: 0, tail: None })
    }

    /// A transcript that cannot be written must not end a session: what counts is in the ledger.
    pub(super) fn write(&mut self, mark: &str, line: &str) {
        if let Some(tail) = &mut self.tail {
            return tail.push(line);
        }
        let Some(stream) = &mut self.stream else { return };
        let clean = stream.push(format!("{mark}{line}\n").as_bytes());
        self.written += clean.len() as u64;
        let _best_effort = self.file.write_all(&clean);
        if self.written > TRANSCRIPT_BYTES_MAX / 2 {
            self.tail = Some(Tail::new(usize::try_from(TRANSCRIPT_BYTES_MAX / 2).unwrap_or(usize::MAX)));
        }
    }

    pub(super) fn finish(&mut self) {
        let Some(mut stream) = self.stream.take() else { return };
        let tail = self.tail.take().map(|tail| stream.push(tail.text().as_bytes())).unwrap_or_default();
        let _best_effort = self.file.write_all(&[tail, stream.finish()].concat());
    }
}
