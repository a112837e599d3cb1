//! Collections of agents as people publish them: an agent is taken with all its tools, and what is no agent is not.

use std::fs;

use serde_json::Value;

use crate::room::Room;

/// Adds a collection of these files.
#[track_caller]
fn add(files: &[(&str, &str)]) -> (Room, Value) {
    let room = Room::new();
    for (path, content) in files {
        let path = room.root().join("collection").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    let from = room.root().join("collection").display().to_string();
    let added = room.run(&["agents", "add", &from, "--json"]).expect(0).json();
    (room, added)
}

/// The agents of the catalogue as `agents --json` lists them.
fn agents(room: &Room) -> Vec<Value> {
    let list = room.run(&["agents", "--json"]).expect(0).json();
    list["agents"].as_array().unwrap().iter().filter(|agent| agent["origin"] == "catalogue").cloned().collect()
}

const REVIEWER: &str = "---\nname: reviewer\ndescription: Reviews code.\ntools: Read, Grep\n---\n\nYou review.\n";

#[test]
fn a_rule_for_hooks_is_no_agent() {
    let rule = "---\nname: warn-rm\nenabled: true\nevent: bash\npattern: rm\\s+-rf\n---\n\nDangerous command.\n";
    let (room, added) = add(&[("agents/reviewer.md", REVIEWER), ("examples/rule.local.md", rule)]);
    let agents = agents(&room);
    assert_eq!(agents.len(), 1, "{agents:#?}");
    assert!(!added["added"].to_string().contains("rule"), "{added:#}");
}

#[test]
fn markdown_by_any_of_its_names_is_taken_or_named() {
    let (room, added) = add(&[
        ("agents/reviewer.md", REVIEWER),
        ("agents/UPPER.MD", "---\nname: upper\ndescription: Writes upper case.\n---\n\nYou write.\n"),
        ("agents/x.markdown", "---\nname: long-name\ndescription: Has a long ending.\n---\n\nYou are long.\n"),
    ]);
    let listed = format!("{added}{:?}", agents(&room));
    assert!(
        listed.to_lowercase().contains("upper") && listed.contains("long-name") || listed.contains("x.markdown"),
        "{listed}"
    );
}

#[test]
fn tools_that_spaces_part_are_several_tools() {
    let skill = "---\nname: charts\ndescription: Draws charts.\nallowed-tools: Read Grep Bash(python:*)\n---\n\nDraw.\n";
    let (room, _) = add(&[("skills/charts/SKILL.md", skill), ("agents/reviewer.md", REVIEWER)]);
    let agents = agents(&room);
    let charts = agents.iter().find(|agent| agent.to_string().contains("charts")).expect("the skill");
    assert!(!charts.to_string().contains("Read Grep"), "{charts:#}");
}

#[test]
fn carriage_returns_and_colons_in_a_description_drop_no_agent() {
    let text =
        "---\nname: tracker\ndescription: Tracks work [ref: ABC-123]: issues and more.\ntools: Read\n---\n\nYou track.\n";
    for text in [text.to_owned(), text.replace('\n', "\r\n"), super::marked(text)] {
        let (room, added) = add(&[("agents/tracker.md", &text), ("agents/reviewer.md", REVIEWER)]);
        let agents = agents(&room);
        assert_eq!(agents.len(), 2, "{added:#} {agents:#?}");
        assert!(agents.iter().any(|agent| agent.to_string().contains("ref: ABC-123")), "{agents:#?}");
    }
}

#[test]
fn a_description_that_goes_on_without_indent_is_taken_or_named() {
    let text = "---\nname: creator\ndescription: Use this agent to make agents. Examples:\n<example>\nContext: a user wants an agent.\nuser: \"Make one\"\n</example>\nmodel: sonnet\n---\n\nYou create.\n";
    let (room, added) = add(&[("agents/creator.md", text), ("agents/reviewer.md", REVIEWER)]);
    let listed = format!("{added}{:?}", agents(&room));
    assert!(listed.contains("creator"), "{listed}");
}

#[test]
fn a_rule_of_dashes_in_the_body_ends_nothing() {
    let text = "---\nname: writer\ndescription: Writes prose.\n---\n\nFirst part.\n\n---\n\nname: not-an-agent\n\n---\n\nLast part.\n";
    let (room, _) = add(&[("agents/writer.md", text), ("agents/reviewer.md", REVIEWER)]);
    let agents = agents(&room);
    assert_eq!(agents.len(), 2, "{agents:#?}");
    assert!(agents.iter().all(|agent| agent["name"] != "not-an-agent"), "{agents:#?}");
}
