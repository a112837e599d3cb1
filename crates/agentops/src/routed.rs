//! The first step of a run: which workflow and which agent, before the supervisor is asked, because here is the terminal.

use agentops_engine::chosen::{By, Chosen, Wanted, roles};
use agentops_engine::files::config;
use agentops_engine::files::profile::{BUILT_IN, Places};
use agentops_engine::plan::{RunRequest, TASK_BYTES_MAX};
use agentops_engine::routing::Routing;

use crate::commands;
use crate::context::Context;
use crate::error::CommandError;
use crate::printer::Printer;
use crate::screen;

/// Of how many agents a person chooses.
const ASKED_MAX: usize = 3;

/// Routes a request and writes into it what needs no question. What is wrong with the task or with files is left for the plan
/// to say, which says it better.
pub fn route(context: &Context, request: &mut RunRequest, printer: &Printer) -> Result<(), CommandError> {
    if request.task.trim().is_empty() || request.task.len() > TASK_BYTES_MAX {
        return Ok(());
    }
    let root = context.repo.work_tree();
    let Ok(config) = config::read(root) else { return Ok(()) };
    let wanted =
        Wanted { workflow: request.workflow.as_deref(), usual: config.workflow.as_deref(), agent: request.agent.as_deref() };
    let places = Places::of(Some(root), &context.home);
    let routing = roles(&places).and_then(|roles| Routing::open(&places, &roles));
    let chosen = match routing.and_then(|routing| Chosen::of(&places, &routing, &request.task, wanted)) {
        Ok(chosen) => chosen,
        Err(e) => {
            printer.note(&format!("not routed: {e}"));
            return Ok(());
        }
    };
    settle(request, chosen);
    Ok(())
}

/// Writes a choice into a request.
fn settle(request: &mut RunRequest, chosen: Chosen) {
    request.workflow = Some(chosen.workflow.clone());
    request.agent.clone_from(&chosen.agent);
    request.routed = Some(Box::new(chosen));
}

/// Shows the best agents and asks, where one is worth a question. Nobody to ask: the workflow's own works.
pub fn ask(context: &Context, request: &mut RunRequest, printer: &Printer) -> Result<(), CommandError> {
    let Some(mut chosen) = request.routed.take().map(|chosen| *chosen) else { return Ok(()) };
    if chosen.suggested().is_some() {
        printer.note(&screen::question(&chosen, BUILT_IN, ASKED_MAX, printer).join("\n"));
        let offered: Vec<String> =
            chosen.routed.agent.ranked.iter().take(ASKED_MAX).map(|agent| agent.label.clone()).collect();
        let own = chosen.own.first().cloned().unwrap_or_default();
        let question = format!("Which agent? Enter takes 1; 1 to {}, or d for {own}:", offered.len());
        let picked = loop {
            let Some(answer) = commands::ask(&question)? else { break None };
            match pick(&answer, offered.len()) {
                Some(Pick::Offered(at)) => break offered.get(at).cloned(),
                Some(Pick::Own) => break Some(own),
                None => printer.note("a number, d, or Enter"),
            }
        };
        if let Some(label) = picked {
            chosen.take(&label, By::You);
            // A workflow that nobody named is no choice of theirs.
            let workflow = (chosen.workflow_by == By::Flag).then_some(chosen.workflow.as_str());
            self::chosen(context, &request.task, &label, workflow);
        }
    }
    settle(request, chosen);
    Ok(())
}

/// An answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pick {
    Offered(usize),
    Own,
}

/// What an answer means, of so many that are offered.
fn pick(answer: &str, offered: usize) -> Option<Pick> {
    match answer.trim() {
        "" => Some(Pick::Offered(0)),
        "d" | "D" => Some(Pick::Own),
        number => number.parse::<usize>().ok().filter(|at| (1..=offered).contains(at)).map(|at| Pick::Offered(at - 1)),
    }
}

/// A person's choice is feedback: the one place that says so. It does nothing yet, because nothing in the engine takes feedback;
/// what was chosen is in the run's ledger meanwhile.
fn chosen(_context: &Context, _task: &str, _label: &str, _workflow: Option<&str>) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_a_number_a_letter_or_enter() {
        assert_eq!(pick("", 3), Some(Pick::Offered(0)));
        assert_eq!(pick(" 2 ", 3), Some(Pick::Offered(1)));
        assert_eq!(pick("d", 3), Some(Pick::Own));
        for wrong in ["0", "4", "-1", "yes", "1 2", "99999999999999999999"] {
            assert_eq!(pick(wrong, 3), None, "{wrong}");
        }
    }
}
