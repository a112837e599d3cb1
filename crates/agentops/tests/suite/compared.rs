//! One run that is disturbed in many ways, and what it must come to: the same as if nobody had disturbed it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use agentops_agents::process::ProcessId;
use agentops_core::run::{Event, Key, SessionEnd, State, Verdict};
use agentops_engine::world::Entry;
use serde_json::{Value, json};

use crate::processes_of::supervisor;
use crate::room::{Room, close_out, everything, marked};
use crate::user_repo::UserRepo;

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
///
/// Before the effect a session waits for `pause_ms`, so that a kill can find it at work.
fn script(pause_ms: u64) -> Value {
    let effect = json!({ "do": "run", "argv": ["sh", "-c", "echo \"$AGENTOPS_SESSION\" >> ../../../../../effects"] });
    let pause = json!({ "do": "wait", "ms": pause_ms });
    json!({ "conversations": [
        { "when": "lane `research`", "steps": [
            { "do": "call", "usage": 12000 },
            { "do": "out", "file": "findings.md", "content": "## Findings\n\nF1 first.txt is wanted.\n" }, pause, effect
        ] },
        { "when": "What was found wrong", "steps": [
            { "do": "call", "usage": 12000 }, { "do": "write", "path": "first.txt", "content": "mended\n" }, pause, effect
        ] },
        { "when": "lane `first`", "steps": [
            { "do": "call", "usage": 20000 }, { "do": "write", "path": "first.txt", "content": "broken\n" }, pause, effect
        ] },
        { "when": "lane `second`", "steps": [
            { "do": "call", "usage": 21000 }, { "do": "write", "path": "folder/second.txt", "content": "second\n" }, pause, effect
        ] },
        { "when": "lane `close-out`", "steps": [
            { "do": "call", "usage": 9000 },
            { "do": "out", "file": "close-out.json", "content": close_out("first.txt") }, pause, effect
        ] }
    ] })
}

/// A room that is copied for every trial: all of them start from the same commit and are trusted by the same hash.
pub struct Template {
    room: Room,
    /// The flag that trusts the repository.
    pub trust: String,
}

impl Template {
    /// A room in which sessions and gates do not wait.
    pub fn new() -> Self {
        Self::pausing(0)
    }

    /// A room in which each session and each gate waits for so long.
    pub fn pausing(pause_ms: u64) -> Self {
        let room = Room::empty();
        let check = "test -f first.txt && test -f folder/second.txt && ! grep -q broken first.txt";
        room.file("check.sh", &format!("sleep {}\n{check}\n", Duration::from_millis(pause_ms).as_secs_f32()));
        room.file(".agentops/config.toml", "[commands]\ntest = [\"sh\", \"check.sh\"]\n");
        room.file(".agentops/workflows/three.toml", WORKFLOW);
        room.file("script.json", &script(pause_ms).to_string());
        room.begin();
        crate::user_repo::in_use(&room);
        let dry = room.run(&[&RUN[..], &["--dry-run"]].concat()).expect(0).json();
        Self { trust: format!("--trust={}", dry["subject"]["hash"].as_str().unwrap()), room }
    }

    /// Another room with this repository, and what is the user's in it.
    pub fn copy(&self) -> (Room, UserRepo) {
        let mut room = Room::empty();
        room.own_temporary();
        let user = self.copy_into(&room);
        (room, user)
    }

    /// Puts this repository into an empty room.
    pub fn copy_into(&self, room: &Room) -> UserRepo {
        room.copy_repo(&self.room);
        // The index knows its files by inode: git brings that up to date here and not in the middle of a trial.
        room.git(&["status"]);
        UserRepo::of(room)
    }
}

/// How the run is started.
pub const RUN: [&str; 6] =
    ["run", "write two files", "--workflow=three", "--driver=scripted", "--json", "--set=script=script.json"];

/// What a finished run looks like, without what may differ between two of them.
#[derive(Debug, PartialEq)]
pub struct Ended {
    /// Mode, object and path of every file of the branch but the records.
    tree: Vec<String>,
    /// The records, with run, times and sessions that did not complete taken out.
    records: BTreeMap<String, String>,
    /// Completed sessions of each lane, in their order.
    pub completed: BTreeMap<String, usize>,
}

impl Ended {
    /// Looks at a finished run of [`Template`], and holds what must hold of every one. `user`: what was the user's before it.
    pub fn look(room: &Room, run: &str, user: &UserRepo) -> Self {
        let (ended, state) = Self::of_any(room, run, user, plain);
        Self::assert_effects(room, &state);
        ended
    }

    /// The same for a run of real agents: how many calls they make and of what size is up to them.
    pub fn of_real_agents(room: &Room, run: &str, user: &UserRepo) -> Self {
        let without_figures = |text: &str, run: &str, view: &Value| {
            let text = plain(text, run, view);
            let Ok(mut record) = serde_json::from_str::<Value>(&text) else { return text };
            // Each room has a commit of its own.
            record["base"].take();
            for session in record["sessions"].as_array_mut().into_iter().flatten() {
                ["calls", "largest_permille", "tokens"].iter().for_each(|figure| drop(session[figure].take()));
            }
            for bundle in record["bundles"].as_array_mut().into_iter().flatten() {
                ["bundle", "hash", "tokens_after", "kept_permille"].iter().for_each(|figure| drop(bundle[figure].take()));
            }
            record.to_string()
        };
        Self::of_any(room, run, user, without_figures).0
    }

    fn of_any(room: &Room, run: &str, user: &UserRepo, plain: impl Fn(&str, &str, &Value) -> String) -> (Self, State) {
        user.assert_unchanged(room);
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
        for (lane, _) in completed(&state) {
            *ended.completed.entry(lane).or_default() += 1;
        }
        nothing_left(room, run);
        (ended, state)
    }

    /// As the script of [`Template`] has it: a completed session had its effect outside once, and no other had it twice.
    fn assert_effects(room: &Room, state: &State) {
        let lines = std::fs::read_to_string(room.root().join("effects")).unwrap();
        let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
        for line in lines.lines() {
            *seen.entry(line.splitn(3, '/').nth(2).unwrap()).or_default() += 1;
        }
        assert!(seen.values().all(|count| *count == 1), "{seen:?}");
        for (_, session) in completed(state) {
            assert_eq!(seen.get(session.as_str()), Some(&1), "{session} of {seen:?}");
        }
    }
}

/// Lane and session of each completed session.
fn completed(state: &State) -> impl Iterator<Item = (String, String)> {
    let completed = state.sessions().filter(|(_, session)| session.end == Some(SessionEnd::Completed));
    completed.map(|(lane, session)| (lane.id.to_string(), session.id.to_string()))
}

fn is_record(line: &str) -> bool {
    ["memory/", "runs/", ".gitattributes"].iter().any(|record| line.contains(&format!("\t.agentops/{record}")))
}

/// A record without the run's id, its date, its sessions that did not complete, and what is counted over their transcripts.
fn plain(text: &str, run: &str, view: &Value) -> String {
    let text = text.replace(run, "RUN");
    let date = jiff::Timestamp::from_millisecond(view["started_at_ms"].as_i64().unwrap()).unwrap().to_string();
    let Ok(mut record) = serde_json::from_str::<Value>(&text) else { return text.replace(&date[..10], "DATE") };
    record["started_at_ms"].take();
    let sessions = record["sessions"].as_array_mut().unwrap();
    sessions.retain(|session| session["end"] == "completed");
    for session in sessions {
        let lane = session["session"].as_str().unwrap().rsplit_once('/').unwrap().0.to_owned();
        session["session"] = lane.into();
    }
    for bundle in record["bundles"].as_array_mut().unwrap() {
        bundle["tokens_before"].take();
    }
    record.to_string()
}

/// Folds the ledger again: no key that succeeded begins or ends again, and no session begins twice.
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
        // What failed did not end: it may begin again under its key when a person has freed the disk, say.
        let failed = matches!(
            entry.event,
            Event::Orphaned | Event::ActionFailed { .. } | Event::GateEnded { verdict: Verdict::Broke, .. }
        );
        if !failed {
            for key in before.difference(&state.begun) {
                assert!(over.insert(key.clone()), "{key} ended twice");
            }
        }
    }
    state
}

/// A process as somebody needs it who looks for the reason why it is there.
fn described(process: &ProcessId) -> String {
    let read = |what: &str| std::fs::read(format!("/proc/{}/{what}", process.pid)).unwrap_or_default();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).replace('\0', " ");
    format!("{}: {} | {} | {}", process.pid, text(read("cmdline")), text(read("stat")), text(read("environ")))
}

/// No process, no lane, no temporary file and no torn object, once the supervisor has ended for want of work.
fn nothing_left(room: &Room, run: &str) {
    let left: Vec<String> = marked(room).iter().map(described).collect();
    assert!(left.is_empty(), "processes left: {left:#?}");
    // Its lock is released a moment before its end.
    while let Some(supervisor) = supervisor(room) {
        assert!(supervisor.wait_end(Duration::from_secs(60)), "the supervisor does not end for want of work");
    }
    // Any command removes what a killed one left.
    room.run(&["status"]).expect(0);
    assert_eq!(room.git(&["worktree", "list", "--porcelain"]).matches("worktree ").count(), 1);
    assert!(!room.private(&format!("lanes/{run}")).is_some_and(|lanes| lanes.exists()));
    assert_eq!(room.git(&["for-each-ref", "refs/agentops/lanes"]), "");
    let folders = [room.private("scratch").unwrap(), room.temporary()];
    let left: Vec<PathBuf> = folders.iter().flat_map(|folder| everything(folder)).collect();
    assert!(left.is_empty(), "left of what was temporary: {left:#?}");
    room.git(&["fsck", "--no-dangling", "--no-progress"]);
}
