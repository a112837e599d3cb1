//! `agentops doctor`: is this machine, this repository and its state in order?

use agentops_engine::ledger::Ledger;
use agentops_git::{Git, Repo};
use schemars::JsonSchema;
use serde::Serialize;

use crate::cli::Global;
use crate::context;
use crate::error::{self, CommandError};
use crate::printer::Printer;

/// What was looked at.
#[derive(Debug, Serialize, JsonSchema)]
pub struct DoctorView {
    /// Each check.
    checks: Vec<Check>,
}

/// One check.
#[derive(Debug, Serialize, JsonSchema)]
struct Check {
    /// What was looked at.
    what: String,
    /// In order, worth knowing, or wrong.
    state: CheckState,
    /// What was found.
    found: String,
    /// What to do.
    hint: String,
}

/// How a check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum CheckState {
    Good,
    Note,
    Bad,
}

/// `agentops doctor`
pub fn doctor(global: &Global, printer: &Printer) -> Result<u8, CommandError> {
    let mut checks = Vec::new();
    let mut add = |what: &str, state, found: String, hint: &str| {
        checks.push(Check { what: what.into(), state, found, hint: hint.into() });
    };
    let repo = match Git::find() {
        Err(e) => {
            let e = CommandError::from(e);
            add("git", CheckState::Bad, e.causes.join(": "), e.hints.first().map_or("", |hint| hint));
            None
        }
        Ok(git) => {
            add("git", CheckState::Good, git.version().to_string(), "");
            let start = global.repo.clone().map_or_else(std::env::current_dir, Ok)?;
            match Repo::discover(&git, &start) {
                Ok(repo) => Some(repo),
                Err(e) => {
                    let e = CommandError::from(e);
                    add("repository", CheckState::Note, e.causes.join(": "), e.hints.first().map_or("", |hint| hint));
                    None
                }
            }
        }
    };
    let home = context::home(global)?;
    if let Some(repo) = &repo {
        add("repository", CheckState::Good, repo.work_tree().display().to_string(), "");
        let paths = home.repository(repo.id());
        match paths.make() {
            Ok(()) => add("state folder", CheckState::Good, paths.root().display().to_string(), ""),
            Err(e) => add(
                "state folder",
                CheckState::Bad,
                format!("{}: {e}", paths.root().display()),
                "name another with --state-dir, or mend its permissions",
            ),
        }
        match Ledger::read(&paths.ledger())
            .and_then(|ledger| ledger.map(|ledger| ledger.check().map(|()| ledger)).transpose())
        {
            Ok(None) => add("ledger", CheckState::Good, "none yet".into(), ""),
            Ok(Some(ledger)) => {
                let runs = ledger.runs(u32::MAX)?.len();
                add("ledger", CheckState::Good, format!("sound, {runs} runs"), "");
            }
            Err(e) => {
                let e = CommandError::from(e);
                add("ledger", CheckState::Bad, e.causes.join(": "), e.hints.first().map_or("", |hint| hint));
            }
        }
        let supervisor = agentops_engine::supervisor::Lock::holder(&paths.lock());
        let found = supervisor.map_or("none runs; one is started when it is needed".into(), |pid| format!("process {pid}"));
        add("supervisor", CheckState::Good, found, "");
    }
    for driver in agentops_agents::registry::all() {
        // Which program these run is the agent file's to say.
        if ["scripted", "command", "acp"].contains(&driver.name()) {
            continue;
        }
        match driver.probe(&Default::default()) {
            Ok(probe) => add(
                &format!("driver {}", driver.name()),
                CheckState::Good,
                format!("{} at {}", probe.version, probe.program.display()),
                "",
            ),
            Err(agentops_agents::driver::DriverError::Missing { program, hint }) => {
                add(&format!("driver {}", driver.name()), CheckState::Note, format!("{program} is not installed"), &hint)
            }
            Err(e) => add(
                &format!("driver {}", driver.name()),
                CheckState::Bad,
                e.to_string(),
                "run the program by hand and see what it says",
            ),
        }
    }
    add(
        "ceiling",
        CheckState::Note,
        "stopped: from the driver's events; an overshoot of one call is possible and shown".into(),
        "",
    );
    add(
        "isolation",
        CheckState::Note,
        "own work trees and process trees; no sandbox: agents run with your rights".into(),
        "",
    );
    let bad = checks.iter().any(|check| check.state == CheckState::Bad);
    if printer.json() {
        printer.value(&DoctorView { checks });
    } else {
        for check in &checks {
            let mark = match check.state {
                CheckState::Good => printer.paint("32", "✓"),
                CheckState::Note => printer.paint("33", "·"),
                CheckState::Bad => printer.paint("31", "✗"),
            };
            let hint = if check.hint.is_empty() { String::new() } else { format!("\n                   {}", check.hint) };
            printer.data(&format!("{mark} {:<16} {}{hint}", check.what, check.found));
        }
    }
    Ok(if bad { error::FAILED } else { error::SUCCESS })
}
