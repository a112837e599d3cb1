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
            return vec![format!("environment and destination of calls: unknown ({})", inert_line(reason, LINE_CHARS))];
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
        lines.push("environment: the same as in this shell".to_owned());
    }
    for call in calls {
        let path = match &call.destination {
            CallDestination::Gateway { destination, origin } => format!("go to {origin} ({destination})"),
            CallDestination::PastGateway { reason } => format!("go past the gateway: {reason}"),
            CallDestination::NoModel => "go nowhere: it calls no model".to_owned(),
            CallDestination::Unusable => {
                "go nowhere: the destination or its key cannot be used in the run's environment".to_owned()
            }
        };
        lines.push(inert_line(&format!("calls of agent {} {path}", call.agent), LINE_CHARS));
    }
    lines
}
