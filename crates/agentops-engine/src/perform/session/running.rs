//! A session while its program runs: what the program and the gateway say is measured, reported and obeyed.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Instant;

use agentops_agents::driver::{AgentEvent, Capabilities, Effect, Failure, Finish, Protocol, UsageReports};
use agentops_agents::keeper::{EndReason, Ended, FromKeeper};
use agentops_agents::{strays, wait};
use agentops_core::agent::AgentRef;
use agentops_core::ceiling::{Enforcement, Meter, Preflight, StopReason, Verdict, Window};
use agentops_core::id::BlobId;
use agentops_core::run::{Event, SessionEnd, SessionFacts, Stop};
use agentops_core::usage::Usage;
use agentops_gateway::host::{Refusal, WindowRemedy};

use super::left::Left;
use super::transcript::Transcript;
use super::{Job, wire};
use crate::perform::{Ctx, EXIT_WAIT, Held, Incoming, lane_program, prompt, recv_until};
use crate::world::Clock;

/// Tokens that an agent program's own prompt and tools are counted as when it does not say. Claude Code says (17k to 19k with
/// its usual tools); programs that do not are counted as that.
const BASE_TOKENS_UNKNOWN: u64 = 19_000;

/// The session while its program runs.
pub(super) struct Running<'a> {
    pub(super) ctx: &'a Arc<Ctx>,
    pub(super) job: &'a Job,
    pub(super) agent: &'a AgentRef,
    pub(super) keeper: Held,
    pub(super) rx: Receiver<Incoming>,
    pub(super) inbox: VecDeque<Incoming>,
    pub(super) protocol: Box<dyn Protocol>,
    pub(super) capabilities: Capabilities,
    pub(super) window: Option<Window>,
    pub(super) meter: Option<Meter>,
    pub(super) start_tokens: u64,
    pub(super) prompt: BlobId,
    /// Largest context reported to the ledger so far, by call, so that a call is one row unless it crosses a mark.
    pub(super) reported: BTreeMap<String, Usage>,
    pub(super) finish: Option<Finish>,
    pub(super) stop: Option<SessionEnd>,
    pub(super) deadline: Option<Instant>,
    pub(super) transcript: Transcript,
    pub(super) left: Left,
    /// The keeper could not start the agent program.
    pub(super) not_started: bool,
    /// The session's lane behind the gateway; `None`: the driver's events are all that is known.
    pub(super) wire: Option<wire::Behind>,
}

impl Running<'_> {
    pub(super) fn drive(&mut self) {
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

    pub(super) fn end_program(&mut self) {
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

    pub(super) fn trail(&mut self, line: String) {
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
        let table = model.as_deref().and_then(|model| self.ctx.env.user.windows().window_of(model));
        self.window = [self.window, window, table].into_iter().flatten().min();
        if !no_model {
            let Some(window) = self.window else {
                let model = model.unwrap_or_else(|| "(unknown)".into());
                return self.refuse(Refusal::WindowUnknown { model, remedy: WindowRemedy::Agent }.to_string());
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
    pub(super) fn report(&mut self, event: Event) -> bool {
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

    pub(super) fn close(mut self) -> Left {
        self.close_lane();
        self.transcript.finish();
        if let Some(Finish::Failed { message, .. }) = &self.finish {
            let said = wait::until_ms(message, self.ctx.clock.now_ms());
            self.left.provider_until_ms = self.left.provider_until_ms.or(said);
        }
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
        if self.left.end == SessionEnd::Failed
            && let Some(words) =
                lane_program::full_disk(self.ctx, &self.ctx.paths.lane(&self.job.run, &self.job.session.lane))
        {
            let detail = self.left.detail.take().unwrap_or_default();
            self.left.detail = Some(format!("{words}; {detail}"));
            self.left.end = SessionEnd::DiskFull;
        }
        self.left
    }
}
