//! Resident memory: after one call, and after many.

use std::time::{Duration, Instant};

use crate::bodies::numbered;
use crate::figures::{Bench, CONNECTIONS, Figure, Peer, Running, count, ready, warn};
use crate::load::{Limit, closed_loop};
use crate::process::Process;

/// Calls after which memory is read.
const CALLS: [u64; 3] = [10_000, 50_000, 100_000];
/// All of a process's calls end after this time, however many were made.
const TIME: Duration = Duration::from_secs(60);
/// Those that are measured so: the others need minutes for as many calls, or are the same with more threads.
const MEASURED: [&str; 3] = ["bare", "gateway", "gateway, untraced"];

/// Memory of one process as its calls go on.
pub struct Lasting {
    rows: Vec<(&'static str, Vec<Reading>)>,
}

struct Reading {
    calls: u64,
    mib: f64,
}

impl Bench {
    pub fn memory(&self) -> Figure {
        let rss = |running: &Running| {
            let process = running.process.as_ref();
            (running.name, process.map(resident_mib).into_iter().collect())
        };
        let values = self.running.iter().map(rss).collect();
        Figure { title: "resident memory after one call", unit: "MiB", goal: "<= 20 MiB", values }
    }

    /// Starts each anew and makes many calls, each of which begins a conversation.
    pub fn lasting(&self, peers: &[Peer], upstream: &str) -> Lasting {
        let mut rows = Vec::new();
        for peer in peers.iter().filter(|peer| MEASURED.contains(&peer.name)) {
            println!("measuring: memory after many calls, {}", peer.name);
            let started = (peer.start)(upstream);
            let Some(running) = started.and_then(|(process, target)| ready(&self.runtime, peer.name, process, target))
            else {
                continue;
            };
            let Some(process) = &running.process else { continue };
            let mut readings = vec![Reading { calls: 1, mib: resident_mib(process) }];
            let end = Instant::now() + TIME;
            let mut made = 0;
            for calls in CALLS {
                let first = made;
                let limit = Limit { calls: calls - made, time: end.saturating_duration_since(Instant::now()) };
                let calls = closed_loop(&running.target, CONNECTIONS, limit, move |number| numbered(first + number));
                let done = self.runtime.block_on(calls);
                warn(running.name, done.failed);
                made += done.answered + done.failed;
                // What was settled is on its way to the receiver for some time.
                std::thread::sleep(Duration::from_secs(1));
                readings.push(Reading { calls: made, mib: resident_mib(process) });
                if Instant::now() >= end {
                    break;
                }
            }
            rows.push((running.name, readings));
        }
        Lasting { rows }
    }
}

fn resident_mib(process: &Process) -> f64 {
    count(process.rss_kib()) / 1024.0
}

impl Lasting {
    pub fn print(&self) {
        println!("\nresident memory after many calls [MiB]  goal: <= 20 MiB, and no growth with the number of calls");
        for (name, readings) in &self.rows {
            print!("  {name:<20}");
            for Reading { calls, mib } in readings {
                print!("  {mib:.2} after {calls}");
            }
            let before = readings.first().map_or(0.0, |reading| reading.mib);
            let after = readings.last().map_or(0.0, |reading| reading.mib);
            println!("  {:+.2}", after - before);
        }
    }
}
