//! Redaction: text without the secrets that are known or that look like one.
//!
//! Everything that is written or sent passes here first (ledger, transcript, bundle, commit, log, dashboard). Values that
//! we were told are found exactly, in every usual encoding; rules find the shapes of common keys. What it cannot find:
//! a value that somebody took apart, reversed or encrypted. It hides accidents, it does not hold a determined agent.
//!
//! What it keeps to:
//!
//! - each secret is replaced by `[redacted:NAME]`, which breaks neither a JSON string nor a line;
//! - a JSON document stays one, with the same structure;
//! - redacting twice is redacting once;
//! - the outcome does not depend on how a stream is cut;
//! - a colour code in between, or a needless escape of a JSON string, hides nothing;
//! - hashes and ids that stand alone are not touched.

mod environment;
mod forms;
mod marker;
mod parts;
mod rules;
mod scan;
mod search;
mod stream;
#[cfg(test)]
mod tests;
mod view;

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, OnceLock};

pub(crate) use environment::is_secret_name;
use scan::{Exact, Scan};
pub use stream::RedactStream;
use view::{View, Viewer};

/// The shortest value that is taken as known, in bytes: a shorter one would hit ordinary words.
pub const KNOWN_BYTES_MIN: usize = 8;

/// Whether an address in this text holds a password.
pub(crate) fn holds_password(text: &str) -> bool {
    !environment::address_passwords(text).is_empty()
}

/// Replaces secrets by `[redacted:NAME]`. Cheap to clone; what it searches with is built at its first use.
///
/// ```
/// use agentops_safe::Redactor;
///
/// let redactor = Redactor::new([("DB_PASSWORD".to_owned(), "correct-horse".to_owned())]);
/// assert_eq!(redactor.redact("login with correct-horse"), "login with [redacted:DB_PASSWORD]");
/// assert_eq!(redactor.redact("dXNlcjpjb3JyZWN0LWhvcnNl"), "dXNlcjp[redacted:DB_PASSWORD]");
/// let commit = "commit a94a8fe5ccb19ba61c4c0873d391e987982fbbd3";
/// assert_eq!(redactor.redact(commit), commit);
/// ```
#[derive(Clone)]
pub struct Redactor(Arc<Inner>);

struct Inner {
    /// The replacements: one per rule, then one per known value.
    markers: Vec<String>,
    known: Vec<String>,
    too_short: Vec<String>,
    exact: OnceLock<Exact>,
}

/// What [`Redactor::from_env`] takes for secrets of an environment: each value with the name of its variable.
#[must_use]
pub fn secrets_of(vars: impl IntoIterator<Item = (String, String)>) -> Vec<(String, String)> {
    let mut known = Vec::new();
    for (name, value) in vars {
        known.extend(environment::address_passwords(&value).into_iter().map(|password| (name.clone(), password)));
        if environment::is_secret_name(&name) && environment::is_secret_value(&value) {
            known.push((name, value));
        }
    }
    known
}

/// The forms in which others may repeat a secret: as it is, escaped for JSON, percent-encoded, in base64 or in hex. Empty for
/// a value shorter than [`KNOWN_BYTES_MIN`].
///
/// ```
/// let forms = agentops_safe::written_forms("correct/horse");
/// for form in ["correct/horse", "correct\\/horse", "correct%2Fhorse", "Y29ycmVjdC9ob3JzZQ=="] {
///     assert!(forms.contains(&form.as_bytes().to_vec()));
/// }
/// assert!(agentops_safe::written_forms("short").is_empty());
/// ```
#[must_use]
pub fn written_forms(secret: &str) -> Vec<Vec<u8>> {
    forms::written_forms(secret).into_iter().collect()
}

impl Redactor {
    /// A redactor for values that are known by name, and for everything that the rules describe.
    ///
    /// White space and double quotes around a value are not part of it. Values shorter than [`KNOWN_BYTES_MIN`] are not taken, see
    /// [`Redactor::too_short`]. In names everything but `A-Z a-z 0-9 _ . -` becomes `_`, and they are cut to 64 bytes.
    #[must_use]
    pub fn new(known: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut markers: Vec<String> = rules::all().iter().map(|rule| marker::named(rule.name)).collect();
        let mut values: Vec<String> = Vec::new();
        let mut too_short = Vec::new();
        for (name, value) in known {
            let value = value.trim_matches(|c: char| c.is_whitespace() || c == '"');
            if value.len() < KNOWN_BYTES_MIN {
                too_short.push(name);
            } else if !values.iter().any(|taken| taken == value) {
                markers.push(marker::named(&name));
                values.push(value.to_owned());
            }
        }
        Self(Arc::new(Inner { markers, known: values, too_short, exact: OnceLock::new() }))
    }

    /// A redactor for the secrets of an environment: variables whose name says that they hold one, and passwords inside
    /// addresses (`scheme://user:password@host`) of any variable. Paths of files and plain words are left out.
    ///
    /// ```
    /// use agentops_safe::Redactor;
    ///
    /// let vars = [("GITHUB_TOKEN", "tok-8271-xyz"), ("PATH", "/usr/bin:/bin"), ("DB", "pg://me:s3cr3tpw@db/x")];
    /// let redactor = Redactor::from_env(vars.map(|(name, value)| (name.to_owned(), value.to_owned())));
    /// assert_eq!(redactor.redact("tok-8271-xyz s3cr3tpw"), "[redacted:GITHUB_TOKEN] [redacted:DB]");
    /// assert_eq!(redactor.redact("/usr/bin:/bin"), "/usr/bin:/bin");
    /// ```
    #[must_use]
    pub fn from_env(vars: impl IntoIterator<Item = (String, String)>) -> Self {
        Self::new(secrets_of(vars))
    }

    /// Names of the values that were not taken because they are too short, for a warning to whoever gave them.
    #[must_use]
    pub fn too_short(&self) -> &[String] {
        &self.0.too_short
    }

    /// The text without its secrets; borrowed if it has none.
    #[must_use]
    pub fn redact<'t>(&self, text: &'t str) -> Cow<'t, str> {
        match self.redact_bytes(text.as_bytes()) {
            Cow::Borrowed(_) => Cow::Borrowed(text),
            // Spans begin and end at ASCII bytes or at characters of a known value, so nothing is ever lost here.
            Cow::Owned(bytes) => Cow::Owned(
                String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()),
            ),
        }
    }

    /// As [`Redactor::redact`], for bytes in any encoding that has ASCII inside.
    ///
    /// A JSON document stays one, with the same members, elements and kinds of values; a number that is a known value
    /// becomes `0`. So does the inside of a JSON string.
    #[must_use]
    pub fn redact_bytes<'t>(&self, text: &'t [u8]) -> Cow<'t, [u8]> {
        let out = self.with_scan(text, |view, scan| {
            let mut out = Vec::new();
            if !scan.spans.is_empty() {
                out.reserve(text.len());
                stream::State::default().take(self, view, scan, &mut out);
            }
            out
        });
        if out.is_empty() || out == text { Cow::Borrowed(text) } else { Cow::Owned(out) }
    }

    /// Whether there is anything to redact. Costs no allocation where there is not, and no colour code or needless
    /// escape of a JSON string either.
    ///
    /// ```
    /// use agentops_safe::Redactor;
    ///
    /// let redactor = Redactor::new([("DB_PASSWORD".to_owned(), "correct-horse".to_owned())]);
    /// assert!(redactor.finds(b"{\"cmd\": \"psql -W correct-horse\"}"));
    /// assert!(!redactor.finds(b"{\"cmd\": \"psql -W [redacted:DB_PASSWORD]\"}"));
    /// ```
    #[must_use]
    pub fn finds(&self, text: &[u8]) -> bool {
        self.with_scan(text, |_, scan| !scan.spans.is_empty())
    }

    fn with_scan<T>(&self, text: &[u8], then: impl FnOnce(View<'_>, Scan) -> T) -> T {
        let mut viewer = Viewer::default();
        let view = if view::is_plain(text) {
            View { text, pieces: &[] }
        } else {
            viewer.push(text, true);
            viewer.view()
        };
        then(view, self.exact().scan(view, 0, None, true))
    }

    /// Redacts what arrives in chunks, see [`RedactStream`].
    #[must_use]
    pub fn stream(&self) -> RedactStream {
        RedactStream::new(self.clone())
    }

    fn exact(&self) -> &Exact {
        self.0.exact.get_or_init(|| {
            let forms = self
                .0
                .known
                .iter()
                .enumerate()
                .flat_map(|(index, value)| {
                    forms::forms(value).into_iter().map(move |form| (form, rules::all().len() + index))
                })
                .collect();
            Exact::new(&self.0.markers, forms)
        })
    }

    fn marker(&self, index: usize) -> &[u8] {
        self.0.markers[index].as_bytes()
    }

    fn is_known(&self, marker: usize) -> bool {
        marker >= rules::all().len()
    }
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redactor").field("known", &self.0.known.len()).field("rules", &rules::all().len()).finish()
    }
}
