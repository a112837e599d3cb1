//! The documents say what the program does: what can be compared is compared here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use agentops_engine::files::{self, config, user};

const DOCUMENTS: [&str; 12] = [
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "RELIABILITY.md",
    "SECURITY.md",
    "docs/README.md",
    "docs/bundles.md",
    "docs/ceiling.md",
    "docs/commands.md",
    "docs/gateway.md",
    "docs/routing.md",
    "docs/workflows.md",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// Rows of every table in a document, as cells.
fn rows(text: &str) -> Vec<Vec<String>> {
    let cells = |line: &str| line.trim().trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect();
    text.lines().filter(|line| line.starts_with("| ")).map(cells).collect()
}

/// Fenced blocks of one kind, each with its place.
fn blocks(kind: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for document in DOCUMENTS {
        let mut open: Option<(String, String, String)> = None;
        for (index, line) in read(document).lines().enumerate() {
            match (&mut open, line.strip_prefix("```")) {
                (None, Some(of)) => open = Some((format!("{document}:{}", index + 1), of.to_owned(), String::new())),
                (Some(_), Some(_)) => {
                    if let Some((place, of, text)) = open.take().filter(|(_, of, _)| of == kind) {
                        assert_eq!(of, kind);
                        found.push((place, text));
                    }
                }
                (Some((_, _, text)), None) => text.extend([line, "\n"]),
                (None, None) => {}
            }
        }
        assert!(open.is_none(), "{document}: a block is not closed");
    }
    found
}

#[expect(clippy::disallowed_methods, reason = "the test starts the program under test")]
fn help(command: &[&str]) -> String {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_agentops")).args(command).arg("--help").output().unwrap();
    assert!(output.status.success(), "{command:?} has no help");
    String::from_utf8(output.stdout).unwrap()
}

/// The commands that the program's own help lists.
fn commands() -> BTreeSet<String> {
    let help = help(&[]);
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| line.starts_with("  "));
    listed.filter_map(|line| line.split_whitespace().next().map(str::to_owned)).collect()
}

#[test]
fn the_exit_codes_are_those_of_the_program() {
    let documented: Vec<(u8, String)> = rows(&read("docs/commands.md"))
        .iter()
        .filter_map(|cells| Some((cells.first()?.parse().ok()?, cells.get(1)?.clone())))
        .collect();
    let real: Vec<(u8, String)> =
        agentops::error::EXIT_CODES.iter().map(|(code, name)| (*code, (*name).to_owned())).collect();
    assert_eq!(documented, real);
}

#[test]
fn what_a_merge_asks_about_is_what_the_program_knows() {
    let rows = rows(&read("docs/commands.md"));
    for group in agentops_engine::steering::GROUPS {
        let row = rows.iter().find(|cells| cells.first().is_some_and(|first| first == group.purpose));
        let documented = row.unwrap_or_else(|| panic!("no row about {}", group.purpose))[1].to_lowercase();
        let documented: Vec<&str> = documented.split(['`', ' ']).filter(|name| !name.is_empty()).collect();
        assert_eq!(documented, group.names().collect::<Vec<_>>());
    }
}

#[test]
fn every_workflow_can_be_run() {
    let blocks = blocks("toml");
    assert!(!blocks.is_empty());
    for (place, text) in blocks {
        let raw = files::parse_workflow(Path::new(&place), &text).unwrap_or_else(|e| panic!("{e}"));
        let checked = raw.check(Some(&["true".to_owned()])).unwrap_or_else(|e| panic!("{place}: {e}"));
        let agents: BTreeSet<&str> = files::profile::BUILT_IN_AGENTS.iter().map(|(name, _)| *name).collect();
        for agent in checked.workflow.agents() {
            assert!(agents.contains(agent.as_str()), "{place}: there is no agent {agent}");
        }
    }
}

#[test]
fn every_agent_can_be_read_and_has_a_driver_that_exists() {
    let blocks = blocks("agent");
    assert!(!blocks.is_empty());
    for (place, text) in blocks {
        let agent = files::parse_agent(Path::new(&place), &text).unwrap_or_else(|e| panic!("{e}"));
        assert!(!agent.prompt.is_empty() && !agent.front.description.is_empty(), "{place}");
        let driver = agent.front.driver.unwrap_or_else(|| panic!("{place}: show a driver"));
        agentops_agents::registry::driver(&driver).unwrap_or_else(|e| panic!("{place}: {e}"));
    }
}

#[test]
fn every_config_can_be_read() {
    let blocks = blocks("config");
    assert!(!blocks.is_empty());
    for (place, text) in blocks {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(config::CONFIG_PATH);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &text).unwrap();
        let config = config::read(folder.path()).unwrap_or_else(|e| panic!("{place}: {e}"));
        config.lane.check().unwrap_or_else(|e| panic!("{place}: {e}"));
    }
}

#[test]
fn every_user_config_can_be_read() {
    let blocks = blocks("user-config");
    assert!(!blocks.is_empty());
    for (place, text) in blocks {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        std::fs::write(&path, &text).unwrap();
        let user = user::read(&path).unwrap_or_else(|e| panic!("{place}: {e}"));
        let named = agentops_engine::perform::gateway::destinations(&user);
        agentops_gateway::destination::Destinations::new(named).unwrap_or_else(|e| panic!("{place}: {e}"));
    }
}

#[test]
fn every_environment_variable_is_documented() {
    let source = include_str!("../src/env.rs");
    let names: Vec<&str> = source
        .lines()
        .filter_map(|line| line.strip_prefix("pub const ")?.split_once(": &str = \"")?.1.strip_suffix("\";"))
        .collect();
    assert!(names.len() >= 7, "{names:?}");
    let text = read("docs/commands.md");
    for name in names {
        assert!(text.contains(&format!("| `{name}` |")), "docs/commands.md does not name {name}");
    }
}

#[test]
fn every_command_is_documented_and_every_documented_command_exists() {
    let commands = commands();
    let text = read("docs/commands.md");
    for command in &commands {
        assert!(text.contains(&format!("\n## {command}\n")), "docs/commands.md has no section {command}");
    }
    for document in DOCUMENTS {
        let text = read(document);
        for (at, _) in text.match_indices("`agentops ").chain(text.match_indices("$ agentops ")) {
            let rest = text[at..].split_once("agentops ").map_or("", |(_, rest)| rest);
            let word: String = rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '-').collect();
            if !word.is_empty() && !word.starts_with('-') {
                assert!(commands.contains(&word), "{document}: there is no `agentops {word}`");
            }
        }
    }
}

#[test]
fn every_flag_in_an_example_exists() {
    let mut helps: BTreeMap<String, String> = BTreeMap::new();
    for (place, text) in blocks("console") {
        for line in text.lines() {
            let line = line.strip_prefix("$ ").unwrap_or_else(|| panic!("{place}: `{line}` has no prompt"));
            let call = line.strip_prefix("cargo run --release -- ").or_else(|| line.strip_prefix("agentops "));
            let Some(call) = call else { continue };
            // Words inside quotes are the user's.
            let plain: String = call.split('"').step_by(2).collect();
            let mut words = plain.split_whitespace();
            let mut command = words.next().unwrap().to_owned();
            // Some commands have commands of their own.
            if let ("agents" | "bundle" | "route", Some(word)) = (command.as_str(), words.clone().next())
                && !word.starts_with('-')
            {
                words.next();
                command = format!("{command} {word}");
            }
            let of = || help(&command.split(' ').collect::<Vec<_>>());
            let help = helps.entry(command.clone()).or_insert_with(of);
            for flag in words.filter(|word| word.starts_with('-')) {
                let known = help.split([' ', ',', '\n']).any(|word| word == flag);
                assert!(known, "{place}: `agentops {command}` has no {flag}");
            }
        }
    }
}

#[test]
fn every_link_leads_somewhere() {
    for document in DOCUMENTS {
        let path = root().join(document);
        for (at, _) in read(document).match_indices("](") {
            let text = read(document);
            let target = text[at + 2..].split(')').next().unwrap();
            let file = target.split('#').next().unwrap();
            if !file.is_empty() && !file.contains("://") {
                assert!(path.parent().unwrap().join(file).exists(), "{document}: {target}");
            }
        }
    }
}

/// A section of `RELIABILITY.md`.
#[derive(Default)]
struct Promise {
    id: String,
    /// `kept`, `in part` or `not promised yet`, and what holds.
    state: String,
    /// Each test with the file above it.
    tests: Vec<(String, String)>,
}

fn promises() -> Vec<Promise> {
    let mut found: Vec<Promise> = Vec::new();
    let (mut file, mut in_state) = (None, false);
    for line in read("RELIABILITY.md").lines() {
        if let Some(id) = line.strip_prefix("### ") {
            found.push(Promise { id: id.to_owned(), ..Promise::default() });
            file = None;
        }
        let Some(promise) = found.last_mut() else { continue };
        in_state = line.starts_with("**") || in_state && !line.is_empty();
        if in_state {
            promise.state.push_str(line);
        } else if let Some(path) = line.strip_prefix("- ") {
            file = Some(path.trim_matches('`').to_owned());
        } else if let Some(test) = line.strip_prefix("  - ") {
            let file = file.clone().unwrap_or_else(|| panic!("{}: {test} stands below no file", promise.id));
            promise.tests.push((file, test.trim_matches('`').to_owned()));
        }
    }
    found
}

#[test]
fn every_promise_has_its_section_and_every_test_it_names_exists() {
    let ids = [("R", 11), ("P", 7), ("B", 5), ("S", 14)];
    let expected: Vec<String> =
        ids.iter().flat_map(|(letter, last)| (1..=*last).map(move |n| format!("{letter}{n}"))).collect();
    let promises = promises();
    assert_eq!(promises.iter().map(|promise| promise.id.clone()).collect::<Vec<_>>(), expected);
    for Promise { id, state, tests } in promises {
        for (at, (path, test)) in tests.iter().enumerate() {
            assert!(read(path).contains(&format!("fn {test}(")), "{id}: {path} has no test {test}");
            assert!(!tests[..at].contains(&(path.clone(), test.clone())), "{id} names {test} twice");
        }
        let (word, rest) = state.strip_prefix("**").and_then(|state| state.split_once("**")).unwrap_or_default();
        match word {
            "kept" | "in part" => assert!(!tests.is_empty(), "{id} names no test"),
            "not promised yet" => assert!(tests.is_empty(), "{id} names tests and is not promised"),
            other => panic!("{id}: {other:?} is no state"),
        }
        assert!(word != "in part" || rest.len() > 20, "{id}: say which part");
    }
}
