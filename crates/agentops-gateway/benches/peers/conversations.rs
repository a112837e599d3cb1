//! Many conversations through one lane, beside one.

use std::sync::Arc;

use bytes::Bytes;

use crate::bodies::Growing;
use crate::figures::{Bench, CONNECTIONS, Figure, per, warn};
use crate::load::closed_loop;

/// Conversations that go on at the same time: far more than a lane remembers.
const CONVERSATIONS: u64 = 1_000;
/// Four messages of 4 KB.
const KILOBYTES: usize = 15;

impl Bench {
    /// Calls of 1,000 conversations in turn, and as a comparison the same number of bytes from a single one.
    pub fn conversations(&self) -> [Figure; 2] {
        let body = |number: u64| Growing::new(KILOBYTES, 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(number + 1)).body();
        let bodies: Arc<[Bytes]> = (0..CONVERSATIONS).map(body).collect();
        let mut values = self.by_turns("conversations", |running| {
            let Some(process) = &running.process else { return vec![None, None] };
            let cpu_per_call = |conversations: usize| {
                let bodies = Arc::clone(&bodies);
                let body = move |number: u64| {
                    let conversation = usize::try_from(number).unwrap_or_default() % conversations;
                    bodies[conversation].clone()
                };
                let before = process.cpu_ns();
                let done = self.runtime.block_on(closed_loop(&running.target, CONNECTIONS, self.window, body));
                warn(running.name, done.failed);
                Some(per(process.cpu_ns().saturating_sub(before), done.answered) / 1e3)
            };
            vec![cpu_per_call(bodies.len()), cpu_per_call(1)]
        });
        let one = values.pop().unwrap_or_default();
        let many = values.pop().unwrap_or_default();
        let goal = "<= 2.2 x bare";
        [
            Figure { title: "CPU, 1,000 conversations of 16 KB in turn, 64 connections", unit: "µs", goal, values: many },
            Figure { title: "CPU, one conversation of 16 KB, 64 connections", unit: "µs", goal, values: one },
        ]
    }
}
