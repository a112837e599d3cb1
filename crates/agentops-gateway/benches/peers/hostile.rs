//! Texts that are made to cost much, beside ordinary text of the same size.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::StatusCode;

use crate::bodies::{HOSTILE, HOSTILE_BYTES, Hostile};
use crate::figures::{Bench, Running, median, per, warn};
use crate::load::{Caller, Target};
use crate::process::Process;

/// Calls in one measurement, unless they need longer than its window.
const CALLS: u64 = 8;
/// Those that are compared, in the order of the table's columns.
const COLUMNS: [&str; 3] = ["bare", "gateway", "counted"];

/// What each text costs.
pub struct Table {
    rows: Vec<Row>,
}

struct Row {
    name: &'static str,
    /// CPU of a call by column and round, in microseconds.
    columns: [Vec<f64>; COLUMNS.len()],
    /// The gateway does not forward it, although it fits.
    is_refused: bool,
}

impl Row {
    fn medians(&self) -> [f64; COLUMNS.len()] {
        self.columns.each_ref().map(|values| median(values).unwrap_or(f64::NAN))
    }
}

impl Bench {
    /// Measures each text at the bare proxy, at the gateway, and at a gateway with a window so small that the tokenizer has
    /// to count it; that one then refuses the call.
    pub fn hostile(&self, upstream: &str) -> Table {
        let (process, base) = Process::role(&["narrow", upstream, "0"]);
        let counted = Running { name: "counted", process: Some(process), target: Arc::new(Target::new(base, "")) };
        let row =
            |text: &Hostile| Row { name: text.name, columns: [const { Vec::new() }; COLUMNS.len()], is_refused: false };
        let mut rows: Vec<Row> = HOSTILE.iter().map(row).collect();
        let mut number = 0;
        for round in 0..self.rounds {
            println!("measuring: hostile texts, round {} of {}", round + 1, self.rounds);
            for (text, row) in HOSTILE.iter().zip(&mut rows) {
                for (column, values) in COLUMNS.into_iter().zip(&mut row.columns) {
                    let running = self.running.iter().chain([&counted]).find(|running| running.name == column);
                    let Some(running) = running else { continue };
                    number += CALLS + 1;
                    let (cpu, status) = self.cpu_per_call(running, text, number);
                    values.extend(cpu);
                    row.is_refused |= column == "gateway" && status.is_some_and(|status| status.is_client_error());
                }
            }
        }
        Table { rows }
    }

    /// Microseconds of CPU, and how the last call was answered; `None`: not at all.
    fn cpu_per_call(&self, running: &Running, text: &Hostile, first: u64) -> (Option<f64>, Option<StatusCode>) {
        let Some(process) = &running.process else { return (None, None) };
        let Some(mut caller) = self.runtime.block_on(Caller::connect(Arc::clone(&running.target))) else {
            return (None, None);
        };
        let mut call = |number: u64| {
            let body = text.body(number);
            let answer = self.runtime.block_on(caller.exchange(body));
            warn(running.name, u64::from(answer.is_none()));
            answer.map(|(status, _)| status)
        };
        // The first one connects, starts threads and loads tables.
        call(first);
        let quiet = || {
            std::thread::sleep(Duration::from_millis(3));
            process.cpu_ns()
        };
        let before = quiet();
        let end = Instant::now() + self.window;
        let (mut calls, mut status) = (0, None);
        while calls < CALLS && (calls == 0 || Instant::now() < end) {
            calls += 1;
            status = call(first + calls);
        }
        (Some(per(quiet().saturating_sub(before), calls) / 1e3), status)
    }
}

impl Table {
    /// The medians, and for each gateway how many times ordinary text they are.
    pub fn print(&self) {
        println!(
            "\nCPU per call of {} KB [µs], of which nothing is known  goal: <= 10 x ordinary text of the same size",
            HOSTILE_BYTES >> 10
        );
        println!(
            "  {:<22}{:>10}{:>12}{:>10}{:>13}{:>12}{:>13}",
            "", "bare", "gateway", "x bare", "x ordinary", "counted", "x ordinary"
        );
        let Some([_, ordinary, ordinary_counted]) = self.rows.first().map(Row::medians) else { return };
        for row in &self.rows {
            let [bare, gateway, counted] = row.medians();
            println!(
                "  {:<22}{bare:>10.0}{gateway:>12.0}{:>10.2}{:>13.2}{counted:>12.0}{:>13.2}{}",
                row.name,
                gateway / bare,
                gateway / ordinary,
                counted / ordinary_counted,
                if row.is_refused { "  refused" } else { "" }
            );
        }
    }
}
