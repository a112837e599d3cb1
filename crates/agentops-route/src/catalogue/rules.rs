//! Tells rules from agents: files that say when an agent program warns, blocks or reads instructions.
//!
//! They lie beside agents, often with a name, and their text is a message or an instruction. A task cannot be given to one.

/// A kind of file that is no agent although it has front matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleKind {
    /// A rule for a hook, as hookify writes them: on which event and pattern the program warns or blocks.
    Hook,
    /// Instructions for files that match a pattern, as editors and agent programs read them.
    Instructions,
    /// A plugin's settings on this machine.
    LocalSettings,
}

impl RuleKind {
    /// The reason for which such a file is left out.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::Hook => "a hook rule (event and pattern), not an agent",
            Self::Instructions => "instructions for matching files, not an agent",
            Self::LocalSettings => "a plugin's local settings, not an agent",
        }
    }
}

/// Keys of which one is enough to make a file instructions. Agents have none of them.
const INSTRUCTION_KEYS: [&str; 5] = ["alwaysApply", "applyTo", "globs", "fileMatchPattern", "inclusion"];

/// Which kind of rule a file is, by the keys of its front matter and its file name; nothing for an agent.
///
/// Sources: hookify's rule files (`event`, `pattern`, `conditions`, `action`, `enabled`), and the rule files of editors
/// (`globs`, `alwaysApply`), instruction files (`applyTo`) and steering files (`inclusion`).
#[must_use]
pub fn rule_kind(keys: &[String], file_name: &str) -> Option<RuleKind> {
    let has = |wanted: &str| keys.iter().any(|key| key.eq_ignore_ascii_case(wanted));
    let describes_itself = has("description") || has("tools") || has("model");
    let tests_something = has("pattern") || has("conditions");
    let switches = has("enabled") || has("action");
    if has("event") && (tests_something || switches && !describes_itself) || tests_something && switches && !describes_itself
    {
        return Some(RuleKind::Hook);
    }
    if INSTRUCTION_KEYS.iter().any(|key| has(key)) || has("paths") && !describes_itself {
        return Some(RuleKind::Instructions);
    }
    let is_local = file_name.to_ascii_lowercase().ends_with(".local.md");
    (is_local && !describes_itself).then_some(RuleKind::LocalSettings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_told_from_agents() {
        for (keys, name, expected) in [
            ("name enabled event pattern action", "warn.local.md", Some(RuleKind::Hook)),
            ("name enabled event action conditions", "x.md", Some(RuleKind::Hook)),
            ("name enabled pattern", "x.md", Some(RuleKind::Hook)),
            ("Name Event Pattern description", "x.md", Some(RuleKind::Hook)),
            ("description globs alwaysApply", "x.md", Some(RuleKind::Instructions)),
            ("applyTo", "x.instructions.md", Some(RuleKind::Instructions)),
            ("paths", "x.md", Some(RuleKind::Instructions)),
            ("enabled mode", "my-plugin.local.md", Some(RuleKind::LocalSettings)),
            ("", "notes.Local.MD", Some(RuleKind::LocalSettings)),
            ("name description tools", "x.md", None),
            ("name description enabled", "x.md", None),
            ("name description event", "x.md", None),
            ("name description paths", "x.md", None),
            ("name description", "x.local.md", None),
            ("name", "x.md", None),
        ] {
            let keys: Vec<String> = keys.split_whitespace().map(str::to_owned).collect();
            assert_eq!(rule_kind(&keys, name), expected, "{keys:?} {name}");
        }
    }
}
