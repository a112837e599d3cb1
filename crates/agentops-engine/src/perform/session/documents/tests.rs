//! Documents in a folder that is the agent's.

use super::*;
use crate::environment::LentEnvironment;
use crate::perform::test_context;

const DOCUMENT: &str = "plan.md";
/// What Claude Code leaves of a file when it is killed before it renames it.
const UNFINISHED: &str = "plan.md.tmp.10813.f32c3e664049";

/// What of a folder is taken, and the notes on the rest.
fn taken(out: &Path) -> (Vec<String>, Vec<String>) {
    let (_folder, ctx, state) = test_context::new();
    let lent =
        LentEnvironment { variables: std::iter::empty::<(OsString, OsString)>().collect(), config: "/nowhere".into() };
    let run = &state.created.run;
    ctx.environments.lend(run, ctx.environments.prepare(lent).unwrap());
    let mut notes = Vec::new();
    let found = take(&ctx.of_run(run), out, &mut notes).unwrap();
    (found.into_keys().collect(), notes)
}

#[test]
fn r2_what_an_agent_had_only_begun_to_write_is_no_document() {
    let dir = tempfile::tempdir().unwrap();
    for name in [DOCUMENT, UNFINISHED, ".hidden"] {
        std::fs::write(dir.path().join(name), name).unwrap();
    }
    let (found, notes) = taken(dir.path());
    assert_eq!(found, [DOCUMENT]);
    let words = "left out what the agent had only begun to write when it ended: .agentops-out/";
    assert_eq!(notes, [format!("{words}{UNFINISHED}")]);
    assert!(!dir.path().join(UNFINISHED).exists() && dir.path().join(".hidden").exists());
    assert_eq!(taken(dir.path()).1, [""; 0]);
}

/// Such files were left out without a word.
#[test]
fn p6_what_is_not_taken_as_a_document_is_named() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("folder")).unwrap();
    std::fs::File::create(dir.path().join("huge.md")).unwrap().set_len(ARTIFACT_BYTES_MAX + 1).unwrap();
    for number in 0..ARTIFACTS_MAX + FILES_NAMED_MAX {
        std::fs::write(dir.path().join(format!("n{number:02}.md")), "x").unwrap();
    }
    let (found, notes) = taken(dir.path());
    assert_eq!(found.len(), ARTIFACTS_MAX);
    let [note] = notes.try_into().unwrap();
    let named = "not taken as documents: .agentops-out/folder, .agentops-out/huge.md, .agentops-out/n32.md,";
    assert!(
        note.starts_with(named)
            && note.contains(" and 2 more (a document is a plain file that can be read, of at most 1 MiB"),
        "{note}"
    );
}

/// What a full disk or a kill leaves of a document must not be taken for the document by the repeated checkpoint.
#[test]
#[expect(clippy::disallowed_methods, reason = "only another process can be held to a size of its files")]
fn r5_a_document_that_was_not_written_whole_is_not_there() {
    if let Some(out) = std::env::var_os("AGENTOPS_TEST_OUT") {
        // Ends with this process: the file may have 8 KiB at most.
        write_document(Path::new(&out), DOCUMENT, &"x".repeat(64 << 10)).unwrap();
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let me = std::env::current_exe().unwrap();
    let name = "perform::session::documents::tests::r5_a_document_that_was_not_written_whole_is_not_there";
    let limited = format!("ulimit -c 0; ulimit -f 8; exec '{}' --exact {name}", me.display());
    let ran = std::process::Command::new("sh").args(["-c", &limited]).env("AGENTOPS_TEST_OUT", &out).output().unwrap();
    assert!(!ran.status.success(), "{}", String::from_utf8_lossy(&ran.stdout));
    assert!(out.is_dir(), "{}", String::from_utf8_lossy(&ran.stderr));
    assert!(!out.join(DOCUMENT).exists());
    write_document(&out, DOCUMENT, "whole").unwrap();
    assert_eq!(std::fs::read_to_string(out.join(DOCUMENT)).unwrap(), "whole");
}

#[test]
fn s3_a_document_is_written_into_the_lane_whatever_its_agent_linked() {
    let dir = tempfile::tempdir().unwrap();
    let elsewhere = dir.path().join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    let out = dir.path().join("out");
    std::os::unix::fs::symlink(&elsewhere, &out).unwrap();
    write_document(&out, DOCUMENT, "x").unwrap();
    assert_eq!(std::fs::read_dir(&elsewhere).unwrap().count(), 0);
    std::fs::remove_file(&out).unwrap();
    std::fs::create_dir(&out).unwrap();
    std::os::unix::fs::symlink(elsewhere.join("new"), out.join(DOCUMENT)).unwrap();
    write_document(&out, DOCUMENT, "x").unwrap();
    assert_eq!(std::fs::read_dir(&elsewhere).unwrap().count(), 0);
    assert_eq!(std::fs::read_to_string(out.join(DOCUMENT)).unwrap(), "x");
}
