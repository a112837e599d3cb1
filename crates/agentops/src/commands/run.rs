//! `agentops run`: plan, trust, start, follow.

use std::collections::BTreeMap;

use agentops_agents::driver::{Reach, UsageReports};
use agentops_core::id::RunId;
use agentops_core::run::{Approve, Status, Waiting};
use agentops_core::workflow::{Check, Writes};
use agentops_engine::chosen::Chosen;
use agentops_engine::client::ClientError;
use agentops_engine::file_size::FileSizeLimit;
use agentops_engine::files::profile::BUILT_IN;
use agentops_engine::plan::{self, Plan, RunRequest};
use agentops_engine::trust::{Subject, Trusted};
use agentops_engine::wire::{RefusalKind, Reply, Request};
use schemars::JsonSchema;
use serde::Serialize;

use crate::cli::{ApproveArg, RunArgs};
use crate::context::{self, Context};
use crate::error::{self, CommandError, accepted};
use crate::interruption::LastAnswer;
use crate::live::{self, Follows};
use crate::printer::{Done, Printer};
use crate::{routed, screen};

/// `agentops run`
pub fn run(context: &Context, args: &RunArgs, printer: &Printer) -> Result<u8, CommandError> {
    let mut request = request(args)?;
    // The supervisor may have been started from another terminal and know other secrets.
    request.task = context::redacted(&request.task);
    if args.dry_run {
        routed::route(context, &mut request, printer)?;
        return dry_run(context, &request, printer);
    }
    super::person_only()?;
    let followed = printer.live && !args.detach;
    routed::route(context, &mut request, printer)?;
    if followed {
        routed::ask(context, &mut request, printer)?;
    }
    if let Some(chosen) = request.routed.as_ref().filter(|_| !followed) {
        // Where a run is followed on a terminal, this is the first line of what is shown of it.
        let mut lines = screen::routed(chosen, BUILT_IN, request.approve, printer);
        lines.extend(screen::untaken(chosen, printer));
        printer.note(&lines.join("\n"));
    }
    let context = &context.claim()?;
    let Some(run) = start(context, request, printer)? else { return Ok(error::TRUST_REQUIRED) };
    if args.detach {
        if printer.json() {
            printer.done(&Done { run: Some(run), did: "started".into(), ..Done::default() });
        } else {
            printer.data(run.as_str());
            printer.note(&format!("follow it with: agentops logs {run} --follow"));
        }
        return Ok(error::SUCCESS);
    }
    attend(context, &run, printer)
}

fn request(args: &RunArgs) -> Result<RunRequest, CommandError> {
    let task = match (&args.task, &args.file) {
        (Some(task), _) => task.clone(),
        (None, Some(file)) => read_task(file)?,
        (None, None) => String::new(),
    };
    let mut settings = BTreeMap::new();
    for setting in &args.settings {
        let Some((key, value)) = setting.split_once('=') else {
            return Err(CommandError::new(error::USAGE, format!("`--set {setting}` has no `=`")).hint("--set KEY=VALUE"));
        };
        settings.insert(key.to_owned(), value.to_owned());
    }
    Ok(RunRequest {
        task,
        workflow: args.workflow.clone(),
        agent: args.agent.clone(),
        driver: args.driver.clone(),
        model: args.model.clone(),
        base: args.base.clone(),
        approve: match args.approve {
            ApproveArg::None => Approve::None,
            ApproveArg::Plan => Approve::Plan,
            ApproveArg::All => Approve::All,
        },
        settings,
        trust: args.trust.clone(),
        routed: None,
    })
}

fn read_task(file: &std::path::Path) -> Result<String, CommandError> {
    // One byte more than may be: then the length is refused with its reason, not cut in silence.
    let most = u64::try_from(plan::TASK_BYTES_MAX).unwrap_or(u64::MAX) + 1;
    let name = file.display();
    let wrong = |words: String| CommandError::new(error::USAGE, words).hint("--file takes a text file, or `-` for stdin");
    let bytes = super::input(file, most).map_err(|e| wrong(format!("the task cannot be read from {name}: {e}")))?;
    String::from_utf8(bytes).map_err(|_| wrong(format!("the task in {name} is not UTF-8 text")))
}

/// Starts the run, asking for trust where that is needed. `None`: trust is required and nobody could be asked, or refused.
pub fn start(context: &Context, mut request: RunRequest, printer: &Printer) -> Result<Option<RunId>, CommandError> {
    loop {
        match context.ask(&Request::Start { request: request.clone(), environment: context.lent() })? {
            Reply::Started { run, notes } => {
                for note in notes {
                    printer.note(&format!("note: {note}"));
                }
                return Ok(Some(run));
            }
            Reply::Refused { kind: RefusalKind::TrustRequired, message, hint, subject: Some(subject) } => {
                if printer.live
                    && let Some(chosen) = &request.routed
                {
                    printer.note(&screen::routed(chosen, BUILT_IN, request.approve, printer).join("\n"));
                }
                if !agree(context, &subject, &message, &hint, printer)? {
                    return Ok(None);
                }
                // Trusted is what was shown; if it changed meanwhile, it is asked again.
                request.trust = Some(subject.hash.to_string());
            }
            other => {
                accepted(other)?;
                return Err(CommandError::new(error::FAILED, "the supervisor answered something unexpected"));
            }
        }
    }
}

/// Shows what would run and asks. Says so, and gives false, where nobody can be asked.
fn agree(context: &Context, subject: &Subject, message: &str, hint: &str, printer: &Printer) -> Result<bool, CommandError> {
    let required = || CommandError {
        subject: Some(subject.clone()),
        ..CommandError::new(error::TRUST_REQUIRED, message.to_owned())
            .hint(hint.to_owned())
            .hint(format!("for a machine: agentops run --trust {} …", subject.hash))
    };
    if printer.json() {
        return Err(required());
    }
    printer.note(&format!(
        "This is the first run here with these programs. It would use, as you:\n\n{}",
        super::trust::lines(subject)
    ));
    match super::ask("Trust this repository as it is now? [y/N]")? {
        Some(answer) if matches!(answer.as_str(), "y" | "Y" | "yes") => {
            let mut trusted = Trusted::read(&context.home.trust_file())?;
            trusted.add(context.repo.id(), context.repo.work_tree(), &subject.hash);
            trusted.write(&context.home.trust_file())?;
            Ok(true)
        }
        Some(_) => Ok(false),
        None => Err(required()),
    }
}

/// Follows a run; on a terminal asks for approvals as they come.
pub fn attend(context: &Context, run: &RunId, printer: &Printer) -> Result<u8, CommandError> {
    let blobs = context.texts();
    let words = format!("\nthe run goes on; follow it: agentops logs {run} --follow; stop it: agentops cancel {run}");
    let _answers = LastAnswer::with({
        let printer = printer.clone();
        move || printer.note(&words)
    })?;
    loop {
        let rest = live::follow(context, &blobs, run, Follows::Lends, printer)?;
        let Status::Waiting { waiting: Waiting::Approval { phase, shown, .. } } = &rest.view.status else {
            let code = super::report(&rest.view, printer);
            if matches!(rest.view.status, Status::Failed { .. } | Status::Cancelled) {
                super::open_programs::name(context, printer);
            }
            return Ok(code);
        };
        if !printer.live {
            return Ok(super::report(&rest.view, printer));
        }
        let text = match blobs.text(shown) {
            Ok(text) => text,
            Err(e) => {
                printer.note(&format!("note: what waits for your approval cannot be read: {e}"));
                return Ok(super::report(&rest.view, printer));
            }
        };
        printer.note(&format!("\n{}\n", agentops_safe::inert(&text)));
        let question = format!("Approve the result of {phase}? [y]es, [n]ot now, or words that say what must change:");
        let request = match super::ask(&question)?.as_deref() {
            Some("y" | "Y" | "yes") => Request::Approve { run: run.clone(), shown: shown.clone() },
            None | Some("" | "n" | "N" | "no") => return Ok(super::report(&rest.view, printer)),
            Some(words) => Request::Reject { run: run.clone(), shown: shown.clone(), message: context::redacted(words) },
        };
        accepted(context.ask(&request)?)?;
    }
}

/// What a run would do.
#[derive(Debug, Serialize, JsonSchema)]
pub struct DryRun {
    /// The workflow.
    workflow: String,
    /// What it was routed to, who decided, and what else could do it.
    routed: Option<Box<Chosen>>,
    /// The commit it would start from.
    base: String,
    /// Whether the repository is trusted for it.
    trusted: bool,
    /// What trust covers.
    subject: Subject,
    /// Its phases.
    phases: Vec<DryPhase>,
    /// Its agents.
    agents: Vec<DryAgent>,
    /// Gates that are left out, and why.
    left_out: Vec<String>,
    /// Where the test command was proposed from; absent: configured, or none.
    test_from: Option<String>,
    /// Sessions a lane may take before you are asked.
    sessions_max: u32,
    /// The ceiling, in thousandths of the window.
    ceiling_permille: u64,
    /// How agents are kept apart from the rest of the machine.
    isolation: String,
    /// Tokens that earlier runs of this workflow took, least and most; absent: unknown.
    tokens_before: Option<(u64, u64)>,
    /// Names of variables of your environment that agents, gates and set-up programs do not get.
    withheld: Vec<String>,
    /// Things to know.
    notes: Vec<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct DryPhase {
    name: String,
    writes: Writes,
    lanes: Vec<String>,
    gates: Vec<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct DryAgent {
    name: String,
    driver: String,
    program: String,
    version: String,
    model: Option<String>,
    enforcement: String,
    /// Names of variables that look like secrets and that its program gets.
    held: Vec<String>,
}

fn dry_run(context: &Context, request: &RunRequest, printer: &Printer) -> Result<u8, CommandError> {
    if let Some(limit) = FileSizeLimit::too_small() {
        return Err(ClientError::FileSize(limit).into());
    }
    // Nothing of a dry run is kept: its blobs go to a folder that is removed.
    let (_folder, blobs) = context.throwaway_blobs()?;
    let planned = plan::plan(&context.repo, &context.home, &blobs, &context.lent().variables, request)?;
    let dry = DryRun { routed: request.routed.clone(), ..describe(context, &planned)? };
    if printer.json() {
        printer.value(&dry);
    } else {
        let mut lines = match &dry.routed {
            Some(chosen) => {
                let mut lines = screen::routed(chosen, BUILT_IN, request.approve, printer);
                lines.extend(screen::untaken(chosen, printer));
                lines
            }
            None => vec![format!("workflow    {}", dry.workflow)],
        };
        lines.push(foretold(&dry));
        printer.data(&lines.join("\n"));
    }
    Ok(error::SUCCESS)
}

fn describe(context: &Context, planned: &Plan) -> Result<DryRun, CommandError> {
    let workflow = &planned.created.workflow;
    let phases = workflow.phases.iter().map(|phase| DryPhase {
        name: phase.name.to_string(),
        writes: phase.writes,
        lanes: phase.lanes.iter().map(|lane| format!("{} ({})", lane.name, lane.agent)).collect(),
        gates: phase
            .gates
            .iter()
            .map(|gate| match &gate.check {
                Check::Command { argv, .. } => format!("{}: {}", gate.name, argv.join(" ")),
                Check::Artifact { file, .. } => format!("{}: {file}", gate.name),
                Check::Review { agent } => format!("{}: by {agent}", gate.name),
                Check::Approval { file } => format!("{}: yours, of {file}", gate.name),
                Check::Laws => format!("{}: by code", gate.name),
            })
            .collect(),
    });
    let unasked = "not asked before trust".to_owned();
    let agents = planned.agents.iter().map(|(name, agent)| DryAgent {
        name: name.to_string(),
        driver: agent.agent.driver.to_string(),
        program: agent.probe.as_ref().map_or_else(|| unasked.clone(), |probe| probe.program.display().to_string()),
        version: agent.probe.as_ref().map_or_else(|| unasked.clone(), |probe| probe.version.clone()),
        model: agent.agent.model.clone(),
        held: agent.held.clone(),
        enforcement: match (&agent.reach, agent.capabilities.usage) {
            (_, UsageReports::NoModel) | (Reach::NoModel, _) => "no model".into(),
            (Reach::Gateway { .. }, _) => "prevented: a call that could pass the ceiling is not forwarded".into(),
            (Reach::Direct(why), _) => format!("stopped: an overshoot of one call is possible and would be shown ({why})"),
        },
    });
    let trusted = Trusted::read(&context.home.trust_file())?.covers(context.repo.id(), &planned.subject.hash);
    Ok(DryRun {
        workflow: format!("{} / {}", planned.created.profile, workflow.name),
        routed: None,
        base: planned.created.base.to_string(),
        trusted,
        subject: planned.subject.clone(),
        phases: phases.collect(),
        agents: agents.collect(),
        left_out: planned.left_out.clone(),
        test_from: planned.test_from.clone(),
        sessions_max: workflow.limits.sessions_max,
        ceiling_permille: agentops_core::ceiling::CEILING_PERMILLE,
        isolation: "own repository and process tree; no sandbox yet: agents run with your rights".into(),
        tokens_before: tokens_before(context, workflow.name.as_str())?,
        withheld: planned.withheld.clone(),
        notes: planned.notes.clone(),
    })
}

/// The range of tokens that earlier runs of a workflow took.
fn tokens_before(context: &Context, workflow: &str) -> Result<Option<(u64, u64)>, CommandError> {
    let Some(mut ledger) = agentops_engine::ledger::Ledger::read(&context.paths.ledger())? else { return Ok(None) };
    let lines = ledger.runs(50)?;
    let mut range: Option<(u64, u64)> = None;
    for line in lines.iter().filter(|line| line.workflow.as_str() == workflow && line.outcome.is_some()) {
        let used = ledger.state(&line.run)?.map_or(0, |state| state.usage().context());
        if used > 0 {
            range = Some(range.map_or((used, used), |(least, most)| (least.min(used), most.max(used))));
        }
    }
    Ok(range)
}

fn foretold(dry: &DryRun) -> String {
    let mut text = format!("base        {}\n", &dry.base[..12.min(dry.base.len())]);
    for phase in &dry.phases {
        let gates = if phase.gates.is_empty() { "no gate".into() } else { phase.gates.join(" · ") };
        text.push_str(&format!("{:<11} {}   {gates}\n", phase.name, phase.lanes.join(" · ")));
    }
    for agent in &dry.agents {
        let model = agent.model.as_deref().unwrap_or("its default model");
        text.push_str(&format!(
            "agent       {}: {} {} ({model})   {}\n",
            agent.name, agent.driver, agent.version, agent.enforcement
        ));
    }
    for agent in dry.agents.iter().filter(|agent| !agent.held.is_empty()) {
        text.push_str(&format!(
            "variables   agent {} gets {}, which look like secrets\n",
            agent.name,
            agent.held.join(", ")
        ));
    }
    if !dry.withheld.is_empty() {
        text.push_str(&format!("withheld    lanes do not get {}\n", dry.withheld.join(", ")));
    }
    for left_out in &dry.left_out {
        text.push_str(&format!("left out    {left_out}; set [commands] test in .agentops/config.toml\n"));
    }
    if let Some(from) = &dry.test_from {
        text.push_str(&format!(
            "tests       proposed from {from}; set [commands] test in .agentops/config.toml to change it\n"
        ));
    }
    let tokens = dry.tokens_before.map_or("unknown".to_owned(), |(least, most)| {
        format!("{} to {} tokens in earlier runs", screen::thousands(least), screen::thousands(most))
    });
    text.push_str(&format!(
        "limits      40 % of the window a session; {} sessions a lane before you are asked\n",
        dry.sessions_max
    ));
    text.push_str(&format!("cost        {tokens}\nisolation   {}\n", dry.isolation));
    text.push_str(&format!(
        "trust       {}\n",
        if dry.trusted { "given".to_owned() } else { format!("needed for {}", dry.subject.hash) }
    ));
    for note in &dry.notes {
        text.push_str(&format!("note        {note}\n"));
    }
    text.push_str("nothing was started");
    agentops_safe::inert(&text).into_owned()
}
