use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};

use super::*;

fn ask(slots: &Slots, holder: &str) -> (Asked, Receiver<io::Result<Slot>>) {
    let (tx, rx) = channel();
    let asked = slots.ask(holder, move |slot| {
        let _left = tx.send(slot);
    });
    (asked.unwrap(), rx)
}

fn taken(slots: &Slots) -> Slot {
    match ask(slots, "test").0 {
        Asked::Taken(slot) => slot,
        Asked::Waits(_) => panic!("a slot was free"),
    }
}

#[test]
fn slots_are_granted_in_the_order_in_which_they_were_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let slots = Slots::new(dir.path().join("slots"), 1);
    let first = taken(&slots);
    let (order, asked) = channel();
    let tickets: Vec<Asked> = (0..5)
        .map(|number| {
            let order = order.clone();
            slots.ask("test", move |slot| order.send((number, slot)).unwrap()).unwrap()
        })
        .collect();
    assert!(tickets.iter().all(|asked| matches!(asked, Asked::Waits(_))));
    drop(first);
    for expected in 0..5 {
        let (number, slot) = asked.recv().unwrap();
        assert_eq!(number, expected);
        drop(slot);
    }
}

#[test]
fn p7_two_supervisors_never_hold_more_than_the_slots_together() {
    let dir = tempfile::tempdir().unwrap();
    let supervisors = [(); 2].map(|()| Slots::new(dir.path().join("slots"), 3));
    let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for number in 0..40 {
            let (slots, now, most) = (&supervisors[number % 2], &now, &most);
            scope.spawn(move || {
                let (asked, granted) = ask(slots, "test");
                let slot = match asked {
                    Asked::Taken(slot) => slot,
                    Asked::Waits(_ticket) => granted.recv().unwrap().unwrap(),
                };
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                std::thread::yield_now();
                now.fetch_sub(1, Ordering::SeqCst);
                drop(slot);
            });
        }
    });
    assert!((1..=3).contains(&most.into_inner()));
}

#[test]
fn who_leaves_the_queue_gets_no_slot_and_is_in_nobodys_way() {
    let dir = tempfile::tempdir().unwrap();
    let slots = Slots::new(dir.path().join("slots"), 1);
    let held = taken(&slots);
    let (leaves, left) = ask(&slots, "leaves");
    let (_stays, stayed) = ask(&slots, "stays");
    drop(leaves);
    drop(held);
    let slot = stayed.recv().unwrap().unwrap();
    assert!(left.recv().is_err(), "its grant was dropped with its ticket");
    let noted = std::fs::read_to_string(slot.path()).unwrap();
    assert_eq!(noted, format!("process {}: stays\n", std::process::id()));
}

#[test]
fn p7_supervisors_take_turns_in_the_order_in_which_they_began_to_wait() {
    let dir = tempfile::tempdir().unwrap();
    let supervisors: Vec<Slots> = (0..3).map(|_| Slots::new(dir.path().join("slots"), 1)).collect();
    let held = taken(&supervisors[0]);
    let (order, granted) = channel();
    let mut tickets = Vec::new();
    for round in 0..3 {
        for (number, slots) in supervisors.iter().enumerate() {
            let order = order.clone();
            tickets.push(slots.ask("test", move |slot| order.send((number, round, slot)).unwrap()).unwrap());
            // Each has its place before the next one asks.
            await_places(dir.path(), if round == 0 { number + 1 } else { 3 });
        }
    }
    drop(held);
    for expected in 0..9 {
        let (number, round, slot) = granted.recv().unwrap();
        assert_eq!((round, number), (expected / 3, expected % 3));
        // One that was granted a slot and has more that waits has taken its next place.
        await_places(dir.path(), if expected < 6 { 3 } else { 8 - expected });
        drop(slot);
    }
}

/// Waits until so many supervisors have a place.
fn await_places(dir: &Path, count: usize) {
    let is_place = |entry: &std::fs::DirEntry| entry.file_name().to_string_lossy().starts_with("waits-");
    let places = || std::fs::read_dir(dir.join("slots")).unwrap().flatten().filter(is_place).count();
    while places() != count {
        std::thread::yield_now();
    }
}

#[test]
fn p7_r11_a_supervisor_that_is_stopped_keeps_no_free_slot_from_others() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("slots");
    make_folder(&folder).unwrap();
    // It has the first place and never looks for a slot.
    let stopped = Place::take(&folder).unwrap();
    let slots = Slots::with_patience(folder, 1, Duration::from_millis(20));
    let (asked, granted) = ask(&slots, "test");
    assert!(matches!(asked, Asked::Waits(_)), "its place is respected at first");
    granted.recv().unwrap().unwrap();
    drop(stopped);
}

#[test]
fn a_supervisor_that_waits_holds_few_files_open_however_many_slots_there_are() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("slots");
    let owner = Slots::new(folder.clone(), 40);
    let held: Vec<Slot> = (0..40).map(|_| taken(&owner)).collect();
    let (_waits, granted) = ask(&Slots::new(folder.clone(), 40), "test");
    await_places(dir.path(), 1);
    let open = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let ours = open.filter_map(|entry| std::fs::read_link(entry.path()).ok()).filter(|path| path.starts_with(&folder));
    // Two for each that is held, one for the place in the line, and one while it looks.
    assert!(ours.count() <= 82);
    drop(held);
    granted.recv().unwrap().unwrap();
}

#[test]
fn a_slot_whose_process_died_is_found_free() {
    let dir = tempfile::tempdir().unwrap();
    let slots = Slots::new(dir.path().join("slots"), 1);
    make_folder(&dir.path().join("slots")).unwrap();
    let died = open(&dir.path().join("slots/0")).unwrap();
    flock(&died, FlockOperation::LockExclusive).unwrap();
    let (_waits, granted) = ask(&slots, "test");
    // As the kernel does it for a dead process: closed, never unlocked.
    drop(died);
    granted.recv().unwrap().unwrap();
}
