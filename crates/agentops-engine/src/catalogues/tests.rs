use std::fs;
use std::os::unix::fs::PermissionsExt;

use agentops_safe::Redactor;
use tempfile::TempDir;

use super::gather::{self, Files, Gathered};
use super::*;

fn name() -> Name {
    "col".parse().expect("a name")
}

fn file(name: &str, says: &str) -> (String, Vec<u8>) {
    (format!("{name}.md"), format!("---\nname: {name}\ndescription: {says}\n---\n\nYou {says}.\n").into_bytes())
}

fn gathered(files: &[(String, Vec<u8>)]) -> Gathered {
    gather::agents(&name(), Files { files: files.to_vec(), ..Files::default() }, &Redactor::new([]))
}

fn manifest(source: &str) -> Manifest {
    Manifest {
        format: FORMAT,
        name: name(),
        source: source.into(),
        folder: None,
        commit: None,
        hash: blobs::hash(b""),
        texts: String::new(),
        agents: Vec::new(),
    }
}

fn store() -> (TempDir, Store) {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::at(folder.path().join("catalogues"));
    (folder, store)
}

#[test]
fn what_is_added_is_there_and_an_update_says_what_it_did() {
    let (_folder, store) = store();
    assert!(store.list().unwrap().0.is_empty());
    let first = store.write(manifest("/src"), &gathered(&[file("a", "read"), file("b", "write")]), false).unwrap();
    assert_eq!(first.added, ["col/a", "col/b"]);
    let second = gathered(&[file("a", "read"), file("b", "draw"), file("c", "sing")]);
    let change = store.write(manifest("/src"), &second, false).unwrap();
    let expected = Change { added: vec!["col/c".into()], changed: vec!["col/b".into()], removed: vec![], unchanged: 1 };
    assert_eq!(change, expected);
    let change = store.write(manifest("/src"), &gathered(&[file("c", "sing")]), false).unwrap();
    assert_eq!((change.removed, change.unchanged), (vec!["col/a".into(), "col/b".into()], 1));
    let catalogue = store.read(&name()).unwrap().unwrap();
    let (entries, problems) = catalogue.entries();
    assert_eq!((entries.len(), problems.len()), (1, 0));
    assert_eq!((entries[0].label.as_str(), entries[0].description.as_str()), ("col/c", "sing"));
    let left = fs::read_dir(&catalogue.folder).unwrap().count();
    assert_eq!(left, 2, "the manifest and one folder of texts");
    let mode = fs::metadata(catalogue.path(&catalogue.manifest.agents[0])).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(store.remove(&name()).unwrap().unwrap().agents.len(), 1);
    assert!(store.read(&name()).unwrap().is_none());
    assert!(matches!(store.remove(&name()), Err(CatalogueError::Absent { .. })));
}

#[test]
fn another_source_does_not_replace_a_catalogue_unless_it_is_wanted() {
    let (_folder, store) = store();
    store.write(manifest("/src"), &gathered(&[file("a", "read")]), false).unwrap();
    let taken = store.write(manifest("/other"), &gathered(&[file("z", "read")]), false);
    assert!(matches!(taken, Err(CatalogueError::Taken { .. })));
    assert_eq!(store.write(manifest("/other"), &gathered(&[file("z", "read")]), true).unwrap().removed, ["col/a"]);
}

#[test]
fn a_changed_file_is_not_used_and_adding_it_again_mends_it() {
    let (_folder, store) = store();
    let agents = gathered(&[file("a", "read"), file("b", "write"), file("c", "sing")]);
    store.write(manifest("/src"), &agents, false).unwrap();
    let catalogue = store.read(&name()).unwrap().unwrap();
    let paths: Vec<_> = catalogue.manifest.agents.iter().map(|agent| catalogue.path(agent)).collect();
    fs::write(&paths[0], "---\nname: a\ndescription: evil\n---\nevil").unwrap();
    fs::remove_file(&paths[1]).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", &paths[1]).unwrap();
    let (entries, problems) = catalogue.entries();
    assert_eq!(entries.iter().map(|entry| entry.label.as_str()).collect::<Vec<_>>(), ["col/c"]);
    assert!(problems.iter().all(|problem| matches!(problem, CatalogueError::Altered { .. })) && problems.len() == 2);
    store.write(manifest("/src"), &agents, false).unwrap();
    assert_eq!(store.read(&name()).unwrap().unwrap().entries().0.len(), 3);
}

#[test]
fn a_manifest_of_another_time_or_another_hand_is_refused() {
    let (folder, store) = store();
    store.write(manifest("/src"), &gathered(&[file("a", "read")]), false).unwrap();
    let path = folder.path().join("catalogues/col").join(MANIFEST);
    let text = fs::read_to_string(&path).unwrap();
    let with = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        fs::write(&path, text.replacen(from, to, 1)).unwrap();
        store.read(&name()).map(|_| ()).unwrap_err()
    };
    assert!(matches!(with("\"format\": 1", "\"format\": 2"), CatalogueError::Newer { found: 2, .. }));
    let agents = gathered(&[file("a", "read")]);
    assert!(matches!(store.write(manifest("/src"), &agents, true), Err(CatalogueError::Newer { .. })), "never overwritten");
    for (from, to) in [
        ("a.md", "../a.md"),
        ("\"texts-", "\"../texts-"),
        ("\"label\": \"col/a\"", "\"label\": \"col/b\""),
        ("\"name\": \"col\"", "\"name\": \"other\""),
        ("\"format\": 1", "\"format\": \"1\""),
        ("{", "["),
    ] {
        assert!(matches!(with(from, to), CatalogueError::Changed { .. }), "{from} → {to}");
    }
    let (found, problems) = store.list().unwrap();
    assert_eq!((found.len(), problems.len()), (0, 1));
    store.write(manifest("/src"), &agents, false).unwrap();
    assert!(store.read(&name()).unwrap().is_some(), "adding it again mends it");
}

#[test]
fn what_a_crash_leaves_is_no_catalogue_and_is_swept() {
    let (folder, store) = store();
    let at = folder.path().join("catalogues/col");
    fs::create_dir_all(at.join("texts-0123-0")).unwrap();
    fs::write(at.join("texts-0123-0/half.md"), "half").unwrap();
    fs::write(at.join("manifest.part"), "{").unwrap();
    assert!(store.list().unwrap().0.is_empty());
    store.write(manifest("/src"), &gathered(&[file("a", "read")]), false).unwrap();
    assert!(!at.join("texts-0123-0").exists());
    // Written, and not yet named by the manifest when the power went.
    fs::create_dir(at.join("texts-4567-0")).unwrap();
    assert_eq!(store.list().unwrap().0.len(), 1);
    let held = fs::OpenOptions::new().append(true).open(folder.path().join("catalogues/.lock")).unwrap();
    held.lock().unwrap();
    assert!(matches!(store.write(manifest("/src"), &gathered(&[file("a", "x")]), false), Err(CatalogueError::Busy)));
}

#[test]
fn folders_are_read_with_their_limits_and_links_are_not_followed() {
    let root = tempfile::tempdir().unwrap();
    let at = |path: &str| {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    };
    let agent = "---\nname: reviewer\ndescription: Reviews.\n---\nYou review.";
    fs::write(at("team/reviewer.md"), agent).unwrap();
    fs::write(at("other/reviewer.md"), agent).unwrap();
    fs::write(at("README.md"), agent).unwrap();
    fs::write(at("docs/guide.md"), "# A guide").unwrap();
    fs::write(at("agents/plain.md"), "You do plain things.").unwrap();
    fs::write(at("pdf/SKILL.md"), "---\ndescription: Reads PDF.\n---\nread").unwrap();
    fs::write(at("pdf/forms.md"), agent).unwrap();
    fs::write(at("x/huge.md"), vec![b'a'; FILE_BYTES_MAX + 1]).unwrap();
    fs::write(at("x/binary.md"), b"\xff\xfe\0").unwrap();
    fs::write(at("x/program.md"), "---\nname: p\ndescription: d\ndriver: command\nsettings: {program: /bin/sh}\n---\nb")
        .unwrap();
    fs::write(at("x/japanese.md"), "---\nname: 翻訳者\ndescription: 文書を翻訳する\n---\n翻訳").unwrap();
    fs::write(at(".git/x.md"), agent).unwrap();
    std::os::unix::fs::symlink("/etc", root.path().join("linked")).unwrap();
    std::os::unix::fs::symlink(root.path().join("README.md"), root.path().join("x/link.md")).unwrap();
    std::os::unix::fs::symlink(root.path(), root.path().join("loop")).unwrap();
    let found = gather::folder(root.path()).unwrap();
    let made = gather::agents(&name(), found, &Redactor::new([]));
    let labels: Vec<_> = made.agents.iter().map(|(agent, _)| agent.label.as_str()).collect();
    let expected = ["agents/plain", "other/reviewer", "pdf", "team/reviewer", "x/japanese", "x/program"];
    assert_eq!(labels, expected.map(|label| format!("col/{label}")));
    let out: Vec<_> = made.left_out.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(out, ["README.md", "docs/guide.md", "pdf/forms.md", "x/binary.md", "x/huge.md", "x/link.md"]);
    let notes = |label: &str| &made.agents.iter().find(|(agent, _)| agent.label == label).unwrap().0.notes;
    assert!(notes("col/x/program")[0].ends_with("driver, settings"), "{:?}", notes("col/x/program"));
    assert_eq!(notes("col/agents/plain").len(), 3);
    assert!(notes("col/pdf").is_empty());
}

#[test]
fn rules_and_documents_are_left_out_with_the_reason() {
    let root = tempfile::tempdir().unwrap();
    let put = |path: &str, text: &str| {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let agent = |name: &str| format!("---\nname: {name}\ndescription: does {name}\n---\nYou do it.\n");
    put(
        "examples/rule.local.md",
        "---\nname: warn-debug\nenabled: true\nevent: file\npattern: debugger;\naction: warn\n---\nA debugger statement was added.\n",
    );
    put(
        "agents/typescript.md",
        "---\ndescription: Style of TypeScript\nglobs: '**/*.ts'\nalwaysApply: false\n---\nUse strict.\n",
    );
    put("agents/x.markdown", &agent("markdown"));
    put("agents/UPPER.MD", &agent("upper"));
    put("agents/QUICK_START.md", "# How to begin\n");
    put("LICENSE.md", "Do what you like.\n");
    put(
        "skills/s1/SKILL.md",
        "---\nname: s1\ndescription: a skill\nallowed-tools: Read Grep Bash(python:*) Bash(git add:*)\nlicense: MIT\nmetadata:\n  version: \"1.0\"\n---\nYou do it.\n",
    );
    let made = gather::agents(&name(), gather::folder(root.path()).unwrap(), &Redactor::new([]));
    let labels: Vec<_> = made.agents.iter().map(|(agent, _)| agent.label.as_str()).collect();
    assert_eq!(labels, ["col/agents/UPPER", "col/agents/x", "col/skills/s1"]);
    let expected = [
        ("LICENSE.md", "a document by its name"),
        ("agents/QUICK_START.md", "a document: its name is in capitals, and it has no name and description of its own"),
        ("agents/typescript.md", "instructions for matching files, not an agent"),
        ("examples/rule.local.md", "a hook rule (event and pattern), not an agent"),
    ];
    assert_eq!(made.left_out, expected.map(|(path, why)| (path.to_owned(), why.to_owned())));
    let skill = Markdown::read(made.agents[2].1.as_bytes()).unwrap();
    assert_eq!(skill.front.tools.unwrap().names(), ["Read", "Grep", "Bash(python:*)", "Bash(git add:*)"]);
}

#[test]
fn secrets_are_taken_out_before_anything_is_written() {
    let (folder, store) = store();
    let secret = "ghp_0123456789abcdefghijklmnopqrstuvwxyzAB";
    let made =
        gathered(&[("a.md".into(), format!("---\nname: a\ndescription: d\n---\nUse {secret} to log in.").into_bytes())]);
    assert_eq!(made.agents[0].0.notes, ["what looks like a secret was taken out"]);
    store.write(manifest("/src"), &made, false).unwrap();
    let catalogue = store.read(&name()).unwrap().unwrap();
    let text = catalogue.text(&catalogue.manifest.agents[0]).unwrap();
    assert!(!text.contains(secret) && text.contains("to log in"), "{text}");
    drop(folder);
}

#[test]
fn names_inside_a_run_are_names_and_differ() {
    let pinned = |label: &str, name: &str| Pinned {
        label: label.into(),
        name: name.into(),
        group: String::new(),
        path: "a.md".into(),
        hash: blobs::hash(b""),
        notes: vec![],
    };
    let name = run_name(&pinned("c/x/code-reviewer", "Code Reviewer"));
    assert!(name.as_str().starts_with("code-reviewer-") && name.as_str().len() == 20, "{name}");
    assert_ne!(name, run_name(&pinned("c/y/code-reviewer", "Code Reviewer")));
    for odd in ["", "翻訳者", "9lives", "--", "a/../b", &"x".repeat(300)] {
        let _a_name = run_name(&pinned("c/x", odd));
    }
    for (source, expected) in [
        ("https://example.org/a/My.Agents.git", Some("my-agents")),
        ("git@example.org:team/agents/", Some("agents")),
        ("/home/x/.claude", Some("claude")),
        ("/", None),
        ("/srv/123", None),
    ] {
        assert_eq!(name_of(source).as_ref().map(Name::as_str), expected, "{source}");
    }
}
