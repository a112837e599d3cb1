//! A client of the supervisor: connects, starts one where none is, asks.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use agentops_agents::environment::Environment;
use agentops_agents::process::ProcessId;
use agentops_core::id::RunId;
use agentops_git::FreeSpace;

use crate::environment::{EnvironmentHashes, EnvironmentView};
use crate::file_size::FileSizeLimit;
use crate::paths::Paths;
use crate::space;
use crate::supervisor::Lock;
use crate::wire::{LockWait, RefusalKind, Reply, Request};

/// Why a supervisor could not be asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// None runs, and none was to be started.
    #[error("no supervisor runs for this repository")]
    None,
    /// One holds the lock and does not answer.
    #[error("the supervisor (process {pid}) {state}: no answer to `{request}` within {seconds} s")]
    Silent {
        /// Its process.
        pid: String,
        /// What it seems to do: `is stopped`, or `does not answer`.
        state: &'static str,
        /// What it was asked.
        request: &'static str,
        /// How long it was waited for.
        seconds: u64,
    },
    /// It could not be started.
    #[error("the supervisor could not be started: {reason}")]
    NotStarted {
        /// What it said.
        reason: String,
    },
    /// The files that it writes would be too large for this shell's limit.
    #[error("the supervisor could not be started: {0}")]
    FileSize(FileSizeLimit),
    /// It ended before it answered.
    #[error("the supervisor ended: {reason}")]
    Ended {
        /// What is in its way.
        reason: String,
    },
    /// The connection broke.
    #[error("the connection to the supervisor broke")]
    Broken(#[from] std::io::Error),
    /// It does not serve this connection.
    #[error("the supervisor refused the connection: {reason}")]
    Busy {
        /// Why.
        reason: String,
    },
    /// It answered something that this client does not know.
    #[error("the supervisor answered something that this program does not know: {0}")]
    Unknown(String),
}

/// How long a supervisor may take to say that it is there. A thread of its own does that, whatever else it does.
const PING_TIME: Duration = Duration::from_secs(5);
/// How long it may take to make an answer durable.
const ANSWER_TIME: Duration = Duration::from_secs(60);
/// How long it may take to plan a run: it asks agent programs for their versions.
const START_TIME: Duration = Duration::from_secs(300);
/// Followers hear of it every five seconds.
const FOLLOW_TIME: Duration = Duration::from_secs(30);

impl Request {
    /// How long an answer may take.
    fn time_max(&self) -> Duration {
        match self {
            Request::Ping | Request::CompareEnvironment { .. } => PING_TIME,
            Request::Start { .. } => START_TIME,
            Request::Follow => FOLLOW_TIME,
            _ => ANSWER_TIME,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Request::Ping => "ping",
            Request::Start { .. } => "start",
            Request::Approve { .. } => "approve",
            Request::Reject { .. } => "reject",
            Request::Lend { .. } => "lend",
            Request::Resume { .. } => "resume",
            Request::Cancel { .. } => "cancel",
            Request::AgreeToPrograms { .. } => "agree-to-programs",
            Request::BeginMergeTest { .. } => "begin-merge-test",
            Request::EndMergeTest { .. } => "end-merge-test",
            Request::Close { .. } => "close",
            Request::CompareEnvironment { .. } => "compare-environment",
            Request::MayClose => "may-close",
            Request::Follow => "follow",
        }
    }
}

/// Whether a supervisor has been stopped by a signal: it answers nobody until it is continued.
#[must_use]
pub fn is_stopped(pid: &str) -> bool {
    pid.parse().ok().and_then(ProcessId::of).is_some_and(ProcessId::is_stopped)
}

/// The error for a supervisor that holds the lock and does not answer.
fn silent(paths: &Paths, request: &Request) -> ClientError {
    let Some(pid) = Lock::holder(&paths.lock()) else {
        return ClientError::Broken(std::io::ErrorKind::UnexpectedEof.into());
    };
    let state = if is_stopped(&pid) { "is stopped" } else { "does not answer" };
    ClientError::Silent { pid, state, request: request.name(), seconds: request.time_max().as_secs() }
}

/// Nothing came in time.
fn timed_out(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
}

/// Connects without waiting: the queue of a supervisor that is stopped may be full.
fn open(path: &Path) -> std::io::Result<UnixStream> {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    connect(&socket, &SocketAddrUnix::new(path)?)?;
    let stream = UnixStream::from(socket);
    stream.set_nonblocking(false)?;
    Ok(stream)
}

/// What a look for the supervisor found.
enum Found {
    Here(UnixStream),
    Nobody,
    Silent,
    Busy(String),
}

/// Looks for a supervisor that answers. One that was just killed may still have accepted us in the kernel's queue.
fn find(paths: &Paths) -> Found {
    let connect = || short(&paths.socket(), open);
    let answer = connect().map_err(ClientError::from).and_then(|stream| exchange(stream, &Request::Ping));
    match answer {
        Ok(Reply::Here { .. }) => connect().map_or(Found::Nobody, Found::Here),
        Ok(Reply::Refused { message, .. }) => Found::Busy(message),
        Err(ClientError::Broken(error)) if timed_out(&error) => Found::Silent,
        _ => Found::Nobody,
    }
}

/// How a supervisor is started.
pub struct Starter {
    /// This program.
    pub exe: PathBuf,
    /// Arguments that make it the repository's supervisor.
    pub args: Vec<std::ffi::OsString>,
    /// The few variables that it needs itself; those of runs reach it over the socket.
    pub env: Environment,
}

/// A Unix socket's path may have 107 bytes, and a state folder may lie deeper: then it is reached through a descriptor of its
/// folder.
pub(crate) fn short<T>(path: &Path, use_it: impl FnOnce(&Path) -> std::io::Result<T>) -> std::io::Result<T> {
    use std::os::fd::AsRawFd;
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return use_it(path) };
    if path.as_os_str().len() < 100 {
        return use_it(path);
    }
    let folder = std::fs::File::open(folder)?;
    use_it(&Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name))
}

/// Connects to the supervisor of this state folder, starting one if there is none.
///
/// # Errors
/// There is none and it cannot be started, or it does not answer.
pub fn connect(paths: &Paths, starter: Option<&Starter>) -> Result<UnixStream, ClientError> {
    match find(paths) {
        Found::Here(stream) => return Ok(stream),
        Found::Busy(reason) => return Err(ClientError::Busy { reason }),
        Found::Silent if Lock::holder(&paths.lock()).is_some() => return Err(silent(paths, &Request::Ping)),
        Found::Silent | Found::Nobody => {}
    }
    let Some(starter) = starter else { return Err(ClientError::None) };
    let deadline = Instant::now() + Duration::from_secs(15);
    let mut child: Option<std::process::Child> = None;
    loop {
        if child.is_none() && Lock::holder(&paths.lock()).is_none() {
            if let Some(limit) = FileSizeLimit::too_small() {
                return Err(ClientError::FileSize(limit));
            }
            child = Some(start(paths, starter)?);
        }
        if let Found::Here(stream) = find(paths) {
            // The supervisor outlives us; it is not ours to wait for.
            return Ok(stream);
        }
        if let Some(Ok(Some(status))) = child.as_mut().map(std::process::Child::try_wait) {
            // Another client's supervisor may have been faster; only with nobody there is it a failure.
            if Lock::holder(&paths.lock()).is_none() && !matches!(find(paths), Found::Here(_)) {
                if let Some(limit) = FileSizeLimit::reached(status.signal()) {
                    return Err(ClientError::FileSize(limit));
                }
                let reason = hindrance(paths).or_else(|| last_words(&paths.log()));
                let reason = reason.unwrap_or_else(|| format!("it ended with {status}"));
                return Err(ClientError::NotStarted { reason });
            }
        }
        if Instant::now() > deadline {
            return Err(match Lock::holder(&paths.lock()) {
                Some(_) => silent(paths, &Request::Ping),
                None => ClientError::NotStarted {
                    reason: last_words(&paths.log()).unwrap_or_else(|| "it did not come up".into()),
                },
            });
        }
        // The socket's appearance cannot be awaited portably; a start takes some 20 ms.
        std::thread::sleep(Duration::from_millis(4));
    }
}

/// Settings of the C library's allocator for a supervisor: it runs each action on a thread of its own and lives long. By
/// default the library keeps freed memory in up to eight arenas a CPU and gives little of it back.
pub const ALLOCATOR: [(&str, &str); 3] =
    [("MALLOC_ARENA_MAX", "2"), ("MALLOC_TRIM_THRESHOLD_", "131072"), ("MALLOC_MMAP_THRESHOLD_", "131072")];

#[expect(clippy::disallowed_methods, reason = "the supervisor is this program itself")]
fn start(paths: &Paths, starter: &Starter) -> Result<std::process::Child, ClientError> {
    let failed = |e: std::io::Error| ClientError::NotStarted { reason: format!("{}: {e}", paths.root().display()) };
    paths.make().map_err(failed)?;
    let log = std::fs::File::create(paths.log()).map_err(failed)?;
    std::process::Command::new(&starter.exe)
        .args(&starter.args)
        .env_clear()
        .envs(starter.env.iter())
        .envs(ALLOCATOR)
        .current_dir("/")
        // Its own process group: a Ctrl-C in the terminal is for the client.
        .process_group(0)
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(log)
        .spawn()
        .map_err(failed)
}

/// Why no supervisor can run here: the disk of the state folder is full, or was when the last one ended, or the folder cannot
/// be written. Looks, and writes nothing. `None`: nothing is known to be in the way.
#[must_use]
pub fn hindrance(paths: &Paths) -> Option<String> {
    let folder = paths.root();
    if let Some(words) = space::full_among(&[("the state folder", folder)]) {
        return Some(format!("{words}: free some space"));
    }
    // Before the first run it is made in the nearest folder that exists.
    let existing = folder.ancestors().find(|path| path.symlink_metadata().is_ok()).unwrap_or(folder);
    if !existing.is_dir() || rustix::fs::access(existing, rustix::fs::Access::WRITE_OK).is_err() {
        return Some(format!("the state folder {} cannot be written: mend its permissions", folder.display()));
    }
    let words = last_words(&paths.log()).filter(|words| space::says_full(words))?;
    let now = FreeSpace::of(folder).map_or_else(String::new, |free| format!("; {} MiB are free now", free.bytes >> 20));
    Some(format!("the disk of the state folder {} was full when the last supervisor ended ({words}){now}", folder.display()))
}

fn last_words(log: &Path) -> Option<String> {
    let text = std::fs::read_to_string(log).ok()?;
    // Its error as such, else whatever it said last.
    let words = |line: &&str| !line.trim().is_empty() && !line.starts_with("hint: ");
    let error = text.lines().rev().find_map(|line| line.strip_prefix("error: "));
    error.or_else(|| text.lines().rev().find(words)).map(|line| agentops_safe::inert_line(line, 500))
}

/// Which runs are worked on now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attendance {
    /// None: no supervisor runs.
    Nobody,
    /// A supervisor runs and did not answer in time.
    Unknown,
    /// Those that the supervisor has an environment for.
    Runs(Vec<RunId>),
}

impl Attendance {
    /// Asks the supervisor of this state folder, without starting one.
    #[must_use]
    pub fn of(paths: &Paths) -> Self {
        let Some(pid) = Lock::holder(&paths.lock()) else { return Self::Nobody };
        if is_stopped(&pid) {
            return Self::Unknown;
        }
        let stream = short(&paths.socket(), open).map_err(ClientError::from);
        match stream.and_then(|stream| exchange(stream, &Request::Ping)) {
            Ok(Reply::Here { runs, .. }) => Self::Runs(runs),
            _ => Self::Unknown,
        }
    }

    /// Whether a supervisor works on this run, as far as is known.
    #[must_use]
    pub fn includes(&self, run: &RunId) -> bool {
        match self {
            Self::Nobody => false,
            Self::Unknown => true,
            Self::Runs(runs) => runs.contains(run),
        }
    }
}

/// The actions that wait for a lock, without starting a supervisor. None where no supervisor answers.
#[must_use]
pub fn lock_waits(paths: &Paths) -> Vec<LockWait> {
    let Some(pid) = Lock::holder(&paths.lock()) else { return Vec::new() };
    if is_stopped(&pid) {
        return Vec::new();
    }
    let stream = short(&paths.socket(), open).map_err(ClientError::from);
    match stream.and_then(|stream| exchange(stream, &Request::Ping)) {
        Ok(Reply::Here { lock_waits, .. }) => lock_waits,
        _ => Vec::new(),
    }
}

/// Compares the run's environment with these variables of a shell, without starting a supervisor: a new one would have no
/// environment. No value is sent.
#[must_use]
pub fn compare_environment(paths: &Paths, run: &RunId, variables: &Environment) -> EnvironmentView {
    let unknown = |reason: &str| EnvironmentView::Unknown { reason: reason.to_owned() };
    let Some(pid) = Lock::holder(&paths.lock()) else {
        return unknown("no supervisor runs, so nothing has the run's environment");
    };
    if is_stopped(&pid) {
        return unknown("the supervisor is stopped");
    }
    let Ok(shell) = EnvironmentHashes::of(variables) else { return unknown("the system gives no random bytes") };
    let request = Request::CompareEnvironment { run: run.clone(), shell };
    let stream = short(&paths.socket(), open).map_err(ClientError::from);
    match stream.and_then(|stream| exchange(stream, &request)) {
        Ok(Reply::Environment { view }) => view,
        Ok(Reply::Refused { kind: RefusalKind::NotAllowed, .. }) => {
            unknown("only a person may ask, from a terminal of their own")
        }
        Ok(Reply::Refused { message, .. }) => unknown(&message),
        _ => unknown("the supervisor does not answer"),
    }
}

/// Asks the supervisor, starting one if there is none.
///
/// # Errors
/// There is none and it cannot be started, the connection broke, the answer is of another version, or none came in time:
/// then what was asked for may still be done.
pub fn ask(paths: &Paths, starter: Option<&Starter>, request: &Request) -> Result<Reply, ClientError> {
    match exchange(connect(paths, starter)?, request) {
        Err(ClientError::Broken(error)) if timed_out(&error) => Err(silent(paths, request)),
        Err(ClientError::Broken(error)) => {
            Err(hindrance(paths).map_or(ClientError::Broken(error), |reason| ClientError::Ended { reason }))
        }
        answer => answer,
    }
}

fn exchange(mut stream: UnixStream, request: &Request) -> Result<Reply, ClientError> {
    // One that refuses a connection answers and closes it before it has read everything.
    let sent = send(&mut stream, request);
    let mut line = String::new();
    let read = BufReader::new(stream).read_line(&mut line);
    if line.is_empty() || read.is_err() {
        let error = sent.and(read).err().unwrap_or_else(|| std::io::ErrorKind::UnexpectedEof.into());
        return Err(ClientError::Broken(error));
    }
    serde_json::from_str(&line).map_err(|e| ClientError::Unknown(e.to_string()))
}

/// Asks to be told when the ledger grows; the stream gives a line each time and now and then without reason. It ends with
/// the supervisor, and fails when nothing came for half a minute.
///
/// # Errors
/// The connection broke.
pub fn follow(mut stream: UnixStream) -> Result<BufReader<UnixStream>, ClientError> {
    send(&mut stream, &Request::Follow)?;
    Ok(BufReader::new(stream))
}

fn send(stream: &mut UnixStream, request: &Request) -> std::io::Result<()> {
    stream.set_read_timeout(Some(request.time_max()))?;
    stream.set_write_timeout(Some(request.time_max()))?;
    let mut line = serde_json::to_vec(request).map_err(std::io::Error::other)?;
    line.push(b'\n');
    stream.write_all(&line)
}
