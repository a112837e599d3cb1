//! No agent approves, and no code that an agent wrote: whatever they try, they are told no and the ledger shows nothing.

use agentops::error::NOT_ALLOWED;
use serde_json::{Value, json};

use crate::room::{Room, close_out, refs, scripted, skip_unless_ci};

/// Everything that only a person may do, as a shell would write it.
const FOR_PEOPLE: [&str; 18] = [
    "approve",
    "approve --json",
    "reject -m no",
    "resume",
    "cancel",
    "merge --trust-changes --no-test",
    "discard",
    "trust add --driver=scripted",
    "trust revoke",
    "run more --driver=scripted --detach",
    "supervise",
    "approve r-zzzzzz",
    "recall words --all",
    "agents add .",
    "agents remove x",
    "route correct x --workflow=quick",
    "doctor --adopt 0123456789abcdef",
    "doctor --new-id",
];

/// A script that tries everything in every disguise and writes what came of it, a line each, into `answers`.
fn attempts(room: &Room, answers: &str) -> String {
    let ours = env!("CARGO_BIN_EXE_agentops");
    let (home, state, repo) = (room.root().join("home"), room.state(), room.repo());
    let flags = format!("--repo='{}' --state-dir='{}'", repo.display(), state.display());
    let answers = room.root().join(answers);
    let mut text = format!("export HOME='{}'\nexport AGENTOPS_STATE_DIR='{}'\n", home.display(), state.display());
    let mut attempt = |disguise: &str, command: &str, before: &str| {
        text.push_str(&format!(
            "{before} '{ours}' {command} {flags} >/dev/null 2>&1 </dev/null; echo \"$? {disguise} {command}\" >> '{}'\n",
            answers.display()
        ));
    };
    let sealed = format!("env -i PATH=\"$PATH\" HOME='{}' AGENTOPS_STATE_DIR='{}'", home.display(), state.display());
    for command in FOR_PEOPLE {
        attempt("plain", command, "");
        attempt("sealed", command, &sealed);
    }
    attempt("apart", "approve", &format!("setsid --wait {sealed}"));
    attempt("apart", "run more --driver=scripted --detach", &format!("setsid --wait {sealed}"));
    // From the middle of the tree: two forks and a session of its own, its parent gone before it asks.
    let away = format!(
        "'{ours}' approve {flags} >/dev/null 2>&1 </dev/null; echo \"$? forked approve\" >> '{0}'; echo >> '{0}.fifo'",
        answers.display()
    );
    text.push_str(&format!("mkfifo '{}.fifo'\n", answers.display()));
    text.push_str(&format!("( setsid sh -c '{}' & ) &\n", away.replace('\'', "'\\''")));
    text.push_str(&format!("cat '{}.fifo' > /dev/null\n", answers.display()));
    if python().is_some() {
        text.push_str(&format!(
            "python3 '{}' '{}' >> '{}'\n",
            socket_script(room).display(),
            state.display(),
            answers.display()
        ));
    } else {
        skip_unless_ci("no python3 speaks to the socket itself");
    }
    text
}

/// python3, if this machine has one.
fn python() -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join("python3")).find(|program| program.is_file())
}

/// What only a person may ask over the socket.
fn asks() -> Vec<Value> {
    let environment = json!({ "variables": [["PATH", "/elsewhere"]], "config": "/elsewhere" });
    vec![
        json!({ "ask": "approve", "run": "RUN", "shown": "0".repeat(64) }),
        json!({ "ask": "approve", "run": "RUN", "shown": "SHOWN" }),
        json!({ "ask": "reject", "run": "RUN", "shown": "SHOWN", "message": "no" }),
        json!({ "ask": "resume", "run": "RUN", "environment": environment, "raise": null }),
        json!({ "ask": "cancel", "run": "RUN" }),
        json!({ "ask": "compare-environment", "run": "RUN", "shell": { "salt": [1], "hashes": [] } }),
        json!({ "ask": "may-close" }),
        json!({ "ask": "close", "run": "RUN", "closing": { "closing": "discarded", "commit": "0".repeat(40) } }),
        json!({ "ask": "start", "environment": environment, "request": { "task": "x", "workflow": null, "agent": null,
            "driver": "scripted", "model": null, "base": null,
            "approve": "all", "settings": {}, "trust": null } }),
    ]
}

/// Speaks to the socket itself, without our client's own check.
fn socket_script(room: &Room) -> std::path::PathBuf {
    let path = room.root().join("ask.py");
    let asks = asks().iter().map(Value::to_string).collect::<Vec<_>>().join("\n");
    let script = format!(
        r#"import glob, json, os, socket, sqlite3, sys
folder = [f for f in glob.glob(sys.argv[1] + "/*") if os.path.exists(f + "/supervisor.sock")][0]
db = sqlite3.connect(folder + "/ledger.db")
run = db.execute("SELECT run FROM runs ORDER BY first_seq DESC LIMIT 1").fetchone()[0]
shown = "1" * 64
for (body,) in db.execute("SELECT body FROM events WHERE run = ? ORDER BY seq", (run,)):
    shown = json.loads(body).get("shown", shown)
db.close()
os.chdir(folder)
for ask in """{asks}""".splitlines():
    s = socket.socket(socket.AF_UNIX)
    s.connect("supervisor.sock")
    s.sendall((ask.replace("RUN", run).replace("SHOWN", shown) + "\n").encode())
    answer = json.loads(s.makefile().readline())
    print(5 if answer.get("kind") == "not-allowed" else answer, "socket", json.loads(ask)["ask"])
"#
    );
    std::fs::write(&path, script).unwrap();
    path
}

/// Each attempt was refused as not allowed, and every kind of attempt is there.
#[track_caller]
fn all_refused(room: &Room, answers: &str) {
    let text = std::fs::read_to_string(room.root().join(answers)).unwrap();
    let wanted = FOR_PEOPLE.len() * 2 + 3 + if python().is_some() { asks().len() } else { 0 };
    assert_eq!(text.lines().count(), wanted, "{text}");
    for line in text.lines() {
        assert!(line.starts_with(&format!("{NOT_ALLOWED} ")), "{line}\nof\n{text}");
    }
}

fn events(room: &Room) -> Vec<Value> {
    let text = room.run(&["logs", "--json"]).expect(0).stdout;
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[track_caller]
fn no_intent(room: &Room) {
    for event in events(room) {
        assert!(!event.to_string().contains("\"intent\""), "{event}");
    }
    assert_eq!(
        room.run(&["status", "--json"]).expect(0).json()["runs"].as_array().unwrap().len(),
        1,
        "one run, and no more"
    );
    assert!(!room.root().join("home/.config/agentops/trust.toml").exists(), "trust was written");
}

fn conversations(first: Value) -> Value {
    json!([
        { "when": "lane `implement`", "steps": [
            { "do": "call", "usage": 20000 }, first,
            { "do": "write", "path": "done.txt", "content": "done\n" },
            { "do": "call", "usage": 24000 }
        ] },
        { "when": "lane `close-out`", "steps": [
            { "do": "call", "usage": 9000 },
            { "do": "out", "file": "close-out.json", "content": close_out("done.txt") }
        ] }
    ])
}

#[test]
fn an_agent_may_do_nothing_that_a_person_must() {
    let room = Room::new();
    let script = attempts(&room, "answers");
    let steps = conversations(json!({ "do": "run", "argv": ["sh", "-c", script] }));
    room.run(&refs(&scripted(&room, "quick", steps))).expect(0);
    all_refused(&room, "answers");
    no_intent(&room);
}

/// There a process does not see its keeper. The supervisor sees it.
#[test]
fn s13_an_agent_in_a_pid_namespace_of_its_own_merges_and_discards_nothing() {
    let Some(unshared) = crate::namespace::unshared() else { return };
    let room = Room::new();
    room.name_user();
    let first = room.run(&refs(&scripted(&room, "quick", crate::room::quick_script()))).expect(0).json();
    let (run, branch) = (first["run"].as_str().unwrap(), first["branch"].as_str().unwrap());
    let before = [room.git(&["rev-parse", "HEAD"]), room.git(&["rev-parse", branch])];
    let answers = room.root().join("answers");
    let ours = env!("CARGO_BIN_EXE_agentops");
    let flags = format!("--repo='{}' --state-dir='{}'", room.repo().display(), room.state().display());
    let sealed = format!("{unshared} env -i PATH=\"$PATH\" HOME='{}'", room.root().join("home").display());
    let attempt = |command: &str| format!("{sealed} '{ours}' {command} {run} {flags}; echo $? >> '{}'\n", answers.display());
    let script = attempt("merge --trust-changes --no-test") + &attempt("discard");
    let steps = conversations(json!({ "do": "run", "argv": ["sh", "-c", script] }));
    room.run(&refs(&scripted(&room, "quick", steps))).expect(0);
    assert_eq!(std::fs::read_to_string(&answers).unwrap(), format!("{NOT_ALLOWED}\n{NOT_ALLOWED}\n"));
    assert_eq!([room.git(&["rev-parse", "HEAD"]), room.git(&["rev-parse", branch])], before);
}

#[test]
fn a_test_that_an_agent_wrote_may_neither() {
    let room = Room::new();
    // The gate runs the test as the agent left it: the agent's own code.
    let script = attempts(&room, "answers");
    let steps = conversations(json!({ "do": "write", "path": "check.sh", "content": script }));
    room.run(&refs(&scripted(&room, "quick", steps))).expect(0);
    all_refused(&room, "answers");
    no_intent(&room);
}

#[test]
fn what_outlives_its_session_is_ended_before_it_can_ask() {
    let room = Room::new();
    let fifo = room.root().join("go");
    let asked = room.root().join("asked");
    // It waits until the gate writes into its pipe; by then its own session is over.
    let gate = format!("exec 3<>'{}' && echo >&3 && test -f done.txt\n", fifo.display());
    room.file("check.sh", &gate);
    room.git(&["commit", "--quiet", "--all", "-m", "a gate that wakes it"]);
    let late = format!(
        "cat '{}' > /dev/null; '{}' cancel --repo='{}' --state-dir='{}'; echo $? > '{}'",
        fifo.display(),
        env!("CARGO_BIN_EXE_agentops"),
        room.repo().display(),
        room.state().display(),
        asked.display()
    );
    let pid = room.root().join("pid");
    let start = format!(
        "mkfifo '{}'; ( setsid env -i PATH=\"$PATH\" HOME='{}' \
         sh -c 'echo $$ > \"{}\"; {}' >/dev/null 2>&1 </dev/null & ) &\n\
         until [ -s '{}' ]; do :; done",
        fifo.display(),
        room.root().join("home").display(),
        pid.display(),
        late.replace('\'', "'\\''"),
        pid.display()
    );
    let steps = conversations(json!({ "do": "run", "argv": ["sh", "-c", start] }));
    room.run(&refs(&scripted(&room, "quick", steps))).expect(0);
    let pid = std::fs::read_to_string(&pid).unwrap();
    assert!(!std::path::Path::new(&format!("/proc/{}", pid.trim())).exists(), "it still runs");
    assert!(!asked.exists(), "it asked");
    no_intent(&room);
}

#[test]
fn an_agent_takes_neither_threads_nor_connections_from_a_person() {
    if python().is_none() {
        return skip_unless_ci("no python3 opens connections by the hundred");
    }
    let room = Room::new();
    let script = room.root().join("connect.py");
    let text = r#"import glob, os, re, socket, sys
folder = [f for f in glob.glob(sys.argv[1] + "/*") if os.path.exists(f + "/supervisor.sock")][0]
os.chdir(folder)
held, refused = [], 0
for _ in range(300):
    s = socket.socket(socket.AF_UNIX)
    s.connect("supervisor.sock")
    held.append(s)
    if len(held) > 100:
        # Those before this one have been looked at, so the bound was reached long ago.
        refused += b"as many connections" in s.makefile("rb").readline()
pid = open("supervisor.lock").read()
threads = re.search(r"Threads:\s+(\d+)", open("/proc/" + pid + "/status").read()).group(1)
print(refused, threads)
"#;
    std::fs::write(&script, text).unwrap();
    let seen = room.root().join("seen");
    let run = format!("python3 '{}' '{}' > '{}'", script.display(), room.state().display(), seen.display());
    let steps = conversations(json!({ "do": "run", "argv": ["sh", "-c", run] }));
    // The run itself is followed by a person's command all the time.
    room.run(&refs(&scripted(&room, "quick", steps))).expect(0);
    let seen = std::fs::read_to_string(&seen).unwrap();
    let figures: Vec<u64> = seen.split_whitespace().map(|figure| figure.parse().unwrap()).collect();
    assert_eq!(figures[0], 200, "{seen}");
    assert!(figures[1] < 60, "{seen}");
}

#[test]
fn a_person_is_not_refused() {
    // The other side: the same commands from a process that no keeper started.
    let room = Room::new();
    let script = conversations(json!({ "do": "write", "path": "a", "content": "broken" }));
    room.run(&refs(&scripted(&room, "quick", script))).expect(0);
    room.run(&["discard"]).expect(0);
    room.run(&["trust", "add", "--driver=scripted"]).expect(0);
}
