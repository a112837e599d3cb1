//! Drives the real conductor through crashes, takeovers, lying clocks and bad agents, each world from one seed.
//!
//! `AGENTOPS_SIM_SEED=N` replays one seed and prints what happened, `AGENTOPS_SIM_SEEDS=N` runs so many, `AGENTOPS_SLOW=1`
//! as many as CI does.

mod acts;
mod checker;
mod disk;
mod fixture;
mod hands;
mod life;
mod persons;
mod rng;
mod slots;
mod world;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use agentops_core::run::{Status, Waiting};
use agentops_core::workflow::Workflow;

use disk::Plant;
use world::{Counts, Ev, World};

/// Steps within which a healed world must come to rest.
const REST_STEPS_MAX: u32 = 3_000;
/// Answers within which every run must end.
const ANSWERS_MAX: u32 = 100;

/// One seed: first everything fails that can, then nothing does.
fn simulate(seed: u64, plant: Option<Plant>, workflow: &Workflow, trace: bool) -> (Result<(), String>, World) {
    let mut world = World::new(seed, plant, workflow, trace);
    let went = safety(&mut world).and_then(|()| liveness(&mut world));
    let jumps = world.jumps();
    *world.counts.entry("clock jumps in all").or_default() += jumps;
    (went, world)
}

fn safety(world: &mut World) -> Result<(), String> {
    for _ in 0..world.rng.range(60, 400) {
        if !world.step()? {
            break;
        }
    }
    Ok(())
}

/// R11: without faults every run ends or says what it waits for; when it is answered, it ends.
fn liveness(world: &mut World) -> Result<(), String> {
    world.heal();
    world.persons = false;
    rest(world)?;
    for (run, state) in world.runs() {
        match state.status(true) {
            Status::Running
            | Status::Waiting { waiting: Waiting::Provider { .. } | Waiting::Slot { .. } | Waiting::Supervisor } => {
                return Err(format!("R11: {run} is at rest and does not say what it waits for: {:?}", state.status(true)));
            }
            _ => {}
        }
    }
    world.persons = true;
    for _ in 0..ANSWERS_MAX {
        let open: Vec<_> = world.runs().filter(|(_, state)| state.outcome.is_none()).map(|(run, _)| run.clone()).collect();
        if open.is_empty() {
            return count_ends(world);
        }
        for run in open {
            world.later(1, Ev::Person(run));
        }
        rest(world)?;
    }
    Err("R11: runs do not end, however often they are answered".into())
}

fn rest(world: &mut World) -> Result<(), String> {
    for _ in 0..REST_STEPS_MAX {
        if !world.step()? {
            return Ok(());
        }
    }
    Err("R11: the world does not come to rest".into())
}

fn count_ends(world: &mut World) -> Result<(), String> {
    let ends: Vec<_> = world.runs().map(|(_, state)| state.status(true)).collect();
    for end in ends {
        world.count(match end {
            Status::Done => "end: done",
            Status::Failed { .. } => "end: failed",
            _ => "end: cancelled",
        });
    }
    Ok(())
}

/// The line that replays a failure.
fn replay(seed: u64, why: &str) -> String {
    format!("{why}\nAGENTOPS_SIM_SEED={seed} cargo test -p agentops-engine --test simulator")
}

/// Runs seeds on two threads until one fails. Gives the counts, or the first seed that failed and why.
fn simulate_many(seeds: u64, plant: Option<Plant>) -> (Counts, Option<(u64, String)>) {
    let (next, stop, workflow) = (AtomicU64::new(1), AtomicBool::new(false), fixture::workflow());
    let work = || {
        let (mut counts, mut failed) = (Counts::new(), None);
        while !stop.load(Ordering::SeqCst) {
            let seed = next.fetch_add(1, Ordering::SeqCst);
            if seed > seeds {
                break;
            }
            let (went, world) = simulate(seed, plant, &workflow, false);
            for (what, times) in world.counts {
                *counts.entry(what).or_default() += times;
            }
            if let Err(why) = went {
                stop.store(true, Ordering::SeqCst);
                failed = Some((seed, why));
            }
        }
        (counts, failed)
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(work);
        let (mut counts, mine) = work();
        let (others, theirs) = other.join().expect("the simulator does not panic");
        for (what, times) in others {
            *counts.entry(what).or_default() += times;
        }
        (counts, [mine, theirs].into_iter().flatten().min())
    })
}

fn seeds() -> u64 {
    let of = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    of("AGENTOPS_SIM_SEEDS").unwrap_or(if of("AGENTOPS_SLOW") == Some(1) { 10_000 } else { 500 })
}

/// Everything that must have happened somewhere in the seeds.
const MUST_HAPPEN: [&str; 60] = [
    "act: ask for hand-over",
    "act: bundle",
    "act: checkpoint",
    "act: close lanes",
    "act: gate",
    "act: merge",
    "act: open lane",
    "act: publish",
    "act: record",
    "act: salvage",
    "act: session",
    "act: stop session",
    "act: stop work",
    "action failed",
    "asked: a lane was interrupted again and again",
    "asked: about one lane while another works",
    "asked: several questions at once",
    "checkpoint failed",
    "clock jumps in all",
    "crashes",
    "end: cancelled",
    "end: done",
    "end: failed",
    "fault: append of a fenced supervisor",
    "fault: clock freezes or thaws",
    "fault: clock jumps",
    "fault: crash after an append",
    "fault: crash before an append",
    "fault: crash between two starts",
    "fault: crash within an append",
    "fault: disk full",
    "fault: outcome reported twice",
    "fault: power failure",
    "fault: report from a dead supervisor's process",
    "fault: takeover from a paused supervisor",
    "gate broke",
    "gate passed",
    "gate refused",
    "lane failed",
    "law refused",
    "merge conflict",
    "person: approve",
    "person: cancel",
    "person: raise",
    "person: reject",
    "person: resume",
    "person: resume of one question among several",
    "session: budget spent",
    "session: disk full",
    "session: died",
    "session: filtered",
    "session: handed over",
    "session: hung",
    "session: lies about usage",
    "session: provider fault",
    "session: refused",
    "slot: awaited",
    "slot: released by a crash",
    "slot: stopped while waiting",
    "slot: taken after waiting",
];

#[test]
fn r1_r2_r4_r8_r9_r11_hold_for_every_seed() {
    if let Some(seed) = std::env::var("AGENTOPS_SIM_SEED").ok().and_then(|text| text.parse().ok()) {
        let (went, world) = simulate(seed, None, &fixture::workflow(), true);
        println!("{}", world.trace.unwrap_or_default().join("\n"));
        return went.unwrap_or_else(|why| panic!("{}", replay(seed, &why)));
    }
    let (seeds, start) = (seeds(), Instant::now());
    let (counts, failed) = simulate_many(seeds, None);
    if let Some((seed, why)) = failed {
        panic!("{}", replay(seed, &why));
    }
    let seconds = start.elapsed().as_secs_f64();
    for (what, times) in &counts {
        println!("{times:>10}  {what}");
    }
    let crashes = counts.get("crashes").copied().unwrap_or(0);
    println!(
        "{seeds} seeds in {seconds:.1} s: {:.0} seeds/s, {:.0} crashes/s",
        seeds as f64 / seconds,
        crashes as f64 / seconds
    );
    if seeds >= 500 {
        for what in MUST_HAPPEN {
            assert!(counts.get(what).is_some_and(|times| *times > 0), "{what} never happened");
        }
    }
}

fn is_found(plant: Plant) -> String {
    let (_, failed) = simulate_many(500, Some(plant));
    let Some((seed, why)) = failed else { panic!("{plant:?} was planted and not found") };
    format!("{plant:?} found at seed {seed}: {}", why.chars().take(200).collect::<String>())
}

#[test]
fn planted_an_acknowledgement_before_the_sync_is_found() {
    println!("{}", is_found(Plant::AckBeforeSync));
}

#[test]
fn planted_an_append_without_a_look_at_the_epoch_is_found() {
    println!("{}", is_found(Plant::NoEpochCheck));
}

#[test]
fn planted_a_dropped_idempotency_key_is_found() {
    println!("{}", is_found(Plant::DroppedKey));
}

#[test]
fn planted_a_lost_timer_is_found() {
    println!("{}", is_found(Plant::LostTimer));
}

#[test]
fn planted_a_row_before_its_blob_is_found() {
    println!("{}", is_found(Plant::RowBeforeBlob));
}

#[test]
fn planted_slots_that_a_dead_supervisor_keeps_are_found() {
    println!("{}", is_found(Plant::SlotsOfDeadStayHeld));
}

#[test]
fn planted_a_start_before_its_slot_is_durable_is_found() {
    println!("{}", is_found(Plant::StartBeforeSlotTaken));
}

#[test]
fn planted_a_failed_checkpoint_that_ends_its_session_is_found() {
    println!("{}", is_found(Plant::FailedCheckpointEndsSession));
}
