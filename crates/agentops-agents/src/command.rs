//! The driver `command`: any program that takes a prompt and does something, a linter as well as an agent we do not know.
//!
//! It speaks no protocol. What it writes is kept and shown, its exit code is its result, and it never hands over by itself.

use std::fs;
use std::path::{Path, PathBuf};

use crate::driver::{
    AgentEvent, Capabilities, Driver, DriverError, Effect, Exit, Failure, Finish, HandOver, Launch, Lead, Led, Probe,
    Protocol, Reach, SessionRequest, UsageReports,
};
use crate::environment::Environment;
use crate::settings::{Settings, check_keys, find_program, refuse, string_list, word};

const KEYS: &[&str] = &["program", "args", "prompt", "model"];
const PROMPT_WORDS: &[&str] = &["stdin", "file"];
const HINT: &str = "name an installed program in the agent file's setting `program`";
/// The argument that becomes the prompt file's path.
const PROMPT_FILE_ARGUMENT: &str = "{prompt_file}";
/// Where the program finds the prompt file's path, too.
const PROMPT_FILE_VARIABLE: &str = "AGENTOPS_PROMPT_FILE";
/// How much of the end of the program's output is shown.
const SAID_CHARS_MAX: usize = 4000;

/// The driver. Settings: `program` (a name on the PATH or an absolute path), `args` (a JSON array of strings), `prompt`
/// (`stdin`, or `file`: its path is in `AGENTOPS_PROMPT_FILE` and replaces an argument `{prompt_file}`), `model` (`none`: it
/// calls no model; a name or nothing: it may call one, and nobody knows what that uses).
#[derive(Debug)]
pub struct Command;

fn program(settings: &Settings, env: &Environment) -> Result<PathBuf, DriverError> {
    match settings.get("program") {
        Some(name) if !name.is_empty() => find_program(settings, env, name, HINT),
        _ => Err(refuse("program", "must be given: a name on the PATH or an absolute path")),
    }
}

fn in_file(settings: &Settings) -> bool {
    settings.get("prompt").is_some_and(|word| word == "file")
}

/// The program has no place of its own for standing instructions, so they go before the task.
fn whole_prompt(request: &SessionRequest) -> String {
    let parts = [request.instructions.trim_end(), request.prompt.trim_end()];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n\n")
}

fn write_prompt(path: &Path, prompt: &str) -> Result<(), DriverError> {
    fs::write(path, format!("{prompt}\n")).map_err(|source| DriverError::Scratch { path: path.to_owned(), source })
}

impl Driver for Command {
    fn name(&self) -> &'static str {
        "command"
    }

    fn capabilities(&self, settings: &Settings) -> Capabilities {
        let no_model = settings.get("model").is_some_and(|model| model == "none");
        Capabilities {
            usage: if no_model { UsageReports::NoModel } else { UsageReports::Never },
            hand_over: HandOver::Mechanical,
            window_before_first_call: false,
            allow_list: false,
            interrupt: false,
            output_cap: false,
            resume: false,
            hooks: false,
        }
    }

    /// Only looks whether the program is there: what an unknown program does when it is asked for its version is unknown.
    fn probe(&self, settings: &Settings, env: &Environment) -> Result<Probe, DriverError> {
        Ok(Probe { program: program(settings, env)?, version: "unknown".to_owned() })
    }

    fn reach(&self, settings: &Settings, _model: Option<&str>, _env: &dyn Fn(&str) -> Option<String>) -> Reach {
        if settings.get("model").is_some_and(|model| model == "none") {
            return Reach::NoModel;
        }
        Reach::Direct("nothing is known of how this program reaches a model".into())
    }

    fn launch(&self, request: &SessionRequest) -> Result<Launch, DriverError> {
        let settings = &request.settings;
        check_keys(settings, KEYS)?;
        word(settings, "prompt", PROMPT_WORDS)?;
        let (program, mut args) = (program(settings, &request.env)?, string_list(settings, "args")?);
        let mut env = Vec::new();
        if in_file(settings) {
            let path = request.scratch.join("prompt.md");
            write_prompt(&path, &whole_prompt(request))?;
            for arg in args.iter_mut().filter(|arg| *arg == PROMPT_FILE_ARGUMENT) {
                *arg = path.to_str().ok_or_else(|| refuse("args", "the session's folder is not UTF-8"))?.to_owned();
            }
            env.push((PROMPT_FILE_VARIABLE.into(), path.into()));
        }
        Ok(Launch { program, args: args.into_iter().map(Into::into).collect(), env, ..Launch::default() })
    }

    fn lead(&self, _lead: &Lead<'_>) -> Result<Led, DriverError> {
        Err(DriverError::NotLed { driver: "command", reason: "nothing is known of how this program reaches a model" })
    }

    fn protocol(&self, request: &SessionRequest) -> Box<dyn Protocol> {
        let prompt = (!in_file(&request.settings)).then(|| whole_prompt(request));
        Box::new(Running { prompt, said: Tail::default(), finished: false })
    }
}

/// The end of a text of any length.
#[derive(Debug, Default)]
struct Tail {
    text: String,
}

impl Tail {
    fn push(&mut self, line: &str) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        self.text.push_str(line);
        // A character takes at most four bytes: what is kept in between stays bounded, and cutting stays rare.
        if self.text.len() > SAID_CHARS_MAX * 8 {
            self.cut();
        }
    }

    fn cut(&mut self) {
        if let Some((start, _)) = self.text.char_indices().nth_back(SAID_CHARS_MAX - 1) {
            self.text.drain(..start);
        }
    }

    fn take(&mut self) -> String {
        self.cut();
        std::mem::take(&mut self.text)
    }
}

struct Running {
    /// `None` when it is in a file.
    prompt: Option<String>,
    said: Tail,
    finished: bool,
}

impl Protocol for Running {
    fn started(&mut self) -> Vec<Effect> {
        vec![Effect::Event(AgentEvent::Ready { model: None, version: None, window: None, base_tokens: None })]
    }

    fn begin(&mut self) -> Vec<Effect> {
        let prompt = self.prompt.take();
        let lines = prompt.iter().flat_map(|prompt| prompt.lines()).map(|line| Effect::Send(line.to_owned()));
        lines.chain([Effect::CloseStdin]).collect()
    }

    fn line(&mut self, line: &str) -> Vec<Effect> {
        if !line.trim().is_empty() {
            self.said.push(line.trim_end());
        }
        Vec::new()
    }

    fn hand_over(&mut self, _prompt: &str) -> Vec<Effect> {
        Vec::new()
    }

    fn interrupt(&mut self) -> Vec<Effect> {
        Vec::new()
    }

    fn exited(&mut self, exit: Exit) -> Vec<Effect> {
        if std::mem::replace(&mut self.finished, true) {
            return Vec::new();
        }
        let said = self.said.take();
        let finish = match exit {
            Exit::Code(0) => Finish::Completed,
            _ => Finish::Failed { failure: Failure::Program, message: format!("ended with {exit}") },
        };
        let said = (!said.is_empty()).then_some(AgentEvent::Said(said));
        said.into_iter().chain([AgentEvent::Finished(finish)]).map(Effect::Event).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::Access;

    fn request(scratch: &Path, settings: &[(&str, &str)]) -> SessionRequest {
        SessionRequest {
            work_tree: scratch.to_owned(),
            scratch: scratch.to_owned(),
            instructions: "You lint.\n".to_owned(),
            prompt: "Lint this:\n\n- a".to_owned(),
            model: None,
            window: None,
            tools: None,
            access: Access::Write,
            settings: settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            route: None,
            env: std::env::vars_os().collect(),
        }
    }

    fn launch_error(settings: &[(&str, &str)]) -> String {
        let room = tempfile::tempdir().unwrap();
        Command.launch(&request(room.path(), settings)).unwrap_err().to_string()
    }

    #[test]
    fn a_wrong_setting_is_refused_with_what_is_allowed() {
        let unknown = launch_error(&[("program", "sh"), ("shell", "yes")]);
        assert_eq!(unknown, "driver setting `shell`: unknown; there are program, args, prompt, model");
        assert!(launch_error(&[]).contains("must be given"));
        assert!(launch_error(&[("program", "tools/lint")]).contains("absolute path"), "not from the repository");
        assert!(launch_error(&[("program", "sh"), ("args", "-c true")]).contains("JSON array"));
        assert!(launch_error(&[("program", "sh"), ("args", "[1]")]).contains("JSON array"));
        assert!(launch_error(&[("program", "sh"), ("prompt", "argv")]).contains("stdin, file"));
        assert!(matches!(
            Command.probe(&Settings::from([("program".into(), "/no/such".into())]), &Environment::default()).unwrap_err(),
            DriverError::Missing { .. }
        ));
    }

    #[test]
    fn the_prompt_goes_to_stdin_line_by_line() {
        let room = tempfile::tempdir().unwrap();
        let request = request(room.path(), &[("program", "sh"), ("args", r#"["-c","cat"]"#)]);
        let launch = Command.launch(&request).unwrap();
        assert_eq!(launch.args, ["-c", "cat"]);
        assert_eq!(launch.env, []);
        let send = |line: &str| Effect::Send(line.to_owned());
        let wanted = [send("You lint."), send(""), send("Lint this:"), send(""), send("- a"), Effect::CloseStdin];
        assert_eq!(Command.protocol(&request).begin(), wanted);
    }

    #[test]
    fn the_prompt_can_be_a_file() {
        let room = tempfile::tempdir().unwrap();
        let settings = [("program", "sh"), ("prompt", "file"), ("args", r#"["--task","{prompt_file}","x{prompt_file}"]"#)];
        let request = request(room.path(), &settings);
        let launch = Command.launch(&request).unwrap();
        let path = room.path().join("prompt.md");
        assert_eq!(fs::read_to_string(&path).unwrap(), "You lint.\n\nLint this:\n\n- a\n");
        assert_eq!(launch.args, ["--task".into(), path.clone().into_os_string(), "x{prompt_file}".into()]);
        assert_eq!(launch.env, [("AGENTOPS_PROMPT_FILE".into(), path.into_os_string())]);
        assert_eq!(Command.protocol(&request).begin(), [Effect::CloseStdin]);
    }

    #[test]
    fn only_a_program_that_says_so_calls_no_model() {
        let usage = |pairs: &[(&str, &str)]| {
            Command.capabilities(&pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()).usage
        };
        assert_eq!(usage(&[("model", "none")]), UsageReports::NoModel);
        assert_eq!(usage(&[("model", "gpt-5")]), UsageReports::Never);
        assert_eq!(usage(&[]), UsageReports::Never);
    }

    #[test]
    fn the_exit_code_is_the_result_and_the_end_of_the_output_is_shown() {
        let room = tempfile::tempdir().unwrap();
        let request = request(room.path(), &[("program", "sh")]);
        let mut protocol = Command.protocol(&request);
        assert!(matches!(protocol.started()[..], [Effect::Event(AgentEvent::Ready { model: None, .. })]));
        for n in 0..20_000 {
            assert_eq!(protocol.line(&format!("ä{n}")), []);
        }
        assert_eq!(protocol.line("  "), []);
        let effects = protocol.exited(Exit::Code(3));
        let [Effect::Event(AgentEvent::Said(said)), Effect::Event(AgentEvent::Finished(finish))] = &effects[..] else {
            panic!("{effects:?}")
        };
        assert_eq!(said.chars().count(), SAID_CHARS_MAX);
        assert!(said.ends_with("ä19998\nä19999"));
        let message = "ended with exit code 3".to_owned();
        assert_eq!(*finish, Finish::Failed { failure: Failure::Program, message });
        assert_eq!(protocol.exited(Exit::Code(0)), [], "a session ends once");

        let mut silent = Command.protocol(&request);
        assert_eq!(silent.exited(Exit::Code(0)), [Effect::Event(AgentEvent::Finished(Finish::Completed))]);
        let mut killed = Command.protocol(&request);
        assert!(matches!(&killed.exited(Exit::Signal(9))[..],
            [Effect::Event(AgentEvent::Finished(Finish::Failed { message, .. }))] if message == "ended with signal 9"));
    }
}
