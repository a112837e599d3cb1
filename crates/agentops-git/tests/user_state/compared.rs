//! What changed in the user's repository is named.

use super::*;

#[test]
fn p6_what_an_agent_changes_in_the_users_repository_is_named_with_what_undoes_it() {
    let (room, repo) = room_with_work();
    let at = repo.work_tree().to_owned();
    assert_eq!(repo.user_state().unwrap(), repo.user_state().unwrap());
    changed(&room, &repo, &[], &[]);
    // The stash of a person with two entries, and everything else of the report.
    for content in ["first", "it's second"] {
        write(&at.join("private.txt"), content.as_bytes());
        type_in(&room, &at, &format!("git add private.txt && git stash push -q -m \"{content}\""));
    }
    type_in(&room, &at, "git tag -a v1 -m one && git branch kept");
    changed(&room, &repo, &["git stash drop -q && git stash drop -q"], &["stash@{1} removed", "stash@{0} removed"]);
    assert_eq!(room.git(&at, &["show", "stash@{0}:private.txt"]), "it's second");
    let list = room.git(&at, &["stash", "list"]);
    assert_eq!(list, "stash@{0}: On main: it's second\nstash@{1}: On main: first");
    changed(
        &room,
        &repo,
        &[
            "git config core.hooksPath /tmp/x",
            "git config core.bare true",
            "git remote add fork file:///nowhere",
            "git branch junk",
            "git config branch.junk.remote fork",
            "git tag t2",
            "git tag -d v1",
            "git update-ref -d refs/heads/kept",
            "git update-ref refs/remotes/fork/main HEAD",
            "git update-ref refs/replace/x HEAD",
        ],
        &[
            "core.hookspath set to /tmp/x (was not set) => git config --local --unset-all core.hookspath",
            "core.bare changed to true (was false) => git config --local --replace-all core.bare false",
            "remote fork added (file:///nowhere) => git config --local --remove-section remote.fork",
            "branch junk added => git branch -D junk",
            "tag t2 added",
            "tag v1 deleted",
            "branch kept deleted",
            "remote-tracking branch fork/main added",
            "ref refs/replace/x added",
        ],
    );
}

#[test]
fn p6_a_repository_that_was_moved_is_compared_with_its_record() {
    let (room, repo) = room_with_work();
    let at = repo.work_tree().to_owned();
    fs::create_dir_all(repo.common_dir().join("hooks")).unwrap();
    fs::create_dir_all(at.join("tools")).unwrap();
    write(&repo.common_dir().join("hooks/pre-commit"), b"#!/bin/sh\n");
    write(&at.join("tools/post-merge"), b"#!/bin/sh\n");
    type_in(&room, &at, "git config core.hooksPath tools");
    let before = stored(&repo.user_state().unwrap());
    // The name sorts to the other side of the user's own settings.
    fs::rename(&at, room.path("zz moved")).unwrap();
    let moved = Repo::discover(&Git::find().unwrap(), &room.path("zz moved")).unwrap();
    let differences = |before: &UserState| {
        let now = moved.user_state_since(Some(before)).unwrap();
        before.differences(&now, &moved, Some("r-test")).unwrap()
    };
    let before = before.moved_to(&moved);
    assert_eq!(words(&differences(&before)), "");
    assert!(before.programs().runs_the_same(&moved.program_state(None).unwrap()));
    type_in(&room, moved.work_tree(), "git config core.bare true && echo evil >> .git/hooks/pre-commit");
    let found = differences(&before);
    assert_eq!(found.len(), 2, "{}", words(&found));
    for difference in &found {
        type_in(&room, moved.work_tree(), difference.restore.as_deref().unwrap());
    }
    assert_eq!(words(&differences(&before)), "");
}

#[test]
fn s13_only_programs_and_settings_count_for_a_merge() {
    let (room, repo) = room_with_work();
    let at = repo.work_tree().to_owned();
    let before = repo.user_state().unwrap();
    for harmless in [
        "git branch other",
        "git tag t",
        "git config branch.other.merge refs/heads/main",
        "git config branch.other.description 'what it is for'",
        "git config user.name 'Another Name'",
        "git config user.email another@example.com",
        "git config color.ui always",
        "git config color.branch.current yellow",
        "git config advice.detachedHead false",
        "git commit -q --allow-empty -m x",
    ] {
        type_in(&room, &at, harmless);
        let now = repo.user_state().unwrap();
        assert!(before.programs().runs_the_same(now.programs()), "{harmless}");
        assert_eq!(words(&before.programs().differences(now.programs(), &repo)), "", "{harmless}");
    }
    for (set, unset) in [
        ("git config core.hooksPath /x", "git config --unset core.hooksPath"),
        ("git config filter.x.clean cat", "git config --unset filter.x.clean"),
        ("git config gpg.program /x", "git config --unset gpg.program"),
        ("git config gpg.ssh.program /x", "git config --unset gpg.ssh.program"),
        ("git config user.signingKey x", "git config --unset user.signingKey"),
        ("git config core.pager /x", "git config --unset core.pager"),
        ("git config merge.x.driver /x", "git config --unset merge.x.driver"),
        ("git config user.x.name y", "git config --unset user.x.name"),
        ("git config core.fsmonitor /x", "git config --unset core.fsmonitor"),
        ("git config alias.x '!id'", "git config --unset alias.x"),
        ("git config branch.main.mergeOptions '-s evil'", "git config --unset branch.main.mergeOptions"),
        ("printf '[gpg]\\nprogram=/x\\n' > .git/more && git config include.path more", "git config --unset include.path"),
        ("printf '#!/bin/sh\\n' > .git/hooks/post-merge", "rm .git/hooks/post-merge"),
        ("mkdir -p .git/info && echo '* merge=x' > .git/info/attributes", "rm .git/info/attributes"),
    ] {
        fs::create_dir_all(repo.common_dir().join("hooks")).unwrap();
        type_in(&room, &at, set);
        let now = repo.user_state().unwrap();
        assert!(!before.programs().runs_the_same(now.programs()), "{set}");
        assert!(!before.programs().differences(now.programs(), &repo).is_empty(), "{set}");
        type_in(&room, &at, unset);
        let now = repo.user_state().unwrap();
        assert!(
            before.programs().runs_the_same(now.programs()),
            "{unset}: {}",
            words(&before.programs().differences(now.programs(), &repo))
        );
    }
}

#[test]
fn s6_a_record_of_the_users_repository_holds_no_credential() {
    let (room, repo) = room_with_work();
    let before = repo.user_state().unwrap();
    for set in [
        "git config http.extraHeader 'Authorization: Basic aHVudGVyMg=='",
        "git config url.https://me:hunter2@host/.insteadOf https://host/",
        "git remote add other https://me:hunter2@host/x.git",
        "git config credential.helper '!echo password=hunter2'",
        "git config sendemail.smtpPass hunter2",
    ] {
        type_in(&room, repo.work_tree(), set);
    }
    let after = repo.user_state().unwrap();
    let differences = before.differences(&after, &repo, Some("r-test")).unwrap();
    assert_eq!(differences.len(), 5, "{}", words(&differences));
    for text in [serde_json::to_string(&after).unwrap(), words(&differences)] {
        for secret in ["hunter2", "aHVudGVyMg"] {
            assert!(!text.contains(secret), "{secret} is in {text}");
        }
    }
}

#[test]
fn a_configuration_that_git_refuses_is_named_and_nothing_counts_as_removed() {
    let (room, repo) = room_with_work();
    let before = repo.user_state().unwrap();
    let config = repo.common_dir().join("config");
    let sound = fs::read(&config).unwrap();
    for (command, words) in [
        ("printf '[core\n' > .git/config", "bad config line 1"),
        ("git config core.repositoryformatversion 99", "Expected git repo version <= 1, found 99"),
        ("git config core.repositoryformatversion 1 && git config extensions.foo bar", "unknown repository extension"),
    ] {
        assert!(repo.configuration_refused().unwrap().is_none());
        type_in(&room, repo.work_tree(), command);
        let now = repo.user_state().unwrap();
        assert!(now.programs().unreadable().is_some() && !before.programs().runs_the_same(now.programs()));
        let found = before.differences(&now, &repo, Some("r-test")).unwrap();
        assert!(found.len() == 1 && found[0].what.contains(words), "{found:?}");
        assert!(found[0].restore.as_deref().unwrap().ends_with(&*config.to_string_lossy()), "{found:?}");
        let refused = Repo::discover(&Git::find().unwrap(), &repo.work_tree().join("dir")).unwrap_err();
        let start = format!("git refuses the configuration {}: ", config.display());
        assert!(refused.to_string().starts_with(&start) && refused.to_string().contains(words), "{refused}");
        fs::write(&config, &sound).unwrap();
        assert!(before.programs().runs_the_same(&repo.program_state(None).unwrap()));
    }
}

#[test]
fn s13_no_part_of_a_hook_and_no_hook_is_too_far_to_be_compared() {
    let (_room, repo) = room_with_work();
    let hooks = repo.common_dir().join("hooks");
    let large = hooks.join("post-merge");
    let mut program = b"#!/bin/sh\n".to_vec();
    program.resize(5 << 20, b'#');
    write(&large, &program);
    for number in 0..250 {
        write(&hooks.join(format!("a-{number:03}")), b"#!/bin/sh\n");
    }
    let info = repo.common_dir().join("info/attributes");
    let before = stored(&repo.user_state().unwrap());
    assert!(before.programs().runs_the_same(&repo.program_state(None).unwrap()));
    let is_found = |named: &str| {
        let now = repo.user_state().unwrap();
        let found = words(&before.programs().differences(now.programs(), &repo));
        assert!(!before.programs().runs_the_same(now.programs()) && found.contains(named), "{found}");
    };
    // The last byte, at the same length.
    *program.last_mut().unwrap() = b'\n';
    write(&large, &program);
    is_found("hook hooks/post-merge changed");
    *program.last_mut().unwrap() = b'#';
    write(&large, &program);
    assert!(before.programs().runs_the_same(&repo.program_state(None).unwrap()));
    write(&hooks.join("post-rewrite"), b"#!/bin/sh\n");
    is_found("hook hooks/post-rewrite added");
    fs::remove_file(hooks.join("post-rewrite")).unwrap();
    write(&info, b"* merge=x\n");
    is_found("file info/attributes added");
    fs::remove_file(&info).unwrap();
    // A file that is too large to be read is compared by its times.
    let file = fs::File::create(&large).unwrap();
    file.set_len(1 << 40).unwrap();
    let state = repo.user_state().unwrap();
    assert!(state.programs().runs_the_same(&repo.program_state(None).unwrap()));
    file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    assert!(!state.programs().runs_the_same(&repo.program_state(None).unwrap()));
    is_found("hook hooks/post-merge changed");
    fs::remove_file(&large).unwrap();
    for number in 0..5_000 {
        fs::File::create(hooks.join(format!("b-{number:04}"))).unwrap();
    }
    is_found("hook hooks cannot be compared with what it was: it has too many files");
    // Too many files never count as the same, also when nothing changed.
    let state = repo.user_state().unwrap();
    assert!(!state.programs().runs_the_same(&repo.program_state(None).unwrap()));
    assert!(state.programs().runs_the_same(stored(&state).programs()));
}

#[test]
fn s13_what_was_left_is_known_part_by_part_and_at_another_place() {
    let (room, repo) = room_with_work();
    let at = repo.work_tree().to_owned();
    fs::create_dir_all(repo.common_dir().join("hooks")).unwrap();
    let before = repo.program_state(None).unwrap();
    for command in [
        "printf '#!/bin/sh\\n' > .git/hooks/post-merge",
        "git config core.fsmonitor /x",
        "git config user.name 'Another Name'",
        "git branch other",
    ] {
        type_in(&room, &at, command);
    }
    let now = repo.program_state(Some(&before)).unwrap();
    let left = now.left_since(&before, &repo).unwrap();
    assert_eq!(left.len(), 2, "a hook and a setting: {left:?}");
    let is_there = |repo: &Repo| {
        let parts = repo.program_state(None).unwrap().parts(repo);
        left.iter().filter(|(part, content)| ProgramState::holds(&parts, part, content)).count()
    };
    assert_eq!(is_there(&repo), 2);
    type_in(&room, &at, "git config core.fsmonitor /another");
    assert_eq!(is_there(&repo), 1, "a person's own value is not the one that was left");
    let named = left.keys().map(String::as_str).collect();
    let shown = words(&before.only(&repo, &named).differences(&now.only(&repo, &named), &repo));
    assert!(shown.contains("hook hooks/post-merge added") && shown.contains("core.fsmonitor set"), "{shown}");
    let removed = now.left_since(&now, &repo).unwrap();
    assert_eq!(removed.len(), 0);
    let back = before.left_since(&now, &repo).unwrap();
    assert!(back.len() == 2 && back.values().all(String::is_empty), "{back:?}");
    // After the repository was moved.
    fs::rename(&at, at.with_file_name("moved")).unwrap();
    let moved = Repo::discover(&Git::find().unwrap(), &at.with_file_name("moved")).unwrap();
    assert_eq!(is_there(&moved), 1);
    // What cannot be compared part by part says so.
    write(&moved.common_dir().join("config"), b"[core\n");
    assert_eq!(moved.program_state(None).unwrap().left_since(&before, &moved), None);
}

#[test]
fn s13_a_file_that_leads_git_to_another_git_directory_is_named_and_no_command_works_with_it() {
    let (room, repo) = room_with_work();
    let at = repo.work_tree().to_owned();
    type_in(&room, &at, "git worktree add -q ../linked");
    let plant = "mkdir -p .git/hooks && rm -rf ../evil && cp -r .git ../evil && echo '#!/bin/sh' > ../evil/hooks/post-merge && \
                 git config --file ../evil/config core.fsmonitor /x && echo \"$PWD/../evil\" > .git/commondir";
    let file = repo.git_dir().join("commondir");
    let before = repo.user_state().unwrap();
    for command in ["mkdir .git/commondir", plant, "ln -s nowhere .git/commondir", "echo nowhere > .git/commondir"] {
        type_in(&room, &at, command);
        for start in [&at, &at.join("dir"), repo.git_dir()] {
            let refused = Repo::discover(&Git::find().unwrap(), start).unwrap_err();
            assert!(matches!(&refused, agentops_git::Error::OtherGitDirectory { path } if *path == file), "{refused}");
        }
        // What found the repository before still looks at this one, and names that file alone.
        let now = repo.user_state_since(Some(&before)).unwrap();
        assert!(!before.programs().runs_the_same(now.programs()));
        let found = before.differences(&now, &repo, Some("r-test")).unwrap();
        let said = words(&found);
        assert!(said.starts_with("file commondir added, which leads git to another git directory: "), "{said}");
        assert!(said.lines().count() == 1 && said.ends_with(&format!(" {}\n", file.display())), "{said}");
        type_in(&room, &at, found[0].restore.as_deref().unwrap());
        assert!(before.programs().runs_the_same(&repo.program_state(None).unwrap()));
    }
    assert_eq!(room.repo().id(), repo.id());
    let linked = Repo::discover(&Git::find().unwrap(), &room.path("linked")).unwrap();
    assert_eq!(linked.common_dir(), repo.common_dir(), "a linked worktree has such a file");
}

#[test]
fn s13_another_order_of_included_files_is_named_and_another_order_in_one_file_is_not() {
    let (room, repo) = room_with_work();
    let at = repo.work_tree().to_owned();
    let more = repo.common_dir().join("more");
    write(&more, b"[core]\nhooksPath = /evil\n[credential]\nhelper = one\n");
    let own = "git config core.hooksPath .git/hooks && git config credential.x.helper two && cp .git/config .git/old && \
               (printf '[include]\npath = more\n'; cat .git/old) > .git/config";
    type_in(&room, &at, own);
    let before = stored(&repo.user_state().unwrap());
    type_in(&room, &at, "git config --unset include.path && printf '[include]\npath = more\n' >> .git/config");
    let now = repo.user_state_since(Some(&before)).unwrap();
    let found = before.differences(&now, &repo, Some("r-test")).unwrap();
    assert!(found.len() == 2 && found.iter().all(|difference| difference.restore.is_none()), "{}", words(&found));
    let said = words(&found);
    assert!(said.contains("core.hookspath of more counts now (/evil), and before that of config did: "), "{said}");
    assert!(said.contains("the values of credential have another order: "), "{said}");
    assert!(!before.programs().runs_the_same(now.programs()));
    // It stays known part by part, and each of its parts has words.
    let left = now.programs().left_since(before.programs(), &repo).unwrap();
    assert_eq!(left.len(), 2, "{left:?}");
    for part in left.keys() {
        let only = |state: &UserState| state.programs().only(&repo, &[part.as_str()].into());
        assert_eq!(only(&before).differences(&only(&now), &repo).len(), 1);
    }
    // What a person types to put a setting back moves it within its file.
    for command in [
        "(printf '[include]\npath = more\n'; cat .git/old) > .git/config",
        "git config core.hooksPath x && git config --unset core.hooksPath && git config core.hooksPath .git/hooks",
        "git config --unset credential.x.helper && git config credential.x.helper two",
        "git config --unset core.bare && git config core.bare false",
    ] {
        type_in(&room, &at, command);
    }
    let again = repo.user_state_since(Some(&before)).unwrap();
    assert_eq!(words(&before.differences(&again, &repo, None).unwrap()), "");
    assert!(before.programs().runs_the_same(again.programs()));
    assert!(before.programs().left_since(again.programs(), &repo).unwrap().is_empty());
}

#[test]
fn p6_a_link_in_the_place_of_the_git_directory_or_its_configuration_is_named_once() {
    let git = ".git replaced by a link that leads to ";
    let file = ".git replaced by a file that leads to ";
    let hook = "echo '#!/bin/sh' > ../other/hooks/post-merge && git config core.fsmonitor /x";
    for (command, named) in [
        (
            format!("mv .git ../other && ln -s ../other .git && {hook}"),
            &[git, "hook hooks/post-merge added", "core.fsmonitor set"][..],
        ),
        ("mv .git ../other && echo 'gitdir: ../other' > .git".to_owned(), &[file]),
        (
            "mv .git/config ../other && ln -s ../../other .git/config && git config core.fsmonitor /x".to_owned(),
            &["file config replaced by a link to ../../other => cp ", "core.fsmonitor set"],
        ),
    ] {
        let (room, repo) = room_with_work();
        fs::create_dir_all(repo.common_dir().join("hooks")).unwrap();
        write(&repo.common_dir().join("more"), b"[x]\ny = 1\n");
        type_in(&room, repo.work_tree(), "git config include.path more");
        let before = seen(&room, repo.work_tree());
        if named == [file] {
            let recorded = stored(&repo.user_state().unwrap());
            type_in(&room, repo.work_tree(), &command);
            let found = recorded.git_directory_replaced(&repo).unwrap();
            assert!(found.what.contains(file), "{found:?}");
            type_in(&room, repo.work_tree(), found.restore.as_deref().unwrap());
            assert_eq!(recorded.git_directory_replaced(&repo), None);
        } else {
            let differences = changed(&room, &repo, &[&command], named);
            assert!(differences.iter().all(|difference| difference.restore.is_some()), "{}", words(&differences));
        }
        assert_eq!(seen(&room, repo.work_tree()), before);
        assert!(!repo.git_dir().is_symlink() && repo.git_dir().join("config").symlink_metadata().unwrap().is_file());
    }
    // Another folder is never moved to the place of the git directory.
    let (room, repo) = room_with_work();
    let recorded = repo.user_state().unwrap();
    type_in(&room, repo.work_tree(), "cp -r .git ../other && mv .git ../own && ln -s ../other .git");
    let found = recorded.git_directory_replaced(&repo).unwrap();
    assert!(found.restore.is_none() && found.what.contains("not the folder that was there"), "{found:?}");
}

#[test]
fn p6_a_file_that_cuts_the_history_and_refs_that_git_cannot_read_are_named() {
    let (room, repo) = room_with_work();
    type_in(&room, repo.work_tree(), "git branch packed && git pack-refs --all && git branch old");
    let missing = "0123456789012345678901234567890123456789";
    let commands = [
        "git rev-parse HEAD > .git/shallow",
        "echo zzzz > .git/refs/heads/broken && echo zzzz > .git/refs/heads/old && echo zzzz > .git/refs/heads/packed",
        &format!("echo {missing} > .git/refs/heads/missing"),
    ];
    let named = [
        "file shallow added => rm ",
        "branch broken added, which git cannot read => rm ",
        "branch missing added => git branch -D missing",
        "branch old cannot be read by git (was ",
        "branch packed cannot be read by git (was ",
    ];
    changed(&room, &repo, &commands, &named);
}
