//! A receiver on loopback that answers as it is told and keeps what it got.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// Nothing here takes longer, however busy the machine is.
pub const LONG: Duration = Duration::from_secs(60);

/// One request.
#[derive(Debug)]
pub struct Request {
    pub path: String,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

/// What to answer: the status line, further header lines, and the body.
pub type Answer = (&'static str, &'static str, Vec<u8>);

pub fn fine() -> Answer {
    ("200 OK", "", Vec::new())
}

pub struct Loopback {
    pub address: SocketAddr,
    requests: Receiver<Request>,
}

impl Loopback {
    /// Answers each request, by its place from 0, one connection after the other.
    pub fn start(answer: impl FnMut(usize) -> Answer + Send + 'static) -> Self {
        Self::over(Some, answer)
    }

    /// The same, over TLS.
    pub fn tls(config: Arc<ServerConfig>, answer: impl FnMut(usize) -> Answer + Send + 'static) -> Self {
        Self::over(move |stream| Some(StreamOwned::new(ServerConnection::new(Arc::clone(&config)).ok()?, stream)), answer)
    }

    fn over<S: Read + Write>(
        wrap: impl Fn(TcpStream) -> Option<S> + Send + 'static,
        mut answer: impl FnMut(usize) -> Answer + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port on loopback");
        let address = listener.local_addr().expect("its address");
        let (got, requests) = channel();
        std::thread::spawn(move || {
            let mut count = 0;
            for stream in listener.incoming().map_while(Result::ok).filter_map(&wrap) {
                let mut stream = BufReader::new(stream);
                let Some(request) = read(&mut stream) else { continue };
                if got.send(request).is_err() {
                    return;
                }
                let (status, headers, body) = answer(count);
                count += 1;
                let length = body.len();
                let head = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n");
                let stream = stream.get_mut();
                // A client that has gone is not this receiver's business.
                let _ =
                    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body)).and_then(|()| stream.flush());
            }
        });
        Self { address, requests }
    }

    pub fn next(&self) -> Request {
        self.requests.recv_timeout(LONG).expect("a request comes")
    }

    /// What has come so far: for when nothing more can come.
    pub fn rest(&self) -> Vec<Request> {
        self.requests.try_iter().collect()
    }
}

fn read(reader: &mut impl BufRead) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut headers = BTreeMap::new();
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Request { path, headers, body })
}
