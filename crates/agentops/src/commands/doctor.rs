//! `agentops doctor`: is this machine, this repository and its state in order?

use std::collections::BTreeMap;

use agentops_agents::driver::{Credential, Driver, UsageReports};
use agentops_agents::environment::Environment;
use agentops_engine::client;
use agentops_engine::conditions;
use agentops_engine::file_size::FileSizeLimit;
use agentops_engine::files::user::{self, UserConfig};
use agentops_engine::identity::{self, LastRepository, repository_at};
use agentops_engine::ledger::Ledger;
use agentops_engine::leftovers;
use agentops_engine::perform::gateway::{self, Aim};
use agentops_engine::space;
use agentops_gateway::Gateway;
use agentops_git::{Git, Repo};
use schemars::JsonSchema;
use serde::Serialize;

use crate::cli::{DoctorArgs, Global};
use crate::context;
use crate::error::{self, CommandError};
use crate::printer::{Done, Printer};

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
pub fn doctor(global: &Global, args: &DoctorArgs, printer: &Printer) -> Result<u8, CommandError> {
    if let Some(id) = &args.adopt {
        return adopt(global, id, printer);
    }
    if args.new_id {
        return separate(global, printer);
    }
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
            match context::start(global).and_then(|start| Ok(Repo::discover(&git, &start)?)) {
                Ok(repo) => Some(repo),
                Err(e) => {
                    add("repository", CheckState::Note, e.causes.join(": "), e.hints.first().map_or("", |hint| hint));
                    None
                }
            }
        }
    };
    if let Some(limit) = FileSizeLimit::too_small() {
        add("file size", CheckState::Bad, limit.to_string(), limit.hint());
    }
    let home = context::folders(global)?;
    let usable = context::can_be_a_state_folder(&home.state);
    if let Err(e) = &usable {
        add("state folder", CheckState::Bad, e.causes.join(": "), e.hints.first().map_or("", |hint| hint));
    }
    if let Some(repo) = repo.as_ref().filter(|_| usable.is_ok()) {
        let found = repo.work_tree().display().to_string();
        match repo.checkout_fault() {
            Some(fault) => add("repository", CheckState::Bad, format!("{found}: {fault}"), fault.command()),
            None => add("repository", CheckState::Good, found, ""),
        }
        if let Some(words) = super::user_merge::begun(repo) {
            add("merge", CheckState::Note, words, "");
        }
        for lock in repo.lock_files() {
            let found = format!("{}: a git that is at work made it, or one that was killed left it", lock.display());
            let quoted = agentops_git::shell_word(&lock.display().to_string());
            add("lock file", CheckState::Note, found, &format!("if no git works in this repository: rm {quoted}"));
        }
        match conditions::unmet(repo) {
            Ok(unmet) => unmet.iter().for_each(|unmet| add("results", CheckState::Bad, unmet.to_string(), &unmet.hint())),
            Err(e) => add("results", CheckState::Bad, super::chain(&e), ""),
        }
        let env = std::env::vars_os().collect();
        if let Ok(Some(words)) = conditions::no_committer(repo, &env) {
            add("identity", CheckState::Note, words, "");
        }
        if let Ok(Some(words)) = conditions::no_signature(repo, &env) {
            add("signing", CheckState::Note, words, "");
        }
        let (id, found) = match identity::find(repo, &home) {
            Ok(found) => (Some(found.id.clone()), Ok(context::Context::of(repo, home.clone(), found))),
            Err(e) => (None, Err(CommandError::from(e))),
        };
        match &found {
            Ok(context) => {
                if let Some(notice) = context.notice() {
                    add("identity", CheckState::Note, notice, "");
                }
            }
            Err(e) => add("identity", CheckState::Bad, e.causes.join(": "), e.hints.first().map_or("", |hint| hint)),
        }
        for orphan in identity::orphans(&home, id.as_deref()) {
            let was = match &orphan.repository {
                LastRepository::At(was) => format!("its repository is not at {} any more", repository_at(was).display()),
                LastRepository::GivenUp => {
                    "its repository has another state now, by `agentops doctor --new-id` or `--adopt`".to_owned()
                }
                LastRepository::NotRecorded => {
                    "an older version made it; its repository is known when it is used again".to_owned()
                }
                LastRepository::Damaged(damaged) => damaged.to_string(),
            };
            let hint = format!("if it is this repository's: agentops doctor --adopt {}", orphan.id);
            add(
                "orphaned state",
                CheckState::Note,
                format!("{}: {was}", home.repository(&orphan.id).root().display()),
                &hint,
            );
        }
        let paths = found.map_or_else(|_| home.repository(repo.id()), |context| context.paths);
        for unmet in conditions::unwritable_state(&paths) {
            add("state folder", CheckState::Bad, unmet.to_string(), &unmet.hint());
        }
        match repo.head() {
            // The smallest run: one lane and a gate.
            Ok(head) => {
                for disk in space::of_run(repo, &paths, &head.commit, 2) {
                    let (state, hint) = match () {
                        () if disk.is_short() => (CheckState::Bad, disk.hint()),
                        () if disk.is_unknown() => (CheckState::Note, ""),
                        () => (CheckState::Good, ""),
                    };
                    add("space", state, disk.to_string(), hint);
                }
            }
            Err(e) => add("space", CheckState::Note, format!("unknown what a run needs: {}", super::chain(&e)), ""),
        }
        let supervisor = agentops_engine::supervisor::Lock::holder(&paths.lock());
        let hint =
            "what was acknowledged is kept; name another folder with --state-dir, or mend this one and `agentops resume`";
        match client::hindrance(&paths).filter(|_| supervisor.is_none()) {
            None => add("state folder", CheckState::Good, paths.root().display().to_string(), ""),
            Some(hindrance) => add("state folder", CheckState::Bad, hindrance, hint),
        }
        match Ledger::read(&paths.ledger())
            .and_then(|ledger| ledger.map(|ledger| ledger.check().map(|()| ledger)).transpose())
        {
            Ok(ledger) => {
                let found = match &ledger {
                    Some(ledger) => format!("sound, {} runs", ledger.runs(u32::MAX)?.len()),
                    None => "none yet".into(),
                };
                let unknown = leftovers::unknown_runs(&paths, ledger.as_ref())?;
                match super::look::unknown_runs_words(&paths, &unknown) {
                    None => add("ledger", CheckState::Good, found, ""),
                    Some(words) => {
                        add("ledger", CheckState::Bad, words, "keep a copy of the state folder and of these refs")
                    }
                }
            }
            Err(e) => {
                let e = CommandError::from(e);
                add("ledger", CheckState::Bad, e.causes.join(": "), e.hints.first().map_or("", |hint| hint));
            }
        }
        let found = supervisor.map_or("none runs; one is started when it is needed".into(), |pid| format!("process {pid}"));
        add("supervisor", CheckState::Good, found, "");
    }
    let env: Environment = std::env::vars_os().collect();
    let file = home.config_file();
    let user = match user::read(&file) {
        Ok(user) => {
            let found = if file.exists() { file.display().to_string() } else { "none; everything is as it comes".into() };
            add("user settings", CheckState::Good, found, "");
            user
        }
        Err(e) => {
            add("user settings", CheckState::Bad, e.to_string(), &e.hint);
            UserConfig::default()
        }
    };
    if let Err(e) = Gateway::start(gateway::config(&user, &env)) {
        add("gateway", CheckState::Bad, super::chain(&e), "no session with a model can start before this is mended");
    }
    for driver in agentops_agents::registry::all() {
        // Which program these run is the agent file's to say.
        if ["scripted", "command", "acp"].contains(&driver.name()) {
            continue;
        }
        match driver.probe(&Default::default(), &env) {
            Ok(probe) => {
                if let Err(e) = driver.check_state_folder(&home.state, &env) {
                    let hint = "name a state folder elsewhere: --state-dir ~/.local/state/agentops";
                    add(&format!("state of {}", driver.name()), CheckState::Note, e.to_string(), hint);
                }
                add(
                    &format!("driver {}", driver.name()),
                    CheckState::Good,
                    format!("{} at {}", probe.version, probe.program.display()),
                    "",
                );
                let (state, found, hint) = calls(*driver, &user, &env);
                add(&format!("calls of {}", driver.name()), state, found, hint);
            }
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
        "isolation",
        CheckState::Note,
        "own repositories and process trees; no sandbox: agents run with your rights".into(),
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
            let hint = if check.hint.is_empty() { String::new() } else { format!("\n                     {}", check.hint) };
            printer.data(&format!("{mark} {:<18} {}{hint}", check.what, check.found));
        }
    }
    Ok(if bad { error::FAILED } else { error::SUCCESS })
}

/// `agentops doctor --adopt`
fn adopt(global: &Global, id: &str, printer: &Printer) -> Result<u8, CommandError> {
    super::person_only()?;
    let (repo, home) = (context::repository(global)?, context::home(global)?);
    identity::adopt(&repo, &home, id)?;
    let did = format!("the state {id} belongs to {} now", repo.work_tree().display());
    printer.done(&Done { did, ..Done::default() });
    Ok(error::SUCCESS)
}

/// `agentops doctor --new-id`
fn separate(global: &Global, printer: &Printer) -> Result<u8, CommandError> {
    super::person_only()?;
    let (repo, home) = (context::repository(global)?, context::home(global)?);
    let had = identity::find(&repo, &home).ok();
    let id = identity::separate(&repo, &home)?;
    let undo = had.map(|had| had.id).filter(|had| home.repository(had).root().is_dir());
    let undo = undo.map(|had| format!("agentops doctor --adopt {had}"));
    printer.done(&Done { did: format!("this repository has an id of its own now: {id}"), undo, ..Done::default() });
    Ok(error::SUCCESS)
}

/// How the calls of a program would go, as its own settings and the user's have it.
fn calls(driver: &dyn Driver, user: &UserConfig, env: &Environment) -> (CheckState, String, &'static str) {
    let var = |name: &str| env.text(name);
    let settings = BTreeMap::new();
    let live = driver.capabilities(&settings).usage == UsageReports::EveryCall;
    match gateway::aim(user, env, driver.reach(&settings, None, &var)) {
        Ok(Aim::At(target)) => {
            let how = match target.credential {
                Credential::Key => format!("key, to {}", target.destination.base().origin()),
                Credential::Login => {
                    let host = target.destination.login().map(|base| base.origin()).unwrap_or_default();
                    format!("login, to {host}")
                }
            };
            if target.is_loose() {
                let hint = "hidden reasoning of a call is counted at its end only, and that session then shows `stopped`";
                return (CheckState::Good, format!("prevented ({how})"), hint);
            }
            (CheckState::Good, format!("prevented ({how})"), "")
        }
        Ok(Aim::Past(why)) if live => (
            CheckState::Note,
            format!("stopped: {why}"),
            "the driver's events stop it; an overshoot of one call is possible and shown",
        ),
        Ok(Aim::Past(why)) => (
            CheckState::Note,
            format!("refused: {why}"),
            "the program does not say in time what it uses, so nothing could hold it",
        ),
        Ok(Aim::NoModel) => (CheckState::Good, "no model".into(), ""),
        Err(why) => (CheckState::Note, format!("refused: {why}"), ""),
    }
}
