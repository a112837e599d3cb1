//! The real world's side of an action: git, processes, agents. Each action runs on a thread of its own and reports with the
//! event that ends it. What it does may be done again after a crash, except for a session.

mod bundle;
mod checkpoint_refs;
mod flow;
mod gate;
pub mod gateway;
mod lane_copy;
mod lane_program;
mod lost_text;
pub mod prompt;
pub mod records;
mod session;
mod slot;
mod stops;
#[cfg(test)]
pub(crate) mod test_context;
pub mod user_repository;
mod work;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::time::{Duration, Instant};

use agentops_agents::environment::Environment;
use agentops_agents::keeper::{FromKeeper, KeeperHandle};
use agentops_agents::process::ProcessId;
use agentops_agents::strays;
use agentops_core::id::{BlobId, Commit, RunId, SessionId};
use agentops_core::run::{Action, Event, Key, SessionEnd, State, Stop};
use agentops_core::workflow::Check;
use agentops_git::{Author, Oid, Repo};

use crate::blobs::Blobs;
use crate::conductor::Input;
use crate::environment::{Environments, RunEnvironment};
use crate::hint;
use crate::leftovers;
use crate::paths::Paths;
use crate::ports::{PortRange, Ports};
use crate::reserve::Reserve;
use crate::slots::{Slot, Slots};
use crate::wire::{Reply, Request};
use crate::world::{Clock, Processes, SystemClock};

pub use bundle::RUN_SOURCE;
use lane_program::{Inbox, Tail};

/// Something for the supervisor's loop.
pub struct Report {
    /// What happened.
    pub input: Input,
    /// Told once it is durable and everything that follows was started; false when it was refused.
    pub taken: Option<SyncSender<bool>>,
}

/// What the supervisor's loop gets.
pub enum Msg {
    /// From an action or a client.
    Report(Box<Report>),
    /// A client needs a state or wants to stop the supervisor; see the supervisor.
    Client(Box<dyn FnOnce(&mut crate::supervisor::Loop) + Send>),
    /// Nothing can be believed any more: end with these words. What is under way is resumed by the next supervisor.
    Fatal(String),
}

/// What every action needs.
#[derive(Clone)]
pub struct Ctx {
    /// The repository.
    pub repo: Repo,
    /// Its private state.
    pub paths: Paths,
    /// The blob store.
    pub blobs: Blobs,
    /// Time.
    pub clock: SystemClock,
    /// This program, for keepers and the scripted agent.
    pub exe: PathBuf,
    /// What the run is worked on with that an action belongs to; nothing in the supervisor's own.
    pub env: Arc<RunEnvironment>,
    /// The environments of all runs.
    pub environments: Arc<Environments>,
    /// The loop.
    pub tell: Sender<Msg>,
    /// The gateways and the accounts of all budgets.
    pub gateways: Arc<gateway::Gateways>,
    /// How many sessions and gates run at once on this machine.
    pub slots: Slots,
    /// The lock file of the slot that an action has.
    pub slot: Option<PathBuf>,
    /// Ports that no other lane on this machine has.
    pub ports: Ports,
    /// Space for the exits of agents when the disk of the state folder is full.
    pub reserve: Arc<Reserve>,
    /// Gates and set-ups that run.
    pub stops: stops::Stops,
    /// The merge that is tested; `None`: this is a supervisor.
    pub merge: Option<ProcessId>,
}

/// How an action failed that has no outcome of its own for it.
#[derive(Debug, thiserror::Error)]
pub enum ActError {
    /// Git refused.
    #[error(transparent)]
    Git(#[from] agentops_git::Error),
    /// A file could not be read or written.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// A commit id was not one.
    #[error(transparent)]
    Id(#[from] agentops_core::id::InvalidId),
}

type Act<T> = Result<T, ActError>;

/// How long the end of a cancelled run waits for the lock of the lanes. Other lanes have it for milliseconds.
const LANES_LOCK_TIME_MAX: Duration = Duration::from_secs(5);

/// Performs actions for the conductor.
pub struct Performer {
    ctx: Arc<Ctx>,
    sessions: BTreeMap<(RunId, SessionId), Sender<Incoming>>,
}

/// What comes to a running session or gate.
pub(crate) enum Incoming {
    Keeper(FromKeeper, flow::Place),
    AskHandOver,
    Stop(Stop),
    Wire(gateway::Wire),
    Slot(std::io::Result<Slot>),
}

impl Performer {
    /// A performer over this context.
    #[must_use]
    pub fn new(ctx: Arc<Ctx>) -> Self {
        agentops_git::on_boundary(crate::crash::boundary);
        Self { ctx, sessions: BTreeMap::new() }
    }

    /// The context.
    #[must_use]
    pub fn ctx(&self) -> &Arc<Ctx> {
        &self.ctx
    }

    /// Runs `work` on a thread of its own. A panic there is a fault of this program; it must end the action, not leave a run
    /// waiting for ever, so `failed` turns its words into an outcome.
    fn spawn(
        &self,
        run: &RunId,
        name: String,
        work: impl FnOnce(&Arc<Ctx>) + Send + 'static,
        failed: impl FnOnce(&Arc<Ctx>, BlobId) + Send + 'static,
    ) {
        let ctx = Arc::new(self.ctx.of_run(run));
        let tell = self.ctx.tell.clone();
        let (run, step) = (run.clone(), name.clone());
        let guarded = move || {
            let named = || ctx.stops.while_named(&run, &step, || work(&ctx));
            let Err(panic) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(named)) else { return };
            let words = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
            let words = format!("a fault of agentops itself, please report it: {}", words.unwrap_or("no words"));
            match ctx.put(&words) {
                Ok(detail) => failed(&ctx, detail),
                Err(e) => ctx.fatal(format!("the state folder cannot be written: {e}")),
            }
        };
        if let Err(e) = std::thread::Builder::new().name(name).stack_size(512 * 1024).spawn(guarded) {
            let _loop_gone = tell.send(Msg::Fatal(format!("cannot start a thread: {e}")));
        }
    }

    /// Runs an action whose failure is an event of its own.
    fn act(&self, run: &RunId, (key, action): (&Key, &Action), work: impl FnOnce(&Arc<Ctx>) -> Act<Event> + Send + 'static) {
        let (of, begun) = (run.clone(), key.clone());
        let (run, key, action) = (run.clone(), key.clone(), action.clone());
        let run_it = move |ctx: &Arc<Ctx>| {
            let event = work(ctx).or_else(|e| {
                let words = checkpoint_refs::lost(ctx, &action).unwrap_or_else(|| failure_words(ctx, &e));
                Ok::<_, std::io::Error>(Event::ActionFailed { key: key.clone(), detail: ctx.put(&words)? })
            });
            match event {
                Ok(event) => ctx.report(Input::Outcome(run, key, event)),
                Err(e) => ctx.fatal(format!("the state folder cannot be written: {e}")),
            }
        };
        self.spawn(&of.clone(), begun.to_string(), run_it, move |ctx, detail| {
            let event = Event::ActionFailed { key: begun.clone(), detail };
            ctx.report(Input::Outcome(of, begun, event));
        });
    }
}

impl Processes for Performer {
    fn perform(&mut self, run: &RunId, state: &State, key: &Key, action: &Action) {
        match action.clone() {
            Action::OpenLane { lane, base } => {
                let (opened, of) = (lane.clone(), state.clone());
                let open = move |ctx: &Ctx, inbox: Inbox<'_>| {
                    stops::give_up_locks_when_cancelled();
                    work::open_lane(ctx, &of, &lane, &base, inbox)
                };
                if state.created.workflow.lane.setup.is_empty() {
                    let stoppable = self.ctx.stops.begin(run);
                    return self.act(run, (key, action), move |ctx| open(ctx, stoppable.inbox()));
                }
                self.act_in_slot(state, (key, action), open, move |ctx| {
                    let detail = ctx.put("the run was cancelled while the lane's set-up waited for a slot")?;
                    Ok(Event::LaneFailed { lane: opened, detail })
                });
            }
            Action::StartSession { session, agent, writes, parent, next } => {
                let (tx, rx) = channel();
                self.sessions.insert((run.clone(), session.clone()), tx.clone());
                let job = session::Job { run: run.clone(), state: state.clone(), session, agent, writes, parent, next };
                let (of, begun, session) = (run.clone(), key.clone(), job.session.clone());
                self.spawn(
                    run,
                    key.to_string(),
                    move |ctx| session::run(ctx, &job, tx, rx),
                    move |ctx, detail| {
                        let event = session::exited(&session, SessionEnd::Failed, Some(detail));
                        ctx.report(Input::Outcome(of, begun, event));
                    },
                );
            }
            Action::AskHandOver { session } => self.tell_session(run, session, Incoming::AskHandOver),
            Action::StopSession { session, why } => self.tell_session(run, session, Incoming::Stop(why)),
            Action::Salvage { session } => {
                let state = state.clone();
                self.act(run, (key, action), move |ctx| Ok(session::salvage(ctx, &state, &session)?));
            }
            Action::Checkpoint { session, writes, parent, exit } => {
                let job =
                    session::Checkpoint { run: run.clone(), state: state.clone(), session, writes, parent, exit: *exit };
                self.act(run, (key, action), move |ctx| {
                    session::checkpoint(ctx, &job).map_err(|e| match job.state.cancelled {
                        true => session::not_kept(ctx, &job, &e),
                        false => e,
                    })
                });
            }
            Action::Merge { phase, onto, base, heads } => {
                let state = state.clone();
                self.act(run, (key, action), move |ctx| {
                    checkpoint_refs::set_again(ctx, &state)?;
                    work::merge(ctx, &state.created.run, &phase, &onto, &base, &heads)
                })
            }
            Action::RunGate { phase, gate, commit } => {
                let is_command = matches!(gate.check, Check::Command { .. });
                let (of, not_run) = (state.clone(), (phase.clone(), gate.clone()));
                let check = move |ctx: &Ctx, inbox: Inbox<'_>| {
                    stops::give_up_locks_when_cancelled();
                    let checked = checkpoint_refs::set_again(ctx, &of)
                        .and_then(|()| gate::check(ctx, &of, &phase, &gate, &commit, inbox));
                    match checked {
                        Err(ActError::Git(given_up @ agentops_git::Error::LockGivenUp { .. })) => {
                            gate::not_run(ctx, &phase, &gate, &format!("the run was cancelled: {given_up}"))
                        }
                        checked => checked,
                    }
                };
                if !is_command {
                    let stoppable = self.ctx.stops.begin(run);
                    return self.act(run, (key, action), move |ctx| check(ctx, stoppable.inbox()));
                }
                self.act_in_slot(state, (key, action), check, move |ctx| {
                    let (phase, gate) = not_run;
                    gate::not_run(ctx, &phase, &gate, "the run was cancelled while this gate waited for a slot")
                });
            }
            Action::Bundle { phase } => {
                let state = state.clone();
                self.act(run, (key, action), move |ctx| bundle::phase(ctx, &state, &phase));
            }
            Action::Record { onto } => {
                let state = state.clone();
                self.act(run, (key, action), move |ctx| work::record(ctx, &state, &onto));
            }
            Action::Publish { commit } => {
                let run_id = run.clone();
                self.act(run, (key, action), move |ctx| work::publish(ctx, &run_id, &commit));
            }
            Action::StopWork => self.ctx.stops.stop(run),
            Action::CloseLanes => {
                let (run_id, stay) = (run.clone(), state.clone());
                self.act(run, (key, action), move |ctx| {
                    if stay.cancelled {
                        // A person waits for the end of this run. The next supervisor removes lanes that are left.
                        stops::give_up_locks_after(LANES_LOCK_TIME_MAX);
                    }
                    let stay = work::lanes_that_stay(ctx, &stay);
                    Ok(work::close_lanes(ctx, &run_id, &stay))
                });
            }
            Action::End { .. } => {}
        }
    }

    fn may_act(&self, run: &RunId, state: &State) -> bool {
        // What ends a run needs no environment of anybody's.
        state.cancelled || self.ctx.environments.of(run).is_some()
    }

    fn ended(&mut self, run: &RunId) {
        self.sessions.retain(|(of, _), _| of != run);
        self.ctx.stops.forget(run);
        self.ctx.environments.forget(run);
    }
}

impl Performer {
    /// Runs an action that starts programs of a gate or of set-up: in a slot, between two records of the user's repository,
    /// and so that it can be stopped. `stopped` is its outcome where it was stopped before it had a slot.
    fn act_in_slot(
        &mut self,
        state: &State,
        due: (&Key, &Action),
        work: impl FnOnce(&Ctx, Inbox<'_>) -> Act<Event> + Send + 'static,
        stopped: impl FnOnce(&Ctx) -> Act<Event> + Send + 'static,
    ) {
        let run = state.created.run.clone();
        let stoppable = self.ctx.stops.begin(&run);
        let (state, during) = (state.clone(), due.0.clone());
        self.act(&run.clone(), due, move |ctx| {
            let (tx, rx) = stoppable.inbox();
            let Some(slot) = slot::take(ctx, &run, &during, tx, rx)? else { return stopped(ctx) };
            let ctx = &Arc::new(ctx.in_slot(&run, &slot));
            user_repository::around(ctx, &state, &during, || work(ctx, (tx, rx)))
        });
    }

    fn tell_session(&mut self, run: &RunId, session: SessionId, what: Incoming) {
        if let Some(tx) = self.sessions.get(&(run.clone(), session)) {
            let _ended_already = tx.send(what);
        }
    }
}

/// How the process of a merge asks the supervisor.
pub type AskSupervisor<'a> = &'a dyn Fn(&Request) -> std::io::Result<Reply>;

/// Runs the command gates of a finished run on another commit, under a keeper: a merge's re-test. `Some` says what does not
/// hold. The user's repository is compared with what it was before.
///
/// # Errors
/// A work tree cannot be made, a blob not written, or the supervisor not asked.
#[expect(clippy::too_many_arguments, reason = "it makes the context of an action from its parts")]
pub fn test_commit(
    repo: &Repo,
    paths: &Paths,
    blobs: &Blobs,
    exe: &std::path::Path,
    env: Environment,
    state: &State,
    merged: &Oid,
    ask: AskSupervisor<'_>,
) -> Result<Option<String>, ActError> {
    agentops_git::on_boundary(crate::crash::boundary);
    // Nobody listens: what a gate reports here goes to the caller, not to a ledger.
    let (tell, _) = channel();
    paths.make()?;
    let us = i32::try_from(std::process::id()).ok().and_then(ProcessId::of);
    let us = us.ok_or_else(|| std::io::Error::other("this process has no entry in /proc"))?;
    let (repo, paths, blobs) = (repo.clone(), paths.clone(), blobs.clone());
    let ctx = Ctx {
        repo,
        blobs,
        clock: SystemClock::default(),
        exe: exe.to_owned(),
        env: Arc::new(RunEnvironment::of_variables(env)),
        environments: Default::default(),
        tell,
        gateways: Default::default(),
        // A person waits for this test, so it takes none of them.
        slots: Slots::new(paths.slots(), 1),
        slot: None,
        ports: Ports::new(paths.ports()),
        reserve: Arc::new(Reserve::at(paths.reserve())),
        stops: Default::default(),
        merge: Some(us),
        paths,
    };
    let ctx = Arc::new(ctx);
    // What a killed merge left must not write beside what we start.
    strays::end_ownerless(&ctx.paths.merge_mark_prefix());
    let run = &state.created.run;
    // A supervisor that starts meanwhile must not take this for a leftover.
    let _held = leftovers::make_and_hold(&ctx.paths.lanes(run))?;
    let merged = commit(merged)?;
    let tested = user_repository::around_merge_test(&ctx, state, ask, || gate::test(&ctx, state, &merged));
    remove_lanes(&ctx, run, state);
    tested
}

/// Removes the lanes of a run that has ended, except those that stay, and their folder. `state`: what the ledger knows of it.
pub(crate) fn remove_lanes(ctx: &Ctx, run: &RunId, state: &State) {
    let stay = work::lanes_that_stay(ctx, state);
    work::close_lanes(ctx, run, &stay);
}

impl Ctx {
    /// The same for what is done for one run: with that run's environment, and a store that knows its secrets.
    #[must_use]
    pub fn of_run(&self, run: &RunId) -> Self {
        let env = self.environments.of(run).unwrap_or_else(|| self.environments.nobodys());
        self.with_environment(env)
    }

    /// The same for what runs in a slot. A person may have lent the run another environment while it waited for it.
    fn in_slot(&self, run: &RunId, slot: &Slot) -> Self {
        Self { slot: Some(slot.path().to_owned()), ..self.of_run(run) }
    }

    /// The mark of what is started for a run outside a session.
    fn mark(&self, run: &RunId, what: &str) -> String {
        match self.merge {
            None => self.paths.mark(run, what),
            Some(merge) => format!("{}{run}/{what}", strays::owned_mark(&self.paths.merge_mark_prefix(), merge)),
        }
    }

    /// Lock files that the keeper of a program with these ports holds too.
    fn locks(&self, ports: &PortRange) -> Vec<OsString> {
        self.slot.as_deref().into_iter().chain([ports.path()]).map(OsString::from).collect()
    }

    /// The same with this environment.
    #[must_use]
    pub fn with_environment(&self, env: Arc<RunEnvironment>) -> Self {
        Self { blobs: self.blobs.with_redactor(env.redactor().clone()), env, ..self.clone() }
    }

    /// Reports without waiting.
    fn report(&self, input: Input) {
        let _loop_gone = self.tell.send(Msg::Report(Box::new(Report { input, taken: None })));
    }

    /// Reports an event and waits until it is durable and what follows from it was started; false when it was refused.
    fn report_and_wait(&self, run: &RunId, event: Event) -> bool {
        let (taken, answer) = sync_channel(1);
        let input = Input::Happened(run.clone(), event);
        self.tell.send(Msg::Report(Box::new(Report { input, taken: Some(taken) }))).is_ok() && answer.recv().unwrap_or(false)
    }

    fn fatal(&self, words: String) {
        let _loop_gone = self.tell.send(Msg::Fatal(words));
    }

    fn author(&self) -> Author {
        Author { name: "AgentOps".into(), email: "agentops@localhost".into() }
    }

    fn now_seconds(&self) -> u64 {
        self.clock.now_ms() / 1000
    }

    fn put(&self, text: &str) -> std::io::Result<BlobId> {
        self.blobs.put_text(text)
    }

    /// A short text of a program's that goes into the ledger itself: without secrets, on one line, bounded.
    fn word(&self, text: &str) -> String {
        agentops_safe::inert_line(&self.blobs.redactor().redact(text), 200)
    }
}

/// An error with its causes.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut at = error.source();
    while let Some(cause) = at {
        text.push_str(&format!(": {cause}"));
        at = cause.source();
    }
    text
}

/// Why an action failed, for the question that it leads to. Without the repository git fails in many ways.
fn failure_words(ctx: &Ctx, error: &ActError) -> String {
    if let ActError::Git(error @ agentops_git::Error::RefInTheWay { .. }) = error {
        return format!("{error}; {}", hint::git(error));
    }
    let work_tree = ctx.repo.work_tree();
    let cause = if work_tree.is_dir() {
        ctx.repo.configuration_refused().ok().flatten()
    } else {
        Some(agentops_git::Error::FolderGone { path: work_tree.to_owned() })
    };
    cause.map_or_else(|| chain(error), |cause| format!("{cause}; {}", hint::git(&cause)))
}

pub(crate) fn oid(commit: &Commit) -> Act<Oid> {
    Ok(commit.as_str().parse::<Oid>()?)
}

pub(crate) fn commit(oid: &Oid) -> Act<Commit> {
    Ok(oid.as_str().parse()?)
}

/// Waits for the next message, at most until `deadline`.
pub(crate) fn recv_until(rx: &Receiver<Incoming>, deadline: Option<Instant>) -> Result<Incoming, RecvTimeoutError> {
    match deadline {
        None => rx.recv().map_err(|_| RecvTimeoutError::Disconnected),
        Some(at) => rx.recv_timeout(at.saturating_duration_since(Instant::now())),
    }
}

/// How long a finished program may take to exit before it is ended.
pub(crate) const EXIT_WAIT: Duration = Duration::from_secs(10);

/// Used by sessions: the handle's type, so that they need not know the client's module.
pub(crate) type Held = KeeperHandle;
