use agentops_route::feedback::{Gathered, Source};
use agentops_route::scope::HELD_MIN;

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

#[test]
fn what_is_kept_and_grown_is_what_is_learnt_from_the_beginning() {
    let room = tempfile::tempdir().unwrap();
    let repo = agentops_git::begin(&room.path().join("repo"), &[("a", b"a")], "begin").unwrap();
    let (places, cache) = (places(room.path()), room.path().join("routing.bin"));
    let redactor = Redactor::new([]);
    let of = [("close-out", "describe the"), ("plan", "weigh the"), ("implement", "write the")];
    for n in 0u64..27 {
        let (label, words) = of[n as usize % 3];
        let flow = if n % 2 == 0 { "quick" } else { "full" };
        Routing::record(&repo, &redactor, &line(n, &format!("{words} part {n} of m{}", n / 3), Some(label), Some(flow)))
            .unwrap();
        let here = |cache| Here { repo: &repo, cache, now_ms: 1_000 };
        let grown = Routing::learnt(&places, &[], here(Some(&cache))).unwrap();
        let again = Routing::learnt(&places, &[], here(Some(&cache))).unwrap();
        if ![0, 1, 18, 19, 20, 24, 26].contains(&n) {
            continue;
        }
        let whole = Routing::learnt(&places, &[], here(None)).unwrap();
        assert_eq!((whole.learnt.agents, whole.learnt.workflows), (n as usize + 1, n as usize + 1));
        assert_eq!((&grown.learnt, &again.learnt), (&whole.learnt, &whole.learnt));
        for text in ["describe the part 4", "weigh m2", "something else", "drop the table in prod", ""] {
            let expected = whole.route(text);
            assert_eq!((grown.route(text), again.route(text)), (expected.clone(), expected), "{n}: {text}");
        }
    }
}

#[test]
fn automatic_only_with_evidence_and_a_profiles_examples_are_evidence() {
    let room = tempfile::tempdir().unwrap();
    let places = places(room.path());
    let of = [("close-out", "describe the release of module"), ("plan", "weigh the options for library")];
    let text = |n: usize| format!("{} w{n}", of[n % 2].1);
    let auto = |routing: &Routing| (200..240).filter(|n| routing.route(&text(*n)).agent.decision == Decision::Auto).count();
    assert_eq!(auto(&Routing::open(&places, &[]).unwrap()), 0);
    let few: Vec<Line> = (0..HELD_MIN - 1).map(|n| line(n as u64, &text(n), Some(of[n % 2].0), None)).collect();
    assert_eq!(auto(&with(&places, &few)), 0, "fewer than are needed to measure with");
    let examples: String =
        (0..120).map(|n| format!("{{\"text\":\"{}\",\"agent\":\"{}\"}}\n", text(n), of[n % 2].0)).collect();
    std::fs::create_dir_all(places.user.join("routing")).unwrap();
    std::fs::write(places.user.join("routing/examples.jsonl"), examples).unwrap();
    assert!(auto(&Routing::open(&places, &[]).unwrap()) > 20);
}

#[test]
fn a_risk_bars_the_quick_way_whatever_was_learnt() {
    let room = tempfile::tempdir().unwrap();
    let task = "drop the users table in production";
    let lines: Vec<Line> = (0..30).map(|n| line(n, &format!("{task} {n}"), None, Some("quick"))).collect();
    let mut lines = lines;
    lines.push(line(99, task, None, Some("quick")));
    let routed = with(&places(room.path()), &lines).route(task).workflow;
    assert!(routed.risky && routed.name.as_deref() == Some("full"), "{routed:?}");
    let quick = routed.chances.iter().find(|chance| chance.name == "quick").unwrap();
    assert!(quick.likely <= 0.1 + 1e-9, "{routed:?}");
}

#[test]
fn examples_that_cannot_be_read_are_said_and_links_not_followed() {
    let room = tempfile::tempdir().unwrap();
    let mut places = places(room.path());
    let folder = room.path().join("repo/.agentops/routing");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("examples.jsonl"), "{\"text\":\"a\",\"agent\":\"plan\"}\nnot json\n{\"text\":\"b\"}\n")
        .unwrap();
    std::os::unix::fs::symlink(folder.join("examples.jsonl"), folder.join("held-back.jsonl")).unwrap();
    places.root = Some(room.path().join("repo"));
    let examples = Examples::read(&places);
    assert_eq!((examples.learnt.len(), examples.problems.len()), (61, 2), "{:?}", examples.problems);
    assert!(!examples.held.contains_key(REPOSITORY));
}

#[test]
fn a_line_is_refused_for_what_it_does_and_not_for_wobble() {
    let room = tempfile::tempdir().unwrap();
    let repo = agentops_git::begin(&room.path().join("repo"), &[("a", b"a")], "begin").unwrap();
    let places = places(room.path());
    let learner = || Learner::open(&places, &[], Some(Here { repo: &repo, cache: None, now_ms: 1_000 })).unwrap();
    for n in 0..22 {
        let honest = line(n, &format!("tune the query number {n} of module {n}"), Some("plan"), Some("full"));
        assert_eq!(learner().doubt(&honest), None, "{n}");
        Routing::record(&repo, &Redactor::new([]), &honest).unwrap();
    }
    // Held back as `quick`, and small to anybody who reads it.
    let task = "Spelling: 'seperate' in the settings screen";
    let doubt = learner().doubt(&line(99, task, None, Some("full"))).unwrap();
    assert_eq!((doubt.profile, doubt.before > doubt.after), ("product-dev", true));
    assert!(doubt.wrong.contains(&(task.to_owned(), "quick".to_owned())), "{doubt:?}");
}
