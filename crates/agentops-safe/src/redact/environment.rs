//! Which environment variables hold secrets, judged by their names, and passwords inside addresses.

/// Parts of a name (between `_`, `-`, `.`) that announce a secret.
const SECRET_WORDS: &[&str] = &[
    "KEY",
    "KEYS",
    "TOKEN",
    "TOKENS",
    "SECRET",
    "SECRETS",
    "PASSWORD",
    "PASSWORDS",
    "PASSWD",
    "PASSPHRASE",
    "PASS",
    "PWD",
    "PASSCODE",
    "CREDENTIAL",
    "CREDENTIALS",
    "CREDS",
    "AUTH",
    "COOKIE",
    "COOKIES",
    "DSN",
    "PAT",
    "JWT",
    "BEARER",
    "WEBHOOK",
];
/// Ends of a part that announce one when words are written together, as in `PGPASSWORD` or `GITHUBTOKEN`.
const SECRET_ENDS: &[&str] =
    &["TOKEN", "SECRET", "PASSWORD", "PASSWD", "APIKEY", "ACCESSKEY", "SECRETKEY", "PRIVATEKEY", "CREDENTIALS", "COOKIE"];
/// Last parts that say the value is about a secret and not one.
const ABOUT_WORDS: &[&str] = &[
    "SOCK",
    "SOCKET",
    "FILE",
    "PATH",
    "DIR",
    "HOME",
    "NAME",
    "HOST",
    "PORT",
    "TYPE",
    "METHOD",
    "MODE",
    "TTL",
    "TIMEOUT",
    "LIMIT",
    "COUNT",
    "MAX",
    "MIN",
    "ENABLED",
    "DISABLED",
    "FORMAT",
    "ALGORITHM",
    "LAYOUT",
    "SIZE",
    "LENGTH",
    "HELPER",
    "PROVIDER",
    "USER",
    "USERNAME",
    "REGION",
    "VERSION",
    "COMMAND",
    "CMD",
    "PROGRAM",
    "ASKPASS",
];
/// Values that stand where a secret could and are none. Taking them would redact ordinary words everywhere.
const PLAIN_VALUES: &[&str] = &[
    "password",
    "changeme",
    "disabled",
    "required",
    "optional",
    "localhost",
    "undefined",
    "anonymous",
    "production",
    "development",
    "keychain",
    "keyring",
    "automatic",
    "username",
    "xxxxxxxx",
];
/// First directories of an absolute path; a value below them names a file and is not a secret itself.
const ROOTS: &[&str] = &[
    "home",
    "usr",
    "etc",
    "var",
    "tmp",
    "run",
    "opt",
    "root",
    "mnt",
    "Users",
    "private",
    "dev",
    "proc",
    "srv",
    "work",
    "app",
    "workspace",
    "data",
    "Library",
];

/// Whether a variable of this name holds a secret as its value.
pub(crate) fn is_secret_name(name: &str) -> bool {
    let upper = name.to_ascii_uppercase();
    if matches!(upper.as_str(), "PWD" | "OLDPWD") {
        return false;
    }
    let parts: Vec<&str> = upper.split(|c: char| !c.is_ascii_alphanumeric()).filter(|part| !part.is_empty()).collect();
    if parts.last().is_some_and(|last| ABOUT_WORDS.contains(last)) {
        return false;
    }
    parts.iter().any(|part| SECRET_WORDS.contains(part) || SECRET_ENDS.iter().any(|end| part.ends_with(end)))
}

/// Whether a value under a secret name is worth hiding: neither a plain word nor the path of a file.
pub(super) fn is_secret_value(value: &str) -> bool {
    let value = value.trim();
    if PLAIN_VALUES.contains(&value.to_ascii_lowercase().as_str()) {
        return false;
    }
    let is_path = value.starts_with("~/")
        || value.starts_with("./")
        || value.strip_prefix('/').and_then(|rest| rest.split_once('/')).is_some_and(|(first, _)| ROOTS.contains(&first));
    !is_path
}

/// The passwords of all `scheme://user:password@host` in a value, as written and, where it differs, percent-decoded.
pub(super) fn address_passwords(value: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in value.match_indices("://") {
        let rest = &value[at + 3..];
        let authority = rest.split(['/', '?', '#', ' ', '"', '\'', '\n']).next().unwrap_or_default();
        let Some((user_info, _)) = authority.rsplit_once('@') else { continue };
        let Some((_, password)) = user_info.split_once(':') else { continue };
        let decoded = percent_decoded(password);
        if decoded != password {
            found.push(decoded);
        }
        found.push(password.to_owned());
    }
    found
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let code =
            tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok()).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match code {
            Some(byte) if *first == b'%' => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s6_secret_variables_are_told_by_name() {
        for name in [
            "ANTHROPIC_API_KEY",
            "GITHUB_TOKEN",
            "aws_secret_access_key",
            "PGPASSWORD",
            "DB_PASSWD",
            "SENTRY_DSN",
            "NPM_AUTH",
            "SESSION_COOKIE",
            "APIKEY",
            "OPENAI-KEY",
            "MYSQL_PWD",
            "GOOGLE_CREDENTIALS",
            "GITHUBTOKEN",
        ] {
            assert!(is_secret_name(name), "{name}");
        }
        for name in [
            "PATH",
            "KEYBOARD",
            "XKB_KEYBOARD",
            "SSH_AUTH_SOCK",
            "PWD",
            "OLDPWD",
            "HOME",
            "GIT_AUTHOR_NAME",
            "MONKEY",
            "SSH_ASKPASS",
            "TOKENIZERS_PARALLELISM",
            "AWS_CREDENTIALS_FILE",
            "XAUTHORITY",
            "PASSENGER",
            "KEY_PATH",
            "AUTH_TYPE",
            "COMPASS",
        ] {
            assert!(!is_secret_name(name), "{name}");
        }
    }

    #[test]
    fn s6_paths_and_plain_words_are_not_secrets() {
        assert!(!is_secret_value("/home/me/creds.json"));
        assert!(!is_secret_value("disabled"));
        assert!(is_secret_value("/x9aBcd/EFgh12"));
    }

    #[test]
    fn s6_passwords_in_addresses_are_found() {
        assert_eq!(address_passwords("postgres://me:p%40ssw0rd@db/x"), ["p@ssw0rd", "p%40ssw0rd"]);
        assert_eq!(address_passwords("https://host/a:b@c"), Vec::<String>::new());
        assert_eq!(address_passwords("amqp://a:one2three@x,amqp://b:four5six@y"), ["one2three", "four5six"]);
    }
}
