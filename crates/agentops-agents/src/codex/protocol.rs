//! The conversation with a running app-server.
//!
//! One thread, and one turn of it at a time. What we ask is answered by id; what the program tells comes in between, and
//! both orders are possible where a turn ends while we ask something of it.

use std::collections::BTreeMap;

use agentops_core::ceiling::Window;
use serde_json::{Value, json};

use super::calls::Calls;
use super::{failure, items, wire};
use crate::driver::{Access, AgentEvent, Effect, Exit, Failure, Finish, Protocol, SessionRequest};
use crate::jsonrpc::{self, Incoming};
use crate::text::{DETAIL_CHARS, Unparsed, cut};

/// The program's notes that are shown; the rest is silence.
const NOTES_MAX: u32 = 50;

/// A request of ours that is not answered yet.
#[derive(Debug)]
enum Asked {
    Initialize,
    Thread,
    Turn,
    /// With the message, in case the turn does not take it.
    Steer(String),
    Interrupt,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Turn {
    None,
    /// Asked for; its id is not known yet.
    Starting,
    Active(String),
}

pub(super) struct Conversation {
    thread_params: Value,
    prompt: String,
    window: Option<Window>,
    notes: Vec<String>,

    asked: BTreeMap<u64, Asked>,
    ids: u64,
    version: Option<String>,
    thread: Option<String>,
    turn: Turn,
    /// The prompt may go out.
    begun: bool,
    /// A message for the next turn, because the one that runs cannot take it.
    next: Option<String>,
    handing_over: bool,
    interrupting: bool,
    /// The turn ended well while a message to it was under way: its answer decides.
    ended_while_steering: bool,
    calls: Calls,
    finished: bool,
    unparsed: Unparsed,
    notes_shown: u32,
}

impl Conversation {
    pub(super) fn new(request: &SessionRequest, sandbox: Option<&str>, notes: Vec<String>) -> Self {
        let mut thread = json!({
            "cwd": request.work_tree.to_string_lossy(),
            "approvalPolicy": "never",
            "ephemeral": true,
        });
        let mut put = |key: &str, value: Option<&str>| {
            if let Some(value) = value {
                thread[key] = value.into();
            }
        };
        put("developerInstructions", Some(request.instructions.as_str()).filter(|text| !text.is_empty()));
        put("model", request.model.as_deref());
        // A sandbox named here would replace the permission profile that holds an artifacts session.
        put("sandbox", sandbox.filter(|_| request.access == Access::Write));
        Self {
            thread_params: thread,
            prompt: request.prompt.clone(),
            window: request.window,
            notes,
            asked: BTreeMap::new(),
            ids: 0,
            version: None,
            thread: None,
            turn: Turn::None,
            begun: false,
            next: None,
            handing_over: false,
            interrupting: false,
            ended_while_steering: false,
            calls: Calls::default(),
            finished: false,
            unparsed: Unparsed::default(),
            notes_shown: 0,
        }
    }

    fn ask(&mut self, asked: Asked, method: &str, params: Value) -> Effect {
        self.ids += 1;
        self.asked.insert(self.ids, asked);
        Effect::Send(json!({"id": self.ids, "method": method, "params": params}).to_string())
    }

    fn start_turn(&mut self, text: &str) -> Vec<Effect> {
        let Some(thread) = self.thread.clone() else { return Vec::new() };
        self.turn = Turn::Starting;
        self.calls.turn_asked();
        self.interrupting = false;
        vec![self.ask(Asked::Turn, "turn/start", json!({"threadId": thread, "input": wire::input(text)}))]
    }

    fn steer(&mut self, turn: &str, text: String) -> Effect {
        self.calls.dropped_by_us();
        let params = json!({"threadId": self.thread, "expectedTurnId": turn, "input": wire::input(&text)});
        self.ask(Asked::Steer(text), "turn/steer", params)
    }

    fn stop_turn(&mut self, turn: &str) -> Effect {
        self.calls.dropped_by_us();
        self.ask(Asked::Interrupt, "turn/interrupt", json!({"threadId": self.thread, "turnId": turn}))
    }

    fn is_steering(&self) -> bool {
        self.asked.values().any(|asked| matches!(asked, Asked::Steer(_)))
    }

    fn finish(&mut self, finish: Finish) -> Vec<Effect> {
        if std::mem::replace(&mut self.finished, true) {
            return Vec::new();
        }
        vec![Effect::Event(AgentEvent::Finished(finish)), Effect::CloseStdin]
    }

    fn fail(&mut self, failure: Failure, message: &str) -> Vec<Effect> {
        self.finish(Finish::Failed { failure, message: message.to_owned() })
    }

    fn note(&mut self, text: &str) -> Vec<Effect> {
        self.notes_shown = self.notes_shown.saturating_add(1);
        if text.is_empty() || self.notes_shown > NOTES_MAX {
            return Vec::new();
        }
        vec![Effect::Event(AgentEvent::Note(cut(text, DETAIL_CHARS)))]
    }

    fn answered(&mut self, asked: Asked, result: Result<Value, Value>) -> Vec<Effect> {
        match (asked, result) {
            (Asked::Initialize, Ok(result)) => {
                self.version = result["userAgent"].as_str().and_then(wire::version);
                let initialized = Effect::Send(json!({"method": "initialized"}).to_string());
                let params = self.thread_params.take();
                vec![initialized, self.ask(Asked::Thread, "thread/start", params)]
            }
            (Asked::Thread, Ok(result)) => {
                let Some(thread) = result["thread"]["id"].as_str() else {
                    return self.fail(Failure::Program, "it started no conversation");
                };
                self.thread = Some(thread.to_owned());
                let model = result["model"].as_str().map(str::to_owned);
                let (version, window) = (self.version.clone(), self.window);
                let mut effects = vec![Effect::Event(AgentEvent::Ready { model, version, window, base_tokens: None })];
                effects.extend(if self.begun { self.begin() } else { Vec::new() });
                effects
            }
            (Asked::Turn, Ok(result)) => self.turn_is(&result["turn"]["id"]),
            (Asked::Steer(_), Ok(_)) if std::mem::take(&mut self.ended_while_steering) => self.turn_completed(),
            (Asked::Steer(_) | Asked::Interrupt, Ok(_)) => Vec::new(),
            (Asked::Steer(text), Err(error)) => {
                self.ended_while_steering = false;
                if self.turn == Turn::None {
                    return self.start_turn(&text);
                }
                self.next = Some(text);
                self.note(&format!("the turn took no message: {}", error["message"].as_str().unwrap_or_default()))
            }
            // The turn was over already.
            (Asked::Interrupt, Err(_)) => Vec::new(),
            (Asked::Initialize | Asked::Thread | Asked::Turn, Err(error)) => self.finish(failure::finish(&error)),
        }
    }

    /// A turn has an id now, so what waited for one goes out.
    fn turn_is(&mut self, id: &Value) -> Vec<Effect> {
        // Told twice: as the answer to our request, and by itself. The second may come after its end.
        let (Some(id), Turn::Starting) = (id.as_str(), &self.turn) else { return Vec::new() };
        self.turn = Turn::Active(id.to_owned());
        if self.interrupting {
            return vec![self.stop_turn(id)];
        }
        match self.next.take() {
            Some(text) => vec![self.steer(id, text)],
            None => Vec::new(),
        }
    }

    /// The turn of ours ended as it should.
    fn turn_completed(&mut self) -> Vec<Effect> {
        if let Some(text) = self.next.take() {
            return self.start_turn(&text);
        }
        self.finish(if self.handing_over { Finish::HandedOver } else { Finish::Completed })
    }

    fn turn_ended(&mut self, turn: &Value) -> Vec<Effect> {
        if matches!(&self.turn, Turn::Active(id) if turn["id"].as_str() != Some(id.as_str())) {
            return Vec::new();
        }
        self.turn = Turn::None;
        match turn["status"].as_str() {
            Some("completed") => {
                let mut effects: Vec<_> = self.calls.turn_completed().map(Effect::Event).into_iter().collect();
                if self.is_steering() {
                    self.ended_while_steering = true;
                    return effects;
                }
                effects.extend(self.turn_completed());
                effects
            }
            Some("interrupted") if self.interrupting => match self.next.take() {
                Some(text) => self.start_turn(&text),
                None => Vec::new(),
            },
            Some("interrupted") => self.fail(Failure::Program, "the turn was interrupted, and not by us"),
            _ => self.finish(failure::finish(&turn["error"])),
        }
    }

    fn told(&mut self, method: &str, params: &Value) -> Vec<Effect> {
        let is_own = params["threadId"].as_str() == self.thread.as_deref();
        let item = &params["item"];
        let event = |event| vec![Effect::Event(event)];
        match method {
            "thread/compacted" => self.compacted(),
            "item/started" | "item/completed" if item["type"] == "contextCompaction" => self.compacted(),
            "thread/tokenUsage/updated" => {
                self.calls.reported(params, self.thread.as_deref()).map(event).unwrap_or_default()
            }
            "account/rateLimits/updated" => {
                self.calls.limits();
                Vec::new()
            }
            "turn/started" if is_own => self.turn_is(&params["turn"]["id"]),
            "turn/completed" if is_own => self.turn_ended(&params["turn"]),
            "item/started" if is_own && item["type"] != "userMessage" => {
                let tool = items::started(item);
                let unknown = self.calls.went_on(tool.is_some());
                unknown.into_iter().chain(tool).map(Effect::Event).collect()
            }
            "item/started" => items::started(item).map(event).unwrap_or_default(),
            // What a sub-agent says and reads is in its own conversation.
            "item/completed" if is_own => items::completed(item).into_iter().map(Effect::Event).collect(),
            "error" if params["willRetry"] != true => {
                self.calls.lost();
                Vec::new()
            }
            "error" => {
                self.calls.lost();
                let message = params["error"]["message"].as_str().unwrap_or_default();
                self.note(&format!("it tries again: {message}"))
            }
            "warning" | "guardianWarning" => self.note(params["message"].as_str().unwrap_or_default()),
            "configWarning" | "deprecationNotice" => self.note(params["summary"].as_str().unwrap_or_default()),
            "model/rerouted" => {
                let model = |key: &str| params[key].as_str().unwrap_or("unknown");
                self.note(&format!("the model is now {} instead of {}", model("toModel"), model("fromModel")))
            }
            _ => Vec::new(),
        }
    }

    fn compacted(&mut self) -> Vec<Effect> {
        self.fail(Failure::Compacted, "the program compacted its context")
    }

    /// It waits for an answer, and nobody is there to give another one.
    fn refused(&mut self, id: &Value, method: &str, params: &Value) -> Vec<Effect> {
        let answer = match wire::refusal(method) {
            Some(result) => json!({"id": id, "result": result}),
            None => json!({"id": id, "error": {"code": -32601, "message": "not supported"}}),
        };
        let wanted = ["command", "reason", "message"].iter().find_map(|key| params[*key].as_str()).unwrap_or_default();
        let reason = cut(&format!("nobody is there to be asked. {wanted}"), DETAIL_CHARS);
        let name = cut(method, DETAIL_CHARS);
        vec![Effect::Send(answer.to_string()), Effect::Event(AgentEvent::Refused { name, reason })]
    }
}

impl Protocol for Conversation {
    fn started(&mut self) -> Vec<Effect> {
        let notes = std::mem::take(&mut self.notes);
        let mut effects: Vec<_> = notes.iter().flat_map(|note| self.note(note)).collect();
        effects.push(self.ask(Asked::Initialize, "initialize", wire::initialize()));
        effects
    }

    fn begin(&mut self) -> Vec<Effect> {
        self.begun = true;
        if self.thread.is_none() || self.finished {
            return Vec::new();
        }
        let prompt = std::mem::take(&mut self.prompt);
        self.start_turn(&prompt)
    }

    fn line(&mut self, line: &str) -> Vec<Effect> {
        let Some(message) = jsonrpc::parse(line) else { return self.unparsed.line(line) };
        if self.finished {
            return Vec::new();
        }
        match message {
            Incoming::Answer { id, result } => match self.asked.remove(&id) {
                Some(asked) => self.answered(asked, result),
                None => self.unparsed.line(line),
            },
            Incoming::Request { id, method, params } => self.refused(&id, &method, &params),
            Incoming::Notice { method, params } => self.told(&method, &params),
        }
    }

    fn hand_over(&mut self, prompt: &str) -> Vec<Effect> {
        if self.finished || self.thread.is_none() {
            return Vec::new();
        }
        self.handing_over = true;
        match self.turn.clone() {
            Turn::None => self.start_turn(prompt),
            Turn::Active(turn) if !self.interrupting => vec![self.steer(&turn, prompt.to_owned())],
            // It goes out as soon as the turn can take it, or has ended.
            Turn::Active(_) | Turn::Starting => {
                self.next = Some(prompt.to_owned());
                // Not empty: an empty answer would mean that it cannot be asked at all.
                vec![Effect::Event(AgentEvent::Note("asked to hand over as soon as its turn can take it".to_owned()))]
            }
        }
    }

    fn interrupt(&mut self) -> Vec<Effect> {
        if self.finished || self.turn == Turn::None {
            return Vec::new();
        }
        self.interrupting = true;
        match self.turn.clone() {
            Turn::Active(turn) => vec![self.stop_turn(&turn)],
            Turn::None | Turn::Starting => Vec::new(),
        }
    }

    fn exited(&mut self, exit: Exit) -> Vec<Effect> {
        let effects = self.fail(Failure::Program, &format!("ended without a result ({exit})"));
        effects.into_iter().filter(|effect| matches!(effect, Effect::Event(_))).collect()
    }
}
