//! What a session leaves: how its agent exited, and then, as a step that may be repeated, its documents, its changes as a
//! checkpoint, and the hand-over for the next one.

use std::collections::{BTreeMap, VecDeque};
use std::io::Write;
use std::path::Path;

use agentops_agents::driver::{HANDOVER_FILE, OUT_DIR};
use agentops_core::id::{BlobId, Commit, RunId, SessionId};
use agentops_core::run::{Event, SessionEnd, SessionExit, State};
use agentops_core::usage::Usage;
use agentops_core::workflow::{Check, Writes};
use agentops_git::SalvagedCommit;

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

impl Left {
    /// The exit as an event. With it, nothing that only this process knows is needed any more.
    pub(super) fn exit(self, ctx: &Ctx, run: &RunId, session: &SessionId) -> std::io::Result<Event> {
        let path = ctx.paths.transcript(run, session);
        let transcript = if path.exists() { Some(ctx.blobs.put(&std::fs::read(&path)?)?) } else { None };
        let put = |text: &str| if text.trim().is_empty() { Ok(None) } else { ctx.put(text).map(Some) };
        let trail: String = self.trail.iter().map(|line| format!("- {line}\n")).collect();
        let exit = SessionExit {
            end: self.end,
            detail: self.detail.as_deref().map(|words| ctx.put(words)).transpose()?,
            message: put(&self.last_said)?,
            trail: put(&trail)?,
            transcript,
            said: self.said,
        };
        Ok(Event::SessionExited { session: session.clone(), exit: Box::new(exit) })
    }
}

/// A session whose agent has exited and whose lane is to be kept.
pub(crate) struct Checkpoint {
    pub run: RunId,
    pub state: State,
    pub session: SessionId,
    pub writes: Writes,
    pub parent: Commit,
    pub exit: SessionExit,
}

/// Takes what is in the lane: documents, changes, the hand-over. It changes nothing in the lane that it would need again, so
/// that it may be repeated after a failure or by another supervisor.
pub(crate) fn checkpoint(ctx: &Ctx, job: &Checkpoint) -> Act<Event> {
    let Checkpoint { run, state, session, writes, parent, exit } = job;
    let (mut end, mut detail) = (exit.end, exit.detail.clone());
    let path = ctx.paths.lane(run, &session.lane);
    if !std::fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_dir()) {
        return lane_lost(ctx, job, &path);
    }
    let (lane, _restored) = work::reopen_lane(ctx, state, &session.lane, parent)?;
    if let Some(commit) = untouched_since(state, session) {
        lane.reset_to(&oid(commit)?)?;
    }
    let text = |blob: &Option<BlobId>| blob.as_ref().map(|blob| ctx.blobs.text(blob)).transpose();
    let message = text(&exit.message)?.unwrap_or_default();
    let out = lane.path().join(OUT_DIR);
    if end == SessionEnd::Completed {
        answer_as_document(state, session, &out, &message)?;
    }
    let mut artifacts = documents(ctx, &out)?;
    let written = artifacts.remove(HANDOVER_FILE);

    let parent = oid(parent)?;
    let title =
        format!("{} of session {session} of {run}\n", if end == SessionEnd::Completed { "Work" } else { "Checkpoint" });
    let kept = lane.checkpoint(&parent, &title, &ctx.author(), ctx.now_seconds(), &ctx.paths.scratch())?;
    let prefix = format!("refs/agentops/salvage/{run}/{}/{}", session.lane, session.ordinal);
    let salvaged = lane.salvage(&prefix, &kept.commit)?;
    let (mut commit_of, mut changed, mut dropped, mut omitted) = (None, 0, 0, None);
    let count = u32::try_from(kept.changed.len()).unwrap_or(u32::MAX);
    let changes: Vec<String> =
        kept.changed.iter().map(|file| format!("{} +{} −{}", file.path.display(), file.added, file.removed)).collect();
    match writes {
        Writes::Files => {
            let known = state.sessions().find(|(_, known)| known.id == *session).map(|(lane, _)| lane);
            let omissions = Omissions::of(&kept, &salvaged, known.and_then(|lane| lane.accepted.as_ref()), &ctx.blobs);
            if omissions.has_unseen(&kept.filtered, &ctx.blobs) {
                end = SessionEnd::Filtered;
            }
            if let Some(words) = omissions.unseen_text(lane.path()) {
                let before = text(&detail)?.map(|detail| format!("{detail}\n\n")).unwrap_or_default();
                detail = Some(ctx.put(&(before + &words))?);
            }
            omitted = omissions.store(&ctx.blobs)?;
            let name = format!("refs/agentops/runs/{run}/{}/{}", session.lane, session.ordinal);
            work::keep_ref(ctx, &name, kept.raw.as_ref().unwrap_or(&kept.commit))?;
            commit_of = Some(commit(&kept.commit)?);
            changed = count;
        }
        // They are dropped when the lane's next session starts: until then this step may have to be repeated.
        Writes::Artifacts if count > 0 => {
            dropped = count;
            if detail.is_none() {
                detail = Some(ctx.put(&format!("changes outside {OUT_DIR}/ were dropped: {}", changes.join(", ")))?);
            }
        }
        Writes::Artifacts => {}
    }
    if !salvaged.is_empty() {
        let words = salvaged_words(ctx, &salvaged);
        let before = text(&detail)?.map(|detail| format!("{detail}\n")).unwrap_or_default();
        detail = Some(ctx.put(&format!("{before}{words}"))?);
    }
    let transcript = exit.transcript.as_ref().map(|blob| ctx.blobs.get(blob)).transpose()?;
    let hand_over = match end {
        SessionEnd::Completed | SessionEnd::Refused | SessionEnd::NotLoggedIn => None,
        SessionEnd::HandedOver if written.is_some() || !message.trim().is_empty() => {
            let said = text(&written)?.unwrap_or(message);
            let omitted = transcript.map(|bytes| bundle::left_out(run, session, &bytes, &said)).unwrap_or_default();
            Some(ctx.put(&format!("{}\n{omitted}", said.trim_end()))?)
        }
        _ => {
            let draft = text(&written)?;
            let told = transcript.and_then(|bytes| bundle::of_transcript(run, session, &bytes));
            Some(ctx.put(&mechanical(end, text(&exit.trail)?, &changes, told, draft))?)
        }
    };
    Ok(Event::SessionEnded {
        session: session.clone(),
        end,
        checkpoint: commit_of,
        changed,
        dropped,
        artifacts,
        hand_over,
        transcript: exit.transcript.clone(),
        detail,
        said: exit.said,
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

/// The lane is gone, and with it whatever its session left there. It is made again when its next session starts.
fn lane_lost(ctx: &Ctx, job: &Checkpoint, path: &Path) -> Act<Event> {
    let (session, exit) = (&job.session, &job.exit);
    let words = format!(
        "the folder {} was gone before the work of session {session} was kept: its changes and documents are lost; the next \
         session starts from {}",
        path.display(),
        job.parent.as_str()
    );
    let text = |blob: &Option<BlobId>| blob.as_ref().map(|blob| ctx.blobs.text(blob)).transpose();
    let transcript = exit.transcript.as_ref().map(|blob| ctx.blobs.get(blob)).transpose()?;
    let told = transcript.and_then(|bytes| bundle::of_transcript(&job.run, session, &bytes));
    let hand_over = format!("{words}\n\n{}", mechanical(SessionEnd::LaneLost, text(&exit.trail)?, &[], told, None));
    Ok(Event::SessionEnded {
        session: session.clone(),
        end: SessionEnd::LaneLost,
        checkpoint: None,
        changed: 0,
        dropped: 0,
        artifacts: BTreeMap::new(),
        hand_over: Some(ctx.put(&hand_over)?),
        transcript: exit.transcript.clone(),
        detail: Some(ctx.put(&words)?),
        said: exit.said,
        omitted: None,
    })
}

/// The commit that the lane should have been reset to, where the session's agent was not up yet: it had not got its task, and
/// the lane may still hold what it was to be reset from. Counted against the new parent, that would undo the work of others.
fn untouched_since<'a>(state: &'a State, session: &SessionId) -> Option<&'a Commit> {
    let (lane, known) = state.sessions().find(|(_, known)| known.id == *session)?;
    lane.next.reset_to.as_ref().filter(|_| known.facts.is_none() && known.orphaned)
}

/// A hand-over in the lane is for the session that starts now, which has it in its first message.
pub(super) fn clear_hand_over(lane: &Path) {
    let _absent = std::fs::remove_file(lane.join(OUT_DIR).join(HANDOVER_FILE));
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
fn mechanical(
    end: SessionEnd,
    trail: Option<String>,
    changes: &[String],
    told: Option<String>,
    draft: Option<String>,
) -> String {
    let mut text =
        String::from("This hand-over was put together by the supervisor; the session did not write one itself.\n");
    text.push_str(&format!(
        "\nIt ended: {}.\n",
        serde_json::to_value(end).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
    ));
    text.push_str("\n## Changed files\n\n");
    if changes.is_empty() {
        text.push_str("None.\n");
    }
    for change in changes.iter().take(100) {
        text.push_str(&format!("- {change}\n"));
    }
    match (&told, trail) {
        (Some(told), _) => text.push_str(&format!("\n## What it did, from its transcript\n\n{}\n", told.trim_end())),
        (None, Some(trail)) => text.push_str(&format!("\n## What it did last\n\n{trail}")),
        (None, None) => {}
    }
    if let Some(draft) = draft {
        text.push_str(&format!("\n## A draft it left\n\n{}\n", draft.trim()));
    }
    if told.is_none() {
        text.push_str("\n## Lost\n\nDecisions and their reasons, dead ends, and what it had read but not written down.\n");
    }
    text
}
