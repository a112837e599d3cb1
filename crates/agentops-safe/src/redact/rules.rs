//! Shapes of secrets that nobody told us: keys of the common providers, tokens in headers, passwords in assignments.
//!
//! A rule is found by a keyword (one automaton looks for all of them) and judged by an expression that is anchored at
//! the keyword and sees a bounded window. Where it fits, the rest of the run of characters is taken along, however long.
//! Each rule judges each keyword by itself, so the outcome does not depend on what other rules did: that is what makes
//! redaction idempotent and the stream equal to the whole.

use regex::bytes::{Regex, RegexBuilder};

/// What may stand directly before a match.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Edge {
    /// Anything.
    Any,
    /// No letter or digit, unless it ends an escape such as `\n`, `%3D` or a colour code.
    Alnum,
    /// As `Alnum`, and no `_` or `-` that goes on a word; the `-` of a removed line in a diff may stand there.
    Word,
}

/// The characters that go on a secret after its expression ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Tail {
    Word,
    Dotted,
    Header,
    Cookie,
    Plain,
    Quoted,
}

impl Tail {
    pub(super) const COUNT: usize = 6;

    /// Whether the byte belongs to the run. No tail has a quote or a backslash, so that no JSON string is cut open.
    pub(super) fn takes(self, byte: u8) -> bool {
        let more: &[u8] = match self {
            Tail::Word => b"_-",
            Tail::Dotted => b"_-.",
            Tail::Header => b"_-.~+/=%",
            Tail::Plain => b"_+/=.~!@#$%^*?-",
            Tail::Cookie => return !matches!(byte, b'"' | b'\'' | b'\\') && byte >= b' ' && byte != 0x7f,
            Tail::Quoted => return !matches!(byte, b'"' | b'\'' | b'`' | b'\\') && byte > b' ' && byte != 0x7f,
        };
        byte.is_ascii_alphanumeric() || more.contains(&byte)
    }
}

/// A candidate, as its rule's check sees it. Everything lies inside the rule's window.
pub(super) struct Found<'a> {
    /// From the keyword to the secret.
    pub head: &'a [u8],
    /// The secret.
    pub value: &'a [u8],
    /// The byte after it, if any.
    pub next: Option<u8>,
}

pub(super) struct Rule {
    pub name: &'static str,
    /// In lower case; compared without case.
    pub keywords: &'static [&'static str],
    pub shape: &'static str,
    pub edge: Edge,
    pub tail: Option<Tail>,
    /// How far the expression sees from the keyword, in bytes.
    pub window: usize,
    /// Takes the candidate or leaves it.
    pub check: fn(&Found<'_>) -> bool,
    /// Whether a longer value may fail a check that its beginning passes. Such a value counts only if its end is seen.
    pub strict: bool,
}

/// The largest window of any rule, in bytes: a private key with its lines.
pub(super) const WINDOW_MAX: usize = 16 * 1024;

fn any(_: &Found<'_>) -> bool {
    true
}

fn mixed(found: &Found<'_>) -> bool {
    // The first characters decide, so that a longer value cannot undo it.
    let start = &found.value[..found.value.len().min(23)];
    start.iter().any(u8::is_ascii_digit)
        || (start.iter().any(u8::is_ascii_uppercase) && start[3..].iter().any(u8::is_ascii_lowercase))
}

fn ends(found: &Found<'_>) -> bool {
    !found.next.is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'/' || byte == b'+')
}

fn header(found: &Found<'_>) -> bool {
    found.value.len() > 14 || !found.value.iter().all(u8::is_ascii_lowercase)
}

fn bearer(found: &Found<'_>) -> bool {
    found.value.iter().any(u8::is_ascii_digit) && found.value.iter().any(u8::is_ascii_alphabetic)
}

fn address(found: &Found<'_>) -> bool {
    !is_placeholder(found.value)
}

/// Words and signs by which a value says that it stands for another.
fn is_placeholder(value: &[u8]) -> bool {
    let text = String::from_utf8_lossy(value).to_ascii_lowercase();
    text.starts_with(['$', '<', '{', '%'])
        || [
            "${",
            "$(",
            "{{",
            "example",
            "placeholder",
            "changeme",
            "your_",
            "your-",
            "redacted",
            "xxxx",
            "****",
            "process.env",
        ]
        .iter()
        .any(|word| text.contains(word))
}

/// Shannon's entropy in bits per byte, 0 for an empty value.
fn entropy(value: &[u8]) -> f64 {
    let mut counts = [0_u32; 256];
    for &byte in value {
        counts[usize::from(byte)] += 1;
    }
    let total = f64::from(u32::try_from(value.len()).unwrap_or(u32::MAX));
    counts.iter().filter(|count| **count > 0).map(|count| f64::from(*count) / total).map(|share| -share * share.log2()).sum()
}

fn assignment(found: &Found<'_>) -> bool {
    let head = String::from_utf8_lossy(found.head).to_ascii_lowercase();
    let name = head.split(['"', '\'', ':', '=', ' ', '\\', '%']).next().unwrap_or_default();
    let about =
        ["count", "len", "length", "limit", "type", "name", "file", "path", "url", "uri", "format", "ttl", "hash", "size"];
    if about.iter().any(|word| name.ends_with(word)) {
        return false;
    }
    let value = found.value;
    let text = String::from_utf8_lossy(value);
    let is_quoted = head.ends_with(['"', '\'', '`']);
    let has_letter = value.iter().any(u8::is_ascii_alphabetic);
    let is_sign = |byte: &u8| !byte.is_ascii_alphabetic() && !b"_-.".contains(byte);
    let has_other = value.iter().any(|byte| byte.is_ascii_digit() || (is_quoted && is_sign(byte)));
    if !has_letter || !has_other || is_placeholder(value) {
        return false;
    }
    let is_address_or_path = text.contains("://") || ["/", "./", "../", "~/"].iter().any(|start| text.starts_with(start));
    let is_file = text.contains('/') && text.rsplit_once('.').is_some_and(|(_, end)| end.len() <= 4 && !end.is_empty());
    // What is called, indexed or a path of a program's names is code and not a value.
    let is_code =
        text.contains("::") || found.next.is_some_and(|byte| matches!(byte, b'(' | b'[' | b'{' | b'<') && !is_quoted);
    if is_address_or_path || is_file || is_code {
        return false;
    }
    let is_password = head.starts_with("pass") || head.starts_with("pwd");
    let floor = match (is_password, is_quoted) {
        (true, true) => 2.5,
        (true, false) | (false, true) => 3.0,
        (false, false) => 3.5,
    };
    entropy(value) >= floor
}

const fn key(name: &'static str, keywords: &'static [&'static str], edge: Edge, shape: &'static str) -> Rule {
    Rule { name, keywords, shape, edge, tail: Some(Tail::Word), window: 512, check: any, strict: false }
}

/// The names before `=` or `:` after which a value counts as secret; what may follow in the name; the separator.
const ASSIGNMENT: &str = concat!(
    r#"(?:pass(?:word|wd|phrase)|pwd|secret|token|credentials?"#,
    r#"|(?:api|access|private|auth|signing|encryption)[_-]?key)"#,
    r#"(?:s|[0-9]{1,3}|[_.-][A-Za-z0-9_.-]{0,32}|(?-i:[A-Z])[A-Za-z0-9]{0,32})?"#,
    r#"(?:"#,
    // An opening quote of a JSON string, or of code: what follows it cannot be what follows a closing one.
    r#"["']?\s{0,8}(?:[!=]?={1,2}|=>|:=?)\s{0,8}""#,
    r#"((?:[^"\\\s,:\]}]|\\["\\/bfnrt])(?:[^"\\\s]|\\["\\/bfnrt]|\\u[0-9a-f]{4}){7,})"#,
    // Quotes that are escaped or single: no backslash, no quote inside.
    r#"|\\*["']?\s{0,8}(?:[!=]?={1,2}|=>|:=?)\s{0,8}(?:\\+["']|['`])([^"'`\\\s]{8,})"#,
    // No quotes at all.
    r#"|\s{0,8}(?:[!=]?={1,2}|=>|:=?|%3a|%3d)\s{0,8}([A-Za-z0-9_+/=.~!@#$%^*?-]{8,})"#,
    r#")"#
);

const PRIVATE_KEY: &str = concat!(
    r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----",
    r"(?:(?:[A-Za-z0-9+/=\s:,.()>|-]|\xE2\x86\x92|\\+[nrt]|\\+u00[0-9A-Fa-f]{2})*?",
    r"-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----",
    // The end was cut off: lines of base64, which no prose looks like.
    r"|(?:(?:[\s>|+]|\\+[nrt])*[A-Za-z0-9+/=]{16,})*)",
);

/// All rules. The names are safe inside JSON and never change, since they are written into ledgers.
pub(super) const RULES: &[Rule] = &[
    key("anthropic-key", &["sk-ant-"], Edge::Any, r"sk-ant-[A-Za-z0-9_-]{16}"),
    key(
        "openai-key",
        &["sk-proj-", "sk-svcacct-", "sk-admin-", "sk-or-v1-"],
        Edge::Any,
        r"sk-[a-z0-9-]{4,8}-[A-Za-z0-9_-]{20}",
    ),
    Rule { check: mixed, ..key("openai-key", &["sk-"], Edge::Alnum, r"sk-[A-Za-z0-9]{20}") },
    key("google-api-key", &["aiza"], Edge::Alnum, r"AIza[A-Za-z0-9_-]{35}"),
    key("google-oauth", &["ya29.", "gocspx-"], Edge::Alnum, r"(?:ya29\.|GOCSPX-)[A-Za-z0-9_-]{20}"),
    key("github-token", &["ghp_", "gho_", "ghu_", "ghs_", "ghr_"], Edge::Any, r"gh[pousr]_[A-Za-z0-9]{30}"),
    key("github-token", &["github_pat_"], Edge::Any, r"github_pat_[A-Za-z0-9_]{22}"),
    key("gitlab-token", &["glpat-", "gldt-", "glrt-", "glcbt-", "glptt-"], Edge::Any, r"gl[a-z]{2,3}-[A-Za-z0-9_-]{20}"),
    Rule {
        check: ends,
        strict: true,
        tail: None,
        ..key("aws-access-key-id", &["akia", "asia"], Edge::Alnum, r"A[KS]IA[A-Z0-9]{16}")
    },
    Rule {
        check: ends,
        strict: true,
        tail: None,
        ..key(
            "aws-secret-key",
            &["secret"],
            Edge::Any,
            r#"(?i)secret[_. -]?(?:access)?[_. -]?key\\*["']?\s{0,8}(?:=>|[:=,]|%3d)\s{0,8}\\*["']?([A-Za-z0-9/+]{40})"#,
        )
    },
    key("slack-token", &["xox", "xapp-"], Edge::Alnum, r"x(?:ox[a-z]|app)-[A-Za-z0-9-]{10}"),
    key(
        "slack-webhook",
        &["hooks.slack.com"],
        Edge::Any,
        r"hooks\.slack\.com\\?/(?:services|workflows|triggers)\\?/([A-Za-z0-9_-]{6,}(?:\\?/[A-Za-z0-9_-]{4,})+)",
    ),
    key(
        "stripe-key",
        &["sk_live_", "rk_live_", "sk_test_", "rk_test_", "whsec_"],
        Edge::Any,
        r"(?:[sr]k_(?:live|test)|whsec)_[A-Za-z0-9]{16}",
    ),
    key("npm-token", &["npm_"], Edge::Alnum, r"npm_[A-Za-z0-9]{36}"),
    key("pypi-token", &["pypi-"], Edge::Alnum, r"pypi-[A-Za-z0-9_-]{50}"),
    key("huggingface-token", &["hf_"], Edge::Alnum, r"hf_[A-Za-z0-9]{30}"),
    Rule {
        tail: Some(Tail::Dotted),
        window: 4096,
        ..key("jwt", &["eyj"], Edge::Word, r"eyJ[A-Za-z0-9_-]{12,}\.eyJ[A-Za-z0-9_-]{8}")
    },
    Rule { tail: None, window: WINDOW_MAX, ..key("private-key", &["-----begin"], Edge::Any, PRIVATE_KEY) },
    Rule {
        tail: Some(Tail::Header),
        check: header,
        strict: true,
        ..key(
            "authorization",
            &["authorization"],
            Edge::Any,
            concat!(
                r#"(?i)authorization\\*["']?\s{0,8}(?:=>|[:=,]|%3a)(?:\s|%20|\+){0,8}\\*["']?"#,
                r#"(?:bearer|basic|token|digest|apikey)(?:\s|%20|\+){1,8}([A-Za-z0-9._~+/=%-]{6,})"#,
            ),
        )
    },
    Rule {
        tail: Some(Tail::Header),
        check: bearer,
        strict: true,
        ..key("bearer-token", &["bearer"], Edge::Any, r"(?i)bearer(?:\s|%20|\+){1,8}([A-Za-z0-9._~+/=-]{16,})")
    },
    Rule {
        tail: Some(Tail::Cookie),
        ..key(
            "cookie",
            &["cookie"],
            Edge::Any,
            r#"(?i)cookie\\*["']?\s{0,8}:\s{0,8}\\*["']?([A-Za-z0-9_.-]{1,64}=[^;"'\\\s]{8})"#,
        )
    },
    Rule {
        tail: None,
        check: address,
        strict: true,
        ..key("url-password", &["://"], Edge::Any, r#"://[^\s/:@"'\\<>]{0,128}:([^\s/@"'\\<>]{6,256})@"#)
    },
    Rule {
        tail: Some(Tail::Quoted),
        check: assignment,
        strict: true,
        ..key(
            "assignment",
            &[
                "password",
                "passwd",
                "passphrase",
                "pwd",
                "secret",
                "token",
                "api_key",
                "api-key",
                "apikey",
                "access_key",
                "access-key",
                "accesskey",
                "private_key",
                "private-key",
                "privatekey",
                "auth_key",
                "auth-key",
                "authkey",
                "signing_key",
                "signing-key",
                "encryption_key",
                "encryption-key",
                "credential",
            ],
            Edge::Any,
            ASSIGNMENT,
        )
    },
];

impl Rule {
    /// Compiles the expression for bytes: with Unicode it would compile some seventy times slower and mean other things.
    pub(super) fn compiled(&self) -> Regex {
        let flags = if self.name == "assignment" { "(?i)" } else { "" };
        RegexBuilder::new(&format!(r"\A(?:{flags}{})", self.shape))
            .unicode(false)
            .build()
            .unwrap_or_else(|error| panic!("rule {} does not compile: {error}", self.name))
    }

    /// The run that goes on after the expression: for an unquoted assignment it is narrower than for a quoted one.
    pub(super) fn tail_after(&self, head: &[u8]) -> Option<Tail> {
        match self.tail {
            Some(Tail::Quoted) if !head.ends_with(b"\"") && !head.ends_with(b"'") && !head.ends_with(b"`") => {
                Some(Tail::Plain)
            }
            tail => tail,
        }
    }
}
