//! A person at a terminal: the program on a pseudo-terminal, answered question by question.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::room::Room;

/// The end of input, as Ctrl-D.
pub const END: &str = "\x04";

/// Runs the program on a terminal. For each pair the first text is awaited and the second typed, with Enter but for [`END`].
/// Gives what the terminal showed, without carriage returns, and the exit code.
#[track_caller]
pub fn on_terminal(room: &Room, args: &[&str], answers: &[(&str, &str)]) -> (String, i32) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let slave = OpenOptions::new().read(true).write(true).open(name.to_str().unwrap()).unwrap();
    let size = rustix::termios::Winsize { ws_row: 50, ws_col: 120, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(&slave, size).unwrap();
    let ends = || slave.try_clone().unwrap();
    let mut child = room.command(args).stdin(ends()).stdout(ends()).stderr(ends()).spawn().unwrap();
    drop(slave);
    let mut master = std::fs::File::from(master);
    let (mut shown, mut seen, mut answers) = (Vec::new(), 0, answers.iter());
    let mut next = answers.next();
    loop {
        let limit = Timespec { tv_sec: 120, tv_nsec: 0 };
        let ready = poll(&mut [PollFd::new(&master.as_fd(), PollFlags::IN)], Some(&limit)).unwrap();
        let so_far = String::from_utf8_lossy(&shown).replace('\r', "");
        if ready == 0 {
            let _ended_already = child.kill();
            panic!("nothing more came, {next:?} is open: {so_far}");
        }
        let mut piece = [0; 4096];
        // When nobody holds the other end any more, reading fails: that is the end.
        let Ok(bytes @ 1..) = master.read(&mut piece) else { break };
        shown.extend_from_slice(&piece[..bytes]);
        while let Some((awaited, answer)) = next {
            let text = String::from_utf8_lossy(&shown).into_owned();
            let Some(at) = text[seen..].find(awaited) else { break };
            seen += at + awaited.len();
            let enter = if *answer == END { "" } else { "\n" };
            master.write_all(format!("{answer}{enter}").as_bytes()).unwrap();
            next = answers.next();
        }
    }
    let shown = String::from_utf8_lossy(&shown).replace('\r', "");
    assert!(next.is_none(), "{next:?} never came: {shown}");
    (shown, child.wait().unwrap().code().unwrap_or(-1))
}
