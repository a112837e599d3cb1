//! One request to a receiver, and trying again where OTLP says that one should.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::{Request, Response, StatusCode};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use prost::Message;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::settings::Target;
use crate::wire;

/// An answer is a few bytes; more than this is not read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// No two tries come closer.
const SHORTEST: Duration = Duration::from_millis(1);

/// Speaks to one target.
pub(crate) struct Post {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    target: Target,
}

/// Why something did not arrive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// It answered with this status, for good.
    Status(u16),
    /// It could not be reached, did not answer in time, or went on saying that it was busy.
    Unreachable(String),
}

/// Waits between tries.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// Before the second try; doubled each time.
    pub first: Duration,
    /// All waits together.
    pub total: Duration,
}

impl fmt::Debug for Post {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Post").field("target", &self.target).finish_non_exhaustive()
    }
}

impl Post {
    /// # Errors
    /// The certificates cannot be read, in words.
    pub(crate) fn new(target: Target) -> Result<Self, String> {
        let roots = if target.url.scheme_str() == Some("https") { roots(&target)? } else { RootCertStore::empty() };
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|e| e.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new().with_tls_config(config).https_or_http().enable_http1().build();
        Ok(Self { client: Client::builder(TokioExecutor::new()).build(connector), target })
    }

    /// Delivers a message. Gives how much of it the receiver did not take.
    pub(crate) async fn deliver(&self, body: Bytes, patience: Patience) -> Result<u64, Failure> {
        let (mut wait, mut waited) = (patience.first, Duration::ZERO);
        loop {
            let (failure, asked) = match tokio::time::timeout(self.target.timeout, self.once(body.clone())).await {
                Ok(Ok((status, _, rejected))) if status.is_success() => return Ok(rejected),
                Ok(Ok((status, after, _))) if is_passing(status) => {
                    (Failure::Unreachable(format!("it goes on answering {status}")), after)
                }
                Ok(Ok((status, ..))) => return Err(Failure::Status(status.as_u16())),
                Ok(Err(reason)) => (Failure::Unreachable(reason), None),
                Err(_) => (Failure::Unreachable("it does not answer".into()), None),
            };
            // A receiver may ask for more time than we would leave it, and not for less: one that always says "at once" would
            // never be given up. No jitter: there is one sender a repository.
            let pause = asked.unwrap_or_default().max(wait).max(SHORTEST);
            waited += pause;
            if waited > patience.total {
                return Err(failure);
            }
            tokio::time::sleep(pause).await;
            wait *= 2;
        }
    }

    async fn once(&self, body: Bytes) -> Result<(StatusCode, Option<Duration>, u64), String> {
        let mut request = Request::post(self.target.url.clone())
            .header(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"))
            .header(USER_AGENT, concat!("agentops/", env!("CARGO_PKG_VERSION")));
        for (name, value) in &self.target.headers {
            request = request.header(name, value.expose());
        }
        let request = request.body(Full::new(body)).map_err(|e| e.to_string())?;
        let answer = self.client.request(request).await.map_err(|e| causes(&e))?;
        let (status, after) = (answer.status(), retry_after(&answer));
        let answer = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await.map_err(|e| e.to_string())?;
        // An answer that says nothing readable took everything.
        let read = wire::Answer::decode(answer.to_bytes()).unwrap_or_default();
        let rejected = read.partial_success.map_or(0, |partial| u64::try_from(partial.rejected).unwrap_or(0));
        Ok((status, after, rejected))
    }
}

/// The answers after which OTLP says to try again.
fn is_passing(status: StatusCode) -> bool {
    matches!(status.as_u16(), 429 | 502 | 503 | 504)
}

/// In seconds; the form with a date is rare and taken as not said.
fn retry_after<B>(answer: &Response<B>) -> Option<Duration> {
    answer.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

fn causes(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        words = format!("{words}: {cause}");
        next = cause.source();
    }
    words
}

fn roots(target: &Target) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = &target.certificates {
        let failed =
            |e: &dyn fmt::Display| format!("OTEL_EXPORTER_OTLP_CERTIFICATE: {} cannot be read: {e}", path.display());
        for certificate in CertificateDer::pem_file_iter(path).map_err(|e| failed(&e))? {
            roots.add(certificate.map_err(|e| failed(&e))?).map_err(|e| failed(&e))?;
        }
    } else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    if roots.is_empty() { Err("no certificates to trust were found on this machine".into()) } else { Ok(roots) }
}
