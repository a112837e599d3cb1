//! P6: the real Claude Code and Codex work in a lane as in a clone: they commit, stash, branch and compare with the remote.
//! Nothing of it reaches the user's repository.

use agentops_testkit::model::{Growth, ModelServer, Turn};

use crate::real::{Program, args_of, conversation, programs, room, script, shell};
use crate::user_repo::{UserRepo, in_use};

/// What the program runs, one command a turn. Each notes in `notes.txt` what git said.
const COMMANDS: [&str; 8] = [
    "git log --format='log: %s' >> notes.txt",
    "git diff --name-only origin/main... | sed 's/^/ahead of the remote: /' >> notes.txt",
    "git rev-parse --abbrev-ref origin/HEAD | sed 's/^/default: /' >> notes.txt && git tag | sed 's/^/tag: /' >> notes.txt",
    "echo 'put aside' >> README.md && git stash && git status --short README.md | sed 's/^/after stash: /' >> notes.txt",
    "git stash list --format='stashed: %gd' >> notes.txt && git stash pop && git stash list | sed 's/^/left: /' >> notes.txt",
    "git switch -c attempt && echo done > done.txt && git add done.txt && git commit -m 'Write done.txt' && \
     git log -1 --format='committed: %s by %an' >> notes.txt",
    "git switch -c second && echo second > second.txt && git add second.txt && git commit -m second && git switch attempt && \
     git merge second && git branch --format='branch: %(refname:short)' >> notes.txt",
    "git config user.name 'The Agent' && git remote add elsewhere ../elsewhere.git && git tag by-the-agent && \
     echo 'configured' >> notes.txt",
];

fn works_as_in_a_clone(program: Program) {
    let Some(bin) = programs() else { return };
    let mut turns: Vec<Turn> = COMMANDS.iter().map(|command| shell(command)).collect();
    turns.push(Turn::text("Done."));
    let usage = Growth { base: 20_000, step: 500, output: 200 };
    let server = ModelServer::start(script(vec![conversation("Phase `implement`", turns, usage)])).unwrap();
    let room = room(program, &bin, &server);
    room.file("src.txt", "ahead of the remote\n");
    room.git(&["add", "src.txt"]);
    room.git(&["commit", "--quiet", "-m", "ahead"]);
    in_use(&room);
    room.git(&["update-ref", "refs/remotes/origin/main", "HEAD~1"]);
    let args = args_of(&room, program, &server, "quick");
    let user = UserRepo::of(&room);
    let view = room.run(&crate::room::refs(&args)).expect(0).json();
    user.assert_unchanged(&room);
    let branch = view["branch"].as_str().unwrap();
    let notes = room.git(&["show", &format!("{branch}:notes.txt")]);
    let expected = [
        "log: ahead",
        "log: begin",
        "ahead of the remote: src.txt",
        "default: origin/main",
        "tag: v1",
        "tag: v2",
        "stashed: stash@{0}",
        "committed: Write done.txt by Someone",
        "branch: attempt",
        "branch: second",
        "configured",
    ];
    for line in expected {
        assert!(notes.lines().any(|note| note == line), "no `{line}` in\n{notes}\n{view:#}");
    }
    for line in ["after stash: ", "left: "] {
        assert!(!notes.contains(line), "{notes}");
    }
    let tree = room.git(&["ls-tree", "--name-only", branch]);
    for file in ["done.txt", "second.txt", "notes.txt"] {
        assert!(tree.lines().any(|name| name == file), "no {file} in\n{tree}");
    }
    assert!(room.git(&["show", &format!("{branch}:README.md")]).ends_with("put aside"));
    room.git(&["fsck", "--no-dangling", "--no-progress"]);
}

#[test]
fn p6_claude_code_works_in_a_lane_as_in_a_clone() {
    works_as_in_a_clone(Program::Claude);
}

#[test]
fn p6_codex_works_in_a_lane_as_in_a_clone() {
    works_as_in_a_clone(Program::Codex);
}
