//! Catalogues on disk: listed, written in one step, removed.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use agentops_core::id::Name;
use agentops_git::plain_file;
use serde_json::Value;

use super::gather::Gathered;
use super::{Catalogue, CatalogueError, FORMAT, MANIFEST, Manifest};

/// The largest manifest that is read, in bytes.
const MANIFEST_BYTES_MAX: u64 = 16 << 20;
/// Held by whoever changes a catalogue.
const LOCK: &str = ".lock";

/// What an update did, as labels.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    /// Agents that were not there.
    pub added: Vec<String>,
    /// Agents that are gone.
    pub removed: Vec<String>,
    /// Agents with another text.
    pub changed: Vec<String>,
    /// How many are as they were.
    pub unchanged: usize,
}

/// The user's catalogues.
#[derive(Debug, Clone)]
pub struct Store {
    folder: PathBuf,
}

impl Store {
    /// The catalogues in this folder.
    #[must_use]
    pub fn at(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// All catalogues by name, and what is wrong with those that cannot be read.
    ///
    /// # Errors
    /// The folder is there and cannot be read.
    pub fn list(&self) -> Result<(Vec<Catalogue>, Vec<CatalogueError>), CatalogueError> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Default::default()),
            Err(e) => return Err(CatalogueError::io(&self.folder)(e)),
        };
        let names = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<Name>().ok());
        let mut names: Vec<Name> = names.collect();
        names.sort();
        let (mut found, mut problems) = (Vec::new(), Vec::new());
        for name in names {
            match self.read(&name) {
                Ok(Some(catalogue)) => found.push(catalogue),
                Ok(None) => {}
                Err(problem) => problems.push(problem),
            }
        }
        Ok((found, problems))
    }

    /// One catalogue; `None`: there is none of that name.
    ///
    /// # Errors
    /// Its manifest is newer, was changed, or cannot be read.
    pub fn read(&self, name: &Name) -> Result<Option<Catalogue>, CatalogueError> {
        let folder = self.folder.join(name.as_str());
        let path = folder.join(MANIFEST);
        let bytes = match plain_file::read(&path, MANIFEST_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound || e.kind() == io::ErrorKind::NotADirectory => return Ok(None),
            Err(e) => return Err(CatalogueError::io(&path)(e)),
        };
        let changed = |what: String| CatalogueError::Changed { name: name.to_string(), what };
        let value: Value = serde_json::from_slice(&bytes).map_err(|_| changed("it is no JSON".into()))?;
        match value.get("format").and_then(Value::as_u64) {
            Some(found) if found > u64::from(FORMAT) => {
                return Err(CatalogueError::Newer { name: name.to_string(), found });
            }
            Some(_) => {}
            None => return Err(changed("it names no format".into())),
        }
        let manifest: Manifest = serde_json::from_value(value).map_err(|e| changed(format!("it has another form: {e}")))?;
        if Manifest::hash_of(&manifest.agents) != manifest.hash {
            return Err(changed("its agents are not those of its hash".into()));
        }
        let inside = |path: &str| agentops_route::catalogue::layout::may_be_agent(path);
        if manifest.name != *name
            || !is_texts(&manifest.texts)
            || !manifest.agents.iter().all(|agent| inside(&agent.path))
            || !manifest.agents.iter().all(|agent| agent.label.split('/').next() == Some(name.as_str()))
        {
            return Err(changed("it names files or agents that are not this catalogue's".into()));
        }
        Ok(Some(Catalogue { folder, manifest }))
    }

    /// Writes a catalogue over the one of its name, if there is one. When it returns, the new one survives a power cut; before
    /// that, a crash leaves the old one. `may_replace` says whether one from another source may be replaced.
    ///
    /// # Errors
    /// A newer program wrote the old one, it is from another source, another process is at work, or the disk refuses.
    pub fn write(&self, mut manifest: Manifest, gathered: &Gathered, may_replace: bool) -> Result<Change, CatalogueError> {
        make(&self.folder)?;
        let _lock = self.lock()?;
        self.sweep_unfinished();
        let old = match self.read(&manifest.name) {
            // What was changed by hand is mended by adding it again.
            Err(CatalogueError::Changed { .. }) => None,
            other => other?,
        };
        if let Some(old) = &old
            && !may_replace
            && (old.manifest.source != manifest.source || old.manifest.folder != manifest.folder)
        {
            let (name, source_there) = (manifest.name, old.manifest.source.clone());
            return Err(CatalogueError::Taken { name, source_there });
        }
        let folder = self.folder.join(manifest.name.as_str());
        make(&folder)?;
        let in_use = old.as_ref().map(|old| old.manifest.texts.as_str());
        sweep(&folder, in_use);
        manifest.agents = gathered.agents.iter().map(|(agent, _)| agent.clone()).collect();
        manifest.hash = Manifest::hash_of(&manifest.agents);
        manifest.texts = texts_name(&folder, &manifest);
        let texts = folder.join(&manifest.texts);
        make(&texts)?;
        for (agent, text) in &gathered.agents {
            let path = texts.join(&agent.path);
            make(path.parent().unwrap_or(&texts))?;
            let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
            file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(CatalogueError::io(&path))?;
        }
        // A thousand small files: one call for their file system instead of one for each.
        let handle = File::open(&texts).map_err(CatalogueError::io(&texts))?;
        rustix::fs::syncfs(&handle).map_err(|e| CatalogueError::io(&texts)(e.into()))?;
        let path = folder.join(MANIFEST);
        put(&path, &manifest).map_err(CatalogueError::io(&path))?;
        File::open(&self.folder).and_then(|all| all.sync_all()).map_err(CatalogueError::io(&self.folder))?;
        sweep(&folder, Some(&manifest.texts));
        Ok(change(old.as_ref().map(|old| &old.manifest), &manifest))
    }

    /// Removes a catalogue, a broken one too. Gives what it said of itself, where that could be read.
    ///
    /// # Errors
    /// There is none of that name, or it cannot be removed.
    pub fn remove(&self, name: &Name) -> Result<Option<Manifest>, CatalogueError> {
        let absent = || CatalogueError::Absent { name: name.clone() };
        let folder = self.folder.join(name.as_str());
        let path = folder.join(MANIFEST);
        if !fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_file()) {
            return Err(absent());
        }
        let _lock = self.lock()?;
        self.sweep_unfinished();
        let manifest = match self.read(name) {
            Ok(Some(catalogue)) => Some(catalogue.manifest),
            Ok(None) => return Err(absent()),
            Err(_) => None,
        };
        // Without its manifest it is gone, whatever happens to the texts.
        fs::remove_file(&path).map_err(CatalogueError::io(&path))?;
        File::open(&folder).and_then(|folder| folder.sync_all()).map_err(CatalogueError::io(&folder))?;
        fs::remove_dir_all(&folder).map_err(CatalogueError::io(&folder))?;
        Ok(manifest)
    }

    /// Removes folders of ours without a manifest: an interrupted first change, or an interrupted removal.
    fn sweep_unfinished(&self) {
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let is_ours = entry.file_name().to_str().is_some_and(|name| name.parse::<Name>().is_ok());
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if is_ours && is_folder && fs::symlink_metadata(entry.path().join(MANIFEST)).is_err() {
                sweep(&entry.path(), None);
                let _another_file = fs::remove_file(entry.path().join(MANIFEST).with_extension("part"));
                let _not_empty = fs::remove_dir(entry.path());
            }
        }
    }

    fn lock(&self) -> Result<File, CatalogueError> {
        let path = self.folder.join(LOCK);
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&path);
        let file = file.map_err(CatalogueError::io(&path))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => Err(CatalogueError::Busy),
            Err(TryLockError::Error(e)) => Err(CatalogueError::io(&path)(e)),
        }
    }
}

fn make(folder: &Path) -> Result<(), CatalogueError> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(CatalogueError::io(folder))
}

/// Writes the manifest aside and renames it into place; durable when it returns.
fn put(path: &Path, manifest: &Manifest) -> io::Result<()> {
    let mut text = serde_json::to_vec_pretty(manifest).map_err(io::Error::other)?;
    text.push(b'\n');
    let part = path.with_extension("part");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
    file.write_all(&text)?;
    file.sync_all()?;
    fs::rename(&part, path)?;
    File::open(path.parent().unwrap_or(path))?.sync_all()
}

/// A folder for texts that is not there yet.
fn texts_name(folder: &Path, manifest: &Manifest) -> String {
    let name = |n: u32| format!("texts-{}-{n}", &manifest.hash.as_str()[..12]);
    (0..).map(name).find(|name| !folder.join(name).exists()).unwrap_or_default()
}

fn is_texts(name: &str) -> bool {
    name.strip_prefix("texts-").is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'))
}

/// Removes folders of texts that nothing names: what an interrupted change left. What cannot be removed is only untidy.
fn sweep(folder: &Path, in_use: Option<&str>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let unused = name.to_str().is_some_and(|name| is_texts(name) && Some(name) != in_use);
        if unused && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            let _untidy = fs::remove_dir_all(entry.path());
        }
    }
}

fn change(old: Option<&Manifest>, new: &Manifest) -> Change {
    let by_label = |manifest: &Manifest| -> BTreeMap<String, String> {
        manifest.agents.iter().map(|agent| (agent.label.clone(), agent.hash.to_string())).collect()
    };
    let (before, after) = (old.map(by_label).unwrap_or_default(), by_label(new));
    let mut change = Change::default();
    for (label, hash) in &after {
        match before.get(label) {
            None => change.added.push(label.clone()),
            Some(old) if old != hash => change.changed.push(label.clone()),
            Some(_) => change.unchanged += 1,
        }
    }
    change.removed = before.into_keys().filter(|label| !after.contains_key(label)).collect();
    change
}
