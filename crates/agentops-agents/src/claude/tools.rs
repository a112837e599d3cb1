//! An agent file's tools as the program's allow-list.

use crate::driver::{Access, OUT_DIR};

/// Tools that the program offers to the model, and rules of what is allowed without asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tools {
    pub(super) known: Vec<String>,
    pub(super) allowed: Vec<String>,
}

const READING: [&str; 3] = ["Read", "Grep", "Glob"];
const WRITING: [&str; 4] = ["Edit", "Write", "MultiEdit", "NotebookEdit"];

/// What an agent may use: what its file lists, as far as the session's access allows it, and always the way to write
/// below the out folder, or it could neither give its result nor hand over.
///
/// Path rules are read from `Edit` for all writing tools; a bare `Edit` would allow any file of the machine.
pub(super) fn tools(listed: Option<&[String]>, access: Access) -> Tools {
    let listed: Vec<String> = match (listed, access) {
        (Some(listed), _) => listed.iter().map(|tool| tool.trim().to_owned()).filter(|tool| !tool.is_empty()).collect(),
        (None, Access::Artifacts) => READING.iter().map(ToString::to_string).collect(),
        (None, Access::Write) => READING.iter().chain(&["Edit", "Write", "Bash"]).map(ToString::to_string).collect(),
    };
    let mut tools = Tools { known: Vec::new(), allowed: Vec::new() };
    let add = |list: &mut Vec<String>, text: &str| {
        if !list.iter().any(|known| known == text) {
            list.push(text.to_owned());
        }
    };
    let mut writes = false;
    for rule in &listed {
        let name = rule.split('(').next().unwrap_or_default().trim();
        // MCP servers are off, so their tools are not there.
        if name.starts_with("mcp__") {
            continue;
        }
        if WRITING.contains(&name) {
            writes |= access == Access::Write;
            continue;
        }
        add(&mut tools.known, name);
        // Reading stays inside the work tree, as far as the program's own tools go.
        add(&mut tools.allowed, if rule == "Read" { "Read(./**)" } else { rule });
    }
    for name in ["Write", "Edit"] {
        add(&mut tools.known, name);
    }
    add(&mut tools.allowed, &format!("Edit({OUT_DIR}/**)"));
    if writes {
        add(&mut tools.allowed, "Edit(./**)");
        if listed.iter().any(|rule| rule.starts_with("NotebookEdit")) {
            add(&mut tools.known, "NotebookEdit");
        }
    }
    tools
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(listed: Option<&[&str]>, access: Access) -> (String, String) {
        let listed: Option<Vec<String>> = listed.map(|listed| listed.iter().map(ToString::to_string).collect());
        let tools = tools(listed.as_deref(), access);
        (tools.known.join(" "), tools.allowed.join(" "))
    }

    #[test]
    fn who_makes_artifacts_writes_only_below_the_out_folder() {
        let (known, allowed) = of(None, Access::Artifacts);
        assert_eq!(known, "Read Grep Glob Write Edit");
        assert_eq!(allowed, "Read(./**) Grep Glob Edit(.agentops-out/**)");
        let (known, allowed) = of(Some(&["Read", "Edit", "Write", "NotebookEdit", "Bash(git log:*)"]), Access::Artifacts);
        assert_eq!(known, "Read Bash Write Edit");
        assert_eq!(allowed, "Read(./**) Bash(git log:*) Edit(.agentops-out/**)");
    }

    #[test]
    fn who_writes_stays_in_the_work_tree() {
        let (known, allowed) = of(None, Access::Write);
        assert_eq!(known, "Read Grep Glob Bash Write Edit");
        assert_eq!(allowed, "Read(./**) Grep Glob Bash Edit(.agentops-out/**) Edit(./**)");
    }

    #[test]
    fn a_list_without_writing_tools_cannot_change_the_work_tree() {
        let (_, allowed) = of(Some(&["Read", "mcp__server__tool"]), Access::Write);
        assert_eq!(allowed, "Read(./**) Edit(.agentops-out/**)");
    }
}
