//! A git directory of our own, for everything that looks at contents.
//!
//! It borrows the repository's objects (by `GIT_OBJECT_DIRECTORY`) and its `info` folder (ignore rules and attributes, by
//! a link), and nothing else: no configuration, hooks, refs, index or `config.worktree`. So attributes keep their harmless
//! meaning (line ends, binary, `merge=union`), and a filter, diff or merge driver that they name does not exist here.
//! What a lane does to its `.git` or to its administrative folder is never read.
//!
//! The few harmless settings that decide what a file's content is are copied, after a check of their values.

use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::oid::{Hash, Oid};
use crate::temporary::{self, TempFile, TempFolder};

/// Settings that are copied when their value is one of these.
const COPIED: [(&str, &[&str]); 6] = [
    ("core.filemode", &["true", "false"]),
    ("core.symlinks", &["true", "false"]),
    ("core.ignorecase", &["true", "false"]),
    ("core.precomposeunicode", &["true", "false"]),
    ("core.autocrlf", &["true", "false", "input"]),
    ("core.eol", &["lf", "crlf", "native"]),
];

#[derive(Debug)]
pub(crate) struct Plain {
    dir: TempFolder,
    common_dir: PathBuf,
    config: Vec<u8>,
}

impl Plain {
    /// Makes the first one of a process, and removes what killed processes left beside it.
    pub(crate) fn new(common_dir: &Path, hash: Hash, settings: &[(String, Vec<u8>)]) -> Result<Self> {
        let plain = Self::make(common_dir, &config(hash, settings), &temporary::folders())?;
        if let Some(beside) = plain.path().parent() {
            temporary::sweep(beside, FOLDER_PREFIX);
        }
        Ok(plain)
    }

    /// Another one with the same settings, for one use.
    pub(crate) fn another(&self) -> Result<Self> {
        Self::make(&self.common_dir, &self.config, &temporary::folders())
    }

    /// Makes it in the first of these folders that can be written.
    fn make(common_dir: &Path, config: &[u8], folders: &[PathBuf]) -> Result<Self> {
        let mut failed = None;
        for above in folders {
            let made = TempFolder::make(above, FOLDER_PREFIX).map_err(Error::io("make a folder in", above));
            let made = made.and_then(|dir| {
                let plain = Self { dir, common_dir: common_dir.to_owned(), config: config.to_owned() };
                plain.ensure().map(|()| plain)
            });
            match made {
                Ok(plain) => return Ok(plain),
                // The first folder is the one that a person chose.
                Err(e) => failed = failed.or(Some(e)),
            }
        }
        let folders = folders.to_owned();
        Err(Error::NoTemporaryFolder { folders, source: failed.map(Box::new) })
    }

    /// Another one whose `HEAD` is this commit, for `git status` with this index folder.
    pub(crate) fn at(&self, head: Option<&Oid>, git_dir: &Path) -> Result<Self> {
        let plain = self.another()?;
        if let Some(head) = head {
            plain.write("HEAD", format!("{head}\n").as_bytes())?;
        }
        // A split index keeps its larger half beside the index.
        for entry in fs::read_dir(git_dir).map_err(Error::io("read", git_dir))?.flatten() {
            if entry.file_name().as_bytes().starts_with(b"sharedindex.") {
                link(&entry.path(), &plain.path().join(entry.file_name()))?;
            }
        }
        Ok(plain)
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Makes it as it should be, before each use: a cleaner of temporary folders may have been here, and a changed
    /// configuration must not be believed.
    pub(crate) fn ensure(&self) -> Result<()> {
        let dir = self.path();
        if fs::read(dir.join("config")).is_ok_and(|c| c == self.config)
            && dir.join("refs").is_dir()
            && dir.join("HEAD").is_file()
        {
            return Ok(());
        }
        fs::create_dir_all(dir.join("refs")).map_err(Error::io("make", dir))?;
        fs::create_dir_all(dir.join("objects")).map_err(Error::io("make", dir))?;
        link(&self.common_dir.join("info"), &dir.join("info"))?;
        link(&self.common_dir.join("shallow"), &dir.join("shallow"))?;
        if !dir.join("HEAD").exists() {
            self.write("HEAD", b"ref: refs/heads/none\n")?;
        }
        self.write("config", &self.config)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        write_whole(&self.path().join(name), bytes)
    }
}

/// How the names of these folders begin, in one of [`temporary::folders`].
pub(crate) const FOLDER_PREFIX: &str = "agentops-git-";
/// How the names of files begin that are being written.
pub(crate) const FILE_PREFIX: &str = ".tmp";

/// Removes what killed processes left in the temporary folders.
pub fn sweep_temporary_folders() {
    for folder in temporary::folders() {
        temporary::sweep(&folder, FOLDER_PREFIX);
    }
}

/// Writes a small file by renaming, so that a reader sees all of it or the old one, and a link at its place is replaced
/// and not followed. Survives a crash of this process; a power cut may lose it.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    written(path, bytes)?.rename(path).map_err(Error::io("write", path))
}

/// As [`write_whole`], and a power cut does not lose it.
pub(crate) fn write_durable(path: &Path, bytes: &[u8]) -> Result<()> {
    written(path, bytes)?.persist(path).map_err(Error::io("write", path))
}

fn written(path: &Path, bytes: &[u8]) -> Result<TempFile> {
    let parent = path.parent().unwrap_or(path);
    let file = TempFile::make(parent, FILE_PREFIX).map_err(Error::io("write in", parent))?;
    file.file().write_all(bytes).map_err(Error::io("write", file.path()))?;
    Ok(file)
}

fn link(target: &Path, at: &Path) -> Result<()> {
    match std::os::unix::fs::symlink(target, at) {
        Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => Err(Error::io("link", at)(e)),
        _ => Ok(()),
    }
}

fn config(hash: Hash, settings: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut text = b"[core]\n\trepositoryformatversion = 1\n\tbare = false\n".to_vec();
    for (key, value) in settings {
        let copied = COPIED.iter().any(|(k, values)| k == key && values.iter().any(|v| v.as_bytes() == value));
        let is_file = matches!(key.as_str(), "core.excludesfile" | "core.attributesfile");
        if (copied || is_file)
            && let Some((_, name)) = key.split_once('.')
        {
            text.extend_from_slice(format!("\t{name} = ").as_bytes());
            text.extend(quoted(value));
            text.push(b'\n');
        }
    }
    if hash == Hash::Sha256 {
        text.extend_from_slice(b"[extensions]\n\tobjectFormat = sha256\n");
    }
    text
}

/// A value of a configuration file.
pub(crate) fn quoted(value: &[u8]) -> Vec<u8> {
    let mut text = vec![b'"'];
    for byte in value {
        match byte {
            b'"' | b'\\' => text.extend([b'\\', *byte]),
            b'\n' => text.extend(b"\\n"),
            other => text.push(*other),
        }
    }
    text.push(b'"');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r5_another_temporary_folder_is_used_where_the_first_cannot_be_written() {
        let room = tempfile::tempdir().unwrap();
        // A folder that does not exist refuses every user, also root.
        let (gone, there) = (room.path().join("gone"), room.path().to_owned());
        let plain = Plain::make(room.path(), b"[core]\n", &[gone.clone(), there.clone()]).unwrap();
        assert_eq!(plain.path().parent(), Some(&*there));
        let refused = Plain::make(room.path(), b"[core]\n", &[gone.clone(), gone.join("too")]).unwrap_err();
        assert!(refused.to_string().contains(&gone.display().to_string()), "{refused}");
    }

    #[test]
    fn only_harmless_settings_are_copied() {
        let given = [
            ("core.fsmonitor", "/evil"),
            ("core.autocrlf", "true\"\n[alias]"),
            ("core.eol", "lf"),
            ("filter.x.clean", "/evil"),
            ("core.excludesfile", "~/a\"b\\c\nd"),
        ];
        let given: Vec<_> = given.map(|(k, v)| (k.to_owned(), v.as_bytes().to_vec())).into();
        let text = String::from_utf8(config(Hash::Sha1, &given)).unwrap();
        assert!(!text.contains("evil") && !text.contains("alias"), "{text}");
        assert!(text.contains("\teol = \"lf\"\n") && text.contains("\"~/a\\\"b\\\\c\\nd\""), "{text}");
    }
}
