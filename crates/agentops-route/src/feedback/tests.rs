use proptest::prelude::*;

use super::hold::{CLONE_ALWAYS, LABEL_ALWAYS, TIMES};
use super::*;

const NOW: u64 = 2_000_000_000_000;

fn line(at: u64, from: Source, text: &str, agent: &str) -> Line {
    Line::new(at, from, text, Some(agent.into()), None)
}

fn file(lines: &[Line]) -> Vec<u8> {
    lines.iter().flat_map(|line| format!("{}\n", line.to_json()).into_bytes()).collect()
}

fn gather(files: &[(&str, Vec<u8>)]) -> Gathered {
    let files: Vec<(&str, &[u8])> = files.iter().map(|(clone, bytes)| (*clone, bytes.as_slice())).collect();
    Gathered::gather(&files, NOW)
}

fn labels(gathered: &Gathered) -> Vec<(&str, &str)> {
    gathered.agents.iter().map(|of| (of.text.as_str(), of.label.as_str())).collect()
}

#[test]
fn a_correction_outweighs_a_choice_and_both_outweigh_an_outcome() {
    let of_a = file(&[
        line(1, Source::Chosen, "rotate the logs", "a"),
        line(2, Source::Corrected, "rotate  the Logs", "b"),
        line(9, Source::Merged, "rotate the logs", "c"),
        line(9, Source::Merged, "only merged", "c"),
        line(9, Source::Failed, "only failed", "c"),
        line(9, Source::Discarded, "only discarded", "c"),
    ]);
    let of_b = file(&[line(3, Source::Chosen, "rotate the logs", "d"), line(4, Source::Chosen, "two choices", "a")]);
    let of_c = file(&[line(5, Source::Chosen, "two choices", "b")]);
    let gathered = gather(&[("a", of_a), ("b", of_b), ("c", of_c)]);
    assert_eq!(labels(&gathered), [("rotate  the Logs", "b"), ("two choices", "b"), ("only merged", "c")]);
    assert_eq!(gathered.left_out, [(Why::Outweighed, 4)].into());
    let ended = gathered.ended[&("c".into(), String::new())];
    assert_eq!((ended.merged, ended.discarded, ended.failed), (2, 1, 1));
}

#[test]
fn agent_and_workflow_of_a_task_may_come_from_two_words() {
    let both = Line::new(1, Source::Chosen, "t", Some("a".into()), Some("full".into()));
    let gathered = gather(&[("x", file(&[both, line(2, Source::Corrected, "t", "b")]))]);
    assert_eq!(labels(&gathered), [("t", "b")]);
    assert_eq!(gathered.workflows[0].label, "full");
}

#[test]
fn what_is_broken_newer_ahead_or_there_already_is_counted() {
    let good = line(1, Source::Chosen, "t", "a");
    let mut bytes = file(&[good.clone(), good.clone(), line(NOW + AHEAD_MS_MAX + 7, Source::Corrected, "t", "evil")]);
    bytes.extend(b"{\"v\":2,\"something\":\"else\"}\n{\"v\":0}\n\0\0\0\nno json\n{\"v\":1,\"at\":-1}\n\xff\xfe\n");
    bytes.extend(b"{\"v\":1,\"at\":1,\"from\":\"chosen\",\"text\":\"a\\u0000b\",\"agent\":\"a\"}\n");
    bytes.extend(b"{\"v\":1,\"at\":1,\"from\":\"chosen\",\"text\":\"t\",\"agent\":\"a\\u001b[31m\"}\n");
    bytes.extend(b"{\"v\":1,\"at\":1,\"from\":\"chosen\",\"text\":\"   \",\"agent\":\"a\"}\n");
    bytes.extend(format!("{{\"v\":1,\"text\":\"{}\"}}\n", "x".repeat(1 << 20)).bytes());
    bytes.extend(b"{\"v\":1,\"at\":3,\"from\":\"chosen\",\"text\":\"cut off");
    let mut doubted = line(5, Source::Corrected, "t", "d");
    doubted.doubted = true;
    let gathered = gather(&[("x", bytes), ("y", file(&[good, doubted]))]);
    assert_eq!(labels(&gathered), [("t", "a")]);
    let expected = [(Why::Broken, 10), (Why::Newer, 1), (Why::Future, 1), (Why::Twice, 2), (Why::Doubted, 1)];
    assert_eq!(gathered.left_out, expected.into());
    assert_eq!(gathered.until, Some(NOW + 7));
}

#[test]
fn one_label_cannot_flood_the_others() {
    let mut lines: Vec<Line> = (0..5_000).map(|n| line(n, Source::Corrected, &format!("do thing {n}"), "evil")).collect();
    lines.extend((0..30).map(|n| line(10_000 + n, Source::Chosen, &format!("good {n}"), ["a", "b"][n as usize % 2])));
    let gathered = gather(&[("x", file(&lines[..900])), ("y", file(&lines[900..1_800])), ("z", file(&lines[4_500..]))]);
    let of = |label: &str| gathered.agents.iter().filter(|of| of.label == label).count();
    assert_eq!((of("evil"), of("a"), of("b")), (TIMES * 15, 15, 15));
    assert_eq!(gathered.agents[0].text, "do thing 4925", "the newest are learnt");
}

#[test]
fn one_clone_cannot_flood_the_others() {
    let flood: Vec<Line> =
        (0..5_000).map(|n| line(n, Source::Corrected, &format!("f {n}"), &format!("l{}", n % 200))).collect();
    let mine = file(&[line(1, Source::Chosen, "mine", "a")]);
    let gathered = gather(&[("flood", file(&flood)), ("me", mine)]);
    assert_eq!(gathered.left_out, [(Why::Clone, 5_000 - CLONE_ALWAYS)].into());
    assert!(labels(&gathered).contains(&("mine", "a")));
}

#[test]
fn a_long_task_is_cut_where_routing_does_not_look() {
    let text: String = (0..200_000).map(|n| format!("word{n} ")).collect();
    let line = line(1, Source::Chosen, &text, "a");
    assert!(line.text.len() <= TEXT_BYTES_MAX && line.to_json().len() < LINE_BYTES_MAX);
    assert_eq!(crate::features::words(&line.text), crate::features::words(text.trim()));
    assert_eq!(Line::parse(line.to_json().as_bytes()), Ok(line));
}

fn any_line() -> impl Strategy<Value = Line> {
    let from = prop_oneof![
        Just(Source::Failed),
        Just(Source::Discarded),
        Just(Source::Merged),
        Just(Source::Chosen),
        Just(Source::Corrected)
    ];
    let (label, flow) = (proptest::option::of("[a-c]"), proptest::option::of("quick|full"));
    (0u64..50, from, "[a-d ]{1,3}", label, flow, any::<bool>()).prop_map(|(at, from, text, agent, workflow, doubted)| Line {
        doubted,
        ..Line::new(at, from, &text, agent, workflow)
    })
}

proptest! {
    #[test]
    fn bytes_of_any_kind_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..2_000)) {
        let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count();
        let gathered = gather(&[("x", bytes)]);
        prop_assert_eq!(gathered.left_out.values().sum::<usize>(), lines);
    }

    #[test]
    fn the_order_of_files_and_copies_of_them_change_nothing(
        files in proptest::collection::vec(proptest::collection::vec(any_line(), 0..12), 0..4),
    ) {
        let names = ["p", "q", "r", "s"];
        let mut named: Vec<(&str, Vec<u8>)> = files.iter().zip(names).map(|(lines, name)| (name, file(lines))).collect();
        let gathered = gather(&named);
        named.reverse();
        prop_assert_eq!(&gather(&named), &gathered);
        // A clone that somebody copied with its lines says nothing new.
        let copies: Vec<(&str, Vec<u8>)> = named.iter().map(|(_, bytes)| ("z", bytes.clone())).collect();
        named.extend(copies);
        let copied = gather(&named);
        prop_assert_eq!((&copied.agents, &copied.workflows), (&gathered.agents, &gathered.workflows));
        // Every task once, the oldest first, and never from a run that was put away or failed.
        for list in [&gathered.agents, &gathered.workflows] {
            let texts: BTreeSet<String> = list.iter().map(|of| plain(&of.text)).collect();
            prop_assert_eq!(texts.len(), list.len());
            prop_assert!(list.is_sorted_by_key(|of| of.at));
            prop_assert!(list.iter().all(|of| of.from.is_label()));
        }
        prop_assert!(gathered.agents.len() <= LABEL_ALWAYS * 3);
    }

    #[test]
    fn a_line_survives_its_file(line in any_line()) {
        let read = Line::parse(line.to_json().as_bytes());
        if line.agent.is_none() && line.workflow.is_none() || line.text.is_empty() {
            prop_assert_eq!(read, Err(Why::Broken));
        } else {
            prop_assert_eq!(read, Ok(line));
        }
    }
}
