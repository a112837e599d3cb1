//! A gateway with a lane, and requests to it.

use std::net::SocketAddr;
use std::sync::Arc;

use agentops_core::call::CallRow;
use agentops_gateway::destination::{Custom, Destination, Destinations, Family};
use agentops_gateway::host::Note;
use agentops_gateway::{Config, Gateway, Identity, LaneHandle, LaneSpec};
use agentops_safe::Secret;

use crate::host::{self, Told};
use crate::wire::{Message, PATIENCE, Wire};

/// The provider's key. It must appear at the provider and nowhere else.
pub const KEY: &str = "sk-real-key-of-the-provider-0123456789";

pub struct Room {
    pub gateway: Gateway,
}

pub struct Open {
    pub handle: LaneHandle,
    pub told: Arc<Told>,
    pub address: SocketAddr,
}

pub fn destination(url: &str, family: Family) -> Destination {
    let custom = Custom {
        name: "mine".into(),
        base_url: url.into(),
        family,
        key: None,
        key_env: Some("MY_KEY".into()),
        insecure: true,
    };
    Destinations::new([custom]).unwrap().get("mine").unwrap().clone()
}

impl Room {
    pub fn new() -> Self {
        Self::with(Config::default())
    }

    pub fn with(config: Config) -> Self {
        Self { gateway: Gateway::start(config).unwrap() }
    }

    pub fn lane(&self, url: &str) -> Open {
        self.lane_of(destination(url, Family::Anthropic), Identity::Key(Secret::new(KEY)))
    }

    pub fn lane_of(&self, destination: Destination, identity: Identity) -> Open {
        let (lane, told) = host::lane();
        let handle = self.gateway.open(LaneSpec { lane, destination, identity }).unwrap();
        Open { handle, told, address: self.gateway.address() }
    }
}

impl Open {
    pub fn path(&self, path: &str) -> String {
        format!("/lane/{}{path}", self.handle.token().expose())
    }

    /// The text of a POST that a well-behaved client would send.
    pub fn post(&self, path: &str, headers: &str, body: &str) -> String {
        self.raw("POST", path, headers, body)
    }

    pub fn raw(&self, method: &str, path: &str, headers: &str, body: &str) -> String {
        let (path, length) = (self.path(path), body.len());
        format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\n{headers}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}",
            self.address
        )
    }

    pub fn wire(&self) -> Wire {
        Wire::to(self.address)
    }

    /// Sends text on a connection of its own and gives the answer.
    pub fn ask(&self, text: impl AsRef<[u8]>) -> Message {
        let mut wire = self.wire();
        wire.write(text);
        wire.message().expect("an answer")
    }
}

impl Open {
    /// What became of the lane's calls, once `n` have ended: status and error, and whether they cost nothing.
    pub fn rows(&self, n: usize) -> Vec<String> {
        let rows = self.told.wait(PATIENCE, |said| (said.rows.len() >= n).then(|| said.rows.clone()));
        let outcome = |row: CallRow| {
            let status = row.status.map_or("no answer".into(), |status| status.to_string());
            let error = row.error.map_or(String::new(), |error| format!(", {error}"));
            let free = if row.charged.is_zero() { ", free" } else { "" };
            format!("{status}{error}{free}")
        };
        rows.expect("the calls end").into_iter().map(outcome).collect()
    }

    /// What the lane's host was told besides, so far.
    pub fn notes(&self) -> Vec<Note> {
        self.told.wait(PATIENCE, |said| Some(said.notes.clone())).unwrap_or_default()
    }
}
