//! The user's merge in the user's checkout: cut short at every step, refused for each reason, and taken back path by path.

mod room;

use std::cell::Cell;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use agentops_git::{Error, Expect, MergeRefusal, Repo, TakenBack, UserMerge};
use room::{Room, author, program, write};

thread_local! {
    /// The step after which the process is cut short; none: no cut.
    static CUT: Cell<Option<&'static str>> = const { Cell::new(None) };
}

fn step(name: &'static str) {
    if CUT.get() == Some(name) {
        CUT.set(None);
        resume_unwind(Box::new("cut"));
    }
}

/// Does it and stops after this step, like a kill: nothing after it runs, and the locks are released.
fn cut_after(name: &'static str, work: impl FnOnce()) {
    agentops_git::on_boundary(step);
    CUT.set(Some(name));
    assert!(catch_unwind(AssertUnwindSafe(work)).is_err(), "no step {name}");
}

const BRANCH: &str = "agentops/r-one";

/// A repository in which `BRANCH` changes `a.txt`, adds `new/deep.txt`, `tool.sh` and `link`, and deletes `dir/b.txt`.
fn offered() -> (Room, Repo) {
    let (room, repo) = Room::with_repo();
    write(&repo.work_tree().join("other.txt"), "other\n");
    room.git(repo.work_tree(), &["add", "other.txt"]);
    room.git(repo.work_tree(), &["commit", "-qm", "other"]);
    let head = repo.head().unwrap().commit;
    let lane = agentops_git::lanes::create(&repo, &room.path("lane"), &head, "one").unwrap();
    write(&lane.path().join("a.txt"), "by the agent\n");
    write(&lane.path().join("new/deep.txt"), "deep\n");
    program(&lane.path().join("tool.sh"), "#!/bin/sh\n");
    std::os::unix::fs::symlink("a.txt", lane.path().join("link")).unwrap();
    fs::remove_file(lane.path().join("dir/b.txt")).unwrap();
    let point = lane.checkpoint(&head, "m", &author(), 1, &room.scratch()).unwrap();
    agentops_git::lanes::remove(&repo, &lane).unwrap();
    repo.update_ref(&format!("refs/heads/{BRANCH}"), &point.commit, &Expect::Absent).unwrap();
    // The user's folder has work of theirs that is not in the way of the merge.
    write(&repo.work_tree().join("other.txt"), "mine\n");
    write(&repo.work_tree().join("untracked.txt"), "mine too\n");
    (room, repo)
}

fn hook(repo: &Repo, name: &str, text: &str) {
    program(&repo.common_dir().join("hooks").join(name), &format!("#!/bin/sh\n{text}\n"));
}

fn no_hooks(repo: &Repo) {
    fs::remove_dir_all(repo.common_dir().join("hooks")).unwrap();
}

fn merge(repo: &Repo) -> agentops_git::Result<UserMerge> {
    room::merge(repo, BRANCH)
}

/// What git says about the checkout, and what else it keeps of a merge.
fn state(room: &Room, repo: &Repo) -> (String, Vec<String>) {
    let files = fs::read_dir(repo.git_dir()).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    let of_merge = files.filter(|name| name.contains("MERGE") || name.ends_with(".lock") && name != "agentops-lanes.lock");
    let state = room.git(repo.work_tree(), &["status", "--porcelain", "-uall"]);
    (format!("{} {state}", room.git(repo.work_tree(), &["rev-parse", "HEAD"])), of_merge.collect())
}

fn paths(names: &[&str]) -> Vec<PathBuf> {
    names.iter().map(PathBuf::from).collect()
}

const MERGED: [&str; 5] = ["a.txt", "dir/b.txt", "link", "new/deep.txt", "tool.sh"];

/// A merge whose git is killed while this hook runs, and the program after it.
fn killed_in(repo: &Repo, name: &str) {
    hook(repo, name, "kill -9 $PPID");
    cut_after("merge-git-ended", || drop(merge(repo)));
    no_hooks(repo);
}

#[test]
fn p6_a_merge_that_was_killed_at_any_step_is_taken_back_or_complete() {
    let (before_message, after_message) = (Some("pre-merge-commit"), Some("commit-msg"));
    for (boundary, killed) in [
        ("merge-noted", None),
        ("merge-git-ended", None),
        ("merge-note-removed", None),
        ("merge-git-ended", before_message),
        ("merge-git-ended", after_message),
        ("merge-put-back", before_message),
        ("merge-put-back", after_message),
        ("merge-note-removed", before_message),
    ] {
        let (room, repo) = offered();
        let before = state(&room, &repo);
        let at = || format!("{boundary}, git killed in {killed:?}");
        if let Some(name) = killed {
            hook(&repo, name, "kill -9 $PPID");
        }
        cut_after(boundary, || drop(merge(&repo)));
        let is_committed = killed.is_none() && boundary != "merge-noted";
        assert_eq!(repo.begun_merge().unwrap().is_some(), !is_committed && boundary != "merge-note-removed", "{}", at());
        if killed.is_some() {
            no_hooks(&repo);
        }
        repo.take_back_begun_merge().unwrap();
        assert_eq!(repo.begun_merge().unwrap(), None, "{}", at());
        if !is_committed {
            assert_eq!(state(&room, &repo), before, "{}", at());
            assert!(matches!(merge(&repo).unwrap(), UserMerge::Merged { .. }), "{}", at());
        }
        assert_eq!(merge(&repo).unwrap(), UserMerge::UpToDate, "{}", at());
        assert_eq!(room.git(repo.work_tree(), &["status", "--porcelain"]), "M other.txt\n?? untracked.txt", "{}", at());
    }
}

#[test]
fn p6_git_that_is_killed_in_a_hook_leaves_no_staged_merge() {
    let (room, repo) = offered();
    let before = state(&room, &repo);
    for name in ["pre-merge-commit", "prepare-commit-msg", "commit-msg"] {
        hook(&repo, name, "kill -9 $PPID");
        assert!(matches!(merge(&repo), Err(Error::MergeRefused { .. })));
        assert_eq!(state(&room, &repo), before, "{name}");
        no_hooks(&repo);
    }
}

#[test]
fn p6_a_killed_merge_is_named_and_put_back_with_its_files() {
    let (room, repo) = offered();
    let before = state(&room, &repo);
    killed_in(&repo, "pre-merge-commit");
    assert_ne!(state(&room, &repo), before, "the merge is staged");
    assert_eq!(repo.begun_merge().unwrap().unwrap().branch(), BRANCH);
    assert!(matches!(merge(&repo), Err(Error::InProgress { .. })), "it is taken back first");
    let taken = repo.take_back_begun_merge().unwrap().unwrap();
    assert_eq!(taken, TakenBack { branch: BRANCH.into(), put_back: paths(&MERGED), left: vec![] });
    assert_eq!(state(&room, &repo), before);
    assert!(!repo.work_tree().join("new").exists(), "nor an empty folder");
    assert_eq!(repo.take_back_begun_merge().unwrap(), None);
}

fn unknown(repo: &Repo) -> String {
    let seen = repo.begun_merge().err().map(|e| e.to_string());
    let Err(refused @ Error::MergeNoteUnknown { .. }) = repo.take_back_begun_merge() else { panic!("it is taken back") };
    assert!(seen.is_none_or(|seen| seen == refused.to_string()));
    refused.to_string()
}

#[test]
fn p6_a_killed_merge_whose_objects_are_gone_is_forgotten_or_named() {
    let (room, repo) = offered();
    let at = repo.work_tree();
    room.git(at, &["commit", "-qam", "mine"]);
    killed_in(&repo, "pre-merge-commit");
    room.git(at, &["reset", "-q", "--hard"]);
    let clean_up = || {
        room.git(at, &["reflog", "expire", "--expire=now", "--all"]);
        room.git(at, &["gc", "-q", "--prune=now"]);
    };
    clean_up();
    let taken = repo.take_back_begun_merge().unwrap().unwrap();
    assert_eq!((taken.put_back, taken.left), (vec![], vec![]), "the merged tree is made again");

    killed_in(&repo, "pre-merge-commit");
    room.git(at, &["reset", "-q", "--hard"]);
    let tip = repo.read_ref(&format!("refs/heads/{BRANCH}")).unwrap().unwrap();
    let refs = room.git(at, &["for-each-ref", "--format=%(refname)", "--points-at", tip.as_str()]);
    refs.lines().for_each(|name| drop(room.git(at, &["update-ref", "-d", name])));
    assert!(unknown(&repo).contains("its branch does not have the commit"));
    clean_up();
    write(&at.join("a.txt"), "edited since\n");
    assert!(unknown(&repo).contains("its commits are gone"));
    room.git(at, &["checkout", "-q", "a.txt"]);
    assert_eq!(repo.begun_merge().unwrap(), None);
    assert_eq!(repo.take_back_begun_merge().unwrap(), None);
    assert!(!at.join(".git/agentops/begun-merge").exists());
}

#[test]
fn p6_s13_a_note_of_a_merge_that_is_not_ours_takes_nothing_back_and_is_named() {
    let (room, repo) = offered();
    let (at, note) = (repo.work_tree(), repo.git_dir().join("agentops/begun-merge"));
    let oid = |of: &str| room.git(at, &["rev-parse", of]);
    let [head, tip] = ["HEAD", BRANCH].map(oid);
    // The user's work, which nobody committed, as if a merge had put it there.
    room.git(at, &["add", "-A"]);
    let theirs = room.git(at, &["write-tree"]);
    let forged = room.git(at, &["commit-tree", "-p", &head, "-m", "x", &theirs]);
    let before = state(&room, &repo);
    let says = |branch: &str, of: &str, tree: &str| {
        let text = format!(r#"{{"format":1,"branch":"{branch}","head":"{head}","theirs":"{of}","tree":"{tree}"}}"#);
        write(&note, &text);
        let said = unknown(&repo);
        assert!(!said.contains("evil"), "{said}");
        said
    };
    for branch in [r"agentops/x\nevil", "agentops/x; evil", "main", "agentops/../evil", "agentops/"] {
        assert!(says(branch, &tip, &theirs).contains("not one of this version"), "{branch}");
    }
    assert!(says(BRANCH, &tip, "--output=evil").contains("not one of this version"));
    assert!(says(BRANCH, &tip, &theirs).contains("not the merge of its commits"));
    assert!(says(BRANCH, &forged, &theirs).contains("its branch does not have the commit"));
    assert!(says(BRANCH, &theirs, &theirs).contains("names no commits"));
    fs::remove_file(&note).unwrap();
    fs::create_dir(&note).unwrap();
    assert!(unknown(&repo).contains("not a file of ours"));
    assert_eq!(state(&room, &repo), before);
}

#[test]
fn p6_what_the_user_changed_since_a_merge_was_killed_is_left_and_named() {
    let (room, repo) = offered();
    let at = repo.work_tree();
    killed_in(&repo, "pre-merge-commit");
    write(&at.join("a.txt"), "edited after it\n");
    write(&at.join("new/deep.txt"), "staged after it\n");
    room.git(at, &["add", "new/deep.txt"]);
    write(&at.join("untracked.txt"), "staged by the user\n");
    room.git(at, &["add", "untracked.txt"]);
    write(&at.join("dir/b.txt"), "written again by the user\n");
    let taken = repo.take_back_begun_merge().unwrap().unwrap();
    assert_eq!(taken.put_back, paths(&["link", "tool.sh"]));
    assert_eq!(taken.left, paths(&["a.txt", "dir/b.txt", "new/deep.txt"]));
    for (path, text) in [
        ("a.txt", "edited after it\n"),
        ("new/deep.txt", "staged after it\n"),
        ("untracked.txt", "staged by the user\n"),
        ("dir/b.txt", "written again by the user\n"),
        ("other.txt", "mine\n"),
    ] {
        assert_eq!(fs::read_to_string(at.join(path)).unwrap(), text, "{path}");
    }
    let staged = room.git(at, &["diff", "--cached", "--name-only"]);
    assert_eq!(staged.lines().collect::<Vec<_>>(), ["a.txt", "dir/b.txt", "new/deep.txt", "untracked.txt"]);
    assert!(!at.join(".git/AUTO_MERGE").exists());
    assert_eq!(repo.begun_merge().unwrap(), None, "what is left is the user's");
}

#[test]
fn p6_a_killed_merge_that_the_user_committed_or_left_behind_changes_nothing_more() {
    // Committed as it was staged, without git knowing of a merge.
    let (room, repo) = offered();
    killed_in(&repo, "pre-merge-commit");
    room.git(repo.work_tree(), &["commit", "-qm", "by hand"]);
    let committed = state(&room, &repo);
    assert_eq!(repo.take_back_begun_merge().unwrap().unwrap(), TakenBack { branch: BRANCH.into(), ..TakenBack::default() });
    assert_eq!(state(&room, &repo), committed);

    // Finished as a merge.
    let (room, repo) = offered();
    killed_in(&repo, "commit-msg");
    room.git(repo.work_tree(), &["commit", "-qm", "by hand"]);
    assert_eq!(repo.begun_merge().unwrap(), None);
    assert_eq!(repo.take_back_begun_merge().unwrap(), None);
    assert_eq!(merge(&repo).unwrap(), UserMerge::UpToDate);

    // Undone by hand.
    let (room, repo) = offered();
    let before = room.git(repo.work_tree(), &["rev-parse", "HEAD"]);
    killed_in(&repo, "commit-msg");
    room.git(repo.work_tree(), &["merge", "--abort"]);
    let taken = repo.take_back_begun_merge().unwrap().unwrap();
    assert_eq!((taken.put_back, taken.left), (vec![], vec![]));
    assert_eq!(room.git(repo.work_tree(), &["rev-parse", "HEAD"]), before);
    assert!(matches!(merge(&repo).unwrap(), UserMerge::Merged { .. }));
}

#[test]
fn p6_files_that_a_killed_git_wrote_before_the_index_are_put_back() {
    let (room, repo) = offered();
    let before = state(&room, &repo);
    cut_after("merge-noted", || drop(merge(&repo)));
    // As git does it: some files are written, the index is not yet.
    let at = repo.work_tree();
    write(&at.join("a.txt"), "by the agent\n");
    write(&at.join("new/deep.txt"), "deep\n");
    fs::remove_file(at.join("dir/b.txt")).unwrap();
    write(&at.join("tool.sh"), "#!/bin/zsh\n");
    let taken = repo.take_back_begun_merge().unwrap().unwrap();
    assert_eq!(taken.put_back, paths(&["a.txt", "dir/b.txt", "new/deep.txt"]));
    assert_eq!(taken.left, paths(&["tool.sh"]), "the user wrote it");
    fs::remove_file(at.join("tool.sh")).unwrap();
    assert_eq!(state(&room, &repo), before);
}

#[test]
fn p6_files_that_git_did_not_write_whole_are_put_back() {
    for half in ["", "by the a"] {
        let (room, repo) = offered();
        let before = state(&room, &repo);
        cut_after("merge-noted", || drop(merge(&repo)));
        let at = repo.work_tree();
        write(&at.join("a.txt"), half);
        write(&at.join("new/deep.txt"), "d");
        write(&at.join("tool.sh"), "");
        let taken = repo.take_back_begun_merge().unwrap().unwrap();
        assert_eq!(taken.put_back, paths(&["a.txt", "new/deep.txt", "tool.sh"]));
        assert_eq!((taken.left, state(&room, &repo)), (vec![], before));
        assert!(matches!(merge(&repo).unwrap(), UserMerge::Merged { .. }));
    }
    // Git takes the old file away before it writes the new one.
    let (room, repo) = offered();
    let before = state(&room, &repo);
    cut_after("merge-noted", || drop(merge(&repo)));
    fs::remove_file(repo.work_tree().join("a.txt")).unwrap();
    assert_eq!(repo.take_back_begun_merge().unwrap().unwrap().put_back, paths(&["a.txt"]));
    assert_eq!(state(&room, &repo), before);
}

#[test]
fn p6_the_beginning_of_a_file_that_is_larger_than_what_git_may_print_is_put_back() {
    let (room, repo) = Room::with_repo();
    let at = repo.work_tree();
    room.git(at, &["checkout", "-qb", BRANCH]);
    fs::File::create(at.join("large")).unwrap().set_len((64 << 20) + 1).unwrap();
    room.git(at, &["-c", "core.compression=0", "add", "large"]);
    room.git(at, &["commit", "-qm", "large"]);
    room.git(at, &["checkout", "-q", "main"]);
    let before = state(&room, &repo);
    cut_after("merge-noted", || drop(merge(&repo)));
    write(&at.join("large"), [0; 1000]);
    let taken = repo.take_back_begun_merge().unwrap().unwrap();
    assert_eq!((taken.put_back, taken.left), (paths(&["large"]), vec![]));
    assert_eq!(state(&room, &repo), before);
}

#[test]
fn p6_a_merge_is_taken_back_through_content_filters_and_line_ends() {
    let (room, repo) = Room::with_repo();
    let at = repo.work_tree();
    for (key, value) in [("filter.up.clean", "tr a-z A-Z"), ("filter.up.smudge", "tr A-Z a-z")] {
        room.git(at, &["config", key, value]);
    }
    write(&at.join(".gitattributes"), "*.up filter=up\n*.crlf text eol=crlf\n");
    write(&at.join("one.up"), "one\n");
    write(&at.join("one.crlf"), "one\r\n");
    room.git(at, &["add", "."]);
    room.git(at, &["commit", "-qm", "filtered"]);
    room.git(at, &["checkout", "-qb", "side"]);
    write(&at.join("one.up"), "two\n");
    write(&at.join("one.crlf"), "two\r\n");
    room.git(at, &["commit", "-qam", "two"]);
    room.git(at, &["update-ref", &format!("refs/heads/{BRANCH}"), "HEAD"]);
    room.git(at, &["checkout", "-q", "main"]);
    killed_in(&repo, "pre-merge-commit");
    let taken = repo.take_back_begun_merge().unwrap().unwrap();
    assert_eq!((taken.put_back, taken.left), (paths(&["one.crlf", "one.up"]), vec![]));
    assert_eq!(fs::read_to_string(at.join("one.up")).unwrap(), "one\n");
    assert_eq!(fs::read(at.join("one.crlf")).unwrap(), b"one\r\n");
    assert_eq!(room.git(at, &["status", "--porcelain"]), "");
}

#[test]
fn p6_a_merge_into_a_linked_worktree_or_a_sparse_checkout_is_taken_back_there() {
    let (room, repo) = offered();
    let linked = room.path("linked");
    room.git(repo.work_tree(), &["worktree", "add", "-q", "-b", "side", linked.to_str().unwrap()]);
    let there = Repo::discover(&agentops_git::Git::find().unwrap(), &linked).unwrap();
    killed_in(&there, "pre-merge-commit");
    assert_eq!(repo.begun_merge().unwrap(), None, "it is another checkout");
    assert_eq!(there.take_back_begun_merge().unwrap().unwrap().put_back, paths(&MERGED));
    assert_eq!(room.git(&linked, &["status", "--porcelain"]), "");

    room.git(&linked, &["sparse-checkout", "set", "--no-cone", "/a.txt", "/dir"]);
    killed_in(&there, "pre-merge-commit");
    assert_ne!(room.git(&linked, &["diff", "--cached", "--name-only"]), "");
    let taken = there.take_back_begun_merge().unwrap().unwrap();
    assert_eq!((taken.put_back, taken.left), (paths(&MERGED), vec![]));
    assert_eq!(room.git(&linked, &["status", "--porcelain"]), "");
}

#[test]
fn p6_an_interrupted_merge_is_taken_back_and_its_hook_ended() {
    let (room, repo) = offered();
    let before = state(&room, &repo);
    for name in ["pre-merge-commit", "commit-msg"] {
        // A hook that no request to end reaches, with a child of its own.
        let (pipe, pid) = (room.path(&format!("{name}.pipe")), room.path("pid"));
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        let waits = format!("trap '' TERM INT; sh -c 'echo $$; exec sleep 600' > '{}' &\nwait; wait", pid.display());
        hook(&repo, name, &format!("echo in > '{}'; {waits}", pipe.display()));
        let interrupted = Arc::new(AtomicBool::new(false));
        let tested = room::as_they_are(&repo, BRANCH);
        let merged = std::thread::scope(|scope| {
            let merging = scope.spawn(|| repo.merge_into_checkout(BRANCH, &tested, "m", &interrupted));
            assert_eq!(fs::read_to_string(&pipe).unwrap(), "in\n");
            while fs::read_to_string(&pid).unwrap_or_default().is_empty() {
                std::thread::yield_now();
            }
            assert!(!repo.merge_at_work().is_empty());
            assert!(matches!(repo.take_back_begun_merge(), Err(Error::MergeAtWork { .. })), "never under a git at work");
            interrupted.store(true, Ordering::SeqCst);
            merging.join().unwrap()
        });
        let UserMerge::Interrupted(taken) = merged.unwrap() else { panic!() };
        assert_eq!((taken.put_back, taken.left), (paths(&MERGED), vec![]), "{name}");
        assert_eq!(state(&room, &repo), before, "{name}");
        let pid = fs::read_to_string(&pid).unwrap();
        let ended = fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
        assert!(ended.is_err() || ended.is_ok_and(|stat| stat.contains(") Z")), "a child of the hook lives");
        fs::remove_file(room.path("pid")).unwrap();
        no_hooks(&repo);
    }
    assert!(matches!(merge(&repo).unwrap(), UserMerge::Merged { .. }));
}

#[test]
fn a_refused_merge_says_what_refused_it() {
    let (room, repo) = offered();
    let before = state(&room, &repo);
    let at = repo.work_tree();
    let refused = || {
        let Err(Error::MergeRefused { refusal, words, left }) = merge(&repo) else { panic!() };
        assert_eq!(left, paths(&[]));
        assert_eq!(state(&room, &repo), before);
        (refusal, words)
    };
    for name in ["pre-merge-commit", "prepare-commit-msg", "commit-msg"] {
        // What a hook's own git commands and other programs end with is not the merge's affair.
        hook(&repo, name, "git rev-parse --verify nothing 2>/dev/null\necho no: $LANG >&2; exit 1");
        let (refusal, words) = refused();
        let program = format!(".git/hooks/{name}");
        assert_eq!(refusal, MergeRefusal::Hook { name: name.into(), program }, "{words}");
        assert!(words.starts_with("no: ") && !words.contains("git commit"), "{words}");
        no_hooks(&repo);
    }
    program(&room.path("signs"), "#!/bin/sh\necho no key >&2; exit 2\n");
    let signs = room.path("signs").display().to_string();
    for (key, value) in
        [("commit.gpgSign", "true"), ("user.signingKey", "k"), ("gpg.program", &signs), ("gpg.ssh.program", &signs)]
    {
        room.git(at, &["config", key, value]);
    }
    for format in ["openpgp", "ssh", "x509"] {
        room.git(at, &["config", "gpg.format", format]);
        let program = if format == "x509" { "gpgsm".into() } else { signs.clone() };
        assert_eq!(refused().0, MergeRefusal::Signature { program }, "{format}");
    }
    room.git(at, &["config", "commit.gpgSign", "false"]);
    assert!(matches!(merge(&repo).unwrap(), UserMerge::Merged { .. }));
}

#[test]
fn p6_a_lock_file_in_the_way_of_a_merge_is_named_and_nothing_is_merged() {
    let (room, repo) = offered();
    let before = state(&room, &repo);
    for name in ["index.lock", "HEAD.lock"] {
        let lock = repo.git_dir().join(name);
        write(&lock, "");
        let refused = merge(&repo).unwrap_err();
        assert_eq!(refused.lock_in_the_way(), Some(lock.clone()), "{refused}");
        assert_eq!(repo.lock_files(), std::slice::from_ref(&lock));
        fs::remove_file(lock).unwrap();
        assert_eq!(state(&room, &repo), before, "{name}");
    }
    assert!(matches!(merge(&repo).unwrap(), UserMerge::Merged { .. }));
}

#[test]
fn s13_a_refused_merge_takes_no_name_of_an_agents_for_a_lock_file_and_hides_nothing() {
    let (room, repo) = offered();
    let at = repo.work_tree();
    // Git repeats the name of this file when the user's filter fails on it.
    let victim = room.path("victim.lock");
    write(&victim, "");
    let tip = repo.read_ref(&format!("refs/heads/{BRANCH}")).unwrap().unwrap();
    let lane = agentops_git::lanes::create(&repo, &room.path("lane"), &tip, "one").unwrap();
    write(&lane.path().join(format!("a'{}'/b.bin", victim.display())), "b");
    let point = lane.checkpoint(&tip, "m", &author(), 1, &room.scratch()).unwrap();
    repo.update_ref(&format!("refs/heads/{BRANCH}"), &point.commit, &Expect::Is(tip)).unwrap();
    write(&at.join(".git/info/attributes"), "*.bin filter=fails\n");
    for (key, value) in [("filter.fails.smudge", "false"), ("filter.fails.required", "true")] {
        room.git(at, &["config", key, value]);
    }
    let before = state(&room, &repo);
    let refused = || merge(&repo).unwrap_err();
    let error = refused();
    assert!(matches!(&error, Error::MergeRefused { refusal: MergeRefusal::Other, .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("smudge filter fails failed") && !text.contains("rm '"), "{text}");
    assert_eq!(state(&room, &repo), before);

    // A lock file that git does not name may be the reason, or not.
    write(&at.join(".git/config.lock"), "");
    let error = refused();
    assert_eq!(error.lock_in_the_way(), Some(at.join(".git/config.lock")), "{error}");
    assert!(error.to_string().contains("smudge filter fails failed"), "{error}");
    fs::remove_file(at.join(".git/config.lock")).unwrap();
    assert_eq!(state(&room, &repo), before);
}

#[test]
fn p6_only_the_commits_that_were_tested_are_merged() {
    let (room, repo) = offered();
    let tested = room::as_they_are(&repo, BRANCH);
    let merge = || repo.merge_into_checkout(BRANCH, &tested, "m", &Arc::default());
    let full = format!("refs/heads/{BRANCH}");
    repo.update_ref(&full, &tested.head, &Expect::Is(tested.tip.clone())).unwrap();
    assert!(matches!(merge(), Err(Error::RefMoved { name, .. }) if name == full));
    repo.update_ref(&full, &tested.tip, &Expect::Is(tested.head.clone())).unwrap();
    room.git(repo.work_tree(), &["commit", "-q", "--allow-empty", "-m", "mine"]);
    let before = state(&room, &repo);
    assert!(matches!(merge(), Err(Error::RefMoved { name, .. }) if name == "HEAD"));
    assert_eq!(state(&room, &repo), before);
    room.git(repo.work_tree(), &["reset", "-q", "--keep", tested.head.as_str()]);
    assert!(matches!(merge().unwrap(), UserMerge::Merged { .. }));
}

#[test]
fn p6_a_merge_names_the_local_changes_in_its_way_and_overwrites_no_ignored_file() {
    let (room, repo) = offered();
    let at = repo.work_tree();
    let in_the_way = |expected: &[&str]| {
        let before = state(&room, &repo);
        let Err(Error::MergeRefused { refusal, .. }) = merge(&repo) else { panic!("{expected:?}") };
        let MergeRefusal::LocalChanges { paths: found, assumed_unchanged } = refusal else { panic!("{refusal:?}") };
        assert_eq!(found, paths(expected));
        assert_eq!(state(&room, &repo), before);
        assumed_unchanged
    };
    let put_back = |path: &Path| fs::remove_file(at.join(path)).unwrap();
    write(&at.join("a.txt"), "mine\n");
    in_the_way(&["a.txt"]);
    room.git(at, &["add", "a.txt"]);
    in_the_way(&["a.txt"]);
    room.git(at, &["checkout", "-q", "HEAD", "--", "a.txt"]);
    room.git(at, &["add", "other.txt"]);
    in_the_way(&["other.txt"]);
    room.git(at, &["reset", "-q"]);
    write(&at.join("tool.sh"), "mine\n");
    write(&at.join("new"), "a file where a folder comes\n");
    in_the_way(&["new", "tool.sh"]);
    put_back(Path::new("new"));
    // Git itself overwrites an ignored file without a word.
    write(&at.join(".git/info/exclude"), "tool.sh\n");
    in_the_way(&["tool.sh"]);
    assert_eq!(fs::read_to_string(at.join("tool.sh")).unwrap(), "mine\n");
    put_back(Path::new("tool.sh"));
    // Nor does it keep ignored files in a folder where it puts a file, or a changed file that it takes for unchanged.
    write(&at.join(".git/info/exclude"), "ignored\n");
    write(&at.join("tool.sh/deep/ignored"), "mine\n");
    in_the_way(&["tool.sh/deep/ignored"]);
    fs::remove_dir_all(at.join("tool.sh")).unwrap();
    for path in ["a.txt", "dir/b.txt", "other.txt"] {
        room.git(at, &["update-index", "--assume-unchanged", path]);
    }
    write(&at.join("a.txt"), "mine\n");
    assert_eq!(in_the_way(&["a.txt"]), paths(&["a.txt"]));
    assert_eq!(fs::read_to_string(at.join("a.txt")).unwrap(), "mine\n");
    room.git(at, &["update-index", "--no-assume-unchanged", "a.txt"]);
    assert_eq!(in_the_way(&["a.txt"]), paths(&[]));
    room.git(at, &["checkout", "-q", "HEAD", "--", "a.txt"]);
    assert!(matches!(merge(&repo).unwrap(), UserMerge::Merged { .. }));
}

/// The paths that the merge made otherwise than tested.
fn merged_otherwise(room: &Room, repo: &Repo) -> Vec<PathBuf> {
    let head = repo.head().unwrap().commit;
    let merged = merge(repo);
    let Err(Error::MergedOtherwise { branch, commit, before, paths }) = merged else { panic!("{merged:?}") };
    assert_eq!((branch.as_str(), &commit, &before), (BRANCH, &repo.head().unwrap().commit, &head));
    assert_eq!(repo.begun_merge().unwrap(), None);
    room.git(repo.work_tree(), &["reset", "-q", "--keep", before.as_str()]);
    paths
}

#[test]
fn p6_a_merge_that_is_not_what_was_tested_is_named_and_not_taken_for_it() {
    let (room, repo) = offered();
    let at = repo.work_tree();
    let before = state(&room, &repo);
    room.git(at, &["config", "branch.main.mergeoptions", "--no-ff -s ours"]);
    assert_eq!(merged_otherwise(&room, &repo), paths(&MERGED));
    assert_eq!(state(&room, &repo), before, "the command that undoes it keeps local changes");
    room.git(at, &["config", "--unset", "branch.main.mergeoptions"]);

    let amend = "git update-ref HEAD $(git commit-tree -p HEAD^1 -p HEAD^2 -m amended $(git write-tree))";
    hook(&repo, "post-merge", &format!("git rm -q --cached tool.sh; {amend}"));
    assert_eq!(merged_otherwise(&room, &repo), paths(&["tool.sh"]));
    no_hooks(&repo);
    fs::remove_file(at.join("tool.sh")).unwrap();

    write(&at.join("a.txt"), "one\ntwo\nthree\nfour\n");
    write(&at.join(".git/info/attributes"), "a.txt merge=mine\n");
    room.git(at, &["config", "merge.mine.driver", "true"]);
    room.git(at, &["commit", "-qm", "mine", "a.txt"]);
    let conflicts = paths(&["a.txt"]);
    assert_eq!(merge(&repo).unwrap(), UserMerge::Conflict { paths: conflicts }, "it is tested without the driver");
}

#[test]
fn p6_a_merge_driver_that_merges_otherwise_than_tested_is_named() {
    let (room, repo) = Room::with_repo();
    let at = repo.work_tree();
    room.git(at, &["checkout", "-qb", BRANCH]);
    write(&at.join("a.txt"), "one\ntwo\nthree\nby the agent\n");
    room.git(at, &["commit", "-qam", "theirs"]);
    room.git(at, &["checkout", "-q", "main"]);
    write(&at.join("a.txt"), "by the user\none\ntwo\nthree\n");
    write(&at.join(".gitattributes"), "a.txt merge=mine\n");
    room.git(at, &["add", "."]);
    room.git(at, &["commit", "-qm", "ours"]);
    room.git(at, &["config", "merge.mine.driver", "true"]);
    assert_eq!(merged_otherwise(&room, &repo), paths(&["a.txt"]));
    room.git(at, &["config", "--unset", "merge.mine.driver"]);
    assert!(matches!(merge(&repo).unwrap(), UserMerge::Merged { .. }));
}

#[test]
fn p6_a_merge_that_is_not_what_was_tested_is_named_after_a_kill_too() {
    let (room, repo) = offered();
    room.git(repo.work_tree(), &["config", "branch.main.mergeoptions", "-s ours"]);
    cut_after("merge-git-ended", || drop(merge(&repo)));
    let Err(Error::MergedOtherwise { paths: differ, .. }) = repo.take_back_begun_merge() else { panic!() };
    assert_eq!(differ, paths(&MERGED));
    assert_eq!(repo.take_back_begun_merge().unwrap(), None, "the next one accepts what is there");
    assert_eq!(merge(&repo).unwrap(), UserMerge::UpToDate);
}

#[test]
fn settings_that_only_make_another_merge_do_not_reach_it() {
    let (room, repo) = offered();
    let at = repo.work_tree();
    for (key, value) in [("pull.twohead", "ours"), ("merge.renames", "false"), ("merge.directoryRenames", "true")] {
        room.git(at, &["config", key, value]);
    }
    assert!(matches!(merge(&repo).unwrap(), UserMerge::Merged { .. }));
    assert_eq!(fs::read_to_string(at.join("a.txt")).unwrap(), "by the agent\n");
}
