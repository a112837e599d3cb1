//! A lane that was damaged from outside is made usable again.
//!
//! People delete folders to make room, remove `.git/agentops` or move the state folder. None of it may end a run: the lane's
//! files are in its folder, or else in its newest checkpoint.

use std::fs;
use std::path::Path;

use crate::error::{Error, Result};
use crate::lane_repository;
use crate::lanes::{self, Lane, LaneForm};
use crate::linked_lane;
use crate::names;
use crate::oid::Oid;
use crate::plain::write_whole;
use crate::remove::remove_all;
use crate::repo::Repo;

/// What was done to a lane so that it can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restored {
    /// Nothing: it was whole.
    Whole,
    /// Its record was lost. The files in its folder are as they were.
    FilesKept,
    /// Its folder was gone. It holds the files of the given commit, and nothing else: no results, and nothing that set-up made.
    FromCommit,
}

/// Makes sure that there is a lane at `path`. A whole one is opened, a folder without a record gets one, and a lane without
/// a folder is made again with the files of `commit`. Done again after a crash it comes to the same.
///
/// # Errors
/// [`Error::CommitGone`] when the lane's folder is gone and the repository does not have the commit either.
pub fn restore(repo: &Repo, path: &Path, base: &Oid, commit: &Oid, name: &str) -> Result<(Lane, Restored)> {
    names::check_lane(name)?;
    let path = lanes::absolute(path)?;
    if let Ok(lane) = lanes::open(repo, &path) {
        return Ok((lane, Restored::Whole));
    }
    let known = repo.kinds([base, commit].into_iter())?;
    if let Some(gone) = [base, commit].into_iter().zip(known).find(|(_, kind)| kind.as_deref() != Some("commit")) {
        return Err(Error::CommitGone { commit: gone.0.clone() });
    }
    let holds_files = fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_dir())
        && fs::read_dir(&path).is_ok_and(|mut entries| entries.next().is_some());
    if holds_files && let Some(lane) = adopt(repo, &path, base, name)? {
        return Ok((lane, Restored::FilesKept));
    }
    forget_elsewhere(repo, &path, name)?;
    let lane = lanes::create_at(repo, &path, base, commit, name)?;
    Ok((lane, Restored::FromCommit))
}

/// Gives a folder without a record its record back; none when its record says that it is half made or half removed.
fn adopt(repo: &Repo, path: &Path, base: &Oid, name: &str) -> Result<Option<Lane>> {
    let lane = Lane::new(repo, name.to_owned(), path.to_owned(), base.clone(), LaneForm::Repository);
    forget_elsewhere(repo, path, name)?;
    let _lock = lanes::take_lock(repo)?;
    if lanes::all(repo)?.iter().any(|other| other.path == path || other.name == name) {
        return Ok(None);
    }
    let record = lane.record();
    remove_all(&record)?;
    fs::create_dir_all(&record).map_err(Error::io("make", &record))?;
    // Before the record counts: a record that is not ready is a leftover, and its folder would be removed.
    write_whole(&record.join("ready"), b"")?;
    lane_repository::adopt(&lane)?;
    // It was a linked worktree if an older version made it.
    remove_all(&linked_lane::git_dir(repo, name))?;
    lanes::write_record(&lane)?;
    Ok(Some(lane))
}

/// Removes the record of a lane of this name whose folder was at another place and is gone: the state folder was moved.
fn forget_elsewhere(repo: &Repo, path: &Path, name: &str) -> Result<()> {
    loop {
        let lock = lanes::take_lock(repo)?;
        let Some(other) = lanes::all(repo)?.into_iter().find(|other| other.name == name && other.path != path) else {
            return Ok(());
        };
        if fs::symlink_metadata(&other.path).is_ok() {
            return Err(Error::LaneExists { name: other.name });
        }
        lanes::take_apart_or_wait(&other, lock)?;
    }
}
