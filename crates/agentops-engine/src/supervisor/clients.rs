//! Who is connected: how many at once, and how much of their requests is held in memory.
//!
//! The kernel says who connected, and it is asked before anything is read. Agents and what they start have few connections of
//! their own and may send short requests only, so they cannot take threads, memory or connections from a person.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use agentops_agents::ancestry::descends_from_keeper;

/// Connections of persons that are served at once. Each command that follows a run keeps one.
const PERSONS_MAX: usize = 512;
/// Connections of all agents together.
const AGENTS_MAX: usize = 16;
/// The longest request, in bytes: a task and an environment, which Linux bounds to 6 MiB.
const REQUEST_BYTES_MAX: usize = 32 * 1024 * 1024;
/// The longest request that an agent may make.
const AGENT_REQUEST_BYTES_MAX: usize = 4 * 1024;
/// Bytes of all requests that are held at once.
const ALL_REQUESTS_BYTES_MAX: usize = 128 * 1024 * 1024;
/// How long a client may take to send its request, and to take its answer.
const REQUEST_TIME: Duration = Duration::from_secs(30);
const ANSWER_TIME: Duration = Duration::from_secs(30);

/// Who connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asker {
    /// A person's command.
    Person,
    /// Somebody who may look and do nothing else; the text says why.
    Restricted(&'static str),
}

impl Asker {
    /// Asks the kernel. A descendant of a keeper stays one, however often it forks or starts a session, because its keeper is
    /// its subreaper.
    pub(super) fn of(stream: &UnixStream) -> Self {
        let Ok(peer) = rustix::net::sockopt::socket_peercred(stream) else {
            return Self::Restricted("the asker cannot be identified");
        };
        if peer.uid != rustix::process::getuid() {
            return Self::Restricted("this repository's runs belong to another user");
        }
        if descends_from_keeper(peer.pid.as_raw_nonzero().get()) {
            return Self::Restricted("agents and what they start may not start, approve, answer, merge or end runs");
        }
        Self::Person
    }

    fn request_bytes_max(self) -> usize {
        match self {
            Self::Person => REQUEST_BYTES_MAX,
            Self::Restricted(_) => AGENT_REQUEST_BYTES_MAX,
        }
    }
}

/// The connections that are served now.
#[derive(Clone, Default)]
pub(super) struct Clients(Arc<Counts>);

#[derive(Default)]
struct Counts {
    persons: AtomicUsize,
    restricted: AtomicUsize,
    /// Bytes of requests that are held.
    bytes: AtomicUsize,
}

/// A connection that is served. Dropping it makes room for the next.
pub(super) struct Seat {
    clients: Clients,
    asker: Asker,
}

impl Clients {
    /// How many are connected.
    pub(super) fn count(&self) -> usize {
        self.0.persons.load(Ordering::SeqCst) + self.0.restricted.load(Ordering::SeqCst)
    }

    /// Takes a connection in; `None`: there are too many.
    pub(super) fn admit(&self, asker: Asker) -> Option<Seat> {
        let max = if asker == Asker::Person { PERSONS_MAX } else { AGENTS_MAX };
        add_up_to(self.of(asker), 1, max).then(|| Seat { clients: self.clone(), asker })
    }

    fn of(&self, asker: Asker) -> &AtomicUsize {
        match asker {
            Asker::Person => &self.0.persons,
            Asker::Restricted(_) => &self.0.restricted,
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.clients.of(self.asker).fetch_sub(1, Ordering::SeqCst);
    }
}

/// Adds to a count unless that would pass its maximum.
fn add_up_to(count: &AtomicUsize, more: usize, max: usize) -> bool {
    count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |now| now.checked_add(more).filter(|sum| *sum <= max)).is_ok()
}

/// Why there is no request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoRequest {
    /// The client left, or took too long.
    Gone,
    /// It is longer than this client may send.
    TooLong,
    /// Too much is being sent by all clients together.
    Busy,
}

/// The bytes of a request that are held.
struct Bytes<'c> {
    counted: &'c AtomicUsize,
    held: Vec<u8>,
}

impl Drop for Bytes<'_> {
    fn drop(&mut self) {
        self.counted.fetch_sub(self.held.len(), Ordering::SeqCst);
    }
}

impl Seat {
    /// Who has it.
    pub(super) fn asker(&self) -> Asker {
        self.asker
    }

    /// Reads one line and hands it to `parse`. What is too long is read to its end and thrown away: a client that still sends
    /// would not see our answer.
    pub(super) fn read<T>(&self, stream: &UnixStream, parse: impl FnOnce(&[u8]) -> T) -> Result<T, NoRequest> {
        self.read_until(stream, Instant::now() + REQUEST_TIME, parse)
    }

    fn read_until<T>(
        &self,
        mut stream: &UnixStream,
        until: Instant,
        parse: impl FnOnce(&[u8]) -> T,
    ) -> Result<T, NoRequest> {
        let mut bytes = Bytes { counted: &self.clients.0.bytes, held: Vec::new() };
        let (mut chunk, mut total, mut refused) = ([0; 16 * 1024], 0, None);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || stream.set_read_timeout(Some(left)).is_err() {
                return Err(NoRequest::Gone);
            }
            let read = match stream.read(&mut chunk) {
                Ok(0) => return Err(NoRequest::Gone),
                Ok(read) => read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(_) => return Err(NoRequest::Gone),
            };
            let end = chunk[..read].iter().position(|byte| *byte == b'\n');
            let line = &chunk[..end.unwrap_or(read)];
            total += line.len();
            if total > REQUEST_BYTES_MAX {
                return Err(NoRequest::TooLong);
            }
            if refused.is_none() && total > self.asker.request_bytes_max() {
                refused = Some(NoRequest::TooLong);
            } else if refused.is_none() && !add_up_to(bytes.counted, line.len(), ALL_REQUESTS_BYTES_MAX) {
                refused = Some(NoRequest::Busy);
            }
            match refused {
                None => bytes.held.extend_from_slice(line),
                Some(_) => {
                    bytes.counted.fetch_sub(bytes.held.len(), Ordering::SeqCst);
                    bytes.held = Vec::new();
                }
            }
            if end.is_some() {
                return refused.map_or_else(|| Ok(parse(&bytes.held)), Err);
            }
        }
    }
}

/// Sends an answer; false when the client does not take it.
pub(super) fn send(mut stream: &UnixStream, line: &[u8]) -> bool {
    stream.set_write_timeout(Some(ANSWER_TIME)).is_ok() && stream.write_all(line).is_ok()
}

/// Sends a short line without waiting; false when the client is gone. One that does not read has enough to read already.
pub(super) fn send_now(mut stream: &UnixStream, line: &[u8]) -> bool {
    if stream.set_nonblocking(true).is_err() {
        return false;
    }
    match stream.write_all(line) {
        Err(error) => error.kind() == std::io::ErrorKind::WouldBlock,
        Ok(()) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGENT: Asker = Asker::Restricted("an agent");

    /// What one client sends, read by a seat of `asker`.
    fn read(clients: &Clients, asker: Asker, sent: &[u8]) -> Result<usize, NoRequest> {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let seat = clients.admit(asker).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                // Who is refused for its length may not get to its end.
                let _refused = theirs.write_all(sent);
            });
            seat.read(&ours, <[u8]>::len)
        })
    }

    #[test]
    fn agents_take_no_connection_from_a_person() {
        let clients = Clients::default();
        let agents: Vec<Seat> = (0..AGENTS_MAX).map(|_| clients.admit(AGENT).unwrap()).collect();
        assert!(clients.admit(AGENT).is_none());
        let persons: Vec<Seat> = (0..PERSONS_MAX).map(|_| clients.admit(Asker::Person).unwrap()).collect();
        assert!(clients.admit(Asker::Person).is_none());
        assert_eq!(clients.count(), AGENTS_MAX + PERSONS_MAX);
        drop((agents, persons));
        assert_eq!(clients.count(), 0);
        assert!(clients.admit(AGENT).is_some());
    }

    #[test]
    fn an_agents_request_is_short_and_a_persons_has_room_for_an_environment() {
        let clients = Clients::default();
        let long = [vec![b'x'; AGENT_REQUEST_BYTES_MAX + 1], vec![b'\n']].concat();
        assert_eq!(read(&clients, AGENT, b"{}\nmore"), Ok(2));
        assert_eq!(read(&clients, AGENT, &long), Err(NoRequest::TooLong));
        assert_eq!(read(&clients, Asker::Person, &long), Ok(AGENT_REQUEST_BYTES_MAX + 1));
        let endless = vec![b'x'; REQUEST_BYTES_MAX + 1];
        assert_eq!(read(&clients, Asker::Person, &endless), Err(NoRequest::TooLong));
        assert_eq!(read(&clients, AGENT, &endless), Err(NoRequest::TooLong));
        assert_eq!(read(&clients, Asker::Person, b"no end"), Err(NoRequest::Gone));
        assert_eq!(clients.0.bytes.load(Ordering::SeqCst), 0, "nothing is held");
    }

    #[test]
    fn all_requests_together_have_a_bound() {
        let clients = Clients::default();
        clients.0.bytes.store(ALL_REQUESTS_BYTES_MAX - 3, Ordering::SeqCst);
        assert_eq!(read(&clients, Asker::Person, b"abc\n"), Ok(3));
        assert_eq!(read(&clients, Asker::Person, b"abcd\n"), Err(NoRequest::Busy));
        assert_eq!(clients.0.bytes.load(Ordering::SeqCst), ALL_REQUESTS_BYTES_MAX - 3);
    }

    #[test]
    fn a_client_that_sends_byte_by_byte_has_no_more_time_than_others() {
        let clients = Clients::default();
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(b"a beginning").unwrap();
        let seat = clients.admit(Asker::Person).unwrap();
        assert_eq!(seat.read_until(&ours, Instant::now(), <[u8]>::len), Err(NoRequest::Gone));
    }

    #[test]
    fn a_follower_that_does_not_read_keeps_nobody_waiting() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        for _ in 0..10_000 {
            assert!(send_now(&ours, b"changed\n"));
        }
        // A process that another test is just starting may have a copy of it, so that closing it says nothing.
        theirs.shutdown(std::net::Shutdown::Both).unwrap();
        assert!(!send_now(&ours, b"changed\n"));
    }
}
