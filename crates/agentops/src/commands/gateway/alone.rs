//! The gateway without a supervisor: its lanes, their host, and the day's ledger on a thread of its own, because a grant is
//! synced to disk.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use agentops_core::budget::{Amount, Book, Limits};
use agentops_core::call::CallRow;
use agentops_core::ceiling::Window;
use agentops_core::workflow::Secrets;
use agentops_engine::perform::gateway::{OpenLane, Target, config};
use agentops_engine::world::{Clock, SystemClock};
use agentops_gateway::Gateway;
use agentops_gateway::alone::{LedgerError, Ledgers};
use agentops_gateway::day::date;
use agentops_gateway::host::{Answer, Answering, Host, Note, Refusal, WindowRemedy, answer};
use agentops_gateway::lane::{Lane, Rules};

use super::tally::Tally;
use crate::context::{self, Standing};
use crate::error::{CommandError, FAILED};

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

/// Called on the gateway's own thread: it must not wait.
pub type Show = Box<dyn Fn(&Tally, &News<'_>) + Send + Sync>;

/// What a lane needs besides what all of them share.
pub struct Wish {
    /// Its name in the ledger.
    pub name: String,
    /// Where its calls go.
    pub target: Target,
    /// The window that the user set.
    pub window: Option<Window>,
    /// What a person can do at the ceiling.
    pub hint: String,
    /// What helps where a summary does not fit either.
    pub hint_past_summary: String,
    /// See [`Rules::plain_refusal`].
    pub plain_refusal: bool,
    /// Shows what happens.
    pub show: Show,
}

/// A gateway and its ledgers, one for each day.
pub struct Alone {
    // Ends before the ledger does: what it settles at its end is still written.
    gateway: Arc<Gateway>,
    books: Books,
}

impl Alone {
    /// Starts the gateway.
    pub fn start(standing: &Standing, port: u16) -> Result<Self, CommandError> {
        let books = Books::open(standing)?;
        let mut config = config(&standing.user, &standing.env);
        config.port = port;
        let gateway = Gateway::start(config).map_err(|e| CommandError::new(FAILED, super::super::chain(&e)))?;
        Ok(Self { gateway: Arc::new(gateway), books })
    }

    /// Opens a lane.
    pub fn open(&self, standing: &Standing, wish: Wish) -> Result<(OpenLane, Arc<AloneHost>), CommandError> {
        let tally = Tally::new(!wish.target.takes_limit());
        let host = Arc::new(AloneHost {
            lane: wish.name,
            tell: self.books.tell.clone(),
            tally: Mutex::new(tally),
            show: wish.show,
        });
        let clock = SystemClock::default();
        let rules = Rules {
            provider: wish.target.provider().to_owned(),
            window: wish.window,
            user_windows: standing.user.windows(),
            window_remedy: WindowRemedy::Command,
            takes_limit: wish.target.takes_limit(),
            close_when_refused: false,
            hint: wish.hint,
            hint_past_summary: wish.hint_past_summary,
            plain_refusal: wish.plain_refusal,
            secrets: standing.user.gateway.secrets.unwrap_or(Secrets::Pass),
            redactor: context::redactor(),
            scopes: Vec::new(),
            day: self.books.limits,
            book: Arc::clone(&self.books.book),
            clock: Arc::new(move || clock.now_ms()),
            host: Arc::clone(&host) as Arc<dyn Host>,
        };
        let lane = OpenLane::new(Arc::clone(&self.gateway), Lane::new(rules), wish.target)
            .map_err(|words| CommandError::new(FAILED, words))?;
        Ok((lane, host))
    }

    /// Where it listens.
    pub fn address(&self) -> std::net::SocketAddr {
        self.gateway.address()
    }

    /// Ends the gateway, which settles what is under way, and then the ledger. Says what went wrong with the ledger.
    pub fn end(self) -> Option<String> {
        drop(self.gateway);
        self.books.end()
    }
}

enum Write {
    /// For a call that was admitted at this time.
    Grant(Amount, u64, Answering<Option<Amount>>),
    Row(String, Box<CallRow>, Option<Amount>),
    End,
}

/// The ledger and its thread.
struct Books {
    book: Arc<Mutex<Book>>,
    limits: Limits,
    tell: Sender<Write>,
    thread: JoinHandle<Option<LedgerError>>,
}

impl Books {
    fn open(standing: &Standing) -> Result<Self, CommandError> {
        let book: Arc<Mutex<Book>> = Arc::default();
        let now = SystemClock::default().now_ms();
        let gateway = format!("{}-{now}", std::process::id());
        let limits = standing.user.budget.limits();
        let ledgers = Ledgers::new(standing.home.gateway(), gateway, limits, Arc::clone(&book));
        let ledgers = ledgers.open(&date(now)).map_err(|e| {
            CommandError::new(FAILED, super::super::chain(&e))
                .hint("name another folder with --state-dir, or mend its permissions")
        })?;
        let (tell, told) = channel();
        let thread = std::thread::Builder::new().name("gateway ledger".into()).spawn(move || write(ledgers, &told))?;
        Ok(Self { book, limits, tell, thread })
    }

    fn end(self) -> Option<String> {
        let _gone = self.tell.send(Write::End);
        let trouble = self.thread.join().ok().flatten()?;
        Some(super::super::chain(&trouble))
    }
}

/// Writes until it is told to end. The first thing that went wrong is what it ends with: without a durable grant there is no
/// call, and the grant stands for a row that could not be written.
fn write(mut ledgers: Ledgers, told: &Receiver<Write>) -> Option<LedgerError> {
    let mut trouble = None;
    while let Ok(what) = told.recv() {
        let done = match what {
            Write::Grant(ask, admitted_ms, answering) => ledgers.grant(&date(admitted_ms), ask).map(|granted| {
                let _gone = answering.send(granted);
            }),
            Write::Row(lane, row, missing) => ledgers.call(&date(row.started_ms), &lane, *row, missing),
            Write::End => return trouble.or(ledgers.end().err()),
        };
        trouble = trouble.or(done.err());
    }
    trouble
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
    fn grant(&self, ask: Amount, admitted_ms: u64) -> Answer<Option<Amount>> {
        let (answering, answer) = answer();
        let _ended = self.tell.send(Write::Grant(ask, admitted_ms, answering));
        answer
    }

    fn settled(&self, row: CallRow, missing: Option<Amount>) {
        let mut tally = self.locked();
        let passed_mark = tally.call(&row);
        (self.show)(&tally, &News::Call { row: &row, passed_mark });
        drop(tally);
        let _ended = self.tell.send(Write::Row(self.lane.clone(), Box::new(row), missing));
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
