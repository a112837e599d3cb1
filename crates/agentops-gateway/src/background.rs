//! Answers that a provider makes in the background. Their calls stay charged at their limit until a report settles them: in
//! the answer to the call itself, or when a client asks for the answer later.

use std::collections::BTreeMap;
use std::sync::Mutex;

use crate::lane::lock;
use crate::ticket::Ticket;

/// How many calls of a lane wait for their reports at once. One more is settled without its report.
const CALLS_MAX: usize = 64;
/// How many bytes the requests of all of them may have.
const BYTES_MAX: usize = 64 << 20;

/// The calls of one lane that go on in the background, by the ids of their answers.
#[derive(Debug, Default)]
pub(crate) struct Background(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    calls: BTreeMap<String, Ticket>,
    /// The lane is closed.
    ended: bool,
}

impl Background {
    /// Keeps a call until a client asks for its answer. Returns the call if there is no room for it.
    pub(crate) fn keep(&self, id: String, call: Ticket) -> Result<(), Ticket> {
        let mut waiting = lock(&self.0);
        let bytes: usize = waiting.calls.values().map(Ticket::body_bytes).sum();
        let has_room = waiting.calls.len() < CALLS_MAX && bytes + call.body_bytes() <= BYTES_MAX;
        if waiting.ended || !has_room || waiting.calls.contains_key(&id) {
            return Err(call);
        }
        waiting.calls.insert(id, call);
        Ok(())
    }

    /// Takes out the call that began this answer. The call comes back if the answer is still not complete.
    pub(crate) fn take(&self, id: &str) -> Option<Ticket> {
        lock(&self.0).calls.remove(id)
    }

    /// Settles each call at its limit: no client can ask for its answer any more.
    pub(crate) fn end(&self) {
        let calls = {
            let mut waiting = lock(&self.0);
            waiting.ended = true;
            std::mem::take(&mut waiting.calls)
        };
        for (_, call) in calls {
            call.end();
        }
    }
}
