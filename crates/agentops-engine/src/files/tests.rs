use std::path::Path;

use super::*;

#[test]
fn an_unknown_key_is_named_with_its_place_and_what_is_allowed() {
    let text = "name = \"x\"\n\n[[phase]]\nname = \"a\"\nwrites = \"files\"\nagnet = \"implement\"\n";
    let error = parse_workflow(Path::new("w.toml"), text).unwrap_err();
    assert_eq!(error.place, "w.toml:6:1");
    assert!(error.problem.contains("agnet") && error.problem.contains("`agent`"), "{}", error.problem);
}

#[test]
fn a_cycle_is_named_with_its_path() {
    let text = "name = \"x\"\n[[phase]]\nname = \"a\"\nwrites = \"files\"\nagent = \"i\"\nafter = [\"b\"]\n\
                [[phase]]\nname = \"b\"\nwrites = \"files\"\nagent = \"i\"\nafter = [\"a\"]\n";
    let error = parse_workflow(Path::new("w.toml"), text).unwrap().check(None).unwrap_err();
    assert!(error.problem.contains("a -> b -> a"), "{error}");
}

#[test]
fn an_agent_file_of_a_public_collection_is_read() {
    let text = "---\nname: code-reviewer\ndescription: Reviews.\ntools: Read, Grep, Bash(git log, git show)\nmodel: sonnet\ncolor: red\n---\n\nYou review.\n";
    let agent = parse_agent(Path::new("a.md"), text).unwrap();
    assert_eq!((agent.front.name.as_str(), agent.prompt.as_str()), ("code-reviewer", "You review."));
    assert_eq!(agent.front.tools.unwrap().names().len(), 3);
}

#[test]
fn a_broken_agent_file_says_where() {
    for (text, place) in [("You are", "a.md:1:1"), ("---\nname: x\n", "a.md:1:1"), ("---\nname: [x\n---\n", "a.md:")] {
        let error = parse_agent(Path::new("a.md"), text).unwrap_err();
        assert!(error.place.starts_with(place), "{error}");
    }
}

#[test]
fn the_built_in_profile_is_sound() {
    for workflow in profile::BUILT_IN_WORKFLOWS {
        let checked = parse_workflow(Path::new(workflow.0), workflow.1).unwrap().check(Some(&["true".into()])).unwrap();
        assert!(checked.left_out.is_empty());
        for agent in checked.workflow.agents() {
            assert!(profile::BUILT_IN_AGENTS.iter().any(|(name, _)| *name == agent.as_str()), "{agent}");
        }
    }
    for (name, text) in profile::BUILT_IN_AGENTS {
        assert_eq!(parse_agent(Path::new(name), text).unwrap().front.name, *name);
    }
}
