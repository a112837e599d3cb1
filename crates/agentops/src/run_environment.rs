//! A run's environment as lines for people: which variables differ from this shell's, and where the run's calls go.

use agentops_engine::environment::{CallDestination, EnvironmentView};
use agentops_safe::inert_line;

/// More than an environment has, because every name is shown.
const LINE_CHARS: usize = 100_000;

/// Everything that is known, for `agentops show`.
pub fn lines(view: &EnvironmentView) -> Vec<String> {
    let (only_in_run, only_in_shell, different, calls) = match view {
        EnvironmentView::Known { only_in_run, only_in_shell, different, calls } => {
            (only_in_run, only_in_shell, different, calls)
        }
        EnvironmentView::Unknown { reason } => {
            let reason = inert_line(reason, LINE_CHARS);
            return vec![format!("the run's environment and the destination of its calls are unknown: {reason}")];
        }
    };
    let mut lines = Vec::new();
    let groups = [
        ("with another value in the run", different),
        ("only in the run", only_in_run),
        ("only in this shell", only_in_shell),
    ];
    for (heading, names) in groups.into_iter().filter(|(_, names)| !names.is_empty()) {
        lines.push(inert_line(&format!("variables {heading}: {}", names.join(", ")), LINE_CHARS));
    }
    if lines.is_empty() {
        lines.push("the run's environment is the same as this shell's".to_owned());
    }
    for call in calls {
        let agent = &call.agent;
        let text = match &call.destination {
            CallDestination::Gateway { destination, origin } => {
                format!("calls of agent {agent} go to {origin} ({destination})")
            }
            CallDestination::PastGateway { reason } => format!("calls of agent {agent} go past the gateway: {reason}"),
            CallDestination::NoModel => format!("agent {agent} calls no model"),
            CallDestination::Unusable => format!(
                "agent {agent} can make no calls: the destination or its key cannot be used in the run's environment"
            ),
        };
        lines.push(inert_line(&text, LINE_CHARS));
    }
    lines
}
