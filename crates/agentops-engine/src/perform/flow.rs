//! What may wait between a keeper and whoever works on its messages: bounded, so that a flood is slowed at its source.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

use agentops_agents::keeper::FromKeeper;

/// While more than this waits, the keeper is not read: it stops reading its program in turn.
const WAITING_BYTES_MAX: usize = 1 << 20;

/// The bytes that wait now.
#[derive(Clone, Default)]
pub(crate) struct Flow(Arc<(Mutex<usize>, Condvar)>);

/// A message's place among what waits; given back when the message is done with, or dropped with its queue.
pub(crate) struct Place {
    flow: Flow,
    bytes: usize,
}

impl Flow {
    /// Waits for room. A message larger than all of it passes alone.
    pub(crate) fn enter(&self, message: &FromKeeper) -> Place {
        let text = match message {
            FromKeeper::Out { line } | FromKeeper::Err { line } => line.len(),
            _ => 0,
        };
        // What a message takes besides its text counts too, or empty lines would be free.
        let bytes = text + 128;
        let (waiting, given_back) = &*self.0;
        let held = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let full = |held: &mut usize| *held > 0 && *held + bytes > WAITING_BYTES_MAX;
        *given_back.wait_while(held, full).unwrap_or_else(PoisonError::into_inner) += bytes;
        Place { flow: self.clone(), bytes }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let (waiting, given_back) = &*self.flow.0;
        *waiting.lock().unwrap_or_else(PoisonError::into_inner) -= self.bytes;
        given_back.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn p4_a_flood_waits_until_what_came_before_is_done_with() {
        let (flow, (tell, told)) = (Flow::default(), channel());
        let line = FromKeeper::Out { line: "x".repeat(WAITING_BYTES_MAX / 4) };
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let tell = tell;
                for _ in 0..100 {
                    tell.send(flow.enter(&line)).unwrap();
                }
            });
            for place in told {
                assert!(*flow.0.0.lock().unwrap() <= WAITING_BYTES_MAX);
                drop(place);
            }
        });
        assert_eq!(*flow.0.0.lock().unwrap(), 0);
    }

    #[test]
    fn a_message_larger_than_all_of_it_passes_alone() {
        let flow = Flow::default();
        drop(flow.enter(&FromKeeper::Out { line: "x".repeat(2 * WAITING_BYTES_MAX) }));
        drop(flow.enter(&FromKeeper::OutputFull));
    }
}
