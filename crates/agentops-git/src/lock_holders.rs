//! Which processes hold a lock, as far as the system tells.
//!
//! The pid in `/proc/locks` is that of the process that took the lock. It may have ended and left the open file to a child, as
//! `flock 9` in a shell does. So first the open files of this user's processes are looked at: the kernel notes at each of them
//! whether it holds a lock.

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Characters of a command line that are shown.
const COMMAND_CHARS_MAX: usize = 80;

/// A process that holds a lock.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LockHolder {
    /// Its pid.
    pub pid: i32,
    /// The beginning of its command line, else its program's name. Any process chooses its own: it is untrusted text.
    pub command: String,
}

impl fmt::Display for LockHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.command.is_empty() {
            true => write!(f, "process {}", self.pid),
            false => write!(f, "process {} ({})", self.pid, self.command),
        }
    }
}

/// The processes that hold the lock of this file. Empty: nobody does, or the system does not tell who.
#[must_use]
pub fn lock_holders(path: &Path) -> Vec<LockHolder> {
    let Ok(file) = fs::metadata(path) else { return Vec::new() };
    let key = (file.dev(), file.ino());
    let mut pids: Vec<i32> = all_pids().into_iter().filter(|pid| has_open(*pid, key, OpenFile::Locked)).collect();
    if pids.is_empty() {
        // Our own programs do not let others look at their files.
        let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
        pids = takers(&locks, file.ino()).into_iter().filter(|pid| Path::new(&format!("/proc/{pid}")).exists()).collect();
    }
    pids.sort_unstable();
    pids.dedup();
    pids.into_iter().map(|pid| LockHolder { pid, command: command(pid) }).collect()
}

/// The processes of this user that have this file open.
pub(crate) fn openers(path: &Path) -> Vec<LockHolder> {
    let Ok(file) = fs::metadata(path) else { return Vec::new() };
    let key = (file.dev(), file.ino());
    let open = all_pids().into_iter().filter(|pid| has_open(*pid, key, OpenFile::Any));
    open.map(|pid| LockHolder { pid, command: command(pid) }).collect()
}

fn all_pids() -> Vec<i32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// Which open files count.
#[derive(Clone, Copy, PartialEq, Eq)]
enum OpenFile {
    Any,
    /// Those that hold a lock.
    Locked,
}

fn has_open(pid: i32, file: (u64, u64), which: OpenFile) -> bool {
    let Ok(open) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    open.flatten().any(|entry| {
        let info = || fs::read_to_string(Path::new(&format!("/proc/{pid}/fdinfo")).join(entry.file_name()));
        let has_lock =
            || info().is_ok_and(|info| info.lines().any(|line| line.starts_with("lock:") && line.contains("FLOCK")));
        // Asked first: the look at a file of a network that does not answer would wait for it.
        (which == OpenFile::Any || has_lock())
            && fs::metadata(entry.path()).is_ok_and(|found| (found.dev(), found.ino()) == file)
    })
}

/// The processes that took locks of the file with this number, by the list of the kernel. Those that wait have an arrow.
fn takers(locks: &str, inode: u64) -> Vec<i32> {
    let taker = |line: &str| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let [_, "FLOCK", _, _, pid, file, ..] = *fields else { return None };
        let (_, number) = file.rsplit_once(':')?;
        (number.parse() == Ok(inode)).then(|| pid.parse().ok())?
    };
    locks.lines().filter_map(taker).collect()
}

fn command(pid: i32) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let mut text = String::from_utf8_lossy(&bytes).replace('\0', " ").trim().to_owned();
    if text.is_empty() {
        text = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned();
    }
    text.chars().filter(|c| !c.is_control()).take(COMMAND_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_takers_of_this_file_count() {
        let locks = "1: FLOCK  ADVISORY  WRITE 11 fd:01:42 0 EOF\n1: -> FLOCK  ADVISORY  WRITE 12 fd:01:42 0 EOF\n\
                     2: POSIX  ADVISORY  WRITE 13 fd:01:42 0 EOF\n3: FLOCK  ADVISORY  WRITE 14 00:2e:7 0 EOF\n";
        assert_eq!(takers(locks, 42), [11]);
        assert_eq!(takers(locks, 7), [14]);
    }

    #[test]
    fn who_holds_a_lock_is_found_also_when_the_one_who_took_it_has_ended() {
        let room = tempfile::tempdir().unwrap();
        let path = room.path().join("lock");
        fs::write(&path, "").unwrap();
        assert_eq!(lock_holders(&path), []);
        let file = fs::File::open(&path).unwrap();
        file.lock().unwrap();
        let us = i32::try_from(std::process::id()).unwrap();
        let pids = |holders: Vec<LockHolder>| holders.into_iter().map(|holder| holder.pid).collect::<Vec<_>>();
        assert_eq!(pids(lock_holders(&path)), [us]);
        drop(file);
        assert_eq!(lock_holders(&path), []);

        let script = format!("exec 9>'{}'; flock 9; echo held; read end", path.display());
        #[expect(clippy::disallowed_methods, reason = "the test plays another program")]
        let mut shell = std::process::Command::new("sh")
            .args(["-c", &script])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(shell.stdout.take().unwrap()), &mut line).unwrap();
        assert_eq!(line, "held\n");
        let holders = lock_holders(&path);
        assert_eq!(pids(holders.clone()), [i32::try_from(shell.id()).unwrap()]);
        assert!(holders[0].to_string().contains("(sh -c"), "{holders:?}");
        drop(shell.stdin.take());
        shell.wait().unwrap();
        assert_eq!(lock_holders(&path), []);
    }
}
