//! The first step of a run: which workflow and which agent, before the supervisor is asked, because here is the terminal.

use agentops_engine::chosen::{By, Chosen, Wanted};
use agentops_engine::files::config;
use agentops_engine::files::profile::{BUILT_IN, Places};
use agentops_engine::perform::chain;
use agentops_engine::plan::{RunRequest, TASK_BYTES_MAX};
use agentops_engine::routing::Routing;
use agentops_route::feedback::{Line, Source};

use crate::commands;
use crate::context::{self, Context};
use crate::error::CommandError;
use crate::live;
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
    let chosen = match commands::route::learnt(context, &places)
        .and_then(|routing| Chosen::of(&places, &routing, &request.task, wanted))
    {
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
            self::chosen(context, &request.task, &label, workflow, printer);
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

/// Keeps a person's choice, for routing to learn from. What cannot be kept is said, and fails nothing.
fn chosen(context: &Context, task: &str, label: &str, workflow: Option<&str>, printer: &Printer) {
    let line = Line::new(live::now(), Source::Chosen, task, Some(label.to_owned()), workflow.map(str::to_owned));
    if let Err(e) = Routing::record(&context.repo, &context::redactor(), &line) {
        printer.note(&format!("note: routing does not learn from this choice: {}", chain(&e)));
    }
}

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
