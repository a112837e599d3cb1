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
    let is_word =
        found.value.len() < 16 && found.value.iter().all(|byte| byte.is_ascii_lowercase() || b"_-=".contains(byte));
    !is_example && !is_word && !is_placeholder(found.value)
}

/// Words and signs by which a value says that it stands for another.
fn is_placeholder(value: &[u8]) -> bool {
    let text = String::from_utf8_lossy(value).to_ascii_lowercase();
    let is_numbered = |word: &str| text.strip_prefix(word).is_some_and(|rest| rest.len() < 4 && rest.parse::<u16>().is_ok());
    text.starts_with(['$', '<', '{', '%'])
        || is_masked(value)
        || ["password", "passwd", "secret", "token", "api-key", "api_key"].iter().any(|word| is_numbered(word))
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

pub(in crate::redact) fn assignment(found: &Found<'_>) -> bool {
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
    let is_sign = |byte: &u8| !byte.is_ascii_alphabetic() && !b"_-./#@".contains(byte);
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
