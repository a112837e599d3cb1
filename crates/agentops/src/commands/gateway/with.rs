//! `agentops with`: a person's own agent program behind the gateway.

use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use agentops_agents::attached;
use agentops_agents::driver::{Driver, DriverError, Lead};
use agentops_agents::process::ProcessId;
use agentops_agents::registry;
use agentops_core::ceiling::Window;
use agentops_core::models;
use agentops_engine::perform::gateway::{Aim, Target, aim};
use agentops_gateway::host::Refusal;

use super::alone::{Alone, News, Show, Wish};
use super::report::{Kept, WithReport};
use super::sign::Sign;
use crate::cli::WithArgs;
use crate::context::Standing;
use crate::error::{CommandError, FAILED, USAGE};
use crate::live::now;
use crate::printer::Printer;

/// `agentops with`
pub fn with(standing: &Standing, args: &WithArgs, printer: &Printer) -> Result<u8, CommandError> {
    let (agent, rest) = args
        .command
        .split_first()
        .map_or((String::new(), &[][..]), |(agent, rest)| (agent.to_string_lossy().into_owned(), rest));
    let driver = registry::driver(&agent).map_err(of_driver)?;
    let target = target(standing, driver)?;
    let destination = target.destination.name().to_owned();
    let credential = target.credential;
    let scratch = Scratch::new(&standing.home.gateway().join("with"))?;
    let line = scratch.0.join("line");
    let alone = Alone::start(standing, 0)?;
    let sign = Sign::begin(line.clone())?;
    let kept = args.report.as_ref().map(|_| Kept::default());
    let (lane, host) = alone.open(
        standing,
        Wish {
            name: agent.clone(),
            target,
            window: args.window.and_then(|tokens| Window::new(tokens.get())),
            hint: driver.makes_room().to_owned(),
            plain_refusal: driver.loops_when_too_long(),
            show: show(&sign, driver, kept.clone()),
        },
    )?;
    let route = lane.route(credential);
    let settings = Default::default();
    let lead = Lead { settings: &settings, route: &route, scratch: &scratch.0, args: rest, line: &line };
    let launch = driver.lead(&lead).map_err(of_driver)?;
    let started_ms = now();
    let status = attached::run(&launch, rest);
    let ended_ms = now();
    drop(lane);
    let trouble = alone.end();
    sign.end();
    let status =
        status.map_err(|e| CommandError::new(FAILED, format!("{} cannot be started: {e}", launch.program.display())))?;
    let totals = host.tally();
    printer.note(&format!("agentops: {}", totals.line()));
    if totals.calls == 0 && totals.refused == 0 {
        printer
            .note("agentops: no call of it came through the gateway; do its own settings or arguments lead it elsewhere?");
    }
    if let Some(trouble) = trouble {
        printer.note(&format!("agentops: {trouble}"));
    }
    let exit_code = exit_code(status);
    if let (Some(path), Some(kept)) = (&args.report, kept) {
        let (calls, refused) = kept.take();
        let prices_of = models::prices_date().to_owned();
        WithReport { agent, destination, started_ms, ended_ms, exit_code, prices_of, totals, calls, refused }.write(path)?;
    }
    Ok(exit_code)
}

/// Where the program's calls go, as its own settings and the user's have it.
fn target(standing: &Standing, driver: &dyn Driver) -> Result<Target, CommandError> {
    let reach = driver.reach(&Default::default(), None, &|name| standing.var(name));
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
            match passed_mark {
                true => sign.alert(format!("past the soft mark: {} soon", driver.makes_room()), tally.line()),
                false => sign.now(tally.line()),
            }
        }
        News::Refused(refusal) => {
            let words = match refusal {
                Refusal::Ceiling { sub_agent: false, .. } => format!("at the ceiling: {}", driver.makes_room()),
                other => format!("refused: {other}"),
            };
            if let Some(kept) = &kept {
                kept.refused(refusal.to_string());
            }
            sign.alert(words, tally.line());
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
                let _gone = std::fs::remove_dir_all(entry.path());
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
        let _left = std::fs::remove_dir_all(&self.0);
    }
}
