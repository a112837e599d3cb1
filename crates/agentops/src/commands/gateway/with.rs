//! `agentops with`: a person's own agent program behind the gateway.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use agentops_agents::attached;
use agentops_agents::driver::{Driver, DriverError, Lead, Led, Reach};
use agentops_agents::process::ProcessId;
use agentops_agents::registry;
use agentops_core::ceiling::Window;
use agentops_core::models;
use agentops_engine::perform::gateway::{Aim, Target, aim};
use agentops_gateway::host::{Note, Refusal};

use super::alone::{Alone, News, Show, Wish};
use super::report::{Kept, WithReport};
use super::serve::refused;
use super::sign::Sign;
use super::tally::Tally;
use crate::cli::WithArgs;
use crate::context::Standing;
use crate::error::{CommandError, FAILED, USAGE};
use crate::live::now;
use crate::printer::Printer;

/// `agentops with`
pub fn with(standing: &Standing, args: &WithArgs, printer: &Printer) -> Result<u8, CommandError> {
    let mut words = args.command.iter();
    let agent = words.next().map(|agent| agent.to_string_lossy().into_owned()).unwrap_or_default();
    let driver = registry::driver(&agent).map_err(of_driver)?;
    let standing = &with_settings(standing, driver);
    let target = target(standing, driver, args.command.get(1..).unwrap_or_default())?;
    let destination = target.destination.name().to_owned();
    if let Some(words) = unread_address(standing, driver, &target) {
        printer.note(&words);
    }
    let kept = args.report.as_ref().map(|_| Kept::default());
    let ran = run(standing, driver, target, args, kept.clone())?;
    say(&ran, printer);
    let exit_code = exit_code(ran.status);
    if let (Some(path), Some(kept)) = (&args.report, kept) {
        let (calls, refused) = kept.take();
        let report = WithReport {
            agent,
            destination,
            started_ms: ran.started_ms,
            ended_ms: ran.ended_ms,
            exit_code,
            prices_of: models::prices_date().to_owned(),
            totals: ran.totals,
            calls,
            refused,
        };
        report.write(path)?;
    }
    Ok(exit_code)
}

/// What came of it.
struct Ran {
    status: ExitStatus,
    started_ms: u64,
    ended_ms: u64,
    totals: Tally,
    /// What to do if no call came through; `None`: what is usual.
    silent_hint: Option<String>,
    /// What went wrong with the day's ledger.
    trouble: Option<String>,
}

/// Runs the program to its end.
fn run(
    standing: &Standing,
    driver: &'static dyn Driver,
    target: Target,
    args: &WithArgs,
    kept: Option<Kept>,
) -> Result<Ran, CommandError> {
    let scratch = Scratch::new(&standing.home.gateway().join("with"))?;
    let line = scratch.0.join("line");
    let window = args.window.and_then(|tokens| Window::new(tokens.get()));
    let credential = target.credential;
    let alone = Alone::start(standing, 0)?;
    let sign = Sign::new(line.clone());
    let wish = Wish {
        name: driver.name().to_owned(),
        target,
        window,
        hint: driver.makes_room().to_owned(),
        hint_past_summary: driver.starts_over().to_owned(),
        plain_refusal: driver.loops_when_too_long(),
        show: show(&sign, driver, kept),
    };
    let (lane, host) = alone.open(standing, wish)?;
    let rest = args.command.get(1..).unwrap_or_default();
    let lead = Lead {
        settings: &BTreeMap::new(),
        route: &lane.route(credential),
        scratch: &scratch.0,
        args: rest,
        env: &standing.env,
        window,
        line: &line,
    };
    let Led { launch, shows_line, silent_hint } = driver.lead(&lead).map_err(of_driver)?;
    let sign = sign.begin(!shows_line)?;
    let started_ms = now();
    let status = attached::run(&launch, rest);
    let ended_ms = now();
    drop(lane);
    let trouble = alone.end();
    sign.end();
    let program = launch.program.display();
    let status = status.map_err(|e| CommandError::new(FAILED, format!("{program} cannot be started: {e}")))?;
    Ok(Ran { status, started_ms, ended_ms, totals: host.tally(), silent_hint, trouble })
}

/// The figures, on stderr: stdout is the program's.
fn say(ran: &Ran, printer: &Printer) {
    printer.note(&format!("agentops: {}", ran.totals.line()));
    if ran.totals.calls == 0 && ran.totals.refused == 0 {
        let usual = "do the program's own settings or arguments lead it elsewhere?";
        let hint = ran.silent_hint.as_deref().unwrap_or(usual);
        printer.note(&format!("agentops: no call came through the gateway; {hint}"));
    }
    if let Some(trouble) = &ran.trouble {
        printer.note(&format!("agentops: {trouble}"));
    }
}

/// With what the program's own settings make of its environment.
fn with_settings(standing: &Standing, driver: &dyn Driver) -> Standing {
    let mut standing = standing.clone();
    for (name, value) in driver.settings_env(&|name| standing.var(name)) {
        standing.env = standing.env.with(&name, &value);
    }
    standing
}

/// Where the program's calls go, as its own settings, its arguments and the user's settings have it.
fn target(standing: &Standing, driver: &dyn Driver, args: &[OsString]) -> Result<Target, CommandError> {
    let model = driver.model_of_args(args);
    let reach = driver.reach(&Default::default(), model.as_deref(), &|name| standing.env.lossy_text(name));
    let refused = |words: String| CommandError::new(USAGE, words);
    match aim(&standing.user, &standing.env, reach).map_err(refused)? {
        Aim::At(target) => Ok(*target),
        Aim::Past(why) => Err(refused(format!("{} cannot be led through the gateway: {why}", driver.name()))
            .hint(format!("start `{}` by itself: nothing would be metered or held", driver.name()))),
        Aim::NoModel => {
            Err(refused(format!("{} calls no model", driver.name())).hint("agentops with claude, codex, opencode or gemini"))
        }
    }
}

/// The environment names an address that the program by itself would not read: says where its calls and their key go.
fn unread_address(standing: &Standing, driver: &dyn Driver, target: &Target) -> Option<String> {
    let (variable, setting) = driver.unread_address()?;
    let named = standing.var(variable).filter(|address| !address.trim().is_empty())?;
    let named = named.trim().trim_end_matches('/');
    let base = target.base().to_string();
    let is_base = [named, named.trim_end_matches("/v1")].contains(&base.trim_end_matches('/'));
    let others = |name: &str| standing.env.lossy_text(name).filter(|_| name != variable);
    let is_configured = matches!(driver.reach(&Default::default(), None, &others), Reach::Gateway { base: Some(_), .. });
    let driver = driver.name();
    match (is_base, is_configured) {
        (true, true) => None,
        (true, false) => {
            Some(format!("agentops: calls go to {base}, as {variable} says; {driver} alone reads only {setting}"))
        }
        (false, _) => Some(format!(
            "agentops: {driver} does not read {variable}: its calls go to {base}. Its own setting is {setting}"
        )),
    }
}

fn of_driver(error: DriverError) -> CommandError {
    let hint = match &error {
        DriverError::Missing { hint, .. } => hint.clone(),
        DriverError::Unknown { .. } | DriverError::NotLed { .. } => "agentops with claude, codex, opencode or gemini".into(),
        _ => String::new(),
    };
    CommandError::new(USAGE, super::super::chain(&error)).hint(hint)
}

fn show(sign: &Sign, driver: &'static dyn Driver, kept: Option<Kept>) -> Show {
    let sign = sign.teller();
    Box::new(move |tally, news| match news {
        News::Call { row, passed_mark } => {
            if let Some(kept) = &kept {
                kept.call(row);
            }
            let line = match tally.is_past_mark() {
                true => format!("past the soft mark: {}  ·  {}", driver.makes_room(), tally.line()),
                false => tally.line(),
            };
            sign.say(line, *passed_mark);
        }
        News::Refused(refusal) => {
            if let Some(kept) = &kept {
                kept.refused(refusal.to_string());
            }
            let words = match refusal {
                Refusal::Ceiling { .. } if refusal.leaves_room_for_summary() => {
                    format!("at the ceiling: {}", driver.makes_room())
                }
                Refusal::Ceiling { .. } => format!("at the ceiling: {}", driver.starts_over()),
                other => format!("refused: {other}"),
            };
            sign.say(format!("{words}  ·  {}", tally.line()), true);
        }
        News::Note(Note::RequestRefused { request, status, reason }) => {
            let words = refused(request, *status, reason);
            sign.say(format!("refused: {words}  ·  {}", tally.line()), true);
            if let Some(kept) = &kept {
                kept.refused(words);
            }
        }
        News::Note(_) => {}
    })
}

/// As a shell has it.
fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(FAILED)
}

/// A folder of one start, named by its process. What a killed one left is removed by the next.
struct Scratch(PathBuf);

impl Scratch {
    fn new(all: &Path) -> std::io::Result<Self> {
        let private = |path: &Path| std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
        private(all)?;
        for entry in std::fs::read_dir(all)?.flatten() {
            let pid = entry.file_name().to_str().and_then(|name| name.parse().ok());
            if pid.is_some_and(|pid| ProcessId::of(pid).is_none_or(|process| !process.is_alive())) {
                // Another start may be doing the same.
                let _gone = agentops_git::remove_all(&entry.path());
            }
        }
        let own = all.join(std::process::id().to_string());
        private(&own)?;
        Ok(Self(own))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // The next start removes what is left.
        let _left = agentops_git::remove_all(&self.0);
    }
}
