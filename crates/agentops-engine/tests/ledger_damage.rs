//! R3 on real SQLite files: whatever is cut off or flipped, the ledger opens as a prefix of what was acknowledged, or says
//! by name that it is damaged.

use std::path::{Path, PathBuf};

use agentops_core::id::RunId;
use agentops_core::run::{Event, Key};
use agentops_engine::ledger::Ledger;
use agentops_engine::world::{Entry, Row, Storage, StorageError};
use proptest::prelude::*;

#[path = "simulator/fixture.rs"]
mod fixture;

fn slow() -> bool {
    std::env::var("AGENTOPS_SLOW").is_ok_and(|text| text == "1")
}

/// A ledger's files as a crash leaves them, and everything that was acknowledged.
struct Crashed {
    db: Vec<u8>,
    wal: Vec<u8>,
    acknowledged: Vec<Entry>,
}

fn wal_of(path: &Path) -> PathBuf {
    path.with_extension("db-wal")
}

/// `checkpointed`: part of the history is in the database file already.
fn crashed(checkpointed: bool) -> Crashed {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ledger.db");
    let (run, workflow) = (RunId::from_bits(7), fixture::workflow());
    let created = fixture::created(7, &workflow, fixture::blob(3));
    let mut ledger = Ledger::open(&path).expect("a ledger");
    let row = |at_ms, event| Row { run: run.clone(), at_ms, event };
    ledger.append(&[row(1, Event::Created(Box::new(created)))]).expect("an append");
    let fill = |ledger: &mut Ledger, from: u64, to: u64| {
        for at_ms in from..to {
            let lane = fixture::name(&format!("lane-{at_ms}"));
            let lane = agentops_core::id::LaneId { phase: fixture::name("research"), lane };
            let began = Event::Began { key: Key::Open { lane: lane.clone(), attempt: 1 } };
            let opened = Event::LaneOpened { lane, base: fixture::commit(at_ms) };
            ledger.append(&[row(at_ms, began), row(at_ms, opened)]).expect("an append");
        }
    };
    fill(&mut ledger, 2, 12);
    if checkpointed {
        // The last connection that closes moves the WAL into the database.
        drop(ledger);
        ledger = Ledger::open(&path).expect("it opens again");
    }
    fill(&mut ledger, 12, 18);
    let acknowledged = ledger.entries_after(None, 0, 1000).expect("entries");
    assert_eq!(acknowledged.len(), 33);
    let read = |path: &Path| std::fs::read(path).expect("a file");
    Crashed { db: read(&path), wal: read(&wal_of(&path)), acknowledged }
}

/// A folder in memory where there is one: what is tested here is what the bytes say, not what the disk does, and tens of
/// thousands of files would each wait for it.
fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.or_else(|_| tempfile::tempdir()).expect("a folder")
}

/// Opens damaged files. Gives how many entries are there, or `None` when the damage was named.
fn open(db: &[u8], wal: &[u8], acknowledged: &[Entry]) -> Option<usize> {
    let folder = folder();
    let path = folder.path().join("ledger.db");
    std::fs::write(&path, db).expect("a file");
    std::fs::write(wal_of(&path), wal).expect("a file");
    let found = Ledger::open(&path).and_then(|mut ledger| {
        let found = ledger.entries_after(None, 0, 1000)?;
        let of_run = ledger.load_run(&RunId::from_bits(7))?;
        assert_eq!(of_run, found, "one run's history is the whole one here");
        Ok(found)
    });
    match found {
        Ok(found) => {
            assert!(acknowledged.starts_with(&found), "no prefix: {} entries", found.len());
            Some(found.len())
        }
        Err(
            StorageError::Corrupt { .. }
            | StorageError::Failed { .. }
            | StorageError::Unwritable { .. }
            | StorageError::Newer { .. },
        ) => None,
        Err(other) => panic!("an error that does not fit: {other}"),
    }
}

#[test]
fn r3_a_wal_that_is_cut_anywhere_is_a_prefix() {
    for checkpointed in [false, true] {
        let Crashed { db, wal, acknowledged } = crashed(checkpointed);
        assert_eq!(open(&db, &wal, &acknowledged), Some(acknowledged.len()), "with its tail complete, all is there");
        // A frame of the WAL is a page and its header. With `AGENTOPS_SLOW` each byte of the first and the last two frames is a
        // place to cut, and every 61st between them: a prime, so that every place within a frame has its turn.
        let frame = 24 + 4096;
        let edge = |length: usize| length < 2 * frame || length + 2 * frame > wal.len();
        let stride = if slow() { 61 } else { 257 };
        let chosen = |length: &usize| length.is_multiple_of(stride) || (slow() && edge(*length));
        let cut = |lengths: std::ops::Range<usize>| {
            let (mut before, mut cuts) = (0, 0);
            for length in lengths.filter(chosen) {
                let found =
                    open(&db, &wal[..length], &acknowledged).unwrap_or_else(|| panic!("cut at {length}: not opened"));
                assert!(found >= before, "a longer tail holds less");
                assert!(checkpointed || found < acknowledged.len());
                (before, cuts) = (found, cuts + 1);
            }
            cuts
        };
        let middle = wal.len() / 2;
        let cuts = std::thread::scope(|scope| {
            let first = scope.spawn(|| cut(0..middle));
            cut(middle..wal.len()) + first.join().expect("the first half")
        });
        assert!(cuts > 100, "{cuts}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if slow() { 5_000 } else { 200 }))]

    #[test]
    fn r3_flipped_bits_invent_nothing(
        checkpointed in any::<bool>(),
        in_wal in any::<bool>(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0u8..8), 1..6),
    ) {
        static BOTH: std::sync::LazyLock<[Crashed; 2]> = std::sync::LazyLock::new(|| [crashed(false), crashed(true)]);
        let Crashed { db, wal, acknowledged } = &BOTH[usize::from(checkpointed)];
        let (mut db, mut wal) = (db.clone(), wal.clone());
        let damaged = if in_wal { &mut wal } else { &mut db };
        for (at, bit) in flips {
            if !damaged.is_empty() {
                let at = at.index(damaged.len());
                damaged[at] ^= 1 << bit;
            }
        }
        open(&db, &wal, acknowledged);
    }
}
