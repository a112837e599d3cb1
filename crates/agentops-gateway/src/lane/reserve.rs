//! What a call may cost is reserved in every budget before it leaves, under a grant that is durable.

use std::sync::{Arc, Mutex};

use agentops_core::budget::{Amount, Book, OverBudget, Reservation, Settled};
use agentops_core::models::Price;
use tokio::runtime::Handle;
use tokio::sync::oneshot::error::RecvError;

use super::{Judged, Lane, lock};
use crate::day::Admission;
use crate::host::{Answer, Refusal};
use crate::judge::Room;

impl Lane {
    /// When a call is admitted, and what holds for it then.
    pub(super) fn admission(&self) -> Admission {
        let admission = lock(&self.days).admit((self.rules.clock)(), &self.rules.scopes);
        let (scope, limits) = (admission.day_scope(), self.rules.day);
        let mut book = lock(&self.rules.book);
        if book.account(scope).is_none_or(|account| account.limits() != limits) {
            // What was spent of it is in the book already; saying nothing of it takes nothing away.
            book.set(scope.clone(), limits, Amount::ZERO);
        }
        drop(book);
        admission
    }

    /// Room in every budget, under a grant that is durable.
    pub(super) async fn reserve(
        self: &Arc<Self>,
        judged: &mut Judged,
        room: Room,
        admission: &Admission,
    ) -> Result<Reservation, Refusal> {
        let mut reservation = self.try_reserve(judged, room, admission);
        if matches!(reservation, Err(OverBudget::Limit { .. })) && judged.count().await {
            reservation = self.try_reserve(judged, room, admission);
        }
        // A client that goes away while the grant is on its way takes nothing with it.
        let held = Held { book: &self.rules.book, reservation: Some(reservation?) };
        let mut alone = false;
        let mut granted = Amount::ZERO;
        loop {
            let left = lock(&self.rules.book).room(&admission.scopes, judged.kind);
            let taken = {
                // In one step: the row of a call that ends in between would settle what was granted for this one.
                let mut days = lock(&self.days);
                let grant = days.grant(admission.day);
                grant.add(std::mem::take(&mut granted));
                grant.take(held.amount(), left, admission.at_ms)
            };
            let Err(needs) = taken else { return held.keep().ok_or(Refusal::NotGranted) };
            let ask = if alone { needs.least } else { needs.ask };
            match self.granted(ask, admission).await {
                Ok(Some(more)) => granted = more,
                // Not for others like it, then.
                Ok(None) if ask != needs.least => alone = true,
                answer => {
                    drop(held);
                    // The host may have learned meanwhile of what others spent.
                    return Err(match (self.try_reserve(judged, room, admission), answer) {
                        (Err(over), _) => over.into(),
                        (Ok(reservation), answer) => {
                            lock(&self.rules.book).release(reservation);
                            match answer {
                                Ok(_) => Refusal::SetAside { scope: admission.day_scope().clone() },
                                Err(_) => Refusal::NotGranted,
                            }
                        }
                    });
                }
            }
        }
    }

    fn try_reserve(&self, judged: &Judged, room: Room, admission: &Admission) -> Result<Reservation, OverBudget> {
        let ask = at_list_price(judged.price, judged.input(), room.output);
        lock(&self.rules.book).reserve(&admission.scopes, ask, judged.kind)
    }

    /// Asks the host for a grant. What it makes durable after the client has gone away is left to the lane's next call.
    async fn granted(self: &Arc<Self>, ask: Amount, admission: &Admission) -> Result<Option<Amount>, RecvError> {
        let answer = Some(self.rules.host.grant(ask, admission.at_ms));
        let mut awaited = AwaitedGrant { answer, lane: self, day: admission.day };
        let granted = match &mut awaited.answer {
            Some(answer) => answer.await,
            None => Ok(None),
        };
        awaited.answer = None;
        granted
    }

    /// A call that was admitted at this time has ended and cost this much. Says what was booked, and what that does to the
    /// grant in the ledger.
    pub(crate) fn settle(&self, reservation: Reservation, actual: Amount, admitted_ms: u64) -> (Amount, Settled) {
        let reserved = reservation.amount();
        let booked = lock(&self.rules.book).settle(reservation, actual);
        (booked, lock(&self.days).settle(admitted_ms, reserved, booked))
    }
}

/// A reservation of a call that may still not be made.
struct Held<'a> {
    book: &'a Mutex<Book>,
    reservation: Option<Reservation>,
}

impl Held<'_> {
    fn amount(&self) -> Amount {
        self.reservation.as_ref().map(Reservation::amount).unwrap_or_default()
    }

    fn keep(mut self) -> Option<Reservation> {
        self.reservation.take()
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if let Some(reservation) = self.reservation.take() {
            lock(self.book).release(reservation);
        }
    }
}

/// A grant that was asked for. Dropped before its answer, it adds what comes to the lane's grant of that day.
struct AwaitedGrant<'a> {
    /// `None`: it was answered.
    answer: Option<Answer<Option<Amount>>>,
    lane: &'a Arc<Lane>,
    day: u64,
}

impl Drop for AwaitedGrant<'_> {
    fn drop(&mut self) {
        let (Some(answer), Ok(runtime)) = (self.answer.take(), Handle::try_current()) else { return };
        let (lane, day) = (Arc::clone(self.lane), self.day);
        runtime.spawn(async move {
            if let Ok(Some(granted)) = answer.await {
                lock(&lane.days).grant(day).add(granted);
            }
        });
    }
}

/// What a call may cost at list prices.
pub(crate) fn at_list_price(price: Option<Price>, input: u64, output: u64) -> Amount {
    let micro_usd = price.map(|price| price.upper_bound(input, output));
    Amount { tokens: input.saturating_add(output), micro_usd }
}
