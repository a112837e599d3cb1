//! One session: an agent program under a keeper, measured call by call, and what it leaves in its lane.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::Instant;

use agentops_agents::driver::{
    Access, AgentEvent, Capabilities, Effect, Failure, Finish, Protocol, SessionRequest, UsageReports,
};
use agentops_agents::keeper::{EndReason, Ended, FromKeeper, Keeper, KeeperSpec, StdinKind};
use agentops_agents::{registry, strays};
use agentops_core::agent::AgentRef;
use agentops_core::ceiling::{Enforcement, Meter, Preflight, StopReason, Verdict, Window, estimate_tokens};
use agentops_core::id::{BlobId, Commit, Name, RunId, SessionId};
use agentops_core::models;
use agentops_core::run::{Event, Key, Next, PhaseState, SessionEnd, SessionExit, SessionFacts, SessionState, State, Stop};
use agentops_core::usage::Usage;
use agentops_core::workflow::{Check, Writes};

use super::flow::Flow;
use super::gateway::{Opening, Way};
use super::lost_text::{self, Optional, Replaceable};
use super::{
    Act, Ctx, EXIT_WAIT, Held, Incoming, chain, checkpoint_refs, oid, prompt, records, recv_until, slot, user_repository,
    work,
};
use crate::conductor::Input;
use crate::omitted;
use crate::slots::Slot;

mod left;
mod transcript;
mod wire;

pub(super) use left::{Checkpoint, checkpoint, not_kept};
use left::{Left, clear_hand_over};
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

/// Tokens that an agent program's own prompt and tools are counted as when it does not say. Claude Code says (17k to 19k with
/// its usual tools); programs that do not are counted as that.
const BASE_TOKENS_UNKNOWN: u64 = 19_000;

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
        Err(e) => not_started(&chain(&e)),
    };
    match event {
        Ok(event) => ctx.report(Input::Outcome(job.run.clone(), during, event)),
        Err(e) => ctx.fatal(format!("the state folder cannot be written: {e}")),
    }
}

/// Where the commit that the session should start from is gone from the repository: what is lost, and from which commit the
/// lane can go on. A person decides, and no agent is started before that.
fn commit_lost(ctx: &Ctx, job: &Job) -> Option<std::io::Result<Event>> {
    if checkpoint_refs::exists(ctx, &job.parent) {
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
    let exit = SessionExit { end, detail, message: None, trail: None, transcript: None, said: None };
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
    let table = agent.model.as_deref().and_then(models::window_of);
    let window = [known, table].into_iter().flatten().min();
    let reach = driver.reach(&agent.settings, agent.model.as_deref(), &|name| ctx.env.variables.text(name));
    let mut added = job.state.created.workflow.lane.env.clone();
    added.extend(driver.login_variables(&agent.settings, &reach));
    let opening = Opening {
        reach,
        window,
        budgets: ctx.gateways.budgets(ctx, &job.state, &job.session),
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
        let _left = std::fs::remove_dir_all(&self.0);
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

/// The session while its program runs.
struct Running<'a> {
    ctx: &'a Arc<Ctx>,
    job: &'a Job,
    agent: &'a AgentRef,
    keeper: Held,
    rx: Receiver<Incoming>,
    inbox: VecDeque<Incoming>,
    protocol: Box<dyn Protocol>,
    capabilities: Capabilities,
    window: Option<Window>,
    meter: Option<Meter>,
    start_tokens: u64,
    prompt: BlobId,
    /// Largest context reported to the ledger so far, by call, so that a call is one row unless it crosses a mark.
    reported: BTreeMap<String, Usage>,
    finish: Option<Finish>,
    stop: Option<SessionEnd>,
    deadline: Option<Instant>,
    transcript: Transcript,
    left: Left,
    /// The keeper could not start the agent program.
    not_started: bool,
    /// The session's lane behind the gateway; `None`: the driver's events are all that is known.
    wire: Option<wire::Behind>,
}

impl Running<'_> {
    fn drive(&mut self) {
        let effects = self.protocol.started();
        self.perform(effects);
        loop {
            let incoming = match self.inbox.pop_front() {
                Some(incoming) => incoming,
                None => match recv_until(&self.rx, self.deadline) {
                    Ok(incoming) => incoming,
                    Err(RecvTimeoutError::Timeout) => {
                        self.deadline = None;
                        self.end_program();
                        continue;
                    }
                    Err(RecvTimeoutError::Disconnected) => return,
                },
            };
            match incoming {
                Incoming::Keeper(FromKeeper::Out { line }, _place) => {
                    self.transcript.write("", &line);
                    let effects = self.protocol.line(&line);
                    self.perform(effects);
                }
                Incoming::Keeper(FromKeeper::Err { line }, _place) => self.transcript.write("! ", &line),
                Incoming::Keeper(FromKeeper::OutputFull, _) => {
                    // From here on nothing that the program reports is seen, so its use is unknown.
                    self.left.detail = Some("the program put out more than a session may".into());
                    self.stop.get_or_insert(SessionEnd::UsageUnknown);
                    self.end_program();
                }
                Incoming::Keeper(FromKeeper::Ended(ended), _) => return self.ended(&ended),
                Incoming::Keeper(FromKeeper::NotStarted { message }, _) => {
                    let words = format!("the agent program could not be started: {message}");
                    let notes = self.left.detail.take().map(|notes| format!("{notes}\n"));
                    self.left.detail = Some(notes.unwrap_or_default() + &words);
                    self.not_started = true;
                    return;
                }
                Incoming::Keeper(FromKeeper::Gone { why }, _) => {
                    self.left.detail = Some(why.unwrap_or_else(|| "the keeper of this session was killed".into()));
                    strays::end_strays(&self.ctx.paths.mark(&self.job.run, &self.job.session.to_string()));
                    return;
                }
                Incoming::Keeper(FromKeeper::Started { .. } | FromKeeper::InputFull, _) => {}
                Incoming::Wire(wire) => self.wire(wire),
                command => self.command(command),
            }
        }
    }

    fn command(&mut self, command: Incoming) {
        match command {
            Incoming::AskHandOver => {
                if let Some(behind) = &self.wire {
                    behind.hand_over();
                }
                let effects = self.protocol.hand_over(&prompt::hand_over_request());
                if effects.is_empty() {
                    self.stop.get_or_insert(SessionEnd::Ceiling);
                    self.end_program();
                }
                self.perform(effects);
            }
            Incoming::Stop(why) => {
                self.stop.get_or_insert(match why {
                    Stop::Meter(StopReason::Ceiling) => SessionEnd::Ceiling,
                    Stop::Meter(StopReason::UsageUnknown) => SessionEnd::UsageUnknown,
                    Stop::Meter(StopReason::Budget) => SessionEnd::Budget,
                    Stop::HandOverTimeout => SessionEnd::HandOverTimeout,
                    Stop::Cancelled => SessionEnd::Cancelled,
                });
                let effects = self.protocol.interrupt();
                self.perform(effects);
                self.end_program();
            }
            Incoming::Keeper(..) | Incoming::Wire(_) => self.inbox.push_back(command),
            // It was taken before anything started.
            Incoming::Slot(_) => {}
        }
    }

    fn end_program(&mut self) {
        let _gone = self.keeper.stop(false);
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Send(line) => {
                    let _gone = self.keeper.send_line(&line);
                }
                Effect::CloseStdin => {
                    let _gone = self.keeper.close_stdin();
                }
                Effect::Event(event) => {
                    let stopped = self.stop.is_some();
                    self.event(event);
                    if self.stop.is_some() && !stopped {
                        // What the protocol meant to send next was meant for a session that goes on.
                        return;
                    }
                }
            }
        }
    }

    fn event(&mut self, event: AgentEvent) {
        match event {
            AgentEvent::Ready { model, version, window, base_tokens } => self.ready(model, version, window, base_tokens),
            AgentEvent::Call { id, usage, last, sub_agent, window } => self.call(id, usage, last, sub_agent, window),
            AgentEvent::Grew { bytes } => {
                if let Some(meter) = &mut self.meter {
                    meter.saw(bytes);
                }
            }
            AgentEvent::Said(text) => {
                self.trail(format!("said: {}", text.lines().next().unwrap_or_default()));
                self.left.last_said = text;
            }
            AgentEvent::Tool { name, detail } => self.trail(format!("{name} {detail}")),
            AgentEvent::Refused { name, reason } => self.trail(format!("{name} was refused: {reason}")),
            AgentEvent::Note(text) => self.trail(text),
            AgentEvent::Finished(finish) => {
                self.finish.get_or_insert(finish);
                let _gone = self.keeper.close_stdin();
                self.deadline.get_or_insert(Instant::now() + EXIT_WAIT);
            }
        }
    }

    fn trail(&mut self, line: String) {
        self.left.trail.push_back(agentops_safe::inert_line(&line, 200));
        if self.left.trail.len() > 40 {
            self.left.trail.pop_front();
        }
    }

    fn refuse(&mut self, words: String) {
        self.left.detail = Some(words);
        self.stop.get_or_insert(SessionEnd::Refused);
        self.end_program();
    }

    /// Window and base prompt are checked before the first token is spent.
    fn ready(&mut self, model: Option<String>, version: Option<String>, window: Option<Window>, base_tokens: Option<u64>) {
        let no_model = self.capabilities.usage == UsageReports::NoModel;
        let table = model.as_deref().and_then(models::window_of);
        self.window = [self.window, window, table].into_iter().flatten().min();
        if !no_model {
            let Some(window) = self.window else {
                return self.refuse(format!(
                    "the context window of model `{}` is not known; set `window: <tokens>` in the agent's file",
                    model.as_deref().unwrap_or("(unknown)")
                ));
            };
            if let Some(behind) = &self.wire {
                behind.narrow(window);
            }
            let preflight = Preflight::new(window, base_tokens.unwrap_or(BASE_TOKENS_UNKNOWN), self.start_tokens);
            if !preflight.fits() {
                return self.refuse(format!(
                    "a window of {} tokens is too small: the program's own prompt ({}{}) and the start context ({}) with room to answer and \
                     to hand over need {}, and half the ceiling is {}; a window of {} would do",
                    preflight.window,
                    preflight.base,
                    if base_tokens.is_none() { ", assumed" } else { "" },
                    preflight.start,
                    preflight.needed,
                    preflight.allowed,
                    preflight.smallest_window()
                ));
            }
            self.meter = Some(Meter::new(window, self.start_tokens + base_tokens.unwrap_or(0)));
        }
        // They are the program's own words.
        let clean = |words: Option<String>| words.map(|words| self.ctx.word(&words));
        let facts = SessionFacts {
            model: clean(model),
            // Some programs say their version only with their first answer; what they printed at the start counts then.
            version: clean(version.or_else(|| Some(self.agent.version.clone()).filter(|version| version != "unknown"))),
            window: self.window.filter(|_| !no_model).map(Window::tokens),
            base_tokens,
            start_tokens: self.start_tokens,
            enforcement: match &self.wire {
                Some(behind) => behind.enforcement(),
                None if no_model => Enforcement::NoModel,
                None => Enforcement::Stopped,
            },
            prompt: self.prompt.clone(),
        };
        self.report(Event::SessionReady { session: self.job.session.clone(), facts });
        if self.stop.is_none() {
            let effects = self.protocol.begin();
            self.perform(effects);
        }
    }

    fn call(&mut self, id: String, usage: Option<Usage>, last: bool, sub_agent: bool, window: Option<Window>) {
        if let Some(behind) = &mut self.wire {
            // The gateway saw the call itself; what the program says of it is compared at the end.
            // One that does not report each call has no sum that could be compared.
            let usage = usage.filter(|_| self.capabilities.usage == UsageReports::EveryCall);
            return behind.program_says(id, usage, window);
        }
        let Some(meter) = &mut self.meter else {
            // A call before the program said which model it uses, or from one that declared that it uses none.
            return self.refuse("the program called a model although it had not said, or had denied, that it would".into());
        };
        if let Some(window) = window {
            meter.narrow(window);
        }
        let window = meter.window();
        let (context, stop) = if sub_agent {
            let known = usage.filter(|usage| usage.context() > usage.output);
            (known.map_or(0, |usage| usage.context()), known.is_none().then_some(StopReason::UsageUnknown))
        } else {
            let verdict = meter.call(usage);
            let stop = match verdict {
                Verdict::Stop(reason) => Some(reason),
                _ => None,
            };
            if !last && verdict == Verdict::GoOn {
                return;
            }
            (meter.context(), stop)
        };
        // Usage is the call's, not the report's: what was told of this call before is not counted twice.
        let before = self.reported.insert(id, usage.unwrap_or_default()).unwrap_or_default();
        let usage = usage.map(|usage| Usage {
            input: usage.input.saturating_sub(before.input),
            cache_read: usage.cache_read.saturating_sub(before.cache_read),
            cache_write: usage.cache_write.saturating_sub(before.cache_write),
            output: usage.output.saturating_sub(before.output),
        });
        let session = self.job.session.clone();
        self.report(Event::Call { session, usage, context, window: window.tokens(), sub_agent, stop, row: None });
    }

    /// Reports, waits until it is durable, and obeys at once what came of it.
    fn report(&mut self, event: Event) -> bool {
        let taken = self.ctx.report_and_wait(&self.job.run, event);
        while let Ok(incoming) = self.rx.try_recv() {
            self.command(incoming);
        }
        taken
    }

    fn ended(&mut self, ended: &Ended) {
        if let Some(exit) = ended.exit {
            let effects = self.protocol.exited(exit);
            self.perform(effects);
        }
        let by_keeper = match ended.reason {
            EndReason::Silent => Some((SessionEnd::Hung, "no sign of life for the workflow's limit")),
            EndReason::TimeLimit => Some((SessionEnd::TimeLimit, "the session took longer than the workflow allows")),
            _ => None,
        };
        if let Some((end, words)) = by_keeper {
            self.stop.get_or_insert(end);
            self.left.detail.get_or_insert(words.into());
        }
        if ended.leftovers > 0 {
            self.trail(format!("{} processes outlived the program and were ended", ended.leftovers));
        }
    }

    fn close(mut self) -> Left {
        self.close_lane();
        self.transcript.finish();
        self.left.end = match (self.stop, self.finish.take()) {
            (Some(end), _) => end,
            (None, Some(Finish::Completed)) => SessionEnd::Completed,
            (None, Some(Finish::HandedOver)) => SessionEnd::HandedOver,
            (None, Some(Finish::Failed { failure, message })) => {
                self.left.detail.get_or_insert(message);
                match self.wire.as_ref().map_or(failure, |behind| behind.class(failure)) {
                    Failure::NotLoggedIn => SessionEnd::NotLoggedIn,
                    Failure::Provider => SessionEnd::Provider,
                    Failure::PromptTooLong | Failure::Compacted => SessionEnd::ContextLost,
                    Failure::Program => SessionEnd::Failed,
                }
            }
            (None, None) => {
                self.left.detail.get_or_insert("the agent program ended without a result".into());
                SessionEnd::Failed
            }
        };
        self.left
    }
}
