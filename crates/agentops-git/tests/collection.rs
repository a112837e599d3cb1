//! Files of somebody else's repository: what is taken, what is not, and that nothing runs.

mod room;

use std::fs;
use std::path::Path;

use agentops_git::{Error, Git, Limits, Source};
use room::{Room, program, write};

const LIMITS: Limits = Limits { file_bytes: 1000, files: 10, total_bytes: 5000 };

fn markdown(paths: &[&Path]) -> Vec<bool> {
    paths.iter().map(|path| path.extension().is_some_and(|e| e == "md")).collect()
}

#[test]
fn files_are_read_from_the_newest_commit_and_links_are_not_followed() {
    let (room, repo) = Room::with_repo();
    let at = repo.work_tree();
    write(&at.join("agents/a.md"), "first");
    room.git(at, &["add", "."]);
    room.git(at, &["commit", "-q", "-m", "a"]);
    write(&at.join("agents/a.md"), "second");
    write(&at.join("agents/ä b.md"), "other\n\nlines");
    write(&at.join("agents/big.md"), "x".repeat(1001));
    write(&at.join("agents/empty.md"), "");
    std::os::unix::fs::symlink("/etc/passwd", at.join("agents/link.md")).unwrap();
    // Nothing of a repository's own programs may run.
    program(&at.join("evil"), "#!/bin/sh\ntouch \"$HOME/ran\"\n");
    write(&at.join(".gitattributes"), "*.md filter=evil\n");
    write(&at.join(".lfsconfig"), "[lfs]\n\turl = https://localhost:1/\n");
    room.git(at, &["add", "."]);
    room.git(at, &["commit", "-q", "-m", "b"]);
    let evil = at.join("evil").display().to_string();
    for name in ["post-checkout", "reference-transaction", "post-update", "pre-auto-gc"] {
        program(&at.join(".git/hooks").join(name), "#!/bin/sh\ntouch \"$HOME/ran\"\n");
    }
    room.git(at, &["config", "filter.evil.smudge", &evil]);
    room.git(at, &["config", "uploadpack.packObjectsHook", &evil]);
    let url = format!("file://{}", at.display());
    for source in [url.as_str(), at.to_str().unwrap()] {
        let found = Git::find().unwrap().collection(&Source::parse(source).unwrap(), &room.scratch(), &markdown, &LIMITS);
        let found = found.unwrap();
        let texts: Vec<_> =
            found.files.iter().map(|(p, b)| (p.to_str().unwrap(), String::from_utf8_lossy(b).into_owned())).collect();
        let expected = [("agents/a.md", "second"), ("agents/empty.md", ""), ("agents/ä b.md", "other\n\nlines")];
        assert_eq!(texts, expected.map(|(p, t)| (p, t.to_owned())));
        assert_eq!(found.commit, room.oid(at, "HEAD"));
        let out: Vec<_> = found.left_out.iter().map(|(p, why)| (p.to_str().unwrap(), *why)).collect();
        assert_eq!(
            out,
            [("agents/big.md", "too large"), ("agents/link.md", "a link or a submodule, which is not followed")]
        );
    }
    assert!(!room.path("ran").exists());
    assert_eq!(fs::read_dir(room.scratch()).unwrap().count(), 0, "nothing is left");
}

#[test]
fn a_collection_is_bounded() {
    let (room, repo) = Room::with_repo();
    let at = repo.work_tree();
    for n in 0..20 {
        write(&at.join(format!("{n:02}.md")), "x".repeat(600));
    }
    room.git(at, &["add", "."]);
    room.git(at, &["commit", "-q", "-m", "b"]);
    let source = Source::parse(at.to_str().unwrap()).unwrap();
    let git = Git::find().unwrap();
    let found = git.collection(&source, &room.scratch(), &markdown, &LIMITS).unwrap();
    assert_eq!((found.files.len(), found.left_out.len()), (8, 12), "5,000 bytes hold 8 of 600");
    let none = git.collection(&source, &room.scratch(), &|paths| vec![false; paths.len()], &LIMITS).unwrap();
    assert_eq!((none.files.len(), none.left_out.len()), (0, 0));
}

#[test]
fn what_cannot_be_reached_is_said_without_secrets_and_asks_nobody() {
    let room = Room::new();
    let git = Git::find().unwrap();
    let none = |text: &str| git.collection(&Source::parse(text).unwrap(), &room.scratch(), &markdown, &LIMITS).unwrap_err();
    let absent = none(&room.path("absent").display().to_string());
    assert!(matches!(absent, Error::Failed { .. }), "{absent}");
    let refused = none("https://me:s3cret@localhost:1/x").to_string();
    assert!(!refused.contains("s3cret") && refused.contains("localhost"), "{refused}");
    fs::create_dir(room.path("empty")).unwrap();
    room.git(&room.path("empty"), &["init", "-q"]);
    assert!(matches!(none(room.path("empty").to_str().unwrap()), Error::Failed { .. }));
}
