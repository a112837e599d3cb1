//! An HTTPS proxy for tests: a client that is told to use it, and to trust its authority, reaches the scripted model server
//! under the providers' own names.
//!
//! `CONNECT host:443` is answered for every host with a certificate made on the spot, and what comes through the tunnel goes
//! to the model server within this process. Nothing leaves the machine, whatever name a client asks for. All else is refused.

mod authority;
mod tunnel;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use crate::model::ModelServer;
pub use authority::Authority;

/// Why a proxy could not be started or its authority not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyError {
    /// The authority could not be made.
    #[error("cannot make a certificate authority")]
    Authority(#[from] rcgen::Error),
    /// No port, thread or runtime.
    #[error("cannot listen on loopback")]
    Listen(#[from] std::io::Error),
    /// The authority's certificate could not be written.
    #[error("cannot write the authority's certificate to {path}")]
    Write {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
}

/// What a client asked the proxy for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// A tunnel to this `HOST:PORT`, which it got.
    Tunnel(String),
    /// Anything else, by the first line of the request: refused.
    Refused(String),
}

/// A running proxy. Dropping it stops it and cuts every tunnel.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    authority: Arc<Authority>,
    asked: Arc<Mutex<Vec<Asked>>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Starts a proxy on a free loopback port, with an authority of its own. Its requests are answered and remembered by
    /// `server`, each with the [`tunnel`](crate::model::Record::tunnel) through which it came.
    ///
    /// # Errors
    ///
    /// When the authority cannot be made, or the machine gives no port or thread.
    pub fn start(server: &ModelServer) -> Result<Self, ProxyError> {
        let authority = Arc::new(Authority::new()?);
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = {
            let _inside = runtime.enter();
            tokio::net::TcpListener::from_std(listener)?
        };
        let asked = Arc::default();
        let serving = tunnel::serve(listener, server.router(), Arc::clone(&authority), Arc::clone(&asked));
        let (stop, stopped) = oneshot::channel();
        let serve = move || {
            runtime.block_on(async move {
                tokio::select! {
                    () = serving => {}
                    _ = stopped => {}
                }
            });
        };
        let thread = std::thread::Builder::new().name("test-proxy".into()).spawn(serve)?;
        Ok(Self { address, authority, asked, stop: Some(stop), thread: Some(thread) })
    }

    /// `http://127.0.0.1:PORT`, for `HTTPS_PROXY`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The authority's certificate as PEM.
    #[must_use]
    pub fn authority_pem(&self) -> String {
        self.authority.pem()
    }

    /// Writes the authority's certificate as PEM, for `NODE_EXTRA_CA_CERTS`, `SSL_CERT_FILE` and their like.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn write_authority(&self, path: &Path) -> Result<(), ProxyError> {
        std::fs::write(path, self.authority_pem()).map_err(|source| ProxyError::Write { path: path.to_owned(), source })
    }

    /// What was asked for so far, in order.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic in there has been printed already, and a destructor has nobody to tell.
            let _ = thread.join();
        }
    }
}
