//! What was spent of which budget, and how a person lets more be spent.

use agentops_core::budget::{Amount, Limits, Scope, Usd};
use agentops_core::id::{LaneId, Name};
use agentops_core::run::{Decision, DecisionKind, LaneState, PhaseState, SessionState, State};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What was spent. Money is in millionths of a US dollar at the list prices of the table's date; `null`: a price is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SpentView {
    /// All of it, what is unreconciled included.
    pub spent: Amount,
    /// What live sessions may spend besides without asking again.
    pub open: Amount,
    /// The part of `spent` that no call accounts for: a supervisor died with it.
    pub unreconciled: Amount,
    /// What may be spent; `null`: no limit.
    pub limits: Limits,
}

impl SpentView {
    fn of<'a>(sessions: impl Iterator<Item = &'a SessionState>, limits: Limits) -> Self {
        let none = Self { spent: Amount::ZERO, open: Amount::ZERO, unreconciled: Amount::ZERO, limits };
        sessions.fold(none, |sum, session| {
            let lost = session.unreconciled();
            let open = if lost.is_zero() { session.granted } else { Amount::ZERO };
            Self {
                spent: sum.spent.plus(session.spent).plus(lost),
                open: sum.open.plus(open),
                unreconciled: sum.unreconciled.plus(lost),
                limits,
            }
        })
    }

    /// Of a run.
    #[must_use]
    pub fn run(state: &State) -> Self {
        Self::of(state.sessions().map(|(_, session)| session), limits(state, &Scope::Run(state.created.run.clone())))
    }

    /// Of a phase.
    #[must_use]
    pub fn phase(state: &State, phase: &PhaseState, name: &Name) -> Self {
        let sessions = phase.all_lanes().flat_map(|lane| &lane.sessions);
        Self::of(sessions, limits(state, &Scope::Phase(state.created.run.clone(), name.clone())))
    }

    /// Of a lane.
    #[must_use]
    pub fn lane(state: &State, lane: &LaneState) -> Self {
        Self::of(lane.sessions.iter(), limits(state, &Scope::Lane(state.created.run.clone(), lane.id.clone())))
    }

    /// Of a session.
    #[must_use]
    pub fn session(session: &SessionState) -> Self {
        Self::of([session].into_iter(), Limits::default())
    }
}

fn limits(state: &State, scope: &Scope) -> Limits {
    state.limits(scope).unwrap_or_default()
}

/// A budget of a run, as a person types it: `run`, `phase:NAME` or `lane:PHASE/LANE`.
#[must_use]
pub fn typed(scope: &Scope) -> String {
    match scope {
        Scope::Day(date) => date.clone(),
        Scope::Run(_) => "run".into(),
        Scope::Phase(_, phase) => format!("phase:{phase}"),
        Scope::Lane(_, lane) => format!("lane:{}/{}", lane.phase, lane.lane),
    }
}

/// The budget that a person means. Without words: the one that a decision is about, else the run's.
///
/// # Errors
/// Words for a person.
pub fn scope(state: &State, words: Option<&str>) -> Result<Scope, String> {
    let run = state.created.run.clone();
    let Some(words) = words else { return Ok(tightest(state).map_or(Scope::Run(run), |(scope, _)| scope)) };
    let scope = match words.split_once(':') {
        None if words == "run" => Some(Scope::Run(run)),
        Some(("phase", phase)) => phase.parse().ok().map(|phase| Scope::Phase(run, phase)),
        Some(("lane", place)) => LaneId::try_from(place.to_owned()).ok().map(|lane| Scope::Lane(run, lane)),
        _ => None,
    };
    let scope = scope.ok_or_else(|| format!("`{words}` is no budget; there are run, phase:NAME and lane:PHASE/LANE"))?;
    match state.limits(&scope) {
        Some(limits) if !limits.is_none() => Ok(scope),
        _ => Err(format!("{scope} has no limit that could be raised")),
    }
}

/// Of the budgets that hold where the run waits, the one that is used up the most.
fn tightest(state: &State) -> Option<(Scope, Limits)> {
    let decision = state.decisions.iter().find(|decision| decision.kind == DecisionKind::Budget)?;
    let (run, phase) = (&state.created.run, &decision.phase);
    let lane = lane_of(decision);
    let index = state.created.workflow.phases.iter().position(|known| known.name == *phase);
    let phases = index.map(|index| &state.phases[index]);
    let of_lane = phases.zip(lane).and_then(|(phase, id)| phase.all_lanes().find(|known| known.id == id));
    let spent = [
        Some((Scope::Run(run.clone()), state.spent())),
        phases.map(|known| (Scope::Phase(run.clone(), phase.clone()), known.spent())),
        of_lane.map(|known| (Scope::Lane(run.clone(), known.id.clone()), known.spent())),
    ];
    let used = |limit: Option<u64>, spent: u64| limit.map_or(0, |limit| spent.saturating_mul(1_000) / limit.max(1));
    let limited = spent.into_iter().flatten().filter_map(|(scope, spent)| {
        let limits = state.limits(&scope).filter(|limits| !limits.is_none())?;
        let share = used(limits.tokens, spent.tokens).max(used(limits.micro_usd, spent.micro_usd.unwrap_or(u64::MAX)));
        Some((share, scope, limits))
    });
    limited.max_by_key(|(share, ..)| *share).map(|(_, scope, limits)| (scope, limits))
}

fn lane_of(decision: &Decision) -> Option<LaneId> {
    decision.place.as_ref().map(|lane| LaneId { phase: decision.phase.clone(), lane: lane.clone() })
}

/// What to type where a budget is used up: twice what it was. `None`: the day's budget is used up, which stands in the
/// user's settings.
#[must_use]
pub fn raise(state: &State) -> Option<String> {
    let (scope, limits) = tightest(state)?;
    let tokens = limits.tokens.map(|tokens| format!(" --raise tokens={}", tokens.saturating_mul(2)));
    let usd = limits.micro_usd.map(|money| format!(" --raise usd={}", &Usd(money.saturating_mul(2)).to_string()[1..]));
    let budget = match scope {
        Scope::Run(_) => String::new(),
        other => format!(" --budget {}", typed(&other)),
    };
    let run = &state.created.run;
    Some(format!("agentops resume {run}{}{}{budget}", tokens.unwrap_or_default(), usd.unwrap_or_default()))
}
