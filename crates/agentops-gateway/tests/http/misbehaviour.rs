//! What becomes of a call when the provider, the client or the network misbehaves.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agentops_gateway::host::Note;
use agentops_gateway::{Config, Limits};
use agentops_testkit::model::{HttpError, ModelServer, Script, Turn};

use crate::room::{KEY, Room};
use crate::wire::{Message, PATIENCE, Provider, Wire, answer};

const CALL: &str = "{\"model\":\"claude-x\",\"max_tokens\":9,\"tools\":[{\"name\":\"x\"}],\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}";

/// A complete answer with what it used.
const ANSWER: &str =
    "{\"type\":\"message\",\"stop_reason\":\"end_turn\",\"usage\":{\"input_tokens\":7,\"output_tokens\":2}}";

fn impatient() -> Config {
    let short = Duration::from_millis(300);
    let limits = Limits { head: short, body: short, silence: short, unread: short, ..Limits::default() };
    Config { limits, ..Config::default() }
}

/// The words of an answer of the gateway's own.
fn words(got: &Message) -> String {
    let body: serde_json::Value = serde_json::from_slice(&got.body).expect("an answer of the gateway is JSON");
    let words = body["error"]["message"].as_str().expect("its words stand where clients look for them").to_owned();
    assert!(!got.whole().contains(KEY));
    words
}

#[test]
fn a_provider_that_is_down_is_named() {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let room = Room::new();
    let lane = room.lane(&format!("http://{free}"));
    let got = lane.ask(lane.post("/v1/messages", "", CALL));
    assert_eq!(got.status(), 502);
    let words = words(&got);
    assert!(words.contains("mine") && words.contains(&free.to_string()) && words.contains("is it running"), "{words}");
    assert_eq!(lane.rows(1), ["no answer, connect, free"], "nothing was sent, so nothing can be charged");
}

#[test]
fn a_name_that_nobody_knows_is_said_to_be_unknown() {
    // RFC 6761: `.invalid` is never a name.
    let room = Room::new();
    let lane = room.lane("http://provider.invalid");
    let got = lane.ask(lane.post("/v1/messages", "", CALL));
    assert_eq!(got.status(), 502);
    assert!(words(&got).contains("name is not known"), "{}", words(&got));
    assert_eq!(lane.rows(1), ["no answer, dns, free"]);
}

#[test]
fn a_provider_that_speaks_no_tls_is_said_to_fail_at_that() {
    let provider = Provider::start(|mut wire, _| {
        wire.more();
        wire.stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").ok();
    });
    let room = Room::new();
    let lane = room.lane(&format!("https://{}", provider.address));
    let got = lane.ask(lane.post("/v1/messages", "", CALL));
    assert_eq!(got.status(), 502);
    assert_eq!(lane.rows(1), ["no answer, tls, free"], "{}", words(&got));
}

#[test]
fn the_providers_own_errors_pass_unchanged() {
    for (status, retry_after_s) in
        [(401, None), (403, None), (429, None), (429, Some(7)), (500, None), (503, Some(1)), (529, None)]
    {
        let error = HttpError { retry_after_s, ..HttpError::new(status, "words of the provider") };
        let server = ModelServer::start(Script::of(vec![Turn::fail(error)])).unwrap();
        let room = Room::new();
        let lane = room.lane(&server.base_url());
        let got = lane.ask(lane.post("/v1/messages", "", CALL));
        assert_eq!(got.status(), status);
        assert_eq!(words(&got), "words of the provider");
        assert_eq!(got.header("retry-after").map(str::to_owned), retry_after_s.map(|s| s.to_string()));
        assert_eq!(lane.rows(1), [format!("{status}, http-{status}, free")]);
    }
}

#[test]
fn the_latest_time_that_a_refusing_provider_names_is_noted() {
    let said = "{\"error\":{\"message\":\"You exceeded your current quota. Please retry in 2h13m4.5s.\"}}";
    for (headers, body, until_ms) in [
        ("", said, Some(7_984_500)),
        ("retry-after: 60\r\nretry-after: 7200\r\n", "{}", Some(7_200_000)),
        ("retry-after: 9000, 60\r\n", said, Some(9_000_000)),
        ("retry-after: 99999999999999999999\r\n", "{}", None),
    ] {
        let provider = Provider::answering(answer("429 Too Many Requests", headers, body));
        let room = Room::new();
        let lane = room.lane(&provider.url());
        let got = lane.ask(lane.post("/v1/messages", "", CALL));
        assert_eq!((got.status(), got.text().as_str()), (429, body));
        assert_eq!(lane.rows(1), ["429, http-429, free"]);
        let noted = lane.notes().into_iter().find_map(|note| match note {
            Note::ProviderWaits { until_ms } => Some(until_ms),
            _ => None,
        });
        assert_eq!(noted, until_ms, "{headers}");
    }
}

#[test]
fn a_change_of_protocol_that_nobody_asked_for_is_an_error_of_the_provider() {
    let provider = Provider::start(|mut wire, _| {
        wire.message();
        wire.try_write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: other\r\nConnection: Upgrade\r\n\r\nwords");
        wire.rest();
    });
    let room = Room::new();
    let lane = room.lane(&provider.url());
    let got = lane.ask(lane.post("/v1/messages", "", CALL));
    assert_eq!((got.status(), got.header("upgrade")), (502, None), "{}", got.whole());
    assert!(words(&got).contains("`mine` changes the protocol"), "{}", words(&got));
    assert_eq!(lane.rows(1), ["101, malformed"], "the provider had the whole call");
}

#[test]
fn an_answer_with_too_many_headers_is_said_to_have_them() {
    let headers: String = (0..101).map(|n| format!("x-{n}: 1\r\n")).collect();
    let provider = Provider::answering(answer("200 OK", &headers, ANSWER));
    let room = Room::new();
    let lane = room.lane(&provider.url());
    let got = lane.ask(lane.post("/v1/messages", "", CALL));
    assert_eq!(got.status(), 502);
    assert!(words(&got).contains("more than 64 KiB or 100 headers"), "{}", words(&got));
}

#[test]
fn a_malformed_answer_passes_unchanged() {
    let body = "{\"id\": \"msg_1\", \"content\": [";
    let provider = Provider::answering(answer("200 OK", "content-type: application/json\r\n", body));
    let room = Room::new();
    let lane = room.lane(&provider.url());
    let got = lane.ask(lane.post("/v1/messages", "", CALL));
    assert_eq!((got.status(), got.text().as_str(), got.complete), (200, body, true));
}

#[test]
fn what_is_no_http_is_an_error_of_the_provider() {
    let provider = Provider::answering("SSH-2.0-OpenSSH_9.2\r\n\r\n");
    let room = Room::new();
    let lane = room.lane(&provider.url());
    let got = lane.ask(lane.post("/v1/messages", "", CALL));
    assert_eq!(got.status(), 502);
    assert!(words(&got).contains("as HTTP does"), "{}", words(&got));
    assert_eq!(lane.rows(1), ["no answer, malformed"]);
}

#[test]
fn a_provider_that_closes_without_an_answer_is_not_asked_twice() {
    let provider = Provider::start(|mut wire, seen| {
        if let Some(request) = wire.message() {
            seen.send(request).unwrap();
        }
    });
    let room = Room::new();
    let lane = room.lane(&provider.url());
    let got = lane.ask(lane.post("/v1/messages", "", CALL));
    assert_eq!(got.status(), 502);
    assert_eq!(lane.rows(1), ["no answer, reset"]);
    provider.request();
    assert!(!provider.was_asked(), "it may have begun to answer, and to charge");
}

/// A provider that answers the first request of its first connection, and does `next` with the one after it. It answers
/// every request on later connections where `recovers`, and closes them without an answer otherwise.
fn closing_provider(next: &'static str, recovers: bool) -> Provider {
    let connections = Arc::new(AtomicUsize::new(0));
    Provider::start(move |mut wire, seen| {
        let is_first = connections.fetch_add(1, Ordering::SeqCst) == 0;
        let mut answered = 0;
        while let Some(request) = wire.message() {
            seen.send(request).unwrap();
            if is_first && answered == 1 {
                wire.write(next);
                return;
            }
            if !is_first && !recovers {
                return;
            }
            answered += 1;
            wire.write(answer("200 OK", "", ANSWER));
        }
    })
}

#[test]
fn a_call_is_sent_once_more_where_a_kept_connection_closes_as_it_leaves() {
    let provider = closing_provider("", true);
    let room = Room::new();
    let lane = room.lane(&provider.url());
    for _ in 0..2 {
        assert_eq!(lane.ask(lane.post("/v1/messages", "", CALL)).status(), 200);
    }
    let seen = [(), (), ()].map(|()| provider.request().text());
    assert_eq!(seen, [CALL; 3], "the second call was sent again as it was");
    assert!(!provider.was_asked());
    let rows = lane.told.wait(PATIENCE, |said| (said.rows.len() == 2).then(|| said.rows.clone())).unwrap();
    assert_eq!(rows[0].charged, rows[1].charged, "what never arrived is not charged");
    assert_eq!(rows[1].error, None);
}

#[test]
fn a_call_is_not_sent_again_after_a_byte_nor_a_third_time() {
    for (next, recovers, sends) in [("H", true, 2), ("", false, 3)] {
        let provider = closing_provider(next, recovers);
        let room = Room::new();
        let lane = room.lane(&provider.url());
        assert_eq!(lane.ask(lane.post("/v1/messages", "", CALL)).status(), 200);
        let got = lane.ask(lane.post("/v1/messages", "", CALL));
        assert_eq!(got.status(), 502, "{}", got.whole());
        assert_eq!(lane.rows(2), ["200", "no answer, reset"], "the provider may have begun to charge");
        for _ in 0..sends {
            provider.request();
        }
        assert!(!provider.was_asked(), "{next:?}");
    }
}

#[test]
fn a_call_that_is_not_connected_again_costs_nothing() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let provider = std::thread::spawn(move || {
        let mut wire = Wire::new(listener.accept().unwrap().0);
        drop(listener);
        wire.message().unwrap();
        wire.write(answer("200 OK", "", ANSWER));
        wire.message().unwrap();
    });
    let room = Room::new();
    let lane = room.lane(&url);
    assert_eq!(lane.ask(lane.post("/v1/messages", "", CALL)).status(), 200);
    assert_eq!(lane.ask(lane.post("/v1/messages", "", CALL)).status(), 502);
    assert_eq!(lane.rows(2), ["200", "no answer, connect, free"]);
    provider.join().unwrap();
}

#[test]
fn a_call_that_did_not_arrive_whole_costs_nothing() {
    let provider = Provider::start(|mut wire, seen| {
        // It closes with most of the request unread: more than the sockets hold.
        seen.send(wire.head().unwrap()).unwrap();
    });
    let room = Room::new();
    let lane = room.lane(&provider.url());
    // Begins as a PNG does. Sockets hold about 4 MiB for a side that reads nothing; searching more takes long in a debug build.
    let data = format!("iVBORw0KGgoAAAAN{}", "A".repeat(8 << 20));
    let call = CALL.replace(
        "\"hi\"",
        &format!(
            "[{{\"type\":\"image\",\"source\":{{\"type\":\"base64\",\"media_type\":\"image/png\",\"data\":\"{data}\"}}}}]"
        ),
    );
    assert_eq!(lane.ask(lane.post("/v1/messages", "", &call)).status(), 502);
    provider.request();
    assert_eq!(lane.rows(1), ["no answer, reset, free"]);
}

#[test]
fn a_kept_connection_that_has_ended_is_replaced() {
    let provider = Provider::start(|mut wire, seen| {
        let request = wire.message().unwrap();
        wire.write(answer("200 OK", "", "{}"));
        wire.stream.shutdown(Shutdown::Both).unwrap();
        seen.send(request).unwrap();
    });
    let room = Room::new();
    let lane = room.lane(&provider.url());
    for _ in 0..5 {
        assert_eq!(lane.ask(lane.post("/v1/messages", "", CALL)).status(), 200);
        provider.request();
    }
}

#[test]
fn twenty_megabytes_pass_and_more_than_the_bound_does_not() {
    let provider = Provider::answering(answer("200 OK", "", "{}"));
    let room = Room::new();
    let lane = room.lane(&provider.url());
    let body = format!("{{\"messages\":\"{}\"}}", "x".repeat(20 << 20));
    // What is not a call has no ceiling.
    assert_eq!(lane.ask(lane.post("/v1/messages/count_tokens", "", &body)).status(), 200);
    assert!(provider.request().body == body.as_bytes());

    let max = Limits::default().body_bytes_max;
    let head =
        |length: &str| format!("POST {} HTTP/1.1\r\nHost: {}\r\n{length}\r\n\r\n", lane.path("/v1/messages"), lane.address);
    let got = lane.ask(head(&format!("Content-Length: {}", max + 1)));
    assert_eq!(got.status(), 413, "what is promised to be too large is refused unread");
    assert!(words(&got).contains("compact"), "{}", words(&got));
    let mut wire = lane.wire();
    wire.write(head("Transfer-Encoding: chunked"));
    let mut writing = wire.stream.try_clone().unwrap();
    let flood = std::thread::spawn(move || {
        let chunk = [b"100000\r\n".as_slice(), &[b'x'; 1 << 20], b"\r\n"].concat();
        (0..max / (1 << 20) + 1).try_for_each(|_| writing.write_all(&chunk)).ok();
    });
    assert_eq!(wire.message().unwrap().status(), 413);
    flood.join().unwrap();
    assert!(!provider.was_asked());
}

#[test]
fn a_head_that_is_too_large_is_refused() {
    let room = Room::new();
    let lane = room.lane("http://127.0.0.1:1");
    let long = lane.raw("GET", "/v1/models", &format!("X-Long: {}\r\n", "x".repeat(300 << 10)), "");
    let many = lane.raw("GET", "/v1/models", &"X-Many: 1\r\n".repeat(200), "");
    for request in [long, many] {
        let mut wire = lane.wire();
        // It may close before it has read all of it.
        wire.stream.write_all(request.as_bytes()).ok();
        assert!(wire.message().is_none_or(|got| got.status() == 431));
    }
}

#[test]
fn a_slow_client_is_given_up() {
    let provider = Provider::answering(answer("200 OK", "", "{}"));
    let room = Room::with(impatient());
    let lane = room.lane(&provider.url());
    let request = lane.post("/v1/messages", "", CALL);
    let mut half_head = lane.wire();
    half_head.write(&request[..40]);
    assert!(half_head.closes());
    let mut half_body = lane.wire();
    half_body.write(&request[..request.len() - 1]);
    assert_eq!(half_body.message().unwrap().status(), 408);
    assert!(!provider.was_asked());
}

#[test]
fn a_client_that_reads_nothing_is_given_up() {
    let provider = Provider::start(|mut wire, seen| {
        let request = wire.message().unwrap();
        wire.write("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n");
        seen.send(request).unwrap();
        let chunk = [b"10000\r\n".as_slice(), &[b'x'; 64 << 10], b"\r\n"].concat();
        while wire.stream.write_all(&chunk).is_ok() {}
    });
    let room = Room::with(impatient());
    let lane = room.lane(&provider.url());
    let mut wire = lane.wire();
    // Its limit allows for more than the sockets hold.
    wire.write(lane.post("/v1/messages", "", &CALL.replace("\"max_tokens\":9", "\"max_tokens\":32000")));
    assert_eq!(lane.rows(1), ["200, client-gone"]);
}

#[test]
fn a_client_that_disappears_takes_its_call_with_it() {
    // Before the head of an answer, and within an answer.
    for head in ["", "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n"] {
        let provider = Provider::start(move |mut wire, seen| {
            let request = wire.message().unwrap();
            wire.write(head);
            seen.send(request.clone()).unwrap();
            assert!(wire.closes());
            seen.send(request).unwrap();
        });
        let room = Room::new();
        let lane = room.lane(&provider.url());
        let mut wire = lane.wire();
        wire.write(lane.post("/v1/messages", "", CALL));
        provider.request();
        if !head.is_empty() {
            wire.head().unwrap();
            wire.chunk().unwrap();
        }
        drop(wire);
        provider.request();
        assert!(lane.rows(1)[0].ends_with(", client-gone"));
    }
}

#[test]
fn a_half_written_answer_is_seen_to_be_half() {
    for (head, is_stream) in [
        (
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n5\r\ndata:\r\n9\r\nhal",
            true,
        ),
        ("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{\"half\":", false),
    ] {
        let provider = Provider::start(move |mut wire, seen| {
            let request = wire.message().unwrap();
            wire.write(head);
            seen.send(request).unwrap();
        });
        let room = Room::new();
        let lane = room.lane(&provider.url());
        let got = lane.ask(lane.post("/v1/messages", "", CALL));
        assert!(!got.complete, "a client must not take half an answer for a whole one");
        assert!(got.text().starts_with(if is_stream { "data:" } else { "{\"half\":" }), "{}", got.text());
        assert_eq!(lane.rows(1), ["200, reset"]);
    }
}

/// Gemini CLI asks again after a reset, and not when an answer just ends.
#[test]
fn a_connection_that_is_reset_is_reset_for_the_client_too() {
    for resets in [true, false] {
        let (read, is_read) = std::sync::mpsc::channel::<()>();
        let is_read = Arc::new(Mutex::new(is_read));
        let provider = Provider::start(move |mut wire, seen| {
            seen.send(wire.message().unwrap()).unwrap();
            wire.write("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n1\r\n:\r\n");
            is_read.lock().unwrap().recv().unwrap();
            if resets {
                rustix::net::sockopt::set_socket_linger(&wire.stream, Some(Duration::ZERO)).unwrap();
            }
        });
        let room = Room::new();
        let lane = room.lane(&provider.url());
        let mut wire = lane.wire();
        wire.write(lane.post("/v1/messages", "", CALL));
        assert_eq!(wire.head().unwrap().status(), 200);
        assert_eq!(wire.chunk().unwrap(), b":");
        read.send(()).unwrap();
        let end = wire.stream.read(&mut [0]).map_err(|error| error.kind());
        assert_eq!(end, if resets { Err(ErrorKind::ConnectionReset) } else { Ok(0) });
        assert_eq!(lane.rows(1), ["200, reset"]);
    }
}

#[test]
fn a_silent_provider_is_given_up() {
    let provider = Provider::start(|mut wire, seen| {
        let request = wire.message().unwrap();
        if request.text().contains("stream") {
            wire.write("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n");
        }
        seen.send(request).unwrap();
        assert!(wire.closes());
    });
    let room = Room::with(impatient());
    let lane = room.lane(&provider.url());
    let got = lane.ask(lane.post("/v1/messages", "", CALL));
    assert_eq!(got.status(), 504);
    assert!(words(&got).contains("try again"), "{}", words(&got));
    let got = lane.ask(lane.post("/v1/messages", "", "{\"max_tokens\":9,\"stream\":true}"));
    assert_eq!((got.status(), got.text().as_str(), got.complete), (200, "x", false));
    assert_eq!(lane.rows(2), ["no answer, timeout", "200, timeout"]);
}

#[test]
fn a_body_without_a_content_coding_is_no_compressed_one() {
    let provider = Provider::answering(answer("200 OK", "", "{}"));
    let room = Room::new();
    let lane = room.lane(&provider.url());
    let plain = ["Identity", "identity", "IDENTITY", "identity, Identity", "identity,", ""];
    for coding in plain
        .map(|coding| format!("Content-Encoding: {coding}\r\n"))
        .into_iter()
        .chain(["Content-Encoding: identity\r\nContent-Encoding: Identity\r\n".to_owned()])
    {
        for path in ["/v1/messages", "/v1/messages/count_tokens"] {
            assert_eq!(lane.ask(lane.post(path, &coding, CALL)).status(), 200, "{coding}");
            assert_eq!(provider.request().text(), CALL);
        }
    }
    for coding in ["zstd", "gzip", "identity, gzip", "x-identity", "identity\r\nContent-Encoding: br"] {
        let got = lane.ask(lane.post("/v1/responses", &format!("Content-Encoding: {coding}\r\n"), CALL));
        assert_eq!(got.status(), 415, "{coding}");
        assert!(words(&got).contains("compression"), "{}", words(&got));
        assert!(!provider.was_asked());
    }
}

#[test]
fn s6_a_secret_in_the_path_of_an_unknown_endpoint_is_not_named() {
    let provider = Provider::answering(answer("200 OK", "", "{}"));
    let room = Room::new();
    let lane = room.lane(&provider.url());
    let token = lane.handle.token().expose();
    let shaped = "ghp_16C7e42F292c6912E7710c838347Ae178B4a";
    for secret in [KEY, shaped, token] {
        let got = lane.ask(lane.raw("GET", &format!("/v1/new/{secret}/x?key={secret}"), "", ""));
        assert!(got.status() == 404 && !got.whole().contains(secret), "{}", got.whole());
        assert!(!provider.was_asked());
    }
    let notes = lane.notes();
    assert_eq!(notes.len(), 3);
    for note in notes {
        let Note::RequestRefused { request, .. } = note else { panic!("{note:?}") };
        assert!(request.starts_with("GET /v1/new/") && request.ends_with("/x"), "{request}");
        assert!([KEY, shaped, token].iter().all(|secret| !request.contains(secret)), "{request}");
    }
}

/// What is refused before it was read as a call leaves a line that the user can see. An endpoint leaves one.
#[test]
fn a_request_that_is_refused_unread_is_reported() {
    let provider = Provider::answering(answer("200 OK", "", "{}"));
    let room = Room::new();
    let lane = room.lane(&provider.url());
    let secret = format!("ghp_{}", "a1B2".repeat(9));
    let too_large = format!(
        "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Length: 99999999999\r\n\r\n",
        lane.path("/v1/responses"),
        lane.address
    );
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
    let foreign = format!("x-api-key: {}\r\n", room.lane(&provider.url()).handle.token().expose());
    let cases = [
        (lane.post("/v1/messages", "", "{\"model\":"), 400, "POST /v1/messages", "cannot be measured"),
        (
            lane.post("/v1/messages?beta=true", "", "{\"model\":\"m\",\"n\":\"5\"}"),
            400,
            "POST /v1/messages",
            "number of answers",
        ),
        (lane.post("/v1/messages", "Content-Encoding: gzip\r\n", CALL), 415, "POST /v1/messages", "compression"),
        (too_large, 413, "POST /v1/responses", "MiB"),
        (lane.raw("GET", "/v1/responses", upgrade, ""), 426, "GET /v1/responses", "WebSocket"),
        (lane.post("/v1/messages", "Origin: https://evil.example\r\n", CALL), 403, "POST /v1/messages", "web pages"),
        (lane.post("/v1/embeddings?key=x", "", CALL), 404, "POST /v1/embeddings", "without the gateway"),
        (lane.post("/v1/embeddings", "", CALL), 404, "", ""),
        (lane.post(&format!("/v1/{secret}/x"), "", CALL), 404, "POST /v1/", "base-url"),
        (lane.raw("GET", "/v1/models", "X-HTTP-Method-Override: POST\r\n", ""), 400, "GET /v1/models", "method"),
        (lane.raw("OPTIONS", "/v1/models", "", ""), 405, "OPTIONS /v1/models", "method"),
        (lane.raw("GET", "/v1/models", &foreign, ""), 401, "GET /v1/models", "different lanes"),
        (lane.raw("GET", "/v1/models", &foreign, ""), 401, "", ""),
    ];
    let mut expected = Vec::new();
    for (request, status, line, reason) in cases {
        let got = lane.ask(&request);
        assert_eq!(got.status(), status, "{request}");
        let said = words(&got);
        expected.extend((!line.is_empty()).then_some((line, status, reason)));
        let notes = lane.notes();
        assert_eq!(notes.len(), expected.len(), "{notes:?}");
        for (note, (line, status, reason)) in notes.iter().zip(&expected) {
            let Note::RequestRefused { request, status: noted, reason: why } = note else { panic!("{note:?}") };
            assert!(request.starts_with(line) && noted == status && why.contains(reason), "{note:?}");
            assert!(!request.contains('?') && !request.contains(&secret) && !said.contains(&secret), "{note:?}");
        }
    }
    assert!(!provider.was_asked() && lane.rows(0).is_empty());
}

#[test]
fn requests_that_two_servers_could_read_differently_do_not_pass_twice() {
    let provider = Provider::answering(answer("200 OK", "", "{}"));
    let room = Room::new();
    let lane = room.lane(&provider.url());
    let inner = lane.raw("GET", "/v1/models/inner", "", "");
    let both = format!(
        "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{inner}",
        lane.path("/v1/messages/count_tokens"),
        lane.address,
        inner.len() + 5
    );
    let mut wire = lane.wire();
    wire.write(both);
    assert_eq!(wire.message().unwrap().status(), 200);
    let outer = provider.request();
    assert_eq!(outer.header("transfer-encoding"), None);
    assert_eq!((outer.body.len(), outer.header("content-length")), (0, Some("0")));
    assert!(outer.start.contains("/v1/messages/count_tokens") && outer.complete);
}

#[test]
fn requests_sent_at_once_are_answered_in_their_order() {
    let provider = Provider::start(|mut wire, _| {
        while let Some(request) = wire.message() {
            wire.write(answer("200 OK", "", &request.start));
        }
    });
    let room = Room::new();
    let lane = room.lane(&provider.url());
    let mut wire = Wire::to(lane.address);
    wire.write((0..5).map(|n| lane.raw("GET", &format!("/v1/models/{n}"), "", "")).collect::<String>());
    for n in 0..5 {
        assert_eq!(wire.message().unwrap().text(), format!("GET /v1/models/{n} HTTP/1.1"));
    }
}
