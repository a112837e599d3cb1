//! What commands show of runs: one type for screens and for `--json`.

mod lock_waits;
pub mod repository;
pub mod spending;

use agentops_core::ceiling::Enforcement;
use agentops_core::id::{Commit, Name, RunId};
use agentops_core::laws::LAWS;
use agentops_core::models;
use agentops_core::run::{
    Approve, Closing, Decision, DecisionKind, DecisionScope, Key, Outcome, SessionEnd, State, Status, Verdict,
};
use agentops_core::usage::Usage;
use agentops_core::workflow::{Check, Writes};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use lock_waits::WaitingForLock;
pub use repository::RepositoryView;
use spending::SpentView;

use crate::blobs::Blobs;
use crate::chosen::Chosen;
use crate::client::Attendance;
use crate::environment::EnvironmentView;
use crate::ledger::{Ledger, Line};
use crate::omitted::{self, OmittedItem};
use crate::world::StorageError;

/// One run, whole.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RunView {
    /// Version of this format.
    pub format: u32,
    /// Why the supervisor that the run waits for cannot run, e.g. a full disk; absent: nothing is known to be in the way.
    #[serde(default)]
    pub hindrance: Option<String>,
    /// Its actions that have waited for a lock of ours for more than a second.
    #[serde(default)]
    pub waiting_for_lock: Vec<WaitingForLock>,
    /// The run.
    pub run: RunId,
    /// What it is doing or how it ended.
    pub status: Status,
    /// More about it in words; absent when there is nothing more to say.
    pub detail: Option<String>,
    /// Every question that waits for a person, oldest first; also while other lanes of the run are at work.
    #[serde(default)]
    pub decisions: Vec<DecisionView>,
    /// The task's first line.
    pub title: String,
    /// The task.
    pub task: String,
    /// The profile.
    pub profile: Name,
    /// The workflow.
    pub workflow: Name,
    /// Other workflows that could do it.
    pub alternatives: Vec<Name>,
    /// What it was routed to, who decided, and what else could have done it; absent: it was not routed.
    #[serde(default)]
    pub routed: Option<Box<Chosen>>,
    /// Which approvals were given beforehand.
    #[serde(default)]
    pub approve: Approve,
    /// The commit it started from.
    pub base: Commit,
    /// The branch with its result, once there is one.
    pub branch: Option<String>,
    /// The newest commit of its work.
    pub tip: Commit,
    /// When it started, Unix milliseconds.
    pub started_at_ms: u64,
    /// When it ended.
    pub ended_at_ms: Option<u64>,
    /// What became of its result.
    pub closing: Option<Closing>,
    /// Its phases, in order.
    pub phases: Vec<PhaseView>,
    /// The laws, as far as they were checked.
    pub laws: Vec<LawView>,
    /// Tokens of all calls.
    pub tokens: Usage,
    /// What it spent of its budget.
    pub budget: SpentView,
    /// The date of the list prices.
    pub prices_of: String,
    /// Largest share of a window in any session, in thousandths; absent: none was measured.
    pub largest_permille: Option<u64>,
    /// Sessions, gates and set-ups that wait for a slot.
    #[serde(default)]
    pub waiting_for_slot: Vec<WaitingForSlot>,
    /// How often a supervisor took it over from a dead one.
    pub takeovers: u32,
    /// What changed in the user's repository while it ran; absent: not recorded.
    #[serde(default)]
    pub repository: Option<RepositoryView>,
    /// The environment that the run works in, beside the asking shell's; only `show` gives it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<EnvironmentView>,
    /// What to type next.
    pub next: Vec<String>,
}

/// A question that waits for a person.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct DecisionView {
    /// The question.
    pub kind: DecisionKind,
    /// What waits for the answer.
    pub scope: DecisionScope,
    /// The phase.
    pub phase: Name,
    /// The lane or the gate; absent where the run waits.
    pub place: Option<Name>,
    /// More about it.
    pub detail: Option<String>,
}

/// One phase.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct PhaseView {
    /// Its name.
    pub name: Name,
    /// Where it is.
    pub state: PhaseStateView,
    /// What it spent of its budget.
    pub budget: SpentView,
    /// Rounds through its gates so far.
    pub round: u32,
    /// Its lanes, review lanes included.
    pub lanes: Vec<LaneView>,
    /// Its gates.
    pub gates: Vec<GateView>,
    /// What it hands on.
    pub bundle: Option<BundleView>,
    /// Files that it changed; absent for a phase that writes documents only, or before its lanes are merged.
    pub changed: Option<u32>,
    /// How long it took so far, in milliseconds; absent before it began.
    pub took_ms: Option<u64>,
}

/// Where a phase is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PhaseStateView {
    /// Not begun.
    Pending,
    /// Under way.
    Running,
    /// Its gates passed.
    Done,
}

/// One lane.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct LaneView {
    /// Its name.
    pub name: Name,
    /// Its agent.
    pub agent: Name,
    /// It judges the work of others.
    pub review: bool,
    /// What it spent of its budget.
    pub budget: SpentView,
    /// Its sessions.
    pub sessions: Vec<SessionView>,
    /// Names of its documents.
    pub documents: Vec<String>,
    /// The run has ended and its work tree was not removed, because it holds work that no checkpoint holds.
    #[serde(default)]
    pub stays: bool,
}

/// One session.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct SessionView {
    /// Its place in the lane.
    pub ordinal: u32,
    /// How it ended; absent until its lane is kept.
    pub end: Option<SessionEnd>,
    /// How its agent exited; absent while it runs, and in a run of an older version.
    #[serde(default)]
    pub exited: Option<SessionEnd>,
    /// What a person should know of it.
    pub detail: Option<String>,
    /// Model; absent: unknown.
    pub model: Option<String>,
    /// The program's version; absent: unknown.
    pub version: Option<String>,
    /// How the ceiling is enforced; absent until the program is up.
    pub enforcement: Option<Enforcement>,
    /// The window in tokens.
    pub window: Option<u64>,
    /// Largest share of it, in thousandths; absent: unknown.
    pub largest_permille: Option<u64>,
    /// Calls whose end was reported.
    pub calls: u64,
    /// Tokens of its calls.
    pub tokens: Usage,
    /// What it spent.
    pub budget: SpentView,
    /// What its program said that its calls used, where that differs by more than 1 % from `tokens`, which the gateway saw.
    pub said: Option<Usage>,
    /// Calls that another model answered than was asked for.
    #[serde(default)]
    pub other_model_calls: u64,
    /// Files it changed.
    pub changed: u32,
    /// Changes that were dropped.
    pub dropped: u32,
    /// What was in its lane and is not in its checkpoint, though nothing ignores it.
    #[serde(default)]
    pub omitted: Vec<OmittedItem>,
    /// It was asked to hand over.
    pub handing_over: bool,
    /// It waits for a slot: nothing of it runs yet.
    #[serde(default)]
    pub waits_for_slot: bool,
}

/// One gate.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct GateView {
    /// Its name.
    pub name: Name,
    /// What it checks: `command`, `artifact`, `review`, `approval`, `laws`.
    pub kind: String,
    /// Verdict of this round; absent: not checked yet.
    pub verdict: Option<Verdict>,
    /// Refusals in earlier rounds.
    pub refusals: u32,
    /// Findings, or what broke.
    pub detail: Option<String>,
}

/// A bundle in figures.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct BundleView {
    /// Its hash.
    pub hash: String,
    /// Tokens that the phase's sessions held in their contexts, summed, as their providers counted them.
    pub tokens_before: u64,
    /// Tokens of the bundle: of o200k, or estimated from its bytes in a run of an older version.
    pub tokens_after: u64,
    /// The share of must-keep facts that survived, in thousandths; absent where nothing is known of it.
    #[serde(default)]
    pub kept_permille: Option<u64>,
}

/// A law.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct LawView {
    /// Its words.
    pub law: String,
    /// Whether it held when it was last checked.
    pub held: bool,
}

/// All runs, newest first.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct StatusView {
    /// Version of this format.
    pub format: u32,
    /// The supervisor's process; absent: none runs.
    pub supervisor: Option<String>,
    /// Why no supervisor can run, e.g. a full disk; absent: nothing is known to be in the way.
    #[serde(default)]
    pub hindrance: Option<String>,
    /// The runs.
    pub runs: Vec<RunLine>,
    /// Sessions, gates and set-ups of this repository that wait for a slot, the longest waiting first.
    #[serde(default)]
    pub waiting_for_slot: Vec<WaitingForSlot>,
    /// Actions that have waited for a lock of ours for more than a second.
    #[serde(default)]
    pub waiting_for_lock: Vec<WaitingForLock>,
    /// A merge into this checkout that was begun and is not at its end, and what to do; absent: there is none.
    #[serde(default)]
    pub begun_merge: Option<String>,
    /// Runs that have lanes and that the ledger does not know: it may have lost entries. Nothing of them is removed.
    #[serde(default)]
    pub unknown_runs: Vec<RunId>,
}

/// Something that waits for a slot.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct WaitingForSlot {
    /// The run.
    pub run: RunId,
    /// What waits: `phase/lane/step/ordinal`.
    pub step: String,
    /// Since when, Unix milliseconds.
    pub since_ms: u64,
}

/// What of a run waits for a slot.
fn waiting_for_slot(state: &State) -> impl Iterator<Item = WaitingForSlot> {
    state.waits_for_slot.iter().map(|(key, since_ms)| WaitingForSlot {
        run: state.created.run.clone(),
        step: key.to_string(),
        since_ms: *since_ms,
    })
}

/// One run in a list.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RunLine {
    /// The run.
    pub run: RunId,
    /// What it is doing or how it ended: the same words as in `show`.
    pub status: String,
    /// More about it, e.g. the phase or what it waits for.
    pub about: String,
    /// The task's first line.
    pub title: String,
    /// The workflow.
    pub workflow: Name,
    /// When it started, Unix milliseconds.
    pub started_at_ms: u64,
    /// When it ended.
    pub ended_at_ms: Option<u64>,
    /// What became of its result.
    pub closing: Option<Closing>,
}

/// Version of the formats in this module.
pub const VIEW_FORMAT: u32 = 1;

/// The first line of a task that says something.
#[must_use]
pub fn title(task: &str) -> String {
    let line = task.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    agentops_safe::inert_line(line.trim(), 100)
}

/// The view of one run. Texts that cannot be read are named as such: a missing blob must not hide a run.
#[must_use]
pub fn run(state: &State, blobs: &Blobs, supervised: bool, now_ms: u64) -> RunView {
    let text = |blob: &Option<agentops_core::id::BlobId>| {
        let words = |blob| blobs.text(blob).unwrap_or_else(|e| format!("(cannot be read: {e})"));
        blob.as_ref().map(|blob| agentops_safe::inert(&words(blob)).into_owned())
    };
    let task = text(&Some(state.created.task.clone())).unwrap_or_default();
    let status = state.status(supervised);
    let detail = match &status {
        Status::NeedsDecision { decision } => text(&decision.detail),
        Status::Failed { failure } => text(&failure.detail),
        _ => None,
    };
    let current = state.current();
    let ended_at_ms = state.outcome.map(|(_, at)| at);
    let phases = state.created.workflow.phases.iter().zip(&state.phases).enumerate().map(|(index, (spec, phase))| {
        let lane = |lane: &agentops_core::run::LaneState, review: bool| LaneView {
            name: lane.id.lane.clone(),
            agent: lane.agent.clone(),
            review,
            budget: SpentView::lane(state, lane),
            documents: lane.artifacts.keys().cloned().collect(),
            stays: state.outcome.is_some() && lane.holds_unkept_work(),
            sessions: lane
                .sessions
                .iter()
                .map(|session| SessionView {
                    ordinal: session.id.ordinal,
                    end: session.end,
                    exited: session.exit.as_ref().map(|exit| exit.end),
                    detail: text(&session.detail),
                    model: session.facts.as_ref().and_then(|facts| facts.model.clone()),
                    version: session.facts.as_ref().and_then(|facts| facts.version.clone()),
                    enforcement: session.facts.as_ref().map(|facts| facts.enforcement),
                    window: session.window,
                    largest_permille: session.permille(),
                    calls: session.calls,
                    tokens: session.usage,
                    budget: SpentView::session(session),
                    said: session.said,
                    other_model_calls: session.other_model_calls,
                    changed: session.changed,
                    dropped: session.dropped,
                    omitted: omitted::of_session(session, blobs),
                    handing_over: session.hand_over_since_ms.is_some(),
                    waits_for_slot: state.waits_for_slot.contains_key(&Key::Session { session: session.id.clone() }),
                })
                .collect(),
        };
        let gates = spec.gates.iter().map(|gate| GateView {
            name: gate.name.clone(),
            kind: kind(&gate.check).into(),
            verdict: phase.gates.get(&gate.name).map(|gate| gate.verdict),
            refusals: u32::try_from(phase.refusals.iter().filter(|refusal| refusal.gate == gate.name).count())
                .unwrap_or(u32::MAX),
            detail: phase
                .gates
                .get(&gate.name)
                .filter(|gate| gate.verdict != Verdict::Passed)
                .and_then(|gate| text(&gate.detail)),
        });
        PhaseView {
            name: spec.name.clone(),
            state: match (phase.bundle.is_some(), index == current && phase.started_at_ms.is_some()) {
                (true, _) => PhaseStateView::Done,
                (false, true) => PhaseStateView::Running,
                _ => PhaseStateView::Pending,
            },
            budget: SpentView::phase(state, phase, &spec.name),
            round: phase.round,
            lanes: phase.lanes.iter().map(|l| lane(l, false)).chain(phase.reviews.iter().map(|l| lane(l, true))).collect(),
            gates: gates.collect(),
            bundle: phase.bundle.as_ref().map(|bundle| BundleView {
                hash: bundle.blob.to_string(),
                tokens_before: bundle.before,
                tokens_after: bundle.after,
                kept_permille: bundle.kept_permille,
            }),
            changed: (spec.writes == Writes::Files && phase.merged.is_some()).then_some(phase.changed),
            took_ms: phase
                .started_at_ms
                .map(|from| phase.ended_at_ms.or(ended_at_ms).unwrap_or(now_ms).saturating_sub(from)),
        }
    });
    let laws = state
        .laws
        .iter()
        .flat_map(|held| LAWS.iter().zip(held))
        .map(|(law, held)| LawView { law: (*law).into(), held: *held });
    let decisions = state.decisions.iter().map(|decision| DecisionView {
        kind: decision.kind,
        scope: decision.scope,
        phase: decision.phase.clone(),
        place: decision.place.clone(),
        detail: text(&decision.detail),
    });
    RunView {
        format: VIEW_FORMAT,
        hindrance: None,
        waiting_for_lock: Vec::new(),
        run: state.created.run.clone(),
        next: next(state, &status),
        decisions: decisions.collect(),
        detail,
        title: title(&task),
        task,
        profile: state.created.profile.clone(),
        workflow: state.created.workflow.name.clone(),
        alternatives: state.created.alternatives.clone(),
        // One that cannot be read hides no run: its workflow is known without it.
        routed: state.created.routed.as_ref().and_then(|blob| serde_json::from_slice(&blobs.get(blob).ok()?).ok()),
        approve: state.created.approve,
        base: state.created.base.clone(),
        branch: state.published.as_ref().map(|_| state.created.run.branch()),
        tip: state.recorded.clone().unwrap_or_else(|| state.tip().clone()),
        started_at_ms: state.created_at_ms,
        ended_at_ms,
        closing: state.closing.clone(),
        phases: phases.collect(),
        laws: laws.collect(),
        tokens: state.usage(),
        budget: SpentView::run(state),
        prices_of: models::prices_date().to_owned(),
        largest_permille: state.sessions().filter_map(|(_, session)| session.permille()).max(),
        waiting_for_slot: waiting_for_slot(state).collect(),
        takeovers: state.takeovers,
        repository: repository::of(state, blobs),
        environment: None,
        status,
    }
}

fn kind(check: &Check) -> &'static str {
    match check {
        Check::Command { .. } => "command",
        Check::Artifact { .. } => "artifact",
        Check::Review { .. } => "review",
        Check::Approval { .. } => "approval",
        Check::Laws => "laws",
    }
}

/// What to type next, most likely first.
fn next(state: &State, status: &Status) -> Vec<String> {
    use agentops_core::run::Waiting;
    let run = &state.created.run;
    let with =
        |commands: &[&str]| -> Vec<String> { commands.iter().map(|command| command.replace("RUN", run.as_str())).collect() };
    let mut commands = match status {
        Status::Done if state.closing.is_none() => {
            with(&["agentops merge RUN", "agentops show RUN --diff", "agentops discard RUN"])
        }
        Status::Waiting { waiting: Waiting::Approval { .. } } => {
            with(&["agentops approve RUN", "agentops reject RUN -m \"…\"", "agentops show RUN"])
        }
        Status::Waiting { waiting: Waiting::Supervisor } => with(&["agentops resume RUN", "agentops cancel RUN"]),
        Status::NeedsDecision { decision } if decision.kind == DecisionKind::Budget => {
            let raise = spending::raise(state).unwrap_or_else(|| format!("agentops resume {run}"));
            [raise].into_iter().chain(with(&["agentops show RUN", "agentops cancel RUN"])).collect()
        }
        Status::NeedsDecision { .. } => with(&["agentops show RUN", "agentops resume RUN", "agentops cancel RUN"]),
        // Some lanes wait for a person while others work: the answer need not wait for those.
        Status::Running | Status::Waiting { waiting: Waiting::Provider { .. } } if !state.decisions.is_empty() => {
            with(&["agentops show RUN", "agentops resume RUN", "agentops logs RUN --follow", "agentops cancel RUN"])
        }
        Status::Running | Status::Waiting { .. } => with(&["agentops logs RUN --follow", "agentops cancel RUN"]),
        Status::Failed { .. } | Status::Cancelled if state.closing.is_none() => {
            with(&["agentops show RUN", "agentops logs RUN"])
        }
        _ => with(&["agentops show RUN"]),
    };
    if state.cancelled && state.decisions.is_empty() {
        let cancel = with(&["agentops cancel RUN"]);
        commands.retain(|command| !cancel.contains(command));
    }
    commands
}

/// The list of runs.
///
/// # Errors
/// The ledger cannot be read.
pub fn status(
    ledger: &mut Ledger,
    blobs: &Blobs,
    supervisor: Option<String>,
    attendance: &Attendance,
    hindrance: Option<String>,
    limit: u32,
) -> Result<StatusView, StorageError> {
    let (mut runs, mut waiting) = (Vec::new(), Vec::new());
    for line in ledger.runs(limit)? {
        let (status, about) = match line.outcome {
            Some(outcome) => (outcome_word(outcome).to_owned(), closing_words(&line)),
            None => match ledger.state(&line.run)? {
                Some(state) => {
                    // Without a supervisor nothing waits in the queue: the next one asks anew.
                    let attended = attendance.includes(&line.run);
                    waiting.extend(waiting_for_slot(&state).filter(|_| attended));
                    let status = state.status(attended);
                    let (word, about) = words(&state, &status);
                    let stopped = matches!(status, Status::Waiting { waiting: agentops_core::run::Waiting::Supervisor });
                    (word, hindrance.clone().filter(|_| stopped).unwrap_or(about))
                }
                None => ("unknown".into(), String::new()),
            },
        };
        let task = blobs.text(&line.task).unwrap_or_else(|e| format!("(cannot be read: {e})"));
        runs.push(RunLine {
            run: line.run,
            status,
            about,
            title: title(&task),
            workflow: line.workflow,
            started_at_ms: line.started_ms,
            ended_at_ms: line.ended_ms,
            closing: line.closing,
        });
    }
    waiting.sort_by_key(|waiting: &WaitingForSlot| waiting.since_ms);
    Ok(StatusView {
        format: VIEW_FORMAT,
        supervisor,
        hindrance,
        runs,
        waiting_for_slot: waiting,
        waiting_for_lock: Vec::new(),
        begun_merge: None,
        unknown_runs: Vec::new(),
    })
}

fn outcome_word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Done => "done",
        Outcome::Failed => "failed",
        Outcome::Cancelled => "cancelled",
    }
}

fn closing_words(line: &Line) -> String {
    match (&line.closing, line.outcome) {
        (Some(Closing::Merged { .. }), _) => "merged".into(),
        (Some(Closing::Discarded { .. }), _) => "discarded".into(),
        (None, Some(Outcome::Done)) => format!("branch {}", line.run.branch()),
        _ => String::new(),
    }
}

/// `conflict in implement/two`
fn question(decision: &Decision) -> String {
    let place = decision.place.as_ref().map(|place| format!("/{place}")).unwrap_or_default();
    let kind = serde_json::to_value(decision.kind).unwrap_or_default();
    format!("{} in {}{place}", kind.as_str().unwrap_or_default(), decision.phase)
}

/// A status in one word, and more about it in a few.
#[must_use]
pub fn words(state: &State, status: &Status) -> (String, String) {
    use agentops_core::run::Waiting;
    let phase = state.created.workflow.phases.get(state.current()).map_or("close", |phase| phase.name.as_str());
    let kebab = |value: serde_json::Value| value.as_str().map(str::to_owned).unwrap_or_default();
    match status {
        Status::Running => {
            let waits = state.waits_for_slot.len();
            let slots = if waits > 0 { format!("; {waits} waiting for a slot") } else { String::new() };
            let decide = match state.decisions.as_slice() {
                [] => String::new(),
                [only] => format!("; you decide: {}", question(only)),
                more => format!("; you decide {} questions", more.len()),
            };
            ("running".into(), format!("{phase}{slots}{decide}"))
        }
        Status::Waiting { waiting } => (
            "waiting".into(),
            match waiting {
                Waiting::Approval { phase, .. } => format!("for you to approve {phase}"),
                Waiting::Provider { .. } => "for the model provider; tried again by itself".into(),
                Waiting::Slot { .. } => format!("for a slot in {phase}; it goes on by itself"),
                Waiting::Supervisor => format!("for `agentops resume {}`", state.created.run),
            },
        ),
        Status::NeedsDecision { decision } => {
            let more = state.decisions.len().saturating_sub(1);
            let more = if more > 0 { format!(", and {more} more") } else { String::new() };
            ("needs-decision".into(), format!("{}{more}", question(decision)))
        }
        Status::Done => ("done".into(), String::new()),
        Status::Failed { failure } => {
            let kind = kebab(serde_json::to_value(failure.kind).unwrap_or_default());
            ("failed".into(), format!("{kind} in {}", failure.session))
        }
        Status::Cancelled => ("cancelled".into(), String::new()),
    }
}
