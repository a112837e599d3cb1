//! What leaves of a request besides its body, without what looks like a secret: path, query and headers.

use std::borrow::Cow;

use agentops_core::workflow::Secrets;
use agentops_safe::Redactor;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};

use crate::identity::is_credential;

/// Path and headers as they may leave.
#[derive(Debug)]
pub(crate) struct Outgoing<'a> {
    pub(crate) path: Cow<'a, str>,
    pub(crate) headers: Cow<'a, HeaderMap>,
}

/// Where a secret stands that keeps the request from leaving.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SecretPlace {
    /// A path without its secret would ask for something else, so it is refused whatever the profile says.
    #[error("the path holds what looks like a secret, and none may leave; ask without it")]
    Path,
    #[error("the query holds what looks like a secret, and the profile lets none leave; ask without it")]
    Query,
    #[error("a header holds what looks like a secret, and the profile lets none leave; send the request without it")]
    Header,
}

impl<'a> Outgoing<'a> {
    /// Takes the secrets out, or says where the one stands for which the request is refused. The credentials of a login
    /// pass: they are for their provider.
    pub(crate) fn new(
        secrets: Secrets,
        redactor: &Redactor,
        path: Cow<'a, str>,
        headers: &'a HeaderMap,
    ) -> Result<Self, SecretPlace> {
        let borrowed = Cow::Borrowed(headers);
        // Nearly all requests have none: one search of everything together says so.
        if secrets == Secrets::Pass || !redactor.finds(&together(&path, headers)) {
            return Ok(Self { path, headers: borrowed });
        }
        let (before, query) = path.split_once('?').map_or((&*path, None), |(before, query)| (before, Some(query)));
        if redactor.finds(before.as_bytes()) {
            return Err(SecretPlace::Path);
        }
        let has_secret_header = headers.iter().any(|(name, value)| !is_credential(name) && finds(redactor, name, value));
        let query = query.and_then(|query| redacted_query(redactor, query));
        if secrets == Secrets::Refuse {
            match (&query, has_secret_header) {
                (Some(_), _) => return Err(SecretPlace::Query),
                (None, true) => return Err(SecretPlace::Header),
                (None, false) => {}
            }
        }
        let path = match query {
            Some(query) => Cow::Owned(format!("{before}?{query}")),
            None => path,
        };
        let headers = if has_secret_header { Cow::Owned(redacted(redactor, headers)) } else { borrowed };
        Ok(Self { path, headers })
    }

    /// Whether something was taken out.
    pub(crate) fn is_changed(&self, path: &str) -> bool {
        matches!(self.headers, Cow::Owned(_)) || *self.path != *path
    }
}

/// By these parameters providers' lists go on: tokens by name, and no secrets. Their values are judged without the name.
const PAGES: [&str; 2] = ["pageToken=", "page_token="];

/// The query with markers for its secrets; `None`: it has none.
fn redacted_query(redactor: &Redactor, query: &str) -> Option<String> {
    let page = |pair: &&str| PAGES.iter().any(|name| pair.starts_with(name));
    let others: Vec<&str> = query.split('&').filter(|pair| !page(pair)).collect();
    let others = others.join("&");
    let mut pairs = vec![redactor.redact(&others).into_owned()];
    let mut is_changed = pairs[0] != others;
    for (name, value) in query.split('&').filter(page).filter_map(|pair| pair.split_once('=')) {
        let clean = redactor.redact(value);
        is_changed |= clean != value;
        pairs.push(format!("{name}={clean}"));
    }
    pairs.retain(|pair| !pair.is_empty());
    // The marker's brackets stand for themselves in no query.
    is_changed.then(|| pairs.join("&").replace('[', "%5B").replace(']', "%5D"))
}

fn together(path: &str, headers: &HeaderMap) -> Vec<u8> {
    let mut text = Vec::with_capacity(1024);
    text.extend_from_slice(path.as_bytes());
    for (name, value) in headers.iter().filter(|(name, _)| !is_credential(name)) {
        for part in [b"\n", name.as_str().as_bytes(), b": ", value.as_bytes()] {
            text.extend_from_slice(part);
        }
    }
    text
}

/// A header as a line: its name may be what says that its value is a secret.
fn line(name: &HeaderName, value: &HeaderValue) -> Vec<u8> {
    [name.as_str().as_bytes(), b": ", value.as_bytes()].concat()
}

fn finds(redactor: &Redactor, name: &HeaderName, value: &HeaderValue) -> bool {
    redactor.finds(&line(name, value))
}

/// The headers with markers for secrets. One whose name is a secret is left out.
fn redacted(redactor: &Redactor, headers: &HeaderMap) -> HeaderMap {
    let mut clean = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        if is_credential(name) || !finds(redactor, name, value) {
            clean.append(name.clone(), value.clone());
            continue;
        }
        let line = line(name, value);
        let line = redactor.redact_bytes(&line);
        let value = line.strip_prefix(name.as_str().as_bytes()).and_then(|rest| rest.strip_prefix(b": "));
        if let Some(value) = value.and_then(|value| HeaderValue::from_bytes(value).ok()) {
            clean.append(name.clone(), value);
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "ghp_a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8";

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())).collect()
    }

    fn outgoing<'a>(secrets: Secrets, path: &'a str, headers: &'a HeaderMap) -> Result<Outgoing<'a>, SecretPlace> {
        Outgoing::new(secrets, &Redactor::new([]), path.into(), headers)
    }

    #[test]
    fn s6_query_and_headers_leave_without_their_secrets() {
        let given = headers(&[
            ("x-note", SECRET),
            ("x-auth-token", "Zx7qLm9vT2pWk4"),
            ("ghp_a1b2c3d4e5f6g7h8i9j0k1l2m3n4o5p6q7r8", "1"),
            ("user-agent", "cli/1.0"),
        ]);
        let path = format!("/v1/messages?beta=true&a={SECRET}");
        let out = outgoing(Secrets::Redact, &path, &given).unwrap();
        assert_eq!(out.path, "/v1/messages?beta=true&a=%5Bredacted:github-token%5D");
        let expected = headers(&[
            ("x-note", "[redacted:github-token]"),
            ("x-auth-token", "[redacted:assignment]"),
            ("user-agent", "cli/1.0"),
        ]);
        assert_eq!(*out.headers, expected);
        assert!(out.is_changed(&path));
        let path = format!("/v1/models?pageToken={SECRET}&pageSize=5");
        let out = outgoing(Secrets::Redact, &path, &given).unwrap();
        assert_eq!(out.path, "/v1/models?pageSize=5&pageToken=%5Bredacted:github-token%5D");
    }

    #[test]
    fn s6_what_may_not_be_changed_is_refused() {
        let none = HeaderMap::new();
        let (path, query) = (format!("/v1/models/{SECRET}"), format!("/v1/models?x={SECRET}"));
        for secrets in [Secrets::Redact, Secrets::Refuse] {
            assert_eq!(outgoing(secrets, &path, &none).unwrap_err(), SecretPlace::Path);
        }
        assert_eq!(outgoing(Secrets::Refuse, &query, &none).unwrap_err(), SecretPlace::Query);
        let given = headers(&[("x-note", SECRET)]);
        assert_eq!(outgoing(Secrets::Refuse, "/v1/models", &given).unwrap_err(), SecretPlace::Header);
        assert!(outgoing(Secrets::Pass, &path, &given).is_ok_and(|out| !out.is_changed(&path)));
    }

    /// What real programs send, with a login of theirs.
    #[test]
    fn usual_heads_leave_as_they_came() {
        let given = headers(&[
            ("authorization", "Bearer sk-ant-oat01-mAdEuPmAdEuP0123456789abcdefghijklmnop_qrst-AA"),
            ("anthropic-beta", "claude-code-20250219,oauth-2025-04-20,interleaved-thinking-2025-05-14"),
            ("anthropic-dangerous-direct-browser-access", "true"),
            ("anthropic-version", "2023-06-01"),
            ("chatgpt-account-id", "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"),
            ("content-type", "application/json"),
            ("session_id", "0199f3c2-7d1e-7c40-9a51-2f6b8e4d0c13"),
            ("user-agent", "claude-cli/2.0.14 (external, cli)"),
            ("x-app", "cli"),
            ("x-goog-api-client", "google-genai-sdk/1.16.0 gl-node/v22.12.0"),
            ("x-stainless-package-version", "0.60.0"),
            ("x-stainless-runtime-version", "v22.12.0"),
        ]);
        for secrets in [Secrets::Redact, Secrets::Refuse] {
            let path = "/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse&pageToken=Cg5tb2RlbHMvZ2VtbWE";
            let out = outgoing(secrets, path, &given).unwrap();
            assert!(!out.is_changed(path), "{out:?}");
        }
    }
}
