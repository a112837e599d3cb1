//! A client that knows no protocol: it sends what it is given and takes the answer apart.

#![allow(dead_code, reason = "each test program uses its own part of this")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use agentops_testkit::model::ModelServer;
use serde_json::Value;

/// Longer than any answer takes; only a failing test waits for it.
pub const LONG: Duration = Duration::from_secs(10);

pub fn open(server: &ModelServer, path: &str, body: &Value) -> TcpStream {
    let address = server.base_url();
    let mut stream = TcpStream::connect(address.trim_start_matches("http://")).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    let body = body.to_string();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nx-api-key: TOP-SECRET\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body.as_bytes()).unwrap();
    stream
}

/// The status and everything after the head, transfer encoding and all.
pub fn ask(server: &ModelServer, path: &str, body: &Value) -> (u16, String) {
    let mut answer = String::new();
    open(server, path, body).read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.into())
}

/// The names of the events, and their data. An event without a name would be missing here.
pub fn events(body: &str) -> Vec<(String, Value)> {
    let lines: Vec<&str> = body.lines().collect();
    lines
        .windows(2)
        .filter_map(|pair| {
            let name = pair[0].strip_prefix("event: ")?;
            Some((name.to_owned(), serde_json::from_str(pair[1].strip_prefix("data: ")?).unwrap()))
        })
        .collect()
}

pub fn names(events: &[(String, Value)]) -> Vec<&str> {
    events.iter().map(|(name, _)| name.as_str()).collect()
}

/// The data of events that have no names, up to the first that is no JSON.
pub fn data(body: &str) -> Vec<Value> {
    let data = body.lines().filter_map(|line| line.strip_prefix("data: "));
    data.map_while(|data| serde_json::from_str(data).ok()).collect()
}
