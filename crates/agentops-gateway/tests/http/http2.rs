//! Providers that offer HTTP/2, over TLS on loopback.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc::{Receiver, Sender, channel};

use agentops_gateway::Config;
use agentops_testkit::proxy::Authority;
use bytes::{Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use hyper::http::request::Parts;
use hyper::{Request, Response};
use tokio_rustls::TlsAcceptor;

use crate::room::{KEY, Open, Room};
use crate::wire::PATIENCE;

const CALL: &str = "{\"model\":\"claude-x\",\"max_tokens\":9,\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}";
const ANSWER: &str = "{\"model\":\"claude-x\",\"content\":[],\"usage\":{\"input_tokens\":3,\"output_tokens\":2}}";

/// A request that arrived, and how to answer it.
struct Asked {
    /// The number of the connection it came over, from 0.
    connection: usize,
    head: Parts,
    body: Bytes,
    answer: SendResponse<Bytes>,
}

impl Asked {
    fn head(&mut self, status: u16, ends: bool) -> SendStream<Bytes> {
        let answer = Response::builder().status(status).header("request-id", "req_1");
        self.answer.send_response(answer.body(()).unwrap(), ends).unwrap()
    }

    fn reply(mut self, body: &str) {
        self.head(200, false).send_data(Bytes::copy_from_slice(body.as_bytes()), true).unwrap();
    }
}

/// A provider. Each request waits until the test answers it.
struct Provider {
    address: SocketAddr,
    /// Holds the certificate of its authority, which a gateway reads when it first connects.
    folder: tempfile::TempDir,
    asked: Receiver<Asked>,
    runtime: tokio::runtime::Runtime,
}

impl Provider {
    /// `streams`: how many requests it takes at once on a connection. `calls`: after how many a connection goes away.
    fn start(streams: u32, calls: usize) -> Self {
        let authority = Authority::new().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let address = listener.local_addr().unwrap();
        let acceptor = TlsAcceptor::from(authority.serve_as("127.0.0.1", &["h2", "http/1.1"]).unwrap());
        let (sender, asked) = channel();
        runtime.spawn(async move {
            for connection in 0.. {
                let Ok((tcp, _)) = listener.accept().await else { return };
                let (acceptor, sender) = (acceptor.clone(), sender.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(tcp).await else { return };
                    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
                    serve(stream, connection, streams, calls, &sender).await;
                });
            }
        });
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), authority.pem()).unwrap();
        Self { address, folder, asked, runtime }
    }

    /// A gateway that trusts it, and a lane to it.
    fn open(&self) -> (Room, Open) {
        let extra_cas = vec![self.folder.path().join("ca.pem")];
        let room = Room::with(Config { extra_cas, ..Config::default() });
        let lane = room.lane(&format!("https://{}", self.address));
        (room, lane)
    }

    fn next(&self) -> Asked {
        self.asked.recv_timeout(PATIENCE).expect("a request reaches the provider")
    }
}

async fn serve(
    stream: tokio_rustls::server::TlsStream<tokio::net::TcpStream>,
    connection: usize,
    streams: u32,
    calls: usize,
    sender: &Sender<Asked>,
) {
    let builder = h2::server::Builder::new().max_concurrent_streams(streams).clone();
    let Ok(mut incoming) = builder.handshake::<_, Bytes>(stream).await else { return };
    let mut count = 0;
    while let Some(Ok((request, answer))) = incoming.accept().await {
        count += 1;
        if count > calls {
            // It closes just as another request has left, without a word.
            return;
        }
        let sender = sender.clone();
        tokio::spawn(async move {
            let (head, body) = read(request).await;
            let _ = sender.send(Asked { connection, head, body, answer });
        });
    }
}

async fn read(request: Request<RecvStream>) -> (Parts, Bytes) {
    let (head, mut incoming) = request.into_parts();
    let mut body = BytesMut::new();
    while let Some(Ok(data)) = incoming.data().await {
        incoming.flow_control().release_capacity(data.len()).unwrap();
        body.extend_from_slice(&data);
    }
    (head, body.freeze())
}

#[test]
fn http_2_is_used_where_it_is_offered() {
    let provider = Provider::start(100, usize::MAX);
    let (_room, lane) = provider.open();
    for _ in 0..3 {
        let mut wire = lane.wire();
        wire.write(lane.post("/v1/messages?beta=true", "Connection: keep-alive\r\nX-Stainless-Lang: js\r\n", CALL));
        let asked = provider.next();
        assert_eq!((asked.connection, asked.head.method.as_str()), (0, "POST"));
        let address = format!("https://{}/v1/messages?beta=true", provider.address);
        assert_eq!(asked.head.uri.to_string(), address);
        assert_eq!(asked.head.headers["x-api-key"], KEY);
        assert_eq!(asked.head.headers["x-stainless-lang"], "js");
        for name in ["host", "connection", "transfer-encoding"] {
            assert!(!asked.head.headers.contains_key(name), "{name}: a connection's own header");
        }
        assert_eq!(asked.body, CALL.as_bytes());
        asked.reply(ANSWER);
        let got = wire.message().unwrap();
        assert_eq!((got.status(), got.text().as_str()), (200, ANSWER));
        assert_eq!(got.header("request-id"), Some("req_1"));
    }
    assert_eq!(lane.rows(3), ["200", "200", "200"]);
}

#[test]
fn one_connection_carries_calls_side_by_side_and_as_many_as_its_server_takes() {
    for (streams, connections) in [(100, [0, 0]), (1, [0, 1])] {
        let provider = Provider::start(streams, usize::MAX);
        let (_room, lane) = provider.open();
        // The first call learns what the server takes.
        let mut first = lane.wire();
        first.write(lane.post("/v1/messages", "", CALL));
        provider.next().reply(ANSWER);
        assert_eq!(first.message().unwrap().status(), 200);
        let mut wires = [lane.wire(), lane.wire()];
        let mut under_way = Vec::new();
        for wire in &mut wires {
            wire.write(lane.post("/v1/messages", "", CALL));
            under_way.push(provider.next());
        }
        assert_eq!(under_way.iter().map(|asked| asked.connection).collect::<Vec<_>>(), connections);
        // The later one is answered first.
        for (wire, asked) in wires.iter_mut().zip(under_way).rev() {
            asked.reply(ANSWER);
            assert_eq!(wire.message().unwrap().status(), 200);
        }
    }
}

#[test]
fn an_answer_that_its_client_does_not_read_holds_up_no_other_on_its_connection() {
    let provider = Provider::start(100, usize::MAX);
    let (_room, lane) = provider.open();
    // Its limit allows for all of the answer.
    let call = CALL.replace("\"max_tokens\":9", "\"max_tokens\":32000");
    let mut unread = Vec::new();
    let full = Bytes::from(vec![b' '; 32 << 20]);
    for _ in 0..8 {
        let mut wire = lane.wire();
        wire.write(lane.post("/v1/messages", "", &call));
        let mut asked = provider.next();
        let mut body = asked.head(200, false);
        body.send_data(full.clone(), true).unwrap();
        assert_eq!(wire.head().unwrap().status(), 200);
        unread.push((wire, body));
    }
    let mut wire = lane.wire();
    wire.write(lane.post("/v1/messages", "", &call));
    let mut asked = provider.next();
    assert_eq!(asked.connection, 0);
    // More than the others find room for.
    asked.head(200, false).send_data(full.clone(), true).unwrap();
    assert_eq!(wire.message().unwrap().body.len(), full.len());
}

#[test]
fn a_call_that_a_kept_connection_lost_or_refused_is_sent_once_more() {
    let provider = Provider::start(100, 1);
    let (_room, lane) = provider.open();
    for connection in 0..3 {
        let mut wire = lane.wire();
        wire.write(lane.post("/v1/messages", "", CALL));
        let asked = provider.next();
        assert_eq!(asked.connection, connection, "the connection before it went away as this call left");
        asked.reply(ANSWER);
        assert_eq!(wire.message().unwrap().status(), 200);
    }
    assert_eq!(lane.rows(3), ["200", "200", "200"]);

    let provider = Provider::start(100, usize::MAX);
    let (_room, lane) = provider.open();
    let mut wire = lane.wire();
    wire.write(lane.post("/v1/messages", "", CALL));
    provider.next().reply(ANSWER);
    assert_eq!(wire.message().unwrap().status(), 200);
    wire.write(lane.post("/v1/messages", "", CALL));
    provider.next().answer.send_reset(Reason::REFUSED_STREAM);
    let again = provider.next();
    assert_eq!(again.connection, 1);
    again.reply(ANSWER);
    assert_eq!(wire.message().unwrap().status(), 200);
}

#[test]
fn b3_a_call_that_a_server_refused_to_begin_is_free_and_one_that_it_broke_off_is_not() {
    for (reason, row) in [
        (Reason::REFUSED_STREAM, "no answer, reset, free"),
        (Reason::INTERNAL_ERROR, "no answer, reset"),
        (Reason::CANCEL, "no answer, reset"),
    ] {
        let provider = Provider::start(100, usize::MAX);
        let (_room, lane) = provider.open();
        let mut wire = lane.wire();
        wire.write(lane.post("/v1/messages", "", CALL));
        provider.next().answer.send_reset(reason);
        let got = wire.message().unwrap();
        assert_eq!(got.status(), 502, "{}", got.whole());
        assert_eq!(lane.rows(1), [row], "{}", got.text());
        assert!(provider.asked.try_recv().is_err(), "it is not repeated");
    }
}

#[test]
fn a_client_that_goes_away_ends_its_own_call_and_no_other() {
    let provider = Provider::start(100, usize::MAX);
    let (_room, lane) = provider.open();
    let mut going = lane.wire();
    going.write(lane.post("/v1/messages", "", CALL));
    let mut left = provider.next();
    let mut body = left.head(200, false);
    assert_eq!(going.head().unwrap().status(), 200);
    let mut staying = lane.wire();
    staying.write(lane.post("/v1/messages", "", CALL));
    let stays = provider.next();
    assert_eq!((left.connection, stays.connection), (0, 0));
    drop(going);
    let reason = provider.runtime.block_on(std::future::poll_fn(|context| body.poll_reset(context)));
    assert_eq!(reason.unwrap(), Reason::CANCEL);
    stays.reply(ANSWER);
    assert_eq!(staying.message().unwrap().text(), ANSWER);
}
