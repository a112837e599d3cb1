//! A workflow as a file says it, and the check that turns it into one that can be run.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::budget::RawBudget;
use super::{BundleRule, Check, Gate, Lane, LaneSetup, Limits, Phase, Schema, Secrets, Workflow, Writes};
use crate::budget::Limits as Budget;
use crate::id::{InvalidId, Name};

/// A workflow file. Nothing in it is checked yet but its shape.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(rename = "workflow")]
pub struct RawWorkflow {
    /// Its name: 1 to 64 of a-z, 0-9 and -.
    pub name: String,
    /// One sentence that says what it is for.
    #[serde(default)]
    pub description: String,
    /// Its phases. They run in the order of the file unless `after` says otherwise.
    #[serde(default, rename = "phase")]
    pub phases: Vec<RawPhase>,
    /// Limits of its sessions.
    #[serde(default)]
    pub limits: RawLimits,
    /// What a run may spend.
    #[serde(default)]
    pub budget: RawBudget,
    /// What happens to secrets that are about to leave towards a model provider: `redact` (the default), `refuse` or `pass`.
    #[serde(default)]
    pub secrets: Secrets,
    /// How a lane's work tree is made ready.
    #[serde(default)]
    pub lane: RawLaneSetup,
}

/// A phase in a workflow file.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RawPhase {
    /// Its name.
    pub name: String,
    /// What its lanes may change: `files`, or `artifacts` for documents only.
    pub writes: Writes,
    /// Phases that must have passed before.
    #[serde(default)]
    pub after: Vec<String>,
    /// The agent, where the phase has one lane.
    pub agent: Option<String>,
    /// Its lanes, where it has several; merged in this order.
    #[serde(default, rename = "lane")]
    pub lanes: Vec<RawLane>,
    /// Its gates, checked in this order.
    #[serde(default, rename = "gate")]
    pub gates: Vec<RawGate>,
    /// How often a refused gate sends a fresh session in: 0 to 8, default 2.
    pub retries: Option<u32>,
    /// What the phase may spend, its reviews included.
    #[serde(default)]
    pub budget: RawBudget,
    /// What the phase's bundle must be.
    #[serde(default)]
    pub bundle: RawBundle,
}

/// What a phase hands on, in a workflow file.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RawBundle {
    /// The tokens that the bundle should take at most, of o200k: 500 to 100,000, default 8,000.
    pub tokens: Option<u64>,
    /// The share of must-keep facts, in percent, below which the bundle is made larger, up to four times: 0 to 100, default 90.
    pub keep: Option<u8>,
}

/// A lane in a workflow file.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RawLane {
    /// Its name.
    pub name: String,
    /// The agent that works in it.
    pub agent: String,
    /// What this lane looks at.
    #[serde(default)]
    pub focus: String,
    /// What the lane may spend.
    #[serde(default)]
    pub budget: RawBudget,
}

/// A gate in a workflow file.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", tag = "kind")]
pub enum RawGate {
    /// A program that must end with 0.
    #[serde(rename_all = "kebab-case")]
    Command {
        /// Its name; default `command`, or `tests`.
        name: Option<String>,
        /// The argument vector.
        argv: Option<Vec<String>>,
        /// A command of the repository by name instead: `test`.
        #[serde(rename = "use")]
        named: Option<NamedCommand>,
        /// Time limit in minutes; default 20.
        minutes_max: Option<u64>,
    },
    /// A document that must exist.
    Artifact {
        /// Its name; default `artifact`.
        name: Option<String>,
        /// The document below `.agentops-out/`.
        file: String,
        /// Markdown headings it must have.
        #[serde(default)]
        headings: Vec<String>,
        /// A built-in schema it must match.
        schema: Option<Schema>,
    },
    /// Another agent's judgement.
    Review {
        /// Its name; default `review`.
        name: Option<String>,
        /// The agent.
        agent: String,
    },
    /// A person's approval.
    Approval {
        /// Its name; default `approval`.
        name: Option<String>,
        /// The document that is shown.
        file: String,
    },
}

/// Commands of a repository that a workflow can name without knowing them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NamedCommand {
    /// Runs the tests: from `.agentops/config.toml`, else proposed from build and lock files.
    Test,
}

/// Limits in a workflow file.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RawLimits {
    /// Sessions of one lane before a person is asked: 1 to 8, default 8.
    pub sessions_max: Option<u32>,
    /// Seconds without output after which a session counts as hung: default 600.
    pub silence_seconds_max: Option<u64>,
    /// Minutes a session may take: default 90.
    pub session_minutes_max: Option<u64>,
    /// Seconds to write a hand-over: default 180.
    pub hand_over_seconds_max: Option<u64>,
}

/// Lane set-up in a workflow file or in `.agentops/config.toml`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RawLaneSetup {
    /// Programs to run in a new lane; argument vectors.
    #[serde(default)]
    pub setup: Vec<Vec<String>>,
    /// Untracked files to copy from the checkout into a new lane.
    #[serde(default)]
    pub copy: Vec<String>,
    /// Variables of your environment that agents, gates and set-up programs get although they look like secrets.
    #[serde(default)]
    pub env: Vec<String>,
    /// Minutes each program may take: default 15.
    pub minutes_max: Option<u64>,
    /// Size of the largest file that a checkpoint takes, in MiB, holes counted: 1 to 65,536, default 1,024.
    pub file_mib_max: Option<u64>,
    /// Size of all files together that one checkpoint stores, in MiB: 1 to 65,536, default 4,096. The largest files are left out
    /// first.
    pub checkpoint_mib_max: Option<u64>,
}

/// What is wrong with a workflow. `key` is where, in the file's own words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct WorkflowError {
    /// The key, e.g. `phase.plan.gate`.
    pub key: String,
    /// What is wrong and what is allowed.
    pub problem: String,
}

pub(super) fn wrong(key: impl Into<String>, problem: impl Into<String>) -> WorkflowError {
    WorkflowError { key: key.into(), problem: problem.into() }
}

fn name(key: &str, text: &str) -> Result<Name, WorkflowError> {
    text.parse().map_err(|e: InvalidId| wrong(key, e.to_string()))
}

/// The workflow as checked, and what had to be left out.
#[derive(Debug, Clone)]
pub struct Checked {
    /// The workflow.
    pub workflow: Workflow,
    /// Gates that were left out because the repository has no such command, in words.
    pub left_out: Vec<String>,
}

impl RawWorkflow {
    /// Checks every rule. `test` is the repository's test command; a gate that names it is left out, and said, when there
    /// is none.
    ///
    /// # Errors
    /// The first rule that is broken, with the key it stands at.
    pub fn check(&self, test: Option<&[String]>) -> Result<Checked, WorkflowError> {
        let mut left_out = Vec::new();
        let mut phases = Vec::new();
        if self.phases.is_empty() {
            return Err(wrong("phase", "a workflow needs at least one [[phase]]"));
        }
        for raw in self.in_order()? {
            phases.push(raw.check(test, &mut left_out)?);
        }
        check_last(&mut phases)?;
        let workflow = Workflow {
            name: name("name", &self.name)?,
            description: self.description.clone(),
            phases,
            limits: self.limits.check()?,
            budget: self.budget.check("budget")?,
            secrets: self.secrets,
            lane: self.lane.check()?,
        };
        Ok(Checked { workflow, left_out })
    }

    /// The phases in running order: the file's order, moved only as far as `after` demands.
    fn in_order(&self) -> Result<Vec<&RawPhase>, WorkflowError> {
        let mut seen = BTreeSet::new();
        for phase in &self.phases {
            if !seen.insert(phase.name.as_str()) {
                return Err(wrong(format!("phase.{}", phase.name), "this name is used twice"));
            }
        }
        for phase in &self.phases {
            if let Some(missing) = phase.after.iter().find(|after| !seen.contains(after.as_str())) {
                let known = seen.iter().copied().collect::<Vec<_>>().join(", ");
                let problem = format!("there is no phase `{missing}`; there are: {known}");
                return Err(wrong(format!("phase.{}.after", phase.name), problem));
            }
        }
        let mut left: Vec<&RawPhase> = self.phases.iter().collect();
        let mut ordered: Vec<&RawPhase> = Vec::new();
        while !left.is_empty() {
            let done = |after: &String| ordered.iter().any(|phase| phase.name == *after);
            match left.iter().position(|phase| phase.after.iter().all(done)) {
                Some(index) => ordered.push(left.remove(index)),
                None => return Err(wrong("phase.after", format!("these phases wait for each other: {}", cycle(&left)))),
            }
        }
        Ok(ordered)
    }
}

/// The last phase closes the run out: it writes a document of that schema, and the laws are added behind it.
fn check_last(phases: &mut [Phase]) -> Result<(), WorkflowError> {
    let Some(last) = phases.last_mut() else { return Ok(()) };
    let close_out = |gate: &Gate| matches!(&gate.check, Check::Artifact { schema: Some(Schema::CloseOut), file, .. } if file == CLOSE_OUT_FILE);
    if last.writes != Writes::Artifacts || last.lanes.len() != 1 || !last.gates.iter().any(close_out) {
        return Err(wrong(
            format!("phase.{}", last.name),
            format!(
                "the last phase must close the run out: `writes = \"artifacts\"`, one lane, and a gate `kind = \"artifact\"` with \
                 `file = \"{CLOSE_OUT_FILE}\"` and `schema = \"close-out\"`; without it the laws cannot be checked and no run could end"
            ),
        ));
    }
    last.gates.push(Gate { name: name("laws", "laws")?, check: Check::Laws });
    if !phases.iter().any(|phase| phase.writes == Writes::Files) {
        return Err(wrong("phase", "no phase has `writes = \"files\"`: this workflow could not change anything"));
    }
    Ok(())
}

/// Longest name of a phase, lane or gate, in bytes: together they name folders and refs.
pub const PLACE_CHARS_MAX: usize = 32;

/// The document that closes a run out.
pub const CLOSE_OUT_FILE: &str = "close-out.json";

/// One cycle among phases that all wait, as `a -> b -> a`.
fn cycle(left: &[&RawPhase]) -> String {
    let mut path: Vec<&str> = Vec::new();
    let mut at = left[0];
    loop {
        if let Some(start) = path.iter().position(|seen| *seen == at.name) {
            let mut names = path[start..].to_vec();
            names.push(&at.name);
            return names.join(" -> ");
        }
        path.push(&at.name);
        // Every phase in `left` waits for at least one phase in `left`, so the walk can always go on and must close.
        match at.after.iter().find_map(|after| left.iter().find(|phase| phase.name == *after)) {
            Some(next) => at = next,
            None => return path.join(" -> "),
        }
    }
}

impl RawPhase {
    fn check(&self, test: Option<&[String]>, left_out: &mut Vec<String>) -> Result<Phase, WorkflowError> {
        let at = |key: &str| format!("phase.{}.{key}", self.name);
        let phase = name("phase.name", &self.name)?;
        let lanes = match (&self.agent, self.lanes.as_slice()) {
            (Some(agent), []) => vec![Lane {
                name: phase.clone(),
                agent: name(&at("agent"), agent)?,
                focus: String::new(),
                budget: Budget::default(),
            }],
            (None, [_, ..]) => self.lanes.iter().map(|lane| lane.check(&at("lane"))).collect::<Result<_, _>>()?,
            _ => return Err(wrong(at("agent"), "name either one `agent`, or one or more [[phase.lane]], not both")),
        };
        let mut gates: Vec<Gate> = Vec::new();
        for raw in &self.gates {
            match raw.check(&at("gate"), test)? {
                Some(gate) => gates.push(gate),
                None => left_out.push(format!("{}: this repository has no test command that we know", self.name)),
            }
        }
        let short = |name: &&Name| name.as_str().len() > PLACE_CHARS_MAX;
        if let Some(long) =
            [&phase].into_iter().chain(lanes.iter().map(|l| &l.name)).chain(gates.iter().map(|g| &g.name)).find(short)
        {
            let problem = format!("`{long}` is too long: phases, lanes and gates have at most {PLACE_CHARS_MAX} characters");
            return Err(wrong(at("name"), problem));
        }
        // A gate's own work trees are named after it: `review-2`, `tests-gate`.
        let of_gate = |lane: &Lane, gate: &Gate| {
            let rest = lane.name.as_str().strip_prefix(gate.name.as_str()).and_then(|rest| rest.strip_prefix('-'));
            rest.is_some_and(|rest| rest == "gate" || rest.bytes().all(|byte| byte.is_ascii_digit()))
        };
        if let Some(lane) = lanes.iter().find(|lane| gates.iter().any(|gate| of_gate(lane, gate))) {
            return Err(wrong(
                at("lane.name"),
                format!("`{}` is what a gate of this phase calls a lane of its own", lane.name),
            ));
        }
        let mut names = BTreeSet::new();
        for used in lanes.iter().map(|lane| &lane.name).chain(gates.iter().map(|gate| &gate.name)) {
            if !names.insert(used) {
                let problem = format!("`{used}` is used twice in this phase; lanes and gates need names of their own");
                return Err(wrong(at("gate.name"), problem));
            }
        }
        for (index, gate) in gates.iter().enumerate() {
            let Check::Approval { file } = &gate.check else { continue };
            let makes = |before: &Gate| matches!(&before.check, Check::Artifact { file: made, .. } if made == file);
            if !gates[..index].iter().any(makes) {
                let problem = format!(
                    "put a gate `kind = \"artifact\"` with `file = \"{file}\"` before it: there must be something to show"
                );
                return Err(wrong(at("gate.approval"), problem));
            }
        }
        let retries = self.retries.unwrap_or(2);
        if retries > 8 {
            return Err(wrong(at("retries"), format!("{retries} is too many; 0 to 8 are allowed")));
        }
        let budget = self.budget.check(&at("budget"))?;
        let bundle = self.bundle.check(&at("bundle"))?;
        Ok(Phase { name: phase, writes: self.writes, lanes, gates, retries, budget, bundle })
    }
}

impl RawBundle {
    fn check(&self, at: &str) -> Result<BundleRule, WorkflowError> {
        let default = BundleRule::default();
        let rule = BundleRule { tokens: self.tokens.unwrap_or(default.tokens), keep: self.keep.unwrap_or(default.keep) };
        if !(500..=100_000).contains(&rule.tokens) {
            return Err(wrong(format!("{at}.tokens"), format!("{} is not from 500 to 100000", rule.tokens)));
        }
        if rule.keep > 100 {
            return Err(wrong(format!("{at}.keep"), format!("{} is more than 100 percent", rule.keep)));
        }
        Ok(rule)
    }
}

impl RawLane {
    fn check(&self, at: &str) -> Result<Lane, WorkflowError> {
        let lane = name(&format!("{at}.name"), &self.name)?;
        let budget = self.budget.check(&format!("{at}.budget"))?;
        Ok(Lane { name: lane, agent: name(&format!("{at}.agent"), &self.agent)?, focus: self.focus.clone(), budget })
    }
}

impl RawGate {
    /// `None`: the gate names a command that the repository does not have.
    fn check(&self, at: &str, test: Option<&[String]>) -> Result<Option<Gate>, WorkflowError> {
        let named = |given: &Option<String>, default: &str| name(&format!("{at}.name"), given.as_deref().unwrap_or(default));
        Ok(Some(match self {
            RawGate::Command { name: given, argv, named: by_name, minutes_max } => {
                let (argv, default) = match (argv, by_name) {
                    (Some(argv), None) if argv.first().is_some_and(|program| !program.is_empty()) => {
                        (argv.clone(), "command")
                    }
                    (None, Some(NamedCommand::Test)) => match test {
                        Some(argv) => (argv.to_vec(), "tests"),
                        None => return Ok(None),
                    },
                    _ => return Err(wrong(at, "name either `argv = [\"program\", \"argument\"]` or `use = \"test\"`")),
                };
                let minutes = minutes_max.unwrap_or(20).clamp(1, 24 * 60);
                Gate { name: named(given, default)?, check: Check::Command { argv, seconds_max: minutes * 60 } }
            }
            RawGate::Artifact { name: given, file, headings, schema } => {
                let check = Check::Artifact { file: out_file(at, file)?, headings: headings.clone(), schema: *schema };
                Gate { name: named(given, "artifact")?, check }
            }
            RawGate::Review { name: given, agent } => {
                let check = Check::Review { agent: name(&format!("{at}.agent"), agent)? };
                Gate { name: named(given, "review")?, check }
            }
            RawGate::Approval { name: given, file } => {
                Gate { name: named(given, "approval")?, check: Check::Approval { file: out_file(at, file)? } }
            }
        }))
    }
}

fn out_file(at: &str, file: &str) -> Result<String, WorkflowError> {
    let known = file.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    if !file.is_empty() && file.len() <= 64 && !file.starts_with('.') && known {
        Ok(file.to_owned())
    } else {
        Err(wrong(format!("{at}.file"), format!("`{file}` must be a plain file name such as findings.md")))
    }
}

impl RawLimits {
    fn check(&self) -> Result<Limits, WorkflowError> {
        let default = Limits::default();
        let between = |key: &str, given: Option<u64>, default: u64, most: u64| match given {
            None => Ok(default),
            Some(value) if (1..=most).contains(&value) => Ok(value),
            Some(value) => Err(wrong(format!("limits.{key}"), format!("{value} is not allowed; 1 to {most} are"))),
        };
        let sessions = between("sessions-max", self.sessions_max.map(u64::from), u64::from(default.sessions_max), 8)?;
        let minutes = between("session-minutes-max", self.session_minutes_max, default.session_seconds_max / 60, 1440)?;
        Ok(Limits {
            sessions_max: u32::try_from(sessions).unwrap_or(default.sessions_max),
            silence_seconds_max: between(
                "silence-seconds-max",
                self.silence_seconds_max,
                default.silence_seconds_max,
                86_400,
            )?,
            session_seconds_max: minutes * 60,
            hand_over_seconds_max: between(
                "hand-over-seconds-max",
                self.hand_over_seconds_max,
                default.hand_over_seconds_max,
                3600,
            )?,
        })
    }
}

/// The largest sizes that may be set for checkpoints. Git needs hours for this much.
const MIB_MAX: u64 = 65_536;

impl RawLaneSetup {
    /// Checks the set-up part on its own; `.agentops/config.toml` uses it too.
    ///
    /// # Errors
    /// An empty argument vector, what is not the name of a variable, or a size out of its range.
    pub fn check(&self) -> Result<LaneSetup, WorkflowError> {
        if self.setup.iter().any(|argv| argv.first().is_none_or(String::is_empty)) {
            return Err(wrong("lane.setup", "each entry is an argument vector such as [\"npm\", \"ci\"]"));
        }
        let is_name = |name: &String| {
            let valid = |c: char| c.is_ascii_alphanumeric() || c == '_';
            !name.is_empty() && name.chars().all(valid) && !name.starts_with(|c: char| c.is_ascii_digit())
        };
        if let Some(name) = self.env.iter().find(|name| !is_name(name)) {
            return Err(wrong("lane.env", format!("`{name}` is not the name of an environment variable")));
        }
        let seconds_max = self.minutes_max.unwrap_or(15).clamp(1, 240) * 60;
        let defaults = LaneSetup::default();
        let size = |key: &str, given: Option<u64>, default: u64| match given {
            Some(mib) if !(1..=MIB_MAX).contains(&mib) => {
                Err(wrong(format!("lane.{key}"), format!("{mib} MiB is not from 1 to {MIB_MAX}")))
            }
            given => Ok(given.unwrap_or(default)),
        };
        Ok(LaneSetup {
            setup: self.setup.clone(),
            copy: self.copy.clone(),
            env: self.env.clone(),
            seconds_max,
            file_mib_max: size("file-mib-max", self.file_mib_max, defaults.file_mib_max)?,
            checkpoint_mib_max: size("checkpoint-mib-max", self.checkpoint_mib_max, defaults.checkpoint_mib_max)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_checkpoints_have_defaults_and_a_range() {
        let sizes = |setup: &RawLaneSetup| setup.check().map(|it| (it.file_mib_max, it.checkpoint_mib_max));
        let given =
            |file, checkpoint| RawLaneSetup { file_mib_max: file, checkpoint_mib_max: checkpoint, ..Default::default() };
        assert_eq!(sizes(&given(None, None)), Ok((1024, 4096)));
        assert_eq!(sizes(&given(Some(1), Some(65_536))), Ok((1, 65_536)));
        for (wrong, key) in
            [(given(Some(0), None), "lane.file-mib-max"), (given(None, Some(65_537)), "lane.checkpoint-mib-max")]
        {
            assert_eq!(sizes(&wrong).unwrap_err().key, key);
        }
        // A ledger that knows none of this means the defaults.
        let old: LaneSetup = serde_json::from_str(r#"{"setup":[],"copy":[],"seconds_max":900}"#).unwrap();
        assert_eq!((old.file_mib_max, old.checkpoint_mib_max), (1024, 4096));
    }
}
