//! Secrets on command lines: after an option that names them, and where a program expects a login.

use super::{Edge, Rule, Tail, checks, general, key};

/// The rest of a command up to the option that matters.
macro_rules! command {
    () => {
        r#"(?:[^|;\n]|\\\n)*?[\s"',]"#
    };
}
/// A value in quotes of at least 4, 6 or 8 bytes.
macro_rules! quoted {
    ("4") => {
        in_quotes!("", "4,", "3,")
    };
    ("6") => {
        in_quotes!("", "6,", "5,")
    };
    ("8") => {
        in_quotes!("", "8,", "7,")
    };
}
/// The value of an option: after white space, an equals sign, or the dash of a list in YAML, in quotes or up to what ends a word
/// for a shell; in a list of arguments after a comma and in quotes.
macro_rules! value {
    ($least:tt) => {
        concat!(
            r#"\\*["']?(?:(?:\s{0,8}[=,]\s{0,8}|\s{1,8}|(?:\n|\\+n)\s{0,32}-\s{1,4})"#,
            quoted!($least),
            r#"|(?:\s{0,8}=\s{0,8}|\s{1,8}|(?:\n|\\+n)\s{0,32}-\s{1,4})([^\s"'`\\|;<>,]{"#,
            $least,
            ",}))"
        )
    };
    ($before:literal, $least:literal) => {
        concat!(
            r#"\\*["']?(?:(?:\s{0,8}[=,]\s{0,8}|\s{1,8}|(?:\n|\\+n)\s{0,32}-\s{1,4})\\*["']"#,
            $before,
            r#"([^\s"'`\\]{"#,
            $least,
            r",})|(?:\s{0,8}=\s{0,8}|\s{1,8}|(?:\n|\\+n)\s{0,32}-\s{1,4})",
            $before,
            r#"([^\s"'`\\|;<>,]{"#,
            $least,
            ",}))"
        )
    };
}
/// The value of an option that stands directly after it, or that may stand there.
macro_rules! value_attached {
    ($least:tt) => {
        concat!("(?:", quoted!($least), r#"|([^\s"'`\\|;<>,=]{"#, $least, ",}))")
    };
}
macro_rules! value_at_once {
    ($least:tt) => {
        concat!("(?:", value!($least), "|", value_attached!($least), ")")
    };
}

/// A user, a colon and the password.
macro_rules! login {
    () => {
        r#"(?:\\*["'][^\s:"'\\@/|;<>]{1,128}:([^\s"'`\\]{4,})|[^\s:"'\\@/|;<>]{1,128}:([^\s"'`\\|;<>,]{4,}))"#
    };
}

const OPTION: &str = concat!(
    r"(?i)(?:pass(?:word|wd|phrase|code)?|pwd|secret|token|credentials?|(?:api|access|private|auth|signing|encryption|secret)[_-]?key)",
    value!("8"),
);
const PASS_SOURCE: &str = concat!(r"-pass(?:in|out)?", value!("pass:", "4"));
const CURL: &str = concat!(
    r"curl(?:\.exe)?",
    command!(),
    r#"(?:-[A-Za-z#]{0,8}[uU]|--(?:proxy-)?user)(?:[\s=,]|\\*["'],?\s){0,8}"#,
    login!()
);
const LOGIN: &str =
    concat!(r"-(?:user|userpwd|auth|creds|basic-auth|proxy-user|proxy-auth)", value!(r#"[^\s:"'\\@/|;<>]{1,128}:"#, "4"));
const MYSQL: &str = concat!(r"(?:mysql|mariadb)[a-z_-]*", command!(), "-p", value_attached!("4"));
const MONGO: &str = concat!(r"mongo[a-z]*", command!(), "-p", value!("6"));
const REDIS: &str = concat!(r"redis-cli", command!(), "-a", value!("6"));
const SSHPASS: &str = concat!(r"sshpass", command!(), "-p", value_at_once!("4"));
const SQLCMD: &str = concat!(r"(?:sqlcmd|bcp )", command!(), "-P", value_at_once!("6"));
const LDAP: &str = concat!(r"ldap(?:search|modify|add|delete|whoami|passwd)", command!(), "-w", value!("6"));
const SMB: &str = concat!(r"(?:smbclient|rpcclient)", command!(), "-U", value!(r#"[^\s%"'\\]{1,128}%"#, "4"));
const REGISTRY: &str = concat!(r"(?:docker|podman|registry|az|oc) login", command!(), "-p", value!("6"));
const CONFIG: &str = concat!(
    r#"(?i)config(?:ure)? set\s{1,4}(?:--[a-z-]{1,24}\s{1,4}){0,4}\\*["']?[^\s"'\\]{0,128}"#,
    r"(?:token|password|passwd|secret|api_?key|access_?key|_auth)[a-z0-9_.-]{0,24}",
    value!("8"),
);

const fn command(name: &'static str, keywords: &'static [&'static str], needs: &'static str, shape: &'static str) -> Rule {
    Rule { window: 512, needs, strict: true, tail: Some(Tail::Quoted), ..key(name, keywords, shape).checked(checks::login) }
}

#[rustfmt::skip]
pub(super) static RULES: &[Rule] = &[
    Rule { edge: Edge::Option, strict: true, tail: Some(Tail::Quoted), ..key("option", general::ASSIGNED_WORDS, OPTION).checked(checks::option) },
    Rule { edge: Edge::Option, strict: true, tail: Some(Tail::Quoted), ..key("option", &["pass", "secretkey", "secret-key"], OPTION).checked(checks::option) },
    command("option", &["-pass"], "pass:", PASS_SOURCE),
    command("login", &["curl"], ":", CURL),
    command("login", &["-user", "-auth", "-creds", "-basic-auth", "-proxy-user", "-proxy-auth"], ":", LOGIN),
    command("option", &["mysql", "mariadb"], "-p", MYSQL),
    command("option", &["mongo"], "-p", MONGO),
    command("option", &["redis-cli"], "-a", REDIS),
    command("option", &["sshpass"], "-p", SSHPASS),
    command("option", &["sqlcmd", "bcp "], "-P", SQLCMD),
    command("option", &["ldapsearch", "ldapmodify", "ldapadd", "ldapdelete", "ldapwhoami", "ldappasswd"], "-w", LDAP),
    command("login", &["smbclient", "rpcclient"], "%", SMB),
    command("option", &["docker login", "podman login", "registry login", "az login", "oc login"], "-p", REGISTRY),
    Rule { strict: true, window: 512, tail: Some(Tail::Quoted), ..key("option", &["config set", "configure set"], CONFIG).anywhere().checked(checks::option) },
];
