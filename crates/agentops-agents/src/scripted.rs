//! The driver `scripted`: plays a script instead of asking a model. For the demo and the tests of everything above.

mod program;
mod script;
mod wire;

use std::fs;
use std::path::PathBuf;

use agentops_core::ceiling::Window;

pub use program::{SUBCOMMAND, main};
pub use script::{Conversation, NoReport, Parts, Report, Script, Step};

use crate::driver::{
    AgentEvent, Capabilities, Driver, DriverError, Effect, Exit, Failure, Finish, HandOver, Launch, Lead, Led, Probe,
    Protocol, Reach, SessionRequest, UsageReports,
};
use crate::environment::Environment;
use crate::settings::{Settings, check_keys, number, refuse, word};
use crate::text::Unparsed;
use wire::{FromAgent, ToAgent};

const WINDOW_DEFAULT: u64 = 200_000;

/// The driver. Settings: `script` (a file; relative to the work tree) or `script_json`, `window`, `program` (default: this
/// program), and to play a weaker program `usage` (`every-call`, `at-end`, `never`, `no-model`) and `hand_over` (`in-band`,
/// `mechanical`).
#[derive(Debug)]
pub struct Scripted;

fn program(settings: &Settings) -> Result<PathBuf, DriverError> {
    match settings.get("program").map(PathBuf::from) {
        Some(path) if path.is_absolute() => Ok(path),
        Some(_) => Err(refuse("program", "must be an absolute path")),
        None => std::env::current_exe()
            .map_err(|error| refuse("program", format!("this program's own path is unknown ({error})"))),
    }
}

fn script(request: &SessionRequest) -> Result<String, DriverError> {
    let (key, text) = match (request.settings.get("script"), request.settings.get("script_json")) {
        (Some(path), None) => {
            let path = request.work_tree.join(path);
            let text =
                fs::read_to_string(&path).map_err(|error| refuse("script", format!("{}: {error}", path.display())))?;
            ("script", text)
        }
        (None, Some(text)) => ("script_json", text.clone()),
        _ => return Err(refuse("script", "either `script` (a file) or `script_json` must be given")),
    };
    match serde_json::from_str::<Script>(&text) {
        Ok(_) => Ok(text),
        Err(error) => Err(refuse(key, error.to_string())),
    }
}

impl Driver for Scripted {
    fn name(&self) -> &'static str {
        "scripted"
    }

    fn capabilities(&self, settings: &Settings) -> Capabilities {
        let usage = match settings.get("usage").map(String::as_str) {
            Some("at-end") => UsageReports::AtEnd,
            Some("never") => UsageReports::Never,
            Some("no-model") => UsageReports::NoModel,
            _ => UsageReports::EveryCall,
        };
        let mechanical = settings.get("hand_over").is_some_and(|word| word == "mechanical");
        Capabilities {
            usage,
            hand_over: if mechanical { HandOver::Mechanical } else { HandOver::InBand },
            window_before_first_call: true,
            allow_list: false,
            interrupt: true,
            output_cap: true,
            resume: false,
            hooks: false,
        }
    }

    fn probe(&self, settings: &Settings, _env: &Environment) -> Result<Probe, DriverError> {
        Ok(Probe { program: program(settings)?, version: env!("CARGO_PKG_VERSION").to_owned() })
    }

    fn reach(&self, _settings: &Settings, _model: Option<&str>, _env: &dyn Fn(&str) -> Option<String>) -> Reach {
        Reach::Direct("a script makes no calls that could be led anywhere".into())
    }

    fn launch(&self, request: &SessionRequest) -> Result<Launch, DriverError> {
        let settings = &request.settings;
        check_keys(settings, &["script", "script_json", "window", "program", "usage", "hand_over"])?;
        word(settings, "usage", &["every-call", "at-end", "never", "no-model"])?;
        word(settings, "hand_over", &["in-band", "mechanical"])?;
        let window = number(settings, "window")?.unwrap_or(WINDOW_DEFAULT);
        let path = request.scratch.join("script.json");
        fs::write(&path, script(request)?).map_err(|source| DriverError::Scratch { path: path.clone(), source })?;
        Ok(Launch {
            program: program(settings)?,
            args: vec![SUBCOMMAND.into(), path.into(), window.to_string().into()],
            ..Launch::default()
        })
    }

    fn lead(&self, _lead: &Lead<'_>) -> Result<Led, DriverError> {
        Err(DriverError::NotLed { driver: "scripted", reason: "a script makes no calls" })
    }

    fn protocol(&self, request: &SessionRequest) -> Box<dyn Protocol> {
        Box::new(Conversing {
            instructions: request.instructions.clone(),
            prompt: request.prompt.clone(),
            in_band: self.capabilities(&request.settings).hand_over == HandOver::InBand,
            finished: false,
            unparsed: Unparsed::default(),
        })
    }
}

struct Conversing {
    instructions: String,
    prompt: String,
    in_band: bool,
    finished: bool,
    unparsed: Unparsed,
}

fn send(message: &ToAgent) -> Vec<Effect> {
    // These types cannot fail to become JSON.
    serde_json::to_string(message).map(Effect::Send).into_iter().collect()
}

impl Protocol for Conversing {
    fn started(&mut self) -> Vec<Effect> {
        Vec::new()
    }

    fn begin(&mut self) -> Vec<Effect> {
        send(&ToAgent::Begin {
            instructions: std::mem::take(&mut self.instructions),
            prompt: std::mem::take(&mut self.prompt),
        })
    }

    fn line(&mut self, line: &str) -> Vec<Effect> {
        let Ok(message) = serde_json::from_str::<FromAgent>(line) else { return self.unparsed.line(line) };
        if self.finished {
            return Vec::new();
        }
        let event = match message {
            FromAgent::Ready { model, version, window } => AgentEvent::Ready {
                model: Some(model),
                version: Some(version),
                window: Window::new(window),
                base_tokens: Some(0),
            },
            FromAgent::Call { id, usage, sub_agent } => {
                let mut effects = vec![Effect::Event(AgentEvent::Call { id, usage, last: true, sub_agent, window: None })];
                // The program waits for this, so whatever the call causes is done before it goes on.
                effects.extend(send(&ToAgent::Ack));
                return effects;
            }
            FromAgent::Grew { bytes } => AgentEvent::Grew { bytes },
            FromAgent::Tool { name, detail } => {
                AgentEvent::Tool { name, detail: crate::text::cut(&detail, crate::text::DETAIL_CHARS) }
            }
            FromAgent::Said { text } => AgentEvent::Said(text),
            FromAgent::Finished { finish } => {
                self.finished = true;
                return vec![Effect::Event(AgentEvent::Finished(finish)), Effect::CloseStdin];
            }
        };
        vec![Effect::Event(event)]
    }

    fn hand_over(&mut self, prompt: &str) -> Vec<Effect> {
        if self.in_band && !self.finished { send(&ToAgent::HandOver { prompt: prompt.to_owned() }) } else { Vec::new() }
    }

    fn interrupt(&mut self) -> Vec<Effect> {
        send(&ToAgent::Interrupt)
    }

    fn exited(&mut self, exit: Exit) -> Vec<Effect> {
        if std::mem::replace(&mut self.finished, true) {
            return Vec::new();
        }
        let message = format!("ended without a result ({exit})");
        vec![Effect::Event(AgentEvent::Finished(Finish::Failed { failure: Failure::Program, message }))]
    }
}
