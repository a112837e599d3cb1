//! `status`, `show` and `logs`: they read the ledger and start nothing.

use agentops_core::id::RunId;
use agentops_core::run::{Event, Status, Waiting};
use agentops_engine::ledger::Ledger;
use agentops_engine::paths::Paths;
use agentops_engine::world::Entry;
use agentops_engine::{leftovers, view};
use agentops_git::Oid;

use crate::cli::{LogsArgs, ShowArgs, StatusArgs};
use crate::context::Context;
use crate::error::{self, CommandError, NOT_NOW};
use crate::live::{self, Follows};
use crate::printer::Printer;
use crate::{repository_changes, run_environment, screen};

/// What a person should know of lanes whose runs the ledger does not know.
pub(super) fn unknown_runs_words(paths: &Paths, runs: &[RunId]) -> Option<String> {
    let first = runs.first()?;
    let names = runs.iter().map(RunId::as_str).collect::<Vec<_>>().join(", ");
    Some(format!(
        "the ledger does not know {names}, whose work is still in {}: it has lost entries. Nothing of it is removed; the checkpoints \
         are listed by `git for-each-ref refs/agentops/runs/{first}`",
        paths.all_lanes().display()
    ))
}

/// `agentops status`
pub fn status(context: &Context, args: &StatusArgs, printer: &Printer) -> Result<u8, CommandError> {
    super::note_checkout_fault(&context.repo, printer);
    let (supervisor, attendance) = (context.supervisor(), context.attendance());
    let hindrance = context.hindrance();
    let begun_merge = super::user_merge::begun(&context.repo);
    let mut ledger = Ledger::read(&context.paths.ledger())?;
    let unknown_runs = leftovers::unknown_runs(&context.paths, ledger.as_ref())?;
    let mut view = match &mut ledger {
        Some(ledger) => view::status(ledger, &context.texts(), supervisor, &attendance, hindrance, args.limit)?,
        None => view::StatusView {
            format: view::VIEW_FORMAT,
            supervisor,
            hindrance,
            runs: Vec::new(),
            waiting_for_slot: Vec::new(),
            waiting_for_lock: Vec::new(),
            begun_merge: None,
            unknown_runs: Vec::new(),
        },
    };
    (view.begun_merge, view.unknown_runs) = (begun_merge, unknown_runs);
    view.waiting_for_lock = live::waiting_for_lock(context, None);
    if printer.json() {
        printer.value(&view);
        return Ok(error::SUCCESS);
    }
    let unknown = unknown_runs_words(&context.paths, &view.unknown_runs);
    for words in [&view.hindrance, &view.begun_merge, &unknown].into_iter().flatten() {
        printer.note(&format!("note: {words}"));
    }
    // The notice has said where they are, or why there are none.
    if view.runs.is_empty() && context.notice().is_none() && unknown.is_none() {
        printer.note("no runs yet; start one with: agentops run \"what is to be done\"");
    }
    let now = live::now();
    for run in &view.runs {
        let colour = match run.status.as_str() {
            "done" => "32",
            "running" => "36",
            "waiting" | "needs-decision" => "33;1",
            _ => "31",
        };
        let took = screen::duration(run.ended_at_ms.unwrap_or(now).saturating_sub(run.started_at_ms));
        let status = printer.paint(colour, &format!("{:<15}", run.status));
        let line = format!("{}  {status} {:<6} {:>9}  {}  {}", run.run, run.workflow.as_str(), took, run.title, run.about);
        printer.data(line.trim_end());
    }
    if let Some(pid) = view.supervisor.as_deref().filter(|pid| agentops_engine::client::is_stopped(pid)) {
        printer.note(&format!("the supervisor (process {pid}) is stopped by a signal; `kill -CONT {pid}` lets it go on"));
    }
    if !view.waiting_for_slot.is_empty() {
        printer.data("\nwaiting for a slot, longest first:");
    }
    for waiting in &view.waiting_for_slot {
        let waited = screen::duration(now.saturating_sub(waiting.since_ms));
        printer.data(&format!("{}  {waited:>9}  {}", waiting.run, waiting.step));
    }
    if !view.waiting_for_lock.is_empty() {
        printer.data("\nwaiting for a lock:");
    }
    for waiting in &view.waiting_for_lock {
        let waited = screen::duration(waiting.waited_ms);
        printer.data(&format!("{}  {waited:>9}  {} {}", waiting.run, waiting.step, waiting.words()));
    }
    Ok(error::SUCCESS)
}

/// `agentops show`
pub fn show(context: &Context, args: &ShowArgs, printer: &Printer) -> Result<u8, CommandError> {
    super::note_checkout_fault(&context.repo, printer);
    let mut ledger = context.ledger()?;
    let run = context.run(&ledger, args.run.run.as_ref())?;
    let blobs = context.texts();
    let (state, mut view) = live::look(context, &mut ledger, &blobs, &run, context.attendance().includes(&run))?;
    if printer.json() && (args.diff || args.output.is_some() || args.document.is_some()) {
        let words = "`--diff`, `--output` and `--document` print a text as it is, which is no JSON";
        return Err(CommandError::new(error::USAGE, words).hint("leave --json out"));
    }
    if args.diff {
        let oid = |commit: &agentops_core::id::Commit| commit.as_str().parse::<Oid>();
        let patch = context.repo.patch(&oid(&view.base)?, &oid(&view.tip)?, 16 * 1024 * 1024)?;
        printer.data(agentops_safe::inert(&String::from_utf8_lossy(&patch)).trim_end());
        return Ok(error::SUCCESS);
    }
    if let Some(gate) = &args.output {
        let (mut printed, mut seq) = (None, 0);
        loop {
            let entries = ledger.entries_after(Some(&run), seq, 500)?;
            let Some(last) = entries.last() else { break };
            seq = last.seq;
            let outputs = entries.iter().rev().find_map(|entry| match &entry.event {
                Event::GateEnded { gate: known, output: Some(output), .. } if known.as_str() == gate => Some(output.clone()),
                _ => None,
            });
            printed = outputs.or(printed);
        }
        let Some(printed) = printed else {
            return Err(CommandError::new(NOT_NOW, format!("run {run} has no output of a gate `{gate}`"))
                .hint(format!("`agentops show {run}` names its gates; only those that run a command print something")));
        };
        printer.data(agentops_safe::inert(&blobs.text(&printed)?).trim_end());
        return Ok(error::SUCCESS);
    }
    if let Some(name) = &args.document {
        let lanes = state.phases.iter().flat_map(agentops_core::run::PhaseState::all_lanes);
        let found: Vec<_> = lanes.filter_map(|lane| Some((lane, lane.artifacts.get(name)?))).collect();
        if found.is_empty() {
            let lanes = state.phases.iter().flat_map(agentops_core::run::PhaseState::all_lanes);
            let known: std::collections::BTreeSet<_> = lanes.flat_map(|lane| lane.artifacts.keys().cloned()).collect();
            let known = known.into_iter().collect::<Vec<_>>().join(", ");
            return Err(
                CommandError::new(NOT_NOW, format!("run {run} has no document `{name}`")).hint(format!("it has: {known}"))
            );
        }
        for (lane, blob) in &found {
            if found.len() > 1 {
                printer.note(&format!("--- {}", lane.id));
            }
            printer.data(agentops_safe::inert(&blobs.text(blob)?).trim_end());
        }
        return Ok(error::SUCCESS);
    }
    let environment = context.environment_of(&view);
    let environment_lines = run_environment::lines(&environment);
    view.environment = Some(environment);
    view.waiting_for_lock = live::waiting_for_lock(context, Some(&run));
    if printer.json() {
        printer.value(&view);
        return Ok(error::SUCCESS);
    }
    printer.data(&screen::run(&view, printer, live::now()).join("\n"));
    if let Some(chosen) = &view.routed {
        printer.data(&screen::reasons(chosen).join("\n"));
    }
    printer.data(&environment_lines.join("\n"));
    printer.data(&repository_changes::all(&view).join("\n"));
    for phase in &view.phases {
        for gate in phase.gates.iter().filter_map(|gate| Some((gate, gate.detail.as_ref()?))) {
            printer.data(&format!("\n{}/{}:\n{}", phase.name, gate.0.name, gate.1.trim_end()));
        }
        for lane in &phase.lanes {
            for session in &lane.sessions {
                let unknown = || "unknown".to_owned();
                let facts = format!(
                    "model {}, program {}, window {}, {} calls, {} tokens",
                    session.model.as_deref().map_or_else(unknown, |model| agentops_safe::inert_line(model, 80)),
                    session.version.as_deref().map_or_else(unknown, |version| agentops_safe::inert_line(version, 80)),
                    session.window.map_or_else(unknown, screen::thousands),
                    session.calls,
                    screen::thousands(session.tokens.context())
                );
                let detail = session.detail.as_deref().map(|text| format!("\n    {}", text.trim_end())).unwrap_or_default();
                printer.data(&format!("  {}/{}/{}  {facts}{detail}", phase.name, lane.name, session.ordinal));
            }
        }
    }
    Ok(error::SUCCESS)
}

/// `agentops logs`
pub fn logs(context: &Context, args: &LogsArgs, printer: &Printer) -> Result<u8, CommandError> {
    let mut ledger = context.ledger()?;
    let run = context.run(&ledger, args.run.run.as_ref())?;
    let blobs = context.texts();
    let state = context.state(&mut ledger, &run)?;
    if args.raw {
        for (_, session) in state.sessions() {
            printer.note(&format!("--- {}", session.id));
            let path = context.paths.transcript(&run, &session.id);
            let text = std::fs::read(&path).unwrap_or_default();
            printer.data(agentops_safe::inert(&String::from_utf8_lossy(&text)).trim_end());
        }
        return Ok(error::SUCCESS);
    }
    let mut seq = 0;
    let mut tell = |ledger: &Ledger| -> Result<(), CommandError> {
        loop {
            let entries = ledger.entries_after(Some(&run), seq, 500)?;
            let Some(last) = entries.last() else { return Ok(()) };
            seq = last.seq;
            for entry in &entries {
                match printer.json() {
                    true => printer.document(&serde_json::to_string(entry).unwrap_or_default()),
                    false => printer.data(&agentops_safe::inert_line(&line(entry), 400)),
                }
            }
        }
    };
    tell(&ledger)?;
    if args.follow {
        let (_, view) = live::look(context, &mut ledger, &blobs, &run, context.attendance().includes(&run))?;
        if !live::at_rest(&view.status) {
            let quiet = Printer::new(false, true);
            follow(context, &run, &mut tell)?;
            let rest = live::follow(context, &blobs, &run, Follows::Watches, &quiet)?;
            tell(&context.ledger()?)?;
            return Ok(super::report(&rest.view, printer));
        }
        if matches!(view.status, Status::Waiting { waiting: Waiting::Supervisor }) {
            printer
                .note(&format!("note: no supervisor works on this run; it goes on when you type `agentops resume {run}`"));
        }
    }
    Ok(error::SUCCESS)
}

fn follow(
    context: &Context,
    run: &agentops_core::id::RunId,
    tell: &mut impl FnMut(&Ledger) -> Result<(), CommandError>,
) -> Result<(), CommandError> {
    use std::io::BufRead;
    // It starts no supervisor: that one would have no environment to work in.
    let Ok(stream) = agentops_engine::client::connect(&context.paths, None) else { return Ok(()) };
    let mut changes = agentops_engine::client::follow(stream)?;
    let mut word = String::new();
    while changes.read_line(&mut word).is_ok_and(|bytes| bytes > 0) {
        word.clear();
        let mut ledger = context.ledger()?;
        tell(&ledger)?;
        let state = context.state(&mut ledger, run)?;
        if live::at_rest(&state.status(true)) {
            break;
        }
    }
    Ok(())
}

/// One entry as a line: its time of day, its event, and the few words that matter.
fn line(entry: &Entry) -> String {
    let time = jiff::Timestamp::from_millisecond(i64::try_from(entry.at_ms).unwrap_or(0));
    let time = time.map(|time| time.to_string().chars().skip(11).take(8).collect::<String>()).unwrap_or_default();
    let words = match &entry.event {
        Event::Created(created) => {
            format!("created       workflow {} from {}", created.workflow.name, &created.base.as_str()[..10])
        }
        Event::Began { key } => format!("began         {key}"),
        Event::Orphaned => "taken over    from a supervisor that died".into(),
        Event::LaneOpened { lane, .. } => format!("lane opened   {lane}"),
        Event::LaneFailed { lane, .. } => format!("lane failed   {lane}"),
        Event::SlotAwaited { key } => format!("slot awaited  {key}"),
        Event::SlotTaken { key } => format!("slot taken    {key}"),
        Event::SessionReady { session, facts } => format!(
            "session up    {session} {} {}",
            facts.model.as_deref().unwrap_or("model unknown"),
            facts.window.map_or("no window".into(), |window| format!("window {}", screen::thousands(window)))
        ),
        Event::Granted { session, amount } => format!("granted       {session} {amount}"),
        Event::Call { session, context, window, .. } => {
            let share = agentops_core::ceiling::Window::new(*window)
                .map_or("?".into(), |window| screen::percent(window.permille(*context)));
            format!(
                "call          {session} context {} of {}, {share}",
                screen::thousands(*context),
                screen::thousands(*window)
            )
        }
        Event::RepositoryRecorded { during, .. } => format!("recorded      your repository before {during}"),
        Event::RepositoryCompared { during, count, .. } => {
            format!("compared      your repository after {during}, {count} differences")
        }
        Event::ProgramsAgreed { agreed, put_back } => {
            format!("agreed        {} hooks or settings of git; {} were put back", agreed.len(), put_back.len())
        }
        Event::SessionNotStarted { session, .. } => format!("not started   {session}"),
        Event::SessionExited { session, exit } => format!("agent exited  {session} {}", word(&exit.end)),
        Event::SessionEnded { session, end, changed, dropped, .. } => {
            let dropped = if *dropped > 0 { format!(", {dropped} dropped") } else { String::new() };
            format!("session end   {session} {}, {changed} files changed{dropped}", word(end))
        }
        Event::Merged { phase, commit, changed } => {
            format!("merged        {phase} as {}, {changed} files", &commit.as_str()[..10])
        }
        Event::Conflict { lane, .. } => format!("conflict      {lane}"),
        Event::GateEnded { phase, gate, verdict, .. } => format!("gate          {phase}/{gate} {}", word(verdict)),
        Event::ApprovalAsked { phase, gate, .. } => format!("approval      {phase}/{gate} asked"),
        Event::Bundled { phase, before, after, kept_permille, .. } => {
            format!("bundle        {phase} {}", screen::bundle(*before, *after, *kept_permille))
        }
        Event::LawsChecked { held, .. } => format!("laws          {} of 5 held", held.iter().filter(|held| **held).count()),
        Event::Recorded { commit } => format!("recorded      {}", &commit.as_str()[..10]),
        Event::Published { commit } => format!("branch        {} at {}", entry.run.branch(), &commit.as_str()[..10]),
        Event::ActionFailed { key, .. } => format!("failed        {key}"),
        Event::LanesClosed => "lanes closed".into(),
        Event::Intent(intent) => {
            let kind = serde_json::to_value(intent).ok().and_then(|value| value["intent"].as_str().map(str::to_owned));
            format!("you           {}", kind.unwrap_or_default())
        }
        Event::TimerFired { key } => format!("timer         {key}"),
        Event::Ended { outcome } => format!("ended         {}", word(outcome)),
        Event::Closed { closing } => {
            format!("closed        {}", serde_json::to_value(closing).unwrap_or_default()["closing"].as_str().unwrap_or("?"))
        }
    };
    format!("{time}  {words}")
}

fn word(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}
