//! The processes that work for one room, by what they do there.

use std::path::PathBuf;
use std::process::Child;

use agentops_agents::process::ProcessId;

use crate::room::{Room, pids};

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// The process that owns the room's runs.
    Supervisor,
    /// One that holds the tree of an agent or a gate.
    Keeper,
    /// A command that a gate runs.
    Gate,
    /// An agent program.
    Agent,
    /// A command of the user's that waits for the run.
    Client,
}

impl std::str::FromStr for Role {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "supervisor" => Ok(Self::Supervisor),
            "keeper" => Ok(Self::Keeper),
            "gate" => Ok(Self::Gate),
            "agent" => Ok(Self::Agent),
            "client" => Ok(Self::Client),
            _ => Err(format!("`{name}` is no role of a process")),
        }
    }
}

/// The supervisors of a room: one for each of its repositories.
pub fn supervisors(room: &Room) -> Vec<ProcessId> {
    let state = room.state();
    let state = state.to_str().unwrap();
    let ours = |pid: &i32| {
        let arguments = arguments(*pid);
        arguments.get(1).is_some_and(|argument| argument == "supervise")
            && arguments.iter().any(|argument| argument == state)
    };
    pids().filter(ours).filter_map(ProcessId::of).filter(|process| process.is_alive()).collect()
}

/// The supervisor of a room with one repository.
pub fn supervisor(room: &Room) -> Option<ProcessId> {
    supervisors(room).first().copied()
}

/// The processes of a room by role. The supervisor is remembered, since all processes must be read to find it.
pub struct Processes<'r> {
    room: &'r Room,
    supervisor: Option<ProcessId>,
}

impl<'r> Processes<'r> {
    pub fn of(room: &'r Room) -> Self {
        Self { room, supervisor: None }
    }

    /// One with this role; `client`: the user's command.
    pub fn find(&mut self, role: Role, client: &Child) -> Option<ProcessId> {
        if role == Role::Client {
            return ProcessId::of(i32::try_from(client.id()).ok()?);
        }
        let known = self.supervisor.filter(|process| process.is_alive());
        self.supervisor = known.or_else(|| supervisor(self.room));
        let supervisor = self.supervisor?;
        if role == Role::Supervisor {
            return Some(supervisor);
        }
        let is_keeper = |pid: &i32| arguments(*pid).get(1).is_some_and(|argument| argument == "keeper");
        let is_gate = |pid: &i32| arguments(*pid).iter().any(|argument| argument.ends_with("check.sh"));
        let mut keepers = children(supervisor.pid).into_iter().filter(is_keeper);
        let found = match role {
            Role::Gate => keepers.flat_map(children).find(is_gate),
            Role::Agent => keepers.flat_map(children).find(|pid| !is_gate(pid)),
            Role::Supervisor | Role::Client | Role::Keeper => keepers.next(),
        };
        ProcessId::of(found?)
    }
}

/// Every process that names the room in its arguments or works in it. One that only its keeper knows is found by its mark.
pub fn all(room: &Room) -> Vec<ProcessId> {
    let root = room.root().to_str().unwrap();
    let works_in = |pid: i32| std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd: PathBuf| cwd.starts_with(root));
    let ours = |pid: &i32| works_in(*pid) || arguments(*pid).iter().any(|argument| argument.contains(root));
    let own = i32::try_from(std::process::id()).unwrap();
    pids().filter(|pid| *pid != own).filter(ours).filter_map(ProcessId::of).filter(|process| process.is_alive()).collect()
}

fn arguments(pid: i32) -> Vec<String> {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.split(|byte| *byte == 0).map(|argument| String::from_utf8_lossy(argument).into_owned()).collect()
}

fn children(pid: i32) -> Vec<i32> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let listed = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    listed.flat_map(|line| line.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<i32>>()).collect()
}
