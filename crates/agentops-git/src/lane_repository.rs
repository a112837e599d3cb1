//! The `.git` folder of a lane: a repository of its own that borrows the user's objects.
//!
//! It is built beside the lane and renamed into place, so that nobody sees half of one. Refs always have the files format,
//! which every git reads, whatever format the user's repository has. The objects are the user's through an alternate with an
//! absolute path. They are never linked: the agent's own `git gc` removes what its refs do not reach, and must find only
//! what the agent itself wrote.
//!
//! Configuration, alternates, ignore rules and hooks are put right whenever the lane is opened: an agent's session begins
//! with ours, and the next one is not led by what the one before configured. Commits, refs, stash and reflogs stay.

use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::agent_refs;
use crate::boundary::boundary;
use crate::error::{Error, Result};
use crate::lane_refs;
use crate::lane_settings;
use crate::lanes::{Lane, bytes, put};
use crate::names;
use crate::oid::Oid;
use crate::plain::write_whole;
use crate::plain_file;
use crate::remove::remove_all;
use crate::repo::Repo;

/// What git leaves in its directory while a merge, rebase or bisection is unfinished.
const UNFINISHED: [&str; 11] = [
    "MERGE_AUTOSTASH",
    "MERGE_HEAD",
    "MERGE_MSG",
    "MERGE_MODE",
    "AUTO_MERGE",
    "CHERRY_PICK_HEAD",
    "REVERT_HEAD",
    "rebase-merge",
    "rebase-apply",
    "sequencer",
    "BISECT_LOG",
];
/// Files of `info` that are copied from the user's repository. Neither of the two can name a program.
const EXCLUDE: &str = "exclude";
const ATTRIBUTES: &str = "attributes";
/// The file in a lane's git directory that says which checkout the lane was made from.
const OWNER: &str = "agentops-lane-of";
/// Entries of an object folder that are looked at, at most.
const ENTRIES_MAX: usize = 2_000_000;
/// Bytes of a file that names a commit or a path.
const POINTER_BYTES_MAX: u64 = 4096;
/// The largest configuration of a lane, in bytes.
const CONFIG_BYTES_MAX: u64 = 16 << 20;
/// The largest list of shallow commits or of alternates, in bytes.
const LIST_BYTES_MAX: u64 = 256 << 20;
/// A larger file in `info` is not copied.
const INFO_BYTES_MAX: u64 = 1 << 20;

/// Where the folder is built. Not inside the lane, where a checkpoint would find what a crash left.
pub(crate) fn aside(lane: &Lane) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(lane.path.file_name().unwrap_or_default());
    name.push(".git-new");
    lane.path.with_file_name(name)
}

/// Makes the folder of a lane whose record was lost right, and keeps what the agent committed in it.
pub(crate) fn adopt(lane: &Lane) -> Result<()> {
    if !plain_file::is_folder(&lane.git_dir)? {
        agent_refs::note_replaced(lane, Path::new(".git"))?;
        return build(lane);
    }
    lane_refs::choose(&lane.repo, &lane.base)?.remember(lane)?;
    lane_refs::protect(lane, &lane.base)?;
    mend(lane)
}

/// Builds the folder and puts it into the lane, in place of whatever is there.
pub(crate) fn build(lane: &Lane) -> Result<()> {
    let refs = lane_refs::choose(&lane.repo, &lane.base)?;
    refs.remember(lane)?;
    lane_refs::protect(lane, &lane.base)?;
    boundary("lane-protected");
    match fs::create_dir(&lane.path) {
        Err(e) if e.kind() != ErrorKind::AlreadyExists => return Err(Error::io("make", &lane.path)(e)),
        _ => {}
    }
    // The case rule of the lane's folder is found by a name in it.
    lane.make_out_dir()?;
    let config = record_config(lane)?;
    let aside = aside(lane);
    remove_all(&aside)?;
    make_dir(&aside)?;
    for folder in ["objects", "objects/info", "objects/pack", "refs", "refs/heads", "refs/tags", "info"] {
        make_dir(&aside.join(folder))?;
    }
    write_whole(&aside.join("HEAD"), format!("{}\n", lane.base).as_bytes())?;
    put(&aside.join("objects/info/alternates"), &alternates(&lane.repo)?)?;
    write_leading_files(lane, &aside, &config)?;
    refs.write(&lane.repo, &aside)?;
    let git_dir = &lane.git_dir;
    remove_all(git_dir)?;
    fs::rename(&aside, git_dir).map_err(Error::io("make", git_dir))
}

fn record_config(lane: &Lane) -> Result<Vec<u8>> {
    let config = lane_settings::config(lane)?;
    write_whole(&lane.record().join("config"), &config)?;
    Ok(config)
}

/// Puts right what leads git. A lane whose folder is no longer one gets a new one. What its agent committed is lost then, and
/// named unless it was only deleted.
pub(crate) fn mend(lane: &Lane) -> Result<()> {
    let git_dir = &lane.git_dir;
    if !plain_file::is_folder(git_dir)? {
        agent_refs::note_replaced(lane, Path::new(".git"))?;
        build(lane)?;
        return if plain_file::look_at(&lane.index())?.is_some() { lane.put_index() } else { Ok(()) };
    }
    let config = match plain_file::read_if_there(&lane.record().join("config"), CONFIG_BYTES_MAX)? {
        Some(config) => config,
        None => record_config(lane)?,
    };
    for folder in ["objects", "objects/info", "objects/pack", "refs", "refs/heads", "refs/tags", "info"] {
        let path = git_dir.join(folder);
        if !plain_file::is_folder(&path)? {
            agent_refs::note_replaced(lane, &Path::new(".git").join(folder))?;
            remove_all(&path)?;
            make_dir(&path)?;
        }
    }
    for other in ["commondir", "config.worktree", "hooks", "index.lock", "HEAD.lock"] {
        remove_all(&git_dir.join(other))?;
    }
    if read_head(git_dir).is_none() {
        let moved = agent_refs::reftable_head(lane)?;
        put(&git_dir.join("HEAD"), format!("{}\n", moved.as_ref().unwrap_or(&lane.base)).as_bytes())?;
    }
    write_alternates(lane)?;
    write_leading_files(lane, git_dir, &config)
}

/// Detaches `HEAD` at this commit and ends what the agent left unfinished. The caller has written the index.
pub(crate) fn point_to(lane: &Lane, commit: &Oid) -> Result<()> {
    for file in UNFINISHED {
        remove_all(&lane.git_dir.join(file))?;
    }
    put(&lane.git_dir.join("HEAD"), format!("{commit}\n").as_bytes())
}

/// The work tree of the repository that a lane names as its owner's.
pub(crate) fn named_owner(git_dir: &Path) -> Option<PathBuf> {
    let path = names::path(&plain_file::read(&git_dir.join(OWNER), POINTER_BYTES_MAX).ok()?);
    path.is_absolute().then_some(path)
}

/// What `HEAD` says, if git would understand it. Refs in the reftable format leave a name there that is none.
fn read_head(git_dir: &Path) -> Option<String> {
    let bytes = plain_file::read(&git_dir.join("HEAD"), POINTER_BYTES_MAX).ok()?;
    let text = std::str::from_utf8(&bytes).ok()?.trim_end();
    let is_ref = text.strip_prefix("ref: ").is_some_and(|name| names::check_ref(name).is_ok());
    let valid = is_ref || text.parse::<Oid>().is_ok();
    valid.then(|| text.to_owned())
}

fn write_leading_files(lane: &Lane, git_dir: &Path, config: &[u8]) -> Result<()> {
    put(&git_dir.join("config"), config)?;
    put(&git_dir.join(OWNER), bytes(lane.repo.work_tree()))?;
    let common = lane.repo.common_dir();
    let (info, to) = (common.join("info"), git_dir.join("info"));
    let exclude = read_of_user(&info.join(EXCLUDE), INFO_BYTES_MAX)?;
    // Written once and whole: a `git add --all` of the agent's must at no moment take files that set-up copied from the
    // user's checkout, for its commits are imported.
    let copied = lane.baseline()?.map(|baseline| baseline.rules_for_copied()).unwrap_or_default();
    let rules = match (exclude, copied.is_empty()) {
        (exclude, true) => exclude,
        (exclude, false) => Some([exclude.unwrap_or_default(), b"\n".to_vec(), copied].concat()),
    };
    put_or_remove(&to.join(EXCLUDE), rules)?;
    put_or_remove(&to.join(ATTRIBUTES), read_of_user(&info.join(ATTRIBUTES), INFO_BYTES_MAX)?)?;
    put_or_remove(&git_dir.join("shallow"), read_of_user(&common.join("shallow"), LIST_BYTES_MAX)?)
}

/// A file of the user's git directory, where links are the user's business; `None`: there is none, or it is larger.
fn read_of_user(path: &Path, bytes_max: u64) -> Result<Option<Vec<u8>>> {
    let meta = match fs::metadata(path) {
        Ok(meta) => meta,
        Err(e) if plain_file::is_absent(&e) => return Ok(None),
        Err(e) => return Err(Error::io("read", path)(e)),
    };
    if !meta.is_file() || meta.len() > bytes_max {
        return Ok(None);
    }
    fs::read(path).map(Some).map_err(Error::io("read", path))
}

fn put_or_remove(path: &Path, content: Option<Vec<u8>>) -> Result<()> {
    match content {
        Some(content) => put(path, &content),
        None => remove_all(path),
    }
}

/// The user's objects, and those that the user's repository itself borrows: git does not follow a relative path of a second
/// alternate.
fn alternates(repo: &Repo) -> Result<Vec<u8>> {
    let objects = repo.common_dir().join("objects");
    let borrowed = read_of_user(&objects.join("info/alternates"), LIST_BYTES_MAX)?.unwrap_or_default();
    let mut text = [alternate_bytes(bytes(&objects)), b"\n".to_vec()].concat();
    for line in borrowed.split(|b| *b == b'\n') {
        let relative = !line.is_empty() && !line.starts_with(b"/") && !line.starts_with(b"#") && !line.starts_with(b"\"");
        if relative {
            text.extend(alternate_bytes(bytes(&objects.join(names::path(line)))));
            text.push(b'\n');
        }
    }
    Ok(text)
}

/// The path of an object folder as the alternates file and variable expect it.
pub(crate) fn alternate_path(objects: &Path) -> OsString {
    OsString::from_vec(alternate_bytes(bytes(objects)))
}

/// A path with bytes to which git gives a meaning is quoted as in C.
fn alternate_bytes(path: &[u8]) -> Vec<u8> {
    let quoted = path.iter().any(|b| b.is_ascii_control() || b"\"\\:".contains(b));
    if !quoted {
        return path.to_vec();
    }
    let mut text = vec![b'"'];
    for byte in path {
        match byte {
            b'"' | b'\\' => text.extend([b'\\', *byte]),
            byte if byte.is_ascii_control() => text.extend(format!("\\{byte:03o}").bytes()),
            byte => text.push(*byte),
        }
    }
    text.push(b'"');
    text
}

/// Writes the lane's alternates as they should be.
fn write_alternates(lane: &Lane) -> Result<()> {
    put(&lane.git_dir.join("objects/info/alternates"), &alternates(&lane.repo)?)
}

/// Writes the alternates of a lane whose objects git is to read; false where they may not be read. The folder is looked at
/// first: through a link of the agent's we would write elsewhere.
///
/// # Errors
/// The folder cannot be looked at, so nobody knows; or the alternates cannot be written.
pub(crate) fn make_readable(lane: &Lane) -> Result<bool> {
    let plain = objects_are_plain(&lane.git_dir)?;
    if plain {
        write_alternates(lane)?;
    }
    Ok(plain)
}

/// Whether the object folder of a lane holds only plain files and folders: through a link git would read elsewhere.
fn objects_are_plain(git_dir: &Path) -> Result<bool> {
    let mut folders = vec![git_dir.join("objects")];
    let mut entries_left = ENTRIES_MAX;
    while let Some(folder) = folders.pop() {
        if !plain_file::is_folder(&folder)? {
            return Ok(false);
        }
        for entry in fs::read_dir(&folder).map_err(Error::io("read", &folder))? {
            let entry = entry.map_err(Error::io("read", &folder))?;
            let kind = entry.file_type().map_err(Error::io("look at", entry.path()))?;
            entries_left -= 1;
            if entries_left == 0 || !(kind.is_dir() || kind.is_file()) {
                return Ok(false);
            }
            if kind.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    Ok(true)
}

/// Readable by this user alone: the lane holds what its agent committed.
fn make_dir(path: &Path) -> Result<()> {
    fs::DirBuilder::new().mode(0o700).create(path).map_err(Error::io("make", path))
}
