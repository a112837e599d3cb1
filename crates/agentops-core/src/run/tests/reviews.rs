//! A review whose verdict cannot be used.

use super::*;

/// Goes on until the review gate is checked, and begins its check.
fn at_the_review(world: &mut World) -> (Name, Name) {
    loop {
        let (key, action) = world.state.actions().into_iter().next().expect("the review is still to come");
        world.append(Event::Began { key });
        match action {
            Action::RunGate { phase, gate, .. } if matches!(gate.check, crate::workflow::Check::Review { .. }) => {
                return (phase, gate.name.clone());
            }
            action => world.perform(action),
        }
    }
}

fn broke(world: &mut World, (phase, gate): (Name, Name), why: u64) {
    let detail = Some(blob(why));
    world.append(Event::GateEnded { phase, gate, verdict: Verdict::Broke, detail, output: None, lanes: Vec::new() });
}

fn reviews(world: &World) -> Vec<(String, usize)> {
    let lanes = world.state.phases.iter().flat_map(|phase| &phase.reviews);
    lanes.map(|lane| (lane.id.lane.to_string(), lane.sessions.len())).collect()
}

#[test]
fn r11_a_verdict_that_cannot_be_used_leads_to_a_new_review() {
    let mut world = World::new(Approve::All, Vec::new());
    let gate = at_the_review(&mut world);
    broke(&mut world, gate, 60);
    let second = at_the_review(&mut world);
    assert_eq!(reviews(&world), [("review-1".into(), 1), ("review-1-r2".into(), 1)]);
    broke(&mut world, second, 61);
    let asked: Vec<DecisionKind> = world.state.decisions.iter().map(|decision| decision.kind).collect();
    assert_eq!(asked, [DecisionKind::GateBroke]);
    assert!(world.state.actions().is_empty(), "a person is asked after two");

    // After the answer a new review starts. Its prompt says what was wrong with the last verdict.
    world.append(Event::Intent(Intent::Resume { decisions: None }));
    let (key, action) = world.state.actions().remove(0);
    assert!(matches!(&action, Action::OpenLane { lane, .. } if lane.lane.as_str() == "review-1-r3"), "{action:?}");
    world.append(Event::Began { key });
    world.perform(action);
    let (_, action) = world.state.actions().remove(0);
    assert!(matches!(action, Action::StartSession { next, .. } if next.findings == Some(blob(61))));
    assert!(world.go());
    assert_eq!(world.state.status(true), Status::Done);
}

#[test]
fn the_lane_of_a_review_has_a_name_whatever_the_gates_name() {
    let world = World::new(Approve::All, Vec::new());
    let long = name(&"g".repeat(64));
    let phase = &world.state.phases[0];
    assert_eq!(phase.review_lane(&name("review")), "review-1");
    assert_eq!(phase.review_lane(&long).len(), 64);
    assert!(phase.review_lane(&long).parse::<Name>().is_ok());
}
