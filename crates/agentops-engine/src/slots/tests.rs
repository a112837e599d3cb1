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
