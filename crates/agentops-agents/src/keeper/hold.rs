//! The keeper's loop: one `poll` over the supervisor, the program's pipes and the signals.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Signal, WaitOptions, getpid, set_child_subreaper, wait};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};

use super::lines::Lines;
use super::start::{nonblocking, signals, start};
use super::supervisor::{CHUNK, Supervisor, timespec};
use super::wire::{EndReason, Ended, FromKeeper, KeeperSpec, ToKeeper};
use crate::driver::Exit;
use crate::process::{ProcessId, descendants};

/// While more than this waits for the supervisor, the program's output is not read: it is slowed, not buffered.
const WAITING_BYTES_MAX: usize = 1 << 20;
/// What may wait for a program that does not read its stdin.
const INPUT_BYTES_MAX: usize = 16 << 20;
/// What is relayed of stderr in all.
const ERR_BYTES_MAX: u64 = 256 << 10;
/// How long a tree may take to be gone after the first SIGKILL.
const KILL_TIME: Duration = Duration::from_millis(1800);
/// How often a dying tree is looked at besides each time one of it ends.
const KILL_PASS: Duration = Duration::from_millis(20);

/// Where the tree is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Running,
    /// SIGINT was sent; SIGTERM follows at `term`, SIGKILL at `kill`.
    Interrupted {
        term: Instant,
        kill: Instant,
    },
    /// SIGTERM was sent; SIGKILL follows.
    Terminated {
        kill: Instant,
    },
    /// SIGKILL is sent until nobody is left, at most until then.
    Killing {
        until: Instant,
    },
}

struct Hold {
    spec: KeeperSpec,
    me: i32,
    main: ProcessId,
    stage: Stage,
    reason: Option<EndReason>,
    exit: Option<Exit>,
    tree_is_empty: bool,
    leftovers: u32,
    started: Instant,
    last_byte: Instant,
    stdin: Option<ChildStdin>,
    to_program: Vec<u8>,
    close_stdin: bool,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    out: Lines,
    err: Lines,
    full_told: bool,
    supervisor: Supervisor,
}

/// Runs the keeper to its end.
pub(super) fn hold() -> io::Result<()> {
    rustix::thread::set_name(super::PROCESS_NAME)?;
    // The run's environment is about to come over stdin: what runs here must not read it from our memory.
    crate::process::hide()?;
    // A session of our own: a Ctrl-C at the supervisor's terminal is not for us, and a program that wants to ask at the
    // terminal (a password, say) finds none and fails, instead of stopping for ever in the background.
    rustix::process::setsid()?;
    // An agent can stop us by a signal, and then we would not see our supervisor's end. The kernel continues us then.
    rustix::process::set_parent_process_death_signal(Some(Signal::CONT))?;
    // Only descriptors 0 to 2 were meant for us; whatever else was inherited must not reach the program.
    close_fds::set_fds_cloexec(3, &[]);
    set_child_subreaper(Some(getpid()))?;
    let children = signals(&[SIGCHLD])?;
    let ended = signals(&[SIGTERM, SIGINT, SIGHUP])?;

    let mut supervisor = Supervisor::new();
    let Some(first) = supervisor.first_line() else { return Ok(()) };
    // Its supervisor died after it had written this: the next one may have looked for what runs already.
    if Supervisor::is_gone() {
        return Ok(());
    }
    nonblocking(rustix::stdio::stdin())?;
    nonblocking(rustix::stdio::stdout())?;
    let started = serde_json::from_slice::<KeeperSpec>(&first).map_err(io::Error::from).and_then(|spec| {
        let locks: Vec<File> = spec.locks.iter().filter_map(share_lock).collect();
        let child = start(&spec)?;
        Ok((spec, child, locks))
    });
    let (spec, child, _locks) = match started {
        Ok(started) => started,
        Err(error) => {
            supervisor.tell(&FromKeeper::NotStarted { message: error.to_string() });
            supervisor.last_word();
            return Ok(());
        }
    };
    let mut hold = Hold::new(spec, child, supervisor)?;
    hold.run(&children, &ended)
}

/// Takes a lock that the supervisor holds shared. Without it only a supervisor's death is noticed less exactly.
fn share_lock(path: &OsString) -> Option<File> {
    let file = File::options().read(true).write(true).open(path).ok()?;
    flock(&file, FlockOperation::NonBlockingLockShared).ok().map(|()| file)
}

/// A descriptor to wait for, if it is wanted now.
fn wish(wanted: bool, fd: Option<BorrowedFd<'_>>, flags: PollFlags) -> Option<(BorrowedFd<'_>, PollFlags)> {
    fd.filter(|_| wanted).map(|fd| (fd, flags))
}

/// What a round of waiting found ready.
#[derive(Default)]
struct Ready {
    supervisor: bool,
    children: bool,
    ended: bool,
    out: bool,
    err: bool,
}

impl Hold {
    fn new(spec: KeeperSpec, mut child: Child, mut supervisor: Supervisor) -> io::Result<Self> {
        let pid = i32::try_from(child.id()).map_err(|_| io::Error::other("pid out of range"))?;
        // It cannot have been reaped yet, that is done below, so the entry is there even if it has ended.
        let main = ProcessId::of(pid).ok_or_else(|| io::Error::other("no entry in /proc"))?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        for fd in [stdin.as_ref().map(AsFd::as_fd), stdout.as_ref().map(AsFd::as_fd), stderr.as_ref().map(AsFd::as_fd)] {
            fd.map_or(Ok(()), nonblocking)?;
        }
        supervisor.tell(&FromKeeper::Started { process: main });
        let now = Instant::now();
        Ok(Self {
            out: Lines::new(spec.line_bytes_max, spec.output_bytes_max),
            err: Lines::new(spec.line_bytes_max, spec.output_bytes_max.min(ERR_BYTES_MAX)),
            spec,
            me: getpid().as_raw_nonzero().get(),
            main,
            stage: Stage::Running,
            reason: None,
            exit: None,
            tree_is_empty: false,
            leftovers: 0,
            started: now,
            last_byte: now,
            stdin,
            to_program: Vec::new(),
            close_stdin: false,
            stdout,
            stderr,
            full_told: false,
            supervisor,
        })
    }

    fn run(&mut self, children: &UnixStream, ended: &UnixStream) -> io::Result<()> {
        let mut chunk = vec![0; CHUNK];
        loop {
            self.take_orders();
            self.reap();
            if self.tree_is_empty {
                break;
            }
            self.climb(Instant::now());
            if matches!(self.stage, Stage::Killing { until } if Instant::now() >= until) {
                break;
            }
            let ready = self.wait(children, ended)?;
            for (is_ready, mut stream) in [(ready.children, children), (ready.ended, ended)] {
                // The bytes only say "look"; a failed read finds the same as an empty one.
                while is_ready && matches!(stream.read(&mut chunk), Ok(1..)) {}
            }
            if ready.ended && self.reason.is_none() {
                self.begin_end(EndReason::Stopped, false);
            }
            if ready.supervisor {
                self.supervisor.read(&mut chunk);
            }
            if ready.out {
                self.read_out(&mut chunk);
            }
            if ready.err {
                self.read_err(&mut chunk);
            }
            self.feed_program();
            self.supervisor.write();
        }
        self.finish(&mut chunk);
        Ok(())
    }

    /// Waits for the next thing to do.
    fn wait(&self, children: &UnixStream, ended: &UnixStream) -> io::Result<Ready> {
        let (stdin, stdout) = (rustix::stdio::stdin(), rustix::stdio::stdout());
        let mut fds = vec![PollFd::new(children, PollFlags::IN), PollFd::new(ended, PollFlags::IN)];
        let calm = !self.is_slowed();
        let wanted = [
            wish(self.supervisor.reads, Some(stdin), PollFlags::IN),
            wish(self.supervisor.listens && !self.supervisor.outgoing.is_empty(), Some(stdout), PollFlags::OUT),
            wish(!self.to_program.is_empty(), self.stdin.as_ref().map(AsFd::as_fd), PollFlags::OUT),
            wish(calm, self.stdout.as_ref().map(AsFd::as_fd), PollFlags::IN),
            wish(calm, self.stderr.as_ref().map(AsFd::as_fd), PollFlags::IN),
        ];
        let mut places = [None; 5];
        for (place, wish) in places.iter_mut().zip(&wanted) {
            if let Some((fd, flags)) = wish {
                *place = Some(fds.len());
                fds.push(PollFd::from_borrowed_fd(*fd, *flags));
            }
        }
        let timeout = self.next_deadline().map(|at| timespec(at.saturating_duration_since(Instant::now())));
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let is_ready = |place: Option<usize>| place.is_some_and(|at| !fds[at].revents().is_empty());
        Ok(Ready {
            supervisor: is_ready(places[0]),
            children: is_ready(Some(0)),
            ended: is_ready(Some(1)),
            out: is_ready(places[3]),
            err: is_ready(places[4]),
        })
    }

    /// The supervisor does not keep up: the program waits in its own write.
    fn is_slowed(&self) -> bool {
        self.supervisor.outgoing.len() > WAITING_BYTES_MAX
    }

    fn silence_end(&self) -> Option<Instant> {
        // A program that is slowed by us is not silent.
        (self.spec.silence_ms > 0 && !self.is_slowed()).then(|| self.last_byte + Duration::from_millis(self.spec.silence_ms))
    }

    fn time_end(&self) -> Option<Instant> {
        (self.spec.time_limit_ms > 0).then(|| self.started + Duration::from_millis(self.spec.time_limit_ms))
    }

    fn next_deadline(&self) -> Option<Instant> {
        match self.stage {
            Stage::Running => [self.silence_end(), self.time_end()].into_iter().flatten().min(),
            Stage::Interrupted { term, .. } => Some(term),
            Stage::Terminated { kill } => Some(kill),
            Stage::Killing { until } => Some(until.min(Instant::now() + KILL_PASS)),
        }
    }

    /// Goes on to the next rung of the ladder when its time has come.
    fn climb(&mut self, now: Instant) {
        match self.stage {
            Stage::Running if self.silence_end().is_some_and(|end| now >= end) => self.begin_end(EndReason::Silent, false),
            Stage::Running if self.time_end().is_some_and(|end| now >= end) => self.begin_end(EndReason::TimeLimit, false),
            Stage::Interrupted { term, kill } if now >= term => {
                self.signal_all(Signal::TERM);
                self.stage = Stage::Terminated { kill };
            }
            Stage::Terminated { kill } if now >= kill => {
                self.stage = Stage::Killing { until: now + KILL_TIME };
                self.signal_all(Signal::KILL);
            }
            Stage::Killing { .. } => self.signal_all(Signal::KILL),
            _ => {}
        }
    }

    /// Begins the ladder. The first reason stays; only a vanished supervisor makes it faster.
    fn begin_end(&mut self, reason: EndReason, interrupt: bool) {
        self.reason.get_or_insert(reason);
        if reason == EndReason::SupervisorGone {
            if !matches!(self.stage, Stage::Killing { .. }) {
                self.stage = Stage::Killing { until: Instant::now() + KILL_TIME };
                self.signal_all(Signal::KILL);
            }
            return;
        }
        if self.stage != Stage::Running {
            return;
        }
        let (now, grace) = (Instant::now(), Duration::from_millis(self.spec.grace_ms));
        if interrupt && self.exit.is_none() {
            // A pid that is gone is fine here: its end is on the way to us.
            let _ = self.main.signal(Signal::INT);
            self.stage = Stage::Interrupted { term: now + grace / 2, kill: now + grace };
        } else {
            self.signal_all(Signal::TERM);
            self.stage = Stage::Terminated { kill: now + grace };
        }
    }

    fn signal_all(&self, signal: Signal) {
        for process in descendants(self.me) {
            // One that has ended meanwhile, or changed its user, is looked for again in the next pass.
            let _ = process.signal(signal);
        }
    }

    /// Reaps whoever ended. Without any child left the tree is gone: orphans become our children before that.
    fn reap(&mut self) {
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) if pid.as_raw_nonzero().get() == self.main.pid && self.exit.is_none() => {
                    self.exit = status.exit_status().map(Exit::Code).or(status.terminating_signal().map(Exit::Signal));
                    self.main_ended();
                }
                Ok(Some(_)) | Err(rustix::io::Errno::INTR) => {}
                Ok(None) => return,
                Err(_) => {
                    self.tree_is_empty = true;
                    return;
                }
            }
        }
    }

    fn main_ended(&mut self) {
        self.stdin = None;
        self.to_program = Vec::new();
        if self.reason.is_none() {
            let left = descendants(self.me).len();
            self.leftovers = u32::try_from(left).unwrap_or(u32::MAX);
            if left > 0 {
                self.begin_end(EndReason::Exited, false);
            } else {
                self.reason = Some(EndReason::Exited);
            }
        }
    }

    fn take_orders(&mut self) {
        while let Some(line) = self.supervisor.next_line() {
            match serde_json::from_slice(&line) {
                Ok(ToKeeper::Send { line }) if self.stdin.is_some() && !self.close_stdin => {
                    if self.to_program.len() + line.len() > INPUT_BYTES_MAX {
                        self.supervisor.tell(&FromKeeper::InputFull);
                    } else {
                        self.to_program.extend_from_slice(line.as_bytes());
                        self.to_program.push(b'\n');
                    }
                }
                Ok(ToKeeper::CloseStdin) => self.close_stdin = true,
                Ok(ToKeeper::Stop { interrupt }) => self.begin_end(EndReason::Stopped, interrupt),
                // Lines for a program that ended, and words of a newer supervisor: nothing to do.
                Ok(ToKeeper::Send { .. }) | Err(_) => {}
            }
        }
        self.feed_program();
        if !self.supervisor.reads || !self.supervisor.listens {
            self.begin_end(EndReason::SupervisorGone, false);
        }
    }

    fn feed_program(&mut self) {
        while let Some(stdin) = self.stdin.as_ref().filter(|_| !self.to_program.is_empty()) {
            match rustix::io::write(stdin, &self.to_program) {
                Ok(count) => drop(self.to_program.drain(..count)),
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return,
                Err(_) => {
                    self.stdin = None;
                    self.to_program = Vec::new();
                }
            }
        }
        if self.close_stdin && self.to_program.is_empty() {
            self.stdin = None;
        }
    }

    /// Reads one chunk of stdout; `false` when there is nothing now.
    fn read_out(&mut self, chunk: &mut [u8]) -> bool {
        let Some(pipe) = self.stdout.as_mut() else { return false };
        let count = match pipe.read(chunk) {
            Ok(0) => {
                self.stdout = None;
                return false;
            }
            Ok(count) => count,
            Err(_) => return false,
        };
        self.last_byte = Instant::now();
        let supervisor = &mut self.supervisor;
        self.out.feed(&chunk[..count], &mut |line| supervisor.tell(&FromKeeper::Out { line }));
        if self.out.is_full() && !std::mem::replace(&mut self.full_told, true) {
            self.supervisor.tell(&FromKeeper::OutputFull);
        }
        true
    }

    fn read_err(&mut self, chunk: &mut [u8]) -> bool {
        let Some(pipe) = self.stderr.as_mut() else { return false };
        let count = match pipe.read(chunk) {
            Ok(0) => {
                self.stderr = None;
                return false;
            }
            Ok(count) => count,
            Err(_) => return false,
        };
        self.last_byte = Instant::now();
        let supervisor = &mut self.supervisor;
        self.err.feed(&chunk[..count], &mut |line| supervisor.tell(&FromKeeper::Err { line }));
        true
    }

    /// The tree is gone (or cannot be ended): relay what still lies in the pipes, and report.
    fn finish(&mut self, chunk: &mut [u8]) {
        // A pipe holds at most 1 MiB; more than that comes from a writer outside the tree, who is not waited for.
        for _ in 0..(1 << 20) / CHUNK + 1 {
            let (out, err) = (self.read_out(chunk), self.read_err(chunk));
            if !out && !err {
                break;
            }
        }
        let supervisor = &mut self.supervisor;
        self.out.finish(&mut |line| supervisor.tell(&FromKeeper::Out { line }));
        self.err.finish(&mut |line| supervisor.tell(&FromKeeper::Err { line }));
        let unkillable = if self.tree_is_empty { 0 } else { descendants(self.me).len() };
        let ended = Ended {
            exit: self.exit,
            reason: self.reason.unwrap_or(EndReason::Exited),
            out_bytes: self.out.bytes,
            err_bytes: self.err.bytes,
            cut_bytes: self.out.cut + self.err.cut,
            leftovers: self.leftovers,
            unkillable: u32::try_from(unkillable).unwrap_or(u32::MAX),
            tail: self.out.unrelayed_tail(),
            err_tail: self.err.unrelayed_tail(),
        };
        self.supervisor.tell(&FromKeeper::Ended(ended));
        self.supervisor.last_word();
    }
}
