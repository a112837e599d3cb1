//! The list of what programs that an agent controls left in the user's repository and git could run in a merge.
//!
//! It is about the repository and not about one run: it holds what sessions, gates and lane set-up of every run left, until a
//! person agreed to it or put it back. Like `runs` it is a cache that is written with each entry and made again from all of
//! them, so that no command reads every run that has ended.

use std::collections::BTreeSet;

use agentops_core::id::{BlobId, RunId};
use agentops_core::run::{Event, ProgramPart};
use rusqlite::{Connection, OptionalExtension, params};

use super::{Ledger, StorageError};

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS program_changes (
    seq INTEGER PRIMARY KEY,
    run TEXT NOT NULL,
    during TEXT NOT NULL,
    record TEXT,
    parts TEXT
) STRICT;
CREATE TABLE IF NOT EXISTS program_agreements (
    part TEXT NOT NULL,
    content TEXT NOT NULL,
    seq INTEGER NOT NULL,
    PRIMARY KEY (part, content)
) STRICT;
";

/// What something that ran left, or may have left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramChange {
    /// The entry's place in the ledger.
    pub seq: u64,
    /// The run.
    pub run: RunId,
    /// The key of the action that ran.
    pub during: String,
    /// The record of the repository from before. `None`: the ledger names none.
    pub record: Option<BlobId>,
    /// What is different since, without what a person agreed to. `None`: it was not compared, so what differs from the record
    /// counts.
    pub parts: Option<Vec<ProgramPart>>,
    /// It was not compared yet, and its run has not ended.
    pub is_under_way: bool,
}

impl ProgramChange {
    /// Whether it ended, and was never compared.
    #[must_use]
    pub fn is_uncompared(&self) -> bool {
        self.parts.is_none() && !self.is_under_way
    }
}

/// A content of a part that a person agreed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agreement {
    /// Place in the ledger. It is about what ran before.
    pub seq: u64,
    /// What was agreed to.
    pub part: ProgramPart,
}

impl Ledger {
    /// What is open, oldest first.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn program_changes(&self) -> Result<Vec<ProgramChange>, StorageError> {
        if !self.has_programs()? {
            return Ok(Vec::new());
        }
        let sql = "SELECT seq, run, during, record, parts, \
                   parts IS NULL AND EXISTS (SELECT 1 FROM runs WHERE runs.run = program_changes.run AND ended = 0) \
                   FROM program_changes ORDER BY seq";
        let rows = self.query(sql, [], |row| {
            let text = |at: usize| row.get::<_, Option<String>>(at);
            Ok((row.get(0)?, row.get::<_, String>(1)?, row.get(2)?, text(3)?, text(4)?, row.get(5)?))
        })?;
        type Stored = (u64, String, String, Option<String>, Option<String>, bool);
        let change = |(seq, run, during, record, parts, is_under_way): Stored| {
            let record = record.map(|record| record.parse()).transpose().map_err(|e| self.corrupt(format!("{e}")))?;
            let parts = parts.map(|parts| serde_json::from_str(&parts)).transpose();
            let parts = parts.map_err(|e| self.corrupt(format!("{e}")))?;
            Ok(ProgramChange { seq, run: self.run_id(&run)?, during, record, parts, is_under_way })
        };
        rows.into_iter().map(change).collect()
    }

    /// What a person agreed to after this place in the ledger.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn program_agreements(&self) -> Result<Vec<Agreement>, StorageError> {
        if !self.has_programs()? {
            return Ok(Vec::new());
        }
        self.query("SELECT part, content, seq FROM program_agreements ORDER BY seq", [], |row| {
            Ok(Agreement { seq: row.get(2)?, part: ProgramPart { part: row.get(0)?, content: row.get(1)? } })
        })
    }

    /// The place of a run's first entry.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn first_seq(&self, run: &RunId) -> Result<u64, StorageError> {
        let found = self.query("SELECT first_seq FROM runs WHERE run = ?1", [run.as_str()], |row| row.get(0))?;
        Ok(found.first().copied().unwrap_or(0))
    }

    /// An older version made the ledger, and no supervisor has opened it since.
    fn has_programs(&self) -> Result<bool, StorageError> {
        Ok(self.query(TABLES, [], |row| row.get::<_, u32>(0))? == [2])
    }
}

const TABLES: &str =
    "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name IN ('program_changes', 'program_agreements')";

/// Makes the tables. Where one of them is missing, all caches are made again.
pub(super) fn make(db: &Connection) -> rusqlite::Result<()> {
    let tables: u32 = db.query_row(TABLES, [], |row| row.get(0))?;
    db.execute_batch(SCHEMA)?;
    let has_runs: bool = db.query_row("SELECT count(*) FROM sqlite_master WHERE name = 'runs'", [], |row| row.get(0))?;
    if tables < 2 && has_runs {
        db.execute("DELETE FROM runs", [])?;
    }
    Ok(())
}

pub(super) fn empty(db: &Connection) -> rusqlite::Result<()> {
    db.execute_batch("DELETE FROM program_changes; DELETE FROM program_agreements")
}

/// Keeps the list in step with an entry.
pub(super) fn list(db: &Connection, run: &str, seq: u64, event: &Event) -> rusqlite::Result<()> {
    match event {
        Event::RepositoryRecorded { during, record } => {
            let sql = "INSERT INTO program_changes (seq, run, during, record) VALUES (?1, ?2, ?3, ?4)";
            db.execute(sql, params![seq, run, during.to_string(), record.as_str()])?;
        }
        Event::RepositoryCompared { during, count, left, .. } => {
            let during = during.to_string();
            let of = "SELECT seq, record FROM program_changes \
                      WHERE run = ?1 AND during = ?2 AND parts IS NULL ORDER BY seq DESC LIMIT 1";
            let before: Option<(u64, Option<String>)> =
                db.query_row(of, params![run, during], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
            let (old_seq, record) = before.unwrap_or((seq, None));
            let left = match left {
                // Nothing is known of what it left, unless nothing at all is different.
                None if *count > 0 => return Ok(()),
                None => &[],
                Some(left) => left.as_slice(),
            };
            db.execute("DELETE FROM program_changes WHERE seq = ?1", [old_seq])?;
            // What a person agreed to while it ran is not asked again.
            let mut open = Vec::new();
            for part in left {
                let sql = "SELECT count(*) FROM program_agreements WHERE part = ?1 AND content = ?2 AND seq > ?3";
                if !db.query_row(sql, params![part.part, part.content, old_seq], |row| row.get::<_, bool>(0))? {
                    open.push(part);
                }
            }
            if !open.is_empty() {
                let sql = "INSERT INTO program_changes (seq, run, during, record, parts) VALUES (?1, ?2, ?3, ?4, ?5)";
                db.execute(sql, params![seq, run, during, record, json(&open)?])?;
            }
        }
        Event::ProgramsAgreed { agreed, put_back } => settle(db, seq, agreed, put_back)?,
        _ => {}
    }
    Ok(())
}

/// Takes off the list what a person agreed to or put back.
fn settle(db: &Connection, seq: u64, agreed: &[ProgramPart], put_back: &[ProgramPart]) -> rusqlite::Result<()> {
    for part in agreed {
        let sql = "INSERT INTO program_agreements (part, content, seq) VALUES (?1, ?2, ?3) \
                   ON CONFLICT (part, content) DO UPDATE SET seq = ?3";
        db.execute(sql, params![part.part, part.content, seq])?;
    }
    let settled: BTreeSet<&ProgramPart> = agreed.iter().chain(put_back).collect();
    let mut statement = db.prepare("SELECT seq, parts FROM program_changes WHERE parts IS NOT NULL")?;
    let rows = statement.query_map([], |row| Ok((row.get::<_, u64>(0)?, row.get::<_, String>(1)?)))?;
    for row in rows.collect::<rusqlite::Result<Vec<_>>>()? {
        let (of, parts) = row;
        let parts: Vec<ProgramPart> = serde_json::from_str(&parts).map_err(not_text)?;
        let left: Vec<&ProgramPart> = parts.iter().filter(|part| !settled.contains(part)).collect();
        if left.is_empty() {
            db.execute("DELETE FROM program_changes WHERE seq = ?1", [of])?;
        } else if left.len() < parts.len() {
            db.execute("UPDATE program_changes SET parts = ?2 WHERE seq = ?1", params![of, json(&left)?])?;
        }
    }
    // Of what was never compared everything that differs was shown: the supervisor takes no agreement to less. While something
    // runs, it may hide a part of that.
    let over = "DELETE FROM program_changes WHERE parts IS NULL AND NOT EXISTS (SELECT 1 FROM program_changes AS other \
                JOIN runs ON runs.run = other.run WHERE other.parts IS NULL AND runs.ended = 0)";
    db.execute(over, [])?;
    Ok(())
}

fn json(parts: &[&ProgramPart]) -> rusqlite::Result<String> {
    serde_json::to_string(parts).map_err(not_text)
}

fn not_text(error: serde_json::Error) -> rusqlite::Error {
    rusqlite::Error::ToSqlConversionFailure(Box::new(error))
}

#[cfg(test)]
mod tests;
