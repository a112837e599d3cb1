//! Whole programs: what a person waits for, and what a supervisor costs that waits for a person.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use agentops_core::run::Created;
use agentops_engine::client;
use agentops_engine::conductor::Conductor;
use agentops_engine::ledger::Ledger;
use agentops_engine::supervisor::Lock;
use agentops_engine::world::SystemClock;
use agentops_git::{Author, lanes};
use serde_json::{Value, json};

use crate::play::{AtOnce, play, runs};
use crate::room::{PROGRAM, Room};
use crate::table::{Goal, Samples, Table, figure, say};

/// A whole process, from its start until it is reaped, so many times.
fn whole(room: &Room, count: usize, program: &str, args: &[&str]) -> Samples {
    let mut command = room.command(program, args);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    Samples::time(count, || {
        assert!(command.status().expect("the program starts").success(), "{program} {args:?}");
    })
}

/// `agentops --version`
pub fn version(table: &mut Table) {
    let room = Room::new(0, 1);
    let ours = whole(&room, 101, PROGRAM, &["--version"]);
    let nothing = whole(&room, 101, "/bin/true", &[]);
    let git = whole(&room, 101, "git", &["--version"]);
    let beside = format!("/bin/true {} ms; git --version {} ms", figure(nothing.median()), figure(git.median()));
    table.add("agentops --version", &ours, "ms", &Goal::Most(10.0), &beside);
}

/// `agentops status` with a thousand runs that have ended.
pub fn status(table: &mut Table) {
    const RUNS: u64 = 1_000;
    let room = Room::new(0, 1);
    let plan = room.plan("full", "measure the list of runs");
    let (blobs, paths) = (room.blobs(), room.paths());
    let ledger = Ledger::open(&paths.ledger()).expect("a ledger");
    let mut conductor = Conductor::start(SystemClock::default(), ledger, AtOnce::new(7)).expect("a conductor");
    for (part, batch) in runs(&plan.created, RUNS).chunks(100).enumerate() {
        let created = batch.iter().enumerate().map(|(n, created)| {
            let task = blobs.put_text(&format!("Task {part}.{n}: add rate limiting to /login, with tests\n"));
            Created { task: task.expect("a blob"), ..created.clone() }
        });
        let created = created.collect();
        play(&mut conductor, created, 256);
    }
    drop(conductor);
    let ledger = Ledger::read(&paths.ledger()).expect("a ledger").expect("it is there");
    let last = ledger.entries_after(None, 0, u32::MAX).expect("entries").len();
    drop(ledger);
    let git = whole(&room, 31, "git", &["rev-parse", "--show-toplevel"]);
    let log = whole(&room, 31, "git", &["log", "-1"]);
    let beside = format!(
        "{} events a run; git rev-parse {} ms, git log -1 {} ms",
        last / 1_000,
        figure(git.median()),
        figure(log.median())
    );
    let list = whole(&room, 51, PROGRAM, &["status"]);
    table.add("agentops status, 1,000 runs in the ledger", &list, "ms", &Goal::Most(50.0), &beside);
    let all = whole(&room, 51, PROGRAM, &["status", "--limit", "1000"]);
    table.add("  the same with --limit 1000: all of them", &all, "ms", &Goal::Most(50.0), "");
}

/// A lane opened and its work kept, in a repository of a thousand files.
pub fn lane(table: &mut Table) {
    const FILES: usize = 1_000;
    let room = Room::new(FILES, 1);
    let repo = room.discover();
    let base = repo.head().expect("a head").commit;
    let author = Author { name: "AgentOps".into(), email: "agentops@localhost".into() };
    let (mut opened, mut kept, mut git_opened, mut git_kept) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let change = |folder: &Path| {
        for n in 0..3 {
            std::fs::write(folder.join(format!("src/part-{n}/file-{n}.rs")), "changed\n").expect("a changed file");
        }
        std::fs::write(folder.join("new.txt"), "new\n").expect("a new file");
    };
    let ms = |start: Instant| crate::table::ms(start.elapsed());
    for round in 0..9 {
        let name = format!("lane-{round}");
        let start = Instant::now();
        let lane = lanes::create(&repo, &room.path("tmp").join(&name), &base, &name).expect("a lane");
        opened.push(ms(start));
        change(lane.path());
        let start = Instant::now();
        let checkpoint = lane.checkpoint(&base, "work\n", &author, 0, &room.path("tmp")).expect("a checkpoint");
        kept.push(ms(start));
        assert_eq!(checkpoint.changed.len(), 4, "every change is in the checkpoint");
        lanes::remove(&repo, &lane).expect("the lane goes");

        let folder = room.path("tmp").join(format!("git-{round}"));
        let path = folder.display().to_string();
        let start = Instant::now();
        room.run("git", &["worktree", "add", "--quiet", "--detach", &path, base.as_str()]);
        git_opened.push(ms(start));
        change(&folder);
        let start = Instant::now();
        room.run("git", &["-C", &path, "add", "--all"]);
        let person = ["-C", &path, "-c", "user.name=a", "-c", "user.email=a@localhost", "commit", "--quiet", "-m", "work"];
        room.run("git", &person);
        git_kept.push(ms(start));
        room.run("git", &["worktree", "remove", "--force", &path]);
    }
    let [opened, kept, git_opened, git_kept] = [opened, kept, git_opened, git_kept].map(Samples::from);
    let both = Samples::from(vec![opened.median() + kept.median()]);
    let beside = format!("git worktree add, git add, git commit {} ms", figure(git_opened.median() + git_kept.median()));
    table.add("lane opened and kept, 1,000 files", &both, "ms", &Goal::None, &beside);
    table.add("  lane opened", &opened, "ms", &Goal::None, &format!("git worktree add {} ms", figure(git_opened.median())));
    let beside = format!("git add and git commit {} ms", figure(git_kept.median()));
    table.add("  4 changed files kept as a checkpoint", &kept, "ms", &Goal::None, &beside);
}

/// `agentops demo`, which builds and tests a small crate twice on its way.
pub fn demo(table: &mut Table) {
    let room = Room::new(0, 1);
    // Its tests need the user's own tool chain, which may lie below the user's home.
    let user = std::env::var_os("HOME").unwrap_or_default();
    let time = |program: &str, args: &[&str], count: usize, prepare: &dyn Fn()| {
        let mut command = room.command(program, args);
        command.env("HOME", &user).stdout(Stdio::null()).stderr(Stdio::null());
        for name in ["CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN"] {
            command.envs(std::env::var_os(name).map(|value| (name, value)));
        }
        Samples::of(count, || {
            prepare();
            let start = Instant::now();
            assert!(command.status().expect("the program starts").success(), "{program} {args:?}");
            start.elapsed().as_secs_f64()
        })
    };
    let example = room.path("tmp").join("example");
    std::fs::create_dir_all(example.join("src")).expect("a folder");
    std::fs::write(example.join("Cargo.toml"), include_str!("../../demo/Cargo.toml.txt")).expect("a file");
    std::fs::write(example.join("src/lib.rs"), include_str!("../../demo/src/lib.rs")).expect("a file");
    let manifest = example.join("Cargo.toml").display().to_string();
    let cold = || drop(std::fs::remove_dir_all(example.join("target")));
    let tests = time("cargo", &["test", "--quiet", "--manifest-path", &manifest], 5, &cold);
    let whole = time(PROGRAM, &["demo"], 5, &|| ());
    let beside = format!("one cold cargo test of its example {} s", figure(tests.median()));
    table.add("agentops demo, whole", &whole, "s", &Goal::Most(10.0), &beside);
}

/// A supervisor that waits.
pub fn idle(table: &mut Table) {
    let script = json!({ "conversations": [
        { "when": "lane `implement`", "steps": [
            { "do": "call", "usage": 20_000 },
            { "do": "out", "file": "note.md", "content": "a note\n" },
            { "do": "call", "usage": 21_000 }
        ] },
        { "when": "", "steps": [{ "do": "call", "usage": 20_000 }, { "do": "hang" }] }
    ] });
    for (workflow, lanes, cpu) in [("ask", 0, 0.2), ("wide", 24, 1.0)] {
        let room = Room::new(20, 24);
        let waiting = Waiting::start(&room, workflow, lanes, &script);
        // What a run leaves behind on its way here settles first.
        std::thread::sleep(Duration::from_secs(2));
        waiting.measure(table, cpu);
    }
}

/// A supervisor with a follower, and what it keeps.
struct Waiting {
    supervisor: i32,
    keepers: Vec<i32>,
    _follower: std::io::BufReader<std::os::unix::net::UnixStream>,
}

impl Waiting {
    fn start(room: &Room, workflow: &str, lanes: usize, script: &Value) -> Self {
        let path = room.path("tmp").join("script.json");
        std::fs::write(&path, script.to_string()).expect("a script");
        let (workflow, setting) = (format!("--workflow={workflow}"), format!("--set=script={}", path.display()));
        let args = ["run", "wait", workflow.as_str(), "--driver=scripted", "--json", setting.as_str()];
        let value = |text: String| serde_json::from_str::<Value>(&text).expect("JSON");
        let dry = value(room.run(PROGRAM, &[&args[..], &["--dry-run"]].concat()));
        let trust = format!("--trust={}", dry["subject"]["hash"].as_str().expect("a hash"));
        room.run(PROGRAM, &[&args[..], &["--detach", &trust]].concat());
        let paths = room.paths();
        let follower = client::follow(client::connect(&paths, None).expect("a supervisor")).expect("a follower");
        let supervisor = || Lock::holder(&paths.lock()).and_then(|pid| pid.parse().ok()).expect("a supervisor");
        let mut last = String::new();
        for _ in 0..600 {
            std::thread::sleep(Duration::from_millis(100));
            last = room.run(PROGRAM, &["show", "--json"]);
            let view = value(last.clone());
            let sessions = view["phases"][0]["lanes"].as_array().expect("lanes").iter().flat_map(|lane| {
                lane["sessions"].as_array().expect("sessions").iter().filter(|session| session["calls"] == 1)
            });
            let there = match lanes {
                0 => view["status"]["status"] == "waiting",
                lanes => sessions.count() == lanes,
            };
            if there {
                let supervisor = supervisor();
                return Self { supervisor, keepers: keepers(supervisor), _follower: follower };
            }
        }
        panic!("the run does not come to wait: {last}");
    }

    fn measure(&self, table: &mut Table, most: f64) {
        let all: Vec<i32> = std::iter::once(self.supervisor).chain(self.keepers.iter().copied()).collect();
        let used = || all.iter().map(|pid| cpu_seconds(*pid)).sum::<f64>();
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.supervisor)).map_or(0, Iterator::count);
        let share = Samples::of(3, || {
            let (start, before) = (Instant::now(), used());
            std::thread::sleep(Duration::from_secs(10));
            (used() - before) / start.elapsed().as_secs_f64() * 100.0
        });
        let own = mebibytes(self.supervisor, "VmRSS:");
        let rss = |table: &mut Table, name: &str, value: f64, goal: &Goal, beside: &str| {
            table.add(name, &Samples::from(vec![value]), "MiB", goal, beside);
        };
        let beside = format!(
            "{threads} threads; private {} MiB, of its program and libraries {} MiB",
            figure(mebibytes(self.supervisor, "RssAnon:")),
            figure(mebibytes(self.supervisor, "RssFile:"))
        );
        if self.keepers.is_empty() {
            rss(table, "supervisor waiting, with a follower: RSS", own, &Goal::Most(20.0), &beside);
            table.add("supervisor waiting: CPU of a core", &share, "%", &Goal::Most(most), "10 s each");
            return;
        }
        let sum = |field| self.keepers.iter().map(|pid| mebibytes(*pid, field)).sum::<f64>();
        table.add(
            &format!("supervisor and {} keepers, all lanes idle: CPU of a core", self.keepers.len()),
            &share,
            "%",
            &Goal::Most(most),
            "10 s each",
        );
        rss(table, "  the supervisor's RSS then", own, &Goal::Most(20.0), &beside);
        let beside = format!("private {} MiB; the rest is the program, shared by all", figure(sum("RssAnon:")));
        rss(table, "  the keepers' RSS, summed", sum("VmRSS:"), &Goal::None, &beside);
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // The keepers end their trees when the supervisor's pipe closes; only then may the room's folder go.
        for pid in std::iter::once(self.supervisor).chain(self.keepers.iter().copied()) {
            if pid == self.supervisor {
                let pid = rustix::process::Pid::from_raw(pid);
                let _gone = pid.map(|pid| rustix::process::kill_process(pid, rustix::process::Signal::KILL));
            }
            for _ in 0..100 {
                if !std::fs::exists(format!("/proc/{pid}/io")).unwrap_or(false) {
                    break;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

/// The supervisor's children: one keeper a lane.
fn keepers(supervisor: i32) -> Vec<i32> {
    let children = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("children")).ok();
    let tasks = std::fs::read_dir(format!("/proc/{supervisor}/task")).expect("the supervisor runs");
    let all: String = tasks.flatten().filter_map(children).collect();
    let found: Vec<i32> = all.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect();
    say(&format!("supervisor {supervisor} has {} keepers", found.len()));
    found
}

/// Time on a processor so far. From the scheduler, which counts nanoseconds; `stat` counts hundredths of a second, which is
/// too coarse for a process that should do nothing, and is taken where the scheduler does not say.
fn cpu_seconds(pid: i32) -> f64 {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("the process runs");
    let spent = |task: std::fs::DirEntry| {
        std::fs::read_to_string(task.path().join("schedstat")).ok()?.split(' ').next()?.parse::<u64>().ok()
    };
    let nanoseconds: Option<u64> = tasks.flatten().map(spent).sum();
    if let Some(nanoseconds @ 1..) = nanoseconds {
        return nanoseconds as f64 / 1e9;
    }
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
    let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
    let ticks: u64 = after.split_ascii_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    ticks as f64 / 100.0
}

fn mebibytes(pid: i32, field: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default();
    let kib: f64 = line.split_ascii_whitespace().next().and_then(|kib| kib.parse().ok()).unwrap_or(f64::NAN);
    kib / 1024.0
}
