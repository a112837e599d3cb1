//! What a session leaves: how its agent exited, and then, as a step that may be repeated, its documents, its changes as a
//! checkpoint, and the hand-over for the next one.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;

use agentops_agents::driver::{HANDOVER_FILE, OUT_DIR};
use agentops_core::id::{BlobId, Commit, RunId, SessionId};
use agentops_core::run::{Event, SessionEnd, SessionExit, SessionState, State};
use agentops_core::usage::Usage;
use agentops_core::workflow::Writes;
use agentops_git::lanes::{Recovered, Restored};
use agentops_git::{Oid, SalvagedCommit};

use super::super::lost_text::Optional;
use super::super::{Act, ActError, Ctx, bundle, chain, checkpoint_refs, commit, oid, work};
use super::documents;
use crate::omitted::Omissions;
use crate::reserve;

/// Commits that one text names.
const COMMITS_SHOWN_MAX: usize = 200;

/// What a session leaves besides its lane.
pub(super) struct Left {
    pub end: SessionEnd,
    pub detail: Option<String>,
    pub last_said: String,
    /// What it did last, for a mechanical hand-over.
    pub trail: VecDeque<String>,
    /// What the program said that it used, where that is not what the gateway saw.
    pub said: Option<Usage>,
    /// When the provider takes calls again, as it said, in Unix milliseconds.
    pub provider_until_ms: Option<u64>,
}

impl Default for Left {
    fn default() -> Self {
        Self {
            end: SessionEnd::Failed,
            detail: None,
            last_said: String::new(),
            trail: VecDeque::new(),
            said: None,
            provider_until_ms: None,
        }
    }
}

impl Left {
    /// The exit as an event. With it, nothing that only this process knows is needed any more. A full disk must not keep it
    /// from being written, since the agent would run again.
    pub(super) fn exit(self, ctx: &Ctx, run: &RunId, session: &SessionId) -> std::io::Result<Event> {
        match self.store(ctx, run, session, u64::MAX) {
            Err(e) if reserve::is_full(&e) => {
                ctx.reserve.release();
                self.store(ctx, run, session, reserve::TRANSCRIPT_BYTES_MAX)
            }
            stored => stored,
        }
    }

    /// Stores the texts of the exit; a transcript that is larger than so many bytes is left out.
    fn store(&self, ctx: &Ctx, run: &RunId, session: &SessionId, transcript_max: u64) -> std::io::Result<Event> {
        let path = ctx.paths.transcript(run, session);
        let (mut transcript, mut detail) = (None, self.detail.clone());
        match std::fs::symlink_metadata(&path) {
            Ok(meta) if meta.len() <= transcript_max => transcript = Some(ctx.blobs.put(&std::fs::read(&path)?)?),
            Ok(_) => {
                let words = "the transcript is not kept: the disk of the state folder was full";
                detail = Some(detail.map_or(words.to_owned(), |detail| format!("{detail}\n{words}")));
            }
            Err(_) => {}
        }
        let put = |text: &str| if text.trim().is_empty() { Ok(None) } else { ctx.put(text).map(Some) };
        let trail: String = self.trail.iter().map(|line| format!("- {line}\n")).collect();
        let exit = SessionExit {
            end: self.end,
            detail: detail.as_deref().map(|words| ctx.put(words)).transpose()?,
            message: put(&self.last_said)?,
            trail: put(&trail)?,
            transcript,
            said: self.said,
            provider_until_ms: self.provider_until_ms.filter(|_| self.end == SessionEnd::Provider),
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
///
/// In a run that has no environment any more, which is a cancelled one, nothing of what the agent wrote is stored but the
/// commit: the redactor does not know the run's secrets.
pub(crate) fn checkpoint(ctx: &Ctx, job: &Checkpoint) -> Act<Event> {
    let Checkpoint { run, state, session, writes, parent, exit } = job;
    let mut end = exit.end;
    let prefix = format!("refs/agentops/salvage/{run}/{}/{}", session.lane, session.ordinal);
    let (lane, restored) = match work::recover_lane(ctx, state, &session.lane, parent)? {
        Recovered::Usable(lane, Restored::FilesKept) => (lane, Some(work::FILES_KEPT.to_owned())),
        Recovered::Usable(lane, _) => (lane, None),
        Recovered::Emptied(lane) => return lane_lost(ctx, job, &lane.salvage_emptied(&prefix, &oid(parent)?)?),
        Recovered::Gone => return lane_lost(ctx, job, &[]),
    };
    let lane = lane.with_limits(work::size_limits(&state.created.workflow.lane));
    if let Some(commit) = untouched_since(state, session) {
        lane.reset_to(&oid(commit)?)?;
    }
    let mut texts = Optional::new(&ctx.blobs);
    let mut notes: Vec<String> = restored.into_iter().collect();
    let message = texts.text(exit.message.as_ref(), "the agent's last message")?.unwrap_or_default();
    let out = lane.path().join(OUT_DIR);
    let mut artifacts = BTreeMap::new();
    if ctx.env.is_lent() {
        if end == SessionEnd::Completed {
            documents::answer(state, session, &out, &message)?;
        }
        artifacts = documents::take(ctx, &out, &mut notes)?;
    } else {
        notes.push("only the commit is kept: the run's environment went with its supervisor".to_owned());
    }
    let written = artifacts.remove(HANDOVER_FILE);

    let parent = match existing_parent(ctx, job)? {
        None => oid(parent)?,
        Some((newest, words)) => {
            notes.push(words);
            newest
        }
    };
    let title = title(run, session, end);
    let kept = lane.checkpoint(&parent, &title, &ctx.author(), ctx.now_seconds(), &ctx.paths.scratch())?;
    let salvaged = lane.salvage(&prefix, &kept.commit)?;
    if ctx.env.is_lent() {
        notes.extend(documents::unfinished_words(ctx, &kept.unfinished));
    }
    let (mut commit_of, mut changed, mut dropped, mut omitted) = (None, 0, 0, None);
    let count = u32::try_from(kept.changed.len()).unwrap_or(u32::MAX);
    let changes: Vec<String> =
        kept.changed.iter().map(|file| format!("{} +{} −{}", file.path.display(), file.added, file.removed)).collect();
    match writes {
        Writes::Files => {
            let known = state.sessions().find(|(_, known)| known.id == *session).map(|(lane, _)| lane);
            let omissions = Omissions::of(&kept, &salvaged, known.and_then(|lane| lane.accepted.as_ref()), &ctx.blobs);
            if goes_on_after(end) && omissions.has_unseen(&kept.filtered, &ctx.blobs) {
                end = SessionEnd::Filtered;
            }
            let omissions = if ctx.env.is_lent() { omissions } else { omissions.counted() };
            notes.extend(omissions.unseen_text(lane.path()));
            omitted = omissions.store(&ctx.blobs)?;
            let name = checkpoint_refs::of_session(run, &session.lane, session.ordinal);
            work::keep_ref(ctx, &name, kept.raw.as_ref().unwrap_or(&kept.commit))?;
            if kept.raw.is_some() {
                notes.push(format!("the content of files with a content filter is kept: `git show {name}:PATH` prints it"));
            }
            commit_of = Some(commit(&kept.commit)?);
            changed = count;
        }
        // They are dropped when the lane's next session starts: until then this step may have to be repeated.
        Writes::Artifacts if count > 0 => {
            dropped = count;
            if exit.detail.is_none() && ctx.env.is_lent() {
                notes.push(format!("changes outside {OUT_DIR}/ were dropped: {}", changes.join(", ")));
            }
        }
        Writes::Artifacts => {}
    }
    if !salvaged.is_empty() && ctx.env.is_lent() {
        notes.push(salvaged_words(ctx, &salvaged));
    }
    let hand_over = match end {
        SessionEnd::Completed | SessionEnd::Refused | SessionEnd::NotLoggedIn => None,
        // No session comes after it.
        _ if state.cancelled => None,
        SessionEnd::HandedOver if written.is_some() || !message.trim().is_empty() => {
            let said = texts.text(written.as_ref(), "the hand-over")?.unwrap_or(message);
            let transcript = texts.bytes(exit.transcript.as_ref(), "the transcript")?;
            let omitted = transcript.map(|bytes| bundle::left_out(run, session, &bytes, &said)).unwrap_or_default();
            Some(ctx.put(&format!("{}\n{omitted}", said.trim_end()))?)
        }
        _ => {
            let draft = texts.text(written.as_ref(), "the draft of a hand-over")?;
            let transcript = texts.bytes(exit.transcript.as_ref(), "the transcript")?;
            let told = transcript.and_then(|bytes| bundle::of_transcript(run, session, &bytes));
            let trail = texts.text(exit.trail.as_ref(), "the list of what the agent did last")?;
            Some(ctx.put(&mechanical(end, trail, &changes, told, draft))?)
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
        detail: detail(ctx, exit, texts, notes)?,
        said: exit.said,
        omitted,
    })
}

/// The message of the commit that a session's checkpoint makes.
pub(crate) fn checkpoint_title(run: &RunId, session: &SessionState) -> String {
    let end = session.exit.as_ref().map(|exit| exit.end).or(session.end);
    title(run, &session.id, end.unwrap_or(SessionEnd::Interrupted))
}

fn title(run: &RunId, session: &SessionId, end: SessionEnd) -> String {
    let kind = if end == SessionEnd::Completed { "Work" } else { "Checkpoint" };
    format!("{kind} of session {session} of {run}\n")
}

/// Where the parent of a checkpoint is gone from the repository, the commit that takes its place. The lane's files are all
/// there, so nothing but steps of history is lost.
fn existing_parent(ctx: &Ctx, job: &Checkpoint) -> Act<Option<(Oid, String)>> {
    if checkpoint_refs::exists(ctx, &job.parent) {
        return Ok(None);
    }
    let lane = job.state.sessions().find(|(_, known)| known.id == job.session).map(|(lane, _)| lane);
    let Some(newest) = lane.and_then(|lane| checkpoint_refs::newest_existing(ctx, &job.state, lane)) else {
        return Ok(None);
    };
    let words = format!(
        "the commit {} was gone from the repository, so this checkpoint builds on {}",
        job.parent.as_str(),
        newest.as_str()
    );
    Ok(Some((oid(newest)?, words)))
}

/// The failed checkpoint of a cancelled run. The run may end with it, so it says where the work is.
pub(crate) fn not_kept(ctx: &Ctx, job: &Checkpoint, error: &ActError) -> ActError {
    let path = ctx.paths.lane(&job.run, &job.session.lane);
    let words = format!("what session {} did is in {} alone: {}", job.session, path.display(), chain(error));
    std::io::Error::other(words).into()
}

/// What a person should know: what the exit says, and notes on what was found since.
fn detail(ctx: &Ctx, exit: &SessionExit, mut texts: Optional<'_>, notes: Vec<String>) -> Act<Option<BlobId>> {
    let before = texts.text(exit.detail.as_ref(), "what was known of the session's end")?;
    let lost = texts.lost();
    if notes.is_empty() && lost.is_empty() {
        return Ok(exit.detail.clone());
    }
    let all: Vec<String> = before.into_iter().chain(notes).chain(lost).collect();
    Ok(Some(ctx.put(&all.join("\n"))?))
}

/// Whether the lane goes on by itself after such an end. Another end has its own question, fails the run, or says that nothing
/// is known of the session's calls; then files with a content filter wait in the lane for the end of the next session.
fn goes_on_after(end: SessionEnd) -> bool {
    match end {
        SessionEnd::Completed
        | SessionEnd::HandedOver
        | SessionEnd::Ceiling
        | SessionEnd::HandOverTimeout
        | SessionEnd::ContextLost
        | SessionEnd::Hung
        | SessionEnd::TimeLimit
        | SessionEnd::Provider
        | SessionEnd::Failed => true,
        SessionEnd::UsageUnknown
        | SessionEnd::Refused
        | SessionEnd::Interrupted
        | SessionEnd::NotLoggedIn
        | SessionEnd::Cancelled
        | SessionEnd::Filtered
        | SessionEnd::Budget
        | SessionEnd::NotStarted
        | SessionEnd::LaneLost
        | SessionEnd::DiskFull => false,
    }
}

/// What the agent committed elsewhere than where its lane stands, for the session's detail.
fn salvaged_words(ctx: &Ctx, salvaged: &[SalvagedCommit]) -> String {
    let mut text = String::from("the agent left commits that are in no checkpoint:");
    for commit in salvaged.iter().take(COMMITS_SHOWN_MAX) {
        let name = ctx.word(&commit.name);
        let subject = ctx.word(&commit.subject);
        let kept = match &commit.kept_as {
            Some(kept_as) => format!("kept as {kept_as}"),
            None => "it was not copied and is in the lane alone".to_owned(),
        };
        text.push_str(&format!("\n- {name} {} {subject} ({kept})", &commit.commit.as_str()[..12]));
    }
    if let Some(more) = salvaged.len().checked_sub(COMMITS_SHOWN_MAX).filter(|more| *more > 0) {
        text.push_str(&format!("\n- and {more} more"));
    }
    text
}

/// The lane is gone or empty, and with it whatever its session left there but commits. It is made again when its next session
/// starts.
fn lane_lost(ctx: &Ctx, job: &Checkpoint, salvaged: &[SalvagedCommit]) -> Act<Event> {
    let (session, exit) = (&job.session, &job.exit);
    let mut words = format!(
        "the folder {} was gone or emptied before the work of session {session} was kept: its changes and documents are lost; \
         the next session starts from {}",
        ctx.paths.lane(&job.run, &session.lane).display(),
        job.parent.as_str()
    );
    if !salvaged.is_empty() && ctx.env.is_lent() {
        words.push_str(&format!("\n{}", salvaged_words(ctx, salvaged)));
    }
    let mut texts = Optional::new(&ctx.blobs);
    let transcript = texts.bytes(exit.transcript.as_ref(), "the transcript")?;
    let told = transcript.and_then(|bytes| bundle::of_transcript(&job.run, session, &bytes));
    let trail = texts.text(exit.trail.as_ref(), "the list of what the agent did last")?;
    let hand_over = format!("{words}\n\n{}", mechanical(SessionEnd::LaneLost, trail, &[], told, None));
    let detail: Vec<String> = std::iter::once(words).chain(texts.lost()).collect();
    Ok(Event::SessionEnded {
        session: session.clone(),
        end: SessionEnd::LaneLost,
        checkpoint: None,
        changed: 0,
        dropped: 0,
        artifacts: BTreeMap::new(),
        hand_over: Some(ctx.put(&hand_over)?),
        transcript: exit.transcript.clone(),
        detail: Some(ctx.put(&detail.join("\n"))?),
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

#[cfg(test)]
mod tests;
