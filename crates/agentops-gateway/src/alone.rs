//! The ledger of each day: one file a day, a JSON object a line, shared by all gateways of this user, those of supervisors too.
//!
//! A grant is written and synced before it is used, under the file's lock and after reading what others wrote, so that
//! gateways side by side cannot pass the day's budget together. A gateway that was killed leaves grants without an end: what
//! rows settle of them is charged by the rows, and the rest counts as spent. A call's grant and row stand in the ledger of the
//! day on which the call was admitted, whenever its gateway was started.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::collections::btree_map::{self, BTreeMap};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use agentops_core::budget::{Amount, Book, Limits, Scope};
use agentops_core::call::CallRow;
use serde::{Deserialize, Serialize};

use crate::lane::lock;

/// Version of the file's format.
const FORMAT: u32 = 1;

/// One line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "entry")]
enum Entry {
    /// A gateway began.
    Began { format: u32, gateway: String },
    /// It may spend this much more.
    Granted { gateway: String, amount: Amount },
    /// A call of it ended.
    Call { gateway: String, lane: String, row: Box<CallRow> },
    /// It ended in order: what it was granted and did not spend is free again.
    Ended { gateway: String },
}

#[derive(Debug, Clone, Copy, Default)]
struct Account {
    /// What was granted and no row has settled.
    open: Amount,
    charged: Amount,
}

impl Account {
    fn spent(&self) -> Amount {
        self.charged.plus(self.open)
    }
}

/// The ledgers of a gateway, one for each day on which it admitted calls.
pub struct Ledgers {
    folder: PathBuf,
    gateway: String,
    limits: Limits,
    book: Arc<Mutex<Book>>,
    open: BTreeMap<String, DayLedger>,
    /// Rows that could not be written yet: a disk may be full for a while.
    unwritten: VecDeque<Unwritten>,
}

/// A call's row, and what has to be granted before it.
struct Unwritten {
    date: String,
    lane: String,
    row: CallRow,
    missing: Option<Amount>,
}

/// Rows that are kept while they cannot be written. For those above it the grants of their calls stand.
const UNWRITTEN_MAX: usize = 1_000;

/// Ledgers that are kept open: of today, and of yesterday for calls that midnight overtook.
const LEDGERS_MAX: usize = 2;

impl Ledgers {
    /// The ledgers in `folder` for a gateway whose name no other has. None of them is opened before it is needed.
    #[must_use]
    pub fn new(folder: PathBuf, gateway: String, limits: Limits, book: Arc<Mutex<Book>>) -> Self {
        let (open, unwritten) = Default::default();
        Self { folder, gateway, limits, book, open, unwritten }
    }

    /// Opens the ledger of `date` before a call needs it.
    ///
    /// # Errors
    /// Its file cannot be used, or is of a newer format.
    pub fn open(mut self, date: &str) -> Result<Self, LedgerError> {
        self.of(date)?;
        Ok(self)
    }

    /// From now on grants must fit within these limits.
    pub fn limit(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// As [`DayLedger::grant`], for a call that was admitted on that day.
    ///
    /// # Errors
    /// The file cannot be used.
    pub fn grant(&mut self, date: &str, ask: Amount) -> Result<Option<Amount>, LedgerError> {
        // What cannot be written yet stays granted, and is tried again.
        let _later = self.write_rows();
        self.of(date)?.grant(ask)
    }

    /// As [`DayLedger::call`], of a call that was admitted on that day. A row that cannot be written is kept and written with
    /// the next grant or row; until then its grant stands for it.
    ///
    /// # Errors
    /// The file cannot be used.
    pub fn call(&mut self, date: &str, lane: &str, row: CallRow, missing: Option<Amount>) -> Result<(), LedgerError> {
        if self.unwritten.len() == UNWRITTEN_MAX {
            self.unwritten.pop_front();
        }
        self.unwritten.push_back(Unwritten { date: date.to_owned(), lane: lane.to_owned(), row, missing });
        self.write_rows()
    }

    fn write_rows(&mut self) -> Result<(), LedgerError> {
        while let Some(mut next) = self.unwritten.pop_front() {
            let Unwritten { date, lane, row, missing } = &mut next;
            if let Err(error) = self.of(date).and_then(|ledger| ledger.call(lane, row, missing)) {
                self.unwritten.push_front(next);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Ends in order, on each day.
    ///
    /// # Errors
    /// A file cannot be used.
    pub fn end(mut self) -> Result<(), LedgerError> {
        let written = self.write_rows();
        let ended: Vec<_> = std::mem::take(&mut self.open).into_values().map(DayLedger::end).collect();
        [written].into_iter().chain(ended).collect()
    }

    fn of(&mut self, date: &str) -> Result<&mut DayLedger, LedgerError> {
        if !self.open.contains_key(date)
            && self.open.len() == LEDGERS_MAX
            && let Some((_, oldest)) = self.open.pop_first()
        {
            oldest.end()?;
        }
        match self.open.entry(date.to_owned()) {
            btree_map::Entry::Occupied(ledger) => {
                let ledger = ledger.into_mut();
                ledger.limits = self.limits;
                Ok(ledger)
            }
            btree_map::Entry::Vacant(none) => {
                let (gateway, book) = (self.gateway.clone(), Arc::clone(&self.book));
                Ok(none.insert(DayLedger::open(&self.folder, date, gateway, self.limits, book)?))
            }
        }
    }
}

/// The ledger of one day, as one gateway sees it.
pub struct DayLedger {
    file: File,
    path: PathBuf,
    read: u64,
    gateway: String,
    scope: Scope,
    limits: Limits,
    accounts: BTreeMap<String, Account>,
    book: Arc<Mutex<Book>>,
}

/// The ledger cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// The file.
    #[error("the ledger {path} cannot be used")]
    File {
        /// Where it is.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// It was written by a newer version.
    #[error("the ledger {path} has format {format}, and this program knows {FORMAT}: use the newer one")]
    Newer {
        /// Where it is.
        path: PathBuf,
        /// Its format.
        format: u32,
    },
}

impl DayLedger {
    /// Opens the ledger of `date` (`2026-11-24`) in `folder` for a gateway whose name no other has.
    ///
    /// # Errors
    /// The file cannot be used, or is of a newer format.
    pub fn open(
        folder: &Path,
        date: &str,
        gateway: String,
        limits: Limits,
        book: Arc<Mutex<Book>>,
    ) -> Result<Self, LedgerError> {
        use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
        let path = folder.join(format!("{date}.jsonl"));
        let failed = |source| LedgerError::File { path: path.clone(), source };
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
        let file = File::options().read(true).append(true).create(true).mode(0o600).open(&path).map_err(failed)?;
        let scope = Scope::Day(date.to_owned());
        let mut ledger = Self { file, path: path.clone(), read: 0, gateway, scope, limits, accounts: BTreeMap::new(), book };
        ledger.locked(|ledger| {
            ledger.catch_up()?;
            let gateway = ledger.gateway.clone();
            ledger.append(&Entry::Began { format: FORMAT, gateway }).map_err(|source| ledger.failed(source))
        })?;
        Ok(ledger)
    }

    /// The day's budget.
    #[must_use]
    pub fn scope(&self) -> Scope {
        self.scope.clone()
    }

    /// Grants `ask`, durably where there is a limit; `None`: the day's budget does not allow it.
    ///
    /// # Errors
    /// The file cannot be used.
    pub fn grant(&mut self, ask: Amount) -> Result<Option<Amount>, LedgerError> {
        self.locked(|ledger| {
            ledger.catch_up()?;
            let total = ledger.accounts.values().fold(ask, |sum, account| sum.plus(account.spent()));
            let over = |limit: Option<u64>, sum: Option<u64>| limit.is_some_and(|limit| sum.is_none_or(|sum| sum > limit));
            if over(ledger.limits.tokens, Some(total.tokens)) || over(ledger.limits.micro_usd, total.micro_usd) {
                return Ok(None);
            }
            let gateway = ledger.gateway.clone();
            ledger.append(&Entry::Granted { gateway, amount: ask }).map_err(|source| ledger.failed(source))?;
            // What is written survives the end of this program, and of the machine once it is synced. Without a limit nothing
            // depends on that.
            if !ledger.limits.is_none() {
                ledger.file.sync_data().map_err(|source| ledger.failed(source))?;
            }
            Ok(Some(ask))
        })
    }

    /// Appends a call, after a grant of what it cost above everything granted (`missing`, which is taken once it is written), or
    /// its row would use up what other calls under way were granted. It is durable with the next grant; until then the grant
    /// stands for it.
    ///
    /// # Errors
    /// The file cannot be used.
    pub fn call(&mut self, lane: &str, row: &CallRow, missing: &mut Option<Amount>) -> Result<(), LedgerError> {
        self.locked(|ledger| {
            let gateway = ledger.gateway.clone();
            if let Some(amount) = *missing {
                let granted = Entry::Granted { gateway: gateway.clone(), amount };
                ledger.append(&granted).map_err(|source| ledger.failed(source))?;
                *missing = None;
            }
            let entry = Entry::Call { gateway, lane: lane.to_owned(), row: Box::new(row.clone()) };
            ledger.append(&entry).map_err(|source| ledger.failed(source))
        })
    }

    /// Ends in order. What was granted and not spent is free again, unless a call has not been settled: it counts as spent in
    /// full, as if the gateway had been killed.
    ///
    /// # Errors
    /// The file cannot be used.
    pub fn end(mut self) -> Result<(), LedgerError> {
        let account = lock(&self.book).account(&self.scope).unwrap_or_default();
        if !account.reserved().is_zero() {
            return Ok(());
        }
        self.locked(|ledger| {
            let gateway = ledger.gateway.clone();
            ledger.append(&Entry::Ended { gateway }).map_err(|source| ledger.failed(source))?;
            ledger.file.sync_data().map_err(|source| ledger.failed(source))
        })
    }

    /// What was spent on this day by all gateways, what is granted and not settled counted as spent.
    #[must_use]
    pub fn spent(&self) -> Amount {
        self.accounts.values().fold(Amount::ZERO, |sum, account| sum.plus(account.spent()))
    }

    fn failed(&self, source: io::Error) -> LedgerError {
        LedgerError::File { path: self.path.clone(), source }
    }

    fn locked<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T, LedgerError>) -> Result<T, LedgerError> {
        self.file.lock().map_err(|source| self.failed(source))?;
        let done = work(self);
        self.file.unlock().map_err(|source| self.failed(source))?;
        done
    }

    /// A line is written at once and whole; a torn one (the machine lost power) has no newline and is closed with one, so
    /// that it spoils no other. If the disk has no room for the whole line, no part of it stays in the file.
    fn append(&mut self, entry: &Entry) -> io::Result<()> {
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        let before = self.file.metadata()?.len();
        self.file.write_all(&line).inspect_err(|_| {
            // What is not cut off is a torn line.
            let _torn = self.file.set_len(before);
        })
    }

    /// Reads what was appended since the last time.
    fn catch_up(&mut self) -> Result<(), LedgerError> {
        let path = self.path.clone();
        let failed = |source| LedgerError::File { path: path.clone(), source };
        self.file.seek(SeekFrom::Start(self.read)).map_err(failed)?;
        let mut reader = BufReader::new(&self.file);
        let mut line = Vec::new();
        let mut torn = false;
        loop {
            line.clear();
            let length = reader.read_until(b'\n', &mut line).map_err(failed)?;
            if length == 0 {
                break;
            }
            self.read += length as u64;
            torn = line.last() != Some(&b'\n');
            // A line that is not whole was never acknowledged, and what it would have settled is still granted.
            let Ok(entry) = serde_json::from_slice(&line) else { continue };
            take(&mut self.accounts, entry).map_err(|format| LedgerError::Newer { path: self.path.clone(), format })?;
        }
        if torn {
            self.file.write_all(b"\n").map_err(failed)?;
            self.read += 1;
        }
        // What this gateway itself has under way is in its own book already.
        let own = self.accounts.get(&self.gateway).copied().unwrap_or_default();
        let others = self.accounts.iter().filter(|(gateway, _)| **gateway != self.gateway);
        let known = others.fold(own.charged, |sum, (_, account)| sum.plus(account.spent()));
        lock(&self.book).set(self.scope.clone(), self.limits, known);
        Ok(())
    }
}

/// Takes an entry in. The error is a newer format.
fn take(accounts: &mut BTreeMap<String, Account>, entry: Entry) -> Result<(), u32> {
    match entry {
        Entry::Began { format, .. } if format > FORMAT => return Err(format),
        Entry::Began { .. } => {}
        Entry::Granted { gateway, amount } => {
            let account = accounts.entry(gateway).or_default();
            account.open = account.open.plus(amount);
        }
        Entry::Call { gateway, row, .. } => {
            let account = accounts.entry(gateway).or_default();
            account.open = account.open.minus(row.settles());
            account.charged = account.charged.plus(row.charged);
        }
        Entry::Ended { gateway } => accounts.entry(gateway).or_default().open = Amount::ZERO,
    }
    Ok(())
}
