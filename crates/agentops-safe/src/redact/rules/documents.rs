//! Secrets in files of settings that write them neither `name = value` nor `name: value`.

use super::{Edge, Rule, Tail, checks, general, key};

/// White space, a line's end within a JSON string too.
macro_rules! blank {
    () => {
        r"(?:\s|\\+[nrt])"
    };
}

/// `machine HOST login USER password PASSWORD`, on one line or several.
const NETRC: &str = concat!(
    r"(?:machine",
    blank!(),
    r"{1,8}[A-Za-z0-9._:\[\]-]{1,253}|default)",
    "(?:",
    blank!(),
    r"{1,8}(?:login|account|user)",
    blank!(),
    r#"{1,8}\\*"?[^\s"\\]{1,128}\\*"?){0,2}"#,
    blank!(),
    r"{1,8}password",
    blank!(),
    "{1,8}(?:",
    in_quotes!("<>", "4,", "3,"),
    r#"|([^\s"'`\\<>]{4,}))"#,
);
/// `HOST:5432:DATABASE:USER:PASSWORD` of PostgreSQL's file of passwords.
const PGPASS: &str = r#":5432:[^:\s"'\\]{1,64}:[^:\s"'\\]{1,64}:([^\s"'\\:]{4,})"#;
/// `auth` of Docker's settings, `_auth` of npm's: a login in base64.
const BASIC_LOGIN: &str = r#"(?i)auth\\*["']?\s{0,8}[:=]\s{0,8}\\*["']?([A-Za-z0-9+/_-]{8,}={0,2})"#;
const BASIC_HEADER: &str = r#"(?i)basic(?:\s|%20|\+){1,4}([A-Za-z0-9+/_-]{8,}={0,2})"#;
/// Where a name that announces a secret is neither followed by `=` nor by `:` and the value.
const APART: &str = concat!(
    r"(?i)(?:pass(?:word|wd|phrase)|_pass|pwd|secret|token|credentials?|(?:api|access|private|auth|signing|encryption)[_-]?key)",
    r"(?:s|[0-9]{1,3}|[_.-][A-Za-z0-9_.-]{0,32}|(?-i:[A-Z])[A-Za-z0-9]{0,32})?",
    // The text of an element. Its end may have its slash escaped.
    r"(?:(?:\s[^<>\n]{0,80})?>",
    blank!(),
    r#"{0,8}(?:<!\[CDATA\[)?([^<>\s"'\\]{6,256})(?:\]\]>)?"#,
    blank!(),
    r"{0,8}<\\{0,4}/",
    // A name and its value: `{"name": "DB_PASSWORD", "value": "…"}`, `<add key="Password" value="…"/>`, two lines of YAML.
    r#"|\\*["']?(?:\s|\\+[nrt]|,|</name>){1,40}\\*["'<]?value(?:\\*["']?\s{0,8}[:=>]\s{0,8}"#,
    in_quotes!("<>", "6,256", "5,255"),
    // After a quoted name a bare value ends where a JSON document goes on.
    r#"|\\*["']\s{0,8}[:=>]\s{0,8}([^\s"'`\\<>,\[\]{}]{6,256})|\s{0,8}[:=>]\s{0,8}([^\s"'`\\<>]{6,256}))"#,
    // A type between: `apiSecret: string = "…"`, `API_SECRET: &str = "…"`, `apiKey string = "…"`, `secret[] = "…"`.
    r#"|(?:\s{0,4}\[[0-9]{0,4}\]|\??\s{0,4}:\s{0,4}[A-Za-z&'_\[(][A-Za-z0-9_<>\[\]()|&'?:., ]{0,60}?|\s{1,4}[A-Za-z]{1,16})\s{0,4}=\s{0,4}"#,
    r#"(?:new\s[A-Za-z]{1,32}\()?(?:`([^"'`\\\s]{8,})|"#,
    in_quotes!("", "8,", "7,"),
    "))",
);
const SAS: &str = r"sig(?:=|%3[dD])((?:[A-Za-z0-9+/_~.-]|%(?:25)?[0-9A-Fa-f]{2}){20,}=?)";
const SIGNATURE: &str =
    r#"(?i)signature\\*["']?\s{0,4}(?:=|:|%3d)\s{0,4}\\*["']?((?:[a-z0-9+/_~.-]|%[0-9a-f]{2}){27,}={0,2})"#;
/// A token in the place of an address's user.
const ADDRESS_TOKEN: &str = r#"://([A-Za-z0-9_.~%-]{20,256})@"#;
/// The user's number in base64, the time, the signature.
const DISCORD: &str = r"[MNO][DTjz][AEIMQUYcgk][wxyz0-5][A-Za-z0-9_-]{19,24}\.[A-Za-z0-9_-]{6,7}\.[A-Za-z0-9_-]{27}";
const TWILIO: &str = "SK[0-9a-f]{32}";

/// The first three digits of a number in base64, in lower case.
fn numbers_in_base64() -> Vec<String> {
    let joined = |begun: Vec<String>, letters: &str| {
        begun.iter().flat_map(|begun| letters.chars().map(move |letter| format!("{begun}{letter}"))).collect()
    };
    ["mno", "dtjz", "aeimquycgk", "wxyz012345"].into_iter().fold(vec![String::new()], joined)
}

/// `SK` and two hexadecimal digits, in lower case.
fn twilio_beginnings() -> Vec<String> {
    (0..=u8::MAX).map(|byte| format!("sk{byte:02x}")).collect()
}

#[rustfmt::skip]
pub(super) static RULES: &[Rule] = &[
    Rule { window: 1024, strict: true, edge: Edge::Alnum, tail: Some(Tail::Quoted), ..key("netrc", &["machine", "default"], NETRC).checked(checks::login) },
    Rule { window: 512, strict: true, tail: Some(Tail::Plain), ..key("pgpass", &[":5432:"], PGPASS).anywhere().checked(checks::login) },
    Rule { window: 1024, strict: true, ..key("basic-login", &["auth\"", "auth\\", "auth'", "auth:", "auth=", "auth "], BASIC_LOGIN).base64().anywhere().checked(checks::basic_login) },
    Rule { window: 1024, strict: true, ..key("basic-login", &["basic"], BASIC_HEADER).base64().checked(checks::basic_login) },
    Rule { window: 512, strict: true, tail: Some(Tail::Quoted), ..key("assignment", general::ASSIGNED_WORDS, APART).anywhere().checked(checks::apart) },
    Rule { window: 512, strict: true, ..key("azure-signature", &["sig=", "sig%3d"], SAS).base64().checked(checks::signature) },
    Rule { window: 1024, strict: true, ..key("url-signature", &["signature"], SIGNATURE).base64().anywhere().checked(checks::signature) },
    Rule { window: 512, strict: true, ..key("url-token", &["://"], ADDRESS_TOKEN).untailed().anywhere().checked(checks::random) },
    Rule { more_keywords: numbers_in_base64, ..key("discord-token", &[], DISCORD) },
    Rule { more_keywords: twilio_beginnings, ..key("twilio-key", &[], TWILIO).exact() },
];
