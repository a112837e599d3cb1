//! Whether a disk has the space that a run needs.

use std::fmt::{self, Display};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use agentops_core::workflow::{Check, Workflow};
use agentops_git::{FreeSpace, Oid, Repo, is_on_full_disk};

use crate::paths::Paths;

/// Whether a folder lies on a file system that the kernel makes up, such as `/proc`: nobody can write files there.
#[must_use]
pub fn is_of_kernel(folder: &Path) -> bool {
    // As in the kernel's magic.h: proc, sysfs, cgroup, cgroup2, devpts, securityfs, debugfs and tracefs.
    const MADE_UP: [u32; 8] = [0x9fa0, 0x6265_6572, 0x0027_e0eb, 0x6367_7270, 0x1cd1, 0x7363_6673, 0x6462_6720, 0x7472_6163];
    rustix::fs::statfs(folder).is_ok_and(|disk| u32::try_from(disk.f_type).is_ok_and(|found| MADE_UP.contains(&found)))
}

/// That the disk of one of these folders is full, named as `names` says. `None`: none is known to be.
#[must_use]
pub fn full_among(folders: &[(&str, &Path)]) -> Option<String> {
    let (name, folder) = folders.iter().find(|(_, folder)| is_on_full_disk(folder))?;
    let free = FreeSpace::of(folder).map_or_else(String::new, |free| match free.files {
        0 => " (space for no file)".to_owned(),
        _ => format!(" ({} KiB free)", free.bytes >> 10),
    });
    Some(format!("the disk of {name} {} is full{free}", folder.display()))
}

/// Whether an error's words, of the system, of git or of ours, say that a disk or a user's quota is full.
#[must_use]
pub fn says_full(words: &str) -> bool {
    const REASONS: [&str; 4] = ["no space left on device", "out of diskspace", "disk quota exceeded", "disk is full"];
    let words = words.to_ascii_lowercase();
    let ours = words.contains("the disk of ") && words.contains(" is full");
    ours || REASONS.iter().any(|reason| words.contains(reason))
}

/// Bytes that a run needs on a disk beside its work trees. A run of three phases with scripted agents wrote 0.3 MiB of ledger
/// and texts and 0.4 MiB of objects; the ledger's log grows to 4 MiB before SQLite empties it.
const RECORDS_BYTES: u64 = 8 << 20;

/// What a run needs of one disk, and what is free there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskSpace {
    /// What of ours lies on this disk.
    holds: Vec<&'static str>,
    /// Where it lies.
    path: PathBuf,
    /// Free bytes and files. `None`: unknown.
    free: Option<Amount>,
    /// Work trees that the run puts there, at the same time at most.
    trees: u64,
    /// What one of them takes. `None`: unknown.
    tree: Option<Amount>,
}

/// An amount of space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Amount {
    bytes: u64,
    /// As many as can be counted, where the disk does not count them.
    files: u64,
}

impl DiskSpace {
    /// Whether there is too little. Unknown is no.
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.free.is_some_and(|free| free.bytes < self.needed().bytes || free.files < self.needed().files)
    }

    /// Whether it cannot be said if there is enough.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        self.free.is_none() || (self.trees > 0 && self.tree.is_none())
    }

    /// At least; what is unknown is not counted.
    fn needed(&self) -> Amount {
        let tree = self.tree.unwrap_or(Amount { bytes: 0, files: 0 });
        let times = |one: u64| one.saturating_mul(self.trees);
        Amount { bytes: times(tree.bytes).saturating_add(RECORDS_BYTES), files: times(tree.files) }
    }

    /// What to do when there is too little.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        if self.holds.contains(&REPOSITORY) {
            return "free some space on it";
        }
        "free some space on it, or name a folder on another disk with --state-dir"
    }
}

impl Display for DiskSpace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let needed = self.needed();
        write!(f, "the disk of {} ({}) has ", self.holds.join(" and "), self.path.display())?;
        match self.free {
            None => f.write_str("an unknown amount of free space")?,
            Some(free) if free.bytes >= needed.bytes && free.files < needed.files => {
                return write!(
                    f,
                    "space for {} files, and a run needs {}: {} work trees",
                    free.files, needed.files, self.trees
                );
            }
            Some(free) => write!(f, "{} free", Bytes(free.bytes))?,
        }
        write!(f, ", and a run needs at least {}", Bytes(needed.bytes))?;
        match self.tree {
            _ if self.trees == 0 => return f.write_str(" for what it records"),
            None => write!(f, ": {} work trees of unknown size", self.trees)?,
            Some(tree) => write!(f, ": {} work trees of {} each", self.trees, Bytes(tree.bytes))?,
        }
        write!(f, ", and {} for what it records", Bytes(RECORDS_BYTES))
    }
}

/// A number of bytes as a person reads it.
struct Bytes(u64);

impl Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
        match UNITS.into_iter().find(|(size, _)| self.0 >= *size) {
            Some((size, unit)) => write!(f, "{}.{} {unit}", self.0 / size, self.0 % size * 10 / size),
            None => write!(f, "{} bytes", self.0),
        }
    }
}

const LANES: &str = "the lanes";
const STATE: &str = "the state folder";
const REPOSITORY: &str = "the repository";

/// The work trees that a run of this workflow has at the same time at most: lanes stay until its end, and each command of a
/// phase's gates gets a fresh one.
#[must_use]
pub fn trees_of(workflow: &Workflow) -> u64 {
    let gates = |is: fn(&Check) -> bool| {
        workflow.phases.iter().map(move |phase| phase.gates.iter().filter(|gate| is(&gate.check)).count())
    };
    let lanes: usize = workflow.phases.iter().map(|phase| phase.lanes.len()).sum();
    let reviews: usize = gates(|check| matches!(check, Check::Review { .. })).sum();
    let commands = gates(|check| matches!(check, Check::Command { .. })).max().unwrap_or(0);
    (lanes + reviews + commands).try_into().unwrap_or(u64::MAX)
}

/// The disks of the lanes, the state folder and the repository, each once, for a run that has so many work trees of this
/// commit.
#[must_use]
pub fn of_run(repo: &Repo, paths: &Paths, commit: &Oid, trees: u64) -> Vec<DiskSpace> {
    let sizes = repo.file_sizes(commit).ok().flatten();
    let objects = repo.common_dir().join("objects");
    let places = [(LANES, paths.all_lanes()), (STATE, paths.root().to_owned()), (REPOSITORY, objects)];
    let mut disks: Vec<(Option<u64>, DiskSpace)> = Vec::new();
    for (what, path) in places {
        let existing = path.ancestors().find(|path| path.exists());
        let device = existing.and_then(|path| path.metadata().ok()).map(|meta| meta.dev());
        let known = disks.iter_mut().find(|(known, _)| device.is_some() && *known == device);
        if let Some((_, disk)) = known {
            disk.holds.push(what);
            continue;
        }
        let disk = FreeSpace::of(&path);
        let block = disk.map_or(1, |disk| disk.block_bytes);
        let free = disk.map(|disk| Amount { bytes: disk.bytes, files: disk.files });
        let tree = sizes.as_deref().map(|sizes| of_tree(sizes, block));
        let trees = if what == LANES { trees } else { 0 };
        disks.push((device, DiskSpace { holds: vec![what], path, free, trees, tree }));
    }
    disks.into_iter().map(|(_, disk)| disk).collect()
}

/// What files of these sizes take on a disk, which gives each of them whole blocks.
fn of_tree(sizes: &[u64], block_bytes: u64) -> Amount {
    let blocks = sizes.iter().map(|size| size.div_ceil(block_bytes)).fold(0, u64::saturating_add);
    Amount { bytes: blocks.saturating_mul(block_bytes), files: sizes.len().try_into().unwrap_or(u64::MAX) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(free: Option<u64>, tree: Option<u64>) -> DiskSpace {
        let amount = |bytes| Amount { bytes, files: 100 };
        let (holds, path) = (vec![LANES, STATE], PathBuf::from("/state/x"));
        DiskSpace { holds, path, free: free.map(amount), trees: 3, tree: tree.map(|bytes| Amount { bytes, files: 10 }) }
    }

    #[test]
    fn a_short_disk_says_what_there_is_and_what_is_needed() {
        let short = disk(Some(10 << 20), Some(5 << 20));
        assert!(short.is_short() && !short.is_unknown());
        assert_eq!(
            short.to_string(),
            "the disk of the lanes and the state folder (/state/x) has 10.0 MiB free, and a run needs at least 23.0 MiB: 3 work \
             trees of 5.0 MiB each, and 8.0 MiB for what it records"
        );
        assert!(!disk(Some(23 << 20), Some(5 << 20)).is_short());
        assert!(disk(Some((23 << 20) - 1), Some(5 << 20)).is_short());
        let mut few_files = disk(Some(1 << 30), Some(5 << 20));
        few_files.free = Some(Amount { bytes: 1 << 30, files: 29 });
        assert!(few_files.is_short());
        assert!(few_files.to_string().contains("has space for 29 files, and a run needs 30: 3 work trees"), "{few_files}");
    }

    #[test]
    fn what_cannot_be_asked_is_unknown_and_refuses_nothing() {
        let no_answer = disk(None, Some(5 << 20));
        assert!(no_answer.is_unknown() && !no_answer.is_short());
        assert!(no_answer.to_string().contains("has an unknown amount of free space"), "{no_answer}");
        // Of a partial clone's files some sizes are unknown; what is known must still fit.
        let partial = disk(Some(10 << 20), None);
        assert!(partial.is_unknown() && !partial.is_short());
        assert!(partial.to_string().contains("3 work trees of unknown size"), "{partial}");
        assert!(disk(Some(1 << 20), None).is_short());
    }

    #[test]
    fn each_file_takes_whole_blocks() {
        assert_eq!(of_tree(&[0, 1, 4096, 4097], 4096), Amount { bytes: 4 * 4096, files: 4 });
    }
}
