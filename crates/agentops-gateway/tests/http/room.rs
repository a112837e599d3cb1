//! A gateway with a lane, and requests to it.

use std::net::SocketAddr;
use std::sync::Arc;

use agentops_gateway::destination::{Custom, Destination, Destinations, Family};
use agentops_gateway::lane::Lane;
use agentops_gateway::{Config, Gateway, Identity, LaneHandle, LaneSpec};
use agentops_safe::Secret;

use crate::wire::{Message, Wire};

/// The provider's key. It must appear at the provider and nowhere else.
pub const KEY: &str = "sk-real-key-of-the-provider-0123456789";

pub struct Room {
    pub gateway: Gateway,
}

pub struct Open {
    pub handle: LaneHandle,
    pub lane: Arc<Lane>,
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
        let lane = Arc::new(Lane::default());
        let handle = self.gateway.open(LaneSpec { lane: Arc::clone(&lane), destination, identity }).unwrap();
        Open { handle, lane, address: self.gateway.address() }
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
    /// What became of the lane's calls, once there are `n` that have ended.
    pub fn rows(&self, n: usize) -> Vec<Vec<String>> {
        let end = std::time::Instant::now() + crate::wire::PATIENCE;
        loop {
            let rows = self.lane.rows.lock().unwrap().clone();
            if rows.len() >= n {
                return rows;
            }
            assert!(std::time::Instant::now() < end, "only {rows:?} have ended");
            std::thread::yield_now();
        }
    }
}
