//! Checkpoints of real lanes whose texts, environment or disk are gone.

use std::path::PathBuf;

use super::*;
use crate::environment::LentEnvironment;
use crate::fixture;
use crate::perform::test_context;

const SECRET: &str = "the-secret-of-this-run";

/// A run with one open lane, and whether its environment is known.
struct Room {
    _folder: tempfile::TempDir,
    ctx: Ctx,
    job: Checkpoint,
    lane: PathBuf,
}

impl Room {
    fn new(exit: SessionExit) -> Self {
        let (folder, ctx, state) = test_context::new();
        let (run, session) = (state.created.run.clone(), "implement/one/1".parse::<SessionId>().unwrap());
        let parent = state.created.base.clone();
        let made = work::make_lane(&ctx, &state, &session.lane, &parent).unwrap();
        let lane = made.path().to_owned();
        let job = Checkpoint { run, state, session, writes: Writes::Files, parent, exit };
        Self { _folder: folder, ctx, job, lane }
    }

    fn lend(&mut self) {
        let variables = [("A_TOKEN".into(), SECRET.into())].into_iter().collect();
        let lent = LentEnvironment { variables, config: "/nowhere".into() };
        let environment = self.ctx.environments.prepare(lent).unwrap();
        self.ctx.environments.lend(&self.job.run, environment);
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.lane.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// The end of the session and its detail.
    fn checkpoint(&self) -> (Ended, String) {
        let ctx = self.ctx.of_run(&self.job.run);
        match checkpoint(&ctx, &self.job).unwrap() {
            Event::SessionEnded { end, checkpoint, changed, artifacts, hand_over, detail, omitted, .. } => {
                let unseen = omitted.map_or(0, |omitted| omitted.unseen);
                let detail = detail.map(|detail| ctx.blobs.text(&detail).unwrap()).unwrap_or_default();
                assert!(checkpoint.is_some());
                (Ended { end, changed, artifacts: artifacts.len(), hand_over: hand_over.is_some(), unseen }, detail)
            }
            event => panic!("{event:?}"),
        }
    }
}

#[derive(Debug, PartialEq)]
struct Ended {
    end: SessionEnd,
    changed: u32,
    artifacts: usize,
    hand_over: bool,
    unseen: u32,
}

fn exit(end: SessionEnd, text: Option<&BlobId>) -> SessionExit {
    let text = text.cloned();
    SessionExit {
        detail: text.clone(),
        message: text.clone(),
        trail: text.clone(),
        transcript: text,
        ..SessionExit::of(end)
    }
}

/// Without this the checkpoint of such a session fails for ever, and its run can neither go on nor be cancelled.
#[test]
fn r11_a_checkpoint_goes_on_without_the_lost_texts_of_its_session_and_names_them() {
    for (end, lost) in [
        (SessionEnd::Completed, ["last message", "what was known"].as_slice()),
        (SessionEnd::HandedOver, &["last message", "what was known", "transcript", "what the agent did last"]),
        (SessionEnd::Failed, &["last message", "what was known", "transcript", "what the agent did last"]),
    ] {
        let mut room = Room::new(exit(end, Some(&fixture::blob(9))));
        room.lend();
        room.write("work.txt", "work");
        let (ended, detail) = room.checkpoint();
        let hand_over = end != SessionEnd::Completed;
        assert_eq!(ended, Ended { end, changed: 1, artifacts: 0, hand_over, unseen: 0 });
        assert!(lost.iter().all(|lost| detail.contains(lost)) && detail.lines().count() == lost.len(), "{detail}");
    }
}

/// The run's supervisor died, and its cancelling lends no environment: no redactor knows its secrets.
#[test]
fn s6_a_cancelled_run_without_its_environment_stores_no_text_of_its_agent() {
    let mut room = Room::new(exit(SessionEnd::Interrupted, None));
    room.job.state.cancelled = true;
    room.write("work.txt", SECRET);
    room.write(&format!("{OUT_DIR}/findings.md"), SECRET);
    room.write(&format!("{SECRET}.raw"), "a file with a content filter");
    let (ended, detail) = room.checkpoint();
    let end = SessionEnd::Interrupted;
    // What the checkpoint does not hold keeps the lane from being removed, also without its name.
    assert_eq!(ended, Ended { end, changed: 1, artifacts: 0, hand_over: false, unseen: 1 });
    assert!(detail.contains("only the commit is kept") && detail.contains("in the lane alone"), "{detail}");
    for blob in std::fs::read_dir(room.ctx.paths.blobs()).unwrap() {
        let text = std::fs::read_to_string(blob.unwrap().path()).unwrap();
        assert!(!text.contains(SECRET), "{text}");
    }
}

/// Filtered files ask a person only where the lane would go on by itself.
#[test]
fn p6_filtered_files_hide_no_other_end_of_a_session() {
    for (end, becomes) in [
        (SessionEnd::Completed, SessionEnd::Filtered),
        (SessionEnd::Failed, SessionEnd::Filtered),
        (SessionEnd::UsageUnknown, SessionEnd::UsageUnknown),
        (SessionEnd::Refused, SessionEnd::Refused),
        (SessionEnd::Interrupted, SessionEnd::Interrupted),
    ] {
        let mut room = Room::new(exit(end, None));
        room.lend();
        room.write("a.raw", "a file with a content filter");
        let (ended, detail) = room.checkpoint();
        assert_eq!((ended.end, ended.unseen), (becomes, 1), "{end:?}");
        assert!(detail.contains("a.raw"), "{detail}");
    }
}
