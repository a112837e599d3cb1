//! B1 for endpoints: whatever path and method a client chooses and wherever its calls go, a model call is measured or does not
//! leave. The table of the document is compared with the code here too.

use std::sync::Arc;

use agentops_core::budget::Limits;
use agentops_gateway::destination::Family;
use agentops_gateway::host::{Host, Note, Refusal};
use agentops_gateway::lane::{Lane, Rules};
use agentops_gateway::protocol::{self, Protocol, Treatment};
use agentops_gateway::{Identity, LaneSpec};
use agentops_safe::Secret;
use serde_json::json;

use crate::host::{Told, rules};
use crate::room::{KEY, Open, Room, destination};
use crate::wire::{Provider, answer};

/// Forms of destinations: what they speak, and the path of their address. The first three are the built-in ones.
const DESTINATIONS: [(&str, Family, &str); 7] = [
    ("Anthropic", Family::Anthropic, ""),
    ("OpenAI", Family::OpenAi, "/v1"),
    ("Google", Family::Google, ""),
    ("the backend of ChatGPT logins", Family::OpenAi, "/backend-api/codex"),
    ("a router", Family::OpenAi, "/api/v1"),
    ("a server without a version", Family::OpenAi, ""),
    ("Messages under a path", Family::Anthropic, "/anthropic"),
];

const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];

fn open(room: &Room, provider: &Provider, family: Family, prefix: &str, rules: Rules, told: &Arc<Told>) -> Open {
    let lane = Lane::new(rules);
    let destination = destination(&format!("{}{prefix}", provider.url()), family);
    let handle =
        room.gateway.open(LaneSpec { lane, destination, identity: Identity::Key(Secret::new(KEY)) }).expect("a lane opens");
    Open { handle, told: Arc::clone(told), address: room.gateway.address() }
}

/// A body that each of the four protocols reads as a call with this text.
fn body(text: &str) -> String {
    let messages = json!([{"role": "user", "content": text}]);
    let contents = json!([{"role": "user", "parts": [{"text": text}]}]);
    json!({"model": "m", "max_tokens": 50, "messages": messages, "input": messages, "contents": contents}).to_string()
}

/// Paths that a rule's pattern stands for.
fn paths(pattern: &str) -> Vec<String> {
    let path = pattern.replace("{model}", "m").replace("{id}", "x").replace("{answer}", "resp_1").replace("{author}", "a");
    match path.strip_suffix("/…") {
        Some(beginning) => vec![beginning.to_owned(), format!("{beginning}/x"), format!("{beginning}/x/y")],
        None => vec![path],
    }
}

fn without_version(path: &str, family: Family) -> &str {
    let rest = path.strip_prefix("/v1").filter(|rest| family == Family::OpenAi && rest.starts_with('/'));
    rest.unwrap_or(path)
}

/// Each endpoint of the table, with and without a version, at each destination, with a call that fits and with one that passes
/// the ceiling; and calls under a budget that is used up.
#[test]
fn b1_every_endpoint_is_measured_passed_or_refused_at_every_destination() {
    let provider = Provider::answering(answer("200 OK", "", "{}"));
    let room = Room::new();
    let (small, large) = (body("Hello."), body(&"word ".repeat(20_000)));
    for (name, family, prefix) in DESTINATIONS {
        let told = Arc::<Told>::default();
        let lane = open(&room, &provider, family, prefix, rules(20_000, Arc::clone(&told) as Arc<dyn Host>), &told);
        let broke = Arc::<Told>::default();
        let day = Limits { tokens: Some(0), micro_usd: None };
        let poor = Rules { day, ..rules(20_000, Arc::clone(&broke) as Arc<dyn Host>) };
        let poor = open(&room, &provider, family, prefix, poor, &broke);
        let mut calls = 0;
        for rule in protocol::RULES {
            for pattern in rule.paths {
                for (path, version) in
                    paths(pattern).into_iter().flat_map(|path| ["", "/v1", "/v1beta"].map(|v| (path.clone(), v)))
                {
                    let path = format!("{version}/{path}");
                    let method = if rule.method == "any" { "POST" } else { rule.method };
                    let case = format!("{method} {path} at {name}");
                    let got = lane.ask(lane.raw(method, &path, "", &small));
                    match rule.treatment {
                        Treatment::Refused(_) => {
                            assert_eq!(got.status(), 404, "{case}");
                            assert!(!provider.was_asked(), "{case}");
                            continue;
                        }
                        _ => {
                            assert_eq!(got.status(), 200, "{case}: {}", got.whole());
                            let at = format!("{method} {prefix}{} HTTP/1.1", without_version(&path, family));
                            assert_eq!(provider.request().start, at, "{case}");
                        }
                    }
                    if let Treatment::Measured(_) = rule.treatment {
                        calls += 1;
                        assert_eq!(lane.rows(calls).len(), calls, "{case}");
                        let got = lane.ask(lane.raw(method, &path, "", &large));
                        assert!(got.status() == 400 && !provider.was_asked(), "{case}: {}", got.whole());
                        assert_eq!(poor.ask(poor.raw(method, &path, "", &small)).status(), 402, "{case}");
                        assert!(!provider.was_asked(), "{case}");
                    }
                }
            }
        }
        let refusals = told.wait(crate::wire::PATIENCE, |said| Some(said.refusals.clone())).unwrap();
        assert_eq!(refusals.len(), calls, "{name}");
        assert!(refusals.iter().all(|refusal| matches!(refusal, Refusal::Ceiling { .. })), "{refusals:?}");
        assert_eq!(lane.rows(calls).len(), calls, "what is no call leaves no row");
    }
}

/// Whatever method and spelling is tried: what reaches the provider unmeasured is a count or a question without a call.
#[test]
fn b1_no_whole_call_goes_unmeasured() {
    let provider = Provider::answering(answer("200 OK", "", "{}"));
    let room = Room::new();
    let large = body(&"word ".repeat(20_000));
    let tried = [
        "/messages",
        "/v1/messages",
        "/v1/Messages",
        "/V1/messages",
        "/v1/messages%20",
        "/v1/messages/",
        "/v1/messages?x=1",
        "/v1/messages/batches",
        "/v1/batches",
        "/v1/completions",
        "/v1/complete",
        "/v1/embeddings",
        "/v1/realtime",
        "/v1/realtime/calls",
        "/v1/threads/t/runs",
        "/v1/threads/runs",
        "/v1/assistants",
        "/v1/interactions",
        "/v1beta/interactions",
        "/v1/responses",
        "/v1/responses/r",
        "/v1/responses/r/cancel",
        "/v1/conversations",
        "/v1/chat/completions",
        "/chat/completions",
        "/openai/deployments/d/chat/completions",
        "/api/v1/chat/completions",
        "/v1/models/m:generateContent",
        "/v1beta/models/m:streamGenerateContent",
        "/v1beta/models/m:batchGenerateContent",
        "/v1beta/models/m:embedContent",
        "/v1/models/m:rawPredict",
        "/v1beta/tunedModels/m:generateContent",
        "/v1/projects/p/locations/l/publishers/anthropic/models/m:rawPredict",
        "/v1/projects/p/locations/l/publishers/anthropic/models/m:streamRawPredict",
        "/model/m/invoke",
        "/upload/v1beta/files",
        "/google.ai.generativelanguage.v1beta.GenerativeService/GenerateContent",
        "/api/chat",
        "/api/generate",
        "/v1/agents",
        "/v1/sessions/s/events",
        "/v1/something-new",
        "/batch",
        "/",
    ];
    for (name, family, prefix) in DESTINATIONS {
        let told = Arc::<Told>::default();
        let lane = open(&room, &provider, family, prefix, rules(20_000, Arc::clone(&told) as Arc<dyn Host>), &told);
        for (path, method) in tried.iter().flat_map(|path| METHODS.map(|method| (path, method))) {
            let mut wire = lane.wire();
            wire.write(lane.raw(method, path, "", &large));
            let status = wire.head().unwrap().status();
            if matches!((method, *path), ("GET" | "HEAD", "/v1/responses/r") | ("POST", "/v1/responses/r/cancel")) {
                // It asks for an answer that was begun before, and takes nothing along.
                assert!(status == 200 && provider.request().body.is_empty(), "{method} {path} at {name}: {status}");
                continue;
            }
            assert!((400..500).contains(&status) && !provider.was_asked(), "{method} {path} at {name}: {status}");
        }
        let overridden = lane.raw("GET", "/v1/models/m", "X-HTTP-Method-Override: POST\r\n", &large);
        assert_eq!(lane.ask(overridden).status(), 400);
        assert!(!provider.was_asked() && lane.rows(0).is_empty());
        assert!(lane.notes().iter().all(|note| matches!(note, Note::RequestRefused { .. })));
    }
}

/// A client that is still sending when its connection closes sees no answer.
#[test]
fn a_refusal_is_seen_by_a_client_with_a_large_body() {
    let provider = Provider::answering(answer("200 OK", "", "{}"));
    let room = Room::new();
    let lane = room.lane(&provider.url());
    let large = body(&"word ".repeat(1 << 20));
    for (path, headers, status) in [
        ("/v1/batches", "", 404),
        ("/v1//messages", "", 400),
        ("/v1/messages", "Content-Encoding: gzip\r\n", 415),
        ("/v1/messages/count_tokens", "X-HTTP-Method: PUT\r\n", 400),
    ] {
        let got = lane.ask(lane.post(path, headers, &large));
        assert_eq!((got.status(), got.complete), (status, true), "{path}: {}", got.whole());
    }
    assert!(!provider.was_asked());
}

/// S6: a question that is no call carries no more than a call would.
#[test]
fn s6_a_count_leaves_without_its_secrets() {
    use agentops_core::workflow::Secrets;
    let provider = Provider::answering(answer("200 OK", "", "{}"));
    let room = Room::new();
    let secret = format!("ghp_{}", "a1B2".repeat(9));
    for (secrets, status) in [(Secrets::Pass, 200), (Secrets::Redact, 200), (Secrets::Refuse, 400)] {
        let told = Arc::<Told>::default();
        let rules = Rules { secrets, ..rules(20_000, Arc::clone(&told) as Arc<dyn Host>) };
        let lane = open(&room, &provider, Family::Anthropic, "", rules, &told);
        let got = lane.ask(lane.post("/v1/messages/count_tokens", "", &body(&secret)));
        assert_eq!(got.status(), status, "{}", got.whole());
        match secrets {
            Secrets::Pass => assert!(provider.request().text().contains(&secret)),
            Secrets::Redact => {
                let seen = provider.request().text();
                assert!(!seen.contains(&secret) && serde_json::from_str::<serde_json::Value>(&seen).is_ok(), "{seen}");
            }
            Secrets::Refuse => assert!(!provider.was_asked()),
        }
    }
}

/// S6: a secret leaves in no other place of a request either. The key of the destination does: that is what it is for.
#[test]
fn s6_no_place_of_a_request_lets_a_secret_leave() {
    use agentops_core::workflow::Secrets;
    let provider = Provider::answering(answer("200 OK", "", "{}"));
    let room = Room::new();
    let secret = format!("ghp_{}", "a1B2".repeat(9));
    let hi = body("Hi.");
    for secrets in [Secrets::Redact, Secrets::Refuse] {
        let told = Arc::<Told>::default();
        let rules = Rules { secrets, ..rules(20_000, Arc::clone(&told) as Arc<dyn Host>) };
        let lane = open(&room, &provider, Family::Anthropic, "", rules, &told);
        let header = format!("X-Note: {secret}\r\n");
        for (method, path, headers, is_refused) in [
            ("POST", format!("/v1/messages?x={secret}"), "", secrets == Secrets::Refuse),
            ("POST", "/v1/messages".to_owned(), header.as_str(), secrets == Secrets::Refuse),
            ("GET", format!("/v1/models?x={secret}"), "", secrets == Secrets::Refuse),
            ("GET", format!("/v1/models/{secret}"), "", true),
            ("GET", format!("/v1/files/{secret}"), "", true),
        ] {
            let got = lane.ask(lane.raw(method, &path, headers, if method == "POST" { &hi } else { "" }));
            assert!(!got.whole().contains(&secret), "{}", got.whole());
            if is_refused {
                assert_eq!(got.status(), 400, "{path}: {}", got.whole());
                assert!(got.text().contains("looks like a secret"), "{}", got.text());
                assert!(!provider.was_asked(), "{path}");
            } else {
                assert_eq!(got.status(), 200, "{path}: {}", got.whole());
                let seen = provider.request().whole();
                assert!(!seen.contains(&secret) && seen.contains("redacted:github-token"), "{seen}");
                assert!(seen.contains(KEY), "{seen}");
                assert!(lane.notes().contains(&Note::Redacted));
            }
        }
        let told = format!("{:?}", lane.notes());
        assert!(!told.contains(&secret), "{told}");
    }
}

/// A question has no body, so none leaves with one, whatever it holds.
#[test]
fn s6_a_question_leaves_without_a_body() {
    let provider = Provider::answering(answer("200 OK", "", "{}"));
    let room = Room::new();
    let lane = room.lane(&provider.url());
    for path in ["/v1/models", "/v1/files/f"] {
        assert_eq!(lane.ask(lane.raw("GET", path, "", &body("A body."))).status(), 200);
        let seen = provider.request();
        assert_eq!((seen.text().as_str(), seen.header("content-length")), ("", None), "{}", seen.whole());
    }
}

#[test]
fn the_document_has_the_table_of_endpoints() {
    let document = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/gateway.md")).unwrap();
    let table = protocol::table();
    assert!(document.contains(&table), "docs/gateway.md must have this table:\n{table}");
    for protocol in Protocol::ALL {
        assert!(table.contains(&format!("measured as {}", protocol.name())));
    }
}
