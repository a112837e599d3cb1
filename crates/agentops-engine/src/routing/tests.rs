use agentops_route::feedback::{Gathered, Source};

use super::examples::Examples;
use super::*;
use crate::catalogues::Store;

/// Places with nothing of anybody's own.
fn places(root: &std::path::Path) -> Places {
    Places { root: None, user: root.join("user"), catalogues: Store::at(root.join("catalogues")) }
}

fn line(at: u64, text: &str, agent: Option<&str>, workflow: Option<&str>) -> Line {
    Line::new(at, Source::Corrected, text, agent.map(Into::into), workflow.map(Into::into))
}

fn with(places: &Places, lines: &[Line]) -> Routing {
    let bytes: Vec<u8> = lines.iter().flat_map(|line| format!("{}\n", line.to_json()).into_bytes()).collect();
    let gathered = Gathered::gather(&[("a", &bytes)], u64::MAX / 2);
    Learner::open(places, &[], None).unwrap().taught(&gathered)
}

fn right(routing: &Routing, examples: &[ProfileExample]) -> usize {
    let right = |example: &&ProfileExample| routing.workflows.route(&example.text).name == example.workflow;
    examples.iter().filter(right).count()
}

#[test]
fn lines_do_not_drown_the_judge() {
    let room = tempfile::tempdir().unwrap();
    let places = places(room.path());
    let held = Examples::read(&places).held["product-dev"].clone();
    let learnt = Examples::read(&places).learnt;
    let alone = right(&Routing::open(&places, &[]).unwrap(), &held);
    assert!(alone >= 54, "{alone}");
    for count in [1, 5, 19, 20, 40, 60] {
        // As people would say it, both workflows in turn.
        let (quick, full): (Vec<_>, Vec<_>) =
            learnt.iter().partition(|example| example.workflow.as_deref() == Some("quick"));
        let turns = quick.iter().zip(&full).flat_map(|(a, b)| [*a, *b]).take(count).zip(0..);
        let lines: Vec<Line> = turns.map(|(of, at)| line(at, &of.text, None, of.workflow.as_deref())).collect();
        let routing = with(&places, &lines);
        let with_lines = right(&routing, &held);
        eprintln!("{count} {} {with_lines} alone {alone}", routing.learnt.workflows);
        assert!(with_lines + 1 >= alone, "{count} lines: {with_lines} of {}", held.len());
    }
}
