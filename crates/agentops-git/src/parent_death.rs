//! No git outlives the process that started it, unless it is to: one that hashes a large file would go on for hours.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Signal, getppid, set_parent_process_death_signal};

/// The kernel kills this program when the thread that starts it ends. The caller waits in that thread, so that is when this
/// process dies. Every step in which git may be killed is one that can be repeated, as after a power cut.
#[expect(unsafe_code, reason = "the standard library has no safe way to ask for a signal at the parent's death")]
pub(crate) fn end_with_us(command: &mut Command) {
    let us = std::process::id().cast_signed();
    let ask = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // We may have died before the kernel knew that.
        match getppid() {
            Some(parent) if parent.as_raw_nonzero().get() == us => Ok(()),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    };
    // SAFETY: between fork and exec this makes two system calls, and neither allocates nor locks.
    unsafe { command.pre_exec(ask) };
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{BufRead, BufReader, Write};
    use std::path::Path;
    use std::process::{Child, Stdio};

    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::process::{Pid, PidfdFlags, pidfd_open};

    use super::*;
    use crate::run::Git;

    /// Says in the process that plays the supervisor what to call, and where the pipes are.
    const SUPERVISOR: &str = "AGENTOPS_TEST_SUPERVISOR";
    /// Tells its process number, waits to be told, and tells that it is done.
    const SCRIPT: &str = "echo $$ >\"$0/tell\"; read line <\"$0/go\"; echo done >\"$0/tell\"";

    /// This test in a process of its own, which waits for the script. `None` in that process, when the script has ended.
    #[expect(clippy::disallowed_methods, reason = "the test kills a process that waits for a program")]
    fn supervisor(kind: &str, folder: &Path) -> Option<(Child, [File; 2])> {
        if let Some(given) = std::env::var_os(SUPERVISOR) {
            let given = given.into_string().unwrap();
            let (kind, folder) = given.split_once(' ').unwrap();
            let call = Git::of_program("/bin/sh").call(["-c", SCRIPT, folder]).seconds(60);
            let call = if kind == "to-the-end" { call.outliving_us() } else { call };
            call.ok().unwrap();
            return None;
        }
        let pipes = pipes(folder);
        let test = std::thread::current().name().unwrap().to_owned();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([&test, "--exact"]).env(SUPERVISOR, format!("{kind} {}", folder.display())).stdout(Stdio::null());
        Some((command.spawn().unwrap(), pipes))
    }

    fn pipes(folder: &Path) -> [File; 2] {
        // Opened for both, so that nobody waits for another end.
        ["tell", "go"].map(|name| {
            let path = folder.join(name);
            rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
            File::options().read(true).write(true).open(path).unwrap()
        })
    }

    fn line(tell: &mut impl BufRead) -> String {
        let mut line = String::new();
        tell.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    #[test]
    fn p3_git_ends_with_the_process_that_started_it() {
        let room = tempfile::tempdir().unwrap();
        let Some((mut supervisor, [tell, mut go])) = supervisor("as-usual", room.path()) else { return };
        let git = Pid::from_raw(line(&mut BufReader::new(tell)).parse().unwrap()).unwrap();
        let ended = pidfd_open(git, PidfdFlags::empty()).unwrap();
        supervisor.kill().unwrap();
        supervisor.wait().unwrap();
        let limit = Timespec { tv_sec: 20, tv_nsec: 0 };
        let events = poll(&mut [PollFd::new(&ended, PollFlags::IN)], Some(&limit)).unwrap();
        // One that is still there goes on and ends.
        go.write_all(b"go\n").unwrap();
        assert_eq!(events, 1, "git outlived the process that started it");
    }

    #[test]
    fn p6_a_git_that_writes_refs_ends_by_itself() {
        let room = tempfile::tempdir().unwrap();
        let Some((mut supervisor, [tell, mut go])) = supervisor("to-the-end", room.path()) else { return };
        let mut tell = BufReader::new(tell);
        line(&mut tell);
        supervisor.kill().unwrap();
        supervisor.wait().unwrap();
        go.write_all(b"go\n").unwrap();
        assert_eq!(line(&mut tell), "done");
    }
}
