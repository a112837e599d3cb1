//! Programs of lane set-up and of gates: each runs in a lane, under a keeper, to its end.

use std::cell::OnceCell;
use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender};

use agentops_agents::driver::Exit;
use agentops_agents::environment::Environment;
use agentops_agents::keeper::{EndReason, Ended, FromKeeper, Keeper, KeeperSpec, StdinKind};
use agentops_agents::strays;
use agentops_core::id::{LaneId, RunId};

use super::{Act, Ctx, Incoming, flow, work};
use crate::ports::PortRange;
use crate::space;

/// What an action hears through, and what its programs tell it through. A stop that came before a program started ends it.
pub(super) type Inbox<'a> = (&'a Sender<Incoming>, &'a Receiver<Incoming>);

/// A lane in which programs run, one after the other.
pub(super) struct LanePrograms<'a> {
    pub(super) ctx: &'a Ctx,
    pub(super) run: &'a RunId,
    pub(super) lane: &'a LaneId,
    pub(super) path: &'a Path,
    /// Variables that pass although they look like secrets.
    pub(super) env_added: &'a [String],
    pub(super) inbox: Inbox<'a>,
    /// The lane's ports: taken for its first program and held for all of them, so that they agree.
    ports: OnceCell<PortRange>,
}

impl<'a> LanePrograms<'a> {
    pub(super) fn new(
        ctx: &'a Ctx,
        run: &'a RunId,
        lane: &'a LaneId,
        path: &'a Path,
        env_added: &'a [String],
        inbox: Inbox<'a>,
    ) -> Self {
        Self { ctx, run, lane, path, env_added, inbox, ports: OnceCell::new() }
    }

    fn ports(&self) -> Act<&PortRange> {
        if let Some(ports) = self.ports.get() {
            return Ok(ports);
        }
        let ports = work::lane_ports(self.ctx, self.run, self.lane)?;
        Ok(self.ports.get_or_init(|| ports))
    }

    /// Runs a program to its end, output bounded. `what`: its part in the lane.
    pub(super) fn run(&self, what: &str, argv: &[String], seconds_max: u64) -> Act<Ran> {
        let (ctx, ports) = (self.ctx, self.ports()?);
        let mark = ctx.mark(self.run, &format!("{}/{what}", self.lane));
        let spec = KeeperSpec {
            program: find_program(&argv[0], &ctx.env.variables, self.path),
            args: argv[1..].iter().map(OsString::from).collect(),
            env: work::lane_env(ctx, self.run, self.lane, ports, self.env_added),
            cwd: self.path.as_os_str().to_owned(),
            mark: mark.clone(),
            line_bytes_max: 64 * 1024,
            output_bytes_max: 32 * 1024 * 1024,
            silence_ms: 0,
            time_limit_ms: seconds_max * 1000,
            grace_ms: 2_000,
            stdin: StdinKind::Null,
            locks: ctx.locks(ports),
        };
        let (tx, rx) = (self.inbox.0.clone(), self.inbox.1);
        let mut ran =
            Ran { output: Tail::new(OUTPUT_BYTES_MAX), ended: None, not_started: None, stopped: false, full_disk: None };
        let flow = flow::Flow::default();
        let keeper = Keeper::spawn(&ctx.exe, &spec, move |message| {
            let place = flow.enter(&message);
            let _ended_already = tx.send(Incoming::Keeper(message, place));
        })?;
        while let Ok(incoming) = rx.recv() {
            match incoming {
                Incoming::Keeper(FromKeeper::Out { line } | FromKeeper::Err { line }, _place) => ran.output.push(&line),
                Incoming::Keeper(FromKeeper::Ended(ended), _) => {
                    ran.ended = Some(ended);
                    break;
                }
                Incoming::Keeper(FromKeeper::NotStarted { message }, _) => {
                    ran.not_started = Some(message);
                    break;
                }
                Incoming::Keeper(FromKeeper::Gone { why }, _) => {
                    strays::end_strays(&mark);
                    ran.not_started = Some(why.unwrap_or_else(|| "its keeper was killed".into()));
                    break;
                }
                Incoming::Stop(_) => {
                    ran.stopped = true;
                    let _gone = keeper.stop(false);
                }
                Incoming::Keeper(..) | Incoming::AskHandOver | Incoming::Wire(_) | Incoming::Slot(_) => {}
            }
        }
        if !ran.succeeded() {
            ran.full_disk = full_disk(ctx, self.path);
        }
        Ok(ran)
    }
}

/// That a disk is full to which a program in this lane writes, whatever the program made of it.
pub(super) fn full_disk(ctx: &Ctx, lane: &Path) -> Option<String> {
    let temporary = ctx.env.variables.text("TMPDIR").filter(|folder| !folder.is_empty());
    let temporary = temporary.map_or_else(|| PathBuf::from("/tmp"), PathBuf::from);
    let home = ctx.env.variables.text("HOME").map(PathBuf::from);
    let mut folders = vec![("the lane", lane), ("the temporary folder", &temporary)];
    folders.extend(home.as_deref().map(|home| ("the home folder", home)));
    space::full_among(&folders)
}

/// How much of a program's output is kept, in bytes: half from its beginning, half from its end.
const OUTPUT_BYTES_MAX: usize = 16 << 20;

/// How a program went.
pub(super) struct Ran {
    pub(super) output: Tail,
    ended: Option<Ended>,
    not_started: Option<String>,
    stopped: bool,
    /// It did not succeed, and a disk that it writes to was full.
    full_disk: Option<String>,
}

impl Ran {
    pub(super) fn succeeded(&self) -> bool {
        matches!(&self.ended, Some(ended) if ended.reason == EndReason::Exited && ended.exit == Some(Exit::Code(0)))
    }

    /// Why what it says about the judged commit cannot be believed: it did not start, or it did not end by itself. Shells end
    /// with 126 and 127 for a command that they cannot start. A program that runs into its time limit ran, and was refused. One that
    /// failed while a disk was full may have failed for that.
    pub(super) fn broke(&self) -> bool {
        let Some(ended) = &self.ended else { return true };
        let in_time = ended.reason != EndReason::TimeLimit;
        self.stopped
            || self.full_disk.is_some()
            || (in_time && !matches!(ended.exit, Some(Exit::Code(code)) if !matches!(code, 126 | 127)))
    }

    /// How it ended, in words that follow the command's name.
    pub(super) fn how(&self) -> String {
        let full = self.full_disk.as_ref().map_or_else(String::new, |words| format!(" ({words})"));
        self.ending() + &full
    }

    fn ending(&self) -> String {
        if let Some(words) = &self.not_started {
            return format!("could not be started: {words}");
        }
        match &self.ended {
            Some(ended) if ended.reason == EndReason::TimeLimit => "took longer than its limit and was ended".into(),
            Some(ended) => match ended.exit {
                Some(Exit::Code(code)) => format!("ended with {code}"),
                Some(Exit::Signal(signal)) => format!("was ended by signal {signal}"),
                None => "could not be ended".into(),
            },
            None => "vanished".into(),
        }
    }
}

/// Lines with bounded memory: head and tail.
pub(crate) struct Tail {
    head: String,
    tail: VecDeque<String>,
    tail_bytes: usize,
    bytes_max: usize,
    cut: usize,
}

impl Tail {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { head: String::new(), tail: VecDeque::new(), tail_bytes: 0, bytes_max, cut: 0 }
    }

    pub(crate) fn push(&mut self, line: &str) {
        if self.tail.is_empty() && self.head.len() + line.len() < self.bytes_max / 2 {
            self.head.push_str(line);
            self.head.push('\n');
            return;
        }
        self.tail_bytes += line.len() + 1;
        self.tail.push_back(line.to_owned());
        while self.tail_bytes > self.bytes_max / 2 {
            let Some(gone) = self.tail.pop_front() else { break };
            self.tail_bytes -= gone.len() + 1;
            self.cut += gone.len() + 1;
        }
    }

    pub(crate) fn text(&self) -> String {
        let mut text = self.head.clone();
        if self.cut > 0 {
            text.push_str(&format!("[… {} bytes cut …]\n", self.cut));
        }
        for line in &self.tail {
            text.push_str(line);
            text.push('\n');
        }
        text
    }
}

/// The program of an argument vector: a path is taken from the working directory, a name from PATH.
fn find_program(name: &str, env: &Environment, cwd: &Path) -> OsString {
    if name.contains('/') {
        return cwd.join(name).into_os_string();
    }
    env.program(name).map_or_else(|| name.into(), PathBuf::into_os_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No agent is paid again for a gate that says nothing about the judged commit.
    #[test]
    fn r2_a_gate_that_did_not_end_by_itself_broke() {
        let ran = |exit, reason| {
            let ended = Ended {
                exit,
                reason,
                out_bytes: 0,
                err_bytes: 0,
                cut_bytes: 0,
                leftovers: 0,
                unkillable: 0,
                tail: String::new(),
                err_tail: String::new(),
            };
            Ran { output: Tail::new(64), ended: Some(ended), not_started: None, stopped: false, full_disk: None }
        };
        for (exit, reason, broke) in [
            (Some(Exit::Code(0)), EndReason::Exited, false),
            (Some(Exit::Code(1)), EndReason::Exited, false),
            (Some(Exit::Code(101)), EndReason::Exited, false),
            (Some(Exit::Code(126)), EndReason::Exited, true),
            (Some(Exit::Code(127)), EndReason::Exited, true),
            (Some(Exit::Signal(9)), EndReason::Exited, true),
            (Some(Exit::Signal(15)), EndReason::Stopped, true),
            (Some(Exit::Signal(9)), EndReason::TimeLimit, false),
            (None, EndReason::Stopped, true),
        ] {
            assert_eq!(ran(exit, reason).broke(), broke, "{exit:?} {reason:?}");
        }
        let not_started = Some("no such program".to_owned());
        assert!(Ran { output: Tail::new(64), ended: None, not_started, stopped: false, full_disk: None }.broke());
    }
}
