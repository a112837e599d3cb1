//! Refs that an agent moved to the reftable format (`git refs migrate`).
//!
//! Git reads them: a copy of the tables, in a git directory of our own with our own configuration, within bounds. The data is
//! the agent's, so whatever git says against it means that they cannot be read, and no more.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::{MERGE_AUTOSTASH, REFS_MAX, Step, left_behind};
use crate::error::{Error, Result};
use crate::lanes::Lane;
use crate::names;
use crate::oid::Oid;
use crate::plain::Plain;
use crate::plain_file;
use crate::run::is_failure_of_machine;

/// Git joins tables so that there are few.
const TABLES_MAX: usize = 100;
const LIST_BYTES_MAX: u64 = 16 << 10;
/// Bytes of all tables together.
const TABLE_BYTES_MAX: u64 = 64 << 20;
const SECONDS_MAX: u64 = 60;
const EXTENSION: &[u8] = b"[extensions]\n\trefStorage = reftable\n";

/// What a lane has in the reftable format.
pub(super) enum Found {
    Nothing,
    Refs(MovedRefs),
    Unreadable,
}

#[derive(Default)]
pub(super) struct MovedRefs {
    /// With `HEAD`. The stash is `stash@{0}` and so on.
    pub refs: Vec<(String, Oid)>,
    /// What only the reflog of `HEAD` has.
    pub left_behind: Vec<Oid>,
}

/// The commit of `HEAD` in the reftable format; none where there is none, or it cannot be read.
pub(crate) fn head(lane: &Lane) -> Result<Option<Oid>> {
    let Found::Refs(moved) = read(lane)? else { return Ok(None) };
    Ok(moved.refs.into_iter().find(|(name, _)| name == "HEAD").map(|(_, oid)| oid))
}

/// Reads what there is in the reftable format.
///
/// # Errors
/// It cannot be read now, or git could not be started.
pub(super) fn read(lane: &Lane) -> Result<Found> {
    let folder = lane.git_dir().join("reftable");
    if plain_file::look_at(&folder)?.is_none() {
        return Ok(Found::Nothing);
    }
    let plain = lane.repo.plain_for_index()?;
    if !plain_file::is_folder(&folder)? || !copy(&folder, &plain)? {
        return Ok(Found::Unreadable);
    }
    let git = Reader { lane, plain };
    let args = ["for-each-ref", "--include-root-refs", "--format=%(objectname) %(refname)"];
    let Some(listed) = git.lines(&args)? else { return Ok(Found::Unreadable) };
    let mut moved = MovedRefs::default();
    for line in &listed {
        let Some((oid, name)) = line.split_once(' ') else { continue };
        let Ok(oid) = oid.parse() else { continue };
        if !["HEAD", MERGE_AUTOSTASH].contains(&name) && names::check_ref(name).is_err() {
            continue;
        }
        if moved.refs.len() == REFS_MAX {
            return Ok(Found::Unreadable);
        }
        moved.refs.push((name.to_owned(), oid));
    }
    if moved.refs.iter().any(|(name, _)| name == "refs/stash") {
        let Some(stash) = git.reflog("refs/stash")? else { return Ok(Found::Unreadable) };
        if !stash.is_empty() {
            moved.refs.retain(|(name, _)| name != "refs/stash");
        }
        let stash = stash.into_iter().enumerate().filter_map(|(n, step)| Some((format!("stash@{{{n}}}"), step.to?)));
        moved.refs.extend(stash);
    }
    let has_head = moved.refs.iter().any(|(name, _)| name == "HEAD");
    if !has_head && git.lines(&["reflog", "exists", "HEAD"])?.is_some() {
        // `HEAD` is on a branch without a commit. Git shows its reflog only where it leads to one.
        let set = git.lines(&["update-ref", "--no-deref", "HEAD", lane.base().as_str()])?;
        let Some(_) = set else { return Ok(Found::Unreadable) };
    } else if !has_head {
        return Ok(Found::Refs(moved));
    }
    let Some(steps) = git.reflog("HEAD")? else { return Ok(Found::Unreadable) };
    moved.left_behind = left_behind(&steps);
    if !has_head {
        moved.left_behind.extend(steps.into_iter().filter_map(|step| step.to).next());
    }
    Ok(Found::Refs(moved))
}

/// Copies the tables, and says in our configuration that there are some. False where one is no plain file, or too large.
fn copy(folder: &Path, plain: &Plain) -> Result<bool> {
    let to = plain.path().join("reftable");
    let write = |path: &Path, bytes: &[u8]| fs::write(path, bytes).map_err(Error::io("write", path));
    fs::create_dir(&to).map_err(Error::io("make", &to))?;
    let Some(list) = plain_file::read_if_plain(&folder.join("tables.list"), LIST_BYTES_MAX)? else { return Ok(false) };
    let mut bytes_left = TABLE_BYTES_MAX;
    for (number, name) in list.split(|byte| *byte == b'\n').filter(|name| !name.is_empty()).enumerate() {
        if number == TABLES_MAX || name.contains(&b'/') || name.contains(&0) || name.starts_with(b".") {
            return Ok(false);
        }
        let name = Path::new(OsStr::from_bytes(name));
        let Some(table) = plain_file::read_if_plain(&folder.join(name), bytes_left)? else { return Ok(false) };
        bytes_left = bytes_left.saturating_sub(table.len() as u64);
        write(&to.join(name), &table)?;
    }
    write(&to.join("tables.list"), &list)?;
    let config = plain.path().join("config");
    let ours = fs::read(&config).map_err(Error::io("read", &config))?;
    write(&config, &[&ours, EXTENSION].concat())?;
    Ok(true)
}

/// Git in a git directory of our own that has a copy of the tables.
struct Reader<'a> {
    lane: &'a Lane,
    plain: Plain,
}

impl Reader<'_> {
    /// The steps of a reflog, newest first. What it says about commits that are gone is not there.
    fn reflog(&self, name: &str) -> Result<Option<Vec<Step>>> {
        let args =
            ["log", "--walk-reflogs", "--no-show-signature", "--no-patch", "--no-color", "--format=%H %gs", name, "--"];
        let Some(lines) = self.lines(&args)? else { return Ok(None) };
        let rows: Vec<(Option<Oid>, &str)> =
            lines.iter().filter_map(|line| line.split_once(' ')).map(|(oid, message)| (oid.parse().ok(), message)).collect();
        let steps = rows.iter().enumerate().map(|(n, (to, message))| {
            // A step leads away from where the one before it led.
            let from = rows.get(n + 1).and_then(|(before, _)| before.clone());
            Step { from, to: to.clone(), message: message.as_bytes().to_vec() }
        });
        Ok(Some(steps.collect()))
    }

    /// What git prints; none when it refuses the data.
    fn lines(&self, args: &[&str]) -> Result<Option<Vec<String>>> {
        let call = self.lane.repo.plain_in(&self.plain).cwd(self.plain.path());
        let mut call = call.args(["-c", "core.commitGraph=false", "-c", "core.multiPackIndex=false"]).preamble();
        if let Some(objects) = self.lane.agents_objects()? {
            call = call.env("GIT_ALTERNATE_OBJECT_DIRECTORIES", objects);
        }
        let call = call.args(args.iter().copied()).seconds(SECONDS_MAX);
        let what = call.what();
        match call.output() {
            Ok(out) if out.code == Some(0) => {
                Ok(Some(String::from_utf8_lossy(&out.stdout).lines().map(str::to_owned).collect()))
            }
            Ok(out) if is_failure_of_machine(&out.stderr) => Err(out.failed(what)),
            Ok(_) | Err(Error::Timeout { .. } | Error::TooMuchOutput { .. }) => Ok(None),
            Err(e) => Err(e),
        }
    }
}
