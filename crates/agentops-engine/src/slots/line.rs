//! The line in which supervisors wait for a slot.
//!
//! A place in it is a file that its supervisor has locked. Its name says how old it is, so every supervisor sees the same
//! order. No process waits for another one's lock: one that is stopped, or hangs, keeps its place and nobody else's.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use agentops_agents::process::ProcessId;
use rustix::fs::{FlockOperation, flock};

const PREFIX: &str = "waits-";

/// A place in the line. Dropping it leaves the line and wakes those who watch the folder.
pub(super) struct Place {
    path: PathBuf,
    #[expect(dead_code, reason = "the lock lives as long as the file is open")]
    lock: File,
}

/// Tells the places of one process apart.
static MADE: AtomicU32 = AtomicU32::new(0);

impl Place {
    /// Takes the last place.
    pub(super) fn take(folder: &Path) -> io::Result<Self> {
        let number = places(folder)?.last().and_then(|last| number(last)).unwrap_or(0) + 1;
        let own = format!("{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::SeqCst));
        // It is locked before anybody can see it: a place without a lock is a dead process's.
        let new = folder.join(format!("new-{own}"));
        let lock = File::create(&new)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
        let path = folder.join(format!("{PREFIX}{number:020}-{own}"));
        fs::rename(&new, &path)?;
        remove_unfinished(folder)?;
        Ok(Self { path, lock })
    }

    /// The place before all others that somebody has; `None`: it is this one.
    pub(super) fn before(&self) -> io::Result<Option<PathBuf>> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        Ok(first(folder)?.filter(|first| *first != self.path))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _gone_already = fs::remove_file(&self.path);
    }
}

/// The first place that somebody has. Removes those of dead processes before it.
pub(super) fn first(folder: &Path) -> io::Result<Option<PathBuf>> {
    for place in places(folder)? {
        let Ok(file) = File::open(&place) else { continue };
        match flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => {
                let _gone_already = fs::remove_file(&place);
            }
            Err(_) => return Ok(Some(place)),
        }
    }
    Ok(None)
}

/// Removes what processes left that were killed while they took a place.
fn remove_unfinished(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let pid = path.file_name().and_then(|name| name.to_str()?.strip_prefix("new-")?.split('-').next()?.parse().ok());
        if pid.is_some_and(|pid| ProcessId::of(pid).is_none()) {
            let _gone_already = fs::remove_file(&path);
        }
    }
    Ok(())
}

/// All places, oldest first.
fn places(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut places = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if number(&path).is_some() {
            places.push(path);
        }
    }
    places.sort();
    Ok(places)
}

fn number(place: &Path) -> Option<u64> {
    place.file_name()?.to_str()?.strip_prefix(PREFIX)?.split('-').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_in_the_order_in_which_they_were_taken() {
        let dir = tempfile::tempdir().unwrap();
        let places: Vec<Place> = (0..12).map(|_| Place::take(dir.path()).unwrap()).collect();
        let mut places = places.into_iter();
        while let Some(first) = places.next() {
            assert_eq!(first.before().unwrap(), None);
            for later in places.as_slice() {
                assert_eq!(later.before().unwrap().as_ref(), Some(&first.path));
            }
        }
        assert_eq!(super::places(dir.path()).unwrap(), Vec::<PathBuf>::new());
    }

    #[test]
    fn a_place_whose_process_died_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let dead = Place::take(dir.path()).unwrap();
        let living = Place::take(dir.path()).unwrap();
        // The kernel drops the lock and leaves the file.
        let path = dead.path.clone();
        fs::rename(&dead.path, dir.path().join("aside")).unwrap();
        drop(dead);
        fs::rename(dir.path().join("aside"), &path).unwrap();
        // A child that another test is just starting has the lock until it loads its program.
        while living.before().unwrap().is_some() {
            std::thread::yield_now();
        }
        assert!(!path.exists());
        let unfinished = dir.path().join(format!("new-{}-0", i32::MAX));
        fs::write(&unfinished, "").unwrap();
        let _last = Place::take(dir.path()).unwrap();
        assert!(!unfinished.exists());
    }
}
