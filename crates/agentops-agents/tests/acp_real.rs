//! The drivers `opencode` and `gemini` with the real programs and a scripted model on loopback, led there as through a
//! gateway. Runs only where `AGENTOPS_REAL_AGENTS` names a folder with `node_modules/.bin/opencode` and `…/gemini`;
//! elsewhere each test says that it was skipped.

#[expect(dead_code, reason = "shared with other tests")]
mod common;

use std::fs;
use std::path::{Path, PathBuf};

use agentops_agents::driver::{
    Access, AgentEvent, Credential, Exit, Failure, Finish, Route, SessionRequest, UsageReports, out_file,
};
use agentops_agents::registry::driver;
use agentops_core::ceiling::Window;
use agentops_safe::Secret;
use agentops_testkit::model::{Conversation, HttpError, ModelServer, Reaction, Script, ToolCall, Turn};
use common::{Seen, Then};

const VARIABLE: &str = "AGENTOPS_REAL_AGENTS";
/// What the tests' session says when it asks for the hand-over.
const HAND_OVER: &str = "Write your hand-over now.";
const TOKEN: &str = "lane-token";

/// A program with a model of one of the protocols that it speaks.
struct Case {
    driver: &'static str,
    model: &'static str,
    settings: &'static [(&'static str, &'static str)],
    /// The tools that write a file, run a command and read a file, and the argument with a path.
    write: &'static str,
    shell: &'static str,
    read: &'static str,
    path: &'static str,
}

const CUSTOM: &str = r#"{"npm": "@ai-sdk/openai-compatible", "name": "Scripted", "options": {"apiKey": "{env:X_KEY}"}}"#;

const OPENCODE: Case = Case {
    driver: "opencode",
    model: "anthropic/claude-haiku-4-5",
    settings: &[],
    write: "write",
    shell: "bash",
    read: "read",
    path: "filePath",
};

const CASES: &[Case] = &[
    OPENCODE,
    Case { model: "scripted/m1", settings: &[("provider", CUSTOM)], ..OPENCODE },
    Case { model: "google/gemini-2.5-pro", ..OPENCODE },
    Case {
        driver: "gemini",
        model: "gemini-2.5-pro",
        settings: &[("retries", "1")],
        write: "write_file",
        shell: "run_shell_command",
        read: "read_file",
        path: "file_path",
    },
];

struct Room {
    folder: tempfile::TempDir,
    program: PathBuf,
    server: ModelServer,
    case: &'static Case,
}

/// `None`, and a word about it, where there is no real program.
#[expect(clippy::print_stdout, reason = "a skipped test says so")]
fn room(case: &'static Case, script: Script) -> Option<Room> {
    let Some(agents) = std::env::var_os(VARIABLE).map(PathBuf::from) else {
        println!("skipped: {VARIABLE} is not set");
        return None;
    };
    let program = agents.join("node_modules/.bin").join(case.driver);
    assert!(program.exists(), "{VARIABLE} is set and {} does not exist", program.display());
    Some(Room { folder: tempfile::tempdir().unwrap(), program, server: ModelServer::start(script).unwrap(), case })
}

impl Room {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    #[expect(clippy::disallowed_methods, reason = "a lane is a work tree of git, and programs look for its root")]
    fn request(&self) -> SessionRequest {
        let mut request = common::request(self.folder.path(), self.case.settings);
        let git = std::process::Command::new("git").args(["init", "-q"]).arg(&request.work_tree).status().unwrap();
        assert!(git.success());
        request.settings.insert("program".to_owned(), self.program.to_str().unwrap().to_owned());
        request.model = Some(self.case.model.to_owned());
        request.window = Window::new(100_000);
        let base = format!("{}/lane/{TOKEN}", self.server.base_url());
        request.route = Some(Route { base, token: Secret::new(TOKEN), credential: Credential::Key });
        request
    }

    fn run(&self, request: &SessionRequest, then: impl FnMut(&AgentEvent) -> Then) -> Seen {
        let home = self.path("home");
        fs::create_dir_all(&home).unwrap();
        let home = home.to_str().unwrap();
        common::run_in(driver(self.case.driver).unwrap(), request, &[("HOME", home)], then)
    }

    fn read(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.path("work").join(name)).ok()
    }
}

fn script(turns: Vec<Turn>) -> Script {
    // Not the default: that one also answers a request for a title.
    Script::from_conversations(vec![Conversation { turns, ..Conversation::default() }])
}

fn shell(command: &str) -> Turn {
    Turn::call(vec![ToolCall::shell(command)])
}

fn write(path: &str) -> Turn {
    Turn::call(vec![ToolCall::write(path, "state\n")])
}

fn reads(case: &Case, path: &str) -> Turn {
    Turn::call(vec![ToolCall::Raw { name: case.read.into(), input: serde_json::json!({case.path: path}) }])
}

fn refused(seen: &Seen) -> usize {
    seen.events.iter().filter(|event| matches!(event, AgentEvent::Refused { .. })).count()
}

#[test]
fn a_task_is_done_in_one_session() {
    for case in CASES {
        let turns = vec![shell("echo one > one.txt; echo two"), write("two.txt"), Turn::text("Done.")];
        let Some(room) = room(case, script(turns)) else { return };
        let seen = room.run(&room.request(), |_| Then::GoOn);
        assert_eq!(seen.finish(), &Finish::Completed, "{seen:?}");
        assert_eq!(seen.ended.exit, Some(Exit::Code(0)), "{} ends with its stdin", case.driver);
        assert_eq!((room.read("one.txt").as_deref(), room.read("two.txt").as_deref()), (Some("one\n"), Some("state\n")));
        assert!(seen.events.contains(&AgentEvent::Said("Done.".to_owned())), "{seen:?}");
        let tools = seen.events.iter().filter(|event| matches!(event, AgentEvent::Tool { .. })).count();
        assert_eq!(tools, 2, "{seen:?}");
        let AgentEvent::Ready { model, version, .. } = &seen.events[0] else { panic!("{seen:?}") };
        assert_eq!(model.as_deref(), Some(case.model));
        assert!(version.is_some());
        let reports = driver(case.driver).unwrap().capabilities(&room.request().settings).usage;
        assert_eq!(seen.calls(), usize::from(reports == UsageReports::AtEnd), "{seen:?}");

        let requests = room.server.requests();
        assert_eq!(requests.len(), 3, "{}: no title, no router, no other call", case.model);
        let cap = Window::new(100_000).unwrap().output_cap();
        let paths: Vec<_> = requests.iter().map(|request| request.path.as_str()).collect();
        assert!(paths.iter().all(|path| path.starts_with("/lane/")), "{}: {paths:?}", case.model);
        let caps: Vec<_> = requests.iter().map(|request| request.max_tokens).collect();
        assert_eq!(caps, [Some(cap); 3], "{}", case.model);
    }
}

#[test]
fn it_hands_over_in_band_while_a_command_runs() {
    for case in CASES {
        let turns = vec![shell("sleep 60"), Turn::text("never")];
        let reaction = vec![write(".agentops-out/handover.md"), Turn::text("Over.")];
        let on = vec![Reaction { says: HAND_OVER.to_owned(), turns: reaction }];
        let script = Script::from_conversations(vec![Conversation { turns, on, ..Conversation::default() }]);
        let Some(room) = room(case, script) else { return };
        let mut asked = false;
        let seen = room.run(&room.request(), |event| {
            if matches!(event, AgentEvent::Tool { .. }) && !std::mem::replace(&mut asked, true) {
                return Then::HandOver;
            }
            Then::GoOn
        });
        assert_eq!(seen.finish(), &Finish::HandedOver, "{seen:?}");
        assert_eq!(room.read(".agentops-out/handover.md").as_deref(), Some("state\n"));
    }
}

#[test]
fn an_interrupt_is_no_completion() {
    for case in CASES {
        let Some(room) = room(case, script(vec![shell("sleep 60"), Turn::text("never")])) else { return };
        let then = |event: &AgentEvent| if matches!(event, AgentEvent::Tool { .. }) { Then::Interrupt } else { Then::GoOn };
        let seen = room.run(&room.request(), then);
        assert!(matches!(seen.finish(), Finish::Failed { failure: Failure::Program, .. }), "{seen:?}");
    }
}

#[test]
fn an_artifacts_session_writes_only_its_out_folder_and_runs_nothing() {
    for case in CASES {
        let turns = vec![
            write("in.md"),
            write("../up.md"),
            write(".agentops-out/../around.md"),
            Turn::call(vec![ToolCall::Raw {
                name: case.shell.into(),
                input: serde_json::json!({"command": "echo x > shell.md", "description": "x"}),
            }]),
            reads(case, "/etc/hostname"),
            write(".agentops-out/plan.md"),
            Turn::text("Done."),
        ];
        let Some(room) = room(case, script(turns)) else { return };
        let mut request = room.request();
        request.access = Access::Artifacts;
        let seen = room.run(&request, |_| Then::GoOn);
        assert_eq!(seen.finish(), &Finish::Completed, "{seen:?}");
        assert!(out_file(&request.work_tree, "plan.md").exists(), "{seen:?}");
        for name in ["work/in.md", "up.md", "work/around.md", "work/shell.md"] {
            assert!(!room.path(name).exists(), "{}: {name} was written: {seen:?}", case.driver);
        }
        assert!(refused(&seen) >= 3, "{}: what is refused is told: {seen:?}", case.driver);
        let offered =
            |name: &str| room.server.requests().iter().any(|request| request.tools.iter().any(|tool| tool == name));
        assert!(!offered(case.shell) && offered(case.write), "{}: what is not allowed is not offered", case.driver);
    }
}

#[test]
fn a_list_of_commands_is_kept_to() {
    for case in CASES {
        let turns =
            vec![shell("echo a > allowed.txt"), shell("echo yes"), shell("echo yes; echo b > b.txt"), Turn::text("Done.")];
        let Some(room) = room(case, script(turns)) else { return };
        let mut request = room.request();
        request.tools = Some(vec!["Bash(echo yes:*)".to_owned()]);
        let seen = room.run(&request, |_| Then::GoOn);
        assert_eq!(seen.finish(), &Finish::Completed, "{seen:?}");
        assert!(room.read("allowed.txt").is_none() && room.read("b.txt").is_none(), "{seen:?}");
        assert_eq!(refused(&seen), 2, "{seen:?}");
    }
}

fn put(path: PathBuf, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// A plugin of opencode's that leaves a file.
fn plugin(started: &Path) -> String {
    format!("require('fs').writeFileSync('{}', ''); export const P = async () => ({{}})", started.display())
}

/// The program would start it in spite of its switches; when this fails because it no longer does, our check can go.
#[test]
fn a_plugin_of_the_repository_is_found_before_the_program_is_started() {
    let Some(room) = room(&OPENCODE, script(vec![Turn::text("Done.")])) else { return };
    let mut request = room.request();
    let started = room.path("started");
    put(request.work_tree.join(".opencode/plugin/theirs.js"), &plugin(&started));
    let error = driver("opencode").unwrap().launch(&request).unwrap_err().to_string();
    assert!(error.contains(".opencode/plugin/theirs.js"), "{error}");
    request.settings.insert("plugins".to_owned(), "repository".to_owned());
    let seen = room.run(&request, |_| Then::GoOn);
    assert_eq!(seen.finish(), &Finish::Completed, "{seen:?}");
    assert!(started.exists());
}

/// Servers, hooks and plugins of the repository and of the person are not started; standing instructions are read.
#[test]
fn what_others_configure_is_not_started() {
    for case in CASES {
        let Some(room) = room(case, script(vec![Turn::text("Done.")])) else { return };
        let request = room.request();
        let started = room.path("started");
        let touch = format!("touch '{}'", started.display());
        let server = serde_json::json!({"command": ["/bin/sh", "-c", touch], "type": "local", "enabled": true});
        let opencode = serde_json::json!({"mcp": {"evil": server}}).to_string();
        let plugin =
            format!("require('fs').writeFileSync('{0}', ''); export const P = async () => ({{}})", started.display());
        let hook = serde_json::json!([{"hooks": [{"type": "command", "command": touch}]}]);
        let gemini = serde_json::json!({
            "mcpServers": {"evil": {"command": "/bin/sh", "args": ["-c", touch]}},
            "hooks": {"SessionStart": hook, "BeforeModel": hook},
        });
        for root in [request.work_tree.clone(), room.path("home")] {
            put(root.join("opencode.json"), &opencode);
            put(root.join(".opencode/opencode.json"), &opencode);
            put(root.join(".config/opencode/opencode.json"), &opencode);
            put(root.join(".config/opencode/plugin/evil.js"), &plugin);
            put(root.join(".gemini/settings.json"), &gemini.to_string());
        }
        put(room.path("home/.opencode/plugin/evil.js"), &plugin);
        put(request.work_tree.join("AGENTS.md"), "STANDING-MARK");
        let seen = room.run(&request, |_| Then::GoOn);
        assert_eq!(seen.finish(), &Finish::Completed, "{seen:?}");
        assert!(!started.exists(), "{} started what it found", case.driver);
        assert!(room.server.requests()[0].opening.contains("STANDING-MARK"), "{}", case.driver);
    }
}

#[test]
fn failures_have_their_class() {
    let cases = [
        (HttpError::prompt_too_long(210_000, 200_000), Failure::PromptTooLong),
        (HttpError::new(401, "Incorrect API key provided"), Failure::NotLoggedIn),
        (HttpError::new(400, "no such parameter"), Failure::Program),
    ];
    for case in CASES {
        for (error, wanted) in &cases {
            let Some(room) = room(case, script(vec![Turn::fail(error.clone())])) else { return };
            let seen = room.run(&room.request(), |_| Then::GoOn);
            assert!(
                matches!(seen.finish(), Finish::Failed { failure, .. } if failure == wanted),
                "{}: {error:?}: {:?}",
                case.model,
                seen.events
            );
        }
    }
}

#[test]
fn a_model_that_it_does_not_know_is_a_failure_and_no_other_model() {
    let Some(room) = room(&OPENCODE, script(vec![Turn::text("Done.")])) else { return };
    let mut request = room.request();
    request.model = Some("anthropic/no-such-model".to_owned());
    let seen = room.run(&request, |_| Then::GoOn);
    assert!(matches!(seen.finish(), Finish::Failed { .. }), "{seen:?}");
    assert_eq!(room.server.requests().len(), 0);
}

/// Here the program repeats a call five times in about a minute and says nothing meanwhile, which is too long for a test.
#[test]
fn an_overloaded_provider_is_told_apart() {
    let case = &CASES[3];
    for status in [429, 503] {
        let Some(room) = room(case, script(vec![Turn::fail(HttpError::new(status, "slow down"))])) else { return };
        let seen = room.run(&room.request(), |_| Then::GoOn);
        assert!(matches!(seen.finish(), Finish::Failed { failure: Failure::Provider, .. }), "{seen:?}");
    }
}
