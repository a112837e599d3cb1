//! One module a command.

mod agents;
mod answer;
mod bundle;
mod demo;
mod doctor;
mod finish;
mod gateway;
mod look;
mod merge_trust;
mod open_programs;
mod recall;
pub(crate) mod route;
mod run;
mod schema;
mod trust;
mod user_merge;

use std::sync::Arc;
use std::time::Duration;

use agentops_core::run::Status;
use agentops_engine::perform::chain;
use agentops_engine::supervisor::{self, SupervisorError};
use agentops_engine::view::RunView;
use agentops_git::{LockWaiter, lock_holders};
use clap::CommandFactory;

use crate::cli::{Cli, Command};
use crate::context::{self, Context, Standing};
use crate::error::{self, CommandError};
use crate::printer::Printer;
use crate::screen;

/// Runs a command; gives its exit code.
pub fn dispatch(cli: &Cli, printer: &Printer) -> Result<u8, CommandError> {
    let notes = printer.clone();
    let waiter = Arc::new(LockWaiter::with_notice(move |lock| {
        let holders: Vec<String> = lock_holders(lock).iter().map(ToString::to_string).collect();
        let by = if holders.is_empty() { String::new() } else { format!(", which {} holds", holders.join(", ")) };
        notes.note(&format!("waiting for the lock {}{by}", lock.display()));
    }));
    waiter.during(|| run_command(cli, printer))
}

fn run_command(cli: &Cli, printer: &Printer) -> Result<u8, CommandError> {
    let global = &cli.global;
    let find = || {
        let context = Context::find(global)?;
        if let Some(notice) = context.notice() {
            printer.note(&format!("note: {notice}"));
        }
        Ok::<_, CommandError>(context)
    };
    match &cli.command {
        Command::Run(args) => run::run(&find()?, args, printer),
        Command::Status(args) => look::status(&find()?, args, printer),
        Command::Show(args) => look::show(&find()?, args, printer),
        Command::Logs(args) => look::logs(&find()?, args, printer),
        Command::Approve(args) => answer::approve(&find()?, args, printer),
        Command::Reject(args) => answer::reject(&find()?, args, printer),
        Command::Resume(args) => answer::resume(&find()?, args, printer),
        Command::Cancel(args) => answer::cancel(&find()?, args, printer),
        Command::Merge(args) => finish::merge(&find()?, args, printer),
        Command::Discard(args) => finish::discard(&find()?, args, printer),
        Command::With(args) => gateway::with(&Standing::find(global)?, args, printer),
        Command::Gateway(args) => gateway::serve(&Standing::find(global)?, args, printer),
        Command::Bundle(args) => bundle::bundle(global, args, printer),
        Command::Recall(args) => recall::recall(global, args, printer),
        Command::Agents(args) => agents::agents(global, args, printer),
        Command::Route(args) => route::route(global, args, printer),
        Command::Trust(args) => trust::trust(&find()?, args, printer),
        Command::Doctor(args) => doctor::doctor(global, args, printer),
        Command::Demo(args) => demo::demo(args, printer),
        Command::Schema(args) => schema::schema(args, printer),
        Command::Completions { shell } => {
            let mut out = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "agentops", &mut out);
            printer.data(String::from_utf8_lossy(&out).trim_end());
            Ok(error::SUCCESS)
        }
        Command::Supervise => {
            // One that an agent started would be an agent's: below a keeper, and ended with it.
            person_only()?;
            let context = Context::find(global)?.claim()?;
            let options = supervisor::Options {
                repo: context.repo,
                home: context.home,
                exe: context::exe()?,
                idle: Duration::from_secs(2),
            };
            supervisor::run(options).map(|()| error::SUCCESS).map_err(|e| {
                let hint = match &e {
                    SupervisorError::Taken { .. } => "commands find it by themselves; there is nothing to start",
                    _ => "`agentops doctor` says what is wrong",
                };
                CommandError::new(error::FAILED, chain(&e)).hint(hint)
            })
        }
    }
}

/// Prints a run at rest and gives the exit code of its state.
fn report(view: &RunView, printer: &Printer) -> u8 {
    if printer.json() {
        printer.value(view);
    } else {
        printer.data(&screen::run(view, printer, crate::live::now()).join("\n"));
    }
    match view.status {
        Status::Done => error::SUCCESS,
        Status::Failed { .. } => error::RUN_FAILED,
        Status::Cancelled => error::RUN_CANCELLED,
        Status::NeedsDecision { .. } => error::NEEDS_DECISION,
        Status::Running | Status::Waiting { .. } => error::WAITING,
    }
}

/// Refuses what only a person may do when an agent or a gate asks.
fn person_only() -> Result<(), CommandError> {
    let own = i32::try_from(std::process::id()).unwrap_or(0);
    if agentops_agents::ancestry::descends_from_keeper(own) {
        return Err(CommandError::new(error::NOT_ALLOWED, "agents and what they start may not do this")
            .hint("a person does this, from a terminal of their own"));
    }
    Ok(())
}

/// A file's bytes, at most so many; `-` is stdin.
fn input(file: &std::path::Path, most: u64) -> std::io::Result<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    if file.as_os_str() == "-" {
        std::io::stdin().lock().take(most).read_to_end(&mut bytes)?;
    } else {
        std::fs::File::open(file)?.take(most).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

/// Asks a question on the terminal; `None` when there is nobody to ask.
pub(crate) fn ask(question: &str) -> Result<Option<String>, CommandError> {
    use std::io::{IsTerminal, Write};
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Ok(None);
    }
    let mut err = std::io::stderr();
    write!(err, "{question} ")?;
    err.flush()?;
    let mut answer = String::new();
    // The end of input is no answer, and must not be taken for Enter.
    if std::io::stdin().read_line(&mut answer)? == 0 {
        writeln!(err)?;
        return Ok(None);
    }
    Ok(Some(answer.trim().to_owned()))
}

/// Names a setting that keeps git itself from working in this checkout.
fn note_checkout_fault(repo: &agentops_git::Repo, printer: &Printer) {
    if let Some(fault) = repo.checkout_fault() {
        printer.note(&format!("{fault}; put it back with: {}", fault.command()));
    }
}
