//! What a session is told: task, bundle of the phases before, hand-over, findings, and what to deliver. Nothing else.

use agentops_agents::driver::OUT_DIR;
use agentops_core::ceiling::{Window, estimate_tokens};
use agentops_core::id::{LaneId, SessionId};
use agentops_core::laws::{CloseOut, ReviewVerdict};
use agentops_core::run::State;
use agentops_core::workflow::{Check, Phase, Schema, Writes};

use super::bundle;

/// The parts of a start context, as texts.
#[derive(Debug, Clone, Default)]
pub struct Parts {
    /// The task.
    pub task: String,
    /// Bundles of the phases before, each with its phase's name.
    pub bundles: Vec<(String, String)>,
    /// The hand-over of the session before.
    pub hand_over: Option<String>,
    /// Findings of a gate that refused, or of a conflict.
    pub findings: Option<String>,
    /// What is in the lane and in no checkpoint of it.
    pub omitted: Option<String>,
    /// For a reviewer: the change that is judged.
    pub change: Option<String>,
    /// For the close-out: what the run knows of itself.
    pub record: Option<String>,
}

/// The first message of a session. Bundles, the change and findings are compressed where they would not fit in what a start
/// context may take of the window. `factor`: what a token of o200k counts in the model's family, in thousandths.
#[must_use]
pub fn compose(state: &State, session: &SessionId, parts: &Parts, window: Option<Window>, factor: u64) -> String {
    let Some(phase) = state.created.workflow.phase(&session.lane.phase) else { return parts.task.clone() };
    let mut text = format!("# Task\n\n{}\n\n# Your part\n\n", parts.task.trim());
    text.push_str(&part(state, phase, session));
    let deliver = deliver(phase, &session.lane);
    let budget = window.map_or(12_000, Window::start_context);
    let mut left = budget.saturating_sub(estimate_tokens((text.len() + deliver.len()) as u64));
    // The newest word counts most: what refused or handed over comes before what was found earlier.
    let mut sections = Vec::new();
    if let Some(findings) = &parts.findings {
        sections.push(("What was found wrong; this is why you work on it again".to_owned(), findings));
    }
    if let Some(hand_over) = &parts.hand_over {
        sections.push(("Hand-over of the session before you".to_owned(), hand_over));
    }
    if let Some(omitted) = &parts.omitted {
        sections.push(("In your work tree, but not part of your work so far".to_owned(), omitted));
    }
    if let Some(change) = &parts.change {
        sections.push(("The change that you judge".to_owned(), change));
    }
    if let Some(record) = &parts.record {
        sections.push(("What this run knows of itself".to_owned(), record));
    }
    for (phase, bundle) in parts.bundles.iter().rev() {
        sections.push((format!("What the phase {phase} hands on"), bundle));
    }
    for (title, body) in sections {
        let (body, used) = fit(body, left, factor);
        left = left.saturating_sub(used);
        text.push_str(&format!("\n# {title}\n\n{body}\n"));
    }
    text.push_str(&deliver);
    text
}

fn part(state: &State, phase: &Phase, session: &SessionId) -> String {
    let mut text = format!("Phase `{}`, lane `{}`, session {}.", phase.name, session.lane.lane, session.ordinal);
    if let Some(lane) = phase.lanes.iter().find(|lane| lane.name == session.lane.lane).filter(|lane| !lane.focus.is_empty())
    {
        text.push_str(&format!(" Look at this and leave the rest to others: {}", lane.focus));
    }
    text.push_str("\nYou work in a copy of the repository of your own. CLAUDE.md and AGENTS.md, where they exist, are its rules: read them first.\n");
    let review = !phase.lanes.iter().any(|lane| lane.name == session.lane.lane);
    if phase.writes == Writes::Artifacts || review {
        text.push_str(&format!("Change no file outside `{OUT_DIR}/`: such changes are thrown away.\n"));
    }
    if let Some(retries) = state
        .phases
        .iter()
        .find(|p| p.lanes.iter().any(|l| l.id.phase == phase.name))
        .map(|p| p.round)
        .filter(|round| *round > 1)
    {
        text.push_str(&format!("This is round {retries} of this phase.\n"));
    }
    text
}

/// What must be there when the session ends, from the phase's own gates.
fn deliver(phase: &Phase, lane: &LaneId) -> String {
    let mut text = String::from("\n# What to deliver\n\n");
    let review = phase.gates.iter().any(|gate| {
        lane.lane.as_str().starts_with(&format!("{}-", gate.name)) && matches!(gate.check, Check::Review { .. })
    });
    if review {
        text.push_str(&document("verdict.json", &[], Some(Schema::Verdict)));
        return text;
    }
    let before = text.len();
    for gate in &phase.gates {
        match &gate.check {
            Check::Artifact { file, headings, schema } => text.push_str(&document(file, headings, *schema)),
            Check::Command { argv, .. } => text.push_str(&format!(
                "- `{}` must succeed when you are done. It is run for you afterwards, in a fresh copy.\n",
                argv.join(" ")
            )),
            Check::Review { .. } => {
                text.push_str("- Another engineer, who sees only the task and the result, must let it pass.\n")
            }
            Check::Approval { .. } | Check::Laws => {}
        }
    }
    if text.len() == before {
        text.push_str("- The task done, in the work tree.\n");
    }
    text
}

fn document(file: &str, headings: &[String], schema: Option<Schema>) -> String {
    let mut text = format!(
        "- `{OUT_DIR}/{file}`. If you cannot write files, answer with the whole document as your last message, and nothing else.\n"
    );
    if !headings.is_empty() {
        text.push_str(&format!(
            "  Markdown with these headings: {}.\n",
            headings.iter().map(|h| format!("`## {h}`")).collect::<Vec<_>>().join(", ")
        ));
    }
    if let Some(schema) = schema {
        text.push_str(&format!("  JSON of this form:\n\n```json\n{}\n```\n", example(schema)));
    }
    text
}

fn example(schema: Schema) -> String {
    match schema {
        Schema::CloseOut => "{\n  \"learning\": {\"text\": \"…\", \"evidence\": [\"a changed file, a gate, its command, or a finding id such as F1\"], \"nothing-new\": false},\n  \
             \"improvement\": {\"text\": \"…\", \"evidence\": [\"…\"], \"nothing-new\": false},\n  \
             \"context\": {\"summary\": \"what was done and why, naming the files that changed\", \"decisions\": [\"…\"], \"open\": [\"…\"]}\n}"
            .into(),
        Schema::Verdict => "{\"passed\": false, \"findings\": [\"path:line what is wrong and what would be right\"]}".into(),
    }
}

/// What is wrong with a document's form; `None` when it fits.
#[must_use]
pub fn schema_error(schema: Schema, text: &str) -> Option<String> {
    match schema {
        Schema::CloseOut => serde_json::from_str::<CloseOut>(text).err().map(|e| e.to_string()),
        Schema::Verdict => serde_json::from_str::<ReviewVerdict>(text).err().map(|e| e.to_string()),
    }
}

/// A text that fits in `tokens` of a model whose family counts `factor` thousandths of o200k, and what it takes of them.
fn fit(text: &str, tokens: u64, factor: u64) -> (String, u64) {
    // What fits by its bytes needs no tokenizer.
    let need = estimate_tokens(text.len() as u64);
    if need <= tokens {
        return (text.to_owned(), need);
    }
    let (text, used) = bundle::shortened(text, tokens.saturating_mul(1000) / factor.max(1));
    (text, used.saturating_mul(factor).div_ceil(1000))
}

/// The words that ask a session for its hand-over.
#[must_use]
pub fn hand_over_request() -> String {
    format!(
        "AGENTOPS HAND-OVER. Your context is nearly used up. Stop the work now and do only this: write `{OUT_DIR}/handover.md` for a \
         colleague who starts from it with nothing else: the state of the work (done, half done, not begun), decisions and their reasons, \
         dead ends, commands that matter with their results, and the next step. Keep it under 600 words, with paths and names. If you \
         cannot write files, answer with that document as your last message. Then end your turn."
    )
}
