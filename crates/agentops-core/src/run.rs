//! A run as a pure state machine over its ledger.
//!
//! `state = fold(events)`, and [`State::actions`] says what must be done next in that state. An action is begun by appending
//! [`Event::Began`] with its key and ends with the event that reports its outcome, so the state alone knows what is under
//! way: nothing is remembered elsewhere, and a restart derives the same actions again. Events hold ids, hashes and numbers,
//! never paths, prompts or text.

mod action;
mod apply;
mod event;
mod spent;
mod state;
mod status;

pub use action::{Action, Key, Timer};
pub use apply::Illegal;
pub use event::*;
pub use state::*;
pub use status::{Share, Status, Waiting};

#[cfg(test)]
mod tests;
