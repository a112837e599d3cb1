//! Tests that need a disk of their own: they run again in a mount namespace, as root or as an ordinary user.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::processes_of::all;
use crate::room::Room;

/// Says inside that this process is in a namespace of its own.
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

/// Plays the test of this name in a mount namespace of its own. A skip fails where `CI` is set.
pub fn own_mounts(test: &str) -> Place {
    if std::env::var_os(INSIDE).is_some() {
        // The rooms lie in memory: how fast a real disk syncs is not what is tried here.
        assert!(run("mount", &["-t", "tmpfs", "tmpfs", env!("CARGO_TARGET_TMPDIR")]));
        return Place::Inside;
    }
    let kinds: [&[&str]; 2] = [&["--mount"], &["--user", "--map-root-user", "--mount"]];
    let Some(kind) = kinds.iter().find(|kind| run("unshare", &[kind, &["true"][..]].concat())) else {
        assert!(std::env::var_os("CI").is_none(), "in CI there must be a mount namespace");
        return Place::Skipped;
    };
    let itself = std::env::current_exe().unwrap();
    let inside = format!("{INSIDE}=1");
    let again = ["--", "env", &inside, itself.to_str().unwrap(), "--exact", test, "--nocapture"];
    assert!(run("unshare", &[kind, &again[..]].concat()), "{test} failed in its namespace");
    Place::Played
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
