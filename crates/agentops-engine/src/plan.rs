//! From what a person asked for to a run that can start: everything is looked up, checked and fixed here, and nothing is
//! started.

use std::collections::BTreeMap;

use agentops_agents::driver::{Capabilities, DriverError, Probe, Reach, UsageReports};
use agentops_agents::environment::Environment;
use agentops_core::agent::AgentRef;
use agentops_core::id::{Commit, InvalidId, Name, RunId};
use agentops_core::run::{Approve, Created, FORMAT};
use agentops_core::workflow::Workflow;
use agentops_git::{Promisor, Repo, shell_word};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::blobs::{self, Blobs};
use crate::chosen::{Chosen, USUAL};
use crate::conditions::{self, Unmet};
use crate::files::profile::{Found, Origin, Places};
use crate::files::{self, FileError, config, testcmd};
use crate::paths::Home;
use crate::trust::{self, Item, Subject, Trusted};
use crate::{space, withheld};

/// What a person asked for. Only words; nothing in it was looked up.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunRequest {
    /// The task.
    pub task: String,
    /// The workflow; absent: the repository's, else `full`.
    pub workflow: Option<String>,
    /// One agent for every phase that changes files: its name, or its label in a catalogue.
    pub agent: Option<String>,
    /// The driver of agents that name none.
    pub driver: Option<String>,
    /// The model of agents that name none.
    pub model: Option<String>,
    /// What the run starts from; absent: HEAD.
    pub base: Option<String>,
    /// Approvals given beforehand.
    pub approve: Approve,
    /// Settings for every agent's driver, over those of its file.
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
    /// A hash a machine trusts, as `--trust` gave it.
    pub trust: Option<String>,
    /// What was chosen by routing and who decided, for the record; it chooses nothing here.
    #[serde(default)]
    pub routed: Option<Box<Chosen>>,
}

/// Longest task that is taken, in bytes. A task is read by every session; a document belongs into the repository.
pub const TASK_BYTES_MAX: usize = 64 * 1024;

/// Why a run cannot be planned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// The task says nothing.
    #[error("the task is empty")]
    EmptyTask,
    /// The task is too long.
    #[error("the task has {bytes} bytes; {TASK_BYTES_MAX} are the most that fit beside the work in an agent's context")]
    LongTask {
        /// Its length.
        bytes: usize,
    },
    /// A file of the workflow, an agent or the settings is wrong.
    #[error(transparent)]
    File(#[from] FileError),
    /// A name is not one.
    #[error(transparent)]
    Name(#[from] InvalidId),
    /// No workflow of that name.
    #[error("there is no workflow `{given}`; there are: {known}")]
    NoWorkflow {
        /// What was asked for.
        given: String,
        /// What there is.
        known: String,
    },
    /// No agent program was found.
    #[error("no agent program was found")]
    NoProgram,
    /// A driver cannot be used.
    #[error("agent `{agent}`")]
    Driver {
        /// The agent.
        agent: Name,
        /// Why.
        #[source]
        source: DriverError,
    },
    /// Its use of the window cannot be known while it runs, so the ceiling could not be held.
    #[error(
        "agent `{agent}`: driver `{driver}` does not say what its model calls use, and they cannot be led through the gateway \
         ({why}), so the ceiling cannot be held"
    )]
    UsageUnknown {
        /// The agent.
        agent: Name,
        /// The driver.
        driver: String,
        /// Why its calls cannot be led.
        why: String,
    },
    /// Submodules need programs of the repository's choosing.
    #[error("the repository has submodules ({paths}), which lanes do not hold")]
    Submodules {
        /// Their paths.
        paths: String,
    },
    /// The result could not be written.
    #[error(transparent)]
    Unmet(#[from] Unmet),
    /// Git refuses.
    #[error(transparent)]
    Git(#[from] agentops_git::Error),
    /// The blob store fails.
    #[error("the state folder cannot be written")]
    Store(#[source] std::io::Error),
}

/// One agent of a plan with the program behind it.
#[derive(Debug, Clone)]
pub struct PlannedAgent {
    /// What the run fixes of it.
    pub agent: AgentRef,
    /// The program; `None`: a file of the repository chooses it, and nobody trusts that file yet.
    pub probe: Option<Probe>,
    /// Its file has settings for its driver, which may name a program.
    pub file_settings: bool,
    /// What its driver can do.
    pub capabilities: Capabilities,
    /// How its model calls would go.
    pub reach: Reach,
    /// Names of variables that look like secrets and that its program gets all the same.
    pub held: Vec<String>,
}

/// A run that can start.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What would be fixed; its id is not drawn yet.
    pub created: Created,
    /// The agents with their programs.
    pub agents: BTreeMap<Name, PlannedAgent>,
    /// What would run, for trust.
    pub subject: Subject,
    /// Gates that were left out, and why.
    pub left_out: Vec<String>,
    /// Where the test command was proposed from; `None`: configured, or none.
    pub test_from: Option<String>,
    /// Names of variables of this environment that what runs in lanes does not get.
    pub withheld: Vec<String>,
    /// Things a person should know, e.g. that uncommitted changes are not part of it.
    pub notes: Vec<String>,
}

/// Looks everything up. `blobs` keeps the task and the prompts; a dry run gives a store in a temporary folder. `env` is what the
/// run would be worked on with.
///
/// # Errors
/// See [`PlanError`]; nothing was started.
pub fn plan(repo: &Repo, home: &Home, blobs: &Blobs, env: &Environment, request: &RunRequest) -> Result<Plan, PlanError> {
    if request.task.trim().is_empty() {
        return Err(PlanError::EmptyTask);
    }
    if request.task.len() > TASK_BYTES_MAX {
        return Err(PlanError::LongTask { bytes: request.task.len() });
    }
    let root = repo.work_tree();
    let head = match &request.base {
        Some(rev) => repo.resolve(rev)?,
        None => repo.head()?.commit,
    };
    let of_state = conditions::unwritable_state(&home.repository(repo.id()));
    if let Some(unmet) = conditions::unmet(repo)?.into_iter().chain(of_state).next() {
        return Err(unmet.into());
    }
    let submodules = repo.submodules(&head)?;
    if !submodules.is_empty() {
        let paths = submodules.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
        return Err(PlanError::Submodules { paths });
    }
    let base: Commit = head.as_str().parse()?;
    let config = config::read(root)?;
    let places = Places::of(Some(root), home);
    let proposal = if config.commands.test.is_none() { testcmd::propose(root) } else { None };
    let test = config.commands.test.clone().or_else(|| proposal.as_ref().map(|proposal| proposal.argv.clone()));

    let mut workflows = places.workflows()?;
    let name = request.workflow.clone().or_else(|| config.workflow.clone()).unwrap_or_else(|| USUAL.into());
    let known = workflows.keys().cloned().collect::<Vec<_>>();
    let Some(found) = workflows.remove(&name) else {
        return Err(PlanError::NoWorkflow { given: name, known: known.join(", ") });
    };
    let raw = files::parse_workflow(&found.path, &found.text)?;
    let checked = raw.check(test.as_deref()).map_err(|e| files::workflow_error(&found.path, &found.text, &e))?;
    let mut workflow = checked.workflow;
    let lane = config.lane.check().map_err(|e| files::workflow_error(&root.join(config::CONFIG_PATH), "", &e))?;
    if config.lane != Default::default() {
        workflow.lane = lane;
    }
    if let Some(agent) = &request.agent {
        let agent = places.named(agent)?;
        for phase in workflow.phases.iter_mut().filter(|phase| phase.writes == agentops_core::workflow::Writes::Files) {
            phase.lanes.iter_mut().for_each(|lane| lane.agent = agent.clone());
        }
    }

    let disks = space::of_run(repo, &home.repository(repo.id()), &head, space::trees_of(&workflow));
    if let Some(short) = disks.iter().find(|disk| disk.is_short()) {
        return Err(Unmet::Space(short.clone()).into());
    }

    let default_driver = request.driver.clone().or_else(|| config.driver.clone());
    let mut agents = BTreeMap::new();
    let mut sources = vec![("workflow", found.clone())];
    for name in workflow.agents() {
        let (planned, found) = plan_agent(&places, home, blobs, env, name, default_driver.as_deref(), request)?;
        agents.insert(name.clone(), planned);
        sources.push(("agent", found));
    }
    let subject = subject(root, &workflow, &agents, &sources, proposal.as_ref(), repo.promisor()?)?;
    let trusted = request.trust.as_deref() == Some(subject.hash.as_str())
        || Trusted::read(&home.trust_file())?.covers(repo.id(), &subject.hash);
    for (name, planned) in &mut agents {
        planned.held.extend(withheld::held(env, &workflow.lane.env));
        planned.held.sort();
        planned.held.dedup();
        let repositorys =
            |found: &Found| found.origin == Origin::Repository && found.path.file_stem() == Some(name.as_str().as_ref());
        // Asking a program for its version starts it: not while only the repository says which program that is.
        let chosen_there = sources.iter().any(|(kind, found)| *kind == "agent" && repositorys(found));
        if trusted || !chosen_there || !planned.file_settings {
            let failed = |source| PlanError::Driver { agent: name.clone(), source };
            let driver = agentops_agents::registry::driver(planned.agent.driver.as_str()).map_err(failed)?;
            let probe = driver.probe(&planned.agent.settings, env).map_err(failed)?;
            planned.agent.version.clone_from(&probe.version);
            planned.probe = Some(probe);
        }
    }
    let mut notes: Vec<String> = sources.iter().flat_map(|(_, found)| found.notes.clone()).collect();
    notes.extend(disks.iter().filter(|disk| disk.is_unknown()).map(ToString::to_string));
    notes.extend(conditions::no_committer(repo, env)?);
    notes.extend(conditions::no_signature(repo, env)?);
    let status = repo.status()?;
    if status.dirty {
        notes.push("your uncommitted changes are not part of this run: it starts from the commit".to_owned());
    }
    let (mut profile_text, mut sorted) = (String::new(), sources);
    sorted.sort_by(|a, b| a.1.path.cmp(&b.1.path));
    for (_, found) in &sorted {
        profile_text.push_str(&found.text);
    }
    let routed = request.routed.as_ref().and_then(|chosen| serde_json::to_vec(&chosen.as_ref().clone().kept()).ok());
    let created = Created {
        run: RunId::from_bits(0),
        format: FORMAT,
        task: blobs.put_text(&request.task).map_err(PlanError::Store)?,
        base,
        profile: files::profile::BUILT_IN.parse()?,
        profile_hash: blobs::hash(profile_text.as_bytes()),
        workflow_hash: blobs::hash(found.text.as_bytes()),
        agents: agents.iter().map(|(name, planned)| (name.clone(), planned.agent.clone())).collect(),
        approve: request.approve,
        alternatives: known.iter().filter(|other| **other != name).filter_map(|other| other.parse().ok()).collect(),
        trust: Some(subject.hash.clone()),
        routed: routed.map(|json| blobs.put(&json)).transpose().map_err(PlanError::Store)?,
        // Recorded when the run starts, not when it is planned.
        repository: None,
        workflow,
    };
    let test_from = proposal.map(|proposal| proposal.from);
    let withheld = withheld::names(env, &created.workflow.lane.env);
    Ok(Plan { created, agents, subject, withheld, left_out: checked.left_out, test_from, notes })
}

fn plan_agent(
    places: &Places,
    home: &Home,
    blobs: &Blobs,
    env: &Environment,
    name: &Name,
    default_driver: Option<&str>,
    request: &RunRequest,
) -> Result<(PlannedAgent, Found), PlanError> {
    let (file, found) = places.agent(name)?;
    let driver_name = match file.front.driver.as_deref().or(default_driver) {
        Some(driver) => driver.to_owned(),
        None => detect_driver(env).ok_or(PlanError::NoProgram)?,
    };
    let failed = |source| PlanError::Driver { agent: name.clone(), source };
    let driver = agentops_agents::registry::driver(&driver_name).map_err(failed)?;
    driver.check_state_folder(&home.state, env).map_err(failed)?;
    let mut settings = file.front.settings.clone();
    settings.extend(request.settings.clone());
    let capabilities = driver.capabilities(&settings);
    let model = file.front.model.clone().filter(|model| model != "inherit").or_else(|| request.model.clone());
    let reach = driver.reach(&settings, model.as_deref(), &|name| env.lossy_text(name));
    if let (UsageReports::Never | UsageReports::AtEnd, Reach::Direct(why)) = (capabilities.usage, &reach) {
        return Err(PlanError::UsageUnknown { agent: name.clone(), driver: driver_name, why: why.clone() });
    }
    let agent = AgentRef {
        hash: blobs::hash(found.text.as_bytes()),
        prompt: blobs.put_text(&file.prompt).map_err(PlanError::Store)?,
        driver: driver_name.parse()?,
        // Asked for when the program is: a program that only an untrusted file names is not started.
        version: "unknown".into(),
        model,
        window: file.front.window,
        tools: file.front.tools.as_ref().map(agentops_core::agent::Tools::names),
        settings,
    };
    let file_settings = !file.front.settings.is_empty();
    let held = withheld::held(env, &driver.login_variables(&agent.settings, &reach));
    Ok((PlannedAgent { agent, probe: None, file_settings, capabilities, reach, held }, found))
}

/// An argument vector in one line that shows where each argument begins and ends.
fn words(argv: &[String]) -> String {
    argv.iter().map(|arg| shell_word(arg)).collect::<Vec<_>>().join(" ")
}

/// The first agent program that is installed.
#[must_use]
pub fn detect_driver(env: &Environment) -> Option<String> {
    let found = |name: &&&str| {
        agentops_agents::registry::driver(name).is_ok_and(|driver| driver.probe(&BTreeMap::new(), env).is_ok())
    };
    ["claude", "codex"].iter().find(found).map(|name| (*name).to_owned())
}

/// Everything that trust covers for this workflow in this repository.
fn subject(
    root: &std::path::Path,
    workflow: &Workflow,
    agents: &BTreeMap<Name, PlannedAgent>,
    sources: &[(&str, Found)],
    proposal: Option<&testcmd::Proposal>,
    promisor: Option<Promisor>,
) -> Result<Subject, FileError> {
    let mut items = trust::settings_in(root)?;
    if let Ok(bytes) = std::fs::read(root.join(config::CONFIG_PATH)) {
        let what = blobs::hash(&bytes).to_string();
        items.push(Item { kind: "settings".into(), place: config::CONFIG_PATH.into(), what, used: true });
    }
    for (place, argv) in workflow.commands() {
        let from =
            proposal.filter(|proposal| proposal.argv == argv).map(|proposal| format!(" (proposed from {})", proposal.from));
        let kind = if place == "lane set-up" { "lane set-up" } else { "gate command" };
        items.push(Item { kind: kind.into(), place: place + &from.unwrap_or_default(), what: words(argv), used: true });
    }
    for name in &workflow.lane.env {
        items.push(Item { kind: "variable given to lanes".into(), place: name.clone(), what: name.clone(), used: true });
    }
    for copied in &workflow.lane.copy {
        items.push(Item { kind: "file copied into lanes".into(), place: copied.clone(), what: copied.clone(), used: true });
    }
    for (kind, found) in sources.iter().filter(|(_, found)| found.origin == Origin::Repository) {
        let place = found.path.strip_prefix(root).unwrap_or(&found.path).display().to_string();
        items.push(Item { kind: (*kind).into(), place, what: blobs::hash(found.text.as_bytes()).to_string(), used: true });
    }
    for (label, found) in sources.iter().filter_map(|(_, found)| Some((found.label.as_ref()?, found))) {
        let what = blobs::hash(found.text.as_bytes()).to_string();
        items.push(Item { kind: "agent of a catalogue".into(), place: label.clone(), what, used: true });
    }
    for (name, planned) in agents {
        let mut what = planned.agent.driver.to_string();
        for (key, value) in &planned.agent.settings {
            what.push_str(&format!(" {key}={value}"));
        }
        items.push(Item { kind: "agent program".into(), place: format!("agent {name}"), what, used: true });
    }
    // A run in a partial clone may fetch, and settings of the repository say from where and with which programs.
    if let Some(promisor) = promisor {
        let settings = blobs::hash(promisor.settings.join("\n").as_bytes());
        let what = format!("{} (settings {})", promisor.url, &settings.as_str()[..12]);
        items.push(Item { kind: "remote of a partial clone".into(), place: promisor.remote, what, used: true });
    }
    Ok(Subject::new(items))
}
