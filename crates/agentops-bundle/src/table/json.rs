//! Reads JSON as people and programs write it.
//!
//! Beyond RFC 8259 it reads NaN and Infinity, numbers of any size, repeated keys, comments, trailing commas, single quotes and the
//! literals of Python. Numbers stay as they are written. A source may be one document, one value a line, or several values one
//! after the other; what is broken is named with its line, and the rest is read.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Values that are nested deeper stay as they are written.
const DEPTH_MAX: usize = 64;

/// Broken values that span many lines are read again from later lines: at most this many times the source's length. What is
/// behind is named as broken.
const REREAD_MAX: usize = 4;

/// A value. Text that could be read as it stands borrows from the source.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Json<'a> {
    /// `null`, and what other languages write for it.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number as it is written, also `NaN` and `-Infinity`.
    Number(&'a str),
    /// A string.
    Text(Cow<'a, str>),
    /// A list.
    List(Vec<Json<'a>>),
    /// Keys and values in their order. A key may come several times.
    Object(Vec<(Cow<'a, str>, Json<'a>)>),
    /// A list or an object that is nested too deeply, as it is written.
    Deep(&'a str),
}

impl Json<'_> {
    /// Whether it is a list or an object.
    pub fn is_container(&self) -> bool {
        matches!(self, Self::List(_) | Self::Object(_) | Self::Deep(_))
    }

    /// Whether it is an object.
    pub fn is_object(&self) -> bool {
        matches!(self, Self::Object(_))
    }

    /// The value as compact JSON, with numbers as they are written.
    pub fn compact(&self) -> String {
        let mut text = String::new();
        self.write(&mut text);
        text
    }

    fn write(&self, out: &mut String) {
        match self {
            Self::Null => out.push_str("null"),
            Self::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Self::Number(text) | Self::Deep(text) => out.push_str(text),
            Self::Text(text) => quote(text, out),
            Self::List(list) => {
                out.push('[');
                for (at, value) in list.iter().enumerate() {
                    out.push_str(if at > 0 { "," } else { "" });
                    value.write(out);
                }
                out.push(']');
            }
            Self::Object(object) => {
                out.push('{');
                for (at, (key, value)) in object.iter().enumerate() {
                    out.push_str(if at > 0 { "," } else { "" });
                    quote(key, out);
                    out.push(':');
                    value.write(out);
                }
                out.push('}');
            }
        }
    }

    /// The value for the JSON library; numbers that it cannot store become strings.
    pub fn to_value(&self) -> serde_json::Value {
        match self {
            Self::Null => serde_json::Value::Null,
            Self::Bool(value) => serde_json::Value::Bool(*value),
            Self::Number(text) => serde_json::from_str(text).unwrap_or_else(|_| serde_json::Value::from(*text)),
            Self::Deep(text) => serde_json::Value::from(*text),
            Self::Text(text) => serde_json::Value::from(text.as_ref()),
            Self::List(list) => list.iter().map(Json::to_value).collect(),
            Self::Object(object) => object.iter().map(|(key, value)| (key.clone().into_owned(), value.to_value())).collect(),
        }
    }
}

fn quote(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => {
                let _infallible = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// How the values of a source are arranged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrangement {
    /// One value.
    Document,
    /// One value a line.
    Lines,
    /// Several values, each over any number of lines.
    Sequence,
}

/// What a source holds.
#[derive(Debug)]
pub(crate) struct JsonSource<'a> {
    /// How the values are arranged.
    pub arrangement: Arrangement,
    /// The values with the lines on which they begin, from 1.
    pub values: Vec<(usize, Json<'a>)>,
    /// Lines that are no JSON, with their numbers.
    pub broken: Vec<(usize, &'a str)>,
    /// Comments with the lines on which they begin.
    pub comments: Vec<(usize, &'a str)>,
    /// Whether the source ends within a value.
    pub ends_early: bool,
}

/// Reads a source. `None` if less than half of it is JSON.
pub(crate) fn read(text: &str) -> Option<JsonSource<'_>> {
    let mut reader = Reader::new(text);
    reader.skip_blank();
    let begins_with = reader.peek()?;
    let start = reader.at;
    if let Ok(value) = reader.value(0) {
        reader.skip_blank();
        if reader.at == text.len() {
            return Some(reader.source(Arrangement::Document, vec![(start, value)], Vec::new()));
        }
    }
    if let Some(source) = lines(text) {
        return Some(source);
    }
    if !matches!(begins_with, b'{' | b'[') {
        return None;
    }
    sequence(text)
}

/// One value; `None` if the text is anything else.
pub(crate) fn value(text: &str) -> Option<Json<'_>> {
    let mut reader = Reader::new(text);
    reader.skip_blank();
    let value = reader.value(0).ok()?;
    reader.skip_blank();
    (reader.at == text.len()).then_some(value)
}

/// Values one a line. The lines may be those of a list, with a comma at their ends.
fn lines(text: &str) -> Option<JsonSource<'_>> {
    let mut source = JsonSource {
        arrangement: Arrangement::Lines,
        values: Vec::new(),
        broken: Vec::new(),
        comments: Vec::new(),
        ends_early: false,
    };
    let (mut containers, mut filled) = (0, 0);
    for (at, line) in text.lines().enumerate() {
        let bare = line.trim_matches(|c: char| c.is_whitespace() || c == '\u{1e}' || c == '\u{feff}');
        if bare.is_empty() || matches!(bare, "[" | "]" | "]," | "],{" | ",") {
            continue;
        }
        filled += 1;
        match value(bare.strip_suffix(',').unwrap_or(bare)) {
            Some(value) => {
                containers += usize::from(value.is_container());
                source.values.push((at + 1, value));
            }
            None => source.broken.push((at + 1, line)),
        }
        // Most sources show soon that they are something else.
        if filled == 2000 && containers * 10 < filled {
            return None;
        }
    }
    (filled > 1 && containers * 2 >= filled).then_some(source)
}

/// Values one after the other. Behind what is broken, reading goes on at the next line that begins a value.
fn sequence(text: &str) -> Option<JsonSource<'_>> {
    let mut reader = Reader::new(text);
    let mut values = Vec::new();
    let mut broken = Vec::new();
    let mut read_bytes = 0;
    let mut wasted_bytes = 0;
    loop {
        reader.skip_blank();
        while reader.peek() == Some(b',') {
            reader.at += 1;
            reader.skip_blank();
        }
        let start = reader.at;
        if start == text.len() {
            break;
        }
        match reader.value(0) {
            Ok(value) => {
                read_bytes += if value.is_container() { reader.at - start } else { 0 };
                values.push((start, value));
            }
            Err(Broken::End) => {
                reader.at = start;
                reader.takes_end = true;
                let Ok(value) = reader.value(0) else { break };
                read_bytes += reader.at - start;
                values.push((start, value));
            }
            Err(Broken::Form) => {
                wasted_bytes += reader.at - start;
                let may_go_on = wasted_bytes <= REREAD_MAX * text.len();
                let end = if may_go_on { next_value_line(text, start) } else { text.len() };
                broken.push((start, text[start..end].trim_end()));
                reader.at = end;
            }
        }
    }
    (read_bytes * 2 >= text.trim().len()).then(|| {
        let arrangement = if values.len() > 1 { Arrangement::Sequence } else { Arrangement::Document };
        reader.source(arrangement, values, broken)
    })
}

/// The beginning of the next line behind `at` that begins with a brace or bracket.
fn next_value_line(text: &str, at: usize) -> usize {
    let mut from = at;
    while let Some(end) = text[from..].find('\n') {
        from += end + 1;
        if text[from..].starts_with(['{', '[']) {
            return from;
        }
    }
    text.len()
}

/// Why a value cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Broken {
    /// The text ends within it.
    End,
    /// Something else stands where a value, a key or a separator should.
    Form,
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    comments: Vec<(usize, &'a str)>,
    /// Whether a value that the end of the text cuts off is returned as far as it goes.
    takes_end: bool,
    ends_early: bool,
}

impl<'a> Reader<'a> {
    fn new(text: &'a str) -> Self {
        Self { text, at: 0, comments: Vec::new(), takes_end: false, ends_early: false }
    }

    fn source(
        self,
        arrangement: Arrangement,
        values: Vec<(usize, Json<'a>)>,
        broken: Vec<(usize, &'a str)>,
    ) -> JsonSource<'a> {
        let mut lines = LineCounter { text: self.text, at: 0, line: 1 };
        let values = values.into_iter().map(|(at, value)| (lines.line_of(at), value)).collect();
        lines = LineCounter { text: self.text, at: 0, line: 1 };
        let broken = broken.into_iter().flat_map(|(at, text)| {
            let first = lines.line_of(at);
            text.lines().enumerate().map(move |(more, line)| (first + more, line))
        });
        let broken = broken.collect();
        let mut lines = LineCounter { text: self.text, at: 0, line: 1 };
        let mut comments: Vec<(usize, &str)> = self.comments;
        comments.sort_unstable();
        comments.dedup();
        let comments = comments.into_iter().map(|(at, text)| (lines.line_of(at), text)).collect();
        JsonSource { arrangement, values, broken, comments, ends_early: self.ends_early }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Skips white space, marks of byte order and of records, and comments.
    fn skip_blank(&mut self) {
        loop {
            let rest = &self.text[self.at..];
            let blank = rest.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{1e}' || c == '\u{feff}');
            self.at = self.text.len() - blank.len();
            let end = if blank.starts_with("//") {
                blank.find('\n').unwrap_or(blank.len())
            } else if blank.starts_with("/*") {
                blank.find("*/").map_or(blank.len(), |end| end + 2)
            } else {
                return;
            };
            self.comments.push((self.at, blank[..end].trim_end()));
            self.at += end;
        }
    }

    fn value(&mut self, depth: usize) -> Result<Json<'a>, Broken> {
        match self.peek().ok_or(Broken::End)? {
            b'{' | b'[' if depth >= DEPTH_MAX => self.deep(),
            b'{' => self.object(depth),
            b'[' => self.list(depth),
            b'"' | b'\'' => Ok(Json::Text(self.string()?)),
            _ => self.token(),
        }
    }

    /// Whether the container may end here because the text does.
    fn ends(&mut self) -> Result<bool, Broken> {
        if self.at < self.text.len() {
            return Ok(false);
        }
        self.ends_early = true;
        if self.takes_end { Ok(true) } else { Err(Broken::End) }
    }

    fn list(&mut self, depth: usize) -> Result<Json<'a>, Broken> {
        let mut list = Vec::new();
        self.at += 1;
        loop {
            self.skip_blank();
            if self.ends()? {
                return Ok(Json::List(list));
            }
            if self.peek() == Some(b']') {
                self.at += 1;
                return Ok(Json::List(list));
            }
            match self.value(depth + 1) {
                Err(Broken::End) if self.takes_end => self.at = self.text.len(),
                value => list.push(value?),
            }
            self.separator(b']')?;
        }
    }

    fn object(&mut self, depth: usize) -> Result<Json<'a>, Broken> {
        let mut object = Vec::new();
        self.at += 1;
        loop {
            self.skip_blank();
            if self.ends()? {
                return Ok(Json::Object(object));
            }
            if self.peek() == Some(b'}') {
                self.at += 1;
                return Ok(Json::Object(object));
            }
            match self.member(depth) {
                Err(Broken::End) if self.takes_end => self.at = self.text.len(),
                member => object.push(member?),
            }
            self.separator(b'}')?;
        }
    }

    fn member(&mut self, depth: usize) -> Result<(Cow<'a, str>, Json<'a>), Broken> {
        let key = match self.peek() {
            Some(b'"' | b'\'') => self.string()?,
            _ => self.bare_key()?,
        };
        self.skip_blank();
        match self.peek() {
            Some(b':') => self.at += 1,
            None => return Err(Broken::End),
            Some(_) => return Err(Broken::Form),
        }
        self.skip_blank();
        Ok((key, self.value(depth + 1)?))
    }

    /// A comma, or the end of the container, which stays.
    fn separator(&mut self, end: u8) -> Result<(), Broken> {
        self.skip_blank();
        match self.peek() {
            Some(b',') => self.at += 1,
            Some(byte) if byte == end => {}
            // The caller decides what the end of the text means.
            None => {}
            Some(_) => return Err(Broken::Form),
        }
        Ok(())
    }

    fn bare_key(&mut self) -> Result<Cow<'a, str>, Broken> {
        let rest = &self.text[self.at..];
        let len = rest.find(|c: char| !c.is_alphanumeric() && !matches!(c, '_' | '$' | '-')).unwrap_or(rest.len());
        if len == 0 || rest.starts_with(|c: char| c.is_numeric() || c == '-') {
            return Err(Broken::Form);
        }
        self.at += len;
        Ok(Cow::Borrowed(&rest[..len]))
    }

    fn token(&mut self) -> Result<Json<'a>, Broken> {
        let rest = &self.text[self.at..];
        let len =
            rest.find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '+' | '-' | '.' | '_')).unwrap_or(rest.len());
        let token = &rest[..len];
        let json = match token {
            "null" | "None" | "undefined" => Json::Null,
            "true" | "True" => Json::Bool(true),
            "false" | "False" => Json::Bool(false),
            _ if is_number(token) => Json::Number(token),
            _ if len == rest.len() && !token.is_empty() && is_beginning(token) => return Err(Broken::End),
            _ => return Err(Broken::Form),
        };
        self.at += len;
        Ok(json)
    }

    fn string(&mut self) -> Result<Cow<'a, str>, Broken> {
        let bytes = self.text.as_bytes();
        let mark = bytes[self.at];
        let start = self.at + 1;
        let mut at = start;
        let mut is_plain = true;
        loop {
            match memchr::memchr2(mark, b'\\', bytes.get(at..).unwrap_or_default()) {
                None => {
                    self.ends_early = true;
                    return Err(Broken::End);
                }
                Some(found) if bytes[at + found] == b'\\' => {
                    is_plain = false;
                    at += found + 2;
                }
                Some(found) => {
                    let text = &self.text[start..at + found];
                    self.at = at + found + 1;
                    return Ok(if is_plain { Cow::Borrowed(text) } else { Cow::Owned(unescaped(text)) });
                }
            }
        }
    }

    /// A container as it is written, found without recursion.
    fn deep(&mut self) -> Result<Json<'a>, Broken> {
        let start = self.at;
        let mut open = 0usize;
        loop {
            match self.peek() {
                None => return Err(Broken::End),
                Some(b'{' | b'[') => open += 1,
                Some(b'}' | b']') => open -= 1,
                Some(b'"') => {
                    let _text = self.string()?;
                    continue;
                }
                Some(_) => {}
            }
            self.at += 1;
            if open == 0 {
                return Ok(Json::Deep(&self.text[start..self.at]));
            }
        }
    }
}

/// Numbers of JSON and of the languages that write it, of any size.
fn is_number(token: &str) -> bool {
    let unsigned = token.strip_prefix(['-', '+']).unwrap_or(token);
    if matches!(unsigned, "NaN" | "nan" | "Infinity" | "inf" | "Inf") {
        return true;
    }
    let is_hex = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if let Some(digits) = unsigned.strip_prefix("0x").or_else(|| unsigned.strip_prefix("0X")) {
        return is_hex(digits);
    }
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['-', '+']).unwrap_or(exponent))),
        None => (unsigned, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let is_digits = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
    is_digits(whole)
        && is_digits(fraction)
        && !(whole.is_empty() && fraction.is_empty())
        && exponent.is_none_or(|exponent| !exponent.is_empty() && is_digits(exponent))
}

/// Whether the end of the text may have cut off a literal or a number here.
fn is_beginning(token: &str) -> bool {
    ["null", "true", "false", "NaN", "Infinity", "-Infinity"].iter().any(|word| word.starts_with(token))
        || is_number(token.trim_end_matches(['e', 'E', '+', '-', '.']))
        || token == "-"
}

/// The text of a string. Escapes that mean nothing stay as they are written.
fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let Some(c) = rest.chars().next() else {
            out.push('\\');
            break;
        };
        let plain = match c {
            '"' | '\'' | '\\' | '/' => Some(c),
            'b' => Some('\u{8}'),
            'f' => Some('\u{c}'),
            'n' => Some('\n'),
            'r' => Some('\r'),
            't' => Some('\t'),
            _ => None,
        };
        if let Some(plain) = plain {
            out.push(plain);
            rest = &rest[c.len_utf8()..];
        } else if let Some((character, bytes)) = unicode(rest) {
            out.push(character);
            rest = &rest[bytes..];
        } else {
            out.push('\\');
            out.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    out.push_str(rest);
    out
}

/// The character of `u` and four digits, or of two such halves of a pair, and its length.
fn unicode(rest: &str) -> Option<(char, usize)> {
    let unit = |text: &str| {
        let digits = text.strip_prefix('u')?.get(..4)?;
        if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        u16::from_str_radix(digits, 16).ok()
    };
    let first = unit(rest)?;
    if let Some(c) = char::from_u32(u32::from(first)) {
        return Some((c, 5));
    }
    let second = unit(rest.get(5..)?.strip_prefix('\\')?)?;
    let c = char::decode_utf16([first, second]).next()?.ok()?;
    Some((c, 11))
}

/// Counts lines up to positions that ascend.
struct LineCounter<'a> {
    text: &'a str,
    at: usize,
    line: usize,
}

impl LineCounter<'_> {
    fn line_of(&mut self, at: usize) -> usize {
        self.line += memchr::memchr_iter(b'\n', &self.text.as_bytes()[self.at..at.max(self.at)]).count();
        self.at = at.max(self.at);
        self.line
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn compact(text: &str) -> Vec<String> {
        let source = read(text).unwrap_or_else(|| panic!("no JSON: {text}"));
        source.values.iter().map(|(_, value)| value.compact()).collect()
    }

    #[test]
    fn numbers_stay_as_they_are_written() {
        let text =
            "[NaN,Infinity,-Infinity,1e400,-0.10,123456789012345678901234567890,0.1000000000000000055511151231257827]";
        assert_eq!(compact(text), [text]);
    }

    #[test]
    fn a_repeated_key_is_there_twice() {
        assert_eq!(compact(r#"{"a":1,"b":2,"a":3}"#), [r#"{"a":1,"b":2,"a":3}"#]);
    }

    #[test]
    fn relatives_of_json_are_read() {
        for (text, json) in [
            ("{'a': None, 'b': True}", r#"{"a":null,"b":true}"#),
            ("{a: 0x1F, b: .5, c: [1, 2,],}", r#"{"a":0x1F,"b":.5,"c":[1,2]}"#),
            ("\u{feff}{\"a\": 1}", r#"{"a":1}"#),
            ("{\"a\": \"line\nbreak\\x\\ud83d\\ude00\\ud83d\"}", "{\"a\":\"line\\nbreak\\\\x😀\\\\ud83d\"}"),
        ] {
            assert_eq!(compact(text), [json], "{text}");
        }
        let source = read("// made by hand\n{\"a\": 1, /* why */ \"b\": 2}").expect("JSON");
        assert_eq!(source.comments, [(1, "// made by hand"), (2, "/* why */")]);
    }

    #[test]
    fn a_broken_line_is_named_and_the_others_are_read() {
        let source = read("{\"a\":1}\n{\"a\":2\n\n{\"a\":3}\nnot JSON\n{\"a\":4}\n").expect("JSON");
        assert_eq!(source.arrangement, Arrangement::Lines);
        assert_eq!(source.values.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [1, 4, 6]);
        assert_eq!(source.broken, [(2, "{\"a\":2"), (5, "not JSON")]);
        let list = read("[\n{\"a\":1},\n{\"a\":oops},\n{\"a\":3}\n]\n").expect("JSON");
        assert_eq!((list.values.len(), list.broken), (2, vec![(3, "{\"a\":oops},")]));
    }

    #[test]
    fn values_may_follow_each_other_over_any_lines() {
        assert_eq!(compact("{\"a\":1}{\"a\":2} {\"a\":3}"), ["{\"a\":1}", "{\"a\":2}", "{\"a\":3}"]);
        assert_eq!(compact("\u{1e}{\"a\":1}\n\u{1e}{\"a\":2}\n"), ["{\"a\":1}", "{\"a\":2}"]);
        let source = read("{\n  \"a\": 1,\n  \"b\": [1]\n}\n{\n  \"a\": oops\n}\n{\n  \"a\": 2,\n  \"b\": [2, 3]\n}\n")
            .expect("JSON");
        assert_eq!(source.arrangement, Arrangement::Sequence);
        assert_eq!(source.values.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [1, 8]);
        assert_eq!(source.broken, [(5, "{"), (6, "  \"a\": oops"), (7, "}")]);
    }

    #[test]
    fn what_the_end_cuts_off_is_read_as_far_as_it_goes() {
        for (text, json) in [
            (r#"{"a": 1, "b": [1, 2, {"c": "te"#, r#"{"a":1,"b":[1,2,{}]}"#),
            (r#"[{"a": 1}, {"a": tr"#, r#"[{"a":1},{}]"#),
            (r#"{"a": 1, "b""#, r#"{"a":1}"#),
        ] {
            let source = read(text).expect("JSON");
            assert!(source.ends_early);
            assert_eq!(compact(text), [json]);
        }
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for text in [
            "",
            " ",
            "hello\nworld",
            "[package]\nname = \"x\"\n",
            "id,name\n1,a\n",
            "[2031-01-01] INFO x\n[2031-01-01] y",
            "{",
        ] {
            assert!(read(text).is_none_or(|source| source.ends_early), "{text}");
        }
    }

    #[test]
    fn deep_values_need_no_stack() {
        let deep = format!("{}1{}", "[".repeat(200_000), "]".repeat(200_000));
        assert_eq!(compact(&deep).concat(), deep);
        assert!(read(&"[".repeat(200_000)).is_none_or(|source| source.ends_early));
        assert!(read(&"{\"a\":".repeat(200_000)).is_none_or(|source| source.ends_early));
    }

    #[test]
    fn broken_values_within_each_other_are_not_read_again_without_end() {
        let block = format!("{}{}x\n{}", "[\n".repeat(60), "{\"a\":1},".repeat(1000), "]\n".repeat(60));
        let text = block.repeat(100);
        assert!(read(&text).is_none_or(|source| source.values.len() < 50 * 1000), "all values were reached");
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(serde_json::Value::from),
            any::<i64>().prop_map(serde_json::Value::from),
            any::<f64>().prop_map(serde_json::Value::from),
            "\\PC{0,8}|[\"\\\\\n\t\u{1}]{0,4}".prop_map(serde_json::Value::from),
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(serde_json::Value::from),
                prop::collection::btree_map("[a-z]{0,3}", inner, 0..5)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn whatever_the_library_writes_is_read_the_same(value in json(), is_pretty in any::<bool>()) {
            let text = if is_pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) };
            let text = text.expect("JSON");
            let source = read(&text).expect("JSON");
            prop_assert_eq!(source.values.len(), 1);
            let read = &source.values[0].1;
            // The library reads some numbers a little different from what it wrote.
            let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            prop_assert_eq!(&read.to_value(), &value);
            let again: serde_json::Value = serde_json::from_str(&read.compact()).expect("JSON");
            prop_assert_eq!(again, value);
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[\\[\\]{}:,\"'a1\\\\/*\n e.-]{0,60}|\\PC{0,60}") {
            let _source = read(&text);
        }
    }
}
