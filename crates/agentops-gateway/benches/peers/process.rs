//! Programs that are measured, by their process trees.
#![expect(clippy::disallowed_methods, reason = "it starts the programs that it measures")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use tempfile::TempDir;

/// A running program. Dropping it ends it.
pub struct Process {
    child: Child,
    _input: Option<ChildStdin>,
    /// What it has on disk, which goes after it.
    folder: Option<TempDir>,
}

impl Process {
    /// This benchmark in another role, and the address that it prints.
    pub fn role(arguments: &[&str]) -> (Self, String) {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg("role").args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut address = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut address).unwrap();
        (Self { _input: child.stdin.take(), child, folder: None }, address.trim().to_owned())
    }

    /// Any program; what it says is not shown.
    pub fn start(command: &[String]) -> std::io::Result<Self> {
        let (program, arguments) = command.split_first().expect("a command has a program");
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Self { child: command.spawn()?, _input: None, folder: None })
    }

    /// The same program, with a folder that is removed when it has ended.
    pub fn with(mut self, folder: TempDir) -> Self {
        self.folder = Some(folder);
        self
    }

    /// All processes below and including it.
    fn tree(&self) -> Vec<u32> {
        let mut all = vec![self.child.id()];
        let mut at = 0;
        while let Some(pid) = all.get(at).copied() {
            at += 1;
            for task in tasks(pid) {
                let children = fs::read_to_string(format!("/proc/{pid}/task/{task}/children")).unwrap_or_default();
                all.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
            }
        }
        all
    }

    /// CPU that its living threads have used so far, in nanoseconds, system calls included.
    pub fn cpu_ns(&self) -> u64 {
        let of_task = |pid: u32, task: String| {
            let stat = fs::read_to_string(format!("/proc/{pid}/task/{task}/schedstat")).unwrap_or_default();
            stat.split_whitespace().next().and_then(|ns| ns.parse::<u64>().ok()).unwrap_or_default()
        };
        self.tree().into_iter().flat_map(|pid| tasks(pid).into_iter().map(move |task| of_task(pid, task))).sum()
    }

    /// Resident memory, in KiB.
    pub fn rss_kib(&self) -> u64 {
        let of = |pid: u32| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default().to_owned();
            line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or_default()
        };
        self.tree().into_iter().map(of).sum()
    }
}

fn tasks(pid: u32) -> Vec<String> {
    let tasks = fs::read_dir(Path::new("/proc").join(pid.to_string()).join("task"));
    tasks.into_iter().flatten().flatten().map(|task| task.file_name().to_string_lossy().into_owned()).collect()
}

impl Drop for Process {
    fn drop(&mut self) {
        // Parents first: some start a child anew that has ended.
        for pid in self.tree() {
            let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
            if let Some(pid) = pid {
                rustix::process::kill_process(pid, rustix::process::Signal::KILL).ok();
            }
        }
        self.child.wait().ok();
    }
}
