//! Port ranges: each lane's programs get ports that no other lane of this user on this machine has.
//!
//! A range is a lock file below the user's state folder, held while the lane's session, gate or set-up runs.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::slots::{make_folder, open, try_hold};

/// The first port. The ranges end below the kernel's usual ephemeral ports, which begin at 32768.
const FIRST: u16 = 20_000;
/// Ports in a range.
const LENGTH: u16 = 20;
/// Number of ranges.
const RANGES: u16 = 600;

/// The port ranges of a user.
#[derive(Debug, Clone)]
pub struct Ports {
    folder: PathBuf,
}

/// A range that is held until it is dropped.
#[derive(Debug)]
pub struct PortRange {
    number: u16,
    path: PathBuf,
    #[expect(dead_code, reason = "the lock lives as long as the file is open")]
    lock: File,
}

impl PortRange {
    /// The lock file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its first port.
    #[must_use]
    pub fn first(&self) -> u16 {
        FIRST + self.number * LENGTH
    }

    /// Its last port.
    #[must_use]
    pub fn last(&self) -> u16 {
        self.first() + LENGTH - 1
    }
}

impl Ports {
    /// The ranges whose lock files lie in this folder. It is made when the first range is taken.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Takes a free range. The same name gets the same range as long as no other lane holds it.
    ///
    /// # Errors
    /// Every range is held, or the lock files cannot be made.
    pub fn take(&self, name: &str) -> io::Result<PortRange> {
        make_folder(&self.folder)?;
        let hash = name.bytes().fold(0u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)));
        let preferred = u16::try_from(hash % u64::from(RANGES)).unwrap_or(0);
        for number in (preferred..RANGES).chain(0..preferred) {
            let path = self.folder.join(number.to_string());
            let lock = open(&path)?;
            if try_hold(&lock) {
                return Ok(PortRange { number, path, lock });
            }
        }
        Err(io::Error::other(format!("all {RANGES} port ranges are in use; {} lists them", self.folder.display())))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn p7_no_two_lanes_hold_the_same_ports() {
        let dir = tempfile::tempdir().unwrap();
        let ports = [(); 2].map(|()| Ports::new(dir.path().join("ports")));
        let held: Vec<PortRange> =
            (0..200).map(|n| ports[n % 2].take(&format!("run.implement.lane-{n}")).unwrap()).collect();
        let firsts: BTreeSet<u16> = held.iter().map(PortRange::first).collect();
        assert_eq!(firsts.len(), 200);
        assert!(held.iter().all(|range| range.first() % LENGTH == 0 && range.last() < 32_768));
    }

    #[test]
    fn a_lane_gets_its_ports_again_and_a_full_machine_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let ports = Ports::new(dir.path().join("ports"));
        let first = ports.take("a").unwrap().first();
        let all: Vec<PortRange> = (0..RANGES).map(|_| ports.take("a").unwrap()).collect();
        assert_eq!(all[0].first(), first);
        assert!(ports.take("a").unwrap_err().to_string().contains("all 600 port ranges"));
    }
}
