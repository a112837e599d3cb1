//! Secrets that belong to no provider: tokens, private keys, passwords in addresses, headers and assignments.

use super::{Edge, Rule, Tail, WINDOW_MAX, checks, key};

/// The names before `=` or `:` after which a value counts as secret; what may follow in the name; the separator.
const ASSIGNMENT: &str = concat!(
    r#"(?i)(?:pass(?:word|wd|phrase)|_pass|pwd|secret|token|credentials?"#,
    r#"|(?:api|access|private|auth|signing|encryption)[_-]?key)"#,
    r#"(?:s|[0-9]{1,3}|[_.-][A-Za-z0-9_.-]{0,32}|(?-i:[A-Z])[A-Za-z0-9]{0,32})?"#,
    r#"(?:"#,
    // An opening quote of a JSON string, or of code: what follows it cannot be what follows a closing one.
    r#"["']?\s{0,8}(?:[!=]?={1,2}|=>|:=?)\s{0,8}""#,
    r#"((?:[^"\\\s,:;.+)\]}]|\\["\\/bfnrt])(?:[^"\\\s]|\\["\\/bfnrt]|\\u[0-9a-f]{4}){7,})"#,
    // The same within a JSON string, where both quotes are escaped.
    r#"|\\*["']?\s{0,8}(?:[!=]?={1,2}|=>|:=?)\s{0,8}\\+"([^"\\\s,:;.+)\]}][^"\\\s]{7,})"#,
    // Quotes that are escaped or single: no backslash, no quote inside.
    r#"|\\*["']?\s{0,8}(?:[!=]?={1,2}|=>|:=?)\s{0,8}(?:(?:\\(?:\\\\)*["']|['`])([^"'`\\\s]{8,})"#,
    r#"|(?:\\\\)+(?:'([^"'`\\\s]{8,})|"([^"'`\\\s,:\]}][^"'`\\\s]{7,})))"#,
    // No quotes at all.
    r#"|\s{0,8}(?:[!=]?={1,2}|=>|:=?|%3a|%3d)\s{0,8}([A-Za-z0-9_+/=.~!@#$%^*?-]{8,})"#,
    r#")"#
);

const PRIVATE_KEY: &str = concat!(
    r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----",
    // Fewer than five dashes: the next line of dashes ends the key or begins another.
    // Escapes stand in it in any number: what a colour code leaves of one is still no end of the key.
    r"(?:(?:-{0,4}(?:[A-Za-z0-9+/=\s:,.()>|\\]|\xE2\x86\x92))*?",
    r"-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----",
    // The end was cut off: lines of base64, which no prose looks like.
    r"|(?:(?:[\s>|+]|\\+[nrt])*[A-Za-z0-9+/=]{16,})+)",
);

const AUTHORIZATION: &str = concat!(
    r#"(?i)authorization\\*["']?\s{0,8}(?:=>|[:=,]|%3a)(?:\s|%20|\+){0,8}\\*["']?"#,
    r#"(?:bearer|basic|bot|token|digest|api-?key|negotiate|ntlm|sharedkey(?:lite)?|splunk|geniekey|sso-key)(?:\s|%20|\+){1,8}([A-Za-z0-9._~+/=%-]{6,})"#,
);

/// After the name of a session's cookie the value is taken whole.
const COOKIE: &str = r#"(?i)cookie\\*["']?\s{0,8}:\s{0,8}\\*["']?([A-Za-z0-9_.-]{1,64}=[^;"'\\\s]{8})"#;

/// Names that announce a secret. The expression says what else may stand in the name.
pub(super) const ASSIGNED_WORDS: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "_pass",
    "pwd",
    "secret",
    "token",
    "credential",
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
    "signingkey",
    "encryption_key",
    "encryption-key",
    "encryptionkey",
];

#[rustfmt::skip]
pub(super) static RULES: &[Rule] = &[
    Rule { edge: Edge::Word, window: 4096, ..key("jwt", &["eyj"], r"eyJ[A-Za-z0-9_-]{12,}\.eyJ[A-Za-z0-9_-]{8}").dotted() },
    Rule { window: WINDOW_MAX, ..key("private-key", &["-----begin"], PRIVATE_KEY).untailed().anywhere().checked(checks::private_key) },
    key("age-secret-key", &["age-secret-key-1"], r"AGE-SECRET-KEY-1[0-9A-Z]{20}").anywhere(),
    Rule { strict: true, window: 512, ..key("authorization", &["authorization"], AUTHORIZATION).base64().anywhere().checked(checks::header) },
    Rule { strict: true, window: 512, ..key("bearer-token", &["bearer"], r"(?i)bearer(?:\s|%20|\+){1,8}([A-Za-z0-9._~+/=-]{16,})").base64().anywhere().checked(checks::bearer) },
    Rule { tail: Some(Tail::Cookie), window: 512, ..key("cookie", &["cookie"], COOKIE).anywhere().checked(checks::cookie) },
    Rule { strict: true, window: 512, tail: None, ..key("url-password", &["://"], r#"://[^\s/:@"'\\<>]{0,128}:([^\s/@"'\\<>]{6,256})@"#).anywhere().checked(checks::address) },
    Rule { strict: true, window: 512, tail: Some(Tail::Quoted), ..key("assignment", ASSIGNED_WORDS, ASSIGNMENT).anywhere().checked(checks::assignment) },
];
