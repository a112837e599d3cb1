//! Definitions by the look of their lines, for languages without a grammar here and for what a grammar cannot read.

use super::{Definition, with_comments};

/// Words that may stand before the keyword of a definition.
const BEFORE: &[&str] = &[
    "pub",
    "export",
    "default",
    "async",
    "static",
    "unsafe",
    "const",
    "extern",
    "public",
    "private",
    "protected",
    "internal",
    "abstract",
    "final",
    "override",
    "open",
    "sealed",
    "inline",
    "virtual",
    "data",
    "suspend",
    "declare",
    "local",
    "partial",
];
/// Keywords that a name follows.
const KEYWORDS: &[&str] = &[
    "fn",
    "def",
    "class",
    "func",
    "function",
    "struct",
    "enum",
    "trait",
    "impl",
    "interface",
    "macro_rules!",
    "mod",
    "type",
    "fun",
    "module",
    "object",
    "protocol",
    "extension",
    "namespace",
    "union",
    "record",
    "defmodule",
    "defp",
    "sub",
    "message",
    "service",
    "proc",
    "macro",
];

/// The name that a line defines, if it looks like a definition.
pub fn defines(line: &str) -> Option<&str> {
    let mut rest = line.trim_start();
    // Most lines end here.
    if !rest.as_bytes().first().is_some_and(u8::is_ascii_alphabetic) {
        return None;
    }
    for _ in 0..5 {
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '!')).unwrap_or(rest.len());
        let word = &rest[..end];
        if KEYWORDS.contains(&word) && (end < rest.len()) {
            return name_after(&rest[end..], word);
        }
        if !BEFORE.contains(&word) {
            return assigned_function(rest);
        }
        rest = rest[end..].trim_start();
        if let Some(inner) = rest.strip_prefix('(') {
            rest = inner.split_once(')')?.1.trim_start();
        }
        if let Some(inner) = rest.strip_prefix("\"C\"") {
            rest = inner.trim_start();
        }
    }
    None
}

fn name_after<'a>(rest: &'a str, keyword: &str) -> Option<&'a str> {
    if !rest.starts_with([' ', '\t', '*', '<', '(']) {
        return None;
    }
    let mut rest = rest.trim_start_matches([' ', '\t', '*']);
    if keyword == "func"
        && let Some(inner) = rest.strip_prefix('(')
    {
        rest = inner.split_once(')')?.1.trim_start();
    }
    if let Some(inner) = rest.strip_prefix('<') {
        rest = inner.split_once('>')?.1.trim_start();
    }
    rest = rest.strip_prefix("self.").unwrap_or(rest);
    let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$')).unwrap_or(rest.len());
    let after = rest[end..].trim_start();
    // `type = "x"`, `object.x`, `message: "…"` are no definitions.
    let is_value = after.starts_with(['.', ',', ';']) && !matches!(keyword, "struct" | "mod")
        || (after.starts_with('=') && keyword != "type")
        || (after.starts_with(':')
            && !matches!(keyword, "class" | "struct" | "enum" | "trait" | "object" | "interface" | "protocol"));
    (end > 0 && !is_value && !rest.as_bytes()[0].is_ascii_digit()).then(|| &rest[..end])
}

/// `a.b = function`, `a: function`.
fn assigned_function(rest: &str) -> Option<&str> {
    let at = rest.find("function")?;
    let before = rest[..at].trim_end().strip_suffix("async").unwrap_or(&rest[..at]).trim_end();
    let target = before.strip_suffix(['=', ':'])?.trim_end();
    let start = target.rfind(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$')).map_or(0, |at| at + 1);
    (start < target.len()).then(|| &target[start..])
}

/// A heading, or the name of a section of settings.
fn heading(lines: &[&str], at: usize) -> Option<(String, usize)> {
    let line = lines[at];
    let level = line.bytes().take_while(|byte| *byte == b'#').count();
    if (1..=6).contains(&level) && line.as_bytes().get(level) == Some(&b' ') {
        return Some((line[level..].trim().to_owned(), level));
    }
    if line.starts_with('[') && line.trim_end().ends_with(']') && line.len() < 100 {
        let name = line.trim_matches(|c: char| c.is_whitespace() || c == '[' || c == ']');
        let is_name = name.chars().all(|c| c.is_alphanumeric() || "-_.:'\" ".contains(c));
        return (!name.is_empty() && is_name).then(|| (name.to_owned(), 1));
    }
    let under = lines.get(at + 1)?.trim_end();
    let sign = *under.as_bytes().first()?;
    let is_underline = b"=-~^\"*".contains(&sign) && under.len() >= 3 && under.bytes().all(|byte| byte == sign);
    (is_underline
        && !line.trim().is_empty()
        && under.len() + 2 >= line.trim_end().chars().count()
        && !line.starts_with([' ', '|', '+']))
    .then(|| (line.trim().to_owned(), if sign == b'=' { 1 } else { 2 }))
}

/// The definitions that lines look like; each reaches to the next one that is not further in.
pub fn definitions(lines: &[&str]) -> Vec<Definition> {
    let mut found: Vec<Definition> = Vec::new();
    let mut open: Vec<(usize, usize)> = Vec::new();
    let is_code = lines.iter().any(|line| defines(line).is_some());
    for (at, line) in lines.iter().enumerate() {
        let (name, depth, is_heading) = match defines(line) {
            Some(name) => (name.to_owned(), line.len() - line.trim_start().len(), false),
            None if is_code => continue,
            None => match heading(lines, at) {
                Some((name, level)) => (name, level, true),
                None => continue,
            },
        };
        let start = if is_heading { at } else { with_comments(lines, at) };
        while let Some((index, outer)) = open.last().copied() {
            if outer < depth {
                break;
            }
            found[index].end = start.max(found[index].body);
            open.pop();
        }
        let start = found.last().map_or(start, |last| start.max(last.body));
        let parent = open.last().map(|(index, _)| *index);
        if let Some(parent) = parent {
            found[parent].holds = true;
        }
        open.push((found.len(), depth));
        found.push(Definition {
            name,
            start: start.min(at),
            signature: at,
            body: at + 1,
            end: lines.len(),
            parent,
            holds: false,
        });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_define() {
        for (line, name) in [
            ("pub(crate) async fn a<T>() {", Some("a")),
            ("impl<T> Foo for Bar<T> {", Some("Foo")),
            ("func (c *Context) Next() {", Some("Next")),
            ("  res.send = function send(body) {", Some("send")),
            ("export default class A extends B {", Some("A")),
            ("def self.call(x)", Some("call")),
            ("type = \"x\"", None),
            ("object.call()", None),
            ("let x = 1;", None),
            ("// fn no()", None),
            ("module.exports = x", None),
        ] {
            assert_eq!(defines(line), name, "{line}");
        }
    }
}
