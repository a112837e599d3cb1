//! What goes through, byte for byte.

use agentops_gateway::Identity;
use agentops_gateway::destination::Family;
use agentops_safe::Secret;

use crate::room::{KEY, Room, destination};
use crate::wire::{Provider, answer};

/// A body that no JSON writer would give back as it is: spaces, order, escapes, numbers.
const BODY: &str = "{ \"model\" : \"claude-x\",\n\t\"messages\":[ {\"role\":\"user\",\"content\":\"a\\u0062c / \\/ \u{e4}\"} ],\"max_tokens\": 12 , \"temperature\":1.0e0, \"x\":null}";

#[test]
fn a_call_arrives_as_it_was_sent() {
    let body = "{\"id\":\"msg_1\" , \"usage\":{}}";
    let provider = Provider::answering(answer("200 OK", "request-id: req_7\r\nX-Odd: 1\r\nX-Odd: 2\r\n", body));
    let room = Room::new();
    let lane = room.lane(&provider.url());
    let headers = format!(
        "anthropic-version: 2023-06-01\r\nanthropic-beta: a-1,b-2\r\nx-api-key: {}\r\nX-Unknown: first\r\nX-Unknown: second\r\nAccept-Encoding: gzip, br\r\nUser-Agent: cli/1\r\n",
        lane.handle.token().expose()
    );
    let mut wire = lane.wire();
    for _ in 0..3 {
        wire.write(lane.post("/v1/messages?beta=true&x=%20y", &headers, BODY));
        let got = wire.message().unwrap();
        assert_eq!((got.status(), got.text().as_str(), got.complete), (200, body, true));
        assert_eq!(got.header("request-id"), Some("req_7"));
        assert_eq!(got.names().iter().filter(|name| *name == "x-odd").count(), 2);
        let seen = provider.request();
        assert_eq!(seen.start, "POST /v1/messages?beta=true&x=%20y HTTP/1.1");
        assert_eq!(seen.text(), BODY);
        let expected = [
            ("host", provider.address.to_string()),
            ("anthropic-version", "2023-06-01".into()),
            ("anthropic-beta", "a-1,b-2".into()),
            ("x-unknown", "first".into()),
            ("x-unknown", "second".into()),
            ("accept-encoding", "identity".into()),
            ("user-agent", "cli/1".into()),
            ("content-type", "application/json".into()),
            ("content-length", BODY.len().to_string()),
            ("x-api-key", KEY.into()),
        ];
        let seen: Vec<_> = seen.headers.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
        assert_eq!(seen, expected);
    }
}

#[test]
fn s7_the_key_takes_the_place_of_whatever_the_client_shows() {
    let room = Room::new();
    for (family, name, value) in [
        (Family::Anthropic, "x-api-key", KEY.to_owned()),
        (Family::OpenAi, "authorization", format!("Bearer {KEY}")),
        (Family::Google, "x-goog-api-key", KEY.to_owned()),
    ] {
        let provider = Provider::answering(answer("200 OK", "", "{}"));
        let lane = room.lane_of(destination(&provider.url(), family), Identity::Key(Secret::new(KEY)));
        let token = lane.handle.token().expose();
        for shown in [
            "x-api-key: T",
            "Authorization: Bearer T",
            "authorization: bearer T",
            "x-goog-api-key: T",
            "api-key: T",
            "Cookie: T",
        ] {
            for credential in [token, "sk-a-key-of-the-agents-own"] {
                let shown = shown.replace('T', credential);
                let path = format!("/v1beta/models?key={credential}&a=1");
                let got =
                    lane.ask(lane.raw("GET", &path, &format!("{shown}\r\nProxy-Authorization: Basic {credential}\r\n"), ""));
                assert_eq!(got.status(), 200, "{shown}");
                let seen = provider.request();
                assert_eq!(seen.header(name), Some(value.as_str()), "{shown}");
                assert!(!seen.whole().contains(credential), "{shown}: {}", seen.whole());
                assert!(seen.start.contains("/v1beta/models?a=1 "), "{}", seen.start);
                assert!(!got.whole().contains(KEY));
            }
        }
    }
}

#[test]
fn what_holds_for_one_connection_stays_there() {
    let headers = "connection: x-private, keep-alive\r\nx-private: 1\r\nkeep-alive: timeout=5\r\nx-kept: 1\r\n";
    let provider = Provider::answering(answer("200 OK", headers, "{}"));
    let room = Room::new();
    let lane = room.lane(&provider.url());
    let headers = "Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\nTE: gzip\r\nTrailer: x-sum\r\nKeep-Alive: 5\r\nProxy-Connection: keep-alive\r\nX-Kept: 1\r\n";
    let got = lane.ask(lane.post("/v1/messages", headers, "{\"max_tokens\":9}"));
    let seen = provider.request();
    for gone in ["connection", "x-hop", "te", "trailer", "keep-alive", "proxy-connection"] {
        assert_eq!(seen.header(gone), None, "{gone}");
    }
    assert_eq!(seen.header("x-kept"), Some("1"));
    for gone in ["x-private", "keep-alive"] {
        assert_eq!(got.header(gone), None, "{gone}");
    }
    assert_eq!(got.header("x-kept"), Some("1"));
}

#[test]
fn a_stream_is_passed_on_as_it_comes_and_what_came_together_goes_on_together() {
    let provider = Provider::start(|mut wire, seen| {
        let request = wire.message().unwrap();
        wire.write("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n");
        wire.write("9\r\ndata: 1\n\n\r\n");
        seen.send(request).unwrap();
        // The rest only once the client has the first: it asks again on another connection, which ends this wait.
        let mut once = [0];
        std::io::Read::read(&mut wire.stream, &mut once).ok();
    });
    let room = Room::new();
    let lane = room.lane(&provider.url());
    let mut wire = lane.wire();
    wire.write(lane.post("/v1/messages", "", "{\"max_tokens\":9,\"stream\":true}"));
    let head = wire.head().unwrap();
    assert_eq!(head.header("content-type"), Some("text/event-stream"));
    assert_eq!(wire.chunk().unwrap(), b"data: 1\n\n");
    provider.request();

    let many: String = (0..100).map(|n| format!("data: {n}\n\n")).collect();
    let chunks: String =
        (0..100).map(|n| format!("data: {n}\n\n")).map(|event| format!("{:x}\r\n{event}\r\n", event.len())).collect();
    let text =
        format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n{chunks}0\r\n\r\n");
    let provider = Provider::answering(text);
    let lane = room.lane(&provider.url());
    let mut wire = lane.wire();
    wire.write(lane.post("/v1/messages", "", "{\"max_tokens\":9,\"stream\":true}"));
    wire.head().unwrap();
    let first = wire.chunk().unwrap();
    assert!(many.as_bytes().starts_with(&first));
    assert!(first.len() > 2 * b"data: 1\n\n".len(), "all that came in one packet should go on as one");
}

#[test]
fn s7_a_provider_that_repeats_the_key_does_not_show_it() {
    let body = format!("{{\"error\":{{\"message\":\"wrong key: {KEY}\",\"again\":\"Bearer {KEY}\"}}}}");
    let room = Room::new();
    for status in ["200 OK", "401 Unauthorized"] {
        let provider = Provider::answering(answer(status, &format!("www-authenticate: Bearer {KEY}\r\n"), &body));
        for (method, path) in [("POST", "/v1/messages"), ("GET", "/v1/models")] {
            let lane = room.lane(&provider.url());
            let got = lane.ask(lane.raw(method, path, "", BODY));
            let covered = "*".repeat(KEY.len());
            assert_eq!((got.text(), got.complete), (body.replace(KEY, &covered), true));
            assert_eq!(got.header("www-authenticate"), Some(format!("Bearer {covered}").as_str()));
        }
    }
}

#[test]
fn s7_a_provider_that_escapes_the_key_or_names_a_header_by_it_does_not_show_it() {
    let json: String = KEY.bytes().map(|byte| format!("\\u{byte:04x}")).collect();
    let percent: String = KEY.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let room = Room::new();
    for form in [json, percent, KEY.replace('-', "&#45;"), KEY.replacen('-', "\\u002d", 1), KEY[..30].to_owned()] {
        let body = format!("{{\"error\":\"wrong key: {form}\"}}");
        let provider = Provider::answering(answer("401 Unauthorized", &format!("{KEY}: 1\r\nx-kept: {form}\r\n"), &body));
        let lane = room.lane(&provider.url());
        let got = lane.ask(lane.raw("POST", "/v1/messages", "", BODY));
        let covered = "*".repeat(form.len());
        assert_eq!((got.text(), got.complete), (body.replace(&form, &covered), true));
        assert_eq!((got.header("x-kept"), got.header(KEY)), (Some(covered.as_str()), None));
    }
}

#[test]
fn trailers_reason_phrases_and_headers_for_browsers_pass() {
    let trailers = format!("x-sum: 7\r\nx-echo: {KEY}\r\nx-unnamed: 1\r\n");
    let text = format!(
        "HTTP/1.1 429 Not with {KEY}\r\naccess-control-allow-origin: *\r\naccess-control-expose-headers: x-sum\r\n\
         trailer: x-sum, x-echo\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\n{trailers}\r\n"
    );
    let provider = Provider::answering(text);
    let room = Room::new();
    let lane = room.lane(&provider.url());
    let mut wire = lane.wire();
    wire.write(lane.post("/v1/messages", "TE: trailers\r\nConnection: TE, close\r\n", BODY));
    let seen = provider.request();
    assert_eq!((seen.header("te"), seen.header("connection")), (Some("trailers"), Some("te")));
    let covered = "*".repeat(KEY.len());
    let head = wire.head().unwrap();
    assert_eq!(head.start, format!("HTTP/1.1 429 Not with {covered}"));
    assert_eq!(head.header("access-control-allow-origin"), Some("*"));
    assert_eq!(head.header("access-control-expose-headers"), Some("x-sum"));
    assert_eq!(wire.chunk().unwrap(), b"{}");
    assert_eq!(wire.rest(), format!("0\r\nx-sum: 7\r\nx-echo: {covered}\r\n\r\n"));
    // A client that does not ask for them gets none.
    let got = lane.ask(lane.post("/v1/messages", "", BODY));
    assert_eq!((got.text().as_str(), got.complete, provider.request().header("te")), ("{}", true, None));
}

#[test]
fn s7_a_provider_that_repeats_the_key_in_two_chunks_does_not_show_it() {
    for cut in [1, KEY.len() / 2, KEY.len() - 1] {
        let (go_on, goes_on) = std::sync::mpsc::channel::<()>();
        let goes_on = std::sync::Arc::new(std::sync::Mutex::new(goes_on));
        let provider = Provider::start(move |mut wire, seen| {
            let request = wire.message().unwrap();
            let [first, second] = [format!("wrong key: {}", &KEY[..cut]), format!("{} (key)", &KEY[cut..])];
            wire.write("HTTP/1.1 401 Unauthorized\r\ntransfer-encoding: chunked\r\n\r\n");
            wire.write(format!("{:x}\r\n{first}\r\n", first.len()));
            seen.send(request).unwrap();
            goes_on.lock().unwrap().recv().unwrap();
            wire.write(format!("{:x}\r\n{second}\r\n0\r\n\r\n", second.len()));
        });
        let room = Room::new();
        let lane = room.lane(&provider.url());
        let mut wire = lane.wire();
        wire.write(lane.post("/v1/messages", "", BODY));
        wire.head().unwrap();
        assert_eq!(wire.chunk().unwrap(), b"wrong key: ", "what cannot be the key does not wait");
        go_on.send(()).unwrap();
        assert_eq!(wire.chunk().unwrap(), format!("{} (key)", "*".repeat(KEY.len())).as_bytes());
        assert_eq!(wire.chunk().unwrap(), b"");
    }
}

#[test]
fn an_answer_that_ends_like_the_key_begins_is_whole() {
    let body = format!("{{\"it ends in\": \"{}", &KEY[..10]);
    let provider = Provider::answering(answer("200 OK", "", &body));
    let room = Room::new();
    let lane = room.lane(&provider.url());
    let got = lane.ask(lane.post("/v1/messages", "", BODY));
    assert_eq!((got.text(), got.complete), (body, true));
}

#[test]
fn s7_a_compressed_error_cannot_hide_the_key() {
    let provider = Provider::answering(answer("200 OK", "", "{}"));
    let room = Room::new();
    for (identity, encoding) in [(Identity::Key(Secret::new(KEY)), "identity"), (Identity::Nobody, "gzip")] {
        let lane = room.lane_of(destination(&provider.url(), Family::Anthropic), identity);
        assert_eq!(lane.ask(lane.raw("GET", "/v1/models", "Accept-Encoding: gzip\r\n", "")).status(), 200);
        assert_eq!(provider.request().header("accept-encoding"), Some(encoding));
    }
}

#[test]
fn s7_a_key_is_sent_without_the_white_space_around_it() {
    let provider = Provider::answering(answer("401 Unauthorized", "", KEY));
    let room = Room::new();
    let secret = Secret::new(format!(" {KEY}\r\n"));
    let lane = room.lane_of(destination(&provider.url(), Family::Anthropic), Identity::Key(secret));
    let got = lane.ask(lane.post("/v1/messages", "", BODY));
    assert_eq!(provider.request().header("x-api-key"), Some(KEY));
    assert_eq!(got.text(), "*".repeat(KEY.len()));
}
