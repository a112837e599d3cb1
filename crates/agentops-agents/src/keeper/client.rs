//! The supervisor's side of a keeper.

use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::guard::Guard;
use super::wire::{FromKeeper, KeeperSpec, ToKeeper};
use crate::process::ProcessId;

/// Starts keepers.
#[derive(Debug)]
pub struct Keeper;

/// A running keeper. Dropping it closes the pipe, and with it the whole tree ends.
#[derive(Debug)]
pub struct KeeperHandle {
    process: ProcessId,
    stdin: Mutex<ChildStdin>,
    guard: Guard,
}

impl Keeper {
    /// Starts a keeper from `exe` (this program; its first argument becomes `keeper`) and lets it start what the spec says.
    ///
    /// `on` is called from a thread of its own for everything the keeper tells, in order; the last call is `Ended`,
    /// `NotStarted` or `Gone`. While `on` works, the program's output waits, so it must not wait for the program.
    ///
    /// # Errors
    /// When the keeper itself cannot be started. That the program could not is told as `NotStarted`.
    #[expect(clippy::disallowed_methods, reason = "this is the one place where keepers are started")]
    pub fn spawn(
        exe: &Path,
        spec: &KeeperSpec,
        mut on: impl FnMut(FromKeeper) + Send + 'static,
    ) -> io::Result<KeeperHandle> {
        // The keeper needs none of the supervisor's environment or folder, and makes a session of its own.
        let mut child = Command::new(exe)
            .arg(super::SUBCOMMAND)
            // The keeper does not read this argument. The next supervisor finds the keepers of a dead one by it.
            .arg(&spec.mark)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let pid = i32::try_from(child.id()).map_err(|_| io::Error::other("pid out of range"))?;
        let process = ProcessId::of(pid).ok_or_else(|| io::Error::other("the keeper has no entry in /proc"))?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::Error::other("the keeper has no pipes"));
        };
        let (guard, reaped) = Guard::watch(process, Duration::from_millis(spec.grace_ms))?;
        let handle = KeeperHandle { process, stdin: Mutex::new(stdin), guard: guard.clone() };
        handle.write(spec)?;
        std::thread::Builder::new().name("keeper-reader".to_owned()).spawn(move || {
            let mut last = None;
            for line in BufReader::new(stdout).lines() {
                match line.ok().and_then(|line| serde_json::from_str(&line).ok()) {
                    None => break,
                    Some(message @ (FromKeeper::Ended(_) | FromKeeper::NotStarted { .. })) => last = Some(message),
                    Some(message) => on(message),
                }
            }
            // Reaped before the last word, so that whoever hears it finds no zombie.
            let _ = reaped.join();
            on(last.unwrap_or_else(|| FromKeeper::Gone { why: guard.why().map(str::to_owned) }));
        })?;
        Ok(handle)
    }
}

impl KeeperHandle {
    /// The keeper's own process.
    #[must_use]
    pub fn process(&self) -> ProcessId {
        self.process
    }

    /// The keeper's pid.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.process.pid
    }

    /// Writes a line (without its newline) to the program's stdin.
    ///
    /// # Errors
    /// When the keeper is gone.
    pub fn send_line(&self, line: &str) -> io::Result<()> {
        self.write(&ToKeeper::Send { line: line.to_owned() })
    }

    /// Closes the program's stdin after everything that was sent.
    ///
    /// # Errors
    /// When the keeper is gone.
    pub fn close_stdin(&self) -> io::Result<()> {
        self.write(&ToKeeper::CloseStdin)
    }

    /// Ends the tree: (SIGINT to the program,) SIGTERM, after the grace SIGKILL. `Ended` follows within grace + 2 s. A keeper
    /// that does not answer is ended with its tree, and `Gone` follows within grace + 12 s.
    ///
    /// # Errors
    /// When the keeper is gone.
    pub fn stop(&self, interrupt: bool) -> io::Result<()> {
        self.guard.expect_end();
        self.write(&ToKeeper::Stop { interrupt })
    }

    fn write(&self, message: &impl serde::Serialize) -> io::Result<()> {
        let mut line = serde_json::to_vec(message)?;
        line.push(b'\n');
        // A keeper always reads, so this does not wait for the program; one that was stopped is continued or killed by its
        // guard. Half a line after a panic cannot be: one write.
        self.stdin.lock().unwrap_or_else(PoisonError::into_inner).write_all(&line)
    }
}
