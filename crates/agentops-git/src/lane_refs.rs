//! Which of your refs a lane gets, and the ref of ours that keeps what the lane borrows.
//!
//! A lane gets what an agent looks at: branches and tags that are merged into its base, the default branch and the one that
//! you work on, both with what they track, and replacements. Other branches are none of its business.
//!
//! A ref whose object is gone breaks `git log --all`, `fetch` and `gc`, so nothing that a lane's refs name may be pruned
//! while the lane lives. One ref in your repository, `refs/agentops/lanes/<lane>`, is set before the lane exists and removed
//! after it. It keeps the base, and with it every merged branch. Where other commits are needed too, it names a commit of ours
//! whose parents they are. Tag objects are no commit's parents, so those few bytes are copied into the lane.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::error::{Error, Result};
use crate::lane_repository;
use crate::lanes::Lane;
use crate::names;
use crate::objects::Author;
use crate::oid::Oid;
use crate::plain::write_whole;
use crate::plain_file;
use crate::refs::Expect;
use crate::repo::Repo;

/// Commits beside the base that a lane keeps at most. There are a few branches and perhaps replacements.
const EXTRA_MAX: usize = 200;
/// Bytes of their list.
const EXTRA_BYTES_MAX: u64 = 64 * 1024;
const HEADER: &str = "# pack-refs with: peeled fully-peeled sorted \n";
const FIELDS: &str =
    "--format=%(objectname)%00%(objecttype)%00%(*objectname)%00%(symref)%00%(upstream)%00%(HEAD)%00%(refname)";

/// The refs that a lane gets.
#[derive(Debug, Default)]
pub(crate) struct CopiedRefs {
    refs: BTreeMap<String, CopiedRef>,
    /// Names of symbolic refs, such as `refs/remotes/origin/HEAD`, and the refs that they stand for.
    symbolic: Vec<(String, String)>,
    /// Commits that the base does not lead to.
    extra: Vec<Oid>,
    /// Objects that no commit leads to.
    copied: Vec<Oid>,
}

#[derive(Debug)]
struct CopiedRef {
    oid: Oid,
    /// What a tag object stands for.
    peeled: Option<Oid>,
}

/// One ref as git lists it.
struct ListedRef {
    name: String,
    oid: Oid,
    kind: String,
    peeled: Option<Oid>,
    symbolic: Option<String>,
    upstream: String,
    checked_out: bool,
}

impl ListedRef {
    /// Branches of ours are results of runs and not what an agent is to look at.
    fn is_ours(&self) -> bool {
        let mut parts = self.name.split('/').skip(2);
        if self.name.starts_with("refs/remotes/") {
            parts.next();
        }
        parts.next() == Some("agentops")
    }
}

/// Chooses the refs for a lane that begins at `base`. A repository with broken refs gives fewer.
///
/// # Errors
/// Git cannot be run or does not answer in time.
pub(crate) fn choose(repo: &Repo, base: &Oid) -> Result<CopiedRefs> {
    let merged = format!("--merged={base}");
    let merged = listed_if_sound(repo, &[&merged, "refs/heads", "refs/tags", "refs/remotes"])?;
    let every = listed_if_sound(repo, &["refs/heads", "refs/remotes", "refs/replace"])?;

    let mut chosen = CopiedRefs::default();
    for found in merged.into_iter().filter(|found| !found.is_ours()) {
        chosen.add(found);
    }
    let wanted = wanted_names(&every);
    let unmerged: Vec<ListedRef> = every
        .into_iter()
        .filter(|found| wanted.contains(&found.name) || found.name.starts_with("refs/replace/"))
        .filter(|found| !found.is_ours() && !chosen.refs.contains_key(&found.name))
        .collect();
    let stored = repo.kinds(unmerged.iter().map(|found| &found.oid))?;
    for (found, kind) in unmerged.into_iter().zip(stored).take(EXTRA_MAX) {
        match kind.as_deref() {
            Some("commit") => chosen.extra.push(found.oid.clone()),
            Some(_) => chosen.copied.push(found.oid.clone()),
            None => continue,
        }
        chosen.add(found);
    }
    let CopiedRefs { refs, symbolic, .. } = &mut chosen;
    symbolic.retain(|(_, target)| refs.contains_key(target));
    Ok(chosen)
}

impl CopiedRefs {
    fn add(&mut self, found: ListedRef) {
        if let Some(target) = found.symbolic {
            self.symbolic.push((found.name, target));
            return;
        }
        if found.kind == "tag" {
            self.copied.push(found.oid.clone());
        }
        self.refs.insert(found.name, CopiedRef { oid: found.oid, peeled: found.peeled });
    }

    /// Writes them into a lane's git directory that is being built.
    pub(crate) fn write(&self, repo: &Repo, git_dir: &Path) -> Result<()> {
        let mut text = String::from(HEADER);
        for (name, copied) in &self.refs {
            text.push_str(&format!("{} {name}\n", copied.oid));
            if let Some(peeled) = &copied.peeled {
                text.push_str(&format!("^{peeled}\n"));
            }
        }
        write_whole(&git_dir.join("packed-refs"), text.as_bytes())?;
        for (name, target) in &self.symbolic {
            let path = git_dir.join(name);
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder).map_err(Error::io("make", folder))?;
            }
            write_whole(&path, format!("ref: {target}\n").as_bytes())?;
        }
        if self.copied.is_empty() {
            return Ok(());
        }
        let list: String = self.copied.iter().map(|oid| format!("{oid}\n")).collect();
        // The pack is written in the object directory and then renamed, which works within one file system only.
        let theirs = lane_repository::alternate_path(&repo.common_dir().join("objects"));
        let call = repo.plain()?.args(["pack-objects", "--quiet", "--window=0"]);
        let call = call.env("GIT_OBJECT_DIRECTORY", git_dir.join("objects")).env("GIT_ALTERNATE_OBJECT_DIRECTORIES", theirs);
        call.arg(git_dir.join("objects/pack/pack")).stdin(list.into_bytes()).long().ok().map(drop)
    }

    /// Notes in the lane's record which commits it needs beside its base.
    pub(crate) fn remember(&self, lane: &Lane) -> Result<()> {
        let list: String = self.extra.iter().map(|oid| format!("{oid}\n")).collect();
        write_whole(&lane.record().join("extra"), list.as_bytes())
    }
}

/// The default branch, the one that is checked out, and what both track.
fn wanted_names(every: &[ListedRef]) -> Vec<String> {
    let exists = |name: &str| every.iter().any(|found| found.name == name);
    let mut wanted = Vec::new();
    let mut branches: Vec<String> = every.iter().filter(|found| found.checked_out).map(|found| found.name.clone()).collect();
    for head in every.iter().filter(|found| found.name.starts_with("refs/remotes/") && found.name.ends_with("/HEAD")) {
        let Some(target) = &head.symbolic else { continue };
        let remote = head.name.trim_end_matches("HEAD");
        branches.extend(target.strip_prefix(remote).map(|branch| format!("refs/heads/{branch}")));
        wanted.push(head.name.clone());
        wanted.push(target.clone());
    }
    if wanted.is_empty() {
        branches.extend(["refs/heads/main", "refs/heads/master"].into_iter().find(|name| exists(name)).map(str::to_owned));
    }
    let upstreams = every.iter().filter(|found| branches.contains(&found.name)).map(|found| found.upstream.clone());
    wanted.extend(upstreams.filter(|name| !name.is_empty()));
    wanted.extend(branches);
    wanted
}

/// Git lists nothing where one of these refs names an object that is gone. An agent can work without the others.
fn listed_if_sound(repo: &Repo, args: &[&str]) -> Result<Vec<ListedRef>> {
    match listed(repo, args) {
        Err(Error::Failed { code: Some(_), .. }) => Ok(Vec::new()),
        listed => listed,
    }
}

fn listed(repo: &Repo, args: &[&str]) -> Result<Vec<ListedRef>> {
    let out = repo.guarded().args(["for-each-ref", FIELDS]).args(args.iter().copied()).long().ok()?;
    let rows = out.split(|b| *b == b'\n').filter(|row| !row.is_empty()).filter_map(|row| {
        // A name that is no text is not copied.
        let fields: Vec<&str> = std::str::from_utf8(row).ok()?.split('\0').collect();
        let [oid, kind, peeled, symbolic, upstream, head, name] = fields[..] else { return None };
        names::check_ref(name).ok()?;
        Some(ListedRef {
            name: name.to_owned(),
            oid: oid.parse().ok()?,
            kind: kind.to_owned(),
            peeled: peeled.parse().ok(),
            symbolic: Some(symbolic).filter(|symbolic| !symbolic.is_empty()).map(str::to_owned),
            upstream: upstream.to_owned(),
            checked_out: head == "*",
        })
    });
    Ok(rows.collect())
}

fn name_of(lane: &str) -> String {
    format!("refs/agentops/lanes/{lane}")
}

/// Keeps the base of a lane, the commit that it stands on and what its refs name.
pub(crate) fn protect(lane: &Lane, commit: &Oid) -> Result<()> {
    let extra = plain_file::read_if_there(&lane.record().join("extra"), EXTRA_BYTES_MAX)?.unwrap_or_default();
    let extra: Vec<Oid> = String::from_utf8_lossy(&extra).lines().filter_map(|line| line.parse().ok()).collect();
    let mut kept = Vec::new();
    for oid in [commit, &lane.base].into_iter().chain(&extra) {
        if !kept.contains(&oid) {
            kept.push(oid);
        }
    }
    let target = match kept.as_slice() {
        [one] => (*one).clone(),
        several => {
            let tree = lane.repo.tree_of(commit)?;
            let author = Author { name: "AgentOps".to_owned(), email: "agentops@localhost".to_owned() };
            lane.repo.commit_tree(&tree, several, "What a lane of AgentOps needs\n", &author, 0)?
        }
    };
    let name = name_of(&lane.name);
    let found = lane.repo.read_ref(&name)?;
    if found.as_ref() == Some(&target) {
        return Ok(());
    }
    lane.repo.update_ref(&name, &target, &found.map_or(Expect::Absent, Expect::Is))
}

/// Removes the ref of a lane that is gone.
pub(crate) fn release(repo: &Repo, lane: &str) -> Result<()> {
    let name = name_of(lane);
    match repo.read_ref(&name)? {
        Some(found) => repo.delete_ref(&name, &Expect::Is(found)),
        None => Ok(()),
    }
}
