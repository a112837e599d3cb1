//! R1, R2, P3: the supervisor is killed at its N-th durable boundary, for every N; the next one brings the run to the
//! same end.
//!
//! SIGKILL of the real process, not a panic. What must hold afterwards is in `Ended::holds`.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use agentops_core::run::{Event, Key, SessionEnd, State};
use agentops_engine::crash::BOUNDARIES;
use agentops_engine::world::Entry;
use serde_json::{Value, json};

use crate::room::{Ran, Room, close_out, marked, slow};

/// Three phases and two lanes; the gate of the second phase refuses once.
const WORKFLOW: &str = r#"
name = "three"
[[phase]]
name = "research"
writes = "artifacts"
agent = "research"
[[phase.gate]]
kind = "artifact"
file = "findings.md"
headings = ["Findings"]
[[phase]]
name = "implement"
writes = "files"
[[phase.lane]]
name = "first"
agent = "implement"
[[phase.lane]]
name = "second"
agent = "implement"
[[phase.gate]]
kind = "command"
use = "test"
[[phase]]
name = "close-out"
writes = "artifacts"
agent = "close-out"
[[phase.gate]]
kind = "artifact"
file = "close-out.json"
schema = "close-out"
"#;

/// Every session leaves one line outside of everything, with its own name: an effect that nobody can take back.
fn script() -> Value {
    let effect = json!({ "do": "run", "argv": ["sh", "-c", "echo \"$AGENTOPS_SESSION\" >> ../../../../../effects"] });
    json!({ "conversations": [
        { "when": "lane `research`", "steps": [
            { "do": "call", "usage": 12000 },
            { "do": "out", "file": "findings.md", "content": "## Findings\n\nF1 first.txt is wanted.\n" }, effect
        ] },
        { "when": "What was found wrong", "steps": [
            { "do": "call", "usage": 12000 }, { "do": "write", "path": "first.txt", "content": "mended\n" }, effect
        ] },
        { "when": "lane `first`", "steps": [
            { "do": "call", "usage": 20000 }, { "do": "write", "path": "first.txt", "content": "broken\n" }, effect
        ] },
        { "when": "lane `second`", "steps": [
            { "do": "call", "usage": 21000 }, { "do": "write", "path": "folder/second.txt", "content": "second\n" }, effect
        ] },
        { "when": "lane `close-out`", "steps": [
            { "do": "call", "usage": 9000 },
            { "do": "out", "file": "close-out.json", "content": close_out("first.txt") }, effect
        ] }
    ] })
}

/// A room that is copied for every N, so that all of them start from the same commit and are trusted by the same hash.
struct Template {
    room: Room,
    trust: String,
}

impl Template {
    fn new() -> Self {
        let room = Room::empty();
        room.file("check.sh", "test -f first.txt && test -f folder/second.txt && ! grep -q broken first.txt\n");
        room.file(".agentops/config.toml", "[commands]\ntest = [\"sh\", \"check.sh\"]\n");
        room.file(".agentops/workflows/three.toml", WORKFLOW);
        room.file("script.json", &script().to_string());
        room.begin();
        let dry = room.run(&[&RUN[..], &["--dry-run"]].concat()).expect(0).json();
        Self { trust: format!("--trust={}", dry["subject"]["hash"].as_str().unwrap()), room }
    }

    fn copy(&self) -> Room {
        let room = Room::empty();
        room.copy_repo(&self.room);
        room
    }
}

const RUN: [&str; 6] =
    ["run", "write two files", "--workflow=three", "--driver=scripted", "--json", "--set=script=script.json"];

/// Starts the run in a supervisor that is killed at boundary `n`, and waits until that one is dead.
fn crash(room: &Room, trust: &str, n: u64) -> Ran {
    let out = room.command(&[&RUN[..], &[trust, "--detach"]].concat()).env("AGENTOPS_CRASH_AT", n.to_string()).output();
    room.await_supervisor();
    Ran::of(&out.unwrap())
}

/// A supervisor that is killed at boundary `n` of its own, or ends because nothing is left to do.
fn supervise(room: &Room, n: u64) {
    let status = room.command(&["supervise"]).env("AGENTOPS_CRASH_AT", n.to_string()).stderr(Stdio::null()).status();
    assert!(status.is_ok());
}

/// Brings the only run of the room to its end; `None` when there is none, because the crash came before it was acknowledged.
fn finish(room: &Room, acknowledged: &Ran) -> Option<String> {
    let status = room.run(&["status", "--json"]).expect(0).json();
    let runs = status["runs"].as_array().unwrap();
    assert!(runs.len() <= 1, "{runs:?}");
    if acknowledged.code == 0 {
        assert_eq!(runs[0]["run"], acknowledged.json()["run"], "an acknowledged run is kept");
    }
    let run = runs.first()?["run"].as_str()?.to_owned();
    if runs[0]["status"] != "done" {
        room.run(&["resume", &run, "--json"]).expect(0);
    }
    Some(run)
}

/// What a finished run looks like, without what may differ between two of them.
#[derive(Debug, PartialEq)]
struct Ended {
    /// Mode, object and path of every file of the branch but the records.
    tree: Vec<String>,
    /// The records, with run, times and interrupted sessions taken out.
    records: BTreeMap<String, String>,
    /// Completed sessions of each lane, in their order.
    completed: BTreeMap<String, usize>,
}

impl Ended {
    /// Looks at a finished run, and holds what must hold of every one.
    fn look(room: &Room, run: &str) -> Self {
        let view = room.run(&["show", run, "--json"]).expect(0).json();
        assert_eq!(view["status"]["status"], "done");
        let entries = room.entries(run);
        let state = counted_once(&entries);
        let branch = view["branch"].as_str().unwrap();
        let listed = room.git(&["ls-tree", "-r", branch]);
        let (records, tree) = listed.lines().map(str::to_owned).partition::<Vec<_>, _>(|line| is_record(line));
        let records = records.iter().filter_map(|line| line.split_once('\t')).map(|(_, path)| {
            let content = room.git(&["show", &format!("{branch}:{path}")]);
            (plain(path, run, &view), plain(&content, run, &view))
        });
        let mut ended = Self { tree, records: records.collect(), completed: BTreeMap::new() };
        ended.effects(room, &state);
        nothing_left(room, run);
        ended
    }

    /// A completed session had its effect once, and no other had it twice.
    fn effects(&mut self, room: &Room, state: &State) {
        let lines = std::fs::read_to_string(room.root().join("effects")).unwrap();
        let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
        for line in lines.lines() {
            *seen.entry(line.splitn(3, '/').nth(2).unwrap()).or_default() += 1;
        }
        assert!(seen.values().all(|count| *count == 1), "{seen:?}");
        for (lane, session) in state.sessions().filter(|(_, session)| session.end == Some(SessionEnd::Completed)) {
            assert_eq!(seen.get(session.id.to_string().as_str()), Some(&1), "{} of {seen:?}", session.id);
            *self.completed.entry(lane.id.to_string()).or_default() += 1;
        }
    }
}

fn is_record(line: &str) -> bool {
    ["memory/", "runs/", ".gitattributes"].iter().any(|record| line.contains(&format!("\t.agentops/{record}")))
}

/// A record without the run's id, its date, its interrupted sessions, and what is counted over their transcripts.
fn plain(text: &str, run: &str, view: &Value) -> String {
    let text = text.replace(run, "RUN");
    let date = jiff::Timestamp::from_millisecond(view["started_at_ms"].as_i64().unwrap()).unwrap().to_string();
    let Ok(mut record) = serde_json::from_str::<Value>(&text) else { return text.replace(&date[..10], "DATE") };
    record["started_at_ms"].take();
    let sessions = record["sessions"].as_array_mut().unwrap();
    sessions.retain(|session| session["end"] != "interrupted");
    for session in sessions {
        let lane = session["session"].as_str().unwrap().rsplit_once('/').unwrap().0.to_owned();
        session["session"] = lane.into();
    }
    for bundle in record["bundles"].as_array_mut().unwrap() {
        bundle["tokens_before"].take();
    }
    record.to_string()
}

/// Folds the ledger again: no key ends twice, none begins after it ended, and no session begins twice.
fn counted_once(entries: &[Entry]) -> State {
    let mut state = State::first(&entries[0].event, entries[0].at_ms).unwrap();
    let (mut over, mut sessions) = (BTreeSet::new(), BTreeSet::new());
    for entry in &entries[1..] {
        let before = state.begun.clone();
        if let Event::Began { key } = &entry.event {
            assert!(!over.contains(key), "{key} had ended before it began again");
            if let Key::Session { session } = key {
                assert!(sessions.insert(session.clone()), "{session} began twice");
            }
        }
        state.apply(&entry.event, entry.at_ms).unwrap();
        if entry.event != Event::Orphaned {
            for key in before.difference(&state.begun) {
                assert!(over.insert(key.clone()), "{key} ended twice");
            }
        }
    }
    state
}

/// No process, no work tree, no torn object, and the user's checkout as it was.
fn nothing_left(room: &Room, run: &str) {
    assert_eq!(marked(room), [], "processes left");
    assert_eq!(room.git(&["worktree", "list", "--porcelain"]).matches("worktree ").count(), 1);
    assert!(!room.private(&format!("lanes/{run}")).is_some_and(|lanes| lanes.exists()));
    room.git(&["fsck", "--connectivity-only"]);
    assert_eq!(room.git(&["status", "--porcelain"]), "");
    assert_eq!(room.git(&["rev-parse", "--abbrev-ref", "HEAD"]), "main");
    assert_eq!(room.git(&["rev-list", "--count", "HEAD"]), "1");
}

/// The uncrashed run: what it comes to, and the boundaries that it passes.
fn uncrashed(template: &Template) -> (Ended, Vec<String>) {
    let room = template.copy();
    let log = room.root().join("boundaries");
    let out = room.command(&[&RUN[..], &[&template.trust]].concat()).env("AGENTOPS_CRASH_LOG", &log).output().unwrap();
    let view = Ran::of(&out).expect(0).json();
    let passed = std::fs::read_to_string(&log).unwrap().lines().map(str::to_owned).collect();
    let ended = Ended::look(&room, view["run"].as_str().unwrap());
    assert_eq!(ended.completed["implement/first"], 2, "the gate refused once");
    (ended, passed)
}

/// Plays `crashes` in a few threads; each is the boundaries at which one supervisor after the other is killed.
fn play(template: &Template, crashes: &[Vec<u64>], expected: &Ended) {
    let (next, failed) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    let one = || {
        while let Some(at) = crashes.get(usize::try_from(next.fetch_add(1, Ordering::SeqCst)).unwrap()) {
            let room = template.copy();
            let tried = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                let acknowledged = crash(&room, &template.trust, at[0]);
                for n in &at[1..] {
                    supervise(&room, *n);
                }
                if let Some(run) = finish(&room, &acknowledged) {
                    assert_eq!(Ended::look(&room, &run), *expected);
                } else {
                    assert_ne!(acknowledged.code, 0);
                    assert!(!room.root().join("effects").exists());
                }
            }));
            if tried.is_err() {
                failed.lock().unwrap().push(format!("crash at {at:?}:\n{}", room.story()));
            }
        }
    };
    std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(one))));
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{} crashes were not survived: {}", failed.len(), failed.join("\n"));
}

#[test]
fn r1_r2_whatever_boundary_the_supervisor_dies_at_the_run_ends_the_same_and_nothing_is_done_twice() {
    let template = Template::new();
    let (expected, passed) = uncrashed(&template);
    for boundary in BOUNDARIES {
        assert!(passed.iter().any(|name| name == boundary), "no run passes {boundary}");
    }
    let all = passed.len() as u64;
    // Always among them: the gate has refused, and the session that is to be reset to the merge has begun and done nothing.
    let gate = passed.iter().enumerate().filter(|(_, name)| *name == "lane-after-open").nth(3).unwrap().0;
    let refused = gate + passed[gate..].iter().position(|name| name == "ledger-after-commit").unwrap() + 1;
    let spread = (0..24).map(|i| 1 + i * (all - 1) / 23).chain([refused as u64]);
    let picked: Vec<Vec<u64>> =
        if slow() { (1..=all).map(|n| vec![n]).collect() } else { spread.map(|n| vec![n]).collect() };
    let began = std::time::Instant::now();
    play(&template, &picked, &expected);
    println!("{} of {all} boundaries crashed at, in {:.1} s", picked.len(), began.elapsed().as_secs_f32());
}

#[test]
fn r1_r2_a_second_supervisor_that_dies_while_it_takes_over_changes_nothing() {
    let template = Template::new();
    let (expected, passed) = uncrashed(&template);
    let all = passed.len() as u64;
    // The first dies somewhere, the second early, where it takes over, and once later; a third goes on after that.
    let step = if slow() { 11 } else { 53 };
    let firsts = (3..all).step_by(step);
    let crashes: Vec<Vec<u64>> = firsts.enumerate().map(|(i, n)| vec![n, 1 + i as u64 % 9, 5 + i as u64 * 7 % 40]).collect();
    play(&template, &crashes, &expected);
    println!("{} chains of three crashes", crashes.len());
}
