//! What the server can tell afterwards about requests: their bytes, where known values stood, and how much they ask to read.

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;

use agentops_testkit::judge;
use agentops_testkit::model::{ModelServer, Options, Place, Protocol, Record, Script, Sighting, Turn, Watch};
use common::{LONG, ask};
use serde_json::json;

const KEY: &str = "made-up-provider-key";
const TOKEN: &str = "made-up-lane-token";

fn server(keep_body_bytes: usize, log: Option<std::path::PathBuf>) -> ModelServer {
    let watch = vec![Watch::new("key", KEY), Watch::new("token", TOKEN)];
    ModelServer::start_with(Script::of(vec![Turn::text("x")]), Options { log, watch, keep_body_bytes }).unwrap()
}

/// Sends a request with these lines of a head and gives what is remembered of it.
fn sent(server: &ModelServer, first: &str, headers: &str, body: &str) -> Record {
    let before = server.requests().len();
    let mut stream = TcpStream::connect(server.base_url().trim_start_matches("http://")).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    let length = body.len();
    let request = format!(
        "{first} HTTP/1.1\r\nhost: h.example\r\nconnection: close\r\n{headers}content-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).unwrap();
    stream.read_to_end(&mut Vec::new()).unwrap();
    server.requests().swap_remove(before)
}

#[test]
fn a_body_is_kept_byte_for_byte_while_there_is_room() {
    let odd = "{ \"messages\":[ ],\n\"x\": 1.0e2 , \"n\":\"\\u00e9é\"}";
    let server = server(odd.len() + 1, None);
    let first = sent(&server, "POST /v1/messages", "", odd);
    assert_eq!((first.body.as_deref(), first.bytes), (Some(odd.as_bytes()), odd.len()));
    let second = sent(&server, "POST /v1/messages", "", odd);
    assert_eq!((second.body, second.bytes), (None, odd.len()));
    let third = sent(&server, "POST /v1/messages", "", "1");
    assert_eq!(third.body.as_deref(), Some(b"1".as_slice()));
}

#[test]
fn a_watched_value_is_found_wherever_it_stands() {
    let server = server(0, None);
    let header = |header: &str, whole| Place::Header { header: header.into(), whole };
    for (first, headers, body, place) in [
        (format!("POST /lane/{TOKEN}/v1/messages"), String::new(), "{}".to_owned(), Place::Path),
        (format!("POST /v1/messages?key={TOKEN}"), String::new(), "{}".to_owned(), Place::Query),
        ("POST /v1/messages".to_owned(), format!("x-api-key: {TOKEN}\r\n"), "{}".to_owned(), header("x-api-key", true)),
        ("POST /v1/messages".to_owned(), format!("cookie: a={TOKEN};\r\n"), "{}".to_owned(), header("cookie", false)),
        ("POST /v1/messages".to_owned(), String::new(), format!("{{\"a\": \"b {TOKEN}\"}}"), Place::Body),
    ] {
        let record = sent(&server, &first, &headers, &body);
        assert_eq!(record.sightings, [Sighting { name: "token".into(), place }]);
        assert!(record.saw("token") && !record.saw("key"));
    }
}

#[test]
fn the_credential_is_known_alone_and_after_its_scheme() {
    let server = server(0, None);
    for headers in [format!("authorization: Bearer {KEY}\r\n"), format!("X-Goog-Api-Key: {KEY}\r\n")] {
        assert!(sent(&server, "POST /v1/messages", &headers, "{}").credential_is("key"), "{headers}");
    }
    for headers in [format!("authorization: Bearer {KEY}x\r\n"), format!("x-other: {KEY}\r\n"), String::new()] {
        assert!(!sent(&server, "POST /v1/messages", &headers, "{}").credential_is("key"), "{headers}");
    }
}

#[test]
fn heads_are_remembered_without_what_is_secret_in_them() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log.jsonl");
    let server = server(1_000, Some(log.clone()));
    let headers = format!("x-api-key: {KEY}\r\nx-twice: 1\r\nX-Twice: 2\r\n");
    let record = sent(&server, &format!("GET /v1/models?a=1&key={KEY}"), &headers, KEY);
    assert_eq!((record.method.as_str(), record.protocol), ("GET", Protocol::Unknown));
    assert_eq!((record.query.as_str(), record.host.as_deref()), ("a=1&key=REMOVED", Some("h.example")));
    assert_eq!(record.headers, ["host", "connection", "x-api-key", "x-twice", "x-twice", "content-length"]);
    assert_eq!(record.tunnel, None);
    let written = std::fs::read_to_string(log).unwrap();
    assert!(written.contains("x-twice") && !written.contains(KEY), "{written}");
    assert!(!format!("{:?}", Watch::new("key", KEY)).contains(KEY));
}

#[test]
fn the_judge_counts_what_was_received() {
    let server = server(1_000_000, None);
    for words in [10, 1_000] {
        let body = json!({"tools": [{"name": "Bash"}], "messages": [{"role": "user", "content": "word ".repeat(words)}]});
        ask(&server, "/v1/messages", &body);
    }
    let judged = |record: &Record| judge::tokens(record.protocol, record.body.as_deref().unwrap());
    let counts: Vec<u64> = server.requests().iter().map(judged).collect();
    assert!(counts[0] >= 10 && counts[1] >= counts[0] + 990, "{counts:?}");
}
