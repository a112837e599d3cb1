//! Moving bytes to and from a child with one thread: no pipe waits for another, and none waits for ever.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::process::Child;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Reads and writes on our end return at once.
pub(crate) fn unblock(pipe: &Option<impl AsFd>) -> std::io::Result<()> {
    if let Some(pipe) = pipe {
        let flags = rustix::fs::fcntl_getfl(pipe)?;
        rustix::fs::fcntl_setfl(pipe, flags | rustix::fs::OFlags::NONBLOCK)?;
    }
    Ok(())
}

/// True while there is more to write.
pub(crate) fn feed(pipe: &mut impl Write, bytes: &[u8], written: &mut usize) -> std::io::Result<bool> {
    while *written < bytes.len() {
        match pipe.write(&bytes[*written..]) {
            Ok(n) => *written += n,
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(true),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) if e.kind() == ErrorKind::BrokenPipe => return Ok(false),
            Err(e) => return Err(e),
        }
    }
    Ok(false)
}

/// True while there may be more to read. Stops at about `most` bytes; the rest waits for the next call.
pub(crate) fn drain(pipe: &mut impl Read, into: &mut Vec<u8>, most: usize) -> std::io::Result<bool> {
    let mut buf = [0; 32 << 10];
    while into.len() < most {
        match pipe.read(&mut buf) {
            Ok(0) => return Ok(false),
            Ok(n) => into.extend_from_slice(&buf[..n]),
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(true),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(true)
}

/// Waits a moment for any pipe; false when none moved.
pub(crate) fn wait_ready(
    stdin: &Option<impl AsFd>,
    stdout: &Option<impl AsFd>,
    stderr: &Option<impl AsFd>,
    left: Duration,
) -> std::io::Result<bool> {
    let mut fds = Vec::with_capacity(3);
    fds.extend(stdin.as_ref().map(|f| PollFd::new(f, PollFlags::OUT)));
    fds.extend(stdout.as_ref().map(|f| PollFd::new(f, PollFlags::IN)));
    fds.extend(stderr.as_ref().map(|f| PollFd::new(f, PollFlags::IN)));
    let wait = left.min(Duration::from_millis(50));
    let wait = Timespec { tv_sec: 0, tv_nsec: i64::from(wait.subsec_nanos()) };
    match poll(&mut fds, Some(&wait)) {
        Ok(n) => Ok(n > 0),
        Err(rustix::io::Errno::INTR) => Ok(true),
        Err(e) => Err(e.into()),
    }
}

pub(crate) fn stop(child: &mut Child, group: bool) {
    if group && let Some(pid) = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw) {
        // Not yet waited for, so the number still belongs to this child.
        let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
    }
    let _ = child.kill();
    let _ = child.wait();
}
