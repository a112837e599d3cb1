//! The gateway as its owner holds it.

use std::collections::HashMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use agentops_safe::Secret;
use rustls::RootCertStore;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

use crate::connect::{Connector, Proxies, add_ca_file};
use crate::destination::Destination;
use crate::entry::Entry;
use crate::forward::{Limits, Shared};
use crate::identity::{Credentials, Identity, KeyError};
use crate::lane::Lane;
use crate::server;
use crate::token::{Lanes, Token};
use crate::upstream::Upstream;

/// How a gateway is started.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// The loopback port; 0: a free one.
    pub port: u16,
    /// Threads that serve; `None`: all on one, which costs the least for a call and is enough for a run's lanes.
    pub workers: Option<NonZeroUsize>,
    /// The user's proxies.
    pub proxies: Proxies,
    /// PEM files of certificate authorities to trust besides the system's.
    pub extra_cas: Vec<PathBuf>,
    /// Bounds.
    pub limits: Limits,
}

/// A lane to open.
pub struct LaneSpec {
    /// Judges and measures its calls.
    pub lane: Arc<Lane>,
    /// Where they go.
    pub destination: Destination,
    /// As whom they are made.
    pub identity: Identity,
}

/// An open lane. It stays open until it is closed, or the gateway ends.
#[derive(Debug, Clone)]
pub struct LaneHandle {
    token: Token,
    base: Secret,
}

/// Why a gateway could not be started, or a lane not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GatewayError {
    /// No port, thread or runtime.
    #[error("the gateway cannot listen on loopback port {port}; is another program using it?")]
    Listen {
        /// The port; 0: any.
        port: u16,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// A proxy's address is not usable.
    #[error("{variable} is no proxy that can be used: give `http://host:port` (SOCKS is not spoken), or unset it")]
    Proxy {
        /// The variable.
        variable: &'static str,
    },
    /// A file with certificates cannot be used.
    #[error("the CA file {} cannot be used: {reason}; correct `gateway.extra-ca` in your config.toml", file.display())]
    ExtraCa {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// No random bytes for a token.
    #[error("the operating system gives no random bytes for a lane's token")]
    Random(#[from] getrandom::Error),
    /// The key cannot be sent.
    #[error("the key of destination `{destination}` cannot be used")]
    Key {
        /// The destination.
        destination: String,
        /// The cause.
        #[source]
        source: KeyError,
    },
    /// Logins go to official hosts only, and there is none.
    #[error("destination `{destination}` has no logins; set a key for it")]
    NoLogin {
        /// The destination.
        destination: String,
    },
    /// The host cannot stand in a header.
    #[error("the host of destination `{destination}` cannot be used")]
    Host {
        /// The destination.
        destination: String,
    },
}

/// A running gateway. Dropping it closes all lanes, ends their calls and stops it, within about two seconds.
pub struct Gateway {
    address: SocketAddr,
    shared: Arc<Shared>,
    connector: Arc<Connector>,
    /// By address, so that lanes share connections.
    upstreams: Mutex<HashMap<String, Arc<Upstream>>>,
    next: AtomicU32,
    stop: Option<watch::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Gateway {
    /// Starts a gateway on loopback.
    ///
    /// # Errors
    ///
    /// When the port is taken, a proxy's address or a CA file is not usable, or the machine gives no thread.
    pub fn start(config: Config) -> Result<Self, GatewayError> {
        config.proxies.check().map_err(|variable| GatewayError::Proxy { variable })?;
        let mut extra_roots = RootCertStore::empty();
        for file in config.extra_cas {
            add_ca_file(&mut extra_roots, &file).map_err(|reason| GatewayError::ExtraCa { file, reason })?;
        }
        let failed = |source| GatewayError::Listen { port: config.port, source };
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, config.port)).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let runtime = runtime(config.workers).map_err(failed)?;
        let listener = {
            let _inside = runtime.enter();
            tokio::net::TcpListener::from_std(listener).map_err(failed)?
        };
        let connector = Arc::new(Connector::new(&config.proxies, extra_roots, config.limits.connect));
        let shared = Arc::new(Shared { port: address.port(), lanes: Lanes::default(), limits: config.limits });
        let (stop, stopped) = watch::channel(());
        let serving = Arc::clone(&shared);
        let serve = move || {
            runtime.block_on(server::serve(listener, serving, stopped));
            // Calls may still be counted to be settled, and names be looked up.
            runtime.shutdown_timeout(server::SETTLING);
        };
        let thread = std::thread::Builder::new().name("gateway".into()).spawn(serve).map_err(failed)?;
        Ok(Self {
            address,
            shared,
            connector,
            upstreams: Mutex::default(),
            next: AtomicU32::new(1),
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Opens a lane.
    ///
    /// # Errors
    ///
    /// When its identity and its destination do not go together.
    pub fn open(&self, spec: LaneSpec) -> Result<LaneHandle, GatewayError> {
        let LaneSpec { lane, destination, identity } = spec;
        let name = || destination.name.clone();
        let base = match identity {
            // Whatever the configuration says of this destination: a login is shown to its vendor only.
            Identity::Login => destination.login().ok_or_else(|| GatewayError::NoLogin { destination: name() })?,
            Identity::Key(_) | Identity::Nobody => destination.base(),
        };
        let credentials = Credentials::new(&identity, destination.key)
            .map_err(|source| GatewayError::Key { destination: name(), source })?;
        let upstream = {
            let mut upstreams = self.upstreams.lock().unwrap_or_else(PoisonError::into_inner);
            match upstreams.get(&base.to_string()) {
                Some(upstream) => Arc::clone(upstream),
                None => {
                    let upstream = Upstream::new(Arc::clone(&self.connector), base.clone())
                        .ok_or_else(|| GatewayError::Host { destination: name() })?;
                    let upstream = Arc::new(upstream);
                    upstreams.insert(base.to_string(), Arc::clone(&upstream));
                    upstream
                }
            }
        };
        let token = Token::new(self.next.fetch_add(1, Ordering::Relaxed))?;
        let base = Secret::new(format!("http://{}/lane/{}", self.address, token.secret().expose()));
        let entry = Entry::new(lane, token.clone(), destination, credentials, upstream);
        self.shared.lanes.open(token.clone(), Arc::new(entry));
        Ok(LaneHandle { token, base })
    }

    /// Closes a lane: its token opens nothing any more, and its calls end. Closing it again does nothing.
    pub fn close(&self, lane: &LaneHandle) {
        if let Some(entry) = self.shared.lanes.close(&lane.token) {
            entry.close();
        }
    }
}

fn runtime(workers: Option<NonZeroUsize>) -> std::io::Result<Runtime> {
    let mut builder = workers.map_or_else(Builder::new_current_thread, |workers| {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(workers.get());
        builder
    });
    builder.thread_name("gateway").enable_all().build()
}

impl LaneHandle {
    /// `http://127.0.0.1:PORT/lane/TOKEN`, without a slash at its end: a client appends its own path. Whoever has it can
    /// use the lane.
    #[must_use]
    pub fn base(&self) -> &Secret {
        &self.base
    }

    /// The lane's token, for the place where a client wants a key.
    #[must_use]
    pub fn token(&self) -> &Secret {
        self.token.secret()
    }
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        for entry in self.shared.lanes.close_all() {
            entry.close();
        }
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic in there has been printed already, and a destructor has nobody to tell.
            let _ = thread.join();
        }
    }
}
