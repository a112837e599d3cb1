//! What differs between agent programs, behind one trait with declared capabilities.
//!
//! A driver does no input or output while a session runs. It says how to start its program ([`Driver::launch`]) and gives a
//! [`Protocol`]: a small machine that gets the program's lines and returns what to write back and what happened. The keeper
//! owns the process and the pipes. So the same protocol runs against a live program, a recorded transcript or the simulator.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use agentops_core::ceiling::Window;
use agentops_core::usage::Usage;
use agentops_safe::Secret;
use serde::{Deserialize, Serialize};

use crate::environment::Environment;

/// When a program says what its calls used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UsageReports {
    /// With or right after every call, while the session runs.
    EveryCall,
    /// Only when the session has ended: too late to stop anything, so such a program may not run with a model.
    AtEnd,
    /// Never.
    Never,
    /// It calls no model.
    NoModel,
}

/// How a program can be asked to hand over without ending it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HandOver {
    /// In band: the same conversation writes its own hand-over.
    InBand,
    /// Never: the hand-over is mechanical.
    Mechanical,
}

/// What a driver can do. Declared, shown by `doctor` and `--dry-run`, and held to by the conformance suite.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// How and when usage is known.
    pub usage: UsageReports,
    /// How it hands over.
    pub hand_over: HandOver,
    /// It says its window before the first call.
    pub window_before_first_call: bool,
    /// It can be held to a list of tools.
    pub allow_list: bool,
    /// A turn can be interrupted while the program goes on living.
    pub interrupt: bool,
    /// Thinking + output of a call can be capped.
    pub output_cap: bool,
    /// The program could go on with an old conversation. Not used: a session is always a fresh context.
    pub resume: bool,
    /// The program asks us before and after it uses a tool, without a program of the user's in between.
    pub hooks: bool,
}

/// What kind of work a session does, as far as the program's permissions go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// May change files of the lane.
    Write,
    /// May read, and write only below `.agentops-out/`.
    Artifacts,
}

/// How a program's model calls can be led through our gateway, as its settings and the user's environment have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// Through the gateway, to this destination of the user's configuration.
    Gateway {
        /// Name of the destination: `anthropic`, `openai`, `google`, or one that the user configured.
        destination: String,
        /// Which credential the program shows.
        credential: Credential,
        /// The address that the user's own settings of this program name instead of the provider's official one, without a
        /// path of an endpoint. It counts in key mode only.
        base: Option<String>,
        /// The variable that holds the key at that address; `None`: the destination's own.
        key_env: Option<String>,
    },
    /// Not through the gateway; the reason, for a person (`Bedrock is configured …`).
    Direct(String),
    /// The program calls no model.
    NoModel,
}

/// With what a program proves itself to its provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Credential {
    /// A provider's key: the program gets the lane's token in its place, and the gateway attaches the key.
    Key,
    /// The program's own login: it passes the gateway unread, to the provider's official host only.
    Login,
}

/// Where a session's model calls go: the gateway on loopback.
#[derive(Debug, Clone)]
pub struct Route {
    /// `http://127.0.0.1:PORT/lane/TOKEN`, without a slash at the end. The program's client appends its own path.
    pub base: String,
    /// The lane's token, for the place where the program wants a key.
    pub token: Secret,
    /// What [`Driver::reach`] said.
    pub credential: Credential,
}

/// All that a driver needs to start a person's own interactive program.
pub struct Lead<'a> {
    /// Driver settings, checked by the driver.
    pub settings: &'a BTreeMap<String, String>,
    /// Where its model calls must go.
    pub route: &'a Route,
    /// A folder of this one start. Exists.
    pub scratch: &'a Path,
    /// What the person gives it.
    pub args: &'a [OsString],
    /// The environment that it will get.
    pub env: &'a Environment,
    /// The window that the person holds it to.
    pub window: Option<Window>,
    /// A file with one line that a program may show beside what it shows by itself.
    pub line: &'a Path,
}

/// How a person's own program is started.
#[derive(Debug, Clone, Default)]
pub struct Led {
    /// What to start; the person's arguments go behind its own.
    pub launch: Launch,
    /// It shows the line.
    pub shows_line: bool,
    /// What a person can do if no call comes through; `None`: nothing that the driver knows of.
    pub silent_hint: Option<String>,
}

impl From<Launch> for Led {
    fn from(launch: Launch) -> Self {
        Self { launch, ..Self::default() }
    }
}

/// All that a driver needs to start a session. No workflow words in it.
#[derive(Debug, Clone)]
pub struct SessionRequest {
    /// The lane's work tree: the program's working directory.
    pub work_tree: PathBuf,
    /// A folder of this session alone, outside the work tree, for the driver's own files. Exists.
    pub scratch: PathBuf,
    /// The agent's prompt: goes where the program keeps its standing instructions.
    pub instructions: String,
    /// The first user message: task, bundle, findings.
    pub prompt: String,
    /// The model as the program names it; `None`: the program's own default.
    pub model: Option<String>,
    /// The window of that model as the table or the agent file says; `None`: unknown so far.
    pub window: Option<Window>,
    /// Tools the agent file allows, in Claude Code's names; `None`: those that `access` allows.
    pub tools: Option<Vec<String>>,
    /// What the session may change.
    pub access: Access,
    /// Driver settings of the agent file (`program`, `args`, `script` …), checked by the driver.
    pub settings: BTreeMap<String, String>,
    /// Where the program's model calls must go; `None`: where the program sends them by itself.
    pub route: Option<Route>,
    /// The user's environment: programs, homes and folders are looked up in it.
    pub env: Environment,
}

/// A program to start: an argument vector, never a shell.
#[derive(Debug, Clone, Default)]
pub struct Launch {
    /// The program; absolute.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Variables set on top of the user's own environment.
    pub env: Vec<(OsString, OsString)>,
    /// Variables of the user's environment that the program must not see.
    pub env_remove: Vec<OsString>,
    /// Close the program's stdin once the first lines are written.
    pub close_stdin: bool,
}

/// Which program answers, found before anything is started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// Where it lies.
    pub program: PathBuf,
    /// The version it printed.
    pub version: String,
}

/// One end of a session as the program told it. A claim: the engine decides what it is worth.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Finish {
    /// The agent says that it is done.
    Completed,
    /// It wrote its hand-over when it was asked to.
    HandedOver,
    /// The program or its provider failed.
    Failed {
        /// What class of failure, for the decision to retry.
        failure: Failure,
        /// The program's own words, untrusted.
        message: String,
    },
}

/// Classes of failure that are treated differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Failure {
    /// No login, or a key that was refused: a person must act.
    NotLoggedIn,
    /// The provider is overloaded, limits the rate, or dropped the connection: try again later.
    Provider,
    /// The provider said that the prompt is too long.
    PromptTooLong,
    /// The program compacted its context although it was told not to: what it knew is lost.
    Compacted,
    /// The program ended without a result, or broke its own protocol.
    Program,
}

/// What happened in a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgentEvent {
    /// The program is up and knows its model. Sent before the first prompt where the program allows it.
    Ready {
        /// The model's id as the program names it.
        model: Option<String>,
        /// The program's version.
        version: Option<String>,
        /// The window it believes in.
        window: Option<Window>,
        /// Its own prompt and tools, in tokens.
        base_tokens: Option<u64>,
    },
    /// A model call began or ended. `usage` is `None` when the program said nothing: unknown, not zero. Where a call has
    /// only begun (`last` is false) unknown is no verdict yet; at its end it is.
    Call {
        /// Stable within the session; repeated reports of one call carry the same id, and the last one counts.
        id: String,
        /// What it used so far.
        usage: Option<Usage>,
        /// The call has ended; no more reports of it will come.
        last: bool,
        /// The call belongs to a sub-agent's conversation, not to the session's own.
        sub_agent: bool,
        /// The window the program names with this report.
        window: Option<Window>,
    },
    /// Text entered the conversation besides the first prompt: a tool's result or the model's output.
    Grew {
        /// Bytes of text.
        bytes: u64,
    },
    /// The agent said something.
    Said(String),
    /// A tool was used: its name and a short, untrusted description.
    Tool {
        /// Name of the tool.
        name: String,
        /// Path, command or the like; cut to 200 characters.
        detail: String,
    },
    /// A tool was refused by the allow-list or by policy.
    Refused {
        /// Name of the tool.
        name: String,
        /// Why.
        reason: String,
    },
    /// The program reported something that a person may want to see.
    Note(String),
    /// The session's work is over. Comes at most once; the process may still live.
    Finished(Finish),
}

/// What the engine must do for the protocol.
///
/// Effects are performed in their order, and what an event causes (a hand-over asked for, a session stopped) is done before
/// the next effect; once a session is stopped the rest is dropped. A program that waits for an answer to its report of a
/// call is so held at the very call that was one too many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Write this line (without its newline) to the program's stdin.
    Send(String),
    /// Close the program's stdin.
    CloseStdin,
    /// Something happened.
    Event(AgentEvent),
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Exit {
    /// By itself, with this code. A claim like any other: agents exit 0 after they were interrupted.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
        }
    }
}

/// The conversation with one running program: lines in, effects out. No clock, no disk.
pub trait Protocol: Send {
    /// The program was started: what to write first. A program that tells its window before its first call is only asked
    /// for it here; the prompt goes out with [`Protocol::begin`].
    fn started(&mut self) -> Vec<Effect>;
    /// The engine has checked window and base prompt: send the prompt.
    fn begin(&mut self) -> Vec<Effect>;
    /// A whole line from the program's stdout.
    fn line(&mut self, line: &str) -> Vec<Effect>;
    /// Ask for the hand-over in band, with these words. Nothing is returned when it cannot be asked for (a program without
    /// such a way, a session that is over): then the engine stops the session and hands over mechanically.
    fn hand_over(&mut self, prompt: &str) -> Vec<Effect>;
    /// Ask the program to stop what it does. The engine ends the process tree afterwards in any case.
    fn interrupt(&mut self) -> Vec<Effect>;
    /// The process has ended.
    fn exited(&mut self, exit: Exit) -> Vec<Effect>;
}

/// Why a program cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DriverError {
    /// No such driver.
    #[error("there is no driver `{given}`; there are {known}")]
    Unknown {
        /// What was asked for.
        given: String,
        /// What there is.
        known: String,
    },
    /// The agent program is not installed.
    #[error("the agent program `{program}` was not found")]
    Missing {
        /// Its name.
        program: String,
        /// How to get it.
        hint: String,
    },
    /// The program was found and did not answer as it should.
    #[error("`{program}` did not answer: {reason}")]
    Broken {
        /// Its path.
        program: PathBuf,
        /// What it did.
        reason: String,
    },
    /// The program cannot be started that way.
    #[error("driver `{driver}` cannot lead an interactive program through the gateway: {reason}")]
    NotLed {
        /// The driver.
        driver: &'static str,
        /// Why.
        reason: &'static str,
    },
    /// A setting of the agent file does not fit this driver.
    #[error("driver setting `{key}`: {reason}")]
    Setting {
        /// The key.
        key: String,
        /// What is wrong, and what is allowed.
        reason: String,
    },
    /// The program does not work below the system's temporary folder.
    #[error("{folder} lies in the system's temporary folder, where {driver} runs no commands")]
    TemporaryFolder {
        /// The driver.
        driver: &'static str,
        /// The state folder.
        folder: PathBuf,
    },
    /// A file of the driver's own could not be written.
    #[error("cannot prepare the session's folder {path}")]
    Scratch {
        /// The path.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
}

/// One kind of agent program.
pub trait Driver: Send + Sync {
    /// The driver's name as agent files spell it.
    fn name(&self) -> &'static str;
    /// What it can do.
    fn capabilities(&self, settings: &BTreeMap<String, String>) -> Capabilities;
    /// Finds the program on the PATH of this environment and asks for its version. Starts nothing else.
    fn probe(&self, settings: &BTreeMap<String, String>, env: &Environment) -> Result<Probe, DriverError>;
    /// How its model calls can be led through the gateway. `model` is what the agent file or the run asks for: with some
    /// programs it decides who the provider is. `env` reads the environment that the program will get.
    fn reach(&self, settings: &BTreeMap<String, String>, model: Option<&str>, env: &dyn Fn(&str) -> Option<String>)
    -> Reach;
    /// The model that a person's own arguments name, where it decides who the provider is.
    fn model_of_args(&self, _args: &[OsString]) -> Option<String> {
        None
    }
    /// A variable that names a provider's address to usual programs and that this one does not read, and what it reads instead.
    fn unread_address(&self) -> Option<(&'static str, &'static str)> {
        None
    }
    /// Whether sessions can work with their own folders below this one.
    ///
    /// # Errors
    /// They cannot.
    fn check_state_folder(&self, _folder: &Path, _env: &Environment) -> Result<(), DriverError> {
        Ok(())
    }
    /// Variables with a login of the user's that the program itself needs: its calls do not go through the gateway, or its login
    /// passes the gateway unread. One that ends with `*` stands for all that begin like it. All others that look like secrets are
    /// withheld from the program.
    fn login_variables(&self, _settings: &BTreeMap<String, String>, _reach: &Reach) -> Vec<String> {
        Vec::new()
    }
    /// How to start a session. May write files below `request.scratch`, nowhere else.
    fn launch(&self, request: &SessionRequest) -> Result<Launch, DriverError>;
    /// How a person's own interactive program is started behind the gateway: its arguments go before theirs. Nothing else
    /// about the program is changed.
    fn lead(&self, lead: &Lead<'_>) -> Result<Led, DriverError>;
    /// What the program's own settings add to the environment when a person starts it, as far as it decides where its calls
    /// go: later entries win.
    fn settings_env(&self, _env: &dyn Fn(&str) -> Option<String>) -> Vec<(String, String)> {
        Vec::new()
    }
    /// What a person types in the program to make room in a conversation that is at its ceiling.
    fn makes_room(&self) -> &'static str {
        "start a new conversation"
    }
    /// What a person types in the program where not even its own summary of the conversation fits below the ceiling.
    fn starts_over(&self) -> &'static str {
        "start a new conversation"
    }
    /// It repeats a call, or compacts, without end when it is told that its prompt is too long.
    fn loops_when_too_long(&self) -> bool {
        false
    }
    /// The conversation for that session.
    fn protocol(&self, request: &SessionRequest) -> Box<dyn Protocol>;
}

/// Where agents put what they hand on, below the lane's work tree. Git-excluded.
pub const OUT_DIR: &str = ".agentops-out";
/// The hand-over document below [`OUT_DIR`].
pub const HANDOVER_FILE: &str = "handover.md";

/// The path of a file below [`OUT_DIR`] of a work tree.
#[must_use]
pub fn out_file(work_tree: &Path, name: &str) -> PathBuf {
    work_tree.join(OUT_DIR).join(name)
}
