//! A lane that was damaged from outside is made usable again.
//!
//! People delete folders to make room, remove `.git/agentops` or move the state folder, and cleaners empty folders. None of it
//! may end a run: the lane's files are in its folder, or else in its newest checkpoint. A lane is taken for gone only where
//! that is certain. Every other error is returned, for what cannot be read now may hold an agent's work.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use crate::error::{Error, Result};
use crate::lane_records;
use crate::lane_repository;
use crate::lanes::{self, Created, Lane, LaneForm};
use crate::linked_lane;
use crate::names;
use crate::oid::Oid;
use crate::plain::write_durable;
use crate::plain_file;
use crate::remove::{remove_all, take_back_rights};
use crate::repo::Repo;

/// In the record of a lane that was made from a commit, until set-up has ended in it.
const SET_UP_DUE: &str = "set-up-due";

/// What was done to a lane so that it can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restored {
    /// Nothing: it was whole.
    Whole,
    /// Its record was lost. The files in its folder are as they were.
    FilesKept,
    /// Its folder was gone or empty. It holds the files of the given commit, and nothing else: no results, and nothing that
    /// set-up made. Until [`Lane::set_up_done`] the lane is given as such again.
    FromCommit,
}

/// A lane that is looked for, with no files but its own.
#[derive(Debug)]
pub enum Recovered {
    /// It can be used, and holds what was done in it.
    Usable(Lane, Restored),
    /// Every file that it had is gone and nothing else came, though nobody told the lane's git to remove them. What the agent
    /// committed may still be in its git.
    Emptied(Lane),
    /// There is no lane with files at this place.
    Gone,
}

/// Makes sure that there is a lane at `path`. A whole one is opened, a folder without a record gets one, and a lane without
/// files is made again with the files of `commit`. Done again after a crash it comes to the same.
///
/// # Errors
/// [`Error::CommitGone`] when the lane's files are gone and the repository does not have the commit either.
pub fn restore(repo: &Repo, path: &Path, base: &Oid, commit: &Oid, name: &str) -> Result<(Lane, Restored)> {
    match recover(repo, path, base, commit, name)? {
        Recovered::Usable(lane, how) => return Ok((lane, how)),
        Recovered::Emptied(lane) => {
            exists(repo, &[base, commit])?;
            lanes::remove(repo, &lane)?;
        }
        Recovered::Gone => exists(repo, &[base, commit])?,
    }
    let path = lanes::absolute(path)?;
    forget_elsewhere(repo, &path, name)?;
    match lanes::create_at(repo, &path, base, commit, name, &[SET_UP_DUE])? {
        Created::New(lane) => Ok((lane, Restored::FromCommit)),
        // Another process was faster.
        Created::Found(lane) => Ok((lane, Restored::Whole)),
    }
}

/// As [`restore`], but a lane without files is not made again, and rights that its agent took from us are taken back. `commit` is what a lane holds whose set-up was cut short.
///
/// # Errors
/// As for [`restore`].
pub fn recover(repo: &Repo, path: &Path, base: &Oid, commit: &Oid, name: &str) -> Result<Recovered> {
    names::check_lane(name)?;
    let path = lanes::absolute(path)?;
    take_back_rights(&path);
    match lanes::open(repo, &path) {
        Ok(lane) if lane.is_set_up_due()? => {
            // No agent has worked here: whatever it holds beside the commit is half a set-up.
            lane.reset_to(commit)?;
            return Ok(Recovered::Usable(lane, Restored::FromCommit));
        }
        Ok(lane) if lane.is_emptied()? => return Ok(Recovered::Emptied(lane)),
        Ok(lane) => return Ok(Recovered::Usable(lane, Restored::Whole)),
        Err(Error::NotALane { .. }) => {}
        Err(e) => return Err(e),
    }
    if holds_files(&path)? {
        exists(repo, &[base])?;
        if let Some(lane) = adopt(repo, &path, base, name)? {
            return Ok(Recovered::Usable(lane, Restored::FilesKept));
        }
    }
    Ok(Recovered::Gone)
}

impl Lane {
    /// Set-up has ended in a lane that was made again.
    ///
    /// # Errors
    /// The record cannot be written.
    pub fn set_up_done(&self) -> Result<()> {
        remove_all(&self.record().join(SET_UP_DUE))
    }

    fn is_set_up_due(&self) -> Result<bool> {
        Ok(plain_file::look_at(&self.record().join(SET_UP_DUE))?.is_some())
    }
}

fn exists(repo: &Repo, commits: &[&Oid]) -> Result<()> {
    let known = repo.kinds(commits.iter().copied())?;
    match commits.iter().zip(known).find(|(_, kind)| kind.as_deref() != Some("commit")) {
        Some((gone, _)) => Err(Error::CommitGone { commit: (*gone).clone() }),
        None => Ok(()),
    }
}

/// Whether there is a folder with anything in it.
fn holds_files(path: &Path) -> Result<bool> {
    if !plain_file::is_folder(path)? {
        return Ok(false);
    }
    match fs::read_dir(path) {
        Ok(mut entries) => entries.next().transpose().map(|entry| entry.is_some()).map_err(Error::io("read", path)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
        Err(e) => Err(Error::io("read", path)(e)),
    }
}

/// Gives a folder without a record its record back; none when its record says that it is half made or half removed.
fn adopt(repo: &Repo, path: &Path, base: &Oid, name: &str) -> Result<Option<Lane>> {
    let lane = Lane::new(repo, name.to_owned(), path.to_owned(), base.clone(), LaneForm::Repository);
    forget_elsewhere(repo, path, name)?;
    let _lock = lanes::take_lock(repo)?;
    if lane_records::all(repo)?.about(name)?.iter().any(|other| other.path == path || other.name == name) {
        return Ok(None);
    }
    let record = lane.record();
    remove_all(&record)?;
    fs::create_dir_all(&record).map_err(Error::io("make", &record))?;
    // Before the record counts: a record that is not ready is a leftover, and its folder would be removed.
    write_durable(&record.join("ready"), b"")?;
    lane_repository::adopt(&lane)?;
    // It was a linked worktree if an older version made it.
    remove_all(&linked_lane::git_dir(repo, name))?;
    lane_records::write_record(&lane)?;
    Ok(Some(lane))
}

/// Removes the record of a lane of this name whose folder was at another place and is gone: the state folder was moved.
fn forget_elsewhere(repo: &Repo, path: &Path, name: &str) -> Result<()> {
    loop {
        let lock = lanes::take_lock(repo)?;
        let Some(other) =
            lane_records::all(repo)?.about(name)?.into_iter().find(|other| other.name == name && other.path != path)
        else {
            return Ok(());
        };
        if plain_file::look_at(&other.path)?.is_some() {
            return Err(Error::LaneExists { name: other.name });
        }
        lanes::take_apart_or_wait(&other, lock)?;
    }
}
