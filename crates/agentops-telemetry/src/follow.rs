//! From a run's ledger to spans. Pure: the times are those of the ledger, so reading it again gives the same spans.
//!
//! A span is made when it has ended. Nothing of prompts, answers, paths or the task goes into one; texts that a provider chose
//! (model, id, reason) are redacted and cut short.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use agentops_core::budget::{Amount, Limits, Scope};
use agentops_core::call::{CallKind, CallRow};
use agentops_core::ceiling::Window;
use agentops_core::id::{Name, SessionId};
use agentops_core::run::{Event, Illegal, LaneState, Outcome, SessionEnd, SessionState, State};
use agentops_core::usage::Usage;
use agentops_safe::{Redactor, inert_line};
use serde::Serialize;

use crate::names;
use crate::span::{Place, Span, SpanId, Text, TraceId, Value};

/// Characters of a text that somebody else chose.
const TEXT_CHARS_MAX: usize = 200;
/// Texts that are remembered. More different ones than this are no longer few.
const TEXTS_MAX: usize = 64;
/// Characters of the task's text, where it is captured.
const TASK_CHARS_MAX: usize = 4000;

/// Follows one run. Each event of its ledger is given to it once, in order, from the first on.
#[derive(Debug)]
pub struct Follower {
    redactor: Redactor,
    task: Option<String>,
    state: Option<State>,
    trace: Option<TraceId>,
    /// Texts that come with every call, as they are sent. Finding secrets costs more than all the rest.
    texts: RefCell<BTreeMap<String, Text>>,
    /// What the spans of all calls of a session say: that of the last call.
    last: RefCell<Option<Arc<OfSession>>>,
    /// The conversation of the last call, and how it is called.
    conversation: RefCell<Option<(Arc<OfSession>, u32, Text)>>,
    /// The model of the last call, and the name of its span.
    name: RefCell<Option<(Text, String)>>,
}

/// What the spans of all calls of a session have in common.
#[derive(Debug)]
struct OfSession {
    session: Arc<SessionId>,
    span: SpanId,
    run: Text,
    agent: Text,
    phase: Text,
    lane: Text,
    text: Text,
}

impl Follower {
    /// `task` is the run's text, and only given where capturing content was turned on; it is redacted here.
    #[must_use]
    pub fn new(redactor: Redactor, task: Option<&str>) -> Self {
        let task = task.map(|task| inert_line(&redactor.redact(task), TASK_CHARS_MAX));
        Self {
            redactor,
            task,
            state: None,
            trace: None,
            texts: RefCell::default(),
            last: RefCell::default(),
            conversation: RefCell::default(),
            name: RefCell::default(),
        }
    }

    /// Takes the next event, with the time at which it was appended in Unix milliseconds, and says which spans ended with it,
    /// outermost last.
    ///
    /// # Errors
    /// The event does not fit those before it. Nothing was taken.
    pub fn follow(&mut self, event: &Event, at_ms: u64) -> Result<Vec<Span>, Illegal> {
        match &mut self.state {
            None => {
                let state = self.state.insert(State::first(event, at_ms)?);
                self.trace = Some(TraceId::of_run(&state.created, state.created_at_ms));
            }
            Some(state) => state.try_apply(event, at_ms)?,
        }
        Ok(self.ended(event, at_ms))
    }

    fn ended(&self, event: &Event, at_ms: u64) -> Vec<Span> {
        let Some(state) = &self.state else { return Vec::new() };
        let one = |span: Option<Span>| span.into_iter().collect();
        match event {
            Event::Call { session, usage, context, window, sub_agent, row, .. } => {
                let used = Used { usage: *usage, context: *context, window: *window, sub_agent: *sub_agent };
                one(match row {
                    Some(row) => self.call(session, &used, row),
                    None => self.reported(session, &used, at_ms),
                })
            }
            Event::SessionEnded { session, .. } | Event::SessionNotStarted { session, .. } => one(self.session(session)),
            Event::Bundled { phase, .. } => one(self.phase(phase, None)),
            Event::Ended { outcome } => {
                let all = state.created.workflow.phases.iter().zip(&state.phases);
                let open = all.filter(|(_, phase)| phase.ended_at_ms.is_none());
                let phases = open.filter_map(|(spec, _)| self.phase(&spec.name, Some((*outcome, at_ms))));
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
        span.spent(state.spent());
        span.limits(state.limits(&Scope::Run(state.created.run.clone())));
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
        span.spent(phase.spent());
        span.limits(state.limits(&Scope::Phase(state.created.run.clone(), name.clone())));
        if let Some(bundle) = &phase.bundle {
            span.add(names::BUNDLE_BEFORE, bundle.before);
            span.add(names::BUNDLE_AFTER, bundle.after);
        }
        if let Some((Outcome::Failed, _)) = cut_short {
            span.fail(word(Outcome::Failed));
        }
        Some(span)
    }

    fn session(&self, id: &SessionId) -> Option<Span> {
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
                span.add(names::REQUEST_MODEL, self.word_of(model));
            }
        }
        span.add(names::SESSION_CALLS, session.calls);
        span.add(names::SESSION_TOKENS, session.usage.context());
        if let Some(said) = &session.said {
            span.add(names::SESSION_SAID, said.context());
        }
        span.spent(session.spent.plus(session.unreconciled()));
        if session.calls > 0 {
            span.context(session.largest, session.window.unwrap_or(0));
        }
        if !matches!(end, SessionEnd::Completed | SessionEnd::Cancelled) && !end.is_hand_over() {
            span.fail(word(end));
        }
        Some(span)
    }

    /// A call as the gateway saw it go by.
    fn call(&self, id: &SessionId, used: &Used, row: &CallRow) -> Option<Span> {
        let end_ms = row.started_ms.saturating_add(row.duration_ms);
        let mut span = self.chat(id, row.model.as_deref(), row.started_ms, end_ms)?;
        span.add(names::MEASURED_BY, Text::Word("gateway"));
        span.add(names::PROVIDER, self.word_of(&row.provider));
        span.add(names::CONVERSATION, self.conversation(&self.of_session(id)?, row.conversation));
        span.add(names::CALL_KIND, Text::Word(kind(row.kind)));
        if row.kind == CallKind::Compaction {
            span.add(names::COMPACTED, true);
        }
        span.add(names::MAX_TOKENS, row.output_max);
        span.add(names::ESTIMATE, row.estimate);
        if row.streamed {
            span.add(names::STREAM, true);
            if let Some(first) = row.first_byte_ms {
                span.add(names::TIME_TO_FIRST_CHUNK, crate::seconds(first));
            }
        }
        if let Some(model) = &row.answered_by {
            span.add(names::RESPONSE_MODEL, self.word_of(model));
        }
        if let Some(id) = &row.response_id {
            span.add(names::RESPONSE_ID, self.text(id));
        }
        if let Some(finish) = &row.finish {
            span.add(names::FINISH_REASONS, Value::Texts(vec![self.word_of(finish)]));
        }
        if let Some(status) = row.status {
            span.add(names::STATUS, u64::from(status));
        }
        span.used(used);
        if let Some(reasoning) = row.reasoning {
            span.add(names::REASONING_TOKENS, reasoning);
        }
        span.add(names::CHARGED, row.charged.tokens);
        span.cost(row.charged, if row.usage.is_some() { "list-price" } else { "upper-bound" });
        if let Some(error) = &row.error {
            span.fail(self.word_of(error));
        }
        Some(span)
    }

    /// A call that a driver reported: known when it ended, not when it began.
    fn reported(&self, id: &SessionId, used: &Used, at_ms: u64) -> Option<Span> {
        let facts = find(self.state.as_ref()?, id)?.1.facts.as_ref();
        let mut span = self.chat(id, facts.and_then(|facts| facts.model.as_deref()), at_ms, at_ms)?;
        span.add(names::MEASURED_BY, "driver");
        span.used(used);
        Some(span)
    }

    /// The newest call of a session.
    fn chat(&self, id: &SessionId, model: Option<&str>, start_ms: u64, end_ms: u64) -> Option<Span> {
        let (_, session) = find(self.state.as_ref()?, id)?;
        let of = self.of_session(id)?;
        let model = model.map(|model| self.word_of(model));
        let name = model.as_ref().map_or_else(|| "chat".to_owned(), |model| self.chat_name(model));
        let mut span = self.span(Place::Call(Arc::clone(&of.session), session.calls), name, start_ms, end_ms)?;
        span.add(names::OPERATION, Text::Word("chat"));
        span.add(names::AGENT, &of.agent);
        span.add(names::PHASE, &of.phase);
        span.add(names::LANE, &of.lane);
        span.add(names::SESSION, &of.text);
        span.add(names::CALL, session.calls);
        if let Some(model) = model {
            span.add(names::REQUEST_MODEL, model);
        }
        Some(span)
    }

    fn span(&self, place: Place, name: String, start_ms: u64, end_ms: u64) -> Option<Span> {
        let state = self.state.as_ref()?;
        let trace = self.trace?;
        let (parent, run) = match &place {
            Place::Run => (None, state.created.run.as_str().into()),
            Place::Phase(_) => (Some(trace.span(&Place::Run)), state.created.run.as_str().into()),
            Place::Session(session) => {
                let phase = Place::Phase(session.lane.phase.to_string());
                (Some(trace.span(&phase)), state.created.run.as_str().into())
            }
            Place::Call(session, _) => {
                let of = self.of_session(session)?;
                (Some(of.span), of.run.clone())
            }
        };
        // A call has no more than this many.
        let mut attributes = Vec::with_capacity(40);
        attributes.push((names::RUN, Value::Text(run)));
        Some(Span {
            trace,
            id: trace.span(&place),
            parent,
            place,
            name,
            start_ms,
            // The wall clock may have been set back in between.
            end_ms: end_ms.max(start_ms),
            attributes,
            failed: false,
        })
    }

    fn of_session(&self, id: &SessionId) -> Option<Arc<OfSession>> {
        let mut last = self.last.borrow_mut();
        if let Some(known) = last.as_ref().filter(|known| *known.session == *id) {
            return Some(Arc::clone(known));
        }
        let state = self.state.as_ref()?;
        let agent = &find(state, id)?.0.agent;
        let of = OfSession {
            session: Arc::new(id.clone()),
            span: self.trace?.span(&Place::Session(id.clone())),
            run: state.created.run.as_str().into(),
            agent: agent.as_str().into(),
            phase: id.lane.phase.as_str().into(),
            lane: id.lane.lane.as_str().into(),
            text: id.to_string().into(),
        };
        Some(Arc::clone(last.insert(Arc::new(of))))
    }

    fn conversation(&self, of: &Arc<OfSession>, number: u32) -> Text {
        let mut last = self.conversation.borrow_mut();
        if let Some((.., text)) = last.as_ref().filter(|(known, last, _)| Arc::ptr_eq(known, of) && *last == number) {
            return text.clone();
        }
        let text = Text::from(format!("{}/{}/{number}", of.run.as_str(), of.session.lane));
        last.insert((Arc::clone(of), number, text)).2.clone()
    }

    fn chat_name(&self, model: &Text) -> String {
        let mut last = self.name.borrow_mut();
        if let Some((_, name)) = last.as_ref().filter(|(known, _)| known == model) {
            return name.clone();
        }
        last.insert((model.clone(), format!("chat {}", model.as_str()))).1.clone()
    }

    /// A text of which there are few: a model, a provider, a reason.
    fn word_of(&self, text: &str) -> Text {
        let mut texts = self.texts.borrow_mut();
        if let Some(known) = texts.get(text) {
            return known.clone();
        }
        let sent = Text::from(self.text(text));
        if texts.len() < TEXTS_MAX {
            texts.insert(text.to_owned(), sent.clone());
        }
        sent
    }

    fn text(&self, text: &str) -> String {
        inert_line(&self.redactor.redact(text), TEXT_CHARS_MAX)
    }
}

/// What a call used, whoever says so.
struct Used {
    usage: Option<Usage>,
    context: u64,
    window: u64,
    sub_agent: bool,
}

impl Span {
    fn add(&mut self, name: &'static str, value: impl Into<Value>) {
        self.attributes.push((name, value.into()));
    }

    fn fail(&mut self, error: impl Into<Value>) {
        self.failed = true;
        self.add(names::ERROR, error);
    }

    fn of_session(&mut self, id: &SessionId) {
        self.add(names::PHASE, id.lane.phase.as_str());
        self.add(names::LANE, id.lane.lane.as_str());
        self.add(names::SESSION, id.to_string());
    }

    fn used(&mut self, used: &Used) {
        self.add(names::SUB_AGENT, used.sub_agent);
        if let Some(usage) = used.usage {
            let input = usage.input.saturating_add(usage.cache_read).saturating_add(usage.cache_write);
            self.add(names::INPUT_TOKENS, input);
            self.add(names::CACHE_READ, usage.cache_read);
            self.add(names::CACHE_WRITE, usage.cache_write);
            self.add(names::CACHE_CREATION, usage.cache_write);
            self.add(names::OUTPUT_TOKENS, usage.output);
        }
        self.context(used.context, used.window);
    }

    fn spent(&mut self, spent: Amount) {
        self.add(names::CHARGED, spent.tokens);
        self.cost(spent, "sum");
    }

    /// Money of which not all is known is not known.
    fn cost(&mut self, amount: Amount, source: &'static str) {
        if let Some(micro_usd) = amount.micro_usd {
            self.add(names::COST, crate::float(micro_usd) / 1e6);
            self.add(names::COST_SOURCE, Text::Word(source));
        }
    }

    fn limits(&mut self, limits: Option<Limits>) {
        let limits = limits.unwrap_or_default();
        if let Some(tokens) = limits.tokens {
            self.add(names::LIMIT, tokens);
        }
        if let Some(micro_usd) = limits.micro_usd {
            self.add(names::LIMIT_USD, crate::float(micro_usd) / 1e6);
        }
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

/// The word that the ledger has for it, as [`word`] gives it.
fn kind(kind: CallKind) -> &'static str {
    match kind {
        CallKind::Work => "work",
        CallKind::HandOver => "hand-over",
        CallKind::Compaction => "compaction",
    }
}

/// The word that the ledger has for it.
fn word(value: impl Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

#[cfg(test)]
mod tests;
