//! Gates, bundles and records of a run whose texts are gone.

use agentops_core::run::{Bundle, Event, LaneState, Verdict};
use agentops_core::workflow::{Check, Gate, Writes};

use super::super::{Ctx, bundle, gate, records, test_context};
use super::*;
use crate::fixture;

fn text_of(ctx: &Ctx, blob: Option<&BlobId>) -> String {
    blob.map(|blob| ctx.blobs.text(blob).unwrap()).unwrap_or_default()
}

/// Checks the `nth` gate of a phase, in which the state is.
fn check(ctx: &Ctx, state: &State, phase: usize, nth: usize) -> Event {
    let phase = &state.created.workflow.phases[phase];
    let stoppable = ctx.stops.begin(&state.created.run);
    gate::check(ctx, state, &phase.name, &phase.gates[nth], &state.created.base, stoppable.inbox()).unwrap()
}

/// Every phase before this one is over.
fn in_phase(mut state: State, phase: usize, bundle: &BlobId) -> State {
    for before in &mut state.phases[..phase] {
        let blob = bundle.clone();
        before.bundle = Some(Bundle { manifest: Some(blob.clone()), blob, before: 1, after: 1, kept_permille: None });
    }
    state
}

fn refused_for(ctx: &Ctx, event: &Event, lost: &str) {
    match event {
        Event::GateEnded { verdict: Verdict::Refused, detail, .. } => {
            let detail = text_of(ctx, detail.as_ref());
            assert!(detail.contains(&format!("{lost} is lost: the text")), "{detail}");
        }
        event => panic!("{event:?}"),
    }
}

/// The lane writes its document again. Before, the gate could not be checked, however often a person said to go on.
#[test]
fn r11_a_gate_refuses_a_lost_document_by_its_name() {
    let (_folder, ctx, state) = test_context::new();
    let (found, lost) = (ctx.blobs.put_text("# Findings").unwrap(), fixture::blob(9));
    let mut research = state.clone();
    research.phases[0].lanes[0].artifacts.insert("findings.md".into(), found.clone());
    research.phases[0].lanes[1].artifacts.insert("findings.md".into(), lost.clone());
    let event = check(&ctx, &research, 0, 0);
    refused_for(&ctx, &event, "`findings.md`");
    assert!(matches!(&event, Event::GateEnded { lanes, .. } if *lanes == [fixture::name("tests")]), "{event:?}");
    let mut plan = in_phase(state.clone(), 1, &found);
    plan.phases[1].lanes[0].artifacts.insert("plan.md".into(), lost.clone());
    refused_for(&ctx, &check(&ctx, &plan, 1, 0), "`plan.md`");
    refused_for(&ctx, &check(&ctx, &plan, 1, 1), "`plan.md`");
    // One that is damaged is lost as well. A review that cannot be read says nothing about the work.
    std::fs::write(ctx.paths.blobs().join(lost.as_str()), "something else").unwrap();
    let mut implement = in_phase(state.clone(), 2, &found);
    let name = implement.phases[2].review_lane(&fixture::name("review"));
    let id = format!("implement/{name}").parse().unwrap();
    let mut review = LaneState { done: true, ..state.phases[2].lanes[0].clone() };
    (review.id, review.writes) = (id, Writes::Artifacts);
    review.artifacts.insert("verdict.json".into(), lost.clone());
    implement.phases[2].reviews.push(review);
    let Event::GateEnded { verdict: Verdict::Broke, detail, .. } = check(&ctx, &implement, 2, 1) else { panic!() };
    assert!(text_of(&ctx, detail.as_ref()).contains("its verdict is lost"));
    let mut close_out = in_phase(state, 3, &found);
    close_out.phases[0].lanes[0].artifacts.insert("findings.md".into(), lost.clone());
    close_out.phases[3].lanes[0].artifacts.insert("close-out.json".into(), lost);
    refused_for(&ctx, &check(&ctx, &close_out, 3, 0), "`close-out.json`");
    let laws = Gate { check: Check::Laws, ..close_out.created.workflow.phases[3].gates[0].clone() };
    let (phase, stoppable) = (fixture::name("close-out"), ctx.stops.begin(&close_out.created.run));
    let checked = gate::check(&ctx, &close_out, &phase, &laws, &close_out.created.base, stoppable.inbox()).unwrap();
    let Event::LawsChecked { held, detail } = checked else { panic!("{checked:?}") };
    let detail = text_of(&ctx, detail.as_ref());
    assert!(held == [false; 5] && detail.contains("close-out.json is lost"), "{detail}");
    assert!(detail.contains("findings.md of lane research/code is lost"), "{detail}");
}

#[test]
fn r11_a_bundle_is_made_without_lost_texts_and_names_them() {
    let (_folder, ctx, state) = test_context::new();
    let (found, lost) = (ctx.blobs.put_text("# Findings\n\nIt is blue.\n").unwrap(), fixture::blob(9));
    let mut state = in_phase(state, 1, &lost);
    state.phases[1].lanes[0].artifacts.insert("plan.md".into(), found);
    state.phases[1].lanes[0].artifacts.insert("notes.md".into(), lost);
    std::fs::remove_file(ctx.paths.blobs().join(state.created.task.as_str())).unwrap();
    let event = bundle::phase(&ctx, &state, &fixture::name("plan")).unwrap();
    let Event::Bundled { bundle, .. } = event else { panic!("{event:?}") };
    let body = ctx.blobs.text(&bundle).unwrap();
    assert!(body.contains("It is blue."), "{body}");
    for name in ["notes.md of lane plan", "the task of this run", "the manifest of phase research"] {
        assert!(body.contains(&format!("({name} is lost: ")), "{name}: {body}");
    }
}

#[test]
fn r11_records_are_written_without_lost_texts_and_name_them() {
    let (_folder, ctx, state) = test_context::new();
    let close_out = serde_json::json!({
        "learning": { "text": "t", "evidence": ["e"] }, "improvement": { "text": "t", "evidence": ["e"] },
        "context": { "summary": "s", "decisions": [], "open": [] }
    });
    let (close_out, lost) = (ctx.blobs.put_text(&close_out.to_string()).unwrap(), fixture::blob(9));
    let mut state = in_phase(state, 4, &lost);
    state.phases[3].lanes[0].artifacts.insert("close-out.json".into(), close_out.clone());
    std::fs::remove_file(ctx.paths.blobs().join(state.created.task.as_str())).unwrap();
    let files = records::files(&state, &ctx.blobs).unwrap();
    let (path, record) = files.last().unwrap();
    let record: serde_json::Value = serde_json::from_slice(record).unwrap();
    assert!(path.starts_with(".agentops/runs/") && record["lost"].as_array().unwrap().len() == 1 + 2 * 4, "{record:#}");
    assert!(record["lost"][0].as_str().unwrap().starts_with("the task of this run is lost: "), "{record:#}");
    // Without its close-out document a run has no records.
    std::fs::remove_file(ctx.paths.blobs().join(close_out.as_str())).unwrap();
    let words = records::files(&state, &ctx.blobs).unwrap_err().to_string();
    assert!(words.contains("the close-out document is lost: ") && words.contains("agentops cancel"), "{words}");
}
