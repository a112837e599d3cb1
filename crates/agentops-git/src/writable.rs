//! Whether folders can be written, asked without writing anything.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, StatVfsMountFlags, accessat, statvfs};
use rustix::io::Errno;
use rustix::process::geteuid;

use crate::lane_records;
use crate::repo::Repo;

/// A folder that cannot be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnwritableFolder {
    /// The folder.
    pub path: PathBuf,
    /// The folder whose permissions are to be mended, with those below it.
    pub mend: PathBuf,
    /// Why.
    pub why: Unwritable,
}

/// Why a folder cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unwritable {
    /// It is no folder but a file or something else.
    NoFolder,
    /// Its disk is mounted for reading only.
    ReadOnlyDisk,
    /// It is this user's, and its permissions do not let the owner write.
    Permissions,
    /// It is another user's.
    OtherOwner {
        /// The number of that user.
        user: u32,
    },
    /// Something else, such as an attribute of the file system, protects it.
    Protected,
}

/// Why entries cannot be made in this folder; `None`: they can, or there is nothing, or it is unknown.
#[must_use]
pub fn unwritable(folder: &Path) -> Option<Unwritable> {
    if fs::metadata(folder).is_ok_and(|meta| !meta.is_dir()) {
        return Some(Unwritable::NoFolder);
    }
    let access = Access::WRITE_OK | Access::EXEC_OK;
    match accessat(CWD, folder, access, AtFlags::EACCESS) {
        Err(Errno::ACCESS | Errno::PERM | Errno::ROFS) => {}
        _ => return None,
    }
    if statvfs(folder).is_ok_and(|disk| disk.f_flag.contains(StatVfsMountFlags::RDONLY)) {
        return Some(Unwritable::ReadOnlyDisk);
    }
    let Ok(meta) = fs::metadata(folder) else { return Some(Unwritable::Protected) };
    Some(match meta.uid() {
        user if user != geteuid().as_raw() => Unwritable::OtherOwner { user },
        _ if meta.mode() & 0o300 != 0o300 => Unwritable::Permissions,
        _ => Unwritable::Protected,
    })
}

impl Repo {
    /// Folders of the repository that a run writes and cannot: those of objects, of our records, and those that hold or would
    /// hold refs below `refs`. A folder that git makes when it needs it counts only where it is there.
    #[must_use]
    pub fn unwritable_folders(&self, refs: &[&str]) -> Vec<UnwritableFolder> {
        let common = self.common_dir();
        let (objects, records) = (common.join("objects"), lane_records::records(self));
        let mut found = Vec::new();
        let mut look = |path: &Path, mend: &Path| {
            if let Some(why) = unwritable(path) {
                found.push(UnwritableFolder { path: path.to_owned(), mend: mend.to_owned(), why });
            }
        };
        look(common, common);
        look(&objects, &objects);
        look(&objects.join("pack"), &objects);
        for byte in 0..=255 {
            look(&objects.join(format!("{byte:02x}")), &objects);
        }
        if let Some(ours) = records.parent() {
            look(ours, ours);
            look(&records, ours);
        }
        if self.uses_reftable() {
            look(&common.join("reftable"), &common.join("reftable"));
        } else {
            // The deepest folder that is there: git makes the others in it.
            let deepest = |name: &&str| common.join(name).ancestors().find(|path| path.is_dir()).map(Path::to_owned);
            let folders: BTreeSet<PathBuf> = refs.iter().filter_map(deepest).collect();
            folders.iter().for_each(|folder| look(folder, &common.join("refs")));
        }
        // The same command mends all of them.
        found.dedup_by(|next, before| next.mend == before.mend && next.why == before.why);
        found
    }
}
