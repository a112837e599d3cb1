//! What is handed on, compressed: a phase's bundle, the hand-over of a session that wrote none, what a gate's program printed.
//! Each says what did not survive and where it is whole.

use agentops_bundle::kind::Kind;
use agentops_bundle::manifest::{Manifest, SourceRecord, hash};
use agentops_bundle::mixed::{self, Part, Source};
use agentops_bundle::page::Page;
use agentops_bundle::source_text::SourceText;
use agentops_bundle::{Class, Compressed, Fact, Fidelity, SourceError, log, transcript};
use agentops_core::id::{Name, RunId, SessionId};
use agentops_core::run::{Event, State};
use agentops_core::workflow::{BundleRule, Writes};
use agentops_text::tokens::text_tokens;

use super::lost_text::Optional;
use super::{Act, ActError, Ctx, oid};

/// How the path of a source begins that a run made: no file of the repository is called so. Which run is in the run's record:
/// two runs that found the same make the same bundle.
pub const RUN_SOURCE: &str = "run: ";

/// What of a patch goes into a bundle before it is compressed, in bytes.
const PATCH_BYTES_MAX: usize = 4 << 20;
/// What a mechanical hand-over tells of the session, in tokens.
const HANDOVER_TOKENS: u64 = 3_000;
/// What is listed as lost, in tokens.
const LOSSES_TOKENS: u64 = 400;
/// What of a program's output goes into the findings of a refusal, in tokens.
const FINDINGS_TOKENS: u64 = 3_000;

/// Puts together what a phase hands on: its documents and its change, within the tokens of the workflow, larger where too
/// little would survive.
pub(super) fn phase(ctx: &Ctx, state: &State, phase: &Name) -> Act<Event> {
    let Some(index) = state.created.workflow.phases.iter().position(|known| known.name == *phase) else {
        return Err(ActError::Io(std::io::Error::other("no such phase")));
    };
    let (spec, run_phase) = (&state.created.workflow.phases[index], &state.phases[index]);
    let (mut parts, mut sources, mut texts) = (Vec::new(), Vec::new(), Optional::new(&ctx.blobs));
    for lane in &run_phase.lanes {
        for (name, blob) in lane.artifacts.iter().filter(|(name, _)| *name != agentops_agents::driver::HANDOVER_FILE) {
            let title = format!("{name} of lane {}", lane.id.lane);
            let Some(bytes) = texts.bytes(Some(blob), &title)? else { continue };
            let part = Part::of_bytes(title, bytes);
            let path = format!("{RUN_SOURCE}{}", part.name);
            sources.push(SourceRecord { path, kind: part.kind(), commit: None, hash: blob.to_string() });
            parts.push(part);
        }
    }
    if let (Writes::Files, Some(base), Some(merged)) = (spec.writes, &run_phase.base, &run_phase.merged) {
        let patch = ctx.repo.patch(&oid(base)?, &oid(merged)?, PATCH_BYTES_MAX)?;
        if !patch.is_empty() {
            let path = format!("{RUN_SOURCE}change of {phase}");
            sources.push(SourceRecord { path, kind: Kind::Diff, commit: None, hash: hash(&patch) });
            parts.push(Part { name: "Change".into(), source: Source::Bytes(Kind::Diff, patch) });
        }
    }
    let task = texts.text(Some(&state.created.task), "the task of this run")?.unwrap_or_default();
    let made = fitted(&parts, &task, spec.bundle, ctx)?;
    let fidelity = made.fidelity();
    let whole = "`agentops show RUN --document NAME` and `--diff` have it whole";
    let mut parents = Vec::new();
    for (earlier, of) in state.created.workflow.phases.iter().zip(&state.phases[..index]) {
        let manifest = of.bundle.as_ref().and_then(|bundle| bundle.manifest.as_ref());
        let what = format!("the manifest of phase {}", earlier.name);
        let Some(json) = texts.bytes(manifest, &what)? else { continue };
        let parent: Manifest = serde_json::from_slice(&json).map_err(std::io::Error::other)?;
        parents.push(parent.id());
    }
    let lost: String = texts.lost().iter().map(|lost| format!("\n({lost})\n")).collect();
    let body = format!("{}{}{lost}", made.text, losses("Not in this bundle", &fidelity, whole));
    let mut manifest = Manifest::new(&task, sources, &made, &body);
    manifest.parents = parents;
    // What the phase's sessions held in their contexts, as their providers counted it: that is what nobody needs to read again.
    let contexts = run_phase.all_lanes().flat_map(|lane| &lane.sessions).map(|session| session.largest);
    let before = contexts.fold(0, u64::saturating_add);
    Ok(Event::Bundled {
        phase: phase.clone(),
        bundle: ctx.put(&body)?,
        before,
        after: manifest.tokens.after,
        manifest: Some(ctx.put(&manifest.to_json())?),
        kept_permille: fidelity.score().map(permille),
    })
}

/// Compresses to the rule's tokens, and to more of them while less survives than the rule wants.
fn fitted(parts: &[Part], task: &str, rule: BundleRule, ctx: &Ctx) -> Act<Compressed> {
    let tokens_max = rule.tokens.saturating_mul(BundleRule::GROWTH_MAX);
    let mut tokens = rule.tokens;
    loop {
        let made = mixed::compress(parts, task, tokens, ctx.blobs.redactor()).map_err(of_source)?;
        let kept = made.fidelity().score().map_or(1000, permille);
        if kept >= u64::from(rule.keep) * 10 || tokens >= tokens_max || made.after >= made.before {
            return Ok(made);
        }
        tokens = tokens.saturating_mul(3).div_ceil(2).min(tokens_max);
    }
}

fn of_source(error: SourceError) -> ActError {
    ActError::Io(std::io::Error::other(error))
}

fn permille(score: f64) -> u64 {
    // Between 0 and 1 by its definition.
    (score * 1000.0).floor() as u64
}

/// A list of what did not survive, for whoever goes on; nothing where all did.
fn losses(heading: &str, fidelity: &Fidelity, whole: &str) -> String {
    if fidelity.lost.is_empty() {
        return String::new();
    }
    let mut page = Page::new(LOSSES_TOKENS);
    page.line(&format!("\n# {heading}\n"));
    let end = |listed: usize| match fidelity.lost.len() - listed {
        0 => format!("{whole}."),
        more => format!("{more} more; {whole}."),
    };
    let room = Page::cost(&end(0)) + 8;
    let mut listed = 0;
    for fact in &fidelity.lost {
        let line = format!("- {} ({})", agentops_safe::inert_line(&fact.text, 120), fact.place);
        if Page::cost(&line) + room > page.left() || !page.line(&line) {
            break;
        }
        listed += 1;
    }
    page.line(&end(listed));
    page.finish()
}

/// What a session did, from its transcript, for the session that goes on, with what of it is lost; none where the transcript
/// tells nothing.
pub(super) fn of_transcript(run: &RunId, session: &SessionId, transcript: &[u8]) -> Option<String> {
    let made = transcript::compress(transcript, HANDOVER_TOKENS).ok()?;
    if made.text.trim().is_empty() {
        return None;
    }
    let fidelity = made.fidelity();
    let whole = format!("`agentops logs {run} --raw` has the transcript of {session}");
    Some(format!("{}\n{}", made.text.trim_end(), losses("Lost", &fidelity, &whole)))
}

/// What the session's own hand-over leaves out that its transcript shows, of the kinds that no file in the lane can tell.
pub(super) fn left_out(run: &RunId, session: &SessionId, transcript: &[u8], hand_over: &str) -> String {
    const TOLD_BY_NO_FILE: [Class; 4] = [Class::Constraint, Class::FailingTest, Class::Error, Class::DeadEnd];
    let Ok(made) = transcript::compress(transcript, HANDOVER_TOKENS) else { return String::new() };
    let facts: Vec<Fact> = made.facts.into_iter().filter(|fact| TOLD_BY_NO_FILE.contains(&fact.class)).collect();
    let whole = format!("`agentops logs {run} --raw` has the transcript of {session}");
    losses("Not in this hand-over", &Fidelity::of(&facts, hand_over), &whole)
}

/// A program's output, as the findings of a gate that refused have it.
pub(super) fn of_output(output: &str, whole: &str) -> String {
    let made = match log::compress(output.as_bytes(), FINDINGS_TOKENS) {
        Ok(made) => made,
        Err(_) => return output.trim_end().to_owned(),
    };
    if made.after >= made.before {
        return output.trim_end().to_owned();
    }
    let lines = output.lines().count();
    format!("{}\n[shortened from {lines} lines, {} to {} tokens; {whole}]", made.text.trim_end(), made.before, made.after)
}

/// A text as what it is, in at most so many tokens of o200k, and what it takes.
pub(super) fn shortened(text: &str, tokens: u64) -> (String, u64) {
    let kind = match Kind::of(text.as_bytes()) {
        Kind::Binary => Kind::Notes,
        kind => kind,
    };
    let note = "[shortened; `agentops show` has all of it]";
    let room = tokens.saturating_sub(text_tokens(note) + 4);
    match mixed::of_source(kind, &SourceText::of_clean(text), room) {
        Ok(made) => {
            let text = format!("{}\n\n{note}", made.text.trim_end());
            let used = text_tokens(&text);
            (text, used)
        }
        Err(_) => (note.to_owned(), text_tokens(note)),
    }
}
