//! One session: an agent program under a keeper, measured call by call, and what it leaves in its lane.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};

use agentops_agents::driver::{Access, Capabilities, SessionRequest, UsageReports};
use agentops_agents::keeper::{Keeper, KeeperSpec, StdinKind};
use agentops_agents::{registry, strays};
use agentops_core::agent::AgentRef;
use agentops_core::ceiling::{Window, estimate_tokens};
use agentops_core::id::{BlobId, Commit, Name, RunId, SessionId};
use agentops_core::models;
use agentops_core::run::{Event, Key, Next, PhaseState, SessionEnd, SessionExit, SessionState, State};
use agentops_core::workflow::{Check, Writes};

use super::flow::Flow;
use super::gateway::{Opening, Way};
use super::lost_text::{self, Optional, Replaceable};
use super::{Act, Ctx, Incoming, chain, checkpoint_refs, failure_words, oid, prompt, records, slot, user_repository, work};
use crate::conductor::Input;
use crate::omitted;
use crate::slots::Slot;

mod documents;
mod left;
mod running;
mod transcript;
mod wire;

pub(super) use left::{Checkpoint, checkpoint, checkpoint_title, not_kept};
use left::{Left, clear_hand_over};
use running::Running;
use transcript::Transcript;

/// A session to run.
pub(super) struct Job {
    pub run: RunId,
    pub state: State,
    pub session: SessionId,
    pub agent: Name,
    pub writes: Writes,
    pub parent: Commit,
    pub next: Next,
}

/// Runs the session's agent to its exit. What it leaves in its lane is kept by an action of its own.
pub(super) fn run(ctx: &Arc<Ctx>, job: &Job, tx: Sender<Incoming>, rx: Receiver<Incoming>) {
    let during = Key::Session { session: job.session.clone() };
    let not_started = |words: &str| {
        let session = job.session.clone();
        ctx.put(words).map(|detail| Event::SessionNotStarted { session, detail, newest: None })
    };
    if let Some(event) = commit_lost(ctx, job) {
        return match event {
            Ok(event) => ctx.report(Input::Outcome(job.run.clone(), during, event)),
            Err(e) => ctx.fatal(format!("the state folder cannot be written: {e}")),
        };
    }
    let started = match slot::take(ctx, &job.run, &during, &tx, &rx) {
        Ok(Some(slot)) => {
            let ctx = &Arc::new(ctx.in_slot(&job.run, &slot));
            let watch = user_repository::begin(ctx, &job.state, &during);
            let started = start(ctx, job, slot, tx, rx);
            user_repository::end(ctx, &job.state, watch);
            started.map(Some)
        }
        Ok(None) => Ok(None),
        Err(e) => Err(e.into()),
    };
    let event = match started {
        Ok(Some(left)) => left.exit(ctx, &job.run, &job.session),
        Ok(None) => not_started("the run ended before this session had a slot"),
        // No error comes from after the agent's start: a failure of ours is no failure of the agent's.
        Err(e) => not_started(&failure_words(ctx, &e)),
    };
    match event {
        Ok(event) => ctx.report(Input::Outcome(job.run.clone(), during, event)),
        Err(e) => ctx.fatal(format!("the state folder cannot be written: {e}")),
    }
}

/// Where the commit that the session should start from is gone from the repository: what is lost, and from which commit the
/// lane can go on. A person decides, and no agent is started before that.
fn commit_lost(ctx: &Ctx, job: &Job) -> Option<std::io::Result<Event>> {
    if !checkpoint_refs::is_gone(ctx, &job.parent) {
        return None;
    }
    let state = &job.state;
    let lane = state.phases.iter().flat_map(PhaseState::all_lanes).find(|lane| lane.id == job.session.lane)?;
    let newest = checkpoint_refs::newest_existing(ctx, state, lane);
    let lost = format!("the commit {} of lane {} is gone from the repository", job.parent.as_str(), lane.id);
    let way_on = match newest {
        Some(newest) => {
            let of = lane.sessions.iter().rfind(|session| session.checkpoint.as_ref() == Some(newest));
            let of =
                of.map_or("what the lane began with".into(), |session| format!("the checkpoint of session {}", session.id));
            format!("the newest that still exists is {} ({of}); `agentops resume` goes on from there", newest.as_str())
        }
        None => "none of its earlier commits exists either; bring the objects back and resume, or cancel the run".into(),
    };
    let (session, newest) = (job.session.clone(), newest.cloned());
    let detail = ctx.put(&format!("{lost}: what was done up to it is lost; {way_on}"));
    Some(detail.map(|detail| Event::SessionNotStarted { session, detail, newest }))
}

/// An exit of which nothing more is known.
pub(super) fn exited(session: &SessionId, end: SessionEnd, detail: Option<BlobId>) -> Event {
    let exit = SessionExit { detail, ..SessionExit::of(end) };
    Event::SessionExited { session: session.clone(), exit: Box::new(exit) }
}

/// Ends what may still run of an interrupted session, and gives what is known of it.
pub(super) fn salvage(ctx: &Arc<Ctx>, state: &State, session: &SessionId) -> std::io::Result<Event> {
    let run = &state.created.run;
    strays::end_strays(&ctx.paths.mark(run, &session.to_string()));
    user_repository::after_takeover(ctx, state, &Key::Session { session: session.clone() });
    Left { end: SessionEnd::Interrupted, ..Left::default() }.exit(ctx, run, session)
}

/// Runs the session's program to its end. The slot is given back then; keeping what it left takes none.
fn start(ctx: &Arc<Ctx>, job: &Job, _slot: Slot, tx: Sender<Incoming>, rx: Receiver<Incoming>) -> Act<Left> {
    let refused = |words: String| Ok(Left { end: SessionEnd::Refused, detail: Some(words), ..Left::default() });
    checkpoint_refs::set_again(ctx, &job.state)?;
    let (lane, restored) = work::reopen_lane(ctx, &job.state, &job.session.lane, &job.parent)?;
    let before = job.state.sessions().filter(|(lane, session)| lane.id == job.session.lane && session.id != job.session);
    let before = before.map(|(_, session)| session).filter(|session| session.end != Some(SessionEnd::NotStarted)).last();
    if let Some(commit) = &job.next.reset_to {
        lane.reset_to(&oid(commit)?)?;
    } else if before.is_some_and(|session| session.dropped > 0) {
        // A lane that writes documents only: its other changes were counted, and are dropped here.
        lane.reset_to(&oid(&job.parent)?)?;
    }
    clear_hand_over(lane.path());
    let Some(agent) = job.state.created.agents.get(&job.agent) else {
        return refused(format!("the run has no agent `{}`", job.agent));
    };
    let driver = match registry::driver(agent.driver.as_str()) {
        Ok(driver) => driver,
        Err(e) => return refused(chain(&e)),
    };
    let capabilities = driver.capabilities(&agent.settings);
    let known = agent.window.and_then(Window::new);
    let table = agent.model.as_deref().and_then(|model| ctx.env.user.windows().window_of(model));
    let window = [known, table].into_iter().flatten().min();
    let variable = |name: &str| ctx.env.variables.lossy_text(name);
    let reach = driver.reach(&agent.settings, agent.model.as_deref(), &variable);
    let mut added = job.state.created.workflow.lane.env.clone();
    added.extend(driver.login_variables(&agent.settings, &reach));
    let opening = Opening {
        reach,
        window,
        budgets: job.state.budgets(&job.session),
        secrets: job.state.created.workflow.secrets,
        plain_refusal: driver.loops_when_too_long(),
        tell: &tx,
    };
    let (through, past) = match ctx.gateways.open(ctx, opening) {
        Ok(Way::Through { lane, route, loose }) => (Some((lane, route, loose)), None),
        Ok(Way::Past(why)) => (None, Some(why)),
        Ok(Way::NoModel) => (None, None),
        Err(words) => return refused(words),
    };
    if through.is_none()
        && let Some(words) = cannot_be_held(&capabilities, agent, past.as_deref())
    {
        return refused(words);
    }
    let (lane_behind, route, loose) = match through {
        Some((lane, route, loose)) => (Some(lane), Some(route), loose),
        None => (None, None, false),
    };
    let (parts, lost) = parts(ctx, job)?;
    let factor = models::factor_permille(agent.model.as_deref().unwrap_or_default());
    let prompt = prompt::compose(&job.state, &job.session, &parts, window, factor);
    let scratch =
        ctx.paths.scratch().join(format!("{}.{}", work::lane_name(&job.run, &job.session.lane), job.session.ordinal));
    std::fs::create_dir_all(&scratch)?;
    let _removed_at_the_end = Scratch(scratch.clone());
    let request = SessionRequest {
        work_tree: lane.path().to_owned(),
        scratch: scratch.clone(),
        instructions: lost_text::required(
            &ctx.blobs,
            &agent.prompt,
            &format!("the prompt of agent `{}`", job.agent),
            &job.run,
        )?,
        prompt,
        model: agent.model.clone(),
        window,
        tools: agent.tools.clone(),
        access: if job.writes == Writes::Files { Access::Write } else { Access::Artifacts },
        settings: agent.settings.clone(),
        route,
        env: ctx.env.variables.clone(),
    };
    // Its program was found when the run was planned, so this is a change of the machine: no agent has failed.
    let launch = driver.launch(&request).map_err(std::io::Error::other)?;
    let ports = work::lane_ports(ctx, &job.run, &job.session.lane)?;
    let mut env = work::lane_env(ctx, &job.run, &job.session.lane, &ports, &added);
    env.retain(|(name, _)| !launch.env_remove.contains(name) && !launch.env.iter().any(|(set, _)| set == name));
    env.extend(launch.env.clone());
    let limits = job.state.created.workflow.limits;
    let spec = KeeperSpec {
        program: launch.program.into_os_string(),
        args: launch.args,
        env,
        cwd: lane.path().as_os_str().to_owned(),
        mark: ctx.paths.mark(&job.run, &job.session.to_string()),
        line_bytes_max: 4 * 1024 * 1024,
        output_bytes_max: 256 * 1024 * 1024,
        silence_ms: limits.silence_seconds_max * 1000,
        time_limit_ms: limits.session_seconds_max * 1000,
        grace_ms: 3_000,
        stdin: StdinKind::Open,
        locks: ctx.locks(&ports),
    };
    let transcript = Transcript::create(ctx, &ctx.paths.transcript(&job.run, &job.session))?;
    let prompt = ctx.put(&format!("{}\n\n{}", request.instructions, request.prompt))?;
    let flow = Flow::default();
    let keeper = Keeper::spawn(&ctx.exe, &spec, move |message| {
        let place = flow.enter(&message);
        let _ended_already = tx.send(Incoming::Keeper(message, place));
    })?;
    let start_tokens = estimate_tokens((request.instructions.len() + request.prompt.len()) as u64);
    let mut running = Running {
        ctx,
        job,
        agent,
        keeper,
        rx,
        inbox: VecDeque::new(),
        protocol: driver.protocol(&request),
        capabilities,
        window,
        meter: None,
        start_tokens,
        prompt,
        reported: BTreeMap::new(),
        finish: None,
        stop: None,
        deadline: None,
        transcript,
        left: Left::default(),
        not_started: false,
        wire: lane_behind.map(|lane| wire::Behind::new(lane, loose)),
    };
    if let Some(why) = past {
        running.trail(format!("past the gateway: {why}"));
    }
    let notes: Vec<String> = restored.into_iter().chain(lost).collect();
    running.left.detail = (!notes.is_empty()).then(|| notes.join("\n"));
    if launch.close_stdin {
        let _gone = running.keeper.close_stdin();
    }
    running.drive();
    let not_started = running.not_started;
    let left = running.close();
    if not_started {
        return Err(std::io::Error::other(left.detail.unwrap_or_default()).into());
    }
    Ok(left)
}

/// A session's folder for its program. What a killed supervisor leaves of it, the next one removes.
struct Scratch(std::path::PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // Its program may have put folders of any depth there.
        let _left = agentops_git::remove_all(&self.0);
    }
}

/// Why the ceiling could not be held in this session; `None` when it can.
fn cannot_be_held(capabilities: &Capabilities, agent: &AgentRef, past: Option<&str>) -> Option<String> {
    match capabilities.usage {
        UsageReports::NoModel => None,
        UsageReports::Never | UsageReports::AtEnd => Some(format!(
            "driver `{}` does not say what its calls use while it runs, and its calls cannot be led through the gateway ({}), so the ceiling \
             cannot be held; use a driver for which one of both holds, or set `model = none` if the program calls no model",
            agent.driver,
            past.unwrap_or("it calls no model"),
        )),
        UsageReports::EveryCall => None,
    }
}

/// What the session starts from, and what of it is lost.
fn parts(ctx: &Ctx, job: &Job) -> Act<(prompt::Parts, Option<String>)> {
    let mut replaceable = Replaceable::new(&ctx.blobs);
    let mut text = |blob: &Option<BlobId>, what: &str| blob.as_ref().map(|blob| replaceable.text(blob, what)).transpose();
    let mut parts = prompt::Parts {
        task: lost_text::required(&ctx.blobs, &job.state.created.task, "the task of this run", &job.run)?,
        hand_over: text(&job.next.hand_over, "the hand-over of the session before")?,
        findings: text(&job.next.findings, "what was found wrong with the round before")?,
        ..prompt::Parts::default()
    };
    let lane = job.state.phases.iter().flat_map(PhaseState::all_lanes).find(|lane| lane.id == job.session.lane);
    let ran = |session: &SessionState| session.end.is_some_and(|end| end != SessionEnd::NotStarted);
    if let Some(before) = lane.and_then(|lane| lane.sessions.iter().rfind(|session| ran(session))) {
        let items = omitted::of_session(before, &ctx.blobs);
        parts.omitted = (!items.is_empty()).then(|| omitted::lines(items.iter()));
    }
    for (phase, state) in job.state.created.workflow.phases.iter().zip(&job.state.phases) {
        if let Some(bundle) = &state.bundle {
            let text = replaceable.text(&bundle.blob, &format!("the bundle of phase {}", phase.name))?;
            parts.bundles.push((phase.name.to_string(), text));
        }
    }
    let lost = replaceable.accepted(&job.state, &job.session)?;
    let Some(phase) = job.state.created.workflow.phase(&job.session.lane.phase) else { return Ok((parts, lost)) };
    let state = &job.state.phases[job.state.current().min(job.state.phases.len() - 1)];
    if let (false, Some(base), Some(merged)) =
        (phase.lanes.iter().any(|lane| lane.name == job.session.lane.lane), &state.base, &state.merged)
    {
        let patch = ctx.repo.patch(&oid(base)?, &oid(merged)?, 4 << 20)?;
        parts.change = Some(String::from_utf8_lossy(&patch).into_owned());
    }
    if phase.gates.iter().any(|gate| gate.check == Check::Laws) {
        // What of them is lost, the check of the laws names.
        let mut texts = Optional::new(&ctx.blobs);
        let facts = records::facts(&job.state, &mut texts, work::changed_files(ctx, &job.state, job.state.tip())?)?;
        parts.record = Some(records::digest(&job.state, &facts));
    }
    Ok((parts, lost))
}
