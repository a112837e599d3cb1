//! Addresses as they may be shown: keys are also given in the query of an address, under any name.

use std::borrow::Cow;

/// What stands in the place of a value.
const HIDDEN: &str = "…";

/// The text with every value in a query, every fragment and every login of an address replaced by `…`.
///
/// ```
/// use agentops_safe::hide_address_values;
///
/// let text = "calls go to https://me:pw@host.dev/v1?api-key=abc&x=1#frag (https)";
/// assert_eq!(hide_address_values(text), "calls go to https://…@host.dev/v1?api-key=…&x=…#… (https)");
/// assert_eq!(hide_address_values("is it https://host.dev/v1?"), "is it https://host.dev/v1?");
/// ```
#[must_use]
pub fn hide_address_values(text: &str) -> Cow<'_, str> {
    if !text.contains("://") {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        let ends = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`' | '<' | '>' | '(' | ')' | ',');
        let (address, next) = after.split_at(after.find(ends).unwrap_or(after.len()));
        out.push_str(before);
        hide(address, &mut out);
        rest = next;
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// What stands behind `://`.
fn hide(address: &str, out: &mut String) {
    let (address, fragment) = address.split_once('#').map_or((address, None), |(before, after)| (before, Some(after)));
    let (address, query) = address.split_once('?').map_or((address, None), |(before, after)| (before, Some(after)));
    let authority_end = address.find('/').unwrap_or(address.len());
    match address[..authority_end].rfind('@') {
        Some(at) => out.extend([HIDDEN, &address[at..]]),
        None => out.push_str(address),
    }
    if let Some(query) = query {
        out.push('?');
        for (index, pair) in query.split('&').enumerate() {
            out.push_str(if index > 0 { "&" } else { "" });
            match pair.split_once('=') {
                Some((name, _)) => out.extend([name, "=", HIDDEN]),
                None if pair.is_empty() => {}
                None => out.push_str(HIDDEN),
            }
        }
    }
    if let Some(fragment) = fragment {
        out.push('#');
        out.push_str(if fragment.is_empty() { "" } else { HIDDEN });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s6_no_value_of_an_address_is_shown() {
        for (text, shown) in [
            ("`https://a.dev/v1?code=SECRET` has a query", "`https://a.dev/v1?code=…` has a query"),
            ("https://a.dev/#SECRET", "https://a.dev/#…"),
            ("https://a.dev?SECRET&b=c", "https://a.dev?…&b=…"),
            ("https://SECRET:x@a.dev https://b.dev/@c/d", "https://…@a.dev https://b.dev/@c/d"),
            ("a://b?c=https://d?e=f x", "a://b?c=… x"),
            ("https://a.dev?x=1#", "https://a.dev?x=…#"),
            ("no address: a?b=c", "no address: a?b=c"),
        ] {
            assert_eq!(hide_address_values(text), shown);
        }
    }
}
