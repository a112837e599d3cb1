//! Connections to destinations: names, proxies and TLS, as the user's machine is set up.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use agentops_safe::Secret;
use hyper::Uri;
use hyper::header::HeaderValue;
use hyper::rt::{Read, Write};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::connect::{Connection, HttpConnector};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::sync::OnceCell;
use tower_service::Service;

use crate::destination::Base;

/// The user's proxies, as the variables of these names have them. Empty: none.
#[derive(Debug, Clone)]
pub struct Proxies {
    /// `ALL_PROXY`: for destinations that the other two leave out.
    pub all: Secret,
    /// `HTTP_PROXY`: for `http` destinations.
    pub http: Secret,
    /// `HTTPS_PROXY`: for `https` destinations.
    pub https: Secret,
    /// `NO_PROXY`: hosts, domains and networks that are reached without a proxy; `*` is all.
    pub no: String,
}

impl Default for Proxies {
    fn default() -> Self {
        let none = || Secret::new("");
        Self { all: none(), http: none(), https: none(), no: String::new() }
    }
}

impl Proxies {
    /// Whether all that is set can be used; else the variable that cannot.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        for (variable, value) in [("ALL_PROXY", &self.all), ("HTTP_PROXY", &self.http), ("HTTPS_PROXY", &self.https)] {
            let value = value.expose();
            let proxy = Matcher::builder().all(value).build().intercept(&Uri::from_static("http://example.com"));
            let is_http = proxy.is_some_and(|proxy| {
                let has_host = proxy.uri().host().is_some_and(|host| !host.is_empty());
                has_host && matches!(proxy.uri().scheme_str(), Some("http" | "https"))
            });
            if !value.is_empty() && !is_http {
                return Err(variable);
            }
        }
        Ok(())
    }
}

/// A connection, whatever it goes through.
pub(crate) trait Stream: Read + Write + Send + Unpin {}
impl<T: Read + Write + Send + Unpin> Stream for T {}

/// Why there is no connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("its name is not known ({0}); is this machine online, and the name right?")]
    Dns(String),
    #[error("no connection ({0}); is it running, and reachable from here?")]
    Connect(String),
    #[error("its certificate is not trusted ({0}); where a network inspects TLS, name its CA's PEM file in the settings")]
    Tls(String),
    #[error("the proxy gives no way to it ({0}); check HTTPS_PROXY and NO_PROXY")]
    Proxy(String),
    #[error("no connection within {} s; is a proxy needed, or a VPN?", .0.as_secs())]
    Timeout(Duration),
}

/// How requests reach an upstream: what must be written into each of them.
#[derive(Debug, Clone)]
pub(crate) enum Route {
    /// To the destination itself, or through a tunnel.
    Direct,
    /// To a proxy that forwards plain HTTP: it is shown whole addresses, and a password of its own.
    Forward { authorization: Option<HeaderValue> },
}

/// Makes connections.
pub(crate) struct Connector {
    proxies: Matcher,
    extra_roots: RootCertStore,
    timeout: Duration,
    /// Reading the system's roots takes some milliseconds and megabytes, which a gateway to a model on this machine
    /// never needs, so the first encrypted connection does it.
    tls: OnceCell<Arc<rustls::ClientConfig>>,
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl Connector {
    pub(crate) fn new(proxies: &Proxies, extra_roots: RootCertStore, timeout: Duration) -> Self {
        let text = |secret: &Secret| secret.expose().to_owned();
        let matcher = Matcher::builder()
            .all(text(&proxies.all))
            .http(text(&proxies.http))
            .https(text(&proxies.https))
            .no(proxies.no.clone())
            .build();
        Self { proxies: matcher, extra_roots, timeout, tls: OnceCell::new() }
    }

    /// The proxy that leads to a destination. None leads to this machine: it would look for the address on its own.
    fn proxy(&self, base: &Base) -> Option<Intercept> {
        let uri: Uri = base.origin().parse().ok()?;
        if base.is_loopback() { None } else { self.proxies.intercept(&uri) }
    }

    /// How requests to a destination are written.
    pub(crate) fn route(&self, base: &Base) -> Route {
        match self.proxy(base) {
            Some(proxy) if !base.is_https() => Route::Forward { authorization: proxy.basic_auth().cloned() },
            _ => Route::Direct,
        }
    }

    /// A fresh connection, and whether both sides speak HTTP/2 over it.
    pub(crate) async fn connect(&self, base: &Base) -> Result<(Box<dyn Stream>, bool), ConnectError> {
        let connecting = tokio::time::timeout(self.timeout, self.open(base));
        connecting.await.unwrap_or(Err(ConnectError::Timeout(self.timeout)))
    }

    async fn open(&self, base: &Base) -> Result<(Box<dyn Stream>, bool), ConnectError> {
        let uri: Uri = base.origin().parse().map_err(|_| ConnectError::Dns("not a host".into()))?;
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(self.timeout));
        let Some(proxy) = self.proxy(base) else {
            if base.is_https() {
                return boxed(HttpsConnector::from((tcp, self.tls().await?)).call(uri).await, false);
            }
            return boxed(tcp.call(uri).await, false);
        };
        let address = proxy.uri().clone();
        // A tunnel is the proxy's CONNECT; both ways to the proxy and both through it share one type.
        let tls = self.tls().await?;
        // The proxy itself is asked in HTTP/1.
        let mut plain = rustls::ClientConfig::clone(&tls);
        plain.alpn_protocols.clear();
        let mut to_proxy = HttpsConnector::from((tcp, Arc::new(plain)));
        if !base.is_https() {
            return boxed(to_proxy.call(address).await, true);
        }
        let mut tunnel = Tunnel::new(address, to_proxy);
        if let Some(authorization) = proxy.basic_auth() {
            tunnel = tunnel.with_auth(authorization.clone());
        }
        boxed(HttpsConnector::from((tunnel, tls)).call(uri).await, true)
    }

    /// Certificates and how they are checked: the system's roots, and the user's own.
    async fn tls(&self) -> Result<Arc<rustls::ClientConfig>, ConnectError> {
        let load = || async {
            let extra = self.extra_roots.clone();
            let loading = tokio::task::spawn_blocking(move || client_config(extra));
            loading.await.unwrap_or_else(|error| Err(ConnectError::Tls(error.to_string())))
        };
        self.tls.get_or_try_init(load).await.cloned()
    }
}

/// Adds the certificates of a file in PEM form. The error is in words.
pub(crate) fn add_ca_file(roots: &mut RootCertStore, path: &Path) -> Result<(), String> {
    let found = CertificateDer::pem_file_iter(path).map_err(|error| error.to_string())?;
    let certificates: Vec<_> = found.collect::<Result<_, _>>().map_err(|error| error.to_string())?;
    if certificates.is_empty() {
        return Err("it holds no certificate in PEM form".into());
    }
    for certificate in certificates {
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn client_config(extra: RootCertStore) -> Result<Arc<rustls::ClientConfig>, ConnectError> {
    let mut roots = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(system.certs);
    roots.extend(extra.roots);
    if roots.is_empty() {
        let found = system.errors.first().map_or_else(|| "none found".to_owned(), ToString::to_string);
        return Err(ConnectError::Tls(format!("this system has no root certificates: {found}; install ca-certificates")));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| ConnectError::Tls(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn boxed<S: Stream + Connection + 'static, E: Into<BoxError>>(
    connected: Result<S, E>,
    through_proxy: bool,
) -> Result<(Box<dyn Stream>, bool), ConnectError> {
    match connected {
        Ok(stream) => {
            let is_http2 = stream.connected().is_negotiated_h2();
            Ok((Box::new(stream), is_http2))
        }
        Err(error) => Err(reason(error.into().as_ref(), through_proxy)),
    }
}

/// Which step failed, from the chain of causes. The libraries' own errors name DNS only in words.
fn reason(error: &(dyn std::error::Error + 'static), through_proxy: bool) -> ConnectError {
    let mut words = Vec::new();
    let (mut tls, mut dns) = (false, false);
    let mut next = Some(error);
    while let Some(cause) = next {
        tls |= cause.is::<rustls::Error>();
        let text = cause.to_string();
        dns |= text == "dns error";
        if words.last() != Some(&text) {
            words.push(text);
        }
        // An I/O error gives its cause's cause as its own, and says the same words as its cause.
        let inner = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        next = inner.map(|inner| -> &(dyn std::error::Error + 'static) { inner }).or_else(|| cause.source());
    }
    let words = words.join(": ");
    match (tls, through_proxy, dns) {
        (true, ..) => ConnectError::Tls(words),
        (_, true, _) => ConnectError::Proxy(words),
        (.., true) => ConnectError::Dns(words),
        _ => ConnectError::Connect(words),
    }
}
