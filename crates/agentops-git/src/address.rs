//! Addresses of repositories without what may be a secret in them.

/// Longest text that is looked at, in bytes. No address or message is longer, and an agent may write any text.
pub(crate) const TEXT_BYTES_MAX: usize = 16 << 10;

/// A text in which no address holds a password or a token. An address loses its login (with ssh only the password: the name
/// is no secret there) and the query, which may hold a token as well. What comes after [`TEXT_BYTES_MAX`] is left out.
pub(crate) fn without_secrets(text: &str) -> String {
    let mut end = text.len().min(TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let is_cut = end < text.len();
    let mut rest = &text[..end];
    let mut clean = String::with_capacity(end);
    while let Some((before, after)) = rest.split_once("://") {
        clean.push_str(before);
        clean.push_str("://");
        let scheme_start = before.rfind(|c: char| !c.is_ascii_alphanumeric() && !"+-".contains(c));
        let scheme = before[scheme_start.map_or(0, |at| at + 1)..].trim_start_matches('+').to_ascii_lowercase();
        let authority = match after.find('/') {
            Some(slash) => &after[..slash],
            // The cut may lie within a password.
            None if is_cut => return clean + "…",
            None => after,
        };
        rest = match authority.rfind('@') {
            Some(at) => {
                if scheme.contains("ssh") {
                    clean.push_str(authority[..at].split(':').next().unwrap_or_default());
                    clean.push('@');
                }
                &after[at + 1..]
            }
            None => after,
        };
        if ["file", "git"].contains(&scheme.as_str()) || scheme.contains("ssh") {
            // A path, in which a question mark is a character like others.
            continue;
        }
        let ends = |c: char| c.is_whitespace() || "'\"".contains(c);
        let this = &rest[..rest.find("://").unwrap_or(rest.len())];
        let this = &this[..this.find(ends).unwrap_or(this.len())];
        if let Some(query) = this.find(['?', '#']) {
            clean.push_str(&rest[..query]);
            rest = &rest[query..];
            rest = &rest[rest.find(ends).unwrap_or(rest.len())..];
        }
    }
    clean + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_lose_what_may_be_a_secret() {
        for (given, expected) in [
            ("https://me:s3cret@example.org/a?token=x#y", "https://example.org/a"),
            ("https://t0ken@example.org", "https://example.org"),
            ("https://me:t@k@example.org", "https://example.org"),
            ("https://me:p?w@example.org/a", "https://example.org/a"),
            ("https://example.org?private_token=x", "https://example.org"),
            ("https://a/?u=https://me:pw@b/c", "https://a/"),
            ("ssh://git:pw@example.org:22/a", "ssh://git@example.org:22/a"),
            ("git+ssh://git:pw@example.org/a?b", "git+ssh://git@example.org/a?b"),
            ("file:///srv/a?b#c", "file:///srv/a?b#c"),
            ("git@example.org:a/b", "git@example.org:a/b"),
            ("https://host/a@b", "https://host/a@b"),
            ("core.bare", "core.bare"),
            ("cannot read 'https://me:pw@a/b?token=x': try http://you:pw@c/d", "cannot read 'https://a/b': try http://c/d"),
        ] {
            assert_eq!(without_secrets(given), expected);
        }
    }

    #[test]
    fn a_text_with_any_number_of_addresses_takes_a_bounded_stack() {
        let clean = || without_secrets(&"x://".repeat(10_000));
        let thread = std::thread::Builder::new().stack_size(256 << 10).spawn(clean).unwrap();
        assert!(thread.join().unwrap().starts_with("x://x://"));
    }

    #[test]
    fn a_cut_text_shows_no_part_of_a_password() {
        let clean = without_secrets(&format!("https://me:{}@host/x", "secret".repeat(TEXT_BYTES_MAX)));
        assert_eq!(clean, "https://…");
        assert!(without_secrets(&"ä".repeat(TEXT_BYTES_MAX)).len() <= TEXT_BYTES_MAX);
    }
}
