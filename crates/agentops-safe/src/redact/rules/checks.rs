//! What an expression cannot say: whether a candidate looks random, ends where it should, or stands for another value.

use super::Found;

/// Takes every candidate.
pub(in crate::redact) fn any(_: &Found<'_>) -> bool {
    true
}

pub(in crate::redact) fn mixed(found: &Found<'_>) -> bool {
    // The first characters decide, so that a longer value cannot undo it.
    let start = &found.value[..found.value.len().min(23)];
    start.iter().any(u8::is_ascii_digit)
        || (start.iter().any(u8::is_ascii_uppercase) && start[3..].iter().any(u8::is_ascii_lowercase))
}

pub(in crate::redact) fn ends(found: &Found<'_>) -> bool {
    !found.next.is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'/' || byte == b'+')
}

/// The value of a provider's name: letters and digits, of its full length, and no placeholder.
pub(in crate::redact) fn assigned(found: &Found<'_>) -> bool {
    let is_whole = ends(found) && !found.next.is_some_and(|byte| matches!(byte, b'(' | b'_' | b'-'));
    is_whole && bearer(found) && !is_placeholder(found.value) && entropy(found.value) >= 3.0
}

/// What follows `Authorization: Bearer`: no word of prose, and no `token123`.
pub(in crate::redact) fn header(found: &Found<'_>) -> bool {
    found.value.len() > 14 || (found.value.len() >= 10 && !found.value.iter().all(u8::is_ascii_lowercase))
}

/// A cookie whose first value looks random.
pub(in crate::redact) fn cookie(found: &Found<'_>) -> bool {
    let first = found.value.split(|byte| *byte == b';').next().unwrap_or_default();
    let value = first.splitn(2, |byte| *byte == b'=').nth(1).unwrap_or_default();
    value.len() >= 16 || value.iter().any(u8::is_ascii_digit)
}

pub(in crate::redact) fn bearer(found: &Found<'_>) -> bool {
    found.value.iter().any(u8::is_ascii_digit) && found.value.iter().any(u8::is_ascii_alphabetic)
}

/// The password of an address: no word, and no host that is reserved for examples.
pub(in crate::redact) fn address(found: &Found<'_>) -> bool {
    let in_host = |byte: &&u8| byte.is_ascii_alphanumeric() || b".-@".contains(byte);
    let host: Vec<u8> = found.after.iter().take_while(in_host).map(u8::to_ascii_lowercase).collect();
    if found.is_cut && host.len() == found.after.len() {
        return false;
    }
    let host = String::from_utf8_lossy(&host).into_owned();
    let is_example = host.contains("example") || host.ends_with(".test") || host.ends_with(".invalid");
    !is_example && !is_word(found.value) && !is_placeholder(found.value) && !is_expression(found.value)
}

/// Words and signs by which a value says that it stands for another.
fn is_placeholder(value: &[u8]) -> bool {
    let text = String::from_utf8_lossy(value).to_ascii_lowercase();
    let is_numbered =
        |word: &str| text.strip_prefix(word).is_some_and(|rest| rest.len() <= 4 && rest.parse::<u16>().is_ok());
    text.starts_with(['$', '<', '{', '%'])
        || is_masked(value)
        || ["password", "passwd", "secret", "token", "api-key", "api_key", "key_"].iter().any(|word| is_numbered(word))
        || ["${", "$(", "{{", "example", "placeholder", "changeme", "your_", "your-", "redacted", "xxxx", "process.env"]
            .iter()
            .any(|word| text.contains(word))
}

/// What a program left of a secret that it hid itself: `****1a2b`. A password may have stars too, among much else.
fn is_masked(value: &[u8]) -> bool {
    let shown = value.iter().filter(|byte| **byte != b'*').count();
    (value.starts_with(b"****") || value.ends_with(b"****")) && shown < 8
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

/// A private key with something in it: the lines around it alone are no secret.
pub(in crate::redact) fn private_key(found: &Found<'_>) -> bool {
    let in_key = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/=".contains(byte);
    found.value.split(|byte| !in_key(byte)).any(|run| run.len() >= 16)
}

/// The value of an assignment, in quotes or not.
pub(in crate::redact) fn assignment(found: &Found<'_>) -> bool {
    let head = String::from_utf8_lossy(found.head).to_ascii_lowercase();
    let is_quoted = head.ends_with(['"', '\'', '`']);
    is_about_a_secret(&head) && looks_secret(found, &head, is_quoted)
}

/// A value that stands apart from its name: in an element, beside it, behind a type.
pub(in crate::redact) fn apart(found: &Found<'_>) -> bool {
    let head = String::from_utf8_lossy(found.head).to_ascii_lowercase();
    let is_quoted = head.trim_ascii_end().ends_with(['"', '\'', '`', '>', '[']);
    is_about_a_secret(&head) && looks_secret(found, &head, is_quoted)
}

/// The value of a command line's option.
pub(in crate::redact) fn option(found: &Found<'_>) -> bool {
    let head = String::from_utf8_lossy(found.head).to_ascii_lowercase();
    !found.value.starts_with(b"-") && looks_secret(found, &head, true) && found.value.iter().any(u8::is_ascii_digit)
}

/// A password that stands where only a password stands.
pub(in crate::redact) fn login(found: &Found<'_>) -> bool {
    let value = found.value;
    let is_number = value.iter().all(|byte| byte.is_ascii_digit() || b".:/-".contains(byte));
    !is_number && !is_word(value) && !is_placeholder(value) && !is_expression(value) && !is_path(value)
}

/// A login in base64: a user, a colon and a password that is no word.
pub(in crate::redact) fn basic_login(found: &Found<'_>) -> bool {
    let in_base64 = |byte: &&u8| byte.is_ascii_alphanumeric() || b"+/-_".contains(byte);
    let text = &found.value[..found.value.iter().take_while(in_base64).count()];
    let Some(login) = super::encoded::decoded(text) else { return false };
    let Some(colon) = login.iter().position(|byte| *byte == b':') else { return false };
    let (user, password) = (&login[..colon], &login[colon + 1..]);
    let is_text = |text: &[u8]| text.iter().all(|byte| (b' '..=b'~').contains(byte));
    !user.is_empty()
        && password.len() >= 3
        && is_text(user)
        && is_text(password)
        && !is_word(password)
        && !is_placeholder(password)
}

/// A signature: letters of both cases or hex, and digits.
pub(in crate::redact) fn signature(found: &Found<'_>) -> bool {
    let value = found.value;
    let is_hex = value.len() >= 64 && value.iter().all(u8::is_ascii_hexdigit);
    let is_mixed = value.iter().any(u8::is_ascii_uppercase) && value.iter().any(u8::is_ascii_lowercase);
    let is_code = found.next.is_some_and(|byte| b"([".contains(&byte));
    (is_hex || is_mixed) && bearer(found) && !is_code && !is_placeholder(value) && !is_path(value) && entropy(value) >= 3.0
}

/// Nothing that a person would choose for a name.
pub(in crate::redact) fn random(found: &Found<'_>) -> bool {
    bearer(found) && !is_placeholder(found.value) && entropy(found.value) >= 3.5
}

/// Whether a name says that its value is a secret, and not how long it is or where it lies.
fn is_about_a_secret(head: &str) -> bool {
    let name = head.split(['"', '\'', ':', '=', ' ', '\\', '%', '<', '>', '[', '?']).next().unwrap_or_default();
    let name = name.trim_end_matches(|last: char| last.is_ascii_digit());
    let about =
        ["count", "len", "length", "limit", "type", "name", "file", "path", "url", "uri", "format", "ttl", "hash", "size"];
    !about.iter().any(|word| name.ends_with(word))
}

fn looks_secret(found: &Found<'_>, head: &str, is_quoted: bool) -> bool {
    let value = found.value;
    let has_letter = value.iter().any(u8::is_ascii_alphabetic);
    let is_sign = |byte: &u8| !byte.is_ascii_alphabetic() && !b"_-./#@".contains(byte);
    let has_other = value.iter().any(|byte| byte.is_ascii_digit() || (is_quoted && is_sign(byte)));
    if !has_letter || !has_other || is_placeholder(value) || is_expression(value) || is_path(value) {
        return false;
    }
    // What is called, indexed or a path of a program's names is code and not a value.
    let is_code = value.windows(2).any(|two| two == b"::")
        || is_constant(value)
        || (!is_quoted && (value.iter().chain(&found.next).any(|byte| b"([{<".contains(byte)) || is_of_names(value)));
    if is_code {
        return false;
    }
    let is_password = ["pass", "_pass", "pwd"].iter().any(|word| head.starts_with(word));
    let floor = match (is_password, is_quoted) {
        (true, true) => 2.5,
        (true, false) | (false, true) => 3.0,
        (false, false) => 3.5,
    };
    entropy(value) >= floor
}

/// The name of a constant: `MAX_TOKEN_SIZE_2`.
fn is_constant(value: &[u8]) -> bool {
    let digits = value.chunk_by(|a, b| a.is_ascii_digit() == b.is_ascii_digit()).filter(|group| group[0].is_ascii_digit());
    value.contains(&b'_')
        && digits.map(<[u8]>::len).sum::<usize>() <= 2
        && value.iter().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'_')
}

/// A word: a password that is one cannot be told from what people write about passwords.
fn is_word(value: &[u8]) -> bool {
    let is_of = |is_letter: fn(&u8) -> bool| value.iter().all(|byte| is_letter(byte) || b"_-=".contains(byte));
    value.len() < 16 && (is_of(u8::is_ascii_lowercase) || is_of(u8::is_ascii_uppercase))
}

/// An address, or the path of a file.
fn is_path(value: &[u8]) -> bool {
    let text = String::from_utf8_lossy(value);
    let is_ending = |end: &str| (1..=4).contains(&end.len()) && end.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let is_file = text.contains('/') && text.rsplit_once('.').is_some_and(|(_, end)| is_ending(end));
    text.contains("://") || ["/", "./", "../", "~/"].iter().any(|start| text.starts_with(start)) || is_file
}

/// A regular expression that describes secrets: `ghp_[A-Za-z0-9]{36}`.
fn is_expression(value: &[u8]) -> bool {
    let text = String::from_utf8_lossy(value);
    ["[a-z", "[A-Z", "[0-9", "[^", "[\\", "(?:", "(?i", "(?P<", "(?<", "\\d", "\\w", "]{", "]+", "]*"]
        .iter()
        .any(|part| text.contains(part))
}

/// Names of a program joined by points, or a name of three words: `config2.apiKey`, `x25519_private_key`. Each begins with a letter, and its digits
/// stand together.
fn is_of_names(value: &[u8]) -> bool {
    let is_name = |name: &[u8]| {
        let groups = name.chunk_by(|a, b| a.is_ascii_digit() == b.is_ascii_digit()).count();
        let in_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"_$?!".contains(byte);
        name.first().is_some_and(|first| first.is_ascii_alphabetic() || b"_$".contains(first))
            && groups <= 3
            && name.iter().all(in_name)
    };
    let is_joined = value.contains(&b'.') || value.split(|byte| *byte == b'_').count() >= 3;
    is_joined && value.split(|byte| *byte == b'.').all(is_name)
}
