//! P6: what changed in the user's repository is named, and each command that puts it back does so when it is typed.

#[path = "../room/mod.rs"]
mod room;

mod compared;
mod put_back;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use agentops_git::{CheckoutFault, Difference, Git, ProgramState, Repo, UserState};
use room::{Room, write};

/// Types a command in the checkout.
#[expect(clippy::disallowed_methods, reason = "a person types the command into a shell")]
fn type_in(room: &Room, at: &Path, command: &str) {
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", command]).current_dir(at).env("HOME", room.path("home")).env("GIT_CONFIG_NOSYSTEM", "1");
    shell.envs([
        ("GIT_AUTHOR_NAME", "A"),
        ("GIT_AUTHOR_EMAIL", "a@b"),
        ("GIT_COMMITTER_NAME", "A"),
        ("GIT_COMMITTER_EMAIL", "a@b"),
    ]);
    let out = shell.output().unwrap();
    assert!(out.status.success(), "{command}: {}", String::from_utf8_lossy(&out.stderr));
}

fn stored(state: &UserState) -> UserState {
    serde_json::from_slice(&serde_json::to_vec(state).unwrap()).unwrap()
}

fn words(differences: &[Difference]) -> String {
    differences.iter().map(|d| format!("{} => {}\n", d.what, d.restore.as_deref().unwrap_or("-"))).collect()
}

/// Changes the repository, and holds that each change is named with these words and that what is to be typed undoes it all.
#[track_caller]
fn changed(room: &Room, repo: &Repo, commands: &[&str], named: &[&str]) -> Vec<Difference> {
    let before = stored(&repo.user_state().unwrap());
    for command in commands {
        type_in(room, repo.work_tree(), command);
    }
    let after = repo.user_state_since(Some(&before)).unwrap();
    let differences = before.differences(&after, repo, Some("r-test")).unwrap();
    let said = words(&differences);
    for name in named {
        assert!(said.contains(name), "`{name}` is not in:\n{said}");
    }
    assert_eq!(differences.len(), named.len(), "{said}");
    if differences.iter().all(|difference| difference.restore.is_some()) {
        for difference in &differences {
            type_in(room, repo.work_tree(), difference.restore.as_deref().unwrap());
        }
        let again = repo.user_state_since(Some(&before)).unwrap();
        assert_eq!(words(&before.differences(&again, repo, None).unwrap()), "", "after:\n{said}");
        assert!(before.programs().runs_the_same(again.programs()));
    }
    differences
}

fn room_with_work() -> (Room, Repo) {
    let (room, repo) = Room::with_repo();
    fs::create_dir_all(room.path("home")).unwrap();
    (room, repo)
}

/// The user's repository as a person would look at it.
fn seen(room: &Room, at: &Path) -> String {
    let looks = "git for-each-ref --format='%(refname) %(objectname) %(symref)' refs/heads refs/tags refs/remotes; \
                 git stash list --format='%gd %H %gs'; git config --local --list | sort; cat .git/HEAD; git status --porcelain; \
                 for f in .git/hooks/* .git/info/*; do case $f in *.sample) ;; *) stat -c '%n %F %a %N' \"$f\"; md5sum < \"$f\"; \
                 esac; done";
    let (done, text) = room.by("sh", at, &["-c", looks]);
    assert!(done, "{text}");
    text
}
