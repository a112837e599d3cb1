//! B3 over days, gateways, kills and lies: the ledger of a day knows at least what was certainly spent on it, and no more than
//! its budget.
//!
//! The reference accounting here knows what each provider really did. Nothing of it comes from the product.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use agentops_core::budget::{Amount, Limits};
use agentops_core::call::CallRow;
use agentops_gateway::alone::{DayLedger, Ledgers};
use agentops_gateway::day::date;
use agentops_gateway::host::{Answer, Host, Note, Refusal, answer};
use agentops_gateway::lane::{Admitted, Incoming, Lane, Rules};
use agentops_gateway::protocol::Protocol;
use agentops_gateway::ticket::{Flow, Ticket};
use proptest::prelude::*;
use serde_json::json;

use crate::charges::{beginning, end_with, request_of, text};
use crate::host::rules;

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// What a provider says of a call's use.
#[derive(Debug, Clone, Copy)]
enum Report {
    Honest,
    /// No input, and the true output.
    ZeroInput,
    NegativeInput,
    Little,
    None,
    /// A report of the beginning only, and the end of the stream does not come.
    Beginning,
}

/// How an answer ends.
#[derive(Debug, Clone, Copy)]
enum End {
    Whole,
    Broken,
    ClientGone,
    /// 500 before any of it.
    Fails,
}

#[derive(Debug, Clone)]
enum Step {
    /// Gateway, words of the prompt, output limit.
    Call {
        gateway: usize,
        protocol: Protocol,
        words: u64,
        limit: u64,
    },
    /// The answer of a call under way: words that are shown, hidden tokens, in thousandths of the limit.
    Answer {
        at: prop::sample::Index,
        shown: u64,
        hidden: u64,
        report: Report,
        end: End,
    },
    /// `kill -9` of a gateway, and another takes its place.
    Kill {
        gateway: usize,
    },
    /// A gateway ends in order, and another takes its place.
    Restart {
        gateway: usize,
    },
    Midnight,
}

fn step() -> impl Strategy<Value = Step> {
    let report = prop::sample::select(vec![
        Report::Honest,
        Report::ZeroInput,
        Report::NegativeInput,
        Report::Little,
        Report::None,
        Report::Beginning,
    ]);
    let end = prop::sample::select(vec![End::Whole, End::Whole, End::Broken, End::ClientGone, End::Fails]);
    prop_oneof![
        8 => (0..2_usize, prop::sample::select(Protocol::ALL.to_vec()), 1_u64..3_000, 1_u64..3_000)
            .prop_map(|(gateway, protocol, words, limit)| Step::Call { gateway, protocol, words, limit }),
        8 => (any::<prop::sample::Index>(), 0..=1000_u64, 0..=1000_u64, report, end)
            .prop_map(|(at, shown, hidden, report, end)| Step::Answer { at, shown, hidden, report, end }),
        1 => (0..2_usize).prop_map(|gateway| Step::Kill { gateway }),
        1 => (0..2_usize).prop_map(|gateway| Step::Restart { gateway }),
        1 => Just(Step::Midnight),
    ]
}

/// The host of a gateway without a supervisor, whose ledgers go when it is killed.
struct Books {
    ledgers: Mutex<Option<Ledgers>>,
    /// Whether the request of the call that was settled last had been counted with a tokenizer.
    was_counted: AtomicBool,
}

impl Host for Books {
    fn grant(&self, ask: Amount, admitted_ms: u64) -> Answer<Option<Amount>> {
        let (answers, waits) = answer();
        let mut ledgers = self.ledgers.lock().unwrap();
        let granted = ledgers.as_mut().expect("it lives").grant(&date(admitted_ms), ask).unwrap();
        answers.send(granted).ok();
        waits
    }

    fn settled(&self, row: CallRow, missing: Option<Amount>) {
        self.was_counted.store(row.counted, Ordering::Relaxed);
        if let Some(ledgers) = self.ledgers.lock().unwrap().as_mut() {
            ledgers.call(&date(row.started_ms), "lane", row, missing).unwrap();
        }
    }

    fn refused(&self, refusal: Refusal) -> Answer<()> {
        assert!(!matches!(refusal, Refusal::NotGranted), "every grant that a budget allows is durable here");
        let (answers, waits) = answer();
        answers.send(()).ok();
        waits
    }

    fn note(&self, _note: Note) {}
}

/// A call under way.
struct UnderWay {
    gateway: usize,
    protocol: Protocol,
    ticket: Ticket,
    date: String,
    words: u64,
    limit: u64,
}

struct World<'a> {
    folder: &'a Path,
    budget: Limits,
    now_ms: Arc<AtomicU64>,
    gateways: Vec<(Arc<Books>, Arc<Lane>)>,
    started: u64,
    under_way: Vec<UnderWay>,
    /// By day: what was certainly spent.
    certain: BTreeMap<String, u64>,
    runtime: tokio::runtime::Runtime,
}

impl World<'_> {
    fn today(&self) -> String {
        date(self.now_ms.load(Ordering::Relaxed))
    }

    fn gateway(&mut self) -> (Arc<Books>, Arc<Lane>) {
        self.started += 1;
        let now_ms = Arc::clone(&self.now_ms);
        let books = Arc::new(Books { ledgers: Mutex::new(None), was_counted: AtomicBool::new(false) });
        let rules = Rules {
            takes_limit: true,
            day: self.budget,
            clock: Arc::new(move || now_ms.load(Ordering::Relaxed)),
            ..rules(200_000, Arc::clone(&books) as Arc<dyn Host>)
        };
        let name = format!("gateway-{}", self.started);
        let ledgers = Ledgers::new(self.folder.to_owned(), name, self.budget, Arc::clone(&rules.book));
        let ledgers = ledgers.open(&self.today()).unwrap();
        *books.ledgers.lock().unwrap() = Some(ledgers);
        (books, Lane::new(rules))
    }

    fn call(&mut self, gateway: usize, protocol: Protocol, words: u64, limit: u64) {
        let body = request_of(protocol, words, limit).to_string().into();
        let is_gemini = protocol == Protocol::Gemini;
        let model = is_gemini.then(|| "gemini-2.5-pro".to_owned());
        let incoming = Incoming { protocol, model, streamed: is_gemini.then_some(true), body };
        let Admitted::Forward { mut ticket, .. } = self.runtime.block_on(self.gateways[gateway].1.admit(incoming)) else {
            return;
        };
        ticket.sent();
        let date = self.today();
        self.under_way.push(UnderWay { gateway, protocol, ticket, date, words, limit });
    }

    fn answer(&mut self, at: usize, shown: u64, hidden: u64, report: Report, end: End) {
        let UnderWay { gateway, protocol, mut ticket, date, words, limit } = self.under_way.swap_remove(at);
        // A provider keeps to the limit in all.
        let shown = limit * shown / 1000;
        let hidden = (limit - shown) * hidden / 1000;
        if matches!(end, End::Fails) {
            ticket.answered(500, false);
            return;
        }
        ticket.answered(200, true);
        let report_at_end = match report {
            Report::Honest => Some((json!(words + 20), json!(shown + hidden))),
            Report::ZeroInput => Some((json!(0), json!(shown + hidden))),
            Report::NegativeInput => Some((json!(-1), json!(shown + hidden))),
            Report::Little => Some((json!(3), json!(1))),
            Report::None | Report::Beginning => None,
        };
        let mut pieces = Vec::new();
        if !matches!(report, Report::None) || hidden > 0 {
            pieces.extend(beginning(protocol, words + 20, hidden > 0));
        }
        pieces.push(text(protocol, &"said ".repeat(usize::try_from(shown).unwrap())));
        let is_whole = matches!(end, End::Whole) && !matches!(report, Report::Beginning);
        if is_whole {
            pieces.push(end_with(protocol, report_at_end));
        }
        for piece in pieces {
            assert_eq!(ticket.push(piece.as_bytes()), Flow::GoOn, "no answer within its limit is cut");
        }
        match end {
            End::Broken => ticket.failed("reset"),
            End::ClientGone => ticket.failed("client-gone"),
            End::Whole | End::Fails => {}
        }
        drop(ticket);
        // A whole answer whose provider claims less than it did: what was seen is certain, and what it claims.
        let lies = is_whole && matches!(report, Report::Little);
        let output = if lies { shown } else { shown + hidden };
        // An answer that is whole and has no report may have had its reasoning unseen by anybody.
        let output = if is_whole && matches!(report, Report::None) { shown } else { output };
        let input = if lies { self.input_min(gateway, words) } else { words };
        *self.certain.entry(date).or_default() += input + output;
    }

    /// What a claim of less input is raised to, for the call that this gateway settled last. No tokenizer makes less than half
    /// as many tokens as o200k, which has one for each word here. Where the request was not counted, its bytes decide.
    fn input_min(&self, gateway: usize, words: u64) -> u64 {
        let was_counted = self.gateways[gateway].0.was_counted.load(Ordering::Relaxed);
        if was_counted { words / 2 } else { (words * 4 / 5).saturating_sub(400) }
    }

    fn kill(&mut self, gateway: usize) {
        drop(self.gateways[gateway].0.ledgers.lock().unwrap().take());
        let (lost, left): (Vec<_>, Vec<_>) = self.under_way.drain(..).partition(|call| call.gateway == gateway);
        self.under_way = left;
        for UnderWay { ticket, date, words, limit, .. } in lost {
            // Its provider goes on to the limit.
            *self.certain.entry(date).or_default() += words + limit;
            std::mem::forget(ticket);
        }
        self.gateways[gateway] = self.gateway();
    }

    fn restart(&mut self, gateway: usize) {
        let (own, left): (Vec<_>, Vec<_>) = self.under_way.drain(..).partition(|call| call.gateway == gateway);
        self.under_way = left;
        for UnderWay { mut ticket, date, words, .. } in own {
            ticket.failed("lane-closed");
            *self.certain.entry(date).or_default() += words;
        }
        self.gateways[gateway].0.ledgers.lock().unwrap().take().expect("it lives").end().unwrap();
        self.gateways[gateway] = self.gateway();
    }

    /// What the ledger of each day knows against the reference.
    fn check(&self) {
        for (date, certain) in &self.certain {
            let reader = DayLedger::open(self.folder, date, "reader".into(), Limits::default(), Arc::default()).unwrap();
            let known = reader.spent().tokens;
            assert!(known >= *certain, "{date}: {certain} tokens were spent, the ledger knows {known}");
            let limit = self.budget.tokens.expect("there is one");
            assert!(known <= limit, "{date}: {known} of {limit} tokens");
        }
    }
}

fn world(folder: &Path, budget: u64) -> World<'_> {
    World {
        folder,
        budget: Limits { tokens: Some(budget), micro_usd: None },
        now_ms: Arc::new(AtomicU64::new(20_000 * DAY_MS)),
        gateways: Vec::new(),
        started: 0,
        under_way: Vec::new(),
        certain: BTreeMap::new(),
        runtime: tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn b3_a_day_knows_what_was_spent_on_it_and_its_budget_holds(
        budget in 5_000_u64..200_000,
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut world = world(folder.path(), budget);
        for _ in 0..2 {
            let gateway = world.gateway();
            world.gateways.push(gateway);
        }
        for step in steps {
            match step {
                Step::Call { gateway, protocol, words, limit } => world.call(gateway, protocol, words, limit),
                Step::Answer { at, shown, hidden, report, end } if !world.under_way.is_empty() => {
                    let at = at.index(world.under_way.len());
                    world.answer(at, shown, hidden, report, end);
                }
                Step::Answer { .. } => {}
                Step::Kill { gateway } => world.kill(gateway),
                Step::Restart { gateway } => world.restart(gateway),
                Step::Midnight => { world.now_ms.fetch_add(DAY_MS, Ordering::Relaxed); }
            }
            world.check();
        }
    }
}

/// Calls that come fast one after the other are granted together. When the last of them has ended and its row is written,
/// the end of the gateway costs nothing more.
#[test]
fn b3_a_kill_while_no_call_is_under_way_costs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = world(folder.path(), 200_000);
    let gateway = world.gateway();
    world.gateways.push(gateway);
    let mut calls = 0;
    for at_once in [1, 2, 3] {
        for _ in 0..at_once {
            world.call(0, Protocol::Messages, 50, 5_000);
        }
        for _ in 0..at_once {
            world.answer(0, 800, 0, Report::Honest, End::Whole);
        }
        calls += at_once;
        // The next call of the same gateway needs a grant of its own.
        world.call(0, Protocol::Messages, 50, 5_000);
        world.answer(0, 800, 0, Report::Honest, End::Whole);
        calls += 1;
        world.kill(0);
        let reader = DayLedger::open(world.folder, &world.today(), "reader".into(), world.budget, Arc::default()).unwrap();
        // The provider reports 20 tokens more of input than the prompt has words.
        assert_eq!(reader.spent().tokens, world.certain.values().sum::<u64>() + 20 * calls, "after {calls} calls");
    }
}

/// A budget that the bytes of a request alone would pass has the request counted. A lie about its input is then raised to half
/// of the count; otherwise to a sixth of the bytes, which is more for these words.
#[test]
fn b3_a_lie_about_the_input_is_raised_to_what_is_known_of_it() {
    for protocol in Protocol::ALL {
        for (budget, is_counted, least) in [(10_000, true, 1_924 / 2), (200_000, false, 1_924 * 4 / 5 - 400)] {
            let folder = tempfile::tempdir().unwrap();
            let mut world = world(folder.path(), budget);
            let gateway = world.gateway();
            world.gateways.push(gateway);
            world.call(0, protocol, 1_924, 1_257);
            world.answer(0, 173, 0, Report::Little, End::Whole);
            assert_eq!(world.gateways[0].0.was_counted.load(Ordering::Relaxed), is_counted, "{protocol:?} {budget}");
            let shown = 1_257 * 173 / 1_000;
            assert_eq!(world.certain.values().sum::<u64>(), least + shown, "{protocol:?} {budget}");
            world.check();
        }
    }
}
