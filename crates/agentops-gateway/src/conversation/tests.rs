use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};

const DENSITY: Density =
    Density { factor: 1000, request: 100, message: 8, images: ImageFamilies::new(ImageFamily::Unknown) };

fn measure(_part: BodyPart<'_>, bytes: &[u8]) -> Part {
    Part::new(bytes.len() as u64, true, None)
}

fn body(items: &[&str]) -> Bytes {
    let items: Vec<Value> = items.iter().map(|text| json!({ "role": "user", "content": text })).collect();
    Bytes::from(json!({ "messages": items, "model": "m", "system": "You are." }).to_string())
}

fn measured(known: &mut Conversations, items: &[&str]) -> Reading {
    let mut reading = known.read(body(items), Protocol::Messages).unwrap();
    reading.measure(measure);
    reading
}

fn read(known: &mut Conversations, items: &[&str]) -> Reading {
    let mut reading = measured(known, items);
    known.remember(&mut reading);
    reading
}

#[test]
fn a_conversation_is_recognised_by_what_it_repeats() {
    let mut known = Conversations::default();
    assert_eq!(read(&mut known, &["a"]).number, 1);
    let more = read(&mut known, &["a", "b", "c"]);
    assert_eq!((more.number, more.matched), (1, 1));
    let other = read(&mut known, &["x", "b", "c"]);
    assert_eq!((other.number, other.matched), (2, 0));
    let edited = read(&mut known, &["a", "b", "C"]);
    assert_eq!((edited.number, edited.matched), (1, 2));
    let begins_alike = read(&mut known, &["a", "2", "3", "4"]);
    assert_eq!((begins_alike.number, begins_alike.matched), (3, 1));
}

/// A program's request for a title, or another agent, may begin while the first call waits to be admitted.
#[test]
fn conversations_that_begin_side_by_side_are_told_apart() {
    let mut known = Conversations::default();
    let mut all = [["work"], ["title"], ["title"]].map(|items| measured(&mut known, &items));
    all.iter_mut().for_each(|reading| known.remember(reading));
    assert_eq!(all.map(|reading| reading.number), [1, 2, 2], "the last one repeats the second");
    assert_eq!(read(&mut known, &["work", "more"]).number, 1);
    assert_eq!(read(&mut known, &["title", "more"]).number, 2);
}

#[test]
fn b1_what_is_not_measured_has_no_bound() {
    let reading = Conversations::default().read(body(&["a"]), Protocol::Messages).unwrap();
    assert_eq!(reading.own(DENSITY), u64::MAX);
    assert_eq!(reading.unclean().len(), 3, "each member and item counts as one with a secret");
}

#[test]
fn a_report_holds_for_what_it_was_about_and_new_parts_are_added() {
    let mut known = Conversations::default();
    let first = read(&mut known, &["a", "b"]);
    known.reported(first.number, first.mark(DENSITY), 5_000, false);
    assert!(read(&mut known, &["a", "b", "cc"]).input(DENSITY) >= 5_000 + 2, "the report and what is new");
    known.reported(first.number, first.mark(DENSITY), 10, false);
    assert!(read(&mut known, &["a", "b"]).input(DENSITY) >= 5_000, "a later and lower one takes nothing back");
    let other = read(&mut known, &["x"]);
    assert_eq!(other.input(DENSITY), other.own(DENSITY), "what may not be text of the body says nothing of other texts");
}

#[test]
fn a_report_above_our_bound_teaches_how_dense_texts_are_and_no_more_than_can_be() {
    let mut known = Conversations::default();
    let first = read(&mut known, &["a", "b"]);
    let own = first.own(DENSITY);
    known.reported(first.number, first.mark(DENSITY), own * 3 / 2, true);
    let edited = read(&mut known, &["a", "X"]);
    assert_eq!(edited.input(DENSITY), (edited.own(DENSITY) * (own * 3 / 2 * 1000).div_ceil(own)).div_ceil(1000));
    known.reported(first.number, first.mark(DENSITY), own * 50, true);
    let other = read(&mut known, &["x"]);
    assert_eq!(other.input(DENSITY), other.own(DENSITY) * 2);
}

#[test]
fn a_low_report_changes_nothing() {
    let mut known = Conversations::default();
    let first = read(&mut known, &["a", "b"]);
    for lie in [0, 1, 7] {
        known.reported(first.number, first.mark(DENSITY), lie, true);
        assert_eq!(read(&mut known, &["a", "b"]).input(DENSITY), first.own(DENSITY));
    }
}

#[test]
fn a_closed_conversation_stays_closed_when_its_end_is_edited() {
    let mut known = Conversations::default();
    let first = read(&mut known, &["a", "b", "c", "d"]);
    known.close(first.number);
    assert!(read(&mut known, &["a", "b", "c", "D"]).closed);
    assert!(read(&mut known, &["a", "b", "c"]).closed);
    assert!(!read(&mut known, &["z"]).closed);
}

#[test]
fn marks_for_the_cache_are_no_part_of_an_item() {
    let bare = br#"{"content":[{"type":"text","text":"x"}]}"#;
    for marked in [
        &br#"{"content":[{"type":"text","text":"x","cache_control":{"type":"ephemeral"}}]}"#[..],
        br#"{"content":[{"cache_control":{"type":"ephemeral","ttl":"1h"},"type":"text","text":"x"}]}"#,
    ] {
        assert_eq!(without_cache_marks(marked).as_deref(), Some(&bare[..]));
    }
}

#[test]
fn b1_nothing_hides_in_a_mark_for_the_cache() {
    let long = "y".repeat(40);
    for content in [
        // Text, and text that looks like a mark.
        r#"[{"type":"text","text":"say \"cache_control\":{} twice"}]"#.to_owned(),
        format!(r#"[{{"cache_control":{{"type":"{long}"}}}}]"#),
        format!(r#"[{{"cache_control":{{"type":"ephemeral","ttl":"{long}"}}}}]"#),
        r#"[{"cache_control":{"type":"ephemeral","say":"more"}}]"#.to_owned(),
        r#"[{"cache_control":{"type":"ephemeral","ttl":"5m","ttl":"5m"}}]"#.to_owned(),
        r#"[{"cache_control":{"type":["ephemeral"]}}]"#.to_owned(),
        r#"[{"cache_control":"ephemeral"}]"#.to_owned(),
        // What the model reads as the input of a tool, or beside the content.
        r#"[{"type":"tool_use","input":{"cache_control":{"type":"ephemeral"}}}]"#.to_owned(),
        r#"[{"type":"tool_use","input":[{"cache_control":{"type":"ephemeral"}}]}]"#.to_owned(),
    ] {
        let item = format!(r#"{{"role":"user","content":{content}}}"#);
        assert_eq!(without_cache_marks(item.as_bytes()), None, "{item}");
    }
    let mark = r#"{"text":"","cache_control":{"type":"ephemeral"}}"#;
    let many = format!(r#"{{"content":[{}]}}"#, [mark; 5].join(","));
    assert_eq!(without_cache_marks(many.as_bytes()), None, "no provider takes five");
    let four = format!(r#"{{"content":[{}]}}"#, [mark; 4].join(","));
    let bare = format!(r#"{{"content":[{}]}}"#, [r#"{"text":""}"#; 4].join(","));
    assert_eq!(without_cache_marks(four.as_bytes()), Some(bare.into_bytes()));
}

#[test]
fn b1_what_was_measured_for_one_protocol_is_not_known_in_another() {
    let mut known = Conversations::default();
    read(&mut known, &["a", "b"]);
    let other = known.read(body(&["a", "b"]), Protocol::Chat).unwrap();
    assert_eq!((other.matched, other.number), (0, 2));
}

#[test]
fn what_was_counted_after_a_call_is_not_counted_again() {
    let mut known = Conversations::default();
    let mut first = read(&mut known, &["a", "b"]);
    for slot in first.uncounted() {
        first.count(slot, Counted { text: 1, media: 0 });
    }
    known.counted(&first);
    let more = read(&mut known, &["a", "b", "c"]);
    assert_eq!(more.uncounted(), [Slot::Item(2)]);
}

#[test]
fn what_was_forgotten_is_measured_again() {
    let mut known = Conversations::default();
    read(&mut known, &["first", "and more"]);
    for n in 0..REMEMBERED_MAX {
        read(&mut known, &[&n.to_string()]);
    }
    let again = read(&mut known, &["first", "and more"]);
    assert_eq!(again.matched, 0);
    assert!(known.known.len() <= REMEMBERED_MAX);
}

proptest! {
    /// Whatever was read before and whatever was reported, the estimate of a body is never below that of a lane that
    /// sees it for the first time; and its parts are those of the body.
    #[test]
    fn b1_history_only_raises(
        calls in prop::collection::vec((prop::collection::vec("[ab]{1,3}", 0..6), prop::option::of(any::<(u32, bool)>())), 1..12),
    ) {
        let mut known = Conversations::default();
        for (items, report) in calls {
            let items: Vec<&str> = items.iter().map(String::as_str).collect();
            let fresh = measured(&mut Conversations::default(), &items);
            let reading = read(&mut known, &items);
            prop_assert!(reading.input(DENSITY) >= fresh.input(DENSITY));
            prop_assert_eq!(&reading.layout, &fresh.layout);
            prop_assert_eq!(&reading.items, &fresh.items);
            prop_assert_eq!(reading.own(DENSITY), fresh.own(DENSITY));
            if let Some((report, teaches)) = report {
                known.reported(reading.number, reading.mark(DENSITY), u64::from(report), teaches);
                let again = read(&mut known, &items);
                prop_assert!(items.is_empty() || again.input(DENSITY) >= u64::from(report));
            }
        }
    }
}

/// Number of the conversation to which a body with these items belongs.
fn number(known: &mut Conversations, protocol: Protocol, items: Vec<Value>) -> u32 {
    let body = Bytes::from(json!({ protocol.items_key(): items, "model": "m" }).to_string());
    let mut reading = known.read(body, protocol).unwrap();
    reading.measure(measure);
    known.remember(&mut reading);
    reading.number
}

/// A sub-agent has the program's instructions in front of its own task.
#[test]
fn a_conversation_that_shares_only_instructions_is_another_one() {
    let mut known = Conversations::default();
    let mut number = |items: &[(&str, &str)]| {
        let items = items.iter().map(|(role, text)| json!({ "role": role, "content": text })).collect();
        number(&mut known, Protocol::Chat, items)
    };
    let rules = ("system", "You are.");
    assert_eq!(number(&[rules]), 1);
    assert_eq!(number(&[rules, ("user", "work")]), 1, "it goes on");
    assert_eq!(number(&[rules, ("user", "look")]), 2);
    assert_eq!(number(&[rules, ("user", "work"), ("assistant", "a"), ("user", "b")]), 1);
    assert_eq!(number(&[rules, ("user", "look"), ("assistant", "a"), ("user", "b")]), 2);
}

/// Gemini CLI takes the signatures that it made up itself out of all older turns at once.
#[test]
fn a_conversation_goes_on_when_its_program_edits_what_the_model_said() {
    let mut known = Conversations::default();
    let user = |text: &str| json!({ "role": "user", "parts": [{ "text": text }] });
    let model = |signature: Option<&str>| {
        let mut part = json!({ "functionCall": { "name": "ls", "args": {} } });
        if let Some(signature) = signature {
            part["thoughtSignature"] = signature.into();
        }
        json!({ "role": "model", "parts": [part] })
    };
    let turns = |task: &str, signature| {
        let mut items = vec![user("context"), user(task)];
        items.extend((0..3).flat_map(|n| [model(signature), user(&format!("result {n}"))]));
        items
    };
    assert_eq!(number(&mut known, Protocol::Gemini, turns("work", Some("skip"))), 1);
    let edited = [turns("work", None), vec![user("next")]].concat();
    assert_eq!(number(&mut known, Protocol::Gemini, edited), 1);
    assert_eq!(number(&mut known, Protocol::Gemini, turns("look", None)), 2, "another task");
    assert_eq!(number(&mut known, Protocol::Gemini, vec![user("context"), user("work")]), 3, "it begins anew");
}
