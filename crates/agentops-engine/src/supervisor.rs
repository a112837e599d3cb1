//! The one process per repository that owns its runs: a loop, a ledger, a socket.
//!
//! The loop takes in everything in one order and is the only writer. Clients and actions run on threads of their own and
//! talk to it by messages. It sleeps until something comes or a timer is due; it polls nothing.

mod clients;
mod serve;
mod tidy;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, channel};
use std::time::Duration;

use agentops_agents::strays;
use agentops_core::agent::AgentRef;
use agentops_core::budget::{Limits, Scope};
use agentops_core::id::{Name, RunId};
use agentops_core::run::{Created, Decision, Event, Intent, ProgramPart, Status};
use agentops_git::Repo;
use agentops_safe::Redactor;

use crate::blobs::Blobs;
use crate::conductor::{Conductor, Input, Refusal};
use crate::environment::RunEnvironment;
use crate::files::{FileError, user};
use crate::ledger::{Ledger, ProgramChange};
use crate::leftovers;
use crate::paths::Home;
use crate::perform::gateway::{self, Gateways};
use crate::perform::{Ctx, Msg, Performer, Report, chain};
use crate::ports::Ports;
use crate::reserve::Reserve;
use crate::slots::Slots;
use crate::telemetry::{self, Watched};
use crate::world::{Clock, StorageError, SystemClock};

use clients::Clients;

/// What a supervisor needs to know. Everything from outside is handed in here, once.
pub struct Options {
    /// The repository.
    pub repo: Repo,
    /// The user's folders.
    pub home: Home,
    /// This program.
    pub exe: PathBuf,
    /// How long it stays when nothing is under way and nobody is connected.
    pub idle: Duration,
}

/// Why a supervisor ended in disorder.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SupervisorError {
    /// Another one is there.
    #[error("another supervisor (process {pid}) owns this repository")]
    Taken {
        /// Its process, as it wrote it down.
        pid: String,
    },
    /// The state folder cannot be used.
    #[error("the state folder {path} cannot be used")]
    State {
        /// The folder.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The user's settings cannot be used.
    #[error(transparent)]
    Settings(#[from] FileError),
    /// The ledger cannot be used.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// An action found that nothing can be believed any more.
    #[error("{0}")]
    Fatal(String),
}

/// Tells the supervisor's log. It must never fail.
pub fn log(words: &str) {
    let _nobody_listens = writeln!(std::io::stderr(), "{}", agentops_safe::inert_line(words, 2_000));
}

/// The lock that makes a supervisor the only one. The file stays; the kernel drops the lock with the process.
pub struct Lock(#[expect(dead_code, reason = "held, not read: the lock lives as long as the file is open")] File);

impl Lock {
    /// Takes the lock of this state folder.
    ///
    /// # Errors
    /// Another supervisor holds it, or the file cannot be made.
    pub fn take(path: &Path) -> Result<Self, SupervisorError> {
        let state = |source| SupervisorError::State { path: path.to_owned(), source };
        let mut file = File::options().read(true).write(true).create(true).truncate(false).open(path).map_err(state)?;
        if rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut pid = String::new();
            let _unknown = file.read_to_string(&mut pid);
            return Err(SupervisorError::Taken { pid: pid.trim().to_owned() });
        }
        file.set_len(0).and_then(|()| file.rewind()).and_then(|()| write!(file, "{}", std::process::id())).map_err(state)?;
        Ok(Self(file))
    }

    /// Whether a supervisor holds the lock, and which.
    #[must_use]
    pub fn holder(path: &Path) -> Option<String> {
        let mut file = File::options().read(true).open(path).ok()?;
        if rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockShared).is_ok() {
            return None;
        }
        let mut pid = String::new();
        file.read_to_string(&mut pid).ok()?;
        Some(pid.trim().to_owned())
    }
}

/// What a person says when a run goes on. Nothing of it: the run is only lent an environment.
#[derive(Default)]
pub(crate) struct Answer {
    /// The questions that they have seen and answer.
    pub decisions: Vec<Decision>,
    /// Whose budget is raised first, and its new limits.
    pub raise: Option<(Scope, Limits)>,
}

/// The loop's state; closures of clients run on it.
pub struct Loop {
    conductor: Conductor<SystemClock, Watched<Ledger>, Performer>,
    followers: Vec<SyncSender<()>>,
    fatal: Option<SupervisorError>,
}

impl Loop {
    /// Takes inputs in. `None`: the ledger failed, and the loop ends.
    pub(crate) fn take(&mut self, inputs: Vec<Input>) -> Option<Vec<Result<(), Refusal>>> {
        match self.conductor.take(inputs) {
            Ok(answers) => {
                self.followers.retain(|follower| {
                    !matches!(follower.try_send(()), Err(std::sync::mpsc::TrySendError::Disconnected(())))
                });
                Some(answers)
            }
            Err(e) => {
                self.fatal.get_or_insert(e.into());
                None
            }
        }
    }

    /// Starts a run in this environment. `None`: the ledger failed, and the loop ends.
    pub(crate) fn start(&mut self, created: Box<Created>, environment: Arc<RunEnvironment>) -> Option<Result<(), Refusal>> {
        let run = created.run.clone();
        let ctx = Arc::clone(self.conductor.processes.ctx());
        if self.status(&run)?.is_some() {
            return Some(Err(Refusal::Exists(run)));
        }
        self.lend(&ctx, &run, &environment)?;
        let answer = self.take(vec![Input::Create(created)])?.pop()?;
        if answer.is_err() {
            ctx.environments.forget(&run);
            self.conductor.storage.unwatch(&run);
        }
        Some(answer)
    }

    /// Goes on with a run in this environment: raises a budget, takes the answered questions back, starts what is due. `None`:
    /// the ledger failed, and the loop ends.
    pub(crate) fn resume(
        &mut self,
        run: &RunId,
        environment: Arc<RunEnvironment>,
        answer: Answer,
    ) -> Option<Result<(), Refusal>> {
        let ctx = Arc::clone(self.conductor.processes.ctx());
        let before = ctx.environments.of(run);
        match self.status(run)? {
            None => return Some(Err(Refusal::NoRun(run.clone()))),
            Some(Status::Done | Status::Failed { .. } | Status::Cancelled) => {
                return Some(Err(Refusal::Ended(run.clone())));
            }
            Some(_) => {}
        }
        // Lent before anything is taken: what is due then starts in this environment.
        self.lend(&ctx, run, &environment)?;
        if let Some((scope, limits)) = answer.raise
            && let Err(refusal) = self.take(vec![Input::Intent(run.clone(), Intent::Raise { scope, limits })])?.pop()?
        {
            match before {
                Some(before) => self.lend(&ctx, run, &before)?,
                None => {
                    ctx.environments.forget(run);
                    self.conductor.storage.unwatch(run);
                }
            }
            return Some(Err(refusal));
        }
        // Also while other lanes work: an answer need not wait for them.
        let decisions = self.still_asked(run, answer.decisions)?;
        if !decisions.is_empty()
            && let Err(refusal) =
                self.take(vec![Input::Intent(run.clone(), Intent::Resume { decisions: Some(decisions) })])?.pop()?
        {
            return Some(Err(refusal));
        }
        self.held(|conductor| conductor.wake(run))?;
        Some(Ok(()))
    }

    /// Agrees to what git would run. Afterwards nothing counts that was never compared, so all of that must have been shown.
    /// `uncompared`: its places in the ledger. `None`: the ledger failed, and the loop ends.
    pub(crate) fn agree_to_programs(
        &mut self,
        run: RunId,
        agreed: Vec<ProgramPart>,
        put_back: Vec<ProgramPart>,
        uncompared: &[u64],
    ) -> Option<Result<(), Refusal>> {
        let changes = self.held(|conductor| conductor.storage.ledger.program_changes())?;
        let not_shown = |change: &&ProgramChange| change.is_uncompared() && !uncompared.contains(&change.seq);
        if let Some(change) = changes.iter().find(not_shown) {
            return Some(Err(Refusal::NotShown(change.run.clone())));
        }
        self.take(vec![Input::Happened(run, Event::ProgramsAgreed { agreed, put_back })])?.pop()
    }

    /// Those of these questions that still wait: somebody else may have answered the others.
    fn still_asked(&mut self, run: &RunId, mut seen: Vec<Decision>) -> Option<Vec<Decision>> {
        self.held(|conductor| {
            let state = conductor.state(run)?;
            seen.retain(|decision| state.is_some_and(|state| state.decisions.contains(decision)));
            Ok(seen)
        })
    }

    /// The agents of a run. `None`: there is no such run, or the ledger failed.
    pub(crate) fn agents(&mut self, run: &RunId) -> Option<BTreeMap<Name, AgentRef>> {
        self.held(|conductor| Ok(conductor.state(run)?.map(|state| state.created.agents.clone()))).flatten()
    }

    fn lend(&mut self, ctx: &Ctx, run: &RunId, environment: &Arc<RunEnvironment>) -> Option<()> {
        let environment = &ctx.environments.lend(run, Arc::clone(environment));
        let observe = || {
            telemetry::observer(environment, ctx.repo.id(), &ctx.blobs, log).unwrap_or_else(|words| {
                log(&words);
                None
            })
        };
        self.held(|conductor| conductor.storage.watch(run, environment, observe))
    }

    /// `None` inside: there is no such run.
    fn status(&mut self, run: &RunId) -> Option<Option<Status>> {
        self.held(|conductor| Ok(conductor.state(run)?.map(|state| state.status(true))))
    }

    /// Keeps an error of the ledger: the loop ends with it.
    fn held<T>(
        &mut self,
        with: impl FnOnce(&mut Conductor<SystemClock, Watched<Ledger>, Performer>) -> Result<T, StorageError>,
    ) -> Option<T> {
        match with(&mut self.conductor) {
            Ok(value) => Some(value),
            Err(e) => {
                self.fatal.get_or_insert(e.into());
                None
            }
        }
    }

    /// Adds somebody who wants to know when the ledger grows.
    pub(crate) fn follow(&mut self, follower: SyncSender<()>) {
        self.followers.push(follower);
    }
}

/// Most reports that are made durable together.
const BATCH_MAX: usize = 256;

/// Runs the supervisor until nothing is left to do.
///
/// # Errors
/// It cannot start, or the ledger failed: everything acknowledged is kept, and the next supervisor goes on.
pub fn run(options: Options) -> Result<(), SupervisorError> {
    let paths = options.home.repository(options.repo.id());
    let state = |source| SupervisorError::State { path: paths.root().to_owned(), source };
    paths.make().map_err(state)?;
    let _lock = Lock::take(&paths.lock())?;
    // What another supervisor left behind must not write beside what we start.
    strays::end_strays(&paths.mark_prefix());
    strays::end_ownerless(&paths.merge_mark_prefix());
    // What belongs to a run is written with that run's redactor.
    let blobs = Blobs::open(&paths.blobs(), Redactor::new([])).map_err(state)?;
    let reserve = Arc::new(Reserve::at(paths.reserve()));
    let mut ledger = Ledger::open(&paths.ledger())?.with_reserve(Arc::clone(&reserve));
    let ended = leftovers::ended_runs(&paths, &mut ledger)?;
    let (tell, messages) = channel();
    let clock = SystemClock::default();
    let user = user::read(&options.home.config_file())?;
    let slots = Slots::new(paths.slots(), user.machine.slots());
    let now_ms = clock.now_ms();
    let spent = ledger.spent_since(gateway::midnight(now_ms))?;
    let named = format!("supervisor-{}-{now_ms}", std::process::id());
    let gateways = Gateways::new(&agentops_gateway::day::date(now_ms), spent, options.home.gateway(), named);
    let ctx = Arc::new(Ctx {
        repo: options.repo.clone(),
        paths: paths.clone(),
        blobs,
        clock: clock.clone(),
        exe: options.exe.clone(),
        env: Arc::default(),
        environments: Arc::default(),
        tell,
        gateways: Arc::new(gateways),
        slots,
        slot: None,
        ports: Ports::new(paths.ports()),
        reserve,
        stops: Default::default(),
        merge: None,
    });
    leftovers::remove(&ctx, &ended);
    ctx.reserve.make();
    let conductor = Conductor::start(clock, Watched::new(ledger), Performer::new(Arc::clone(&ctx)))?;
    let clients = Clients::default();
    let mut turning = Loop { conductor, followers: Vec::new(), fatal: None };
    let ended = loop {
        let end = serve::listen(&ctx, &options.home, &clients).map_err(state)?;
        let ended = turn(&mut turning, &messages, &clients, options.idle);
        // Idle, unless somebody came in this very moment: then there is one more turn.
        if ended.is_err() || serve::close(&ctx, &end).is_err() || clients.count() == 0 {
            break ended;
        }
    };
    if ended.is_ok() {
        ctx.reserve.release();
        ctx.gateways.end();
        tidy::tidy(&ctx, &turning.conductor.storage.ledger);
    }
    turning.conductor.storage.ledger.settle();
    let _best_effort = std::fs::remove_file(paths.socket());
    turning.conductor.storage.close();
    ended
}

fn turn(state: &mut Loop, messages: &Receiver<Msg>, clients: &Clients, idle: Duration) -> Result<(), SupervisorError> {
    let mut quiet_since = state.conductor.clock.mono_ms();
    loop {
        let now = state.conductor.clock.mono_ms();
        let at_rest = !state.conductor.busy() && clients.count() == 0;
        if !at_rest {
            quiet_since = now;
        }
        let idle_ms = u64::try_from(idle.as_millis()).unwrap_or(u64::MAX);
        if at_rest && now.saturating_sub(quiet_since) >= idle_ms {
            return Ok(());
        }
        let rest = at_rest.then(|| quiet_since + idle_ms);
        let until = [state.conductor.next_timer(), rest].into_iter().flatten().min();
        // A client that leaves sends nothing, so while one is connected we look now and then whether it is gone.
        let wait = until.map_or(Duration::from_secs(60), |at| Duration::from_millis(at.saturating_sub(now).max(1)));
        let mut batch = Vec::new();
        match messages.recv_timeout(wait) {
            Ok(message) => batch.push(message),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
        while let (true, Ok(message)) = (batch.len() < BATCH_MAX, messages.try_recv()) {
            batch.push(message);
        }
        handle(state, batch);
        // Also after it was given back: there may be space again.
        state.conductor.processes.ctx().reserve.make();
        if state.conductor.next_timer().is_some_and(|at| at <= state.conductor.clock.mono_ms())
            && let Err(e) = state.conductor.fire()
        {
            state.fatal.get_or_insert(e.into());
        }
        if let Some(error) = state.fatal.take() {
            log(&chain(&error));
            return Err(error);
        }
    }
}

/// Reports that came together are made durable together.
fn handle(state: &mut Loop, batch: Vec<Msg>) {
    let mut reports: Vec<Report> = Vec::new();
    for message in batch {
        match message {
            Msg::Report(report) => reports.push(*report),
            Msg::Client(ask) => {
                settle(state, std::mem::take(&mut reports));
                ask(state);
            }
            Msg::Fatal(words) => {
                state.fatal.get_or_insert(SupervisorError::Fatal(words));
            }
        }
    }
    settle(state, reports);
}

fn settle(state: &mut Loop, reports: Vec<Report>) {
    if reports.is_empty() || state.fatal.is_some() {
        return;
    }
    let inputs = reports.iter().map(|report| report.input.clone()).collect();
    let Some(answers) = state.take(inputs) else { return };
    for (report, answer) in reports.into_iter().zip(answers) {
        if let Err(refusal) = &answer {
            log(&format!("dropped: {refusal}"));
        }
        if let Some(taken) = report.taken {
            let _gone = taken.send(answer.is_ok());
        }
    }
}

#[cfg(test)]
mod tests;
