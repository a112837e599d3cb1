//! Wrong input and broken machines: each is refused with words that say what to do, and nothing is lost.

use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use agentops::error::{FAILED, NEEDS_DECISION, NOT_NOW, USAGE, WAITING};
use serde_json::Value;

use crate::namespace::shell_with_mounts;
use crate::room::{Ran, Room, bytes_of, quick_script, refs, scripted};

impl Ran {
    /// Holds the exit code, and that the error has a hint with these words.
    #[track_caller]
    pub fn refused(self, code: u8, words: &[&str]) -> Self {
        let ran = self.expect(code.into());
        let told = ran.stderr.find("error: ").map(|at| &ran.stderr[at..]).unwrap_or_default();
        assert!(told.contains("hint: "), "no hint: {ran:#?}");
        for word in words {
            assert!(told.contains(word), "`{word}` is not in: {told}");
        }
        assert!(!ran.stderr.contains("panicked"), "{ran:#?}");
        ran
    }
}

/// A command that must be refused and must leave the repository as it is, to the byte. Its id may be written before.
#[track_caller]
fn refuse(room: &Room, args: &[&str], code: u8, words: &[&str]) {
    let identity = ["repository-id", "state-folder", "identity.lock"].map(|file| Path::new(".git/agentops").join(file));
    let bytes = || {
        let mut bytes = bytes_of(&room.repo());
        bytes.retain(|path, _| !identity.iter().any(|file| path.ends_with(file)));
        bytes
    };
    let before = bytes();
    room.run(args).refused(code, words);
    assert!(before == bytes(), "the repository changed");
}

const RUN: [&str; 3] = ["run", "write done.txt", "--driver=scripted"];

#[track_caller]
fn refuse_run(room: &Room, more: &[&str], code: u8, words: &[&str]) {
    refuse(room, &[&RUN[..], more].concat(), code, words);
    refuse(room, &[&RUN[..], more, &["--dry-run"]].concat(), code, words);
}

#[test]
fn a_place_that_is_no_repository_to_work_in() {
    let room = Room::empty();
    // The room lies below a build folder, which may lie in a repository itself.
    let outside = tempfile::tempdir().unwrap();
    let repo = format!("--repo={}", outside.path().display());
    refuse_run(&room, &[&repo], USAGE, &["git repository", "git init"]);
    refuse(&room, &["status", &repo], USAGE, &["git repository", "--repo"]);
    refuse_run(&room, &["--repo=/no/such/place"], FAILED, &["/no/such/place", "agentops doctor"]);
    room.git(&["init", "--quiet", "--bare", "bare"]);
    refuse_run(&room, &["--repo=bare"], USAGE, &["bare", "work tree"]);
    room.git(&["init", "--quiet", "new"]);
    refuse_run(&room, &["--repo=new"], USAGE, &["no commits", "first commit"]);
}

#[test]
fn a_place_that_is_no_folder_is_called_so() {
    let room = Room::new();
    let here = room.repo().join("README.md").display().to_string();
    for file in ["/dev/null", "README.md"] {
        let full = if file == "README.md" { &here } else { file };
        let repo = format!("--repo={file}");
        refuse(&room, &["status", &repo], USAGE, &[&format!("{full} is not a folder"), "with --repo"]);
        let state = format!("--state-dir={file}");
        refuse(&room, &["status", &state], FAILED, &[&format!("the state folder {full} is not a folder"), "--state-dir"]);
        let state = format!("--state-dir={file}/state");
        refuse_run(&room, &[&state], FAILED, &[&format!("because {full} is not a folder"), "--state-dir"]);
    }
    for state in ["--state-dir=/proc", "--state-dir=/sys/state"] {
        refuse_run(&room, &[state], FAILED, &["keeps no files", "AGENTOPS_STATE_DIR"]);
        let status = room.run(&["status", state]);
        assert!(!status.stderr.contains("space") && !status.stderr.contains("permission"), "{status:?}");
        let doctor = room.run(&["doctor", state]).expect(FAILED.into());
        assert!(doctor.stdout.contains("keeps no files") && !doctor.stdout.contains("0 bytes free"), "{doctor:?}");
    }
    assert!(room.run(&["doctor", "--repo=/dev/null"]).stdout.contains("/dev/null is not a folder"));

    let gone = room.root().join("gone");
    std::fs::create_dir(&gone).unwrap();
    let open = std::fs::File::open(&gone).unwrap();
    std::fs::remove_dir(&gone).unwrap();
    for args in [&["status"][..], &RUN, &["status", "--repo=repo"]] {
        let mut command = room.command(args);
        let out = command.current_dir(format!("/proc/self/fd/{}", open.as_raw_fd())).output().unwrap();
        let stderr = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(FAILED.into()), "{stderr}");
        assert!(stderr.contains("was started in has been deleted") && stderr.contains("cd DIR"), "{stderr}");
    }
}

#[test]
fn submodules_are_named() {
    let room = Room::new();
    room.file(".gitmodules", "[submodule \"sub\"]\n\tpath = sub\n\turl = ../other\n");
    let head = room.git(&["rev-parse", "HEAD"]);
    room.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{head},sub")]);
    room.git(&["add", ".gitmodules"]);
    room.git(&["commit", "--quiet", "-m", "a submodule"]);
    refuse_run(&room, &[], USAGE, &["submodules", "sub", "not supported yet"]);
}

#[test]
fn a_dirty_tree_and_a_detached_head_are_worked_from() {
    let room = Room::new();
    room.git(&["checkout", "--quiet", "--detach"]);
    room.file("README.md", "# Not committed\n");
    room.file("untracked.txt", "mine\n");
    let ran = room.run(&refs(&scripted(&room, "quick", quick_script()))).expect(0);
    assert!(ran.stderr.contains("uncommitted changes are not part of this run"), "{ran:?}");
    let branch = ran.json()["branch"].as_str().unwrap().to_owned();
    assert_eq!(room.git(&["show", &format!("{branch}:README.md")]), "# A project");
    assert_eq!(std::fs::read_to_string(room.repo().join("README.md")).unwrap(), "# Not committed\n");
    assert_eq!(std::fs::read_to_string(room.repo().join("untracked.txt")).unwrap(), "mine\n");
    room.name_user();
    let merged = room.run(&["merge", "--no-test"]).expect(0);
    assert!(format!("{merged:?}").contains("without a branch"), "{merged:?}");
}

#[test]
fn unknown_names() {
    let room = Room::new();
    refuse_run(&room, &["--workflow=fulll"], USAGE, &["fulll", "full, quick", "--workflow"]);
    refuse_run(&room, &["--agent=nobody"], USAGE, &["nobody", "implement", ".agentops/agents/nobody.md"]);
    refuse_run(&room, &["--agent=No Body"], USAGE, &["--agent"]);
    refuse(&room, &["run", "x", "--driver=clade"], USAGE, &["clade", "claude", "--driver"]);
    refuse_run(&room, &["--base=no-such"], USAGE, &["no-such", "git log"]);
    refuse_run(&room, &["--base=--upload-pack=x"], USAGE, &["git log"]);
    refuse_run(&room, &["--base="], USAGE, &["git log"]);
    refuse_run(&room, &["--set", "window"], USAGE, &["KEY=VALUE"]);
    for command in ["show", "logs", "approve", "cancel", "resume", "merge", "discard"] {
        refuse(&room, &[command, "r-zzzzzz"], NOT_NOW, &["agentops"]);
    }
    room.run(&refs(&scripted(&room, "quick", quick_script()))).expect(0);
    for command in ["show", "logs", "approve", "cancel", "resume", "merge", "discard"] {
        refuse(&room, &[command, "r-zzzzzz"], NOT_NOW, &["r-zzzzzz", "agentops status"]);
    }
    refuse(&room, &["show", "--document=none.md"], NOT_NOW, &["none.md", "close-out.json"]);
    refuse(&room, &["reject", "-m", " "], USAGE, &["reject -m"]);
}

#[test]
fn programs_that_are_missing_or_too_old() {
    let mut room = Room::new();
    let bin = room.root().join("bin");
    std::fs::create_dir(&bin).unwrap();
    room.set("PATH", bin.display().to_string());
    refuse(&room, &["status"], FAILED, &["git was not found", "install git"]);
    let git = std::env::split_paths(&std::env::var_os("PATH").unwrap()).map(|dir| dir.join("git")).find(|p| p.is_file());
    std::os::unix::fs::symlink(git.unwrap(), bin.join("git")).unwrap();
    refuse(&room, &["run", "x", "--driver=claude"], USAGE, &["`claude` was not found", "npm install"]);
    refuse(&room, &["run", "x"], USAGE, &["no agent program", "agentops demo"]);
    std::fs::remove_file(bin.join("git")).unwrap();
    program(&bin.join("git"), "echo git version 2.30.2");
    refuse(&room, &["run", "x", "--driver=scripted"], FAILED, &["git 2.30 is too old", "2.41", "install a newer git"]);
    let doctor = room.run(&["doctor"]).expect(FAILED.into());
    assert!(doctor.stdout.contains("git 2.30 is too old"), "{doctor:?}");
}

fn program(path: &Path, script: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn state_that_cannot_be_written() {
    let room = Room::new();
    let below_a_file = format!("--state-dir={}", room.repo().join("README.md").join("state").display());
    refuse_run(&room, &[&below_a_file], FAILED, &["state folder", "--state-dir"]);
    refuse_run(&room, &["--state-dir=/proc/agentops"], FAILED, &["state folder", "--state-dir"]);
    refuse(&room, &["trust", &below_a_file], FAILED, &["state folder", "--state-dir"]);
    let doctor = room.run(&["doctor", &below_a_file]).expect(FAILED.into());
    assert!(doctor.stdout.contains("--state-dir"), "{doctor:?}");
}

#[test]
fn without_a_home_the_words_name_it() {
    let room = Room::new();
    let out = room.command(&["status"]).env_remove("HOME").output().unwrap();
    Ran::of(&out).refused(USAGE, &["HOME", "AGENTOPS_CONFIG_DIR"]);
    let config = room.root().join("config");
    let out = room.command(&["status"]).env_remove("HOME").env("AGENTOPS_CONFIG_DIR", config).output().unwrap();
    assert_eq!(out.status.code(), Some(0), "{out:?}");
}

fn ledger(room: &Room) -> std::path::PathBuf {
    let folders = std::fs::read_dir(room.state()).unwrap().flatten().map(|entry| entry.path().join("ledger.db"));
    folders.into_iter().find(|path| path.exists()).unwrap()
}

#[test]
fn r7_a_damaged_ledger_is_named_and_kept() {
    let room = Room::new();
    let args = scripted(&room, "quick", quick_script());
    room.run(&refs(&args)).expect(0);
    room.kill_supervisor();
    let path = ledger(&room);
    for wal in ["ledger.db-wal", "ledger.db-shm"] {
        let _absent = std::fs::remove_file(path.with_file_name(wal));
    }
    let garbage = b"this is no database, and it is long enough for a header of one: ".repeat(128);
    std::fs::write(&path, &garbage).unwrap();
    for command in ["status", "show", "logs", "resume", "cancel", "merge", "discard", "approve"] {
        refuse(&room, &[command], FAILED, &["ledger.db", "damaged", "nothing was changed"]);
    }
    refuse(
        &room,
        &refs(&args).iter().filter(|arg| **arg != "--json").copied().collect::<Vec<_>>(),
        FAILED,
        &["ledger.db", "damaged", "agentops doctor"],
    );
    let doctor = room.run(&["doctor"]).expect(FAILED.into());
    assert!(doctor.stdout.contains("damaged") && doctor.stdout.contains("nothing was changed"), "{doctor:?}");
    assert!(std::fs::read(&path).unwrap() == garbage, "the damaged ledger was changed");
}

#[test]
fn r10_a_newer_ledger_is_refused_and_kept() {
    let room = Room::new();
    let args = scripted(&room, "quick", quick_script());
    room.run(&refs(&args)).expect(0);
    room.kill_supervisor();
    let path = ledger(&room);
    let db = rusqlite::Connection::open(&path).unwrap();
    db.execute("UPDATE meta SET value = 999 WHERE key = 'format'", []).unwrap();
    drop(db);
    let before = std::fs::read(&path).unwrap();
    for command in ["status", "show", "logs", "cancel"] {
        refuse(&room, &[command], FAILED, &["999", "newer agentops"]);
    }
    let words: Vec<&str> = args.iter().map(String::as_str).filter(|arg| *arg != "--json").collect();
    refuse(&room, &words, FAILED, &["999"]);
    assert!(room.run(&["doctor"]).expect(FAILED.into()).stdout.contains("999"));
    assert!(std::fs::read(&path).unwrap() == before, "the newer ledger was changed");
}

const CLOSE_OUT: &str = "\n[[phase]]\nname = \"close-out\"\nwrites = \"artifacts\"\nagent = \"close-out\"\n[[phase.gate]]\n\
                         kind = \"artifact\"\nfile = \"close-out.json\"\nschema = \"close-out\"\n";

#[test]
fn workflows_with_mistakes_name_their_place() {
    let phase = |name: &str, more: &str| {
        format!("[[phase]]\nname = \"{name}\"\nwrites = \"files\"\nagent = \"implement\"\n{more}\n")
    };
    let head = "name = \"mine\"\n";
    let cases = [
        (
            "cycle",
            [head, &phase("a", "after = [\"b\"]"), &phase("b", "after = [\"a\"]"), CLOSE_OUT].concat(),
            "wait for each other",
        ),
        ("unknown key", [head, "colour = 1\n", &phase("a", ""), CLOSE_OUT].concat(), "mine.toml:2:1"),
        ("unknown agent", [head, &phase("a", "").replace("implement", "nobody"), CLOSE_OUT].concat(), "nobody"),
        (
            "approval of nothing",
            [head, &phase("a", "[[phase.gate]]\nkind = \"approval\"\nfile = \"plan.md\""), CLOSE_OUT].concat(),
            "plan.md",
        ),
        ("no close-out", [head, &phase("a", "")].concat(), "close-out"),
        ("no phase", head.to_owned(), "[[phase]]"),
        ("no toml", "name = \n".to_owned(), "mine.toml:1:"),
    ];
    let room = Room::new();
    for (case, text, word) in cases {
        room.file(".agentops/workflows/mine.toml", &text);
        let ran = room.run(&[&RUN[..], &["--workflow=mine"]].concat());
        assert!(ran.stderr.contains("mine.toml") || case == "unknown agent", "{case}: {ran:?}");
        ran.refused(USAGE, &[word]);
        refuse_run(&room, &["--workflow=mine"], USAGE, &[word]);
    }
}

#[test]
fn agents_and_settings_with_mistakes_name_their_place() {
    let room = Room::new();
    room.file(".agentops/agents/mine.md", "You are an agent.\n");
    refuse_run(&room, &["--workflow=quick", "--agent=mine"], USAGE, &["mine.md:1:1", "`---`", "agentops schema agent"]);
    room.file(".agentops/agents/mine.md", "---\nname: mine\nYou are an agent.\n");
    refuse_run(&room, &["--workflow=quick", "--agent=mine"], USAGE, &["mine.md", "agentops schema agent"]);
    room.file(".agentops/agents/mine.md", "---\nname: [\n---\nx\n");
    refuse_run(&room, &["--workflow=quick", "--agent=mine"], USAGE, &["mine.md:", "agentops schema agent"]);
    room.file(".agentops/config.toml", "[commands]\ntest = [\"true\"]\ntset = 1\n");
    refuse_run(&room, &[], USAGE, &["config.toml:3:1", "tset", "agentops schema config"]);
    room.file(".agentops/config.toml", "[commands]\ntest = []\n");
    refuse_run(&room, &[], USAGE, &["config.toml:2:1", "argument vector", "agentops schema config"]);
    std::fs::write(room.repo().join(".agentops/config.toml"), b"driver = \"\xff\"\n").unwrap();
    refuse_run(&room, &[], USAGE, &["config.toml"]);
}

#[test]
fn tasks_that_are_none() {
    let room = Room::new();
    let task = |name: &str, bytes: &[u8]| {
        let path = room.root().join(name);
        std::fs::write(&path, bytes).unwrap();
        format!("--file={}", path.display())
    };
    refuse(&room, &["run", "", "--driver=scripted"], USAGE, &["empty", "agentops run \""]);
    refuse(&room, &["run", " \n\t", "--driver=scripted"], USAGE, &["empty", "agentops run \""]);
    let files = [
        (task("empty", b""), "empty"),
        (task("large", &b"long ".repeat(1 << 18)), "65536"),
        (task("bytes", b"caf\xe9"), "not UTF-8"),
        (format!("--file={}/none", room.root().display()), "cannot be read"),
        (format!("--file={}", room.root().display()), "cannot be read"),
    ];
    for (file, word) in files {
        refuse(&room, &["run", &file, "--driver=scripted"], USAGE, &[word]);
    }
    let out = room.command(&["run"]).arg(std::ffi::OsString::from_vec(b"caf\xe9".to_vec())).output().unwrap();
    let ran = Ran::of(&out).expect(USAGE.into());
    assert!(ran.stderr.contains("UTF-8") && ran.stderr.contains("--help"), "{ran:?}");
}

#[test]
fn a_second_supervisor_names_the_first() {
    let room = Room::new();
    room.run(&refs(&scripted(&room, "quick", quick_script()))).expect(0);
    let first = room.supervisor().unwrap().to_string();
    room.run(&["supervise"]).refused(FAILED, &[&first, "nothing to start"]);
    assert_eq!(room.supervisor().map(|pid| pid.to_string()), Some(first));
}

#[test]
fn a_closed_pipe_is_no_failure() {
    let room = Room::new();
    room.run(&refs(&scripted(&room, "quick", quick_script()))).expect(0);
    for args in [&["status"][..], &["show"], &["show", "--json"], &["logs"], &["--help"], &["completions", "bash"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let out = room.command(args).stdout(writer).stderr(std::process::Stdio::piped()).output().unwrap();
        assert_eq!((out.status.code(), out.stderr.as_slice()), (Some(0), &b""[..]), "{args:?}: {out:?}");
    }
}

#[test]
fn json_errors_have_the_same_parts() {
    let room = Room::new();
    let ran = room.run(&["run", "x", "--driver=scripted", "--workflow=none", "--json"]).expect(USAGE.into());
    let error: Value = ran.json();
    assert_eq!(error["error"], "usage");
    assert!(error["hints"][0].as_str().unwrap().contains("--workflow"), "{error}");
}

/// A branch of the run's name appears while it waits: the run must not take it over, and goes on once it is gone.
#[test]
fn a_branch_that_exists_already_needs_a_decision() {
    let room = Room::new();
    let quick = agentops_engine::files::profile::BUILT_IN_WORKFLOWS[1].1;
    let approval = "schema = \"close-out\"\n\n[[phase.gate]]\nkind = \"approval\"\nfile = \"close-out.json\"";
    let mine = quick.replace("\"quick\"", "\"mine\"").replace("schema = \"close-out\"", approval);
    room.file(".agentops/workflows/mine.toml", &mine);
    let args: Vec<String> =
        scripted(&room, "mine", quick_script()).into_iter().filter(|arg| arg != "--approve=all").collect();
    let trust = room.run(&[&refs(&args)[..args.len() - 1], &["--dry-run"]].concat()).expect(0).json();
    let trust = format!("--trust={}", trust["subject"]["hash"].as_str().unwrap());
    let view = room.run(&[&refs(&args)[..args.len() - 1], &[&trust]].concat()).expect(WAITING.into()).json();
    let run = view["run"].as_str().unwrap();
    let branch = format!("agentops/{run}");
    room.git(&["branch", &branch]);
    let mine = room.git(&["rev-parse", &branch]);
    room.run(&["approve", run]).expect(0);
    let stopped = room.run(&["logs", run, "--follow"]);
    assert_eq!(stopped.code, i32::from(NEEDS_DECISION), "{stopped:?}");
    let shown = room.run(&["show", run]).expect(0);
    assert!(shown.stdout.contains("already exists") && shown.stdout.contains("agentops resume"), "{shown:?}");
    assert_eq!(room.git(&["rev-parse", &branch]), mine, "the user's branch moved");
    // A branch above it appears meanwhile: git cannot make the run's branch below it.
    room.git(&["branch", "-D", &branch]);
    room.git(&["branch", "agentops"]);
    room.run(&["resume", run]).expect(NEEDS_DECISION.into());
    let shown = room.run(&["show", run]).expect(0).stdout;
    let words = format!("the branch `{branch}` cannot be made while the branch `agentops` exists");
    let rename = ["branch", "-m", "agentops", "agentops-old"];
    assert!(shown.contains(&words) && shown.contains(&format!("rename it: git {}", rename.join(" "))), "{shown}");
    assert!(!shown.contains("update-ref"), "{shown}");
    room.git(&rename);
    room.run(&["resume", run]).expect(0);
    assert_eq!(room.git(&["show", &format!("{branch}:done.txt")]), "done");
}

/// The client is killed, and with SIGHUP its whole terminal: the run goes on and ends.
#[test]
fn a_killed_terminal_ends_no_run() {
    use rustix::process::Signal;
    for (signal, code) in [(Signal::HUP, Some(129)), (Signal::INT, Some(130)), (Signal::KILL, None)] {
        let room = Room::new();
        let (here, go) = (room.root().join("here"), room.root().join("go"));
        for fifo in [&here, &go] {
            rustix::fs::mkfifoat(rustix::fs::CWD, fifo, rustix::fs::Mode::RWXU).unwrap();
        }
        // Open at both ends, so that nobody waits for the other to open it.
        let both = |fifo: &Path| std::fs::File::options().read(true).write(true).open(fifo).unwrap();
        let (told, mut tell) = (both(&here), both(&go));
        let wait = format!("echo > '{}'; read line < '{}'", here.display(), go.display());
        let mut script = quick_script();
        script[0]["steps"].as_array_mut().unwrap().insert(1, serde_json::json!({ "do": "run", "argv": ["sh", "-c", wait] }));
        let args = scripted(&room, "quick", script);
        let mut client = room.command_of_a_terminal(&refs(&args));
        let client = client.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped()).spawn().unwrap();
        // The agent says that the run is under way.
        let mut ready = [rustix::event::PollFd::new(&told, rustix::event::PollFlags::IN)];
        let limit = rustix::event::Timespec { tv_sec: 30, tv_nsec: 0 };
        assert_eq!(rustix::event::poll(&mut ready, Some(&limit)).unwrap(), 1, "no agent came");
        let group = rustix::process::Pid::from_raw(i32::try_from(client.id()).unwrap()).unwrap();
        rustix::process::kill_process_group(group, signal).unwrap();
        let left = client.wait_with_output().unwrap();
        assert_eq!(left.status.code(), code, "{signal:?}");
        let words = String::from_utf8_lossy(&left.stderr).into_owned();
        let says = ["the run goes on", "--follow", "agentops cancel r-"].iter().all(|part| words.contains(part));
        assert_eq!(says, code.is_some(), "{words}");
        std::io::Write::write_all(&mut tell, b"\n").unwrap();
        let ended = room.run(&["logs", "--follow"]).expect(0);
        assert!(ended.stdout.contains("done"), "{ended:?}");
        assert_eq!(room.run(&["show", "--json"]).expect(0).json()["status"]["status"], "done");
    }
}

/// `TMPDIR=` in a shell, or a path that each process takes for another one.
#[test]
fn a_temporary_folder_that_is_none_is_not_used() {
    let mut room = Room::new();
    for value in ["", "here"] {
        room.set("TMPDIR", value);
        room.run(&refs(&scripted(&room, "quick", quick_script()))).expect(0);
        assert_eq!(room.git(&["status", "--porcelain"]), "", "TMPDIR={value:?}");
    }
}

/// R5 on the surface: a state folder on a full disk, in a namespace of its own where this machine has them.
#[test]
fn r5_a_full_disk_is_told_and_costs_nothing() {
    let room = Room::new();
    let before = bytes_of(&room.repo());
    let args = scripted(&room, "quick", quick_script());
    let words = args.iter().filter(|arg| *arg != "--json").map(|arg| format!("'{arg}'")).collect::<Vec<_>>().join(" ");
    let script = format!(
        "mount -t tmpfs -o size=64k none '{0}' || exit 74\nhead -c 60k /dev/zero > '{0}/ballast'\n'{1}' {words}; code=$?\n\
         rm '{0}/ballast'; mount -o remount,size=64m '{0}'; '{1}' {words} >&2 || exit 76; exit $code",
        room.state().display(),
        env!("CARGO_BIN_EXE_agentops")
    );
    let Some(out) = shell_with_mounts(&room, &script) else { return };
    let ran = Ran::of(&out);
    assert_eq!(ran.code, i32::from(FAILED), "{ran:?}");
    let first = ran.stderr.split("implement/").next().unwrap_or_default();
    assert!(first.contains("hint: ") && first.contains("is full"), "{first}");
    assert_eq!(room.git(&["status", "--porcelain"]), "");
    let kept = bytes_of(&room.repo());
    assert!(before.iter().all(|(path, bytes)| kept.get(path).is_some_and(|now| now == bytes) || path.ends_with("index")));
}
