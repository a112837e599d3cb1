//! The proxy, by a client that trusts its authority and nothing else.

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use agentops_testkit::model::{ModelServer, Options, Protocol, Script, Turn, Watch};
use agentops_testkit::proxy::{Asked, Proxy};
use common::{LONG, data};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::json;

fn connect(proxy: &Proxy) -> TcpStream {
    let stream = TcpStream::connect(proxy.url().trim_start_matches("http://")).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream
}

/// Asks for a tunnel and gives the head of the answer.
fn ask_for(stream: &mut TcpStream, line: &str) -> String {
    stream.write_all(format!("{line}\r\nhost: x\r\n\r\n").as_bytes()).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.extend(byte);
    }
    String::from_utf8(head).unwrap()
}

/// TLS to `name` within a tunnel to `host`, by a client that trusts this authority.
fn tls(proxy: &Proxy, host: &str, name: &str, authority: &str) -> StreamOwned<ClientConnection, TcpStream> {
    let mut stream = connect(proxy);
    let answer = ask_for(&mut stream, &format!("CONNECT {host}:443 HTTP/1.1"));
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), stream)
}

#[test]
fn a_client_reaches_the_model_under_the_providers_name() {
    let options = Options { watch: vec![Watch::new("key", "made-up")], ..Options::default() };
    let server = ModelServer::start_with(Script::of(vec![Turn::text("by tunnel")]), options).unwrap();
    let proxy = Proxy::start(&server).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("authority.pem");
    proxy.write_authority(&file).unwrap();
    let authority = std::fs::read_to_string(file).unwrap();
    let body = json!({"stream": true, "tools": [{"name": "Bash"}], "messages": [{"role": "user", "content": "go"}]});
    for host in ["api.anthropic.example", "api.openai.example"] {
        let mut stream = tls(&proxy, host, host, &authority);
        let body = body.to_string();
        let length = body.len();
        let head = format!(
            "POST /v1/messages HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer made-up\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(data(&answer).iter().any(|event| event["delta"]["text"] == "tunnel"), "{answer}");
    }
    let targets = ["api.anthropic.example:443", "api.openai.example:443"];
    assert_eq!(proxy.asked(), targets.map(|target| Asked::Tunnel(target.into())));
    let requests = server.requests();
    assert_eq!(requests.iter().map(|record| record.tunnel.as_deref()).collect::<Vec<_>>(), targets.map(Some));
    assert_eq!(requests[0].host.as_deref(), Some("api.anthropic.example"));
    assert!(requests.iter().all(|record| record.protocol == Protocol::Messages && record.credential_is("key")));
}

#[test]
fn everything_but_a_tunnel_to_https_is_refused() {
    let server = ModelServer::start(Script::of(vec![Turn::text("x")])).unwrap();
    let proxy = Proxy::start(&server).unwrap();
    let lines = ["GET http://api.anthropic.example/v1/messages HTTP/1.1", "CONNECT api.anthropic.example:80 HTTP/1.1"];
    for line in lines {
        assert!(ask_for(&mut connect(&proxy), line).starts_with("HTTP/1.1 403 "), "{line}");
    }
    assert_eq!(proxy.asked(), lines.map(|line| Asked::Refused(line.into())));
    assert_eq!(server.requests(), []);
}

#[test]
fn a_client_that_knows_another_name_or_authority_is_not_fooled() {
    let server = ModelServer::start(Script::of(vec![Turn::text("x")])).unwrap();
    let (proxy, other) = (Proxy::start(&server).unwrap(), Proxy::start(&server).unwrap());
    for (name, authority) in [("b.example", proxy.authority_pem()), ("a.example", other.authority_pem())] {
        let mut stream = tls(&proxy, "a.example", name, &authority);
        let error = stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidData, "{error}");
    }
    assert_eq!(server.requests(), []);
}
