//! Starting git, once and in one way: an argument vector, a cleaned environment, a deadline and a limit on output.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit};

use crate::disk::is_on_full_disk;
use crate::error::{Error, Result};
use crate::lock::Lock;
use crate::lock_files;
use crate::parent_death::end_with_us;
use crate::pipes::{drain, feed, stop, unblock, wait_ready};
use crate::plain_file;
use crate::process_tree;

/// What one call may print.
const OUTPUT_BYTES_MAX: usize = 64 << 20;
/// What is kept of its complaints.
const STDERR_BYTES_MAX: usize = 64 << 10;
/// What of them goes into an error.
const STDERR_SHOWN_CHARS: usize = 2000;
/// The signal of a program that wrote beyond the limit on the size of files.
const SIGXFSZ: i32 = 25;
/// How git says that a disk is full.
const NO_SPACE: [&str; 2] = ["No space left on device", "Out of diskspace"];
/// `--attr-source` came with this version; `merge-tree --write-tree` is older.
const NEEDED: Version = Version { major: 2, minor: 41 };

/// The part of git's version that matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// First number.
    pub major: u32,
    /// Second number.
    pub minor: u32,
}

impl Version {
    /// Reads the answer of `git --version`, whatever a vendor adds to it.
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim().strip_prefix("git version ")?.split('.');
        let major = parts.next()?.parse().ok()?;
        let minor: String = parts.next()?.chars().take_while(char::is_ascii_digit).collect();
        Some(Self { major, minor: minor.parse().ok()? })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// The git program of this machine, found and checked once. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Git {
    program: Arc<Path>,
    version: Version,
}

impl Git {
    /// Finds git on `PATH` and checks its version.
    pub fn find() -> Result<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        // A relative entry would let the current folder, perhaps a hostile repository, choose the program.
        let program = std::env::split_paths(&path)
            .filter(|dir| dir.is_absolute())
            .map(|dir| dir.join("git"))
            .find(|p| is_program(p))
            .ok_or(Error::GitMissing)?;
        let mut git = Self { program: program.into(), version: NEEDED };
        let out = git.call(["--version"]).ok()?;
        let found = Version::parse(&String::from_utf8_lossy(&out))
            .ok_or_else(|| Error::Unexpected { what: "--version".to_owned() })?;
        git.version = check_version(found)?;
        Ok(git)
    }

    /// Another program in place of git.
    #[cfg(test)]
    pub(crate) fn of_program(program: &str) -> Self {
        Self { program: Path::new(program).into(), version: NEEDED }
    }

    /// The version that was found.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    pub(crate) fn call<A: Into<OsString>>(&self, args: impl IntoIterator<Item = A>) -> Call {
        Call::new(self.program.clone()).args(args)
    }
}

fn check_version(found: Version) -> Result<Version> {
    if found < NEEDED { Err(Error::GitTooOld { found, needed: NEEDED }) } else { Ok(found) }
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

/// What a call gave.
#[derive(Debug)]
pub(crate) struct Output {
    pub code: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: String,
    /// The lock file of git's that was in its way.
    pub lock: Option<PathBuf>,
}

/// One start of git, not yet started.
#[derive(Debug)]
pub(crate) struct Call {
    program: Arc<Path>,
    args: Vec<OsString>,
    shown_from: usize,
    env: Vec<(&'static str, OsString)>,
    cwd: Option<PathBuf>,
    git_dirs: Vec<PathBuf>,
    stdin: Vec<u8>,
    timeout: Duration,
    limit_bytes: usize,
    cut: bool,
    users: bool,
    environment: Option<Arc<[(OsString, OsString)]>>,
    own_group: bool,
    outlives_us: bool,
    named: Option<&'static str>,
    file_bytes_max: Option<u64>,
    input: Option<File>,
    output_file: Option<File>,
    interrupted: Option<Arc<AtomicBool>>,
}

impl Call {
    fn new(program: Arc<Path>) -> Self {
        Self {
            program,
            args: Vec::new(),
            shown_from: 0,
            env: Vec::new(),
            cwd: None,
            git_dirs: Vec::new(),
            stdin: Vec::new(),
            timeout: Duration::from_secs(60),
            limit_bytes: OUTPUT_BYTES_MAX,
            cut: false,
            users: false,
            environment: None,
            own_group: true,
            outlives_us: false,
            named: None,
            file_bytes_max: None,
            input: None,
            output_file: None,
            interrupted: None,
        }
    }

    pub(crate) fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    pub(crate) fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// What was added so far is plumbing that no error message should show.
    pub(crate) fn preamble(mut self) -> Self {
        self.shown_from = self.args.len();
        self
    }

    pub(crate) fn env(mut self, name: &'static str, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name, value.as_ref().to_owned()));
        self
    }

    pub(crate) fn cwd(mut self, dir: impl Into<PathBuf>) -> Self {
        self.cwd = Some(dir.into());
        self
    }

    pub(crate) fn stdin(mut self, bytes: Vec<u8>) -> Self {
        self.stdin = bytes;
        self
    }

    /// These are the git directories that it works in, which no variable names.
    pub(crate) fn in_git_dirs(mut self, git_dirs: [&Path; 2]) -> Self {
        self.git_dirs = git_dirs.map(Path::to_owned).into();
        self
    }

    /// For calls that touch many files.
    pub(crate) fn long(mut self) -> Self {
        self.timeout = Duration::from_secs(600);
        self
    }

    /// For calls whose length somebody else decides.
    pub(crate) fn seconds(mut self, seconds: u64) -> Self {
        self.timeout = Duration::from_secs(seconds);
        self
    }

    /// No file that git writes may grow beyond this; git fails then.
    pub(crate) fn file_bytes_max(mut self, bytes: u64) -> Self {
        self.file_bytes_max = Some(bytes);
        self
    }

    /// Shares this lock with git, which reads no input: the lock lasts until git has ended, even if we are killed.
    pub(crate) fn holding(mut self, lock: &Lock) -> Result<Self> {
        self.input = Some(lock.share().map_err(Error::io("start", &*self.program))?);
        Ok(self)
    }

    /// Git reads this file as its standard input.
    pub(crate) fn input(mut self, file: File) -> Self {
        self.input = Some(file);
        self
    }

    /// Git writes its standard output into this file; [`Output::stdout`] stays empty.
    pub(crate) fn output_file(mut self, file: File) -> Self {
        self.output_file = Some(file);
        self
    }

    /// Output beyond the limit is dropped instead of being an error.
    pub(crate) fn cut_at(mut self, limit_bytes: usize) -> Self {
        self.limit_bytes = limit_bytes.min(OUTPUT_BYTES_MAX);
        self.cut = true;
        self
    }

    /// The user's own call: keeps the user's environment but for what would choose another repository.
    pub(crate) fn users_own(mut self) -> Self {
        self.users = true;
        self.outlives_us = true;
        // Ctrl-C on the terminal is for the user's git too.
        self.own_group = false;
        self
    }

    /// Starts with these variables instead of those of this process.
    pub(crate) fn environment(mut self, variables: &Arc<[(OsString, OsString)]>) -> Self {
        self.environment = Some(Arc::clone(variables));
        self
    }

    /// Git and what it started are ended soon after this becomes true.
    pub(crate) fn ended_when(mut self, interrupted: &Arc<AtomicBool>) -> Self {
        self.interrupted = Some(Arc::clone(interrupted));
        self
    }

    /// A timeout ends git and whatever it started, and git ends when we do.
    pub(crate) fn in_own_group(mut self) -> Self {
        self.own_group = true;
        self.outlives_us = false;
        self
    }

    /// Git goes on when this process dies. For short calls that write refs: git removes its lock files when it ends by itself,
    /// and one that a kill leaves in the user's repository keeps the user's own git from working.
    pub(crate) fn outliving_us(mut self) -> Self {
        self.outlives_us = true;
        self
    }

    /// What an error says instead of the arguments, when they hold a person's text.
    pub(crate) fn named(mut self, name: &'static str) -> Self {
        self.named = Some(name);
        self
    }

    pub(crate) fn what(&self) -> String {
        if let Some(name) = self.named {
            return name.to_owned();
        }
        let shown: Vec<_> = self.args.iter().skip(self.shown_from).map(|a| a.to_string_lossy()).collect();
        shown.join(" ").chars().take(200).collect()
    }

    /// Runs it; any exit code is an answer.
    pub(crate) fn output(self) -> Result<Output> {
        self.run().map(|(out, _)| out)
    }

    /// Runs it; an exit code other than 0 is an error.
    pub(crate) fn ok(self) -> Result<Vec<u8>> {
        self.ok_or_code(&[]).map(|out| out.stdout)
    }

    /// Runs it; exit codes other than 0 and these are errors.
    pub(crate) fn ok_or_code(self, fine: &[i32]) -> Result<Output> {
        let what = self.what();
        let (out, was_cut) = self.run()?;
        if was_cut || out.code.is_some_and(|c| c == 0 || fine.contains(&c)) {
            return Ok(out);
        }
        Err(out.failed(what))
    }

    /// Where it may write.
    fn places(&self) -> Vec<PathBuf> {
        let named = self.named_by(&["GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR", "GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE"]);
        named.chain(self.cwd.clone()).collect()
    }

    fn named_by(&self, variables: &[&'static str]) -> impl Iterator<Item = PathBuf> {
        let named = variables.iter().flat_map(|name| self.env.iter().filter(move |(known, _)| known == name));
        named.map(|(_, path)| PathBuf::from(path))
    }

    #[expect(clippy::disallowed_methods, reason = "the one place of this crate where git is started")]
    fn command(&self) -> Command {
        let mut cmd = Command::new(&*self.program);
        cmd.args(&self.args);
        let variables = match &self.environment {
            Some(variables) => {
                cmd.env_clear().envs(variables.iter().map(|(name, value)| (name, value)));
                variables.to_vec()
            }
            None => std::env::vars_os().collect(),
        };
        for (name, _) in variables {
            let gits = name.as_encoded_bytes().starts_with(b"GIT_");
            if gits && (!self.users || points_git_elsewhere(&name.to_string_lossy())) {
                cmd.env_remove(name);
            }
        }
        cmd.env("GIT_TERMINAL_PROMPT", "0");
        if !self.users {
            cmd.env("LC_ALL", "C")
                .env("GIT_OPTIONAL_LOCKS", "0")
                .env("GIT_NO_REPLACE_OBJECTS", "1")
                .env("GIT_NO_LAZY_FETCH", "1")
                .env("GIT_LITERAL_PATHSPECS", "1")
                .env("GIT_ALLOW_PROTOCOL", "")
                .env("GIT_ADVICE", "0");
        }
        if self.own_group {
            // So that a timeout ends git and whatever it started.
            cmd.process_group(0);
        }
        cmd.envs(self.env.iter().map(|(k, v)| (k, v)));
        if let Some(dir) = &self.cwd {
            cmd.current_dir(dir);
        }
        cmd.stdin(if self.stdin.is_empty() { Stdio::null() } else { Stdio::piped() });
        cmd.stdout(Stdio::piped()).stderr(Stdio::piped());
        if !self.outlives_us {
            end_with_us(&mut cmd);
        }
        cmd
    }

    fn run(mut self) -> Result<(Output, bool)> {
        let mut command = self.command();
        if let Some(file) = self.input.take() {
            command.stdin(file);
        }
        if let Some(file) = self.output_file.take() {
            command.stdout(file);
        }
        let mut child = command.spawn().map_err(|e| match &self.cwd {
            // The system reports a missing working folder in the same way as a missing program.
            Some(cwd) if !cwd.is_dir() && plain_file::is_absent(&e) => Error::FolderGone { path: cwd.clone() },
            _ => Error::io("start", &*self.program)(e),
        })?;
        if let Some(bytes) = self.file_bytes_max {
            limit_files(&child, bytes);
        }
        let result = self.pump(&mut child);
        if !matches!(result, Ok((_, false))) {
            if self.users && !self.own_group {
                process_tree::end(&mut child);
            } else {
                stop(&mut child, self.own_group);
            }
        }
        let (mut out, was_cut) = result?;
        if !was_cut {
            let status = child.wait().map_err(Error::io("wait for", &*self.program))?;
            out.code = status.code();
            if status.signal() == Some(SIGXFSZ) && self.file_bytes_max.is_none() {
                let limit = getrlimit(Resource::Fsize).current.unwrap_or(u64::MAX) / 1024;
                out.stderr.push_str(&format!("git reached the limit on the size of files: {limit} KiB (ulimit -f)"));
            }
        }
        if out.code != Some(0) {
            let git_dirs: Vec<_> = self.named_by(&["GIT_COMMON_DIR", "GIT_DIR"]).chain(self.git_dirs.clone()).collect();
            out.lock = lock_files::named_in(&out.stderr, &git_dirs, self.cwd.as_deref());
        }
        // Git does not always say why it could not write a file, and seldom on which disk.
        if out.code != Some(0)
            && !out.stderr.is_empty()
            && (!is_failure_of_machine(&out.stderr) || NO_SPACE.iter().any(|reason| out.stderr.contains(reason)))
            && let Some(full) = self.places().iter().find(|path| is_on_full_disk(path))
        {
            out.stderr.truncate(out.stderr.trim_end().len());
            out.stderr.push_str(&format!(" (No space left on device: {})", full.display()));
        }
        Ok((out, was_cut))
    }

    /// Moves bytes until git is done; true when the output was cut and git may still run.
    fn pump(&self, child: &mut Child) -> Result<(Output, bool)> {
        let deadline = Instant::now() + self.timeout;
        let io = |e: std::io::Error| Error::Io { what: "talk to", path: self.program.to_path_buf(), source: e };
        let (mut stdin, mut stdout, mut stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        unblock(&stdin).and(unblock(&stdout)).and(unblock(&stderr)).map_err(io)?;
        let (mut out, mut err, mut written) = (Vec::new(), Vec::new(), 0);
        let mut exited = false;
        loop {
            if let Some(pipe) = &mut stdin
                && !feed(pipe, &self.stdin, &mut written).map_err(io)?
            {
                stdin = None;
            }
            if let Some(pipe) = &mut stdout
                && !drain(pipe, &mut out, self.limit_bytes.saturating_add(1)).map_err(io)?
            {
                stdout = None;
            }
            if let Some(pipe) = &mut stderr
                && !drain(pipe, &mut err, STDERR_BYTES_MAX * 2).map_err(io)?
            {
                stderr = None;
            }
            err.truncate(STDERR_BYTES_MAX);
            let too_much = out.len() > self.limit_bytes;
            if too_much && !self.cut {
                return Err(Error::TooMuchOutput { what: self.what(), limit_bytes: self.limit_bytes });
            }
            let closed = stdout.is_none() && stderr.is_none();
            if too_much || exited {
                out.truncate(self.limit_bytes);
                let stderr = String::from_utf8_lossy(&err).into_owned();
                return Ok((Output { code: None, stdout: out, stderr, lock: None }, too_much));
            }
            if self.interrupted.as_ref().is_some_and(|interrupted| interrupted.load(Ordering::SeqCst)) {
                return Err(Error::Interrupted { what: self.what() });
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::Timeout { what: self.what(), seconds: self.timeout.as_secs() });
            }
            if closed {
                // Both pipes end with the process but for a moment.
                exited = child.try_wait().map_err(io)?.is_some();
                if !exited {
                    std::thread::sleep(Duration::from_micros(200));
                }
            } else if !wait_ready(&stdin, &stdout, &stderr, left).map_err(io)? {
                // Something that git left in the background may hold the pipes for ever.
                exited = child.try_wait().map_err(io)?.is_some();
            }
        }
    }
}

/// Limits the files of a process that has just begun, and of what it will start. It has read nothing from anywhere yet.
fn limit_files(child: &Child, bytes: u64) {
    use rustix::process::{Pid, Rlimit, prlimit};
    let limit = Rlimit { current: Some(bytes), maximum: Some(bytes) };
    // A process that has ended already writes nothing.
    let _ended = prlimit(Pid::from_raw(child.id().cast_signed()), Resource::Fsize, limit);
}

/// Whether git says that this machine kept it from its work, and nothing about what it was to read.
pub(crate) fn is_failure_of_machine(stderr: &str) -> bool {
    const REASONS: [&str; 10] = [
        "No space left on device",
        "Out of diskspace",
        "Disk quota exceeded",
        "Read-only file system",
        "Invalid cross-device link",
        "Input/output error",
        "Too many open files",
        "Cannot allocate memory",
        "out of memory",
        "Out of memory",
    ];
    REASONS.iter().any(|reason| stderr.contains(reason))
}

/// Whether git ended by itself, for a reason that may lie in what it was to read.
pub(crate) fn is_about_data(error: &Error) -> bool {
    matches!(error, Error::Failed { code: Some(128), stderr, .. } if !is_failure_of_machine(stderr))
}

impl Output {
    /// What git printed about data of an agent's; `None`: the data is damaged, which git reports with 128.
    ///
    /// # Errors
    /// Something else ended git, so nothing is known of the data.
    pub(crate) fn unless_damaged(self, what: String) -> Result<Option<Vec<u8>>> {
        match self.code {
            Some(0) => Ok(Some(self.stdout)),
            Some(128) if !is_failure_of_machine(&self.stderr) => Ok(None),
            _ => Err(self.failed(what)),
        }
    }

    pub(crate) fn failed(self, what: String) -> Error {
        let stderr = self.stderr.trim().chars().take(STDERR_SHOWN_CHARS).collect();
        Error::Failed { args: what, code: self.code, stderr, lock: self.lock }
    }
}

/// Whether a variable of git could name a repository, or change what git finds in one. No list can know the names of later
/// versions of git, so every variable counts except those that are known to be about a person, the network or a terminal.
#[must_use]
pub fn points_git_elsewhere(name: &str) -> bool {
    const HARMLESS: [&str; 12] = [
        "GIT_ALLOW_PROTOCOL",
        "GIT_ASKPASS",
        "GIT_CONFIG_GLOBAL",
        "GIT_CONFIG_NOSYSTEM",
        "GIT_CONFIG_SYSTEM",
        "GIT_EDITOR",
        "GIT_EXEC_PATH",
        "GIT_PAGER",
        "GIT_SEQUENCE_EDITOR",
        "GIT_SSH",
        "GIT_SSH_COMMAND",
        "GIT_TERMINAL_PROMPT",
    ];
    const HARMLESS_BEGINNINGS: [&str; 5] = ["GIT_AUTHOR_", "GIT_COMMITTER_", "GIT_HTTP_", "GIT_PROXY_", "GIT_SSL_"];
    name.starts_with("GIT_") && !HARMLESS.contains(&name) && !HARMLESS_BEGINNINGS.iter().any(|begin| name.starts_with(begin))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_all_vendors_are_read() {
        let v = |s| Version::parse(s).map(|v| (v.major, v.minor));
        assert_eq!(v("git version 2.47.3\n"), Some((2, 47)));
        assert_eq!(v("git version 2.39.5 (Apple Git-154)"), Some((2, 39)));
        assert_eq!(v("git version 2.50.0.windows.1"), Some((2, 50)));
        assert_eq!(v("git version 3.0-rc1"), Some((3, 0)));
        assert_eq!(v("not git"), None);
        let old = check_version(Version { major: 2, minor: 40 }).unwrap_err();
        assert_eq!(old.to_string(), "git 2.40 is too old, 2.41 is needed");
        assert!(check_version(Version { major: 3, minor: 0 }).is_ok());
    }

    #[test]
    fn a_working_folder_that_is_gone_is_named_and_not_git() {
        let folder = tempfile::tempdir().unwrap();
        let git = Git::find().unwrap();
        for gone in ["moved", "file/moved"].map(|gone| folder.path().join(gone)) {
            std::fs::write(folder.path().join("file"), "").unwrap();
            let error = git.call(["--version"]).cwd(&gone).ok().unwrap_err();
            assert_eq!(error.to_string(), format!("the folder {} is gone", gone.display()));
        }
        let absent = Git::of_program("/nowhere/git").call(["--version"]).cwd(folder.path()).ok().unwrap_err();
        assert_eq!(absent.to_string(), "cannot start /nowhere/git");
    }

    #[test]
    fn output_is_bounded_and_time_is_too() {
        let git = Git::find().unwrap();
        let cut = git.call(["help", "-a"]).cut_at(10).ok().unwrap();
        assert_eq!(cut.len(), 10);
        let mut call = git.call(["help", "-a"]);
        call.limit_bytes = 10;
        assert!(matches!(call.ok(), Err(Error::TooMuchOutput { .. })));
        let mut call = git.call(["hash-object", "--stdin"]).stdin(vec![b'x'; 1 << 20]);
        call.timeout = Duration::ZERO;
        assert!(matches!(call.ok(), Err(Error::Timeout { .. })));
        let big = git.call(["hash-object", "--stdin"]).stdin(vec![b'x'; 8 << 20]).ok().unwrap();
        assert_eq!(big.len(), 41);
    }

    #[test]
    fn r5_a_git_that_reached_the_limit_on_the_size_of_files_says_so() {
        let ended = Git::of_program("/bin/sh").call(["-c", "kill -XFSZ $$"]).ok().unwrap_err();
        let Error::Failed { code: None, stderr, .. } = &ended else { panic!("{ended:?}") };
        assert!(stderr.contains("the limit on the size of files") && stderr.contains("ulimit -f"), "{stderr}");
    }

    #[test]
    fn p6_a_git_that_was_ended_does_not_make_the_data_damaged() {
        let ended = |code, stderr: &str| {
            let out = Output { code, stdout: b"x".to_vec(), stderr: stderr.to_owned(), lock: None };
            out.unless_damaged("ls-files".to_owned())
        };
        assert_eq!(ended(Some(0), "").unwrap().as_deref(), Some(&b"x"[..]));
        assert_eq!(ended(Some(128), "fatal: index file corrupt").unwrap(), None);
        let open_failed = "fatal: index: index file open failed: Too many open files";
        for (code, stderr) in [(None, ""), (Some(1), ""), (Some(137), ""), (Some(128), open_failed)] {
            assert!(matches!(ended(code, stderr), Err(Error::Failed { .. })), "{code:?} {stderr}");
        }
    }
}
