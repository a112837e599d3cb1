//! Following a run: a live tree on a terminal, plain lines in a pipe.

use std::io::BufRead;
use std::time::{Duration, Instant};

use agentops_core::id::RunId;
use agentops_core::run::{SessionEnd, State, Status, Waiting};
use agentops_engine::blobs::Blobs;
use agentops_engine::client::{self, ClientError};
use agentops_engine::ledger::Ledger;
use agentops_engine::view::{self, RunView, WaitingForLock};
use agentops_engine::wire::{Reply, Request};
use agentops_engine::world::{Clock, SystemClock};

use crate::context::Context;
use crate::error::{CommandError, accepted};
use crate::interruption;
use crate::printer::Printer;
use crate::repository_changes;
use crate::screen;

/// How often a command that follows a run asks which locks it waits for. The supervisor sends followers a line each five
/// seconds when nothing happens.
const LOCKS_ASKED_AFTER: Duration = Duration::from_secs(2);

/// Where a run came to rest.
pub struct Rest {
    /// The run.
    pub view: RunView,
    /// Its state.
    pub state: State,
}

/// What a command does for a run that it follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follows {
    /// It lent its environment to the run, and lends it again to the next supervisor when one dies.
    Lends,
    /// It only watches.
    Watches,
}

/// Follows a run until it ends, waits for a person, or nobody works on it.
pub fn follow(
    context: &Context,
    blobs: &Blobs,
    run: &RunId,
    follows: Follows,
    printer: &Printer,
) -> Result<Rest, CommandError> {
    follow_until(context, blobs, run, follows, printer, None)
}

/// Watches a run as [`follow`] does, without showing anything, and at most for so long.
pub fn follow_for(context: &Context, blobs: &Blobs, run: &RunId, most: Duration) -> Result<Rest, CommandError> {
    follow_until(context, blobs, run, Follows::Watches, &Printer::new(false, true), Some(Instant::now() + most))
}

fn follow_until(
    context: &Context,
    blobs: &Blobs,
    run: &RunId,
    follows: Follows,
    printer: &Printer,
    until: Option<Instant>,
) -> Result<Rest, CommandError> {
    let bar = printer.live.then(tree);
    let mut told = Told::default();
    let (mut locks, mut locks_asked) = (Vec::new(), Instant::now());
    // The supervisor may die under us: then the next one goes on, a bounded number of times.
    for _ in 0..5 {
        // A request to end that is being answered may have removed what is read and written here.
        let starting = interruption::starting();
        let state = context.state(&mut context.ledger()?, run)?;
        if state.outcome.is_some() {
            break;
        }
        let mut attended = state.cancelled || context.attendance().includes(run);
        if follows == Follows::Lends && !attended {
            let lend = Request::Lend { run: run.clone(), environment: context.lent() };
            attended = accepted(context.ask(&lend)?).is_ok();
        }
        drop(starting);
        let stream = match client::connect(&context.paths, None) {
            Ok(stream) => stream,
            // One that is there and does not answer must be named, not waited for.
            Err(silent @ ClientError::Silent { .. }) => return Err(silent.into()),
            Err(_) => continue,
        };
        let mut changes = client::follow(stream)?;
        let mut line = String::new();
        while changes.read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
            let known = matches!(serde_json::from_str(&line), Ok(Reply::Changed));
            line.clear();
            if !known {
                break;
            }
            let mut ledger = context.ledger()?;
            let (state, mut view) = look(context, &mut ledger, blobs, run, attended)?;
            if locks_asked.elapsed() >= LOCKS_ASKED_AFTER && !at_rest(&view.status) {
                locks = waiting_for_lock(context, Some(run));
                locks_asked = Instant::now();
            }
            view.waiting_for_lock.clone_from(&locks);
            match &bar {
                Some(bar) => bar.set_message(screen::run(&view, printer, now()).join("\n")),
                None => told.tell(&view, printer),
            }
            if at_rest(&view.status) || until.is_some_and(|until| Instant::now() >= until) {
                if let Some(bar) = bar {
                    bar.finish_and_clear();
                }
                return Ok(Rest { view, state });
            }
        }
    }
    let mut ledger = context.ledger()?;
    let (state, view) = look(context, &mut ledger, blobs, run, context.attendance().includes(run))?;
    Ok(Rest { view, state })
}

/// A run as it is now.
pub fn look(
    context: &Context,
    ledger: &mut Ledger,
    blobs: &Blobs,
    run: &RunId,
    supervised: bool,
) -> Result<(State, RunView), CommandError> {
    let state = context.state(ledger, run)?;
    let mut view = view::run(&state, blobs, supervised, now());
    if matches!(view.status, Status::Waiting { waiting: Waiting::Supervisor }) {
        view.hindrance = context.hindrance();
    }
    Ok((state, view))
}

/// What waits for a lock, of one run or of all. Asks the supervisor and starts none.
pub fn waiting_for_lock(context: &Context, run: Option<&RunId>) -> Vec<WaitingForLock> {
    let waits = client::lock_waits(&context.paths).into_iter();
    WaitingForLock::of(waits.filter(|wait| run.is_none_or(|run| wait.run == *run)).collect())
}

/// Now, for durations on screens.
pub fn now() -> u64 {
    SystemClock::default().now_ms()
}

/// Whether nothing happens any more until a person acts.
pub fn at_rest(status: &Status) -> bool {
    let goes_on = |waiting: &Waiting| matches!(waiting, Waiting::Provider { .. } | Waiting::Slot { .. });
    match status {
        Status::Running => false,
        Status::Waiting { waiting } => !goes_on(waiting),
        _ => true,
    }
}

fn tree() -> indicatif::ProgressBar {
    let bar = indicatif::ProgressBar::new_spinner();
    if let Ok(style) = indicatif::ProgressStyle::with_template("{msg}") {
        bar.set_style(style);
    }
    bar
}

/// What was said already, so that a pipe gets each thing once.
#[derive(Default)]
struct Told {
    lines: std::collections::BTreeSet<String>,
}

impl Told {
    fn tell(&mut self, view: &RunView, printer: &Printer) {
        for waiting in &view.waiting_for_lock {
            self.once(printer, format!("{} {}", waiting.step, waiting.words()));
        }
        for words in repository_changes::short(view) {
            self.once(printer, format!("your repository changed {words}"));
        }
        // While other lanes work, this is the only place that says that one of them waits.
        for decision in view.decisions.iter().filter(|_| !at_rest(&view.status)) {
            let words = screen::decision_words(decision.kind);
            let location = screen::location(&decision.phase, decision.place.as_ref());
            self.once(printer, format!("{location} needs you: {words}"));
        }
        for phase in &view.phases {
            for lane in &phase.lanes {
                for session in &lane.sessions {
                    let place = format!("{}/{}/{}", phase.name, lane.name, session.ordinal);
                    let begun = if session.waits_for_slot { "waits for a slot" } else { "started" };
                    self.once(printer, format!("{place} {begun} ({})", lane.agent));
                    if let Some(end) = session.end {
                        let share = session.largest_permille.map_or("share unknown".into(), screen::percent);
                        let word = serde_json::to_value(end)
                            .ok()
                            .and_then(|end| end.as_str().map(str::to_owned))
                            .unwrap_or_default();
                        let about = session.detail.as_deref().filter(|_| end != SessionEnd::Completed);
                        let about =
                            about.and_then(|text| text.lines().next()).map(|text| format!(": {text}")).unwrap_or_default();
                        self.once(printer, format!("{place} {word}, {share}{about}"));
                    }
                }
            }
            for gate in &phase.gates {
                if let Some(verdict) = gate.verdict {
                    let word =
                        serde_json::to_value(verdict).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default();
                    self.once(printer, format!("{}/{} {word} (round {})", phase.name, gate.name, phase.round));
                }
                for refusal in 1..=gate.refusals {
                    self.once(printer, format!("{}/{} refused, {refusal} so far", phase.name, gate.name));
                }
            }
            if let Some(bundle) = &phase.bundle {
                self.once(
                    printer,
                    format!("{} done, hands on {} tokens", phase.name, screen::thousands(bundle.tokens_after)),
                );
            }
        }
    }

    fn once(&mut self, printer: &Printer, line: String) {
        if self.lines.insert(line.clone()) {
            printer.note(&line);
        }
    }
}
