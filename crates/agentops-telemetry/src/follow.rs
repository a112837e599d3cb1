//! From a run's ledger to spans. Pure: the times are those of the ledger, so reading it again gives the same spans.
//!
//! A span is made when it has ended. Nothing of prompts, answers, paths or the task goes into one; texts that a provider chose
//! (model, id, reason) are redacted and cut short.

use std::collections::BTreeMap;

use agentops_core::call::CallRow;
use agentops_core::ceiling::{Enforcement, Window};
use agentops_core::id::{LaneId, Name, SessionId};
use agentops_core::run::{Event, Illegal, LaneState, Outcome, SessionEnd, SessionState, State};
use agentops_core::usage::Usage;
use agentops_safe::{Redactor, inert_line};
use serde::Serialize;

use crate::names;
use crate::span::{Place, Span, TraceId, Value};

/// Characters of a text that somebody else chose.
const TEXT_CHARS_MAX: usize = 200;
/// Characters of the task's text, where it is captured.
const TASK_CHARS_MAX: usize = 4000;

/// One entry of a run's ledger, in its order.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Entry<'a> {
    /// When it was appended, in Unix milliseconds.
    pub at_ms: u64,
    /// What happened.
    pub what: What<'a>,
}

/// What an entry says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum What<'a> {
    /// An event of the run.
    Event(&'a Event),
    /// A call that went through the gateway.
    Call {
        /// The session that made it.
        session: &'a SessionId,
        /// The call.
        row: &'a CallRow,
    },
}

/// Follows one run. Each entry of its ledger is given to it once, in order, from the first on.
#[derive(Debug)]
pub struct Follower {
    redactor: Redactor,
    task: Option<String>,
    state: Option<State>,
    tallies: BTreeMap<SessionId, Tally>,
}

/// What the calls of a session come to.
#[derive(Debug, Default)]
struct Tally {
    calls: u64,
    used: Usage,
    largest: u64,
    window: Option<u64>,
}

impl Follower {
    /// `task` is the run's text, and only given where capturing content was turned on; it is redacted here.
    #[must_use]
    pub fn new(redactor: Redactor, task: Option<&str>) -> Self {
        let task = task.map(|task| inert_line(&redactor.redact(task), TASK_CHARS_MAX));
        Self { redactor, task, state: None, tallies: BTreeMap::new() }
    }

    /// Takes the next entry, and says which spans ended with it, outermost last.
    ///
    /// # Errors
    /// The entry does not fit those before it. Nothing was taken.
    pub fn follow(&mut self, entry: Entry<'_>) -> Result<Vec<Span>, Illegal> {
        match entry.what {
            What::Event(event) => {
                match &mut self.state {
                    None => self.state = Some(State::first(event, entry.at_ms)?),
                    Some(state) => state.apply(event, entry.at_ms)?,
                }
                Ok(self.ended(event, entry.at_ms))
            }
            What::Call { session, row } => Ok(self.call(session, row).into_iter().collect()),
        }
    }

    fn ended(&mut self, event: &Event, at_ms: u64) -> Vec<Span> {
        let Some(state) = &self.state else { return Vec::new() };
        match event {
            Event::Call { session, usage, context, window, sub_agent, .. } => {
                let Some((lane, facts)) = find(state, session).and_then(|(l, s)| Some((l.clone(), s.facts.clone()?))) else {
                    return Vec::new();
                };
                // Behind the gateway every call has a row of its own, which knows more.
                if facts.enforcement == Enforcement::Prevented {
                    return Vec::new();
                }
                let reported = Reported { usage: *usage, context: *context, window: *window, sub_agent: *sub_agent };
                self.reported(&lane, session, facts.model, reported, at_ms).into_iter().collect()
            }
            Event::SessionEnded { session, .. } => self.session(session).into_iter().collect(),
            Event::Bundled { phase, .. } => self.phase(phase, None).into_iter().collect(),
            Event::Ended { outcome } => {
                let open = state.created.workflow.phases.iter().zip(&state.phases);
                let open: Vec<Name> =
                    open.filter(|(_, phase)| phase.ended_at_ms.is_none()).map(|(spec, _)| spec.name.clone()).collect();
                let phases = open.iter().filter_map(|phase| self.phase(phase, Some((*outcome, at_ms))));
                phases.chain(self.run(*outcome, at_ms)).collect()
            }
            _ => Vec::new(),
        }
    }

    fn run(&self, outcome: Outcome, at_ms: u64) -> Option<Span> {
        let state = self.state.as_ref()?;
        let workflow = state.created.workflow.name.as_str();
        let mut span = self.span(Place::Run, format!("invoke_workflow {workflow}"), state.created_at_ms, at_ms)?;
        span.add(names::OPERATION, "invoke_workflow");
        span.add(names::WORKFLOW, workflow);
        span.add(names::PROFILE, state.created.profile.as_str());
        span.add(names::OUTCOME, word(outcome));
        span.add(names::TAKEOVERS, u64::from(state.takeovers));
        if let Some(task) = &self.task {
            span.add(names::TASK, task.as_str());
        }
        if outcome == Outcome::Failed {
            span.fail(state.failure.as_ref().map_or_else(|| word(outcome), |failure| word(failure.kind)));
        }
        Some(span)
    }

    /// A phase that has handed on, or that its run's end cut short. `None`: it never began.
    fn phase(&self, name: &Name, cut_short: Option<(Outcome, u64)>) -> Option<Span> {
        let state = self.state.as_ref()?;
        let index = state.created.workflow.phases.iter().position(|phase| phase.name == *name)?;
        let phase = &state.phases[index];
        let end_ms = phase.ended_at_ms.or(cut_short.map(|(_, at_ms)| at_ms))?;
        let mut span = self.span(Place::Phase(name.to_string()), format!("phase {name}"), phase.started_at_ms?, end_ms)?;
        span.add(names::PHASE, name.as_str());
        span.add(names::ROUNDS, u64::from(phase.round));
        if let Some(bundle) = &phase.bundle {
            span.add(names::BUNDLE_BEFORE, bundle.before);
            span.add(names::BUNDLE_AFTER, bundle.after);
        }
        if let Some((Outcome::Failed, _)) = cut_short {
            span.fail(word(Outcome::Failed));
        }
        Some(span)
    }

    fn session(&mut self, id: &SessionId) -> Option<Span> {
        let tally = self.tallies.remove(id).unwrap_or_default();
        let state = self.state.as_ref()?;
        let (lane, session) = find(state, id)?;
        let end = session.end?;
        let place = Place::Session(id.clone());
        let name = format!("invoke_agent {}", lane.agent);
        let mut span = self.span(place, name, session.began_at_ms, session.ended_at_ms?)?;
        span.add(names::OPERATION, "invoke_agent");
        span.add(names::AGENT, lane.agent.as_str());
        span.of_session(id);
        span.add(names::SESSION_END, word(end));
        if let Some(agent) = state.created.agents.get(&lane.agent) {
            span.add(names::DRIVER, agent.driver.as_str());
        }
        if let Some(facts) = &session.facts {
            span.add(names::ENFORCEMENT, word(facts.enforcement));
            if let Some(model) = &facts.model {
                span.add(names::REQUEST_MODEL, self.text(model));
            }
        }
        span.add(names::SESSION_CALLS, tally.calls);
        span.add(names::SESSION_TOKENS, tally.used.context());
        if tally.calls > 0 {
            let window = session.window.into_iter().chain(tally.window).min();
            span.context(tally.largest.max(session.largest), window.unwrap_or(0));
        }
        if !matches!(end, SessionEnd::Completed | SessionEnd::Cancelled) && !end.is_hand_over() {
            span.fail(word(end));
        }
        Some(span)
    }

    fn call(&mut self, id: &SessionId, row: &CallRow) -> Option<Span> {
        let agent = find(self.state.as_ref()?, id)?.0.agent.clone();
        let number = self.tally(id, row.usage, row.context(), row.window, row.sub_agent);
        let model = row.model.as_deref().map(|model| self.text(model));
        let end_ms = row.started_ms.saturating_add(row.duration_ms);
        let mut span = self.chat(id, &agent, number, model, row.started_ms, end_ms)?;
        span.add(names::MEASURED_BY, "gateway");
        span.add(names::PROVIDER, self.text(&row.provider));
        span.add(names::CONVERSATION, conversation(&self.state.as_ref()?.created.run, &id.lane, row.conversation));
        span.add(names::CALL_KIND, word(row.kind));
        if row.kind == agentops_core::call::CallKind::Compaction {
            span.add(names::COMPACTED, true);
        }
        span.add(names::SUB_AGENT, row.sub_agent);
        span.add(names::MAX_TOKENS, row.output_max);
        span.add(names::ESTIMATE, row.estimate);
        if row.streamed {
            span.add(names::STREAM, true);
            if let Some(first) = row.first_byte_ms {
                span.add(names::TIME_TO_FIRST_CHUNK, crate::seconds(first));
            }
        }
        for (name, text) in [(names::RESPONSE_MODEL, &row.answered_by), (names::RESPONSE_ID, &row.response_id)] {
            if let Some(text) = text {
                span.add(name, self.text(text));
            }
        }
        if let Some(finish) = &row.finish {
            span.add(names::FINISH_REASONS, Value::Texts(vec![self.text(finish)]));
        }
        if let Some(status) = row.status {
            span.add(names::STATUS, u64::from(status));
        }
        span.usage(row.usage);
        if let Some(reasoning) = row.reasoning {
            span.add(names::REASONING_TOKENS, reasoning);
        }
        span.context(row.context(), row.window);
        span.add(names::CHARGED, row.charged.tokens);
        if let Some(micro_usd) = row.charged.micro_usd {
            span.add(names::COST, crate::float(micro_usd) / 1e6);
            span.add(names::COST_SOURCE, if row.usage.is_some() { "list-price" } else { "upper-bound" });
        }
        if let Some(error) = &row.error {
            span.fail(self.text(error));
        }
        Some(span)
    }

    /// A call that a driver reported: known when it ended, not when it began.
    fn reported(
        &mut self,
        lane: &LaneState,
        id: &SessionId,
        model: Option<String>,
        call: Reported,
        at_ms: u64,
    ) -> Option<Span> {
        let number = self.tally(id, call.usage, call.context, call.window, call.sub_agent);
        let model = model.map(|model| self.text(&model));
        let mut span = self.chat(id, &lane.agent, number, model, at_ms, at_ms)?;
        span.add(names::MEASURED_BY, "driver");
        span.add(names::SUB_AGENT, call.sub_agent);
        span.usage(call.usage);
        span.context(call.context, call.window);
        Some(span)
    }

    fn chat(
        &self,
        id: &SessionId,
        agent: &Name,
        number: u64,
        model: Option<String>,
        start_ms: u64,
        end_ms: u64,
    ) -> Option<Span> {
        let name = model.as_ref().map_or_else(|| "chat".to_owned(), |model| format!("chat {model}"));
        let mut span = self.span(Place::Call(id.clone(), number), name, start_ms, end_ms)?;
        span.add(names::OPERATION, "chat");
        span.add(names::AGENT, agent.as_str());
        span.of_session(id);
        span.add(names::CALL, number);
        if let Some(model) = model {
            span.add(names::REQUEST_MODEL, model);
        }
        Some(span)
    }

    /// Counts a call, and says which of its session it is.
    fn tally(&mut self, id: &SessionId, usage: Option<Usage>, context: u64, window: u64, sub_agent: bool) -> u64 {
        let tally = self.tallies.entry(id.clone()).or_default();
        tally.calls += 1;
        tally.used.add(usage.unwrap_or_default());
        if !sub_agent {
            tally.largest = tally.largest.max(context);
        }
        tally.window = Some(tally.window.map_or(window, |before| before.min(window)));
        tally.calls
    }

    fn span(&self, place: Place, name: String, start_ms: u64, end_ms: u64) -> Option<Span> {
        let state = self.state.as_ref()?;
        let trace = TraceId::of_run(&state.created, state.created_at_ms);
        let parent = match &place {
            Place::Run => None,
            Place::Phase(_) => Some(Place::Run),
            Place::Session(session) => Some(Place::Phase(session.lane.phase.to_string())),
            Place::Call(session, _) => Some(Place::Session(session.clone())),
        };
        Some(Span {
            trace,
            id: trace.span(&place),
            parent: parent.map(|parent| trace.span(&parent)),
            place,
            name,
            start_ms,
            // The wall clock may have been set back in between.
            end_ms: end_ms.max(start_ms),
            attributes: vec![(names::RUN, state.created.run.as_str().into())],
            failed: false,
        })
    }

    fn text(&self, text: &str) -> String {
        inert_line(&self.redactor.redact(text), TEXT_CHARS_MAX)
    }
}

/// A call as a driver reports it.
struct Reported {
    usage: Option<Usage>,
    context: u64,
    window: u64,
    sub_agent: bool,
}

impl Span {
    fn add(&mut self, name: &'static str, value: impl Into<Value>) {
        self.attributes.push((name, value.into()));
    }

    fn fail(&mut self, error: String) {
        self.failed = true;
        self.add(names::ERROR, error);
    }

    fn of_session(&mut self, id: &SessionId) {
        self.add(names::PHASE, id.lane.phase.as_str());
        self.add(names::LANE, id.lane.lane.as_str());
        self.add(names::SESSION, id.to_string());
    }

    fn usage(&mut self, usage: Option<Usage>) {
        let Some(usage) = usage else { return };
        let input = usage.input.saturating_add(usage.cache_read).saturating_add(usage.cache_write);
        self.add(names::INPUT_TOKENS, input);
        self.add(names::CACHE_READ, usage.cache_read);
        self.add(names::CACHE_WRITE, usage.cache_write);
        self.add(names::CACHE_CREATION, usage.cache_write);
        self.add(names::OUTPUT_TOKENS, usage.output);
    }

    fn context(&mut self, tokens: u64, window: u64) {
        self.add(names::CONTEXT, tokens);
        // A window of nothing is an unknown one, and has no share.
        if let Some(window) = Window::new(window) {
            self.add(names::WINDOW, window.tokens());
            self.add(names::CEILING, window.ceiling());
            self.add(names::USED_RATIO, crate::float(tokens) / crate::float(window.tokens()));
        }
    }
}

fn find<'s>(state: &'s State, id: &SessionId) -> Option<(&'s LaneState, &'s SessionState)> {
    state.sessions().find(|(_, session)| session.id == *id)
}

fn conversation(run: &agentops_core::id::RunId, lane: &LaneId, number: u32) -> String {
    format!("{run}/{lane}/{number}")
}

/// The word that the ledger has for it.
fn word(value: impl Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

#[cfg(test)]
mod tests;
