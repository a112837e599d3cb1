//! P5, R11: many runs at once, on one repository and on several of one user, all end as done.
//!
//! With `AGENTOPS_SLOW` 30 on one repository; with `AGENTOPS_NIGHTLY` 100 on one and 200 on three.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::processes_of::supervisors;
use crate::room::{Ran, Room, nightly, quick_script, refs, scripted, slow};

/// After so long without a run that ended, those that are left are stuck. It only ends a test that has failed.
const STUCK: Duration = Duration::from_secs(300);

/// The most that one supervisor ever used.
#[derive(Debug, Default, Clone, Copy)]
struct Used {
    resident_kib: u64,
    threads: u64,
    /// 0 where the system does not show them to us.
    descriptors: u64,
}

impl Used {
    fn by(pid: i32) -> Self {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
            line.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
        };
        let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, |entries| entries.count() as u64);
        Self { resident_kib: field("VmHWM:"), threads: field("Threads:"), descriptors }
    }

    fn max(self, other: Self) -> Self {
        Self {
            resident_kib: self.resident_kib.max(other.resident_kib),
            threads: self.threads.max(other.threads),
            descriptors: self.descriptors.max(other.descriptors),
        }
    }
}

/// The room's repository, and copies of it beside it.
fn repositories(room: &Room, count: usize) -> Vec<PathBuf> {
    let mut all = vec![room.repo()];
    for n in 1..count {
        let copy = room.root().join(format!("repo-{n}"));
        std::fs::create_dir(&copy).unwrap();
        for path in crate::room::everything(&room.repo()) {
            let to = copy.join(path.strip_prefix(room.repo()).unwrap());
            if path.is_dir() { std::fs::create_dir(to).unwrap() } else { assert!(std::fs::copy(&path, to).is_ok()) }
        }
        all.push(copy);
    }
    all
}

/// Every run of a repository.
fn runs(room: &Room, repo: &Path, count: usize) -> Vec<Value> {
    let out = room.command(&["status", "--json", "--limit", &count.to_string()]).current_dir(repo).output().unwrap();
    Ran::of(&out).expect(0).json()["runs"].as_array().unwrap().clone()
}

/// Plays so many runs at once, the same number on each repository, and gives a line for the table.
fn play(count: usize, repositories_count: usize) -> String {
    let room = Room::new();
    let args = scripted(&room, "quick", quick_script());
    let repositories = repositories(&room, repositories_count);
    let began = Instant::now();
    let start = |n: usize| {
        let mut command = room.command(&[&refs(&args)[..], &["--detach"]].concat());
        command.current_dir(&repositories[n % repositories_count]).stdout(Stdio::null()).stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    let clients: Vec<_> = (0..count).map(start).collect();
    let started: Vec<_> = clients.into_iter().map(|client| Ran::of(&client.wait_with_output().unwrap())).collect();
    let refused: Vec<_> = started.iter().filter(|ran| ran.code != 0).collect();
    let acknowledged = began.elapsed();
    let mut used: BTreeMap<i32, Used> = BTreeMap::new();
    let (mut ended, mut progress) = (0, Instant::now());
    let all = loop {
        for supervisor in supervisors(&room) {
            let most = used.entry(supervisor.pid).or_default();
            *most = most.max(Used::by(supervisor.pid));
        }
        let all: Vec<Value> = repositories.iter().flat_map(|repo| runs(&room, repo, count)).collect();
        let ended_now = all.iter().filter(|run| !["running", "waiting"].contains(&run["status"].as_str().unwrap())).count();
        if ended_now > ended {
            (ended, progress) = (ended_now, Instant::now());
        }
        if ended == all.len() || progress.elapsed() > STUCK {
            break all;
        }
        // It samples: what the supervisors use at most has no event to wait for.
        std::thread::sleep(Duration::from_secs(1));
    };
    let mut outcomes: BTreeMap<String, usize> = BTreeMap::new();
    for run in &all {
        *outcomes.entry(run["status"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    let resident_mib: Vec<u64> = used.values().map(|used| used.resident_kib / 1024).collect();
    let most = used.values().fold(Used::default(), |most, used| most.max(*used));
    let row = format!(
        "{count} runs on {repositories_count}: {:.0} s (acknowledged after {:.0} s), {outcomes:?}; supervisors: peak RSS \
         {resident_mib:?} MiB, at most {} threads and {} descriptors",
        began.elapsed().as_secs_f32(),
        acknowledged.as_secs_f32(),
        most.threads,
        most.descriptors
    );
    assert!(refused.is_empty(), "{row}\n{} were refused, the first: {:#?}", refused.len(), refused[0]);
    let other: Vec<_> = all.iter().filter(|run| run["status"] != "done").collect();
    assert!(other.is_empty(), "{row}\n{}", explain(&room, &repositories, &other));
    assert_eq!(all.len(), count, "{row}");
    row
}

/// What the runs that did not end as done say of themselves.
fn explain(room: &Room, repositories: &[PathBuf], runs: &[&Value]) -> String {
    let mut texts = Vec::new();
    for run in runs.iter().take(5) {
        let id = run["run"].as_str().unwrap();
        let shown = repositories.iter().map(|repo| room.command(&["show", id]).current_dir(repo).output().unwrap());
        texts.extend(shown.map(|out| Ran::of(&out)).filter(|ran| ran.code == 0).map(|ran| ran.stdout));
    }
    texts.join("\n")
}

#[test]
fn p5_r11_many_runs_at_once_on_one_repository_all_end_done() {
    let count = match (nightly(), slow()) {
        (true, _) => 100,
        (false, true) => 30,
        (false, false) => return println!("skipped: 30 runs take minutes; AGENTOPS_SLOW=1 plays them"),
    };
    println!("{}", play(count, 1));
}

#[test]
fn p5_r11_many_runs_at_once_on_three_repositories_all_end_done() {
    match nightly() {
        true => println!("{}", play(200, 3)),
        false => println!("skipped: 200 runs take minutes; AGENTOPS_NIGHTLY=1 plays them"),
    }
}

/// What a process has of memory that is not of a file, in KiB.
fn anonymous_kib(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn p5_a_supervisor_that_lives_long_keeps_nothing_of_runs_that_ended() {
    if !slow() {
        return println!("skipped: 70 runs take a minute; AGENTOPS_SLOW=1 plays them");
    }
    let room = Room::new();
    let (ready, go) = (room.pipe("ready"), room.pipe("go"));
    let mut script = quick_script();
    let meet = format!("echo x > {}; cat {}", ready.display(), go.display());
    script[0]["steps"].as_array_mut().unwrap().insert(1, json!({ "do": "run", "argv": ["sh", "-c", meet] }));
    // As long as its agent waits, the supervisor stays.
    let long = room.detach(&scripted(&room, "quick", script));
    std::fs::read(&ready).unwrap();
    let supervisor = room.supervisor().unwrap();
    let short = scripted(&room, "quick", quick_script());
    let now = || anonymous_kib(supervisor);
    for _ in 0..10 {
        room.run(&refs(&short)).expect(0);
    }
    let warm = now();
    for _ in 0..30 {
        room.run(&refs(&short)).expect(0);
    }
    let one_by_one = now();
    let runs: Vec<String> = (0..30).map(|_| room.detach(&short)).collect();
    for run in runs {
        room.run(&["logs", &run, "--follow"]).expect(0);
    }
    let at_once = now();
    println!("a supervisor's memory: {warm} KiB after 10 runs, {one_by_one} after 30 more, {at_once} after 30 more at once");
    assert!(one_by_one < warm + 3 * 1024, "100 KiB a run would be kept");
    assert!(at_once < one_by_one + 16 * 1024, "half a MiB a run would be kept");
    assert_eq!(room.supervisor(), Some(supervisor));
    std::fs::write(&go, "x").unwrap();
    room.run(&["logs", &long, "--follow"]).expect(0);
}
