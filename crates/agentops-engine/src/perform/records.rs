//! What a run leaves in git: learning, improvement, context, run record. One record a file, so that they merge.

use std::collections::{BTreeMap, BTreeSet};

use agentops_bundle::manifest::{BundleId, Manifest};
use agentops_bundle::store;
use agentops_core::id::{Name, RunId};
use agentops_core::laws::{CloseOut, Facts, LAWS, finding_ids};
use agentops_core::run::{Event, State, Verdict};
use agentops_core::workflow::Check;
use serde::Serialize;

use super::lost_text::{self, Optional};
use crate::blobs::Blobs;
use crate::chosen::{By, Chosen};

/// The attributes file of the records, and its content: it marks them as generated and does nothing else.
pub const ATTRIBUTES: (&str, &str) = (
    ".agentops/.gitattributes",
    "memory/** linguist-generated\nruns/** linguist-generated\nbundles/** linguist-generated\n",
);

/// What is true of the run, for the laws. `changed` are the files that differ between base and result.
///
/// # Errors
/// A blob cannot be read. The findings of one that is lost are none.
pub(super) fn facts(state: &State, texts: &mut Optional<'_>, changed: BTreeSet<String>) -> std::io::Result<Facts> {
    let mut facts = Facts { changed_files: changed, rework: state.had_rework(), ..Facts::default() };
    facts.options_shown = !state.created.alternatives.is_empty();
    for phase in &state.created.workflow.phases {
        for gate in &phase.gates {
            facts.gates.insert(gate.name.to_string());
            if let Check::Command { argv, .. } = &gate.check {
                facts.commands.insert(argv.join(" "));
            }
        }
    }
    for lane in state.phases.iter().flat_map(|phase| &phase.lanes) {
        for (name, blob) in &lane.artifacts {
            if name.ends_with(".md") {
                let text = texts.text(Some(blob), &format!("{name} of lane {}", lane.id))?;
                facts.findings.extend(finding_ids(&text.unwrap_or_default()));
            }
        }
    }
    Ok(facts)
}

/// The run as its record in git keeps it. Everything in it comes from the ledger; times are Unix milliseconds.
#[derive(Debug, Serialize)]
struct RunRecord<'a> {
    format: u32,
    run: &'a RunId,
    task: &'a str,
    base: &'a str,
    profile: &'a str,
    profile_hash: &'a str,
    workflow: &'a str,
    workflow_hash: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    routed: Option<RoutedRecord>,
    started_at_ms: u64,
    sessions: Vec<SessionRecord>,
    refusals: Vec<String>,
    bundles: Vec<BundleRecord>,
    laws: Vec<&'static str>,
    enforcement: &'static str,
    /// Texts that were gone from the state folder when this was written.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    lost: Vec<String>,
    /// What changed in the user's repository meanwhile, as numbers: names of branches, hooks and settings stay private.
    /// Absent: it was not recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    repository_changes: Option<BTreeMap<String, u32>>,
}

/// How the run came to its workflow and agent. What else could have done it stays private: agents of a person's own catalogues are
/// not named where others read.
#[derive(Debug, Serialize)]
struct RoutedRecord {
    workflow_by: By,
    workflow_likely: Option<f64>,
    risky: bool,
    agent_by: By,
    agent_likely: Option<f32>,
}

#[derive(Debug, Serialize)]
struct SessionRecord {
    session: String,
    agent: String,
    agent_hash: String,
    driver: String,
    model: Option<String>,
    version: Option<String>,
    end: Option<agentops_core::run::SessionEnd>,
    calls: u64,
    largest_permille: Option<u64>,
    window: Option<u64>,
    tokens: agentops_core::usage::Usage,
}

#[derive(Debug, Serialize)]
struct BundleRecord {
    phase: String,
    /// Its folder in `.agentops/bundles`; absent for one of a ledger before format 3.
    bundle: Option<String>,
    hash: String,
    tokens_before: u64,
    tokens_after: u64,
    kept_permille: Option<u64>,
    counted: &'static str,
}

/// The files of the record commit: path and content. The same state gives the same bytes.
///
/// # Errors
/// A blob cannot be read, or the close-out document is not what its gate let pass.
pub fn files(state: &State, blobs: &Blobs) -> std::io::Result<Vec<(String, Vec<u8>)>> {
    let run = &state.created.run;
    let close_out = close_out(state, blobs)?;
    let date = date(state.created_at_ms);
    let mut texts = Optional::new(blobs);
    let task = task(state, &mut texts)?;
    let title = task.lines().find(|line| !line.trim().is_empty()).unwrap_or_default().trim();
    let mut files = vec![(ATTRIBUTES.0.to_owned(), ATTRIBUTES.1.into())];
    for (kind, insight) in [("learnings", &close_out.learning), ("improvements", &close_out.improvement)] {
        if !insight.nothing_new {
            let text = format!(
                "---\nrun: {run}\ndate: {date}\nevidence:\n{}---\n\n{}\n",
                insight
                    .evidence
                    .iter()
                    .map(|item| format!("  - {}\n", serde_json::to_string(item).unwrap_or_default()))
                    .collect::<String>(),
                insight.text.trim()
            );
            files.push((format!(".agentops/memory/{kind}/{date}-{run}.md"), text.into_bytes()));
        }
    }
    let list = |items: &[String]| items.iter().map(|item| format!("- {}\n", item.trim())).collect::<String>();
    let mut context = format!("---\nrun: {run}\ndate: {date}\n---\n\n# {title}\n\n{}\n", close_out.context.summary.trim());
    for (heading, items) in [("Decisions", &close_out.context.decisions), ("Open", &close_out.context.open)] {
        if !items.is_empty() {
            context.push_str(&format!("\n## {heading}\n\n{}", list(items)));
        }
    }
    files.push((format!(".agentops/memory/context/{date}-{run}.md"), context.into_bytes()));
    let mut kept = BTreeMap::new();
    for (phase, bundle) in state.created.workflow.phases.iter().zip(&state.phases) {
        let Some((bundle, manifest)) = bundle.bundle.as_ref().and_then(|of| Some((of, of.manifest.as_ref()?))) else {
            continue;
        };
        let json = texts.bytes(Some(manifest), &format!("the manifest of phase {}", phase.name))?;
        let body = texts.bytes(Some(&bundle.blob), &format!("the bundle of phase {}", phase.name))?;
        let (Some(json), Some(body)) = (json, body) else { continue };
        let parsed: Manifest = serde_json::from_slice(&json).map_err(std::io::Error::other)?;
        // A phase that hands nothing on has an empty bundle, which nobody needs in git.
        if !body.is_empty() {
            let id = parsed.id();
            files.push((format!("{}/{id}/{}", store::FOLDER, store::MANIFEST), json));
            files.push((format!("{}/{id}/{}", store::FOLDER, store::BODY), body));
            kept.insert(phase.name.clone(), id);
        }
    }
    let routed = match &state.created.routed {
        // One that was redacted out of its form costs the record a line, not the run its end.
        Some(blob) => texts
            .bytes(Some(blob), "what the run was routed to")?
            .and_then(|json| serde_json::from_slice(&json).ok())
            .map(|chosen| RoutedRecord::of(&chosen)),
        None => None,
    };
    let record =
        serde_json::to_vec_pretty(&record(state, &task, &kept, routed, texts.lost())).map_err(std::io::Error::other)?;
    files.push((format!(".agentops/runs/{run}.json"), [record, b"\n".to_vec()].concat()));
    Ok(files)
}

/// The close-out document that the laws were checked on.
///
/// # Errors
/// It is missing or is not of its schema.
pub fn close_out(state: &State, blobs: &Blobs) -> std::io::Result<CloseOut> {
    let lane = state.phases.last().and_then(|phase| phase.lanes.first());
    let blob = lane.and_then(|lane| lane.artifacts.get(agentops_core::workflow::raw::CLOSE_OUT_FILE));
    let blob = blob.ok_or_else(|| std::io::Error::other("the run has no close-out document"))?;
    let text = lost_text::required(blobs, blob, "the close-out document", &state.created.run)?;
    serde_json::from_str(&text).map_err(std::io::Error::other)
}

/// The task, or words that say that it is lost.
pub(super) fn task(state: &State, texts: &mut Optional<'_>) -> std::io::Result<String> {
    let task = texts.text(Some(&state.created.task), "the task of this run")?;
    Ok(task.unwrap_or_else(|| "(the text of the task is lost)".to_owned()))
}

impl RoutedRecord {
    fn of(chosen: &Chosen) -> Self {
        let agents = &chosen.routed.agent.ranked;
        let taken = |label: &str| chosen.agent.as_deref().map_or(chosen.is_own(label), |agent| agent == label);
        Self {
            workflow_by: chosen.workflow_by,
            workflow_likely: chosen.likely(),
            risky: chosen.routed.workflow.risky,
            agent_by: chosen.agent_by,
            agent_likely: agents.iter().find(|agent| taken(&agent.label)).map(|agent| agent.likely),
        }
    }
}

fn record<'a>(
    state: &'a State,
    task: &'a str,
    kept: &BTreeMap<Name, BundleId>,
    routed: Option<RoutedRecord>,
    lost: Vec<String>,
) -> RunRecord<'a> {
    let sessions = state.sessions().map(|(lane, session)| {
        let agent = state.created.agents.get(&lane.agent);
        let facts = session.facts.as_ref();
        SessionRecord {
            session: session.id.to_string(),
            agent: lane.agent.to_string(),
            agent_hash: agent.map(|agent| agent.hash.to_string()).unwrap_or_default(),
            driver: agent.map(|agent| agent.driver.to_string()).unwrap_or_default(),
            model: facts.and_then(|facts| facts.model.clone()),
            version: facts.and_then(|facts| facts.version.clone()),
            end: session.end,
            calls: session.calls,
            largest_permille: session.permille(),
            window: session.window,
            tokens: session.usage,
        }
    });
    let phases = || state.created.workflow.phases.iter().zip(&state.phases);
    let refusals = phases().flat_map(|(phase, state)| {
        state.refusals.iter().map(move |refusal| format!("{}/{} in round {}", phase.name, refusal.gate, refusal.round))
    });
    let bundles = phases().filter_map(|(phase, state)| {
        let bundle = state.bundle.as_ref()?;
        let hash = bundle.blob.to_string();
        let counted = match bundle.manifest {
            Some(_) => "before: by the provider, summed over sessions; after: o200k",
            None => "before: by the provider, summed over sessions; after: estimated, 3 bytes a token",
        };
        Some(BundleRecord {
            phase: phase.name.to_string(),
            bundle: kept.get(&phase.name).map(ToString::to_string),
            kept_permille: bundle.kept_permille,
            hash,
            tokens_before: bundle.before,
            tokens_after: bundle.after,
            counted,
        })
    });
    RunRecord {
        format: agentops_core::run::FORMAT,
        run: &state.created.run,
        task,
        base: state.created.base.as_str(),
        profile: state.created.profile.as_str(),
        profile_hash: state.created.profile_hash.as_str(),
        workflow: state.created.workflow.name.as_str(),
        workflow_hash: state.created.workflow_hash.as_str(),
        routed,
        started_at_ms: state.created_at_ms,
        sessions: sessions.collect(),
        refusals: refusals.collect(),
        bundles: bundles.collect(),
        laws: LAWS.iter().zip(state.laws.unwrap_or([false; 5])).filter(|(_, held)| *held).map(|(law, _)| *law).collect(),
        enforcement: "stopped",
        lost,
        repository_changes: state.created.repository.as_ref().map(|_| {
            let changed = state.compared.iter().filter(|compared| compared.count > 0);
            changed.map(|compared| (compared.during.to_string(), compared.count)).collect()
        }),
    }
}

/// What a close-out agent is told about the run: facts only, each from the ledger.
#[must_use]
pub fn digest(state: &State, facts: &Facts) -> String {
    let list =
        |items: &BTreeSet<String>| items.iter().take(60).map(|item| format!("`{item}`")).collect::<Vec<_>>().join(", ");
    let mut text = format!(
        "Changed files: {}\n\n",
        if facts.changed_files.is_empty() { "none".into() } else { list(&facts.changed_files) }
    );
    text.push_str(&format!("Gates: {}\n\n", list(&facts.gates)));
    if !facts.commands.is_empty() {
        text.push_str(&format!("Commands of gates: {}\n\n", list(&facts.commands)));
    }
    if !facts.findings.is_empty() {
        text.push_str(&format!("Findings: {}\n\n", list(&facts.findings)));
    }
    for (phase, phase_state) in state.created.workflow.phases.iter().zip(&state.phases) {
        for refusal in &phase_state.refusals {
            text.push_str(&format!("- gate {}/{} refused in round {}\n", phase.name, refusal.gate, refusal.round));
        }
    }
    for (_, session) in state.sessions() {
        if let Some(end) = session.end {
            let share =
                session.permille().map_or("unknown".into(), |permille| format!("{}.{} %", permille / 10, permille % 10));
            let end = serde_json::to_value(end).ok().and_then(|end| end.as_str().map(str::to_owned)).unwrap_or_default();
            text.push_str(&format!("- session {} ended {end}, largest share of the window {share}\n", session.id));
        }
    }
    let new = if facts.rework {
        "There was rework or a hand-over, so `nothing-new` is not an answer."
    } else {
        "There was no rework: `nothing-new` is allowed."
    };
    text.push_str(&format!("\n{new}\n"));
    text
}

/// The commit message of the record.
#[must_use]
pub fn message(state: &State, task: &str) -> String {
    let title: String = task.lines().find(|line| !line.trim().is_empty()).unwrap_or("run").trim().chars().take(60).collect();
    let run = &state.created.run;
    format!("Record of {run}: {title}\n\nLearning, improvement and context of this run.\n\nAgentops-Run: {run}\n")
}

/// `YYYY-MM-DD` of Unix milliseconds, UTC.
#[must_use]
pub fn date(at_ms: u64) -> String {
    let seconds = i64::try_from(at_ms / 1000).unwrap_or(0);
    jiff::Timestamp::from_second(seconds).map(|at| at.to_string().chars().take(10).collect()).unwrap_or_default()
}

/// The time that the record's commit carries: the last event before it, so that doing it twice gives one commit.
#[must_use]
pub fn commit_seconds(state: &State, entries: &[crate::world::Entry]) -> u64 {
    let last = entries.iter().rev().find(|entry| matches!(entry.event, Event::LawsChecked { .. }));
    last.map_or(state.created_at_ms, |entry| entry.at_ms) / 1000
}

/// Whether a gate's verdict is one that a person counts as held.
#[must_use]
pub fn held(verdict: Verdict) -> bool {
    verdict == Verdict::Passed
}
