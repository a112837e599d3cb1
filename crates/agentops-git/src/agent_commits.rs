//! What an agent committed in its lane, read as data, and how it gets into your repository.
//!
//! A checkpoint holds the lane's files, and with them what `HEAD` stood on, unless files of that commit are not there any
//! more. Commits on other branches and in the stash are in no file, and neither are those that only a reflog has.
//! They are imported as a pack under a ref of ours and named, so that removing the lane loses none of them.
//!
//! Everything in the lane's git directory is the agent's. [`crate::agent_refs`] reads its refs. Objects are read by
//! git in a git directory of our own, after our alternates were written and only if no link leads out of the lane: an agent
//! could otherwise make us copy objects of a repository that it may not read. The import checks every object that it takes.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, ErrorKind};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::agent_refs::{self, AgentRefs, REFLOG};
use crate::baseline::Baseline;
use crate::error::{Error, Result};
use crate::lane_repository;
use crate::lanes::Lane;
use crate::names;
use crate::objects::{ObjectInfo, look_up, read_blobs};
use crate::oid::Oid;
use crate::plain::write_whole;
use crate::refs::Expect;
use crate::remove::remove_all;
use crate::run::{Call, is_about_data, is_failure_of_machine};

/// Commits that are imported from one lane at most. More are named, and the lane alone has them.
const COMMITS_MAX: usize = 50;
/// Subjects that are read for one list, and their length in columns.
const SUBJECTS_MAX: usize = 1_000;
/// How often git is started at most to find out which commits of a list can be read.
const STARTS_MAX: usize = 50;
/// The largest pack that is imported, in bytes.
const PACK_BYTES_MAX: u64 = 512 << 20;
/// How much history is looked at to tell new commits from known ones.
const HISTORY_MAX: usize = 100_000;

/// A commit of an agent that is in no checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SalvagedCommit {
    /// What in the lane named it, such as `refs/heads/attempt`, `stash@{0}` or a reflog.
    pub name: String,
    /// The commit.
    pub commit: Oid,
    /// Its first line, empty where it cannot be read.
    pub subject: String,
    /// The ref in your repository that keeps it; none when it could not be imported and exists in the lane alone.
    pub kept_as: Option<String>,
}

impl Lane {
    /// Paths that the agent's last commit has and the lane's base does not.
    pub(crate) fn paths_of_agents_head(&self) -> Result<Vec<PathBuf>> {
        let Some(head) = self.agent_refs()?.head.filter(|head| head != self.base()) else { return Ok(Vec::new()) };
        if !lane_repository::make_readable(self)? {
            return Ok(Vec::new());
        }
        let call = self.read_lane()?.args(["diff-tree", "-r", "-z", "--name-only", "--diff-filter=A", "--no-renames"]);
        let call = call.args(["--end-of-options", self.base().as_str(), head.as_str()]).long();
        let what = call.what();
        // A commit that cannot be read says nothing: the files count.
        let paths = call.output()?.unless_damaged(what)?.unwrap_or_default();
        Ok(names::paths(&paths).collect())
    }

    /// Imports the commits of the agent that neither this checkpoint nor your repository has, each under a ref below
    /// `prefix`, and returns them. Done again it gives the same answer.
    ///
    /// # Errors
    /// Git failed in your repository, or its disk is full. What cannot be read in the lane is no error but a commit without `kept_as`.
    pub fn salvage(&self, prefix: &str, checkpoint: &Oid) -> Result<Vec<SalvagedCommit>> {
        let agent = self.agent_refs()?;
        let has_work = match &agent.head {
            Some(head) => self.head_has_more_than(head, checkpoint)?,
            None => false,
        };
        self.salvage_refs(agent, has_work, prefix, checkpoint)
    }

    /// The same for a lane whose files are gone: then the commit of `HEAD` is in no checkpoint either.
    ///
    /// # Errors
    /// As for [`Self::salvage`].
    pub fn salvage_emptied(&self, prefix: &str, checkpoint: &Oid) -> Result<Vec<SalvagedCommit>> {
        self.salvage_refs(self.agent_refs()?, true, prefix, checkpoint)
    }

    /// Whether a commit has files that are new or changed since the lane's base and not in the checkpoint at all. A file that is
    /// only changed further is in it. What set-up copied from your checkout is no work of the agent's.
    fn head_has_more_than(&self, head: &Oid, checkpoint: &Oid) -> Result<bool> {
        if head == self.base() || self.known_refs()?.contains(head) {
            return Ok(false);
        }
        if !lane_repository::make_readable(self)? {
            return Ok(true);
        }
        let paths = |filter: &str, from: &Oid, to: &Oid| -> Result<Option<HashSet<PathBuf>>> {
            let call = self.read_both()?.args(["diff-tree", "-r", "-z", "--name-only", "--no-renames"]).arg(filter);
            let call = call.args(["--end-of-options", from.as_str(), to.as_str()]).long();
            let what = call.what();
            Ok(call.output()?.unless_damaged(what)?.map(|out| names::paths(&out).collect()))
        };
        let (made, missing) = (paths("--diff-filter=AMT", self.base(), head)?, paths("--diff-filter=D", head, checkpoint)?);
        let (Some(made), Some(missing)) = (made, missing) else { return Ok(true) };
        let baseline = self.baseline()?;
        let is_copied = |path: &PathBuf| baseline.as_ref().is_some_and(|baseline| baseline.is_copied(path));
        Ok(made.intersection(&missing).any(|path| !is_copied(path)))
    }

    /// `with_head`: the commit of `HEAD` counts as one that the checkpoint may lack.
    fn salvage_refs(
        &self,
        mut agent: AgentRefs,
        with_head: bool,
        prefix: &str,
        checkpoint: &Oid,
    ) -> Result<Vec<SalvagedCommit>> {
        names::check_our_ref(prefix)?;
        let known = self.known_refs()?;
        if with_head && let Some(head) = agent.head.take() {
            agent.refs.insert(0, ("HEAD".to_owned(), head));
        }
        agent.refs.retain(|(_, oid)| !known.contains(oid));
        if agent.refs.is_empty() {
            return Ok(Vec::new());
        }
        let readable = lane_repository::make_readable(self)?;
        let unknown =
            if readable { self.unknown_commits(&agent, &known, prefix, checkpoint)? } else { self.absent_tips(&agent)? };
        if unknown.is_empty() {
            return Ok(Vec::new());
        }
        let kept: HashSet<String> = self.repo.list_refs(prefix)?.into_iter().map(|(name, _)| name).collect();
        let name_of = |commit: &Oid| format!("{prefix}/{}", &commit.as_str()[..16]);
        let commits = unknown.iter().take(COMMITS_MAX).map(|tip| &tip.commit);
        let commits: Vec<&Oid> = commits.filter(|commit| !kept.contains(&name_of(commit))).collect();
        let imported = if readable { self.import(&commits)? } else { HashSet::new() };
        for commit in &imported {
            self.repo.update_ref(&name_of(commit), commit, &Expect::Absent)?;
        }
        let mut subjects = if readable { self.subjects(&unknown)? } else { HashMap::new() };
        let mut salvaged = Vec::new();
        for tip in unknown {
            let name = name_of(&tip.commit);
            let kept_as = (imported.contains(&tip.commit) || kept.contains(&name)).then_some(name);
            let subject = subjects.remove(&tip.commit).unwrap_or_default();
            salvaged.push(SalvagedCommit { name: tip.name, commit: tip.commit, subject, kept_as });
        }
        Ok(salvaged)
    }

    /// Notes the agent's refs as they are, before the lane is pointed to another commit: they were copied from yours, or what
    /// they hold is in the checkpoint of the session that made them, or was imported after it.
    pub(crate) fn note_known_refs(&self) -> Result<()> {
        let agent = self.agent_refs()?;
        let mut known = self.known_refs()?;
        known.extend(agent.head.into_iter().chain(agent.refs.into_iter().map(|(_, oid)| oid)));
        let list: String = known.iter().map(|oid| format!("{oid}\n")).collect();
        write_whole(&self.known_file(), list.as_bytes())?;
        agent_refs::forget_replaced(self)
    }

    fn known_refs(&self) -> Result<BTreeSet<Oid>> {
        let list = match fs::read_to_string(self.known_file()) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(BTreeSet::new()),
            list => list.map_err(Error::io("read", self.known_file()))?,
        };
        Ok(list.lines().filter_map(|line| line.parse().ok()).collect())
    }

    fn known_file(&self) -> PathBuf {
        self.record().join("known")
    }

    /// Tips that name a commit which neither your refs nor the agent's `HEAD` lead to, and whose tree is not the checkpoint's.
    fn unknown_commits(&self, agent: &AgentRefs, known: &BTreeSet<Oid>, prefix: &str, checkpoint: &Oid) -> Result<Vec<Tip>> {
        let mut tips = self.tips(agent)?;
        let excluded: Vec<Oid> =
            known.iter().cloned().chain(agent.head.clone()).chain(agent.remote.iter().cloned()).collect();
        let there: Vec<&Oid> = tips.iter().filter(|tip| tip.exists).map(|tip| &tip.commit).collect();
        let mut new = HashSet::new();
        in_parts(&there, |part, is_last| match self.new_commits(part, &excluded, prefix) {
            Ok(found) => {
                new.extend(found);
                Ok(true)
            }
            // History is missing somewhere. A commit about which nothing can be said is not known.
            Err(Error::Failed { .. }) if is_last => {
                new.extend(part.iter().map(|tip| (*tip).clone()));
                Ok(true)
            }
            Err(Error::Failed { .. }) => Ok(false),
            Err(e) => Err(e),
        })?;
        let tree = self.repo.tree_of(checkpoint)?;
        tips.retain(|tip| !tip.exists || (new.contains(&tip.commit) && tip.tree.as_ref() != Some(&tree)));
        Ok(tips)
    }

    /// The commits that the agent's refs lead to, each once.
    fn tips(&self, agent: &AgentRefs) -> Result<Vec<Tip>> {
        let (mut tips, mut seen) = (Vec::new(), HashSet::new());
        for ((name, oid), found) in agent.refs.iter().zip(self.commits_and_trees(&agent.refs)?) {
            let FoundCommit { commit, tree, is_damaged } = found;
            // A file or a folder that somebody tagged is no commit.
            if commit.as_ref().is_some_and(|object| object.kind != "commit") {
                continue;
            }
            let exists = commit.is_some();
            // A reflog also names what was pruned long ago.
            if !exists && !is_damaged && name == REFLOG {
                continue;
            }
            let commit = commit.map_or_else(|| oid.clone(), |commit| commit.oid);
            let tree = tree.map(|tree| tree.oid);
            if seen.insert(commit.clone()) {
                tips.push(Tip { name: name.clone(), commit, tree, exists });
            }
        }
        Ok(tips)
    }

    /// What these refs lead to, in their order.
    fn commits_and_trees(&self, refs: &[(String, Oid)]) -> Result<Vec<FoundCommit>> {
        let mut found = Vec::new();
        in_parts(refs, |part, is_last| {
            let asked = part.iter().flat_map(|(_, oid)| [format!("{oid}^{{}}"), format!("{oid}^{{tree}}")]);
            match look_up(self.read_both()?.long(), asked) {
                Ok(objects) => {
                    let mut objects = objects.into_iter();
                    while let (Some(commit), Some(tree)) = (objects.next(), objects.next()) {
                        found.push(FoundCommit { commit, tree, is_damaged: false });
                    }
                }
                // Git ends at the first object that is damaged.
                Err(e) if is_about_data(&e) && is_last => {
                    let damaged = || FoundCommit { commit: None, tree: None, is_damaged: true };
                    found.extend(std::iter::repeat_with(damaged).take(part.len()));
                }
                Err(e) if is_about_data(&e) => return Ok(false),
                Err(e) => return Err(e),
            }
            Ok(true)
        })?;
        Ok(found)
    }

    /// Tips that your repository does not have, where the lane's objects may not be read.
    fn absent_tips(&self, agent: &AgentRefs) -> Result<Vec<Tip>> {
        let kinds = self.repo.kinds(agent.refs.iter().map(|(_, oid)| oid))?;
        let absent = agent.refs.iter().zip(kinds).filter(|((name, _), kind)| kind.is_none() && name != REFLOG);
        let absent = absent.map(|(named, _)| named.clone());
        Ok(absent.map(|(name, commit)| Tip { name, commit, tree: None, exists: false }).collect())
    }

    /// Commits that these tips lead to, and neither your refs nor the excluded commits.
    fn new_commits(&self, tips: &[&Oid], excluded: &[Oid], prefix: &str) -> Result<HashSet<Oid>> {
        let mut stdin: String = tips.iter().map(|tip| format!("{tip}\n")).collect();
        stdin.extend(excluded.iter().map(|oid| format!("^{oid}\n")));
        let call = self.read_both()?.args(["rev-list", "--ignore-missing", "--stdin"]);
        let call = call.arg(format!("--max-count={HISTORY_MAX}")).arg("--not");
        // A repetition after a crash must find the same commits, so those that it imported do not count as known.
        let call = call.arg(format!("--exclude={prefix}/*")).arg("--all");
        let out = call.stdin(stdin.into_bytes()).long().ok()?;
        let mut new: HashSet<Oid> = String::from_utf8_lossy(&out).lines().filter_map(|line| line.parse().ok()).collect();
        if new.len() >= HISTORY_MAX {
            // The list is cut: a tip may be beyond its end.
            new.extend(tips.iter().map(|tip| (*tip).clone()));
        }
        Ok(new)
    }

    /// The first lines of commits, where they can be read.
    fn subjects(&self, tips: &[Tip]) -> Result<HashMap<Oid, String>> {
        let readable = tips.iter().filter(|tip| tip.exists).take(SUBJECTS_MAX);
        let asked: String = readable.map(|tip| format!("{}\n", tip.commit)).collect();
        let call = self.read_both()?.args(["log", "--no-walk=unsorted", "--ignore-missing", "--no-show-signature"]);
        let call = call.args(["--no-patch", "--no-color", "--format=%H %<(200,trunc)%s", "--stdin"]);
        // A damaged commit ends the list early. The commits are named all the same.
        let out = call.stdin(asked.into_bytes()).output()?;
        let text = String::from_utf8_lossy(&out.stdout);
        let rows = text.lines().filter_map(|line| line.split_once(' '));
        Ok(rows.filter_map(|(oid, subject)| Some((oid.parse().ok()?, subject.trim_end().to_owned()))).collect())
    }

    /// Copies commits with everything that they need into your repository; those that could be copied are returned.
    fn import(&self, commits: &[&Oid]) -> Result<HashSet<Oid>> {
        let mut imported = HashSet::new();
        in_parts(commits, |part, _| {
            let done = self.import_together(part)?;
            if done {
                imported.extend(part.iter().map(|commit| (*commit).clone()));
            }
            Ok(done)
        })?;
        Ok(imported)
    }

    /// False when objects are missing, damaged or too large.
    fn import_together(&self, commits: &[&Oid]) -> Result<bool> {
        self.with_import_folder(|folder| self.import_through(folder, commits))
    }

    /// Copies these objects and nothing else into your repository. False when they are missing, damaged or too large.
    pub(crate) fn import_objects(&self, objects: &[&Oid]) -> Result<bool> {
        let list: String = objects.iter().map(|oid| format!("{oid}\n")).collect();
        self.with_import_folder(|folder| Ok(self.import_pack(folder, &[], list)? == Imported::Whole))
    }

    fn with_import_folder(&self, work: impl FnOnce(&Path) -> Result<bool>) -> Result<bool> {
        let folder = self.record().join("import");
        remove_all(&folder)?;
        fs::create_dir(&folder).map_err(Error::io("make", &folder))?;
        let done = work(&folder);
        remove_all(&folder)?;
        done
    }

    fn import_through(&self, folder: &Path, commits: &[&Oid]) -> Result<bool> {
        // Only what your repository lacks is packed. It has everything that its own refs lead to.
        let mut revisions: String = commits.iter().map(|commit| format!("{commit}\n")).collect();
        let call = self.read_both()?.args(["rev-list", "--boundary", "--ignore-missing", "--stdin", "--not", "--all"]);
        // Into a file: an agent may have made more commits than fit into memory.
        let path = folder.join("boundary");
        let file = File::create_new(&path).map_err(Error::io("write", &path))?;
        let call = call.stdin(revisions.clone().into_bytes()).output_file(file).file_bytes_max(PACK_BYTES_MAX).long();
        if !succeeded(call)? {
            return Ok(false);
        }
        let file = File::open(&path).map_err(Error::io("open", &path))?;
        for line in BufReader::new(file).lines() {
            if let Some(known) = line.map_err(Error::io("read", &path))?.strip_prefix('-') {
                revisions.push_str(&format!("^{known}\n"));
            }
        }
        if let Some(baseline) = self.baseline()?.filter(Baseline::has_copied)
            && self.brings_copied(&baseline, folder, &revisions)?
        {
            return Ok(false);
        }
        Ok(match self.import_pack(folder, &["--revs", "--missing=allow-any"], revisions)? {
            Imported::Whole => true,
            Imported::Failed => false,
            // Your repository has every object: an import was cut short before its refs were set.
            Imported::Nothing => self.repo.kinds(commits.iter().copied())?.iter().all(Option::is_some),
        })
    }

    /// Whether these revisions hold a file that set-up copied from your checkout: its path, or its content under any path.
    /// It may hold a password, so nothing of it gets into your repository.
    fn brings_copied(&self, baseline: &Baseline, folder: &Path, revisions: &str) -> Result<bool> {
        let path = folder.join("objects");
        let file = File::create_new(&path).map_err(Error::io("write", &path))?;
        let call = self.read_both()?.args(["rev-list", "--objects", "--missing=allow-any", "--stdin"]);
        let call = call.stdin(revisions.as_bytes().to_vec()).output_file(file).file_bytes_max(PACK_BYTES_MAX).long();
        if !succeeded(call)? {
            return Ok(true);
        }
        let file = File::open(&path).map_err(Error::io("open", &path))?;
        let mut objects = Vec::new();
        for line in BufReader::new(file).split(b'\n') {
            let line = line.map_err(Error::io("read", &path))?;
            let (oid, name) = line.split_at(line.iter().position(|byte| *byte == b' ').unwrap_or(line.len()));
            if baseline.is_copied(&names::path(name.strip_prefix(b" ").unwrap_or(name))) {
                return Ok(true);
            }
            objects.extend(std::str::from_utf8(oid).ok().and_then(|oid| oid.parse::<Oid>().ok()));
        }
        let found = look_up(self.read_both()?.long(), objects.iter())?;
        let found: Vec<ObjectInfo> = found.into_iter().flatten().collect();
        self.copied_contents(baseline, || self.read_both(), found.iter()).map(|copied| !copied.is_empty())
    }

    /// Those of these objects whose content set-up copied from your checkout, and those whose content cannot be compared. `read`
    /// makes a call that sees the objects.
    pub(crate) fn copied_contents<'a>(
        &self,
        baseline: &Baseline,
        read: impl Fn() -> Result<Call>,
        objects: impl Iterator<Item = &'a ObjectInfo>,
    ) -> Result<BTreeSet<Oid>> {
        let is_same_size = |object: &&ObjectInfo| object.kind == "blob" && baseline.has_copied_size(object.size);
        let same_size: Vec<&ObjectInfo> = objects.filter(is_same_size).collect();
        let mut copied = BTreeSet::new();
        in_parts(&same_size, |part, is_last| {
            match read_blobs(read()?.long(), part.iter().map(|object| (&object.oid, object.size))) {
                Ok(contents) => {
                    let is_copy = |(object, content): &(&&ObjectInfo, Option<Vec<u8>>)| {
                        let hash = content.as_ref().map(|content| names::hex(&Sha256::digest(content)));
                        hash.is_some_and(|hash| baseline.has_copied_content(object.size, &hash))
                    };
                    let copies = part.iter().zip(contents).filter(is_copy);
                    copied.extend(copies.map(|(object, _)| object.oid.clone()));
                }
                // One is damaged, or together they are larger than what git may print.
                Err(e) if !is_about_data(&e) && !matches!(e, Error::TooMuchOutput { .. }) => return Err(e),
                Err(_) if is_last => copied.extend(part.iter().map(|object| object.oid.clone())),
                Err(_) => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(copied)
    }

    /// Packs what git reads in this list, without what your repository has, and takes the pack into your repository.
    fn import_pack(&self, folder: &Path, options: &[&str], list: String) -> Result<Imported> {
        // By its standard output: otherwise git writes the pack into the lane's objects and renames it from there, which a
        // lane on another file system cannot do. The lane's bitmaps are the agent's and could leave objects out.
        let path = folder.join("pack");
        let file = File::create_new(&path).map_err(Error::io("write", &path))?;
        let pack = self.read_lane()?.args(["pack-objects", "--quiet", "--local"]).args(options.iter().copied());
        let pack = pack.args(["--stdout", "--non-empty", "--no-use-bitmap-index"]).stdin(list.into_bytes());
        let pack = pack.output_file(file).file_bytes_max(PACK_BYTES_MAX).long();
        if !succeeded(pack)? {
            return Ok(Imported::Failed);
        }
        let file = File::open(&path).map_err(Error::io("open", &path))?;
        if file.metadata().map_err(Error::io("read", &path))?.len() == 0 {
            return Ok(Imported::Nothing);
        }
        // In a partial clone objects may be missing that a remote has promised; then only the objects themselves are checked.
        let check = if self.repo.is_partial()? { "--fsck-objects" } else { "--strict" };
        let import = self.repo.plain()?.args(["index-pack", "--stdin", "--fix-thin", check]);
        Ok(if succeeded(import.input(file).long())? { Imported::Whole } else { Imported::Failed })
    }

    /// A call that sees your refs and objects, and the lane's objects.
    pub(crate) fn read_both(&self) -> Result<Call> {
        let objects = lane_repository::alternate_path(&self.git_dir().join("objects"));
        let call = self.repo.guarded().args(["-c", "core.commitGraph=false", "-c", "core.multiPackIndex=false"]);
        Ok(call.preamble().env("GIT_ALTERNATE_OBJECT_DIRECTORIES", objects))
    }

    /// A call that sees the lane's objects as its own and yours as borrowed ones.
    fn read_lane(&self) -> Result<Call> {
        let objects = lane_repository::alternate_path(&self.repo.common_dir().join("objects"));
        let call = self.repo.plain()?.args(["-c", "core.commitGraph=false", "-c", "core.multiPackIndex=false"]).preamble();
        let call = call.env("GIT_OBJECT_DIRECTORY", self.git_dir().join("objects"));
        Ok(call.env("GIT_ALTERNATE_OBJECT_DIRECTORIES", objects))
    }
}

/// How an import ended.
#[derive(PartialEq, Eq)]
enum Imported {
    Whole,
    /// There was nothing that your repository lacks.
    Nothing,
    Failed,
}

/// False when git could not copy the objects. A disk that cannot be written is an error: with space, another try succeeds.
fn succeeded(call: Call) -> Result<bool> {
    let what = call.what();
    let out = call.output()?;
    if out.code != Some(0) && is_failure_of_machine(&out.stderr) {
        return Err(out.failed(what));
    }
    Ok(out.code == Some(0))
}

/// Does something with a list, or with its halves where it fails for the whole, down to the items that it fails for. The work
/// returns whether a part is done, and gets to know whether it is asked about this part for the last time.
pub(crate) fn in_parts<T>(items: &[T], mut work: impl FnMut(&[T], bool) -> Result<bool>) -> Result<()> {
    let mut parts = vec![items];
    let mut starts = 0;
    while let Some(part) = parts.pop() {
        if part.is_empty() {
            continue;
        }
        starts += 1;
        let is_last = part.len() == 1 || starts >= STARTS_MAX;
        if !work(part, is_last)? && !is_last {
            let (first, second) = part.split_at(part.len() / 2);
            parts.extend([second, first]);
        }
    }
    Ok(())
}

/// What a ref of the agent leads to, where it can be read.
struct FoundCommit {
    /// The object behind tags. It may be something else than a commit.
    commit: Option<ObjectInfo>,
    tree: Option<ObjectInfo>,
    /// Git ended when it looked at it.
    is_damaged: bool,
}

/// A ref of the agent and the commit that it leads to.
struct Tip {
    name: String,
    commit: Oid,
    /// The commit's tree, where it can be read.
    tree: Option<Oid>,
    /// Whether the commit can be read.
    exists: bool,
}
