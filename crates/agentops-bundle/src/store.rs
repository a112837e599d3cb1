//! Bundles in a folder: `<id>/bundle.md`, which an agent reads as it is, and `<id>/manifest.json`.
//!
//! A bundle is written aside and renamed into place, so a crash leaves a whole one or none. What is read is checked: a body
//! that is not the manifest's is no bundle.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::manifest::{BundleId, FORMAT, Manifest, hash};

/// The body's file.
pub const BODY: &str = "bundle.md";
/// The manifest's file.
pub const MANIFEST: &str = "manifest.json";
/// Where bundles lie in a repository.
pub const FOLDER: &str = ".agentops/bundles";

/// A bundle as it was read, whole and unchanged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// Its id.
    pub id: BundleId,
    /// What it says of itself.
    pub manifest: Manifest,
    /// What an agent reads.
    pub body: String,
}

/// Why a bundle cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It is not there.
    #[error("there is no bundle {id} in {}", folder.display())]
    Absent {
        /// Which one.
        id: BundleId,
        /// Where it was looked for.
        folder: PathBuf,
    },
    /// A newer program wrote it.
    #[error("bundle {id} has format {found}; this program knows {FORMAT}")]
    Newer {
        /// Which one.
        id: BundleId,
        /// Its format.
        found: u32,
    },
    /// It is not what its id says.
    #[error("bundle {id} was changed: {what}")]
    Changed {
        /// Which one.
        id: BundleId,
        /// What does not fit.
        what: String,
    },
    /// The disk refused.
    #[error("{} cannot be used", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// A folder of bundles.
#[derive(Debug, Clone)]
pub struct Store {
    folder: PathBuf,
}

impl Store {
    /// The bundles of a repository, by its work tree.
    #[must_use]
    pub fn of(work_tree: &Path) -> Self {
        Self { folder: work_tree.join(FOLDER) }
    }

    /// Where a bundle lies.
    #[must_use]
    pub fn path(&self, id: &BundleId) -> PathBuf {
        self.folder.join(id.as_str())
    }

    /// Writes a bundle; one that is there already stays.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn write(&self, manifest: &Manifest, body: &str) -> Result<BundleId, StoreError> {
        let id = manifest.id();
        let path = self.path(&id);
        self.sweep();
        if self.read(&id).is_ok() {
            return Ok(id);
        }
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| StoreError::Io { path, source }
        };
        // Its own name each: two writers of the same bundle do not meet.
        let aside = self.folder.join(format!(".{id}.{}", std::process::id()));
        let _held = hold(&aside).map_err(failed(&aside))?;
        for (name, text) in [(BODY, body), (MANIFEST, &manifest.to_json())] {
            let file = aside.join(name);
            let mut made = fs::File::create(&file).map_err(failed(&file))?;
            made.write_all(text.as_bytes()).and_then(|()| made.sync_all()).map_err(failed(&file))?;
        }
        // One that was changed is replaced by what its id says.
        if path.exists() {
            fs::remove_dir_all(&path).map_err(failed(&path))?;
        }
        fs::rename(&aside, &path).map_err(failed(&path))?;
        Ok(id)
    }

    /// Removes folders that a killed writer left. What cannot be removed is only untidy.
    pub fn sweep(&self) {
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let is_aside = entry.file_name().to_str().is_some_and(is_aside);
            if !is_aside || !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            let held = fs::File::open(entry.path()).ok().filter(|folder| folder.try_lock().is_ok());
            if held.is_some() {
                let _left = fs::remove_dir_all(entry.path());
            }
        }
    }

    /// Reads a bundle and checks it.
    ///
    /// # Errors
    /// It is not there, newer, or not what its id says.
    pub fn read(&self, id: &BundleId) -> Result<Bundle, StoreError> {
        let path = self.path(id);
        if !path.is_dir() {
            return Err(StoreError::Absent { id: id.clone(), folder: self.folder.clone() });
        }
        let text = |name: &str| {
            let path = path.join(name);
            fs::read_to_string(&path).map_err(|source| StoreError::Io { path, source })
        };
        let (json, body) = (text(MANIFEST)?, text(BODY)?);
        let changed = |what: &str| StoreError::Changed { id: id.clone(), what: what.to_owned() };
        let value: serde_json::Value = serde_json::from_str(&json).map_err(|_| changed("its manifest is no JSON"))?;
        let format = value.get("format").and_then(serde_json::Value::as_u64);
        if let Some(found) = format.and_then(|format| u32::try_from(format).ok()).filter(|found| *found > FORMAT) {
            return Err(StoreError::Newer { id: id.clone(), found });
        }
        let manifest: Manifest =
            serde_json::from_value(value).map_err(|e| changed(&format!("its manifest has another form: {e}")))?;
        if manifest.id() != *id {
            return Err(changed("its manifest has another hash"));
        }
        if hash(body.as_bytes()) != manifest.body {
            return Err(changed("its body has another hash"));
        }
        Ok(Bundle { id: id.clone(), manifest, body })
    }

    /// The ids of all bundles, in order.
    ///
    /// # Errors
    /// The folder is there and cannot be read.
    pub fn ids(&self) -> Result<Vec<BundleId>, StoreError> {
        self.sweep();
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(StoreError::Io { path: self.folder.clone(), source }),
        };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut ids: Vec<BundleId> = names.filter_map(|name| name.parse().ok()).collect();
        ids.sort();
        Ok(ids)
    }

    /// Removes a bundle.
    ///
    /// # Errors
    /// It is not there, or cannot be removed.
    pub fn remove(&self, id: &BundleId) -> Result<(), StoreError> {
        let path = self.path(id);
        fs::remove_dir_all(&path).map_err(|source| StoreError::Io { path, source })
    }
}

/// Makes a folder and locks it. The kernel takes the lock away with this process: what nobody holds is a leftover.
fn hold(aside: &Path) -> std::io::Result<fs::File> {
    loop {
        fs::create_dir_all(aside)?;
        // Somebody who sweeps may have been faster than our lock: then it is made again.
        let held = match fs::File::open(aside) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
            opened => opened?,
        };
        held.lock()?;
        if aside.is_dir() {
            return Ok(held);
        }
    }
}

/// Whether a folder's name is that of a bundle that is being written.
fn is_aside(name: &str) -> bool {
    let parts = name.strip_prefix('.').and_then(|rest| rest.rsplit_once('.'));
    parts.is_some_and(|(id, pid)| id.parse::<BundleId>().is_ok() && pid.parse::<u32>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::Kind;
    use crate::manifest::SourceRecord;
    use crate::{Class, Compressed, Fact};

    fn made() -> (Manifest, String) {
        let facts = vec![Fact::new(Class::Path, "src/a.rs", "x:1"), Fact::new(Class::Path, "src/b.rs", "x:2")];
        let body = "see src/a.rs\n".to_owned();
        let made = Compressed::new(body.clone(), 100, 5, facts);
        let source = SourceRecord { path: "x".into(), kind: Kind::Log, commit: None, hash: hash(b"x") };
        (Manifest::new("do it", vec![source], &made, &body), body)
    }

    #[test]
    fn the_same_sources_are_the_same_bundle() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::of(folder.path());
        let (manifest, body) = made();
        let id = store.write(&manifest, &body).expect("written");
        assert_eq!(store.write(&manifest, &body).expect("written again"), id);
        assert_eq!(store.ids().expect("a list"), std::slice::from_ref(&id));
        let read = store.read(&id).expect("a bundle");
        assert_eq!((read.manifest.fidelity.lost.len(), read.body), (1, body));
        let left: Vec<_> = fs::read_dir(folder.path().join(FOLDER)).expect("a folder").collect();
        assert_eq!(left.len(), 1, "nothing is left aside");
    }

    #[test]
    fn what_was_changed_is_not_read_and_is_mended_by_writing_it_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::of(folder.path());
        let (manifest, body) = made();
        let id = store.write(&manifest, &body).expect("written");
        for (name, text) in [(BODY, "other"), (MANIFEST, "{}"), (MANIFEST, "no json")] {
            fs::write(store.path(&id).join(name), text).expect("changed");
            assert!(matches!(store.read(&id), Err(StoreError::Changed { .. })), "{name} {text}");
            store.write(&manifest, &body).expect("mended");
            assert!(store.read(&id).is_ok());
        }
        fs::write(store.path(&id).join(MANIFEST), "{\"format\": 99, \"new\": 1}").expect("changed");
        assert!(matches!(store.read(&id), Err(StoreError::Newer { found: 99, .. })));
    }

    #[test]
    fn p5_what_a_killed_writer_left_goes_and_what_is_being_written_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::of(folder.path());
        let (manifest, body) = made();
        let id = store.write(&manifest, &body).expect("written");
        let all = folder.path().join(FOLDER);
        let outside = folder.path().join("outside");
        fs::create_dir(&outside).expect("a folder");
        let killed = [".b-0123456789abcdef.4242", ".b-fedcba9876543210.1"].map(|name| all.join(name));
        for killed in &killed {
            fs::create_dir(killed).expect("a folder");
            fs::write(killed.join(BODY), "half").expect("a file");
        }
        let others = [".git", ".b-0123456789abcdef", ".b-0123456789abcdef.x"].map(|name| all.join(name));
        others.iter().for_each(|other| fs::create_dir(other).expect("a folder"));
        let link = all.join(".b-0123456789abcdef.7");
        std::os::unix::fs::symlink(&outside, &link).expect("a link");
        let written = all.join(".b-0123456789abcdef.9");
        let held = hold(&written).expect("a lock");
        assert_eq!(store.ids().expect("a list"), [id]);
        assert!(killed.iter().all(|killed| !killed.exists()) && others.iter().all(|other| other.exists()));
        assert!(written.exists() && outside.exists() && link.is_symlink());
        drop(held);
        store.write(&manifest, &body).expect("written again");
        assert!(!written.exists());
    }

    #[test]
    fn ids_have_one_form() {
        for word in ["b-0123456789abcde", "b-0123456789ABCDEF", "../x", "b-../../../../../e", ""] {
            assert!(word.parse::<BundleId>().is_err(), "{word}");
        }
        assert!("b-0123456789abcdef".parse::<BundleId>().is_ok());
    }
}
