//! The test of a merge, beside supervisors that come and go.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use agentops::error::{MERGE_REFUSED, NOT_NOW, TRUST_REQUIRED};
use agentops_agents::process::ProcessId;
use agentops_engine::crash::MERGE_BOUNDARIES;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::json;

use crate::room::{Room, marked, quick_script, refs, scripted};
use crate::user_repository::type_in;

/// A finished run. The gate of its merge waits, and the gate of the run itself did not.
struct Merge {
    run: String,
    arrived: PathBuf,
    go: PathBuf,
    now: PathBuf,
}

impl Merge {
    /// Starts the merge and waits until its gate is at work.
    fn start(&self, room: &Room) -> Child {
        std::fs::write(&self.now, "").unwrap();
        let mut command = room.command_of_a_terminal(&["merge", &self.run]);
        let merge = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        assert_eq!(std::fs::read_to_string(&self.arrived).unwrap(), "in\n");
        merge
    }
}

fn run_with_waiting_merge(room: &Room) -> Merge {
    let (arrived, go, now) = (room.pipe("arrived"), room.pipe("go"), room.root().join("now"));
    let check = format!(
        "test ! -e '{}' || {{ echo in > '{}'; cat '{}'; }}\ntest -f done.txt\n",
        now.display(),
        arrived.display(),
        go.display()
    );
    let mut script = quick_script();
    let steps = script[0]["steps"].as_array_mut().unwrap();
    steps.insert(1, json!({ "do": "write", "path": "check.sh", "content": check }));
    let view = room.run(&refs(&scripted(room, "quick", script))).expect(0).json();
    room.name_user();
    Merge { run: view["run"].as_str().unwrap().to_owned(), arrived, go, now }
}

#[test]
fn p3_a_supervisor_that_starts_ends_no_gate_of_a_merge_that_is_at_work() {
    let room = Room::new();
    let merge = run_with_waiting_merge(&room);
    let merging = merge.start(&room);
    room.kill_supervisor();
    // Another run starts the next supervisor, which ends what the one before left.
    room.run(&refs(&scripted(&room, "quick", quick_script()))).expect(0);
    assert_eq!(marked(&room).len(), 2, "the gate's shell and its cat");
    std::fs::write(&merge.go, "go\n").unwrap();
    let merged = merging.wait_with_output().unwrap();
    assert!(merged.status.success(), "{merged:?}");
    assert!(room.git(&["ls-tree", "--name-only", "HEAD"]).contains("done.txt"));
    assert!(marked(&room).is_empty());
}

/// Ctrl-C in a terminal is a signal to the whole group of the command.
#[test]
fn p5_p6_a_merge_that_is_ended_while_it_is_tested_leaves_nothing_in_its_own_way() {
    let room = Room::new();
    let merge = run_with_waiting_merge(&room);
    let checkout = || (room.git(&["rev-parse", "HEAD"]), room.git(&["status", "--porcelain"]));
    let before = checkout();
    for signal in [Signal::INT, Signal::TERM, Signal::HUP, Signal::KILL] {
        let mut merging = merge.start(&room);
        let gate = marked(&room);
        assert!(!gate.is_empty());
        kill_process_group(Pid::from_child(&merging), signal).unwrap();
        assert!(!merging.wait().unwrap().success());
        for process in gate {
            assert!(process.wait_end(Duration::from_secs(60)), "{process:?} outlives a merge that ended by {signal:?}");
        }
        assert_eq!(checkout(), before);
    }
    std::fs::remove_file(&merge.now).unwrap();
    room.run(&["merge", &merge.run]).expect(0);
    assert!(room.git(&["ls-tree", "--name-only", "HEAD"]).contains("done.txt"));
    assert_eq!(room.git(&["for-each-ref", "refs/agentops/lanes"]), "");
    assert!(!room.private(&format!("lanes/{}", merge.run)).unwrap().exists());
}

/// A run whose result is ready, in a repository whose hook `pre-merge-commit` does what a file says, if it is there.
fn run_with_hook(room: &Room) -> (String, PathBuf) {
    let says = room.root().join("hook-says");
    room.hook("pre-merge-commit", &format!("test ! -e '{0}' || exec sh '{0}'", says.display()));
    let view = room.run(&refs(&scripted(room, "quick", quick_script()))).expect(0).json();
    room.name_user();
    (view["run"].as_str().unwrap().to_owned(), says)
}

/// What a person sees of the checkout, and files of git that belong to a merge.
fn checkout(room: &Room) -> (String, String, Vec<String>) {
    let files = std::fs::read_dir(room.repo().join(".git")).unwrap();
    let files = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let of_merge = files.filter(|name| name.contains("MERGE") || name.ends_with("index.lock")).collect();
    (room.git(&["rev-parse", "HEAD"]), room.git(&["status", "--porcelain"]), of_merge)
}

#[test]
fn p6_a_merge_that_is_ended_while_a_hook_runs_is_taken_back() {
    let room = Room::new();
    let (run, says) = run_with_hook(&room);
    let before = checkout(&room);
    let (arrived, pid) = (room.pipe("arrived"), room.root().join("pid"));
    let waits = format!("echo $$ > '{}'\necho in > '{}'\nexec sleep 600\n", pid.display(), arrived.display());
    let start = || {
        std::fs::write(&says, &waits).unwrap();
        let mut command = room.command_of_a_terminal(&["merge", &run, "--no-test"]);
        let merge = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        assert_eq!(std::fs::read_to_string(&arrived).unwrap(), "in\n");
        let hook = std::fs::read_to_string(&pid).unwrap().trim().parse().unwrap();
        (merge, ProcessId::of(hook).unwrap())
    };
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130), (Signal::HUP, 129)] {
        let (merge, hook) = start();
        assert_ne!(checkout(&room), before, "the merge is staged");
        let at_work = room.run(&["status"]).expect(0).stderr;
        assert!(at_work.contains(&format!("agentops/{run} is being merged into this checkout by process")), "{at_work}");
        // To the program alone, as `kill` does it.
        kill_process(Pid::from_child(&merge), signal).unwrap();
        let ended = merge.wait_with_output().unwrap();
        let words = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(code), "{words}");
        assert!(words.contains("interrupted; nothing was merged"), "{words}");
        assert!(!hook.is_alive());
        assert_eq!(checkout(&room), before);
    }
    let (mut merge, hook) = start();
    kill_process_group(Pid::from_child(&merge), Signal::KILL).unwrap();
    merge.wait().unwrap();
    assert!(hook.wait_end(Duration::from_secs(60)));
    assert_ne!(checkout(&room), before);
    let words = format!("the merge of agentops/{run} into this checkout was interrupted");
    assert!(room.run(&["status"]).expect(0).stderr.contains(&words));
    assert!(room.run(&["status", "--json"]).expect(0).json()["begun_merge"].as_str().unwrap().contains(&words));
    assert!(room.run(&["doctor"]).stdout.contains(&words));
    std::fs::remove_file(&says).unwrap();
    let merged = room.run(&["merge", &run, "--no-test"]).expect(0);
    assert!(
        merged.stderr.contains("was interrupted before it was committed; ") && merged.stderr.contains("files were put back")
    );
    assert_eq!(room.git(&["status", "--porcelain"]), "");
    assert!(room.git(&["ls-tree", "--name-only", "HEAD"]).contains("done.txt"));
    assert!(room.run(&["status", "--json"]).expect(0).json()["begun_merge"].is_null());
}

/// A merge whose hook waits until something is written to the pipe that comes with it.
fn merge_in_hook(room: &Room, run: &str, says: &Path) -> (Child, PathBuf) {
    let (arrived, go) = (room.pipe("arrived"), room.pipe("go"));
    std::fs::write(says, format!("echo in > '{}'\ncat '{}'\n", arrived.display(), go.display())).unwrap();
    let mut command = room.command_of_a_terminal(&["merge", run, "--no-test"]);
    let merge = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    assert_eq!(std::fs::read_to_string(&arrived).unwrap(), "in\n");
    (merge, go)
}

#[test]
fn p6_a_run_that_is_being_merged_is_not_discarded_and_not_merged_again() {
    let room = Room::new();
    let (run, says) = run_with_hook(&room);
    room.git(&["worktree", "add", "--quiet", "--detach", "../other"]);
    let (merge, go) = merge_in_hook(&room, &run, &says);
    let other = room.repo().parent().unwrap().join("other");
    for (command, checkout) in [("discard", room.repo()), ("merge", room.repo()), ("discard", other)] {
        let out = room.command(&[command, &run]).current_dir(checkout).output().unwrap();
        let words = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(NOT_NOW.into()), "{command}: {words}");
        assert!(words.contains("is under way") && words.contains("wait until it has ended"), "{words}");
    }
    room.git(&["rev-parse", "--verify", &format!("refs/heads/agentops/{run}")]);
    std::fs::write(&go, "").unwrap();
    let merged = merge.wait_with_output().unwrap();
    assert!(merged.status.success(), "{merged:?}");
    assert!(room.run(&["discard", &run]).expect(NOT_NOW.into()).stderr.contains("is merged or discarded already"));
}

#[test]
fn p6_a_merge_that_the_run_cannot_record_says_what_it_made() {
    let room = Room::new();
    let (run, says) = run_with_hook(&room);
    let (merge, go) = merge_in_hook(&room, &run, &says);
    // Any process of the user can remove the lock.
    std::fs::remove_file(room.repo().join(".git/agentops/begun-merge.lock")).unwrap();
    std::fs::remove_file(room.repo().join(".git/agentops/begun-merge")).unwrap();
    room.run(&["discard", &run]).expect(0);
    std::fs::write(&go, "").unwrap();
    let merged = merge.wait_with_output().unwrap();
    let words = String::from_utf8_lossy(&merged.stderr);
    assert_eq!(merged.status.code(), Some(NOT_NOW.into()), "{words}");
    let made = room.git(&["rev-parse", "HEAD"]);
    assert!(words.contains(&made[..12]) && words.contains(&format!("but run {run} is not recorded as merged")), "{words}");
    assert!(words.contains(&format!("agentops show {run}")), "{words}");
}

#[test]
fn p6_a_discard_takes_the_interrupted_merge_of_its_run_back() {
    let room = Room::new();
    let (run, says) = run_with_hook(&room);
    let before = checkout(&room);
    let (mut merge, _) = merge_in_hook(&room, &run, &says);
    kill_process_group(Pid::from_child(&merge), Signal::KILL).unwrap();
    merge.wait().unwrap();
    // Git has the lock until it has ended.
    let lock = std::fs::File::open(room.repo().join(".git/agentops/begun-merge.lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    drop(lock);
    assert_ne!(checkout(&room), before);
    let discarded = room.run(&["discard", &run]).expect(0);
    assert!(discarded.stderr.contains("was interrupted before it was committed"), "{}", discarded.stderr);
    assert_eq!(checkout(&room), before);
    assert!(!is_named(&room));
}

#[test]
fn a_result_that_has_no_commit_in_common_is_refused_and_what_is_advised_takes_it_over() {
    let room = Room::new();
    room.name_user();
    let view = room.run(&refs(&scripted(&room, "quick", quick_script()))).expect(0).json();
    let run = view["run"].as_str().unwrap();
    // As a rewritten history is: the same files, and no commit of the run's start.
    room.git(&["checkout", "--quiet", "--orphan", "rewritten"]);
    room.git(&["commit", "--quiet", "-m", "rewritten"]);
    let refused = room.run(&["merge", run]).refused(MERGE_REFUSED, &["have no commit in common", "branch --contains"]);
    assert!(!refused.stderr.contains("merge-tree") && !refused.stderr.contains("unrelated"), "{refused:?}");
    let hint = refused.stderr.lines().find(|line| line.contains("apply --3way")).unwrap();
    type_in(&room, hint.split("without a merge: ").nth(1).unwrap().split("; then").next().unwrap());
    assert_eq!(std::fs::read_to_string(room.repo().join("done.txt")).unwrap(), "done\n");
    room.run(&["discard", run]).expect(0);
}

/// A merge that dies at its N-th boundary, and the boundaries that it passed. It may have to start a supervisor, whose boundaries
/// do not count.
fn die_at(room: &Room, run: &str, at: usize) -> Vec<String> {
    let log = room.root().join("boundaries");
    let _none_before = std::fs::remove_file(&log);
    let mut command = room.command(&["merge", run, "--no-test"]);
    command.env("AGENTOPS_CRASH_LOG", &log).env("AGENTOPS_CRASH_AT", format!("merge-:{at}")).output().unwrap();
    let passed: Vec<String> = std::fs::read_to_string(&log).unwrap().lines().map(str::to_owned).collect();
    assert_eq!(passed.len(), at, "{passed:?}");
    passed
}

fn is_named(room: &Room) -> bool {
    room.run(&["status", "--json"]).expect(0).json()["begun_merge"].is_string()
}

fn merges_once(room: &Room, run: &str) {
    room.run(&["merge", run, "--no-test"]).expect(0);
    assert_eq!(room.git(&["status", "--porcelain"]), "");
    assert_eq!(room.git(&["log", "-1", "--format=%P"]).split(' ').count(), 2, "one merge commit");
    assert_eq!(room.git(&["rev-list", "--count", "--merges", "HEAD"]), "1");
    assert!(room.run(&["show", run, "--json"]).expect(0).json()["closing"].is_object());
}

#[test]
fn p6_a_merge_that_is_not_what_was_tested_does_not_close_the_run() {
    let room = Room::new();
    room.git(&["config", "branch.main.mergeoptions", "--no-ff -s ours"]);
    let (run, _) = run_with_hook(&room);
    let before = checkout(&room);
    let refused = room.run(&["merge", &run]).expect(MERGE_REFUSED.into());
    let undo = format!("git -C {} reset --keep {}", room.repo().display(), before.0);
    for words in ["not with the files that were tested", "done.txt", "a merge driver or a hook", &undo] {
        assert!(refused.stderr.contains(words), "{words}: {}", refused.stderr);
    }
    let closing = || room.run(&["show", &run, "--json"]).expect(0).json()["closing"].clone();
    assert!(closing().is_null());
    let untested = room.run(&["merge", &run]).expect(MERGE_REFUSED.into());
    assert!(untested.stderr.contains(&format!("agentops merge {run} --no-test")), "{}", untested.stderr);
    room.git(&["reset", "--keep", &before.0]);
    assert_eq!(checkout(&room), before);
    room.git(&["config", "--unset", "branch.main.mergeoptions"]);
    let hooks_changed = room.run(&["merge", &run]).expect(TRUST_REQUIRED.into()).stderr;
    let trust = hooks_changed.split_whitespace().find(|word| word.starts_with("--trust=")).unwrap();
    room.run(&["merge", &run, trust]).expect(0);
    assert!(room.git(&["ls-tree", "--name-only", "HEAD"]).contains("done.txt"));
    assert!(closing().is_object());
}

#[test]
fn r1_p6_a_merge_that_dies_at_any_of_its_durable_boundaries_is_merged_by_the_next_one() {
    let room = Room::new();
    let (run, says) = run_with_hook(&room);
    let before = checkout(&room);
    let mut passed = Vec::new();
    std::fs::write(&says, "exit 1\n").unwrap();
    // A merge after one that left something takes that back first. So each begins where the one before it died.
    for (at, leaves) in [(1, true), (2, false), (3, true), (4, true), (5, true), (6, false)] {
        passed.extend(die_at(&room, &run, at));
        assert_eq!((is_named(&room), checkout(&room).0), (leaves, before.0.clone()), "boundary {at}: {passed:?}");
    }
    assert_eq!(checkout(&room), before);
    std::fs::remove_file(&says).unwrap();
    passed.extend(die_at(&room, &run, 2));
    assert_ne!(checkout(&room).0, before.0, "git was done");
    assert!(!is_named(&room));
    merges_once(&room, &run);
    for boundary in MERGE_BOUNDARIES {
        assert!(passed.iter().any(|name| name == boundary), "no merge passes {boundary}: {passed:?}");
    }

    let room = Room::new();
    let (run, _) = run_with_hook(&room);
    assert_eq!(die_at(&room, &run, 3), ["merge-noted", "merge-git-ended", "merge-note-removed"]);
    merges_once(&room, &run);
}

/// Types a command into a shell that finds `agentops`.
#[expect(clippy::disallowed_methods, reason = "a person types the command into a shell")]
#[track_caller]
fn typed(room: &Room, command: &str) -> std::process::Output {
    let ours = room.command(&[]);
    let bin = room.root().join("bin");
    std::fs::create_dir_all(&bin).unwrap();
    let _there_already = std::os::unix::fs::symlink(ours.get_program(), bin.join("agentops"));
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", command]).current_dir(room.repo().join(".agentops")).env_clear();
    shell.envs(ours.get_envs().filter_map(|(name, value)| Some((name, value?)))).env("PATH", path);
    let out = shell.output().unwrap();
    assert!(out.status.success(), "{command}: {}", String::from_utf8_lossy(&out.stderr));
    out
}

#[test]
fn p6_a_merge_without_a_branch_is_refused_where_the_run_began_on_one() {
    let room = Room::new();
    let (run, _) = run_with_hook(&room);
    let branch = room.git(&["symbolic-ref", "--short", "HEAD"]);
    room.git(&["switch", "--quiet", "--detach"]);
    let before = checkout(&room);
    let kept = room.run(&["merge", &run, "--no-test"]).expect(NOT_NOW.into()).stderr;
    assert_eq!(of_hint(&kept, "hint: ", " &&"), format!("git switch {branch}"));
    room.git(&["branch", "--quiet", "-D", &branch]);
    let refused = room.run(&["merge", &run, "--no-test"]).expect(NOT_NOW.into()).stderr;
    assert!(refused.contains(&format!("without a branch, and run {run} began on branch {branch}")), "{refused}");
    assert_eq!(checkout(&room), before);
    let typed = typed(&room, &format!("{} --no-test", of_hint(&refused, "hint: ", "")));
    let words = String::from_utf8_lossy(&typed.stdout).into_owned() + &String::from_utf8_lossy(&typed.stderr);
    assert!(words.contains(&format!(" into {branch}")), "{words}");
    assert_eq!(room.git(&["symbolic-ref", "--short", "HEAD"]), branch);
    assert!(room.git(&["ls-tree", "--name-only", &branch]).contains("done.txt"));
}

/// What a hint says to type between these words.
fn of_hint(stderr: &str, from: &str, to: &str) -> String {
    let hint = stderr.lines().find(|line| line.starts_with("hint: ")).unwrap();
    let command = hint.split_once(from).unwrap_or_else(|| panic!("{hint}")).1;
    if to.is_empty() { command.to_owned() } else { command.split_once(to).unwrap_or_else(|| panic!("{hint}")).0.to_owned() }
}

#[test]
fn the_hint_of_a_refused_merge_fits_its_cause_and_works_when_it_is_typed() {
    let room = Room::new();
    let (run, says) = run_with_hook(&room);
    std::fs::write(&says, "echo the text is not spelled well >&2\nexit 1\n").unwrap();
    let refused = room.run(&["merge", &run, "--no-test"]).expect(MERGE_REFUSED.into()).stderr;
    let why = "the hook pre-merge-commit (.git/hooks/pre-merge-commit) refused the merge: the text is not spelled well";
    assert!(refused.contains(why), "{refused}");
    assert!(
        refused.contains(&format!("mend what the hook pre-merge-commit names, then: agentops merge {run}")),
        "{refused}"
    );
    assert!(!refused.contains("git commit"), "{refused}");
    std::fs::remove_file(&says).unwrap();

    room.file("README.md", "# Mine, staged\n");
    room.git(&["add", "README.md"]);
    room.file("done.txt", "mine, and it's ignored\n");
    room.file(".git/info/exclude", "done.txt\n");
    let refused = room.run(&["merge", &run]).expect(MERGE_REFUSED.into()).stderr;
    assert!(refused.contains("local changes are in the way of the merge: README.md, done.txt"), "{refused}");
    assert!(!refused.contains("testing the merged result"), "nobody waits for a test of what cannot be merged: {refused}");
    typed(&room, &of_hint(&refused, "put them aside: ", " (then"));
    assert!(room.run(&["show", &run, "--json"]).expect(0).json()["closing"].is_object());
    let kept = room.git(&["show", "stash@{0}^3:done.txt"]);
    assert_eq!(kept, "mine, and it's ignored");
    room.git(&["rm", "--quiet", "done.txt"]);
    typed(&room, &of_hint(&refused, "(then `", "` brings"));
    let read = |name: &str| std::fs::read_to_string(room.repo().join(name)).unwrap();
    assert_eq!((read("README.md"), read("done.txt")), ("# Mine, staged\n".into(), "mine, and it's ignored\n".into()));

    let room = Room::new();
    room.git(&["config", "commit.gpgSign", "true"]);
    room.git(&["config", "gpg.program", "false"]);
    let (run, _) = run_with_hook(&room);
    let refused = room.run(&["merge", &run, "--no-test"]).expect(MERGE_REFUSED.into()).stderr;
    assert!(refused.contains("false could not sign the merge"), "{refused}");
    typed(&room, &of_hint(&refused, "without a signature: ", ""));
    assert!(room.run(&["show", &run, "--json"]).expect(0).json()["closing"].is_object());
}
