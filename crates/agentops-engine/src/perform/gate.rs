//! Gates: outside the judged lane, in a fresh work tree of what is judged.

use agentops_core::id::{Commit, LaneId, Name};
use agentops_core::laws::{self, LAWS, ReviewVerdict};
use agentops_core::run::{Event, State, Verdict};
use agentops_core::workflow::{Check, Gate, Schema};

use super::lane_program::{Inbox, LanePrograms};
use super::lost_text::Optional;
use super::{Act, Ctx, bundle, prompt, records, work};

pub(super) fn check(ctx: &Ctx, state: &State, phase: &Name, gate: &Gate, judged: &Commit, inbox: Inbox<'_>) -> Act<Event> {
    match &gate.check {
        Check::Command { .. } => command(ctx, state, phase, gate, judged, inbox),
        Check::Artifact { file, headings, schema } => {
            let (mut wrong, mut lanes) = (Vec::new(), Vec::new());
            let Some(of) = state.phases.get(state.current()) else {
                return ended(ctx, phase, gate, Verdict::Passed, None, None, vec![]);
            };
            for lane in &of.lanes {
                let mut texts = Optional::new(&ctx.blobs);
                let problem = match lane.artifacts.get(file) {
                    None => Some(format!("`{file}` was not written")),
                    Some(blob) => match texts.text(Some(blob), &format!("`{file}`"))? {
                        // The lane writes it again; or its file is still there and is read again.
                        None => texts.lost().pop(),
                        Some(text) => problem_of(&text, file, headings, *schema),
                    },
                };
                if let Some(problem) = problem {
                    wrong.push(format!("lane {}: {problem}", lane.id.lane));
                    lanes.push(lane.id.lane.clone());
                }
            }
            let verdict = if wrong.is_empty() { Verdict::Passed } else { Verdict::Refused };
            ended(ctx, phase, gate, verdict, (!wrong.is_empty()).then(|| wrong.join("\n")), None, lanes)
        }
        Check::Review { .. } => review(ctx, state, phase, gate),
        Check::Approval { file } => {
            let lanes = state.phases.get(state.current()).map(|phase| phase.lanes.as_slice()).unwrap_or_default();
            match lanes.iter().find_map(|lane| lane.artifacts.get(file)) {
                Some(shown) => {
                    let mut texts = Optional::new(&ctx.blobs);
                    let is_there = texts.bytes(Some(shown), &format!("`{file}`"))?.is_some();
                    if !is_there {
                        // Nobody can read what they would approve, so the lane works again.
                        return ended(ctx, phase, gate, Verdict::Refused, texts.lost().pop(), None, vec![]);
                    }
                    Ok(Event::ApprovalAsked { phase: phase.clone(), gate: gate.name.clone(), shown: shown.clone() })
                }
                // Asking again would find the same, so the lane works again.
                None => ended(ctx, phase, gate, Verdict::Refused, Some(format!("`{file}` was not written")), None, vec![]),
            }
        }
        Check::Laws => laws_check(ctx, state, judged),
    }
}

/// What is wrong with a document.
fn problem_of(text: &str, file: &str, headings: &[String], schema: Option<Schema>) -> Option<String> {
    let missing = laws::missing_headings(text, headings);
    let form = schema.and_then(|schema| prompt::schema_error(schema, text));
    match (text.trim().is_empty(), missing.is_empty(), form) {
        (true, ..) => Some(format!("`{file}` is empty")),
        (_, false, _) => Some(format!("`{file}` lacks the headings {}", missing.join(", "))),
        (.., Some(form)) => Some(format!("`{file}` has not the form that was asked for: {form}")),
        _ => None,
    }
}

/// A gate that did not come to run.
pub(super) fn not_run(ctx: &Ctx, phase: &Name, gate: &Gate, why: &str) -> Act<Event> {
    ended(ctx, phase, gate, Verdict::Broke, Some(why.to_owned()), None, vec![])
}

fn ended(
    ctx: &Ctx,
    phase: &Name,
    gate: &Gate,
    verdict: Verdict,
    detail: Option<String>,
    output: Option<&str>,
    lanes: Vec<Name>,
) -> Act<Event> {
    let detail = detail.map(|text| ctx.put(&text)).transpose()?;
    let output = output.map(|text| ctx.put(text)).transpose()?;
    Ok(Event::GateEnded { phase: phase.clone(), gate: gate.name.clone(), verdict, detail, output, lanes })
}

fn command(ctx: &Ctx, state: &State, phase: &Name, gate: &Gate, judged: &Commit, inbox: Inbox<'_>) -> Act<Event> {
    let Check::Command { argv, seconds_max } = &gate.check else {
        return not_run(ctx, phase, gate, "this gate runs no command");
    };
    let (run, setup) = (&state.created.run, &state.created.workflow.lane);
    let lane = LaneId { phase: phase.clone(), lane: format!("{}-gate", gate.name).parse()? };
    work::drop_lane(ctx, run, &lane)?;
    let made = work::make_lane(ctx, state, &lane, judged)?;
    let programs = LanePrograms::new(ctx, run, &lane, made.path(), &setup.env, inbox);
    if let Some(words) = work::set_up(&programs, setup)? {
        return ended(ctx, phase, gate, Verdict::Broke, Some(words), None, vec![]);
    }
    let ran = programs.run("gate", argv, *seconds_max)?;
    work::drop_lane(ctx, run, &lane)?;
    let output = ran.output.text();
    let named = format!("`{}` {}", argv.join(" "), ran.how());
    if ran.broke() {
        return ended(ctx, phase, gate, Verdict::Broke, Some(named), Some(&output), vec![]);
    }
    if ran.succeeded() {
        return ended(ctx, phase, gate, Verdict::Passed, None, Some(&output), vec![]);
    }
    let whole = format!("`agentops show {run} --output {}` has all of it", gate.name);
    let words = format!("{named}. Its output:\n\n```\n{}\n```", bundle::of_output(&output, &whole));
    ended(ctx, phase, gate, Verdict::Refused, Some(words), Some(&output), vec![])
}

fn review(ctx: &Ctx, state: &State, phase: &Name, gate: &Gate) -> Act<Event> {
    let Some(of) = state.phases.get(state.current()) else {
        return ended(ctx, phase, gate, Verdict::Broke, None, None, vec![]);
    };
    let name = of.review_lane(&gate.name);
    let lane = of.reviews.iter().find(|lane| lane.id.lane.as_str() == name);
    // The prompt of the gate's next review says why.
    let unusable = |why: &str| {
        let words = format!("the review before could not be used: {why}");
        ended(ctx, phase, gate, Verdict::Broke, Some(words), None, vec![])
    };
    let Some(blob) = lane.and_then(|lane| lane.artifacts.get("verdict.json")) else {
        return unusable("the reviewer wrote no verdict.json");
    };
    let mut texts = Optional::new(&ctx.blobs);
    let Some(text) = texts.text(Some(blob), "its verdict")? else { return unusable(&texts.lost().join(", ")) };
    match serde_json::from_str::<ReviewVerdict>(&text) {
        Err(e) => unusable(&format!("the verdict has not the form that was asked for: {e}")),
        Ok(verdict) if verdict.passed => ended(ctx, phase, gate, Verdict::Passed, None, Some(&text), vec![]),
        Ok(verdict) if verdict.findings.is_empty() => unusable("the reviewer refused and named no finding"),
        Ok(verdict) => {
            let words: String = verdict.findings.iter().map(|finding| format!("- {finding}\n")).collect();
            ended(ctx, phase, gate, Verdict::Refused, Some(words), Some(&text), vec![])
        }
    }
}

fn laws_check(ctx: &Ctx, state: &State, judged: &Commit) -> Act<Event> {
    let current = state.phases.get(state.current());
    let close_out = current.and_then(|phase| phase.lanes.first()).and_then(|lane| lane.artifacts.get("close-out.json"));
    let mut texts = Optional::new(&ctx.blobs);
    let text = texts.text(close_out, "close-out.json")?.unwrap_or_default();
    let facts = records::facts(state, &mut texts, work::changed_files(ctx, state, judged)?)?;
    let lost: String = texts.lost().iter().map(|lost| format!("- {lost}\n")).collect();
    let close_out = match serde_json::from_str(&text) {
        Ok(close_out) => close_out,
        Err(e) => {
            let detail = ctx.put(&format!("close-out.json: {e}\n{lost}"))?;
            return Ok(Event::LawsChecked { held: [false; 5], detail: Some(detail) });
        }
    };
    let verdicts = laws::check(&close_out, &facts);
    let mut missing = String::new();
    for (law, verdict) in LAWS.iter().zip(&verdicts) {
        if let Err(words) = verdict {
            missing.push_str(&format!("- law \"{law}\": {words}\n"));
        }
    }
    let held = [0, 1, 2, 3, 4].map(|index: usize| verdicts[index].is_ok());
    let detail = if missing.is_empty() { None } else { Some(ctx.put(&(missing + &lost))?) };
    Ok(Event::LawsChecked { held, detail })
}

/// Runs the command gates of a run on another commit: the merge's re-test. `Some` says which one does not hold.
///
/// # Errors
/// A work tree cannot be made.
pub(super) fn test(ctx: &Ctx, state: &State, commit: &Commit) -> Act<Option<String>> {
    let failed = test_each(ctx, state, commit);
    // The run's own lanes are gone, so only one that could not be removed keeps the folder from being empty.
    let _not_empty = std::fs::remove_dir(ctx.paths.lanes(&state.created.run));
    failed
}

fn test_each(ctx: &Ctx, state: &State, commit: &Commit) -> Act<Option<String>> {
    for phase in &state.created.workflow.phases {
        for gate in &phase.gates {
            if !matches!(gate.check, Check::Command { .. }) {
                continue;
            }
            let stoppable = ctx.stops.begin(&state.created.run);
            let ended = command(ctx, state, &phase.name, gate, commit, stoppable.inbox())?;
            if let Event::GateEnded { verdict: Verdict::Refused | Verdict::Broke, detail, .. } = ended {
                return Ok(Some(detail.map(|blob| ctx.blobs.text(&blob)).transpose()?.unwrap_or_default()));
            }
        }
    }
    Ok(None)
}
