//! What the ledger knows of spending, and what a crash leaves of it.

use super::*;
use crate::budget::{Amount, Grant, Limits, Scope};
use crate::call::{CallKind, CallRow};
use crate::id::SessionId;

/// A ledger of the first format, as it was written then.
const FORMAT_1: &str = include_str!("../../../tests/data/ledger-format-1.jsonl");

fn row(charged: Amount) -> CallRow {
    CallRow {
        conversation: 1,
        sub_agent: false,
        kind: CallKind::Work,
        provider: "anthropic".into(),
        model: None,
        answered_by: None,
        response_id: None,
        finish: None,
        status: Some(200),
        error: None,
        streamed: false,
        started_ms: 1,
        first_byte_ms: None,
        duration_ms: 1,
        estimate: 0,
        counted: false,
        output_max: 0,
        window: 1_000_000,
        usage: None,
        reasoning: None,
        charged,
        reserved: None,
    }
}

fn charged(session: &SessionId, amount: Amount) -> Event {
    settled(session, amount, None)
}

fn settled(session: &SessionId, amount: Amount, reserved: Option<Amount>) -> Event {
    let row = Some(Box::new(CallRow { reserved, ..row(amount) }));
    Event::Call { session: session.clone(), usage: None, context: 1, window: 1_000_000, sub_agent: false, stop: None, row }
}

fn granted(session: &SessionId, amount: Amount) -> Event {
    Event::Granted { session: session.clone(), amount }
}

/// R10: what the first format wrote is read, folds to the same end, and is not changed by being read.
#[test]
fn r10_a_ledger_of_the_first_format_replays() {
    let mut state: Option<State> = None;
    for line in FORMAT_1.lines() {
        let event: Event = serde_json::from_str(line).expect("an event of the first format");
        assert_eq!(serde_json::to_string(&event).expect("it writes"), line, "written as it was read");
        match &mut state {
            None => state = Some(State::first(&event, 1).expect("a first event")),
            Some(state) => state.try_apply(&event, 2).expect("it fits"),
        }
    }
    let state = state.expect("a run");
    assert_eq!((state.created.format, state.status(true)), (1, Status::Done));
    // Its calls went by no gateway: what they used is known, what it cost is not.
    assert_eq!(state.spent(), Amount::unpriced(state.usage().context()));
    assert!(state.unreconciled().is_zero());
    let budgets = state.budgets(&state.sessions().next().expect("a session").1.id);
    assert!(budgets.iter().all(|(_, limits, _)| limits.is_none()));
}

#[test]
fn a_call_that_another_model_answered_breaks_a_pin_and_is_counted() {
    let by = |asked: &str, answered: &str| CallRow {
        model: Some(asked.into()),
        answered_by: Some(answered.into()),
        ..row(Amount::ZERO)
    };
    let (sonnet, haiku) = ("claude-sonnet-4-5", "claude-haiku-4-5-20251001");
    assert!(by(sonnet, haiku).breaks_pin(Some(sonnet)));
    assert!(by("claude-sonnet-4-5-20250929", haiku).breaks_pin(Some("sonnet")), "an alias pins, too");
    assert!(by("claude-sonnet-4-5-20250929", haiku).breaks_pin(None), "a full name pins by itself");
    assert!(!by(sonnet, haiku).breaks_pin(None), "nothing was pinned");
    assert!(!by(sonnet, "claude-sonnet-4-5-20250929").breaks_pin(Some(sonnet)));
    assert!(!by(haiku, "claude-haiku-3-5").breaks_pin(Some(sonnet)), "a title by a small model");
    let aside = CallRow { sub_agent: true, ..by(haiku, sonnet) };
    assert!(!aside.breaks_pin(None), "a call beside the session's own conversation");
    assert!(!CallRow { status: Some(529), ..by(sonnet, haiku) }.breaks_pin(Some(sonnet)), "an error is by no model");

    let (mut world, session) = with_a_session();
    for row in [by(sonnet, haiku), by(sonnet, sonnet), by(haiku, sonnet), row(Amount::ZERO)] {
        let (session, row) = (session.clone(), Some(Box::new(row)));
        world.append(Event::Call { session, usage: None, context: 1, window: 1_000_000, sub_agent: false, stop: None, row });
    }
    let counted = world.state.sessions().map(|(_, session)| session.other_model_calls).sum::<u64>();
    assert_eq!(counted, 2);
}

#[test]
fn a_session_that_ends_in_order_gives_the_rest_of_its_grant_back() {
    let (mut world, session) = with_a_session();
    world.append(granted(&session, Amount::priced(1_000, 500)));
    world.append(charged(&session, Amount::priced(300, 200)));
    assert_eq!(world.state.spent(), Amount::priced(300, 200), "what is open is not spent");
    world.session_end(&session, SessionEnd::Completed, false);
    assert_eq!((world.state.spent(), world.state.unreconciled()), (Amount::priced(300, 200), Amount::ZERO));
}

/// What a durable row settles is not lost with its supervisor.
#[test]
fn b3_a_call_that_has_a_row_is_charged_by_it_when_its_supervisor_dies() {
    let (mut world, session) = with_a_session();
    let reserved = Amount::priced(8_066, 800);
    world.append(granted(&session, reserved));
    world.append(settled(&session, Amount::priced(5_000, 500), Some(reserved)));
    world.append(Event::Orphaned);
    assert_eq!((world.state.spent(), world.state.unreconciled().tokens), (Amount::priced(5_000, 500), 0));
}

#[test]
fn what_a_dead_supervisor_had_granted_counts_as_spent() {
    let (mut world, session) = with_a_session();
    world.append(granted(&session, Amount::priced(1_000, 500)));
    world.append(charged(&session, Amount::priced(300, 200)));
    world.append(Event::Orphaned);
    let after = (Amount::priced(1_000, 500), Amount::priced(700, 300));
    assert_eq!((world.state.spent(), world.state.unreconciled()), after);
    assert!(world.state.clone().apply(&granted(&session, Amount::priced(1, 1)), 9).is_err(), "it gets nothing more");
    let (key, _) = world.state.actions().remove(0);
    world.append(Event::Began { key });
    world.session_end(&session, SessionEnd::Interrupted, false);
    assert_eq!((world.state.spent(), world.state.unreconciled()), after, "also when its lane was saved");
    let of = |scope: Scope| world.state.budgets(&session).into_iter().find(|(of, ..)| *of == scope).map(|(.., spent)| spent);
    let run = world.state.created.run.clone();
    assert_eq!(of(Scope::Lane(run.clone(), session.lane.clone())), Some(after.0));
    assert_eq!(of(Scope::Run(run)), Some(after.0));
}

fn limited(usd: &str) -> State {
    let mut of: serde_json::Value = serde_json::from_str(FULL).expect("a workflow");
    of["budget"] = serde_json::json!({ "tokens": 5_000, "usd": serde_json::from_str::<f64>(usd).expect("a number") });
    of["phase"][0]["budget"] = serde_json::json!({ "tokens": 2_000 });
    of["phase"][0]["lane"][0]["budget"] = serde_json::json!({ "usd": 1 });
    let raw: RawWorkflow = serde_json::from_value(of).expect("a workflow");
    let mut created = created(Approve::All);
    created.workflow = raw.check(None).expect("a sound workflow").workflow;
    State::first(&Event::Created(Box::new(created)), 1).expect("a first event")
}

#[test]
fn a_session_has_the_budgets_of_run_phase_and_lane() {
    let state = limited("2.675");
    let session: SessionId = "research/code/1".parse().expect("a session");
    let limits: Vec<_> = state.budgets(&session).into_iter().map(|(_, limits, _)| limits).collect();
    let limit = |tokens, micro_usd| Limits { tokens, micro_usd };
    assert_eq!(limits, [limit(Some(5_000), Some(2_675_000)), limit(Some(2_000), None), limit(None, Some(1_000_000))]);
}

#[test]
fn a_person_can_raise_a_limit_and_nothing_else() {
    let mut state = limited("5.0");
    let run = state.created.run.clone();
    let raise =
        |scope: Scope, tokens, micro_usd| Event::Intent(Intent::Raise { scope, limits: Limits { tokens, micro_usd } });
    let phase = |name_of: &str| Scope::Phase(run.clone(), name(name_of));
    for (bad, why) in [
        (raise(Scope::Run(run.clone()), Some(5_000), None), "not higher"),
        (raise(Scope::Run(run.clone()), None, None), "nothing"),
        (raise(phase("research"), None, Some(1)), "there is no limit in money"),
        (raise(phase("plan"), Some(1), None), "there is no limit"),
        (raise(phase("other"), Some(1), None), "no such phase"),
        (raise(Scope::Run(RunId::from_bits(8)), Some(9_000), None), "another run"),
        (raise(Scope::Day("2026-11-24".into()), Some(9_000), None), "not the run's to say"),
    ] {
        assert!(state.try_apply(&bad, 2).is_err(), "{why}");
    }
    state.try_apply(&raise(Scope::Run(run.clone()), Some(9_000), None), 2).expect("higher");
    assert_eq!(state.limits(&Scope::Run(run)), Some(Limits { tokens: Some(9_000), micro_usd: Some(5_000_000) }));
}

#[test]
fn a_spent_budget_waits_for_a_person_and_starts_nothing_by_itself() {
    let (mut world, session) = with_a_session();
    world.session_end(&session, SessionEnd::Budget, false);
    let decision = world.state.decisions.first().cloned().expect("a decision");
    assert_eq!((decision.kind, decision.place.as_ref()), (DecisionKind::Budget, Some(&session.lane.lane)));
    let of_lane = |(key, _): &(Key, Action)| matches!(key, Key::Session { session: of } if of.lane == session.lane);
    assert!(!world.state.actions().iter().any(of_lane));
    world.append(Event::Intent(Intent::Resume { decisions: None }));
    let next = SessionId { ordinal: session.ordinal + 1, ..session };
    assert!(world.state.actions().iter().any(|(key, _)| *key == Key::Session { session: next.clone() }));
}

/// What happens in a session with a gateway.
#[derive(Debug, Clone)]
enum Step {
    Forward { ask: u64 },
    Settle { at: usize, permille: u64 },
    Append,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1u64..2_000).prop_map(|ask| Step::Forward { ask }),
        4 => (any::<usize>(), 0u64..2_000).prop_map(|(at, permille)| Step::Settle { at, permille }),
        2 => Just(Step::Append),
    ];
    prop::collection::vec(step, 1..80)
}

proptest! {
    /// A crash at any point: the fold of what was durable never knows less spent than what was forwarded, however late rows
    /// are appended, and also when answers cost more than was reserved for them, once that is known.
    #[test]
    fn b3_a_crash_forgets_nothing_that_was_forwarded(steps in steps()) {
        let (mut world, session) = with_a_session();
        let (mut grant, mut under_way, mut rows) = (Grant::new(), Vec::new(), Vec::new());
        // Reserved while under way, in truth once settled.
        let mut forwarded = 0;
        for step in steps {
            match step {
                Step::Forward { ask } => {
                    let ask = Amount::priced(ask, 3 * ask);
                    if let Err(needs) = grant.take(ask, Limits::default(), 0) {
                        world.append(granted(&session, needs.ask));
                        grant.add(needs.ask);
                        prop_assert_eq!(grant.take(ask, Limits::default(), 0), Ok(()));
                    }
                    under_way.push(ask);
                    forwarded += ask.tokens;
                }
                Step::Settle { at, permille } if !under_way.is_empty() => {
                    let reserved = under_way.swap_remove(at % under_way.len());
                    let used = reserved.tokens * permille / 1000;
                    let booked = Amount::priced(used, 3 * used);
                    let settled = grant.settle(reserved, booked);
                    if let Some(missing) = settled.missing {
                        world.append(granted(&session, missing));
                    }
                    forwarded = forwarded - reserved.tokens + used;
                    rows.push((booked, settled.reserved));
                }
                Step::Settle { .. } => {}
                Step::Append => {
                    for (booked, reserved) in rows.drain(..) {
                        world.append(settled(&session, booked, Some(reserved)));
                    }
                }
            }
            let mut crashed = world.state.clone();
            crashed.apply(&Event::Orphaned, 99).expect("a takeover");
            let known = crashed.spent();
            prop_assert!(known.tokens >= forwarded && known.micro_usd >= Some(3 * forwarded), "{known} < {forwarded}");
        }
    }
}
