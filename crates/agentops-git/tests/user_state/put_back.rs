//! The commands that are named put the user's repository back.

use super::*;

#[test]
fn p6_the_users_branch_comes_back_even_after_the_repository_was_cleaned() {
    let (room, repo) = room_with_work();
    type_in(&room, repo.work_tree(), "git commit -q --allow-empty -m more && git reflog expire --expire=now --all");
    let tip = room.git(repo.work_tree(), &["rev-parse", "main"]);
    let before = repo.user_state().unwrap();
    type_in(&room, repo.work_tree(), "git update-ref -d refs/heads/main");
    let after = repo.user_state().unwrap();
    let found = before.differences(&after, &repo, Some("r-test")).unwrap();
    type_in(&room, repo.work_tree(), "git reflog expire --expire=now --all && git gc -q --prune=now");
    assert!(found[0].what.starts_with("branch main deleted (was "), "{found:?}");
    assert_eq!(found[0].restore.as_deref(), Some(format!("git branch main {tip}").as_str()));
    type_in(&room, repo.work_tree(), found[0].restore.as_deref().unwrap());
    assert_eq!(room.git(repo.work_tree(), &["rev-parse", "main"]), tip);
    assert_eq!(room.git(repo.work_tree(), &["for-each-ref", "refs/agentops/kept/r-test"]).lines().count(), 1);
    // What was collected in between is said to be gone, and no command is shown that cannot work.
    let before = repo.user_state().unwrap();
    type_in(&room, repo.work_tree(), "git update-ref -d refs/agentops/kept/r-test/$(git rev-parse main)");
    type_in(
        &room,
        repo.work_tree(),
        "git switch -q --orphan other && git branch -D main && git reflog expire --expire=now --all && git gc -q --prune=now",
    );
    let after = repo.user_state().unwrap();
    let found = before.differences(&after, &repo, Some("r-test")).unwrap();
    assert!(found.iter().any(|d| d.what.contains("its objects are gone") && d.restore.is_none()), "{found:?}");
}

#[test]
fn p6_hooks_and_attributes_come_back_with_their_content_and_rights() {
    let (room, repo) = room_with_work();
    let hooks = repo.common_dir().join("hooks");
    fs::create_dir_all(&hooks).unwrap();
    fs::create_dir_all(repo.common_dir().join("info")).unwrap();
    let hook = |name: &str, mode: u32| {
        write(&hooks.join(name), format!("#!/bin/sh\n# {name}\n").as_bytes());
        fs::set_permissions(hooks.join(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    hook("pre-commit", 0o755);
    hook("pre-push", 0o644);
    hook("commit-msg", 0o700);
    write(&repo.common_dir().join("info/attributes"), b"*.png binary\n");
    let git = repo.common_dir().to_owned();
    let said = changed(
        &room,
        &repo,
        &[
            "echo evil >> .git/hooks/pre-commit",
            "chmod +x .git/hooks/pre-push",
            "rm .git/hooks/commit-msg",
            "echo '#!/bin/sh' > '.git/hooks/post merge'",
            "echo '* filter=x' > .git/info/attributes",
            "echo '*.secret' > .git/info/exclude",
        ],
        &[
            "hook hooks/pre-commit changed",
            "hook hooks/pre-push has other permissions: 755, was 644",
            "hook hooks/commit-msg removed",
            "hook hooks/post merge added => rm '",
            "file info/attributes changed",
            "file info/exclude changed",
        ],
    );
    assert!(said.iter().all(|difference| difference.restore.is_some()));
    assert_eq!(fs::read_to_string(git.join("hooks/pre-commit")).unwrap(), "#!/bin/sh\n# pre-commit\n");
    let mode = |path: &str| fs::metadata(git.join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!([mode("hooks/pre-commit"), mode("hooks/pre-push"), mode("hooks/commit-msg")], [0o755, 0o644, 0o700]);
    let kept = git.join("agentops/kept");
    for entry in fs::read_dir(&kept).unwrap().flatten() {
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o077, 0, "readable by others");
    }
}

#[test]
fn p6_a_setting_with_which_git_refused_its_own_file_is_put_back_by_the_name_of_the_file() {
    let (room, repo) = room_with_work();
    let commands = ["git config extensions.noop true && git config core.repositoryformatversion 1"];
    changed(&room, &repo, &commands, &["extensions.noop set", "core.repositoryformatversion changed to 1 (was 0)"]);
}

#[test]
fn p6_a_checkout_that_git_does_not_take_for_one_is_found_and_says_how_to_put_it_back() {
    let (room, repo) = room_with_work();
    let at = repo.work_tree().to_owned();
    let others = [room.path("home"), room.path(""), room.path("nowhere")].map(|path| path.to_string_lossy().into_owned());
    let elsewhere =
        others.iter().map(|other| (format!("git config core.worktree '{other}'"), CheckoutFault::FilesElsewhere));
    for (command, fault) in elsewhere.chain([("git config core.bare true".to_owned(), CheckoutFault::CalledBare)]) {
        assert_eq!(room.repo().checkout_fault(), None);
        type_in(&room, &at, &command);
        let found = Repo::discover(&Git::find().unwrap(), &at.join("dir")).unwrap();
        assert_eq!((found.work_tree(), found.git_dir(), found.id()), (repo.work_tree(), repo.git_dir(), repo.id()));
        assert_eq!((found.head().unwrap(), found.checkout_fault()), (repo.head().unwrap(), Some(fault)), "{command}");
        assert!(!found.status().unwrap().dirty);
        type_in(&room, &at, fault.command());
    }
    assert_eq!(room.repo().checkout_fault(), None);
    type_in(&room, &at, "git config core.worktree ..");
    assert_eq!(room.repo().checkout_fault(), None, "it is the same folder");
    // One that is bare has no index, whatever its folder is called.
    room.git(&at, &["clone", "-q", "--bare", ".", &room.path("other/.git").to_string_lossy()]);
    let refused = Repo::discover(&Git::find().unwrap(), &room.path("other")).unwrap_err();
    assert!(matches!(refused, agentops_git::Error::Bare { .. }), "{refused}");
}

#[test]
fn p6_commands_that_are_typed_in_their_order_put_everything_back() {
    let (room, repo) = room_with_work();
    let at = repo.work_tree().to_owned();
    for command in [
        "git config multi.value true && git config --add multi.value 12",
        "git branch 'quo\"te' && git branch \"sin'gle\" && git branch old && git branch 'dollar$(id)' && git branch feat/x",
        "git symbolic-ref refs/heads/alias refs/heads/old && git symbolic-ref refs/heads/alias2 refs/heads/main",
        "git tag -a v1 -m v1 && git pack-refs --all",
        "for i in 1 2 3 4; do echo $i > s.txt; git add s.txt; git stash push -qm \"stash $i\"; done",
        "printf '#!/bin/sh\\nexit 0\\n' > .git/hooks/pre-commit && chmod +x .git/hooks/pre-commit",
        "ln -s /bin/true .git/hooks/post-checkout && ln -s /bin/true .git/hooks/post-merge",
        "mkdir -p .git/info && echo '*.log' > .git/info/exclude && echo '*.x -text' > .git/info/attributes",
    ] {
        type_in(&room, &at, command);
    }
    let before = seen(&room, &at);
    let differences = changed(
        &room,
        &repo,
        &[
            "git branch -qD 'quo\"te' \"sin'gle\" 'dollar$(id)' feat/x && git branch -m old older && git tag -d v1",
            "git update-ref refs/heads/feat main && git update-ref --no-deref -d refs/heads/alias",
            "git symbolic-ref refs/heads/alias2 refs/heads/older && git symbolic-ref refs/heads/new refs/heads/main",
            "git stash drop -q 'stash@{2}' && git stash drop -q 'stash@{0}'",
            "git config --unset-all multi.value && git config new.x 1",
            "rm .git/hooks/pre-commit .git/hooks/post-checkout && mkdir .git/hooks/post-checkout .git/hooks/pre-commit",
            "rm .git/hooks/post-merge && printf '#!/bin/sh\\nexit 1\\n' > .git/hooks/post-merge",
            "echo evil > '.git/hooks/post commit' && rm .git/info/attributes && echo x > .git/info/grafts",
            "git symbolic-ref HEAD refs/heads/older",
        ],
        &[
            "hook hooks/post-checkout removed",
            "hook hooks/pre-commit removed",
            "hook hooks/post-merge changed",
            "hook hooks/post commit added",
            "file info/attributes removed",
            "file info/grafts added",
            "multi.value removed",
            "new.x set",
            "branch feat added",
            "branch older added => git switch -q --detach && git branch -D older",
            "branch new added => git symbolic-ref -d refs/heads/new",
            "branch alias no longer leads to refs/heads/old",
            "branch alias2 no longer leads to refs/heads/main",
            "branch dollar$(id) deleted",
            "branch feat/x deleted",
            "branch old deleted",
            "branch quo\"te deleted",
            "branch sin'gle deleted",
            "tag v1 deleted",
            "stash@{2} removed",
            "HEAD of the checkout moved from branch main to branch older => git switch main",
        ],
    );
    assert!(differences.iter().all(|difference| difference.restore.is_some()), "{}", words(&differences));
    assert_eq!(seen(&room, &at), before, "{}", words(&differences));
}

#[test]
fn p6_a_folder_of_hooks_comes_back_whatever_took_its_place() {
    let cases: [(&str, &[&str]); 5] = [
        (
            "rm -rf .git/hooks .git/info",
            &[
                "hook hooks/d/run removed",
                "hook hooks/pre-commit removed => mkdir -p",
                "file info/exclude removed => mkdir -p",
            ],
        ),
        (
            "rm -rf .git/hooks && echo x > .git/hooks",
            &["folder hooks replaced by a file", "hook hooks/d/run removed", "hook hooks/pre-commit removed"],
        ),
        (
            "mv .git/hooks .git/other && ln -s other .git/hooks && echo evil >> .git/other/pre-commit && \
             cp .git/other/pre-commit .git/other/post-merge",
            &["folder hooks replaced by a link", "hook hooks/d/run removed", "hook hooks/pre-commit removed"],
        ),
        (
            "mv .git/hooks/d .git/other && ln -s ../other .git/hooks/d",
            &["folder hooks/d replaced by a link", "hook hooks/d/run removed"],
        ),
        (
            "mv .git/info .git/other && ln -s other .git/info",
            &["folder info replaced by a link", "file info/exclude removed"],
        ),
    ];
    for (command, named) in cases {
        let (room, repo) = room_with_work();
        let at = repo.work_tree().to_owned();
        let hook = "mkdir -p .git/hooks/d .git/info && printf '#!/bin/sh\nexit 0\n' > .git/hooks/pre-commit && \
                    cp .git/hooks/pre-commit .git/hooks/d/run && echo '*.log' > .git/info/exclude";
        type_in(&room, &at, hook);
        let before = seen(&room, &at);
        changed(&room, &repo, &[command], named);
        assert_eq!(seen(&room, &at), before);
        assert!(!at.join(".git/hooks").is_symlink() && !at.join(".git/info").is_symlink());
        // No command wrote through the link.
        let other = fs::read_to_string(at.join(".git/other/pre-commit"));
        assert!(other.is_err() || other.unwrap().ends_with("evil\n"));
    }
}

#[test]
fn p6_a_link_to_a_folder_of_hooks_comes_back_and_a_new_one_goes() {
    let hooks = "mkdir own other && printf '#!/bin/sh\nexit 0\n' > own/pre-commit && cp own/pre-commit other/post-merge";
    for (before, command, named) in [
        ("rm -rf .git/hooks && ln -s ../own .git/hooks", "rm .git/hooks && ln -s ../other .git/hooks", "hook hooks changed"),
        ("rm -rf .git/hooks && ln -s ../own .git/hooks", "rm .git/hooks && mv other .git/hooks", "hook hooks removed"),
        ("rm -rf .git/hooks && mkdir .git/hooks", "rmdir .git/hooks && ln -s ../other .git/hooks", "hook hooks added => rm"),
    ] {
        let (room, repo) = room_with_work();
        let at = repo.work_tree().to_owned();
        type_in(&room, &at, hooks);
        type_in(&room, &at, before);
        let link = fs::read_link(at.join(".git/hooks")).ok();
        let named: Vec<&str> = match link {
            Some(_) => vec![named, "hook hooks/pre-commit removed"],
            None => vec![named],
        };
        changed(&room, &repo, &[command], &named);
        assert_eq!(fs::read_link(at.join(".git/hooks")).ok(), link);
        assert_eq!(fs::read_to_string(at.join("own/pre-commit")).unwrap(), "#!/bin/sh\nexit 0\n");
    }
}

#[test]
fn p6_a_remote_goes_without_the_remote_tracking_branches_that_were_there_before() {
    let (room, repo) = room_with_work();
    let at = repo.work_tree().to_owned();
    type_in(&room, &at, "git update-ref refs/remotes/origin/trunk HEAD");
    type_in(&room, &at, "git config branch.main.remote x && git config branch.main.merge refs/heads/main");
    let before = room.git(&at, &["for-each-ref"]);
    let commands = ["git remote add origin file:///nowhere", "git update-ref refs/remotes/origin/new HEAD"];
    let named = ["remote origin added (file:///nowhere)", "remote-tracking branch origin/new added"];
    changed(&room, &repo, &commands, &named);
    assert_eq!(room.git(&at, &["for-each-ref"]), before);
}

#[test]
fn p6_a_stash_comes_back_in_its_order_and_no_newer_entry_is_dropped_for_it() {
    let (room, repo) = room_with_work();
    let at = repo.work_tree().to_owned();
    let push = |name: &str| {
        type_in(&room, &at, &format!("echo {name} > s.txt && git add s.txt && git stash push -qm {name}"));
    };
    ["one", "two", "three"].into_iter().for_each(push);
    let list = || room.git(&at, &["stash", "list"]);
    let before = list();
    changed(
        &room,
        &repo,
        &["git stash drop -q 1 && echo x > s.txt && git add s.txt && git stash push -q"],
        &["stash@{1} removed"],
    );
    assert_eq!(list(), before);
    let recorded = repo.user_state().unwrap();
    type_in(&room, &at, "git stash drop -q 1");
    let differences = recorded.differences(&repo.user_state().unwrap(), &repo, Some("r-test")).unwrap();
    let [Difference { restore: Some(command), .. }] = &differences[..] else { panic!("{differences:?}") };
    push("newer");
    let newer = list();
    let (done, said) = room.by("sh", &at, &["-c", command]);
    assert!(!done && list() == newer, "{said}");
}

#[test]
fn p6_a_setting_that_may_be_secret_says_that_it_is_put_back_by_hand() {
    let (room, repo) = room_with_work();
    type_in(&room, repo.work_tree(), "git config alias.q status && git config --add multi.value one");
    let differences = changed(
        &room,
        &repo,
        &["git config alias.q '!evil' && git config --unset multi.value"],
        &[
            "alias.q changed to '!evil'; what it was is not recorded, since it may be secret: `git config --local --edit` opens",
            "multi.value removed; what it was is not recorded",
        ],
    );
    assert!(differences.iter().all(|difference| difference.restore.is_none()));
}
