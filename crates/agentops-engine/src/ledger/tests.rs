//! The ledger on real files.

use rusqlite::Connection;

use super::*;
use crate::fixture;
use crate::world::Row;

fn run(bits: u64) -> RunId {
    RunId::from_bits(bits)
}

fn created(bits: u64) -> Row {
    let created = fixture::created(bits, &fixture::workflow(), fixture::blob(3));
    Row { run: run(bits), at_ms: 1000 + bits, event: Event::Created(Box::new(created)) }
}

fn row(bits: u64, event: Event) -> Row {
    Row { run: run(bits), at_ms: 2000 + bits, event }
}

fn file() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ledger.db");
    (folder, path)
}

fn events(ledger: &Ledger) -> Vec<Event> {
    ledger.entries_after(None, 0, 1000).expect("a sound ledger").into_iter().map(|entry| entry.event).collect()
}

#[test]
fn what_was_appended_is_loaded_in_order_and_only_of_open_runs() {
    let (_folder, path) = file();
    let mut ledger = Ledger::open(&path).expect("a ledger");
    ledger.append(&[created(1), created(2), row(1, Event::Orphaned)]).expect("an append");
    ledger.append(&[row(1, Event::Ended { outcome: Outcome::Cancelled }), row(2, Event::LanesClosed)]).expect("an append");
    drop(ledger);
    let mut ledger = Ledger::open(&path).expect("it opens again");
    let seqs = |entries: Vec<Entry>| entries.iter().map(|entry| entry.seq).collect::<Vec<_>>();
    assert_eq!(seqs(ledger.load_run(&run(1)).expect("run 1")), [1, 3, 4]);
    assert_eq!(seqs(ledger.load_open().expect("open runs")), [2, 5]);
    assert_eq!(seqs(ledger.entries_after(None, 3, 10).expect("a tail")), [4, 5]);
    assert_eq!(ledger.load_run(&run(2)).expect("run 2")[1].event, Event::LanesClosed);
    ledger.check().expect("SQLite finds nothing wrong");
}

#[test]
fn r9_an_older_supervisor_writes_nothing_more() {
    let (_folder, path) = file();
    let mut old = Ledger::open(&path).expect("a ledger");
    old.append(&[created(1)]).expect("an append");
    let mut new = Ledger::open(&path).expect("the next supervisor");
    let refused = old.append(&[row(1, Event::Orphaned)]);
    assert!(matches!(refused, Err(StorageError::Fenced { ours: 1, found: 2 })), "{refused:?}");
    new.append(&[row(1, Event::LanesClosed)]).expect("the newer one writes");
    assert_eq!(events(&new).len(), 2);
}

#[test]
fn r10_a_ledger_of_a_newer_format_is_refused_and_left_alone() {
    let (_folder, path) = file();
    drop(Ledger::open(&path).expect("a ledger"));
    let db = Connection::open(&path).expect("the file");
    db.execute("UPDATE meta SET value = ?1 WHERE key = 'format'", [FORMAT + 1]).expect("a change");
    let newer =
        |found: Result<(), StorageError>| matches!(found, Err(StorageError::Newer { found, .. }) if found == FORMAT + 1);
    assert!(newer(Ledger::open(&path).map(|_| ())));
    assert!(newer(Ledger::read(&path).map(|_| ())));
    let epoch: u64 = db.query_row("SELECT value FROM meta WHERE key = 'epoch'", [], |row| row.get(0)).expect("an epoch");
    assert_eq!(epoch, 1, "a refused ledger is not taken over");
}

#[test]
fn a_reader_sees_what_the_writer_beside_it_appends_and_writes_nothing() {
    let (_folder, path) = file();
    assert!(Ledger::read(&path).expect("no file is no error").is_none());
    let mut writer = Ledger::open(&path).expect("a ledger");
    writer.append(&[created(1)]).expect("an append");
    let mut reader = Ledger::read(&path).expect("it opens").expect("it is there");
    assert_eq!(events(&reader).len(), 1);
    writer.append(&[row(1, Event::Orphaned)]).expect("an append beside a reader");
    assert_eq!(events(&reader).len(), 2);
    assert!(reader.append(&[row(1, Event::LanesClosed)]).is_err());
    assert_eq!(events(&writer).len(), 2);
}

#[test]
fn the_list_of_runs_is_made_again() {
    for damage in ["DROP TABLE runs", "DELETE FROM runs"] {
        let (_folder, path) = file();
        let mut ledger = Ledger::open(&path).expect("a ledger");
        let closing = Closing::Discarded { commit: fixture::commit(9) };
        ledger.append(&[created(1), created(2), row(1, Event::Orphaned)]).expect("an append");
        ledger.append(&[row(1, Event::Ended { outcome: Outcome::Cancelled })]).expect("an append");
        ledger.append(&[row(1, Event::Closed { closing })]).expect("an append");
        let before = ledger.runs(10).expect("a list");
        drop(ledger);
        Connection::open(&path).expect("the file").execute_batch(damage).expect("a change");
        let mut ledger = Ledger::open(&path).expect("it opens again");
        assert_eq!(ledger.runs(10).expect("a list"), before, "{damage}");
        assert_eq!(ledger.load_open().expect("open runs").len(), 1, "{damage}");
    }
}

#[test]
fn r5_a_full_disk_is_told_and_nothing_is_half_written() {
    let (_folder, path) = file();
    let mut ledger = Ledger::open(&path).expect("a ledger");
    ledger.append(&[created(1)]).expect("an append");
    let pages: u32 = ledger.db.query_row("PRAGMA page_count", [], |row| row.get(0)).expect("a count");
    ledger.db.query_row("PRAGMA max_page_count = 1", [], |row| row.get::<_, u32>(0)).expect("a limit");
    let many: Vec<Row> = (0..2000).map(|_| row(1, Event::Orphaned)).collect();
    let full = ledger.append(&many);
    assert!(matches!(full, Err(StorageError::Full { .. })), "{full:?}");
    assert_eq!(events(&ledger).len(), 1);
    ledger.db.query_row("PRAGMA max_page_count = 1000000", [], |row| row.get::<_, u32>(0)).expect("a limit");
    ledger.append(&many).expect("space is back");
    assert_eq!(ledger.entries_after(None, 0, 5000).expect("entries").len(), 2001);
    assert!(pages > 1);
}

/// Calls and the like must not use up what is set aside for the exits of agents.
#[test]
fn r5_only_what_belongs_to_an_exit_gives_the_reserve_back() {
    use agentops_core::run::SessionExit;
    let (folder, path) = file();
    let reserve = folder.path().join("reserve");
    let mut ledger = Ledger::open(&path).expect("a ledger").with_reserve(Arc::new(Reserve::at(reserve.clone())));
    ledger.append(&[created(1)]).expect("an append");
    std::fs::write(&reserve, "").expect("a file");
    ledger.db.query_row("PRAGMA max_page_count = 1", [], |row| row.get::<_, u32>(0)).expect("a limit");
    let many: Vec<Row> = (0..2000).map(|_| row(1, Event::Orphaned)).collect();
    let full = ledger.append(&many);
    assert!(matches!(full, Err(StorageError::Full { .. })) && reserve.exists(), "{full:?}");
    let session: SessionId = "implement/one/1".parse().expect("a session");
    let end = SessionEnd::Completed;
    let exit = SessionExit::of(end);
    let exited = row(1, Event::SessionExited { session, exit: Box::new(exit) });
    let full = ledger.append(&[many, vec![exited]].concat());
    assert!(matches!(full, Err(StorageError::Full { .. })) && !reserve.exists(), "{full:?}");
}

#[test]
fn r7_an_entry_that_was_changed_lost_or_moved_is_told() {
    let damages = [
        "UPDATE events SET body = replace(body, 'cancelled', 'done') WHERE seq = 4",
        "UPDATE events SET at_ms = at_ms + 1 WHERE seq = 2",
        "DELETE FROM events WHERE seq = 2",
        "UPDATE events SET seq = 99 WHERE seq = 3",
        "UPDATE events SET run = 'r-000000' WHERE seq = 2",
    ];
    for damage in damages {
        let (_folder, path) = file();
        let mut ledger = Ledger::open(&path).expect("a ledger");
        ledger.append(&[created(1), row(1, Event::Orphaned), row(1, Event::LanesClosed)]).expect("an append");
        ledger.append(&[row(1, Event::Ended { outcome: Outcome::Cancelled })]).expect("an append");
        Connection::open(&path).expect("the file").execute_batch(damage).expect("a change");
        let told = |found: Result<Vec<Entry>, StorageError>| matches!(found, Err(StorageError::Corrupt { .. }));
        assert!(told(ledger.load_run(&run(1))), "{damage}");
        assert!(told(ledger.entries_after(None, 0, 100)), "{damage}");
    }
}

/// The files of a ledger as a kill at some moment of its making leaves them: database and WAL.
struct HalfMade {
    db: Vec<u8>,
    wal: Vec<u8>,
}

impl HalfMade {
    fn of(path: &Path) -> Self {
        let bytes = |path: &Path| std::fs::read(path).unwrap_or_default();
        Self { db: bytes(path), wal: bytes(&path.with_file_name("ledger.db-wal")) }
    }

    fn put(&self) -> (tempfile::TempDir, PathBuf) {
        let (folder, path) = file();
        std::fs::write(&path, &self.db).expect("a file");
        std::fs::write(path.with_file_name("ledger.db-wal"), &self.wal).expect("a file");
        (folder, path)
    }
}

#[test]
fn r1_a_ledger_that_was_killed_while_it_was_made_is_no_ledger_yet_and_the_next_supervisor_makes_it() {
    let (_folder, path) = file();
    let mut moments = vec![HalfMade { db: Vec::new(), wal: Vec::new() }];
    let db = Connection::open(&path).expect("a file");
    moments.push(HalfMade::of(&path));
    db.pragma_update(None, "journal_mode", "WAL").expect("a WAL");
    moments.push(HalfMade::of(&path));
    drop(db);
    let made = Ledger::open(&path).expect("a ledger");
    let settled = HalfMade::of(&path);
    drop(made);
    // Before the WAL was moved into the database, and after.
    let whole = HalfMade { db: moments[2].db.clone(), wal: settled.wal.clone() };
    assert!(whole.wal.len() > 4096 && whole.db.len() == 4096, "the schema is in the WAL");
    assert!(settled.db.len() > 4096, "what was acknowledged is in the database");
    moments.push(settled);
    let cuts = (0..=whole.wal.len()).step_by(509).chain([whole.wal.len()]);
    moments.extend(cuts.map(|cut| HalfMade { db: whole.db.clone(), wal: whole.wal[..cut].to_vec() }));
    for (at, moment) in moments.iter().enumerate() {
        let (_folder, path) = moment.put();
        let read = Ledger::read(&path).unwrap_or_else(|e| panic!("moment {at} is read: {e}"));
        assert!(read.is_none_or(|ledger| ledger.runs(10).expect("a list").is_empty()), "moment {at}");
        let mut next = Ledger::open(&path).unwrap_or_else(|e| panic!("moment {at} is opened: {e}"));
        next.append(&[created(1)]).expect("an append");
        let reader = Ledger::read(&path).expect("it opens").expect("it is there");
        assert_eq!((events(&reader).len(), reader.runs(10).expect("a list").len()), (1, 1), "moment {at}");
    }
}

#[test]
fn r3_a_wal_without_its_database_is_refused_and_kept() {
    for left in [None, Some(""), Some("S"), Some("SQLite format 3")] {
        let (_folder, path) = file();
        let mut ledger = Ledger::open(&path).expect("a ledger");
        ledger.append(&[created(1)]).expect("an append");
        let (_other, lost) = HalfMade { db: Vec::new(), ..HalfMade::of(&path) }.put();
        match left {
            None => std::fs::remove_file(&lost).expect("a file"),
            Some(left) => std::fs::write(&lost, left).expect("a file"),
        }
        let before = HalfMade::of(&lost).wal;
        let told = |found: Result<(), StorageError>| matches!(found, Err(StorageError::Corrupt { .. }));
        assert!(told(Ledger::read(&lost).map(drop)) && told(Ledger::open(&lost).map(drop)));
        assert_eq!(HalfMade::of(&lost).wal, before, "the acknowledged entries are still there");
    }
}

#[test]
fn r7_a_database_of_something_else_is_refused_and_kept() {
    let (_folder, path) = file();
    Connection::open(&path).expect("a file").execute_batch("CREATE TABLE other (x)").expect("a table");
    let before = HalfMade::of(&path).db;
    let told = |found: Result<(), StorageError>| matches!(found, Err(StorageError::Corrupt { .. }));
    assert!(told(Ledger::read(&path).map(drop)) && told(Ledger::open(&path).map(drop)));
    assert_eq!(HalfMade::of(&path).db, before);
}

/// What a killed supervisor leaves is read on a disk that takes no byte more: without its lock, WAL index or any other file.
#[test]
fn r5_a_ledger_is_read_without_writing_anything() {
    let (folder, path) = file();
    let mut ledger = Ledger::open(&path).expect("a ledger");
    ledger.append(&[created(1), row(1, Event::Orphaned)]).expect("an append");
    let (other, left) = HalfMade::of(&path).put();
    let files = || {
        let names = std::fs::read_dir(other.path()).expect("a folder").flatten().map(|entry| entry.file_name());
        names.collect::<std::collections::BTreeSet<_>>()
    };
    let before = files();
    let reader = Ledger::read_alone(&left).expect("it opens").expect("it is there");
    assert_eq!((events(&reader).len(), reader.runs(10).expect("a list").len()), (2, 1));
    drop(reader);
    assert_eq!(files(), before);
    drop(folder);
}

#[test]
fn runs_that_were_closed_are_known_by_the_time_of_their_last_entry() {
    let (_folder, path) = file();
    let mut ledger = Ledger::open(&path).expect("a ledger");
    let commit: agentops_core::id::Commit = "1".repeat(40).parse().expect("a commit");
    let merged = Closing::Merged { commit: commit.clone() };
    let discarded = Closing::Discarded { commit };
    let closed = |number, closing: &Closing| row(number, Event::Closed { closing: closing.clone() });
    let rows =
        [created(1), created(2), created(3), created(4), closed(1, &merged), closed(2, &discarded), closed(3, &merged)];
    ledger.append(&rows).expect("an append");
    assert_eq!(ledger.closed_before(2001).expect("a list"), []);
    assert_eq!(ledger.closed_before(2002).expect("a list"), [(run(1), merged.clone())]);
    let all = [(run(1), merged.clone()), (run(2), discarded), (run(3), merged)];
    assert_eq!(ledger.closed_before(3000).expect("a list"), all, "a run that is open is none of them");
}

/// What an interrupted session was granted counts as spent, whatever its checkpoint finds later.
#[test]
fn b3_the_end_of_a_lane_gives_no_grant_of_an_interrupted_session_back() {
    use agentops_core::run::SessionExit;
    let session: SessionId = "implement/one/1".parse().expect("a session");
    let spent = |exit: SessionEnd, end: SessionEnd| {
        let (_folder, path) = file();
        let mut ledger = Ledger::open(&path).expect("a ledger");
        let exit = SessionExit::of(exit);
        let (of, amount) = (session.clone(), Amount { tokens: 700, ..Amount::ZERO });
        let ended = Event::SessionEnded {
            session: session.clone(),
            end,
            checkpoint: None,
            changed: 0,
            dropped: 0,
            artifacts: Default::default(),
            hand_over: None,
            transcript: None,
            detail: None,
            said: None,
            omitted: None,
        };
        let exited = Event::SessionExited { session: session.clone(), exit: Box::new(exit) };
        let events = [Event::Granted { session: of, amount }, exited, ended];
        ledger.append(&events.map(|event| row(1, event))).expect("an append");
        ledger.spent_since(0).expect("a sound ledger").tokens
    };
    assert_eq!(spent(SessionEnd::Interrupted, SessionEnd::Interrupted), 700);
    assert_eq!(spent(SessionEnd::Interrupted, SessionEnd::Filtered), 700);
    assert_eq!(spent(SessionEnd::Interrupted, SessionEnd::LaneLost), 700);
    assert_eq!(spent(SessionEnd::Completed, SessionEnd::Completed), 0);
}
