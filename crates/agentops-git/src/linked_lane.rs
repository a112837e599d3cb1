//! Lanes of an older version: linked worktrees of the user's repository. None is made any more.
//!
//! A run that an older version began may still have them. They are opened, kept and removed as that version did it.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::lanes::{Lane, bytes, put};
use crate::names;
use crate::oid::Oid;
use crate::plain::write_whole;
use crate::remove::remove_all;
use crate::repo::Repo;

/// The worktree's administrative folder. With a dot in its name no folder that git names after a user's worktree is likely
/// to be the same.
pub(crate) fn git_dir(repo: &Repo, name: &str) -> PathBuf {
    repo.common_dir().join("worktrees").join(format!("agentops.lane.{name}"))
}

pub(crate) fn mend(lane: &Lane) -> Result<()> {
    if !fs::symlink_metadata(&lane.git_dir).is_ok_and(|m| m.is_dir()) {
        remove_all(&lane.git_dir)?;
        build(lane)?;
    }
    remove_all(&lane.git_dir.join("config.worktree"))?;
    for (name, content) in pointers(&lane.path) {
        put(&lane.git_dir.join(name), &content)?;
    }
    Ok(())
}

pub(crate) fn point_to(lane: &Lane, commit: &Oid) -> Result<()> {
    let pointer = names::joined(&[b"gitdir: ", bytes(&lane.git_dir), b"\n"]).into_encoded_bytes();
    put(&lane.path.join(".git"), &pointer)?;
    if lane.repo.uses_reftable() {
        let call = lane.repo.guarded_in(&lane.git_dir, &lane.path);
        return call.args(["update-ref", "--no-deref", "HEAD", commit.as_str()]).outliving_us().ok().map(drop);
    }
    put(&lane.git_dir.join("HEAD"), format!("{commit}\n").as_bytes())
}

/// Builds the administrative folder aside and renames it into place.
fn build(lane: &Lane) -> Result<()> {
    let aside = lane.record().join("admin");
    remove_all(&aside)?;
    fs::create_dir(&aside).map_err(Error::io("make", &aside))?;
    for (name, content) in pointers(&lane.path) {
        write_whole(&aside.join(name), &content)?;
    }
    // Keeps `git worktree prune` from taking a lane whose disk is not mounted.
    write_whole(&aside.join("locked"), format!("lane {} of agentops\n", lane.name).as_bytes())?;
    if lane.repo.uses_reftable() {
        for dir in ["reftable", "refs"] {
            fs::create_dir(aside.join(dir)).map_err(Error::io("make", &aside))?;
        }
        write_whole(&aside.join("refs/heads"), b"this repository uses the reftable format\n")?;
        write_whole(&aside.join("HEAD"), b"ref: refs/heads/.invalid\n")?;
    } else {
        write_whole(&aside.join("HEAD"), format!("{}\n", lane.base).as_bytes())?;
    }
    let worktrees = lane.repo.common_dir().join("worktrees");
    for attempt in 0..3 {
        // Git removes this folder whenever it is empty.
        fs::create_dir_all(&worktrees).map_err(Error::io("make", &worktrees))?;
        match fs::rename(&aside, &lane.git_dir) {
            Err(e) if e.kind() == ErrorKind::NotFound && attempt < 2 => {}
            result => return result.map_err(Error::io("make", &lane.git_dir)),
        }
    }
    Ok(())
}

fn pointers(path: &Path) -> [(&'static str, Vec<u8>); 2] {
    [("commondir", b"../..\n".to_vec()), ("gitdir", [bytes(path), b"/.git\n"].concat())]
}
