//! What a session may use, from the tools that its agent file lists in Claude Code's names: for programs whose own tools
//! have other names, and for answering a program that asks.

use std::path::{Component, Path, PathBuf};

use crate::driver::{Access, OUT_DIR};

/// Commands that may be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Shell {
    /// None.
    None,
    /// These only.
    Only(Vec<Allowed>),
    /// Any.
    Any,
}

/// A command that may be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Allowed {
    /// This command, with these arguments: `Bash(cargo test)`.
    Exactly(String),
    /// This beginning, with any arguments: `Bash(git log:*)`.
    Beginning(String),
}

/// What would let one command start another: such a command is more than its beginning says.
const JOINS: &[char] = &[';', '&', '|', '<', '>', '$', '`', '(', ')', '{', '}', '\n', '\r', '\\'];

/// What a session may use. Writing below the out folder is always allowed, or it could neither give its result nor hand over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rights {
    pub(crate) read: bool,
    pub(crate) search: bool,
    /// May change files anywhere in the work tree.
    pub(crate) write: bool,
    pub(crate) shell: Shell,
    pub(crate) fetch: bool,
    pub(crate) web_search: bool,
    pub(crate) todo: bool,
    /// Names in the list that mean nothing here.
    pub(crate) unknown: Vec<String>,
}

impl Rights {
    /// `listed`: the agent file's tools; `None`: what `access` allows.
    pub(crate) fn of(listed: Option<&[String]>, access: Access) -> Self {
        let nothing = Self {
            read: false,
            search: false,
            write: false,
            shell: Shell::None,
            fetch: false,
            web_search: false,
            todo: false,
            unknown: Vec::new(),
        };
        let Some(listed) = listed else {
            let write = access == Access::Write;
            let shell = if write { Shell::Any } else { Shell::None };
            return Self { read: true, search: true, write, shell, ..nothing };
        };
        let mut rights = nothing;
        for rule in listed.iter().map(|rule| rule.trim()).filter(|rule| !rule.is_empty()) {
            rights.add(rule, access);
        }
        rights
    }

    fn add(&mut self, rule: &str, access: Access) {
        let (name, argument) = match rule.split_once('(') {
            Some((name, rest)) => (name.trim(), rest.strip_suffix(')').map(str::trim)),
            None => (rule, None),
        };
        match name {
            "Read" => self.read = true,
            "Grep" | "Glob" | "LS" => self.search = true,
            "Edit" | "Write" | "MultiEdit" | "NotebookEdit" => self.write |= access == Access::Write,
            "Bash" => self.add_command(argument),
            "WebFetch" => self.fetch = true,
            "WebSearch" => self.web_search = true,
            "TodoWrite" => self.todo = true,
            _ => self.unknown.push(rule.to_owned()),
        }
    }

    fn add_command(&mut self, argument: Option<&str>) {
        let Some(command) = argument.filter(|command| !["", "*", ":*"].contains(command)) else {
            self.shell = Shell::Any;
            return;
        };
        let allowed = match command.strip_suffix(":*").or_else(|| command.strip_suffix(" *")) {
            Some(beginning) => Allowed::Beginning(beginning.trim().to_owned()),
            None => Allowed::Exactly(command.to_owned()),
        };
        match &mut self.shell {
            Shell::Any => {}
            Shell::Only(list) => list.push(allowed),
            Shell::None => self.shell = Shell::Only(vec![allowed]),
        }
    }

    /// Whether this command line may be run.
    pub(crate) fn may_run(&self, command: &str) -> bool {
        let command = command.trim();
        let fits = |allowed: &Allowed| match allowed {
            Allowed::Exactly(whole) => command == whole,
            Allowed::Beginning(start) => {
                let rest = command.strip_prefix(start.as_str());
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(' ')) && !command.contains(JOINS)
            }
        };
        match &self.shell {
            Shell::None => false,
            Shell::Any => !command.is_empty(),
            Shell::Only(list) => list.iter().any(fits),
        }
    }
}

/// A lane's work tree, as it is named and as it really lies.
#[derive(Debug, Clone)]
pub(crate) struct Room {
    roots: Vec<PathBuf>,
}

impl Room {
    pub(crate) fn new(work_tree: &Path) -> Self {
        let real = work_tree.canonicalize().ok().filter(|real| real != work_tree);
        Self { roots: std::iter::once(work_tree.to_owned()).chain(real).collect() }
    }

    /// Whether a path, relative to the work tree or absolute, lies in it. Links are not followed: that is the program's.
    pub(crate) fn holds(&self, path: &str) -> bool {
        self.inside(path).is_some()
    }

    /// Whether it lies below the out folder.
    pub(crate) fn is_out(&self, path: &str) -> bool {
        self.inside(path).is_some_and(|inner| inner.starts_with(OUT_DIR) && inner != Path::new(OUT_DIR))
    }

    /// The path relative to the work tree, without `.` and `..`.
    fn inside(&self, path: &str) -> Option<PathBuf> {
        let root = self.roots.first().filter(|_| !path.is_empty())?;
        let mut plain = PathBuf::new();
        for part in root.join(path).components() {
            match part {
                Component::CurDir => {}
                Component::ParentDir => drop(plain.pop()),
                part => plain.push(part),
            }
        }
        self.roots.iter().find_map(|root| plain.strip_prefix(root).ok().map(Path::to_owned))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(listed: &[&str], access: Access) -> Rights {
        let listed: Vec<String> = listed.iter().map(ToString::to_string).collect();
        Rights::of(Some(&listed), access)
    }

    #[test]
    fn without_a_list_access_decides() {
        let researcher = Rights::of(None, Access::Artifacts);
        assert!(researcher.read && researcher.search && !researcher.write && researcher.shell == Shell::None);
        let writer = Rights::of(None, Access::Write);
        assert!(writer.write && writer.shell == Shell::Any && !writer.fetch);
    }

    #[test]
    fn a_list_cannot_give_more_than_access_does() {
        let rights = of(&["Read", "Edit", "Write", "Bash(git log:*)", "mcp__x__y"], Access::Artifacts);
        assert!(rights.read && !rights.write && !rights.search);
        assert_eq!(rights.unknown, ["mcp__x__y"]);
        assert!(of(&["Edit"], Access::Write).write);
    }

    #[test]
    fn a_command_is_no_more_than_its_rule() {
        let rights = of(&["Bash(git log:*)", "Bash(cargo test)"], Access::Write);
        for command in ["git log", "git log --oneline", " cargo test "] {
            assert!(rights.may_run(command), "{command}");
        }
        for command in
            ["git", "git logs", "git log; rm -r .", "git log $(id)", "git log | sh", "cargo test -p x", "", "git log\nid"]
        {
            assert!(!rights.may_run(command), "{command}");
        }
        assert!(of(&["Bash"], Access::Write).may_run("a | b"));
        assert!(!of(&["Read"], Access::Write).may_run("ls"));
    }

    #[test]
    fn paths_stay_in_the_room() {
        let room = Room::new(Path::new("/lane/tree"));
        for path in ["a.txt", "/lane/tree/a", "/lane/tree/b/../a", "./.agentops-out/x"] {
            assert!(room.holds(path), "{path}");
        }
        for path in ["../a", "/lane/tree/../a", "/lane/tree2/a", "/etc/passwd", "", ".agentops-out/../../x"] {
            assert!(!room.holds(path), "{path}");
        }
        assert!(room.is_out(".agentops-out/f.md") && room.is_out("/lane/tree/.agentops-out/d/f.md"));
        for path in [".agentops-out", ".agentops-out/../a", ".agentops-outer/a", "/lane/.agentops-out/f"] {
            assert!(!room.is_out(path), "{path}");
        }
    }
}
