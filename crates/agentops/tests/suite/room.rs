//! The sealed room: a home, a state folder and a repository of its own, and the program run in it with nothing else around.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use agentops_agents::process::ProcessId;
use agentops_engine::world::Entry;
use rustix::fs::{FileType, FlockOperation, Mode};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A room. Its supervisor is ended with it.
pub struct Room {
    dir: TempDir,
    env: Vec<(String, String)>,
}

/// What a command did.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// From what the system gives.
    pub fn of(out: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { code: out.status.code().unwrap_or(-1), stdout: text(&out.stdout), stderr: text(&out.stderr) }
    }

    /// The JSON document on stdout.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("no JSON ({e}): {self:?}"))
    }

    /// Holds the exit code and gives the result on.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        self
    }
}

impl Room {
    /// A room whose repository has one commit and a test command that any machine has. Nobody trusts it yet.
    pub fn new() -> Self {
        Self::empty().with_project()
    }

    /// As `new`, below a folder that every user may enter.
    pub fn new_below(folder: &Path) -> Self {
        Self::empty_below(folder).with_project()
    }

    fn with_project(self) -> Self {
        self.file("check.sh", "test -f done.txt && ! grep -q broken done.txt\n");
        self.file(".agentops/config.toml", "[commands]\ntest = [\"sh\", \"check.sh\"]\n");
        self.file("README.md", "# A project\n");
        self.begin();
        self
    }

    /// Makes the folder a repository whose one commit holds what is there.
    pub fn begin(&self) {
        self.git(&["init", "--quiet", "--initial-branch=main", "."]);
        self.git(&["add", "-A"]);
        self.git(&["commit", "--quiet", "-m", "begin"]);
    }

    /// Takes another room's repository as its own, the same commit in it.
    pub fn copy_repo(&self, other: &Room) {
        for path in everything(&other.repo()) {
            let to = self.repo().join(path.strip_prefix(other.repo()).unwrap());
            match path.is_dir() {
                true => std::fs::create_dir_all(to).unwrap(),
                false => assert!(std::fs::copy(&path, to).is_ok()),
            }
        }
    }

    /// A path in the private state of the repository; `None` before a supervisor or client made its folder.
    pub fn private(&self, path: &str) -> Option<PathBuf> {
        let ours = std::fs::read_dir(self.state()).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
        ours.filter(|folder| folder.join("blobs").is_dir()).map(|folder| folder.join(path)).next()
    }

    /// The repository's id: the name of its private state.
    pub fn id(&self) -> String {
        let private = self.private("").expect("private state");
        private.file_name().unwrap().to_str().unwrap().to_owned()
    }

    /// Waits until nobody holds the supervisor's lock: the kernel drops it with that process, whoever has its pid now.
    pub fn await_supervisor(&self) {
        if let Some(lock) = self.private("supervisor.lock").and_then(|path| File::open(path).ok()) {
            rustix::fs::flock(&lock, FlockOperation::LockShared).unwrap();
        }
    }

    /// A run's ledger.
    pub fn entries(&self, run: &str) -> Vec<Entry> {
        let logs = self.run(&["logs", run, "--json"]).expect(0);
        logs.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// A pipe with a name, for a script and its test to meet at.
    pub fn pipe(&self, name: &str) -> PathBuf {
        let path = self.root().join(name);
        rustix::fs::mknodat(rustix::fs::CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        path
    }

    /// Starts a run and gives its id at once.
    pub fn detach(&self, args: &[String]) -> String {
        let view = self.run(&[&refs(args)[..], &["--detach"]].concat()).expect(0).json();
        view["run"].as_str().unwrap().to_owned()
    }

    /// What happened here, for somebody who looks for the reason of a failure.
    pub fn story(&self) -> String {
        let log = self.private("supervisor.log").and_then(|path| std::fs::read_to_string(path).ok());
        let (logs, show) = (self.run(&["logs"]), self.run(&["show"]));
        format!("{}{}\n{}\nsupervisor: {}", logs.stdout, logs.stderr, show.stdout, log.unwrap_or_default())
    }

    /// A room with an empty folder instead of a repository.
    pub fn empty() -> Self {
        // Not below the system's temporary folder: some agent programs refuse to work there.
        Self::empty_below(Path::new(env!("CARGO_TARGET_TMPDIR")))
    }

    fn empty_below(folder: &Path) -> Self {
        let dir = tempfile::Builder::new().prefix("room").tempdir_in(folder).unwrap();
        for folder in ["home", "state", "repo"] {
            std::fs::create_dir(dir.path().join(folder)).unwrap();
        }
        Self { dir, env: Vec::new() }
    }

    /// Sets a variable for every command from now on.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        self.env.retain(|(known, _)| known != name);
        self.env.push((name.into(), value.into()));
    }

    /// From now on the temporary folder of every command is a folder of this room.
    pub fn own_temporary(&mut self) {
        std::fs::create_dir(self.temporary()).unwrap();
        self.set("TMPDIR", self.temporary().to_str().unwrap());
    }

    /// The temporary folder of a room that has one.
    pub fn temporary(&self) -> PathBuf {
        self.root().join("temporary")
    }

    pub fn root(&self) -> &Path {
        self.dir.path()
    }

    pub fn repo(&self) -> PathBuf {
        self.dir.path().join("repo")
    }

    pub fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// Writes a file of the repository.
    pub fn file(&self, path: &str, content: &str) {
        let path = self.repo().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    /// Keeps a script for the scripted agent and gives the flag that names it.
    pub fn script(&self, conversations: Value) -> String {
        let path = self.dir.path().join("script.json");
        std::fs::write(&path, json!({ "conversations": conversations }).to_string()).unwrap();
        format!("--set=script={}", path.display())
    }

    /// The program, not started yet.
    #[expect(clippy::disallowed_methods, reason = "the test starts the program that it tests")]
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_agentops"));
        command
            .args(args)
            .current_dir(self.repo())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.dir.path().join("home"))
            .env("AGENTOPS_STATE_DIR", self.state())
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("NO_COLOR", "1")
            .envs(self.env.clone())
            .stdin(Stdio::null());
        command
    }

    /// The program as a terminal starts it: in a process group of its own, and it ignores no signal, whatever this process
    /// ignores (under `nohup`, or in the background of a script).
    #[expect(clippy::disallowed_methods, reason = "the test starts the program that it tests")]
    pub fn command_of_a_terminal(&self, args: &[&str]) -> Command {
        let plain = self.command(args);
        let mut command = Command::new("env");
        command
            .arg("--default-signal=HUP,INT,TERM")
            .arg(plain.get_program())
            .args(plain.get_args())
            .current_dir(self.repo())
            .env_clear()
            .envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))))
            .stdin(Stdio::null())
            .process_group(0);
        command
    }

    /// Runs the program to its end.
    #[must_use]
    pub fn run(&self, args: &[&str]) -> Ran {
        Ran::of(&self.command(args).output().unwrap())
    }

    /// Runs git in the repository, as the user would.
    #[expect(clippy::disallowed_methods, reason = "the test looks at the repository as a user would")]
    #[track_caller]
    pub fn git(&self, args: &[&str]) -> String {
        let out = Command::new("git")
            .args(["-c", "user.name=Test", "-c", "user.email=test@localhost", "-c", "core.hooksPath=/dev/null"])
            .args(args)
            .current_dir(self.repo())
            .env_remove("GIT_DIR")
            .env("HOME", self.dir.path().join("home"))
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(out.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8_lossy(&out.stdout).trim_end().to_owned()
    }

    /// Kills the supervisor, if one runs, and waits for its end.
    pub fn kill_supervisor(&self) {
        let Some(supervisor) = self.supervisor().and_then(ProcessId::of) else { return };
        supervisor.kill().unwrap();
        assert!(supervisor.wait_end(std::time::Duration::from_secs(60)), "a killed supervisor does not end");
    }

    /// Lets every later reader of the pipe with this name go on at once.
    pub fn release(&self, name: &str) {
        let path = self.root().join(name);
        std::fs::remove_file(&path).unwrap();
        std::fs::write(path, "").unwrap();
    }

    /// Gives the user a name, so that they may commit.
    pub fn name_user(&self) {
        self.git(&["config", "user.name", "Person"]);
        self.git(&["config", "user.email", "person@localhost"]);
    }

    /// Gives the user's repository a hook.
    pub fn hook(&self, name: &str, text: &str) {
        use std::os::unix::fs::PermissionsExt;
        let path = self.repo().join(".git/hooks").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// The process of the supervisor, if one runs.
    pub fn supervisor(&self) -> Option<i32> {
        let status = self.run(&["status", "--json"]).expect(0).json();
        status["supervisor"].as_str().and_then(|pid| pid.parse().ok())
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if let (Ok(true), Some(pid)) = (self.repo().join(".git").try_exists(), self.quiet_supervisor()) {
            let pid = rustix::process::Pid::from_raw(pid);
            if let Some(pid) = pid {
                let _ended_already = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
    }
}

impl Room {
    /// As `supervisor`, without asserting anything: for the end of a test that may have failed.
    fn quiet_supervisor(&self) -> Option<i32> {
        let out = self.command(&["status", "--json"]).output().ok()?;
        let status: Value = serde_json::from_slice(&out.stdout).ok()?;
        status["supervisor"].as_str()?.parse().ok()
    }
}

/// Every file and folder below a path, folders before what is in them.
pub fn everything(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root).into_iter().flatten().flatten() {
        found.push(entry.path());
        if entry.file_type().unwrap().is_dir() {
            found.extend(everything(&entry.path()));
        }
    }
    found
}

/// Processes of this room's sessions and gates, by the mark in their environment.
pub fn marked(room: &Room) -> Vec<ProcessId> {
    use std::os::unix::fs::MetadataExt;
    let Some(folder) = room.private("") else { return Vec::new() };
    let folder = format!("AGENTOPS_SESSION={}.{:x}", room.id(), std::fs::metadata(folder).unwrap().ino());
    let is_ours = |entry: &[u8]| {
        let rest = entry.strip_prefix(folder.as_bytes());
        rest.is_some_and(|rest| rest.starts_with(b"/") || rest.starts_with(b".merge/"))
    };
    let ours = |pid: &i32| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(is_ours)
    };
    pids().filter(ours).filter_map(ProcessId::of).collect()
}

/// Every process there is.
pub fn pids() -> impl Iterator<Item = i32> {
    let names = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.file_name());
    names.filter_map(|name| name.to_str()?.parse().ok())
}

/// Whether everything is to be tried that takes long.
pub fn slow() -> bool {
    std::env::var_os("AGENTOPS_SLOW").is_some()
}

/// Whether everything is to be tried at its full size, however long it takes.
pub fn nightly() -> bool {
    std::env::var_os("AGENTOPS_NIGHTLY").is_some()
}

/// Says that a test is skipped, since this machine lacks something. In CI that is a failure.
#[expect(clippy::print_stdout, reason = "a skipped test says so")]
pub fn skip_unless_ci(reason: &str) {
    assert!(std::env::var_os("CI").is_none(), "skipped, which CI does not allow: {reason}");
    println!("skipped: {reason}");
}

/// The arguments of a scripted run of this workflow, with the trust that a machine gives by hash.
pub fn scripted(room: &Room, workflow: &str, conversations: Value) -> Vec<String> {
    scripted_with(room, workflow, &[], conversations)
}

/// As `scripted`, with more flags.
pub fn scripted_with(room: &Room, workflow: &str, more: &[&str], conversations: Value) -> Vec<String> {
    let flag = room.script(conversations);
    let workflow = format!("--workflow={workflow}");
    let mut args: Vec<String> = ["run", "write done.txt", &workflow, "--driver=scripted", "--approve=all", "--json", &flag]
        .map(str::to_owned)
        .into();
    args.extend(more.iter().map(|flag| (*flag).to_owned()));
    let dry = room.run(&[&refs(&args)[..], &["--dry-run"]].concat()).expect(0).json();
    args.push(format!("--trust={}", dry["subject"]["hash"].as_str().unwrap()));
    args
}

/// Strings as the slices that `Room::run` takes.
pub fn refs(args: &[String]) -> Vec<&str> {
    args.iter().map(String::as_str).collect()
}

/// What the scripted agent writes to close a run out.
pub fn close_out(evidence: &str) -> String {
    let insight = json!({ "text": "This project is checked by one script, and it wants done.txt.", "evidence": [evidence] });
    json!({
        "learning": insight,
        "improvement": insight,
        "context": { "summary": format!("Wrote {evidence} as the task asked, checked by the script."), "decisions": [], "open": [] }
    })
    .to_string()
}

/// Conversations that take `quick` to its end: one session writes `done.txt`, one closes out.
pub fn quick_script() -> Value {
    json!([
        { "when": "lane `implement`", "steps": [
            { "do": "call", "usage": 20000 },
            { "do": "write", "path": "done.txt", "content": "done\n" },
            { "do": "call", "usage": 24000 }
        ] },
        { "when": "lane `close-out`", "steps": [
            { "do": "call", "usage": 9000 },
            { "do": "out", "file": "close-out.json", "content": close_out("done.txt") }
        ] }
    ])
}

/// Every file below a folder with its bytes, links by where they point.
pub fn bytes_of(folder: &Path) -> std::collections::BTreeMap<PathBuf, Vec<u8>> {
    let (mut all, mut next) = (std::collections::BTreeMap::new(), vec![folder.to_owned()]);
    while let Some(folder) = next.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let (path, kind) = (entry.path(), entry.file_type().unwrap());
            if kind.is_dir() {
                next.push(path);
            } else if kind.is_symlink() {
                let to = std::fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes();
                all.insert(path, to);
            } else if kind.is_file() {
                let bytes = std::fs::read(&path).unwrap_or_default();
                all.insert(path, bytes);
            }
        }
    }
    all
}
