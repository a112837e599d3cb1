//! The conversation with one running program.
//!
//! One session, and one prompt of it at a time. A hand-over is a prompt of its own: what runs is cancelled, its answer is
//! waited for, and then the words of the hand-over go out.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::update::{RefusalWords, Updates};
use super::{finish, permission};
use crate::driver::{AgentEvent, Effect, Exit, Failure, Finish, Protocol, UsageReports};
use crate::jsonrpc::{self, Incoming};
use crate::rights::{Rights, Room};
use crate::text::{DETAIL_CHARS, Unparsed, cut};

/// The version of the protocol that we speak.
const VERSION: u64 = 1;

/// What a conversation is about, and what of it differs between programs.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) work_tree: PathBuf,
    /// Standing instructions and task, in one text: the protocol has no other place for the former.
    pub(crate) prompt: String,
    pub(crate) rights: Rights,
    /// The model to ask for in the session; `None`: it was chosen at the start, or is the program's own.
    pub(crate) model: Option<String>,
    /// The mode to ask for in the session.
    pub(crate) mode: Option<String>,
    /// Options of the session, by id, to be set where the program offers this value.
    pub(crate) options: Vec<(&'static str, &'static str)>,
    /// How to log in, where the program wants that of its client.
    pub(crate) auth_method: Option<String>,
    pub(crate) usage: UsageReports,
    /// How the program words the refusal of a tool.
    pub(crate) refusal_words: RefusalWords,
}

/// A request of ours that is not answered yet.
#[derive(Debug)]
enum Asked {
    Initialize,
    Authenticate,
    NewSession,
    /// A choice for the session, and whether the session cannot go on without it.
    Choice {
        what: String,
        must: bool,
    },
    Prompt,
}

#[derive(Debug, PartialEq, Eq)]
enum HandingOver {
    No,
    /// The prompt that runs was cancelled; these words go out when it has ended.
    Waiting(String),
    /// The words are out; the next end is that of the hand-over.
    Prompted,
}

pub(crate) struct Conversation {
    plan: Plan,
    room: Room,
    asked: BTreeMap<u64, Asked>,
    ids: u64,
    version: Option<String>,
    authenticated: bool,
    session: Option<String>,
    model: Option<String>,
    /// Requests for the session that go out one after the other before it is ready.
    choices: Vec<(String, bool, &'static str, Value)>,
    prompting: bool,
    cancelled: bool,
    interrupted: bool,
    handing_over: HandingOver,
    finished: bool,
    updates: Updates,
    unparsed: Unparsed,
}

fn send(value: &Value) -> Effect {
    Effect::Send(value.to_string())
}

fn events(events: Vec<AgentEvent>) -> Vec<Effect> {
    events.into_iter().map(Effect::Event).collect()
}

fn note(text: &str) -> Effect {
    Effect::Event(AgentEvent::Note(cut(text, DETAIL_CHARS)))
}

/// Programs take a prompt that begins with one of these for a command of their own.
fn as_words(prompt: &str) -> String {
    if prompt.trim_start().starts_with(['/', '$', '!']) { format!("Task:\n{prompt}") } else { prompt.to_owned() }
}

impl Conversation {
    pub(crate) fn new(plan: Plan) -> Self {
        let updates = Updates::new(plan.usage, plan.refusal_words);
        Self {
            room: Room::new(&plan.work_tree),
            plan,
            asked: BTreeMap::new(),
            ids: 0,
            version: None,
            authenticated: false,
            session: None,
            model: None,
            choices: Vec::new(),
            prompting: false,
            cancelled: false,
            interrupted: false,
            handing_over: HandingOver::No,
            finished: false,
            updates,
            unparsed: Unparsed::default(),
        }
    }

    fn ask(&mut self, asked: Asked, method: &str, params: &Value) -> Effect {
        self.ids += 1;
        self.asked.insert(self.ids, asked);
        send(&json!({"jsonrpc": "2.0", "id": self.ids, "method": method, "params": params}))
    }

    fn finish(&mut self, finish: Finish) -> Vec<Effect> {
        if std::mem::replace(&mut self.finished, true) {
            return Vec::new();
        }
        let mut effects = events(self.updates.flush());
        effects.extend([Effect::Event(AgentEvent::Finished(finish)), Effect::CloseStdin]);
        effects
    }

    fn fail(&mut self, failure: Failure, message: &str) -> Vec<Effect> {
        self.finish(Finish::Failed { failure, message: cut(message, 1000) })
    }

    fn answered(&mut self, asked: Asked, result: Result<Value, Value>) -> Vec<Effect> {
        match (asked, result) {
            (Asked::Initialize, Ok(result)) => self.initialized(&result),
            (Asked::Authenticate, Ok(_)) => vec![self.new_session()],
            (Asked::NewSession, Ok(result)) => self.session_made(&result),
            (Asked::NewSession, Err(error)) if finish::wants_login(&error) && !self.authenticated => {
                let Some(method) = self.plan.auth_method.clone() else { return self.finish(finish::of_error(&error)) };
                self.authenticated = true;
                vec![self.ask(Asked::Authenticate, "authenticate", &json!({"methodId": method}))]
            }
            (Asked::Choice { .. }, Ok(_)) => self.choose(),
            (Asked::Choice { what, must: false }, Err(_)) => {
                let mut effects = vec![note(&format!("the program did not take {what}"))];
                effects.extend(self.choose());
                effects
            }
            (Asked::Choice { what, must: true }, Err(error)) => {
                let why = error["message"].as_str().unwrap_or("no reason given");
                self.fail(Failure::Program, &format!("the program did not take {what}: {why}"))
            }
            (Asked::Prompt, Ok(result)) => self.prompt_ended(&result),
            // Some programs answer a cancelled prompt with an error.
            (Asked::Prompt, Err(_)) if self.cancelled => self.prompt_ended(&json!({"stopReason": "cancelled"})),
            (_, Err(error)) => self.finish(finish::of_error(&error)),
        }
    }

    fn initialized(&mut self, result: &Value) -> Vec<Effect> {
        let version = result["protocolVersion"].as_u64();
        if version != Some(VERSION) {
            let theirs = version.map_or_else(|| "no version".to_owned(), |version| format!("version {version}"));
            return self.fail(Failure::Program, &format!("it speaks {theirs} of the protocol; we speak version {VERSION}"));
        }
        self.version = result["agentInfo"]["version"].as_str().map(|version| cut(version, 80));
        vec![self.new_session()]
    }

    fn new_session(&mut self) -> Effect {
        let params = json!({"cwd": self.plan.work_tree.to_string_lossy(), "mcpServers": []});
        self.ask(Asked::NewSession, "session/new", &params)
    }

    fn session_made(&mut self, result: &Value) -> Vec<Effect> {
        let Some(session) = result["sessionId"].as_str().map(str::to_owned) else {
            return self.fail(Failure::Program, "it made a session without an id");
        };
        let offered = result["configOptions"].as_array().map_or(&[][..], Vec::as_slice);
        let option = |id: &str| offered.iter().find(|o| o["id"].as_str() == Some(id) || o["category"].as_str() == Some(id));
        let set = |option: &Value, value: &str| {
            ("session/set_config_option", json!({"sessionId": session, "configId": option["id"], "value": value}))
        };
        let models = &result["models"];
        let current = option("model").and_then(|o| o["currentValue"].as_str()).or_else(|| models["currentModelId"].as_str());
        self.model = self.plan.model.clone().or_else(|| current.map(|model| cut(model, 200)));

        let mut choices = Vec::new();
        if let Some(model) = self.plan.model.as_deref().filter(|model| current != Some(model)) {
            let (method, params) = match option("model") {
                Some(option) => set(option, model),
                None => ("session/set_model", json!({"sessionId": session, "modelId": model})),
            };
            choices.push((format!("the model `{model}`"), true, method, params));
        }
        if let Some(mode) = &self.plan.mode {
            let (method, params) = match option("mode") {
                Some(option) => set(option, mode),
                None => ("session/set_mode", json!({"sessionId": session, "modeId": mode})),
            };
            choices.push((format!("the mode `{mode}`"), true, method, params));
        }
        for (id, value) in &self.plan.options {
            let Some(option) = option(id) else { continue };
            let is_offered = |o: &Value| o["value"].as_str() == Some(value);
            let offers = option["options"].as_array().is_some_and(|options| options.iter().any(is_offered));
            if offers && option["currentValue"].as_str() != Some(value) {
                let (method, params) = set(option, value);
                choices.push((format!("`{value}` for `{id}`"), false, method, params));
            }
        }
        choices.reverse();
        self.choices = choices;
        self.session = Some(session);
        self.choose()
    }

    /// Makes the next choice; when all are made the session is ready.
    fn choose(&mut self) -> Vec<Effect> {
        if let Some((what, must, method, params)) = self.choices.pop() {
            return vec![self.ask(Asked::Choice { what, must }, method, &params)];
        }
        let unknown = self.plan.rights.unknown.join(", ");
        let note = (!unknown.is_empty()).then(|| note(&format!("tools that this program does not have: {unknown}")));
        let ready =
            AgentEvent::Ready { model: self.model.clone(), version: self.version.clone(), window: None, base_tokens: None };
        [Effect::Event(ready)].into_iter().chain(note).collect()
    }

    fn prompt(&mut self, text: &str) -> Vec<Effect> {
        let Some(session) = self.session.clone() else { return Vec::new() };
        (self.prompting, self.cancelled) = (true, false);
        let text = as_words(text);
        vec![self.ask(
            Asked::Prompt,
            "session/prompt",
            &json!({"sessionId": session, "prompt": [{"type": "text", "text": text}]}),
        )]
    }

    fn cancel(&mut self) -> Vec<Effect> {
        if !self.prompting || std::mem::replace(&mut self.cancelled, true) {
            return Vec::new();
        }
        let params = json!({"sessionId": self.session});
        vec![send(&json!({"jsonrpc": "2.0", "method": "session/cancel", "params": params}))]
    }

    fn prompt_ended(&mut self, result: &Value) -> Vec<Effect> {
        self.prompting = false;
        let mut effects = events(self.updates.ended(result));
        let stopped = finish::of_stop(result["stopReason"].as_str().unwrap_or_default());
        let end = match std::mem::replace(&mut self.handing_over, HandingOver::No) {
            HandingOver::Waiting(words) => {
                self.handing_over = HandingOver::Prompted;
                self.prompt(&words)
            }
            _ if self.interrupted => self.fail(Failure::Program, "interrupted"),
            handing_over => self.finish(match (stopped, handing_over) {
                (Some(failed), _) => failed,
                (None, HandingOver::Prompted) => Finish::HandedOver,
                (None, _) => Finish::Completed,
            }),
        };
        effects.extend(end);
        effects
    }

    /// The program asks and waits. It is always answered, or it would wait for ever.
    fn requested(&mut self, id: &Value, method: &str, params: &Value) -> Vec<Effect> {
        if method != "session/request_permission" {
            let error = json!({"code": -32601, "message": "not offered by this client"});
            let refused = AgentEvent::Refused { name: cut(method, 80), reason: "not offered by this client".to_owned() };
            return vec![send(&json!({"jsonrpc": "2.0", "id": id, "error": error})), Effect::Event(refused)];
        }
        if self.cancelled {
            return vec![send(&permission::answer(id, params, None))];
        }
        let call = &params["toolCall"];
        let decision = permission::decide(&self.plan.rights, &self.room, call);
        let mut effects = vec![send(&permission::answer(id, params, Some(decision.is_ok())))];
        effects.extend(match decision {
            Ok(()) => events(self.updates.uses(call)),
            Err(reason) => events(vec![AgentEvent::Refused { name: permission::label(call).0, reason }]),
        });
        effects
    }

    fn told(&mut self, method: &str, params: &Value) -> Vec<Effect> {
        let is_own = self.session.is_some() && params["sessionId"].as_str() == self.session.as_deref();
        if method == "session/update" && is_own { events(self.updates.told(&params["update"])) } else { Vec::new() }
    }
}

impl Protocol for Conversation {
    fn started(&mut self) -> Vec<Effect> {
        let params = json!({
            "protocolVersion": VERSION,
            "clientCapabilities": {"fs": {"readTextFile": false, "writeTextFile": false}, "terminal": false},
            "clientInfo": {"name": "agentops", "title": "AgentOps", "version": env!("CARGO_PKG_VERSION")},
        });
        vec![self.ask(Asked::Initialize, "initialize", &params)]
    }

    fn begin(&mut self) -> Vec<Effect> {
        if self.finished || self.prompting {
            return Vec::new();
        }
        let prompt = std::mem::take(&mut self.plan.prompt);
        self.prompt(&prompt)
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
            Incoming::Request { id, method, params } => self.requested(&id, &method, &params),
            Incoming::Notice { method, params } => self.told(&method, &params),
        }
    }

    fn hand_over(&mut self, prompt: &str) -> Vec<Effect> {
        if self.finished || self.session.is_none() || self.handing_over != HandingOver::No {
            return Vec::new();
        }
        self.interrupted = false;
        if !self.prompting {
            self.handing_over = HandingOver::Prompted;
            return self.prompt(prompt);
        }
        self.handing_over = HandingOver::Waiting(prompt.to_owned());
        let effects = self.cancel();
        // Not empty: an empty answer would mean that it cannot be asked at all.
        if effects.is_empty() { vec![note("asked to hand over as soon as its work has stopped")] } else { effects }
    }

    fn interrupt(&mut self) -> Vec<Effect> {
        if self.finished || !self.prompting {
            return Vec::new();
        }
        self.interrupted = true;
        self.cancel()
    }

    fn exited(&mut self, exit: Exit) -> Vec<Effect> {
        let effects = self.fail(Failure::Program, &format!("ended without a result ({exit})"));
        effects.into_iter().filter(|effect| matches!(effect, Effect::Event(_))).collect()
    }
}
