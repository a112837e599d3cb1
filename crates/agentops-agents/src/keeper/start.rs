//! What a keeper sets up: its signals, its pipes, and the program.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use super::wire::{KeeperSpec, MARK_VARIABLE, StdinKind};

/// A stream that becomes readable when one of these signals arrives.
pub(super) fn signals(which: &[i32]) -> io::Result<UnixStream> {
    let (read, write) = UnixStream::pair()?;
    read.set_nonblocking(true)?;
    for signal in which {
        signal_hook::low_level::pipe::register(*signal, write.try_clone()?)?;
    }
    Ok(read)
}

/// Reads and writes of this end never wait.
pub(super) fn nonblocking(fd: impl AsFd) -> io::Result<()> {
    let flags = fcntl_getfl(fd.as_fd())?;
    Ok(fcntl_setfl(fd, flags | OFlags::NONBLOCK)?)
}

/// Starts the program of a spec.
#[expect(clippy::disallowed_methods, reason = "this is the one place where agents and gates are started")]
pub(super) fn start(spec: &KeeperSpec) -> io::Result<Child> {
    let mut command = Command::new(&spec.program);
    command.args(&spec.args).env_clear().envs(spec.env.iter().map(|(key, value)| (key, value)));
    command.env(MARK_VARIABLE, &spec.mark).current_dir(&spec.cwd).process_group(0);
    command.stdin(if spec.stdin == StdinKind::Open { Stdio::piped() } else { Stdio::null() });
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
}
