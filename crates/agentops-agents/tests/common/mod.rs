//! A session as the engine drives it, small enough for tests: effects in order, consequences of an event first.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use agentops_agents::driver::{Access, AgentEvent, Driver, Effect, Exit, Finish, Protocol, SessionRequest};
use agentops_agents::keeper::{Ended, FromKeeper, Keeper, KeeperHandle, KeeperSpec, StdinKind};

pub const FIXTURE: &str = env!("CARGO_BIN_EXE_agents-fixture");
const PATIENCE: Duration = Duration::from_secs(30);

pub fn request(room: &Path, settings: &[(&str, &str)]) -> SessionRequest {
    let (work_tree, scratch) = (room.join("work"), room.join("scratch"));
    for folder in [&work_tree, &scratch] {
        std::fs::create_dir_all(folder).unwrap();
    }
    SessionRequest {
        work_tree,
        scratch,
        instructions: "You are the researcher.".to_owned(),
        prompt: "Find the export command.".to_owned(),
        model: None,
        window: None,
        tools: None,
        access: Access::Write,
        settings: settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect::<BTreeMap<_, _>>(),
        route: None,
        env: std::env::vars_os().collect(),
    }
}

/// What to do when an event comes.
#[derive(Debug, PartialEq, Eq)]
pub enum Then {
    GoOn,
    HandOver,
    Interrupt,
    Stop,
}

/// What was seen of a session.
#[derive(Debug)]
pub struct Seen {
    pub events: Vec<AgentEvent>,
    pub ended: Ended,
}

impl Seen {
    pub fn finish(&self) -> &Finish {
        let mut all =
            self.events.iter().filter_map(|e| if let AgentEvent::Finished(finish) = e { Some(finish) } else { None });
        let first = all.next().unwrap_or_else(|| panic!("no end: {self:?}"));
        assert_eq!(all.next(), None, "one session ends once");
        first
    }

    pub fn calls(&self) -> usize {
        self.events.iter().filter(|event| matches!(event, AgentEvent::Call { .. })).count()
    }
}

pub struct Session {
    handle: KeeperHandle,
    messages: Receiver<FromKeeper>,
    protocol: Box<dyn Protocol>,
    events: Vec<AgentEvent>,
    stopped: bool,
}

/// Runs a session to its end.
pub fn run(driver: &dyn Driver, request: &SessionRequest, then: impl FnMut(&AgentEvent) -> Then) -> Seen {
    run_in(driver, request, &[], then)
}

/// Runs a session to its end, with these variables besides `PATH`.
pub fn run_in(
    driver: &dyn Driver,
    request: &SessionRequest,
    user_env: &[(&str, &str)],
    then: impl FnMut(&AgentEvent) -> Then,
) -> Seen {
    let launch = driver.launch(request).unwrap();
    let mut env: Vec<_> = vec![("PATH".into(), std::env::var_os("PATH").unwrap())];
    env.extend(user_env.iter().map(|(key, value)| (key.into(), value.into())));
    env.extend(launch.env);
    let spec = KeeperSpec {
        program: launch.program.into(),
        args: launch.args,
        env,
        cwd: request.work_tree.clone().into(),
        mark: "scripted-test".to_owned(),
        line_bytes_max: 1 << 20,
        output_bytes_max: 16 << 20,
        silence_ms: 20_000,
        time_limit_ms: 0,
        grace_ms: 300,
        stdin: StdinKind::Open,
        locks: Vec::new(),
    };
    let (send, messages) = channel();
    let handle = Keeper::spawn(Path::new(FIXTURE), &spec, move |message| drop(send.send(message))).unwrap();
    let protocol = driver.protocol(request);
    let mut session = Session { handle, messages, protocol, events: Vec::new(), stopped: false };
    let ended = session.drive(then, launch.close_stdin);
    Seen { events: session.events, ended }
}

impl Session {
    fn drive(&mut self, mut then: impl FnMut(&AgentEvent) -> Then, close_stdin: bool) -> Ended {
        loop {
            match self.messages.recv_timeout(PATIENCE).expect("the session goes on") {
                FromKeeper::Started { .. } => {
                    let effects = self.protocol.started();
                    self.perform(effects, &mut then);
                    if close_stdin {
                        self.handle.close_stdin().unwrap();
                    }
                }
                FromKeeper::Out { line } => {
                    let effects = self.protocol.line(&line);
                    self.perform(effects, &mut then);
                }
                FromKeeper::Ended(ended) => {
                    let effects = self.protocol.exited(ended.exit.unwrap_or(Exit::Signal(9)));
                    self.perform(effects, &mut then);
                    return ended;
                }
                FromKeeper::Err { .. } | FromKeeper::OutputFull => {}
                other => panic!("{other:?}"),
            }
        }
    }

    fn perform(&mut self, effects: Vec<Effect>, then: &mut impl FnMut(&AgentEvent) -> Then) {
        let mut queue = VecDeque::from(effects);
        while let Some(effect) = queue.pop_front() {
            // After a stop nothing is sent any more; how it ended is still heard.
            if self.stopped && !matches!(effect, Effect::Event(_)) {
                continue;
            }
            match effect {
                Effect::Send(line) => drop(self.handle.send_line(&line)),
                Effect::CloseStdin => drop(self.handle.close_stdin()),
                Effect::Event(event) => {
                    let mut caused = match then(&event) {
                        Then::GoOn if matches!(event, AgentEvent::Ready { .. }) => self.protocol.begin(),
                        Then::GoOn => Vec::new(),
                        Then::HandOver => self.protocol.hand_over("Write your hand-over now."),
                        Then::Interrupt => self.protocol.interrupt(),
                        Then::Stop => {
                            self.stopped = true;
                            self.handle.stop(false).unwrap();
                            Vec::new()
                        }
                    };
                    self.events.push(event);
                    caused.extend(queue);
                    queue = caused.into();
                }
            }
        }
    }
}
