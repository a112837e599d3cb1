//! The ledger in SQLite: append-only, durable, fenced by epoch.
//!
//! WAL with `synchronous=FULL`: a transaction that was acknowledged survives power loss. One connection writes. Every append
//! checks the epoch in its own transaction, so a supervisor that was paused and taken over from can write nothing. The table
//! `runs` is a cache for lists: it may be dropped or emptied and is made again from `events` by the next supervisor. So are the
//! tables of `programs`.
//!
//! SQLite has checksums in its WAL and none in the database file, so every entry has its own, over what it says, its place
//! and the place of its run's entry before it: what was changed, lost from the middle or moved is told, not believed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use agentops_core::budget::Amount;
use agentops_core::id::{BlobId, Name, RunId, SessionId};
use agentops_core::run::{Closing, Event, FORMAT, Outcome, SessionEnd, State};
use agentops_git::is_on_full_disk;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, TransactionBehavior, params};
use sha2::{Digest, Sha256};

use crate::crash::boundary;
use crate::reserve::Reserve;
use crate::world::{Entry, Row, Storage, StorageError};

mod programs;

pub use programs::{Agreement, ProgramChange};

/// A run in a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// The run.
    pub run: RunId,
    /// When it started, Unix milliseconds.
    pub started_ms: u64,
    /// The task's text.
    pub task: BlobId,
    /// The workflow.
    pub workflow: Name,
    /// When it ended.
    pub ended_ms: Option<u64>,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// What became of it.
    pub closing: Option<Closing>,
}

/// An open ledger.
pub struct Ledger {
    db: Connection,
    path: PathBuf,
    /// `None`: opened for reading.
    epoch: Option<u64>,
    /// Given back when an agent's exit finds the disk full.
    reserve: Option<Arc<Reserve>>,
}

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    run TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    body TEXT NOT NULL,
    prev INTEGER NOT NULL,
    sum INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS events_by_run ON events (run, seq);
CREATE TABLE IF NOT EXISTS runs (
    run TEXT PRIMARY KEY,
    first_seq INTEGER NOT NULL,
    started_ms INTEGER NOT NULL,
    task TEXT NOT NULL,
    workflow TEXT NOT NULL,
    ended INTEGER NOT NULL DEFAULT 0,
    ended_ms INTEGER,
    outcome TEXT,
    closing TEXT
) STRICT;
";

impl Ledger {
    /// Opens the ledger for the supervisor: takes the next epoch, so that any older supervisor is fenced from now on.
    ///
    /// # Errors
    /// It cannot be opened or made, is damaged, or is of a newer format.
    pub fn open(path: &Path) -> Result<Self, StorageError> {
        check_wal(path)?;
        let mut ledger = Self::connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
        let fail = |e| failed(path, "opened", &e);
        boundary("ledger-after-create");
        // First of all: a newer one is refused before anything of it is changed.
        ledger.check_format()?;
        ledger.db.pragma_update(None, "journal_mode", "WAL").map_err(fail)?;
        ledger.db.pragma_update(None, "synchronous", "FULL").map_err(fail)?;
        boundary("ledger-before-schema");
        // The tables, the format and the epoch in one transaction: a crash leaves a ledger, or a file without tables, which
        // is the same as no file.
        let tx = ledger.db.transaction_with_behavior(TransactionBehavior::Immediate).map_err(fail)?;
        programs::make(&tx).map_err(fail)?;
        tx.execute_batch(SCHEMA).map_err(fail)?;
        list_again(&tx, path)?;
        let kept = "INSERT INTO meta (key, value) VALUES ('format', ?1) ON CONFLICT (key) DO UPDATE SET value = ?1";
        tx.execute(kept, [FORMAT]).map_err(fail)?;
        let next = "INSERT INTO meta (key, value) VALUES ('epoch', 1) \
                    ON CONFLICT (key) DO UPDATE SET value = value + 1 RETURNING value";
        let epoch: u64 = tx.query_row(next, [], |row| row.get(0)).map_err(fail)?;
        tx.commit().map_err(fail)?;
        ledger.epoch = Some(epoch);
        ledger.settle();
        Ok(ledger)
    }

    /// Moves what is acknowledged from the write-ahead log into the database, as far as no reader is in the way, so that one
    /// damaged or lost file takes less with it. Nothing depends on it.
    pub fn settle(&self) {
        let _later = self.db.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
    }

    /// Opens it for reading, beside a supervisor; `None` when there is none yet. A file without tables is none: a supervisor
    /// was killed while it made the ledger, and the next one goes on there.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn read(path: &Path) -> Result<Option<Self>, StorageError> {
        check_wal(path)?;
        if !path.exists() {
            return Ok(None);
        }
        match Self::read_shared(path) {
            Err(e @ (StorageError::Full { .. } | StorageError::Unwritable { .. })) => Self::read_alone(path).map_err(|_| e),
            read => read,
        }
    }

    /// Reading a WAL database beside its writer needs the shared-memory file, hence write access; `query_only` keeps us to
    /// reading, and the last reader leaves the WAL to the next supervisor.
    fn read_shared(path: &Path) -> Result<Option<Self>, StorageError> {
        let fail = |e| failed(path, "opened", &e);
        let ledger = Self::connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        ledger.db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(fail)?;
        ledger.db.pragma_update(None, "query_only", true).map_err(fail)?;
        let has_tables = ledger.check_format()?;
        Ok(has_tables.then_some(ledger))
    }

    /// Opens the ledger without writing a byte, for a disk that is full or read-only. SQLite's shared-memory file cannot be
    /// made there, so nothing locks out a writer. A row that is read while it is written does not match its checksum and is
    /// refused.
    fn read_alone(path: &Path) -> Result<Option<Self>, StorageError> {
        let fail = |e| failed(path, "opened", &e);
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags_and_vfs(path, flags, c"unix-none").map_err(fail)?;
        db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(fail)?;
        // Before the first read: then the index of the WAL is kept in memory.
        db.pragma_update(None, "locking_mode", "EXCLUSIVE").map_err(fail)?;
        let ledger = Self { db, path: path.to_owned(), epoch: None, reserve: None };
        let has_tables = ledger.check_format()?;
        Ok(has_tables.then_some(ledger))
    }

    fn connect(path: &Path, flags: OpenFlags) -> Result<Self, StorageError> {
        let db = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)
            .map_err(|e| failed(path, "opened", &e))?;
        db.busy_timeout(Duration::from_secs(10)).map_err(|e| failed(path, "opened", &e))?;
        Ok(Self { db, path: path.to_owned(), epoch: None, reserve: None })
    }

    /// Whether the file has tables at all.
    fn check_format(&self) -> Result<bool, StorageError> {
        let fail = |e| failed(&self.path, "opened", &e);
        let sql =
            "SELECT count(*), count(*) FILTER (WHERE name IN ('meta', 'events')) FROM sqlite_master WHERE type = 'table'";
        let (tables, ours): (u32, u32) = self.db.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).map_err(fail)?;
        if tables == 0 {
            return Ok(false);
        }
        if ours < 2 {
            return Err(self.corrupt("it has none of a ledger's tables".to_owned()));
        }
        let found: Option<u32> = self
            .db
            .query_row("SELECT value FROM meta WHERE key = 'format'", [], |row| row.get(0))
            .optional()
            .map_err(fail)?;
        match found {
            Some(found) if found > FORMAT => Err(StorageError::Newer { found, known: FORMAT }),
            _ => Ok(true),
        }
    }

    /// Runs, newest first, at most `limit`; runs that have not ended are always among them.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn runs(&self, limit: u32) -> Result<Vec<Line>, StorageError> {
        let sql = "SELECT run, started_ms, task, workflow, ended_ms, outcome, closing FROM runs \
                   WHERE ended = 0 OR run IN (SELECT run FROM runs ORDER BY first_seq DESC LIMIT ?1) ORDER BY first_seq DESC";
        let rows = self.query(sql, [limit], |row| {
            let text = |index: usize| row.get::<_, Option<String>>(index);
            Ok((
                row.get::<_, String>(0)?,
                row.get(1)?,
                row.get::<_, String>(2)?,
                row.get::<_, String>(3)?,
                row.get(4)?,
                text(5)?,
                text(6)?,
            ))
        })?;
        let parse = |text: Option<String>| text.and_then(|text| serde_json::from_str(&text).ok());
        rows.into_iter()
            .map(|(run, started_ms, task, workflow, ended_ms, outcome, closing)| {
                Ok(Line {
                    run: self.run_id(&run)?,
                    started_ms,
                    task: task.parse().map_err(|e| self.corrupt(format!("{e}")))?,
                    workflow: workflow.parse().map_err(|e| self.corrupt(format!("{e}")))?,
                    ended_ms,
                    outcome: outcome.and_then(|text| serde_json::from_str(&text).ok()),
                    closing: parse(closing),
                })
            })
            .collect()
    }

    /// Entries after `seq`, of one run or of all, at most `limit`.
    ///
    /// # Errors
    /// The ledger cannot be read, or an entry is damaged.
    pub fn entries_after(&self, run: Option<&RunId>, seq: u64, limit: u32) -> Result<Vec<Entry>, StorageError> {
        let sql = "SELECT seq, run, at_ms, epoch, body, prev, sum FROM events \
                   WHERE seq > ?1 AND (?2 IS NULL OR run = ?2) ORDER BY seq LIMIT ?3";
        let entries = self.entries(sql, params![seq, run.map(RunId::as_str), limit], false)?;
        let gap = |(before, entry): (u64, &Entry)| run.is_none() && entry.seq != before + 1;
        match (seq..).zip(&entries).find(|pair| gap(*pair)) {
            Some((before, _)) => Err(self.corrupt(format!("entry {} is missing", before + 1))),
            None => Ok(entries),
        }
    }

    /// The state of one run; `None` when there is none of that id.
    ///
    /// # Errors
    /// The ledger cannot be read or is damaged.
    pub fn state(&mut self, run: &RunId) -> Result<Option<State>, StorageError> {
        let mut state: Option<State> = None;
        for entry in self.load_run(run)? {
            let folded = match &mut state {
                None => State::first(&entry.event, entry.at_ms).map(|first| state = Some(first)),
                Some(state) => state.apply(&entry.event, entry.at_ms),
            };
            folded.map_err(|e| self.corrupt(format!("entry {}: {e}", entry.seq)))?;
        }
        Ok(state)
    }

    /// What sessions spent from a time on, in Unix milliseconds. What was granted and not settled counts as spent, except of
    /// sessions that ended in order.
    ///
    /// # Errors
    /// The ledger cannot be read, or an entry is damaged.
    pub fn spent_since(&self, at_ms: u64) -> Result<Amount, StorageError> {
        let sql = "SELECT seq, run, at_ms, epoch, body, prev, sum FROM events WHERE at_ms >= ?1 \
                   AND (body LIKE '{\"event\":\"call\"%' OR body LIKE '{\"event\":\"granted\"%' OR body LIKE '{\"event\":\"session-exited\"%' OR body LIKE '{\"event\":\"session-ended\"%')";
        #[derive(Default)]
        struct Spent {
            /// What was granted and no row has settled.
            open: Amount,
            charged: Amount,
            exited: bool,
        }
        let mut sessions: BTreeMap<(RunId, SessionId), Spent> = BTreeMap::new();
        for Entry { run, event, .. } in self.entries(sql, [at_ms], false)? {
            match event {
                Event::Granted { session, amount } => {
                    let spent = sessions.entry((run, session)).or_default();
                    spent.open = spent.open.plus(amount);
                }
                Event::Call { session, row: Some(row), .. } => {
                    let spent = sessions.entry((run, session)).or_default();
                    spent.open = spent.open.minus(row.settles());
                    spent.charged = spent.charged.plus(row.charged);
                }
                Event::SessionExited { session, exit } => {
                    let spent = sessions.entry((run, session)).or_default();
                    spent.exited = true;
                    if exit.end != SessionEnd::Interrupted {
                        spent.open = Amount::ZERO;
                    }
                }
                // Before format 5 the end was the exit. Since then the end says what became of the lane, not of the calls.
                Event::SessionEnded { session, end, .. } if end != SessionEnd::Interrupted => {
                    let spent = sessions.entry((run, session)).or_default();
                    if !spent.exited {
                        spent.open = Amount::ZERO;
                    }
                }
                _ => {}
            }
        }
        Ok(sessions.values().fold(Amount::ZERO, |sum, spent| sum.plus(spent.charged).plus(spent.open)))
    }

    /// Runs whose result was merged or discarded, if nothing was written about them since.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn closed_before(&self, before_ms: u64) -> Result<Vec<(RunId, Closing)>, StorageError> {
        let sql = "SELECT run, closing FROM runs WHERE closing IS NOT NULL \
                   AND (SELECT max(at_ms) FROM events WHERE events.run = runs.run) < ?1";
        let rows = self.query(sql, [before_ms], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
        let closed = |(run, closing): (String, String)| {
            let closing = serde_json::from_str(&closing).ok()?;
            Some(self.run_id(&run).map(|run| (run, closing)))
        };
        rows.into_iter().filter_map(closed).collect()
    }

    /// Checks the whole file.
    ///
    /// # Errors
    /// It is damaged.
    pub fn check(&self) -> Result<(), StorageError> {
        let found: Vec<String> = self.query("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
        match found.first().map(String::as_str) {
            Some("ok") => Ok(()),
            other => Err(self.corrupt(other.unwrap_or("no answer").to_owned())),
        }
    }

    fn corrupt(&self, reason: String) -> StorageError {
        StorageError::Corrupt { path: self.path.display().to_string(), reason }
    }

    fn run_id(&self, text: &str) -> Result<RunId, StorageError> {
        text.parse().map_err(|e| self.corrupt(format!("{e}")))
    }

    fn query<T, P: rusqlite::Params>(
        &self,
        sql: &str,
        params: P,
        read: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, StorageError> {
        let fail = |e| failed(&self.path, "read", &e);
        let mut statement = self.db.prepare_cached(sql).map_err(fail)?;
        let rows = statement.query_map(params, read).map_err(fail)?;
        rows.collect::<rusqlite::Result<Vec<T>>>().map_err(fail)
    }

    /// `whole`: the query gives whole runs, so that each entry must follow its run's last one.
    fn entries<P: rusqlite::Params>(&self, sql: &str, params: P, whole: bool) -> Result<Vec<Entry>, StorageError> {
        let rows = self.query(sql, params, |row| {
            let kept = Kept {
                seq: row.get(0)?,
                run: row.get(1)?,
                at_ms: row.get(2)?,
                epoch: row.get(3)?,
                body: row.get(4)?,
                prev: row.get(5)?,
            };
            Ok((kept, row.get::<_, i64>(6)?))
        })?;
        let mut last: BTreeMap<RunId, u64> = BTreeMap::new();
        let entry = |(kept, sum): (Kept, i64)| {
            let seq = kept.seq;
            if kept.sum() != sum {
                return Err(self.corrupt(format!("entry {seq} is not what was written")));
            }
            let run = self.run_id(&kept.run)?;
            if whole && last.insert(run.clone(), seq).unwrap_or(0) != kept.prev {
                return Err(self.corrupt(format!("entry {} before entry {seq} is missing", kept.prev)));
            }
            let event = serde_json::from_str(&kept.body).map_err(|e| self.corrupt(format!("entry {seq}: {e}")))?;
            Ok(Entry { seq, run, at_ms: kept.at_ms, event })
        };
        rows.into_iter().map(entry).collect()
    }
}

/// An entry as it is kept.
struct Kept {
    seq: u64,
    run: String,
    at_ms: u64,
    epoch: u64,
    body: String,
    /// The run's entry before this one; 0: this is its first.
    prev: u64,
}

impl Kept {
    fn sum(&self) -> i64 {
        let mut digest = Sha256::new();
        for number in [self.seq, self.at_ms, self.epoch, self.prev, self.run.len() as u64] {
            digest.update(number.to_le_bytes());
        }
        digest.update(&self.run);
        digest.update(&self.body);
        let digest: [u8; 32] = digest.finalize().into();
        digest[..8].iter().fold(0, |sum, byte| (sum << 8) | i64::from(*byte))
    }
}

/// Keeps the list of runs in step with an entry.
fn list(db: &Connection, path: &Path, run: &str, seq: u64, at_ms: u64, event: &Event) -> Result<(), StorageError> {
    let done = match event {
        Event::Created(created) => {
            let sql = "INSERT INTO runs (run, first_seq, started_ms, task, workflow) VALUES (?1, ?2, ?3, ?4, ?5)";
            db.execute(sql, params![run, seq, at_ms, created.task.as_str(), created.workflow.name.as_str()])
        }
        Event::Ended { outcome } => {
            let sql = "UPDATE runs SET ended = 1, ended_ms = ?2, outcome = ?3 WHERE run = ?1";
            db.execute(sql, params![run, at_ms, json(outcome)?])
        }
        Event::Closed { closing } => db.execute("UPDATE runs SET closing = ?2 WHERE run = ?1", params![run, json(closing)?]),
        other => return programs::list(db, run, seq, other).map_err(|e| failed(path, "written", &e)),
    };
    done.map(|_| ()).map_err(|e| failed(path, "written", &e))
}

/// Makes the list of runs again from the entries, when it is empty and there are some.
fn list_again(db: &Connection, path: &Path) -> Result<(), StorageError> {
    let fail = |e| failed(path, "opened", &e);
    let gone = "SELECT NOT EXISTS (SELECT 1 FROM runs) AND EXISTS (SELECT 1 FROM events)";
    if !db.query_row(gone, [], |row| row.get::<_, bool>(0)).map_err(fail)? {
        return Ok(());
    }
    programs::empty(db).map_err(fail)?;
    let sql = "SELECT seq, run, at_ms, body FROM events \
               WHERE json_extract(body, '$.event') IN ('created', 'ended', 'closed', 'repository-recorded', \
               'repository-compared', 'programs-agreed') ORDER BY seq";
    let mut statement = db.prepare(sql).map_err(fail)?;
    let mut rows = statement.query([]).map_err(fail)?;
    while let Some(row) = rows.next().map_err(fail)? {
        let seq: u64 = row.get(0).map_err(fail)?;
        let (run, at_ms): (String, u64) = (row.get(1).map_err(fail)?, row.get(2).map_err(fail)?);
        let body: String = row.get(3).map_err(fail)?;
        let event = serde_json::from_str(&body)
            .map_err(|e| StorageError::Corrupt { path: path.display().to_string(), reason: format!("entry {seq}: {e}") })?;
        list(db, path, &run, seq, at_ms, &event)?;
    }
    Ok(())
}

impl Storage for Ledger {
    fn load_open(&mut self) -> Result<Vec<Entry>, StorageError> {
        let sql = "SELECT seq, run, at_ms, epoch, body, prev, sum FROM events \
                   WHERE run IN (SELECT run FROM runs WHERE ended = 0) ORDER BY seq";
        self.entries(sql, [], true)
    }

    fn load_run(&mut self, run: &RunId) -> Result<Vec<Entry>, StorageError> {
        let sql = "SELECT seq, run, at_ms, epoch, body, prev, sum FROM events WHERE run = ?1 ORDER BY seq";
        self.entries(sql, [run.as_str()], true)
    }

    fn append(&mut self, rows: &[Row]) -> Result<(), StorageError> {
        match (self.append_once(rows), &self.reserve) {
            (Err(StorageError::Full { .. }), Some(reserve)) if rows.iter().any(|row| is_of_an_exit(&row.event)) => {
                reserve.release();
                self.append_once(rows)
            }
            (appended, _) => appended,
        }
    }
}

/// What is written between an agent's exit and its session's next step.
fn is_of_an_exit(event: &Event) -> bool {
    matches!(event, Event::RepositoryCompared { .. } | Event::SessionExited { .. })
}

impl Ledger {
    /// The same with space that is set aside on its disk.
    #[must_use]
    pub fn with_reserve(self, reserve: Arc<Reserve>) -> Self {
        Self { reserve: Some(reserve), ..self }
    }

    fn append_once(&mut self, rows: &[Row]) -> Result<(), StorageError> {
        let fail = |e| failed(&self.path, "written", &e);
        let ours = self.epoch.unwrap_or(0);
        let tx = self.db.transaction_with_behavior(TransactionBehavior::Immediate).map_err(fail)?;
        let found: u64 = tx
            .prepare_cached("SELECT value FROM meta WHERE key = 'epoch'")
            .and_then(|mut epoch| epoch.query_row([], |row| row.get(0)))
            .map_err(fail)?;
        if found != ours {
            return Err(StorageError::Fenced { ours, found });
        }
        {
            let number = |sql: &str| tx.prepare_cached(sql);
            // One writer: the next place is after the last that was ever given.
            let mut seq: u64 = number("SELECT coalesce(max(seq), 0) FROM events")
                .and_then(|mut last| last.query_row([], |row| row.get(0)))
                .map_err(fail)?;
            let mut last = number("SELECT coalesce(max(seq), 0) FROM events WHERE run = ?1").map_err(fail)?;
            let sql = "INSERT INTO events (seq, run, at_ms, epoch, body, prev, sum) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
            let mut insert = number(sql).map_err(fail)?;
            for row in rows {
                seq += 1;
                let prev = last.query_row([row.run.as_str()], |got| got.get(0)).map_err(fail)?;
                let (run, body) = (row.run.as_str().to_owned(), json(&row.event)?);
                let kept = Kept { seq, run, at_ms: row.at_ms, epoch: ours, body, prev };
                let sum = kept.sum();
                insert.execute(params![seq, kept.run, row.at_ms, ours, kept.body, prev, sum]).map_err(fail)?;
                list(&tx, &self.path, &kept.run, seq, row.at_ms, &row.event)?;
            }
        }
        boundary("ledger-before-commit");
        tx.commit().map_err(fail)?;
        boundary("ledger-after-commit");
        Ok(())
    }
}

fn json(value: &impl serde::Serialize) -> Result<String, StorageError> {
    serde_json::to_string(value).map_err(|e| StorageError::Failed { doing: "written", reason: e.to_string() })
}

/// Refuses a WAL that holds entries while its database is missing or too short to be one. No crash leaves that, and SQLite
/// would remove the WAL, and with it what was acknowledged.
fn check_wal(path: &Path) -> Result<(), StorageError> {
    /// SQLite's WAL begins with a header of this many bytes.
    const WAL_HEADER_BYTES: u64 = 32;
    /// The smallest page that SQLite has, in bytes.
    const PAGE_BYTES_MIN: u64 = 512;
    let bytes = |path: &Path| std::fs::metadata(path).map_or(0, |meta| meta.len());
    let mut wal = path.as_os_str().to_owned();
    wal.push("-wal");
    if bytes(path) >= PAGE_BYTES_MIN || bytes(Path::new(&wal)) <= WAL_HEADER_BYTES {
        return Ok(());
    }
    let reason = "the file is missing or cut off, and its write-ahead log beside it is not".to_owned();
    Err(StorageError::Corrupt { path: path.display().to_string(), reason })
}

fn failed(path: &Path, doing: &'static str, error: &rusqlite::Error) -> StorageError {
    let named = path.display().to_string();
    let reason = error.to_string();
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StorageError::Full { path: named },
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => StorageError::Corrupt { path: named, reason },
        Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen) if is_on_full_disk(path) => {
            StorageError::Full { path: named }
        }
        Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
            StorageError::Unwritable { path: named, reason }
        }
        _ => StorageError::Failed { doing, reason: format!("{named}: {reason}") },
    }
}

#[cfg(test)]
mod tests;
