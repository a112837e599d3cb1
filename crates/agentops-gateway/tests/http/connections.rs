//! Connections of clients: those that are idle do not keep others out.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use agentops_gateway::{Config, Limits};

use crate::room::{Open, Room};
use crate::wire::{Provider, Wire, answer};

/// A gateway for so many connections.
fn room(connections_max: usize) -> Room {
    let limits = Limits { connections_max, ..Limits::default() };
    Room::with(Config { limits, ..Config::default() })
}

/// A provider that answers at once; the answer to `/v1/models/slow` ends only when the test says so.
fn provider() -> (Provider, Sender<()>) {
    let (end, ends) = channel();
    let ends: Arc<Mutex<Receiver<()>>> = Arc::new(Mutex::new(ends));
    let provider = Provider::start(move |mut wire, seen| {
        while let Some(request) = wire.message() {
            let is_slow = request.start.contains("/v1/models/slow");
            seen.send(request).unwrap();
            if is_slow {
                wire.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n");
                ends.lock().unwrap().recv().ok();
                wire.try_write("0\r\n\r\n");
            } else {
                wire.try_write(&answer("200 OK", "", "{}"));
            }
        }
    });
    (provider, end)
}

fn get(lane: &Open, wire: &mut Wire) -> u16 {
    wire.write(lane.raw("GET", "/v1/models", "", ""));
    wire.message().expect("an answer").status()
}

/// Begins an answer that does not end yet.
fn slow(lane: &Open) -> Wire {
    let mut wire = lane.wire();
    wire.write(lane.raw("GET", "/v1/models/slow", "", ""));
    assert_eq!(wire.head().unwrap().status(), 200);
    assert_eq!(wire.chunk().unwrap(), b"x");
    wire
}

#[test]
fn the_longest_idle_connection_gives_its_place_to_the_next_client() {
    let (provider, _end) = provider();
    let room = room(4);
    let lane = room.lane(&provider.url());
    let mut idle: Vec<Wire> = (0..4).map(|_| lane.wire()).collect();
    for wire in idle.iter_mut().rev() {
        assert_eq!(get(&lane, wire), 200);
    }
    let mut next = lane.wire();
    assert_eq!(get(&lane, &mut next), 200);
    assert!(idle[3].closes(), "it was used first, so it is idle for longest");
    for wire in &mut idle[..3] {
        assert_eq!(get(&lane, wire), 200, "the others stay");
    }
}

#[test]
fn connections_that_ask_for_nothing_keep_nobody_out() {
    let (provider, _end) = provider();
    let room = room(4);
    let lane = room.lane(&provider.url());
    let silent: Vec<Wire> = (0..12).map(|_| lane.wire()).collect();
    let mut half = lane.wire();
    half.write("GET /lane/");
    for _ in 0..8 {
        assert_eq!(get(&lane, &mut lane.wire()), 200);
    }
    drop((silent, half));
}

#[test]
fn an_answer_under_way_keeps_its_place() {
    let (provider, end) = provider();
    let room = room(3);
    let lane = room.lane(&provider.url());
    let mut under_way = [slow(&lane), slow(&lane)];
    for _ in 0..5 {
        assert_eq!(get(&lane, &mut lane.wire()), 200);
    }
    for wire in &mut under_way {
        end.send(()).unwrap();
        assert_eq!(wire.chunk().as_deref(), Some(b"".as_slice()), "the answer ends as it should");
    }
}

#[test]
fn a_client_waits_where_every_place_is_in_use() {
    let (provider, end) = provider();
    let room = room(1);
    let lane = room.lane(&provider.url());
    let mut first = slow(&lane);
    let mut second = lane.wire();
    second.write(lane.raw("GET", "/v1/models", "", ""));
    end.send(()).unwrap();
    assert_eq!(first.chunk().as_deref(), Some(b"".as_slice()));
    assert!(first.closes(), "it is idle now, and gives its place");
    assert_eq!(second.message().unwrap().status(), 200);
}
