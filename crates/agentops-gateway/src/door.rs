//! What every request must show before anything else is done with it: it comes from a program on this machine that was
//! told its lane's address, and it names a path and nothing else.

use hyper::header::{self, HeaderMap};
use hyper::{Method, StatusCode, Uri};

use crate::refusal::Refusal;

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Target<'a> {
    /// What stands in the place of the lane's token.
    pub token: &'a str,
    /// The client's own path, with its query. Begins with a slash.
    pub path: &'a str,
}

/// Checks a request's head against what the gateway serves on `port`.
pub(crate) fn check<'a>(method: &Method, uri: &'a Uri, headers: &HeaderMap, port: u16) -> Result<Target<'a>, Refusal> {
    // A web page that a person looks at can send requests here too. It cannot keep a browser from naming the page's host
    // (`Host`, also when its name was rebound to this machine) and the page itself (`Origin`).
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next().and_then(|host| host.to_str().ok()).filter(|_| hosts.next().is_none());
    let named = host.and_then(|host| host.rsplit_once(':'));
    let own = named.is_some_and(|(name, digits)| {
        // Names of hosts have no case (RFC 3986, section 3.2.2).
        (name == "127.0.0.1" || name.eq_ignore_ascii_case("localhost"))
            && digits.bytes().all(|digit| digit.is_ascii_digit())
            && digits.parse() == Ok(port)
    });
    if !own {
        return Err(Refusal::closing(StatusCode::FORBIDDEN, "this is not the host that you asked for"));
    }
    if headers.contains_key(header::ORIGIN) || is_of_page(headers) {
        return Err(Refusal::closing(StatusCode::FORBIDDEN, "web pages are not served"));
    }
    if *method == Method::CONNECT || uri.scheme().is_some() || uri.authority().is_some() {
        return Err(Refusal::closing(StatusCode::FORBIDDEN, "this is no proxy: ask for a path"));
    }
    let upgrades = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let upgrades = upgrades.flat_map(|value| value.split(',')).any(|word| word.trim().eq_ignore_ascii_case("upgrade"));
    if upgrades || headers.contains_key(header::UPGRADE) {
        return Err(Refusal::closing(
            StatusCode::UPGRADE_REQUIRED,
            "connections stay HTTP/1.1 here: turn the client's WebSocket transport off",
        ));
    }
    // TRACE would return the provider's key in its answer.
    let known = [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
    if !known.contains(method) {
        return Err(Refusal::closing(StatusCode::METHOD_NOT_ALLOWED, "no such method is passed on"));
    }
    let Target { token, path } = target(uri);
    if token.is_empty() {
        return Err(Refusal::closing(
            StatusCode::UNAUTHORIZED,
            "the address lacks its lane: `/lane/TOKEN` goes before the path",
        ));
    }
    if path.is_empty() || path.starts_with('?') {
        let words = "the address ends with its lane: the path of an endpoint goes after `/lane/TOKEN`";
        return Err(Refusal::closing(StatusCode::NOT_FOUND, words));
    }
    if !is_canonical(path) {
        return Err(Refusal::closing(
            StatusCode::BAD_REQUEST,
            "the path is not written plainly (`..`, `//`, `%2e` and the like)",
        ));
    }
    Ok(Target { token, path })
}

/// Whether a browser says that a page sends this. For pictures and scripts it names no `Origin`. `none` is what a person
/// typed, and what programs send that are built on a browser (Fetch Metadata, section 2.4).
fn is_of_page(headers: &HeaderMap) -> bool {
    headers.get_all("sec-fetch-site").iter().any(|site| !site.as_bytes().eq_ignore_ascii_case(b"none"))
}

/// What a request's address names, which may be nothing.
pub(crate) fn target(uri: &Uri) -> Target<'_> {
    let whole = uri.path_and_query().map_or("", |whole| whole.as_str());
    let rest = whole.strip_prefix("/lane/").unwrap_or_default();
    let (token, path) = rest.split_at(memchr::memchr2(b'/', b'?', rest.as_bytes()).unwrap_or(rest.len()));
    Target { token, path }
}

/// Whether a path can mean one thing only. What reads as another path to the destination than it did here would be
/// forwarded without being measured.
fn is_canonical(whole: &str) -> bool {
    let path = whole.split('?').next().unwrap_or_default();
    let Some(inner) = path.strip_prefix('/') else { return false };
    let mut segments = inner.split('/').peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        if segment == "." || segment == ".." || (segment.is_empty() && !is_last) {
            return false;
        }
    }
    if whole.bytes().any(|byte| !byte.is_ascii_graphic()) || path.contains(['\\', ';']) {
        return false;
    }
    let mut rest = path.as_bytes();
    while let Some(at) = memchr::memchr(b'%', rest) {
        let digits = rest.get(at + 1..at + 3).and_then(|digits| std::str::from_utf8(digits).ok());
        let Some(byte) = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) else { return false };
        // RFC 3986, section 2.3: what needs no encoding must not be encoded. Slashes and controls have no business here.
        if byte.is_ascii_alphanumeric()
            || byte < b' '
            || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'/' | b'\\' | b'%' | 0x7f)
        {
            return false;
        }
        rest = &rest[at + 3..];
    }
    true
}
