//! The host of a gateway without a supervisor: a ledger a day, on a thread of its own, because a grant is synced to disk.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use agentops_core::budget::{Amount, Book, Scope};
use agentops_core::call::CallRow;
use agentops_engine::world::{Clock, SystemClock};
use agentops_gateway::alone::{DayLedger, LedgerError};
use agentops_gateway::host::{Answer, Answering, Host, Note, Refusal, answer};

use super::tally::Tally;
use crate::context::Standing;

/// What happened, for whoever shows it.
pub enum News<'a> {
    /// A call ended.
    Call {
        /// The call.
        row: &'a CallRow,
        /// Its lane's conversation passed the soft mark with it.
        passed_mark: bool,
    },
    /// A call was not forwarded.
    Refused(&'a Refusal),
    /// Something to note.
    Note(&'a Note),
}

type Show = Box<dyn Fn(&Tally, &News<'_>) + Send + Sync>;

enum Write {
    Grant(Amount, Answering<Option<Amount>>),
    Row(String, Box<CallRow>),
    End,
}

/// The ledger and its thread.
pub struct Books {
    /// The accounts.
    pub book: Arc<Mutex<Book>>,
    /// The day's budget.
    pub scope: Scope,
    tell: Sender<Write>,
    thread: Option<JoinHandle<()>>,
}

impl Books {
    /// Opens the day's ledger.
    pub fn open(standing: &Standing) -> Result<Self, LedgerError> {
        let book: Arc<Mutex<Book>> = Arc::default();
        let now = SystemClock::default().now_ms();
        let date = day(now);
        let gateway = format!("{}-{now}", std::process::id());
        let limits = standing.user.budget.limits();
        let ledger = DayLedger::open(&standing.home.gateway_ledgers(), &date, gateway, limits, Arc::clone(&book))?;
        let scope = ledger.scope();
        let (tell, told) = channel();
        let thread = std::thread::Builder::new().name("gateway ledger".into()).spawn(move || write(ledger, &told)).ok();
        Ok(Self { book, scope, tell, thread })
    }

    /// A host for one lane.
    pub fn host(&self, lane: &str, login: bool, show: Show) -> Arc<AloneHost> {
        let tally = Mutex::new(Tally { login, ..Tally::default() });
        Arc::new(AloneHost { lane: lane.to_owned(), tell: self.tell.clone(), tally, show })
    }
}

impl Drop for Books {
    fn drop(&mut self) {
        let _gone = self.tell.send(Write::End);
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

fn write(mut ledger: DayLedger, told: &Receiver<Write>) {
    while let Ok(what) = told.recv() {
        match what {
            Write::Grant(ask, answering) => {
                // Without a durable grant there is no call, whatever the reason.
                let _gone = answering.send(ledger.grant(ask).ok().flatten());
            }
            Write::Row(lane, row) => {
                // The grant stands for a row that cannot be written.
                let _lost = ledger.call(&lane, *row);
            }
            Write::End => {
                let _left_granted = ledger.end();
                return;
            }
        }
    }
}

/// The UTC date of a time.
fn day(now_ms: u64) -> String {
    let at = jiff::Timestamp::from_millisecond(i64::try_from(now_ms).unwrap_or(i64::MAX)).unwrap_or(jiff::Timestamp::MAX);
    at.strftime("%Y-%m-%d").to_string()
}

/// The host of one lane.
pub struct AloneHost {
    lane: String,
    tell: Sender<Write>,
    tally: Mutex<Tally>,
    show: Show,
}

impl AloneHost {
    /// What the lane's calls came to.
    pub fn tally(&self) -> Tally {
        self.locked().clone()
    }

    fn locked(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Host for AloneHost {
    fn grant(&self, ask: Amount) -> Answer<Option<Amount>> {
        let (answering, answer) = answer();
        let _ended = self.tell.send(Write::Grant(ask, answering));
        answer
    }

    fn settled(&self, row: CallRow, _missing: Option<Amount>) {
        let mut tally = self.locked();
        let passed_mark = tally.call(&row);
        (self.show)(&tally, &News::Call { row: &row, passed_mark });
        drop(tally);
        let _ended = self.tell.send(Write::Row(self.lane.clone(), Box::new(row)));
    }

    fn refused(&self, refusal: Refusal) -> Answer<()> {
        let mut tally = self.locked();
        tally.refused += 1;
        (self.show)(&tally, &News::Refused(&refusal));
        let (answering, answer) = answer();
        let _waits = answering.send(());
        answer
    }

    fn note(&self, note: Note) {
        (self.show)(&self.locked(), &News::Note(&note));
    }
}
