//! A folder of its own with a repository, state and settings, on the disk of the build folder; and the bare disk under it.

use std::fmt::Write as _;
use std::io::{Seek, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use agentops_engine::blobs::Blobs;
use agentops_engine::paths::{Home, Paths};
use agentops_engine::plan::{self, Plan, RunRequest};
use agentops_git::{Git, Repo};
use agentops_safe::Redactor;
use tempfile::TempDir;

use crate::table::{Samples, ms};

/// The program.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_agentops");

pub struct Room {
    dir: TempDir,
    pub repo: Repo,
    pub home: Home,
}

/// A workflow whose first phase is this.
fn workflow(name: &str, first: &str) -> String {
    format!(
        "name = \"{name}\"\ndescription = \"For measuring.\"\n\n{first}\n\
         [[phase]]\nname = \"close-out\"\nwrites = \"artifacts\"\nagent = \"close-out\"\n\n\
         [[phase.gate]]\nkind = \"artifact\"\nfile = \"close-out.json\"\nschema = \"close-out\"\n"
    )
}

impl Room {
    /// A room whose repository has so many files besides its settings: the workflows `wide` (so many lanes at once) and
    /// `ask` (waits for an approval).
    pub fn new(files: usize, lanes: usize) -> Self {
        let dir = tempfile::Builder::new().prefix("figures").tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        let root = dir.path().canonicalize().expect("the folder's path");
        for folder in ["home", "config", "state", "repo", "tmp"] {
            std::fs::create_dir(root.join(folder)).expect("a folder");
        }
        let mut wide = String::from("[[phase]]\nname = \"implement\"\nwrites = \"files\"\n");
        for lane in 1..=lanes {
            let _infallible = write!(wide, "\n[[phase.lane]]\nname = \"lane-{lane}\"\nagent = \"implement\"\n");
        }
        let ask = "[[phase]]\nname = \"implement\"\nwrites = \"files\"\nagent = \"implement\"\n\n\
                   [[phase.gate]]\nkind = \"artifact\"\nfile = \"note.md\"\n\n\
                   [[phase.gate]]\nkind = \"approval\"\nfile = \"note.md\"\n";
        let mut content: Vec<(String, String)> = vec![
            (".agentops/workflows/wide.toml".into(), workflow("wide", &wide)),
            (".agentops/workflows/ask.toml".into(), workflow("ask", ask)),
            (".agentops/config.toml".into(), "[commands]\ntest = [\"true\"]\n".into()),
        ];
        let text = "fn a_line_of_a_file() -> &'static str { \"as long as lines are\" }\n".repeat(60);
        content.extend((0..files).map(|n| (format!("src/part-{}/file-{n}.rs", n % 40), format!("// {n}\n{text}"))));
        let listed: Vec<(&str, &[u8])> = content.iter().map(|(path, text)| (path.as_str(), text.as_bytes())).collect();
        let repo = agentops_git::begin(&root.join("repo"), &listed, "begin\n").expect("a repository");
        let home = Home { config: root.join("config"), state: root.join("state") };
        // All lanes are to be at work at once, however many processors this machine has.
        std::fs::write(home.config_file(), format!("[machine]\nslots = {}\n", lanes.max(1))).expect("the user's settings");
        home.repository(repo.id()).make().expect("a state folder");
        Self { dir, repo, home }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().canonicalize().expect("the room's path").join(name)
    }

    pub fn paths(&self) -> Paths {
        self.home.repository(self.repo.id())
    }

    pub fn blobs(&self) -> Blobs {
        Blobs::open(&self.paths().blobs(), Redactor::from_env([])).expect("a blob store")
    }

    /// A run that could start, as the real program plans it.
    pub fn plan(&self, workflow: &str, task: &str) -> Plan {
        let settings = [("script_json".to_owned(), "{\"conversations\":[]}".to_owned())].into();
        let request = RunRequest {
            task: task.into(),
            workflow: Some(workflow.into()),
            driver: Some("scripted".into()),
            approve: agentops_core::run::Approve::All,
            settings,
            ..RunRequest::default()
        };
        plan::plan(&self.repo, &self.home, &self.blobs(), &std::env::vars_os().collect(), &request).expect("a plan")
    }

    /// A program in the room's repository, with the room's folders for its own.
    pub fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(args)
            .current_dir(self.repo.work_tree())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path("home"))
            .env("AGENTOPS_STATE_DIR", &self.home.state)
            .env("AGENTOPS_CONFIG_DIR", &self.home.config)
            .env("TMPDIR", self.path("tmp"))
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .stdin(Stdio::null());
        command
    }

    /// Runs a program to its end and gives what it printed.
    pub fn run(&self, program: &str, args: &[&str]) -> String {
        let out = self.command(program, args).output().expect("the program starts");
        let (said, complained) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        assert!(out.status.success(), "{program} {args:?}: {said}{complained}");
        said.into_owned()
    }

    /// Found anew, as a command does.
    pub fn discover(&self) -> Repo {
        Repo::discover(&Git::find().expect("git"), self.repo.work_tree()).expect("the repository")
    }

    /// What this disk takes for 4 KiB to be durable, in milliseconds: the bound of everything that is acknowledged.
    pub fn bare_sync(&self, count: usize) -> Samples {
        let mut file = std::fs::File::create(self.path("tmp").join("sync")).expect("a file");
        let page = [7u8; 4096];
        // Written once before, as SQLite's log is: what is measured is not the growth of a file.
        for _ in 0..256 {
            file.write_all(&page).expect("a write");
        }
        file.sync_all().expect("a sync");
        file.rewind().expect("the file's begin");
        let mut at = 0;
        Samples::of(count, || {
            if at % 256 == 0 {
                file.rewind().expect("the file's begin");
            }
            at += 1;
            let start = Instant::now();
            file.write_all(&page).and_then(|()| file.sync_data()).expect("a durable write");
            ms(start.elapsed())
        })
    }
}
