//! What has no merge is kept on a branch of its own, `agentops/records`: files of lines, one file for each clone, which only
//! grow. So clones never change the same file, a merge is the union of files, and nothing needs a checkout.
//!
//! Reading takes the local branch and every remote-tracking one together. Appending makes a commit on top of all of them, so
//! that after a `git fetch` the next append can be pushed. What was acknowledged is a commit that a ref on disk names; a
//! process that is killed leaves at most objects that nothing names.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::lock::Lock;
use crate::names;
use crate::objects::{self, Author, Listed};
use crate::oid::Oid;
use crate::plain::write_whole;
use crate::plain_file;
use crate::random;
use crate::refs::Expect;
use crate::repo::Repo;
use crate::repository_id::is_id;

/// The branch.
pub const RECORDS: &str = "refs/heads/agentops/records";
/// What a file may hold, in bytes. A clone whose file is full begins another.
const FILE_BYTES_MAX: u64 = 8 << 20;
/// What is read of all files together, in bytes.
const TOTAL_BYTES_MAX: u64 = 48 << 20;
/// The longest line, in bytes.
const LINE_BYTES_MAX: usize = 64 << 10;
/// The most branches that are read.
const TIPS_MAX: usize = 32;
/// How often an append begins again because somebody else moved the branch.
const TRIES: u32 = 20;
/// Bytes of the file that says which clone this is.
const CLONE_ID_BYTES_MAX: u64 = 4096;

/// The lines of one clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordFile {
    /// The clone's id.
    pub clone: String,
    /// It is this clone's.
    pub own: bool,
    /// The content's name, for caches.
    pub oid: Oid,
    /// The lines. The last one may lack its line end where somebody else wrote it.
    pub bytes: Vec<u8>,
    /// Branches on which the file is neither this one nor a beginning or continuation of it: somebody rewrote it there, or here.
    pub rewritten_in: Vec<String>,
}

/// The files of one folder on all branches of records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Records {
    /// The files, by clone.
    pub files: Vec<RecordFile>,
    /// What was not read, and why.
    pub left_out: Vec<(PathBuf, &'static str)>,
    /// Changes whenever a file does: a hash over clones and contents.
    pub key: String,
}

/// One branch of records.
#[derive(Debug, Clone)]
struct Tip {
    name: String,
    commit: Oid,
    files: Vec<Listed>,
}

/// Which content a file has, after all branches were asked.
struct Chosen {
    file: Listed,
    bytes: Vec<u8>,
    rewritten_in: Vec<String>,
}

impl Repo {
    /// The lines of every clone below a folder of the branch, such as `feedback`. Of one clone's file the longest version that
    /// continues the others; where a version was rewritten, the local branch's wins.
    ///
    /// # Errors
    /// Git fails.
    pub fn read_records(&self, folder: &str) -> Result<Records> {
        let tips = self.record_tips()?;
        let own = self.known_clone();
        let mut records = Records::default();
        let mut key = Sha256::new();
        for (path, chosen) in self.choose(folder, &tips, &mut records.left_out)? {
            let clone = clone_of(folder, &path).unwrap_or_default().to_owned();
            key.update(format!("{clone} {}\n", chosen.file.oid));
            let own = own.as_deref() == Some(clone.as_str());
            let (oid, bytes, rewritten_in) = (chosen.file.oid, chosen.bytes, chosen.rewritten_in);
            records.files.push(RecordFile { clone, own, oid, bytes, rewritten_in });
        }
        records.key = names::hex(&key.finalize());
        Ok(records)
    }

    /// Adds lines to this clone's file in a folder of the branch, and brings in what remote-tracking branches have. When it
    /// returns, the lines survive a power cut. `at` is the commit's time in Unix seconds, `scratch` a folder of the caller's.
    ///
    /// # Errors
    /// A line is empty, too long or has a line end, another process works here for too long, or git fails.
    pub fn append_records(
        &self,
        folder: &str,
        lines: &[Vec<u8>],
        message: &str,
        author: &Author,
        at: u64,
        scratch: &Path,
    ) -> Result<Oid> {
        let mut added = Vec::new();
        for line in lines {
            if line.is_empty() || line.len() > LINE_BYTES_MAX || line.contains(&b'\n') {
                let value = String::from_utf8_lossy(&line[..line.len().min(40)]).into_owned();
                return Err(Error::BadName { kind: "line of a record (1 to 65,536 bytes and no line end)", value });
            }
            added.extend_from_slice(line);
            added.push(b'\n');
        }
        if lines.is_empty() || added.len() as u64 > FILE_BYTES_MAX {
            return Err(Error::BadName {
                kind: "addition to records (1 line to 8 MiB)",
                value: format!("{} lines", lines.len()),
            });
        }
        let ours = self.own_folder()?;
        let _lock = Lock::wait(&ours.join("records.lock"))?;
        for attempt in 0.. {
            match self.append_once(folder, &added, message, author, at, scratch) {
                // Somebody who does not know our lock, such as `git fetch`, was faster.
                Err(Error::RefMoved { .. } | Error::RefExists { .. }) if attempt < TRIES => {}
                other => return other,
            }
        }
        unreachable!("the loop ends by returning")
    }

    fn append_once(
        &self,
        folder: &str,
        added: &[u8],
        message: &str,
        author: &Author,
        at: u64,
        scratch: &Path,
    ) -> Result<Oid> {
        let tips = self.record_tips()?;
        let chosen = self.choose(folder, &tips, &mut Vec::new())?;
        let mut path = PathBuf::from(format!("{folder}/{}.jsonl", self.clone_id()?));
        let mut bytes = chosen.get(&path).map(|own| own.bytes.clone()).unwrap_or_default();
        let there = tips.iter().any(|tip| tip.files.iter().any(|file| file.path == path));
        if bytes.len() as u64 + added.len() as u64 > FILE_BYTES_MAX || there && !chosen.contains_key(&path) {
            path = PathBuf::from(format!("{folder}/{}.jsonl", self.new_clone_id()?));
            bytes.clear();
        }
        if bytes.last().is_some_and(|last| *last != b'\n') {
            bytes.push(b'\n');
        }
        bytes.extend_from_slice(added);

        let local = tips.iter().find(|tip| tip.name == RECORDS).map(|tip| tip.commit.clone());
        let parents = self.independent(&tips)?;
        // The first parent's files, then those that only others have, then what was chosen of clones' files.
        let mut stored: BTreeMap<PathBuf, Oid> = BTreeMap::new();
        let of = |commit: &Oid| tips.iter().find(|tip| tip.commit == *commit).map_or(&[][..], |tip| &tip.files);
        let first: BTreeSet<&Path> = parents.first().map_or(&[][..], of).iter().map(|file| file.path.as_path()).collect();
        for file in parents.iter().skip(1).flat_map(of) {
            if file.plain && names::check_path(&file.path).is_ok() && !first.contains(file.path.as_path()) {
                stored.entry(file.path.clone()).or_insert_with(|| file.oid.clone());
            }
        }
        stored.extend(chosen.into_iter().map(|(path, chosen)| (path, chosen.file.oid)));
        stored.remove(&path);
        let stored: Vec<_> = stored.into_iter().collect();
        let tree = self.tree_with(parents.first(), &stored, &[(path, bytes)], scratch)?;
        let parents: Vec<&Oid> = parents.iter().collect();
        let commit = self.commit_tree(&tree, &parents, message, author, at)?;
        self.update_ref(RECORDS, &commit, &local.map_or(Expect::Absent, Expect::Is))?;
        Ok(commit)
    }

    /// The branches of records, the local one first, then by name.
    fn record_tips(&self) -> Result<Vec<Tip>> {
        let format = "--format=%(objecttype) %(objectname) %(refname)";
        let out = self.guarded().args(["for-each-ref", format, RECORDS, "refs/remotes"]).ok()?;
        let mut tips = Vec::new();
        let mut lists: BTreeMap<Oid, Vec<Listed>> = BTreeMap::new();
        for line in String::from_utf8_lossy(&out).lines() {
            let mut words = line.splitn(3, ' ');
            let (Some("commit"), Some(oid), Some(name)) = (words.next(), words.next(), words.next()) else { continue };
            let remote = name.starts_with("refs/remotes/") && name.ends_with("/agentops/records");
            if (name == RECORDS || remote) && tips.len() < TIPS_MAX {
                let commit: Oid = oid.parse()?;
                if !lists.contains_key(&commit) {
                    let out = self.plain()?.args(["ls-tree", "-r", "-z", "-l", "--full-tree", commit.as_str()]).ok()?;
                    lists.insert(commit.clone(), objects::listed(&out)?);
                }
                tips.push(Tip { name: name.to_owned(), files: lists[&commit].clone(), commit });
            }
        }
        tips.sort_by_key(|tip| (tip.name != RECORDS, tip.name.clone()));
        Ok(tips)
    }

    /// Clones' files below a folder, each with the content that counts.
    fn choose(
        &self,
        folder: &str,
        tips: &[Tip],
        left_out: &mut Vec<(PathBuf, &'static str)>,
    ) -> Result<BTreeMap<PathBuf, Chosen>> {
        let mut versions: BTreeMap<&Path, Vec<(&str, &Listed)>> = BTreeMap::new();
        let mut wanted: BTreeMap<&Oid, u64> = BTreeMap::new();
        let mut total = 0;
        for tip in tips {
            for file in tip.files.iter().filter(|file| file.path.starts_with(folder)) {
                let why = if clone_of(folder, &file.path).is_none() || !file.plain {
                    Some("not a file of a clone")
                } else if file.size > FILE_BYTES_MAX {
                    Some("larger than 8 MiB")
                } else if !wanted.contains_key(&file.oid) && total + file.size > TOTAL_BYTES_MAX {
                    Some("all files together are larger than 48 MiB")
                } else {
                    None
                };
                if let Some(why) = why {
                    left_out.push((file.path.clone(), why));
                    continue;
                }
                if wanted.insert(&file.oid, file.size).is_none() {
                    total += file.size;
                }
                versions.entry(&file.path).or_default().push((&tip.name, file));
            }
        }
        let contents = objects::read_blobs(self.plain()?, wanted.iter().map(|(oid, size)| (*oid, *size)))?;
        let contents = wanted.into_keys().zip(contents).filter_map(|(oid, bytes)| Some((oid, bytes?)));
        let contents: BTreeMap<&Oid, Vec<u8>> = contents.collect();
        for (path, versions) in &mut versions {
            let all = versions.len();
            versions.retain(|(_, file)| contents.contains_key(&file.oid));
            if versions.len() < all {
                left_out.push((path.to_path_buf(), "its content was not fetched"));
            }
        }
        left_out.sort();
        left_out.dedup();
        let chosen = versions.into_iter().filter(|(_, versions)| !versions.is_empty()).map(|(path, versions)| {
            let mut best = versions[0].1;
            let mut rewritten_in = Vec::new();
            for (name, file) in &versions[1..] {
                let (ours, theirs) = (&contents[&best.oid], &contents[&file.oid]);
                if theirs.starts_with(ours) {
                    best = file;
                } else if !ours.starts_with(theirs) {
                    rewritten_in.push((*name).to_owned());
                }
            }
            (path.to_owned(), Chosen { file: best.clone(), bytes: contents[&best.oid].clone(), rewritten_in })
        });
        Ok(chosen.collect())
    }

    /// The commits that no other of them has in its history: the parents of what comes next.
    fn independent(&self, tips: &[Tip]) -> Result<Vec<Oid>> {
        let mut commits: Vec<Oid> = Vec::new();
        for tip in tips {
            if !commits.contains(&tip.commit) {
                commits.push(tip.commit.clone());
            }
        }
        if commits.len() < 2 {
            return Ok(commits);
        }
        let out = self.plain()?.args(["merge-base", "--independent"]).args(commits.iter().map(Oid::as_str)).ok()?;
        let text = String::from_utf8_lossy(&out);
        let kept: BTreeSet<&str> = text.lines().collect();
        // In the order of the branches, so that the same branches give the same commit.
        commits.retain(|commit| kept.contains(commit.as_str()));
        Ok(commits)
    }

    /// This clone's id, if it has one. One that was copied along with the folder from elsewhere is that other clone's.
    fn known_clone(&self) -> Option<String> {
        let bytes = plain_file::read(&self.common_dir().join("agentops").join("clone-id"), CLONE_ID_BYTES_MAX).ok()?;
        let text = String::from_utf8(bytes).ok()?;
        let (id, place) = text.trim_end().split_once(' ')?;
        (is_id(id) && place == self.id()).then(|| id.to_owned())
    }

    fn clone_id(&self) -> Result<String> {
        self.known_clone().map_or_else(|| self.new_clone_id(), Ok)
    }

    fn new_clone_id(&self) -> Result<String> {
        let id = random::hex()?;
        write_whole(&self.own_folder()?.join("clone-id"), format!("{id} {}\n", self.id()).as_bytes())?;
        Ok(id)
    }
}

/// The clone whose file this is.
fn clone_of<'a>(folder: &str, path: &'a Path) -> Option<&'a str> {
    let name = path.strip_prefix(folder).ok()?.to_str()?;
    name.strip_suffix(".jsonl").filter(|id| is_id(id))
}
