//! Reading and writing objects with no checkout touched. Written objects are on disk when their name is returned.

use std::ffi::OsStr;
use std::fmt::Display;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::names;
use crate::oid::Oid;
use crate::plain::FILE_PREFIX;
use crate::repo::Repo;
use crate::run::Call;
use crate::temporary::TempFolder;

/// Who a commit is by. Author and committer are the same, so that equal inputs give equal commits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Author {
    /// Name.
    pub name: String,
    /// Mail address.
    pub email: String,
}

/// One entry of a tree, folders expanded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeEntry {
    /// Path from the root.
    pub path: PathBuf,
    /// Git's mode: `0o100644`, `0o100755`, `0o120000` (link) or `0o160000` (submodule).
    pub mode: u32,
    /// The content.
    pub oid: Oid,
}

impl Repo {
    /// The commit that changed a path last, as seen from `from`, with its time in Unix seconds; none when none did.
    pub fn last_change(&self, from: &Oid, path: impl AsRef<Path>) -> Result<Option<(Oid, u64)>> {
        // Every call takes paths as they are written, not as patterns.
        let only = OsStr::from_bytes(names::check_path(path.as_ref())?).to_owned();
        let call = self.plain()?.args(["rev-list", "--max-count=1", "--timestamp", "--end-of-options", from.as_str(), "--"]);
        let out = call.arg(only).long().ok()?;
        let text = String::from_utf8_lossy(&out);
        let Some((time, commit)) = text.trim().split_once(' ') else { return Ok(None) };
        let unexpected = || Error::Unexpected { what: "rev-list".to_owned() };
        Ok(Some((commit.parse().map_err(|_| unexpected())?, time.parse().map_err(|_| unexpected())?)))
    }

    /// A file of a commit; none when there is no such file. A link gives its target.
    pub fn read_file(&self, commit: &Oid, path: impl AsRef<Path>) -> Result<Option<Vec<u8>>> {
        let path = names::check_path(path.as_ref())?;
        let asked = [commit.as_str().as_bytes(), b":", path, b"\0"].concat();
        let mut out = self.plain()?.args(["cat-file", "--batch", "-z"]).stdin(asked).ok()?;
        let unexpected = || Error::Unexpected { what: "cat-file".to_owned() };
        if out.starts_with(commit.as_str().as_bytes()) && out.get(commit.as_str().len()) == Some(&b':') {
            // No such path, or no such commit: the second is an error.
            self.plain()?.args(["cat-file", "-e", commit.as_str()]).ok()?;
            return Ok(None);
        }
        let end = out.iter().position(|b| *b == b'\n').ok_or_else(unexpected)?;
        let head = String::from_utf8_lossy(&out[..end]).into_owned();
        let (kind, size) = head.split_once(' ').and_then(|(_, rest)| rest.split_once(' ')).ok_or_else(unexpected)?;
        if kind != "blob" {
            return Ok(None);
        }
        let size: usize = size.parse().map_err(|_| unexpected())?;
        out.drain(..=end);
        out.truncate(size);
        if out.len() == size { Ok(Some(out)) } else { Err(unexpected()) }
    }

    /// The files of a commit or tree, all of them or those below a folder.
    pub fn list_tree(&self, commit: &Oid, under: Option<&Path>) -> Result<Vec<TreeEntry>> {
        let mut call = self.plain()?.args(["ls-tree", "-r", "-z", "--full-tree", commit.as_str()]);
        if let Some(under) = under {
            call = call.arg("--").arg(names::joined(&[names::check_path(under)?, b"/"]));
        }
        tree_entries(&call.ok()?)
    }

    /// The folders of a commit or tree, and its submodules.
    pub(crate) fn folders_of_tree(&self, commit: &Oid) -> Result<Vec<TreeEntry>> {
        tree_entries(&self.plain()?.args(["ls-tree", "-r", "-d", "-z", "--full-tree", commit.as_str()]).long().ok()?)
    }

    /// The size in bytes of each file of a commit. `None`: some are not there, as in a partial clone.
    ///
    /// # Errors
    /// Git fails, or a folder of the commit is not there.
    pub fn file_sizes(&self, commit: &Oid) -> Result<Option<Vec<u64>>> {
        let files = self.list_tree(commit, None)?;
        let blobs = files.iter().filter(|file| file.mode != 0o160_000).map(|file| &file.oid);
        let found = look_up(self.plain()?.long(), blobs)?;
        Ok(found.into_iter().map(|object| object.map(|object| object.size)).collect())
    }

    /// The newest commit, from `commit` back, that changed anything but what AgentOps itself keeps in the repository.
    pub fn last_change_of_sources(&self, commit: &Oid) -> Result<Option<Oid>> {
        let paths: Vec<_> = self.top_level(commit)?.into_iter().filter(|path| path != Path::new(".agentops")).collect();
        if paths.is_empty() {
            return Ok(None);
        }
        let out = self.plain()?.args(["rev-list", "-1", commit.as_str(), "--"]).args(paths).long().ok()?;
        if out.is_empty() { Ok(None) } else { Oid::parse(&out, "rev-list").map(Some) }
    }

    /// The names at the root of a commit.
    fn top_level(&self, commit: &Oid) -> Result<Vec<PathBuf>> {
        let out = self.plain()?.args(["ls-tree", "-z", "--name-only", "--full-tree", commit.as_str()]).ok()?;
        Ok(names::paths(&out).collect())
    }

    /// The kinds of objects, in their order; none for one that is not there.
    pub(crate) fn kinds<'a>(&self, oids: impl Iterator<Item = &'a Oid>) -> Result<Vec<Option<String>>> {
        let found = look_up(self.plain()?, oids)?;
        Ok(found.into_iter().map(|object| object.map(|object| object.kind)).collect())
    }

    /// The tree of a commit.
    pub fn tree_of(&self, commit: &Oid) -> Result<Oid> {
        let out = self.plain()?.args(["rev-parse", "--verify", "--end-of-options", &format!("{commit}^{{tree}}")]).ok()?;
        Oid::parse(&out, "rev-parse")
    }

    /// Stores bytes.
    pub fn write_blob(&self, bytes: &[u8]) -> Result<Oid> {
        let out = self.plain()?.args(["hash-object", "-w", "--no-filters", "--stdin"]).stdin(bytes.to_vec()).ok()?;
        Oid::parse(&out, "hash-object")
    }

    /// Stores a commit of a tree. No parents makes a root.
    pub fn commit_tree(&self, tree: &Oid, parents: &[&Oid], message: &str, author: &Author, at: u64) -> Result<Oid> {
        let mut call = self.plain()?.args(["commit-tree", "--no-gpg-sign"]);
        for parent in parents {
            call = call.args(["-p", parent.as_str()]);
        }
        // An empty message would leave standard input closed, which reads the same.
        let call = signed_by(call.args(["-F", "-", tree.as_str()]), author, at);
        Oid::parse(&call.stdin(message.as_bytes().to_vec()).ok()?, "commit-tree")
    }

    /// Stores a commit that adds or replaces these files in the tree of `parent`, or in nothing. `scratch` is a folder of
    /// the caller's for what is needed meanwhile. Equal inputs give the same commit.
    pub fn commit_files<P: AsRef<Path>>(
        &self,
        parent: Option<&Oid>,
        files: &[(P, Vec<u8>)],
        message: &str,
        author: &Author,
        at: u64,
        scratch: &Path,
    ) -> Result<Oid> {
        let tree = self.tree_with(parent, &[], files, scratch)?;
        self.commit_tree(&tree, parent.as_slice(), message, author, at)
    }

    /// Stores the tree of `base`, or nothing, with these blobs and files added or in their places.
    pub(crate) fn tree_with<P: AsRef<Path>>(
        &self,
        base: Option<&Oid>,
        stored: &[(PathBuf, Oid)],
        files: &[(P, Vec<u8>)],
        scratch: &Path,
    ) -> Result<Oid> {
        let paths = files.iter().map(|(path, _)| names::check_path(path.as_ref())).collect::<Result<Vec<_>>>()?;
        let room = TempFolder::make(scratch, FILE_PREFIX).map_err(Error::io("make a folder in", scratch))?;
        let index = room.path().join("index");
        let with_index =
            |args: &[&str]| Ok::<_, Error>(self.plain()?.env("GIT_INDEX_FILE", &index).args(args.iter().copied()));

        // All contents in one call: git reads files of ours whose names are numbers.
        let mut list = Vec::new();
        for (n, (_, bytes)) in files.iter().enumerate() {
            let file = room.path().join(n.to_string());
            fs::write(&file, bytes).map_err(Error::io("write", &file))?;
            list.extend(format!("{n}\n").bytes());
        }
        let blobs = if files.is_empty() {
            Vec::new()
        } else {
            // Paths are read from the folder where git stands.
            let call = self.plain_on(room.path(), &index)?;
            call.args(["hash-object", "-w", "--no-filters", "--stdin-paths"]).stdin(list).ok()?
        };
        let blobs = String::from_utf8_lossy(&blobs).into_owned();
        let mut entries = Vec::new();
        let mut entry = |blob: &str, path: &[u8]| {
            entries.extend(format!("100644 {blob}\t").bytes());
            entries.extend_from_slice(path);
            entries.push(0);
        };
        for (path, blob) in stored {
            entry(blob.as_str(), names::check_path(path)?);
        }
        blobs.lines().zip(&paths).for_each(|(blob, path)| entry(blob, path));
        if let Some(base) = base {
            with_index(&["read-tree", base.as_str()])?.ok()?;
        }
        if !entries.is_empty() {
            with_index(&["update-index", "--add", "--replace", "-z", "--index-info"])?.stdin(entries).ok()?;
        }
        Oid::parse(&with_index(&["write-tree"])?.ok()?, "write-tree")
    }
}

/// Reads what `ls-tree -z` printed.
fn tree_entries(out: &[u8]) -> Result<Vec<TreeEntry>> {
    let unexpected = || Error::Unexpected { what: "ls-tree".to_owned() };
    let entries = names::rows(out).map(|row| {
        let tab = row.iter().position(|b| *b == b'\t').ok_or_else(unexpected)?;
        let head = String::from_utf8_lossy(&row[..tab]);
        let mut words = head.split(' ');
        let mode = words.next().and_then(|m| u32::from_str_radix(m, 8).ok()).ok_or_else(unexpected)?;
        let oid = words.nth(1).ok_or_else(unexpected)?.parse()?;
        Ok(TreeEntry { path: names::path(&row[tab + 1..]), mode, oid })
    });
    entries.collect()
}

/// A file of a tree with its size, as `ls-tree -r -z -l` lists it.
#[derive(Debug, Clone)]
pub(crate) struct Listed {
    pub path: PathBuf,
    /// A file's content that is no link and no submodule.
    pub plain: bool,
    pub oid: Oid,
    /// In bytes; 0 for what has none.
    pub size: u64,
}

/// Reads what `ls-tree -r -z -l` printed.
pub(crate) fn listed(out: &[u8]) -> Result<Vec<Listed>> {
    let unexpected = || Error::Unexpected { what: "ls-tree".to_owned() };
    let entries = names::rows(out).map(|row| {
        let tab = row.iter().position(|b| *b == b'\t').ok_or_else(unexpected)?;
        let head = String::from_utf8_lossy(&row[..tab]).into_owned();
        let words: Vec<&str> = head.split_whitespace().collect();
        let [mode, _, oid, size] = words[..] else { return Err(unexpected()) };
        let plain = matches!(mode, "100644" | "100755");
        Ok(Listed { path: names::path(&row[tab + 1..]), plain, oid: oid.parse()?, size: size.parse().unwrap_or(0) })
    });
    entries.collect()
}

/// An object as `cat-file --batch-check` describes it.
pub(crate) struct ObjectInfo {
    pub oid: Oid,
    pub kind: String,
    pub size: u64,
}

/// What git knows of objects, in their order; none for one that is not there. `call` is one in their repository.
pub(crate) fn look_up<T: Display>(call: Call, objects: impl Iterator<Item = T>) -> Result<Vec<Option<ObjectInfo>>> {
    let asked: String = objects.map(|object| format!("{object}\n")).collect();
    if asked.is_empty() {
        return Ok(Vec::new());
    }
    let out = call.args(["cat-file", "--batch-check"]).stdin(asked.into_bytes()).ok()?;
    let unexpected = || Error::Unexpected { what: "cat-file".to_owned() };
    let text = String::from_utf8_lossy(&out);
    let described = text.lines().map(|line| {
        if line.ends_with(" missing") {
            return Ok(None);
        }
        let mut words = line.split(' ');
        let (Some(oid), Some(kind), Some(size)) = (words.next(), words.next(), words.next()) else {
            return Err(unexpected());
        };
        let size = size.parse().map_err(|_| unexpected())?;
        Ok(Some(ObjectInfo { oid: oid.parse()?, kind: kind.to_owned(), size }))
    });
    described.collect()
}

/// Reads blobs of known sizes in one start of git; `call` is one in their repository. One that is not there, as in a partial
/// clone, is `None`.
pub(crate) fn read_blobs<'a>(
    call: Call,
    blobs: impl Iterator<Item = (&'a Oid, u64)> + Clone,
) -> Result<Vec<Option<Vec<u8>>>> {
    let asked: String = blobs.clone().map(|(oid, _)| format!("{oid}\n")).collect();
    if asked.is_empty() {
        return Ok(Vec::new());
    }
    let out = call.args(["cat-file", "--batch"]).stdin(asked.into_bytes()).ok()?;
    let unexpected = || Error::Unexpected { what: "cat-file".to_owned() };
    let mut rest = out.as_slice();
    let contents = blobs.map(|(_, size)| {
        // `<oid> blob <size>`, the content, a line end; or `<oid> missing`.
        let size = usize::try_from(size).map_err(|_| unexpected())?;
        let end = rest.iter().position(|b| *b == b'\n').ok_or_else(unexpected)?;
        let (head, after) = (&rest[..end], &rest[end + 1..]);
        if head.ends_with(b" missing") {
            rest = after;
            return Ok(None);
        }
        let content = after.get(..size).ok_or_else(unexpected)?;
        rest = after.get(size + 1..).ok_or_else(unexpected)?;
        Ok(Some(content.to_vec()))
    });
    contents.collect()
}

/// Names author, committer and time, so that nothing of the machine enters the commit.
fn signed_by(call: Call, author: &Author, at: u64) -> Call {
    let time = format!("@{at} +0000");
    call.env("GIT_AUTHOR_NAME", &author.name)
        .env("GIT_AUTHOR_EMAIL", &author.email)
        .env("GIT_AUTHOR_DATE", &time)
        .env("GIT_COMMITTER_NAME", &author.name)
        .env("GIT_COMMITTER_EMAIL", &author.email)
        .env("GIT_COMMITTER_DATE", &time)
}
