//! A run as lines for people: one a phase, short, plain words, the next command last.

use agentops_core::budget::{Amount, Usd};
use agentops_core::ceiling::Enforcement;
use agentops_core::id::Name;
use agentops_core::run::{Approve, DecisionKind, SessionEnd, Status, Verdict, Waiting};
use agentops_engine::chosen::{By, Chosen};
use agentops_engine::routing::RankedAgent;
use agentops_engine::view::spending::SpentView;
use agentops_engine::view::{GateView, LaneView, PhaseStateView, PhaseView, RunView, SessionView};
use agentops_route::router::Decision;

use crate::labels;
use crate::printer::Printer;
use crate::repository_changes;

/// The whole run.
pub fn run(view: &RunView, printer: &Printer, now_ms: u64) -> Vec<String> {
    let mut lines = vec![line(printer, "1", view.run.as_str(), &view.title)];
    match &view.routed {
        Some(chosen) => lines.extend(routed(chosen, view.profile.as_str(), view.approve, printer)),
        None => {
            let others = view.alternatives.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let also = if others.is_empty() { String::new() } else { format!("      also: {others}") };
            lines.push(line(printer, "", "workflow", &format!("{} / {}{also}", view.profile, view.workflow)));
        }
    }
    for (index, phase) in view.phases.iter().enumerate() {
        // What the laws cost is shown, not guessed.
        let share = if index + 1 == view.phases.len() { share_of_tokens(view, phase) } else { None };
        let share = share.map(|share| format!("  {share} of the tokens")).unwrap_or_default();
        lines.push(line(printer, phase_colour(phase), phase.name.as_str(), &format!("{}{share}", self::phase(phase))));
    }
    lines.extend(omitted(view, printer));
    lines.extend(repository_changes::short(view).into_iter().map(|words| line(printer, "33", "repository", &words)));
    lines.extend(ending(view, printer, now_ms));
    lines
}

/// Lines that name what a lane's newest checkpoint does not hold.
const OMITTED_LINES_MAX: usize = 10;

fn omitted(view: &RunView, printer: &Printer) -> Vec<String> {
    let mut lines = Vec::new();
    for (phase, lane) in view.phases.iter().flat_map(|phase| phase.lanes.iter().map(move |lane| (phase, lane))) {
        if lane.stays {
            let words = "is not removed: it holds work that no checkpoint holds, and `agentops show` says where it is";
            lines.push(line(printer, "33", "lane stays", &format!("{}/{} {words}", phase.name, lane.name)));
        }
        let Some(session) = lane.sessions.last() else { continue };
        let mut texts: Vec<String> =
            session.omitted.iter().take(OMITTED_LINES_MAX).map(|item| format!("{}: {}", item.path, item.reason)).collect();
        if session.omitted.len() > OMITTED_LINES_MAX {
            let more = session.omitted.len() - OMITTED_LINES_MAX;
            texts.push(format!("{more} more paths, which `agentops show --json` lists"));
        }
        let place = format!("not in the checkpoint of {}/{}: ", phase.name, lane.name);
        let titles = [("omitted", place.as_str())].into_iter().chain(std::iter::repeat(("", "")));
        for ((title, place), text) in titles.zip(&texts) {
            lines.push(line(printer, "33", title, &format!("{place}{}", agentops_safe::inert_line(text, 300))));
        }
    }
    lines
}

/// How many alternatives a line names.
const ALSO_MAX: usize = 3;

/// From which likelihood on a second alternative is named: the first always is.
const WORTH_NAMING: f64 = 0.05;

/// Where a task went, why, and what else could do it: a line about the workflow, one about the agent if there was a choice.
pub fn routed(chosen: &Chosen, profile: &str, approve: Approve, printer: &Printer) -> Vec<String> {
    let how = match chosen.workflow_by {
        By::Auto => chosen.likely().map_or_else(String::new, likely),
        by => self::by(by).to_owned(),
    };
    let because = if chosen.because.is_empty() { String::new() } else { format!("because: {}", chosen.because.join(", ")) };
    let chances = chosen.routed.workflow.chances.iter().filter(|chance| chance.name != chosen.workflow);
    let also = also(chances.map(|chance| (chance.name.as_str(), chance.likely)));
    let name = format!("{profile} / {}", agentops_safe::inert_line(&chosen.workflow, 60));
    let mut lines = vec![line(printer, "36", "routed", &spaced(&[&name, &how, &because, &also]))];
    lines.extend(risks(chosen, approve).map(|words| line(printer, "33", "risky", &words)));
    lines.extend(routed_agent(chosen).map(|words| line(printer, "", "agent", &words)));
    lines
}

fn routed_agent(chosen: &Chosen) -> Option<String> {
    let agents = &chosen.routed.agent;
    let own = chosen.own.join(", ");
    let taken = chosen.agent.as_deref().unwrap_or(&own);
    if chosen.agent.is_none() && !chosen.has_others() || taken.is_empty() {
        return None;
    }
    let works = |label: &String| match &chosen.agent {
        Some(agent) => agent == label,
        None => chosen.own.contains(label),
    };
    let others = || agents.ranked.iter().filter(|agent| !works(&agent.label));
    let also = || also(others().map(|agent| (agent.label.as_str(), f64::from(agent.likely))));
    let of = |label: &str| agents.ranked.iter().find(|agent| agent.label == label);
    let labels = || agents.ranked.iter().map(|agent| agent.label.as_str());
    let name = labels::among(taken, labels(), 60);
    let first = agents.ranked.first();
    Some(match (chosen.agent_by, first) {
        (By::Auto, _) => {
            let how = of(taken).map(|agent| likely(f64::from(agent.likely))).unwrap_or_default();
            spaced(&[&name, &how, &of(taken).map(because).unwrap_or_default(), &also()])
        }
        (By::Default, Some(first)) if chosen.suggested().is_some() => {
            let label = labels::among(&first.label, labels(), 80);
            let more = format!("likelier: {label} {}", likely(f64::from(first.likely)));
            spaced(&[&name, &more, &because(first)])
        }
        // Without a word in common with any, none is nearest.
        (By::Default, Some(_)) if agents.in_scope < 0.01 => spaced(&[&name, "no other fits"]),
        (By::Default, Some(_)) if matches!(agents.decision, Decision::Ask | Decision::Abstain) => {
            let nearest = others().next().map(|agent| {
                let label = labels::among(&agent.label, labels(), 60);
                format!("nothing fits well; nearest: {label} {}", likely(f64::from(agent.likely)))
            });
            spaced(&[&name, &nearest.unwrap_or_default()])
        }
        (By::Default, _) => spaced(&[&name, &also()]),
        (by, _) => spaced(&[&name, self::by(by), &also()]),
    })
}

/// What to type for the agent that was not taken because nobody could be asked.
pub fn untaken(chosen: &Chosen, printer: &Printer) -> Option<String> {
    let label = chosen.suggested()?;
    Some(line(printer, "", "", &format!("take it with: --agent {}", labels::whole(&agentops_git::shell_word(label)))))
}

/// What is risky about a task, where something is, and what became of the approvals.
fn risks(chosen: &Chosen, approve: Approve) -> Option<String> {
    let risks: Vec<String> =
        chosen.risks.iter().take(BECAUSE_MAX).map(|risk| agentops_safe::inert_line(risk, 120)).collect();
    let beforehand = if approve == Approve::None { "" } else { "; you approved beforehand" };
    (!risks.is_empty()).then(|| format!("{}{beforehand}", risks.join(", ")))
}

/// The agents that a person may choose from, with what speaks for each.
pub fn question(chosen: &Chosen, profile: &str, most: usize, printer: &Printer) -> Vec<String> {
    let mut lines: Vec<String> = routed(chosen, profile, Approve::None, printer).into_iter().take(1).collect();
    let agents: Vec<_> = chosen.routed.agent.ranked.iter().take(most).collect();
    let all = || chosen.routed.agent.ranked.iter().map(|agent| agent.label.as_str());
    let label = |agent: &RankedAgent| labels::among(&agent.label, all(), 60);
    let width = agents.iter().map(|agent| label(agent).chars().count()).max().unwrap_or(0);
    for (at, agent) in agents.into_iter().enumerate() {
        let name = format!("{:<width$}", label(agent));
        let head = format!("{}  {name}   {}", at + 1, likely(f64::from(agent.likely)));
        let head = if at == 0 { printer.paint("1", &head) } else { head };
        lines.push(format!("  {}", spaced(&[&head, &because(agent)])));
        if !agent.description.is_empty() {
            lines.push(format!("     {}", agentops_safe::inert_line(&agent.description, 72)));
        }
    }
    lines
}

/// Everything that counted when a task was routed, for somebody who asks why.
pub fn reasons(chosen: &Chosen) -> Vec<String> {
    let mut lines = vec!["\nrouted:".to_owned()];
    lines
        .extend(chosen.routed.workflow.reasons.iter().map(|reason| format!("  {}", agentops_safe::inert_line(reason, 160))));
    for agent in chosen.routed.agent.ranked.iter().filter(|_| chosen.has_others()) {
        let like: Vec<String> =
            agent.like.iter().map(|task| format!("\"{}\"", agentops_safe::inert_line(task, 60))).collect();
        let like = if like.is_empty() { String::new() } else { format!("like: {}", like.join(", ")) };
        let label = labels::whole(&agent.label);
        let words = because(&RankedAgent { like: Vec::new(), ..agent.clone() });
        lines.push(format!("  {}", spaced(&["agent", &label, &likely(f64::from(agent.likely)), &words, &like])));
    }
    if lines.len() > 1 { lines } else { Vec::new() }
}

/// How many reasons a line names.
const BECAUSE_MAX: usize = 3;

/// Words and earlier tasks that speak for an agent.
fn because(agent: &RankedAgent) -> String {
    let mut reasons: Vec<String> =
        agent.words.iter().take(BECAUSE_MAX).map(|word| format!("\"{}\"", agentops_safe::inert_line(word, 30))).collect();
    match agent.like.len() {
        0 => {}
        1 => reasons.push("1 similar task".into()),
        many => reasons.push(format!("{many} similar tasks")),
    }
    if reasons.is_empty() { String::new() } else { format!("because: {}", reasons.join(", ")) }
}

/// `also: quick 0.04, mine 0.02`
fn also<'a>(others: impl Iterator<Item = (&'a str, f64)>) -> String {
    let others: Vec<(&str, f64)> = others.collect();
    let names: Vec<&str> = others.iter().map(|(name, _)| *name).collect();
    let named: Vec<String> = others
        .into_iter()
        .take(ALSO_MAX)
        .enumerate()
        .filter(|(at, (_, chance))| *at == 0 || *chance >= WORTH_NAMING)
        .map(|(_, other)| other)
        .map(|(name, chance)| format!("{} {}", labels::among(name, names.iter().copied(), 60), likely(chance)))
        .collect();
    if named.is_empty() { String::new() } else { format!("   also: {}", named.join(", ")) }
}

/// Who decided, where it was not routing.
fn by(by: By) -> &'static str {
    match by {
        By::Auto => "by routing",
        By::You => "by you",
        By::Flag => "by flag",
        By::Settings => "by the settings",
        By::Default => "by default",
    }
}

/// A likelihood in two places; below a hundredth it is not shown as none, and below one not as sure.
pub fn likely(chance: f64) -> String {
    if chance > 0.0 && chance < 0.01 {
        "<0.01".into()
    } else {
        format!("{:.2}", if chance < 1.0 { chance.min(0.99) } else { 1.0 })
    }
}

/// Parts of a line with room between them; empty ones are left out.
fn spaced(parts: &[&str]) -> String {
    parts.iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join("   ")
}

/// The share that a phase's sessions had in the run's tokens.
fn share_of_tokens(view: &RunView, phase: &PhaseView) -> Option<String> {
    let tokens = phase.lanes.iter().flat_map(|lane| &lane.sessions).map(|session| session.tokens.context());
    let own = tokens.fold(0, u64::saturating_add);
    let all = agentops_core::ceiling::Window::new(view.tokens.context())?;
    (own > 0).then(|| percent(all.permille(own)))
}

fn line(printer: &Printer, colour: &str, head: &str, rest: &str) -> String {
    let padded = format!("{head:<11}");
    let head = if colour.is_empty() { padded } else { printer.paint(colour, &padded) };
    format!("{head} {rest}").trim_end().to_owned()
}

fn phase_colour(phase: &PhaseView) -> &'static str {
    match phase.state {
        PhaseStateView::Pending => "2",
        PhaseStateView::Running => "36",
        PhaseStateView::Done => "32",
    }
}

/// One phase: its lanes with their shares, its gates, what it hands on.
pub fn phase(phase: &PhaseView) -> String {
    if phase.state == PhaseStateView::Pending {
        return String::new();
    }
    let work: Vec<String> = phase.lanes.iter().filter(|lane| !lane.review).map(self::lane).collect();
    let mut parts = vec![format!("{:<44}", work.join(" · "))];
    parts.extend(phase.gates.iter().map(|gate| self::gate(gate, &phase.lanes)));
    if let Some(bundle) = phase.bundle.as_ref().filter(|bundle| bundle.tokens_after > 0) {
        parts.push(format!("bundle {}", self::bundle(bundle.tokens_before, bundle.tokens_after, bundle.kept_permille)));
    }
    if let Some(cost) = phase.budget.spent.micro_usd.filter(|cost| *cost > 0) {
        parts.push(money(Some(cost)));
    }
    if let Some(took) = phase.took_ms {
        parts.push(duration(took));
    }
    parts.join("  ").trim_end().to_owned()
}

fn lane(lane: &LaneView) -> String {
    let sessions: Vec<String> = lane.sessions.iter().map(session).collect();
    format!("{} {}", lane.name, if sessions.is_empty() { "…".into() } else { sessions.join(" ") }).trim_end().to_owned()
}

fn session(session: &SessionView) -> String {
    if session.waits_for_slot {
        return "waits for a slot".into();
    }
    let share = match (session.largest_permille, session.enforcement) {
        (Some(permille), _) => percent(permille),
        (None, Some(agentops_core::ceiling::Enforcement::NoModel)) => "no model".into(),
        _ => "? %".into(),
    };
    let end = match session.end {
        None if session.exited.is_some() => " … its work is being kept",
        None if session.handing_over => " ⇢",
        None => " …",
        Some(SessionEnd::Completed) => "",
        Some(SessionEnd::HandedOver) => " ⇢ handed over ⇢",
        Some(SessionEnd::Ceiling) => " ⇥ stopped at the ceiling ⇢",
        Some(SessionEnd::HandOverTimeout) => " ⇥ no hand-over in time ⇢",
        Some(SessionEnd::ContextLost) => " ⇥ context lost ⇢",
        Some(SessionEnd::Interrupted) => " ⇥ interrupted ⇢",
        Some(SessionEnd::Hung) => " ✗ hung",
        Some(SessionEnd::TimeLimit) => " ✗ time limit",
        Some(SessionEnd::NotLoggedIn) => " ✗ not logged in",
        Some(SessionEnd::Provider) => " ✗ provider failed ⇢",
        Some(SessionEnd::UsageUnknown) => " ✗ usage unknown",
        Some(SessionEnd::Refused) => " ✗ refused",
        Some(SessionEnd::Failed) => " ✗ failed",
        Some(SessionEnd::Cancelled) => " ✗ cancelled",
        Some(SessionEnd::Filtered) => " ✗ filtered files",
        Some(SessionEnd::Budget) => " ⇥ budget spent",
        Some(SessionEnd::NotStarted) => " ✗ not started",
        Some(SessionEnd::LaneLost) => " ✗ lane lost",
        Some(SessionEnd::DiskFull) => " ✗ disk full",
    };
    format!("{share}{end}")
}

fn gate(gate: &GateView, lanes: &[LaneView]) -> String {
    let mark = match gate.verdict {
        Some(Verdict::Passed) => "✓",
        Some(Verdict::Refused) => "✗",
        Some(Verdict::Broke) => "broke",
        None => "…",
    };
    let before = "✗ → ".repeat(gate.refusals.saturating_sub(u32::from(gate.verdict == Some(Verdict::Refused))) as usize);
    let by = lanes.iter().rfind(|lane| lane.review && lane.name.as_str().starts_with(&format!("{}-", gate.name)));
    let share = by
        .and_then(|lane| lane.sessions.iter().filter_map(|s| s.largest_permille).max())
        .map(|p| format!(" ({})", percent(p)));
    format!("{} {before}{mark}{}", gate.name, share.unwrap_or_default())
}

fn ending(view: &RunView, printer: &Printer, now_ms: u64) -> Vec<String> {
    let took = duration(view.ended_at_ms.unwrap_or(now_ms).saturating_sub(view.started_at_ms));
    let tokens = view.tokens.context();
    let cached =
        view.tokens.cache_read.saturating_mul(100).checked_div(view.tokens.context() - view.tokens.output.min(tokens));
    let tokens = match (tokens, cached) {
        (0, _) => "tokens unknown".to_owned(),
        (all, Some(cached)) => format!("{} tokens, {cached} % cached", thousands(all)),
        (all, None) => format!("{} tokens", thousands(all)),
    };
    let tokens = match view.budget.spent.micro_usd {
        _ if view.budget.spent.is_zero() => tokens,
        Some(money) => format!("{tokens}, {} (list price of {})", self::money(Some(money)), view.prices_of),
        None => format!("{tokens}, {}", self::money(None)),
    };
    let changed: u32 = view.phases.iter().filter_map(|phase| phase.changed).sum();
    let files = if changed == 1 { "1 file".to_owned() } else { format!("{changed} files") };
    let share = view.largest_permille.map_or("unknown".into(), percent);
    let mut lines = match &view.status {
        Status::Done => {
            let kept = view.laws.iter().filter(|law| law.held).count();
            vec![
                line(
                    printer,
                    "32;1",
                    "done",
                    &format!("branch {}   {files}   {took}   {tokens}", view.branch.as_deref().unwrap_or("?")),
                ),
                line(
                    printer,
                    "",
                    "",
                    &format!("largest share of a window {share} (ceiling 40 %{})   {kept} of 5 laws held", enforced(view)),
                ),
            ]
        }
        Status::Running => vec![line(printer, "36", "running", &format!("{took}   {tokens}"))],
        Status::Waiting { waiting: Waiting::Approval { phase, .. } } => {
            vec![line(printer, "33;1", "waiting", &format!("for you to approve the result of {phase}"))]
        }
        Status::Waiting { waiting: Waiting::Provider { until_ms } } => {
            let wait = duration(until_ms.saturating_sub(now_ms));
            vec![line(printer, "33", "waiting", &format!("for the model provider; next try in {wait}"))]
        }
        Status::Waiting { waiting: Waiting::Slot { since_ms } } => {
            let waited = duration(now_ms.saturating_sub(*since_ms));
            vec![line(printer, "33", "waiting", &format!("for a slot, {waited} so far; it goes on by itself"))]
        }
        Status::Waiting { waiting: Waiting::Supervisor } => {
            let hindrance = view.hindrance.as_deref().map(|words| agentops_safe::inert_line(words, 400));
            let words = hindrance
                .as_deref()
                .unwrap_or("for you to type `agentops resume`: no supervisor has this run's environment");
            vec![line(printer, "33", "waiting", words)]
        }
        // Every question has lines of its own below.
        Status::NeedsDecision { .. } => Vec::new(),
        Status::Failed { failure } => {
            vec![line(printer, "31;1", "failed", &format!("session {}: {}", failure.session, failure_words(failure)))]
        }
        Status::Cancelled => vec![line(printer, "31", "cancelled", &format!("{took}   {tokens}"))],
    };
    for waiting in &view.waiting_for_lock {
        let words = format!("{} {}", waiting.step, waiting.words());
        lines.push(line(printer, "33", "lock", &agentops_safe::inert_line(&words, 600)));
    }
    if view.decisions.is_empty() {
        lines.extend(view.detail.as_deref().into_iter().flat_map(detail));
    }
    for decision in &view.decisions {
        let words =
            format!("decision: {} in {}", decision_words(decision.kind), location(&decision.phase, decision.place.as_ref()));
        lines.push(line(printer, "33;1", "needs you", &words));
        lines.extend(decision.detail.as_deref().into_iter().flat_map(detail));
    }
    lines.extend(budgets(view, printer));
    if let Some(closing) = &view.closing {
        let word = match closing {
            agentops_core::run::Closing::Merged { commit } => format!("merged as {}", &commit.as_str()[..10]),
            agentops_core::run::Closing::Discarded { commit } => {
                format!("discarded; `git branch NAME {}` brings it back", &commit.as_str()[..10])
            }
        };
        lines.push(line(printer, "", "", &word));
    }
    lines.push(line(printer, "1", "next", &view.next.join("  ·  ")));
    lines
}

/// The first lines of what a person should know, indented.
fn detail(text: &str) -> impl Iterator<Item = String> {
    text.lines().take(12).map(|line| format!("            {line}"))
}

/// `implement/two`
pub fn location(phase: &Name, place: Option<&Name>) -> String {
    let place = place.map(|place| format!("/{place}")).unwrap_or_default();
    format!("{phase}{place}")
}

fn sessions(view: &RunView) -> impl Iterator<Item = (&PhaseView, &LaneView, &SessionView)> {
    let lanes = view.phases.iter().flat_map(|phase| phase.lanes.iter().map(move |lane| (phase, lane)));
    lanes.flat_map(|(phase, lane)| lane.sessions.iter().map(move |session| (phase, lane, session)))
}

/// How the ceiling was held, in the words of the documents.
fn enforced(view: &RunView) -> String {
    let of = |wanted| sessions(view).filter(|(.., session)| session.enforcement == Some(wanted)).count();
    match (of(Enforcement::Prevented), of(Enforcement::Stopped)) {
        (0, 0) => String::new(),
        (_, 0) => ", prevented".into(),
        (0, _) => ", stopped".into(),
        (prevented, stopped) => format!(", prevented in {prevented} sessions, stopped in {stopped}"),
    }
}

/// Budgets that have a limit, what a crash left unaccounted, and where program and gateway do not agree.
fn budgets(view: &RunView, printer: &Printer) -> Vec<String> {
    let run = [("run".to_owned(), &view.budget)].into_iter();
    let phases = view.phases.iter().map(|phase| (phase.name.to_string(), &phase.budget));
    let lanes = view.phases.iter().flat_map(|phase| phase.lanes.iter().map(move |lane| (&phase.name, lane)));
    let lanes = lanes.map(|(phase, lane)| (format!("{phase}/{}", lane.name), &lane.budget));
    let limited: Vec<String> =
        run.chain(phases).chain(lanes).filter_map(|(name, budget)| Some(format!("{name} {}", limit(budget)?))).collect();
    let mut lines = Vec::new();
    if !limited.is_empty() {
        lines.push(line(printer, "", "budget", &limited.join("   ")));
    }
    let (open, lost) = (view.budget.open, view.budget.unreconciled);
    if !lost.is_zero() {
        let words = format!("{} went with a supervisor unaccounted for, and count as spent", amount(lost));
        lines.push(line(printer, "33", "", &words));
    }
    if !open.is_zero() {
        lines.push(line(printer, "", "", &format!("live sessions may spend {} more without asking", amount(open))));
    }
    for (phase, lane, session) in sessions(view) {
        if let Some(said) = session.said {
            let (said, seen) = (thousands(said.context()), thousands(session.tokens.context()));
            let place = format!("{}/{} {}", phase.name, lane.name, session.ordinal);
            lines.push(line(printer, "33", "", &format!("{place}: its program says {said} tokens, the gateway saw {seen}")));
        }
        if session.other_model_calls > 0 {
            let place = format!("{}/{} {}", phase.name, lane.name, session.ordinal);
            let words =
                format!("{place}: another model than was asked for answered {} of its calls", session.other_model_calls);
            lines.push(line(printer, "33", "", &words));
        }
    }
    lines
}

/// `412k of 1.0M tokens, $1.20 of $5.00`; `None`: nothing is limited.
fn limit(budget: &SpentView) -> Option<String> {
    let tokens =
        budget.limits.tokens.map(|limit| format!("{} of {} tokens", thousands(budget.spent.tokens), thousands(limit)));
    let usd = budget.limits.micro_usd.map(|limit| format!("{} of {}", money(budget.spent.micro_usd), money(Some(limit))));
    let parts: Vec<String> = tokens.into_iter().chain(usd).collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// `20.0k tokens, $0.31`
fn amount(amount: Amount) -> String {
    format!("{} tokens, {}", thousands(amount.tokens), money(amount.micro_usd))
}

/// A question in words.
pub fn decision_words(kind: DecisionKind) -> &'static str {
    use DecisionKind as Kind;
    match kind {
        Kind::NoProgress => "two hand-overs in a row changed and found nothing",
        Kind::TooManySessions => "the lane has used up its sessions",
        Kind::GateRefused => "the gate refused more often than the workflow allows",
        Kind::GateBroke => "the gate could not be checked",
        Kind::Conflict => "the lane does not merge with the others",
        Kind::FilteredFiles => "files with a content filter were changed",
        Kind::WorkOmitted => "the lane holds work that is in no checkpoint (`agentops resume` goes on without it)",
        Kind::NotLoggedIn => "the agent program is not logged in",
        Kind::Provider => "the model provider fails again and again",
        Kind::AgentFailed => "the agent program fails again and again",
        Kind::Budget => "a budget does not allow the next call",
        Kind::LaneFailed => "the lane could not be set up",
        Kind::ActionFailed => "git or the disk refused something",
        Kind::CheckpointFailed => "the agent has exited and its work could not be kept",
        Kind::NotStarted => "this machine could not start the agent",
        Kind::Interrupted => "sessions were interrupted again and again",
        Kind::CheckpointLost => "a checkpoint is gone",
        Kind::DiskFull => "the agent program failed while a disk was full (free some space, then `agentops resume`)",
        Kind::LaneLost => "the lane was gone before its work was kept",
    }
}

fn failure_words(failure: &agentops_core::run::Failure) -> &'static str {
    match failure.kind {
        agentops_core::run::FailureKind::UsageUnknown => {
            "the agent did not say what its calls use, so the ceiling could not be held"
        }
        agentops_core::run::FailureKind::Refused => "the session was refused before it started",
    }
}

/// Thousandths as per cent.
pub fn percent(permille: u64) -> String {
    format!("{} %", permille.div_ceil(10))
}

/// `48.2k → 6.1k, kept 97 %`: what the contexts held, what is handed on, and how much of the facts in the documents survived.
pub fn bundle(before: u64, after: u64, kept_permille: Option<u64>) -> String {
    let kept = kept_permille.map(|kept| format!(", kept {} %", kept / 10)).unwrap_or_default();
    format!("{} → {}{kept}", thousands(before), thousands(after))
}

/// A number of tokens in a few characters.
pub fn thousands(number: u64) -> String {
    match number {
        0..1_000 => number.to_string(),
        1_000..100_000 => format!("{:.1}k", number as f64 / 1_000.0),
        100_000..1_000_000 => format!("{}k", number / 1_000),
        _ => format!("{:.1}M", number as f64 / 1_000_000.0),
    }
}

/// Money in millionths of a US dollar, rounded up to a cent so that nothing looks free.
pub fn money(micro_usd: Option<u64>) -> String {
    micro_usd.map_or_else(|| "price unknown".into(), |money| Usd(money.div_ceil(10_000).saturating_mul(10_000)).to_string())
}

/// A time span in a few characters.
pub fn duration(ms: u64) -> String {
    let seconds = ms / 1_000;
    match seconds {
        0..10 => format!("{:.1} s", ms as f64 / 1_000.0),
        10..60 => format!("{seconds} s"),
        60..3_600 => format!("{} m {} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {} m", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        assert_eq!(
            [thousands(999), thousands(48_200), thousands(412_000), thousands(2_500_000)],
            ["999", "48.2k", "412k", "2.5M"]
        );
        assert_eq!(
            [duration(900), duration(41_000), duration(372_000), duration(90_000_000)],
            ["0.9 s", "41 s", "6 m 12 s", "1 d 1 h"]
        );
        assert_eq!(percent(281), "29 %", "a share is never shown smaller than it is");
    }
}
