//! Which files of a collection are agents, and what they are called: by their paths, before anything is read.

use std::collections::BTreeSet;

/// The longest path in a collection, in bytes.
const PATH_BYTES_MAX: usize = 300;
/// The name of a skill's file without its ending, in any case; its folder is the skill.
const SKILL: &str = "SKILL";
/// Endings of Markdown files, in any case.
const ENDINGS: [&str; 2] = [".md", ".markdown"];
/// Documents that lie beside agents, by the beginning of their names and in any case.
const DOCUMENTS: [&str; 14] = [
    "agents",
    "authors",
    "changelog",
    "claude",
    "code_of_conduct",
    "contributing",
    "copying",
    "gemini",
    "licence",
    "license",
    "notice",
    "readme",
    "security",
    "support",
];
/// Hidden folders that agents are kept in; others are somebody's tools.
const HIDDEN: [&str; 3] = [".claude", ".agents", ".opencode"];
/// Folders whose files are no agents, whatever they say.
const NEVER: [&str; 1] = ["node_modules"];
/// Folders that say how a collection is built and not what an agent is about.
const FRAMES: [&str; 16] = [
    "agents",
    "subagents",
    "skills",
    "categories",
    "components",
    "plugins",
    "collections",
    "packages",
    "cli-tool",
    "src",
    ".claude",
    ".agents",
    ".opencode",
    "agent",
    "skill",
    "external_plugins",
];

/// What a file of a collection can be, by its path alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Candidate {
    /// It may be an agent: its text decides.
    Agent,
    /// It is a document such as a README, and no agent.
    Document,
    /// It is not looked at: no Markdown file, or in a folder of something else.
    Foreign,
}

/// What a file can be, by its path from the collection's root, with `/` between its parts.
#[must_use]
pub fn candidate(path: &str) -> Candidate {
    let Some(name) = path.rsplit('/').next() else { return Candidate::Foreign };
    let Some(stem) = stem(name) else { return Candidate::Foreign };
    let folders = || path.split('/').rev().skip(1);
    let hidden = |part: &str| part.starts_with('.') && !HIDDEN.contains(&part);
    let is_looked_at = !name.starts_with('.')
        && path.len() <= PATH_BYTES_MAX
        && !path.chars().any(char::is_control)
        && path.split('/').all(|part| !part.is_empty() && part != "." && part != "..")
        && !folders().any(|part| hidden(part) || NEVER.contains(&part));
    match is_looked_at {
        false => Candidate::Foreign,
        // README.zh-CN.md is a README, too.
        true if DOCUMENTS.iter().any(|document| first_word(stem).eq_ignore_ascii_case(document)) => Candidate::Document,
        true => Candidate::Agent,
    }
}

/// Whether a file may be an agent, by its path.
#[must_use]
pub fn may_be_agent(path: &str) -> bool {
    candidate(path) == Candidate::Agent
}

/// Whether a name is written in capitals, as documents are and agents are not: such a file must say that it is an agent.
fn is_in_capitals(stem: &str) -> bool {
    let word = first_word(stem);
    word.bytes().all(|b| !b.is_ascii_lowercase()) && word.bytes().any(|b| b.is_ascii_uppercase())
}

fn first_word(stem: &str) -> &str {
    stem.split('.').next().unwrap_or(stem)
}

/// A Markdown file's path without its ending.
fn stem(path: &str) -> Option<&str> {
    ENDINGS.iter().find_map(|ending| {
        let at = path.len().checked_sub(ending.len()).filter(|at| *at > 0 && path.is_char_boundary(*at))?;
        path[at..].eq_ignore_ascii_case(ending).then_some(&path[..at])
    })
}

/// The folder of a skill's file, with a `/` at its end unless it is the root; nothing for other files.
fn skill_folder(path: &str) -> Option<&str> {
    let stem = stem(path)?;
    let at = stem.rfind('/').map_or(0, |at| at + 1);
    stem[at..].eq_ignore_ascii_case(SKILL).then_some(&path[..at])
}

/// What a file is, by where it lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An agent, if it says that it is one.
    Agent,
    /// A file in a folder for agents: one also without front matter.
    InAgentsFolder,
    /// A file whose name is written in capitals: an agent, if it has a name and a description of its own.
    InCapitals,
    /// A skill.
    Skill,
    /// A file that a skill brings along.
    PartOfSkill,
    /// A command of an agent program.
    Command,
}

/// The files of a collection together: which of them are skills decides what the others are.
#[derive(Debug, Clone)]
pub struct Layout {
    skills: BTreeSet<String>,
    labels_taken: BTreeSet<String>,
    root_is_agents: bool,
}

impl Layout {
    /// From the paths of all files that [`may_be_agent`]. `root_name` is the name of the collection's folder, where it has one.
    #[must_use]
    pub fn new<'a>(paths: impl Iterator<Item = &'a str> + Clone, root_name: &str) -> Self {
        let skills = paths.clone().filter_map(skill_folder).map(str::to_owned).collect();
        let others = paths.filter(|path| skill_folder(path).is_none());
        let labels_taken = others.filter_map(stem).map(str::to_owned).collect();
        Self { skills, labels_taken, root_is_agents: root_name == "agents" }
    }

    /// What a file is.
    #[must_use]
    pub fn kind(&self, path: &str) -> Kind {
        if skill_folder(path).is_some() {
            return Kind::Skill;
        }
        let mut folders = path.match_indices('/').map(|(at, _)| &path[..=at]);
        if self.skills.contains("") || folders.any(|folder| self.skills.contains(folder)) {
            return Kind::PartOfSkill;
        }
        let mut names: Vec<&str> = path.split('/').collect();
        let name = names.pop().unwrap_or_default();
        // The nearest folder that says what it holds: commands are kept in groups, too.
        if names.iter().rev().find(|name| ["commands", "agents", "skills"].contains(name)) == Some(&"commands") {
            return Kind::Command;
        }
        if stem(name).is_some_and(is_in_capitals) {
            return Kind::InCapitals;
        }
        let direct = names.is_empty() || self.root_is_agents;
        if direct || names.contains(&"agents") { Kind::InAgentsFolder } else { Kind::Agent }
    }

    /// The label of a file in a collection of this name: its path without the ending, a skill's folder.
    #[must_use]
    pub fn label(&self, collection: &str, path: &str) -> String {
        let folder = skill_folder(path).and_then(|folder| folder.strip_suffix('/'));
        match folder.filter(|folder| !self.labels_taken.contains(*folder)) {
            Some(folder) => format!("{collection}/{folder}"),
            None => format!("{collection}/{}", stem(path).unwrap_or(path)),
        }
    }
}

/// The group of a file: the nearest folder above it that says something, without a number before it; empty: none does.
#[must_use]
pub fn group(path: &str) -> String {
    let mut names: Vec<&str> = path.split('/').collect();
    names.pop();
    if skill_folder(path).is_some() {
        names.pop();
    }
    let group = names.iter().rev().find(|name| !FRAMES.contains(name)).copied().unwrap_or_default();
    let unnumbered = group.trim_start_matches(|c: char| c.is_ascii_digit()).trim_start_matches(['-', '_']);
    if unnumbered.is_empty() { group.to_owned() } else { unnumbered.to_owned() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn documents_and_other_peoples_folders_are_no_agents() {
        for path in [
            "a.md",
            "x/agents/a.MD",
            "x/a.markdown",
            "agents/UPPER.MD",
            "skills/pdf/SKILL.md",
            "skills/pdf/skill.Markdown",
            ".claude/agents/a.md",
            "c++-pro.md",
            "x/ä.md",
            "QUICK_START.md",
        ] {
            assert!(may_be_agent(path), "{path}");
        }
        for path in ["README.md", "x/readme.markdown", "README.zh-CN.md", "LICENSE.md", "x/AGENTS.md"] {
            assert_eq!(candidate(path), Candidate::Document, "{path}");
        }
        for path in [
            "README.md",
            "x/readme.md",
            "CLAUDE.md",
            "CONTRIBUTING.md",
            "x/CHANGELOG.md",
            "README.zh-CN.md",
            "AGENTS.md",
            "a.txt",
            "a.mdx",
            ".md",
            ".markdown",
            "md",
            "",
            ".github/agents/a.md",
            ".git/a.md",
            "node_modules/x/agents/a.md",
            "../a.md",
            "a//b.md",
            "a\nb.md",
            ".hidden.md",
        ] {
            assert!(!may_be_agent(path), "{path:?}");
        }
    }

    #[test]
    fn skills_are_folders_and_what_lies_in_them_is_theirs() {
        let paths =
            ["pdf/SKILL.md", "pdf/forms.md", "pdf/agents/x.md", "agents/a.md", "x/commands/g/c.md", "x/y/d.md", "e.md"];
        let layout = Layout::new(paths.iter().copied(), "repo");
        let kinds = paths.map(|path| layout.kind(path));
        use Kind::*;
        assert_eq!(kinds, [Skill, PartOfSkill, PartOfSkill, InAgentsFolder, Command, Agent, InAgentsFolder]);
        assert_eq!(layout.label("c", "pdf/SKILL.md"), "c/pdf");
        assert_eq!(layout.label("c", "agents/a.md"), "c/agents/a");
        let both = Layout::new(["pdf.md", "pdf/SKILL.md"].into_iter(), "agents");
        assert_eq!((both.label("c", "pdf.md"), both.label("c", "pdf/SKILL.md")), ("c/pdf".into(), "c/pdf/SKILL".into()));
        let paths = ["a/skill.MD", "a/x.md", "b/SKILL.markdown", "agents/UPPER.MD", "x/agents/y.markdown"];
        let layout = Layout::new(paths.iter().copied(), "repo");
        assert_eq!(paths.map(|path| layout.kind(path)), [Skill, PartOfSkill, Skill, InCapitals, InAgentsFolder]);
        let labels = paths.map(|path| layout.label("c", path));
        assert_eq!(labels, ["c/a", "c/a/x", "c/b", "c/agents/UPPER", "c/x/agents/y"]);
        let whole = Layout::new(["SKILL.md", "x.md"].into_iter(), "skill");
        assert_eq!((whole.kind("SKILL.md"), whole.kind("x.md")), (Skill, PartOfSkill));
    }

    #[test]
    fn groups_say_something() {
        let groups = [
            ("categories/01-core-development/api.md", "core-development"),
            ("plugins/backend/agents/x.md", "backend"),
            ("skills/pdf/SKILL.md", ""),
            ("plugins/docs/skills/pdf/SKILL.md", "docs"),
            ("a.md", ""),
            ("2024/a.md", "2024"),
        ];
        for (path, expected) in groups {
            assert_eq!(group(path), expected, "{path}");
        }
    }

    proptest! {
        #[test]
        fn every_file_has_a_label_of_its_own(paths in proptest::collection::btree_set("([ab]/){0,2}([ab]|SKILL)\\.(md|MD)", 1..12)) {
            let layout = Layout::new(paths.iter().map(String::as_str), "x");
            let labels: BTreeSet<String> = paths.iter().map(|path| layout.label("c", path)).collect();
            // `a.md` and `a.MD` differ in nothing that a label shows.
            let different: BTreeSet<String> = paths.iter().map(|path| path.to_lowercase()).collect();
            prop_assert_eq!(labels.len() >= different.len(), true, "{:?}", labels);
        }

        #[test]
        fn any_path_is_looked_at(path in "\\PC{0,40}") {
            if may_be_agent(&path) {
                let layout = Layout::new([path.as_str()].into_iter(), "");
                prop_assert!(layout.label("c", &path).starts_with("c/"));
                let _any = (layout.kind(&path), group(&path));
            }
        }
    }
}
