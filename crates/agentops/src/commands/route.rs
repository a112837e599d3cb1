//! `route`: where a task would go and why; a person's corrections; how well it works.

mod batch;
mod outcome;
mod show;

use std::path::Path;

use agentops_engine::files::FileError;
use agentops_engine::files::profile::Places;
use agentops_engine::perform::chain;
use agentops_engine::routing::{self, Doubt, Here, Learner, Routed, Routing};
use agentops_route::feedback::{Line, Shown, Source};
use agentops_safe::inert_line;
use schemars::JsonSchema;
use serde::Serialize;

pub use outcome::outcome;

use crate::cli::{CorrectArgs, Global, RouteArgs, RouteCommand};
use crate::context::{self, Context};
use crate::error::{self, CommandError, FAILED, NOT_NOW, USAGE};
use crate::live;
use crate::printer::{Done, Printer};

/// The longest task that is read, in bytes. Routing itself reads the beginning and the end.
const TASK_BYTES_MAX: u64 = 4 << 20;

/// Output of `route --json`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RouteView {
    /// Agent and workflow, each with its alternatives.
    #[serde(flatten)]
    routed: Routed,
    /// What was learnt of people and of runs: tasks with an agent, and with a workflow.
    learnt: LearntView,
    /// What is not used, and why.
    problems: Vec<String>,
}

/// What was learnt, and what was not.
#[derive(Debug, Serialize, JsonSchema)]
pub struct LearntView {
    /// Tasks whose agent is known.
    agents: usize,
    /// Tasks whose workflow is known.
    workflows: usize,
    /// Lines whose agent or workflow is no longer there.
    vanished: usize,
    /// Other lines that are not learnt: why, and how many.
    left_out: Vec<(String, usize)>,
}

impl LearntView {
    fn of(routing: &Routing) -> Self {
        let of = &routing.learnt;
        let left_out = of.left_out.iter().map(|(why, count)| (why.words().to_owned(), *count)).collect();
        Self { agents: of.agents, workflows: of.workflows, vanished: of.vanished, left_out }
    }
}

/// `agentops route`
pub fn route(global: &Global, args: &RouteArgs, printer: &Printer) -> Result<u8, CommandError> {
    match &args.what {
        Some(RouteCommand::Correct(correct)) => self::correct(global, correct, printer),
        Some(RouteCommand::Eval) => eval(global, printer),
        None if args.batch.catalogue.is_some() => batch::answer(&args.batch, printer),
        None => {
            let task = match (&args.task, &args.file) {
                (Some(task), _) => task.clone(),
                (None, Some(file)) => read_task(file)?,
                (None, None) => {
                    return Err(CommandError::new(USAGE, "no task is named").hint("agentops route \"what is to be done\""));
                }
            };
            let routing = open(global)?;
            let routed = routing.route(&context::redacted(&task));
            let view = RouteView { routed, learnt: LearntView::of(&routing), problems: routing.problems };
            if printer.json() {
                printer.value(&view);
            } else {
                show::routed(&view, printer);
            }
            Ok(error::SUCCESS)
        }
    }
}

/// With what this repository learnt; outside of any, with nothing learnt.
fn open(global: &Global) -> Result<Routing, CommandError> {
    match Context::find(global) {
        Ok(context) => Ok(learnt(&context, &Places::of(Some(context.repo.work_tree()), &context.home))?),
        Err(_) => {
            let places = super::agents::places(global)?;
            Ok(Routing::open(&places, &routing::roles(&places)?)?)
        }
    }
}

/// Routing with what this repository learnt.
pub fn learnt(context: &Context, places: &Places) -> Result<Routing, FileError> {
    // Where the folder cannot be made nothing is kept, and everything is learnt each time.
    let context = &context.claim().unwrap_or_else(|_| context.clone());
    let cache = context.paths.make().ok().map(|()| context.paths.routing());
    let here = Here { repo: &context.repo, cache: cache.as_deref(), now_ms: live::now() };
    Routing::learnt(places, &routing::roles(places)?, here)
}

/// Everything that is needed to learn from the beginning.
fn learner(global: &Global) -> Result<Learner, CommandError> {
    match Context::find(global) {
        Ok(context) => {
            let places = Places::of(Some(context.repo.work_tree()), &context.home);
            let here = Here { repo: &context.repo, cache: None, now_ms: live::now() };
            Ok(Learner::open(&places, &routing::roles(&places)?, Some(here))?)
        }
        Err(_) => {
            let places = super::agents::places(global)?;
            Ok(Learner::open(&places, &routing::roles(&places)?, None)?)
        }
    }
}

fn read_task(file: &Path) -> Result<String, CommandError> {
    let wrong = |words: String| CommandError::new(USAGE, words).hint("--file takes a text file, or `-` for stdin");
    let bytes =
        super::input(file, TASK_BYTES_MAX + 1).map_err(|e| wrong(format!("{} cannot be read: {e}", file.display())))?;
    if bytes.len() as u64 > TASK_BYTES_MAX {
        return Err(wrong(format!("{} has more than {TASK_BYTES_MAX} bytes", file.display())));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn correct(global: &Global, args: &CorrectArgs, printer: &Printer) -> Result<u8, CommandError> {
    // What agents do must not teach which agent is right.
    super::person_only()?;
    let context = &Context::find(global)?.claim()?;
    let task = match (&args.task, &args.run) {
        (Some(task), _) => context::redacted(task),
        (None, named) => {
            let mut ledger = context.ledger()?;
            let run = context.run(&ledger, named.as_ref())?;
            let task = context.state(&mut ledger, &run)?.created.task.clone();
            context.texts().text(&task)?
        }
    };
    if task.trim().is_empty() {
        return Err(CommandError::new(USAGE, "the task is empty, so nothing can be learnt from it")
            .hint("give the task as it was asked for"));
    }
    let learner = learner(global)?;
    let routing = learner.routing();
    let agent = args.agent.as_deref().map(|given| agent(&routing, given)).transpose()?;
    if let Some(name) = args.workflow.as_deref().filter(|name| !routing.has_workflow(name)) {
        let known = routing.workflows().collect::<Vec<_>>().join(", ");
        return Err(CommandError::new(USAGE, format!("there is no workflow `{name}`; there are: {known}"))
            .hint("name one of them with --workflow"));
    }
    let before = routing.route(&task);
    let mut line = Line::new(live::now(), Source::Corrected, &task, agent, args.workflow.clone());
    let first = before.agent.ranked.first().map(|first| first.label.clone());
    line.shown = Some(Shown { agent: first, workflow: before.workflow.name });
    if let Some(doubt) = learner.doubt(&line) {
        if !args.force {
            return Err(refused(&doubt));
        }
        line.doubted = true;
        printer.note(&said(&doubt));
        printer.note(
            "kept in git, not learnt; correct it again without --force once these examples no longer speak against it",
        );
    }
    Routing::record(&context.repo, &context::redactor(), &line)
        .map_err(|e| CommandError::new(FAILED, format!("the correction was not kept: {}", chain(&e))).hint(KEPT_HINT))?;
    let to: Vec<&str> = line.agent.as_deref().into_iter().chain(line.workflow.as_deref()).collect();
    let did = if line.doubted { "kept, not learnt" } else { "learnt" };
    let did = format!("{did}: \u{201c}{}\u{201d} goes to {}", inert_line(&line.text, 60), inert_line(&to.join(", "), 200));
    printer.done(&Done { did, ..Done::default() });
    Ok(error::SUCCESS)
}

/// What helps where feedback cannot be written.
const KEPT_HINT: &str = "`git log agentops/records` shows that branch; `agentops doctor` checks the repository";

fn agent(routing: &Routing, given: &str) -> Result<String, CommandError> {
    routing.meant(given).map_err(|near| {
        let shown = inert_line(given, 100);
        let problem = format!("no task goes to an agent `{shown}`; most like it: {}", inert_line(&near.join(", "), 300));
        CommandError::new(USAGE, problem).hint("name an agent by its label; `agentops agents --json` has every label")
    })
}

/// How many examples that would go wrong are named.
const WRONG_SHOWN: usize = 3;

fn said(doubt: &Doubt) -> String {
    let Doubt { profile, before, after, all, wrong } = doubt;
    let wrong: Vec<String> = wrong
        .iter()
        .take(WRONG_SHOWN)
        .map(|(text, label)| format!("\u{201c}{}\u{201d} belongs to {}", inert_line(text, 80), crate::labels::whole(label)))
        .collect();
    let wrong = wrong.join("; ");
    format!("{wrong}; right of the {all} held-back examples of {profile}: {before} before, {after} with it")
}

fn refused(doubt: &Doubt) -> CommandError {
    CommandError::new(NOT_NOW, "the correction makes held-back examples go wrong").cause(said(doubt)).hint(
        "agentops route eval shows the figures; --force keeps the correction in git, where it is not learnt; if the examples \
         are the repository's own and wrong, change .agentops/routing/held-back.jsonl",
    )
}

fn eval(global: &Global, printer: &Printer) -> Result<u8, CommandError> {
    let learner = learner(global)?;
    let view = learner.eval();
    if printer.json() {
        printer.value(&view);
    } else {
        show::eval(&view, printer);
        learner.problems().iter().for_each(|problem| printer.note(problem));
    }
    Ok(error::SUCCESS)
}
