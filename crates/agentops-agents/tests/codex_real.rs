//! The driver `codex` with the real program and a scripted model on loopback. Runs only where `AGENTOPS_REAL_AGENTS` names
//! a folder with `node_modules/.bin/codex`; elsewhere each test says that it was skipped.

#[expect(dead_code, reason = "shared with other tests")]
mod common;

use std::fs;
use std::path::{Path, PathBuf};

use agentops_agents::codex::Codex;
use agentops_agents::driver::{
    Access, AgentEvent, Capabilities, Driver, DriverError, Exit, Failure, Finish, Launch, Lead, Led, Probe, Protocol, Reach,
    SessionRequest,
};
use agentops_agents::environment::Environment;
use agentops_core::usage::Usage;
use agentops_testkit::model::{HttpError, Lie, ModelServer, Script, ToolCall, Turn, TurnUsage};
use common::{Seen, Then};

const VARIABLE: &str = "AGENTOPS_REAL_AGENTS";
/// What the tests' session says when it asks for the hand-over.
const HAND_OVER: &str = "Write your hand-over now.";

/// The driver in a room of its own: the program must not find the home of whoever runs the tests.
struct InRoom(PathBuf);

impl Driver for InRoom {
    fn name(&self) -> &'static str {
        Codex.name()
    }

    fn capabilities(&self, settings: &std::collections::BTreeMap<String, String>) -> Capabilities {
        Codex.capabilities(settings)
    }

    fn probe(&self, settings: &std::collections::BTreeMap<String, String>, env: &Environment) -> Result<Probe, DriverError> {
        Codex.probe(settings, env)
    }

    fn reach(
        &self,
        settings: &std::collections::BTreeMap<String, String>,
        model: Option<&str>,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Reach {
        Codex.reach(settings, model, env)
    }

    fn lead(&self, lead: &Lead<'_>) -> Result<Led, DriverError> {
        Codex.lead(lead)
    }

    fn launch(&self, request: &SessionRequest) -> Result<Launch, DriverError> {
        let mut launch = Codex.launch(request)?;
        launch.env.push(("HOME".into(), self.0.clone().into()));
        Ok(launch)
    }

    fn protocol(&self, request: &SessionRequest) -> Box<dyn Protocol> {
        Codex.protocol(request)
    }
}

struct Room {
    folder: tempfile::TempDir,
    program: PathBuf,
    server: ModelServer,
}

/// `None`, and a word about it, where there is no real program.
#[expect(clippy::print_stdout, reason = "a skipped test says so")]
fn room(script: Script) -> Option<Room> {
    let Some(agents) = std::env::var_os(VARIABLE).map(PathBuf::from) else {
        println!("skipped: {VARIABLE} is not set");
        return None;
    };
    let program = agents.join("node_modules/.bin/codex");
    assert!(program.exists(), "{VARIABLE} is set and {} does not exist", program.display());
    // Not below the system's temporary folder: the program starts no commands from a home there.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    Some(Room { folder, program, server: ModelServer::start(script).unwrap() })
}

impl Room {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn request(&self) -> SessionRequest {
        let config = serde_json::json!({
            "model_providers.scripted": {"name": "scripted", "base_url": format!("{}/v1", self.server.base_url()),
                "wire_api": "responses", "request_max_retries": 1, "stream_max_retries": 1},
            "model_context_window": 100_000,
        });
        let mut request = common::request(self.folder.path(), &[("model_provider", "scripted")]);
        request.settings.insert("program".to_owned(), self.program.to_str().unwrap().to_owned());
        request.settings.insert("config".to_owned(), config.to_string());
        request.model = Some("gpt-scripted".to_owned());
        request
    }

    fn run(&self, request: &SessionRequest, then: impl FnMut(&AgentEvent) -> Then) -> Seen {
        let home = self.path("home");
        fs::create_dir_all(&home).unwrap();
        common::run(&InRoom(home), request, then)
    }

    fn read(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.path("work").join(name)).ok()
    }
}

fn shell(command: &str) -> Turn {
    Turn::call(vec![ToolCall::shell(command)])
}

fn on_hand_over(turns: Vec<Turn>, reaction: Vec<Turn>) -> Script {
    let mut script = Script::of(turns);
    let reaction = agentops_testkit::model::Reaction { says: HAND_OVER.to_owned(), turns: reaction };
    script.default.as_mut().unwrap().on.push(reaction);
    script
}

fn usages(seen: &Seen) -> Vec<Option<Usage>> {
    seen.events
        .iter()
        .filter_map(|event| if let AgentEvent::Call { usage, .. } = event { Some(*usage) } else { None })
        .collect()
}

fn is_tool(event: &AgentEvent) -> bool {
    matches!(event, AgentEvent::Tool { .. })
}

/// Hands over at the first event that fits.
fn hand_over_at(mut fits: impl FnMut(&AgentEvent) -> bool) -> impl FnMut(&AgentEvent) -> Then {
    let mut asked = false;
    move |event| {
        let now = !asked && fits(event);
        asked |= now;
        if now { Then::HandOver } else { Then::GoOn }
    }
}

fn write_out(name: &str) -> Turn {
    shell(&format!("mkdir -p .agentops-out && echo state > .agentops-out/{name}"))
}

#[test]
fn a_task_is_done_and_every_call_is_reported() {
    let turns = vec![shell("echo one > one.txt; echo two").using(11_000, 20), Turn::text("Done.").using(12_000, 30)];
    let Some(room) = room(Script::of(turns)) else { return };
    let request = room.request();
    let seen = room.run(&request, |_| Then::GoOn);
    assert_eq!(seen.finish(), &Finish::Completed);
    assert_eq!(seen.ended.exit, Some(Exit::Code(0)));
    assert_eq!(room.read("one.txt").as_deref(), Some("one\n"));
    let usage = |input, output| Some(Usage { input, output, ..Usage::default() });
    assert_eq!(usages(&seen), [usage(11_000, 20), usage(12_000, 30)]);
    assert!(seen.events.contains(&AgentEvent::Said("Done.".to_owned())));
    let window =
        |event: &AgentEvent| matches!(event, AgentEvent::Call { window: Some(window), .. } if window.tokens() == 95_000);
    assert!(seen.events.iter().any(window));
    assert!(matches!(&seen.events.iter().find(|event| matches!(event, AgentEvent::Ready { .. })).unwrap(),
        AgentEvent::Ready { model: Some(model), version: Some(_), .. } if model == "gpt-scripted"));
}

#[test]
fn it_hands_over_in_band_while_a_command_runs() {
    let script =
        on_hand_over(vec![shell("sleep 2"), Turn::text("never")], vec![write_out("handover.md"), Turn::text("Over.")]);
    let Some(room) = room(script) else { return };
    let seen = room.run(&room.request(), hand_over_at(is_tool));
    assert_eq!(seen.finish(), &Finish::HandedOver);
    assert_eq!(room.read(".agentops-out/handover.md").as_deref(), Some("state\n"));
    assert!(usages(&seen).iter().all(Option::is_some), "{:?}", seen.events);
    assert_eq!(seen.calls(), 3);
}

#[test]
fn it_hands_over_at_a_report_and_in_the_first_call() {
    let reaction = || vec![write_out("handover.md"), Turn::text("Over.")];
    let first = Turn { chunk_delay_ms: 300, ..Turn::text("a slow first answer that goes on and on") };
    for at_call in [true, false] {
        let script = on_hand_over(vec![first.clone(), Turn::text("never")], reaction());
        let Some(room) = room(script) else { return };
        // The program warns about the unknown model after it is ready and before its first answer.
        let mut ready = false;
        let fits = move |event: &AgentEvent| {
            ready |= matches!(event, AgentEvent::Ready { .. });
            match event {
                AgentEvent::Call { .. } => at_call,
                AgentEvent::Note(_) => ready && !at_call,
                _ => false,
            }
        };
        let seen = room.run(&room.request(), hand_over_at(fits));
        assert_eq!(seen.finish(), &Finish::HandedOver, "{:?}", seen.events);
        assert_eq!(room.read(".agentops-out/handover.md").as_deref(), Some("state\n"));
        assert!(usages(&seen).iter().all(Option::is_some), "{:?}", seen.events);
    }
}

#[test]
fn an_interrupt_ends_the_turn_and_a_hand_over_can_follow() {
    let script =
        on_hand_over(vec![shell("sleep 30"), Turn::text("never")], vec![write_out("handover.md"), Turn::text("Over.")]);
    let Some(room) = room(script) else { return };
    // Interrupted at the command; the program then reports the call that ordered it, and that is where the session asks.
    let mut tools = 0;
    let mut calls = 0;
    let seen = room.run(&room.request(), |event| {
        tools += usize::from(is_tool(event));
        calls += usize::from(matches!(event, AgentEvent::Call { .. }));
        match event {
            AgentEvent::Tool { .. } if tools == 1 => Then::Interrupt,
            AgentEvent::Call { .. } if calls == 1 => Then::HandOver,
            _ => Then::GoOn,
        }
    });
    assert_eq!(seen.finish(), &Finish::HandedOver, "{:?}", seen.events);
    assert!(usages(&seen).iter().all(Option::is_some), "{:?}", seen.events);
}

#[test]
fn an_artifacts_session_writes_only_its_out_folder() {
    let turns = vec![
        shell("echo x > in.md"),
        shell("echo x > ../up.md"),
        shell("echo x > /tmp/agentops-codex-real"),
        write_out("plan.md"),
        Turn::text("Done."),
    ];
    let Some(room) = room(Script::of(turns)) else { return };
    let mut request = room.request();
    request.access = Access::Artifacts;
    request.settings.insert("sandbox".to_owned(), "danger-full-access".to_owned());
    let seen = room.run(&request, |_| Then::GoOn);
    assert_eq!(seen.finish(), &Finish::Completed);
    assert_eq!(room.read(".agentops-out/plan.md").as_deref(), Some("state\n"));
    assert_eq!(room.read("in.md"), None);
    assert!(!room.path("up.md").exists() && !Path::new("/tmp/agentops-codex-real").exists());
}

/// Without our word against it the program trusts the work tree by itself, and starts this server.
#[test]
fn what_the_repository_configures_is_not_started() {
    let Some(room) = room(Script::of(vec![Turn::text("Done.")])) else { return };
    let request = room.request();
    let started = room.path("started");
    let config = format!(
        "[mcp_servers.evil]\ncommand = \"/bin/sh\"\nargs = [\"-c\", \"touch '{0}'\"]\n[features]\nhooks = true\n",
        started.display()
    );
    fs::create_dir_all(request.work_tree.join(".codex")).unwrap();
    fs::create_dir_all(request.work_tree.join(".git")).unwrap();
    fs::write(request.work_tree.join(".git/HEAD"), "ref: refs/heads/main\n").unwrap();
    fs::write(request.work_tree.join(".codex/config.toml"), config).unwrap();
    let seen = room.run(&request, |_| Then::GoOn);
    assert_eq!(seen.finish(), &Finish::Completed);
    assert!(!started.exists());
}

#[test]
fn a_call_without_usage_is_unknown_and_not_nothing() {
    for lie in [Lie::None, Lie::Zero] {
        for first in [false, true] {
            let liar = Turn { usage: Some(TurnUsage::Lie(lie)), ..shell("true") };
            let mut turns = vec![liar, Turn::text("Done.").using(12_000, 5)];
            if !first {
                turns.insert(0, shell("true").using(11_000, 5));
            }
            let Some(room) = room(Script::of(turns)) else { return };
            let seen = room.run(&room.request(), |_| Then::GoOn);
            assert!(usages(&seen).contains(&None), "{lie:?} {first}: {:?}", seen.events);
        }
    }
}

#[test]
fn a_dropped_stream_is_no_call_of_unknown_use() {
    let cut = Turn { cut_after_chunks: Some(2), ..Turn::text("many words that are cut off") };
    let Some(room) = room(Script::of(vec![shell("true").using(11_000, 5), cut])) else { return };
    let seen = room.run(&room.request(), |_| Then::GoOn);
    assert!(matches!(seen.finish(), Finish::Failed { failure: Failure::Provider, .. }), "{:?}", seen.events);
    assert!(!usages(&seen).contains(&None), "{:?}", seen.events);
}

#[test]
fn failures_have_their_class() {
    let cases = [
        (HttpError::prompt_too_long(210_000, 200_000), Failure::PromptTooLong),
        (HttpError::new(401, "Incorrect API key provided"), Failure::NotLoggedIn),
        (HttpError::new(429, "slow down"), Failure::Provider),
        (HttpError::new(503, "overloaded"), Failure::Provider),
        (HttpError::new(400, "no such parameter"), Failure::Program),
    ];
    for (error, wanted) in cases {
        let Some(room) = room(Script::of(vec![Turn::fail(error.clone())])) else { return };
        let seen = room.run(&room.request(), |_| Then::GoOn);
        assert!(
            matches!(seen.finish(), Finish::Failed { failure, .. } if *failure == wanted),
            "{error:?}: {:?}",
            seen.events
        );
        assert!(!usages(&seen).contains(&None), "{error:?}: {:?}", seen.events);
    }
}
