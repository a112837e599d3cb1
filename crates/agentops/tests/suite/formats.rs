//! R10: state that earlier formats wrote is opened, folded and resumed. `tests/data/README.md` says what each archive holds.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use agentops_core::run::State;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::room::Room;

/// Where an archive's repository and state folder were when it was made.
const FORMAT_4_AT: &str = "/srv/format-4";
const FORMAT_5_AT: &str = "/srv/format-5";
/// The runs that had ended.
const FINISHED: &str = "r-q02zg9";
const FINISHED_5: &str = "r-a5vpkz";
/// The runs whose supervisor was killed.
const INTERRUPTED: &str = "r-jjtfg3";
const INTERRUPTED_5: &str = "r-fx0n39";

/// Unpacks the archive of a format into a test environment.
fn unpacked(format: u32) -> Room {
    let room = Room::empty();
    let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/format-{format}.tar.gz"));
    #[expect(clippy::disallowed_methods, reason = "the test unpacks its data")]
    let unpacked = Command::new("tar").arg("-xzf").arg(archive).arg("-C").arg(room.root()).status().unwrap();
    assert!(unpacked.success());
    room
}

/// Replaces the path at which an archive was made in a file, by where it lies now.
fn move_path(room: &Room, file: &Path, from: &str) {
    let text = std::fs::read_to_string(file).unwrap();
    let moved = text.replace(from, room.root().canonicalize().unwrap().to_str().unwrap());
    assert_ne!(text, moved, "{}", file.display());
    std::fs::write(file, moved).unwrap();
}

/// The state of format 5, moved here as a person moves a repository to another disk.
fn unpack_5() -> Room {
    let room = unpacked(5);
    let git_dir = room.repo().join(".git");
    let id = std::fs::read_to_string(git_dir.join("agentops/repository-id")).unwrap().trim().to_owned();
    let state = room.state().join(&id);
    let records = std::fs::read_dir(git_dir.join("agentops/lanes")).unwrap().map(|entry| entry.unwrap().path().join("path"));
    let lanes =
        std::fs::read_dir(state.join("lanes").join(INTERRUPTED_5)).unwrap().map(|entry| entry.unwrap().path().join(".git"));
    let lanes = lanes.flat_map(|git| [git.join("objects/info/alternates"), git.join("agentops-lane-of")]);
    let named = [git_dir.join("agentops/state-folder"), state.join("repository")];
    for file in records.chain(lanes).chain(named) {
        move_path(&room, &file, FORMAT_5_AT);
    }
    // What doctor finds besides is not of interest here.
    let adopted = room.run(&["doctor", "--adopt", &id]);
    assert!(adopted.stderr.contains(&id) || adopted.stdout.contains(&id), "{adopted:?}");
    room
}

/// The state of format 4, with every recorded path moved here.
fn unpack() -> Room {
    let room = unpacked(4);
    let states = std::fs::read_dir(room.state()).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    let [state] = states.as_slice() else { panic!("one state folder: {states:?}") };
    let git_dir = room.repo().join(".git").canonicalize().unwrap();
    for file in files_with_paths(&git_dir, &state.join("lanes").join(INTERRUPTED)) {
        move_path(&room, &file, FORMAT_4_AT);
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, text.replace(state.file_name().unwrap().to_str().unwrap(), &path_id(&git_dir))).unwrap();
    }
    std::fs::rename(state, room.state().join(path_id(&git_dir))).unwrap();
    room
}

/// The name that the state folder of a git directory at this path had.
fn path_id(git_dir: &Path) -> String {
    let digest = Sha256::digest(git_dir.as_os_str().as_bytes());
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// The files of linked lanes that hold absolute paths.
fn files_with_paths(git_dir: &Path, lanes: &Path) -> Vec<PathBuf> {
    let below = |folder: PathBuf, file: &str| {
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        entries.map(|entry| entry.join(file)).collect::<Vec<_>>()
    };
    let mut files = below(git_dir.join("worktrees"), "gitdir");
    files.extend(below(git_dir.join("agentops/lanes"), "path"));
    files.extend(below(lanes.to_owned(), ".git"));
    files
}

fn status_of(room: &Room, run: &str) -> Value {
    let status = room.run(&["status", "--json"]).expect(0).json();
    let runs = status["runs"].as_array().unwrap();
    runs.iter().find(|line| line["run"] == run).unwrap_or_else(|| panic!("no {run} in {runs:?}"))["status"].clone()
}

/// Files of a branch that are no records of the run. Bundles are records: another version of the compressors makes others of the
/// same sources.
fn work_on(room: &Room, branch: &str) -> Vec<String> {
    let listed = room.git(&["ls-tree", "-r", branch]);
    let is_record = |line: &&str| {
        let names = ["memory/", "runs/", "bundles/", ".gitattributes"];
        names.iter().any(|name| line.contains(&format!("\t.agentops/{name}")))
    };
    listed.lines().filter(|line| !is_record(line)).map(str::to_owned).collect()
}

/// The number of bundles on a branch.
fn bundles_on(room: &Room, branch: &str) -> usize {
    room.git(&["ls-tree", "-r", "--name-only", branch]).lines().filter(|path| path.ends_with("/bundle.md")).count()
}

/// The ledger of the finished run folds to what it was.
fn folds(room: &Room, run: &str, format: u32) {
    let entries = room.entries(run);
    let mut state = State::first(&entries[0].event, entries[0].at_ms).unwrap();
    for entry in &entries[1..] {
        state.apply(&entry.event, entry.at_ms).unwrap();
    }
    assert_eq!(state.created.format, format);
    assert_eq!(state.phases.len(), 3);
    assert_eq!(state.phases[1].round, 2, "the gate refused once");
    assert_eq!(state.sessions().count(), 5);
}

/// The interrupted run goes on, and does nothing twice.
fn goes_on(room: &Room, interrupted: &str, finished: &str) {
    std::fs::create_dir_all(room.root().join("home")).unwrap();
    std::fs::write(room.root().join("home/go"), "").unwrap();
    let view = room.run(&["resume", interrupted, "--json"]).expect(0).json();
    assert_eq!(view["status"]["status"], "done");
    let branch = view["branch"].as_str().unwrap();
    let finished = format!("agentops/{finished}");
    assert_eq!(work_on(room, branch), work_on(room, &finished));
    assert_eq!(bundles_on(room, branch), bundles_on(room, &finished));
    let effects = std::fs::read_to_string(room.root().join("effects")).unwrap();
    let times = |session: &str| effects.lines().filter(|line| line.ends_with(&format!("{interrupted}/{session}"))).count();
    assert_eq!(times("implement/first/1"), 1, "a finished session does not run again: {effects}");
    assert_eq!(times("implement/second/1"), 1, "the interrupted session is not repeated under its name: {effects}");
    room.git(&["fsck", "--connectivity-only"]);
}

#[test]
fn r10_a_ledger_of_format_5_opens_folds_to_the_same_states_and_goes_on() {
    let room = unpack_5();
    assert_eq!(status_of(&room, FINISHED_5), "done");
    assert_eq!(status_of(&room, INTERRUPTED_5), "waiting");
    folds(&room, FINISHED_5, 5);
    goes_on(&room, INTERRUPTED_5, FINISHED_5);
}

#[test]
fn r10_a_ledger_of_format_4_opens_and_folds_to_the_same_states() {
    let room = unpack();
    assert_eq!(status_of(&room, FINISHED), "done");
    assert_eq!(status_of(&room, INTERRUPTED), "waiting");
    folds(&room, FINISHED, 4);
    let view = room.run(&["show", FINISHED, "--json"]).expect(0).json();
    assert_eq!(view["status"]["status"], "done");
    assert_eq!(view["branch"], format!("agentops/{FINISHED}"));
    // What that format does not know is unknown, and not "nothing changed".
    assert_eq!(view["repository"], Value::Null);
    let shown = room.run(&["show", FINISHED]).expect(0).stdout;
    assert!(shown.contains("changes in your repository: not recorded"), "{shown}");
}

#[test]
fn r10_a_run_that_was_interrupted_under_format_4_goes_on_to_its_end() {
    let room = unpack();
    goes_on(&room, INTERRUPTED, FINISHED);
    assert_eq!(room.git(&["worktree", "list", "--porcelain"]).matches("worktree ").count(), 1, "linked lanes are removed");
    room.git(&["config", "user.name", "Test"]);
    room.git(&["config", "user.email", "test@localhost"]);
    let merged = room.run(&["merge", INTERRUPTED]).expect(0);
    assert!(merged.stderr.contains("were not recorded when this run started"), "{merged:?}");
    assert!(room.repo().join("folder/second.txt").exists());
}

/// The present format gets its archive when the next one is made.
#[test]
fn r10_every_earlier_format_since_4_has_an_archive() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    for format in 4..agentops_core::run::FORMAT {
        assert!(data.join(format!("format-{format}.tar.gz")).is_file(), "format {format} has no archive");
    }
}
