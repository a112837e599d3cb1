//! Waiting for a slot: before anything else that a session, a gate or a set-up does.

use std::io;
use std::sync::mpsc::{Receiver, Sender};

use agentops_core::id::RunId;
use agentops_core::run::{Event, Key};

use super::{Ctx, Incoming};
use crate::conductor::Input;
use crate::slots::{Asked, Slot};

/// Takes a slot, however long that takes. `None`: the action was stopped while it waited.
///
/// # Errors
/// The lock files cannot be used.
pub(super) fn take(
    ctx: &Ctx,
    run: &RunId,
    key: &Key,
    tx: &Sender<Incoming>,
    rx: &Receiver<Incoming>,
) -> io::Result<Option<Slot>> {
    let holder = agentops_safe::inert_line(&format!("{}, run {run}, {key}", ctx.repo.work_tree().display()), 500);
    let granted = tx.clone();
    let asked = ctx.slots.ask(&holder, move |slot| {
        let _stopped = granted.send(Incoming::Slot(slot));
    })?;
    let _ticket = match asked {
        Asked::Taken(slot) => return Ok(Some(slot)),
        Asked::Waits(ticket) => ticket,
    };
    ctx.report(Input::Happened(run.clone(), Event::SlotAwaited { key: key.clone() }));
    loop {
        match rx.recv() {
            Ok(Incoming::Slot(slot)) => {
                let slot = slot?;
                // Durable before anything starts: what waited when its supervisor died begins anew, and must not have run.
                let taken = ctx.report_and_wait(run, Event::SlotTaken { key: key.clone() });
                return Ok(taken.then_some(slot));
            }
            Ok(Incoming::Stop(_)) | Err(_) => return Ok(None),
            // Nothing else is said to what has not begun.
            Ok(Incoming::Keeper(..) | Incoming::AskHandOver | Incoming::Wire(_)) => {}
        }
    }
}
