//! The driver `claude`: Claude Code, JSON lines both ways, with its control protocol.
//!
//! The user's login is used as it is. Personal and project settings, hooks, plugins and MCP servers are off; what the
//! session may do is the program's own allow-list, and a request outside it is refused by the program without asking.

mod lead;
mod protocol;
mod tools;
mod wire;

use agentops_core::ceiling::Window;

use crate::driver::{
    Capabilities, Credential, Driver, DriverError, HandOver, Launch, Lead, Led, Probe, Protocol, Reach, Route,
    SessionRequest, UsageReports,
};
use crate::environment::Environment;
use crate::settings::{Settings, ask_version, check_keys, find_program, number, refuse};

const HINT: &str = "npm install -g @anthropic-ai/claude-code";
/// Variables by which the program calls another cloud than its vendor's.
const ELSEWHERE: &[(&str, &str)] = &[
    ("CLAUDE_CODE_USE_BEDROCK", "Amazon Bedrock"),
    ("CLAUDE_CODE_USE_VERTEX", "Google Vertex AI"),
    ("CLAUDE_CODE_USE_FOUNDRY", "Azure AI Foundry"),
];
/// What Linux takes as one argument, less some room.
const ARGUMENT_BYTES_MAX: usize = 120 << 10;

/// The driver. Settings: `program` (default: `claude` on the PATH), `retries` (how often the program repeats a call that
/// the provider refused).
#[derive(Debug)]
pub struct Claude;

/// Set when we ourselves run inside the program: a session of ours is nobody's child session.
const NESTED: &[&str] = &["CLAUDECODE", "CLAUDE_CODE_ENTRYPOINT", "CLAUDE_CODE_SSE_PORT"];

fn lead_through(route: &Route, launch: &mut Launch) {
    launch.env.push(("ANTHROPIC_BASE_URL".into(), route.base.clone().into()));
    if route.credential == Credential::Key {
        launch.env.push(("ANTHROPIC_API_KEY".into(), route.token.expose().into()));
        launch.env_remove.push("ANTHROPIC_AUTH_TOKEN".into());
    }
}

/// Thinking and output of a call together stay within the output cap of the window: the program's output limit holds
/// both, and thinking may take at most half of it.
fn output_limits(window: Window) -> (u64, u64) {
    let cap = window.output_cap();
    // The provider refuses a thinking budget below 1024.
    let thinking = if cap / 2 >= 1024 { cap / 2 } else { 0 };
    (cap, thinking)
}

impl Driver for Claude {
    fn name(&self) -> &'static str {
        "claude"
    }

    fn capabilities(&self, _settings: &Settings) -> Capabilities {
        Capabilities {
            usage: UsageReports::EveryCall,
            hand_over: HandOver::InBand,
            window_before_first_call: true,
            allow_list: true,
            interrupt: true,
            output_cap: true,
            resume: true,
            hooks: true,
        }
    }

    fn probe(&self, settings: &Settings, env: &Environment) -> Result<Probe, DriverError> {
        let program = find_program(settings, env, "claude", HINT)?;
        let version = ask_version(&program, env)?;
        Ok(Probe { program, version })
    }

    fn reach(&self, _settings: &Settings, _model: Option<&str>, env: &dyn Fn(&str) -> Option<String>) -> Reach {
        let set = |name: &str| env(name).filter(|value| !value.is_empty());
        for (name, provider) in ELSEWHERE {
            if set(name).is_some_and(|value| value != "0" && value != "false") {
                return Reach::Direct(format!("{name} sends calls to {provider}, which the gateway does not speak"));
            }
        }
        // A key comes before a login in the program's own order; a token for another server counts as a key.
        let key = ["ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"].into_iter().find(|name| set(name).is_some());
        Reach::Gateway {
            destination: "anthropic".into(),
            credential: if key.is_some() { Credential::Key } else { Credential::Login },
            base: set("ANTHROPIC_BASE_URL"),
            key_env: key.map(str::to_owned),
        }
    }

    fn login_variables(&self, _settings: &Settings, reach: &Reach) -> Vec<String> {
        let names: &[&str] = match reach {
            Reach::Gateway { credential: Credential::Login, .. } => &["CLAUDE_CODE_OAUTH_TOKEN"],
            Reach::Direct(_) => &["ANTHROPIC_*", "AWS_*", "AZURE_*", "CLOUDSDK_*", "GOOGLE_*"],
            _ => &[],
        };
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn launch(&self, request: &SessionRequest) -> Result<Launch, DriverError> {
        let settings = &request.settings;
        check_keys(settings, &["program", "retries"])?;
        let retries = number(settings, "retries")?;
        if request.instructions.len() > ARGUMENT_BYTES_MAX {
            return Err(refuse("instructions", format!("the agent's prompt is longer than {ARGUMENT_BYTES_MAX} bytes")));
        }
        let program = find_program(settings, &request.env, "claude", HINT)?;
        let tools = tools::tools(request.tools.as_deref(), request.access);

        let mut args: Vec<String> = Vec::new();
        let mut put = |words: &[&str]| args.extend(words.iter().map(|word| (*word).to_owned()));
        put(&["-p", "--verbose", "--output-format", "stream-json", "--input-format", "stream-json"]);
        put(&["--include-partial-messages", "--no-session-persistence"]);
        // What is not allowed is refused; nobody is asked.
        put(&["--permission-mode", "dontAsk", "--tools", &tools.known.join(","), "--allowedTools"]);
        put(&tools.allowed.iter().map(String::as_str).collect::<Vec<_>>());
        put(&["--setting-sources", "", "--strict-mcp-config", "--settings", r#"{"autoCompactEnabled":false}"#]);
        if let Some(model) = &request.model {
            put(&["--model", model]);
        }
        if !request.instructions.is_empty() {
            put(&["--append-system-prompt", &request.instructions]);
        }

        let window = request.window.or_else(|| Window::new(200_000));
        let mut env = vec![
            ("DISABLE_AUTO_COMPACT", "1".to_owned()),
            ("DISABLE_COMPACT", "1".to_owned()),
            ("DISABLE_AUTOUPDATER", "1".to_owned()),
            ("DISABLE_TELEMETRY", "1".to_owned()),
            ("DISABLE_ERROR_REPORTING", "1".to_owned()),
            ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1".to_owned()),
            // Its own notes about the project would reach later sessions beside our memory.
            ("CLAUDE_CODE_DISABLE_AUTO_MEMORY", "1".to_owned()),
        ];
        if let Some((output, thinking)) = window.map(output_limits) {
            env.push(("CLAUDE_CODE_MAX_OUTPUT_TOKENS", output.to_string()));
            env.push(("MAX_THINKING_TOKENS", thinking.to_string()));
        }
        if let Some(retries) = retries {
            env.push(("CLAUDE_CODE_MAX_RETRIES", retries.to_string()));
        }
        let mut launch = Launch {
            program,
            args: args.into_iter().map(Into::into).collect(),
            env: env.into_iter().map(|(key, value)| (key.into(), value.into())).collect(),
            env_remove: NESTED.iter().map(Into::into).collect(),
            close_stdin: false,
        };
        if let Some(route) = &request.route {
            lead_through(route, &mut launch);
        }
        Ok(launch)
    }

    fn lead(&self, lead: &Lead<'_>) -> Result<Led, DriverError> {
        let mut launch = Launch {
            program: find_program(lead.settings, lead.env, "claude", HINT)?,
            env_remove: NESTED.iter().map(Into::into).collect(),
            ..Launch::default()
        };
        let shows_line = lead::lead(lead, &mut launch)?;
        Ok(Led { launch, shows_line, silent_hint: None })
    }

    fn settings_env(&self, env: &dyn Fn(&str) -> Option<String>) -> Vec<(String, String)> {
        lead::settings_env(env)
    }

    fn makes_room(&self) -> &'static str {
        "type /compact or /clear"
    }

    fn starts_over(&self) -> &'static str {
        "type /clear: the conversation is too long to be summarised"
    }

    fn protocol(&self, request: &SessionRequest) -> Box<dyn Protocol> {
        Box::new(protocol::Conversation::new(request.prompt.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinking_is_part_of_the_output_cap() {
        assert_eq!(output_limits(Window::new(200_000).unwrap()), (16_000, 8_000));
        assert_eq!(output_limits(Window::new(10_000).unwrap()), (800, 0), "too small a budget is none");
    }
}
