//! What a session leaves: documents, changes as a checkpoint, the hand-over for the next one.

use std::collections::{BTreeMap, VecDeque};
use std::io::Write;
use std::path::Path;

use agentops_agents::driver::{HANDOVER_FILE, OUT_DIR};
use agentops_core::id::{BlobId, Commit, RunId, SessionId};
use agentops_core::run::{Event, SessionEnd, State};
use agentops_core::usage::Usage;
use agentops_core::workflow::{Check, Writes};
use agentops_git::{SalvagedCommit, lanes};

use super::super::{Act, Ctx, bundle, commit, oid, work};
use crate::omitted::Omissions;

/// Documents taken from a lane: how many, and how large each.
const ARTIFACTS_MAX: usize = 32;
const ARTIFACT_BYTES_MAX: u64 = 1024 * 1024;

/// What a session leaves besides its lane.
pub(super) struct Left {
    pub end: SessionEnd,
    pub detail: Option<String>,
    pub last_said: String,
    /// What it did last, for a mechanical hand-over.
    pub trail: VecDeque<String>,
    /// What the program said that it used, where that is not what the gateway saw.
    pub said: Option<Usage>,
}

impl Default for Left {
    fn default() -> Self {
        Self { end: SessionEnd::Failed, detail: None, last_said: String::new(), trail: VecDeque::new(), said: None }
    }
}

/// Takes what is in the lane: documents, changes, the hand-over.
pub(super) fn wrap_up(
    ctx: &Ctx,
    run: &RunId,
    state: &State,
    session: &SessionId,
    writes: Writes,
    parent: &Commit,
    mut left: Left,
) -> Act<Event> {
    let lane = lanes::open(&ctx.repo, &ctx.paths.lane(run, &session.lane))?;
    let out = lane.path().join(OUT_DIR);
    if left.end == SessionEnd::Completed {
        answer_as_document(state, session, &out, &left.last_said)?;
    }
    let mut artifacts = documents(ctx, &out)?;
    let written = artifacts.remove(HANDOVER_FILE);
    let _absent = std::fs::remove_file(out.join(HANDOVER_FILE));

    let parent = oid(parent)?;
    let message =
        format!("{} of session {session} of {run}\n", if left.end == SessionEnd::Completed { "Work" } else { "Checkpoint" });
    let kept = lane.checkpoint(&parent, &message, &ctx.author(), ctx.now_seconds(), &ctx.paths.scratch())?;
    let prefix = format!("refs/agentops/salvage/{run}/{}/{}", session.lane, session.ordinal);
    let salvaged = lane.salvage(&prefix, &kept.commit)?;
    let (mut checkpoint, mut changed, mut dropped, mut omitted) = (None, 0, 0, None);
    let count = u32::try_from(kept.changed.len()).unwrap_or(u32::MAX);
    let changes: Vec<String> =
        kept.changed.iter().map(|file| format!("{} +{} −{}", file.path.display(), file.added, file.removed)).collect();
    match writes {
        Writes::Files => {
            let known = state.sessions().find(|(_, known)| known.id == *session).map(|(lane, _)| lane);
            let omissions = Omissions::of(&kept, &salvaged, known.and_then(|lane| lane.accepted.as_ref()), &ctx.blobs);
            if omissions.has_unseen(&kept.filtered, &ctx.blobs) {
                left.end = SessionEnd::Filtered;
            }
            if let Some(text) = omissions.unseen_text(lane.path()) {
                let before = left.detail.take().map(|detail| format!("{detail}\n\n")).unwrap_or_default();
                left.detail = Some(before + &text);
            }
            omitted = omissions.store(&ctx.blobs)?;
            let name = format!("refs/agentops/runs/{run}/{}/{}", session.lane, session.ordinal);
            work::keep_ref(ctx, &name, kept.raw.as_ref().unwrap_or(&kept.commit))?;
            checkpoint = Some(commit(&kept.commit)?);
            changed = count;
        }
        Writes::Artifacts if count > 0 => {
            lane.reset_to(&parent)?;
            dropped = count;
            left.detail.get_or_insert(format!("changes outside {OUT_DIR}/ were dropped: {}", changes.join(", ")));
        }
        Writes::Artifacts => {}
    }
    if !salvaged.is_empty() {
        let words = salvaged_words(ctx, &salvaged);
        left.detail = Some(left.detail.map_or(words.clone(), |detail| format!("{detail}\n{words}")));
    }
    let hand_over = match left.end {
        SessionEnd::Completed | SessionEnd::Refused | SessionEnd::NotLoggedIn => None,
        SessionEnd::HandedOver if written.is_some() || !left.last_said.trim().is_empty() => {
            let said = written.as_ref().map(|blob| ctx.blobs.text(blob)).transpose()?.unwrap_or(left.last_said.clone());
            let left_out = bundle::left_out(ctx, run, session, &said);
            Some(ctx.put(&format!("{}\n{left_out}", said.trim_end()))?)
        }
        _ => {
            let draft = written.as_ref().and_then(|blob| ctx.blobs.text(blob).ok());
            Some(ctx.put(&mechanical(&left, &changes, bundle::of_transcript(ctx, run, session), draft))?)
        }
    };
    let path = ctx.paths.transcript(run, session);
    let transcript = if path.exists() { Some(ctx.blobs.put(&std::fs::read(&path)?)?) } else { None };
    Ok(Event::SessionEnded {
        session: session.clone(),
        end: left.end,
        checkpoint,
        changed,
        dropped,
        artifacts,
        hand_over,
        transcript,
        detail: left.detail.map(|words| ctx.put(&words)).transpose()?,
        said: left.said,
        omitted,
    })
}

/// What the agent committed elsewhere than where its lane stands, for the session's detail.
fn salvaged_words(ctx: &Ctx, salvaged: &[SalvagedCommit]) -> String {
    let mut text = String::from("the agent left commits that are in no checkpoint:");
    for commit in salvaged {
        let name = ctx.word(&commit.name);
        let subject = ctx.word(&commit.subject);
        let kept = match &commit.kept_as {
            Some(kept_as) => format!("kept as {kept_as}"),
            None => "it could not be read and is in the lane alone".to_owned(),
        };
        text.push_str(&format!("\n- {name} {} {subject} ({kept})", &commit.commit.as_str()[..12]));
    }
    text
}

/// An agent that cannot write files answers with its document. It is taken only where the first document is missing.
fn answer_as_document(state: &State, session: &SessionId, out: &Path, said: &str) -> Act<()> {
    let Some(phase) = state.created.workflow.phase(&session.lane.phase) else { return Ok(()) };
    let review = !phase.lanes.iter().any(|lane| lane.name == session.lane.lane);
    let wanted = phase.gates.iter().find_map(|gate| match &gate.check {
        Check::Artifact { file, .. } if !review => Some(file.as_str()),
        Check::Review { .. } if review => Some("verdict.json"),
        _ => None,
    });
    let Some(file) = wanted.filter(|file| !out.join(file).exists() && !said.trim().is_empty()) else { return Ok(()) };
    let text = if file.ends_with(".json") { json_in(said).unwrap_or(said) } else { said };
    std::fs::create_dir_all(out)?;
    let mut made = std::fs::File::options().write(true).create_new(true).open(out.join(file))?;
    made.write_all(text.as_bytes())?;
    Ok(())
}

/// The JSON object in an answer that has words or a fence around it.
fn json_in(text: &str) -> Option<&str> {
    let (start, end) = (text.find('{')?, text.rfind('}')?);
    text.get(start..=end)
}

/// Plain files directly in the out folder. The folder is the agent's: links are not followed, and sizes are bounded.
fn documents(ctx: &Ctx, out: &Path) -> Act<BTreeMap<String, BlobId>> {
    let mut found = BTreeMap::new();
    if !std::fs::symlink_metadata(out).is_ok_and(|meta| meta.is_dir()) {
        return Ok(found);
    }
    let mut names: Vec<_> = std::fs::read_dir(out)?.filter_map(|entry| Some(entry.ok()?.file_name())).collect();
    names.sort();
    for name in names.iter().filter_map(|name| name.to_str()).filter(|name| !name.starts_with('.')).take(ARTIFACTS_MAX) {
        let path = out.join(name);
        if std::fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_file() && meta.len() <= ARTIFACT_BYTES_MAX) {
            found.insert(ctx.word(name), ctx.blobs.put(&std::fs::read(&path)?)?);
        }
    }
    Ok(found)
}

/// A hand-over that no agent wrote, with what it lacks.
fn mechanical(left: &Left, changes: &[String], told: Option<String>, draft: Option<String>) -> String {
    let mut text =
        String::from("This hand-over was put together by the supervisor; the session did not write one itself.\n");
    text.push_str(&format!(
        "\nIt ended: {}.\n",
        serde_json::to_value(left.end).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
    ));
    text.push_str("\n## Changed files\n\n");
    if changes.is_empty() {
        text.push_str("None.\n");
    }
    for change in changes.iter().take(100) {
        text.push_str(&format!("- {change}\n"));
    }
    let trail: String = left.trail.iter().map(|line| format!("- {line}\n")).collect();
    match &told {
        Some(told) => text.push_str(&format!("\n## What it did, from its transcript\n\n{}\n", told.trim_end())),
        None if !trail.is_empty() => text.push_str(&format!("\n## What it did last\n\n{trail}")),
        None => {}
    }
    if let Some(draft) = draft {
        text.push_str(&format!("\n## A draft it left\n\n{}\n", draft.trim()));
    }
    if told.is_none() {
        text.push_str("\n## Lost\n\nDecisions and their reasons, dead ends, and what it had read but not written down.\n");
    }
    text
}
