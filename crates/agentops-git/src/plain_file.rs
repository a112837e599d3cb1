//! Files that another program wrote, such as an agent: opened without following a link, without waiting and with a bound.
//!
//! A path of the agent's may lead elsewhere by a link, block for ever as a pipe, or have more bytes than memory.
//!
//! That something is absent and that it cannot be read are two answers: a file that cannot be read now may hold work.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::error::{Error, Result};

/// Opens a plain file for reading.
///
/// # Errors
/// There is none, it cannot be read, or it is a link, a folder, a pipe or a device.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    open_as(path, OpenOptions::new().read(true))
}

/// Opens a plain file with these options.
///
/// # Errors
/// As for [`open`].
pub(crate) fn open_as(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = options.custom_flags(flags.bits().cast_signed()).open(path)?;
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "not a plain file"))
}

/// Reads a plain file that has at most `bytes_max` bytes.
///
/// # Errors
/// There is none, it cannot be read, or it is a link, a folder, a pipe or a device. [`io::ErrorKind::FileTooLarge`] for a
/// larger one, of which nothing is read.
pub fn read(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let file = open(path)?;
    let length = file.metadata()?.len();
    if length > bytes_max {
        return Err(too_large(bytes_max));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
    // It may grow while it is read.
    file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(too_large(bytes_max));
    }
    Ok(bytes)
}

/// Reads the first bytes of a plain file of any size.
///
/// # Errors
/// As for [`open`].
pub(crate) fn read_start(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut start = Vec::new();
    open(path)?.take(bytes_max).read_to_end(&mut start)?;
    Ok(start)
}

/// Reads a plain file that has at most `bytes_max` bytes; `None`: there is nothing at this path.
///
/// # Errors
/// It exists and cannot be read, or is no plain file of that size.
pub(crate) fn read_if_there(path: &Path, bytes_max: u64) -> Result<Option<Vec<u8>>> {
    match read(path, bytes_max) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if is_absent(&e) => Ok(None),
        Err(e) => Err(Error::io("read", path)(e)),
    }
}

/// Reads a plain file that has at most `bytes_max` bytes; `None`: there is nothing at this path, or something else.
///
/// # Errors
/// It cannot be read, so nobody knows what it holds.
pub(crate) fn read_if_plain(path: &Path, bytes_max: u64) -> Result<Option<Vec<u8>>> {
    match read(path, bytes_max) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if is_absent(&e) || is_no_such_file(&e) => Ok(None),
        Err(e) => Err(Error::io("read", path)(e)),
    }
}

/// What is at this path, links not followed; `None`: nothing.
///
/// # Errors
/// It cannot be looked at, so nobody knows.
pub(crate) fn look_at(path: &Path) -> Result<Option<Metadata>> {
    match fs::symlink_metadata(path) {
        Ok(meta) => Ok(Some(meta)),
        Err(e) if is_absent(&e) => Ok(None),
        Err(e) => Err(Error::io("look at", path)(e)),
    }
}

/// Whether there is a folder at this path, links not followed.
///
/// # Errors
/// It cannot be looked at, so nobody knows.
pub(crate) fn is_folder(path: &Path) -> Result<bool> {
    Ok(look_at(path)?.is_some_and(|meta| meta.is_dir()))
}

/// Whether an error says that there is nothing at the path.
#[must_use]
pub fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Whether an error of [`read`] says that something else than a plain file of the allowed size is at the path.
#[must_use]
pub fn is_no_such_file(error: &io::Error) -> bool {
    // What opening a link or a socket fails with.
    let of_links_and_sockets = [Errno::LOOP, Errno::NXIO].map(|errno| Some(errno.raw_os_error()));
    matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::FileTooLarge)
        || of_links_and_sockets.contains(&error.raw_os_error())
}

fn too_large(bytes_max: u64) -> io::Error {
    io::Error::new(io::ErrorKind::FileTooLarge, format!("larger than {bytes_max} bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn s3_only_plain_files_of_a_bounded_size_are_read() {
        let room = tempfile::tempdir().unwrap();
        let at = |name: &str| room.path().join(name);
        fs::write(at("file"), "1234").unwrap();
        assert_eq!(read(&at("file"), 4).unwrap(), b"1234");
        assert_eq!(read_start(&at("file"), 2).unwrap(), b"12");
        assert_eq!(read(&at("file"), 3).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        // One without end is refused by its length.
        File::create(at("sparse")).unwrap().set_len(1 << 40).unwrap();
        assert_eq!(read(&at("sparse"), 4096).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(read(&at("none"), 4).unwrap_err().kind(), io::ErrorKind::NotFound);
        symlink(at("file"), at("link")).unwrap();
        assert!(read(&at("link"), 4).is_err());
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        for none in ["none", "sparse", "link", "socket", "file/below"] {
            assert_eq!(read_if_plain(&at(none), 4096).unwrap(), None, "{none}");
        }
        assert!(read(room.path(), 4).is_err());
        rustix::fs::mknodat(rustix::fs::CWD, at("pipe"), rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
        assert_eq!(read(&at("pipe"), 4).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        for (name, max) in [("link", 4), ("pipe", 4), ("sparse", 4), (".", 4)] {
            assert!(is_no_such_file(&read(&at(name), max).unwrap_err()), "{name}");
        }
        assert!(read_if_there(&at("none"), 4).unwrap().is_none() && read_if_there(&at("file/x"), 4).unwrap().is_none());
        assert!(read_if_there(&at("link"), 4).is_err());
        let mut append = OpenOptions::new();
        assert!(open_as(&at("link"), append.append(true)).is_err());
    }
}
