//! Plain sockets: a client that writes what it is told, and a provider that answers what it is told. Nothing in between
//! makes either of them better behaved than the test wants them.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

/// No test waits longer than this for anything.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// One side of a connection.
pub struct Wire {
    pub stream: TcpStream,
    buffer: Vec<u8>,
}

/// A request or an answer as it was on the wire.
#[derive(Debug, Clone)]
pub struct Message {
    /// The first line.
    pub start: String,
    /// Names as written, values without the space around them.
    pub headers: Vec<(String, String)>,
    /// The body; of a chunked one, what is in the chunks.
    pub body: Vec<u8>,
    /// The body ended as its head said.
    pub complete: bool,
}

impl Message {
    pub fn status(&self) -> u16 {
        self.start.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub fn names(&self) -> Vec<String> {
        self.headers.iter().map(|(name, _)| name.to_ascii_lowercase()).collect()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// All of it, for a search.
    pub fn whole(&self) -> String {
        let headers: Vec<_> = self.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        format!("{}\n{}\n\n{}", self.start, headers.join("\n"), self.text())
    }
}

impl Wire {
    pub fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, buffer: Vec::new() }
    }

    pub fn to(address: SocketAddr) -> Self {
        Self::new(TcpStream::connect(address).unwrap())
    }

    pub fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    /// Writes to a side that may be gone.
    pub fn try_write(&mut self, bytes: &str) {
        self.stream.write_all(bytes.as_bytes()).ok();
    }

    /// Reads more. `false`: there is no more.
    pub fn more(&mut self) -> bool {
        let mut bytes = [0; 16 << 10];
        match self.stream.read(&mut bytes) {
            Ok(n) => {
                self.buffer.extend_from_slice(&bytes[..n]);
                n > 0
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
            Err(error) => panic!("nothing came in {PATIENCE:?}: {error}"),
        }
    }

    fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|two| two == b"\r\n") {
                let line = self.buffer.drain(..end + 2).take(end).collect();
                return Some(String::from_utf8(line).unwrap());
            }
            if !self.more() {
                return None;
            }
        }
    }

    /// At most `n` bytes: fewer, if the other side ends.
    pub fn bytes(&mut self, n: usize) -> Vec<u8> {
        while self.buffer.len() < n && self.more() {}
        self.buffer.drain(..n.min(self.buffer.len())).collect()
    }

    /// A head, without its body.
    pub fn head(&mut self) -> Option<Message> {
        let start = self.line()?;
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            let Some((name, value)) = line.split_once(':') else { break };
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
        Some(Message { start, headers, body: Vec::new(), complete: false })
    }

    /// One chunk of a chunked body; empty: the last.
    pub fn chunk(&mut self) -> Option<Vec<u8>> {
        let size = usize::from_str_radix(self.line()?.trim(), 16).unwrap();
        let chunk = self.bytes(size);
        (chunk.len() == size && self.line().is_some()).then_some(chunk)
    }

    /// A whole message; `None`: the other side has ended before its head.
    pub fn message(&mut self) -> Option<Message> {
        let mut message = self.head()?;
        if message.header("transfer-encoding").is_some() {
            while let Some(chunk) = self.chunk() {
                if chunk.is_empty() {
                    message.complete = true;
                    break;
                }
                message.body.extend(chunk);
            }
        } else if let Some(length) = message.header("content-length").map(|length| length.parse().unwrap()) {
            message.body = self.bytes(length);
            message.complete = message.body.len() == length;
        } else {
            message.complete = true;
        }
        Some(message)
    }

    /// All that still comes, as text.
    pub fn rest(&mut self) -> String {
        while self.more() {}
        String::from_utf8_lossy(&std::mem::take(&mut self.buffer)).into_owned()
    }

    /// Whether the other side closes, however it does. What it still sends is read.
    pub fn closes(&mut self) -> bool {
        while self.more() {}
        true
    }
}

/// A provider: each connection is handled by `serve` on a thread of its own.
pub struct Provider {
    pub address: SocketAddr,
    seen: Receiver<Message>,
}

impl Provider {
    /// `serve` gets each connection and where to report requests.
    pub fn start(serve: impl Fn(Wire, &Sender<Message>) + Clone + Send + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, seen) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (serve, sender) = (serve.clone(), sender.clone());
                std::thread::spawn(move || serve(Wire::new(stream.unwrap()), &sender));
            }
        });
        Self { address, seen }
    }

    /// Answers every request with these bytes; keeps its connections unless they say otherwise.
    pub fn answering(answer: impl AsRef<[u8]>) -> Self {
        let answer = answer.as_ref().to_vec();
        Self::start(move |mut wire, seen| {
            while let Some(request) = wire.message() {
                seen.send(request).ok();
                if wire.stream.write_all(&answer).is_err() {
                    return;
                }
            }
        })
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The next request that arrived.
    pub fn request(&self) -> Message {
        self.seen.recv_timeout(PATIENCE).expect("a request reaches the provider")
    }

    /// Whether any other request has arrived.
    pub fn was_asked(&self) -> bool {
        self.seen.try_recv().is_ok()
    }
}

/// An answer with a body of known length.
pub fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n{body}", body.len())
}
