//! What to type when something was refused, for the command line and for the supervisor's answers alike.

use std::path::{Path, PathBuf};

use agentops_agents::driver::DriverError;
use agentops_core::id::RunId;
use agentops_git::{Error as Git, MergeRefusal, Oid, removal, shell_word};

use crate::catalogues::CatalogueError;
use crate::plan::PlanError;
use crate::wire::RefusalKind;

/// What to do about a refusal of git's.
#[must_use]
pub fn git(error: &Git) -> String {
    if error.lock_in_the_way().is_some() {
        return "then run the command again".to_owned();
    }
    let words = match error {
        Git::MergeRefused { refusal, .. } => return merge(refusal, Path::new("."), None),
        Git::MergedOtherwise { branch, before, .. } => return merged_otherwise(branch, before, Path::new(".")),
        Git::ConfigurationRefused { path, .. } => {
            return format!(
                "take back what does not belong in it, then run the command again: \"${{EDITOR:-vi}}\" {}",
                quoted(path)
            );
        }
        Git::OtherGitDirectory { path } => {
            return format!("remove it, then run the command again: {}", removal(path));
        }
        Git::RefInTheWay { other, .. } => return ref_in_the_way(other),
        Git::MergeNoteUnknown { path, .. } => {
            return format!("look at the checkout with `git status`; then remove the note: {}", removal(path));
        }
        Git::NotARepository { .. } => {
            "go into your repository, name it with --repo, or begin one with `git init` and a first commit"
        }
        Git::Bare { .. } => "run this in a clone that has a work tree",
        Git::NoCommits { .. } => "make a first commit: a run starts from one",
        Git::GitMissing => "install git",
        Git::GitTooOld { .. } => "install a newer git: older ones cannot be kept from running a repository's programs",
        Git::UnknownRevision { .. } | Git::BadName { .. } => "`git log --oneline` shows what there is",
        Git::NotOwned { .. } => "only your own repositories are worked in",
        Git::ObjectsMissing { .. } => "look whether the remote can be reached, or type that command; then try again",
        Git::InProgress { .. } => "finish or abort it first",
        Git::MergeAtWork { .. } => "wait until it has ended, or end that process; then run the command again",
        Git::MergeElsewhere { .. } => {
            "`git worktree list` names the checkouts; end the merge with `agentops merge` in that one"
        }
        Git::CommitGone { .. } => "get it back from a copy of the repository, then `agentops resume`, or discard the run",
        Git::FolderGone { .. } => {
            "bring it back; or, if you moved the repository, run this where it is now: its runs are found there by its id"
        }
        Git::NewerLane { .. } => "use the version that made it, or a newer one",
        Git::NoTemporaryFolder { .. } => "free some space there, or set TMPDIR to a folder on a disk with space",
        _ => "`agentops doctor` checks git, this repository and the state folder",
    };
    words.to_owned()
}

/// What takes a ref out of the way of ours. A branch may hold somebody's work, so it is renamed.
pub(crate) fn ref_in_the_way(other: &str) -> String {
    match other.strip_prefix("refs/heads/") {
        Some(branch) => {
            format!(
                "rename it: git branch -m {} {}",
                shell_word(branch),
                shell_word(&format!("{}-old", branch.replace('/', "-")))
            )
        }
        None => format!("remove it: git update-ref -d {}", shell_word(other)),
    }
}

/// Paths that a hint names; more than that are put aside without naming them.
const PATHS_NAMED_MAX: usize = 50;

/// What to do about a merge that the user's git refused. `run`: whose result was to be merged.
#[must_use]
pub fn merge(refusal: &MergeRefusal, work_tree: &Path, run: Option<&RunId>) -> String {
    let again = run.map_or_else(|| "agentops merge".to_owned(), |run| format!("agentops merge {run}"));
    let git = format!("git -C {}", quoted(work_tree));
    let way = match refusal {
        MergeRefusal::Hook { name, .. } => format!("mend what the hook {name} names, then: {again}"),
        MergeRefusal::Signature { program } => {
            let unsigned = run.map_or_else(String::new, |run| {
                let branch = run.branch();
                format!("; or merge it without a signature: {git} merge --no-ff --no-gpg-sign {branch} && {again}")
            });
            format!("make {program} able to sign (`{git} config user.signingkey` names the key), then: {again}{unsigned}")
        }
        MergeRefusal::LocalChanges { paths, assumed_unchanged } => put_aside(paths, assumed_unchanged, work_tree, &again),
        MergeRefusal::Identity => format!(
            "tell git who you are: {git} config user.name \"Your Name\" && {git} config user.email you@example.com && {again}"
        ),
        MergeRefusal::LockFile { .. } => format!("then: {again}"),
        MergeRefusal::Other => format!("do what git says, then: {again}"),
    };
    format!("nothing was merged; {way}")
}

/// How local changes are put aside before a merge.
fn put_aside(paths: &[PathBuf], assumed_unchanged: &[PathBuf], work_tree: &Path, again: &str) -> String {
    // A name may look like a pattern.
    let git = format!("git -C {} --literal-pathspecs", quoted(work_tree));
    let words = |paths: &[PathBuf]| paths.iter().map(quoted).collect::<Vec<_>>().join(" ");
    let mark = match assumed_unchanged {
        [] => String::new(),
        some => format!("{git} update-index --no-assume-unchanged -- {} && ", words(some)),
    };
    // Git finds no file of a staged deletion, so it cannot be named.
    let is_there = |path: &PathBuf| work_tree.join(path).symlink_metadata().is_ok();
    let what = match paths.len() <= PATHS_NAMED_MAX && paths.iter().all(is_there) {
        true => format!("--all -- {}", words(paths)),
        false => "--include-untracked".to_owned(),
    };
    format!(
        "commit these changes, or put them aside: {mark}{git} stash push {what} && {again} (then `git stash pop` brings them back; \
         for a file that the merge has too, the stash keeps yours)"
    )
}

/// What to do about a merge that is not what was tested. `before`: the commit that was checked out before it.
#[must_use]
pub fn merged_otherwise(branch: &str, before: &Oid, work_tree: &Path) -> String {
    let run = branch.strip_prefix("agentops/").unwrap_or_default();
    let git = format!("git -C {}", quoted(work_tree));
    format!(
        "the run is not marked as merged; look at your merge drivers, hooks and merge settings (`{git} config --get-regexp merge`); \
         undo this merge: {git} reset --keep {before}; or accept what is there, which is tested first: agentops merge {run}"
    )
}

/// A path as one word of a shell.
fn quoted(path: impl AsRef<Path>) -> String {
    shell_word(&path.as_ref().display().to_string())
}

/// What to do about a catalogue.
#[must_use]
pub fn catalogue(error: &CatalogueError) -> &'static str {
    match error {
        CatalogueError::Absent { .. } => "`agentops agents` lists them",
        CatalogueError::Newer { .. } => {
            "a newer agentops wrote it: install that version, or remove it with `agentops agents remove`"
        }
        CatalogueError::Changed { .. } | CatalogueError::Altered { .. } | CatalogueError::NoAgent { .. } => {
            "add it again with `agentops agents add`, or remove it with `agentops agents remove`"
        }
        CatalogueError::Taken { .. } => "give this one a name of its own with --name, or that name to replace the other",
        CatalogueError::Nothing { .. } => {
            "an agent is a Markdown file with `name` and `description` in its front matter, a skill a folder with a SKILL.md"
        }
        CatalogueError::Busy => "try again when it has ended",
        CatalogueError::Io { .. } => "mend the permissions of your settings folder, or free some space",
    }
}

/// Whether a refusal of git's is the machine's fault and not the arguments'.
#[must_use]
pub fn of_machine(error: &Git) -> bool {
    use Git::{ConfigurationRefused, Failed, FolderGone, GitMissing, GitTooOld, Io, NoTemporaryFolder};
    use Git::{OtherGitDirectory, Timeout, TooMuchOutput, Unexpected};
    matches!(
        error,
        ConfigurationRefused { .. }
            | OtherGitDirectory { .. }
            | GitMissing
            | GitTooOld { .. }
            | Failed { .. }
            | FolderGone { .. }
            | Io { .. }
            | NoTemporaryFolder { .. }
            | Timeout { .. }
            | TooMuchOutput { .. }
            | Unexpected { .. }
    )
}

/// What to do about a run that cannot be planned.
#[must_use]
pub fn plan(error: &PlanError) -> String {
    let words = match error {
        PlanError::EmptyTask => "say what is to be done: agentops run \"add a --json flag to the export command\"",
        PlanError::LongTask { .. } => "put the long part into a file of the repository and name that file in the task",
        PlanError::File(file) => &file.hint,
        PlanError::Name(_) => "names are lower-case letters, digits and dashes, as in `agentops run --agent implement`",
        PlanError::NoWorkflow { .. } => "name one of these with --workflow, or write it to .agentops/workflows/NAME.toml",
        PlanError::NoProgram => {
            "install one (`npm install -g @anthropic-ai/claude-code` or `npm install -g @openai/codex`) and log in, or try \
             `agentops demo`, which needs none"
        }
        PlanError::Driver { source: DriverError::Missing { hint, .. }, .. } => hint,
        PlanError::Driver { source: DriverError::TemporaryFolder { .. }, .. } => {
            "name a state folder elsewhere: --state-dir ~/.local/state/agentops"
        }
        PlanError::Driver { source: DriverError::Unknown { .. }, .. } => "name one of these with --driver",
        PlanError::Driver { source: DriverError::Setting { .. }, .. } => {
            "mend it in the agent's file, or give another with --set KEY=VALUE"
        }
        PlanError::Driver { .. } => "run the program by hand and see what it says; `agentops doctor` checks it too",
        PlanError::UsageUnknown { .. } => {
            "use a driver for which one of both holds (`agentops doctor` shows each); a program that calls no model says so with `model: none` in its settings"
        }
        PlanError::Unmet(unmet) => return unmet.hint(),
        PlanError::Submodules { .. } => "runs in repositories with submodules are not supported yet",
        PlanError::Git(error) => return git(error),
        PlanError::Store(_) => "free some space or mend the folder's permissions; `agentops doctor` checks it",
    };
    words.to_owned()
}

/// Which kind of refusal a plan's error is.
#[must_use]
pub fn kind(error: &PlanError) -> RefusalKind {
    match error {
        PlanError::Store(_) => RefusalKind::Failed,
        PlanError::Git(error) if of_machine(error) => RefusalKind::Failed,
        _ => RefusalKind::BadRequest,
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a person types the command into a shell")]
    fn s4_changes_are_put_aside_by_the_command_that_is_named_whatever_their_names() {
        let room = tempfile::tempdir().unwrap();
        let at = room.path().join("it's $(touch evil) \"r");
        std::fs::create_dir(&at).unwrap();
        let git = |args: &[&str]| {
            let mut command = Command::new("git");
            command.current_dir(&at).args(["-c", "user.name=User", "-c", "user.email=user@example.org"]).args(args);
            let out = command.output().unwrap();
            assert!(out.status.success(), "{args:?}: {out:?}");
            String::from_utf8(out.stdout).unwrap()
        };
        git(&["init", "-q", "."]);
        git(&["config", "user.name", "User"]);
        git(&["config", "user.email", "user@example.org"]);
        let named = ["star*", ":x", "[a]", "-rf", "notes$(touch evil).txt", "line\nend"].map(PathBuf::from);
        for name in named.iter().map(PathBuf::as_path).chain(["starfish".as_ref(), "gone".as_ref()]) {
            std::fs::write(at.join(name), "theirs").unwrap();
        }
        git(&["add", "-A"]);
        git(&["commit", "-qm", "begin"]);
        let typed = |refusal: &MergeRefusal| {
            let hint = merge(refusal, &at, None);
            let command = hint.split_once("put them aside: ").unwrap().1.split_once(" && agentops merge").unwrap().0;
            let out = Command::new("bash").args(["-c", command]).current_dir(room.path()).output().unwrap();
            assert!(out.status.success() && !room.path().join("evil").exists(), "{command}: {out:?}");
        };
        for name in named.iter().map(PathBuf::as_path).chain(["starfish".as_ref()]) {
            std::fs::write(at.join(name), "mine").unwrap();
        }
        git(&["update-index", "--assume-unchanged", ":x"]);
        typed(&MergeRefusal::LocalChanges { paths: named.to_vec(), assumed_unchanged: vec![":x".into()] });
        assert_eq!(git(&["diff", "--name-only"]), "starfish\n");
        git(&["rm", "-q", "gone"]);
        typed(&MergeRefusal::LocalChanges { paths: vec!["gone".into()], assumed_unchanged: vec![] });
        assert_eq!((git(&["status", "--porcelain"]).as_str(), git(&["stash", "list"]).lines().count()), ("", 2));
    }
}
