//! The scripted agent itself: a deterministic agent program for tests and the demo, which can also misbehave.

use std::fs;
use std::io::{self, BufRead, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::Duration;

use agentops_core::usage::Usage;

use super::script::{Conversation, Script, Step};
use super::wire::{FromAgent, ToAgent};
use crate::driver::{Failure, Finish, HANDOVER_FILE, OUT_DIR};

/// The hidden subcommand that makes a program the scripted agent: its first argument.
pub const SUBCOMMAND: &str = "scripted-agent";
/// First argument after the subcommand: start a process that nobody is the parent of.
const AWAY: &str = "--away";
const AWAY_CHILD: &str = "--away-child";

/// The scripted agent: `scripted-agent <script file> <window>`. To be called from `main` when the first argument is
/// [`SUBCOMMAND`].
#[must_use]
pub fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(2).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let outcome = match *args.as_slice() {
        [AWAY, seconds] => start_self(&[AWAY_CHILD, seconds]).map(|_| ExitCode::SUCCESS),
        [AWAY_CHILD, seconds] => be_away(seconds),
        [script, window] => run(Path::new(script), window),
        _ => Err(io::Error::other("usage: scripted-agent <script file> <window>")),
    };
    outcome.unwrap_or_else(|error| {
        // Its stderr is relayed by the keeper; there is nobody else to tell.
        let _ = writeln!(io::stderr(), "scripted agent: {error}");
        ExitCode::FAILURE
    })
}

/// `Break`: the process ends with this code.
type Flow = ControlFlow<ExitCode>;

struct Player {
    incoming: Receiver<ToAgent>,
    /// The request to hand over has come and was not followed yet.
    asked: bool,
    /// What is played is the answer to that request.
    handing_over: bool,
    calls: u32,
}

fn run(script: &Path, window: &str) -> io::Result<ExitCode> {
    let script: Script = serde_json::from_slice(&fs::read(script)?)?;
    let window = window.parse().map_err(io::Error::other)?;
    let (send, incoming) = channel();
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            let Ok(message) = serde_json::from_str(&line) else { return };
            if send.send(message).is_err() {
                return;
            }
        }
    });
    let mut player = Player { incoming, asked: false, handing_over: false, calls: 0 };
    tell(&FromAgent::Ready { model: "scripted".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned(), window })?;
    let Ok(ToAgent::Begin { instructions, prompt }) = player.incoming.recv() else { return Ok(ExitCode::SUCCESS) };
    let flow = match script.conversation(&instructions, &prompt) {
        Some(conversation) => player.play(conversation)?,
        None => player.finish(Finish::Failed {
            failure: Failure::Program,
            message: "the script has no conversation for this session".to_owned(),
        })?,
    };
    Ok(flow.break_value().unwrap_or(ExitCode::SUCCESS))
}

impl Player {
    fn play(&mut self, conversation: &Conversation) -> io::Result<Flow> {
        for step in &conversation.steps {
            if let flow @ ControlFlow::Break(_) = self.look(conversation)? {
                return Ok(flow);
            }
            if let flow @ ControlFlow::Break(_) = self.step(step, conversation)? {
                return Ok(flow);
            }
        }
        match self.look(conversation)? {
            ControlFlow::Continue(()) => self.finish(Finish::Completed),
            flow => Ok(flow),
        }
    }

    /// Takes what has come; follows a request to hand over.
    fn look(&mut self, conversation: &Conversation) -> io::Result<Flow> {
        loop {
            match self.incoming.try_recv() {
                Ok(message) => {
                    if let flow @ ControlFlow::Break(_) = self.take(&message) {
                        return Ok(flow);
                    }
                }
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return Ok(ControlFlow::Break(ExitCode::SUCCESS)),
            }
        }
        if self.asked && !self.handing_over { self.hand_over(conversation) } else { Ok(ControlFlow::Continue(())) }
    }

    fn take(&mut self, message: &ToAgent) -> Flow {
        match message {
            ToAgent::HandOver { .. } => self.asked = true,
            // As real agents do: no result, and a code that says success.
            ToAgent::Interrupt => return ControlFlow::Break(ExitCode::SUCCESS),
            ToAgent::Ack | ToAgent::Begin { .. } => {}
        }
        ControlFlow::Continue(())
    }

    fn hand_over(&mut self, conversation: &Conversation) -> io::Result<Flow> {
        self.handing_over = true;
        match &conversation.on_hand_over {
            Some(steps) => {
                for step in steps {
                    if let flow @ ControlFlow::Break(_) = self.step(step, conversation)? {
                        return Ok(flow);
                    }
                }
            }
            None => {
                let content = "# Hand-over\n\nDone: the steps so far.\nLeft: the remaining steps.\n".to_owned();
                write(&format!("{OUT_DIR}/{HANDOVER_FILE}"), &content, false)?;
            }
        }
        self.finish(Finish::HandedOver)
    }

    /// Says the result and waits until it is let go.
    fn finish(&mut self, finish: Finish) -> io::Result<Flow> {
        tell(&FromAgent::Finished { finish })?;
        while self.incoming.recv().is_ok() {}
        Ok(ControlFlow::Break(ExitCode::SUCCESS))
    }

    /// Reports a call and waits until it was counted.
    fn call(&mut self, usage: Option<Usage>, sub_agent: bool) -> io::Result<Flow> {
        self.calls += 1;
        tell(&FromAgent::Call { id: format!("call-{}", self.calls), usage, sub_agent })?;
        loop {
            match self.incoming.recv() {
                Ok(ToAgent::Ack) => return Ok(ControlFlow::Continue(())),
                Ok(message) => {
                    if let flow @ ControlFlow::Break(_) = self.take(&message) {
                        return Ok(flow);
                    }
                }
                Err(_) => return Ok(ControlFlow::Break(ExitCode::SUCCESS)),
            }
        }
    }

    fn step(&mut self, step: &Step, conversation: &Conversation) -> io::Result<Flow> {
        let next = Ok(ControlFlow::Continue(()));
        match step {
            Step::Say { text } => tell(&FromAgent::Said { text: text.clone() })?,
            Step::Write { path, content } => write(path, content, false)?,
            Step::Append { path, content } => write(path, content, true)?,
            Step::Out { file, content } => write(&format!("{OUT_DIR}/{file}"), content, false)?,
            Step::Delete { path } => {
                fs::remove_file(path)?;
                used("delete", path, 0)?;
            }
            Step::Run { argv } => run_program(argv)?,
            Step::Call { usage, sub_agent } => return self.call(usage.usage(), *sub_agent),
            Step::GrowCalls { from, step, count } => {
                for n in 0..*count {
                    let input = from.saturating_add(step.saturating_mul(n.into()));
                    let usage = Usage { input, output: 100, ..Usage::default() };
                    if let flow @ ControlFlow::Break(_) = self.call(Some(usage), false)? {
                        return Ok(flow);
                    }
                    if let flow @ ControlFlow::Break(_) = self.look(conversation)? {
                        return Ok(flow);
                    }
                }
            }
            Step::WaitHandOver => {
                while !self.asked {
                    let Ok(message) = self.incoming.recv() else { return Ok(ControlFlow::Break(ExitCode::SUCCESS)) };
                    if let flow @ ControlFlow::Break(_) = self.take(&message) {
                        return Ok(flow);
                    }
                }
                return self.look(conversation);
            }
            Step::Wait { ms } => std::thread::sleep(Duration::from_millis(*ms)),
            Step::Hang => loop {
                std::thread::park();
            },
            Step::Exit { code } => return Ok(ControlFlow::Break(ExitCode::from(*code))),
            Step::Fail { failure, message } => {
                return self.finish(Finish::Failed { failure: *failure, message: message.clone() });
            }
            Step::Finish if self.handing_over => return self.finish(Finish::HandedOver),
            Step::Finish => return self.finish(Finish::Completed),
            Step::EnvFile { path } => {
                let mut names: Vec<_> = std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned()).collect();
                names.sort();
                write(path, &(names.join("\n") + "\n"), false)?;
            }
            Step::IgnoreSignals => {
                for signal in [signal_hook::consts::SIGHUP, signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
                    signal_hook::flag::register(signal, std::sync::Arc::default())?;
                }
            }
            Step::Flood { bytes } => flood(*bytes, b"the quick brown fox jumps over the lazy dog, again and again\n")?,
            Step::EndlessLine { bytes } => {
                flood(*bytes, &[b'x'; 64])?;
                io::stdout().write_all(b"\n")?;
            }
            Step::ForkAway { seconds } => {
                start_self(&[AWAY, &seconds.to_string()])?.wait()?;
            }
            Step::Raw { line } => writeln!(io::stdout(), "{line}")?,
        }
        next
    }
}

fn tell(message: &FromAgent) -> io::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, message)?;
    out.write_all(b"\n")?;
    out.flush()
}

/// Reports a tool and what its result added to the conversation.
fn used(name: &str, detail: &str, bytes: u64) -> io::Result<()> {
    tell(&FromAgent::Tool { name: name.to_owned(), detail: detail.to_owned() })?;
    if bytes > 0 { tell(&FromAgent::Grew { bytes }) } else { Ok(()) }
}

fn write(path: &str, content: &str, append: bool) -> io::Result<()> {
    if let Some(folder) = Path::new(path).parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder)?;
    }
    let mut file = fs::OpenOptions::new().create(true).write(true).truncate(!append).append(append).open(path)?;
    file.write_all(content.as_bytes())?;
    used(if append { "append" } else { "write" }, path, content.len() as u64)
}

#[expect(clippy::disallowed_methods, reason = "the scripted agent is an agent: it starts what its script says")]
fn run_program(argv: &[String]) -> io::Result<()> {
    let (program, args) = argv.split_first().ok_or_else(|| io::Error::other("run: argv is empty"))?;
    let output = Command::new(program).args(args).stdin(Stdio::null()).output()?;
    used("run", &format!("{} ({})", argv.join(" "), output.status), (output.stdout.len() + output.stderr.len()) as u64)
}

#[expect(clippy::disallowed_methods, reason = "starts itself, to leave a process behind")]
fn start_self(args: &[&str]) -> io::Result<std::process::Child> {
    Command::new(std::env::current_exe()?).arg(SUBCOMMAND).args(args).stdin(Stdio::null()).spawn()
}

fn be_away(seconds: &str) -> io::Result<ExitCode> {
    rustix::process::setsid()?;
    std::thread::sleep(Duration::from_secs(seconds.parse().map_err(io::Error::other)?));
    Ok(ExitCode::SUCCESS)
}

fn flood(bytes: u64, piece: &[u8]) -> io::Result<()> {
    let mut out = io::BufWriter::with_capacity(64 << 10, io::stdout().lock());
    let mut left = bytes;
    while left > 0 {
        let part = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len());
        out.write_all(&piece[..part])?;
        left -= part as u64;
    }
    out.flush()
}
