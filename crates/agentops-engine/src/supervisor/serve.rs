//! The socket: who may ask, and what is answered.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use agentops_core::id::RunId;
use agentops_core::run::{Event, Intent, Key};

use super::clients::{Asker, Clients, NoRequest, Seat, send, send_now};
use super::{Answer, Loop, log};
use crate::chosen::USUAL;
use crate::client;
use crate::conductor::{Input, Refusal};
use crate::environment::{EnvironmentHashes, EnvironmentView, LentEnvironment};
use crate::files::config;
use crate::hint;
use crate::identity;
use crate::paths::Home;
use crate::perform::{Ctx, Msg, chain, user_repository};
use crate::plan::{self, RunRequest};
use crate::trust::Trusted;
use crate::wire::{RefusalKind, Reply, Request};

/// Binds the socket and answers on threads of their own. What it gives hears of the end of listening.
pub(super) fn listen(ctx: &Arc<Ctx>, home: &Home, clients: &Clients) -> std::io::Result<Receiver<()>> {
    let path = ctx.paths.socket();
    // We hold the lock, so whatever lies here is a dead supervisor's.
    match std::fs::remove_file(&path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let _absent = std::fs::remove_file(path.with_extension("end"));
    let listener = crate::client::short(&path, |short| UnixListener::bind(short))?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    let (ctx, home, clients) = (Arc::clone(ctx), home.clone(), clients.clone());
    let (ended, end) = sync_channel(1);
    std::thread::Builder::new().name("listener".into()).spawn(move || {
        for stream in listener.incoming().flatten() {
            if rustix::net::sockopt::socket_peercred(&stream).is_ok_and(|peer| peer.pid == rustix::process::getpid()) {
                // Whoever connected before us is counted by now: a socket's queue is in order.
                let _nobody_waits = ended.send(());
                return;
            }
            let Some(seat) = clients.admit(Asker::of(&stream)) else {
                let _left = send_now(&stream, &line(&too_many()));
                continue;
            };
            let (ctx, home) = (Arc::clone(&ctx), home.clone());
            let spawned = std::thread::Builder::new().name("client".into()).stack_size(1024 * 1024).spawn(move || {
                serve(&ctx, &home, &stream, &seat);
                drop(seat);
                // Wakes the loop, so that it sees that the client is gone.
                let _loop_gone = ctx.tell.send(Msg::Client(Box::new(|_| ())));
            });
            if let Err(e) = spawned {
                log(&format!("cannot serve a client: {e}"));
            }
        }
    })?;
    Ok(end)
}

/// Takes the socket away and waits until everybody who had reached it is counted among the clients: a supervisor that
/// leaves because it is idle must not leave somebody who has just connected without an answer.
pub(super) fn close(ctx: &Ctx, end: &Receiver<()>) -> std::io::Result<()> {
    let path = ctx.paths.socket();
    let away = path.with_extension("end");
    std::fs::rename(&path, &away)?;
    let reached = crate::client::short(&away, |short| UnixStream::connect(short));
    std::fs::remove_file(&away)?;
    reached?;
    end.recv().map_err(std::io::Error::other)
}

fn serve(ctx: &Arc<Ctx>, home: &Home, stream: &UnixStream, seat: &Seat) {
    let read = seat.read(stream, |line| serde_json::from_slice::<Request>(line));
    if matches!(read, Err(NoRequest::Gone)) {
        return;
    }
    if !identity::is_in_place(&ctx.repo, &ctx.paths) {
        // No answer: the client starts the next supervisor, which works where the repository is now.
        let moved = format!("the repository is not at {} any more", ctx.repo.work_tree().display());
        let _loop_gone = ctx.tell.send(Msg::Fatal(moved));
        return;
    }
    let reply = match (seat.asker(), read) {
        (_, Ok(Ok(Request::Follow))) => return follow(ctx, stream),
        (_, Ok(Ok(Request::Ping))) => {
            let (runs, lock_waits) = (ctx.environments.runs(), ctx.stops.lock_waits());
            Reply::Here { pid: std::process::id(), version: env!("CARGO_PKG_VERSION").into(), runs, lock_waits }
        }
        (Asker::Restricted(why), _) => {
            refused(RefusalKind::NotAllowed, why.into(), "a person does this, from a terminal of their own")
        }
        (Asker::Person, Ok(Ok(request))) => answer(ctx, home, request),
        (Asker::Person, Ok(Err(e))) => {
            refused(RefusalKind::BadRequest, format!("the request is not one this supervisor knows: {e}"), OTHER_VERSION)
        }
        (Asker::Person, Err(NoRequest::Busy)) => {
            refused(RefusalKind::Failed, "too many long requests are being sent at once".into(), "try again")
        }
        (Asker::Person, Err(NoRequest::TooLong | NoRequest::Gone)) => {
            refused(RefusalKind::BadRequest, "the request is too long".into(), "shorten the task or the environment")
        }
    };
    send(stream, &line(&reply));
}

const OTHER_VERSION: &str = "a supervisor of another version may be running; it ends by itself when nothing is under way";

fn too_many() -> Reply {
    let hint = "end some of the commands that follow runs of this repository, and try again";
    refused(RefusalKind::Failed, "the supervisor serves as many connections as it can".into(), hint)
}

fn line(reply: &Reply) -> Vec<u8> {
    let mut line = serde_json::to_vec(reply).unwrap_or_default();
    line.push(b'\n');
    line
}

fn refused(kind: RefusalKind, message: String, hint: &str) -> Reply {
    Reply::Refused { kind, message, hint: hint.into(), subject: None }
}

fn answer(ctx: &Arc<Ctx>, home: &Home, request: Request) -> Reply {
    match request {
        Request::MayClose => Reply::Done,
        Request::Start { request, environment } => start(ctx, home, &request, environment),
        Request::Approve { run, shown } => intent(ctx, run, Intent::Approve { shown }),
        Request::Reject { run, shown, message } => match ctx.of_run(&run).blobs.put_text(&message) {
            Ok(message) => intent(ctx, run, Intent::Reject { shown, message }),
            Err(e) => refused(
                RefusalKind::Failed,
                format!("the state folder cannot be written: {e}"),
                "free some space and try again",
            ),
        },
        Request::Lend { run, environment } => resume(ctx, run, environment, Answer::default()),
        Request::Resume { run, environment, decisions, raise } => resume(ctx, run, environment, Answer { decisions, raise }),
        Request::Cancel { run } => intent(ctx, run, Intent::Cancel),
        Request::AgreeToPrograms { run, agreed, put_back, uncompared } => {
            let agree = move |state: &mut Loop| state.agree_to_programs(run, agreed, put_back, &uncompared);
            taken(ctx, ask(ctx, agree).flatten())
        }
        Request::BeginMergeTest { run, attempt, record } => {
            let during = Key::MergeTest { attempt };
            tell(ctx, Input::Happened(run, Event::RepositoryRecorded { during, record }))
        }
        Request::EndMergeTest { run, attempt, changes, count, left } => {
            let during = Key::MergeTest { attempt };
            let event = Event::RepositoryCompared { during, changes, count, after_takeover: false, left };
            tell(ctx, Input::Happened(run, event))
        }
        Request::Close { run, closing } => tell(ctx, Input::Happened(run, Event::Closed { closing })),
        Request::CompareEnvironment { run, shell } => compare_environment(ctx, &run, &shell),
        Request::Ping | Request::Follow => Reply::Done,
    }
}

fn resume(ctx: &Arc<Ctx>, run: RunId, lent: LentEnvironment, answer: Answer) -> Reply {
    match ctx.environments.prepare(lent) {
        Ok(environment) => taken(ctx, ask(ctx, move |state| state.resume(&run, environment, answer)).flatten()),
        Err(e) => refused(RefusalKind::BadRequest, e.to_string(), &e.hint),
    }
}

fn compare_environment(ctx: &Arc<Ctx>, run: &RunId, shell: &EnvironmentHashes) -> Reply {
    let Some(environment) = ctx.environments.of(run) else {
        let reason = "the supervisor has no environment for this run".to_owned();
        return Reply::Environment { view: EnvironmentView::Unknown { reason } };
    };
    let asked = run.clone();
    let view = match ask(ctx, move |state| state.agents(&asked)).flatten() {
        Some(agents) => environment.compare(shell, &agents),
        None => EnvironmentView::Unknown { reason: "the run's agents cannot be read from the ledger".to_owned() },
    };
    Reply::Environment { view }
}

fn intent(ctx: &Arc<Ctx>, run: RunId, intent: Intent) -> Reply {
    tell(ctx, Input::Intent(run, intent))
}

/// Gives an input to the loop and waits until it is durable.
fn tell(ctx: &Arc<Ctx>, input: Input) -> Reply {
    taken(ctx, ask(ctx, |state| state.take(vec![input]).and_then(|mut answers| answers.pop())).flatten())
}

/// What the loop answered. `None`: the ledger failed.
fn taken(ctx: &Ctx, answer: Option<Result<(), Refusal>>) -> Reply {
    match answer {
        Some(Ok(())) => Reply::Done,
        Some(Err(refusal)) => {
            let hint = match refusal {
                Refusal::NotShown(_) => "run the command again: it asks about what is there now",
                _ => "`agentops status` shows what each run waits for",
            };
            refused(RefusalKind::NotNow, refusal.to_string(), hint)
        }
        None => {
            let why = client::hindrance(&ctx.paths).map_or_else(String::new, |why| format!(": {why}"));
            let words = format!("the ledger could not be written{why}");
            refused(RefusalKind::Failed, words, "`agentops doctor` says what is wrong")
        }
    }
}

fn ask<T: Send + 'static>(ctx: &Arc<Ctx>, question: impl FnOnce(&mut Loop) -> T + Send + 'static) -> Option<T> {
    let (tell, answer) = sync_channel(1);
    let ask = Box::new(move |state: &mut Loop| {
        let _gone = tell.send(question(state));
    });
    ctx.tell.send(Msg::Client(ask)).ok()?;
    answer.recv().ok()
}

/// What `agentops trust` needs to be told so that it is about this run and no other.
fn trust_flags(ctx: &Ctx, request: &RunRequest, workflow: &str) -> String {
    let usual = config::read(ctx.repo.work_tree()).ok().and_then(|config| config.workflow);
    let workflow = (usual.as_deref().unwrap_or(USUAL) != workflow).then_some(workflow);
    let flags = [("workflow", workflow), ("agent", request.agent.as_deref()), ("driver", request.driver.as_deref())];
    flags
        .iter()
        .filter_map(|(flag, value)| Some(format!(" --{flag} {}", agentops_git::shell_word(value.as_ref()?))))
        .collect()
}

fn start(ctx: &Arc<Ctx>, home: &Home, request: &RunRequest, lent: LentEnvironment) -> Reply {
    let environment = match ctx.environments.prepare(lent) {
        Ok(environment) => environment,
        Err(e) => return refused(RefusalKind::BadRequest, e.to_string(), &e.hint),
    };
    let home = &environment.home(home);
    let blobs = ctx.with_environment(Arc::clone(&environment)).blobs;
    let planned = match plan::plan(&ctx.repo, home, &blobs, &environment.variables, request) {
        Ok(planned) => planned,
        Err(e) => return refused(hint::kind(&e), chain(&e), &hint::plan(&e)),
    };
    let trusted = match Trusted::read(&home.trust_file()) {
        Ok(trusted) => trusted,
        Err(e) => return refused(RefusalKind::BadRequest, e.to_string(), &e.hint),
    };
    let hash = &planned.subject.hash;
    if !trusted.covers(ctx.repo.id(), hash) && request.trust.as_deref() != Some(hash.as_str()) {
        return Reply::Refused {
            kind: RefusalKind::TrustRequired,
            message: "this repository is not trusted as it is now".into(),
            hint: format!(
                "`agentops trust show{flags}` lists what would run; `agentops trust add{flags}` agrees to it",
                flags = trust_flags(ctx, request, planned.created.workflow.name.as_str())
            ),
            subject: Some(Box::new(planned.subject)),
        };
    }
    let recorded = match user_repository::record(&ctx.with_environment(Arc::clone(&environment))) {
        Ok((_, blob)) => blob,
        Err(e) => {
            let words = format!("the state of your repository could not be recorded: {}", chain(&e));
            return refused(
                RefusalKind::Failed,
                words,
                "`agentops doctor` checks git, this repository and the state folder",
            );
        }
    };
    for _ in 0..16 {
        let mut created = planned.created.clone();
        created.repository = Some(recorded.clone());
        created.run = RunId::from_bits(random());
        let run = created.run.clone();
        let environment = Arc::clone(&environment);
        match taken(ctx, ask(ctx, move |state| state.start(Box::new(created), environment)).flatten()) {
            Reply::Done => return Reply::Started { run, notes: planned.notes },
            // The id is in use: draw another.
            Reply::Refused { kind: RefusalKind::NotNow, .. } => {}
            other => return other,
        }
    }
    refused(RefusalKind::Failed, "no free run id was found".into(), "try again")
}

/// Random bits for an id; they need not be secret.
fn random() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}

fn follow(ctx: &Arc<Ctx>, stream: &UnixStream) {
    let (grew, changes) = sync_channel(1);
    if ask(ctx, move |state| state.follow(grew)).is_none() {
        return;
    }
    let changed = line(&Reply::Changed);
    // A first word, so that the follower reads whatever came before it was heard.
    while send_now(stream, &changed) {
        match changes.recv_timeout(Duration::from_secs(5)) {
            Ok(()) | Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {}
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => return,
        }
    }
}
