//! Tests that need a disk of their own: they run again in a mount namespace, as root or as an ordinary user.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use crate::processes_of::all;
use crate::room::{Room, skip_unless_ci};

/// Says inside that this process is in a namespace of its own. Its value is the file that says that the test was entered.
const INSIDE: &str = "AGENTOPS_TEST_NAMESPACE";

/// Where a test may go on.
pub enum Place {
    /// In a mount namespace of its own: here.
    Inside,
    /// It was played in a namespace by another process, and held.
    Played,
    /// This machine gives no namespace.
    Skipped,
}

/// The flags with which `unshare` gives a mount namespace here, as root or as an ordinary user. Without one the test is
/// skipped, which fails in CI.
fn flags() -> Option<&'static [&'static str]> {
    static FLAGS: OnceLock<Option<&[&str]>> = OnceLock::new();
    let probe = || {
        let folder = tempfile::tempdir().unwrap();
        let mount = ["mount", "-t", "tmpfs", "none", folder.path().to_str().unwrap()];
        let ways: [&[&str]; 2] = [&["--mount"], &["--user", "--map-root-user", "--mount"]];
        ways.into_iter().find(|way| run("unshare", &[way, &IN_PIDS[..], &mount].concat()))
    };
    let flags = *FLAGS.get_or_init(probe);
    if flags.is_none() {
        skip_unless_ci("this machine gives no mount namespace");
    }
    flags
}

/// Everything that was started inside ends with the command.
const IN_PIDS: [&str; 4] = ["--pid", "--fork", "--kill-child", "--mount-proc"];

/// How a shell starts a program that sees no process but its own children. `None`: this machine gives no namespace.
pub fn unshared() -> Option<String> {
    flags().map(|flags| format!("unshare {} {}", flags.join(" "), IN_PIDS.join(" ")))
}

/// Plays the test of this name in a mount namespace of its own.
pub fn own_mounts(test: &str) -> Place {
    if let Some(entered) = std::env::var_os(INSIDE) {
        std::fs::write(entered, "").unwrap();
        // The rooms lie in memory: how fast a real disk syncs is not what is tried here.
        assert!(run("mount", &["-t", "tmpfs", "tmpfs", env!("CARGO_TARGET_TMPDIR")]));
        return Place::Inside;
    }
    let Some(flags) = flags() else { return Place::Skipped };
    if let Err(failure) = play_again(flags, test) {
        panic!("{test} {failure}");
    }
    Place::Played
}

/// Runs this program again for one test. A name that no test has also ends as success: the test itself must say that it
/// was entered.
fn play_again(flags: &[&str], test: &str) -> Result<(), &'static str> {
    let folder = tempfile::tempdir().unwrap();
    let entered = folder.path().join("entered");
    let itself = std::env::current_exe().unwrap();
    let inside = format!("{INSIDE}={}", entered.display());
    let again = ["--", "env", &inside, itself.to_str().unwrap(), "--exact", test, "--nocapture"];
    if !run("unshare", &[flags, &again[..]].concat()) {
        return Err("failed in its namespace");
    }
    if !entered.exists() { Err("is the name of no test that enters a namespace") } else { Ok(()) }
}

#[test]
fn planted_a_name_that_no_test_has_is_found() {
    let Some(flags) = flags() else { return };
    assert_eq!(play_again(flags, "full_disk::no_such_test"), Err("is the name of no test that enters a namespace"));
}

/// Runs a shell script in the repository of a room, in a mount namespace of its own, where its user is root. `None`: this
/// machine gives no namespace.
#[expect(clippy::disallowed_methods, reason = "the test starts the program that it tests, where its disk is full")]
pub fn shell_with_mounts(room: &Room, script: &str) -> Option<Output> {
    let mut command = Command::new("unshare");
    command.args(flags()?).args(IN_PIDS).args(["sh", "-c", script]).current_dir(room.repo()).env_clear();
    let ours = room.command(&[]);
    command.envs(ours.get_envs().filter_map(|(name, value)| Some((name, value?))));
    Some(command.stdin(Stdio::null()).output().unwrap())
}

/// Runs a program of the system to its end; whether it succeeded.
#[expect(clippy::disallowed_methods, reason = "the test makes namespaces and disks as an administrator would")]
fn run(program: &str, args: &[&str]) -> bool {
    Command::new(program).args(args).stdin(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// A small disk under a folder of a room.
pub struct Disk<'r> {
    room: &'r Room,
    folder: PathBuf,
}

impl<'r> Disk<'r> {
    /// Puts an empty disk of so many MiB over the folder.
    pub fn over(room: &'r Room, folder: &Path, mebibytes: u32) -> Self {
        let size = format!("size={mebibytes}m");
        assert!(run("mount", &["-t", "tmpfs", "-o", &size, "tmpfs", folder.to_str().unwrap()]));
        Self { room, folder: folder.to_owned() }
    }

    /// Writes until nothing fits any more.
    pub fn fill(&self) {
        use std::io::Write;
        let mut file = std::fs::File::create(self.filling()).unwrap();
        let mut block = 1 << 20;
        while block > 0 {
            match file.write(&vec![0; block]) {
                Ok(written) if written > 0 => {}
                _ => block /= 2,
            }
        }
    }

    /// Makes room again.
    pub fn free(&self) {
        std::fs::remove_file(self.filling()).unwrap();
    }

    fn filling(&self) -> PathBuf {
        let git = self.folder.join(".git");
        if git.is_dir() { git.join("filling") } else { self.folder.join("filling") }
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        for process in all(self.room) {
            let _gone = process.kill();
        }
        run("umount", &["--lazy", self.folder.to_str().unwrap()]);
    }
}
