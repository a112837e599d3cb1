use super::*;
use agentops_core::call::CallKind;

fn row(tokens: u64) -> CallRow {
    CallRow {
        conversation: 1,
        sub_agent: false,
        kind: CallKind::Work,
        provider: "anthropic".into(),
        model: Some("claude-sonnet-4-5".into()),
        answered_by: None,
        response_id: None,
        finish: None,
        status: Some(200),
        error: None,
        streamed: true,
        started_ms: 0,
        first_byte_ms: None,
        duration_ms: 1,
        estimate: tokens,
        counted: true,
        output_max: 10,
        window: 200_000,
        usage: None,
        reasoning: None,
        charged: Amount::priced(tokens, 0),
        reserved: None,
    }
}

fn open(folder: &Path, name: &str, limit: Option<u64>) -> DayLedger {
    let limits = Limits { tokens: limit, micro_usd: None };
    DayLedger::open(folder, "2026-11-24", name.into(), limits, Arc::default()).unwrap()
}

#[test]
fn b3_gateways_side_by_side_do_not_pass_the_day_together() {
    let folder = tempfile::tempdir().unwrap();
    let granted: u64 = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..8)
            .map(|n| {
                let folder = folder.path();
                scope.spawn(move || {
                    let mut ledger = open(folder, &format!("g{n}"), Some(1_000));
                    (0..20)
                        .filter_map(|_| ledger.grant(Amount::priced(30, 0)).unwrap())
                        .map(|amount| amount.tokens)
                        .sum::<u64>()
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).sum()
    });
    assert_eq!(granted, 990, "as much as fits, and nothing more");
}

#[test]
fn a_killed_gateway_leaves_its_grant_spent_and_one_that_ended_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let mut killed = open(folder.path(), "killed", Some(1_000));
    killed.grant(Amount::priced(400, 0)).unwrap().unwrap();
    killed.call("lane", &row(100), &mut None).unwrap();
    drop(killed);
    let mut ended = open(folder.path(), "ended", Some(1_000));
    ended.grant(Amount::priced(500, 0)).unwrap().unwrap();
    ended.call("lane", &row(50), &mut None).unwrap();
    ended.end().unwrap();
    let mut next = open(folder.path(), "next", Some(1_000));
    assert_eq!(next.spent().tokens, 450);
    assert_eq!(next.grant(Amount::priced(551, 0)).unwrap(), None);
    assert!(next.grant(Amount::priced(550, 0)).unwrap().is_some());
}

/// One call that has ended, and its row was written: no more than it cost is spent when its gateway is killed.
#[test]
fn b3_a_killed_gateway_is_charged_by_its_rows_and_for_what_was_under_way() {
    let folder = tempfile::tempdir().unwrap();
    let mut killed = open(folder.path(), "killed", Some(100_000));
    let reserved = Some(Amount::priced(8_066, 0));
    for _ in 0..2 {
        killed.grant(Amount::priced(8_066, 0)).unwrap().unwrap();
    }
    killed.call("lane", &CallRow { reserved, ..row(5_000) }, &mut None).unwrap();
    drop(killed);
    let mut next = open(folder.path(), "next", Some(100_000));
    assert_eq!(next.spent().tokens, 5_000 + 8_066);
    assert_eq!(next.grant(Amount::priced(100_000 - 5_000 - 8_066 + 1, 0)).unwrap(), None);
}

/// A gateway that runs on past midnight and one that is started then share the new day.
#[test]
fn b3_gateways_share_each_day_around_midnight() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { tokens: Some(1_000), micro_usd: None };
    let ledgers =
        |date, name: &str| Ledgers::new(folder.path().to_owned(), name.into(), limits, Arc::default()).open(date).unwrap();
    let (before, after) = ("2026-11-24", "2026-11-25");
    let ask = |tokens| Amount::priced(tokens, 0);
    let mut old = ledgers(before, "old");
    assert!(old.grant(before, ask(750)).unwrap().is_some());
    let mut new = ledgers(after, "new");
    assert!(new.grant(after, ask(600)).unwrap().is_some());
    assert_eq!(old.grant(after, ask(401)).unwrap(), None);
    assert!(old.grant(after, ask(400)).unwrap().is_some());
    assert_eq!(new.grant(after, ask(1)).unwrap(), None, "what the older one was granted counts");
    // A call that midnight overtook belongs to the day before.
    let settled = CallRow { reserved: Some(ask(750)), ..row(700) };
    old.call(before, "lane", settled, None).unwrap();
    assert_eq!(open(folder.path(), "third", Some(1_000)).spent().tokens, 700);
    old.end().unwrap();
    assert!(new.grant(after, ask(400)).unwrap().is_some(), "an end gives back what was not used on each day");
    // Days later the oldest ledger is ended, and one that is needed again is opened again.
    assert!(new.grant("2026-11-26", ask(1_000)).unwrap().is_some());
    assert!(new.grant("2026-11-27", ask(1_000)).unwrap().is_some());
    new.call(after, "lane", CallRow { reserved: Some(ask(600)), ..row(10) }, None).unwrap();
    new.end().unwrap();
}

/// A disk is full for a while.
#[test]
fn b3_what_calls_cost_while_nothing_can_be_written_is_settled_later() {
    let folder = tempfile::tempdir().unwrap();
    let (date, limits) = ("2026-11-24", Limits { tokens: Some(1_000), micro_usd: None });
    let mut ledgers = Ledgers::new(folder.path().to_owned(), "g".into(), limits, Arc::default());
    for _ in 0..2 {
        assert!(ledgers.grant(date, Amount::priced(400, 0)).unwrap().is_some());
    }
    let full = || File::options().append(true).open("/dev/full").unwrap();
    let file = std::mem::replace(&mut ledgers.open.get_mut(date).unwrap().file, full());
    let settled = |tokens, reserved| CallRow { reserved: Some(Amount::priced(reserved, 0)), ..row(tokens) };
    ledgers.call(date, "lane", settled(10, 400), None).unwrap_err();
    ledgers.call(date, "lane", settled(500, 500), Some(Amount::priced(100, 0))).unwrap_err();
    ledgers.grant(date, Amount::priced(1, 0)).unwrap_err();
    ledgers.open.get_mut(date).unwrap().file = file;
    assert_eq!(ledgers.grant(date, Amount::priced(491, 0)).unwrap(), None);
    assert!(ledgers.grant(date, Amount::priced(490, 0)).unwrap().is_some(), "510 are spent, and nothing is under way");
    assert_eq!(open(folder.path(), "next", Some(1_000)).spent().tokens, 510 + 490);
}

/// Files of the version before the first that says what a row settles.
#[test]
fn a_row_that_says_nothing_of_its_grant_settles_what_it_charged() {
    let folder = tempfile::tempdir().unwrap();
    let mut old = open(folder.path(), "old", None);
    old.grant(Amount::priced(400, 0)).unwrap().unwrap();
    old.call("lane", &row(100), &mut None).unwrap();
    let text = std::fs::read_to_string(folder.path().join("2026-11-24.jsonl")).unwrap();
    assert!(!text.contains("reserved"), "{text}");
    assert_eq!(open(folder.path(), "next", None).spent().tokens, 400);
}

#[test]
fn a_torn_line_spoils_nothing_and_a_newer_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = open(folder.path(), "first", None);
    first.grant(Amount::priced(10, 0)).unwrap().unwrap();
    let path = folder.path().join("2026-11-24.jsonl");
    let whole = std::fs::read(&path).unwrap();
    for cut in 0..whole.len() {
        std::fs::write(&path, &whole[..cut]).unwrap();
        let next = open(folder.path(), "next", None);
        assert!(next.spent().tokens <= 10);
        assert!(open(folder.path(), "after", None).spent() == next.spent(), "cut at {cut}");
    }
    std::fs::write(&path, "{\"entry\":\"began\",\"format\":2,\"gateway\":\"x\"}\n").unwrap();
    let error = DayLedger::open(folder.path(), "2026-11-24", "g".into(), Limits::default(), Arc::default());
    assert!(matches!(error, Err(LedgerError::Newer { format: 2, .. })));
}
