//! Who is let in: S7, S8 and S9 as a matrix.

use agentops_gateway::Identity;
use agentops_gateway::destination::Family;
use agentops_safe::Secret;

use crate::room::{KEY, Open, Room, destination};
use crate::wire::{Message, Provider, answer};

fn provider() -> Provider {
    Provider::answering(answer("200 OK", "", "{}"))
}

fn get(lane: &Open, target: &str, host: &str, headers: &str) -> Message {
    lane.ask(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n"))
}

#[test]
fn s7_without_the_lanes_token_nothing_is_forwarded() {
    let provider = provider();
    let room = Room::new();
    let [a, b, c] = [(), (), ()].map(|()| room.lane(&provider.url()));
    room.gateway.close(&c.handle);
    let host = a.address.to_string();
    let token = a.handle.token().expose();
    let other = b.handle.token().expose();
    let gone = c.handle.token().expose();
    let longer = format!("{token}0");
    let mixed = format!("{}{}", &token[..token.len() - 64], &other[other.len() - 64..]);
    let cases: Vec<(&str, String, String, u16)> = vec![
        ("absent", "/v1/models".into(), String::new(), 401),
        ("absent, in a header only", "/v1/models".into(), format!("x-api-key: {token}\r\n"), 401),
        ("empty", "/lane//v1/models".into(), String::new(), 401),
        ("wrong", "/lane/wrong/v1/models".into(), String::new(), 401),
        ("cut off", format!("/lane/{}/v1/models", &token[..token.len() - 1]), String::new(), 401),
        ("longer", format!("/lane/{longer}/v1/models"), String::new(), 401),
        ("of two lanes", format!("/lane/{mixed}/v1/models"), String::new(), 401),
        ("upper case", format!("/lane/{}/v1/models", token.to_ascii_uppercase()), String::new(), 401),
        ("the provider's key", format!("/lane/{KEY}/v1/models"), String::new(), 401),
        ("another lane's as key", format!("/lane/{token}/v1/models"), format!("x-api-key: {other}\r\n"), 401),
        ("another lane's as bearer", format!("/lane/{token}/v1/models"), format!("authorization: Bearer {other}\r\n"), 401),
        ("of a closed lane", format!("/lane/{gone}/v1/models"), String::new(), 403),
        ("of a closed lane as key", format!("/lane/{token}/v1/models"), format!("x-goog-api-key: {gone}\r\n"), 401),
    ];
    for (case, target, headers, status) in cases {
        let got = get(&a, &target, &host, &headers);
        assert_eq!(got.status(), status, "{case}: {}", got.whole());
        for secret in [KEY, token, other, gone] {
            assert!(!got.whole().contains(secret), "{case}: {}", got.whole());
        }
        assert_eq!(got.header("content-type"), Some("application/json"), "{case}");
        assert!(!provider.was_asked(), "{case}");
    }
    assert_eq!(get(&a, &a.path("/v1/models"), &host, "").status(), 200);
    assert!(provider.was_asked());
}

#[test]
fn s7_closing_a_lane_ends_its_calls_and_no_others() {
    let provider = Provider::start(|mut wire, seen| {
        let request = wire.message().unwrap();
        if request.start.contains("/v1/models/slow") {
            seen.send(request).unwrap();
        } else {
            wire.write("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n");
            seen.send(request).unwrap();
        }
        assert!(wire.closes());
    });
    let room = Room::new();
    let [a, b] = [(), ()].map(|()| room.lane(&provider.url()));
    let mut waiting = a.wire();
    waiting.write(a.raw("GET", "/v1/models/slow", "", ""));
    let mut streams = [&a, &b].map(|lane| {
        let mut wire = lane.wire();
        wire.write(lane.post("/v1/messages", "", "{\"max_tokens\":9}"));
        wire.head().unwrap();
        assert_eq!(wire.chunk().unwrap(), b"x");
        wire
    });
    for _ in 0..3 {
        provider.request();
    }
    room.gateway.close(&a.handle);
    assert_eq!(waiting.message().unwrap().status(), 403);
    assert_eq!(streams[0].chunk(), None, "the stream of the closed lane is cut");
    assert_eq!(a.rows(1), ["200, lane-closed"]);
    assert!(b.rows(0).is_empty(), "the other lane's stream goes on");
    drop(room);
    assert_eq!(streams[1].chunk(), None);
    assert_eq!(b.rows(1), ["200, lane-closed"]);
}

#[test]
fn s8_no_request_chooses_where_it_goes() {
    let (provider, elsewhere) = (provider(), provider());
    let room = Room::new();
    let lane = room.lane(&format!("{}/prefix", provider.url()));
    let host = lane.address.to_string();
    let evil = elsewhere.address;
    let token = lane.handle.token().expose();
    for target in [
        format!("http://{evil}/lane/{token}/v1/models"),
        format!("http://{host}/lane/{token}/v1/models"),
        format!("http://user@{host}/lane/{token}/v1/models"),
        format!("https://{evil}/v1/models"),
        "*".to_owned(),
        lane.path("/../admin"),
        lane.path("/v1/.."),
        lane.path("/v1/../../admin"),
        lane.path("/v1/./models"),
        lane.path("/%2e%2e/admin"),
        lane.path("/.%2E/admin"),
        lane.path("/%2e/admin"),
        lane.path("/v1%2f..%2fadmin"),
        lane.path("/v1%5c..%5cadmin"),
        lane.path("/v1\\..\\admin"),
        lane.path("/v1/models%00"),
        lane.path("/v1/models%0d%0aHost:%20evil"),
        lane.path("/v1/models%"),
        lane.path("/v1/%6d%65ssages"),
        lane.path("/v1/%256dessages"),
        lane.path("/v1//messages"),
        lane.path("/v1/messages;x=1"),
        lane.path(&format!("//{evil}/v1")),
        lane.path(&format!("@{evil}/v1")),
        lane.path(""),
        lane.path("?x=1"),
    ] {
        let got = get(&lane, &target, &host, "");
        assert!((400..500).contains(&got.status()), "{target}: {}", got.whole());
        assert!(!provider.was_asked() && !elsewhere.was_asked(), "{target}");
    }
    for raw in [
        format!("CONNECT {evil} HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        format!("TRACE {} HTTP/1.1\r\nHost: {host}\r\n\r\n", lane.path("/v1")),
        format!("GET {}\0 HTTP/1.1\r\nHost: {host}\r\n\r\n", lane.path("/v1")),
        format!("GET {}\u{e4} HTTP/1.1\r\nHost: {host}\r\n\r\n", lane.path("/v1")),
        format!("GET {} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", lane.path("/v1")),
    ] {
        let got = lane.ask(&raw);
        assert!((400..500).contains(&got.status()), "{raw}: {}", got.whole());
        assert!(!provider.was_asked() && !elsewhere.was_asked(), "{raw}");
    }
    // What means something elsewhere means nothing here.
    let body = format!(
        "{{\"max_tokens\":9,\"api_base\":\"http://{evil}\",\"base_url\":\"http://{evil}\",\"proxy\":\"http://{evil}\"}}"
    );
    let headers = format!(
        "X-Forwarded-Host: {evil}\r\nForwarded: host={evil}\r\nX-Original-URL: /admin\r\nX-Rewrite-URL: /admin\r\nX-Portkey-Custom-Host: http://{evil}\r\n"
    );
    let path = format!("/v1/messages?base_url=http://{evil}&api_base=http://{evil}");
    assert_eq!(lane.ask(lane.post(&path, &headers, &body)).status(), 200);
    let seen = provider.request();
    assert_eq!(seen.start, format!("POST /prefix{path} HTTP/1.1"));
    assert_eq!(seen.header("host"), Some(provider.address.to_string().as_str()));
    assert_eq!(seen.text(), body);
    assert!(!elsewhere.was_asked());
}

#[test]
fn an_address_without_an_endpoint_is_refused_by_that() {
    let provider = provider();
    let room = Room::new();
    let lane = room.lane(&provider.url());
    for path in ["", "?x=1"] {
        let got = lane.ask(lane.post(path, "", "{}"));
        assert_eq!(got.status(), 404);
        assert!(got.text().contains("goes after `/lane/TOKEN`"), "{}", got.text());
        assert!(!provider.was_asked(), "{path}");
    }
}

#[test]
fn s8_a_redirect_is_neither_followed_nor_shown() {
    let elsewhere = provider();
    let room = Room::new();
    for location in [elsewhere.url(), "http://169.254.169.254/latest/meta-data".into(), "/v1/other".into()] {
        for status in ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent", "300 Choices"] {
            let provider = Provider::answering(answer(status, &format!("Location: {location}\r\n"), "moved"));
            let lane = room.lane(&provider.url());
            let got = lane.ask(lane.post("/v1/messages", "", "{\"max_tokens\":9}"));
            assert_eq!((got.status(), got.header("location")), (502, None), "{status}");
            assert!(!got.whole().contains(&location), "{}", got.whole());
            assert!(lane.rows(1)[0].contains("redirect"));
            provider.request();
            assert!(!provider.was_asked() && !elsewhere.was_asked());
        }
    }
}

#[test]
fn s9_no_web_page_reaches_it() {
    let provider = provider();
    let room = Room::new();
    let lane = room.lane(&provider.url());
    let port = lane.address.port();
    let path = lane.path("/v1/models");
    let good = [format!("127.0.0.1:{port}"), format!("localhost:{port}"), format!("LocalHost:{port}")];
    for host in &good {
        assert_eq!(get(&lane, &path, host, "").status(), 200, "{host}");
        provider.request();
    }
    for host in [
        "evil.example".to_owned(),
        format!("evil.example:{port}"),
        format!("localhost.evil.example:{port}"),
        format!("127.0.0.1.evil.example:{port}"),
        format!("user@127.0.0.1:{port}"),
        format!("127.0.0.1:{port}.evil.example"),
        format!("0.0.0.0:{port}"),
        format!("[::1]:{port}"),
        "127.0.0.1".into(),
        "localhost".into(),
        "127.0.0.1:1".into(),
        String::new(),
    ] {
        let got = get(&lane, &path, &host, "");
        assert_eq!(got.status(), 403, "{host}: {}", got.whole());
        assert!(!provider.was_asked(), "{host}");
    }
    let two = format!("{}\r\nHost: evil.example", good[0]);
    assert_eq!(get(&lane, &path, &two, "").status(), 403);
    assert_eq!(lane.ask(format!("GET {path} HTTP/1.0\r\n\r\n")).status(), 403);
    for origin in ["null", "https://evil.example", "http://localhost", &format!("http://{}", good[0]), ""] {
        let simple =
            lane.post("/v1/messages", &format!("Origin: {origin}\r\n"), "{}").replace("application/json", "text/plain");
        let preflight = format!(
            "OPTIONS {path} HTTP/1.1\r\nHost: {}\r\nOrigin: {origin}\r\nAccess-Control-Request-Method: POST\r\nAccess-Control-Request-Private-Network: true\r\n\r\n",
            good[0]
        );
        let socket = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nOrigin: {origin}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
            good[0]
        );
        for raw in [simple, preflight, socket] {
            let got = lane.ask(&raw);
            assert_eq!(got.status(), 403, "{raw}");
            assert!(!got.names().iter().any(|name| name.starts_with("access-control-")), "{}", got.whole());
            assert!(!provider.was_asked(), "{raw}");
        }
    }
    // A page's pictures and scripts have no `Origin`.
    for site in ["cross-site", "same-site", "same-origin", "Cross-Site", "none\r\nSec-Fetch-Site: cross-site"] {
        let headers = format!("Sec-Fetch-Mode: no-cors\r\nSec-Fetch-Site: {site}\r\n");
        assert_eq!(get(&lane, &path, &good[0], &headers).status(), 403, "{site}");
        assert!(!provider.was_asked(), "{site}");
    }
    // Node's `fetch` sends the first alone, programs that are built on Chromium send both.
    for headers in ["Sec-Fetch-Mode: cors\r\n", "Sec-Fetch-Mode: no-cors\r\nSec-Fetch-Site: none\r\n"] {
        assert_eq!(get(&lane, &path, &good[0], headers).status(), 200, "{headers}");
        provider.request();
    }
    let preflight = format!("OPTIONS {path} HTTP/1.1\r\nHost: {}\r\n\r\n", good[0]);
    assert_eq!(lane.ask(&preflight).status(), 405);
    assert!(!provider.was_asked());
}

#[test]
fn s7_a_login_goes_to_an_official_host_or_nowhere() {
    let room = Room::new();
    let own = destination("http://127.0.0.1:1", Family::Anthropic);
    let open = |destination, identity| {
        let (lane, _) = crate::host::lane();
        room.gateway.open(agentops_gateway::LaneSpec { lane, destination, identity })
    };
    assert!(open(own.clone(), Identity::Login).is_err());
    for broken in ["sk-key\nsk-tail", "sk-key sk-tail", "sk-key\tsk-tail", "sk-key\u{a0}sk-tail"] {
        let error = open(own.clone(), Identity::Key(Secret::new(broken))).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("sk-"), "{broken:?}");
    }
}
