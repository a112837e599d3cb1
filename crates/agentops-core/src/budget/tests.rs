//! Promise B3, and what a crash may cost.

use std::sync::{Arc, Barrier, Mutex};
use std::thread;

use proptest::prelude::*;

use super::*;

fn run() -> RunId {
    RunId::from_bits(7)
}

fn lane(n: usize) -> Scope {
    Scope::Lane(run(), format!("work/lane-{n}").parse().expect("a lane id"))
}

fn tokens(limit: u64) -> Limits {
    Limits { tokens: Some(limit), micro_usd: None }
}

#[test]
fn dollars_are_read_and_printed_exactly() {
    for (dollars, micro, shown) in [
        (5.0, 5_000_000, "$5.00"),
        (0.1, 100_000, "$0.10"),
        (0.000_001, 1, "$0.000001"),
        (2.675, 2_675_000, "$2.675"),
        (1_000_000.29, 1_000_000_290_000, "$1000000.29"),
        (0.0, 0, "$0.00"),
    ] {
        assert_eq!(Usd::from_dollars(dollars), Some(Usd(micro)), "{dollars}");
        assert_eq!(Usd(micro).to_string(), shown);
    }
    for bad in [-1.0, 0.000_000_1, f64::NAN, f64::INFINITY, 1e300, -0.5] {
        assert_eq!(Usd::from_dollars(bad), None, "{bad}");
    }
}

#[test]
fn work_leaves_the_reserve_and_a_hand_over_uses_it() {
    let mut book = Book::new();
    book.set(lane(1), tokens(1000), Amount::ZERO);
    let scopes = [lane(1)];
    let refused = book.reserve(&scopes, Amount::priced(961, 0), CallKind::Work).expect_err("40 are kept");
    assert_eq!(
        refused.to_string(),
        "the budget of lane work/lane-1 is 1000 tokens: 0 tokens spent, 40 tokens kept for hand-over; this call may cost up to \
         961 tokens"
    );
    let work = book.reserve(&scopes, Amount::priced(960, 0), CallKind::Work).expect("960 are left for work");
    assert!(book.reserve(&scopes, Amount::priced(1, 0), CallKind::Work).is_err());
    let hand_over = book.reserve(&scopes, Amount::priced(40, 0), CallKind::HandOver).expect("the reserve");
    assert!(book.reserve(&scopes, Amount::priced(1, 0), CallKind::Compaction).is_err());
    book.settle(work, Amount::priced(900, 0));
    book.release(hand_over);
    let account = book.account(&lane(1)).expect("it was set");
    assert_eq!((account.spent().tokens, account.reserved().tokens), (900, 0));
}

#[test]
fn a_call_is_taken_out_of_every_scope_or_of_none() {
    let mut book = Book::new();
    book.set(Scope::Run(run()), tokens(10_000), Amount::ZERO);
    book.set(lane(1), tokens(100), Amount::ZERO);
    let refused = book.reserve(&[Scope::Run(run()), lane(1)], Amount::priced(500, 0), CallKind::Work);
    assert!(matches!(refused, Err(OverBudget::Limit { scope, .. }) if scope == lane(1)));
    assert_eq!(book.account(&Scope::Run(run())).expect("it was set").reserved(), Amount::ZERO);
}

#[test]
fn an_unknown_price_is_refused_where_money_is_limited_and_only_there() {
    let mut book = Book::new();
    let dollar = Limits { tokens: None, micro_usd: Some(1_000_000) };
    book.set(lane(1), dollar, Amount::ZERO);
    book.set(lane(2), tokens(1_000), Amount::ZERO);
    let unpriced = Amount::unpriced(10);
    assert!(matches!(book.reserve(&[lane(1)], unpriced, CallKind::Work), Err(OverBudget::ModelPrice { .. })));
    let other = book.reserve(&[lane(2)], unpriced, CallKind::Work).expect("tokens only");
    assert_eq!(book.account(&lane(2)).expect("it was set").reserved(), unpriced);
    book.release(other);
    assert_eq!(book.account(&lane(2)).expect("it was set").reserved(), Amount::ZERO, "known again");
    book.set(lane(3), dollar, unpriced);
    assert!(matches!(book.reserve(&[lane(3)], Amount::priced(1, 1), CallKind::Work), Err(OverBudget::SpentPrice { .. })));
    // An answer by a model without a price costs what was reserved for it, not nothing.
    let reserved = book.reserve(&[lane(1)], Amount::priced(10, 700), CallKind::Work).expect("a dollar is left");
    assert_eq!(book.settle(reserved, Amount::unpriced(8)), Amount::priced(8, 700));
}

#[test]
fn saying_again_what_was_spent_gives_nothing_back() {
    let mut book = Book::new();
    book.set(lane(1), tokens(1_000), Amount::priced(300, 3));
    let call = book.reserve(&[lane(1)], Amount::priced(200, 2), CallKind::Work).expect("room");
    book.settle(call, Amount::priced(250, 3));
    book.set(lane(1), tokens(600), Amount::priced(300, 3));
    let account = book.account(&lane(1)).expect("it was set");
    assert_eq!((account.spent(), account.limits()), (Amount::priced(550, 6), tokens(600)));
    assert_eq!(book.room(&[lane(1)], CallKind::HandOver).tokens, Some(50));
    assert_eq!(book.room(&[lane(1)], CallKind::Work).tokens, Some(26));
}

/// B3 with real threads: a hundred calls at once never pass the limit together, and as many pass as fit.
#[test]
fn b3_a_hundred_threads_share_one_limit() {
    const CALLS: u64 = 100;
    const ASK: u64 = 1_000;
    // Room for 37 calls of work, the reserve not counted.
    let limit = (37 * ASK * 1000).div_ceil(1000 - RESERVE_PERMILLE);
    let book = Arc::new(Mutex::new(Book::new()));
    book.lock().expect("no thread panics").set(Scope::Run(run()), tokens(limit), Amount::ZERO);
    let start = Arc::new(Barrier::new(usize::try_from(CALLS).expect("small")));
    let threads = (0..CALLS).map(|n| {
        let (book, start) = (Arc::clone(&book), Arc::clone(&start));
        thread::spawn(move || {
            let scopes = [Scope::Run(run()), lane(usize::try_from(n % 7).expect("small"))];
            start.wait();
            let reserved = book.lock().expect("no thread panics").reserve(&scopes, Amount::priced(ASK, 0), CallKind::Work);
            let Ok(reserved) = reserved else { return false };
            // Half of them vanish without settling.
            if n % 2 == 0 {
                book.lock().expect("no thread panics").settle(reserved, Amount::priced(ASK, 0));
            }
            true
        })
    });
    let threads: Vec<_> = threads.collect();
    let passed = threads.into_iter().map(|thread| thread.join().expect("it ends")).filter(|ok| *ok).count();
    assert_eq!(passed, 37);
    let account = book.lock().expect("no thread panics").account(&Scope::Run(run())).expect("it was set");
    assert_eq!(account.spent().plus(account.reserved()).tokens, 37 * ASK);
}

/// What a lane does next.
#[derive(Debug, Clone)]
enum Step {
    Call {
        lane: usize,
        ask: u64,
        kind: CallKind,
    },
    /// Settles the call at this place with this share of what was reserved, in thousandths.
    Settle {
        at: usize,
        permille: u64,
    },
    Drop {
        at: usize,
    },
    /// Rows that were settled are appended.
    Append,
}

fn step() -> impl Strategy<Value = Step> {
    let kind = prop_oneof![4 => Just(CallKind::Work), 1 => Just(CallKind::HandOver), 1 => Just(CallKind::Compaction)];
    prop_oneof![
        5 => (0usize..4, 0u64..3_000, kind).prop_map(|(lane, ask, kind)| Step::Call { lane, ask, kind }),
        4 => (any::<usize>(), 0u64..=1_000).prop_map(|(at, permille)| Step::Settle { at, permille }),
        1 => any::<usize>().prop_map(|at| Step::Drop { at }),
        2 => Just(Step::Append),
    ]
}

/// What the ledger holds of one lane: what was granted less what rows charged, and what they charged.
#[derive(Debug, Clone, Copy, Default)]
struct Durable {
    outstanding: Amount,
    spent: Amount,
}

/// A gateway with four lanes, as far as budgets go, with the price of a token as two millionths.
struct Model {
    book: Book,
    grants: Vec<Grant>,
    durable: Vec<Durable>,
    /// Forwarded in truth, settled or not.
    forwarded: Vec<u64>,
    now_ms: u64,
    open: Vec<(usize, Reservation)>,
    /// What each row settles and charges.
    rows: Vec<(usize, Amount, Amount)>,
}

impl Model {
    fn scopes(lane_index: usize) -> [Scope; 3] {
        [Scope::Day("2026-11-24".into()), Scope::Run(run()), lane(lane_index)]
    }

    fn call(&mut self, lane: usize, ask: Amount, kind: CallKind) {
        let scopes = Self::scopes(lane);
        let Ok(reservation) = self.book.reserve(&scopes, ask, kind) else { return };
        let room = self.book.room(&scopes, kind);
        while let Err(needs) = self.grants[lane].take(ask, room, self.now_ms) {
            self.durable[lane].outstanding = self.durable[lane].outstanding.plus(needs.ask);
            self.grants[lane].add(needs.ask);
        }
        self.now_ms += 7;
        self.forwarded[lane] += ask.tokens;
        self.open.push((lane, reservation));
    }

    fn settle(&mut self, at: usize, permille: u64) {
        let (lane, reservation) = self.open.swap_remove(at);
        let taken = reservation.amount();
        let used = taken.tokens * permille / 1000;
        let booked = self.book.settle(reservation, Amount::priced(used, 2 * used));
        let settled = self.grants[lane].settle(taken, booked);
        if let Some(missing) = settled.missing {
            self.durable[lane].outstanding = self.durable[lane].outstanding.plus(missing);
        }
        self.forwarded[lane] = self.forwarded[lane] - taken.tokens + used;
        self.rows.push((lane, settled.reserved, booked));
    }

    fn append(&mut self) {
        for (lane, reserved, charged) in self.rows.drain(..) {
            let durable = &mut self.durable[lane];
            durable.outstanding = durable.outstanding.minus(reserved);
            durable.spent = durable.spent.plus(charged);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// B3: in any order of calls, settlements, losses and grants of many lanes, what was spent and what is reserved stay
    /// within every limit together, work stays out of the reserve, and at every point a crash would leave a ledger that
    /// knows at least what was forwarded.
    #[test]
    fn b3_parallel_calls_never_pass_the_limit_together(
        steps in prop::collection::vec(step(), 1..200),
        limits in prop::array::uniform3(1_000u64..40_000),
        money in 1_000u64..80_000,
    ) {
        let day = Limits { tokens: Some(limits[0]), micro_usd: Some(money) };
        let all = [(Scope::Day("2026-11-24".into()), day), (Scope::Run(run()), tokens(limits[1]))];
        let all: Vec<_> = all.into_iter().chain((0..4).map(|n| (lane(n), tokens(limits[2])))).collect();
        let mut model = Model {
            book: Book::new(),
            grants: vec![Grant::new(); 4],
            durable: vec![Durable::default(); 4],
            forwarded: vec![0; 4],
            now_ms: 0,
            open: Vec::new(),
            rows: Vec::new(),
        };
        for (scope, limits) in &all {
            model.book.set(scope.clone(), *limits, Amount::ZERO);
        }
        for step in steps {
            match step {
                Step::Call { lane, ask, kind } => model.call(lane, Amount::priced(ask, 2 * ask), kind),
                Step::Settle { at, permille } if !model.open.is_empty() => model.settle(at % model.open.len(), permille),
                Step::Drop { at } if !model.open.is_empty() => {
                    let at = at % model.open.len();
                    drop(model.open.swap_remove(at));
                }
                Step::Append => model.append(),
                Step::Settle { .. } | Step::Drop { .. } => {}
            }
            for (scope, limits) in &all {
                let account = model.book.account(scope).expect("it was set");
                let taken = account.spent().plus(account.reserved());
                prop_assert!(limits.tokens.is_none_or(|limit| taken.tokens <= limit), "{scope}: {taken}");
                let within = |limit: u64| taken.micro_usd.is_some_and(|money| money <= limit);
                prop_assert!(limits.micro_usd.is_none_or(within), "{scope}: {taken}");
            }
            for (durable, forwarded) in model.durable.iter().zip(&model.forwarded) {
                let known = durable.spent.plus(durable.outstanding);
                prop_assert!(known.tokens >= *forwarded && known.micro_usd >= Some(2 * forwarded), "{known} < {forwarded}");
            }
        }
    }

    /// An answer that costs more than was reserved is booked as it is, and the ledger still covers what other calls of the
    /// lane may cost.
    #[test]
    fn a_cost_above_what_was_reserved_uses_up_no_other_calls_grant(
        asks in prop::collection::vec(1u64..1_000, 2..20), first in 0u64..10_000,
    ) {
        let mut grant = Grant::new();
        let mut outstanding = Amount::ZERO;
        for ask in &asks {
            let ask = Amount::priced(*ask, *ask);
            if let Err(needs) = grant.take(ask, Limits::default(), 0) {
                outstanding = outstanding.plus(needs.ask);
                grant.add(needs.ask);
                prop_assert_eq!(grant.take(ask, Limits::default(), 0), Ok(()));
            }
        }
        let settled = grant.settle(Amount::priced(asks[0], asks[0]), Amount::priced(first, first));
        outstanding = outstanding.plus(settled.missing.unwrap_or_default());
        let under_way: u64 = asks[1..].iter().sum();
        prop_assert!(outstanding.minus(settled.reserved).tokens >= under_way);
    }
}

/// A crash costs a call that comes alone nothing but what it may still cost itself; in a burst most calls find a grant.
#[test]
fn a_grant_is_for_the_calls_that_come_together() {
    let ask = Amount::priced(1_000, 1_000);
    let granted = |gap_ms: u64| {
        let mut grant = Grant::new();
        (0..100)
            .filter_map(|call| {
                let needs = grant.take(ask, Limits::default(), 1_000 + call * gap_ms).err()?;
                grant.add(needs.ask);
                grant.take(ask, Limits::default(), 1_000 + call * gap_ms).ok()?;
                assert_eq!(needs.least.tokens, 1_000);
                Some(needs.ask.tokens / 1_000)
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(granted(100), [1; 100]);
    assert_eq!(granted(0), [1, 2, 4, 8, 16, 32, 64]);
}

/// B3: with four calls under way at most, however many came before them, no more than for as many again is granted ahead.
#[test]
fn b3_a_grant_is_for_no_more_calls_than_are_under_way() {
    const AT_ONCE: u64 = 4;
    let ask = Amount::priced(1_000, 1_000);
    let mut grant = Grant::new();
    let mut outstanding = Amount::ZERO;
    for call in 0..200_u64 {
        if call >= AT_ONCE {
            outstanding = outstanding.minus(grant.settle(ask, ask).reserved);
        }
        while let Err(needs) = grant.take(ask, Limits::default(), 7) {
            outstanding = outstanding.plus(needs.ask);
            grant.add(needs.ask);
        }
        assert!(outstanding.tokens <= 2 * AT_ONCE * 1_000, "{outstanding} after {call}");
    }
}

/// B3: calls that come fast one after the other are granted together, and what the last of them leaves is free again.
#[test]
fn b3_nothing_stays_granted_when_no_call_is_under_way() {
    let ask = Amount::priced(1_000, 2_000);
    let mut grant = Grant::new();
    let (mut outstanding, mut under_way) = (Amount::ZERO, 0);
    for step in ["call", "end", "call", "call", "end", "call", "end", "end", "call", "end"] {
        match step {
            "call" => {
                while let Err(needs) = grant.take(ask, Limits::default(), 7) {
                    outstanding = outstanding.plus(needs.ask);
                    grant.add(needs.ask);
                }
                under_way += 1;
            }
            _ => {
                outstanding = outstanding.minus(grant.settle(ask, Amount::priced(300, 600)).reserved);
                under_way -= 1;
            }
        }
        assert!(outstanding.tokens >= under_way * 1_000, "{outstanding}");
        assert!(under_way > 0 || outstanding.is_zero(), "{outstanding} with no call under way");
    }
}
