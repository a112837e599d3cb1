//! The blob store: texts that events name by hash. Redacted before the first write.

use std::ffi::OsStr;
use std::io::{Error, ErrorKind, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use agentops_core::id::BlobId;
use agentops_git::temporary::{self, TempFile};
use agentops_safe::redact::Redactor;
use sha2::{Digest, Sha256};

use crate::crash::boundary;

/// How the names of blobs begin that are being written.
const PART: &str = ".part-";

/// A folder of files named by the SHA-256 of their content.
#[derive(Clone)]
pub struct Blobs {
    folder: PathBuf,
    redactor: Redactor,
}

/// The hash of some bytes.
#[must_use]
pub fn hash(bytes: &[u8]) -> BlobId {
    let digest = Sha256::digest(bytes);
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    hex.parse().unwrap_or_else(|_| unreachable!("64 hexadecimal digits are a blob id"))
}

/// Whether a blob is missing, or no longer what its name says. Reading it again gives the same.
#[must_use]
pub fn is_gone(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidData)
}

impl Blobs {
    /// Opens the store, making its folder.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn open(folder: &Path, redactor: Redactor) -> std::io::Result<Self> {
        // Texts of tasks and agents: for this user alone, also where nothing has made the folder above yet.
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        Ok(Self { folder: folder.to_owned(), redactor })
    }

    /// The store in this folder, for reading: nothing is made.
    #[must_use]
    pub fn at(folder: &Path, redactor: Redactor) -> Self {
        Self { folder: folder.to_owned(), redactor }
    }

    /// Removes what killed processes were writing. Older versions named that `<hash>.<pid>.<number>.part`.
    pub fn sweep(&self) {
        let is_part = |name: &OsStr| {
            name.to_str().is_some_and(|name| name.starts_with(PART) || name.ends_with(".part") && name.len() > 64)
        };
        temporary::sweep_names(&self.folder, is_part);
    }

    /// Redacts and keeps `bytes`. When it returns, content and name survive a power failure: the file is synced before it gets
    /// its name, and the folder after. A crash before leaves a file that nothing names.
    ///
    /// # Errors
    /// The disk is full or cannot be written.
    pub fn put(&self, bytes: &[u8]) -> std::io::Result<BlobId> {
        let clean = self.redactor.redact_bytes(bytes);
        let id = hash(&clean);
        let path = self.path(&id);
        // One that is damaged is written again.
        if self.get(&id).is_ok() {
            return Ok(id);
        }
        // Two threads may put the same text at the same moment: each writes a file of its own, and either rename will do.
        let part = TempFile::make(&self.folder, PART)?;
        part.file().write_all(&clean)?;
        part.file().sync_all()?;
        boundary("blob-before-rename");
        part.rename(&path)?;
        std::fs::File::open(&self.folder)?.sync_all()?;
        boundary("blob-after-rename");
        Ok(id)
    }

    /// Keeps a text.
    ///
    /// # Errors
    /// As [`Self::put`].
    pub fn put_text(&self, text: &str) -> std::io::Result<BlobId> {
        self.put(text.as_bytes())
    }

    /// Reads a blob and checks that it is what its name says.
    ///
    /// # Errors
    /// It is missing, damaged or unreadable: see [`is_gone`].
    pub fn get(&self, id: &BlobId) -> std::io::Result<Vec<u8>> {
        match std::fs::read(self.path(id)) {
            Err(e) if e.kind() == ErrorKind::NotFound => {
                Err(Error::new(ErrorKind::NotFound, format!("the text {id} is gone from the state folder")))
            }
            Ok(bytes) if hash(&bytes) != *id => {
                Err(Error::new(ErrorKind::InvalidData, format!("the text {id} is damaged in the state folder")))
            }
            read => read,
        }
    }

    /// Reads a blob as text; bytes that are not UTF-8 are replaced.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn text(&self, id: &BlobId) -> std::io::Result<String> {
        Ok(String::from_utf8_lossy(&self.get(id)?).into_owned())
    }

    /// The same store with another redactor.
    #[must_use]
    pub fn with_redactor(&self, redactor: Redactor) -> Self {
        Self { folder: self.folder.clone(), redactor }
    }

    /// The redactor that every write passes.
    #[must_use]
    pub fn redactor(&self) -> &Redactor {
        &self.redactor
    }

    fn path(&self, id: &BlobId) -> PathBuf {
        self.folder.join(id.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r11_a_text_that_is_gone_or_damaged_is_named_and_comes_back_when_it_is_put_again() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path(), Redactor::new([])).unwrap();
        let id = blobs.put_text("a text").unwrap();
        std::fs::write(blobs.path(&id), "another").unwrap();
        let damaged = blobs.get(&id).unwrap_err();
        assert!(is_gone(&damaged) && damaged.to_string().contains("is damaged"), "{damaged}");
        assert_eq!(blobs.put_text("a text").unwrap(), id);
        assert_eq!(blobs.text(&id).unwrap(), "a text");
        std::fs::remove_file(blobs.path(&id)).unwrap();
        let gone = blobs.get(&id).unwrap_err();
        assert!(is_gone(&gone) && gone.to_string().contains(id.as_str()), "{gone}");
    }

    #[test]
    fn the_same_text_may_be_put_by_many_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path(), Redactor::new([])).unwrap();
        for round in 0..50 {
            let start = std::sync::Barrier::new(4);
            let put = || {
                start.wait();
                blobs.put_text(&format!("text {round}")).unwrap()
            };
            std::thread::scope(|scope| {
                let all = [0, 1, 2, 3].map(|_| scope.spawn(put));
                for one in all {
                    assert_eq!(blobs.text(&one.join().unwrap()).unwrap(), format!("text {round}"));
                }
            });
        }
        let parts = std::fs::read_dir(folder.path()).unwrap().flatten();
        assert_eq!(parts.filter(|entry| entry.file_name().to_string_lossy().starts_with('.')).count(), 0);
    }
}
