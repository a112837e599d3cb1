//! `approve`, `reject`, `resume`, `cancel`: what a person says to a run.

use std::time::Duration;

use agentops_core::budget::{Limits, Scope, Usd};
use agentops_core::id::{BlobId, RunId};
use agentops_core::run::{State, Status, Waiting};
use agentops_engine::view::spending;
use agentops_engine::wire::Request;

use crate::cli::{ApproveArgs, RejectArgs, ResumeArgs, RunArg};
use crate::context::{self, Context};
use crate::error::{self, CommandError, NOT_NOW, accepted};
use crate::live;
use crate::printer::{Done, Printer};
use crate::screen;

/// The run and what it waits for approval of.
fn asked(context: &Context, named: Option<&RunId>) -> Result<(RunId, BlobId), CommandError> {
    let mut ledger = context.ledger()?;
    let run = match named {
        Some(run) => run.clone(),
        None => {
            // Without a name it is the newest run that waits for one.
            let mut waiting = None;
            for line in ledger.runs(20)? {
                let state = context.state(&mut ledger, &line.run)?;
                if matches!(state.status(true), Status::Waiting { waiting: Waiting::Approval { .. } }) {
                    waiting = Some(line.run);
                    break;
                }
            }
            waiting.ok_or_else(|| {
                CommandError::new(NOT_NOW, "no run waits for an approval")
                    .hint("`agentops status` shows what each waits for")
            })?
        }
    };
    match context.state(&mut ledger, &run)?.status(true) {
        Status::Waiting { waiting: Waiting::Approval { shown, .. } } => Ok((run, shown)),
        _ => Err(CommandError::new(NOT_NOW, format!("run {run} does not wait for an approval"))
            .hint(format!("agentops show {run}"))),
    }
}

/// `agentops approve`
pub fn approve(context: &Context, args: &ApproveArgs, printer: &Printer) -> Result<u8, CommandError> {
    super::person_only()?;
    let (run, shown) = asked(context, args.run.run.as_ref())?;
    if args.shown.as_ref().is_some_and(|wanted| !shown.as_str().starts_with(wanted.as_str())) {
        return Err(CommandError::new(NOT_NOW, format!("what waits for approval is {shown} now"))
            .hint(format!("agentops show {run} --document plan.md")));
    }
    accepted(context.ask(&Request::Approve { run: run.clone(), shown: shown.clone() })?)?;
    unattended(context, &run, printer);
    done(printer, &run, &format!("approved {}", &shown.as_str()[..12]))
}

/// `agentops reject`
pub fn reject(context: &Context, args: &RejectArgs, printer: &Printer) -> Result<u8, CommandError> {
    super::person_only()?;
    if args.message.trim().is_empty() {
        return Err(
            CommandError::new(error::USAGE, "the words are empty").hint("say what must change: agentops reject -m \"…\"")
        );
    }
    let (run, shown) = asked(context, args.run.run.as_ref())?;
    let message = context::redacted(&args.message);
    accepted(context.ask(&Request::Reject { run: run.clone(), shown, message })?)?;
    unattended(context, &run, printer);
    done(printer, &run, "rejected; a fresh session starts with your words")
}

/// Says what is still to be typed where no supervisor has the run's environment: an answer lends none.
fn unattended(context: &Context, run: &RunId, printer: &Printer) {
    if !context.attendance().includes(run) {
        printer.note(&format!(
            "note: the run waits for `agentops resume {run}`: its supervisor has ended, and with it the environment it works in"
        ));
    }
}

/// `agentops resume`
pub fn resume(context: &Context, args: &ResumeArgs, printer: &Printer) -> Result<u8, CommandError> {
    super::person_only()?;
    let mut ledger = context.ledger()?;
    let run = context.run(&ledger, args.run.run.as_ref())?;
    let state = context.state(&mut ledger, &run)?;
    if state.outcome.is_some() {
        return Err(CommandError::new(NOT_NOW, format!("run {run} has ended")).hint(format!("agentops show {run}")));
    }
    let raise = if args.raise.is_empty() { None } else { Some(raise(&state, args)?) };
    for decision in &state.decisions {
        let location = screen::location(&decision.phase, decision.place.as_ref());
        printer.note(&format!("answers {location}: {}", screen::decision_words(decision.kind)));
    }
    let decisions = state.decisions.clone();
    accepted(context.ask(&Request::Resume { run: run.clone(), environment: context.lent(), decisions, raise })?)?;
    super::run::attend(context, &run, printer)
}

/// Whose budget is to be raised, and to what.
fn raise(state: &State, args: &ResumeArgs) -> Result<(Scope, Limits), CommandError> {
    let usage = |words: String| {
        CommandError::new(error::USAGE, words).hint("agentops resume --raise tokens=2000000, or --raise usd=12.50")
    };
    let mut limits = Limits::default();
    for words in &args.raise {
        let amount = match words.split_once('=') {
            Some(("tokens", number)) => number.parse().ok().map(|tokens| limits.tokens = Some(tokens)),
            Some(("usd", number)) => {
                number.parse().ok().and_then(Usd::from_dollars).map(|money| limits.micro_usd = Some(money.0))
            }
            _ => None,
        };
        amount.ok_or_else(|| usage(format!("`{words}` is no limit")))?;
    }
    let scope = spending::scope(state, args.budget.as_deref()).map_err(usage)?;
    Ok((scope, limits))
}

/// How long `cancel` waits for what is under way to end. It ends by itself after that too.
const CANCEL_WAIT: Duration = Duration::from_secs(10);

/// `agentops cancel`
pub fn cancel(context: &Context, args: &RunArg, printer: &Printer) -> Result<u8, CommandError> {
    super::person_only()?;
    let mut ledger = context.ledger()?;
    let run = context.run(&ledger, args.run.as_ref())?;
    if context.state(&mut ledger, &run)?.outcome.is_some() {
        return Err(CommandError::new(NOT_NOW, format!("run {run} has ended")).hint(format!("agentops show {run}")));
    }
    accepted(context.ask(&Request::Cancel { run: run.clone() })?)?;
    let under_way = |state: &State| state.begun.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let state = context.state(&mut ledger, &run)?;
    if state.outcome.is_none() && !state.begun.is_empty() {
        printer.note(&format!("the run will end as cancelled; waiting for {}", under_way(&state)));
    }
    let rest = live::follow_for(context, &context.texts(), &run, CANCEL_WAIT)?;
    match rest.view.status {
        Status::Cancelled => {
            if rest.view.phases.iter().flat_map(|phase| &phase.lanes).any(|lane| lane.stays) {
                let words = "note: a lane with work that no checkpoint holds was not removed";
                printer.note(&format!("{words}; `agentops show {run}` names it"));
            }
            super::open_programs::name(context, printer);
            done(printer, &run, "cancelled; checkpoints are kept under refs/agentops/")
        }
        _ if !live::at_rest(&rest.view.status) => {
            let locks = live::waiting_for_lock(context, Some(&run));
            let locks: String = locks.iter().map(|waiting| format!("; {} {}", waiting.step, waiting.words())).collect();
            let words = format!(
                "the run will end as cancelled; still under way: {}{locks}. `agentops show {run}` says when it has ended",
                under_way(&rest.state)
            );
            done(printer, &run, &words)
        }
        _ => Ok(super::report(&rest.view, printer)),
    }
}

fn done(printer: &Printer, run: &RunId, words: &str) -> Result<u8, CommandError> {
    printer.done(&Done { run: Some(run.clone()), did: words.to_owned(), ..Done::default() });
    Ok(error::SUCCESS)
}
