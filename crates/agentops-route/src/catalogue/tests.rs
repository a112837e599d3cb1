use proptest::prelude::*;

use super::*;

fn read(text: &str) -> Markdown {
    Markdown::read(text.as_bytes()).expect("an agent")
}

#[test]
fn an_agent_as_it_should_be() {
    let text = "---\nname: api-designer\ndescription: \"Designs APIs: REST, GraphQL.\"\ntools: Read, Grep\nmodel: sonnet\n---\n\nYou design APIs.\n";
    let made = read(text);
    assert_eq!(made.notes, []);
    assert_eq!(made.front.tools.as_ref().map(|tools| tools.names()), Some(vec!["Read".into(), "Grep".into()]));
    assert_eq!(made.front.model.as_deref(), Some("sonnet"));
    let entry = Entry::from_markdown("c/core/api", "core", text).expect("an entry");
    let expected = Entry {
        label: "c/core/api".into(),
        name: "api-designer".into(),
        group: "core".into(),
        description: "Designs APIs: REST, GraphQL.".into(),
        body: "You design APIs.".into(),
        examples: vec![],
    };
    assert_eq!(entry, expected);
}

#[test]
fn what_a_yaml_reader_refuses_is_read_by_lines() {
    let broken = "---\nname: droid\ndescription: Use this for the CLI: install it, run it. Examples: <example>Context: CI. user: 'How do I run it in CI?' assistant: 'I will use the droid agent.' <commentary>Why: that.</commentary></example> <example>Context: More. user: 'Is it safe: really?' assistant: 'Let me.'</example>\ntools: Read, Bash(git log, git show)\ncolor: red\n---\nBody: of it\n";
    let made = read(broken);
    assert_eq!(made.notes, [Note::NotYaml]);
    assert_eq!(made.front.name, "droid");
    assert_eq!(made.front.description, "Use this for the CLI: install it, run it.");
    assert_eq!(made.examples, ["How do I run it in CI?", "Is it safe: really?"]);
    assert_eq!(made.front.tools.map(|tools| tools.names()), Some(vec!["Read".into(), "Bash(git log, git show)".into()]));
    assert_eq!(made.prompt, "Body: of it");
}

#[test]
fn examples_over_several_lines_hide_no_key() {
    let text = "---\nname: moc\ndescription: Keeps maps: of content.\n\nExamples:\n<example>\nContext: stale\nuser: \"My maps are stale: refresh them\"\nassistant: \"Now: going\"\nmodel: not a key here\n</example>\nmodel: opus\n---\nYou keep maps.";
    let made = read(text);
    assert_eq!(made.notes, [Note::NotYaml]);
    assert_eq!(made.front.model.as_deref(), Some("opus"));
    assert_eq!(made.front.description, "Keeps maps: of content.");
    assert_eq!(made.examples, ["My maps are stale: refresh them"]);
}

#[test]
fn line_ends_that_were_written_out_are_line_ends() {
    let text = r#"---
name: prompts
description: "Designs prompts.\n\n<example>\nContext: A bot.\nuser: \"Make the prompt \\\"shorter\\\"\"\nassistant: \"Sure.\"\n</example>"
---
b"#;
    let made = read(text);
    assert_eq!((made.notes.len(), made.front.description.as_str()), (0, "Designs prompts."));
    assert_eq!(made.examples.len(), 1);
    let plain = "---\nname: prompts\ndescription: Designs prompts. Examples:\\n\\n<example>\\nContext: A bot: one.\\nuser: \\\"Make it short\\\"\\nassistant: \\\"Sure.\\\"\\n</example>\\n\n---\nb";
    let made = read(plain);
    assert_eq!(made.front.description, "Designs prompts.");
    assert_eq!(made.examples, ["Make it short"]);
}

#[test]
fn conversations_without_a_frame_are_examples_too() {
    let text = "---\nname: x\ndescription: |\n  Writes tests.\n\n  Context: new code\n  user: \"Test the parser\"\n  assistant: \"On it\"\n---\nb";
    let made = read(text);
    assert_eq!((made.front.description.as_str(), made.examples), ("Writes tests.", vec!["Test the parser".to_owned()]));
    let no_quote = read("---\nname: x\ndescription: Ask the user: never guess.\n---\nb");
    assert_eq!(no_quote.front.description, "Ask the user: never guess.");
}

#[test]
fn block_scalars_lists_and_other_shapes() {
    let folded = read("---\nname: x\ndescription: >-\n  one\n  two\nallowed-tools:\n  - Read\n  - Grep\n---\nb");
    assert_eq!(folded.front.description, "one two");
    assert_eq!(folded.front.tools.map(|tools| tools.names()), Some(vec!["Read".into(), "Grep".into()]));
    let by_lines =
        read("---\nname: x\nbad: [\ndescription: >\n  one: a\n  two\ntools:\n- Read\n- Grep\nother: [a, b]\n---\nb");
    assert_eq!(by_lines.front.description, "one: a two");
    assert_eq!(by_lines.front.tools.map(|tools| tools.names()), Some(vec!["Read".into(), "Grep".into()]));
    assert_eq!(read("---\nname: 7\ndescription: true\n---\nb").front.name, "7");
    assert_eq!(read("---\nname: [a, b]\ndescription: {x: 1}\n---\nb").notes, [Note::NoDescription]);
}

#[test]
fn what_is_missing_is_said() {
    assert_eq!(read("You review code.").notes, [Note::NoFrontMatter, Note::NoDescription, Note::NoName]);
    assert_eq!(read("---\nname: x\n---\nYou review.").notes, [Note::NoDescription]);
    assert_eq!(read("---\nname: x\nnever closed").notes, [Note::NoFrontMatter, Note::NoDescription, Note::NoName]);
    let skill = Entry::from_markdown("c/pdf", "", "---\ndescription: Reads PDF.\n---\n").expect("a skill");
    assert_eq!((skill.name.as_str(), skill.body.as_str()), ("pdf", ""));
    for nothing in ["", "\u{feff}", "---\n---\n", "---\nname: x\n---\n \n"] {
        assert_eq!(Markdown::read(nothing.as_bytes()).unwrap_err(), MarkdownError::Empty, "{nothing:?}");
    }
}

#[test]
fn bad_input_is_refused_or_bounded() {
    assert_eq!(Markdown::read(b"---\nname: \xff\n---\n").unwrap_err(), MarkdownError::NotText);
    assert_eq!(Markdown::read(b"a\0b").unwrap_err(), MarkdownError::NotText);
    let huge = vec![b'a'; FILE_BYTES_MAX + 1];
    assert_eq!(Markdown::read(&huge).unwrap_err(), MarkdownError::TooLarge { bytes: FILE_BYTES_MAX + 1 });
    let long = read(&format!("---\nname: x\ndescription: {}\n---\n{}", "é ".repeat(9000), "ü".repeat(9000)));
    assert!(long.notes.contains(&Note::DescriptionCut));
    let entry = long.entry("c/x", "g");
    assert!(entry.description.len() <= DESCRIPTION_BYTES_MAX && entry.body.len() <= BODY_BYTES_MAX);
    assert_eq!(long.prompt.len(), 18_000, "what runs is never cut");
    let alias = format!(
        "---\na: &a [x,x]\n{}name: x\n---\nb",
        (0..40).map(|n| format!("k{n}: &k{n} [*a, *a]\n")).collect::<String>()
    );
    let _either_way = Markdown::read(alias.as_bytes());
}

#[test]
fn nothing_in_a_collection_chooses_a_program() {
    let text = "---\nname: x\ndescription: d\ndriver: command\nsettings: {program: /bin/sh}\nwindow: 9999999\n---\nb";
    for text in [text.to_owned(), text.replace("d\n", "a: b: [\n")] {
        let made = read(&text);
        assert_eq!((made.front.driver, made.front.window, made.front.settings.len()), (None, None, 0));
        assert!(made.notes.contains(&Note::Ignored { keys: vec!["driver".into(), "settings".into(), "window".into()] }));
    }
}

#[test]
fn marks_and_line_ends_of_other_systems() {
    let text = "\u{feff}---\r\nname: x\r\ndescription: Prüft Übersetzungen 日本語\r\n---\r\nDu prüfst.\r\n";
    let made = read(text);
    assert_eq!((made.notes.len(), made.prompt.as_str()), (0, "Du prüfst."));
    assert_eq!(made.front.description, "Prüft Übersetzungen 日本語");
}

#[test]
fn lines_of_a_catalogue_are_read_as_they_are() {
    let entry: Entry =
        serde_json::from_str(r#"{"label": "freeze_account", "description": "freeze account", "group": "banking"}"#).unwrap();
    assert_eq!((entry.name.as_str(), entry.body.as_str(), entry.group.as_str()), ("", "", "banking"));
    assert!(serde_json::from_str::<Entry>(r#"{"label": "x", "same_as": ["y"]}"#).is_ok());
    assert!(serde_json::from_str::<Entry>(r#"{"description": "x"}"#).is_err());
}

/// Pieces that real files are made of, in any order.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("---\n".to_owned()),
        Just("name: x\n".to_owned()),
        Just("description: a: b\n".to_owned()),
        Just("description: |\n".to_owned()),
        Just("<example>".to_owned()),
        Just("</example>\n".to_owned()),
        Just("user: \"".to_owned()),
        Just("assistant: \"ok\"\n".to_owned()),
        Just("\\n".to_owned()),
        Just("Examples:\n".to_owned()),
        Just("- a\n".to_owned()),
        Just("\r\n".to_owned()),
        "[ -~\u{e4}\u{3042}\u{2019}“”]{0,12}",
        "\\PC{0,6}",
    ];
    proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused_within_its_bounds(text in pieces()) {
        if let Ok(made) = Markdown::read(text.as_bytes()) {
            let entry = made.entry("c/g/n", "g");
            prop_assert!(entry.description.len() <= DESCRIPTION_BYTES_MAX && entry.body.len() <= BODY_BYTES_MAX);
            prop_assert!(entry.examples.len() <= EXAMPLES_MAX && !entry.name.is_empty());
            prop_assert!(entry.examples.iter().all(|example| !example.trim().is_empty() && !example.contains('\n')));
            prop_assert!(!entry.description.to_lowercase().contains("<example>"));
            prop_assert_eq!(made.front.settings.len(), 0);
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _either_way = Markdown::read(&bytes);
    }

    #[test]
    fn what_is_written_as_yaml_comes_back(name in "[a-z][a-z0-9-]{0,20}", words in "[a-zA-Zäあ][a-zA-Z0-9 äあ,.]{0,60}[a-z]", body in "[a-zA-Z][a-zA-Z0-9 .]{0,60}[a-z]") {
        let text = format!("---\nname: {name}\ndescription: \"{words}\"\n---\n\n{body}\n");
        let made = Markdown::read(text.as_bytes()).unwrap();
        // The line reader gives what YAML gives.
        let broken = Markdown::read(text.replace("\n---\n\n", "\nx: [\n---\n\n").as_bytes()).unwrap();
        for made in [&made, &broken] {
            prop_assert_eq!(&made.front.name, &name);
            prop_assert_eq!(&made.front.description, words.trim());
            prop_assert_eq!(&made.prompt, &body);
        }
        prop_assert!(broken.notes.contains(&Note::NotYaml) && made.notes.is_empty());
    }
}
