//! Through proxies, to names that only the test's proxy knows. Nothing leaves this machine.

use agentops_gateway::destination::{Destinations, Family};
use agentops_gateway::{Config, Gateway, Identity, Proxies};
use agentops_safe::Secret;
use agentops_testkit::model::{ModelServer, Options, Script, Turn, Watch};
use agentops_testkit::proxy::{Asked, Proxy};

use crate::room::{KEY, Room, destination};
use crate::wire::{Provider, answer};

const LOGIN: &str = "sk-ant-oat01-of-a-person-0123456789";
const CALL: &str = "{\"model\":\"claude-x\",\"max_tokens\":9,\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}";

struct Net {
    server: ModelServer,
    proxy: Proxy,
    folder: tempfile::TempDir,
}

impl Net {
    fn new() -> Self {
        let watch = vec![Watch::new("login", LOGIN), Watch::new("key", KEY)];
        let options = Options { watch, ..Options::default() };
        let server = ModelServer::start_with(Script::of(vec![Turn::text("hello")]), options).unwrap();
        let proxy = Proxy::start(&server).unwrap();
        Self { server, proxy, folder: tempfile::tempdir().unwrap() }
    }

    fn config(&self, no: &str) -> Config {
        let ca = self.folder.path().join("ca.pem");
        self.proxy.write_authority(&ca).unwrap();
        let proxies = Proxies { https: Secret::new(self.proxy.url()), no: no.into(), ..Proxies::default() };
        Config { proxies, extra_cas: vec![ca], ..Config::default() }
    }
}

#[test]
fn a_login_reaches_its_official_host_unread() {
    let net = Net::new();
    let room = Room::with(net.config(""));
    let official = Destinations::new([]).unwrap();
    for (name, path, host, landed) in [
        ("anthropic", "/v1/messages", "api.anthropic.com", "/v1/messages"),
        ("openai", "/v1/responses", "chatgpt.com", "/backend-api/codex/responses"),
        (
            "google",
            "/v1beta/models/gemini-x:generateContent",
            "generativelanguage.googleapis.com",
            "/v1beta/models/gemini-x:generateContent",
        ),
    ] {
        let lane = room.lane_of(official.get(name).unwrap().clone(), Identity::Login);
        let got = lane.ask(lane.post(path, &format!("Authorization: Bearer {LOGIN}\r\n"), CALL));
        assert_eq!(got.status(), 200, "{}", got.whole());
        let seen = net.server.requests().pop().unwrap();
        assert!(seen.credential_is("login"), "{name}: {:?}", seen.sightings);
        assert_eq!(seen.path, landed);
        assert_eq!(net.proxy.asked().last(), Some(&Asked::Tunnel(format!("{host}:443"))));
        assert!(!got.whole().contains(LOGIN));
    }
}

#[test]
fn s7_a_key_reaches_its_host_and_no_login_goes_with_it() {
    let net = Net::new();
    let room = Room::with(net.config(""));
    let official = Destinations::new([]).unwrap();
    let lane = room.lane_of(official.get("openai").unwrap().clone(), Identity::Key(Secret::new(KEY)));
    let got = lane.ask(lane.post("/v1/responses", &format!("Authorization: Bearer {LOGIN}\r\n"), CALL));
    assert_eq!(got.status(), 200, "{}", got.whole());
    let seen = net.server.requests().pop().unwrap();
    assert!(seen.credential_is("key") && !seen.saw("login"), "{:?}", seen.sightings);
    assert_eq!(net.proxy.asked(), [Asked::Tunnel("api.openai.com:443".into())]);
}

#[test]
fn a_certificate_that_nobody_vouches_for_is_refused() {
    let net = Net::new();
    let room = Room::with(Config { extra_cas: Vec::new(), ..net.config("") });
    let official = Destinations::new([]).unwrap();
    let lane = room.lane_of(official.get("anthropic").unwrap().clone(), Identity::Login);
    let got = lane.ask(lane.post("/v1/messages", &format!("Authorization: Bearer {LOGIN}\r\n"), CALL));
    assert_eq!(got.status(), 502);
    assert!(got.text().contains("certificate is not trusted"), "{}", got.text());
    assert_eq!(net.server.requests().len(), 0);
    assert_eq!(lane.rows(1), ["no answer, tls, free"]);
}

#[test]
fn a_ca_file_that_is_none_is_named() {
    let net = Net::new();
    let file = net.folder.path().join("empty.pem");
    std::fs::write(&file, "not a certificate").unwrap();
    for file in [file, net.folder.path().join("absent.pem")] {
        let config = Config { extra_cas: vec![file.clone()], ..net.config("") };
        let error = Gateway::start(config).expect_err("it does not start").to_string();
        assert!(error.contains(file.to_str().unwrap()) && error.contains("gateway.extra-ca"), "{error}");
    }
}

#[test]
fn no_proxy_is_honoured() {
    let net = Net::new();
    // A proxy that is asked shows in its list; who goes without it fails at the name, which is none.
    for (no, host, through_proxy) in [
        ("", "a.provider.invalid", true),
        ("other.invalid", "a.provider.invalid", true),
        ("provider.invalid", "notprovider.invalid", true),
        ("provider.invalid", "a.provider.invalid", false),
        (".provider.invalid, x", "a.provider.invalid", false),
        ("x,a.provider.invalid", "a.provider.invalid", false),
        ("*", "a.provider.invalid", false),
    ] {
        let room = Room::with(net.config(no));
        let lane = room.lane(&format!("https://{host}"));
        let before = net.proxy.asked().len();
        let got = lane.ask(lane.post("/v1/messages", "", CALL));
        let asked = net.proxy.asked().len() - before;
        assert_eq!((asked, got.status()), if through_proxy { (1, 200) } else { (0, 502) }, "{no}: {}", got.whole());
    }
}

#[test]
fn this_machine_is_reached_without_a_proxy() {
    let net = Net::new();
    let provider = Provider::answering(answer("200 OK", "", "{}"));
    let dead = || Secret::new("http://127.0.0.1:1");
    let proxies = Proxies { all: dead(), http: dead(), https: dead(), no: String::new() };
    let room = Room::with(Config { proxies, ..net.config("") });
    let lane = room.lane(&provider.url());
    assert_eq!(lane.ask(lane.post("/v1/messages", "", CALL)).status(), 200);
}

#[test]
fn a_proxy_for_plain_http_is_shown_the_whole_address_and_its_password() {
    let proxy = Provider::answering(answer("200 OK", "", "{}"));
    let secret = Secret::new(format!("http://me:hunter2@{}", proxy.address));
    let room = Room::with(Config { proxies: Proxies { http: secret, ..Proxies::default() }, ..Config::default() });
    let lane = room.lane_of(destination("http://gpu.invalid:8000/v1", Family::OpenAi), Identity::Nobody);
    let got = lane.ask(lane.post("/v1/chat/completions?a=1", "Authorization: Bearer x\r\n", CALL));
    assert_eq!(got.status(), 200, "{}", got.whole());
    let seen = proxy.request();
    assert_eq!(seen.start, "POST http://gpu.invalid:8000/v1/chat/completions?a=1 HTTP/1.1");
    assert_eq!(seen.header("host"), Some("gpu.invalid:8000"));
    assert_eq!(seen.header("proxy-authorization"), Some("Basic bWU6aHVudGVyMg=="));
    assert_eq!(seen.header("authorization"), None, "a destination that wants no key gets none");
}

#[test]
fn a_proxy_that_refuses_is_named_and_its_password_is_not() {
    let proxy = Provider::answering("HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n");
    let secret = Secret::new(format!("http://me:hunter2@{}", proxy.address));
    let config = Config { proxies: Proxies { https: secret, ..Proxies::default() }, ..Config::default() };
    assert!(!format!("{config:?}").contains("hunter2"));
    let room = Room::with(config);
    let lane = room.lane("https://provider.invalid");
    let got = lane.ask(lane.post("/v1/messages", "", CALL));
    assert_eq!(got.status(), 502);
    assert!(got.text().contains("HTTPS_PROXY") && !got.text().contains("hunter2"), "{}", got.text());
    assert_eq!(lane.rows(1), ["no answer, proxy, free"]);
}

#[test]
fn a_proxy_that_cannot_be_used_is_refused_at_the_start() {
    for bad in ["socks5://127.0.0.1:1", "ftp://127.0.0.1:1", "http://", ":"] {
        let proxies = Proxies { all: Secret::new(bad), ..Proxies::default() };
        let error = Gateway::start(Config { proxies, ..Config::default() }).err().map(|error| error.to_string());
        assert!(error.is_some_and(|error| error.contains("ALL_PROXY")), "{bad}");
    }
}
