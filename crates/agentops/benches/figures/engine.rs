//! The conductor and the ledger, without any process around them.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::time::{Duration, Instant};

use agentops_core::id::{RunId, SessionId};
use agentops_core::run::{Event, State};
use agentops_engine::conductor::{Conductor, Input};
use agentops_engine::ledger::Ledger;
use agentops_engine::world::{Storage, SystemClock};

use crate::play::{AtOnce, List, call, play, runs, take};
use crate::room::Room;
use crate::table::{Goal, Samples, Table, figure, ms};

type Real = Conductor<SystemClock, Ledger, AtOnce>;

fn real(room: &Room, calls: u32) -> Real {
    let ledger = Ledger::open(&room.paths().ledger()).expect("a ledger");
    Conductor::start(SystemClock::default(), ledger, AtOnce::new(calls)).expect("a conductor")
}

/// From one action's end to the next one's start: the outcome is taken in, made durable with the beginning of what follows,
/// and that is started.
pub fn gap(table: &mut Table) {
    let room = Room::new(0, 24);
    let before = room.bare_sync(300);
    for (workflow, count) in [("full", 12), ("wide", 4)] {
        let mut conductor = real(&room, 3);
        let mut gaps = Vec::new();
        for created in runs(&room.plan(workflow, "measure the gap").created, count) {
            let created = agentops_core::run::Created { run: RunId::from_bits(gaps.len() as u64 + 77), ..created };
            let started = conductor.processes.started.clone();
            take(&mut conductor, vec![Input::Create(Box::new(created))]);
            while let Some((run, event)) = conductor.processes.reports.pop_front() {
                started.set(None);
                let ended = Instant::now();
                take(&mut conductor, vec![Input::Happened(run, event)]);
                if let Some(started) = started.get() {
                    gaps.push(ms(started.duration_since(ended)));
                }
            }
        }
        let gaps = Samples::from(gaps);
        let beside = format!(
            "bare write+fdatasync {} ms (p95 {}); the gap's p95 {} ms",
            figure(before.median()),
            figure(before.p95()),
            figure(gaps.p95())
        );
        let lanes = if workflow == "full" { "1 or 2 lanes" } else { "24 lanes" };
        table.add(&format!("action's end → next one's start, {lanes}"), &gaps, "ms", &Goal::Most(5.0), &beside);
        // With its last connection the ledger gives its write-ahead log up.
        drop(conductor);
        std::fs::remove_file(room.paths().ledger()).expect("the ledger goes");
    }
}

/// Who reports, and is told when it is durable.
struct Report {
    input: Input,
    taken: SyncSender<()>,
}

/// As the supervisor's loop does it: whatever waits, up to 256, is made durable together.
fn serve(conductor: &mut Real, reports: &Receiver<Report>) {
    while let Ok(first) = reports.recv() {
        let mut batch = vec![first];
        while let (true, Ok(report)) = (batch.len() < 256, reports.try_recv()) {
            batch.push(report);
        }
        let (inputs, told): (Vec<Input>, Vec<SyncSender<()>>) = batch.into_iter().map(|r| (r.input, r.taken)).unzip();
        take(conductor, inputs);
        for taken in told {
            taken.send(()).expect("the reporter waits");
        }
    }
}

/// A session that reports calls, each one after the last one is durable.
fn reporter(run: &RunId, session: &SessionId, tell: &Sender<Report>, until: Instant) -> u64 {
    let mut told = 0u64;
    while Instant::now() < until {
        let (taken, answer) = sync_channel(1);
        let input = Input::Happened(run.clone(), call(session, u32::try_from(told % 200).unwrap_or(0)));
        tell.send(Report { input, taken }).expect("the loop runs");
        answer.recv().expect("it is durable");
        told += 1;
    }
    told
}

/// Appends a second with so many sessions, each of which waits for its own to be durable.
fn rate(conductor: &mut Real, sessions: &[(RunId, SessionId)]) -> f64 {
    let (tell, reports) = channel();
    let start = Instant::now();
    let until = start + Duration::from_secs(1);
    let mut told = 0;
    std::thread::scope(|scope| {
        let threads: Vec<_> = sessions
            .iter()
            .map(|(run, session)| {
                let tell = tell.clone();
                std::thread::Builder::new()
                    .stack_size(128 * 1024)
                    .spawn_scoped(scope, move || reporter(run, session, &tell, until))
                    .expect("a thread")
            })
            .collect();
        drop(tell);
        serve(conductor, &reports);
        told = threads.into_iter().map(|thread| thread.join().expect("the reporter ends")).sum();
    });
    told as f64 / start.elapsed().as_secs_f64()
}

/// Ledger appends a second, every one durable before it is acknowledged.
pub fn appends(table: &mut Table) {
    let room = Room::new(0, 24);
    let mut conductor = real(&room, 1);
    conductor.processes.hang = true;
    play(&mut conductor, runs(&room.plan("wide", "measure appends").created, 11), 256);
    let sessions: Vec<(RunId, SessionId)> = conductor
        .runs()
        .flat_map(|(run, state)| state.sessions().map(|(_, session)| (run.clone(), session.id.clone())))
        .collect();
    let bound =
        |sync: &Samples| format!("bare write+fdatasync {} ms = {}/s", figure(sync.median()), figure(1000.0 / sync.median()));
    for (name, count, goal) in [
        ("durable appends, 256 sessions at once", 256, Goal::Least(2000.0)),
        ("durable appends, 24 sessions at once", 24, Goal::Least(2000.0)),
        ("durable appends, one session alone", 1, Goal::None),
    ] {
        let sync = room.bare_sync(300);
        let rates = Samples::of(5, || rate(&mut conductor, &sessions[..count]));
        table.add(name, &rates, "/s", &goal, &bound(&sync));
    }
    let (run, session) = &sessions[0];
    let full = || (0..256).map(|n| Input::Happened(run.clone(), call(session, n))).collect::<Vec<_>>();
    let batch = Samples::time(20, || take(&mut conductor, full()));
    let each = format!("{} µs an append", figure(batch.median() * 1000.0 / 256.0));
    table.add("  one batch of 256 of one run with 24 lanes", &batch, "ms", &Goal::None, &each);
}

/// 100,000 events to states, and what reading them from the disk costs beside that.
pub fn fold(table: &mut Table) {
    const EVENTS: usize = 100_000;
    let room = Room::new(0, 24);
    let mut conductor = Conductor::start(SystemClock::default(), List::default(), AtOnce::new(2_900)).expect("a conductor");
    play(&mut conductor, runs(&room.plan("full", "measure the fold").created, 6), 256);
    let rows = conductor.storage.0;
    let rows = &rows[..EVENTS.min(rows.len())];
    let mut states = BTreeMap::new();
    let folds = Samples::time(9, || {
        states.clear();
        for row in rows {
            match states.get_mut(&row.run) {
                None => drop(states.insert(row.run.clone(), State::first(&row.event, row.at_ms).expect("a first event"))),
                Some(state) => State::apply(state, &row.event, row.at_ms).expect("what was folded once"),
            }
        }
    });
    let calls = rows.iter().filter(|row| matches!(row.event, Event::Call { .. })).count();
    let about = format!("{} events of {} runs, {calls} of them calls", rows.len(), states.len());
    table.add("100,000 events folded", &folds, "ms", &Goal::Most(200.0), &about);

    let path = room.paths().ledger();
    let mut ledger = Ledger::open(&path).expect("a ledger");
    for part in rows.chunks(256) {
        ledger.append(part).expect("an append");
    }
    drop(ledger);
    let mut ledger = Ledger::read(&path).expect("a ledger").expect("it is there");
    let bytes = std::fs::metadata(&path).map_or(0, |meta| meta.len());
    let read = Samples::time(5, || {
        let read: usize = states.keys().map(|run| ledger.load_run(run).expect("a run").len()).sum();
        assert_eq!(read, rows.len(), "everything that was appended is read");
    });
    let size = format!("{} MiB on disk, {} bytes an event", bytes >> 20, bytes / rows.len().max(1) as u64);
    table.add("  100,000 events read from SQLite and decoded", &read, "ms", &Goal::None, &size);
    let json: Vec<String> = rows.iter().map(|row| serde_json::to_string(&row.event).expect("JSON")).collect();
    let decode = Samples::time(5, || {
        for text in &json {
            std::hint::black_box(serde_json::from_str::<Event>(text).expect("an event"));
        }
    });
    table.add("  of it, JSON alone", &decode, "ms", &Goal::None, "");
}
